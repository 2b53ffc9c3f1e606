//! `[tier]` as meant: nodes before and behind this one.

use std::path::PathBuf;

use super::{Network, Origin};

/// The regional tier: nodes that this one asks before it asks origins, and nodes that ask this one.
#[derive(Clone, Debug, Default)]
pub struct Tier {
    /// Asked for what is missing here, before the origins.
    pub parents: Vec<Parent>,
    /// What this node proves itself with to its parents, and its children to it.
    pub key: Option<TierKey>,
    /// Networks whose nodes are children without a proof.
    pub children_from: Vec<Network>,
    /// Extra root certificates (PEM file) trusted for parents.
    pub ca: Option<PathBuf>,
    /// Nobody follows the parents' logs: for tests, which say by hand what is known of them.
    pub by_hand: bool,
}

impl Tier {
    /// Whether other nodes may ask this one as children.
    pub fn takes_children(&self) -> bool {
        !self.children_from.is_empty() || matches!(self.key, Some(TierKey::Written(_) | TierKey::File(_)))
    }
}

/// A node that is asked before the origins.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Where it is.
    pub origin: Origin,
    /// What this node proves itself with there, if not with the tier's key.
    pub key: Option<TierKey>,
}

/// A secret that nodes share.
#[derive(Clone, PartialEq, Eq)]
pub enum TierKey {
    /// There is none: the parents know this node by its address.
    None,
    /// As written.
    Written(Box<str>),
    /// What stands in a file.
    File(PathBuf),
}

impl std::fmt::Debug for TierKey {
    /// Tells everything but the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Written(_) => f.write_str("Written(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}
