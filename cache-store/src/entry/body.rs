//! Where the bytes of a stored body are: behind its head, beside it in pieces, or on disk.
//!
//! Invariant: no stored byte pins a larger buffer; what memory has of a body it has whole.

use std::sync::Arc;

use bytes::Bytes;

use crate::large::Large;
use crate::tiers::arena::{self, Arena};
use crate::weight::{allocated, shared};

/// Where the body's bytes are.
#[derive(Debug, Clone)]
pub(super) enum StoredBody {
    /// In the blob, behind the empty line.
    Inline,
    /// Beside it: in memory, on disk, or both.
    Chunks(Arc<Chunks>),
}

#[derive(Debug)]
pub(super) struct Chunks {
    /// In order; all of them or none.
    pub(super) pieces: Box<[Bytes]>,
    /// Of the pieces.
    pub(super) len: u64,
    /// The body on disk, if it is large.
    pub(super) large: Option<Arc<Large>>,
    /// Where they lie, those for which there was room.
    pub(super) arena: Option<Arc<Arena>>,
}

/// The pieces of a stored body, one after another.
#[derive(Debug, Clone)]
pub struct BodyPieces {
    pub(super) one: Option<Bytes>,
    pub(super) chunks: Option<Arc<Chunks>>,
    pub(super) next: usize,
}

impl Iterator for BodyPieces {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        if let Some(one) = self.one.take() {
            return Some(one);
        }
        let piece = self.chunks.as_ref()?.pieces.get(self.next)?.clone();
        self.next += 1;
        Some(piece)
    }
}

/// Whether a body lies behind its head: one that no arena takes is copied more cheaply than it is written by itself.
pub(super) fn is_inline(body_len: usize, arena: Option<&Arc<Arena>>) -> bool {
    match arena {
        Some(_) => body_len < arena::BODY_BYTES_MIN,
        None => body_len <= INLINE_BODY_BYTES_MAX,
    }
}

impl StoredBody {
    /// A body that lies on disk only.
    pub(super) fn on_disk(large: Arc<Large>) -> Self {
        Self::Chunks(Arc::new(Chunks { pieces: Box::default(), len: 0, large: Some(large), arena: None }))
    }
}

impl Chunks {
    /// The body on disk, where memory has none of it.
    #[inline]
    pub(super) fn large_alone(&self) -> Option<&Arc<Large>> {
        self.large.as_ref().filter(|_| self.pieces.is_empty())
    }

    pub(super) fn weight(&self) -> usize {
        let bytes = |piece: &Bytes| {
            let in_arena = self.arena.as_ref().and_then(|arena| arena.weight(piece));
            in_arena.unwrap_or_else(|| allocated(piece.len()) + BYTES_SHARED_BYTES)
        };
        let large = self.large.as_ref().map_or(0, |large| large.weight());
        let own = shared(size_of::<Self>()) + allocated(size_of_val(&*self.pieces)) + large;
        self.pieces.iter().map(bytes).fold(own, usize::saturating_add)
    }
}

/// Copies pieces of any size into chunks of [`CHUNK_BYTES`], so that no stored byte pins a larger buffer.
pub(super) fn pack_chunks(pieces: &[Bytes], len: usize, arena: Option<&Arc<Arena>>) -> Box<[Bytes]> {
    let mut chunks = Vec::with_capacity(len.div_ceil(CHUNK_BYTES));
    let mut pieces = pieces.iter().map(|piece| &piece[..]);
    let mut rest: &[u8] = &[];
    let mut left = len;
    while left > 0 {
        let chunk_len = left.min(CHUNK_BYTES);
        left -= chunk_len;
        // The slices that make this chunk.
        let mut slices = Vec::new();
        let mut wanted = chunk_len;
        while wanted > 0 {
            if rest.is_empty() {
                let Some(next) = pieces.next() else { break };
                rest = next;
            }
            let (now, later) = rest.split_at(rest.len().min(wanted));
            slices.push(now);
            wanted -= now.len();
            rest = later;
        }
        let in_arena = arena.and_then(|arena| arena.store(chunk_len, slices.iter().copied()));
        chunks.push(in_arena.unwrap_or_else(|| Bytes::from(slices.concat())));
    }
    chunks.into()
}

/// Bodies up to this length lie behind their head lines where there is no arena; where there is one, those shorter than
/// its `BODY_BYTES_MIN` do.
const INLINE_BODY_BYTES_MAX: usize = 256 * 1024;
/// Length of the chunks of a longer body.
const CHUNK_BYTES: usize = 1024 * 1024;
/// What `Bytes` allocate beside the bytes when they are shared for the first time.
pub(super) const BYTES_SHARED_BYTES: usize = allocated(3 * size_of::<usize>());
