//! Small responses on disk: a log of segment files under a hard cap of bytes. It knows keys, versions and bytes, nothing of
//! HTTP, reads no clock and starts no thread.
//!
//! ```text
//! append ──> tail (buffers in memory) ──flush──> segment … segment ──full──> the oldest is reclaimed
//!              └──────────── locate, try_read, read ────────┘         what was read since goes to the tail again
//! ```
//!
//! | | What happens | Where |
//! |---|---|---|
//! | 1 | A record is copied into a buffer and gets its place; refused when all buffers are taken | [`Segments::append`], `tail.rs` |
//! | 2 | The index names it, 24 bytes a key, in memory alone | `index.rs` |
//! | 3 | The owner, told that a buffer is full, calls [`Segments::flush`] where it may block: one large write | `writer.rs` |
//! | 4 | A full segment gets a summary and is synced; the oldest makes room | `segment.rs`, `reclaim.rs` |
//! | 5 | A worker reads from the page cache or is told that it would wait; a pool reads and waits | `reading.rs` |
//! | 6 | A stop leaves a snapshot of the index; a start reads it, or the summaries, and of the last segment the headers | `snapshot.rs`, `recover.rs` |
//!
//! The owner drives `flush` because it has what we have not: a pool that may block, a clock for its back-off, and a moment to
//! stop. So a test decides what is written when.
//!
//! **Versions.** The caller numbers what it appends for a key; the higher number wins, here and after a restart. What is refused
//! or forgotten takes what is older with it, and a tombstone says so on disk: a newer response that is lost never leaves an older
//! one to be served. Of a key that the log has nothing of it remembers nothing: there, order is the caller's.
//!
//! Invariants: bytes are compared with their sum before they leave. What [`Segments::sync`] has acknowledged is not undone by
//! a crash: it may be missing, but nothing older than it comes back. The files never take more than the capacity. Trouble with the
//! disk costs records, never a panic and never a wrong answer.
//!
//! Absent: partial reads (records are small; large bodies are chunks), encryption, and an order among keys. Damage that eats
//! the header of a synced record in the last, unsealed segment cannot be told from a torn write, so there an older record of the
//! key may be found; the response's own freshness and purge epoch still decide.
//!
//! Locks, in order: `writer`, `tail`, `live`, a shard of the index.

mod index;
mod layout;
mod reading;
mod reclaim;
mod record;
mod recover;
mod segment;
mod snapshot;
mod tail;
mod usage;
mod writer;

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use self::index::{Entry, Index, Place};
use self::record::{Header, Kind};
use self::segment::Segment;
use self::tail::Tail;
use self::usage::Counters;
use self::writer::Writer;
use super::files::Files;

pub use self::reading::{Found, Location, Read};
pub use self::usage::{Recovery, Trouble, Usage};

/// The log.
pub struct Segments {
    files: Arc<dyn Files>,
    settings: Settings,
    salt: u64,
    index: Index,
    tail: Mutex<Tail>,
    live: RwLock<BTreeMap<u64, Arc<Segment>>>,
    /// Number of the segment that is written to.
    last: AtomicU64,
    writer: Mutex<Writer>,
    counters: Counters,
    recovery: Recovery,
}

/// How much the log may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of all files together, never exceeded but for what a start finds until the first flush. At least eight segments.
    pub capacity_bytes: u64,
    /// Bytes of one file, the unit of eviction.
    pub segment_bytes: u64,
    /// Bytes of one buffer: the largest record, and the size of a write.
    pub buffer_bytes: usize,
    /// Buffers, at least two: what may wait for the disk.
    pub buffers: usize,
    /// Keys, with bytes or with a tombstone: bounds the index, at 29 to 58 bytes each.
    pub entries_max: usize,
    /// The log stops to grow, and reuses its own room, when the file system has less than this left.
    pub free_bytes_min: u64,
}

/// What is appended.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// A keyed hash: its low half is the index's hash.
    pub key: u128,
    /// Higher is newer, for this key.
    pub version: u64,
    /// The caller's own.
    pub flags: u32,
    /// The caller's own, in front of the payload.
    pub meta: &'a [u8],
    /// The payload, in one piece or several.
    pub payload: &'a [&'a [u8]],
}

/// What became of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Appended {
    /// It can be read from now on. Where `flush` is true, a buffer waits to be written.
    Kept {
        /// Call [`Segments::flush`] soon.
        flush: bool,
    },
    /// A newer one is here, or this one was forgotten.
    Outdated,
    /// The buffers are taken, or the index is full: flush. What the key had is forgotten.
    Full,
    /// Larger than [`Segments::body_bytes_max`]. What the key had is forgotten.
    TooLarge,
}

/// Why a log was not opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Somebody else has it open.
    #[error("the directory is in use by another process")]
    Locked,
    /// The directory holds something else; it was not touched.
    #[error("the directory holds `{found}`, which is not part of a cache of this kind; nothing was changed")]
    Foreign {
        /// A file that is not ours.
        found: String,
    },
    /// A later version wrote it; it was not touched.
    #[error("the directory has layout {found}, this version knows {known}; nothing was changed")]
    Newer {
        /// The layout there.
        found: u32,
        /// The layout here.
        known: u32,
    },
    /// The settings contradict each other.
    #[error("{0}")]
    Settings(&'static str),
    /// The disk failed; nothing was lost by that.
    #[error("the directory cannot be read")]
    Io(#[from] io::Error),
}

impl Segments {
    /// Opens the log in the directory, or begins one. Reads, but writes nothing into an existing log: a smaller capacity takes
    /// effect at the first flush. Blocks.
    ///
    /// # Errors
    /// See [`OpenError`]; after `Io` it may be tried again.
    pub fn open(files: Arc<dyn Files>, settings: Settings) -> Result<Self, OpenError> {
        settings.check()?;
        recover::open(files, settings)
    }

    /// Appends a record; it replaces what the key had. Copies, never blocks on the disk.
    pub fn append(&self, record: &Record<'_>) -> Appended {
        let Record { key, version, .. } = *record;
        let header = header(record);
        let fits = header.as_ref().is_some_and(|header| header.body_bytes() <= self.body_bytes_max());
        let mut tail = self.tail.lock();
        let held = self.index.find(key);
        if held.is_some_and(|held| {
            held.version > version || (held.version == version && held.place.is_tombstone())
        }) {
            return Appended::Outdated;
        }
        if fits
            && (held.is_some() || self.index.entries() < self.settings.entries_max)
            && let Some(header) = header
        {
            let mut pieces = Vec::with_capacity(record.payload.len() + 1);
            pieces.push(record.meta);
            pieces.extend_from_slice(record.payload);
            if let Some(place) = self.put(&mut tail, header, &pieces) {
                self.index.put(key, version, place);
                return Appended::Kept { flush: tail.is_due() };
            }
        }
        if fits {
            self.counters.refused();
        } else {
            self.counters.dropped();
        }
        if let Some(held) = held.filter(|held| held.version < version) {
            // One below: the refused one itself may be tried again.
            self.bury(&mut tail, key, version - 1, held);
        }
        if fits { Appended::Full } else { Appended::TooLarge }
    }

    /// Forgets what the key has up to this version, and tells whether there was something. Durable with the next `sync`.
    pub fn forget(&self, key: u128, version: u64) -> bool {
        let mut tail = self.tail.lock();
        let Some(held) = self.index.find(key).filter(|held| held.version <= version) else { return false };
        if held.place.is_tombstone() {
            self.index.put(key, version, held.place);
            return false;
        }
        self.bury(&mut tail, key, version, held);
        true
    }

    /// Where the key's record is, if it has one. No I/O; under 100 ns.
    #[inline]
    pub fn locate(&self, key: u128) -> Option<Location> {
        let Entry { version, place } = self.index.find(key)?;
        (!place.is_tombstone()).then_some(Location { key, version, place })
    }

    /// As if the key's record were read: for one that is read from memory. Read a while after it was written it is spared once when
    /// its segment is reclaimed; what is read in its first while only, of that the reader may have had enough.
    pub fn touch(&self, key: u128) {
        self.index.see(key, |place| self.is_past(place));
    }

    /// Spares the key's record once when its segment is reclaimed.
    pub fn spare(&self, key: u128) {
        self.index.see(key, |_| true);
    }

    /// Whether a tenth of the log was written since.
    fn is_past(&self, place: Place) -> bool {
        let segments = self.settings.capacity_bytes / self.settings.segment_bytes.max(1) / RECENT_SHARE;
        place.segments_behind(self.last.load(Ordering::Relaxed)) >= segments
    }

    /// Lets so many bytes wait for the disk, if that is more than the settings say, and as much as the log has use for: they take
    /// memory only while they wait.
    pub fn let_wait(&self, bytes: u64) {
        let bytes = bytes.min(self.settings.capacity_bytes / WAITING_SHARE);
        let buffers =
            usize::try_from(bytes / (self.settings.buffer_bytes as u64).max(1)).unwrap_or(usize::MAX);
        self.tail.lock().let_wait(buffers.max(self.settings.buffers));
    }

    /// The largest meta and payload together, in bytes.
    pub fn body_bytes_max(&self) -> usize {
        self.settings.body_bytes_max()
    }

    /// How the log was found when it was opened.
    pub fn recovery(&self) -> Recovery {
        self.recovery
    }

    /// Puts a record at the end of the log, and a segment that it begins into the table, before anybody learns its place.
    fn put(&self, tail: &mut Tail, header: Header, pieces: &[&[u8]]) -> Option<Place> {
        let before = tail.seq;
        let place = tail.put(header, pieces);
        self.planned(tail, before);
        place
    }

    /// Enters the segment that the tail has turned to since `before`.
    fn planned(&self, tail: &Tail, before: u64) {
        if tail.seq != before {
            self.last.store(tail.seq, Ordering::Relaxed);
            self.live.write().insert(tail.seq, Arc::new(Segment::planned(tail.seq)));
        }
    }

    /// Replaces what the key has by a tombstone of `version`, which is not below it.
    fn bury(&self, tail: &mut Tail, key: u128, version: u64, held: Entry) {
        match self.put(tail, Header::tombstone(key, version), &[]) {
            Some(place) => self.index.put(key, version, place),
            None => self.owe(tail, key, version, held),
        }
    }

    /// The same when there is no room for the tombstone: it is owed, and nothing is durable before it is paid.
    fn owe(&self, tail: &mut Tail, key: u128, version: u64, held: Entry) {
        if tail.owed.len() < OWED_MAX || tail.owed.contains_key(&key) {
            tail.owed.insert(key, version);
            self.index.put(key, version, Place::OWED);
            return;
        }
        // Too many to remember one by one: give up what holds the record, and what is older.
        tail.condemned = tail.condemned.max(self.seq_of(held.place).unwrap_or(tail.seq));
        self.index.take(key, held.place);
    }

    fn segment_of(&self, place: Place) -> Option<Arc<Segment>> {
        let live = self.live.read();
        let (first, _) = live.first_key_value()?;
        live.get(&place.seq_from(*first)).map(Arc::clone)
    }

    fn seq_of(&self, place: Place) -> Option<u64> {
        self.live.read().first_key_value().map(|(first, _)| place.seq_from(*first))
    }
}

impl Settings {
    /// Settings for so many bytes of disk.
    pub fn for_capacity(capacity_bytes: u64) -> Self {
        let least = capacity_bytes / SEGMENTS_MANY;
        let segment_bytes = (capacity_bytes / SEGMENTS_FEW).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_USUAL);
        Self {
            capacity_bytes,
            segment_bytes: segment_bytes.max(least).next_multiple_of(4096).min(index::SEGMENT_BYTES_MAX),
            buffer_bytes: 1 << 20,
            buffers: 4,
            entries_max: usize::try_from(capacity_bytes / ENTRY_BYTES_USUAL).unwrap_or(usize::MAX),
            free_bytes_min: 0,
        }
    }

    fn body_bytes_max(&self) -> usize {
        let whole = self.segment_bytes.saturating_sub(segment::summary_bytes(1));
        let record = whole.min(self.buffer_bytes as u64).min(index::RECORD_BYTES_MAX);
        let body = (record & !(record::UNIT_BYTES - 1)).saturating_sub(record::HEADER_BYTES as u64);
        usize::try_from(body).unwrap_or(usize::MAX)
    }

    fn check(&self) -> Result<(), OpenError> {
        let complaint = if self.segment_bytes > index::SEGMENT_BYTES_MAX {
            "a segment is larger than 1 GiB"
        } else if self.capacity_bytes / self.segment_bytes.max(1) > index::SEGMENTS_MAX / 2 {
            "the capacity has more than 32767 segments"
        } else if self.capacity_bytes / self.segment_bytes.max(1) < SEGMENTS_MIN {
            "the capacity has fewer than eight segments"
        } else if self.buffers < 2 {
            "there are fewer than two buffers"
        } else if self.body_bytes_max() < record::HEADER_BYTES {
            "a segment or a buffer is too small for a record"
        } else {
            return Ok(());
        };
        Err(OpenError::Settings(complaint))
    }
}

impl fmt::Debug for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Segments").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

fn header(record: &Record<'_>) -> Option<Header> {
    let mut payload_bytes = 0usize;
    for piece in record.payload {
        payload_bytes = payload_bytes.checked_add(piece.len())?;
    }
    let body_sum = match record.payload {
        [] => record::sum(record.meta),
        [whole] if record.meta.is_empty() => record::sum(whole),
        pieces => {
            let mut all = Vec::with_capacity(pieces.len() + 1);
            all.push(record.meta);
            all.extend_from_slice(pieces);
            record::sum_of(&all)
        }
    };
    Some(Header {
        kind: Kind::Data,
        flags: record.flags,
        key: record.key,
        version: record.version,
        meta_bytes: u32::try_from(record.meta.len()).ok()?,
        payload_bytes: u32::try_from(payload_bytes).ok()?,
        body_sum,
        seq: 0,
    })
}

/// Of the capacity, what waits for the disk takes no more than this part.
const WAITING_SHARE: u64 = 16;
/// Requests for a record within which this part of the log is written belong together.
const RECENT_SHARE: u64 = 10;
/// What a record takes beside its payload: its header, and its line in the segment's summary.
pub(crate) const RECORD_BYTES_BESIDE: u64 = record::HEADER_BYTES as u64 + 32;
const SEGMENTS_MIN: u64 = 8;
/// A capacity is cut into at least so many segments, so that one eviction takes little.
const SEGMENTS_FEW: u64 = 128;
/// And into no more than so many: each is an open file.
const SEGMENTS_MANY: u64 = 4096;
const SEGMENT_BYTES_MIN: u64 = 1 << 20;
const SEGMENT_BYTES_USUAL: u64 = 64 << 20;
/// Fewer bytes an entry than this on average, and the index is full before the disk.
const ENTRY_BYTES_USUAL: u64 = 512;
/// Tombstones that may be owed.
const OWED_MAX: usize = 1 << 16;
