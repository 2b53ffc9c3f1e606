//! What is stale is confirmed rather than fetched, and clients' own conditions are answered from the store where that
//! is right (RFC 9110 §13, RFC 9111 §4.3).

use crate::stage::reply::{Reply, reply};
use crate::stage::{Stage, secs};
use tidegate::config::Preset;

#[tokio::test]
async fn a_stale_response_is_confirmed_by_its_validators() {
    let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
    let claims: [(&str, Reply, &str, &str); 3] = [
        ("an entity tag", reply(200).etag("\"1\""), "if-none-match", "\"1\""),
        ("a weak entity tag", reply(200).etag("W/\"1\""), "if-none-match", "W/\"1\""),
        ("a date", reply(200).field("last-modified", modified), "if-modified-since", modified),
    ];
    for (claim, answer, field, value) in claims {
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [answer.cache_control("max-age=10").body("same").confirms()]);
        stage.client().get("/x").await.expect(200, "same");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(11));
        let answer = stage.client().get("/x").await;
        answer.expect(200, "same").cache_status("fwd=stale; fwd-status=304; stored; ttl=10").has("age", "0");
        assert_eq!(stage.origin("a").seen_for("/x")[1].field(field).as_deref(), Some(value), "{claim}");
        assert!(stage.client().get("/x").await.expect(200, "same").is_hit(), "{claim}");
        stage.origin("a").saw(2, "/x");
    }
}

/// RFC 9111 §4.3.4, §3.2.
#[tokio::test]
async fn a_304_brings_its_news_into_the_stored_head_and_leaves_the_rest() {
    let stage = Stage::new().await;
    let first = reply(200)
        .cache_control("max-age=10")
        .etag("\"1\"")
        .field("content-type", "text/plain")
        .field("x-kept", "old")
        .field("x-replaced", "old")
        .body("same");
    let news = reply(304)
        .cache_control("max-age=100")
        .etag("\"1\"")
        .field("x-replaced", "new")
        .field("x-added", "new")
        .field("content-length", "999")
        .field("content-encoding", "br");
    stage.origin("a").on("/x", [first, news]);
    stage.client().get("/x").await.expect(200, "same");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(11));
    for _ in 0..2 {
        let answer = stage.client().get("/x").await;
        answer.expect(200, "same").has("x-kept", "old").has("x-replaced", "new").has("x-added", "new");
        answer
            .has("cache-control", "max-age=100")
            .has("content-type", "text/plain")
            .has("content-length", "4");
        answer.lacks("content-encoding").has("date", "Mon, 02 Nov 2026 09:20:11 GMT");
    }
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_304_about_none_of_several_is_asked_again_without_conditions() {
    let stage = Stage::new().await;
    let page = |kind: &str, tag: &str| {
        reply(200).cache_control("max-age=10").vary("X-Kind").etag(tag).body(kind.to_owned())
    };
    stage.origin("a").on(
        "/x",
        [page("one", "\"1\""), page("two", "\"2\""), reply(304).etag("\"3\""), page("new", "\"3\"")],
    );
    for kind in ["one", "two"] {
        stage.client().header("x-kind", kind).get("/x").await.expect(200, kind);
    }
    stage.until(|count| count.stored == 2).await;
    stage.clock.advance(secs(11));
    stage.client().header("x-kind", "one").get("/x").await.expect(200, "new");
    let seen = stage.origin("a").seen_for("/x");
    assert!(seen[2].field("if-none-match").is_some());
    assert_eq!(seen[3].field("if-none-match"), None);
}

#[tokio::test]
async fn a_304_that_nobody_asked_for_is_no_answer() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(304).etag("\"1\""), reply(200).cache_control("max-age=60").body("x")]);
    stage.client().get("/x").await.expect_status(502).cache_status("detail=unasked-304");
    stage.client().get("/x").await.expect(200, "x");
}

#[tokio::test]
async fn a_head_confirms_what_is_stored_for_get() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=10").etag("\"1\"").body("same").confirms()]);
    stage.client().get("/x").await.expect(200, "same");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(11));
    stage.client().head("/x").await.expect(200, "").cache_status_has("fwd-status=304");
    assert!(stage.client().get("/x").await.expect(200, "same").is_hit());
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_changed_response_replaces_what_was_stored() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=10").etag("\"1\"").field("x-old", "1").body("old"),
            reply(200).cache_control("max-age=10").etag("\"2\"").body("new"),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(11));
    stage.client().get("/x").await.expect(200, "new").cache_status_has("fwd=stale").lacks("x-old");
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new").cache_status("hit; ttl=10").lacks("x-old");
}

#[tokio::test]
async fn what_has_changed_into_something_private_does_not_come_back() {
    for private in ["private", "no-store"] {
        let stage = Stage::new().await;
        stage.origin("a").on(
            "/x",
            [
                reply(200).cache_control("max-age=10, stale-if-error=600").etag("\"1\"").body("old"),
                reply(200).cache_control(private).body("mine"),
                reply(503),
            ],
        );
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(11));
        stage.client().get("/x").await.expect(200, "mine");
        stage.clock.advance(secs(2));
        stage.client().get("/x").await.expect(503, "");
    }
}

/// RFC 9111 §4.3.2: the client's conditions against what is stored.
#[tokio::test]
async fn conditions_of_clients_are_answered_from_the_store() {
    let stage = Stage::new().await;
    let modified = "Sun, 01 Nov 2026 00:00:00 GMT";
    let page = reply(200)
        .cache_control("max-age=600")
        .etag("\"v1\"")
        .field("last-modified", modified)
        .field("content-type", "text/plain")
        .vary("Accept-Encoding")
        .body("page");
    stage.origin("a").on("/x", [page]);
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    let claims = [
        ("the tag", vec![("if-none-match", "\"v1\"")], 304),
        ("the tag, weakly", vec![("if-none-match", "W/\"v1\"")], 304),
        ("a list with it", vec![("if-none-match", "\"v0\", \"v1\", \"v2\"")], 304),
        ("a list without it", vec![("if-none-match", "\"v0\", \"v2\"")], 200),
        ("a list over two lines", vec![("if-none-match", "\"v0\""), ("if-none-match", "\"v1\"")], 304),
        ("a comma within a tag", vec![("if-none-match", "\"v0,\"v1")], 200),
        ("anything", vec![("if-none-match", "*")], 304),
        ("its date", vec![("if-modified-since", modified)], 304),
        ("a later date", vec![("if-modified-since", "Sun, 01 Nov 2026 12:00:00 GMT")], 304),
        ("an earlier date", vec![("if-modified-since", "Sat, 31 Oct 2026 00:00:00 GMT")], 200),
        ("a date that is none", vec![("if-modified-since", "yesterday")], 200),
        ("the tag beats the date", vec![("if-none-match", "\"v0\""), ("if-modified-since", modified)], 200),
    ];
    for (claim, fields, status) in claims {
        let client =
            fields.into_iter().fold(stage.client(), |client, (name, value)| client.header(name, value));
        for method in ["GET", "HEAD"] {
            let answer = client.request(method, "/x", b"").await;
            assert_eq!(answer.status, status, "{claim}, {method}");
            assert!(answer.is_hit(), "{claim}, {method}");
            if status == 304 {
                answer
                    .has("etag", "\"v1\"")
                    .has("vary", "Accept-Encoding")
                    .has("cache-control", "max-age=600");
                assert_eq!(answer.text(), "", "{claim}");
            }
        }
    }
    stage.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_condition_of_a_client_on_a_miss_does_not_reach_the_origin_and_is_answered_here() {
    let stage = Stage::new().await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=600").etag("\"1\"").body("page").confirms()]);
    let client = stage.client().header("if-none-match", "\"1\"");
    client.get("/x").await.expect(304, "");
    assert_eq!(
        stage.origin("a").seen_for("/x")[0].field("if-none-match"),
        None,
        "or nothing could be stored"
    );
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, "page").is_hit());
}

#[tokio::test]
async fn a_condition_that_forbids_is_left_to_the_origin_or_told_412() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [reply(200).cache_control("max-age=600").etag("\"1\"").body("page"), reply(412).body("no")],
    );
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    stage.client().header("if-match", "\"2\"").get("/x").await.expect_status(412);
    assert!(stage.client().get("/x").await.expect(200, "page").is_hit());
}

/// RFC 9111 §4.3.5.
#[tokio::test]
async fn an_answer_to_head_updates_or_outdates_what_is_stored_for_get() {
    let stored = || reply(200).cache_control("max-age=10").etag("\"1\"").field("x-n", "1").body("page");
    let claims: [(&str, Reply, &str, &str); 3] = [
        (
            "the same",
            reply(200).cache_control("max-age=100").etag("\"1\"").field("x-n", "2").body("page"),
            "page",
            "2",
        ),
        (
            "another tag",
            reply(200).cache_control("max-age=100").etag("\"2\"").field("x-n", "2").body("news"),
            "news",
            "3",
        ),
        (
            "another length",
            reply(200).cache_control("max-age=100").etag("\"1\"").field("x-n", "2").body("longer"),
            "news",
            "3",
        ),
    ];
    for (claim, headed, body, n) in claims {
        let stage = Stage::new().await;
        let news = reply(200).cache_control("max-age=100").etag("\"3\"").field("x-n", "3").body("news");
        stage.origin("a").on("/x", [stored(), headed, news]);
        stage.client().get("/x").await.expect(200, "page");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(11));
        stage.client().head("/x").await.expect_status(200);
        let answer = stage.client().get("/x").await;
        assert_eq!((answer.text().as_str(), answer.field("x-n").as_deref()), (body, Some(n)), "{claim}");
    }
}

#[tokio::test]
async fn a_miss_by_head_asks_by_head_and_stores_no_body() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    stage.client().head("/x").await.expect(200, "").has("content-length", "4");
    let answer = stage.client().get("/x").await;
    answer.expect(200, "page");
    assert!(!answer.is_hit(), "the answer to HEAD has no body to be served");
}

#[tokio::test]
async fn no_cache_is_stored_and_confirmed_each_time() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("no-cache").etag("\"1\"").body("page").confirms()]);
    for _ in 0..3 {
        stage.client().get("/x").await.expect(200, "page");
        stage.until(|count| count.fills_under_way == 0 && count.arriving_bytes == 0).await;
    }
    let asked: Vec<_> =
        stage.origin("a").seen_for("/x").iter().map(|seen| seen.field("if-none-match")).collect();
    assert_eq!(asked, [None, Some("\"1\"".into()), Some("\"1\"".into())]);
}

#[tokio::test]
async fn a_client_that_asks_for_confirmation_gets_one_where_clients_are_heard() {
    let stage = Stage::preset(Preset::Rfc).await;
    stage
        .origin("a")
        .on("/x", [reply(200).cache_control("max-age=60").etag("\"1\"").body("page").confirms()]);
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    let answer = stage.client().header("cache-control", "no-cache").get("/x").await;
    answer.expect(200, "page").cache_status_has("fwd-status=304");
    stage.origin("a").saw(2, "/x");
}
