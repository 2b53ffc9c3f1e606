//! The store itself, driven through its public calls: look up, promote what is on disk, fill on a miss.
//!
//! Bodies are real bytes of the object's size, so what the store counts is what it would count in a node; head, record and
//! tables are paid from the same budget as the bodies. Where a trace has no sizes every body is [`BODY_BYTES`] long, and
//! the budget is so many times what the store says such an entry weighs.

use std::io;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use cache_store::coalesce::FillHead;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::purge::Resource;
use cache_store::rules::freshness::Windows;
use cache_store::rules::{Freshness, Policy, RequestHead, Target, VarySpec};
use cache_store::store::{CacheStore, MemoryAdmission, Settings, Usage};
use cache_store::tiers::admit::DiskAdmission;
use cache_store::tiers::disk::{Disk, DiskUsage};
use cache_store::tiers::sizing::Advice;
use cache_store::timestamp::Timestamp;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use tokio::runtime::Runtime;

use crate::large;
use crate::lines::Ratio;
use crate::trace::Trace;

/// What a replay brought.
pub(crate) struct Replayed {
    pub(crate) ratio: Ratio,
    /// Of memory alone; the same as `ratio` without a disk.
    pub(crate) of_memory: Ratio,
    pub(crate) usage: Usage,
    pub(crate) disk: Option<DiskUsage>,
    /// The largest weight the tier had.
    pub(crate) peak_bytes: u64,
    /// What other sizes would bring, as the store tells.
    pub(crate) advice: Vec<Advice>,
    /// Of how many keys that lead to short bodies the store keeps a sample.
    pub(crate) rate: f64,
}

/// Replays the trace against a store whose memory tier has `percent` of the trace's footprint.
pub(crate) fn replay(trace: &Trace, percent: f64, secret: [u8; 32]) -> Replayed {
    let footprint = if trace.sized {
        trace.footprint()
    } else {
        let alone = Driver::new(1 << 24, None, secret, BODY_BYTES as u32);
        alone.request(0, BODY_BYTES as u32);
        trace.footprint() * alone.store.usage().memory_bytes
    };
    Driver::new((footprint as f64 * percent / 100.0) as usize, None, secret, longest(trace)).replay(trace)
}

/// Replays the trace against a store with these tiers; the disk's files lie in `folder`, which is emptied.
pub(crate) fn replay_tiers(
    trace: &Trace,
    memory_bytes: u64,
    disk_bytes: u64,
    folder: &Path,
) -> io::Result<Replayed> {
    let _ = std::fs::remove_dir_all(folder);
    let pool = tokio::runtime::Builder::new_current_thread().build()?;
    let disk = Disk::open(folder, disk_bytes, pool.handle().clone(), NOW).map_err(io::Error::other)?;
    let secret = disk.secret();
    let replayed =
        Driver::new(memory_bytes as usize, Some((disk, pool)), secret, longest(trace)).replay(trace);
    std::fs::remove_dir_all(folder)?;
    Ok(replayed)
}

/// Replays the trace against a store with `bytes` bytes in both tiers, of which a tenth is memory; the disk's files lie in
/// `folder`, which is emptied. `None` where that is less than a disk needs.
pub(crate) fn replay_on_disk(
    trace: &Trace,
    bytes: u64,
    admission: DiskAdmission,
    folder: &Path,
) -> io::Result<Option<Replayed>> {
    let memory_bytes = bytes / MEMORY_SHARE;
    let disk_bytes = bytes - memory_bytes;
    if disk_bytes < DISK_BYTES_MIN {
        return Ok(None);
    }
    let _ = std::fs::remove_dir_all(folder);
    let pool = tokio::runtime::Builder::new_current_thread().build()?;
    let disk = Disk::open(folder, disk_bytes, pool.handle().clone(), NOW)
        .map_err(io::Error::other)?
        .admitting(admission);
    let secret = disk.secret();
    let replayed =
        Driver::new(memory_bytes as usize, Some((disk, pool)), secret, longest(trace)).replay(trace);
    std::fs::remove_dir_all(folder)?;
    Ok(Some(replayed))
}

fn longest(trace: &Trace) -> u32 {
    if trace.sized { trace.sizes.iter().copied().max().unwrap_or(1) } else { BODY_BYTES as u32 }
}

struct Driver {
    store: Arc<CacheStore>,
    pool: Option<Runtime>,
    asked: HeaderMap,
    policy: Policy,
    fields: HeaderMap,
    /// As long as the longest body: bodies are slices of it, and the store copies what it keeps.
    bytes: Bytes,
}

/// Who answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum From {
    Memory,
    Disk,
    Origin,
}

impl Driver {
    fn new(memory_bytes: usize, disk: Option<(Disk, Runtime)>, secret: [u8; 32], longest: u32) -> Self {
        let mut fields = HeaderMap::new();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=86400"));
        fields.insert(header::ETAG, HeaderValue::from_static("\"0123456789abcdef\""));
        let settings = Settings {
            memory_bytes,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 40,
            secret,
        };
        let (disk, pool) = disk.unzip();
        Self {
            store: CacheStore::over(&settings, disk),
            pool,
            asked: HeaderMap::new(),
            policy: Policy::default(),
            fields,
            bytes: vec![0u8; longest as usize].into(),
        }
    }

    fn replay(&self, trace: &Trace) -> Replayed {
        let (mut ratio, mut of_memory) = (Ratio::default(), Ratio::default());
        let (mut peak_bytes, mut unsettled) = (0, 0);
        for (at, id) in trace.requests.iter().enumerate() {
            let size = if trace.sized { trace.size(*id) } else { BODY_BYTES as u32 };
            let (from, fetched) = self.request(*id, size);
            ratio.count(u64::from(size) - fetched, size);
            of_memory.count(if from == From::Memory { size.into() } else { 0 }, size);
            if at % 1024 == 0 {
                peak_bytes = peak_bytes.max(self.store.usage().memory_bytes);
            }
            unsettled += u64::from(size);
            if unsettled > SETTLED_BYTES {
                // A replay is faster than any disk: what waits is written before its buffers are full.
                if let Some(disk) = self.store.disk() {
                    disk.settle().expect("the folder can be written to");
                    // As a node does every second: chunks get the room that the log leaves.
                    self.store.tend_disk();
                }
                unsettled = 0;
            }
        }
        let disk = self.store.disk().map(|disk| disk.usage());
        let (sizing, usage) = (self.store.sizing(), self.store.usage());
        let advice = sizing.advice().into_iter().flat_map(|(_, advice)| advice).collect();
        Replayed { ratio, of_memory, usage, disk, peak_bytes, advice, rate: sizing.rate() }
    }

    /// Who has it, and how much of it is the origin's; it is filled if none.
    fn request(&self, id: u32, size: u32) -> (From, u64) {
        let key = self.key(id);
        let target = Target { scheme: "http", authority: "trace", path: "/" };
        let request = RequestHead { method: &Method::GET, target, fields: &self.asked };
        let resource = Resource { key, authority: b"trace", target: b"/" };
        let mut from = From::Memory;
        let fill = loop {
            match (self.store.lookup(resource, &request, &self.policy, NOW), &self.pool) {
                (Lookup::Fresh(hit), Some(pool)) if hit.stored.large().is_some() => {
                    self.store.count_hit(&resource, &hit.stored, 0, NOW);
                    let large = hit.stored.large().expect("just seen");
                    let read = large::read(&self.store, key, large, (id, size), &self.bytes);
                    return (From::Disk, pool.block_on(read));
                }
                (Lookup::Fresh(hit), _) => {
                    self.store.count_hit(&resource, &hit.stored, 0, NOW);
                    return (from, 0);
                }
                (Lookup::FreshOnDisk(hit), _) => {
                    self.store.count_hit(&resource, &hit.stored, 0, NOW);
                    return (From::Disk, 0);
                }
                (Lookup::Miss(fill), _) => break fill,
                (Lookup::OnDisk(promotion), Some(pool)) => {
                    from = From::Disk;
                    if let Err(promotion) = promotion.at_once() {
                        pool.block_on(promotion.run());
                    }
                }
                (other, _) => panic!("a trace is replayed by one client, nothing goes stale: {other:?}"),
            }
        };
        let head = FillHead {
            status: StatusCode::OK,
            fields: self.fields.clone(),
            lines: Bytes::new(),
            freshness: Freshness::new(
                NOW,
                std::time::Duration::ZERO,
                86_400,
                Windows::default(),
                Freshness::EXPLICIT,
            ),
            vary: VarySpec::default(),
        };
        let missed = (From::Origin, u64::from(size));
        let mut writing = fill.stream(head, Some(u64::from(size)), Box::default(), None, 1 << 20);
        if let Some(pool) = self.pool.as_ref().filter(|_| writing.spills()) {
            pool.block_on(large::fill(writing, id, size, &self.bytes));
        } else if writing.keeps() {
            writing.write(&self.bytes.slice(..size as usize));
            let wrote = {
                let room = pin!(writing.room());
                Future::poll(room, &mut Context::from_waker(Waker::noop()))
            };
            assert!(matches!(wrote, Poll::Ready(Ok(()))), "a body that is kept never waits");
            writing.finish();
        }
        missed
    }

    fn key(&self, id: u32) -> CacheKey {
        self.store.keyer().primary("http", b"trace", &id.to_le_bytes(), None)
    }
}

/// Nothing goes stale while a trace is replayed.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);
pub(crate) const BODY_BYTES: usize = 4096;
/// Of two tiers, so many parts together are one of memory.
const MEMORY_SHARE: u64 = 10;
/// The least that the settings take.
pub(crate) const DISK_BYTES_MIN: u64 = 64 << 20;
/// Bytes asked for between two writes.
const SETTLED_BYTES: u64 = 1 << 20;
