//! Calls that were not meant by whoever sits at this machine, though they come from it.
//!
//! A page in the operator's browser can make the browser call `127.0.0.1`. Two ways are closed: a name of the attacker's
//! that resolves to loopback (DNS rebinding: the `Host` is theirs), and a plain cross-site POST (the `Origin` is theirs). A
//! third way in is a reverse proxy on this machine that forwards strangers: it says so in `Forwarded`.

use std::net::IpAddr;

use http::StatusCode;
use purge_api::Problem;

use crate::listener::fields::{FieldId, Fields};

/// Without tokens, the listener must be called by a name that only this machine can mean.
pub(super) fn local_name(authority: &[u8]) -> Result<(), Problem> {
    let host = std::str::from_utf8(authority).ok().map(host_of).unwrap_or_default();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let local = host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback());
    if local {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host",
        "without tokens this listener is called as localhost, 127.0.0.1 or [::1] only",
    ))
}

/// Without tokens, the caller must be the one at the other end of the connection.
pub(super) fn not_through_a_proxy(fields: &Fields) -> Result<(), Problem> {
    if [FieldId::Forwarded, FieldId::XForwardedFor, FieldId::Via].iter().any(|field| fields.has(*field)) {
        let detail = "the call came through a proxy, so it may be anyone's: set `admin.tokens`";
        return Err(Problem::new(StatusCode::FORBIDDEN, "proxied", detail));
    }
    Ok(())
}

/// A call that changes something must not come from another site's page.
pub(super) fn same_origin(authority: &[u8], fields: &Fields) -> Result<(), Problem> {
    let own = |origin: &[u8]| {
        [&b"http://"[..], b"https://"].iter().any(|scheme| {
            origin.strip_prefix(*scheme).is_some_and(|rest| rest.eq_ignore_ascii_case(authority))
        })
    };
    let cross_site =
        fields.named("sec-fetch-site").any(|value| value == b"cross-site" || value == b"same-site");
    if cross_site || !fields.named("origin").all(own) {
        let detail = "a page of another site may not make this call";
        return Err(Problem::new(StatusCode::FORBIDDEN, "cross-origin", detail));
    }
    Ok(())
}

/// The host in an authority, brackets included, without port.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.is_empty() => {
            // The last colon of a bare IPv6 address belongs to it.
            if host.contains(':') && !host.ends_with(']') { authority } else { host }
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine() {
        for (claim, authority, local) in [
            ("localhost is local", "localhost", true),
            ("with a port too", "LocalHost:9180", true),
            ("loopback is local", "127.0.0.1:9180", true),
            ("all of 127/8 is", "127.8.0.1", true),
            ("IPv6 loopback is", "[::1]:9180", true),
            ("also without port", "[::1]", true),
            ("mapped loopback is", "[::ffff:127.0.0.1]:80", true),
            ("another name is not, wherever it resolves to", "rebind.example:9180", false),
            ("a name under localhost is not taken on trust", "evil.localhost", false),
            ("nor one that begins so", "localhost.evil.example", false),
            ("another address is not", "192.168.0.1:9180", false),
            ("all addresses are not", "0.0.0.0:9180", false),
            ("no name is not", "", false),
            ("a port alone is not", ":9180", false),
        ] {
            assert_eq!(local_name(authority.as_bytes()).is_ok(), local, "{claim}");
        }
        assert!(local_name(b"\xff").is_err());
    }

    #[test]
    fn pages_that_may_post() {
        for (claim, lines, own) in [
            ("a script is no page", &[][..], true),
            ("our own page may", &[("origin", "http://localhost:9180")][..], true),
            (
                "a browser says so twice",
                &[("Origin", "http://localhost:9180"), ("Sec-Fetch-Site", "same-origin")],
                true,
            ),
            ("another site may not", &[("Origin", "https://evil.example")], false),
            ("another port is another site", &[("Origin", "http://localhost:8080")], false),
            ("a sandboxed page may not", &[("Origin", "null")], false),
            ("a cross-site browser may not, whatever it hides", &[("Sec-Fetch-Site", "cross-site")], false),
            (
                "one good origin does not excuse another",
                &[("Origin", "http://localhost:9180"), ("Origin", "https://evil.example")],
                false,
            ),
        ] {
            let fields = Fields::pack(lines.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())));
            assert_eq!(same_origin(b"localhost:9180", &fields).is_ok(), own, "{claim}");
        }
    }
}
