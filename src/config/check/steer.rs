//! `pool` and `steer` of a site or route: which pool is asked.

use std::sync::Arc;
use std::time::Duration;

use ::geo::{Code, Coordinates};

use super::super::countries::{CONTINENTS, COUNTRIES};
use super::super::file::{Item, Section, list, nearest};
use super::super::mistake::Complaint;
use super::super::steer::SHARE_MAX;
use super::super::{By, PlaceRule, Shares, Steer, Steering, Sticky, ValueRule, value};
use super::pool::Pools;

/// `pool` or `steer`, if one is written.
pub(super) fn steer(section: &Section<'_>, pools: &Pools) -> Option<Steer> {
    let pool = section.item("pool");
    let steer = section.item("steer");
    if let (Some(pool), Some(steer)) = (&pool, &steer) {
        let complaint =
            Complaint::new("both", "both `pool` and `steer` are written", "this one", "keep one of them");
        steer.tell_beside(complaint, pool.span.clone(), "and this one");
    }
    if let Some(item) = pool {
        return known(&item, pools).map(Steer::Pool).or_else(nowhere);
    }
    let item = steer?;
    let Some(section) = item.section("`steer`".to_owned()) else { return nowhere() };
    steering(section, pools).map(|steering| Steer::By(Arc::new(steering))).or_else(nowhere)
}

fn steering(section: Section<'_>, pools: &Pools) -> Option<Steering> {
    let item = section.required("by", STEER_EXAMPLE);
    let kind = item.as_ref().and_then(|by| by.word(&KINDS));
    let by = kind.and_then(|kind| match kind {
        Kind::Order => order(&section, pools).map(By::Order),
        Kind::Weight => weight(&section, pools),
        Kind::Geo => {
            needs_database(item.as_ref(), pools);
            let rules = rules(&section, GEO_EXAMPLE, |section| place_rule(section, pools));
            let otherwise = otherwise(&section, pools, GEO_EXAMPLE);
            Some(By::Geo { rules: rules?, otherwise: otherwise? })
        }
        Kind::Nearest => {
            needs_database(item.as_ref(), pools);
            let located = located(&section, pools);
            let otherwise = otherwise(&section, pools, NEAREST_EXAMPLE);
            Some(By::Nearest { pools: located?, otherwise: otherwise? })
        }
        Kind::Header => {
            let name = section.required("name", HEADER_EXAMPLE);
            let name = name.and_then(|item| item.parsed(HEADER_EXAMPLE, value::field_name));
            let rules = rules(&section, HEADER_EXAMPLE, |section| value_rule(section, pools));
            let otherwise = otherwise(&section, pools, HEADER_EXAMPLE);
            Some(By::Field { name: name?, rules: rules?, otherwise: otherwise? })
        }
        Kind::Cookie => {
            let name = section.required("name", COOKIE_EXAMPLE);
            let name = name.and_then(|item| item.parsed(COOKIE_EXAMPLE, cookie_name));
            let rules = rules(&section, COOKIE_EXAMPLE, |section| value_rule(section, pools));
            let otherwise = otherwise(&section, pools, COOKIE_EXAMPLE);
            Some(By::Cookie { name: name?, rules: rules?, otherwise: otherwise? })
        }
    });
    let fallback = section.item("fallback");
    let fallback = fallback.map_or_else(Vec::new, |item| names(&item, pools, FALLBACK_EXAMPLE));
    let split = split(&section, kind, by.as_ref());
    if kind.is_some() {
        section.close();
    }
    Some(Steering { by: by?, fallback, split })
}

/// Whether the choice is part of the key. What a client sends must be: its answer would be everybody's.
fn split(section: &Section<'_>, kind: Option<Kind>, by: Option<&By>) -> bool {
    let item = section.item("split");
    let split = item.as_ref().and_then(Item::flag);
    if let (Some(item), Some(Kind::Header | Kind::Cookie), Some(false)) = (&item, kind, split) {
        let message = "steering by what clients send keeps the pools' answers apart";
        let help = "remove it: without it anyone could fill the cache from a pool of their choice";
        item.tell(Complaint::new("split", message, "cannot be false", help));
    }
    if let (Some(item), Some(true), Some(kind)) = (&item, split, kind) {
        if let (Kind::Weight, Some(By::Weight { sticky: None, .. })) = (kind, by) {
            let message = "a split by weight is sticky: each client sees one side of it";
            let help = "add sticky = \"cookie\" or sticky = \"client\"";
            item.tell(Complaint::new("split", message, "not sticky", help));
        }
        if kind == Kind::Order {
            let message = "pools that stand in for each other are not kept apart";
            let help = "remove it, or steer by something that tells clients apart";
            item.tell(Complaint::new("split", message, "nothing to split by", help));
        }
    }
    match kind {
        Some(Kind::Header | Kind::Cookie) => true,
        Some(Kind::Order) | None => false,
        Some(Kind::Weight | Kind::Geo | Kind::Nearest) => split.unwrap_or_default(),
    }
}

fn needs_database(by: Option<&Item<'_>>, pools: &Pools) {
    if let Some(by) = by.filter(|_| !pools.geo) {
        let message = "steering by place needs a geo database";
        let help = "write [geo] and below it database = \"/var/lib/tidegate/country.mmdb\"";
        by.tell(Complaint::new("no-geo", message, "no [geo] in the file", help));
    }
}

fn order(section: &Section<'_>, pools: &Pools) -> Option<Vec<Arc<str>>> {
    let item = section.required("pools", ORDER_EXAMPLE)?;
    let names = names(&item, pools, ORDER_EXAMPLE);
    if names.is_empty() { None } else { Some(names) }
}

/// A list of pools, each once.
fn names(item: &Item<'_>, pools: &Pools, example: &str) -> Vec<Arc<str>> {
    let Some(list) = item.list(example) else { return Vec::new() };
    if list.is_empty() {
        item.tell(Complaint::new("empty", format!("`{}` is empty", item.key), "empty", example));
    }
    let mut names: Vec<Arc<str>> = Vec::new();
    for item in list {
        let Some(pool) = known(&item, pools) else { continue };
        if names.contains(&pool) {
            let message = format!("`{pool}` is named twice");
            item.tell(Complaint::new("twice", message, "again", "remove one of the two"));
        } else {
            names.push(pool);
        }
    }
    names
}

fn weight(section: &Section<'_>, pools: &Pools) -> Option<By> {
    let item = section.required("pools", WEIGHT_EXAMPLE);
    let weights = item.as_ref().and_then(|item| weights(item, pools));
    let sticky = section.item("sticky").map(|item| sticky(&item));
    if let (Some(item), Some(weights)) = (&item, &weights)
        && !weights.is_empty()
        && weights.iter().all(|(_, weight)| *weight == 0)
    {
        let help = "give at least one pool a weight above zero";
        item.tell(Complaint::new("no-weight", "no pool has a weight", "all zero", help));
    }
    let sticky = match sticky {
        None => None,
        Some(sticky) => Some(sticky?),
    };
    Some(By::Weight { shares: Arc::new(Shares::new(weights?)), sticky })
}

fn weights(item: &Item<'_>, pools: &Pools) -> Option<Vec<(Arc<str>, u32)>> {
    let section = item.section("pools = { eu = 9, us = 1 }".to_owned())?;
    let named = section.named();
    if named.is_empty() {
        item.tell(Complaint::new("empty", "`pools` is empty", "empty", WEIGHT_EXAMPLE));
    }
    let mut weights = Vec::new();
    for (key, item) in named {
        let weight = item.count(0..=u64::from(SHARE_MAX)).and_then(|weight| u32::try_from(weight).ok());
        match pool_of(key.get_ref(), pools) {
            Ok(pool) => weights.push((pool, weight.unwrap_or(1))),
            Err(complaint) => item.found().tell(complaint.at(key.span())),
        }
    }
    Some(weights)
}

fn sticky(item: &Item<'_>) -> Option<Sticky> {
    let cookie = || Sticky::Cookie { name: STICKY_COOKIE.into(), max_age: STICKY_FOR };
    if !item.is_table() {
        return item.word_or(&[("cookie", cookie()), ("client", Sticky::Client)], STICKY_TABLE);
    }
    let section = item.section("`sticky`".to_owned())?;
    let name = section.required("cookie", STICKY_HELP).and_then(|item| item.parsed(STICKY_HELP, cookie_name));
    let max_age = section.item("max_age").map(|item| item.duration(STICKY_RANGE));
    section.close();
    Some(Sticky::Cookie { name: name?, max_age: max_age.unwrap_or(Some(STICKY_FOR))? })
}

/// A cookie's name (RFC 6265 §4.1.1).
fn cookie_name(text: &str) -> Result<Box<str>, Complaint> {
    if !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    {
        return Ok(text.into());
    }
    let message = format!("`{}` cannot name a cookie", text.escape_debug());
    Err(Complaint::new("cookie-name", message, "not a name", "write a name, like \"tidegate-arm\""))
}

/// The tables of `rules`; at least one.
fn rules<T>(section: &Section<'_>, example: &str, read: impl Fn(Section<'_>) -> Option<T>) -> Option<Vec<T>> {
    let item = section.required("rules", example)?;
    if item.is_table() {
        item.tell(Complaint::new("type", "`rules` is a list of tables", "one table", example));
        return None;
    }
    let list = item.list(example)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`rules` is empty", "empty", example));
    }
    let rules: Vec<Option<T>> =
        list.iter().map(|item| item.section("this rule".to_owned()).and_then(&read)).collect();
    rules.into_iter().collect()
}

fn place_rule(section: Section<'_>, pools: &Pools) -> Option<PlaceRule> {
    let codes = |key, known: &'static [&'static str], example| {
        section
            .item(key)
            .map(|item| item.list_of(example, |text| code(text, known)))
            .map(Option::unwrap_or_default)
    };
    let countries = codes("countries", &COUNTRIES, COUNTRIES_EXAMPLE);
    let continents = codes("continents", &CONTINENTS, CONTINENTS_EXAMPLE);
    let regions =
        section.item("regions").map(|item| item.list_of(REGIONS_EXAMPLE, region).unwrap_or_default());
    let pool = section.required("pool", GEO_EXAMPLE).and_then(|item| known(&item, pools));
    if countries.is_none() && continents.is_none() && regions.is_none() {
        let message = "this rule names no place";
        section.tell(Complaint::new(
            "empty",
            message,
            "no countries, continents or regions",
            COUNTRIES_EXAMPLE,
        ));
    }
    section.close();
    Some(PlaceRule {
        countries: countries.unwrap_or_default(),
        continents: continents.unwrap_or_default(),
        regions: regions.unwrap_or_default(),
        pool: pool?,
    })
}

/// A country by its code.
pub(super) fn country(text: &str) -> Result<Code, Complaint> {
    code(text, &COUNTRIES)
}

fn code(text: &str, known: &'static [&'static str]) -> Result<Code, Complaint> {
    let upper = text.to_ascii_uppercase();
    if known.contains(&upper.as_str())
        && let Some(code) = Code::new(&upper)
    {
        return Ok(code);
    }
    let what = if known.len() == CONTINENTS.len() { "continent" } else { "country" };
    let help = match (upper.as_str(), what) {
        ("UK", "country") => "write \"GB\"".to_owned(),
        ("EU", "country") => "write continents = [\"EU\"] for Europe".to_owned(),
        (_, "country") => "write an ISO 3166 code of two letters, like \"US\"".to_owned(),
        _ => format!("write one of {}", list(known)),
    };
    let message = format!("there is no {what} `{}`", text.escape_debug());
    Err(Complaint::new("unknown-place", message, "unknown", help))
}

fn region(text: &str) -> Result<(Code, Code), Complaint> {
    let (country, region) = text.split_once('-').unwrap_or((text, ""));
    if let (Ok(country), Some(region)) = (code(country, &COUNTRIES), Code::new(region)) {
        return Ok((country, region));
    }
    let message = format!("`{}` is not a region", text.escape_debug());
    Err(Complaint::new("unknown-place", message, "not country and region", REGIONS_EXAMPLE))
}

fn value_rule(section: Section<'_>, pools: &Pools) -> Option<ValueRule> {
    let item = section.required("values", VALUES_EXAMPLE);
    let values = item.as_ref().and_then(|item| item.list_of(VALUES_EXAMPLE, value_pattern));
    if let (Some(item), Some([])) = (&item, values.as_deref())
        && item.list(VALUES_EXAMPLE).is_some_and(|list| list.is_empty())
    {
        item.tell(Complaint::new("empty", "`values` is empty", "empty", VALUES_EXAMPLE));
    }
    let pool = section.required("pool", VALUES_EXAMPLE).and_then(|item| known(&item, pools));
    section.close();
    Some(ValueRule { values: values?, pool: pool? })
}

fn value_pattern(text: &str) -> Result<Box<str>, Complaint> {
    let bare = text.strip_suffix('*').unwrap_or(text);
    if !text.is_empty()
        && bare.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ')
        && !bare.contains('*')
    {
        return Ok(text.into());
    }
    let message = format!("`{}` is not a value", text.escape_debug());
    Err(Complaint::new("value", message, "not a value", VALUES_EXAMPLE))
}

/// Pools with a point on the globe: those named, or all that have one.
fn located(section: &Section<'_>, pools: &Pools) -> Option<Vec<(Arc<str>, Coordinates)>> {
    let at = |name: &str| pools.by_name.get(name).and_then(|pool| pool.location);
    let Some(item) = section.item("pools") else {
        let all: Vec<_> = pools.names.iter().filter_map(|name| Some((Arc::clone(name), at(name)?))).collect();
        if all.is_empty() {
            let message = "no pool says where it is";
            section.tell(Complaint::new("no-location", message, "nowhere", LOCATION_EXAMPLE));
            return None;
        }
        return Some(all);
    };
    let mut located = Vec::new();
    for name in names(&item, pools, NEAREST_EXAMPLE) {
        match at(&name) {
            Some(at) => located.push((name, at)),
            // A pool that could not be read has been told of.
            None if !pools.by_name.contains_key(&name) => {}
            None => {
                let message = format!("[pool.{name}] does not say where it is");
                item.tell(Complaint::new("no-location", message, "nowhere", LOCATION_EXAMPLE));
            }
        }
    }
    if located.is_empty() { None } else { Some(located) }
}

fn otherwise(section: &Section<'_>, pools: &Pools, example: &str) -> Option<Arc<str>> {
    section.required("otherwise", example).and_then(|item| known(&item, pools))
}

/// The pool that an item names.
pub(super) fn known(item: &Item<'_>, pools: &Pools) -> Option<Arc<str>> {
    let name = item.text("write the name of a pool, like \"main\"")?;
    pool_of(name, pools).map_err(|complaint| item.tell(complaint)).ok()
}

/// The pool of this name.
fn pool_of(name: &str, pools: &Pools) -> Result<Arc<str>, Complaint> {
    pools.names.iter().find(|pool| ***pool == *name).cloned().ok_or_else(|| {
        let names: Vec<_> = pools.names.iter().map(|pool| &**pool).collect();
        let help = nearest(name, names.iter().copied()).map_or_else(
            || format!("write one of {}, or add [pool.{name}]", list(&names)),
            |near| format!("did you mean \"{near}\"? pools are {}", list(&names)),
        );
        Complaint::new("unknown-pool", format!("there is no pool `{}`", name.escape_debug()), "unknown", help)
    })
}

/// Where there is one pool, nobody needs to say which.
pub(super) fn only_pool(section: &Section<'_>, pools: &Pools) -> Option<Steer> {
    match pools.names.as_slice() {
        [only] => Some(Steer::Pool(Arc::clone(only))),
        [] => None,
        several => {
            let names: Vec<_> = several.iter().map(|pool| &**pool).collect();
            let message = format!("{} does not say which pool it uses", section.name);
            let help = format!("write pool = \"…\" with one of {}", list(&names));
            section.tell(Complaint::new("missing-key", message, "`pool` is missing", help));
            None
        }
    }
}

/// Stands in for a pool that a mistake was told about.
#[allow(clippy::unnecessary_wraps)] // read as "not missing, only wrong"
fn nowhere() -> Option<Steer> {
    Some(Steer::Pool("".into()))
}

/// What `by` may say.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Order,
    Weight,
    Geo,
    Nearest,
    Header,
    Cookie,
}

const KINDS: [(&str, Kind); 6] = [
    ("weight", Kind::Weight),
    ("geo", Kind::Geo),
    ("nearest", Kind::Nearest),
    ("order", Kind::Order),
    ("header", Kind::Header),
    ("cookie", Kind::Cookie),
];
/// The cookie of `sticky = "cookie"`.
const STICKY_COOKIE: &str = "tidegate-arm";
/// How long clients keep it.
const STICKY_FOR: Duration = Duration::from_hours(30 * 24);
const STICKY_RANGE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_hours(400 * 24);
const STICKY_TABLE: &str = "{ cookie = \"name\", max_age = \"30d\" }";
const STICKY_HELP: &str = "write sticky = { cookie = \"name\", max_age = \"30d\" }";
const STEER_EXAMPLE: &str = "write steer = { by = \"weight\", pools = { eu = 9, us = 1 } }, or pool = \"eu\"";
const WEIGHT_EXAMPLE: &str = "write pools = { eu = 95, canary = 5 }";
const ORDER_EXAMPLE: &str = "write pools = [\"eu\", \"us\"]: the first that has an origin available is asked";
const FALLBACK_EXAMPLE: &str =
    "write fallback = [\"us\"]: pools to ask when the chosen one has nobody to ask";
const GEO_EXAMPLE: &str =
    "write rules = [ { countries = [\"US\", \"CA\"], pool = \"us\" } ], otherwise = \"eu\"";
const NEAREST_EXAMPLE: &str =
    "write steer = { by = \"nearest\", pools = [\"eu\", \"us\"], otherwise = \"eu\" }";
const HEADER_EXAMPLE: &str =
    "write name = \"x-canary\", rules = [ { values = [\"yes\"], pool = \"canary\" } ], otherwise = \"main\"";
const COOKIE_EXAMPLE: &str =
    "write name = \"beta\", rules = [ { values = [\"yes\"], pool = \"beta\" } ], otherwise = \"main\"";
const VALUES_EXAMPLE: &str = "write { values = [\"yes\", \"v2-*\"], pool = \"canary\" }";
const COUNTRIES_EXAMPLE: &str =
    "write countries = [\"US\", \"CA\"], continents = [\"NA\"] or regions = [\"US-CA\"]";
const CONTINENTS_EXAMPLE: &str = "write continents = [\"NA\", \"SA\"]";
const REGIONS_EXAMPLE: &str = "write country and region, like regions = [\"US-CA\", \"DE-BY\"]";
const LOCATION_EXAMPLE: &str = "write location = [50.1, 8.7] (degrees north and east) below [pool.NAME]";
