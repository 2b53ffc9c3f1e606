//! Other settings take effect at once, whole or not at all, and nobody who is being served notices.

use std::sync::Arc;

use tidegate::config::{LogTarget, PathPattern, Route, Steer};
use tidegate::reload::ReloadError;

use crate::stage::Stage;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::reply::reply;
use crate::stage::settings::pool;

#[tokio::test]
async fn a_route_changes_and_what_is_stored_stays() {
    let mut stage = Stage::new().await;
    for path in ["/x", "/api/y"] {
        stage.origin("a").answers(path, |seen| reply(200).cache_control("max-age=60").body(seen.target()));
        stage.client().get(path).await.expect(200, path);
    }
    stage.until(|count| count.stored == 2).await;
    let client = stage.client();
    let mut connection = client.connect().await;
    connection.write(&client.bytes("GET", "/x", b"")).await;
    assert!(connection.answer("GET").await.is_hit());
    let changes = stage
        .reload(|config| {
            let site = &mut config.sites[0];
            let mut policy = (*site.defaults).clone();
            policy.cache = false;
            let path = PathPattern::Prefix("/api/".into());
            site.routes.push(Route {
                path,
                methods: Vec::new(),
                conditions: tidegate::config::Conditions::default(),
                policy: Arc::new(policy),
            });
        })
        .await
        .expect("there is nothing wrong");
    let changes: Vec<_> = changes.iter().map(|change| format!("{}: {}", change.place, change.what)).collect();
    assert_eq!(changes, ["site www.example.test, route /api/*: added"]);
    // On the connection from before.
    connection.write(&client.bytes("GET", "/x", b"")).await;
    assert!(connection.answer("GET").await.is_hit());
    connection.write(&client.bytes("GET", "/api/y", b"")).await;
    connection.answer("GET").await.expect(200, "/api/y").cache_status_has("fwd=bypass");
    stage.origin("a").saw(1, "/x");
    stage.origin("a").saw(2, "/api/y");
}

#[tokio::test]
async fn a_request_ends_at_the_origin_that_it_began_with() {
    let mut stage = Stage::build()
        .origins(&["a", "b"])
        .config(|config, origins| {
            config.pools = [pool("main", &origins[..1])].map(|pool| (Arc::clone(&pool.name), pool)).into();
        })
        .start()
        .await;
    let gate = Gate::shut();
    stage.origin("a").on("/slow", [reply(200).cache_control("no-store").body("a").head_after(&gate)]);
    stage.origin("b").answers("*", |_| reply(200).cache_control("no-store").body("b"));
    let slow = stage.client().get("/slow");
    stage.until(|count| count.requests == 1).await;
    let b = stage.origin("b").address();
    stage
        .reload(|config| drop(config.pools.insert("main".into(), pool("main", &[b]))))
        .await
        .expect("it can be had");
    stage.client().get("/next").await.expect(200, "b");
    gate.open();
    slow.await.expect(200, "a");
}

#[tokio::test]
async fn a_pool_that_is_the_same_keeps_its_connections() {
    let mut stage = Stage::new().await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("no-store").body(seen.target()));
    stage.client().get("/1").await.expect(200, "/1");
    stage
        .reload(|config| {
            config.sites[0].hosts.push(tidegate::config::HostPattern::Exact("b.example.test".into()));
        })
        .await
        .expect("it can be had");
    stage.client().get("/2").await.expect(200, "/2");
    assert_eq!(stage.origin("a").connections(), 1);
}

#[tokio::test]
async fn what_cannot_be_had_changes_nothing() {
    let mut stage = Stage::new().await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("no-store").body(seen.target()));
    let directory = Directory::new();
    let refused = stage
        .reload(|config| {
            config.sites[0].defaults = Arc::new({
                let mut policy = (*config.sites[0].defaults).clone();
                policy.steer = Steer::Pool("nobody".into());
                policy
            });
            config.log.target = LogTarget::File(directory.path().join("no/such/directory/log"));
        })
        .await;
    assert!(matches!(refused, Err(ReloadError::Log(_))), "{refused:?}");
    stage.client().get("/x").await.expect(200, "/x");
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_stays_as_it_was() {
    let mut stage = Stage::new().await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("no-store").body(seen.target()));
    for _ in 0..2 {
        let changes = stage.reload(|config| {
            config.cache.memory_bytes = 32 << 20;
            config.workers = 7;
        });
        let changes = changes.await.expect("there is nothing wrong");
        let changes: Vec<_> =
            changes.iter().map(|one| (one.place.as_str(), one.what.as_str(), one.restart)).collect();
        let expected = [("the node", "workers: 2 → 7", true), ("[cache]", "memory: 64MiB → 32MiB", true)];
        assert_eq!(changes, expected, "told each time, for it is still so");
    }
    stage.client().get("/x").await.expect(200, "/x");
}

#[tokio::test]
async fn a_site_keeps_its_counters() {
    let mut stage = Stage::new().await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("no-store").body(seen.target()));
    stage.client().get("/x").await.expect(200, "/x");
    let sites = stage.edge().config.sites.clone();
    let mut other = sites[0].clone();
    other.name = "other.example.test".into();
    other.hosts = vec![tidegate::config::HostPattern::Exact("other.example.test".into())];
    stage.reload(move |config| config.sites = vec![other]).await.expect("there is nothing wrong");
    stage.client().get("/x").await.expect_status(421);
    stage.client().host("other.example.test").get("/x").await.expect(200, "/x");
    stage.reload(move |config| config.sites = sites).await.expect("there is nothing wrong");
    stage.client().get("/x").await.expect(200, "/x");
    let counted = |site: &str| {
        let totals = stage.observe().metrics.totals();
        totals
            .sites
            .iter()
            .find(|totals| &*totals.site == site)
            .map_or(0, tidegate::observe::metrics::SiteTotals::all)
    };
    stage.until(|_| counted("www.example.test") == 2 && counted("other.example.test") == 1).await;
}

#[tokio::test]
async fn the_log_goes_on_elsewhere() {
    let directory = Directory::new();
    let (before, after) = (directory.path().join("before"), directory.path().join("after"));
    let log = before.clone();
    let mut stage =
        Stage::build().config(move |config, _| config.log.target = LogTarget::File(log)).start().await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("no-store").body(seen.target()));
    stage.client().get("/1").await.expect(200, "/1");
    let log = after.clone();
    stage.reload(move |config| config.log.target = LogTarget::File(log)).await.expect("it can be opened");
    stage.client().get("/2").await.expect(200, "/2");
    stage.shut_down().await;
    let [before, after] = [before, after].map(|path| std::fs::read_to_string(path).expect("it is there"));
    assert!((before.clone() + &after).lines().count() == 2, "no line is lost: {before} and {after}");
    assert!(after.contains("/2"), "{before} and {after}");
}
