//! Answers about something that is stored: a 304 that confirms it, a 206 that completes it, and one that is a part of a large body.
//!
//! `fetch.rs` comes here with the answer to a request that it made conditional or partial. Each either ends the fill, or gives it
//! back: then the origin's word did not fit what is stored, and is asked for the whole.
//!
//! Invariant: parts are put together only under one strong validator, which both of them name. RFC 9111 §3.3, §3.4, §4.3.4.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use cache_store::coalesce::Fill;
use cache_store::entry::{Parts, StoredResponse};
use cache_store::large;
use cache_store::lookup::Hit;
use cache_store::rules::partial::{self, Held, Part};
use cache_store::rules::validator::Validators;
use cache_store::rules::{ResponseHead, Storable, update};
use http::{StatusCode, header};

use super::fetch::{judge, take};
use super::kept::{kept_fields, take_tags};
use super::leading::Found;
use super::led::{Led, Told};
use super::slices;
use super::walk::Walk;
use crate::config::limits::STREAM_WINDOW_BYTES;
use crate::origin::Answer;

/// A 304: the stored response it is about, with the news in its head.
pub(super) fn confirm(walk: &Walk, fill: Fill, answer: &Answer) -> Result<Found<Led>, Fill> {
    let asked: Vec<Validators> =
        fill.candidates.iter().map(|stored| Validators::of(&stored.fields())).collect();
    let news = answer.fields.to_map();
    let confirmed = update::confirmed(&news, &asked);
    let Some(stored) = confirmed.first().and_then(|nth| fill.candidates.get(*nth)).cloned() else {
        return Err(fill);
    };
    let mut fields = update::merged(&stored.fields(), &news);
    let tags = take_tags(&mut fields);
    let head = ResponseHead { status: stored.status(), fields: &fields };
    let judged = judge(walk, &head, answer);
    let told = Told::of(answer);
    let mut parts = stored.to_parts();
    if !tags.is_empty() {
        parts.tags = tags;
    }
    match judged {
        Ok(Storable { freshness, vary, strip }) => {
            parts.fields = kept_fields(walk, fields, &strip, answer);
            parts.freshness = freshness;
            parts.vary = vary;
            parts.epoch = fill.epoch();
            let stored = fill.settle(parts, &stored);
            Ok((Led::Stored { hit: Hit { stored, stale: None }, told, confirmed: true }, None))
        }
        Err(why) => {
            // Confirmed for this client, but no longer to be kept.
            parts.fields = kept_fields(walk, fields, &[], answer);
            parts.epoch = fill.epoch();
            walk.edge.store.outdate(walk.key, &stored);
            fill.uncacheable(walk.edge.clock.now());
            let once = Arc::new(StoredResponse::new(parts));
            tracing::debug!(reason = why.as_str(), "a confirmed response may no longer be stored");
            Ok((Led::Stored { hit: Hit { stored: once, stale: None }, told, confirmed: true }, None))
        }
    }
}

/// A 206 with the rest of what is stored in part.
pub(super) async fn combine(walk: &Walk, fill: Fill, mut answer: Box<Answer>) -> Result<Found<Led>, Fill> {
    let Some(stored) = fill.stored.clone() else { return Err(fill) };
    let (old, news) = (stored.fields(), answer.fields.to_map());
    let head = ResponseHead { status: answer.status, fields: &news };
    let (Some(held), Some(range)) = (stored.held(), partial::content_range(&news)) else {
        return Err(fill);
    };
    if !partial::may_combine(&old, &head) || range.span.length() > walk.edge.store.entry_bytes_max() {
        return Err(fill);
    }
    let mut pieces = Vec::new();
    let mut length = 0;
    while let Some(piece) = answer.body.next().await {
        let Ok(piece) = piece else { return Err(fill) };
        length += piece.len() as u64;
        if length > range.span.length() {
            return Err(fill);
        }
        pieces.push(piece);
    }
    let mut whole = held.clone();
    let part = Part::of(range, length, walk.policy.rules.short_part);
    let Some(part) = part.filter(|part| whole.add(*part)) else { return Err(fill) };
    let body = joined(&stored, held, &whole, part, &pieces);
    let mut fields = update::merged(&old, &news);
    let tags = take_tags(&mut fields);
    fields.remove(header::CONTENT_RANGE);
    let head = ResponseHead { status: StatusCode::OK, fields: &fields };
    let told = Told::of(&answer);
    match judge(walk, &head, &answer) {
        Ok(Storable { freshness, vary, strip }) => {
            let parts = Parts {
                status: StatusCode::OK,
                fields: kept_fields(walk, fields, &strip, &answer),
                body,
                large: None,
                freshness,
                vary,
                tags,
                held: (!whole.is_whole()).then_some(whole),
                epoch: fill.epoch(),
            };
            let stored = fill.settle(parts, &stored);
            Ok((Led::Stored { hit: Hit { stored, stale: None }, told, confirmed: false }, None))
        }
        Err(_) => Err(fill),
    }
}

/// A 206 with the chunks around what the client wants.
pub(super) fn slice(
    walk: &Walk,
    fill: Fill,
    asked: &Range<u64>,
    mut answer: Box<Answer>,
) -> Result<Found<Led>, Fill> {
    let Some(range) = partial::content_range(&answer.fields) else { return Err(fill) };
    let (Some(complete), Some(length)) = (range.complete, answer.length) else { return Err(fill) };
    if length != range.span.length() || range.span.first() != asked.start {
        return Err(fill);
    }
    if length == complete {
        // All there is: as good as if the whole had been asked for.
        answer.status = StatusCode::OK;
        answer.fields.retain(|name| name != header::CONTENT_RANGE.as_str().as_bytes());
        return Ok(take(walk, fill, answer));
    }
    // Whole chunks of it, or the body's end.
    let end = if range.span.end() == complete { complete } else { large::chunks_before(range.span.end()) };
    let mut fields = answer.fields.to_map();
    let tags = take_tags(&mut fields);
    fields.remove(header::CONTENT_RANGE);
    let judged = judge(walk, &ResponseHead { status: StatusCode::OK, fields: &fields }, &answer);
    let Ok(Storable { freshness, vary, strip }) = judged else { return Err(fill) };
    let parts = Parts {
        status: StatusCode::OK,
        fields: kept_fields(walk, fields, &strip, &answer),
        body: Vec::new(),
        large: None,
        freshness,
        vary,
        tags,
        held: None,
        epoch: fill.epoch(),
    };
    let Some((stored, slice)) = fill.adopt(parts, complete, asked.start..end) else {
        return Err(fill);
    };
    let Ok(writing) = slice.begin(asked.start, &walk.edge.store, STREAM_WINDOW_BYTES as u64) else {
        return Err(fill);
    };
    let told = Told::of(&answer);
    fill.settled(&stored);
    let walk = walk.clone();
    let rest = async move { slices::bring(&walk, answer.body, writing, length).await };
    Ok((Led::Stored { hit: Hit { stored, stale: None }, told, confirmed: false }, Some(Box::pin(rest))))
}

/// The bytes of `whole`, taken from what was held and from the new part.
fn joined(stored: &StoredResponse, held: &Held, whole: &Held, part: Part, pieces: &[Bytes]) -> Vec<Bytes> {
    let new = pieces.concat();
    let mut body = Vec::new();
    for span in whole.spans() {
        let mut at = span.first();
        while at <= span.last() {
            let taken = if part.span.first() <= at && at <= part.span.last() {
                let from = usize::try_from(at - part.span.first()).unwrap_or(usize::MAX);
                at = part.span.last() + 1;
                vec![Bytes::copy_from_slice(new.get(from..).unwrap_or_default())]
            } else {
                let Some(old) = held.spans().iter().find(|old| old.first() <= at && at <= old.last()) else {
                    break;
                };
                let end =
                    if part.span.first() > at { old.last().min(part.span.first() - 1) } else { old.last() };
                let Some(wanted) = partial::Span::new(at, end) else { break };
                at = end + 1;
                crate::respond::held_slice(stored, held, wanted)
            };
            body.extend(taken);
        }
    }
    body
}
