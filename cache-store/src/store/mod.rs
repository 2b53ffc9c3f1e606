//! The store: one lookup, one way to fill, one way to purge.
//!
//! A fresh hit takes no lock but the memory tier's shared one. Everything else (a miss, a stale answer with its
//! refresh, the end of a fill, a purge) happens under the lock of the key's shard in `Flights`, so each sees
//! the others whole. Locks are taken in this order: shard, then memory tier; none is held across an await.
//!
//! Invariant: at most one fill is open to followers for a key, and no response is inserted past a purge.

mod arriving;
mod asking;
mod keeping;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use self::arriving::Reservation;
pub use self::asking::Peek;
use crate::coalesce::Flights;
use crate::entry::{Epoch, Parts, StoredResponse};
use crate::handover::Handover;
use crate::key::{CacheKey, Keyer};
use crate::purge::{Purges, Resource};
use crate::rules::Purged;
use crate::stock::Stock;
use crate::tiers::admit::Recency;
use crate::tiers::disk::Disk;
pub use crate::tiers::objects::MemoryAdmission;
use crate::tiers::objects::{Goal, Objects};
use crate::tiers::sizing::Sizing;

/// What a store is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Budget of the memory tier in bytes: bodies, heads, records.
    pub memory_bytes: usize,
    /// What memory takes in.
    pub memory_admission: MemoryAdmission,
    /// Longest response that is stored, bytes.
    pub object_bytes_max: u64,
    /// Secret under which keys are hashed.
    pub secret: [u8; 32],
}

/// The cache. Shared by all workers.
pub struct CacheStore {
    keyer: Keyer,
    objects: Objects,
    disk: Option<Arc<Disk>>,
    flights: Flights,
    purges: Arc<Purges>,
    stock: Stock,
    pub(crate) sizing: Sizing,
    /// How long a response in memory waits for the request at which a full disk takes it.
    recency: Recency,
    handover: Handover,
    pub(crate) object_bytes_max: u64,
    /// Bytes of bodies that are arriving and will be stored; they are not in the tier's budget yet.
    arriving: AtomicU64,
    arriving_max: u64,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    fills: AtomicU64,
    stored: AtomicU64,
    collapsed: AtomicU64,
    promoted: AtomicU64,
}

/// Figures about the store, read without stopping it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Weight of what the memory tier holds.
    pub memory_bytes: u64,
    /// Its budget.
    pub memory_bytes_max: u64,
    /// Responses and variant lists in it.
    pub memory_objects: u64,
    /// Responses pushed out of it.
    pub memory_evictions: u64,
    /// Bytes of bodies arriving to be stored.
    pub arriving_bytes: u64,
    /// Fetches open to followers now.
    pub fills_under_way: u64,
    /// Fills begun since the start.
    pub fills: u64,
    /// Responses stored since the start.
    pub stored: u64,
    /// Requests that waited for another's fetch.
    pub collapsed: u64,
    /// Responses and variant lists brought from disk since the start.
    pub promoted: u64,
    /// Number of the last purge.
    pub purge_sequence: u64,
    /// Fetches for what purges took.
    pub purge_refetches: u64,
}

impl std::fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheStore").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

impl CacheStore {
    /// An empty store in memory.
    pub fn new(settings: &Settings) -> Arc<Self> {
        Self::over(settings, None)
    }

    /// A store in memory over a disk. The secret must be the disk's ([`Disk::secret`]): keys are hashed under it.
    pub fn over(settings: &Settings, disk: Option<Disk>) -> Arc<Self> {
        let goal = disk.as_ref().map_or(Goal::Both, |_| Goal::Bytes);
        let objects = Objects::new(settings.memory_bytes, settings.memory_admission, goal);
        let disk_bytes = disk.as_ref().map(|disk| disk.usage().bytes_max);
        let sizing = Sizing::beside(&objects, goal, disk_bytes);
        Arc::new(Self {
            keyer: Keyer::new(settings.secret),
            objects,
            sizing,
            flights: Flights::new(),
            purges: disk
                .as_ref()
                .map_or_else(|| Arc::new(Purges::in_memory()), |disk| Arc::clone(disk.purges())),
            stock: Stock::new(disk.is_none()),
            recency: Recency::new(settings.memory_bytes as u64),
            handover: Handover::default(),
            disk: disk.map(|disk| Arc::new(disk.beneath(settings.memory_bytes as u64))),
            object_bytes_max: settings.object_bytes_max,
            arriving: AtomicU64::new(0),
            arriving_max: (settings.memory_bytes as u64 / ARRIVING_SHARE).max(ARRIVING_BYTES_MIN),
            counters: Counters::default(),
        })
    }

    /// What makes keys for this store.
    pub const fn keyer(&self) -> &Keyer {
        &self.keyer
    }

    /// What the purges say about a stored response, looked up if that may have changed.
    #[inline]
    pub fn purged(&self, stored: &StoredResponse, resource: &Resource<'_>) -> Purged {
        self.purges.broad.check(stored, resource)
    }

    pub(crate) fn purges(&self) -> &Purges {
        &self.purges
    }

    /// The purge epoch now: what a fetch that begins now belongs to.
    pub fn epoch(&self) -> Epoch {
        self.purges.log.epoch()
    }

    /// Whether no purge of the resource was applied since `epoch`. May deny it wrongly, never wrongly affirm it.
    pub fn untouched_since(&self, primary: CacheKey, epoch: Epoch) -> bool {
        self.purges.since(primary, epoch) == Purged::No && self.purges.broad.last() <= epoch
    }

    /// What became of a response for a resource whose fetch began at `epoch`.
    pub(crate) fn purged_since(&self, primary: CacheKey, epoch: Epoch) -> Purged {
        self.purges.since(primary, epoch)
    }

    pub(crate) const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The disk beneath, if there is one.
    pub const fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// Another process of this node that serves as well.
    pub(crate) const fn handover(&self) -> &Handover {
        &self.handover
    }

    /// What is known of URLs.
    pub(crate) const fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Whether a key leads to something in either tier.
    pub(crate) fn holds(&self, key: CacheKey) -> bool {
        self.objects.peek(key).is_some() || self.is_on_disk(key)
    }

    /// Learns the URLs of what a disk had at the start, until `goes_on` says no. Once, beside everything else: it reads up to 16,384
    /// records. Blocks.
    pub fn take_stock(&self, goes_on: impl Fn() -> bool) {
        let Some(disk) = &self.disk else { return };
        let share = self.stock.prepare(disk.usage().objects);
        let is_held = |key| self.holds(key);
        let whole = disk.each_item(share, |key, item| {
            self.stock.note_found(key, item, is_held);
            goes_on()
        });
        if whole {
            self.stock.whole();
        }
    }

    pub(crate) fn is_on_disk(&self, key: CacheKey) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.holds(key))
    }

    /// Longest response that is stored, in bytes of weight.
    pub fn entry_bytes_max(&self) -> u64 {
        (self.objects.entry_weight_max() as u64).min(self.object_bytes_max)
    }

    /// Longest body that is stored, bytes, where the rest of its entry weighs `beside_bytes` at most.
    pub(crate) fn body_bytes_max(&self, beside_bytes: u64) -> u64 {
        (self.objects.entry_weight_max() as u64).saturating_sub(beside_bytes).min(self.object_bytes_max)
    }

    /// Figures for metrics and `stat`.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.objects.bytes() as u64,
            memory_bytes_max: self.objects.capacity_bytes() as u64,
            memory_objects: self.objects.entries() as u64,
            memory_evictions: self.objects.evictions(),
            arriving_bytes: self.arriving.load(Ordering::Relaxed),
            fills_under_way: self.flights.under_way() as u64,
            fills: self.counters.fills.load(Ordering::Relaxed),
            stored: self.counters.stored.load(Ordering::Relaxed),
            collapsed: self.counters.collapsed.load(Ordering::Relaxed),
            promoted: self.counters.promoted.load(Ordering::Relaxed),
            purge_sequence: self.purges.log.sequence(),
            purge_refetches: self.purges.broad.costs.total(),
        }
    }

    pub(crate) const fn flights(&self) -> &Flights {
        &self.flights
    }

    /// Makes of `parts` what the memory tier keeps.
    pub(crate) fn pack(&self, parts: Parts) -> StoredResponse {
        self.objects.pack(parts)
    }
}

/// Bodies arriving at once take at most this part of the memory budget.
const ARRIVING_SHARE: u64 = 8;
/// …or so much if that is more.
const ARRIVING_BYTES_MIN: u64 = 32 * 1024 * 1024;
