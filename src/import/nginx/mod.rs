//! nginx's settings as ours: what is known, level by level, and what is said about the rest.
//!
//! `syntax.rs` reads directives; `server.rs` makes sites and listeners of `server` blocks, `location.rs` routes of `location` blocks
//! in the order in which nginx would try them, `policy.rs` what each of them says, `upstream.rs` pools; `told.rs` knows what needs
//! nothing here and what has no counterpart.

mod location;
mod policy;
mod server;
mod syntax;
mod text;
mod told;
mod upstream;

use std::collections::BTreeMap;
use std::path::Path;
use std::rc::Rc;

use super::Unread;
use super::draft::{self, Draft};
use super::source::Files;
use syntax::Directive;

/// What the whole file says, for all servers.
struct World<'c> {
    http: Vec<&'c Directive>,
    upstreams: BTreeMap<&'c str, &'c Directive>,
    /// Zones of `proxy_cache_path`, with their `inactive` in milliseconds.
    zones: BTreeMap<String, u64>,
    /// Zones of `limit_req_zone`: requests per so many seconds.
    rates: BTreeMap<String, (u64, u64)>,
    /// Zones of `limit_conn_zone` by client.
    conns: Vec<String>,
}

/// The levels that a directive may stand on, the outermost first.
#[derive(Clone, Default)]
struct Levels<'c>(Vec<Rc<[&'c Directive]>>);

impl<'c> Levels<'c> {
    /// One level deeper.
    fn within(&self, block: &'c [Directive]) -> Self {
        let mut levels = self.0.clone();
        levels.push(block.iter().collect());
        Self(levels)
    }

    /// All directives of this name on the nearest level that has one: nearer ones replace those further away.
    fn all(&self, name: &str) -> Vec<&'c Directive> {
        for level in self.0.iter().rev() {
            let here: Vec<_> = level.iter().copied().filter(|directive| directive.name == name).collect();
            if !here.is_empty() {
                return here;
            }
        }
        Vec::new()
    }

    /// The last one of this name on the nearest level.
    fn one(&self, name: &str) -> Option<&'c Directive> {
        self.all(name).pop()
    }

    /// The nearest of several names: a gateway's own directive or another's.
    fn any(&self, names: &[&str]) -> Option<&'c Directive> {
        self.0.iter().rev().find_map(|level| {
            level.iter().copied().rev().find(|directive| names.contains(&directive.name.as_str()))
        })
    }

    /// Those of the innermost level alone: they are not inherited.
    fn here(&self, name: &str) -> Vec<&'c Directive> {
        self.0.last().map_or_else(Vec::new, |level| {
            level.iter().copied().filter(|directive| directive.name == name).collect()
        })
    }

    /// Whether a switch is on.
    fn is_on(&self, name: &str) -> bool {
        self.one(name).is_some_and(|directive| directive.argument(0) == "on")
    }
}

/// Reads `path` into the draft.
pub(super) fn read(path: &Path, files: Files, draft: &mut Draft) -> Result<(), Unread> {
    let all = syntax::parse(path, files, draft)?;
    // A file of sites-enabled has servers at its top; a whole one has them in `http`.
    let mut http: Vec<&Directive> = Vec::new();
    for directive in &all {
        match (directive.name.as_str(), &directive.block) {
            ("http", Some(block)) => http.extend(block),
            ("stream" | "mail", Some(_)) => {}
            _ => http.push(directive),
        }
    }
    let world = World::of(http, draft);
    told::tell(&all, draft);
    server::servers(&world, draft);
    whole_node(&world, draft);
    Ok(())
}

impl<'c> World<'c> {
    fn of(http: Vec<&'c Directive>, draft: &mut Draft) -> Self {
        let mut world = Self {
            http,
            upstreams: BTreeMap::new(),
            zones: BTreeMap::new(),
            rates: BTreeMap::new(),
            conns: Vec::new(),
        };
        let mut disk: Option<(String, u64)> = None;
        for directive in world.http.clone() {
            match directive.name.as_str() {
                "upstream" => {
                    world.upstreams.insert(directive.argument(0), directive);
                }
                "proxy_cache_path" | "fastcgi_cache_path" | "uwsgi_cache_path" | "scgi_cache_path" => {
                    let value = |key: &str| {
                        directive.arguments.iter().find_map(|argument| argument.strip_prefix(key))
                    };
                    let name = value("keys_zone=").unwrap_or_default().split(':').next().unwrap_or_default();
                    let inactive = value("inactive=").and_then(text::millis).unwrap_or(600_000);
                    world.zones.insert(name.to_owned(), inactive);
                    let size = value("max_size=").and_then(text::bytes).unwrap_or(10 << 30);
                    match &mut disk {
                        None => disk = Some((directive.argument(0).to_owned(), size)),
                        Some((_, total)) => {
                            *total = total.saturating_add(size);
                            draft.note(
                                &directive.place,
                                "a second cache: Tidegate has one, for all sites",
                                "its size was added to the first one's; see [cache] disk",
                            );
                        }
                    }
                }
                "limit_req_zone" => world.rate(directive, draft),
                "limit_conn_zone" => {
                    let name = zone_name(directive);
                    if by_client(directive.argument(0)) {
                        world.conns.push(name);
                    } else {
                        draft.note(
                            &directive.place,
                            format!("`{}`: connections are counted by client only", directive.shown()),
                            "write access = { rate = { …, by = \"route\" } } for a limit of everybody together",
                        );
                    }
                }
                _ => {}
            }
        }
        if let Some((path, size)) = disk {
            // A directory of its own: what nginx wrote cannot be read, and would be in the way.
            let path = format!("{}-tidegate", path.trim_end_matches('/'));
            let size = draft::text(&crate::config::units::size_text(size.max(64 << 20)));
            draft.table("cache").set("disk", format!("{{ path = {}, size = {size} }}", draft::text(&path)));
        }
        world
    }

    fn rate(&mut self, directive: &Directive, draft: &mut Draft) {
        let rate = directive.arguments.iter().find_map(|argument| argument.strip_prefix("rate="));
        let read = rate.and_then(|rate| match (rate.strip_suffix("r/s"), rate.strip_suffix("r/m")) {
            (Some(count), _) => Some((count.parse().ok()?, 1)),
            (_, Some(count)) => Some((count.parse().ok()?, 60)),
            _ => None,
        });
        match read.filter(|_| by_client(directive.argument(0))) {
            Some(rate) => {
                self.rates.insert(zone_name(directive), rate);
            }
            None => draft.note(
                &directive.place,
                format!("`{}`: only rates by client are translated", directive.shown()),
                "write access = { rate = { requests = 100, per = \"1s\", by = { header = \"x-api-key\" } } } for others",
            ),
        }
    }
}

fn zone_name(directive: &Directive) -> String {
    let zone =
        directive.arguments.iter().find_map(|argument| argument.strip_prefix("zone=")).unwrap_or_default();
    zone.split(':').next().unwrap_or_default().to_owned()
}

fn by_client(key: &str) -> bool {
    matches!(key, "$binary_remote_addr" | "$remote_addr")
}

/// What holds for the node as a whole: limits, the access log.
fn whole_node(world: &World<'_>, draft: &mut Draft) {
    let mut levels: Vec<Levels<'_>> = vec![Levels(vec![world.http.as_slice().into()])];
    for server in world.http.iter().filter(|directive| directive.name == "server") {
        if let Some(block) = &server.block {
            levels.push(Levels(vec![block.iter().collect()]));
        }
    }
    let largest = |name: &str, read: fn(&str) -> Option<u64>| {
        let all =
            levels.iter().flat_map(|level| level.here(name)).map(|directive| read(directive.argument(0)));
        all.flatten().max()
    };
    // nginx refuses bodies above 1 MiB where nothing is written.
    let bytes = largest("client_max_body_size", text::bytes);
    if let Some(bytes) = bytes.filter(|bytes| *bytes > 0) {
        let size = draft::text(&crate::config::units::size_text(bytes));
        draft.table("limits").set_with("request_body_max", size, "client_max_body_size, the largest of them");
    }
    for (name, key) in [
        ("client_header_timeout", "head_timeout"),
        ("keepalive_timeout", "idle_timeout"),
        ("send_timeout", "send_stall_timeout"),
    ] {
        if let Some(millis) = largest(name, text::millis).filter(|millis| *millis > 0) {
            draft.table("limits").set_with(key, draft::duration(millis), name);
        }
    }
    if let Some(count) = largest("keepalive_requests", |text| text.parse().ok()).filter(|count| *count > 0) {
        draft.table("limits").set("requests_per_connection_max", count.to_string());
    }
    let log = levels.iter().flat_map(|level| level.here("access_log")).find(|log| log.argument(0) != "off");
    if let Some(log) =
        log.filter(|log| text::is_plain(log.argument(0)) && !log.argument(0).starts_with("syslog:"))
    {
        draft.table("log").set("access", draft::text(log.argument(0)));
        draft.table("log").set_with(
            "format",
            "\"combined\"",
            "\"json\" says more: what the cache did, and why",
        );
    }
}
