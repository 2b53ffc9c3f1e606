//! Durations in fixed buckets: one or two additions to record, a sum over workers to read.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts of durations by bucket, and their sum.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_micros: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Durations {
    /// Count by bucket, not cumulative; the last one has no upper bound.
    pub buckets: [u64; BUCKETS],
    /// Sum of all durations, microseconds.
    pub sum_micros: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_micros: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Counts one duration. From any thread.
    pub fn record(&self, micros: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_micros.fetch_add(micros, Ordering::Relaxed);
    }

    /// Counts one duration without a locked instruction: for the only thread that ever records here.
    #[inline]
    pub(crate) fn record_alone(&self, micros: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(micros)) {
            add_alone(bucket, 1);
        }
        add_alone(&self.sum_micros, micros);
    }

    /// The counts now; buckets that move meanwhile may be one apart from the sum.
    pub fn read(&self) -> Durations {
        Durations {
            buckets: std::array::from_fn(|at| {
                self.buckets.get(at).map_or(0, |bucket| bucket.load(Ordering::Relaxed))
            }),
            sum_micros: self.sum_micros.load(Ordering::Relaxed),
        }
    }
}

impl Default for Durations {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], sum_micros: 0 }
    }
}

impl Durations {
    /// Adds another histogram's counts.
    pub fn add(&mut self, other: &Self) {
        for (ours, theirs) in self.buckets.iter_mut().zip(other.buckets) {
            *ours = ours.saturating_add(theirs);
        }
        self.sum_micros = self.sum_micros.saturating_add(other.sum_micros);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The upper bound in microseconds of the bucket in which the given share (0 to 1) of the durations ends; the largest
    /// bound if it is beyond all of them, `None` if nothing was recorded.
    pub fn quantile_micros(&self, share: f64) -> Option<u64> {
        quantile(&BOUNDS_MICROS, &self.buckets, share)
    }
}

/// [`Durations::quantile_micros`] of any buckets, of which the last has no bound.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
pub(crate) fn quantile(bounds: &[u64], buckets: &[u64], share: f64) -> Option<u64> {
    let count = buckets.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    if count == 0 {
        return None;
    }
    let rank = ((count as f64 * share).ceil() as u64).clamp(1, count);
    let mut seen = 0u64;
    let at = buckets.iter().position(|count| {
        seen = seen.saturating_add(*count);
        seen >= rank
    })?;
    bounds.get(at).or(bounds.last()).copied()
}

/// The duration within which the given share (0 to 1) lies, taken to be spread evenly over its bucket: microseconds; the last bound
/// where it is beyond, `None` where nothing was recorded. For eyes: a curve of the bounds themselves would have steps.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // an estimate
pub(crate) fn interpolated(buckets: &[u64; BUCKETS], share: f64) -> Option<u64> {
    let count = buckets.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    if count == 0 {
        return None;
    }
    let rank = (count as f64 * share).clamp(1.0, count as f64);
    let (mut seen, mut below) = (0.0, 0u64);
    for (at, held) in buckets.iter().enumerate() {
        let held = *held as f64;
        let Some(bound) = BOUNDS_MICROS.get(at).copied() else { break };
        if held > 0.0 && seen + held >= rank {
            return Some(below + ((bound - below) as f64 * (rank - seen) / held).round() as u64);
        }
        (seen, below) = (seen + held, bound);
    }
    BOUNDS_MICROS.last().copied()
}

/// Adds to a counter that has one writer.
#[inline]
pub(crate) fn add_alone(counter: &AtomicU64, by: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(by), Ordering::Relaxed);
}

#[inline]
fn bucket_of(micros: u64) -> usize {
    BOUNDS_MICROS.partition_point(|bound| *bound < micros)
}

/// Inclusive upper bounds, microseconds: from a memory hit to a slow origin, about 2.5 apart.
pub const BOUNDS_MICROS: [u64; BUCKETS - 1] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000,
    1_000_000, 2_500_000, 5_000_000, 10_000_000, 30_000_000,
];
/// Buckets of a histogram, the one without bound included.
pub const BUCKETS: usize = 21;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_first_bucket_whose_bound_holds_it() {
        for (micros, bucket) in [(0, 0), (10, 0), (11, 1), (30_000_000, 19), (30_000_001, 20), (u64::MAX, 20)]
        {
            let histogram = Histogram::default();
            histogram.record(micros);
            histogram.record_alone(0);
            assert_eq!(
                histogram.read().buckets.iter().rposition(|count| *count > 0),
                Some(bucket),
                "{micros}"
            );
        }
    }

    #[test]
    fn bounds_rise() {
        assert!(BOUNDS_MICROS.is_sorted_by(|a, b| a < b));
    }

    #[test]
    fn a_quantile_for_eyes_lies_within_its_bucket() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(interpolated(&buckets, 0.5), None);
        buckets[2] = 100;
        assert_eq!(interpolated(&buckets, 0.5), Some(38), "between 25 and 50");
        assert_eq!(interpolated(&buckets, 1.0), Some(50));
        buckets[BUCKETS - 1] = 100;
        assert_eq!(interpolated(&buckets, 0.99), Some(30_000_000));
    }

    #[test]
    fn a_quantile_names_the_bound_below_which_the_share_lies() {
        let histogram = Histogram::default();
        assert_eq!(histogram.read().quantile_micros(0.5), None);
        (0..99).for_each(|_| histogram.record(40));
        histogram.record(40_000_000);
        assert_eq!(histogram.read().quantile_micros(0.5), Some(50));
        assert_eq!(histogram.read().quantile_micros(0.99), Some(50));
        assert_eq!(histogram.read().quantile_micros(1.0), Some(30_000_000));
    }
}
