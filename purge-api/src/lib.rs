//! HTTP in, purge out: what a purge call says, who may make it, and what it is told.
//!
//! Knows HTTP's words (status, method, JSON) but no server: the root crate hands over bodies and field values and writes
//! the [`Reply`]. What a purge *does* is behind [`Purger`], which the root implements over its store; this crate
//! decides only whether a call is one, and never lets half of one through: a request is applied whole or refused whole.
//!
//! ```text
//! body ─ request::PurgeRequest::parse ─ call::carry_out ─ receipt::Receipt ─ Reply
//!             └ error::Refusal ─────────────┴─────────── reply::Problem ─┘   (RFC 9457)
//! ```

pub mod auth;
pub mod bus;
pub mod call;
pub mod compat;
pub mod deploy;
pub mod error;
#[doc(hidden)]
pub mod fake;
pub mod grant;
pub mod ledger;
pub mod limits;
pub mod log;
pub mod order;
pub mod rate;
pub mod receipt;
pub mod reply;
pub mod request;
pub mod url;

use std::future::Future;
use std::pin::Pin;

pub use cache_store::purge::{Applied, Matched};
pub use call::Call;
pub use error::{PurgeError, Refusal};
pub use limits::{NOTE_BYTES_MAX, NOTES_MAX};
pub use order::{HostName, Order, Scope, Selector, Tag};
pub use receipt::{FleetReceipt, NodeReceipt, Receipt};
pub use reply::{Problem, Reply};
pub use request::PurgeRequest;
pub use url::ResourceUrl;

/// What applies purges and remembers them. Implemented by the node over its store.
///
/// What is not async may wait for a disk: call it where waiting is allowed.
pub trait Purger: Send + Sync {
    /// Applies the whole order, durably and under one number; all of it or, on an error, nothing. When it returns no
    /// request is answered with what was stored or fetched before.
    ///
    /// # Errors
    /// [`PurgeError`]: a host that no site serves, or a purge that cannot be recorded.
    fn purge(&self, order: &Order) -> Result<Applied, PurgeError>;

    /// What such an order would touch now; changes nothing.
    ///
    /// # Errors
    /// As [`Purger::purge`].
    fn matched(&self, order: &Order) -> Result<Matched, PurgeError>;

    /// The same for an order that is about to be applied, where it can be told without holding that up: what it may cost the
    /// origin.
    fn beforehand(&self, order: &Order) -> Option<Matched>;

    /// The purges after number `since`, newest last, at most `max`: the oldest of them where there are more. Those older than
    /// anything that may still be stored are gone.
    ///
    /// # Errors
    /// The log cannot be read.
    fn purges(&self, since: u64, max: usize) -> Result<Vec<Entry>, PurgeError>;

    /// The number of the last purge, zero before the first. Does not wait.
    fn sequence(&self) -> u64;

    /// Fetches so far for what the purge of this number took here: what it has cost the origin. `None` where that is not known any
    /// more: only the last are told apart, and none from before the start.
    fn refetched(&self, sequence: u64) -> Option<u64>;

    /// Completes once [`Purger::sequence`] is past `since`. Whoever calls bounds how long it waits; dropping it is free.
    fn passed(&self, since: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;

    /// A small note kept by name (the manifest of a deploy), or `None`.
    ///
    /// # Errors
    /// The notes cannot be read.
    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, PurgeError>;

    /// Keeps a note, durably; it takes the place of one of the same name. At most
    /// [`NOTE_BYTES_MAX`] each and [`NOTES_MAX`] names.
    ///
    /// # Errors
    /// [`PurgeError::TooManyNotes`], [`PurgeError::NoteTooLong`], or it cannot be written.
    fn write_note(&self, name: &str, value: &[u8]) -> Result<(), PurgeError>;

    /// Every node of the fleet and the number that it has applied. Waits until all have applied `sequence`, or the node's own
    /// patience is over. A node without a fleet answers with itself at once.
    fn fleet_applied<'a>(&'a self, sequence: u64) -> Pin<Box<dyn Future<Output = FleetReceipt> + Send + 'a>>;
}

/// A purge as the log has it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Entry {
    /// Its number.
    pub sequence: u64,
    /// Names it wherever it is told, also on other nodes.
    pub id: String,
    /// What it took.
    pub order: Order,
    /// When, milliseconds since 1970.
    pub at_millis: u64,
    /// It was ordered at another node.
    pub elsewhere: bool,
}
