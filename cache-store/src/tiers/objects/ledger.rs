//! One shard's entries: found by key, and in the order in which they go.
//!
//! ```text
//! table: fingerprint ──► number ──► entries: key, value, weight, mark, place ◄──► order: a heap of (worth, number)
//! ```
//!
//! A reader finds an entry under a shared lock and may raise its mark; all else needs the ledger to itself. The heap is of the worth
//! that was known when an entry was placed. Worth only grows, so whoever comes up is weighed again and sinks to where it
//! belongs ([`Ledger::least`]); what is never at the top is never weighed.
//!
//! It knows neither budget nor time: those are the tier's, which has many ledgers, and the scaled one's, which has one.
//!
//! Invariants: table, entries in use and order have the same length, and `order[entry.place].at` is the entry's number; a heap's
//! parent is never above its child.

use std::mem;

use hashbrown::HashTable;

use super::sketch::Sketch;
use super::worth::{Mark, Policy, Use};
use crate::key::CacheKey;

/// Entries and their order.
pub(super) struct Ledger<V> {
    table: HashTable<u32>,
    entries: Vec<Entry<V>>,
    /// Numbers of entries that are not in use.
    free: Vec<u32>,
    order: Vec<Place>,
    /// What was asked for lately, also of what is gone: what returns is not new.
    past: Sketch,
    policy: Policy,
    /// Of two that are worth the same the older one goes first.
    stamps: u32,
}

/// What is kept about a key.
pub(super) struct Entry<V> {
    key: [u64; 2],
    value: Option<V>,
    pub(super) weight: usize,
    pub(super) mark: Mark,
    place: u32,
}

/// A place in the order.
#[derive(Clone, Copy)]
struct Place {
    worth: f64,
    stamp: u32,
    at: u32,
}

/// What left: to be dropped when no lock is held.
#[derive(Debug)]
pub(super) struct Gone<V> {
    pub(super) value: V,
    pub(super) weight: usize,
}

impl<V> Ledger<V> {
    /// An empty ledger that remembers what is gone in `past_bytes`.
    pub(super) fn new(past_bytes: usize, policy: Policy) -> Self {
        Self {
            table: HashTable::new(),
            entries: Vec::new(),
            free: Vec::new(),
            order: Vec::new(),
            past: Sketch::new(past_bytes),
            policy,
            stamps: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.order.len()
    }

    /// All values, in no order.
    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.entries.iter().filter_map(|entry| entry.value.as_ref())
    }

    /// All keys with values and use, in no order.
    pub(super) fn entries(&self) -> impl Iterator<Item = (CacheKey, &V, Use)> {
        self.entries
            .iter()
            .filter_map(|entry| Some((key_of(entry.key), entry.value.as_ref()?, entry.mark.read())))
    }

    #[inline]
    pub(super) fn find(&self, key: CacheKey) -> Option<&Entry<V>> {
        let key = words(key);
        let entry = |at: &u32| self.entries.get(*at as usize);
        let at = self.table.find(key[0], |at| entry(at).is_some_and(|entry| entry.key == key))?;
        entry(at)
    }

    /// Remembers what is gone in at most `bytes` from now on.
    pub(super) fn shrink_past(&mut self, bytes: usize) {
        self.past.shrink(bytes);
    }

    /// How often `key` was asked for with this time, lately: kept or not.
    pub(super) fn ask(&mut self, key: CacheKey) -> u8 {
        match self.find(key) {
            Some(known) => known.mark.read().uses.max(1),
            None => self.past.add(key),
        }
    }

    /// Keeps `value` under `key`; what was there leaves.
    pub(super) fn put(&mut self, key: CacheKey, value: V, weight: usize, used: Use) -> Option<Gone<V>> {
        let replaced = self.take(key);
        let key = words(key);
        let entry = Entry { key, value: Some(value), weight, mark: Mark::new(used), place: 0 };
        let at = if let Some(at) = self.free.pop() {
            if let Some(unused) = self.entries.get_mut(at as usize) {
                *unused = entry;
            }
            at
        } else {
            grow(&mut self.entries);
            self.entries.push(entry);
            // Four thousand million entries of 64 bytes each do not fit in a shard.
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        };
        let entries = &self.entries;
        let hash = |at: &u32| entries.get(*at as usize).map_or(0, |entry| entry.key[0]);
        self.table.insert_unique(key[0], at, hash);
        grow(&mut self.order);
        self.order.push(Place { worth: self.policy.worth(used, weight), stamp: self.stamps, at });
        self.stamps = self.stamps.wrapping_add(1);
        self.rise(self.order.len() - 1);
        replaced
    }

    pub(super) fn take(&mut self, key: CacheKey) -> Option<Gone<V>> {
        let key = words(key);
        let entries = &self.entries;
        let same = |at: &u32| entries.get(*at as usize).is_some_and(|entry| entry.key == key);
        let (at, _) = self.table.find_entry(key[0], same).ok()?.remove();
        self.release(at)
    }

    /// The worth of the one that goes next, or less once `steps` is used up: so many entries are weighed again at most.
    pub(super) fn least(&mut self, steps: &mut usize) -> Option<f64> {
        loop {
            let top = self.order.first_mut()?;
            let now = self.entries.get(top.at as usize)?.worth(self.policy);
            if now <= top.worth || *steps == 0 {
                return Some(top.worth);
            }
            *steps -= 1;
            top.worth = now;
            self.sink(0);
        }
    }

    /// A lower bound of [`Ledger::least`], for nothing.
    pub(super) fn least_known(&self) -> Option<f64> {
        self.order.first().map(|top| top.worth)
    }

    /// Takes the next one to go, and remembers how often it was used.
    pub(super) fn take_least(&mut self) -> Option<Gone<V>> {
        let at = self.order.first()?.at;
        let entry = self.entries.get(at as usize)?;
        let (key, uses) = (entry.key, entry.mark.read().uses);
        self.past.raise(key_of(key), uses);
        if let Ok(held) = self.table.find_entry(key[0], |held| *held == at) {
            held.remove();
        }
        self.release(at)
    }

    pub(super) const fn policy(&self) -> Policy {
        self.policy
    }

    /// Goes on by another policy. Weighs all.
    pub(super) fn set_policy(&mut self, policy: Policy) {
        if self.policy != policy {
            self.policy = policy;
            self.place_all();
        }
    }

    /// Drops what `keep` does not want, by key and value; the room that what stays takes.
    pub(super) fn thin(
        &mut self,
        keep: impl Fn(CacheKey, &V) -> bool,
        room_of: impl Fn(usize, &V) -> usize,
    ) -> usize {
        let entries = mem::take(&mut self.entries);
        self.entries = entries
            .into_iter()
            .filter(|entry| entry.value.as_ref().is_some_and(|value| keep(key_of(entry.key), value)))
            .collect();
        self.free = Vec::new();
        self.table = HashTable::with_capacity(self.entries.len());
        self.order = Vec::with_capacity(self.entries.len());
        for (at, entry) in self.entries.iter().enumerate() {
            let at = u32::try_from(at).unwrap_or(u32::MAX);
            self.table.insert_unique(entry.key[0], at, |_| entry.key[0]);
            self.order.push(Place { worth: 0.0, stamp: at, at });
        }
        self.place_all();
        let room = |entry: &Entry<V>| entry.value.as_ref().map_or(0, |value| room_of(entry.weight, value));
        self.entries.iter().map(room).sum()
    }

    /// Frees an entry that the table no longer names.
    fn release(&mut self, at: u32) -> Option<Gone<V>> {
        let entry = self.entries.get_mut(at as usize)?;
        let (value, weight, place) = (entry.value.take()?, entry.weight, entry.place as usize);
        self.free.push(at);
        let last = self.order.pop()?;
        if place < self.order.len() {
            self.set(place, last);
            self.rise(place);
            self.sink(place);
        }
        Some(Gone { value, weight })
    }

    fn place_all(&mut self) {
        for place in &mut self.order {
            if let Some(entry) = self.entries.get(place.at as usize) {
                place.worth = entry.worth(self.policy);
            }
        }
        self.order.sort_unstable_by(Place::compare);
        for (place, held) in self.order.iter().enumerate() {
            if let Some(entry) = self.entries.get_mut(held.at as usize) {
                entry.place = u32::try_from(place).unwrap_or(u32::MAX);
            }
        }
    }

    /// Moves what stands at `place` up to where it belongs.
    fn rise(&mut self, mut place: usize) {
        let Some(moving) = self.order.get(place).copied() else { return };
        while let Some(parent) = place.checked_sub(1).map(|below| below / 2)
            && let Some(above) = self.order.get(parent).copied()
            && moving.goes_before(&above)
        {
            self.set(place, above);
            place = parent;
        }
        self.set(place, moving);
    }

    /// Moves what stands at `place` down to where it belongs.
    fn sink(&mut self, mut place: usize) {
        let Some(moving) = self.order.get(place).copied() else { return };
        while let Some(left) = self.order.get(2 * place + 1).copied() {
            let (child, below) = match self.order.get(2 * place + 2) {
                Some(right) if right.goes_before(&left) => (2 * place + 2, *right),
                _ => (2 * place + 1, left),
            };
            if !below.goes_before(&moving) {
                break;
            }
            self.set(place, below);
            place = child;
        }
        self.set(place, moving);
    }

    fn set(&mut self, place: usize, held: Place) {
        if let Some(there) = self.order.get_mut(place) {
            *there = held;
        }
        if let Some(entry) = self.entries.get_mut(held.at as usize) {
            entry.place = u32::try_from(place).unwrap_or(u32::MAX);
        }
    }

    /// What the module head promises.
    #[cfg(test)]
    pub(super) fn check_invariants(&self) {
        assert_eq!(self.table.len(), self.order.len());
        assert_eq!(self.entries.iter().filter(|entry| entry.value.is_some()).count(), self.order.len());
        assert_eq!(self.entries.len(), self.order.len() + self.free.len());
        for (place, held) in self.order.iter().enumerate() {
            let entry = &self.entries[held.at as usize];
            assert_eq!(entry.place as usize, place);
            assert!(self.find(key_of(entry.key)).is_some_and(|found| std::ptr::eq(found, entry)));
            assert!(place == 0 || !held.goes_before(&self.order[(place - 1) / 2]));
            assert!(entry.worth(self.policy) >= held.worth);
        }
    }

    #[cfg(test)]
    pub(super) fn weight(&self) -> usize {
        self.room(|weight, _| weight)
    }

    #[cfg(test)]
    pub(super) fn room(&self, room_of: impl Fn(usize, &V) -> usize) -> usize {
        self.entries.iter().filter_map(|entry| Some(room_of(entry.weight, entry.value.as_ref()?))).sum()
    }
}

impl<V> Entry<V> {
    #[inline]
    pub(super) const fn value(&self) -> Option<&V> {
        self.value.as_ref()
    }

    fn worth(&self, policy: Policy) -> f64 {
        policy.worth(self.mark.read(), self.weight)
    }
}

impl Place {
    fn compare(&self, other: &Self) -> std::cmp::Ordering {
        self.worth.total_cmp(&other.worth).then(self.stamp.cmp(&other.stamp))
    }

    fn goes_before(&self, other: &Self) -> bool {
        self.compare(other).is_lt()
    }
}

/// A key as an entry holds it: 128 bits in one would be aligned to 16 bytes, and waste eight.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the halves
const fn words(key: CacheKey) -> [u64; 2] {
    [key.bits() as u64, (key.bits() >> 64) as u64]
}

fn key_of([low, high]: [u64; 2]) -> CacheKey {
    CacheKey::from_bits(u128::from(high) << 64 | u128::from(low))
}

/// What a ledger keeps about an entry: itself and its place, of whose lists a sixteenth lies idle on average, and five bytes in a
/// table that is from seven sixteenths to seven eighths full.
pub(crate) const ENTRY_BYTES: usize =
    (size_of::<Entry<super::Slot>>() + size_of::<Place>()) * 17 / 16 + 5 * 3 / 2;

/// Room for one more. By an eighth, not by as much again: at a million entries that would be a tenth of what they cost.
fn grow<T>(list: &mut Vec<T>) {
    if list.len() == list.capacity() {
        list.reserve_exact(list.len() / 8 + 8);
    }
}
