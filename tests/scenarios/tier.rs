//! The regional tier: one fetch for a region, and everything that a child needs goes from node to node (PEERS rows 13, 29).

use crate::stage::client::gather;
use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::secs;

#[tokio::test]
async fn a_region_fetches_an_object_once() {
    let region = Region::build()
        .node("p", &[])
        .node("q", &[])
        .node("c", &["p", "q"])
        .node("d", &["q", "p"])
        .start()
        .await;
    region.follow_all();
    region.origin("a").answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target()));
    for nth in 0..20 {
        let target = format!("/{nth}");
        let both = gather(vec![region.client("c").get(&target), region.client("d").get(&target)]);
        both.await.expect_all(200, &target);
        region.origin("a").saw(1, &target);
    }
    let asked = |node: &str| region.edge(node).store.usage().fills;
    assert_eq!(asked("p") + asked("q"), 20, "each at one of them");
    assert!(asked("p") > 2 && asked("q") > 2, "at both of them: {} and {}", asked("p"), asked("q"));
}

#[tokio::test]
async fn every_hop_is_told_in_order_and_nothing_between_nodes_reaches_client_or_origin() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    region.origin("a").on(
        "/x",
        [reply(200)
            .cache_control("max-age=1")
            .field("surrogate-control", "max-age=300")
            .field("surrogate-key", "one two")
            .field("tidegate-control", "max-age=9999")
            .field("tidegate-tier", "answer")
            .body("x")],
    );
    let sly = region
        .client("c")
        .header("tidegate-child", "http 1 -")
        .header("tidegate-purged", "around")
        .header("tidegate-other", "x");
    let answer = sly.get("/x").await;
    answer.expect(200, "x").lacks("surrogate-key").lacks("surrogate-control");
    answer.has("via", "1.1 p, 1.1 c").has(
        "cache-status",
        "p; fwd=uri-miss; fwd-status=200; stored; ttl=300, c; fwd=uri-miss; fwd-status=200; stored; ttl=300",
    );
    region.until(|| region.edge("c").store.usage().stored == 1).await;
    region.clock.advance(secs(10));
    let hit = region.client("c").get("/x").await;
    hit.expect(200, "x").has("cache-status", "c; hit; ttl=290").has("age", "10").lacks("surrogate-key");
    for answer in [&answer, &hit] {
        assert!(answer.head.fields.iter().all(|(name, _)| !name.starts_with("tidegate-")), "{answer:?}");
    }
    let seen = region.origin("a").seen_for("/x");
    assert!(seen[0].head.fields.iter().all(|(name, _)| !name.to_lowercase().starts_with("tidegate-")));
    assert_eq!(seen[0].field("cdn-loop").as_deref(), Some("c, p"));
}
