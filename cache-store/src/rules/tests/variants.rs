//! `Vary`: which requests mean the same, which key they get, and which stored response is picked.

use http::HeaderMap;

use super::super::policy::Policy;
use super::super::vary::{Match, VarySpec, select};
use super::{Lines, NOW, fields, later};

fn spec(vary: &str, language: Option<&str>, request: &HeaderMap) -> VarySpec {
    let mut response = fields(&[("vary", vary)]);
    if let Some(language) = language {
        response.extend(fields(&[("content-language", language)]));
    }
    VarySpec::of(&response, request, &Policy::rfc()).unwrap()
}

fn key(spec: &VarySpec, request: &HeaderMap) -> Vec<u8> {
    let mut key = Vec::new();
    spec.write_key(request, &mut |bytes: &[u8]| key.extend_from_slice(bytes));
    key
}

#[test]
fn requests_match_when_what_vary_names_means_the_same() {
    for (claim, vary, stored, presented, expected) in REQUESTS {
        let (stored, presented) = (fields(stored), fields(presented));
        let spec = spec(vary, None, &stored);
        assert_eq!(spec.matches(&presented) == Match::Exact, *expected, "{claim}");
        assert_eq!(spec.matches(&stored), Match::Exact, "{claim}: a request matches itself");
        assert_eq!(
            key(&spec, &stored) == key(&spec, &presented),
            *expected,
            "{claim}: keys agree with matching"
        );
        let mut own = Vec::new();
        spec.write_own_key(&mut |bytes: &[u8]| own.extend_from_slice(bytes));
        assert_eq!(own, key(&spec, &stored), "{claim}: a spec knows its key");
        let read_back = VarySpec::from_entries(
            spec.entries().map(|(name, value)| (name.clone(), value.map(Into::into))),
            spec.language().map(Into::into),
        );
        assert_eq!(read_back, spec, "{claim}: a spec is read back as written");
    }
}

/// Claim, `Vary`, the request stored with, the request presented, whether they match.
type Row = (&'static str, &'static str, Lines<'static>, Lines<'static>, bool);

const REQUESTS: &[Row] = &[
    ("nothing named", "", &[("a", "1")], &[("a", "2")], true),
    ("equal", "a", &[("a", "1")], &[("a", "1")], true),
    ("different", "a", &[("a", "1")], &[("a", "2")], false),
    ("the name in any case", "A", &[("a", "1")], &[("a", "2")], false),
    ("another field does not count", "a", &[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "3")], true),
    ("absent then present", "a", &[], &[("a", "1")], false),
    ("present then absent", "a", &[("a", "1")], &[], false),
    ("absent both times", "a, b", &[("b", "1")], &[("b", "1")], true),
    ("absent is not empty", "a", &[], &[("a", "")], false),
    (
        "one of three differs",
        "a, b, c",
        &[("a", "1"), ("b", "2"), ("c", "3")],
        &[("a", "1"), ("b", "x"), ("c", "3")],
        false,
    ),
    ("lines joined", "a", &[("a", "1, 2")], &[("a", "1"), ("a", "2")], true),
    ("the order of members counts", "a", &[("a", "1, 2")], &[("a", "2, 1")], false),
    ("space at commas does not", "a", &[("a", "1,2")], &[("a", " 1 ,  2 ")], true),
    ("space elsewhere does", "a", &[("a", "1 2")], &[("a", "12")], false),
    ("space in quotes does", "a", &[("a", "\"1,2\"")], &[("a", "\"1, 2\"")], false),
    ("space after a quote that never closes does not", "a", &[("a", "\"1,2")], &[("a", "\"1, 2")], true),
    ("case counts", "a", &[("a", "x")], &[("a", "X")], false),
    (
        "cookies come in lines or in one",
        "cookie",
        &[("cookie", "a=1; b=2")],
        &[("cookie", "a=1"), ("cookie", "b=2")],
        true,
    ),
    (
        "languages in any order",
        "accept-language",
        &[("accept-language", "en, de")],
        &[("accept-language", "de, en")],
        true,
    ),
    (
        "in any case",
        "accept-language",
        &[("accept-language", "en, de")],
        &[("accept-language", "eN, De")],
        true,
    ),
    (
        "with any space",
        "accept-language",
        &[("accept-language", "en, de")],
        &[("accept-language", " en ,   de")],
        true,
    ),
    (
        "with weights written in any way",
        "accept-language",
        &[("accept-language", "en;q=0.5, de;q=1.0")],
        &[("accept-language", "de, en; q=0.500")],
        true,
    ),
    (
        "but not with other weights",
        "accept-language",
        &[("accept-language", "en;q=0.5, de")],
        &[("accept-language", "en, de;q=0.5")],
        false,
    ),
    (
        "nor with other languages",
        "accept-language",
        &[("accept-language", "en, de")],
        &[("accept-language", "en, fr")],
        false,
    ),
    (
        "a refused language counts",
        "accept-language",
        &[("accept-language", "en, de;q=0")],
        &[("accept-language", "en")],
        false,
    ),
    (
        "said twice is said once",
        "accept-language",
        &[("accept-language", "en, en")],
        &[("accept-language", "en")],
        true,
    ),
    (
        "a broken weight is compared as it stands",
        "accept-language",
        &[("accept-language", "en;q=x, de")],
        &[("accept-language", "de, en;q=x")],
        false,
    ),
    (
        "codings in any order",
        "accept-encoding",
        &[("accept-encoding", "gzip, br")],
        &[("accept-encoding", "br,GZIP")],
        true,
    ),
];

#[test]
fn a_vary_that_cannot_match_is_none() {
    let none = HeaderMap::new();
    for vary in ["*", "*, *", ", *", "*, a", "a, *", "a b", "a;b"] {
        assert_eq!(VarySpec::of(&fields(&[("vary", vary)]), &none, &Policy::rfc()), None, "{vary}");
    }
    let many: Vec<String> = (0..33).map(|index| format!("x-{index}")).collect();
    assert_eq!(VarySpec::of(&fields(&[("vary", &many.join(","))]), &none, &Policy::rfc()), None);
}

#[test]
fn ignored_names_do_not_tell_requests_apart() {
    let policy = Policy { vary_ignored: vec![http::header::USER_AGENT], ..Policy::rfc() };
    let response = fields(&[("vary", "User-Agent, a"), ("vary", "A,a")]);
    let spec = VarySpec::of(&response, &fields(&[("user-agent", "x"), ("a", "1")]), &policy).unwrap();
    assert_eq!(spec.names().collect::<Vec<_>>(), ["a"]);
    assert_eq!(spec.matches(&fields(&[("user-agent", "y"), ("a", "1")])), Match::Exact);
}

#[test]
fn a_response_answers_those_who_like_its_language_best() {
    let rows: &[(&str, Option<&str>, &str, Match)] = &[
        ("the one liked best", Some("de"), "fr;q=0.5, de;q=1.0", Match::ByLanguage),
        ("in any case", Some("DE"), "fr;q=0.5, de", Match::ByLanguage),
        ("the only one", Some("de"), "de", Match::ByLanguage),
        ("one of two liked alike", Some("de"), "fr, de", Match::No),
        ("not the best", Some("de"), "fr, de;q=0.9", Match::No),
        ("refused", Some("de"), "de;q=0", Match::No),
        ("anything", Some("de"), "*", Match::No),
        ("a region of it", Some("de-AT"), "de", Match::No),
        ("two languages", Some("de, fr"), "de", Match::No),
        ("no language", None, "de", Match::No),
    ];
    let stored = fields(&[("accept-language", "en, de")]);
    for (claim, language, accept, expected) in rows {
        let spec = spec("accept-language", *language, &stored);
        assert_eq!(spec.matches(&fields(&[("accept-language", accept)])), *expected, "{claim}");
    }
    let other = spec("accept-language, a", Some("de"), &stored);
    assert_eq!(
        other.matches(&fields(&[("accept-language", "de"), ("a", "1")])),
        Match::No,
        "all else must agree"
    );
    let response = fields(&[("vary", "accept-language"), ("content-language", "de")]);
    let careful = VarySpec::of(&response, &stored, &Policy::default()).unwrap();
    assert_eq!(
        careful.matches(&fields(&[("accept-language", "de")])),
        Match::No,
        "only where the policy says so"
    );
}

#[test]
fn the_best_match_is_picked_and_of_equals_the_latest() {
    let request = fields(&[("accept-language", "de")]);
    let exact = spec("accept-language", Some("de"), &request);
    let by_language = spec("accept-language", Some("de"), &fields(&[("accept-language", "en, de")]));
    let other = spec("accept-language", Some("en"), &fields(&[("accept-language", "en")]));
    let candidates =
        [(0, &other, later(9)), (1, &by_language, later(8)), (2, &exact, NOW), (3, &exact, later(1))];
    assert_eq!(select(candidates, &request), Some(3));
    assert_eq!(select(candidates.into_iter().take(2), &request), Some(1));
    assert_eq!(select(candidates.into_iter().take(1), &request), None);
}

#[test]
fn a_value_cannot_pass_for_a_seam() {
    let spec = spec("a, b", None, &HeaderMap::new());
    let pairs: &[(Lines<'_>, Lines<'_>)] = &[
        (&[("a", "1"), ("b", "2")], &[("a", "1b2")]),
        (&[("a", "1")], &[("b", "1")]),
        (&[("a", "")], &[]),
        (&[("a", "b")], &[("a", ""), ("b", "")]),
    ];
    for (one, other) in pairs {
        assert_ne!(key(&spec, &fields(one)), key(&spec, &fields(other)), "{one:?} {other:?}");
    }
}
