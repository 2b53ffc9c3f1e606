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
use tokio::sync::mpsc;

use super::answer::{Announced, Framing, append_head};
use super::body::{Decoded, Decoder};
use super::exchange::Exchange;
use super::head::{BodyLength, Head, HeadReader};
use super::pump::Pump;
use super::refusal::Refusal;
use super::socket::{Socket, Tail};
use super::transport::Transport;
use super::waiting::Waited;
use super::{ConnectionContext, ConnectionEnd};
use crate::config::limits::{
    BODY_READ_BYTES, COPY_BODY_BYTES_MAX, DRAIN_BYTES_MAX, DRAIN_TIMEOUT, GATHER_BYTES_MAX, INTERIM_MAX,
    READ_BUFFER_BYTES,
};
use crate::listener::deadline::Phase;
use crate::listener::fields::FieldIndex;
use crate::listener::request::{Interim, InterimSink, Protocol, Request, RequestBody};
use crate::listener::service::{Served, Service};
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
    interim: Option<(InterimSink, mpsc::Receiver<Interim>)>,
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
            interim: None,
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
                Ok(Some(head)) => self.exchange(head).await,
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
        if !begun && self.context.drain.is_begun() {
            return Err(ConnectionEnd::Idle);
        }
        // The first byte of a head starts its clock, which matters only now that the head was not whole at once. The very
        // first head began with the connection.
        if begun && std::mem::take(&mut self.head_began) && self.served > 0 {
            self.waiting_since = self.context.clock.now();
        }
        let Self { socket, context, waiting_since, served, .. } = self;
        let mut armed = false;
        let read = poll_fn(|cx| {
            if let Poll::Ready(read) = socket.poll_fill(cx, READ_BUFFER_BYTES) {
                return Poll::Ready(Ok(read));
            }
            if !armed {
                armed = true;
                socket.shrink();
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

    /// Has one request answered and its answer rendered, and written unless a further head may be waiting.
    async fn exchange(&mut self, head: Head) -> Result<Next, Stop> {
        self.served += 1;
        let protocol = head.protocol;
        let keep_alive = head.keep_alive;
        let (body, mut pump) = match head.body {
            BodyLength::None => (RequestBody::Empty, None),
            framed => {
                let ConnectionContext { clock, limits, .. } = &self.context;
                let (pump, body) = Pump::new(framed, head.expects_continue, clock, limits);
                (body, Some(pump))
            }
        };
        let received_micros = self.context.clock.micros();
        self.total_due =
            Timestamp::from_millis(received_micros / 1000).plus(self.context.limits.total_timeout);
        let (interim, mut interims) = self.interim.take().filter(|_| protocol == Protocol::Http11).unzip();
        let mut request = Request {
            method: head.method,
            scheme: self.context.scheme,
            authority: head.authority,
            target: head.target,
            fields: head.fields,
            body,
            protocol,
            client: Arc::clone(&self.context.client),
            received_micros,
            interim,
        };
        if request.interim.is_none() && protocol == Protocol::Http11 {
            let (sink, receiver) = mpsc::channel(INTERIM_MAX);
            request.interim = Some(sink);
            interims = Some(receiver);
        }
        let served = self.service.serve(&mut request);
        let mut exchange = Exchange::new(self.service, &self.context.clock, request);
        let response = match served {
            Served::Now(response) => {
                self.keep_interims(&mut exchange, interims);
                response
            }
            Served::Later(future) => {
                self.flush().await?;
                match self.wait(future, pump.as_mut(), interims).await {
                    Waited::Answer(response) => response,
                    Waited::Broken(refusal) => self.refused(refusal),
                    Waited::Over(end) => return Err(end),
                }
            }
        };
        let mut close = response.close
            || !keep_alive
            || self.context.drain.is_begun()
            || self.served >= self.context.limits.requests_per_connection_max
            || pump.as_ref().is_some_and(Pump::prevents_reuse);
        close |= self.send(&mut exchange, response, close, pump.as_mut()).await?;
        self.unfinished.push(exchange);
        if self.socket.out.len() >= GATHER_BYTES_MAX {
            self.flush().await?;
        }
        if let (Some(pump), false) = (pump, close) {
            close = pump.prevents_reuse() || !self.drain(pump.into_rest()).await?;
        }
        Ok(if close { Next::Close(ConnectionEnd::Closed) } else { Next::Head })
    }

    /// Keeps the interim channel for the next request, if this one has left it alone.
    #[inline]
    fn keep_interims(&mut self, exchange: &mut Exchange<'s, S>, receiver: Option<mpsc::Receiver<Interim>>) {
        if let (Some(sink), Some(receiver)) = (exchange.request.interim.take(), receiver)
            && receiver.sender_strong_count() == 1
            && receiver.is_empty()
        {
            self.interim = Some((sink, receiver));
        }
    }

    /// Renders an answer behind those that are gathered. Short bodies stay in the buffer, long ones are written on
    /// the way. True if the connection must end behind it.
    async fn send(
        &mut self,
        exchange: &mut Exchange<'s, S>,
        response: Response,
        close: bool,
        pump: Option<&mut Pump>,
    ) -> Result<bool, Stop> {
        let Request { method, protocol, .. } = &exchange.request;
        let framing = Framing::of(&response, method == Method::HEAD, *protocol);
        let close = close || framing.announced == Announced::UntilClose;
        if framing.sends_body && matches!(response.body, Body::Stream { .. }) {
            // Answers before this one do not wait for its stream.
            self.flush().await?;
        }
        let ConnectionContext { clock, date, .. } = &self.context;
        append_head(&mut self.socket.out, &response, framing, close, *protocol, (clock, date));
        exchange.status = response.status.as_u16();
        exchange.outcome = response.outcome;
        if !framing.sends_body {
            self.append_lines(&response.lines);
            return Ok(close);
        }
        match response.body {
            Body::None | Body::Omitted(_) => self.append_lines(&response.lines),
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
        for exchange in self.unfinished.drain(..) {
            let (index, now_micros) = exchange.finish();
            self.index = index;
            self.waiting_since = Timestamp::from_millis(now_micros / 1000);
        }
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
