//! What was purged at a child does not come back to it from above (PEERS row 28).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use purge_api::bus::Position;

use crate::stage::client::gather;
use crate::stage::gate::Gate;
use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::settings::HOST;

/// A child and its parent, both with the first answer to `/x` and `/y`; the next one of the origin is another.
async fn filled() -> Region {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    for target in ["/x", "/y"] {
        let answer = |body: &str| reply(200).cache_control("max-age=600").body(body);
        region.origin("a").on(target, [answer("old"), answer("new")]);
        region.client("c").get(target).await.expect(200, "old");
    }
    region.until(|| region.edge("c").store.usage().stored == 2).await;
    region.until(|| region.edge("p").store.usage().stored == 2).await;
    region
}

#[tokio::test]
async fn a_parent_that_may_not_have_heard_is_not_asked() {
    let region = filled().await;
    region.purge("c", "url /x", false).await;
    let explained = region.operator("c").get(&format!("/v1/explain?url=http://{HOST}/x")).await;
    assert!(explained.text().contains("may not have heard of purge 1"), "{}", explained.text());
    region.client("c").get("/x").await.expect(200, "new");
    assert_eq!(region.edge("p").store.usage().fills, 2, "it was not asked");
    region.client("p").get("/x").await.expect(200, "old");
}

#[tokio::test]
async fn a_parent_that_has_heard_answers_from_its_cache_what_was_not_purged() {
    let region = filled().await;
    region.gives("c", "p", "everything", false).await;
    region.client("p").get("/y").await.expect(200, "new");
    region.client("c").get("/y").await.expect(200, "new").cache_status_has("hit");
    region.client("c").get("/x").await.expect(200, "new");
    region.origin("a").saw(2, "/y");
    region.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn a_parent_waits_for_a_purge_that_is_on_its_way() {
    let region = filled().await;
    region.purge("c", "url /x", false).await;
    region.announces("c", "p");
    let asked = region.client("c").get("/x");
    region
        .until(|| {
            region
                .edge("c")
                .origins
                .stats()
                .iter()
                .any(|origin| &*origin.pool != "main" && origin.connections_in_use == 1)
        })
        .await;
    region.purge("p", "url /x", false).await;
    asked.await.expect(200, "new");
    region.origin("a").saw(2, "/x");
    region.client("p").get("/x").await.expect(200, "new").cache_status_has("hit");
}

#[tokio::test]
async fn what_is_not_heard_in_time_is_gone_around() {
    let region = filled().await;
    region.purge("c", "url /x", false).await;
    region.announces("c", "p");
    let asked = region.client("c").get("/x");
    let answer = region.in_time(Duration::from_secs(1), asked).await;
    answer.expect(200, "new");
    let told = answer.field("cache-status").unwrap_or_default();
    assert!(
        told.starts_with("p; fwd=request; fwd-status=200; stored; ttl=600; detail=purge-behind, c; "),
        "{told}"
    );
    // It took the place of what was stored there.
    region.client("p").get("/x").await.expect(200, "new").cache_status_has("hit");
}

#[tokio::test]
async fn a_position_that_a_parent_knows_nothing_of_is_gone_around_at_once() {
    let region = filled().await;
    region.purge("c", "url /x", false).await;
    let given = region.position("c").sequence;
    let lost = Position { log: 99, sequence: 1 };
    region.edge("c").standing.followed(&region.url("p"), lost);
    region.edge("c").standing.given(&region.url("p"), given, lost);
    region.client("c").get("/x").await.expect(200, "new");
    region.origin("a").saw(2, "/x");
    assert_eq!(region.edge("p").store.usage().fills, 3, "it was asked");
}

#[tokio::test]
async fn who_goes_around_does_not_join_a_fetch_that_began_before() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    let gate = Gate::shut();
    let answer = |body: &str| reply(200).cache_control("max-age=600").body(body);
    region.origin("a").on("/x", [answer("old").head_after(&gate), answer("new")]);
    let before = region.client("p").get("/x");
    region.until(|| region.origin("a").seen_for("/x").len() == 1).await;
    region.purge("c", "url /x", false).await;
    region.announces("c", "p");
    let asked = region.client("c").get("/x");
    region.in_time(Duration::from_secs(1), asked).await.expect(200, "new");
    gate.open();
    before.await.expect(200, "old");
    region.client("c").get("/x").await.expect(200, "new").cache_status_has("hit");
}

/// RFC 9111 §4.4: what a client has changed it sees changed, although its request went around the parents.
#[tokio::test]
async fn what_was_changed_through_a_child_does_not_come_back_from_its_parent() {
    let region = filled().await;
    region.origin("a").on("/y", [reply(204)]);
    region.client("c").request("PUT", "/y", b"new").await.expect_status(204);
    region.origin("a").on("/y", [reply(200).cache_control("max-age=600").body("put")]);
    region.client("c").get("/y").await.expect(200, "put");
    region.client("p").get("/y").await.expect(200, "put").cache_status_has("hit");
}

#[tokio::test]
async fn a_child_that_is_not_proven_is_a_client() {
    for (name, value) in [
        ("a made up proof", "http 1793611200 00"),
        ("none", "http 1793611200 -"),
        ("another time", "http 1 -"),
    ] {
        let region = filled().await;
        region
            .origin("a")
            .on("/tagged", [reply(200).cache_control("max-age=600").field("cache-tag", "t").body("x")]);
        let sly = region.client("p").header("tidegate-child", value).header("tidegate-purged", "around");
        for _ in 0..2 {
            let answer = sly.get("/tagged").await;
            answer.expect(200, "x").lacks("surrogate-key").lacks("cache-tag").lacks("tidegate-tier");
        }
        sly.get("/x").await.expect(200, "old");
        assert_eq!(region.origin("a").seen_for("/x").len(), 1, "{name}: nobody but a child goes around");
    }
}

#[tokio::test]
async fn children_of_a_network_need_no_key() {
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .config(|_, config| {
            config.tier.key = None;
            config.tier.children_from =
                vec![tidegate::config::value::network("127.0.0.0/8").expect("a network")];
        })
        .start()
        .await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    region.client("c").get("/x").await.expect(200, "x");
    assert_eq!(region.edge("p").store.usage().fills, 1);
}

/// Edge and parent, purge, immediate refetch, with delays at every step. `TIDEGATE_TIER_ROUNDS` and `TIDEGATE_SEED` change the
/// number of rounds and what happens in them.
#[tokio::test]
async fn no_refetch_behind_a_purge_is_older_than_the_purge() {
    let number =
        |name: &str, default| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default);
    let (rounds, seed) = (number("TIDEGATE_TIER_ROUNDS", 300), number("TIDEGATE_SEED", 1));
    let mut random = Random(seed);
    let region = Arc::new(Region::build().node("p", &[]).node("c", &["p"]).start().await);
    region.follow_all();
    let version = Arc::new(AtomicU64::new(1));
    let slowness = Arc::new(AtomicU64::new(seed));
    region.origin("a").answers("*", {
        let (version, slowness) = (Arc::clone(&version), Arc::clone(&slowness));
        move |_| {
            // What it reads now it sends later.
            let now = version.load(Ordering::SeqCst);
            let gate = Gate::shut();
            let turns = Random(slowness.fetch_add(0x9E37_79B9, Ordering::Relaxed)).below(12);
            let opens = gate.clone();
            tokio::spawn(async move {
                turns_pass(turns).await;
                opens.open();
            });
            let answer = reply(200).cache_control("max-age=86400").field("surrogate-key", "page");
            answer.body(now.to_string()).head_after(&gate)
        }
    });
    let ticks = tokio::spawn({
        let clock = region.clock.clone();
        async move {
            loop {
                let _ = tokio::time::timeout(Duration::from_millis(2), std::future::pending::<()>()).await;
                clock.advance(Duration::from_millis(20));
            }
        }
    });
    for round in 0..rounds {
        let target = format!("/{}", random.below(3));
        // Old content on its way, and stored, wherever it may come from.
        let before: Vec<_> = (0..random.below(4))
            .map(|nth| region.client(if nth % 2 == 0 { "p" } else { "c" }).get(&target))
            .collect();
        turns_pass(random.below(20)).await;
        let current = version.fetch_add(1, Ordering::SeqCst) + 1;
        let selection = match random.below(4) {
            0 => "tag page".to_owned(),
            1 => "everything".to_owned(),
            2 => format!("host {HOST}"),
            _ => format!("url {target}"),
        };
        let purged = region.purge("c", &selection, false);
        // Some ask while the purge is being applied; they may get either, and must not leave the old one behind.
        let meanwhile: Vec<_> = (0..random.below(3)).map(|_| region.client("c").get(&target)).collect();
        purged.await;
        let (announced, delays) = (random.below(2) == 0, [random.below(30), random.below(30)]);
        if announced {
            region.announces("c", "p");
        }
        let given = tokio::spawn({
            let (region, selection) = (Arc::clone(&region), selection.clone());
            async move {
                turns_pass(delays[0]).await;
                region.purge("p", &selection, false).await;
                turns_pass(delays[1]).await;
                let given = region.position("c").sequence;
                region.edge("c").standing.given(&region.url("p"), given, region.position("p"));
            }
        });
        for nth in 0..3 {
            let answers =
                gather((0..=random.below(2)).map(|_| region.client("c").get(&target)).collect()).await;
            for answer in answers.0 {
                let got: u64 = answer.expect_status(200).text().parse().expect("a version");
                assert!(
                    got >= current,
                    "seed {seed}, round {round}.{nth}: {got} after the purge of {current}"
                );
            }
            turns_pass(random.below(10)).await;
        }
        given.await.expect("it ends");
        gather(before).await;
        gather(meanwhile).await;
        let kept = region.client("c").header("cache-control", "only-if-cached").get(&target).await;
        if kept.status == 200 {
            let got: u64 = kept.text().parse().expect("a version");
            assert!(
                got >= current,
                "seed {seed}, round {round}: {got} was kept after the purge of {current}"
            );
        }
    }
    ticks.abort();
    assert!(region.edge("p").store.usage().fills > rounds / 20, "the parent had a part in it");
}

/// Lets others run so many times.
async fn turns_pass(turns: u64) {
    for _ in 0..turns {
        tokio::task::yield_now().await;
    }
}

/// `SplitMix64`.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (bits ^ (bits >> 31)) % bound.max(1)
    }
}
