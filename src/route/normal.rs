//! The one normaliser: what a request is about, in the one spelling that routing, key, purge and forward share.
//!
//! Called by `RouteTable` for each request and by whoever takes a URL as text (purge, `explain`). It hands on
//! [`Normal`], which borrows when the request already is in normal form, as nearly all are: then it costs a look
//! at each byte and nothing else.
//!
//! - Authority: `authority.rs`.
//! - Path: hexadecimal digits of `%XX` in upper case, encoded unreserved characters decoded, bytes that a URI cannot
//!   hold (quotes, `<`, `>`, `^`, `{`, `|`, `}` and the backtick) encoded, then dot segments removed (RFC 3986 §5.2.4, §6.2.2). Nothing else is ever decoded:
//!   `%2F`, `%5C`, `%00`, `%25` stay. `//` and `;parameters` stay: origins give them different meanings.
//! - Query: the same without dot segments; a `%` that begins no encoding becomes `%25`, for browsers send `?q=100%`, and
//!   so does a backslash. No query and an empty one differ. Which parameters count is the route's: `query.rs`.
//! - Refused: white space, controls, 8-bit bytes and `#` anywhere; in a path also `\` and a `%` that begins no encoding,
//!   which origins read in more than one way (FAULTS C5, S8).
//!
//! Invariant: equal keys, equal forwards; normalising twice is normalising once (`tests/property.rs`).

use std::borrow::Cow;

use super::authority::Authority;
use crate::listener::request::Scheme;

/// A target URI in normal form.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Normal<'a> {
    /// By the connection, or as the URL says.
    pub scheme: Scheme,
    /// Host and port.
    pub authority: Authority<'a>,
    /// Path and query.
    pub target: Target<'a>,
}

/// Path and query in normal form: what stands in the request line towards the origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target<'a> {
    bytes: Cow<'a, [u8]>,
    path_len: usize,
    /// Whether the path has neither `%` nor `;`, and so only one reading.
    is_clear: bool,
}

/// Why a request's URI has no normal form. The client's fault: 400.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, thiserror::Error)]
pub enum Malformed {
    /// Neither `Host` nor `:authority`.
    #[error("the request names no host")]
    HostMissing,
    /// Not a name, an IPv4 address or a bracketed IPv6 address.
    #[error("the host is neither a domain name nor an address")]
    Host,
    /// Not 1 to 65535, or written with leading zeros.
    #[error("the port is not a number from 1 to 65535")]
    Port,
    /// Does not begin with `/`.
    #[error("the target does not begin with a slash")]
    Form,
    /// White space, a control, an 8-bit byte, `#`, or a backslash in the path.
    #[error("the target holds a byte that no URI may hold")]
    Byte,
    /// `%` without two hexadecimal digits, in the path.
    #[error("the path holds a percent sign that begins no encoding")]
    Percent,
    /// A URL as text without `http://` or `https://`.
    #[error("the URL begins with neither http:// nor https://")]
    Scheme,
}

impl Malformed {
    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::HostMissing => "host-missing",
            Self::Host => "host-invalid",
            Self::Port => "port-invalid",
            Self::Form => "target-form",
            Self::Byte => "target-byte",
            Self::Percent => "target-percent",
            Self::Scheme => "url-scheme",
        }
    }
}

impl<'a> Normal<'a> {
    /// The normal form of a request's parts, as a listener delivers them.
    ///
    /// # Errors
    /// [`Malformed`]: there is none.
    pub fn of(scheme: Scheme, authority: &'a [u8], target: &'a [u8]) -> Result<Self, Malformed> {
        Ok(Self { scheme, authority: Authority::of(scheme, authority)?, target: Target::of(target)? })
    }

    /// The normal form of a URL as a person or a program writes it: a fragment is cut off, characters outside ASCII are
    /// encoded (in the path; a host must be in its `xn--` form), and a missing path is `/`.
    ///
    /// # Errors
    /// [`Malformed`]: there is none.
    pub fn from_url(url: &str) -> Result<Normal<'static>, Malformed> {
        let (scheme, rest) = split_scheme(url.trim()).ok_or(Malformed::Scheme)?;
        let rest = rest.split('#').next().unwrap_or_default();
        let at = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(at).unwrap_or((rest, ""));
        let mut target = Vec::with_capacity(path.len() + 1);
        if !path.starts_with('/') {
            target.push(b'/');
        }
        for byte in path.bytes() {
            if byte.is_ascii() { target.push(byte) } else { encode(byte, &mut target) }
        }
        let normal = Normal::of(scheme, authority.as_bytes(), &target)?;
        Ok(normal.into_owned())
    }

    /// The same, borrowing nothing.
    pub fn into_owned(self) -> Normal<'static> {
        Normal {
            scheme: self.scheme,
            authority: self.authority.into_owned(),
            target: Target { bytes: Cow::Owned(self.target.bytes.into_owned()), ..self.target },
        }
    }
}

impl<'a> Target<'a> {
    /// The normal form of an origin-form target; `*` (for `OPTIONS`) is its own.
    ///
    /// # Errors
    /// [`Malformed::Form`], [`Malformed::Byte`], [`Malformed::Percent`].
    pub fn of(target: &'a [u8]) -> Result<Self, Malformed> {
        if target.first() != Some(&b'/') && target != b"*" {
            return Err(Malformed::Form);
        }
        let Some((path_len, is_clear)) = path_if_normal(target) else { return Self::rebuilt(target) };
        let query = target.get(path_len..).unwrap_or_default();
        if query.is_empty() || is_normal_query(query.get(1..).unwrap_or_default()) {
            return Ok(Self { bytes: Cow::Borrowed(target), path_len, is_clear });
        }
        Self::rebuilt(target)
    }

    /// The normal form of a path, and of a query behind it, that were put together of pieces; `None` where there is none, or
    /// where a segment of the path came out as a dot segment.
    pub(super) fn composed(target: &[u8], path_len: usize) -> Option<Target<'static>> {
        let path = target.get(..path_len).filter(|path| path.starts_with(b"/"))?;
        let mut bytes = Vec::with_capacity(target.len() + 16);
        normalise(path, Part::Path, &mut bytes).ok()?;
        // A question mark ends a path.
        let climbs = |segment: &[u8]| segment == b"." || segment == b"..";
        if bytes.contains(&b'?') || bytes.split(|byte| *byte == b'/').any(climbs) {
            return None;
        }
        let (path_len, is_clear) = (bytes.len(), is_clear(&bytes));
        if let Some(query) = target.get(path.len()..).and_then(|rest| rest.strip_prefix(b"?")) {
            bytes.push(b'?');
            normalise(query, Part::Query, &mut bytes).ok()?;
        }
        Some(Target { bytes: Cow::Owned(bytes), path_len, is_clear })
    }

    /// A target already in normal form, with another query.
    pub(super) fn with_query(&self, query: Option<&[u8]>) -> Target<'static> {
        let mut bytes = self.path().to_vec();
        if let Some(query) = query {
            bytes.push(b'?');
            bytes.extend_from_slice(query);
        }
        Target { bytes: Cow::Owned(bytes), path_len: self.path_len, is_clear: self.is_clear }
    }

    /// The path.
    pub fn path(&self) -> &[u8] {
        self.bytes.get(..self.path_len).unwrap_or_default()
    }

    /// What follows the first `?`, if there is one.
    pub fn query(&self) -> Option<&[u8]> {
        self.bytes.get(self.path_len.saturating_add(1)..)
    }

    /// Path, `?` and query.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The same, owned where it had to be changed.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        self.bytes
    }

    /// Whether the path has neither `%` nor `;`: nothing in it can be read in two ways.
    #[inline]
    pub(super) const fn is_clear(&self) -> bool {
        self.is_clear
    }

    /// Bytes of the path.
    pub const fn path_len(&self) -> usize {
        self.path_len
    }

    fn rebuilt(target: &[u8]) -> Result<Self, Malformed> {
        let (path, query) = split_query(target);
        let mut bytes = Vec::with_capacity(target.len() + 16);
        normalise(path, Part::Path, &mut bytes)?;
        remove_dot_segments(&mut bytes);
        let (path_len, is_clear) = (bytes.len(), is_clear(&bytes));
        if let Some(query) = query {
            bytes.push(b'?');
            normalise(query, Part::Query, &mut bytes)?;
        }
        Ok(Self { bytes: Cow::Owned(bytes), path_len, is_clear })
    }
}

/// A piece of a path as settings write it, in the spelling of a normal path: what is to be compared with one.
pub(super) fn normal_piece(piece: &str) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(piece.len());
    for byte in piece.bytes() {
        if byte.is_ascii() { encoded.push(byte) } else { encode(byte, &mut encoded) }
    }
    let mut normal = Vec::with_capacity(encoded.len());
    match normalise(&encoded, Part::Path, &mut normal) {
        Ok(()) => normal,
        // What no request can say matches no request.
        Err(_) => encoded,
    }
}

/// A path that somebody else has decoded, in the spelling of a normal path: what is to be looked up. Dot segments stay.
pub(super) fn spelled(path: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut rest = path;
    while let Some((&byte, behind)) = rest.split_first() {
        let decoded = behind.first().zip(behind.get(1)).and_then(|(high, low)| decode(*high, *low));
        rest = behind;
        match (byte, decoded) {
            (b'%', Some(decoded)) => {
                if is_unreserved(decoded) {
                    out.push(decoded);
                } else {
                    encode(decoded, &mut out);
                }
                rest = behind.get(2..).unwrap_or_default();
            }
            _ if matches!(class(byte), Class::Plain | Class::Semicolon | Class::Dot) => out.push(byte),
            _ => encode(byte, &mut out),
        }
    }
    out
}

/// Where a byte stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Path,
    Query,
}

/// What a byte means to the normaliser.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    /// Stays as it is.
    Plain,
    /// `;`: plain, but origins may end a segment there.
    Semicolon,
    /// `.`: a dot segment, where it follows a slash.
    Dot,
    /// `%`.
    Percent,
    /// `?`: ends a path, plain in a query.
    Question,
    /// A URI cannot hold it, but nobody reads it in two ways: encoded.
    Encode,
    /// `\`: refused in a path, encoded in a query.
    Backslash,
    /// Refused.
    Refuse,
}

fn is_clear(path: &[u8]) -> bool {
    memchr::memchr2(b'%', b';', path).is_none()
}

/// The path's length if the path is in normal form, and whether it is clear.
fn path_if_normal(target: &[u8]) -> Option<(usize, bool)> {
    let mut is_clear = true;
    let mut at = 0;
    while let Some((next, class)) = next_special(target, at) {
        at = next;
        match class {
            Class::Plain => {}
            Class::Semicolon => is_clear = false,
            Class::Dot => {
                let (before, rest) = target.split_at_checked(at)?;
                if before.ends_with(b"/") && is_dot_segment(rest) {
                    return None;
                }
            }
            Class::Percent => {
                if !is_normal_encoding(target.get(at..).unwrap_or_default()) {
                    return None;
                }
                is_clear = false;
                at += 2;
            }
            Class::Question => return Some((at, is_clear)),
            Class::Encode | Class::Backslash | Class::Refuse => return None,
        }
        at += 1;
    }
    Some((target.len(), is_clear))
}

fn is_normal_query(query: &[u8]) -> bool {
    let mut at = 0;
    while let Some((next, class)) = next_special(query, at) {
        at = next;
        match class {
            Class::Plain | Class::Semicolon | Class::Dot | Class::Question => {}
            Class::Percent if is_normal_encoding(query.get(at..).unwrap_or_default()) => at += 2,
            Class::Percent | Class::Encode | Class::Backslash | Class::Refuse => return false,
        }
        at += 1;
    }
    true
}

/// The next byte from `from` on that is not plain, as nearly all are.
#[inline]
fn next_special(text: &[u8], from: usize) -> Option<(usize, Class)> {
    let rest = text.get(from..)?;
    let ahead = rest.iter().position(|byte| class(*byte) != Class::Plain)?;
    Some((from + ahead, class(*rest.get(ahead)?)))
}

/// Whether the rest of a target begins with a segment `.` or `..`.
fn is_dot_segment(rest: &[u8]) -> bool {
    let ends = |at: usize| matches!(rest.get(at), None | Some(b'/' | b'?'));
    ends(1) || (rest.get(1) == Some(&b'.') && ends(2))
}

/// Whether `rest` begins with `%XX` in capitals, of a byte that has to be encoded.
fn is_normal_encoding(rest: &[u8]) -> bool {
    let (Some(&high), Some(&low)) = (rest.get(1), rest.get(2)) else { return false };
    match decode(high, low) {
        Some(byte) => !is_unreserved(byte) && !high.is_ascii_lowercase() && !low.is_ascii_lowercase(),
        None => false,
    }
}

/// Writes a path or query in normal form, dot segments left in it.
fn normalise(part: &[u8], which: Part, out: &mut Vec<u8>) -> Result<(), Malformed> {
    let mut at = 0;
    while let Some(&byte) = part.get(at) {
        at += 1;
        match class(byte) {
            Class::Plain | Class::Semicolon | Class::Dot | Class::Question => out.push(byte),
            Class::Encode => encode(byte, out),
            Class::Backslash if which == Part::Query => encode(byte, out),
            Class::Backslash | Class::Refuse => return Err(Malformed::Byte),
            Class::Percent => {
                let encoded = part.get(at).zip(part.get(at + 1)).and_then(|(high, low)| decode(*high, *low));
                match encoded {
                    Some(byte) if is_unreserved(byte) => out.push(byte),
                    Some(byte) => encode(byte, out),
                    None if which == Part::Query => {
                        encode(b'%', out);
                        continue;
                    }
                    None => return Err(Malformed::Percent),
                }
                at += 2;
            }
        }
    }
    Ok(())
}

/// RFC 3986 §5.2.4, in place, for a path that begins with a slash.
fn remove_dot_segments(path: &mut Vec<u8>) {
    if path.first() != Some(&b'/') {
        return;
    }
    let mut kept: Vec<u8> = Vec::with_capacity(path.len());
    let mut segments = path.split(|byte| *byte == b'/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            b"." | b".." => {
                if segment == b".." {
                    let parent = kept.iter().rposition(|byte| *byte == b'/').unwrap_or_default();
                    kept.truncate(parent);
                }
                if is_last {
                    kept.push(b'/');
                }
            }
            _ => {
                kept.push(b'/');
                kept.extend_from_slice(segment);
            }
        }
    }
    *path = kept;
}

fn split_query(target: &[u8]) -> (&[u8], Option<&[u8]>) {
    match target.iter().position(|byte| *byte == b'?') {
        Some(at) => (target.get(..at).unwrap_or_default(), target.get(at + 1..)),
        None => (target, None),
    }
}

fn split_scheme(url: &str) -> Option<(Scheme, &str)> {
    let (scheme, rest) = url.split_once("://")?;
    if scheme.eq_ignore_ascii_case("https") {
        Some((Scheme::Https, rest))
    } else if scheme.eq_ignore_ascii_case("http") {
        Some((Scheme::Http, rest))
    } else {
        None
    }
}

/// Appends a byte percent-encoded.
pub(super) fn encode(byte: u8, out: &mut Vec<u8>) {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + (nibble - 10) };
    out.extend_from_slice(&[b'%', digit(byte >> 4), digit(byte & 0x0f)]);
}

/// The byte that two hexadecimal digits stand for.
pub(super) fn decode(high: u8, low: u8) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    Some(digit(high)? << 4 | digit(low)?)
}

/// RFC 3986 §2.3.
const fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn class(byte: u8) -> Class {
    CLASSES.get(usize::from(byte)).copied().unwrap_or(Class::Refuse)
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Refuse; 256];
    let mut byte = 0;
    while byte < 128 {
        #[allow(clippy::cast_possible_truncation)] // below 128
        let this = byte as u8;
        classes[byte] = match this {
            b'.' => Class::Dot,
            b'%' => Class::Percent,
            b'?' => Class::Question,
            b'\\' => Class::Backslash,
            b';' => Class::Semicolon,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => Class::Encode,
            // RFC 3986 §3.3; and brackets, which are reserved, and which `a[]=1` sends as they are.
            b'-' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b'='
            | b':' | b'@' | b'/' | b'[' | b']' => Class::Plain,
            _ if this.is_ascii_alphanumeric() => Class::Plain,
            _ => Class::Refuse,
        };
        byte += 1;
    }
    classes
};
