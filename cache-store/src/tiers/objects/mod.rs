//! Whole responses in memory, under one hard budget of bytes.
//!
//! Shards by key, each a [`Ledger`] behind a lock that hits share. The budget is one for all: room is made wherever the tier's
//! least worthy entry lies, so an entry may take a quarter of the whole, and no shard is full while another has room. A
//! hit costs the shared lock, a look into a table and, once an era, a mark. Which policy is followed is the [`Tuner`]'s to say.
//!
//! ```text
//! insert ── worth? ──► make_room ─┬─ the least of all shards is worth less: it goes, again
//!                                 └─ it is worth more: the newcomer is refused, and has moved the clock
//! ```
//!
//! A newcomer pushes out only what is worth less than itself; one that is refused has moved the clock, so that what is asked
//! for again and again gets in. What a disk has brought is taken in always, or it would be read again at once
//! ([`Objects::admit`]).
//!
//! Invariants: the sum of weights, room promised to what is just being inserted included, never exceeds the budget less the
//! tier's own tables; what was pushed out lives on while it is being served. At most one lock of a shard is held at a time.

mod ledger;
mod scaled;
mod sketch;
#[cfg(test)]
mod tests;
mod tuner;
mod worth;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use parking_lot::RwLock;

pub(crate) use self::ledger::ENTRY_BYTES;
use self::ledger::{Gone, Ledger};
pub(crate) use self::scaled::{Entry, Scaled};
use self::sketch::Sketch;
pub(crate) use self::tuner::{Goal, Tuner};
pub(crate) use self::worth::Policy;
use self::worth::{Use, era_bytes};
use crate::entry::{Parts, StoredResponse};
use crate::key::CacheKey;
use crate::lookup::Variants;
use crate::tiers::arena::Arena;

/// What a key leads to.
#[derive(Clone, Debug)]
pub(crate) enum Slot {
    /// A response that answers every request for the key, or one variant under its own key.
    Response(Arc<StoredResponse>),
    /// The variants of a primary key.
    Variants(Arc<Variants>),
}

/// What memory takes in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MemoryAdmission {
    /// What is worth more, for its size and use, than what would have to go for it; how much size counts follows the traffic.
    #[default]
    Adaptive,
    /// Everything; what was used longest ago goes.
    All,
}

/// What became of an insertion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Inserted {
    /// It can be found.
    Kept,
    /// It is not worth what would have to go for it.
    Unworthy,
    /// Heavier than one entry may be.
    TooHeavy,
}

/// The memory tier.
pub(crate) struct Objects {
    shards: Box<[Shard]>,
    /// A lower bound of the least worth in each shard, `f64` bits; [`NOTHING`] where it is empty. Written under the shard's lock.
    least: Box<[AtomicU64]>,
    time: Apart<Time>,
    room: Apart<Room>,
    /// None: everything is taken in, by recency.
    tuner: Option<Tuner>,
    /// Bytes, tables included.
    budget: usize,
    /// …and without them.
    capacity: usize,
    entry_weight_max: usize,
    /// For large bodies, if the system has one to give.
    arena: Option<Arc<Arena>>,
}

/// Hits on one shard do not invalidate the cache line of another's lock.
type Shard = Apart<RwLock<Ledger<Slot>>>;

#[repr(align(128))]
struct Apart<T>(T);

/// Read by every hit, written once in a while.
#[derive(Default)]
struct Time {
    era: AtomicU64,
    /// `f64` bits; never negative, so the bits order as the numbers do.
    clock: AtomicU64,
}

/// Written by every insertion.
#[derive(Default)]
struct Room {
    used: AtomicUsize,
    inserted: AtomicU64,
    evicted: AtomicU64,
    /// Where the next search for the least begins: of equals not always the same shard's goes.
    turn: AtomicUsize,
}

impl Objects {
    /// A tier of `bytes` bytes, heads, overhead and tables included.
    pub(crate) fn new(bytes: usize, admission: MemoryAdmission, goal: Goal) -> Self {
        let is_tuned = admission == MemoryAdmission::Adaptive;
        let Split { capacity, past_bytes, shadows_bytes } = Split::of(bytes, is_tuned);
        let tuner = is_tuned.then(|| Tuner::new(capacity, shadows_bytes, goal));
        let policy = tuner.as_ref().map_or(Policy::Recency, Tuner::policy);
        Self {
            shards: (0..SHARDS)
                .map(|_| Apart(RwLock::new(Ledger::new(past_bytes / SHARDS, policy))))
                .collect(),
            least: (0..SHARDS).map(|_| AtomicU64::new(NOTHING)).collect(),
            time: Apart(Time::default()),
            room: Apart(Room::default()),
            tuner,
            budget: bytes,
            capacity,
            entry_weight_max: capacity / SHARE,
            arena: Arena::new(bytes),
        }
    }

    /// Packs a response for this tier.
    pub(crate) fn pack(&self, parts: Parts) -> StoredResponse {
        StoredResponse::new_in(self.arena.as_ref(), parts)
    }

    /// Where large bodies lie, if there is such a place.
    pub(crate) const fn arena(&self) -> Option<&Arc<Arena>> {
        self.arena.as_ref()
    }

    /// The heaviest response that is kept.
    pub(crate) const fn entry_weight_max(&self) -> usize {
        self.entry_weight_max
    }

    #[inline]
    pub(crate) fn find(&self, key: CacheKey) -> Option<Slot> {
        let ledger = self.shards.get(shard_of(key))?.0.read();
        let entry = ledger.find(key)?;
        let slot = entry.value().cloned();
        if !entry.mark.is_of(self.time.0.era.load(Relaxed)) {
            let (era, clock) = self.now();
            entry.mark.raise(era, clock);
            let weight = entry.weight;
            drop(ledger);
            self.observe(key, weight);
        }
        slot
    }

    /// What is under `key`, which counts as no use of it.
    pub(crate) fn peek(&self, key: CacheKey) -> Option<Slot> {
        self.shards.get(shard_of(key))?.0.read().find(key)?.value().cloned()
    }

    /// Keeps `slot` under `key`, replacing what was there; if it is not kept, nothing is left there.
    pub(crate) fn insert(&self, key: CacheKey, slot: Slot) -> Inserted {
        self.insert_if(key, slot, self.tuner.is_none())
    }

    /// The same for what must be had, whatever it is worth; `false` only if it is too heavy.
    pub(crate) fn admit(&self, key: CacheKey, slot: Slot) -> bool {
        self.insert_if(key, slot, true) == Inserted::Kept
    }

    /// Whether it is light enough for an entry.
    pub(crate) fn may_keep(&self, slot: &Slot) -> bool {
        slot.weight() <= self.entry_weight_max
    }

    fn insert_if(&self, key: CacheKey, slot: Slot, always: bool) -> Inserted {
        let weight = slot.weight();
        let Some(shard) = self.shards.get(shard_of(key)).filter(|_| weight <= self.entry_weight_max) else {
            self.remove(key);
            return Inserted::TooHeavy;
        };
        self.observe(key, weight);
        let policy = self.policy();
        let uses = shard.0.write().ask(key);
        let (era, clock) = self.now();
        let used = Use { era, clock, uses };
        let worth = policy.worth(used, weight);
        if !self.make_room(weight, if always { f64::INFINITY } else { worth }, policy) {
            if policy.has_clock() {
                self.time.0.clock.fetch_max(worth.to_bits(), Relaxed);
            }
            self.remove(key);
            return Inserted::Unworthy;
        }
        let replaced = {
            let mut ledger = shard.0.write();
            ledger.set_policy(policy);
            let replaced = ledger.put(key, slot, weight, used);
            self.publish(shard_of(key), &ledger);
            replaced
        };
        self.give_back(replaced);
        let inserted = self.room.0.inserted.fetch_add(weight as u64, Relaxed) + weight as u64;
        self.time.0.era.fetch_max(inserted / era_bytes(self.capacity) as u64, Relaxed);
        Inserted::Kept
    }

    pub(crate) fn remove(&self, key: CacheKey) -> Option<Slot> {
        let at = shard_of(key);
        let gone = {
            let mut ledger = self.shards.get(at)?.0.write();
            let gone = ledger.take(key);
            self.publish(at, &ledger);
            gone
        };
        self.give_back(gone)
    }

    pub(crate) fn bytes(&self) -> usize {
        self.room.0.used.load(Relaxed)
    }

    /// What it was made for.
    pub(crate) const fn budget_bytes(&self) -> usize {
        self.budget
    }

    /// What of that is for entries.
    pub(crate) const fn capacity_bytes(&self) -> usize {
        self.capacity
    }

    /// Whether another entry is likely to cost one that is here its place.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() >= self.capacity - self.capacity / FULL_SHARE
    }

    pub(crate) fn entries(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().len()).sum()
    }

    /// Calls `each` with every response, a shard's lock shared meanwhile. Costs a walk.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&StoredResponse)) {
        for shard in &self.shards {
            for slot in shard.0.read().values() {
                if let Slot::Response(stored) = slot {
                    each(stored);
                }
            }
        }
    }

    /// Keys of those that `wants` wants, what was used last first. Costs a walk, each shard's lock shared meanwhile.
    pub(crate) fn used_last_first(&self, mut wants: impl FnMut(CacheKey, &Slot) -> bool) -> Vec<CacheKey> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let ledger = shard.0.read();
            let wanted = ledger.entries().filter(|(key, slot, _)| wants(*key, slot));
            found.extend(wanted.map(|(key, _, used)| (used.era, used.uses, key)));
        }
        found.sort_unstable_by_key(|(era, uses, _)| std::cmp::Reverse((*era, *uses)));
        found.into_iter().map(|(.., key)| key).collect()
    }

    pub(crate) fn evictions(&self) -> u64 {
        self.room.0.evicted.load(Relaxed)
    }

    /// Takes room for `weight`; pushes out what is worth no more than `worth` until there is. What went before it turned out that
    /// it does not suffice stays gone: a large newcomer that is asked for again finds that much done.
    fn make_room(&self, weight: usize, worth: f64, policy: Policy) -> bool {
        let always = worth.is_infinite();
        let mut steps = STEPS_MAX;
        while !self.reserve(weight) {
            let (at, next) = self.poorest();
            let Some(shard) = self.shards.get(at) else { return false };
            let gone = {
                let mut ledger = shard.0.write();
                ledger.set_policy(policy);
                let least = ledger.least(&mut steps);
                // Weighed again it may be worth more than that of another shard, which is then looked at: only the least of all says
                // whether the newcomer is worth more.
                let gone = match least {
                    Some(least) if (least > worth && least <= next) || (steps == 0 && !always) => {
                        return self.refuse(at, &ledger);
                    }
                    Some(least) if least <= next || steps == 0 => {
                        if policy.has_clock() {
                            self.time.0.clock.fetch_max(least.to_bits(), Relaxed);
                        }
                        ledger.take_least()
                    }
                    // Empty: what fills the tier is just being inserted, or was removed.
                    Some(_) | None => None,
                };
                self.publish(at, &ledger);
                gone
            };
            steps = steps.saturating_sub(1);
            if gone.is_some() {
                self.room.0.evicted.fetch_add(1, Relaxed);
            } else if self.least.iter().all(|least| least.load(Relaxed) == NOTHING) {
                return false;
            }
            self.give_back(gone);
        }
        true
    }

    fn refuse(&self, at: usize, ledger: &Ledger<Slot>) -> bool {
        self.publish(at, ledger);
        false
    }

    /// Takes room, if there is that much.
    fn reserve(&self, weight: usize) -> bool {
        let with = |used: usize| used.checked_add(weight).filter(|used| *used <= self.capacity);
        self.room.0.used.fetch_update(Relaxed, Relaxed, with).is_ok()
    }

    /// Drops what left, no lock held, and gives back its room.
    fn give_back(&self, gone: Option<Gone<Slot>>) -> Option<Slot> {
        let gone = gone?;
        self.room.0.used.fetch_sub(gone.weight, Relaxed);
        Some(gone.value)
    }

    /// The shard with the least worthy entry as far as is known, and the least of the others.
    fn poorest(&self) -> (usize, f64) {
        let turn = self.room.0.turn.fetch_add(1, Relaxed);
        let (mut poorest, mut least, mut next) = (turn % SHARDS, NOTHING, NOTHING);
        for offset in 0..SHARDS {
            let at = turn.wrapping_add(offset) % SHARDS;
            let bits = self.least.get(at).map_or(NOTHING, |least| least.load(Relaxed));
            if bits < least {
                (poorest, least, next) = (at, bits, least);
            } else {
                next = next.min(bits);
            }
        }
        (poorest, if next == NOTHING { f64::INFINITY } else { f64::from_bits(next) })
    }

    /// Tells the others what the least of this shard is worth. Under another policy than the one in charge it is not comparable:
    /// then it is the first to be looked at.
    fn publish(&self, at: usize, ledger: &Ledger<Slot>) {
        let known =
            ledger.least_known().map(|least| if ledger.policy() == self.policy() { least } else { 0.0 });
        if let Some(least) = self.least.get(at) {
            least.store(known.map_or(NOTHING, f64::to_bits), Relaxed);
        }
    }

    /// Whether what it follows depends on the traffic.
    pub(crate) const fn is_tuned(&self) -> bool {
        self.tuner.is_some()
    }

    /// By what the next one to go is chosen.
    pub(crate) fn policy(&self) -> Policy {
        self.tuner.as_ref().map_or(Policy::Recency, Tuner::policy)
    }

    #[cold]
    fn observe(&self, key: CacheKey, weight: usize) {
        let Some(tuner) = &self.tuner else { return };
        if tuner.observe(key, weight, weight as u64) {
            // Nobody's worth is comparable any more: each shard is looked at, and weighed anew, before another is preferred.
            for least in &self.least {
                let _ = least.fetch_update(Relaxed, Relaxed, |bits| (bits != NOTHING).then_some(0));
            }
        }
    }

    fn now(&self) -> (u64, f64) {
        (self.time.0.era.load(Relaxed), f64::from_bits(self.time.0.clock.load(Relaxed)))
    }
}

impl Slot {
    /// Bytes it costs to keep it.
    fn weight(&self) -> usize {
        let own = match self {
            Self::Response(stored) => stored.weight(),
            Self::Variants(variants) => variants.weight(),
        };
        own.saturating_add(ledger::ENTRY_BYTES)
    }
}

/// What becomes of a tier's bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Split {
    /// For entries.
    pub(crate) capacity: usize,
    /// In which it remembers what is gone, each shard for itself: a small tier takes more for that than its part.
    pub(crate) past_bytes: usize,
    /// For the tuner.
    pub(crate) shadows_bytes: usize,
}

impl Split {
    /// Of a tier of so many bytes.
    pub(crate) fn of(bytes: usize, is_tuned: bool) -> Self {
        let past_share = bytes / PAST_SHARE / SHARDS;
        let past_bytes = Sketch::bytes_within(past_share) * SHARDS;
        let shadows_bytes = if is_tuned { (bytes / SHADOWS_SHARE).min(SHADOWS_BYTES_MAX) } else { 0 };
        Self {
            capacity: bytes.saturating_sub(past_share * SHARDS + shadows_bytes),
            past_bytes,
            shadows_bytes,
        }
    }
}

/// The highest bits choose: the low ones are the table's.
#[inline]
#[allow(clippy::cast_possible_truncation)] // the bits of `SHARDS` are left
const fn shard_of(key: CacheKey) -> usize {
    (key.bits() >> (u128::BITS - SHARDS.ilog2())) as usize
}

/// So many locks; what a hit holds one for is short.
const SHARDS: usize = 64;
/// One entry takes at most this part of the budget.
const SHARE: usize = 4;
/// The tier counts as full when less than this part of it is free.
const FULL_SHARE: usize = 64;
/// Part of the budget that remembers what is gone.
const PAST_SHARE: usize = 2048;
/// Part of the budget that goes to the tuner's shadows.
const SHADOWS_SHARE: usize = 128;
/// …and no more than that.
const SHADOWS_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Entries that one insertion may weigh again or push out; one that needs more is refused, and the next finds them done.
const STEPS_MAX: usize = 8192;
/// No worth has these bits.
const NOTHING: u64 = u64::MAX;
