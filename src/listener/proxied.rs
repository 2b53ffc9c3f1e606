//! Who the client is when a proxy that we trust stands between.
//!
//! Each hop appends the address it was called from, so the list is read from its right end: as long as an address is
//! one of the trusted proxies, the next one to the left was written by it. The first that is not trusted is the client,
//! whatever stands further left: that part anyone can write. An element that is no address (`unknown`, a made-up name)
//! ends the walk at the last hop known.
//!
//! `X-Forwarded-For` is read if it is there, else `Forwarded` (RFC 7239 §5.2): a proxy that writes the one must drop the
//! other. Called by `guard.rs` for listeners with `trusted_proxies`.

use std::net::{IpAddr, SocketAddr};

use super::fields::{FieldId, Fields};
use crate::config::Network;

/// The client that trusted proxies name, or `None` if the peer is not one of them or names nobody.
pub(crate) fn client(peer: SocketAddr, fields: &Fields, trusted: &[Network]) -> Option<SocketAddr> {
    if !is_trusted(peer, trusted) {
        return None;
    }
    let hops: Vec<&[u8]> = if fields.has(FieldId::XForwardedFor) {
        fields.all(FieldId::XForwardedFor).flat_map(|line| line.split(|byte| *byte == b',')).collect()
    } else {
        fields
            .all(FieldId::Forwarded)
            .flat_map(|line| line.split(|byte| *byte == b','))
            .map(|element| forwarded_for(element).unwrap_or_default())
            .collect()
    };
    let mut client = None;
    for hop in hops.into_iter().rev() {
        let Some(address) = address(hop) else { break };
        client = Some(address);
        if !is_trusted(address, trusted) {
            break;
        }
    }
    client
}

/// Whether it is one of the proxies that we trust.
pub(crate) fn is_trusted(address: SocketAddr, trusted: &[Network]) -> bool {
    trusted.iter().any(|network| network.contains(address.ip()))
}

/// The `for` parameter of one element of `Forwarded`.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    element.split(|byte| *byte == b';').map(<[u8]>::trim_ascii).find_map(|pair| {
        let (name, value) = pair.split_at_checked(4)?;
        name.eq_ignore_ascii_case(b"for=").then_some(value)
    })
}

/// An address, with or without port, brackets and quotes.
fn address(text: &[u8]) -> Option<SocketAddr> {
    let text = std::str::from_utf8(text).ok()?.trim().trim_matches('"');
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Some(SocketAddr::new(address.ip().to_canonical(), address.port()));
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address.to_canonical(), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_first_address_from_the_right_that_is_not_a_trusted_proxy() {
        let trusted = [
            Network::new(IpAddr::from([10, 0, 0, 0]), 8).expect("a network"),
            Network::new("fd00::".parse().expect("an address"), 8).expect("a network"),
        ];
        for (peer, field, value, client_is, claim) in [
            ("10.0.0.1:1", "x-forwarded-for", "192.0.2.7", Some("192.0.2.7:0"), "one hop"),
            ("10.0.0.1:1", "x-forwarded-for", "192.0.2.7:99", Some("192.0.2.7:99"), "with a port"),
            (
                "10.0.0.1:1",
                "x-forwarded-for",
                "1.1.1.1, 192.0.2.7",
                Some("192.0.2.7:0"),
                "what the client wrote itself does not count",
            ),
            (
                "10.0.0.1:1",
                "x-forwarded-for",
                "192.0.2.7, 10.0.0.2",
                Some("192.0.2.7:0"),
                "through two proxies",
            ),
            (
                "10.0.0.1:1",
                "x-forwarded-for",
                "10.0.0.3, 10.0.0.2",
                Some("10.0.0.3:0"),
                "a client among the proxies",
            ),
            ("10.0.0.1:1", "x-forwarded-for", "192.0.2.7, unknown", None, "a hop that says unknown"),
            (
                "10.0.0.1:1",
                "x-forwarded-for",
                "192.0.2.7, x, 10.0.0.2",
                Some("10.0.0.2:0"),
                "the last hop known",
            ),
            ("10.0.0.1:1", "x-forwarded-for", "", None, "an empty list"),
            ("192.0.2.1:1", "x-forwarded-for", "192.0.2.7", None, "a peer that is not trusted"),
            ("[fd00::1]:1", "x-forwarded-for", "2001:db8::1", Some("[2001:db8::1]:0"), "IPv6"),
            ("10.0.0.1:1", "x-forwarded-for", "::ffff:192.0.2.7", Some("192.0.2.7:0"), "IPv4 in IPv6"),
            ("10.0.0.1:1", "forwarded", "for=192.0.2.7;proto=https", Some("192.0.2.7:0"), "Forwarded"),
            (
                "10.0.0.1:1",
                "forwarded",
                "proto=https; For=\"[2001:db8::1]:8\"",
                Some("[2001:db8::1]:8"),
                "Forwarded, quoted",
            ),
            ("10.0.0.1:1", "forwarded", "for=192.0.2.7, proto=https", None, "an element that names nobody"),
            ("10.0.0.1:1", "via", "192.0.2.7", None, "no such field"),
        ] {
            let fields = Fields::pack([(field.as_bytes(), value.as_bytes())].into_iter());
            let found = client(peer.parse().expect("an address"), &fields, &trusted);
            assert_eq!(found, client_is.map(|text| text.parse().expect("an address")), "{claim}");
        }
    }
}
