//! `tidegate check`: every mistake in a settings file.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Ended;
use super::talk::Talk;
use crate::config::load::{LoadError, load};

/// Tell every mistake in a settings file.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate check\n  tidegate check /etc/tidegate/tidegate.toml\n  tidegate check --json new.toml | jq '.[].message'\n\nExit codes: 0 no mistake, 2 mistakes or no file."
)]
pub(crate) struct Check {
    /// The file; default: tidegate.toml, then /etc/tidegate/tidegate.toml
    pub(super) file: Option<PathBuf>,
    /// Print the mistakes as a JSON list.
    #[arg(long)]
    pub(super) json: bool,
}

impl Check {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        match load(self.file.as_deref()) {
            Ok(_) if self.json => talk.json(&json!([])),
            Ok(loaded) => {
                let (sites, pools) = (loaded.config.sites.len(), loaded.config.pools.len());
                let count =
                    |count: usize, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
                talk.say(&format!(
                    "{}: no mistakes; {}, {}",
                    loaded.path.display(),
                    count(sites, "site"),
                    count(pools, "pool")
                ));
                Ended::Done
            }
            Err(LoadError::Mistakes(mistakes)) if self.json => {
                talk.json(&mistakes.to_json());
                Ended::Usage
            }
            Err(error) => talk.unloaded(&error),
        }
    }
}
