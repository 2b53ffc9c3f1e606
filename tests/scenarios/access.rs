//! Access rules: what a client is refused by, it is refused whatever lies in the cache and however it asks.

use std::sync::Arc;
use std::time::Duration;

use tidegate::config::access::{
    Access, Addresses, Basic, Concurrency, Countries, Rate, RateBy, Referers, Signed, SignedQuery,
};
use tidegate::config::{HostPattern, LogTarget, Network, RoutePolicy, value};
use tidegate::route::access::signed;

use crate::stage::answer::Answer;
use crate::stage::client::Client;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::settings::{HOST, encrypted};
use crate::stage::{STARTS_AT_SECS, Stage, atlas, millis, secs};

#[tokio::test]
async fn nothing_of_a_page_comes_to_an_address_that_is_denied() {
    never_leaks(&Rule {
        access: addresses(&["192.0.2.0/24"], &["192.0.2.128/25"]),
        admitted: |client| client.header("x-forwarded-for", "192.0.2.7"),
        refused: |client| client.header("x-forwarded-for", "192.0.2.200"),
        status: 403,
        reason: "address-denied",
    })
    .await;
}

#[tokio::test]
async fn nothing_of_a_page_comes_to_another_sites_page() {
    never_leaks(&Rule {
        access: referers(false),
        admitted: |client| client.header("referer", "https://friend.test/page"),
        refused: |client| client.header("referer", "https://thief.test/https://friend.test/"),
        status: 403,
        reason: "referer-denied",
    })
    .await;
}

#[tokio::test]
async fn a_client_is_whom_trusted_proxies_name_and_nobody_else() {
    let stage = guarded(addresses(&[], &["192.0.2.7"]), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    for (claim, field, value, status) in [
        ("the proxy itself", "via", "1.1 x", 200),
        ("the one it names", "x-forwarded-for", "192.0.2.7", 403),
        ("as IPv6", "x-forwarded-for", "::ffff:192.0.2.7", 403),
        ("as RFC 7239 has it", "forwarded", "for=\"192.0.2.7:4711\"", 403),
        ("what a client adds on the left does not count", "x-forwarded-for", "192.0.2.1, 192.0.2.7", 403),
        ("nor does it harm", "x-forwarded-for", "192.0.2.7, 192.0.2.1", 200),
    ] {
        let answer = stage.client().header(field, value).get("/x").await;
        assert_eq!(answer.status, status, "{claim}: {answer:?}");
    }
    // Without trusted proxies nobody is believed.
    let policy = addresses(&[], &["192.0.2.7"]);
    let stage = Stage::build().policy(move |site| site.access = Some(Arc::new(policy))).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    stage.client().header("x-forwarded-for", "192.0.2.7").get("/x").await.expect(200, "page");
}

#[tokio::test]
async fn whom_a_site_denies_may_not_purge_it_either() {
    let stage = guarded(addresses(&[], &["192.0.2.7"]), |_| ()).await;
    let page = || reply(200).cache_control("max-age=60").body("page");
    stage.origin("a").on("/x", [page(), page()]);
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    let denied = stage.client().header("x-forwarded-for", "192.0.2.7");
    denied.request("PURGE", "/x", b"").await.expect_status(403).cache_status("detail=address-denied");
    stage.client().get("/x").await.expect(200, "page").cache_status_has("hit");
}

#[tokio::test]
async fn a_child_asks_its_own_rules_and_its_parent_asks_them_of_clients_alone() {
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .policy(|site| site.access = Some(Arc::new(addresses(&[], &["192.0.2.7"]))))
        .config(|_, config| config.listeners[0].trusted_proxies = vec![network("127.0.0.0/8")])
        .start()
        .await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("secret")]);
    let denied = |node: &str| region.client(node).header("x-forwarded-for", "192.0.2.7");
    for node in ["c", "p"] {
        denied(node).get("/x").await.expect_status(403).cache_status("detail=address-denied");
    }
    region.client("c").get("/x").await.expect(200, "secret");
    region.until(|| region.edge("c").store.usage().stored == 1).await;
    for node in ["c", "p"] {
        no_part_of(&denied(node).get("/x").await, "secret");
        region.client(node).get("/x").await.expect(200, "secret").cache_status_has("hit");
    }
    region.origin("a").saw(1, "/x");
}

#[tokio::test]
async fn a_route_keeps_of_its_site_what_it_does_not_name_and_other_routes_are_open() {
    let stage = Stage::build()
        .config(|config, _| {
            let site = &mut config.sites[0];
            let open = Arc::clone(&site.defaults);
            let closed = RoutePolicy {
                access: Some(Arc::new(addresses(&["192.0.2.0/24"], &[]))),
                ..RoutePolicy::clone(&site.defaults)
            };
            let path = value::path_pattern("/admin/*").expect("a path");
            site.routes = vec![tidegate::config::Route {
                path,
                methods: Vec::new(),
                conditions: tidegate::config::Conditions::default(),
                policy: Arc::new(closed),
            }];
            site.defaults = open;
        })
        .start()
        .await;
    stage.origin("a").answers("*", |seen| reply(200).cache_control("max-age=60").body(seen.target()));
    stage.client().get("/open").await.expect(200, "/open");
    for target in ["/admin/x", "/admin/%78", "//admin/../admin/x", "/open/../admin/x"] {
        let answer = stage.client().get(target).await;
        assert!(answer.status == 403 || !answer.text().starts_with("/admin"), "{target}: {answer:?}");
    }
}

#[tokio::test]
async fn nothing_of_a_page_comes_to_who_has_another_password_or_none() {
    let users = Users::new();
    let rule = |refused, reason| Rule {
        access: users.asked_for(false),
        admitted: |client| client.header("authorization", RIGHT),
        refused,
        status: 401,
        reason,
    };
    never_leaks(&rule(|client| client.header("authorization", WRONG), "credentials-wrong")).await;
    never_leaks(&rule(|client| client, "credentials-missing")).await;
}

/// The origin is not told who asks, so what it answers is for all who may.
#[tokio::test]
async fn what_is_behind_a_password_is_stored_for_all_who_have_one_and_the_origin_sees_none() {
    let users = Users::new();
    let stage = guarded(users.asked_for(false), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    stage.origin("a").on("/form", [reply(200).body("taken")]);
    let (one, other) =
        (stage.client().header("authorization", RIGHT), stage.client().header("authorization", OTHER));
    one.get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    other.get("/x").await.expect(200, "page").cache_status_has("hit");
    other.get("/x").await.expect(200, "page").cache_status_has("hit");
    one.post("/form", "a=b").await.expect(200, "taken");
    for seen in stage.origin("a").seen() {
        assert_eq!(seen.field("authorization"), None);
    }
    let asked = stage.client().get("/x").await;
    asked
        .has("www-authenticate", "Basic realm=\"staging\", charset=\"UTF-8\"")
        .has("cache-control", "no-store");
}

#[tokio::test]
async fn a_password_that_is_forwarded_makes_an_answer_one_clients() {
    let users = Users::new();
    let stage = guarded(users.asked_for(true), |_| ()).await;
    stage.origin("a").answers("/x", |seen| {
        reply(200).cache_control("max-age=60").body(seen.field("authorization").unwrap_or_default())
    });
    for who in [RIGHT, OTHER, RIGHT] {
        stage.client().header("authorization", who).get("/x").await.expect(200, who);
    }
    stage.origin("a").saw(3, "/x");
}

#[tokio::test]
async fn a_parent_does_not_ask_a_child_for_its_clients_password() {
    let users = Users::new();
    let access = users.asked_for(false);
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .policy(move |site| site.access = Some(Arc::new(access)))
        .start()
        .await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("secret")]);
    region.client("c").header("authorization", RIGHT).get("/x").await.expect(200, "secret");
    region.until(|| region.edge("p").store.usage().stored == 1).await;
    for node in ["p", "c"] {
        no_part_of(region.client(node).get("/x").await.expect_status(401), "secret");
        // Nor does a client become a child by saying so.
        let sly = region.client(node).header("tidegate-child", "http 1 -");
        no_part_of(sly.get("/x").await.expect_status(401), "secret");
    }
}

#[tokio::test]
async fn a_country_that_is_denied_gets_nothing_and_one_that_is_not_known_what_the_rule_says() {
    let directory = Directory::new();
    let networks = [("81.2.69.0/24", "GB"), ("2a02::/16", "DE")];
    let database = atlas::put(directory.path(), &atlas::countries(&networks));
    let code = |text| geo::Code::new(text).expect("a code");
    let rule = Countries { allow: vec![code("DE")], deny: Vec::new(), unknown: false };
    let access = Access { countries: Some(Arc::new(rule)), ..Access::default() };
    let stage = Stage::build()
        .policy(move |site| site.access = Some(Arc::new(access)))
        .config(crate::places::located(database))
        .start()
        .await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("secret")]);
    let from = |address| stage.client().header("x-forwarded-for", address);
    from("2a02::1").get("/x").await.expect(200, "secret");
    stage.until(|count| count.stored == 1).await;
    for address in ["81.2.69.7", "203.0.113.9", "::ffff:81.2.69.7"] {
        let answer = from(address).get("/x").await;
        no_part_of(answer.expect_status(403).cache_status("detail=country-denied"), "secret");
    }
    from("2a02::2").get("/x").await.expect(200, "secret").cache_status_has("hit");
    let told =
        stage.operator().get("/v1/explain?url=http://www.example.test/x&client=81.2.69.7").await.text();
    assert!(told.contains("\"countries\":\"country-denied\""), "{told}");
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back_whatever_is_asked_for() {
    let stage = guarded(rates(&[rate(10, 3)]), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").etag("\"tag\"").body("secret")]);
    stage.origin("a").on("/form", [reply(200).body("secret receipt")]);
    let one = stage.client().header("x-forwarded-for", "192.0.2.1");
    one.get("/x").await.expect(200, "secret").lacks("ratelimit").lacks("retry-after");
    stage.until(|count| count.stored == 1).await;
    one.get("/x").await.expect(200, "secret").cache_status_has("hit");
    one.head("/x").await.expect_status(200);
    for (method, field, value) in [
        ("GET", "via", "1.1 x"),
        ("HEAD", "via", "1.1 x"),
        ("GET", "range", "bytes=0-1"),
        ("GET", "if-none-match", "\"tag\""),
        ("POST", "via", "1.1 x"),
    ] {
        let answer = one
            .clone()
            .header(field, value)
            .request(method, if method == "POST" { "/form" } else { "/x" }, b"")
            .await;
        no_part_of(
            answer.expect_status(429).cache_status("detail=rate-limited").has("retry-after", "1"),
            "secret",
        );
    }
    stage.origin("a").saw(0, "/form");
    // Others are not held back by it; a neighbour in the same /64 is the same subscriber.
    stage.client().header("x-forwarded-for", "192.0.2.2").get("/x").await.expect(200, "secret");
    for (nth, host) in ["1", "2", "3", "ffff:1", "5"].iter().enumerate() {
        let six = stage.client().header("x-forwarded-for", &format!("2001:db8:1:2::{host}"));
        six.get("/x").await.expect_status(if nth < 3 { 200 } else { 429 });
    }
    // One comes back each tenth of a second.
    stage.clock.advance(millis(100));
    one.get("/x").await.expect(200, "secret");
    one.get("/x").await.expect_status(429);
    stage.clock.advance(secs(10));
    for nth in 0..5 {
        one.get("/x").await.expect_status(if nth < 3 { 200 } else { 429 });
    }
}

#[tokio::test]
async fn a_clock_that_jumps_gives_nobody_more() {
    let stage = guarded(rates(&[rate(1, 2)]), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("page")]);
    stage.client().get("/x").await.expect_status(200);
    stage.client().get("/x").await.expect_status(200);
    for jump in [3_600_000, -7_200_000] {
        stage.clock.step_wall(jump);
        stage.client().get("/x").await.expect_status(429);
    }
}

#[tokio::test]
async fn a_reload_gives_nobody_more() {
    let rule = Access {
        concurrency: Some(Arc::new(Concurrency { name: "c".into(), requests: 1, dry_run: false })),
        ..rates(&[rate(1, 3)])
    };
    let mut stage = guarded(rule, |_| ()).await;
    let gate = Gate::shut();
    stage.origin("a").on("/slow", [reply(200).cache_control("no-store").body("slow").head_after(&gate)]);
    stage.origin("a").answers("/x", |_| reply(200).cache_control("max-age=600").body("page"));
    // On one connection: the second is read once the first has given its place back.
    let mut one = stage.client().connect().await;
    one.write(&stage.client().bytes("GET", "/x", b"")).await;
    one.answer("GET").await.expect(200, "page");
    one.write(&stage.client().bytes("GET", "/slow", b"")).await;
    stage.until(|count| count.requests == 2).await;
    // Said again, beside something else.
    let again = |config: &mut tidegate::config::Config| {
        let site = Arc::make_mut(&mut config.sites[0].defaults);
        let access = site.access.as_deref().expect("it has rules");
        let rates = access.rates.iter().flat_map(|rates| rates.iter());
        let rates = rates.map(|rate| Arc::new(Rate::clone(rate))).collect();
        let concurrency = access.concurrency.as_deref().cloned().map(Arc::new);
        site.access =
            Some(Arc::new(Access { rates: Some(Arc::new(rates)), concurrency, ..Access::default() }));
        site.x_cache = !site.x_cache;
    };
    stage.reload(again).await.expect("there is nothing wrong");
    stage.client().get("/x").await.expect_status(429).cache_status_has("detail=concurrency-limited");
    gate.open();
    one.answer("GET").await.expect(200, "slow");
    one.write(&stage.client().bytes("GET", "/x", b"")).await;
    one.answer("GET").await.expect_status(429).cache_status_has("detail=rate-limited");
    let other = |config: &mut tidegate::config::Config| {
        let site = Arc::make_mut(&mut config.sites[0].defaults);
        site.access = Some(Arc::new(rates(&[rate(1, 2)])));
    };
    stage.reload(other).await.expect("there is nothing wrong");
    // Another rule has counted nothing yet.
    stage.client().get("/x").await.expect(200, "page");
}

#[tokio::test]
async fn who_is_no_longer_among_the_users_is_known_no_longer_after_a_reload() {
    let users = Users::new();
    let mut stage = guarded(users.asked_for(false), |_| ()).await;
    stage.origin("a").answers("/x", |_| reply(200).cache_control("max-age=600").body("page"));
    let asked = |stage: &Stage, who| stage.client().header("authorization", who).get("/x");
    for who in [RIGHT, OTHER] {
        asked(&stage, who).await.expect(200, "page");
    }
    stage.reload(|_| ()).await.expect("there is nothing wrong");
    for who in [RIGHT, OTHER] {
        asked(&stage, who).await.expect(200, "page");
    }
    std::fs::write(users.0.path().join("users"), format!("bob:{SWORDFISH}\n")).expect("it is written");
    stage.reload(|_| ()).await.expect("there is nothing wrong");
    asked(&stage, RIGHT).await.expect_status(401);
    asked(&stage, OTHER).await.expect(200, "page");
}

#[tokio::test]
async fn rates_count_by_route_and_by_field_and_each_must_agree() {
    let by = |by, requests| Rate { by, ..rate(requests, requests) };
    let field = by(RateBy::Field("x-api-key".into()), 2);
    let all = Rate { name: "all".into(), ..by(RateBy::Route, 6) };
    let stage = guarded(rates(&[field, all]), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("page")]);
    let of = |key: &str| stage.client().header("X-API-Key", key);
    for (claim, client, status) in [
        ("one key", of("a"), 200),
        ("again", of("a"), 200),
        ("once too often", of("a"), 429),
        ("another key", of("b"), 200),
        ("no key: the client", stage.client(), 200),
        ("again", stage.client(), 200),
        ("once too often", stage.client(), 429),
        ("the sixth of all", of("c"), 200),
        ("the seventh, of a client that nobody knows", of("d"), 429),
    ] {
        assert_eq!(client.get("/x").await.status, status, "{claim}");
    }
}

#[tokio::test]
async fn a_rate_that_is_only_tried_is_told_and_refuses_nobody() {
    let directory = Directory::new();
    let log = directory.path().join("access.log");
    let target = log.clone();
    let tried = Rate { dry_run: true, fields: true, ..rate(1, 1) };
    let mut stage = guarded(rates(&[tried]), move |config| config.log.target = LogTarget::File(target)).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("page")]);
    stage.client().get("/x").await.expect(200, "page").has("ratelimit", "\"rate\";r=0;t=1");
    let beyond = stage.client().get("/x").await;
    beyond
        .expect(200, "page")
        .has("ratelimit", "\"rate\";r=0;t=1")
        .has("ratelimit-policy", "\"rate\";q=1;w=1");
    // Counted when the answer has been sent.
    let mut metrics = String::new();
    for _ in 0..1000 {
        metrics = stage.operator().get("/metrics").await.text();
        if metrics.contains("dry-run") {
            break;
        }
    }
    assert!(metrics.contains("tidegate_reasons_total{reason=\"rate-limited-dry-run\"} 1"), "{metrics}");
    stage.shut_down().await;
    let lines = std::fs::read_to_string(log).expect("the log is there");
    let told = lines.lines().filter(|line| line.contains("\"would_refuse\":\"rate-limited\"")).count();
    assert_eq!(told, 1, "{lines}");
}

#[tokio::test]
async fn what_is_left_of_a_rate_is_told_where_that_is_asked_for() {
    let stage = guarded(rates(&[Rate { fields: true, ..rate(10, 2) }]), |_| ()).await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("page")]);
    for (status, left) in [(200, 1), (200, 0), (429, 0)] {
        let answer = stage.client().get("/x").await;
        answer.expect_status(status).has("ratelimit", &format!("\"rate\";r={left};t=1"));
    }
}

#[tokio::test]
async fn a_client_has_so_many_requests_under_way_and_no_more() {
    let rule = Concurrency { name: "all".into(), requests: 2, dry_run: false };
    let access = Access { concurrency: Some(Arc::new(rule)), ..Access::default() };
    let stage = guarded(access, |_| ()).await;
    let gate = Gate::shut();
    stage.origin("a").on("/slow", [reply(200).cache_control("max-age=600").body("slow").head_after(&gate)]);
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=600").body("page")]);
    let leader = stage.client().get("/slow");
    stage.until(|count| count.fills_under_way == 1).await;
    let follower = stage.client().get("/slow");
    stage.until(|count| count.collapsed == 1).await;
    let refused = stage.client().get("/x").await;
    refused.expect_status(429).cache_status("detail=concurrency-limited").has("retry-after", "1");
    let other = stage.client().header("x-forwarded-for", "192.0.2.1");
    other.get("/x").await.expect(200, "page");
    // One who goes away makes room.
    follower.leave();
    let mut admitted = stage.client().get("/x").await;
    for _ in 0..1000 {
        if admitted.status == 200 {
            break;
        }
        admitted = stage.client().get("/x").await;
    }
    admitted.expect(200, "page");
    gate.open();
    leader.await.expect(200, "slow");
    for _ in 0..5 {
        stage.client().get("/x").await.expect_status(200);
    }
}

#[tokio::test]
async fn nothing_of_a_page_comes_by_a_url_that_is_not_signed() {
    let keys = Keys::new();
    let stage = guarded(keys.asked_for(), |_| ()).await;
    let body = "secret";
    stage.origin("a").answers("*", move |seen| {
        reply(200).cache_control("max-age=600").body(format!("{body} {}", seen.target()))
    });
    let (good, other) = (keys.signed("/x?a=1", 60), keys.signed("/x?a=1", 120));
    stage.client().get(&good).await.expect(200, "secret /x?a=1");
    stage.until(|count| count.stored == 1).await;
    // Another URL for it is the same page.
    stage.client().get(&other).await.expect(200, "secret /x?a=1").cache_status_has("hit");
    stage.client().head(&other).await.expect_status(200);
    for (claim, target, reason) in [
        ("none", "/x?a=1".to_owned(), "signature-missing"),
        ("half", good.split("&signature").next().expect("a part").to_owned(), "signature-missing"),
        ("of another page", good.replace("a=1", "a=2"), "signature-wrong"),
        ("of another path", good.replace("/x", "/y"), "signature-wrong"),
        ("twice", format!("{good}&signature=x"), "signature-wrong"),
    ] {
        for (method, field, value) in [
            ("GET", "via", "1.1 x"),
            ("HEAD", "via", "1.1 x"),
            ("GET", "range", "bytes=0-1"),
            ("GET", "if-none-match", "*"),
            ("POST", "via", "1.1 x"),
        ] {
            let answer = stage.client().header(field, value).request(method, &target, b"").await;
            assert_eq!(answer.status, 403, "{claim}, {method}");
            no_part_of(answer.cache_status(&format!("detail={reason}")), "secret");
        }
    }
    stage.clock.advance(secs(60));
    no_part_of(
        stage.client().get(&good).await.expect_status(410).cache_status("detail=signature-expired"),
        "secret",
    );
    stage.client().get(&other).await.expect(200, "secret /x?a=1").cache_status_has("hit");
    stage.origin("a").saw(1, "/x?a=1");
    // Around the cache, too, the origin sees none of it.
    let form = keys.signed("/form?b=2&c", 600);
    stage.client().post(&form, "x").await.expect(200, "secret /form?b=2&c");
    stage.origin("a").saw(1, "/form?b=2&c");
}

#[tokio::test]
async fn a_page_behind_a_signature_is_purged_by_its_url_without_one() {
    let keys = Keys::new();
    let stage = guarded(keys.asked_for(), |_| ()).await;
    let page = |body| reply(200).cache_control("max-age=600").body(body);
    stage.origin("a").on("/x", [page("old"), page("new"), page("newer")]);
    let good = keys.signed("/x", 600);
    stage.client().get(&good).await.expect(200, "old");
    stage.until(|count| count.stored == 1).await;
    stage.purge(&["/x"], false).await;
    stage.client().get(&good).await.expect(200, "new");
    stage.until(|count| count.stored == 2).await;
    stage.client().request("PURGE", &good, b"").await.expect_status(200);
    stage.client().get(&keys.signed("/x", 700)).await.expect(200, "newer");
}

#[tokio::test]
async fn a_child_asks_its_parent_for_the_page_and_not_for_the_signature() {
    let keys = Keys::new();
    let access = keys.asked_for();
    let region = Region::build()
        .node("p", &[])
        .node("c", &["p"])
        .policy(move |site| site.access = Some(Arc::new(access)))
        .start()
        .await;
    region.follow_all();
    region.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("secret")]);
    region.client("c").get(&keys.signed("/x", 60)).await.expect(200, "secret");
    region.until(|| region.edge("p").store.usage().stored == 1).await;
    for node in ["p", "c"] {
        no_part_of(region.client(node).get("/x").await.expect_status(403), "secret");
        region.client(node).get(&keys.signed("/x", 30)).await.expect(200, "secret").cache_status_has("hit");
    }
    region.origin("a").saw(1, "/x");
}

/// A key in a file, which goes with it.
struct Keys(Directory);

impl Keys {
    fn new() -> Self {
        let directory = Directory::new();
        std::fs::write(directory.path().join("key"), "a key of this scenario\n").expect("it is written");
        Self(directory)
    }

    fn asked_for(&self) -> Access {
        let keys = vec![("k".into(), self.0.path().join("key"))];
        let signed = Signed { keys, query: SignedQuery::All, skew: Duration::ZERO };
        Access { signed: Some(Arc::new(signed)), ..Access::default() }
    }

    /// The target, signed for so many seconds from the beginning on.
    fn signed(&self, target: &str, secs: u64) -> String {
        let key = signed::key(&self.0.path().join("key")).expect("a key");
        let url = format!("http://{HOST}{target}");
        let url =
            signed::sign(&url, &key, Some("k"), &SignedQuery::All, STARTS_AT_SECS + secs).expect("a URL");
        url.strip_prefix(&format!("http://{HOST}")).expect("its host").to_owned()
    }
}

/// A rule, one whom it admits and one whom it refuses.
struct Rule {
    access: Access,
    admitted: fn(Client) -> Client,
    refused: fn(Client) -> Client,
    status: u16,
    reason: &'static str,
}

/// Asks in every way that is known to come by a body.
async fn never_leaks(rule: &Rule) {
    let stage = guarded(rule.access.clone(), |_| ()).await;
    let gate = Gate::shut();
    let page =
        || reply(200).cache_control("max-age=1, stale-while-revalidate=600").etag("\"tag\"").body("secret");
    stage.origin("a").on("/x", [page(), page(), page()]);
    stage.origin("a").on("/slow", [page().head_after(&gate)]);
    stage.origin("a").on("/broken", [reply(500).body("secret trouble")]);
    stage.origin("a").on("/form", [reply(200).body("secret receipt")]);
    let (admitted, refused) = ((rule.admitted)(stage.client()), (rule.refused)(stage.client()));
    let told = format!("detail={}", rule.reason);
    let ways = |client: &Client| {
        [
            ("GET", client.clone()),
            ("HEAD", client.clone()),
            ("GET", client.clone().header("range", "bytes=0-2")),
            ("GET", client.clone().header("range", "bytes=-1").header("if-range", "\"tag\"")),
            ("GET", client.clone().header("if-none-match", "\"tag\"")),
            ("GET", client.clone().header("if-none-match", "*")),
            ("GET", client.clone().header("cache-control", "only-if-cached")),
            ("GET", client.clone().header("cache-control", "max-stale")),
        ]
    };
    // Before anything is stored.
    for (method, client) in ways(&refused) {
        no_part_of(
            client.request(method, "/x", b"").await.expect_status(rule.status).cache_status(&told),
            "secret",
        );
    }
    stage.origin("a").saw(0, "/x");
    admitted.get("/x").await.expect(200, "secret");
    stage.until(|count| count.stored == 1).await;
    admitted.get("/x").await.expect(200, "secret").cache_status_has("hit");
    // Fresh, then stale: nobody who is refused causes a refresh.
    for _ in 0..2 {
        for (method, client) in ways(&refused) {
            let answer = client.request(method, "/x", b"").await;
            no_part_of(answer.expect_status(rule.status).cache_status(&told), "secret");
        }
        stage.clock.advance(secs(5));
    }
    stage.origin("a").saw(1, "/x");
    // While somebody's fetch is under way: no follower of it.
    let leader = admitted.get("/slow");
    stage.until(|count| count.fills_under_way == 1).await;
    no_part_of(refused.get("/slow").await.expect_status(rule.status), "secret");
    assert_eq!(stage.count().collapsed, 0);
    gate.open();
    leader.await.expect(200, "secret");
    // What does not come from the cache.
    no_part_of(refused.get("/broken").await.expect_status(rule.status), "trouble");
    no_part_of(refused.post("/form", "a=b").await.expect_status(rule.status), "receipt");
    stage.origin("a").saw(0, "/broken");
    stage.origin("a").saw(0, "/form");
    admitted.post("/form", "a=b").await.expect(200, "secret receipt");
    // A refused request whose body looks like another is one request.
    let hidden = b"GET /x HTTP/1.1\r\nHost: www.example.test\r\n\r\n";
    let mut connection = refused.connect().await;
    connection.write(&refused.bytes("POST", "/form", hidden)).await;
    connection.answer("POST").await.expect_status(rule.status);
    connection.write(&refused.bytes("GET", "/x", b"")).await;
    let next = connection.answer("GET").await;
    assert!(next.status == 0 || next.status == rule.status, "{next:?}");
    no_part_of(&next, "secret");
    // And who is admitted still is.
    admitted.get("/x").await.expect_status(200);
}

#[tokio::test]
async fn rules_hold_over_http_2_for_each_stream() {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let stage = guarded(referers(true), move |config| {
        config.listeners = vec![encrypted(cert, key)];
    })
    .await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("secret")]);
    let client = H2Client::connect(stage.address(), &identity).await;
    client.get("/x").await.expect(200, "secret");
    let denied = client.get_with("/x", &[("referer", "https://thief.test/")]).await;
    no_part_of(denied.expect_status(403).cache_status("detail=referer-denied"), "secret");
    client.get("/x").await.expect(200, "secret");
}

#[tokio::test]
async fn explain_says_what_the_rules_would() {
    let access = Access { addresses: addresses(&[], &["192.0.2.0/24"]).addresses, ..referers(true) };
    let stage = guarded(access, |_| ()).await;
    let explained = |more: &'static str| {
        let operator = stage.operator();
        async move { operator.get(&format!("/v1/explain?url=http://www.example.test/x{more}")).await.text() }
    };
    let told = explained("").await;
    assert!(told.contains("\"addresses\":\"depends on the client\"") && told.contains("\"fetch\""), "{told}");
    let told = explained("&client=192.0.2.1").await;
    assert!(told.contains("\"refuse\"") && told.contains("\"reason\":\"address-denied\""), "{told}");
    let told = explained("&client=198.51.100.1&header=Referer:+https://thief.test/").await;
    assert!(
        told.contains("\"addresses\":\"admits\"") && told.contains("\"referers\":\"referer-denied\""),
        "{told}"
    );
}

/// A stage with these rules, whose clients say who they are by `X-Forwarded-For`.
async fn guarded(access: Access, change: impl FnOnce(&mut tidegate::config::Config) + 'static) -> Stage {
    Stage::build()
        .policy(move |site| site.access = Some(Arc::new(access)))
        .config(move |config, _| {
            change(config);
            config.listeners[0].trusted_proxies = vec![network("127.0.0.0/8")];
        })
        .start()
        .await
}

/// Claims that an answer says nothing of a page.
#[track_caller]
fn no_part_of(answer: &Answer, page: &str) {
    assert!(!answer.text().contains(page), "{answer:?}");
    assert!(answer.field("etag").is_none() && answer.field("age").is_none(), "{answer:?}");
}

fn addresses(allow: &[&str], deny: &[&str]) -> Access {
    let networks = |texts: &[&str]| texts.iter().map(|text| network(text)).collect();
    let rule = Addresses { allow: networks(allow), deny: networks(deny), ..Addresses::default() };
    Access { addresses: Some(Arc::new(rule)), ..Access::default() }
}

fn referers(none: bool) -> Access {
    let rule = Referers { hosts: vec![HostPattern::Exact("friend.test".into())], none };
    Access { referers: Some(Arc::new(rule)), ..Access::default() }
}

/// So many a second, for each client.
fn rate(requests: u32, burst: u32) -> Rate {
    Rate {
        name: "rate".into(),
        requests,
        per: secs(1),
        burst,
        by: RateBy::Client,
        dry_run: false,
        fields: false,
        memory_bytes: 1 << 20,
    }
}

fn rates(rates: &[Rate]) -> Access {
    let rates = rates.iter().map(|rate| Arc::new(rate.clone())).collect();
    Access { rates: Some(Arc::new(rates)), ..Access::default() }
}

fn network(text: &str) -> Network {
    value::network(text).expect("a network")
}

/// A file of users, which goes with it.
struct Users(Directory);

impl Users {
    fn new() -> Self {
        let directory = Directory::new();
        let lines = format!("# `swordfish` both\nann:{SWORDFISH}\nbob:{SWORDFISH}\n");
        std::fs::write(directory.path().join("users"), lines).expect("it is written");
        Self(directory)
    }

    fn asked_for(&self, forward: bool) -> Access {
        let users = self.0.path().join("users");
        let basic = Basic { users, realm: "staging".into(), forward };
        Access { basic: Some(Arc::new(basic)), ..Access::default() }
    }
}

const SWORDFISH: &str = "$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.";
/// `ann:swordfish`
const RIGHT: &str = "Basic YW5uOnN3b3JkZmlzaA==";
/// `bob:swordfish`
const OTHER: &str = "Basic Ym9iOnN3b3JkZmlzaA==";
/// `ann:sword`
const WRONG: &str = "Basic YW5uOnN3b3Jk";
