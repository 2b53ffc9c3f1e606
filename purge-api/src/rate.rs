//! How often a token may be used: a token bucket, kept as the one moment at which it will be full again (the generic cell
//! rate algorithm), so that taking from it is one compare-and-swap.
//!
//! As many calls as the rate names may come at once; then one each time its share of the period has passed.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many calls in a period.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    calls: u64,
    period_micros: u64,
}

/// A bucket that such a rate fills.
#[derive(Debug)]
pub struct Bucket {
    rate: Rate,
    /// When it is full again, microseconds on the caller's steady time line.
    full_at: AtomicU64,
}

impl Rate {
    /// The rate in `100/s`, `30/m` or `5/h`; one to a million calls.
    pub fn parse(text: &str) -> Option<Self> {
        let (calls, period) = text.split_once('/')?;
        if !calls.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let calls = calls.parse().ok().filter(|calls| (1..=CALLS_MAX).contains(calls))?;
        let seconds: u64 = match period {
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            _ => return None,
        };
        Some(Self { calls, period_micros: seconds * 1_000_000 })
    }

    fn share_micros(self) -> u64 {
        self.period_micros / self.calls.max(1)
    }
}

impl Bucket {
    /// A full one.
    pub const fn new(rate: Rate) -> Self {
        Self { rate, full_at: AtomicU64::new(0) }
    }

    /// Takes one call at this moment.
    ///
    /// # Errors
    /// There is none; the seconds after which there will be, at least one.
    pub fn take(&self, now_micros: u64) -> Result<(), u64> {
        let share = self.rate.share_micros();
        let mut short = 0;
        let taken = self.full_at.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
            let next = full_at.max(now_micros).saturating_add(share);
            short = next.saturating_sub(now_micros).saturating_sub(self.rate.period_micros);
            (short == 0).then_some(next)
        });
        taken.map(drop).map_err(|_| short.div_ceil(1_000_000).max(1))
    }
}

/// Calls in a period; beyond it a limit is none.
const CALLS_MAX: u64 = 1_000_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates() {
        for (text, expected) in [
            ("100/s", Some((100, 1_000_000))),
            ("30/m", Some((30, 60_000_000))),
            ("5/h", Some((5, 3_600_000_000))),
            ("0/s", None),
            ("/s", None),
            ("-1/s", None),
            ("+1/s", None),
            ("1/d", None),
            ("1.5/s", None),
            ("100", None),
            ("1 / s", None),
            ("99999999999999999999/s", None),
        ] {
            let rate = Rate::parse(text).map(|rate| (rate.calls, rate.period_micros));
            assert_eq!(rate, expected, "{text}");
        }
    }

    #[test]
    fn as_many_as_the_rate_come_at_once_and_then_one_a_share() {
        let bucket = Bucket::new(Rate::parse("10/s").unwrap());
        let now = 5_000_000;
        assert_eq!((0..20).filter(|_| bucket.take(now).is_ok()).count(), 10);
        assert_eq!(bucket.take(now), Err(1));
        assert!(bucket.take(now + 100_000).is_ok(), "one more after a tenth of a second");
        assert!(bucket.take(now + 100_000).is_err());
        assert_eq!((0..20).filter(|_| bucket.take(now + 60_000_000).is_ok()).count(), 10, "and no more ever");
    }

    #[test]
    fn who_is_refused_is_told_when_to_come_again() {
        let bucket = Bucket::new(Rate::parse("2/h").unwrap());
        assert!(bucket.take(0).is_ok() && bucket.take(0).is_ok());
        assert_eq!(bucket.take(0), Err(1_800));
        assert_eq!(bucket.take(1_799_500_000), Err(1));
        assert!(bucket.take(1_800_000_000).is_ok());
    }

    #[test]
    fn a_clock_that_stands_or_jumps_back_gives_nothing_away() {
        let bucket = Bucket::new(Rate::parse("1/s").unwrap());
        assert!(bucket.take(u64::MAX - 10).is_ok());
        assert!(bucket.take(0).is_err());
        assert_eq!(bucket.take(u64::MAX).map_err(|seconds| seconds > 0), Ok(()), "time saturates");
    }
}
