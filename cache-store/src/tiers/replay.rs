//! What a start tells the disk again of purges by URL: a kill may have lost that it ever heard of them.
//!
//! ```text
//! purges of a URL, not yet settled ── what is there was fetched since? ── yes: left alone
//!                                                                     └─ no, or nobody can tell: forgotten, or marked where they were soft
//! ```
//!
//! Without that look whatever is purged and fetched again more often than purges are settled (a front page, of a site that publishes
//! all the time) would be lost by a kill. It reads the records, most of which a process that was killed leaves in the page cache.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

use super::disk::Log;
use super::objects::Slot;
use super::record;
use crate::key::CacheKey;
use crate::purge::Last;
use crate::rules::Purged;

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

    /// Tells it of the purges of a resource, of which `last` are the newest. Blocks.
    pub(super) fn tell(&mut self, primary: CacheKey, last: Last) {
        let version = || self.next.fetch_add(1, Ordering::AcqRel);
        let is_marked = match self.since(primary, last) {
            Purged::No => return,
            Purged::Soft(at) => self.log.mark(primary, version(), at).is_some(),
            Purged::Hard => false,
        };
        if !is_marked && self.log.segments.locate(primary.bits()).is_some() {
            self.log.segments.forget(primary.bits(), version());
        }
    }

    /// What became of what is there of a resource; as of something that was there before all of them where that cannot be told.
    fn since(&mut self, primary: CacheKey, last: Last) -> Purged {
        let before = last.since(0);
        let Some(found) = self.read(primary) else { return before };
        if let Some(fetched) = record::epoch(&found) {
            return last.since(fetched);
        }
        let Some(Slot::Variants(variants)) = record::decode(&found, None, None) else { return before };
        let mut worst = Purged::No;
        for variant in variants.iter() {
            if self.log.segments.locate(variant.key.bits()).is_none() {
                continue;
            }
            let fetched = self.read(variant.key).and_then(|found| record::epoch(&found));
            match fetched.map_or(before, |fetched| last.since(fetched)) {
                Purged::Hard => return Purged::Hard,
                Purged::Soft(at) => worst = Purged::Soft(at),
                Purged::No => {}
            }
        }
        worst
    }

    fn read(&mut self, key: CacheKey) -> Option<Bytes> {
        let location = self.log.segments.locate(key.bits())?;
        self.room = self.room.checked_sub(location.record_bytes())?;
        Some(self.log.segments.read(&location)?.payload)
    }
}

/// A start reads no more than this, which a disk brings in less than a second.
const READ_BYTES_MAX: u64 = 64 << 20;
