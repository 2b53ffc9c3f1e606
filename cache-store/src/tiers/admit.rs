//! What is written to a disk that is full: what was asked for twice.
//!
//! Where waiting for that costs hits, `gate.rs` says so, and everything is taken.
//!
//! A disk that has room takes everything. Once it is full, each write pushes something out and wears the device, so a response is
//! written at its second request: when it is hit in memory for the first time (`store/keeping.rs`), or when it is fetched again while
//! [`Seen`] remembers the first time. What is seen once displaces nothing. So memory is the small queue and the disk the main one
//! of S3-FIFO (Yang, SOSP 2023), and this type its ghosts.
//!
//! What comes again at once does not come a *second time*: the parts of a page that is read on, or a burst of news, are asked for a
//! few times within minutes and never again. Memory has them for that while. So a hit in memory counts from when so many bytes have
//! been fetched as memory takes ([`Recency`]).
//!
//! Invariant: what is asked for again among the next `keys` keys is never taken for new; a new one is taken for known once in
//! about seventy times.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::key::CacheKey;

/// What is written to disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum DiskAdmission {
    /// Everything while there is room, then what is asked for a second time as long as that costs no hits.
    #[default]
    SecondRequest,
    /// Everything.
    All,
}

/// Time as bytes that were fetched, in sixteenths of the span within which requests belong together.
#[derive(Debug)]
pub(crate) struct Recency {
    fetched_bytes: AtomicU64,
    tick_bytes: u64,
}

/// A moment of it. They come around: what is very old may pass for new for a sixteenth of the time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tick(pub(crate) u8);

impl Recency {
    /// Requests belong together until so many bytes have been fetched.
    pub(crate) fn new(span_bytes: u64) -> Self {
        Self { fetched_bytes: AtomicU64::new(0), tick_bytes: (span_bytes / SPAN_TICKS).max(1) }
    }

    /// So many bytes were fetched; when that is.
    pub(crate) fn fetched(&self, bytes: u64) -> Tick {
        self.tick(self.fetched_bytes.fetch_add(bytes, Relaxed).wrapping_add(bytes))
    }

    /// Whether a request now is another than the one at `then`.
    #[inline]
    pub(crate) fn is_past(&self, then: Tick) -> bool {
        let Tick(now) = self.tick(self.fetched_bytes.load(Relaxed));
        let passed = (u64::from(now) + TICKS - u64::from(then.0)) % TICKS;
        passed >= SPAN_TICKS
    }

    #[allow(clippy::cast_possible_truncation)] // a remainder below 255
    fn tick(&self, bytes: u64) -> Tick {
        Tick((bytes / self.tick_bytes % TICKS) as u8)
    }
}

/// Remembers which keys were asked for lately: two generations of a Bloom filter.
pub(crate) struct Seen {
    /// Bits, a power of two of them in each.
    young: Box<[u64]>,
    old: Box<[u64]>,
    /// Names in the young generation, and the keys that they stand for.
    names: usize,
    asked: f64,
    /// When it becomes the old one.
    names_max: usize,
    keys: f64,
}

impl Seen {
    /// Remembers the last `keys` keys at least, and twice as many at most; no more than [`KEYS_MAX`].
    pub(crate) fn new(keys: usize) -> Self {
        Self::of_sample(keys, f64::INFINITY)
    }

    /// The same of a sample: it remembers as many names of it as stand for `keys` keys, and no more than `names`.
    pub(crate) fn of_sample(names: usize, keys: f64) -> Self {
        let names_max = names.clamp(KEYS_MIN, KEYS_MAX);
        #[allow(clippy::cast_precision_loss)] // below 2⁵³
        let keys = keys.clamp(KEYS_MIN as f64, KEYS_MAX as f64);
        let words = (names_max * BITS_PER_KEY).next_power_of_two() / WORD_BITS;
        let table = || vec![0; words].into();
        Self { young: table(), old: table(), names: 0, asked: 0.0, names_max, keys }
    }

    /// Whether `key` was asked for before; it has been from now on.
    pub(crate) fn ask(&mut self, key: CacheKey) -> bool {
        self.ask_for(key, 1.0)
    }

    /// The same for one that stands for so many.
    pub(crate) fn ask_for(&mut self, key: CacheKey, stands_for: f64) -> bool {
        let [one, two] = [0, 32].map(|shift| self.place(key, shift));
        let known = |table: &[u64]| {
            [one, two].iter().all(|(at, bit)| table.get(*at).is_some_and(|word| word & bit != 0))
        };
        let (young, old) = (known(&self.young), known(&self.old));
        if !young {
            for (at, bit) in [one, two] {
                if let Some(word) = self.young.get_mut(at) {
                    *word |= bit;
                }
            }
            self.names += 1;
            self.asked += stands_for;
            if self.names >= self.names_max || self.asked >= self.keys {
                self.forget_older();
            }
        }
        young || old
    }

    /// The young generation becomes the old one, which is forgotten.
    fn forget_older(&mut self) {
        (self.names, self.asked) = (0, 0.0);
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.fill(0);
    }

    /// Word and bit; keys are keyed hashes, so any of their bits will do.
    #[allow(clippy::cast_possible_truncation)] // the bits wanted
    fn place(&self, key: CacheKey, shift: u32) -> (usize, u64) {
        let bits = (key.bits() >> shift) as u32 as usize;
        ((bits / WORD_BITS) & (self.young.len() - 1), 1 << (bits % WORD_BITS))
    }
}

/// Ticks that fit beside the one number that says: none.
const TICKS: u64 = 255;
const SPAN_TICKS: u64 = 16;
const WORD_BITS: usize = 64;
const BITS_PER_KEY: usize = 16;
const KEYS_MIN: usize = 64;
/// 16 MiB in all.
const KEYS_MAX: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    fn key(number: u32) -> CacheKey {
        Keyer::new([3; 32]).primary("http", b"h", &number.to_le_bytes(), None)
    }

    #[test]
    fn what_is_asked_for_again_soon_is_known_and_what_is_new_is_new() {
        let mut seen = Seen::new(10_000);
        let known = (0..10_000).filter(|number| seen.ask(key(*number))).count();
        assert!(known < 250, "{known} of 10000 new ones");
        assert!((0..10_000).all(|number| seen.ask(key(number))), "all that were asked for before");
    }

    #[test]
    fn it_forgets_within_two_generations() {
        let mut seen = Seen::new(1000);
        let asked = |seen: &mut Seen, from: u32, count: u32| {
            (from..from + count).filter(|at| seen.ask(key(*at))).count()
        };
        asked(&mut seen, 0, 500);
        assert_eq!(asked(&mut seen, 0, 500), 500, "nothing came between");
        asked(&mut seen, 500, 1000);
        assert_eq!(asked(&mut seen, 0, 500), 500, "a generation came between");
        asked(&mut seen, 10_000, 2100);
        assert!(asked(&mut seen, 0, 500) < 25, "more than two came between");
    }

    /// One in eight, each of which stands for that many: what is known again has been seen anew, as it has among all keys.
    #[test]
    fn a_sample_forgets_when_those_that_it_stands_for_are_forgotten() {
        let (mut seen, mut sample) = (Seen::new(8000), Seen::of_sample(4000, 8000.0));
        let mut asked = |batch: u32| {
            let numbers = batch * 3000..(batch + 1) * 3000;
            let all = numbers.clone().filter(|at| seen.ask(key(*at))).count();
            let some = numbers.step_by(8).filter(|at| sample.ask_for(key(*at), 8.0)).count();
            (all, some * 8)
        };
        // The second batch is asked for once, and forgotten as soon as two generations have come, the first counted each time.
        let known = [false, false, true, false, true, false, false, false];
        for (batch, known) in [0, 1, 0, 2, 0, 3, 4, 1].into_iter().zip(known) {
            let (all, some) = asked(batch);
            let expected = if known { 2800..=3000 } else { 0..=200 };
            assert!(expected.contains(&all) && expected.contains(&some), "{batch}: {all} {some}");
        }
    }

    #[test]
    fn what_comes_again_within_the_span_is_not_another_request() {
        let recency = Recency::new(1600);
        for from in [0, 20_000, 40_000, 76_000] {
            let passed = recency.fetched_bytes.load(Relaxed);
            let then = recency.fetched(from - passed);
            for (more, past) in [(0, false), (1400, false), (200, true), (15_000, true)] {
                recency.fetched(more);
                assert_eq!(recency.is_past(then), past, "{from}, and {more} more");
            }
        }
    }

    #[test]
    fn its_size_is_bounded() {
        for (keys, words) in [(0, 16), (1000, 256), (usize::MAX, KEYS_MAX / 4)] {
            assert_eq!(Seen::new(keys).young.len(), words, "{keys}");
        }
    }
}
