//! What fills must know of purges by URL.
//!
//! A purge of one URL marks what is resident, under the key's lock, and writes its epoch into this small table, which fills
//! consult when they end: when it shows a later purge of its key the response is not stored (hard) or stored as stale (soft).
//! The table is hashed and never grows: each slot tells the last few keys apart, and what it has no room for counts for all of
//! its keys; that costs a fill that is not stored, never a purge that is missed.
//!
//! Invariant: what an origin request fetched that started before a purge of its key is never served as fresh after
//! the purge was acknowledged.

use parking_lot::Mutex;

use super::Last;
use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::timestamp::Timestamp;

/// The last purges of keys. Callers hold the lock of the key's shard.
#[derive(Debug)]
pub(crate) struct Recent {
    slots: Box<[Mutex<Slot>]>,
}

/// The purges of the keys that share a slot: the last few by key, and of those before only that there were some.
#[derive(Debug, Default)]
struct Slot {
    known: [Known; WAYS],
    /// The highest numbers of what had to make room: they count for every key of the slot.
    before: Last,
}

/// The last purges of one key.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    key: u128,
    last: Last,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { slots: (0..SLOTS).map(|_| Mutex::default()).collect() }
    }

    /// Notes that the purge at `epoch` takes `key`.
    pub(crate) fn record(&self, epoch: Epoch, key: CacheKey, soft: bool, now: Timestamp) {
        let Some(slot) = self.slots.get(slot(key)) else { return };
        let mut slot = slot.lock();
        let Slot { known, before } = &mut *slot;
        let place = known.iter().position(|known| known.key == key.bits() && known.last.newest() > 0);
        let is_known = place.is_some();
        let place = place.or_else(|| {
            let oldest = known.iter().enumerate().min_by_key(|(_, known)| known.last.newest());
            oldest.map(|(place, _)| place)
        });
        let Some(known) = place.and_then(|place| known.get_mut(place)) else { return };
        if !is_known {
            before.take_in(known.last);
            *known = Known { key: key.bits(), last: Last::default() };
        }
        known.last.take_in(Last::of(epoch, soft, now));
    }

    /// What became of a response for `key` whose origin request started at `epoch`.
    pub(crate) fn since(&self, key: CacheKey, epoch: Epoch) -> Purged {
        let Some(slot) = self.slots.get(slot(key)) else { return Purged::Hard };
        let slot = slot.lock();
        let mut last = slot.before;
        for known in slot.known.iter().filter(|known| known.key == key.bits()) {
            last.take_in(known.last);
        }
        last.since(epoch)
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
        let recent = Recent::new();
        let key = CacheKey::from_bits(7 << 64);
        assert_eq!(recent.since(key, 0), Purged::No);
        recent.record(1, key, true, Timestamp::from_secs(9));
        assert_eq!(recent.since(key, 0), Purged::Soft(Timestamp::from_secs(9)));
        recent.record(2, key, false, Timestamp::from_secs(10));
        assert_eq!(recent.since(key, 0), Purged::Hard);
        assert_eq!(recent.since(key, 2), Purged::No);
    }

    /// A site that is written to must still fill its cache: a purge of one key is no reason to drop another's fill.
    #[test]
    fn keys_of_one_slot_are_told_apart_until_there_are_too_many() {
        let recent = Recent::new();
        let key = |number: u128| CacheKey::from_bits(7 << 64 | number);
        for (number, epoch) in (1..=WAYS as u128).zip(1..) {
            recent.record(epoch, key(number), false, Timestamp::from_secs(9));
        }
        assert_eq!(recent.since(key(0), 0), Purged::No, "another key's purges are not its own");
        recent.record(9, key(99), false, Timestamp::from_secs(9));
        for number in 0..=WAYS as u128 {
            assert_eq!(recent.since(key(number), 0), Purged::Hard, "none is missed");
        }
        assert_eq!(recent.since(key(0), 9), Purged::No, "and the next fill is free");
    }
}
