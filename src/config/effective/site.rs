//! `[[site]]` and `[[site.route]]`, written back.

use cache_store::rules::Policy;
use cache_store::rules::policy::RequestDirectives;

use super::super::check::{DIRECTIVES, SET_COOKIE, SHORT_PART};
use super::super::{Conditions, Cookies, Forward, HeaderRules, RoutePolicy, Site, Steer, Wanted};
use super::{Page, named, or_off, quoted, strings, time};

impl Page {
    pub(super) fn site(&mut self, site: &Site) {
        self.table("[[site]]");
        self.line("hosts", &strings(site.hosts.iter()));
        self.policy(&site.defaults);
        for route in &site.routes {
            self.table("[[site.route]]");
            self.line("path", &quoted(&route.path.to_string()));
            self.line("methods", &strings(route.methods.iter()));
            if !route.conditions.is_empty() {
                self.line("match", &conditions(&route.conditions));
            }
            self.policy(&route.policy);
        }
    }

    fn policy(&mut self, policy: &RoutePolicy) {
        self.line("preset", &quoted(policy.preset.as_str()));
        self.line("cache", &quoted(if policy.cache { "on" } else { "off" }));
        match &policy.steer {
            Steer::Pool(pool) => self.line("pool", &quoted(pool)),
            Steer::Weight(pools) => {
                let shares: Vec<_> =
                    pools.iter().map(|(pool, weight)| format!("{} = {weight}", quoted(pool))).collect();
                self.line("steer", &format!("{{ by = \"weight\", pools = {{ {} }} }}", shares.join(", ")));
            }
        }
        self.rules(&policy.rules);
        let (sort, remove) = (policy.query.sort, strings(policy.query.remove.iter()));
        self.line("query", &format!("{{ sort = {sort}, remove = {remove} }}"));
        match &policy.cookies {
            Cookies::Forward => self.line("cookies", &quoted("forward")),
            Cookies::PassOn(names) => {
                self.line("cookies", &format!("{{ pass_on = {} }}", strings(names.iter())));
            }
        }
        match &policy.forward {
            Forward::Safe => self.line("forward", &quoted("safe")),
            Forward::Only(names) => self.line("forward", &strings(names.iter())),
        }
        self.line("x_cache", &policy.x_cache.to_string());
        self.line("request_headers", &headers(&policy.request_headers));
        self.line("response_headers", &headers(&policy.response_headers));
    }

    fn rules(&mut self, rules: &Policy) {
        self.line("default_ttl", &or_off(rules.default_ttl));
        self.line("ttl", &or_off(rules.ttl_override));
        self.line("ttl_max", &time(rules.lifetime_max));
        let heuristic = rules.heuristic.map_or_else(
            || quoted("off"),
            |guess| format!("{{ percent = {}, max = {} }}", guess.percent, time(guess.cap)),
        );
        self.line("heuristic", &heuristic);
        let errors = &rules.errors;
        let (gone, client, server) =
            (or_off(errors.gone_ttl), or_off(errors.client_ttl), or_off(errors.server_ttl));
        self.line("negative_ttl", &format!("{{ gone = {gone}, client = {client}, server = {server} }}"));
        self.line("errors_by_origin", &errors.by_origin.to_string());
        self.line("stale_while_revalidate", &time(rules.stale_while_revalidate));
        self.line("stale_if_error", &time(rules.stale_if_error));
        self.line("s_maxage_forbids_stale", &rules.s_maxage_forbids_stale.to_string());
        self.line("set_cookie", &named(&SET_COOKIE, &rules.set_cookie));
        self.line("short_part", &named(&SHORT_PART, &rules.short_part));
        let heard =
            DIRECTIVES.iter().filter(|(_, one): &&(_, RequestDirectives)| rules.honour.contains(*one));
        self.line("honour_request_cache_control", &strings(heard.map(|(name, _)| name)));
        self.line("targeted_fields", &strings(rules.targets.iter()));
        self.line("vary_ignore", &strings(rules.vary_ignored.iter()));
        self.line("select_by_language", &rules.select_by_language.to_string());
    }
}

fn headers(rules: &HeaderRules) -> String {
    let set = rules.set().iter().map(|(name, value)| format!("{name} = {}", quoted(&value.to_string())));
    let mut added: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, value) in rules.added() {
        match added.last_mut() {
            Some((last, values)) if *last == name.as_str() => values.push(value.to_string()),
            _ => added.push((name.as_str(), vec![value.to_string()])),
        }
    }
    let add = added.iter().map(|(name, values)| format!("{name} = {}", strings(values.iter())));
    let (set, add) = (table(set), table(add));
    format!("{{ set = {set}, add = {add}, remove = {} }}", strings(rules.removed().iter()))
}

fn conditions(conditions: &Conditions) -> String {
    let Conditions { header, query, cookie, client } = conditions;
    let header = header.iter().map(|(name, wanted)| (name.as_str(), wanted));
    let [query, cookie] = [query, cookie].map(|all| all.iter().map(|(name, wanted)| (&**name, wanted)));
    let mut parts = Vec::new();
    for (key, written) in [("header", wanted(header)), ("query", wanted(query)), ("cookie", wanted(cookie))] {
        parts.extend(written.map(|written| format!("{key} = {written}")));
    }
    if !client.is_empty() {
        parts.push(format!("client = {}", strings(client.iter())));
    }
    table(parts.into_iter())
}

fn wanted<'w>(all: impl Iterator<Item = (&'w str, &'w Wanted)>) -> Option<String> {
    let pairs: Vec<_> = all
        .map(|(name, wanted)| {
            let wanted = match wanted {
                Wanted::Present => "true".to_owned(),
                Wanted::Absent => "false".to_owned(),
                Wanted::Like(globs) => strings(globs.iter()),
            };
            format!("{} = {wanted}", quoted(name))
        })
        .collect();
    (!pairs.is_empty()).then(|| table(pairs.into_iter()))
}

/// An inline table.
fn table(pairs: impl Iterator<Item = String>) -> String {
    let pairs: Vec<_> = pairs.collect();
    if pairs.is_empty() { "{}".to_owned() } else { format!("{{ {} }}", pairs.join(", ")) }
}
