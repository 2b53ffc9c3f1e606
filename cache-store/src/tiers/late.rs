//! What the log has refused because the disk was behind: keys of responses that memory holds meanwhile.
//!
//! A burst, or a sync that takes long, fills the buffers of the log (`segments/tail.rs`); what comes then is not lost but *late*. It is
//! noted here, and written from memory as soon as there are buffers again (`owing.rs`). Lost is only what memory has let go of before
//! that: a disk that is slower than the origins for longer than memory lasts.
//!
//! ```text
//! refused ── note ──► next ──┬─ memory has it ──► written
//!                            └─ not any more ───► given up: counted, and fetched again when it is asked for
//! ```
//!
//! Invariant: at most [`LATE_MAX`] keys wait; the one that has waited longest goes for another.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use crate::key::CacheKey;

/// The keys.
#[derive(Default)]
pub(crate) struct Late {
    waiting: Mutex<VecDeque<LateKey>>,
    /// Somebody writes them.
    busy: AtomicBool,
    noted: AtomicU64,
    given_up: AtomicU64,
}

/// One of them, and its resource's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct LateKey {
    pub(crate) key: CacheKey,
    pub(crate) primary: CacheKey,
}

impl Late {
    /// The log has refused it.
    pub(crate) fn note(&self, late: LateKey) {
        self.noted.fetch_add(1, Ordering::Relaxed);
        let mut waiting = self.waiting.lock();
        if waiting.len() >= LATE_MAX {
            waiting.pop_front();
            self.gave_up();
        }
        waiting.push_back(late);
    }

    /// The one that has waited longest.
    pub(crate) fn next(&self) -> Option<LateKey> {
        self.waiting.lock().pop_front()
    }

    /// It could not be written yet.
    pub(crate) fn put_back(&self, late: LateKey) {
        self.waiting.lock().push_front(late);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.lock().is_empty()
    }

    /// Whether the caller is the one who writes them, until [`Late::end`].
    pub(crate) fn begin(&self) -> bool {
        !self.busy.swap(true, Ordering::AcqRel)
    }

    /// Nobody writes them any more.
    pub(crate) fn end(&self) {
        self.busy.store(false, Ordering::Release);
    }

    /// One will not be written.
    pub(crate) fn gave_up(&self) {
        self.given_up.fetch_add(1, Ordering::Relaxed);
    }

    /// Since the start: how many were late, and how many of them were given up.
    pub(crate) fn counted(&self) -> (u64, u64) {
        (self.noted.load(Ordering::Relaxed), self.given_up.load(Ordering::Relaxed))
    }
}

/// Two megabytes of them.
const LATE_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn late(number: u128) -> LateKey {
        LateKey { key: CacheKey::from_bits(number), primary: CacheKey::from_bits(number) }
    }

    #[test]
    fn the_one_that_has_waited_longest_goes_for_one_too_many() {
        let keys = Late::default();
        for number in 0..LATE_MAX as u128 + 3 {
            keys.note(late(number));
        }
        assert_eq!(keys.counted(), (LATE_MAX as u64 + 3, 3));
        assert_eq!(keys.next(), Some(late(3)));
        keys.put_back(late(3));
        assert_eq!(std::iter::from_fn(|| keys.next()).count(), LATE_MAX);
    }

    #[test]
    fn one_at_a_time_writes_them() {
        let keys = Late::default();
        assert!(keys.begin() && !keys.begin());
        keys.end();
        assert!(keys.begin());
    }
}
