//! Our own server side of HTTP/2.
//!
//! One task a connection, and in it everything that happens on it: frames are read, requests are asked of the service, what is
//! answered at once goes straight into the one buffer that the turn's single write takes. A hit costs no task, no decoded
//! head and no copy but into that buffer.
//!
//! ```text
//! bytes ── inbound.rs ──> connection.rs ── hpack/, head.rs ──> Request ── Service ──> Response ── answer.rs ──> bytes
//!            frames          state                 └ upload.rs: the body        heads.rs, body.rs, send.rs
//! ```
//!
//! `turn.rs` moves the bytes, `budget.rs` beside this room counts what a connection costs, `late.rs` knows what is too slow. The
//! driver here ties them to the deadline and to the drain.
//!
//! Invariant: a connection ends with GOAWAY wherever there is somebody to hear it. Deliberately absent: server push,
//! priorities, keep-alive PINGs (deadlines find dead peers), interim responses, cleartext HTTP/2, other protocols on a stream than
//! WebSocket (`tunnel.rs`). RFC 9113, RFC 8441.

mod answer;
mod body;
mod connection;
pub(crate) mod frame;
mod head;
mod heads;
pub(crate) mod hpack;
pub(crate) mod inbound;
mod kit;
mod late;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod rehearsal;
mod send;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;
mod turn;
mod upload;
mod wake;

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::deadline::Phase;
use super::h1::ConnectionContext;
use super::service::Service;
use super::stats::ListenerStats;
use crate::config::limits::{DRAIN_TIMEOUT, H2_GOODBYE_TIMEOUT};
use connection::{Connection, Leaving};
use frame::Code;
use heads::Heads;
use inbound::Inbound;
use kit::Kits;
pub(crate) use upload::Upload;

/// What the HTTP/2 connections of a worker share.
#[derive(Clone, Default)]
pub(crate) struct Worker {
    heads: Rc<Heads>,
    kits: Rc<Kits>,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// By the client or by a drain.
    Closed,
    /// By an error of the client's.
    Wrong(Code),
    /// It cost more than it earned.
    Overspent,
    /// It was too slow, or idle.
    Late(Phase),
}

impl Ended {
    /// Whether it was closed for what it cost.
    pub(crate) const fn is_overspent(self) -> bool {
        match self {
            Self::Overspent | Self::Wrong(Code::EnhanceYourCalm) => true,
            Self::Late(phase) => !matches!(phase, Phase::Idle),
            Self::Closed | Self::Wrong(_) => false,
        }
    }

    /// What the client is told.
    const fn code(self) -> Option<Code> {
        match self {
            Self::Closed => None,
            Self::Wrong(code) => Some(code),
            Self::Late(Phase::Idle) => Some(Code::NoError),
            Self::Overspent | Self::Late(_) => Some(Code::EnhanceYourCalm),
        }
    }
}

impl Worker {
    /// Serves one connection to its end. Dropping the future cuts it; every request begun is still reported to
    /// [`Service::finished`], exactly once.
    pub(crate) async fn serve_connection<IO, S>(
        &self,
        mut io: IO,
        service: Rc<S>,
        context: ConnectionContext,
        stats: &Arc<ListenerStats>,
    ) -> Ended
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        S: Service,
    {
        let drain = context.drain.clone();
        let clock = context.clock.clone();
        let connection = Connection::new(&*service, context, stats, (&self.heads, &self.kits));
        let mut driver =
            Driver { connection, mode: None, armed_at: 0, patience: DRAIN_TIMEOUT, drains: false };
        let ended = {
            let mut draining = pin!(drain.begun());
            poll_fn(|cx| driver.poll(&mut io, cx, draining.as_mut())).await
        };
        let Driver { mut connection, patience, .. } = driver;
        if let Some(code) = ended.code() {
            connection.say_goodbye(code);
        }
        let lingers =
            ended == Ended::Closed && (connection.leaving != Leaving::No || connection.client_leaves);
        if lingers || ended != Ended::Closed {
            let goodbye = poll_fn(|cx| connection.poll_goodbye(&mut io, cx));
            // Whoever does not take it in time does without.
            let _ = clock.timeout(H2_GOODBYE_TIMEOUT, goodbye).await;
            // What it took along.
            connection.finish();
        }
        drop(connection);
        if lingers {
            // The client still tells its windows while it reads the end of its answers, and bytes that arrive at a
            // closed socket reset it: what the kernel held for the client would be lost. Who has not read to the end
            // by then is cut, as a drain would.
            let _ = clock.timeout(patience, poll_fn(|cx| poll_discard(&mut io, cx))).await;
        }
        ended
    }
}

/// Turns one connection, and sees to it that it moves on.
struct Driver<'s, S: Service> {
    connection: Connection<'s, S>,
    /// What the deadline is set for; `None`: to be set anew.
    mode: Option<Phase>,
    /// Requests begun when it was set.
    armed_at: u64,
    /// How long a client that was told to go may take to close too.
    patience: Duration,
    /// The node does.
    drains: bool,
}

impl<S: Service> Driver<'_, S> {
    fn poll<IO, D>(&mut self, io: &mut IO, cx: &mut Context<'_>, draining: Pin<&mut D>) -> Poll<Ended>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
        D: Future<Output = ()>,
    {
        if let Poll::Ready(ended) = self.connection.turn(io, cx) {
            return Poll::Ready(ended);
        }
        if !self.drains && draining.poll(cx).is_ready() {
            self.drains = true;
            self.connection.drain_tunnels();
            self.mode = None;
        }
        if self.connection.leaving == Leaving::No && (self.has_served_enough() || self.drains) {
            if self.connection.inbound == Inbound::Preface {
                // Nothing was asked yet.
                return Poll::Ready(Ended::Closed);
            }
            if !self.connection.is_idle() {
                self.patience = self.connection.context.limits.drain_timeout;
            }
            self.mode = None;
            self.connection.leave();
            if let Poll::Ready(ended) = self.connection.turn(io, cx) {
                return Poll::Ready(ended);
            }
        }
        self.connection.rest();
        loop {
            self.arm();
            if self.connection.context.deadline.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(phase) = self.late() {
                return Poll::Ready(Ended::Late(phase));
            }
            self.mode = None;
            if self.connection.end_tunnels(self.connection.now) {
                // What says so is to be written.
                cx.waker().wake_by_ref();
            }
        }
    }

    fn has_served_enough(&self) -> bool {
        self.connection.requests >= self.connection.context.limits.requests_per_connection_max
    }

    /// Sets the deadline where what the connection does has changed.
    fn arm(&mut self) {
        let connection = &mut self.connection;
        let mode = match (connection.head_since, connection.is_idle()) {
            (Some(_), _) => Phase::Head,
            (None, true) => Phase::Idle,
            (None, false) if connection.has_tunnels_alone() => Phase::Tunnel,
            (None, false) => Phase::SendStall,
        };
        // A hit begins and ends within a turn: between two looks the connection may have been anything but idle.
        let is_looked_at = !matches!(mode, Phase::Idle | Phase::Tunnel);
        if self.mode == Some(mode) && (is_looked_at || self.armed_at == connection.requests) {
            return;
        }
        let tunnel_looks = if mode == Phase::Tunnel { connection.tunnel_looks() } else { Duration::ZERO };
        let limits = &connection.context.limits;
        self.mode = Some(mode);
        self.armed_at = connection.requests;
        let after = match mode {
            Phase::Idle if connection.leaving != Leaving::No => DRAIN_TIMEOUT,
            // Nothing was asked yet: the preface and a first request are due.
            Phase::Idle if connection.requests == 0 => limits.head_timeout,
            Phase::Idle => limits.idle_timeout,
            Phase::Tunnel => tunnel_looks,
            // Looked at from time to time.
            _ => limits.send_stall_timeout.min(limits.body_rate_window).min(limits.head_timeout) / LOOKS,
        };
        connection.context.deadline.set(connection.now.plus(after), mode);
    }

    /// What is late, now that the deadline has passed.
    fn late(&mut self) -> Option<Phase> {
        let now = self.connection.context.clock.now();
        self.connection.now = now;
        if self.mode == Some(Phase::Idle) { Some(Phase::Idle) } else { self.connection.late(now) }
    }
}

impl<S: Service> Connection<'_, S> {
    /// The last frame.
    fn say_goodbye(&mut self, code: Code) {
        frame::goaway(&mut self.kit.out, self.last_stream, code);
    }
}

/// Reads and drops what still comes, until the client closes its half.
fn poll_discard<IO: AsyncRead + Unpin>(io: &mut IO, cx: &mut Context<'_>) -> Poll<()> {
    let mut scratch = [0; DISCARD_BYTES];
    loop {
        let mut read = ReadBuf::new(&mut scratch);
        match ready!(Pin::new(&mut *io).poll_read(cx, &mut read)) {
            Ok(()) if !read.filled().is_empty() => {}
            Ok(()) | Err(_) => return Poll::Ready(()),
        }
    }
}

/// Looks at what is late within the shortest of the timeouts, so none is kept late by more than a tenth.
const LOOKS: u32 = 10;
/// Bytes dropped at once.
const DISCARD_BYTES: usize = 4096;
