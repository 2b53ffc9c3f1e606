//! The race of purge and fill, its order chosen by a scheduler.
//!
//! Two clients ask for a page, fetch what is missing, join each other's fetches, refresh what is stale and bring what lies on disk
//! into memory, while purges of the page come. All of it is the store's own code (`tests/model-store` says how); at each lock and
//! each atomic of it the scheduler may let another go on. Two ways to choose: at random, and by priorities that change at few
//! points (PCT), which finds what needs `d` changes with a probability that is known.
//!
//! A response carries the number that the origin had when it was asked. Who purges raises that number first, as an editor
//! saves a page and then purges it. Claims, for whoever begins after a purge has returned:
//! - what comes fresh, or from a fetch that is joined, is not older than the purge, whatever its scope, soft or hard;
//! - what comes stale is not older than a hard purge;
//! - the same once everyone has gone, and once more after a restart where there is a disk.
//!
//! Deliberately absent: weaker orders than one after another. The checker knows no others, so whether an `Acquire` would do as
//! `Relaxed` is not asked here.
//!
//! `TIDEGATE_MODEL_ROUNDS` sets how many orders each case is tried in (60 without it, which takes seconds), and a failure
//! prints the order that it found, to be given to `shuttle::replay`.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::{Fill, FillHead, Followed};
use cache_store::key::CacheKey;
use cache_store::lookup::{Hit, Lookup};
use cache_store::purge::{Purge, Resource, Scope};
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestControl, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::tiers::files::{Files, Torn};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use shuttle::future::block_on;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner, thread};
use tokio::runtime::{Handle, Runtime};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
/// When what was stored now is stale, and may be served so while it is refreshed.
const LATER: Timestamp = Timestamp::from_secs(1_700_000_100);
const AUTHORITY: &str = "a";
const PATH: &str = "/news/1";
const TAG: &str = "t";

/// What a case is about.
#[derive(Clone, Copy, Debug)]
struct Case {
    /// Each purger's, one after another.
    purges: &'static [&'static [What]],
    soft: bool,
    /// What is stored when it begins.
    begins: Begins,
    /// By client, whether it comes when what was stored at first is stale.
    clients: &'static [bool],
    /// Of each client.
    visits: usize,
    varies: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Url,
    Prefix,
    Host,
    Tag,
    Everything,
    /// Another page: takes nothing here.
    Elsewhere,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Begins {
    Empty,
    InMemory,
    OnDisk,
}

/// One node and the origin behind it.
struct World {
    store: Arc<CacheStore>,
    case: Case,
    /// The number that the origin has now: the checker may let others go on when it is read.
    origin: shuttle::sync::atomic::AtomicU64,
    /// What those who come now may not be older than: fresh or joined, and in any case.
    fresh_least: AtomicU64,
    least: AtomicU64,
    ids: AtomicU64,
}

/// That the cases meet what they are about.
#[derive(Default)]
struct Seen {
    fresh: AtomicU64,
    stale: AtomicU64,
    joined: AtomicU64,
    confirmed: AtomicU64,
    promoted: AtomicU64,
}

impl World {
    fn over(case: Case, torn: Option<&Torn>) -> Arc<Self> {
        let disk = torn.map(|torn| {
            let files: Arc<dyn Files> = Arc::new(torn.clone());
            Disk::over(&files, 64 << 20, pool(), NOW).expect("a disk that is well")
        });
        let settings = Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::All,
            object_bytes_max: 1 << 20,
            secret: disk.as_ref().map_or([7; 32], Disk::secret),
        };
        Arc::new(Self {
            store: CacheStore::over(&settings, disk),
            case,
            origin: shuttle::sync::atomic::AtomicU64::new(1),
            fresh_least: AtomicU64::new(1),
            least: AtomicU64::new(1),
            ids: AtomicU64::new(1),
        })
    }

    /// The same after a restart.
    fn again(self: Arc<Self>, torn: &Torn) -> Arc<Self> {
        let world = Arc::into_inner(self).expect("nobody else is left");
        world.store.disk().expect("it has one").settle().expect("a disk that is well");
        drop(world.store);
        let again = Self::over(world.case, Some(torn));
        let mut again = Arc::into_inner(again).expect("nobody else has it yet");
        (again.origin, again.ids) = (world.origin, world.ids);
        (again.fresh_least, again.least) = (world.fresh_least, world.least);
        Arc::new(again)
    }

    fn key(&self) -> CacheKey {
        self.store.keyer().primary("http", AUTHORITY.as_bytes(), PATH.as_bytes(), None)
    }

    fn lookup(self: &Arc<Self>, now: Timestamp) -> Lookup {
        let resource = Resource { key: self.key(), authority: AUTHORITY.as_bytes(), target: PATH.as_bytes() };
        self.store.lookup(resource, &request(&HeaderMap::new()), &Policy::default(), now)
    }

    /// One client's request, up to its answer.
    fn visit(self: &Arc<Self>, now: Timestamp, seen: &Seen) {
        loop {
            let fresh_least = self.fresh_least.load(Ordering::Relaxed);
            let least = self.least.load(Ordering::Relaxed);
            let allowed = |hit: &Hit| {
                let version = version_of(&hit.stored.fields());
                let (least, counted) = match hit.stale {
                    None => (fresh_least, &seen.fresh),
                    Some(_) => (least, &seen.stale),
                };
                assert!(version >= least, "{version} after {least}, stale: {:?}, {:?}", hit.stale, self.case);
                counted.fetch_add(1, Ordering::Relaxed);
            };
            match self.lookup(now) {
                Lookup::Fresh(hit) | Lookup::FreshOnDisk(hit) => return allowed(&hit),
                Lookup::Stale(hit, refresh) => {
                    allowed(&hit);
                    return refresh.into_iter().for_each(|fill| self.fetch(fill, now, seen));
                }
                Lookup::Miss(fill) => return self.fetch(fill, now, seen),
                // Where another is at the log just now, a thread of the pool would wait for it.
                Lookup::OnDisk(promotion) => match promotion.at_once() {
                    Ok(()) => drop(seen.promoted.fetch_add(1, Ordering::Relaxed)),
                    Err(promotion) => {
                        drop(promotion);
                        thread::yield_now();
                    }
                },
                Lookup::Filling(mut follower) => {
                    let fields = HeaderMap::new();
                    let request = request(&fields);
                    let control = RequestControl::of(&fields, &Policy::default());
                    match block_on(follower.wait(&request, &control, || now)) {
                        Followed::Streaming(streaming) => {
                            let version = version_of(&streaming.head.fields);
                            assert!(
                                version >= fresh_least,
                                "joined {version} after {fresh_least}, {:?}",
                                self.case
                            );
                            seen.joined.fetch_add(1, Ordering::Relaxed);
                            return;
                        }
                        Followed::Stored(hit) => return allowed(&hit),
                        Followed::Again | Followed::Alone => {}
                        Followed::Failed(failure) => panic!("nothing fails here: {failure:?}"),
                    }
                }
                Lookup::OnlyIfCached => panic!("nobody asks so"),
            }
        }
    }

    /// The leader's way: the origin is asked, and its answer stored.
    fn fetch(&self, fill: Fill, now: Timestamp, seen: &Seen) {
        let version = self.origin.load(Ordering::SeqCst);
        let windows = Windows { while_revalidate_secs: 600, if_error_secs: 600 };
        let freshness = Freshness::new(now, Duration::ZERO, 60, windows, Freshness::EXPLICIT);
        let mut fields = HeaderMap::new();
        fields.insert(header::ETAG, HeaderValue::from_str(&format!("\"{version}\"")).expect("a tag"));
        let confirmed = fill.candidates.iter().find(|stored| version_of(&stored.fields()) == version);
        if let Some(stored) = confirmed.map(Arc::clone) {
            // As a 304 is taken in.
            let mut parts = stored.to_parts();
            (parts.freshness, parts.epoch) = (freshness, fill.epoch());
            fill.settle(parts, &stored);
            seen.confirmed.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let vary = if self.case.varies {
            VarySpec::from_entries([(header::ACCEPT, None)], None)
        } else {
            VarySpec::default()
        };
        let head = FillHead { status: StatusCode::OK, fields, lines: Bytes::new(), freshness, vary };
        let mut writing = fill.stream(head, Some(4), [TAG.into()].into(), None, 1 << 10);
        writing.write(&Bytes::from_static(b"body"));
        writing.complete();
        writing.finish();
    }

    /// An editor saves the page and purges it.
    fn publish(&self, what: &[What]) {
        let elsewhere = what == [What::Elsewhere];
        let version = if elsewhere { 0 } else { self.origin.fetch_add(1, Ordering::SeqCst) + 1 };
        let scopes = what.iter().map(|what| self.scope(*what)).collect();
        let id = u128::from(self.ids.fetch_add(1, Ordering::Relaxed));
        self.store.purge(Purge { id, at: NOW, soft: self.case.soft, scopes }).expect("a disk that is well");
        self.fresh_least.fetch_max(version, Ordering::Relaxed);
        if !self.case.soft {
            self.least.fetch_max(version, Ordering::Relaxed);
        }
    }

    fn scope(&self, what: What) -> Scope {
        match what {
            What::Url => Scope::Url { url: "http://a/news/1".into(), keys: [self.key()].into() },
            What::Prefix => Scope::Prefix { authority: AUTHORITY.into(), path: "/news/".into() },
            What::Host => Scope::Host(AUTHORITY.into()),
            What::Tag => Scope::Tag(TAG.into()),
            What::Everything => Scope::Everything,
            What::Elsewhere => Scope::Tag("another".into()),
        }
    }
}

/// One order of everything.
fn race(case: Case, seen: &Arc<Seen>) {
    let torn = Torn::new(1);
    let on_disk = case.begins == Begins::OnDisk;
    let mut world = World::over(case, on_disk.then_some(&torn));
    if case.begins != Begins::Empty {
        world.visit(NOW, &Seen::default());
    }
    if on_disk {
        world = world.again(&torn);
    }
    let mut threads = Vec::new();
    for late in case.clients {
        let (world, seen) = (Arc::clone(&world), Arc::clone(seen));
        threads.push(thread::spawn(move || {
            for _ in 0..case.visits {
                world.visit(if *late { LATER } else { NOW }, &seen);
            }
        }));
    }
    for purges in case.purges {
        let world = Arc::clone(&world);
        threads.push(thread::spawn(move || world.publish(purges)));
    }
    for thread in threads {
        thread.join().expect("it kept its claims");
    }
    world.visit(NOW, seen);
    if on_disk {
        world.again(&torn).visit(NOW, seen);
    }
}

fn version_of(fields: &HeaderMap) -> u64 {
    let tag = fields.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    tag.and_then(|tag| tag.trim_matches('"').parse().ok()).expect("the origin's number")
}

fn request(fields: &HeaderMap) -> RequestHead<'_, HeaderMap> {
    let target = Target { scheme: "http", authority: AUTHORITY, path: PATH };
    RequestHead { method: &Method::GET, target, fields }
}

/// Nobody flushes here, so nothing is ever run on it.
fn pool() -> Handle {
    static POOL: LazyLock<Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    POOL.handle().clone()
}

fn rounds() -> usize {
    let asked = std::env::var("TIDEGATE_MODEL_ROUNDS").ok();
    asked.map_or(60, |asked| asked.parse().expect("TIDEGATE_MODEL_ROUNDS is a number"))
}

fn run(scheduler: impl Scheduler + 'static, case: Case, seen: &Arc<Seen>) {
    let mut config = Config::new();
    // Hashing and the log's database take more than the 32 KiB that are usual here.
    config.stack_size = 1 << 20;
    config.silence_warnings = true;
    let seen = Arc::clone(seen);
    Runner::new(scheduler, config).run(move || race(case, &seen));
}

/// Every way in which a page is purged, from this beginning; returns what was met.
fn all(begins: Begins) -> Seen {
    let seen = Arc::new(Seen::default());
    let mut seeds = 1..;
    // A start costs as much as everything that follows it.
    let rounds = if begins == Begins::OnDisk { rounds() / 3 } else { rounds() };
    let mut tried = |case: Case, rounds: usize, depth: usize| {
        // What fails is found again: the seed is the case's.
        let seed = seeds.next().expect("there are more");
        run(RandomScheduler::new_from_seed(seed, rounds), case, &seen);
        run(PctScheduler::new_from_seed(seed, depth, rounds), case, &seen);
    };
    for soft in [false, true] {
        for purges in ALONE {
            // The less goes on, the more of the orders that there are is tried.
            for clients in [&[false][..], &[true], &[false, false], &[true, true]] {
                let case = Case { purges, soft, begins, clients, visits: 1, varies: false };
                tried(case, rounds, 2);
            }
        }
        for purges in ALONE.into_iter().chain(TOGETHER) {
            for varies in [false, true] {
                let case = Case { purges, soft, begins, clients: &[false, true], visits: 2, varies };
                tried(case, rounds / 2, 3);
            }
        }
    }
    Arc::into_inner(seen).expect("all have ended")
}

fn met(count: &AtomicU64) -> bool {
    count.load(Ordering::Relaxed) > 0
}

#[test]
fn nothing_older_than_a_purge_comes_into_an_empty_store() {
    let seen = all(Begins::Empty);
    assert!(met(&seen.fresh) && met(&seen.joined), "they meet");
}

#[test]
fn nothing_older_than_a_purge_comes_from_memory() {
    let seen = all(Begins::InMemory);
    assert!(met(&seen.fresh) && met(&seen.stale) && met(&seen.joined) && met(&seen.confirmed), "they meet");
}

#[test]
fn nothing_older_than_a_purge_comes_from_disk() {
    let seen = all(Begins::OnDisk);
    assert!(met(&seen.fresh) && met(&seen.stale) && met(&seen.promoted), "they meet");
}

const ALONE: [&[&[What]]; 5] =
    [&[&[What::Url]], &[&[What::Prefix]], &[&[What::Host]], &[&[What::Tag]], &[&[What::Everything]]];
const TOGETHER: [&[&[What]]; 3] = [
    &[&[What::Url], &[What::Tag]],
    &[&[What::Host], &[What::Elsewhere]],
    &[&[What::Tag, What::Url], &[What::Elsewhere]],
];
