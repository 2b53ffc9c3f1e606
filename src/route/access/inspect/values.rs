//! What an application would read of a query or a body: its parameters, decoded. Bytes in, values out; nothing here judges.
//!
//! - A form (and a query) is split at `&` and at the first `=`; `+` and `%XX` are decoded, and what is then still encoded again,
//!   [`INSPECT_DECODINGS_MAX`] times: an application behind a proxy of its own may decode as often.
//! - Of JSON every string is a value, keys too, with its escapes resolved. It need not be whole: what is cut is read up to its end.
//! - Of `multipart/form-data` every part that is no file is a value.
//! - Other text is one value. What is neither (images, archives, XML) is not read.
//!
//! Names are values as well: some applications put them into their statements.
//!
//! Invariant: never more than [`INSPECT_PARAMETERS_MAX`] parameters are told, and the work is linear in the bytes.

use memchr::memmem;

use crate::config::limits::{INSPECT_DECODINGS_MAX, INSPECT_PARAMETERS_MAX};

/// How a body is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind<'t> {
    /// `application/x-www-form-urlencoded`, and what does not say what it is.
    Form,
    /// JSON, and what is made of it.
    Json,
    /// `multipart/…`, by this boundary.
    Multipart(&'t [u8]),
    /// Any other text.
    Text,
    /// Not at all.
    Unread,
}

impl<'t> Kind<'t> {
    /// By its `Content-Type`.
    pub(super) fn of(content_type: Option<&'t [u8]>) -> Self {
        let Some(value) = content_type else { return Self::Form };
        let end = memchr::memchr(b';', value).unwrap_or(value.len());
        let (kind, parameters) = value.split_at_checked(end).unwrap_or((value, b""));
        let kind = kind.trim_ascii().to_ascii_lowercase();
        match &kind[..] {
            b"" | b"application/x-www-form-urlencoded" => Self::Form,
            b"application/json"
            | b"text/json"
            | b"application/x-ndjson"
            | b"application/json-seq"
            | b"application/csp-report" => Self::Json,
            b"application/graphql" => Self::Text,
            b"text/xml" => Self::Unread,
            _ if kind.ends_with(b"+json") => Self::Json,
            _ if kind.starts_with(b"multipart/") => boundary(parameters).map_or(Self::Text, Self::Multipart),
            _ if kind.starts_with(b"text/") => Self::Text,
            _ => Self::Unread,
        }
    }
}

/// Reads parameters and tells each of them, until there are too many.
#[derive(Debug)]
pub(super) struct Reader {
    left: usize,
    /// There were more than are told.
    pub(super) is_over: bool,
}

impl Default for Reader {
    fn default() -> Self {
        Self { left: INSPECT_PARAMETERS_MAX, is_over: false }
    }
}

impl Reader {
    /// A body of this kind. `visit` gets the name of a parameter as written and a reading of its value (or of the name); what it
    /// returns first is the end.
    pub(super) fn body<T>(
        &mut self,
        kind: Kind<'_>,
        text: &[u8],
        visit: &mut impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        match kind {
            Kind::Form => self.form(text, &[], visit),
            Kind::Json if is_json(text) => self.json(text, visit),
            Kind::Multipart(boundary) => self.multipart(text, boundary, visit),
            Kind::Json | Kind::Text => visit(b"", text),
            Kind::Unread => None,
        }
    }

    /// A query or a form; parameters called as in `without` are left out.
    pub(super) fn form<T>(
        &mut self,
        text: &[u8],
        without: &[&str],
        visit: &mut impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        let mut decoded = Vec::new();
        for pair in text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let equals = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            let (name, rest) = pair.split_at_checked(equals).unwrap_or((pair, b""));
            if without.iter().any(|known| known.as_bytes() == name) {
                continue;
            }
            if !self.counts() {
                return None;
            }
            for part in [rest.get(1..).unwrap_or_default(), name] {
                if let Some(found) = readings(part, &mut decoded, |reading| visit(name, reading)) {
                    return Some(found);
                }
            }
        }
        None
    }

    fn json<T>(&mut self, text: &[u8], visit: &mut impl FnMut(&[u8], &[u8]) -> Option<T>) -> Option<T> {
        let mut value = Vec::new();
        let mut name: &[u8] = b"";
        let mut at = 0;
        while let Some(quote) = text.get(at..).and_then(|rest| memchr::memchr(b'"', rest)) {
            let from = at + quote + 1;
            value.clear();
            at = json_string(text, from, &mut value);
            let behind = text.get(at..).unwrap_or_default().trim_ascii_start();
            if behind.first() == Some(&b':') {
                name = text.get(from..at.saturating_sub(1)).unwrap_or_default();
            }
            if !self.counts() {
                return None;
            }
            if let Some(found) = visit(name, &value) {
                return Some(found);
            }
        }
        None
    }

    fn multipart<T>(
        &mut self,
        text: &[u8],
        boundary: &[u8],
        visit: &mut impl FnMut(&[u8], &[u8]) -> Option<T>,
    ) -> Option<T> {
        let delimiter = [b"--", boundary].concat();
        let starts: Vec<usize> = memmem::find_iter(text, &delimiter).take(self.left + 1).collect();
        if starts.is_empty() {
            // Whoever reads it in spite of that reads all of it.
            return visit(b"", text);
        }
        for (nth, start) in starts.iter().enumerate() {
            let end = starts.get(nth + 1).copied().unwrap_or(text.len());
            let part = text.get(start + delimiter.len()..end).unwrap_or_default();
            // The last delimiter ends in this.
            let part = part.strip_prefix(b"--").unwrap_or(part);
            // What is cut within its head is a value as it is.
            let (head, content) = memmem::find(part, b"\r\n\r\n")
                .and_then(|at| Some((part.get(..at)?, part.get(at + 4..)?)))
                .unwrap_or((b"", part));
            let head = head.to_ascii_lowercase();
            if memmem::find(&head, b"filename").is_some() {
                continue;
            }
            if !self.counts() {
                return None;
            }
            let name = parameter(&head, b"name=").unwrap_or_default();
            let content = content.strip_suffix(b"\r\n").unwrap_or(content);
            if let Some(found) = visit(name, content).or_else(|| visit(name, name)) {
                return Some(found);
            }
        }
        None
    }

    fn counts(&mut self) -> bool {
        let has_room = self.left > 0;
        self.left = self.left.saturating_sub(1);
        self.is_over |= !has_room;
        has_room
    }
}

/// Every reading of an encoded text.
fn readings<T>(text: &[u8], decoded: &mut Vec<u8>, mut visit: impl FnMut(&[u8]) -> Option<T>) -> Option<T> {
    if memchr::memchr2(b'%', b'+', text).is_none() {
        return visit(text);
    }
    decode(text, decoded);
    if let Some(found) = visit(decoded) {
        return Some(found);
    }
    let mut before = Vec::new();
    for _ in 0..INSPECT_DECODINGS_MAX {
        std::mem::swap(&mut before, decoded);
        if !decode(&before, decoded) {
            return None;
        }
        if let Some(found) = visit(decoded) {
            return Some(found);
        }
    }
    None
}

/// Puts `text` with each `%XX` decoded, and each `+` as a space, in place of `out`; whether there was a `%XX`.
fn decode(text: &[u8], out: &mut Vec<u8>) -> bool {
    out.clear();
    let mut is_encoded = false;
    let mut at = 0;
    while let Some(&byte) = text.get(at) {
        let pair = text.get(at + 1).copied().and_then(hex).zip(text.get(at + 2).copied().and_then(hex));
        match (byte, pair) {
            (b'%', Some((high, low))) => {
                out.push(high << 4 | low);
                is_encoded = true;
                at += 3;
                continue;
            }
            (b'+', _) => out.push(b' '),
            _ => out.push(byte),
        }
        at += 1;
    }
    is_encoded
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Whether it begins as JSON does.
fn is_json(text: &[u8]) -> bool {
    // A sequence of documents begins each with a record separator (RFC 7464).
    let text = text.trim_ascii_start();
    let text = text.strip_prefix(b"\x1e").unwrap_or(text).trim_ascii_start();
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    matches!(text.first(), Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n') | None)
}

/// Reads the string whose first byte is at `at`; where it ends, its quote included. RFC 8259 §7.
fn json_string(text: &[u8], mut at: usize, out: &mut Vec<u8>) -> usize {
    loop {
        let Some(rest) = text.get(at..) else { return text.len() };
        let Some(stop) = memchr::memchr2(b'"', b'\\', rest) else {
            out.extend_from_slice(rest);
            return text.len();
        };
        out.extend_from_slice(rest.get(..stop).unwrap_or_default());
        at += stop + 1;
        if rest.get(stop) == Some(&b'"') {
            return at;
        }
        let escape = text.get(at).copied();
        at += 1;
        match escape {
            None => return text.len(),
            Some(b'b') => out.push(8),
            Some(b'f') => out.push(12),
            Some(b'n') => out.push(b'\n'),
            Some(b'r') => out.push(b'\r'),
            Some(b't') => out.push(b'\t'),
            Some(b'u') => at = escaped_char(text, at, out),
            Some(other) => out.push(other),
        }
    }
}

/// Reads what stands behind `\u`; where that ends.
fn escaped_char(text: &[u8], at: usize, out: &mut Vec<u8>) -> usize {
    let unit = |at: usize| {
        let digits = std::str::from_utf8(text.get(at..at + 4)?).ok()?;
        u16::from_str_radix(digits, 16).ok()
    };
    let Some(first) = unit(at) else { return at };
    let second = if text.get(at + 4..at + 6) == Some(b"\\u") { unit(at + 6) } else { None };
    let (units, end) = match second {
        Some(second) if (0xd800..0xdc00).contains(&first) => (vec![first, second], at + 10),
        _ => (vec![first], at + 4),
    };
    let mut utf8 = [0; 4];
    for one in char::decode_utf16(units) {
        let one = one.unwrap_or(char::REPLACEMENT_CHARACTER);
        out.extend_from_slice(one.encode_utf8(&mut utf8).as_bytes());
    }
    end
}

/// The boundary among the parameters of a media type. RFC 2046 §5.1.1.
fn boundary(parameters: &[u8]) -> Option<&[u8]> {
    let at = parameters.windows(NAME.len()).position(|name| name.eq_ignore_ascii_case(NAME))?;
    let value = unquoted(parameters.get(at + NAME.len()..)?);
    (!value.is_empty() && value.len() <= BOUNDARY_BYTES_MAX).then_some(value)
}

/// The value of `name=` in the head of a part.
fn parameter<'t>(head: &'t [u8], name: &[u8]) -> Option<&'t [u8]> {
    let at = memmem::find(head, name)?;
    head.get(at + name.len()..).map(unquoted)
}

/// A token, or a quoted string without its quotes.
fn unquoted(text: &[u8]) -> &[u8] {
    if let Some(text) = text.strip_prefix(b"\"") {
        let end = memchr::memchr(b'"', text).unwrap_or(text.len());
        return text.get(..end).unwrap_or(text);
    }
    let end = text.iter().position(|byte| matches!(byte, b';' | b' ' | b'\t' | b'\r')).unwrap_or(text.len());
    text.get(..end).unwrap_or(text)
}

const NAME: &[u8] = b"boundary=";
/// RFC 2046 has 70.
const BOUNDARY_BYTES_MAX: usize = 200;
