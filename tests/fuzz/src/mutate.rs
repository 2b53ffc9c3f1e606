//! Bytes that are nearly right: seeds, changed in the ways that parsers trip over.

/// `SplitMix64`: small, and its seed replays a run.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// The next 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound.max(1)).unwrap_or(u64::MAX);
        usize::try_from(self.draw() % bound).unwrap_or_default()
    }

    /// One of them; the default of none.
    pub fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> Option<&'a T> {
        of.get(self.below(of.len())).copied()
    }
}

/// Makes inputs out of others.
#[derive(Debug)]
pub struct Mutator {
    /// What to begin with, and to splice from.
    pub pool: Vec<Vec<u8>>,
    /// Words that mean something to the target.
    pub words: &'static [&'static str],
    /// Bytes of the longest input.
    pub bytes_max: usize,
}

impl Mutator {
    /// A new input: one of the pool, changed once to eight times.
    pub fn make(&self, random: &mut Random) -> Vec<u8> {
        let mut input = self.pool.get(random.below(self.pool.len())).cloned().unwrap_or_default();
        for _ in 0..=random.below(3) * random.below(4) {
            self.change(&mut input, random);
        }
        input.truncate(self.bytes_max);
        input
    }

    /// Adds an input that led somewhere new. The pool is bounded: a newcomer then takes another's place.
    pub fn keep(&mut self, input: Vec<u8>, random: &mut Random) {
        if self.pool.len() < POOL_MAX {
            self.pool.push(input);
        } else {
            let at = random.below(self.pool.len());
            if let Some(place) = self.pool.get_mut(at) {
                *place = input;
            }
        }
    }

    fn change(&self, input: &mut Vec<u8>, random: &mut Random) {
        let at = random.below(input.len() + 1);
        let longest = 1 << random.below(6);
        let span = at..input.len().min(at + 1 + random.below(longest));
        match random.below(14) {
            0 => flip(input, at, random),
            1 => put(input, at..(at + 1).min(input.len()), &[random.draw().to_le_bytes()[0]]),
            2 => put(input, at..(at + 1).min(input.len()), random.pick(&BYTES).unwrap_or_default()),
            3 => put(input, at..at, random.pick(&BYTES).unwrap_or_default()),
            4 | 5 => put(input, at..at, random.pick(self.words).unwrap_or_default().as_bytes()),
            6 => put(input, span, random.pick(self.words).unwrap_or_default().as_bytes()),
            7 => put(input, span, &[]),
            8 => put(input, span, random.pick(&NUMBERS).unwrap_or_default().as_bytes()),
            9 => {
                let piece = input.get(span).unwrap_or_default().repeat(1 + random.below(4));
                put(input, at..at, &piece);
            }
            10 => self.splice(input, at, random),
            11 => input.truncate(at),
            12 => lines(input, random),
            _ => {
                let many = vec![*input.get(at).unwrap_or(&b'a'); 1 << random.below(12)];
                put(input, at..at, &many);
            }
        }
    }

    /// The end of another input behind the start of this one, or a piece of it in between.
    fn splice(&self, input: &mut Vec<u8>, at: usize, random: &mut Random) {
        let Some(other) = self.pool.get(random.below(self.pool.len())) else { return };
        let from = random.below(other.len() + 1);
        if random.below(2) == 0 {
            input.truncate(at);
            input.extend_from_slice(other.get(from..).unwrap_or_default());
        } else {
            let to = from + random.below(other.len() - from + 1);
            put(input, at..at, other.get(from..to).unwrap_or_default());
        }
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << random.below(8);
    }
}

fn put(input: &mut Vec<u8>, span: std::ops::Range<usize>, new: &[u8]) {
    if span.start <= span.end && span.end <= input.len() {
        input.splice(span, new.iter().copied());
    }
}

/// One line twice, gone, or in another's place.
fn lines(input: &mut Vec<u8>, random: &mut Random) {
    let mut all: Vec<&[u8]> = input.split_inclusive(|byte| *byte == b'\n').collect();
    let (one, other) = (random.below(all.len()), random.below(all.len()));
    match (random.below(3), all.get(one).copied()) {
        (_, None) => return,
        (0, Some(line)) => all.insert(other, line),
        (1, Some(_)) => drop(all.remove(one)),
        (_, Some(_)) => all.swap(one, other),
    }
    *input = all.concat();
}

/// Bytes that end, begin, escape or hide something somewhere.
const BYTES: [&[u8]; 24] = [
    b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b"\x0b", b"\x7f", b"\x80", b"\xff", b":", b";", b",", b"=",
    b"\"", b"\\", b"/", b"?", b"#", b"%", b"&", b"-", b"_", b".",
];
/// Where counters turn over, and the numbers next to nothing.
const NUMBERS: [&str; 20] = [
    "0",
    "1",
    "-1",
    "+1",
    "00",
    "01",
    "0x1",
    "1e1",
    "9",
    "10",
    "255",
    "256",
    "65535",
    "65536",
    "2147483648",
    "4294967296",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "ffffffffffffffff",
];
/// Inputs that are kept.
const POOL_MAX: usize = 1000;
