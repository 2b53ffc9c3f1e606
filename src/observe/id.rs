//! Names for requests: what joins an error page, a purge receipt and a log line.
//!
//! An id is 16 characters of Crockford's base 32: six of the process's run (random), two of the worker, eight of a
//! counter. So two requests of one run never share an id, ids of one worker sort in the order they were drawn, and
//! drawing costs one addition and eight table look-ups. They are names, not secrets: the next one can be guessed.
//!
//! A proxy that is trusted, or a node of the tier, may have named the request before: then that name goes into the log, onto error
//! pages and to the origin ([`RequestName`]). Nobody else's counts: who could choose it could hide behind another's.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use crate::config::limits::REQUEST_ID_BYTES_MAX;

/// One request's id.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId([u8; LEN]);

/// Draws the ids of one worker.
#[derive(Debug)]
pub struct RequestIds {
    run: Run,
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

    /// A number that is the same for the same id of the same run, and no other's.
    pub(crate) fn number_of(self, id: RequestId, salt: u64) -> u64 {
        let words = id.0.as_chunks::<8>().0.iter().map(|eight| u64::from_le_bytes(*eight));
        words.chain([salt]).fold(self.0, |seed, word| {
            let mixed = (seed ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
            mixed ^ (mixed >> 29)
        })
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
        Self { run, prefix, next: AtomicU64::new(0) }
    }

    /// The run that they are of.
    pub const fn run(&self) -> Run {
        self.run
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

/// What a request is called.
#[derive(Clone, Debug)]
pub struct RequestName {
    /// As it is known here.
    pub id: RequestId,
    /// As somebody before us called it, whom we believe.
    pub given: Option<Bytes>,
}

impl RequestName {
    /// What is written of it.
    pub fn as_bytes(&self) -> &[u8] {
        self.given.as_deref().unwrap_or(self.id.as_bytes())
    }

    /// The same as text.
    pub fn as_str(&self) -> &str {
        // Both are ASCII.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl From<RequestId> for RequestName {
    fn from(id: RequestId) -> Self {
        Self { id, given: None }
    }
}

/// Whether text can be a name that somebody else gave: it stands in lines, pages and logs as it is.
pub(crate) fn is_name(text: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&text.len())
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.:~+/=@".contains(byte))
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
    fn numbers_of_ids_differ() {
        let run = Run::from_bits(7);
        let ids = RequestIds::new(run, 0);
        let numbers: BTreeSet<_> = (0..5000)
            .map(|_| ids.draw())
            .flat_map(|id| [run.number_of(id, 0), run.number_of(id, 1)])
            .collect();
        assert_eq!(numbers.len(), 10_000);
    }

    #[test]
    fn a_name_that_is_given_can_stand_anywhere() {
        for (claim, name, is) in [
            ("a UUID", &b"f81d4fae-7dec-11d0-a765-00a0c91e6bf6"[..], true),
            ("one of ours", b"0000010300000000", true),
            ("base64", b"ab+/Zg==", true),
            ("nothing", b"", false),
            ("a space", b"a b", false),
            ("markup", b"<b>", false),
            ("a quote", b"a\"", false),
            ("too long", &[b'a'; REQUEST_ID_BYTES_MAX + 1], false),
        ] {
            assert_eq!(is_name(name), is, "{claim}");
        }
    }

    #[test]
    fn an_id_is_sixteen_letters_and_digits() {
        let id = RequestIds::new(Run::from_bits(1), 3).draw().to_string();
        assert_eq!(id, "0000010300000000");
    }
}
