//! The bytes of an HTTP/2 connection on their way between socket and h2: counted by the budget, gathered on the way out.
//!
//! h2 owns one clone, the connection's driver the other, so that it can settle, look at the ledger and say goodbye when
//! h2 is gone. h2 reads again before each request it hands over; once the socket had nothing more, it is not asked
//! again in the same turn.

use std::cell::{RefCell, RefMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use cache_store::timestamp::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::gather::Gather;
use crate::config::limits::Limits;
use crate::listener::budget::Budget;
use crate::listener::deadline::Phase;

/// One connection's bytes; clones share it.
pub(super) struct Pipe<IO>(Rc<RefCell<Inner<IO>>>);

pub(super) struct Inner<IO> {
    pub(super) gather: Gather<IO>,
    pub(super) budget: Budget,
    /// The time of this turn.
    pub(super) now: Timestamp,
    /// The socket had nothing more to read in this turn, and holds the waker.
    drained: bool,
    /// Since when the socket has not taken a byte of what is gathered.
    stuck_since: Option<Timestamp>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Inner<IO> {
    /// The beginning of a turn at `now`.
    pub(super) fn begin_turn(&mut self, now: Timestamp) {
        self.now = now;
        self.drained = false;
    }

    /// The end of a turn: writes out what was gathered.
    ///
    /// # Errors
    /// The socket failed.
    pub(super) fn settle(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let before = self.gather.unwritten();
        match self.gather.settle(cx) {
            Poll::Ready(settled) => {
                self.stuck_since = None;
                settled
            }
            Poll::Pending => {
                if self.gather.unwritten() < before || self.stuck_since.is_none() {
                    self.stuck_since = Some(self.now);
                }
                Ok(())
            }
        }
    }

    /// Reads and drops what still comes, until the client closes its half.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [0; DISCARD_BYTES];
        loop {
            let mut read = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut self.gather.io).poll_read(cx, &mut read)) {
                Ok(()) if !read.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// What the client is too slow with at `now`; see [`Budget::late`].
    pub(super) fn late(&mut self, now: Timestamp, limits: &Limits, sources_waiting: usize) -> Option<Phase> {
        let stuck = self.stuck_since.is_some_and(|since| now.since(since) >= limits.send_stall_timeout);
        if stuck { Some(Phase::SendStall) } else { self.budget.late(now, limits, sources_waiting) }
    }
}

impl<IO> Clone for Pipe<IO> {
    fn clone(&self) -> Self {
        Self(Rc::clone(&self.0))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Pipe<IO> {
    pub(super) fn new(io: IO, now: Timestamp) -> Self {
        Self(Rc::new(RefCell::new(Inner {
            gather: Gather::new(io),
            budget: Budget::new(now),
            now,
            drained: false,
            stuck_since: None,
        })))
    }

    /// The inside, for the driver: never while h2 is being polled.
    pub(super) fn inner(&self) -> RefMut<'_, Inner<IO>> {
        self.0.borrow_mut()
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncRead for Pipe<IO> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Inner { gather, budget, now, drained, .. } = &mut *self.0.borrow_mut();
        if *drained || budget.is_overspent() {
            // The socket wakes us, or the driver looks at the ledger when this turn is over.
            return Poll::Pending;
        }
        let before = into.filled().len();
        let Poll::Ready(read) = Pin::new(&mut gather.io).poll_read(cx, into) else {
            *drained = true;
            return Poll::Pending;
        };
        read?;
        budget.received(into.filled().get(before..).unwrap_or_default(), *now);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Pipe<IO> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn is_write_vectored(&self) -> bool {
        // Several pieces cost one call; they are copied either way.
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let Inner { gather, budget, now, .. } = &mut *self.0.borrow_mut();
        let mut total = 0;
        for piece in pieces {
            match gather.poll_write(cx, piece) {
                Poll::Ready(Ok(written)) => {
                    budget.sent(piece.get(..written).unwrap_or(piece), *now);
                    total += written;
                    if written < piece.len() {
                        break;
                    }
                }
                // What was taken before comes first; the error or the wait shows again at the next write.
                Poll::Ready(Err(_)) | Poll::Pending if total > 0 => break,
                other => return other,
            }
        }
        Poll::Ready(Ok(total))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The driver settles at the end of the turn.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().gather.poll_shutdown(cx)
    }
}

/// Bytes dropped at once.
const DISCARD_BYTES: usize = 4096;
