//! A memory tier of names and weights, of another size or policy than the real one: what `sizing` and `tuner.rs` ask.
//!
//! An entry stands for others that are not in the sample, so it takes more room than its weight; what it is worth follows its own
//! weight and use, as in the tier. It holds as many entries as whoever feeds it with a sample lets it see.

use super::ledger::Ledger;
use super::worth::{Policy, Use, era_bytes};
use crate::key::CacheKey;

/// The tier.
pub(crate) struct Scaled<V> {
    ledger: Ledger<V>,
    capacity: usize,
    used: usize,
    clock: f64,
    era: u64,
    /// Bytes inserted in this era.
    inserted: usize,
}

/// What is taken in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry<V> {
    pub(crate) key: CacheKey,
    /// Bytes of its own.
    pub(crate) weight: usize,
    pub(crate) value: V,
}

impl<V: Copy> Scaled<V> {
    /// An empty tier of so many bytes, that remembers what is gone in `past_bytes`.
    pub(crate) fn new(capacity: usize, past_bytes: usize) -> Self {
        let ledger = Ledger::new(past_bytes, Policy::Recency);
        Self { ledger, capacity, used: 0, clock: 0.0, era: 0, inserted: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.ledger.len()
    }

    /// Passes with what is inserted; a use of an entry counts once in it.
    pub(crate) const fn era(&self) -> u64 {
        self.era
    }

    /// The part of it that is in use.
    pub(crate) fn filled(&self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // a ratio for eyes
        let filled = self.used as f64 / self.capacity.max(1) as f64;
        filled
    }

    /// Bytes for entries.
    pub(crate) const fn capacity(&self) -> usize {
        self.capacity
    }

    /// The heaviest that it keeps.
    pub(crate) const fn weight_max(&self) -> usize {
        self.capacity / super::SHARE
    }

    /// What it has of a key, which has been used once more; and whether this is the first time in this era.
    pub(crate) fn use_of(&mut self, key: CacheKey) -> Option<(V, bool)> {
        let known = self.ledger.find(key)?;
        let is_first = !known.mark.is_of(self.era);
        if is_first {
            known.mark.raise(self.era, self.clock);
        }
        Some((*known.value()?, is_first))
    }

    /// Takes it in, if that is worth it or must be.
    pub(crate) fn insert(
        &mut self,
        entry: Entry<V>,
        policy: Policy,
        always: bool,
        room_of: impl Fn(usize, &V) -> usize,
    ) {
        let Entry { key, weight, value } = entry;
        let occupies = room_of(weight, &value);
        if weight > self.weight_max() {
            return;
        }
        self.ledger.set_policy(policy);
        let used = Use { era: self.era, clock: self.clock, uses: self.ledger.ask(key) };
        let worth = policy.worth(used, weight);
        if let Some(gone) = self.ledger.take(key) {
            self.used = self.used.saturating_sub(room_of(gone.weight, &gone.value));
        }
        let mut steps = STEPS_MAX;
        while self.used.saturating_add(occupies) > self.capacity {
            let least = self.ledger.least(&mut steps).filter(|least| always || *least <= worth && steps > 0);
            if policy.has_clock() {
                self.clock = self.clock.max(least.unwrap_or(worth));
            }
            let Some(gone) = least.and_then(|_| self.ledger.take_least()) else { return };
            steps = steps.saturating_sub(1);
            self.used = self.used.saturating_sub(room_of(gone.weight, &gone.value));
        }
        self.ledger.put(key, value, weight, used);
        self.used += occupies;
        self.inserted += occupies;
        let era_bytes = era_bytes(self.capacity);
        self.era += (self.inserted / era_bytes) as u64;
        self.inserted %= era_bytes;
    }

    /// Drops what `keep` does not want; what stays takes what `room_of` says.
    pub(crate) fn thin(&mut self, keep: impl Fn(CacheKey, &V) -> bool, room_of: impl Fn(usize, &V) -> usize) {
        self.used = self.ledger.thin(keep, room_of);
    }

    /// Remembers what is gone in at most `bytes` from now on: a sample of fewer keys would look back further than the tier.
    pub(crate) fn shrink_past(&mut self, bytes: usize) {
        self.ledger.shrink_past(bytes);
    }

    #[cfg(test)]
    pub(super) fn check_invariants(&self, room_of: impl Fn(usize, &V) -> usize) {
        self.ledger.check_invariants();
        assert_eq!(self.used, self.ledger.room(room_of));
    }
}

/// Entries that one insertion may weigh again or push out.
const STEPS_MAX: usize = 4096;
