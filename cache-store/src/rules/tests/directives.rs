//! Reading `Cache-Control`, `CDN-Cache-Control` and `Surrogate-Control`.

use super::super::cache_control::{Argument, CacheControl, DELTA_MAX, Delta, Directives, RequestControl};
use super::super::policy::{Policy, RequestDirectives};
use super::super::targeted::Governing;
use super::{Lines, fields};

#[test]
fn a_line_falls_into_directives_as_written() {
    type Row<'a> = (&'a str, &'a str, &'a [(&'a str, Argument<'a>)]);
    let token = |text: &'static str| Argument::Token(text.as_bytes());
    let quoted = |text: &'static str| Argument::Quoted(text.as_bytes());
    let rows: &[Row<'_>] = &[
        ("no line, no directive", "", &[]),
        ("commas alone are nothing", " , ,, ", &[]),
        ("a name alone", "no-store", &[("no-store", Argument::None)]),
        ("two", "a=1, b", &[("a", token("1")), ("b", Argument::None)]),
        ("space is no part of anything", " \ta=1 ,\tb ", &[("a", token("1")), ("b", Argument::None)]),
        (
            "a comma in quotes divides nothing",
            "a=\"x, no-store\", b",
            &[("a", quoted("x, no-store")), ("b", Argument::None)],
        ),
        (
            "an escaped quote closes nothing",
            r#"a="x\", y", b"#,
            &[("a", quoted(r#"x\", y"#)), ("b", Argument::None)],
        ),
        (
            "a quote that never closes hides nothing",
            "a=\"x, no-store",
            &[("a", Argument::Malformed), ("x", Argument::None), ("no-store", Argument::None)],
        ),
        (
            "a space before the equals sign",
            "max-age =5",
            &[("max-age", Argument::Malformed), ("5", Argument::None)],
        ),
        ("a space after it", "max-age= 5", &[("max-age", Argument::Malformed), ("5", Argument::None)]),
        (
            "a forgotten comma hides nothing",
            "public no-store",
            &[("public", Argument::Malformed), ("no-store", Argument::None)],
        ),
        (
            "a semicolon for a comma hides nothing",
            "max-age=5; private",
            &[("max-age", token("5")), ("private", Argument::None)],
        ),
        (
            "text after a quoted string spoils it",
            "max-age=\"5\"0",
            &[("max-age", Argument::Malformed), ("0", Argument::None)],
        ),
    ];
    for (claim, line, expected) in rows {
        let read: Vec<_> = Directives::new(line.as_bytes())
            .map(|directive| (std::str::from_utf8(directive.name).unwrap(), directive.argument))
            .collect();
        assert_eq!(&read, expected, "{claim}");
    }
}

#[test]
fn a_number_of_seconds_is_digits_and_counts_to_its_bound() {
    let rows: &[(&str, &str, Delta)] = &[
        ("digits", "3600", Delta::Seconds(3600)),
        ("leading zeros", "003600", Delta::Seconds(3600)),
        ("zero", "0", Delta::Seconds(0)),
        ("the bound", "2147483648", Delta::Seconds(DELTA_MAX)),
        ("past the bound", "99999999999", Delta::Seconds(DELTA_MAX)),
        ("past any integer", "99999999999999999999999999999999", Delta::Seconds(DELTA_MAX)),
        ("nothing", "", Delta::Unreadable),
        ("a minus", "-5", Delta::Unreadable),
        ("a plus", "+5", Delta::Unreadable),
        ("a point", "5.0", Delta::Unreadable),
        ("a letter after", "5a", Delta::Unreadable),
        ("single quotes", "'5'", Delta::Unreadable),
    ];
    for (claim, text, expected) in rows {
        assert_eq!(Delta::parse(text.as_bytes()), *expected, "{claim}");
    }
}

#[test]
fn lifetimes_that_contradict_each_other_are_unreadable() {
    let rows: &[(&str, &[&str], Delta)] = &[
        ("one", &["max-age=5"], Delta::Seconds(5)),
        ("in any case", &["MaX-aGe=5"], Delta::Seconds(5)),
        ("quoted", &["max-age=\"5\""], Delta::Seconds(5)),
        ("said twice alike", &["max-age=5, max-age=5"], Delta::Seconds(5)),
        ("said twice differently", &["max-age=5, max-age=6"], Delta::Unreadable),
        ("said differently on two lines", &["max-age=6", "max-age=5"], Delta::Unreadable),
        ("a third cannot mend it", &["max-age=5, max-age=6, max-age=6"], Delta::Unreadable),
        ("without a value", &["max-age"], Delta::Unreadable),
        ("inside another's quotes", &["ext=\"max-age=5\""], Delta::Absent),
    ];
    for (claim, lines, expected) in rows {
        let lines: Vec<_> = lines.iter().map(|line| ("cache-control", *line)).collect();
        assert_eq!(CacheControl::of(&fields(&lines)).max_age, *expected, "{claim}");
    }
}

#[test]
fn a_qualified_directive_withholds_fields_and_a_broken_one_the_response() {
    let rows: &[(&str, &str, u16, &[&str])] = &[
        ("no-cache of one field", "no-cache=\"a\"", 0, &["a"]),
        ("of two", "no-cache=\"a, B\"", 0, &["a", "b"]),
        ("private of one", "private=\"set-cookie\"", 0, &["set-cookie"]),
        ("no field names", "private=\"\"", CacheControl::PRIVATE, &[]),
        ("a token is no list", "private=a", CacheControl::PRIVATE, &[]),
        ("no field name", "no-cache=\"a b\"", CacheControl::NO_CACHE, &[]),
        ("an open quote", "private=\"a", CacheControl::PRIVATE, &[]),
        ("both forms", "no-cache, no-cache=\"a\"", CacheControl::NO_CACHE, &["a"]),
    ];
    for (claim, line, flag, withheld) in rows {
        let control = CacheControl::of(&fields(&[("cache-control", line)]));
        for each in [CacheControl::NO_CACHE, CacheControl::PRIVATE] {
            assert_eq!(control.has(each), each == *flag, "{claim}");
        }
        let names: Vec<_> = control.fields_withheld.iter().map(http::HeaderName::as_str).collect();
        assert_eq!(&names, withheld, "{claim}");
    }
}

#[test]
fn a_request_directive_is_heard_where_the_policy_hears_it() {
    let all = RequestControl::default();
    let rows: &[(&str, Lines<'_>, RequestControl)] = &[
        ("nothing said", &[], all),
        ("no-cache", &[("cache-control", "No-Cache")], RequestControl { no_cache: true, ..all }),
        ("pragma", &[("pragma", "no-cache")], RequestControl { no_cache: true, ..all }),
        ("pragma beside cache-control", &[("pragma", "no-cache"), ("cache-control", "x")], all),
        ("another pragma", &[("pragma", "foo")], all),
        ("no-store", &[("cache-control", "no-store")], RequestControl { no_store: true, ..all }),
        (
            "only-if-cached",
            &[("cache-control", "only-if-cached")],
            RequestControl { only_if_cached: true, ..all },
        ),
        (
            "max-age, the shorter of two",
            &[("cache-control", "max-age=9"), ("cache-control", "max-age=5")],
            RequestControl { max_age: Some(5), ..all },
        ),
        (
            "an unreadable max-age is zero",
            &[("cache-control", "max-age=x")],
            RequestControl { max_age: Some(0), ..all },
        ),
        ("min-fresh", &[("cache-control", "min-fresh=7")], RequestControl { min_fresh: Some(7), ..all }),
        ("max-stale", &[("cache-control", "max-stale=7")], RequestControl { max_stale: Some(7), ..all }),
        (
            "max-stale without a number",
            &[("cache-control", "max-stale")],
            RequestControl { max_stale: Some(u32::MAX), ..all },
        ),
        (
            "an unreadable max-stale allows nothing",
            &[("cache-control", "max-stale=x")],
            RequestControl { max_stale: Some(0), ..all },
        ),
        (
            "stale-if-error",
            &[("cache-control", "stale-if-error=3")],
            RequestControl { stale_if_error: Some(3), ..all },
        ),
    ];
    let deaf = Policy { honour: RequestDirectives::NONE, ..Policy::rfc() };
    for (claim, lines, expected) in rows {
        assert_eq!(RequestControl::of(&fields(lines), &Policy::rfc()), *expected, "{claim}");
        assert_eq!(
            RequestControl::of(&fields(lines), &deaf),
            all,
            "{claim}, to a policy that does not listen"
        );
    }
}

#[test]
fn the_first_readable_targeted_field_governs_alone() {
    let rows: &[(&str, Lines<'_>, bool, Option<u32>)] = &[
        ("none: Cache-Control", &[("cache-control", "max-age=1")], false, Some(1)),
        (
            "it beats Cache-Control",
            &[("cache-control", "no-store"), ("cdn-cache-control", "max-age=9")],
            true,
            Some(9),
        ),
        (
            "an extension and a parameter mean nothing",
            &[("cdn-cache-control", "foo, max-age=9;x=1")],
            true,
            Some(9),
        ),
        (
            "lines are one Dictionary, the last wins",
            &[("cdn-cache-control", "max-age=9"), ("cdn-cache-control", "max-age=8")],
            true,
            Some(8),
        ),
        ("clamped", &[("cdn-cache-control", "max-age=99999999999")], true, Some(DELTA_MAX)),
        ("empty: not there", &[("cache-control", "max-age=1"), ("cdn-cache-control", " ")], false, Some(1)),
        (
            "no Dictionary: not there",
            &[("cache-control", "max-age=1"), ("cdn-cache-control", "max-age=9, &&")],
            false,
            Some(1),
        ),
        (
            "upper case is no key",
            &[("cache-control", "max-age=1"), ("cdn-cache-control", "Max-Age=9")],
            false,
            Some(1),
        ),
        (
            "a string is no lifetime",
            &[("cache-control", "max-age=1"), ("cdn-cache-control", "max-age=\"9\"")],
            true,
            Some(0),
        ),
        ("a negative one is none", &[("cdn-cache-control", "max-age=-9")], true, Some(0)),
        ("no number of seconds", &[("cdn-cache-control", "max-age=(1 2)")], true, Some(0)),
        ("a date is none", &[("cdn-cache-control", "max-age=@9")], true, Some(0)),
        ("present and false is not there", &[("cdn-cache-control", "max-age=?0, public")], true, None),
        (
            "the surrogate's comes second",
            &[("surrogate-control", "max-age=5"), ("cdn-cache-control", "max-age=9")],
            true,
            Some(9),
        ),
        ("the surrogate's field", &[("surrogate-control", "MaX-aGe=5, foo")], true, Some(5)),
        ("aimed at us", &[("surrogate-control", "max-age=5;gate")], true, Some(5)),
        ("aimed at another", &[("surrogate-control", "max-age=5;other")], false, None),
        (
            "nothing for us in it",
            &[("cache-control", "max-age=1"), ("surrogate-control", "content=\"ESI/1.0\"")],
            false,
            Some(1),
        ),
    ];
    let policy = Policy { surrogate_device: Some("gate".into()), ..Policy::rfc() };
    for (claim, lines, targeted, max_age) in rows {
        let governing = Governing::of(&fields(lines), &policy);
        assert_eq!(governing.targeted, *targeted, "{claim}");
        assert_eq!(governing.control.max_age.seconds(), *max_age, "{claim}");
    }
}

#[test]
fn targeted_flags_and_stale_windows_are_read_too() {
    let of = |name, value| Governing::of(&fields(&[(name, value)]), &Policy::rfc()).control;
    assert!(of("cdn-cache-control", "no-store").has(CacheControl::NO_STORE));
    assert!(of("cdn-cache-control", "private").has(CacheControl::PRIVATE));
    assert!(of("surrogate-control", "no-store").has(CacheControl::NO_STORE));
    assert!(!of("cdn-cache-control", "no-store=?0").has(CacheControl::NO_STORE));
    let plus = of("surrogate-control", "max-age=60+30");
    assert_eq!((plus.max_age, plus.stale_while_revalidate), (Delta::Seconds(60), Delta::Seconds(30)));
    let withheld = of("cdn-cache-control", "private=\"a\", max-age=5");
    assert_eq!(withheld.fields_withheld, ["a"]);
    assert!(!withheld.has(CacheControl::PRIVATE));
}
