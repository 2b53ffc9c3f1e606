//! How often a key was asked for lately, about right, in four bits: a count-min sketch that forgets.
//!
//! Four counters a key, the least of them is the answer: it may be too high (another key's counts), never too low but for
//! ageing. When as many have been added as there are counters for, all are halved (`TinyLFU`, Einziger 2017). Keys are
//! keyed hashes already: each counter's place is 32 bits of the key itself.
//!
//! Invariant: the size is fixed when it is made.

use crate::key::CacheKey;

/// Counts of keys.
pub(crate) struct Sketch {
    /// Sixteen counters a word; a power of two of them.
    words: Box<[u64]>,
    added: usize,
}

impl Sketch {
    /// A sketch of at most `bytes` bytes, rounded down to a power of two, and no fewer than there must be.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { words: vec![0; Self::bytes_within(bytes) / size_of::<u64>()].into(), added: 0 }
    }

    /// What one of at most so many bytes takes.
    pub(crate) fn bytes_within(bytes: usize) -> usize {
        size_of::<u64>() << (bytes / size_of::<u64>()).clamp(WORDS_MIN, WORDS_MAX).ilog2()
    }

    /// Goes on in at most `bytes` bytes, or as few as there may be. What shared the places that fall together counts as the most of them.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let words = 1usize << (bytes / size_of::<u64>()).max(WORDS_LEAST).ilog2();
        while self.words.len() > words {
            let (low, high) = self.words.split_at(self.words.len() / 2);
            self.words = low.iter().zip(high).map(|(low, high)| greater_of_each(*low, *high)).collect();
            self.added /= 2;
        }
    }

    /// How often `key` was added, at most [`COUNT_MAX`].
    pub(crate) fn count(&self, key: CacheKey) -> u8 {
        ROWS.map(|row| self.read(key, row)).into_iter().min().unwrap_or_default()
    }

    /// Counts one more, and answers how many that makes.
    pub(crate) fn add(&mut self, key: CacheKey) -> u8 {
        let count = (self.count(key) + 1).min(COUNT_MAX);
        self.raise(key, count);
        self.added += 1;
        if self.added >= self.words.len() * ADDED_PER_WORD {
            self.halve();
        }
        count
    }

    /// Makes the count at least `count`.
    pub(crate) fn raise(&mut self, key: CacheKey, count: u8) {
        let count = count.min(COUNT_MAX);
        for row in ROWS {
            if self.read(key, row) < count {
                let (word, shift) = self.place(key, row);
                if let Some(word) = self.words.get_mut(word) {
                    *word = (*word & !(0xf << shift)) | (u64::from(count) << shift);
                }
            }
        }
    }

    fn halve(&mut self) {
        for word in &mut self.words {
            *word = (*word >> 1) & 0x7777_7777_7777_7777;
        }
        self.added /= 2;
    }

    fn read(&self, key: CacheKey, row: u32) -> u8 {
        let (word, shift) = self.place(key, row);
        let word = self.words.get(word).copied().unwrap_or_default();
        ((word >> shift) & 0xf) as u8
    }

    /// Word and shift of the key's counter in `row`. The low bits of the row's 32 choose: the high ones of the key choose the
    /// shard, and are the same for all keys here.
    #[allow(clippy::cast_possible_truncation)] // the bits wanted
    fn place(&self, key: CacheKey, row: u32) -> (usize, u32) {
        let lane = (key.bits() >> (32 * row)) as u32;
        let word = (lane >> 4) as usize & (self.words.len() - 1);
        (word, (lane & 0xf) * 4)
    }
}

/// Of two words the greater of each two counters.
fn greater_of_each(one: u64, other: u64) -> u64 {
    (0..u64::BITS).step_by(4).fold(0, |word, shift| {
        let counter = |word: u64| (word >> shift) & 0xf;
        word | counter(one).max(counter(other)) << shift
    })
}

/// Counts end here.
pub(crate) const COUNT_MAX: u8 = 15;
const ROWS: [u32; 4] = [0, 1, 2, 3];
/// Keys added for a word of sixteen counters before all counts are halved: of four counters a key each holds 2.5 on average.
const ADDED_PER_WORD: usize = 10;
const WORDS_MIN: usize = 64;
/// …and of what remembers a sample.
const WORDS_LEAST: usize = 8;
/// 16 MiB.
const WORDS_MAX: usize = 1 << 21;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::Keyer;

    fn key(number: u32) -> CacheKey {
        Keyer::new([3; 32]).primary("http", b"h", &number.to_le_bytes(), None)
    }

    #[test]
    fn counts_are_never_too_low_and_seldom_too_high() {
        let mut sketch = Sketch::new(8 * 1024);
        for number in 0..1000 {
            for _ in 0..=number % 4 {
                sketch.add(key(number));
            }
        }
        let too_high =
            (0..1000).filter(|number| u32::from(sketch.count(key(*number))) > number % 4 + 1).count();
        assert!((0..1000).all(|number| u32::from(sketch.count(key(number))) > number % 4));
        assert!(too_high < 20, "{too_high} of 1000");
        let strangers = (5000..6000).filter(|number| sketch.count(key(*number)) > 0).count();
        assert!(strangers < 50, "{strangers} of 1000");
    }

    #[test]
    fn what_is_not_asked_for_any_more_is_forgotten() {
        let mut sketch = Sketch::new(1024);
        for _ in 0..20 {
            sketch.add(key(1));
        }
        assert_eq!(sketch.count(key(1)), COUNT_MAX);
        for number in 0..4 * 128 * ADDED_PER_WORD {
            sketch.add(key(1000 + u32::try_from(number).unwrap() % 200));
        }
        assert!(sketch.count(key(1)) < COUNT_MAX);
    }

    #[test]
    fn what_is_remembered_in_less_room_is_never_too_low_and_ages_as_soon_as_before() {
        let mut sketch = Sketch::new(64 * 1024);
        for number in 0..400 {
            for _ in 0..=number % 4 {
                sketch.add(key(number));
            }
        }
        let before = sketch.added;
        sketch.shrink(8 * 1024);
        assert_eq!((sketch.words.len(), sketch.added), (1024, before / 8));
        assert!((0..400).all(|number| u32::from(sketch.count(key(number))) > number % 4));
        let strangers = (5000..6000).filter(|number| sketch.count(key(*number)) > 0).count();
        assert!(strangers < 50, "{strangers} of 1000");
        sketch.shrink(0);
        assert_eq!(sketch.words.len(), WORDS_LEAST);
        sketch.shrink(1 << 20);
        assert_eq!(sketch.words.len(), WORDS_LEAST, "it does not grow");
    }

    #[test]
    fn the_size_asked_for_is_not_passed() {
        for bytes in [0, 512, 1000, 4096, 1 << 20] {
            assert!(Sketch::new(bytes).words.len() * 8 <= bytes.max(512));
        }
    }
}
