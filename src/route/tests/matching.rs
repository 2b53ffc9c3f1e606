//! Which site and route a request finds.

use std::sync::Arc;

use http::Method;

use super::super::RouteRefusal;
use super::{Conditions, HostPattern, RouteTable, config, pattern, policy, routed, site};
use crate::config::{Preset, RoutePolicy, Steer};

fn exact(host: &str) -> HostPattern {
    HostPattern::Exact(host.into())
}

fn wildcard(parent: &str) -> HostPattern {
    HostPattern::Wildcard(parent.into())
}

#[test]
fn the_most_particular_site_answers() {
    let sites = [
        site(&[wildcard("example.org")], policy(), vec![]),
        site(&[exact("www.example.org"), exact("[::1]")], policy(), vec![]),
        site(&[wildcard("b.example.org")], policy(), vec![]),
    ];
    let mut all = sites.to_vec();
    all.push(site(&[HostPattern::Any], policy(), vec![]));
    let [without_any, with_any] =
        [&sites[..], &all].map(|sites| RouteTable::new(sites).expect("no files to read"));
    for (claim, host, expected) in [
        ("an exact host beats a wildcard", "www.example.org", Some(1)),
        ("case, dot and port do not matter", "WWW.example.org.:8080", Some(1)),
        ("an address in another spelling", "[0:0::1]", Some(1)),
        ("a wildcard takes one label", "a.example.org", Some(0)),
        ("a wildcard takes several", "x.y.example.org", Some(0)),
        ("the longest wildcard wins", "x.b.example.org", Some(2)),
        ("a wildcard does not take its parent", "example.org", None),
        ("the parent of one may be the child of another", "b.example.org", Some(0)),
        ("a wildcard takes whole labels only", "aexample.org", None),
        ("a host of nobody", "other.example", None),
    ] {
        let found = routed(&without_any, "GET", host.as_bytes(), b"/", &[]).map(|route| route.site);
        assert_eq!(found, expected.ok_or(RouteRefusal::NoSite), "{claim}");
        let found = routed(&with_any, "GET", host.as_bytes(), b"/", &[]).map(|route| route.site);
        assert_eq!(found, Ok(expected.unwrap_or(3)), "{claim}, beside a site for any host");
    }
}

/// A route marked by the name of its pool.
fn marked(mark: &str, path: &str, methods: &[Method]) -> config::Route {
    let policy = RoutePolicy { steer: Steer::Pool(mark.into()), preset: Preset::Default, ..policy() };
    config::Route {
        path: pattern(path),
        methods: methods.to_vec(),
        conditions: Conditions::default(),
        policy: Arc::new(policy),
    }
}

fn mark(policy: &RoutePolicy) -> &str {
    match &policy.steer {
        Steer::Pool(name) => name,
        Steer::By(_) => "not marked",
    }
}

/// The same routes, once few enough to be tried in order and once indexed.
#[test]
fn the_first_route_that_matches_decides() {
    let routes = [
        marked("exact", "/api/status", &[]),
        marked("posts", "/api/*", &[Method::POST]),
        marked("api", "/api/*", &[]),
        marked("late", "/api/late", &[]),
        marked("css", "*.css", &[]),
        marked("static", "/static/*", &[]),
        marked("middle", "/a*/b*c/*d", &[]),
        marked("letters", "/gr\u{f6}\u{df}e/*", &[]),
        marked("encoded", "/%7euser/%c3%a4", &[]),
        marked("every", "/every/**", &[]),
    ];
    let mut many = routes.to_vec();
    many.extend((0..1000).map(|n| marked("filler", &format!("/filler/{n}"), &[])));
    let few = super::any_host(policy(), routes.to_vec());
    let many = super::any_host(policy(), many);
    for (claim, method, target, expected) in [
        ("an exact path", "GET", "/api/status", "exact"),
        ("a query is no part of the path", "GET", "/api/status?x", "exact"),
        ("a method chooses", "POST", "/api/x", "posts"),
        ("another method goes on", "GET", "/api/x", "api"),
        ("a later route is not asked", "GET", "/api/late", "api"),
        ("a prefix does not match less", "GET", "/api", "origin"),
        ("a path is compared with case", "GET", "/API/status", "origin"),
        ("an ending", "GET", "/x/y.css", "css"),
        ("an ending before a prefix, as written", "GET", "/static/y.css", "css"),
        ("an ending has to be at the end", "GET", "/x.css/y", "origin"),
        ("a prefix", "GET", "/static/y.js", "static"),
        ("stars in the middle", "GET", "/abc/bxc/yd", "middle"),
        ("a star takes slashes", "GET", "/a/x/b/y/c/d", "middle"),
        ("a star takes nothing", "GET", "/a/bc/d", "middle"),
        ("all pieces have to be there", "GET", "/a/b/d", "origin"),
        ("pieces do not overlap", "GET", "/a/bc", "origin"),
        ("letters of any language are what a browser sends", "GET", "/gr%c3%b6%C3%9fe/x", "letters"),
        ("a pattern is put into normal form", "GET", "/~user/%C3%A4", "encoded"),
        ("two stars are one", "GET", "/every/x", "every"),
        ("the normal path is matched, dots gone", "GET", "/x/../api/status", "exact"),
        ("the normal path is matched, decoded", "GET", "/%61pi/status", "exact"),
        ("an encoded slash is no slash", "GET", "/api%2Fstatus", "origin"),
        ("the star of OPTIONS is no path", "OPTIONS", "*", "origin"),
    ] {
        for (table, size) in [(&few, "few"), (&many, "many")] {
            let route = routed(table, method, b"a.example", target.as_bytes(), &[]).unwrap();
            assert_eq!(mark(route.policy), expected, "{claim} ({size} routes)");
        }
    }
    let route = routed(&many, "GET", b"a.example", b"/filler/777", &[]).unwrap();
    assert_eq!(mark(route.policy), "filler");
}
