//! Whole responses in memory, under a hard budget of bytes: foyer with S3-FIFO.
//!
//! Traps of the library that are closed here: an entry heavier than its shard flushes the whole shard, so what
//! is heavier than a share of it is refused before it is inserted; `clear()` does not reset the usage, so it is never
//! called; LRU and LFU take write locks on a hit, so the policy is S3-FIFO.
//!
//! Invariant: the sum of weights never exceeds the budget by more than what is being served.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use foyer_common::event::{Event, EventListener};
use foyer_memory::{Cache, CacheBuilder, S3FifoConfig};

use crate::entry::{Parts, StoredResponse};
use crate::key::CacheKey;
use crate::lookup::Variants;
use crate::tiers::arena::Arena;

/// What a key leads to.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// A response that answers every request for the key, or one variant under its own key.
    Response(Arc<StoredResponse>),
    /// The variants of a primary key.
    Variants(Arc<Variants>),
}

/// The memory tier.
pub(crate) struct Objects {
    cache: Cache<CacheKey, Slot, KeyHash>,
    /// For large bodies, if the system has one to give.
    arena: Option<Arc<Arena>>,
    entry_weight_max: usize,
    evicted: Arc<Evicted>,
}

#[derive(Default)]
struct Evicted(AtomicU64);

impl EventListener for Evicted {
    type Key = CacheKey;
    type Value = Slot;

    fn on_leave(&self, reason: Event, _key: &CacheKey, _value: &Slot) {
        if matches!(reason, Event::Evict) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Objects {
    /// A tier of `bytes` bytes, heads and overhead included.
    pub(crate) fn new(bytes: usize) -> Self {
        // Rounded down: a larger budget never keeps less.
        let shards = 1 << (bytes / SHARD_BYTES).clamp(1, SHARDS_MAX).ilog2();
        let evicted = Arc::new(Evicted::default());
        let cache = CacheBuilder::new(bytes)
            .with_name("memory")
            .with_shards(shards)
            .with_eviction_config(S3FifoConfig::default())
            .with_hash_builder(KeyHash)
            .with_weighter(|_: &CacheKey, slot: &Slot| slot.weight())
            .with_event_listener(Arc::clone(&evicted) as Arc<dyn EventListener<Key = CacheKey, Value = Slot>>)
            .build();
        let arena = Arena::new(bytes);
        Self { cache, arena, entry_weight_max: bytes / shards / SHARE_OF_SHARD, evicted }
    }

    /// Packs a response for this tier.
    pub(crate) fn pack(&self, parts: Parts) -> StoredResponse {
        StoredResponse::new_in(self.arena.as_ref(), parts)
    }

    /// Where large bodies lie, if there is such a place.
    pub(crate) const fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// The heaviest response that is kept.
    pub(crate) fn entry_weight_max(&self) -> usize {
        self.entry_weight_max
    }

    #[inline]
    pub(crate) fn find(&self, key: CacheKey) -> Option<Slot> {
        self.cache.get(&key).map(|entry| entry.value().clone())
    }

    /// Keeps `slot` under `key`, replacing what was there; `false` if it is too heavy, and then nothing is left there.
    pub(crate) fn insert(&self, key: CacheKey, slot: Slot) -> bool {
        if slot.weight() > self.entry_weight_max {
            self.cache.remove(&key);
            return false;
        }
        self.cache.insert(key, slot);
        true
    }

    pub(crate) fn remove(&self, key: CacheKey) -> Option<Slot> {
        self.cache.remove(&key).map(|entry| entry.value().clone())
    }

    pub(crate) fn bytes(&self) -> usize {
        self.cache.usage()
    }

    pub(crate) fn capacity_bytes(&self) -> usize {
        self.cache.capacity()
    }

    pub(crate) fn entries(&self) -> usize {
        self.cache.entries()
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.evicted.0.load(Ordering::Relaxed)
    }
}

impl Slot {
    fn weight(&self) -> usize {
        match self {
            Self::Response(stored) => stored.weight(),
            Self::Variants(variants) => variants.weight(),
        }
    }
}

/// A cache key is a keyed hash already: its low half is as good a hash as any.
#[derive(Clone, Copy, Default, Debug)]
struct KeyHash;

#[derive(Clone, Copy, Default, Debug)]
struct KeyHasher(u64);

impl BuildHasher for KeyHash {
    type Hasher = KeyHasher;

    fn build_hasher(&self) -> KeyHasher {
        KeyHasher(0)
    }
}

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, bits: u128) {
        #[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
        let low = bits as u64;
        self.0 ^= low;
    }
}

/// Memory per shard that is worth a lock of its own.
const SHARD_BYTES: usize = 64 * 1024 * 1024;
const SHARDS_MAX: usize = 64;
/// One response takes at most this part of its shard.
const SHARE_OF_SHARD: usize = 4;
