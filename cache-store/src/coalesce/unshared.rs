//! Keys whose last answer could not be shared, and until when that counts.
//!
//! Every miss that is not stored writes here, and most of those keys are never asked for again. So a key has one place of eight
//! bytes, in which the last of those that share it stands: a map of keys cost as much in cache misses as hashing the key. What is
//! forgotten early costs the next requests for that key one wait for each other.

use std::time::Duration;

use crate::key::CacheKey;
use crate::timestamp::Timestamp;

/// The keys of one shard. Empty, it holds no memory.
#[derive(Debug, Default)]
pub(super) struct Unshared(Box<[u64]>);

impl Unshared {
    /// Its answer could not be shared at `now`.
    pub(super) fn remember(&mut self, key: CacheKey, now: Timestamp) {
        if self.0.is_empty() {
            self.0 = vec![0; PLACES].into_boxed_slice();
        }
        let (at, mark) = place(key);
        if let Some(place) = self.0.get_mut(at) {
            *place = mark | seconds(now.plus(HIT_FOR_MISS).as_millis().div_ceil(1000));
        }
    }

    /// It was shared since.
    pub(super) fn forget(&mut self, key: CacheKey) {
        let (at, mark) = place(key);
        if let Some(place) = self.0.get_mut(at).filter(|place| **place & !SECONDS == mark) {
            *place = 0;
        }
    }

    /// Whether its requests go in parallel at `now`. Wrong for one key in a million millions that nobody can aim at.
    pub(super) fn holds(&self, key: CacheKey, now: Timestamp) -> bool {
        let (at, mark) = place(key);
        self.0.get(at).is_some_and(|place| {
            let left = seconds(place.wrapping_sub(now.as_secs()));
            *place != 0 && place & !SECONDS == mark && (1..=HIT_FOR_MISS.as_secs() + 1).contains(&left)
        })
    }
}

/// Where it stands, and what stands there beside the time: bits of a keyed hash, other ones than tell the shard.
fn place(key: CacheKey) -> (usize, u64) {
    let high = u64::try_from(key.bits() >> 64).unwrap_or(0);
    let at = usize::try_from(high & (PLACES as u64 - 1)).unwrap_or(0);
    (at, high & !SECONDS)
}

/// The last seconds of a time, as far as a place tells them: half a year.
const fn seconds(seconds: u64) -> u64 {
    seconds & SECONDS
}

/// How long a key whose answer could not be shared lets its requests go in parallel.
const HIT_FOR_MISS: Duration = Duration::from_mins(2);
/// Keys that a shard remembers; a power of two. 8 KiB: those of all shards stay in a processor's own cache.
const PLACES: usize = 1024;
/// The bits of a place that tell the time.
const SECONDS: u64 = (1 << 24) - 1;

#[cfg(test)]
mod tests {
    use super::*;

    fn key(high: u64) -> CacheKey {
        CacheKey::from_bits(u128::from(high) << 64)
    }

    #[test]
    fn a_key_is_known_for_two_minutes_or_until_it_is_shared() {
        // Around the moment at which the seconds begin anew, too.
        for start in [1_000, 1_764_200_000, (1 << 24) - 60, (107 << 24) - 60] {
            let now = Timestamp::from_secs(start);
            let mut unshared = Unshared::default();
            assert!(
                !unshared.holds(key(5), now) && !unshared.holds(key(0), now),
                "nothing is known: {start}"
            );
            unshared.remember(key(5), now);
            unshared.remember(key(6), now);
            for (after, holds) in [(0, true), (1, true), (119, true), (120, false), (1_000_000, false)] {
                assert_eq!(
                    unshared.holds(key(5), now.plus(Duration::from_secs(after))),
                    holds,
                    "{start}: {after}"
                );
            }
            unshared.forget(key(5));
            assert!(!unshared.holds(key(5), now) && unshared.holds(key(6), now), "{start}");
        }
    }

    #[test]
    fn keys_that_share_a_place_are_told_apart() {
        let now = Timestamp::from_secs(1_764_200_000);
        let [one, other] = [key(5 | 1 << 30), key(5 | 1 << 31)];
        let mut unshared = Unshared::default();
        unshared.remember(one, now);
        assert!(unshared.holds(one, now) && !unshared.holds(other, now));
        unshared.forget(other);
        assert!(unshared.holds(one, now));
        unshared.remember(other, now);
        assert!(unshared.holds(other, now) && !unshared.holds(one, now));
    }
}
