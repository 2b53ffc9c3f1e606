//! The body of an origin's response, pulled piece by piece.
//!
//! It ends without an error only where the framing proves that it is whole, and only then does its connection serve again.
//! What came with the head is there at once, and a body that came whole has given its connection back before anybody
//! pulls. Trailers are dropped (FAULTS S6) unless they were asked for. Dropping it closes the connection.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use cache_store::timestamp::Timestamp;

use super::connection::Connection;
use super::connections::Slot;
use super::error::OriginError;
use super::pool::Pool;
use super::response::Received;
use super::tunnel::{Place, Tunnel};
use super::upload::Upload;
use crate::listener::trailers::Trailers;

/// The body of an origin's response.
#[derive(Debug)]
pub struct OriginBody {
    /// Came already.
    here: Bytes,
    /// None once its end is known, one way or the other.
    open: Option<Box<Open>>,
    /// What followed it.
    trailers: Option<Box<Trailers>>,
    /// Why it ended before its end, where that is known before it is read.
    broken: Option<OriginError>,
}

/// A connection in use for one request, up to the end of its response. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) connection: Box<Connection>,
    pub(crate) upload: Upload,
    pub(crate) pool: Arc<Pool>,
    pub(crate) index: usize,
    /// Its status counts as a failure, and has been counted.
    pub(crate) has_failed: bool,
    /// The next piece must come within this time.
    pub(crate) limit: Duration,
    /// When the next piece is due, while it is waited for.
    pub(crate) due: Option<Timestamp>,
    /// What follows the body, where that is wanted.
    pub(crate) trailers: Option<Box<Trailers>>,
    /// The origin has gone over to another protocol.
    pub(crate) switched: Option<Switched>,
    // Last: the slot is free only when the connection is closed or idle.
    pub(crate) slot: Slot,
}

/// To another protocol than HTTP.
#[derive(Debug)]
pub(crate) struct Switched {
    pub(crate) protocol: Box<[u8]>,
    pub(crate) place: Place,
}

impl OriginBody {
    /// The body that comes in over `open`; `here` came with its head, `now`.
    pub(crate) fn new(here: Bytes, mut open: Open, now: Timestamp) -> Self {
        if open.connection.is_done() {
            let trailers = open.trailers.take();
            open.succeeded(now);
            return Self { here, open: None, trailers, broken: None };
        }
        Self { here, open: Some(Box::new(open)), trailers: None, broken: None }
    }

    /// Whether trailers may follow: they were asked for.
    pub fn may_trail(&self) -> bool {
        self.trailers.is_some() || self.open.as_ref().is_some_and(|open| open.trailers.is_some())
    }

    /// The trailers, once it has ended; `None` where there are none.
    pub fn take_trailers(&mut self) -> Option<Box<Trailers>> {
        self.trailers.take().filter(|trailers| !trailers.is_empty())
    }

    /// The connection of an origin that has gone over to another protocol; `None` for every other.
    pub(crate) fn into_tunnel(self) -> Option<Tunnel> {
        let Open { connection, pool, index, switched, .. } = *self.open?;
        let Switched { protocol, place } = switched?;
        pool.succeeded(index, pool.clock().now());
        let idle_limit = pool.tunnel_timeout();
        Some(Tunnel::new(connection.into_socket(), self.here, protocol, idle_limit, place))
    }

    /// All of it, where all of it has come and nothing follows it; else itself.
    pub(crate) fn into_whole(self) -> Result<Bytes, Self> {
        match self {
            Self { here, open: None, trailers: None, broken: None } => Ok(here),
            coming => Err(coming),
        }
    }

    /// Whether nothing more will come: it ended, whole or not.
    pub fn is_end(&self) -> bool {
        self.open.is_none() && self.here.is_empty() && self.broken.is_none()
    }

    /// Takes what of it has come, up to `bytes_max`, without waiting for more: one that is whole gives back its connection. It is read
    /// afterwards as before.
    pub(crate) async fn take_what_is_here(&mut self, bytes_max: usize) {
        let mut here = Vec::new();
        poll_fn(|cx| {
            while here.len() < bytes_max && self.open.is_some() {
                match self.poll_next(cx) {
                    Poll::Ready(Some(Ok(piece))) => here.extend_from_slice(&piece),
                    // Broken off: whoever reads it is to learn that.
                    Poll::Ready(Some(Err(error))) => {
                        self.broken = Some(error);
                        break;
                    }
                    Poll::Ready(None) | Poll::Pending => break,
                }
            }
            Poll::Ready(())
        })
        .await;
        if !here.is_empty() {
            here.extend_from_slice(&self.here);
            self.here = here.into();
        }
    }

    /// The next piece; `None` at the proven end. Cancel by dropping the future: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes, OriginError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next piece; `None` at the proven end, and ever after it or an error.
    ///
    /// # Errors
    /// [`OriginError::BodyCut`], [`OriginError::Framing`], [`OriginError::BetweenBytesTimeout`],
    /// [`OriginError::RequestBody`]: what came before is not the whole body.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        if !self.here.is_empty() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.here))));
        }
        let Some(open) = &mut self.open else { return Poll::Ready(self.broken.take().map(Err)) };
        let outcome = std::task::ready!(open.poll_piece(cx));
        if matches!(outcome, Ok(Some(_))) && !open.connection.is_done() {
            return Poll::Ready(outcome.transpose());
        }
        // The end, which may have come with the last piece.
        if let Some(mut open) = self.open.take() {
            self.trailers = open.trailers.take();
            match outcome {
                Ok(_) => {
                    let now = open.pool.clock().now();
                    open.succeeded(now);
                }
                Err(error) => open.failed(error),
            }
        }
        Poll::Ready(outcome.transpose())
    }
}

impl Open {
    /// The next bytes; none at the proven end.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, OriginError>> {
        let mut received = Received::default();
        received.trailers = self.trailers.take();
        while let Poll::Ready(more) = self.connection.poll_data(cx, &mut self.upload, &mut received)? {
            self.trailers = received.trailers.take();
            let data = received.take_data();
            self.due = None;
            if !data.is_empty() {
                return Poll::Ready(Ok(Some(data)));
            }
            if !more {
                return Poll::Ready(Ok(None));
            }
            received.trailers = self.trailers.take();
        }
        self.trailers = received.trailers.take();
        let clock = self.pool.clock();
        let due = *self.due.get_or_insert_with(|| clock.now().plus(self.limit));
        self.connection.poll_due(cx, clock, due).map(|()| Err(OriginError::BetweenBytesTimeout))
    }

    /// The response was whole.
    fn succeeded(self, now: Timestamp) {
        if !self.has_failed {
            self.pool.succeeded(self.index, now);
        }
        // An origin that answered before it had the whole request would take the rest of it for the next one.
        if self.connection.is_reusable()
            && self.upload.is_ended()
            && let Some(origin) = self.pool.origin(self.index)
        {
            origin.connections.keep(self.connection, now);
        }
        drop(self.slot);
    }

    /// The response broke off or broke the rules.
    fn failed(self, error: OriginError) {
        self.pool.failed(self.index, error);
    }
}
