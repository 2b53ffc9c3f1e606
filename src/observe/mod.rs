//! What is told about requests: the access log, the metrics, and the ids that join them.
//!
//! [`Observe`] is the process's; each worker's service owns an [`Observer`] and calls [`Observer::finished`] from
//! `Service::finished`. That is the hit path: no clock is read, nothing is allocated, no lock is taken and no
//! system call made; a finished block of log lines is handed to the log's own thread.
//!
//! Deliberately absent: spans within a request: what of it took how long is in its line. `tracing` carries what the operator should
//! read, not traffic.

pub mod access_log;
pub mod board;
pub(crate) mod calendar;
mod errors;
pub mod escape;
pub mod gauges;
pub mod histogram;
pub mod history;
pub mod id;
pub(crate) mod line;
pub mod metrics;
#[cfg(feature = "otlp")]
mod otlp;
pub mod render;
mod sample;
pub(crate) mod seen;
mod sizing;
mod sketch;
mod stat;
pub mod tap;
pub(crate) mod trace;
mod watched;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::io;
use std::sync::Arc;

use access_log::{AccessLog, LogBuffer};
use board::Board;
use history::History;
use id::{RequestIds, Run};
use metrics::{Metrics, WorkerMetrics};

use crate::clock::Clock;
use crate::config::limits::LOG_FLUSH_EVERY;
use crate::config::{Config, Log};
use crate::listener::request::Request;
use crate::listener::service::Finished;

/// Log and metrics of the process.
#[derive(Debug)]
pub struct Observe {
    /// The access log.
    pub log: AccessLog,
    /// The counters.
    pub metrics: Arc<Metrics>,
    /// What is asked for most.
    pub board: Arc<Board>,
    /// The last minutes.
    pub history: History,
    /// The node's name, for `tidegate_build_info` and `stat`.
    node: Arc<str>,
    run: Run,
    started_micros: u64,
}

/// One worker's end of log and metrics. Belongs to its thread.
#[derive(Debug)]
pub struct Observer {
    log: RefCell<LogBuffer>,
    metrics: WorkerMetrics,
    ids: Arc<RequestIds>,
}

impl Observe {
    /// Opens the log and lays out the counters for the sites and workers of `config`.
    ///
    /// # Errors
    /// The log's file cannot be opened.
    pub fn start(config: &Config, clock: &Clock) -> io::Result<Self> {
        let sites = config.sites.iter().map(|site| Arc::clone(&site.name));
        Self::new(Arc::clone(&config.node), Metrics::new(sites, config.workers), &config.log, clock)
    }

    /// As [`Observe::start`], from its parts.
    ///
    /// # Errors
    /// The log's file cannot be opened.
    pub fn new(node: Arc<str>, metrics: Arc<Metrics>, log: &Log, clock: &Clock) -> io::Result<Self> {
        let run = Run::random();
        let log = AccessLog::start(log, run)?;
        Ok(Self {
            log,
            metrics,
            board: Arc::default(),
            history: History::default(),
            node,
            run,
            started_micros: clock.micros(),
        })
    }

    /// The end of worker `worker`, counted from 0; `None` if there is no such worker or its end is in use. Call it on
    /// the worker's thread.
    pub fn worker(&self, worker: usize, clock: &Clock) -> Option<Observer> {
        Some(Observer {
            metrics: self.metrics.worker(worker)?,
            log: RefCell::new(self.log.buffer(clock)),
            ids: Arc::new(RequestIds::new(self.run, u16::try_from(worker).unwrap_or(u16::MAX))),
        })
    }

    /// The ids of whatever is not a worker: admin calls.
    pub fn admin_ids(&self) -> RequestIds {
        RequestIds::new(self.run, ADMIN_WORKER)
    }

    /// The ids of answers generated in the walk, which no one worker owns.
    pub fn walk_ids(&self) -> RequestIds {
        RequestIds::new(self.run, WALK_WORKER)
    }

    /// The node's name.
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }
}

impl Observer {
    /// A request was answered, or its client went away: one log line, a few additions.
    #[inline]
    pub fn finished(&self, request: &Request, finished: &Finished<'_>) {
        self.metrics.finished(finished);
        if let Some(would) = request.held.get().and_then(|held| held.would()) {
            self.metrics.tried(would.as_tried());
        }
        let id = finished.outcome.id.or(request.id.get().copied()).unwrap_or_else(|| self.ids.draw());
        self.log.borrow_mut().append(id, request, finished);
    }

    /// Where ids are drawn before the end of a request, for error pages: put it into `Outcome::id`.
    pub fn ids(&self) -> &Arc<RequestIds> {
        &self.ids
    }

    /// Hands over the log lines that have waited, every `LOG_FLUSH_EVERY`, for ever. Run once a worker; dropping the
    /// [`Observer`] hands over the rest.
    pub async fn run(&self, clock: &Clock) {
        loop {
            clock.sleep(LOG_FLUSH_EVERY).await;
            self.flush(clock);
        }
    }

    /// Hands over the log lines so far.
    pub fn flush(&self, clock: &Clock) {
        self.log.borrow_mut().flush(clock);
    }
}

/// The worker number in the ids of admin calls: none has it as its own, there are at most 1023.
const ADMIN_WORKER: u16 = 0x3ff;
/// The worker number in the ids of answers generated in the walk.
const WALK_WORKER: u16 = 0x3fe;
