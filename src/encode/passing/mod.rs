//! What is not stored, encoded as it goes.
//!
//! ```text
//! the origin's bytes ──► encoder ─┬─ enough to be sent ──► those
//!                                 ├─ the origin pauses ──► all that came so far
//!                                 ├─ its end ────────────► all that came, and the end of the coding
//!                                 └─ cut ────────────────► all that came, and no end
//! ```
//!
//! On the worker that sends it: a piece at a time, and no more in one turn of its task than the runtime has steps for, so that the others
//! of the worker come to their turn. Who has no [`Place`] goes as it is.
//!
//! Invariants: nothing is held back while the origin pauses. A body that is cut, or is not as long as was said, never ends as its coding
//! does. What an encoder holds does not depend on the length of the body, and a client that does not read stops it.
//! RFC 9110 §8.4; RFC 9659 §3.

use std::io::{self, Write as _};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};

use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use cache_store::rules::Coding;
use tokio::task::coop;
use zstd::stream::raw::CParameter;

use crate::config::limits::{
    ENCODE_PASSING_LEVEL_MAX, ENCODE_PASSING_OUT_BYTES, ENCODE_PASSING_PIECE_BYTES,
    ENCODE_PASSING_STEP_BYTES, ENCODE_PASSING_WINDOW_BITS,
};
use crate::listener::trailers::Trailers;
use crate::respond::response::{Cut, Stream};

/// A body in a coding.
pub(crate) struct Coded {
    source: Pin<Box<dyn Stream>>,
    /// None once it has ended, one way or the other.
    encoder: Option<Encoder>,
    /// Came from the source, and is to be encoded.
    piece: Bytes,
    /// Bytes that are still to come, if it is known how many.
    left: Option<u64>,
    /// The encoder may hold what is not in its output.
    unflushed: bool,
    is_cut: bool,
    place: Place,
}

/// A place among the responses that are encoded as they go; free again when dropped.
pub(crate) struct Place(Arc<Passing>);

/// All of them, and what became of those before.
#[derive(Debug, Default)]
pub(super) struct Passing {
    open_max: usize,
    open: AtomicUsize,
    begun: AtomicU64,
    plain: AtomicU64,
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
}

/// What has been encoded as it went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PassingFigures {
    /// Responses that are being encoded.
    pub open: u64,
    /// Responses that were begun, those that were short among them.
    pub begun: u64,
    /// Responses that went as they are, for there was no place.
    pub plain: u64,
    /// Bytes that went in.
    pub bytes_in: u64,
    /// Bytes that came out.
    pub bytes_out: u64,
}

enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Vec<u8>>>),
    Gzip(Box<flate2::write::GzEncoder<Vec<u8>>>),
}

impl Passing {
    pub(super) fn new(open_max: usize) -> Arc<Self> {
        Arc::new(Self { open_max, ..Self::default() })
    }

    /// A place, if there is one; else that is counted.
    pub(super) fn place(self: &Arc<Self>) -> Option<Place> {
        let more = |open: usize| open.checked_add(1).filter(|open| *open <= self.open_max);
        if self.open.fetch_update(Relaxed, Relaxed, more).is_err() {
            self.plain.fetch_add(1, Relaxed);
            return None;
        }
        self.begun.fetch_add(1, Relaxed);
        Some(Place(Arc::clone(self)))
    }

    /// One was encoded whole.
    pub(super) fn count_whole(&self, bytes_in: usize, bytes_out: usize) {
        self.begun.fetch_add(1, Relaxed);
        self.count(bytes_in, bytes_out);
    }

    fn count(&self, bytes_in: usize, bytes_out: usize) {
        self.bytes_in.fetch_add(bytes_in as u64, Relaxed);
        self.bytes_out.fetch_add(bytes_out as u64, Relaxed);
    }

    pub(super) fn figures(&self) -> PassingFigures {
        PassingFigures {
            open: self.open.load(Relaxed) as u64,
            begun: self.begun.load(Relaxed),
            plain: self.plain.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Coded {
    /// `source`, which has `length` bytes if that is known, in `coding`; itself where there is no memory for it.
    pub(crate) fn of(
        source: Pin<Box<dyn Stream>>,
        length: Option<u64>,
        (coding, level): (Coding, u8),
        place: Place,
    ) -> Result<Self, Pin<Box<dyn Stream>>> {
        let Ok(encoder) = Encoder::new(coding, level) else { return Err(source) };
        Ok(Self {
            source,
            encoder: Some(encoder),
            piece: Bytes::new(),
            left: length,
            unflushed: false,
            is_cut: false,
            place,
        })
    }

    /// The next encoded bytes, none where the source pauses or this turn of the task has done enough.
    fn poll_encoded(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Vec<u8>>> {
        loop {
            let Some(encoder) = &mut self.encoder else { return Poll::Ready(Ok(Vec::new())) };
            if encoder.out().len() >= ENCODE_PASSING_OUT_BYTES {
                return Poll::Ready(Ok(std::mem::take(encoder.out())));
            }
            if self.piece.is_empty() {
                match self.source.as_mut().poll_next(cx) {
                    Poll::Ready(Some(Ok(piece))) if takes(&mut self.left, piece.len()) => self.piece = piece,
                    Poll::Ready(None) if self.left.unwrap_or_default() == 0 => {
                        let encoder = self.encoder.take();
                        return Poll::Ready(encoder.map_or_else(|| Ok(Vec::new()), Encoder::end));
                    }
                    // Cut, shorter than was said, or longer.
                    Poll::Ready(_) => {
                        self.is_cut = true;
                        encoder.flush()?;
                        let out = std::mem::take(encoder.out());
                        self.encoder = None;
                        return Poll::Ready(Ok(out));
                    }
                    Poll::Pending => {
                        if std::mem::take(&mut self.unflushed) {
                            encoder.flush()?;
                        }
                        let out = std::mem::take(encoder.out());
                        return if out.is_empty() { Poll::Pending } else { Poll::Ready(Ok(out)) };
                    }
                }
                continue;
            }
            let length = self.piece.len().min(ENCODE_PASSING_PIECE_BYTES);
            for _ in 0..length.div_ceil(ENCODE_PASSING_STEP_BYTES) {
                ready!(coop::poll_proceed(cx)).made_progress();
            }
            self.unflushed = true;
            self.place.0.count(length, 0);
            encoder.write(&self.piece.split_to(length))?;
        }
    }
}

impl Stream for Coded {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let this = self.get_mut();
        let Ok(out) = ready!(this.poll_encoded(cx)) else {
            // No encoder fails over what it is given; one that does has no end.
            (this.encoder, this.is_cut) = (None, true);
            return Poll::Ready(Some(Err(Cut)));
        };
        if out.is_empty() {
            return Poll::Ready(this.is_cut.then_some(Err(Cut)));
        }
        this.place.0.count(0, out.len());
        Poll::Ready(Some(Ok(out.into())))
    }

    fn may_trail(&self) -> bool {
        self.source.may_trail()
    }

    fn trailers(self: Pin<&mut Self>) -> Option<Box<Trailers>> {
        self.get_mut().source.as_mut().trailers()
    }
}

impl Encoder {
    fn new(coding: Coding, level: u8) -> io::Result<Self> {
        let level = level.min(ENCODE_PASSING_LEVEL_MAX);
        Ok(match coding {
            Coding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: i32::from(level),
                    lgwin: i32::try_from(ENCODE_PASSING_WINDOW_BITS).unwrap_or_default(),
                    ..BrotliEncoderParams::default()
                };
                Self::Brotli(Box::new(brotli::CompressorWriter::with_params(
                    Vec::new(),
                    OUT_BUFFER_BYTES,
                    &params,
                )))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), i32::from(level))?;
                // Tables for more than the window only cost memory.
                encoder.set_parameter(CParameter::WindowLog(ENCODE_PASSING_WINDOW_BITS))?;
                encoder.set_parameter(CParameter::HashLog(ENCODE_PASSING_WINDOW_BITS - 1))?;
                encoder.set_parameter(CParameter::ChainLog(ENCODE_PASSING_WINDOW_BITS - 1))?;
                Self::Zstd(Box::new(encoder))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(u32::from(level));
                Self::Gzip(Box::new(flate2::write::GzEncoder::new(Vec::new(), level)))
            }
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.write_all(bytes),
            Self::Zstd(encoder) => encoder.write_all(bytes),
            Self::Gzip(encoder) => encoder.write_all(bytes),
        }
    }

    /// Has all that was written in the output.
    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Brotli(encoder) => encoder.flush(),
            Self::Zstd(encoder) => encoder.flush(),
            Self::Gzip(encoder) => encoder.flush(),
        }
    }

    /// What came of it and was not taken.
    fn out(&mut self) -> &mut Vec<u8> {
        match self {
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
            Self::Gzip(encoder) => encoder.get_mut(),
        }
    }

    /// Ends it; the rest of the output.
    fn end(self) -> io::Result<Vec<u8>> {
        match self {
            // The sink takes everything.
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
            Self::Gzip(encoder) => encoder.finish(),
        }
    }
}

/// Takes so many bytes off what is still to come; whether that goes.
fn takes(left: &mut Option<u64>, bytes: usize) -> bool {
    let Some(left) = left else { return true };
    let rest = left.checked_sub(bytes as u64);
    *left = rest.unwrap_or_default();
    rest.is_some()
}

const OUT_BUFFER_BYTES: usize = 8 * 1024;

#[cfg(test)]
mod tests;
