//! Who goes first: what an entry is worth, and the time by which that ages.
//!
//! The worth of an entry is `clock + uses × (16 KiB ⁄ weight)^exponent` (GreedyDual-Size-Frequency, Cherkasova 1998): an
//! exponent of 1 asks for requests answered, one of 0 for bytes. The clock is the worth of the last one that went, so what
//! nobody asks for any more is overtaken by what is new. Or it is the *era* of the last use alone, which is LRU in steps.
//!
//! A use is marked once an era, the time in which 1⁄32 of the budget is inserted: thirty hits in a burst count as one, and
//! a hot entry's cache line stays shared among the workers.
//!
//! Invariant: a mark never makes an entry worth less, and the worth of what is not used stands still.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// By what the next one to go is chosen.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) enum Policy {
    /// Who was used longest ago.
    Recency,
    /// Who is worth least; the exponent says how much size counts.
    Worth { exponent: f64 },
}

/// When an entry was last used, and how often.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Use {
    pub(super) era: u64,
    pub(super) clock: f64,
    pub(super) uses: u8,
}

/// The same, as readers may write it.
pub(super) struct Mark {
    /// Era in the upper 56 bits, uses in the rest.
    era_uses: AtomicU64,
    /// `f64` bits.
    clock: AtomicU64,
}

impl Policy {
    /// Comparable under one policy only. Never negative.
    pub(super) fn worth(self, used: Use, weight: usize) -> f64 {
        #[allow(clippy::cast_precision_loss)] // neither an era nor a weight above 2^53 exists
        match self {
            Self::Recency => used.era as f64,
            Self::Worth { exponent } => {
                used.clock + f64::from(used.uses) * (WEIGHT_OF_ONE / weight.max(1) as f64).powf(exponent)
            }
        }
    }

    /// Whether what goes moves the clock.
    pub(super) const fn has_clock(self) -> bool {
        matches!(self, Self::Worth { .. })
    }
}

impl Mark {
    pub(super) fn new(used: Use) -> Self {
        let era_uses = AtomicU64::new(used.era << USES_BITS | u64::from(used.uses));
        Self { era_uses, clock: AtomicU64::new(used.clock.to_bits()) }
    }

    pub(super) fn read(&self) -> Use {
        let era_uses = self.era_uses.load(Relaxed);
        let [uses, ..] = era_uses.to_le_bytes();
        Use { era: era_uses >> USES_BITS, clock: f64::from_bits(self.clock.load(Relaxed)), uses }
    }

    /// Whether it was used in `era` already.
    #[inline]
    pub(super) fn is_of(&self, era: u64) -> bool {
        self.era_uses.load(Relaxed) >> USES_BITS == era
    }

    /// One more use. Two readers at once may count as one: no harm.
    pub(super) fn raise(&self, era: u64, clock: f64) {
        let before = self.read();
        // Whoever read the time before the last mark was made must not set it back.
        let (era, clock) = (before.era.max(era), before.clock.max(clock));
        let uses = before.uses.saturating_add(1).min(USES_MAX);
        self.era_uses.store(era << USES_BITS | u64::from(uses), Relaxed);
        self.clock.store(clock.to_bits(), Relaxed);
    }
}

/// Bytes that may be inserted in one era, for a budget.
pub(super) const fn era_bytes(capacity: usize) -> usize {
    match capacity / ERAS {
        0 => 1,
        bytes => bytes,
    }
}

/// Eras in which a budget's worth of bytes is inserted.
const ERAS: usize = 32;
/// Uses are counted so far.
const USES_MAX: u8 = 63;
const USES_BITS: u32 = 8;
/// The weight at which the exponent makes no difference, so that the clock means the same under each.
const WEIGHT_OF_ONE: f64 = 16.0 * 1024.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn worth_follows_use_and_size() {
        let used = |era, clock, uses| Use { era, clock, uses };
        let (small, large) = (1 << 10, 1 << 20);
        for (claim, policy, more, less) in [
            ("recency: later is more", Policy::Recency, (used(2, 0.0, 1), large), (used(1, 9.0, 63), small)),
            (
                "requests: small is more",
                Policy::Worth { exponent: 1.0 },
                (used(1, 0.0, 1), small),
                (used(1, 0.0, 63), large),
            ),
            (
                "more uses are more",
                Policy::Worth { exponent: 0.4 },
                (used(1, 0.0, 3), large),
                (used(1, 0.0, 2), large),
            ),
            (
                "a later clock is more",
                Policy::Worth { exponent: 0.7 },
                (used(1, 9.0, 1), large),
                (used(9, 1.0, 1), large),
            ),
            (
                "bytes: uses alone",
                Policy::Worth { exponent: 0.0 },
                (used(1, 0.0, 2), large),
                (used(1, 0.0, 1), small),
            ),
        ] {
            assert!(policy.worth(more.0, more.1) > policy.worth(less.0, less.1), "{claim}");
        }
    }

    #[test]
    fn a_mark_is_never_set_back_and_its_uses_end_somewhere() {
        let mark = Mark::new(Use { era: 7, clock: 2.0, uses: 1 });
        assert!(mark.is_of(7) && !mark.is_of(8));
        mark.raise(6, 1.0);
        assert_eq!(mark.read(), Use { era: 7, clock: 2.0, uses: 2 });
        for era in 8..200 {
            mark.raise(era, 3.0);
        }
        assert_eq!(mark.read(), Use { era: 199, clock: 3.0, uses: USES_MAX });
    }
}
