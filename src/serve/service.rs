//! The walk as a worker's service, with its end of log and metrics; and the node as the admin calls see it.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cache_store::key::{CacheKey, KeyMap};
use cache_store::tiers::disk::ChunksUsage;
use http::StatusCode;
use parking_lot::Mutex;
use purge_api::{Applied, Problem, PurgeError, Purger, Reply, ResourceUrl, compat};
use serde_json::Value;

use super::{Edge, tagged};
use crate::admin::{ExplainQuery, Node};
use crate::config::limits::NOT_STORED_REMEMBERED_MAX;
use crate::listener::Worker;
use crate::listener::fields::FieldId;
use crate::listener::request::{Request, Scheme};
use crate::listener::service::{Finished, Served, Service};
use crate::observe::gauges::{self, Gauges};
use crate::observe::{Observe, Observer};
use crate::respond::failure::{self, Failure};
use crate::respond::headers::CacheStatus;
use crate::respond::response::{Body, CacheOutcome, Lines, Outcome, Response};
use crate::shutdown::Phase;

/// One worker's service. Belongs to its thread.
pub struct WalkService {
    edge: Arc<Edge>,
    observer: Option<Rc<Observer>>,
}

impl WalkService {
    /// The service of a worker; call it on the worker's thread.
    pub fn new(edge: Arc<Edge>, observe: &Observe, worker: &Worker) -> Self {
        let observer = observe.worker(worker.index, &edge.clock).map(Rc::new);
        if let Some(observer) = observer.clone() {
            let clock = edge.clock.clone();
            tokio::task::spawn_local(async move { observer.run(&clock).await });
        }
        Self { edge, observer }
    }
}

impl Service for WalkService {
    #[inline]
    fn serve(&self, request: &mut Request) -> Served {
        self.edge.serve(request)
    }

    #[inline]
    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        if let Some(observer) = &self.observer {
            observer.finished(request, finished);
        }
    }
}

/// Purges applied, by scope and softness.
#[derive(Debug, Default)]
pub struct PurgeCounts {
    url_hard: AtomicU64,
    url_soft: AtomicU64,
}

/// Why keys were not stored last time, for `explain`; bounded, the oldest half goes.
#[derive(Debug, Default)]
pub struct NotStoredMemory(Mutex<KeyMap<&'static str>>);

impl NotStoredMemory {
    pub(super) fn remember(&self, key: CacheKey, why: &'static str) {
        let mut known = self.0.lock();
        if known.len() >= NOT_STORED_REMEMBERED_MAX {
            let mut keep = false;
            known.retain(|_, _| {
                keep = !keep;
                keep
            });
        }
        known.insert(key, why);
    }

    pub(super) fn of(&self, key: CacheKey) -> Option<&'static str> {
        self.0.lock().get(&key).copied()
    }
}

impl Edge {
    /// `PURGE` on a client listener: for those that `purge.method_from` names. Answered at once where purges are kept in
    /// memory; over a disk it waits, elsewhere, until the disk has it.
    pub(super) fn purge_by_method(self: &Arc<Self>, request: &Request, site: u16) -> Served {
        let client = request.client.address.ip();
        if !self.may_purge(client) {
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
        let soft = compat::asks_soft(compat::SOFT_FIELDS.iter().flat_map(|name| request.fields.named(name)));
        let edge = Arc::clone(self);
        let purge = move || tagged(site, edge.purge_reply(&compat::purge_method(&*edge, url, soft)));
        let Some(disk) = self.store.disk() else { return Served::Now(purge()) };
        let (edge, purging) = (Arc::clone(self), disk.pool().spawn_blocking(purge));
        Served::Later(Box::pin(async move {
            purging.await.unwrap_or_else(|_| {
                let failure = Failure::new(StatusCode::INTERNAL_SERVER_ERROR, "purge-lost");
                tagged(site, failure::response(failure, &edge.config.node, None, edge.ids.draw()))
            })
        }))
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
        failure::response(failure, &self.config.node, request.fields.first(FieldId::Accept), self.ids.draw())
    }

    /// The keys that a URL means: a page that is purged is purged whichever way it was asked for.
    fn keys_of(&self, url: &ResourceUrl) -> Result<Vec<CacheKey>, PurgeError> {
        let target = url.target();
        let mut keys = Vec::new();
        for scheme in [Scheme::Http, Scheme::Https] {
            keys.extend(self.routes.keys_of(
                self.store.keyer(),
                scheme,
                url.authority().as_bytes(),
                target.as_bytes(),
            ));
        }
        if keys.is_empty() {
            return Err(PurgeError::NoSite(url.host().to_owned()));
        }
        keys.sort_unstable();
        keys.dedup();
        Ok(keys)
    }
}

impl Purger for Edge {
    fn purge_urls(&self, urls: &[ResourceUrl], soft: bool) -> Result<Applied, PurgeError> {
        let keys: Vec<Vec<CacheKey>> = urls.iter().map(|url| self.keys_of(url)).collect::<Result<_, _>>()?;
        let keys: Vec<CacheKey> = keys.into_iter().flatten().collect();
        let done = self.store.purge_together(&keys, soft, self.clock.now());
        // Acknowledged is durable: waits for the disk, so callers are where waiting is allowed.
        self.store.settle().map_err(|error| PurgeError::Unavailable(error.to_string()))?;
        let applied = Applied { sequence: done.sequence, matched: done.matched };
        let counter = if soft { &self.purges.url_soft } else { &self.purges.url_hard };
        counter.fetch_add(urls.len() as u64, Ordering::Relaxed);
        Ok(applied)
    }

    fn matched_urls(&self, urls: &[ResourceUrl]) -> Result<u64, PurgeError> {
        let mut matched = 0;
        for url in urls {
            matched += self.keys_of(url)?.into_iter().map(|key| self.store.matched(key)).sum::<u64>();
        }
        Ok(matched)
    }
}

impl Node for Edge {
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
            on_disk = vec![
                counter(
                    "tidegate_disk_promoted_total",
                    "Responses brought from disk to memory.",
                    usage.promoted,
                ),
                counter(
                    "tidegate_disk_written_bytes_total",
                    "Bytes written to the disk.",
                    disk.written_bytes,
                ),
                counter(
                    "tidegate_disk_dropped_total",
                    "Writes dropped by a slow or failing disk.",
                    disk.dropped,
                ),
                counter(
                    "tidegate_disk_damaged_total",
                    "Records whose checksum failed; each a miss.",
                    disk.damaged,
                ),
                counter("tidegate_disk_errors_total", "Reads and writes that the disk refused.", disk.failed),
                gauge(
                    "tidegate_disk_ok",
                    "Whether the last write to the disk succeeded.",
                    disk.trouble.is_none().into(),
                ),
            ];
            on_disk.extend(disk.chunks.into_iter().flat_map(chunk_figures));
        }
        Gauges {
            tiers,
            origins: self.origins.stats(),
            listeners: self.listeners.get().cloned().unwrap_or_default(),
            purges: gauges::Purges {
                sequence: usage.purge_sequence,
                applied: vec![
                    gauges::Applied {
                        scope: "url",
                        soft: false,
                        count: self.purges.url_hard.load(Ordering::Relaxed),
                    },
                    gauges::Applied {
                        scope: "url",
                        soft: true,
                        count: self.purges.url_soft.load(Ordering::Relaxed),
                    },
                ],
            },
            others: on_disk
                .into_iter()
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
                        "tidegate_arriving_bytes",
                        "Bytes of bodies arriving to be stored.",
                        usage.arriving_bytes,
                    ),
                ])
                .collect(),
        }
    }

    fn explain(&self, query: &ExplainQuery) -> Result<Value, Problem> {
        self.explained(query)
    }

    fn ready(&self) -> Result<(), String> {
        match self.shutdown.phase() {
            Phase::Serving => Ok(()),
            Phase::Draining | Phase::Cut => Err("the node is ending".to_owned()),
        }
    }

    fn ailments(&self) -> Vec<String> {
        let trouble = self.store.disk().and_then(|disk| disk.usage().trouble);
        trouble
            .map(|trouble| format!("disk: {trouble}; serving from memory and origins"))
            .into_iter()
            .collect()
    }

    fn stop(&self) {
        self.shutdown.begin();
    }
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
