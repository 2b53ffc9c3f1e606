//! A stale answer is served only where someone allowed it, says so, and costs the origin one request (RFC 5861).

use crate::stage::gate::Gate;
use crate::stage::reply::{Trouble, reply};
use crate::stage::{Stage, secs};
use tidegate::config::Preset;

/// RFC 5861 §3.
#[tokio::test]
async fn a_stale_response_is_served_while_one_fetch_refreshes_it() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1, stale-while-revalidate=60").body("old"),
            reply(200).cache_control("max-age=60").body("new").head_after(&gate),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    let crowd = stage.clients(8).get("/x").await;
    crowd.expect_all(200, "old").cache_status("hit; ttl=-2; detail=stale-while-revalidate");
    stage.until(|count| count.fills == 2 && count.requests == 2).await;
    gate.open();
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new").cache_status("hit; ttl=60");
    stage.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_refresh_in_the_background_is_conditional_and_a_304_makes_the_old_one_fresh_again() {
    let stage = Stage::new().await;
    let page = reply(200).cache_control("max-age=1, stale-while-revalidate=60").etag("\"1\"").body("page");
    stage.origin("a").on("/x", [page.confirms()]);
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 2).await;
    assert_eq!(stage.origin("a").seen_for("/x")[1].field("if-none-match").as_deref(), Some("\"1\""));
    stage.client().get("/x").await.expect(200, "page").cache_status("hit; ttl=1").has("age", "0");
}

#[tokio::test]
async fn beyond_the_window_nothing_stale_is_served() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1, stale-while-revalidate=10").body("old"),
            reply(200).cache_control("max-age=60").body("new"),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(12));
    stage.client().get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn within_the_window_stale_is_served_to_its_last_second() {
    let stage = Stage::new().await;
    let gate = Gate::shut();
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1, stale-while-revalidate=10").body("old"),
            reply(200).cache_control("max-age=60").body("new").head_after(&gate),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(10));
    stage.client().get("/x").await.expect(200, "old");
}

#[tokio::test]
async fn what_forbids_stale_is_stronger_than_what_allows_it() {
    let forbidding = [
        "max-age=1, stale-while-revalidate=60, stale-if-error=60, must-revalidate",
        "max-age=1, stale-while-revalidate=60, stale-if-error=60, proxy-revalidate",
        "no-cache, stale-while-revalidate=60, stale-if-error=60",
    ];
    for control in forbidding {
        let stage = Stage::new().await;
        stage.origin("a").on(
            "/x",
            [
                reply(200).cache_control(control).etag("\"1\"").body("old"),
                reply(200).cache_control(control).etag("\"2\"").body("new"),
                reply(200).but(Trouble::Resets),
            ],
        );
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(3));
        stage.client().get("/x").await.expect(200, "new");
        stage.until(|count| count.stored == 2).await;
        stage.clock.advance(secs(3));
        stage.client().get("/x").await.expect_status(502);
    }
}

/// RFC 5861 §4, FAULTS F3: every way in which an origin can fail.
#[tokio::test]
async fn an_origin_in_trouble_does_not_take_down_what_may_be_served_stale() {
    let fine = || reply(200).cache_control("max-age=1, stale-if-error=60").etag("\"1\"").body("kept");
    let troubles = [
        reply(500).body("oops"),
        reply(502).body("oops"),
        reply(503).field("retry-after", "5").body("oops"),
        reply(504).body("oops"),
        reply(200).but(Trouble::Resets),
        reply(200).but(Trouble::Closes),
        reply(200).but(Trouble::TruncatesHead(9)),
        reply(200).but(Trouble::Garbage(b"220 mail.example.test ESMTP\r\n\r\n")),
        reply(200).field("content-length", "1").field("transfer-encoding", "chunked"),
    ];
    for trouble in troubles {
        let told = format!("{} {:?}", trouble.status, trouble);
        let stage = Stage::new().await;
        stage.origin("a").on("/x", [fine(), trouble]);
        stage.client().get("/x").await.expect(200, "kept");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(11));
        let answer = stage.client().get("/x").await;
        assert_eq!(answer.text(), "kept", "{told}");
        answer.expect(200, "kept").cache_status("hit; ttl=-10; detail=stale-if-error").has("age", "11");
        // Beyond the window the failure is told as it is.
        stage.clock.advance(secs(60));
        let answer = stage.client().get("/x").await;
        assert!(answer.status >= 500, "{told}: {}", answer.status);
    }
}

#[tokio::test]
async fn an_origin_that_refuses_connections_does_not_take_down_what_may_be_served_stale() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=1, stale-if-error=60").body("kept")]);
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.stored == 1).await;
    stage.origin("a").refuses().await;
    stage.clock.advance(secs(3));
    let crowd = stage.clients(8).get("/x").await;
    crowd.expect_all(200, "kept").cache_status("hit; ttl=-2; detail=stale-if-error");
    stage.clock.advance(secs(60));
    stage.client().get("/x").await.expect_status(502).cache_status("detail=connect");
    stage.origin("a").listens().await;
    stage.clock.advance(secs(2));
    stage.client().get("/x").await.expect(200, "kept");
}

#[tokio::test]
async fn an_origin_that_does_not_answer_in_time_does_not_take_down_what_may_be_served_stale() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1, stale-if-error=86400").body("kept"),
            reply(200).but(Trouble::Stalls),
        ],
    );
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    let crowd = stage.clients(4).get("/x");
    stage.until(|count| count.requests == 2 && count.collapsed == 3).await;
    for answer in stage.in_time(secs(31), crowd).await.0 {
        answer.expect(200, "kept").cache_status_has("detail=stale-if-error");
    }
}

/// FAULTS B29.
#[tokio::test]
async fn an_origin_in_trouble_is_asked_once_a_second_and_not_by_everyone() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [reply(200).cache_control("max-age=1, stale-if-error=600").body("kept"), reply(503).body("oops")],
    );
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    for second in 0..5 {
        for _ in 0..4 {
            stage.client().get("/x").await.expect(200, "kept");
        }
        stage.origin("a").saw(2 + second, "/x");
        stage.clock.advance(secs(1));
    }
}

#[tokio::test]
async fn a_refresh_that_fails_in_the_background_backs_off_and_keeps_the_old() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200)
                .cache_control("max-age=1, stale-while-revalidate=600, stale-if-error=600")
                .body("kept"),
            reply(503).body("oops"),
            reply(200).cache_control("max-age=60").body("new"),
        ],
    );
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.requests == 2 && count.fills_under_way == 0).await;
    stage.clients(4).get("/x").await.expect_all(200, "kept");
    stage.origin("a").saw(2, "/x");
    stage.clock.advance(secs(2));
    stage.client().get("/x").await.expect(200, "kept");
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn a_refresh_cut_within_its_body_keeps_the_old_and_stores_nothing() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1, stale-while-revalidate=600").body("old"),
            reply(200).cache_control("max-age=60").body("new and longer").but(Trouble::Truncates(5)),
            reply(200).cache_control("max-age=60").body("new and longer"),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.requests == 2 && count.fills_under_way == 0).await;
    stage.client().get("/x").await.expect(200, "old");
    stage.clock.advance(secs(2));
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 2).await;
    stage.client().get("/x").await.expect(200, "new and longer");
}

#[tokio::test]
async fn an_error_nothing_stale_may_stand_in_for_is_passed_on_as_it_is() {
    let stage = Stage::new().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1").body("old"),
            reply(503).field("retry-after", "7").body("down"),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(3));
    stage.client().get("/x").await.expect(503, "down").has("retry-after", "7");
}

#[tokio::test]
async fn an_error_of_the_client_is_told_and_not_covered_by_something_stale() {
    for status in [404, 410, 403] {
        let stage = Stage::new().await;
        stage.origin("a").on(
            "/x",
            [
                reply(200).cache_control("max-age=1, stale-if-error=600").body("old"),
                reply(status).cache_control("no-store").body("gone"),
            ],
        );
        stage.client().get("/x").await.expect(200, "old");
        stage.until(|count| count.stored == 1).await;
        stage.clock.advance(secs(3));
        stage.client().get("/x").await.expect(status, "gone");
    }
}

#[tokio::test]
async fn the_presets_for_sites_keep_serving_while_the_origin_is_down() {
    for preset in [Preset::Static, Preset::News] {
        let stage = Stage::preset(preset).await;
        stage.origin("a").on("/x", [reply(200).cache_control("max-age=1").body("kept")]);
        stage.client().get("/x").await.expect(200, "kept");
        stage.until(|count| count.stored == 1).await;
        stage.origin("a").refuses().await;
        stage.clock.advance(secs(12 * 3600));
        stage.client().get("/x").await.expect(200, "kept").cache_status_has("detail=stale-if-error");
        stage.clock.advance(secs(13 * 3600));
        stage.client().get("/x").await.expect_status(502);
    }
}

#[tokio::test]
async fn without_leave_the_safe_defaults_serve_nothing_stale() {
    let stage = Stage::new().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=1").body("old")]);
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.origin("a").refuses().await;
    stage.clock.advance(secs(2));
    stage.client().get("/x").await.expect_status(502);
}

#[tokio::test]
async fn a_client_that_takes_stale_gets_it_where_clients_are_heard() {
    let stage = Stage::preset(Preset::Rfc).await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=1").body("old"),
            reply(200).cache_control("max-age=1").body("new"),
        ],
    );
    stage.client().get("/x").await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.clock.advance(secs(5));
    let patient = stage.client().header("cache-control", "max-stale=10");
    patient.get("/x").await.expect(200, "old").cache_status("hit; ttl=-4; detail=max-stale");
    let strict = stage.client().header("cache-control", "max-stale=2");
    strict.get("/x").await.expect(200, "new");
}
