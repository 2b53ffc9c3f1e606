//! One client's way through a large body.
//!
//! Bytes come from wherever they are at that moment (the module head draws where): from the memory of a fill that is under
//! way, from disk, or by a [`Slice`] that this reader has fetched for itself and all others. A reader that was reading along
//! and fell behind goes on from disk, and one that catches up reads along again; so clients of any speed share one fetch.
//!
//! Memory: one piece of 128 KiB. What the page cache has is read at once, or sent from its file by whoever can; else a thread of the
//! pool brings the rest of the chunk there first, so that a chunk costs one turn of the pool, not one a piece. A reader that had
//! to wait for it has the next chunk brought there while this one is sent, and no more: the page cache, which the system takes back when
//! it needs it, holds two chunks for a client that stands still. One that has not waited costs nothing for that.
//!
//! Invariant: it ends cleanly only behind the last byte it was made for, or at the proven end of the body.

#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::File;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::task::JoinHandle;

use super::{CHUNK, Large, Place, Slice, Stage, index_of};
use crate::body::{BodyCut, Reader};
use crate::tiers::chunks::ChunkId;

/// A reader of a part of a large body, or of all of it.
pub struct LargeReader {
    large: Arc<Large>,
    at: u64,
    /// `None`: to the end of a body whose length was not known.
    end: Option<u64>,
    from: From,
    /// What comes next, where it has been found in a file already.
    ahead: Option<FilePart>,
    /// Where the pool has brought what follows into the page cache; what is not there after all, the pool reads.
    warmed_at: Option<u64>,
    /// The pool had to be waited for, and what follows may have to be, too.
    waited: bool,
    /// The chunk behind the one that is read, on its way into the page cache.
    next: Option<Next>,
    /// Whoever reads can send files.
    takes_files: bool,
    /// Attempts to get on from here that failed.
    failed: u32,
    /// Where they began to count.
    counted_at: u64,
}

/// A chunk that is read ahead.
struct Next {
    index: u32,
    /// `None`: there is nothing to read, or nothing to wait for.
    warming: Option<(ChunkId, JoinHandle<Option<()>>)>,
}

/// Verified bytes of a body in a file.
#[derive(Debug)]
pub struct FilePart {
    /// The file, which nobody writes to.
    pub file: Arc<File>,
    /// Where in it they begin.
    pub offset: u64,
    /// How many they are.
    pub length: u64,
}

/// Where the next bytes come from.
enum From {
    /// To be looked up.
    Anywhere,
    /// Along with a fetch.
    Along(Reader),
    /// What is on its way into the page cache.
    Cold(u32, ChunkId, JoinHandle<Option<()>>),
    /// A read that is under way.
    Disk(u32, ChunkId, JoinHandle<Option<Bytes>>),
    /// A fetch whose answer is not here yet.
    Asked(Pin<Box<dyn Future<Output = ()> + Send>>),
}

impl fmt::Debug for LargeReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LargeReader").field("at", &self.at).field("end", &self.end).finish_non_exhaustive()
    }
}

impl LargeReader {
    pub(super) const fn new(large: Arc<Large>, at: u64, end: Option<u64>) -> Self {
        Self {
            large,
            at,
            end,
            from: From::Anywhere,
            ahead: None,
            warmed_at: None,
            waited: false,
            next: None,
            takes_files: false,
            failed: 0,
            counted_at: at,
        }
    }

    /// The body that is read.
    pub const fn large(&self) -> &Arc<Large> {
        &self.large
    }

    /// The next piece, `None` at the end. `fetch` is given what nobody has: it must see to it that the slice is fetched, and
    /// not wait for it. An empty piece says that [`Self::file`] may have the next one now.
    pub fn poll_next(
        &mut self,
        cx: &mut Context<'_>,
        fetch: &mut dyn FnMut(Slice),
    ) -> Poll<Option<Result<Bytes, BodyCut>>> {
        self.poll(cx, fetch, self.takes_files)
    }

    /// Waits for the next piece; where [`Self::file`] has it, it is left there, and there are no bytes.
    pub fn poll_first(
        &mut self,
        cx: &mut Context<'_>,
        fetch: &mut dyn FnMut(Slice),
    ) -> Poll<Option<Result<Option<Bytes>, BodyCut>>> {
        loop {
            self.ahead = self.find_file();
            if self.ahead.is_some() {
                return Poll::Ready(Some(Ok(None)));
            }
            let piece = ready!(self.poll(cx, fetch, true));
            if !matches!(&piece, Some(Ok(piece)) if piece.is_empty()) {
                return Poll::Ready(piece.map(|piece| piece.map(Some)));
            }
        }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        fetch: &mut dyn FnMut(Slice),
        takes_files: bool,
    ) -> Poll<Option<Result<Bytes, BodyCut>>> {
        self.ahead = None;
        loop {
            match &mut self.from {
                From::Along(reader) => match ready!(reader.poll_next(cx)) {
                    Some(Ok(bytes)) => return Poll::Ready(Some(Ok(self.advance(bytes)))),
                    Some(Err(cut)) => {
                        self.from = From::Anywhere;
                        if cut == BodyCut::Truncated && !self.may_try_again() {
                            return Poll::Ready(Some(Err(cut)));
                        }
                    }
                    None => {
                        // The proven end of a body of unknown length, or the end of a slice.
                        let to_the_end = reader.is_to_the_end();
                        self.from = From::Anywhere;
                        if self.end.is_none() && (to_the_end || self.large.length() == Some(self.at)) {
                            return Poll::Ready(None);
                        }
                    }
                },
                From::Cold(index, id, warmed) => {
                    let warmed = ready!(Pin::new(warmed).poll(cx)).ok().flatten();
                    let (index, id) = (*index, *id);
                    self.from = From::Anywhere;
                    match warmed {
                        Some(()) => {
                            self.warmed_at = Some(self.at);
                            self.waited = true;
                        }
                        None => self.large.lose(index, id),
                    }
                    if takes_files {
                        return Poll::Ready(Some(Ok(Bytes::new())));
                    }
                }
                From::Disk(index, id, read) => {
                    let read = ready!(Pin::new(read).poll(cx)).ok().flatten();
                    let (index, id) = (*index, *id);
                    self.from = From::Anywhere;
                    match read {
                        Some(bytes) => return Poll::Ready(Some(Ok(self.advance(bytes)))),
                        None => self.large.lose(index, id),
                    }
                }
                From::Asked(answered) => {
                    ready!(answered.as_mut().poll(cx));
                    self.from = From::Anywhere;
                }
                From::Anywhere => match self.large.place(self.at, self.end) {
                    Place::End => return Poll::Ready(None),
                    Place::Coming(reader) => self.from = From::Along(reader),
                    Place::Noted { index, id, range } => {
                        let shelf = Arc::clone(&self.large.shelf);
                        if let Some(bytes) = shelf.chunks.try_read(id, range.clone()) {
                            self.read_ahead(index);
                            return Poll::Ready(Some(Ok(self.advance(bytes))));
                        }
                        if let Some((id, warming)) = self.take_next(index) {
                            self.from = From::Cold(index, id, warming);
                            continue;
                        }
                        let pool = &self.large.shelf.pool;
                        if self.warmed_at == Some(self.at) {
                            let read = pool.spawn_blocking(move || shelf.chunks.read(id, range));
                            self.from = From::Disk(index, id, read);
                        } else {
                            let (_, rest) = self.large.noted(self.at, self.end).unwrap_or((id, range));
                            let warmed = pool.spawn_blocking(move || shelf.chunks.warm(id, rest));
                            self.from = From::Cold(index, id, warmed);
                        }
                    }
                    Place::Asked(mut stage) => {
                        self.from = From::Asked(Box::pin(async move {
                            // An error: the flight is gone, and so is the reason to wait.
                            let _ = stage.wait_for(|stage| !matches!(stage, Stage::Asked)).await;
                        }));
                    }
                    Place::Hole(slice) => {
                        if !self.may_try_again() {
                            return Poll::Ready(Some(Err(BodyCut::Truncated)));
                        }
                        fetch(slice);
                    }
                    Place::Gone => return Poll::Ready(Some(Err(BodyCut::Truncated))),
                },
            }
        }
    }

    /// The next piece as a part of a file, where it lies in one that takes no waiting. It counts as read.
    pub fn file(&mut self) -> Option<FilePart> {
        self.takes_files = true;
        let part = self.ahead.take().or_else(|| self.find_file())?;
        self.read_ahead(index_of(self.at));
        self.at += part.length;
        (self.failed, self.counted_at) = (0, self.at);
        Some(part)
    }

    fn find_file(&self) -> Option<FilePart> {
        if !matches!(self.from, From::Anywhere) {
            return None;
        }
        let (id, range) = self.large.noted(self.at, self.end)?;
        let file = self.large.shelf.chunks.try_file(id, &range)?;
        Some(FilePart { file, offset: range.start.into(), length: range.len() as u64 })
    }

    /// Has the chunk behind this one, whose bytes are about to be sent, brought into the page cache: once, and as far as it is wanted.
    fn read_ahead(&mut self, index: u32) {
        let index = index.saturating_add(1);
        if !self.waited || self.next.as_ref().is_some_and(|next| next.index >= index) {
            return;
        }
        let noted = self.large.noted(u64::from(index) * CHUNK, self.end);
        let warming = noted.and_then(|(id, range)| {
            let shelf = Arc::clone(&self.large.shelf);
            // Already there, as the one after it may be.
            self.waited = shelf.chunks.try_file(id, &range).is_none();
            let warm = || self.large.shelf.pool.spawn_blocking(move || shelf.chunks.warm(id, range));
            self.waited.then(|| (id, warm()))
        });
        self.next = Some(Next { index, warming });
    }

    /// The read ahead of this chunk, if it is under way.
    fn take_next(&mut self, index: u32) -> Option<(ChunkId, JoinHandle<Option<()>>)> {
        self.next.as_mut().filter(|next| next.index == index)?.warming.take()
    }

    fn advance(&mut self, bytes: Bytes) -> Bytes {
        self.at += bytes.len() as u64;
        if self.at >= self.counted_at.saturating_add(CHUNK) {
            (self.failed, self.counted_at) = (0, self.at);
        }
        bytes
    }

    /// Counts an attempt; `false` after too many within one chunk.
    fn may_try_again(&mut self) -> bool {
        self.failed += 1;
        self.failed <= ATTEMPTS_MAX
    }
}

impl Drop for LargeReader {
    fn drop(&mut self) {
        // Where the pool has not come to it yet, nobody is to wait for what nobody reads.
        if let Some(Next { warming: Some((_, warming)), .. }) = &self.next {
            warming.abort();
        }
    }
}

/// Fetches and broken fetches within a chunk, after which a reader is cut.
const ATTEMPTS_MAX: u32 = 4;
