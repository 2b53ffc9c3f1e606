//! Access rules: what a client is refused by, it is refused whatever lies in the cache and however it asks.

use std::sync::Arc;

use tidegate::config::access::{Access, Addresses, Referers};
use tidegate::config::{HostPattern, Network, RoutePolicy, value};

use crate::stage::Stage;
use crate::stage::answer::Answer;
use crate::stage::client::Client;
use crate::stage::gate::Gate;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::region::Region;
use crate::stage::reply::reply;
use crate::stage::secs;
use crate::stage::settings::encrypted;

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
            site.routes =
                vec![tidegate::config::Route { path, methods: Vec::new(), policy: Arc::new(closed) }];
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

fn network(text: &str) -> Network {
    value::network(text).expect("a network")
}
