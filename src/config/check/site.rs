//! `[[site]]` and `[[site.route]]`: which hosts and paths are served how.

use std::sync::Arc;

use super::super::file::{Item, Section};
use super::super::mistake::Complaint;
use super::super::{HostPattern, ModSecurity, PathPattern, Preset, Route, Site, Steer, value};
use super::access::{self, Ground};
use super::answers::redirects;
use super::conditions::conditions;
use super::counts::Counted;
use super::mirror;
use super::policy::{self, Changes};
use super::pool::Pools;
use super::steer::{only_pool, steer};
use super::{Places, Surroundings, tables};

/// All sites; at least one.
pub(super) fn sites(
    root: &Section<'_>,
    pools: &Pools,
    defaults: &Changes,
    (around, modsecurity): (&Surroundings, Option<&Arc<ModSecurity>>),
) -> Vec<Site> {
    // Asked for by `geo.rs`, and told of there.
    let has_geo = root.item("geo").is_some();
    let ground = Ground { around, has_geo, modsecurity, counted: Counted::default() };
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
    sections
        .into_iter()
        .filter_map(|(_, section)| site(section, pools, defaults, &ground, &mut places))
        .collect()
}

fn site(
    section: Section<'_>,
    pools: &Pools,
    defaults: &Changes,
    ground: &Ground<'_>,
    places: &mut Places,
) -> Option<Site> {
    let hosts = section.required("hosts", HOSTS_EXAMPLE).and_then(|item| hosts(&item, places));
    let place = hosts.as_ref().and_then(|hosts| hosts.first()).map_or_else(String::new, ToString::to_string);
    let preset = preset(&section).unwrap_or(Preset::Default);
    let steer = steer(&section, pools).or_else(|| only_pool(&section, pools));
    let mut changes = defaults.clone();
    changes.extend(policy::rules(&section));
    changes.extend(policy::handling(&section, &[], ground.around));
    changes.extend(access::access(&section, &place, ground));
    changes.extend(mirror::mirror(&section, pools));
    let redirects = redirects(&section);
    let steer = steer.unwrap_or_else(|| Steer::Pool("".into()));
    needs_database(&section, pools);
    let defaults = Arc::new(changes.over(preset.policy(steer.clone())));
    let mut routes: Vec<Route> = Vec::new();
    let mut paths = Places::new();
    for (item, section) in tables(&section, "route", "site.route") {
        let Some(route) = route(section, preset, &steer, pools, &changes, &place, ground) else { continue };
        let same = format!("{} {:?} {:?}", route.path, route.methods, route.conditions);
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
    let shared_host = shared_host(&section, hosts.as_deref());
    section.close();
    let hosts = hosts?;
    Some(Site { name: hosts.first()?.to_string().into(), hosts, shared_host, defaults, redirects, routes })
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
    pools: &Pools,
    changes: &Changes,
    site: &str,
    ground: &Ground<'_>,
) -> Option<Route> {
    let path = section.required("path", PATH_EXAMPLE);
    let path = path.and_then(|item| self::path(&item));
    let methods = section.item("methods");
    let methods = methods.and_then(|item| item.list_of("write methods = [\"GET\", \"HEAD\"]", value::method));
    let conditions = conditions(&section, ground.has_geo);
    let place = {
        let path = path.as_ref().map_or_else(String::new, ToString::to_string);
        let methods = methods.iter().flatten().fold(String::new(), |all, method| all + " " + method.as_str());
        if conditions.is_empty() {
            format!("{site} {path}{methods}")
        } else {
            format!("{site} {path}{methods} {conditions:?}")
        }
    };
    if let Some(item) = key_host(&section) {
        let message = "hosts are shared by all of a site";
        let help = "write key = { host = \"www.example.com\" } in [[site]]";
        item.tell(Complaint::new("place", message, "not in a route", help));
    }
    let own = self::preset(&section);
    let steer = super::steer::steer(&section, pools).unwrap_or_else(|| steer.clone());
    let mut changes = changes.clone();
    changes.extend(policy::rules(&section));
    let captures = path.as_ref().map(PathPattern::captures).unwrap_or_default();
    changes.extend(policy::handling(&section, &captures, ground.around));
    changes.extend(access::access(&section, &place, ground));
    changes.extend(mirror::mirror(&section, pools));
    needs_database(&section, pools);
    section.close();
    let policy = Arc::new(changes.over(own.unwrap_or(preset).policy(steer)));
    Some(Route { path: path?, methods: methods.unwrap_or_default(), conditions, policy })
}

/// `host` of `key`, as written.
fn key_host<'t>(section: &Section<'t>) -> Option<Item<'t>> {
    section.item("key").filter(Item::is_table)?.section("`key`".to_owned())?.item("host")
}

/// The host under which all of a site's share their answers.
fn shared_host(section: &Section<'_>, hosts: Option<&[HostPattern]>) -> Option<Box<str>> {
    let item = key_host(section)?;
    match item.parsed(KEY_HOST_EXAMPLE, value::host_pattern)? {
        HostPattern::Exact(host) => {
            // No other site has it then.
            if hosts.is_some_and(|hosts| !hosts.contains(&HostPattern::Exact(host.clone()))) {
                let message = format!("`{host}` is not one of the site's hosts");
                let help = format!("add it to `hosts`: hosts = [\"{host}\", …]");
                item.tell(Complaint::new("unknown-host", message, "another's", help));
            }
            Some(host)
        }
        pattern => {
            let message = format!("`{pattern}` is not one host");
            item.tell(Complaint::new("host", message, "a pattern", KEY_HOST_EXAMPLE));
            None
        }
    }
}

/// A pattern as text, or `{ regex = "…" }`.
pub(super) fn path(item: &Item<'_>) -> Option<PathPattern> {
    if !item.is_table() {
        return item.parsed(PATH_EXAMPLE, value::path_pattern);
    }
    let section = item.section("`path`".to_owned())?;
    let regex = section.required("regex", PATH_EXAMPLE);
    section.close();
    regex?.parsed("write path = { regex = \"^/v[0-9]+/\" }", value::path_regex)
}

/// `vary_by = "country"` without a country to be had.
fn needs_database(section: &Section<'_>, pools: &Pools) {
    if let Some(item) = section.item("vary_by").filter(|item| !pools.geo && item.as_text() == Some("country"))
    {
        let message = "telling countries apart needs a geo database";
        let help = "write [geo] and below it database = \"/var/lib/tidegate/country.mmdb\"";
        item.tell(Complaint::new("no-geo", message, "no [geo] in the file", help));
    }
}

fn preset(section: &Section<'_>) -> Option<Preset> {
    section.item("preset")?.word(&[
        (Preset::Static.as_str(), Preset::Static),
        (Preset::News.as_str(), Preset::News),
        (Preset::Rfc.as_str(), Preset::Rfc),
        (Preset::Default.as_str(), Preset::Default),
    ])
}

const KEY_HOST_EXAMPLE: &str =
    "write key = { host = \"www.example.com\" }, the one of `hosts` that origins are asked under";
const HOSTS_EXAMPLE: &str = "write hosts = [\"www.example.com\", \"*.example.org\"], or [\"*\"] for any host";
const PATH_EXAMPLE: &str = "write path = \"/api/*\"";
