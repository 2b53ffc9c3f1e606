//! A path that an origin may read as another cannot be used to pass by that other's rules.

use http::HeaderName;

use super::*;
use crate::config::access::{Access, Addresses};
use crate::config::{Glob, Wanted};

fn closed() -> RoutePolicy {
    let network = config::value::network("192.0.2.0/24").expect("a network");
    let addresses = Addresses { allow: vec![network], ..Addresses::default() };
    let access = Access { addresses: Some(Arc::new(addresses)), ..Access::default() };
    RoutePolicy { access: Some(Arc::new(access)), ..policy() }
}

fn route(path: &str, policy: RoutePolicy) -> config::Route {
    config::Route {
        path: pattern(path),
        methods: vec![],
        conditions: Conditions::default(),
        policy: Arc::new(policy),
    }
}

/// A closed route under `/admin/` for requests like this.
fn closed_to(conditions: Conditions) -> config::Route {
    config::Route { conditions, ..route("/admin/*", closed()) }
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

#[test]
fn no_spelling_of_a_path_in_other_letters_is_open() {
    let table = any_host(policy(), vec![route("/größe/*", closed()), route("*.php", closed())]);
    for target in
        ["//gr%C3%B6%C3%9Fe/x", "/o/..%2Fgr%C3%B6%C3%9Fe/x", "/gr%25C3%25B6%C3%9Fe/x", "/x;y.%2570hp"]
    {
        assert!(is_guarded(&table, target), "{target} is open");
    }
    for target in ["/gr%C3%B6%C3%9Fe/x", "/gr%C3%B6%C3%9Fe/a%20b;v=1"] {
        let found = routed(&table, "GET", b"www.example.com", target.as_bytes(), &[]).expect("a route");
        assert!(found.guard.is_some(), "its own spelling: {target}");
    }
}

#[test]
fn no_spelling_is_open_where_a_route_is_chosen_by_more_than_the_path() {
    let wanted = || Wanted::Like(vec![Glob::new("1")]);
    let network = config::value::network("192.0.2.0/24").expect("a network");
    let by_header =
        Conditions { header: vec![(HeaderName::from_static("x-a"), wanted())], ..Default::default() };
    let by_query = Conditions { query: vec![("a".into(), wanted())], ..Default::default() };
    let by_cookie = Conditions { cookie: vec![("a".into(), wanted())], ..Default::default() };
    let by_client = Conditions { client: vec![network], ..Default::default() };
    for (claim, conditions, query, lines, is_chosen) in [
        ("a field", by_header.clone(), "", &[("x-a", "1")][..], true),
        ("another field", by_header, "", &[("x-a", "2")], false),
        ("a parameter", by_query.clone(), "?a=1", &[], true),
        ("another parameter", by_query.clone(), "?a=2", &[], false),
        ("a parameter within the path", by_query, "%3Fa=1", &[], true),
        ("a cookie", by_cookie.clone(), "", &[("cookie", "a=1")], true),
        ("no cookie", by_cookie, "", &[], false),
        ("the client", by_client, "", &[], true),
    ] {
        let table = any_host(policy(), vec![closed_to(conditions)]);
        for path in ["//admin/x", "/open/..%2Fadmin/x", "/admin;a=b/x", "/%2561dmin/x"] {
            let found = routed(&table, "GET", b"www.example.com", format!("{path}{query}").as_bytes(), lines);
            let is_disputed = found.as_ref().err() == Some(&RouteRefusal::Disputed);
            assert_eq!(is_disputed, is_chosen, "{claim}: {path}{query}");
        }
    }
}

#[test]
fn what_asks_its_own_rules_is_not_disputed_by_an_open_path() {
    let table = any_host(closed(), vec![route("/public/*", policy())]);
    let found = routed(&table, "GET", b"www.example.com", b"/public%2Fx", &[]).expect("a route");
    assert!(found.guard.is_some());
}
