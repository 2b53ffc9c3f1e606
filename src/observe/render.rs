//! The counters as Prometheus reads them (text exposition format 0.0.4), under the names of the interface page.

use std::fmt::Write as _;

use super::Observe;
use super::gauges::Gauges;
use super::histogram::{BOUNDS_MICROS, Durations};
use super::metrics::Totals;
use crate::clock::Clock;
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
        origins(&mut page, gauges);
        page.family("tidegate_connections", "gauge", "Client connections open.");
        for one in &gauges.connections {
            page.sample(
                "tidegate_connections",
                &[("listener", &one.listener), ("protocol", one.protocol)],
                one.open,
            );
        }
        page.family("tidegate_connections_accepted_total", "counter", "Client connections accepted.");
        for one in &gauges.connections {
            let labels = [("listener", &*one.listener), ("protocol", one.protocol)];
            page.sample("tidegate_connections_accepted_total", &labels, one.accepted);
        }
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
        page.histogram("tidegate_request_duration_seconds", &[("cache", outcome.as_str())], durations);
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
}

fn origins(page: &mut Page, gauges: &Gauges) {
    page.family("tidegate_origin_requests_total", "counter", "Requests sent to origins, by class of status.");
    for one in &gauges.origins {
        for (class, count) in CLASS_NAMES.iter().zip(one.requests).filter(|(_, count)| *count > 0) {
            let class = if *class == CLASS_NAMES[0] { "none" } else { class };
            let labels = [("pool", &*one.pool), ("origin", &*one.origin), ("status", class)];
            page.sample("tidegate_origin_requests_total", &labels, count);
        }
    }
    page.family(
        "tidegate_origin_duration_seconds",
        "histogram",
        "From the request to an origin to its head.",
    );
    for one in gauges.origins.iter().filter(|one| one.durations.count() > 0) {
        let labels = [("pool", &*one.pool), ("origin", &*one.origin)];
        page.histogram("tidegate_origin_duration_seconds", &labels, &one.durations);
    }
    page.family("tidegate_origin_healthy", "gauge", "1 where requests are sent to the origin.");
    for one in &gauges.origins {
        let labels = [("pool", &*one.pool), ("origin", &*one.origin)];
        page.sample("tidegate_origin_healthy", &labels, u64::from(one.healthy));
    }
    page.family("tidegate_origin_connections", "gauge", "Connections open to the origin.");
    for one in &gauges.origins {
        let labels = [("pool", &*one.pool), ("origin", &*one.origin)];
        page.sample("tidegate_origin_connections", &labels, one.connections);
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

    fn histogram(&mut self, name: &str, labels: &[(&str, &str)], durations: &Durations) {
        let mut below = 0u64;
        for (at, count) in durations.buckets.iter().enumerate() {
            below = below.saturating_add(*count);
            let _ = write!(self.0, "{name}_bucket");
            let bound = BOUNDS_MICROS.get(at).map_or_else(|| "+Inf".to_owned(), |micros| seconds(*micros));
            self.labels(labels, Some(&bound));
            let _ = writeln!(self.0, " {below}");
        }
        let _ = write!(self.0, "{name}_sum");
        self.labels(labels, None);
        let _ = write!(self.0, " {}\n{name}_count", seconds(durations.sum_micros));
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
pub(super) const OUTCOMES: [CacheOutcome; CacheOutcome::COUNT] = [
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
