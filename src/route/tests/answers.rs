//! What routes answer themselves, and where redirects may lead.

use std::sync::Arc;

use http::Method;

use super::super::{Asked, OwnAnswer};
use super::{CLIENT, RouteTable, checked, fields, settings};
use crate::listener::request::Scheme;
use crate::observe::metrics::Metrics;

/// What is answered to a request for `target`, as text.
fn told(table: &RouteTable, method: &str, scheme: Scheme, target: &[u8]) -> String {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let nothing = fields(&[]);
    let Ok(route) = table.route_parts(&method, scheme, b"H.test:8080", target, &nothing, CLIENT) else {
        return "refused".to_owned();
    };
    match table.own_answer(&route, &Asked { method: &method, scheme, target, client: CLIENT }) {
        None => "nothing".to_owned(),
        Some(OwnAnswer::Redirect(status, location, _)) => {
            format!("{} {}", status.as_u16(), String::from_utf8(location).unwrap())
        }
        Some(OwnAnswer::Fixed(fixed)) => format!("{} fixed", fixed.status.as_u16()),
        Some(OwnAnswer::Maintenance(closed)) => format!("{} closed", closed.status.as_u16()),
        Some(OwnAnswer::NotAllowed(_)) => "405".to_owned(),
        Some(OwnAnswer::Server) => "204".to_owned(),
        Some(OwnAnswer::TooLong) => "414".to_owned(),
    }
}

fn site(text: &str) -> RouteTable {
    settings(&format!("[[site]]\nhosts = \"*\"\npool = \"main\"\n{text}"))
}

fn redirecting(path: &str, redirect: &str) -> RouteTable {
    site(&format!("[[site.route]]\npath = '{path}'\nredirect = {redirect}\n"))
}

#[test]
fn a_redirect_leads_where_it_is_written_to() {
    for (claim, path, redirect, target, expected) in [
        ("a URL", "/a", "'https://b.test/x'", "/a?q", "302 https://b.test/x"),
        ("a path", "/a", "{ to = '/x', status = 301 }", "/a", "301 /x"),
        ("the query is kept", "/a", "{ to = '/x', query = 'keep' }", "/a?q=1", "302 /x?q=1"),
        ("behind another", "/a", "{ to = '/x?y', query = 'keep' }", "/a?q=1", "302 /x?y&q=1"),
        ("before a fragment", "/a", "{ to = '/x#y', query = 'keep' }", "/a?q=1", "302 /x?q=1#y"),
        ("there is none to keep", "/a", "{ to = '/x', query = 'keep' }", "/a?", "302 /x"),
        ("a prefix", "/a/*", "'https://b.test/$1'", "/a/c/d?q", "302 https://b.test/c/d"),
        ("two stars", "/a/*/b/*", "'/$2/$1'", "/a/1/b/2/3", "302 /2/3/1"),
        ("a group", "~ ^/a/([0-9]+)$", "'/n/$1'", "/a/12", "302 /n/12"),
        ("a named group", "~ ^/a/(?P<n>[0-9]+)$", "'/n/${n}/$1'", "/a/12", "302 /n/12/12"),
        ("a group that took nothing", "~ ^/a(b)?$", "'/n$1'", "/a", "302 /n"),
        (
            "another host, all else the same",
            "/*",
            "'https://www.b.test$uri'",
            "/a%20b?c",
            "302 https://www.b.test/a%20b?c",
        ),
        ("the same host", "/*", "'https://$host$uri'", "/a", "302 https://h.test/a"),
        ("by the same scheme", "/*", "'$scheme://b.test$path'", "/a?q", "302 http://b.test/a"),
        ("what is encoded stays so", "/a/*", "'/b/$1'", "/a/%0d%0aX:y%2F%3f", "302 /b/%0D%0AX:y%2F%3F"),
        ("one parameter stays one", "/a/*", "'/b?x=$1'", "/a/1&y=2+3;z#", "refused"),
        ("one parameter stays one", "/a/*", "'/b?x=$1'", "/a/1&y=2+3;z", "302 /b?x=1%26y%3D2%2B3%3Bz"),
        (
            "a host does not grow",
            "/a*",
            "'https://b.test$1'",
            "/a.evil.test/x",
            "302 https://b.test/.evil.test/x",
        ),
        (
            "nor does it become a user",
            "/a*",
            "'https://b.test$1'",
            "/a@evil.test/x",
            "302 https://b.test/@evil.test/x",
        ),
        (
            "nor has it a port",
            "/a*",
            "'https://b.test$1'",
            "/a:1@evil.test",
            "302 https://b.test/:1@evil.test",
        ),
        ("nor a query", "/a*", "'https://b.test$1'", "/a", "302 https://b.test/"),
        ("a slash of its own is enough", "/a*", "'https://b.test$1'", "/a/x", "302 https://b.test/x"),
        ("no host out of a path", "/a/*", "'/$1'", "/a//evil.test/x", "302 http://h.test//evil.test/x"),
        ("nor out of the whole path", "*/", "'$path'", "//evil.test/", "302 http://h.test//evil.test/"),
    ] {
        assert_eq!(
            told(&redirecting(path, redirect), "GET", Scheme::Http, target.as_bytes()),
            expected,
            "{claim}"
        );
    }
}

#[test]
fn no_byte_of_a_path_ends_a_location_or_changes_its_host() {
    let tables = [
        redirecting("/a*", "'https://b.test$1'"),
        redirecting("/a*", "{ to = 'https://b.test/x?y=$1', query = 'keep' }"),
        redirecting("~ ^/a(.*)$", "'/$1'"),
        redirecting("/a*", "'https://b.test?$query#$1'"),
    ];
    let mut answered = 0;
    for byte in 0..=255_u8 {
        for spelling in
            [vec![byte], format!("%{byte:02X}").into_bytes(), format!("%25{byte:02X}").into_bytes()]
        {
            for (before, behind) in [("/a", "/b"), ("/a", ".evil.test"), ("/a/", "/evil.test"), ("/a?", "x")]
            {
                let target = [before.as_bytes(), &spelling, behind.as_bytes()].concat();
                for table in &tables {
                    let answer = told(table, "GET", Scheme::Http, &target);
                    let Some(location) = answer.strip_prefix("302 ") else {
                        assert!(answer == "refused" || answer == "nothing", "{answer}");
                        continue;
                    };
                    answered += 1;
                    assert!(location.bytes().all(|byte| byte.is_ascii_graphic()), "{location:?}");
                    let host = location.strip_prefix("https://").or_else(|| location.strip_prefix("http://"));
                    let host = host.map(|rest| rest.split(['/', '?', '#']).next().unwrap());
                    let is_ours = host.is_none_or(|host| host == "b.test" || host == "h.test");
                    assert!(
                        is_ours && !location.starts_with("//"),
                        "{location:?} of {}",
                        target.escape_ascii()
                    );
                }
            }
        }
    }
    assert!(answered > 8000, "only {answered} redirects were answered");
}

#[test]
fn a_location_has_a_bound() {
    let table = redirecting("/a/*", "'/$1$1$1$1$1$1$1$1'");
    let target = format!("/a/{}", "x".repeat(4000));
    assert_eq!(told(&table, "GET", Scheme::Http, target.as_bytes()), "414");
}

#[test]
fn the_first_of_many_redirects_decides_and_comes_before_routes() {
    let mut list: Vec<_> = (0..5000).map(|at| format!("'/old/{at} /new/{at} 301'")).collect();
    list.push("{ from = '/old/*', to = '/lost?at=$1', query = 'keep' }".to_owned());
    list.push("'/old/7/* /never'".to_owned());
    list.push("'~^/re/(x+)$ /found/$1 308'".to_owned());
    list.push("{ from = { regex = '^/[0-9]$' }, to = '/digit' }".to_owned());
    let table = site(&format!(
        "redirects = [{}]\n[[site.route]]\npath = '/old/*'\nrespond = {{ body = 'x' }}\n",
        list.join(", ")
    ));
    for (target, expected) in [
        ("/old/4711?q", "301 /new/4711"),
        ("/old/5000?q", "302 /lost?at=5000&q"),
        ("/old/7/8", "302 /lost?at=7/8"),
        ("/re/xx", "308 /found/xx"),
        ("/5", "302 /digit"),
        ("/new/1", "nothing"),
    ] {
        assert_eq!(told(&table, "GET", Scheme::Http, target.as_bytes()), expected, "{target}");
    }
}

#[test]
fn what_is_written_is_asked_in_order() {
    let table = site(
        "https_only = true\nallow_methods = ['GET', 'HEAD']\n\
         [[site.route]]\npath = '/closed/*'\nmaintenance = { body = 'back soon' }\n\
         [[site.route]]\npath = '/mine/*'\nmaintenance = { status = 500, allow = ['192.0.2.7'] }\nrespond = { body = 'x', status = 410 }\n\
         [[site.route]]\npath = '/any/*'\nallow_methods = []\nhttps_only = false\n",
    );
    for (claim, method, scheme, target, expected) in [
        ("without TLS", "GET", Scheme::Http, "/x?utm_a=1", "301 https://h.test/x?utm_a=1"),
        ("with a body", "POST", Scheme::Http, "/x", "308 https://h.test/x"),
        ("with TLS", "GET", Scheme::Https, "/x", "nothing"),
        ("a method that is not taken", "POST", Scheme::Https, "/x", "405"),
        ("closed to everyone", "GET", Scheme::Https, "/closed/x", "503 closed"),
        ("closed to any method", "POST", Scheme::Https, "/closed/x", "503 closed"),
        ("closed, but not to this one", "GET", Scheme::Https, "/mine/x", "410 fixed"),
        ("a route that takes what its site does not", "POST", Scheme::Http, "/any/x", "nothing"),
        ("TRACE is refused elsewhere", "TRACE", Scheme::Https, "/closed/x", "nothing"),
    ] {
        assert_eq!(told(&table, method, scheme, target.as_bytes()), expected, "{claim}");
    }
}

#[test]
fn a_route_takes_back_what_its_site_answers() {
    let table = site(
        "redirect = 'https://www.b.test$uri'\n[[site.route]]\npath = '/.well-known/*'\nredirect = 'off'\n",
    );
    assert_eq!(told(&table, "GET", Scheme::Http, b"/x"), "302 https://www.b.test/x");
    assert_eq!(told(&table, "GET", Scheme::Http, b"/.well-known/x"), "nothing");
}

/// The counters of a site stay where they were when the settings change, so its place among them says nothing about its place
/// among the sites.
#[test]
fn a_site_has_its_own_redirects_wherever_its_counters_are() {
    let sites = checked(
        "[[site]]\nhosts = \"first.test\"\npool = \"main\"\nredirects = [\"/old /first\"]\n\
         [[site]]\nhosts = \"h.test\"\npool = \"main\"\nredirects = [\"/old /mine\"]\n",
    )
    .sites;
    for before in [vec![], vec![1, 0], vec![0, 1]] {
        let names = before.iter().map(|at: &usize| Arc::clone(&sites[*at].name));
        let table = RouteTable::counted(&sites, &Metrics::new(names, 1)).expect("no files to read");
        assert_eq!(told(&table, "GET", Scheme::Http, b"/old"), "302 /mine", "{before:?}");
    }
    let metrics = Metrics::new(sites.iter().map(|site| Arc::clone(&site.name)), 1);
    let table = RouteTable::counted(&sites[1..], &metrics).expect("no files to read");
    assert_eq!(told(&table, "GET", Scheme::Http, b"/old"), "302 /mine", "the first is gone");
}
