//! Which origin of a pool is asked next.
//!
//! Within a pool the origins that may be asked are graded, and one of the best grade is chosen by the pool's `balance`:
//! by weight (`weight.rs`), by what is under way, by the time to the first byte (`latency.rs`), or by a hash of the client or the
//! URL (`hash.rs`). One that is silent is passed over while another talks, one whose connections are all taken while
//! another has room; backups are asked only when no other origin is available. When every origin is ejected, ejection says
//! nothing any more and all are tried (panic). One drained by hand is never asked.
//!
//! An origin is silent when it was asked [`ORIGIN_SILENT_AFTER`] ago or longer and no head has come from it since, whatever else
//! is under way there: a machine that takes connections and does nothing with them. It is nothing that has to be
//! forgiven: its next answer ends it.
//!
//! Invariant: an origin in `tried` is never chosen. The one lock of a pool is held for the choice only, which allocates
//! nothing.

mod hash;
mod latency;
mod weight;

use std::time::Duration;

use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;

pub(crate) use self::hash::{Key, key_of_client, key_of_resource, mixed};
use self::latency::Latency;
use super::health::{Health, Terms};
use crate::config::limits::{ORIGIN_SILENT_AFTER, SLOW_START_PERCENT_MIN};
use crate::config::{self, Balance};

/// The choice within one pool, and the health it leans on.
#[derive(Debug)]
pub(crate) struct Steering {
    balance: Balance,
    terms: Terms,
    /// Origins that may be ejected at once.
    ejected_max: usize,
    slow_start: Duration,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    standings: Vec<Standing>,
    /// Choices made so far, as a source of spread.
    turn: u64,
}

#[derive(Debug)]
struct Standing {
    weight: u32,
    backup: bool,
    /// By its name, for hashes of keys to meet.
    seed: u64,
    credit: i64,
    latency: Latency,
    health: Health,
    /// Taken out by hand.
    drained: bool,
    /// Back since then: its share grows from little to whole.
    back_since: Option<Timestamp>,
    /// Asked first since its last answer.
    unheard_since: Timestamp,
    /// As it looks to the choice under way.
    view: View,
}

/// An origin in one choice.
#[derive(Clone, Copy, Debug, Default)]
struct View {
    /// The lower, the sooner; none: not at all.
    grade: Option<u8>,
    /// In thousandths, slow start included; at least 1.
    weight: u64,
    active: u64,
    /// Nobody waits there since before its last answer.
    is_heard: bool,
}

/// What an origin is doing, by its connections.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Load {
    /// Requests under way or waiting for a connection.
    pub(crate) active: usize,
    /// Those of them that wait for a head.
    pub(crate) unheard: usize,
    /// Whether one more finds a connection without waiting.
    pub(crate) room: bool,
    /// When the last head came from it.
    pub(crate) heard_at: Timestamp,
}

impl Load {
    /// Nothing is known.
    pub(crate) const NONE: Self =
        Self { active: 0, unheard: 0, room: false, heard_at: Timestamp::from_millis(0) };
}

/// How an origin stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stands {
    /// It is asked.
    Well,
    /// It was left out for failures and its next request says whether it is back.
    OnTrial,
    /// Left out for failures.
    Ejected,
    /// Left out because its checks fail.
    Down,
    /// Taken out by hand.
    Drained,
}

impl Stands {
    /// One word, for people and scripts; stable.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Well => "healthy",
            Self::OnTrial => "on-trial",
            Self::Ejected => "ejected",
            Self::Down => "unhealthy",
            Self::Drained => "drained",
        }
    }
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
                weight: if pool.balance == Balance::RoundRobin { 1 } else { origin.weight.max(1) },
                backup: origin.backup,
                seed: hash::seed(&origin.name),
                credit: 0,
                latency: Latency::default(),
                health: Health::default(),
                drained: false,
                back_since: None,
                unheard_since: Timestamp::default(),
                view: View::default(),
            })
            .collect();
        Self {
            balance: pool.balance,
            terms: Terms::of(pool),
            ejected_max: ejected_max(pool),
            slow_start: pool.slow_start,
            state: Mutex::new(State { standings, turn: 0 }),
        }
    }

    /// The index of the origin to ask at `now`; `None` when all that may be asked are in `tried`. `key` is what the choice goes
    /// by beside them; `load` tells what an origin is doing.
    pub(crate) fn choose(
        &self,
        now: Timestamp,
        tried: &[usize],
        key: Option<Key>,
        load: impl Fn(usize) -> Load,
    ) -> Option<usize> {
        let mut state = self.state.lock();
        let State { standings, turn } = &mut *state;
        *turn = turn.wrapping_add(1);
        let best = self.view(standings, now, tried, load)?;
        let chosen = match (self.balance, key) {
            (_, Some(Key::Origin(index))) if takes(standings, index, best) => Some(index),
            (Balance::LeastConnections, _) => weight::least_busy(standings, best),
            (Balance::Ewma, _) => latency::quicker_of_two(standings, best, now, *turn),
            (Balance::ClientHash, Some(Key::Hash(key))) => hash::of_key(standings, best, key, false),
            (Balance::UriHash, Some(Key::Hash(key))) => hash::of_key(standings, best, key, true),
            _ => weight::richest(standings, best),
        }?;
        let origin = standings.get_mut(chosen)?;
        origin.health.asked(now, &self.terms);
        if origin.view.is_heard {
            origin.unheard_since = now;
        }
        Some(chosen)
    }

    /// Looks at every origin; the best grade, if one may be asked.
    fn view(
        &self,
        standings: &mut [Standing],
        now: Timestamp,
        tried: &[usize],
        load: impl Fn(usize) -> Load,
    ) -> Option<u8> {
        let panic = !standings.iter().any(|origin| origin.available(now));
        let mut best = None;
        for (index, origin) in standings.iter_mut().enumerate() {
            if origin.drained || tried.contains(&index) || !(panic || origin.available(now)) {
                origin.view.grade = None;
                continue;
            }
            let load = load(index);
            let is_heard = load.unheard == 0 || origin.unheard_since <= load.heard_at;
            let is_silent = !is_heard && now.since(origin.unheard_since) >= ORIGIN_SILENT_AFTER;
            let grade = u8::from(origin.backup) << 2 | u8::from(is_silent) << 1 | u8::from(!load.room);
            origin.view = View {
                grade: Some(grade),
                weight: self.weight(origin, now),
                active: load.active as u64,
                is_heard,
            };
            if best.is_none_or(|best| grade < best) {
                best = Some(grade);
            }
        }
        best
    }

    /// Its share in thousandths of a weight.
    fn weight(&self, origin: &mut Standing, now: Timestamp) -> u64 {
        let whole = u64::from(origin.weight).saturating_mul(WEIGHT);
        let Some(since) = origin.back_since else { return whole };
        let (passed, all) = (now.since(since).as_millis(), self.slow_start.as_millis());
        if passed >= all {
            origin.back_since = None;
            return whole;
        }
        let percent = u64::try_from(passed.saturating_mul(100) / all.max(1)).unwrap_or(100);
        (whole.saturating_mul(percent.max(SLOW_START_PERCENT_MIN)) / 100).max(1)
    }

    /// A head came from the origin after `micros`.
    pub(crate) fn answered(&self, index: usize, now: Timestamp, micros: u64) {
        if self.balance == Balance::Ewma
            && let Some(origin) = self.state.lock().standings.get_mut(index)
        {
            origin.latency.observe(now, micros);
        }
    }

    /// Who is left to ask at `now` beside those in `tried`.
    pub(crate) fn left(&self, now: Timestamp, tried: &[usize]) -> Left {
        let state = self.state.lock();
        let well = state.standings.iter().any(|origin| origin.available(now));
        let left = state.standings.iter().enumerate().any(|(index, origin)| {
            !origin.drained && !tried.contains(&index) && (!well || origin.available(now))
        });
        match (left, well) {
            (false, _) => Left::Nobody,
            (true, true) => Left::Well,
            (true, false) => Left::Ejected,
        }
    }

    /// Whether an origin may be asked without panic.
    pub(crate) fn available(&self, now: Timestamp) -> bool {
        self.state.lock().standings.iter().any(|origin| origin.available(now))
    }

    /// Takes the origin out, or back in; what is under way ends as it will.
    pub(crate) fn drain(&self, index: usize, drained: bool, now: Timestamp) {
        if let Some(origin) = self.state.lock().standings.get_mut(index) {
            if origin.drained && !drained {
                self.is_back(origin, now);
            }
            origin.drained = drained;
        }
    }

    /// The origin answered to the end.
    pub(crate) fn succeeded(&self, index: usize, now: Timestamp) {
        if let Some(origin) = self.state.lock().standings.get_mut(index)
            && origin.health.succeeded(now)
        {
            self.is_back(origin, now);
        }
    }

    /// The origin failed; returns whether that ejected it.
    pub(crate) fn failed(&self, index: usize, now: Timestamp) -> bool {
        let mut state = self.state.lock();
        let ejected = state.standings.iter().filter(|origin| origin.health.ejected()).count();
        let origin = state.standings.get_mut(index);
        origin.is_some_and(|origin| origin.health.failed(now, &self.terms, ejected < self.ejected_max))
    }

    /// A check of the origin came to an end; returns whether that took it out or brought it back.
    pub(crate) fn checked(&self, index: usize, now: Timestamp, is_well: bool) -> bool {
        let mut state = self.state.lock();
        let Some(origin) = state.standings.get_mut(index) else { return false };
        let changed = origin.health.checked(now, is_well, &self.terms);
        if changed && is_well {
            self.is_back(origin, now);
        }
        changed
    }

    /// How the origin stands.
    pub(crate) fn standing(&self, index: usize, now: Timestamp) -> Stands {
        let state = self.state.lock();
        let Some(origin) = state.standings.get(index) else { return Stands::Well };
        match origin {
            _ if origin.drained => Stands::Drained,
            _ if origin.health.is_down() => Stands::Down,
            _ if origin.health.ejected() && origin.health.available(now) => Stands::OnTrial,
            _ if origin.health.ejected() => Stands::Ejected,
            _ => Stands::Well,
        }
    }

    /// Takes over what `old` knows of its origins; `theirs`: where it has the one at a place here. The old one's lock is taken
    /// first.
    pub(crate) fn adopt(&self, old: &Self, theirs: impl Fn(usize) -> Option<usize>, checks: bool) {
        let known = old.state.lock();
        let mut state = self.state.lock();
        for (index, origin) in state.standings.iter_mut().enumerate() {
            let Some(before) = theirs(index).and_then(|index| known.standings.get(index)) else { continue };
            origin.health = before.health.clone();
            if !checks {
                origin.health = std::mem::take(&mut origin.health).without_checks();
            }
            origin.drained = before.drained;
            origin.latency = before.latency;
            origin.back_since = before.back_since;
        }
    }

    /// Whether one beside those in `tried` is no backup, not ejected, talks and has room.
    pub(crate) fn has_well(&self, now: Timestamp, tried: &[usize], load: impl Fn(usize) -> Load) -> bool {
        let mut state = self.state.lock();
        state.standings.iter().any(|origin| origin.available(now))
            && self.view(&mut state.standings, now, tried, load) == Some(0)
    }

    /// It comes back after an absence: gently, where the pool says so.
    fn is_back(&self, origin: &mut Standing, now: Timestamp) {
        origin.latency = Latency::default();
        origin.back_since = (!self.slow_start.is_zero()).then_some(now);
    }
}

impl Standing {
    fn available(&self, now: Timestamp) -> bool {
        !self.drained && self.health.available(now)
    }
}

/// Whether the origin at `index` may be asked although others are of the grade `best`: it may have no room.
fn takes(standings: &[Standing], index: usize, best: u8) -> bool {
    let grade = standings.get(index).and_then(|origin| origin.view.grade);
    grade.is_some_and(|grade| grade >> 1 == best >> 1)
}

/// How many origins of a pool may be ejected at once: always one, unless none may.
fn ejected_max(pool: &config::Pool) -> usize {
    let share = pool.origins.len().saturating_mul(usize::from(pool.eject_max_percent)) / 100;
    share.max(usize::from(pool.eject_max_percent > 0))
}

/// The origins of this grade in the choice under way, with their places.
fn of_grade(standings: &[Standing], grade: u8) -> impl Iterator<Item = (usize, &Standing)> {
    standings.iter().enumerate().filter(move |(_, origin)| origin.view.grade == Some(grade))
}

/// A weight of one.
const WEIGHT: u64 = 1000;
