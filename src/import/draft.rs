//! Settings in the making, and how they are written: TOML that a person goes on editing, each part with the place it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Dialect, Imported, Note, Place};

/// Keys of a table in the order in which they were set; a key that is set again is replaced.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Keys(Vec<Key>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Key {
    name: &'static str,
    /// As TOML.
    value: String,
    /// Said behind it.
    remark: String,
}

/// What is done to fields of requests or answers.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Headers {
    pub(crate) set: Vec<(String, String)>,
    pub(crate) add: Vec<(String, String)>,
    pub(crate) remove: Vec<String>,
}

/// What a site or a route says.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Block {
    pub(crate) keys: Keys,
    pub(crate) request: Headers,
    pub(crate) response: Headers,
    /// Parts of `access`.
    pub(crate) access: Keys,
}

/// A `[[listener]]`.
#[derive(Clone, Debug)]
pub(crate) struct Listener {
    pub(crate) address: String,
    pub(crate) certificates: Vec<(String, String)>,
    pub(crate) keys: Keys,
    pub(crate) place: Place,
}

/// A `[pool.NAME]`.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    pub(crate) name: String,
    pub(crate) origins: Vec<Origin>,
    pub(crate) keys: Keys,
    pub(crate) place: Place,
}

/// One of its origins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Origin {
    pub(crate) url: String,
    pub(crate) weight: u32,
    pub(crate) backup: bool,
}

/// A `[[site]]`.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    pub(crate) hosts: Vec<String>,
    pub(crate) block: Block,
    /// As TOML.
    pub(crate) redirects: Vec<String>,
    pub(crate) routes: Vec<Route>,
    pub(crate) place: Place,
}

/// A `[[site.route]]`.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    /// As TOML: a text, or `{ regex = "…" }`.
    pub(crate) path: String,
    pub(crate) block: Block,
    pub(crate) place: Place,
}

/// A settings file in the making.
#[derive(Debug, Default)]
pub(crate) struct Draft {
    pub(crate) listeners: Vec<Listener>,
    /// `[cache]`, `[limits]`, `[log]`, `[admin]`.
    pub(crate) tables: BTreeMap<&'static str, Keys>,
    pub(crate) pools: Vec<Pool>,
    pub(crate) sites: Vec<Site>,
    notes: Vec<Note>,
}

impl Keys {
    /// Sets a key to a value that is TOML already.
    pub(crate) fn set(&mut self, name: &'static str, value: impl Into<String>) {
        self.set_with(name, value, "");
    }

    /// The same, with a remark behind it.
    pub(crate) fn set_with(&mut self, name: &'static str, value: impl Into<String>, remark: &str) {
        self.0.retain(|key| key.name != name);
        self.0.push(Key { name, value: value.into(), remark: one_line(remark) });
    }

    /// The same in front of all others.
    pub(crate) fn set_first(&mut self, name: &'static str, value: String) {
        self.unset(name);
        self.0.insert(0, Key { name, value, remark: String::new() });
    }

    /// The value of a key, as TOML.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|key| key.name == name).map(|key| key.value.as_str())
    }

    /// Takes a key out.
    pub(crate) fn unset(&mut self, name: &str) {
        self.0.retain(|key| key.name != name);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As a table on one line.
    pub(crate) fn inline(&self) -> String {
        let keys: Vec<String> = self.0.iter().map(|key| format!("{} = {}", key.name, key.value)).collect();
        format!("{{ {} }}", keys.join(", "))
    }

    fn write(&self, out: &mut String) {
        for Key { name, value, remark } in &self.0 {
            let behind = if remark.is_empty() { String::new() } else { format!("     # {remark}") };
            let _ = writeln!(out, "{name} = {value}{behind}");
        }
    }
}

impl Headers {
    fn inline(&self) -> Option<String> {
        let mut parts = Vec::new();
        if !self.set.is_empty() {
            let set: Vec<_> =
                self.set.iter().map(|(name, value)| format!("{} = {}", key(name), text(value))).collect();
            parts.push(format!("set = {{ {} }}", set.join(", ")));
        }
        if !self.add.is_empty() {
            let mut by_name: Vec<(&str, Vec<String>)> = Vec::new();
            for (name, value) in &self.add {
                match by_name.iter_mut().find(|(known, _)| known == name) {
                    Some((_, values)) => values.push(text(value)),
                    None => by_name.push((name, vec![text(value)])),
                }
            }
            let add: Vec<_> = by_name
                .iter()
                .map(|(name, values)| match values.as_slice() {
                    [one] => format!("{} = {one}", key(name)),
                    values => format!("{} = [{}]", key(name), values.join(", ")),
                })
                .collect();
            parts.push(format!("add = {{ {} }}", add.join(", ")));
        }
        if !self.remove.is_empty() {
            parts.push(format!("remove = {}", texts(&self.remove)));
        }
        (!parts.is_empty()).then(|| format!("{{ {} }}", parts.join(", ")))
    }
}

impl Block {
    /// What a route has to write where its site says `ground` already: the differences, and what takes back what the route does
    /// not have. `Err` names fields that a route cannot take back.
    pub(crate) fn beside(&self, ground: &Self) -> (Self, Vec<String>) {
        let mut own = self.clone();
        let mut left = Vec::new();
        let answers = self.keys.get("respond").is_some() || self.keys.get("redirect").is_some();
        let stores = self.keys.get("cache") != Some("\"off\"");
        for key in &ground.keys.0 {
            // What is answered here is not fetched, and what is not stored has no lifetime.
            let matters = match key.name {
                "https_only" | "x_cache" | "respond" | "redirect" | "maintenance" | "allow_methods" => true,
                "default_ttl"
                | "ttl"
                | "negative_ttl"
                | "stale_while_revalidate"
                | "stale_if_error"
                | "bypass"
                | "encode"
                | "set_cookie"
                | "key" => stores && !answers,
                _ => !answers,
            };
            if !matters {
                if self.keys.get(key.name) == Some(key.value.as_str()) {
                    own.keys.unset(key.name);
                }
                continue;
            }
            match self.keys.get(key.name) {
                Some(value) if value == key.value => own.keys.unset(key.name),
                Some(_) => {}
                None => match neutral(key.name) {
                    Some(value) => own.keys.set(key.name, value),
                    None => left.push(key.name.to_owned()),
                },
            }
        }
        if self.access == ground.access {
            own.access = Keys::default();
        } else if self.access.is_empty() {
            own.keys.set("access", "\"off\"");
        } else {
            for key in &ground.access.0 {
                if self.access.get(key.name).is_none() {
                    own.access
                        .set(key.name, if matches!(key.name, "allow" | "deny") { "[]" } else { "\"off\"" });
                }
            }
        }
        for (own, whole, ground) in [
            (&mut own.request, &self.request, &ground.request),
            (&mut own.response, &self.response, &ground.response),
        ] {
            own.set.retain(|one| !ground.set.contains(one));
            own.add.retain(|one| !ground.add.contains(one));
            own.remove.retain(|one| !ground.remove.contains(one));
            for (name, _) in ground.set.iter().chain(&ground.add) {
                let kept = whole.set.iter().chain(&whole.add).any(|(known, _)| known == name);
                if !kept && !own.remove.contains(name) {
                    // It would take the origin's field of that name away too; to be looked at.
                    left.push(name.clone());
                }
            }
        }
        (own, left)
    }

    fn write(&self, out: &mut String) {
        self.keys.write(out);
        if !self.access.is_empty() {
            let _ = writeln!(out, "access = {}", self.access.inline());
        }
        for (key, headers) in [("request_headers", &self.request), ("response_headers", &self.response)] {
            if let Some(value) = headers.inline() {
                let _ = writeln!(out, "{key} = {value}");
            }
        }
    }
}

/// What a route writes to take back what its site says, where there is such a word.
fn neutral(key: &str) -> Option<&'static str> {
    Some(match key {
        "cache" => "\"on\"",
        "https_only" | "x_cache" => "false",
        "allow_methods" => "[]",
        "set_cookie" => "\"refuse\"",
        "default_ttl"
        | "ttl"
        | "negative_ttl"
        | "stale_while_revalidate"
        | "stale_if_error"
        | "bypass"
        | "encode"
        | "upgrade"
        | "rewrite"
        | "respond"
        | "redirect"
        | "maintenance" => "\"off\"",
        _ => return None,
    })
}

impl Draft {
    /// Says what could not be translated.
    pub(crate) fn note(&mut self, place: &Place, what: impl Into<String>, instead: impl Into<String>) {
        let note =
            Note { place: place.clone(), what: one_line(&what.into()), instead: one_line(&instead.into()) };
        if !self.notes.contains(&note) && self.notes.len() < crate::config::limits::IMPORT_NOTES_MAX {
            self.notes.push(note);
        }
    }

    /// The keys of `[name]`.
    pub(crate) fn table(&mut self, name: &'static str) -> &mut Keys {
        self.tables.entry(name).or_default()
    }

    /// A name for a pool that no other has.
    pub(crate) fn free_pool_name(&self, wanted: &str) -> String {
        let mut base: String = wanted
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' })
            .collect();
        base.truncate(40);
        let base = base.trim_matches('-');
        let base = if base.is_empty() { "pool" } else { base };
        let taken = |name: &str| self.pools.iter().any(|pool| pool.name == name);
        if !taken(base) {
            return base.to_owned();
        }
        (2..u32::MAX).map(|at| format!("{base}-{at}")).find(|name| !taken(name)).unwrap_or_default()
    }

    /// Writes it.
    pub(crate) fn finish(mut self, dialect: Dialect, name: &str) -> Imported {
        self.notes.sort_by(|one, other| one.place.cmp(&other.place));
        let server = match dialect {
            Dialect::Nginx => "nginx",
            Dialect::Caddy => "Caddy",
        };
        let mut out = String::new();
        let _ = writeln!(
            out,
            "# Made by `tidegate import` from {server}'s settings in {}.\n# Read it, then: tidegate check, tidegate run.",
            one_line(name)
        );
        let _ = match self.notes.len() {
            0 => writeln!(out, "# Everything in it has its counterpart here."),
            1 => writeln!(out, "# One thing needs a look: the note at the end."),
            count => writeln!(out, "# {count} things need a look: the notes at the end."),
        };
        for listener in &self.listeners {
            let _ = writeln!(
                out,
                "\n[[listener]]     # {}\naddress = {}",
                listener.place,
                text(&listener.address)
            );
            if !listener.certificates.is_empty() {
                let list: Vec<_> = listener
                    .certificates
                    .iter()
                    .map(|(cert, key)| format!("{{ cert = {}, key = {} }}", text(cert), text(key)))
                    .collect();
                let _ = writeln!(out, "tls = [ {} ]", list.join(", "));
            }
            listener.keys.write(&mut out);
        }
        for name in ["admin", "cache", "limits"] {
            self.write_table(name, &mut out);
        }
        for pool in &self.pools {
            let _ = writeln!(out, "\n[pool.{}]     # {}", key(&pool.name), pool.place);
            let origins: Vec<_> = pool.origins.iter().map(Origin::inline).collect();
            let _ = writeln!(out, "origins = [ {} ]", origins.join(", "));
            pool.keys.write(&mut out);
        }
        for site in &self.sites {
            site.write(&mut out);
        }
        self.write_table("log", &mut out);
        if !self.notes.is_empty() {
            out.push_str("\n# What has no counterpart, or needs a look:\n");
            for note in &self.notes {
                let _ = writeln!(out, "#   {}", one_line(&note.to_string()));
            }
        }
        Imported { settings: out, notes: self.notes }
    }

    fn write_table(&self, name: &str, out: &mut String) {
        if let Some(keys) = self.tables.get(name).filter(|keys| !keys.is_empty()) {
            let _ = writeln!(out, "\n[{name}]");
            keys.write(out);
        }
    }
}

impl Origin {
    /// As a table on one line.
    pub(crate) fn inline(&self) -> String {
        if self.weight == 1 && !self.backup {
            return text(&self.url);
        }
        let weight = if self.weight == 1 { String::new() } else { format!(", weight = {}", self.weight) };
        let backup = if self.backup { ", backup = true" } else { "" };
        format!("{{ url = {}{weight}{backup} }}", text(&self.url))
    }
}

impl Site {
    fn write(&self, out: &mut String) {
        let _ = writeln!(out, "\n[[site]]     # {}\nhosts = {}", self.place, texts(&self.hosts));
        self.block.write(out);
        if !self.redirects.is_empty() {
            let _ = writeln!(out, "redirects = [\n    {},\n]", self.redirects.join(",\n    "));
        }
        for route in &self.routes {
            let _ = writeln!(out, "\n[[site.route]]     # {}\npath = {}", route.place, route.path);
            route.block.write(out);
        }
    }
}

/// A text as TOML.
pub(crate) fn text(text: &str) -> String {
    let mut out = String::with_capacity(text.len().saturating_add(2));
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A list of texts as TOML.
pub(crate) fn texts<T: AsRef<str>>(list: &[T]) -> String {
    let list: Vec<_> = list.iter().map(|one| text(one.as_ref())).collect();
    format!("[{}]", list.join(", "))
}

/// A key as TOML, quoted where it must be.
fn key(name: &str) -> String {
    let bare =
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if bare { name.to_owned() } else { text(name) }
}

/// A duration as ours, of milliseconds.
pub(crate) fn duration(millis: u64) -> String {
    text(&crate::config::units::duration_text(std::time::Duration::from_millis(millis)))
}

/// What stands in a comment.
pub(super) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
