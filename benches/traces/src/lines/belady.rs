//! Belady: who is asked for latest goes, be it the newcomer. Knows the future, ignores size: a bound in practice for bytes, not for requests.

use std::collections::BTreeSet;

use super::Cache;
use crate::trace::Trace;

pub(crate) struct Belady<'a> {
    sizes: &'a [u32],
    capacity: u64,
    used: u64,
    /// Number of the next request for the same object, for each request.
    next: Vec<u32>,
    now: usize,
    /// Next request of each resident; 0: not here.
    due: Vec<u32>,
    order: BTreeSet<(u32, u32)>,
}

impl<'a> Belady<'a> {
    pub(crate) fn new(trace: &'a Trace, capacity: u64) -> Self {
        let count = trace.sizes.len();
        let mut last = vec![u32::MAX; count];
        let mut next = vec![u32::MAX; trace.requests.len()];
        for (at, id) in trace.requests.iter().enumerate().rev() {
            next[at] = std::mem::replace(&mut last[*id as usize], at as u32);
        }
        Self {
            sizes: &trace.sizes,
            capacity,
            used: 0,
            next,
            now: 0,
            due: vec![0; count],
            order: BTreeSet::new(),
        }
    }
}

impl Cache for Belady<'_> {
    fn request(&mut self, id: u32) -> bool {
        let at = id as usize;
        let due = self.next[self.now];
        self.now += 1;
        let size = u64::from(self.sizes[at]);
        let hit = self.due[at] != 0;
        if hit {
            self.order.remove(&(self.due[at], id));
        } else {
            if size > self.capacity || due == u32::MAX {
                return false;
            }
            while self.used + size > self.capacity {
                let Some((latest, victim)) = self.order.pop_last() else { break };
                if latest < due {
                    self.order.insert((latest, victim));
                    return false;
                }
                self.due[victim as usize] = 0;
                self.used -= u64::from(self.sizes[victim as usize]);
            }
            self.used += size;
        }
        self.due[at] = due;
        self.order.insert((due, id));
        hit
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Line, Ratio, replay};
    use super::*;
    use crate::trace::Kind;

    fn trace(requests: Vec<u32>) -> Trace {
        Trace { name: String::new(), kind: Kind::Generated, requests, sizes: vec![1; 6], sized: false }
    }

    /// The most hits that any choice of victims gives, and of not keeping the newcomer.
    fn best(requests: &[u32], held: &mut Vec<u32>, capacity: usize) -> usize {
        let Some((id, rest)) = requests.split_first() else { return 0 };
        if held.contains(id) {
            return 1 + best(rest, held, capacity);
        }
        let mut most = best(rest, held, capacity);
        if held.len() < capacity {
            held.push(*id);
            most = most.max(best(rest, held, capacity));
            held.pop();
        } else {
            for victim in 0..held.len() {
                let old = std::mem::replace(&mut held[victim], *id);
                most = most.max(best(rest, held, capacity));
                held[victim] = old;
            }
        }
        most
    }

    proptest! {
        #[test]
        fn with_equal_sizes_no_choice_hits_more(requests in prop::collection::vec(0u32..6, 0..9), capacity in 1usize..4) {
            let trace = trace(requests);
            let most = best(&trace.requests, &mut Vec::new(), capacity);
            let ratio = replay(&trace, Belady::new(&trace, capacity as u64));
            prop_assert_eq!((ratio.of_requests() * trace.requests.len() as f64).round() as usize, most);
        }

        #[test]
        fn no_line_passes_it_where_sizes_are_equal(requests in prop::collection::vec(0u32..6, 0..200), capacity in 1u64..6) {
            let trace = trace(requests);
            let bound = Line::Belady.replay(&trace, capacity).of_requests();
            for line in Line::ALL {
                prop_assert!(line.replay(&trace, capacity).of_requests() <= bound);
            }
        }

        #[test]
        fn a_cache_that_holds_everything_misses_each_object_once(requests in prop::collection::vec(0u32..6, 1..200)) {
            let trace = trace(requests);
            let mut expected = Ratio::default();
            let mut seen = std::collections::HashSet::new();
            for id in &trace.requests {
                expected.count(u64::from(!seen.insert(*id)), 1);
            }
            for line in Line::ALL {
                prop_assert_eq!(line.replay(&trace, 100), expected);
            }
        }
    }
}
