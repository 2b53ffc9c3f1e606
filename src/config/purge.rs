//! `[purge]` as meant.

use std::path::PathBuf;
use std::time::Duration;

use super::{Network, limits};

/// Purging: who may by method, and how purges come to other nodes.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Who may use the PURGE method.
    pub method_from: Vec<Network>,
    /// Fetches a second that soft purges may cause; what is asked for most goes first.
    pub refresh_per_second: u32,
    /// The fleet's stream, if there is a broker.
    pub bus: Option<NatsBus>,
    /// What becomes of what is stored while it is not certain that every purge has been heard of.
    pub unsynced: Unsynced,
    /// How long a stream or a parent's log may be out of reach before that is so.
    pub unsynced_after: Duration,
}

/// A stream of a NATS broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatsBus {
    /// Addresses, separated by commas.
    pub servers: String,
    /// The stream's name, the same on every node of the fleet.
    pub stream: String,
    /// On how many brokers it is kept, where it has to be made.
    pub replicas: usize,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
}

/// What becomes of what is stored while it is not certain that every purge has been heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unsynced {
    /// It counts as softly purged: confirmed by the origin before it is used as fresh.
    #[default]
    Revalidate,
    /// It is not used, and the node is not ready.
    Deny,
    /// It is used as if nothing had happened.
    Serve,
}

impl Default for Purge {
    fn default() -> Self {
        Self {
            method_from: Vec::new(),
            refresh_per_second: limits::REFRESH_PER_SECOND,
            bus: None,
            unsynced: Unsynced::default(),
            unsynced_after: limits::UNSYNCED_AFTER,
        }
    }
}
