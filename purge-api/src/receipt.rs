//! What a caller gets in its hand when a purge has been applied.

use serde::{Deserialize, Serialize};

/// A purge's receipt, as JSON on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Receipt {
    /// The call's id; the admin listener's log has it too.
    pub id: String,
    /// Its number in the log of purges; none for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `url`, `prefix`, `host`, `tag` or `everything`.
    pub scope: &'static str,
    /// Made stale rather than forgotten.
    pub soft: bool,
    /// Stored responses it touched, or would have.
    pub matched: u64,
    /// Nothing was changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Who has applied it.
    pub nodes: Vec<NodeReceipt>,
}

/// One node's part in it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct NodeReceipt {
    /// The node's name.
    pub node: String,
    /// The sequence it has applied.
    pub sequence: u64,
    /// Milliseconds from the call to then.
    pub ms: u64,
}

/// What the fleet says about a purge.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FleetReceipt {
    /// Every node that has applied it.
    pub nodes: Vec<NodeReceipt>,
    /// Names of those that are known and have not said so in time.
    pub late: Vec<Box<str>>,
}
