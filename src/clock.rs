//! The one clock: nothing else in the process reads time.
//!
//! Two readings, because the wall can be stepped by an administrator or NTP and freshness must not move with it:
//! [`Clock::now`] is *steady* (the wall at start plus monotonic time since), and every stored timestamp and every
//! deadline lives on it; [`Clock::wall`] is the calendar, compared with `Date` and `Expires` and written in logs.
//!
//! Waiting goes through the clock too ([`Clock::sleep_until`], [`Clock::timeout`]), so a test that moves a
//! [`Clock::manual`] clock moves deadlines with it and nothing ever sleeps for real.
//!
//! Invariant: `now()` never goes backwards.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cache_store::timestamp::Timestamp;
use tokio::sync::Notify;

/// A cheap handle on the process's clock; clones share one time.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    /// The wall at the start, in microseconds, less the monotonic clock then (wrapping): what turns one into the other.
    System {
        offset_micros: u64,
    },
    Manual(Arc<Manual>),
}

#[derive(Debug)]
struct Manual {
    millis: AtomicU64,
    /// Signed offset of the wall against the steady time, as two's complement, for clock-jump tests.
    wall_offset_millis: AtomicU64,
    moved: Notify,
}

/// The time allowed for something ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("timed out")]
pub struct Elapsed;

impl Clock {
    /// The machine's clock.
    pub fn system() -> Self {
        let started_at = wall().as_millis().saturating_mul(1000);
        Self(Source::System { offset_micros: started_at.wrapping_sub(monotonic_micros()) })
    }

    /// A clock that stands at `at` until [`Clock::advance`] moves it; for tests.
    pub fn manual(at: Timestamp) -> Self {
        Self(Source::Manual(Arc::new(Manual {
            millis: AtomicU64::new(at.as_millis()),
            wall_offset_millis: AtomicU64::new(0),
            moved: Notify::new(),
        })))
    }

    /// The steady time. Costs about 25 ns on the machine's clock.
    #[inline]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => Timestamp::from_millis(self.micros() / 1000),
            Source::Manual(manual) => Timestamp::from_millis(manual.millis.load(Ordering::Acquire)),
        }
    }

    /// Microseconds on the steady time line, for durations in logs and metrics; zero point as for [`Clock::now`].
    #[inline]
    pub fn micros(&self) -> u64 {
        match &self.0 {
            Source::System { offset_micros } => offset_micros.wrapping_add(monotonic_micros()),
            Source::Manual(manual) => manual.millis.load(Ordering::Acquire).saturating_mul(1000),
        }
    }

    /// The calendar, as the machine has it now; may jump.
    pub fn wall(&self) -> Timestamp {
        match &self.0 {
            Source::System { .. } => wall(),
            Source::Manual(manual) => Timestamp::from_millis(
                manual
                    .millis
                    .load(Ordering::Acquire)
                    .wrapping_add(manual.wall_offset_millis.load(Ordering::Acquire)),
            ),
        }
    }

    /// Moves a manual clock forward and wakes what waits on it; does nothing to the machine's clock.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual(manual) = &self.0 {
            manual.millis.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::AcqRel);
            manual.moved.notify_waiters();
        }
    }

    /// Steps the wall of a manual clock by `millis`, leaving the steady time; for clock-jump tests.
    pub fn step_wall(&self, millis: i64) {
        if let Source::Manual(manual) = &self.0 {
            manual.wall_offset_millis.fetch_add(millis.cast_unsigned(), Ordering::AcqRel);
        }
    }

    /// Completes when the steady time reaches `at`. Cancel by dropping.
    #[allow(clippy::disallowed_methods)] // the one place that waits
    pub async fn sleep_until(&self, at: Timestamp) {
        match &self.0 {
            Source::System { .. } => tokio::time::sleep(at.since(self.now())).await,
            Source::Manual(manual) => loop {
                let moved = manual.moved.notified();
                tokio::pin!(moved);
                // Registered before the clock is read: a move in between is not lost.
                moved.as_mut().enable();
                if self.now() >= at {
                    return;
                }
                moved.await;
            },
        }
    }

    /// Completes after `duration`.
    pub async fn sleep(&self, duration: Duration) {
        self.sleep_until(self.now().plus(duration)).await;
    }

    /// `future`, unless `limit` passes first.
    ///
    /// # Errors
    /// [`Elapsed`] when the limit passed; the future is dropped.
    pub async fn timeout<F: Future>(&self, limit: Duration, future: F) -> Result<F::Output, Elapsed> {
        tokio::select! {
            biased;
            output = future => Ok(output),
            () = self.sleep(limit) => Err(Elapsed),
        }
    }
}

/// Microseconds on the machine's monotonic clock. Read without `Instant`, whose subtraction and conversion cost more
/// than the reading.
#[inline]
fn monotonic_micros() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec.cast_unsigned().wrapping_mul(1_000_000).wrapping_add(time.tv_nsec.cast_unsigned() / 1000)
}

#[allow(clippy::disallowed_methods)] // the one place that reads it
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_millis(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_a_sleeper_when_it_is_moved_past_the_deadline() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp::from_secs(1005)).await }
        });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(4));
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        clock.advance(Duration::from_secs(1));
        sleeper.await.expect("the sleeper does not panic");
    }

    #[test]
    fn stepping_the_wall_does_not_move_the_steady_time() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        clock.step_wall(-3_600_000 / 10_000);
        assert_eq!(clock.now(), Timestamp::from_secs(1000));
        assert_eq!(clock.wall(), Timestamp::from_millis(1_000_000 - 360));
    }
}
