//! Who the client is, by what proxies say: `listener/proxied.rs`.

use std::net::SocketAddr;

use tidegate::config::value::network;
use tidegate::fuzzing::proxied;
use tidegate::listener::fields::Fields;

use super::{field_lines, lines};
use crate::reached;

/// A peer that is not trusted names nobody; what stands left of an address that is not trusted changes nothing, so a client
/// cannot choose its own.
pub fn proxied_client(data: &[u8]) {
    let trusted =
        ["10.0.0.0/8", "fd00::/8"].map(|text| network(text).unwrap_or_else(|told| panic!("{told:?}")));
    let pairs = field_lines(&mut lines(data));
    let fields = Fields::pack(pairs.iter().copied());
    let [proxy, stranger] = [[10, 0, 0, 1], [192, 0, 2, 1]].map(|address| SocketAddr::from((address, 1)));
    assert_eq!(proxied(stranger, &fields, &trusted), None, "a stranger is not believed");
    let client = proxied(proxy, &fields, &trusted);
    reached(client.map(|client| {
        (client.is_ipv4(), client.port() == 0, trusted.iter().any(|network| network.contains(client.ip())))
    }));
    for name in ["x-forwarded-for", "forwarded"] {
        let written = if name == "forwarded" { "for=203.0.113.9".as_bytes() } else { b"203.0.113.9" };
        let is_read = !pairs.iter().any(|(known, _)| known.eq_ignore_ascii_case(b"x-forwarded-for"));
        if name == "forwarded" && !is_read {
            continue;
        }
        // A client without proxies behind it sends a claim; the proxy appends the address it saw.
        let seen = if name == "forwarded" { "for=198.51.100.7".as_bytes() } else { b"198.51.100.7" };
        let claims = [&[(name.as_bytes(), written)][..], &pairs, &[(name.as_bytes(), seen)]].concat();
        let found = proxied(proxy, &Fields::pack(claims.iter().copied()), &trusted);
        assert_eq!(
            found,
            Some(SocketAddr::from(([198, 51, 100, 7], 0))),
            "what the client wrote does not count"
        );
    }
}

/// Words of such fields.
pub const WORDS: &[&str] = &[
    "X-Forwarded-For: ",
    "Forwarded: ",
    "for=",
    "for=\"[2001:db8::1]:8\"",
    "192.0.2.7",
    "10.0.0.2",
    "::ffff:10.0.0.1",
    "[fd00::1]:80",
    "unknown",
    "_hidden",
    ", ",
    ";proto=https",
    ":99",
    "\"",
];
