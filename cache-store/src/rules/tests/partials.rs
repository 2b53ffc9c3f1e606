//! Ranges asked for, brought, held and missing.

use http::{Method, StatusCode};

use super::super::partial::{
    Answer, ContentRange, Held, Part, Requested, Resolved, Span, may_combine, requested,
};
use super::super::policy::ShortPart;
use super::super::{RequestHead, ResponseHead};
use super::{Lines, TARGET, date, fields};

fn spans(pairs: &[(u64, u64)]) -> Vec<Span> {
    pairs.iter().map(|(first, last)| Span::new(*first, *last).unwrap()).collect()
}

#[test]
fn a_range_request_resolves_to_spans_of_what_there_is() {
    let max = u64::MAX;
    let largest = format!("bytes=0-{max}");
    let rows: &[(&str, &str, u64, Option<Resolved>)] = &[
        ("first to last", "bytes=0-1", 10, Some(Resolved::Spans(spans(&[(0, 1)])))),
        ("to the end", "bytes=1-", 10, Some(Resolved::Spans(spans(&[(1, 9)])))),
        ("the last", "bytes=-1", 10, Some(Resolved::Spans(spans(&[(9, 9)])))),
        ("more than there is, from the end", "bytes=-99", 10, Some(Resolved::Spans(spans(&[(0, 9)])))),
        ("past the end", "bytes=8-99", 10, Some(Resolved::Spans(spans(&[(8, 9)])))),
        ("to the largest number", &largest, 10, Some(Resolved::Spans(spans(&[(0, 9)])))),
        (
            "several, in the order asked",
            "bytes=5-6, 0-1",
            10,
            Some(Resolved::Spans(spans(&[(5, 6), (0, 1)]))),
        ),
        ("one of them outside", "bytes=50-, 0-1", 10, Some(Resolved::Spans(spans(&[(0, 1)])))),
        ("the unit in any case", "BYTES=0-1", 10, Some(Resolved::Spans(spans(&[(0, 1)])))),
        ("outside", "bytes=10-", 10, Some(Resolved::Unsatisfiable)),
        ("the last zero", "bytes=-0", 10, Some(Resolved::Unsatisfiable)),
        ("of nothing", "bytes=0-", 0, Some(Resolved::Unsatisfiable)),
        ("two overlap", "bytes=0-5, 4-9", 10, Some(Resolved::Spans(spans(&[(0, 5), (4, 9)])))),
        ("many overlap", "bytes=0-,0-,0-,0-", 10, Some(Resolved::Ignore)),
        ("backwards", "bytes=5-4", 10, None),
        ("no numbers", "bytes=a-b", 10, None),
        ("no range", "bytes=", 10, None),
        ("no dash", "bytes=5", 10, None),
        ("signed", "bytes=+1-2", 10, None),
        ("larger than numbers go", "bytes=0-99999999999999999999", 10, None),
        ("other units", "lines=0-1", 10, None),
        (
            "seventeen",
            "bytes=0-0,2-2,4-4,6-6,8-8,10-10,12-12,14-14,16-16,18-18,20-20,22-22,24-24,26-26,28-28,30-30,32-32",
            99,
            None,
        ),
    ];
    for (claim, line, complete, expected) in rows {
        assert_eq!(
            Requested::parse(line.as_bytes()).map(|ranges| ranges.resolve(*complete)),
            *expected,
            "{claim}"
        );
    }
}

#[test]
fn only_one_range_field_of_a_get_counts() {
    let one = fields(&[("range", "bytes=0-1")]);
    let two = fields(&[("range", "bytes=0-1"), ("range", "bytes=0-1")]);
    let head = |method, fields| requested(&RequestHead { method, target: TARGET, fields }).is_some();
    assert!(head(&Method::GET, &one));
    assert!(!head(&Method::HEAD, &one));
    assert!(!head(&Method::GET, &two));
}

#[test]
fn a_content_range_is_read_or_refused_whole() {
    let range =
        |first, last, complete| Some(ContentRange { span: Span::new(first, last).unwrap(), complete });
    let rows: &[(&str, Option<ContentRange>)] = &[
        ("bytes 4-9/10", range(4, 9, Some(10))),
        ("Bytes 0-0/*", range(0, 0, None)),
        ("bytes 4-10/10", None),
        ("bytes 4-3/10", None),
        ("bytes */10", None),
        ("bytes 4-/10", None),
        ("bytes=4-9/10", None),
        ("bytes 4-9", None),
        ("bytes 4-9/x", None),
        ("bytes 18446744073709551615-18446744073709551615/*", None),
        ("byte", None),
    ];
    for (text, expected) in rows {
        assert_eq!(ContentRange::parse(text.as_bytes()), *expected, "{text}");
    }
}

#[test]
fn a_part_that_is_shorter_than_it_says_is_refused_or_ends_where_it_ends() {
    use ShortPart::{Refuse, TrustFraming};
    let of = |text: &str, length, policy| {
        let part = Part::of(ContentRange::parse(text.as_bytes()).unwrap(), length, policy)?;
        Some((part.span.first(), part.span.last(), part.complete))
    };
    assert_eq!(of("bytes 4-9/10", 6, Refuse), Some((4, 9, Some(10))));
    assert_eq!(of("bytes 4-9/10", 5, Refuse), None);
    assert_eq!(
        of("bytes 4-9/10", 5, TrustFraming),
        Some((4, 8, Some(9))),
        "the end is where the content ends"
    );
    assert_eq!(of("bytes 4-7/10", 2, TrustFraming), Some((4, 5, Some(10))), "it did not claim the end");
    assert_eq!(of("bytes 4-9/10", 7, TrustFraming), None, "too long is never right");
    assert_eq!(of("bytes 4-9/10", 0, TrustFraming), None, "nothing arrived");
}

#[test]
fn what_is_held_answers_what_lies_within_it() {
    let part = Part { span: Span::new(4, 8).unwrap(), complete: Some(9) };
    let mut held = Held::new(part);
    let answer = |held: &Held, line: &str| held.answer(Requested::parse(line.as_bytes()).as_ref());
    let rows: &[(&str, &str, Answer)] = &[
        ("all of it", "bytes=-5", Answer::Spans(spans(&[(4, 8)]))),
        ("the middle", "bytes=6-7", Answer::Spans(spans(&[(6, 7)]))),
        ("to the end", "bytes=6-", Answer::Spans(spans(&[(6, 8)]))),
        ("the last", "bytes=-1", Answer::Spans(spans(&[(8, 8)]))),
        ("one before it", "bytes=3-8", Answer::Missing(spans(&[(3, 3)]))),
        ("two, one of them missing", "bytes=5-5, 0-1", Answer::Missing(spans(&[(0, 1)]))),
        ("outside", "bytes=9-", Answer::Unsatisfiable),
    ];
    for (claim, line, expected) in rows {
        assert_eq!(answer(&held, line), *expected, "{claim}");
    }
    assert_eq!(held.answer(None), Answer::Missing(spans(&[(0, 3)])));
    assert!(held.add(Part { span: Span::new(0, 3).unwrap(), complete: None }));
    assert!(held.is_whole());
    assert_eq!(held.answer(None), Answer::Whole);
    assert_eq!(Held::whole(0).answer(None), Answer::Whole);
}

#[test]
fn without_the_complete_length_only_ranges_with_two_ends_are_answered() {
    let held = Held::new(Part { span: Span::new(4, 8).unwrap(), complete: None });
    let answer = |line: &str| held.answer(Requested::parse(line.as_bytes()).as_ref());
    assert_eq!(answer("bytes=5-6"), Answer::Spans(spans(&[(5, 6)])));
    for line in ["bytes=5-", "bytes=-1", "bytes=5-9"] {
        assert_eq!(answer(line), Answer::Unknown, "{line}");
    }
    assert_eq!(held.answer(None), Answer::Unknown);
}

#[test]
fn what_is_missing_is_asked_for_in_one_range() {
    let held = |pairs: &[(u64, u64)]| Held::from_spans(spans(pairs), Some(10));
    let rest = |pairs: &[(u64, u64)], first, last| {
        let held = held(pairs);
        held.rest(&held.missing(Span::new(first, last).unwrap()))
    };
    assert_eq!(rest(&[(0, 4)], 0, 9).as_deref(), Some("bytes=5-"));
    assert_eq!(rest(&[(5, 9)], 0, 9).as_deref(), Some("bytes=0-4"));
    assert_eq!(rest(&[(0, 1), (4, 5)], 0, 9).as_deref(), Some("bytes=2-"));
    assert_eq!(rest(&[(0, 1), (4, 5)], 0, 5).as_deref(), Some("bytes=2-3"));
    assert_eq!(rest(&[(0, 9)], 0, 9), None);
}

#[test]
fn parts_join_where_they_touch_and_lengths_must_agree() {
    let mut held = Held::from_spans(spans(&[(8, 9), (0, 1), (4, 5)]), Some(20));
    assert_eq!(held.spans(), spans(&[(0, 1), (4, 5), (8, 9)]));
    let part = |first, last, complete| Part { span: Span::new(first, last).unwrap(), complete };
    assert!(held.add(part(2, 3, Some(20))));
    assert_eq!(held.spans(), spans(&[(0, 5), (8, 9)]));
    assert!(held.add(part(1, 12, None)));
    assert_eq!(held.spans(), spans(&[(0, 12)]));
    assert!(!held.add(part(13, 14, Some(21))), "another length is another representation");
    assert!(!held.add(part(13, 20, None)), "past the end is another representation");
    assert_eq!(held.spans(), spans(&[(0, 12)]));
    let mut unknown = Held::new(part(10, 12, None));
    assert!(!unknown.add(part(0, 4, Some(10))), "what is held lies past the length now named");
    assert!(
        !unknown.add(part(11, 11, Some(12))),
        "also where the part begins behind the start of what is held"
    );
}

#[test]
fn parts_are_of_one_whole_when_a_strong_validator_says_so() {
    let (modified, now) = (date(-60), date(0));
    let rows: &[(&str, Lines<'_>, Lines<'_>, u16, bool)] = &[
        ("the same strong tag", &[("etag", "\"a\"")], &[("etag", "\"a\"")], 206, true),
        ("another", &[("etag", "\"a\"")], &[("etag", "\"b\"")], 206, false),
        ("a weak one", &[("etag", "W/\"a\"")], &[("etag", "W/\"a\"")], 206, false),
        ("none", &[], &[], 206, false),
        (
            "the same strong date",
            &[("last-modified", &modified), ("date", &now)],
            &[("last-modified", &modified), ("date", &now)],
            206,
            true,
        ),
        (
            "another coding",
            &[("etag", "\"a\"")],
            &[("etag", "\"a\""), ("content-encoding", "br")],
            206,
            false,
        ),
        ("no part", &[("etag", "\"a\"")], &[("etag", "\"a\"")], 200, false),
    ];
    for (claim, stored, part, status, expected) in rows {
        let part = fields(part);
        let part = ResponseHead { status: StatusCode::from_u16(*status).unwrap(), fields: &part };
        assert_eq!(may_combine(&fields(stored), &part), *expected, "{claim}");
    }
}
