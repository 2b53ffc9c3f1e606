//! The way of one key from disk into memory, and past it.
//!
//! A fresh response that lies in the page cache is in memory already: while the memory tier is full, most hits on it are read
//! there and sent, and nothing is pushed out for them ([`Glance`]). One in [`GLANCES`] takes its place in the tier, so that
//! what is popular soon has one, and what is asked for once in a while does not cost another its own.
//!
//! Every other request whose key is on disk and not in memory gets a [`Promotion`] instead of a fill; others that want the same
//! wait for it. When it has ended, however it ended, everyone looks up again: what was promoted is then judged by the
//! same rules as everything in memory, and what could not be read is a miss.
//!
//! ```text
//! lookup ─┬─ FreshOnDisk(Hit)    the bytes lie in the page cache, and memory is full
//!         └─ OnDisk(Promotion) ─┬─ at_once: the bytes lie in the page cache, no thread is crossed
//!                               └─ run: a read on the blocking pool
//! ```
//!
//! Invariants: at most one read of a key is under way; what a purge passed while it was read does not become visible; a key
//! that was read and cannot be kept is forgotten on disk, so that nobody is sent round in circles.

use std::sync::Arc;

use super::disk::{Disk, Loaded};
use super::gate::Answered;
use super::objects::Slot;
use crate::coalesce::{Flight, Phase};
use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::lookup::{Found, Hit, judge};
use crate::purge::Resource;
use crate::rules::{Fields, Purged, RequestControl, RequestHead};
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
    /// The page cache was asked for it just now, and has not all of it.
    pub(crate) waits: bool,
}

/// What a look into the page cache found.
pub(crate) enum Glance {
    /// A response that may be sent.
    Hit(Hit),
    /// The disk would have to be waited for.
    Waits,
    /// Nothing that may be sent without a promotion, or this one is to be promoted.
    Nothing,
}

impl CacheStore {
    /// Looks for a fresh response in the page cache. Takes no lock of ours, so a purge or a newer response that comes meanwhile
    /// comes behind this request; one that was acknowledged before is seen, for the disk's index knows it.
    pub(crate) fn glance<F: Fields>(
        &self,
        resource: &Resource<'_>,
        key: CacheKey,
        request: &RequestHead<'_, F>,
        control: &RequestControl,
        now: Timestamp,
    ) -> Glance {
        let Some(disk) = self.disk().filter(|_| self.objects().is_full()) else { return Glance::Nothing };
        if now.as_millis().is_multiple_of(GLANCES) {
            return Glance::Nothing;
        }
        let epoch = self.epoch();
        // No place in the arena for what is sent once.
        let Some(loaded) = disk.try_load(key, resource.key, None) else { return Glance::Waits };
        let Loaded::Found(Slot::Response(stored), ..) = loaded else { return Glance::Nothing };
        // A large body has readers that share its fetches: there is one of it, in memory. Whatever was purged meanwhile, the
        // promotion finds out whether it was this.
        if stored.on_disk().is_some()
            || self.epoch() != epoch
            || stored.epoch() > epoch
            || is_from_ahead(&stored, now)
        {
            return Glance::Nothing;
        }
        let purged = self.purged(&stored, resource);
        match judge(stored, purged, request, control, now) {
            Found::Usable(hit @ Hit { stale: None, .. }) => {
                disk.asked(resource.key, &hit.stored, Answered::Beyond);
                Glance::Hit(hit)
            }
            Found::Usable(_) | Found::Unusable(..) | Found::Nothing(..) => Glance::Nothing,
        }
    }
}

impl Promotion {
    /// Promotes without waiting for a disk.
    ///
    /// # Errors
    /// The permit again, where that cannot be done.
    pub fn at_once(self) -> Result<(), Self> {
        if self.waits {
            return Err(self);
        }
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
        let Self { store, disk, flight, primary, key, now, waits: _ } = &self;
        let Loaded::Found(slot, version, softly) = loaded else { return };
        let _shard = store.flights().shard(*primary);
        let purged = store.purged_since(*primary, flight.epoch);
        // Overtaken while it was read: by a purge, also by one that had taken its epoch before this began and was applied after, or
        // by a newer record, which may have left memory again by now.
        let is_current = disk.is_current(*key, *primary, version, softly);
        if purged == Purged::Hard || !is_current || store.objects().find(*key).is_some() {
            return;
        }
        if let Slot::Response(stored) = &slot {
            stored.purge(purged);
            disk.asked(*primary, stored, Answered::Beyond);
            // Of a log that is no more: which purges it has missed is not known.
            if stored.epoch() > store.epoch() || is_from_ahead(stored, *now) {
                disk.forget(*key);
                return;
            }
        }
        if let (Slot::Variants(variants), Some(at)) = (&slot, softly) {
            // The list had left memory before them, so the purge did not find them.
            for variant in variants.iter() {
                if let Some(Slot::Response(stored)) = store.objects().find(variant.key) {
                    stored.purge(Purged::Soft(at));
                }
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
        self.flight.phase.tell(Phase::Abandoned);
    }
}

/// Whether the calendar went backwards over a restart: how old it is cannot be known then.
fn is_from_ahead(stored: &StoredResponse, now: Timestamp) -> bool {
    stored.freshness.received() > now.plus(AHEAD_MAX)
}

/// Of so many hits that the page cache answers one is promoted: those of one millisecond in so many, which costs no count that
/// all workers write to.
const GLANCES: u64 = 8;
/// How far in the future a stored response may have been received: what a clock is corrected by from day to day.
const AHEAD_MAX: std::time::Duration = std::time::Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::{HeaderMap, Method};
    use tokio::runtime::Handle;

    use super::*;
    use crate::coalesce::detached;
    use crate::lookup::{Lookup, Variant, Variants};
    use crate::purge::{Purge, Scope, new_id};
    use crate::rules::{Policy, RequestHead, Target, VarySpec};
    use crate::store::{MemoryAdmission, Settings};
    use crate::tiers::files::torn::Faults;
    use crate::tiers::files::{Files, Torn};
    use crate::tiers::stage::{NOW, here, page};

    fn look(store: &Arc<CacheStore>, key: CacheKey) -> Lookup {
        look_at(store, key, NOW)
    }

    fn look_at(store: &Arc<CacheStore>, key: CacheKey, now: Timestamp) -> Lookup {
        let target = Target { scheme: "http", authority: "a", path: "/" };
        let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
        store.lookup(here(key), &request, &Policy::default(), now)
    }

    /// A store whose memory is full of other things.
    fn full_over(files: &Arc<dyn Files>) -> Arc<CacheStore> {
        let disk = Disk::over(files, 64 << 20, Handle::current(), NOW).expect("an empty disk");
        let settings = Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 30,
            secret: disk.secret(),
        };
        let store = CacheStore::over(&settings, Some(disk));
        let others = (1..).map(|number: u128| CacheKey::from_bits(number << 96));
        for other in others.take_while(|_| !store.objects().is_full()) {
            assert!(store.objects().admit(other, page(vec![b'x'; 4096])), "none is too heavy");
        }
        store
    }

    #[tokio::test]
    async fn a_full_memory_lets_what_the_page_cache_has_pass_by_and_now_and_then_in() {
        let store = full_over(&(Arc::new(Torn::new(1)) as Arc<dyn Files>));
        let key = CacheKey::from_bits(7);
        store.disk().expect("it has one").write(&here(key), key, &page("body"));
        for millis in 1..GLANCES {
            let now = NOW.plus(Duration::from_millis(millis));
            let Lookup::FreshOnDisk(hit) = look_at(&store, key, now) else { panic!("it may be sent") };
            assert_eq!(hit.stored.body().collect::<Vec<_>>().concat(), b"body");
            assert!(store.objects().find(key).is_none(), "nothing went for it");
        }
        let Lookup::OnDisk(promotion) = look(&store, key) else { panic!("now it is its turn") };
        assert!(promotion.at_once().is_ok());
        assert!(matches!(look(&store, key), Lookup::Fresh(_)), "it is in memory");
    }

    #[tokio::test]
    async fn what_was_purged_or_went_stale_does_not_pass_by() {
        let store = full_over(&(Arc::new(Torn::new(1)) as Arc<dyn Files>));
        let disk = store.disk().expect("it has one");
        let (soft, hard, stale) = (CacheKey::from_bits(7), CacheKey::from_bits(8), CacheKey::from_bits(9));
        for key in [soft, hard, stale] {
            disk.write(&here(key), key, &page("body"));
        }
        let order =
            |scope, soft| Purge { id: new_id().expect("randomness"), at: NOW, soft, scopes: vec![scope] };
        let url = |key: CacheKey| Scope::Url { url: "http://a/".into(), keys: [key].into() };
        store.purge(order(url(soft), true)).expect("a disk that is well");
        store.purge(order(url(hard), false)).expect("a disk that is well");
        let now = NOW.plus(Duration::from_millis(1));
        assert!(matches!(look_at(&store, soft, now), Lookup::OnDisk(_)));
        assert!(matches!(look_at(&store, hard, now), Lookup::Miss(_)));
        let later = NOW.plus(Duration::from_millis(61_001));
        assert!(matches!(look_at(&store, stale, later), Lookup::OnDisk(_)), "judged with what is in memory");
        let Lookup::FreshOnDisk(_) = look_at(&store, stale, now) else { panic!("it may be sent") };
        store.purge(order(Scope::Host("a".into()), false)).expect("a disk that is well");
        let Lookup::OnDisk(promotion) = look_at(&store, stale, now) else { panic!("it is on disk") };
        assert!(promotion.at_once().is_ok(), "it lies in a buffer");
        assert!(matches!(look_at(&store, stale, now), Lookup::Miss(_)), "a host takes it, too");
    }

    #[tokio::test]
    async fn what_the_page_cache_has_not_is_asked_for_once() {
        let files = Arc::new(Torn::new(1));
        let store = full_over(&(Arc::clone(&files) as Arc<dyn Files>));
        let (key, disk) = (CacheKey::from_bits(7), store.disk().expect("it has one"));
        disk.write(&here(key), key, &page("body"));
        disk.settle().expect("a disk that is well");
        files.faults(Faults { cold: true, ..Faults::default() });
        let Lookup::OnDisk(promotion) = look_at(&store, key, NOW.plus(Duration::from_millis(1))) else {
            panic!("it is on disk")
        };
        assert!(promotion.waits);
        let promotion = promotion.at_once().expect_err("it waits");
        promotion.run().await;
        assert!(matches!(look(&store, key), Lookup::Fresh(_)));
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
            disk.write(&here(key), key, &page("old"));
            let Lookup::OnDisk(promotion) = look(&store, key) else { panic!("it is on disk") };
            let loaded = disk.load(key, key, None);
            if forgotten {
                disk.forget(key);
            } else {
                disk.write(&here(key), key, &page("new"));
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

    /// A soft purge that only a mark could tell of must not be lost with it, where the disk is too slow to take one.
    #[test]
    fn what_was_purged_softly_while_the_buffers_were_full_is_not_fresh() {
        let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).build();
        let runtime = runtime.expect("a runtime");
        let (release, held) = std::sync::mpsc::channel::<()>();
        // Nothing is flushed meanwhile.
        drop(runtime.spawn_blocking(move || held.recv()));
        let files: Arc<dyn Files> = Arc::new(Torn::new(1));
        let disk = Disk::over(&files, 64 << 20, runtime.handle().clone(), NOW).expect("an empty disk");
        let settings = Settings {
            memory_bytes: 1 << 24,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 30,
            secret: disk.secret(),
        };
        let store = CacheStore::over(&settings, Some(disk));
        let (key, disk) = (CacheKey::from_bits(7), store.disk().expect("it has one"));
        disk.write(&here(key), key, &page("body"));
        for bytes in [1 << 16, 1 << 8, 1] {
            let mut others = (1..).map(|number: u128| CacheKey::from_bits(number << 96 | bytes as u128));
            let refused = |other: &CacheKey| !disk.write(&here(*other), *other, &page(vec![b'x'; bytes]));
            assert!(others.any(|other| refused(&other)), "the buffers are taken");
        }
        let scopes = vec![Scope::Url { url: "http://a/".into(), keys: [key].into() }];
        let order = Purge { id: new_id().expect("randomness"), at: NOW, soft: true, scopes };
        store.purge(order).expect("the log has a file of its own");
        if let Lookup::OnDisk(promotion) = look(&store, key) {
            assert!(promotion.at_once().is_ok(), "it lies in a buffer");
        }
        let found = look(&store, key);
        assert!(!matches!(found, Lookup::Fresh(_)), "{found:?}");
        drop(release);
    }

    /// A purge has its epoch before it is on disk, and is applied after: a read may begin and end in between.
    #[tokio::test]
    async fn a_soft_purge_that_was_applied_while_it_was_read_is_not_missed_whatever_its_epoch() {
        let store = full_over(&(Arc::new(Torn::new(1)) as Arc<dyn Files>));
        let disk = Arc::clone(store.disk().expect("it has one"));
        let key = CacheKey::from_bits(7);
        disk.write(&here(key), key, &page("body"));
        let flight = detached(key, key, store.epoch() + 1);
        let promotion =
            Promotion { store: Arc::clone(&store), disk, flight, primary: key, key, now: NOW, waits: false };
        let loaded = promotion.disk.load(key, key, None);
        let scopes = vec![Scope::Url { url: "http://a/".into(), keys: [key].into() }];
        let order = Purge { id: new_id().expect("randomness"), at: NOW, soft: true, scopes };
        store.purge(order).expect("a disk that is well");
        promotion.end(loaded);
        assert!(store.objects().find(key).is_none(), "as it was read it may not be used");
        let Lookup::OnDisk(promotion) = look(&store, key) else { panic!("it is read again") };
        assert!(promotion.at_once().is_ok(), "it lies in a buffer");
        assert!(matches!(look(&store, key), Lookup::Stale(..) | Lookup::Miss(_)), "with its mark");
    }

    /// A list of variants may leave memory before they do.
    #[tokio::test]
    async fn a_soft_purge_takes_variants_whose_list_is_on_disk_only() {
        let files: Arc<dyn Files> = Arc::new(Torn::new(1));
        let disk = Disk::over(&files, 64 << 20, Handle::current(), NOW).expect("an empty disk");
        let settings = Settings {
            memory_bytes: 1 << 24,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 30,
            secret: disk.secret(),
        };
        let store = CacheStore::over(&settings, Some(disk));
        let (key, variant) = (CacheKey::from_bits(7), CacheKey::from_bits(8));
        let list = Variants::from_list(vec![Variant { key: variant, vary: VarySpec::default() }]);
        let disk = store.disk().expect("it has one");
        disk.write(&here(key), key, &Slot::Variants(Arc::new(list)));
        assert!(store.objects().admit(variant, page("body")));
        let scopes = vec![Scope::Url { url: "http://a/".into(), keys: [key].into() }];
        let order = Purge { id: new_id().expect("randomness"), at: NOW, soft: true, scopes };
        store.purge(order).expect("a disk that is well");
        for _ in 0..2 {
            if let Lookup::OnDisk(promotion) = look(&store, key) {
                assert!(promotion.at_once().is_ok(), "it lies in a buffer");
            }
        }
        let found = look(&store, key);
        assert!(!matches!(found, Lookup::Fresh(_)), "{found:?}");
    }
}
