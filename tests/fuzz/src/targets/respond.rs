//! What an origin said, stored and sent to a client: `cache-store/src/entry.rs`, `respond/`.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_store::entry::{Parts, StoredResponse};
use cache_store::lookup::Hit;
use cache_store::rules::partial::{ContentRange, Held, Part, content_range};
use cache_store::rules::policy::{Policy, ShortPart};
use cache_store::rules::retained::retained;
use cache_store::rules::{RequestHead, ResponseHead, Target, storable};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, Method, StatusCode};
use tidegate::clock::Clock;
use tidegate::listener::fields::Fields;
use tidegate::respond::response::{Body, CacheOutcome};
use tidegate::respond::{Occasion, stored};

use super::{field_lines, lines, rules};
use crate::reached;

/// Half of the answers are for another node, which gets more lines.
fn occasion<'a>(request: &'a RequestHead<'a, Fields>, clock: &'a Clock, for_node: bool) -> Occasion<'a> {
    Occasion {
        request,
        now: clock.now(),
        clock,
        node: "n1",
        x_cache: true,
        refill: None,
        fwd: None,
        upstream: None,
        coding: None,
        for_node,
    }
}

/// A stored response answers any request with the bytes that its status and fields speak of, and no byte of an origin's
/// or a client's field becomes a line of its own.
///
/// First line: method and status, and `long` for a body of many pieces; then the request's fields, an empty line, the
/// response's fields, an empty line, the body.
pub fn stored_answer(data: &[u8]) {
    let mut input = lines(data);
    let start = String::from_utf8_lossy(input.next().unwrap_or_default());
    let mut words = start.split(' ');
    let method = if words.next() == Some("HEAD") { Method::HEAD } else { Method::GET };
    let status = words.next().and_then(|word| word.parse().ok()).unwrap_or(StatusCode::OK);
    let times = if words.next() == Some("long") { 700 } else { 1 };
    let pairs = field_lines(&mut input);
    let request = Fields::pack(pairs.iter().copied());
    let response = rules::map(&field_lines(&mut input));
    let body = input.collect::<Vec<_>>().join(&b'\n').repeat(times);

    let target = Target { scheme: "https", authority: "a", path: "/" };
    let fill = RequestHead { method: &Method::GET, target, fields: &request };
    let head = ResponseHead { status, fields: &response };
    let now = Timestamp::from_secs(1_700_000_000);
    let Ok(kept) = storable(&fill, &head, &Policy::rfc(), now, now, now) else {
        return reached("not stored");
    };
    let held = match (status, content_range(&response)) {
        (StatusCode::PARTIAL_CONTENT, Some(range)) => {
            let Some(part) = Part::of(range, body.len() as u64, ShortPart::Refuse) else { return };
            Some(Held::new(part))
        }
        _ => None,
    };
    let first = held.as_ref().and_then(|held| held.spans().first()).map_or(0, |span| span.first());
    let middle = body.len() / 2;
    let mut fields: HeaderMap =
        retained(&response, &kept.strip).map(|(name, value)| (name.clone(), value.clone())).collect();
    if held.is_some() {
        // As a fill does: a part is kept as what it is a part of.
        fields.remove("content-range");
    }
    let response = StoredResponse::new(Parts {
        status: if held.is_some() { StatusCode::OK } else { status },
        fields,
        body: [body.get(..middle), body.get(middle..)]
            .into_iter()
            .flatten()
            .map(Bytes::copy_from_slice)
            .collect(),
        large: None,
        freshness: kept.freshness,
        vary: kept.vary,
        tags: Box::default(),
        held,
        epoch: 0,
    });
    assert_eq!(response.body_len(), body.len() as u64);
    assert_eq!(response.body().collect::<Vec<_>>().concat(), body, "what is stored is what came");
    let ask = RequestHead { method: &method, target, fields: &request };
    let clock = Clock::manual(now);
    let occasion = occasion(&ask, &clock, data.len().is_multiple_of(2));
    let hit = Hit { stored: Arc::new(response), stale: None };
    let Ok(answer) = stored(hit, occasion, CacheOutcome::Hit, Vec::new()) else {
        return reached("ask the origin");
    };

    let mut fields = sent_fields(&answer.extra);
    fields.extend(sent_fields(answer.lines.as_bytes()));
    let length = answer.body.length();
    let is_omitted = matches!(answer.body, Body::Omitted(_) | Body::None);
    let sent = collect(answer.body);
    assert!(is_omitted || length == Some(sent.len() as u64), "{length:?} was said, {} came", sent.len());
    reached((answer.status.as_u16(), method == Method::HEAD, is_omitted, sent.len().min(2), times));
    let part = |range: ContentRange| {
        let from = usize::try_from(range.span.first() - first).unwrap_or(usize::MAX);
        let to = usize::try_from(range.span.end() - first).unwrap_or(usize::MAX);
        body.get(from..to)
            .unwrap_or_else(|| panic!("{range:?} of {} bytes from {first}", body.len()))
            .to_vec()
    };
    match answer.status {
        StatusCode::NOT_MODIFIED => assert!(sent.is_empty()),
        StatusCode::RANGE_NOT_SATISFIABLE => {
            assert!(sent.is_empty() && field(&fields, "content-range").is_some());
        }
        StatusCode::PARTIAL_CONTENT => {
            let ranges = fields.iter().filter(|(name, _)| name == "content-range").count();
            assert!(ranges < 2, "one part, or several that each say which");
            if let Some(range) = field(&fields, "content-range") {
                let range = ContentRange::parse(range).unwrap_or_else(|| panic!("{}", range.escape_ascii()));
                assert_eq!(sent, part(range), "{range:?}");
            } else {
                let parts = multipart(&fields, &sent);
                assert!(parts.len() > 1);
                reached(("parts", parts.len()));
                for (range, bytes) in parts {
                    assert_eq!(bytes, part(range), "{range:?}");
                }
            }
        }
        _ if !is_omitted => assert_eq!(sent, body),
        _ => {}
    }
}

type Line<'a> = (String, &'a [u8]);

/// Lines as a client reads them, each checked to be one.
fn sent_fields(lines: &[u8]) -> Vec<Line<'_>> {
    let mut fields = Vec::new();
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no line: {}", line.escape_ascii()));
        let at =
            line.iter().position(|byte| *byte == b':').unwrap_or_else(|| panic!("{}", line.escape_ascii()));
        let (name, value) = line.split_at(at);
        assert!(!name.is_empty() && name.iter().all(u8::is_ascii_graphic));
        assert!(!line.iter().any(|byte| matches!(byte, b'\r' | 0)), "{}", line.escape_ascii());
        let name = String::from_utf8_lossy(name).to_ascii_lowercase();
        assert!(!FRAMING.contains(&name.as_str()), "{name} is the listener's");
        fields.push((name, value.get(1..).unwrap_or_default().trim_ascii()));
    }
    fields
}

fn field<'a>(fields: &[Line<'a>], name: &str) -> Option<&'a [u8]> {
    fields.iter().find(|(known, _)| known == name).map(|(_, value)| *value)
}

/// RFC 9110 §15.3.7.2, read by lengths: a part is as long as its `Content-Range` says.
fn multipart(fields: &[Line<'_>], sent: &[u8]) -> Vec<(ContentRange, Vec<u8>)> {
    let kind = String::from_utf8_lossy(field(fields, "content-type").unwrap_or_default()).into_owned();
    let boundary = kind.strip_prefix("multipart/byteranges; boundary=").unwrap_or_else(|| panic!("{kind}"));
    let (mut rest, mut parts) = (sent, Vec::new());
    let skip = |rest: &mut &[u8], text: &str| {
        *rest = rest
            .strip_prefix(text.as_bytes())
            .unwrap_or_else(|| panic!("no {text:?} in {}", rest.escape_ascii()));
    };
    loop {
        if !parts.is_empty() {
            skip(&mut rest, "\r\n");
        }
        skip(&mut rest, &format!("--{boundary}"));
        if rest == b"--\r\n" {
            return parts;
        }
        skip(&mut rest, "\r\n");
        let end = rest
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .unwrap_or_else(|| panic!("a part has no head"));
        let (head, after) = rest.split_at(end + 2);
        let head = sent_fields(head);
        let range = field(&head, "content-range").and_then(ContentRange::parse);
        let range = range.unwrap_or_else(|| panic!("a part without its range"));
        rest = after;
        skip(&mut rest, "\r\n");
        let length = usize::try_from(range.span.length()).unwrap_or(usize::MAX);
        let (bytes, after) = rest.split_at_checked(length).unwrap_or_else(|| panic!("a part is cut"));
        parts.push((range, bytes.to_vec()));
        rest = after;
    }
}

fn collect(body: Body) -> Vec<u8> {
    match body {
        Body::None | Body::Omitted(_) | Body::Tunnel(_) => Vec::new(),
        Body::Stored(stored) => stored.body().collect::<Vec<_>>().concat(),
        Body::Bytes(bytes) => bytes.to_vec(),
        Body::Stream { mut source, .. } => {
            let mut all = Vec::new();
            let mut cx = Context::from_waker(Waker::noop());
            while let Poll::Ready(Some(Ok(piece))) = source.as_mut().poll_next(&mut cx) {
                all.extend_from_slice(&piece);
            }
            all
        }
    }
}

const FRAMING: &[&str] =
    &["connection", "content-length", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];
