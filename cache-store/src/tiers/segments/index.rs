//! Which record a key has: 24 bytes an entry in a sharded hash table, nothing on disk.
//!
//! An entry holds 64 bits of the key (keys are keyed hashes; the record tells the rest), the version and a [`Place`]. Two keys
//! with the same 64 bits take each other's place: a miss, never another's bytes. A tombstone stays here for as long as its record
//! stays in the log, so that what is older cannot be appended behind it.
//!
//! Invariant: versions only rise while an entry stands. Writers hold the tail's lock; only [`Index::take`] and [`Index::see`]
//! come from elsewhere, and neither raises anything.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use hashbrown::HashTable;
use hashbrown::hash_table::Entry as Slot;
use parking_lot::RwLock;

use super::record::UNIT_BYTES;

/// Where a record stands, in 64 bits: 16 of the segment's number, 27 of the offset, 20 of the length, both in units; and
/// whether it was read. Length zero is a tombstone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place(u64);

/// An entry as others see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) version: u64,
    pub(super) place: Place,
}

pub(super) struct Index {
    shards: Box<[RwLock<HashTable<Held>>]>,
    objects: AtomicUsize,
    entries: AtomicUsize,
}

struct Held {
    tag: u64,
    version: u64,
    place: AtomicU64,
}

impl Place {
    /// Of a tombstone whose record is still to be written.
    pub(super) const OWED: Self = Self(OFFSET_MASK << OFFSET_SHIFT);

    /// The place of a record of `length` bytes at `offset`, both multiples of a unit.
    pub(super) fn new(seq: u64, offset: u64, length: u64) -> Self {
        debug_assert!(offset / UNIT_BYTES < OFFSET_MASK && length / UNIT_BYTES <= LENGTH_MASK);
        let offset = (offset / UNIT_BYTES) & OFFSET_MASK;
        let length = (length / UNIT_BYTES) & LENGTH_MASK;
        Self((seq & SEGMENT_MASK) << SEGMENT_SHIFT | offset << OFFSET_SHIFT | length << LENGTH_SHIFT)
    }

    /// The place of a tombstone.
    pub(super) fn tombstone(seq: u64, offset: u64) -> Self {
        Self::new(seq, offset, 0)
    }

    pub(super) fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u64 {
        self.0
    }

    /// The segment's number, given one that is not above it and within 65536 of it.
    pub(super) fn seq_from(self, first: u64) -> u64 {
        let low = self.0 >> SEGMENT_SHIFT;
        first.wrapping_add(low.wrapping_sub(first) & SEGMENT_MASK)
    }

    pub(super) fn offset(self) -> u64 {
        (self.0 >> OFFSET_SHIFT & OFFSET_MASK) * UNIT_BYTES
    }

    pub(super) fn length(self) -> u64 {
        (self.0 >> LENGTH_SHIFT & LENGTH_MASK) * UNIT_BYTES
    }

    pub(super) fn is_tombstone(self) -> bool {
        self.length() == 0
    }

    /// How many segments it stands behind the one of this number.
    pub(super) fn segments_behind(self, seq: u64) -> u64 {
        seq.wrapping_sub(self.0 >> SEGMENT_SHIFT) & SEGMENT_MASK
    }

    pub(super) fn is_seen(self) -> bool {
        self.0 & SEEN != 0
    }

    /// Whether both mean the same record.
    pub(super) fn is(self, other: Self) -> bool {
        self.0 | SEEN == other.0 | SEEN
    }
}

impl Index {
    pub(super) fn new() -> Self {
        let shards = (0..SHARDS).map(|_| RwLock::new(HashTable::new())).collect();
        Self { shards, objects: AtomicUsize::new(0), entries: AtomicUsize::new(0) }
    }

    /// Keys with bytes.
    pub(super) fn objects(&self) -> usize {
        self.objects.load(Ordering::Relaxed)
    }

    /// Keys with bytes or a tombstone.
    pub(super) fn entries(&self) -> usize {
        self.entries.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn find(&self, key: u128) -> Option<Entry> {
        let tag = tag(key);
        self.shard(tag)?.read().find(tag, |held| held.tag == tag).map(Held::entry)
    }

    /// Makes this the record of `key`, whatever it had.
    pub(super) fn put(&self, key: u128, version: u64, place: Place) {
        self.settle(tag(key), version, place, |_| true);
    }

    /// The same while the log is read back: the higher version wins; of one version the tombstone, then the later record.
    pub(super) fn recover(&self, tag: u64, version: u64, place: Place) {
        self.settle(tag, version, place, |held| {
            version > held.version
                || (version == held.version && (place.is_tombstone() || !held.place.is_tombstone()))
        });
    }

    /// Moves the record of `key` from `from` to `to`, unless it has another by now.
    pub(super) fn relocate(&self, key: u128, from: Place, to: Place) -> bool {
        let tag = tag(key);
        let Some(shard) = self.shard(tag) else { return false };
        let shard = shard.write();
        match shard.find(tag, |held| held.tag == tag) {
            Some(held) if held.entry().place.is(from) => {
                held.place.store(to.0, Ordering::Relaxed);
                true
            }
            _ => false,
        }
    }

    /// Forgets the record of `key` at `place`, and tells whether it had been read, unless the key has another by now.
    pub(super) fn take(&self, key: u128, place: Place) -> Option<Place> {
        let tag = tag(key);
        let mut shard = self.shard(tag)?.write();
        let entry = shard.find_entry(tag, |held| held.tag == tag && held.entry().place.is(place)).ok()?;
        let (held, _) = entry.remove();
        drop(shard);
        let place = held.entry().place;
        self.count(Some(place), None);
        Some(place)
    }

    /// Remembers that the record of `key` was read, where `counts` says so of its place.
    pub(super) fn see(&self, key: u128, counts: impl FnOnce(Place) -> bool) {
        let tag = tag(key);
        let Some(shard) = self.shard(tag) else { return };
        let shard = shard.read();
        let Some(held) = shard.find(tag, |held| held.tag == tag) else { return };
        let now = held.entry().place;
        if !now.is_tombstone() && !now.is_seen() && counts(now) {
            // Two readers and no writer meet under the read lock: the bit is all that changes.
            held.place.fetch_or(SEEN, Ordering::Relaxed);
        }
    }

    /// Forgets all that stands in a segment, entry by entry: for one whose summary cannot be read. Returns how many objects.
    pub(super) fn sweep(&self, seq: u64) -> usize {
        let before = self.objects();
        for shard in &self.shards {
            shard.write().retain(|held| {
                let place = held.entry().place;
                let stays = place.is(Place::OWED) || place.0 >> SEGMENT_SHIFT != seq & SEGMENT_MASK;
                if !stays {
                    self.count(Some(place), None);
                }
                stays
            });
        }
        before.saturating_sub(self.objects())
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            *shard.write() = HashTable::new();
        }
        self.objects.store(0, Ordering::Relaxed);
        self.entries.store(0, Ordering::Relaxed);
    }

    /// Room for so many entries, so that reading a snapshot does not grow the tables step by step.
    pub(super) fn reserve(&self, entries: usize) {
        for shard in &self.shards {
            shard.write().reserve(entries / SHARDS, |held| held.tag);
        }
    }

    /// Shows every entry: tag, version and place.
    pub(super) fn each(&self, mut show: impl FnMut(u64, Entry)) {
        for shard in &self.shards {
            for held in shard.read().iter() {
                show(held.tag, held.entry());
            }
        }
    }

    fn settle(&self, tag: u64, version: u64, place: Place, wins: impl FnOnce(Entry) -> bool) {
        let Some(shard) = self.shard(tag) else { return };
        let mut shard = shard.write();
        let was = match shard.entry(tag, |held| held.tag == tag, |held| held.tag) {
            Slot::Occupied(mut slot) => {
                let held = slot.get_mut();
                let was = held.entry();
                if !wins(was) {
                    return;
                }
                held.version = version;
                *held.place.get_mut() = place.0;
                Some(was.place)
            }
            Slot::Vacant(slot) => {
                slot.insert(Held { tag, version, place: AtomicU64::new(place.0) });
                None
            }
        };
        drop(shard);
        self.count(was, Some(place));
    }

    fn count(&self, was: Option<Place>, is: Option<Place>) {
        let object = |place: Option<Place>| place.is_some_and(|place| !place.is_tombstone());
        match (object(was), object(is)) {
            (false, true) => self.objects.fetch_add(1, Ordering::Relaxed),
            (true, false) => self.objects.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
        match (was, is) {
            (None, Some(_)) => self.entries.fetch_add(1, Ordering::Relaxed),
            (Some(_), None) => self.entries.fetch_sub(1, Ordering::Relaxed),
            _ => 0,
        };
    }

    fn shard(&self, tag: u64) -> Option<&RwLock<HashTable<Held>>> {
        // The table takes the top bits and the bottom ones; these are from between.
        self.shards.get(usize::try_from(tag >> 40).unwrap_or_default() % SHARDS)
    }
}

impl Held {
    fn entry(&self) -> Entry {
        Entry { version: self.version, place: Place(self.place.load(Ordering::Relaxed)) }
    }
}

/// The part of a key that the index keeps.
#[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
pub(super) fn tag(key: u128) -> u64 {
    key as u64
}

const SHARDS: usize = 64;
const SEGMENT_SHIFT: u32 = 48;
const SEGMENT_MASK: u64 = (1 << 16) - 1;
const OFFSET_SHIFT: u32 = 21;
const OFFSET_MASK: u64 = (1 << 27) - 1;
const LENGTH_SHIFT: u32 = 1;
const LENGTH_MASK: u64 = (1 << 20) - 1;
const SEEN: u64 = 1;

/// The longest record that a place can tell, in bytes.
pub(super) const RECORD_BYTES_MAX: u64 = LENGTH_MASK * UNIT_BYTES;
/// The longest segment, in bytes: its last offset is not [`Place::OWED`]'s.
pub(super) const SEGMENT_BYTES_MAX: u64 = OFFSET_MASK * UNIT_BYTES;
/// Segments that may stand at once, so that the low bits of a number tell which.
pub(super) const SEGMENTS_MAX: u64 = SEGMENT_MASK;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_tells_what_it_was_made_of() {
        for (seq, offset, length) in
            [(1, 0, 64), (70_000, 8, RECORD_BYTES_MAX), (65_535, SEGMENT_BYTES_MAX - 8, 72)]
        {
            let place = Place::new(seq, offset, length);
            assert_eq!(
                (place.seq_from(seq.saturating_sub(60_000)), place.offset(), place.length()),
                (seq, offset, length)
            );
            assert!(!place.is_tombstone() && !place.is_seen());
        }
        assert!(Place::OWED.is_tombstone() && Place::tombstone(1, 0).is_tombstone());
    }

    #[test]
    fn an_entry_takes_24_bytes() {
        assert_eq!(size_of::<Held>(), 24);
    }

    #[test]
    fn of_several_records_the_highest_version_wins_and_a_tombstone_its_own() {
        let index = Index::new();
        let (old, new) = (Place::new(1, 0, 64), Place::new(2, 0, 64));
        index.recover(5, 2, new);
        index.recover(5, 1, old);
        assert!(index.find(5).is_some_and(|entry| entry.version == 2 && entry.place.is(new)));
        index.recover(5, 2, Place::tombstone(1, 64));
        index.recover(5, 2, old);
        assert!(index.find(5).is_some_and(|entry| entry.place.is_tombstone()));
        assert_eq!((index.objects(), index.entries()), (0, 1));
        index.recover(5, 3, old);
        index.see(5, |_| true);
        assert!(index.take(5, new).is_none());
        assert!(index.take(5, old).is_some_and(Place::is_seen));
        assert_eq!((index.objects(), index.entries()), (0, 0));
    }
}
