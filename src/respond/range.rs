//! Parts of a representation: which, and as what kind of answer.
//!
//! RFC 9110 §14 and §15.3.7. One part is sent as it is; several as `multipart/byteranges`, whose length is known
//! beforehand. How many parts and overlaps are tolerated is decided where ranges are parsed (`rules::partial`).

use std::sync::Arc;

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::rules::partial::{Answer, Held, Requested, Span};
use http::StatusCode;

use super::PiecesStream;
use super::headers::line;
use super::large::{self, Part, Refill};
use super::response::Body;

/// What a range request gets.
pub(crate) enum Ranged {
    /// The whole representation with its own status.
    Whole,
    /// This status, these lines in addition (and instead of `content-type` where `replaces_type`), this body.
    Part { status: StatusCode, lines: Vec<u8>, replaces_type: bool, body: Body },
}

/// Cuts `requested` out of a stored response.
pub(crate) fn cut(
    stored: &StoredResponse,
    requested: Option<&Requested>,
    refill: Option<&Arc<dyn Refill>>,
) -> Ranged {
    let whole;
    let held = if let Some(held) = stored.held() {
        held
    } else {
        whole = Held::whole(stored.body_len());
        &whole
    };
    match held.answer(requested) {
        Answer::Whole | Answer::Missing(_) | Answer::Unknown => Ranged::Whole,
        Answer::Unsatisfiable => unsatisfiable(held.complete()),
        Answer::Spans(spans) => parts(stored, held, &spans, refill),
    }
}

/// 416 with the complete length.
pub(crate) fn unsatisfiable(complete: Option<u64>) -> Ranged {
    let mut lines = Vec::new();
    if let Some(complete) = complete {
        line(&mut lines, b"content-range", format!("bytes */{complete}").as_bytes());
    }
    Ranged::Part {
        status: StatusCode::RANGE_NOT_SATISFIABLE,
        lines,
        replaces_type: true,
        body: Body::Bytes(Bytes::new()),
    }
}

/// `bytes 0-4/10`.
pub(crate) fn content_range(span: Span, complete: Option<u64>) -> String {
    match complete {
        Some(complete) => format!("bytes {}-{}/{complete}", span.first(), span.last()),
        None => format!("bytes {}-{}/*", span.first(), span.last()),
    }
}

fn parts(stored: &StoredResponse, held: &Held, spans: &[Span], refill: Option<&Arc<dyn Refill>>) -> Ranged {
    let mut lines = Vec::new();
    if let [span] = spans {
        line(&mut lines, b"content-range", content_range(*span, held.complete()).as_bytes());
        return Ranged::Part {
            status: StatusCode::PARTIAL_CONTENT,
            lines,
            replaces_type: false,
            body: whole_of(stored, held, vec![Part::Span(*span)], refill),
        };
    }
    let boundary = boundary(stored, spans);
    line(&mut lines, b"content-type", format!("multipart/byteranges; boundary={boundary}").as_bytes());
    let mut body = Vec::new();
    for (nth, span) in spans.iter().enumerate() {
        let mut head = Vec::new();
        head.extend_from_slice(if nth == 0 { b"--" } else { b"\r\n--" });
        head.extend_from_slice(boundary.as_bytes());
        head.extend_from_slice(b"\r\n");
        if let Some(kind) = stored.field("content-type") {
            line(&mut head, b"content-type", kind);
        }
        line(&mut head, b"content-range", content_range(*span, held.complete()).as_bytes());
        head.extend_from_slice(b"\r\n");
        body.extend([Part::Bytes(Bytes::from(head)), Part::Span(*span)]);
    }
    body.push(Part::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    let body = whole_of(stored, held, body, refill);
    Ranged::Part { status: StatusCode::PARTIAL_CONTENT, lines, replaces_type: true, body }
}

/// One body of these parts.
fn whole_of(
    stored: &StoredResponse,
    held: &Held,
    parts: Vec<Part>,
    refill: Option<&Arc<dyn Refill>>,
) -> Body {
    if let Some(large) = stored.large() {
        return large::parts(large, parts, refill);
    }
    let mut body = Vec::new();
    for part in parts {
        match part {
            Part::Bytes(bytes) => body.push(bytes),
            Part::Span(span) => body.extend(slice(stored, held, span)),
        }
    }
    pieces(body)
}

/// The bytes of a span that is held, wherever they lie in what is stored.
pub(crate) fn slice(stored: &StoredResponse, held: &Held, span: Span) -> Vec<Bytes> {
    let mut before = 0;
    for part in held.spans() {
        if part.first() <= span.first() && span.last() <= part.last() {
            let from = before + (span.first() - part.first());
            return stored.slice(from..from + span.length());
        }
        before += part.length();
    }
    Vec::new()
}

pub(crate) fn pieces(pieces: Vec<Bytes>) -> Body {
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    Body::Stream { length: Some(length), source: Box::pin(PiecesStream(pieces.into_iter())) }
}

/// A boundary that no client can foresee is not needed: a part is delimited by its `Content-Range`, and this one is
/// derived from what makes the answer.
fn boundary(stored: &StoredResponse, spans: &[Span]) -> String {
    let mut mix = stored.body_len() ^ stored.freshness.received().as_millis().rotate_left(17);
    for span in spans {
        mix = (mix ^ span.first().rotate_left(7) ^ span.last()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    format!("tidegate-{mix:016x}")
}
