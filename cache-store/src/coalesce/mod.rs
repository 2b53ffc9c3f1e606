//! Requests for the same thing at the same time become one fetch.
//!
//! ```text
//!              ┌─stream──► Streaming ──finish──► (stored)       followers read along from the first byte
//! Waiting ─────┼─settle──► Settled                              a 304 or a completed partial: followers send it
//!              ├─free────► Freed                                not shareable: followers go in parallel
//!              ├─fail────► Failed                               the origin failed: one failure for all
//!              └─drop────► Abandoned                            the leader vanished: followers look up again
//! ```
//!
//! A `Flight` is what leader and followers share; `Flights` is the table of those under way, one a flight key, in
//! shards whose lock also guards every lookup that is more than a fresh hit, every store and every purge of a key.
//!
//! Invariant: at most one flight for a key is open to followers; one that a purge has passed is closed to them.

mod fill;
mod follow;
mod phase;
mod unshared;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use parking_lot::{Mutex, MutexGuard};

pub(crate) use fill::HEAD_SLACK_BYTES;
pub use fill::{Fill, Writing};
pub use follow::{Followed, Follower};
pub(crate) use phase::{Phase, Phases};
use unshared::Unshared;

use crate::body::Growing;
use crate::entry::Epoch;
use crate::key::{CacheKey, KeyMap};
use crate::large::Large;
use crate::rules::{Freshness, VarySpec};
use crate::timestamp::Timestamp;

/// One fetch under way.
#[derive(Debug)]
pub(crate) struct Flight {
    /// What it is found by: the resource or one variant or range of it.
    pub(crate) key: CacheKey,
    /// The resource, which a purge names.
    pub(crate) primary: CacheKey,
    pub(crate) epoch: Epoch,
    pub(crate) phase: Phases,
}

/// A response whose head is here and whose body is coming.
#[derive(Debug)]
pub struct Streaming {
    /// The head.
    pub head: FillHead,
    /// The body as far as it has come.
    pub body: Arc<Growing>,
    /// Its length if the origin told.
    pub length: Option<u64>,
    /// The body as it goes to disk, if it does: read there what `body` no longer has.
    pub large: Option<Arc<Large>>,
    /// Its surrogate keys.
    pub tags: Box<[Box<str>]>,
}

impl Streaming {
    /// Whether any part of it can be had at any time: its own place in it, or from the origin.
    pub(crate) fn is_sliceable(&self) -> bool {
        self.head.status == StatusCode::OK
            && self.length.is_some()
            && self.large.as_ref().is_some_and(|large| large.validator().is_some())
    }
}

/// The head of a response that is being filled.
#[derive(Debug)]
pub struct FillHead {
    /// The final status.
    pub status: StatusCode,
    /// The fields to keep, framing and hop-by-hop left out.
    pub fields: HeaderMap,
    /// The same as lines.
    pub lines: Bytes,
    /// Frozen times.
    pub freshness: Freshness,
    /// Whom it answers.
    pub vary: VarySpec,
}

/// Why a fetch failed before its head, told to all who waited for it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The status to answer with: 502, 503 or 504.
    pub status: u16,
    /// A short stable reason.
    pub reason: &'static str,
}

/// The table of flights, with what is remembered about keys that do not share.
#[derive(Debug)]
pub(crate) struct Flights {
    shards: Box<[Mutex<Shard>]>,
}

/// Keys, and until when something is known of them.
#[derive(Debug, Default)]
struct Remembered(KeyMap<Timestamp>);

#[derive(Debug, Default)]
pub(crate) struct Shard {
    flights: KeyMap<Arc<Flight>>,
    /// Keys whose last answer could not be shared: their requests go in parallel until then.
    hit_for_miss: Unshared,
    /// Keys whose last refresh failed: the origin is left alone until then.
    failed: Remembered,
}

impl Flights {
    pub(crate) fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Locks the shard of a primary key. Never held across an await; no other lock of the store is taken first.
    pub(crate) fn shard(&self, primary: CacheKey) -> MutexGuard<'_, Shard> {
        let index = usize::try_from(primary.bits() & (SHARDS as u128 - 1)).unwrap_or(0);
        self.shards.get(index).unwrap_or(&self.shards[0]).lock()
    }

    /// Fetches under way.
    pub(crate) fn under_way(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().flights.len()).sum()
    }
}

impl Shard {
    pub(crate) fn flight(&self, key: CacheKey) -> Option<&Arc<Flight>> {
        self.flights.get(&key)
    }

    pub(crate) fn begin(&mut self, key: CacheKey, primary: CacheKey, epoch: Epoch) -> Arc<Flight> {
        let flight = detached(key, primary, epoch);
        self.flights.insert(key, Arc::clone(&flight));
        flight
    }

    /// Closes a flight to followers, if it is the one in the table.
    pub(crate) fn end(&mut self, flight: &Arc<Flight>) {
        if self.flights.get(&flight.key).is_some_and(|known| Arc::ptr_eq(known, flight)) {
            self.flights.remove(&flight.key);
        }
    }

    /// Closes every flight of a resource to followers: a purge has passed it.
    pub(crate) fn close(&mut self, primary: CacheKey) {
        self.flights.retain(|_, flight| flight.primary != primary);
    }

    pub(crate) fn remember_hit_for_miss(&mut self, key: CacheKey, now: Timestamp) {
        self.hit_for_miss.remember(key, now);
    }

    pub(crate) fn forget_hit_for_miss(&mut self, key: CacheKey) {
        self.hit_for_miss.forget(key);
    }

    pub(crate) fn is_hit_for_miss(&self, key: CacheKey, now: Timestamp) -> bool {
        self.hit_for_miss.holds(key, now)
    }

    pub(crate) fn remember_failure(&mut self, key: CacheKey, now: Timestamp) {
        self.failed.remember(key, now, FAILURE_BACK_OFF);
    }

    pub(crate) fn forget_failure(&mut self, key: CacheKey) {
        self.failed.0.remove(&key);
    }

    pub(crate) fn has_failed(&self, key: CacheKey, now: Timestamp) -> bool {
        self.failed.holds(key, now)
    }
}

/// A flight that nobody can join.
pub(crate) fn detached(key: CacheKey, primary: CacheKey, epoch: Epoch) -> Arc<Flight> {
    Arc::new(Flight { key, primary, epoch, phase: Phases::new() })
}

impl Remembered {
    fn remember(&mut self, key: CacheKey, now: Timestamp, keep: Duration) {
        let Self(table) = self;
        if table.len() >= REMEMBERED_MAX {
            table.retain(|_, until| now < *until);
            // Half of what is left makes room for as many: one at a time, each newcomer would look at all of them.
            let mut goes = false;
            if table.len() >= REMEMBERED_MAX {
                table.retain(|_, _| {
                    goes = !goes;
                    goes
                });
            }
        }
        table.insert(key, now.plus(keep));
    }

    fn holds(&self, key: CacheKey, now: Timestamp) -> bool {
        self.0.get(&key).is_some_and(|until| now < *until)
    }
}

/// A power of two.
const SHARDS: usize = 64;
/// Keys a shard remembers as failed.
const REMEMBERED_MAX: usize = 1024;
/// After a failed refresh the origin is not asked again for the key, while something stale may be served, for so long.
const FAILURE_BACK_OFF: Duration = Duration::from_secs(1);
