//! What a full disk takes: the second request, however it comes, and never an older response in place of a newer one.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::FillHead;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::owing::Owed;
use cache_store::purge::Resource;
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::admit::DiskAdmission;
use cache_store::tiers::disk::{Disk, DiskUsage};
use cache_store::tiers::files::torn::Faults;
use cache_store::tiers::files::{Files, Torn};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, Method, StatusCode};
use tokio::runtime::Handle;

/// Where an answer came from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum From {
    Memory,
    Disk,
    Origin,
}

/// A store whose memory holds some fifty pages and whose disk some five hundred.
struct Stage {
    torn: Torn,
    files: Arc<dyn Files>,
    store: Arc<CacheStore>,
    now: Timestamp,
    others: u32,
}

impl Stage {
    fn new(admission: DiskAdmission) -> Self {
        let torn = Torn::new(1);
        let files: Arc<dyn Files> = Arc::new(torn.clone());
        let store = Self::open(&files, admission);
        Self { torn, files, store, now: NOW, others: 0 }
    }

    fn open(files: &Arc<dyn Files>, admission: DiskAdmission) -> Arc<CacheStore> {
        let disk =
            Disk::over(files, 8 << 20, Handle::current(), NOW).expect("nobody has it").admitting(admission);
        let settings = Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 30,
            // Not the disk's, which is another each time: one key in seventy is taken for a known one, and it must not be `a`.
            secret: [5; 32],
        };
        CacheStore::over(&settings, Some(disk))
    }

    /// Ends in order, and begins again with what lies on disk.
    fn start_again(&mut self) -> Owed {
        let owed = self.store.write_owed(self.now, || true).expect("the disk is well");
        self.store.disk().expect("it has one").close().expect("the disk is well");
        self.store = CacheStore::new(&Settings {
            memory_bytes: 0,
            memory_admission: MemoryAdmission::All,
            object_bytes_max: 0,
            secret: [0; 32],
        });
        self.store = Self::open(&self.files, DiskAdmission::SecondRequest);
        owed
    }

    fn full(admission: DiskAdmission) -> Self {
        let mut stage = Self::new(admission);
        stage.pass_by(1000);
        stage
    }

    fn key(&self, name: &str) -> CacheKey {
        self.store.keyer().primary("http", b"h", name.as_bytes(), None)
    }

    /// A request for a page that the origin answers with `text`.
    async fn ask(&self, name: &str, text: &str) -> From {
        let (key, asked) = (self.key(name), HeaderMap::new());
        let request = RequestHead {
            method: &Method::GET,
            target: Target { scheme: "http", authority: "h", path: "/" },
            fields: &asked,
        };
        let resource = Resource { key, authority: b"h", target: b"/" };
        let mut from = From::Memory;
        let fill = loop {
            match self.store.lookup(resource, &request, &Policy::default(), self.now) {
                Lookup::Fresh(hit) => {
                    let body = hit.stored.body().collect::<Vec<_>>().concat();
                    assert!(body.starts_with(text.as_bytes()), "{name} is {text}");
                    return from;
                }
                Lookup::OnDisk(promotion) => {
                    promotion.run().await;
                    from = From::Disk;
                }
                Lookup::Miss(fill) => break fill,
                other => panic!("{other:?}"),
            }
        };
        let head = FillHead {
            status: StatusCode::OK,
            fields: HeaderMap::new(),
            lines: Bytes::new(),
            freshness: Freshness::new(self.now, Duration::ZERO, 60, Windows::default(), Freshness::EXPLICIT),
            vary: VarySpec::default(),
        };
        let mut writing = fill.stream(head, None, Box::default(), None, 1 << 20);
        writing.write(&Bytes::from(format!("{text:0<16000}")));
        writing.room().await.expect("kept");
        writing.finish();
        From::Origin
    }

    /// Others are fetched once each: they push through memory, and past a full disk.
    fn pass_by(&mut self, count: u32) {
        for _ in 0..count {
            self.others += 1;
            let name = format!("other {}", self.others);
            let from = at_once(self.ask(&name, "other"));
            assert_eq!(from, From::Origin);
            self.store.disk().expect("it has one").settle().expect("the disk is well");
        }
    }

    fn written_bytes(&self) -> u64 {
        self.usage().written_bytes
    }

    fn usage(&self) -> DiskUsage {
        self.store.disk().expect("it has one").usage()
    }

    /// More is fetched than the buffers take, these last of all, while nothing can be written.
    async fn lag_behind(&mut self, last: &[&str]) {
        self.torn.faults(Faults { per_mille: 1000, ..Faults::default() });
        let others = (0..600).map(|number| format!("burst {number}"));
        for name in others.chain(last.iter().map(|name| (*name).to_owned())) {
            assert_eq!(self.ask(&name, "1").await, From::Origin);
        }
    }

    /// The disk is well again, and all that was late is written or given up.
    fn catch_up(&mut self) {
        let behind = self.usage();
        self.torn.faults(Faults::default());
        let is_done = || {
            let DiskUsage { objects, dropped, .. } = self.usage();
            objects - behind.objects + dropped - behind.dropped >= behind.late - behind.dropped
        };
        let caught_up = (0..ROUNDS_MAX).any(|_| {
            self.store.tend_disk();
            std::thread::yield_now();
            is_done()
        });
        assert!(caught_up, "{behind:?}, then {:?}", self.usage());
        self.store.disk().expect("it has one").settle().expect("the disk is well");
    }

    /// Ends at once, and begins again with what lies on disk.
    fn kill(&mut self) {
        self.torn.kill();
        self.files = Arc::new(self.torn.clone());
        self.store = Self::open(&self.files, DiskAdmission::SecondRequest);
    }
}

/// Nothing here waits but for a promotion.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

#[tokio::test]
async fn while_there_is_room_everything_is_written() {
    let mut stage = Stage::new(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "1").await, From::Disk);
}

#[tokio::test]
async fn what_is_seen_once_displaces_nothing_on_a_full_disk() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    let before = stage.written_bytes();
    stage.pass_by(300);
    let written = stage.written_bytes() - before;
    // One new key in seventy is taken for a known one.
    assert!(written < 20 * 17_000, "{written} bytes");
    let mut stage = Stage::full(DiskAdmission::All);
    let before = stage.written_bytes();
    stage.pass_by(300);
    assert!(stage.written_bytes() - before >= 300 * 16_000, "unless it is told to take everything");
}

#[tokio::test]
async fn what_is_fetched_again_is_written_to_a_full_disk() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "2").await, From::Origin, "seen once, it was not written");
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "2").await, From::Disk);
}

#[tokio::test]
async fn what_is_still_hit_in_memory_a_while_later_is_written_to_a_full_disk() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    // More bytes than memory takes, and often enough to stay there meanwhile.
    for _ in 0..16 {
        stage.pass_by(5);
        assert_eq!(stage.ask("a", "1").await, From::Memory);
    }
    // So many that it has left memory, however often it was asked for.
    stage.pass_by(2000);
    assert_eq!(stage.ask("a", "1").await, From::Disk);
}

#[tokio::test]
async fn what_is_hit_in_memory_at_once_and_never_again_displaces_nothing() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    for _ in 0..5 {
        assert_eq!(stage.ask("a", "1").await, From::Memory);
    }
    // So many that it has left memory, however often it was asked for.
    stage.pass_by(2000);
    assert_eq!(stage.ask("a", "2").await, From::Origin, "it was not written");
}

#[tokio::test]
async fn what_memory_alone_has_is_a_hit_after_a_restart_in_order() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    let names = ["a", "b", "c", "d", "e", "f"];
    for name in names {
        assert_eq!(stage.ask(name, "1").await, From::Origin);
        assert_eq!(stage.ask(name, "1").await, From::Memory);
    }
    stage.store.invalidate(&[stage.key("c")], NOW);
    let owed = stage.start_again();
    assert!(owed.written >= 5 && owed.left == 0, "{owed:?}");
    for name in names {
        let expected = if name == "c" { From::Origin } else { From::Disk };
        assert_eq!(stage.ask(name, if name == "c" { "2" } else { "1" }).await, expected, "{name}");
    }
}

#[tokio::test]
async fn what_the_log_has_let_go_of_while_memory_had_it_is_written_again() {
    let mut stage = Stage::full(DiskAdmission::All);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    // At other moments than those at which a hit spares the record.
    stage.now = stage.now.plus(Duration::from_millis(1));
    for _ in 0..200 {
        stage.now = stage.now.plus(Duration::from_millis(64));
        assert_eq!(stage.ask("a", "1").await, From::Memory);
        stage.pass_by(5);
    }
    let owed = stage.start_again();
    assert!(owed.written > 0 && owed.left == 0, "{owed:?}");
    assert_eq!(stage.ask("a", "1").await, From::Disk);
}

/// The buffers are full, and what comes is refused; memory keeps the last of it.
#[tokio::test]
async fn what_a_disk_that_lags_behind_refuses_is_written_once_it_has_caught_up() {
    let mut stage = Stage::new(DiskAdmission::SecondRequest);
    stage.lag_behind(&["a"]).await;
    let behind = stage.usage();
    assert!(behind.late > 100, "{behind:?}");
    stage.catch_up();
    // What memory had let go of by then is counted.
    let caught_up = stage.usage();
    assert!(caught_up.dropped > 100 && caught_up.dropped < caught_up.late - 30, "{caught_up:?}");
    stage.kill();
    assert_eq!(stage.ask("a", "1").await, From::Disk);
}

#[tokio::test]
async fn what_is_purged_while_the_disk_lags_behind_is_not_written_afterwards() {
    let mut stage = Stage::new(DiskAdmission::SecondRequest);
    stage.lag_behind(&["a", "b"]).await;
    stage.store.invalidate(&[stage.key("a")], NOW);
    stage.catch_up();
    stage.kill();
    assert_eq!(stage.ask("b", "1").await, From::Disk);
    assert_eq!(stage.ask("a", "2").await, From::Origin);
}

#[tokio::test]
async fn nothing_is_written_at_the_end_once_its_time_is_up() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    let before = stage.written_bytes();
    let owed = stage.store.write_owed(stage.now, || false).expect("the disk is well");
    assert!(owed.written == 0 && owed.left > 0, "{owed:?}");
    stage.pass_by(0);
    assert_eq!(stage.written_bytes(), before);
}

#[tokio::test]
async fn what_is_purged_before_its_second_request_is_not_written() {
    let mut stage = Stage::full(DiskAdmission::SecondRequest);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    stage.store.invalidate(&[stage.key("a")], NOW);
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "2").await, From::Origin);
}

#[tokio::test]
async fn a_full_disk_never_keeps_the_older_of_two() {
    let mut stage = Stage::new(DiskAdmission::SecondRequest);
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "1").await, From::Origin);
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "1").await, From::Disk);
    stage.now = stage.now.plus(Duration::from_mins(2));
    assert_eq!(stage.ask("a", "2").await, From::Origin, "it is stale");
    stage.pass_by(200);
    assert_eq!(stage.ask("a", "2").await, From::Disk);
}

/// Looks at what threads of the pool do: it takes them microseconds.
const ROUNDS_MAX: u32 = 1_000_000;
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
