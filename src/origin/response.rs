//! What becomes of a response's fields on their way in: what speaks of the origin's connection stays behind.
//!
//! Removed are the hop-by-hop fields of RFC 9110 §7.6.1, what `Connection` nominates, and framing (the caller gets
//! [`super::Answer::framing`] and its length instead). A nomination of a field that every recipient needs is ignored,
//! as the RFC forbids it and obeying would strip `Cache-Control` from a private answer (FAULTS C16).

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, DATE,
    ETAG, EXPIRES, LAST_MODIFIED, LOCATION, PRAGMA, PROXY_AUTHENTICATE, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE, VARY, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, Request, Response, StatusCode};
use hyper::body::Incoming;

use crate::config::limits::INTERIM_MAX;
use crate::listener::request::{Interim, InterimSink};

/// Takes a response apart, its fields fit to be stored and sent on.
pub(crate) fn split(response: Response<Incoming>) -> (StatusCode, HeaderMap, Incoming) {
    let (head, body) = response.into_parts();
    let mut fields = head.headers;
    remove_hop_by_hop(&mut fields);
    fields.remove(CONTENT_LENGTH);
    (head.status, fields, body)
}

/// Hands interim responses (103 and others; not 100, which we never ask for) to the client's side as they come.
/// What finds no room there is dropped: they are hints.
pub(crate) fn pass_interim_on<B>(request: &mut Request<B>, sink: InterimSink) {
    let passed = std::sync::atomic::AtomicUsize::new(0);
    hyper::ext::on_informational(request, move |interim| {
        if interim.status() == StatusCode::CONTINUE
            || passed.fetch_add(1, std::sync::atomic::Ordering::Relaxed) >= INTERIM_MAX
        {
            return;
        }
        let mut fields = interim.headers().clone();
        remove_hop_by_hop(&mut fields);
        let _ = sink.try_send(Interim { status: interim.status(), fields });
    });
}

fn remove_hop_by_hop(fields: &mut HeaderMap) {
    let nominated: Vec<HeaderName> = fields
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !END_TO_END.contains(name))
        .collect();
    for name in nominated.iter().chain(&HOP_BY_HOP) {
        fields.remove(name);
    }
}

/// Fields that speak of one connection. RFC 9110 §7.6.1; `Proxy-*` by RFC 9111 §3.1.
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that a `Connection` of an origin cannot take away.
const END_TO_END: [HeaderName; 17] = [
    AGE,
    CACHE_CONTROL,
    HeaderName::from_static("cdn-cache-control"),
    CONTENT_ENCODING,
    CONTENT_RANGE,
    CONTENT_TYPE,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    LOCATION,
    PRAGMA,
    SET_COOKIE,
    HeaderName::from_static("surrogate-control"),
    HeaderName::from_static("surrogate-key"),
    VARY,
    WWW_AUTHENTICATE,
];
