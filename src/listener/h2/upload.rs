//! The body of a request on an HTTP/2 stream, pulled by the walk.
//!
//! h2 holds the client to its `content-length` and to its windows; bytes count against a window until they are pulled.
//! Invariant: only `END_STREAM` ends it well. A stream that is reset within its body, with whatever code, has broken off.
//! RFC 9113 §5.2, §8.1.

use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::RecvStream;

use crate::listener::request::BodyError;

/// A request body that is not empty.
#[derive(Debug)]
pub struct Upload {
    stream: RecvStream,
    /// Bytes still to come, if the client said how many.
    length: Option<u64>,
    /// Bytes that may still come before it is too long.
    room: u64,
}

impl Upload {
    /// `length` is what `content-length` said; more than `room` bytes are too many.
    pub(super) fn new(stream: RecvStream, length: Option<u64>, room: u64) -> Self {
        Self { stream, length, room }
    }

    /// The next bytes, an error once, or the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let Some(data) = ready!(self.stream.poll_data(cx)) else {
            // Trailers of a request are dropped (FAULTS S6), but a reset in place of them is not its end.
            let trailers = ready!(self.stream.poll_trailers(cx));
            return Poll::Ready(trailers.is_err().then_some(Err(BodyError::Closed)));
        };
        let Ok(data) = data else { return Poll::Ready(Some(Err(BodyError::Closed))) };
        let Some(room) = self.room.checked_sub(data.len() as u64) else {
            return Poll::Ready(Some(Err(BodyError::TooLong)));
        };
        self.room = room;
        self.length = self.length.map(|left| left.saturating_sub(data.len() as u64));
        // The window opens again as fast as the origin takes what came. h2 knows of every byte it handed out.
        let _ = self.stream.flow_control().release_capacity(data.len());
        Poll::Ready(Some(Ok(data)))
    }

    /// Whether the end was seen.
    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    /// Bytes still to come, if that is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }
}
