//! Parts of a representation: cut from what is stored, put together where they fit, never spliced where they do not
//! (RFC 9110 §14, RFC 9111 §3.3, FAULTS C14).

use crate::stage::gate::Gate;
use crate::stage::reply::{Frame, Reply, reply};
use crate::stage::{Stage, secs};

const BODY: &str = "0123456789abcdefghijklmnopqrstuvwxyz";

#[tokio::test]
async fn a_range_of_what_is_stored_whole_is_cut_from_it() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page()]);
    stage.client().get("/x").await.expect(200, BODY);
    stage.until(|count| count.stored == 1).await;
    let claims = [
        ("bytes=0-0", 206, "0", "bytes 0-0/36"),
        ("bytes=0-4", 206, "01234", "bytes 0-4/36"),
        ("bytes=30-", 206, "uvwxyz", "bytes 30-35/36"),
        ("bytes=-3", 206, "xyz", "bytes 33-35/36"),
        ("bytes=-100", 206, BODY, "bytes 0-35/36"),
        ("bytes=30-999", 206, "uvwxyz", "bytes 30-35/36"),
        ("bytes=35-18446744073709551615", 206, "z", "bytes 35-35/36"),
        ("bytes=36-", 416, "", "bytes */36"),
        ("bytes=99-100", 416, "", "bytes */36"),
        ("bytes=-0", 416, "", "bytes */36"),
    ];
    for (range, status, body, told) in claims {
        let answer = stage.client().header("range", range).get("/x").await;
        assert_eq!((answer.status, answer.text().as_str()), (status, body), "{range}");
        assert_eq!(answer.field("content-range").as_deref(), Some(told), "{range}");
        assert!(answer.is_hit(), "{range}");
    }
    let nonsense = [
        "bytes=",
        "bytes=5-4",
        "bytes=a-b",
        "lines=1-2",
        "bytes 0-4",
        "bytes=0-4-8",
        "bytes=-",
        "0-4",
        "bytes=1-2,x",
        "bytes=35-99999999999999999999",
    ];
    for range in nonsense {
        let answer = stage.client().header("range", range).get("/x").await;
        assert_eq!((answer.status, answer.text().as_str()), (200, BODY), "{range}");
        answer.lacks("content-range");
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn several_ranges_come_as_parts_and_too_many_as_the_whole() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page().field("content-type", "text/plain")]);
    stage.client().get("/x").await.expect(200, BODY);
    stage.until(|count| count.stored == 1).await;
    let answer = stage.client().header("range", "bytes=0-1, 10-12, -2").get("/x").await;
    answer.expect_status(206);
    let kind = answer.field("content-type").expect("parts have a type");
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").expect("a boundary");
    let part = |range: &str, body: &str| {
        format!(
            "--{boundary}\r\ncontent-type: text/plain\r\ncontent-range: bytes {range}/36\r\n\r\n{body}\r\n"
        )
    };
    let whole =
        part("0-1", "01") + &part("10-12", "abc") + &part("34-35", "yz") + &format!("--{boundary}--\r\n");
    assert_eq!(answer.text(), whole);
}

/// FAULTS B12, C14: what overlaps or repeats itself is not multiplied.
#[tokio::test]
async fn ranges_that_overlap_bring_not_much_more_than_there_is() {
    const LENGTH: usize = 20_000;
    let stage = Stage::new().await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=600").etag("\"1\"").body(vec![b'x'; LENGTH])]);
    assert_eq!(stage.client().get("/x").await.expect_status(200).body.len(), LENGTH);
    stage.until(|count| count.stored == 1).await;
    let many = |part: fn(usize) -> String, count: usize| (0..count).map(part).collect::<Vec<_>>().join(",");
    let attacks = [
        ("a thousand from the beginning", many(|_| "0-".into(), 1000)),
        ("a thousand that shift", many(|at| format!("{at}-"), 1000)),
        ("sixteen from the beginning", many(|_| "0-".into(), 16)),
        ("four from the beginning", many(|_| "0-".into(), 4)),
        ("a thousand single bytes", many(|at| format!("{at}-{at}"), 1000)),
        ("suffixes", many(|_| "-19999".into(), 8)),
    ];
    for (attack, ranges) in attacks {
        let answer = stage.client().header("range", &format!("bytes={ranges}")).get("/x").await;
        assert!(matches!(answer.status, 200 | 206 | 431), "{attack}: {}", answer.status);
        assert!(
            answer.body.len() <= LENGTH + LENGTH / 10,
            "{attack}: {} bytes of {LENGTH}",
            answer.body.len()
        );
    }
}

#[tokio::test]
async fn a_range_on_a_miss_is_asked_as_a_range_stored_and_served_again() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page().ranged()]);
    let ranged = |range| stage.client().header("range", range).get("/x");
    let answer = ranged("bytes=10-19").await;
    answer.expect(206, "abcdefghij").has("content-range", "bytes 10-19/36");
    assert_eq!(stage.origin("a").seen_for("/x")[0].field("range").as_deref(), Some("bytes=10-19"));
    stage.until(|count| count.stored == 1).await;
    for (range, body, told) in
        [("bytes=10-19", "abcdefghij", "bytes 10-19/36"), ("bytes=12-13", "cd", "bytes 12-13/36")]
    {
        let answer = ranged(range).await;
        assert!(answer.expect(206, body).has("content-range", told).is_hit(), "{range}");
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_stored_part_is_never_sent_as_the_whole() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page().ranged()]);
    stage.client().header("range", "bytes=10-19").get("/x").await.expect(206, "abcdefghij");
    stage.until(|count| count.stored == 1).await;
    stage.client().get("/x").await.expect(200, BODY).has("content-length", "36").lacks("content-range");
    stage.client().head("/x").await.expect(200, "").has("content-length", "36");
    stage.client().header("range", "bytes=0-3").get("/x").await.expect(206, "0123");
}

#[tokio::test]
async fn parts_of_one_representation_grow_together() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page().ranged()]);
    let ranged = |range| stage.client().header("range", range).get("/x");
    ranged("bytes=0-9").await.expect(206, "0123456789");
    stage.until(|count| count.stored == 1).await;
    ranged("bytes=5-19").await.expect(206, "56789abcdefghij").has("content-range", "bytes 5-19/36");
    stage.until(|count| count.stored == 2).await;
    assert!(ranged("bytes=0-19").await.expect(206, "0123456789abcdefghij").is_hit());
    let asked = stage.origin("a").seen_for("/x");
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[1].field("if-range").as_deref(), Some("\"1\""));
    stage.client().get("/x").await.expect(200, BODY);
    stage.until(|count| count.stored == 3).await;
    assert!(stage.client().get("/x").await.expect(200, BODY).is_hit());
    assert!(ranged("bytes=34-35").await.expect(206, "yz").is_hit());
}

#[tokio::test]
async fn parts_of_two_representations_are_never_spliced() {
    let stage = Stage::new().await;
    let newer =
        reply(200).cache_control("max-age=600").etag("\"2\"").body(BODY.to_ascii_uppercase()).ranged();
    stage.origin("a").on("/x", [page().ranged(), newer]);
    let ranged = |range| stage.client().header("range", range).get("/x");
    ranged("bytes=10-19").await.expect(206, "abcdefghij");
    stage.until(|count| count.stored == 1).await;
    let answer = ranged("bytes=10-25").await;
    assert!(!answer.text().contains('a'), "{answer:?}");
    let whole = stage.client().get("/x").await;
    assert_eq!(whole.expect_status(200).text(), BODY.to_ascii_uppercase());
}

#[tokio::test]
async fn parts_without_a_strong_validator_are_not_put_together() {
    for weak in [reply(200).etag("W/\"1\""), reply(200)] {
        let stage = Stage::new().await;
        let old = weak.cache_control("max-age=600").ranged();
        let new = old.clone().body(BODY.to_ascii_uppercase());
        stage.origin("a").on("/x", [old.body(BODY), new]);
        stage.client().header("range", "bytes=10-19").get("/x").await.expect(206, "abcdefghij");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        // The content has changed under the same label, or under none.
        stage.client().header("range", "bytes=15-24").get("/x").await.expect(206, "FGHIJKLMNO");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        let both = stage.client().header("range", "bytes=10-24").get("/x").await;
        assert_eq!(both.text(), "ABCDEFGHIJKLMNO", "{both:?}");
    }
}

#[tokio::test]
async fn an_origin_that_ignores_ranges_is_fetched_whole_and_cut_here() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [page()]);
    stage.client().header("range", "bytes=10-12").get("/x").await.expect(206, "abc");
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, BODY).is_hit());
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_range_counts_only_for_the_version_that_if_range_names() {
    let stage = Stage::new().await;
    let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
    stage.origin("a").on("/x", [page().field("last-modified", modified)]);
    stage.client().get("/x").await.expect(200, BODY);
    stage.until(|count| count.stored == 1).await;
    let claims = [
        ("\"1\"", 206),
        ("\"2\"", 200),
        ("W/\"1\"", 200),
        (modified, 206),
        ("Sun, 01 Nov 2026 00:00:01 GMT", 200),
        ("nonsense", 200),
    ];
    for (if_range, status) in claims {
        let answer = stage.client().header("range", "bytes=0-4").header("if-range", if_range).get("/x").await;
        assert_eq!(answer.status, status, "{if_range}");
        assert_eq!(answer.text(), if status == 206 { "01234" } else { BODY }, "{if_range}");
    }
}

#[tokio::test]
async fn a_range_of_a_body_that_is_still_coming_is_cut_from_it() {
    let stage = Stage::new().await;
    let (head, body) = (Gate::shut(), Gate::shut());
    stage.origin("a").on("/x", [page().head_after(&head).pause(20, &body)]);
    let leader = stage.client().header("range", "bytes=2-4").get("/x");
    stage.until(|count| count.requests == 1).await;
    head.open();
    leader.await.expect(206, "234");
    body.open();
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, BODY).is_hit());
}

#[tokio::test]
async fn a_lie_about_a_part_is_not_stored() {
    let lies = [
        ("bytes 0-9/36", "01234"),
        ("bytes 0-4/36", "0123456789"),
        ("bytes 9-0/36", "0123456789"),
        ("bytes 0-9/5", "0123456789"),
        ("bytes 0-9", "0123456789"),
        ("lines 0-9/36", "0123456789"),
        ("bytes 0-18446744073709551615/18446744073709551615", "0123456789"),
        ("", "0123456789"),
    ];
    for (range, body) in lies {
        let stage = Stage::new().await;
        let lie =
            reply(206).cache_control("max-age=600").etag("\"1\"").field("content-range", range).body(body);
        stage.origin("a").on("/x", [lie, page().ranged()]);
        stage.client().header("range", "bytes=0-9").get("/x").await;
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
        assert_eq!(stage.count().stored, 0, "{range}");
        stage.client().header("range", "bytes=0-9").get("/x").await.expect(206, "0123456789");
        stage.client().get("/x").await.expect(200, BODY);
    }
}

#[tokio::test]
async fn a_part_that_nobody_asked_for_is_no_whole() {
    let stage = Stage::new().await;
    let part = reply(206)
        .cache_control("max-age=600")
        .etag("\"1\"")
        .field("content-range", "bytes 0-4/36")
        .body("01234");
    stage.origin("a").on("/x", [part, page()]);
    let answer = stage.client().get("/x").await;
    assert_ne!(answer.status, 200, "{answer:?}");
    stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    stage.client().get("/x").await.expect(200, BODY);
}

#[tokio::test]
async fn a_stale_part_is_not_served_and_a_new_one_takes_its_place() {
    let stage = Stage::new().await;
    let old = reply(200).cache_control("max-age=10").etag("\"1\"").body(BODY).ranged();
    let new = reply(200).cache_control("max-age=10").etag("\"2\"").body(BODY.to_ascii_uppercase()).ranged();
    stage.origin("a").on("/x", [old, new]);
    stage.client().header("range", "bytes=10-12").get("/x").await.expect(206, "abc");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(11));
    stage.client().header("range", "bytes=10-12").get("/x").await.expect(206, "ABC");
}

#[tokio::test]
async fn a_chunked_body_of_unknown_length_is_whole_only_at_its_end() {
    let stage = Stage::new().await;
    let body = Gate::shut();
    stage.origin("a").on("/x", [page().framed(Frame::Chunks(10)).pause(20, &body)]);
    let leader = stage.client().header("range", "bytes=-3").get("/x");
    stage.until(|count| count.requests == 1).await;
    body.open();
    let answer = leader.await;
    assert!(matches!((answer.status, answer.text().as_str()), (200, BODY) | (206, "xyz")), "{answer:?}");
    stage.until(|count| count.stored == 1).await;
    stage.client().header("range", "bytes=-3").get("/x").await.expect(206, "xyz");
}

fn page() -> Reply {
    reply(200).cache_control("max-age=600").etag("\"1\"").body(BODY)
}
