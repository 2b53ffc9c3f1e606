//! What has been purged.
//!
//! Every applied purge takes the next number of the *sequence*. A purge of one URL marks what is resident under the
//! key's lock, and writes its number into a small table that fills consult when they end: a fill remembers the
//! sequence at the *start* of its origin request, and when the table shows a later purge of its key the response is
//! not stored (hard) or stored as stale (soft). The table is hashed and never grows; two keys in one slot cost a
//! fill that is not stored, never a purge that is missed.
//!
//! Invariant: what an origin request fetched that started before a purge of its key is never served as fresh after
//! the purge was acknowledged.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::timestamp::Timestamp;

/// What a purge takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One URL with all its variants.
    Url(CacheKey),
}

impl Scope {
    /// As named in receipts and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url(_) => "url",
        }
    }
}

/// An order to forget.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Purge {
    /// What.
    pub scope: Scope,
    /// Make it stale instead of forgetting it.
    pub soft: bool,
}

/// A purge that has been applied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Applied {
    /// Its number.
    pub sequence: Epoch,
    /// Responses in memory that it reached.
    pub matched: u64,
}

/// The purges a fill must know about. Callers hold the lock of the key's shard.
#[derive(Debug)]
pub(crate) struct Purges {
    sequence: AtomicU64,
    hard: Box<[AtomicU64]>,
    soft: Box<[AtomicU64]>,
    soft_at: Box<[AtomicU64]>,
}

impl Purges {
    /// Numbers go on from `sequence`.
    pub(crate) fn new(sequence: Epoch) -> Self {
        let table = || (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        Self { sequence: AtomicU64::new(sequence), hard: table(), soft: table(), soft_at: table() }
    }

    /// The number of the last purge: the epoch of what starts now.
    pub(crate) fn sequence(&self) -> Epoch {
        self.sequence.load(Ordering::Acquire)
    }

    /// Takes the next number. What begins from now on is past that purge.
    pub(crate) fn next(&self) -> Epoch {
        self.sequence.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Notes that purge `sequence` takes `key`.
    pub(crate) fn record(&self, sequence: Epoch, key: CacheKey, soft: bool, now: Timestamp) {
        let slot = slot(key);
        if soft {
            if let (Some(number), Some(at)) = (self.soft.get(slot), self.soft_at.get(slot)) {
                at.fetch_max(now.as_millis(), Ordering::AcqRel);
                number.fetch_max(sequence, Ordering::AcqRel);
            }
        } else if let Some(number) = self.hard.get(slot) {
            number.fetch_max(sequence, Ordering::AcqRel);
        }
    }

    /// What became of a response for `key` whose origin request started at `epoch`.
    pub(crate) fn since(&self, key: CacheKey, epoch: Epoch) -> Purged {
        let slot = slot(key);
        let number = |table: &[AtomicU64]| table.get(slot).map_or(0, |number| number.load(Ordering::Acquire));
        if number(&self.hard) > epoch {
            Purged::Hard
        } else if number(&self.soft) > epoch {
            Purged::Soft(Timestamp::from_millis(number(&self.soft_at)))
        } else {
            Purged::No
        }
    }
}

fn slot(key: CacheKey) -> usize {
    usize::try_from(key.bits() >> 64 & (SLOTS as u128 - 1)).unwrap_or(0)
}

/// A power of two.
const SLOTS: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fill_that_began_before_a_purge_learns_of_it_and_one_that_began_after_does_not() {
        let purges = Purges::new(0);
        let key = CacheKey::from_bits(7 << 64);
        let before = purges.sequence();
        assert_eq!(purges.since(key, before), Purged::No);
        purges.record(purges.next(), key, true, Timestamp::from_secs(9));
        assert_eq!(purges.since(key, before), Purged::Soft(Timestamp::from_secs(9)));
        purges.record(purges.next(), key, false, Timestamp::from_secs(10));
        assert_eq!(purges.since(key, before), Purged::Hard);
        assert_eq!(purges.since(key, purges.sequence()), Purged::No);
    }
}
