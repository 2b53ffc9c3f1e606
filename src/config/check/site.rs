//! `[[site]]` and `[[site.route]]`: which hosts and paths are served how.

use std::sync::Arc;

use super::super::file::{Item, Section, list, nearest};
use super::super::mistake::Complaint;
use super::super::{HostPattern, Preset, Route, Site, Steer, value};
use super::policy::{self, Changes};
use super::{Places, tables};

/// All sites; at least one.
pub(super) fn sites(root: &Section<'_>, pools: &[Arc<str>], defaults: &Changes) -> Vec<Site> {
    let sections = tables(root, "site", "site");
    if sections.is_empty() {
        root.tell(Complaint::new(
            "missing-key",
            "there is no site",
            "no [[site]] in the file",
            "write [[site]] and below it hosts = [\"*\"] and pool = \"main\"",
        ));
    }
    let mut places = Places::new();
    sections.into_iter().filter_map(|(_, section)| site(section, pools, defaults, &mut places)).collect()
}

fn site(section: Section<'_>, pools: &[Arc<str>], defaults: &Changes, places: &mut Places) -> Option<Site> {
    let hosts = section.required("hosts", HOSTS_EXAMPLE).and_then(|item| hosts(&item, places));
    let preset = preset(&section).unwrap_or(Preset::Default);
    let steer = steer(&section, pools).or_else(|| only_pool(&section, pools));
    let mut changes = defaults.clone();
    changes.extend(policy::rules(&section));
    changes.extend(policy::handling(&section));
    let steer = steer.unwrap_or_else(|| Steer::Pool("".into()));
    let defaults = Arc::new(changes.over(preset.policy(steer.clone())));
    let mut routes: Vec<Route> = Vec::new();
    let mut paths = Places::new();
    for (item, section) in tables(&section, "route", "site.route") {
        let Some(route) = route(section, preset, &steer, pools, &changes) else { continue };
        let same = format!("{} {:?}", route.path, route.methods);
        if let Some(first) = paths.get(&same) {
            let message = format!("a route for `{}` stands above already", route.path);
            let help = "remove one of the two: the first that matches decides";
            item.tell_beside(
                Complaint::new("twice", message, "never reached", help),
                first.clone(),
                "matches first",
            );
        } else {
            paths.insert(same, item.span.clone());
        }
        routes.push(route);
    }
    section.close();
    let hosts = hosts?;
    Some(Site { name: hosts.first()?.to_string().into(), hosts, defaults, routes })
}

fn hosts(item: &Item<'_>, places: &mut Places) -> Option<Vec<HostPattern>> {
    let list = item.list(HOSTS_EXAMPLE)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`hosts` is empty", "empty", HOSTS_EXAMPLE));
    }
    let mut hosts = Vec::new();
    for item in list {
        let Some(host) = item.parsed(HOSTS_EXAMPLE, value::host_pattern) else { continue };
        if let Some(first) = places.get(&host.to_string()) {
            let message = format!("`{host}` is served twice");
            let complaint = Complaint::new(
                "twice",
                message,
                "again",
                "remove it from one of the two: a host has one site",
            );
            item.tell_beside(complaint, first.clone(), "here already");
            continue;
        }
        places.insert(host.to_string(), item.span.clone());
        hosts.push(host);
    }
    Some(hosts)
}

fn route(
    section: Section<'_>,
    preset: Preset,
    steer: &Steer,
    pools: &[Arc<str>],
    changes: &Changes,
) -> Option<Route> {
    let path = section.required("path", PATH_EXAMPLE);
    let path = path.and_then(|item| item.parsed(PATH_EXAMPLE, value::path_pattern));
    let methods = section.item("methods");
    let methods = methods.and_then(|item| item.list_of("write methods = [\"GET\", \"HEAD\"]", value::method));
    let own = self::preset(&section);
    let steer = self::steer(&section, pools).unwrap_or_else(|| steer.clone());
    let mut changes = changes.clone();
    changes.extend(policy::rules(&section));
    changes.extend(policy::handling(&section));
    section.close();
    let policy = Arc::new(changes.over(own.unwrap_or(preset).policy(steer)));
    Some(Route { path: path?, methods: methods.unwrap_or_default(), policy })
}

fn preset(section: &Section<'_>) -> Option<Preset> {
    section.item("preset")?.word(&[
        (Preset::Static.as_str(), Preset::Static),
        (Preset::News.as_str(), Preset::News),
        (Preset::Rfc.as_str(), Preset::Rfc),
        (Preset::Default.as_str(), Preset::Default),
    ])
}

/// `pool` or `steer`, if one is written.
fn steer(section: &Section<'_>, pools: &[Arc<str>]) -> Option<Steer> {
    let pool = section.item("pool");
    let steer = section.item("steer");
    if let (Some(pool), Some(steer)) = (&pool, &steer) {
        let complaint =
            Complaint::new("both", "both `pool` and `steer` are written", "this one", "keep one of them");
        steer.tell_beside(complaint, pool.span.clone(), "and this one");
    }
    if let Some(item) = pool {
        let Some(name) = item.text("write the name of a pool, like pool = \"main\"") else {
            return nowhere();
        };
        return known(name, pools)
            .map_err(|complaint| item.tell(complaint))
            .ok()
            .map(Steer::Pool)
            .or_else(nowhere);
    }
    let item = steer?;
    let Some(section) = item.section("`steer`".to_owned()) else { return nowhere() };
    let by = section.required("by", STEER_EXAMPLE);
    if let Some(by) = by.as_ref().filter(|by| by.as_text() == Some("geo")) {
        let message = "steering by geo is not supported by this version yet";
        by.tell(Complaint::new("not-supported", message, "not supported yet", STEER_EXAMPLE));
        return nowhere();
    }
    by.and_then(|by| by.word(&[("weight", ())]));
    let weights = section.required("pools", STEER_EXAMPLE).and_then(|item| weights(&item, pools));
    section.close();
    weights.map(Steer::Weight).or_else(nowhere)
}

fn weights(item: &Item<'_>, pools: &[Arc<str>]) -> Option<Vec<(Arc<str>, u32)>> {
    let section = item.section("pools = { eu = 9, us = 1 }".to_owned())?;
    let named = section.named();
    if named.is_empty() {
        item.tell(Complaint::new("empty", "`pools` is empty", "empty", STEER_EXAMPLE));
    }
    let mut weights = Vec::new();
    for (key, item) in named {
        let weight = item.count(1..=1_000_000).and_then(|weight| u32::try_from(weight).ok());
        match known(key.get_ref(), pools) {
            Ok(pool) => weights.push((pool, weight.unwrap_or(1))),
            Err(complaint) => item.found().tell(complaint.at(key.span())),
        }
    }
    Some(weights)
}

/// The pool of this name.
fn known(name: &str, pools: &[Arc<str>]) -> Result<Arc<str>, Complaint> {
    pools.iter().find(|pool| ***pool == *name).cloned().ok_or_else(|| {
        let names: Vec<_> = pools.iter().map(|pool| &**pool).collect();
        let help = nearest(name, names.iter().copied()).map_or_else(
            || format!("write one of {}, or add [pool.{name}]", list(&names)),
            |near| format!("did you mean \"{near}\"? pools are {}", list(&names)),
        );
        Complaint::new("unknown-pool", format!("there is no pool `{}`", name.escape_debug()), "unknown", help)
    })
}

/// Where there is one pool, nobody needs to say which.
fn only_pool(section: &Section<'_>, pools: &[Arc<str>]) -> Option<Steer> {
    match pools {
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

const HOSTS_EXAMPLE: &str = "write hosts = [\"www.example.com\", \"*.example.org\"], or [\"*\"] for any host";
const PATH_EXAMPLE: &str = "write path = \"/api/*\"";
const STEER_EXAMPLE: &str = "write steer = { by = \"weight\", pools = { eu = 9, us = 1 } }, or pool = \"eu\"";
