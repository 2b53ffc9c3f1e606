//! The one place that asks whether a failed request may be tried again.
//!
//! It is asked for the same origin on a fresh connection, when a kept one turned out to be dead, and for another
//! origin, when this one failed (`hedge.rs` asks another beside one that is silent). Each time a request that may have been acted on is repeated only if its method is
//! idempotent (RFC 9110 §9.2.2) and its body has not been touched, and never once something of a response has been passed on.
//!
//! Repeats of requests that reached an origin draw on a budget, so that a pool in trouble is asked at most a tenth
//! more than when it is well (FAULTS F3). Connections that were never made draw nothing while an origin is left that is
//! not known to be down: ejection bounds those.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;

use super::choose::Left;
use super::error::{OriginError, Reach};
use crate::config::limits::{
    ORIGIN_ATTEMPTS_MAX, ORIGIN_RETRIES_AT_START, ORIGIN_RETRY_BURST, ORIGIN_RETRY_PERCENT,
};

/// What is known of a request when an attempt has failed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // independent facts, not states
pub(crate) struct Attempt {
    /// The method is idempotent.
    pub(crate) idempotent: bool,
    /// Nothing has been taken from the request's body.
    pub(crate) body_whole: bool,
    /// The connection had carried a request before.
    pub(crate) kept: bool,
    /// Not a byte of the request was written.
    pub(crate) unsent: bool,
    /// A byte of the response was read.
    pub(crate) answered: bool,
    /// Whatever was read of it, nothing has been passed on.
    pub(crate) held: bool,
}

impl Attempt {
    /// Whether the request may go to the same origin on a fresh connection: the kept one was closed under it.
    pub(crate) fn may_be_refreshed(self, error: OriginError) -> bool {
        let closed = match error.reach() {
            Reach::Sent => true,
            Reach::Unsent | Reach::Answered | Reach::Nowhere => false,
        };
        self.kept && closed && !self.answered && self.body_whole && (self.unsent || self.idempotent)
    }

    /// Whether the request may go to one of the origins `left` beside those that were tried.
    pub(crate) fn may_go_elsewhere(
        self,
        error: OriginError,
        tried: &Tried,
        left: Left,
        budget: &Budget,
    ) -> bool {
        if !tried.has_room() || !self.body_whole || left == Left::Nobody {
            return false;
        }
        match error.reach() {
            Reach::Unsent => left == Left::Well || budget.withdraw(),
            Reach::Sent if self.unsent => budget.withdraw(),
            Reach::Sent => self.idempotent && budget.withdraw(),
            Reach::Answered => self.held && self.idempotent && budget.withdraw(),
            Reach::Nowhere => false,
        }
    }
}

/// The origins that were asked for one request, in order.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tried {
    indexes: [usize; ORIGIN_ATTEMPTS_MAX],
    count: usize,
}

impl Tried {
    /// One more.
    pub(crate) fn push(&mut self, index: usize) {
        if let Some(place) = self.indexes.get_mut(self.count) {
            *place = index;
            self.count = self.count.saturating_add(1);
        }
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[usize] {
        self.indexes.get(..self.count).unwrap_or_default()
    }

    /// Whether one more may be asked.
    pub(crate) fn has_room(&self) -> bool {
        self.count < ORIGIN_ATTEMPTS_MAX
    }
}

/// Whether a request whose answer counts as a failure may go elsewhere: where an origin is left that may do better.
pub(crate) fn may_ask_again(attempt: Attempt, tried: &Tried, left: Left, budget: &Budget) -> bool {
    tried.has_room() && attempt.body_whole && attempt.idempotent && left == Left::Well && budget.withdraw()
}

/// Whether a request without a body that failed in one pool may go to another: nothing of it was sent, or it may be repeated and the pool's budget
/// has one more. Where a pool has no room, another may.
pub(crate) fn may_fall_over(error: OriginError, idempotent: bool, budget: &Budget) -> bool {
    match error {
        OriginError::NoOrigin
        | OriginError::QueueFull
        | OriginError::QueueTimeout
        | OriginError::Overload => true,
        _ => match error.reach() {
            Reach::Unsent => true,
            Reach::Sent => idempotent && budget.withdraw(),
            Reach::Answered | Reach::Nowhere => false,
        },
    }
}

/// Whether repeating the method has the effect of sending it once.
pub(crate) fn idempotent(method: &Method) -> bool {
    method.is_idempotent()
}

/// Repeats that a pool may still make, in hundredths.
#[derive(Debug)]
pub(crate) struct Budget(AtomicU32);

impl Default for Budget {
    fn default() -> Self {
        Self(AtomicU32::new(ORIGIN_RETRIES_AT_START * REPEAT))
    }
}

impl Budget {
    /// A request to the pool, which earns its share of a repeat.
    pub(crate) fn deposit(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hundredths| {
            (hundredths < FULL).then(|| hundredths.saturating_add(ORIGIN_RETRY_PERCENT).min(FULL))
        });
    }

    /// A repeat, if one is left.
    pub(crate) fn withdraw(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hundredths| hundredths.checked_sub(REPEAT))
            .is_ok()
    }
}

/// One repeat, in hundredths.
const REPEAT: u32 = 100;
const FULL: u32 = ORIGIN_RETRY_BURST * REPEAT;
