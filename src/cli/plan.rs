//! `tidegate plan`: what a settings file would change in a running node.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::Ended;
use super::client::Node;
use super::reload::told;
use super::talk::Talk;
use crate::config::load::{LoadError, load, read};

/// Tell what a settings file would change in a running node.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate plan new.toml\n  tidegate plan new.toml --json | jq '.changes[].place'\n\nNothing is changed. What needs a restart is told. Exit codes: 0 told, 1 not reached, 2 a mistake in the file."
)]
pub(crate) struct Plan {
    /// The file; default: tidegate.toml, then /etc/tidegate/tidegate.toml
    file: Option<PathBuf>,
    #[command(flatten)]
    node: Node,
}

impl Plan {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let loaded = match load(self.file.as_deref()) {
            Ok(loaded) => loaded,
            Err(error) => return talk.unloaded(&error),
        };
        let text = match read(&loaded.path) {
            Ok(text) => text,
            Err(source) => return talk.unloaded(&LoadError::Unreadable { path: loaded.path, source }),
        };
        match self.node.call(talk, "POST", "/v1/plan", Some(&json!({ "settings": text }))) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => talk.result(&told(&answer, "plan")),
            Err(ended) => ended,
        }
    }
}
