//! `tidegate completions`: what a shell needs to complete these commands. Made from the same definitions that parse them.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::talk::Talk;
use super::{Arguments, Ended};

/// Print what a shell needs to complete tidegate's commands and options.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate completions bash > /usr/share/bash-completion/completions/tidegate\n  tidegate completions zsh > /usr/share/zsh/vendor-completions/_tidegate\n  tidegate completions fish > /usr/share/fish/vendor_completions.d/tidegate.fish\n\nThe Debian package installs all three."
)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_parser = shell_parser())]
    shell: Shell,
}

/// The shells whose completions are tested.
fn shell_parser() -> impl clap::builder::TypedValueParser<Value = Shell> {
    use clap::builder::{PossibleValuesParser, TypedValueParser as _};
    PossibleValuesParser::new(["bash", "zsh", "fish"]).map(|name| match name.as_str() {
        "zsh" => Shell::Zsh,
        "fish" => Shell::Fish,
        _ => Shell::Bash,
    })
}

impl Completions {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "tidegate", &mut script);
        talk.result(&String::from_utf8_lossy(&script))
    }
}
