//! Which fields of a response are kept with it.
//!
//! Everything as received, but what was meant for one connection: the hop-by-hop fields, and those `Connection`
//! nominates (RFC 9111 §3.1, RFC 9110 §7.6.1). A peer may not nominate away what frames, guards or dates the message;
//! such a nomination is ignored.
//!
//! Called when a head is stored, and by [`update`](super::update) for what a 304 brings.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// The field lines of `fields` to store, in order, without those in `strip`.
pub fn retained<'a>(
    fields: &'a HeaderMap,
    strip: &'a [HeaderName],
) -> impl Iterator<Item = (&'a HeaderName, &'a HeaderValue)> {
    fields
        .iter()
        .filter(move |(name, _)| !hop_by_hop(name) && !nominated(fields, name) && !strip.contains(name))
}

/// Whether the field is about one connection and never stored.
pub fn hop_by_hop(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "connection"
            | "keep-alive"
            | "proxy-authenticate"
            | "proxy-authentication-info"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Whether `Connection` nominates the field, and may.
pub fn nominated(fields: &HeaderMap, name: &HeaderName) -> bool {
    !end_to_end(name)
        && fields
            .get_all(header::CONNECTION)
            .iter()
            .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(name.as_str().as_bytes()))
}

/// Fields without which a message means something else, or loses its guard: no `Connection` takes them away.
fn end_to_end(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "age"
            | "authorization"
            | "cache-control"
            | "cdn-cache-control"
            | "cdn-loop"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-security-policy"
            | "content-type"
            | "cookie"
            | "date"
            | "etag"
            | "expires"
            | "host"
            | "last-modified"
            | "location"
            | "set-cookie"
            | "strict-transport-security"
            | "surrogate-control"
            | "vary"
            | "via"
            | "x-content-type-options"
            | "x-frame-options"
    )
}
