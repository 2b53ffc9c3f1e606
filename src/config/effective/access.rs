//! `access`, written back: every part, so that nothing of a site shines through where its route has taken it back.

use std::path::PathBuf;

use super::super::access::{Access, Basic, Concurrency, Countries, Rate, RateBy, Signed, SignedQuery};
use super::super::check::{MODES, OVER};
use super::super::inspect::{Inspect, ModSecurity};
use super::{Page, named, quoted, size, strings, time};

impl Page {
    pub(super) fn access(&mut self, access: Option<&Access>) {
        let Some(access) = access else { return self.line("access", &quoted("off")) };
        let Access { addresses, rates, concurrency, countries, referers, signed, basic, inspect } = access;
        let mut parts = Vec::new();
        let addresses = addresses.as_deref().cloned().unwrap_or_default();
        parts.push(format!("allow = {}", strings(addresses.allow.iter())));
        parts.push(format!("deny = {}", strings(addresses.deny.iter())));
        let files = |key: &str, files: &[PathBuf]| {
            (!files.is_empty())
                .then(|| format!("{key} = {}", strings(files.iter().map(|file| file.display()))))
        };
        parts.extend(files("allow_files", &addresses.allow_files));
        parts.extend(files("deny_files", &addresses.deny_files));
        let rates: Vec<_> =
            rates.iter().flat_map(|rates| rates.iter()).map(|rate| self::rate(rate)).collect();
        parts.push(format!("rate = [{}]", rates.join(", ")));
        parts.push(match concurrency.as_deref() {
            None => format!("concurrency = {}", quoted("off")),
            Some(Concurrency { name, requests, dry_run }) => {
                let name = quoted(name);
                format!("concurrency = {{ requests = {requests}, name = {name}, dry_run = {dry_run} }}")
            }
        });
        parts.push(match countries.as_deref() {
            None => format!("countries = {}", quoted("off")),
            Some(Countries { allow, deny, unknown }) => {
                let unknown = quoted(if *unknown { "allow" } else { "deny" });
                let (allow, deny) = (strings(allow.iter()), strings(deny.iter()));
                format!("countries = {{ allow = {allow}, deny = {deny}, unknown = {unknown} }}")
            }
        });
        parts.push(match referers.as_deref() {
            None => format!("referers = {}", quoted("off")),
            Some(referers) => {
                let hosts = strings(referers.hosts.iter());
                format!("referers = {{ hosts = {hosts}, none = {} }}", referers.none)
            }
        });
        parts.push(match signed.as_deref() {
            None => format!("signed = {}", quoted("off")),
            Some(Signed { keys, query, skew }) => {
                let keys = keys.iter().map(|(id, file)| {
                    format!("{{ id = {}, file = {} }}", quoted(id), quoted(&file.display().to_string()))
                });
                let keys = keys.collect::<Vec<_>>().join(", ");
                let query = match query {
                    SignedQuery::All => quoted("all"),
                    SignedQuery::Only(names) => strings(names.iter()),
                };
                format!("signed = {{ keys = [{keys}], query = {query}, skew = {} }}", time(*skew))
            }
        });
        parts.push(match basic.as_deref() {
            None => format!("basic = {}", quoted("off")),
            Some(Basic { users, realm, forward }) => {
                let (users, realm) = (quoted(&users.display().to_string()), quoted(realm));
                format!("basic = {{ users = {users}, realm = {realm}, forward = {forward} }}")
            }
        });
        parts.push(inspect.as_deref().map_or_else(|| format!("inspect = {}", quoted("off")), self::inspect));
        self.line("access", &format!("{{ {} }}", parts.join(", ")));
    }

    pub(super) fn modsecurity(&mut self, settings: &ModSecurity) {
        let ModSecurity { rules, library, concurrency, queue_max } = settings;
        self.table("[modsecurity]");
        self.line("rules", &strings(rules.iter().map(|file| file.display())));
        self.line("library", &quoted(library));
        self.line("concurrency", &concurrency.to_string());
        self.line("queue_max", &queue_max.to_string());
    }
}

fn rate(rate: &Rate) -> String {
    let Rate { name, requests, per, burst, by, dry_run, fields, memory_bytes } = rate;
    let by = match by {
        RateBy::Client => quoted("client"),
        RateBy::Route => quoted("route"),
        RateBy::Field(name) => format!("{{ header = {} }}", quoted(name)),
    };
    let (name, per, memory) = (quoted(name), time(*per), size(*memory_bytes));
    format!(
        "{{ requests = {requests}, per = {per}, burst = {burst}, by = {by}, name = {name}, dry_run = {dry_run}, fields = {fields}, \
         memory = {memory} }}"
    )
}

fn inspect(inspect: &Inspect) -> String {
    let Inspect { mode, engines, body_bytes_max, over } = inspect;
    let engines = [(engines.libinjection, "libinjection"), (engines.modsecurity.is_some(), "modsecurity")];
    let engines = strings(engines.into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name));
    let (mode, over, body) = (named(&MODES, mode), named(&OVER, over), size(*body_bytes_max));
    format!("inspect = {{ mode = {mode}, engines = {engines}, body_max = {body}, over = {over} }}")
}
