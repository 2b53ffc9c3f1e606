//! What the room promises, on tables and on generated requests.

mod answers;
mod conditions;
mod deception;
mod guarding;
mod matching;
mod normal;
mod property;
mod rewriting;
mod speed;
mod treatment;

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;

use http::Method;

use super::{Route, RouteRefusal, RouteTable};
use crate::config::check::{Surroundings, check};
use crate::config::{
    self, Conditions, Cookies, ErrorPages, Forward, HeaderRules, HostPattern, KeyParts, PathPattern, Preset,
    Query, Rewrite, RoutePolicy, Site, Steer,
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
        rewrite: Rewrite::default(),
        bypass: Conditions::default(),
        key: KeyParts::default(),
        request_headers: HeaderRules::default(),
        response_headers: HeaderRules::default(),
        https_only: false,
        allow_methods: Vec::new(),
        maintenance: None,
        answer: None,
        error_pages: ErrorPages::default(),
        upgrade: Arc::default(),
        mirror: None,
        access: None,
    }
}

fn site(hosts: &[HostPattern], defaults: RoutePolicy, routes: Vec<config::Route>) -> Site {
    Site {
        name: format!("{hosts:?}").into(),
        hosts: hosts.to_vec(),
        shared_host: None,
        defaults: Arc::new(defaults),
        redirects: Vec::new(),
        routes,
    }
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

/// The sites of settings with the pools `main`, `a` and `b`.
fn settings(sites: &str) -> RouteTable {
    RouteTable::new(&checked(sites).sites).expect("no files to read")
}

fn checked(sites: &str) -> config::Config {
    let around = Surroundings {
        host_name: "n1".to_owned(),
        cores: 1,
        base: PathBuf::new(),
        unreadable: |_| None,
        page: |_| Ok(b"page".to_vec()),
        no_list: |_, _| None,
        unfit: |_, _| None,
        no_database: |_| None,
        no_modsecurity: |_| None,
    };
    let pools = ["main", "a", "b"].map(|name| format!("[pool.{name}]\norigins = \"http://{name}.test\"\n"));
    let text = format!("[[listener]]\naddress = \":80\"\n{}{sites}", pools.concat());
    check("settings", &text, &around).unwrap_or_else(|mistakes| panic!("{mistakes}"))
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
    let fields = fields(lines);
    let route = table.route_parts(&method, Scheme::Http, authority, target, &fields, CLIENT);
    route.map(|route| route.detached(&fields))
}

/// Who asks.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
