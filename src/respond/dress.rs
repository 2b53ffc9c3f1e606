//! What a route does to the fields of an answer on its way out: `response_headers`.
//!
//! The last thing before an answer goes to the listener, whatever it came from: a hit, a 304, a part, a streaming body, the
//! origin's answer or a page of our own. Answers to other nodes are left as they are; the node that the client asked does
//! it.
//!
//! Invariant: without rules an answer is not touched; with constant ones nothing is rendered and nothing allocated beyond the
//! answer's own buffer, which is the request's before it. Framing is never touched: `config/check/headers.rs` refuses it.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderName, StatusCode, header};

use super::response::{Lines, Response};
use crate::config::template::{Values, Variable};
use crate::config::{HeaderRules, RoutePolicy};
use crate::listener::request::{Request, Scheme};
use crate::observe::id::RequestName;
use crate::route::Route;

/// The rules of a route, and what of the request they need.
pub(crate) struct Dress {
    policy: Arc<RoutePolicy>,
    asked: Option<Box<Asked>>,
    name: Option<RequestName>,
}

/// What can be filled into a value.
struct Asked {
    host: Box<[u8]>,
    target: Box<[u8]>,
    path_len: usize,
    scheme: Scheme,
    client: IpAddr,
}

impl Dress {
    /// What is to be done to the answer to a request, if anything is.
    pub(crate) fn of(route: &Route<'_, '_>, request: &Request) -> Option<Self> {
        if route.policy.response_headers.is_empty() {
            return None;
        }
        let asked = (!route.policy.response_headers.is_constant()).then(|| {
            Box::new(Asked {
                host: route.host().into(),
                target: route.public_target().into(),
                path_len: route.path().len(),
                scheme: request.scheme,
                client: request.client.address.ip(),
            })
        });
        Some(Self { policy: Arc::clone(route.policy), asked, name: route.name.clone() })
    }

    /// Does it.
    pub(crate) fn put_on(&self, response: &mut Response) {
        let rules = &self.policy.response_headers;
        if let (Some(name), true) = (&self.name, rules.has(Variable::RequestId)) {
            response.outcome.id.get_or_insert(name.id);
        }
        let is_of_parts = response.status == StatusCode::NOT_MODIFIED
            || (response.status == StatusCode::PARTIAL_CONTENT
                && memchr::memmem::find(&response.extra, MULTIPART).is_some());
        // The type of several parts, and of a body that is not sent, is not the page's.
        let spares = |name: &HeaderName| is_of_parts && *name == header::CONTENT_TYPE;
        let goes = |name: &[u8]| {
            rules.taken().any(|taken| name.eq_ignore_ascii_case(taken.as_str().as_bytes()) && !spares(taken))
        };
        retain(&mut response.extra, 0, |name| !goes(name));
        if lines(response.lines.as_bytes()).any(|(name, _)| goes(name)) {
            for (_, line) in lines(response.lines.as_bytes()).filter(|(name, _)| !goes(name)) {
                response.extra.extend_from_slice(line);
            }
            response.lines = Lines::Own(Bytes::new());
        }
        let from = response.extra.len();
        let drawn = response.outcome.id;
        let given = self.name.as_ref().and_then(|name| name.given.as_deref());
        let id = given.or(drawn.as_ref().map(|id| &id.as_bytes()[..]));
        rules.write(&self.values(id), &mut response.extra);
        if is_of_parts {
            retain(&mut response.extra, from, |name| !name.eq_ignore_ascii_case(b"content-type"));
        }
    }

    fn values<'a>(&'a self, id: Option<&'a [u8]>) -> Values<'a> {
        match &self.asked {
            Some(asked) => Values {
                host: &asked.host,
                target: &asked.target,
                path_len: asked.path_len,
                scheme: asked.scheme,
                client: asked.client,
                id,
            },
            // Of constant rules nothing is asked.
            None => Values {
                host: b"",
                target: b"",
                path_len: 0,
                scheme: Scheme::Http,
                client: IpAddr::from([0; 4]),
                id,
            },
        }
    }
}

impl HeaderRules {
    /// Whether a field of this name is taken out, also where an origin would read it so (`X_A` for `X-A`).
    pub(crate) fn takes_alike(&self, name: &[u8]) -> bool {
        self.taken().any(|taken| crate::route::is_alike(name, taken.as_str()))
    }
}

/// Name and whole line of each line.
pub(crate) fn lines(lines: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    lines.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let end = memchr::memchr(b':', line).unwrap_or(line.len());
        (line.get(..end).unwrap_or_default(), line)
    })
}

/// Keeps the lines from `from` on whose name is to stay.
fn retain(buffer: &mut Vec<u8>, from: usize, stays: impl Fn(&[u8]) -> bool) {
    let mut at = from;
    let mut kept = from;
    while let Some(rest) = buffer.get(at..).filter(|rest| !rest.is_empty()) {
        let length = memchr::memchr(b'\n', rest).map_or(rest.len(), |end| end + 1);
        let name = memchr::memchr(b':', rest).unwrap_or(rest.len());
        if stays(rest.get(..name).unwrap_or_default()) {
            if kept < at {
                buffer.copy_within(at..at + length, kept);
            }
            kept += length;
        }
        at += length;
    }
    buffer.truncate(kept);
}

const MULTIPART: &[u8] = b"multipart/byteranges";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_go_by_name_and_the_rest_stays_as_it_is() {
        for (text, expected) in [
            ("", ""),
            ("b: 1\r\n", "b: 1\r\n"),
            ("a: 1\r\n", ""),
            ("a: 1\r\nb: a: 2\r\na: 3\r\nc: 4\r\n", "b: a: 2\r\nc: 4\r\n"),
            ("b: 1\r\na: 2\r\n", "b: 1\r\n"),
        ] {
            let mut buffer = text.as_bytes().to_vec();
            retain(&mut buffer, 0, |name| name != b"a");
            assert_eq!(String::from_utf8_lossy(&buffer), expected);
        }
    }
}
