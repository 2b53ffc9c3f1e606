//! h2's request -> [`Request`], with what h2 lets pass refused.
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
use h2::RecvStream;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::{HeaderMap, Method};

use super::{Connection, Upload};
use crate::config::Limits;
use crate::config::limits::{H2_FIELD_COST_BYTES, H2_HEAD_COPIES};
use crate::listener::fields::{FieldIndex, Fields};
use crate::listener::h1::{Refusal, authority, head};
use crate::listener::request::{Interims, Protocol, Request, RequestBody};

/// A request, and the bytes of its head that it holds.
pub(super) fn read(
    parts: http::request::Parts,
    body: RecvStream,
    connection: &Rc<Connection>,
) -> Result<(Request, usize), Refusal> {
    let limits = &connection.limits;
    let bodiless = body.is_end_stream();
    let look = Look::at(&parts.headers, bodiless, limits)?;
    head::check_method(parts.method.as_str().as_bytes())?;
    let (authority, target) = locate(&parts, look.host, connection)?;
    let fields = pack(&parts.headers, &look);
    let held_bytes = cost(&fields, authority.len() + target.len());
    let body = if bodiless {
        RequestBody::Empty
    } else {
        RequestBody::H2(Upload::new(body, look.length, limits.request_body_bytes_max))
    };
    let request = Request {
        method: parts.method,
        scheme: connection.scheme,
        authority: authority.into(),
        target: target.into(),
        fields,
        body,
        protocol: Protocol::Http2,
        client: connection.client.clone(),
        received_micros: connection.clock.micros(),
        // The ledger would take their heads for the answer's.
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

/// What one pass over the fields has found.
struct Look<'f> {
    host: Option<&'f [u8]>,
    length: Option<u64>,
    /// Bytes of names and values, and lines of `cookie` among them.
    bytes: usize,
    crumbs: usize,
}

impl<'f> Look<'f> {
    fn at(fields: &'f HeaderMap, bodiless: bool, limits: &Limits) -> Result<Self, Refusal> {
        if fields.len() > limits.fields_max {
            return Err(Refusal::TooManyFields);
        }
        let mut look = Self { host: None, length: None, bytes: 0, crumbs: 0 };
        let mut expects = false;
        for (name, value) in fields {
            let value = value.as_bytes();
            look.bytes += name.as_str().len() + value.len();
            // RFC 9113 §8.2.1: white space around a value is not cut off but malformed.
            if value.trim_ascii().len() != value.len() {
                return Err(Refusal::LeadingWhiteSpace);
            }
            if *name == HOST {
                if look.host.replace(value).is_some() {
                    return Err(Refusal::HostRepeated);
                }
            } else if *name == CONTENT_LENGTH {
                let length = head::decimal(value).ok_or(Refusal::LengthInvalid)?;
                if look.length.replace(length).is_some() {
                    return Err(Refusal::LengthRepeated);
                }
            } else if *name == COOKIE {
                look.crumbs += 1;
            } else if *name == EXPECT {
                if std::mem::replace(&mut expects, true) || !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Refusal::Expectation);
                }
            } else if head::resembles_framing(name.as_str().as_bytes()) {
                return Err(Refusal::FramingAlias);
            }
        }
        if look.bytes > limits.head_bytes_max {
            return Err(Refusal::HeadTooLong);
        }
        match look.length {
            Some(length) if length > limits.request_body_bytes_max => Err(Refusal::BodyTooLong),
            Some(length) if length > 0 && bodiless => Err(Refusal::LengthInvalid),
            _ => Ok(look),
        }
    }
}

/// Authority and target, which are what `host`, `:authority` and `:path` agree on.
fn locate(
    parts: &http::request::Parts,
    host: Option<&[u8]>,
    connection: &Connection,
) -> Result<(Bytes, Bytes), Refusal> {
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
fn pack(fields: &HeaderMap, look: &Look<'_>) -> Fields {
    let joins = look.crumbs > 1;
    let mut bytes = Vec::with_capacity(look.bytes + 2 * look.crumbs);
    let mut index = FieldIndex::with_capacity(fields.len());
    let mut add = |name: &[u8], values: &mut dyn Iterator<Item = &http::HeaderValue>| {
        let at = bytes.len();
        bytes.extend_from_slice(name);
        let value_at = bytes.len();
        for (nth, value) in values.enumerate() {
            if nth > 0 {
                bytes.extend_from_slice(b"; ");
            }
            bytes.extend_from_slice(value.as_bytes());
        }
        index.push(&bytes, at..value_at, value_at..bytes.len());
    };
    for (name, value) in fields {
        if *name != HOST && !(joins && *name == COOKIE) {
            add(name.as_str().as_bytes(), &mut std::iter::once(value));
        }
    }
    if joins {
        add(COOKIE.as_str().as_bytes(), &mut fields.get_all(COOKIE).iter());
    }
    Fields::of(Bytes::from(bytes), index)
}
