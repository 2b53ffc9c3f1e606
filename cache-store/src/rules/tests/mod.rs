//! Tests of the rules: tables whose rows are claims, a differential test against an oracle, and arbitrary bytes.

mod arbitrary;
mod directives;
mod oracle;
mod partials;
mod preconditions;
mod reusing;
mod storing;
mod times;
mod updates;
mod variants;

use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

use super::{Freshness, NotStored, Policy, RequestHead, ResponseHead, Storable, Target, storable};
use crate::timestamp::Timestamp;

/// When every response here is received, by the calendar: Tue, 14 Nov 2023 22:13:20 GMT.
const NOW: Timestamp = Timestamp::from_secs(1_700_000_000);

const TARGET: Target<'static> = Target { scheme: "https", authority: "example.org", path: "/a/b?c=d" };

/// Field lines, written as in a message.
type Lines<'a> = &'a [(&'a str, &'a str)];

/// Seconds left on arrival, or why nothing was stored.
type Ttl = Result<i64, &'static str>;

/// These lines as a message's.
fn fields(lines: Lines<'_>) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        let name = HeaderName::from_bytes(name.to_ascii_lowercase().as_bytes()).expect("a test writes names");
        map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a test writes values"));
    }
    map
}

/// The HTTP-date `seconds` after [`NOW`].
fn date(seconds: i64) -> String {
    let at = NOW.as_secs().checked_add_signed(seconds).expect("a test stays in this era");
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + std::time::Duration::from_secs(at))
}

/// One exchange: a request, what the origin answered at [`NOW`], and under which policy.
#[derive(Debug)]
struct Exchange {
    method: Method,
    request: HeaderMap,
    status: u16,
    response: HeaderMap,
    policy: Policy,
    took_millis: u64,
}

impl Exchange {
    /// A `GET` answered 200 with these lines, under [`Policy::rfc`].
    fn new(response: Lines<'_>) -> Self {
        Self {
            method: Method::GET,
            request: HeaderMap::new(),
            status: 200,
            response: fields(response),
            policy: Policy::rfc(),
            took_millis: 0,
        }
    }

    fn request(mut self, lines: Lines<'_>) -> Self {
        self.request = fields(lines);
        self
    }

    fn method(mut self, method: Method) -> Self {
        self.method = method;
        self
    }

    fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    fn policy(mut self, policy: Policy) -> Self {
        self.policy = policy;
        self
    }

    fn took_millis(mut self, millis: u64) -> Self {
        self.took_millis = millis;
        self
    }

    fn store(&self) -> Result<Storable, NotStored> {
        let request = RequestHead { method: &self.method, target: TARGET, fields: &self.request };
        let status = StatusCode::from_u16(self.status).expect("a test writes statuses");
        let response = ResponseHead { status, fields: &self.response };
        let requested = NOW.minus(std::time::Duration::from_millis(self.took_millis));
        storable(&request, &response, &self.policy, requested, NOW, NOW)
    }

    fn freshness(&self) -> Freshness {
        self.store().expect("this exchange is one that is stored").freshness
    }

    /// What remains of the lifetime on arrival, or why there is none.
    fn ttl(&self) -> Ttl {
        self.store().map(|stored| stored.freshness.ttl(NOW)).map_err(NotStored::as_str)
    }
}

/// `seconds` after the response arrived.
fn later(seconds: u64) -> Timestamp {
    NOW.plus(std::time::Duration::from_secs(seconds))
}
