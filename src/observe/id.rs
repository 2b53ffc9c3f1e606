//! Names for requests: what joins an error page, a purge receipt and a log line.
//!
//! An id is 16 characters of Crockford's base 32: six of the process's run (random), two of the worker, eight of a
//! counter. So two requests of one run never share an id, ids of one worker sort in the order they were drawn, and
//! drawing costs one addition and eight table look-ups. They are names, not secrets: the next one can be guessed.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// One request's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; LEN]);

/// Draws the ids of one worker.
#[derive(Debug)]
pub struct RequestIds {
    prefix: [u8; PREFIX_LEN],
    next: AtomicU64,
}

/// What sets the ids of one run of the process apart from those of another.
#[derive(Clone, Copy, Debug)]
pub struct Run(u64);

impl Run {
    /// A random run.
    pub fn random() -> Self {
        Self(RandomState::new().hash_one("run"))
    }

    /// The run with this number, for tests.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }
}

impl RequestIds {
    /// The ids of worker `worker` (its lowest ten bits count) in this run.
    pub fn new(run: Run, worker: u16) -> Self {
        let mut prefix = [0; PREFIX_LEN];
        write_digits(&mut prefix, (run.0 << 10) | u64::from(worker & 0x3ff));
        Self { prefix, next: AtomicU64::new(0) }
    }

    /// The next id. A worker would repeat itself after 2^40 requests.
    #[inline]
    pub fn draw(&self) -> RequestId {
        let mut text = [0; LEN];
        let (prefix, counter) = text.split_at_mut(PREFIX_LEN);
        prefix.copy_from_slice(&self.prefix);
        write_digits(counter, self.next.fetch_add(1, Ordering::Relaxed));
        RequestId(text)
    }
}

impl RequestId {
    /// Its characters, all of them ASCII letters and digits.
    #[inline]
    pub const fn as_bytes(&self) -> &[u8; LEN] {
        &self.0
    }
}

impl std::fmt::Display for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| std::fmt::Write::write_char(f, char::from(*byte)))
    }
}

impl std::fmt::Debug for RequestId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// Fills `text` with the lowest digits of `number`, most significant first.
#[inline]
fn write_digits(text: &mut [u8], mut number: u64) {
    for digit in text.iter_mut().rev() {
        // The mask keeps the index below 32.
        *digit = DIGITS[(number & 31) as usize];
        number >>= 5;
    }
}

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const LEN: usize = 16;
const PREFIX_LEN: usize = 8;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn ids_of_a_run_differ_and_sort_in_the_order_they_were_drawn() {
        let run = Run::from_bits(0x1234_5678);
        let workers = [RequestIds::new(run, 0), RequestIds::new(run, 1)];
        let drawn: Vec<_> = workers.iter().flat_map(|ids| (0..5000).map(|_| ids.draw())).collect();
        assert_eq!(drawn.iter().collect::<BTreeSet<_>>().len(), drawn.len());
        assert!(drawn.is_sorted());
    }

    #[test]
    fn an_id_is_sixteen_letters_and_digits() {
        let id = RequestIds::new(Run::from_bits(1), 3).draw().to_string();
        assert_eq!(id, "0000010300000000");
    }
}
