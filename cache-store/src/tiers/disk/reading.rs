//! Reading back: a record and the mark of its resource, judged together.

use std::sync::Arc;

use super::Disk;
use super::log::mark_of;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::tiers::arena::Arena;
use crate::tiers::objects::Slot;
use crate::tiers::record;
use crate::tiers::segments::{Found, Read};
use crate::timestamp::Timestamp;

/// What a read brought.
pub(crate) enum Loaded {
    /// A slot, the version of its record, and when it was purged softly since: a response is marked so already, the variants of a
    /// list that are in memory are not.
    Found(Slot, u64, Option<Timestamp>),
    /// Nothing, or nothing that can be trusted.
    Missing,
}

impl Disk {
    /// Reads a slot. Blocks.
    pub(crate) fn load(&self, key: CacheKey, primary: CacheKey, arena: Option<&Arc<Arena>>) -> Loaded {
        let read = |key: u128| {
            let location = self.log.segments.locate(key)?;
            Some((location.version(), self.log.segments.read(&location)))
        };
        self.judge(read(key.bits()).and_then(|(_, found)| found), read(mark_of(primary)), key, arena)
    }

    /// The same from the page cache alone; `None` where that has not all of it.
    pub(crate) fn try_load(
        &self,
        key: CacheKey,
        primary: CacheKey,
        arena: Option<&Arc<Arena>>,
    ) -> Option<Loaded> {
        let read = |key: u128| {
            let Some(location) = self.log.segments.locate(key) else { return Some(None) };
            match self.log.segments.try_read(&location) {
                Read::Found(found) => Some(Some((location.version(), Some(found)))),
                Read::Miss => Some(Some((location.version(), None))),
                Read::WouldBlock => None,
            }
        };
        let found = read(key.bits())?.and_then(|(_, found)| found);
        Some(self.judge(found, read(mark_of(primary))?, key, arena))
    }

    fn judge(
        &self,
        found: Option<Found>,
        mark: Option<(u64, Option<Found>)>,
        key: CacheKey,
        arena: Option<&Arc<Arena>>,
    ) -> Loaded {
        let Some(found) = found else { return Loaded::Missing };
        let Some(slot) = record::decode(&found.payload, arena, self.shelf.as_ref()) else {
            // Of a format that this version does not read.
            self.forget(key);
            return Loaded::Missing;
        };
        let purged = match mark.filter(|(version, _)| *version > found.version) {
            None => None,
            Some((_, mark)) => {
                let at = mark.and_then(|mark| <[u8; 8]>::try_from(&mark.payload[..]).ok());
                let Some(at) = at else {
                    // It was purged, and since when is not known any more.
                    self.forget(key);
                    return Loaded::Missing;
                };
                Some(Timestamp::from_millis(u64::from_le_bytes(at)))
            }
        };
        if let (Slot::Response(stored), Some(at)) = (&slot, purged) {
            stored.purge(Purged::Soft(at));
        }
        Loaded::Found(slot, found.version, purged)
    }
}
