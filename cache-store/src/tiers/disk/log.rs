//! The log and who writes it: one flush at a time, on the pool, and none between a failure and the next tick.
//!
//! [`Disk`](super::Disk) appends to it and has it flushed; a start tells it again what was purged (`replay.rs`).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use crate::key::CacheKey;
use crate::tiers::segments::{Appended, Record, Segments};
use crate::timestamp::Timestamp;

/// The log and whether somebody writes it.
pub(in crate::tiers) struct Log {
    pub(in crate::tiers) segments: Segments,
    flushing: AtomicBool,
    /// The last flush failed: only the next tick tries again.
    pub(super) failing: AtomicBool,
    /// Each segment that is begun costs one, or soon will. As of the last flush.
    pub(super) full: AtomicBool,
    pub(super) full_bytes: u64,
}

impl Log {
    /// Over segments that were just opened, and which are full from so many bytes on.
    pub(super) fn over(segments: Segments, full_bytes: u64) -> Self {
        let [full, flushing, failing] = [false; 3].map(AtomicBool::new);
        let log = Self { segments, flushing, failing, full, full_bytes };
        log.measure();
        log
    }

    /// Has what waits written, on the pool, unless somebody is at it or the last time failed.
    pub(super) fn flush(self: &Arc<Self>, pool: &Handle) {
        if self.failing.load(Ordering::Acquire) || self.flushing.swap(true, Ordering::AcqRel) {
            return;
        }
        let log = Arc::clone(self);
        pool.spawn_blocking(move || {
            // A full buffer that asked while we were at it has been written with the rest, or asks again.
            let failed = log.segments.flush().is_err();
            log.measure();
            log.failing.store(failed, Ordering::Release);
            log.flushing.store(false, Ordering::Release);
        });
    }

    /// Appends a mark; whether it is time to flush, or `None` where it is refused.
    pub(in crate::tiers) fn mark(&self, primary: CacheKey, version: u64, at: Timestamp) -> Option<bool> {
        match self.put(mark_of(primary), version, &at.as_millis().to_le_bytes()) {
            Appended::Kept { flush } => Some(flush),
            // A later one is there.
            Appended::Outdated => Some(false),
            Appended::Full | Appended::TooLarge => None,
        }
    }

    pub(super) fn put(&self, key: u128, version: u64, payload: &[u8]) -> Appended {
        self.segments.append(&Record { key, version, flags: 0, meta: &[], payload: &[payload] })
    }

    /// Looks whether it is full; not for every record.
    pub(super) fn measure(&self) {
        self.full.store(self.segments.usage().bytes >= self.full_bytes, Ordering::Release);
    }
}

/// Under which key a resource's mark stands: its own with every bit turned, which no other key is but by a chance of 2^-128. When
/// the log lets go of a mark it forgets what is older under the resource's key.
pub(super) fn mark_of(primary: CacheKey) -> u128 {
    !primary.bits()
}
