//! The header block of a request, as received: one run of bytes and an index into it.
//!
//! Every protocol delivers this type: HTTP/1.1 hands over the bytes it read, HTTP/2 packs its decoded fields. Names
//! are matched without regard to case; well-known ones carry a [`FieldId`], so a look-up on the hit path
//! compares bytes, not strings. Field order is kept.
//!
//! Invariant: every index entry lies within `bytes` (built only here); names are RFC 9110 tokens and values hold no
//! CR, LF or NUL (checked by the parser that calls [`Fields::push`]).

use std::sync::Arc;

use bytes::Bytes;
use cache_store::rules::vary::OF_COOKIE;
use http::{HeaderName, header};

/// Fields the walk itself looks at. `Other` is everything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
#[allow(missing_docs)] // named after the field
pub enum FieldId {
    Other,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    Expect,
    Upgrade,
    Te,
    Trailer,
    KeepAlive,
    ProxyConnection,
    CacheControl,
    Pragma,
    Range,
    IfRange,
    IfMatch,
    IfNoneMatch,
    IfModifiedSince,
    IfUnmodifiedSince,
    Authorization,
    Cookie,
    Accept,
    AcceptEncoding,
    AcceptLanguage,
    UserAgent,
    Referer,
    Forwarded,
    XForwardedFor,
    XForwardedHost,
    XForwardedProto,
    CdnLoop,
    Via,
    TidegateChild,
    TraceParent,
    TraceState,
    XRequestId,
}

/// A request's header block. Cloning shares the bytes.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    bytes: Bytes,
    index: Vec<Entry>,
    /// Values that lie elsewhere, if any does.
    shared: Option<Arc<[SharedValue]>>,
}

/// A long value that a client names again and again: the requests of its connection hold it once.
pub type SharedValue = Arc<[u8]>;

#[derive(Clone, Copy, Debug)]
struct Entry {
    name_at: u32,
    /// In the bytes, or which of the shared values.
    value_at: u32,
    value_len: u32,
    name_len: u16,
    id: FieldId,
    is_shared: bool,
}

/// A part of a head that is no field: where it lies in the block's bytes, or bytes of its own. A place costs no count of
/// who shares the bytes, which a hit would feel.
#[derive(Clone, Debug)]
pub enum Part {
    /// In the bytes of the [`Fields`] beside it.
    Place {
        /// Where it begins.
        at: u32,
        /// How long it is.
        len: u32,
    },
    /// Beside them.
    Own(Bytes),
}

impl Part {
    /// The part at this range of the block's bytes; an impossible one is empty.
    #[inline]
    pub fn place(range: std::ops::Range<usize>) -> Self {
        let at = u32::try_from(range.start).unwrap_or(u32::MAX);
        Self::Place { at, len: u32::try_from(range.len()).unwrap_or(0) }
    }
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Self::Own(bytes)
    }
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    /// Which well-known field it is.
    pub id: FieldId,
    /// The name as received.
    pub name: &'a [u8],
    /// The value without surrounding white space.
    pub value: &'a [u8],
    /// The same, where others hold it too.
    pub shared: Option<&'a SharedValue>,
}

impl Fields {
    /// An empty block over `bytes`, to be filled with [`Fields::push`]; `index` is a vector to reuse.
    pub fn over(bytes: Bytes, mut index: FieldIndex) -> Self {
        index.0.clear();
        Self { bytes, index: index.0, shared: None }
    }

    /// Records a line whose name and value lie at these ranges of the block's bytes, and says which field it is; a
    /// range outside the bytes is dropped and counts as [`FieldId::Other`].
    #[inline]
    pub fn push(&mut self, name: std::ops::Range<usize>, value: std::ops::Range<usize>) -> FieldId {
        push(&mut self.index, &self.bytes, name, value)
    }

    /// A block over `bytes`, of the lines that `index` was given over the same bytes.
    pub(crate) fn of(bytes: Bytes, index: FieldIndex) -> Self {
        Self { bytes, index: index.0, shared: None }
    }

    /// The same with the values that `index` was told lie elsewhere.
    pub(crate) fn sharing(bytes: Bytes, index: FieldIndex, values: Vec<SharedValue>) -> Self {
        let shared = if values.is_empty() { None } else { Some(values.into()) };
        Self { shared, ..Self::of(bytes, index) }
    }

    /// Packs name and value pairs into a block of its own.
    pub fn pack<'a>(lines: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone) -> Self {
        let total = lines.clone().map(|(name, value)| name.len() + value.len()).sum();
        let mut bytes = Vec::with_capacity(total);
        let mut ranges = Vec::new();
        for (name, value) in lines {
            let name_at = bytes.len();
            bytes.extend_from_slice(name);
            let value_at = bytes.len();
            bytes.extend_from_slice(value);
            ranges.push((name_at..value_at, value_at..bytes.len()));
        }
        let mut fields = Self::over(Bytes::from(bytes), FieldIndex::default());
        for (name, value) in ranges {
            fields.push(name, value);
        }
        fields
    }

    /// The bytes of a part of the same head.
    #[inline]
    pub fn part<'s>(&'s self, part: &'s Part) -> &'s [u8] {
        match part {
            Part::Place { at, len } => {
                let at = *at as usize;
                self.bytes.get(at..at.saturating_add(*len as usize)).unwrap_or_default()
            }
            Part::Own(bytes) => bytes,
        }
    }

    /// Bytes to be kept: shared with the block where they lie in it, else copied.
    pub fn share(&self, text: &[u8]) -> Bytes {
        let from = text.as_ptr().addr().wrapping_sub(self.bytes.as_ptr().addr());
        let range = from..from.saturating_add(text.len());
        match self.bytes.get(range.clone()) {
            Some(within) if std::ptr::eq(within, text) => self.bytes.slice(range),
            _ => Bytes::copy_from_slice(text),
        }
    }

    /// The value of the first line with this well-known name.
    #[inline]
    pub fn first(&self, id: FieldId) -> Option<&[u8]> {
        self.index.iter().find(|entry| entry.id == id).map(|entry| self.value_of(entry))
    }

    /// The values of all lines with this well-known name, in order.
    pub fn all(&self, id: FieldId) -> impl Iterator<Item = &[u8]> {
        self.index.iter().filter(move |entry| entry.id == id).map(|entry| self.value_of(entry))
    }

    /// Whether a line with this well-known name is there.
    #[inline]
    pub fn has(&self, id: FieldId) -> bool {
        self.index.iter().any(|entry| entry.id == id)
    }

    /// Whether a line with one of these well-known names is there.
    #[inline]
    pub fn has_any(&self, ids: &[FieldId]) -> bool {
        self.index.iter().any(|entry| ids.contains(&entry.id))
    }

    /// The values of all lines with this name, in order.
    #[inline]
    pub fn named<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        self.named_of(FieldId::of(name.as_bytes()), name)
    }

    /// The same of a name whose id is known.
    #[inline]
    fn named_of<'s>(&'s self, wanted: FieldId, name: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let is_named = move |entry: &&Entry| {
            wanted != FieldId::Other || self.name_of(entry).eq_ignore_ascii_case(name.as_bytes())
        };
        self.index
            .iter()
            .filter(move |entry| entry.id == wanted)
            .filter(is_named)
            .map(|entry| self.value_of(entry))
    }

    /// Every line, in order.
    pub fn lines(&self) -> impl Iterator<Item = FieldLine<'_>> {
        self.index.iter().map(|entry| FieldLine {
            id: entry.id,
            name: self.name_of(entry),
            value: self.value_of(entry),
            shared: self.shared_of(entry),
        })
    }

    /// Number of lines.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether there is no line.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Bytes that the block's text takes.
    pub fn text_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes that the block holds, for budgets; without what it shares.
    pub fn held_bytes(&self) -> usize {
        let places = self.shared.as_ref().map_or(0, |shared| shared.len() * size_of::<SharedValue>());
        self.bytes.len() + self.index.capacity() * size_of::<Entry>() + places
    }

    /// Gives the index back for the next request.
    pub fn into_index(self) -> FieldIndex {
        FieldIndex(self.index)
    }

    #[inline]
    fn name_of(&self, entry: &Entry) -> &[u8] {
        let at = entry.name_at as usize;
        self.bytes.get(at..at + usize::from(entry.name_len)).unwrap_or_default()
    }

    #[inline]
    fn value_of(&self, entry: &Entry) -> &[u8] {
        let at = entry.value_at as usize;
        if entry.is_shared {
            return self.shared_of(entry).map_or(&[], |value| value);
        }
        self.bytes.get(at..at + entry.value_len as usize).unwrap_or_default()
    }

    fn shared_of(&self, entry: &Entry) -> Option<&SharedValue> {
        if entry.is_shared { self.shared.as_ref()?.get(entry.value_at as usize) } else { None }
    }
}

/// The memory of an index, kept by a connection from one request to the next.
#[derive(Debug, Default)]
pub struct FieldIndex(Vec<Entry>);

impl FieldIndex {
    /// As [`Fields::push`], of a field that is known, over bytes that are still being put together; a range outside them
    /// is an empty text.
    #[inline]
    pub(crate) fn push_known(
        &mut self,
        id: FieldId,
        name: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
    ) {
        if let (Ok(name_at), Ok(name_len), Ok(value_at), Ok(value_len)) = (
            u32::try_from(name.start),
            u16::try_from(name.len()),
            u32::try_from(value.start),
            u32::try_from(value.len()),
        ) {
            self.0.push(Entry { name_at, value_at, value_len, name_len, id, is_shared: false });
        }
    }

    /// The same of a field whose value is the `nth` of those that lie elsewhere.
    pub(crate) fn push_shared(&mut self, id: FieldId, name: std::ops::Range<usize>, nth: usize) {
        if let (Ok(name_at), Ok(name_len), Ok(value_at)) =
            (u32::try_from(name.start), u16::try_from(name.len()), u32::try_from(nth))
        {
            self.0.push(Entry { name_at, value_at, value_len: 0, name_len, id, is_shared: true });
        }
    }

    /// As [`Fields::push`], over bytes that will become the block's: they may grow, but not change.
    pub(crate) fn push(
        &mut self,
        bytes: &[u8],
        name: std::ops::Range<usize>,
        value: std::ops::Range<usize>,
    ) -> FieldId {
        push(&mut self.0, bytes, name, value)
    }

    /// Forgets all lines, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// The same memory without lines.
    #[inline]
    pub(crate) fn emptied(mut self) -> Self {
        self.0.clear();
        self
    }

    /// Takes out the lines of a field; tells where their values lie, in order.
    pub(crate) fn take(&mut self, id: FieldId) -> Vec<std::ops::Range<usize>> {
        let lines = self.0.extract_if(.., |entry| entry.id == id);
        lines
            .map(|entry| entry.value_at as usize..(entry.value_at as usize + entry.value_len as usize))
            .collect()
    }
}

fn push(
    index: &mut Vec<Entry>,
    bytes: &[u8],
    name: std::ops::Range<usize>,
    value: std::ops::Range<usize>,
) -> FieldId {
    let Some(text) = bytes.get(name.clone()) else { return FieldId::Other };
    if bytes.get(value.clone()).is_none() {
        return FieldId::Other;
    }
    let id = FieldId::of(text);
    let (Ok(name_at), Ok(name_len), Ok(value_at), Ok(value_len)) = (
        u32::try_from(name.start),
        u16::try_from(name.len()),
        u32::try_from(value.start),
        u32::try_from(value.len()),
    ) else {
        return FieldId::Other;
    };
    index.push(Entry { name_at, value_at, value_len, name_len, id, is_shared: false });
    id
}

impl FieldId {
    /// The id of a field name.
    #[inline]
    pub fn of_name(name: &HeaderName) -> Self {
        // What the rules ask of every request: standard names are told apart by a number.
        if *name == header::CACHE_CONTROL {
            Self::CacheControl
        } else if *name == header::PRAGMA {
            Self::Pragma
        } else if *name == header::AUTHORIZATION {
            Self::Authorization
        } else if *name == header::RANGE {
            Self::Range
        } else {
            Self::of(name.as_str().as_bytes())
        }
    }

    /// The id of a field name, in any case.
    #[inline]
    pub fn of(name: &[u8]) -> Self {
        let mut lower = [0; NAME_BYTES_MAX];
        let Some(room) = lower.get_mut(..name.len()) else { return Self::Other };
        room.copy_from_slice(name);
        // All of it: so many bytes, and no other number, are a few instructions.
        lower.make_ascii_lowercase();
        // The compiler goes by length first: a name is compared with the few that share its own.
        match lower.get(..name.len()).unwrap_or_default() {
            b"te" => Self::Te,
            b"via" => Self::Via,
            b"host" => Self::Host,
            b"range" => Self::Range,
            b"accept" => Self::Accept,
            b"cookie" => Self::Cookie,
            b"expect" => Self::Expect,
            b"pragma" => Self::Pragma,
            b"referer" => Self::Referer,
            b"trailer" => Self::Trailer,
            b"upgrade" => Self::Upgrade,
            b"cdn-loop" => Self::CdnLoop,
            b"if-match" => Self::IfMatch,
            b"if-range" => Self::IfRange,
            b"forwarded" => Self::Forwarded,
            b"connection" => Self::Connection,
            b"keep-alive" => Self::KeepAlive,
            b"user-agent" => Self::UserAgent,
            b"tracestate" => Self::TraceState,
            b"traceparent" => Self::TraceParent,
            b"x-request-id" => Self::XRequestId,
            b"authorization" => Self::Authorization,
            b"cache-control" => Self::CacheControl,
            b"if-none-match" => Self::IfNoneMatch,
            b"content-length" => Self::ContentLength,
            b"tidegate-child" => Self::TidegateChild,
            b"accept-encoding" => Self::AcceptEncoding,
            b"accept-language" => Self::AcceptLanguage,
            b"x-forwarded-for" => Self::XForwardedFor,
            b"proxy-connection" => Self::ProxyConnection,
            b"x-forwarded-host" => Self::XForwardedHost,
            b"if-modified-since" => Self::IfModifiedSince,
            b"transfer-encoding" => Self::TransferEncoding,
            b"x-forwarded-proto" => Self::XForwardedProto,
            b"if-unmodified-since" => Self::IfUnmodifiedSince,
            _ => Self::Other,
        }
    }
}

impl cache_store::rules::Fields for Fields {
    fn values<'s>(&'s self, name: &'s HeaderName) -> impl Iterator<Item = &'s [u8]> {
        let id = FieldId::of_name(name);
        let cookie = if id == FieldId::Other { name.as_str().strip_prefix(OF_COOKIE) } else { None };
        let fields = cookie.is_none().then(|| self.named_of(id, name.as_str()));
        fields.into_iter().flatten().chain(cookie.into_iter().flat_map(|name| self.cookies_called(name)))
    }

    fn has(&self, name: &HeaderName) -> bool {
        match FieldId::of_name(name) {
            FieldId::Other => self.values(name).next().is_some(),
            id => self.has(id),
        }
    }

    #[inline]
    fn has_directives(&self) -> bool {
        self.has_any(&[FieldId::CacheControl, FieldId::Pragma])
    }
}

impl Fields {
    /// The values of the cookies whose name these digits are.
    fn cookies_called<'s>(&'s self, digits: &'s str) -> impl Iterator<Item = &'s [u8]> {
        let pairs = self.all(FieldId::Cookie).flat_map(|line| line.split(|byte| *byte == b';'));
        pairs.filter_map(move |pair| {
            let pair = pair.trim_ascii();
            // A name alone is sent on with an empty value.
            let at = memchr::memchr(b'=', pair).unwrap_or(pair.len());
            is_in_digits(pair.get(..at)?, digits).then(|| pair.get(at + 1..).unwrap_or_default())
        })
    }
}

/// A field that no request has, whose values are those of a cookie: by it a `Vary` can name one cookie of many. Its name is that of
/// the cookie in digits. Nothing of the kind ever comes from a client: fields that begin so are the nodes' own.
pub fn of_cookie(name: &str) -> Option<HeaderName> {
    let mut text = OF_COOKIE.to_owned();
    for byte in name.bytes() {
        for nibble in [byte >> 4, byte & 0x0f] {
            text.push(char::from_digit(nibble.into(), 16)?);
        }
    }
    HeaderName::from_bytes(text.as_bytes()).ok()
}

/// Whether these hexadecimal digits are those of `name`.
fn is_in_digits(name: &[u8], digits: &str) -> bool {
    let nibble = |digit: &u8| char::from(*digit).to_digit(16).unwrap_or(u32::MAX);
    digits.len() == name.len() * 2
        && digits.as_bytes().chunks_exact(2).zip(name).all(|(pair, byte)| {
            let [high, low] = pair else { return false };
            nibble(high) << 4 | nibble(low) == u32::from(*byte)
        })
}

/// Longest name with an id of its own: `if-unmodified-since`, and some.
const NAME_BYTES_MAX: usize = 24;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_of_the_block_are_shared_and_others_copied() {
        let block = Bytes::from_static(b"GET /a HTTP/1.1\r\n");
        let fields = Fields::over(block.clone(), FieldIndex::default());
        let within = &block[4..6];
        assert_eq!(fields.share(within).as_ptr(), within.as_ptr());
        for elsewhere in [b"/a".to_vec(), Vec::new(), vec![b'x'; 100]] {
            let shared = fields.share(&elsewhere);
            assert_eq!(*shared, *elsewhere);
        }
    }
}
