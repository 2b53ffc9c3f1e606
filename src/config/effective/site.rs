//! `[[site]]` and `[[site.route]]`, written back.

use cache_store::rules::Policy;
use cache_store::rules::policy::RequestDirectives;

use super::super::check::{DIRECTIVES, MIRROR_OF, SET_COOKIE, SHORT_PART, VARY_BY};
use super::super::{
    Answer, Conditions, Cookies, Encode, ErrorPages, Fixed, Forward, HeaderRules, Maintenance, Mirror,
    Page as Shown, Redirect, Rewrite, RoutePolicy, Site, Wanted,
};
use super::{Page, named, or_off, quoted, size, strings, time};

fn encode(encode: &Encode) -> String {
    format!(
        "{{ codings = {}, types = {}, min = {}, level_fast = {}, level_best = {}, unstored = {} }}",
        strings(encode.codings.iter().map(|coding| coding.as_str())),
        strings(encode.types.iter()),
        size(encode.bytes_min),
        encode.level_fast,
        encode.level_best,
        quoted(encode.unstored.as_str())
    )
}

impl Page {
    pub(super) fn site(&mut self, site: &Site) {
        self.table("[[site]]");
        self.line("hosts", &strings(site.hosts.iter()));
        self.policy(&site.defaults, site.shared_host.as_deref());
        if !site.redirects.is_empty() {
            let redirects = site.redirects.iter().map(|(from, to)| {
                let [from, to] = [format!("from = {}", quoted(&from.to_string())), redirect_keys(to)];
                format!("    {{ {from}, {to} }},\n")
            });
            let redirects: Vec<_> = redirects.collect();
            self.line("redirects", &format!("[\n{}]", redirects.concat()));
        }
        for route in &site.routes {
            self.table("[[site.route]]");
            self.line("path", &quoted(&route.path.to_string()));
            self.line("methods", &strings(route.methods.iter()));
            if !route.conditions.is_empty() {
                self.line("match", &conditions(&route.conditions));
            }
            self.policy(&route.policy, None);
        }
    }

    fn policy(&mut self, policy: &RoutePolicy, shared_host: Option<&str>) {
        self.line("preset", &quoted(policy.preset.as_str()));
        self.line("cache", &quoted(if policy.cache { "on" } else { "off" }));
        self.steer(&policy.steer);
        self.line("vary_by", &named(&VARY_BY, &policy.vary_by_country));
        self.rules(&policy.rules);
        let (sort, remove) = (policy.query.sort, strings(policy.query.remove.iter()));
        let keep = policy.query.keep.as_ref().map_or_else(|| quoted("all"), |names| strings(names.iter()));
        self.line("query", &format!("{{ sort = {sort}, remove = {remove}, keep = {keep} }}"));
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
        self.line("rewrite", &rewrite(&policy.rewrite));
        let bypass = &policy.bypass;
        self.line("bypass", &if bypass.is_empty() { quoted("off") } else { conditions(bypass) });
        let [fields, cookies] = [strings(policy.key.headers.iter()), strings(policy.key.cookies.iter())];
        let host = shared_host.map_or_else(String::new, |host| format!("host = {}, ", quoted(host)));
        self.line("key", &format!("{{ {host}headers = {fields}, cookies = {cookies} }}"));
        self.line("request_headers", &headers(&policy.request_headers));
        self.line("response_headers", &headers(&policy.response_headers));
        self.line("https_only", &policy.https_only.to_string());
        self.line("allow_methods", &strings(policy.allow_methods.iter()));
        match policy.answer.as_deref() {
            None => self.line("redirect", &quoted("off")),
            Some(Answer::Redirect(redirect)) => {
                self.line("redirect", &format!("{{ {} }}", redirect_keys(redirect)));
            }
            Some(Answer::Fixed(fixed)) => self.line("respond", &respond(fixed)),
        }
        let closed = policy.maintenance.as_deref().map_or_else(|| quoted("off"), maintenance);
        self.line("maintenance", &closed);
        self.line("error_pages", &error_pages(&policy.error_pages));
        match &*policy.upgrade {
            [] => self.line("upgrade", &quoted("off")),
            names => self.line("upgrade", &strings(names.iter())),
        }
        match policy.mirror.as_deref() {
            None => self.line("mirror", &quoted("off")),
            Some(Mirror { pool, percent, of }) => {
                let (pool, of) = (quoted(pool), named(&MIRROR_OF, of));
                self.line("mirror", &format!("{{ pool = {pool}, percent = {percent}, of = {of} }}"));
            }
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
    let Conditions { header, query, cookie, client, country } = conditions;
    let header = header.iter().map(|(name, wanted)| (name.as_str(), wanted));
    let [query, cookie] = [query, cookie].map(|all| all.iter().map(|(name, wanted)| (&**name, wanted)));
    let mut parts = Vec::new();
    for (key, written) in [("header", wanted(header)), ("query", wanted(query)), ("cookie", wanted(cookie))] {
        parts.extend(written.map(|written| format!("{key} = {written}")));
    }
    if !client.is_empty() {
        parts.push(format!("client = {}", strings(client.iter())));
    }
    if !country.is_empty() {
        parts.push(format!("country = {}", strings(country.iter())));
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

fn rewrite(rewrite: &Rewrite) -> String {
    let Rewrite { strip_prefix, add_prefix, path, query } = rewrite;
    let prefixes = [("strip_prefix", strip_prefix), ("add_prefix", add_prefix)];
    let prefixes = prefixes.map(|(key, prefix)| (key, prefix.as_ref().map(ToString::to_string)));
    let templates = [("path", path), ("query", query)];
    let templates = templates.map(|(key, template)| (key, template.as_ref().map(ToString::to_string)));
    let parts: Vec<_> = prefixes
        .into_iter()
        .chain(templates)
        .filter_map(|(key, text)| text.map(|text| format!("{key} = {}", quoted(&text))))
        .collect();
    if parts.is_empty() { quoted("off") } else { table(parts.into_iter()) }
}

fn redirect_keys(redirect: &Redirect) -> String {
    let query = if redirect.keep_query { "keep" } else { "drop" };
    let [to, query] = [redirect.to.to_string(), query.to_owned()].map(|text| quoted(&text));
    format!("to = {to}, status = {}, query = {query}", redirect.status.as_u16())
}

fn page(page: &Shown) -> Vec<String> {
    let from = match &page.file {
        Some(path) => format!("file = {}", quoted(&path.display().to_string())),
        None => format!("body = {}", quoted(&String::from_utf8_lossy(&page.bytes))),
    };
    vec![from, format!("content_type = {}", quoted(&page.content_type))]
}

fn respond(fixed: &Fixed) -> String {
    let mut parts = vec![format!("status = {}", fixed.status.as_u16())];
    parts.extend(page(&fixed.page));
    let headers =
        fixed.headers.iter().map(|(name, value)| format!("{name} = {}", quoted(&value.to_string())));
    parts.push(format!("headers = {}", table(headers)));
    table(parts.into_iter())
}

fn maintenance(maintenance: &Maintenance) -> String {
    let mut parts = vec![format!("status = {}", maintenance.status.as_u16())];
    parts.extend(maintenance.page.iter().flat_map(page));
    parts.extend(maintenance.retry_after.map(|after| format!("retry_after = {}", time(after))));
    parts.push(format!("allow = {}", strings(maintenance.allow.iter())));
    table(parts.into_iter())
}

fn error_pages(pages: &ErrorPages) -> String {
    let shown = pages.pages().iter();
    let mut parts: Vec<_> =
        shown.map(|(status, shown)| format!("{status} = {}", table(page(shown).into_iter()))).collect();
    parts.push(format!("intercept = {}", pages.intercept));
    table(parts.into_iter())
}
