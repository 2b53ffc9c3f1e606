//! Counters of requests, kept per worker and added up when someone asks.
//!
//! A worker has counters of its own on cache lines of its own, and is their only writer: so counting a request is five
//! plain additions, and a scrape reads them as they are (each is exact, two of them may be one request apart).
//! `render.rs` writes them for Prometheus, `stat.rs` as JSON.
//!
//! Invariant: labels are bounded. A site is a place in a list of configured names, an outcome and a reason are enums, a status is its
//! class or one of 500 codes; nothing a client or origin sends becomes a label. A site keeps its place and its counters over reloads,
//! also one that a reload takes out of the settings.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};

use super::histogram::{Durations, Histogram, add_alone};
use crate::config::limits::METRIC_REASONS_MAX;
use crate::listener::service::Finished;
use crate::respond::response::CacheOutcome;

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    /// Every site that there was, by place.
    sites: RwLock<Vec<Arc<str>>>,
    workers: Box<[Worker]>,
}

/// The counters of one worker, to be written by it alone: neither `Clone` nor `Sync`, and handed out once.
#[derive(Debug)]
pub struct WorkerMetrics {
    metrics: Arc<Metrics>,
    worker: usize,
    _one_writer: PhantomData<Cell<()>>,
}

/// Padded to two lines: adjacent-line prefetch would otherwise tie neighbours together.
#[derive(Debug)]
#[repr(align(128))]
struct Worker {
    taken: AtomicBool,
    /// By place, a block at a time: a site that a reload adds has its counters made by the first request that it answers.
    sites: Box<[OnceLock<Box<[Site; SITES_A_BLOCK]>>]>,
    /// Requests that no site took.
    unrouted: Site,
    codes: Box<[AtomicU64; CODES]>,
    durations: [Histogram; CacheOutcome::COUNT],
    cut: AtomicU64,
    /// Touched by misses and passes, never by hits.
    reasons: Mutex<Vec<(&'static str, u64)>>,
}

#[derive(Debug, Default)]
#[repr(align(128))]
struct Site {
    requests: [[AtomicU64; CLASSES]; CacheOutcome::COUNT],
    bytes: [AtomicU64; CacheOutcome::COUNT],
    saved_bytes: AtomicU64,
}

/// All counters, added up over the workers.
#[derive(Clone, Debug)]
pub struct Totals {
    /// By site, in the order in which the settings named them first; the last one counts requests that no site took, under the name `-`.
    pub sites: Vec<SiteTotals>,
    /// By status code, ascending, only those that occurred.
    pub codes: Vec<(u16, u64)>,
    /// Durations by outcome, indexed by [`CacheOutcome::index`].
    pub durations: [Durations; CacheOutcome::COUNT],
    /// Answers that ended before their end.
    pub cut: u64,
    /// By reason, in alphabetical order.
    pub reasons: Vec<(&'static str, u64)>,
}

/// The counters of one site.
#[derive(Clone, Debug)]
pub struct SiteTotals {
    /// Its name.
    pub site: Arc<str>,
    /// Requests by outcome ([`CacheOutcome::index`]) and hundreds of the status; index 0: no valid status.
    pub requests: [[u64; CLASSES]; CacheOutcome::COUNT],
    /// Body bytes sent by outcome.
    pub bytes: [u64; CacheOutcome::COUNT],
    /// Body bytes that need not be sent, because bodies were encoded here.
    pub saved_bytes: u64,
}

impl Metrics {
    /// Counters for these sites, in the order of their index in the settings, and this many workers.
    pub fn new(sites: impl IntoIterator<Item = Arc<str>>, workers: usize) -> Arc<Self> {
        let sites: Vec<_> = sites.into_iter().collect();
        let blocks = usize::from(u16::MAX) / SITES_A_BLOCK + 1;
        let workers = (0..workers)
            .map(|_| Worker {
                taken: AtomicBool::new(false),
                sites: (0..blocks).map(|_| OnceLock::new()).collect(),
                unrouted: Site::default(),
                codes: Box::new([const { AtomicU64::new(0) }; CODES]),
                durations: Default::default(),
                cut: AtomicU64::new(0),
                reasons: Mutex::default(),
            })
            .collect();
        Arc::new(Self { sites: RwLock::new(sites), workers })
    }

    /// The place of a site in all counters, for [`Outcome::site`](crate::respond::response::Outcome::site). Where more
    /// were named since the start than there are places it is counted with those that no site took.
    pub fn place_of(&self, site: &Arc<str>) -> u16 {
        let mut sites = self.sites.write();
        let known = sites.iter().position(|known| known == site);
        if known.is_none() && sites.len() < usize::from(NO_PLACE) {
            sites.push(Arc::clone(site));
        }
        let place = known.unwrap_or_else(|| sites.len() - usize::from(sites.last() == Some(site)));
        u16::try_from(place).unwrap_or(NO_PLACE)
    }

    /// The counters of worker `worker`, once: `None` if there is no such worker or they are in other hands.
    pub fn worker(self: &Arc<Self>, worker: usize) -> Option<WorkerMetrics> {
        let taken = self.workers.get(worker)?.taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| WorkerMetrics { metrics: Arc::clone(self), worker, _one_writer: PhantomData })
    }

    /// Adds everything up. Costs a pass over all counters.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            sites: self.sites.read().iter().map(SiteTotals::new).collect(),
            codes: Vec::new(),
            durations: [Durations::default(); CacheOutcome::COUNT],
            cut: 0,
            reasons: Vec::new(),
        };
        let mut unrouted = SiteTotals::new(&Arc::from("-"));
        let mut codes = [0u64; CODES];
        for worker in &self.workers {
            for (totals, block) in totals.sites.chunks_mut(SITES_A_BLOCK).zip(&worker.sites) {
                let counted = block.get().into_iter().flat_map(|block| block.iter());
                totals.iter_mut().zip(counted).for_each(|(total, site)| total.add(site));
            }
            unrouted.add(&worker.unrouted);
            codes.iter_mut().zip(worker.codes.iter()).for_each(|(total, code)| *total += load(code));
            for (total, histogram) in totals.durations.iter_mut().zip(&worker.durations) {
                total.add(&histogram.read());
            }
            totals.cut += load(&worker.cut);
            for (reason, count) in worker.reasons.lock().iter() {
                match totals.reasons.iter_mut().find(|(known, _)| known == reason) {
                    Some((_, total)) => *total += count,
                    None => totals.reasons.push((reason, *count)),
                }
            }
        }
        totals.sites.push(unrouted);
        totals.reasons.sort_unstable();
        totals.codes = (FIRST_CODE..).zip(codes).filter(|(_, count)| *count > 0).collect();
        totals
    }
}

impl WorkerMetrics {
    /// Counts a request that has ended. Five additions.
    #[inline]
    pub fn finished(&self, finished: &Finished<'_>) {
        let Some(worker) = self.metrics.workers.get(self.worker) else { return };
        let outcome = finished.outcome;
        let cache = outcome.cache.index();
        if let Some(site) = worker.site(outcome.site) {
            if let Some(counter) = site.requests.get(cache).and_then(|row| row.get(class_of(finished.status)))
            {
                add_alone(counter, 1);
            }
            if let Some(counter) = site.bytes.get(cache) {
                add_alone(counter, finished.body_bytes);
            }
            if outcome.saved_bytes > 0 {
                add_alone(&site.saved_bytes, outcome.saved_bytes);
            }
        }
        let code = finished.status.checked_sub(FIRST_CODE).and_then(|at| worker.codes.get(usize::from(at)));
        if let Some(counter) = code {
            add_alone(counter, 1);
        }
        if let Some(histogram) = worker.durations.get(cache) {
            histogram.record_alone(finished.duration_micros);
        }
        if !finished.complete {
            add_alone(&worker.cut, 1);
        }
        if let Some(reason) = outcome.reason {
            worker.count_reason(reason);
        }
    }
}

impl WorkerMetrics {
    /// Counts a reason for which a request would have been refused, were its rule not only tried.
    pub fn tried(&self, reason: &'static str) {
        if let Some(worker) = self.metrics.workers.get(self.worker) {
            worker.count_reason(reason);
        }
    }
}

impl Drop for WorkerMetrics {
    fn drop(&mut self) {
        if let Some(worker) = self.metrics.workers.get(self.worker) {
            worker.taken.store(false, Ordering::Release);
        }
    }
}

impl Worker {
    /// The counters of the site at a place.
    #[inline]
    fn site(&self, place: Option<u16>) -> Option<&Site> {
        let Some(place) = place.filter(|place| *place != NO_PLACE).map(usize::from) else {
            return Some(&self.unrouted);
        };
        let block = self.sites.get(place / SITES_A_BLOCK)?;
        block.get_or_init(Self::new_block).get(place % SITES_A_BLOCK)
    }

    #[cold]
    fn new_block() -> Box<[Site; SITES_A_BLOCK]> {
        Box::new(std::array::from_fn(|_| Site::default()))
    }

    fn count_reason(&self, reason: &'static str) {
        let mut reasons = self.reasons.lock();
        let full = reasons.len() >= METRIC_REASONS_MAX;
        let reason =
            if full && !reasons.iter().any(|(known, _)| *known == reason) { "other" } else { reason };
        match reasons.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => reasons.push((reason, 1)),
        }
    }
}

impl SiteTotals {
    pub(super) fn new(site: &Arc<str>) -> Self {
        Self {
            site: Arc::clone(site),
            requests: [[0; CLASSES]; CacheOutcome::COUNT],
            bytes: [0; CacheOutcome::COUNT],
            saved_bytes: 0,
        }
    }

    fn add(&mut self, site: &Site) {
        for (total, counter) in self.requests.iter_mut().flatten().zip(site.requests.iter().flatten()) {
            *total += load(counter);
        }
        for (total, counter) in self.bytes.iter_mut().zip(&site.bytes) {
            *total += load(counter);
        }
        self.saved_bytes += load(&site.saved_bytes);
    }

    /// Requests with this outcome.
    pub fn of(&self, outcome: CacheOutcome) -> u64 {
        self.requests.get(outcome.index()).map_or(0, |row| row.iter().sum())
    }

    /// All requests.
    pub fn all(&self) -> u64 {
        self.requests.iter().flatten().sum()
    }
}

fn load(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

#[inline]
fn class_of(status: u16) -> usize {
    let class = usize::from(status / 100);
    if class < CLASSES { class } else { 0 }
}

/// Hundreds of a status: 1 to 5, and 0 for anything else.
pub const CLASSES: usize = 6;
/// That of a site beyond those that can be counted.
const NO_PLACE: u16 = u16::MAX;
/// Sites whose counters are made together.
const SITES_A_BLOCK: usize = 16;
const FIRST_CODE: u16 = 100;
const CODES: usize = 500;
