//! A large body: which of its chunks are here, which are coming, and who fetches the rest.
//!
//! A [`Large`] stands in a stored response in place of its bytes. It is shared by everyone who reads that response, by
//! the fill that writes it, and by every later version of its head (a 304 changes the head alone). Its bytes are chunks on
//! disk (`tiers/chunks`), named in a [`Manifest`] that may have holes. A hole that somebody needs becomes a [`Slice`]: the
//! permit to fetch a run of chunks from the origin by a range request under the body's strong validator.
//!
//! ```text
//!                    ┌─ coming: in a flight's memory ─► read along         (a fill, or a slice)
//! byte wanted ─place─┼─ noted in the manifest ────────► read from disk ──► not there, or damaged: a hole again
//!                    ├─ asked for ────────────────────► wait for the head
//!                    └─ a hole ───────────────────────► Slice ──► asked for ──► coming ──► noted
//! ```
//!
//! `reader.rs` walks that graph for one client, `spill.rs` cuts what arrives into chunks and puts them, `slice.rs` is the
//! permit, `store.rs` the store's part. The origin is asked by the root (`serve/slices.rs`).
//!
//! Invariants: for each chunk at most one slice is asked for at a time; all bytes are of one representation: a hole is
//! filled only by an answer with the same strong validator, and when the origin shows another the holes stay holes for
//! ever ([`Large::is_changed`]). Lock order: `state`, then that of a growing body; neither is held across an await.
//!
//! RFC 9110 §14, RFC 9111 §3.3 and §3.4.

mod reader;
mod slice;
mod spill;
mod store;

use std::ops::Range;
use std::sync::Arc;

use http::HeaderValue;
use parking_lot::Mutex;
use tokio::sync::watch;

pub use reader::{FilePart, LargeReader};
pub use slice::{Slice, SliceWriting};
pub(crate) use spill::{SPILL_BYTES, Spill};

use crate::body::{Growing, Reader};
use crate::coalesce::Failure;
use crate::rules::partial::{ByteRange, Requested};
use crate::tiers::chunks::{CHUNK_BYTES, ChunkId};
use crate::tiers::manifest::{CHUNKS_MAX, Manifest};
use crate::tiers::shelf::Shelf;

/// A body on disk, or on its way there.
#[derive(Debug)]
pub struct Large {
    shelf: Arc<Shelf>,
    /// The strong validator under which holes are fetched; without one they cannot be.
    validator: Option<HeaderValue>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    flights: Vec<Arc<Flight>>,
    /// The origin has another representation now, or broke off the one that was to be stored.
    changed: bool,
    /// Why a slice could not be fetched, last time.
    failure: Option<Failure>,
}

/// A run of chunks that is being fetched.
#[derive(Debug)]
pub(crate) struct Flight {
    run: Range<u32>,
    stage: watch::Sender<Stage>,
}

#[derive(Clone, Debug)]
enum Stage {
    /// The origin has not answered yet.
    Asked,
    /// Its bytes are coming, from offset `first` of the body on.
    Coming { first: u64, body: Arc<Growing> },
    /// All that will come has come and is noted.
    Ended,
}

/// Where a byte is.
enum Place {
    /// Behind the end.
    End,
    /// In this chunk on disk, at `range` of it and no farther than the reader wants.
    Noted { index: u32, id: ChunkId, range: Range<u32> },
    /// On its way: read along.
    Coming(Reader),
    /// Asked for.
    Asked(watch::Receiver<Stage>),
    /// Nowhere: the reader has this fetched.
    Hole(Slice),
    /// Nowhere, and it cannot be had.
    Gone,
}

/// What is here of a body.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Holding {
    /// Chunks that are here.
    pub chunks: u32,
    /// Chunks that are missing.
    pub missing: u32,
}

impl Large {
    /// A body of which nothing is here.
    pub(crate) fn new(
        shelf: &Arc<Shelf>,
        length: Option<u64>,
        validator: Option<HeaderValue>,
    ) -> Option<Arc<Self>> {
        let manifest = match length {
            Some(length) => Manifest::of_length(length).ok()?,
            None => Manifest::growing(),
        };
        Some(Self::of(shelf, manifest, validator))
    }

    /// A body as it was written down.
    pub(crate) fn of(shelf: &Arc<Shelf>, manifest: Manifest, validator: Option<HeaderValue>) -> Arc<Self> {
        let state = State { manifest, flights: Vec::new(), changed: false, failure: None };
        Arc::new(Self { shelf: Arc::clone(shelf), validator, state: Mutex::new(state) })
    }

    /// Its length, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.state.lock().manifest.length()
    }

    /// Whether every byte is on disk, as far as is known.
    pub fn is_whole(&self) -> bool {
        self.state.lock().manifest.is_whole()
    }

    /// What is here of it.
    pub fn holding(&self) -> Holding {
        let state = self.state.lock();
        let chunks = u32::try_from(state.manifest.ids().count()).unwrap_or(u32::MAX);
        let all = state.manifest.length().map_or(chunks, chunks_of);
        Holding { chunks, missing: all.saturating_sub(chunks) }
    }

    /// Whether it is the same representation as `other`, and may be given its chunks.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.validator.is_some()
            && self.validator == other.validator
            && self.length() == other.length()
            && !self.is_changed()
    }

    /// Whether the byte at `offset` is neither on disk nor on its way.
    pub fn lacks(&self, offset: u64) -> bool {
        let index = index_of(offset);
        let state = self.state.lock();
        state.manifest.id(index).is_none() && !state.flights.iter().any(|flight| flight.covers(index))
    }

    /// Whether the origin has shown another representation: what is missing will not come any more.
    pub fn is_changed(&self) -> bool {
        self.state.lock().changed
    }

    /// Why the origin did not bring what was missing, last time.
    pub fn failure(&self) -> Option<Failure> {
        self.state.lock().failure
    }

    /// A reader of the bytes from `offset` on, to `end` or to the end of the body.
    pub fn reader(self: &Arc<Self>, offset: u64, end: Option<u64>) -> LargeReader {
        LargeReader::new(Arc::clone(self), offset, end)
    }

    /// Marks all its chunks as read, as when the body was served from memory.
    pub(crate) fn touch(&self) {
        let ids: Vec<_> = self.state.lock().manifest.ids().collect();
        for id in ids {
            self.shelf.chunks.touch(id);
        }
    }

    /// Bytes it costs in memory. Never changes once the length is known.
    pub(crate) fn weight(&self) -> usize {
        size_of::<Self>() + self.state.lock().manifest.weight()
    }

    /// The manifest as it is written down.
    pub(crate) fn encode(&self) -> Vec<u8> {
        self.state.lock().manifest.encode()
    }

    pub(crate) const fn validator(&self) -> Option<&HeaderValue> {
        self.validator.as_ref()
    }

    /// Enters a fill of the whole body, whose bytes come in `body` from the first one on. What it did not bring to disk is
    /// read there as long as it is not told to leave.
    pub(crate) fn begin_whole(&self, body: &Arc<Growing>) -> Arc<Flight> {
        let coming = Stage::Coming { first: 0, body: Arc::clone(body) };
        self.enter(0..CHUNKS_MAX, coming)
    }

    /// Enters an answer to a range request that is here already.
    pub(crate) fn begin_slice(self: &Arc<Self>, range: Range<u64>) -> Slice {
        let flight = self.enter(index_of(range.start)..chunks_of(range.end), Stage::Asked);
        Slice::new(Arc::clone(self), flight)
    }

    fn enter(&self, run: Range<u32>, stage: Stage) -> Arc<Flight> {
        let flight = Arc::new(Flight { run, stage: watch::Sender::new(stage) });
        self.state.lock().flights.push(Arc::clone(&flight));
        flight
    }

    /// A flight has landed or failed. Who waits for it looks again.
    pub(crate) fn leave(&self, flight: &Arc<Flight>) {
        self.state.lock().flights.retain(|known| !Arc::ptr_eq(known, flight));
        flight.stage.send_replace(Stage::Ended);
    }

    fn fail(&self, failure: Failure) {
        self.state.lock().failure = Some(failure);
    }

    /// What is missing will not come any more.
    pub(crate) fn change(&self) {
        self.state.lock().changed = true;
    }

    /// A chunk is on disk.
    fn note(&self, index: u32, id: ChunkId) {
        // One that contradicts the length belongs to a body that is being given up.
        let _ = self.state.lock().manifest.note(index, id);
    }

    /// A chunk is not on disk any more, or is not what it was.
    fn lose(&self, index: u32, id: ChunkId) {
        let mut state = self.state.lock();
        if state.manifest.id(index) == Some(id) {
            state.manifest.forget(index);
        }
    }

    /// The body turned out to have this length; `false` where that contradicts what is known.
    pub(crate) fn finish(&self, length: u64) -> bool {
        self.state.lock().manifest.finish(length).is_ok()
    }

    /// Where the byte at `at` is, for a reader that wants bytes up to `until`.
    fn place(self: &Arc<Self>, at: u64, until: Option<u64>) -> Place {
        let mut state = self.state.lock();
        let end = match (until, state.manifest.length()) {
            (Some(until), Some(length)) => Some(until.min(length)),
            (until, length) => until.or(length),
        };
        if end.is_some_and(|end| at >= end) {
            return Place::End;
        }
        let index = index_of(at);
        let mut asked = None;
        for flight in state.flights.iter().filter(|flight| flight.covers(index)) {
            match &*flight.stage.borrow() {
                // A slice is always worth waiting for: an origin that does not know ranges would send the whole again.
                Stage::Coming { first, body } if flight.end().is_some() || self.is_near(at, *first, body) => {
                    let left = match (flight.end(), end) {
                        (Some(landed), end) => Some(end.unwrap_or(u64::MAX).min(landed) - at),
                        (None, end) => end.map(|end| end - at),
                    };
                    let from = at.checked_sub(*first).filter(|from| body.may_bring(*from));
                    if let Some(reader) = from.and_then(|from| body.reader_of(from, left)) {
                        return Place::Coming(reader);
                    }
                }
                Stage::Asked => asked = Some(flight.stage.subscribe()),
                Stage::Coming { .. } | Stage::Ended => {}
            }
        }
        if let Some(id) = state.manifest.id(index) {
            let start = u64::from(index) * CHUNK;
            let most = end.unwrap_or(u64::MAX).min(start + CHUNK).min(at + PIECE_BYTES);
            let within = |offset: u64| u32::try_from(offset.saturating_sub(start)).unwrap_or(CHUNK_BYTES);
            return Place::Noted { index, id, range: within(at)..within(most) };
        }
        if let Some(asked) = asked {
            return Place::Asked(asked);
        }
        if state.changed || self.validator.is_none() {
            return Place::Gone;
        }
        let run = state.run_from(index, end);
        let flight = Arc::new(Flight { run, stage: watch::Sender::new(Stage::Asked) });
        state.flights.push(Arc::clone(&flight));
        Place::Hole(Slice::new(Arc::clone(self), flight))
    }

    /// Where on disk the byte at `at` is, and what follows it in its chunk up to `until`.
    fn noted(&self, at: u64, until: Option<u64>) -> Option<(ChunkId, Range<u32>)> {
        let state = self.state.lock();
        let length = state.manifest.length()?;
        let id = state.manifest.id(index_of(at))?;
        let start = u64::from(index_of(at)) * CHUNK;
        let end =
            until.map_or(length, |until| until.min(length)).min(start + CHUNK).min(at + FILE_PIECE_BYTES);
        let within = |offset: u64| u32::try_from(offset.saturating_sub(start)).unwrap_or(CHUNK_BYTES);
        (at < end).then(|| (id, within(at)..within(end)))
    }

    /// Whether it is worth waiting until a flight comes to `at`, rather than to ask the origin for it.
    fn is_near(&self, at: u64, first: u64, body: &Growing) -> bool {
        self.validator.is_none() || at <= (first + body.written()).saturating_add(AHEAD_BYTES_MAX)
    }
}

impl State {
    /// The run of chunks to fetch for a hole at `index`: as far as they are missing and wanted.
    fn run_from(&self, index: u32, end: Option<u64>) -> Range<u32> {
        let most = end.map_or(CHUNKS_MAX, chunks_of).min(index.saturating_add(RUN_CHUNKS_MAX));
        let is_free = |index: &u32| {
            let comes = |flight: &Arc<Flight>| flight.covers(*index) && flight.may_bring(*index);
            self.manifest.id(*index).is_none() && !self.flights.iter().any(comes)
        };
        let run = (index.saturating_add(1)..most).take_while(is_free).count();
        index..index.saturating_add(u32::try_from(run).unwrap_or(0)).saturating_add(1)
    }
}

impl Flight {
    fn covers(&self, index: u32) -> bool {
        self.run.contains(&index)
    }

    /// Whether the chunk may still come, or has come and lies in memory.
    fn may_bring(&self, index: u32) -> bool {
        match &*self.stage.borrow() {
            Stage::Asked => true,
            Stage::Coming { first, body } => {
                (u64::from(index) * CHUNK).checked_sub(*first).is_some_and(|offset| body.may_bring(offset))
            }
            Stage::Ended => false,
        }
    }

    /// The offset behind its last byte, unless it goes to the body's end.
    fn end(&self) -> Option<u64> {
        (self.run.end < CHUNKS_MAX).then(|| u64::from(self.run.end) * CHUNK)
    }
}

/// The chunk that holds the byte at `offset`.
pub(crate) fn index_of(offset: u64) -> u32 {
    u32::try_from(offset / CHUNK).unwrap_or(u32::MAX)
}

/// Chunks of a body of `length` bytes.
fn chunks_of(length: u64) -> u32 {
    u32::try_from(length.div_ceil(CHUNK)).unwrap_or(u32::MAX)
}

/// The bytes of whole chunks to ask for on behalf of a client who wants these ranges of a body that nothing is known of.
/// `None` where that cannot be told: for a suffix, and for several ranges.
pub fn aligned(requested: &Requested) -> Option<Range<u64>> {
    match *requested.ranges() {
        [ByteRange::FromTo(first, last)] => Some(whole_chunks(first, Some(last))),
        [ByteRange::From(first)] => Some(whole_chunks(first, None)),
        _ => None,
    }
}

/// The bytes of whole chunks that a client who wants `first` to `last` is to be given at first; `last` is `None` for one who wants all that follows.
fn whole_chunks(first: u64, last: Option<u64>) -> Range<u64> {
    let start = u64::from(index_of(first)) * CHUNK;
    let most = start.saturating_add(u64::from(RUN_CHUNKS_MAX) * CHUNK);
    let end = last.map_or(most, |last| last.saturating_add(1).div_ceil(CHUNK).saturating_mul(CHUNK));
    start..end.min(most)
}

/// The offset of the chunk that holds the byte at `offset`: what lies before it is whole chunks.
pub fn chunks_before(offset: u64) -> u64 {
    offset / CHUNK * CHUNK
}

pub(crate) const CHUNK: u64 = CHUNK_BYTES as u64;
/// Chunks that one slice asks for: what is fetched in vain when the client turns away.
const RUN_CHUNKS_MAX: u32 = 8;
/// Bytes of one read from disk: what a stream holds in memory.
const PIECE_BYTES: u64 = 128 * 1024;
/// Bytes of a file that are sent at once: so many are looked for in the page cache shortly before.
const FILE_PIECE_BYTES: u64 = CHUNK;
/// A reader that is so far ahead of a flight has its own place fetched.
const AHEAD_BYTES_MAX: u64 = 4 * CHUNK;
