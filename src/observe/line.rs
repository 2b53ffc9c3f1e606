//! One access log line: JSON, combined or in words of one's own, written straight from request and outcome.
//!
//! Invariant: a line holds exactly one line feed, its last byte, whatever the client sent; every JSON line is one JSON
//! object. Fields that do not apply are left out of the JSON rather than written as null.

use http::Method;

use super::calendar::SecondText;
use super::escape;
use super::id::{RequestId, Run};
use super::trace::Span;
use crate::config::Log;
use crate::config::limits::{LOG_PATH_BYTES_MAX, LOG_VALUE_BYTES_MAX};
use crate::config::log::{LineField, LinePiece, LineTemplate};
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
    /// What somebody before us called it.
    pub(crate) given: Option<&'a [u8]>,
    /// What the numbers of its trace come from, where it begins here.
    pub(crate) run: Run,
    /// How much is written of it.
    pub(crate) log: &'a Log,
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
        out.extend_from_slice(self.name());
        out.extend_from_slice(b"\",\"client\":\"");
        self.client(out);
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
        if let Some(held) = request.held.get() {
            if let Some(would) = held.would() {
                json_text(out, b",\"would_refuse\":\"", would.as_str().as_bytes());
            }
            if let Some(found) = held.found() {
                json_text(out, b",\"inspection\":\"", found.as_bytes());
            }
        }
        if let Some(ttl) = outcome.ttl {
            number(out, b",\"ttl\":", ttl);
        }
        if let Some(age) = outcome.age {
            number(out, b",\"age\":", age);
        }
        if let Some(tier) = outcome.tier {
            // A word of ours.
            out.extend_from_slice(b",\"tier\":\"");
            out.extend_from_slice(tier.as_bytes());
            out.push(b'"');
        }
        if outcome.saved_bytes > 0 {
            number(out, b",\"saved_bytes\":", outcome.saved_bytes);
        }
        if let Some(coding) = outcome.encoding {
            json_text(out, b",\"encoding\":\"", coding.as_str().as_bytes());
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
        if self.log.trace.on {
            self.json_trace(out);
        }
        out.extend_from_slice(b"}\n");
    }

    #[cold]
    fn json_trace(&self, out: &mut Vec<u8>) {
        let Some(span) = self.span() else { return };
        out.extend_from_slice(b",\"trace_id\":\"");
        span.write_trace_id(out);
        out.extend_from_slice(b"\",\"span_id\":\"");
        span.write_span_id(out);
        if span.parent_id.is_some() {
            out.extend_from_slice(b"\",\"parent_id\":\"");
            span.write_parent_id(out);
        }
        out.extend_from_slice(if span.is_sampled() { b"\",\"sampled\":true" } else { b"\"".as_slice() });
    }

    /// The request's part of a trace.
    fn span(&self) -> Option<Span> {
        Span::of(&self.request.fields, self.id, self.run, &self.log.trace)
    }

    /// What it is called.
    #[inline]
    pub(super) fn name(&self) -> &[u8] {
        self.given.unwrap_or(self.id.as_bytes())
    }

    /// The client's address, as much as is written of it.
    #[inline]
    fn client(&self, out: &mut Vec<u8>) {
        match self.log.mask {
            None => out.extend_from_slice(self.request.client.text().as_bytes()),
            Some(mask) => self.request.client.masked_text(mask, out),
        }
    }

    /// Appends the line in words of one's own. What comes from a client or an origin is escaped as in the combined format; what
    /// does not apply is a dash.
    pub(crate) fn template(&self, template: &LineTemplate, time: &mut SecondText, out: &mut Vec<u8>) {
        for piece in &template.pieces {
            match piece {
                LinePiece::Text(text) => out.extend_from_slice(text.as_bytes()),
                LinePiece::Field(field) => {
                    let from = out.len();
                    self.field(*field, time, out);
                    if out.len() == from {
                        out.push(b'-');
                    }
                }
            }
        }
        out.push(b'\n');
    }

    /// Appends one field; nothing where it does not apply.
    fn field(&self, field: LineField, time: &mut SecondText, out: &mut Vec<u8>) {
        let Self { request, finished, .. } = self;
        let outcome = finished.outcome;
        let text = |out: &mut Vec<u8>, value: Option<&[u8]>| {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                escape::combined(out, clip(value, LOG_VALUE_BYTES_MAX));
            }
        };
        match field {
            LineField::Time => out.extend_from_slice(time.iso(self.wall_millis)),
            LineField::Id => out.extend_from_slice(self.name()),
            LineField::Client => self.client(out),
            LineField::Method => text(out, Some(request.method.as_str().as_bytes())),
            LineField::Scheme => text(out, Some(request.scheme.as_str().as_bytes())),
            LineField::Host => text(out, Some(request.authority())),
            LineField::Path => escape::combined(out, clip(request.target(), LOG_PATH_BYTES_MAX)),
            LineField::Protocol => text(out, Some(request.protocol.as_str().as_bytes())),
            LineField::Status => number(out, b"", finished.status),
            LineField::Bytes => number(out, b"", finished.body_bytes),
            LineField::Received => number(out, b"", outcome.received_bytes),
            LineField::DurationUs => number(out, b"", finished.duration_micros),
            LineField::Cache => text(out, Some(outcome.cache.as_str().as_bytes())),
            LineField::Reason => text(out, outcome.reason.map(str::as_bytes)),
            LineField::Ttl => outcome.ttl.into_iter().for_each(|ttl| number(out, b"", ttl)),
            LineField::Age => outcome.age.into_iter().for_each(|age| number(out, b"", age)),
            LineField::Tier => text(out, outcome.tier.map(str::as_bytes)),
            LineField::SavedBytes => number(out, b"", outcome.saved_bytes),
            LineField::Encoding => text(out, outcome.encoding.map(|coding| coding.as_str().as_bytes())),
            LineField::Pool => text(out, outcome.pool.as_ref().map(|pool| pool.as_bytes())),
            LineField::Origin => text(out, outcome.origin.as_ref().map(|origin| origin.as_bytes())),
            LineField::OriginUs => {
                outcome.origin_micros.into_iter().for_each(|micros| number(out, b"", micros));
            }
            LineField::Complete => {
                out.extend_from_slice(if finished.complete { b"true" } else { b"false".as_slice() });
            }
            LineField::Country => {
                text(out, request.client.country().as_ref().map(|country| country.as_str().as_bytes()));
            }
            LineField::Tls => text(out, request.client.tls.as_ref().map(|tls| tls.version.as_bytes())),
            LineField::UserAgent => text(out, request.fields.first(FieldId::UserAgent)),
            LineField::Referer => text(out, request.fields.first(FieldId::Referer)),
            LineField::TraceId => self.span().into_iter().for_each(|span| span.write_trace_id(out)),
            LineField::SpanId => self.span().into_iter().for_each(|span| span.write_span_id(out)),
            LineField::ParentId => self.span().into_iter().for_each(|span| span.write_parent_id(out)),
        }
    }

    /// Appends the line in the combined format, with the cache outcome behind it: what log analysers know, and one
    /// field that they skip.
    pub(crate) fn combined(&self, time: &mut SecondText, out: &mut Vec<u8>) {
        let Self { request, finished, .. } = self;
        self.client(out);
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
