//! What other rooms tell when metrics are read: the store's size, the origins' health, the listeners' connections.
//!
//! Nothing here is kept or counted by `observe`: the lead of each room counts where things happen, and the node collects
//! a [`Gauges`] at each scrape.

use std::sync::Arc;

use super::histogram::Durations;

/// Numbers pulled at a scrape.
#[derive(Clone, Debug, Default)]
pub struct Gauges {
    /// The tiers of the store.
    pub tiers: Vec<Tier>,
    /// The origins, grouped by pool.
    pub origins: Vec<Origin>,
    /// The listeners' connections.
    pub connections: Vec<Connections>,
    /// Purges applied.
    pub purges: Purges,
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

/// One origin.
#[derive(Clone, Debug)]
pub struct Origin {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name: `http://host:port`.
    pub origin: Arc<str>,
    /// Whether requests are sent to it.
    pub healthy: bool,
    /// Requests sent, by the hundreds of the answer's status; index 0: no answer came.
    pub requests: [u64; 6],
    /// From request to head.
    pub durations: Durations,
    /// Connections open, idle ones included.
    pub connections: u64,
}

/// Client connections of one listener and protocol.
#[derive(Clone, Debug)]
pub struct Connections {
    /// The listener's address as configured.
    pub listener: Arc<str>,
    /// `HTTP/1.1`, `HTTP/2`.
    pub protocol: &'static str,
    /// Open now.
    pub open: u64,
    /// Accepted since start.
    pub accepted: u64,
}

/// Purges applied since start.
#[derive(Clone, Debug, Default)]
pub struct Purges {
    /// Sequence number of the last one applied.
    pub sequence: u64,
    /// How many, by scope and softness.
    pub applied: Vec<Applied>,
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
