//! Whether a full disk does better to take everything or what is asked for a second time: two small shadows of it say so.
//!
//! To wait for the second request spares the device half of its writes and keeps what is seen once from pushing out what is not;
//! but where the tier is so small, or the traffic moves on so fast, that what was seen is forgotten before it comes again, it
//! costs hits. So a sample of the keys is replayed against two caches of names and lengths, each with its part of the
//! disk's bytes, first in first out with a second chance as segments go: one takes everything, the other waits. While the first
//! answers clearly more bytes, it is followed; as soon as it does not, the disk is spared again.
//!
//! What memory answers is no difference between the two, but counts as a request: to the one that waits it is the second once so
//! many bytes have been fetched since the first as memory takes, whatever the disk itself did then. As in the log, a request soon
//! after an entry came does not spare it, and room that an eviction leaves over is no room for what is new.
//! Called for sampled keys alone (`Disk::asked`);
//! when another thread is here, the sample misses one.
//!
//! Invariant: a shadow holds at most [`ENTRIES_MAX`] entries, and what is here never decides about one response.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use parking_lot::Mutex;

use crate::key::CacheKey;

/// The shadows, and what they say.
pub(crate) struct Gate {
    /// Sampled are keys whose bits under it are zero.
    mask: u32,
    takes_all: AtomicBool,
    shadows: Mutex<Shadows>,
}

struct Shadows {
    all: Shadow,
    second: Shadow,
    /// When the second shadow saw what first.
    seen: Names,
    /// Bytes that were fetched for it…
    fetched: u64,
    /// …and as many as memory takes, of the sample: requests within which belong together.
    together: u64,
    /// Bytes by which the first is ahead, in requests that one of them answered; and their squares.
    lead: f64,
    squares: f64,
    /// Bytes of all requests, older ones less.
    bytes: f64,
    since: u32,
}

/// A cache of names and lengths.
struct Shadow {
    held: HashMap<CacheKey, Held>,
    order: VecDeque<CacheKey>,
    used: u64,
    /// Bytes of all that ever came.
    entered: u64,
    bytes_max: u64,
    entries_max: usize,
}

/// Names of what was fetched, and when first; the oldest goes for a new one.
struct Names {
    since: HashMap<CacheKey, u64>,
    order: VecDeque<CacheKey>,
    most: usize,
}

struct Held {
    bytes: u64,
    read: bool,
    /// [`Shadow::entered`] when it came.
    came: u64,
}

/// Who answers a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answered {
    /// Memory.
    Memory,
    /// The disk or the origin.
    Beyond,
}

impl Gate {
    /// For so many bytes of disk, which hold about `objects` responses; as many names are remembered.
    pub(crate) fn new(disk_bytes: u64, objects: usize) -> Self {
        let parts = (objects / ENTRIES_USUAL).max(1).next_power_of_two().min(1 << 31);
        let bytes_max = disk_bytes / parts as u64;
        Self {
            mask: u32::try_from(parts - 1).unwrap_or(u32::MAX),
            takes_all: AtomicBool::new(false),
            shadows: Mutex::new(Shadows {
                all: Shadow::new(bytes_max, ENTRIES_MAX),
                second: Shadow::new(bytes_max, ENTRIES_MAX),
                seen: Names::new((objects / parts).clamp(1, ENTRIES_MAX)),
                fetched: 0,
                together: 0,
                lead: 0.0,
                squares: 0.0,
                bytes: 0.0,
                since: 0,
            }),
        }
    }

    /// Memory above the disk takes so many bytes.
    pub(crate) fn beneath(&mut self, memory_bytes: u64) {
        self.shadows.get_mut().together = memory_bytes / (u64::from(self.mask) + 1);
    }

    /// Whether the disk does better to take everything.
    pub(crate) fn takes_all(&self) -> bool {
        self.takes_all.load(Relaxed)
    }

    /// Whether requests for the key are to be told.
    #[inline]
    pub(crate) fn samples(&self, key: CacheKey) -> bool {
        #[allow(clippy::cast_possible_truncation)] // the bits wanted
        let bits = (key.bits() >> 32) as u32;
        bits.reverse_bits() & self.mask == 0
    }

    /// A sampled key was asked for, which leads to so many bytes.
    pub(crate) fn asked(&self, key: CacheKey, bytes: u64, by: Answered) {
        let Some(mut shadows) = self.shadows.try_lock() else { return };
        if bytes > shadows.all.bytes_max / SHARE {
            return;
        }
        let lead = shadows.ask(key, bytes, by);
        let ahead = shadows.lead;
        let proven = ahead > CERTAINTY * shadows.squares.sqrt() && ahead > MARGIN * shadows.bytes;
        if lead && proven {
            self.takes_all.store(true, Relaxed);
        } else if ahead <= MARGIN / 2.0 * shadows.bytes {
            self.takes_all.store(false, Relaxed);
        }
    }
}

impl Shadows {
    /// Whether the two differed.
    #[allow(clippy::cast_precision_loss)] // a length above 2^53 does not exist
    fn ask(&mut self, key: CacheKey, bytes: u64, by: Answered) -> bool {
        let (all, second) = (self.all.ask(key), self.second.ask(key));
        if !all {
            self.all.insert(key, bytes);
        }
        if !second {
            let again = match by {
                Answered::Memory => {
                    self.seen.since(key).is_none_or(|then| self.fetched - then >= self.together)
                }
                Answered::Beyond => {
                    self.fetched = self.fetched.saturating_add(bytes);
                    self.seen.note(key, self.fetched)
                }
            };
            if again || !self.second.is_full() {
                self.second.insert(key, bytes);
            }
        }
        self.since += 1;
        if self.since >= REMEMBERED {
            self.since = 0;
            self.lead /= 2.0;
            self.squares /= 2.0;
            self.bytes /= 2.0;
        }
        self.bytes += bytes as f64;
        let differ = all != second && by == Answered::Beyond;
        if differ {
            self.lead += if all { bytes as f64 } else { -(bytes as f64) };
            self.squares += bytes as f64 * bytes as f64;
            // How far behind it was is of no interest once the traffic has changed.
            self.lead = self.lead.max(-MARGIN * self.bytes);
        }
        differ
    }
}

impl Shadow {
    fn new(bytes_max: u64, entries_max: usize) -> Self {
        Self { held: HashMap::new(), order: VecDeque::new(), used: 0, entered: 0, bytes_max, entries_max }
    }

    /// Whether it has the key, which is then spared once.
    fn ask(&mut self, key: CacheKey) -> bool {
        let Some(held) = self.held.get_mut(&key) else { return false };
        held.read |= self.entered.saturating_sub(held.came) >= self.bytes_max / RECENT_SHARE;
        true
    }

    /// Whether what comes pushes something out, or soon will: the room that is left over when a long one goes for a short one
    /// is none, for the log lets go of whole segments and has always some.
    fn is_full(&self) -> bool {
        self.used >= self.bytes_max - self.bytes_max / FULL_SHARE as u64
            || self.held.len() >= self.entries_max - self.entries_max / FULL_SHARE
    }

    fn has_room(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.bytes_max && self.held.len() < self.entries_max
    }

    /// Enters a key that it has not. The oldest go for it, those that were read go around once more.
    fn insert(&mut self, key: CacheKey, bytes: u64) {
        while !self.has_room(bytes) {
            let Some(oldest) = self.order.pop_front() else { break };
            match self.held.get_mut(&oldest) {
                Some(held) if held.read => {
                    held.read = false;
                    held.came = self.entered;
                    self.order.push_back(oldest);
                }
                Some(held) => {
                    self.used = self.used.saturating_sub(held.bytes);
                    self.held.remove(&oldest);
                }
                None => {}
            }
        }
        self.entered = self.entered.saturating_add(bytes);
        self.held.insert(key, Held { bytes, read: false, came: self.entered });
        self.order.push_back(key);
        self.used = self.used.saturating_add(bytes);
    }
}

impl Names {
    fn new(most: usize) -> Self {
        Self { since: HashMap::new(), order: VecDeque::new(), most }
    }

    fn since(&self, key: CacheKey) -> Option<u64> {
        self.since.get(&key).copied()
    }

    /// Whether it was known; it is from now on.
    fn note(&mut self, key: CacheKey, at: u64) -> bool {
        if self.since.contains_key(&key) {
            return true;
        }
        if self.order.len() >= self.most
            && let Some(oldest) = self.order.pop_front()
        {
            self.since.remove(&oldest);
        }
        self.since.insert(key, at);
        self.order.push_back(key);
        false
    }
}

/// Entries that a shadow is made for, by what a response usually takes.
const ENTRIES_USUAL: usize = 4096;
/// …and those that it holds at most, where they are shorter: 2 MB in all three.
const ENTRIES_MAX: usize = 4 * ENTRIES_USUAL;
/// A shadow is full when less than this part of it is free.
const FULL_SHARE: usize = 16;
/// What takes more than this part of a shadow says nothing about the others.
const SHARE: u64 = 8;
/// Requests within which this part of a shadow came belong together.
const RECENT_SHARE: u64 = 10;
/// Sampled requests after which what was learned counts half.
const REMEMBERED: u32 = 1 << 14;
/// Standard deviations that the lead must have over chance.
const CERTAINTY: f64 = 4.0;
/// …and the part of all bytes that it must be worth the writes; half of it when it is given up again.
const MARGIN: f64 = 0.004;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    fn key(number: u64) -> CacheKey {
        Keyer::new([9; 32]).primary("http", b"h", &number.to_le_bytes(), None)
    }

    #[test]
    fn what_comes_again_once_and_soon_is_worth_taking_at_once() {
        let gate = Gate::new(16 << 20, 1024);
        // Each comes twice, the second time when a third of the disk's bytes have passed by, and never again.
        for at in 0..40_000_u64 {
            for number in [at, at.wrapping_sub(300)] {
                gate.asked(key(number), 16 << 10, Answered::Beyond);
            }
        }
        assert!(gate.takes_all());
    }

    /// The disk took each at once and memory answers the next request: that is no second one to a disk that waits, whichever of
    /// the two is followed.
    #[test]
    fn a_request_that_memory_answers_at_once_is_not_the_second() {
        let mut gate = Gate::new(16 << 20, 1024);
        gate.beneath(2 << 20);
        let mut opened_at = None;
        for at in 0..80_000_u64 {
            gate.asked(key(at), 16 << 10, Answered::Beyond);
            gate.asked(key(at), 16 << 10, Answered::Memory);
            gate.asked(key(at.wrapping_sub(300)), 16 << 10, Answered::Beyond);
            if gate.takes_all() {
                opened_at.get_or_insert(at);
            }
            assert!(opened_at.is_none() || gate.takes_all(), "shut again at {at}");
        }
        assert!(opened_at.is_some());
    }

    #[test]
    fn what_memory_answers_a_while_later_is_the_second_request() {
        let mut gate = Gate::new(16 << 20, 1024);
        gate.beneath(2 << 20);
        for at in 0..80_000_u64 {
            gate.asked(key(at), 16 << 10, Answered::Beyond);
            // More than memory takes was fetched since: 200 of 16 KiB.
            gate.asked(key(at.wrapping_sub(200)), 16 << 10, Answered::Memory);
            gate.asked(key(at.wrapping_sub(300)), 16 << 10, Answered::Beyond);
        }
        assert!(!gate.takes_all(), "to wait costs nothing");
    }

    #[test]
    fn what_is_left_over_when_a_long_one_goes_is_no_room_for_what_is_new() {
        let gate = Gate::new(16 << 20, 1024);
        // One long one to fifteen short ones, each asked for once.
        let ask = |numbers: std::ops::Range<u64>| {
            for number in numbers {
                let bytes = if number % 16 == 0 { 200 << 10 } else { 4 << 10 };
                gate.asked(key(number), bytes, Answered::Beyond);
            }
        };
        ask(0..4000);
        let entered = |shadow: &Shadow| shadow.entered;
        let before = entered(&gate.shadows.lock().second);
        ask(4000..20_000);
        let shadows = gate.shadows.lock();
        assert_eq!(entered(&shadows.second), before, "what is seen once displaces nothing");
        assert!(entered(&shadows.all) > 2 * before);
    }

    #[test]
    fn what_never_comes_again_is_kept_out_and_the_gate_falls_shut_behind_a_change() {
        let gate = Gate::new(16 << 20, 1024);
        let scanned = |from: u64| {
            for at in from..from + 100_000 {
                gate.asked(key(1_000_000 + at), 16 << 10, Answered::Beyond);
                gate.asked(key(at % 700), 16 << 10, Answered::Beyond);
            }
        };
        scanned(0);
        assert!(!gate.takes_all());
        for at in 0..40_000_u64 {
            for number in [at, at.wrapping_sub(300)] {
                gate.asked(key(number), 16 << 10, Answered::Beyond);
            }
        }
        assert!(gate.takes_all());
        scanned(1_000_000);
        assert!(!gate.takes_all());
    }

    #[test]
    fn shadows_are_bounded_whatever_is_asked_for() {
        let gate = Gate::new(1 << 40, 1 << 26);
        for number in 0..200_000 {
            gate.asked(
                key(number),
                number % 7,
                if number % 3 == 0 { Answered::Memory } else { Answered::Beyond },
            );
        }
        let shadows = gate.shadows.lock();
        assert!(
            shadows.seen.since.len() <= ENTRIES_MAX && shadows.seen.order.len() == shadows.seen.since.len()
        );
        for shadow in [&shadows.all, &shadows.second] {
            assert!(shadow.held.len() <= ENTRIES_MAX && shadow.order.len() == shadow.held.len());
            assert_eq!(shadow.used, shadow.held.values().map(|held| held.bytes).sum::<u64>());
        }
    }
}
