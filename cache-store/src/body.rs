//! A body that grows while it is read: one writer, the fill; many readers, the clients that wait for it.
//!
//! ```text
//! Filling ──finish──► Complete        every reader ends cleanly
//!    └─────fail / drop──► Failed      every reader is cut, never ended
//! ```
//!
//! While the response is going to be stored in memory, all pieces are kept and nobody holds up the origin. A body that goes
//! to disk is kept as far as it is not there yet; a reader that is farther behind reads there (`large/reader.rs`). A body that
//! will not be stored is kept as a window: the writer waits when even the fastest reader is a window behind, and a reader
//! that falls out of the window is cut: the origin is throttled by a bounded buffer, never by the slowest
//! reader.
//!
//! Invariant: a reader ends cleanly only after [`Writer::finish`].

use std::collections::VecDeque;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use parking_lot::Mutex;

/// A body on its way.
#[derive(Debug)]
pub struct Growing {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    pieces: VecDeque<Bytes>,
    /// Offset in the body of the first byte of the first piece kept.
    start: u64,
    /// Offset behind the last byte written.
    end: u64,
    state: State,
    kept: Kept,
    readers: Vec<Option<Place>>,
    readers_open: usize,
    /// Somebody has read, or is about to.
    read: bool,
    writer: Option<Waker>,
}

#[derive(Debug, Default)]
struct Place {
    at: u64,
    waker: Option<Waker>,
}

/// What is kept of what has been written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kept {
    All,
    /// What lies behind this offset; before it the disk has it.
    From(u64),
    /// So many bytes, and what no reader has had.
    Window(u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Filling,
    Complete,
    Failed,
}

/// The end of a body that was not its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BodyCut {
    /// The origin stopped within the body.
    #[error("the body ended before its end")]
    Truncated,
    /// The reader was too slow for a body that is not kept.
    #[error("the reader fell behind a body that is not kept")]
    Lagged,
}

/// Nobody reads a body that will not be kept: there is no reason to fetch on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no reader is left")]
pub struct Unread;

/// The writing end; dropped without [`Writer::finish`] it fails the body.
#[derive(Debug)]
pub struct Writer(Arc<Growing>);

/// A reading end.
#[derive(Debug)]
pub struct Reader {
    body: Arc<Growing>,
    slot: usize,
    left: Option<u64>,
}

/// A new body; `window_bytes` is how much of it is kept, all of it when `None`.
pub fn growing(window_bytes: Option<u64>) -> (Writer, Arc<Growing>) {
    let body = Arc::new(Growing {
        inner: Mutex::new(Inner {
            pieces: VecDeque::new(),
            start: 0,
            end: 0,
            state: State::Filling,
            kept: window_bytes.map_or(Kept::All, Kept::Window),
            readers: Vec::new(),
            readers_open: 0,
            read: false,
            writer: None,
        }),
    });
    (Writer(Arc::clone(&body)), body)
}

impl Growing {
    /// A reader of the whole body; `None` when its beginning is no longer kept.
    pub fn reader(self: &Arc<Self>) -> Option<Reader> {
        self.reader_of(0, None)
    }

    /// A reader of `left` bytes from `offset` on (to the end if `None`); `None` when they are no longer kept. Bytes
    /// that have not come yet are waited for.
    pub fn reader_of(self: &Arc<Self>, offset: u64, left: Option<u64>) -> Option<Reader> {
        let mut inner = self.inner.lock();
        if inner.start > offset {
            return None;
        }
        let place = Place { at: offset, waker: None };
        let free = inner.readers.iter().position(Option::is_none);
        let slot = free.unwrap_or_else(|| {
            inner.readers.push(None);
            inner.readers.len() - 1
        });
        if let Some(free) = inner.readers.get_mut(slot) {
            *free = Some(place);
        }
        inner.readers_open += 1;
        inner.read = true;
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
        Some(Reader { body: Arc::clone(self), slot, left })
    }

    /// Bytes held now.
    pub fn held_bytes(&self) -> u64 {
        let inner = self.inner.lock();
        inner.end - inner.start
    }

    /// Whether the byte at `offset` has come or may still come.
    pub(crate) fn may_bring(&self, offset: u64) -> bool {
        let inner = self.inner.lock();
        offset < inner.end || inner.state == State::Filling
    }

    /// Bytes that have come so far.
    pub(crate) fn written(&self) -> u64 {
        self.inner.lock().end
    }

    fn fail(&self) {
        let mut inner = self.inner.lock();
        if inner.state == State::Filling {
            inner.state = State::Failed;
            inner.wake_readers();
        }
    }
}

impl Inner {
    fn wake_readers(&mut self) {
        for place in self.readers.iter_mut().flatten() {
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }

    fn fastest(&self) -> Option<u64> {
        self.readers.iter().flatten().map(|place| place.at).max()
    }

    /// Drops what lies more than a window behind the end and what the fastest reader has had.
    fn trim(&mut self) {
        let (until, fastest) = match self.kept {
            Kept::All => return,
            Kept::From(offset) => (offset, u64::MAX),
            Kept::Window(window) => (self.end.saturating_sub(window), self.fastest().unwrap_or(u64::MAX)),
        };
        while let Some(first) = self.pieces.front() {
            let after = self.start + first.len() as u64;
            if after > until || after > fastest {
                return;
            }
            self.start = after;
            self.pieces.pop_front();
        }
    }

    /// The piece at `at`, from `at` on.
    fn piece_at(&self, at: u64) -> Option<Bytes> {
        // Readers are mostly at the end: look from there.
        let mut end = self.end;
        for piece in self.pieces.iter().rev() {
            let start = end - piece.len() as u64;
            if start <= at && at < end {
                return Some(piece.slice(usize::try_from(at - start).unwrap_or(usize::MAX)..));
            }
            end = start;
        }
        None
    }
}

impl Writer {
    /// Adds a piece and wakes the readers. For a body that is kept as a window, waits while even the fastest reader is
    /// a window behind.
    ///
    /// # Errors
    /// [`Unread`] when the body is kept as a window and its last reader has left.
    pub async fn write(&self, piece: Bytes) -> Result<(), Unread> {
        self.push(piece);
        poll_fn(|cx| self.poll_room(cx)).await
    }

    /// Adds a piece and wakes the readers, without waiting for any.
    pub(crate) fn push(&self, piece: Bytes) {
        if !piece.is_empty() {
            let mut inner = self.0.inner.lock();
            inner.end += piece.len() as u64;
            inner.pieces.push_back(piece);
            inner.trim();
            inner.wake_readers();
        }
    }

    /// Ready when there is room for more.
    pub(crate) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<Result<(), Unread>> {
        let mut inner = self.0.inner.lock();
        let Kept::Window(window) = inner.kept else { return Poll::Ready(Ok(())) };
        match inner.fastest() {
            None if inner.read => Poll::Ready(Err(Unread)),
            // The first one is on its way.
            None if inner.end <= window => Poll::Ready(Ok(())),
            Some(at) if inner.end.saturating_sub(at) <= window => Poll::Ready(Ok(())),
            None | Some(_) => {
                inner.writer = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// From now on only a window is kept: the response turned out too large to be stored.
    pub fn keep_only(&self, window_bytes: u64) {
        let mut inner = self.0.inner.lock();
        inner.kept = Kept::Window(window_bytes);
        inner.trim();
    }

    /// From now on only what lies behind `offset` is kept: the disk has what is before.
    pub(crate) fn keep_from(&self, offset: u64) {
        let mut inner = self.0.inner.lock();
        inner.kept = Kept::From(offset);
        inner.trim();
    }

    /// The disk has what lies before `offset`: it is let go of, unless it is kept for memory.
    pub(crate) fn seal(&self, offset: u64) {
        let mut inner = self.0.inner.lock();
        if let Kept::From(before) = &mut inner.kept {
            *before = offset.max(*before);
            inner.trim();
        }
    }

    /// The pieces that are kept.
    pub(crate) fn pieces(&self) -> Vec<Bytes> {
        self.0.inner.lock().pieces.iter().cloned().collect()
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.0.inner.lock().end
    }

    /// The body is complete, as its framing proved. Returns its pieces if all of it was kept.
    pub fn finish(&self) -> Option<Vec<Bytes>> {
        let mut inner = self.0.inner.lock();
        inner.state = State::Complete;
        inner.wake_readers();
        (inner.start == 0 && inner.kept == Kept::All).then(|| inner.pieces.iter().cloned().collect())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.0.fail();
    }
}

impl Reader {
    /// Whether its end is the body's.
    pub(crate) const fn is_to_the_end(&self) -> bool {
        self.left.is_none()
    }

    /// The next piece, `None` at the proven end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyCut>>> {
        if self.left == Some(0) {
            return Poll::Ready(None);
        }
        let mut inner = self.body.inner.lock();
        let Some(at) = inner.readers.get(self.slot).and_then(Option::as_ref).map(|place| place.at) else {
            return Poll::Ready(None);
        };
        if at < inner.start {
            return Poll::Ready(Some(Err(BodyCut::Lagged)));
        }
        if let Some(mut piece) = inner.piece_at(at) {
            if let Some(left) = &mut self.left {
                piece.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= piece.len() as u64;
            }
            if let Some(place) = inner.readers.get_mut(self.slot).and_then(Option::as_mut) {
                place.at += piece.len() as u64;
            }
            if let Some(writer) = inner.writer.take() {
                writer.wake();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        match inner.state {
            State::Complete if at > inner.end || self.left.is_some_and(|left| left > 0) => {
                // Asked for more than there is: the length that was announced was wrong.
                Poll::Ready(Some(Err(BodyCut::Truncated)))
            }
            State::Complete => Poll::Ready(None),
            State::Failed => Poll::Ready(Some(Err(BodyCut::Truncated))),
            State::Filling => {
                if let Some(place) = inner.readers.get_mut(self.slot).and_then(Option::as_mut) {
                    place.waker = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// The next piece, `None` at the proven end.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyCut>> {
        poll_fn(|cx| self.poll_next(cx)).await
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inner = self.body.inner.lock();
        if let Some(slot) = inner.readers.get_mut(self.slot)
            && slot.take().is_some()
        {
            inner.readers_open -= 1;
        }
        if let Some(writer) = inner.writer.take() {
            writer.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut reader: Reader) -> Result<Vec<u8>, BodyCut> {
        let mut read = Vec::new();
        while let Some(piece) = reader.next().await {
            read.extend_from_slice(&piece?);
        }
        Ok(read)
    }

    #[tokio::test]
    async fn a_late_reader_gets_the_body_from_its_beginning() {
        let (writer, body) = growing(None);
        writer.write(Bytes::from_static(b"ab")).await.expect("kept bodies need no reader");
        let early = tokio::spawn(all(body.reader().expect("kept")));
        writer.write(Bytes::from_static(b"cd")).await.expect("kept bodies need no reader");
        let late = body.reader().expect("kept");
        assert_eq!(writer.finish().map(|pieces| pieces.concat()), Some(b"abcd".to_vec()));
        assert_eq!(all(late).await, Ok(b"abcd".to_vec()));
        assert_eq!(early.await.expect("no panic"), Ok(b"abcd".to_vec()));
    }

    #[tokio::test]
    async fn a_writer_that_is_dropped_cuts_its_readers() {
        let (writer, body) = growing(None);
        let reader = body.reader().expect("kept");
        writer.write(Bytes::from_static(b"ab")).await.expect("kept");
        drop(writer);
        assert_eq!(all(reader).await, Err(BodyCut::Truncated));
    }

    #[tokio::test]
    async fn a_window_waits_for_the_fastest_reader_and_leaves_the_slowest_behind() {
        let (writer, body) = growing(Some(4));
        let mut fast = body.reader().expect("kept");
        let mut slow = body.reader().expect("kept");
        writer.write(Bytes::from_static(b"abcd")).await.expect("room");
        let writing = tokio::spawn(async move {
            writer.write(Bytes::from_static(b"efgh")).await.expect("readers are there");
            writer.write(Bytes::from_static(b"ijkl")).await.expect("readers are there");
            writer.finish()
        });
        tokio::task::yield_now().await;
        assert!(!writing.is_finished(), "both readers are a window behind");
        let mut read = Vec::new();
        while let Some(piece) = fast.next().await {
            read.extend_from_slice(&piece.expect("the fast one keeps up"));
        }
        assert_eq!(read, b"abcdefghijkl");
        assert_eq!(writing.await.expect("no panic"), None);
        assert_eq!(slow.next().await, Some(Err(BodyCut::Lagged)));
    }

    #[tokio::test]
    async fn a_body_that_is_not_kept_stops_when_nobody_reads() {
        let (writer, body) = growing(Some(4));
        drop(body.reader());
        assert_eq!(writer.write(Bytes::from_static(b"abcdefgh")).await, Err(Unread));
    }

    #[tokio::test]
    async fn a_reader_of_a_part_ends_with_it() {
        let (writer, body) = growing(None);
        let part = body.reader_of(2, Some(3)).expect("kept");
        let beyond = body.reader_of(4, Some(30)).expect("kept");
        writer.write(Bytes::from_static(b"abcdef")).await.expect("kept");
        writer.finish();
        assert_eq!(all(part).await, Ok(b"cde".to_vec()));
        assert_eq!(all(beyond).await, Err(BodyCut::Truncated));
    }
}
