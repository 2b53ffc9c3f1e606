//! Counters of requests, kept per worker and added up when someone asks.
//!
//! A worker has counters of its own on cache lines of its own, and is their only writer: so counting a request is five
//! plain additions, and a scrape reads them as they are (each is exact, two of them may be one request apart).
//! `render.rs` writes them for Prometheus, `stat.rs` as JSON.
//!
//! Invariant: labels are bounded. A site is an index into the settings, an outcome and a reason are enums, a status is its
//! class or one of 500 codes; nothing a client or origin sends becomes a label.

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;

use super::histogram::{Durations, Histogram, add_alone};
use crate::config::limits::METRIC_REASONS_MAX;
use crate::listener::service::Finished;
use crate::respond::response::CacheOutcome;

/// All counters of the process.
#[derive(Debug)]
pub struct Metrics {
    sites: Box<[Arc<str>]>,
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
    sites: Box<[Site]>,
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
}

/// All counters, added up over the workers.
#[derive(Clone, Debug)]
pub struct Totals {
    /// By site, in the order of the settings; the last one counts requests that no site took, under the name `-`.
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
}

impl Metrics {
    /// Counters for these sites, in the order of their index in the settings, and this many workers.
    pub fn new(sites: impl IntoIterator<Item = Arc<str>>, workers: usize) -> Arc<Self> {
        let sites: Box<[_]> = sites.into_iter().chain([Arc::from("-")]).collect();
        let workers = (0..workers)
            .map(|_| Worker {
                taken: AtomicBool::new(false),
                sites: sites.iter().map(|_| Site::default()).collect(),
                codes: Box::new([const { AtomicU64::new(0) }; CODES]),
                durations: Default::default(),
                cut: AtomicU64::new(0),
                reasons: Mutex::default(),
            })
            .collect();
        Arc::new(Self { sites, workers })
    }

    /// The counters of worker `worker`, once: `None` if there is no such worker or they are in other hands.
    pub fn worker(self: &Arc<Self>, worker: usize) -> Option<WorkerMetrics> {
        let taken = self.workers.get(worker)?.taken.swap(true, Ordering::AcqRel);
        (!taken).then(|| WorkerMetrics { metrics: Arc::clone(self), worker, _one_writer: PhantomData })
    }

    /// Adds everything up. Costs a pass over all counters.
    pub fn totals(&self) -> Totals {
        let mut totals = Totals {
            sites: self.sites.iter().map(SiteTotals::new).collect(),
            codes: Vec::new(),
            durations: [Durations::default(); CacheOutcome::COUNT],
            cut: 0,
            reasons: Vec::new(),
        };
        let mut codes = [0u64; CODES];
        for worker in &self.workers {
            for (total, site) in totals.sites.iter_mut().zip(&worker.sites) {
                total.add(site);
            }
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
        let site = match outcome.site {
            Some(index) => worker.sites.get(usize::from(index)),
            None => worker.sites.last(),
        };
        if let Some(site) = site {
            if let Some(counter) = site.requests.get(cache).and_then(|row| row.get(class_of(finished.status)))
            {
                add_alone(counter, 1);
            }
            if let Some(counter) = site.bytes.get(cache) {
                add_alone(counter, finished.body_bytes);
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
    fn new(site: &Arc<str>) -> Self {
        Self {
            site: Arc::clone(site),
            requests: [[0; CLASSES]; CacheOutcome::COUNT],
            bytes: [0; CacheOutcome::COUNT],
        }
    }

    fn add(&mut self, site: &Site) {
        for (total, counter) in self.requests.iter_mut().flatten().zip(site.requests.iter().flatten()) {
            *total += load(counter);
        }
        for (total, counter) in self.bytes.iter_mut().zip(&site.bytes) {
            *total += load(counter);
        }
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
const FIRST_CODE: u16 = 100;
const CODES: usize = 500;
