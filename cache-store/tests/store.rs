//! The store's promises, against a simple model and in seeded orders.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_store::coalesce::{Failure, Fill, FillHead, Followed};
use cache_store::entry::Parts;
use cache_store::key::CacheKey;
use cache_store::lookup::{Lookup, Stale};
use cache_store::purge::{Purge, Resource, Scope, new_id};
use cache_store::rules::{Policy, RequestControl, RequestHead, ResponseHead, Target, storable};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode};

const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

fn store(memory_bytes: usize) -> Arc<CacheStore> {
    CacheStore::new(&Settings {
        memory_bytes,
        memory_admission: MemoryAdmission::default(),
        object_bytes_max: 1 << 30,
        secret: [3; 32],
    })
}

fn page(key: CacheKey) -> Resource<'static> {
    Resource { key, authority: b"a", target: b"/" }
}

fn request(fields: &HeaderMap) -> RequestHead<'_, HeaderMap> {
    let target = Target { scheme: "http", authority: "a", path: "/" };
    RequestHead { method: &Method::GET, target, fields }
}

fn fields(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut fields = HeaderMap::new();
    for (name, value) in lines {
        fields.append(*name, HeaderValue::from_str(value).expect("a value"));
    }
    fields
}

fn look(store: &Arc<CacheStore>, key: CacheKey, asked: &HeaderMap, now: Timestamp) -> Lookup {
    store.lookup(page(key), &request(asked), &Policy::default(), now)
}

fn head(lines: &[(&'static str, &str)], asked: &HeaderMap) -> FillHead {
    let fields = fields(lines);
    let response = ResponseHead { status: StatusCode::OK, fields: &fields };
    let judged = storable(&request(asked), &response, &Policy::default(), NOW, NOW, NOW).expect("storable");
    FillHead {
        status: StatusCode::OK,
        lines: Bytes::new(),
        freshness: judged.freshness,
        vary: judged.vary,
        fields,
    }
}

async fn fill_with(fill: Fill, asked: &HeaderMap, lines: &[(&'static str, &str)], body: &str) {
    let mut writing = fill.stream(head(lines, asked), None, Box::default(), None, 1 << 20);
    writing.write(&Bytes::copy_from_slice(body.as_bytes()));
    writing.room().await.expect("kept");
    writing.finish();
}

fn text(lookup: &Lookup) -> Option<String> {
    match lookup {
        Lookup::Fresh(hit) | Lookup::Stale(hit, _) => {
            Some(String::from_utf8(hit.stored.body().collect::<Vec<_>>().concat()).expect("text"))
        }
        _ => None,
    }
}

const FRESH: &[(&str, &str)] = &[("cache-control", "max-age=60")];

/// RFC 9110 §8.8.3.3: two encodings may share a weak tag, so a 304 to a client of one could name the other.
#[tokio::test]
async fn an_encoding_is_never_asked_about_for_a_client_of_another() {
    for (claim, vary, asked_about) in
        [("another encoding", "accept-encoding", 0), ("another language", "accept-language", 1)]
    {
        let store = store(1 << 24);
        let key = CacheKey::from_bits(1);
        let asked = fields(&[("accept-encoding", "gzip"), ("accept-language", "de")]);
        let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("the first fetches") };
        let lines = [("cache-control", "max-age=60"), ("vary", vary), ("etag", "W/\"1\"")];
        fill_with(fill, &asked, &lines, "body").await;
        let Lookup::Miss(fill) = look(&store, key, &HeaderMap::new(), NOW) else {
            panic!("{claim} is no hit")
        };
        assert_eq!((fill.candidates.len(), fill.why.fwd()), (asked_about, "vary-miss"), "{claim}");
    }
}

#[tokio::test]
async fn of_many_that_ask_one_fetches_and_the_others_wait() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("the first fetches") };
    let mut followers = Vec::new();
    for _ in 0..100 {
        let Lookup::Filling(follower) = look(&store, key, &asked, NOW) else { panic!("the others wait") };
        followers.push(follower);
    }
    fill_with(fill, &asked, FRESH, "body").await;
    for mut follower in followers {
        let control = RequestControl::default();
        let followed = follower.wait(&request(&asked), &control, || NOW).await;
        let Followed::Streaming(streaming) = followed else { panic!("they stream along: {followed:?}") };
        let mut reader = streaming.body.reader().expect("kept from its beginning");
        assert_eq!(reader.next().await, Some(Ok(Bytes::from_static(b"body"))));
        assert_eq!(reader.next().await, None);
    }
    assert_eq!(text(&look(&store, key, &asked, NOW)).as_deref(), Some("body"));
    assert_eq!(store.usage().fills, 1);
}

#[tokio::test]
async fn a_leader_that_vanishes_leaves_the_key_to_the_next() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    let Lookup::Filling(mut follower) = look(&store, key, &asked, NOW) else { panic!("a wait") };
    drop(fill);
    let followed = follower.wait(&request(&asked), &RequestControl::default(), || NOW).await;
    assert!(matches!(followed, Followed::Again), "{followed:?}");
    assert!(matches!(look(&store, key, &asked, NOW), Lookup::Miss(_)));
}

#[tokio::test]
async fn an_answer_that_is_not_shared_sends_the_waiters_off_in_parallel_and_the_next_do_not_wait() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    let Lookup::Filling(mut follower) = look(&store, key, &asked, NOW) else { panic!("a wait") };
    fill.uncacheable(NOW);
    let followed = follower.wait(&request(&asked), &RequestControl::default(), || NOW).await;
    assert!(matches!(followed, Followed::Alone), "{followed:?}");
    let first = look(&store, key, &asked, NOW);
    let second = look(&store, key, &asked, NOW);
    assert!(matches!((first, second), (Lookup::Miss(_), Lookup::Miss(_))), "nobody waits");
}

#[tokio::test]
async fn a_failure_is_told_to_all_who_waited() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    let Lookup::Filling(mut follower) = look(&store, key, &asked, NOW) else { panic!("a wait") };
    fill.fail(Failure { status: 502, reason: "reset" }, NOW);
    let followed = follower.wait(&request(&asked), &RequestControl::default(), || NOW).await;
    assert!(matches!(followed, Followed::Failed(Failure { status: 502, .. })), "{followed:?}");
}

#[tokio::test]
async fn a_variant_answers_its_own_requests_and_one_purge_takes_all() {
    let store = store(1 << 24);
    let key = CacheKey::from_bits(1);
    let varied = [("cache-control", "max-age=60"), ("vary", "x-device")];
    for device in ["phone", "desk"] {
        let asked = fields(&[("x-device", device)]);
        let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("{device} is missing") };
        fill_with(fill, &asked, &varied, device).await;
    }
    for device in ["phone", "desk"] {
        let asked = fields(&[("x-device", device)]);
        assert_eq!(text(&look(&store, key, &asked, NOW)).as_deref(), Some(device));
    }
    let applied = store
        .purge(Purge {
            id: new_id().expect("randomness"),
            at: NOW,
            soft: false,
            scopes: vec![Scope::Url { url: "http://a/".into(), keys: [key].into() }],
        })
        .expect("memory refuses nothing");
    assert_eq!(applied.matched, 2);
    for device in ["phone", "desk"] {
        let asked = fields(&[("x-device", device)]);
        assert!(matches!(look(&store, key, &asked, NOW), Lookup::Miss(_)), "{device} is gone");
    }
}

#[tokio::test]
async fn the_oldest_variant_goes_when_there_are_more_than_64() {
    let store = store(1 << 24);
    let key = CacheKey::from_bits(1);
    for nth in 0..100 {
        let asked = fields(&[("x-device", &format!("d{nth}"))]);
        let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("{nth} is missing") };
        fill_with(fill, &asked, &[("cache-control", "max-age=60"), ("vary", "x-device")], "x").await;
    }
    let held = |nth: i32| {
        let asked = fields(&[("x-device", &format!("d{nth}"))]);
        matches!(look(&store, key, &asked, NOW), Lookup::Fresh(_))
    };
    assert_eq!((0..100).filter(|nth| held(*nth)).count(), 64);
    assert!(held(99) && !held(0));
}

#[tokio::test]
async fn a_response_heavier_than_its_share_is_streamed_and_not_kept() {
    let store = store(1 << 20);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    let mut writing = fill.stream(head(FRESH, &asked), None, Box::default(), None, 1 << 16);
    let mut reader = writing.streaming().body.reader().expect("kept");
    let reading = tokio::spawn(async move {
        let mut sum = 0;
        while let Some(piece) = reader.next().await {
            sum += piece.expect("whole").len();
        }
        sum
    });
    for _ in 0..100 {
        writing.write(&Bytes::from(vec![7; 10_000]));
        writing.room().await.expect("a reader is there");
        assert!(writing.streaming().body.held_bytes() < (1 << 20), "a window is kept, not all");
    }
    assert!(writing.finish().is_none());
    assert_eq!(reading.await.expect("no panic"), 1_000_000);
    assert!(matches!(look(&store, key, &asked, NOW), Lookup::Miss(_)));
    assert_eq!(store.usage().arriving_bytes, 0);
}

#[tokio::test]
async fn while_the_origin_fails_something_stale_is_served_and_the_origin_left_alone_for_a_second() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    fill_with(fill, &asked, &[("cache-control", "max-age=1, stale-if-error=60")], "old").await;
    let later = NOW.plus(Duration::from_secs(5));
    let Lookup::Miss(fill) = look(&store, key, &asked, later) else { panic!("it must be confirmed") };
    fill.fail(Failure { status: 502, reason: "refused" }, later);
    let Lookup::Stale(hit, None) = look(&store, key, &asked, later) else { panic!("stale, and nobody asks") };
    assert_eq!(hit.stale, Some(Stale::Error));
    let after = later.plus(Duration::from_secs(1));
    assert!(matches!(look(&store, key, &asked, after), Lookup::Miss(_)), "asked again after a second");
}

#[tokio::test]
async fn a_confirmation_that_a_newer_response_overtook_does_not_put_the_older_body_back() {
    let store = store(1 << 24);
    let (key, asked) = (CacheKey::from_bits(1), HeaderMap::new());
    let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("a miss") };
    fill_with(fill, &asked, &[("cache-control", "max-age=1"), ("etag", "\"1\"")], "old").await;
    let later = NOW.plus(Duration::from_secs(5));
    let Lookup::Miss(confirming) = look(&store, key, &asked, later) else { panic!("it must be confirmed") };
    let base = confirming.stored.clone().expect("something is stored");
    let alone = store.fill_alone(page(key), &request(&asked), None, confirming.why);
    fill_with(alone, &asked, FRESH, "new").await;
    confirming.settle(base.to_parts(), &base);
    assert_eq!(text(&look(&store, key, &asked, NOW)).as_deref(), Some("new"));
}

/// What a HEAD says is about the head: its body is no younger for it.
#[tokio::test]
async fn a_head_does_not_undo_a_purge_that_came_while_it_was_answered() {
    for soft in [false, true] {
        let store = store(1 << 20);
        let (key, asked) = (CacheKey::from_bits(7), HeaderMap::new());
        let Lookup::Miss(fill) = look(&store, key, &asked, NOW) else { panic!("it is empty") };
        fill_with(fill, &asked, FRESH, "old").await;
        let Lookup::Fresh(hit) = look(&store, key, &asked, NOW) else { panic!("it is there") };
        let id = new_id().expect("randomness");
        let purge = Purge { id, at: NOW, soft, scopes: vec![Scope::Host("a".into())] };
        store.purge(purge).expect("memory refuses nothing");
        let news = fields(&[("cache-control", "max-age=90"), ("content-length", "3")]);
        let head = ResponseHead { status: StatusCode::OK, fields: &news };
        // It was found before the purge was applied, and asked about when that had its number.
        let parts = Parts { epoch: store.epoch(), ..hit.stored.to_parts() };
        store.head_answered(&page(key), &hit.stored, &head, || Some(parts), NOW);
        let found = look(&store, key, &asked, NOW);
        assert!(!matches!(found, Lookup::Fresh(_)), "soft: {soft}: {found:?}");
    }
}

/// A body that memory is too small for is never stored, and yet larger ones would answer with it.
#[tokio::test]
async fn what_is_too_long_for_memory_counts_for_larger_ones() {
    for (claim, is_told) in [("its length is known", true), ("it ends when it ends", false)] {
        // An entry may take a quarter: of twice the memory this one is less than that.
        let store = store(4 << 20);
        let (key, body) = (CacheKey::from_bits(1), Bytes::from(vec![b'x'; 3 << 19]));
        for _ in 0..10 {
            let Lookup::Miss(fill) = look(&store, key, &HeaderMap::new(), NOW) else {
                panic!("it is never kept")
            };
            let length = is_told.then_some(body.len() as u64);
            let mut writing =
                fill.stream(head(FRESH, &HeaderMap::new()), length, Box::default(), None, 1 << 30);
            writing.write(&body);
            writing.complete();
            assert!(writing.finish().is_none());
        }
        let advice = store.sizing().advice();
        let gains: Vec<_> =
            advice.iter().flat_map(|(_, advice)| advice).map(|one| one.gain.requests).collect();
        assert_eq!(gains, [0.0, 9.0, 9.0], "{claim}");
    }
}
