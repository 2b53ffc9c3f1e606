//! `pool` and `steer`, written back.

use std::sync::Arc;

use super::super::{By, PlaceRule, Steer, Steering, Sticky, ValueRule};
use super::{Page, quoted, strings, time};

impl Page {
    pub(super) fn steer(&mut self, steer: &Steer) {
        match steer {
            Steer::Pool(pool) => self.line("pool", &quoted(pool)),
            Steer::By(steering) => self.line("steer", &table(steering)),
        }
    }
}

fn table(steering: &Steering) -> String {
    let mut parts = by(&steering.by);
    if !steering.fallback.is_empty() {
        parts.push(format!("fallback = {}", strings(steering.fallback.iter())));
    }
    if !matches!(steering.by, By::Order(_)) {
        parts.push(format!("split = {}", steering.split));
    }
    format!("{{ {} }}", parts.join(", "))
}

fn by(by: &By) -> Vec<String> {
    let name = |name: &str| format!("by = {}", quoted(name));
    let otherwise = |pool: &Arc<str>| format!("otherwise = {}", quoted(pool));
    match by {
        By::Order(pools) => vec![name("order"), format!("pools = {}", strings(pools.iter()))],
        By::Weight { shares, sticky } => {
            let shares: Vec<_> =
                shares.written().map(|(pool, share)| format!("{} = {share}", quoted(pool))).collect();
            let sticky = sticky.as_ref().map(|sticky| match sticky {
                Sticky::Client => format!("sticky = {}", quoted("client")),
                Sticky::Cookie { name, max_age } => {
                    format!("sticky = {{ cookie = {}, max_age = {} }}", quoted(name), time(*max_age))
                }
            });
            let pools = format!("pools = {{ {} }}", shares.join(", "));
            [name("weight"), pools].into_iter().chain(sticky).collect()
        }
        By::Geo { rules, otherwise: pool } => {
            let rules: Vec<_> = rules.iter().map(place_rule).collect();
            vec![name("geo"), format!("rules = [ {} ]", rules.join(", ")), otherwise(pool)]
        }
        By::Nearest { pools, otherwise: pool } => {
            let pools = strings(pools.iter().map(|(pool, _)| pool));
            vec![name("nearest"), format!("pools = {pools}"), otherwise(pool)]
        }
        By::Field { name: field, rules, otherwise: pool } => {
            vec![
                name("header"),
                format!("name = {}", quoted(field.as_str())),
                value_rules(rules),
                otherwise(pool),
            ]
        }
        By::Cookie { name: cookie, rules, otherwise: pool } => {
            vec![name("cookie"), format!("name = {}", quoted(cookie)), value_rules(rules), otherwise(pool)]
        }
    }
}

fn place_rule(rule: &PlaceRule) -> String {
    let regions = rule.regions.iter().map(|(country, region)| format!("{country}-{region}"));
    format!(
        "{{ countries = {}, continents = {}, regions = {}, pool = {} }}",
        strings(rule.countries.iter()),
        strings(rule.continents.iter()),
        strings(regions),
        quoted(&rule.pool)
    )
}

fn value_rules(rules: &[ValueRule]) -> String {
    let rules: Vec<_> = rules
        .iter()
        .map(|rule| format!("{{ values = {}, pool = {} }}", strings(rule.values.iter()), quoted(&rule.pool)))
        .collect();
    format!("rules = [ {} ]", rules.join(", "))
}
