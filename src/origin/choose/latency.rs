//! By the time to the first byte: of two, the one that is likely to answer sooner.
//!
//! What an origin takes is a moving average that jumps to a peak at once and comes down from it over
//! [`EWMA_WINDOW`], so that trouble is seen with its first slow answer; while nothing is heard of an origin its average fades, so that
//! one request finds out whether it still is slow. What is under way there counts as waiting before this request.
//! Two draws instead of a search for the best: many nodes that see the same origin as the quickest do not all run there.

use cache_store::timestamp::Timestamp;

use super::hash::mixed;
use super::weight::{earn, pay};
use super::{Standing, of_grade};
use crate::config::limits::{EWMA_CREDIT_ROUNDS, EWMA_TIE_PERCENT, EWMA_WINDOW};

/// How long an origin takes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Latency {
    /// None before the first answer.
    micros: Option<f64>,
    at: Timestamp,
}

impl Latency {
    /// It took so long.
    pub(super) fn observe(&mut self, now: Timestamp, micros: u64) {
        #[allow(clippy::cast_precision_loss)] // 285 years fit
        let took = micros as f64;
        let kept = self.kept(now);
        self.micros = Some(match self.micros {
            Some(before) if took <= before => before.mul_add(kept, took * (1.0 - kept)),
            _ => took,
        });
        self.at = now;
    }

    /// The share of what was known that still counts.
    fn kept(&self, now: Timestamp) -> f64 {
        (-now.since(self.at).as_secs_f64() / EWMA_WINDOW.as_secs_f64()).exp()
    }

    /// What one more request may expect, where `ahead` for each unit of weight are under way.
    fn cost(&self, now: Timestamp, ahead: f64) -> f64 {
        match self.micros {
            // One request finds out; those behind it go elsewhere meanwhile.
            None if ahead > 0.0 => f64::MAX,
            None => 0.0,
            // Never less than a microsecond, or what is under way would count for nothing.
            Some(micros) => (micros * self.kept(now)).max(1.0) * (1.0 + ahead),
        }
    }
}

/// The one whose turn it is by weight, or another drawn by weight where that is likely to answer clearly sooner. Who is chosen
/// pays, so that equals get their shares whatever noise decides; what a slow one saves up meanwhile has a bound.
pub(super) fn quicker_of_two(
    standings: &mut [Standing],
    grade: u8,
    now: Timestamp,
    turn: u64,
) -> Option<usize> {
    let (first, total) = earn(standings, |origin| origin.view.grade == Some(grade))?;
    let chosen = match by_point(standings, grade, first, mixed(turn)) {
        Some(second) if is_clearly_quicker(standings, grade, now, (second, first)) => second,
        _ => first,
    };
    pay(standings, chosen, total);
    let most = total.saturating_mul(EWMA_CREDIT_ROUNDS);
    for origin in standings.iter_mut() {
        origin.credit = origin.credit.clamp(most.saturating_neg(), most);
    }
    Some(chosen)
}

/// Another one of this grade than `first`, by its weight.
fn by_point(standings: &[Standing], grade: u8, first: usize, turn: u64) -> Option<usize> {
    let others = || of_grade(standings, grade).filter(|(index, _)| *index != first);
    let total: u64 = others().map(|(_, origin)| origin.view.weight).sum();
    let mut point = u64::try_from((u128::from(turn) * u128::from(total)) >> 64).unwrap_or(0);
    for (index, origin) in others() {
        match point.checked_sub(origin.view.weight) {
            Some(rest) => point = rest,
            None => return Some(index),
        }
    }
    None
}

fn is_clearly_quicker(
    standings: &[Standing],
    grade: u8,
    now: Timestamp,
    (one, than): (usize, usize),
) -> bool {
    let (mut count, mut total) = (0_u64, 0_u64);
    for (_, origin) in of_grade(standings, grade) {
        count = count.saturating_add(1);
        total = total.saturating_add(origin.view.weight);
    }
    let cost = |index: usize| {
        standings.get(index).map_or(f64::MAX, |origin| {
            // For an origin of the pool's mean weight.
            let ahead = u128::from(origin.view.active) * u128::from(total);
            let for_weight = u128::from(origin.view.weight.max(1)) * u128::from(count);
            #[allow(clippy::cast_precision_loss)] // an estimate
            origin.latency.cost(now, ahead as f64 / for_weight as f64)
        })
    };
    cost(than) > cost(one) * f64::from(100 + EWMA_TIE_PERCENT) / 100.0
}
