//! The benchmark's own clock: real time, for it measures other processes and has nothing to move.
//!
//! Everything else here works on nanoseconds since the first call, so that a schedule is plain arithmetic.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Nanoseconds since the process first asked.
#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time; no test moves it")]
pub(crate) fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Waits in the harness, between rounds or for a server to come up.
#[allow(clippy::disallowed_methods, reason = "the harness has nothing else to do, and no worker to block")]
pub(crate) fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

/// Waits so many nanoseconds, in the watch on a core.
#[allow(clippy::disallowed_methods, reason = "how late it wakes is what the watch measures")]
pub(crate) fn rest(nanos: u64) {
    std::thread::sleep(Duration::from_nanos(nanos));
}

/// The current date, as an origin must send it: a frozen one makes some caches revalidate or refuse.
#[allow(clippy::disallowed_methods, reason = "the origin's Date is the real one, as the caches' clocks are")]
pub(crate) fn http_date() -> String {
    httpdate::fmt_http_date(std::time::SystemTime::now())
}

/// A second, in the unit of [`now`].
pub(crate) const SECOND: u64 = 1_000_000_000;
/// A millisecond, in the unit of [`now`].
pub(crate) const MILLI: u64 = 1_000_000;
