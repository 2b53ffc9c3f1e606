//! What other rooms tell when metrics are read: the store's size, the origins' health, the listeners' connections.
//!
//! Nothing here is kept or counted by `observe`: the lead of each room counts where things happen, and the node collects
//! a [`Gauges`] at each scrape.

use std::sync::Arc;

use cache_store::tiers::sizing::Advice;

use crate::listener::stats::ListenerStats;
use crate::origin::OriginStats;
use crate::places::PlacesUsage;
use crate::route::access::Inspected;

/// Numbers pulled at a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The tiers of the store.
    pub tiers: Vec<Tier>,
    /// The origins, grouped by pool.
    pub origins: Vec<OriginStats>,
    /// The geo database, if there is one.
    pub places: Option<PlacesUsage>,
    /// The listeners.
    pub listeners: Vec<Arc<ListenerStats>>,
    /// Purges applied.
    pub purges: Purges,
    /// What was looked into for attacks.
    pub inspections: Vec<Inspected>,
    /// What other sizes of the tiers would bring, by the place of a site.
    pub sizing: Vec<(u16, Vec<Advice>)>,
    /// Whatever else a room counts, by its full metric name.
    pub others: Vec<Other>,
}

/// One tier of the store.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tier {
    /// `memory` or `disk`.
    pub tier: &'static str,
    /// Bytes held.
    pub bytes: u64,
    /// Bytes it may hold.
    pub bytes_max: u64,
    /// Responses held.
    pub objects: u64,
    /// Responses pushed out for want of room.
    pub evictions: u64,
}

/// Purges applied since start.
#[derive(Clone, Debug, Default)]
pub struct Purges {
    /// Sequence number of the last one applied.
    pub sequence: u64,
    /// Fetches for what they took.
    pub refetches: u64,
    /// How many, by scope and softness.
    pub applied: Vec<Applied>,
    /// How far this node and those that it knows of are, this one first.
    pub nodes: Vec<NodeStanding>,
}

/// How far a node is in applying purges.
#[derive(Clone, Debug)]
pub struct NodeStanding {
    /// Its name.
    pub node: Box<str>,
    /// What it is to this one: `this`, `parent`, `child`, `member` of the same stream, or the `stream` itself.
    pub kind: &'static str,
    /// The number of the last purge in its own log, where it says.
    pub sequence: Option<u64>,
    /// Purges that it has not applied yet and this node has; `None` where that cannot be told.
    pub behind: Option<u64>,
    /// Seconds since it was last heard of, or, of what is followed, since everything of it was applied here.
    pub heard_seconds: u64,
    /// What is wrong with hearing it.
    pub trouble: Option<String>,
}

/// Purges of one kind.
#[derive(Clone, Copy, Debug)]
pub struct Applied {
    /// `url`, `prefix`, `host`, `tag` or `everything`.
    pub scope: &'static str,
    /// Made stale rather than forgotten.
    pub soft: bool,
    /// How many.
    pub count: u64,
}

/// A number without labels.
#[derive(Clone, Copy, Debug)]
pub struct Other {
    /// Full name: `tidegate_store_errors_total`.
    pub name: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// Whether it only ever rises.
    pub counter: bool,
    /// Its value.
    pub value: u64,
}
