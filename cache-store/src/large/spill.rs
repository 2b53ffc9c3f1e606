//! What cuts an arriving body into chunks and has them put, one at a time.
//!
//! ```text
//! piece ─push─► cutter ─► queue ─► put on the pool ─► noted in the manifest ─► let go of in memory
//! ```
//!
//! Memory: the chunk that is gathered, and the one that is put; whoever fills waits ([`Spill::poll_room`]) while more than
//! that is there. The pieces themselves stay in the growing body until their chunk is noted, so a reader finds every byte
//! in one place or the other.
//!
//! Invariant: a chunk is noted before its bytes are let go of. A chunk that could not be put ends the spill: what is noted
//! stays, the rest is the caller's.

use std::collections::VecDeque;
use std::future::Future as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{CHUNK, Large, index_of};
use crate::body::Writer;
use crate::tiers::chunks::{Chunk, ChunkId, ChunkWriter, PutError};

/// A body, or a slice of one, on its way to disk.
#[derive(Debug)]
pub(crate) struct Spill {
    large: Arc<Large>,
    /// Where in the body the first byte that came belongs.
    first: u64,
    /// `None` once nothing more comes, or there was no memory.
    cutter: Option<ChunkWriter>,
    queue: VecDeque<Chunk>,
    putting: Option<Putting>,
    broken: bool,
    /// Up to where what came is on disk, counted from `first`.
    sealed: u64,
}

/// A chunk on its way.
#[derive(Debug)]
struct Putting {
    index: u32,
    /// Where in the body it ends.
    end: u64,
    put: JoinHandle<Result<ChunkId, PutError>>,
}

/// A chunk could not be kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Broken;

impl Spill {
    /// A spill of what comes from offset `first` of the body on, which is a multiple of a chunk.
    pub(crate) fn new(large: &Arc<Large>, first: u64) -> Self {
        Self {
            large: Arc::clone(large),
            first,
            cutter: Some(ChunkWriter::starting_at(index_of(first))),
            queue: VecDeque::new(),
            putting: None,
            broken: false,
            sealed: 0,
        }
    }

    pub(crate) const fn large(&self) -> &Arc<Large> {
        &self.large
    }

    /// Up to where what came is on disk.
    pub(crate) const fn sealed(&self) -> u64 {
        self.sealed
    }

    /// Takes a piece.
    pub(crate) fn push(&mut self, piece: &Bytes) {
        let Some(cutter) = &mut self.cutter else { return };
        let mut piece = piece.clone();
        loop {
            match cutter.take(&mut piece) {
                Ok(Some(chunk)) => self.queue.push_back(chunk),
                Ok(None) => return,
                Err(_) => {
                    self.cutter = None;
                    self.broken = true;
                    return;
                }
            }
        }
    }

    /// Nothing more comes. What is left is a chunk if it reaches `end`, the end of the body.
    pub(crate) fn complete(&mut self, end: Option<u64>) {
        let last = self.cutter.take().and_then(ChunkWriter::finish);
        self.queue.extend(last.filter(|last| {
            let reaches = u64::from(last.index) * CHUNK + last.bytes.len() as u64;
            end.is_none_or(|end| end == reaches)
        }));
    }

    /// Ready when no chunk waits for another to be put.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>, writer: &Writer) -> Poll<Result<(), Broken>> {
        self.poll_fewer(cx, writer, 1)
    }

    /// Ready when every chunk is put.
    pub(crate) fn poll_empty(&mut self, cx: &mut Context<'_>, writer: &Writer) -> Poll<Result<(), Broken>> {
        self.poll_fewer(cx, writer, 0)
    }

    fn poll_fewer(&mut self, cx: &mut Context<'_>, writer: &Writer, most: usize) -> Poll<Result<(), Broken>> {
        loop {
            if self.broken {
                return Poll::Ready(Err(Broken));
            }
            if self.putting.is_none()
                && let Some(Chunk { index, bytes }) = self.queue.pop_front()
            {
                let shelf = Arc::clone(&self.large.shelf);
                let end = u64::from(index) * CHUNK + bytes.len() as u64;
                let put = self.large.shelf.pool.spawn_blocking(move || shelf.chunks.put(&bytes));
                self.putting = Some(Putting { index, end, put });
            }
            let Some(Putting { index, end, put }) = &mut self.putting else { return Poll::Ready(Ok(())) };
            let (index, end) = (*index, *end);
            let put = match Pin::new(put).poll(cx) {
                Poll::Ready(put) => put.ok().and_then(Result::ok),
                // The next one is gathered meanwhile.
                Poll::Pending if self.queue.len() < most => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            };
            self.put(index, end, put, writer);
        }
    }

    /// A put has ended; the chunk has no name if it failed.
    fn put(&mut self, index: u32, end: u64, put: Option<ChunkId>, writer: &Writer) {
        self.putting = None;
        let Some(id) = put else {
            self.broken = true;
            return;
        };
        self.large.note(index, id);
        self.sealed = end.saturating_sub(self.first);
        writer.seal(self.sealed);
    }
}

/// What a body on its way to disk holds in memory at most: a chunk that is gathered, one that is put, and the pieces that
/// they are made of.
pub(crate) const SPILL_BYTES: u64 = 4 << 20;
