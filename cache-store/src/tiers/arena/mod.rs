//! Memory for large bodies that the kernel can be lent: mapped once, cut into extents of whole pages.
//!
//! A stored body is written once and from then on is plain [`Bytes`] over the mapping: TLS, HTTP/2, ranges and
//! revalidations know nothing of it. A plain socket asks [`Arena::lendable`] whether a piece lies here, and if so puts
//! references to its pages into its queue (`vmsplice`, `splice`): of 100 KiB nothing passes through the processor.
//!
//! ```text
//! free pages ──take──► Run ──write──► Extent ══ Bytes, shared ══ last one dropped ──release──► free pages
//! ```
//!
//! **What the kernel still holds stays what it was.** A socket's queue holds such references for as long as the client
//! takes to read and acknowledge, while the object may be evicted and its place taken by another. So pages are never
//! written twice: before a place is free again its pages are taken out of the mapping (`MADV_DONTNEED`). Pages that a
//! socket refers to then live on outside of it with the old bytes; the place gets fresh ones when it is next written.
//! Memory so held is bounded by the sockets' send buffers, like the copies that `write` would have put there.
//!
//! Releasing gives the memory back at once, so fragmentation costs places, not memory: the mapping has
//! [`PLACES_PER_BYTE`] times the room of the tier's budget, and where no gap fits, the body is kept on the heap instead.
//!
//! A file in memory and `sendfile` would do as well, and was tried: a tenth dearer for 100 KiB, and where shared memory
//! is set to huge pages, punching a part of one zeroes it under the eyes of the sockets that refer to it.
//!
//! Invariant: no two live extents share a page; a page belongs to one extent from being written to being released.
//! Absent: any limit on bytes; that is the tier's budget, which counts whole pages ([`Arena::weight`]).

mod pages;
mod space;

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;

pub use pages::Lendable;
use pages::Pages;
use space::{Run, Space};

/// The mapping, and which of its pages are taken.
#[derive(Debug)]
pub(crate) struct Arena {
    pages: Pages,
    space: Mutex<Space>,
}

impl Arena {
    /// An arena for a tier of `budget_bytes`; `None` where the system has none to give, or the budget is too small to
    /// keep anything in it.
    pub(crate) fn new(budget_bytes: usize) -> Option<Arc<Self>> {
        if budget_bytes < BODY_BYTES_MIN {
            return None;
        }
        let pages = Pages::new(budget_bytes.checked_mul(PLACES_PER_BYTE)?).ok()?;
        let space = Mutex::new(Space::new(pages.count()));
        Some(Arc::new(Self { pages, space }))
    }

    /// Copies `pieces`, `length` bytes in all, into an extent; `None` when there is no gap or no memory for it.
    pub(crate) fn store<'p>(
        self: &Arc<Self>,
        length: usize,
        pieces: impl Iterator<Item = &'p [u8]>,
    ) -> Option<Bytes> {
        let mut run = self.space.lock().take(self.pages_of(length)?)?;
        if self.pages.write(&mut run, pieces).is_err() {
            self.free(run);
            return None;
        }
        Some(Bytes::from_owner(Extent { arena: Arc::clone(self), run, length }))
    }

    /// `piece`, if it lies here, as the kernel may be lent it.
    #[inline]
    pub(crate) fn lendable<'p>(&self, piece: &'p [u8]) -> Option<Lendable<'p>> {
        self.pages.offset_of(piece).map(|_| Lendable::new(piece))
    }

    /// What `piece` costs, if it lies here: the pages it begins, whole.
    pub(crate) fn weight(&self, piece: &[u8]) -> Option<usize> {
        self.pages.offset_of(piece)?;
        Some(piece.len().next_multiple_of(self.pages.page_bytes()).saturating_add(EXTENT_OVERHEAD_BYTES))
    }

    /// Whether sharing `piece` pins no more of the arena than it weighs: it is a whole extent of this arena.
    pub(crate) fn is_extent(&self, piece: &[u8]) -> bool {
        let page_bytes = self.pages.page_bytes();
        let Some(offset) = self.pages.offset_of(piece) else { return false };
        offset.is_multiple_of(page_bytes)
            && self.space.lock().taken(offset / page_bytes) == self.pages_of(piece.len())
    }

    fn pages_of(&self, length: usize) -> Option<usize> {
        Some(length.div_ceil(self.pages.page_bytes())).filter(|pages| *pages > 0)
    }

    fn free(&self, run: Run) {
        // Pages that could not be released may still be in a socket's queue: better that nobody gets them again.
        if self.pages.release(&run).is_ok() {
            self.space.lock().give(run);
        }
    }
}

/// A body's bytes, or a part of them; its pages go back when it is dropped.
struct Extent {
    arena: Arc<Arena>,
    run: Run,
    length: usize,
}

impl AsRef<[u8]> for Extent {
    fn as_ref(&self) -> &[u8] {
        self.arena.pages.read(&self.run, self.length)
    }
}

impl Drop for Extent {
    fn drop(&mut self) {
        self.arena.free(std::mem::take(&mut self.run));
    }
}

/// Bodies shorter than this are copied into the socket: that costs about as much as lending them, and keeps head and body in
/// one write (measured on loopback: lending ahead by a tenth at 64 KiB, behind by as much at 32 KiB).
pub(crate) const BODY_BYTES_MIN: usize = 64 * 1024;
/// Room for extents for each byte of the budget. Twice the budget was enough for every mix of sizes tried (`space.rs`).
const PLACES_PER_BYTE: usize = 2;
/// What an extent costs beside its pages: its record, that of the `Bytes` over it, its entry in the table of taken pages, and
/// the page tables.
const EXTENT_OVERHEAD_BYTES: usize = 192;

#[cfg(test)]
mod tests;
