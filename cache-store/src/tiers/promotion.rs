//! The way of one key from disk into memory.
//!
//! A request whose key is on disk and not in memory gets a [`Promotion`] instead of a fill; others that want the same
//! wait for it. When it has ended, however it ended, everyone looks up again: what was promoted is then judged by the
//! same rules as everything in memory, and what could not be read is a miss.
//!
//! ```text
//! lookup ── OnDisk(Promotion) ─┬─ at_once: the bytes lie in the page cache, no thread is crossed
//!                              └─ run: a read on the blocking pool
//! ```
//!
//! Invariants: at most one read of a key is under way; what a purge passed while it was read does not become visible; a key
//! that was read and cannot be kept is forgotten on disk, so that nobody is sent round in circles.

use std::sync::Arc;

use super::disk::{Disk, Loaded};
use super::objects::Slot;
use crate::coalesce::{Flight, Phase};
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::store::CacheStore;
use crate::timestamp::Timestamp;

/// The permit to read one key from disk. Cancel by dropping.
#[derive(Debug)]
pub struct Promotion {
    pub(crate) store: Arc<CacheStore>,
    pub(crate) disk: Arc<Disk>,
    pub(crate) flight: Arc<Flight>,
    /// The resource.
    pub(crate) primary: CacheKey,
    /// What is read: the resource or one of its variants.
    pub(crate) key: CacheKey,
    pub(crate) now: Timestamp,
}

impl Promotion {
    /// Promotes without waiting for a disk.
    ///
    /// # Errors
    /// The permit again, where that cannot be done.
    pub fn at_once(self) -> Result<(), Self> {
        match self.disk.try_load(self.key, self.primary, self.flight.epoch, self.store.objects().arena()) {
            Some(loaded) => {
                self.end(loaded);
                Ok(())
            }
            None => Err(self),
        }
    }

    /// Promotes on the blocking pool. What goes wrong is counted and told by the disk, and means a miss here.
    pub async fn run(self) {
        let (disk, key, primary, epoch) = (Arc::clone(&self.disk), self.key, self.primary, self.flight.epoch);
        let arena = self.store.objects().arena().cloned();
        let reading = self.disk.pool().spawn_blocking(move || disk.load(key, primary, epoch, arena.as_ref()));
        // A read that panicked or was cut off by the end of the node.
        let loaded = reading.await.unwrap_or(Loaded::Missing);
        self.end(loaded);
    }

    /// Promotes and blocks.
    pub(crate) fn wait(self) {
        let arena = self.store.objects().arena();
        let loaded = self.disk.load(self.key, self.primary, self.flight.epoch, arena);
        self.end(loaded);
    }

    fn end(self, loaded: Loaded) {
        let Self { store, disk, flight, primary, key, now } = &self;
        let Loaded::Found(slot) = loaded else { return };
        let _shard = store.flights().shard(*primary);
        let purged = store.purged_since(*primary, flight.epoch);
        if purged == Purged::Hard || store.objects().find(*key).is_some() {
            return;
        }
        if let Slot::Response(stored) = &slot {
            stored.purge(purged);
            // The calendar went backwards over a restart: how old it is cannot be known.
            if stored.freshness.received() > now.plus(AHEAD_MAX) {
                disk.forget(*key);
                return;
            }
        }
        if !store.promote(*key, slot) {
            disk.forget(*key);
        }
    }
}

impl Drop for Promotion {
    fn drop(&mut self) {
        self.store.flights().shard(self.primary).end(&self.flight);
        self.flight.phase.send_replace(Phase::Abandoned);
    }
}

/// How far in the future a stored response may have been received: what a clock is corrected by from day to day.
const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(1);
