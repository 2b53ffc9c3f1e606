//! What becomes of what was fetched: which tier keeps it, under which key, and what the disk is still to get of it.
//!
//! Called at the end of a fill, by hits that pay what memory owes the disk, and by who encodes.
//!
//! Invariant: what is written, replaced or marked is so under the lock of its key's shard, so neither a purge nor a newer response is
//! overtaken.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CacheStore;
use crate::coalesce::{Fill, Flight, detached};
use crate::entry::{Parts, StoredResponse};
use crate::form::Encoded;
use crate::key::CacheKey;
use crate::lookup::{Variant, Variants};
use crate::purge::Resource;
use crate::rules::update::{HeadEffect, head_effect};
use crate::rules::{Coding, Purged, ResponseHead, VarySpec};
use crate::stock::Item;
use crate::tiers::disk::Disk;
use crate::tiers::gate::Answered;
use crate::tiers::late::LateKey;
use crate::tiers::objects::{Inserted, Slot};
use crate::timestamp::Timestamp;

impl CacheStore {
    /// Ends a fill with a complete response; `base` is the stored one that it was made from, if it was.
    pub(crate) fn insert(
        self: &Arc<Self>,
        fill: &Fill,
        stored: StoredResponse,
        base: Option<&Arc<StoredResponse>>,
    ) -> Arc<StoredResponse> {
        self.insert_response(&fill.flight, &fill.resource(), stored, base, fill.modest)
    }

    pub(crate) fn insert_response(
        self: &Arc<Self>,
        flight: &Arc<Flight>,
        resource: &Resource<'_>,
        mut stored: StoredResponse,
        base: Option<&Arc<StoredResponse>>,
        modest: bool,
    ) -> Arc<StoredResponse> {
        let primary = resource.key;
        if let Some(base) = base {
            // Confirmed: what was encoded once is not encoded again.
            let standing = self.standing(primary, base);
            stored.take_forms(standing.as_ref().unwrap_or(base), |parts| self.pack(parts));
        }
        let stored = Arc::new(stored);
        let mut shard = self.flights.shard(primary);
        shard.end(flight);
        let purged = self.purges.since(primary, stored.epoch());
        stored.purge(purged);
        if purged == Purged::Hard || base.is_some_and(|base| self.is_replaced(primary, base)) {
            return stored;
        }
        if let Some(disk) = self.disk.as_ref().filter(|_| base.is_none()) {
            disk.asked(primary, &stored, Answered::Beyond);
        }
        shard.forget_hit_for_miss(flight.key);
        shard.forget_failure(primary);
        let key = self.own_key(primary, &stored);
        let kept = if stored.varies() {
            self.insert_variant(resource, key, &stored, modest)
        } else {
            self.keep(resource, key, Slot::Response(Arc::clone(&stored)), modest)
        };
        drop(shard);
        if kept {
            if self.stock.takes(key) {
                self.stock.note(key, Item::of(resource, &stored), |key| self.holds(key));
            }
            self.counters.stored.fetch_add(1, Ordering::Relaxed);
        }
        stored
    }

    /// Whether something else stands where `base` stood: a confirmation that was overtaken by a newer response must not
    /// put the older body back. The shard is locked.
    fn is_replaced(&self, primary: CacheKey, base: &Arc<StoredResponse>) -> bool {
        match self.objects.find(self.own_key(primary, base)) {
            Some(Slot::Response(now)) => !now.is_same(base),
            Some(Slot::Variants(_)) => true,
            None => false,
        }
    }

    /// The key under which a response lies.
    pub(super) fn own_key(&self, primary: CacheKey, stored: &StoredResponse) -> CacheKey {
        self.key_of(primary, stored.vary())
    }

    /// The key under which a response with this `Vary` lies.
    pub(crate) fn key_of(&self, primary: CacheKey, vary: &VarySpec) -> CacheKey {
        if vary.is_empty() {
            return primary;
        }
        let mut values = Vec::with_capacity(128);
        vary.write_own_key(&mut |bytes| values.extend_from_slice(bytes));
        self.keyer.variant(primary, &values)
    }

    /// Puts a variant under its own key and at the head of the resource's list. The shard is locked.
    fn insert_variant(
        self: &Arc<Self>,
        resource: &Resource<'_>,
        key: CacheKey,
        stored: &Arc<StoredResponse>,
        modest: bool,
    ) -> bool {
        let primary = resource.key;
        let known = match self.objects.find(primary) {
            Some(Slot::Variants(variants)) => variants,
            // A response that answered everything does so no longer: the origin now varies.
            Some(Slot::Response(_)) | None => Arc::default(),
        };
        let (variants, dropped) = known.with(Variant { key, vary: stored.vary().clone() });
        if let Some(dropped) = dropped {
            self.objects.remove(dropped);
            if let Some(disk) = &self.disk {
                disk.forget(dropped);
            }
        }
        self.keep(resource, key, Slot::Response(Arc::clone(stored)), modest)
            && self.keep_variants(resource, variants)
    }

    /// Keeps a slot in memory, on disk, or in both, as each takes it; `false` if none does, and then none has anything. The shard
    /// is locked. What is `modest` takes free room alone, unless it replaces what is there.
    fn keep(self: &Arc<Self>, resource: &Resource<'_>, key: CacheKey, slot: Slot, modest: bool) -> bool {
        let modest = modest && self.objects.peek(key).is_none();
        let put = |slot: Slot| {
            if modest && self.objects.is_full() { Inserted::Unworthy } else { self.objects.insert(key, slot) }
        };
        let Some(disk) = &self.disk else { return put(slot) == Inserted::Kept };
        let through_memory = match &slot {
            Slot::Response(stored) if stored.on_disk().is_none() => stored.body_len(),
            Slot::Response(_) | Slot::Variants(_) => 0,
        };
        let now = self.recency.fetched(through_memory);
        let kept = put(slot.clone());
        // What memory can never take could not come back from there either.
        // The chunks of a large body are there already: without its record they are found by nobody after a restart.
        let is_large = matches!(&slot, Slot::Response(stored) if stored.on_disk().is_some());
        let is_barred = modest && !is_large && disk.is_full() && !disk.holds(key);
        if kept != Inserted::TooHeavy && !is_barred && (is_large || disk.wants(key)) {
            self.write_down(disk, resource, key, &slot);
            return true;
        }
        disk.forget(key);
        if let Slot::Response(stored) = &slot {
            stored.owe(now);
        }
        kept == Inserted::Kept
    }

    /// Keeps the list of a resource's variants: without it none of them is found, so it is never refused but for its weight.
    fn keep_variants(self: &Arc<Self>, resource: &Resource<'_>, variants: Variants) -> bool {
        let primary = resource.key;
        let slot = Slot::Variants(Arc::new(variants));
        let kept = self.objects.admit(primary, slot.clone());
        match &self.disk {
            Some(disk) if kept => self.write_down(disk, resource, primary, &slot),
            Some(disk) => disk.forget(primary),
            None => {}
        }
        kept
    }

    /// Writes a slot down, at once or, where the disk is behind, as soon as it is not. The shard is locked.
    pub(crate) fn write_down(
        self: &Arc<Self>,
        disk: &Arc<Disk>,
        resource: &Resource<'_>,
        key: CacheKey,
        slot: &Slot,
    ) {
        // What another process has the directory of is not waited for.
        if disk.write(resource, key, slot) || !self.purges.log.is_ours() {
            return;
        }
        if let Slot::Response(stored) = slot {
            // If even that fails, a later request for it pays.
            stored.owe(self.recency.fetched(0));
        }
        disk.late().note(LateKey { key, primary: resource.key });
        self.catch_up();
    }

    /// Whether a request for what memory has is one at which a full disk takes it, or later.
    #[inline]
    pub(crate) fn is_asked_again(&self, stored: &StoredResponse) -> bool {
        stored.owed_since().is_none_or(|since| self.recency.is_past(since))
    }

    /// A hit in memory is one on disk as well: what it owes there is paid, and what lies there is spared.
    #[inline]
    pub(super) fn spare(
        self: &Arc<Self>,
        disk: &Arc<Disk>,
        resource: &Resource<'_>,
        stored: &Arc<StoredResponse>,
        now: Timestamp,
    ) {
        let primary = resource.key;
        disk.asked(primary, stored, Answered::Memory);
        if stored.owed_since().is_some() {
            if self.is_asked_again(stored) {
                self.pay(disk, resource, stored);
            }
        } else if now.as_millis().is_multiple_of(TOUCHED_ONE_IN_MILLIS) {
            disk.touch(primary, self.own_key(primary, stored));
            if let Some(large) = stored.on_disk()
                && stored.large().is_none()
            {
                large.touch();
            }
        }
    }

    /// Writes what memory holds to disk: it was asked for a second time.
    #[cold]
    fn pay(self: &Arc<Self>, disk: &Arc<Disk>, resource: &Resource<'_>, stored: &Arc<StoredResponse>) {
        let _shard = self.flights.shard(resource.key);
        let key = self.own_key(resource.key, stored);
        // Under the lock it is known whether it still stands, so that neither a purge nor a newer one is overtaken.
        if stored.take_owed()
            && stored.purged() != Purged::Hard
            && matches!(self.objects.find(key), Some(Slot::Response(now)) if now.is_same(stored))
        {
            self.write_down(disk, resource, key, &Slot::Response(Arc::clone(stored)));
        }
    }

    /// Puts what was read from disk into memory; `false` if it is too heavy. The shard is locked.
    pub(crate) fn promote(&self, key: CacheKey, slot: Slot) -> bool {
        self.counters.promoted.fetch_add(1, Ordering::Relaxed);
        self.objects.admit(key, slot)
    }

    /// An answer to HEAD describes what a GET would bring: updates or outdates what is stored (RFC 9111 §4.3.5).
    pub fn head_answered(
        self: &Arc<Self>,
        resource: &Resource<'_>,
        stored: &Arc<StoredResponse>,
        head: &ResponseHead<'_>,
        updated: impl FnOnce() -> Option<Parts>,
        now: Timestamp,
    ) {
        let primary = resource.key;
        let mut fields = stored.fields();
        let length = stored.held().map_or(Some(stored.body_len()), crate::rules::partial::Held::complete);
        if let Some(length) = length {
            fields.insert(http::header::CONTENT_LENGTH, length.into());
        }
        match head_effect(&ResponseHead { status: stored.status(), fields: &fields }, head) {
            HeadEffect::Update => {
                if let Some(parts) = updated() {
                    // A purge is not undone by a head: not one that is marked, and not one that is yet to be found out about.
                    let epoch = stored.epoch();
                    let flight = detached(primary, primary, epoch);
                    let updated = self.pack(Parts { epoch, ..parts });
                    updated.purge(stored.purged());
                    self.insert_response(&flight, resource, updated, Some(stored), false);
                }
            }
            HeadEffect::Invalidate => {
                let _shard = self.flights.shard(primary);
                self.mark(primary, stored, Purged::Soft(now));
                if let Some(disk) = &self.disk
                    && !disk.mark_soft(primary, now)
                {
                    disk.forget(self.own_key(primary, stored));
                }
            }
            HeadEffect::Nothing => {}
        }
    }

    /// The origin has shown that a stored response no longer stands: it is not used again.
    pub fn outdate(&self, primary: CacheKey, stored: &StoredResponse) {
        let _shard = self.flights.shard(primary);
        self.mark(primary, stored, Purged::Hard);
        if let Some(disk) = &self.disk {
            disk.forget(self.own_key(primary, stored));
        }
    }

    /// Marks a response, and what stands in its place if that is the same with other forms. The shard is locked.
    fn mark(&self, primary: CacheKey, stored: &StoredResponse, purged: Purged) {
        stored.purge(purged);
        if let Some(standing) = self.standing(primary, stored) {
            standing.purge(purged);
        }
    }

    /// What memory holds of a response, with whatever forms it has by now.
    fn standing(&self, primary: CacheKey, stored: &StoredResponse) -> Option<Arc<StoredResponse>> {
        match self.objects.find(self.own_key(primary, stored)) {
            Some(Slot::Response(now)) if now.is_same(stored) => Some(now),
            _ => None,
        }
    }

    /// Forgets what whoever serves has found out about encoding: other rules hold from now on. Costs a walk through memory.
    pub fn forget_coding_notes(&self) {
        self.objects.for_each(|stored| stored.forget_coding(u8::MAX));
    }

    /// Whether a body in `coding`, compressed at `level`, would be of use: the response is still in memory, not purged, and has
    /// nothing as good.
    pub fn wants_form(&self, primary: CacheKey, stored: &StoredResponse, coding: Coding, level: u8) -> bool {
        self.standing(primary, stored).is_some_and(|standing| {
            standing.purged() != Purged::Hard && standing.form(coding).is_none_or(|form| form.level < level)
        })
    }

    /// Hangs an encoded form on a response, where it is still in memory and may be as heavy as that makes it; `false` where it is
    /// not kept.
    pub fn keep_form(&self, primary: CacheKey, stored: &StoredResponse, encoded: Encoded) -> bool {
        let coding = encoded.coding;
        let form = encoded.form_of(stored, |parts| self.pack(parts));
        // Under the lock it is known what stands, and no purge by URL comes between the look and the exchange.
        let _shard = self.flights.shard(primary);
        let Some(standing) = self.standing(primary, stored) else { return false };
        let slot = Slot::Response(Arc::new(standing.with_form(coding, form)));
        self.objects.may_keep(&slot) && self.objects.admit(self.own_key(primary, stored), slot)
    }
}

/// What is hit in memory is spared on disk too; that is told for the hits of one millisecond in so many, which no popular
/// response escapes and no hit pays for.
const TOUCHED_ONE_IN_MILLIS: u64 = 64;
