//! The end of the log that is still in memory: buffers that appends are copied into and the writer takes away.
//!
//! ```text
//! put ──> filling ──full──> queue ──next──> (the writer) ──done──> gone
//!            └── the segment is full: a seal goes into the queue, and the next segment begins
//! ```
//!
//! A record gets its final place when it is copied, so the index can name it before it is written; a reader finds it here until
//! the writer is done. There are so many buffers and no more: when all are taken, `put` refuses. A few are kept for what comes next,
//! the others are there only while the disk lags behind.
//!
//! Invariant: places are handed out in the order of the log, and what is queued is written in that order. A refused record
//! leaves nothing behind.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::index::Place;
use super::record::{Header, Kind};
use super::segment::{LINES_MAX, Line, low, summary_bytes};

/// What the tail may take.
#[derive(Clone, Copy)]
pub(super) struct Bounds {
    pub(super) salt: u64,
    pub(super) segment_bytes: u64,
    pub(super) buffer_bytes: usize,
    /// At most.
    pub(super) buffers: usize,
    /// Of them, those that are kept when nothing waits.
    pub(super) spares: usize,
}

pub(super) struct Tail {
    bounds: Bounds,
    /// The segment that the next record goes to, and where in it.
    pub(super) seq: u64,
    at: u64,
    /// What the segment holds so far.
    lines: Vec<Line>,
    /// Whether a summary of all that stands at its end.
    summarized: bool,
    filling: Vec<u8>,
    filling_at: u64,
    queue: VecDeque<Arc<Chunk>>,
    spare: Vec<Vec<u8>>,
    /// Tombstones that found no room; written before anything is called durable.
    pub(super) owed: HashMap<u128, u64>,
    /// Segments up to this one are given up: they hold what must not come back, and nobody remembers what.
    pub(super) condemned: u64,
    pub(super) closed: bool,
}

/// A piece of a segment to be written.
pub(super) struct Chunk {
    pub(super) seq: u64,
    pub(super) offset: u64,
    pub(super) bytes: Vec<u8>,
    pub(super) seal: Option<Seal>,
}

/// The end of a segment.
pub(super) struct Seal {
    pub(super) lines: Vec<Line>,
    pub(super) summarized: bool,
}

impl Tail {
    /// A tail that goes on in segment `seq` at `at`, behind what `lines` tell.
    pub(super) fn new(bounds: Bounds, seq: u64, at: u64, lines: Vec<Line>, summarized: bool) -> Self {
        Self {
            bounds,
            seq,
            at,
            lines,
            summarized,
            filling: Vec::new(),
            filling_at: at,
            queue: VecDeque::new(),
            spare: Vec::new(),
            owed: HashMap::new(),
            condemned: 0,
            closed: false,
        }
    }

    /// Copies a record to the end of the log and tells its place; `None` when there is no room now. May begin a segment.
    pub(super) fn put(&mut self, mut header: Header, pieces: &[&[u8]]) -> Option<Place> {
        if self.closed {
            return None;
        }
        let length = header.record_bytes();
        if self.lines.len() >= LINES_MAX
            || self.at + length + summary_bytes(self.lines.len() + 1) > self.bounds.segment_bytes
        {
            self.turn()?;
        }
        let bytes = usize::try_from(length).ok()?;
        if self.filling.len() + bytes > self.bounds.buffer_bytes {
            self.enqueue(None)?;
        }
        if self.filling.capacity() == 0 {
            self.filling = self.spare.pop().unwrap_or_else(|| Vec::with_capacity(self.bounds.buffer_bytes));
        }
        let offset = self.at;
        header.seq = low(self.seq);
        self.filling.extend_from_slice(&header.encode(self.bounds.salt));
        for piece in pieces {
            self.filling.extend_from_slice(piece);
        }
        self.at += length;
        self.filling.resize(usize::try_from(self.at - self.filling_at).ok()?, 0);
        let place = match header.kind {
            Kind::Data => Place::new(self.seq, offset, length),
            Kind::Tombstone | Kind::Summary => Place::tombstone(self.seq, offset),
        };
        self.lines.push(Line::new(header.key, header.version, place));
        self.summarized = false;
        Some(place)
    }

    /// Ends the segment and begins the next; `None` when there is no room for its end now.
    pub(super) fn turn(&mut self) -> Option<()> {
        if self.at > 0 {
            // The lines go with the seal only once it is sure to be taken.
            self.has_room()?;
            let seal = Seal { lines: std::mem::take(&mut self.lines), summarized: self.summarized };
            self.enqueue(Some(seal))?;
        }
        self.seq += 1;
        self.at = 0;
        self.filling_at = 0;
        self.summarized = false;
        Some(())
    }

    /// The first chunk to be written that begins before `target`; it stays until [`Tail::done`].
    pub(super) fn next(&mut self, target: (u64, u64)) -> Option<Arc<Chunk>> {
        if self.queue.is_empty() && !self.filling.is_empty() {
            self.enqueue(None);
        }
        self.queue.front().filter(|chunk| (chunk.seq, chunk.offset) < target).map(Arc::clone)
    }

    /// The first chunk is written; its buffer is used again if the writer has let go of it.
    pub(super) fn done(&mut self, written: Arc<Chunk>) {
        self.queue.pop_front();
        if let Some(mut chunk) = Arc::into_inner(written)
            && chunk.bytes.capacity() >= self.bounds.buffer_bytes
            && self.spare.len() < self.bounds.spares
        {
            chunk.bytes.clear();
            self.spare.push(chunk.bytes);
        }
    }

    /// So many buffers may wait for the writer from now on, the one that is being filled included.
    pub(super) fn let_wait(&mut self, buffers: usize) {
        self.bounds.buffers = buffers;
    }

    /// The end of the log.
    pub(super) fn position(&self) -> (u64, u64) {
        (self.seq, self.at)
    }

    /// The first segment that is not written to its end.
    pub(super) fn unwritten_seq(&self) -> u64 {
        self.queue.front().map_or(self.seq, |chunk| chunk.seq)
    }

    /// Whether a buffer waits for the writer.
    pub(super) fn is_due(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Whether nothing waits, not even the end of the segment.
    pub(super) fn is_at_rest(&self) -> bool {
        self.queue.is_empty()
            && self.filling.is_empty()
            && self.owed.is_empty()
            && self.condemned == 0
            && (self.at == 0 || self.summarized)
    }

    /// The bytes of a record that is not yet written.
    pub(super) fn find(&self, seq: u64, offset: u64, length: usize) -> Option<&[u8]> {
        let slice = |from: u64, bytes: &'_ [u8]| {
            let from = usize::try_from(offset.checked_sub(from)?).ok()?;
            (from.checked_add(length)? <= bytes.len()).then_some(from)
        };
        if seq == self.seq
            && let Some(from) = slice(self.filling_at, &self.filling)
        {
            return self.filling.get(from..from + length);
        }
        self.queue.iter().filter(|chunk| chunk.seq == seq).find_map(|chunk| {
            let from = slice(chunk.offset, &chunk.bytes)?;
            chunk.bytes.get(from..from + length)
        })
    }

    /// What is known of the records of a segment between two offsets, while it is not written to its end.
    pub(super) fn lines_between(&self, seq: u64, from: u64, to: u64) -> Vec<Line> {
        let sealed = self.queue.iter().filter(|chunk| chunk.seq == seq).find_map(|chunk| chunk.seal.as_ref());
        let lines = match sealed {
            Some(seal) => &seal.lines,
            None if seq == self.seq => &self.lines,
            None => return Vec::new(),
        };
        lines.iter().filter(|line| (from..to).contains(&line.offset())).copied().collect()
    }

    fn has_room(&self) -> Option<()> {
        // The buffer being filled is one of them.
        (self.queue.len() + 1 < self.bounds.buffers).then_some(())
    }

    fn enqueue(&mut self, seal: Option<Seal>) -> Option<()> {
        self.has_room()?;
        let bytes = std::mem::take(&mut self.filling);
        self.queue.push_back(Arc::new(Chunk { seq: self.seq, offset: self.filling_at, bytes, seal }));
        self.filling_at = self.at;
        Some(())
    }
}
