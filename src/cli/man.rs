//! `tidegate man`: manual pages, made from the same definitions that parse the arguments.
//!
//! `tidegate(1)` and a page a command, `tidegate-purge(1)`. A package writes them all into a directory; by hand one is
//! printed.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::talk::Talk;
use super::{Arguments, Ended};

/// Print a manual page, or write all of them.
#[derive(Args, Debug)]
#[command(
    name = "man",
    after_help = "Examples:\n  tidegate man | man -l -\n  tidegate man purge | man -l -\n  tidegate man --directory /usr/local/share/man/man1\n\nThe Debian package installs them all: man tidegate-purge."
)]
pub(crate) struct Manual {
    /// The command that the page is about; default: tidegate itself.
    #[arg(value_name = "COMMAND", conflicts_with = "directory")]
    about: Option<String>,
    /// Write a page for every command into this directory instead.
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Manual {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        if let Some(directory) = self.directory {
            return match write_all(&directory) {
                Ok(count) => {
                    talk.say(&format!("{}: {count} pages", directory.display()));
                    Ended::Done
                }
                Err(error) => {
                    let what = format!("cannot write manual pages to {}: {error}", directory.display());
                    talk.complain(&what, "name a directory that this user may write to");
                    Ended::Failed
                }
            };
        }
        let root = built();
        let wanted = self.about.as_deref();
        let page = match wanted {
            None => page(&root, None),
            Some(name) => {
                let found = root.get_subcommands().find(|command| command.get_name() == name);
                if found.is_none() {
                    let what = format!("there is no command `{}`", name.escape_debug());
                    talk.complain(&what, "tidegate --help lists them");
                    return Ended::Usage;
                }
                page(&root, found)
            }
        };
        match page {
            Ok(page) => talk.result(&String::from_utf8_lossy(&page)),
            Err(error) => {
                talk.complain(&format!("cannot make the page: {error}"), "");
                Ended::Failed
            }
        }
    }
}

/// The definitions with everything filled in that parsing fills in.
fn built() -> Command {
    let mut root = Arguments::command();
    root.build();
    root
}

/// Writes every page; says how many.
fn write_all(directory: &Path) -> io::Result<usize> {
    fs::create_dir_all(directory)?;
    let root = built();
    fs::write(directory.join("tidegate.1"), page(&root, None)?)?;
    let mut count = 1;
    for command in root.get_subcommands() {
        let name = format!("tidegate-{}.1", command.get_name());
        fs::write(directory.join(name), page(&root, Some(command))?)?;
        count += 1;
    }
    Ok(count)
}

/// The page of a command, or of the whole.
fn page(root: &Command, about: Option<&Command>) -> io::Result<Vec<u8>> {
    // Built: a command's names are `tidegate-purge` and `tidegate purge` already.
    let command = about.unwrap_or(root).clone();
    // The examples and notes behind the help are laid out by lines; roff would fill them into a paragraph.
    let notes = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    let title = match about {
        None => "tidegate".to_owned(),
        Some(about) => format!("tidegate-{}", about.get_name()),
    };
    let man = Man::new(command.after_help(None::<&str>).version(VERSION))
        .title(title)
        .source(format!("tidegate {VERSION}"))
        .manual("Tidegate");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if about.is_none() {
        man.render_subcommands_section(&mut page)?;
    }
    notes_section(&notes, about.is_none()).to_writer(&mut page)?;
    Ok(page)
}

/// Examples as they are laid out, and where to read on.
fn notes_section(notes: &str, whole: bool) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES AND NOTES"]);
    roff.control("nf", []);
    for line in notes.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []);
    if whole {
        roff.control("SH", ["FILES"]);
        roff.control("TP", []);
        roff.text([bold("/etc/tidegate/tidegate.toml")]);
        roff.text([roman("the settings, where no tidegate.toml lies in the working directory")]);
        roff.control("SH", ["SIGNALS"]);
        for (name, does) in SIGNALS {
            roff.control("TP", []);
            roff.text([bold(name)]);
            roff.text([roman(does)]);
        }
    } else {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("tidegate"), roman("(1)")]);
    }
    roff
}

const VERSION: &str = env!("CARGO_PKG_VERSION");
const SIGNALS: [(&str, &str); 4] = [
    ("TERM, INT", "no new connections, finish what is under way, end; a second one: end at once"),
    ("HUP", "read the settings again"),
    ("USR1", "reopen the access log"),
    ("USR2", "upgrade the binary"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page_with_its_options_and_examples() {
        let root = built();
        for command in root.get_subcommands() {
            let page = String::from_utf8(page(&root, Some(command)).unwrap()).unwrap();
            let name = command.get_name();
            assert!(
                page.contains(&format!(".TH \"tidegate-{name}\""))
                    || page.contains(&format!(".TH tidegate-{name}")),
                "{name}: {page}"
            );
            assert!(page.contains(".SH \"EXAMPLES AND NOTES\""), "{name}: {page}");
            assert!(page.contains(&format!("tidegate {name}")), "{name}: {page}");
        }
    }
}
