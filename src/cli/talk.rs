//! Where words go: results to standard output, talk to standard error, colour only on a terminal and never with
//! `NO_COLOR`.

use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};

use serde_json::Value;

use super::Ended;
use crate::config::load::LoadError;
use crate::config::mistake::Mistakes;

/// How to talk.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Talk {
    /// Standard error is a terminal that may be coloured.
    pub(crate) colour: bool,
}

impl Talk {
    /// As this process's environment and terminal want it.
    pub(crate) fn new() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let colour = io::stderr().is_terminal()
            && !set("NO_COLOR")
            && std::env::var_os("TERM").is_none_or(|term| term != "dumb");
        Self { colour }
    }

    /// Prints a result. That nobody reads it any more (`| head`) is no failure.
    #[allow(clippy::unused_self)] // one place to send words to
    pub(crate) fn result(self, text: &str) -> Ended {
        let mut out = io::stdout().lock();
        let end = if text.ends_with('\n') { "" } else { "\n" };
        match write!(out, "{text}{end}").and_then(|()| out.flush()) {
            Ok(()) => Ended::Done,
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ended::Done,
            Err(_) => Ended::Failed,
        }
    }

    /// Prints a result as JSON.
    pub(crate) fn json(self, value: &Value) -> Ended {
        // Serialising a value with string keys cannot fail; alternate display is the indented form.
        self.result(&format!("{value:#}"))
    }

    /// Says something.
    #[allow(clippy::unused_self)] // one place to send words to
    pub(crate) fn say(self, text: &str) {
        // Nobody listens: then nobody misses it.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    }

    /// Says what went wrong and what to do about it.
    pub(crate) fn complain(self, what: &str, help: &str) {
        let (red, bold, end) = if self.colour { ("\x1b[31m", "\x1b[36m", "\x1b[0m") } else { ("", "", "") };
        self.say(&format!("{red}error:{end} {what}"));
        if !help.is_empty() {
            self.say(&format!("{bold} help:{end} {}", help.replace('\n', "\n       ")));
        }
    }

    /// Shows mistakes in settings or arguments.
    pub(crate) fn mistakes(self, mistakes: &Mistakes) -> Ended {
        self.say(&mistakes.render(self.colour));
        Ended::Usage
    }

    /// Says why there are no settings.
    pub(crate) fn unloaded(self, error: &LoadError) -> Ended {
        match error {
            LoadError::Mistakes(mistakes) => return self.mistakes(mistakes),
            LoadError::NoFile { .. } => self.complain(
                &error.to_string(),
                "name a file, or start without one: tidegate proxy --to http://127.0.0.1:3000",
            ),
            LoadError::Unreadable { source, .. } => {
                let help = match source.kind() {
                    io::ErrorKind::NotFound => {
                        "check the path; the file is TOML, see tidegate config --effective for one"
                    }
                    io::ErrorKind::PermissionDenied => "let this user read it, or run as the user that may",
                    io::ErrorKind::InvalidData => "settings are UTF-8 text",
                    _ => "",
                };
                self.complain(&error.to_string(), help);
            }
        }
        Ended::Usage
    }
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
