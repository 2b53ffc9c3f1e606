//! What a caller gets in its hand when a purge has been applied.

use serde::{Deserialize, Serialize};

use crate::Order;

/// A purge's receipt, as JSON on the wire.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Receipt {
    /// Names the purge wherever it is told; the call's own id for a dry run.
    pub id: String,
    /// Its number in the log of purges; none for a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// `url`, `prefix`, `host`, `tag`, `everything`, or `mixed`.
    pub scope: &'static str,
    /// Made stale rather than forgotten.
    pub soft: bool,
    /// Stored responses it took, or would take: so many may be fetched anew. `None` where it named more than URLs and could not be
    /// held up to count ([`Scope::is_counted`]).
    ///
    /// [`Scope::is_counted`]: crate::Scope::is_counted
    pub matched: Option<u64>,
    /// Bytes of their heads and bodies; of a dry run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Where `matched` is an estimate: so many responses it may be off, in 19 of 20 cases.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<u64>,
    /// Shortly after a start: there may be more, for not all that is on disk is known yet.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub partial: bool,
    /// Nothing was changed.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Who has applied it.
    pub nodes: Vec<NodeReceipt>,
    /// Who was waited for, and has not said so in time.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub late: Vec<Box<str>>,
    /// Who gets it as well and was not waited for, in words: nodes that this one does not hear of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_waited_for: Vec<Box<str>>,
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

/// What the fleet says about a purge; as JSON also from a parent to its child.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct FleetReceipt {
    /// Every node that has applied it.
    pub nodes: Vec<NodeReceipt>,
    /// Names of those that are known and have not said so in time.
    pub late: Vec<Box<str>>,
    /// [`Receipt::not_waited_for`].
    pub not_waited_for: Vec<Box<str>>,
}

impl Receipt {
    /// The receipt of an order, before anything is known of it.
    pub(crate) fn of(order: &Order, id: &str) -> Self {
        let scope = order.scope().map_or("mixed", crate::Scope::as_str);
        Self { id: id.to_owned(), scope, soft: order.soft, ..Self::default() }
    }

    /// With what the fleet says. This node's own time stays as it was measured here.
    pub(crate) fn join(&mut self, fleet: FleetReceipt) {
        for node in fleet.nodes {
            match self.nodes.iter_mut().find(|known| known.node == node.node) {
                Some(known) => known.sequence = known.sequence.max(node.sequence),
                None => self.nodes.push(node),
            }
        }
        self.late = fleet.late;
        self.not_waited_for = fleet.not_waited_for;
    }
}
