//! Counters: what was kept, what was missed, what failed and how.

use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::PutError;

/// What the chunks take now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// Bytes on disk, each file rounded up to 4096.
    pub bytes: u64,
    /// Files.
    pub chunks: u64,
    /// Pins that live.
    pub pins: usize,
    /// Files that are open for reading.
    pub open_files: usize,
}

/// What happened since the start.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Health {
    /// Chunks written.
    pub written: u64,
    /// Chunks put whose bytes were there already.
    pub shared: u64,
    /// Chunks not kept for want of room.
    pub full: u64,
    /// Chunks the disk refused to take.
    pub write_errors: u64,
    /// Reads the disk refused.
    pub read_errors: u64,
    /// Files whose bytes were not what their name says.
    pub corrupt: u64,
    /// Chunks evicted for the limits.
    pub evicted: u64,
    /// Files that could not be unlinked.
    pub unlink_errors: u64,
    /// Files under the chunks' directories that are none; they are left alone.
    pub foreign: u64,
    /// The last write or unlink that reached the disk was refused.
    pub failing: bool,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    written: AtomicU64,
    shared: AtomicU64,
    full: AtomicU64,
    write_errors: AtomicU64,
    read_errors: AtomicU64,
    corrupt: AtomicU64,
    evicted: AtomicU64,
    unlink_errors: AtomicU64,
    foreign: AtomicU64,
    failing: AtomicBool,
}

impl Counters {
    pub(super) fn count_put(&self, put: &Result<bool, PutError>) {
        let counter = match put {
            Ok(true) => &self.shared,
            Ok(false) => {
                self.failing.store(false, Ordering::Relaxed);
                &self.written
            }
            Err(PutError::Full | PutError::Length(_)) => &self.full,
            Err(PutError::Disk(_)) => {
                self.failing.store(true, Ordering::Relaxed);
                &self.write_errors
            }
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_unread(&self, error: &io::Error) {
        let counter = match error.kind() {
            // Not there: a miss as any other.
            ErrorKind::NotFound => return,
            ErrorKind::InvalidData | ErrorKind::UnexpectedEof => &self.corrupt,
            _ => &self.read_errors,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_evicted(&self) {
        self.evicted.fetch_add(1, Ordering::Relaxed);
        self.failing.store(false, Ordering::Relaxed);
    }

    pub(super) fn count_not_unlinked(&self, _error: &io::Error) {
        self.unlink_errors.fetch_add(1, Ordering::Relaxed);
        self.failing.store(true, Ordering::Relaxed);
    }

    pub(super) fn count_foreign(&self) {
        self.foreign.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_corrupt(&self) {
        self.corrupt.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    pub(super) fn count_recovered(&self) {
        self.failing.store(false, Ordering::Relaxed);
    }

    pub(super) fn health(&self) -> Health {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Health {
            written: read(&self.written),
            shared: read(&self.shared),
            full: read(&self.full),
            write_errors: read(&self.write_errors),
            read_errors: read(&self.read_errors),
            corrupt: read(&self.corrupt),
            evicted: read(&self.evicted),
            unlink_errors: read(&self.unlink_errors),
            foreign: read(&self.foreign),
            failing: self.failing.load(Ordering::Relaxed),
        }
    }
}
