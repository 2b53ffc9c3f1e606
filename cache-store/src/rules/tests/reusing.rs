//! Whether a stored response may be used, at a moment and for a request.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode};

use super::super::cache_control::RequestControl;
use super::super::policy::{Policy, RequestDirectives};
use super::super::reuse::{MustValidate, NoMatch, Purged, Reuse, StaleUse, reuse};
use super::super::stale::is_error;
use super::super::{RequestHead, VarySpec};
use super::{Exchange, NOW, TARGET, fields, later};
use crate::timestamp::Timestamp;

/// A stored response with this `Cache-Control`, asked for with that one, `seconds` after it arrived.
fn asked(stored: &str, request: &str, policy: &Policy, purged: Purged, seconds: u64) -> Reuse {
    let kept = Exchange::new(&[("cache-control", stored), ("etag", "\"a\"")])
        .policy(policy.clone())
        .store()
        .unwrap();
    let request = if request.is_empty() { HeaderMap::new() } else { fields(&[("cache-control", request)]) };
    let control = RequestControl::of(&request, policy);
    let head = RequestHead { method: &Method::GET, target: TARGET, fields: &request };
    reuse(&kept.freshness, &kept.vary, &head, &control, purged, later(seconds))
}

#[test]
fn time_and_directives_decide() {
    use MustValidate as Must;
    let rfc = Policy::rfc();
    let fresh = Reuse::Fresh;
    let refreshing = Reuse::Stale(StaleUse::WhileRevalidate);
    let allowed = Reuse::Stale(StaleUse::ClientAllows);
    let must = Reuse::MustValidate;
    let rows: &[(&str, &str, &str, u64, Reuse)] = &[
        ("fresh", "max-age=60", "", 59, fresh),
        ("over", "max-age=60", "", 60, must(Must::Stale)),
        ("no-cache is never fresh", "max-age=60, no-cache", "", 0, must(Must::NoCache)),
        ("no-cache about one field is about that field", "max-age=60, no-cache=\"a\"", "", 0, fresh),
        ("within the window", "max-age=60, stale-while-revalidate=30", "", 89, refreshing),
        ("past the window", "max-age=60, stale-while-revalidate=30", "", 90, must(Must::Stale)),
        (
            "must-revalidate closes it",
            "max-age=60, stale-while-revalidate=30, must-revalidate",
            "",
            70,
            must(Must::Stale),
        ),
        (
            "proxy-revalidate closes it",
            "max-age=60, stale-while-revalidate=30, proxy-revalidate",
            "",
            70,
            must(Must::Stale),
        ),
        ("s-maxage closes it", "s-maxage=60, stale-while-revalidate=30", "", 70, must(Must::Stale)),
        ("an unreadable window is none", "max-age=60, stale-while-revalidate=x", "", 60, must(Must::Stale)),
        ("client no-cache", "max-age=60", "no-cache", 0, must(Must::ClientNoCache)),
        ("client max-age=0", "max-age=60", "max-age=0", 0, must(Must::ClientMaxAge)),
        ("client max-age reached", "max-age=60", "max-age=10", 10, fresh),
        ("client max-age passed", "max-age=60", "max-age=10", 11, must(Must::ClientMaxAge)),
        (
            "client max-age wants nothing stale",
            "max-age=60, stale-while-revalidate=30",
            "max-age=99",
            70,
            must(Must::Stale),
        ),
        ("a reload of what never changes", "max-age=60, immutable", "max-age=0", 59, fresh),
        (
            "once stale it may have changed",
            "max-age=60, immutable",
            "max-age=0",
            60,
            must(Must::ClientMaxAge),
        ),
        ("no-cache is no mere reload", "max-age=60, immutable", "no-cache", 0, must(Must::ClientNoCache)),
        ("client min-fresh kept", "max-age=60", "min-fresh=10", 50, fresh),
        ("client min-fresh missed", "max-age=60", "min-fresh=10", 51, must(Must::ClientMinFresh)),
        (
            "client min-fresh wants nothing stale",
            "max-age=60, stale-while-revalidate=30",
            "min-fresh=0",
            70,
            must(Must::Stale),
        ),
        ("client max-stale", "max-age=60", "max-stale=10", 69, allowed),
        ("client max-stale passed", "max-age=60", "max-stale=10", 70, must(Must::Stale)),
        ("client max-stale without bound", "max-age=60", "max-stale", 1_000_000, allowed),
        (
            "client max-stale against must-revalidate",
            "max-age=60, must-revalidate",
            "max-stale",
            61,
            must(Must::Stale),
        ),
        ("client max-stale against s-maxage", "s-maxage=60", "max-stale", 61, must(Must::Stale)),
        ("client no-store stores nothing, and may use", "max-age=60", "no-store", 0, fresh),
    ];
    for (claim, stored, request, seconds, expected) in rows {
        assert_eq!(asked(stored, request, &rfc, Purged::No, *seconds), *expected, "{claim}");
    }
}

#[test]
fn a_client_does_not_talk_past_a_fresh_response_by_default() {
    for directive in ["no-cache", "max-age=0", "min-fresh=1000"] {
        assert_eq!(
            asked("max-age=60", directive, &Policy::default(), Purged::No, 5),
            Reuse::Fresh,
            "{directive}"
        );
    }
    let only = Policy { honour: RequestDirectives::MAX_AGE, ..Policy::default() };
    assert_eq!(asked("max-age=60", "no-cache", &only, Purged::No, 5), Reuse::Fresh);
    let refused = asked("max-age=60", "max-age=0", &only, Purged::No, 5);
    assert_eq!(refused, Reuse::MustValidate(MustValidate::ClientMaxAge));
}

#[test]
fn a_purge_ends_freshness_or_the_response() {
    let (rfc, window) = (Policy::rfc(), "max-age=600, stale-while-revalidate=30");
    let soft = Purged::Soft(later(100));
    assert_eq!(asked(window, "", &rfc, soft, 129), Reuse::Stale(StaleUse::WhileRevalidate));
    assert_eq!(asked(window, "", &rfc, soft, 130), Reuse::MustValidate(MustValidate::Purged));
    assert_eq!(asked("max-age=600", "max-stale", &rfc, soft, 101), Reuse::MustValidate(MustValidate::Purged));
    assert_eq!(asked(window, "", &rfc, Purged::Hard, 0), Reuse::NoMatch(NoMatch::Purged));
    let long_stale = Purged::Soft(later(9000));
    assert_eq!(asked(window, "", &rfc, long_stale, 631), Reuse::MustValidate(MustValidate::Purged));
}

#[test]
fn the_windows_of_a_site_are_for_what_names_none() {
    let site = Policy {
        stale_while_revalidate: Duration::from_secs(30),
        stale_if_error: Duration::from_mins(5),
        ..Policy::default()
    };
    let refreshing = Reuse::Stale(StaleUse::WhileRevalidate);
    assert_eq!(asked("max-age=60", "", &site, Purged::No, 89), refreshing);
    assert_eq!(asked("s-maxage=60", "", &site, Purged::No, 89), refreshing, "s-maxage is a lifetime here");
    let none = asked("max-age=60, stale-while-revalidate=0", "", &site, Purged::No, 61);
    assert_eq!(none, Reuse::MustValidate(MustValidate::Stale), "the origin said zero");
    let must = asked("max-age=60, must-revalidate", "", &site, Purged::No, 61);
    assert_eq!(must, Reuse::MustValidate(MustValidate::Stale));
}

#[test]
fn an_error_opens_its_own_window() {
    let control = RequestControl::default();
    let asks = RequestControl { stale_if_error: Some(50), ..control };
    let rows: &[(&str, &str, RequestControl, Purged, u64, bool)] = &[
        ("within", "max-age=60, stale-if-error=30", control, Purged::No, 89, true),
        ("past", "max-age=60, stale-if-error=30", control, Purged::No, 90, false),
        ("none named", "max-age=60", control, Purged::No, 61, false),
        ("the client's own", "max-age=60", asks, Purged::No, 109, true),
        ("must-revalidate", "max-age=60, stale-if-error=30, must-revalidate", asks, Purged::No, 61, false),
        ("no-cache", "max-age=60, stale-if-error=30, no-cache", control, Purged::No, 61, false),
        ("soft purge moves it", "max-age=60, stale-if-error=30", control, Purged::Soft(later(10)), 40, false),
        ("hard purge closes it", "max-age=60, stale-if-error=30", control, Purged::Hard, 61, false),
    ];
    for (claim, stored, control, purged, seconds, expected) in rows {
        let freshness = Exchange::new(&[("cache-control", stored), ("etag", "\"a\"")]).freshness();
        assert_eq!(
            freshness.may_serve_stale_if_error(control, *purged, later(*seconds)),
            *expected,
            "{claim}"
        );
    }
    for (status, expected) in
        [(500, true), (502, true), (503, true), (504, true), (501, false), (404, false), (200, false)]
    {
        assert_eq!(is_error(StatusCode::from_u16(status).unwrap()), expected, "{status}");
    }
}

#[test]
fn an_unknown_age_is_within_no_window() {
    let stored = Exchange::new(&[
        ("cache-control", "max-age=60, stale-if-error=9999999"),
        ("age", "x"),
        ("etag", "\"a\""),
    ]);
    let freshness = stored.freshness();
    assert!(!freshness.may_serve_stale_if_error(&RequestControl::default(), Purged::No, NOW));
}

#[test]
fn only_get_and_head_are_answered_from_what_is_stored() {
    let kept = Exchange::new(&[("cache-control", "max-age=60")]).store().unwrap();
    let none = HeaderMap::new();
    for (method, expected) in [
        (Method::GET, Reuse::Fresh),
        (Method::HEAD, Reuse::Fresh),
        (Method::POST, Reuse::NoMatch(NoMatch::Method)),
        (Method::OPTIONS, Reuse::NoMatch(NoMatch::Method)),
    ] {
        let head = RequestHead { method: &method, target: TARGET, fields: &none };
        let answer = reuse(&kept.freshness, &kept.vary, &head, &RequestControl::default(), Purged::No, NOW);
        assert_eq!(answer, expected, "{method}");
    }
}

#[test]
fn a_moment_before_reception_is_as_reception() {
    let kept = Exchange::new(&[("cache-control", "max-age=60")]).store().unwrap();
    let none = HeaderMap::new();
    let head = RequestHead { method: &Method::GET, target: TARGET, fields: &none };
    let early = Timestamp::from_millis(0);
    let control = RequestControl::default();
    assert_eq!(
        reuse(&kept.freshness, &VarySpec::default(), &head, &control, Purged::No, early),
        Reuse::Fresh
    );
}
