//! A disk of names and lengths, of another size than the real one: a log and a shelf that share its bytes as the real ones do
//! (`shelf.rs`).
//!
//! The log goes first in first out, by segments, with a second chance for what is read a while after it came, as far as that may be
//! copied (`segments/reclaim.rs`); full, it takes what is asked for a second time (`admit.rs`). Long bodies stand on the shelf, which
//! takes them at once, lets go of a chunk at a time, and spares what was read since it was looked at last (`chunks/shard.rs`); the
//! log has their heads, and who has lost that has lost the body.
//!
//! Each entry takes the room of all that it stands for.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};

use crate::key::{CacheKey, KeyHasher};
use crate::tiers::admit::Seen;
use crate::tiers::sample::Rate;
use crate::tiers::segments::Settings;
use crate::tiers::shelf::log_bytes_max;

/// The disk.
pub(super) struct ScaledDisk {
    rate: Rate,
    log: Queue,
    shelf: Queue,
    seen: Seen,
    /// What is written pushes something out.
    full: bool,
    bytes_max: u64,
    /// What the log has when it is full.
    log_bytes: u64,
    segment_bytes: u64,
    /// What it lets go of at once.
    batch_bytes: u64,
    /// Of the batch that goes now: what has gone by, and what of it was kept.
    passed: u64,
    carried: u64,
}

/// Where on a disk a body lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BodyIn {
    /// In the log, with its head.
    Record,
    /// On the shelf.
    Chunks,
}

/// A response was stored, or asked for while memory had it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) key: CacheKey,
    /// Of its body.
    pub(super) bytes: u64,
    /// Of its record, without the body.
    pub(super) record_bytes: u64,
    pub(super) body_in: BodyIn,
    /// Until when, and as of which purge.
    pub(super) kept: (u64, u64),
    /// Memory had it.
    pub(super) in_memory: bool,
    /// …and this is a request at which a full disk takes it, or later.
    pub(super) again: bool,
    /// A full disk takes everything now.
    pub(super) takes_all: bool,
}

/// Half of a key, among it the bits by which it is sampled: two of a sample are as good as never the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Name(u64);

impl Hash for Name {
    fn hash<H: Hasher>(&self, state: &mut H) {
        // A table looks at the lowest and the highest bits: in the middle are those in which the keys of a sample are alike.
        state.write_u64(self.0.swap_bytes());
    }
}

/// Entries in the order in which they go.
#[derive(Default)]
struct Queue {
    held: HashMap<Name, Held, BuildHasherDefault<KeyHasher>>,
    /// …and when each came: what has come again since has another place.
    order: VecDeque<(Name, u64)>,
    used: u64,
    /// Bytes of all that ever came.
    entered: u64,
}

#[derive(Clone, Copy)]
struct Held {
    /// Of the body that it leads to: its place in the sample.
    bytes: u64,
    /// Of its own, as far as they are still there.
    left: u64,
    until_millis: u64,
    epoch: u64,
    body_in: BodyIn,
    read: bool,
    /// [`Queue::entered`] when it came.
    came: u64,
}

impl ScaledDisk {
    /// An empty disk of so many bytes, that holds about as many entries, and as many as whoever feeds it with a sample lets it see.
    pub(super) fn new(bytes_max: u64, entries_max: usize) -> Self {
        let log_max = log_bytes_max(bytes_max);
        let segment = Settings::for_capacity(log_max).segment_bytes;
        // One is written to, and one is free.
        let log_bytes = log_max.saturating_sub(2 * segment);
        Self {
            rate: Rate::ALL,
            log: Queue::default(),
            shelf: Queue::default(),
            seen: Seen::of_sample(entries_max * SEEN_PER_ENTRY, part_of(log_max, OBJECT_BYTES_USUAL)),
            full: false,
            bytes_max,
            log_bytes,
            segment_bytes: segment,
            batch_bytes: segment.max(log_bytes / BATCHES_MAX),
            passed: 0,
            carried: 0,
        }
    }

    /// Entries of log and shelf: what is long has one in each.
    pub(super) fn len(&self) -> usize {
        self.log.held.len() + self.shelf.held.len()
    }

    /// The part of what is fuller, log or shelf, that is in use.
    pub(super) fn filled(&self) -> f64 {
        part_of(self.log.used, self.log_bytes).max(part_of(self.shelf.used, self.shelf_bytes()))
    }

    /// The part that it has of what a key leads to; it is spared for that. `listed` says that memory knows where its chunks are, and
    /// `usable` whether what was kept until then and as of that purge may be used.
    pub(super) fn use_of(&mut self, key: CacheKey, listed: bool, usable: impl Fn(u64, u64) -> bool) -> f64 {
        let name = Name::of(key);
        let recent = self.log_bytes / RECENT_SHARE;
        let entered = self.log.entered;
        let record = self.log.held.get_mut(&name).filter(|held| usable(held.until_millis, held.epoch));
        let is_large = record.as_ref().is_some_and(|held| held.body_in == BodyIn::Chunks);
        let is_known = record.is_some();
        if let Some(held) = record {
            held.read |= entered.saturating_sub(held.came) >= recent;
        }
        match self.shelf.held.get_mut(&name) {
            Some(held) if is_known || listed => {
                held.read = true;
                part_of(held.left, on_shelf(held.bytes))
            }
            Some(_) => 0.0,
            None => f64::from(u8::from(is_known && !is_large)),
        }
    }

    /// It is written if there is room, or if it was asked for before.
    pub(super) fn offer(&mut self, offer: &Offer) {
        let Offer { key, bytes, record_bytes, body_in, kept: (until_millis, epoch), .. } = *offer;
        let name = Name::of(key);
        let held = |own| Held { bytes, left: own, until_millis, epoch, body_in, read: false, came: 0 };
        if body_in == BodyIn::Chunks {
            // One that would push out its own beginning.
            if bytes > self.shelf_bytes() / 2 {
                return;
            }
            self.put_in_log(name, held(record_bytes));
            self.put_on_shelf(name, held(on_shelf(bytes)));
            return;
        }
        let held = held(bytes + record_bytes);
        self.look_if_full(self.room_of(&held));
        // What memory has was seen when it was fetched.
        let seen =
            if offer.in_memory { offer.again } else { self.seen.ask_for(key, self.rate.stands_for(bytes)) };
        if seen || !self.full || offer.takes_all || self.log.held.contains_key(&name) {
            // It may have been long before.
            self.shelf.forget(name, self.rate);
            self.put_in_log(name, held);
            self.fit_shelf();
        }
    }

    /// Keeps what is sampled at this rate.
    pub(super) fn thin(&mut self, rate: Rate) {
        self.rate = rate;
        for queue in [&mut self.log, &mut self.shelf] {
            queue.held.retain(|name, held| rate.takes(name.key(), held.bytes));
            queue.sort_out();
            queue.held.shrink_to_fit();
            queue.order.shrink_to_fit();
            queue.used = queue.held.values().map(|held| room_of(rate, held)).sum();
        }
    }

    /// Once the log has been full a little room is none: it is what is left over when a long one goes for a short one.
    fn look_if_full(&mut self, room: u64) {
        let free =
            if self.full { self.segment_bytes.max(self.log_bytes / FULL_SHARE) } else { self.segment_bytes };
        self.full = self.log.used.saturating_add(room) > self.log_bytes.saturating_sub(free);
    }

    fn put_in_log(&mut self, name: Name, held: Held) {
        let rate = self.rate;
        self.log.forget(name, rate);
        let room = self.room_of(&held);
        if room > self.log_bytes {
            return;
        }
        while self.log.used + room > self.log_bytes {
            let Some((oldest, mut held)) = self.log.take_oldest(rate) else { break };
            let bytes = room_of(rate, &held);
            self.passed += bytes;
            if held.read && (self.carried + bytes) <= self.batch_bytes / CARRIED_SHARE {
                self.carried += bytes;
                held.read = false;
                self.log.put(oldest, held, rate);
            }
            if self.passed >= self.batch_bytes {
                (self.passed, self.carried) = (0, 0);
            }
        }
        self.log.put(name, held, rate);
    }

    fn put_on_shelf(&mut self, name: Name, held: Held) {
        let rate = self.rate;
        self.shelf.forget(name, rate);
        self.shelf.put(name, held, rate);
        self.fit_shelf();
    }

    /// Lets go of what is more than the log leaves, as is done now and then.
    fn fit_shelf(&mut self) {
        let rate = self.rate;
        let mut spared = self.shelf.held.len();
        while let Some(excess) = self.shelf.used.checked_sub(self.shelf_bytes()).filter(|excess| *excess > 0)
        {
            let Some((oldest, mut held)) = self.shelf.take_oldest(rate) else { break };
            if held.read && spared > 0 {
                spared -= 1;
                held.read = false;
                self.shelf.put(oldest, held, rate);
            } else if held.left > excess && rate.stands_for(held.bytes) <= 1.0 {
                // It stands for itself alone, and so takes what is left of it.
                held.left -= excess;
                self.shelf.put_back(oldest, held, rate);
            } else {
                // Its head alone answers nothing, and a sample is not to be full of heads.
                self.log.forget(oldest, rate);
            }
        }
    }

    /// What the log leaves, and a part of the whole at least.
    fn shelf_bytes(&self) -> u64 {
        let bytes =
            self.bytes_max.saturating_sub(self.log.used).max(self.bytes_max - log_bytes_max(self.bytes_max));
        bytes - bytes / SHELF_FREE_SHARE
    }

    fn room_of(&self, held: &Held) -> u64 {
        room_of(self.rate, held)
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        for queue in [&self.log, &self.shelf] {
            let used: u64 = queue.held.values().map(|held| self.room_of(held)).sum();
            assert_eq!(queue.used, used);
        }
        assert!(self.shelf.held.values().all(|held| held.left <= on_shelf(held.bytes)));
        assert!(self.log.used <= self.log_bytes && self.shelf.used <= self.shelf_bytes());
    }
}

impl Name {
    #[allow(clippy::cast_possible_truncation)] // the bits wanted
    const fn of(key: CacheKey) -> Self {
        Self((key.bits() >> NAME_SHIFT) as u64)
    }

    /// A key with these bits, which is sampled as the one that it was made of.
    const fn key(self) -> CacheKey {
        CacheKey::from_bits((self.0 as u128) << NAME_SHIFT)
    }
}

impl Queue {
    fn put(&mut self, name: Name, mut held: Held, rate: Rate) {
        let room = room_of(rate, &held);
        self.entered = self.entered.saturating_add(room.max(1));
        held.came = self.entered;
        self.order.push_back((name, held.came));
        self.used = self.used.saturating_add(room);
        self.held.insert(name, held);
        // Names of what was replaced.
        if self.order.len() > self.held.len() + self.held.len() / 2 + 16 {
            self.sort_out();
        }
    }

    /// It is still the next to go.
    fn put_back(&mut self, name: Name, held: Held, rate: Rate) {
        self.order.push_front((name, held.came));
        self.used = self.used.saturating_add(room_of(rate, &held));
        self.held.insert(name, held);
    }

    fn take_oldest(&mut self, rate: Rate) -> Option<(Name, Held)> {
        loop {
            let (oldest, came) = self.order.pop_front()?;
            if self.held.get(&oldest).is_some_and(|held| held.came == came) {
                return Some((oldest, self.forget(oldest, rate)?));
            }
        }
    }

    fn forget(&mut self, name: Name, rate: Rate) -> Option<Held> {
        let held = self.held.remove(&name)?;
        self.used = self.used.saturating_sub(room_of(rate, &held));
        Some(held)
    }

    fn sort_out(&mut self) {
        let held = &self.held;
        self.order.retain(|(name, came)| held.get(name).is_some_and(|held| held.came == *came));
    }
}

#[allow(clippy::cast_precision_loss)] // of lengths
fn part_of(bytes: u64, all: u64) -> f64 {
    bytes as f64 / all.max(1) as f64
}

/// What a body of so many bytes takes there.
const fn on_shelf(bytes: u64) -> u64 {
    bytes.saturating_add(FILE_BYTES - 1) / FILE_BYTES * FILE_BYTES
}

fn room_of(rate: Rate, held: &Held) -> u64 {
    rate.room_of(held.left, held.bytes)
}

/// Below them no bit chooses what is sampled.
const NAME_SHIFT: u32 = 32;
/// Requests within which this part of the log came belong together.
const RECENT_SHARE: u64 = 10;
/// Once full, it is so until more than this part of it is free.
const FULL_SHARE: u64 = 16;
/// Of what the log lets go of at once this part may be kept.
const CARRIED_SHARE: u64 = 2;
/// It does so in no more steps than these, or one entry of a sample would be more than a step.
const BATCHES_MAX: u64 = 32;
/// Between the marks at which the shelf begins and ends to let go.
const SHELF_FREE_SHARE: u64 = 43;
/// A chunk's file takes a multiple of it.
const FILE_BYTES: u64 = 4096;
/// Of an object: as many are remembered as the log would hold of these.
const OBJECT_BYTES_USUAL: u64 = 16 * 1024;
/// …and of a sample no more than so many for each entry.
const SEEN_PER_ENTRY: usize = 4;
