//! Ranges: what a request asks for, what a 206 brought, what is held and what is missing.
//!
//! [`requested`] reads `Range`; [`Requested::resolve`] makes byte spans of it once the complete length is known.
//! [`Part`] is what one 206 brought, [`Held`] the union of the parts of one representation; [`Held::answer`] says
//! whether a request can be served from it, and [`Held::rest`] what to ask the origin for.
//!
//! Invariants: a span is never empty and never reaches past the complete length; parts are put together only where
//! [`may_combine`] allows; a request cannot make us list more than [`RANGES_MAX`] spans, nor many overlapping ones.
//!
//! RFC 9110 §14, RFC 9111 §3.3, §3.4.

use http::{HeaderMap, Method, StatusCode, header};

use super::policy::ShortPart;
use super::validator::strong_validator;
use super::{Fields, RequestHead, ResponseHead};

/// The most ranges a request may name; one that names more is answered whole.
pub const RANGES_MAX: usize = 16;

/// One range of a request (RFC 9110 §14.1.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteRange {
    /// `5-9`.
    FromTo(u64, u64),
    /// `5-`.
    From(u64),
    /// `-5`.
    Suffix(u64),
}

impl ByteRange {
    fn parse(text: &[u8]) -> Option<Self> {
        let dash = text.iter().position(|byte| *byte == b'-')?;
        let (first, last) = (text.get(..dash)?, text.get(dash + 1..)?);
        match (first, last) {
            ([], last) => Some(Self::Suffix(number(last)?)),
            (first, []) => Some(Self::From(number(first)?)),
            (first, last) => {
                let (first, last) = (number(first)?, number(last)?);
                (first <= last).then_some(Self::FromTo(first, last))
            }
        }
    }

    /// The span it means of `complete` bytes; `None` when it lies outside.
    pub fn resolve(self, complete: u64) -> Option<Span> {
        let end = complete.checked_sub(1)?;
        let (first, last) = match self {
            Self::FromTo(first, last) => (first, last.min(end)),
            Self::From(first) => (first, end),
            Self::Suffix(0) => return None,
            Self::Suffix(length) => (complete.saturating_sub(length), end),
        };
        Span::new(first, last)
    }
}

/// A run of bytes, both ends included; never empty.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Span {
    first: u64,
    last: u64,
}

impl Span {
    /// The bytes `first` to `last`; `None` when there are none, or more than a `u64` counts.
    pub fn new(first: u64, last: u64) -> Option<Self> {
        (first <= last && last < u64::MAX).then_some(Self { first, last })
    }

    /// The first byte's offset.
    pub const fn first(self) -> u64 {
        self.first
    }

    /// The last byte's offset.
    pub const fn last(self) -> u64 {
        self.last
    }

    /// How many bytes.
    pub const fn length(self) -> u64 {
        self.last - self.first + 1
    }

    /// The offset after the last byte.
    pub const fn end(self) -> u64 {
        self.last + 1
    }
}

/// The ranges a request asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Requested {
    ranges: [ByteRange; RANGES_MAX],
    count: usize,
}

/// Reads a `GET` request's `Range`. `None`: there is none, or it is one to ignore (RFC 9110 §14.2): not in bytes, not
/// well-formed, in several lines, or too many. `If-Range` is not looked at
/// ([`if_range_holds`](super::validator::if_range_holds)).
pub fn requested<F: Fields>(request: &RequestHead<'_, F>) -> Option<Requested> {
    let mut lines = request.fields.values(&header::RANGE);
    let line = lines.next()?;
    if lines.next().is_some() || *request.method != Method::GET {
        return None;
    }
    Requested::parse(line)
}

impl Requested {
    /// Reads the value of `Range`.
    pub fn parse(line: &[u8]) -> Option<Self> {
        let (unit, set) = line.split_at_checked(line.iter().position(|byte| *byte == b'=')?)?;
        if !unit.trim_ascii().eq_ignore_ascii_case(b"bytes") {
            return None;
        }
        let mut requested = Self { ranges: [ByteRange::Suffix(0); RANGES_MAX], count: 0 };
        for range in set.get(1..)?.split(|byte| *byte == b',').map(<[u8]>::trim_ascii) {
            if !range.is_empty() {
                *requested.ranges.get_mut(requested.count)? = ByteRange::parse(range)?;
                requested.count += 1;
            }
        }
        (requested.count > 0).then_some(requested)
    }

    /// The ranges, in the order asked for.
    pub fn ranges(&self) -> &[ByteRange] {
        self.ranges.get(..self.count).unwrap_or_default()
    }

    /// The spans these ranges mean of `complete` bytes.
    pub fn resolve(&self, complete: u64) -> Resolved {
        let spans: Vec<Span> = self.ranges().iter().filter_map(|range| range.resolve(complete)).collect();
        if spans.is_empty() {
            Resolved::Unsatisfiable
        } else if overlapping(&spans) > OVERLAPS_MAX {
            Resolved::Ignore
        } else {
            Resolved::Spans(spans)
        }
    }
}

/// What ranges come to, once the complete length is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// Send these, in this order; one: 206, several: 206 `multipart/byteranges`.
    Spans(Vec<Span>),
    /// Send 416.
    Unsatisfiable,
    /// They overlap so much that they are an attack or a mistake: send 200, whole (RFC 9110 §14.2).
    Ignore,
}

/// How many spans share bytes with one before them in order.
fn overlapping(spans: &[Span]) -> usize {
    let mut sorted = spans.to_vec();
    sorted.sort_unstable();
    let mut reach = None;
    let mut count = 0;
    for span in sorted {
        if reach.is_some_and(|reach| span.first <= reach) {
            count += 1;
        }
        reach = reach.max(Some(span.last));
    }
    count
}

/// More overlaps than this are not meant well; RFC 9110 §14.2 names two.
const OVERLAPS_MAX: usize = 2;

/// `Content-Range` of a 206 (RFC 9110 §14.4).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ContentRange {
    /// The bytes it says it brings.
    pub span: Span,
    /// The complete length; `None` for `*`.
    pub complete: Option<u64>,
}

impl ContentRange {
    /// Reads `bytes 4-9/10`; `None` for anything else, a span past the complete length included.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (unit, rest) = text.trim_ascii().split_at_checked(5)?;
        if !unit.eq_ignore_ascii_case(b"bytes") || !rest.starts_with(b" ") {
            return None;
        }
        let rest = rest.trim_ascii();
        let slash = rest.iter().position(|byte| *byte == b'/')?;
        let ByteRange::FromTo(first, last) = ByteRange::parse(rest.get(..slash)?)? else { return None };
        let span = Span::new(first, last)?;
        let complete = match rest.get(slash + 1..)? {
            b"*" => None,
            text => Some(number(text)?),
        };
        complete.is_none_or(|complete| span.last < complete).then_some(Self { span, complete })
    }
}

/// The `Content-Range` of a 206 with one part; `None` when it is not there once, and readable.
pub fn content_range<F: Fields>(fields: &F) -> Option<ContentRange> {
    let mut lines = fields.values(&header::CONTENT_RANGE);
    let line = lines.next()?;
    if lines.next().is_some() { None } else { ContentRange::parse(line) }
}

/// What one 206 brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Part {
    /// The bytes that arrived.
    pub span: Span,
    /// The complete length, where it is known.
    pub complete: Option<u64>,
}

impl Part {
    /// What arrived under `range` when the content, its framing complete, is `length` bytes long. `None`: the two
    /// disagree and `policy` does not settle it, or nothing arrived.
    pub fn of(range: ContentRange, length: u64, policy: ShortPart) -> Option<Self> {
        let said = range.span.length();
        if length == said {
            return Some(Self { span: range.span, complete: range.complete });
        }
        if policy == ShortPart::Refuse || length == 0 || length > said {
            return None;
        }
        let span = Span::new(range.span.first, range.span.first.checked_add(length - 1)?)?;
        let reached_the_end = range.complete == Some(range.span.end());
        let complete = if reached_the_end { Some(span.end()) } else { range.complete };
        Some(Self { span, complete })
    }

    /// What a 206 will bring when its content is as long as it says: for storing while it arrives.
    pub const fn expected(range: ContentRange) -> Self {
        Self { span: range.span, complete: range.complete }
    }
}

/// The parts of one representation that are held: sorted, apart from each other by at least one missing byte.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Held {
    spans: Vec<Span>,
    complete: Option<u64>,
}

/// Whether a request can be served from what is held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// Yes, with these spans.
    Spans(Vec<Span>),
    /// Yes: all of it is held, and all of it is asked for.
    Whole,
    /// No: these bytes are missing.
    Missing(Vec<Span>),
    /// It asks for what there is not: 416.
    Unsatisfiable,
    /// The complete length is not known and decides.
    Unknown,
}

impl Held {
    /// One part.
    pub fn new(part: Part) -> Self {
        Self { spans: vec![part.span], complete: part.complete }
    }

    /// All of a representation of `complete` bytes.
    pub fn whole(complete: u64) -> Self {
        let all = complete.checked_sub(1).and_then(|last| Span::new(0, last));
        Self { spans: all.into_iter().collect(), complete: Some(complete) }
    }

    /// Spans read back; sorted and joined here. Those past `complete` are dropped.
    pub fn from_spans(spans: impl IntoIterator<Item = Span>, complete: Option<u64>) -> Self {
        let mut held = Self { spans: Vec::new(), complete };
        for span in spans {
            if complete.is_none_or(|complete| span.last < complete) {
                held.join(span);
            }
        }
        held
    }

    /// Adds another part of the same representation (see [`may_combine`]); `false`, and nothing changes, when the
    /// lengths show that it is not the same.
    pub fn add(&mut self, part: Part) -> bool {
        let complete = match (self.complete, part.complete) {
            (Some(ours), Some(theirs)) if ours != theirs => return false,
            (ours, theirs) => ours.or(theirs),
        };
        // Spans are sorted and apart, so the last one reaches farthest; but it need not begin behind the part.
        let farthest = self.spans.last().map_or(0, |held| held.last).max(part.span.last);
        if complete.is_some_and(|complete| farthest >= complete) {
            return false;
        }
        self.complete = complete;
        self.join(part.span);
        true
    }

    /// The spans held, sorted.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// The complete length, where it is known.
    pub const fn complete(&self) -> Option<u64> {
        self.complete
    }

    /// Whether nothing is missing.
    pub fn is_whole(&self) -> bool {
        match (self.complete, self.spans.as_slice()) {
            (Some(0), _) => true,
            (Some(complete), [only]) => only.first == 0 && only.end() == complete,
            _ => false,
        }
    }

    /// Whether all of `span` is held.
    pub fn covers(&self, span: Span) -> bool {
        self.spans.iter().any(|held| held.first <= span.first && span.last <= held.last)
    }

    /// What of `span` is missing, in order.
    pub fn missing(&self, span: Span) -> Vec<Span> {
        let mut gaps = Vec::new();
        let mut next = span.first;
        for held in self.spans.iter().filter(|held| held.last >= span.first && held.first <= span.last) {
            gaps.extend(held.first.checked_sub(1).and_then(|before| Span::new(next, before)));
            next = next.max(held.end());
        }
        gaps.extend(Span::new(next, span.last));
        gaps
    }

    /// Whether a request for these ranges, or for all (`None`), can be served from what is held.
    pub fn answer(&self, requested: Option<&Requested>) -> Answer {
        let Some(complete) = self.complete else { return self.answer_without_length(requested) };
        let wanted = match requested.map(|requested| requested.resolve(complete)) {
            Some(Resolved::Unsatisfiable) => return Answer::Unsatisfiable,
            Some(Resolved::Spans(spans)) => Some(spans),
            Some(Resolved::Ignore) | None => None,
        };
        let Some(spans) = wanted else {
            let all = complete.checked_sub(1).and_then(|last| Span::new(0, last));
            let missing = all.map(|all| self.missing(all)).unwrap_or_default();
            return if missing.is_empty() { Answer::Whole } else { Answer::Missing(missing) };
        };
        let missing: Vec<Span> = spans.iter().flat_map(|span| self.missing(*span)).collect();
        if missing.is_empty() { Answer::Spans(spans) } else { Answer::Missing(missing) }
    }

    /// Ranges with both ends can be served though nobody said how long the whole is.
    fn answer_without_length(&self, requested: Option<&Requested>) -> Answer {
        let spans: Option<Vec<Span>> = requested.and_then(|requested| {
            requested
                .ranges()
                .iter()
                .map(|range| match *range {
                    ByteRange::FromTo(first, last) => {
                        Span::new(first, last).filter(|span| self.covers(*span))
                    }
                    ByteRange::From(_) | ByteRange::Suffix(_) => None,
                })
                .collect()
        });
        spans.map_or(Answer::Unknown, Answer::Spans)
    }

    /// The value of `Range` that asks for what `missing` names, in one range so that the answer has one part:
    /// open-ended where it reaches the end. `None` when nothing is missing.
    pub fn rest(&self, missing: &[Span]) -> Option<String> {
        let first = missing.iter().map(|span| span.first).min()?;
        let last = missing.iter().map(|span| span.last).max()?;
        if self.complete == last.checked_add(1) {
            Some(format!("bytes={first}-"))
        } else {
            Some(format!("bytes={first}-{last}"))
        }
    }

    fn join(&mut self, span: Span) {
        let touches = |held: &Span| held.first <= span.end() && span.first <= held.end();
        let mut joined = span;
        for held in self.spans.iter().filter(|held| touches(held)) {
            joined = Span { first: joined.first.min(held.first), last: joined.last.max(held.last) };
        }
        self.spans.retain(|held| !touches(held));
        let at = self.spans.partition_point(|held| held.first < joined.first);
        self.spans.insert(at, joined);
    }
}

/// Whether a 206 brings more of what is stored: both have the same strong validator, and the same coding
/// (RFC 9111 §3.4). Lengths are compared by [`Held::add`].
pub fn may_combine(stored: &HeaderMap, part: &ResponseHead<'_>) -> bool {
    part.status == StatusCode::PARTIAL_CONTENT
        && strong_validator(stored).is_some_and(|validator| Some(validator) == strong_validator(part.fields))
        && stored.get(header::CONTENT_ENCODING) == part.fields.get(header::CONTENT_ENCODING)
}

/// 1*DIGIT; too large a number is not one.
fn number(text: &[u8]) -> Option<u64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_u64, |sum, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        sum.checked_mul(10)?.checked_add(digit)
    })
}
