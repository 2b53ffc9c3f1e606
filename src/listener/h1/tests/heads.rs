//! What `head.rs` makes of bytes: FAULTS S1, S2, S4, S7 to S9, S12, R6. The long table is `tests/framing/cases.rs`; here
//! stand the causes, one row each.

use bytes::BytesMut;
use proptest::prelude::*;

use super::super::head::{BodyLength, Head, HeadReader};
use super::super::refusal::Refusal;
use crate::config::limits::Limits;
use crate::listener::fields::{FieldId, FieldIndex};
use crate::listener::request::{Protocol, Scheme};

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Head>, Refusal> {
    let mut input = BytesMut::from(bytes);
    HeadReader::default().next(&mut input, &mut FieldIndex::default(), Scheme::Http, &Limits::default())
}

#[test]
fn every_cause_of_refusal_is_told_apart() {
    let rows: &[(&[u8], Refusal)] = &[
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", Refusal::BareLineFeed),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n", Refusal::ControlByte),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: \x00\r\n\r\n", Refusal::ControlByte),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n", Refusal::Fold),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", Refusal::LeadingWhiteSpace),
        (b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::LeadingWhiteSpace),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", Refusal::SpaceBeforeColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", Refusal::MissingColon),
        (b"GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n", Refusal::EmptyName),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX,Y: z\r\n\r\n", Refusal::NameByte),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::RequestLine),
        (b"G(T / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodByte),
        (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodUnknown),
        (b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::MethodNotAllowed),
        (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", Refusal::Version),
        (b"GET /# HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetByte),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::TargetForm),
        (b"GET https://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::SchemeDisagrees),
        (b"GET / HTTP/1.1\r\n\r\n", Refusal::HostMissing),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", Refusal::HostRepeated),
        (b"GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", Refusal::HostInvalid),
        (b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::HostDisagrees),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\n", Refusal::LengthInvalid),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            Refusal::LengthRepeated,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", Refusal::CodingInvalid),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", Refusal::CodingUnknown),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            Refusal::CodingRepeated,
        ),
        (b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", Refusal::CodingTooOld),
        (
            b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
            Refusal::LengthAndCoding,
        ),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 5\r\n\r\n", Refusal::FramingAlias),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Host\r\n\r\n", Refusal::ConnectionNominates),
        (b"GET / HTTP/1.1\r\nHost: a\r\nExpect: x\r\n\r\n", Refusal::Expectation),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 104857601\r\n\r\n", Refusal::BodyTooLong),
    ];
    for (bytes, refusal) in rows {
        assert_eq!(parse(bytes).err(), Some(*refusal), "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_request_line_that_cannot_become_valid_is_refused_before_the_rest_arrives() {
    for (bytes, refusal) in [
        ("GET /\r\n", Refusal::RequestLine),
        ("GET / HTTP/1.2\r\n", Refusal::Version),
        ("GET / HTTP/1.1\n", Refusal::BareLineFeed),
    ] {
        assert_eq!(parse(bytes.as_bytes()).err(), Some(refusal), "{bytes:?}");
    }
}

#[test]
fn the_parts_of_a_head_are_what_was_sent() {
    let head = parse(
        b"POST http://A.example:80/x?y HTTP/1.1\r\nHost: a.example\r\nX-Own:  z \r\nContent-Length: 7\r\nExpect: 100-continue\r\n\r\n",
    )
    .expect("it is valid")
    .expect("it is complete");
    assert_eq!(head.method, http::Method::POST);
    assert_eq!(head.fields.part(&head.authority), b"A.example:80");
    assert_eq!(head.fields.part(&head.target), b"/x?y");
    assert_eq!(head.protocol, Protocol::Http11);
    assert_eq!(head.body, BodyLength::Exactly(7));
    assert!(head.keep_alive && head.expects_continue);
    assert_eq!(head.fields.len(), 4);
    assert_eq!(head.fields.first(FieldId::Host), Some(&b"a.example"[..]));
    assert_eq!(head.fields.named("x-own").collect::<Vec<_>>(), [b"z"]);
}

#[test]
fn a_head_takes_its_own_bytes_and_no_others() {
    let mut input =
        BytesMut::from(&b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET"[..]);
    let mut heads = HeadReader::default();
    let mut targets = Vec::new();
    while let Some(head) = heads
        .next(&mut input, &mut FieldIndex::default(), Scheme::Http, &Limits::default())
        .expect("both are valid")
    {
        targets.push(head.fields.part(&head.target).to_vec());
    }
    assert_eq!(targets, [b"/1", b"/2"]);
    assert_eq!(&input[..], b"GET");
}

#[test]
fn fields_beyond_those_on_the_stack_are_found_where_the_limit_allows_them() {
    let limits = Limits { fields_max: 200, ..Limits::default() };
    let bytes = format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(199));
    let mut input = BytesMut::from(bytes.as_bytes());
    let head = HeadReader::default()
        .next(&mut input, &mut FieldIndex::default(), Scheme::Http, &limits)
        .expect("it is valid")
        .expect("it is complete");
    assert_eq!(head.fields.len(), 200);
}

/// Bytes that look like a head often enough to get past the first check.
pub(super) fn almost_a_head() -> impl Strategy<Value = Vec<u8>> {
    let parts: Vec<&'static [u8]> = vec![
        b"GET",
        b"POST",
        b"OPTIONS",
        b" ",
        b" ",
        b"/",
        b"/x?y",
        b"*",
        b"http://a",
        b" HTTP/1.1",
        b" HTTP/1.0",
        b"\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b"Host: a\r\n",
        b"Host: b:80\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: ",
        b"3",
        b"0",
        b"Transfer-Encoding: chunked\r\n",
        b"Transfer-Encoding:",
        b"chunked",
        b"Connection: close\r\n",
        b"Expect: 100-continue\r\n",
        b"X: y\r\n",
        b":",
        b"\t",
        b",",
        b";",
        b"\x00",
        b"\xff",
        b"\r\n\r\n",
        b"3\r\nabc\r\n0\r\n\r\n",
        b"abc",
    ];
    let sane = (
        prop::sample::select(vec!["GET", "POST", "OPTIONS", "HEAD", "PUT"]),
        prop::sample::select(vec!["/", "/x", "/x?y", "*", "http://a/x", "http://a", "/{|}^[]", "//x"]),
        prop::sample::select(vec!["HTTP/1.1", "HTTP/1.1", "HTTP/1.0"]),
        prop::collection::vec(
            prop::sample::select(vec![
                "X: y",
                "X:",
                "X: \ty ",
                "Content-Length: 3",
                "Content-Length: 0",
                "Transfer-Encoding: chunked",
                "Connection: close",
                "Connection: keep-alive",
                "Expect: 100-continue",
                "Upgrade: h2c",
                "Host: a",
                "X_Y: z",
                "Trailer: X",
                "TE: trailers",
            ]),
            0..4,
        ),
        prop::sample::select(vec![
            "",
            "abc",
            "3\r\nabc\r\n0\r\n\r\n",
            "1;a=b\r\nx\r\n0\r\nT: u\r\n\r\n",
            "0\r\n\r\n",
        ]),
    )
        .prop_map(|(method, target, version, lines, rest)| {
            let lines = lines.iter().fold(String::new(), |all, line| all + line + "\r\n");
            format!("{method} {target} {version}\r\nHost: a\r\n{lines}\r\n{rest}").into_bytes()
        });
    let wild = prop::collection::vec(prop::sample::select(parts), 0..24).prop_map(|parts| parts.concat());
    let mutated =
        (sane.clone(), any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        });
    prop_oneof![2 => sane, 2 => mutated, 1 => wild]
}

proptest! {
    #[test]
    fn no_bytes_panic_the_parser(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let _ = parse(&bytes);
    }

    #[test]
    fn a_head_that_drips_in_is_read_as_one_that_comes_at_once(bytes in almost_a_head()) {
        let at_once = parse(&bytes).map(|head| head.map(|head| format!("{head:?}")));
        let (mut input, mut heads, mut index) = (BytesMut::new(), HeadReader::default(), FieldIndex::default());
        let mut dripped = Ok(None);
        for byte in &bytes {
            input.extend_from_slice(&[*byte]);
            dripped = heads
                .next(&mut input, &mut index, Scheme::Http, &Limits::default())
                .map(|head| head.map(|head| format!("{head:?}")));
            if !matches!(dripped, Ok(None)) {
                break;
            }
        }
        prop_assert_eq!(dripped, at_once);
    }
}
