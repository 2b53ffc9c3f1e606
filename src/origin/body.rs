//! Bodies in both directions between hyper and the house.
//!
//! A [`LentBody`] lends the client's request body to a connection: as long as nothing was taken from it, a failed
//! attempt leaves it whole for the next. An [`OriginBody`] is the response's: pulled piece by piece, it ends without
//! an error only where the framing proves that it is whole, and only then does its connection serve again. Trailers
//! are dropped (FAULTS S6). Dropping it closes the connection.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::connection::Lease;
use super::error::OriginError;
use crate::clock::Clock;
use crate::listener::request::{BodyError, RequestBody};

/// A request body on loan to one attempt after the other.
#[derive(Clone, Debug)]
pub(crate) struct LentBody(Arc<Mutex<Loan>>);

#[derive(Debug)]
struct Loan {
    body: RequestBody,
    /// Frames were taken out.
    touched: bool,
    /// Its end has been seen.
    ended: bool,
    /// It was asked last and had nothing: the client is being waited for.
    waiting: bool,
    /// Pieces taken, to see that an upload moves.
    pieces: u64,
    error: Option<BodyError>,
}

impl LentBody {
    /// Nothing taken yet.
    pub(crate) fn new(body: RequestBody) -> Self {
        let ended = body.is_end_stream();
        Self(Arc::new(Mutex::new(Loan {
            body,
            touched: false,
            ended,
            waiting: false,
            pieces: 0,
            error: None,
        })))
    }

    /// Nothing has been taken: another attempt can send it from its start.
    pub(crate) fn whole(&self) -> bool {
        !self.0.lock().touched
    }

    /// All of it has been taken.
    pub(crate) fn ended(&self) -> bool {
        self.0.lock().ended
    }

    /// Whether its next piece is the client's turn, and how many came so far.
    pub(crate) fn progress(&self) -> (bool, u64) {
        let loan = self.0.lock();
        (loan.waiting && !loan.ended, loan.pieces)
    }

    /// Why it failed, if it did.
    pub(crate) fn error(&self) -> Option<BodyError> {
        self.0.lock().error
    }
}

impl Body for LentBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let mut loan = self.0.lock();
        let polled = Pin::new(&mut loan.body).poll_frame(cx);
        loan.waiting = polled.is_pending();
        match &polled {
            Poll::Ready(Some(Ok(_))) => {
                loan.touched = true;
                loan.pieces = loan.pieces.wrapping_add(1);
                loan.ended = loan.body.is_end_stream();
            }
            Poll::Ready(Some(Err(error))) => {
                loan.touched = true;
                loan.error = Some(*error);
            }
            Poll::Ready(None) => loan.ended = true,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().body.size_hint()
    }
}

/// The body of an origin's response.
pub struct OriginBody {
    /// None once it has ended, one way or the other.
    open: Option<Open>,
    clock: Clock,
    limit: Duration,
    /// Armed while the origin is waited for.
    timer: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

struct Open {
    incoming: Incoming,
    lease: Lease,
}

impl std::fmt::Debug for OriginBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OriginBody").field("ended", &self.open.is_none()).finish_non_exhaustive()
    }
}

impl OriginBody {
    /// The body that comes in over `lease`; each piece within `limit` of the last.
    pub(crate) fn new(incoming: Incoming, lease: Lease, limit: Duration, clock: Clock) -> Self {
        let mut body = Self { open: Some(Open { incoming, lease }), clock, limit, timer: None };
        if body.open.as_ref().is_some_and(|open| open.incoming.is_end_stream()) {
            // Nothing will come: the connection can serve the next request now. A head that hides a body behind a
            // status without one is found by the scanner when the connection is looked at next.
            let _ = body.close();
        }
        body
    }

    /// Whether nothing more will come: it ended, whole or not.
    pub fn is_end(&self) -> bool {
        self.open.is_none()
    }

    /// The next piece; `None` at the proven end. Cancel by dropping the future: nothing is lost.
    pub async fn next(&mut self) -> Option<Result<Bytes, OriginError>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }

    /// The next piece; `None` at the proven end, and ever after it or an error.
    ///
    /// # Errors
    /// [`OriginError::BodyCut`], [`OriginError::Framing`], [`OriginError::BetweenBytesTimeout`]: what came before
    /// is not the whole body.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, OriginError>>> {
        loop {
            let Some(open) = &mut self.open else { return Poll::Ready(None) };
            match Pin::new(&mut open.incoming).poll_frame(cx) {
                Poll::Ready(Some(Ok(frame))) => {
                    self.timer = None;
                    match frame.into_data() {
                        Ok(data) if !data.is_empty() => return Poll::Ready(Some(Ok(data))),
                        _ => {}
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    let error = open.lease.watch().finding().unwrap_or(OriginError::BodyCut);
                    return Poll::Ready(Some(Err(self.fail(error))));
                }
                Poll::Ready(None) => return Poll::Ready(self.close().err().map(Err)),
                Poll::Pending => break,
            }
        }
        let timer = self.timer.get_or_insert_with(|| {
            let (clock, limit) = (self.clock.clone(), self.limit);
            Box::pin(async move { clock.sleep(limit).await })
        });
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Some(Err(self.fail(OriginError::BetweenBytesTimeout)))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// hyper says it is over; only the framing's word counts.
    fn close(&mut self) -> Result<(), OriginError> {
        self.timer = None;
        let Some(open) = self.open.take() else { return Ok(()) };
        let watch = open.lease.watch();
        if !watch.whole() {
            let error = watch.finding().unwrap_or(OriginError::BodyCut);
            open.lease.failed(error);
            return Err(error);
        }
        open.lease.succeeded();
        Ok(())
    }

    fn fail(&mut self, error: OriginError) -> OriginError {
        self.timer = None;
        if let Some(open) = self.open.take() {
            open.lease.failed(error);
        }
        error
    }
}
