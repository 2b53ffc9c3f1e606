//! What the leader of a fill found, as its client hears of it and the log tells it.

use std::sync::Arc;

use cache_store::body::Reader;
use cache_store::coalesce::Streaming;
use cache_store::lookup::Hit;

use super::kept::said_before;
use crate::origin::Answer;
use crate::respond::failure::Failure;
use crate::respond::response::{CacheOutcome, Outcome};

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
