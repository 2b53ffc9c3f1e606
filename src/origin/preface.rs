//! What an origin is told of the client before anything else on a connection: the PROXY protocol.
//!
//! `connect.rs` writes it in front of TLS and HTTP where the pool says so. It speaks for the whole connection, so such a
//! connection serves one client alone (`connections.rs`).
//!
//! The destination is the origin's own address, as this node reached it; on a socket in the file system there is none.
//! The PROXY protocol, versions 1 and 2, §2.1, §2.2.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::ProxyProtocol;

/// The header for a connection of `client`'s to `origin`; without a client it is the node's own.
pub(crate) fn preface(
    version: ProxyProtocol,
    client: Option<SocketAddr>,
    origin: Option<SocketAddr>,
) -> Vec<u8> {
    let ends = client.map(|client| Ends::of(client, origin));
    match version {
        ProxyProtocol::V1 => text(ends),
        ProxyProtocol::V2 => binary(ends),
    }
}

/// Both ends, in one family.
#[derive(Clone, Copy)]
enum Ends {
    V4((Ipv4Addr, u16), (Ipv4Addr, u16)),
    V6((Ipv6Addr, u16), (Ipv6Addr, u16)),
}

impl Ends {
    fn of(client: SocketAddr, origin: Option<SocketAddr>) -> Self {
        let source = client.ip().to_canonical();
        let unknown = match source {
            IpAddr::V4(_) => SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            IpAddr::V6(_) => SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        };
        let origin = origin.unwrap_or(unknown);
        match (source, origin.ip().to_canonical()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                Self::V4((source, client.port()), (destination, origin.port()))
            }
            (source, destination) => Self::V6((v6(source), client.port()), (v6(destination), origin.port())),
        }
    }
}

fn v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped(),
        IpAddr::V6(v6) => v6,
    }
}

/// At most 107 bytes.
fn text(ends: Option<Ends>) -> Vec<u8> {
    let mut out = Vec::new();
    // Writing to a vector does not fail.
    let _ = match ends {
        None => write!(out, "PROXY UNKNOWN\r\n"),
        Some(Ends::V4((source, port), (destination, to))) => {
            write!(out, "PROXY TCP4 {source} {destination} {port} {to}\r\n")
        }
        Some(Ends::V6((source, port), (destination, to))) => {
            write!(out, "PROXY TCP6 {source} {destination} {port} {to}\r\n")
        }
    };
    out
}

fn binary(ends: Option<Ends>) -> Vec<u8> {
    let (command, family, addresses) = match ends {
        None => (LOCAL, 0, Vec::new()),
        Some(Ends::V4((source, port), (destination, to))) => (
            PROXY,
            TCP_OVER_IPV4,
            [&source.octets()[..], &destination.octets(), &port.to_be_bytes(), &to.to_be_bytes()].concat(),
        ),
        Some(Ends::V6((source, port), (destination, to))) => (
            PROXY,
            TCP_OVER_IPV6,
            [&source.octets()[..], &destination.octets(), &port.to_be_bytes(), &to.to_be_bytes()].concat(),
        ),
    };
    let length = u16::try_from(addresses.len()).unwrap_or_default();
    [SIGNATURE, &[command, family], &length.to_be_bytes(), &addresses].concat()
}

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, and whose connection it is.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const TCP_OVER_IPV4: u8 = 0x11;
const TCP_OVER_IPV6: u8 = 0x21;

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Option<SocketAddr> {
        (!text.is_empty()).then(|| text.parse().expect("an address"))
    }

    #[test]
    fn a_line_says_who_the_client_is() {
        for (client, origin, line) in [
            ("192.0.2.7:5000", "10.0.0.1:80", "PROXY TCP4 192.0.2.7 10.0.0.1 5000 80"),
            ("[::ffff:192.0.2.7]:5000", "10.0.0.1:80", "PROXY TCP4 192.0.2.7 10.0.0.1 5000 80"),
            ("[2001:db8::7]:5000", "[2001:db8::1]:80", "PROXY TCP6 2001:db8::7 2001:db8::1 5000 80"),
            ("[2001:db8::7]:5000", "10.0.0.1:80", "PROXY TCP6 2001:db8::7 ::ffff:10.0.0.1 5000 80"),
            ("192.0.2.7:5000", "[2001:db8::1]:80", "PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 5000 80"),
            ("192.0.2.7:5000", "", "PROXY TCP4 192.0.2.7 0.0.0.0 5000 0"),
            ("[2001:db8::7]:5000", "", "PROXY TCP6 2001:db8::7 :: 5000 0"),
            ("", "10.0.0.1:80", "PROXY UNKNOWN"),
        ] {
            let told = preface(ProxyProtocol::V1, at(client), at(origin));
            assert_eq!(String::from_utf8_lossy(&told), format!("{line}\r\n"));
            assert!(told.len() <= 107);
        }
    }

    #[test]
    fn the_binary_form_says_the_same() {
        let told = preface(ProxyProtocol::V2, at("192.0.2.7:5000"), at("10.0.0.1:80"));
        let expected = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x07\x0a\0\0\x01\x13\x88\0\x50";
        assert_eq!(told, expected);
        let told = preface(ProxyProtocol::V2, at("[2001:db8::7]:5000"), at("[::1]:80"));
        assert_eq!((told.len(), told.get(12..16)), (52, Some(&b"\x21\x21\0\x24"[..])));
        let told = preface(ProxyProtocol::V2, None, at("10.0.0.1:80"));
        assert_eq!(told, b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0");
    }
}
