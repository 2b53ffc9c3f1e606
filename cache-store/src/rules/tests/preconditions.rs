//! Validators and preconditions.

use http::{Method, StatusCode};

use super::super::validator::{
    Comparison, ETag, Precondition, Validators, evaluate, has_validator, if_range_holds, strong_validator,
};
use super::super::{RequestHead, ResponseHead};
use super::{Lines, NOW, TARGET, date, fields, later};

#[test]
fn entity_tags_compare_as_the_standard_tables_them() {
    // RFC 9110 §8.8.3.2, and what is no entity tag.
    let rows: &[(&str, &str, bool, bool)] = &[
        ("W/\"1\"", "W/\"1\"", false, true),
        ("W/\"1\"", "W/\"2\"", false, false),
        ("W/\"1\"", "\"1\"", false, true),
        ("\"1\"", "\"1\"", true, true),
        ("\"1\"", "\"2\"", false, false),
        ("\"\"", "\"\"", true, true),
        ("abc", "abc", false, true),
        ("abc", "\"abc\"", false, true),
        ("w/\"1\"", "w/\"1\"", false, true),
        ("w/\"1\"", "\"1\"", false, false),
        ("\"a\"b\"", "\"a\"b\"", false, true),
    ];
    for (one, other, strong, weak) in rows {
        let (a, b) = (ETag::parse(one.as_bytes()).unwrap(), ETag::parse(other.as_bytes()).unwrap());
        assert_eq!(a.matches(b, Comparison::Strong), *strong, "{one} {other}");
        assert_eq!(b.matches(a, Comparison::Weak), *weak, "{one} {other}");
    }
    assert_eq!(ETag::parse(b" "), None);
}

#[test]
fn a_conditional_request_is_answered_as_the_origin_would() {
    use Precondition::{AskOrigin, NotModified, Send};
    let (old, mid, new) = (date(-3000), date(-2000), date(-1000));
    let rfc850 = "Tuesday, 14-Nov-23 21:23:20 GMT";
    let tagged: Lines<'_> = &[("etag", "\"a\""), ("last-modified", &mid)];
    let dated: Lines<'_> = &[("last-modified", &mid)];
    let stamped: Lines<'_> = &[("date", &mid)];
    let rows: &[(&str, Lines<'_>, u16, Lines<'_>, Precondition)] = &[
        ("no condition", tagged, 200, &[], Send),
        ("the tag", tagged, 200, &[("if-none-match", "\"a\"")], NotModified),
        ("weakly", tagged, 200, &[("if-none-match", "W/\"a\"")], NotModified),
        ("first of three", tagged, 200, &[("if-none-match", "\"a\", \"b\", \"c\"")], NotModified),
        ("last of three", tagged, 200, &[("if-none-match", "\"b\", \"c\",\"a\"")], NotModified),
        (
            "on the second line",
            tagged,
            200,
            &[("if-none-match", "\"b\""), ("if-none-match", "\"a\"")],
            NotModified,
        ),
        (
            "a comma inside a tag",
            &[("etag", "\"a,b\"")],
            200,
            &[("if-none-match", "\"x\", \"a,b\"")],
            NotModified,
        ),
        ("any", dated, 200, &[("if-none-match", "*")], NotModified),
        ("another", tagged, 200, &[("if-none-match", "\"b\"")], Send),
        ("no tag to match", dated, 200, &[("if-none-match", "\"a\"")], Send),
        ("bytes above ASCII", &[("etag", "\"ü\"")], 200, &[("if-none-match", "\"ü\"")], NotModified),
        (
            "the tag beats the date, matching",
            tagged,
            200,
            &[("if-none-match", "\"a\""), ("if-modified-since", &old)],
            NotModified,
        ),
        (
            "the tag beats the date, differing",
            tagged,
            200,
            &[("if-none-match", "\"b\""), ("if-modified-since", &new)],
            Send,
        ),
        ("the date", dated, 200, &[("if-modified-since", &mid)], NotModified),
        ("a later date", dated, 200, &[("if-modified-since", &new)], NotModified),
        ("an earlier date", dated, 200, &[("if-modified-since", &old)], Send),
        ("the obsolete form", &[("last-modified", &old)], 200, &[("if-modified-since", rfc850)], NotModified),
        ("no date", dated, 200, &[("if-modified-since", "x")], Send),
        ("two dates", dated, 200, &[("if-modified-since", &new), ("if-modified-since", &new)], Send),
        ("Date stands in for Last-Modified", stamped, 200, &[("if-modified-since", &mid)], NotModified),
        ("and was later than what the client has", stamped, 200, &[("if-modified-since", &old)], Send),
        ("reception stands in for Date", &[], 200, &[("if-modified-since", &date(0))], NotModified),
        ("and was later than what the client has", &[], 200, &[("if-modified-since", &new)], Send),
        ("a part of it", dated, 206, &[("if-modified-since", &mid)], NotModified),
        ("an error has no 304, by tag", tagged, 404, &[("if-none-match", "\"a\"")], Send),
        ("nor by date", dated, 404, &[("if-modified-since", &new)], Send),
        ("If-Match that holds", tagged, 200, &[("if-match", "\"b\", \"a\"")], Send),
        ("If-Match that fails is for the origin", tagged, 200, &[("if-match", "\"b\"")], AskOrigin),
        ("If-Match is strong", &[("etag", "W/\"a\"")], 200, &[("if-match", "W/\"a\"")], AskOrigin),
        (
            "If-Match holds, If-None-Match too",
            tagged,
            200,
            &[("if-match", "\"a\""), ("if-none-match", "\"a\"")],
            NotModified,
        ),
        ("If-Unmodified-Since that holds", dated, 200, &[("if-unmodified-since", &new)], Send),
        ("that fails is for the origin", dated, 200, &[("if-unmodified-since", &old)], AskOrigin),
        ("If-Match beats it", tagged, 200, &[("if-match", "\"a\""), ("if-unmodified-since", &old)], Send),
    ];
    for (claim, stored, status, request, expected) in rows {
        let (stored, request) = (fields(stored), fields(request));
        let head = RequestHead { method: &Method::GET, target: TARGET, fields: &request };
        let stored = ResponseHead { status: StatusCode::from_u16(*status).unwrap(), fields: &stored };
        assert_eq!(evaluate(&head, &stored, NOW), *expected, "{claim}");
    }
    let since = fields(&[("if-modified-since", &date(0))]);
    let head = RequestHead { method: &Method::GET, target: TARGET, fields: &since };
    let stored = ResponseHead { status: StatusCode::OK, fields: &fields(&[]) };
    assert_eq!(evaluate(&head, &stored, later(1)), Send, "received after the date the client names");
}

#[test]
fn a_range_is_given_only_of_exactly_what_the_client_has() {
    let (modified, now) = (date(-60), date(0));
    let stored: Lines<'_> = &[("etag", "\"a\""), ("last-modified", &modified), ("date", &now)];
    let rows: &[(&str, Lines<'_>, Lines<'_>, bool)] = &[
        ("no condition", stored, &[], true),
        ("the tag", stored, &[("if-range", "\"a\"")], true),
        ("a weak tag", stored, &[("if-range", "W/\"a\"")], false),
        ("a weak tag stored", &[("etag", "W/\"a\"")], &[("if-range", "W/\"a\"")], false),
        ("another", stored, &[("if-range", "\"b\"")], false),
        ("the date", stored, &[("if-range", &modified)], true),
        ("a later date", stored, &[("if-range", &now)], false),
        (
            "a date too young to be strong",
            &[("last-modified", &now), ("date", &now)],
            &[("if-range", &now)],
            false,
        ),
        ("two", stored, &[("if-range", "\"a\""), ("if-range", "\"a\"")], false),
        ("nothing to compare with", &[], &[("if-range", "\"a\"")], false),
    ];
    for (claim, stored, request, expected) in rows {
        let request = fields(request);
        let head = RequestHead { method: &Method::GET, target: TARGET, fields: &request };
        assert_eq!(if_range_holds(&head, &fields(stored)), *expected, "{claim}");
    }
}

#[test]
fn validators_are_sent_as_the_origin_wrote_them() {
    let modified = date(-60);
    let both = fields(&[("etag", "abc"), ("last-modified", &modified)]);
    let validators = Validators::of(&both);
    assert_eq!(validators.etag.as_ref().unwrap(), "abc");
    assert_eq!(validators.last_modified.as_ref().unwrap(), modified.as_str());
    assert!(Validators::of(&fields(&[("last-modified", "yesterday"), ("etag", "")])).is_empty());
    assert!(!has_validator(&fields(&[("last-modified", "yesterday"), ("etag", "")])));
    assert!(has_validator(&both));
}

#[test]
fn only_a_strong_validator_joins_parts() {
    let (modified, now) = (date(-60), date(0));
    let strong =
        |lines: Lines<'_>| strong_validator(&fields(lines)).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(strong(&[("etag", "\"a\""), ("last-modified", &modified)]).as_deref(), Some("\"a\""));
    assert_eq!(strong(&[("etag", "W/\"a\""), ("last-modified", &modified), ("date", &now)]), None);
    assert_eq!(strong(&[("last-modified", &modified), ("date", &now)]), Some(modified.clone()));
    assert_eq!(strong(&[("last-modified", &now), ("date", &now)]), None);
    assert_eq!(strong(&[("last-modified", &modified)]), None);
}
