//! Children that wait here for the next purge: how many may.
//!
//! A child without a broker holds one call open at each of its parents (`serve/nodes.rs`). One that is broken, or is not what it
//! says, may make many.
//!
//! Invariant: what is begun is counted until it is dropped.

use std::collections::HashMap;

use parking_lot::Mutex;

use crate::config::limits::{FLEET_POLLS, FLEET_POLLS_A_CHILD};

/// Calls that wait, by child.
#[derive(Debug, Default)]
pub(super) struct Polls(Mutex<HashMap<Box<str>, usize>>);

/// One of them; dropping it ends it.
#[derive(Debug)]
pub(crate) struct Waits<'a> {
    polls: &'a Polls,
    node: Box<str>,
}

impl Polls {
    pub(super) fn begin(&self, node: &str) -> Option<Waits<'_>> {
        let mut polls = self.0.lock();
        let all: usize = polls.values().sum();
        let own = polls.get(node).copied().unwrap_or_default();
        if own >= FLEET_POLLS_A_CHILD || all >= FLEET_POLLS {
            return None;
        }
        polls.insert(node.into(), own + 1);
        Some(Waits { polls: self, node: node.into() })
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        let mut polls = self.polls.0.lock();
        if let Some(own) = polls.get_mut(&self.node) {
            *own -= 1;
            if *own == 0 {
                polls.remove(&self.node);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_holds_a_few_and_all_together_a_number_and_nothing_stays() {
        let polls = Polls::default();
        let one: Vec<_> = (0..FLEET_POLLS_A_CHILD).map(|_| polls.begin("a").expect("it may")).collect();
        assert!(polls.begin("a").is_none());
        let names: Vec<_> = (0..FLEET_POLLS).map(|at| at.to_string()).collect();
        let others: Vec<_> = names.iter().filter_map(|name| polls.begin(name)).collect();
        assert_eq!(others.len(), FLEET_POLLS - FLEET_POLLS_A_CHILD);
        drop(one);
        assert!(polls.begin("a").is_some());
        drop(others);
        assert!(polls.0.lock().is_empty());
    }
}
