//! A header block -> the parts of a [`Request`](crate::listener::request::Request), with every ambiguity refused.
//!
//! Fields go from the decoder into the request's own packed form, once; what is malformed (RFC 9113 §8.1.1), what is refused and
//! what is too much is found on the way. The checks are those of HTTP/1.1's head, so that a request means the same
//! however it came: one authority, a target in origin-form, one plain `content-length`, no name that an origin might take
//! for framing (FAULTS S13).
//!
//! Invariant: a block is decoded to its end whatever is wrong with its request, and nothing beyond the list's limit is kept.
//! A malformed request resets its stream; names and values that would be other lines in HTTP/1 end the connection.
//!
//! Departures: a fragment is cut off `:path` (RFC 9113 §8.3.1 forbids one): what is routed, keyed and forwarded is the
//! path without it, the same everywhere. Pseudo fields in trailers are dropped with them. RFC 9113 §8.2, §8.3, §8.5;
//! RFC 8441 §4.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Method;

use super::frame::Code;
use super::hpack::{Decoder, Field, Name, Wrong};
use crate::config::Limits;
use crate::config::limits::{
    H2_FIELD_COST_BYTES, H2_HEAD_CHUNK_BYTES, H2_HEAD_COPIES, H2_HEADER_LIST_BYTES_MAX,
};
use crate::listener::fields::{FieldId, FieldIndex, Fields, Part, SharedValue};
use crate::listener::h1::{Refusal, authority, head};
use crate::listener::request::Scheme;
use crate::listener::trailers::Trailers;

/// The head of a request.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) method: Method,
    pub(super) authority: Part,
    pub(super) target: Part,
    pub(super) fields: Fields,
    /// What `content-length` said.
    pub(super) length: Option<u64>,
    /// What it costs to hold, while the request is under way.
    pub(super) held_bytes: usize,
    /// Its client asks to go over to WebSocket: the method is the one that this stands for.
    pub(super) is_tunnel: bool,
}

/// Why there is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// The connection must end.
    Connection(Code),
    /// The stream must be reset.
    Malformed,
    /// To be answered; to HEAD if the second is true.
    Refused(Refusal, bool),
}

/// Memory that heads are read with, and what a connection knows about its requests.
#[derive(Debug, Default)]
pub(super) struct HeadReader {
    text: Vec<u8>,
    /// Requests' own bytes are cut off it.
    chunk: BytesMut,
    /// The last valid authority: on one connection they are nearly all the same.
    authority: Bytes,
}

/// What a head is read for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms<'a> {
    pub(super) scheme: Scheme,
    pub(super) limits: &'a Limits,
    /// The block ends its stream: no body follows.
    pub(super) bodiless: bool,
    /// The client knows by now that it may ask for other protocols.
    pub(super) may_connect: bool,
}

impl From<Wrong> for Code {
    fn from(wrong: Wrong) -> Self {
        match wrong {
            Wrong::Compression => Self::CompressionError,
            Wrong::Field => Self::ProtocolError,
        }
    }
}

impl HeadReader {
    /// Reads the block of a request. `index` is memory to reuse.
    pub(super) fn read(
        &mut self,
        decoder: &mut Decoder,
        block: &[u8],
        index: FieldIndex,
        terms: Terms<'_>,
    ) -> Result<Head, Fault> {
        self.text.clear();
        let mut gathered = Gathered::new(&mut self.text, index, terms.limits.fields_max);
        decoder
            .decode(block, |field| gathered.take(field))
            .map_err(|wrong| Fault::Connection(wrong.into()))?;
        let (method, mut found) = gathered.judge(terms)?;
        if found.crumbs > 1 {
            found.join_crumbs();
        }
        let Found { text, index, shared, authority: named, host, path, length, is_tunnel, .. } = found;
        let refused = |refusal| Fault::Refused(refusal, method == Method::HEAD);
        let text = &text[..];
        let at = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let host = host.as_ref().map(at);
        let authority = named.as_ref().map(at).or(host).ok_or(refused(Refusal::HostMissing))?;
        if authority != self.authority {
            if !authority::is_valid(authority) {
                return Err(refused(Refusal::HostInvalid));
            }
            self.authority = Bytes::copy_from_slice(authority);
        }
        let default_port = terms.scheme.default_port();
        if host.is_some_and(|host| host != authority && !authority::agree(host, authority, default_port)) {
            return Err(refused(Refusal::HostDisagrees));
        }
        let path = target(at(&path), &path, &method, terms.limits).map_err(refused)?;
        if self.chunk.capacity() < text.len() {
            self.chunk.reserve(text.len().max(H2_HEAD_CHUNK_BYTES));
        }
        self.chunk.extend_from_slice(text);
        let bytes = self.chunk.split().freeze();
        let target = Part::place(path);
        let authority = named.map_or_else(|| Part::Own(self.authority.clone()), Part::place);
        let fields = Fields::sharing(bytes, index, shared);
        let held_bytes = cost(&fields);
        Ok(Head { method, authority, target, fields, length, held_bytes, is_tunnel })
    }
}

/// Reads a trailer section, which is dropped (FAULTS S6) or goes to `kept`; whether it is well-formed. RFC 9113 §8.2.2.
pub(super) fn trailers(
    decoder: &mut Decoder,
    block: &[u8],
    mut kept: Option<&mut Trailers>,
) -> Result<bool, Code> {
    let mut good = true;
    decoder.decode(block, |field| {
        good &= !is_of_http1(&field);
        if let Some(kept) = &mut kept {
            kept.add(field.name, field.value);
        }
    })?;
    Ok(good)
}

/// What a request under way costs in memory for its head: the bytes as received, as forwarded and as written to the
/// origin, and a place for each field in every map it passes.
pub(super) fn cost(fields: &Fields) -> usize {
    let places = fields.len().saturating_mul(H2_FIELD_COST_BYTES);
    fields.held_bytes().saturating_mul(H2_HEAD_COPIES).saturating_add(places)
}

/// Where in `range` the target lies, which is `path`. It begins as it must.
fn target(
    path: &[u8],
    range: &Range<usize>,
    method: &Method,
    limits: &Limits,
) -> Result<Range<usize>, Refusal> {
    let length = memchr::memchr(b'#', path).unwrap_or(path.len());
    let path = path.get(..length).unwrap_or_default();
    if path.len() > limits.target_bytes_max {
        return Err(Refusal::TargetTooLong);
    }
    if path.first() != Some(&b'/') && !(path == b"*" && method == Method::OPTIONS) {
        return Err(Refusal::TargetForm);
    }
    if !path.iter().all(|byte| head::is_target_byte(*byte)) {
        return Err(Refusal::TargetByte);
    }
    Ok(range.start..range.start + length)
}

/// Fields of one connection. RFC 9113 §8.2.2.
fn is_of_http1(field: &Field<'_>) -> bool {
    use FieldId::{Connection, KeepAlive, ProxyConnection, Te, TransferEncoding, Upgrade};
    match field.id {
        Name::Field(Connection | KeepAlive | ProxyConnection | TransferEncoding | Upgrade) => true,
        Name::Field(Te) => field.value != b"trailers",
        _ => false,
    }
}

/// What the fields of a block have told so far.
struct Gathered<'t> {
    found: Found<'t>,
    fields_max: usize,
    method: Option<Method>,
    scheme: Option<Range<usize>>,
    path: Option<Range<usize>>,
    protocol: Option<Range<usize>>,
    /// As RFC 9113 §6.5.2 counts it.
    list_bytes: usize,
    /// Names and values alone.
    bytes: usize,
    expects: bool,
    malformed: bool,
    /// The first reason found.
    refusal: Option<Refusal>,
}

/// What of it becomes a request.
struct Found<'t> {
    text: &'t mut Vec<u8>,
    index: FieldIndex,
    /// Values that are not in the text.
    shared: Vec<SharedValue>,
    fields: usize,
    authority: Option<Range<usize>>,
    host: Option<Range<usize>>,
    path: Range<usize>,
    length: Option<u64>,
    /// Lines of `cookie`.
    crumbs: usize,
    is_tunnel: bool,
}

impl<'t> Gathered<'t> {
    fn new(text: &'t mut Vec<u8>, index: FieldIndex, fields_max: usize) -> Self {
        let found = Found {
            text,
            index: index.emptied(),
            shared: Vec::new(),
            fields: 0,
            authority: None,
            host: None,
            path: 0..0,
            length: None,
            crumbs: 0,
            is_tunnel: false,
        };
        Self {
            found,
            fields_max,
            method: None,
            scheme: None,
            path: None,
            protocol: None,
            list_bytes: 0,
            bytes: 0,
            expects: false,
            malformed: false,
            refusal: None,
        }
    }

    #[inline]
    fn take(&mut self, field: Field<'_>) {
        self.list_bytes += field.name.len() + field.value.len() + 32;
        if self.malformed || self.list_bytes > H2_HEADER_LIST_BYTES_MAX as usize {
            return;
        }
        match field.id {
            Name::Field(id) => self.field(id, &field),
            _ => self.pseudo(&field),
        }
    }

    /// RFC 9113 §8.3.1: each once, in front of the fields.
    #[inline]
    fn pseudo(&mut self, field: &Field<'_>) {
        let again = match field.id {
            Name::Method => {
                let method = Method::from_bytes(field.value).ok();
                self.malformed |= method.is_none();
                std::mem::replace(&mut self.method, method).is_some()
            }
            Name::Scheme => self.scheme.replace(self.found.keep(field.value)).is_some(),
            Name::Path => self.path.replace(self.found.keep(field.value)).is_some(),
            Name::Authority => {
                let authority = self.found.keep(field.value);
                self.found.authority.replace(authority).is_some()
            }
            Name::Protocol => self.protocol.replace(self.found.keep(field.value)).is_some(),
            // `:status` is of answers.
            Name::Status | Name::Field(_) => true,
        };
        self.malformed |= again || self.found.fields > 0;
    }

    #[inline]
    fn field(&mut self, id: FieldId, field: &Field<'_>) {
        let Field { name, value, .. } = *field;
        self.found.fields += 1;
        self.bytes += name.len() + value.len();
        if self.found.fields > self.fields_max {
            return self.refuse(Refusal::TooManyFields);
        }
        // RFC 9113 §8.2.1: white space around a value is not cut off but malformed.
        if let (Some(b' ' | b'\t'), _) | (_, Some(b' ' | b'\t')) = (value.first(), value.last()) {
            self.refuse(Refusal::LeadingWhiteSpace);
        }
        match id {
            FieldId::Host => {
                let host = self.found.keep(value);
                if self.found.host.replace(host).is_some() {
                    self.refuse(Refusal::HostRepeated);
                }
                // It is the authority, and told there.
                return;
            }
            FieldId::ContentLength => self.length(value),
            FieldId::Cookie => self.found.crumbs += 1,
            FieldId::Expect => {
                let again = std::mem::replace(&mut self.expects, true);
                if again || !value.eq_ignore_ascii_case(b"100-continue") {
                    self.refuse(Refusal::Expectation);
                }
            }
            FieldId::Other if head::resembles_framing(name) => self.refuse(Refusal::FramingAlias),
            _ => self.malformed |= is_of_http1(field),
        }
        let name = self.found.keep(name);
        // Crumbs of a cookie become one text.
        if let Some(shared) = field.shared.filter(|_| id != FieldId::Cookie) {
            return self.found.share(id, name, shared);
        }
        let value = self.found.keep(value);
        self.found.index.push_known(id, name, value);
    }

    /// RFC 9113 §8.1.1. What is no number at all, or two of them, is malformed; a number in an odd form is refused.
    fn length(&mut self, value: &[u8]) {
        let Some(length) = head::decimal(value) else {
            let digits = value.iter().all(u8::is_ascii_digit);
            let fits =
                value.is_empty() || std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok());
            self.malformed |= !digits || !fits;
            return self.refuse(Refusal::LengthInvalid);
        };
        if let Some(before) = self.found.length.replace(length) {
            self.malformed |= before != length;
            self.refuse(Refusal::LengthRepeated);
        }
    }

    fn refuse(&mut self, refusal: Refusal) {
        self.refusal = self.refusal.or(Some(refusal));
    }

    /// The whole block has been read: may it become a request?
    fn judge(mut self, terms: Terms<'_>) -> Result<(Method, Found<'t>), Fault> {
        let to_head = self.method == Some(Method::HEAD);
        if self.list_bytes > H2_HEADER_LIST_BYTES_MAX as usize && !self.malformed {
            // What came behind the limit has not been looked at.
            return Err(Fault::Refused(Refusal::HeadTooLong, to_head));
        }
        let Some(method) = self.method.take().filter(|_| !self.malformed) else {
            return Err(Fault::Malformed);
        };
        let text = &self.found.text[..];
        let at = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let (scheme, path) = (self.scheme.as_ref().map(at), self.path.as_ref().map(at));
        if !self.found.authority.as_ref().map(at).is_none_or(is_like_authority) {
            return Err(Fault::Malformed);
        }
        let protocol = self.protocol.as_ref().map(at);
        // RFC 8441 §4: of CONNECT alone, and not before the client was told.
        if protocol.is_some() && (method != Method::CONNECT || !terms.may_connect) {
            return Err(Fault::Malformed);
        }
        if method == Method::CONNECT && protocol.is_none() {
            let well_formed = scheme.is_none() && path.is_none() && self.found.authority.is_some();
            return Err(if well_formed {
                Fault::Refused(Refusal::MethodNotAllowed, to_head)
            } else {
                Fault::Malformed
            });
        }
        let (Some(scheme), Some(path)) = (scheme, path) else { return Err(Fault::Malformed) };
        if !is_like_scheme(scheme) || !is_like_path(path) {
            return Err(Fault::Malformed);
        }
        // The stream has ended before the body that was announced.
        if terms.bodiless && self.found.length.is_some_and(|length| length > 0) {
            return Err(Fault::Malformed);
        }
        let method = if protocol.is_some() { Method::GET } else { method };
        let agrees = scheme.eq_ignore_ascii_case(terms.scheme.as_str().as_bytes());
        let refusal = if let Some(refusal) = self.refusal {
            Some(refusal)
        } else if protocol.is_some_and(|protocol| !protocol.eq_ignore_ascii_case(WEBSOCKET)) {
            Some(Refusal::ProtocolUnknown)
        } else if protocol.is_some() && (terms.bodiless || self.found.length.is_some()) {
            Some(Refusal::TunnelWithBody)
        } else if self.bytes > terms.limits.head_bytes_max {
            Some(Refusal::HeadTooLong)
        } else if self.found.length.is_some_and(|length| length > terms.limits.request_body_bytes_max) {
            Some(Refusal::BodyTooLong)
        } else if !agrees {
            Some(Refusal::SchemeDisagrees)
        } else {
            head::check_method(method.as_str().as_bytes()).err()
        };
        if let Some(refusal) = refusal {
            return Err(Fault::Refused(refusal, to_head));
        }
        self.found.is_tunnel = protocol.is_some();
        self.found.path = self.path.unwrap_or_default();
        Ok((method, self.found))
    }
}

impl Found<'_> {
    /// Appends to the text, and tells where.
    #[inline]
    fn keep(&mut self, text: &[u8]) -> Range<usize> {
        let from = self.text.len();
        self.text.extend_from_slice(text);
        from..self.text.len()
    }

    /// A field whose value lies elsewhere.
    #[cold]
    fn share(&mut self, id: FieldId, name: Range<usize>, value: &SharedValue) {
        let known = self.shared.iter().position(|known| Arc::ptr_eq(known, value));
        let nth = known.unwrap_or_else(|| {
            self.shared.push(Arc::clone(value));
            self.shared.len() - 1
        });
        self.index.push_shared(id, name, nth);
    }

    /// The crumbs of a cookie become one field, behind the others. RFC 9113 §8.2.3.
    fn join_crumbs(&mut self) {
        let name = self.keep(b"cookie");
        let from = self.text.len();
        for (nth, crumb) in self.index.take(FieldId::Cookie).into_iter().enumerate() {
            if nth > 0 {
                self.text.extend_from_slice(b"; ");
            }
            // Where an entry lies was told by `keep`.
            if crumb.end <= self.text.len() {
                self.text.extend_from_within(crumb);
            }
        }
        self.index.push_known(FieldId::Cookie, name, from..self.text.len());
    }
}

/// The one protocol that is gone over to on a stream.
const WEBSOCKET: &[u8] = b"websocket";

/// RFC 3986 §3.1.
fn is_like_scheme(text: &[u8]) -> bool {
    text.first().is_some_and(u8::is_ascii_alphabetic)
        && text.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Origin-form or `*`, and no byte that would end it in HTTP/1's request line. RFC 9113 §8.3.1.
fn is_like_path(text: &[u8]) -> bool {
    (text.first() == Some(&b'/') || text == b"*") && !text.iter().any(|byte| matches!(byte, 0..=b' ' | 0x7f))
}

/// Bytes that an authority may have: RFC 3986 §3.2, without percent-encoding.
fn is_like_authority(text: &[u8]) -> bool {
    !text.is_empty()
        && text.iter().all(|byte| {
            byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.'
                        | b'_'
                        | b'~'
                        | b'!'
                        | b'$'
                        | b'&'
                        | b'\''
                        | b'('
                        | b')'
                        | b'*'
                        | b'+'
                        | b','
                        | b';'
                        | b'='
                        | b':'
                        | b'@'
                        | b'['
                        | b']'
                )
        })
}
