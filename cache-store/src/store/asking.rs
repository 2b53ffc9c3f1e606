//! What a request is told: a hit, a place behind somebody's fetch, or the permit to fetch. One answer, under one lock.
//!
//! Called by the walk for every request; what is found is judged in `lookup.rs`, what is fetched is kept in `keeping.rs`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use http::{Method, header};

use super::CacheStore;
use crate::coalesce::{Fill, Flight, Follower, Shard, detached};
use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::large;
use crate::lookup::{Found, Hit, Lookup, Stale, Why, find};
use crate::purge::Resource;
use crate::rules::partial::requested;
use crate::rules::validator::has_validator;
use crate::rules::{Fields, Policy, Purged, RequestControl, RequestHead, VarySpec};
use crate::stock::Address;
use crate::tiers::objects::Slot;
use crate::tiers::promotion::{Glance, Promotion};
use crate::timestamp::Timestamp;

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

impl CacheStore {
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

/// Tells the flight that reads a key from disk from those that fetch it.
const ON_DISK: &[u8] = b"disk";
/// Stored responses whose validators are sent along with one request.
const CANDIDATES_MAX: usize = 8;
