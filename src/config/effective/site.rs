//! `[[site]]` and `[[site.route]]`, written back.

use cache_store::rules::Policy;
use cache_store::rules::policy::RequestDirectives;

use super::super::check::{DIRECTIVES, SET_COOKIE, SHORT_PART, VARY_BY};
use super::super::{Cookies, Encode, Forward, RoutePolicy, Site};
use super::{Page, named, or_off, quoted, size, strings, time};

fn encode(encode: &Encode) -> String {
    format!(
        "{{ codings = {}, types = {}, min = {}, level_fast = {}, level_best = {} }}",
        strings(encode.codings.iter().map(|coding| coding.as_str())),
        strings(encode.types.iter()),
        size(encode.bytes_min),
        encode.level_fast,
        encode.level_best
    )
}

impl Page {
    pub(super) fn site(&mut self, site: &Site) {
        self.table("[[site]]");
        self.line("hosts", &strings(site.hosts.iter()));
        self.policy(&site.defaults);
        for route in &site.routes {
            self.table("[[site.route]]");
            self.line("path", &quoted(&route.path.to_string()));
            self.line("methods", &strings(route.methods.iter()));
            self.policy(&route.policy);
        }
    }

    fn policy(&mut self, policy: &RoutePolicy) {
        self.line("preset", &quoted(policy.preset.as_str()));
        self.line("cache", &quoted(if policy.cache { "on" } else { "off" }));
        self.steer(&policy.steer);
        self.line("vary_by", &named(&VARY_BY, &policy.vary_by_country));
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
        let encode = policy.encode.as_deref().map_or_else(|| quoted("off"), encode);
        self.line("encode", &encode);
        self.line("x_cache", &policy.x_cache.to_string());
        match &*policy.upgrade {
            [] => self.line("upgrade", &quoted("off")),
            names => self.line("upgrade", &strings(names.iter())),
        }
        self.access(policy.access.as_deref());
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
