//! Large bodies on disk: chunks of up to 1 MiB, each named by the SHA-256 of its bytes.
//!
//! A fill cuts its body with a [`ChunkWriter`], puts each chunk and notes its name in a
//! [`Manifest`](super::manifest::Manifest); whoever reads the body asks for the ranges of chunks that the manifest
//! plans. Equal bytes are one file, under however many URLs and deploys. Chunks are evicted one by one, so a manifest
//! may have holes, and holes are filled again.
//!
//! Everything here blocks on the disk and is called from a pool of threads that may, except [`ChunkStore::try_read`],
//! [`try_file`](ChunkStore::try_file), [`contains`](ChunkStore::contains), [`touch`](ChunkStore::touch), [`pin`](ChunkStore::pin) and the counters.
//!
//! Invariant: no byte leaves that was not verified against its name since this process started: read whole and hashed,
//! or written by it. What fails is unlinked, counted, and a miss. Limits are not passed by a put: it evicts for its
//! room, or is refused. A limit that was lowered since the last start is reached by [`ChunkStore::reclaim`].
//!
//! Trouble with the disk is an error of [`put`](ChunkStore::put) and a miss of [`read`](ChunkStore::read), each tried
//! anew at the next call: nothing here remembers that it failed, but for the counters.
//!
//! Absent: time, threads, HTTP, syncing, and which body a chunk belongs to. Directories (at most 65,793, never removed)
//! are not counted as inodes.

mod content;
mod files;
mod health;
mod id;
mod reclaim;
mod shard;
mod stripes;
mod table;
#[cfg(test)]
mod tests;
mod walk;
mod writer;

use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub use self::health::{Health, Usage};
pub use self::id::ChunkId;
pub use self::reclaim::Reclaimed;
pub use self::table::Pin;
pub use self::walk::Walked;
pub use self::writer::{Chunk, ChunkWriter};

use self::content::Content;
use self::files::OpenFiles;
use self::health::Counters;
use self::shard::{Entering, Known};
use self::stripes::Stripes;
use self::table::Table;
use self::walk::Walk;

/// Length of every chunk of a body but the last.
pub const CHUNK_BYTES: u32 = 1 << 20;

/// What the chunks may take.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes on disk, each file rounded up to 4096.
    pub bytes: u64,
    /// Files; bounds the memory of the accounting too, at 64 B each.
    pub inodes: u64,
    /// Bytes that are left free on the file system, whoever fills it.
    pub free_bytes_min: u64,
    /// Files that are kept open for reading.
    pub open_files: usize,
}

/// The chunks of one directory.
#[derive(Debug)]
pub struct ChunkStore {
    limits: Limits,
    /// Instead of `limits.bytes`: what is left for chunks changes while they are used.
    bytes_max: AtomicU64,
    content: Content,
    table: Arc<Table>,
    files: OpenFiles,
    /// Held while the file of a name is written or unlinked; taken before a shard of `table`, never two at once.
    stripes: Stripes,
    walk: Mutex<Walk>,
    counters: Counters,
    /// Between the high water mark and the low one: eviction goes on until the low.
    reclaiming: AtomicBool,
    /// The directory is another's: nothing in it is written or unlinked.
    given: AtomicBool,
}

/// Why a chunk was not kept. The body goes on to the client all the same.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// Empty, or longer than [`CHUNK_BYTES`].
    #[error("a chunk has 1 to 1048576 bytes, not {0}")]
    Length(usize),
    /// A limit is reached and nothing could be evicted for it: all is pinned, or others fill the disk.
    #[error("no room within the limits")]
    Full,
    /// The disk refused.
    #[error("the disk refused")]
    Disk(#[from] io::Error),
}

impl ChunkStore {
    /// Opens a directory, making it if need be. Reads none of what is there but `tmp`: it is ready at once, and finds a
    /// chunk by its path until [`Self::walk`] has gone by.
    ///
    /// # Errors
    /// When the directory cannot be made or its `tmp` cannot be emptied.
    pub fn open(dir: &Path, limits: Limits) -> io::Result<Self> {
        let content = Content::new(dir);
        content.prepare()?;
        content.wipe()?;
        Ok(Self {
            content,
            table: Arc::new(Table::new(&limits)),
            files: OpenFiles::new(limits.open_files),
            stripes: Stripes::default(),
            walk: Mutex::default(),
            counters: Counters::default(),
            reclaiming: AtomicBool::new(false),
            given: AtomicBool::new(false),
            bytes_max: AtomicU64::new(limits.bytes),
            limits,
        })
    }

    /// Keeps these bytes and says their name. What is known already is not written again; a file of that name that this
    /// process has not verified is compared, and written over if it differs.
    ///
    /// # Errors
    /// [`PutError`]; nothing is kept then, and nothing half written stays.
    pub fn put(&self, bytes: &[u8]) -> Result<ChunkId, PutError> {
        let len = match u32::try_from(bytes.len()) {
            Ok(len) if (1..=CHUNK_BYTES).contains(&len) => len,
            _ => return Err(PutError::Length(bytes.len())),
        };
        let id = ChunkId::of(bytes);
        let put = self.put_named(id, len, bytes);
        self.counters.count_put(&put);
        put.map(|_| id)
    }

    /// These bytes of a chunk, if that takes no waiting: the chunk is verified, its file is open and the page cache
    /// holds the range. `None` says nothing but that [`Self::read`] is to be asked.
    pub fn try_read(&self, id: ChunkId, range: Range<u32>) -> Option<Bytes> {
        let file = self.files.find(id)?;
        let known = self.table.touch(id)?;
        if !known.verified || range.start > range.end || range.end > known.len {
            return None;
        }
        content::read_cached(&file, range).map(Bytes::from)
    }

    /// The file in which these bytes of a chunk lie, at the same place, for a socket to be sent from; where [`Self::try_read`] would
    /// have them.
    pub fn try_file(&self, id: ChunkId, range: &Range<u32>) -> Option<Arc<File>> {
        let file = self.files.find(id)?;
        let known = self.table.touch(id)?;
        let there = known.verified && range.start <= range.end && range.end <= known.len;
        (there && content::is_cached(&file, range)).then_some(file)
    }

    /// These bytes of a chunk, or a miss: it is not there, not what its name says, shorter, or the disk refuses. The first
    /// read in this process's life reads the chunk whole and verifies it.
    pub fn read(&self, id: ChunkId, range: Range<u32>) -> Option<Bytes> {
        if range.start > range.end || range.end > CHUNK_BYTES {
            return None;
        }
        let read = match self.table.touch(id) {
            Some(Known { verified: true, len, .. }) if range.end > len => return None,
            Some(Known { verified: true, len, .. }) => self.read_verified(id, len, range).map(Some),
            _ => self.read_first(id, range),
        };
        match read {
            Ok(bytes) => bytes,
            Err(error) => {
                self.counters.count_unread(&error);
                None
            }
        }
    }

    /// Sees to it that [`Self::try_read`] and [`Self::try_file`] have these bytes: that the chunk is verified, its file open and the
    /// range in the page cache. `None` as from [`Self::read`].
    pub fn warm(&self, id: ChunkId, range: Range<u32>) -> Option<()> {
        let warmed = match self.table.touch(id) {
            Some(Known { verified: true, len, .. }) if range.start > range.end || range.end > len => {
                return None;
            }
            Some(Known { verified: true, len, .. }) => self.warm_verified(id, len, range),
            _ => self.read_first(id, 0..0).map(drop),
        };
        warmed.map_err(|error| self.counters.count_unread(&error)).ok()
    }

    /// Whether the accounting knows the chunk. `false` before the walk says nothing; `true` is no promise either.
    pub fn contains(&self, id: ChunkId) -> bool {
        self.table.find(id).is_some_and(|known| !known.leaving)
    }

    /// Marks a chunk as read, as when its bytes were served from memory: it is evicted later.
    pub fn touch(&self, id: ChunkId) {
        self.table.touch(id);
    }

    /// Keeps a chunk from being evicted while the pin lives: while a body is sent, or a fill writes its manifest. `None`
    /// if the chunk is on its way out or too much is pinned (half of the limits, and 65,536); a chunk without
    /// a pin may be evicted, no more.
    pub fn pin(&self, id: ChunkId) -> Option<Pin> {
        self.table.pin(id)
    }

    /// Forgets a chunk and unlinks it, pinned or not. Who reads it now reads to the end.
    ///
    /// # Errors
    /// When it could not be unlinked; it is as it was then.
    pub fn remove(&self, id: ChunkId) -> io::Result<()> {
        let _writing = self.stripes.lock(id);
        self.unlink(id)
    }

    /// One step of the walk through what earlier lives left: at most `steps` files or directories.
    pub fn walk(&self, steps: u32) -> Walked {
        if self.is_given() { Walked::Some } else { self.walk.lock().step(self, steps) }
    }

    /// What is taken now.
    pub fn usage(&self) -> Usage {
        Usage {
            bytes: self.table.bytes(),
            chunks: self.table.chunks(),
            pins: self.table.pins(),
            open_files: self.files.len(),
        }
    }

    /// What went well and what did not, since the start.
    pub fn health(&self) -> Health {
        self.counters.health()
    }

    /// Leaves the directory to another process, or takes it back: while it is given, chunks are read and none is written or
    /// unlinked. When this returns, whatever did so before has ended. Blocks.
    pub fn give(&self, given: bool) {
        self.given.store(given, Ordering::SeqCst);
        if given {
            self.stripes.pass();
        }
    }

    fn is_given(&self) -> bool {
        self.given.load(Ordering::SeqCst)
    }

    /// Finds out whether a disk that refused something is well again, where nothing else may be written for long.
    pub fn recover(&self) {
        if !self.is_given() && self.counters.is_failing() && self.content.try_out().is_ok() {
            self.counters.count_recovered();
        }
    }

    /// Memory of the accounting, in bytes. Looks at every shard.
    pub fn accounting_bytes(&self) -> usize {
        self.table.memory_bytes()
    }

    /// Changes how many bytes may be taken. What is beyond is evicted by [`Self::reclaim`] and by puts.
    pub fn set_bytes_max(&self, bytes: u64) {
        self.bytes_max.store(bytes, Ordering::Relaxed);
    }

    /// How many bytes may be taken now.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max.load(Ordering::Relaxed)
    }

    /// The limits as they are now.
    fn limits(&self) -> Limits {
        Limits { bytes: self.bytes_max(), ..self.limits.clone() }
    }

    /// Where a chunk's file is, for an operator or a test to look at.
    pub fn path(&self, id: ChunkId) -> PathBuf {
        self.content.path(id)
    }

    /// `true` when the bytes were there already.
    fn put_named(&self, id: ChunkId, len: u32, bytes: &[u8]) -> Result<bool, PutError> {
        if self.is_here(id) {
            return Ok(true);
        }
        // Before the stripe: evicting takes stripes of its own.
        let room = self.room(len)?;
        let _writing = self.stripes.lock(id);
        if self.is_here(id) {
            return Ok(true);
        }
        if self.is_given() {
            return Err(PutError::Full);
        }
        let shared = self.content.holds(id, bytes);
        if !shared {
            self.content.write(id, bytes)?;
        }
        self.table.insert(id, len, Entering::Verified, Some(room));
        // A file that had this name may be open from before. The new one is opened by who reads it: a fill of ten
        // gibibytes would push out every hot file, and what is open for writing keeps a disk from being remounted.
        self.files.forget(id);
        Ok(shared)
    }

    fn is_here(&self, id: ChunkId) -> bool {
        self.table.touch(id).is_some_and(|known| known.verified && !known.leaving)
    }

    fn read_verified(&self, id: ChunkId, len: u32, range: Range<u32>) -> io::Result<Bytes> {
        let file = self.files.find(id).map_or_else(|| self.reopen(id, len), Ok)?;
        content::read_range(&file, range).map(Bytes::from).map_err(|error| self.lost(id, Some(&file), error))
    }

    fn warm_verified(&self, id: ChunkId, len: u32, range: Range<u32>) -> io::Result<()> {
        let file = self.files.find(id).map_or_else(|| self.reopen(id, len), Ok)?;
        content::warm(&file, &range, range == (0..len)).map_err(|error| self.lost(id, Some(&file), error))
    }

    /// Opens the file of a chunk that was verified before.
    fn reopen(&self, id: ChunkId, len: u32) -> io::Result<Arc<File>> {
        let file = self.open_file(id).map_err(|error| self.lost(id, None, error))?;
        // Not the file that was verified: somebody cut it or put another in its place.
        if file.metadata().is_ok_and(|found| found.len() != u64::from(len)) {
            return Err(self.lost(id, Some(&file), ErrorKind::InvalidData.into()));
        }
        let file = Arc::new(file);
        let _writing = self.stripes.lock(id);
        // One that was unlinked meanwhile would be held, and its space with it, until others push it out.
        if self.content.is_at(id, &file) {
            self.files.keep(id, Arc::clone(&file));
        }
        Ok(file)
    }

    fn read_first(&self, id: ChunkId, range: Range<u32>) -> io::Result<Option<Bytes>> {
        let file = self.open_file(id).map_err(|error| self.lost(id, None, error))?;
        let whole = match content::read_whole(&file) {
            Ok(whole) if ChunkId::of(&whole) == id => whole,
            Ok(_) => return Err(self.lost(id, Some(&file), ErrorKind::InvalidData.into())),
            Err(error) => return Err(self.lost(id, Some(&file), error)),
        };
        let len = u32::try_from(whole.len()).unwrap_or(CHUNK_BYTES);
        {
            let _writing = self.stripes.lock(id);
            // Unlinked meanwhile: these bytes are right, but there is nothing to account.
            if self.content.is_at(id, &file) {
                self.table.insert(id, len, Entering::Verified, None);
                self.files.keep(id, Arc::new(file));
            }
        }
        let range = range.start as usize..range.end as usize;
        let Some(asked) = whole.get(range.clone()) else { return Ok(None) };
        // A small part does not keep a mebibyte in memory.
        if asked.len() < whole.len() / 2 {
            return Ok(Some(Bytes::copy_from_slice(asked)));
        }
        Ok(Some(Bytes::from(whole).slice(range)))
    }

    /// Opens a chunk; when the process is out of descriptors, ours that only wait for a next read go first.
    fn open_file(&self, id: ChunkId) -> io::Result<File> {
        match self.content.open(id) {
            Err(error) if is_out_of_files(&error) => {
                self.files.clear();
                self.content.open(id)
            }
            opened => opened,
        }
    }

    /// A chunk could not be read: unlinks what was found under its name, unless something else has come there
    /// meanwhile, and hands the reason on. Being out of descriptors or memory says nothing about the chunk.
    fn lost(&self, id: ChunkId, found: Option<&File>, error: io::Error) -> io::Error {
        if is_out_of_files(&error) || error.kind() == ErrorKind::OutOfMemory {
            return error;
        }
        let _writing = self.stripes.lock(id);
        let is_this = match found {
            Some(file) => self.content.is_at(id, file),
            // Nothing, or something that cannot be opened.
            None => self.content.open(id).is_err(),
        };
        if is_this && let Err(stays) = self.unlink(id) {
            self.counters.count_not_unlinked(&stays);
        }
        error
    }

    /// The stripe of `id` is held.
    fn unlink(&self, id: ChunkId) -> io::Result<()> {
        if self.is_given() {
            return Err(io::Error::other("the directory is another process's"));
        }
        self.content.remove(id)?;
        self.files.forget(id);
        self.table.remove(id);
        Ok(())
    }
}

fn is_out_of_files(error: &io::Error) -> bool {
    let code = error.raw_os_error().map(rustix::io::Errno::from_raw_os_error);
    matches!(code, Some(rustix::io::Errno::MFILE | rustix::io::Errno::NFILE))
}
