//! The memory that a worker's HTTP/2 connections work with, one after another.
//!
//! As `h1/buffers.rs`: a connection takes a kit when it has something to do and gives it back when nothing is left in it, so ten
//! thousand idle ones hold none, and those that work do so in the same few warm lines of cache.
//!
//! Belongs to one worker thread (`RefCell`).

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use super::head::HeadReader;
use super::stream::Exchange;
use crate::config::limits::{GATHER_BYTES_MAX, READ_BUFFER_BYTES};
use crate::listener::fields::FieldIndex;

/// Kits that nobody uses now.
#[derive(Default)]
pub(super) struct Kits(RefCell<Vec<Kit>>);

/// What one connection works with.
#[derive(Default)]
pub(super) struct Kit {
    /// Read and not yet understood.
    pub(super) input: Input,
    /// To be written: whole frames.
    pub(super) out: Vec<u8>,
    /// Answered, and perhaps not yet written; in the order of their answers.
    pub(super) unfinished: VecDeque<Exchange>,
    /// How heads are read.
    pub(super) reader: HeadReader,
    /// Indices of requests that are over.
    pub(super) indices: Vec<FieldIndex>,
    /// The lines of one answer.
    pub(super) spare: Vec<u8>,
    /// Streams that were woken.
    pub(super) woken: Vec<u32>,
}

impl Kits {
    /// The kit that was given back last, or a new one.
    pub(super) fn take(&self) -> Kit {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Keeps a kit in which nothing is left, unless enough are kept; what a large answer grew is let go.
    pub(super) fn give_back(&self, mut kit: Kit) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < KITS_MAX {
            if kit.out.capacity() > 2 * GATHER_BYTES_MAX {
                kit.out = Vec::new();
            }
            kept.push(kit);
        }
    }
}

impl Kit {
    /// Keeps the memory of a request that is over.
    #[inline]
    pub(super) fn keep_index(&mut self, index: FieldIndex) {
        if self.indices.len() < INDICES_MAX {
            self.indices.push(index);
        }
    }

    /// Keeps the memory of an answer's lines for the next.
    #[inline]
    pub(super) fn keep_spare(&mut self, mut spare: Vec<u8>) {
        if spare.capacity() <= SPARE_BYTES_MAX {
            spare.clear();
            self.spare = spare;
        }
    }
}

/// Bytes read and not yet taken.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    from: usize,
    to: usize,
}

impl Input {
    #[inline]
    pub(super) fn unread(&self) -> &[u8] {
        self.bytes.get(self.from..self.to).unwrap_or_default()
    }

    /// Forgets so many of the unread bytes.
    #[inline]
    pub(super) fn take(&mut self, count: usize) {
        self.from = (self.from + count).min(self.to);
        if self.from == self.to {
            (self.from, self.to) = (0, 0);
        }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.from == self.to
    }

    /// Reads once, into room for at least `whole` unread bytes; how many came, 0 at the client's end.
    #[inline]
    pub(super) fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        io: &mut IO,
        cx: &mut Context<'_>,
        whole: usize,
    ) -> Poll<io::Result<usize>> {
        if self.from > 0 {
            self.bytes.copy_within(self.from..self.to, 0);
            (self.from, self.to) = (0, self.to - self.from);
        }
        let room = whole.max(READ_BUFFER_BYTES);
        if self.bytes.len() < room {
            self.bytes.resize(room, 0);
        }
        let mut read = ReadBuf::new(self.bytes.get_mut(self.to..).unwrap_or_default());
        ready!(Pin::new(io).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        self.to += count;
        Poll::Ready(Ok(count))
    }

    /// What a large frame grew is let go.
    pub(super) fn rest(&mut self) {
        if self.is_empty() && self.bytes.len() > READ_BUFFER_BYTES {
            self.bytes = Vec::new();
        }
    }
}

/// Kits kept by a worker: as many connections as have work at once, mostly.
const KITS_MAX: usize = 64;
/// Indices kept in a kit: as many requests as end in one turn, mostly.
const INDICES_MAX: usize = 64;
/// Memory for the lines of one answer that is kept.
const SPARE_BYTES_MAX: usize = 1024;
