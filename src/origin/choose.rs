//! Which origin of a pool is asked next, and which pool of a route.
//!
//! Within a pool: smooth weighted round robin (each choice adds every weight to its origin's credit, the richest is
//! chosen and pays the sum), over the origins that are available; one whose connections are all taken is passed over
//! while another has room. Backups are asked only when no other origin is available. When every origin is ejected,
//! ejection says nothing any more and all are tried (panic). One drained by hand is never asked.
//!
//! Invariant: an origin in `tried` is never chosen. The one lock of a pool is held for the choice only.

use std::time::Duration;

use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;

use super::health::Health;
use crate::config;

/// The choice within one pool, and the health it leans on.
#[derive(Debug)]
pub(crate) struct Steering {
    eject_after: u32,
    eject_for: Duration,
    standings: Mutex<Vec<Standing>>,
}

#[derive(Debug)]
struct Standing {
    weight: i64,
    backup: bool,
    credit: i64,
    health: Health,
    /// Taken out by hand.
    drained: bool,
}

/// Who is left to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Left {
    /// Nobody.
    Nobody,
    /// An origin that is not known to be down.
    Well,
    /// Origins that are all ejected.
    Ejected,
}

impl Steering {
    /// All origins of `pool` standing.
    pub(crate) fn new(pool: &config::Pool) -> Self {
        let standings = pool
            .origins
            .iter()
            .map(|origin| Standing {
                weight: i64::from(origin.weight.max(1)),
                backup: origin.backup,
                credit: 0,
                health: Health::default(),
                drained: false,
            })
            .collect();
        Self { eject_after: pool.eject_after, eject_for: pool.eject_for, standings: Mutex::new(standings) }
    }

    /// The index of the origin to ask at `now`; `None` when all that may be asked are in `tried`.
    pub(crate) fn choose(
        &self,
        now: Timestamp,
        tried: &[usize],
        has_room: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let mut standings = self.standings.lock();
        let candidates = candidates(&standings, now, tried);
        let roomy: Vec<usize> = candidates.iter().copied().filter(|index| has_room(*index)).collect();
        let chosen = richest(&mut standings, if roomy.is_empty() { &candidates } else { &roomy })?;
        standings.get_mut(chosen)?.health.asked(now, self.eject_for);
        Some(chosen)
    }

    /// Who is left to ask at `now` beside those in `tried`.
    pub(crate) fn left(&self, now: Timestamp, tried: &[usize]) -> Left {
        let standings = self.standings.lock();
        match candidates(&standings, now, tried).as_slice() {
            [] => Left::Nobody,
            _ if standings.iter().any(|origin| origin.available(now)) => Left::Well,
            _ => Left::Ejected,
        }
    }

    /// Whether an origin may be asked without panic.
    pub(crate) fn available(&self, now: Timestamp) -> bool {
        self.standings.lock().iter().any(|origin| origin.available(now))
    }

    /// Takes the origin out, or back in; what is under way ends as it will.
    pub(crate) fn drain(&self, index: usize, drained: bool) {
        if let Some(origin) = self.standings.lock().get_mut(index) {
            origin.drained = drained;
        }
    }

    /// Whether the origin was taken out by hand.
    pub(crate) fn drained(&self, index: usize) -> bool {
        self.standings.lock().get(index).is_some_and(|origin| origin.drained)
    }

    /// The origin answered to the end.
    pub(crate) fn succeeded(&self, index: usize) {
        if let Some(origin) = self.standings.lock().get_mut(index) {
            origin.health.succeeded();
        }
    }

    /// The origin failed; returns whether that ejected it.
    pub(crate) fn failed(&self, index: usize, now: Timestamp) -> bool {
        self.standings
            .lock()
            .get_mut(index)
            .is_some_and(|origin| origin.health.failed(now, self.eject_after, self.eject_for))
    }

    /// Whether the origin is ejected or on trial.
    pub(crate) fn ejected(&self, index: usize) -> bool {
        self.standings.lock().get(index).is_some_and(|origin| origin.health.ejected())
    }
}

impl Standing {
    fn available(&self, now: Timestamp) -> bool {
        !self.drained && self.health.available(now)
    }
}

/// The origins that may be asked: the available ones, or all when none is; backups only when nothing else is left.
fn candidates(standings: &[Standing], now: Timestamp, tried: &[usize]) -> Vec<usize> {
    let panic = !standings.iter().any(|origin| origin.available(now));
    let of_kind = |backup: bool| -> Vec<usize> {
        let left = standings.iter().enumerate().filter(|(index, origin)| {
            origin.backup == backup
                && !tried.contains(index)
                && !origin.drained
                && (panic || origin.available(now))
        });
        left.map(|(index, _)| index).collect()
    };
    let first = of_kind(false);
    if first.is_empty() { of_kind(true) } else { first }
}

/// The candidate with the most credit after all were given their weight; it pays the sum.
fn richest(standings: &mut [Standing], candidates: &[usize]) -> Option<usize> {
    let mut total = 0_i64;
    let mut best: Option<(usize, i64)> = None;
    for &index in candidates {
        let Some(origin) = standings.get_mut(index) else { continue };
        origin.credit = origin.credit.saturating_add(origin.weight);
        total = total.saturating_add(origin.weight);
        if best.is_none_or(|(_, credit)| origin.credit > credit) {
            best = Some((index, origin.credit));
        }
    }
    let (index, _) = best?;
    let origin = standings.get_mut(index)?;
    origin.credit = origin.credit.saturating_sub(total);
    Some(index)
}
