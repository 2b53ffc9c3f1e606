//! Validators and preconditions: is what the client (or the store) has still the same?
//!
//! [`Validators`] are a stored response's, sent to the origin when it must be confirmed. [`evaluate`] decides whether
//! a request that may be answered from the store gets a 304; [`if_range_holds`] whether it gets the range it asks for.
//!
//! Entity tags compare strongly for `If-Match` and `If-Range`, weakly for `If-None-Match` (RFC 9110 §8.8.3.2). A tag
//! that is not written as one (`ETag: abc`) is compared byte by byte and counts as weak.
//!
//! `If-Match` and `If-Unmodified-Since` that fail against the store are the origin's to judge, not ours
//! (RFC 9111 §4.3.2). RFC 9110 §8.8, §13.

use http::{HeaderMap, HeaderValue, header};

use super::date::DateField;
use super::{Fields, RequestHead, ResponseHead, date};
use crate::timestamp::Timestamp;

/// An entity tag (RFC 9110 §8.8.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ETag<'a> {
    /// Whether it identifies equivalent content only, not equal bytes.
    pub weak: bool,
    /// The text between the quotes, or all of it where there are none.
    pub opaque: &'a [u8],
}

impl<'a> ETag<'a> {
    /// Reads a field value or one member of a list; `None` when it is empty.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = text.trim_ascii();
        let (weak, quoted) = match text.strip_prefix(b"W/") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let inside = quoted.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\""));
        match inside {
            Some(opaque) if opaque.iter().all(|byte| is_etag_char(*byte)) => Some(Self { weak, opaque }),
            _ if text.is_empty() => None,
            _ => Some(Self { weak: true, opaque: text }),
        }
    }

    /// The entity tag of a response.
    pub fn of(fields: &'a HeaderMap) -> Option<Self> {
        Self::parse(fields.get(header::ETAG)?.as_bytes())
    }

    /// Whether the two are the same under this comparison.
    pub fn matches(self, other: ETag<'_>, comparison: Comparison) -> bool {
        let comparable = comparison == Comparison::Weak || (!self.weak && !other.weak);
        comparable && self.opaque == other.opaque
    }
}

/// How entity tags compare (RFC 9110 §8.8.3.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Comparison {
    /// Equal bytes for sure: neither tag may be weak.
    Strong,
    /// Equivalent content.
    Weak,
}

/// etagc: everything visible but the quote, and obs-text.
const fn is_etag_char(byte: u8) -> bool {
    byte == 0x21 || (byte >= 0x23 && byte != 0x7f)
}

/// Whether the response has anything an origin could confirm it by.
pub fn has_validator<F: Fields>(fields: &F) -> bool {
    fields.values(&header::ETAG).next().is_some_and(|tag| !tag.is_empty())
        || DateField::of(fields, &header::LAST_MODIFIED).moment().is_some()
}

/// What to send along when a stored response must be confirmed, as the origin wrote it (RFC 9111 §4.3.1).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Validators {
    /// For `If-None-Match`.
    pub etag: Option<HeaderValue>,
    /// For `If-Modified-Since`.
    pub last_modified: Option<HeaderValue>,
}

impl Validators {
    /// The validators of a stored response; both `None` when it cannot be validated.
    pub fn of(fields: &HeaderMap) -> Self {
        let readable = DateField::of(fields, &header::LAST_MODIFIED).moment().is_some();
        Self {
            etag: fields.get(header::ETAG).filter(|tag| !tag.is_empty()).cloned(),
            last_modified: fields.get(header::LAST_MODIFIED).filter(|_| readable).cloned(),
        }
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.etag.is_none() && self.last_modified.is_none()
    }
}

/// The value for `If-Range` that a part may be completed under: a strong entity tag, else a strong `Last-Modified`.
pub fn strong_validator(fields: &HeaderMap) -> Option<&HeaderValue> {
    if let Some(tag) = ETag::of(fields) {
        return fields.get(header::ETAG).filter(|_| !tag.weak);
    }
    fields.get(header::LAST_MODIFIED).filter(|_| last_modified_is_strong(fields))
}

/// Whether `Last-Modified` is at least a second older than `Date` (RFC 9110 §8.8.2.2).
fn last_modified_is_strong(fields: &HeaderMap) -> bool {
    let modified = DateField::of(fields, &header::LAST_MODIFIED).moment();
    let dated = DateField::of(fields, &header::DATE).moment();
    modified.zip(dated).is_some_and(|(modified, dated)| modified < dated)
}

/// What the preconditions of a request make of an answer from the store.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Precondition {
    /// Send the response.
    Send,
    /// Send 304.
    NotModified,
    /// The store cannot tell: let the origin judge.
    AskOrigin,
}

/// Evaluates the preconditions of `request` against a stored response, in the order of RFC 9110 §13.2.2.
/// `received_wall` is when the response was received, by the calendar.
pub fn evaluate<F: Fields>(
    request: &RequestHead<'_, F>,
    stored: &ResponseHead<'_>,
    received_wall: Timestamp,
) -> Precondition {
    // §13.2.1: without preconditions the answer would have to be a success.
    if !stored.status.is_success() {
        return Precondition::Send;
    }
    if !match_holds(request.fields, stored.fields) {
        return Precondition::AskOrigin;
    }
    let mut tags = request.fields.values(&header::IF_NONE_MATCH).peekable();
    if tags.peek().is_some() {
        let known = tags.any(|line| lists(line, ETag::of(stored.fields), Comparison::Weak));
        return if known { Precondition::NotModified } else { Precondition::Send };
    }
    let unmodified = only_date(request.fields, &header::IF_MODIFIED_SINCE)
        .is_some_and(|since| modified(stored.fields, received_wall) <= since);
    if unmodified { Precondition::NotModified } else { Precondition::Send }
}

/// `If-Match`, and without it `If-Unmodified-Since`.
fn match_holds<F: Fields>(request: &F, stored: &HeaderMap) -> bool {
    let mut tags = request.values(&header::IF_MATCH).peekable();
    if tags.peek().is_some() {
        return tags.any(|line| lists(line, ETag::of(stored), Comparison::Strong));
    }
    match only_date(request, &header::IF_UNMODIFIED_SINCE) {
        Some(since) => {
            DateField::of(stored, &header::LAST_MODIFIED).moment().is_some_and(|modified| modified <= since)
        }
        None => true,
    }
}

/// When the stored response was last modified, as far as a cache can tell: `Last-Modified`, else `Date`, else the
/// moment it was received (RFC 9111 §4.3.2).
fn modified(fields: &HeaderMap, received_wall: Timestamp) -> Timestamp {
    DateField::of(fields, &header::LAST_MODIFIED)
        .moment()
        .or_else(|| DateField::of(fields, &header::DATE).moment())
        .unwrap_or(received_wall)
}

/// Whether a list of entity tags holds one that matches `tag`, or is `*`.
fn lists(line: &[u8], tag: Option<ETag<'_>>, comparison: Comparison) -> bool {
    let mut rest = line;
    while !rest.is_empty() {
        let (member, tail) = split_tag(rest);
        if member == b"*" {
            return true;
        }
        if let (Some(member), Some(tag)) = (ETag::parse(member), tag)
            && tag.matches(member, comparison)
        {
            return true;
        }
        rest = tail;
    }
    false
}

/// Cuts one member off a list of entity tags. Commas inside quotes belong to the tag, and there are no escapes.
fn split_tag(text: &[u8]) -> (&[u8], &[u8]) {
    let mut quoted = false;
    let end = text.iter().position(|byte| {
        quoted ^= *byte == b'"';
        *byte == b',' && !quoted
    });
    let (member, tail) = text.split_at(end.unwrap_or(text.len()));
    (member.trim_ascii(), tail.get(1..).unwrap_or_default())
}

/// The date of a request field that must be there once.
fn only_date<F: Fields>(request: &F, name: &http::HeaderName) -> Option<Timestamp> {
    let mut lines = request.values(name);
    let first = lines.next()?;
    if lines.next().is_some() { None } else { date::parse(first) }
}

/// Whether the request's `If-Range`, if any, names the stored response exactly; if not, `Range` is ignored
/// (RFC 9110 §13.1.5).
pub fn if_range_holds<F: Fields>(request: &RequestHead<'_, F>, stored: &HeaderMap) -> bool {
    let mut lines = request.fields.values(&header::IF_RANGE);
    let Some(value) = lines.next() else { return true };
    if lines.next().is_some() {
        return false;
    }
    if let Some(since) = date::parse(value) {
        return last_modified_is_strong(stored)
            && DateField::of(stored, &header::LAST_MODIFIED).moment() == Some(since);
    }
    ETag::parse(value)
        .zip(ETag::of(stored))
        .is_some_and(|(given, tag)| tag.matches(given, Comparison::Strong))
}
