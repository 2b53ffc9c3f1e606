//! Latencies in buckets whose width is under 1 % of their value, so that a percentile is a count and not a sort.
//!
//! The values are nanoseconds. Buckets: 128 to each power of two, exact below 128. Invariant: a percentile
//! never lies below the value it stands for, and at most 1/64 above it.

const PARTS_BITS: u32 = 7;
const PARTS: u64 = 1 << PARTS_BITS;

/// How often each latency was seen.
#[derive(Clone)]
pub(crate) struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { buckets: vec![0; (PARTS * (65 - u64::from(PARTS_BITS))) as usize], count: 0, max: 0 }
    }

    pub(crate) fn of(values: impl IntoIterator<Item = u64>) -> Self {
        let mut histogram = Self::new();
        values.into_iter().for_each(|value| histogram.add(value));
        histogram
    }

    pub(crate) fn add(&mut self, value: u64) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(value)) {
            *bucket += 1;
        }
        self.count += 1;
        self.max = self.max.max(value);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    pub(crate) fn max(&self) -> u64 {
        self.max
    }

    /// The value that `share` (0 to 1) of all values do not exceed; 0 when nothing was added.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        let wanted = (share * self.count as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            seen += bucket;
            if seen >= wanted {
                return upper_edge(index).min(self.max);
            }
        }
        self.max
    }
}

fn bucket_of(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    let shift = value.ilog2() - PARTS_BITS;
    (u64::from(shift + 1) * PARTS + (value >> shift) - PARTS) as usize
}

fn upper_edge(index: usize) -> u64 {
    let index = index as u64;
    if index < PARTS {
        return index;
    }
    let shift = index / PARTS - 1;
    (((index % PARTS + PARTS) << shift) | ((1 << shift) - 1)).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_never_below_its_value_nor_a_64th_above_it() {
        for value in [0, 1, 127, 128, 129, 255, 256, 1_000, 65_535, 123_456_789, 1 << 40, u64::MAX / 2] {
            let mut histogram = Histogram::new();
            histogram.add(value);
            histogram.add(u64::MAX);
            let got = histogram.percentile(0.5);
            assert!(got >= value, "{value} became {got}");
            assert!(got - value <= value / 64, "{value} became {got}");
        }
    }

    #[test]
    fn percentiles_count_from_the_smallest() {
        let mut histogram = Histogram::new();
        (1..=100).for_each(|value| histogram.add(value));
        assert_eq!(
            [0.01, 0.5, 0.99, 1.0].map(|share| histogram.percentile(share)),
            [1, 50, 99, 100],
            "1 to 100, once each"
        );
    }

    #[test]
    fn nothing_added_is_zero() {
        assert_eq!(Histogram::new().percentile(0.99), 0);
    }
}
