//! What memory has and the disk has not, written there before the end: a clean restart loses no hit that the disk can hold.
//!
//! A full disk takes a response at a later request (`tiers/admit.rs`), lets go of what it took first, and refuses what comes faster
//! than it writes. Memory answers for all of that, and would take it along.
//!
//! ```text
//! refused for want of buffers ──► late ──► as soon as the disk has caught up ──► log
//! memory ── not on disk, not purged, fresh yet ──► hottest first ──► log ── what it pushed out that memory has ──► again
//! ```
//!
//! The first while the node serves, on the disk's pool. The second once the clients have left, or before the directory is left to
//! another process; purges and late fills may still come.
//!
//! Invariant: each response is looked at and written under the lock of its key's shard, so neither a purge nor a newer one is
//! overtaken. Nothing is held while the disk is waited for.
//!
//! Deliberately absent: forms in other codings, which are made again, and a variant whose list has left memory.

use std::io;
use std::sync::Arc;

use crate::entry::StoredResponse;
use crate::key::{CacheKey, KeyMap};
use crate::purge::Resource;
use crate::rules::Purged;
use crate::store::CacheStore;
use crate::tiers::disk::Disk;
use crate::tiers::late::LateKey;
use crate::tiers::objects::Slot;
use crate::tiers::segments::Appended;
use crate::timestamp::Timestamp;

/// What was written before the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Owed {
    /// Responses and lists of variants.
    pub written: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Those that are not on disk all the same: there is no room for them, or no time.
    pub left: u64,
}

impl CacheStore {
    /// Writes to disk what memory alone has and may answer with at `now`, as long as `goes_on` says so and as much as the disk holds.
    /// Blocks; costs a walk through memory, and 16 bytes for each response that is written.
    ///
    /// # Errors
    /// As the disk says; what is not written is lost by the end, nothing else.
    pub fn write_owed(&self, now: Timestamp, goes_on: impl Fn() -> bool) -> io::Result<Owed> {
        let mut owed = Owed::default();
        // Another process may have the directory by now.
        let Some(disk) = self.disk().filter(|_| self.purge_log().is_ours()) else { return Ok(owed) };
        let mut room = disk.room_bytes();
        for _ in 0..ROUNDS_MAX {
            let (missing, lists) = self.missing(disk, now);
            owed.left = missing.len() as u64;
            let before = owed.written;
            for key in missing {
                if !goes_on() {
                    return Ok(owed);
                }
                let primary = lists.get(&key).copied().unwrap_or(key);
                let Some(bytes) = self.write_missing(disk, key, primary, now, room)? else { continue };
                room -= bytes;
                owed.written += 1;
                owed.written_bytes += bytes;
                owed.left -= 1;
            }
            // What was written may have pushed out what memory has as well.
            disk.write_out()?;
            if owed.written == before {
                break;
            }
        }
        Ok(owed)
    }

    /// Has the disk write what waits, and what it was behind with; tries again what failed before. For a tick.
    pub fn tend_disk(self: &Arc<Self>) {
        if let Some(disk) = self.disk() {
            disk.tend();
            self.catch_up();
        }
    }

    /// Has what the disk was behind with written from memory, on the pool, unless somebody is at it or the disk fails.
    pub(crate) fn catch_up(self: &Arc<Self>) {
        let Some(disk) = self.disk() else { return };
        if disk.is_failing() || disk.late().is_empty() || !disk.late().begin() {
            return;
        }
        let (store, disk) = (Arc::clone(self), Arc::clone(disk));
        disk.pool().clone().spawn_blocking(move || store.write_late(&disk));
    }

    fn write_late(&self, disk: &Disk) {
        let keys = disk.late();
        loop {
            while let Some(late) = keys.next() {
                let LateKey { key, primary } = late;
                match self.write_missing(disk, key, primary, Timestamp::from_secs(0), u64::MAX) {
                    Ok(Some(_)) => {}
                    Ok(None) if disk.holds(key) => {}
                    Ok(None) => keys.gave_up(),
                    // The next tick tries again.
                    Err(_) => {
                        keys.put_back(late);
                        return keys.end();
                    }
                }
            }
            keys.end();
            // One may have come between the last look and the end.
            if keys.is_empty() || !keys.begin() {
                return;
            }
        }
    }

    /// Keys of what the disk has not, what was used last first; and the resources of those that are variants.
    fn missing(&self, disk: &Disk, now: Timestamp) -> (Vec<CacheKey>, KeyMap<CacheKey>) {
        let mut lists = KeyMap::default();
        let missing = self.objects().used_last_first(|key, slot| {
            if let Slot::Variants(variants) = slot {
                lists.extend(variants.iter().map(|variant| (variant.key, key)));
            }
            !disk.holds(key) && is_worth_it(slot, now)
        });
        (missing, lists)
    }

    /// Writes what memory has under a key, if it still is to be; how many bytes that took, or `None`.
    fn write_missing(
        &self,
        disk: &Disk,
        key: CacheKey,
        primary: CacheKey,
        now: Timestamp,
        room: u64,
    ) -> io::Result<Option<u64>> {
        for _ in 0..TRIES_MAX {
            let appended = {
                let _shard = self.flights().shard(primary);
                let Some(slot) = self.objects().peek(key).filter(|slot| is_worth_it(slot, now)) else {
                    return Ok(None);
                };
                let is_lost = matches!(&slot, Slot::Response(stored) if stored.varies() && primary == key);
                let address = self.stock().address_of(key);
                let resource = address.as_ref().map(|address| address.resource(primary));
                let resource = resource.unwrap_or(Resource { key: primary, authority: b"", target: b"" });
                let bytes = Disk::bytes_for(&resource, &slot);
                if is_lost || disk.holds(key) || bytes > room {
                    return Ok(None);
                }
                let appended = disk.try_write(&resource, key, &slot);
                if let (Appended::Kept { .. }, Slot::Response(stored)) = (appended, &slot) {
                    stored.take_owed();
                }
                (appended, bytes)
            };
            match appended {
                (Appended::Kept { flush }, bytes) => {
                    if flush {
                        disk.write_out()?;
                    }
                    return Ok(Some(bytes));
                }
                // The buffers are taken.
                (Appended::Full, _) => disk.write_out()?,
                (Appended::Outdated | Appended::TooLarge, _) => return Ok(None),
            }
        }
        Ok(None)
    }
}

/// Whether it may answer after a restart: a response that was not purged and is fresh, or may be used stale for a while.
fn is_worth_it(slot: &Slot, now: Timestamp) -> bool {
    let is_of_use = |stored: &Arc<StoredResponse>| {
        let windows = stored.freshness.windows();
        let stale =
            std::time::Duration::from_secs(windows.while_revalidate_secs.max(windows.if_error_secs).into());
        stored.purged() != Purged::Hard && stored.freshness.fresh_until().plus(stale) > now
    };
    match slot {
        Slot::Response(stored) => is_of_use(stored),
        // Without it none of them is found.
        Slot::Variants(variants) => variants.iter().next().is_some(),
    }
}

/// Others take the buffers that were just made free.
const TRIES_MAX: usize = 8;
/// Each round writes what the one before has pushed out of what memory has: ever less.
const ROUNDS_MAX: usize = 4;
