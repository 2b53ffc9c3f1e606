//! What is stored, what is not and why, and without which fields.

use std::time::Duration;

use http::Method;

use super::super::cache_control::CacheControl;
use super::super::invalidate::{invalidated, resolve};
use super::super::policy::{Errors, Policy, SetCookie};
use super::super::retained::retained;
use super::super::storable::NotStored;
use super::super::{ResponseHead, Target};
use super::{Exchange, Lines, TARGET, Ttl, date, fields};

#[test]
fn a_response_is_kept_from_the_store_by_name() {
    let fresh = "max-age=60";
    let rows: &[(&str, Lines<'_>, Lines<'_>, Ttl)] = &[
        ("no-store", &[], &[("cache-control", "max-age=60, No-StOrE")], Err("no-store")),
        ("private", &[], &[("cache-control", "PRIVATE, max-age=60")], Err("private")),
        ("a quoted no-store is a word", &[], &[("cache-control", "max-age=60, ext=\"a, no-store\"")], Ok(60)),
        (
            "the request said no-store",
            &[("cache-control", "no-store")],
            &[("cache-control", fresh)],
            Err("request-no-store"),
        ),
        (
            "an authenticated request",
            &[("authorization", "x")],
            &[("cache-control", fresh)],
            Err("authorization"),
        ),
        (
            "authenticated, public",
            &[("authorization", "x")],
            &[("cache-control", "max-age=60, public")],
            Ok(60),
        ),
        (
            "authenticated, must-revalidate",
            &[("authorization", "x")],
            &[("cache-control", "max-age=60, must-revalidate")],
            Ok(60),
        ),
        ("authenticated, s-maxage", &[("authorization", "x")], &[("cache-control", "s-maxage=60")], Ok(60)),
        ("a star in Vary", &[], &[("cache-control", fresh), ("vary", "a, *")], Err("vary-star")),
        (
            "a star on its own line",
            &[],
            &[("cache-control", fresh), ("vary", ""), ("vary", "*")],
            Err("vary-star"),
        ),
        ("no-cache with a validator", &[], &[("cache-control", "no-cache"), ("etag", "\"a\"")], Ok(0)),
        ("no-cache without one", &[], &[("cache-control", "no-cache, max-age=60")], Err("no-freshness")),
        (
            "Pragma in a response means nothing",
            &[],
            &[("cache-control", fresh), ("pragma", "no-cache")],
            Ok(60),
        ),
        ("a cookie of the request means nothing", &[("cookie", "a=b")], &[("cache-control", fresh)], Ok(60)),
    ];
    for (claim, request, response, ttl) in rows {
        assert_eq!(Exchange::new(response).request(request).ttl(), *ttl, "{claim}");
    }
}

#[test]
fn every_final_status_is_stored_when_its_lifetime_is_named() {
    for status in [200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 410, 499, 500, 502, 503, 504, 599] {
        let exchange = Exchange::new(&[("cache-control", "max-age=60")]).status(status);
        assert_eq!(exchange.ttl(), Ok(60), "{status}");
    }
    for status in [100, 103, 304] {
        let exchange = Exchange::new(&[("cache-control", "max-age=60")]).status(status);
        assert_eq!(exchange.ttl(), Err("status"), "{status}");
    }
}

#[test]
fn a_lifetime_is_guessed_for_few_statuses_or_where_public_is_said() {
    let modified = date(-86_400);
    let guessable = [200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 501];
    for status in
        [200, 201, 202, 203, 204, 300, 301, 302, 308, 403, 404, 405, 410, 414, 500, 501, 502, 503, 504, 599]
    {
        let silent = Exchange::new(&[("last-modified", &modified)]).status(status);
        let expected = if guessable.contains(&status) { Ok(8640) } else { Err("no-freshness") };
        assert_eq!(silent.ttl(), expected, "{status}");
        let public =
            Exchange::new(&[("last-modified", &modified), ("cache-control", "public")]).status(status);
        assert_eq!(public.ttl(), Ok(8640), "{status} and public");
    }
}

#[test]
fn must_understand_is_for_statuses_that_are_understood() {
    let must = |status, control| Exchange::new(&[("cache-control", control)]).status(status).ttl();
    assert_eq!(must(599, "max-age=60, must-understand"), Err("status"));
    assert_eq!(must(200, "max-age=60, must-understand"), Ok(60));
    assert_eq!(must(200, "max-age=60, must-understand, no-store"), Ok(60), "it replaces no-store");
    assert_eq!(must(599, "max-age=60, must-understand, no-store"), Err("status"));
}

#[test]
fn errors_live_as_the_policy_says() {
    let micro = Policy {
        errors: Errors {
            by_origin: false,
            gone_ttl: Some(Duration::from_secs(9)),
            client_ttl: None,
            server_ttl: Some(Duration::from_secs(1)),
        },
        ..Policy::default()
    };
    let rows: &[(&str, u16, &str, &Policy, Ttl)] = &[
        ("404 by the origin's word", 404, "max-age=60", &micro, Ok(60)),
        ("404 without a word", 404, "x", &micro, Ok(9)),
        ("410 that must not be stored", 410, "no-store", &micro, Err("no-store")),
        ("400 planted by a request", 400, "max-age=60", &micro, Err("error")),
        ("414 planted by a request", 414, "x", &micro, Err("error")),
        ("503 without a word", 503, "x", &micro, Ok(1)),
        ("503 that speaks too big", 503, "max-age=60", &micro, Ok(1)),
        ("503 by default", 503, "max-age=60", &Policy::default(), Err("error")),
        ("404 by default", 404, "max-age=60", &Policy::default(), Ok(60)),
    ];
    for (claim, status, control, policy, ttl) in rows {
        let exchange = Exchange::new(&[("cache-control", control)]).status(*status).policy((*policy).clone());
        assert_eq!(exchange.ttl(), *ttl, "{claim}");
    }
}

#[test]
fn an_error_that_a_request_can_provoke_is_not_stored_by_default() {
    for status in
        [400, 401, 403, 405, 406, 412, 413, 414, 415, 416, 417, 421, 429, 431, 500, 501, 502, 503, 504, 599]
    {
        for control in ["max-age=60", "public", "s-maxage=60, public", "x"] {
            let modified = date(-86_400);
            let lines = [("cache-control", control), ("last-modified", modified.as_str()), ("etag", "\"a\"")];
            let exchange = Exchange::new(&lines).status(status).policy(Policy::default());
            assert_eq!(exchange.ttl(), Err("error"), "{status} {control}");
        }
    }
}

#[test]
fn cookies_are_refused_stripped_or_stored_as_the_policy_says() {
    let policy = |set_cookie| Policy { set_cookie, ..Policy::rfc() };
    let named: Lines<'_> = &[("cache-control", "max-age=60"), ("set-cookie", "a=b")];
    let modified = date(-86_400);
    let guessed: Lines<'_> = &[("last-modified", &modified), ("set-cookie", "a=b")];
    let withheld: Lines<'_> =
        &[("cache-control", "max-age=60, no-cache=\"set-cookie\""), ("set-cookie", "a=b")];
    let rows: &[(&str, Lines<'_>, SetCookie, Ttl)] = &[
        ("refused", named, SetCookie::Refuse, Err("set-cookie")),
        ("refused, though the origin withholds the field", withheld, SetCookie::Refuse, Ok(60)),
        ("stored", named, SetCookie::Store, Ok(60)),
        ("not stored on a guess", guessed, SetCookie::Store, Err("set-cookie")),
        ("stripped", guessed, SetCookie::Strip, Ok(8640)),
    ];
    for (claim, lines, set_cookie, ttl) in rows {
        assert_eq!(Exchange::new(lines).policy(policy(*set_cookie)).ttl(), *ttl, "{claim}");
    }
    let stripped = Exchange::new(named).policy(policy(SetCookie::Strip)).store().unwrap();
    assert!(retained(&fields(named), &stripped.strip).all(|(name, _)| name != "set-cookie"));
    let kept = Exchange::new(named).policy(policy(SetCookie::Store)).store().unwrap();
    assert!(retained(&fields(named), &kept.strip).any(|(name, _)| name == "set-cookie"));
}

#[test]
fn the_answer_to_a_post_is_stored_when_it_is_the_answer_to_a_get() {
    let rows: &[(&str, Lines<'_>, Ttl)] = &[
        (
            "names itself, and its lifetime",
            &[("cache-control", "max-age=60"), ("content-location", "/a/b?c=d")],
            Ok(60),
        ),
        (
            "names itself in full",
            &[("cache-control", "max-age=60"), ("content-location", "https://example.org/a/b?c=d")],
            Ok(60),
        ),
        ("names another", &[("cache-control", "max-age=60"), ("content-location", "/a/b")], Err("method")),
        (
            "names another host",
            &[("cache-control", "max-age=60"), ("content-location", "//example.com/a/b?c=d")],
            Err("method"),
        ),
        ("names nothing", &[("cache-control", "max-age=60")], Err("method")),
        (
            "no lifetime of its own",
            &[("last-modified", &date(-86_400)), ("content-location", "/a/b?c=d")],
            Err("method"),
        ),
    ];
    for (claim, lines, ttl) in rows {
        assert_eq!(Exchange::new(lines).method(Method::POST).ttl(), *ttl, "{claim}");
    }
    for method in [Method::HEAD, Method::PUT, Method::OPTIONS, Method::DELETE] {
        let exchange = Exchange::new(&[("cache-control", "max-age=60"), ("content-location", "/a/b?c=d")]);
        assert_eq!(exchange.method(method.clone()).ttl(), Err("method"), "{method}");
    }
}

#[test]
fn a_part_is_stored_when_it_says_which() {
    let rows: &[(&str, &str, Ttl)] = &[
        ("first to last of all", "bytes 0-4/10", Ok(60)),
        ("of an unknown length", "bytes 0-4/*", Ok(60)),
        ("past the end", "bytes 0-10/10", Err("content-range")),
        ("other units", "lines 0-4/10", Err("content-range")),
        ("none", "bytes */10", Err("content-range")),
    ];
    for (claim, range, ttl) in rows {
        let exchange =
            Exchange::new(&[("cache-control", "max-age=60"), ("content-range", range)]).status(206);
        assert_eq!(exchange.ttl(), *ttl, "{claim}");
    }
    let multipart =
        Exchange::new(&[("cache-control", "max-age=60"), ("content-type", "multipart/byteranges")]);
    assert_eq!(multipart.status(206).ttl(), Err("content-range"));
}

#[test]
fn what_was_meant_for_one_connection_is_not_kept() {
    let head = fields(&[
        ("connection", "a, Close"),
        ("connection", "cache-control, set-cookie, x-b"),
        ("a", "1"),
        ("x-b", "2"),
        ("c", "3"),
        ("c", "4"),
        ("keep-alive", "5"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "x"),
        ("proxy-authenticate", "x"),
        ("proxy-authentication-info", "x"),
        ("proxy-authorization", "x"),
        ("proxy-connection", "x"),
        ("trailer", "x"),
        ("cache-control", "max-age=60, no-cache=\"d\""),
        ("set-cookie", "x"),
        ("d", "5"),
    ]);
    let withheld = CacheControl::of(&head).fields_withheld;
    let kept: Vec<_> =
        retained(&head, &withheld).map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
    let expected: [(&str, &[u8]); 4] =
        [("c", b"3"), ("c", b"4"), ("cache-control", b"max-age=60, no-cache=\"d\""), ("set-cookie", b"x")];
    assert_eq!(kept, expected);
}

#[test]
fn each_reason_has_a_name_of_its_own() {
    let names: std::collections::HashSet<_> = NotStored::ALL.iter().map(|reason| reason.as_str()).collect();
    assert_eq!(names.len(), NotStored::ALL.len());
}

#[test]
fn a_success_of_an_unsafe_method_makes_its_uri_and_those_it_names_stale() {
    type Row<'a> = (&'a str, &'a str, u16, Lines<'a>, &'a [&'a str]);
    let rows: &[Row<'_>] = &[
        ("its own", "PUT", 204, &[], &["/a/b?c=d"]),
        ("a method nobody knows", "M-SEARCH", 200, &[], &["/a/b?c=d"]),
        ("a redirect counts", "DELETE", 303, &[("location", "/x")], &["/a/b?c=d", "/x"]),
        (
            "both fields",
            "POST",
            201,
            &[("location", "x"), ("content-location", "?y")],
            &["/a/b?c=d", "/a/x", "/a/b?y"],
        ),
        ("what it names twice, once", "POST", 200, &[("content-location", "")], &["/a/b?c=d"]),
        (
            "another host is not ours to touch",
            "POST",
            200,
            &[("location", "https://example.com/x")],
            &["/a/b?c=d"],
        ),
        ("nor another scheme", "POST", 200, &[("location", "http://example.org/x")], &["/a/b?c=d"]),
        ("nor another port", "POST", 200, &[("location", "//example.org:8443/x")], &["/a/b?c=d"]),
        ("a failure changes nothing", "POST", 500, &[("location", "/x")], &[]),
        ("nor does a refusal", "POST", 404, &[], &[]),
        ("a safe method asks for nothing", "GET", 200, &[("location", "/x")], &[]),
    ];
    for (claim, method, status, lines, paths) in rows {
        let head = fields(lines);
        let response = ResponseHead { status: http::StatusCode::from_u16(*status).unwrap(), fields: &head };
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        assert_eq!(invalidated(&method, &TARGET, &response), *paths, "{claim}");
    }
}

#[test]
fn a_reference_resolves_as_rfc_3986_says_and_stays_at_home() {
    // RFC 3986 §5.4, those that name a path.
    let base = Target { scheme: "http", authority: "a", path: "/b/c/d;p?q" };
    let rows: &[(&str, Option<&str>)] = &[
        ("g", Some("/b/c/g")),
        ("./g", Some("/b/c/g")),
        ("g/", Some("/b/c/g/")),
        ("/g", Some("/g")),
        ("//a", Some("/")),
        ("//g", None),
        ("?y", Some("/b/c/d;p?y")),
        ("g?y", Some("/b/c/g?y")),
        ("g?y/../x", Some("/b/c/g?y/../x")),
        ("#s", Some("/b/c/d;p?q")),
        ("g#s", Some("/b/c/g")),
        (";x", Some("/b/c/;x")),
        ("", Some("/b/c/d;p?q")),
        (".", Some("/b/c/")),
        ("..", Some("/b/")),
        ("../g", Some("/b/g")),
        ("../../..", Some("/")),
        ("../../../g", Some("/g")),
        ("/./g", Some("/g")),
        ("g.", Some("/b/c/g.")),
        ("..g", Some("/b/c/..g")),
        ("./g/.", Some("/b/c/g/")),
        ("g;x=1/../y", Some("/b/c/y")),
        ("http://A:80/x?y#z", Some("/x?y")),
        ("HTTP://a?x", Some("/?x")),
        ("http:g", None),
        ("https://a/x", None),
        ("mailto:x@y", None),
    ];
    for (reference, expected) in rows {
        assert_eq!(resolve(&base, reference).as_deref(), *expected, "{reference}");
    }
}
