//! The life of one connection: read a head, have it answered, write the answer, again.
//!
//! ```text
//! fill ──> head ──> serve ──> (wait, waiting.rs) ──> send (stream.rs) ──> drain the body ──> head …
//!   │        └ refused ─────────────────────────────> send ──> linger ──> end
//!   └ idle, client gone ──> end
//! ```
//!
//! Answers to pipelined requests are gathered in one buffer and written when no further head is complete, or at
//! `GATHER_BYTES_MAX`; so a lone hit costs one read and one write. Deadlines are set only where a wait begins.
//!
//! Invariants: answers leave in the order of their requests; after a refusal, a broken body or a cut answer nothing
//! more is parsed; a body that was not read is drained or the connection ends (FAULTS S3), whatever the answer was.
//! RFC 9112 §9.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Poll, ready};

use cache_store::timestamp::Timestamp;
use http::Method;

use super::answer::{Announced, Framing, append_head, append_upgrade};
use super::body::{Decoded, Decoder};
use super::buffers::Set;
use super::exchange::Exchange;
use super::head::{BodyLength, Head, HeadReader};
use super::pump::Pump;
use super::refusal::Refusal;
use super::socket::{Socket, Tail};
use super::transport::Transport;
use super::waiting::Waited;
use super::{ConnectionContext, ConnectionEnd};
use crate::config::limits::{
    BODY_READ_BYTES, COPY_BODY_BYTES_MAX, DRAIN_BYTES_MAX, DRAIN_TIMEOUT, GATHER_BYTES_MAX, READ_BUFFER_BYTES,
};
use crate::listener::deadline::Phase;
use crate::listener::fields::FieldIndex;
use crate::listener::request::{Interims, Protocol, Request, RequestBody, Upgrade};
use crate::listener::service::{Answering, Served, Service};
use crate::listener::trailers::Trailers;
use crate::respond::response::{Body, Lines, Response};

/// A connection.
pub(super) struct Connection<'s, IO, S: Service> {
    pub(super) socket: Socket<IO>,
    service: &'s S,
    pub(super) context: ConnectionContext,
    heads: HeadReader,
    /// Rendered, not yet written whole; in order.
    unfinished: Vec<Exchange<'s, S>>,
    /// Memory of finished requests.
    index: FieldIndex,
    /// Memory of finished answers.
    spare: Vec<u8>,
    served: u64,
    /// Since when it has waited for a head, or its first byte; steady time.
    waiting_since: Timestamp,
    /// The first bytes of a head have come and its time has not been taken yet.
    head_began: bool,
    /// When the request under way must be over.
    pub(super) total_due: Timestamp,
}

impl<'s, IO, S> Connection<'s, IO, S>
where
    IO: Transport,
    S: Service,
{
    pub(super) fn new(io: IO, service: &'s S, context: ConnectionContext) -> Self {
        let waiting_since = context.clock.now();
        Self {
            socket: Socket::new(io),
            service,
            context,
            heads: HeadReader::default(),
            unfinished: Vec::new(),
            index: FieldIndex::default(),
            spare: Vec::new(),
            served: 0,
            waiting_since,
            head_began: false,
            total_due: Timestamp::from_millis(u64::MAX),
        }
    }

    pub(super) async fn run(mut self) -> ConnectionEnd {
        loop {
            let head = self.heads.next(
                &mut self.socket.input,
                &mut self.index,
                self.context.scheme,
                &self.context.limits,
            );
            let outcome = match head {
                Ok(Some(head)) => match self.begin(head) {
                    Begun::Answered(next) if self.socket.out.len() < GATHER_BYTES_MAX => Ok(next),
                    Begun::Answered(next) => self.flush().await.map(|()| next),
                    Begun::Open(open) => self.go_on(open).await,
                },
                Ok(None) => match self.flush().await {
                    Ok(()) => self.fill().await,
                    Err(end) => Err(end),
                },
                Err(refusal) => Ok(self.refuse(refusal)),
            };
            match outcome {
                Ok(Next::Head) => {}
                Ok(Next::Close(end)) => return self.close(end).await,
                Err(end) => return end,
            }
        }
    }

    /// Waits for bytes of a head.
    async fn fill(&mut self) -> Result<Next, Stop> {
        let begun = !self.socket.input.is_empty();
        if !begun && self.context.drain.closes_idle() {
            return Err(ConnectionEnd::Idle);
        }
        // The first byte of a head starts its clock, which matters only now that the head was not whole at once. The very
        // first head began with the connection.
        if begun && std::mem::take(&mut self.head_began) && self.served > 0 {
            self.waiting_since = self.context.clock.now();
        }
        let Self { socket, context, waiting_since, served, index, spare, .. } = self;
        let mut armed = false;
        let read = poll_fn(|cx| {
            if socket.input.capacity() == 0 {
                let set = context.buffers.take();
                (socket.input, socket.out, *index, *spare) = (set.input, set.out, set.index, set.spare);
            }
            if let Poll::Ready(read) = socket.poll_fill(cx, READ_BUFFER_BYTES) {
                return Poll::Ready(Ok(read));
            }
            if !begun {
                context.buffers.give_back(Set {
                    input: std::mem::take(&mut socket.input),
                    out: std::mem::take(&mut socket.out),
                    index: std::mem::take(index),
                    spare: std::mem::take(spare),
                });
            }
            if !armed {
                armed = true;
                let (allowed, phase) = match (begun, *served) {
                    (true, _) => (context.limits.head_timeout, Phase::Head),
                    (false, 0) => (context.limits.head_timeout, Phase::Idle),
                    (false, _) => (context.limits.idle_timeout, Phase::Idle),
                };
                context.deadline.set(waiting_since.plus(allowed), phase);
            }
            context.deadline.poll_expired(cx).map(Err)
        })
        .await;
        match read {
            Ok(Ok(0)) if begun => Err(ConnectionEnd::ClientGone),
            Ok(Ok(0)) => Err(ConnectionEnd::Closed),
            Ok(Ok(_)) => {
                if !begun {
                    self.head_began = true;
                    self.context.deadline.clear();
                }
                Ok(Next::Head)
            }
            Ok(Err(error)) => Err(failed(error)),
            Err(Phase::Head) => Ok(self.refuse(Refusal::HeadTimeout)),
            Err(_) => Err(ConnectionEnd::Idle),
        }
    }

    /// Asks the service. A hit with a short body is rendered here and now, without a future; all else goes on in
    /// [`Connection::go_on`].
    #[inline]
    fn begin(&mut self, head: Head) -> Begun<'s, S> {
        self.served += 1;
        let keep_alive = head.keep_alive;
        let (body, pump) = match head.body {
            BodyLength::None => (RequestBody::Empty, None),
            framed => {
                let ConnectionContext { clock, limits, .. } = &self.context;
                let trailers = Trailers::wanted(&head.fields);
                let (pump, body) = Pump::new(framed, (head.expects_continue, trailers), clock, limits);
                (body, Some(Box::new(pump)))
            }
        };
        let received_micros = self.context.clock.micros();
        self.total_due =
            Timestamp::from_millis(received_micros / 1000).plus(self.context.limits.total_timeout);
        // Made where it will stay until it is told of: it is large. One that takes waiting is taken out again.
        self.unfinished.push(Exchange::new(
            self.service,
            &self.context.clock,
            Request {
                method: head.method,
                scheme: self.context.scheme,
                authority: head.authority,
                target: head.target,
                fields: head.fields,
                body,
                protocol: head.protocol,
                client: Arc::clone(&self.context.client),
                received_micros,
                interims: match head.protocol {
                    Protocol::Http11 => Interims::Possible,
                    _ => Interims::None,
                },
                upgrade: if head.upgrade { Upgrade::Connection } else { Upgrade::No },
                spare: std::mem::take(&mut self.spare),
                held: std::sync::OnceLock::new(),
                id: std::cell::OnceCell::new(),
            },
        ));
        let Some(exchange) = self.unfinished.last_mut() else { return Begun::Answered(Next::Head) };
        let mut served = self.service.serve(&mut exchange.request);
        if let (Served::Now(response), None) = (&mut served, &pump)
            && let Some(close) = self.render_short(response, keep_alive)
        {
            self.keep_spare(std::mem::take(&mut response.extra));
            return Begun::Answered(if close { Next::Close(ConnectionEnd::Closed) } else { Next::Head });
        }
        let answer = match served {
            Served::Now(response) => Answer::Here(Box::new(response)),
            Served::Later(future) => Answer::Later(future),
        };
        // With the memory that it lies in, unless answers before it share that.
        let exchange = match self.unfinished.len() {
            0 | 1 => std::mem::take(&mut self.unfinished),
            gathered => self.unfinished.split_off(gathered - 1),
        };
        Begun::Open(Open { exchange, answer, pump, keep_alive })
    }

    /// Has a request answered and its answer rendered, and written unless a further head may be waiting.
    async fn go_on(&mut self, open: Open<'s, S>) -> Result<Next, Stop> {
        let Open { exchange: mut its, answer, mut pump, keep_alive } = open;
        let Some(exchange) = its.first_mut() else { return Ok(Next::Head) };
        let response = match answer {
            Answer::Here(response) => response,
            Answer::Later(future) => {
                self.flush().await?;
                let interims = exchange.request.interims.asked();
                match self.wait(future, pump.as_deref_mut(), interims).await {
                    Waited::Answer(response) => response,
                    Waited::Broken(refusal) => Box::new(self.refused(refusal)),
                    Waited::Over(end) => return Err(end),
                }
            }
        };
        let mut close =
            self.ends_behind(&response, keep_alive) || pump.as_deref().is_some_and(Pump::prevents_reuse);
        close |= self.send(exchange, response, close, pump.as_deref_mut()).await?;
        if self.unfinished.is_empty() {
            self.unfinished = its;
        } else {
            self.unfinished.append(&mut its);
        }
        if self.socket.out.len() >= GATHER_BYTES_MAX {
            self.flush().await?;
        }
        if let Some(pump) = pump.filter(|_| !close) {
            close = pump.prevents_reuse() || !self.drain(pump.into_rest()).await?;
        }
        Ok(if close { Next::Close(ConnectionEnd::Closed) } else { Next::Head })
    }

    /// Whether the connection ends behind an answer, whatever became of the request's body.
    #[inline]
    fn ends_behind(&self, response: &Response, keep_alive: bool) -> bool {
        response.close
            || !keep_alive
            || self.context.drain.is_begun()
            || self.served >= self.context.limits.requests_per_connection_max
    }

    /// Renders an answer to the last exchange that need not wait for the client: one with a short stored body. Tells whether
    /// the connection must end behind it; `None`, and nothing is done, for every other.
    #[inline]
    fn render_short(&mut self, response: &mut Response, keep_alive: bool) -> Option<bool> {
        let (Body::Stored(stored), Lines::Stored(lines)) = (&response.body, &response.lines) else {
            return None;
        };
        let body = stored.lines_and_inline_body();
        if !stored.is_inline() || !Arc::ptr_eq(stored, lines) || body.len() > COPY_BODY_BYTES_MAX {
            return None;
        }
        let close = self.ends_behind(response, keep_alive);
        let exchange = self.unfinished.last_mut()?;
        let Request { method, protocol, .. } = &exchange.request;
        let framing = Framing::of(response, method == Method::HEAD, *protocol);
        if !framing.sends_body {
            return None;
        }
        let ConnectionContext { clock, date, .. } = &self.context;
        self.socket.out.reserve(response.extra.len() + body.len() + HEAD_BYTES_USUAL);
        append_head(&mut self.socket.out, response, framing, close, *protocol, (clock, date));
        self.socket.out.extend_from_slice(body);
        exchange.status = response.status.as_u16();
        std::mem::swap(&mut exchange.outcome, &mut response.outcome);
        exchange.body_bytes = stored.body_len();
        Some(close)
    }

    /// Keeps the memory of an answer's lines for the next.
    #[inline]
    fn keep_spare(&mut self, mut spare: Vec<u8>) {
        if spare.capacity() <= SPARE_BYTES_MAX {
            spare.clear();
            self.spare = spare;
        }
    }

    /// Renders an answer behind those that are gathered. Short bodies stay in the buffer, long ones are written on
    /// the way. True if the connection must end behind it.
    async fn send(
        &mut self,
        exchange: &mut Exchange<'s, S>,
        response: Box<Response>,
        close: bool,
        pump: Option<&mut Pump>,
    ) -> Result<bool, Stop> {
        let Request { method, protocol, .. } = &exchange.request;
        let framing = Framing::of(&response, method == Method::HEAD, *protocol);
        let close = close || framing.announced == Announced::UntilClose;
        // What is said of the connection with a 101 is that it is not ours any more.
        let close = close && !matches!(response.body, Body::Tunnel(_));
        if framing.sends_body && matches!(response.body, Body::Stream { .. }) {
            // Answers before this one do not wait for its stream.
            self.flush().await?;
        }
        let ConnectionContext { clock, date, .. } = &self.context;
        append_head(&mut self.socket.out, &response, framing, close, *protocol, (clock, date));
        exchange.status = response.status.as_u16();
        exchange.outcome = response.outcome;
        if let Body::Tunnel(tunnel) = response.body {
            append_upgrade(&mut self.socket.out, tunnel.protocol());
            self.append_lines(&response.lines);
            // Boxed: few connections come to it.
            Box::pin(self.tunnel(*tunnel, exchange)).await?;
            return Ok(true);
        }
        if !framing.sends_body {
            self.append_lines(&response.lines);
            return Ok(close);
        }
        match response.body {
            Body::None | Body::Omitted(_) | Body::Tunnel(_) => self.append_lines(&response.lines),
            Body::Stored(stored) => {
                let together = stored.is_inline()
                    && matches!(&response.lines, Lines::Stored(lines) if Arc::ptr_eq(lines, &stored));
                if together {
                    self.send_piece(stored.lines_and_inline_body()).await?;
                } else {
                    self.append_lines(&response.lines);
                    for piece in stored.body() {
                        match stored.lendable(&piece).filter(|_| piece.len() > COPY_BODY_BYTES_MAX) {
                            None => self.send_piece(&piece).await?,
                            lendable => self.write(Tail { bytes: &piece, lendable, sent: 0 }).await?,
                        }
                    }
                }
                exchange.body_bytes = stored.body_len();
            }
            Body::Bytes(bytes) => {
                self.append_lines(&response.lines);
                self.send_piece(&bytes).await?;
                exchange.body_bytes = bytes.len() as u64;
            }
            Body::Stream { source, .. } => {
                self.append_lines(&response.lines);
                self.stream(framing.announced, source, pump, &mut exchange.body_bytes).await?;
            }
        }
        Ok(close)
    }

    fn append_lines(&mut self, lines: &Lines) {
        self.socket.out.extend_from_slice(lines.as_bytes());
        self.socket.out.extend_from_slice(b"\r\n");
    }

    /// Copies a short piece, writes a long one together with what is gathered.
    #[inline]
    async fn send_piece(&mut self, piece: &[u8]) -> Result<(), Stop> {
        if piece.len() <= COPY_BODY_BYTES_MAX {
            self.socket.out.extend_from_slice(piece);
            return Ok(());
        }
        self.write(Tail { bytes: piece, ..Tail::default() }).await
    }

    /// Writes what is gathered and reports the requests that are thereby answered.
    #[inline]
    pub(super) async fn flush(&mut self) -> Result<(), Stop> {
        if self.socket.out.is_empty() && self.unfinished.is_empty() {
            return Ok(());
        }
        if let Err(end) = self.write(Tail::default()).await {
            self.unfinished.drain(..).for_each(Exchange::abandon);
            return Err(end);
        }
        // Where they lie: each is large.
        for exchange in &mut self.unfinished {
            let (index, now_micros) = exchange.finish();
            self.index = index;
            self.waiting_since = Timestamp::from_millis(now_micros / 1000);
        }
        self.unfinished.clear();
        Ok(())
    }

    /// Writes what is gathered and `tail`; each pause of the client's may last `send_stall_timeout`.
    async fn write(&mut self, mut tail: Tail<'_>) -> Result<(), Stop> {
        let Self { socket, context, total_due, .. } = self;
        let mut taken = None;
        poll_fn(|cx| {
            if let Poll::Ready(written) = socket.poll_write(cx, &mut tail) {
                return Poll::Ready(written.map_err(failed));
            }
            if taken.replace(socket.written()) != Some(socket.written()) {
                let stalled = context.clock.now().plus(context.limits.send_stall_timeout);
                context.deadline.set(stalled.min(*total_due), Phase::SendStall);
            }
            context.deadline.poll_expired(cx).map(|phase| Err(ConnectionEnd::TimedOut(phase)))
        })
        .await
    }

    /// The answer to a refusal.
    fn refused(&self, refusal: Refusal) -> Response {
        let mut response = self.service.refused(refusal.status(), refusal.reason(), &self.context.client);
        response.close = true;
        response
    }

    /// Answers bytes that are no request.
    fn refuse(&mut self, refusal: Refusal) -> Next {
        self.total_due = Timestamp::from_millis(u64::MAX);
        let response = self.refused(refusal);
        let framing = Framing::of(&response, false, Protocol::Http11);
        let ConnectionContext { clock, date, .. } = &self.context;
        append_head(&mut self.socket.out, &response, framing, true, Protocol::Http11, (clock, date));
        self.append_lines(&response.lines);
        if let (true, Body::Bytes(text)) = (framing.sends_body, &response.body) {
            self.socket.out.extend_from_slice(text);
        }
        Next::Close(ConnectionEnd::Refused(refusal))
    }

    /// Reads the rest of a body and drops it; false if that took too many bytes or too long, or it was malformed.
    async fn drain(&mut self, mut rest: Decoder) -> Result<bool, Stop> {
        if rest.is_ended() {
            return Ok(true);
        }
        let mut budget = DRAIN_BYTES_MAX.saturating_sub(self.socket.input.len() as u64);
        let mut flushed = false;
        loop {
            match rest.decode(&mut self.socket.input) {
                Ok(Decoded::End) => return Ok(true),
                Ok(Decoded::Data(_)) => {}
                Ok(Decoded::NeedMore) if budget == 0 => return Ok(false),
                Ok(Decoded::NeedMore) => {
                    if !std::mem::replace(&mut flushed, true) {
                        self.flush().await?;
                        let due = self.context.clock.now().plus(DRAIN_TIMEOUT);
                        self.context.deadline.set(due, Phase::BodyRate);
                    }
                    match self.discard().await {
                        Some(read) => budget = budget.saturating_sub(read),
                        None => return Ok(false),
                    }
                }
                Err(_) => return Ok(false),
            }
        }
    }

    /// Reads once under the deadline set last; `None` when it passed, at the client's end or after an error.
    async fn discard(&mut self) -> Option<u64> {
        let Self { socket, context, .. } = self;
        poll_fn(|cx| {
            if let Poll::Ready(read) = socket.poll_fill(cx, BODY_READ_BYTES) {
                return Poll::Ready(read.ok().filter(|count| *count > 0).map(|count| count as u64));
            }
            ready!(context.deadline.poll_expired(cx));
            Poll::Ready(None)
        })
        .await
    }

    /// Ends the connection in order: everything gathered is written, our side is shut, and what the client still
    /// sends is dropped for a while. Closing with bytes unread would reset the connection and could take the answer
    /// with it, RFC 9112 §9.6.
    async fn close(&mut self, end: ConnectionEnd) -> ConnectionEnd {
        if let Err(worse) = self.flush().await {
            return worse;
        }
        self.context.deadline.set(self.context.clock.now().plus(DRAIN_TIMEOUT), Phase::BodyRate);
        let Self { socket, context, .. } = self;
        let shut = poll_fn(|cx| {
            if let Poll::Ready(shut) = socket.poll_shutdown(cx) {
                return Poll::Ready(shut.is_ok());
            }
            context.deadline.poll_expired(cx).map(|_| false)
        })
        .await;
        let mut budget = DRAIN_BYTES_MAX;
        while shut && budget > 0 {
            self.socket.input.clear();
            match self.discard().await {
                Some(read) => budget = budget.saturating_sub(read),
                None => break,
            }
        }
        end
    }
}

/// A request that the service was asked.
enum Begun<'s, S: Service> {
    /// Its answer is rendered.
    Answered(Next),
    /// It takes waiting.
    Open(Open<'s, S>),
}

/// A request whose answer is not rendered yet.
struct Open<'s, S: Service> {
    /// One, in memory of its own: it is large, and stays where it lies.
    exchange: Vec<Exchange<'s, S>>,
    answer: Answer,
    pump: Option<Box<Pump>>,
    keep_alive: bool,
}

/// What the service said, small enough to be carried about.
enum Answer {
    Here(Box<Response>),
    Later(Answering),
}

/// What comes after an exchange.
enum Next {
    /// The next head.
    Head,
    /// Write what is gathered and close.
    Close(ConnectionEnd),
}

/// A connection that is over at once.
pub(super) type Stop = ConnectionEnd;

/// An error of the socket: the client's leaving, or a real one.
pub(super) fn failed(error: io::Error) -> ConnectionEnd {
    match error.kind() {
        io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::ConnectionReset
        | io::ErrorKind::NotConnected
        | io::ErrorKind::UnexpectedEof => ConnectionEnd::ClientGone,
        _ => ConnectionEnd::Failed(error),
    }
}

/// Room for what an answer's head holds beside its lines: status, length, date.
const HEAD_BYTES_USUAL: usize = 160;
/// Memory for the lines of one answer that a connection keeps.
const SPARE_BYTES_MAX: usize = 1024;
