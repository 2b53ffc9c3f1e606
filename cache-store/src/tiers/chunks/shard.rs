//! Which chunk to evict next, in one shard of the table.
//!
//! A second chance: a chunk enters at the new end unvisited; a read marks it; whoever looks for a victim begins at the old end, moves
//! the marked to the new one without their mark, and takes the first without. Entries do not move on a hit, so a hit is one
//! bit. What the walk finds from an earlier life enters at the old end: cold until it is read.
//!
//! Why not SIEVE, which stood here before: it leaves the marked where they are, so of what is read now and then a little stays. Of
//! the bytes of large bodies in `tc0` at 58 MB it answers .491, this .503, LRU .503.
//!
//! Entries live in pages and the index holds their numbers, so that growing copies numbers and not entries: 44 B an
//! entry and 6 to 12 B of index, however many there are.
//!
//! Invariant: the list, the index and the free entries together are the pages' entries, each once.

use std::collections::HashMap;

use hashbrown::HashTable;

use super::id::ChunkId;

/// What is known of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Known {
    /// Its length in bytes.
    pub(super) len: u32,
    /// This process has written it, or has read it whole and found its name right.
    pub(super) verified: bool,
    /// It is being evicted.
    pub(super) leaving: bool,
}

/// How a chunk comes into the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Entering {
    /// Written, or read whole and found right.
    Verified,
    /// Seen by the walk.
    Cold,
}

/// The entries of one shard, in the order of their coming.
#[derive(Debug)]
pub(super) struct Shard {
    index: HashTable<u32>,
    /// Boxed: a vector of them would copy them all to grow, and hold twice as many.
    #[allow(clippy::vec_box)]
    pages: Vec<Box<[Entry; PAGE]>>,
    /// First of the free entries, chained by `newer`.
    free: u32,
    newest: u32,
    oldest: u32,
    pins: HashMap<ChunkId, u32>,
}

/// 44 bytes.
#[derive(Clone, Copy, Debug)]
struct Entry {
    id: ChunkId,
    /// Length in the low bits, flags in the high ones.
    state: u32,
    newer: u32,
    older: u32,
}

impl Shard {
    pub(super) fn new() -> Self {
        Self {
            index: HashTable::new(),
            pages: Vec::new(),
            free: NONE,
            newest: NONE,
            oldest: NONE,
            pins: HashMap::new(),
        }
    }

    pub(super) fn find(&self, hash: u64, id: ChunkId) -> Option<Known> {
        Some(self.entry(self.slot(hash, id)?)?.known())
    }

    /// As [`Self::find`], and marks it as read.
    pub(super) fn touch(&mut self, hash: u64, id: ChunkId) -> Option<Known> {
        let slot = self.slot(hash, id)?;
        let entry = self.entry_mut(slot)?;
        entry.state |= VISITED;
        Some(entry.known())
    }

    /// Its file is there and right, and `len` bytes long: it stays, if it was leaving. The length that was noted before.
    pub(super) fn verify(&mut self, hash: u64, id: ChunkId, len: u32) -> Option<u32> {
        let slot = self.slot(hash, id)?;
        let entry = self.entry_mut(slot)?;
        let before = entry.known().len;
        entry.state = (len & LEN) | VERIFIED | VISITED;
        Some(before)
    }

    /// It is not evicted after all.
    pub(super) fn stay(&mut self, hash: u64, id: ChunkId) {
        if let Some(slot) = self.slot(hash, id)
            && let Some(entry) = self.entry_mut(slot)
        {
            entry.state &= !LEAVING;
        }
    }

    /// `false` if it is leaving. What is not known may be pinned as well: it may be on disk.
    pub(super) fn pin(&mut self, hash: u64, id: ChunkId) -> bool {
        let stays = self.find(hash, id).is_none_or(|known| !known.leaving);
        if stays {
            *self.pins.entry(id).or_default() += 1;
        }
        stays
    }

    pub(super) fn unpin(&mut self, id: ChunkId) {
        if let Some(count) = self.pins.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.pins.remove(&id);
            }
        }
    }

    pub(super) fn is_pinned(&self, id: ChunkId) -> bool {
        !self.pins.is_empty() && self.pins.contains_key(&id)
    }

    /// Enters what is not there; `false` when four billion are.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        id: ChunkId,
        len: u32,
        how: Entering,
        hasher: impl Fn(ChunkId) -> u64,
    ) -> bool {
        let Some(slot) = self.free_slot() else { return false };
        let flags = if how == Entering::Verified { VERIFIED } else { 0 };
        if let Some(free) = self.entry_mut(slot) {
            *free = Entry { id, state: (len & LEN) | flags, newer: NONE, older: NONE };
        }
        let (neighbour, end) = if how == Entering::Cold {
            let neighbour = std::mem::replace(&mut self.oldest, slot);
            (neighbour, &mut self.newest)
        } else {
            let neighbour = std::mem::replace(&mut self.newest, slot);
            (neighbour, &mut self.oldest)
        };
        if neighbour == NONE {
            *end = slot;
        } else if how == Entering::Cold {
            self.link(slot, neighbour);
        } else {
            self.link(neighbour, slot);
        }
        let pages = &self.pages;
        let rehash = |slot: &u32| entry_of(pages, *slot).map_or(0, |entry| hasher(entry.id));
        self.index.insert_unique(hash, slot, rehash);
        true
    }

    /// Its length, if it was there.
    pub(super) fn remove(&mut self, hash: u64, id: ChunkId) -> Option<u32> {
        let slot = self.slot(hash, id)?;
        if let Ok(found) = self.index.find_entry(hash, |at| *at == slot) {
            found.remove();
        }
        let entry = self.unlink(slot)?;
        let free = std::mem::replace(&mut self.free, slot);
        if let Some(entry) = self.entry_mut(slot) {
            entry.newer = free;
        }
        Some(entry.known().len)
    }

    /// The next to evict, from now on leaving. Looks at a bounded number of entries.
    pub(super) fn victim(&mut self) -> Option<ChunkId> {
        let mut slot = self.oldest;
        for passed in 0..LOOKED_AT_MAX {
            let entry = *self.entry(slot)?;
            if entry.known().leaving {
                slot = entry.newer;
                continue;
            }
            // Where all were read, the oldest goes as any: a look has to end.
            let read = entry.state & VISITED != 0 && passed < SPARED_MAX;
            let spared = read || self.is_pinned(entry.id);
            if let Some(entry) = self.entry_mut(slot) {
                entry.state &= !VISITED;
                if !spared {
                    entry.state |= LEAVING;
                    return Some(entry.id);
                }
            }
            if entry.newer != NONE {
                self.renew(slot);
                slot = entry.newer;
            }
        }
        None
    }

    /// Moves an entry to the new end.
    fn renew(&mut self, slot: u32) {
        if self.unlink(slot).is_none() {
            return;
        }
        if let Some(entry) = self.entry_mut(slot) {
            entry.newer = NONE;
        }
        let before = std::mem::replace(&mut self.newest, slot);
        if before == NONE {
            self.oldest = slot;
        }
        self.link(before, slot);
    }

    /// Takes an entry out of the list; as it was.
    fn unlink(&mut self, slot: u32) -> Option<Entry> {
        let entry = *self.entry(slot)?;
        match self.entry_mut(entry.older) {
            Some(older) => older.newer = entry.newer,
            None => self.oldest = entry.newer,
        }
        match self.entry_mut(entry.newer) {
            Some(newer) => newer.older = entry.older,
            None => self.newest = entry.older,
        }
        Some(entry)
    }

    fn entry(&self, slot: u32) -> Option<&Entry> {
        entry_of(&self.pages, slot)
    }

    fn entry_mut(&mut self, slot: u32) -> Option<&mut Entry> {
        self.pages.get_mut(slot as usize / PAGE)?.get_mut(slot as usize % PAGE)
    }

    fn slot(&self, hash: u64, id: ChunkId) -> Option<u32> {
        self.index.find(hash, |slot| self.entry(*slot).is_some_and(|entry| entry.id == id)).copied()
    }

    fn free_slot(&mut self) -> Option<u32> {
        if self.free == NONE {
            let first = u32::try_from(self.pages.len() * PAGE).ok()?;
            // The last number means "none".
            let end = first.checked_add(u32::try_from(PAGE).ok()?)?;
            let mut page = Box::new(
                [Entry { id: ChunkId::from_bytes([0; 32]), state: 0, newer: NONE, older: NONE }; PAGE],
            );
            for (entry, next) in page.iter_mut().zip(first + 1..end) {
                entry.newer = next;
            }
            self.pages.push(page);
            self.free = first;
        }
        let slot = self.free;
        self.free = self.entry(slot)?.newer;
        Some(slot)
    }

    fn link(&mut self, older: u32, newer: u32) {
        if let Some(entry) = self.entry_mut(older) {
            entry.newer = newer;
        }
        if let Some(entry) = self.entry_mut(newer) {
            entry.older = older;
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pages.len() * size_of::<[Entry; PAGE]>()
            + self.pages.capacity() * size_of::<Box<[Entry; PAGE]>>()
            + self.index.allocation_size()
            + self.pins.capacity() * (size_of::<(ChunkId, u32)>() + 1)
    }

    /// The lengths of all that is entered, and the number of pins, both counted anew.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) -> (Vec<u32>, usize) {
        let (mut lens, mut slot, mut before) = (Vec::new(), self.oldest, NONE);
        while let Some(entry) = self.entry(slot) {
            assert_eq!(entry.older, before, "the list is linked both ways");
            assert!(!(entry.known().leaving && self.is_pinned(entry.id)), "pinned and leaving");
            lens.push(entry.known().len);
            before = slot;
            slot = entry.newer;
        }
        assert_eq!(self.newest, before, "the list ends at the newest");
        assert_eq!(self.index.len(), lens.len(), "what is listed is what is found");
        (lens, self.pins.values().map(|count| *count as usize).sum())
    }
}

impl Entry {
    fn known(&self) -> Known {
        Known {
            len: self.state & LEN,
            verified: self.state & VERIFIED != 0,
            leaving: self.state & LEAVING != 0,
        }
    }
}

fn entry_of(pages: &[Box<[Entry; PAGE]>], slot: u32) -> Option<&Entry> {
    pages.get(slot as usize / PAGE)?.get(slot as usize % PAGE)
}

/// A chunk is at most 2^20 bytes long.
const LEN: u32 = (1 << 21) - 1;
const VISITED: u32 = 1 << 29;
const VERIFIED: u32 = 1 << 30;
const LEAVING: u32 = 1 << 31;
/// No entry.
const NONE: u32 = u32::MAX;
/// As many as fill 4096 bytes, which no allocator rounds up.
const PAGE: usize = 93;
/// Entries that one look for a victim passes, and those among them that it spares for having been read.
const LOOKED_AT_MAX: usize = 2048;
const SPARED_MAX: usize = 1024;
