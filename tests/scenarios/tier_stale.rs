//! A child is never given something stale as fresh, and windows do not add up over tiers (PEERS row 29).

use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::secs;

/// A child and its parent, which has the first answer to `/x` since now.
async fn primed(control: &str) -> Region {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    let old = reply(200).cache_control(control).etag("\"1\"").body("old");
    region.origin("a").on("/x", [old]);
    region.client("p").get("/x").await.expect(200, "old");
    region.until(|| region.edge("p").store.usage().stored == 1).await;
    region
}

fn then_new(region: &Region) {
    region.origin("a").on("/x", [reply(200).cache_control("max-age=10").etag("\"2\"").body("new")]);
}

fn then_down(region: &Region) {
    region.origin("a").on("/x", [reply(503).body("down")]);
}

#[tokio::test]
async fn what_may_be_served_stale_meanwhile_is_refreshed_before_a_child_gets_it() {
    let region = primed("max-age=10, stale-while-revalidate=60").await;
    then_new(&region);
    region.clock.advance(secs(15));
    region.client("c").get("/x").await.expect(200, "new");
    region.client("p").get("/x").await.expect(200, "new").cache_status_has("hit");
    region.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn what_was_softly_purged_is_asked_for_before_a_child_gets_it() {
    let region = primed("max-age=600, stale-while-revalidate=600").await;
    region.gives("c", "p", "url /x", true).await;
    then_new(&region);
    region.client("c").get("/x").await.expect(200, "new");
    let region = primed("max-age=600, stale-while-revalidate=600").await;
    region.gives("c", "p", "everything", true).await;
    then_new(&region);
    region.client("c").get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn what_was_softly_purged_never_stands_in_for_an_origin_before_a_child() {
    for selection in ["url /x", "everything"] {
        let region = primed("max-age=600, stale-if-error=600").await;
        region.gives("c", "p", selection, true).await;
        then_down(&region);
        for _ in 0..2 {
            region.client("c").get("/x").await.expect(503, "down");
        }
        region.client("p").get("/x").await.expect(200, "old").cache_status_has("detail=stale-if-error");
        // The parent remembers that it failed.
        region.client("c").get("/x").await.expect(503, "down");
    }
}

#[tokio::test]
async fn what_stands_in_for_an_origin_is_stale_at_the_child_too() {
    let region = primed("max-age=10, stale-if-error=600").await;
    then_down(&region);
    region.clock.advance(secs(100));
    let answer = region.client("c").get("/x").await;
    answer.expect(200, "old").has("age", "100");
    let told = answer.field("cache-status").unwrap_or_default();
    assert!(told.starts_with("p; hit; ttl=-90; detail=stale-if-error, c; "), "{told}");
    region.until(|| region.edge("c").store.usage().stored == 1).await;
    region.clock.advance(secs(10));
    let again = region.client("c").get("/x").await;
    again.expect(200, "old").has("age", "110").has("cache-status", "c; hit; ttl=-100; detail=stale-if-error");
    then_new(&region);
    region.clock.advance(secs(10));
    region.client("c").get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn windows_end_at_the_child_when_they_end_at_the_parent() {
    for (control, window) in [("stale-while-revalidate", 20), ("stale-if-error", 20)] {
        let region = primed(&format!("max-age=10, {control}={window}")).await;
        region.clock.advance(secs(8));
        region.client("c").get("/x").await.expect(200, "old").has("age", "8");
        region.until(|| region.edge("c").store.usage().stored == 1).await;
        then_down(&region);
        region.clock.advance(secs(21));
        let inside = region.client("c").get("/x").await;
        inside.expect(200, "old").has("age", "29");
        region.until(|| region.edge("c").store.usage().fills_under_way == 0).await;
        region.clock.advance(secs(2));
        region.client("c").get("/x").await.expect(503, "down");
    }
}

/// Targeted lifetimes and what the parent made of them hold at the child, to the second.
#[tokio::test]
async fn a_child_lives_by_the_numbers_of_its_parent() {
    for (fields, ttl) in [
        (vec![("cache-control", "max-age=1"), ("cdn-cache-control", "max-age=100")], 100),
        (vec![("cache-control", "max-age=1"), ("surrogate-control", "max-age=200")], 200),
        (vec![("cache-control", "max-age=1"), ("surrogate-control", "max-age=300;p")], 300),
        (vec![("cache-control", "s-maxage=50, max-age=1"), ("age", "20")], 50),
        (vec![("last-modified", "Sun, 01 Nov 2026 09:20:00 GMT")], 8640),
    ] {
        let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
        region.follow_all();
        let answer = fields.iter().fold(reply(200), |answer, (name, value)| answer.field(name, *value));
        region.origin("a").on("/x", [answer.body("x")]);
        for node in ["c", "p"] {
            region.client(node).get("/x").await.expect(200, "x");
            region.until(|| region.edge("c").store.usage().stored == 1).await;
            let hit = region.client(node).get("/x").await;
            let age: i64 = hit.field("age").and_then(|age| age.parse().ok()).unwrap_or_default();
            hit.has("cache-status", &format!("{node}; hit; ttl={}", ttl - age));
        }
    }
}
