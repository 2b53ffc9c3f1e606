//! Which policy would do best here: small caches beside the large one, each with its own, fed with a sample of the keys.
//!
//! A key is in the sample by its bits, so a sampled key is seen always and the rest never (SHARDS, Waldspurger 2015); a
//! cache of 1⁄n of the keys with 1⁄n of the budget hits as often as the whole. The sample starts with every
//! key and is halved whenever a shadow holds more than its share of entries, so its size does not depend on
//! the budget. Where two policies differ in a request, the difference counts for the one that hit; the policy in charge is
//! replaced when another is ahead of it by more than chance would bring. An uncertain sample changes nothing.
//!
//! Called once an era for an entry that is hit and at each insertion, never waits: when another thread is here, the
//! sample misses one.
//!
//! Invariant: a shadow holds at most `entries_max` entries between two calls; what is here never decides about one entry, only
//! about the policy.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::ledger::Ledger;
use super::worth::{Policy, Use, era_bytes};
use crate::key::CacheKey;

/// What the tier is to answer most of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// Requests and bytes, half and half.
    Both,
    /// Bytes: a disk beneath it has what is small and asked for.
    Bytes,
}

/// The shadows, and which of them is ahead.
pub(super) struct Tuner {
    /// Sampled are the keys whose sampling bits under this mask are zero.
    mask: AtomicU32,
    chosen: AtomicUsize,
    shadows: Mutex<Shadows>,
}

struct Shadows {
    entries_max: usize,
    goal: Goal,
    caches: [Shadow; POLICIES.len()],
    lead: [Lead; POLICIES.len()],
    /// Requests seen and their bytes, older ones less.
    requests: f64,
    bytes: f64,
    /// Requests that were compared with the policy in charge.
    compared: f64,
    /// Requests since the leads were last halved.
    since: usize,
}

/// A cache of weights without values.
struct Shadow {
    ledger: Ledger<()>,
    capacity: usize,
    used: usize,
    clock: f64,
    era: u64,
    /// Bytes inserted in this era.
    inserted: usize,
}

/// How far one policy is ahead of the one in charge.
#[derive(Clone, Copy, Default, Debug)]
struct Lead {
    sum: f64,
    squares: f64,
}

impl Goal {
    /// The policy that does best as long as nothing is known: ahead of LRU in requests on nearly every trace there is, or keeping
    /// most bytes.
    const fn first(self) -> usize {
        match self {
            Self::Both => 2,
            Self::Bytes => 0,
        }
    }
}

impl Tuner {
    /// For a tier of `capacity` bytes; the shadows take at most about `tables_bytes`.
    pub(super) fn new(capacity: usize, tables_bytes: usize, goal: Goal) -> Self {
        let entries_max = (tables_bytes / POLICIES.len() / ENTRY_BYTES).max(ENTRIES_MIN);
        Self {
            mask: AtomicU32::new(0),
            chosen: AtomicUsize::new(goal.first()),
            shadows: Mutex::new(Shadows {
                entries_max,
                goal,
                caches: POLICIES.map(|policy| Shadow::new(capacity, entries_max, policy)),
                lead: Default::default(),
                requests: 0.0,
                bytes: 0.0,
                compared: 0.0,
                since: 0,
            }),
        }
    }

    /// The policy in charge.
    #[inline]
    pub(super) fn policy(&self) -> Policy {
        POLICIES.get(self.chosen.load(Relaxed)).copied().unwrap_or(Policy::Recency)
    }

    /// A request for `key`; whether another policy is in charge now.
    pub(super) fn observe(&self, key: CacheKey, weight: usize) -> bool {
        if !is_sampled(key, self.mask.load(Relaxed)) {
            return false;
        }
        self.shadows.try_lock().is_some_and(|mut shadows| self.compare(&mut shadows, key, weight))
    }

    fn compare(&self, shadows: &mut Shadows, key: CacheKey, weight: usize) -> bool {
        let mut hits = [false; POLICIES.len()];
        for (hit, shadow) in hits.iter_mut().zip(&mut shadows.caches) {
            *hit = shadow.request(key, weight);
        }
        while shadows.caches.iter().any(|shadow| shadow.ledger.len() > shadows.entries_max) {
            let mask = (self.mask.load(Relaxed) << 1) | 1;
            self.mask.store(mask, Relaxed);
            for shadow in &mut shadows.caches {
                shadow.thin(|key| is_sampled(key, mask));
            }
            if mask == u32::MAX {
                break;
            }
        }
        let better = shadows.score(hits, self.chosen.load(Relaxed), weight);
        if let Some(better) = better {
            self.chosen.store(better, Relaxed);
        }
        better.is_some()
    }
}

impl Shadows {
    /// Counts one request; the policy that has proven better than `chosen`, if there is one. A hit counts as [`Goal`] says.
    fn score(&mut self, hits: [bool; POLICIES.len()], chosen: usize, weight: usize) -> Option<usize> {
        #[allow(clippy::cast_precision_loss)] // a weight above 2^53 does not exist
        let weight = weight as f64;
        self.requests += 1.0;
        self.bytes += weight;
        self.compared += 1.0;
        let of_bytes = weight * self.requests / self.bytes.max(1.0);
        let value = match self.goal {
            Goal::Both => 0.5 + 0.5 * of_bytes,
            Goal::Bytes => of_bytes,
        };
        let mine = hits.get(chosen).copied().unwrap_or_default();
        for (lead, hit) in self.lead.iter_mut().zip(hits) {
            if hit != mine {
                lead.sum += if hit { value } else { -value };
                lead.squares += value * value;
            }
        }
        self.since += 1;
        if self.since >= self.entries_max * MEMORY {
            self.since = 0;
            self.requests /= 2.0;
            self.bytes /= 2.0;
            self.compared /= 2.0;
            for lead in &mut self.lead {
                *lead = Lead { sum: lead.sum / 2.0, squares: lead.squares / 2.0 };
            }
        }
        let proven =
            |lead: &Lead| lead.sum > CERTAINTY * lead.squares.sqrt() && lead.sum > self.compared * MARGIN;
        let (better, _) = (self.lead.iter().enumerate())
            .filter(|(_, lead)| proven(lead))
            .max_by(|(_, one), (_, other)| one.sum.total_cmp(&other.sum))?;
        self.lead = Default::default();
        self.compared = 0.0;
        Some(better)
    }
}

impl Shadow {
    fn new(capacity: usize, entries_max: usize, policy: Policy) -> Self {
        let ledger = Ledger::new(entries_max * PAST_BYTES_PER_ENTRY, policy);
        Self { ledger, capacity, used: 0, clock: 0.0, era: 0, inserted: 0 }
    }

    /// Whether it has the key; it does afterwards, if that is worth it.
    fn request(&mut self, key: CacheKey, weight: usize) -> bool {
        if let Some(known) = self.ledger.find(key) {
            if !known.mark.is_of(self.era) {
                known.mark.raise(self.era, self.clock);
            }
            return true;
        }
        let used = Use { era: self.era, clock: self.clock, uses: self.ledger.ask(key) };
        let policy = self.ledger.policy();
        let worth = policy.worth(used, weight);
        let mut steps = STEPS_MAX;
        while self.used.saturating_add(weight) > self.capacity {
            let least = self.ledger.least(&mut steps).filter(|least| *least <= worth && steps > 0);
            if policy.has_clock() {
                self.clock = self.clock.max(least.unwrap_or(worth));
            }
            let Some(gone) = least.and_then(|_| self.ledger.take_least()) else { return false };
            steps -= 1;
            self.used = self.used.saturating_sub(gone.weight);
        }
        self.ledger.put(key, (), weight, used);
        self.used += weight;
        self.inserted += weight;
        let era_bytes = era_bytes(self.capacity);
        if self.inserted >= era_bytes {
            self.era += 1;
            self.inserted %= era_bytes;
        }
        false
    }

    /// Half of the keys, and half of the room for them.
    fn thin(&mut self, keep: impl Fn(CacheKey) -> bool) {
        self.used = self.ledger.thin(|key, ()| keep(key), |weight, ()| weight);
        self.capacity /= 2;
    }
}

/// The sampling bits lie apart from those that choose a shard or a counter.
#[inline]
fn is_sampled(key: CacheKey, mask: u32) -> bool {
    #[allow(clippy::cast_possible_truncation)] // the bits wanted
    let bits = (key.bits() >> 64) as u32;
    bits.reverse_bits() & mask == 0
}

/// From the one that keeps most bytes where all is recent, to the one that answers most requests.
const POLICIES: [Policy; 4] = [
    Policy::Recency,
    Policy::Worth { exponent: 0.4 },
    Policy::Worth { exponent: 0.7 },
    Policy::Worth { exponent: 1.0 },
];
/// Standard deviations that a lead must have over chance.
const CERTAINTY: f64 = 4.0;
/// …and the part of a hit ratio that it must be worth.
const MARGIN: f64 = 0.004;
/// Requests for an entry of a shadow after which a lead counts half.
const MEMORY: usize = 16;
/// Memory of an entry of a shadow: itself, its places in table and order, what is remembered of the past.
const ENTRY_BYTES: usize = 112;
const ENTRIES_MIN: usize = 16;
const PAST_BYTES_PER_ENTRY: usize = 8;
/// Entries that one request may weigh again or push out of a shadow.
const STEPS_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    fn key(number: u32) -> CacheKey {
        Keyer::new([9; 32]).primary("http", b"h", &number.to_le_bytes(), None)
    }

    #[test]
    fn the_sample_is_bounded_however_many_keys_there_are() {
        let tuner = Tuner::new(1 << 40, 64 * 1024, Goal::Both);
        let entries_max = tuner.shadows.lock().entries_max;
        for number in 0..20_000 {
            tuner.observe(key(number), 1000);
            let shadows = tuner.shadows.lock();
            assert!(shadows.caches.iter().all(|shadow| shadow.ledger.len() <= entries_max));
        }
        let shadows = tuner.shadows.lock();
        assert!(shadows.caches.iter().all(|shadow| shadow.ledger.len() > entries_max / 4), "nor is it empty");
        for shadow in &shadows.caches {
            shadow.ledger.check_invariants();
            assert_eq!(shadow.used, shadow.ledger.weight());
        }
    }

    #[test]
    fn who_waits_for_nobody_changes_nothing() {
        let tuner = Tuner::new(1 << 20, 64 * 1024, Goal::Both);
        let shadows = tuner.shadows.lock();
        assert!(!tuner.observe(key(1), 1000));
        assert!(shadows.caches.iter().all(|shadow| shadow.ledger.len() == 0));
    }

    /// Small ones that stay and large ones that move on: recency keeps the bytes, size keeps the requests.
    #[test]
    fn another_policy_takes_charge_where_it_hits_more_and_not_by_chance() {
        let mut changed = 0;
        let tuner = Tuner::new(1 << 20, 256 * 1024, Goal::Both);
        let mut random = 1u64;
        for _ in 0..60_000u32 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Everybody misses all of it: no policy is better.
            changed += u32::from(tuner.observe(CacheKey::from_bits(u128::from(random) << 40), 4000));
        }
        assert_eq!((changed, tuner.policy()), (0, POLICIES[Goal::Both.first()]));
        let tuner = Tuner::new(1 << 20, 256 * 1024, Goal::Both);
        for at in 0..200_000u32 {
            // Large ones are asked for five times in a row and never again; small ones once and never again.
            let (number, weight) = if at % 2 == 0 { (at / 10, 60_000) } else { (1_000_000 + at, 500) };
            tuner.observe(key(number), weight);
        }
        assert_eq!(tuner.policy(), Policy::Recency);
    }
}
