//! One turn of a connection: reads what there is, has it answered, writes what came of it.
//!
//! ```text
//! read … read ──> frames (connection.rs) ──> woken streams, bodies (send.rs) ──> one write ──> report, deadline
//! ```
//!
//! All that a turn causes goes out in one write, which TLS cuts into its records; reading stops while too much is unwritten.
//! A request is reported when the socket has taken the last byte of its answer.
//!
//! Invariant: a turn ends with wakers held by all that the connection waits for, or with the task woken again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use cache_store::timestamp::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite};

use super::Ended;
use super::connection::{Connection, Leaving};
use super::frame::Code;
use crate::config::limits::{GATHER_BYTES_MAX, H2_TURNS_MAX};
use crate::listener::service::Service;

/// What reading came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Read {
    /// The socket has no more, and holds our waker.
    Drained,
    /// There may be more.
    More,
    /// The client has closed its half, or the socket failed.
    End,
}

impl<S: Service> Connection<'_, S> {
    /// Turns the connection as far as that goes; how it ended, if it did.
    pub(super) fn turn<IO>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Poll<Ended>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.begin(cx);
        let mut rounds = 0;
        loop {
            rounds += 1;
            let read = match self.read(io, cx) {
                Ok(read) => read,
                Err(code) => return Poll::Ready(Ended::Wrong(code)),
            };
            if self.budget.is_overspent() {
                return Poll::Ready(Ended::Overspent);
            }
            self.go_on();
            let more = self.pump();
            let written = self.poll_write(io, cx);
            self.finish();
            if read == Read::End || matches!(written, Poll::Ready(Err(_))) {
                return Poll::Ready(Ended::Closed);
            }
            let blocked = written.is_pending();
            if read == Read::Drained && (blocked || !more) {
                break;
            }
            // What is unwritten for lack of room wakes us by itself; all else only waits for the others on this thread.
            if blocked && self.unwritten() >= GATHER_BYTES_MAX {
                break;
            }
            if blocked || rounds >= H2_TURNS_MAX {
                cx.waker().wake_by_ref();
                break;
            }
        }
        if self.is_over() { Poll::Ready(Ended::Closed) } else { Poll::Pending }
    }

    fn begin(&mut self, cx: &Context<'_>) {
        self.now_micros = self.context.clock.micros();
        self.now = Timestamp::from_millis(self.now_micros / 1000);
        self.budget.refill(self.now);
        self.woken.set_task(cx.waker());
        self.hold_kit();
    }

    /// Takes a kit if it was given back: whatever is appended to the output, is appended to one.
    pub(super) fn hold_kit(&mut self) {
        if !std::mem::replace(&mut self.has_kit, true) {
            self.kit = self.kits.take();
        }
    }

    /// Gives the kit back if nothing is left in it.
    pub(super) fn rest(&mut self) {
        let kit = &mut self.kit;
        if self.has_kit && kit.input.is_empty() && kit.out.is_empty() && kit.unfinished.is_empty() {
            kit.input.rest();
            self.has_kit = false;
            self.kits.give_back(std::mem::take(kit));
        }
    }

    /// Reads and takes frames until the socket has no more, or there is enough to write.
    ///
    /// # Errors
    /// The client's; the connection must end.
    #[inline]
    fn read<IO: AsyncRead + Unpin>(&mut self, io: &mut IO, cx: &mut Context<'_>) -> Result<Read, Code> {
        // What was left for lack of room.
        if !self.kit.input.is_empty() {
            self.receive()?;
        }
        for _ in 0..H2_TURNS_MAX {
            if self.unwritten() >= GATHER_BYTES_MAX || self.budget.is_overspent() {
                return Ok(Read::More);
            }
            let (_, whole) = self.inbound.waits_for(self.kit.input.unread());
            match self.kit.input.poll_fill(io, cx, whole) {
                Poll::Ready(Ok(1..)) => self.receive()?,
                Poll::Ready(_) => return Ok(Read::End),
                Poll::Pending => return Ok(Read::Drained),
            }
        }
        Ok(Read::More)
    }

    /// Writes the output as far as the socket takes it.
    pub(super) fn poll_write<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while self.written.bytes < self.kit.out.len() {
            let rest = self.kit.out.get(self.written.bytes..).unwrap_or_default();
            match Pin::new(&mut *io).poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => {
                    self.written.bytes += count.min(rest.len());
                    self.written.stuck_since = None;
                    self.written.unflushed = true;
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => {
                    self.forget_written();
                    self.written.stuck_since = self.written.stuck_since.or(Some(self.now));
                    return Poll::Pending;
                }
            }
        }
        self.forget_written();
        if self.written.unflushed {
            // TLS keeps records back until it is flushed.
            if Pin::new(&mut *io).poll_flush(cx)?.is_pending() {
                self.written.stuck_since = self.written.stuck_since.or(Some(self.now));
                return Poll::Pending;
            }
            self.written.unflushed = false;
        }
        self.written.stuck_since = None;
        Poll::Ready(Ok(()))
    }

    fn forget_written(&mut self) {
        self.written.before += self.written.bytes as u64;
        if self.written.bytes == self.kit.out.len() {
            self.kit.out.clear();
        } else {
            self.kit.out.drain(..self.written.bytes);
        }
        self.written.bytes = 0;
    }

    /// Reports the requests whose answers are written.
    #[inline]
    pub(super) fn finish(&mut self) {
        let mut told = false;
        while let Some(exchange) =
            self.kit.unfinished.pop_front_if(|exchange| exchange.ends_at <= self.written.before)
        {
            if !std::mem::replace(&mut told, true) {
                self.now_micros = self.context.clock.micros();
            }
            self.report(exchange, true);
        }
    }

    /// Whether nothing is under way and everything is written.
    pub(super) fn is_idle(&self) -> bool {
        self.streams.is_empty() && self.is_quiet()
    }

    /// Whether everything is written, and no head is under way.
    pub(super) fn is_quiet(&self) -> bool {
        self.unwritten() == 0 && !self.written.unflushed && self.block.is_none()
    }

    /// Whether nothing more is to come.
    fn is_over(&self) -> bool {
        (self.leaving == Leaving::Last || self.client_leaves) && self.is_idle()
    }

    /// Ends the output with `code` and brings it out, and the writing side with it.
    pub(super) fn poll_goodbye<IO: AsyncWrite + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_write(io, cx))?;
        Pin::new(io).poll_shutdown(cx)
    }
}
