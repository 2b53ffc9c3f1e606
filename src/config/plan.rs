//! What is different between two versions of the settings, in an operator's words.
//!
//! Both are written back with every default (`effective/`) and compared key by key, so a setting cannot be forgotten here.
//! What a running node cannot take up is said so: it needs a restart.

use std::collections::BTreeMap;

use serde::Serialize;
use toml::{Table, Value};

use super::Config;
use super::effective::effective;

/// One difference.
#[derive(Clone, PartialEq, Eq, Serialize, Debug)]
pub struct Change {
    /// The part of the settings: `[pool.eu]`, `site www.example.com, route /api/*`.
    pub place: String,
    /// What becomes of it.
    pub what: String,
    /// A running node does not take it up.
    pub restart: bool,
}

/// The differences, in the order of the settings. Empty where both mean the same.
pub fn plan(from: &Config, to: &Config) -> Vec<Change> {
    let (from, to) = (Parts::of(from), Parts::of(to));
    let mut changes = Vec::new();
    for (place, keys) in &from.parts {
        match to.parts.get(place) {
            None => changes.push(Change::of(place, None, "removed".to_owned())),
            Some(now) => compare(place, keys, now, &mut changes),
        }
    }
    for place in to.parts.keys().filter(|place| !from.parts.contains_key(*place)) {
        changes.push(Change::of(place, None, "added".to_owned()));
    }
    if in_both(&from, &to) != in_both(&to, &from) {
        changes.push(Change::of(&Place::Sites, None, "sites or routes stand in another order".to_owned()));
    }
    changes
}

/// A part of the settings.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Place {
    Root,
    Listener(String),
    Table(String),
    Pool(String),
    Sites,
    Site(String),
    Route(String, String),
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Root => f.write_str("the node"),
            Self::Listener(address) => write!(f, "listener {address}"),
            Self::Table(name) => write!(f, "[{name}]"),
            Self::Pool(name) => write!(f, "[pool.{name}]"),
            Self::Sites => f.write_str("sites"),
            Self::Site(host) => write!(f, "site {host}"),
            Self::Route(host, route) => write!(f, "site {host}, route {route}"),
        }
    }
}

/// The settings by part.
struct Parts {
    parts: BTreeMap<Place, Table>,
    /// Sites and routes as they follow each other: the first that matches decides.
    order: Vec<Place>,
}

impl Parts {
    fn of(config: &Config) -> Self {
        let mut parts = Self { parts: BTreeMap::new(), order: Vec::new() };
        // What `effective` writes can be read: tests see to it.
        let Ok(whole) = effective(config).parse::<Table>() else { return parts };
        let mut root = Table::new();
        for (key, value) in whole {
            match (key.as_str(), value) {
                ("listener", Value::Array(listeners)) => {
                    for listener in listeners.into_iter().filter_map(table) {
                        let address = text(&listener, "address");
                        parts.add(|at| Place::Listener(numbered(address.clone(), at)), &listener);
                    }
                }
                ("pool", Value::Table(pools)) => {
                    for (name, pool) in pools {
                        let pool = table(pool).unwrap_or_default();
                        parts.add(|at| Place::Pool(numbered(name.clone(), at)), &pool);
                    }
                }
                ("site", Value::Array(sites)) => {
                    sites.into_iter().filter_map(table).for_each(|site| parts.site(site));
                }
                (_, Value::Table(table)) => {
                    parts.add(|_| Place::Table(key.clone()), &table);
                }
                (_, value) => drop(root.insert(key, value)),
            }
        }
        parts.add(|_| Place::Root, &root);
        parts
    }

    fn site(&mut self, mut site: Table) {
        let routes = site.remove("route");
        let host = match site.get("hosts").and_then(Value::as_array).and_then(|hosts| hosts.first()) {
            Some(Value::String(host)) => host.clone(),
            _ => "-".to_owned(),
        };
        self.add_ordered(|at| Place::Site(numbered(host.clone(), at)), &site);
        let Some(Value::Array(routes)) = routes else { return };
        for route in routes.into_iter().filter_map(table) {
            let methods =
                route.get("methods").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let methods = methods.iter().filter_map(Value::as_str).map(|method| format!(" {method}"));
            let name = route.get("path").map(plain).unwrap_or_default() + &methods.collect::<String>();
            self.add_ordered(|at| Place::Route(host.clone(), numbered(name.clone(), at)), &route);
        }
    }

    /// Adds a part under the first name, counted from 1, that is not taken.
    fn add(&mut self, name: impl Fn(usize) -> Place, part: &Table) -> Place {
        let mut at = 1;
        while self.parts.contains_key(&name(at)) {
            at += 1;
        }
        self.parts.insert(name(at), part.clone());
        name(at)
    }

    fn add_ordered(&mut self, name: impl Fn(usize) -> Place, part: &Table) {
        let place = self.add(name, part);
        self.order.push(place);
    }
}

impl Change {
    fn of(place: &Place, key: Option<&str>, what: String) -> Self {
        let restart = match place {
            Place::Root => true,
            Place::Listener(_) => key != Some("tls"),
            Place::Table(table) => !is_live(table, key),
            Place::Pool(_) | Place::Sites | Place::Site(_) | Place::Route(..) => false,
        };
        Self { place: place.to_string(), what, restart }
    }
}

/// Whether a running node takes a change of this up.
fn is_live(table: &str, key: Option<&str>) -> bool {
    match table {
        "log" | "geo" | "crawlers" | "modsecurity" => true,
        "admin" => key == Some("tokens"),
        "purge" => matches!(key, Some("method_from" | "refresh_per_second")),
        _ => false,
    }
}

fn compare(place: &Place, from: &Table, to: &Table, changes: &mut Vec<Change>) {
    for (key, was) in from {
        let is = to.get(key);
        if is == Some(was) {
            continue;
        }
        let what = if is_secret(key) {
            format!("{key} is another")
        } else {
            // Two lists are told whole, or what differs could be in the part that is left out.
            let long = is.is_none_or(|is| is.type_str() != was.type_str());
            let told = |value: &Value| if long { plain(&shortened(value)) } else { plain(value) };
            format!("{key}: {} → {}", told(was), is.map_or_else(|| "none".to_owned(), told))
        };
        let mut change = Change::of(place, Some(key), what);
        // Other certificates are shown; TLS is not switched off.
        change.restart |= is.is_none() && matches!(place, Place::Listener(_));
        changes.push(change);
    }
    for (key, is) in to.iter().filter(|(key, _)| !from.contains_key(*key)) {
        let what = if is_secret(key) {
            format!("{key} is new")
        } else {
            format!("{key}: none → {}", plain(&shortened(is)))
        };
        let mut change = Change::of(place, Some(key), what);
        change.restart |= matches!(place, Place::Listener(_));
        changes.push(change);
    }
}

fn in_both<'p>(of: &'p Parts, other: &Parts) -> Vec<&'p Place> {
    of.order.iter().filter(|place| other.parts.contains_key(place)).collect()
}

/// Whether what stands there is nobody's to see; `parents` may hold keys, `bus` a password, `request_headers` what a node proves
/// itself to origins by.
fn is_secret(key: &str) -> bool {
    ["key", "parents", "bus", "request_headers", "secret", "users", "keys", "password"].contains(&key)
}

fn table(value: Value) -> Option<Table> {
    match value {
        Value::Table(table) => Some(table),
        _ => None,
    }
}

fn text(table: &Table, key: &str) -> String {
    table.get(key).map(plain).unwrap_or_default()
}

/// A value as people write it: text without quotes.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value whose lists are told by their beginning.
fn shortened(value: &Value) -> Value {
    match value {
        Value::Array(all) if all.len() > LIST_TOLD_MAX => {
            let mut some: Vec<Value> = all.iter().take(LIST_TOLD_MAX - 1).map(shortened).collect();
            some.push(Value::String(format!("and {} more", all.len() - some.len())));
            Value::Array(some)
        }
        Value::Array(all) => Value::Array(all.iter().map(shortened).collect()),
        Value::Table(table) => {
            Value::Table(table.iter().map(|(key, value)| (key.clone(), shortened(value))).collect())
        }
        other => other.clone(),
    }
}

/// So many members of a list that takes the place of something else are told.
const LIST_TOLD_MAX: usize = 6;

fn numbered(name: String, at: usize) -> String {
    if at == 1 { name } else { format!("{name} ({at})") }
}
