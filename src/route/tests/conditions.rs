//! Routes that are chosen by more than path and method: by whom, and under which keys.

use cache_store::key::Keyer;
use http::Method;

use super::{RouteTable, fields, routed, settings};
use crate::config::Steer;
use crate::listener::request::Scheme;

/// One route with this `match`, to the pool `a`; `main` is the site's, twenty routes of other paths are before it.
fn matching(conditions: &str, many: bool) -> RouteTable {
    let others = routes_elsewhere(if many { 20 } else { 0 });
    settings(&format!(
        "[[site]]\nhosts = \"*\"\npool = \"main\"\n{others}[[site.route]]\npath = \"/x*\"\nmatch = {{ {conditions} }}\npool = \"a\"\n"
    ))
}

fn routes_elsewhere(count: usize) -> String {
    let routes: Vec<_> = (0..count).map(|at| format!("[[site.route]]\npath = \"/other/{at}/*\"\n")).collect();
    routes.concat()
}

fn pool(table: &RouteTable, target: &str, lines: &[(&str, &str)]) -> String {
    let route = routed(table, "GET", b"h.test", target.as_bytes(), lines).unwrap();
    let Steer::Pool(pool) = &route.policy.steer else { panic!("{:?}", route.policy.steer) };
    pool.to_string()
}

#[test]
fn a_route_is_chosen_by_fields_parameters_cookies_and_addresses() {
    for (claim, conditions, target, lines, is_chosen) in [
        ("a field", "header = { x-kind = \"one\" }", "/x", &[("X-Kind", "one")][..], true),
        ("another value", "header = { x-kind = \"one\" }", "/x", &[("X-Kind", "One")], false),
        ("no such field", "header = { x-kind = \"one\" }", "/x", &[], false),
        (
            "the second line of it",
            "header = { x-kind = \"one\" }",
            "/x",
            &[("x-kind", "two"), ("x-kind", "one")],
            true,
        ),
        ("a well-known field", "header = { accept = \"*json*\" }", "/x", &[("accept", "a/json, */*")], true),
        ("one of a list", "header = { x-kind = [\"one\", \"t*\"] }", "/x", &[("x-kind", "two")], true),
        ("present", "header = { x-kind = true }", "/x", &[("x-kind", "")], true),
        ("not present", "header = { x-kind = true }", "/x", &[("x-kinds", "")], false),
        ("absent", "header = { x-kind = false }", "/x", &[], true),
        ("not absent", "header = { x-kind = false }", "/x", &[("x-kind", "")], false),
        ("a parameter", "query = { v = \"2\" }", "/x?a=1&v=2", &[], true),
        ("a parameter in another spelling", "query = { v = \"2\" }", "/x?%76=%32", &[], true),
        ("a parameter twice", "query = { v = \"2\" }", "/x?v=1&v=2", &[], true),
        ("a value with an equals sign", "query = { v = \"a=b\" }", "/x?v=a=b", &[], true),
        ("a name within a value", "query = { v = \"2\" }", "/x?a=v=2", &[], false),
        ("a parameter without a value", "query = { v = \"\" }", "/x?v", &[], true),
        ("no query", "query = { v = true }", "/x", &[], false),
        ("a cookie", "cookie = { beta = \"1\" }", "/x", &[("cookie", "a=2; beta=1")], true),
        (
            "a cookie in a second line",
            "cookie = { beta = \"1\" }",
            "/x",
            &[("cookie", "a=2"), ("cookie", "beta=1")],
            true,
        ),
        (
            "a cookie's name within a value",
            "cookie = { beta = \"1\" }",
            "/x",
            &[("cookie", "a=beta=1")],
            false,
        ),
        ("no cookie", "cookie = { beta = false }", "/x", &[("cookie", "a=1")], true),
        ("an address", "client = [\"192.0.2.0/24\"]", "/x", &[], true),
        ("one of several networks", "client = [\"10.0.0.0/8\", \"192.0.2.7\"]", "/x", &[], true),
        ("another address", "client = [\"10.0.0.0/8\"]", "/x", &[], false),
        ("all of it", "client = [\"192.0.2.0/24\"], query = { v = true }", "/x?v", &[], true),
        ("all but one", "client = [\"192.0.2.0/24\"], query = { v = true }", "/x", &[], false),
        ("another path", "query = { v = true }", "/y?v", &[], false),
    ] {
        for many in [false, true] {
            let expected = if is_chosen { "a" } else { "main" };
            assert_eq!(pool(&matching(conditions, many), target, lines), expected, "{claim} (many: {many})");
        }
    }
}

#[test]
fn expressions_match_paths_in_normal_form() {
    for (claim, regex, target, is_chosen) in [
        ("anchored", "^/v[0-9]+/", "/v2/a", true),
        ("not there", "^/v[0-9]+/", "/a/v2/", false),
        ("searched for", "[.]php", "/a/b.php/c", true),
        ("at the end", "[.]php$", "/a/b.php/c", false),
        ("a query is no part of the path", "x", "/?x", false),
        ("in normal form", "^/a$", "/%61", true),
        ("dots are gone", "^/a$", "/b/../a", true),
        ("without case", "(?i)^/A$", "/a", true),
    ] {
        for path in [format!("'~ {regex}'"), format!("{{ regex = '{regex}' }}")] {
            let table = settings(&format!(
                "[[site]]\nhosts = \"*\"\npool = \"main\"\n[[site.route]]\npath = {path}\npool = \"a\"\n"
            ));
            assert_eq!(pool(&table, target, &[]) == "a", is_chosen, "{claim}");
        }
    }
}

/// Without linear time this would not end.
#[test]
fn no_path_makes_an_expression_slow() {
    let table = settings(
        "[[site]]\nhosts = \"*\"\npool = \"main\"\n[[site.route]]\npath = '~ ^/(a*)*(a|aa)+$'\npool = \"a\"\n",
    );
    let target = format!("/{}!", "a".repeat(8000));
    assert_eq!(pool(&table, &target, &[]), "main");
}

/// What one route brings is nobody's who would have taken another, and a purge of the URL takes all of it.
#[test]
fn routes_that_are_chosen_by_more_than_the_url_have_keys_of_their_own() {
    let keyer = Keyer::new([5; 32]);
    for others in [0, 30] {
        let others = routes_elsewhere(others);
        let table = settings(&format!(
            "[[site]]\nhosts = \"*\"\npool = \"main\"\n{others}\
             [[site.route]]\npath = \"/x*\"\nmatch = {{ header = {{ x-kind = \"one\" }} }}\npool = \"a\"\n\
             [[site.route]]\npath = \"/x/*\"\nmethods = [\"GET\"]\nmatch = {{ cookie = {{ beta = true }} }}\npool = \"a\"\n\
             [[site.route]]\npath = \"~ ^/x\"\nmatch = {{ client = \"192.0.2.7\" }}\npool = \"b\"\n\
             [[site.route]]\npath = \"/x/*\"\npool = \"b\"\n\
             [[site.route]]\npath = \"/*\"\nmatch = {{ header = {{ x-never = true }} }}\n",
        ));
        let key = |method: &str, lines: &[(&str, &str)]| {
            routed(&table, method, b"h.test", b"/x/1?q", lines).unwrap().key(&keyer)
        };
        let elsewhere = |lines: &[(&str, &str)]| {
            let found = table.route_parts(
                &Method::GET,
                Scheme::Http,
                b"h.test",
                b"/x/1?q",
                &fields(lines),
                std::net::IpAddr::from([10, 0, 0, 1]),
            );
            found.unwrap().key(&keyer)
        };
        let all = [
            key("GET", &[("x-kind", "one")]),
            key("GET", &[("cookie", "beta=1")]),
            key("GET", &[]),
            elsewhere(&[]),
        ];
        let distinct: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        assert_eq!(key("HEAD", &[("x-kind", "one")]), all[0], "a HEAD is answered from what a GET stored");
        assert_eq!(key("HEAD", &[("cookie", "beta=1")]), all[2], "the second route is for GET alone");
        assert_eq!(key("POST", &[("x-kind", "one")]), all[0], "a POST makes stale what its GET would find");
        let known = table.keys_of(&keyer, Scheme::Http, b"h.test", b"/x/1?q");
        for key in all {
            assert!(known.contains(&key), "a purge takes it");
        }
        assert_eq!(known.len(), all.len(), "and no route behind the first that takes every request is asked");
    }
}

/// CGI, WSGI and PHP make one variable of `X_Kind` and `X-Kind`.
#[test]
fn what_tells_answers_apart_comes_to_a_fill_in_its_own_spelling_only() {
    let table = settings(
        "[[site]]\nhosts = \"*\"\npool = \"main\"\nkey = { headers = [\"x-tenant\"] }\n\
         bypass = { header = { x-preview = \"1\" } }\n\
         [[site.route]]\npath = \"/x*\"\nmatch = { header = { x-kind = \"one\" } }\n",
    );
    for target in ["/x", "/y"] {
        let route = routed(&table, "GET", b"h.test", target.as_bytes(), &[]).unwrap();
        for (name, in_fill) in [
            ("X-Tenant", true),
            ("X_Tenant", false),
            ("x.tenant", false),
            ("x-preview", true),
            ("x_preview", false),
            ("x-kind", true),
            ("X_Kind", false),
            ("x_kinds", true),
        ] {
            let received = fields(&[(name, "1")]);
            let line = received.lines().next().unwrap();
            assert_eq!(route.keeps_for_fill(&line), in_fill, "{name} for {target}");
            assert!(route.keeps_for_pass(&line), "{name} for {target}");
        }
    }
}
