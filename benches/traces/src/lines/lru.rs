//! Least recently used.

use std::collections::BTreeMap;

use super::Cache;

pub(crate) struct Lru<'a> {
    sizes: &'a [u32],
    capacity: u64,
    used: u64,
    /// Number of the last request for each resident; 0: not here.
    last: Vec<u32>,
    order: BTreeMap<u32, u32>,
    now: u32,
}

impl<'a> Lru<'a> {
    pub(crate) fn new(sizes: &'a [u32], capacity: u64) -> Self {
        Self { sizes, capacity, used: 0, last: vec![0; sizes.len()], order: BTreeMap::new(), now: 0 }
    }
}

impl Cache for Lru<'_> {
    fn request(&mut self, id: u32) -> bool {
        self.now += 1;
        let at = id as usize;
        let size = u64::from(self.sizes[at]);
        let hit = self.last[at] != 0;
        if hit {
            self.order.remove(&self.last[at]);
        } else {
            if size > self.capacity {
                return false;
            }
            while self.used + size > self.capacity {
                let Some((_, victim)) = self.order.pop_first() else { break };
                self.last[victim as usize] = 0;
                self.used -= u64::from(self.sizes[victim as usize]);
            }
            self.used += size;
        }
        self.last[at] = self.now;
        self.order.insert(self.now, id);
        hit
    }
}

#[cfg(test)]
mod tests {
    use super::super::hits;
    use super::*;

    #[test]
    fn who_was_used_longest_ago_goes_until_the_newcomer_fits() {
        let lru = || Lru::new(&[4, 3, 3, 6, 11], 10);
        assert_eq!(hits(lru(), &[0, 1, 2, 0, 1, 2]), [false, false, false, true, true, true]);
        assert_eq!(
            hits(lru(), &[0, 1, 2, 0, 3, 0, 1, 2]),
            [false, false, false, true, false, true, false, false]
        );
        assert_eq!(
            hits(lru(), &[0, 4, 0]),
            [false, false, true],
            "what is larger than the cache moves nobody"
        );
    }
}
