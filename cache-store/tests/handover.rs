//! A store goes from one process to the next while both serve: one writes, and what one is told to forget holds in both.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::FillHead;
use cache_store::handover::{Neighbour, Settled};
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::purge::{Purge, Resource, Scope, new_id};
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::tiers::files::{Files, Torn};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, Method, StatusCode};
use tokio::runtime::Handle;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn open(torn: &Torn) -> Option<Arc<CacheStore>> {
    let files: Arc<dyn Files> = Arc::new(torn.clone());
    let disk = Disk::over(&files, 64 << 20, Handle::current(), NOW).ok()?;
    let settings = Settings {
        memory_bytes: 1 << 24,
        memory_admission: MemoryAdmission::default(),
        object_bytes_max: 1 << 30,
        secret: disk.secret(),
    };
    Some(CacheStore::over(&settings, Some(disk)))
}

fn key(store: &CacheStore, path: &str) -> CacheKey {
    store.keyer().primary("http", b"a", path.as_bytes(), None)
}

fn look(store: &Arc<CacheStore>, path: &str) -> Lookup {
    let target = Target { scheme: "http", authority: "a", path };
    let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
    let resource = Resource { key: key(store, path), authority: b"a", target: path.as_bytes() };
    loop {
        match store.lookup(resource, &request, &Policy::default(), NOW) {
            Lookup::OnDisk(promotion) => drop(promotion.at_once()),
            found => return found,
        }
    }
}

/// The body, where it may be used.
fn text(store: &Arc<CacheStore>, path: &str) -> Option<String> {
    match look(store, path) {
        Lookup::Fresh(hit) | Lookup::FreshOnDisk(hit) => {
            Some(String::from_utf8(hit.stored.body().collect::<Vec<_>>().concat()).expect("text"))
        }
        _ => None,
    }
}

fn fill(store: &Arc<CacheStore>, path: &str, body: &str) {
    let Lookup::Miss(fill) = look(store, path) else { panic!("{path} is there already") };
    let head = FillHead {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        lines: Bytes::new(),
        freshness: Freshness::new(NOW, Duration::ZERO, 60, Windows::default(), Freshness::EXPLICIT),
        vary: VarySpec::default(),
    };
    let mut writing = fill.stream(head, None, Box::default(), None, 1 << 20);
    writing.write(&Bytes::copy_from_slice(body.as_bytes()));
    writing.finish();
}

fn purge_of(store: &CacheStore, path: &str) -> Purge {
    let scope = Scope::Url { url: format!("http://a{path}").into(), keys: [key(store, path)].into() };
    Purge { id: new_id().expect("randomness"), at: NOW, soft: false, scopes: vec![scope] }
}

#[tokio::test]
async fn the_next_one_has_everything_while_this_one_serves_on() {
    let torn = Torn::new(1);
    let old = open(&torn).expect("an empty disk");
    fill(&old, "/x", "x");
    fill(&old, "/y", "y");
    old.purge(purge_of(&old, "/y")).expect("a disk that is well");
    assert!(open(&torn).is_none(), "a directory has one owner");
    old.offer().expect("a disk that is well");
    let new = open(&torn).expect("it was left");
    old.settle(Settled::Given).expect("nothing to take back");
    assert_eq!((text(&old, "/x").as_deref(), text(&new, "/x").as_deref()), (Some("x"), Some("x")));
    assert_eq!((new.purge_log().sequence(), text(&new, "/y")), (1, None));
    // What it fetches stays with it.
    fill(&old, "/z", "z");
    assert_eq!((text(&old, "/z").as_deref(), text(&new, "/z")), (Some("z"), None));
    fill(&new, "/z", "newer");
    old.tend_purges(NOW).expect("nothing to do");
    old.disk().expect("it has one").close().expect("nothing to do");
    drop(old);
    new.disk().expect("it has one").close().expect("a disk that is well");
    drop(new);
    let third = open(&torn).expect("nobody has it");
    assert_eq!(text(&third, "/z").as_deref(), Some("newer"));
}

#[tokio::test]
async fn a_purge_that_is_ordered_meanwhile_waits_and_is_applied_or_refused() {
    for settled in [Settled::Kept, Settled::Given] {
        let torn = Torn::new(1);
        let old = open(&torn).expect("an empty disk");
        fill(&old, "/x", "x");
        old.offer().expect("a disk that is well");
        let ordering = {
            let old = Arc::clone(&old);
            std::thread::spawn(move || old.purge(purge_of(&old, "/x")))
        };
        let reading = {
            let old = Arc::clone(&old);
            std::thread::spawn(move || old.purge_log().since(0, 10).map(|logged| logged.len()))
        };
        assert!(text(&old, "/x").is_some() || ordering.is_finished(), "hits do not wait");
        old.settle(settled).expect("it is as it was left");
        let ordered = ordering.join().expect("no panic");
        let read = reading.join().expect("no panic");
        match settled {
            Settled::Kept => {
                assert_eq!(ordered.expect("it is applied").sequence, 1);
                assert!(read.is_ok());
                fill(&old, "/x", "newer");
                old.disk().expect("it has one").close().expect("a disk that is well");
                drop(old);
                let next = open(&torn).expect("nobody has it");
                assert_eq!((next.purge_log().sequence(), text(&next, "/x").as_deref()), (1, Some("newer")));
            }
            Settled::Given => {
                let refused = ordered.expect_err("it is not ours to write");
                assert!(refused.to_string().contains("order it again"), "{refused}");
                assert!(read.is_err());
                assert_eq!(text(&old, "/x"), None, "and applied all the same");
                assert_eq!(open(&torn).expect("it was left").purge_log().sequence(), 0);
            }
        }
    }
}

#[tokio::test]
async fn what_somebody_has_written_to_is_not_taken_back() {
    let torn = Torn::new(1);
    let old = open(&torn).expect("an empty disk");
    fill(&old, "/x", "x");
    fill(&old, "/y", "y");
    old.offer().expect("a disk that is well");
    let new = open(&torn).expect("it was left");
    old.settle(Settled::Kept).expect_err("somebody has it");
    fill(&new, "/z", "z");
    new.purge(purge_of(&new, "/x")).expect("a disk that is well");
    new.disk().expect("it has one").settle().expect("a disk that is well");
    drop(new);
    old.settle(Settled::Kept).expect_err("it was written to");
    assert_eq!((text(&old, "/x"), text(&old, "/y")), (None, None), "nobody knows what was purged");
    old.purge(purge_of(&old, "/y")).expect_err("it is not written");
    fill(&old, "/y", "newer");
    assert_eq!(text(&old, "/y").as_deref(), Some("newer"), "memory goes on");
    let next = open(&torn).expect("nobody has it");
    assert_eq!((text(&next, "/x"), text(&next, "/y").as_deref()), (None, Some("y")));
}

/// What it is told.
struct Other(Sender<Vec<CacheKey>>);

impl Neighbour for Other {
    fn purged(&self) {
        drop(self.0.send(Vec::new()));
    }

    fn changed(&self, keys: &[CacheKey]) {
        drop(self.0.send(keys.to_vec()));
    }
}

fn told(by: &CacheStore) -> Receiver<Vec<CacheKey>> {
    let (sender, told) = channel();
    by.beside(Some(Arc::new(Other(sender))));
    told
}

#[tokio::test]
async fn the_other_one_is_told_before_a_purge_is_acknowledged_and_of_what_requests_change() {
    let store = open(&Torn::new(1)).expect("an empty disk");
    let told = told(&store);
    store.purge(purge_of(&store, "/x")).expect("a disk that is well");
    assert_eq!(told.try_recv().as_deref(), Ok(&[][..]));
    let changed = [key(&store, "/x")];
    store.invalidate(&changed, NOW);
    assert_eq!(told.try_recv().as_deref(), Ok(&changed[..]));
    store.invalidate_here(&changed, NOW);
    store.beside(None);
    store.invalidate(&changed, NOW);
    assert!(told.try_recv().is_err());
}

#[tokio::test]
async fn what_was_fetched_before_the_other_one_purged_is_not_served_nor_joined() {
    let store = open(&Torn::new(1)).expect("an empty disk");
    fill(&store, "/x", "x");
    let Lookup::Miss(before) = look(&store, "/y") else { panic!("nothing is stored") };
    assert!(matches!(look(&store, "/y"), Lookup::Filling(_)));
    store.forget_everything_here();
    assert_eq!(text(&store, "/x"), None);
    assert!(matches!(look(&store, "/y"), Lookup::Miss(_)), "it began before");
    drop(before);
}
