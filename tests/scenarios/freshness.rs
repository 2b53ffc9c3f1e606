//! Fresh is served from the store, stale is not, and both say how old they are (RFC 9111 §4.2, §5.1).

use crate::stage::reply::{Reply, reply};
use crate::stage::{Stage, secs};
use tidegate::config::Preset;

#[tokio::test]
async fn a_fresh_response_is_served_from_the_store_with_its_age() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("one")]);
    let first = stage.client().get("/x").await;
    first.expect(200, "one").cache_status("fwd=uri-miss; fwd-status=200; stored; ttl=60");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(19));
    stage.client().get("/x").await.expect(200, "one").cache_status("hit; ttl=41").has("age", "19");
    stage.origin("a").saw(1, "/x");
}

/// Invariant 1: to the second, by every way in which a lifetime can be told.
#[tokio::test]
async fn a_response_is_served_for_as_long_as_it_is_fresh_and_no_second_longer() {
    let claims: Vec<(&str, Reply, u64)> = vec![
        ("max-age", reply(200).cache_control("max-age=30"), 30),
        ("s-maxage beats max-age", reply(200).cache_control("max-age=300, s-maxage=20"), 20),
        (
            "max-age beats Expires",
            reply(200).cache_control("max-age=30").field("expires", "Mon, 02 Nov 2026 10:20:00 GMT"),
            30,
        ),
        ("Expires less Date", reply(200).field("expires", "Mon, 02 Nov 2026 09:20:40 GMT"), 40),
        ("an Age on arrival counts", reply(200).cache_control("max-age=30").field("age", "10"), 20),
        (
            "a Date in the past counts",
            reply(200).cache_control("max-age=30").field("date", "Mon, 02 Nov 2026 09:19:45 GMT"),
            15,
        ),
        (
            "a Date in the future does not lengthen",
            reply(200).cache_control("max-age=30").field("date", "Mon, 02 Nov 2026 10:00:00 GMT"),
            30,
        ),
        (
            "the targeted field beats Cache-Control",
            reply(200).cache_control("max-age=300").field("cdn-cache-control", "max-age=25"),
            25,
        ),
        (
            "a surrogate's control beats Cache-Control",
            reply(200).cache_control("max-age=300").field("surrogate-control", "max-age=35"),
            35,
        ),
        (
            "a tenth of the time since the last change",
            reply(200).field("last-modified", "Mon, 02 Nov 2026 09:10:00 GMT"),
            60,
        ),
        ("quotes around the number", reply(200).cache_control("max-age=\"30\""), 30),
        ("other directives around it", reply(200).cache_control("foo=bar, MAX-AGE=30, baz=\"a, b\""), 30),
    ];
    for (claim, answer, lifetime) in claims {
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [answer.body("old"), reply(200).body("new")]);
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(lifetime - 1));
        let last = stage.client().get("/x").await;
        assert!(
            last.is_hit() && last.text() == "old",
            "{claim}: not fresh a second before its end: {last:?}"
        );
        assert_eq!(last.field("cache-status").as_deref(), Some("stage; hit; ttl=1"), "{claim}");
        stage.clock.advance(secs(1));
        let over = stage.client().get("/x").await;
        assert_eq!(over.text(), "new", "{claim}: still served at its end");
    }
}

#[tokio::test]
async fn the_time_an_origin_took_counts_as_age() {
    let stage = Stage::new().await;
    let gate = crate::stage::gate::Gate::shut();
    // Its Date is the moment of sending, so only the time on the way shows.
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=30").dateless().body("x").head_after(&gate),
            reply(200).body("new"),
        ],
    );
    let client = stage.client().get("/x");
    stage.until(|count| count.requests == 1).await;
    stage.clock.advance(secs(10));
    gate.open();
    client.await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    stage.client().get("/x").await.expect(200, "x").cache_status("hit; ttl=20").has("age", "10");
}

#[tokio::test]
async fn an_age_grows_across_what_was_upstream() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=100").field("age", "40").body("x")]);
    stage.client().get("/x").await.expect(200, "x").has("age", "40");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(5));
    stage.client().get("/x").await.expect(200, "x").has("age", "45").cache_status("hit; ttl=55");
}

#[tokio::test]
async fn nobody_talks_past_a_fresh_response_in_the_safe_defaults() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(10));
    for (name, value) in [
        ("cache-control", "no-cache"),
        ("cache-control", "max-age=0"),
        ("cache-control", "max-age=5"),
        ("cache-control", "min-fresh=600"),
        ("pragma", "no-cache"),
    ] {
        let answer = stage.client().header(name, value).get("/x").await;
        assert!(answer.expect(200, "x").is_hit(), "{name}: {value}");
    }
    stage.origin("a").saw(1, "/x");
}

/// RFC 9111 §5.2.1.
#[tokio::test]
async fn clients_are_heard_where_the_standard_is_followed_to_the_letter() {
    let claims = [
        ("no-cache", false),
        ("max-age=0", false),
        ("max-age=5", false),
        ("max-age=10", true),
        ("max-age=60", true),
        ("min-fresh=51", false),
        ("min-fresh=50", true),
        ("only-if-cached", true),
    ];
    for (control, hit) in claims {
        let stage = Stage::preset(Preset::Rfc).await;
        stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
        stage.client().get("/x").await.expect(200, "x");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(10));
        let answer = stage.client().header("cache-control", control).get("/x").await;
        assert_eq!(answer.expect(200, "x").is_hit(), hit, "{control}");
    }
}

#[tokio::test]
async fn a_client_that_wants_it_only_from_the_cache_costs_the_origin_nothing() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    let frugal = stage.client().header("cache-control", "only-if-cached");
    frugal.get("/x").await.expect_status(504).cache_status("detail=only-if-cached");
    stage.origin("a").saw(0, "/x");
    stage.client().get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    assert!(frugal.get("/x").await.expect(200, "x").is_hit());
}

#[tokio::test]
async fn the_head_of_a_hit_is_the_head_the_origin_sent() {
    let stage = Stage::new().await;
    let page = reply(200)
        .cache_control("max-age=60")
        .etag("\"e\"")
        .field("content-type", "text/plain")
        .field("x-two", "1")
        .field("x-two", "2")
        .field("link", "</a>; rel=preload, </b>; rel=preload")
        .field("x-empty", "")
        .body("x");
    stage.origin("a").on("/x", [page]);
    let miss = stage.client().get("/x").await;
    stage.until(|count| count.stored == 1).await;
    let hit = stage.client().get("/x").await;
    for answer in [&miss, &hit] {
        answer.expect(200, "x").has("etag", "\"e\"").has("content-type", "text/plain").has("x-two", "1, 2");
        answer.has("link", "</a>; rel=preload, </b>; rel=preload").has("x-empty", "").has("via", "1.1 stage");
        answer.has("date", "Mon, 02 Nov 2026 09:20:00 GMT").has("cache-control", "max-age=60");
        assert_eq!(answer.head.all("date").count(), 1);
        assert_eq!(answer.head.all("via").count(), 1);
    }
    hit.has("age", "0");
}

#[tokio::test]
async fn keys_tell_apart_what_origins_tell_apart_and_nothing_else() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target().to_owned()));
    for target in
        ["/a", "/a?", "/a?b", "/a?b=", "/A", "/a/", "/a%2fb", "/a/b", "/a?b=1&c=2", "/a?c=2&b=1", "/a;b"]
    {
        let answer = stage.client().get(target).await;
        assert!(!answer.is_hit(), "{target}");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    }
    let same = [("/a", "/./a"), ("/a", "/x/../a"), ("/a", "/%61"), ("/a%2fb", "/a%2Fb"), ("/a/b", "/a/./b")];
    for (_, spelling) in same {
        assert!(stage.client().get(spelling).await.is_hit(), "{spelling}");
    }
    for host in ["WWW.EXAMPLE.TEST", "www.example.test.", "www.example.test:80"] {
        assert!(stage.client().host(host).get("/a").await.is_hit(), "{host}");
    }
}

#[tokio::test]
async fn the_presets_for_sites_forget_what_only_trackers_read() {
    let stage = Stage::preset(Preset::Static).await;
    stage
        .origin("a")
        .answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target().to_owned()));
    stage.client().get("/a?x=1&y=2").await.expect(200, "/a?x=1&y=2");
    stage.until(|count| count.stored == 1).await;
    for target in ["/a?y=2&x=1", "/a?utm_source=mail&x=1&y=2", "/a?x=1&fbclid=abc&y=2"] {
        assert!(stage.client().get(target).await.expect(200, "/a?x=1&y=2").is_hit(), "{target}");
    }
}
