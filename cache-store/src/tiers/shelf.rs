//! Where the chunks of large bodies stand, and how much room they get beside the log of small responses.
//!
//! One budget is shared (`[cache] disk.size`): the log may grow to seven tenths of it, and the chunks get what the log does
//! not take, but never less than the rest. So a site of small pages fills most of the disk with them, an archive of
//! videos fills most of it with chunks, and neither starves the other.
//!
//! ```text
//! 0 ──────── log, as much as it takes ──────► 7/10 │ chunks, always ──► 1
//!            ◄── chunks, while the log is small ──┘
//! ```
//!
//! Called by `disk/` once a second ([`Shelf::tend`]): a bounded step of the walk through what earlier lives left, and of
//! eviction where usage is high. Absent: which body a chunk belongs to (`large/`), and how chunks are kept (`chunks/`).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use super::chunks::{ChunkStore, Limits, Walked};

/// The chunks, and where to wait for them.
#[derive(Debug)]
pub(crate) struct Shelf {
    pub(crate) chunks: ChunkStore,
    pub(crate) pool: Handle,
    bytes_max: u64,
    tending: AtomicBool,
    /// Everything that earlier lives left has been seen.
    walked: AtomicBool,
}

impl Shelf {
    /// Opens the chunks in a directory of their own, as a part of a disk cache of `disk_bytes`.
    ///
    /// # Errors
    /// When the directory cannot be made or cleared of what was half written.
    pub(crate) fn open(path: &Path, disk_bytes: u64, pool: Handle) -> io::Result<Arc<Self>> {
        let limits = Limits {
            bytes: disk_bytes,
            inodes: (disk_bytes / FILE_BYTES_LEAST).clamp(FILES_MIN, FILES_MAX),
            free_bytes_min: (disk_bytes / 64).min(FREE_BYTES_MIN_MOST),
            open_files: open_files(),
        };
        Ok(Arc::new(Self {
            chunks: ChunkStore::open(path, limits)?,
            pool,
            bytes_max: disk_bytes,
            tending: AtomicBool::new(false),
            walked: AtomicBool::new(false),
        }))
    }

    /// Longest body that is worth its place: a longer one would push out its own beginning.
    pub(crate) fn body_bytes_max(&self) -> u64 {
        self.chunks.bytes_max() / 2
    }

    /// Gives the chunks what the log leaves of the disk.
    pub(crate) fn share(&self, log_bytes: u64) {
        self.chunks.set_bytes_max(self.bytes_max.saturating_sub(log_bytes).max(self.bytes_least()));
    }

    /// Has a step of walk and eviction done on the pool, unless one is under way.
    pub(crate) fn tend(self: &Arc<Self>) {
        if self.tending.swap(true, Ordering::AcqRel) {
            return;
        }
        let shelf = Arc::clone(self);
        self.pool.spawn_blocking(move || {
            if !shelf.walked.load(Ordering::Relaxed) && shelf.chunks.walk(WALK_STEPS) == Walked::All {
                shelf.walked.store(true, Ordering::Relaxed);
            }
            shelf.chunks.recover();
            for _ in 0..RECLAIMS_MAX {
                if !shelf.chunks.reclaim().more {
                    break;
                }
            }
            shelf.tending.store(false, Ordering::Release);
        });
    }

    fn bytes_least(&self) -> u64 {
        self.bytes_max - log_bytes_max(self.bytes_max)
    }
}

/// Hot chunks whose files stay open.
fn open_files() -> usize {
    let allowed = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let files = (allowed.unwrap_or(u64::MAX) / OPEN_FILES_SHARE).clamp(OPEN_FILES_MIN, OPEN_FILES_MAX);
    usize::try_from(files).unwrap_or(usize::MAX)
}

/// What the log may take of a disk of so many bytes.
pub(crate) const fn log_bytes_max(disk_bytes: u64) -> u64 {
    disk_bytes / 10 * 7
}

/// Bodies from so many bytes on are cut into chunks, where memory takes bodies of up to `memory_room`: what that never takes whole
/// it would not get back from the log either.
pub(crate) const fn large_bytes_min(memory_room: u64) -> u64 {
    if memory_room < LARGE_BYTES_MIN { memory_room + 1 } else { LARGE_BYTES_MIN }
}

/// Bodies from this many bytes on are cut into chunks; shorter ones that memory takes lie in the log.
pub(crate) const LARGE_BYTES_MIN: u64 = 256 * 1024 + 1;
/// On average a file has no fewer bytes than this, or files run out before bytes do.
const FILE_BYTES_LEAST: u64 = 128 * 1024;
const FILES_MIN: u64 = 256;
/// Their accounting takes 64 B each: a quarter of a gigabyte at most.
const FILES_MAX: u64 = 4 << 20;
/// Left free on the file system, whoever fills it: a 64th of the cache, and no more than this.
const FREE_BYTES_MIN_MOST: u64 = 1 << 30;
/// Of the files that this process may have open, those of hot chunks are one in so many. The rest is for connections and the log.
const OPEN_FILES_SHARE: u64 = 8;
const OPEN_FILES_MIN: u64 = 64;
/// 4 GiB of chunks that are opened once; more take a thread and some ten microseconds each time.
const OPEN_FILES_MAX: u64 = 4096;
/// Files and directories that one step of the walk looks at.
const WALK_STEPS: u32 = 8192;
/// Steps of eviction in one turn, 64 chunks each.
const RECLAIMS_MAX: u32 = 32;
