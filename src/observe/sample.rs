//! Which requests are shown to those who watch, where there are more than can be looked at.
//!
//! A [`Sample`] belongs to one worker and one kind of request. It takes every request while there are few, and one out of a
//! growing number once there are many, at random, so that no regular traffic hides behind the regularity of the choice. What it
//! takes carries a *weight*: the requests that it stands for, itself included, so that sums of weights are counts of requests.
//!
//! Invariant: at most about `per_second` requests are taken between two calls of [`Sample::second`] in the long run, and at most
//! some twenty times as many in the first second of a flood.

/// One worker's choice among requests of one kind.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    per_second: u32,
    /// Requests from one that is taken to the next, on average.
    stride: u32,
    /// How many the next one taken stands for, and how many of them are still to come.
    gap: u32,
    left: u32,
    /// Taken since `second`, less what a doubling forgave.
    taken: u32,
    /// Requests seen since `second`, all told.
    seen: u64,
    random: u32,
}

impl Sample {
    /// Takes all at first, and any number; `seed` tells workers apart.
    pub(super) const fn new(seed: u32) -> Self {
        Self { per_second: u32::MAX, stride: 1, gap: 1, left: 1, taken: 0, seen: 0, random: seed | 1 }
    }

    /// From now on that many a second.
    pub(super) const fn at_most(&mut self, per_second: u32) {
        self.per_second = per_second;
    }

    /// Whether this request is taken, and then for how many it stands.
    #[inline]
    pub(super) fn take(&mut self) -> Option<u32> {
        self.left -= 1;
        if self.left > 0 {
            return None;
        }
        Some(self.taken())
    }

    fn taken(&mut self) -> u32 {
        let weight = self.gap;
        self.seen += u64::from(weight);
        self.taken += 1;
        if self.taken >= self.per_second {
            // A flood: the rest of the second is thinned again and again.
            self.taken = self.per_second / 2;
            self.stride = self.stride.saturating_mul(2).min(STRIDE_MAX);
        }
        self.draw();
        weight
    }

    /// A second has passed: as the traffic was, so thin it is taken.
    pub(super) fn second(&mut self) {
        let stride = self.seen.div_ceil(u64::from(self.per_second.max(1)));
        self.stride = u32::try_from(stride).unwrap_or(STRIDE_MAX).clamp(1, STRIDE_MAX);
        (self.taken, self.seen) = (0, 0);
        if self.stride < self.gap {
            // Else the first of quiet traffic would wait for what a busy second asked for; those passed over are not counted.
            self.draw();
        }
    }

    /// From 1 to twice the stride less one, each as likely.
    fn draw(&mut self) {
        // Marsaglia's xorshift: no client can see it, so it need not be hard to guess.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let span = 2 * self.stride - 1;
        self.gap = 1 + self.random % span;
        self.left = self.gap;
    }
}

/// Beyond it a worker would have to answer hundreds of millions of requests a second.
const STRIDE_MAX: u32 = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(per_second: u32) -> Sample {
        let mut sample = Sample::new(7);
        sample.at_most(per_second);
        sample
    }

    fn run(sample: &mut Sample, requests: u64) -> (u64, u64) {
        let (mut taken, mut weights) = (0, 0);
        for _ in 0..requests {
            if let Some(weight) = sample.take() {
                taken += 1;
                weights += u64::from(weight);
            }
        }
        (taken, weights)
    }

    #[test]
    fn where_there_are_few_all_are_taken() {
        let mut sample = sample(1_000);
        for _ in 0..10 {
            assert_eq!(run(&mut sample, 900), (900, 900));
            sample.second();
        }
    }

    #[test]
    fn weights_add_up_to_the_requests() {
        let mut sample = sample(1_000);
        for _ in 0..20 {
            let (_, weights) = run(&mut sample, 200_000);
            sample.second();
            assert!((198_000..=202_000).contains(&weights), "{weights}");
        }
    }

    #[test]
    fn a_flood_costs_a_bounded_number() {
        let mut sample = sample(1_000);
        let (taken, _) = run(&mut sample, 1_000_000);
        assert!(taken <= 11_000, "{taken}: half the budget for each doubling");
        sample.second();
        let (taken, _) = run(&mut sample, 1_000_000);
        assert!((800..=1_100).contains(&taken), "{taken}");
        sample.second();
        sample.second();
        let (taken, _) = run(&mut sample, 10);
        assert_eq!(taken, 10, "all of quiet traffic is shown again");
    }

    #[test]
    fn regular_traffic_is_not_seen_through_a_regular_choice() {
        let mut sample = sample(1_000);
        let mut seen = [0u64; 16];
        for _ in 0..10 {
            for at in 0..160_000usize {
                if let Some(weight) = sample.take() {
                    seen[at % 16] += u64::from(weight);
                }
            }
            sample.second();
        }
        for count in seen {
            assert!((85_000..=115_000).contains(&count), "{seen:?}");
        }
    }

    #[test]
    fn a_stride_stays_in_its_bounds() {
        let mut sample = sample(1);
        run(&mut sample, 10_000_000);
        sample.second();
        assert!(sample.stride <= STRIDE_MAX && sample.gap < 2 * STRIDE_MAX);
    }
}
