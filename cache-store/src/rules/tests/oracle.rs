//! `http-cache-semantics` as the oracle: where both of us follow the standards we must agree, and where we are known
//! not to, the difference has a name and a row.
//!
//! The grammar of the property test leaves out what is known to differ: names are lower case and unquoted, numbers
//! small and written once, `Date` is now, statuses are those the oracle understands (without 206), there are no
//! cookies, no `proxy-revalidate`, no `immutable`, no `Pragma` and no guesses beyond a day.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http_cache_semantics::{CacheOptions, CachePolicy};
use proptest::prelude::*;

use super::super::policy::Policy;
use super::{Exchange, Lines, NOW, Ttl, date, fields};

fn theirs(exchange: &Exchange) -> CachePolicy {
    let mut request = http::Request::new(());
    *request.method_mut() = exchange.method.clone();
    *request.headers_mut() = exchange.request.clone();
    let mut response = http::Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(exchange.status).unwrap();
    *response.headers_mut() = exchange.response.clone();
    CachePolicy::new_options(&request, &response, system(NOW.as_secs()), CacheOptions::default())
}

fn system(secs: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(secs)
}

fn their_ttl(exchange: &Exchange, later_secs: u64) -> i64 {
    let ttl = theirs(exchange).time_to_live(system(NOW.as_secs() + later_secs));
    i64::try_from(ttl.as_secs()).unwrap()
}

fn directive() -> impl Strategy<Value = String> {
    let number = prop_oneof![0_u32..100, 3000_u32..100_000];
    prop_oneof![
        number.clone().prop_map(|seconds| format!("max-age={seconds}")),
        number.prop_map(|seconds| format!("s-maxage={seconds}")),
        proptest::sample::select(vec![
            "no-store",
            "private",
            "no-cache",
            "public",
            "must-revalidate",
            "foo",
            "bar=7"
        ])
        .prop_map(str::to_owned),
    ]
}

fn exchange() -> impl Strategy<Value = Exchange> {
    let statuses = vec![200_u16, 203, 204, 300, 301, 302, 303, 307, 308, 404, 405, 410, 414, 501];
    (
        proptest::collection::vec(directive(), 0..4),
        proptest::option::of(-5000_i64..5000),
        proptest::option::of(0_i64..8 * 86_400),
        proptest::option::of(0_u32..4000),
        proptest::sample::select(statuses),
        any::<(bool, bool, bool)>(),
    )
        .prop_map(|(mut control, expires, modified, age, status, (tagged, authorized, varies))| {
            // Said twice is another grammar: the oracle keeps the first, we keep none.
            control.sort();
            control.dedup_by_key(|directive| directive.split('=').next().unwrap_or_default().to_owned());
            let control = control.join(", ");
            let (expires, modified, age) =
                (expires.map(date), modified.map(|ago| date(-ago)), age.map(|age| age.to_string()));
            let now = date(0);
            let mut lines = vec![("date", now.as_str())];
            if !control.is_empty() {
                lines.push(("cache-control", &control));
            }
            lines.extend(expires.as_deref().map(|value| ("expires", value)));
            lines.extend(modified.as_deref().map(|value| ("last-modified", value)));
            lines.extend(age.as_deref().map(|value| ("age", value)));
            if tagged {
                lines.push(("etag", "\"a\""));
            }
            if varies {
                lines.push(("vary", "x-a, x-b"));
            }
            let exchange = Exchange::new(&lines).status(status);
            if authorized { exchange.request(&[("authorization", "x")]) } else { exchange }
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn where_both_follow_the_standards_they_agree(exchange in exchange(), later in 0_u64..5000) {
        let oracle = theirs(&exchange);
        match exchange.store() {
            Ok(ours) => {
                prop_assert!(oracle.is_storable());
                let ttl = if ours.freshness.no_cache() { 0 } else { ours.freshness.ttl(super::later(later)).max(0) };
                prop_assert_eq!(ttl, their_ttl(&exchange, later));
            }
            // We do not keep what could never be used; the oracle has no such thought, and never finds it fresh.
            Err(reason) if oracle.is_storable() => {
                prop_assert!(matches!(reason.as_str(), "no-freshness" | "stale-on-arrival"));
                prop_assert_eq!(their_ttl(&exchange, later), 0);
            }
            Err(_) => {}
        }
    }
}

#[test]
fn where_we_are_known_to_differ_the_standards_are_with_us() {
    type Row<'a> = (&'a str, u16, Lines<'a>, Ttl, i64);
    let (hour_ago, year_ago, past, ahead) = (date(-3600), date(-365 * 86_400), date(-1800), date(1800));
    let rows: &[Row<'_>] = &[
        (
            "1: directive names are case-insensitive",
            200,
            &[("cache-control", "No-Store, max-age=60")],
            Err("no-store"),
            60,
        ),
        ("1: also those that allow", 200, &[("cache-control", "Max-Age=60")], Ok(60), 0),
        (
            "2: a comma in quotes divides nothing",
            200,
            &[("cache-control", "max-age=60, ext=\"a, no-store, b\"")],
            Ok(60),
            0,
        ),
        (
            "7: Date shows an age",
            200,
            &[("date", &hour_ago), ("cache-control", "max-age=60"), ("etag", "x")],
            Ok(-3540),
            60,
        ),
        (
            "7: Expires past by the calendar is past",
            200,
            &[("date", &hour_ago), ("expires", &past), ("etag", "x")],
            Ok(-1800),
            1800,
        ),
        (
            "8: an Age that cannot be read is no youth",
            200,
            &[("age", "-5"), ("cache-control", "max-age=60"), ("etag", "x")],
            Ok(60 - (1 << 31)),
            60,
        ),
        ("8: a signed number is none", 200, &[("cache-control", "max-age=+5"), ("etag", "x")], Ok(0), 5),
        (
            "9: proxy-revalidate is about the stale",
            200,
            &[("cache-control", "max-age=60, proxy-revalidate")],
            Ok(60),
            0,
        ),
        (
            "10: a cookie does not forbid storing",
            200,
            &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
            Ok(60),
            0,
        ),
        ("12: any final status may be stored", 503, &[("cache-control", "max-age=60")], Ok(60), 0),
        ("12: 206 too", 206, &[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")], Ok(60), 0),
        (
            "16: immutable is no lifetime",
            200,
            &[("cache-control", "immutable"), ("etag", "x")],
            Ok(0),
            86_400,
        ),
        (
            "17: Pragma means nothing in a response",
            200,
            &[("pragma", "no-cache"), ("expires", &ahead)],
            Ok(1800),
            0,
        ),
        ("18: obsolete dates are dates", 200, &[("expires", "Tuesday, 14-Nov-23 22:43:20 GMT")], Ok(1800), 0),
        (
            "19: a star anywhere matches nothing",
            200,
            &[("cache-control", "max-age=60"), ("vary", "a, *")],
            Err("vary-star"),
            60,
        ),
        ("21: a guess is capped", 200, &[("last-modified", &year_ago)], Ok(86_400), 3_153_600),
        (
            "22: a qualified directive is about its fields",
            200,
            &[("cache-control", "max-age=60, no-cache=\"a\"")],
            Ok(60),
            0,
        ),
        (
            "§4.2.1: said twice differently is not said",
            200,
            &[("cache-control", "max-age=60, max-age=70"), ("etag", "x")],
            Ok(0),
            60,
        ),
    ];
    for (claim, status, lines, ours, theirs) in rows {
        let exchange = Exchange::new(lines).status(*status);
        assert_eq!(exchange.ttl(), *ours, "{claim}: we");
        // Within a second in ten million: the oracle guesses with floating point.
        let found = their_ttl(&exchange, 0);
        assert!((found - theirs).abs() <= 1, "{claim}: the oracle says {found}, no longer {theirs}");
    }
}

#[test]
fn number_3_an_age_beyond_all_numbers_is_old_age() {
    let lines = [("age", "18446744073709551615"), ("cache-control", "max-age=60"), ("etag", "x")];
    let freshness = Exchange::new(&lines).freshness();
    assert_eq!(freshness.age(super::later(1)), 1 << 31);
}

#[test]
fn number_11_an_s_maxage_forbids_what_max_stale_would_allow() {
    use super::super::cache_control::RequestControl;
    use super::super::reuse::Purged;
    let freshness = Exchange::new(&[("cache-control", "s-maxage=60")]).freshness();
    let control = RequestControl::of(&fields(&[("cache-control", "max-stale")]), &Policy::rfc());
    assert!(!freshness.may_serve_max_stale(&control, Purged::No, super::later(61)));
}
