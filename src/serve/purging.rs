//! What the purge calls need of the node, over the store: orders become keys, receipts are remembered.
//!
//! Called by `admin/` and by `service.rs` for the PURGE method, both where waiting for the disk is allowed. Orders other than by
//! URL are refused here, whole; receipts and notes live as long as the process.
//!
//! Invariant: an order is applied under one number, or not at all.

use std::collections::{BTreeMap, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_store::key::CacheKey;
use parking_lot::Mutex;
use purge_api::{
    Applied, Entry, FleetReceipt, Matched, NOTE_BYTES_MAX, NOTES_MAX, NodeReceipt, Order, PurgeError, Purger,
    ResourceUrl, Selector,
};
use tokio::sync::watch;

use super::Edge;
use crate::config::limits::PURGES_REMEMBERED_MAX;
use crate::listener::request::Scheme;
use crate::observe::gauges;

/// Purges applied: counters, the last receipts, notes.
#[derive(Debug, Default)]
pub struct Purging {
    url_hard: AtomicU64,
    url_soft: AtomicU64,
    entries: Mutex<VecDeque<Entry>>,
    notes: Mutex<BTreeMap<Box<str>, Vec<u8>>>,
    last: watch::Sender<u64>,
}

impl Purging {
    /// Purges by scope and softness.
    pub(super) fn applied(&self) -> Vec<gauges::Applied> {
        [(false, &self.url_hard), (true, &self.url_soft)]
            .map(|(soft, count)| gauges::Applied { scope: "url", soft, count: count.load(Ordering::Relaxed) })
            .into()
    }

    fn remember(&self, entry: Entry) {
        let sequence = entry.sequence;
        let mut entries = self.entries.lock();
        if entries.len() >= PURGES_REMEMBERED_MAX {
            entries.pop_front();
        }
        // Two calls may take their numbers in one order and come here in the other.
        let at = entries.partition_point(|known| known.sequence < sequence);
        entries.insert(at, entry);
        drop(entries);
        self.last.send_if_modified(|last| {
            let newer = sequence > *last;
            *last = sequence.max(*last);
            newer
        });
    }
}

impl Edge {
    /// The keys of an order by URLs.
    fn keys_of_order(&self, order: &Order) -> Result<Vec<CacheKey>, PurgeError> {
        let mut keys = Vec::new();
        for selector in &order.selectors {
            let Selector::Url(url) = selector else {
                let why = format!("this version does not purge by {} yet", selector.scope().as_str());
                return Err(PurgeError::Unavailable(why));
            };
            keys.extend(self.keys_of(url)?);
        }
        Ok(keys)
    }

    /// The keys that a URL means: a page that is purged is purged whichever way it was asked for.
    fn keys_of(&self, url: &ResourceUrl) -> Result<Vec<CacheKey>, PurgeError> {
        let target = url.target();
        let mut keys = Vec::new();
        for scheme in [Scheme::Http, Scheme::Https] {
            keys.extend(self.routes.keys_of(
                self.store.keyer(),
                scheme,
                url.authority().as_bytes(),
                target.as_bytes(),
            ));
        }
        if keys.is_empty() {
            return Err(PurgeError::NoSite(url.host().to_owned()));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

impl Purger for Edge {
    fn purge(&self, order: &Order) -> Result<Applied, PurgeError> {
        let keys = self.keys_of_order(order)?;
        let done = self.store.purge_together(&keys, order.soft, self.clock.now());
        // Acknowledged is durable: waits for the disk, so callers are where waiting is allowed.
        self.store.settle().map_err(|error| PurgeError::Unavailable(error.to_string()))?;
        let counter = if order.soft { &self.purges.url_soft } else { &self.purges.url_hard };
        counter.fetch_add(order.selectors.len() as u64, Ordering::Relaxed);
        self.purges.remember(Entry {
            sequence: done.sequence,
            id: self.ids.draw().to_string(),
            order: order.clone(),
            at_millis: self.clock.wall().as_millis(),
        });
        Ok(Applied { sequence: done.sequence, matched: done.matched })
    }

    fn matched(&self, order: &Order) -> Result<Matched, PurgeError> {
        let keys = self.keys_of_order(order)?;
        let objects = keys.into_iter().map(|key| self.store.matched(key)).sum();
        Ok(Matched { objects, bytes: 0 })
    }

    fn purges(&self, since: u64, max: usize) -> Result<Vec<Entry>, PurgeError> {
        let entries = self.purges.entries.lock();
        Ok(entries.iter().filter(|entry| entry.sequence > since).take(max).cloned().collect())
    }

    fn sequence(&self) -> u64 {
        self.store.epoch()
    }

    fn passed(&self, since: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut last = self.purges.last.subscribe();
        Box::pin(async move {
            if self.sequence() <= since {
                // The sender lives in `self`, so it is not gone.
                let _ = last.wait_for(|last| *last > since).await;
            }
        })
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, PurgeError> {
        Ok(self.purges.notes.lock().get(name).cloned())
    }

    fn write_note(&self, name: &str, value: &[u8]) -> Result<(), PurgeError> {
        if value.len() > NOTE_BYTES_MAX {
            return Err(PurgeError::NoteTooLong(NOTE_BYTES_MAX));
        }
        let mut notes = self.purges.notes.lock();
        if !notes.contains_key(name) && notes.len() >= NOTES_MAX {
            return Err(PurgeError::TooManyNotes(NOTES_MAX));
        }
        notes.insert(name.into(), value.to_vec());
        Ok(())
    }

    fn fleet_applied<'a>(&'a self, sequence: u64) -> Pin<Box<dyn Future<Output = FleetReceipt> + Send + 'a>> {
        let node = NodeReceipt {
            node: self.config.node.to_string(),
            sequence: self.sequence().min(sequence),
            ms: 0,
        };
        Box::pin(async move { FleetReceipt { nodes: vec![node], late: Vec::new() } })
    }
}
