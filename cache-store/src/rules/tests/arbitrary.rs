//! Arbitrary bytes: nothing panics, nothing contradicts itself.

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use proptest::prelude::*;

use super::super::cache_control::{CacheControl, Directives, RequestControl};
use super::super::invalidate::{invalidated, resolve};
use super::super::partial::{ContentRange, Held, Part, Requested, Span};
use super::super::policy::{Policy, ShortPart};
use super::super::reuse::{Purged, Reuse, by_time, reuse};
use super::super::targeted::Governing;
use super::super::update::{confirmed, head_effect, merged};
use super::super::validator::{ETag, Validators, evaluate, if_range_holds};
use super::super::vary::{Match, VarySpec};
use super::super::{RequestHead, ResponseHead, date, storable};
use super::{NOW, TARGET};
use crate::timestamp::Timestamp;

const NAMES: [&str; 31] = [
    "accept-encoding",
    "accept-language",
    "age",
    "authorization",
    "cache-control",
    "cdn-cache-control",
    "connection",
    "content-encoding",
    "content-language",
    "content-length",
    "content-location",
    "content-range",
    "cookie",
    "date",
    "etag",
    "expires",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "last-modified",
    "location",
    "pragma",
    "range",
    "set-cookie",
    "surrogate-control",
    "vary",
    "x-a",
    "x-b",
    "x-c",
];

/// Fragments that mean something somewhere, so that arbitrary heads reach past the first check.
const FRAGMENTS: [&str; 40] = [
    "max-age",
    "s-maxage",
    "no-store",
    "private",
    "no-cache",
    "stale-while-revalidate",
    "stale-if-error",
    "public",
    "must-revalidate",
    "=",
    "\"",
    "\\",
    ",",
    ";",
    " ",
    "\t",
    "0",
    "1",
    "60",
    "2147483648",
    "99999999999999999999",
    "-",
    "bytes",
    "bytes=",
    "/",
    "*",
    "W/",
    "q=0.5",
    "de",
    "en",
    "x-a",
    "x-b",
    "accept-language",
    "..",
    "?",
    "#",
    "https://example.org",
    "//",
    "Tue, 14 Nov 2023 22:13:20 GMT",
    "Sat, 01 Jan 2000 00:00:00 GMT",
];

/// Whole values, so that responses are stored often enough to be looked at further.
const VALUES: [&str; 14] = [
    "max-age=60",
    "s-maxage=60, stale-while-revalidate=30",
    "max-age=60, stale-if-error=600",
    "no-cache, max-age=60",
    "max-age=60, must-revalidate",
    "public",
    "bytes 0-4/10",
    "bytes=0-4",
    "\"a\"",
    "W/\"a\"",
    "x-a, accept-language",
    "en, de;q=0.5",
    "Sat, 01 Jan 2000 00:00:00 GMT",
    "/x/../y",
];

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::sample::select(VALUES.as_slice()).prop_map(|text| text.as_bytes().to_vec()),
        proptest::collection::vec(any::<u8>(), 0..40),
        proptest::collection::vec(proptest::sample::select(FRAGMENTS.as_slice()), 0..8)
            .prop_map(|parts| parts.concat().into_bytes()),
    ]
}

fn head() -> impl Strategy<Value = HeaderMap> {
    proptest::collection::vec((proptest::sample::select(NAMES.as_slice()), value()), 0..10).prop_map(
        |lines| {
            lines
                .into_iter()
                .filter_map(|(name, value)| {
                    Some((HeaderName::from_static(name), HeaderValue::from_bytes(&value).ok()?))
                })
                .fold(HeaderMap::new(), |mut map, (name, value)| {
                    map.append(name, value);
                    map
                })
        },
    )
}

fn policy() -> impl Strategy<Value = Policy> {
    proptest::sample::select(vec![Policy::default(), Policy::rfc(), Policy::static_site(), Policy::news()])
}

proptest! {
    #[test]
    fn no_text_makes_a_reader_panic(text in value()) {
        let directives = Directives::new(&text).count() + Directives::with_parameters(&text).count();
        prop_assert!(directives <= 2 * text.len());
        let mut control = CacheControl::default();
        control.read(&text);
        let _ = (ETag::parse(&text), date::parse(&text), ContentRange::parse(&text));
        if let Some(requested) = Requested::parse(&text) {
            for complete in [0, 1, 100, u64::MAX] {
                requested.resolve(complete);
            }
        }
        if let Ok(text) = std::str::from_utf8(&text) {
            prop_assert!(resolve(&TARGET, text).is_none_or(|path| path.starts_with('/')));
        }
    }

    #[test]
    fn no_exchange_makes_a_rule_panic_or_contradict_another(
        request in head(),
        response in head(),
        news in head(),
        status in 100_u16..=999,
        policy in policy(),
        times in any::<(u64, u64, u64, u64)>(),
    ) {
        let status = StatusCode::from_u16(status).unwrap();
        let (requested, received, wall, now) = times;
        let [requested, received, wall, now] = [requested, received, wall, now].map(Timestamp::from_millis);
        let ask = RequestHead { method: &Method::GET, target: TARGET, fields: &request };
        let answer = ResponseHead { status, fields: &response };
        let control = RequestControl::of(&request, &policy);
        let governing = Governing::of(&response, &policy).control;
        if let Ok(kept) = storable(&ask, &answer, &policy, requested, received, wall) {
            prop_assert!(!governing.has(CacheControl::PRIVATE));
            prop_assert!(!governing.has(CacheControl::NO_STORE) || governing.has(CacheControl::MUST_UNDERSTAND));
            prop_assert_eq!(kept.vary.matches(&request), Match::Exact);
            let freshness = kept.freshness;
            prop_assert_eq!(freshness.is_fresh(now), freshness.ttl(now) > 0);
            let used = reuse(&freshness, &kept.vary, &ask, &control, Purged::No, now);
            prop_assert_eq!(used, by_time(&freshness, &control, Purged::No, now));
            if used == Reuse::Fresh {
                prop_assert!(freshness.is_fresh(now) && !freshness.no_cache());
            }
            if matches!(used, Reuse::Stale(_)) {
                prop_assert!(!freshness.is_fresh(now) && !freshness.must_revalidate());
            }
            let purged = by_time(&freshness, &control, Purged::Soft(received), now);
            prop_assert!(purged != Reuse::Fresh);
        }
        evaluate(&ask, &answer, received);
        if_range_holds(&ask, &response);
        let head = merged(&response, &news);
        prop_assert_eq!(head.get("etag"), response.get("etag"));
        head_effect(&answer, &ResponseHead { status: StatusCode::OK, fields: &news });
        confirmed(&news, &[Validators::of(&response), Validators::of(&request)]);
        invalidated(&Method::POST, &TARGET, &answer);
    }

    #[test]
    fn two_requests_match_exactly_when_their_keys_are_equal(one in head(), other in head(), response in head()) {
        if let Some(spec) = VarySpec::of(&response, &one, &Policy::rfc()) {
            let key = |request: &HeaderMap| {
                let mut key = Vec::new();
                spec.write_key(request, &mut |bytes: &[u8]| key.extend_from_slice(bytes));
                key
            };
            prop_assert_eq!(spec.matches(&other) == Match::Exact, key(&one) == key(&other));
            // The normal form is its own: a request written so is the same request.
            let normal: HeaderMap = spec
                .entries()
                .filter_map(|(name, value)| Some((name.clone(), HeaderValue::from_bytes(value?).ok()?)))
                .collect();
            prop_assert_eq!(spec.matches(&normal), Match::Exact);
        }
    }

    #[test]
    fn what_is_held_is_what_arrived(parts in proptest::collection::vec((0_u64..64, 1_u64..16), 1..12), ask in (0_u64..64, 1_u64..16)) {
        let mut bytes = [false; 80];
        let mut held = Held::default();
        for (first, length) in &parts {
            let span = Span::new(*first, first + length - 1).unwrap();
            let part = Part { span, complete: Some(80) };
            prop_assert!(held.add(part));
            for byte in bytes.iter_mut().skip(usize::try_from(*first).unwrap()).take(usize::try_from(*length).unwrap()) {
                *byte = true;
            }
        }
        let wanted = Span::new(ask.0, ask.0 + ask.1 - 1).unwrap();
        let missing: u64 = held.missing(wanted).iter().map(|span| span.length()).sum();
        let absent = (wanted.first()..=wanted.last()).filter(|at| !bytes[usize::try_from(*at).unwrap()]).count();
        prop_assert_eq!(missing, absent as u64);
        prop_assert_eq!(held.covers(wanted), absent == 0);
        for pair in held.spans().windows(2) {
            prop_assert!(pair[0].end() < pair[1].first());
        }
    }

    #[test]
    fn a_part_never_claims_a_byte_that_did_not_arrive(first in any::<u64>(), last in any::<u64>(), length in any::<u64>()) {
        if let Some(span) = Span::new(first, last) {
            let range = ContentRange { span, complete: Some(span.end()) };
            if let Some(part) = Part::of(range, length, ShortPart::TrustFraming) {
                prop_assert_eq!(part.span.length(), length);
            }
        }
    }
}

#[test]
fn the_clock_of_these_tests_is_a_date_that_is_read() {
    assert_eq!(date::parse(b"Tue, 14 Nov 2023 22:13:20 GMT"), Some(NOW));
}
