//! What a route does beside caching: it writes paths anew, answers itself, keys by more than the URL, goes around the cache.

use tidegate::config::HostPattern;

use crate::stage::origin::Seen;
use crate::stage::reply::reply;
use crate::stage::settings::HOST;
use crate::stage::{Stage, secs};

#[tokio::test]
async fn what_is_written_anew_is_stored_and_purged_under_the_url_that_clients_see() {
    let site = r#"
[[site.route]]
path = "/shop/*"
rewrite = { path = "/internal/$1", query = "$query&edge=1" }
"#;
    let stage = Stage::build().site(site).start().await;
    stage.origin("a").on(
        "/internal/x?q=1&edge=1",
        [
            reply(200).cache_control("max-age=60").etag("\"1\"").body("one"),
            reply(200).cache_control("max-age=60").etag("\"2\"").body("two"),
            reply(200).cache_control("max-age=60").etag("\"3\"").body("three"),
        ],
    );
    stage.client().get("/shop/x?q=1").await.expect(200, "one");
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/shop/x?q=1").await.expect(200, "one").is_hit());
    assert!(!stage.client().get("/internal/x?q=1&edge=1").await.is_hit());
    stage.purge(&["/internal/x?q=1&edge=1"], false).await;
    assert!(stage.client().get("/shop/x?q=1").await.expect(200, "one").is_hit());
    stage.purge(&["/shop/x?q=1"], false).await;
    assert!(!stage.client().get("/shop/x?q=1").await.is_hit());
    let answer =
        stage.operator().post("/v1/purge", "{\"prefixes\": [\"http://www.example.test/shop/\"]}").await;
    assert!(answer.status < 300, "{answer:?}");
    assert!(!stage.client().get("/shop/x?q=1").await.is_hit());
}

#[tokio::test]
async fn a_path_that_would_climb_out_of_where_it_is_written_to_reaches_no_origin() {
    let site = "[[site.route]]\npath = \"/files*\"\nrewrite = \"/data/$1\"";
    let stage = Stage::build().site(site).start().await;
    stage.client().get("/files../secret").await.expect_status(400);
    stage.client().request("POST", "/files../secret", b"x").await.expect_status(400);
    assert!(stage.origin("a").seen().is_empty());
}

#[tokio::test]
async fn a_field_in_the_key_reaches_the_origin_and_a_purge_takes_all_that_it_told_apart() {
    let site = "preset = \"static\"\nkey = { headers = [\"x-device\"], cookies = [\"lang\"] }";
    let stage = Stage::build().site(site).start().await;
    // It says nothing in `Vary`.
    stage.origin("a").answers("/x", |seen: &Seen| {
        let [device, cookie] = ["x-device", "cookie"].map(|name| seen.field(name).unwrap_or_default());
        reply(200).cache_control("max-age=60").body(format!("{device}|{cookie}"))
    });
    let ask = |device: &str, cookie: &str| {
        let client = stage.client();
        let client = if device.is_empty() { client } else { client.header("X-Device", device) };
        let client = if cookie.is_empty() { client } else { client.header("Cookie", cookie) };
        client.get("/x")
    };
    let all = [
        ("", "", "|"),
        ("phone", "", "phone|"),
        // A name without a value reaches the origin, so it is in the key.
        ("", "lang", "|lang="),
        ("", "a=1; lang=de; sid=secret", "|lang=de"),
        ("phone", "lang=de", "phone|lang=de"),
        ("phone", "lang=", "phone|lang="),
    ];
    for (stored, (device, cookie, body)) in (0_u64..).zip(all) {
        ask(device, cookie).await.expect(200, body);
        stage.until(|count| count.stored == stored + 1).await;
    }
    for (device, cookie, body) in all {
        assert!(ask(device, cookie).await.expect(200, body).is_hit(), "{body}");
    }
    // What is not in the key tells nothing apart and is not forwarded.
    assert!(ask("", "lang=de; sid=other").await.expect(200, "|lang=de").is_hit());
    stage.purge(&["/x"], false).await;
    for (device, cookie, body) in all {
        assert!(!ask(device, cookie).await.expect(200, body).is_hit(), "{body}");
    }
}

#[tokio::test]
async fn routes_by_header_keep_their_answers_apart() {
    let site = r#"
[[site.route]]
path = "/*"
match = { header = { x-beta = true } }
pool = "b"
"#;
    let stage = Stage::build().origins(&["a", "b"]).site(&format!("pool = \"a\"\n{site}")).start().await;
    for name in ["a", "b"] {
        stage.origin(name).on("/x", [reply(200).cache_control("max-age=60").body(name)]);
    }
    let beta = || stage.client().header("x-beta", "1");
    for _ in 0..2 {
        stage.client().get("/x").await.expect(200, "a");
        beta().get("/x").await.expect(200, "b");
        stage.until(|count| count.stored == 2).await;
    }
    assert!(stage.client().get("/x").await.is_hit() && beta().get("/x").await.is_hit());
    stage.purge(&["/x"], false).await;
    assert!(!stage.client().get("/x").await.is_hit() && !beta().get("/x").await.is_hit());
}

#[tokio::test]
async fn what_a_route_s_bypass_names_goes_around_the_cache() {
    let site = r#"bypass = { cookie = ["session*"], header = { x-preview = "1" }, query = ["preview"] }"#;
    let stage = Stage::build().site(site).start().await;
    for target in ["/x", "/x?preview", "/x?preview=1&a"] {
        stage.origin("a").on(target, [reply(200).cache_control("max-age=60").body("page")]);
    }
    stage.client().get("/x").await.expect(200, "page");
    stage.until(|count| count.stored == 1).await;
    for _ in 0..2 {
        for answer in [
            stage.client().header("cookie", "a=1; session_id=2").get("/x").await,
            stage.client().header("x-preview", "1").get("/x").await,
            stage.client().get("/x?preview").await,
            stage.client().get("/x?preview=1&a").await,
        ] {
            answer.expect(200, "page").cache_status_has("detail=route-bypass");
        }
    }
    assert_eq!(stage.count().stored, 1);
    for harmless in ["a=session1", "x-session=1"] {
        assert!(stage.client().header("cookie", harmless).get("/x").await.is_hit(), "{harmless}");
    }
    assert!(stage.client().header("x-preview", "0").get("/x").await.is_hit());
}

#[tokio::test]
async fn a_route_answers_itself_and_asks_nobody() {
    let site = r#"
response_headers = { set = { x-edge = "1" } }
redirects = [ "/old/* /new/$1 301" ]
[[site.route]]
path = "/robots.txt"
respond = { body = "User-agent: *\n", headers = { cache-control = "max-age=3600" } }
[[site.route]]
path = "/gone"
respond = { status = 410, body = "{}", content_type = "application/json" }
[[site.route]]
path = "/empty"
respond = { status = 204 }
[[site.route]]
path = "/moved"
redirect = { to = "https://other.example$uri", status = 308 }
[[site.route]]
path = "/reads"
allow_methods = ["GET", "HEAD"]
"#;
    let stage = Stage::build().site(site).start().await;
    stage
        .client()
        .get("/robots.txt")
        .await
        .expect(200, "User-agent: *\n")
        .has("content-type", "text/plain; charset=utf-8")
        .has("cache-control", "max-age=3600")
        .cache_status("detail=respond");
    let head = stage.client().head("/robots.txt").await;
    head.expect(200, "").has("content-length", "14").has("x-edge", "1");
    stage.client().get("/gone").await.expect(410, "{}").has("content-type", "application/json");
    stage.client().get("/empty").await.expect(204, "").lacks("content-length");
    let moved = stage.client().post("/moved?a=1", "body").await;
    moved.expect(308, "").has("location", "https://other.example/moved?a=1").has("x-edge", "1");
    stage.client().get("/old/x%0d%0ay?q").await.expect(301, "").has("location", "/new/x%0D%0Ay");
    let refused = stage.client().request("DELETE", "/reads", b"").await;
    refused.expect_status(405).has("allow", "GET, HEAD").has("x-edge", "1");
    assert!(stage.origin("a").seen().is_empty());
    stage.client().get("/reads").await.expect_status(404);
}

/// FAULTS S3: an answer that comes before the body was read leaves nothing behind for the next request.
#[tokio::test]
async fn a_body_behind_an_early_answer_is_no_request() {
    let stage = Stage::build().site("[[site.route]]\npath = \"/moved\"\nredirect = \"/x\"").start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("page")]);
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: www.example.test\r\n\r\n";
    let mut connection = stage.client().connect().await;
    let first = format!(
        "POST /moved HTTP/1.1\r\nHost: www.example.test\r\nContent-Length: {}\r\n\r\n{smuggled}",
        smuggled.len()
    );
    connection.write(first.as_bytes()).await;
    connection.write(b"GET /x HTTP/1.1\r\nHost: www.example.test\r\nConnection: close\r\n\r\n").await;
    let (bytes, _) = connection.rest().await;
    let text = String::from_utf8_lossy(&bytes);
    assert!(text.starts_with("HTTP/1.1 302"), "{text}");
    assert!(text.matches("HTTP/1.1 ").count() <= 2, "{text}");
    assert!(stage.origin("a").seen_for("/smuggled").is_empty());
}

#[tokio::test]
async fn a_closed_site_serves_those_it_lets_in() {
    let closed = |allow: &str| {
        format!(
            "maintenance = {{ body = \"<p>soon\", content_type = \"text/html\", retry_after = \"10m\", allow = [{allow}] }}"
        )
    };
    let stage = Stage::build().site(&closed("\"10.0.0.0/8\"")).start().await;
    let answer = stage.client().get("/x").await;
    answer
        .expect(503, "<p>soon")
        .has("retry-after", "600")
        .has("cache-control", "no-store")
        .has("content-type", "text/html");
    assert!(stage.origin("a").seen().is_empty());
    let stage = Stage::build().site(&closed("\"127.0.0.0/8\"")).start().await;
    stage.origin("a").on("/x", [reply(200).body("page")]);
    stage.client().get("/x").await.expect(200, "page");
    let stage = Stage::build().site("maintenance = {}").start().await;
    stage.client().get("/x").await.expect_status(503).cache_status("detail=maintenance");
}

#[tokio::test]
async fn a_page_stands_in_for_the_node_s_errors_and_where_it_is_told_to_for_the_origin_s() {
    let site = |intercept: bool| {
        format!(
            "error_pages = {{ 404 = {{ body = \"lost\" }}, 5xx = {{ body = \"<p>oh\", content_type = \"text/html\" }}, intercept = {intercept} }}"
        )
    };
    for intercept in [false, true] {
        let stage = Stage::build().site(&site(intercept)).start().await;
        let missing =
            reply(404).cache_control("max-age=60").etag("\"1\"").field("x-kept", "1").body("not there");
        stage.origin("a").on("/missing", [missing]);
        stage.origin("a").on("/broken", [reply(500).field("content-encoding", "gzip").body("zipped")]);
        let answer = stage.client().get("/missing").await;
        answer.expect(404, if intercept { "lost" } else { "not there" }).has("x-kept", "1");
        stage.until(|count| count.stored == 1).await;
        let hit = stage.client().get("/missing").await;
        hit.expect(404, if intercept { "lost" } else { "not there" });
        assert!(hit.is_hit());
        assert_eq!(hit.field("etag").is_none(), intercept);
        let broken = stage.client().get("/broken").await;
        broken.expect(500, if intercept { "<p>oh" } else { "zipped" });
        assert_eq!(broken.field("content-encoding").is_none(), intercept);
        assert_eq!(
            stage.client().head("/missing").await.expect(404, "").field("content-length").as_deref(),
            Some(if intercept { "4" } else { "9" })
        );
        stage.origin("a").refuses().await;
        let failed = stage.client().get("/away").await;
        failed.expect(502, "<p>oh").has("content-type", "text/html").has("cache-control", "no-store");
        assert!(failed.field("x-request-id").is_some());
        stage.clock.advance(secs(1));
    }
}

#[tokio::test]
async fn explain_tells_the_route_what_is_asked_for_and_the_answer() {
    let site = r#"
key = { headers = ["x-device"] }
[[site.route]]
path = "/shop/*"
rewrite = "/internal/$1"
[[site.route]]
path = "/old/*"
match = { client = ["10.0.0.0/8"] }
redirect = { to = "/new/$1", status = 301 }
"#;
    let stage = Stage::build().site(site).start().await;
    let explain = async |rest: &str| {
        let answer = stage.operator().get(&format!("/v1/explain?url=http://www.example.test{rest}")).await;
        answer.expect_status(200);
        answer.text()
    };
    let shop = explain("/shop/x?q").await;
    for part in [
        "\"route\":\"/shop/*\"",
        "\"forwarded_as\":\"/internal/x?q\"",
        "\"key_parts\":[\"x-device\"]",
        "\"decision\":\"fetch\"",
    ] {
        assert!(shop.replace(": ", ":").contains(part), "{part} in {shop}");
    }
    let old = explain("/old/x&client=10.1.2.3").await.replace(": ", ":");
    for part in
        ["\"decision\":\"answer\"", "\"location\":\"/new/x\"", "\"status\":301", "\"route\":\"/old/*\""]
    {
        assert!(old.contains(part), "{part} in {old}");
    }
    assert!(!explain("/old/x").await.contains("location"));
    assert!(stage.origin("a").seen().is_empty());
}

/// `key.host`: an origin is asked under one name, and a purge of any name, its host or a prefix of it takes the answer.
#[tokio::test]
async fn hosts_that_share_their_answers_are_asked_for_under_one_name() {
    let stage = Stage::build()
        .site("")
        .config(|config, _| {
            let site = config.sites.first_mut().expect("one site");
            for other in ["alias.test", "other.test"] {
                site.hosts.push(HostPattern::Exact(other.into()));
            }
            site.shared_host = Some(HOST.into());
        })
        .start()
        .await;
    let page = || reply(200).cache_control("max-age=60").body("page");
    stage.origin("a").on("/x", [page(), page(), page(), page(), page()]);
    let purges = [
        "{\"urls\": [\"http://other.test/x\"]}",
        "{\"hosts\": [\"alias.test\"]}",
        "{\"prefixes\": [\"http://other.test/\"]}",
        "{\"hosts\": [\"HOST\"]}",
    ];
    for (nth, purge) in (1..).zip(purges) {
        stage
            .client()
            .host("alias.test")
            .get("/x")
            .await
            .expect(200, "page")
            .cache_status_has("fwd=uri-miss");
        stage.until(|count| count.stored == nth).await;
        for host in [HOST, "alias.test", "other.test"] {
            stage.client().host(host).get("/x").await.expect(200, "page").cache_status_has("hit");
        }
        let answer = stage.operator().post("/v1/purge", &purge.replace("HOST", HOST)).await;
        assert_eq!(answer.status, 200, "{purge}: {answer:?}");
    }
    stage.client().host("other.test").get("/x").await.expect(200, "page").cache_status_has("fwd=uri-miss");
    for seen in stage.origin("a").seen() {
        assert_eq!(seen.field("host").as_deref(), Some(HOST), "{seen:?}");
        assert_ne!(seen.field("x-forwarded-host").as_deref(), Some("alias.test"), "{seen:?}");
    }
    // What goes around the cache goes under the name that the client used.
    stage.origin("a").on("/x", [reply(204)]);
    stage.client().host("alias.test").post("/x", "body").await.expect_status(204);
    let seen = stage.origin("a").seen();
    assert_eq!(seen.last().and_then(|seen| seen.field("host")).as_deref(), Some("alias.test"));
}

/// `a=1; a=2` and `a=1,2` are two readers, and `a=1,2` and `a=1, 2` as well.
#[tokio::test]
async fn cookies_in_the_key_are_told_apart_byte_for_byte() {
    let stage = Stage::build().site("key = { cookies = [\"a\"] }\n").start().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        reply(200).cache_control("max-age=60").body(seen.field("cookie").unwrap_or_default())
    });
    let all = ["a=1,2", "a=1; a=2", "a=1, 2", "a=1 ,2", "a=1", "a=2; a=1", "a="];
    for (nth, cookie) in (1..).zip(all) {
        stage.client().header("cookie", cookie).get("/x").await.expect(200, cookie);
        stage.until(|count| count.stored == nth).await;
    }
    for cookie in all {
        assert!(
            stage.client().header("cookie", cookie).get("/x").await.expect(200, cookie).is_hit(),
            "{cookie}"
        );
    }
}

/// There is no URL that it could be sent to, and nothing goes to an origin in the clear.
#[tokio::test]
async fn where_only_https_is_spoken_options_for_the_server_is_answered_here() {
    let stage = Stage::build().site("https_only = true\n").start().await;
    let answer = stage.client().request("OPTIONS", "*", b"").await;
    answer.expect_status(204).lacks("location");
    assert_eq!(stage.count().requests, 0);
    stage.client().request("OPTIONS", "/x", b"").await.expect_status(308);
    // Access is asked of those only whom nobody reads along with.
    let target = format!("/v1/explain?url=http://{HOST}/x");
    let explained = stage.operator().get(&target).await.text();
    assert!(explained.contains("https-only"), "{explained}");
}
