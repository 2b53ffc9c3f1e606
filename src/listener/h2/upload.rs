//! The body of a request on an HTTP/2 stream: its two ends.
//!
//! The connection pours in what comes ([`Inlet`]), the walk pulls ([`Upload`]), perhaps on another thread. Bytes count against
//! the stream's and the connection's window until they are pulled, so what lies between the ends is never more than the
//! window; pieces are joined, so that a body of one-byte frames costs no more memory than its bytes.
//!
//! Invariant: only `END_STREAM` ends it well. A stream that is reset within its body, with whatever code, has broken off.
//! RFC 9113 §5.2, §8.1.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;

use super::wake::StreamWaker;
use crate::listener::request::BodyError;
use crate::listener::trailers::Trailers;

/// A request body that is not empty.
#[derive(Debug)]
pub struct Upload {
    shared: Arc<Mutex<Shared>>,
    /// Bytes still to come, if the client said how many.
    length: Option<u64>,
    /// Bytes that may still come before it is too long.
    room: u64,
}

/// The connection's end.
#[derive(Debug)]
pub(super) struct Inlet(Arc<Mutex<Shared>>);

#[derive(Debug)]
struct Shared {
    bytes: BytesMut,
    end: End,
    /// What followed the body.
    trailers: Option<Box<Trailers>>,
    /// Who pulls and waits.
    reader: Option<Waker>,
    /// Bytes pulled whose window has not been opened again.
    pulled: u32,
    /// Nobody will pull any more.
    dropped: bool,
    /// To be told of what is pulled.
    stream: StreamWaker,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum End {
    Open,
    Ended,
    Broken,
}

/// Both ends of a body. `length` is what `content-length` said; more than `room` bytes are too many.
pub(super) fn upload(length: Option<u64>, room: u64, stream: StreamWaker) -> (Inlet, Upload) {
    let shared = Shared {
        bytes: BytesMut::new(),
        end: End::Open,
        trailers: None,
        reader: None,
        pulled: 0,
        dropped: false,
        stream,
    };
    let shared = Arc::new(Mutex::new(shared));
    (Inlet(Arc::clone(&shared)), Upload { shared, length, room })
}

impl Inlet {
    /// Bytes came. False if nobody will pull them; their window is then the caller's to open again.
    pub(super) fn push(&self, bytes: &[u8]) -> bool {
        let mut shared = self.0.lock();
        if shared.dropped {
            return false;
        }
        shared.bytes.extend_from_slice(bytes);
        shared.wake_reader();
        true
    }

    /// The end came, and was proven; with what followed the body, if that is to be kept.
    pub(super) fn end(&self, trailers: Option<Box<Trailers>>) {
        let mut shared = self.0.lock();
        if shared.end == End::Open {
            shared.end = End::Ended;
            shared.trailers = trailers;
        }
        shared.wake_reader();
    }

    /// What was pulled, or dropped, since the last call.
    pub(super) fn take_pulled(&self) -> u32 {
        let mut shared = self.0.lock();
        // What is pulled or dropped from here on notes the stream again.
        let _ = shared.stream.arm();
        let mut pulled = std::mem::take(&mut shared.pulled);
        if shared.dropped {
            // No longer than a window.
            pulled += u32::try_from(shared.bytes.len()).unwrap_or(u32::MAX);
            shared.bytes = BytesMut::new();
        }
        pulled
    }
}

impl Drop for Inlet {
    /// What was not ended has broken off.
    fn drop(&mut self) {
        let mut shared = self.0.lock();
        if shared.end == End::Open {
            shared.end = End::Broken;
            shared.wake_reader();
        }
    }
}

impl Shared {
    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

impl Upload {
    /// The next bytes, an error once, or the end.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let mut shared = self.shared.lock();
        if shared.end == End::Broken {
            return Poll::Ready(Some(Err(BodyError::Closed)));
        }
        if shared.bytes.is_empty() {
            if shared.end == End::Ended {
                return Poll::Ready(None);
            }
            if !shared.reader.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                shared.reader = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let bytes = shared.bytes.split().freeze();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        // The window opens again as fast as the origin takes what came.
        shared.pulled = shared.pulled.saturating_add(length);
        let stream = shared.stream.clone();
        drop(shared);
        stream.wake();
        let Some(room) = self.room.checked_sub(bytes.len() as u64) else {
            return Poll::Ready(Some(Err(BodyError::TooLong)));
        };
        self.room = room;
        self.length = self.length.map(|left| left.saturating_sub(bytes.len() as u64));
        Poll::Ready(Some(Ok(bytes)))
    }

    /// Whether the end was seen.
    pub(crate) fn is_end_stream(&self) -> bool {
        let shared = self.shared.lock();
        shared.end == End::Ended && shared.bytes.is_empty() && shared.trailers.is_none()
    }

    /// What followed the body, once it has ended.
    pub(crate) fn take_trailers(&self) -> Option<Box<Trailers>> {
        self.shared.lock().trailers.take()
    }

    /// Bytes still to come, if that is known.
    pub(crate) const fn length(&self) -> Option<u64> {
        self.length
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let stream = {
            let mut shared = self.shared.lock();
            shared.dropped = true;
            shared.stream.clone()
        };
        // The window of what lies here is to be opened again.
        stream.wake();
    }
}
