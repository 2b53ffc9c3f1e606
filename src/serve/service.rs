//! The walk as a worker's service, with its end of log and metrics; and the node as the admin calls see it.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::Cache;
use bytes::Bytes;
use cache_store::key::CacheKey;
use cache_store::tiers::disk::{ChunksUsage, DiskUsage};
use http::StatusCode;
use purge_api::auth::Bearer;
use purge_api::compat::method;
use purge_api::ledger::Ledger;
use purge_api::{Problem, Purger, Reply, ResourceUrl};
use serde_json::Value;

use super::guarded::put_beside;
use super::{Current, Edge, tagged};
use crate::admin::purge::{By, carry_out, normal};
use crate::admin::{ExplainQuery, Node};
use crate::config::Site;
use crate::config::limits::NOT_STORED_REMEMBERED_MAX;
use crate::encode::Encodings;
use crate::listener::Worker;
use crate::listener::fields::FieldId;
use crate::listener::request::Request;
use crate::listener::service::{Finished, Served, Service};
use crate::observe::gauges::{self, Gauges};
use crate::observe::{Observe, Observer};
use crate::origin::TunnelStats;
use crate::places::PlacesUsage;
use crate::respond::failure::{self, Failure};
use crate::respond::headers::CacheStatus;
use crate::respond::response::{Body, CacheOutcome, Lines, Outcome, Response};
use crate::route::access::Inspections;
use crate::shutdown::Phase;

/// One worker's service. Belongs to its thread.
pub struct WalkService {
    current: Arc<Current>,
    /// The edge that this worker saw last: one comparison says whether it is still the one in force.
    seen: RefCell<Cache<Arc<Current>, Arc<Edge>>>,
    observer: Option<Rc<Observer>>,
}

impl WalkService {
    /// The service of a worker; call it on the worker's thread.
    pub fn new(current: Arc<Current>, observe: &Observe, worker: &Worker) -> Self {
        let clock = current.load().clock.clone();
        let observer = observe.worker(worker.index, &clock).map(Rc::new);
        if let Some(observer) = observer.clone() {
            tokio::task::spawn_local(async move { observer.run(&clock).await });
        }
        let seen = RefCell::new(Cache::new(Arc::clone(&current)));
        Self { current, seen, observer }
    }

    /// Does something with the edge in force.
    #[inline]
    fn with<T>(&self, act: impl FnOnce(&Arc<Edge>) -> T) -> T {
        match self.seen.try_borrow_mut() {
            Ok(mut seen) => act(seen.load()),
            // Called from within itself.
            Err(_) => act(&self.current.load()),
        }
    }
}

impl Service for WalkService {
    #[inline]
    fn serve(&self, request: &mut Request) -> Served {
        let mut served = self.with(|edge| edge.serve(request));
        if let Some(held) = request.held.get() {
            put_beside(held, &mut served);
        }
        served
    }

    #[inline]
    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        if let Some(held) = request.held.get() {
            held.release();
        }
        if let Some(observer) = &self.observer {
            self.with(|edge| {
                if let Some(places) = &edge.places {
                    // The log reads it from the client.
                    places.locate_client(&request.client);
                }
            });
            observer.finished(request, finished);
        }
    }
}

/// Why keys were not stored last time, for `explain`: each key has one place, in which the last of those that share it stands.
///
/// Every miss that is not stored writes it. So a place is one number, of bits of the key and the turn of the reason: the whole stays in a
/// processor's own cache, and nobody waits for anybody.
#[derive(Debug)]
pub struct NotStoredMemory {
    places: Box<[AtomicU64]>,
    /// In the order in which they came up.
    reasons: Box<[OnceLock<&'static str>]>,
}

impl Default for NotStoredMemory {
    fn default() -> Self {
        Self {
            places: std::iter::repeat_with(AtomicU64::default).take(NOT_STORED_REMEMBERED_MAX).collect(),
            reasons: std::iter::repeat_with(OnceLock::new).take(REASONS_MAX).collect(),
        }
    }
}

impl NotStoredMemory {
    pub(super) fn remember(&self, key: CacheKey, why: &'static str) {
        // All of them are words of ours, far fewer than there are turns.
        let known = self.reasons.iter().position(|reason| *reason.get_or_init(|| why) == why);
        let turn = known.and_then(|at| u64::try_from(at + 1).ok());
        if let (Some(turn), (Some(place), mark)) = (turn, self.place(key)) {
            place.store(mark | turn, Ordering::Relaxed);
        }
    }

    pub(super) fn of(&self, key: CacheKey) -> Option<&'static str> {
        let (place, mark) = self.place(key);
        let turn = place?.load(Ordering::Relaxed) ^ mark;
        // Beyond all turns where it is another key's.
        let at = usize::try_from(turn).ok()?.checked_sub(1)?;
        self.reasons.get(at)?.get().copied()
    }

    /// Where it stands, and what stands there beside the turn. Both are bits of a keyed hash: nobody can aim.
    fn place(&self, key: CacheKey) -> (Option<&AtomicU64>, u64) {
        let [high, low] = [key.bits() >> 64, key.bits() & u128::from(u64::MAX)]
            .map(|bits| u64::try_from(bits).unwrap_or(0));
        let at = usize::try_from(high % NOT_STORED_REMEMBERED_MAX as u64).unwrap_or(0);
        (self.places.get(at), (high.rotate_left(32) ^ low.rotate_left(16)) & !TURN_BITS)
    }
}

impl Edge {
    /// `PURGE`, `PURGEKEYS` and `BAN` on a client listener: for those that `purge.method_from` names. Answered at once where
    /// purges are kept in memory; over a disk it waits, elsewhere, until the disk has it.
    pub(super) fn purge_by_method(self: &Arc<Self>, request: &Request, site: u16) -> Served {
        let client = request.client.address;
        if !self.may_purge(client.ip()) {
            let failure = Failure::new(StatusCode::FORBIDDEN, "purge-not-allowed");
            return Served::Now(tagged(site, self.failed(request, failure)));
        }
        let text = format!(
            "{}://{}{}",
            request.scheme.as_str(),
            String::from_utf8_lossy(request.authority()),
            String::from_utf8_lossy(request.target())
        );
        let Ok(url) = ResourceUrl::parse(&text) else {
            let failure = Failure::new(StatusCode::BAD_REQUEST, "target");
            return Served::Now(tagged(site, self.failed(request, failure)));
        };
        let field = |name: &str| joined(request.fields.named(name));
        let asked = method::Asked { method: request.method.as_str(), url: &url, field: &field };
        let understood = method::understood(asked, &normal);
        let called = request.name(&self.ids);
        let edge = Arc::clone(self);
        let purge = move || {
            let by = By { bearer: &Bearer::Network, client, via: "the PURGE method", id: called.as_str() };
            let told = carry_out(&*edge, &edge.config.node, &edge.clock, by, &understood);
            let reply =
                told.map_or_else(|refusal| Problem::from(refusal).into(), |receipt| method::answer(&receipt));
            tagged(site, edge.purge_reply(&reply))
        };
        let Some(disk) = self.store.disk() else { return Served::Now(purge()) };
        let (edge, purging) = (Arc::clone(self), disk.pool().spawn_blocking(purge));
        Served::later(async move {
            purging.await.unwrap_or_else(|_| {
                let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "purge-lost");
                tagged(site, failure::response(failure, &edge.config.node, None, &edge.ids.draw().into()))
            })
        })
    }

    fn purge_reply(&self, reply: &Reply) -> Response {
        let mut lines = Vec::new();
        for (name, value) in &reply.fields {
            crate::respond::headers::line(&mut lines, name.as_bytes(), value.as_bytes());
        }
        crate::respond::headers::line(&mut lines, b"content-type", reply.content_type.as_bytes());
        let mut extra = Vec::new();
        CacheStatus::Detail("purge").write(&mut extra, &self.config.node);
        Response {
            status: reply.status,
            extra,
            lines: Lines::Own(Bytes::from(lines)),
            body: Body::Bytes(Bytes::copy_from_slice(&reply.body)),
            outcome: Outcome { cache: CacheOutcome::Generated, reason: Some("purge"), ..Outcome::default() },
            close: false,
        }
    }

    fn may_purge(&self, client: IpAddr) -> bool {
        self.config.purge.method_from.iter().any(|network| network.contains(client))
    }

    /// The page for something that went wrong before there was a walk.
    pub fn failed(&self, request: &Request, failure: Failure) -> Response {
        let accept = request.fields.first(FieldId::Accept);
        failure::response(failure, &self.config.node, accept, &request.name(&self.ids))
    }
}

impl Node for Edge {
    fn drain(&self, pool: &str, origin: &str, drained: bool) -> Option<Arc<str>> {
        self.origins.drain(pool, origin, drained)
    }

    fn purger(&self) -> &dyn Purger {
        self
    }

    fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    fn gauges(&self) -> Gauges {
        let usage = self.store.usage();
        let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
        let gauge = |name, help, value| gauges::Other { name, help, counter: false, value };
        let disk = self.store.disk().map(|disk| disk.usage());
        let mut tiers = vec![gauges::Tier {
            tier: "memory",
            bytes: usage.memory_bytes,
            bytes_max: usage.memory_bytes_max,
            objects: usage.memory_objects,
            evictions: usage.memory_evictions,
        }];
        let mut on_disk = Vec::new();
        if let Some(disk) = disk {
            tiers.push(gauges::Tier {
                tier: "disk",
                bytes: disk.bytes + disk.chunks.map_or(0, |chunks| chunks.usage.bytes),
                bytes_max: disk.bytes_max,
                objects: disk.objects,
                evictions: disk.evictions,
            });
            on_disk = disk_figures(&disk, usage.promoted);
            on_disk.extend(disk.chunks.into_iter().flat_map(chunk_figures));
        }
        Gauges {
            tiers,
            origins: self.origins.stats(),
            places: self.places.as_ref().map(|places| places.usage(self.clock.wall())),
            listeners: self.listeners.get().cloned().unwrap_or_default(),
            sizing: self.store.sizing().advice(),
            inspections: self.routes.inspections().figures(),
            purges: gauges::Purges {
                sequence: usage.purge_sequence,
                refetches: usage.purge_refetches,
                applied: self.purges.applied(),
                nodes: self.fleet.standings(),
            },
            others: on_disk
                .into_iter()
                .chain(tunnel_figures(self.origins.tunnels()))
                .chain(self.places.iter().flat_map(|places| place_figures(places.usage(self.clock.wall()))))
                .chain([
                    counter("tidegate_fills_total", "Fetches begun to fill the cache.", usage.fills),
                    counter("tidegate_stored_total", "Responses stored.", usage.stored),
                    counter(
                        "tidegate_collapsed_total",
                        "Requests that waited for another's fetch.",
                        usage.collapsed,
                    ),
                    gauge(
                        "tidegate_fills_under_way",
                        "Fetches that others may wait for now.",
                        usage.fills_under_way,
                    ),
                    gauge(
                        "tidegate_purge_refreshes_waiting",
                        "Pages made stale by soft purges and asked for, to be refreshed.",
                        self.refreshes.waiting() as u64,
                    ),
                    gauge(
                        "tidegate_purge_lag_seconds",
                        "Seconds since every purge that was to be heard of was heard of.",
                        self.fleet.lag_seconds(),
                    ),
                    gauge(
                        "tidegate_arriving_bytes",
                        "Bytes of bodies arriving to be stored.",
                        usage.arriving_bytes,
                    ),
                ])
                .chain(inspection_figures(self.routes.inspections()))
                .chain(self.mirrors.figures())
                .chain(self.crawlers.iter().flat_map(|crawlers| crawlers.figures()))
                .chain(encoding_figures(self.encoders.figures()))
                .collect(),
        }
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Value, Problem> {
        self.explained(query)
    }

    fn tags_of(&self, url: &str) -> Vec<Box<str>> {
        self.tags_in_memory(url)
    }

    fn ready(&self) -> Result<(), String> {
        match self.shutdown.phase() {
            Phase::Serving => self.fleet.ready(),
            Phase::Draining | Phase::Cut => Err("the node is ending".to_owned()),
        }
    }

    fn ailments(&self) -> Vec<String> {
        let trouble = self.store.disk().and_then(|disk| disk.usage().trouble);
        let disk = trouble.map(|trouble| format!("disk: {trouble}; serving from memory and origins"));
        let places = self.places.as_ref().and_then(|places| places.ailment());
        disk.into_iter().chain(places).chain(self.fleet.ailments()).collect()
    }

    fn sites(&self) -> &[Site] {
        &self.config.sites
    }

    fn stop(&self) {
        self.shutdown.begin();
    }
}

/// The values of a field as one; `None` without any, or where they are not ASCII.
fn joined<'v>(values: impl Iterator<Item = &'v [u8]>) -> Option<String> {
    let values: Option<Vec<&str>> =
        values.map(|value| std::str::from_utf8(value).ok().filter(|text| text.is_ascii())).collect();
    values.filter(|values| !values.is_empty()).map(|values| values.join(", "))
}

/// What is told about requests that are looked into, beside what was found.
fn inspection_figures(inspections: &Inspections) -> [gauges::Other; 2] {
    let gauge = |name, help, value| gauges::Other { name, help, counter: false, value };
    [
        gauge(
            "tidegate_inspection_waiting",
            "Requests that wait for a thread to be looked into on.",
            inspections.waiting(),
        ),
        gauge(
            "tidegate_inspection_held_bytes",
            "Bytes of request bodies that are held to be looked into.",
            inspections.held_bytes(),
        ),
    ]
}

/// What is told about encoding.
fn encoding_figures(figures: Encodings) -> [gauges::Other; 14] {
    let Encodings { made: [br, zstd, gzip], harder, given_up, dropped, waiting, passing, .. } = figures;
    let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
    [
        counter("tidegate_encoding_br_total", "Bodies encoded in brotli.", br),
        counter("tidegate_encoding_zstd_total", "Bodies encoded in zstd.", zstd),
        counter("tidegate_encoding_gzip_total", "Bodies encoded in gzip.", gzip),
        counter(
            "tidegate_encoding_harder_total",
            "Those of them that were encoded before, less hard.",
            harder,
        ),
        counter(
            "tidegate_encoding_given_up_total",
            "Bodies that did not become shorter, or whose response was gone.",
            given_up,
        ),
        counter("tidegate_encoding_dropped_total", "Bodies for which the queue had no room.", dropped),
        counter("tidegate_encoding_in_bytes_total", "Bytes that were encoded.", figures.bytes_in),
        counter("tidegate_encoding_out_bytes_total", "Bytes that came of them.", figures.bytes_out),
        counter(
            "tidegate_encoding_unstored_total",
            "Responses that were not stored and were encoded as they went.",
            passing.begun,
        ),
        counter(
            "tidegate_encoding_unstored_plain_total",
            "Responses that went as they are because so many others were being encoded as they went.",
            passing.plain,
        ),
        counter(
            "tidegate_encoding_unstored_in_bytes_total",
            "Bytes of responses that were encoded as they went.",
            passing.bytes_in,
        ),
        counter("tidegate_encoding_unstored_out_bytes_total", "Bytes that came of them.", passing.bytes_out),
        gauges::Other {
            name: "tidegate_encoding_unstored",
            help: "Responses that are being encoded as they go.",
            counter: false,
            value: passing.open,
        },
        gauges::Other {
            name: "tidegate_encoding_waiting",
            help: "Bodies that wait to be encoded, or are being encoded.",
            counter: false,
            value: waiting,
        },
    ]
}

/// What is told about connections that went over to another protocol.
fn tunnel_figures(tunnels: TunnelStats) -> [gauges::Other; 4] {
    let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
    [
        gauges::Other {
            name: "tidegate_tunnels",
            help: "Connections that carry another protocol (WebSocket), or are about to.",
            counter: false,
            value: tunnels.open,
        },
        counter("tidegate_tunnels_total", "Connections that went over to one.", tunnels.begun),
        counter(
            "tidegate_tunnels_to_origin_bytes_total",
            "Bytes that went to origins in them.",
            tunnels.to_origin_bytes,
        ),
        counter(
            "tidegate_tunnels_to_client_bytes_total",
            "Bytes that came from origins in them.",
            tunnels.to_client_bytes,
        ),
    ]
}

/// What is told about the geo database.
fn place_figures(usage: PlacesUsage) -> [gauges::Other; 3] {
    let PlacesUsage { age_seconds, reloads, refused } = usage;
    let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
    [
        gauges::Other {
            name: "tidegate_geo_database_age_seconds",
            help: "Seconds since the geo database in use was built.",
            counter: false,
            value: age_seconds,
        },
        counter("tidegate_geo_reloads_total", "New geo databases taken into use.", reloads),
        counter("tidegate_geo_refused_total", "New geo databases that could not be used.", refused),
    ]
}

/// What the disk tier counts; so many responses were `promoted`.
fn disk_figures(disk: &DiskUsage, promoted: u64) -> Vec<gauges::Other> {
    let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
    let gauge = |name, help, value| gauges::Other { name, help, counter: false, value };
    vec![
        counter("tidegate_disk_promoted_total", "Responses brought from disk to memory.", promoted),
        counter("tidegate_disk_written_bytes_total", "Bytes written to the disk.", disk.written_bytes),
        counter(
            "tidegate_disk_late_total",
            "Writes that waited in memory, for the disk was behind.",
            disk.late,
        ),
        counter("tidegate_disk_dropped_total", "Writes dropped by a slow or failing disk.", disk.dropped),
        counter("tidegate_disk_damaged_total", "Records whose checksum failed; each a miss.", disk.damaged),
        counter("tidegate_disk_errors_total", "Reads and writes that the disk refused.", disk.failed),
        gauge(
            "tidegate_disk_ok",
            "Whether the last write to the disk succeeded.",
            disk.trouble.is_none().into(),
        ),
    ]
}

/// What is told about the chunks of large bodies.
fn chunk_figures(chunks: ChunksUsage) -> [gauges::Other; 8] {
    let ChunksUsage { usage, health } = chunks;
    let counter = |name, help, value| gauges::Other { name, help, counter: true, value };
    let gauge = |name, help, value| gauges::Other { name, help, counter: false, value };
    [
        gauge("tidegate_chunks", "Chunks of large bodies on disk.", usage.chunks),
        gauge("tidegate_chunks_bytes", "Bytes that they take.", usage.bytes),
        counter("tidegate_chunks_written_total", "Chunks written.", health.written),
        counter(
            "tidegate_chunks_shared_total",
            "Chunks stored whose bytes were there already.",
            health.shared,
        ),
        counter("tidegate_chunks_evicted_total", "Chunks pushed out for want of room.", health.evicted),
        counter(
            "tidegate_chunks_refused_total",
            "Chunks not kept: no room, or the disk refused.",
            health.full + health.write_errors,
        ),
        counter(
            "tidegate_chunks_damaged_total",
            "Chunks that were not what their name says; each is fetched again.",
            health.corrupt,
        ),
        counter("tidegate_chunks_unread_total", "Chunks that the disk would not read.", health.read_errors),
    ]
}

/// The bits of a place that tell the turn.
const TURN_BITS: u64 = 0xff;
/// More reasons than there are; all of them have a turn.
const REASONS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reason_is_known_by_its_key_until_a_neighbour_takes_its_place() {
        let memory = NotStoredMemory::default();
        let key = |high: u64, low: u64| CacheKey::from_bits(u128::from(high) << 64 | u128::from(low));
        let places = NOT_STORED_REMEMBERED_MAX as u64;
        for high in 0..places {
            memory.remember(key(high, 1), "no-store");
        }
        memory.remember(key(7, 1), "private");
        assert_eq!(memory.of(key(7, 1)), Some("private"));
        assert_eq!(memory.of(key(8, 1)), Some("no-store"));
        assert_eq!(memory.of(key(8, 2)), None, "another key with the same place");
        memory.remember(key(places + 8, 1), "too-large");
        assert_eq!((memory.of(key(8, 1)), memory.of(key(places + 8, 1))), (None, Some("too-large")));
    }
}
