//! Parts of large bodies that are not here: asked for by whole chunks, by one for all, and never joined to another version
//! (RFC 9110 §14, RFC 9111 §3.3 and §3.4, FAULTS R7).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tidegate::config::{DiskAdmission, DiskCache};

use crate::large::{CHUNK, LENGTH, asked, bytes, is, large, on_disk};
use crate::stage::Stage;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::reply::reply;

#[tokio::test]
async fn a_range_of_a_cold_large_body_asks_for_its_chunks_only() {
    let directory = Directory::new();
    let mut stage = on_disk(&directory).start().await;
    let body = bytes(6 * CHUNK + 100, 4);
    stage.origin("a").on("/x", [large(&body).ranged()]);
    let one = stage.client().header("range", "bytes=2097152-2097152").get("/x").await;
    is(&one, 206, &body[2 * CHUNK..=2 * CHUNK]);
    one.has("content-range", &format!("bytes 2097152-2097152/{}", body.len()));
    assert_eq!(asked(&stage), ["bytes=2097152-3145727"]);
    // Again, and beside it: the chunk is there.
    let near = stage.client().header("range", "bytes=2097252-2097300").get("/x").await;
    is(&near, 206, &body[2 * CHUNK + 100..=2 * CHUNK + 148]);
    assert!(near.is_hit());
    // Across its edge: the next one alone is fetched, if the body is still the same.
    let across = stage.client().header("range", "bytes=3145720-3145730").get("/x").await;
    is(&across, 206, &body[3 * CHUNK - 8..3 * CHUNK + 3]);
    assert_eq!(asked(&stage)[1..], ["bytes=3145728-4194303"]);
    assert_eq!(stage.origin("a").seen_for("/x")[1].field("if-range").as_deref(), Some("\"1\""));
    // The end, whose length is known now; and all of it, for which only the holes are fetched.
    let tail = stage.client().header("range", "bytes=-10").get("/x").await;
    is(&tail, 206, &body[body.len() - 10..]);
    stage.until(|count| count.fills_under_way == 0).await;
    is(&stage.client().get("/x").await, 200, &body);
    assert_eq!(asked(&stage)[2..], ["bytes=6291456-6291555", "bytes=0-2097151", "bytes=4194304-6291455"]);
    stage.restart().await;
    let whole = stage.client().get("/x").await;
    is(&whole, 200, &body);
    assert!(whole.is_hit());
    stage.origin("a").saw(5, "/x");
}

/// Of a URL that nothing is known of, not even its length.
#[tokio::test]
async fn the_end_of_a_cold_large_body_is_all_that_is_fetched() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(6 * CHUNK + 100, 22);
    for (target, last) in [("/short", 10), ("/long", 2 * CHUNK + 7)] {
        stage.origin("a").on(target, [large(&body).ranged()]);
        let range = format!("bytes=-{last}");
        let tail = stage.client().header("range", &range).get(target).await;
        is(&tail, 206, &body[body.len() - last..]);
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        let ranges: Vec<_> =
            stage.origin("a").seen_for(target).iter().map(|seen| seen.field("range")).collect();
        assert_eq!(ranges, [Some(range)], "{target}");
    }
}

/// RFC 9110 §13.1.5: who has a part of the current version gets the rest of it, whoever has one of another gets all of it.
#[tokio::test]
async fn if_range_on_a_cold_large_body_fetches_what_it_needs() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(6 * CHUNK + 100, 23);
    for (target, tag, range, part) in [
        ("/current", "\"1\"", "bytes=5242880-5242889", Some(5 * CHUNK..5 * CHUNK + 10)),
        ("/rest", "\"1\"", "bytes=6291456-", Some(6 * CHUNK..6 * CHUNK + 100)),
        ("/other", "\"0\"", "bytes=5242880-5242889", None),
    ] {
        stage.origin("a").on(target, [large(&body).ranged()]);
        let asked = stage.client().header("if-range", tag).header("range", range).get(target).await;
        match &part {
            Some(part) => is(&asked, 206, &body[part.clone()]),
            None => is(&asked, 200, &body),
        }
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        stage.origin("a").saw(1, target);
        let from_origin = stage.origin("a").seen_for(target)[0].field("range");
        assert!(part.is_none() || from_origin.is_some(), "{target}: all of it was fetched");
    }
}

/// An origin that sends the part whatever `If-Range` says.
#[tokio::test]
async fn a_part_of_another_version_than_if_range_names_is_not_sent() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 25);
    let whole = body.clone();
    stage.origin("a").answers("/x", move |seen| match seen.field("range") {
        Some(_) => reply(206)
            .cache_control("max-age=600")
            .etag("\"1\"")
            .field("content-range", format!("bytes 1048576-2097151/{LENGTH}"))
            .body(&whole[CHUNK..2 * CHUNK]),
        None => large(&whole),
    });
    let asked = stage.client().header("if-range", "\"0\"").header("range", "bytes=1048576-1048585");
    is(&asked.get("/x").await, 200, &body);
    assert_eq!(self::asked(&stage), ["bytes=1048576-2097151", "all"]);
}

#[tokio::test]
async fn two_who_want_the_same_hole_share_one_request() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 5);
    let gate = Gate::shut();
    let held = gate.clone();
    let whole = body.clone();
    stage.origin("a").answers("/x", move |seen| match seen.field("range").as_deref() {
        Some("bytes=0-1048575") => large(&whole).ranged(),
        _ => large(&whole).ranged().head_after(&held),
    });
    is(&stage.client().header("range", "bytes=0-9").get("/x").await, 206, &body[..10]);
    let asked: Vec<_> = [(0, 2 * CHUNK), (CHUNK + 5, CHUNK + 9), (CHUNK, 2 * CHUNK)]
        .map(|(from, to)| {
            let range = format!("bytes={from}-{}", to - 1);
            (stage.client().header("range", &range).get("/x"), from..to)
        })
        .into();
    stage.until(|count| count.requests == 2).await;
    gate.open();
    for (answer, range) in asked {
        is(&answer.await, 206, &body[range]);
    }
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn two_cold_ranges_of_one_chunk_share_one_request() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 5);
    let gate = Gate::shut();
    stage.origin("a").on("/x", [large(&body).ranged().head_after(&gate)]);
    let one = stage.client().header("range", "bytes=10-19").get("/x");
    stage.until(|count| count.requests == 1).await;
    let two = stage.client().header("range", "bytes=30-39").get("/x");
    stage.until(|count| count.collapsed == 1).await;
    gate.open();
    is(&one.await, 206, &body[10..20]);
    is(&two.await, 206, &body[30..40]);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_part_of_another_version_never_joins_what_is_stored() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let (old, new) = (bytes(LENGTH, 6), bytes(LENGTH, 7));
    let newer = reply(200).cache_control("max-age=600").etag("\"2\"").body(new.clone()).ranged();
    stage.origin("a").on("/x", [large(&old).ranged(), newer]);
    is(&stage.client().header("range", "bytes=0-9").get("/x").await, 206, &old[..10]);
    stage.until(|count| count.fills_under_way == 0).await;
    // Its first byte is missing: the answer begins anew, with the new version.
    let answer = stage.client().header("range", "bytes=1048576-1048585").get("/x").await;
    is(&answer, 206, &new[CHUNK..CHUNK + 10]);
    let answer = stage.client().header("range", "bytes=0-9").get("/x").await;
    is(&answer, 206, &new[..10]);
}

#[tokio::test]
async fn an_answer_of_one_version_is_cut_when_the_origin_has_another() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let (old, new) = (bytes(LENGTH, 6), bytes(LENGTH, 7));
    let newer = reply(200).cache_control("max-age=600").etag("\"2\"").body(new.clone()).ranged();
    stage.origin("a").on("/x", [large(&old).ranged(), newer]);
    is(&stage.client().header("range", "bytes=0-9").get("/x").await, 206, &old[..10]);
    stage.until(|count| count.fills_under_way == 0).await;
    let answer = stage.client().get("/x").await;
    answer.expect_cut(200);
    assert!(old.starts_with(&answer.body) && answer.body.len() <= CHUNK, "{} bytes", answer.body.len());
    is(&stage.client().get("/x").await, 200, &new);
}

/// Who seeks in a body that is just being fetched does not wait until the fetch gets there.
#[tokio::test]
async fn a_range_far_ahead_of_a_fetch_has_its_own_place_fetched() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(10 * CHUNK, 21);
    let gate = Gate::shut();
    let (whole, held) = (body.clone(), gate.clone());
    stage.origin("a").answers("/x", move |seen| match seen.field("range") {
        Some(_) => large(&whole).ranged(),
        None => large(&whole).pause(CHUNK, &held),
    });
    let all = stage.client().get("/x");
    stage.until(|count| count.requests == 1 && count.arriving_bytes > 0).await;
    let near = stage.client().header("range", "bytes=5-9").get("/x").await;
    is(&near, 206, &body[5..10]);
    let far = stage.client().header("range", "bytes=8388608-8388617").get("/x").await;
    is(&far, 206, &body[8 * CHUNK..8 * CHUNK + 10]);
    assert_eq!(asked(&stage), ["all", "bytes=8388608-9437183"]);
    gate.open();
    is(&all.await, 200, &body);
    stage.until(|count| count.stored == 1).await;
    stage.origin("a").saw(2, "/x");
}

/// Without a strong validator nothing is put together: as if there were no chunks.
#[tokio::test]
async fn a_large_body_without_a_strong_validator_is_not_sliced() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 8);
    let weak = reply(200).cache_control("max-age=600").etag("W/\"1\"").body(body.clone());
    stage.origin("a").on("/x", [weak.ranged()]);
    for (from, to) in [(10, 20), (CHUNK - 5, CHUNK + 5), (10, 20)] {
        let range = format!("bytes={from}-{}", to - 1);
        is(&stage.client().header("range", &range).get("/x").await, 206, &body[from..to]);
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    }
    is(&stage.client().get("/x").await, 200, &body);
}

#[tokio::test]
async fn an_origin_that_does_not_know_ranges_is_fetched_whole() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 9);
    stage.origin("a").on("/x", [large(&body)]);
    is(
        &stage.client().header("range", "bytes=2097152-2097155").get("/x").await,
        206,
        &body[2 * CHUNK..][..4],
    );
    stage.until(|count| count.stored == 1).await;
    is(&stage.client().get("/x").await, 200, &body);
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn what_is_missing_is_not_fetched_for_who_wants_the_cache_alone() {
    let directory = Directory::new();
    let stage = on_disk(&directory).start().await;
    let body = bytes(LENGTH, 18);
    stage.origin("a").on("/x", [large(&body).ranged()]);
    is(&stage.client().header("range", "bytes=0-9").get("/x").await, 206, &body[..10]);
    let cached = stage.client().header("cache-control", "only-if-cached");
    is(&cached.clone().header("range", "bytes=5-7").get("/x").await, 206, &body[5..8]);
    cached.header("range", "bytes=1048576-1048577").get("/x").await.expect_status(504);
    stage.origin("a").saw(1, "/x");
}

/// More bodies than the disk has room for, versions that change at any moment, many ranges at once.
#[tokio::test]
async fn no_byte_of_any_range_is_ever_wrong() {
    const BODIES: u64 = 8;
    let directory = Directory::new();
    let disk =
        DiskCache { path: directory.path().to_owned(), bytes: 24 << 20, admission: DiskAdmission::default() };
    let build = Stage::build().config(move |config, _| {
        config.cache.memory_bytes = 1 << 20;
        config.cache.disk = Some(disk);
    });
    let mut stage = build.start().await;
    let versions: Arc<Vec<AtomicU64>> = Arc::new((0..BODIES).map(|_| AtomicU64::new(0)).collect());
    let body_of = |number: u64, version: u64| bytes(LENGTH, number * 1000 + version);
    for number in 0..BODIES {
        let versions = Arc::clone(&versions);
        stage.origin("a").answers(&format!("/{number}"), move |_| {
            let version = versions[index(number)].load(Ordering::SeqCst);
            let body = body_of(number, version);
            reply(200).cache_control("max-age=600").etag(&format!("\"{version}\"")).body(body).ranged()
        });
    }
    let (mut random, mut hits, mut cuts, mut evicted) = (Random(7), 0, 0, 0);
    for round in 0..16 {
        let mut asked = Vec::new();
        for _ in 0..12 {
            let number = random.below(BODIES);
            let from = random.below(LENGTH as u64);
            let range = match random.below(4) {
                0 => format!("bytes={from}-"),
                1 => format!("bytes=-{}", from + 1),
                2 => format!("bytes={from}-{}", from + random.below(2 << 20)),
                _ => String::new(),
            };
            let client = stage.client();
            let client = if range.is_empty() { client } else { client.header("range", &range) };
            asked.push((number, range.clone(), client.get(&format!("/{number}"))));
            if random.below(20) == 0 {
                versions[index(number)].fetch_add(1, Ordering::SeqCst);
            }
        }
        for (number, range, asked) in asked {
            let answer = asked.await;
            let what =
                format!("/{number} {range:?}: {} {:?}", answer.status, answer.head.field("content-range"));
            assert!(matches!(answer.status, 200 | 206), "{what}");
            let tag = answer.field("etag").expect("every version has a tag");
            let whole = body_of(number, tag.trim_matches('"').parse().expect("a number"));
            let from = answer.field("content-range").map_or(0, |told| {
                told["bytes ".len()..].split('-').next().and_then(|from| from.parse().ok()).expect("a number")
            });
            let length: usize = answer.field("content-length").expect("known").parse().expect("a number");
            assert!(whole[from..from + length].starts_with(&answer.body), "{what}: wrong bytes");
            assert_eq!(answer.was_cut(), answer.body.len() < length, "{what}");
            cuts += usize::from(answer.was_cut());
            hits += usize::from(answer.is_hit());
        }
        if round % 8 == 7 {
            let chunks = stage.edge().store.disk().and_then(|disk| disk.usage().chunks);
            evicted += chunks.expect("a disk has room for chunks").health.evicted;
            stage.restart().await;
        }
    }
    assert!(hits > 30 && cuts < 20 && evicted > 0, "{hits} hits, {cuts} cuts, {evicted} evicted");
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).expect("few")
}
