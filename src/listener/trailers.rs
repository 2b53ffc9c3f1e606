//! Fields behind a body (RFC 9110 §6.5): which of them go on, in either direction.
//!
//! They are kept only where the client has said that it knows of them (`TE: trailers`, as gRPC does) and the request goes around
//! the cache; everywhere else they are read, bounded and dropped (FAULTS S6). What comes behind a body comes too late
//! for whoever decided by the head, so nothing that decides anything is passed on: framing, routing, authentication,
//! conditions, caching, what describes the content, what this node says itself.
//!
//! Invariant: a section that is too large is dropped as a whole, never cut.

use http::{HeaderMap, HeaderName, HeaderValue};

use super::fields::{FieldId, Fields};
use crate::config::limits::{TRAILER_BYTES_MAX, TRAILER_FIELDS_MAX};
use crate::respond::headers;

/// One section.
#[derive(Clone, Debug, Default)]
pub struct Trailers {
    fields: HeaderMap,
    /// Names and values; beyond the bound for good once it was.
    bytes: usize,
}

impl Trailers {
    /// Whether a client knows of them.
    pub fn wanted(fields: &Fields) -> bool {
        fields
            .all(FieldId::Te)
            .flat_map(|line| line.split(|byte| *byte == b','))
            .any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
    }

    /// Takes a field, if it may go on.
    pub(crate) fn add(&mut self, name: &[u8], value: &[u8]) {
        self.bytes = self.bytes.saturating_add(name.len()).saturating_add(value.len());
        if self.bytes > TRAILER_BYTES_MAX || self.fields.len() >= TRAILER_FIELDS_MAX {
            self.bytes = usize::MAX;
            self.fields.clear();
            return;
        }
        if !may_trail(name) {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            // A bound far below the map's own.
            let _ = self.fields.try_append(name, value);
        }
    }

    /// Whether there is nothing to pass on.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// As a map.
    pub fn to_map(&self) -> HeaderMap {
        self.fields.clone()
    }

    /// As lines.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        write(&self.fields, out);
    }
}

/// Fields as lines.
pub(crate) fn write(fields: &HeaderMap, out: &mut Vec<u8>) {
    for (name, value) in fields {
        headers::line(out, name.as_str().as_bytes(), value.as_bytes());
    }
}

/// Whether a field behind a body can decide nothing. Those that this node knows all do.
fn may_trail(name: &[u8]) -> bool {
    FieldId::of(name) == FieldId::Other
        && !DECIDING.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        && !FAMILIES.iter().any(|family| {
            name.get(..family.len()).is_some_and(|start| start.eq_ignore_ascii_case(family.as_bytes()))
        })
        // CGI and its descendants take one for the other.
        && !name.contains(&b'_')
}

/// Fields that decide something, beside those with an id.
const DECIDING: [&str; 35] = [
    "age",
    "allow",
    "alt-svc",
    "authentication-info",
    "cache-status",
    "cache-tag",
    "cache-tags",
    "cdn-cache-control",
    "clear-site-data",
    "cookie2",
    "date",
    "early-data",
    "expires",
    "from",
    "http2-settings",
    "last-modified",
    "link",
    "location",
    "max-forwards",
    "origin",
    "prefer",
    "refresh",
    "retry-after",
    "set-cookie",
    "set-cookie2",
    "soapaction",
    "strict-transport-security",
    "true-client-ip",
    "vary",
    "www-authenticate",
    "x-real-ip",
    "xkey",
    "cf-connecting-ip",
    "client-ip",
    "fastly-client-ip",
];
/// And whole families of them.
const FAMILIES: [&str; 12] = [
    "accept",
    "access-control-",
    "content-",
    "cross-origin-",
    "if-",
    "proxy",
    "sec-",
    "surrogate-",
    "tidegate-",
    "x-forwarded",
    "x-http-method",
    "x-original-",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(lines: &[(&str, &str)]) -> String {
        let mut trailers = Trailers::default();
        for (name, value) in lines {
            trailers.add(name.as_bytes(), value.as_bytes());
        }
        let mut out = Vec::new();
        trailers.write(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn what_tells_how_it_went_goes_on_and_what_decides_does_not() {
        for name in [
            "grpc-status",
            "Grpc-Message",
            "grpc-status-details-bin",
            "server-timing",
            "digest",
            "x-checksum",
            "etag",
        ] {
            assert_eq!(kept(&[(name, "0")]), format!("{}: 0\r\n", name.to_ascii_lowercase()));
        }
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "transfer_encoding",
            "Host",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Cache-Control",
            "Connection",
            "TE",
            "Trailer",
            "Upgrade",
            "Expect",
            "Range",
            "If-Match",
            "Via",
            "CDN-Loop",
            "Forwarded",
            "X-Forwarded-For",
            "X_Forwarded_For",
            "x-forwarded-host",
            "Content-Type",
            "Content-Encoding",
            "Proxy-Authorization",
            "Surrogate-Key",
            "Tidegate-Control",
            "Sec-WebSocket-Key",
            "Location",
            "Vary",
            "Date",
            ":path",
            "",
            "a b",
            "X-Real-IP",
            "Access-Control-Allow-Origin",
        ] {
            assert_eq!(kept(&[(name, "0")]), "", "{name}");
        }
    }

    #[test]
    fn a_section_that_is_too_large_is_dropped_as_a_whole() {
        let many: Vec<_> = (0..=TRAILER_FIELDS_MAX).map(|at| format!("x{at}")).collect();
        let many: Vec<_> = many.iter().map(|name| (name.as_str(), "1")).collect();
        assert_eq!(kept(&many), "");
        assert_eq!(kept(&many[1..]).lines().count(), TRAILER_FIELDS_MAX);
        let long = "v".repeat(TRAILER_BYTES_MAX);
        assert_eq!(kept(&[("a", "1"), ("b", &long), ("grpc-status", "0")]), "");
    }

    #[test]
    fn only_a_client_that_says_so_knows_of_them() {
        for (te, wanted) in [
            (&["trailers"][..], true),
            (&["gzip, Trailers "], true),
            (&["gzip", "trailers"], true),
            (&["trailer"], false),
            (&["trailers;q=0"], false),
            (&[], false),
        ] {
            let fields = Fields::pack(te.iter().map(|value| (b"te".as_slice(), value.as_bytes())));
            assert_eq!(Trailers::wanted(&fields), wanted, "{te:?}");
        }
    }
}
