//! The head of a request as HTTP/2 has it. RFC 9113 §8.2, §8.3.
//!
//! What goes out is the same lines as over HTTP/1.1 (`forward.rs`). What speaks of a connection is left out here once more, should
//! a route's rules have set it: HTTP/2 forbids it, and the library would refuse the request for it.

use http::header::{CONTENT_LENGTH, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, HeaderName, Method, Request, Uri, Version};

use super::super::error::OriginError;

/// What a request's head is made of.
pub(crate) struct Head<'h> {
    pub(crate) method: &'h Method,
    pub(crate) tls: bool,
    pub(crate) authority: &'h [u8],
    /// Path and query.
    pub(crate) target: &'h [u8],
    /// `Name: value` and CR LF each.
    pub(crate) lines: [&'h [u8]; 2],
    /// It asks for trailers.
    pub(crate) trailers: bool,
    /// Of the body, where it is known or said.
    pub(crate) length: Option<u64>,
}

impl Head<'_> {
    /// As the library takes it.
    ///
    /// # Errors
    /// [`OriginError::Target`]: it cannot be said in HTTP/2.
    pub(super) fn to_request(&self) -> Result<Request<()>, OriginError> {
        let authority = Authority::try_from(self.authority).map_err(|_| OriginError::Target)?;
        let uri = Uri::builder()
            .scheme(if self.tls { Scheme::HTTPS } else { Scheme::HTTP })
            .authority(authority)
            .path_and_query(PathAndQuery::try_from(self.target).map_err(|_| OriginError::Target)?)
            .build()
            .map_err(|_| OriginError::Target)?;
        let mut request = Request::new(());
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        *request.version_mut() = Version::HTTP_2;
        *request.headers_mut() = self.fields();
        Ok(request)
    }

    fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
        for line in self.lines.iter().flat_map(|lines| lines.split(|byte| *byte == b'\n')) {
            let Some(at) = memchr::memmem::find(line, b": ") else { continue };
            let (name, value) = line.split_at(at);
            let value = value.get(2..).unwrap_or_default();
            let value = value.strip_suffix(b"\r").unwrap_or(value);
            // Both are what lines are made of, by their maker.
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
                continue;
            };
            if !OF_A_CONNECTION.contains(&name.as_str()) {
                // A bound far below the map's own.
                let _ = fields.try_append(name, value);
            }
        }
        if self.trailers {
            fields.insert(TE, HeaderValue::from_static("trailers"));
        }
        if let Some(length) = self.length {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        fields
    }
}

/// Fields of a request, about.
const FIELDS_USUAL: usize = 24;
/// What HTTP/2 does not have, and what is said otherwise.
const OF_A_CONNECTION: [&str; 8] = [
    "connection",
    "content-length",
    "host",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn head<'h>(target: &'h [u8], authority: &'h [u8], lines: &'h [u8]) -> Head<'h> {
        let lines = [lines, b"own: 1\r\n"];
        Head { method: &Method::GET, tls: true, authority, target, lines, trailers: true, length: Some(3) }
    }

    #[test]
    fn a_head_is_the_same_lines_without_those_of_a_connection() {
        let target = b"/a?b=c";
        let lines = b"x-a: 1\r\nx-a: 2: 3\r\nconnection: close\r\nTransfer-Encoding: chunked\r\nte: gzip\r\nhost: h\r\n";
        let request = head(target, b"www.example.com:8443", lines).to_request().expect("it can be said");
        assert_eq!(request.uri(), "https://www.example.com:8443/a?b=c");
        let fields: Vec<_> =
            request.headers().iter().map(|(name, value)| (name.as_str(), value.as_bytes())).collect();
        assert_eq!(
            fields,
            [
                ("x-a", &b"1"[..]),
                ("x-a", b"2: 3"),
                ("own", b"1"),
                ("te", b"trailers"),
                ("content-length", b"3")
            ]
        );
    }

    #[test]
    fn an_authority_that_is_none_is_refused() {
        let target = b"/";
        for authority in [&b"a b"[..], b"a/b", b"", b"\xff"] {
            assert_eq!(head(target, authority, b"").to_request().err(), Some(OriginError::Target));
        }
    }
}
