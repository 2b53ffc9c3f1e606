//! What a route makes of method, query, cookies and fields. FAULTS C1 to C3, S12.

use std::sync::Arc;

use cache_store::key::Keyer;
use http::Method;

use super::super::{Bypass, RouteRefusal};
use super::{
    Conditions, Cookies, Forward, Query, RoutePolicy, any_host, config, fields, pattern, policy, routed,
};

const HOST: &[u8] = b"a.example";

fn query(sort: bool, remove: &[&str]) -> Query {
    Query { sort, remove: remove.iter().map(|name| (*name).into()).collect(), keep: None }
}

#[test]
fn the_query_is_forwarded_as_it_is_keyed() {
    let sorted = query(true, &["utm_*", "fbclid"]);
    let kept = query(false, &["utm_*", "fbclid"]);
    for (claim, settings, received, expected) in [
        ("nothing to do", &kept, "/a?b=1", "/a?b=1"),
        ("a named one goes", &kept, "/a?fbclid=x&b=1", "/a?b=1"),
        ("a prefix goes", &kept, "/a?b=1&utm_source=x&utm_=y", "/a?b=1"),
        ("a name is whole", &kept, "/a?fbclid2=x", "/a?fbclid2=x"),
        ("a name has case", &kept, "/a?FBCLID=x", "/a?FBCLID=x"),
        ("an encoded name is a name", &kept, "/a?utm%5Fsource=x&%66bclid=y&b", "/a?b"),
        ("a name without a value", &kept, "/a?fbclid&b", "/a?b"),
        ("a value that looks like one stays", &kept, "/a?b=fbclid=x", "/a?b=fbclid=x"),
        ("the last one takes the question mark along", &kept, "/a?fbclid=x", "/a"),
        ("an empty query stays", &kept, "/a?", "/a?"),
        ("order stays without sorting", &kept, "/a?z&fbclid&a", "/a?z&a"),
        ("sorted by name", &sorted, "/a?c=1&a=2&b=3", "/a?a=2&b=3&c=1"),
        ("equal names keep their order", &sorted, "/a?b=2&a=9&b=1", "/a?a=9&b=2&b=1"),
        ("sorted and removed", &sorted, "/a?c&utm_id=1&a", "/a?a&c"),
        ("a semicolon parts nothing", &sorted, "/a?b;utm_x=1&a", "/a?a&b;utm_x=1"),
        ("what hides behind a removed one goes too", &kept, "/a?utm_x=1;evil=2&b", "/a?b"),
        ("an encoded ampersand parts nothing", &kept, "/a?b=1%26fbclid=2", "/a?b=1%26fbclid=2"),
    ] {
        let table = any_host(RoutePolicy { query: settings.clone(), ..policy() }, vec![]);
        let keyer = Keyer::new([1; 32]);
        let route = routed(&table, "GET", HOST, received.as_bytes(), &[]).unwrap();
        assert_eq!(route.path_str(), expected, "{claim}");
        let twice = routed(&table, "GET", HOST, expected.as_bytes(), &[]).unwrap();
        assert_eq!(twice.key(&keyer), route.key(&keyer), "{claim}");
    }
}

/// A `POST` is forwarded as it is, and makes stale what a `GET` would have found.
#[test]
fn a_request_that_passes_keeps_its_query_and_has_the_key_of_a_get() {
    let settings = query(true, &["utm_*"]);
    let table = any_host(RoutePolicy { query: settings, ..policy() }, vec![]);
    let keyer = Keyer::new([1; 32]);
    let post = routed(&table, "POST", HOST, b"/a?b&utm_x=1&a", &[]).unwrap();
    let get = routed(&table, "GET", HOST, b"/a?a&b", &[]).unwrap();
    assert_eq!(post.bypass, Some(Bypass::Method));
    assert_eq!(post.path_str(), "/a?b&utm_x=1&a");
    assert_eq!(post.key(&keyer), get.key(&keyer));
    assert_eq!(
        table.keys_of_url(&keyer, "http://A.example/x/../a?b&a&utm_y"),
        Ok(vec![get.key(&keyer)]),
        "and so does a purge"
    );
}

#[test]
fn a_purge_knows_the_keys_of_all_routes_a_url_is_stored_by() {
    let head_only = config::Route {
        path: pattern("/*"),
        methods: vec![Method::HEAD],
        conditions: Conditions::default(),
        policy: Arc::new(RoutePolicy { query: query(true, &[]), ..policy() }),
    };
    let table = any_host(policy(), vec![head_only]);
    let keyer = Keyer::new([1; 32]);
    let keys = table.keys_of_url(&keyer, "http://a.example/x?b&a").unwrap();
    for method in ["GET", "HEAD"] {
        let route = routed(&table, method, HOST, b"/x?b&a", &[]).unwrap();
        assert!(keys.contains(&route.key(&keyer)), "{method}");
    }
    assert_eq!(keys.len(), 2);
}

#[test]
fn only_what_may_be_shared_asks_the_cache() {
    let off = RoutePolicy { cache: false, ..policy() };
    let sessions = RoutePolicy {
        cookies: Cookies::PassOn(vec!["session".into(), "wordpress_logged_in*".into()]),
        ..policy()
    };
    let plain = policy();
    for (claim, policy, method, target, cookie, expected) in [
        ("GET", &plain, "GET", "/", "", None),
        ("HEAD", &plain, "HEAD", "/", "", None),
        ("POST", &plain, "POST", "/", "", Some(Bypass::Method)),
        ("OPTIONS", &plain, "OPTIONS", "*", "", Some(Bypass::Method)),
        ("PUT", &plain, "PUT", "/", "", Some(Bypass::Method)),
        ("a method nobody knows", &plain, "BREW", "/", "", Some(Bypass::Method)),
        ("a method in small letters is another", &plain, "get", "/", "", Some(Bypass::Method)),
        ("TRACE goes nowhere", &plain, "TRACE", "/", "", Some(Bypass::Trace)),
        ("CONNECT goes nowhere", &plain, "CONNECT", "/", "", Some(Bypass::Trace)),
        ("a route that is off", &off, "GET", "/", "", Some(Bypass::Off)),
        ("cookies where they count for nothing", &plain, "GET", "/", "session=1", None),
        ("a cookie that is not named", &sessions, "GET", "/", "theme=dark", None),
        ("a session", &sessions, "GET", "/", "theme=dark; session=1", Some(Bypass::Session)),
        ("a session without spaces", &sessions, "GET", "/", "theme=dark;session=1", Some(Bypass::Session)),
        ("a session by prefix", &sessions, "GET", "/", "wordpress_logged_in_7=x", Some(Bypass::Session)),
        ("a name is whole", &sessions, "GET", "/", "session2=1; xsession=1", None),
        ("a value is no name", &sessions, "GET", "/", "x=session", None),
    ] {
        let table = any_host(policy.clone(), vec![]);
        let route = routed(&table, method, HOST, target.as_bytes(), &[("Cookie", cookie)]).unwrap();
        assert_eq!(route.bypass, expected, "{claim}");
    }
}

#[test]
fn a_session_in_a_second_cookie_line_is_seen() {
    let table = any_host(RoutePolicy { cookies: Cookies::PassOn(vec!["sid".into()]), ..policy() }, vec![]);
    let route = routed(&table, "GET", HOST, b"/", &[("cookie", "a=1"), ("cookie", "sid=2")]).unwrap();
    assert_eq!(route.bypass, Some(Bypass::Session));
}

#[test]
fn only_harmless_fields_go_on() {
    let listed = RoutePolicy {
        forward: Forward::Only(vec!["accept".into(), "x-forwarded-host".into(), "x-app".into()]),
        cookies: Cookies::PassOn(vec![]),
        ..policy()
    };
    let safe = policy();
    // Field, and whether it reaches the origin: of a fill; of a fill with a pass list; around the cache.
    for (name, in_fill, in_listed_fill, in_pass) in [
        ("Accept", true, true, true),
        ("X-App", true, true, true),
        ("User-Agent", true, false, true),
        ("Cookie", true, false, true),
        ("Content-Type", false, false, true),
        ("X-Forwarded-Host", false, false, false),
        ("X_Forwarded_Host", false, false, false),
        ("X-HTTP-Method-Override", false, false, true),
        ("X-Original-URL", false, false, false),
        ("Forwarded", false, false, false),
        ("Content_Length", false, false, false),
        ("Range", true, false, true),
    ] {
        let received = fields(&[(name, "x")]);
        let line = received.lines().next().unwrap();
        let by_policy = |policy: &RoutePolicy| any_host(policy.clone(), vec![]);
        let (safe, listed) = (by_policy(&safe), by_policy(&listed));
        let safe = routed(&safe, "GET", HOST, b"/", &[]).unwrap();
        let listed = routed(&listed, "GET", HOST, b"/", &[]).unwrap();
        assert_eq!(safe.keeps_for_fill(&line), in_fill, "{name} in a fill");
        assert_eq!(listed.keeps_for_fill(&line), in_listed_fill, "{name} in a fill with a pass list");
        assert_eq!(safe.keeps_for_pass(&line), in_pass, "{name} in a pass");
        assert_eq!(listed.keeps_for_pass(&line), in_pass, "{name} in a pass, list or not");
    }
}

/// CVE-2026-26365 and its kin.
#[test]
fn connection_takes_nothing_out_of_the_message() {
    let table = any_host(policy(), vec![]);
    for (value, is_refused) in [
        ("close", false),
        ("keep-alive", false),
        ("Keep-Alive, TE", false),
        ("upgrade, x-mine", false),
        ("Transfer-Encoding", true),
        ("close, Content-Length", true),
        ("host", true),
        ("Cookie", true),
        ("Authorization", true),
        ("X-Forwarded-For", true),
        ("CDN-Loop", true),
        ("Cache-Control", true),
    ] {
        let found = routed(&table, "GET", HOST, b"/", &[("connection", value)]);
        assert_eq!(found.err() == Some(RouteRefusal::Nominated), is_refused, "{value}");
    }
}
