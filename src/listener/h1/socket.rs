//! The bytes of a connection: what has been read and not yet parsed, what has been rendered and not yet written.
//!
//! Everything here is a `poll_` function without a deadline, so that waits can be combined; `connection.rs`,
//! `waiting.rs` and `stream.rs` put deadlines around them. Hot path: one read and one write of the socket a request, into and out
//! of buffers that are kept.
//!
//! Invariant: at most [`Socket::poll_fill`]'s `room` is added at a time, and callers stop filling at a bound of theirs.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use cache_store::entry::Lendable;
use cache_store::large::FilePart;
use tokio::io::AsyncReadExt;

use super::transport::Transport;

/// An I/O object and its two buffers.
#[derive(Debug)]
pub(super) struct Socket<IO> {
    io: IO,
    /// Read and not yet taken.
    pub(super) input: BytesMut,
    /// Rendered; the first `sent` bytes of it are written.
    pub(super) out: Vec<u8>,
    sent: usize,
    /// Bytes written since the beginning: moves as long as the client takes anything.
    written: u64,
}

/// Bytes to be written from where they lie.
#[derive(Debug, Default)]
pub(super) struct Tail<'t> {
    pub(super) bytes: &'t [u8],
    /// The same bytes, if they can be lent.
    pub(super) lendable: Option<Lendable<'t>>,
    /// How many of them are written.
    pub(super) sent: usize,
}

impl<IO: Transport> Socket<IO> {
    pub(super) fn new(io: IO) -> Self {
        Self { io, input: BytesMut::new(), out: Vec::new(), sent: 0, written: 0 }
    }

    /// Bytes written since the beginning.
    pub(super) const fn written(&self) -> u64 {
        self.written
    }

    /// Whether everything rendered is written.
    pub(super) fn is_flushed(&self) -> bool {
        self.sent == self.out.len()
    }

    /// Reads once, up to about `room` bytes; zero is the client's end.
    #[inline]
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>, room: usize) -> Poll<io::Result<usize>> {
        if self.input.capacity() - self.input.len() < ROOM_BYTES_MIN {
            // When the requests before have let go of their slices, this takes the old memory again.
            self.input.reserve(room.saturating_sub(self.input.len()).max(ROOM_BYTES_MIN));
        }
        pin!(self.io.read_buf(&mut self.input)).poll(cx)
    }

    /// Writes what is rendered and then `tail`, until all of it is handed on.
    #[inline]
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>, tail: &mut Tail<'_>) -> Poll<io::Result<()>> {
        if tail.lendable.is_some() {
            ready!(self.poll_lend(cx, tail))?;
        }
        loop {
            let front = self.out.get(self.sent..).unwrap_or_default();
            let back = tail.bytes.get(tail.sent..).unwrap_or_default();
            let io = Pin::new(&mut self.io);
            let count = match (front.is_empty(), back.is_empty()) {
                (true, true) => break,
                (false, true) => ready!(io.poll_write(cx, front))?,
                (true, false) => ready!(io.poll_write(cx, back))?,
                (false, false) => {
                    ready!(io.poll_write_vectored(cx, &[IoSlice::new(front), IoSlice::new(back)]))?
                }
            };
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count as u64);
            let from_front = count.min(front.len());
            tail.sent = tail.sent.saturating_add(count - from_front);
            self.sent += from_front;
        }
        self.out.clear();
        self.sent = 0;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    /// Writes what is rendered by itself, then lends `tail`, as far as that goes; where it does not, the bytes that are
    /// left are for [`Socket::poll_write`] to write, and to find out whether the connection is to blame.
    ///
    /// The head is not held back for the first of the body (`MSG_MORE`): the client begins to work a little sooner, which
    /// on loopback saved a third of the cost of 100 KiB.
    fn poll_lend(&mut self, cx: &mut Context<'_>, tail: &mut Tail<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_front(cx, |io, cx, front| Pin::new(io).poll_write(cx, front)))?;
        while let Some(bytes) = tail.lendable.filter(|bytes| tail.sent < bytes.len()) {
            match ready!(self.io.poll_lend(cx, bytes, tail.sent)) {
                Ok(0) | Err(_) => tail.lendable = None,
                Ok(count) => {
                    self.written = self.written.saturating_add(count as u64);
                    tail.sent = tail.sent.saturating_add(count);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is rendered by `write`.
    fn poll_front(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(&mut IO, &mut Context<'_>, &[u8]) -> Poll<io::Result<usize>>,
    ) -> Poll<io::Result<()>> {
        while let Some(front) = self.out.get(self.sent..).filter(|front| !front.is_empty()) {
            let count = ready!(write(&mut self.io, cx, front))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written = self.written.saturating_add(count as u64);
            self.sent += count;
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what is rendered, then has `part` sent, which becomes shorter and shorter. An error of kind `UnexpectedEof` is the
    /// file's end before the part's.
    ///
    /// The head is held back for the first of the file (`MSG_MORE`), which follows at once. By itself it would have a Linux client take a
    /// round trip to be as short as the way of one small packet, and so keep its receive window at what it reads in that time: where there is no
    /// distance the window was the limit for nine tenths of the time, all that followed went out at the client's acknowledgements, on the
    /// client's core, and 1 MB took two and a half times as long.
    pub(super) fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        part: &mut FilePart,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_front(cx, IO::poll_write_before_file))?;
        self.out.clear();
        self.sent = 0;
        while part.length > 0 {
            let count = ready!(self.io.poll_send_file(cx, part))? as u64;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.written = self.written.saturating_add(count);
            part.offset = part.offset.saturating_add(count);
            part.length = part.length.saturating_sub(count);
        }
        Poll::Ready(Ok(()))
    }

    /// What is below, for who carries bytes that are not ours to read.
    pub(super) const fn io(&mut self) -> &mut IO {
        &mut self.io
    }

    /// Ends the writing side.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// A read is not worth its call for less room than this.
const ROOM_BYTES_MIN: usize = 1024;
