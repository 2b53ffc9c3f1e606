//! `tidegate config --effective`: the settings as meant.

use std::path::PathBuf;

use clap::Args;

use super::Ended;
use super::talk::Talk;
use crate::config::effective::effective;
use crate::config::load::load;

/// Print the settings as meant, every default written out.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate config --effective\n  tidegate config --effective new.toml | diff running.toml -\n\nWhat it prints is a settings file itself and means the same."
)]
pub(crate) struct Effective {
    /// Every default written out. There is no other form yet, so it may be left out.
    #[arg(long)]
    effective: bool,
    /// The file; default: tidegate.toml, then /etc/tidegate/tidegate.toml
    file: Option<PathBuf>,
}

impl Effective {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        match load(self.file.as_deref()) {
            Ok(loaded) => talk.result(&effective(&loaded.config)),
            Err(error) => talk.unloaded(&error),
        }
    }
}
