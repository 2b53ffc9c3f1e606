//! How long a request waits for the head of its response.
//!
//! The time does not run while the client is still to bring the request's body, nor while that body moves: then it begins anew.
//! Whoever waits (`connection.rs`, `h2/`) sends and reads first, and asks here when there is nothing.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use cache_store::timestamp::Timestamp;

use super::error::OriginError;
use super::timer::Timer;
use super::upload::Upload;
use crate::clock::Clock;

/// One wait.
#[derive(Debug)]
pub(crate) struct Patience {
    limit: Duration,
    due: Timestamp,
    /// The pieces that the request's body had gone out in when `due` was set.
    seen: u64,
}

impl Patience {
    /// From `now` on, at most `limit`.
    pub(crate) fn new(now: Timestamp, limit: Duration, upload: &Upload) -> Self {
        Self { limit, due: now.plus(limit), seen: upload.pieces() }
    }

    /// Ready with what it is when there is none left.
    pub(crate) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        timer: &mut Timer,
        clock: &Clock,
        upload: &Upload,
    ) -> Poll<OriginError> {
        loop {
            ready!(timer.poll(cx, clock, self.due));
            if !upload.waits_for_client() && self.seen == upload.pieces() {
                return Poll::Ready(OriginError::FirstByteTimeout);
            }
            self.seen = upload.pieces();
            self.due = clock.now().plus(self.limit);
        }
    }
}
