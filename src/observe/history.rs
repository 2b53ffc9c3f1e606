//! What happened in each of the last seconds: rates and times to answer, so that who begins to watch sees where it comes from.
//!
//! Noted once a second for as long as the node runs; costs a pass over all counters, as a scrape does.

use std::collections::VecDeque;

use parking_lot::Mutex;
use serde_json::{Value, json};

use super::gauges::Gauges;
use super::histogram::{BUCKETS, Durations, interpolated};
use super::metrics::{CLASSES, SiteTotals, Totals};
use crate::config::limits::HISTORY_SECONDS;
use crate::respond::response::CacheOutcome;

/// The last [`HISTORY_SECONDS`] seconds.
#[derive(Debug, Default)]
pub struct History(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    before: Option<Sums>,
    seconds: VecDeque<Second>,
}

/// Counters at a moment.
#[derive(Clone, Debug)]
struct Sums {
    at_micros: u64,
    requests: u64,
    from_cache: u64,
    considered: u64,
    bytes: u64,
    bytes_from_cache: u64,
    origin_requests: u64,
    errors: u64,
    evictions: u64,
    durations: Durations,
    hit_durations: Durations,
}

/// What happened within about a second; counts are by the second.
#[derive(Clone, Copy, Debug)]
struct Second {
    wall_millis: u64,
    requests: f64,
    /// `None` where there was nothing the cache had a say in.
    hit_ratio: Option<f64>,
    bytes: f64,
    bytes_from_cache: f64,
    origin_requests: f64,
    errors: f64,
    evictions: f64,
    duration: [Option<u64>; 3],
    hit_duration: [Option<u64>; 3],
}

impl History {
    /// Another second has passed.
    pub(crate) fn note(&self, totals: &Totals, gauges: &Gauges, now_micros: u64, wall_millis: u64) {
        let now = Sums::of(totals, gauges, now_micros);
        let mut ring = self.0.lock();
        if let Some(second) = ring.before.as_ref().and_then(|before| now.since(before, wall_millis)) {
            ring.seconds.push_back(second);
            if ring.seconds.len() > HISTORY_SECONDS {
                ring.seconds.pop_front();
            }
        }
        ring.before = Some(now);
    }

    /// All seconds, oldest first, a list a member.
    pub(crate) fn told(&self) -> Value {
        let ring = self.0.lock();
        let all = |of: &dyn Fn(&Second) -> Value| -> Value { ring.seconds.iter().map(of).collect() };
        json!({
            "time": all(&|one| one.wall_millis.into()),
            "requests": all(&|one| rounded(one.requests)),
            "hit_ratio": all(&|one| one.hit_ratio.map_or(Value::Null, rounded)),
            "bytes": all(&|one| rounded(one.bytes)),
            "bytes_from_cache": all(&|one| rounded(one.bytes_from_cache)),
            "origin_requests": all(&|one| rounded(one.origin_requests)),
            "errors": all(&|one| rounded(one.errors)),
            "evictions": all(&|one| rounded(one.evictions)),
            "p50": all(&|one| one.duration[0].into()),
            "p90": all(&|one| one.duration[1].into()),
            "p99": all(&|one| one.duration[2].into()),
            "hit_p50": all(&|one| one.hit_duration[0].into()),
            "hit_p99": all(&|one| one.hit_duration[2].into()),
        })
    }

    /// The last second; null before there was one.
    pub(crate) fn last(&self) -> Value {
        let ring = self.0.lock();
        let Some(one) = ring.seconds.back() else { return Value::Null };
        json!({
            "time": one.wall_millis,
            "requests": rounded(one.requests),
            "hit_ratio": one.hit_ratio.map(rounded),
            "bytes": rounded(one.bytes),
            "bytes_from_cache": rounded(one.bytes_from_cache),
            "origin_requests": rounded(one.origin_requests),
            "errors": rounded(one.errors),
            "evictions": rounded(one.evictions),
            "p50": one.duration[0],
            "p90": one.duration[1],
            "p99": one.duration[2],
            "hit_p50": one.hit_duration[0],
            "hit_p99": one.hit_duration[2],
        })
    }
}

impl Sums {
    fn of(totals: &Totals, gauges: &Gauges, at_micros: u64) -> Self {
        let of = |outcome: CacheOutcome| totals.sites.iter().map(|site| site.of(outcome)).sum::<u64>();
        let bytes_of = |outcome: CacheOutcome| {
            let all = totals.sites.iter().filter_map(|site| site.bytes.get(outcome.index()));
            all.sum::<u64>()
        };
        let requests: u64 = totals.sites.iter().map(SiteTotals::all).sum();
        let mut durations = Durations::default();
        totals.durations.iter().for_each(|one| durations.add(one));
        let errors = totals.sites.iter().flat_map(|site| &site.requests);
        Self {
            at_micros,
            requests,
            from_cache: FROM_CACHE.into_iter().map(of).sum(),
            considered: requests - of(CacheOutcome::Generated),
            bytes: totals.sites.iter().flat_map(|site| site.bytes).sum(),
            bytes_from_cache: BODY_FROM_CACHE.into_iter().map(bytes_of).sum(),
            origin_requests: gauges.origins.iter().map(super::stat::requests_to).sum(),
            errors: errors.map(|classes| classes[CLASSES - 1]).sum(),
            evictions: gauges.tiers.iter().map(|tier| tier.evictions).sum(),
            durations,
            hit_durations: totals.durations.get(CacheOutcome::Hit.index()).copied().unwrap_or_default(),
        }
    }

    /// What happened since then; `None` where no time has passed.
    #[allow(clippy::cast_precision_loss)] // rates for eyes
    fn since(&self, before: &Self, wall_millis: u64) -> Option<Second> {
        let micros = self.at_micros.checked_sub(before.at_micros).filter(|micros| *micros > 0)?;
        let seconds = micros as f64 / 1e6;
        let rise = |of: fn(&Self) -> u64| of(self).saturating_sub(of(before));
        let rate = |of: fn(&Self) -> u64| rise(of) as f64 / seconds;
        let considered = rise(|sums| sums.considered);
        let quantiles = |now: &Durations, before: &Durations| {
            let buckets: [u64; BUCKETS] = std::array::from_fn(|at| {
                let of = |durations: &Durations| durations.buckets.get(at).copied().unwrap_or_default();
                of(now).saturating_sub(of(before))
            });
            [0.5, 0.9, 0.99].map(|share| interpolated(&buckets, share))
        };
        Some(Second {
            wall_millis,
            requests: rate(|sums| sums.requests),
            hit_ratio: (considered > 0).then(|| rise(|sums| sums.from_cache) as f64 / considered as f64),
            bytes: rate(|sums| sums.bytes),
            bytes_from_cache: rate(|sums| sums.bytes_from_cache),
            origin_requests: rate(|sums| sums.origin_requests),
            errors: rate(|sums| sums.errors),
            evictions: rate(|sums| sums.evictions),
            duration: quantiles(&self.durations, &before.durations),
            hit_duration: quantiles(&self.hit_durations, &before.hit_durations),
        })
    }
}

/// To a thousandth, and whole beyond a hundred.
fn rounded(number: f64) -> Value {
    let scale = if number.abs() >= 100.0 { 1.0 } else { 1000.0 };
    json!((number * scale).round() / scale)
}

/// Answered without a request of their own to an origin.
const FROM_CACHE: [CacheOutcome; 3] = [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Collapsed];
/// Answered with a body that no origin sent for them.
const BODY_FROM_CACHE: [CacheOutcome; 4] =
    [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Collapsed, CacheOutcome::Revalidated];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::tests::{busy, gauges};

    #[test]
    fn a_second_tells_what_happened_in_it() {
        let (busy, gauges) = (busy(), gauges());
        let history = History::default();
        let mut before = busy.metrics.totals();
        assert_eq!(history.last(), Value::Null);
        for site in &mut before.sites {
            (site.requests, site.bytes) = Default::default();
        }
        before.durations = Default::default();
        history.note(&before, &gauges, 1_000_000, 5_000);
        assert_eq!(history.last(), Value::Null, "one moment is no second");
        history.note(&busy.metrics.totals(), &gauges, 3_000_000, 7_000);
        let last = history.last();
        assert_eq!((&last["requests"], &last["time"]), (&json!(5.5), &json!(7_000)), "{last}");
        // Six of the nine that were not generated.
        assert_eq!(last["hit_ratio"], 0.667, "{last}");
        assert_eq!(last["origin_requests"], 0.0);
        let p50 = last["p50"].as_u64().expect("there were some");
        assert!((25..=50).contains(&p50), "{last}");
        assert_eq!(history.told()["requests"], json!([5.5]));
    }

    #[test]
    fn it_remembers_a_bounded_time() {
        let (busy, gauges) = (busy(), gauges());
        let (history, totals) = (History::default(), busy.metrics.totals());
        for at in 1..=(HISTORY_SECONDS as u64 + 10) {
            history.note(&totals, &gauges, at * 1_000_000, at * 1_000);
        }
        let told = history.told();
        assert_eq!(told["time"].as_array().map(Vec::len), Some(HISTORY_SECONDS));
        assert_eq!(told["hit_ratio"][0], Value::Null, "nothing happened");
    }
}
