//! `match` of a route: what else than path and method a request must be like.

use geo::Code;
use http::HeaderName;

use super::super::file::{Item, Section};
use super::super::limits::CONDITIONS_MAX;
use super::super::mistake::Complaint;
use super::super::{Conditions, Glob, Wanted, value};
use super::NETWORKS_EXAMPLE;
use super::steer::country;

/// The conditions of a route's `match`, if it has one.
pub(super) fn conditions(section: &Section<'_>, has_geo: bool) -> Conditions {
    let Some(item) = section.item("match") else { return Conditions::default() };
    let Some(section) = item.section("`match`".to_owned()) else { return Conditions::default() };
    let client = section.item("client").and_then(|item| {
        refuse_empty(&item, NETWORKS_EXAMPLE);
        item.list_of(NETWORKS_EXAMPLE, value::network)
    });
    let conditions = Conditions {
        header: wanted(&section, "header", value::field_name),
        query: wanted(&section, "query", value::exact_name),
        cookie: wanted(&section, "cookie", value::exact_name),
        client: client.unwrap_or_default(),
        country: section.item("country").map(|item| countries(&item, has_geo)).unwrap_or_default(),
    };
    section.close();
    let count = conditions.header.len() + conditions.query.len() + conditions.cookie.len();
    if count > CONDITIONS_MAX {
        let message = format!("`match` has {count} conditions");
        let help = format!("write at most {CONDITIONS_MAX}, or several routes");
        item.tell(Complaint::new("range", message, "too many", help));
    }
    for (name, _) in &conditions.header {
        if UNSEEN.contains(&name.as_str()) {
            let message = format!("a route cannot be chosen by `{name}`");
            let help =
                "it speaks of one connection, or is written by every node on the way; choose another field";
            item.tell(Complaint::new("field", message, "here", help));
        }
    }
    conditions
}

/// What makes requests go around the cache, if `bypass` is written: names of cookies and parameters, and conditions on fields.
pub(super) fn bypass(section: &Section<'_>) -> Option<Conditions> {
    let item = section.item("bypass")?;
    if item.as_text().is_some() {
        return item.word_or(&[("off", Conditions::default())], BYPASS_EXAMPLE);
    }
    let section = item.section("`bypass`".to_owned())?;
    let bypass = Conditions {
        header: wanted(&section, "header", value::field_name),
        query: any_of(&section, "query"),
        cookie: any_of(&section, "cookie"),
        client: section
            .item("client")
            .and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network))
            .unwrap_or_default(),
        country: Vec::new(),
    };
    section.close();
    if bypass.is_empty() {
        item.tell(Complaint::new(
            "empty",
            "`bypass` says nothing",
            "empty",
            format!("write bypass = {BYPASS_EXAMPLE}"),
        ));
    }
    Some(bypass)
}

/// Countries by their codes, each once and in order: it is part of the keys of the route's answers.
fn countries(item: &Item<'_>, has_geo: bool) -> Vec<Code> {
    refuse_empty(item, COUNTRY_EXAMPLE);
    let mut codes = item.list_of(COUNTRY_EXAMPLE, country).unwrap_or_default();
    codes.sort_unstable();
    codes.dedup();
    if !has_geo {
        let message = "`country` needs a database that says where addresses are";
        let help = "write [geo] and below it database = \"/var/lib/tidegate/country.mmdb\"";
        item.tell(Complaint::new("geo-missing", message, "there is no [geo]", help));
    }
    codes
}

/// A list of names, exact or by prefix, or conditions by name.
fn any_of(section: &Section<'_>, key: &'static str) -> Vec<(Box<str>, Wanted)> {
    match section.item(key) {
        Some(item) if !item.is_table() => {
            let mut names = item.list_of(BYPASS_EXAMPLE, value::name_pattern).unwrap_or_default();
            names.sort();
            names.into_iter().map(|name| (name, Wanted::Present)).collect()
        }
        _ => wanted(section, key, value::name_pattern),
    }
}

/// Conditions by name, in the order of the names.
fn wanted<N: AsText>(
    section: &Section<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<N, Complaint>,
) -> Vec<(N, Wanted)> {
    let Some(item) = section.item(key) else { return Vec::new() };
    let Some(section) = item.section(format!("`{key}`")) else { return Vec::new() };
    let mut all = Vec::new();
    for (name, item) in section.named() {
        let wanted = one(&item);
        match parse(name.get_ref()) {
            Ok(name) => all.extend(wanted.map(|wanted| (name, wanted))),
            Err(complaint) => item.found().tell(complaint.at(name.span())),
        }
    }
    all.sort_by(|(one, _), (other, _)| one.text().cmp(other.text()));
    all
}

/// `true`, `false`, a pattern or a list of patterns.
fn one(item: &Item<'_>) -> Option<Wanted> {
    if let Some(flag) = item.as_flag() {
        return Some(if flag { Wanted::Present } else { Wanted::Absent });
    }
    refuse_empty(item, WANTED_EXAMPLE);
    let list = item.list_of(WANTED_EXAMPLE, |text| {
        if text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return Ok(Glob::new(text));
        }
        let message = format!("`{}` is like nothing that a request has", text.escape_debug());
        Err(Complaint::new("pattern", message, "not ASCII", "write it encoded, as it is on the wire"))
    })?;
    Some(Wanted::Like(list))
}

fn refuse_empty(item: &Item<'_>, help: &str) {
    if item.is_list() && item.list(help).is_some_and(|list| list.is_empty()) {
        item.tell(Complaint::new("empty", format!("`{}` is empty", item.key), "empty", help));
    }
}

/// A name as text.
trait AsText {
    fn text(&self) -> &str;
}

impl AsText for HeaderName {
    fn text(&self) -> &str {
        self.as_str()
    }
}

impl AsText for Box<str> {
    fn text(&self) -> &str {
        self
    }
}

/// Fields that say nothing about the request itself.
pub(super) const UNSEEN: [&str; 10] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "via",
];
const COUNTRY_EXAMPLE: &str = "write country = [\"US\", \"CA\"]";
const BYPASS_EXAMPLE: &str =
    "{ cookie = [\"session*\"], header = { x-preview = true }, query = [\"preview\"] }";
const WANTED_EXAMPLE: &str = "write a pattern, like \"mobile\" or \"*json*\", a list of patterns, true for present or false for absent";
