//! What a start tells the disk again of purges by URL: a kill may have lost that it ever heard of them.
//!
//! ```text
//! purge by URL, not yet settled ── what is there was fetched since? ── yes: left alone
//!                                                                  └─ no, or nobody can tell: forgotten, or marked where the purge is soft
//! ```
//!
//! Without that look whatever is purged and fetched again more often than purges are settled (a front page, of a site that publishes
//! all the time) would be lost by a kill. It reads the records, most of which a process that was killed leaves in the page cache.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::disk::Log;
use super::objects::Slot;
use super::record;
use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::purge::Purge;

/// The purges of a log, one after the other.
pub(super) struct Replay<'a> {
    log: &'a Log,
    next: &'a AtomicU64,
    /// Bytes that may still be read.
    room: u64,
}

impl<'a> Replay<'a> {
    /// Over a log whose next version is `next`.
    pub(super) const fn over(log: &'a Log, next: &'a AtomicU64) -> Self {
        Self { log, next, room: READ_BYTES_MAX }
    }

    /// Tells it of a purge that took `epoch`. Blocks.
    pub(super) fn tell(&mut self, primary: CacheKey, purge: &Purge, epoch: Epoch) {
        if self.is_since(primary, epoch) {
            return;
        }
        let version = || self.next.fetch_add(1, Ordering::AcqRel);
        let is_marked = purge.soft && self.log.mark(primary, version(), purge.at).is_some();
        if !is_marked && self.log.segments.locate(primary.bits()).is_some() {
            self.log.segments.forget(primary.bits(), version());
        }
    }

    /// Whether all that is there of a resource was fetched since a purge took its epoch; not where that cannot be told.
    fn is_since(&mut self, primary: CacheKey, epoch: Epoch) -> bool {
        let Some(found) = self.read(primary) else { return false };
        if let Some(fetched) = record::epoch(&found) {
            return fetched >= epoch;
        }
        let Some(Slot::Variants(variants)) = record::decode(&found, None, None) else { return false };
        variants.iter().all(|variant| {
            self.log.segments.locate(variant.key.bits()).is_none()
                || self
                    .read(variant.key)
                    .and_then(|found| record::epoch(&found))
                    .is_some_and(|at| at >= epoch)
        })
    }

    fn read(&mut self, key: CacheKey) -> Option<Bytes> {
        let location = self.log.segments.locate(key.bits())?;
        self.room = self.room.checked_sub(location.record_bytes())?;
        Some(self.log.segments.read(&location)?.payload)
    }
}

/// A start reads no more than this, which a disk brings in less than a second.
const READ_BYTES_MAX: u64 = 64 << 20;
