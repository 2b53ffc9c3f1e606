//! 7 what the walk found -> the answer.
//!
//! Turns a [`Hit`], a response that is still streaming in, or an origin's answer into a [`Response`]: evaluates
//! preconditions (`conditional.rs`), cuts ranges (`range.rs`), writes the lines that belong to this answer only (`headers.rs`). Called by
//! `serve`; decides nothing about reuse.
//!
//! Invariant: a hit without preconditions and ranges copies no stored byte and decodes no stored field.
//!
//! RFC 9110 §13 to §15, RFC 9111 §5.1, RFC 9211.

mod conditional;
pub(crate) mod dress;
pub(crate) mod encoding;
pub mod failure;
pub mod headers;
pub(crate) mod large;
mod node;
pub(crate) mod passing;
mod range;
pub mod response;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_store::body::Reader;
use cache_store::coalesce::Streaming;
use cache_store::entry::StoredResponse;
use cache_store::lookup::Hit;
use cache_store::rules::RequestHead;
use cache_store::rules::partial::{Held, Span};
use cache_store::timestamp::Timestamp;
use http::{Method, StatusCode};

use crate::clock::Clock;
use crate::listener::fields::{FieldId, Fields};
use crate::origin::ResponseFields;
use encoding::{Chosen, Coming, Negotiation};
use headers::CacheStatus;
use large::LargeStream;
pub use large::Refill;
use passing::Around;
use response::{Body, CacheOutcome, Cut, Lines, Outcome, Response, Stream};

/// What an answer is made with beside its source.
#[derive(Clone, Copy)]
pub struct Occasion<'a> {
    /// The request.
    pub request: &'a RequestHead<'a, Fields>,
    /// The steady time.
    pub now: Timestamp,
    /// For the calendar, where an answer depends on it.
    pub clock: &'a Clock,
    /// This node's name.
    pub node: &'a str,
    /// Whether `X-Cache` is wanted too.
    pub x_cache: bool,
    /// Who fetches what is missing of a body on disk.
    pub refill: Option<&'a Arc<dyn Refill>>,
    /// Why the origin was asked for a part of what is stored, if it was (RFC 9211 §2.2, `fwd`).
    pub fwd: Option<&'static str>,
    /// What caches on the way of this exchange said in `Cache-Status`.
    pub upstream: Option<&'a [u8]>,
    /// By what the coding of an answer is chosen; none where nothing is encoded, and for a node of the tier, which
    /// encodes for itself what it keeps.
    pub coding: Option<Negotiation<'a>>,
    /// Whether another node of the tier asks: it gets what is kept from clients.
    pub for_node: bool,
}

/// A precondition that only the origin can judge (`If-Match` and kin on something that does not match here).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AskOrigin;

/// The answer from what is stored. `extra` is memory for its lines.
///
/// # Errors
/// [`AskOrigin`]: the request must go to the origin although the stored response may be used.
pub fn stored(
    hit: Hit,
    occasion: Occasion<'_>,
    cache: CacheOutcome,
    mut extra: Vec<u8>,
) -> Result<Response, AskOrigin> {
    let Hit { stored, stale } = hit;
    let Chosen { stored, adds_vary, whole, saved_bytes } = match &occasion.coding {
        None => Chosen::as_it_is(stored),
        Some(negotiation) => negotiation.choose(stored, occasion.request.fields, occasion.now),
    };
    let ttl = stored.freshness.ttl(occasion.now);
    let age = u64::from(stored.freshness.age(occasion.now));
    let status = match cache {
        CacheOutcome::Miss if occasion.fwd.is_some() => CacheStatus::Forwarded {
            fwd: occasion.fwd.unwrap_or_default(),
            fwd_status: None,
            stored: true,
            ttl: Some(ttl),
            detail: None,
        },
        CacheOutcome::Collapsed => CacheStatus::Collapsed { ttl: Some(ttl) },
        CacheOutcome::Revalidated => CacheStatus::Revalidated { ttl },
        _ => CacheStatus::Hit { ttl, detail: stale.map(cache_store::lookup::Stale::as_str) },
    };
    extra.reserve(EXTRA_BYTES);
    headers::age(&mut extra, age);
    status.write_behind(&mut extra, occasion.upstream, occasion.node);
    if occasion.x_cache {
        headers::x_cache(&mut extra, cache);
    }
    if adds_vary {
        extra.extend_from_slice(encoding::VARY_LINE);
    }
    if occasion.for_node {
        node::lines(&mut extra, &stored.freshness, stored.tags(), stored.field_lines());
    }
    let outcome = Outcome {
        cache,
        reason: stale.map(cache_store::lookup::Stale::as_str),
        ttl: Some(ttl),
        age: Some(age),
        saved_bytes,
        tier: Some(if stored.large().is_some() { "disk" } else { "memory" }),
        ..Outcome::default()
    };
    let plain = *occasion.request.method == Method::GET && stored.held().is_none();
    if plain && !has_conditions(occasion.request.fields) {
        let lines = Lines::Stored(Arc::clone(&stored));
        return Ok(Response {
            status: stored.status(),
            extra,
            lines,
            body: body_for(stored.status(), large::whole(&stored, occasion.refill)),
            outcome,
            close: false,
        });
    }
    conditional::stored(&stored, occasion, whole, extra, outcome)
}

/// The answer from a response whose body is still arriving; `None` when its beginning is no longer kept.
pub fn streaming(
    streaming: &Arc<Streaming>,
    occasion: Occasion<'_>,
    status: CacheStatus<'_>,
    outcome: Outcome,
) -> Option<Response> {
    let head = &streaming.head;
    let mut extra = Vec::with_capacity(EXTRA_BYTES);
    let age = head.freshness.age(occasion.now);
    if age > 0 || matches!(status, CacheStatus::Collapsed { .. }) {
        headers::age(&mut extra, u64::from(age));
    }
    status.write_behind(&mut extra, occasion.upstream, occasion.node);
    if occasion.x_cache {
        headers::x_cache(&mut extra, outcome.cache);
    }
    if occasion.for_node {
        let said = head.fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()));
        node::lines(&mut extra, &head.freshness, &streaming.tags, said);
    }
    let coming = Coming::of(occasion.coding.as_ref(), head, streaming.length, occasion.request.fields);
    if coming.adds_vary {
        extra.extend_from_slice(encoding::VARY_LINE);
    }
    let mut response = Response {
        status: head.status,
        extra,
        lines: Lines::Own(head.lines.clone()),
        body: Body::None,
        outcome,
        close: false,
    };
    if has_conditions(occasion.request.fields)
        && conditional::streaming(streaming, occasion, coming.whole, &mut response).is_some()
    {
        return Some(response);
    }
    let source = source(streaming, 0, streaming.length, occasion.refill)?;
    response.body = body_for(head.status, Body::Stream { length: streaming.length, source });
    Some(response)
}

/// The bytes from `from` to `end` of a body that is still arriving; `None` when they are no longer kept.
fn source(
    streaming: &Streaming,
    from: u64,
    end: Option<u64>,
    refill: Option<&Arc<dyn Refill>>,
) -> Option<Pin<Box<dyn Stream>>> {
    if let Some(large) = &streaming.large {
        return Some(Box::pin(LargeStream::of(large.reader(from, end), refill)));
    }
    Some(Box::pin(ReaderStream(streaming.body.reader_of(from, end.map(|end| end.saturating_sub(from)))?)))
}

/// An answer that goes around the cache, with fields as the origin sent them, and perhaps in a coding (`passing.rs`).
pub fn passed(
    status: StatusCode,
    mut fields: ResponseFields,
    body: Body,
    occasion: Occasion<'_>,
    cache_status: CacheStatus<'_>,
    mut outcome: Outcome,
) -> Response {
    let mut extra = Vec::with_capacity(EXTRA_BYTES);
    cache_status.write_behind(&mut extra, occasion.upstream, occasion.node);
    if occasion.x_cache {
        headers::x_cache(&mut extra, outcome.cache);
    }
    let body = match body {
        Body::Stream { length, .. } if *occasion.request.method == Method::HEAD => Body::Omitted(length),
        body => body_for(status, body),
    };
    let body = match &occasion.coding {
        None => body,
        Some(negotiation) => {
            let around = Around { status, fields: &mut fields, extra: &mut extra, outcome: &mut outcome };
            negotiation.pass(occasion.request, around, body)
        }
    };
    Response { status, extra, lines: Lines::Passed(fields), body, outcome, close: false }
}

/// Statuses that never have a body (RFC 9110 §6.4.1).
fn body_for(status: StatusCode, body: Body) -> Body {
    if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) { Body::None } else { body }
}

/// Whether the request could be answered with less than the whole.
#[inline]
fn has_conditions(fields: &Fields) -> bool {
    fields.has_any(&[
        FieldId::IfNoneMatch,
        FieldId::IfModifiedSince,
        FieldId::Range,
        FieldId::IfMatch,
        FieldId::IfUnmodifiedSince,
    ])
}

/// A growing body as an answer's stream.
pub(crate) struct ReaderStream(pub(crate) Reader);

impl Stream for ReaderStream {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.get_mut().0.poll_next(cx).map(|next| next.map(|piece| piece.map_err(|_| Cut)))
    }
}

/// Pieces that are all here, as an answer's stream.
pub(crate) struct PiecesStream(pub(crate) std::vec::IntoIter<Bytes>);

impl Stream for PiecesStream {
    fn poll_next(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        Poll::Ready(self.get_mut().0.next().map(Ok))
    }
}

/// The bytes of a span that a stored response holds, wherever they lie in it.
pub(crate) fn held_slice(stored: &StoredResponse, held: &Held, span: Span) -> Vec<Bytes> {
    range::slice(stored, held, span)
}

/// Room for the lines of one answer.
const EXTRA_BYTES: usize = 192;
