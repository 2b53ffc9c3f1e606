//! A connection over memory, for tests and `tests/fuzz`: a client's bytes in pieces, and what came of them.
//!
//! The service answers at once, but for bodies: those it pulls to their end. Nothing here waits for anything, so what comes of the
//! same bytes should not depend on how they are cut.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::StatusCode;
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::connection::Connection;
use super::{Ended, Worker};
use crate::clock::Clock;
use crate::config::Limits;
use crate::listener::deadline::Deadlines;
use crate::listener::h1::{ConnectionContext, DateLine};
use crate::listener::request::{Client, Request, Scheme};
use crate::listener::service::{Finished, Served, Service};
use crate::listener::stats::ListenerStats;
use crate::respond::response::{Body, Lines, Outcome, Response};
use crate::shutdown::Drain;

/// What came of a client's bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(unreachable_pub)] // the doors of `tests/fuzz` hand it on
pub struct Rehearsed {
    /// How the connection ended, if it did, in words.
    pub ended: Option<String>,
    /// What was written.
    pub out: Vec<u8>,
    /// Targets of the requests that the service was asked, in order.
    pub served: Vec<Vec<u8>>,
    /// How many it was told the end of, when the connection was gone.
    pub finished: usize,
}

/// Plays a connection whose client sends these pieces and then nothing.
#[allow(unreachable_pub)] // as above
pub fn rehearse<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Rehearsed {
    let pieces: VecDeque<&[u8]> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    // A read each, and what the last of them causes.
    let turns = pieces.len() + TURNS;
    let mut io = Memory { pieces, out: Vec::new() };
    let (stage, worker) = (Stage::default(), Worker::default());
    let stats = Arc::new(ListenerStats::new(([127, 0, 0, 1], 1).into()));
    let mut connection = Connection::new(&stage, context(), &stats, (&worker.heads, &worker.kits));
    let mut cx = Context::from_waker(Waker::noop());
    let mut ended = None;
    for _ in 0..turns {
        if let Poll::Ready(end) = connection.turn(&mut io, &mut cx) {
            if let Some(code) = Ended::code(end) {
                connection.say_goodbye(code);
                let _ = connection.poll_goodbye(&mut io, &mut cx);
            }
            ended = Some(format!("{end:?}"));
            break;
        }
        connection.rest();
    }
    drop(connection);
    let Saw { served, finished } = stage.0.into_inner();
    Rehearsed { ended, out: io.out, served, finished }
}

fn context() -> ConnectionContext {
    ConnectionContext {
        clock: Clock::manual(Timestamp::from_secs(1000)),
        limits: Arc::new(Limits::default()),
        deadline: Deadlines::default().register(),
        client: Arc::new(Client::new(([127, 0, 0, 1], 1).into(), None)),
        scheme: Scheme::Https,
        drain: Drain::default(),
        date: Rc::new(DateLine::default()),
        buffers: Rc::default(),
    }
}

/// A socket that gives a piece a turn.
struct Memory<'b> {
    pieces: VecDeque<&'b [u8]>,
    out: Vec<u8>,
}

impl AsyncRead for Memory<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(piece) = self.pieces.front_mut() else { return Poll::Pending };
        let (now, later) = piece.split_at(piece.len().min(into.remaining()));
        into.put_slice(now);
        *piece = later;
        if later.is_empty() {
            self.pieces.pop_front();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Memory<'_> {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.out.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Default)]
struct Stage(RefCell<Saw>);

#[derive(Default)]
struct Saw {
    served: Vec<Vec<u8>>,
    finished: usize,
}

impl Service for Stage {
    fn serve(&self, request: &mut Request) -> Served {
        self.0.borrow_mut().served.push(request.target().to_vec());
        let mut body = std::mem::take(&mut request.body);
        if body.is_empty() {
            return Served::Now(reply(StatusCode::OK));
        }
        Served::later(async move {
            let mut status = StatusCode::OK;
            while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if frame.is_err() {
                    status = StatusCode::BAD_REQUEST;
                }
            }
            reply(status)
        })
    }

    fn finished(&self, _: &Request, _: &Finished<'_>) {
        self.0.borrow_mut().finished += 1;
    }
}

fn reply(status: StatusCode) -> Response {
    Response {
        status,
        extra: b"Age: 1\r\n".to_vec(),
        lines: Lines::Own(Bytes::from_static(b"Content-Type: text/plain\r\n")),
        body: Body::Bytes(Bytes::from_static(b"hello")),
        outcome: Outcome::default(),
        close: false,
    }
}

/// Turns behind the last piece.
const TURNS: usize = 4;
