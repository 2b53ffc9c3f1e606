//! The fields of an origin's response: lines as they go on, and an index into them.
//!
//! `response.rs` adds them as the scanner finds them, without those that speak of the connection. The rules read them where they
//! lie, and an answer that is not stored takes the lines as they are. What is done to a head seldom (a merge, a part put together) and what
//! is kept of one that is stored are done to a map, which is made for that.
//!
//! Invariant: names are tokens in lower case, values are text without white space around it: checked by who adds them.

use cache_store::rules::coding::is_about_bytes;
use cache_store::rules::{self, Coding};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::parent::proof::OURS;

/// The fields of a response, in the order received.
#[derive(Clone, Debug, Default)]
pub struct ResponseFields {
    /// `name: value\r\n` each.
    lines: Vec<u8>,
    index: Vec<Line>,
    has_date: bool,
    has_special: bool,
}

/// Where a line begins, and how long its parts are.
#[derive(Clone, Copy, Debug)]
struct Line {
    at: u32,
    name_len: u32,
    value_len: u32,
}

impl ResponseFields {
    /// Adds a line behind the others.
    pub(crate) fn push(&mut self, name: &[u8], value: &[u8]) {
        if self.index.capacity() == 0 {
            (self.lines, self.index) = (Vec::with_capacity(BYTES_USUAL), Vec::with_capacity(FIELDS_USUAL));
        }
        // A head is bounded far below four gigabytes.
        let (Ok(at), Ok(name_len), Ok(value_len)) =
            (u32::try_from(self.lines.len()), u32::try_from(name.len()), u32::try_from(value.len()))
        else {
            return;
        };
        let line = Line { at, name_len, value_len };
        self.lines.reserve(name.len() + value.len() + BETWEEN.len() + END.len());
        let mut lower = [0; NAME_BYTES_USUAL];
        match lower.get_mut(..name.len()) {
            Some(room) => {
                room.copy_from_slice(name);
                // All of it: so many bytes, and no other number, are a few instructions.
                lower.make_ascii_lowercase();
                self.lines.extend_from_slice(lower.get(..name.len()).unwrap_or_default());
            }
            None => self.lines.extend(name.iter().map(u8::to_ascii_lowercase)),
        }
        for part in [BETWEEN, value, END] {
            self.lines.extend_from_slice(part);
        }
        self.index.push(line);
        let name = self.lines.get(line.name()).unwrap_or_default();
        self.has_date |= name == b"date";
        self.has_special |= is_special(name);
    }

    /// Whether one of them may be for caches or for nodes of a tier alone, or is written anew by whoever passes it on. Nearly all
    /// answers have none.
    pub(crate) const fn has_special(&self) -> bool {
        self.has_special
    }

    /// Whether one of them is the response's `Date`.
    pub(crate) const fn has_date(&self) -> bool {
        self.has_date
    }

    /// The values of all lines called `name`, given in lower case, in order.
    pub(crate) fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let name = name.as_bytes();
        let is_named = move |line: &&Line| line.name_len as usize == name.len() && self.name(line) == name;
        self.index.iter().filter(is_named).map(|line| self.value(line))
    }

    /// Takes out those whose names are not to stay.
    pub(crate) fn retain(&mut self, stays: impl Fn(&[u8]) -> bool) {
        if self.index.iter().all(|line| stays(self.name(line))) {
            return;
        }
        let all = std::mem::take(self);
        for line in &all.index {
            let name = all.name(line);
            if stays(name) {
                self.push(name, all.value(line));
            }
        }
    }

    /// What they are once the body is in `coding`: as `rules::coding::encoded` has it for a map.
    pub(crate) fn encode(&mut self, coding: Coding) {
        let all = std::mem::take(self);
        for line in &all.index {
            let (name, value) = (all.name(line), all.value(line));
            match name {
                b"etag" if value.starts_with(b"\"") => self.push(name, &[b"W/", value].concat()),
                name if is_about_bytes(name) => {}
                name => self.push(name, value),
            }
        }
        self.push(b"content-encoding", coding.as_str().as_bytes());
    }

    /// All of them, as a head has them.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// As a map.
    pub(crate) fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::with_capacity(self.index.len());
        for line in &self.index {
            let parts = (HeaderName::from_bytes(self.name(line)), HeaderValue::from_bytes(self.value(line)));
            if let (Ok(name), Ok(value)) = parts {
                // A bound far below the map's own.
                let _ = map.try_append(name, value);
            }
        }
        map
    }

    #[inline]
    fn name(&self, line: &Line) -> &[u8] {
        self.lines.get(line.name()).unwrap_or_default()
    }

    #[inline]
    fn value(&self, line: &Line) -> &[u8] {
        self.lines.get(line.value()).unwrap_or_default()
    }
}

impl rules::Fields for ResponseFields {
    #[inline]
    fn values<'s>(&'s self, name: &'s HeaderName) -> impl Iterator<Item = &'s [u8]> {
        self.named(name.as_str())
    }
}

impl Line {
    #[inline]
    const fn name(self) -> std::ops::Range<usize> {
        let at = self.at as usize;
        at..at + self.name_len as usize
    }

    #[inline]
    const fn value(self) -> std::ops::Range<usize> {
        let at = self.name().end + BETWEEN.len();
        at..at + self.value_len as usize
    }
}

/// See [`ResponseFields::has_special`]. The names of [`TAG_FIELDS`] are here again, told apart by their lengths first.
fn is_special(name: &[u8]) -> bool {
    match name {
        b"xkey" | b"cache-tag" | b"cache-tags" | b"cache-groups" | b"cache-status" | b"x-cache-tags"
        | b"surrogate-key" | b"x-magento-tags" | b"surrogate-control" => true,
        name => name.starts_with(OURS.as_bytes()),
    }
}

/// Whether a field of this name, in lower case, says under which tags a response can be purged.
pub(crate) fn is_tag_field(name: &[u8]) -> bool {
    TAG_FIELDS.iter().any(|known| name == known.as_bytes())
}

/// Fields that list tags.
pub(crate) const TAG_FIELDS: [&str; 7] =
    ["surrogate-key", "cache-tag", "xkey", "cache-groups", "cache-tags", "x-cache-tags", "x-magento-tags"];
/// What stands between a name and its value.
const BETWEEN: &[u8] = b": ";
const END: &[u8] = b"\r\n";
/// Fields of an origin's response, about.
const FIELDS_USUAL: usize = 16;
/// Bytes that their lines take, about, with what is added on the way.
const BYTES_USUAL: usize = 512;
/// Nearly all names are no longer.
const NAME_BYTES_USUAL: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(lines: &[(&str, &str)]) -> ResponseFields {
        let mut fields = ResponseFields::default();
        for (name, value) in lines {
            fields.push(name.as_bytes(), value.as_bytes());
        }
        fields
    }

    #[test]
    fn lines_keep_their_order_and_are_found_by_name() {
        let mut fields = fields(&[("Date", "now"), ("X-A", "1"), ("Vary", "b"), ("x-a", ""), ("X-AB", "2")]);
        assert_eq!(fields.lines(), b"date: now\r\nx-a: 1\r\nvary: b\r\nx-a: \r\nx-ab: 2\r\n");
        assert_eq!(fields.named("x-a").collect::<Vec<_>>(), [&b"1"[..], b""]);
        assert_eq!(rules::Fields::values(&fields, &http::header::VARY).collect::<Vec<_>>(), [b"b"]);
        assert!(fields.has_date() && !fields.has_special());
        let map = fields.to_map();
        assert_eq!((map.len(), map.get_all("x-a").iter().count()), (5, 2));
        fields.retain(|name| name != b"x-a" && name != b"date");
        assert_eq!(fields.lines(), b"vary: b\r\nx-ab: 2\r\n");
        assert_eq!(fields.named("x-ab").collect::<Vec<_>>(), [b"2"]);
        assert!(!fields.has_date());
    }

    #[test]
    fn what_is_encoded_names_no_other_bytes() {
        for (given, expected) in [("\"a\"", "W/\"a\""), ("W/\"a\"", "W/\"a\""), ("a", "a"), ("", "")] {
            let mut fields = fields(&[
                ("Date", "now"),
                ("Content-MD5", "x"),
                ("ETag", given),
                ("Accept-Ranges", "bytes"),
                ("Content-Encoding", "identity"),
                ("Set-Cookie", "a=1"),
                ("Set-Cookie", "b=2"),
            ]);
            fields.encode(Coding::Gzip);
            let expected = format!(
                "date: now\r\netag: {expected}\r\nset-cookie: a=1\r\nset-cookie: b=2\r\ncontent-encoding: gzip\r\n"
            );
            assert_eq!(String::from_utf8_lossy(fields.lines()), expected);
            assert!(fields.has_date());
            // As a map is encoded.
            let mut map = HeaderMap::new();
            map.insert("etag", HeaderValue::from_str(given).expect("a value"));
            let map = rules::coding::encoded(&map, Coding::Gzip);
            assert_eq!(map.get("etag").map(HeaderValue::as_bytes), fields.named("etag").next());
        }
    }

    #[test]
    fn what_is_for_caches_and_nodes_alone_is_told_when_it_is_added() {
        for name in TAG_FIELDS.into_iter().chain(["Surrogate-Control", "cache-status", "Tidegate-Tier"]) {
            assert!(fields(&[("server", "s"), (name, "v")]).has_special(), "{name}");
        }
        for name in ["cache-control", "tidegate", "surrogate-capability", "x-key", "age"] {
            assert!(!fields(&[(name, "v")]).has_special(), "{name}");
        }
    }
}
