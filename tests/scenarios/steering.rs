//! Which pool a request goes to: by place, by share, by what the client says, and when one is away.

use std::net::SocketAddr;
use std::sync::Arc;

use geo::{Code, Coordinates};
use tidegate::config::{By, Config, PlaceRule, Shares, Steer, Steering, Sticky, ValueRule};

use crate::places::located;
use crate::stage::directory::Directory;
use crate::stage::reply::reply;
use crate::stage::settings::pool;
use crate::stage::{Builder, Stage, atlas, secs};

/// A stage with an origin and a pool of each name, steered so.
fn steered(names: &'static [&'static str], by: By, fallback: &[&str], split: bool) -> Builder {
    let fallback = fallback.iter().map(|name| Arc::from(*name)).collect();
    let steer = Steer::By(Arc::new(Steering { by, fallback, split }));
    Stage::build().origins(names).policy(move |policy| policy.steer = steer).config(
        move |config: &mut Config, addresses: &[SocketAddr]| {
            config.pools.clear();
            for (name, address) in names.iter().zip(addresses) {
                let mut pool = pool(name, &[*address]);
                pool.eject_after = 1;
                config.pools.insert((*name).into(), pool);
            }
        },
    )
}

/// Every origin says who it is, and how long that holds.
fn say_who(stage: &Stage, names: &[&str], control: &str) {
    for name in names {
        stage.origin(name).on("/x", [reply(200).cache_control(control).body(*name)]);
    }
}

fn country_rules() -> By {
    let codes = |codes: &[&str]| codes.iter().filter_map(|code| Code::new(code)).collect();
    let rule = |countries: &[&str], continents: &[&str], pool: &str| PlaceRule {
        countries: codes(countries),
        continents: codes(continents),
        regions: Vec::new(),
        pool: pool.into(),
    };
    By::Geo {
        rules: vec![rule(&["US", "CA"], &[], "us"), rule(&["JP"], &["AS"], "asia")],
        otherwise: "eu".into(),
    }
}

fn by_weight(shares: &[(&str, u32)], sticky: Option<Sticky>) -> By {
    let shares = shares.iter().map(|(pool, share)| (Arc::from(*pool), *share)).collect();
    By::Weight { shares: Arc::new(Shares::new(shares)), sticky }
}

fn cookie() -> Sticky {
    Sticky::Cookie { name: "arm".into(), max_age: secs(60) }
}

const WORLD: [(&str, &str); 3] = [("81.2.69.0/24", "US"), ("90.0.0.0/8", "DE"), ("2001:db8::/32", "JP")];

#[tokio::test]
async fn a_client_goes_to_the_pool_of_its_country() {
    let directory = Directory::new();
    let database = atlas::put(directory.path(), &atlas::countries(&WORLD));
    let names = &["eu", "us", "asia"];
    let stage = steered(names, country_rules(), &[], false).config(located(database)).start().await;
    say_who(&stage, names, "no-store");
    for (client, pool) in [
        ("81.2.69.7", "us"),
        ("90.1.2.3", "eu"),
        ("2001:db8::7", "asia"),
        ("203.0.113.1", "eu"),
        // What a client writes itself does not make it somebody else.
        ("81.2.69.7, 90.1.2.3", "eu"),
    ] {
        stage.client().header("x-forwarded-for", client).get("/x").await.expect(200, pool);
    }
}

#[tokio::test]
async fn explain_tells_the_place_and_why_a_pool_is_chosen() {
    let directory = Directory::new();
    let database = atlas::put(directory.path(), &atlas::countries(&WORLD));
    let stage = steered(&["eu", "us", "asia"], country_rules(), &["eu"], false)
        .config(located(database))
        .start()
        .await;
    let told = |answer: crate::stage::answer::Answer| {
        let told: serde_json::Value = serde_json::from_str(&answer.text()).expect("it is JSON");
        let steering = &told["steering"];
        format!(
            "{} {} {} then {}",
            steering["place"]["country"], steering["pool"], steering["why"], steering["then"]
        )
    };
    let ask = |client: &'static str| {
        stage.operator().get(&format!("/v1/explain?url=http://www.example.test/x{client}"))
    };
    assert_eq!(told(ask("&client=81.2.69.7").await), r#""US" "us" "rule 1 has US" then ["eu"]"#);
    assert_eq!(told(ask("&client=90.0.0.1").await), r#""DE" "eu" "no rule matches" then []"#);
    assert_eq!(told(ask("").await), r#"null "eu" "the client's place is not known" then []"#);
    // What it says is what happens, also when a pool is away.
    stage.origin("us").refuses().await;
    say_who(&stage, &["eu"], "no-store");
    stage.client().header("x-forwarded-for", "81.2.69.7").get("/x").await.expect(200, "eu");
    let answer: serde_json::Value =
        serde_json::from_str(&ask("&client=81.2.69.7").await.text()).expect("it is JSON");
    assert_eq!(answer["steering"]["pool"], "eu");
    assert_eq!(answer["steering"]["not_available"], serde_json::json!(["us"]));
}

#[tokio::test]
async fn the_nearest_pool_is_asked_and_then_the_next_nearest() {
    let directory = Directory::new();
    // Lyon and Suva.
    let points = [("81.2.69.0/24", 45.76, 4.84), ("90.0.0.0/8", -18.14, 178.44)];
    let database = atlas::put(directory.path(), &atlas::points(&points));
    let at = |north, east| Coordinates::new(north, east).expect("a point");
    let by = By::Nearest {
        pools: vec![
            ("eu".into(), at(50.11, 8.68)),
            ("us".into(), at(37.77, -122.42)),
            ("asia".into(), at(35.68, 139.69)),
        ],
        otherwise: "us".into(),
    };
    let names = &["eu", "us", "asia"];
    let stage = steered(names, by, &[], false).config(located(database)).start().await;
    say_who(&stage, names, "no-store");
    let ask = |client: &str| stage.client().header("x-forwarded-for", client).get("/x");
    ask("81.2.69.7").await.expect(200, "eu");
    ask("90.0.0.1").await.expect(200, "asia");
    ask("203.0.113.1").await.expect(200, "us");
    stage.origin("eu").refuses().await;
    // Lyon is 8,900 km from San Francisco and 9,900 km from Tokyo.
    ask("81.2.69.7").await.expect(200, "us");
    stage.origin("us").refuses().await;
    ask("81.2.69.7").await.expect(200, "asia");
}

#[tokio::test]
async fn a_pool_that_is_away_is_stood_in_for_and_comes_back() {
    let names = &["eu", "us"];
    let stage = steered(names, By::Order(vec!["eu".into(), "us".into()]), &[], false).start().await;
    say_who(&stage, names, "no-store");
    stage.client().get("/x").await.expect(200, "eu");
    stage.origin("eu").refuses().await;
    for _ in 0..5 {
        stage.client().get("/x").await.expect(200, "us");
    }
    stage.origin("eu").listens().await;
    stage.clock.advance(secs(11));
    stage.client().get("/x").await.expect(200, "eu");
}

#[tokio::test]
async fn a_request_with_a_body_is_not_sent_to_two_pools() {
    let names = &["eu", "us"];
    let stage = steered(names, By::Order(vec!["eu".into(), "us".into()]), &[], false).start().await;
    stage.origin("us").on("/x", [reply(200).body("us")]);
    stage.origin("eu").refuses().await;
    stage.client().post("/x", "a body").await.expect_status(502);
    assert_eq!(stage.origin("us").seen_for("/x").len(), 0);
    // Now that it is known to be away.
    stage.client().post("/x", "a body").await.expect(200, "us");
}

#[tokio::test]
async fn where_every_pool_is_away_the_client_is_told_and_no_pool_is_asked_twice() {
    let names = &["eu", "us"];
    let stage = steered(names, By::Order(vec!["eu".into(), "us".into()]), &["eu", "us"], false).start().await;
    for name in names {
        stage.origin(name).refuses().await;
    }
    for _ in 0..3 {
        stage.client().get("/x").await.expect_status(502);
    }
}

#[tokio::test]
async fn a_client_keeps_its_side_of_a_canary_while_its_share_grows() {
    let names = &["main", "canary"];
    let by = by_weight(&[("main", 95), ("canary", 5)], Some(Sticky::Client));
    let stage = steered(names, by, &[], false).config(trusting()).start().await;
    say_who(&stage, names, "no-store");
    let mut on_canary: Vec<bool> = Vec::new();
    for (share, range) in [(5, 1..=25), (50, 150..=250), (100, 400..=400)] {
        move_shares(&stage, &format!(r#"{{"shares": {{"main": {}, "canary": {share}}}}}"#, 100 - share))
            .await;
        let mut now = Vec::new();
        for nth in 0..400 {
            let client = format!("198.51.{}.{}", nth / 200, nth % 200);
            let answer = stage.client().header("x-forwarded-for", &client).get("/x").await;
            now.push(answer.expect_status(200).text() == "canary");
        }
        let count = now.iter().filter(|on| **on).count();
        assert!(range.contains(&count), "{count} of 400 at {share} %");
        assert!(
            on_canary.iter().zip(&now).all(|(before, now)| !before || *now),
            "a client went back at {share} %"
        );
        on_canary = now;
    }
}

/// `X-Forwarded-For` names the client.
fn trusting() -> impl FnOnce(&mut Config, &[SocketAddr]) {
    |config, addresses| {
        located(std::path::PathBuf::new())(config, addresses);
        config.geo = None;
    }
}

async fn move_shares(stage: &Stage, body: &str) {
    let answer = stage.operator().post("/v1/steer/www.example.test", body).await;
    answer.expect_status(200);
}

#[tokio::test]
async fn a_client_known_by_its_cookie_is_given_one_and_keeps_its_pool() {
    let names = &["main", "canary"];
    let by = by_weight(&[("main", 1), ("canary", 1)], Some(cookie()));
    let stage = steered(names, by, &[], false).start().await;
    say_who(&stage, names, "no-store");
    let mut pools = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let first = stage.client().get("/x").await;
        let given = first.field("set-cookie").expect("a cookie is given");
        assert!(given.contains("; Path=/; Max-Age=60; HttpOnly; SameSite=Lax"), "{given}");
        let cookie = given.split(';').next().unwrap_or_default().to_owned();
        for _ in 0..3 {
            let again = stage.client().header("cookie", &format!("a=b; {cookie}")).get("/x").await;
            assert_eq!((again.text(), again.field("set-cookie")), (first.text(), None));
        }
        pools.insert(first.text());
    }
    assert_eq!(pools.len(), 2, "both pools have clients");
}

#[tokio::test]
async fn both_sides_of_a_split_are_stored_apart_and_purged_together() {
    let names = &["main", "canary"];
    let by = by_weight(&[("main", 1), ("canary", 1)], Some(cookie()));
    let stage = steered(names, by, &[], true).start().await;
    say_who(&stage, names, "max-age=600");
    // Two clients, one on each side.
    let mut sides = std::collections::BTreeMap::new();
    for _ in 0..60 {
        let answer = stage.client().get("/x").await;
        let given = answer.field("set-cookie").expect("a cookie is given, also with a hit");
        sides.insert(answer.text(), given.split(';').next().unwrap_or_default().to_owned());
    }
    assert_eq!(sides.len(), 2, "{sides:?}");
    let asked = || names.map(|name| stage.origin(name).seen_for("/x").len());
    assert_eq!(asked(), [1, 1], "one fetch a side");
    for (side, cookie) in &sides {
        let answer = stage.client().header("cookie", cookie).get("/x").await;
        assert!(answer.is_hit() && answer.text() == *side, "{answer:?}");
        answer.lacks("set-cookie");
    }
    stage.purge(&["/x"], false).await;
    for (side, cookie) in &sides {
        stage.client().header("cookie", cookie).get("/x").await.expect(200, side);
    }
    assert_eq!(asked(), [2, 2], "both sides were purged");
}

#[tokio::test]
async fn what_a_client_sends_chooses_a_pool_only_for_itself() {
    let names = &["main", "canary"];
    let rules = vec![ValueRule { values: vec!["yes".into(), "v2-*".into()], pool: "canary".into() }];
    let by = By::Field { name: http::HeaderName::from_static("x-canary"), rules, otherwise: "main".into() };
    let stage = steered(names, by, &[], true).start().await;
    say_who(&stage, names, "max-age=600");
    stage.client().header("x-canary", "yes").get("/x").await.expect(200, "canary");
    stage.client().get("/x").await.expect(200, "main");
    stage.client().header("x-canary", "v2-beta").get("/x").await.expect(200, "canary");
    stage.client().header("x-canary", "no").get("/x").await.expect(200, "main");
    stage.client().header("x-canary", "yes, yes").get("/x").await.expect(200, "main");
    let asked = names.map(|name| stage.origin(name).seen_for("/x").len());
    assert_eq!(asked, [1, 1]);
}

#[tokio::test]
async fn a_cookie_chooses_a_pool() {
    let names = &["main", "beta"];
    let rules = vec![ValueRule { values: vec!["1".into()], pool: "beta".into() }];
    let by = By::Cookie { name: "beta".into(), rules, otherwise: "main".into() };
    let stage = steered(names, by, &[], true).start().await;
    say_who(&stage, names, "max-age=600");
    for (cookie, pool) in
        [("a=1; beta=1", "beta"), ("beta=0", "main"), ("xbeta=1", "main"), ("beta = 1", "beta")]
    {
        stage.client().header("cookie", cookie).get("/x").await.expect(200, pool);
    }
}

/// Without `vary_by` what the first client's pool said is everybody's; with it each country has its own.
#[tokio::test]
async fn a_country_has_answers_of_its_own_only_where_the_route_says_so() {
    for apart in [false, true] {
        let directory = Directory::new();
        let database = atlas::put(directory.path(), &atlas::countries(&WORLD));
        let names = &["eu", "us", "asia"];
        let stage = steered(names, country_rules(), &[], false)
            .policy(move |policy| policy.vary_by_country = apart)
            .config(located(database))
            .start()
            .await;
        say_who(&stage, names, "max-age=600");
        let ask = |client: &str| {
            let client = stage.client().header("x-forwarded-for", client);
            client.header("x-country-code", "XX").get("/x")
        };
        ask("90.1.2.3").await.expect(200, "eu");
        ask("81.2.69.7").await.expect(200, if apart { "us" } else { "eu" });
        ask("81.2.69.8").await.expect(200, if apart { "us" } else { "eu" });
        assert_eq!(stage.count().requests, if apart { 2 } else { 1 });
        if apart {
            let seen = stage.origin("us").seen_for("/x");
            let told = seen[0].field("x-country-code");
            assert_eq!(told.as_deref(), Some("US"), "the client's own word is not passed on");
            stage.purge(&["/x"], false).await;
            ask("90.1.2.3").await.expect(200, "eu");
            ask("81.2.69.7").await.expect(200, "us");
            assert_eq!(stage.count().requests, 4, "every country was purged");
        }
    }
}

#[tokio::test]
async fn a_split_by_place_is_stored_once_a_pool() {
    let directory = Directory::new();
    let world = [("81.2.69.0/24", "US"), ("90.0.0.0/8", "DE"), ("91.0.0.0/8", "FR"), ("92.0.0.0/8", "CA")];
    let database = atlas::put(directory.path(), &atlas::countries(&world));
    let names = &["eu", "us", "asia"];
    let stage = steered(names, country_rules(), &[], true).config(located(database)).start().await;
    say_who(&stage, names, "max-age=600");
    for (client, pool) in [("90.1.2.3", "eu"), ("91.1.2.3", "eu"), ("81.2.69.7", "us"), ("92.1.2.3", "us")] {
        stage.client().header("x-forwarded-for", client).get("/x").await.expect(200, pool);
    }
    assert_eq!(stage.count().requests, 2);
}

#[tokio::test]
async fn a_canary_is_moved_from_5_to_50_to_100_percent_under_load_and_no_request_fails() {
    let names = &["main", "canary"];
    let stage = steered(names, by_weight(&[("main", 95), ("canary", 5)], None), &[], false).start().await;
    for name in names {
        stage.origin(name).answers("/x", |_| reply(200).cache_control("no-store").body("x"));
    }
    let asked = || names.map(|name| stage.origin(name).seen_for("/x").len());
    for share in [5, 50, 100] {
        let before = asked();
        // The move comes while eight ask.
        let (moved, ()) = tokio::join!(
            stage.operator().post(
                "/v1/steer/www.example.test",
                &format!(r#"{{"shares": {{"main": {}, "canary": {share}}}}}"#, 100 - share),
            ),
            async {
                for _ in 0..5 {
                    stage.clients(8).get("/x").await.expect_all(200, "x");
                }
            }
        );
        moved.expect_status(200);
        let settled = asked();
        for _ in 0..25 {
            stage.clients(8).get("/x").await.expect_all(200, "x");
        }
        let [main, canary] = [asked()[0] - settled[0], asked()[1] - settled[1]];
        assert_eq!(main + canary, 200);
        assert!((share * 2_usize).abs_diff(canary) <= 4, "{canary} of 200 at {share} %");
        assert!(settled > before);
    }
}

#[tokio::test]
async fn shares_are_shown_and_a_move_that_is_refused_moves_nothing() {
    let names = &["main", "canary"];
    let stage = steered(names, by_weight(&[("main", 95), ("canary", 5)], None), &[], false).start().await;
    let shares = || async {
        let told: serde_json::Value =
            serde_json::from_str(&stage.operator().get("/v1/steer").await.text()).expect("it is JSON");
        told["steer"][0]["shares"].to_string()
    };
    for (claim, site, body, status) in [
        ("no JSON", "www.example.test", "canary=5", 400),
        ("no shares", "www.example.test", r#"{"shares": {}}"#, 400),
        ("a share below zero", "www.example.test", r#"{"shares": {"canary": -1}}"#, 400),
        ("a share too large", "www.example.test", r#"{"shares": {"canary": 1000001}}"#, 400),
        ("a key nobody knows", "www.example.test", r#"{"shares": {"canary": 1}, "until": 1}"#, 400),
        ("a site nobody knows", "www.example.com", r#"{"shares": {"canary": 1}}"#, 404),
        ("a pool nobody knows", "www.example.test", r#"{"shares": {"kanary": 1}}"#, 422),
        ("a route that is none", "www.example.test", r#"{"shares": {"canary": 1}, "route": "/y"}"#, 422),
        ("nothing left", "www.example.test", r#"{"shares": {"canary": 0, "main": 0}}"#, 422),
    ] {
        let answer = stage.operator().post(&format!("/v1/steer/{site}"), body).await;
        assert_eq!(answer.status, status, "{claim}: {answer:?}");
        assert_eq!(shares().await, r#"{"canary":5,"main":95}"#, "{claim}");
    }
    move_shares(&stage, r#"{"shares": {"canary": 100, "main": 0}}"#).await;
    assert_eq!(shares().await, r#"{"canary":100,"main":0}"#);
}
