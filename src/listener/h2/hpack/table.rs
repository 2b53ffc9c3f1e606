//! The two tables of a decoder: RFC 7541 §2.3, appendix A.
//!
//! The dynamic table's text lies in one run of bytes: entries are added behind and leave at the front, and what has left is
//! let go when the run has grown to twice the table's size. So an entry costs no allocation, and the whole at most two times
//! `H2_TABLE_BYTES` and 128 places. Long values lie beside it, so that the requests that name one hold it with the table instead of
//! a copy each (FAULTS B16).

use std::collections::VecDeque;
use std::sync::Arc;

use super::Wrong;
use crate::config::limits::H2_TABLE_BYTES;
use crate::listener::fields::{FieldId, SharedValue};

/// What a field's name is to us.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // named after the pseudo field
pub(crate) enum Name {
    Method,
    Scheme,
    Authority,
    Path,
    Status,
    Protocol,
    Field(FieldId),
}

impl Name {
    /// Of a name in lower case; `None` for a pseudo field that nobody knows.
    pub(crate) fn of(name: &[u8]) -> Option<Self> {
        if name.first() != Some(&b':') {
            return Some(Self::Field(FieldId::of(name)));
        }
        match name {
            b":method" => Some(Self::Method),
            b":scheme" => Some(Self::Scheme),
            b":authority" => Some(Self::Authority),
            b":path" => Some(Self::Path),
            b":status" => Some(Self::Status),
            b":protocol" => Some(Self::Protocol),
            _ => None,
        }
    }
}

/// The dynamic table.
#[derive(Debug)]
pub(super) struct Dynamic {
    bytes: Vec<u8>,
    /// Oldest first.
    entries: VecDeque<Entry>,
    /// As RFC 7541 §4.1 counts it.
    size: usize,
    size_max: usize,
}

#[derive(Debug)]
struct Entry {
    name: Name,
    at: u32,
    name_len: u16,
    value_len: u16,
    /// The value, where it is long.
    long: Option<SharedValue>,
}

/// An entry of either table.
pub(super) struct Found<'t> {
    pub(super) name: Name,
    pub(super) text: &'t [u8],
    pub(super) value: &'t [u8],
    pub(super) shared: Option<&'t SharedValue>,
}

impl Default for Dynamic {
    fn default() -> Self {
        Self { bytes: Vec::new(), entries: VecDeque::new(), size: 0, size_max: H2_TABLE_BYTES }
    }
}

impl Dynamic {
    /// The entry of this index, of either table.
    #[inline]
    pub(super) fn get(&self, index: usize) -> Result<Found<'_>, Wrong> {
        let nth = index.checked_sub(1).ok_or(Wrong::Compression)?;
        if let Some(&(name, text, value)) = STATIC.get(nth) {
            return Ok(Found { name, text, value, shared: None });
        }
        let entry = self
            .entries
            .len()
            .checked_sub(nth - STATIC.len() + 1)
            .and_then(|at| self.entries.get(at))
            .ok_or(Wrong::Compression)?;
        let at = entry.at as usize;
        let text = self.bytes.get(at..).unwrap_or_default();
        let (name, rest) = text.split_at_checked(usize::from(entry.name_len)).ok_or(Wrong::Compression)?;
        let value = match &entry.long {
            Some(long) => long,
            None => rest.get(..usize::from(entry.value_len)).ok_or(Wrong::Compression)?,
        };
        Ok(Found { name: entry.name, text: name, value, shared: entry.long.as_ref() })
    }

    /// Adds an entry; one larger than the table empties it. RFC 7541 §4.4.
    pub(super) fn insert(&mut self, name: Name, text: &[u8], value: &[u8]) {
        let size = entry_size(text.len(), value.len());
        self.shrink_to(self.size_max.saturating_sub(size));
        if size > self.size_max {
            return;
        }
        if self.bytes.len() + text.len() + value.len() > 2 * H2_TABLE_BYTES {
            self.forget_what_left();
        }
        // They fit the table, which is shorter.
        let (Ok(at), Ok(name_len), Ok(value_len)) =
            (u32::try_from(self.bytes.len()), u16::try_from(text.len()), u16::try_from(value.len()))
        else {
            return;
        };
        self.bytes.extend_from_slice(text);
        let long = (value.len() >= LONG_BYTES_MIN).then(|| Arc::from(value));
        if long.is_none() {
            self.bytes.extend_from_slice(value);
        }
        self.entries.push_back(Entry { name, at, name_len, value_len, long });
        self.size += size;
    }

    /// RFC 7541 §4.3, §6.3: at most what our SETTINGS say, which is the default.
    pub(super) fn resize(&mut self, size_max: usize) -> Result<(), Wrong> {
        if size_max > H2_TABLE_BYTES {
            return Err(Wrong::Compression);
        }
        self.size_max = size_max;
        self.shrink_to(size_max);
        Ok(())
    }

    fn shrink_to(&mut self, size: usize) {
        while self.size > size {
            let Some(entry) = self.entries.pop_front() else { break };
            self.size -= entry_size(usize::from(entry.name_len), usize::from(entry.value_len));
        }
        if self.entries.is_empty() {
            self.bytes.clear();
        }
    }

    fn forget_what_left(&mut self) {
        let first = self.entries.front().map_or(0, |entry| entry.at);
        self.bytes.drain(..first as usize);
        for entry in &mut self.entries {
            entry.at -= first;
        }
    }
}

/// A value of so many bytes is shared. Longer than what most browsers send in each of their fields: to share costs more than to copy
/// a little.
const LONG_BYTES_MIN: usize = 192;

const fn entry_size(name_len: usize, value_len: usize) -> usize {
    // RFC 7541 §4.1.
    name_len + value_len + 32
}

/// The index of the static table's first field with this name (lower case), 0 if there is none.
pub(super) fn static_index(name: &[u8]) -> usize {
    // The compiler goes by length first.
    match name {
        b"age" => 21,
        b"via" => 60,
        b"date" => 33,
        b"etag" => 34,
        b"link" => 45,
        b"vary" => 59,
        b"allow" => 22,
        b"accept" => 19,
        b"server" => 54,
        b"expires" => 36,
        b"refresh" => 52,
        b"location" => 46,
        b"set-cookie" => 55,
        b"retry-after" => 53,
        b"content-type" => 31,
        b"accept-ranges" => 18,
        b"cache-control" => 24,
        b"content-range" => 30,
        b"last-modified" => 44,
        b"content-length" => 28,
        b"content-encoding" => 26,
        b"content-language" => 27,
        b"content-location" => 29,
        b"www-authenticate" => 61,
        b"proxy-authenticate" => 48,
        b"content-disposition" => 25,
        b"strict-transport-security" => 56,
        b"access-control-allow-origin" => 20,
        _ => 0,
    }
}

type Row = (Name, &'static [u8], &'static [u8]);

const fn field(id: FieldId, name: &'static str, value: &'static str) -> Row {
    (Name::Field(id), name.as_bytes(), value.as_bytes())
}

const fn other(name: &'static str) -> Row {
    field(FieldId::Other, name, "")
}

const fn pseudo(name: Name, text: &'static str, value: &'static str) -> Row {
    (name, text.as_bytes(), value.as_bytes())
}

/// RFC 7541 appendix A.
pub(super) static STATIC: [Row; 61] = [
    pseudo(Name::Authority, ":authority", ""),
    pseudo(Name::Method, ":method", "GET"),
    pseudo(Name::Method, ":method", "POST"),
    pseudo(Name::Path, ":path", "/"),
    pseudo(Name::Path, ":path", "/index.html"),
    pseudo(Name::Scheme, ":scheme", "http"),
    pseudo(Name::Scheme, ":scheme", "https"),
    pseudo(Name::Status, ":status", "200"),
    pseudo(Name::Status, ":status", "204"),
    pseudo(Name::Status, ":status", "206"),
    pseudo(Name::Status, ":status", "304"),
    pseudo(Name::Status, ":status", "400"),
    pseudo(Name::Status, ":status", "404"),
    pseudo(Name::Status, ":status", "500"),
    other("accept-charset"),
    field(FieldId::AcceptEncoding, "accept-encoding", "gzip, deflate"),
    field(FieldId::AcceptLanguage, "accept-language", ""),
    other("accept-ranges"),
    field(FieldId::Accept, "accept", ""),
    other("access-control-allow-origin"),
    other("age"),
    other("allow"),
    field(FieldId::Authorization, "authorization", ""),
    field(FieldId::CacheControl, "cache-control", ""),
    other("content-disposition"),
    other("content-encoding"),
    other("content-language"),
    field(FieldId::ContentLength, "content-length", ""),
    other("content-location"),
    other("content-range"),
    other("content-type"),
    field(FieldId::Cookie, "cookie", ""),
    other("date"),
    other("etag"),
    field(FieldId::Expect, "expect", ""),
    other("expires"),
    other("from"),
    field(FieldId::Host, "host", ""),
    field(FieldId::IfMatch, "if-match", ""),
    field(FieldId::IfModifiedSince, "if-modified-since", ""),
    field(FieldId::IfNoneMatch, "if-none-match", ""),
    field(FieldId::IfRange, "if-range", ""),
    field(FieldId::IfUnmodifiedSince, "if-unmodified-since", ""),
    other("last-modified"),
    other("link"),
    other("location"),
    other("max-forwards"),
    other("proxy-authenticate"),
    other("proxy-authorization"),
    field(FieldId::Range, "range", ""),
    field(FieldId::Referer, "referer", ""),
    other("refresh"),
    other("retry-after"),
    other("server"),
    other("set-cookie"),
    other("strict-transport-security"),
    field(FieldId::TransferEncoding, "transfer-encoding", ""),
    field(FieldId::UserAgent, "user-agent", ""),
    other("vary"),
    field(FieldId::Via, "via", ""),
    other("www-authenticate"),
];
