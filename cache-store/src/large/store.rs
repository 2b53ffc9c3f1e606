//! What the store does for large bodies: how long they may be, where they are put, and what becomes of them when more of
//! them comes or the origin shows another version.
//!
//! Called by fills (`coalesce/fill.rs`) and by whoever brings slices (`serve/slices.rs`).
//!
//! Invariant: what is written down for a key is what memory has there, under the lock of the key's shard; a body that a purge
//! has taken is not written again.

use std::sync::Arc;

use http::{HeaderValue, header};

use super::Large;
use crate::coalesce::{Fill, Flight, Shard, Streaming};
use crate::entry::{Parts, StoredResponse};
use crate::key::CacheKey;
use crate::purge::Resource;
use crate::rules::{Fields, Purged, RequestHead};
use crate::store::CacheStore;
use crate::tiers::manifest::BODY_BYTES_MAX;
use crate::tiers::objects::Slot;

impl CacheStore {
    /// Longest body that is stored anywhere, bytes.
    pub fn stored_bytes_max(&self) -> u64 {
        self.entry_bytes_max().max(self.large_bytes_max())
    }

    /// Longest body that is stored on disk, bytes; 0 where there is no place for large ones.
    pub fn large_bytes_max(&self) -> u64 {
        let shelf = self.disk().and_then(|disk| disk.shelf());
        shelf.map_or(0, |shelf| shelf.body_bytes_max().min(self.object_bytes_max).min(BODY_BYTES_MAX))
    }

    /// A large body of which nothing is here yet; `None` where it has no place.
    pub(crate) fn large(&self, length: Option<u64>, validator: Option<HeaderValue>) -> Option<Arc<Large>> {
        if length.is_some_and(|length| length > self.large_bytes_max()) {
            return None;
        }
        Large::new(self.disk()?.shelf()?, length, validator)
    }

    /// Ends a fill with the head of a large response, over the body that stands there already if it is the same one.
    pub(crate) fn adopt(self: &Arc<Self>, fill: &Fill, mut parts: Parts) -> Arc<StoredResponse> {
        let known = {
            let _shard = self.flights().shard(fill.primary);
            self.objects().find(self.key_of(fill.primary, &parts.vary))
        };
        if let (Some(Slot::Response(known)), Some(new)) = (known, &parts.large)
            && let Some(large) = known.large()
            && large.is_same(new)
            // One that no list names any more, a purge does not find.
            && known.purged() != Purged::Hard
            && self.purged_since(fill.primary, known.epoch()) != Purged::Hard
        {
            parts.large = Some(Arc::clone(large));
        }
        self.insert_response(&fill.flight, &fill.resource(), self.pack(parts), None, fill.modest)
    }

    /// A large body has more chunks than when it was written down: writes its list of them anew.
    pub fn note_chunks(self: &Arc<Self>, resource: &Resource<'_>, large: &Arc<Large>) {
        let Some(disk) = self.disk() else { return };
        let primary = resource.key;
        let _shard = self.flights().shard(primary);
        for (key, stored) in self.of_body(primary, large) {
            if stored.purged() != Purged::Hard {
                self.write_down(disk, resource, key, &Slot::Response(stored));
            }
        }
    }

    /// The origin has another representation than this body's: what is stored with it is not used again.
    pub fn drop_large(&self, primary: CacheKey, large: &Arc<Large>) {
        let _shard = self.flights().shard(primary);
        for (key, stored) in self.of_body(primary, large) {
            stored.purge(Purged::Hard);
            if let Some(disk) = self.disk() {
                disk.forget(key);
            }
        }
    }

    /// What is in memory with this body. The shard is locked.
    fn of_body(&self, primary: CacheKey, large: &Arc<Large>) -> Vec<(CacheKey, Arc<StoredResponse>)> {
        let keys = match self.objects().find(primary) {
            Some(Slot::Variants(variants)) => variants.iter().map(|variant| variant.key).collect(),
            Some(Slot::Response(_)) => vec![primary],
            None => Vec::new(),
        };
        let found = keys.into_iter().filter_map(|key| match self.objects().find(key) {
            Some(Slot::Response(stored)) => Some((key, stored)),
            Some(Slot::Variants(_)) | None => None,
        });
        found.filter(|(_, stored)| stored.on_disk().is_some_and(|known| Arc::ptr_eq(known, large))).collect()
    }

    /// For a range of a large body that is just being fetched whole: that fetch.
    pub(crate) fn whole_for<'s, F: Fields>(
        &self,
        shard: &'s Shard,
        primary: CacheKey,
        request: &RequestHead<'_, F>,
    ) -> Option<&'s Arc<Flight>> {
        if !request.has(&header::RANGE) {
            return None;
        }
        let flight = shard.flight(self.whole_key(primary, request))?;
        flight.phase.streams(Streaming::is_sliceable).then_some(flight)
    }
}
