//! One who waits for another's fetch.

use std::sync::Arc;

use tokio::sync::watch;

use super::{Failure, Phase, Streaming};
use crate::entry::StoredResponse;
use crate::lookup::{Hit, Stale, Why};
use crate::rules::reuse::{NoMatch, by_time};
use crate::rules::vary::Match;
use crate::rules::{Fields, Freshness, Purged, RequestControl, RequestHead, Reuse, VarySpec};
use crate::timestamp::Timestamp;

/// A place in the queue behind a fill. Cancel by dropping: the fill goes on.
#[derive(Debug)]
pub struct Follower {
    phase: watch::Receiver<Phase>,
    /// What is stored and could not be sent as it is: what may stand in if the origin fails.
    pub stored: Option<Arc<StoredResponse>>,
    /// Why the origin is being asked.
    pub why: Why,
}

/// What came of waiting.
#[derive(Debug)]
pub enum Followed {
    /// The head is here and answers this request too; stream along.
    Streaming(Arc<Streaming>),
    /// The origin confirmed what is stored.
    Stored(Hit),
    /// The answer is not for others, or not for this request: fetch alone.
    Alone,
    /// The leader vanished: look up again.
    Again,
    /// The origin failed.
    Failed(Failure),
}

impl Follower {
    pub(crate) fn new(phase: watch::Receiver<Phase>, stored: Option<Arc<StoredResponse>>, why: Why) -> Self {
        Self { phase, stored, why }
    }

    /// Waits for the head, or for the word that there will be none for this request. `now` is asked when it is there.
    pub async fn wait<F: Fields>(
        &mut self,
        request: &RequestHead<'_, F>,
        control: &RequestControl,
        now: impl Fn() -> Timestamp,
    ) -> Followed {
        loop {
            let phase = self.phase.borrow_and_update().clone();
            match phase {
                Phase::Waiting => {
                    if self.phase.changed().await.is_err() {
                        return Followed::Again;
                    }
                }
                Phase::Streaming(streaming) => {
                    let head = &streaming.head;
                    return match use_by(&head.freshness, &head.vary, request, control, Purged::No, now()) {
                        Reuse::Fresh | Reuse::Stale(_) => Followed::Streaming(streaming),
                        Reuse::MustValidate(_) | Reuse::NoMatch(_) => Followed::Alone,
                    };
                }
                Phase::Settled(stored) if stored.held().is_some() => return Followed::Alone,
                Phase::Settled(stored) => {
                    let purged = stored.purged();
                    let stale =
                        match use_by(&stored.freshness, stored.vary(), request, control, purged, now()) {
                            Reuse::Fresh => None,
                            Reuse::Stale(stale) => Some(Stale::Use(stale)),
                            Reuse::MustValidate(_) | Reuse::NoMatch(_) => return Followed::Alone,
                        };
                    return Followed::Stored(Hit { stored, stale });
                }
                Phase::Freed => return Followed::Alone,
                Phase::Failed(failure) => return Followed::Failed(failure),
                Phase::Abandoned => return Followed::Again,
            }
        }
    }
}

/// How a response that has just come may be used by a request that waited for it.
fn use_by<F: Fields>(
    freshness: &Freshness,
    vary: &VarySpec,
    request: &RequestHead<'_, F>,
    control: &RequestControl,
    purged: Purged,
    now: Timestamp,
) -> Reuse {
    if vary.matches(request.fields) == Match::No {
        return Reuse::NoMatch(NoMatch::Vary);
    }
    by_time(freshness, control, purged, now)
}
