//! A connection over memory with a scripted service, a clock that is moved by hand, and counted calls of the socket.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::io::{self, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_store::entry::{Parts, StoredResponse};
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, VarySpec};
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::{JoinHandle, LocalSet};

use super::super::{ConnectionContext, ConnectionEnd, DateLine, Transport, serve_connection};
use crate::clock::Clock;
use crate::config::limits::Limits;
use crate::listener::deadline::Deadlines;
use crate::listener::request::{Client, Request, RequestBody, Scheme};
use crate::listener::service::{self, Finished, Served, Service};
use crate::respond::response::{Body, Cut, Lines, Outcome, Response, Stream};
use crate::shutdown::Drain;

/// Everything around connections.
pub(super) struct Stage {
    pub(super) service: Rc<Script>,
    pub(super) clock: Clock,
    pub(super) deadlines: Deadlines,
    pub(super) drain: Drain,
    pub(super) limits: Limits,
    /// Bytes between client and server in each direction before the writer waits.
    pub(super) pipe_bytes: usize,
}

/// A service that does what the test says and remembers what it was asked.
pub(super) struct Script {
    serve: Box<dyn Fn(&mut Request) -> Served>,
    /// Targets in the order asked.
    pub(super) seen: RefCell<Vec<String>>,
    pub(super) finished: RefCell<Vec<Done>>,
    pub(super) refused: RefCell<Vec<(u16, &'static str)>>,
}

/// A reported end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) target: String,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    pub(super) complete: bool,
}

/// The client's end of a connection.
pub(super) struct Talk {
    pub(super) io: DuplexStream,
    pub(super) task: JoinHandle<ConnectionEnd>,
    pub(super) reads: Rc<Cell<usize>>,
    pub(super) writes: Rc<Cell<usize>>,
}

impl Stage {
    pub(super) fn new(serve: impl Fn(&mut Request) -> Served + 'static) -> Self {
        Self {
            service: Rc::new(Script {
                serve: Box::new(serve),
                seen: RefCell::default(),
                finished: RefCell::default(),
                refused: RefCell::default(),
            }),
            clock: Clock::manual(Timestamp::from_secs(784_111_777)),
            deadlines: Deadlines::default(),
            drain: Drain::default(),
            limits: Limits::default(),
            pipe_bytes: 1024 * 1024,
        }
    }

    /// Opens a connection; to be called within [`local`].
    pub(super) fn connect(&self) -> Talk {
        let (client, server) = tokio::io::duplex(self.pipe_bytes);
        let (reads, writes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let counted = Counted { io: server, reads: Rc::clone(&reads), writes: Rc::clone(&writes) };
        let context = ConnectionContext {
            clock: self.clock.clone(),
            limits: Arc::new(self.limits.clone()),
            deadline: self.deadlines.register(),
            client: Arc::new(Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), None)),
            scheme: Scheme::Http,
            drain: self.drain.clone(),
            date: Rc::new(DateLine::default()),
            buffers: Rc::default(),
        };
        let service = Rc::clone(&self.service);
        let task =
            tokio::task::spawn_local(async move { serve_connection(counted, &*service, context).await });
        Talk { io: client, task, reads, writes }
    }

    /// Moves the clock and sweeps, as a worker does.
    pub(super) async fn advance(&self, secs: u64) {
        settle().await;
        self.clock.advance(std::time::Duration::from_secs(secs));
        self.deadlines.sweep(self.clock.now());
        settle().await;
    }

    pub(super) fn done(&self) -> Vec<Done> {
        self.service.finished.borrow().clone()
    }

    pub(super) fn seen(&self) -> Vec<String> {
        self.service.seen.borrow().clone()
    }
}

impl Talk {
    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.io.write_all(bytes.as_ref()).await.expect("the server reads");
    }

    /// Reads until what was read ends with `end`, or the server's end.
    pub(super) async fn until(&mut self, end: &str) -> String {
        let (mut text, mut buffer) = (Vec::new(), vec![0; 65536]);
        while !text.ends_with(end.as_bytes()) {
            match self.io.read(&mut buffer).await.expect("reading from a pipe does not fail") {
                0 => break,
                count => text.extend_from_slice(&buffer[..count]),
            }
        }
        String::from_utf8(text).expect("scripts speak ASCII")
    }

    /// Everything up to the server's end.
    pub(super) async fn rest(&mut self) -> String {
        let mut text = String::new();
        self.io.read_to_string(&mut text).await.expect("reading from a pipe does not fail");
        text
    }

    /// Leaves and tells how the connection ended.
    pub(super) async fn end(self) -> ConnectionEnd {
        drop(self.io);
        self.task.await.expect("a connection does not panic")
    }
}

impl Service for Script {
    fn serve(&self, request: &mut Request) -> Served {
        self.seen.borrow_mut().push(String::from_utf8_lossy(request.target()).into_owned());
        (self.serve)(request)
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        self.finished.borrow_mut().push(Done {
            target: String::from_utf8_lossy(request.target()).into_owned(),
            status: finished.status,
            body_bytes: finished.body_bytes,
            complete: finished.complete,
        });
    }

    fn refused(&self, status: StatusCode, reason: &'static str, _: &Arc<Client>) -> Response {
        self.refused.borrow_mut().push((status.as_u16(), reason));
        service::refusal(status, reason)
    }
}

/// Runs a test in which connections are tasks of one thread.
pub(super) async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

/// Lets everything that can run do so.
pub(super) async fn settle() {
    for _ in 0..32 {
        tokio::task::yield_now().await;
    }
}

pub(super) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")
}

pub(super) fn answer(status: u16, body: Body) -> Response {
    Response {
        status: StatusCode::from_u16(status).expect("a status"),
        extra: Vec::new(),
        lines: Lines::Own(Bytes::from_static(b"Date: D\r\n")),
        body,
        outcome: Outcome::default(),
        close: false,
    }
}

pub(super) fn text(status: u16, body: &str) -> Response {
    answer(status, Body::Bytes(Bytes::copy_from_slice(body.as_bytes())))
}

/// The response to every request: a stored one, as on a hit.
pub(super) fn stored(body: &[u8]) -> Response {
    let mut fields = HeaderMap::new();
    fields.insert(HeaderName::from_static("date"), HeaderValue::from_static("D"));
    let stored = Arc::new(StoredResponse::new(Parts {
        status: StatusCode::OK,
        fields,
        body: vec![Bytes::copy_from_slice(body)],
        freshness: Freshness::new(
            Timestamp::from_secs(1),
            std::time::Duration::ZERO,
            60,
            Windows::default(),
            Freshness::EXPLICIT,
        ),
        vary: VarySpec::default(),
        tags: Box::default(),
        held: None,
        large: None,
        epoch: 0,
    }));
    Response { lines: Lines::Stored(Arc::clone(&stored)), ..answer(200, Body::Stored(stored)) }
}

pub(super) fn later(answer: impl Future<Output = Response> + Send + 'static) -> Served {
    Served::later(answer)
}

/// Pulls a body to its end.
pub(super) async fn pull(mut body: RequestBody) -> Result<Vec<u8>, crate::listener::request::BodyError> {
    use http_body::Body as _;
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        if let Ok(data) = frame?.into_data() {
            bytes.extend_from_slice(&data);
        }
    }
    Ok(bytes)
}

/// A source of pieces; counts how many were pulled.
pub(super) struct Pieces {
    pub(super) left: Vec<Result<Bytes, Cut>>,
    pub(super) pulled: Arc<std::sync::atomic::AtomicUsize>,
}

impl Pieces {
    pub(super) fn new(mut pieces: Vec<Result<Bytes, Cut>>) -> Self {
        pieces.reverse();
        Self { left: pieces, pulled: Arc::default() }
    }
}

impl Stream for Pieces {
    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.pulled.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Poll::Ready(self.get_mut().left.pop())
    }
}

/// Counts calls that move bytes.
struct Counted {
    io: DuplexStream,
    reads: Rc<Cell<usize>>,
    writes: Rc<Cell<usize>>,
}

impl Transport for Counted {}

impl AsyncRead for Counted {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_read(cx, buf);
        if polled.is_ready() {
            this.reads.set(this.reads.get() + 1);
        }
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let polled = Pin::new(&mut this.io).poll_write(cx, buf);
        if polled.is_ready() {
            this.writes.set(this.writes.get() + 1);
        }
        polled
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_write(cx, &bufs.iter().flat_map(|buf| buf.iter().copied()).collect::<Vec<u8>>())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().io).poll_shutdown(cx)
    }
}
