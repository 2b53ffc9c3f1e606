//! One access log line: JSON or combined, written straight from request and outcome.
//!
//! Invariant: a line holds exactly one line feed, its last byte, whatever the client sent; every JSON line is one JSON
//! object. Fields that do not apply are left out of the JSON rather than written as null.

use http::Method;

use super::calendar::SecondText;
use super::escape;
use super::id::RequestId;
use crate::config::limits::{LOG_PATH_BYTES_MAX, LOG_VALUE_BYTES_MAX};
use crate::listener::fields::FieldId;
use crate::listener::request::{Protocol, Request, Scheme};
use crate::listener::service::Finished;

/// What a line is written from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line<'a> {
    /// When it ended, milliseconds since the epoch by the wall.
    pub(crate) wall_millis: u64,
    /// Its id.
    pub(crate) id: RequestId,
    /// Zero the host part of the client's address.
    pub(crate) mask_client: bool,
    /// The request.
    pub(crate) request: &'a Request,
    /// Its end.
    pub(crate) finished: &'a Finished<'a>,
}

impl Line<'_> {
    /// Appends the line as a JSON object.
    pub(crate) fn json(&self, time: &mut SecondText, out: &mut Vec<u8>) {
        let Self { request, finished, .. } = self;
        let outcome = finished.outcome;
        out.extend_from_slice(b"{\"time\":\"");
        out.extend_from_slice(time.iso(self.wall_millis));
        out.extend_from_slice(b"\",\"id\":\"");
        out.extend_from_slice(self.id.as_bytes());
        out.extend_from_slice(b"\",\"client\":\"");
        out.extend_from_slice(request.client.text(self.mask_client).as_bytes());
        if let (&Method::GET, Scheme::Http) = (&request.method, request.scheme) {
            // Nearly all, at once.
            out.extend_from_slice(b"\",\"method\":\"GET\",\"scheme\":\"http\",\"host\":\"");
        } else {
            out.extend_from_slice(b"\",\"method\":\"");
            // A method is an RFC 9110 token: nothing in it needs an escape.
            out.extend_from_slice(clip(request.method.as_str().as_bytes(), LOG_VALUE_BYTES_MAX));
            out.extend_from_slice(b"\",\"scheme\":\"");
            out.extend_from_slice(request.scheme.as_str().as_bytes());
            out.extend_from_slice(b"\",\"host\":\"");
        }
        escape::json(out, clip(request.authority(), LOG_VALUE_BYTES_MAX));
        out.extend_from_slice(b"\",\"path\":\"");
        escape::json(out, clip(request.target(), LOG_PATH_BYTES_MAX));
        out.extend_from_slice(match request.protocol {
            Protocol::Http10 => b"\",\"protocol\":\"HTTP/1.0\",\"status\":",
            Protocol::Http11 => b"\",\"protocol\":\"HTTP/1.1\",\"status\":",
            Protocol::Http2 => b"\",\"protocol\":\"HTTP/2\",\"status\":".as_slice(),
        });
        number(out, b"", finished.status);
        number(out, b",\"bytes\":", finished.body_bytes);
        if outcome.received_bytes > 0 {
            number(out, b",\"received\":", outcome.received_bytes);
        }
        number(out, b",\"duration_us\":", finished.duration_micros);
        out.extend_from_slice(b",\"cache\":\"");
        out.extend_from_slice(outcome.cache.as_str().as_bytes());
        out.push(b'"');
        if let Some(reason) = outcome.reason {
            json_text(out, b",\"reason\":\"", reason.as_bytes());
        }
        if let Some(would) = request.held.get().and_then(|held| held.would) {
            json_text(out, b",\"would_refuse\":\"", would.as_str().as_bytes());
        }
        if let Some(ttl) = outcome.ttl {
            number(out, b",\"ttl\":", ttl);
        }
        if let Some(age) = outcome.age {
            number(out, b",\"age\":", age);
        }
        if let Some(tier) = outcome.tier {
            json_text(out, b",\"tier\":\"", tier.as_bytes());
        }
        if outcome.saved_bytes > 0 {
            number(out, b",\"saved_bytes\":", outcome.saved_bytes);
        }
        if let Some(pool) = &outcome.pool {
            json_text(out, b",\"pool\":\"", pool.as_bytes());
        }
        if let Some(origin) = &outcome.origin {
            json_text(out, b",\"origin\":\"", origin.as_bytes());
        }
        if let Some(micros) = outcome.origin_micros {
            number(out, b",\"origin_us\":", micros);
        }
        if !finished.complete {
            out.extend_from_slice(b",\"complete\":false");
        }
        if let Some(country) = request.client.country() {
            json_text(out, b",\"country\":\"", country.as_str().as_bytes());
        }
        if let Some(tls) = &request.client.tls {
            json_text(out, b",\"tls\":\"", tls.version.as_bytes());
        }
        if let Some(agent) = request.fields.first(FieldId::UserAgent) {
            json_text(out, b",\"user_agent\":\"", agent);
        }
        if let Some(referer) = request.fields.first(FieldId::Referer) {
            json_text(out, b",\"referer\":\"", referer);
        }
        out.extend_from_slice(b"}\n");
    }

    /// Appends the line in the combined format, with the cache outcome behind it: what log analysers know, and one
    /// field that they skip.
    pub(crate) fn combined(&self, time: &mut SecondText, out: &mut Vec<u8>) {
        let Self { request, finished, .. } = self;
        out.extend_from_slice(request.client.text(self.mask_client).as_bytes());
        out.extend_from_slice(b" - - [");
        out.extend_from_slice(time.clf(self.wall_millis));
        out.extend_from_slice(b"] \"");
        out.extend_from_slice(clip(request.method.as_str().as_bytes(), LOG_VALUE_BYTES_MAX));
        out.push(b' ');
        escape::combined(out, clip(request.target(), LOG_PATH_BYTES_MAX));
        out.push(b' ');
        out.extend_from_slice(request.protocol.as_str().as_bytes());
        number(out, b"\" ", finished.status);
        number(out, b" ", finished.body_bytes);
        for field in [FieldId::Referer, FieldId::UserAgent] {
            out.extend_from_slice(b" \"");
            escape::combined(out, clip(request.fields.first(field).unwrap_or_default(), LOG_VALUE_BYTES_MAX));
            out.push(b'"');
        }
        out.push(b' ');
        out.extend_from_slice(finished.outcome.cache.as_str().as_bytes());
        out.push(b'\n');
    }
}

#[inline]
fn json_text(out: &mut Vec<u8>, before: &[u8], value: &[u8]) {
    out.extend_from_slice(before);
    escape::json(out, clip(value, LOG_VALUE_BYTES_MAX));
    out.push(b'"');
}

#[inline]
fn number(out: &mut Vec<u8>, before: &[u8], number: impl itoa::Integer) {
    out.extend_from_slice(before);
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[inline]
fn clip(value: &[u8], bytes_max: usize) -> &[u8] {
    value.get(..bytes_max).unwrap_or(value)
}
