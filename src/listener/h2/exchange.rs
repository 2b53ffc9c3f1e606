//! One request and its answer on an HTTP/2 stream, from the head to the last byte handed to the connection.
//!
//! An answer that is here at once, and a body that fits into the send buffer, are handed to h2 within the connection's own
//! turn: a hit costs no task. What must wait, for the walk or for room, is a task of the worker's thread.
//!
//! The exchange is shared by everything that still has a part in it: the task that awaits the answer, the one that pulls
//! its body, and each piece of the body that h2 holds. When the last of them is gone, whole or cut, it is
//! over, and is reported: so a reset, a stall or a lost connection is seen for what it is, and each request is reported
//! once. Pieces count their bytes when h2 takes them, so what is reported as sent went to the wire's buffer.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use cache_store::entry::BodyPieces;
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::{Method, StatusCode};
use tokio::task::spawn_local;

use super::{Connection, heads};
use crate::config::limits::H2_SEND_BUFFER_BYTES;
use crate::listener::request::Request;
use crate::listener::service::{Finished, Served, Service, refusal};
use crate::listener::stats::count;
use crate::respond::response::{Body, Cut, Outcome, Response, Stream};

/// Where the answer to a request goes.
pub(super) type Respond<S> = SendResponse<Piece<S>>;

/// One request under way.
pub(super) struct Exchange<S: Service> {
    service: Rc<S>,
    connection: Rc<Connection>,
    request: Request,
    held_bytes: usize,
    status: Cell<u16>,
    /// Body bytes handed to h2, and taken by it.
    handed: Cell<u64>,
    sent: Cell<u64>,
    /// The last piece has been handed over.
    ended: Cell<bool>,
    outcome: RefCell<Outcome>,
}

impl<S: Service> Drop for Exchange<S> {
    fn drop(&mut self) {
        self.connection.release(self.held_bytes);
        if std::thread::panicking() {
            count(&self.connection.stats.panics);
        }
        let finished = Finished {
            status: self.status.get(),
            body_bytes: self.sent.get(),
            duration_micros: self.connection.clock.micros().saturating_sub(self.request.received_micros),
            complete: self.ended.get() && self.sent.get() == self.handed.get(),
            outcome: &self.outcome.borrow(),
        };
        self.service.finished(&self.request, &finished);
    }
}

/// Asks the service. `held_bytes` have been taken from the connection's budget.
pub(super) fn ask<S: Service + 'static>(
    service: &Rc<S>,
    connection: &Rc<Connection>,
    mut request: Request,
    held_bytes: usize,
    respond: Respond<S>,
) {
    // A panic costs the request that caused it, not the others on the connection.
    let served = catch_unwind(AssertUnwindSafe(|| service.serve(&mut request))).unwrap_or_else(|_| {
        count(&connection.stats.panics);
        Served::Now(refusal(StatusCode::INTERNAL_SERVER_ERROR, "internal error"))
    });
    let exchange = Exchange {
        service: Rc::clone(service),
        connection: Rc::clone(connection),
        request,
        held_bytes,
        status: Cell::new(STATUS_CLIENT_LEFT),
        handed: Cell::new(0),
        sent: Cell::new(0),
        ended: Cell::new(false),
        outcome: RefCell::default(),
    };
    match served {
        Served::Now(response) => exchange.answer(response, respond),
        Served::Later(future) => {
            spawn_local(exchange.answer_later(future, respond));
        }
    }
}

/// Answers what never became a request.
pub(super) fn refuse<S: Service + 'static>(
    connection: &Connection,
    method: &Method,
    response: Response,
    respond: Respond<S>,
) {
    let to_head = method == Method::HEAD;
    let head = heads::head(connection, &response, to_head);
    AnswerBody::of(response.status, response.body, to_head).send(head, None, respond);
}

impl<S: Service + 'static> Exchange<S> {
    async fn answer_later(
        self,
        mut future: Pin<Box<dyn Future<Output = Response> + Send>>,
        mut respond: Respond<S>,
    ) {
        let response = poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(response) => Poll::Ready(Some(response)),
            // Who resets the stream has given the answer up; so has a connection that is gone.
            Poll::Pending => respond.poll_reset(cx).map(|_| None),
        })
        .await;
        drop(future);
        if let Some(response) = response {
            self.answer(response, respond);
        }
    }

    fn answer(mut self, response: Response, respond: Respond<S>) {
        let to_head = self.request.method == Method::HEAD;
        let head = heads::head(&self.connection, &response, to_head);
        let Response { status, body, outcome, .. } = response;
        self.status.set(status.as_u16());
        *self.outcome.get_mut() = outcome;
        let body = AnswerBody::of(status, body, to_head);
        if body.left == Some(0) {
            self.ended.set(true);
            // No piece of a body will hold it: it is over when its head is handed over.
            return body.send(head, None, respond);
        }
        body.send(head, Some(Rc::new(self)), respond);
    }
}

/// The body of an answer on its way to h2.
struct AnswerBody {
    source: Source,
    /// Bytes still to come, if their number is known.
    left: Option<u64>,
}

enum Source {
    None,
    One(Bytes),
    Pieces(BodyPieces),
    Stream(Pin<Box<dyn Stream>>),
}

impl AnswerBody {
    fn of(status: StatusCode, body: Body, to_head: bool) -> Self {
        let bodiless = to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let (source, left) = match body {
            _ if bodiless => (Source::None, Some(0)),
            Body::None | Body::Omitted(_) => (Source::None, Some(0)),
            Body::Bytes(bytes) => {
                let left = bytes.len() as u64;
                (Source::One(bytes), Some(left))
            }
            Body::Stored(stored) => (Source::Pieces(stored.body()), Some(stored.body_len())),
            Body::Stream { length, source } => (Source::Stream(source), length),
        };
        Self { source, left }
    }

    /// Hands head and body over: at once if the body is here and short, else as fast as h2 takes it.
    fn send<S: Service + 'static>(
        mut self,
        head: http::Response<()>,
        exchange: Option<Rc<Exchange<S>>>,
        mut respond: Respond<S>,
    ) {
        let ends = self.left == Some(0);
        let Ok(mut stream) = respond.send_response(head, ends) else {
            // The stream was reset meanwhile.
            return respond.send_reset(Reason::INTERNAL_ERROR);
        };
        if ends {
            return;
        }
        let short = self.left.is_some_and(|left| left <= H2_SEND_BUFFER_BYTES as u64);
        if !short || matches!(self.source, Source::Stream(_)) {
            spawn_local(self.pump(stream, exchange));
            return;
        }
        while self.left != Some(0) {
            let handed = self.next_here().ok_or(Cut).and_then(|bytes| self.hand(bytes, exchange.as_ref()));
            let Ok(piece) = handed else { return stream.send_reset(Reason::INTERNAL_ERROR) };
            if stream.send_data(piece, self.left == Some(0)).is_err() {
                return;
            }
        }
    }

    /// Pulls the body while h2 has room for it, until the stream is over.
    async fn pump<S: Service>(mut self, mut stream: SendStream<Piece<S>>, exchange: Option<Rc<Exchange<S>>>) {
        let mut waits = Waits::new(exchange.as_ref());
        loop {
            let next = poll_fn(|cx| match stream.poll_reset(cx) {
                Poll::Ready(_) => Poll::Ready(None),
                Poll::Pending => {
                    let polled = self.poll_next(cx);
                    waits.set(polled.is_pending());
                    polled.map(Some)
                }
            });
            let Some(next) = next.await else { return };
            let piece = match next {
                Some(Ok(bytes)) => self.hand(bytes, exchange.as_ref()),
                Some(Err(cut)) => Err(cut),
                None if self.left.is_none() => {
                    self.left = Some(0);
                    self.hand(Bytes::new(), exchange.as_ref())
                }
                // Less than was announced.
                None => Err(Cut),
            };
            let Ok(piece) = piece else { return stream.send_reset(Reason::INTERNAL_ERROR) };
            if piece.has_remaining() {
                // Asked for only now, with the piece in hand: room that waits for a slow source is taken from the
                // connection's other answers.
                stream.reserve_capacity(1);
                while stream.capacity() == 0 {
                    match poll_fn(|cx| stream.poll_capacity(cx)).await {
                        Some(Ok(_)) => {}
                        Some(Err(_)) | None => return,
                    }
                }
            }
            let last = self.left == Some(0);
            if stream.send_data(piece, last).is_err() || last {
                return;
            }
        }
    }

    /// The next bytes of a body that is all here.
    fn next_here(&mut self) -> Option<Bytes> {
        match &mut self.source {
            Source::One(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::None;
                Some(bytes)
            }
            Source::Pieces(pieces) => pieces.next(),
            Source::None | Source::Stream(_) => None,
        }
    }

    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        match &mut self.source {
            Source::Stream(stream) => stream.as_mut().poll_next(cx),
            _ => Poll::Ready(self.next_here().map(Ok)),
        }
    }

    /// Counts bytes as handed over. An error if they are more than was announced: the client would take the surplus for
    /// what follows.
    fn hand<S: Service>(
        &mut self,
        bytes: Bytes,
        exchange: Option<&Rc<Exchange<S>>>,
    ) -> Result<Piece<S>, Cut> {
        let length = bytes.len() as u64;
        if let Some(left) = &mut self.left {
            *left = left.checked_sub(length).ok_or(Cut)?;
        }
        if let Some(exchange) = exchange {
            exchange.handed.set(exchange.handed.get() + length);
            exchange.ended.set(self.left == Some(0));
        }
        Ok(Piece { bytes, exchange: exchange.cloned() })
    }
}

/// Counts an answer among the connection's that wait for their source, while it does.
struct Waits {
    connection: Option<Rc<Connection>>,
    waiting: bool,
}

impl Waits {
    fn new<S: Service>(exchange: Option<&Rc<Exchange<S>>>) -> Self {
        Self { connection: exchange.map(|exchange| Rc::clone(&exchange.connection)), waiting: false }
    }

    fn set(&mut self, waiting: bool) {
        if self.waiting != waiting
            && let Some(connection) = &self.connection
        {
            connection.source_waits(waiting);
            self.waiting = waiting;
        }
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        self.set(false);
    }
}

/// A piece of a body on its way through h2.
pub(super) struct Piece<S: Service> {
    bytes: Bytes,
    exchange: Option<Rc<Exchange<S>>>,
}

impl<S: Service> Buf for Piece<S> {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(exchange) = &self.exchange {
            exchange.sent.set(exchange.sent.get() + count as u64);
        }
    }
}

/// As nginx logs a client that left before an answer began.
const STATUS_CLIENT_LEFT: u16 = 499;
