//! Crawlers have a lane of their own, and readers do not notice them.

use std::time::Duration;

use tidegate::config::{Config, Crawlers, Network};

use crate::stage::client::Client;
use crate::stage::gate::Gate;
use crate::stage::reply::reply;
use crate::stage::{Stage, secs};

/// One place for those who come from 192.0.2.0/24, one for the others, and one of each may wait.
fn narrow(config: &mut Config, _: &[std::net::SocketAddr]) {
    let local = Network::new([127, 0, 0, 1].into(), 32).expect("an address is a network");
    config.listeners[0].trusted_proxies = vec![local];
    config.crawlers = Some(Crawlers {
        verified: vec![Network::new([192, 0, 2, 0].into(), 24).expect("a network")],
        concurrency: 1,
        concurrency_others: 1,
        queue_max: 1,
        queue_timeout: Duration::from_secs(20),
        stale: Duration::from_hours(1),
        ..Crawlers::default()
    });
}

fn crawler(stage: &Stage) -> Client {
    stage.client().header("user-agent", GOOGLE).header("x-forwarded-for", "192.0.2.7")
}

#[tokio::test]
async fn crawlers_wait_for_each_other_and_readers_for_none_of_them() {
    let stage = Stage::build().config(narrow).start().await;
    let gate = Gate::shut();
    let page = || reply(200).cache_control("max-age=60").body("page");
    stage.origin("a").on("/1", [page().head_after(&gate)]);
    for target in ["/2", "/3", "/4", "/5"] {
        stage.origin("a").on(target, [page(), page()]);
    }
    let first = crawler(&stage).get("/1");
    stage.until(|count| count.requests == 1).await;
    let second = crawler(&stage).get("/2");
    until_waiting(&stage, 1).await;
    // The lane is full, and so is its queue.
    let third = crawler(&stage).get("/3").await;
    third.expect_status(503).cache_status_has("detail=crawler-lane");
    assert_eq!(third.field("retry-after").as_deref(), Some("30"));
    // One that is not verified has another lane.
    stage.client().header("user-agent", GOOGLE).get("/4").await.expect(200, "page");
    // A reader who wants what a crawler waits for fetches it.
    stage.client().get("/2").await.expect(200, "page");
    stage.origin("a").saw(1, "/2");
    stage.client().get("/5").await.expect(200, "page");
    // A hit is nobody's lane.
    crawler(&stage).get("/5").await.expect(200, "page").cache_status_has("hit");
    gate.open();
    first.await.expect(200, "page");
    second.await.expect(200, "page").cache_status_has("hit");
    stage.origin("a").saw(1, "/2");
    crawler(&stage).get("/3").await.expect(200, "page");
}

#[tokio::test]
async fn what_is_not_stored_has_its_place_until_its_end_and_one_who_waits_too_long_is_told() {
    let stage = Stage::build().config(narrow).start().await;
    let gate = Gate::shut();
    let own = |body| reply(200).cache_control("private").body(body);
    stage.origin("a").on("/1", [own("first").pause(2, &gate)]);
    stage.origin("a").on("/2", [own("second"), own("second")]);
    let first = crawler(&stage).get("/1");
    stage.until(|count| count.requests == 1).await;
    let second = crawler(&stage).get("/2");
    until_waiting(&stage, 1).await;
    stage.in_time(secs(20), second).await.expect_status(503).cache_status_has("detail=crawler-lane");
    gate.open();
    first.await.expect(200, "first");
    crawler(&stage).get("/2").await.expect(200, "second");
}

#[tokio::test]
async fn a_crawler_takes_what_a_reader_would_have_fetched_anew() {
    let stage = Stage::build().config(narrow).start().await;
    stage.origin("a").on(
        "/x",
        [
            reply(200).cache_control("max-age=60").body("old"),
            reply(200).cache_control("max-age=60").body("new"),
        ],
    );
    stage.origin("a").on(
        "/strict",
        [
            reply(200).cache_control("max-age=60, must-revalidate").body("old"),
            reply(200).cache_control("max-age=60, must-revalidate").body("new"),
        ],
    );
    for target in ["/x", "/strict"] {
        stage.client().get(target).await.expect(200, "old");
    }
    stage.until(|count| count.stored == 2).await;
    stage.clock.advance(secs(600));
    crawler(&stage).get("/x").await.expect(200, "old").cache_status_has("hit");
    stage.until(|count| count.stored == 3).await;
    stage.client().get("/x").await.expect(200, "new");
    crawler(&stage).get("/strict").await.expect(200, "new");
}

#[tokio::test]
async fn what_crawlers_fetch_pushes_nothing_out() {
    let stage =
        Stage::build().config(narrow).config(|config, _| config.cache.memory_bytes = 4 << 20).start().await;
    let body = "x".repeat(16 << 10);
    for nth in 0..1000 {
        let page = reply(200).cache_control("max-age=3600").body(body.as_str());
        stage.origin("a").on(&format!("/{nth}"), [page.clone(), page]);
    }
    // Readers fill the memory, and are done with pages that they asked for twice.
    for nth in (0..400).flat_map(|nth| [nth, nth]) {
        stage.client().get(&format!("/{nth}")).await.expect_status(200);
    }
    let (objects, evictions) = held(&stage);
    for nth in 400..1000 {
        crawler(&stage).get(&format!("/{nth}")).await.expect_status(200);
    }
    assert_eq!(held(&stage).1, evictions, "of {objects} responses none went");
}

/// Responses in memory, and how many have been pushed out.
fn held(stage: &Stage) -> (u64, u64) {
    let usage = stage.edge().store.usage();
    (usage.memory_objects, usage.memory_evictions)
}

async fn until_waiting(stage: &Stage, count: u64) {
    for _ in 0..20_000 {
        let metrics = stage.operator().get("/metrics").await;
        if metrics.text().lines().any(|line| line == format!("tidegate_crawler_waiting {count}")) {
            return;
        }
    }
    panic!("nobody waits");
}

const GOOGLE: &str = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)";
