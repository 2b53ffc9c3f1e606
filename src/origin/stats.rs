//! What each origin did, in numbers: for metrics, the dashboard and `explain`.
//!
//! Counters only grow; reading them takes no lock and may see one request half counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::StatusCode;

use super::choose::Stands;

/// Upper bounds of the duration buckets, microseconds; one more bucket takes what is longer.
pub const DURATION_BOUNDS_MICROS: [u64; 12] = [
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 10_000_000,
];

/// One origin at this moment.
#[derive(Clone, Debug)]
pub struct OriginStats {
    /// Its pool.
    pub pool: Arc<str>,
    /// Its name.
    pub origin: Arc<str>,
    /// Whether it is asked, and if not, why.
    pub stands: Stands,
    /// Its weight.
    pub weight: u32,
    /// It is asked only when no other is available.
    pub backup: bool,
    /// What it may have under way at once, where that is not a fixed number.
    pub concurrency_max: Option<usize>,
    /// Connections with a request under way.
    pub connections_in_use: usize,
    /// Connections kept for the next request.
    pub connections_idle: usize,
    /// Requests that wait for a connection.
    pub waiting: usize,
    /// What happened since the start.
    pub counts: Counts,
}

/// Totals since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Responses by status class: index 0 is 1xx (never final, so always 0) to index 4, 5xx.
    pub statuses: [u64; 5],
    /// Requests without a whole response, by the origin's fault.
    pub failures: u64,
    /// Times it was ejected.
    pub ejections: u64,
    /// Requests that went to another origin after failing here.
    pub moved_on: u64,
    /// Connections opened.
    pub connects: u64,
    /// Requests that waited here while another origin was asked on top.
    pub hedged: u64,
    /// Checks of its health that failed.
    pub failed_checks: u64,
    /// Responses by the time from request to head: one count a bucket, not cumulative; the last is beyond all bounds.
    pub durations: [u64; DURATION_BOUNDS_MICROS.len() + 1],
    /// Sum of those times, microseconds.
    pub duration_micros: u64,
}

/// The counters behind [`Counts`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    statuses: [AtomicU64; 5],
    failures: AtomicU64,
    ejections: AtomicU64,
    moved_on: AtomicU64,
    connects: AtomicU64,
    hedged: AtomicU64,
    failed_checks: AtomicU64,
    durations: [AtomicU64; DURATION_BOUNDS_MICROS.len() + 1],
    duration_micros: AtomicU64,
}

impl Counters {
    /// A response head came after `micros`.
    pub(crate) fn answered(&self, status: StatusCode, micros: u64) {
        let class = usize::from(status.as_u16() / 100).saturating_sub(1);
        if let Some(counter) = self.statuses.get(class) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let bucket = DURATION_BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        if let Some(counter) = self.durations.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.duration_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// A request failed; `ejected`: and that was one too many.
    pub(crate) fn failed(&self, ejected: bool) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.ejections.fetch_add(u64::from(ejected), Ordering::Relaxed);
    }

    /// A failed request goes to another origin.
    pub(crate) fn moved_on(&self) {
        self.moved_on.fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was opened.
    pub(crate) fn connected(&self) {
        self.connects.fetch_add(1, Ordering::Relaxed);
    }

    /// Another origin is asked on top.
    pub(crate) fn hedged(&self) {
        self.hedged.fetch_add(1, Ordering::Relaxed);
    }

    /// A check failed.
    pub(crate) fn check_failed(&self) {
        self.failed_checks.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts on from what another counted of the same origin.
    pub(crate) fn go_on_from(&self, counts: &Counts) {
        let add = |counter: &AtomicU64, count: u64| {
            counter.fetch_add(count, Ordering::Relaxed);
        };
        self.statuses.iter().zip(counts.statuses).for_each(|(counter, count)| add(counter, count));
        self.durations.iter().zip(counts.durations).for_each(|(counter, count)| add(counter, count));
        add(&self.failures, counts.failures);
        add(&self.ejections, counts.ejections);
        add(&self.moved_on, counts.moved_on);
        add(&self.connects, counts.connects);
        add(&self.hedged, counts.hedged);
        add(&self.failed_checks, counts.failed_checks);
        add(&self.duration_micros, counts.duration_micros);
    }

    /// The totals.
    pub(crate) fn read(&self) -> Counts {
        let all = |counters: &[AtomicU64]| {
            counters.iter().map(|one| one.load(Ordering::Relaxed)).collect::<Vec<_>>()
        };
        let mut counts = Counts {
            failures: self.failures.load(Ordering::Relaxed),
            ejections: self.ejections.load(Ordering::Relaxed),
            moved_on: self.moved_on.load(Ordering::Relaxed),
            connects: self.connects.load(Ordering::Relaxed),
            hedged: self.hedged.load(Ordering::Relaxed),
            failed_checks: self.failed_checks.load(Ordering::Relaxed),
            duration_micros: self.duration_micros.load(Ordering::Relaxed),
            ..Counts::default()
        };
        counts.statuses.copy_from_slice(&all(&self.statuses));
        counts.durations.copy_from_slice(&all(&self.durations));
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_first_bucket_whose_bound_it_does_not_exceed() {
        let counters = Counters::default();
        for micros in [0, 1_000, 1_001, 10_000_000, 10_000_001] {
            counters.answered(StatusCode::NOT_FOUND, micros);
        }
        let counts = counters.read();
        assert_eq!(counts.durations, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((counts.statuses, counts.duration_micros), ([0, 0, 0, 5, 0], 20_002_002));
    }
}
