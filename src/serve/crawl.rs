//! Crawlers walk the long tail: page after page that nobody else asks for, each a fetch. So that readers do not wait for them,
//! what crawlers cause has a lane of its own (`[crawlers]`).
//!
//! - A pool is sent only so many requests for them at once, fewer for those who are not verified; some wait for their turn, the
//!   rest get 503 and come back, as crawlers do.
//! - What is stored is good enough for them for longer after its end, and its refresh does not wait.
//! - What is fetched for them takes free room only: a memory or a disk that is full is the readers'.
//!
//! ```text
//! not a fresh hit ── is a crawler ── look up again, stale for longer ─┬─ found ─► respond
//!                                                                     └─ fetch ── a place in the lane ─┬─ free ─► fetch
//!                                      the permit to fetch goes back, look up again ◄── wait ──────────┤
//!                                                                                    503 ◄─────────────┘
//! ```
//!
//! A hit never comes here. Who claims to be a crawler is one; only where it comes from says whether that is true.
//!
//! Invariant: no one holds the permit for a fetch while waiting for a place, so no reader follows a crawler that waits.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::walk::Walk;
use crate::config;
use crate::listener::fields::{FieldId, Fields};
use crate::observe::gauges::Other;
use crate::respond::failure::Failure;
use crate::route::access::SetupError;
use crate::route::access::addresses::AddressTable;

/// Who is taken for a crawler, and the lanes.
#[derive(Debug)]
pub struct Crawlers {
    pub(super) settings: config::Crawlers,
    agents: regex::bytes::Regex,
    verified: Option<AddressTable>,
    /// By pool: of those who are verified, and of the others.
    lanes: Arc<BTreeMap<Arc<str>, [Lane; 2]>>,
    counts: Arc<Counts>,
}

/// What a crawler is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Class {
    /// It comes from where it says.
    Verified,
    /// It says so.
    Other,
}

impl Class {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Other => "not verified",
        }
    }
}

/// A place in a lane; dropped, it is free.
pub(super) type Place = Arc<OwnedSemaphorePermit>;

#[derive(Debug)]
struct Lane {
    places: Arc<Semaphore>,
    waiting: Arc<AtomicUsize>,
}

#[derive(Debug, Default)]
struct Counts {
    fetched: AtomicU64,
    waited: AtomicU64,
    refused: AtomicU64,
}

/// One who waits.
struct Waiting(Arc<AtomicUsize>);

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Crawlers {
    /// By these settings, with a lane at each of `pools`; goes on with the lanes of `before` where they are as wide.
    ///
    /// # Errors
    /// [`SetupError`]: a file cannot be used.
    pub(crate) fn new<'p>(
        settings: &config::Crawlers,
        pools: impl Iterator<Item = &'p Arc<str>>,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let rule = config::access::Addresses {
            allow: settings.verified.clone(),
            allow_files: settings.verified_files.clone(),
            ..config::access::Addresses::default()
        };
        let verified = (rule != config::access::Addresses::default()).then(|| AddressTable::of(&rule));
        let agents: Vec<_> = settings.agents.iter().map(|agent| regex::escape(agent)).collect();
        let agents = regex::bytes::RegexBuilder::new(&agents.join("|"))
            .unicode(false)
            .case_insensitive(true)
            .build()
            .or_else(|_| regex::bytes::Regex::new("^$a"))
            .expect("an expression that matches nothing is one");
        let wide = |count: u32| Lane {
            places: Arc::new(Semaphore::new(count as usize)),
            waiting: Arc::new(AtomicUsize::new(0)),
        };
        let mut lanes = BTreeMap::new();
        for pool in pools {
            let both = [wide(settings.concurrency), wide(settings.concurrency_others)];
            lanes.insert(Arc::clone(pool), both);
        }
        let width = |settings: &config::Crawlers| (settings.concurrency, settings.concurrency_others);
        let same = before.filter(|before| {
            width(&before.settings) == width(settings) && before.lanes.keys().eq(lanes.keys())
        });
        Ok(Self {
            settings: settings.clone(),
            agents,
            verified: verified.transpose()?,
            lanes: same.map_or_else(|| Arc::new(lanes), |before| Arc::clone(&before.lanes)),
            counts: before.map(|before| Arc::clone(&before.counts)).unwrap_or_default(),
        })
    }

    /// What the client with these fields is, if it is a crawler.
    pub(super) fn class_of(&self, fields: &Fields, address: IpAddr) -> Option<Class> {
        let agent = fields.first(FieldId::UserAgent)?;
        if !self.agents.is_match(agent.get(..AGENT_BYTES_READ).unwrap_or(agent)) {
            return None;
        }
        let verified = self.verified.as_ref().is_some_and(|table| table.admits(address));
        Some(if verified { Class::Verified } else { Class::Other })
    }

    fn lane(&self, pool: &str, class: Class) -> Option<&Lane> {
        let [verified, others] = self.lanes.get(pool)?;
        Some(match class {
            Class::Verified => verified,
            Class::Other => others,
        })
    }

    /// For metrics.
    pub(super) fn figures(&self) -> [Other; 4] {
        let counter = |name, help, count: &AtomicU64| Other {
            name,
            help,
            counter: true,
            value: count.load(Ordering::Relaxed),
        };
        let waiting = self.lanes.values().flatten().map(|lane| lane.waiting.load(Ordering::Relaxed) as u64);
        [
            counter(
                "tidegate_crawler_fetches_total",
                "Requests sent to pools for crawlers.",
                &self.counts.fetched,
            ),
            counter(
                "tidegate_crawler_waited_total",
                "Of these, those that waited for a place.",
                &self.counts.waited,
            ),
            counter(
                "tidegate_crawler_refused_total",
                "Requests of crawlers that found no place.",
                &self.counts.refused,
            ),
            Other {
                name: "tidegate_crawler_waiting",
                help: "Requests of crawlers that wait for a place.",
                counter: false,
                value: waiting.sum(),
            },
        ]
    }
}

impl Walk {
    /// Whether it may be sent to an origin now: there is nothing to be looked into first, and it is no crawler's, or has a place, or
    /// there is a free one, which it gets.
    pub(super) fn may_fetch(&mut self) -> bool {
        if self.is_uninspected() {
            return false;
        }
        let Some(class) = self.crawler else { return true };
        if self.place.is_some() {
            return true;
        }
        let Some(crawlers) = &self.edge.crawlers else { return true };
        let pool = self.pool_of_crawlers();
        // Without a pool there is nothing to be kept from.
        let Some(lane) = pool.as_deref().and_then(|pool| crawlers.lane(pool, class)) else { return true };
        match Arc::clone(&lane.places).try_acquire_owned() {
            Ok(place) => {
                crawlers.counts.fetched.fetch_add(1, Ordering::Relaxed);
                self.place = Some(Arc::new(place));
                true
            }
            Err(_) => false,
        }
    }

    /// Waits until it may be sent to an origin. Nothing that others wait for may be held meanwhile.
    ///
    /// # Errors
    /// It is refused for what is in it. Or too many wait already, or it has waited for too long: 503.
    pub(super) async fn wait_to_fetch(&mut self) -> Result<(), Failure> {
        self.inspect().await?;
        if self.may_fetch() {
            return Ok(());
        }
        let (Some(class), Some(crawlers)) = (self.crawler, self.edge.crawlers.clone()) else { return Ok(()) };
        let pool = self.pool_of_crawlers();
        let Some(lane) = pool.as_deref().and_then(|pool| crawlers.lane(pool, class)) else { return Ok(()) };
        let refused = || {
            crawlers.counts.refused.fetch_add(1, Ordering::Relaxed);
            Failure::new(StatusCode::SERVICE_UNAVAILABLE, "crawler-lane").retry_after(RETRY_AFTER_SECS)
        };
        let with = |count: usize| (count < crawlers.settings.queue_max as usize).then_some(count + 1);
        if lane.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, with).is_err() {
            return Err(refused());
        }
        let waiting = Waiting(Arc::clone(&lane.waiting));
        let places = Arc::clone(&lane.places);
        let place = self.edge.clock.timeout(crawlers.settings.queue_timeout, places.acquire_owned()).await;
        drop(waiting);
        // Nobody closes it.
        let Ok(Ok(place)) = place else { return Err(refused()) };
        crawlers.counts.fetched.fetch_add(1, Ordering::Relaxed);
        crawlers.counts.waited.fetch_add(1, Ordering::Relaxed);
        self.place = Some(Arc::new(place));
        Ok(())
    }
}

/// What is looked at of a `User-Agent`, bytes: nobody's name begins behind them.
const AGENT_BYTES_READ: usize = 512;
/// When a crawler that found no place may come again.
const RETRY_AFTER_SECS: u32 = 30;
