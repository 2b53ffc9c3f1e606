//! What is on disk, as far as this process knows: an entry a chunk, counted against the limits.
//!
//! ```text
//! absent ──insert──► known ──victim──► leaving ──remove──► absent      (file unlinked)
//!                      ▲                  └─────stay──► known          (could not be unlinked)
//!                      └──────────insert──────┘                        (written again meanwhile)
//! ```
//!
//! Invariant: a pinned chunk is never a victim, and a leaving one is never pinned. No lock is held while a file is
//! touched, so asking is cheap from a worker too. One shard's lock at a time. The order of eviction is
//! [`super::shard`]'s.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::Limits;
use super::id::ChunkId;
use super::shard::{Entering, Known, Shard};

/// The accounting of chunks.
#[derive(Debug)]
pub(super) struct Table {
    shards: Box<[Mutex<Shard>]>,
    /// Keyed: names are hashes already, but of bytes that somebody chose.
    hash: RandomState,
    /// Bytes on disk, reservations included.
    bytes: AtomicU64,
    /// Files on disk, reservations included.
    chunks: AtomicU64,
    /// The shard that the next victim is looked for in.
    turn: AtomicUsize,
    pins: AtomicUsize,
    pins_max: usize,
}

/// Room for one file that is about to be written; given back when dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    table: &'a Table,
    size: u64,
}

/// A chunk that is not evicted while this lives. Bounded in number; see [`super::ChunkStore::pin`].
#[derive(Debug)]
pub struct Pin {
    table: Arc<Table>,
    id: ChunkId,
}

impl Table {
    pub(super) fn new(limits: &Limits) -> Self {
        // The order of eviction is a shard's own: few chunks share one.
        let expected = limits.inodes.min(limits.bytes / u64::from(super::CHUNK_BYTES));
        let shards = usize::try_from(expected / SHARD_CHUNKS).unwrap_or(SHARDS_MAX).clamp(1, SHARDS_MAX);
        let half_of_bytes =
            usize::try_from(limits.bytes / (2 * u64::from(super::CHUNK_BYTES))).unwrap_or(usize::MAX);
        let half_of_files = usize::try_from(limits.inodes / 2).unwrap_or(usize::MAX);
        Self {
            shards: (0..shards).map(|_| Mutex::new(Shard::new())).collect(),
            hash: RandomState::new(),
            bytes: AtomicU64::new(0),
            chunks: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            pins: AtomicUsize::new(0),
            pins_max: PINS_MAX.min(half_of_bytes).min(half_of_files).max(1),
        }
    }

    pub(super) fn find(&self, id: ChunkId) -> Option<Known> {
        let (hash, shard) = self.place(id);
        shard.lock().find(hash, id)
    }

    /// As [`Self::find`], and marks it as read.
    pub(super) fn touch(&self, id: ChunkId) -> Option<Known> {
        let (hash, shard) = self.place(id);
        shard.lock().touch(hash, id)
    }

    /// Takes room for a file of `len` bytes, or says that a limit would be passed.
    pub(super) fn reserve(&self, len: u32, limits: &Limits) -> Option<Room<'_>> {
        let size = disk_bytes(len);
        let within =
            |limit: u64, more: u64| move |used: u64| used.checked_add(more).filter(|used| *used <= limit);
        self.bytes.fetch_update(Ordering::AcqRel, Ordering::Acquire, within(limits.bytes, size)).ok()?;
        if self.chunks.fetch_update(Ordering::AcqRel, Ordering::Acquire, within(limits.inodes, 1)).is_err() {
            self.bytes.fetch_sub(size, Ordering::AcqRel);
            return None;
        }
        Some(Room { table: self, size })
    }

    /// Enters a file that is on disk. With `room` it was accounted before; without, it was there without our doing, and
    /// may pass the limits until it is reclaimed.
    pub(super) fn insert(&self, id: ChunkId, len: u32, how: Entering, room: Option<Room<'_>>) {
        let (hash, shard) = self.place(id);
        let mut shard = shard.lock();
        if shard.find(hash, id).is_some() {
            // A torn file may have been entered with another length than the one that is right.
            if how == Entering::Verified
                && let Some(before) = shard.verify(hash, id, len)
            {
                self.bytes.fetch_add(disk_bytes(len), Ordering::AcqRel);
                self.bytes.fetch_sub(disk_bytes(before), Ordering::AcqRel);
            }
        } else if shard.insert(hash, id, len, how, |id| self.hash.hash_one(id)) {
            if let Some(room) = room {
                room.taken();
            } else {
                self.bytes.fetch_add(disk_bytes(len), Ordering::AcqRel);
                self.chunks.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Forgets a chunk whose file is gone.
    pub(super) fn remove(&self, id: ChunkId) {
        let (hash, shard) = self.place(id);
        if let Some(len) = shard.lock().remove(hash, id) {
            self.bytes.fetch_sub(disk_bytes(len), Ordering::AcqRel);
            self.chunks.fetch_sub(1, Ordering::AcqRel);
        }
    }

    /// Chooses a chunk to evict and marks it as leaving, until [`Self::remove`] or [`Self::stay`]. Shards take turns; a
    /// call looks at a bounded number of entries, so `None` means: none now.
    pub(super) fn victim(&self) -> Option<ChunkId> {
        for _ in 0..self.shards.len().max(LOOKS_MIN) {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed) % self.shards.len();
            if let Some(id) = self.shards.get(turn).and_then(|shard| shard.lock().victim()) {
                return Some(id);
            }
        }
        None
    }

    /// The eviction of `id` did not happen.
    pub(super) fn stay(&self, id: ChunkId) {
        let (hash, shard) = self.place(id);
        shard.lock().stay(hash, id);
    }

    /// Keeps `id` from being evicted; `None` if it is leaving already, or too much is pinned.
    pub(super) fn pin(self: &Arc<Self>, id: ChunkId) -> Option<Pin> {
        let one_more = |pins| (pins < self.pins_max).then_some(pins + 1);
        self.pins.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        let (hash, shard) = self.place(id);
        if !shard.lock().pin(hash, id) {
            self.pins.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        Some(Pin { table: Arc::clone(self), id })
    }

    pub(super) fn pinned(&self, id: ChunkId) -> bool {
        self.place(id).1.lock().is_pinned(id)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    pub(super) fn chunks(&self) -> u64 {
        self.chunks.load(Ordering::Acquire)
    }

    pub(super) fn pins(&self) -> usize {
        self.pins.load(Ordering::Acquire)
    }

    /// Memory of the table itself.
    pub(super) fn memory_bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().memory_bytes()).sum::<usize>()
            + size_of_val(&*self.shards)
    }

    fn place(&self, id: ChunkId) -> (u64, &Mutex<Shard>) {
        let hash = self.hash.hash_one(id);
        // The index of a shard uses the low and the top seven bits.
        let shard = (hash >> 32) as usize % (1 << 16) % self.shards.len();
        (hash, self.shards.get(shard).expect("a remainder of their number"))
    }

    /// Counts again what the counters say, while nobody writes.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        let mut counted = (0, 0, 0);
        for shard in &self.shards {
            let (lens, pins) = shard.lock().check_invariants();
            counted.0 += lens.iter().map(|len| disk_bytes(*len)).sum::<u64>();
            counted.1 += lens.len() as u64;
            counted.2 += pins;
        }
        assert_eq!(counted, (self.bytes(), self.chunks(), self.pins()), "what is counted is what is there");
    }
}

impl Room<'_> {
    /// The file is there: the room is the entry's now.
    fn taken(self) {
        std::mem::forget(self);
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        self.table.bytes.fetch_sub(self.size, Ordering::AcqRel);
        self.table.chunks.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pin {
    /// What is pinned.
    pub fn id(&self) -> ChunkId {
        self.id
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.table.place(self.id).1.lock().unpin(self.id);
        self.table.pins.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What a file of `len` bytes takes on disk.
pub(super) fn disk_bytes(len: u32) -> u64 {
    u64::from(len).next_multiple_of(4096)
}

/// Many, so that growing one shard's index takes microseconds at ten million chunks.
const SHARDS_MAX: usize = 256;
/// Chunks that are worth a shard of their own.
const SHARD_CHUNKS: u64 = 1024;
/// Looks for one victim, where there are fewer shards.
const LOOKS_MIN: usize = 4;
/// Pins at a time, whatever the limits: 4 MiB of memory at most. A body of 10 GiB takes 10,240.
const PINS_MAX: usize = 65_536;
