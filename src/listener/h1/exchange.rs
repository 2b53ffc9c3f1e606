//! One request and how it ended, reported exactly once.
//!
//! `connection.rs` makes an exchange when a head is complete and fills in what was sent; whichever way it goes (answered,
//! refused, timed out, the client gone, the whole connection dropped) [`Service::finished`] hears of it when
//! the exchange is finished or dropped.

use crate::clock::Clock;
use crate::listener::fields::FieldIndex;
use crate::listener::request::Request;
use crate::listener::service::{Finished, Service};
use crate::respond::response::Outcome;

/// A request under way.
pub(super) struct Exchange<'s, S: Service> {
    service: &'s S,
    clock: Clock,
    pub(super) request: Request,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    pub(super) complete: bool,
    pub(super) outcome: Outcome,
    reported: bool,
}

impl<'s, S: Service> Exchange<'s, S> {
    pub(super) fn new(service: &'s S, clock: &Clock, request: Request) -> Self {
        Self {
            service,
            clock: clock.clone(),
            request,
            status: CLIENT_GONE,
            body_bytes: 0,
            complete: false,
            outcome: Outcome::default(),
            reported: false,
        }
    }

    /// Reports a request whose answer is written whole; gives back its index and the time, microseconds.
    #[inline]
    pub(super) fn finish(&mut self) -> (FieldIndex, u64) {
        self.complete = true;
        let now = self.report();
        (std::mem::take(&mut self.request.fields).into_index(), now)
    }

    /// Reports a request whose answer was rendered, but not written whole.
    pub(super) fn abandon(mut self) {
        self.body_bytes = 0;
        self.report();
    }

    #[inline]
    fn report(&mut self) -> u64 {
        let now = self.clock.micros();
        self.reported = true;
        self.service.finished(
            &self.request,
            &Finished {
                status: self.status,
                body_bytes: self.body_bytes,
                duration_micros: now.saturating_sub(self.request.received_micros),
                complete: self.complete,
                outcome: &self.outcome,
            },
        );
        now
    }
}

impl<S: Service> Drop for Exchange<'_, S> {
    fn drop(&mut self) {
        if !self.reported {
            self.report();
        }
    }
}

/// What is logged when no answer began, after nginx.
const CLIENT_GONE: u16 = 499;
