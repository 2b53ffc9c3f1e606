//! What the leader of a fill found: what its client is answered with, and what the log tells of it.

use std::future::Future;
use std::sync::Arc;

use cache_store::body::Reader;
use cache_store::coalesce::{Fill, Streaming};
use cache_store::entry::StoredResponse;
use cache_store::lookup::{Hit, Why};
use http::StatusCode;

use super::kept::said_before;
use super::walk::Walk;
use super::{fetch, from_store, leading, pass, slices, stale_if_error};
use crate::origin::Answer;
use crate::respond::failure::Failure;
use crate::respond::headers::CacheStatus;
use crate::respond::response::{CacheOutcome, Outcome, Response};
use crate::respond::{self, Occasion};

/// What a leader found, for the client that caused the fetch.
pub(super) enum Led {
    /// It is being stored; `reader` holds the place until the client's own reader is there.
    Streaming { streaming: Arc<Streaming>, reader: Option<Reader>, told: Told },
    /// It is stored; `confirmed` by a 304.
    Stored { hit: Hit, told: Told, confirmed: bool },
    /// It is for this client only.
    Through(Through),
    /// There is none.
    Failed(Failure),
}

/// An answer that is not stored, with the fields that go on.
pub(super) struct Through {
    pub(super) answer: Box<Answer>,
    pub(super) told: Told,
    pub(super) why_not: Option<&'static str>,
}

/// What the log says about an origin's answer.
#[derive(Clone)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) pool: Arc<str>,
    pub(super) origin: Arc<str>,
    pub(super) origin_micros: u64,
    /// What caches before this one said in `Cache-Status`, as one line.
    pub(super) upstream: Option<Box<[u8]>>,
}

impl Told {
    pub(super) fn of(answer: &Answer) -> Self {
        Self {
            status: answer.status.as_u16(),
            pool: Arc::clone(&answer.pool),
            origin: Arc::clone(&answer.origin),
            origin_micros: answer.origin_micros,
            upstream: said_before(&answer.fields),
        }
    }

    pub(super) fn outcome(
        self,
        cache: CacheOutcome,
        reason: Option<&'static str>,
        ttl: Option<i64>,
    ) -> Outcome {
        let mut outcome = Outcome { cache, reason, ttl, ..Outcome::default() };
        self.add_to(&mut outcome);
        outcome
    }

    pub(super) fn add_to(self, outcome: &mut Outcome) {
        outcome.pool = Some(self.pool);
        outcome.origin = Some(self.origin);
        outcome.origin_micros = Some(self.origin_micros);
    }
}

/// Fetches, whether or not the client stays, and answers with what is found.
// Not `async`: the fill lies in the future that leads it alone.
pub(super) fn fetched(walk: Walk, fill: Fill) -> impl Future<Output = Box<Response>> + Send {
    let stored = fill.stored.clone();
    let why = fill.why;
    let fetch = Box::pin(fetch::lead(walk.clone(), fill));
    async move {
        match leading::lead(fetch).await {
            Led::Through(through) => Box::new(pass::through(&walk, through, why)),
            // Boxed: what is passed on does not make room for it.
            led => Box::new(Box::pin(answer_led(&walk, led, why, stored.as_ref())).await),
        }
    }
}

/// The answer to the client that caused a fetch. `stored` may stand in if the origin failed.
pub(super) async fn answer_led(
    walk: &Walk,
    led: Led,
    why: Why,
    stored: Option<&Arc<StoredResponse>>,
) -> Response {
    match led {
        Led::Streaming { streaming, reader, told } => {
            let ttl = streaming.head.freshness.ttl(walk.edge.clock.now());
            let status = CacheStatus::Forwarded {
                fwd: why.fwd(),
                fwd_status: Some(told.status),
                stored: true,
                ttl: Some(ttl),
                detail: why.detail(),
            };
            let outcome = told.clone().outcome(CacheOutcome::Miss, why.detail(), Some(ttl));
            let head = walk.head();
            let refill = slices::refill(walk, &streaming);
            let occasion = Occasion {
                refill: refill.as_ref(),
                upstream: told.upstream.as_deref(),
                ..walk.occasion(&head, walk.edge.clock.now())
            };
            let response = respond::streaming(&streaming, occasion, status, outcome);
            drop(reader);
            response.unwrap_or_else(|| walk.failed(Failure::new(StatusCode::BAD_GATEWAY, "body-gone")))
        }
        Led::Stored { hit, told, confirmed } => {
            let cache = if confirmed { CacheOutcome::Revalidated } else { CacheOutcome::Miss };
            let mut response = if hit.stored.large().is_some() && !confirmed {
                Box::pin(slices::answer(walk, hit, cache, Some(why))).await
            } else {
                Box::pin(from_store(walk, hit, cache, told.upstream.as_deref())).await
            };
            told.add_to(&mut response.outcome);
            response
        }
        Led::Through(through) => pass::through(walk, through, why),
        Led::Failed(failure) => match stale_if_error(walk, stored) {
            Some(hit) => Box::pin(from_store(walk, hit, CacheOutcome::Stale, None)).await,
            None => walk.failed(failure),
        },
    }
}
