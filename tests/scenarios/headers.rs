//! Fields that a site or route sets, adds and removes: of every answer to a client, and of every request to an origin.

use crate::stage::Stage;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::origin::Seen;
use crate::stage::reply::{Frame, reply};
use crate::stage::settings::encrypted;

/// As an operator would write it.
const RULES: &str = r#"
response_headers = { set = { cache-control = "public, max-age=5", x-frame-options = "DENY" }, add = { link = ["</a>", "</b>"] }, remove = ["server", "x-powered-by"] }
"#;

fn page() -> crate::stage::reply::Reply {
    reply(200)
        .cache_control("max-age=60")
        .etag("\"1\"")
        .field("server", "origin/1.0")
        .field("X-Powered-By", "a language")
        .field("x-frame-options", "SAMEORIGIN")
        .field("link", "</origin>")
        .field("content-type", "text/plain")
        .body("0123456789")
}

/// How often a line of this name is there, and the values.
fn all(answer: &crate::stage::answer::Answer, name: &str) -> Vec<String> {
    let lines = answer.head.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
    lines.map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect()
}

fn is_dressed(claim: &str, answer: &crate::stage::answer::Answer, links: &[&str]) {
    assert_eq!(all(answer, "cache-control"), ["public, max-age=5"], "{claim}: {answer:?}");
    assert_eq!(all(answer, "x-frame-options"), ["DENY"], "{claim}: {answer:?}");
    assert_eq!(all(answer, "server"), [""; 0], "{claim}: {answer:?}");
    assert_eq!(all(answer, "x-powered-by"), [""; 0], "{claim}: {answer:?}");
    let mut found = all(answer, "link");
    found.sort_unstable();
    assert_eq!(found, links, "{claim}: {answer:?}");
}

#[tokio::test]
async fn every_answer_has_the_fields_of_its_route_whatever_it_comes_from() {
    let stage = Stage::build().site(RULES).start().await;
    stage.origin("a").on("/x", [page()]);
    stage.origin("a").on("/chunked", [page().framed(Frame::Chunks(3))]);
    stage.origin("a").on("/pass", [page().cache_control("no-store")]);
    let three = ["</a>", "</b>", "</origin>"];
    is_dressed("a miss", stage.client().get("/x").await.expect(200, "0123456789"), &three);
    stage.until(|count| count.stored == 1).await;
    let hit = stage.client().get("/x").await;
    assert!(hit.is_hit());
    is_dressed(
        "a hit",
        hit.expect(200, "0123456789").has("etag", "\"1\"").has("content-type", "text/plain"),
        &three,
    );
    is_dressed("the answer to HEAD", stage.client().head("/x").await.expect_status(200), &three);
    let part = stage.client().header("range", "bytes=2-3").get("/x").await;
    is_dressed("a part", part.expect(206, "23"), &three);
    let parts = stage.client().header("range", "bytes=0-0,5-6").get("/x").await;
    is_dressed("parts", parts.expect_status(206), &three);
    let same = stage.client().header("if-none-match", "\"1\"").get("/x").await;
    is_dressed("a 304", same.expect_status(304).has("etag", "\"1\""), &three);
    is_dressed("a streaming body", stage.client().get("/chunked").await.expect(200, "0123456789"), &three);
    is_dressed("around the cache", stage.client().get("/pass").await.expect(200, "0123456789"), &three);
    is_dressed("a POST", stage.client().post("/pass", "x").await.expect(200, "0123456789"), &three);
    stage.origin("a").refuses().await;
    is_dressed("a failure", stage.client().get("/gone").await.expect_status(502), &["</a>", "</b>"]);
    // What the rules of caching read is the origin's: its sixty seconds, not the five that clients are told.
    stage.clock.advance(crate::stage::secs(30));
    assert!(stage.client().get("/x").await.expect(200, "0123456789").is_hit());
}

#[tokio::test]
async fn over_http_2_they_are_the_same() {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let build = Stage::build().site(RULES).config(|config, _| config.listeners = vec![encrypted(cert, key)]);
    let stage = build.start().await;
    stage.origin("a").on("/x", [page()]);
    let client = H2Client::connect(stage.address(), &identity).await;
    client.get("/x").await.expect_status(200);
    stage.until(|count| count.stored == 1).await;
    for _ in 0..3 {
        let hit = client.get("/x").await;
        assert!(hit.is_hit());
        is_dressed("a hit", hit.expect(200, "0123456789"), &["</a>", "</b>", "</origin>"]);
    }
}

#[tokio::test]
async fn the_type_of_several_parts_is_never_the_page_s() {
    let stage =
        Stage::build().site("response_headers = { set = { content-type = \"text/html\" } }").start().await;
    stage.origin("a").on("/x", [page()]);
    stage.client().get("/x").await.has("content-type", "text/html");
    stage.until(|count| count.stored == 1).await;
    stage.client().header("range", "bytes=1-2").get("/x").await.has("content-type", "text/html");
    let parts = stage.client().header("range", "bytes=0-0,5-6").get("/x").await;
    let types = all(&parts, "content-type");
    assert!(types.len() == 1 && types[0].starts_with("multipart/byteranges"), "{types:?}");
    assert_eq!(all(&stage.client().header("if-none-match", "*").get("/x").await, "content-type"), [""; 0]);
}

#[tokio::test]
async fn a_route_s_fields_are_laid_over_its_site_s() {
    let site = r#"
response_headers = { set = { x-site = "1", x-both = "site" } }
[[site.route]]
path = "/r/*"
response_headers = { set = { x-both = "route" }, remove = ["x-site"] }
"#;
    let stage = Stage::build().site(site).start().await;
    for target in ["/x", "/r/x"] {
        stage.origin("a").on(target, [page()]);
    }
    stage.client().get("/x").await.has("x-site", "1").has("x-both", "site");
    stage.client().get("/r/x").await.lacks("x-site").has("x-both", "route");
}

#[tokio::test]
async fn variables_are_filled_in_anew_for_each_request() {
    let site = r#"
response_headers = { set = { x-said = "$host $path $uri $scheme $client_ip $$1", x-request-id = "$request_id" } }
request_headers = { set = { x-request-id = "$request_id" } }
"#;
    let stage = Stage::build().site(site).start().await;
    stage.origin("a").on("/x", [page()]);
    stage.origin("a").on("/x?q", [page()]);
    let first = stage.client().get("/x?q").await;
    first.has("x-said", "www.example.test /x /x?q http 127.0.0.1 $1");
    stage.until(|count| count.stored == 1).await;
    let second = stage.client().host("WWW.example.test:80").get("/x?q").await;
    assert!(second.is_hit());
    second.has("x-said", "www.example.test /x /x?q http 127.0.0.1 $1");
    let ids = [&first, &second].map(|answer| answer.field("x-request-id").expect("it is written"));
    assert!(ids[0] != ids[1] && ids[0].len() == 16, "{ids:?}");
    let seen = &stage.origin("a").seen()[0];
    assert_eq!(seen.field("x-request-id").as_ref(), Some(&ids[0]), "the origin is told the same name");
}

#[tokio::test]
async fn an_origin_gets_the_fields_of_the_route_and_not_the_client_s() {
    let site = r#"
request_headers = { set = { x-secret = "edge", authorization = "Bearer t" }, add = { x-more = "edge" }, remove = ["cookie"] }
"#;
    let stage = Stage::build().site(site).start().await;
    stage.origin("a").answers("/x", |seen: &Seen| {
        let named = |name: &str| {
            let lines = seen.head.fields.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
            let values: Vec<_> = lines.map(|(_, value)| String::from_utf8_lossy(value)).collect();
            values.join("|")
        };
        let fields = ["x-secret", "x_secret", "authorization", "x-more", "cookie"].map(named);
        reply(200).cache_control("no-store").body(fields.join(", "))
    });
    let client = || {
        stage
            .client()
            .header("X-Secret", "client")
            .header("X_Secret", "smuggled")
            .header("x-more", "client")
            .header("cookie", "a=1")
    };
    for method in ["GET", "POST", "PUT"] {
        let answer = client().request(method, "/x", b"").await;
        answer.expect(200, "edge, , Bearer t, client|edge, ");
    }
    // With conditions of the client's own, too.
    client().header("range", "bytes=0-1").get("/x").await.expect(200, "edge, , Bearer t, client|edge, ");
}

/// FAULTS S3, C1: whatever bytes a client writes, it ends no line, and there is one answer.
#[tokio::test]
async fn no_byte_of_a_request_splits_a_request_or_an_answer() {
    let site = r#"
response_headers = { set = { x-said = "$host|$uri" } }
request_headers = { set = { x-said = "$host|$uri" } }
"#;
    let stage = Stage::build().site(site).start().await;
    let mut reached = 0;
    for byte in 0..=255_u8 {
        for (raw, place) in [(true, "path"), (false, "path"), (true, "query"), (false, "query")] {
            let mark = if place == "path" { '/' } else { '?' };
            let mut target = format!("/a{mark}x").into_bytes();
            if raw {
                target.push(byte);
            } else {
                target.extend_from_slice(format!("%{byte:02x}").as_bytes());
            }
            target.extend_from_slice(b"X-Injected:%20y");
            let mut request =
                [b"GET ".as_slice(), &target, b" HTTP/1.1\r\nHost: www.example.test\r\n"].concat();
            request.extend_from_slice(b"Connection: close\r\n\r\n");
            let mut connection = stage.client().connect().await;
            connection.write(&request).await;
            let (bytes, _) = connection.rest().await;
            let text = String::from_utf8_lossy(&bytes);
            let head = text.split("\r\n\r\n").next().unwrap_or_default();
            assert_eq!(text.matches("HTTP/1.1 ").count(), 1, "byte {byte} in the {place}: {text}");
            let is_injected = |line: &str| line.to_lowercase().starts_with("x-injected");
            assert!(!head.lines().any(is_injected), "byte {byte} in the {place}: {text}");
            reached += usize::from(head.contains("x-said: www.example.test|/a"));
        }
    }
    assert!(reached > 650, "only {reached} requests had an answer of the route");
    for seen in stage.origin("a").seen() {
        let injected = seen.head.fields.iter().any(|(name, _)| name.eq_ignore_ascii_case("x-injected"));
        assert!(!injected && seen.field("x-said").is_some(), "{:?}", seen.head);
    }
}
