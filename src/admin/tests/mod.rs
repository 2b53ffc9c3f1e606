//! The calls, made of the service directly.

mod openapi;
mod purging;
mod scopes;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cache_store::timestamp::Timestamp;
use purge_api::Order;
use purge_api::auth::{Permission, Token, Tokens, digest_of_hex};
use purge_api::fake::Fake;
use purge_api::grant::Grant;
use tokio::sync::mpsc;

use super::*;
use crate::config::{Log, LogTarget};
use crate::listener::fields::Fields;
use crate::listener::request::{BodyError, Client, Interims, Protocol, RequestBody, Scheme};
use crate::observe::metrics::Metrics;

/// A node that remembers what it was asked to do.
#[derive(Default)]
struct Remembers {
    purges: Fake,
    ledger: Ledger,
    stopped: AtomicBool,
    not_ready: AtomicBool,
    explained: AtomicUsize,
    sites: Vec<Site>,
}

impl Node for Remembers {
    fn purger(&self) -> &dyn Purger {
        &self.purges
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn gauges(&self) -> Gauges {
        Gauges::default()
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Value, Problem> {
        self.explained.fetch_add(1, Ordering::Relaxed);
        Ok(json!({ "url": query.url.to_string() }))
    }

    fn tags_of(&self, _: &str) -> Vec<Box<str>> {
        vec!["front".into()]
    }

    fn ready(&self) -> Result<(), String> {
        if self.not_ready.load(Ordering::Relaxed) { Err("draining".into()) } else { Ok(()) }
    }

    fn drain(&self, pool: &str, origin: &str, _: bool) -> Option<Arc<str>> {
        (pool == "eu" && origin == "http://10.0.0.1:3000").then(|| origin.into())
    }

    fn ailments(&self) -> Vec<String> {
        Vec::new()
    }

    fn sites(&self) -> &[Site] {
        &self.sites
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }
}

struct Stage {
    node: Arc<Remembers>,
    service: AdminService,
}

/// What came back.
struct Got {
    status: u16,
    lines: String,
    body: String,
}

impl Stage {
    fn new() -> Self {
        Self::with_door(Door::Loopback)
    }

    /// One token, `abc`, that may do this.
    fn with_token(may: &[Permission]) -> Self {
        let digest =
            digest_of_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad").unwrap();
        Self::with_door(Door::Tokens(Tokens::new(vec![Token {
            name: "ci".into(),
            digest,
            may: may.into(),
            grant: Grant::All,
            bucket: None,
        }])))
    }

    fn with_door(door: Door) -> Self {
        Self::of(Remembers::default(), door)
    }

    fn of(node: Remembers, door: Door) -> Self {
        let node = Arc::new(node);
        let log = Log { target: LogTarget::Off, ..Log::default() };
        let clock = Clock::manual(Timestamp::from_secs(1_000));
        let observe =
            Observe::new("n1".into(), Metrics::new([Arc::from("www.example.com")], 1), &log, &clock);
        let now = Arc::clone(&node);
        let now: NodeNow = Arc::new(move || Arc::clone(&now) as _);
        let service = AdminService::new(AdminDoor::of(door), now, None, Arc::new(observe.unwrap()), clock);
        Self { node, service }
    }

    async fn call(&self, method: &str, target: &str) -> Got {
        self.send(request(method, target, &[])).await
    }

    async fn send(&self, mut request: Request) -> Got {
        let response = match self.service.serve(&mut request) {
            Served::Now(response) => response,
            Served::Later(future) => *future.await,
        };
        let body = match response.body {
            Body::Bytes(bytes) => String::from_utf8(bytes.to_vec()).unwrap(),
            Body::Omitted(length) => format!("omitted {length:?}"),
            _ => panic!("an admin answer is in one piece"),
        };
        let lines = String::from_utf8(response.lines.as_bytes().to_vec()).unwrap();
        Got { status: response.status.as_u16(), lines, body }
    }
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn code(&self) -> String {
        assert!(self.lines.contains("content-type: application/problem+json\r\n"), "{}", self.lines);
        self.json()["code"].as_str().unwrap().to_owned()
    }
}

fn request(method: &str, target: &str, lines: &[(&str, &str)]) -> Request {
    Request {
        method: method.parse().unwrap(),
        scheme: Scheme::Http,
        authority: Bytes::from_static(b"localhost:9180").into(),
        target: Bytes::copy_from_slice(target.as_bytes()).into(),
        fields: Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()))),
        body: RequestBody::Empty,
        protocol: Protocol::Http11,
        client: Arc::new(Client::new("127.0.0.1:5000".parse().unwrap(), None)),
        received_micros: 0,
        interims: Interims::None,
        upgrade: crate::listener::request::Upgrade::No,
        spare: Vec::new(),
        held: std::sync::OnceLock::new(),
        id: std::cell::OnceCell::new(),
    }
}

fn with_body(mut request: Request, pieces: Vec<Result<Bytes, BodyError>>) -> Request {
    let (sender, frames) = mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(piece).unwrap();
    }
    request.body = RequestBody::Channel { frames, length: None, ended: false, wanted: None };
    request
}

fn purge_of(body: &str) -> Request {
    with_body(request("POST", "/v1/purge", &[]), vec![Ok(Bytes::copy_from_slice(body.as_bytes()))])
}

#[tokio::test]
async fn calls_and_their_answers() {
    let stage = Stage::new();
    for (method, target, status, kind) in [
        ("GET", "/live", 200, "text/plain"),
        ("GET", "/ready", 200, "text/plain"),
        ("GET", "/metrics", 200, "text/plain; version=0.0.4"),
        ("GET", "/v1/stat", 200, "application/json"),
        ("GET", "/v1/stat?pretty", 200, "application/json"),
        ("GET", "/v1/explain?url=http://a/", 200, "application/json"),
        ("GET", "/v1/explain", 400, "application/problem+json"),
        ("GET", "/", 200, "text/html"),
        ("GET", "/dashboard.css", 200, "text/css"),
        ("GET", "/dashboard.js", 200, "text/javascript"),
        ("POST", "/v1/purge", 400, "application/problem+json"),
        ("GET", "/v1/purge", 405, "application/problem+json"),
        ("GET", "/v1/purge/1", 404, "application/problem+json"),
        ("GET", "/v1/purge/one", 400, "application/problem+json"),
        ("GET", "/v1/purge/", 404, "application/problem+json"),
        ("GET", "/v1/purges", 200, "application/json"),
        ("GET", "/v1/purges?since=-1", 400, "application/problem+json"),
        ("PUT", "/v1/stat", 405, "application/problem+json"),
        ("OPTIONS", "/v1/stat", 405, "application/problem+json"),
        ("GET", "/v1", 404, "application/problem+json"),
        ("GET", "//live", 404, "application/problem+json"),
        ("GET", "/live/", 404, "application/problem+json"),
        ("GET", "/LIVE", 404, "application/problem+json"),
        ("OPTIONS", "*", 404, "application/problem+json"),
    ] {
        let got = stage.call(method, target).await;
        assert_eq!(got.status, status, "{method} {target}: {}", got.body);
        assert!(got.lines.starts_with(&format!("content-type: {kind}")), "{method} {target}: {}", got.lines);
        assert!(got.lines.contains("\r\ncache-control: no-store\r\n"), "{method} {target}");
        assert!(got.lines.ends_with("\r\n") && !got.lines.contains("\r\n\r\n"), "{method} {target}");
    }
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_one_and_an_unknown_path_all_calls() {
    let stage = Stage::new();
    assert!(stage.call("GET", "/v1/stop").await.lines.contains("\r\nallow: POST\r\n"));
    assert!(stage.call("POST", "/metrics").await.lines.contains("\r\nallow: GET, HEAD\r\n"));
    assert!(!stage.node.stopped.load(Ordering::Relaxed));
    let calls = stage.call("GET", "/nowhere").await.json();
    assert!(calls["calls"].as_array().unwrap().contains(&json!("POST /v1/purge")), "{calls}");
}

#[tokio::test]
async fn head_is_get_without_a_body() {
    let stage = Stage::new();
    let (get, head) = (stage.call("GET", "/live").await, stage.call("HEAD", "/live").await);
    assert_eq!((head.status, head.body), (200, format!("omitted Some({})", get.body.len())));
}

#[tokio::test]
async fn stop_and_ready() {
    let stage = Stage::new();
    assert_eq!(stage.call("POST", "/v1/stop").await.status, 200);
    assert!(stage.node.stopped.load(Ordering::Relaxed));
    stage.node.not_ready.store(true, Ordering::Relaxed);
    let got = stage.call("GET", "/ready").await;
    assert_eq!((got.status, &got.json()["detail"]), (503, &json!("draining")));
    assert_eq!(stage.call("GET", "/live").await.status, 200);
    assert_eq!(stage.call("GET", "/v1/stat").await.json()["ready"], json!(false));
}

#[tokio::test]
async fn without_tokens_only_this_machine_calls_and_only_by_its_own_name() {
    let stage = Stage::new();
    for (claim, authority, client, lines, status) in [
        ("this machine may", "127.0.0.1:9180", "127.0.0.1:1", &[][..], 200),
        ("over IPv6 too", "[::1]:9180", "[::1]:1", &[], 200),
        ("mapped addresses count as what they are", "localhost", "[::ffff:127.0.0.1]:1", &[], 200),
        ("another machine may not", "localhost:9180", "192.0.2.1:1", &[], 403),
        ("a name that was rebound may not", "evil.example:9180", "127.0.0.1:1", &[], 421),
        (
            "strangers behind a proxy may not",
            "localhost",
            "127.0.0.1:1",
            &[("X-Forwarded-For", "192.0.2.1")],
            403,
        ),
    ] {
        for target in ["/v1/stat", "/live", "/"] {
            let mut request = request("GET", target, lines);
            request.authority = Bytes::copy_from_slice(authority.as_bytes()).into();
            request.client = Arc::new(Client::new(client.parse().unwrap(), None));
            assert_eq!(stage.send(request).await.status, status, "{claim}: {target}");
        }
    }
}

#[tokio::test]
async fn another_sites_page_can_not_stop_the_node() {
    let stage = Stage::new();
    for lines in [&[("Origin", "https://evil.example")][..], &[("Sec-Fetch-Site", "cross-site")]] {
        let got = stage.send(request("POST", "/v1/stop", lines)).await;
        assert_eq!((got.status, got.code().as_str()), (403, "cross-origin"));
    }
    assert!(!stage.node.stopped.load(Ordering::Relaxed));
}

#[tokio::test]
async fn tokens_open_what_they_are_good_for() {
    let stage = Stage::with_token(&[Permission::Read]);
    let token = [("Authorization", "Bearer abc")];
    let wrong = [("Authorization", "Bearer abd")];
    for (claim, method, target, lines, status) in [
        ("reading with it", "GET", "/v1/stat", &token[..], 200),
        ("reading without it", "GET", "/v1/stat", &[], 401),
        ("reading with another", "GET", "/metrics", &wrong, 401),
        ("controlling with it", "POST", "/v1/stop", &token, 403),
        ("purging with it", "POST", "/v1/purge", &token, 403),
        ("asking whether it lives", "GET", "/live", &[], 200),
        ("asking whether it is ready", "GET", "/ready", &[], 200),
        ("the dashboard's page has nothing to hide", "GET", "/", &[], 200),
    ] {
        let mut request = request(method, target, lines);
        // With tokens it does not matter whence and by what name.
        request.authority = Bytes::from_static(b"admin.example.com").into();
        request.client = Arc::new(Client::new("192.0.2.1:1".parse().unwrap(), None));
        let got = stage.send(request).await;
        assert_eq!(got.status, status, "{claim}");
        assert_eq!(got.lines.contains("www-authenticate: Bearer"), status == 401, "{claim}");
    }
    assert!(!stage.node.stopped.load(Ordering::Relaxed));
}

#[test]
fn the_dashboard_shows_only_what_stat_has() {
    let script = DASHBOARD_SCRIPT;
    let page = include_str!("../dashboard/index.html");
    for id in script.split("put(\"").skip(1).chain(script.split("$(\"").skip(1)) {
        let id = id.split('"').next().unwrap();
        assert!(page.contains(&format!("id=\"{id}\"")), "the page has no {id}");
    }
    let stat = Stage::new().service.0.observe.stat(&Gauges::default(), &Clock::system());
    for member in script.split("stat.").skip(1) {
        let member: String = member.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect();
        assert!(member == "ready" || stat.get(&member).is_some(), "stat has no {member}");
    }
}

/// The page is all of it: nothing is fetched but from this listener, nothing runs but the files that are served.
#[tokio::test]
async fn the_dashboard_asks_nobody_else() {
    let page = Stage::new().call("GET", "/").await;
    assert!(page.lines.contains("content-security-policy: default-src 'none'; "), "{}", page.lines);
    assert!(!page.lines.contains("unsafe"), "{}", page.lines);
    for sign in ["<style", "style=\"", "onclick", "<script>", "src=\"http", "href=\"http"] {
        assert!(!page.body.contains(sign), "{sign}");
    }
    for sign in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
        assert!(!DASHBOARD_SCRIPT.contains(sign), "{sign}");
    }
    let css = Stage::new().call("GET", "/dashboard.css").await.body;
    assert!(!css.contains("url(") && !css.contains("@import"));
}

/// The first events of a stream.
fn first_events(stage: &Stage, target: &str) -> String {
    let mut request = request("GET", target, &[]);
    let Served::Now(response) = stage.service.serve(&mut request) else { panic!("a stream begins at once") };
    let Body::Stream { mut source, .. } = response.body else { panic!("{}: no stream", response.status) };
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    match source.as_mut().poll_next(&mut cx) {
        std::task::Poll::Ready(Some(Ok(bytes))) => String::from_utf8(bytes.to_vec()).unwrap(),
        _ => panic!("the first events are there at once"),
    }
}

#[test]
fn a_stream_begins_with_what_was_asked_for() {
    let stage = Stage::new();
    let all = first_events(&stage, "/v1/stream?only=history,stat,top,errors");
    let names: Vec<_> = all.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(names, ["history", "stat", "top", "errors"]);
    for line in all.lines().filter_map(|line| line.strip_prefix("data: ")) {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
    let usual = first_events(&stage, "/v1/stream");
    assert!(usual.starts_with("event: stat\n") && usual.matches("event: ").count() == 1, "{usual}");
    assert_eq!(first_events(&stage, "/v1/stream?only=log"), ":\n\n", "no line yet, and a sign of life");
}

#[test]
fn so_many_may_watch_and_no_more() {
    let stage = Stage::new();
    let mut open = Vec::new();
    for _ in 0..crate::config::limits::STREAMS_MAX {
        let mut request = request("GET", "/v1/stream?only=stat", &[]);
        let Served::Now(response) = stage.service.serve(&mut request) else { panic!("it begins at once") };
        assert_eq!(response.status, 200);
        open.push(response);
    }
    let mut request = request("GET", "/v1/stream?only=stat", &[]);
    let Served::Now(refused) = stage.service.serve(&mut request) else { panic!("it is refused at once") };
    assert_eq!(refused.status, 503);
    drop(open);
    assert!(first_events(&stage, "/v1/stream?only=stat").starts_with("event: stat"));
}
