//! Answers to requests with preconditions or ranges, from what is stored or streaming in.
//!
//! The order is RFC 9110 §13.2.2: preconditions first, then `If-Range`, then `Range`. A cache judges them for the
//! representation it selected (RFC 9111 §4.3.2).

use std::sync::Arc;

use bytes::Bytes;
use cache_store::coalesce::Streaming;
use cache_store::entry::StoredResponse;
use cache_store::rules::ResponseHead;
use cache_store::rules::partial::{self, Held, Resolved};
use cache_store::rules::validator::{Precondition, evaluate, if_range_holds};
use http::{HeaderMap, Method, StatusCode, header};

use super::headers::{line, lines};
use super::large;
use super::range::{self, Ranged};
use super::response::{Body, Lines, Outcome, Response};
use super::{AskOrigin, Occasion, body_for, source};

/// The answer from a stored response, where it may be less than the whole; `whole`: ranges are not heard.
pub(super) fn stored(
    stored: &Arc<StoredResponse>,
    occasion: Occasion<'_>,
    whole: bool,
    extra: Vec<u8>,
    outcome: Outcome,
) -> Result<Response, AskOrigin> {
    let fields = stored.fields();
    let head = ResponseHead { status: stored.status(), fields: &fields };
    let received_wall = occasion.clock.wall().minus(occasion.now.since(stored.freshness.received()));
    let mut response = Response {
        status: stored.status(),
        extra,
        lines: Lines::Stored(Arc::clone(stored)),
        body: Body::None,
        outcome,
        close: false,
    };
    match evaluate(occasion.request, &head, received_wall) {
        Precondition::AskOrigin => return Err(AskOrigin),
        Precondition::NotModified => {
            response.status = StatusCode::NOT_MODIFIED;
            response.lines = Lines::Own(not_modified_lines(&fields));
            response.outcome.saved_bytes = 0;
            return Ok(response);
        }
        Precondition::Send => {}
    }
    if *occasion.request.method == Method::HEAD {
        let length = stored.held().map_or(Some(stored.body_len()), Held::complete);
        response.body = Body::Omitted(length);
        response.outcome.saved_bytes = 0;
        return Ok(response);
    }
    let requested = partial::requested(occasion.request)
        .filter(|_| !whole && stored.status() == StatusCode::OK && if_range_holds(occasion.request, &fields));
    if requested.is_none() && stored.held().is_none() {
        response.body = body_for(stored.status(), large::whole(stored, occasion.refill));
        return Ok(response);
    }
    match range::cut(stored, requested.as_ref(), occasion.refill) {
        Ranged::Whole if stored.held().is_none() => {
            response.body = body_for(stored.status(), large::whole(stored, occasion.refill));
        }
        // A partial that holds everything.
        Ranged::Whole => response.body = range::pieces(stored.body().collect()),
        Ranged::Part { status, lines: new, replaces_type, body } => {
            response.status = status;
            response.extra.extend_from_slice(&new);
            if replaces_type || fields.contains_key(header::CONTENT_RANGE) {
                response.lines = Lines::Own(beside_a_range(&fields, replaces_type));
            }
            response.body = body;
        }
    }
    Ok(response)
}

/// Makes `response` the answer from a response that is streaming in, where that is not simply the whole of it; `None`,
/// and nothing is changed, where it is. `whole`: ranges are not heard.
pub(super) fn streaming(
    streaming: &Arc<Streaming>,
    occasion: Occasion<'_>,
    whole: bool,
    response: &mut Response,
) -> Option<()> {
    let head = &streaming.head;
    let view = ResponseHead { status: head.status, fields: &head.fields };
    if evaluate(occasion.request, &view, occasion.clock.wall()) == Precondition::NotModified {
        response.status = StatusCode::NOT_MODIFIED;
        response.lines = Lines::Own(not_modified_lines(&head.fields));
        response.body = Body::None;
        return Some(());
    }
    let requested = partial::requested(occasion.request);
    let (StatusCode::OK, Some(length), Some(requested)) = (head.status, streaming.length, requested) else {
        return None;
    };
    if whole || !if_range_holds(occasion.request, &head.fields) {
        return None;
    }
    match requested.resolve(length) {
        Resolved::Unsatisfiable => {
            if let Ranged::Part { status, lines: new, body, .. } = range::unsatisfiable(Some(length)) {
                response.lines = Lines::Own(beside_a_range(&head.fields, true));
                response.status = status;
                response.extra.extend_from_slice(&new);
                response.body = body;
            }
            Some(())
        }
        Resolved::Spans(spans) => {
            // Several parts out of a body that is still coming would have to be held back: send the whole.
            let [span] = spans.as_slice() else { return None };
            let source = source(streaming, span.first(), Some(span.end()), occasion.refill)?;
            line(&mut response.extra, b"content-range", range::content_range(*span, Some(length)).as_bytes());
            if head.fields.contains_key(header::CONTENT_RANGE) {
                response.lines = Lines::Own(beside_a_range(&head.fields, false));
            }
            response.status = StatusCode::PARTIAL_CONTENT;
            response.body = Body::Stream { length: Some(span.length()), source };
            Some(())
        }
        Resolved::Ignore => None,
    }
}

/// The stored lines that go with a part. A `Content-Range` that the origin put where it has no meaning (RFC 9110 §14.4)
/// would stand beside ours.
fn beside_a_range(fields: &HeaderMap, replaces_type: bool) -> Bytes {
    lines(fields.iter().filter(|(name, _)| {
        **name != header::CONTENT_RANGE && !(replaces_type && **name == header::CONTENT_TYPE)
    }))
}

/// A 304 repeats what a 200 would say but what describes the content it does not bring (RFC 9110 §15.4.5).
fn not_modified_lines(fields: &HeaderMap) -> Bytes {
    lines(fields.iter().filter(|(name, _)| {
        !matches!(
            **name,
            header::CONTENT_TYPE
                | header::CONTENT_ENCODING
                | header::CONTENT_LANGUAGE
                | header::CONTENT_LENGTH
                | header::CONTENT_RANGE
        )
    }))
}
