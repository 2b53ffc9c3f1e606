//! Host and port of a request, as strict as names in use are: letters, digits, `-`, `.`, `_`, or an IPv6 literal.
//!
//! Percent-encoding, sub-delimiters and user information are legal in a URI's authority (RFC 3986 §3.2) but in no
//! host that is served, and each has carried an attack on routing or keys (FAULTS S9). Called by `head.rs`.

use std::net::Ipv6Addr;

/// Whether `text` is a host with an optional port from 1 to 65535.
pub fn is_valid(text: &[u8]) -> bool {
    split(text)
        .is_some_and(|(host, port)| is_host(host) && port.is_none_or(|port| parse_port(port).is_some()))
}

/// Whether both name one authority: equal without regard to case and to `default_port`.
pub fn agree(one: &[u8], other: &[u8], default_port: u16) -> bool {
    let (Some(one), Some(other)) = (split(one), split(other)) else { return false };
    one.0.eq_ignore_ascii_case(other.0) && number(one.1, default_port) == number(other.1, default_port)
}

/// Host (with its brackets) and the port's digits.
fn split(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let host_len = if text.first() == Some(&b'[') {
        text.iter().position(|byte| *byte == b']')? + 1
    } else {
        text.iter().position(|byte| *byte == b':').unwrap_or(text.len())
    };
    let (host, rest) = text.split_at_checked(host_len)?;
    match rest.split_first() {
        None => Some((host, None)),
        Some((b':', port)) => Some((host, Some(port))),
        Some(_) => None,
    }
}

fn is_host(host: &[u8]) -> bool {
    if let Some(literal) = host.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]")) {
        return std::str::from_utf8(literal).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok());
    }
    // One trailing dot is the root; any other empty label is nonsense.
    let name = host.strip_suffix(b".").unwrap_or(host);
    !name.is_empty()
        && name.len() <= HOST_BYTES_MAX
        && name.split(|byte| *byte == b'.').all(|label| {
            !label.is_empty()
                && label.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        })
}

/// 1 to 65535 without needless zeros.
fn parse_port(digits: &[u8]) -> Option<u16> {
    if !matches!(digits, [b'1'..=b'9', ..]) || digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn number(port: Option<&[u8]>, default_port: u16) -> Option<u16> {
    port.map_or(Some(default_port), parse_port)
}

/// Bytes of a host name, RFC 1035 §2.3.4.
const HOST_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_in_use_are_valid_and_others_are_not() {
        for text in
            ["a", "www.example.com", "a:1", "a:65535", "a.", "1.2.3.4:80", "[::1]", "[::1]:443", "x_y-z.9"]
        {
            assert!(is_valid(text.as_bytes()), "{text}");
        }
        for text in [
            "",
            ":",
            ":80",
            "a:",
            "a:0",
            "a:65536",
            "a:99999",
            "a:+1",
            "a:1:2",
            "a,b",
            "a/b",
            "u@a",
            "a b",
            "a?b",
            "a#b",
            "a%41",
            ".",
            "..",
            ".a",
            "a..b",
            "[::1",
            "::1",
            "[::1]x",
            "[1]",
            "[::1%25eth0]",
            "[]",
            "a\\b",
            "\u{e9}",
            "a:080000",
            "a:080",
            "*",
            "a;b",
            "a'b",
            "a\"b",
        ] {
            assert!(!is_valid(text.as_bytes()), "{text}");
        }
        assert!(!is_valid("a".repeat(254).as_bytes()));
    }

    #[test]
    fn an_authority_agrees_with_itself_in_other_case_and_with_the_default_port() {
        assert!(agree(b"A.example", b"a.EXAMPLE:80", 80));
        assert!(agree(b"[::1]:80", b"[::1]", 80));
        assert!(!agree(b"a", b"a:81", 80));
        assert!(!agree(b"a", b"b", 80));
        assert!(!agree(b"a:80", b"a:443", 80));
    }
}
