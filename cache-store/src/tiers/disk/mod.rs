//! Whole responses and lists of variants on disk: what memory forgets, and what a restart begins with.
//!
//! What is stored is written down as well (`record.rs` says how, `segments/` where), at once while there is room and at its second
//! request when there is none (`admit.rs`), so a kill loses the last moments and not the hot set. What the log refuses for being behind is
//! *late* (`late.rs`). Reading back is `reading.rs`, for `promotion.rs`. A purge by URL takes the record away; a soft
//! one of what is on disk only leaves a *mark* under a key derived from the resource's, which whoever reads the response later
//! applies to it. Neither is waited for: the log of purges is durable before, and what it says is done again after a kill.
//!
//! ```text
//! insert ── write ──► segments          purge ── log (fsync) ── forget | mark ──► acknowledged
//! ```
//!
//! Bodies above 256 KiB, or too heavy for memory, are not in the log: it has their head and the list of their chunks, which stand on
//! a [`Shelf`] of their own.
//!
//! The log writes when it is told to: [`Disk::tend`], which the node calls every second and a full buffer asks for, flushes it
//! on the pool. A disk that fails is left alone until the next of those calls.
//!
//! Invariants: every record carries a version that rises over restarts, and of two records for a key the higher one
//! counts; trouble with the disk costs hits, never the answer. Called with the lock of the key's shard held, but for `load`
//! and `settle`, which wait.

mod log;
mod reading;
#[cfg(test)]
mod tests;
mod usage;

use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::runtime::Handle;

pub(super) use self::log::Log;
use self::log::mark_of;
pub(crate) use self::reading::Loaded;
pub use self::usage::{ChunksUsage, DiskUsage};
use super::admit::{DiskAdmission, Seen};
use super::files::{Directory, Files};
use super::gate::{Answered, Gate};
use super::late::Late;
use super::objects::Slot;
use super::record;
use super::replay::Replay;
use super::segments::{self, Appended, OpenError, Segments, Settings};
use super::shelf::{LARGE_BYTES_MIN, Shelf, log_bytes_max};
use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::purge::{Purges, Resource};
use crate::stock::Item;
use crate::timestamp::Timestamp;

/// The disk tier.
pub struct Disk {
    log: Arc<Log>,
    purges: Arc<Purges>,
    /// Chunks of large bodies, if they have a place.
    shelf: Option<Arc<Shelf>>,
    secret: [u8; 32],
    /// The version of the next record.
    next: AtomicU64,
    pool: Handle,
    bytes_max: u64,
    admission: DiskAdmission,
    seen: Mutex<Seen>,
    /// Whether a second request is waited for before a full log takes something.
    gate: Gate,
    /// What the log refused because the disk was behind.
    late: Late,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").finish_non_exhaustive()
    }
}

impl Disk {
    /// Opens the tier in a directory of its own, made where it is missing; `bytes` is what may lie in it. Reads that wait are
    /// made on `pool`. Blocks: until the index is there.
    ///
    /// # Errors
    /// [`OpenError`]: somebody else has it open, or it is of another layout; or as the disk says.
    pub fn open(path: &Path, bytes: u64, pool: Handle, now: Timestamp) -> Result<Self, OpenError> {
        // What clients were sent is nobody else's on this machine.
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let files: Arc<dyn Files> = Arc::new(Directory::new(path));
        let mut disk = Self::over(&files, log_bytes_max(bytes), pool, now)?;
        let shelf = Shelf::open(&path.join(CHUNKS), bytes, disk.pool.clone())?;
        shelf.share(disk.log.segments.usage().bytes);
        disk.shelf = Some(shelf);
        disk.bytes_max = bytes;
        Ok(disk)
    }

    /// The log alone, over any files: without a place for large bodies.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub fn over(files: &Arc<dyn Files>, bytes: u64, pool: Handle, now: Timestamp) -> Result<Self, OpenError> {
        let settings = Settings::for_capacity(bytes);
        let full_bytes = bytes.saturating_sub(settings.segment_bytes * SEGMENTS_SPARE);
        let segments = Segments::open(Arc::clone(files), settings)?;
        // Only whoever holds the log's lock comes here.
        let secret = secret(&**files)?;
        let next = AtomicU64::new(segments.version_max().saturating_add(1));
        let log = Arc::new(Log::over(segments, full_bytes));
        let holds = log.segments.usage().objects > 0;
        let mut replay = Replay::over(&log, &next);
        let purges = Purges::open(files, now, holds, |key, last| replay.tell(key, last))?;
        let objects = usize::try_from(bytes / OBJECT_BYTES_USUAL).unwrap_or(usize::MAX);
        let (seen, gate) = (Mutex::new(Seen::new(objects)), Gate::new(bytes, objects));
        let admission = DiskAdmission::default();
        Ok(Self {
            log,
            purges: Arc::new(purges),
            shelf: None,
            secret,
            next,
            pool,
            bytes_max: bytes,
            admission,
            seen,
            gate,
            late: Late::default(),
        })
    }

    /// The same with another admission than the default.
    #[must_use]
    pub fn admitting(self, admission: DiskAdmission) -> Self {
        Self { admission, ..self }
    }

    /// The same beneath a memory of so many bytes.
    pub(crate) fn beneath(mut self, memory_bytes: u64) -> Self {
        self.gate.beneath(memory_bytes);
        self.log
            .segments
            .let_wait((memory_bytes / WAITING_SHARE).clamp(WAITING_BYTES_MIN, WAITING_BYTES_MAX));
        self
    }

    /// The secret under which the keys in it are hashed.
    pub const fn secret(&self) -> [u8; 32] {
        self.secret
    }

    /// Whether what was stored when it was opened counts as softly purged, for the log of purges may have lost some: the power
    /// failed, or somebody took it away. For the operator.
    pub fn is_doubtful(&self) -> bool {
        self.purges.is_doubtful
    }

    /// What was purged, as the directory tells.
    pub(crate) const fn purges(&self) -> &Arc<Purges> {
        &self.purges
    }

    /// Where the chunks of large bodies stand.
    pub(crate) const fn shelf(&self) -> Option<&Arc<Shelf>> {
        self.shelf.as_ref()
    }

    /// Where to wait for it.
    pub const fn pool(&self) -> &Handle {
        &self.pool
    }

    /// Writes everything down and leaves the directory so that the next start is quick. Blocks.
    ///
    /// # Errors
    /// As the disk says; what is not written is lost, nothing else.
    pub fn close(&self) -> io::Result<()> {
        self.log.segments.close()
    }

    /// Closes the directory and leaves it to another process; it is still read. Blocks.
    ///
    /// # Errors
    /// As [`Disk::close`]; it is left all the same.
    pub(crate) fn give(&self) -> io::Result<()> {
        if let Some(shelf) = &self.shelf {
            shelf.chunks.give(true);
        }
        self.log.segments.give()
    }

    /// Takes the directory back, if nobody has it and nobody has written to it. Blocks.
    ///
    /// # Errors
    /// It stays given.
    pub(crate) fn take_back(&self) -> io::Result<()> {
        self.log.segments.take_back()?;
        if let Some(shelf) = &self.shelf {
            shelf.chunks.give(false);
        }
        Ok(())
    }

    /// Has what waits written, on the pool, unless somebody is at it. For a tick: tries again what failed before.
    pub fn tend(&self) {
        self.log.failing.store(false, Ordering::Release);
        self.log.flush(&self.pool);
        if let Some(shelf) = &self.shelf {
            shelf.share(self.log.segments.usage().bytes);
            shelf.tend();
        }
    }

    /// Waits until what was written, forgotten and marked so far is durable. Blocks.
    ///
    /// # Errors
    /// As the disk says.
    pub fn settle(&self) -> io::Result<()> {
        let settled = self.log.segments.sync();
        self.log.measure();
        settled
    }

    /// Whether there is a record for the key. No I/O.
    #[inline]
    pub(crate) fn holds(&self, key: CacheKey) -> bool {
        self.log.segments.locate(key.bits()).is_some()
    }

    /// Whether what was read is still what a read would bring: the key's record is the one of this version, and there is no mark
    /// of its resource that it was read without. No I/O.
    pub(crate) fn is_current(
        &self,
        key: CacheKey,
        primary: CacheKey,
        version: u64,
        softly: Option<Timestamp>,
    ) -> bool {
        let version_of = |key: u128| self.log.segments.locate(key).map(|location| location.version());
        let marked_since = || version_of(mark_of(primary)).is_some_and(|mark| mark > version);
        version_of(key.bits()) == Some(version) && (softly.is_some() || !marked_since())
    }

    /// Whether what is written pushes something out.
    pub(crate) fn is_full(&self) -> bool {
        self.log.full.load(Ordering::Acquire)
    }

    /// Whether a slot that is stored now is worth a write. What is there already is always replaced.
    pub(crate) fn wants(&self, key: CacheKey) -> bool {
        if self.admission == DiskAdmission::All {
            return true;
        }
        // Asked in any case: what comes while there is room has been seen, too.
        let seen = self.seen.lock().ask(key);
        seen || !self.log.full.load(Ordering::Acquire) || self.gate.takes_all() || self.holds(key)
    }

    /// Whether a full one takes everything now.
    pub(crate) fn takes_all(&self) -> bool {
        self.admission == DiskAdmission::All || self.gate.takes_all()
    }

    /// A resource was asked for, and leads to this response. For the admission to learn from: to it the
    /// variants of a resource are one.
    #[inline]
    pub(crate) fn asked(&self, primary: CacheKey, stored: &StoredResponse, by: Answered) {
        // Large bodies are on the shelf, which takes them at once: of those that are not asked for again it lets go first.
        if self.gate.samples(primary) && stored.body_len() < LARGE_BYTES_MIN && stored.on_disk().is_none() {
            self.gate.asked(primary, stored.body_len() + RESPONSE_BYTES_BESIDE, by);
        }
    }

    /// Writes a slot down, in place of what was there. One that is too large is forgotten instead. `false` where the disk is behind:
    /// then nothing is there, and it is to be tried again.
    pub(crate) fn write(&self, resource: &Resource<'_>, key: CacheKey, slot: &Slot) -> bool {
        if !Self::takes(slot) {
            self.forget(key);
            return true;
        }
        let mut bytes = Vec::with_capacity(record::encoded_bytes(resource, slot));
        record::encode(resource, slot, &mut bytes);
        self.append(key.bits(), &bytes)
    }

    /// Writes a slot that is not there; under the lock of its key's shard, so it does not wait for room.
    pub(crate) fn try_write(&self, resource: &Resource<'_>, key: CacheKey, slot: &Slot) -> Appended {
        if !Self::takes(slot) {
            return Appended::TooLarge;
        }
        let mut bytes = Vec::with_capacity(record::encoded_bytes(resource, slot));
        record::encode(resource, slot, &mut bytes);
        self.log.put(key.bits(), self.next_version(), &bytes)
    }

    /// Writes what waits, and makes room for more. Blocks.
    pub(crate) fn write_out(&self) -> io::Result<()> {
        let written = self.log.segments.flush();
        self.log.measure();
        self.log.failing.store(written.is_err(), Ordering::Release);
        written
    }

    /// What it was behind with.
    pub(crate) const fn late(&self) -> &Late {
        &self.late
    }

    /// The last write failed: it is left alone until the next tick.
    pub(crate) fn is_failing(&self) -> bool {
        self.log.failing.load(Ordering::Acquire)
    }

    /// About how many bytes a slot takes.
    pub(crate) fn bytes_for(resource: &Resource<'_>, slot: &Slot) -> u64 {
        record::encoded_bytes(resource, slot) as u64
    }

    /// Bytes that its record takes in the log, where it lies there or its body's chunks on the shelf: without the body, about.
    pub(crate) fn record_bytes_beside(resource: &Resource<'_>, stored: &StoredResponse) -> u64 {
        (record::beside_bytes(resource, stored) as u64).saturating_add(segments::RECORD_BYTES_BESIDE)
    }

    /// Bytes that may be written before what was written first goes for what is written last.
    pub(crate) fn room_bytes(&self) -> u64 {
        self.log.full_bytes
    }

    /// Whether it is one for the log: a long body stands on the shelf.
    fn takes(slot: &Slot) -> bool {
        !matches!(slot, Slot::Response(stored) if stored.body_len() >= LARGE_BYTES_MIN && stored.on_disk().is_none())
    }

    /// Shows the responses whose key's low half is not above `upto` with their keys, as long as `each` says so; `false` where it was
    /// ended before its end. Reads them. Blocks.
    pub(crate) fn each_item(&self, upto: u64, mut each: impl FnMut(CacheKey, Item) -> bool) -> bool {
        self.log.segments.each_upto(upto, |key, payload| {
            let Some(item) = record::item(payload) else { return true };
            each(CacheKey::from_bits(key), item)
        })
    }

    /// Bytes of a key's record.
    pub(crate) fn bytes_of(&self, key: CacheKey) -> Option<u64> {
        self.log.segments.locate(key.bits()).map(|location| location.record_bytes())
    }

    /// Spares the record once when its segment makes room, and the mark of its resource, without which it would be forgotten.
    pub(crate) fn touch(&self, primary: CacheKey, key: CacheKey) {
        self.log.segments.touch(key.bits());
        self.log.segments.spare(mark_of(primary));
    }

    /// Takes the record away. Durable after [`Disk::settle`].
    pub(crate) fn forget(&self, key: CacheKey) {
        if self.holds(key) {
            self.log.segments.forget(key.bits(), self.next_version());
        }
    }

    /// Marks a resource as softly purged: every response of it that was written before. Durable after [`Disk::settle`]. `false` where
    /// there is no room for the mark: then what it should have told of is to be forgotten.
    #[must_use]
    pub(crate) fn mark_soft(&self, primary: CacheKey, now: Timestamp) -> bool {
        let marked = self.log.mark(primary, self.next_version(), now);
        // What it speaks of may have been read before.
        self.log.segments.spare(mark_of(primary));
        if marked != Some(false) {
            self.log.flush(&self.pool);
        }
        marked.is_some()
    }

    /// What the log refuses it forgets as well, so an older version never stands in; `false` where it refuses for want of buffers.
    fn append(&self, key: u128, payload: &[u8]) -> bool {
        let appended = self.log.put(key, self.next_version(), payload);
        if matches!(appended, Appended::Kept { flush: true } | Appended::Full) {
            self.log.flush(&self.pool);
        }
        appended != Appended::Full
    }

    fn next_version(&self) -> u64 {
        self.next.fetch_add(1, Ordering::AcqRel)
    }
}

/// Reads the secret, or makes one.
fn secret(files: &dyn Files) -> io::Result<[u8; 32]> {
    let mut secret = [0; 32];
    match files.open(SECRET) {
        Ok(file) => file.read_at(&mut secret, 0)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            getrandom::fill(&mut secret).map_err(io::Error::other)?;
            let file = files.create(SECRET_NEW)?;
            file.write_at(&secret, 0)?;
            file.sync()?;
            files.rename(SECRET_NEW, SECRET)?;
            files.sync_directory("")?;
        }
        Err(error) => return Err(error),
    }
    Ok(secret)
}

/// Where the secret stands, and where it is before it is whole.
const SECRET: &str = "secret";
const SECRET_NEW: &str = "secret.new";
/// The directory of chunks within that of the log.
const CHUNKS: &str = "chunks";
/// What a response takes on disk beside its body, about.
const RESPONSE_BYTES_BESIDE: u64 = 512;
/// Of memory, what may wait for the disk beside it takes this part…
const WAITING_SHARE: u64 = 8;
/// …but no less than this, or a sync that takes long would be felt, and no more.
const WAITING_BYTES_MIN: u64 = 16 << 20;
const WAITING_BYTES_MAX: u64 = 64 << 20;
/// Of an object, to guess how many the disk holds: as many keys are remembered that it does not.
const OBJECT_BYTES_USUAL: u64 = 16 * 1024;
/// A disk is full when it has room for fewer segments than this: the one that is written and the one that is free are
/// never taken by what is evicted.
const SEGMENTS_SPARE: u64 = 3;
