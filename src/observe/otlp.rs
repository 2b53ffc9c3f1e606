//! Spans to an OpenTelemetry receiver: OTLP over HTTP, JSON (the protocol's §OTLP/HTTP), behind the feature `otlp`, a default one.
//!
//! One thread reads what who watches the log live reads ([`Tap`]), so no worker does more than that costs it; lines of requests whose
//! trace is recorded become spans, a block of lines one call. A receiver that is slow or away costs spans, and they are counted.
//!
//! Why not `opentelemetry-otlp`: it brings an SDK, protobuf and an HTTP client of its own, forty crates for what is one call that
//! writes JSON; and its spans would be made on the workers.

use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::{Value, json};

use super::calendar::millis_of_iso;
use super::tap::Tap;
use crate::config::limits::LOG_RECEIVER_TIMEOUT;

/// Sends spans until it is dropped.
#[derive(Debug)]
pub(super) struct Exporter {
    stop: Arc<AtomicBool>,
}

/// What is read of a line.
#[derive(Deserialize)]
struct Seen<'l> {
    time: &'l str,
    id: &'l str,
    trace_id: Option<&'l str>,
    span_id: Option<&'l str>,
    parent_id: Option<&'l str>,
    #[serde(default)]
    sampled: bool,
    method: &'l str,
    scheme: &'l str,
    host: std::borrow::Cow<'l, str>,
    path: std::borrow::Cow<'l, str>,
    status: u16,
    bytes: u64,
    duration_us: u64,
    cache: &'l str,
    reason: Option<std::borrow::Cow<'l, str>>,
    origin: Option<std::borrow::Cow<'l, str>>,
}

impl Exporter {
    /// To the receiver at `host:port`, of this node.
    ///
    /// # Errors
    /// No thread can be started.
    pub(super) fn start(mut tap: Tap, at: &str, lost: Arc<AtomicU64>) -> io::Result<Self> {
        let (at, stop) = (at.to_owned(), Arc::new(AtomicBool::new(false)));
        let stopped = Arc::clone(&stop);
        std::thread::Builder::new().name("otlp".into()).spawn(move || {
            let mut is_told = false;
            while let Some(lines) = tap.next_blocking() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                lost.fetch_add(tap.lost(), Ordering::Relaxed);
                let spans: Vec<Value> = lines.split(|byte| *byte == b'\n').filter_map(span).collect();
                let count = spans.len() as u64;
                if count == 0 {
                    continue;
                }
                if let Err(error) = send(&at, &whole(&spans)) {
                    lost.fetch_add(count, Ordering::Relaxed);
                    if !std::mem::replace(&mut is_told, true) {
                        tracing::error!(%error, %at, "spans cannot be sent; they are dropped and counted");
                    }
                }
            }
        })?;
        Ok(Self { stop })
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// The span of a line; none where its trace is not recorded.
fn span(line: &[u8]) -> Option<Value> {
    let seen: Seen<'_> = serde_json::from_slice(line).ok().filter(|seen: &Seen<'_>| seen.sampled)?;
    let end = millis_of_iso(seen.time)?.saturating_mul(1_000_000);
    let begin = end.saturating_sub(seen.duration_us.saturating_mul(1000));
    let text = |key: &str, value: &str| json!({ "key": key, "value": { "stringValue": value } });
    // A whole number is text in JSON of protobuf.
    let number = |key: &str, value: u64| json!({ "key": key, "value": { "intValue": value.to_string() } });
    let (path, query) = seen.path.split_once('?').unwrap_or((&*seen.path, ""));
    let mut attributes = vec![
        text("http.request.method", seen.method),
        text("url.scheme", seen.scheme),
        text("server.address", &seen.host),
        text("url.path", path),
        number("http.response.status_code", seen.status.into()),
        number("http.response.body.size", seen.bytes),
        text("tidegate.cache", seen.cache),
        text("tidegate.request_id", seen.id),
    ];
    attributes.extend((!query.is_empty()).then(|| text("url.query", query)));
    attributes.extend(seen.reason.as_deref().map(|reason| text("tidegate.reason", reason)));
    attributes.extend(seen.origin.as_deref().map(|origin| text("tidegate.origin", origin)));
    let mut span = json!({
        "traceId": seen.trace_id?,
        "spanId": seen.span_id?,
        "name": seen.method,
        "kind": SERVER,
        "startTimeUnixNano": begin.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
    });
    if let (Some(parent), Some(span)) = (seen.parent_id, span.as_object_mut()) {
        span.insert("parentSpanId".to_owned(), parent.into());
    }
    if seen.status >= 500 {
        span["status"] = json!({ "code": ERROR });
    }
    Some(span)
}

fn whole(spans: &[Value]) -> String {
    json!({ "resourceSpans": [{
        "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": "tidegate" } }] },
        "scopeSpans": [{ "scope": { "name": "tidegate", "version": env!("CARGO_PKG_VERSION") }, "spans": spans }],
    }] })
    .to_string()
}

/// One call on a connection of its own; any answer of 2xx will do.
fn send(at: &str, body: &str) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotFound);
    for address in at.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, LOG_RECEIVER_TIMEOUT) {
            Ok(stream) => return call(stream, at, body),
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn call(mut stream: TcpStream, at: &str, body: &str) -> io::Result<()> {
    stream.set_write_timeout(Some(LOG_RECEIVER_TIMEOUT))?;
    stream.set_read_timeout(Some(LOG_RECEIVER_TIMEOUT))?;
    let mut head = String::new();
    // Writing to a string cannot fail.
    let _ = write!(
        head,
        "POST /v1/traces HTTP/1.1\r\nHost: {at}\r\nContent-Type: application/json\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes())?;
    stream.write_all(body.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream.take(STATUS_BYTES_MAX)).read_line(&mut line)?;
    match line.split(' ').nth(1) {
        Some(status) if status.starts_with('2') => Ok(()),
        _ => Err(io::Error::other(format!("the receiver answered `{}`", line.trim_end().escape_debug()))),
    }
}

/// `SPAN_KIND_SERVER`.
const SERVER: u8 = 2;
/// `STATUS_CODE_ERROR`.
const ERROR: u8 = 2;
const STATUS_BYTES_MAX: u64 = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str = r#"{"time":"2001-09-09T01:46:40.042Z","id":"0000010000000000","client":"192.0.2.33","method":"GET","scheme":"https","host":"a","path":"/x?y=z","protocol":"HTTP/2","status":502,"bytes":10,"duration_us":42000,"cache":"generated","reason":"refused","trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"00f067aa0ba902b7","parent_id":"b7ad6b7169203331","sampled":true}"#;

    #[test]
    fn a_line_becomes_a_span() {
        let told = span(LINE.as_bytes()).unwrap();
        assert_eq!(told["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(
            (&told["spanId"], &told["parentSpanId"]),
            (&json!("00f067aa0ba902b7"), &json!("b7ad6b7169203331"))
        );
        assert_eq!(told["startTimeUnixNano"], "1000000000000000000");
        assert_eq!(told["endTimeUnixNano"], "1000000000042000000");
        assert_eq!(told["status"]["code"], 2);
        let attributes = told["attributes"].to_string();
        assert!(attributes.contains(r#"{"key":"url.query","value":{"stringValue":"y=z"}}"#), "{attributes}");
    }

    #[test]
    fn what_is_not_recorded_and_what_is_no_line_are_no_spans() {
        assert_eq!(span(LINE.replace(",\"sampled\":true", "").as_bytes()), None);
        assert_eq!((span(b""), span(b"{}"), span(b"[1")), (None, None, None));
    }

    #[test]
    fn spans_are_posted_and_a_refusal_is_an_error() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap().to_string();
        let receiver = std::thread::spawn(move || {
            let mut told = Vec::new();
            for status in ["200 OK", "503 Busy"] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let (mut line, mut length) = (String::new(), 0);
                while reader.read_line(&mut line).unwrap() > 2 {
                    if let Some(value) = line.strip_prefix("Content-Length: ") {
                        length = value.trim().parse().unwrap();
                    }
                    line.clear();
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).unwrap();
                told.push(serde_json::from_slice::<Value>(&body).unwrap());
                write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").unwrap();
            }
            told
        });
        let body = whole(&[span(LINE.as_bytes()).unwrap()]);
        send(&at, &body).unwrap();
        assert!(send(&at, &body).unwrap_err().to_string().contains("503"));
        let told = receiver.join().unwrap();
        assert_eq!(told[0]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["name"], "GET");
    }
}
