//! The rest of a connection whose client and origin have gone over to another protocol: bytes both ways.
//!
//! `connection.rs` comes here behind a rendered 101. What the client sent ahead of that goes first. A byte is written where it
//! can be as soon as it is read; what cannot waits in at most `TUNNEL_READ_BYTES` a direction, and while it waits nothing more
//! is read there, so each side's pace is the other's. A tunnel in which nothing moves holds no buffer.
//!
//! ```text
//! 101 written ──> carry both ways ──> one side ends, the other goes on ──> both ended | broken | idle | drained
//! ```
//!
//! Invariant: no byte goes either way before the 101 is written, and none of them is ever parsed (FAULTS S11).
//! RFC 9110 §7.8, RFC 6455 §4.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use cache_store::timestamp::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::ConnectionEnd;
use super::connection::{Connection, Stop};
use super::exchange::Exchange;
use super::transport::Transport;
use crate::config::limits::{TUNNEL_DRAIN, TUNNEL_READ_BYTES};
use crate::listener::deadline::Phase;
use crate::listener::service::Service;
use crate::origin::Tunnel;

/// One of the two directions.
#[derive(Debug, Default)]
struct Way {
    /// Read and not written yet, from `sent` on.
    held: Vec<u8>,
    sent: usize,
    /// The reader's end has been seen.
    ended: bool,
    /// And told to the writer.
    shut: bool,
    moved_bytes: u64,
}

impl<IO, S> Connection<'_, IO, S>
where
    IO: Transport,
    S: Service,
{
    /// Carries what comes, until both sides have ended, one of them breaks, nothing moves, or the node has drained for long
    /// enough.
    pub(super) async fn tunnel(
        &mut self,
        mut tunnel: Tunnel,
        exchange: &mut Exchange<'_, S>,
    ) -> Result<(), Stop> {
        self.flush().await?;
        let Self { socket, context, .. } = self;
        let held = std::mem::take(&mut socket.input);
        let mut up = Way { held: held.to_vec(), ..Way::default() };
        drop(held);
        socket.out = Vec::new();
        let mut down = Way::default();
        let idle = tunnel.idle_limit();
        let mut drain = pin!(context.drain.begun());
        let mut drained_by: Option<Timestamp> = None;
        let mut seen = None;
        poll_fn(|cx| {
            let client = socket.io();
            let upward = up.carry(cx, Pin::new(&mut *client), Pin::new(&mut tunnel));
            let downward = down.carry(cx, Pin::new(&mut tunnel), Pin::new(client));
            (exchange.outcome.received_bytes, exchange.body_bytes) = (up.moved_bytes, down.moved_bytes);
            // Where one of the two is gone, the other hears of it by the end of its connection.
            let is_broken = [&upward, &downward].iter().any(|way| matches!(way, Poll::Ready(Err(_))));
            if is_broken || (upward.is_ready() && downward.is_ready()) {
                return Poll::Ready(Ok(()));
            }
            if drained_by.is_none() && drain.as_mut().poll(cx).is_ready() {
                // Where another process serves, nobody waits for this one's end.
                let succeeded = context.drain.is_succeeded();
                let patience = if succeeded { context.limits.drain_timeout } else { TUNNEL_DRAIN };
                drained_by = Some(context.clock.now().plus(patience));
                seen = None;
            }
            let moved = up.moved_bytes.wrapping_add(down.moved_bytes);
            if seen.replace(moved) != Some(moved) {
                let due = context.clock.now().plus(idle);
                context.deadline.set(drained_by.map_or(due, |by| by.min(due)), Phase::Tunnel);
            }
            context.deadline.poll_expired(cx).map(|phase| Err(ConnectionEnd::TimedOut(phase)))
        })
        .await
    }
}

impl Way {
    /// Moves what can be moved; ready when the end of `from` has been passed on.
    fn carry<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write(cx, to.as_mut()))?;
            if self.shut {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(to.as_mut().poll_shutdown(cx))?;
                self.shut = true;
                continue;
            }
            if self.read(cx, from.as_mut(), to.as_mut())?.is_pending() {
                // What TLS has gathered leaves before the wait.
                let _ = to.as_mut().poll_flush(cx)?;
                return Poll::Pending;
            }
        }
    }

    /// Reads once, and writes it as far as that goes now.
    fn read<R: AsyncRead, W: AsyncWrite>(
        &mut self,
        cx: &mut Context<'_>,
        from: Pin<&mut R>,
        mut to: Pin<&mut W>,
    ) -> Poll<io::Result<()>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            ready!(from.poll_read(cx, &mut buffer))?;
            let mut bytes = buffer.filled();
            self.ended = bytes.is_empty();
            while !bytes.is_empty() {
                match to.as_mut().poll_write(cx, bytes)? {
                    Poll::Ready(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Poll::Ready(count) => {
                        self.moved_bytes = self.moved_bytes.saturating_add(count as u64);
                        bytes = bytes.get(count..).unwrap_or_default();
                    }
                    Poll::Pending => {
                        self.held.extend_from_slice(bytes);
                        break;
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
    }

    /// Writes what is held.
    fn write<W: AsyncWrite>(&mut self, cx: &mut Context<'_>, mut to: Pin<&mut W>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.held.get(self.sent..).filter(|rest| !rest.is_empty()) {
            let count = ready!(to.as_mut().poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.moved_bytes = self.moved_bytes.saturating_add(count as u64);
            self.sent = self.sent.saturating_add(count);
        }
        if self.sent > 0 {
            (self.held, self.sent) = (Vec::new(), 0);
        }
        Poll::Ready(Ok(()))
    }
}

thread_local! {
    /// What is read goes through here, so that a tunnel holds nothing while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; TUNNEL_READ_BYTES].into_boxed_slice());
}
