//! The one place that asks whether a failed request may be tried again.
//!
//! Twice it is asked: for the same origin on a fresh connection, when a kept one turned out to be dead; and for another
//! origin, when this one failed. Both times a request that may have been acted on is repeated only if its method is
//! idempotent (RFC 9110 §9.2.2) and its body has not been touched, and never once a response has begun.
//!
//! Repeats of requests that reached an origin draw on a budget, so that a pool in trouble is asked at most a tenth
//! more than when it is well (FAULTS F3). Connections that were never made draw nothing while an origin is left that is
//! not known to be down: ejection bounds those.

use std::sync::atomic::{AtomicU32, Ordering};

use http::Method;

use super::choose::Left;
use super::error::{OriginError, Reach};
use crate::config::limits::{ORIGIN_ATTEMPTS_MAX, ORIGIN_RETRY_BURST, ORIGIN_RETRY_PERCENT};

/// What is known of a request when an attempt has failed.
#[derive(Clone, Copy, Debug)]
#[allow(clippy::struct_excessive_bools)] // five independent facts, not states
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

    /// Whether the request may go to one of the origins `left`, `attempts` having been made.
    pub(crate) fn may_go_elsewhere(
        self,
        error: OriginError,
        attempts: usize,
        left: Left,
        budget: &Budget,
    ) -> bool {
        if attempts >= ORIGIN_ATTEMPTS_MAX || !self.body_whole || left == Left::Nobody {
            return false;
        }
        match error.reach() {
            Reach::Unsent => left == Left::Well || budget.withdraw(),
            Reach::Sent if self.unsent => budget.withdraw(),
            Reach::Sent => self.idempotent && budget.withdraw(),
            Reach::Answered | Reach::Nowhere => false,
        }
    }
}

/// Whether a request without a body that failed in one pool may go to another: nothing of it was sent, or it may be repeated and the pool's budget
/// has one more. Where a pool has no room, another may.
pub(crate) fn may_fall_over(error: OriginError, idempotent: bool, budget: &Budget) -> bool {
    match error {
        OriginError::NoOrigin | OriginError::QueueFull | OriginError::QueueTimeout => true,
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
        Self(AtomicU32::new(FULL))
    }
}

impl Budget {
    /// A request to the pool, which earns its share of a repeat.
    pub(crate) fn deposit(&self) {
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hundredths| {
            (hundredths < FULL).then(|| hundredths.saturating_add(ORIGIN_RETRY_PERCENT).min(FULL))
        });
    }

    fn withdraw(&self) -> bool {
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |hundredths| hundredths.checked_sub(REPEAT))
            .is_ok()
    }
}

/// One repeat, in hundredths.
const REPEAT: u32 = 100;
const FULL: u32 = ORIGIN_RETRY_BURST * REPEAT;
