//! The leader: asks the origin for one key and ends the fill.
//!
//! ```text
//! ask ─┬─ failed, 5xx that something stale may stand in for ─► fill.fail
//!      ├─ 304 ─► merge, judge anew ─► fill.settle
//!      ├─ 206 for the missing rest ─► combine ─► fill.settle
//!      ├─ 206 for chunks of a large body ─► slice ─► fill.settled, and the chunks come
//!      ├─ storable ─► fill.stream ─► pieces ─► finish | cut
//!      └─ not storable ─► fill.uncacheable, and the answer goes to its own client only
//! ```
//!
//! What comes of it is what the client that caused it is told, a [`Led`], and what is left to be done then ([`Found`]); `leading.rs` sees
//! to it that both happen, whatever becomes of that client. Followers learn of it through the fill. What an answer says about something stored is `about.rs`'s, which
//! of its fields are kept and which go on `kept.rs`'s.
//!
//! Invariant: a body whose framing did not prove its end is cut, never finished.

use std::ops::Range;
use std::sync::Arc;

use cache_store::coalesce::{self, Fill, FillHead, Writing};
use cache_store::entry::StoredResponse;
use cache_store::large;
use cache_store::lookup::Why;
use cache_store::rules::partial::{self, Answer, Held, Part};
use cache_store::rules::validator::{Validators, if_range_holds, strong_validator};
use cache_store::rules::{Fields, NotStored, ResponseHead, Storable, stale, storable, update};
use http::{HeaderValue, Method, StatusCode, header};

use super::about::{combine, confirm, slice};
use super::kept::{fields_on, kept_fields, tags_of, take_tags};
use super::leading::{self, Found};
use super::led::{Led, Through, Told, answer_led};
use super::walk::Walk;
use crate::config::limits::{DISK_PATIENCE, STREAM_WINDOW_BYTES};
use crate::listener::fields::FieldId;
use crate::origin::forward::Sent;
use crate::origin::parent::proof::Word;
use crate::origin::{Answer as OriginAnswer, Failed, OriginBody, OriginError};
use crate::respond::failure::Failure;
use crate::respond::headers::lines;
use crate::respond::response::Response;

/// How the origin is asked.
enum Plan {
    /// For the whole, unconditionally.
    Whole,
    /// Whether one of the fill's candidates is still good.
    Confirm,
    /// For the missing part of what is stored.
    Rest(HeaderValue),
    /// For the range the client wants.
    Range,
    /// For the whole chunks around it, should it turn out to be of a large body.
    Slice(Range<u64>),
}

/// Fetches, and ends `fill` on every path.
pub(super) async fn lead(walk: Walk, mut fill: Fill) -> Found<Led> {
    fill.class = walk.site;
    fill.modest = walk.crawler.is_some();
    // Every origin is known to be down: nobody waits to learn it again where something stale may stand in.
    if may_stand_in(&walk, &fill) && !walk.has_origin() {
        return failed_with(&walk, fill, Failure::from(OriginError::NoOrigin));
    }
    let plan = plan(&walk, &fill);
    let fields = fields_for(&walk, &fill, &plan);
    let answer = match walk.ask(fields).await {
        Ok(answer) => answer,
        Err(error) => return failed(&walk, fill, &error),
    };
    // A parent that had only something stale is as good as an origin that failed, where there is something stale here too.
    if walk.edge.parents.is_some()
        && Word::of(&answer.fields) == Some(Word::Stale)
        && may_stand_in(&walk, &fill)
    {
        return failed_with(&walk, fill, Failure::new(StatusCode::BAD_GATEWAY, "parent-stale"));
    }
    let about = match (answer.status, &plan) {
        // A part of another version than the client has one of.
        (StatusCode::PARTIAL_CONTENT, Plan::Range | Plan::Slice(_))
            if !if_range_holds(&walk.head(), &answer.fields.to_map()) =>
        {
            Err(fill)
        }
        (StatusCode::NOT_MODIFIED, Plan::Confirm) => confirm(&walk, fill, &answer),
        (StatusCode::PARTIAL_CONTENT, Plan::Rest(_)) => Box::pin(combine(&walk, fill, answer)).await,
        (StatusCode::PARTIAL_CONTENT, Plan::Slice(asked)) => slice(&walk, fill, asked, answer),
        _ => return take(&walk, fill, answer),
    };
    // The origin's word did not fit what is stored: ask once more, plainly, for what the client wants.
    let fill = match about {
        Ok(found) => return found,
        Err(fill) => fill,
    };
    let is_range = walk.fields.has(FieldId::Range) && !walk.fields.has(FieldId::IfRange);
    let plan = if is_range { Plan::Range } else { Plan::Whole };
    let fields = fields_for(&walk, &fill, &plan);
    let again = async {
        match walk.ask(fields).await {
            Ok(answer) => take(&walk, fill, answer),
            Err(error) => failed(&walk, fill, &error),
        }
    };
    Box::pin(again).await
}

/// The answer to a POST: stored for later GETs where it says that it is one (RFC 9110 §9.3.3), else only passed on.
pub(super) async fn answered_post(
    walk: Walk,
    answer: Box<OriginAnswer>,
    announced: u64,
) -> Result<Response, Box<OriginAnswer>> {
    let head = ResponseHead { status: answer.status, fields: &answer.fields };
    if judge(&walk, &head, &answer).is_err() {
        return Err(answer);
    }
    let fill = walk.edge.store.fill_alone(walk.resource(), &walk.head(), None, Why::UriMiss);
    // The fill is younger than the request; one purge in between, applied or about to be, and it is not made.
    if walk.edge.store.purge_log().announced() != announced {
        drop(fill);
        return Err(answer);
    }
    let (led, rest) = take(&walk, fill, answer);
    leading::go_on(rest).await;
    Ok(answer_led(&walk, led, Why::UriMiss, None).await)
}

fn plan(walk: &Walk, fill: &Fill) -> Plan {
    if fill.why == Why::Partial
        && walk.method == Method::GET
        && let Some(rest) = fill.stored.as_deref().and_then(|stored| rest_of(walk, stored))
    {
        return Plan::Rest(rest);
    }
    if !fill.candidates.is_empty() {
        return Plan::Confirm;
    }
    if walk.method == Method::GET && walk.fields.has(FieldId::Range) {
        let may_slice = fill.shared && walk.edge.store.large_bytes_max() > 0;
        let wanted = partial::requested(&walk.head()).as_ref().and_then(large::aligned);
        return match wanted.filter(|_| may_slice) {
            Some(wanted) => Plan::Slice(wanted),
            // It may count for no version but the client's own: where no large body has a place, the whole is fetched and cut here.
            None if walk.fields.has(FieldId::IfRange) && !may_slice => Plan::Whole,
            None => Plan::Range,
        };
    }
    Plan::Whole
}

/// The range that completes a stored partial for this request; `None` when it cannot be completed. Whether the answer
/// may be spliced onto what is held is judged when it is there.
fn rest_of(walk: &Walk, stored: &StoredResponse) -> Option<HeaderValue> {
    let fields = stored.fields();
    let held = stored.held()?;
    let head = walk.head();
    let requested = partial::requested(&head).filter(|_| if_range_holds(&head, &fields));
    match held.answer(requested.as_ref()) {
        Answer::Missing(missing) => HeaderValue::from_str(&held.rest(&missing)?).ok(),
        _ => None,
    }
}

fn fields_for(walk: &Walk, fill: &Fill, plan: &Plan) -> Sent {
    let mut fields = without_conditions(walk);
    match plan {
        Plan::Whole => {}
        Plan::Confirm => {
            // One line instead of several: some origins read only the first.
            let mut etags = Vec::new();
            for (nth, stored) in fill.candidates.iter().enumerate() {
                let validators = Validators::of(&stored.fields());
                if let Some(etag) = validators.etag {
                    etags.extend_from_slice(if etags.is_empty() { b"" } else { b", " });
                    etags.extend_from_slice(etag.as_bytes());
                }
                if nth == 0
                    && let Some(modified) = validators.last_modified
                {
                    fields.push(&header::IF_MODIFIED_SINCE, modified.as_bytes());
                }
            }
            if !etags.is_empty() {
                fields.push(&header::IF_NONE_MATCH, &etags);
            }
        }
        Plan::Rest(rest) => {
            fields.push(&header::RANGE, rest.as_bytes());
            if let Some(validator) =
                fill.stored.as_ref().and_then(|stored| strong_validator(&stored.fields()).cloned())
            {
                fields.push(&header::IF_RANGE, validator.as_bytes());
            }
        }
        Plan::Slice(wanted) => {
            let last = wanted.end.saturating_sub(1);
            fields.push(&header::RANGE, format!("bytes={}-{last}", wanted.start).as_bytes());
            push_if_range(walk, &mut fields);
        }
        Plan::Range => {
            for range in walk.fields.all(FieldId::Range) {
                fields.push(&header::RANGE, range);
            }
            push_if_range(walk, &mut fields);
        }
    }
    fields
}

/// Only the origin knows whether the client's version is the current one: if not, it sends the whole.
fn push_if_range(walk: &Walk, fields: &mut Sent) {
    for named in walk.fields.all(FieldId::IfRange) {
        fields.push(&header::IF_RANGE, named);
    }
}

/// The fields to forward, without what would make the answer depend on what this client has.
pub(super) fn without_conditions(walk: &Walk) -> Sent {
    Sent::without_conditions(Arc::clone(&walk.forward))
}

fn failed(walk: &Walk, fill: Fill, error: &Failed) -> Found<Led> {
    failed_with(walk, fill, Failure::from(error.cause))
}

fn failed_with(walk: &Walk, fill: Fill, failure: Failure) -> Found<Led> {
    let told = coalesce::Failure { status: failure.status.as_u16(), reason: failure.reason };
    fill.fail(told, walk.edge.clock.now());
    (Led::Failed(failure), None)
}

/// Everything else: an answer with a body of its own.
pub(super) fn take(walk: &Walk, fill: Fill, answer: Box<OriginAnswer>) -> Found<Led> {
    let before = fill.stored.iter().flat_map(|stored| stored.forms()).map(|(coding, _)| coding).collect();
    let (led, stores) = begin(walk, fill, answer);
    let Some((writing, body)) = stores else { return (led, None) };
    let walk = walk.clone();
    let rest = async move {
        let stored = pour(&walk, writing, body).await;
        if let (Some(negotiation), Some(stored)) = (walk.negotiation(true), stored) {
            negotiation.stored(&stored, &walk.fields, before);
        }
    };
    (led, Some(Box::pin(rest)))
}

/// Judges an answer and begins to store it, if it may be.
fn begin(walk: &Walk, fill: Fill, mut answer: Box<OriginAnswer>) -> (Led, Option<(Writing, OriginBody)>) {
    // It is no later yet.
    let now = answer.received_at;
    if answer.status == StatusCode::NOT_MODIFIED {
        // Nothing was asked that it could answer; a client that sent no condition could do nothing with it.
        let (led, _) = failed_with(walk, fill, Failure::new(StatusCode::BAD_GATEWAY, "unasked-304"));
        return (led, None);
    }
    if stale::is_error(answer.status) && may_stand_in(walk, &fill) {
        let (led, _) = failed_with(walk, fill, Failure::new(answer.status, "origin-error"));
        return (led, None);
    }
    let told = Told::of(&answer);
    if walk.method == Method::HEAD {
        head_answered(walk, &fill, &answer);
        fill.uncacheable(now);
        fields_on(walk, &mut answer.fields);
        return (Led::Through(Through { answer, told, why_not: None }), None);
    }
    let head = ResponseHead { status: answer.status, fields: &answer.fields };
    let judged = judge(walk, &head, &answer).map_err(NotStored::as_str).and_then(|storable| {
        // An error is told as a page, and has a lifetime of its own.
        if answer.status.is_success() && !walk.is_of_its_kind(&answer.fields) {
            return Err("ending");
        }
        let tags = if answer.fields.has_special() { tags_of(&answer.fields) } else { Box::default() };
        // A purge by one that is not kept would miss it.
        if tags.len() > TAGS_MAX {
            return Err("too-many-tags");
        }
        if let Some(length) = answer.length.filter(|length| *length > walk.edge.store.stored_bytes_max()) {
            if answer.status != StatusCode::PARTIAL_CONTENT {
                fill.too_long(length, 0, storable.freshness, &tags);
            }
            return Err("too-large");
        }
        Ok((storable, tags))
    });
    let held = match (&judged, answer.status) {
        (Ok(_), StatusCode::PARTIAL_CONTENT) => held_by(walk, &answer).map(Some).ok_or("content-range"),
        (Ok(_), _) => Ok(None),
        (Err(why), _) => Err(*why),
    };
    let (storable, tags, held) = match (judged, held) {
        (Ok((storable, tags)), Ok(held)) => (storable, tags, held),
        (Err(why), _) | (_, Err(why)) => {
            // What was stored has been answered with something that is not: it must not come back.
            if answer.status != StatusCode::PARTIAL_CONTENT
                && !stale::is_error(answer.status)
                && let Some(stored) = &fill.stored
            {
                walk.edge.store.outdate(walk.key, stored);
            }
            walk.edge.not_stored.remember(walk.key, why);
            fill.uncacheable(now);
            fields_on(walk, &mut answer.fields);
            return (Led::Through(Through { answer, told, why_not: Some(why) }), None);
        }
    };
    let mut fields = answer.fields.to_map();
    take_tags(&mut fields);
    let fields = kept_fields(walk, fields, &storable.strip, &answer);
    let head = FillHead {
        status: answer.status,
        lines: lines(
            fields.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH && **name != header::AGE),
        ),
        fields,
        freshness: storable.freshness,
        vary: storable.vary,
    };
    let writing = fill.stream(head, answer.length, tags, held, STREAM_WINDOW_BYTES as u64);
    let streaming = Arc::clone(writing.streaming());
    let reader = streaming.body.reader();
    (Led::Streaming { streaming, reader, told }, Some((writing, answer.body)))
}

/// Brings the body, and tells what was stored, if it was.
async fn pour(walk: &Walk, mut writing: Writing, mut body: OriginBody) -> Option<Arc<StoredResponse>> {
    while let Some(piece) = body.next().await {
        let Ok(piece) = piece else {
            writing.cut(walk.edge.clock.now());
            return None;
        };
        writing.write(&piece);
        if !room(walk, &mut writing).await {
            writing.unread(walk.edge.clock.now());
            return None;
        }
    }
    writing.complete();
    if walk.edge.clock.timeout(DISK_PATIENCE, writing.on_disk()).await.is_err() {
        writing.give_up_disk();
    }
    writing.finish()
}

/// Waits until more of a body may come; `false` when nobody wants it.
async fn room(walk: &Walk, writing: &mut Writing) -> bool {
    let clock = &walk.edge.clock;
    if writing.spills() {
        match clock.timeout(DISK_PATIENCE, writing.room()).await {
            Ok(room) => return room.is_ok(),
            Err(_) => writing.give_up_disk(),
        }
    }
    // A body that is not kept waits for its readers; not for ever.
    matches!(clock.timeout(walk.edge.config.limits.send_stall_timeout, writing.room()).await, Ok(Ok(())))
}

/// Whether something stale may stand in for this error.
fn may_stand_in(walk: &Walk, fill: &Fill) -> bool {
    fill.stored.as_ref().is_some_and(|stored| {
        stored.held().is_none()
            && stored.freshness.may_serve_stale_if_error(
                &walk.control(),
                walk.edge.store.purged(stored, &walk.resource()),
                walk.edge.clock.now(),
            )
    })
}

pub(super) fn judge(
    walk: &Walk,
    head: &ResponseHead<'_, impl Fields>,
    answer: &OriginAnswer,
) -> Result<Storable, NotStored> {
    let mut request = walk.head();
    if walk.method == Method::HEAD {
        // What a HEAD confirms or updates is the stored answer to a GET.
        request.method = &Method::GET;
    }
    storable(
        &request,
        head,
        &walk.policy.rules,
        answer.requested_at,
        answer.received_at,
        walk.edge.clock.wall(),
    )
}

fn held_by(walk: &Walk, answer: &OriginAnswer) -> Option<Held> {
    let range = partial::content_range(&answer.fields)?;
    Some(Held::new(Part::of(range, answer.length?, walk.policy.rules.short_part)?))
}

/// An answer to HEAD updates or outdates what is stored for GET.
fn head_answered(walk: &Walk, fill: &Fill, answer: &OriginAnswer) {
    let Some(stored) = &fill.stored else { return };
    let mut fields = answer.fields.to_map();
    take_tags(&mut fields);
    let mut described = fields.clone();
    if let Some(length) = answer.length {
        // Framing is taken out of an answer's fields; here it says something about the content.
        described.insert(header::CONTENT_LENGTH, length.into());
    }
    let head = ResponseHead { status: answer.status, fields: &described };
    walk.edge.store.head_answered(
        &walk.resource(),
        stored,
        &head,
        || {
            let merged = update::merged(&stored.fields(), &fields);
            let storable =
                judge(walk, &ResponseHead { status: stored.status(), fields: &merged }, answer).ok()?;
            let mut parts = stored.to_parts();
            parts.fields = kept_fields(walk, merged, &storable.strip, answer);
            parts.freshness = storable.freshness;
            parts.vary = storable.vary;
            Some(parts)
        },
        walk.edge.clock.now(),
    );
}

/// Tags of a response that is stored.
const TAGS_MAX: usize = 512;
