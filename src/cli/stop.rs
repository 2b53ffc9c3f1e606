//! `tidegate stop`: a node stops accepting, finishes what is under way and ends.

use clap::Args;

use super::Ended;
use super::client::Node;
use super::talk::Talk;

/// Let a running node finish what is under way and end.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate stop\n  tidegate stop --admin 127.0.0.1:9181\n\nIt returns when the node has begun to end; a service manager sees the process exit."
)]
pub(crate) struct Stop {
    #[command(flatten)]
    node: Node,
}

impl Stop {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        match self.node.call(talk, "POST", "/v1/stop", None) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(_) => {
                talk.say("the node takes no new connections and ends when what is under way is done");
                Ended::Done
            }
            Err(ended) => ended,
        }
    }
}
