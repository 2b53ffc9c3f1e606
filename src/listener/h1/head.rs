//! Bytes -> the head of a request, with every ambiguity refused.
//!
//! A head that is all there (nearly every one) is taken apart at once: the request line here, the field lines by `httparse`, and that
//! those end as they must is seen from where their parts lie. One that comes in pieces, or is refused, is walked line by line by `look.rs`. Each
//! field that speaks of framing, host or connection is read as strictly as RFC 9112 allows. What comes out shares the read buffer ([`Fields`];
//! `authority` and `target` are places in it). Called by `connection.rs`; hands on a [`Head`].
//!
//! Invariant: a [`Head`] has exactly one reading of its body's length and exactly one authority. hyper, Go, nginx or
//! Apache reading the same bytes come to the same method, target, fields and body, or refuse.
//!
//! Departures from RFC 9112, all in the strict direction: equal `Content-Length` lines are not merged (§6.3), an
//! unknown transfer coding, white space before a colon or a bare LF is never repaired (§2.2, §5.1), one empty line
//! before a request is skipped and no more (§2.2), userinfo and percent-encoding in a host are refused.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use http::Method;

use super::authority;
use super::look::{Look, RequestLine};
pub(in crate::listener) use super::look::{check_method, is_target_byte, is_token_byte};
use super::refusal::Refusal;
use crate::config::limits::Limits;
use crate::listener::fields::{FieldId, FieldIndex, Fields, Part};
use crate::listener::request::{Protocol, Scheme};

/// The head of one request.
#[derive(Debug)]
pub struct Head {
    /// Method, in capitals.
    pub method: Method,
    /// The one authority of target and `Host`.
    pub authority: Part,
    /// Origin-form, or `*`.
    pub target: Part,
    /// All field lines.
    pub fields: Fields,
    /// 1.0 or 1.1.
    pub protocol: Protocol,
    /// How the body is framed.
    pub body: BodyLength,
    /// Whether the client keeps the connection after the answer.
    pub keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends its body.
    pub expects_continue: bool,
    /// Whether it asks for another protocol in a way that can be followed: GET, without a body, `Upgrade` named by
    /// `Connection`, and the connection not to be closed. RFC 9110 §7.8.
    pub upgrade: bool,
    /// Its own length, bytes.
    len: usize,
}

/// How the body of a request is framed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BodyLength {
    /// No body, or one of no bytes.
    None,
    /// `Content-Length`, above zero.
    Exactly(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// Finds heads in what a connection reads.
#[derive(Debug, Default)]
pub struct HeadReader {
    look: Look,
    /// One empty line before the request has been skipped.
    skipped: bool,
    /// The last `Host` that was found valid: on one connection they are nearly all the same.
    host: Vec<u8>,
}

impl HeadReader {
    /// Takes the next head off `input`, or `None` if it is not all there yet. `index` is memory to reuse, taken
    /// when a head is complete.
    ///
    /// # Errors
    /// The client's fault, always; nothing more of `input` may be read after it.
    pub fn next(
        &mut self,
        input: &mut BytesMut,
        index: &mut FieldIndex,
        scheme: Scheme,
        limits: &Limits,
    ) -> Result<Option<Head>, Refusal> {
        if !self.skipped && input.starts_with(b"\r\n") {
            input.advance(2);
            self.skipped = true;
        }
        // A lone CR may be the first half of that empty line.
        if !self.skipped && input.as_ref() == b"\r" {
            return Ok(None);
        }
        if input.is_empty() {
            return Ok(None);
        }
        // It stays in one place from here on: it is large.
        let mut head = Ok(None);
        if !self.look.is_begun() {
            index.clear();
            head = read(input, index, &mut self.host, scheme, limits);
        }
        if !matches!(head, Ok(Some(_))) {
            // Not whole, or refused: the look knows best what is wrong with a line, and how far the head goes.
            let Some(len) = self.look.advance(input, limits)? else { return Ok(None) };
            let whole = input.get(..len).unwrap_or_default();
            index.clear();
            head = read(whole, index, &mut self.host, scheme, limits);
        }
        match &mut head {
            Ok(Some(head)) => {
                self.look = Look::default();
                self.skipped = false;
                // Moved, not shared: each count of sharers costs as much as ten comparisons.
                head.fields = Fields::of(input.split_to(head.len).freeze(), std::mem::take(index));
            }
            Ok(None) => head = Err(Refusal::RequestLine),
            Err(_) => {}
        }
        head
    }
}

/// Reads the head at the start of `bytes`; its field lines go to `index`. `None` if it is not whole.
fn read(
    bytes: &[u8],
    index: &mut FieldIndex,
    known_host: &mut Vec<u8>,
    scheme: Scheme,
    limits: &Limits,
) -> Result<Option<Head>, Refusal> {
    let Some(line_end) = memchr::memchr(b'\n', bytes) else { return Ok(None) };
    let fields_at = line_end.saturating_add(1);
    let RequestLine { method, target, minor } = RequestLine::parse(line_before(bytes, fields_at)?, limits)?;
    // On the stack for most requests; more fields cost an allocation.
    let mut few = [httparse::EMPTY_HEADER; FIELDS_ON_STACK];
    let mut many = Vec::new();
    let rest = bytes.get(fields_at..).unwrap_or_default();
    let room = few.get_mut(..limits.fields_max.min(FIELDS_ON_STACK)).unwrap_or_default();
    let mut parsed = httparse::parse_headers(rest, room);
    if matches!(parsed, Err(httparse::Error::TooManyHeaders)) && limits.fields_max > FIELDS_ON_STACK {
        many.resize(limits.fields_max, httparse::EMPTY_HEADER);
        parsed = httparse::parse_headers(rest, &mut many);
    }
    let (len, lines) = match parsed {
        Ok(httparse::Status::Complete((len, lines))) => (fields_at.saturating_add(len), lines),
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooManyFields),
        Err(_) => return Err(diagnose(bytes)),
    };
    // The empty line, and the end of the line before it.
    if !bytes.get(..len).is_some_and(|head| head.ends_with(b"\r\n\r\n")) {
        return Err(Refusal::BareLineFeed);
    }
    if len > limits.head_bytes_max {
        return Err(Refusal::HeadTooLong);
    }
    let method = Method::from_bytes(method).map_err(|_| Refusal::MethodByte)?;
    let protocol = if minor == 1 { Protocol::Http11 } else { Protocol::Http10 };

    let mut seen = Seen::default();
    for line in lines {
        let name = range_in(bytes, line.name.as_bytes());
        line_before(bytes, name.start)?;
        let id = index.push(bytes, name, range_in(bytes, line.value));
        seen.line(id, line.name.as_bytes(), line.value, known_host)?;
    }
    let body = seen.body_length(protocol, limits)?;
    let (authority, target) = locate(bytes, target, seen.host, &method, protocol, scheme)?;
    let upgrade = seen.upgrade
        && seen.names_upgrade
        && !seen.close
        && protocol == Protocol::Http11
        && body == BodyLength::None
        && method == Method::GET;
    Ok(Some(Head {
        method,
        authority,
        target,
        fields: Fields::default(),
        protocol,
        body,
        keep_alive: !seen.close && (protocol == Protocol::Http11 || seen.keep_alive),
        // A client of HTTP/1.0 does not know 100: RFC 9110 §10.1.1.
        expects_continue: seen.expects && protocol == Protocol::Http11 && body != BodyLength::None,
        upgrade,
        len,
    }))
}

/// What the fields that concern the connection say.
// Independent facts, each set by its own field line.
#[allow(clippy::struct_excessive_bools)]
#[derive(Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    coded: bool,
    close: bool,
    keep_alive: bool,
    expects: bool,
    upgrade: bool,
    names_upgrade: bool,
}

impl<'a> Seen<'a> {
    #[inline]
    fn line(
        &mut self,
        id: FieldId,
        name: &[u8],
        value: &'a [u8],
        known_host: &mut Vec<u8>,
    ) -> Result<(), Refusal> {
        match id {
            FieldId::Host if self.host.is_some() => return Err(Refusal::HostRepeated),
            FieldId::Host if value == known_host && !value.is_empty() => self.host = Some(value),
            FieldId::Host if authority::is_valid(value) => {
                self.host = Some(value);
                known_host.clear();
                known_host.extend_from_slice(value);
            }
            FieldId::Host => return Err(Refusal::HostInvalid),
            FieldId::ContentLength if self.length.is_some() => return Err(Refusal::LengthRepeated),
            FieldId::ContentLength => self.length = Some(decimal(value).ok_or(Refusal::LengthInvalid)?),
            FieldId::TransferEncoding if self.coded => return Err(Refusal::CodingRepeated),
            FieldId::TransferEncoding => {
                chunked(value)?;
                self.coded = true;
            }
            FieldId::Expect if self.expects || !value.eq_ignore_ascii_case(b"100-continue") => {
                return Err(Refusal::Expectation);
            }
            FieldId::Expect => self.expects = true,
            FieldId::Connection => self.connection(value)?,
            FieldId::Upgrade => self.upgrade = true,
            FieldId::Other if resembles_framing(name) => return Err(Refusal::FramingAlias),
            _ => {}
        }
        Ok(())
    }

    /// RFC 9110 §7.6.1; FAULTS S12.
    fn connection(&mut self, value: &[u8]) -> Result<(), Refusal> {
        for option in value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.names_upgrade = true;
            } else if !option.iter().all(|byte| is_token_byte(*byte)) || is_protected(option) {
                return Err(Refusal::ConnectionNominates);
            }
        }
        Ok(())
    }

    /// RFC 9112 §6.1 to §6.3.
    fn body_length(&self, protocol: Protocol, limits: &Limits) -> Result<BodyLength, Refusal> {
        match (self.coded, self.length) {
            (true, Some(_)) => Err(Refusal::LengthAndCoding),
            (true, None) if protocol == Protocol::Http10 => Err(Refusal::CodingTooOld),
            (true, None) => Ok(BodyLength::Chunked),
            (false, Some(length)) if length > limits.request_body_bytes_max => Err(Refusal::BodyTooLong),
            (false, None | Some(0)) => Ok(BodyLength::None),
            (false, Some(length)) => Ok(BodyLength::Exactly(length)),
        }
    }
}

/// Authority and origin-form target. RFC 9112 §3.2, §3.3.
fn locate(
    bytes: &[u8],
    target: &[u8],
    host: Option<&[u8]>,
    method: &Method,
    protocol: Protocol,
    scheme: Scheme,
) -> Result<(Part, Part), Refusal> {
    if host.is_none() && protocol == Protocol::Http11 {
        return Err(Refusal::HostMissing);
    }
    if target.first() == Some(&b'/') || (target == b"*" && method == Method::OPTIONS) {
        let host = host.ok_or(Refusal::HostMissing)?;
        return Ok((Part::place(range_in(bytes, host)), Part::place(range_in(bytes, target))));
    }
    let (named, rest) = if let Some(rest) = strip_prefix_ignore_case(target, b"http://") {
        (Scheme::Http, rest)
    } else if let Some(rest) = strip_prefix_ignore_case(target, b"https://") {
        (Scheme::Https, rest)
    } else {
        return Err(Refusal::TargetForm);
    };
    let authority_len = rest.iter().position(|byte| matches!(byte, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if !authority::is_valid(authority) {
        return Err(Refusal::HostInvalid);
    }
    if host.is_some_and(|host| !authority::agree(host, authority, scheme.default_port())) {
        return Err(Refusal::HostDisagrees);
    }
    // RFC 9110 §7.4: a target of a scheme that the connection does not speak is misdirected.
    if named != scheme {
        return Err(Refusal::SchemeDisagrees);
    }
    let target = match path.first() {
        Some(b'/') => Part::place(range_in(bytes, path)),
        Some(_) => Part::Own([b"/", path].concat().into()),
        // RFC 9112 §3.2.4.
        None if method == Method::OPTIONS => Part::Own(Bytes::from_static(b"*")),
        None => Part::Own(Bytes::from_static(b"/")),
    };
    Ok((Part::place(range_in(bytes, authority)), target))
}

/// `1*DIGIT` without needless zeros that fits. RFC 9110 §8.6.
pub(in crate::listener) fn decimal(value: &[u8]) -> Option<u64> {
    match value {
        b"0" => Some(0),
        [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit) => {
            std::str::from_utf8(value).ok()?.parse().ok()
        }
        _ => None,
    }
}

fn chunked(value: &[u8]) -> Result<(), Refusal> {
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let readable = !value.is_empty()
        && value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).all(|coding| {
            !coding.is_empty() && coding.iter().all(|byte| is_token_byte(*byte)) && coding != b"chunked"
        });
    Err(if readable { Refusal::CodingUnknown } else { Refusal::CodingInvalid })
}

/// Whether a name that is neither is spelt like `Content-Length` or `Transfer-Encoding` but for its marks: CGI and its
/// descendants take `_` for `-`.
pub(in crate::listener) fn resembles_framing(name: &[u8]) -> bool {
    let like = |known: &[u8]| {
        name.len() == known.len()
            && name.iter().zip(known).all(|(byte, known)| {
                if *known == b'-' { !byte.is_ascii_alphanumeric() } else { byte.eq_ignore_ascii_case(known) }
            })
    };
    like(b"content-length") || like(b"transfer-encoding")
}

/// Whether `Connection` must not name this field, so that no one can have it dropped on the way to an origin.
fn is_protected(name: &[u8]) -> bool {
    match FieldId::of(name) {
        FieldId::Other => {
            PROTECTED.iter().any(|known| name.eq_ignore_ascii_case(known))
                || strip_prefix_ignore_case(name, b"x-forwarded-").is_some()
                || resembles_framing(name)
        }
        FieldId::Connection
        | FieldId::KeepAlive
        | FieldId::ProxyConnection
        | FieldId::Te
        | FieldId::Trailer
        | FieldId::Upgrade => false,
        _ => true,
    }
}

fn strip_prefix_ignore_case<'a>(text: &'a [u8], prefix: &[u8]) -> Option<&'a [u8]> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

/// What stands in front of the line that begins at `at`, without its end, which must be CR LF: `httparse` takes a bare
/// LF for one. (Of the field lines only the end is looked at here.)
#[inline]
fn line_before(bytes: &[u8], at: usize) -> Result<&[u8], Refusal> {
    bytes.get(..at).and_then(|before| before.strip_suffix(b"\r\n")).ok_or(Refusal::BareLineFeed)
}

/// Where `part`, a slice of `whole`, begins in it.
#[inline]
fn at_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(whole.as_ptr().addr()).min(whole.len())
}

/// Where `part`, a slice of `whole`, lies in it.
#[inline]
fn range_in(whole: &[u8], part: &[u8]) -> Range<usize> {
    let at = at_in(whole, part);
    at..at.saturating_add(part.len()).min(whole.len())
}

/// Why `httparse` did not take this head. Only for the reason: all of these are refused with 400.
fn diagnose(bytes: &[u8]) -> Refusal {
    let mut lines = bytes.split(|byte| *byte == b'\n').skip(1).filter_map(|line| line.strip_suffix(b"\r"));
    lines.find_map(blame).unwrap_or(Refusal::ControlByte)
}

fn blame(line: &[u8]) -> Option<Refusal> {
    let Some(colon) = memchr::memchr(b':', line) else {
        return (!line.is_empty()).then_some(Refusal::MissingColon);
    };
    let (name, value) = line.split_at(colon);
    match name.last() {
        None => Some(Refusal::EmptyName),
        Some(b' ' | b'\t') => Some(Refusal::SpaceBeforeColon),
        Some(_) if name.iter().any(u8::is_ascii_control) => Some(Refusal::ControlByte),
        Some(_) if !name.iter().all(|byte| is_token_byte(*byte)) => Some(Refusal::NameByte),
        Some(_) => {
            value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t').then_some(Refusal::ControlByte)
        }
    }
}

/// Fields whose lines `httparse` finds without an allocation.
const FIELDS_ON_STACK: usize = 32;
/// Names without a [`FieldId`] that carry identity, secrets or the meaning of the body.
const PROTECTED: &[&[u8]] = &[
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"date",
    b"max-forwards",
    b"origin",
    b"proxy-authorization",
    b"set-cookie",
    b"true-client-ip",
    b"x-real-ip",
];
