//! Around the cache: the request as it is, its answer as it comes.
//!
//! For methods that are not cached, routes that are off, cookies that make it personal, and preconditions only the origin
//! can judge. A successful unsafe request makes what is stored for its URL (and for the `Location` it names) unusable
//! (RFC 9111 §4.4), and the answer to a POST may itself be stored for later GETs when it says so (RFC 9110 §9.3.3).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_store::lookup::Why;
use cache_store::rules::ResponseHead;
use cache_store::rules::invalidate::{invalidated, is_safe};
use http::Method;

use super::crawl::Place;
use super::fetch;
use super::kept::fields_on;
use super::led::{Through, Told};
use super::reads;
use super::walk::Walk;
use crate::listener::request::Scheme;
use crate::listener::trailers::Trailers;
use crate::origin::forward::Sent;
use crate::origin::{Answer, OriginBody, ResponseFields};
use crate::respond::failure::Failure;
use crate::respond::headers::CacheStatus;
use crate::respond::response::{Body, CacheOutcome, Cut, Response, Stream};
use crate::respond::{self, Occasion};

/// Asks the origin and streams its answer.
pub(super) async fn pass(mut walk: Walk, reason: &'static str) -> Response {
    if (walk.crawler.is_some() || walk.is_uninspected())
        && let Err(failure) = Box::pin(walk.wait_to_fetch()).await
    {
        return walk.failed(failure);
    }
    let announced = walk.edge.store.purge_log().announced();
    let epoch = walk.edge.store.epoch();
    let mut sent = Sent::with_conditions(Arc::clone(&walk.forward));
    if Trailers::wanted(&walk.fields) {
        sent.ask_for_trailers();
    }
    let mut answer = match walk.ask_origin(sent).await {
        Ok(answer) => answer,
        Err(error) => return walk.failed(Failure::from(error.cause)),
    };
    if !reads(&walk.method) && !is_safe(&walk.method) {
        // Asked before our own invalidation, which counts as a purge.
        let untouched = walk.edge.store.untouched_since(walk.key, epoch);
        invalidate(&walk, &answer.fields, answer.status);
        if walk.method == Method::POST && untouched {
            answer = match fetch::answered_post(walk.clone(), answer, announced).await {
                Ok(response) => return response,
                Err(answer) => answer,
            };
        }
    }
    let told = Told::of(&answer);
    fields_on(&walk, &mut answer.fields);
    passed(&walk, Through { answer, told, why_not: Some(reason) })
}

/// An answer that goes around the cache.
pub(super) fn passed(walk: &Walk, through: Through) -> Response {
    through_with(walk, through, "bypass")
}

/// An answer that was to be stored and is not.
pub(super) fn through(walk: &Walk, through: Through, why: Why) -> Response {
    through_with(walk, through, why.fwd())
}

fn through_with(walk: &Walk, through: Through, fwd: &'static str) -> Response {
    let Through { mut answer, mut told, why_not } = through;
    stick(walk, &mut answer);
    let status = CacheStatus::Forwarded {
        fwd,
        fwd_status: Some(told.status),
        stored: false,
        ttl: None,
        detail: why_not,
    };
    let cache = if fwd == "bypass" { CacheOutcome::Pass } else { CacheOutcome::Miss };
    let upstream = told.upstream.take();
    let outcome = told.outcome(cache, why_not, None);
    let length = answer.length;
    let stream = |body| Body::Stream { length, source: Box::pin(OriginStream(body, walk.place.clone())) };
    let body = if walk.method == Method::HEAD || walk.place.is_some() {
        stream(answer.body)
    } else {
        // Most have come whole, and go as they are.
        answer.body.into_whole().map_or_else(stream, Body::Bytes)
    };
    let head = walk.head();
    let occasion = Occasion { upstream: upstream.as_deref(), ..walk.occasion(&head, answer.received_at) };
    respond::passed(answer.status, answer.fields, body, occasion, status, outcome)
}

/// Gives the client to the origin that answered it, where the pool keeps clients and nobody else may be shown this answer.
fn stick(walk: &Walk, answer: &mut Answer) {
    let Some(cookie) = answer.stick.as_ref().filter(|_| !walk.for_node()) else { return };
    let shared = |value: &[u8]| {
        let directives = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
        directives.into_iter().any(|one| {
            let name = one.split(|byte| *byte == b'=').next().unwrap_or_default();
            name.eq_ignore_ascii_case(b"public") || name.eq_ignore_ascii_case(b"s-maxage")
        })
    };
    if answer.fields.named("cache-control").any(shared) {
        return;
    }
    let secure = if walk.scheme == Scheme::Https { "; Secure" } else { "" };
    let cookie = format!("{cookie}; Path=/; HttpOnly; SameSite=Lax{secure}");
    answer.fields.push(b"set-cookie", cookie.as_bytes());
}

fn invalidate(walk: &Walk, fields: &ResponseFields, status: http::StatusCode) {
    let head = walk.head();
    let response = ResponseHead { status, fields };
    for path in invalidated(&walk.method, &head.target, &response) {
        let keys =
            walk.edge.routes.keys_of(walk.edge.store.keyer(), walk.scheme, &walk.authority, path.as_bytes());
        let now = walk.edge.clock.now();
        // Before the epoch moves: who fetches in the new one knows of it.
        if let Some(parents) = &walk.edge.parents {
            for key in &keys {
                parents.changed(*key, now);
            }
        }
        walk.edge.store.invalidate(&keys, now);
    }
}

/// An origin's body as an answer's stream; until its end a crawler has its place.
struct OriginStream(OriginBody, #[allow(dead_code)] Option<Place>);

impl Stream for OriginStream {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.get_mut().0.poll_next(cx).map(|next| next.map(|piece| piece.map_err(|_| Cut)))
    }

    fn may_trail(&self) -> bool {
        self.0.may_trail()
    }

    fn trailers(self: Pin<&mut Self>) -> Option<Box<Trailers>> {
        self.get_mut().0.take_trailers()
    }
}
