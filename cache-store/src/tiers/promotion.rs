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
        match self.disk.try_load(self.key, self.primary, self.store.objects().arena()) {
            Some(loaded) => {
                self.end(loaded);
                Ok(())
            }
            None => Err(self),
        }
    }

    /// Promotes on the blocking pool. What goes wrong is counted and told by the disk, and means a miss here.
    pub async fn run(self) {
        let (disk, key, primary) = (Arc::clone(&self.disk), self.key, self.primary);
        let arena = self.store.objects().arena().cloned();
        let reading = self.disk.pool().spawn_blocking(move || disk.load(key, primary, arena.as_ref()));
        // A read that panicked or was cut off by the end of the node.
        let loaded = reading.await.unwrap_or(Loaded::Missing);
        self.end(loaded);
    }

    /// Promotes and blocks.
    pub(crate) fn wait(self) {
        let arena = self.store.objects().arena();
        let loaded = self.disk.load(self.key, self.primary, arena);
        self.end(loaded);
    }

    fn end(self, loaded: Loaded) {
        let Self { store, disk, flight, primary, key, now } = &self;
        let Loaded::Found(slot, version) = loaded else { return };
        let _shard = store.flights().shard(*primary);
        let purged = store.purged_since(*primary, flight.epoch);
        // Overtaken while it was read: by a purge, or by a newer record, which may have left memory again by now.
        if purged == Purged::Hard || !disk.is_current(*key, version) || store.objects().find(*key).is_some() {
            return;
        }
        if let Slot::Response(stored) = &slot {
            stored.purge(purged);
            // Of a log that is no more: which purges it has missed is not known.
            if stored.epoch() > store.epoch() {
                disk.forget(*key);
                return;
            }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use http::{HeaderMap, Method, StatusCode};
    use tokio::runtime::Handle;

    use super::*;
    use crate::entry::{Parts, StoredResponse};
    use crate::lookup::Lookup;
    use crate::purge::Resource;
    use crate::rules::freshness::Windows;
    use crate::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
    use crate::store::{MemoryAdmission, Settings};
    use crate::tiers::files::{Files, Torn};

    const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

    fn page(body: &'static str) -> Slot {
        Slot::Response(Arc::new(StoredResponse::new(Parts {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            body: vec![Bytes::from_static(body.as_bytes())],
            freshness: Freshness::new(NOW, Duration::ZERO, 60, Windows::default(), Freshness::EXPLICIT),
            vary: VarySpec::default(),
            tags: Box::default(),
            held: None,
            large: None,
            epoch: 0,
        })))
    }

    fn look(store: &Arc<CacheStore>, key: CacheKey) -> Lookup {
        let target = Target { scheme: "http", authority: "a", path: "/" };
        let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
        let resource = Resource { key, authority: b"a", target: b"/" };
        store.lookup(resource, &request, &Policy::default(), NOW)
    }

    #[tokio::test]
    async fn what_was_overtaken_while_it_was_read_is_not_promoted() {
        for forgotten in [false, true] {
            let files: Arc<dyn Files> = Arc::new(Torn::new(1));
            let disk = Disk::over(&files, 64 << 20, Handle::current(), NOW).expect("an empty disk");
            let settings = Settings {
                memory_bytes: 1 << 24,
                memory_admission: MemoryAdmission::default(),
                object_bytes_max: 1 << 30,
                secret: disk.secret(),
            };
            let store = CacheStore::over(&settings, Some(disk));
            let disk = store.disk().expect("it has one");
            let key = CacheKey::from_bits(7);
            disk.write(key, &page("old"));
            let Lookup::OnDisk(promotion) = look(&store, key) else { panic!("it is on disk") };
            let loaded = disk.load(key, key, None);
            if forgotten {
                disk.forget(key);
            } else {
                disk.write(key, &page("new"));
            }
            promotion.end(loaded);
            assert!(store.objects().find(key).is_none(), "the older one is not in memory");
            match look(&store, key) {
                Lookup::Miss(_) if forgotten => {}
                Lookup::OnDisk(promotion) if !forgotten => {
                    assert!(promotion.at_once().is_ok(), "it lies in a buffer");
                    let Lookup::Fresh(hit) = look(&store, key) else { panic!("it is in memory") };
                    assert_eq!(hit.stored.body().collect::<Vec<_>>().concat(), b"new");
                }
                other => panic!("{forgotten}: {other:?}"),
            }
        }
    }
}
