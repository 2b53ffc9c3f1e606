//! What a 304 and a `HEAD` change.

use http::StatusCode;

use super::super::ResponseHead;
use super::super::update::{HeadEffect, confirmed, head_effect, merged};
use super::super::validator::Validators;
use super::{Lines, date, fields};

#[test]
fn a_confirmation_replaces_what_it_names_and_keeps_what_it_does_not() {
    let stored = fields(&[
        ("a", "1"),
        ("b", "1"),
        ("b", "2"),
        ("set-cookie", "x=1"),
        ("age", "90"),
        ("date", "then"),
        ("etag", "\"a\""),
        ("content-encoding", "gzip"),
        ("content-length", "5"),
        ("content-range", "x"),
        ("content-md5", "m"),
        ("content-type", "text/plain"),
        ("content-location", "/foo"),
    ]);
    let news = fields(&[
        ("b", "3"),
        ("b", "4"),
        ("c", "5"),
        ("d", "6"),
        ("connection", "d"),
        ("keep-alive", "x"),
        ("set-cookie", "x=2"),
        ("date", "now"),
        ("etag", "\"b\""),
        ("content-encoding", "br"),
        ("content-length", "0"),
        ("content-range", "y"),
        ("content-md5", "n"),
        ("content-type", "text/html"),
        ("content-location", "/bar"),
    ]);
    let mut lines: Vec<_> = merged(&stored, &news)
        .iter()
        .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
        .collect();
    lines.sort();
    assert_eq!(
        lines,
        [
            "a: 1",
            "b: 3",
            "b: 4",
            "c: 5",
            "content-encoding: gzip",
            "content-length: 5",
            "content-location: /bar",
            "content-md5: m",
            "content-range: x",
            "content-type: text/html",
            "date: now",
            "etag: \"a\"",
            "set-cookie: x=2",
        ]
    );
}

#[test]
fn a_304_confirms_what_it_is_about() {
    let validators = |lines: Lines<'_>| Validators::of(&fields(lines));
    let (old, new) = (date(-100), date(-50));
    let (a, b) = (validators(&[("etag", "\"a\"")]), validators(&[("etag", "\"b\"")]));
    let weak = validators(&[("etag", "W/\"a\"")]);
    let (dated, later) = (validators(&[("last-modified", &old)]), validators(&[("last-modified", &new)]));
    let rows: &[(&str, Lines<'_>, &[&Validators], &[usize])] = &[
        ("the only one asked about", &[], &[&a], &[0]),
        ("the only one, mislabelled", &[("etag", "\"x\"")], &[&a], &[0]),
        ("by strong tag", &[("etag", "\"b\"")], &[&a, &b], &[1]),
        ("all with that strong tag", &[("etag", "\"a\"")], &[&a, &b, &a], &[0, 2]),
        ("a strong tag nobody has", &[("etag", "\"x\"")], &[&a, &b], &[]),
        ("a strong tag is not a weak one", &[("etag", "\"a\"")], &[&weak, &b], &[]),
        ("by weak tag, when there is one such", &[("etag", "W/\"a\"")], &[&weak, &b], &[0]),
        ("not by weak tag among several", &[("etag", "W/\"a\"")], &[&weak, &a], &[]),
        ("by date", &[("last-modified", &new)], &[&dated, &later], &[1]),
        ("not by date among several", &[("last-modified", &old)], &[&dated, &dated], &[]),
        ("nothing to tell by", &[], &[&a, &b], &[]),
        ("nothing asked", &[], &[], &[]),
    ];
    for (claim, lines, asked, expected) in rows {
        let asked: Vec<Validators> = asked.iter().map(|validators| (*validators).clone()).collect();
        assert_eq!(confirmed(&fields(lines), &asked), *expected, "{claim}");
    }
}

#[test]
fn a_head_updates_what_it_describes_and_outdates_what_it_does_not() {
    use HeadEffect::{Invalidate, Nothing, Update};
    let (old, new) = (date(-100), date(-50));
    let stored: Lines<'_> = &[("etag", "\"a\""), ("last-modified", &old), ("content-length", "5")];
    let rows: &[(&str, Lines<'_>, u16, HeadEffect)] = &[
        ("the same in all", stored, 200, Update),
        ("nothing that differs", &[], 200, Update),
        ("another tag", &[("etag", "\"b\"")], 200, Invalidate),
        ("another date", &[("last-modified", &new)], 200, Invalidate),
        ("another length", &[("content-length", "6")], 200, Invalidate),
        ("a coding it did not have", &[("content-encoding", "br")], 200, Invalidate),
        ("an error says nothing", &[("etag", "\"b\"")], 500, Nothing),
        ("nor does a redirect", &[("etag", "\"b\"")], 302, Nothing),
    ];
    let kept = fields(stored);
    for (claim, lines, status, expected) in rows {
        let head = fields(lines);
        let head = ResponseHead { status: StatusCode::from_u16(*status).unwrap(), fields: &head };
        let stored = ResponseHead { status: StatusCode::OK, fields: &kept };
        assert_eq!(head_effect(&stored, &head), *expected, "{claim}");
    }
    let gone = ResponseHead { status: StatusCode::GONE, fields: &kept };
    let back = ResponseHead { status: StatusCode::OK, fields: &kept };
    assert_eq!(head_effect(&gone, &back), Invalidate, "what was gone is there again");
}
