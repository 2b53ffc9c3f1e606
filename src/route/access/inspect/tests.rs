//! What is an attack, what is not, and that neither depends on how it is written, framed or cut.

use std::collections::BTreeSet;

use super::*;
use crate::config::limits::{INSPECT_BODY_BYTES, INSPECT_PARAMETERS_MAX};

fn inspector(mode: InspectMode, over: InspectOver) -> Inspector {
    let rule = Inspect { over, ..Inspect::by_libinjection(mode) };
    let inspector = Inspector::of(&Arc::new(rule), &mut Made::default()).expect("nothing is loaded");
    Arc::into_inner(inspector).expect("nobody else has it")
}

fn blocking() -> Inspector {
    inspector(InspectMode::Block, InspectOver::Pass)
}

/// `text` as a browser sends it in a form.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |all, byte| match byte {
        b' ' => all + "+",
        byte if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
            format!("{all}{}", char::from(byte))
        }
        byte => format!("{all}%{byte:02X}"),
    })
}

fn in_query(query: &str) -> Option<Denied> {
    blocking().query(query.as_bytes(), &[]).err().map(|finding| finding.denied)
}

fn subject(content_type: Option<&str>, pieces: &[&[u8]]) -> Subject {
    let lines = content_type.map(|kind| (&b"content-type"[..], kind.as_bytes()));
    Subject {
        method: Method::POST,
        target: Bytes::from_static(b"/form"),
        protocol: Protocol::Http11,
        authority: None,
        fields: Fields::pack(lines.into_iter()),
        client: None,
        body: pieces.iter().map(|piece| Bytes::copy_from_slice(piece)).collect(),
        is_whole: true,
    }
}

fn in_body(content_type: Option<&str>, pieces: &[&[u8]]) -> Option<Denied> {
    look(&subject(content_type, pieces), false, &[]).0.map(|finding| finding.denied)
}

const SQL: Denied = Denied::Attack(Attack::Sql);
const SCRIPT: Denied = Denied::Attack(Attack::Script);

/// From the corpora of libinjection, sqlmap's manual and OWASP's cheat sheets.
const ATTACKS: [(&str, Denied); 29] = [
    ("1' OR '1'='1", SQL),
    ("' OR 1=1--", SQL),
    ("' or ''='", SQL),
    ("admin'--", SQL),
    ("1 OR 1=1", SQL),
    ("1) OR (1=1", SQL),
    ("\" OR \"\"=\"", SQL),
    ("1 UNION SELECT username, password FROM users", SQL),
    ("-1' UNION SELECT 1,2,3-- -", SQL),
    ("1/**/UNION/**/SELECT/**/1", SQL),
    ("1 UNION ALL SELECT NULL,NULL,version()", SQL),
    ("1; DROP TABLE users", SQL),
    ("'; EXEC xp_cmdshell('dir')--", SQL),
    ("1 AND SLEEP(5)", SQL),
    ("1' AND (SELECT 1 FROM (SELECT SLEEP(5))a)-- ", SQL),
    ("1 AND 1=CONVERT(int,@@version)", SQL),
    ("' WAITFOR DELAY '0:0:5'--", SQL),
    ("1 ORDER BY 3--", SQL),
    ("'||(SELECT password FROM users LIMIT 1)||'", SQL),
    ("<script>alert(1)</script>", SCRIPT),
    ("<ScRiPt src=//evil.test/x.js>", SCRIPT),
    ("<img src=x onerror=alert(1)>", SCRIPT),
    ("<svg/onload=alert(1)>", SCRIPT),
    ("\" onmouseover=\"alert(1)", SCRIPT),
    ("' autofocus onfocus='alert(1)", SCRIPT),
    ("<a href=\"javascript:alert(1)\">x</a>", SCRIPT),
    ("<iframe src=javascript:alert(1)>", SCRIPT),
    ("<body onload=alert(1)>", SCRIPT),
    ("<math><a xlink:href=javascript:alert(1)>", SCRIPT),
];

/// What people and programs really send.
const HARMLESS: [&str; 47] = [
    "",
    "O'Brien",
    "D'Angelo & Sons",
    "it's 5 o'clock",
    "rock 'n' roll",
    "The \"Times\"",
    "Müller, Jürgen",
    "東京タワー",
    "\u{1f30a} high tide",
    "ann.o'neil+news@example.com",
    "https://www.example.com/a/b?c=d&e=f#g",
    "//cdn.example.com/x.js",
    "2026-11-26T17:00:00+01:00",
    "550e8400-e29b-41d4-a716-446655440000",
    "+49 (30) 1234-5678",
    "SGVsbG8sIFdvcmxkIQ==",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    "c29tZSBsb25nZXIgYmFzZTY0IHRleHQsIHdpdGggcGx1cyBhbmQgc2xhc2g+Pz8/",
    "a+b=c",
    "1 + 1 = 2",
    "x^2 + y^2 = z^2",
    "3 < 5",
    "2 <= x and x <= 3",
    "E = mc^2",
    "50% off",
    "#hashtag",
    "C++ & C#",
    "a--b",
    "--",
    "-1",
    "3.14",
    "1e10",
    "0xDEADBEEF",
    "1,2,3",
    "[1, 2, 3]",
    "{\"a\": [1, 2], \"b\": \"c\"}",
    "select a size",
    "union square hotel",
    "drop shipping",
    "insert coin",
    "order by phone",
    "Where is the table?",
    "**bold** _italic_ `code` [link](https://example.com)",
    "> a quote\n\n- one\n- two\n\n# Heading",
    "price:[10 TO 20] AND brand:acme",
    "utm_source=news&utm_medium=email",
    "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
];

#[test]
fn attacks_are_found_as_values_and_as_names_however_often_they_are_encoded() {
    for (attack, denied) in ATTACKS {
        let (once, twice) = (encoded(attack), encoded(&encoded(attack)));
        for query in [
            format!("id={once}"),
            format!("a=b&id={once}&c=d"),
            format!("id={twice}"),
            format!("id={}", encoded(&twice)),
            once.clone(),
            format!("{once}=1"),
        ] {
            assert_eq!(in_query(&query), Some(denied), "{attack}: {query}");
        }
    }
}

#[test]
fn what_people_send_is_no_attack() {
    for text in HARMLESS {
        assert_eq!(in_query(&format!("q={}", encoded(text))), None, "{text}");
        let json = serde_json::json!({ "comment": text, text: [text] }).to_string();
        assert_eq!(in_body(Some("application/json"), &[json.as_bytes()]), None, "{text}");
        assert_eq!(in_body(Some("text/plain"), &[text.as_bytes()]), None, "{text}");
    }
}

/// Nothing knows all attacks, and some texts look like one: so it is with libinjection, and where that changes we want to hear of it.
#[test]
fn what_is_known_to_be_missed_and_mistaken_still_is() {
    for missed in ["admin' #", "1'or1", "1 or 2"] {
        assert_eq!(in_query(&format!("q={}", encoded(missed))), None, "{missed}");
    }
    for (mistaken, denied) in [
        ("if (a < b) return;", SQL),
        ("(1+2)*3", SQL),
        ("like '%x%'", SQL),
        ("style=color:red", SCRIPT),
        ("<!DOCTYPE html>", SCRIPT),
    ] {
        assert_eq!(in_query(&format!("q={}", encoded(mistaken))), Some(denied), "{mistaken}");
    }
}

#[test]
fn a_body_is_read_as_what_it_says_it_is() {
    let multipart = |head: &str, value: &str| format!("--b\r\n{head}\r\n\r\n{value}\r\n--b--\r\n");
    let part = "Content-Disposition: form-data; name=\"q\"";
    let file = "Content-Disposition: form-data; name=\"q\"; filename=\"a.html\"\r\nContent-Type: text/html";
    for (attack, denied) in ATTACKS {
        let json = serde_json::json!({ "a": [1, { "b": attack }] }).to_string();
        let escaped = attack.encode_utf16().fold(String::new(), |all, unit| format!("{all}\\u{unit:04x}"));
        for (kind, body, found) in [
            (Some("application/x-www-form-urlencoded"), format!("a=b&q={}", encoded(attack)), true),
            (None, format!("a=b&q={}", encoded(attack)), true),
            (Some("Application/JSON; charset=utf-8"), json.clone(), true),
            (Some("application/vnd.api+json"), json.clone(), true),
            (Some("application/json"), format!("{{\"a\": \"{escaped}\"}}"), true),
            (Some("application/json"), attack.to_owned(), !attack.starts_with(['"', '-', '1'])),
            (Some("multipart/form-data; boundary=b"), multipart(part, attack), true),
            (Some("multipart/form-data; boundary=\"b\""), multipart(part, attack), true),
            (Some("multipart/form-data; boundary=b"), multipart(file, attack), false),
            (Some("multipart/form-data"), attack.to_owned(), true),
            (Some("text/plain"), attack.to_owned(), true),
            (Some("image/png"), attack.to_owned(), false),
            (Some("application/xml"), attack.to_owned(), false),
        ] {
            let said = in_body(kind, &[body.as_bytes()]);
            assert_eq!(said, found.then_some(denied), "{kind:?}: {body}");
        }
    }
}

#[test]
fn where_a_body_is_cut_makes_no_difference() {
    for (kind, body) in [
        ("application/x-www-form-urlencoded", "a=b&id=1%27+OR+%271%27%3D%271&c=d"),
        ("application/json", r#"{"a":"b","id":"1\u0027 OR '1'='1","c":1}"#),
        (
            "multipart/form-data; boundary=xyz",
            "--xyz\r\nContent-Disposition: form-data; name=id\r\n\r\n1' OR '1'='1\r\n--xyz--\r\n",
        ),
    ] {
        for first in 0..=body.len() {
            for second in [first, first + 1, first + 7] {
                let second = second.min(body.len());
                let bytes = body.as_bytes();
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
                assert_eq!(in_body(Some(kind), &pieces), Some(SQL), "{kind} at {first} and {second}");
            }
        }
        // What is cut off is not read; what there is never breaks the reader.
        for end in 0..body.len() {
            let _ = in_body(Some(kind), &[&body.as_bytes()[..end]]);
        }
    }
}

#[test]
fn what_is_too_much_is_known_and_counts_as_the_rule_says() {
    let names = |count: usize| (0..count).map(|at| at.to_string()).collect::<Vec<_>>().join("&");
    let (many, few) = (names(INSPECT_PARAMETERS_MAX + 1), names(INSPECT_PARAMETERS_MAX));
    assert!(few.len() <= INSPECT_AT_ONCE_BYTES_MAX, "{}", few.len());
    assert_eq!(inspector(InspectMode::Block, InspectOver::Refuse).query(few.as_bytes(), &[]), Ok(None));
    assert_eq!(look(&subject(None, &[many.as_bytes()]), false, &[]), (None, true));
    for (over, limit) in [(InspectOver::Pass, false), (InspectOver::Refuse, true)] {
        let inspector = inspector(InspectMode::Block, over);
        assert_eq!(inspector.over(true).is_some(), limit);
        assert!(inspector.over(false).is_none());
    }
    let mut zipped = subject(None, &[b"a=b"]);
    zipped.fields = Fields::pack([(&b"content-encoding"[..], &b"gzip"[..])].into_iter());
    assert_eq!(look(&zipped, false, &[]), (None, true));
    zipped.fields = Fields::pack([(&b"content-encoding"[..], &b"identity"[..])].into_iter());
    assert_eq!(look(&zipped, false, &[]), (None, false));
}

#[tokio::test]
async fn a_verdict_is_counted_once_and_noted_where_it_is_a_finding() {
    let inspector = inspector(InspectMode::Detect, InspectOver::Pass);
    let noted = Noted::default();
    let attack = subject(None, &[b"a=b&q=1' OR '1'='1"]);
    assert_eq!(inspector.rest(attack, &[], &noted).await, Ok(()));
    assert_eq!(noted.told(), Some("libinjection sql s&sos in body q"));
    assert_eq!(noted.would(), Some(SQL));
    let long = format!("q={}1' OR '1'='1", "x".repeat(INSPECT_AT_ONCE_BYTES_MAX));
    let refusing = blocking();
    let noted = Noted::default();
    let harmless = Noted::default();
    assert_eq!(refusing.rest(subject(None, &[b"a=b"]), &[], &harmless).await, Ok(()));
    assert_eq!((harmless.told(), harmless.would()), (None, None));
    let script = subject(None, &[long.as_bytes(), b"&c=<script>"]);
    assert!(refusing.rest(script, &[], &noted).await.is_err());
    assert_eq!(noted.would(), None, "it is refused");
    let told: BTreeSet<_> =
        refusing.shared.figures().into_iter().map(|one| (one.engine, one.verdict, one.count)).collect();
    assert_eq!(told, BTreeSet::from([("libinjection", "blocked", 1), ("libinjection", "clean", 1)]));
}

#[test]
fn room_for_bodies_is_bounded_and_given_back() {
    let bytes = usize::try_from(INSPECT_BODY_BYTES).expect("some");
    for (mode, refused) in [(InspectMode::Block, true), (InspectMode::Detect, false)] {
        let inspector = inspector(mode, InspectOver::Pass);
        let mut held = Vec::new();
        while let Ok(Some(room)) = inspector.room(bytes) {
            held.push(room);
        }
        assert_eq!(held.len(), INSPECT_HELD_BYTES_MAX / bytes);
        assert_eq!(inspector.room(1).is_err(), refused, "{mode:?}");
        held.pop();
        assert!(matches!(inspector.room(1), Ok(Some(_))));
        held.clear();
        assert_eq!(inspector.shared.held_bytes(), 0);
    }
}

#[test]
fn parameters_of_a_signature_are_not_looked_into() {
    let query = b"signature=1'+OR+'1'='1&id=7";
    assert!(blocking().query(query, &[]).is_err());
    assert_eq!(blocking().query(query, &["signature"]), Ok(None));
}
