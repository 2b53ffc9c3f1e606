//! A path that an origin may read as another cannot be used to pass by that other's rules.

use super::*;
use crate::config::access::{Access, Addresses};

fn closed() -> RoutePolicy {
    let network = config::value::network("192.0.2.0/24").expect("a network");
    let addresses = Addresses { allow: vec![network], ..Addresses::default() };
    let access = Access { addresses: Some(Arc::new(addresses)), ..Access::default() };
    RoutePolicy { access: Some(Arc::new(access)), ..policy() }
}

fn route(path: &str, policy: RoutePolicy) -> config::Route {
    config::Route { path: pattern(path), methods: vec![], policy: Arc::new(policy) }
}

/// Whether it is refused, or asked about.
fn is_guarded(table: &RouteTable, target: &str) -> bool {
    match routed(table, "GET", b"www.example.com", target.as_bytes(), &[]) {
        Ok(route) => route.guard.is_some(),
        Err(refusal) => refusal == RouteRefusal::Disputed,
    }
}

#[test]
fn no_spelling_of_a_closed_path_is_open() {
    let table = any_host(policy(), vec![route("/admin/*", closed())]);
    for target in [
        "/admin/x",
        "/%61dmin/x",
        "/./admin/x",
        "/open/../admin/x",
        "//admin/x",
        "/admin//x",
        "/open/..%2Fadmin/x",
        "/open%2F..%2Fadmin/x",
        "/open/..;/admin/x",
        "/admin;a=b/x",
        "/admin%2Fx",
        "/admin%252Fx",
        "/%2561dmin/x",
        "/open%5C..%5Cadmin%5Cx",
        "/open/%252e%252e/admin/x",
        "/;/admin/x",
    ] {
        assert!(is_guarded(&table, target), "{target} is open");
    }
    for target in ["/", "/administration", "/open/a%20b", "/open//x", "/open;v=1", "/open/%D0%B6", "/100%25"]
    {
        assert!(!is_guarded(&table, target), "{target} is closed");
    }
}

#[test]
fn no_spelling_of_an_open_path_opens_a_closed_site() {
    let table = any_host(closed(), vec![route("/public/*", policy()), route("*.css", policy())]);
    for target in
        ["/x", "/public/..%2Fx", "/public/..;/x", "/public%5C..%5Cx", "/x%00.css", "/x%3F.css", "/x;.css"]
    {
        assert!(is_guarded(&table, target), "{target} is open");
    }
    for target in ["/public/x", "/public/a%20b", "/main.css", "/public//x"] {
        assert!(!is_guarded(&table, target), "{target} is closed");
    }
}

#[test]
fn where_all_routes_are_equally_open_or_closed_no_path_is_disputed() {
    let open = any_host(policy(), vec![route("/a/*", policy())]);
    let same = closed();
    let shut = any_host(same.clone(), vec![route("/a/*", same)]);
    for target in ["//a/x", "/b/..%2Fa/x", "/a;b/x", "/%252525252525"] {
        assert!(!is_guarded(&open, target), "{target}");
        let found = routed(&shut, "GET", b"www.example.com", target.as_bytes(), &[]).expect("a route");
        assert!(found.guard.is_some(), "{target}");
    }
}
