//! `tidegate import`: another server's settings as ours. Needs no node.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::Ended;
use super::talk::Talk;
use crate::config::check::{Surroundings, check};
use crate::import::{self, Dialect, Files, Imported};

/// Translate nginx's or Caddy's settings into a settings file, and say what could not be translated.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate import nginx /etc/nginx/nginx.conf > tidegate.toml\n  tidegate import nginx /etc/nginx/sites-enabled/shop --output tidegate.toml\n  tidegate import caddy /etc/caddy/Caddyfile --json | jq -r '.notes[].what'\n\nThe settings go to standard output; what has no counterpart is told on standard error, with file and line and what to write instead, and stands at the end of the settings too. Exit codes: 0 translated, 1 the file cannot be read or written, 2 it is not what it should be."
)]
pub(crate) struct Import {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand, Debug)]
enum From {
    /// nginx.conf, with what it includes, or a file of sites-enabled.
    Nginx(Source),
    /// A Caddyfile, with what it imports.
    Caddy(Source),
}

#[derive(Args, Debug)]
struct Source {
    /// The file.
    file: PathBuf,
    /// Write the settings there instead of to standard output; a file that is there already is not overwritten.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print settings and notes as JSON.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Import {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let (dialect, source) = match self.from {
            From::Nginx(source) => (Dialect::Nginx, source),
            From::Caddy(source) => (Dialect::Caddy, source),
        };
        if let Err(error) = std::fs::File::open(&source.file) {
            talk.complain(
                &format!("cannot read {}: {error}", source.file.display()),
                "check the path and who may read it",
            );
            return Ended::Failed;
        }
        let imported = match import::import(dialect, &source.file, Files::here()) {
            Ok(imported) => imported,
            Err(error) => {
                let help = match dialect {
                    Dialect::Nginx => "`nginx -t` tells what nginx makes of it",
                    Dialect::Caddy => "`caddy validate` tells what Caddy makes of it",
                };
                talk.complain(&error.to_string(), help);
                return Ended::Usage;
            }
        };
        if source.json {
            let notes: Vec<_> = imported
                .notes
                .iter()
                .map(|note| {
                    json!({"file": &*note.place.file, "line": note.place.line, "what": note.what, "instead": note.instead})
                })
                .collect();
            return talk.json(&json!({"settings": imported.settings, "notes": notes}));
        }
        let ended = match &source.output {
            None => talk.result(&imported.settings),
            Some(path) => match write_new(path, &imported.settings) {
                Ok(()) => Ended::Done,
                Err(error) => {
                    let help = if error.kind() == io::ErrorKind::AlreadyExists {
                        "name a file that is not there yet, or remove it"
                    } else {
                        "name a file that this user may write"
                    };
                    talk.complain(&format!("cannot write {}: {error}", path.display()), help);
                    return Ended::Failed;
                }
            },
        };
        tell(&imported, source.output.as_deref(), talk);
        ended
    }
}

fn write_new(path: &Path, text: &str) -> io::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).open(path)?;
    file.write_all(text.as_bytes())
}

/// What could not be translated, and what the check says of the rest.
fn tell(imported: &Imported, output: Option<&Path>, talk: Talk) {
    for note in &imported.notes {
        talk.say(&format!("{}: {}", note.place, note.what));
        if !note.instead.is_empty() {
            talk.say(&format!("    {}", note.instead));
        }
    }
    match imported.notes.len() {
        0 => talk.say("everything was translated"),
        1 => talk.say("1 thing needs a look"),
        count => talk.say(&format!("{count} things need a look")),
    }
    // Relative paths start where the file will lie.
    let base = output.and_then(Path::parent).unwrap_or(Path::new(""));
    if let Err(mistakes) = check("the result", &imported.settings, &Surroundings::here(base)) {
        talk.say("the result does not pass `tidegate check` yet, on this machine:");
        talk.say(&mistakes.to_string());
    }
}
