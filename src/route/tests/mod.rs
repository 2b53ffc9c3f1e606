//! What the room promises, on tables and on generated requests.

mod deception;
mod matching;
mod normal;
mod property;
mod speed;
mod treatment;

use std::sync::Arc;

use http::Method;

use super::{Route, RouteRefusal, RouteTable};
use crate::config::{
    self, Cookies, Forward, HostPattern, PathPattern, Preset, Query, RoutePolicy, Site, Steer,
};
use crate::listener::fields::Fields;
use crate::listener::request::Scheme;

/// A policy that caches and changes nothing.
fn policy() -> RoutePolicy {
    RoutePolicy {
        preset: Preset::Default,
        cache: true,
        rules: cache_store::rules::Policy::default(),
        steer: Steer::Pool("origin".into()),
        vary_by_country: false,
        query: Query::default(),
        forward: Forward::Safe,
        cookies: Cookies::Forward,
        encode: None,
        x_cache: false,
        upgrade: Arc::default(),
        access: None,
    }
}

fn site(hosts: &[HostPattern], defaults: RoutePolicy, routes: Vec<config::Route>) -> Site {
    Site { name: format!("{hosts:?}").into(), hosts: hosts.to_vec(), defaults: Arc::new(defaults), routes }
}

fn any_host(defaults: RoutePolicy, routes: Vec<config::Route>) -> RouteTable {
    RouteTable::new(&[site(&[HostPattern::Any], defaults, routes)]).expect("no files to read")
}

/// A path pattern as `check.rs` makes it of what the settings say.
fn pattern(text: &str) -> PathPattern {
    match text.strip_suffix('*') {
        _ if !text.contains('*') => PathPattern::Exact(text.into()),
        Some(head) if !head.contains('*') => PathPattern::Prefix(head.into()),
        _ => PathPattern::Glob(text.split('*').map(Into::into).collect()),
    }
}

fn fields(lines: &[(&str, &str)]) -> Fields {
    Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn routed<'t>(
    table: &'t RouteTable,
    method: &str,
    authority: &[u8],
    target: &[u8],
    lines: &[(&str, &str)],
) -> Result<Route<'t, 'static>, RouteRefusal> {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    table.route_parts(&method, Scheme::Http, authority, target, &fields(lines)).map(Route::detached)
}
