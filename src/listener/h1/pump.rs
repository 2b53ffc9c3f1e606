//! The body of a request on its way from the socket to whoever pulls it, while the answer is awaited.
//!
//! Nothing is read before the body is first pulled (then `100 Continue` goes out, if it was asked for), and no more
//! than `BODY_PIECES_MAX` pieces ahead of the puller: back-pressure reaches the client's socket. Made by
//! `connection.rs` for a request with a body; the far end is [`RequestBody::Channel`].
//!
//! ```text
//! not wanted ── pulled ──> open ── end ──> closed
//!      └──────── dropped ────┴── broken ──────┘
//! ```
//!
//! Invariant: the channel ends without an error only at the proven end of the body, even when the pump is dropped:
//! room for one error is kept from the beginning. RFC 9110 §10.1.1.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use tokio::sync::mpsc::error::SendError;
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio::sync::oneshot;

use super::body::{Decoded, Decoder, Malformed};
use super::head::BodyLength;
use super::socket::Socket;
use super::transport::Transport;
use crate::clock::Clock;
use crate::config::limits::{BODY_PIECES_MAX, BODY_READ_BYTES, DRAIN_BYTES_MAX, Limits};
use crate::listener::request::{BodyError, RequestBody, TrailerSlot};

/// Moves one body.
pub(super) struct Pump {
    decoder: Decoder,
    link: Link,
    /// Kept for an error.
    last: Option<OwnedPermit<Frame>>,
    wanted: Option<oneshot::Receiver<()>>,
    /// Where what follows the body is left.
    trailers: Option<TrailerSlot>,
    /// The client waits for `100 Continue`.
    continue_due: bool,
    broken: bool,
    window: Option<Window>,
    clock: Clock,
    limits: Arc<Limits>,
}

/// What ends a body before its end.
#[derive(Debug)]
pub(super) enum Broken {
    /// The client closed.
    Gone,
    Failed(io::Error),
    Malformed(Malformed),
}

type Frame = Result<Bytes, BodyError>;
type Reservation = Pin<Box<dyn Future<Output = Result<OwnedPermit<Frame>, SendError<()>>> + Send>>;

enum Link {
    Ready(OwnedPermit<Frame>),
    Full(Reservation),
    Closed,
}

/// The window in which the body's rate is measured.
struct Window {
    ends: Timestamp,
    bytes: u64,
}

impl Pump {
    /// A pump and the body that it fills; `body` is not [`BodyLength::None`]. Trailers are kept where the client knows of them.
    pub(super) fn new(
        body: BodyLength,
        (expects_continue, keeps_trailers): (bool, bool),
        clock: &Clock,
        limits: &Arc<Limits>,
    ) -> (Self, RequestBody) {
        let (mut decoder, length) = match body {
            BodyLength::None => (Decoder::length(0), Some(0)),
            BodyLength::Exactly(length) => (Decoder::length(length), Some(length)),
            BodyLength::Chunked => (Decoder::chunked(limits.request_body_bytes_max), None),
        };
        let (sender, frames) = mpsc::channel(BODY_PIECES_MAX + 1);
        let (want, wanted) = oneshot::channel();
        let last = sender.clone().try_reserve_owned().ok();
        let trailers = (keeps_trailers && length.is_none()).then(TrailerSlot::default);
        if trailers.is_some() {
            decoder.keep_trailers();
        }
        let pump = Self {
            decoder,
            link: Link::of(sender),
            last,
            wanted: Some(wanted),
            trailers: trailers.clone(),
            continue_due: expects_continue,
            broken: false,
            window: None,
            clock: clock.clone(),
            limits: Arc::clone(limits),
        };
        let body = RequestBody::Channel { frames, length, ended: false, wanted: Some(want) };
        match trailers {
            None => (pump, body),
            Some(trailers) => (pump, RequestBody::Trailing { body: Box::new(body), trailers }),
        }
    }

    /// Moves what can be moved. Ready only when the body broke; a body that came to its end, or that nobody pulls any
    /// more, stays pending. May render `100 Continue` into the socket's buffer.
    pub(super) fn poll<IO: Transport>(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket<IO>,
    ) -> Poll<Broken> {
        loop {
            if matches!(self.link, Link::Closed) {
                return Poll::Pending;
            }
            if let Some(wanted) = &mut self.wanted {
                match Pin::new(wanted).poll(cx) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Err(_)) => return self.stop(),
                    Poll::Ready(Ok(())) => self.wanted = None,
                }
                if std::mem::take(&mut self.continue_due) {
                    socket.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
                }
            }
            match self.link.poll_ready(cx) {
                // Whoever pulls is slow, not the client.
                Poll::Pending => {
                    self.window = None;
                    return Poll::Pending;
                }
                Poll::Ready(false) => return self.stop(),
                Poll::Ready(true) => {}
            }
            match self.decoder.decode(&mut socket.input) {
                Ok(Decoded::Data(data)) => {
                    if let Some(window) = &mut self.window {
                        window.bytes = window.bytes.saturating_add(data.len() as u64);
                    }
                    self.link.send(data);
                }
                Ok(Decoded::End) => {
                    if let Some(slot) = self.trailers.take() {
                        *slot.lock() = self.decoder.take_trailers();
                    }
                    self.last = None;
                    return self.stop();
                }
                Ok(Decoded::NeedMore) => match socket.poll_fill(cx, BODY_READ_BYTES) {
                    Poll::Ready(Ok(0)) => return Poll::Ready(self.fail(BodyError::Closed, Broken::Gone)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => {
                        return Poll::Ready(self.fail(BodyError::Closed, Broken::Failed(error)));
                    }
                    Poll::Pending => {
                        self.window.get_or_insert_with(|| Window {
                            ends: self.clock.now().plus(self.limits.body_rate_window),
                            bytes: 0,
                        });
                        return Poll::Pending;
                    }
                },
                Err(error @ Malformed::TooLong) => {
                    return Poll::Ready(self.fail(BodyError::TooLong, Broken::Malformed(error)));
                }
                Err(error) => {
                    return Poll::Ready(self.fail(BodyError::Malformed, Broken::Malformed(error)));
                }
            }
        }
    }

    /// Whether it waits for bytes of the socket.
    pub(super) fn is_reading(&self) -> bool {
        self.window.is_some()
    }

    /// When the rate is next to be checked, if it is being measured.
    pub(super) fn due(&self) -> Option<Timestamp> {
        self.window.as_ref().map(|window| window.ends)
    }

    /// Ends a window that is over at `now`; false if the body came too slowly in it.
    pub(super) fn keeps_up(&mut self, now: Timestamp) -> bool {
        match &self.window {
            Some(window) if window.ends <= now => {
                let enough = window.bytes >= self.limits.body_rate_bytes_min;
                if enough {
                    self.window = Some(Window { ends: now.plus(self.limits.body_rate_window), bytes: 0 });
                } else {
                    self.fail(BodyError::TooSlow, Broken::Gone);
                }
                enough
            }
            _ => true,
        }
    }

    /// Whether the connection cannot be kept once the answer is sent: the rest of the body is unreadable, too much to be
    /// drained, or may or may not come.
    pub(super) fn prevents_reuse(&self) -> bool {
        self.broken
            || (self.continue_due && !self.decoder.is_ended())
            || self.decoder.remaining().is_some_and(|left| left > DRAIN_BYTES_MAX)
    }

    /// Takes the decoder to drain what has not been read; whoever pulls learns that no more will come.
    pub(super) fn into_rest(mut self) -> Decoder {
        std::mem::replace(&mut self.decoder, Decoder::length(0))
    }

    fn stop(&mut self) -> Poll<Broken> {
        self.link = Link::Closed;
        self.window = None;
        Poll::Pending
    }

    fn fail(&mut self, error: BodyError, why: Broken) -> Broken {
        self.broken = true;
        self.window = None;
        self.link = Link::Closed;
        if let Some(permit) = self.last.take() {
            permit.send(Err(error));
        }
        why
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        if let Some(permit) = self.last.take() {
            permit.send(Err(BodyError::Closed));
        }
    }
}

impl Link {
    fn of(sender: mpsc::Sender<Frame>) -> Self {
        match sender.try_reserve_owned() {
            Ok(permit) => Self::Ready(permit),
            Err(mpsc::error::TrySendError::Full(sender)) => Self::Full(Box::pin(sender.reserve_owned())),
            Err(mpsc::error::TrySendError::Closed(_)) => Self::Closed,
        }
    }

    /// Ready with whether the far end is still there.
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Self::Full(reservation) = self {
            match reservation.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(permit)) => *self = Self::Ready(permit),
                Poll::Ready(Err(_)) => *self = Self::Closed,
            }
        }
        Poll::Ready(matches!(self, Self::Ready(_)))
    }

    fn send(&mut self, data: Bytes) {
        if let Self::Ready(permit) = std::mem::replace(self, Self::Closed) {
            *self = Self::of(permit.send(Ok(data)));
        }
    }
}
