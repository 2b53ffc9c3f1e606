//! The settings as meant, written back as TOML with every default.
//!
//! Invariant: what is written here passes `check` and means the same, so it is its own effective form.

mod access;
mod geo;
mod log;
mod pool;
mod site;
mod steer;
mod transport;

use std::fmt::Write as _;
use std::time::Duration;

use super::check::{DISK_ADMISSION, MEMORY_ADMISSION, UNSYNCED};
use super::units::{duration_text, size_text};
use super::{Config, Crawlers, Listener, ListenerProtocol, NatsBus, Tier, TierKey};

/// The settings as TOML.
pub fn effective(config: &Config) -> String {
    let mut out = Page(String::new());
    out.line("node", &quoted(&config.node));
    out.line("workers", &config.workers.to_string());
    for listener in &config.listeners {
        out.listener(listener);
    }
    out.table("[admin]");
    let address = config.admin.address.as_ref().map_or_else(|| "off".to_owned(), ToString::to_string);
    out.line("address", &quoted(&address));
    if let Some(tokens) = &config.admin.tokens {
        out.line("tokens", &quoted(&tokens.display().to_string()));
    }
    out.table("[cache]");
    out.line("memory", &size(config.cache.memory_bytes));
    out.line("memory_admission", &named(&MEMORY_ADMISSION, &config.cache.memory_admission));
    out.line("object_max", &size(config.cache.object_bytes_max));
    if let Some(disk) = &config.cache.disk {
        let path = quoted(&disk.path.display().to_string());
        let admission = named(&DISK_ADMISSION, &disk.admission);
        let size = size(disk.bytes);
        out.line("disk", &format!("{{ path = {path}, size = {size}, admission = {admission} }}"));
    }
    if let Some(geo) = &config.geo {
        out.geo(geo);
    }
    if let Some(crawlers) = &config.crawlers {
        out.crawlers(crawlers);
    }
    if let Some(modsecurity) = &config.modsecurity {
        out.modsecurity(modsecurity);
    }
    out.limits(config);
    out.log(&config.log);
    out.trace(&config.log.trace);
    out.table("[purge]");
    out.line("method_from", &strings(config.purge.method_from.iter()));
    out.line("refresh_per_second", &config.purge.refresh_per_second.to_string());
    if let Some(NatsBus { servers, stream, replicas, credentials }) = &config.purge.bus {
        let (servers, stream) = (quoted(servers), quoted(stream));
        let credentials = credentials.as_ref().map_or_else(String::new, |path| {
            format!(", credentials = {}", quoted(&path.display().to_string()))
        });
        out.line(
            "bus",
            &format!("{{ nats = {servers}, stream = {stream}, replicas = {replicas}{credentials} }}"),
        );
    }
    out.line("unsynced", &named(&UNSYNCED, &config.purge.unsynced));
    out.line("unsynced_after", &quoted(&duration_text(config.purge.unsynced_after)));
    out.tier(&config.tier);
    for pool in config.pools.values() {
        out.pool(pool);
    }
    for site in &config.sites {
        out.site(site);
    }
    out.0
}

pub(super) struct Page(pub(super) String);

impl Page {
    fn table(&mut self, header: &str) {
        self.0.push('\n');
        self.0.push_str(header);
        self.0.push('\n');
    }

    fn line(&mut self, key: &str, value: &str) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "{key} = {value}");
    }

    fn listener(&mut self, listener: &Listener) {
        self.table("[[listener]]");
        self.line("address", &quoted(&listener.address.to_string()));
        if !listener.tls.is_empty() {
            let pair = |cert: &std::path::Path, key: &std::path::Path| {
                format!(
                    "{{ cert = {}, key = {} }}",
                    quoted(&cert.display().to_string()),
                    quoted(&key.display().to_string())
                )
            };
            let pairs: Vec<_> = listener.tls.iter().map(|one| pair(&one.cert, &one.key)).collect();
            self.line("tls", &format!("[{}]", pairs.join(", ")));
        }
        let name = |protocol: &ListenerProtocol| match protocol {
            ListenerProtocol::Http11 => "http/1.1",
            ListenerProtocol::H2 => "h2",
        };
        self.line("protocols", &strings(listener.protocols.iter().map(name)));
        self.line("trusted_proxies", &strings(listener.trusted_proxies.iter()));
        if let Some(trust) = &listener.proxy_protocol {
            self.line("proxy_protocol", &format!("{{ trust = {} }}", strings(trust.iter())));
        }
    }

    fn tier(&mut self, tier: &Tier) {
        if tier.parents.is_empty() && tier.key.is_none() && tier.children_from.is_empty() {
            return;
        }
        self.table("[tier]");
        let parents = tier.parents.iter().map(|parent| {
            let key = parent.key.as_ref().map(tier_key).map(|(key, value)| format!(", {key} = {value}"));
            format!("{{ url = {}{} }}", quoted(&parent.origin.name), key.unwrap_or_default())
        });
        let parents = parents.collect::<Vec<_>>().join(", ");
        if !parents.is_empty() {
            self.line("parents", &format!("[{parents}]"));
        }
        if let Some((key, value)) = tier.key.as_ref().map(tier_key) {
            self.line(key, &value);
        }
        self.line("children_from", &strings(tier.children_from.iter()));
        if let Some(ca) = &tier.ca {
            self.line("ca", &quoted(&ca.display().to_string()));
        }
    }

    fn crawlers(&mut self, crawlers: &Crawlers) {
        self.table("[crawlers]");
        self.line("agents", &strings(crawlers.agents.iter()));
        self.line("verified", &strings(crawlers.verified.iter()));
        self.line("verified_files", &strings(crawlers.verified_files.iter().map(|path| path.display())));
        self.line("concurrency", &crawlers.concurrency.to_string());
        self.line("concurrency_others", &crawlers.concurrency_others.to_string());
        self.line("queue_max", &crawlers.queue_max.to_string());
        self.line("queue_timeout", &time(crawlers.queue_timeout));
        self.line("stale", &time(crawlers.stale));
    }

    fn limits(&mut self, config: &Config) {
        let limits = &config.limits;
        self.table("[limits]");
        self.line("head_max", &size(limits.head_bytes_max as u64));
        self.line("fields_max", &limits.fields_max.to_string());
        self.line("target_max", &size(limits.target_bytes_max as u64));
        self.line("request_body_max", &size(limits.request_body_bytes_max));
        self.line("head_timeout", &time(limits.head_timeout));
        self.line("idle_timeout", &time(limits.idle_timeout));
        self.line("body_rate_min", &size(limits.body_rate_bytes_min));
        self.line("body_rate_window", &time(limits.body_rate_window));
        self.line("send_stall_timeout", &time(limits.send_stall_timeout));
        self.line("total_timeout", &time(limits.total_timeout));
        self.line("handshake_timeout", &time(limits.handshake_timeout));
        self.line("handshakes_max", &limits.handshakes_max.to_string());
        self.line("connections_max", &limits.connections_max.to_string());
        self.line("requests_per_connection_max", &limits.requests_per_connection_max.to_string());
        self.line("drain_timeout", &time(limits.drain_timeout));
        self.line("upgrade_timeout", &time(limits.upgrade_timeout));
    }
}

/// How settings call `value`.
fn named<T: PartialEq>(names: &[(&'static str, T)], value: &T) -> String {
    names.iter().find(|(_, one)| one == value).map_or_else(String::new, |(name, _)| quoted(name))
}

fn or_off(duration: Option<Duration>) -> String {
    duration.map_or_else(|| quoted("off"), time)
}

fn time(duration: Duration) -> String {
    quoted(&duration_text(duration))
}

fn size(bytes: u64) -> String {
    quoted(&size_text(bytes))
}

fn strings<T: ToString>(items: impl Iterator<Item = T>) -> String {
    let all: Vec<_> = items.map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", all.join(", "))
}

/// The key and its value.
fn tier_key(key: &TierKey) -> (&'static str, String) {
    match key {
        TierKey::None => ("key", quoted("none")),
        TierKey::Written(secret) => ("key", quoted(secret)),
        TierKey::File(path) => ("key_file", quoted(&path.display().to_string())),
    }
}

/// A basic string of TOML.
pub(crate) fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
