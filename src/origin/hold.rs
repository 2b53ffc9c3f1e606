//! An origin in doubt has to speak to the end before its word counts.
//!
//! A body that breaks off cannot be taken up by another origin once a piece of it has been passed on. So where the last request
//! to an origin failed, the next answer is held back until it is whole, as far as it is short and comes at once: then the
//! one that fails again can still be asked for elsewhere, and only the first client has noticed.

use std::future::poll_fn;
use std::task::{Poll, ready};

use super::error::OriginError;
use super::line::Line;
use super::outgoing::Outgoing;
use super::pool::Pool;
use super::response::Received;
use crate::config::limits::{HELD_BYTES_MAX, ORIGIN_PATIENCE};

impl Pool {
    /// Waits for the end of a response whose head is there; gives up waiting beyond [`HELD_BYTES_MAX`] and [`ORIGIN_PATIENCE`].
    ///
    /// # Errors
    /// It is not whole.
    pub(super) async fn hold(
        &self,
        line: &mut Line,
        outgoing: &mut Outgoing,
        received: &mut Received,
    ) -> Result<(), OriginError> {
        let due = self.clock.now().plus(ORIGIN_PATIENCE);
        poll_fn(|cx| {
            while !line.is_done() && received.data_bytes() < HELD_BYTES_MAX {
                match line.poll_data(cx, &mut outgoing.upload, received)? {
                    Poll::Ready(true) => {}
                    Poll::Ready(false) => break,
                    Poll::Pending => {
                        ready!(line.poll_due(cx, &self.clock, due));
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }
}
