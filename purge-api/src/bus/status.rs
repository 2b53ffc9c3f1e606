//! How far the nodes of a fleet are, as they say themselves.

use std::collections::BTreeMap;

use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::Position;

/// What a node says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// Who.
    pub node: Box<str>,
    /// How far it has come in the log that all follow.
    pub position: Position,
    /// How far its own log is.
    pub sequence: u64,
}

/// The nodes that have been heard of lately. At most 1,024.
#[derive(Debug)]
pub struct Members {
    heard: Mutex<BTreeMap<Box<str>, (Status, Timestamp)>>,
    changed: watch::Sender<()>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    node: String,
    position: String,
    sequence: u64,
}

impl Status {
    /// As it is said.
    pub fn to_json(&self) -> Vec<u8> {
        let written = Written {
            node: self.node.to_string(),
            position: self.position.to_string(),
            sequence: self.sequence,
        };
        // Strings and numbers only.
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// What these words say, if anything.
    pub fn from_json(text: &[u8]) -> Option<Self> {
        let Written { node, position, sequence } = serde_json::from_slice(text).ok()?;
        let position = position.parse().ok()?;
        is_name(&node).then(|| Self { node: node.into(), position, sequence })
    }
}

impl Default for Members {
    fn default() -> Self {
        Self { heard: Mutex::default(), changed: watch::Sender::new(()) }
    }
}

impl Members {
    /// A node has said this now.
    pub fn hear(&self, status: Status, now: Timestamp) {
        let mut heard = self.heard.lock();
        if heard.len() >= MEMBERS_MAX && !heard.contains_key(&status.node) {
            let longest_ago = heard.iter().min_by_key(|(_, (_, at))| *at).map(|(node, _)| node.clone());
            if let Some(node) = longest_ago {
                heard.remove(&node);
            }
        }
        heard.insert(status.node.clone(), (status, now));
        drop(heard);
        self.changed.send_replace(());
    }

    /// Those that have been heard of since `since`, by name.
    pub fn since(&self, since: Timestamp) -> Vec<Status> {
        let heard = self.heard.lock();
        heard.values().filter(|(_, at)| *at >= since).map(|(status, _)| status.clone()).collect()
    }

    /// The same, each with when it was heard of last.
    pub fn heard_since(&self, since: Timestamp) -> Vec<(Status, Timestamp)> {
        let heard = self.heard.lock();
        heard.values().filter(|(_, at)| *at >= since).cloned().collect()
    }

    /// Wakes whenever one is heard.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

/// Whether a node may be called so.
pub(super) fn is_name(node: &str) -> bool {
    (1..=NODE_BYTES_MAX).contains(&node.len()) && node.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Nodes remembered.
const MEMBERS_MAX: usize = 1024;
const NODE_BYTES_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn status(node: &str, sequence: u64) -> Status {
        Status { node: node.into(), position: Position { log: 7, sequence }, sequence: 1 }
    }

    #[test]
    fn words_read_the_same_again_and_others_say_nothing() {
        assert_eq!(Status::from_json(&status("a-1", 9).to_json()), Some(status("a-1", 9)));
        for text in [
            "",
            "{}",
            r#"{"node":"","position":"0","sequence":1}"#,
            r#"{"node":"a b","position":"0:1","sequence":1}"#,
        ] {
            assert_eq!(Status::from_json(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn who_has_not_been_heard_of_lately_is_no_member() {
        let members = Members::default();
        members.hear(status("a", 1), Timestamp::from_secs(10));
        members.hear(status("b", 1), Timestamp::from_secs(20));
        members.hear(status("a", 2), Timestamp::from_secs(30));
        assert_eq!(members.since(Timestamp::from_secs(25)), [status("a", 2)]);
        assert_eq!(members.since(Timestamp::from_secs(5)).len(), 2);
        for node in 0..2 * MEMBERS_MAX {
            members.hear(status(&node.to_string(), 1), Timestamp::from_secs(40));
        }
        assert_eq!(members.since(Timestamp::from_secs(0)).len(), MEMBERS_MAX);
    }
}
