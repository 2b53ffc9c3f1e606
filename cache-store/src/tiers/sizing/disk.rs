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

use crate::key::CacheKey;
use crate::tiers::admit::Seen;
use crate::tiers::sample::Rate;
use crate::tiers::segments::Settings;
use crate::tiers::shelf::{LARGE_BYTES_MIN, log_bytes_max};

/// The disk.
pub(super) struct ScaledDisk {
    rate: Rate,
    log: Queue,
    shelf: Queue,
    seen: Seen,
    /// Keys that those it saw since it forgot some stand for, and those after which it forgets.
    asked: f64,
    asked_max: f64,
    bytes_max: u64,
    /// What the log has when it is full.
    log_bytes: u64,
    /// What it lets go of at once.
    batch_bytes: u64,
    /// Of the batch that goes now: what has gone by, and what of it was kept.
    passed: u64,
    carried: u64,
}

/// A response was stored, or asked for while memory had it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) key: CacheKey,
    /// Of its body.
    pub(super) bytes: u64,
    /// Of its record, without the body.
    pub(super) record_bytes: u64,
    /// Until when, and as of which purge.
    pub(super) kept: (u64, u64),
    /// Memory had it.
    pub(super) in_memory: bool,
    /// …and this is a request at which a full disk takes it, or later.
    pub(super) again: bool,
    /// A full disk takes everything now.
    pub(super) takes_all: bool,
}

/// Entries in the order in which they go.
#[derive(Default)]
struct Queue {
    held: HashMap<CacheKey, Held>,
    /// …and when each came: what has come again since has another place.
    order: VecDeque<(CacheKey, u64)>,
    used: u64,
    /// Bytes of all that ever came.
    entered: u64,
}

#[derive(Clone, Copy)]
struct Held {
    /// Of the body that it leads to: its place in the sample.
    bytes: u64,
    /// Of its own.
    own: u64,
    /// The part that is still there.
    part: f64,
    until_millis: u64,
    epoch: u64,
    read: bool,
    /// [`Queue::entered`] when it came.
    came: u64,
}

impl ScaledDisk {
    /// An empty disk of so many bytes, that holds as many entries as whoever feeds it with a sample lets it see.
    pub(super) fn new(bytes_max: u64, entries_max: usize) -> Self {
        let log_max = log_bytes_max(bytes_max);
        let segment = Settings::for_capacity(log_max).segment_bytes;
        // One is written to, and one is free.
        let log_bytes = log_max.saturating_sub(2 * segment);
        Self {
            rate: Rate::ALL,
            log: Queue::default(),
            shelf: Queue::default(),
            seen: Seen::new(entries_max * SEEN_PER_ENTRY),
            asked: 0.0,
            asked_max: part_of(log_max, OBJECT_BYTES_USUAL),
            bytes_max,
            log_bytes,
            batch_bytes: segment.max(log_bytes / BATCHES_MAX),
            passed: 0,
            carried: 0,
        }
    }

    /// Entries of log or shelf: what is long has one in each.
    pub(super) fn len(&self) -> usize {
        self.log.held.len().max(self.shelf.held.len())
    }

    /// The part of what is fuller, log or shelf, that is in use.
    pub(super) fn filled(&self) -> f64 {
        part_of(self.log.used, self.log_bytes).max(part_of(self.shelf.used, self.shelf_bytes()))
    }

    /// The part that it has of what a key leads to; it is spared for that. `listed` says that memory knows where its chunks are, and
    /// `usable` whether what was kept until then and as of that purge may be used.
    pub(super) fn use_of(&mut self, key: CacheKey, listed: bool, usable: impl Fn(u64, u64) -> bool) -> f64 {
        let recent = self.log_bytes / RECENT_SHARE;
        let entered = self.log.entered;
        let record = self.log.held.get_mut(&key).filter(|held| usable(held.until_millis, held.epoch));
        let is_large = record.as_ref().is_some_and(|held| held.bytes >= LARGE_BYTES_MIN);
        let is_known = record.is_some();
        if let Some(held) = record {
            held.read |= entered.saturating_sub(held.came) >= recent;
        }
        match self.shelf.held.get_mut(&key) {
            Some(held) if is_known || listed => {
                held.read = true;
                held.part
            }
            Some(_) => 0.0,
            None => f64::from(u8::from(is_known && !is_large)),
        }
    }

    /// It is written if there is room, or if it was asked for before.
    pub(super) fn offer(&mut self, offer: &Offer) {
        let Offer { key, bytes, record_bytes, kept: (until_millis, epoch), .. } = *offer;
        let held = |own| Held { bytes, own, part: 1.0, until_millis, epoch, read: false, came: 0 };
        if bytes >= LARGE_BYTES_MIN {
            // One that would push out its own beginning.
            if bytes > self.shelf_bytes() / 2 {
                return;
            }
            self.put_in_log(key, held(record_bytes));
            self.put_on_shelf(key, held(bytes.next_multiple_of(FILE_BYTES)));
            return;
        }
        let held = held(bytes + record_bytes);
        let is_full = self.log.used + self.room_of(&held) > self.log_bytes - self.log_bytes / FULL_SHARE;
        // What memory has was seen when it was fetched.
        let seen = if offer.in_memory { offer.again } else { self.was_seen(key, bytes) };
        if seen || !is_full || offer.takes_all || self.log.held.contains_key(&key) {
            self.put_in_log(key, held);
        }
    }

    /// Keeps what is sampled at this rate.
    pub(super) fn thin(&mut self, rate: Rate) {
        self.rate = rate;
        for queue in [&mut self.log, &mut self.shelf] {
            queue.held.retain(|key, held| rate.takes(*key, held.bytes));
            queue.sort_out();
            queue.used = queue.held.values().map(|held| room_of(rate, held)).sum();
        }
    }

    /// Whether it was asked for before; it has been from now on.
    fn was_seen(&mut self, key: CacheKey, bytes: u64) -> bool {
        let seen = self.seen.ask(key);
        if !seen {
            self.asked += self.rate.stands_for(bytes);
            if self.asked >= self.asked_max {
                self.asked = 0.0;
                self.seen.forget_older();
            }
        }
        seen
    }

    fn put_in_log(&mut self, key: CacheKey, held: Held) {
        let rate = self.rate;
        self.log.forget(key, rate);
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
        self.log.put(key, held, rate);
    }

    fn put_on_shelf(&mut self, key: CacheKey, held: Held) {
        let rate = self.rate;
        self.shelf.forget(key, rate);
        self.shelf.put(key, held, rate);
        let mut spared = self.shelf.held.len();
        while let Some(excess) = self.shelf.used.checked_sub(self.shelf_bytes()).filter(|excess| *excess > 0)
        {
            let Some((oldest, mut held)) = self.shelf.take_oldest(rate) else { break };
            let room = room_of(rate, &held);
            if held.read && spared > 0 {
                spared -= 1;
                held.read = false;
                self.shelf.put(oldest, held, rate);
            } else if room > excess && rate.stands_for(held.bytes) <= 1.0 {
                held.part *= part_of(room - excess, room);
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
}

impl Queue {
    fn put(&mut self, key: CacheKey, mut held: Held, rate: Rate) {
        let room = room_of(rate, &held);
        self.entered = self.entered.saturating_add(room.max(1));
        held.came = self.entered;
        self.order.push_back((key, held.came));
        self.used = self.used.saturating_add(room);
        self.held.insert(key, held);
        // Names of what was replaced.
        if self.order.len() > 2 * self.held.len() + 16 {
            self.sort_out();
        }
    }

    /// It is still the next to go.
    fn put_back(&mut self, key: CacheKey, held: Held, rate: Rate) {
        self.order.push_front((key, held.came));
        self.used = self.used.saturating_add(room_of(rate, &held));
        self.held.insert(key, held);
    }

    fn take_oldest(&mut self, rate: Rate) -> Option<(CacheKey, Held)> {
        loop {
            let (oldest, came) = self.order.pop_front()?;
            if self.held.get(&oldest).is_some_and(|held| held.came == came) {
                return Some((oldest, self.forget(oldest, rate)?));
            }
        }
    }

    fn forget(&mut self, key: CacheKey, rate: Rate) -> Option<Held> {
        let held = self.held.remove(&key)?;
        self.used = self.used.saturating_sub(room_of(rate, &held));
        Some(held)
    }

    fn sort_out(&mut self) {
        let held = &self.held;
        self.order.retain(|(key, came)| held.get(key).is_some_and(|held| held.came == *came));
    }
}

#[allow(clippy::cast_precision_loss)] // of lengths
fn part_of(bytes: u64, all: u64) -> f64 {
    bytes as f64 / all.max(1) as f64
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // a part of a length
fn room_of(rate: Rate, held: &Held) -> u64 {
    let room = rate.room_of(held.own, held.bytes);
    if held.part < 1.0 { (room as f64 * held.part) as u64 } else { room }
}

/// Requests within which this part of the log came belong together.
const RECENT_SHARE: u64 = 10;
/// It is full when less than this part of it is free: what is left over when a long one goes for a short one is no room.
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
