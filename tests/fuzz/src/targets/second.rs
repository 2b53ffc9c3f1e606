//! The second opinion: hyper, given the same bytes.
//!
//! hyper runs on a wire that is made of the input and never makes it wait, so a connection is driven by polling it until
//! it comes to nothing more; no runtime, no socket, no time.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};

/// A message as hyper read it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Message {
    /// Method and target, or status.
    pub start: String,
    /// Names in lower case and values; in the order received for each name.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body as far as it came.
    pub body: Vec<u8>,
    /// Whether its end was seen.
    pub complete: bool,
}

/// The requests that hyper's server reads from these bytes, on a connection that stays open behind them.
pub fn requests(data: &[u8]) -> Vec<Message> {
    let read: Rc<RefCell<Vec<Message>>> = Rc::default();
    let service = hyper::service::service_fn(|request: http::Request<Incoming>| {
        let read = Rc::clone(&read);
        async move {
            let (parts, body) = request.into_parts();
            let start = format!("{} {}", parts.method, parts.uri);
            let at = read.borrow().len();
            read.borrow_mut().push(Message { start, fields: fields(&parts.headers), ..Message::default() });
            let note = |piece: Option<Bytes>| {
                if let Some(message) = read.borrow_mut().get_mut(at) {
                    message.complete = piece.is_none();
                    message.body.extend(piece.unwrap_or_default());
                }
            };
            pull(body, note).await;
            Ok::<_, Infallible>(http::Response::new(Empty))
        }
    });
    let wire = Wire { input: Bytes::copy_from_slice(data), ends: false, asked: true };
    drive(hyper::server::conn::http1::Builder::new().serve_connection(wire, service));
    read.take()
}

/// The response that hyper's client reads from these bytes, behind which the connection ends cleanly.
pub fn response(data: &[u8], to_head_request: bool) -> Option<Message> {
    let read: Rc<RefCell<Option<Message>>> = Rc::default();
    let wire = Wire { input: Bytes::copy_from_slice(data), ends: true, asked: false };
    let exchange = {
        let read = Rc::clone(&read);
        async move {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(wire).await.ok()?;
            let method = if to_head_request { http::Method::HEAD } else { http::Method::GET };
            let mut request = http::Request::new(Empty);
            *request.method_mut() = method;
            request.headers_mut().insert("host", http::HeaderValue::from_static("a"));
            let answered = async {
                let (parts, body) = sender.send_request(request).await.ok()?.into_parts();
                let start = parts.status.as_str().to_owned();
                *read.borrow_mut() =
                    Some(Message { start, fields: fields(&parts.headers), ..Message::default() });
                let note = |piece: Option<Bytes>| {
                    if let Some(message) = &mut *read.borrow_mut() {
                        message.complete = piece.is_none();
                        message.body.extend(piece.unwrap_or_default());
                    }
                };
                pull(body, note).await;
                Some(())
            };
            both(answered, connection).await
        }
    };
    drive(exchange);
    read.take()
}

/// Polls both until the first has come to its end.
async fn both<T>(first: impl Future<Output = T>, other: impl Future) -> T {
    let (mut first, mut other) = (pin!(first), pin!(other));
    let mut other_ended = false;
    std::future::poll_fn(|cx| {
        if let Poll::Ready(done) = first.as_mut().poll(cx) {
            return Poll::Ready(done);
        }
        other_ended = other_ended || other.as_mut().poll(cx).is_ready();
        first.as_mut().poll(cx)
    })
    .await
}

fn fields(map: &http::HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}

/// Pulls a body to its end or its failure; `note` gets each piece, and `None` at the end.
async fn pull(body: Incoming, mut note: impl FnMut(Option<Bytes>)) {
    let mut body = pin!(body);
    loop {
        match std::future::poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            Some(Ok(frame)) => note(Some(frame.into_data().unwrap_or_default())),
            Some(Err(_)) => return,
            None => return note(None),
        }
    }
}

/// Polls until it is done, or has had every chance to be: with all input there at once, hyper takes a few turns a message.
fn drive(future: impl Future) {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..TURNS_MAX {
        if future.as_mut().poll(&mut cx).is_ready() {
            return;
        }
    }
}

/// A socket that has received everything and takes everything.
struct Wire {
    input: Bytes,
    /// Whether the connection ends behind the input, rather than staying silent.
    ends: bool,
    /// Whether the peer may speak yet; a server answers when it has been asked.
    asked: bool,
}

impl Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.asked || (self.input.is_empty() && !self.ends) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let len = self.input.len().min(buffer.remaining());
        buffer.put_slice(&self.input.split_to(len));
        Poll::Ready(Ok(()))
    }
}

impl Write for Wire {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.asked = true;
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// No body.
struct Empty;

impl Body for Empty {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }
}

/// More turns than messages fit in an input.
const TURNS_MAX: usize = 600;
