//! The regional tier: one fetch for a region, and everything that a child needs goes from node to node (PEERS rows 13, 29).

use std::sync::Arc;

use tidegate::config::{
    Conditions, Cookies, DiskAdmission, DiskCache, PathPattern, Route, RoutePolicy, Wanted,
};

use crate::stage::client::gather;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
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
    for nth in 0..40 {
        let target = format!("/{nth}");
        let both = gather(vec![region.client("c").get(&target), region.client("d").get(&target)]);
        both.await.expect_all(200, &target);
        region.origin("a").saw(1, &target);
    }
    let asked = |node: &str| region.edge(node).store.usage().fills;
    assert_eq!(asked("p") + asked("q"), 40, "each at one of them");
    // Their addresses decide: all forty at one of them is a chance of two in 2^40.
    assert!(asked("p") > 0 && asked("q") > 0, "at both of them: {} and {}", asked("p"), asked("q"));
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

#[tokio::test]
async fn tags_travel_with_a_response_and_a_confirmation() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    let version = |body: &str| {
        let answer = reply(200).cache_control("max-age=10").etag("\"1\"").field("cache-tag", "news, front");
        answer.body(body).confirms()
    };
    region.origin("a").on("/x", [version("old")]);
    for _ in 0..3 {
        region.client("c").get("/x").await.expect(200, "old").lacks("cache-tag").lacks("surrogate-key");
        region.until(|| region.edge("c").store.usage().fills_under_way == 0).await;
        region.clock.advance(secs(11));
    }
    region.client("c").get("/x").await.expect(200, "old");
    region.origin("a").on("/x", [version("new").etag("\"2\"")]);
    region.gives("c", "p", "tag front", false).await;
    region.client("c").get("/x").await.expect(200, "new");
}

#[tokio::test]
async fn a_child_confirms_what_it_has_with_its_parent() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=10").etag("\"1\"").body("x").confirms()]);
    region.client("c").get("/x").await.expect(200, "x");
    region.until(|| region.edge("c").store.usage().stored == 1).await;
    region.clock.advance(secs(11));
    region.client("p").get("/x").await.expect(200, "x");
    region.origin("a").saw(2, "/x");
    region.clock.advance(secs(4));
    let answer = region.client("c").get("/x").await;
    answer
        .expect(200, "x")
        .has("age", "4")
        .has("cache-status", "p; hit; ttl=6, c; fwd=stale; fwd-status=304; stored; ttl=6");
    region.origin("a").saw(2, "/x");
}

#[tokio::test]
async fn variants_heads_and_ranges_are_answered_from_the_parent() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    region.origin("a").answers("/v", |seen| {
        let language = seen.field("accept-language").unwrap_or_default();
        reply(200).cache_control("max-age=60").vary("accept-language").body(language)
    });
    for node in ["p", "c"] {
        for language in ["de", "en"] {
            let client = region.client(node).header("accept-language", language);
            client.get("/v").await.expect(200, language);
        }
    }
    region.origin("a").saw(2, "/v");
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").etag("\"1\"").body("0123456789")]);
    region.client("p").get("/x").await.expect(200, "0123456789");
    region.client("c").head("/x").await.expect_status(200).has("content-length", "10");
    let part = region.client("c").header("range", "bytes=2-4").get("/x").await;
    part.expect(206, "234").has("content-range", "bytes 2-4/10");
    region.client("c").get("/x").await.expect(200, "0123456789");
    region.origin("a").saw(1, "/x");
}

/// Slices of a large body are asked of the parent by range, and that has them of the origin once.
#[tokio::test]
async fn parts_of_a_large_body_come_from_the_parent() {
    let directories = [Directory::new(), Directory::new()];
    let paths = directories.each_ref().map(|directory| directory.path().to_owned());
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .config(move |name, config| {
            let path = paths[usize::from(name == "c")].clone();
            config.cache.disk = Some(DiskCache { path, bytes: 256 << 20, admission: DiskAdmission::All });
        })
        .start()
        .await;
    region.follow_all();
    let body: Vec<u8> = (0..4u32 << 20).map(|at| u8::try_from(at % 251).unwrap_or(0)).collect();
    region
        .origin("a")
        .on("/big", [reply(200).cache_control("max-age=600").etag("\"1\"").body(body.clone()).ranged()]);
    for node in ["c", "p", "c"] {
        for range in [100..200usize, 1_500_000..1_600_000, 3_000_000..3_000_010] {
            let asked = format!("bytes={}-{}", range.start, range.end - 1);
            let answer = region.client(node).header("range", &asked).get("/big").await;
            answer.expect_status(206);
            assert_eq!(answer.body, body[range], "{node} {asked}");
        }
    }
    assert_eq!(region.origin("a").seen_for("/big").len(), 3, "a chunk each");
    let whole = region.client("c").get("/big").await;
    assert_eq!(whole.body, body);
}

#[tokio::test]
async fn early_hints_pass_and_the_word_between_nodes_does_not() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    // An origin that has learnt the word says it in vain.
    let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nTidegate-Tier: asking\r\n\r\n";
    let gate = Gate::shut();
    let answer = reply(200).cache_control("max-age=60").before(hints).body("x").head_after(&gate);
    region.origin("a").on("/x", [answer]);
    let mut client = region.client("c").connect().await;
    client.write(&region.client("c").bytes("GET", "/x", b"")).await;
    let interim = client.head().await;
    assert!(interim.start.starts_with("HTTP/1.1 103"), "{}", interim.start);
    assert_eq!(interim.fields.len(), 1, "{interim:?}");
    gate.open();
    client.answer("GET").await.expect(200, "x");
}

#[tokio::test]
async fn what_passes_the_cache_goes_to_the_origin_from_where_it_is() {
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .policy(|policy| policy.cookies = Cookies::PassOn(vec!["session".into()]))
        .start()
        .await;
    region.follow_all();
    region.origin("a").answers("*", |_| reply(200).cache_control("max-age=60").body("x"));
    region.client("c").post("/form", "a=1").await.expect(200, "x");
    region.client("c").header("cookie", "session=1").get("/mine").await.expect(200, "x");
    for seen in region.origin("a").seen() {
        assert_eq!(seen.field("cdn-loop").as_deref(), Some("c"), "{seen:?}");
    }
}

#[tokio::test]
async fn what_may_not_be_stored_comes_through_both_and_keeps_what_caches_are_told() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    for (control, surrogate) in [("no-store", None), ("private", None), ("max-age=60", Some("no-store"))] {
        let mut answer = reply(200).cache_control(control).field("surrogate-key", "t").body("x");
        if let Some(surrogate) = surrogate {
            answer = answer.field("surrogate-control", surrogate);
        }
        let target = format!("/{control}");
        region.origin("a").on(&target, [answer]);
        for times in 1..3 {
            let got = region.client("c").get(&target).await;
            got.expect(200, "x").lacks("surrogate-key").lacks("surrogate-control");
            region.origin("a").saw(times, &target);
        }
    }
}

/// RFC 9111 §3.5: what is for all is kept for all, also at the second hop.
#[tokio::test]
async fn an_authenticated_answer_that_is_public_is_kept_at_both() {
    let region = Region::build().node("p", &[]).node("c", &["p"]).start().await;
    region.follow_all();
    for (control, origin_saw) in [("public, max-age=60", 1), ("s-maxage=60", 1), ("max-age=60", 2)] {
        let target = format!("/{}", control.len());
        region.origin("a").on(&target, [reply(200).cache_control(control).body("x")]);
        for _ in 0..2 {
            let client = region.client("c").header("authorization", "Basic eDp5");
            client.get(&target).await.expect(200, "x");
        }
        region.origin("a").saw(origin_saw, &target);
    }
}

/// FAULTS R8, B19.
#[tokio::test]
async fn a_ring_of_nodes_is_told_as_a_loop_and_the_origin_answers() {
    let region = Region::build().node("b", &["c"]).node("c", &["d"]).node("d", &["b"]).start().await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    region.client("b").get("/x").await.expect(200, "x").has("via", "1.1 d, 1.1 c, 1.1 b");
    region.origin("a").saw(1, "/x");
    assert_eq!(region.origin("a").seen_for("/x")[0].field("cdn-loop").as_deref(), Some("b, c, d"));
    let mut told = Vec::new();
    for node in ["b", "c", "d"] {
        let stats = region.edge(node).origins.stats();
        told.extend(
            stats
                .into_iter()
                .filter(|origin| origin.pool.starts_with("tier:"))
                .map(|origin| origin.counts.statuses),
        );
    }
    assert_eq!(
        told,
        [[0, 1, 0, 0, 0], [0, 1, 0, 0, 0], [0, 0, 0, 0, 1]],
        "three fetches, the last one refused with 508"
    );
}

#[tokio::test]
async fn explain_and_metrics_tell_of_every_parent() {
    let mut region = Region::usual().await;
    region.origin("a").answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target()));
    let told = region.operator("c").get("/v1/explain?url=http://www.example.test/x").await.text();
    assert!(told.contains("\"asked\": true") || told.contains("\"asked\":true"), "{told}");
    assert!(told.contains("another comes before it"), "{told}");
    region.kill("p").await;
    for nth in 0..10 {
        region.client("c").get(&format!("/{nth}")).await.expect_status(200);
    }
    let told = region.operator("c").get("/v1/explain?url=http://www.example.test/x").await.text();
    assert!(told.contains("unhealthy"), "{told}");
    let metrics = region.operator("c").get("/metrics").await.text();
    let q = region.url("q").replace("http://", "tier:");
    assert!(metrics.contains(&format!("pool=\"{q}\"")), "{metrics}");
}

#[tokio::test]
async fn parents_have_parents() {
    let region = Region::build().node("g", &[]).node("p", &["g"]).node("c", &["p"]).start().await;
    region.follow_all();
    let answer = |body: &str| {
        reply(200).cache_control("max-age=1").field("cdn-cache-control", "max-age=60").body(body)
    };
    region.origin("a").on("/x", [answer("old"), answer("new")]);
    region.client("c").get("/x").await.expect(200, "old").has(
        "cache-status",
        "g; fwd=uri-miss; fwd-status=200; stored; ttl=60, p; fwd=uri-miss; fwd-status=200; stored; ttl=60, \
         c; fwd=uri-miss; fwd-status=200; stored; ttl=60",
    );
    // The middle one has heard of it, the last one has not: that is not asked.
    region.gives("c", "p", "everything", false).await;
    region.client("c").get("/x").await.expect(200, "new");
    assert_eq!(region.edge("g").store.usage().fills, 1);
    region.gives("p", "g", "everything", false).await;
    let given = region.position("c").sequence;
    region.edge("c").standing.given(&region.url("p"), given, region.position("p"));
    region.client("g").get("/x").await.expect(200, "new");
    region.purge("c", "url /x", false).await;
    region.purge("p", "url /x", false).await;
    region.purge("g", "url /y", false).await;
    for (child, parent) in [("c", "p"), ("p", "g")] {
        let given = region.position(child).sequence;
        region.edge(child).standing.given(&region.url(parent), given, region.position(parent));
    }
    let before = region.origin("a").seen_for("/x").len();
    region.client("c").get("/x").await.expect(200, "new");
    region.origin("a").saw(before, "/x");
}

/// What a route is chosen by does not always go on to a parent, which would choose another.
#[tokio::test]
async fn a_route_that_a_parent_would_not_choose_is_asked_for_at_the_origin() {
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .policy(|policy| policy.cookies = Cookies::PassOn(Vec::new()))
        .config(|_, config| {
            let site = &mut config.sites[0];
            let mut beta = RoutePolicy::clone(&site.defaults);
            beta.rewrite.add_prefix = Some("/beta".into());
            let cookie = vec![("beta".into(), Wanted::Present)];
            site.routes.push(Route {
                path: PathPattern::Prefix("/*".into()),
                methods: Vec::new(),
                conditions: Conditions { cookie, ..Conditions::default() },
                policy: Arc::new(beta),
            });
        })
        .start()
        .await;
    region.follow_all();
    region.origin("a").answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target()));
    region.client("c").get("/x").await.expect(200, "/x");
    region.client("c").header("cookie", "beta=1").get("/x").await.expect(200, "/beta/x");
    assert_eq!(region.edge("p").store.usage().fills, 1, "for the others it is still asked");
}
