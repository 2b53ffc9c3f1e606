//! A stream whose client and origin have gone over to another protocol: bytes both ways.
//!
//! `answer.rs` makes a [`Carrier`] of the tunnel that the walk found for an extended CONNECT, and of the stream's body. What the origin
//! sends becomes DATA as any answer does (`body.rs`), within the client's windows; what the client sends is written as the origin takes
//! it, and its window opens as it is. Each way ends for itself.
//!
//! ```text
//! CONNECT ──> 200 ──> both ways ─┬─ END_STREAM of the client ──> the origin's end is awaited ──┬─> over
//!                                └─ the origin's end ──> END_STREAM, then `Sending::Tail` ─────┘
//! broken, idle or drained: RST_STREAM (CANCEL), and the origin's connection closes
//! ```
//!
//! Invariants: no byte goes either way before the 200 (FAULTS S11). One way does not wait for the other. What is under way in one
//! tunnel is no more than two windows from the client (one is being written, one waits behind it) and `TUNNEL_READ_BYTES` to it. RFC 8441; RFC 9113 §8.5.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use cache_store::timestamp::Timestamp;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::stream::{Sending, Stream};
use super::upload::Upload;
use crate::config::limits::{TUNNEL_DRAIN, TUNNEL_READ_BYTES};
use crate::listener::service::{Service, refusal};
use crate::origin::Tunnel;
use crate::respond::response::{Body, Cut, Response};

/// The two ways of one tunnel.
pub(super) struct Carrier {
    tunnel: Tunnel,
    /// What the client sends; none once its end has been passed on.
    upload: Option<Upload>,
    /// Taken from it, and not written yet.
    held: Bytes,
    up_bytes: u64,
    down_bytes: u64,
    /// What had gone both ways when it was looked at last, and since when that has not changed.
    seen: Option<(u64, Timestamp)>,
    is_broken: bool,
}

impl Carrier {
    pub(super) fn new(tunnel: Tunnel, upload: Upload) -> Box<Self> {
        Box::new(Self {
            tunnel,
            upload: Some(upload),
            held: Bytes::new(),
            up_bytes: 0,
            down_bytes: 0,
            seen: None,
            is_broken: false,
        })
    }

    /// Whether all that the client sent, and its end, has been passed on.
    pub(super) const fn is_up_over(&self) -> bool {
        self.upload.is_none()
    }

    /// Passes on what the client has sent; ready when its end has been.
    fn poll_up(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            while !self.held.is_empty() {
                let count = ready!(Pin::new(&mut self.tunnel).poll_write(cx, &self.held))?;
                if count == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.held.advance(count.min(self.held.len()));
                self.up_bytes = self.up_bytes.saturating_add(count as u64);
            }
            let Some(upload) = &mut self.upload else { return Poll::Ready(Ok(())) };
            match upload.poll_next(cx) {
                Poll::Ready(Some(Ok(bytes))) => self.held = bytes,
                Poll::Ready(Some(Err(_))) => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                Poll::Ready(None) => {
                    ready!(Pin::new(&mut self.tunnel).poll_shutdown(cx))?;
                    self.upload = None;
                }
                Poll::Pending => {
                    // What TLS has gathered leaves before the wait.
                    let _ = Pin::new(&mut self.tunnel).poll_flush(cx)?;
                    return Poll::Pending;
                }
            }
        }
    }

    /// The next bytes of the origin's, its end, or that there will be none.
    pub(super) fn poll_down(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        if self.is_broken {
            return Poll::Ready(Some(Err(Cut)));
        }
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            if ready!(Pin::new(&mut self.tunnel).poll_read(cx, &mut buffer)).is_err() {
                self.is_broken = true;
                return Poll::Ready(Some(Err(Cut)));
            }
            let bytes = buffer.filled();
            self.down_bytes = self.down_bytes.saturating_add(bytes.len() as u64);
            Poll::Ready((!bytes.is_empty()).then(|| Ok(Bytes::copy_from_slice(bytes))))
        })
    }

    /// Whether nothing has gone either way for too long at `now`.
    fn is_idle(&mut self, now: Timestamp) -> bool {
        let moved = self.up_bytes.wrapping_add(self.down_bytes);
        match self.seen {
            Some((seen, since)) if seen == moved => now.since(since) >= self.tunnel.idle_limit(),
            _ => {
                self.seen = Some((moved, now));
                false
            }
        }
    }
}

impl Stream {
    /// Whether another protocol is spoken on it.
    pub(super) const fn is_tunnel(&self) -> bool {
        match &self.sending {
            Sending::Tail(_) => true,
            Sending::Body(body) => body.is_tunnel(),
            Sending::Awaiting(_) => false,
        }
    }
}

impl<S: Service> Connection<'_, S> {
    /// Passes on what the client has sent in a tunnel.
    pub(super) fn carry(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        let (carrier, is_tail) = match &mut stream.sending {
            Sending::Tail(carrier) => (&mut **carrier, true),
            Sending::Body(body) => match body.carrier() {
                Some(carrier) => (carrier, false),
                None => return,
            },
            Sending::Awaiting(_) => return,
        };
        let passed = carrier.poll_up(&mut Context::from_waker(stream.waker.arm()));
        if let Some(exchange) = &mut stream.exchange {
            exchange.outcome.received_bytes = carrier.up_bytes;
        }
        match passed {
            Poll::Ready(Ok(())) if is_tail => {
                if let Some(stream) = self.streams.remove(id) {
                    self.over(id, stream.exchange, stream.receiving);
                }
            }
            Poll::Ready(Err(_)) => self.cut(id),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
    }

    /// A tunnel's stream holds no more of its request than is told at its end.
    pub(super) fn begin_tunnel(&mut self, id: u32) {
        let Some(stream) = self.streams.get_mut(id) else { return };
        if let Some(exchange) = &mut stream.exchange {
            let (index, less_bytes) = exchange.shed();
            self.kit.keep_index(index);
            self.held_bytes = self.held_bytes.saturating_sub(less_bytes);
        }
        self.carry(id);
    }

    /// Whether nothing but tunnels is under way, and nothing waits for the client.
    pub(super) fn has_tunnels_alone(&mut self) -> bool {
        !self.streams.is_empty()
            && self.is_quiet()
            && self.streams.iter_mut().all(|stream| stream.is_tunnel() && stream.blocked_since.is_none())
    }

    /// How often tunnels are to be looked at.
    pub(super) fn tunnel_looks(&mut self) -> Duration {
        let limits = self.streams.iter_mut().filter_map(|stream| match &mut stream.sending {
            Sending::Tail(carrier) => Some(carrier.tunnel.idle_limit()),
            Sending::Body(body) => body.carrier().map(|carrier| carrier.tunnel.idle_limit()),
            Sending::Awaiting(_) => None,
        });
        let drain = self.tunnels_until.map(|_| TUNNEL_DRAIN);
        limits.chain(drain).min().unwrap_or(TUNNEL_DRAIN) / LOOKS
    }

    /// Tunnels go on for so long, now that the node drains.
    pub(super) fn drain_tunnels(&mut self) {
        // Where another process serves, nobody waits for this one's end.
        let succeeded = self.context.drain.is_succeeded();
        let patience = if succeeded { self.context.limits.drain_timeout } else { TUNNEL_DRAIN };
        self.tunnels_until = Some(self.context.clock.now().plus(patience));
    }

    /// Ends the tunnels in which nothing moves, or that have gone on for long enough; whether there were any.
    pub(super) fn end_tunnels(&mut self, now: Timestamp) -> bool {
        let drained = self.tunnels_until.is_some_and(|until| until <= now);
        let mut late = Vec::new();
        for (id, stream) in self.streams.each_mut() {
            let is_idle = match &mut stream.sending {
                Sending::Tail(carrier) => carrier.is_idle(now),
                Sending::Body(body) => match body.carrier() {
                    Some(carrier) => carrier.is_idle(now),
                    None => continue,
                },
                Sending::Awaiting(_) => continue,
            };
            if is_idle || drained {
                late.push(id);
            }
        }
        if late.is_empty() {
            return false;
        }
        // Between two turns there may be none.
        self.hold_kit();
        for id in late {
            self.cut(id);
        }
        true
    }
}

/// An answer to a request for a tunnel: what is no tunnel must not look as if it were one. RFC 9110 §9.3.6.
pub(super) fn answered(response: Response) -> Response {
    if !response.status.is_success() || matches!(response.body, Body::Tunnel(_)) {
        return response;
    }
    let refused = refusal(StatusCode::NOT_IMPLEMENTED, "nobody goes over to that protocol here");
    Response { outcome: response.outcome, close: response.close, ..refused }
}

thread_local! {
    /// What is read goes through here, so that a tunnel holds nothing while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; TUNNEL_READ_BYTES].into_boxed_slice());
}

/// Looks at what is idle within the limit, so that none is kept late by more than a tenth.
const LOOKS: u32 = 10;
