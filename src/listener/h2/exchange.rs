//! One request and its answer on an HTTP/2 stream, from the head to the last byte handed to the connection.
//!
//! The exchange is shared by everything that still has a part in it: the future that awaits the answer, the body that
//! hyper pulls, and each piece of the body that h2 holds. When the last of them is gone, whole or cut, it is
//! over, and is reported: so a reset, a stall or a lost connection is seen for what it is, and each request is reported
//! once. Pieces count their bytes when h2 takes them, so what is reported as sent went to the wire's buffer.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use cache_store::entry::BodyPieces;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use http_body::{Frame, SizeHint};

use super::Connection;
use super::heads::FIELDS_USUAL;
use crate::listener::request::Request;
use crate::listener::service::{Finished, Served, Service, refusal};
use crate::listener::stats::count;
use crate::respond::response::{Body, Cut, Lines, Outcome, Response, Stream};

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

/// The answer to come.
pub(super) struct Answering<S: Service> {
    exchange: Option<Rc<Exchange<S>>>,
    state: State,
}

// One a stream, alive for as long as the stream; a box would cost a hit an allocation.
#[allow(clippy::large_enum_variant)]
enum State {
    Here(Response),
    Coming(Pin<Box<dyn Future<Output = Response> + Send>>),
    Gone,
}

impl<S: Service> Answering<S> {
    /// Asks the service. `held_bytes` have been taken from the connection's budget.
    pub(super) fn ask(
        service: &Rc<S>,
        connection: &Rc<Connection>,
        mut request: Request,
        held_bytes: usize,
    ) -> Self {
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
        let state = match served {
            Served::Now(response) => State::Here(response),
            Served::Later(future) => State::Coming(future),
        };
        Self { exchange: Some(Rc::new(exchange)), state }
    }

    /// An answer to what never became a request.
    pub(super) fn refuse(response: Response) -> Self {
        Self { exchange: None, state: State::Here(response) }
    }
}

impl<S: Service> Future for Answering<S> {
    type Output = Result<http::Response<AnswerBody<S>>, std::convert::Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = match std::mem::replace(&mut self.state, State::Gone) {
            State::Here(response) => response,
            State::Coming(mut future) => match future.as_mut().poll(cx) {
                Poll::Ready(response) => response,
                Poll::Pending => {
                    self.state = State::Coming(future);
                    return Poll::Pending;
                }
            },
            State::Gone => return Poll::Pending,
        };
        Poll::Ready(Ok(answer(response, self.exchange.take())))
    }
}

/// Turns an answer into hyper's form. RFC 9113 §8.3.2, §8.2.2: no reason phrase, no connection fields.
fn answer<S: Service>(
    response: Response,
    exchange: Option<Rc<Exchange<S>>>,
) -> http::Response<AnswerBody<S>> {
    let Response { status, extra, lines, body, outcome, .. } = response;
    let to_head = exchange.as_ref().is_some_and(|exchange| exchange.request.method == http::Method::HEAD);
    let mut fields = match (&lines, &exchange) {
        (Lines::Stored(stored), Some(exchange)) => exchange.connection.heads.fields(stored),
        (Lines::Stored(stored), None) => stored.fields(),
        (Lines::Own(lines), _) => {
            let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
            append(&mut fields, lines);
            fields
        }
    };
    append(&mut fields, &Bytes::from(extra));
    let length = announced(status, &body, to_head);
    if let Some(length) = length {
        fields.insert(http::header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    if let Some(exchange) = &exchange {
        exchange.status.set(status.as_u16());
        exchange.outcome.replace(outcome);
    }
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
    let body = AnswerBody { source, left, waiting: false, exchange };
    if body.left == Some(0) {
        body.end();
    }
    let mut answer = http::Response::new(body);
    *answer.status_mut() = status;
    *answer.headers_mut() = fields;
    answer
}

/// What `content-length` says, if anything.
fn announced(status: StatusCode, body: &Body, to_head: bool) -> Option<u64> {
    match (body, status) {
        (Body::Omitted(length), StatusCode::NOT_MODIFIED) => *length,
        (_, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT) => None,
        (body, _) if to_head => body.length(),
        (Body::None | Body::Omitted(_), _) => Some(0),
        (body, _) => body.length(),
    }
}

/// Reads `name: value CRLF …` into `fields`; values share the bytes. Lines were rendered by us: what is no field is
/// left out, and so is what only HTTP/1 may say.
pub(super) fn append(fields: &mut HeaderMap, lines: &Bytes) {
    let mut rest = &lines[..];
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, later) = rest.split_at(end + 1);
        rest = later;
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            continue;
        };
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(lines.slice_ref(value)))
        else {
            continue;
        };
        if !is_of_http1(&name) {
            fields.append(name, value);
        }
    }
}

fn is_of_http1(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == TE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The body of an answer, pulled by hyper.
pub(super) struct AnswerBody<S: Service> {
    source: Source,
    /// Bytes still to come, if their number is known.
    left: Option<u64>,
    /// Counted among the connection's bodies that wait for their source.
    waiting: bool,
    exchange: Option<Rc<Exchange<S>>>,
}

enum Source {
    None,
    One(Bytes),
    Pieces(BodyPieces),
    Stream(Pin<Box<dyn Stream>>),
}

impl<S: Service> AnswerBody<S> {
    fn end(&self) {
        if let Some(exchange) = &self.exchange {
            exchange.ended.set(true);
        }
    }

    fn wait(&mut self, waiting: bool) {
        if self.waiting != waiting
            && let Some(exchange) = &self.exchange
        {
            exchange.connection.source_waits(waiting);
            self.waiting = waiting;
        }
    }

    fn poll_source(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        match &mut self.source {
            Source::None => Poll::Ready(None),
            Source::One(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::None;
                Poll::Ready(Some(Ok(bytes)))
            }
            Source::Pieces(pieces) => Poll::Ready(pieces.next().map(Ok)),
            Source::Stream(stream) => {
                let polled = stream.as_mut().poll_next(cx);
                self.wait(polled.is_pending());
                polled
            }
        }
    }
}

impl<S: Service> http_body::Body for AnswerBody<S> {
    type Data = Piece<S>;
    type Error = Cut;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece<S>>, Cut>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        match ready!(self.poll_source(cx)) {
            Some(Ok(bytes)) => {
                let length = bytes.len() as u64;
                if let Some(left) = &mut self.left {
                    // More than was announced: cut, or the client would take the surplus for what follows.
                    let Some(after) = left.checked_sub(length) else { return Poll::Ready(Some(Err(Cut))) };
                    *left = after;
                }
                if self.left == Some(0) {
                    self.end();
                }
                if let Some(exchange) = &self.exchange {
                    exchange.handed.set(exchange.handed.get() + length);
                }
                Poll::Ready(Some(Ok(Frame::data(Piece { bytes, exchange: self.exchange.clone() }))))
            }
            Some(Err(cut)) => Poll::Ready(Some(Err(cut))),
            None if self.left.is_none() => {
                self.end();
                Poll::Ready(None)
            }
            // Less than was announced.
            None => Poll::Ready(Some(Err(Cut))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.left == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

impl<S: Service> Drop for AnswerBody<S> {
    fn drop(&mut self) {
        self.wait(false);
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
