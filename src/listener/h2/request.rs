//! hyper's request -> [`Request`], with what h2 lets pass refused.
//!
//! h2 has already reset streams with upper-case or connection-specific names, misplaced or repeated pseudo fields,
//! control bytes, and bodies that are not as long as they say. Here the rest of FAULTS S13 is checked, by the same
//! functions as HTTP/1.1's head, so that a request means the same however it came: one authority, a target in
//! origin-form, one plain `content-length`, no name that an origin might take for framing.
//!
//! Departure: h2 cuts a fragment off `:path` before anyone sees it (RFC 9113 §8.3.1 forbids one). What is routed, keyed
//! and forwarded is then the path without it, the same everywhere.
//! RFC 9113 §8.2, §8.3, §8.5.

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, Method};
use hyper::body::{Body, Incoming};

use super::Connection;
use crate::config::Limits;
use crate::config::limits::{H2_FIELD_COST_BYTES, H2_HEAD_COPIES};
use crate::listener::fields::{FieldIndex, Fields};
use crate::listener::h1::{Refusal, authority, head};
use crate::listener::request::{Interims, Protocol, Request, RequestBody};

/// A request, and the bytes of its head that it holds.
pub(super) fn read(
    request: http::Request<Incoming>,
    connection: &Rc<Connection>,
) -> Result<(Request, usize), Refusal> {
    let limits = &connection.limits;
    let (parts, body) = request.into_parts();
    check_size(&parts.headers, limits)?;
    check_fields(&parts.headers, &body, limits)?;
    check_method(&parts.method)?;
    let (authority, target) = locate(&parts, connection)?;
    let fields = pack(&parts.headers);
    let held_bytes = cost(&fields, authority.len() + target.len());
    let body = if body.is_end_stream() {
        RequestBody::Empty
    } else {
        RequestBody::H2 { incoming: Box::new(body), left: limits.request_body_bytes_max }
    };
    let request = Request {
        method: parts.method,
        scheme: connection.scheme,
        authority,
        target,
        fields,
        body,
        protocol: Protocol::Http2,
        client: connection.client.clone(),
        received_micros: connection.clock.micros(),
        // hyper's server cannot send interim responses on HTTP/2.
        interims: Interims::None,
        spare: Vec::new(),
    };
    Ok((request, held_bytes))
}

/// What a request under way costs in memory for its head: the bytes as received, as forwarded and as written to the
/// origin, and a place for each field in every map it passes.
fn cost(fields: &Fields, location_bytes: usize) -> usize {
    let bytes = fields.held_bytes().saturating_add(location_bytes);
    let places = fields.len().saturating_mul(H2_FIELD_COST_BYTES);
    bytes.saturating_mul(H2_HEAD_COPIES).saturating_add(places)
}

fn check_size(fields: &HeaderMap, limits: &Limits) -> Result<(), Refusal> {
    if fields.len() > limits.fields_max {
        return Err(Refusal::TooManyFields);
    }
    let bytes: usize = fields.iter().map(|(name, value)| name.as_str().len() + value.len()).sum();
    if bytes > limits.head_bytes_max { Err(Refusal::HeadTooLong) } else { Ok(()) }
}

fn check_fields(fields: &HeaderMap, body: &Incoming, limits: &Limits) -> Result<(), Refusal> {
    for (name, value) in fields {
        // RFC 9113 §8.2.1: white space around a value is not cut off but malformed.
        let value = value.as_bytes();
        if value.trim_ascii().len() != value.len() {
            return Err(Refusal::LeadingWhiteSpace);
        }
        if head::resembles_framing(name.as_str().as_bytes()) && *name != CONTENT_LENGTH {
            return Err(Refusal::FramingAlias);
        }
    }
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        if lengths.next().is_some() {
            return Err(Refusal::LengthRepeated);
        }
        let length = head::decimal(length.as_bytes()).ok_or(Refusal::LengthInvalid)?;
        if length > limits.request_body_bytes_max {
            return Err(Refusal::BodyTooLong);
        }
        if length > 0 && body.is_end_stream() {
            return Err(Refusal::LengthInvalid);
        }
    }
    let mut expectations = fields.get_all(EXPECT).iter();
    if expectations.next().is_some_and(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
        || expectations.next().is_some()
    {
        return Err(Refusal::Expectation);
    }
    Ok(())
}

fn check_method(method: &Method) -> Result<(), Refusal> {
    head::check_method(method.as_str().as_bytes())
}

/// Authority and target, which are what `host`, `:authority` and `:path` agree on.
fn locate(parts: &http::request::Parts, connection: &Connection) -> Result<(Bytes, Bytes), Refusal> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().map(http::HeaderValue::as_bytes);
    if hosts.next().is_some() {
        return Err(Refusal::HostRepeated);
    }
    let named = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let authority = named.or(host).ok_or(Refusal::HostMissing)?;
    if !authority::is_valid(authority) {
        return Err(Refusal::HostInvalid);
    }
    let default_port = connection.scheme.default_port();
    if host.is_some_and(|host| !authority::agree(host, authority, default_port)) {
        return Err(Refusal::HostDisagrees);
    }
    if parts.uri.scheme_str().is_some_and(|scheme| scheme != connection.scheme.as_str()) {
        return Err(Refusal::SchemeDisagrees);
    }
    let target = parts.uri.path_and_query().ok_or(Refusal::TargetForm)?.as_str().as_bytes();
    if target.len() > connection.limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    if target.first() != Some(&b'/') && !(target == b"*" && parts.method == Method::OPTIONS) {
        return Err(Refusal::TargetForm);
    }
    if !target.iter().all(|byte| head::is_target_byte(*byte)) {
        return Err(Refusal::TargetByte);
    }
    // One allocation for both.
    let mut both = BytesMut::with_capacity(authority.len() + target.len());
    both.extend_from_slice(authority);
    let authority = both.split();
    both.extend_from_slice(target);
    Ok((authority.freeze(), both.freeze()))
}

/// The header block in our form: without `host`, which is the authority, and with the crumbs of the cookie joined
/// (RFC 9113 §8.2.3).
fn pack(fields: &HeaderMap) -> Fields {
    let mut crumbs = fields.get_all(COOKIE).iter();
    let joined = match (crumbs.next(), crumbs.next()) {
        (Some(first), Some(second)) => {
            let mut joined = first.as_bytes().to_vec();
            for crumb in std::iter::once(second).chain(crumbs) {
                joined.extend_from_slice(b"; ");
                joined.extend_from_slice(crumb.as_bytes());
            }
            Some(joined)
        }
        _ => None,
    };
    let is_joined = joined.is_some();
    let cookie = joined.as_deref().map(|value| (COOKIE.as_str().as_bytes(), value));
    let lines = || {
        fields
            .iter()
            .filter(move |(name, _)| *name != HOST && !(is_joined && *name == COOKIE))
            .map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes()))
            .chain(cookie)
    };
    let mut bytes = Vec::with_capacity(lines().map(|(name, value)| name.len() + value.len()).sum());
    for (name, value) in lines() {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(value);
    }
    let mut packed = Fields::over(Bytes::from(bytes), FieldIndex::default());
    let mut at = 0;
    for (name, value) in lines() {
        let value_at = at + name.len();
        let end = value_at + value.len();
        packed.push(at..value_at, value_at..end);
        at = end;
    }
    packed
}
