//! One connection to an origin, and a request and its response on it.
//!
//! The request itself drives it: there is no task a connection, and nothing is read that nobody asked for. `pool.rs` begins
//! a request ([`Connection::begin`]) and waits for the head ([`Connection::poll_head`]); `body.rs` pulls what follows
//! ([`Connection::poll_data`]). A request's body goes on being sent meanwhile. Between requests `connections.rs` keeps it, and
//! it holds no buffer.
//!
//! ```text
//! begin ─► writing the request ─┬─► head ─► data … ─► done ─► kept | closed
//!                               └─ body of the request, as the client brings it
//! ```
//!
//! Invariant: what the scanner objected to is told, and the connection not read again. RFC 9112 §9.3, §9.5.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use cache_store::timestamp::Timestamp;
use tokio::io::ReadBuf;
use tokio::runtime::{Handle, Id};

use super::Surplus;
use super::error::{Finding, OriginError};
use super::framing::{Framing, Scanner};
use super::patience::Patience;
use super::response::Received;
use super::timer::Timer;
use super::upload::Upload;
use super::wire::Socket;
use crate::clock::Clock;
use crate::config::limits::{ORIGIN_READ_BYTES, ORIGIN_RENDER_BYTES_KEPT};

/// An open connection on which at most one request is under way.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools)] // four independent facts, not states
pub(crate) struct Connection {
    socket: Socket,
    /// The runtime that it is registered with.
    home: Option<Id>,
    /// The name that TLS was verified for.
    name: Option<Arc<str>>,
    /// The client that the origin was told of.
    client: Option<SocketAddr>,
    scanner: Scanner,
    /// Rendered; the first `sent` bytes of it are written.
    out: Vec<u8>,
    sent: usize,
    /// Whether it has carried a request before.
    kept: bool,
    /// Whether not a byte of the request has been written.
    unsent: bool,
    /// Whether a byte of the response has been read.
    answered: bool,
    /// The origin takes no more of the request.
    deaf: bool,
    timer: Timer,
    pub(super) idle_since: Timestamp,
}

impl Connection {
    /// Over `socket`, verified for `name` where it is encrypted, introduced with `client` where it is at all.
    pub(crate) fn new(socket: Socket, name: Option<Arc<str>>, client: Option<SocketAddr>) -> Self {
        Self {
            socket,
            home: home(),
            name,
            client,
            scanner: Scanner::default(),
            out: Vec::new(),
            sent: 0,
            kept: false,
            unsent: true,
            answered: false,
            deaf: false,
            timer: Timer::default(),
            idle_since: Timestamp::default(),
        }
    }

    /// Whether it may serve requests for `name`, and of `client`.
    pub(super) fn is_for(&self, name: Option<&str>, client: Option<SocketAddr>) -> bool {
        self.name.as_deref() == name && self.client == client
    }

    /// Whether it is registered with this runtime.
    pub(super) fn is_at(&self, home: Option<Id>) -> bool {
        self.home == home
    }

    /// Takes it into use again; whether the origin still waits for a request on it, and nothing else.
    pub(super) fn resume(&mut self, home: Option<Id>) -> bool {
        if !self.is_silent() {
            return false;
        }
        if self.home != home {
            self.timer = Timer::default();
            if self.socket.adopt().is_err() {
                return false;
            }
            self.home = home;
        }
        self.kept = true;
        true
    }

    /// Whether the origin has neither closed it nor spoken.
    pub(super) fn is_silent(&mut self) -> bool {
        self.socket.is_silent()
    }

    /// A request goes out: its head, by `render`, before anything else.
    pub(crate) fn begin(
        &mut self,
        to_head_request: bool,
        surplus: Surplus,
        render: impl FnOnce(&mut Vec<u8>),
    ) {
        self.scanner.begin(to_head_request, surplus);
        (self.unsent, self.answered, self.deaf, self.sent) = (true, false, false, 0);
        self.out = RENDERED.take();
        render(&mut self.out);
    }

    /// The request begun asks for another protocol.
    pub(crate) fn may_switch(&mut self) {
        self.scanner.may_switch();
    }

    /// Whether the origin has gone over to another protocol.
    pub(crate) fn has_switched(&self) -> bool {
        self.scanner.has_switched()
    }

    /// What is below it, for another protocol.
    pub(crate) fn into_socket(self: Box<Self>) -> Socket {
        self.socket
    }

    /// Whether it had carried a request before this one.
    pub(crate) const fn kept(&self) -> bool {
        self.kept
    }

    /// Whether not a byte of the request has been written.
    pub(crate) const fn unsent(&self) -> bool {
        self.unsent
    }

    /// Whether a byte of the response has been read.
    pub(crate) const fn answered(&self) -> bool {
        self.answered
    }

    /// How the body is framed, and the length its head declares.
    pub(crate) fn framing(&self) -> (Framing, Option<u64>) {
        (self.scanner.framing(), self.scanner.declared_length())
    }

    /// Whether nothing more belongs to the response.
    pub(crate) fn is_done(&self) -> bool {
        self.scanner.is_done()
    }

    /// Whether it may carry another request, this one having been sent whole.
    pub(crate) fn is_reusable(&self) -> bool {
        self.scanner.reusable() && self.out.is_empty() && !self.deaf
    }

    /// Sends the request begun, and is ready when the head of its response is there. Cancel by dropping the connection.
    ///
    /// # Errors
    /// Why there is no head.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        received: &mut Received,
        patience: &mut Patience,
        clock: &Clock,
    ) -> Poll<Result<(), OriginError>> {
        self.send(cx, upload)?;
        while let Poll::Ready(count) = self.receive(cx, received) {
            if count? == 0 {
                return Poll::Ready(Err(OriginError::Reset));
            }
            if self.scanner.has_head() {
                return Poll::Ready(Ok(()));
            }
        }
        patience.poll(cx, &mut self.timer, clock, upload).map(Err)
    }

    /// More of the body into `received`; false at its proven end.
    ///
    /// # Errors
    /// Why what came is not the whole.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        received: &mut Received,
    ) -> Poll<Result<bool, OriginError>> {
        if self.scanner.is_done() {
            return Poll::Ready(Ok(false));
        }
        self.send(cx, upload)?;
        match ready!(self.receive(cx, received)) {
            // Only a clean end ends a body without framing.
            Ok(0) if self.scanner.whole() => Poll::Ready(Ok(false)),
            Ok(0) | Err(OriginError::Reset) => Poll::Ready(Err(OriginError::BodyCut)),
            Ok(_) => Poll::Ready(Ok(true)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    /// Ready when `due` has passed.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Timestamp) -> Poll<()> {
        self.timer.poll(cx, clock, due)
    }

    /// Writes what is rendered and what there is of the body, as far as the origin takes it now. One that takes no more may
    /// answer all the same.
    fn send(&mut self, cx: &mut Context<'_>, upload: &mut Upload) -> Result<(), OriginError> {
        while !self.deaf {
            upload.fill(cx, &mut self.out).map_err(OriginError::RequestBody)?;
            let Some(rest) = self.out.get(self.sent..).filter(|rest| !rest.is_empty()) else { break };
            match self.socket.poll_write(cx, rest) {
                Poll::Ready(Ok(count)) if count > 0 => {
                    self.unsent = false;
                    self.sent = self.sent.saturating_add(count);
                }
                Poll::Ready(_) => {
                    self.deaf = true;
                    break;
                }
                Poll::Pending => return Ok(()),
            }
            if self.sent == self.out.len() {
                self.written();
            }
        }
        if matches!(self.socket.poll_flush(cx), Poll::Ready(Err(_))) {
            self.deaf = true;
        }
        Ok(())
    }

    /// Everything rendered is written: whoever waits for an origin holds no buffer.
    fn written(&mut self) {
        let mut out = std::mem::take(&mut self.out);
        self.sent = 0;
        if out.capacity() <= ORIGIN_RENDER_BYTES_KEPT {
            out.clear();
            RENDERED.set(out);
        }
    }

    /// Reads once; how many bytes came.
    fn receive(&mut self, cx: &mut Context<'_>, received: &mut Received) -> Poll<Result<usize, OriginError>> {
        SCRATCH.with_borrow_mut(|scratch| {
            let mut buffer = ReadBuf::new(scratch);
            let outcome: io::Result<()> = ready!(self.socket.poll_read(cx, &mut buffer));
            outcome.map_err(|_| OriginError::Reset)?;
            let bytes = buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Ok(0));
            }
            if self.unsent {
                return Poll::Ready(Err(OriginError::Framing(Finding::Unsolicited)));
            }
            self.answered = true;
            self.scanner.read(bytes, received)?;
            Poll::Ready(Ok(bytes.len()))
        })
    }
}

/// The runtime that runs here.
pub(super) fn home() -> Option<Id> {
    Handle::try_current().ok().map(|handle| handle.id())
}

thread_local! {
    /// What is read goes through here, so that no connection holds a buffer while it waits.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; ORIGIN_READ_BYTES].into_boxed_slice());
    /// Memory for the head of the next request.
    static RENDERED: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}
