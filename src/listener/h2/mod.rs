//! HTTP/2 connections: h2's server under our own limits.
//!
//! h2 does frames, HPACK and flow control. Around it: `pipe.rs` under it counts what passes (`budget.rs`) and gathers
//! what is written (`gather.rs`); `request.rs` checks what h2 lets pass; `exchange.rs` hands answers over and reports how
//! they ended. The driver here turns h2's connection, asks the service for each request that comes out, and, after each
//! turn, settles, looks at the ledger and at the deadline. What is answered at once is answered within that turn.
//!
//! ```text
//! socket ── Pipe(budget, gather) ── h2 ── request.rs ──> Service ──> exchange.rs ── h2 ── Pipe ── socket
//! ```
//!
//! Invariant: a connection ends with GOAWAY wherever what was sent before allows it. Deliberately absent: server push,
//! extended CONNECT, priorities, keep-alive PINGs (deadlines find dead peers), interim responses (the ledger
//! would take them for answers), cleartext HTTP/2. RFC 9113.

mod exchange;
pub(crate) mod frames;
mod gather;
mod heads;
mod pipe;
mod request;
#[cfg(test)]
mod tests;
mod upload;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use h2::RecvStream;
use h2::server::Builder;
use http::StatusCode;
use tokio::io::{AsyncRead, AsyncWrite};

use super::budget::{ENHANCE_YOUR_CALM, NO_ERROR};
use super::deadline::{Deadline, Phase};
use super::h1::{ConnectionContext, DateLine};
use super::request::{Client, Scheme};
use super::service::Service;
use super::stats::{ListenerStats, count};
use crate::clock::Clock;
use crate::config::Limits;
use crate::config::limits::{
    DRAIN_TIMEOUT, H2_CONNECTION_WINDOW_BYTES, H2_EARLY_RESETS_MAX, H2_ERROR_RESETS_MAX, H2_GOODBYE_TIMEOUT,
    H2_HEADER_LIST_BYTES_MAX, H2_HELD_HEAD_BYTES_MAX, H2_SEND_BUFFER_BYTES, H2_STREAM_WINDOW_BYTES,
    H2_STREAMS_MAX,
};
use exchange::{Piece, Respond};
use heads::Heads;
use pipe::Pipe;
pub(crate) use upload::Upload;

/// What the HTTP/2 connections of a worker share.
#[derive(Clone, Debug)]
pub(crate) struct Worker {
    builder: Builder,
    heads: Rc<Heads>,
}

/// How a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// By the client, by an error of its or by a drain.
    Closed,
    /// It cost more than it earned.
    Overspent,
    /// It was too slow, or idle.
    Late(Phase),
}

impl Ended {
    /// Whether the client is to blame.
    pub(crate) const fn is_overspent(self) -> bool {
        !matches!(self, Self::Closed | Self::Late(Phase::Idle))
    }

    const fn code(self) -> u32 {
        if self.is_overspent() { ENHANCE_YOUR_CALM } else { NO_ERROR }
    }
}

impl Worker {
    /// For one worker thread.
    pub(crate) fn new() -> Self {
        let mut builder = Builder::new();
        builder
            .max_concurrent_streams(H2_STREAMS_MAX)
            .max_header_list_size(H2_HEADER_LIST_BYTES_MAX)
            .initial_window_size(H2_STREAM_WINDOW_BYTES)
            .initial_connection_window_size(H2_CONNECTION_WINDOW_BYTES)
            .max_send_buffer_size(H2_SEND_BUFFER_BYTES)
            .max_local_error_reset_streams(Some(H2_ERROR_RESETS_MAX))
            .max_pending_accept_reset_streams(H2_EARLY_RESETS_MAX);
        Self { builder, heads: Rc::default() }
    }

    /// Serves one connection to its end. Dropping the future cuts it; every request begun is still reported to
    /// [`Service::finished`], exactly once.
    pub(crate) async fn serve_connection<IO, S>(
        &self,
        io: IO,
        service: Rc<S>,
        context: ConnectionContext,
        stats: &Arc<ListenerStats>,
    ) -> Ended
    where
        IO: AsyncRead + AsyncWrite + Unpin + 'static,
        S: Service + 'static,
    {
        let ConnectionContext { clock, limits, deadline, client, scheme, drain, date, buffers: _ } = context;
        let pipe = Pipe::new(io, clock.now());
        let connection = Rc::new(Connection {
            clock,
            limits,
            client,
            scheme,
            stats: Arc::clone(stats),
            heads: Rc::clone(&self.heads),
            date,
            requests: Cell::new(0),
            held_bytes: Cell::new(0),
            sources_waiting: Cell::new(0),
        });
        let mut driver =
            Driver { pipe: pipe.clone(), connection: Rc::clone(&connection), deadline, mode: None };
        let mut leaving = false;
        let mut patience = DRAIN_TIMEOUT;
        let ended = {
            let handler = Handler { service, connection };
            let mut turning = Turning::Handshake(self.builder.handshake(pipe));
            let mut draining = pin!(drain.begun());
            poll_fn(|cx| {
                driver.begin_turn();
                let mut over = turning.turn(cx, &handler);
                if !over && !leaving && (draining.as_mut().poll(cx).is_ready() || driver.has_served_enough())
                {
                    leaving = true;
                    if !driver.is_idle() {
                        patience = driver.connection.limits.drain_timeout;
                    }
                    driver.mode = None;
                    turning.leave();
                    over = turning.turn(cx, &handler);
                }
                driver.end_turn(cx, over, leaving)
            })
            .await
        };
        driver.say_goodbye(ended).await;
        if leaving && ended == Ended::Closed {
            driver.linger(patience).await;
        }
        ended
    }
}

/// What the requests of a connection share.
struct Connection {
    clock: Clock,
    limits: Arc<Limits>,
    client: Arc<Client>,
    scheme: Scheme,
    stats: Arc<ListenerStats>,
    heads: Rc<Heads>,
    date: Rc<DateLine>,
    /// Requests begun.
    requests: Cell<u64>,
    /// Bytes of heads held by requests under way.
    held_bytes: Cell<usize>,
    /// Answers whose body waits for its source.
    sources_waiting: Cell<usize>,
}

impl Connection {
    /// Takes bytes from what heads may hold; false if they would be too many.
    fn hold(&self, bytes: usize) -> bool {
        let held = self.held_bytes.get().saturating_add(bytes);
        let fits = held <= H2_HELD_HEAD_BYTES_MAX;
        if fits {
            self.held_bytes.set(held);
        }
        fits
    }

    fn release(&self, bytes: usize) {
        self.held_bytes.set(self.held_bytes.get().saturating_sub(bytes));
    }

    fn source_waits(&self, waits: bool) {
        let count = self.sources_waiting.get();
        self.sources_waiting.set(if waits { count + 1 } else { count.saturating_sub(1) });
    }
}

/// What becomes of the requests that h2 brings.
struct Handler<S> {
    service: Rc<S>,
    connection: Rc<Connection>,
}

impl<S: Service + 'static> Handler<S> {
    fn handle(&self, request: http::Request<RecvStream>, mut respond: Respond<S>) {
        let Self { service, connection } = self;
        connection.requests.set(connection.requests.get() + 1);
        let (parts, body) = request.into_parts();
        let method = parts.method.clone();
        let refusal = match request::read(parts, body, connection) {
            Ok((request, bytes)) if connection.hold(bytes) => {
                return exchange::ask(service, connection, request, bytes, respond);
            }
            Ok(_) => None,
            Err(refusal) => Some(refusal),
        };
        count(&connection.stats.malformed);
        let Some(refusal) = refusal else {
            // Nothing was done about it, so the client may send it again. RFC 9113 §8.7.
            let (status, reason) = (StatusCode::SERVICE_UNAVAILABLE, "too many request heads held");
            service.refused(status, reason, &connection.client);
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let response = service.refused(refusal.status(), refusal.reason(), &connection.client);
        exchange::refuse(connection, &method, response, respond);
    }
}

/// h2's connection.
enum Turning<IO, S: Service> {
    Handshake(h2::server::Handshake<Pipe<IO>, Piece<S>>),
    Serving(h2::server::Connection<Pipe<IO>, Piece<S>>),
    Over,
}

impl<IO, S> Turning<IO, S>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    S: Service + 'static,
{
    /// Reads, answers and writes as far as that goes; true when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>, handler: &Handler<S>) -> bool {
        loop {
            match self {
                Self::Handshake(handshake) => match Pin::new(handshake).poll(cx) {
                    Poll::Ready(Ok(serving)) => *self = Self::Serving(serving),
                    Poll::Ready(Err(_)) => *self = Self::Over,
                    Poll::Pending => return false,
                },
                // What was answered goes out when the next request is asked for.
                Self::Serving(serving) => match serving.poll_accept(cx) {
                    Poll::Ready(Some(Ok((request, respond)))) => handler.handle(request, respond),
                    Poll::Ready(None | Some(Err(_))) => return true,
                    Poll::Pending => return false,
                },
                Self::Over => return true,
            }
        }
    }

    /// Says GOAWAY and lets what is open end.
    fn leave(&mut self) {
        match self {
            Self::Serving(serving) => serving.graceful_shutdown(),
            // Nothing was asked yet.
            Self::Handshake(_) | Self::Over => *self = Self::Over,
        }
    }
}

/// Turns one connection.
struct Driver<IO> {
    pipe: Pipe<IO>,
    connection: Rc<Connection>,
    deadline: Deadline,
    /// What the deadline is set for; `None`: to be set anew.
    mode: Option<Phase>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Driver<IO> {
    fn begin_turn(&mut self) {
        self.pipe.inner().begin_turn(self.connection.clock.now());
    }

    fn has_served_enough(&self) -> bool {
        self.connection.requests.get() >= self.connection.limits.requests_per_connection_max
    }

    /// After h2's turn: writes out what it said, then looks whether the connection may go on.
    fn end_turn(&mut self, cx: &mut Context<'_>, over: bool, leaving: bool) -> Poll<Ended> {
        if over {
            return Poll::Ready(Ended::Closed);
        }
        {
            let mut inner = self.pipe.inner();
            if inner.budget.is_overspent() {
                return Poll::Ready(Ended::Overspent);
            }
            if inner.settle(cx).is_err() {
                return Poll::Ready(Ended::Closed);
            }
        }
        loop {
            self.arm(leaving);
            if self.deadline.poll_expired(cx).is_pending() {
                return Poll::Pending;
            }
            if let Some(phase) = self.late() {
                return Poll::Ready(Ended::Late(phase));
            }
            self.mode = None;
        }
    }

    /// Whether no request is under way and everything said is written.
    fn is_idle(&self) -> bool {
        let inner = self.pipe.inner();
        inner.budget.streams() == 0 && inner.gather.unwritten() == 0
    }

    /// Sets the deadline where what the connection does has changed.
    fn arm(&mut self, leaving: bool) {
        let mut inner = self.pipe.inner();
        let limits = &self.connection.limits;
        let idle = inner.budget.streams() == 0 && inner.gather.unwritten() == 0;
        let mode = match (idle, inner.budget.is_within_head()) {
            (true, _) => Phase::Idle,
            (false, true) => Phase::Head,
            (false, false) => Phase::SendStall,
        };
        if self.mode == Some(mode) {
            return;
        }
        self.mode = Some(mode);
        let after = match mode {
            Phase::Idle if leaving => DRAIN_TIMEOUT,
            // Nothing was asked yet: the preface and a first request are due.
            Phase::Idle if self.connection.requests.get() == 0 => limits.head_timeout,
            Phase::Idle => limits.idle_timeout,
            // Looked at from time to time: what is late is in the ledger.
            _ => limits.send_stall_timeout.min(limits.body_rate_window).min(limits.head_timeout) / LOOKS,
        };
        if mode == Phase::Idle {
            inner.gather.rest();
        }
        self.deadline.set(inner.now.plus(after), mode);
    }

    /// What is late, now that the deadline has passed.
    fn late(&mut self) -> Option<Phase> {
        let now = self.connection.clock.now();
        let mut inner = self.pipe.inner();
        inner.now = now;
        if self.mode == Some(Phase::Idle) {
            return Some(Phase::Idle);
        }
        let waiting = self.connection.sources_waiting.get();
        inner.late(now, &self.connection.limits, waiting)
    }

    /// Tells the client why, where that is still possible, and closes.
    async fn say_goodbye(&self, ended: Ended) {
        if ended == Ended::Closed {
            return;
        }
        let goodbye = poll_fn(|cx| {
            let mut inner = self.pipe.inner();
            let pipe::Inner { gather, budget, .. } = &mut *inner;
            // Once: behind its own bytes the outbound side is between frames again.
            if let Some(frame) = budget.take_goaway(ended.code()) {
                let _ = gather.poll_write(cx, &frame);
            }
            gather.poll_shutdown(cx)
        });
        // Whoever does not take it in time does without.
        let _ = self.connection.clock.timeout(H2_GOODBYE_TIMEOUT, goodbye).await;
    }

    /// Waits for the client to close too. It still tells its windows while it reads the end of its answers, and bytes
    /// that arrive at a closed socket reset it: what the kernel held for the client would be lost.
    async fn linger(&self, patience: Duration) {
        let closed = poll_fn(|cx| self.pipe.inner().poll_discard(cx));
        // Who has not read to the end by then is cut, as a drain would.
        let _ = self.connection.clock.timeout(patience, closed).await;
    }
}

/// Looks at the ledger within the shortest of its timeouts, so none is kept late by more than a tenth.
const LOOKS: u32 = 10;
