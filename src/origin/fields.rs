//! The fields of an origin's response: lines as they go on, and an index into them.
//!
//! `response.rs` adds them as the scanner finds them, without those that speak of the connection; the rules read them where
//! they lie, and an answer that is not stored takes the lines as they are. What is done with a head seldom, and by
//! name (a merge, a part put together, what is kept), is done with a map, made when it is asked for.
//!
//! Invariant: names are tokens in lower case, values are text without surrounding white space (checked by who adds them).

use bytes::Bytes;
use cache_store::rules::{self, retained};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::parent::proof::OURS;

/// The fields of a response, in the order received.
#[derive(Clone, Debug, Default)]
pub struct ResponseFields {
    /// `name: value\r\n` each.
    lines: Vec<u8>,
    index: Vec<Line>,
    /// One of them may be for caches alone, or for nodes of a tier.
    may_be_special: bool,
    has_date: bool,
}

/// One of them: where it begins, how long its name is, and its value.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: u32,
    name_len: u32,
    value_len: u32,
}

impl ResponseFields {
    /// Adds a line: a token, and text.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.index.is_empty() {
            self.lines.reserve(BYTES_USUAL);
            self.index.reserve(FIELDS_USUAL);
        }
        let at = self.lines.len();
        self.lines.reserve(name.len() + value.len() + BETWEEN);
        self.lines.extend_from_slice(name);
        self.lines.extend_from_slice(b": ");
        self.lines.extend_from_slice(value);
        self.lines.extend_from_slice(b"\r\n");
        // A head is bounded far below four gigabytes.
        let (Ok(at), Ok(name_len), Ok(value_len)) =
            (u32::try_from(at), u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            return;
        };
        let line = Line { at, name_len, value_len };
        self.index.push(line);
        let name = self.lines.get_mut(line.name()).unwrap_or_default();
        name.make_ascii_lowercase();
        self.may_be_special |= is_special(name);
        self.has_date |= name == b"date";
    }

    /// Whether none is there that a cache takes out of an answer, or writes anew. Nearly all answers are so.
    pub(crate) const fn are_plain(&self) -> bool {
        !self.may_be_special
    }

    /// Whether one of them is the response's `Date`.
    pub(crate) const fn has_date(&self) -> bool {
        self.has_date
    }

    /// The values of all lines called `name`, which is in lower case, in order.
    pub(crate) fn named<'s>(&'s self, name: &'s [u8]) -> impl Iterator<Item = &'s [u8]> {
        let is_named = move |line: &&Line| line.name_len as usize == name.len() && self.name(line) == name;
        self.index.iter().filter(is_named).map(|line| self.value(line))
    }

    /// Name and value of each.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.index.iter().map(|line| (self.name(line), self.value(line)))
    }

    /// Those whose names are to stay.
    #[must_use]
    pub(crate) fn retaining(self, stays: impl Fn(&[u8]) -> bool) -> Self {
        if self.iter().all(|(name, _)| stays(name)) {
            return self;
        }
        let mut left = Self::default();
        for (name, value) in self.iter().filter(|(name, _)| stays(name)) {
            left.push(name, value);
        }
        left
    }

    /// All of them as lines of a head.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// As a map.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.index.len());
        // One after the other of the same bytes: a value is a part of them.
        let bytes = Bytes::copy_from_slice(&self.lines);
        for line in &self.index {
            let value = HeaderValue::from_maybe_shared(bytes.slice(line.value()));
            if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(self.name(line)), value) {
                // A bound far below the map's own.
                let _ = map.try_append(name, value);
            }
        }
        map
    }

    fn name(&self, line: &Line) -> &[u8] {
        self.lines.get(line.name()).unwrap_or_default()
    }

    fn value(&self, line: &Line) -> &[u8] {
        self.lines.get(line.value()).unwrap_or_default()
    }
}
