//! What has been purged.
//!
//! Every applied purge takes the next number of the *sequence*. A purge of one URL marks what is resident under the
//! key's lock, and writes its number into a small table that fills consult when they end: a fill remembers the
//! sequence at the *start* of its origin request, and when the table shows a later purge of its key the response is
//! not stored (hard) or stored as stale (soft). The table is hashed and never grows: each slot tells the last few keys
//! apart, and what it has no room for counts for all of its keys; that costs a fill that is not stored, never a purge that
//! is missed.
//!
//! Invariant: what an origin request fetched that started before a purge of its key is never served as fresh after
//! the purge was acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::timestamp::Timestamp;

/// What a purge takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One URL with all its variants.
    Url(CacheKey),
}

impl Scope {
    /// As named in receipts and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url(_) => "url",
        }
    }
}

/// An order to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purge {
    /// What.
    pub scope: Scope,
    /// Make it stale instead of forgetting it.
    pub soft: bool,
}

/// A purge that has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number.
    pub sequence: Epoch,
    /// Responses in memory that it reached.
    pub matched: u64,
}

/// The purges a fill must know about. Callers hold the lock of the key's shard.
#[derive(Debug)]
pub(crate) struct Purges {
    sequence: AtomicU64,
    slots: Box<[Mutex<Slot>]>,
}

/// The purges of the keys that share a slot: the last few by key, and of those before only that there were some.
#[derive(Debug, Default)]
struct Slot {
    recent: [Recent; WAYS],
    /// The highest numbers of what had to make room: they count for every key of the slot.
    before: Last,
}

/// The last purges of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Recent {
    key: u128,
    last: Last,
}

/// Numbers of the last purges, zero where there was none.
#[derive(Clone, Copy, Debug, Default)]
struct Last {
    hard: Epoch,
    soft: Epoch,
    /// The moment of the last soft one, milliseconds.
    soft_at: u64,
}

impl Purges {
    /// Numbers go on from `sequence`.
    pub(crate) fn new(sequence: Epoch) -> Self {
        let slots = (0..SLOTS).map(|_| Mutex::default()).collect();
        Self { sequence: AtomicU64::new(sequence), slots }
    }

    /// The number of the last purge: the epoch of what starts now.
    pub(crate) fn sequence(&self) -> Epoch {
        self.sequence.load(Ordering::Acquire)
    }

    /// Takes the next number. What begins from now on is past that purge.
    pub(crate) fn next(&self) -> Epoch {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that purge `sequence` takes `key`.
    pub(crate) fn record(&self, sequence: Epoch, key: CacheKey, soft: bool, now: Timestamp) {
        let Some(slot) = self.slots.get(slot(key)) else { return };
        let mut slot = slot.lock();
        let Slot { recent, before } = &mut *slot;
        let known = recent.iter().position(|recent| recent.key == key.bits() && recent.last.newest() > 0);
        let place = known.or_else(|| {
            let oldest = recent.iter().enumerate().min_by_key(|(_, recent)| recent.last.newest());
            oldest.map(|(place, _)| place)
        });
        let Some(recent) = place.and_then(|place| recent.get_mut(place)) else { return };
        if known.is_none() {
            before.take_in(recent.last);
            *recent = Recent { key: key.bits(), last: Last::default() };
        }
        recent.last.take_in(if soft {
            Last { hard: 0, soft: sequence, soft_at: now.as_millis() }
        } else {
            Last { hard: sequence, ..Last::default() }
        });
    }

    /// What became of a response for `key` whose origin request started at `epoch`.
    pub(crate) fn since(&self, key: CacheKey, epoch: Epoch) -> Purged {
        let Some(slot) = self.slots.get(slot(key)) else { return Purged::Hard };
        let slot = slot.lock();
        let mut last = slot.before;
        for recent in slot.recent.iter().filter(|recent| recent.key == key.bits()) {
            last.take_in(recent.last);
        }
        if last.hard > epoch {
            Purged::Hard
        } else if last.soft > epoch {
            Purged::Soft(Timestamp::from_millis(last.soft_at))
        } else {
            Purged::No
        }
    }
}

impl Last {
    fn newest(self) -> Epoch {
        self.hard.max(self.soft)
    }

    fn take_in(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
        self.soft_at = self.soft_at.max(other.soft_at);
    }
}

fn slot(key: CacheKey) -> usize {
    usize::try_from(key.bits() >> 64 & (SLOTS as u128 - 1)).unwrap_or(0)
}

/// A power of two.
const SLOTS: usize = 4096;
/// Keys of a slot whose purges are told apart.
const WAYS: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_that_began_before_a_purge_learns_of_it_and_one_that_began_after_does_not() {
        let purges = Purges::new(0);
        let key = CacheKey::from_bits(7 << 64);
        let before = purges.sequence();
        assert_eq!(purges.since(key, before), Purged::No);
        purges.record(purges.next(), key, true, Timestamp::from_secs(9));
        assert_eq!(purges.since(key, before), Purged::Soft(Timestamp::from_secs(9)));
        purges.record(purges.next(), key, false, Timestamp::from_secs(10));
        assert_eq!(purges.since(key, before), Purged::Hard);
        assert_eq!(purges.since(key, purges.sequence()), Purged::No);
    }

    /// A site that is written to must still fill its cache: a purge of one key is no reason to drop another's fill.
    #[test]
    fn keys_of_one_slot_are_told_apart_until_there_are_too_many() {
        let purges = Purges::new(0);
        let key = |number: u128| CacheKey::from_bits(7 << 64 | number);
        let before = purges.sequence();
        for number in 1..=WAYS as u128 {
            purges.record(purges.next(), key(number), false, Timestamp::from_secs(9));
        }
        assert_eq!(purges.since(key(0), before), Purged::No, "another key's purges are not its own");
        purges.record(purges.next(), key(99), false, Timestamp::from_secs(9));
        for number in 0..=WAYS as u128 {
            assert_eq!(purges.since(key(number), before), Purged::Hard, "none is missed");
        }
        assert_eq!(purges.since(key(0), purges.sequence()), Purged::No, "and the next fill is free");
    }
}
