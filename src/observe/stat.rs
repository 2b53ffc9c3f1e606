//! The counters as JSON: `GET /v1/stat`, `tidegate stat` and the dashboard.

use std::sync::atomic::Ordering;

use serde_json::{Map, Value, json};

use super::Observe;
use super::gauges::{Gauges, NodeStanding, Tier};
use super::histogram::{Durations, quantile};
use super::metrics::{SiteTotals, Totals};
use super::render::{CLASS_NAMES, OUTCOMES, VERSION};
use super::sizing::{ALL_SITES, Prediction, predictions};
use crate::clock::Clock;
use crate::listener::request::Protocol;
use crate::origin::{DURATION_BOUNDS_MICROS, OriginStats, Stands};
use crate::respond::response::CacheOutcome;

impl Observe {
    /// Another second has passed: it is remembered what happened in it.
    pub(crate) fn second(&self, gauges: &Gauges, clock: &Clock) {
        let totals = self.metrics.totals();
        self.history.note(&totals, gauges, clock.micros(), clock.wall().as_millis());
    }

    /// All counters as one JSON object.
    pub fn stat(&self, gauges: &Gauges, clock: &Clock) -> Value {
        let totals = self.metrics.totals();
        let requests: u64 = totals.sites.iter().map(SiteTotals::all).sum();
        let bytes: u64 = totals.sites.iter().flat_map(|site| site.bytes).sum();
        let mut all = Durations::default();
        totals.durations.iter().for_each(|one| all.add(one));
        let hits = totals.durations.get(CacheOutcome::Hit.index()).copied().unwrap_or_default();
        let sizing = predictions(&totals.sites, &gauges.sizing);
        json!({
            "node": &*self.node,
            "version": VERSION,
            "uptime_seconds": self.uptime_seconds(clock),
            "requests": requests,
            "hit_ratio": hit_ratio(&totals.sites),
            "bytes": bytes,
            "bytes_from_cache": totals.sites.iter().map(from_cache).sum::<u64>(),
            "bytes_saved_by_encoding": totals.sites.iter().map(|site| site.saved_bytes).sum::<u64>(),
            "cache": outcomes(|outcome| totals.sites.iter().map(|site| site.of(outcome)).sum()),
            "status": classes(&totals),
            "codes": totals.codes.iter().map(|(code, count)| (code.to_string(), json!(count))).collect::<Map<_, _>>(),
            "duration_us": quantiles(&all),
            "hit_duration_us": quantiles(&hits),
            "cut": totals.cut,
            "reasons": totals.reasons.iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect::<Map<_, _>>(),
            "tiers": gauges.tiers.iter().map(|tier| json!({
                "tier": tier.tier,
                "bytes": tier.bytes,
                "bytes_max": tier.bytes_max,
                "objects": tier.objects,
                "evictions": tier.evictions,
            })).collect::<Vec<_>>(),
            "sizing": sized(&sizing, ALL_SITES, &gauges.tiers),
            "origin_requests": gauges.origins.iter().map(requests_to).sum::<u64>(),
            "origins": gauges.origins.iter().map(origin).collect::<Vec<_>>(),
            "listeners": gauges.listeners.iter().map(|one| json!({
                "listener": one.address.to_string(),
                "http1": one.open(Protocol::Http11),
                "http2": one.open(Protocol::Http2),
                "accepted": one.accepted.load(Ordering::Relaxed),
                "refused": one.refused.load(Ordering::Relaxed),
            })).collect::<Vec<_>>(),
            "geo": gauges.places.map(|places| json!({
                "age_seconds": places.age_seconds,
                "reloads": places.reloads,
                "refused": places.refused,
            })),
            "now": self.history.last(),
            "purges": {
                "sequence": gauges.purges.sequence,
                "nodes": gauges.purges.nodes.iter().map(node).collect::<Vec<_>>(),
                "count": gauges.purges.applied.iter().map(|kind| kind.count).sum::<u64>(),
            },
            "sites": totals.sites.iter().filter(|site| &*site.site != "-" || site.all() > 0).map(|one| site(one, &sized(&sizing, &one.site, &gauges.tiers))).collect::<Vec<_>>(),
            "log": { "dropped_lines": self.log.dropped_lines(), "written_bytes": self.log.written_bytes() },
        })
    }

    /// Whole seconds since the node started.
    pub fn uptime_seconds(&self, clock: &Clock) -> u64 {
        clock.micros().saturating_sub(self.started_micros) / 1_000_000
    }
}

/// Body bytes that no origin sent for the requests they went to.
fn from_cache(site: &SiteTotals) -> u64 {
    let of = |outcome: CacheOutcome| site.bytes.get(outcome.index()).copied().unwrap_or_default();
    [CacheOutcome::Hit, CacheOutcome::Stale, CacheOutcome::Collapsed, CacheOutcome::Revalidated]
        .into_iter()
        .map(of)
        .sum()
}

/// The share of requests answered without one of their own to an origin, of all that the cache had a say in: hits, stale
/// answers and followers over all but generated ones. `None` where there were none.
#[allow(clippy::cast_precision_loss)] // a ratio for eyes
fn hit_ratio<'a>(sites: impl IntoIterator<Item = &'a SiteTotals>) -> Option<f64> {
    let (mut saved, mut all) = (0u64, 0u64);
    for site in sites {
        saved += site.of(CacheOutcome::Hit) + site.of(CacheOutcome::Stale) + site.of(CacheOutcome::Collapsed);
        all += site.all() - site.of(CacheOutcome::Generated);
    }
    (all > 0).then(|| saved as f64 / all as f64)
}

fn outcomes(count: impl Fn(CacheOutcome) -> u64) -> Value {
    OUTCOMES
        .iter()
        .map(|outcome| (outcome.as_str().to_owned(), json!(count(*outcome))))
        .collect::<Map<_, _>>()
        .into()
}

fn classes(totals: &Totals) -> Value {
    let mut sums = [0u64; CLASS_NAMES.len()];
    for row in totals.sites.iter().flat_map(|site| &site.requests) {
        sums.iter_mut().zip(row).for_each(|(sum, count)| *sum += count);
    }
    CLASS_NAMES
        .iter()
        .zip(sums)
        .map(|(name, sum)| ((*name).to_owned(), json!(sum)))
        .collect::<Map<_, _>>()
        .into()
}

/// Upper bounds of the buckets in which half, 90 % and 99 % end.
fn quantiles(durations: &Durations) -> Value {
    json!({
        "p50": durations.quantile_micros(0.5),
        "p90": durations.quantile_micros(0.9),
        "p99": durations.quantile_micros(0.99),
    })
}

pub(super) fn requests_to(one: &OriginStats) -> u64 {
    one.counts.statuses.iter().sum::<u64>() + one.counts.failures
}

fn origin(one: &OriginStats) -> Value {
    let [.., server_errors] = one.counts.statuses;
    let within = |share| quantile(&DURATION_BOUNDS_MICROS, &one.counts.durations, share);
    json!({
        "pool": &*one.pool,
        "origin": &*one.origin,
        "healthy": one.stands == Stands::Well,
        "drained": one.stands == Stands::Drained,
        "state": one.stands.as_str(),
        "requests": requests_to(one),
        "failed": one.counts.failures + server_errors,
        "connections": one.connections_in_use + one.connections_idle,
        "waiting": one.waiting,
        "duration_us": { "p50": within(0.5), "p90": within(0.9), "p99": within(0.99) },
    })
}

/// What other sizes would bring to a site, or to all (`*`).
fn sized(predictions: &[Prediction], site: &str, tiers: &[Tier]) -> Value {
    let of_site = predictions.iter().filter(|one| &*one.site == site);
    let told = of_site.map(|one| {
        let bytes = tiers.iter().find(|tier| tier.tier == one.tier).map_or(0, |tier| tier.bytes_max);
        #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        // for eyes
        let bytes = (bytes as f64 * one.factor) as u64;
        json!({
            "tier": one.tier,
            "size": one.factor,
            "bytes_max": bytes,
            "hit_ratio": one.hit_ratio,
            "byte_hit_ratio": one.byte_hit_ratio,
            "filled": one.filled,
        })
    });
    told.collect()
}

fn node(one: &NodeStanding) -> Value {
    json!({
        "node": &*one.node,
        "kind": one.kind,
        "sequence": one.sequence,
        "behind": one.behind,
        "heard_seconds": one.heard_seconds,
        "trouble": one.trouble,
    })
}

fn site(one: &SiteTotals, sizing: &Value) -> Value {
    json!({
        "site": &*one.site,
        "requests": one.all(),
        "hit_ratio": hit_ratio([one]),
        "bytes": one.bytes.iter().sum::<u64>(),
        "cache": outcomes(|outcome| one.of(outcome)),
        "sizing": sizing,
    })
}
