//! Large bodies without a network: what a fill holds in memory, and what becomes of its readers when the disk gives up.

use std::future::poll_fn;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cache_store::body::BodyCut;
use cache_store::coalesce::{Fill, FillHead, Writing};
use cache_store::key::CacheKey;
use cache_store::large::{LargeReader, Slice};
use cache_store::lookup::Lookup;
use cache_store::purge::Resource;
use cache_store::rules::{Policy, RequestHead, ResponseHead, Target, storable};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use tokio::runtime::Handle;

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
const CHUNK: usize = 1 << 20;
const WINDOW: u64 = 1 << 20;

/// However long the body is, and whoever reads it.
#[tokio::test]
async fn a_body_on_its_way_to_disk_holds_a_few_chunks_in_memory() {
    let place = Place::new();
    let store = place.store();
    let mut writing = begin(miss(&store), Some(24 * CHUNK as u64));
    let growing = Arc::clone(&writing.streaming().body);
    let large = writing.streaming().large.clone().expect("it is large");
    let slow = large.reader(0, Some(24 * CHUNK as u64));
    for nth in 0..24 * 16 {
        write(&mut writing, nth).await;
        assert!(growing.held_bytes() <= 3 * CHUNK as u64, "{} bytes after {nth}", growing.held_bytes());
    }
    writing.complete();
    writing.on_disk().await;
    let stored = writing.finish().expect("it is stored");
    assert_eq!(stored.body_len(), 24 * CHUNK as u64);
    assert!(stored.large().is_some_and(|large| large.is_whole()));
    assert_eq!(read(slow, |_| panic!("nothing is missing")).await, Ok(body(0..24 * 16)));
}

/// Two hundred who read along, each at a speed of its own, hold no more of it than one does.
#[tokio::test]
async fn a_body_that_many_read_holds_a_few_chunks_in_memory() {
    let place = Place::new();
    let store = place.store();
    let length = 6 * CHUNK as u64;
    let mut writing = begin(miss(&store), Some(length));
    let growing = Arc::clone(&writing.streaming().body);
    let large = writing.streaming().large.clone().expect("it is large");
    let whole = Arc::new(body(0..6 * 16));
    let readers: Vec<_> = (0..200)
        .map(|nth| {
            let (mut reader, whole) = (large.reader(0, Some(length)), Arc::clone(&whole));
            tokio::spawn(async move {
                let mut at = 0;
                while let Some(piece) =
                    poll_fn(|cx| reader.poll_next(cx, &mut |_| panic!("nothing is missing"))).await
                {
                    let piece = piece.expect("it is not cut");
                    assert!(whole[at..].starts_with(&piece), "wrong bytes at {at}");
                    at += piece.len();
                    for _ in 0..nth % 8 {
                        tokio::task::yield_now().await;
                    }
                }
                at
            })
        })
        .collect();
    for nth in 0..6 * 16 {
        write(&mut writing, nth).await;
        tokio::task::yield_now().await;
        assert!(growing.held_bytes() <= 3 * CHUNK as u64, "{} bytes after {nth}", growing.held_bytes());
    }
    writing.complete();
    writing.on_disk().await;
    writing.finish().expect("it is stored");
    for reader in readers {
        assert_eq!(reader.await.expect("no panic"), whole.len());
    }
}

/// FAULTS F4: the disk stops taking chunks. What it has is read there, what comes is read along, what fell between is fetched.
#[tokio::test]
async fn readers_outlive_a_disk_that_is_given_up() {
    let place = Place::new();
    let store = place.store();
    let length = 6 * CHUNK as u64;
    let mut writing = begin(miss(&store), Some(length));
    let large = writing.streaming().large.clone().expect("it is large");
    let fast = tokio::spawn(read(large.reader(0, Some(length)), drop::<Slice>));
    for nth in 0..3 * 16 {
        write(&mut writing, nth).await;
        tokio::task::yield_now().await;
    }
    // Somebody stays with it while the fast one is between disk and memory: what nobody reads is not fetched on.
    let growing = Arc::clone(&writing.streaming().body);
    let _stays = growing.reader_of(3 * CHUNK as u64, None).expect("it is just being written");
    writing.give_up_disk();
    assert!(!writing.keeps());
    for nth in 3 * 16..6 * 16 {
        write(&mut writing, nth).await;
    }
    writing.complete();
    let (along, all) = (fast.await.expect("no panic"), body(0..6 * 16));
    assert!(along == Ok(all), "{:?}", along.map(|along| along.len()));
    assert!(writing.finish().is_none(), "half of it is not stored");
    // A late one has the hole fetched; here that fails, and it is cut.
    let late = read(large.reader(0, Some(length)), drop::<Slice>).await;
    assert_eq!(late.map(|late| late.len()), Err(BodyCut::Truncated));
}

/// Without a place on disk there is none for a body that is too large for memory.
#[tokio::test]
async fn room_for_bodies_on_their_way_is_bounded() {
    let place = Place::new();
    let store = place.store();
    let mut under_way = Vec::new();
    for nth in 0..12 {
        let key = CacheKey::from_bits(nth);
        let Lookup::Miss(fill) = look(&store, key) else { panic!("nothing is stored") };
        under_way.push(begin(fill, Some(4 * CHUNK as u64)));
    }
    let kept = under_way.iter().filter(|writing| writing.keeps()).count();
    assert!((1..12).contains(&kept), "{kept} of 12");
    assert!(store.usage().arriving_bytes <= 32 << 20);
    drop(under_way);
    assert_eq!(store.usage().arriving_bytes, 0);
}

/// A body of unknown length that there is no room for is let go of from its beginning: the disk does not take up its middle.
#[tokio::test]
async fn what_was_let_go_of_from_its_beginning_does_not_go_to_disk() {
    let place = Place::new();
    let store = place.store();
    let others = 1..9;
    let mut others: Vec<_> = others
        .map(|nth| {
            let Lookup::Miss(fill) = look(&store, CacheKey::from_bits(100 + nth)) else {
                panic!("it is new")
            };
            begin(fill, Some(4 * CHUNK as u64))
        })
        .collect();
    assert!(others.iter().all(Writing::keeps));
    let mut writing = begin(miss(&store), None);
    let mut reader = writing.streaming().body.reader().expect("nothing is let go of yet");
    for nth in 0..40 {
        writing.write(&body(nth..nth + 1));
        assert!(!writing.keeps() && !writing.spills(), "at {nth}");
        let piece = poll_fn(|cx| reader.poll_next(cx)).await;
        assert!(piece == Some(Ok(body(nth..nth + 1))), "at {nth}");
        others.pop();
    }
    writing.complete();
    assert!(writing.finish().is_none());
}

/// Its tags weigh more than the rest of its head.
#[tokio::test]
async fn what_its_tags_make_too_heavy_for_memory_goes_to_disk() {
    let place = Place::new();
    let store = place.store();
    let tags = (0..512).map(|nth| format!("{nth:040}").into()).collect();
    let mut writing = begin_with(miss(&store), Some(240_000), tags);
    writing.write(&body(0..4).slice(..240_000));
    writing.room().await.expect("it is kept");
    writing.complete();
    writing.on_disk().await;
    writing.finish().expect("it is stored");
    assert!(matches!(look(&store, CacheKey::from_bits(7)), Lookup::Fresh(_)));
}

/// A directory of a test's own.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("tidegate-large-{}-{number}", std::process::id()));
        Self(path)
    }

    /// So little memory that no large body has room in it.
    fn store(&self) -> Arc<CacheStore> {
        let disk = Disk::open(&self.0, 256 << 20, Handle::current(), NOW).expect("an empty directory");
        let settings = Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 30,
            secret: disk.secret(),
        };
        CacheStore::over(&settings, Some(disk))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What is left behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn look(store: &Arc<CacheStore>, key: CacheKey) -> Lookup {
    let target = Target { scheme: "http", authority: "a", path: "/" };
    let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
    store.lookup(Resource { key, authority: b"a", target: b"/" }, &request, &Policy::default(), NOW)
}

fn miss(store: &Arc<CacheStore>) -> Fill {
    match look(store, CacheKey::from_bits(7)) {
        Lookup::Miss(fill) => fill,
        other => panic!("{other:?}"),
    }
}

fn begin(fill: Fill, length: Option<u64>) -> Writing {
    begin_with(fill, length, Box::default())
}

fn begin_with(fill: Fill, length: Option<u64>, tags: Box<[Box<str>]>) -> Writing {
    let mut fields = HeaderMap::new();
    fields.insert("cache-control", HeaderValue::from_static("max-age=60"));
    fields.insert("etag", HeaderValue::from_static("\"1\""));
    let target = Target { scheme: "http", authority: "a", path: "/" };
    let request = RequestHead { method: &Method::GET, target, fields: &HeaderMap::new() };
    let response = ResponseHead { status: StatusCode::OK, fields: &fields };
    let judged = storable(&request, &response, &Policy::default(), NOW, NOW, NOW).expect("storable");
    let head = FillHead {
        status: StatusCode::OK,
        lines: Bytes::new(),
        freshness: judged.freshness,
        vary: judged.vary,
        fields,
    };
    fill.stream(head, length, tags, None, WINDOW)
}

async fn write(writing: &mut Writing, nth: usize) {
    writing.write(&body(nth..nth + 1));
    writing.room().await.expect("it is kept, or read");
}

/// Pieces of 64 KiB, each filled with its number.
fn body(pieces: std::ops::Range<usize>) -> Bytes {
    pieces.flat_map(|nth| std::iter::repeat_n(nth.to_le_bytes(), CHUNK / 16 / 8)).flatten().collect()
}

async fn read(mut reader: LargeReader, mut fetch: impl FnMut(Slice)) -> Result<Bytes, BodyCut> {
    let mut all = Vec::new();
    while let Some(piece) = poll_fn(|cx| reader.poll_next(cx, &mut fetch)).await {
        all.extend_from_slice(&piece?);
    }
    Ok(all.into())
}
