//! GreedyDual-Size-Frequency (Cherkasova 1998): who has least uses for its size goes, on a clock that ages.

use std::collections::BTreeSet;

use super::Cache;

pub(crate) struct Gdsf<'a> {
    sizes: &'a [u32],
    capacity: u64,
    used: u64,
    clock: f64,
    uses: Vec<u32>,
    /// Worth as bits (it is never negative, so bits order as numbers do) and request number of each resident.
    rank: Vec<(u64, u32)>,
    order: BTreeSet<(u64, u32, u32)>,
    now: u32,
}

impl<'a> Gdsf<'a> {
    pub(crate) fn new(sizes: &'a [u32], capacity: u64) -> Self {
        let count = sizes.len();
        let (uses, rank) = (vec![0; count], vec![(0, 0); count]);
        Self { sizes, capacity, used: 0, clock: 0.0, uses, rank, order: BTreeSet::new(), now: 0 }
    }
}

impl Cache for Gdsf<'_> {
    fn request(&mut self, id: u32) -> bool {
        self.now += 1;
        let at = id as usize;
        let size = u64::from(self.sizes[at]);
        let hit = self.uses[at] > 0;
        if hit {
            let (worth, since) = self.rank[at];
            self.order.remove(&(worth, since, id));
        } else {
            if size > self.capacity {
                return false;
            }
            while self.used + size > self.capacity {
                let Some((worth, _, victim)) = self.order.pop_first() else { break };
                self.clock = f64::from_bits(worth);
                self.uses[victim as usize] = 0;
                self.used -= u64::from(self.sizes[victim as usize]);
            }
            self.used += size;
        }
        self.uses[at] += 1;
        let worth = (self.clock + f64::from(self.uses[at]) / size as f64).to_bits();
        self.rank[at] = (worth, self.now);
        self.order.insert((worth, self.now, id));
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::super::hits;
    use super::*;

    #[test]
    fn the_large_and_rare_goes_before_the_small_and_before_the_used() {
        let gdsf = || Gdsf::new(&[8, 1, 1, 8], 10);
        assert_eq!(hits(gdsf(), &[1, 2, 0, 3, 1, 2, 0])[4..], [true, true, false]);
        let used = hits(Gdsf::new(&[5, 5, 5], 10), &[0, 0, 1, 2, 0, 1]);
        assert_eq!(used, [false, true, false, false, true, false]);
    }
}
