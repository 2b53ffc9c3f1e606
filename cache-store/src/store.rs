//! The store: one lookup, one way to fill, one way to purge.
//!
//! A fresh hit takes no lock but the memory tier's shared one. Everything else (a miss, a stale answer with its
//! refresh, the end of a fill, a purge) happens under the lock of the key's shard in `Flights`, so each sees
//! the others whole. Locks are taken in this order: shard, then memory tier; none is held across an await.
//!
//! Invariant: at most one fill is open to followers for a key, and no response is inserted past a purge.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{Method, header};

use crate::coalesce::{Fill, Flight, Flights, Follower, Shard, detached};
use crate::entry::{Epoch, Parts, StoredResponse};
use crate::form::Encoded;
use crate::handover::Handover;
use crate::key::{CacheKey, Keyer};
use crate::large;
use crate::lookup::{Found, Hit, Lookup, Stale, Variant, Variants, Why, find};
use crate::purge::{Purges, Resource};
use crate::rules::partial::requested;
use crate::rules::update::{HeadEffect, head_effect};
use crate::rules::validator::has_validator;
use crate::rules::{Coding, Fields, Policy, Purged, RequestControl, RequestHead, ResponseHead, VarySpec};
use crate::stock::{Address, Item, Stock};
use crate::tiers::admit::Recency;
use crate::tiers::disk::Disk;
use crate::tiers::gate::Answered;
use crate::tiers::late::LateKey;
pub use crate::tiers::objects::MemoryAdmission;
use crate::tiers::objects::{Goal, Inserted, Objects, Slot};
use crate::tiers::promotion::{Glance, Promotion};
use crate::tiers::sizing::Sizing;
use crate::timestamp::Timestamp;

/// What a store is made with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Budget of the memory tier in bytes: bodies, heads, records.
    pub memory_bytes: usize,
    /// What memory takes in.
    pub memory_admission: MemoryAdmission,
    /// Longest response that is stored, bytes.
    pub object_bytes_max: u64,
    /// Secret under which keys are hashed.
    pub secret: [u8; 32],
}

/// The cache. Shared by all workers.
pub struct CacheStore {
    keyer: Keyer,
    objects: Objects,
    disk: Option<Arc<Disk>>,
    flights: Flights,
    purges: Arc<Purges>,
    stock: Stock,
    pub(crate) sizing: Sizing,
    /// How long a response in memory waits for the request at which a full disk takes it.
    recency: Recency,
    handover: Handover,
    pub(crate) object_bytes_max: u64,
    /// Bytes of bodies that are arriving and will be stored; they are not in the tier's budget yet.
    arriving: AtomicU64,
    arriving_max: u64,
    counters: Counters,
}

#[derive(Debug, Default)]
struct Counters {
    fills: AtomicU64,
    stored: AtomicU64,
    collapsed: AtomicU64,
    promoted: AtomicU64,
}

/// Figures about the store, read without stopping it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// Weight of what the memory tier holds.
    pub memory_bytes: u64,
    /// Its budget.
    pub memory_bytes_max: u64,
    /// Responses and variant lists in it.
    pub memory_objects: u64,
    /// Responses pushed out of it.
    pub memory_evictions: u64,
    /// Bytes of bodies arriving to be stored.
    pub arriving_bytes: u64,
    /// Fetches open to followers now.
    pub fills_under_way: u64,
    /// Fills begun since the start.
    pub fills: u64,
    /// Responses stored since the start.
    pub stored: u64,
    /// Requests that waited for another's fetch.
    pub collapsed: u64,
    /// Responses and variant lists brought from disk since the start.
    pub promoted: u64,
    /// Number of the last purge.
    pub purge_sequence: u64,
    /// Fetches for what purges took.
    pub purge_refetches: u64,
}

impl std::fmt::Debug for CacheStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheStore").field("usage", &self.usage()).finish_non_exhaustive()
    }
}

impl CacheStore {
    /// An empty store in memory.
    pub fn new(settings: &Settings) -> Arc<Self> {
        Self::over(settings, None)
    }

    /// A store in memory over a disk. The secret must be the disk's ([`Disk::secret`]): keys are hashed under it.
    pub fn over(settings: &Settings, disk: Option<Disk>) -> Arc<Self> {
        let goal = disk.as_ref().map_or(Goal::Both, |_| Goal::Bytes);
        let objects = Objects::new(settings.memory_bytes, settings.memory_admission, goal);
        let disk_bytes = disk.as_ref().map(|disk| disk.usage().bytes_max);
        let sizing = Sizing::beside(objects.capacity_bytes(), disk_bytes);
        Arc::new(Self {
            keyer: Keyer::new(settings.secret),
            objects,
            sizing,
            flights: Flights::new(),
            purges: disk
                .as_ref()
                .map_or_else(|| Arc::new(Purges::in_memory()), |disk| Arc::clone(disk.purges())),
            stock: Stock::new(disk.is_none()),
            recency: Recency::new(settings.memory_bytes as u64),
            handover: Handover::default(),
            disk: disk.map(|disk| Arc::new(disk.beneath(settings.memory_bytes as u64))),
            object_bytes_max: settings.object_bytes_max,
            arriving: AtomicU64::new(0),
            arriving_max: (settings.memory_bytes as u64 / ARRIVING_SHARE).max(ARRIVING_BYTES_MIN),
            counters: Counters::default(),
        })
    }

    /// What makes keys for this store.
    pub const fn keyer(&self) -> &Keyer {
        &self.keyer
    }

    /// The one answer to a request. Costs a memory look-up when it is a fresh hit, and the lock of the key's shard
    /// otherwise. `request.method` is GET or HEAD.
    pub fn lookup<F: Fields>(
        self: &Arc<Self>,
        resource: Resource<'_>,
        request: &RequestHead<'_, F>,
        policy: &Policy,
        now: Timestamp,
    ) -> Lookup {
        self.lookup_by(resource, request, RequestControl::of(request.fields, policy), now)
    }

    /// The same for a request that asks for this.
    #[inline]
    pub fn lookup_by<F: Fields>(
        self: &Arc<Self>,
        resource: Resource<'_>,
        request: &RequestHead<'_, F>,
        control: RequestControl,
        now: Timestamp,
    ) -> Lookup {
        let primary = resource.key;
        let mut waits = false;
        let found = find(self, &resource, request, &control, now);
        // Of most misses: then neither the flight's key nor the fill has variants to look for.
        let is_unknown = found.is_unknown();
        match found {
            Found::Usable(hit @ Hit { stale: None, .. }) => {
                if let Some(disk) = &self.disk {
                    self.spare(disk, &resource, &hit.stored, now);
                }
                return Lookup::Fresh(hit);
            }
            Found::Nothing(_, Some(key)) => match self.glance(&resource, key, request, &control, now) {
                Glance::Hit(hit) => return Lookup::FreshOnDisk(hit),
                Glance::Waits => waits = true,
                Glance::Nothing => {}
            },
            Found::Usable(_) | Found::Unusable(..) | Found::Nothing(_, None) => {}
        }
        let flight_key = if is_unknown && !request.has(&header::RANGE) {
            primary
        } else {
            self.flight_key(primary, request)
        };
        let mut shard = self.flights.shard(primary);
        // Looked up again: a fill may have ended between the look above and the lock.
        let found = find(self, &resource, request, &control, now);
        let is_unknown = found.is_unknown();
        let (stored, why) = match found {
            Found::Usable(hit @ Hit { stale: None, .. }) => return Lookup::Fresh(hit),
            Found::Usable(hit) => {
                let refresh = !control.only_if_cached
                    && *request.method == Method::GET
                    && !shard.has_failed(primary, now)
                    && self.open_flight(&mut shard, flight_key, &resource).is_none();
                let why = Why::Validate(crate::rules::reuse::MustValidate::Stale);
                let fill = refresh.then(|| {
                    let flight = shard.begin(flight_key, primary, self.purges.log.epoch());
                    let candidates = self.candidates(&resource, Some(&hit.stored), why);
                    self.fill(flight, resource, Some(Arc::clone(&hit.stored)), candidates, (why, true))
                });
                return Lookup::Stale(hit, fill);
            }
            Found::Unusable(stored, why) => (Some(stored), why),
            Found::Nothing(why, elsewhere) => {
                if let Some(found) = self.find_on_disk(&mut shard, primary, elsewhere, why, now, waits) {
                    return found;
                }
                (None, why)
            }
        };
        if let Some(stored) = &stored
            && why != Why::Partial
            && shard.has_failed(primary, now)
            && stored.freshness.may_serve_stale_if_error(&control, stored.purged(), now)
        {
            let hit = Hit { stored: Arc::clone(stored), stale: Some(Stale::Error) };
            return Lookup::Stale(hit, None);
        }
        if control.only_if_cached {
            return Lookup::OnlyIfCached;
        }
        // A client that asks for confirmation gets one that began after it asked.
        let alone = control.no_cache
            || control.max_age.is_some()
            || *request.method != Method::GET
            || shard.is_hit_for_miss(flight_key, now);
        let known = |stored: &Option<_>| {
            if is_unknown { Vec::new() } else { self.candidates(&resource, stored.as_ref(), why) }
        };
        if alone {
            let flight = detached(flight_key, primary, self.purges.log.epoch());
            let candidates = known(&stored);
            return Lookup::Miss(self.fill(flight, resource, stored, candidates, (why, false)));
        }
        let whole = self.whole_for(&shard, primary, request).filter(|whole| self.may_join(whole, &resource));
        let whole = whole.map(Arc::clone);
        if let Some(flight) = self.open_flight(&mut shard, flight_key, &resource).or(whole) {
            self.counters.collapsed.fetch_add(1, Ordering::Relaxed);
            return Lookup::Filling(Follower::new(flight.phase.follow(), stored, why));
        }
        let flight = shard.begin(flight_key, primary, self.purges.log.epoch());
        let candidates = known(&stored);
        Lookup::Miss(self.fill(flight, resource, stored, candidates, (why, true)))
    }

    /// The permit to bring a key from disk, or a place behind whoever has it.
    fn find_on_disk(
        self: &Arc<Self>,
        shard: &mut Shard,
        primary: CacheKey,
        key: Option<CacheKey>,
        why: Why,
        now: Timestamp,
        waits: bool,
    ) -> Option<Lookup> {
        let (disk, key) = (self.disk.as_ref()?, key?);
        if !disk.holds(key) {
            return None;
        }
        let flight_key = self.keyer.variant(key, ON_DISK);
        if let Some(flight) = shard.flight(flight_key) {
            return Some(Lookup::Filling(Follower::new(flight.phase.follow(), None, why)));
        }
        let flight = shard.begin(flight_key, primary, self.purges.log.epoch());
        let (store, disk) = (Arc::clone(self), Arc::clone(disk));
        Some(Lookup::OnDisk(Promotion { store, disk, flight, primary, key, now, waits }))
    }

    /// A fill of one's own, for a follower that was sent away or a request that must not be shared.
    pub fn fill_alone<F: Fields>(
        self: &Arc<Self>,
        resource: Resource<'_>,
        request: &RequestHead<'_, F>,
        stored: Option<Arc<StoredResponse>>,
        why: Why,
    ) -> Fill {
        let flight = detached(self.flight_key(resource.key, request), resource.key, self.purges.log.epoch());
        let candidates = self.candidates(&resource, stored.as_ref(), why);
        self.fill(flight, resource, stored, candidates, (why, false))
    }

    /// What a look at the store finds for `explain`: no fetch is begun or joined. What is on disk only is read, and so may
    /// block.
    pub fn peek<F: Fields>(
        self: &Arc<Self>,
        resource: Resource<'_>,
        request: &RequestHead<'_, F>,
        policy: &Policy,
        now: Timestamp,
    ) -> Peek {
        let primary = resource.key;
        let control = RequestControl::of(request.fields, policy);
        let filling = {
            let flight_key = self.flight_key(primary, request);
            let shard = self.flights.shard(primary);
            shard.flight(flight_key).is_some()
        };
        let mut found = find(self, &resource, request, &control, now);
        let mut from_disk = false;
        // A list of variants, and one of them.
        for _ in 0..2 {
            let Found::Nothing(_, Some(key)) = found else { break };
            let Some(disk) = self.disk.as_ref().filter(|disk| disk.holds(key)) else { break };
            let (store, disk) = (Arc::clone(self), Arc::clone(disk));
            let flight = detached(self.keyer.variant(key, ON_DISK), primary, self.purges.log.epoch());
            Promotion { store, disk, flight, primary, key, now, waits: false }.wait();
            from_disk = true;
            found = find(self, &resource, request, &control, now);
        }
        let (stored, stale, why) = match found {
            Found::Usable(hit) => (Some(hit.stored), hit.stale, None),
            Found::Unusable(stored, why) => (Some(stored), None, Some(why)),
            Found::Nothing(why, _) => (None, None, Some(why)),
        };
        Peek { stored, stale, why, filling, from_disk }
    }

    /// The response that memory holds for a request, fresh or not, if it holds one. Changes nothing and never blocks.
    pub fn resident<F: Fields>(
        self: &Arc<Self>,
        resource: Resource<'_>,
        request: &RequestHead<'_, F>,
        policy: &Policy,
        now: Timestamp,
    ) -> Option<Arc<StoredResponse>> {
        let control = RequestControl::of(request.fields, policy);
        match find(self, &resource, request, &control, now) {
            Found::Usable(hit) => Some(hit.stored),
            Found::Unusable(stored, _) => Some(stored),
            Found::Nothing(..) => None,
        }
    }

    /// What the purges say about a stored response, looked up if that may have changed.
    #[inline]
    pub fn purged(&self, stored: &StoredResponse, resource: &Resource<'_>) -> Purged {
        self.purges.broad.check(stored, resource)
    }

    pub(crate) fn purges(&self) -> &Purges {
        &self.purges
    }

    /// The purge epoch now: what a fetch that begins now belongs to.
    pub fn epoch(&self) -> Epoch {
        self.purges.log.epoch()
    }

    /// Whether no purge of the resource was applied since `epoch`. May deny it wrongly, never wrongly affirm it.
    pub fn untouched_since(&self, primary: CacheKey, epoch: Epoch) -> bool {
        self.purges.since(primary, epoch) == Purged::No && self.purges.broad.last() <= epoch
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

    /// What became of a response for a resource whose fetch began at `epoch`.
    pub(crate) fn purged_since(&self, primary: CacheKey, epoch: Epoch) -> Purged {
        self.purges.since(primary, epoch)
    }

    /// Puts what was read from disk into memory; `false` if it is too heavy. The shard is locked.
    pub(crate) fn promote(&self, key: CacheKey, slot: Slot) -> bool {
        self.counters.promoted.fetch_add(1, Ordering::Relaxed);
        self.objects.admit(key, slot)
    }

    pub(crate) const fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The disk beneath, if there is one.
    pub const fn disk(&self) -> Option<&Arc<Disk>> {
        self.disk.as_ref()
    }

    /// Another process of this node that serves as well.
    pub(crate) const fn handover(&self) -> &Handover {
        &self.handover
    }

    /// What is known of URLs.
    pub(crate) const fn stock(&self) -> &Stock {
        &self.stock
    }

    /// Whether a key leads to something in either tier.
    pub(crate) fn holds(&self, key: CacheKey) -> bool {
        self.objects.peek(key).is_some() || self.is_on_disk(key)
    }

    /// Learns the URLs of what a disk had at the start, until `goes_on` says no. Once, beside everything else: it reads up to 16,384
    /// records. Blocks.
    pub fn take_stock(&self, goes_on: impl Fn() -> bool) {
        let Some(disk) = &self.disk else { return };
        let share = self.stock.prepare(disk.usage().objects);
        let is_held = |key| self.holds(key);
        let whole = disk.each_item(share, |key, item| {
            self.stock.note_found(key, item, is_held);
            goes_on()
        });
        if whole {
            self.stock.whole();
        }
    }

    pub(crate) fn is_on_disk(&self, key: CacheKey) -> bool {
        self.disk.as_ref().is_some_and(|disk| disk.holds(key))
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

    /// Whether a request for what memory has is one at which a full disk takes it, or later.
    #[inline]
    pub(crate) fn is_asked_again(&self, stored: &StoredResponse) -> bool {
        stored.owed_since().is_none_or(|since| self.recency.is_past(since))
    }

    /// A hit in memory is one on disk as well: what it owes there is paid, and what lies there is spared.
    #[inline]
    fn spare(
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

    /// Longest response that is stored, in bytes of weight.
    pub fn entry_bytes_max(&self) -> u64 {
        (self.objects.entry_weight_max() as u64).min(self.object_bytes_max)
    }

    /// Longest body that is stored, bytes, where the rest of its entry weighs `beside_bytes` at most.
    pub(crate) fn body_bytes_max(&self, beside_bytes: u64) -> u64 {
        (self.objects.entry_weight_max() as u64).saturating_sub(beside_bytes).min(self.object_bytes_max)
    }

    /// Figures for metrics and `stat`.
    pub fn usage(&self) -> Usage {
        Usage {
            memory_bytes: self.objects.bytes() as u64,
            memory_bytes_max: self.objects.capacity_bytes() as u64,
            memory_objects: self.objects.entries() as u64,
            memory_evictions: self.objects.evictions(),
            arriving_bytes: self.arriving.load(Ordering::Relaxed),
            fills_under_way: self.flights.under_way() as u64,
            fills: self.counters.fills.load(Ordering::Relaxed),
            stored: self.counters.stored.load(Ordering::Relaxed),
            collapsed: self.counters.collapsed.load(Ordering::Relaxed),
            promoted: self.counters.promoted.load(Ordering::Relaxed),
            purge_sequence: self.purges.log.sequence(),
            purge_refetches: self.purges.broad.costs.total(),
        }
    }

    pub(crate) const fn flights(&self) -> &Flights {
        &self.flights
    }

    /// Makes of `parts` what the memory tier keeps.
    pub(crate) fn pack(&self, parts: Parts) -> StoredResponse {
        self.objects.pack(parts)
    }

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
    fn own_key(&self, primary: CacheKey, stored: &StoredResponse) -> CacheKey {
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

    /// Requests with the same flight key wait for one fetch: the resource, or as far as is known its variant; and the range.
    fn flight_key<F: Fields>(&self, primary: CacheKey, request: &RequestHead<'_, F>) -> CacheKey {
        if !request.has(&header::RANGE) {
            return self.whole_key(primary, request);
        }
        let mut values = self.variant_values(primary, request);
        // A range is fetched as asked for, so it is a flight of its own.
        let wanted = if self.large_bytes_max() > 0 && !request.has(&header::IF_RANGE) {
            requested(request).as_ref().and_then(large::aligned)
        } else {
            None
        };
        if let Some(wanted) = wanted {
            // It is asked for by whole chunks: one fetch for all who begin in the same one.
            values.extend_from_slice(b"\nslice\0");
            values.extend_from_slice(&wanted.start.to_le_bytes());
        } else {
            values.extend_from_slice(b"\nrange\0");
            for range in request.fields.values(&http::header::RANGE) {
                values.extend_from_slice(range);
            }
            for value in request.fields.values(&http::header::IF_RANGE) {
                values.push(0);
                values.extend_from_slice(value);
            }
        }
        self.keyer.variant(primary, &values)
    }

    /// The flight key of a request for the whole.
    pub(crate) fn whole_key<F: Fields>(&self, primary: CacheKey, request: &RequestHead<'_, F>) -> CacheKey {
        let values = self.variant_values(primary, request);
        if values.is_empty() { primary } else { self.keyer.variant(primary, &values) }
    }

    fn variant_values<F: Fields>(&self, primary: CacheKey, request: &RequestHead<'_, F>) -> Vec<u8> {
        let mut values = Vec::new();
        if let Some(Slot::Variants(variants)) = self.objects.find(primary)
            && let Some(newest) = variants.newest()
        {
            newest.vary.write_key(request.fields, &mut |bytes| values.extend_from_slice(bytes));
        }
        values
    }

    /// The flight of a key that may still be joined. One that a broad purge has passed, or may have, is closed to those who
    /// come later, as a purge by URL closes it at once.
    fn open_flight(&self, shard: &mut Shard, key: CacheKey, resource: &Resource<'_>) -> Option<Arc<Flight>> {
        let flight = Arc::clone(shard.flight(key)?);
        if self.may_join(&flight, resource) {
            return Some(flight);
        }
        shard.end(&flight);
        None
    }

    fn may_join(&self, flight: &Flight, resource: &Resource<'_>) -> bool {
        !self.purges.broad.may_take(resource, flight.epoch)
    }

    fn fill(
        self: &Arc<Self>,
        flight: Arc<Flight>,
        resource: Resource<'_>,
        stored: Option<Arc<StoredResponse>>,
        candidates: Vec<Arc<StoredResponse>>,
        (why, shared): (Why, bool),
    ) -> Fill {
        let primary = resource.key;
        self.counters.fills.fetch_add(1, Ordering::Relaxed);
        self.purges.broad.costs.fetched(primary);
        let address = Address::of(&resource);
        let store = Arc::clone(self);
        Fill {
            store,
            flight,
            primary,
            address,
            stored,
            candidates,
            why,
            shared,
            modest: false,
            class: 0,
            is_ended: false,
        }
    }

    /// What the origin may be asked to confirm: what is stored and answers the request but for its age, and other variants.
    fn candidates(
        &self,
        resource: &Resource<'_>,
        stored: Option<&Arc<StoredResponse>>,
        why: Why,
    ) -> Vec<Arc<StoredResponse>> {
        let mut candidates: Vec<_> = stored.into_iter().cloned().collect();
        if why != Why::Partial
            && let Some(Slot::Variants(variants)) = self.objects.find(resource.key)
        {
            for variant in variants.iter().take(CANDIDATES_MAX) {
                if let Some(Slot::Response(other)) = self.objects.find(variant.key)
                    && self.purged(&other, resource) != Purged::Hard
                    && other.held().is_none()
                    && may_stand_for_others(&variant.vary)
                    && !candidates.iter().any(|known| known.is_same(&other))
                {
                    candidates.push(other);
                }
            }
        }
        candidates.retain(|stored| has_validator(&stored.fields()));
        candidates
    }
}

/// Whether a variant may be asked about on behalf of a request that it does not match. Not where encodings differ: they may
/// share a weak tag (RFC 9110 §8.8.3.3), and nginx confirms the tag of its compressed answer to a client that takes
/// none, who would then be sent bytes it cannot read.
fn may_stand_for_others(vary: &VarySpec) -> bool {
    vary.names().all(|name| *name != header::ACCEPT_ENCODING)
}

/// What [`CacheStore::peek`] found.
#[derive(Debug)]
pub struct Peek {
    /// The stored response nearest to an answer.
    pub stored: Option<Arc<StoredResponse>>,
    /// What allows it although it is stale.
    pub stale: Option<Stale>,
    /// Why the origin would be asked; `None`: it would not.
    pub why: Option<Why>,
    /// Whether a fetch for it is under way.
    pub filling: bool,
    /// Whether it lay on disk only, until this look.
    pub from_disk: bool,
}

/// Room taken for a body that is arriving and will be stored; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<CacheStore>,
    bytes: u64,
}

impl Reservation {
    /// Takes room for `bytes`, or `None` when too much is arriving at once.
    pub(crate) fn take(store: &Arc<CacheStore>, bytes: u64) -> Option<Self> {
        let mut room = Self { store: Arc::clone(store), bytes: 0 };
        room.grow(bytes).then_some(room)
    }

    /// Takes more room; `false`, and nothing changes, when there is none.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let before = self.store.arriving.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) > self.store.arriving_max {
            self.store.arriving.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.arriving.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}

/// What is hit in memory is spared on disk too; that is told for the hits of one millisecond in so many, which no popular
/// response escapes and no hit pays for.
const TOUCHED_ONE_IN_MILLIS: u64 = 64;
/// Tells the flight that reads a key from disk from those that fetch it.
const ON_DISK: &[u8] = b"disk";
/// Stored responses whose validators are sent along with one request.
const CANDIDATES_MAX: usize = 8;
/// Bodies arriving at once take at most this part of the memory budget.
const ARRIVING_SHARE: u64 = 8;
/// …or so much if that is more.
const ARRIVING_BYTES_MIN: u64 = 32 * 1024 * 1024;
