//! Which policy would do best here: small caches beside the large one, each with its own, fed with a sample of the keys.
//!
//! The keys are those of a [sample](crate::tiers::sample) that begins with every one; its rate is halved whenever a shadow
//! holds more than its share of entries, so its size does not depend on the budget. Where two policies differ in a request, the
//! difference counts for the one that hit, and for all that the key stands for; the policy in charge is replaced when another is
//! ahead of it by more than chance would bring. An uncertain sample changes nothing.
//!
//! Long ones are sampled more often than short ones, or the choice would be a lottery where few long ones have most of the bytes:
//! of all keys alike one in 32 for `tc0`, whether recency or size led was a matter of the secret under which keys are hashed,
//! and with it up to 17 of a hundred bytes.
//!
//! Called once an era for an entry that is hit and at each insertion, never waits: when another thread is here, the
//! sample misses one.
//!
//! Invariant: a shadow holds at most `entries_max` entries between two calls; what is here never decides about one entry, only
//! about the policy.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::scaled::{Entry, Scaled};
use super::worth::Policy;
use crate::key::CacheKey;
use crate::tiers::sample::Rate;

/// What the tier is to answer most of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Goal {
    /// Requests and bytes, half and half.
    Both,
    /// Bytes first: a disk beneath it has what is small and asked for. Where two policies keep as many, the one that answers more
    /// requests.
    Bytes,
}

/// The shadows, and which of them is ahead.
pub(crate) struct Tuner {
    /// Of the sample: [`Rate`].
    rate: AtomicU64,
    chosen: AtomicUsize,
    shadows: Mutex<Shadows>,
}

struct Shadows {
    entries_max: usize,
    goal: Goal,
    caches: [Scaled<u64>; POLICIES.len()],
    lead: [Lead; POLICIES.len()],
    /// Requests seen and their bytes, with what they stand for; older ones less.
    requests: f64,
    bytes: f64,
    /// Requests that were compared with the policy in charge, likewise.
    compared: f64,
    /// Sampled requests since the leads were last halved.
    since: usize,
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
    pub(crate) fn new(capacity: usize, tables_bytes: usize, goal: Goal) -> Self {
        let entries_max = (tables_bytes / POLICIES.len() / ENTRY_BYTES).max(ENTRIES_MIN);
        let shadow = || Scaled::new(capacity, entries_max * PAST_BYTES_PER_ENTRY);
        Self {
            rate: AtomicU64::new(Rate::ALL.bits()),
            chosen: AtomicUsize::new(goal.first()),
            shadows: Mutex::new(Shadows {
                entries_max,
                goal,
                caches: POLICIES.map(|_| shadow()),
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
    pub(crate) fn policy(&self) -> Policy {
        POLICIES.get(self.chosen.load(Relaxed)).copied().unwrap_or(Policy::Recency)
    }

    /// A request for `key`, which leads to so many bytes; whether another policy is in charge now.
    pub(crate) fn observe(&self, key: CacheKey, weight: usize, bytes: u64) -> bool {
        if !self.rate().takes(key, bytes) {
            return false;
        }
        self.shadows.try_lock().is_some_and(|mut shadows| self.compare(&mut shadows, key, weight, bytes))
    }

    /// Whoever tells it of requests has no more keys than those.
    pub(crate) fn sample_at_most(&self, rate: Rate) {
        if rate < self.rate() {
            self.thin(&mut self.shadows.lock(), rate);
        }
    }

    fn compare(&self, shadows: &mut Shadows, key: CacheKey, weight: usize, bytes: u64) -> bool {
        let rate = self.rate();
        let entry = Entry { key, weight, value: bytes };
        let mut hits = [false; POLICIES.len()];
        for ((hit, shadow), policy) in hits.iter_mut().zip(&mut shadows.caches).zip(POLICIES) {
            *hit = shadow.use_of(key).is_some();
            if !*hit {
                shadow.insert(entry, policy, false, |weight, bytes| room_of(rate, weight, *bytes));
            }
        }
        while shadows.is_full() && !self.rate().is_least() {
            self.thin(shadows, self.rate().half());
        }
        let better = shadows.score(hits, self.chosen.load(Relaxed), weight, rate.stands_for(bytes));
        if let Some(better) = better {
            self.chosen.store(better, Relaxed);
        }
        better.is_some()
    }

    fn rate(&self) -> Rate {
        Rate::from_bits(self.rate.load(Relaxed))
    }

    fn thin(&self, shadows: &mut Shadows, rate: Rate) {
        self.rate.store(rate.bits(), Relaxed);
        for shadow in &mut shadows.caches {
            shadow.thin(|key, bytes| rate.takes(key, *bytes), |weight, bytes| room_of(rate, weight, *bytes));
        }
    }
}

impl Shadows {
    fn is_full(&self) -> bool {
        self.caches.iter().any(|shadow| shadow.len() > self.entries_max)
    }

    /// Counts one request, which stands for so many; the policy that has proven better than `chosen`, if there is one. A hit counts
    /// as [`Goal`] says.
    fn score(
        &mut self,
        hits: [bool; POLICIES.len()],
        chosen: usize,
        weight: usize,
        stands_for: f64,
    ) -> Option<usize> {
        #[allow(clippy::cast_precision_loss)] // a weight above 2^53 does not exist
        let weight = weight as f64;
        self.requests += stands_for;
        self.bytes += weight * stands_for;
        self.compared += stands_for;
        let of_bytes = weight * self.requests / self.bytes.max(1.0);
        let (of_requests, margin) = match self.goal {
            Goal::Both => (0.5, MARGIN),
            Goal::Bytes => (REQUESTS_BESIDE_BYTES, MARGIN / 2.0),
        };
        let value = (of_requests + (1.0 - of_requests) * of_bytes) * stands_for;
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
            |lead: &Lead| lead.sum > CERTAINTY * lead.squares.sqrt() && lead.sum > self.compared * margin;
        let (better, _) = (self.lead.iter().enumerate())
            .filter(|(_, lead)| proven(lead))
            .max_by(|(_, one), (_, other)| one.sum.total_cmp(&other.sum))?;
        self.lead = Default::default();
        self.compared = 0.0;
        Some(better)
    }
}

fn room_of(rate: Rate, weight: usize, bytes: u64) -> usize {
    usize::try_from(rate.room_of(weight as u64, bytes)).unwrap_or(usize::MAX)
}

/// From the one that keeps most bytes where all is recent, to the one that answers most requests.
const POLICIES: [Policy; 4] = [
    Policy::Recency,
    Policy::Worth { exponent: 0.4 },
    Policy::Worth { exponent: 0.7 },
    Policy::Worth { exponent: 1.0 },
];
/// What requests weigh where bytes come first. Of `meta` with a tenth of it in both tiers .312 of requests are answered with this and
/// .251 with nothing, and .257 of bytes with either; of `mix` .506 and .505, and .431. A quarter costs `mix` the first of its bytes.
const REQUESTS_BESIDE_BYTES: f64 = 0.2;
/// Standard deviations that a lead must have over chance.
const CERTAINTY: f64 = 4.0;
/// …and the part of a hit ratio that it must be worth; half of it where bytes come first, for policies differ in requests then, which
/// weigh little.
const MARGIN: f64 = 0.004;
/// Requests for an entry of a shadow after which a lead counts half.
const MEMORY: usize = 16;
/// Memory of an entry of a shadow: itself, its places in table and order, what is remembered of the past.
const ENTRY_BYTES: usize = 112;
const ENTRIES_MIN: usize = 16;
const PAST_BYTES_PER_ENTRY: usize = 8;

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
            tuner.observe(key(number), 1000, 1000);
            let shadows = tuner.shadows.lock();
            assert!(shadows.caches.iter().all(|shadow| shadow.len() <= entries_max));
        }
        let shadows = tuner.shadows.lock();
        assert!(shadows.caches.iter().all(|shadow| shadow.len() > entries_max / 4), "nor is it empty");
        let rate = tuner.rate();
        for shadow in &shadows.caches {
            shadow.check_invariants(|weight, bytes| room_of(rate, weight, *bytes));
        }
    }

    #[test]
    fn who_waits_for_nobody_changes_nothing() {
        let tuner = Tuner::new(1 << 20, 64 * 1024, Goal::Both);
        let shadows = tuner.shadows.lock();
        assert!(!tuner.observe(key(1), 1000, 1000));
        assert!(shadows.caches.iter().all(|shadow| shadow.len() == 0));
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
            changed += u32::from(tuner.observe(CacheKey::from_bits(u128::from(random) << 40), 4000, 4000));
        }
        assert_eq!((changed, tuner.policy()), (0, POLICIES[Goal::Both.first()]));
        for goal in [Goal::Both, Goal::Bytes] {
            let tuner = Tuner::new(1 << 20, 256 * 1024, goal);
            for at in 0..200_000u32 {
                // Large ones are asked for five times in a row and never again; small ones once and never again.
                let (number, weight) = if at % 2 == 0 { (at / 10, 200_000) } else { (1_000_000 + at, 2000) };
                tuner.observe(key(number), weight, weight as u64);
            }
            assert_eq!(tuner.policy(), Policy::Recency, "{goal:?}");
        }
    }

    /// Each of a thousand short ones is asked for as often as each of a thousand long ones, so whatever is kept answers as many bytes.
    #[test]
    fn of_policies_that_keep_as_many_bytes_the_one_that_answers_more_requests_takes_charge() {
        let tuner = Tuner::new(4 << 20, 256 * 1024, Goal::Bytes);
        let mut random = 1u64;
        for _ in 0..200_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let number = u32::try_from(random >> 40).unwrap() % 2000;
            let weight = if number.is_multiple_of(2) { 1000 } else { 20_000 };
            tuner.observe(key(number), weight, weight as u64);
        }
        assert_ne!(tuner.policy(), Policy::Recency);
    }

    /// A few long ones have most of the bytes, each of them an eighth of the tier and more than such a part of it as short ones
    /// alone would be sampled in.
    #[test]
    fn who_leads_is_not_left_to_which_keys_are_sampled() {
        for secret in 0..6 {
            let keyer = Keyer::new([secret; 32]);
            let key = |number: u32| keyer.primary("http", b"h", &number.to_le_bytes(), None);
            let tuner = Tuner::new(1 << 20, 48 * 1024, Goal::Both);
            for at in 0..60_000u32 {
                let (number, weight) = if at % 2 == 0 { (at / 10, 200_000) } else { (1_000_000 + at, 2000) };
                tuner.observe(key(number), weight, weight as u64);
            }
            assert!(tuner.rate() < Rate::ALL.half(), "most keys are not looked at");
            assert_eq!(tuner.policy(), Policy::Recency, "{secret}");
        }
    }
}
