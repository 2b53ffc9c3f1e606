//! The fields an origin gets. FAULTS S12, R8.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;
use crate::config::limits::HOPS_MAX;
use crate::listener::fields::{FieldId, FieldIndex, FieldLine, Fields, SharedValue};
use crate::listener::request::{Protocol, Scheme};
use crate::origin::forward::{Conditions, Hop, Sent, fields};

fn received(lines: &[(&'static str, &'static str)]) -> Fields {
    Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())))
}

fn hop() -> Hop<'static> {
    Hop {
        node: "fra-1",
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        scheme: Scheme::Https,
        protocol: Protocol::Http2,
        authority: b"www.example.com",
        known: None,
    }
}

fn sent(lines: &[(&'static str, &'static str)], conditions: Conditions<'_>) -> Vec<String> {
    let map = fields(&received(lines), &hop(), conditions, |_| true).unwrap().to_map();
    let mut lines: Vec<String> =
        map.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
    lines.sort();
    lines
}

const OURS: [&str; 6] = [
    "cdn-loop: fra-1",
    "forwarded: for=192.0.2.7;host=\"www.example.com\";proto=https",
    "via: 2 fra-1",
    "x-forwarded-for: 192.0.2.7",
    "x-forwarded-host: www.example.com",
    "x-forwarded-proto: https",
];

const OWN: Conditions<'static> = Conditions::Own { etag: None, last_modified: None, range: None };

#[test]
fn hop_by_hop_framing_and_claimed_origins_end_here() {
    let lines = sent(
        &[
            ("Host", "evil"),
            ("Connection", "close, X-Hop"),
            ("X-Hop", "1"),
            ("Keep-Alive", "5"),
            ("Proxy-Connection", "close"),
            ("Proxy-Authorization", "x"),
            ("TE", "trailers"),
            ("Trailer", "x"),
            ("Transfer-Encoding", "chunked"),
            ("Content-Length", "5"),
            ("Upgrade", "h2c"),
            ("HTTP2-Settings", "x"),
            ("Expect", "100-continue"),
            ("X-Forwarded-For", "127.0.0.1"),
            ("X-Forwarded-Host", "evil"),
            ("X-Forwarded-Proto", "gopher"),
            ("Forwarded", "for=evil"),
            ("Accept", "a"),
            ("Accept", "b"),
        ],
        Conditions::Client,
    );
    let mut expected: Vec<&str> = OURS.to_vec();
    expected.extend(["accept: a", "accept: b"]);
    expected.sort_unstable();
    assert_eq!(lines, expected);
}

#[test]
fn a_fill_asks_with_its_own_conditions_and_never_with_the_clients() {
    let client = [
        ("If-None-Match", "\"c\""),
        ("If-Modified-Since", "c"),
        ("If-Match", "\"c\""),
        ("If-Unmodified-Since", "c"),
        ("If-Range", "\"c\""),
        ("Range", "bytes=0-0"),
    ];
    assert_eq!(sent(&client, OWN), OURS);
    let own = Conditions::Own { etag: Some(b"\"o\""), last_modified: Some(b"o"), range: Some(b"bytes=1-") };
    let mut expected: Vec<&str> = OURS.to_vec();
    expected.extend(["if-none-match: \"o\"", "if-modified-since: o", "range: bytes=1-"]);
    expected.sort_unstable();
    assert_eq!(sent(&client, own), expected);
    assert_eq!(sent(&client, Conditions::Client).len(), OURS.len() + client.len());
}

#[test]
fn the_route_says_what_else_is_kept_but_not_of_the_chain() {
    let lines = received(&[("Via", "1.1 a"), ("CDN-Loop", "a"), ("Cookie", "x"), ("Accept", "y")]);
    let map = fields(&lines, &hop(), OWN, |line: &FieldLine<'_>| line.name.eq_ignore_ascii_case(b"accept"))
        .unwrap()
        .to_map();
    assert!(map.contains_key("accept") && !map.contains_key("cookie"));
    let all = |name| map.get_all(name).iter().map(|value| value.to_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(all("via"), ["1.1 a", "2 fra-1"]);
    assert_eq!(all("cdn-loop"), ["a", "fra-1"]);
}

#[test]
fn an_ipv6_client_is_quoted_in_forwarded_and_a_mapped_one_is_ipv4() {
    for (client, forwarded, plain) in [
        (Ipv6Addr::LOCALHOST, "for=\"[::1]\";host=\"www.example.com\";proto=https", "::1"),
        (
            Ipv4Addr::new(192, 0, 2, 7).to_ipv6_mapped(),
            "for=192.0.2.7;host=\"www.example.com\";proto=https",
            "192.0.2.7",
        ),
    ] {
        let hop = Hop { client: IpAddr::V6(client), ..hop() };
        let map = fields(&received(&[]), &hop, OWN, |_| true).unwrap().to_map();
        assert_eq!(map.get("forwarded").unwrap(), forwarded);
        assert_eq!(map.get("x-forwarded-for").unwrap(), plain);
    }
}

#[test]
fn a_request_that_has_been_here_is_a_loop() {
    let chain = |count: usize| vec!["x"; count].join(", ");
    for (name, lines, looped) in [
        ("own name in CDN-Loop", vec![("CDN-Loop", "other, fra-1".to_owned())], true),
        ("in another case", vec![("CDN-Loop", "FRA-1".to_owned())], true),
        ("with parameters", vec![("CDN-Loop", "fra-1; a=b".to_owned())], true),
        ("in a second line", vec![("CDN-Loop", "a".to_owned()), ("CDN-Loop", "fra-1".to_owned())], true),
        ("in Via alone", vec![("Via", "1.1 other, 1.1 fra-1 (x)".to_owned())], true),
        (
            "with a Connection that nominates it",
            vec![("Connection", "CDN-Loop".to_owned()), ("CDN-Loop", "fra-1".to_owned())],
            true,
        ),
        ("a name that only begins like ours", vec![("CDN-Loop", "fra-10".to_owned())], false),
        ("as many hops as allowed", vec![("CDN-Loop", chain(HOPS_MAX))], false),
        ("one hop more", vec![("CDN-Loop", chain(HOPS_MAX + 1))], true),
        ("one hop more in Via", vec![("Via", chain(HOPS_MAX + 1))], true),
    ] {
        let lines = Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        let outcome = fields(&lines, &hop(), OWN, |_| true).map(|_| ());
        assert_eq!(outcome, if looped { Err(OriginError::Loop) } else { Ok(()) }, "{name}");
    }
}

/// `Connection: CDN-Loop` would otherwise let a ring of nodes run for ever.
#[test]
fn connection_cannot_take_the_chain_away() {
    let lines = sent(&[("Connection", "CDN-Loop, Via"), ("CDN-Loop", "a"), ("Via", "1.1 a")], OWN);
    assert!(
        lines.contains(&"cdn-loop: a".to_owned()) && lines.contains(&"via: 1.1 a".to_owned()),
        "{lines:?}"
    );
}

#[test]
fn an_authority_that_would_break_out_of_forwarded_is_refused() {
    for authority in [&b"a\"b"[..], b"a\\b", b"a\r\nX: y", b"\xff"] {
        let hop = Hop { authority, ..hop() };
        assert_eq!(fields(&received(&[]), &hop, OWN, |_| true).map(|_| ()), Err(OriginError::Target));
    }
}

/// What requests of one connection share is in none of them, and reads and goes out as if it were.
#[test]
fn a_value_that_requests_share_goes_out_where_it_stands() {
    let long: SharedValue = vec![b'y'; 300].into();
    let text = b"accepta/bX-Longx-last1rangebytes=0-";
    let mut index = FieldIndex::default();
    index.push(text, 0..6, 6..9);
    index.push_shared(FieldId::Other, 9..15, 0);
    index.push_shared(FieldId::Other, 9..15, 0);
    index.push(text, 15..21, 21..22);
    index.push(text, 22..27, 27..35);
    let shared = Fields::sharing(text.to_vec().into(), index, vec![long.clone()]);
    let lines: Vec<_> = shared.lines().map(|line| (line.name, line.value)).collect();
    let apart = Fields::pack(lines.iter().copied());
    assert_eq!(lines.get(2), Some(&(&b"X-Long"[..], &*long)));
    assert_eq!(shared.named("x-long").collect::<Vec<_>>(), [&*long, &*long]);
    let sent = |fields_of: &Fields, with: bool| {
        let mut forwarded = fields(fields_of, &hop(), Conditions::Client, |_| true).unwrap();
        forwarded.push("x-request-id", b"1");
        let kept: Vec<_> = forwarded.as_fields().lines().map(|line| line.value.to_vec()).collect();
        let sent = if with { Sent::with_conditions } else { Sent::without_conditions }(Arc::new(forwarded));
        let mut out = Vec::new();
        sent.write(&mut out);
        assert_eq!(sent.lines().concat(), out);
        (out, kept)
    };
    for with in [true, false] {
        assert_eq!(sent(&shared, with), sent(&apart, with));
    }
    assert!(Arc::strong_count(&long) == 2, "the request alone holds it beside us");
}
