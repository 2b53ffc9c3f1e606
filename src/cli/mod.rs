//! Arguments -> [`Config`](crate::config::Config) -> [`Edge`](crate::Edge) -> exit code; a file a command.
//!
//! Results go to standard output, talk to standard error (`talk.rs`). Exit codes: 0 done, 1 failed, 2 usage or settings.
//! Commands that need a running node ask its admin listener (`client.rs`); the others read files only. Invariant: a
//! command that is listed works, and no command prints to standard output what a script would have to skip.

mod check;
mod client;
mod demo;
mod deploy;
mod effective;
mod explain;
mod log;
mod plan;
mod port;
mod proxy;
mod purge;
mod receipt;
mod reload;
mod run;
mod sign;
mod stat;
mod steer;
mod stop;
mod talk;
mod top;
mod upgrade;
mod warm;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use talk::Talk;
pub(crate) use talk::chain;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// It did what it was asked to.
    Done,
    /// It could not.
    Failed,
    /// It was not asked properly: arguments or settings.
    Usage,
}

#[derive(Parser, Debug)]
#[command(
    name = "tidegate",
    version,
    about = "A caching edge node: put it in front of a site, purge after a deploy.",
    after_help = EXAMPLES,
    arg_required_else_help = true,
    args_conflicts_with_subcommands = true,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Arguments {
    /// Check a settings file, as `tidegate check` does.
    #[arg(short = 't', value_name = "FILE", num_args = 0..=1)]
    #[allow(clippy::option_option)] // given or not, with or without a file
    test: Option<Option<PathBuf>>,

    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Put a cache in front of a site, without a settings file.
    Proxy(proxy::Proxy),
    /// Put a cache in front of a small news site inside this process, and print what to try.
    Demo(demo::Demo),
    /// Run the node that a settings file describes.
    Run(run::Run),
    /// Tell every mistake in a settings file.
    Check(check::Check),
    /// Print the settings as meant, every default written out.
    Config(effective::Effective),
    /// Make a running node forget what it stored, or make it stale.
    Purge(purge::Purge),
    /// Sign a URL for a route whose access rules ask for a signature.
    Sign(sign::Sign),
    /// Tell what a running node would do with a request, and why.
    Explain(explain::Explain),
    /// Print a running node's counters.
    Stat(stat::Stat),
    /// Watch a running node, full-screen.
    Top(top::Top),
    /// Show a running node's requests as they end.
    Log(log::Log),
    /// Make a running node take up what its settings file says now.
    Reload(reload::Reload),
    /// Tell what a settings file would change in a running node.
    Plan(plan::Plan),
    /// Show how a running node shares requests among pools, or move the shares.
    Steer(steer::Steer),
    /// Replace a running node's binary without losing a request.
    Upgrade(upgrade::Upgrade),
    /// Let a running node finish what is under way and end.
    Stop(stop::Stop),
}

/// The whole program.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help goes to standard output and is no failure; nobody is left to tell when printing fails.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(2) } else { ExitCode::SUCCESS };
        }
    };
    let talk = Talk::new();
    let ended = match (arguments.command, arguments.test) {
        (Some(command), _) => command.carry_out(talk),
        (None, Some(file)) => check::Check { file, json: false }.carry_out(talk),
        (None, None) => Ended::Usage,
    };
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Failed => ExitCode::from(1),
        Ended::Usage => ExitCode::from(2),
    }
}

impl Command {
    fn carry_out(self, talk: Talk) -> Ended {
        match self {
            Self::Proxy(command) => command.carry_out(talk),
            Self::Demo(command) => command.carry_out(talk),
            Self::Run(command) => command.carry_out(talk),
            Self::Check(command) => command.carry_out(talk),
            Self::Config(command) => command.carry_out(talk),
            Self::Purge(command) => command.carry_out(talk),
            Self::Explain(command) => command.carry_out(talk),
            Self::Sign(command) => command.carry_out(talk),
            Self::Stat(command) => command.carry_out(talk),
            Self::Top(command) => command.carry_out(talk),
            Self::Log(command) => command.carry_out(talk),
            Self::Reload(command) => command.carry_out(talk),
            Self::Plan(command) => command.carry_out(talk),
            Self::Steer(command) => command.carry_out(talk),
            Self::Upgrade(command) => command.carry_out(talk),
            Self::Stop(command) => command.carry_out(talk),
        }
    }
}

const EXAMPLES: &str = "\
Examples:
  tidegate proxy --to http://127.0.0.1:3000            a cache on http://127.0.0.1:8080
  tidegate demo                                        something to play with
  tidegate check tidegate.toml && tidegate run         a node with settings
  tidegate purge https://www.example.com/index.html    after a deploy
  tidegate explain https://www.example.com/            why was that not a hit?

Client commands find the node by --admin or TIDEGATE_ADMIN (default 127.0.0.1:9180), and the
token by TIDEGATE_TOKEN or --token-file. Exit codes: 0 done, 1 failed, 2 usage or settings.";

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_shows_an_example() {
        for command in Arguments::command().get_subcommands() {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("tidegate "), "{} has no example", command.get_name());
        }
    }
}
