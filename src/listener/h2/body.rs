//! The body of an answer on its way into DATA frames.
//!
//! At most one piece is held beside what its source holds; a frame is cut off it when both windows and the
//! connection's buffer have room. Invariant: a body that ends short of what was announced, or goes beyond it, is cut and never ends
//! cleanly. RFC 9113 §6.1, §6.9, §8.1.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use cache_store::entry::BodyPieces;
use http::StatusCode;

use super::frame::{DATA, END_STREAM, FrameHead};
use super::heads;
use super::hpack;
use super::tunnel::Carrier;
use super::wake::StreamWaker;
use crate::config::limits::H2_DATA_BYTES_MAX;
use crate::listener::budget::Budget;
use crate::listener::trailers::Trailers;
use crate::respond::response::{Body, Cut, Stream};

/// A body under way.
pub(super) struct Outgoing {
    source: Source,
    /// Bytes still to come from the source, if their number is known.
    left: Option<u64>,
    /// Fields may follow.
    trails: bool,
    /// The rest of the piece at hand.
    piece: Bytes,
    /// The source has said `Pending` and not woken the stream since.
    pub(super) waits: bool,
}

enum Source {
    None,
    One(Bytes),
    Pieces(BodyPieces),
    Stream(Pin<Box<dyn Stream>>),
    /// The origin's half of a tunnel.
    Tunnel(Box<Carrier>),
}

/// What a step came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// A frame with so many bytes.
    Sent(u32),
    /// The last frame, with so many bytes.
    Ended(u32),
    /// Bytes are here, and a window forbids to send them.
    Blocked,
    /// None are here.
    Waits,
    /// There will be no end.
    Cut,
    /// The source panicked.
    Panicked,
}

/// Where frames go.
pub(super) struct Pipe<'a> {
    pub(super) out: &'a mut Vec<u8>,
    /// The connection's window.
    pub(super) window: &'a mut i64,
    pub(super) budget: &'a mut Budget,
}

impl Outgoing {
    /// The body of an answer with this status; `None` if there is nothing to send.
    pub(super) fn of(status: StatusCode, body: Body, to_head: bool) -> Option<Self> {
        if to_head || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return None;
        }
        let (source, left) = match body {
            Body::None | Body::Omitted(_) | Body::Tunnel(_) => return None,
            Body::Bytes(bytes) => {
                let left = bytes.len() as u64;
                (Source::One(bytes), Some(left))
            }
            Body::Stored(stored) => (Source::Pieces(stored.body()), Some(stored.body_len())),
            Body::Stream { length, source } => (Source::Stream(source), length),
        };
        let trails = matches!(&source, Source::Stream(stream) if stream.may_trail());
        (left != Some(0)).then_some(Self { source, left, trails, piece: Bytes::new(), waits: false })
    }

    /// What comes by a tunnel.
    pub(super) const fn through(carrier: Box<Carrier>) -> Self {
        Self { source: Source::Tunnel(carrier), left: None, trails: false, piece: Bytes::new(), waits: false }
    }

    /// Whether it comes by a tunnel.
    pub(super) const fn is_tunnel(&self) -> bool {
        matches!(self.source, Source::Tunnel(_))
    }

    /// The tunnel that it comes by.
    pub(super) fn carrier(&mut self) -> Option<&mut Carrier> {
        match &mut self.source {
            Source::Tunnel(carrier) => Some(carrier),
            _ => None,
        }
    }

    /// Takes out the tunnel that it came by, if the client still sends.
    pub(super) fn take_tail(&mut self) -> Option<Box<Carrier>> {
        match std::mem::replace(&mut self.source, Source::None) {
            Source::Tunnel(carrier) if !carrier.is_up_over() => Some(carrier),
            _ => None,
        }
    }

    /// Bytes of it, if that is known.
    pub(super) const fn length(&self) -> Option<u64> {
        self.left
    }

    /// Whether all of it is here, so that no waker is needed.
    pub(super) const fn is_here(&self) -> bool {
        !matches!(self.source, Source::Stream(_) | Source::Tunnel(_))
    }

    /// Sends one frame, if there is something to send and it may be sent. `waker` is the stream's.
    pub(super) fn step(
        &mut self,
        stream: u32,
        window: &mut i64,
        waker: Option<&StreamWaker>,
        pipe: &mut Pipe<'_>,
    ) -> Step {
        while self.piece.is_empty() {
            match catch_unwind(AssertUnwindSafe(|| self.next(waker))) {
                Ok(Poll::Ready(Some(Ok(piece)))) => {
                    if let Some(left) = &mut self.left {
                        // More than was announced: a client would take the surplus for what follows.
                        let Some(rest) = left.checked_sub(piece.len() as u64) else { return Step::Cut };
                        *left = rest;
                    }
                    self.piece = piece;
                }
                Ok(Poll::Ready(None)) if self.left.unwrap_or_default() == 0 => {
                    return match self.trailers() {
                        None => pipe.frame(stream, window, &[], true),
                        Some(trailers) => pipe.trailers(stream, &trailers),
                    };
                }
                // Less than was announced.
                Ok(Poll::Ready(None | Some(Err(Cut)))) => return Step::Cut,
                Ok(Poll::Pending) => {
                    self.waits = true;
                    return Step::Waits;
                }
                Err(_) => return Step::Panicked,
            }
        }
        let room = (*window).min(*pipe.window).min(H2_DATA_BYTES_MAX);
        let Some(room) = usize::try_from(room).ok().filter(|room| *room > 0) else { return Step::Blocked };
        let length = self.piece.len().min(room);
        let last = self.left == Some(0) && length == self.piece.len() && !self.trails;
        let step = pipe.frame(stream, window, self.piece.get(..length).unwrap_or_default(), last);
        self.piece.advance(length);
        step
    }

    fn trailers(&mut self) -> Option<Box<Trailers>> {
        match &mut self.source {
            Source::Stream(stream) if self.trails => stream.as_mut().trailers(),
            _ => None,
        }
    }

    fn next(&mut self, waker: Option<&StreamWaker>) -> Poll<Option<Result<Bytes, Cut>>> {
        match &mut self.source {
            Source::None => Poll::Ready(None),
            Source::One(bytes) => {
                let bytes = std::mem::take(bytes);
                self.source = Source::None;
                Poll::Ready(Some(Ok(bytes)))
            }
            Source::Pieces(pieces) => Poll::Ready(pieces.next().map(Ok)),
            Source::Stream(stream) => match waker {
                Some(waker) => stream.as_mut().poll_next(&mut Context::from_waker(waker.arm())),
                // Whoever has no waker asks again with one.
                None => Poll::Pending,
            },
            Source::Tunnel(carrier) => match waker {
                Some(waker) => carrier.poll_down(&mut Context::from_waker(waker.arm())),
                None => Poll::Pending,
            },
        }
    }
}

impl Pipe<'_> {
    /// Appends a section of trailers, which ends the stream. RFC 9113 §8.1.
    fn trailers(&mut self, stream: u32, trailers: &Trailers) -> Step {
        let mut lines = Vec::new();
        trailers.write(&mut lines);
        heads::frames(self.out, stream, true, |out| {
            hpack::append_lines(out, &lines, false);
        });
        self.budget.answered();
        Step::Ended(0)
    }

    /// Appends a DATA frame. `bytes` fit a frame and both windows.
    #[inline]
    pub(super) fn frame(&mut self, stream: u32, window: &mut i64, bytes: &[u8], last: bool) -> Step {
        let length = u32::try_from(bytes.len()).unwrap_or_default();
        let flags = if last { END_STREAM } else { 0 };
        self.out.extend_from_slice(&FrameHead { length, kind: DATA, flags, stream }.bytes());
        self.out.extend_from_slice(bytes);
        *window -= i64::from(length);
        *self.window -= i64::from(length);
        self.budget.sent(length);
        if last {
            self.budget.answered();
            Step::Ended(length)
        } else {
            Step::Sent(length)
        }
    }
}
