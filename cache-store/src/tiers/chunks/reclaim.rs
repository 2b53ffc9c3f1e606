//! Keeping the limits: room for a put, and eviction by steps that the owner drives.
//!
//! ```text
//! 0 ─────────────── low 31/32 ──── high 63/64 ──── limit
//!                       ◄── reclaim ──┘               └── a put evicts for itself, or is refused
//! ```
//!
//! The same for bytes and for files. What is kept free answers nobody, so it is little: it spares a put an unlink, which takes
//! a tenth of what it takes to hash and write a chunk. The free space of the file system has a floor instead, which others may pass at any
//! time: below it a put is refused, and eviction begins a little above. Nothing here loops without a bound: what could
//! not be evicted now is left to the next step.

use std::sync::atomic::Ordering;

use super::table::Room;
use super::{ChunkStore, PutError, table};

/// What a step of eviction did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reclaimed {
    /// Chunks that were evicted.
    pub evicted: u32,
    /// There is more to evict: call again.
    pub more: bool,
}

impl ChunkStore {
    /// One step of eviction: up to 64 chunks when usage has passed the high water mark (63/64 of a limit), until it is
    /// below the low one (31/32). The owner calls it from time to time, and again while there is more.
    pub fn reclaim(&self) -> Reclaimed {
        if self.is_given() {
            return Reclaimed { evicted: 0, more: false };
        }
        let mut evicted = 0;
        let mut needed = self.excess(HIGH);
        if self.reclaiming.load(Ordering::Relaxed) || needed.any() {
            needed = self.excess(LOW);
        }
        while needed.any() && evicted < RECLAIMED_MAX {
            let Some(freed) = self.evict() else { break };
            evicted += 1;
            needed.take(freed);
        }
        let more = needed.any();
        self.reclaiming.store(more, Ordering::Relaxed);
        // Nothing could be evicted: calling again at once would be of no use.
        Reclaimed { evicted, more: more && evicted > 0 }
    }

    /// Room for a file of `len` bytes, for which up to nine chunks are evicted.
    pub(super) fn room(&self, len: u32) -> Result<Room<'_>, PutError> {
        let size = table::disk_bytes(len);
        if self.is_given() {
            return Err(PutError::Full);
        }
        for _ in 0..EVICTED_FOR_ROOM_MAX {
            let free = self.content.free_bytes()?;
            if free.checked_sub(size).is_some_and(|left| left >= self.limits.free_bytes_min)
                && let Some(room) = self.table.reserve(len, &self.limits())
            {
                return Ok(room);
            }
            if self.evict().is_none() {
                return Err(PutError::Full);
            }
        }
        Err(PutError::Full)
    }

    /// Evicts one chunk; its size on disk, or `None` if there is none to evict now.
    pub(super) fn evict(&self) -> Option<u64> {
        for _ in 0..NOT_UNLINKED_MAX {
            let id = self.table.victim()?;
            let _writing = self.stripes.lock(id);
            // Written again since it was chosen: it stays.
            let Some(known) = self.table.find(id).filter(|known| known.leaving) else { continue };
            match self.unlink(id) {
                Ok(()) => {
                    self.counters.count_evicted();
                    return Some(table::disk_bytes(known.len));
                }
                Err(error) => {
                    self.table.stay(id);
                    self.counters.count_not_unlinked(&error);
                }
            }
        }
        None
    }

    /// How far usage is beyond a mark so many steps below the limits, and the free space below what is to be left.
    fn excess(&self, steps: u64) -> Excess {
        let mark = |limit: u64| limit - limit.div_ceil(STEPS_OF_LIMIT).saturating_mul(steps).min(limit);
        let free = self.content.free_bytes().unwrap_or(u64::MAX);
        // Above the floor by as much as the marks are apart, so that a put finds room between two steps.
        let floor = self.limits.free_bytes_min;
        let floor = floor.saturating_add(steps.saturating_mul((floor / 16).min(FREE_MARGIN_MAX)));
        Excess {
            bytes: self.table.bytes().saturating_sub(mark(self.bytes_max())).max(floor.saturating_sub(free)),
            chunks: self.table.chunks().saturating_sub(mark(self.limits.inodes)),
        }
    }
}

/// What is to be evicted.
#[derive(Clone, Copy, Debug)]
struct Excess {
    bytes: u64,
    chunks: u64,
}

impl Excess {
    fn any(self) -> bool {
        self.bytes > 0 || self.chunks > 0
    }

    fn take(&mut self, freed_bytes: u64) {
        self.bytes = self.bytes.saturating_sub(freed_bytes);
        self.chunks = self.chunks.saturating_sub(1);
    }
}

/// A limit has so many steps…
const STEPS_OF_LIMIT: u64 = 64;
/// …and the water marks are so many below it.
const HIGH: u64 = 1;
const LOW: u64 = 2;
/// Chunks that one step of [`ChunkStore::reclaim`] evicts.
const RECLAIMED_MAX: u32 = 64;
/// Chunks that one put evicts for its room.
const EVICTED_FOR_ROOM_MAX: u32 = 9;
/// Victims that could not be unlinked, after which an eviction gives up.
const NOT_UNLINKED_MAX: u32 = 4;
/// A sixteenth of the free space floor, but no more than this.
const FREE_MARGIN_MAX: u64 = 64 << 20;
