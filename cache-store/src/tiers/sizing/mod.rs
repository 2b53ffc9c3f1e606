//! What the hit ratio would be with half, twice and four times the memory, or the disk: small caches beside the large one.
//!
//! A sample of the keys (SHARDS, Waldspurger 2015) is replayed against memory tiers and disks of names and lengths, each of another
//! size, that keep and let go by the rules of the real ones (miniature simulations, Waldspurger 2017): the tiers are not LRU, so a
//! reuse distance alone would tell of a cache that nobody has. The sample has a fixed size: it begins with every key, and its rate
//! falls by a quarter whenever the caches hold too many entries together.
//!
//! A tier of another size might follow another policy, so each has a tuner of its own, as the real one does (`objects/tuner.rs`), with
//! a part of the sample. Over a disk all follow the real one: which policy leads there is a matter of few bytes, and a tuner with a
//! smaller sample than the real one's would often follow another for no reason of size.
//!
//! What a disk gets depends on the memory above it, so each size of memory has a disk of its own, as large as the real one.
//!
//! What is told is a difference to what really happened: how many more requests, and bytes, a cache of another size would have
//! answered than one of this size beside it, on the same sample. What both answer, most of all the few keys that half of the
//! requests are for, cancels out.
//!
//! What was purged, or is no longer fresh, is no hit at any size. Called for sampled keys alone; when another thread is here, the
//! sample misses one.
//!
//! A response that every size has says nothing when it is asked for again, so the response itself remembers that it is *settled*,
//! and for which *round*: the time in which no tier's era passes, for a use counts once an era. A site of a few hot keys, all of
//! which are sampled, so pays a comparison a hit. What is pushed out of one size within the round that it was used in is missed
//! until the next.
//!
//! Invariant: the caches hold at most `entries_max` entries between two calls, and what is here never decides about one response.

mod disk;
mod store;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use parking_lot::Mutex;

use self::disk::{BodyIn, Offer, ScaledDisk};
pub(crate) use self::store::TooLong;
use crate::coalesce::HEAD_SLACK_BYTES;
use crate::key::CacheKey;
use crate::tiers::objects::{Entry, Goal, Objects, Policy, Scaled, Split, Tuner};
use crate::tiers::sample::Rate;
use crate::tiers::shelf::large_bytes_min;

/// The caches beside, and what they say.
pub struct Sizing {
    /// Of the sample: [`Rate`].
    rate: AtomicU64,
    /// Of what is settled; never 0.
    round: AtomicU32,
    sample: Mutex<Sample>,
}

/// The sizes that are told, as parts of what there is.
pub const FACTORS: [f64; 3] = [0.5, 2.0, 4.0];

/// A tier whose size may be another.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SizedTier {
    /// Memory, with the disk as it is.
    Memory,
    /// The disk, with memory as it is.
    Disk,
}

impl SizedTier {
    /// `memory` or `disk`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

/// Requests and bytes that another size would have answered on top since the start; fewer are negative.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Gain {
    /// Requests.
    pub requests: f64,
    /// Bytes of bodies.
    pub bytes: f64,
}

/// What another size would bring.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Advice {
    /// Which tier has it.
    pub tier: SizedTier,
    /// …as a part of what it has.
    pub factor: f64,
    /// What it would bring to one class of requests.
    pub gain: Gain,
    /// The part of a tier of that size that would be in use by now: below one, more of the same traffic may yet change the answer.
    pub filled: f64,
}

/// A request that a sampled key got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    pub(crate) key: CacheKey,
    /// Bytes that memory pays for what it leads to.
    pub(crate) weight: usize,
    /// Bytes of its body.
    pub(crate) bytes: u64,
    /// Bytes that its record takes in the disk's log, without the body.
    pub(crate) record_bytes: u64,
    /// Where the body lies on disk, if there is one.
    pub(crate) body_in: BodyIn,
    /// The class that it is counted in.
    pub(crate) class: u16,
    /// Until when the response of today may be used, and the purges that it has seen.
    pub(crate) until_millis: u64,
    pub(crate) epoch: u64,
    pub(crate) now_millis: u64,
    /// Why the real cache asked the origin says nothing about its size.
    pub(crate) regardless: bool,
    /// That the real memory follows.
    pub(crate) policy: Policy,
    /// Where memory has it: it is a request at which a full disk takes it, or later.
    pub(crate) again: bool,
    /// A full disk takes everything now.
    pub(crate) disk_takes_all: bool,
}

/// What is held of a key.
#[derive(Clone, Copy)]
struct Kept {
    /// Of the body.
    bytes: u64,
    until_millis: u64,
    epoch: u64,
    /// The body is here.
    is_whole: bool,
    /// What had been fetched when it came ([`Sample::fetched`]).
    came: u64,
}

/// What a size of memory makes of a response.
#[derive(Clone, Copy)]
struct Form {
    /// Bytes that it pays.
    weight: usize,
    /// …and the body is among them.
    is_whole: bool,
    /// Where the body lies beneath.
    body_in: BodyIn,
}

struct Sample {
    /// Of all caches together: the smaller ones have few, and leave the rest to the larger.
    entries_max: usize,
    /// In which tiers of the sizes remember what is gone.
    past_bytes: [usize; SIZES],
    /// Of the same size as the tier, then of the others.
    memory: [Scaled<Kept>; SIZES],
    /// Bytes of bodies that were fetched through each, by which a disk beneath tells what is asked for again (`admit.rs`).
    fetched: [u64; SIZES],
    /// What those of other sizes follow, unless all follow what the real one does.
    tuners: Option<[Tuner; FACTORS.len()]>,
    /// Of the same size as the disk, then of the others; then as large as it, under memory of the others.
    disks: Option<[ScaledDisk; DISKS]>,
    classes: HashMap<u16, Gains>,
}

#[derive(Clone, Copy, Default)]
struct Gains {
    memory: [Gain; FACTORS.len()],
    disk: [Gain; FACTORS.len()],
}

impl Sizing {
    /// Beside tiers of these sizes. It takes memory of its own, beside the budget: a 64th of it for the caches, at least 2 MiB, with a
    /// disk 8, and at most 16; and without a disk half as much for what the sizes of memory are to follow.
    pub(crate) fn beside(memory: &Objects, goal: Goal, disk_bytes: Option<u64>) -> Self {
        let bytes = memory.budget_bytes();
        let least = if disk_bytes.is_some() { TABLES_BYTES_MIN_WITH_DISK } else { TABLES_BYTES_MIN };
        let tables_bytes = (bytes / TABLES_SHARE).clamp(least, TABLES_BYTES_MAX);
        let goal = memory.is_tuned().then_some(goal);
        Self::new(bytes, goal, disk_bytes, tables_bytes)
    }

    /// Beside a memory tier of `memory_bytes`, its tables included, that follows what answers most of what its goal says or else always
    /// the same, and a disk of `disk_bytes`, if there is one; the caches take at most about `tables_bytes`, and tuners half of that.
    pub(crate) fn new(
        memory_bytes: usize,
        goal: Option<Goal>,
        disk_bytes: Option<u64>,
        tables_bytes: usize,
    ) -> Self {
        let entries_max = (tables_bytes / ENTRY_BYTES).max(ENTRIES_MIN);
        // A size has about its part of the entries, whether there are more of memory or of the disk.
        let all: f64 = if disk_bytes.is_some() { disk_sizes().iter().sum() } else { sizes().iter().sum() };
        let entries_of = |factor| in_memory(times(entries_max as u64, factor / all));
        let split = |factor| Split::of(in_memory(times(memory_bytes as u64, factor)), goal.is_some());
        let past_bytes = sizes().map(|factor| split(factor).past_bytes);
        let scaled = |factor| {
            let Split { capacity, past_bytes, .. } = split(factor);
            Scaled::new(capacity, past_bytes.min(entries_of(factor) * PAST_BYTES_PER_ENTRY))
        };
        let memory = sizes().map(scaled);
        let tuner_bytes = tables_bytes / 2 / FACTORS.len();
        let tuner = |goal, factor| {
            let Split { capacity, shadows_bytes, .. } = split(factor);
            Tuner::new(capacity, shadows_bytes.min(tuner_bytes), goal)
        };
        let tuners =
            goal.filter(|_| disk_bytes.is_none()).map(|goal| FACTORS.map(|factor| tuner(goal, factor)));
        let disks = disk_bytes.map(|bytes| {
            disk_sizes().map(|factor| ScaledDisk::new(times(bytes, factor), entries_of(factor)))
        });
        let sample = Sample {
            entries_max,
            past_bytes,
            memory,
            fetched: [0; SIZES],
            tuners,
            disks,
            classes: HashMap::new(),
        };
        Self { rate: AtomicU64::new(Rate::ALL.bits()), round: AtomicU32::new(1), sample: Mutex::new(sample) }
    }

    /// Whether requests for a key that leads to a body of so many bytes are to be told.
    #[inline]
    pub(crate) fn samples(&self, key: CacheKey, bytes: u64) -> bool {
        Rate::from_bits(self.rate.load(Relaxed)).takes(key, bytes)
    }

    /// What is settled in this round need not be told.
    #[inline]
    pub(crate) fn round(&self) -> u32 {
        self.round.load(Relaxed)
    }

    /// A sampled key was asked for. `is_purged` says whether what was stored as of an epoch is. Tells the round in which the same
    /// would say nothing, if there is one.
    pub(crate) fn asked(&self, asked: &Asked, is_purged: impl Fn(u64) -> bool) -> Option<u32> {
        let mut sample = self.sample.try_lock()?;
        let rate = Rate::from_bits(self.rate.load(Relaxed));
        let settled = sample.replay(asked, rate, is_purged).then(|| self.round());
        if sample.is_full() {
            self.sample_fewer(&mut sample, rate);
        }
        let round = sample.eras();
        if self.round() != round {
            self.round.store(round, Relaxed);
        }
        settled
    }

    /// Some twenty times while a node learns of its keys, and takes milliseconds.
    fn sample_fewer(&self, sample: &mut Sample, mut rate: Rate) {
        let mut was = usize::MAX;
        while sample.is_full() && !rate.is_least() {
            // Long ones are all in the sample for a while yet, and each look at them takes as long.
            let is_without_effect = sample.entries() == was;
            rate = if is_without_effect { rate.half() } else { rate.fewer() };
            was = sample.entries();
            sample.thin(rate);
        }
        self.rate.store(rate.bits(), Relaxed);
    }

    /// By class, what other sizes would bring.
    pub fn advice(&self) -> Vec<(u16, Vec<Advice>)> {
        let sample = self.sample.lock();
        let told =
            |class: &Gains| {
                let filled = |at: usize| sample.memory.get(at + 1).map_or(0.0, Scaled::filled);
                let memory = FACTORS.into_iter().zip(class.memory).enumerate().map(|(at, (factor, gain))| {
                    Advice { tier: SizedTier::Memory, factor, gain, filled: filled(at) }
                });
                let disks = sample.disks.iter().flat_map(|disks| disks.iter().skip(1));
                let disk = FACTORS.into_iter().zip(class.disk).zip(disks).map(|((factor, gain), disk)| {
                    Advice { tier: SizedTier::Disk, factor, gain, filled: disk.filled() }
                });
                memory.chain(disk).collect()
            };
        let mut all: Vec<_> = sample.classes.iter().map(|(class, gains)| (*class, told(gains))).collect();
        all.sort_unstable_by_key(|(class, _)| *class);
        all
    }

    /// The part of short ones that is sampled.
    pub fn rate(&self) -> f64 {
        Rate::from_bits(self.rate.load(Relaxed)).share()
    }
}

impl std::fmt::Debug for Sizing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sizing").field("rate", &self.rate()).finish_non_exhaustive()
    }
}

impl Sample {
    /// Whether all sizes had it.
    fn replay(&mut self, asked: &Asked, rate: Rate, is_purged: impl Fn(u64) -> bool) -> bool {
        let Asked { key, bytes, .. } = *asked;
        let room = |weight: usize, kept: &Kept| in_memory(rate.room_of(weight as u64, kept.bytes));
        let usable = |until: u64, epoch: u64| asked.now_millis < until && !is_purged(epoch);
        let held: [Option<(Kept, bool)>; SIZES] = std::array::from_fn(|at| {
            let held = self.memory.get_mut(at).and_then(|tier| tier.use_of(key));
            held.filter(|(held, _)| usable(held.until_millis, held.epoch))
        });
        // What memory has of a body that lies on disk in chunks is where they are.
        let resident = held.map(|held| held.is_some_and(|(held, _)| held.is_whole));
        let mut on_disk = [0.0; DISKS];
        let listed = above(held.map(|held| held.is_some()));
        for ((part, disk), listed) in on_disk.iter_mut().zip(self.disks.iter_mut().flatten()).zip(listed) {
            *part = disk.use_of(key, listed, usable);
        }
        let beneath = beneath(on_disk);
        let forms = self.forms(asked);
        let again = self.again(asked, held);
        let sizes =
            self.memory.iter_mut().zip(&mut self.fetched).zip(forms).zip(held.into_iter().zip(beneath));
        for (at, (((tier, fetched), Form { weight, is_whole, body_in }), (held, beneath))) in
            sizes.enumerate()
        {
            let tuner = self.tuners.as_ref().and_then(|tuners| tuners.get(at.checked_sub(1)?));
            if let Some(tuner) = tuner
                && held.is_none_or(|(_, is_first)| is_first)
                && weight <= tier.weight_max()
            {
                tuner.observe(key, weight, bytes);
            }
            if held.is_none() {
                let is_fetched = beneath < 1.0;
                if is_fetched && body_in == BodyIn::Record {
                    *fetched = fetched.saturating_add(rate.room_of(bytes, bytes));
                }
                // What comes from the disk is owed to it no more.
                let came = if is_fetched { *fetched } else { fetched.saturating_sub(tier.capacity() as u64) };
                let (until_millis, epoch) = (asked.until_millis, asked.epoch);
                let kept = Kept { bytes, until_millis, epoch, is_whole, came };
                let entry = Entry { key, weight, value: kept };
                let policy = tuner.map_or(asked.policy, Tuner::policy);
                tier.insert(entry, policy, beneath > 0.0, room);
            }
        }
        let bodies_in = forms.map(|form| form.body_in);
        self.offer(asked, above(resident), above(again), above(bodies_in), on_disk);
        if asked.regardless {
            return false;
        }
        let ([real_memory, others @ ..], [real_disk, beneath @ ..]) = (resident, beneath);
        // Of how many requests this one is a sample.
        let stands_for = rate.stands_for(bytes);
        let full = self.classes.len() >= CLASSES_MAX && !self.classes.contains_key(&asked.class);
        let class = self.classes.entry(if full { u16::MAX } else { asked.class }).or_default();
        let part = |in_memory: bool, on_disk: f64| if in_memory { 1.0 } else { on_disk };
        let now = part(real_memory, real_disk);
        #[allow(clippy::cast_precision_loss)] // a length above 2⁵³ does not exist
        let count = |gain: &mut Gain, there: f64| {
            let whole = |part: f64| f64::from(u8::from(part >= 1.0));
            gain.requests += (whole(there) - whole(now)) * stands_for;
            gain.bytes += (there - now) * stands_for * bytes as f64;
        };
        for ((gain, there), beneath) in class.memory.iter_mut().zip(others).zip(beneath) {
            count(gain, part(there, beneath));
        }
        for (gain, there) in class.disk.iter_mut().zip(on_disk.into_iter().skip(1)) {
            count(gain, part(real_memory, there));
        }
        let on_disks = self.disks.is_none() || on_disk.iter().all(|part| *part >= 1.0);
        held.iter().all(Option::is_some) && on_disks
    }

    /// What each size of memory makes of it. Over a disk what is too heavy for one has its body in chunks there.
    fn forms(&self, asked: &Asked) -> [Form; SIZES] {
        let Asked { weight, bytes, body_in, .. } = *asked;
        // Where memory has the body it pays for it.
        let is_whole = weight as u64 >= bytes;
        let mut forms = [Form { weight, is_whole, body_in }; SIZES];
        if self.disks.is_none() {
            return forms;
        }
        let body = in_memory(bytes);
        let beside = if is_whole { weight.saturating_sub(body) } else { weight };
        for (form, tier) in forms.iter_mut().zip(&self.memory).skip(1) {
            let beside_body = asked.record_bytes.saturating_add(HEAD_SLACK_BYTES);
            let room = (tier.weight_max() as u64).saturating_sub(beside_body);
            form.is_whole = bytes <= room;
            form.weight = if form.is_whole { beside.saturating_add(body) } else { beside };
            form.body_in = if bytes < large_bytes_min(room) { BodyIn::Record } else { BodyIn::Chunks };
        }
        forms
    }

    /// Whether for the memory of each size that has it this is a request at which a full disk takes it, or later.
    fn again(&self, asked: &Asked, held: [Option<(Kept, bool)>; SIZES]) -> [bool; SIZES] {
        let mut again = [asked.again; SIZES];
        let sizes = again.iter_mut().zip(&self.memory).zip(self.fetched).zip(held).skip(1);
        for (((again, tier), fetched), held) in sizes {
            *again =
                held.is_some_and(|(kept, _)| fetched.saturating_sub(kept.came) >= tier.capacity() as u64);
        }
        again
    }

    /// Gives what was asked for to the disks that lack some of it.
    fn offer(
        &mut self,
        asked: &Asked,
        in_memory: [bool; DISKS],
        again: [bool; DISKS],
        bodies_in: [BodyIn; DISKS],
        on_disk: [f64; DISKS],
    ) {
        let above = in_memory.into_iter().zip(again).zip(bodies_in);
        for ((disk, part), ((in_memory, again), body_in)) in
            self.disks.iter_mut().flatten().zip(on_disk).zip(above)
        {
            if part < 1.0 {
                disk.offer(&Offer {
                    key: asked.key,
                    bytes: asked.bytes,
                    record_bytes: asked.record_bytes,
                    body_in,
                    kept: (asked.until_millis, asked.epoch),
                    in_memory,
                    again,
                    takes_all: asked.disk_takes_all,
                });
            }
        }
    }

    /// Moves when a use of something counts anew.
    #[allow(clippy::cast_possible_truncation)] // it comes back only after 2³² of them
    fn eras(&self) -> u32 {
        (self.memory.iter().fold(1, |sum: u64, tier| sum.wrapping_add(tier.era())) as u32).max(1)
    }

    fn is_full(&self) -> bool {
        self.entries() > self.entries_max
    }

    fn entries(&self) -> usize {
        let memory: usize = self.memory.iter().map(Scaled::len).sum();
        let disk: usize = self.disks.iter().flatten().map(ScaledDisk::len).sum();
        memory + disk
    }

    /// Keeps what is sampled at this rate.
    fn thin(&mut self, rate: Rate) {
        for (tier, past_bytes) in self.memory.iter_mut().zip(self.past_bytes) {
            tier.thin(
                |key, kept| rate.takes(key, kept.bytes),
                |weight, kept| in_memory(rate.room_of(weight as u64, kept.bytes)),
            );
            // As in the tier, it follows the size: a longer memory would prefer what was frequent long ago.
            tier.shrink_past(in_memory(times(past_bytes as u64, rate.share())));
        }
        for tuner in self.tuners.iter().flatten() {
            tuner.sample_at_most(rate);
        }
        for disk in self.disks.iter_mut().flatten() {
            disk.thin(rate);
        }
    }
}

/// As a size in memory; one that does not fit is the largest there is.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn sizes() -> [f64; SIZES] {
    let [half, twice, four] = FACTORS;
    [1.0, half, twice, four]
}

/// Of disks, as parts of the real one.
fn disk_sizes() -> [f64; DISKS] {
    let [one, half, twice, four] = sizes();
    [one, half, twice, four, one, one, one]
}

/// For each disk what is so of the memory above it.
fn above<T: Copy>(memory: [T; SIZES]) -> [T; DISKS] {
    let [one, half, twice, four] = memory;
    [one, one, one, one, half, twice, four]
}

/// For memory of each size what is so of the disk beneath it.
fn beneath<T>(disks: [T; DISKS]) -> [T; SIZES] {
    let [one, _, _, _, half, twice, four] = disks;
    [one, half, twice, four]
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)] // sizes of tiers
fn times(bytes: u64, factor: f64) -> u64 {
    (bytes as f64 * factor) as u64
}

const SIZES: usize = FACTORS.len() + 1;
const DISKS: usize = SIZES + FACTORS.len();
/// Memory of an entry of a cache: itself, its places in table and order, what is remembered of the past.
const ENTRY_BYTES: usize = 160;
const ENTRIES_MIN: usize = 512;
const TABLES_SHARE: usize = 64;
const TABLES_BYTES_MIN: usize = 2 << 20;
/// A disk keeps many more keys than memory, and of two thousand of them a sample is three points off.
const TABLES_BYTES_MIN_WITH_DISK: usize = 8 << 20;
const TABLES_BYTES_MAX: usize = 16 << 20;
const PAST_BYTES_PER_ENTRY: usize = 4;
/// Classes that are told apart; further ones are counted together, as [`u16::MAX`].
const CLASSES_MAX: usize = 1024;
