//! What purges cost the origins: fetches for what a purge took.
//!
//! A response that a broad purge took is found out about when somebody asks for it, and is fetched then: it is counted at that
//! moment (`epoch.rs`). What a purge by URL took is remembered by key until a fill for it begins. Each fetch counts for the purge
//! that took the response last, as long as that is among the last [`ORDERS_MAX`]; what nobody asks for again costs nothing.
//!
//! Bounded: beyond [`TAKEN_MAX`] keys that were purged and not asked for since, later ones are not remembered, so the figure is a
//! lower bound then. Not written down: a start begins at zero.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;

use crate::atomic::{AtomicU64, Ordering};
use crate::entry::Epoch;
use crate::key::CacheKey;

/// Fetches by the purge that caused them. Its locks are taken last of all.
#[derive(Debug, Default)]
pub(crate) struct Costs {
    /// In the order of their epochs.
    orders: Mutex<VecDeque<Order>>,
    /// What purges by URL took, and nobody has asked for since.
    taken: Mutex<HashMap<u128, Epoch>>,
    total: AtomicU64,
}

#[derive(Debug)]
struct Order {
    epoch: Epoch,
    sequence: u64,
    fetches: u64,
}

impl Costs {
    /// The record of this number took this epoch: what it costs is counted from now on.
    pub(crate) fn ordered(&self, epoch: Epoch, sequence: u64) {
        let mut orders = self.orders.lock();
        if orders.len() >= ORDERS_MAX {
            orders.pop_front();
        }
        orders.push_back(Order { epoch, sequence, fetches: 0 });
    }

    /// The purge by URL at `epoch` took what was stored under this key.
    pub(crate) fn took(&self, key: CacheKey, epoch: Epoch) {
        let mut taken = self.taken.lock();
        if taken.len() < TAKEN_MAX || taken.contains_key(&key.bits()) {
            taken.insert(key.bits(), epoch);
        }
    }

    /// A fill for the key begins.
    pub(crate) fn fetched(&self, key: CacheKey) {
        let epoch = {
            let mut taken = self.taken.lock();
            // Mostly: a hash of the key would be for nothing.
            if taken.is_empty() {
                return;
            }
            taken.remove(&key.bits())
        };
        if let Some(epoch) = epoch {
            self.caused(epoch);
        }
    }

    /// The purge at `epoch` caused a fetch.
    pub(crate) fn caused(&self, epoch: Epoch) {
        let mut orders = self.orders.lock();
        // None of an order that is forgotten, or was never one: a node that distrusts what it holds.
        if let Some(order) =
            orders.binary_search_by_key(&epoch, |order| order.epoch).ok().and_then(|at| orders.get_mut(at))
        {
            order.fetches += 1;
            self.total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Fetches that the record of this number has caused; `None` where that is no longer counted.
    pub(crate) fn of(&self, sequence: u64) -> Option<u64> {
        let orders = self.orders.lock();
        let at = orders.binary_search_by_key(&sequence, |order| order.sequence).ok()?;
        orders.get(at).map(|order| order.fetches)
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }
}

/// Purges whose cost is told apart, 24 bytes each.
const ORDERS_MAX: usize = 10_000;
/// Keys remembered until they are asked for, about 32 bytes each.
const TAKEN_MAX: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fetch_counts_for_the_purge_that_took_the_response_last_and_once() {
        let costs = Costs::default();
        let key = CacheKey::from_bits(7);
        for (epoch, sequence) in [(10, 1), (20, 2)] {
            costs.ordered(epoch, sequence);
            costs.took(key, epoch);
        }
        costs.fetched(key);
        costs.fetched(key);
        costs.caused(10);
        costs.caused(15);
        assert_eq!([1, 2, 3].map(|sequence| costs.of(sequence)), [Some(1), Some(1), None]);
        assert_eq!(costs.total(), 2, "and what nobody ordered is not counted");
    }

    #[test]
    fn the_oldest_are_forgotten_first() {
        let costs = Costs::default();
        for sequence in 0..=ORDERS_MAX as u64 {
            costs.ordered(sequence * 2, sequence);
            costs.took(CacheKey::from_bits(sequence.into()), sequence * 2);
        }
        costs.fetched(CacheKey::from_bits(0));
        costs.fetched(CacheKey::from_bits(1));
        assert_eq!([0, 1].map(|sequence| costs.of(sequence)), [None, Some(1)]);
        for key in 0..=2 * TAKEN_MAX as u128 {
            costs.took(CacheKey::from_bits(key), 2);
        }
        assert_eq!(costs.taken.lock().len(), TAKEN_MAX);
    }
}
