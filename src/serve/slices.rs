//! Stored bodies on disk, of which a part may be missing: the part is fetched while the rest is sent.
//!
//! ```text
//! hit on a large body ─► first byte ─┬─ here ─► answer ······ a hole on the way ─► lead ─► goes on, or is cut
//!                                    ├─ missing ─► lead ─┬─ 206, same validator ─► answer
//!                                    │                   ├─ another version ─► drop what is stored, begin anew (once)
//!                                    │                   └─ the origin fails ─► its failure
//!                                    └─ missing, only-if-cached ─► 504
//! ```
//!
//! The head of an answer is held back until its first byte is there: until then everything can still be told in a status.
//! A slice is a task of its own and serves all who want its chunks; whoever caused it may leave.
//!
//! Invariant: bytes join a stored body only under its strong validator, at the place that `Content-Range` names.
//! RFC 9110 §13.1.5, §14.4, §15.3.7; RFC 9111 §3.4.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_store::coalesce::{self, Streaming};
use cache_store::entry::StoredResponse;
use cache_store::large::{Slice, SliceWriting};
use cache_store::lookup::{Hit, Lookup, Why};
use cache_store::rules::partial::Requested;
use cache_store::rules::validator::strong_validator;
use cache_store::rules::{RequestControl, ResponseHead, partial, stale};
use http::{StatusCode, header};

use super::fetch::{judge, without_conditions};
use super::walk::{Asker, Walk};
use super::{Tier, fetched, pass, walk_on};
use crate::config::limits::{DISK_PATIENCE, STREAM_WINDOW_BYTES};
use crate::listener::fields::FieldId;
use crate::origin::forward::Sent;
use crate::origin::{Answer, OriginBody, ResponseFields};
use crate::respond::failure::Failure;
use crate::respond::large::Begun;
use crate::respond::response::{Body, CacheOutcome, Response};
use crate::respond::{self, Occasion, Refill};

/// The answer from a stored response whose body lies on disk. `why` the origin was asked, if it was.
pub(super) async fn answer(walk: &Walk, hit: Hit, cache: CacheOutcome, why: Option<Why>) -> Response {
    let Hit { stored, stale } = hit;
    // What is missing is asked of an origin, by who wants it and for all who do.
    let mut looked_into = None;
    if walk.is_uninspected() && stored.large().is_some_and(|large| large.holding().missing > 0) {
        let asker = looked_into.insert(walk.clone());
        if let Err(failure) = asker.inspect().await {
            return walk.failed(failure);
        }
    }
    let walk = looked_into.as_ref().unwrap_or(walk);
    let control = RequestControl::of(&walk.fields, &walk.policy.rules);
    let asks = Asks::new(walk, control.only_if_cached);
    let refill: Arc<dyn Refill> = Arc::clone(&asks) as Arc<dyn Refill>;
    let answer = |cache, fwd| {
        let (stored, head) = (Arc::clone(&stored), walk.head());
        let occasion = Occasion { refill: Some(&refill), fwd, ..walk.occasion(&head, walk.edge.clock.now()) };
        respond::stored(Hit { stored, stale }, occasion, cache, Vec::new())
    };
    let fwd = why.map(Why::fwd);
    let Ok(mut response) = answer(cache, fwd) else {
        // Boxed: a pass may itself end in the store, once.
        return Box::pin(pass::pass(walk.around(), "precondition")).await;
    };
    let Body::Stream { length, source: mut rest } = std::mem::replace(&mut response.body, Body::None) else {
        return answer(cache, fwd).unwrap_or(response);
    };
    let first = match poll_fn(|cx| rest.as_mut().poll_first(cx)).await {
        Some(Ok(first)) => first,
        None => None,
        Some(Err(_)) => return failed(walk, &stored, &asks).await,
    };
    if fwd.is_none() && asks.asked.load(Ordering::Relaxed) {
        // The same head again, now that it is known where the answer comes from.
        if let Ok(told) = answer(CacheOutcome::Miss, Some(Why::Partial.fwd())) {
            response = told;
        }
    }
    response.body = Body::Stream { length, source: Box::pin(Begun { first, rest }) };
    response
}

/// There is no first byte.
async fn failed(walk: &Walk, stored: &Arc<StoredResponse>, asks: &Asks) -> Response {
    if asks.forbidden {
        return walk.failed(Failure::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached"));
    }
    let Some(large) = stored.large() else {
        return walk.failed(Failure::new(StatusCode::BAD_GATEWAY, "body-gone"));
    };
    if let Some(failure) = large.failure().filter(|_| !large.is_changed()) {
        let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
        return walk.failed(Failure::new(status, failure.reason));
    }
    walk.edge.store.drop_large(walk.key, large);
    if walk.restarted || walk.asker == (Asker::Node { around: true }) {
        let fill = walk.edge.store.fill_alone(walk.resource(), &walk.head(), None, Why::Partial);
        return *Box::pin(fetched(walk.clone(), fill)).await;
    }
    let mut again = walk.clone();
    again.restarted = true;
    let looked: Lookup = again.look_up();
    Box::pin(walk_on(again, looked, Tier::Memory)).await
}

/// For an answer from a fetch that is under way, if it is of a large body.
pub(super) fn refill(walk: &Walk, streaming: &Streaming) -> Option<Arc<dyn Refill>> {
    streaming.large.as_ref().map(|_| Asks::new(walk, false) as Arc<dyn Refill>)
}

/// Whether a 206 that another request caused is what this one asks for. Those who begin in the same chunk wait for one fetch,
/// and where it cannot be sliced, what it brings is the part that only its leader wants.
pub(super) fn is_part_for(walk: &Walk, streaming: &Streaming) -> bool {
    if streaming.head.status != StatusCode::PARTIAL_CONTENT || walk.edge.store.large_bytes_max() == 0 {
        return true;
    }
    let requested = partial::requested(&walk.head());
    let range = partial::content_range(&streaming.head.fields);
    let (Some(range), Some([wanted])) = (range, requested.as_ref().map(Requested::ranges)) else {
        return false;
    };
    range.complete.and_then(|complete| wanted.resolve(complete)) == Some(range.span)
}

/// Whether a look-up found a body that lies on disk.
pub(super) fn is_large(looked: &Lookup) -> bool {
    matches!(looked, Lookup::Fresh(hit) | Lookup::Stale(hit, _) if hit.stored.large().is_some())
}

/// Fetches what one answer finds missing.
struct Asks {
    walk: Walk,
    /// The client wants nothing fetched.
    forbidden: bool,
    asked: AtomicBool,
}

impl Asks {
    fn new(walk: &Walk, forbidden: bool) -> Arc<Self> {
        let mut walk = walk.clone();
        // Interim answers of an origin are for before the head.
        walk.interim = None;
        Arc::new(Self { walk, forbidden, asked: AtomicBool::new(false) })
    }
}

impl Refill for Asks {
    fn refill(&self, slice: Slice) {
        if !self.forbidden {
            self.asked.store(true, Ordering::Relaxed);
            tokio::spawn(lead(self.walk.clone(), slice));
        }
    }
}

/// Asks the origin for a slice, and ends it on every path.
async fn lead(mut walk: Walk, slice: Slice) {
    // Of what was here a moment ago.
    if let Err(failure) = walk.inspect().await {
        return slice.fail(told(failure));
    }
    let answer = match walk.ask(fields_for(&walk, &slice)).await {
        Ok(answer) => answer,
        Err(error) => return slice.fail(told(Failure::from(error.cause))),
    };
    let (first, length) = match fitting(&slice, &answer) {
        Fitting::Part(first, length) => (first, length),
        Fitting::Other => {
            walk.edge.store.drop_large(walk.key, slice.large());
            return slice.changed();
        }
        Fitting::Failure => return slice.fail(told(Failure::new(StatusCode::BAD_GATEWAY, "slice"))),
    };
    // What its head says now counts for its bytes as well (RFC 9111 §3.4).
    let head = ResponseHead { status: StatusCode::OK, fields: &without_range(&answer.fields) };
    if judge(&walk, &head, &answer).is_err() {
        if walk.fields.has(FieldId::Authorization) {
            return slice.fail(told(Failure::new(StatusCode::BAD_GATEWAY, "slice")));
        }
        walk.edge.store.drop_large(walk.key, slice.large());
        return slice.changed();
    }
    match slice.begin(first, &walk.edge.store, WINDOW) {
        Ok(writing) => bring(&walk, answer.body, writing, length).await,
        Err(slice) => slice.fail(told(Failure::new(StatusCode::BAD_GATEWAY, "content-range"))),
    }
}

/// The head that the whole would have.
fn without_range(fields: &ResponseFields) -> ResponseFields {
    let mut fields = fields.clone();
    fields.retain(|name| name != header::CONTENT_RANGE.as_str().as_bytes());
    fields
}

/// What an answer is to a slice.
enum Fitting {
    /// Bytes of the same body: from where on, and how many.
    Part(u64, u64),
    /// Another version, or none any more.
    Other,
    /// Nothing that could be used, and no sign of another version.
    Failure,
}

fn fitting(slice: &Slice, answer: &Answer) -> Fitting {
    if stale::is_error(answer.status) {
        return Fitting::Failure;
    }
    let fields = answer.fields.to_map();
    let validator = strong_validator(&fields);
    let same = validator.is_some() && validator == slice.validator();
    let whole = slice.large().length();
    match answer.status {
        StatusCode::PARTIAL_CONTENT if same => match partial::content_range(&answer.fields) {
            Some(range) if range.complete.is_some() && whole.is_some() && range.complete != whole => {
                Fitting::Other
            }
            Some(range) if answer.length.is_none_or(|length| length == range.span.length()) => {
                Fitting::Part(range.span.first(), range.span.length())
            }
            _ => Fitting::Failure,
        },
        // An origin that does not know ranges, or not now.
        StatusCode::OK if same && answer.length.is_some() && answer.length == whole => {
            Fitting::Part(0, answer.length.unwrap_or_default())
        }
        // It shows another validator, or that there is nothing any more. Whatever else it says (401, 403, 429, a redirect) it may
        // say to this client only.
        StatusCode::PARTIAL_CONTENT if validator.is_none() => Fitting::Failure,
        StatusCode::OK
        | StatusCode::PARTIAL_CONTENT
        | StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::RANGE_NOT_SATISFIABLE => Fitting::Other,
        _ => Fitting::Failure,
    }
}

/// Brings the bytes of a slice: `length` of them must come, or the rest of them are not there.
pub(super) async fn bring(walk: &Walk, mut body: OriginBody, mut writing: SliceWriting, length: u64) {
    let mut left = length;
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else { break };
        let Some(after) = left.checked_sub(piece.len() as u64) else { break };
        left = after;
        writing.write(&piece);
        if !room(walk, &mut writing).await {
            break;
        }
    }
    if left == 0 {
        writing.complete();
        // What does not get there in time is a hole again.
        let _ = walk.edge.clock.timeout(DISK_PATIENCE, writing.stored()).await;
    }
    walk.edge.store.note_chunks(&walk.resource(), writing.large());
}

/// Waits until more may come; `false` when nobody wants it.
async fn room(walk: &Walk, writing: &mut SliceWriting) -> bool {
    let clock = &walk.edge.clock;
    if writing.spills() {
        match clock.timeout(DISK_PATIENCE, writing.room(WINDOW)).await {
            Ok(room) => return room.is_ok(),
            Err(_) => writing.give_up_disk(WINDOW),
        }
    }
    let waited = clock.timeout(walk.edge.config.limits.send_stall_timeout, writing.room(WINDOW)).await;
    matches!(waited, Ok(Ok(())))
}

fn fields_for(walk: &Walk, slice: &Slice) -> Sent {
    let mut fields = without_conditions(walk);
    let range = slice.range();
    let range = format!("bytes={}-{}", range.start, range.end.saturating_sub(1));
    fields.push(&header::RANGE, range.as_bytes());
    if let Some(validator) = slice.validator() {
        fields.push(&header::IF_RANGE, validator.as_bytes());
    }
    fields
}

fn told(failure: Failure) -> coalesce::Failure {
    coalesce::Failure { status: failure.status.as_u16(), reason: failure.reason }
}

const WINDOW: u64 = STREAM_WINDOW_BYTES as u64;
