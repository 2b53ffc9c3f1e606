//! Where clients are: the geo database, in use and replaced.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use tidegate::config::{Conditions, Config, Geo, GeoLayout, GeoPaths, LogTarget, Network};

use crate::stage::directory::Directory;
use crate::stage::reply::reply;
use crate::stage::{Stage, atlas, secs};

/// What a stage needs to have this database, and clients whom `X-Forwarded-For` names.
pub(crate) fn located(database: PathBuf) -> impl FnOnce(&mut Config, &[std::net::SocketAddr]) {
    move |config, _| {
        config.geo = Some(Geo { database, layout: GeoLayout::Auto, paths: GeoPaths::default() });
        let local = Network::new(IpAddr::from([127, 0, 0, 1]), 32).expect("an address is a network");
        config.listeners[0].trusted_proxies = vec![local];
    }
}

fn country(stage: &Stage, address: &str) -> Option<String> {
    let place = stage.edge().place(address.parse().expect("an address"))?;
    Some(place.country?.to_string())
}

#[tokio::test]
async fn the_access_log_has_the_country_of_the_client_that_a_trusted_proxy_names() {
    let directory = Directory::new();
    let database = atlas::put(
        directory.path(),
        &atlas::countries(&[("81.2.69.0/24", "GB"), ("2a02::/16", "DE"), ("127.0.0.0/8", "US")]),
    );
    let log = directory.path().join("access.log");
    let target = log.clone();
    let mut stage = Stage::build()
        .config(located(database))
        .config(move |config, _| config.log.target = LogTarget::File(target))
        .start()
        .await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    for named in ["81.2.69.7", "2a02::1", "203.0.113.9"] {
        stage.client().header("x-forwarded-for", named).get("/x").await.expect(200, "x");
    }
    stage.client().get("/x").await.expect(200, "x");
    stage.shut_down().await;
    let lines = std::fs::read_to_string(log).expect("the log is there");
    let countries: Vec<_> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).expect("a line is JSON"))
        .map(|line| (line["client"].as_str().map(str::to_owned), line["country"].as_str().map(str::to_owned)))
        .collect();
    let expected = [
        ("81.2.69.7", Some("GB")),
        ("2a02::1", Some("DE")),
        ("203.0.113.9", None),
        ("127.0.0.1", Some("US")),
    ];
    let expected = expected.map(|(client, country)| (Some(client.to_owned()), country.map(str::to_owned)));
    assert_eq!(countries.len(), 4, "{lines}");
    for one in expected {
        assert!(countries.contains(&one), "{one:?} is missing from {lines}");
    }
}

#[tokio::test]
async fn a_database_that_is_replaced_is_used_and_a_broken_one_is_refused() {
    let directory = Directory::new();
    let database = atlas::put(directory.path(), &atlas::countries(&[("81.2.69.0/24", "GB")]));
    let stage = Stage::build().config(located(database)).start().await;
    assert_eq!(country(&stage, "81.2.69.1").as_deref(), Some("GB"));
    atlas::put(directory.path(), &atlas::countries(&[("81.2.69.0/24", "IE")]));
    renewed(&stage, "tidegate_geo_reloads_total 1").await;
    assert_eq!(country(&stage, "81.2.69.1").as_deref(), Some("IE"));
    let good = atlas::countries(&[("81.2.69.0/24", "FR"), ("90.0.0.0/8", "FR")]);
    for (nth, bad) in [&good[..good.len() / 2], b"not a database", b""].into_iter().enumerate() {
        atlas::put(directory.path(), bad);
        renewed(&stage, &format!("tidegate_geo_refused_total {}", nth + 1)).await;
        assert_eq!(country(&stage, "81.2.69.1").as_deref(), Some("IE"), "the old one stays");
    }
    let ready = stage.operator().get("/ready").await;
    assert!(ready.status == 200 && ready.text().contains("the new database is refused"), "{ready:?}");
    // In place, as `cp` does it, and gone for a moment.
    std::fs::remove_file(directory.path().join("places.mmdb")).expect("it is there");
    std::fs::write(directory.path().join("places.mmdb"), &good).expect("a file of a test");
    renewed(&stage, "tidegate_geo_reloads_total 2").await;
    assert_eq!(country(&stage, "81.2.69.1").as_deref(), Some("FR"));
    assert_eq!(stage.operator().get("/ready").await.text(), "ok\n");
}

/// Lets time go on until the metrics have this line.
async fn renewed(stage: &Stage, line: &str) {
    for _ in 0..20_000 {
        stage.clock.advance(secs(1));
        let metrics = stage.operator().get("/metrics").await;
        if metrics.text().lines().any(|one| one == line) {
            return;
        }
    }
    panic!("`{line}` was waited for in vain");
}

#[tokio::test]
async fn a_node_whose_database_cannot_be_used_does_not_start() {
    let directory = Directory::new();
    let database = atlas::put(directory.path(), b"not a database");
    let stage = Stage::build().start().await;
    let mut config = tidegate::config::Config::clone(&stage.edge().config);
    located(database)(&mut config, &[]);
    let clock = stage.clock.clone();
    let started = tokio::task::spawn_blocking(move || tidegate::Edge::start(config, clock).err());
    let error = started.await.expect("starting does not panic").expect("it does not start");
    assert!(error.to_string().starts_with("cannot use the geo database"), "{error}");
}

/// Its answers have keys of their own, and a purge of the URL takes them too.
#[tokio::test]
async fn a_route_is_chosen_by_country_and_its_answers_are_its_own() {
    let directory = Directory::new();
    let networks = [("81.2.69.0/24", "GB"), ("2a02::/16", "DE")];
    let database = atlas::put(directory.path(), &atlas::countries(&networks));
    let stage = Stage::build()
        .origins(&["a", "b"])
        .site("pool = \"a\"\n[[site.route]]\npath = \"/x*\"\nmatch = { header = { x-never = true } }\npool = \"a\"\n")
        .config(located(database))
        // Written after the settings were checked: there the database is a file that must be there.
        .config(|config, _| {
            let site = config.sites.first_mut().expect("one site");
            let route = site.routes.first_mut().expect("one route");
            route.conditions = Conditions { country: vec![code("GB"), code("IE")], ..Conditions::default() };
            let mut policy = tidegate::config::RoutePolicy::clone(&route.policy);
            policy.steer = tidegate::config::Steer::Pool("b".into());
            route.policy = Arc::new(policy);
        })
        .start()
        .await;
    for (name, body) in [("a", "for all"), ("b", "for the isles")] {
        let page = || reply(200).cache_control("max-age=60").body(body);
        stage.origin(name).on("/x", [page(), page()]);
    }
    let asked = async |from: &str, status: &str| {
        let body = if from.starts_with("81.") { "for the isles" } else { "for all" };
        let client = stage.client().header("x-forwarded-for", from);
        client.get("/x").await.expect(200, body).cache_status_has(status);
    };
    for purged in [false, true] {
        asked("81.2.69.7", "fwd=uri-miss").await;
        asked("2a02::1", "fwd=uri-miss").await;
        stage.until(|count| count.stored == 2 + 2 * u64::from(purged)).await;
        asked("81.2.69.8", "hit").await;
        asked("203.0.113.9", "hit").await;
        if !purged {
            stage.purge(&["/x"], false).await;
        }
    }
}

fn code(text: &str) -> geo::Code {
    geo::Code::new(text).expect("a code")
}
