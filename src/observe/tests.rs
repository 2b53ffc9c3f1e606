//! Log and counters as their readers see them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use cache_store::rules::Coding;
use cache_store::timestamp::Timestamp;
use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::config::LogTarget;
use crate::config::log::{LINE_FIELDS, LinePiece, LineTemplate, Mask};
use crate::config::trace::Trace;
use crate::listener::fields::Fields;
use crate::listener::request::{Client, Interims, Protocol, RequestBody, Scheme, Tls};
use crate::listener::stats::ListenerStats;
use crate::observe::calendar::SecondText;
use crate::observe::gauges::{Applied, Gauges, Purges, Tier};
use crate::observe::id::RequestId;
use crate::observe::line::Line;
use crate::origin::{Counts, OriginStats, Stands};
use crate::respond::response::{CacheOutcome, Outcome};
use crate::route::access::Inspected;

pub(super) fn request(authority: &[u8], target: &[u8], lines: &[(&[u8], &[u8])]) -> Request {
    Request {
        method: http::Method::GET,
        scheme: Scheme::Https,
        authority: Bytes::copy_from_slice(authority).into(),
        target: Bytes::copy_from_slice(target).into(),
        fields: Fields::pack(lines.iter().copied()),
        body: RequestBody::Empty,
        protocol: Protocol::Http2,
        client: Arc::new(Client::new(
            SocketAddr::from(([192, 0, 2, 33], 5000)),
            Some(Tls { version: "TLSv1.3", server_name: None }),
        )),
        received_micros: 1_000_000_000_000,
        interims: Interims::None,
        upgrade: crate::listener::request::Upgrade::No,
        spare: Vec::new(),
        held: std::sync::OnceLock::new(),
        id: std::cell::OnceCell::new(),
    }
}

pub(super) fn finished(outcome: &Outcome) -> Finished<'_> {
    Finished { status: 200, body_bytes: 1024, duration_micros: 42, complete: true, outcome }
}

fn id() -> RequestId {
    RequestIds::new(Run::from_bits(1), 0).draw()
}

fn written(json: bool, mask_client: bool, request: &Request, finished: &Finished<'_>) -> String {
    let log = Log { mask: mask_client.then(Mask::default), ..Log::default() };
    let (given, run) = (request.given_name(), Run::from_bits(0));
    let line = Line { wall_millis: 1_000_000_000_042, id: id(), given, run, log: &log, request, finished };
    let mut out = Vec::new();
    if json {
        line.json(&mut SecondText::new(), &mut out);
    } else {
        line.combined(&mut SecondText::new(), &mut out);
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn a_json_line_has_the_fields_of_the_interface() {
    let outcome = Outcome {
        cache: CacheOutcome::Miss,
        reason: Some("expired"),
        ttl: Some(-3),
        age: Some(7),
        tier: Some("memory"),
        pool: Some("eu".into()),
        origin: Some("http://10.0.0.1:3000".into()),
        origin_micros: Some(900),
        ..Outcome::default()
    };
    let lines: [(&[u8], &[u8]); 2] = [(b"User-Agent", b"curl/8"), (b"Referer", b"https://a/")];
    let line = written(true, false, &request(b"a.example:8443", b"/x?y=\"z\"", &lines), &finished(&outcome));
    assert_eq!(
        line,
        concat!(
            r#"{"time":"2001-09-09T01:46:40.042Z","id":"0000010000000000","client":"192.0.2.33","method":"GET","#,
            r#""scheme":"https","host":"a.example:8443","path":"/x?y=\"z\"","protocol":"HTTP/2","status":200,"#,
            r#""bytes":1024,"duration_us":42,"cache":"miss","reason":"expired","ttl":-3,"age":7,"tier":"memory","#,
            r#""pool":"eu","origin":"http://10.0.0.1:3000","origin_us":900,"tls":"TLSv1.3","#,
            r#""user_agent":"curl/8","referer":"https://a/"}"#,
            "\n"
        )
    );
}

#[test]
fn what_does_not_apply_is_left_out() {
    let mut plain = request(b"a", b"/", &[]);
    plain.client = Arc::new(Client::new("[::1]:1".parse().unwrap(), None));
    let outcome = Outcome::default();
    let line = written(true, false, &plain, &Finished { complete: false, ..finished(&outcome) });
    let line: BTreeMap<String, Value> = serde_json::from_str(&line).unwrap();
    let names: Vec<_> = line.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "bytes",
            "cache",
            "client",
            "complete",
            "duration_us",
            "host",
            "id",
            "method",
            "path",
            "protocol",
            "scheme",
            "status",
            "time"
        ]
    );
}

#[test]
fn a_combined_line_is_what_log_analysers_know() {
    let outcome = Outcome { cache: CacheOutcome::Hit, ..Outcome::default() };
    let lines: [(&[u8], &[u8]); 1] = [(b"User-Agent", b"a \"b\"\n")];
    let line = written(false, false, &request(b"a", b"/x", &lines), &finished(&outcome));
    assert_eq!(
        line,
        "192.0.2.33 - - [09/Sep/2001:01:46:40 +0000] \"GET /x HTTP/2\" 200 1024 \"-\" \"a \\x22b\\x22\\x0A\" hit\n"
    );
}

#[test]
fn addresses_can_be_masked() {
    let outcome = Outcome::default();
    for (address, shown, masked) in [
        ("192.0.2.33:1", "192.0.2.33", "192.0.2.0"),
        ("[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2:3:4:5:6", "2001:db8:1::"),
        ("[::ffff:192.0.2.33]:1", "192.0.2.33", "192.0.2.0"),
    ] {
        let mut from = request(b"a", b"/", &[]);
        from.client = Arc::new(Client::new(address.parse().unwrap(), None));
        for (mask, expected) in [(false, shown), (true, masked)] {
            let line: Value = serde_json::from_str(&written(true, mask, &from, &finished(&outcome))).unwrap();
            assert_eq!(line["client"], expected, "{address}");
        }
    }
}

#[test]
fn as_much_of_an_address_is_written_as_is_set() {
    for (address, ipv4_bits, ipv6_bits, written) in [
        ("192.0.2.33:1", 16, 48, "192.0.0.0"),
        ("192.0.2.33:1", 32, 48, "192.0.2.33"),
        ("192.0.2.33:1", 0, 48, "0.0.0.0"),
        ("[2001:db8:1:2:3:4:5:6]:1", 24, 64, "2001:db8:1:2::"),
        ("[2001:db8:1:2:3:4:5:6]:1", 24, 0, "::"),
        ("[2001:db8:1:2:3:4:5:6]:1", 24, 128, "2001:db8:1:2:3:4:5:6"),
    ] {
        let mut out = Vec::new();
        Client::new(address.parse().unwrap(), None).masked_text(Mask { ipv4_bits, ipv6_bits }, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), written, "{address}");
    }
}

/// Each field of a line in words of one's own is what it is in JSON.
#[test]
fn a_template_has_every_field_of_json() {
    let outcome = Outcome {
        cache: CacheOutcome::Miss,
        reason: Some("expired"),
        ttl: Some(-3),
        age: Some(7),
        tier: Some("memory"),
        saved_bytes: 9,
        encoding: Some(Coding::Gzip),
        received_bytes: 11,
        pool: Some("eu".into()),
        origin: Some("http://10.0.0.1:3000".into()),
        origin_micros: Some(900),
        ..Outcome::default()
    };
    let parent: &[u8] = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let lines: [(&[u8], &[u8]); 3] =
        [(b"User-Agent", b"curl/8"), (b"Referer", b"https://a/"), (b"Traceparent", parent)];
    let from = request(b"a.example:8443", b"/x?y=z", &lines);
    let finished = Finished { complete: false, ..finished(&outcome) };
    let trace = Trace { on: true, ..Trace::default() };
    let log = Log { trace, ..Log::default() };
    let run = Run::from_bits(0);
    let line = Line {
        wall_millis: 1_000_000_000_042,
        id: id(),
        given: None,
        run,
        log: &log,
        request: &from,
        finished: &finished,
    };
    let (mut time, mut json) = (SecondText::new(), Vec::new());
    line.json(&mut time, &mut json);
    let json: Value = serde_json::from_slice(&json).unwrap();
    let mut told = 0;
    for (name, field) in LINE_FIELDS {
        let template = LineTemplate {
            text: "".into(),
            pieces: vec![LinePiece::Field(field), LinePiece::Text("|".into())],
        };
        let mut out = Vec::new();
        line.template(&template, &mut time, &mut out);
        let expected = match &json[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        };
        told += usize::from(!json[name].is_null());
        assert_eq!(String::from_utf8(out).unwrap(), format!("{expected}|\n"), "{name}");
    }
    // This client's country was not asked for.
    assert_eq!(told, LINE_FIELDS.len() - 1, "{json}");
}

#[test]
fn a_value_is_cut_where_its_bound_is() {
    use crate::config::limits::{LOG_PATH_BYTES_MAX, LOG_VALUE_BYTES_MAX};
    let long = vec![b'a'; 20_000];
    let outcome = Outcome::default();
    let line = written(true, false, &request(&long, &long, &[(b"referer", &long)]), &finished(&outcome));
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["path"].as_str().unwrap().len(), LOG_PATH_BYTES_MAX);
    assert_eq!(line["host"].as_str().unwrap().len(), LOG_VALUE_BYTES_MAX);
    assert_eq!(line["referer"].as_str().unwrap().len(), LOG_VALUE_BYTES_MAX);
}

proptest! {
    #[test]
    fn whatever_a_client_sends_is_one_line(
        host in proptest::collection::vec(any::<u8>(), 0..40),
        path in proptest::collection::vec(any::<u8>(), 0..80),
        agent in proptest::collection::vec(any::<u8>(), 0..80),
    ) {
        let outcome = Outcome::default();
        let from = request(&host, &path, &[(b"user-agent", &agent)]);
        let json = written(true, false, &from, &finished(&outcome));
        prop_assert_eq!(json.matches('\n').count(), 1);
        let parsed: Value = serde_json::from_str(&json).unwrap();
        prop_assert_eq!(&parsed["status"], 200);
        let combined = written(false, false, &from, &finished(&outcome));
        prop_assert_eq!(combined.matches('\n').count(), 1);
        prop_assert!(combined.ends_with("generated\n"));
    }
}

fn observe(workers: usize) -> Observe {
    let log = Log { target: LogTarget::Off, ..Log::default() };
    let sites = ["www.example.com", "a \"quoted\\ site"].map(Arc::from);
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    Observe::new("n1".into(), metrics::Metrics::new(sites, workers), &log, &clock).unwrap()
}

/// Eleven requests over two workers: on site 0 five hits, a stale one, three misses; on no site two errors.
pub(super) fn busy() -> Observe {
    let observe = observe(2);
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let from = request(b"a", b"/", &[]);
    let one = |observer: &Observer, cache, site, status, complete, reason| {
        let outcome = Outcome { cache, reason, site, ..Outcome::default() };
        observer.finished(&from, &Finished { status, complete, ..finished(&outcome) });
    };
    for worker in 0..2 {
        let observer = observe.worker(worker, &clock).unwrap();
        (0..=worker + 1).for_each(|_| one(&observer, CacheOutcome::Hit, Some(0), 200, true, None));
        one(&observer, CacheOutcome::Miss, Some(0), 404, worker == 0, Some("uri-miss"));
        one(&observer, CacheOutcome::Generated, None, 421, true, Some("no-site"));
    }
    let observer = observe.worker(1, &clock).unwrap();
    one(&observer, CacheOutcome::Stale, Some(0), 200, true, None);
    one(&observer, CacheOutcome::Miss, Some(0), 999, true, Some("uri-miss"));
    observe
}

pub(super) fn gauges() -> Gauges {
    Gauges {
        inspections: vec![Inspected { engine: "libinjection", verdict: "clean", count: 7 }],
        places: None,
        tiers: vec![Tier { tier: "memory", bytes: 10, bytes_max: 100, objects: 1, evictions: 2 }],
        origins: vec![OriginStats {
            pool: "eu".into(),
            origin: "http://10.0.0.1:80".into(),
            stands: Stands::Ejected,
            weight: 1,
            backup: false,
            concurrency_max: None,
            connections_in_use: 1,
            connections_idle: 2,
            waiting: 3,
            counts: Counts {
                statuses: [0, 5, 0, 1, 2],
                failures: 4,
                durations: [8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
                duration_micros: 1_500,
                ..Counts::default()
            },
        }],
        listeners: vec![Arc::new(ListenerStats::new(SocketAddr::from(([127, 0, 0, 1], 80))))],
        purges: Purges {
            sequence: 7,
            refetches: 5,
            applied: vec![Applied { scope: "url", soft: true, count: 6 }],
            nodes: Vec::new(),
        },
        sizing: Vec::new(),
        others: Vec::new(),
    }
}

/// Name, labels and value of every sample, with what the text format demands checked on the way: each family is
/// announced once and before its samples, which stand together; no sample comes twice.
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut kinds = BTreeMap::new();
    let mut family = String::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, text)| text.len() > 5), "{line}");
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
            name.clone_into(&mut family);
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let suffix = name.strip_prefix(family.as_str()).unwrap_or_else(|| panic!("{line} in {family}"));
            let allowed: &[&str] =
                if kinds[&family] == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(allowed.contains(&suffix), "{line}");
            assert!(samples.insert(sample.to_owned(), value.parse().unwrap()).is_none(), "{sample} twice");
        }
    }
    samples
}

#[test]
#[allow(clippy::float_cmp)] // small whole numbers are exact
fn metrics_tell_what_happened() {
    let clock = Clock::manual(Timestamp::from_secs(1_090));
    let text = busy().render(&gauges(), &clock);
    let samples = parse(&text);
    for (sample, value) in [
        (r#"tidegate_requests_total{site="www.example.com",cache="hit",status="2xx"}"#, 5.0),
        (r#"tidegate_requests_total{site="www.example.com",cache="stale",status="2xx"}"#, 1.0),
        (r#"tidegate_requests_total{site="www.example.com",cache="miss",status="4xx"}"#, 2.0),
        (r#"tidegate_requests_total{site="www.example.com",cache="miss",status="other"}"#, 1.0),
        (r#"tidegate_requests_total{site="-",cache="generated",status="4xx"}"#, 2.0),
        (r#"tidegate_responses_total{code="421"}"#, 2.0),
        (r#"tidegate_responses_total{code="200"}"#, 6.0),
        ("tidegate_responses_cut_total", 1.0),
        (r#"tidegate_reasons_total{reason="uri-miss"}"#, 3.0),
        (r#"tidegate_response_bytes_total{site="www.example.com",cache="hit"}"#, 5120.0),
        (r#"tidegate_request_duration_seconds_bucket{cache="hit",le="0.000025"}"#, 0.0),
        (r#"tidegate_request_duration_seconds_bucket{cache="hit",le="0.00005"}"#, 5.0),
        (r#"tidegate_request_duration_seconds_bucket{cache="hit",le="+Inf"}"#, 5.0),
        (r#"tidegate_request_duration_seconds_count{cache="hit"}"#, 5.0),
        (r#"tidegate_request_duration_seconds_sum{cache="hit"}"#, 0.00021),
        (r#"tidegate_build_info{version="0.1.0",node="n1"}"#, 1.0),
        ("tidegate_uptime_seconds", 90.0),
        (r#"tidegate_cache_bytes{tier="memory"}"#, 10.0),
        (r#"tidegate_cache_objects{tier="memory"}"#, 1.0),
        (r#"tidegate_cache_evictions_total{tier="memory"}"#, 2.0),
        (r#"tidegate_purges_total{scope="url",soft="true"}"#, 6.0),
        ("tidegate_purge_sequence", 7.0),
        ("tidegate_purge_refetches_total", 5.0),
        (r#"tidegate_origin_requests_total{pool="eu",origin="http://10.0.0.1:80",status="5xx"}"#, 2.0),
        (r#"tidegate_origin_requests_total{pool="eu",origin="http://10.0.0.1:80",status="none"}"#, 4.0),
        (r#"tidegate_origin_healthy{pool="eu",origin="http://10.0.0.1:80"}"#, 0.0),
        (r#"tidegate_origin_duration_seconds_count{pool="eu",origin="http://10.0.0.1:80"}"#, 8.0),
        (r#"tidegate_connections{listener="127.0.0.1:80",protocol="HTTP/2"}"#, 0.0),
        ("tidegate_log_dropped_lines_total", 0.0),
    ] {
        assert_eq!(samples.get(sample), Some(&value), "{sample}\n{text}");
    }
}

#[test]
fn a_label_is_escaped() {
    let observe = observe(1);
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let outcome = Outcome { site: Some(1), ..Outcome::default() };
    observe.worker(0, &clock).unwrap().finished(&request(b"a", b"/", &[]), &finished(&outcome));
    assert!(observe.render(&Gauges::default(), &clock).contains(r#"site="a \"quoted\\ site""#));
}

#[test]
fn reasons_are_bounded() {
    use crate::config::limits::METRIC_REASONS_MAX;
    let observe = observe(1);
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let observer = observe.worker(0, &clock).unwrap();
    for number in 0..METRIC_REASONS_MAX + 10 {
        let reason: &'static str = Box::leak(format!("reason-{number}").into_boxed_str());
        let outcome = Outcome { reason: Some(reason), ..Outcome::default() };
        observer.finished(&request(b"a", b"/", &[]), &finished(&outcome));
    }
    let reasons = observe.metrics.totals().reasons;
    assert_eq!(reasons.len(), METRIC_REASONS_MAX + 1);
    assert!(reasons.contains(&("other", 10)), "{reasons:?}");
}

#[test]
fn the_counters_of_a_worker_have_one_writer_at_a_time() {
    let observe = observe(1);
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let observer = observe.worker(0, &clock).unwrap();
    assert!(observe.worker(0, &clock).is_none() && observe.worker(1, &clock).is_none());
    drop(observer);
    assert!(observe.worker(0, &clock).is_some());
}

#[test]
fn stat_tells_the_same_numbers() {
    let clock = Clock::manual(Timestamp::from_secs(1_090));
    let stat = busy().stat(&gauges(), &clock);
    assert_eq!(stat["requests"], 11);
    assert_eq!(stat["bytes"], 11 * 1024);
    assert_eq!(stat["uptime_seconds"], 90);
    assert_eq!(stat["cache"]["hit"], 5);
    assert_eq!(stat["status"]["4xx"], 4);
    // Five hits and a stale answer of nine that the cache had a say in.
    assert!((stat["hit_ratio"].as_f64().unwrap() - 6.0 / 9.0).abs() < 1e-9, "{stat}");
    assert_eq!(stat["duration_us"]["p99"], 50);
    assert_eq!(stat["origin_requests"], 12);
    assert_eq!((&stat["origins"][0]["healthy"], &stat["origins"][0]["failed"]), (&false.into(), &6.into()));
    assert_eq!((&stat["purges"]["sequence"], &stat["purges"]["count"]), (&7.into(), &6.into()));
    assert_eq!(stat["sites"].as_array().unwrap().len(), 3);
}

#[test]
fn a_node_without_requests_has_no_hit_ratio() {
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let stat = observe(1).stat(&Gauges::default(), &clock);
    assert_eq!((&stat["hit_ratio"], &stat["sites"].as_array().unwrap().len()), (&Value::Null, &2));
}

#[test]
fn the_id_drawn_for_an_error_page_is_the_one_in_the_log() {
    let directory = scratch();
    let path = directory.join("access.log");
    let log = Log { target: LogTarget::File(path.clone()), ..Log::default() };
    let clock = Clock::manual(Timestamp::from_secs(1_000));
    let observe = Observe::new("n1".into(), metrics::Metrics::new([], 1), &log, &clock).unwrap();
    let observer = observe.worker(0, &clock).unwrap();
    let drawn = observer.ids().draw();
    for id in [Some(drawn), None] {
        let outcome = Outcome { id, ..Outcome::default() };
        observer.finished(&request(b"a", b"/", &[]), &finished(&outcome));
    }
    observer.flush(&clock);
    assert!(observe.log.finish(Duration::from_secs(10)));
    let text = std::fs::read_to_string(&path).unwrap();
    let ids: Vec<Value> =
        text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()["id"].take()).collect();
    assert_eq!(ids[0], drawn.to_string());
    assert_ne!(ids[0], ids[1]);
    std::fs::remove_dir_all(directory).unwrap();
}

/// A directory of the test's own.
pub(super) fn scratch() -> std::path::PathBuf {
    let name = format!("tidegate-{}-{}", std::process::id(), RequestIds::new(Run::random(), 0).draw());
    let path = std::env::temp_dir().join(name);
    std::fs::create_dir_all(&path).unwrap();
    path
}
