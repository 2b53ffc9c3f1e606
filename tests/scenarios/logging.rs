//! What a request is called, and which trace it belongs to, at the client, in the log and at the origin.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tidegate::config::{Config, LogFormat, LogTarget, Network};

use crate::stage::directory::Directory;
use crate::stage::reply::reply;
use crate::stage::{Builder, Stage, secs};

const NAME: &str = "x-request-id";
const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A node whose log is JSON in a file.
fn logged(directory: &Directory, change: impl FnOnce(&mut Config) + 'static) -> Builder {
    let path = directory.path().join("access.log");
    Stage::build().config(move |config, _| {
        config.log.target = LogTarget::File(path);
        config.log.format = LogFormat::Json;
        change(config);
    })
}

/// Whoever calls from here is believed.
fn behind(config: &mut Config) {
    let local = Network::new(IpAddr::from([127, 0, 0, 0]), 8).expect("a network");
    config.listeners[0].trusted_proxies = vec![local];
}

/// The lines so far, once there are so many.
async fn lines(stage: &Stage, directory: &Directory, count: usize) -> Vec<Value> {
    let path = directory.path().join("access.log");
    for _ in 0..20_000 {
        stage.clock.advance(secs(1));
        tokio::task::yield_now().await;
        stage.observe().log.finish(Duration::from_secs(10));
        let lines = read(&path);
        if lines.len() >= count {
            return lines;
        }
    }
    panic!("{count} lines were waited for in vain: {:?}", read(&path));
}

fn read(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("a line is whole")).collect()
}

#[tokio::test]
async fn a_request_is_called_the_same_in_the_log_and_at_the_origin() {
    let directory = Directory::new();
    let stage = logged(&directory, |_| {}).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    let client = stage.client().header("X-Request-Id", "made-up");
    client.get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    client.get("/x").await.expect(200, "x");
    let lines = lines(&stage, &directory, 2).await;
    let told = stage.origin("a").seen()[0].field(NAME).expect("the origin is told");
    let of = |cache: &str| lines.iter().find(|line| line["cache"] == cache).expect("its line")["id"].clone();
    assert_eq!(of("miss"), told);
    assert_ne!(told, "made-up", "a stranger does not name requests");
    assert_ne!(of("hit"), told, "a hit is another request");
}

#[tokio::test]
async fn what_a_trusted_proxy_calls_a_request_stands_everywhere() {
    let directory = Directory::new();
    let stage = logged(&directory, behind).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    let client = |name: &str| stage.client().header("X-Request-Id", name);
    client("lb-1").get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    client("lb-2").get("/x").await.expect(200, "x");
    let lost = client("lb-3").host("other.example").get("/").await;
    client("not a \"name\"").get("/x").await.expect(200, "x");
    lost.expect_status(421).has(NAME, "lb-3");
    assert!(lost.text().contains("lb-3"), "{}", lost.text());
    let lines = lines(&stage, &directory, 4).await;
    // Workers hand their lines over one by one: in no order.
    let mut ids: Vec<_> = lines.iter().map(|line| line["id"].as_str().expect("an id")).collect();
    ids.sort_by_key(|id| (!id.starts_with("lb-"), *id));
    assert_eq!(ids[..3], ["lb-1", "lb-2", "lb-3"]);
    assert_eq!(ids[3].len(), 16, "what cannot stand in a line does not count");
    assert_eq!(stage.origin("a").seen()[0].field(NAME).as_deref(), Some("lb-1"));
}

#[tokio::test]
async fn a_trace_goes_through_under_a_span_of_its_own_and_is_in_no_key() {
    let directory = Directory::new();
    let stage = logged(&directory, |config| config.log.trace.on = true).start().await;
    stage.origin("a").on("/x", [reply(200).cache_control("max-age=60").body("x")]);
    let traced = stage.client().header("Traceparent", PARENT).header("Tracestate", "rojo=1, congo=2");
    traced.get("/x").await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    assert!(stage.client().get("/x").await.expect(200, "x").is_hit(), "another trace, the same key");
    let seen = &stage.origin("a").seen()[0];
    let sent = seen.field("traceparent").expect("it goes on");
    assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && sent.ends_with("-01"), "{sent}");
    assert!(!sent.contains("b7ad6b7169203331"), "{sent}");
    assert_eq!(seen.field("tracestate").as_deref(), Some("rojo=1,congo=2"));
    let lines = lines(&stage, &directory, 2).await;
    let of = |cache: &str| lines.iter().find(|line| line["cache"] == cache).expect("its line");
    let (miss, hit) = (of("miss"), of("hit"));
    assert_eq!(miss["trace_id"], "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(miss["parent_id"], "b7ad6b7169203331");
    assert_eq!(miss["span_id"], sent[36..52]);
    assert!(hit["parent_id"].is_null() && hit["trace_id"].is_string(), "{hit}");
}

#[tokio::test]
async fn without_a_trace_none_begins_unless_that_is_on_and_a_malformed_one_is_left_out() {
    let stage = Stage::new().await;
    stage.origin("a").answers("*", |_| reply(200).cache_control("no-store"));
    stage.client().get("/1").await.expect_status(200);
    stage
        .client()
        .header("Traceparent", "00-xyz")
        .header("Tracestate", "a=1")
        .get("/2")
        .await
        .expect_status(200);
    for seen in stage.origin("a").seen() {
        assert_eq!((seen.field("traceparent"), seen.field("tracestate")), (None, None), "{}", seen.target());
    }
    let stage = Stage::build().config(|config, _| config.log.trace.on = true).start().await;
    stage.origin("a").answers("*", |_| reply(200).cache_control("no-store"));
    stage.client().header("Tracestate", "a=1").get("/3").await.expect_status(200);
    let seen = &stage.origin("a").seen()[0];
    assert_eq!(seen.field("traceparent").map(|parent| parent.len()), Some(55));
    assert_eq!(seen.field("tracestate"), None, "a state without a trace is nobody's");
}

#[tokio::test]
async fn a_sample_keeps_every_error() {
    let directory = Directory::new();
    let stage = logged(&directory, |config| config.log.sample.ppm = 0).start().await;
    stage.origin("a").answers("/x", |_| reply(200).cache_control("max-age=60").body("x"));
    stage.origin("a").answers("/gone", |_| reply(404).cache_control("no-store"));
    for _ in 0..5 {
        stage.client().get("/x").await.expect(200, "x");
        stage.client().get("/gone").await.expect_status(404);
    }
    let lines = lines(&stage, &directory, 5).await;
    assert!(lines.len() == 5 && lines.iter().all(|line| line["status"] == 404), "{lines:?}");
}
