//! The counters as Prometheus reads them (text exposition format 0.0.4), under the names of the interface page.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Observe;
use super::gauges::Gauges;
use super::histogram::BOUNDS_MICROS;
use super::metrics::Totals;
use super::sizing::{Prediction, predictions};
use crate::clock::Clock;
use crate::listener::request::Protocol;
use crate::listener::stats::ListenerStats;
use crate::origin::{Counts, DURATION_BOUNDS_MICROS, OriginStats, Stands};
use crate::respond::response::CacheOutcome;

/// Media type of [`Observe::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Observe {
    /// Everything there is to scrape.
    pub fn render(&self, gauges: &Gauges, clock: &Clock) -> String {
        let totals = self.metrics.totals();
        let mut page = Page(String::with_capacity(16 * 1024));
        self.about(&mut page, clock);
        requests(&mut page, &totals);
        store(&mut page, gauges);
        sizing(&mut page, &predictions(&totals.sites, &gauges.sizing));
        origins(&mut page, gauges);
        inspections(&mut page, gauges);
        listeners(&mut page, gauges);
        page.single(
            "tidegate_log_dropped_lines_total",
            "counter",
            LOG_DROPPED_HELP,
            self.log.dropped_lines(),
        );
        page.single(
            "tidegate_log_written_bytes_total",
            "counter",
            "Access log bytes written.",
            self.log.written_bytes(),
        );
        #[cfg(feature = "otlp")]
        page.single(
            "tidegate_trace_dropped_spans_total",
            "counter",
            "Spans dropped because no receiver took them.",
            self.log.lost_spans(),
        );
        for other in &gauges.others {
            page.single(other.name, if other.counter { "counter" } else { "gauge" }, other.help, other.value);
        }
        page.0
    }

    fn about(&self, page: &mut Page, clock: &Clock) {
        page.family("tidegate_build_info", "gauge", "Always 1; the version is in the label.");
        page.sample("tidegate_build_info", &[("version", VERSION), ("node", &self.node)], 1);
        page.single(
            "tidegate_uptime_seconds",
            "gauge",
            "Seconds since the node started.",
            self.uptime_seconds(clock),
        );
    }
}

fn requests(page: &mut Page, totals: &Totals) {
    page.family(
        "tidegate_requests_total",
        "counter",
        "Requests by site, by what the cache had to do with them, and by class of status.",
    );
    for site in &totals.sites {
        for (outcome, classes) in OUTCOMES.iter().zip(&site.requests) {
            for (class, count) in CLASS_NAMES.iter().zip(classes).filter(|(_, count)| **count > 0) {
                let labels = [("site", &*site.site), ("cache", outcome.as_str()), ("status", class)];
                page.sample("tidegate_requests_total", &labels, *count);
            }
        }
    }
    page.family("tidegate_response_bytes_total", "counter", "Body bytes sent.");
    for site in &totals.sites {
        for (outcome, bytes) in OUTCOMES.iter().zip(&site.bytes).filter(|(_, bytes)| **bytes > 0) {
            let labels = [("site", &*site.site), ("cache", outcome.as_str())];
            page.sample("tidegate_response_bytes_total", &labels, *bytes);
        }
    }
    page.family(
        "tidegate_encoding_saved_bytes_total",
        "counter",
        "Body bytes that were not sent because the body had been encoded here.",
    );
    for site in totals.sites.iter().filter(|site| site.saved_bytes > 0) {
        page.sample("tidegate_encoding_saved_bytes_total", &[("site", &site.site)], site.saved_bytes);
    }
    page.family("tidegate_responses_total", "counter", "Responses by status code.");
    for (code, count) in &totals.codes {
        page.sample("tidegate_responses_total", &[("code", &code.to_string())], *count);
    }
    page.single(
        "tidegate_responses_cut_total",
        "counter",
        "Responses that ended before their end: the client left, or the origin broke off.",
        totals.cut,
    );
    page.family("tidegate_reasons_total", "counter", "Why responses were not stored or not reused.");
    for (reason, count) in &totals.reasons {
        page.sample("tidegate_reasons_total", &[("reason", reason)], *count);
    }
    page.family(
        "tidegate_request_duration_seconds",
        "histogram",
        "From the request's head to the last byte handed to the socket.",
    );
    for (outcome, durations) in OUTCOMES.iter().zip(&totals.durations).filter(|(_, all)| all.count() > 0) {
        let labels = [("cache", outcome.as_str())];
        page.histogram(
            "tidegate_request_duration_seconds",
            &labels,
            &BOUNDS_MICROS,
            &durations.buckets,
            durations.sum_micros,
        );
    }
}

fn store(page: &mut Page, gauges: &Gauges) {
    page.family("tidegate_cache_bytes", "gauge", "Bytes held by a tier.");
    for tier in &gauges.tiers {
        page.sample("tidegate_cache_bytes", &[("tier", tier.tier)], tier.bytes);
    }
    page.family("tidegate_cache_bytes_max", "gauge", "Bytes a tier may hold.");
    for tier in &gauges.tiers {
        page.sample("tidegate_cache_bytes_max", &[("tier", tier.tier)], tier.bytes_max);
    }
    page.family("tidegate_cache_objects", "gauge", "Responses held by a tier.");
    for tier in &gauges.tiers {
        page.sample("tidegate_cache_objects", &[("tier", tier.tier)], tier.objects);
    }
    page.family("tidegate_cache_evictions_total", "counter", "Responses pushed out for want of room.");
    for tier in &gauges.tiers {
        page.sample("tidegate_cache_evictions_total", &[("tier", tier.tier)], tier.evictions);
    }
    page.family("tidegate_purges_total", "counter", "Purges applied.");
    for kind in &gauges.purges.applied {
        let labels = [("scope", kind.scope), ("soft", if kind.soft { "true" } else { "false" })];
        page.sample("tidegate_purges_total", &labels, kind.count);
    }
    page.single(
        "tidegate_purge_sequence",
        "gauge",
        "Sequence number of the last purge applied.",
        gauges.purges.sequence,
    );
    page.single(
        "tidegate_purge_refetches_total",
        "counter",
        "Fetches for what a purge took: what purges have cost the origins.",
        gauges.purges.refetches,
    );
}

/// One way in which a size is good.
type SizingFamily = (&'static str, &'static str, fn(&Prediction) -> f64);

fn sizing(page: &mut Page, predictions: &[Prediction]) {
    let families: [SizingFamily; 3] = [
        (
            "tidegate_sizing_hit_ratio",
            "Hit ratio of requests since the start, had the tier so many times its size (predicted).",
            |one| one.hit_ratio,
        ),
        (
            "tidegate_sizing_byte_hit_ratio",
            "Hit ratio of bytes since the start, had the tier so many times its size (predicted).",
            |one| one.byte_hit_ratio,
        ),
        (
            "tidegate_sizing_filled",
            "The part of a tier of so many times the size that would be in use by now.",
            |one| one.filled,
        ),
    ];
    for (name, help, value) in families {
        page.family(name, "gauge", help);
        for one in predictions {
            let factor = one.factor.to_string();
            let labels = [("site", &*one.site), ("tier", one.tier), ("size", factor.as_str())];
            page.0.push_str(name);
            page.labels(&labels, None);
            let _ = writeln!(page.0, " {:.4}", value(one));
        }
    }
}

/// Name, kind, help and value of what each origin tells.
type OriginFamily = (&'static str, &'static str, &'static str, fn(&OriginStats) -> u64);
/// Middle of the name, help and counter of what each listener tells.
type ListenerFamily = (&'static str, &'static str, fn(&ListenerStats) -> &AtomicU64);

fn origins(page: &mut Page, gauges: &Gauges) {
    page.family("tidegate_origin_requests_total", "counter", "Requests sent to origins, by class of status.");
    for one in &gauges.origins {
        let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].into_iter().zip(one.counts.statuses);
        for (class, count) in classes.chain([("none", one.counts.failures)]).filter(|(_, count)| *count > 0) {
            let labels = [("pool", &*one.pool), ("origin", &*one.origin), ("status", class)];
            page.sample("tidegate_origin_requests_total", &labels, count);
        }
    }
    page.family(
        "tidegate_origin_duration_seconds",
        "histogram",
        "From the request to an origin to its head.",
    );
    for one in gauges.origins.iter().filter(|one| one.counts.durations.iter().any(|count| *count > 0)) {
        let labels = [("pool", &*one.pool), ("origin", &*one.origin)];
        let Counts { durations, duration_micros, .. } = &one.counts;
        page.histogram(
            "tidegate_origin_duration_seconds",
            &labels,
            &DURATION_BOUNDS_MICROS,
            durations,
            *duration_micros,
        );
    }
    let families: [OriginFamily; 9] = [
        ("tidegate_origin_healthy", "gauge", "1 where requests are sent to the origin.", |one| {
            u64::from(one.stands == Stands::Well)
        }),
        ("tidegate_origin_connections_in_use", "gauge", "Connections with a request under way.", |one| {
            one.connections_in_use as u64
        }),
        ("tidegate_origin_connections_idle", "gauge", "Connections kept for the next request.", |one| {
            one.connections_idle as u64
        }),
        ("tidegate_origin_waiting", "gauge", "Requests that wait for a connection.", |one| {
            one.waiting as u64
        }),
        ("tidegate_origin_connects_total", "counter", "Connections opened.", |one| one.counts.connects),
        ("tidegate_origin_ejections_total", "counter", "Times an origin was left out.", |one| {
            one.counts.ejections
        }),
        ("tidegate_origin_moved_on_total", "counter", "Requests that went to another origin.", |one| {
            one.counts.moved_on
        }),
        (
            "tidegate_origin_hedged_total",
            "counter",
            "Requests that waited for the origin while another was asked on top.",
            |one| one.counts.hedged,
        ),
        (
            "tidegate_origin_failed_checks_total",
            "counter",
            "Checks of the origin's health that failed.",
            |one| one.counts.failed_checks,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for one in &gauges.origins {
            page.sample(name, &[("pool", &one.pool), ("origin", &one.origin)], value(one));
        }
    }
}

fn inspections(page: &mut Page, gauges: &Gauges) {
    page.family(
        "tidegate_inspections_total",
        "counter",
        "Requests looked into for attacks, by engine and by what it came to.",
    );
    for one in &gauges.inspections {
        let labels = [("engine", one.engine), ("verdict", one.verdict)];
        page.sample("tidegate_inspections_total", &labels, one.count);
    }
}

fn listeners(page: &mut Page, gauges: &Gauges) {
    page.family("tidegate_connections", "gauge", "Client connections open.");
    for one in &gauges.listeners {
        for protocol in [Protocol::Http11, Protocol::Http2] {
            let labels = [("listener", &*one.address.to_string()), ("protocol", protocol.as_str())];
            page.sample("tidegate_connections", &labels, one.open(protocol) as u64);
        }
    }
    let families: [ListenerFamily; 9] = [
        ("accepted", "Connections accepted.", |one| &one.accepted),
        ("refused", "Connections closed at once because the node was full.", |one| &one.refused),
        ("displaced", "Idle connections closed to make room.", |one| &one.displaced),
        ("accept_failures", "Failures to accept a connection.", |one| &one.accept_failures),
        ("handshake_failures", "TLS handshakes that failed or took too long.", |one| &one.handshake_failures),
        ("unproxied", "Connections refused for want of a PROXY protocol header.", |one| &one.unproxied),
        ("overspent", "HTTP/2 connections closed for what they cost.", |one| &one.overspent),
        ("malformed", "HTTP/2 requests refused as malformed or above a limit.", |one| &one.malformed),
        ("panics", "Connections lost to a fault of this program.", |one| &one.panics),
    ];
    for (name, help, counter) in families {
        let name = format!("tidegate_listener_{name}_total");
        page.family(&name, "counter", help);
        for one in &gauges.listeners {
            let count = counter(one).load(Ordering::Relaxed);
            page.sample(&name, &[("listener", &one.address.to_string())], count);
        }
    }
}

/// The text so far. Writing to a string cannot fail, so results of `write!` are dropped.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn single(&mut self, name: &str, kind: &str, help: &str, value: u64) {
        self.family(name, kind, help);
        self.sample(name, &[], value);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        self.0.push_str(name);
        self.labels(labels, None);
        let _ = writeln!(self.0, " {value}");
    }

    fn histogram(
        &mut self,
        name: &str,
        labels: &[(&str, &str)],
        bounds: &[u64],
        buckets: &[u64],
        sum_micros: u64,
    ) {
        let mut below = 0u64;
        for (at, count) in buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            let _ = write!(self.0, "{name}_bucket");
            let bound = bounds.get(at).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros));
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.0, " {below}");
        }
        let _ = write!(self.0, "{name}_sum");
        self.labels(labels, None);
        let _ = write!(self.0, " {}\n{name}_count", seconds(sum_micros));
        self.labels(labels, None);
        let _ = writeln!(self.0, " {below}");
    }

    fn labels(&mut self, labels: &[(&str, &str)], bound: Option<&str>) {
        let mut first = true;
        for (name, value) in labels.iter().copied().chain(bound.map(|bound| ("le", bound))) {
            self.0.push(if first { '{' } else { ',' });
            first = false;
            let _ = write!(self.0, "{name}=\"");
            for character in value.chars() {
                match character {
                    '"' => self.0.push_str("\\\""),
                    '\\' => self.0.push_str("\\\\"),
                    '\n' => self.0.push_str("\\n"),
                    other => self.0.push(other),
                }
            }
            self.0.push('"');
        }
        if !first {
            self.0.push('}');
        }
    }
}

/// Microseconds as seconds, exactly.
fn seconds(micros: u64) -> String {
    let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Every outcome, in the order of [`CacheOutcome::index`].
pub(crate) const OUTCOMES: [CacheOutcome; CacheOutcome::COUNT] = [
    CacheOutcome::Hit,
    CacheOutcome::Stale,
    CacheOutcome::Miss,
    CacheOutcome::Collapsed,
    CacheOutcome::Revalidated,
    CacheOutcome::Pass,
    CacheOutcome::Generated,
];
/// Names of the classes of status.
pub(super) const CLASS_NAMES: [&str; super::metrics::CLASSES] = ["other", "1xx", "2xx", "3xx", "4xx", "5xx"];
/// The version built.
pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");
const LOG_DROPPED_HELP: &str = "Access log lines dropped because the target was too slow or refused them.";
