//! What the log takes, what it did and what ails it, in numbers for the operator.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::Segments;

/// Totals since the log was opened, but for the first three.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Bytes that the files take now.
    pub bytes: u64,
    /// Keys that can be read now.
    pub objects: u64,
    /// Keys in the index now, tombstones included.
    pub entries: u64,
    /// Objects that went with their segment.
    pub evicted: u64,
    /// Objects that were read since they were written, and written again when their segment was reclaimed.
    pub carried: u64,
    /// Appends that were refused: the buffers were taken, or there was no entry to be had.
    pub refused: u64,
    /// Records too large for it, and those lost by a disk that failed to sync.
    pub dropped: u64,
    /// Records that failed their sum, or ended early.
    pub damaged: u64,
    /// Reads that the disk refused.
    pub reads_failed: u64,
    /// Flushes and syncs that the disk refused.
    pub writes_failed: u64,
    /// Bytes written, of every kind.
    pub written_bytes: u64,
}

/// How a log was found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Recovery {
    /// There was none.
    Empty,
    /// It was closed: by its snapshot.
    Snapshot,
    /// It was not: segment by segment.
    Segments {
        /// How many were read by their headers, for want of a summary.
        scanned: u64,
        /// The last segment, up to which all is given up: one that should be whole is not.
        condemned: u64,
    },
}

/// What ails the log since when it was last well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trouble {
    /// The last error.
    pub error: String,
    /// Its kind.
    pub kind: io::ErrorKind,
    /// Failures in a row.
    pub times: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    evicted: AtomicU64,
    carried: AtomicU64,
    refused: AtomicU64,
    dropped: AtomicU64,
    damaged: AtomicU64,
    reads_failed: AtomicU64,
    writes_failed: AtomicU64,
    written: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

impl Segments {
    /// What the log takes and did.
    pub fn usage(&self) -> Usage {
        let bytes = self.live.read().values().map(|segment| segment.written()).sum();
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Usage {
            bytes,
            objects: self.index.objects() as u64,
            entries: self.index.entries() as u64,
            evicted: read(&counters.evicted),
            carried: read(&counters.carried),
            refused: read(&counters.refused),
            dropped: read(&counters.dropped),
            damaged: read(&counters.damaged),
            reads_failed: read(&counters.reads_failed),
            writes_failed: read(&counters.writes_failed),
            written_bytes: read(&counters.written),
        }
    }

    /// The highest version of what the log holds, tombstones included; for whoever numbers on. Looks at every key.
    pub fn version_max(&self) -> u64 {
        let mut highest = 0;
        self.index.each(|_, entry| highest = highest.max(entry.version));
        highest
    }

    /// What ails the log; `None` once a flush or a sync went well again.
    pub fn health(&self) -> Option<Trouble> {
        self.counters.trouble.lock().clone()
    }
}

impl Counters {
    pub(super) fn evicted(&self, objects: u64) {
        self.evicted.fetch_add(objects, Ordering::Relaxed);
    }

    pub(super) fn carried(&self) {
        self.carried.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn dropped(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn damaged(&self) {
        self.damaged.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read_failed(&self) {
        self.reads_failed.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn written(&self, bytes: usize) {
        self.written.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Takes note of how a flush or a sync ended.
    pub(super) fn ended(&self, result: &io::Result<()>) {
        let mut trouble = self.trouble.lock();
        *trouble = result.as_ref().err().map(|error| {
            self.writes_failed.fetch_add(1, Ordering::Relaxed);
            let times = trouble.as_ref().map_or(0, |trouble| trouble.times) + 1;
            Trouble { error: error.to_string(), kind: error.kind(), times }
        });
    }
}
