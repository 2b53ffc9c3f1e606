//! FAULTS C6, B8: no spelling of a private page's path makes it cacheable.
//!
//! Two halves. Without rules by path, every variant has the site's own policy, the same as the page itself: nothing looks
//! at endings. With rules that do force caching (`/static/*`, `*.css`), a variant that an origin may take for the
//! private page goes around the cache, or is not taken by the rule at all.

use std::sync::Arc;

use super::super::{Bypass, Route, RouteRefusal};
use super::{Conditions, RoutePolicy, any_host, config, pattern, policy, routed};

/// What origins and their frameworks are known to end a path at, or to cut a segment at.
const DELIMITERS: [&str; 18] = [
    "/", ";", "%3b", "%3B", "%23", "%3f", "%3F", "%0a", "%0d", "%0d%0a", "%00", "%09", "%20", "%2f", "%5c",
    "%253b", "%253f", "%2523",
];
const ENDINGS: [&str; 12] = [
    "x.css",
    "x.js",
    "x.png",
    "x.jpg",
    "x.ico",
    "x.svg",
    "x.woff2",
    "x.txt",
    "x.pdf",
    ".css",
    "robots.txt",
    "a/b.js",
];
/// Ways to say `..` and a slash.
const CLIMBS: [&str; 22] = [
    "..%2f",
    "..%2F",
    "%2e%2e%2f",
    ".%2e%2f",
    "..%5c",
    "..%5C",
    "%2e%2e%5c",
    "..;/",
    "..;x=y/",
    "%2e%2e;/",
    "..%3b/",
    "..%3Bx/",
    "..%252f",
    "%252e%252e/",
    "%252e%252e%252f",
    "..%00/",
    "..%0a/",
    "..%3f/",
    "..%23/",
    "x%2f..%2f..%2f",
    "..%20/",
    "%25252e%25252e/",
];
const DIRECTORIES: [&str; 3] = ["/static/", "/assets/img/", "/robots.txt%2f"];

fn by_ending() -> Vec<String> {
    let mut variants = Vec::new();
    for delimiter in DELIMITERS {
        for ending in ENDINGS {
            variants.push(format!("/account{delimiter}{ending}"));
        }
    }
    variants
}

fn by_climbing() -> Vec<String> {
    let mut variants = Vec::new();
    for directory in DIRECTORIES {
        for climb in CLIMBS {
            variants.push(format!("{directory}{climb}account"));
            variants.push(format!("{directory}{climb}{climb}account?x.css"));
        }
    }
    variants
}

fn found<'t>(table: &'t super::RouteTable, target: &str) -> Result<Route<'t, 'static>, RouteRefusal> {
    routed(table, "GET", b"a.example", target.as_bytes(), &[])
}

#[test]
fn there_are_at_least_two_hundred_variants_of_each_half() {
    let (endings, climbs) = (by_ending().len(), by_climbing().len());
    assert!(endings >= 200, "{endings} by ending");
    assert!(endings + climbs >= 300, "{climbs} by climbing");
}

#[test]
fn without_rules_an_ending_changes_nothing() {
    let table = any_host(policy(), vec![]);
    let page = found(&table, "/account").unwrap();
    for variant in by_ending().iter().chain(&by_climbing()) {
        let route = found(&table, variant).unwrap_or_else(|refusal| panic!("{variant}: {refusal}"));
        assert!(Arc::ptr_eq(route.policy, page.policy), "{variant} has a policy of its own");
        assert!(
            route.path_str() != page.path_str(),
            "{variant} is the page itself to us, so it must be it to the origin: not a deception"
        );
    }
}

fn forced() -> (super::RouteTable, Arc<RoutePolicy>) {
    let forced = Arc::new(RoutePolicy { x_cache: true, ..policy() });
    let rule = |path| config::Route {
        path: pattern(path),
        methods: vec![],
        conditions: Conditions::default(),
        policy: Arc::clone(&forced),
    };
    let rules =
        ["/static/*", "/assets/*", "*.css", "*.js", "*.png", "*.txt", "/robots.txt"].map(rule).to_vec();
    (any_host(policy(), rules), forced)
}

#[test]
fn a_rule_for_a_directory_does_not_cache_what_climbs_out_of_it() {
    let (table, _) = forced();
    for variant in by_climbing() {
        let route = found(&table, &variant).unwrap();
        assert_eq!(route.bypass, Some(Bypass::Ambiguous), "{variant}");
    }
}

#[test]
fn a_rule_for_an_ending_does_not_cache_a_page_with_a_delimiter_before_it() {
    let (table, forced) = forced();
    for variant in by_ending().iter().filter(|variant| !variant.starts_with("/account/")) {
        let route = found(&table, variant).unwrap();
        let is_cached_by_rule = route.bypass.is_none() && Arc::ptr_eq(route.policy, &forced);
        let is_a_space = variant.contains("%20");
        assert!(!is_cached_by_rule || is_a_space, "{variant}");
    }
}

/// What a site really has must stay cacheable.
#[test]
fn ordinary_paths_are_not_ambiguous() {
    let (table, _) = forced();
    for path in [
        "/static/app.css",
        "/static/a%20b.css",
        "/a;v=1/b",
        "/@scope%2fpackage",
        "/static/caf%C3%A9.css",
        "/static/100%25.png",
        "/static/..hidden/x",
        "/static/a..b",
        "/static/.../x",
        "/a%2Bb/c",
        "/static/x/../y.css",
    ] {
        assert_eq!(found(&table, path).unwrap().bypass, None, "{path}");
    }
}
