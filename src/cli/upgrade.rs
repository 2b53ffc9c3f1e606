//! `tidegate upgrade`: a node's process is replaced by one of the binary as it lies there now.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::Ended;
use super::client::Node;
use super::talk::Talk;
use crate::config::limits::UPGRADE_CLIENT_TIMEOUT;

/// Replace a running node's binary without losing a request.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  apt-get install --only-upgrade tidegate && tidegate upgrade\n  tidegate upgrade --binary /opt/tidegate-2/tidegate\n\nThe new process gets the arguments and environment of the old one and its listening sockets, reads the settings file anew, and serves before the old one stops accepting; what the old one has under way it finishes, within `limits.drain_timeout`. One that crashes, hangs or refuses its settings changes nothing, and why is told. The signal USR2 does the same. Exit codes: 0 upgraded, 1 the old one goes on, 2 a mistake in the settings."
)]
pub(crate) struct Upgrade {
    /// The binary; default: what the node was started from, as it lies there now
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    node: Node,
}

impl Upgrade {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let body = match self.binary {
            None => None,
            Some(path) => match std::path::absolute(&path) {
                Ok(path) => Some(json!({ "binary": path })),
                Err(error) => {
                    talk.complain(&format!("cannot find {}: {error}", path.display()), "");
                    return Ended::Usage;
                }
            },
        };
        let called =
            self.node.call_within(UPGRADE_CLIENT_TIMEOUT, talk, "POST", "/v1/upgrade", body.as_ref());
        match called {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => {
                let pid = answer.get("pid").and_then(Value::as_u64).unwrap_or_default();
                let version = answer.get("version").and_then(Value::as_str).unwrap_or("-");
                talk.result(&format!("upgraded: tidegate {version} serves as process {pid}"))
            }
            Err(ended) => ended,
        }
    }
}
