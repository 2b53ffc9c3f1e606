//! `[pool.NAME]`, written back.

use std::fmt::Write as _;

use super::super::{Concurrency, Health, HealthKind, HedgeAfter, Pool, Statuses};
use super::{Page, named, quoted, time};

impl Page {
    pub(super) fn pool(&mut self, pool: &Pool) {
        self.table(&format!("[pool.{}]", quoted(&pool.name)));
        self.line("origins", "[");
        for origin in &pool.origins {
            let (url, weight, backup) = (quoted(&origin.name), origin.weight, origin.backup);
            let _ = writeln!(self.0, "  {{ url = {url}, weight = {weight}, backup = {backup} }},");
        }
        self.0.push_str("]\n");
        self.line("balance", &quoted(pool.balance.as_str()));
        if let Some(at) = &pool.location {
            self.line("location", &format!("[{:?}, {:?}]", at.latitude(), at.longitude()));
        }
        if let Some(host) = &pool.host {
            self.line("host", &quoted(host));
        }
        if let Some(name) = &pool.server_name {
            self.line("server_name", &quoted(name));
        }
        self.line("verify", &pool.verify.to_string());
        if let Some(ca) = &pool.ca {
            self.line("ca", &quoted(&ca.display().to_string()));
        }
        self.line("connections_max", &pool.connections_max.to_string());
        self.line("concurrency", &named(&Concurrency::WORDS, &pool.concurrency));
        self.line("queue_max", &pool.queue_max.to_string());
        self.line("queue_timeout", &time(pool.queue_timeout));
        self.line("connect_timeout", &time(pool.connect_timeout));
        self.line("first_byte_timeout", &time(pool.first_byte_timeout));
        self.line("between_bytes_timeout", &time(pool.between_bytes_timeout));
        self.line("idle_timeout", &time(pool.idle_timeout));
        self.line("eject_after", &pool.eject_after.to_string());
        self.line("eject_for", &time(pool.eject_for));
        self.transport(&pool.transport);
        self.line("eject_failure_percent", &pool.eject_failure_percent.to_string());
        self.line("eject_max_percent", &pool.eject_max_percent.to_string());
        self.line("fail_status", &statuses(&pool.fail_status));
        self.line("hedge_after", &hedge_after(pool.hedge_after));
        if let Some(cookie) = &pool.sticky {
            self.line("sticky", &format!("{{ cookie = {} }}", quoted(cookie)));
        }
        self.line("slow_start", &time(pool.slow_start));
        if let Some(health) = &pool.health {
            self.line("health", &checks(health));
        }
    }
}

fn statuses(statuses: &Statuses) -> String {
    let shown = statuses.0.iter().map(|range| match (*range.start(), *range.end()) {
        (first, last) if first == last => first.to_string(),
        (first, last) if first % 100 == 0 && last == first + 99 => format!("\"{}xx\"", first / 100),
        (first, last) => format!("\"{first}-{last}\""),
    });
    format!("[{}]", shown.collect::<Vec<_>>().join(", "))
}

fn hedge_after(after: HedgeAfter) -> String {
    match after {
        HedgeAfter::Off => quoted("off"),
        HedgeAfter::Silence => quoted("silence"),
        HedgeAfter::P95 => quoted("p95"),
        HedgeAfter::Time(after) => time(after),
    }
}

fn checks(health: &Health) -> String {
    let mut out = format!("{{ kind = {}", quoted(health.kind.as_str()));
    if health.kind == HealthKind::Http {
        let _ = write!(out, ", path = {}", quoted(&health.path));
        if let Some(host) = &health.host {
            let _ = write!(out, ", host = {}", quoted(host));
        }
        let _ = write!(out, ", status = {}", statuses(&health.status));
        if let Some(body) = &health.body {
            let _ = write!(out, ", body = {}", quoted(body));
        }
    }
    let (every, timeout) = (time(health.every), time(health.timeout));
    let (unhealthy, healthy) = (health.unhealthy_after, health.healthy_after);
    let _ = write!(
        out,
        ", every = {every}, timeout = {timeout}, unhealthy_after = {unhealthy}, healthy_after = {healthy} }}"
    );
    out
}
