//! The most frequent of many names in little memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005), fading with time.
//!
//! A [`Sketch`] holds a fixed number of names. One that is not among them takes the place of the least, with the least's count as
//! its own and as what it may be too high by. So every name whose share is above one part in `capacity` is there, and no count is
//! too low.
//!
//! Counts fade by half in a half-life (the caller calls [`Sketch::fade`]), so the sketch tells what is frequent now.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

/// Names and how often they came.
#[derive(Debug)]
pub(super) struct Sketch {
    capacity: usize,
    held: HashMap<Arc<str>, Counted>,
    /// By count, least first; counts are kept as their bits, which for numbers that are not negative are ordered as they are.
    order: BTreeSet<(u64, Arc<str>)>,
}

/// What is told of a name.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Counted {
    /// How often, not below the truth since the sketch knows it.
    pub(super) count: f64,
    /// At most so much above it.
    pub(super) above: f64,
    /// What was counted along, since the name is held.
    pub(super) along: Along,
}

/// What is counted along with a name; what the sketch is not ordered by.
#[derive(Clone, Copy, Default, PartialEq, Debug)]
pub(super) struct Along {
    pub(super) requests: f64,
    pub(super) from_cache: f64,
    pub(super) errors: f64,
    pub(super) bytes: f64,
}

impl Sketch {
    pub(super) fn new(capacity: usize) -> Self {
        Self { capacity: capacity.max(1), held: HashMap::new(), order: BTreeSet::new() }
    }

    /// The name came so often; `by` is not negative.
    pub(super) fn add(&mut self, name: &str, by: f64, along: Along) {
        if let Some((known, counted)) = self.held.get_key_value(name) {
            let (known, before) = (Arc::clone(known), counted.count);
            let entry = (before.to_bits(), known);
            self.order.remove(&entry);
            if let Some(counted) = self.held.get_mut(name) {
                counted.count += by;
                counted.along.add(along);
                self.order.insert((counted.count.to_bits(), entry.1));
            }
            return;
        }
        let above = if self.held.len() < self.capacity {
            0.0
        } else {
            let Some((count, least)) = self.order.pop_first() else { return };
            self.held.remove(&least);
            f64::from_bits(count)
        };
        let (name, count) = (Arc::<str>::from(name), above + by);
        self.order.insert((count.to_bits(), Arc::clone(&name)));
        self.held.insert(name, Counted { count, above, along });
    }

    /// Time has passed: every count is so much of what it was (0 to 1). What is next to nothing is dropped.
    pub(super) fn fade(&mut self, to: f64) {
        self.held.retain(|_, counted| {
            counted.count *= to;
            counted.above *= to;
            counted.along.fade(to);
            counted.count >= FORGOTTEN
        });
        self.order = self.held.iter().map(|(name, one)| (one.count.to_bits(), Arc::clone(name))).collect();
    }

    /// The most frequent ones, most first.
    pub(super) fn most(&self, count: usize) -> impl Iterator<Item = (&Arc<str>, Counted)> {
        self.order.iter().rev().take(count).filter_map(|(_, name)| Some((name, *self.held.get(name)?)))
    }
}

impl Along {
    pub(super) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.from_cache += other.from_cache;
        self.errors += other.errors;
        self.bytes += other.bytes;
    }

    pub(super) fn fade(&mut self, to: f64) {
        self.requests *= to;
        self.from_cache *= to;
        self.errors *= to;
        self.bytes *= to;
    }
}

/// A count below it is no news any more.
const FORGOTTEN: f64 = 0.01;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(sketch: &Sketch, count: usize) -> Vec<String> {
        sketch.most(count).map(|(name, _)| name.to_string()).collect()
    }

    fn once(requests: f64) -> Along {
        Along { requests, ..Along::default() }
    }

    #[test]
    fn the_frequent_are_found_among_very_many() {
        let mut sketch = Sketch::new(64);
        for at in 0..20_000u32 {
            sketch.add(&format!("/rare/{at}"), 1.0, once(1.0));
            if at % 10 == 0 {
                sketch.add("/often", 1.0, once(1.0));
            }
            if at % 20 == 0 {
                sketch.add("/less", 1.0, once(1.0));
            }
        }
        assert_eq!(names(&sketch, 2), ["/often", "/less"]);
        let (_, often) = sketch.most(1).next().expect("it is there");
        assert!(often.count >= 2_000.0 && often.count - often.above <= 2_000.0, "{often:?}");
    }

    #[test]
    fn what_was_frequent_fades() {
        let mut sketch = Sketch::new(8);
        sketch.add("/yesterday", 1_000.0, once(1_000.0));
        for _ in 0..20 {
            sketch.fade(0.5);
            sketch.add("/now", 1.0, once(1.0));
        }
        assert_eq!(names(&sketch, 8), ["/now"], "the other is forgotten");
        assert_eq!(sketch.order.len(), sketch.held.len());
    }

    proptest! {
        /// The promise of Space-Saving, whatever comes.
        #[test]
        fn no_count_is_too_low_and_none_is_too_high_by_more_than_it_says(
            names in proptest::collection::vec(0u8..40, 1..600), capacity in 1usize..20,
        ) {
            let mut sketch = Sketch::new(capacity);
            for name in &names {
                sketch.add(&name.to_string(), 1.0, once(1.0));
            }
            prop_assert!(sketch.held.len() <= capacity);
            prop_assert_eq!(sketch.order.len(), sketch.held.len());
            let truth = |name: &str| names.iter().filter(|one| one.to_string() == name).count();
            for (name, counted) in sketch.most(capacity) {
                #[allow(clippy::cast_precision_loss)] // some hundreds
                let truth = truth(name) as f64;
                prop_assert!(counted.count >= truth && counted.count - counted.above <= truth);
            }
            for name in 0u8..40 {
                let name = name.to_string();
                if truth(&name) > names.len() / capacity {
                    prop_assert!(sketch.held.contains_key(&*name), "{} is frequent", name);
                }
            }
        }
    }
}
