//! How purges come to other nodes: records of one log into the logs of others, in order, none left out.
//!
//! ```text
//! ordered here ── log ── Exchange::give ──► PurgeBus ──► Exchange::pull ── log ── applied there
//! ```
//!
//! A [`PurgeBus`] is a log somewhere else that can be read from a position on and written to: the fleet's stream
//! (`jetstream.rs`), or a parent's own log over HTTP (`pull.rs`). An [`Exchange`] keeps the node's log and one such log together:
//! it applies what comes, with the cursor in the same transaction, and gives what was ordered here until it is there. Whatever is
//! lost, doubled or reordered on the way is harmless: records have names, positions are durable, and a position that cannot be
//! continued makes everything count as softly purged.
//!
//! Invariant: a node that says that it has applied a position has applied every record up to it, or distrusts what it holds.

mod exchange;
mod jetstream;
pub mod pull;
mod standing;
mod status;
mod wire;

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

pub use exchange::{Exchange, Pulled, ScopeOf, record_of};
pub use jetstream::{JetStream, JetStreamSettings};
pub use standing::{Met, Position, Standing};
pub use status::{Members, Status};
pub use wire::Record;

use crate::FleetReceipt;

/// A log somewhere else. Cheap to call again after an error.
pub trait PurgeBus: Send + Sync {
    /// What it is called here, in cursors and receipts; never changes.
    fn name(&self) -> &str;

    /// Up to `max` records behind number `since`, in order. Waits for one, within bounds of its own, where there is none.
    /// Dropping it loses nothing.
    ///
    /// # Errors
    /// [`BusError`]
    fn pull(&self, since: u64, max: usize) -> Pending<'_, Batch>;

    /// Adds records to it; those that it has already it leaves out. Answers with a position at which it has them all. After an
    /// error any of them may be there.
    ///
    /// # Errors
    /// [`BusError`]
    fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position>;

    /// Who else has its record of this number, in the words of the node whose log it is, once all have it or `wait` is over; `None`
    /// where it is no node's. `hops` more nodes may ask on.
    ///
    /// # Errors
    /// [`BusError`]
    fn receipt(&self, _sequence: u64, _wait: Duration, _hops: u8) -> Pending<'_, Option<FleetReceipt>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// What a bus will answer.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, BusError>> + Send + 'a>>;

/// A piece of a log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Batch {
    /// Which log.
    pub log: u128,
    /// The number of the oldest record that it still has; one above the last where it has none.
    pub first: u64,
    /// The number of the last.
    pub last: u64,
    /// Numbers and records.
    pub records: Vec<(u64, Record)>,
}

/// A log that cannot be reached, or what it says cannot be read.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);
