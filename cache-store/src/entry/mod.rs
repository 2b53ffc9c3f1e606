//! A response as the store keeps it: immutable, packed, ready to be written.
//!
//! Head lines and a small body lie in one run of bytes, in the order in which HTTP/1.1 sends them, so that a hit copies
//! or writes them at once: `name: value CRLF … CRLF body`. A larger body is a list of chunks, in the memory tier's arena
//! where there is one, so that a plain socket can send it without a copy ([`StoredResponse::lendable`]; `body.rs`). One that is too
//! large for memory lies on disk ([`StoredResponse::large`]), where its chunks may be missing. Everything a hit must decide is frozen
//! beside it as numbers ([`Freshness`]) when the response is stored or validated.
//!
//! It may have encoded forms (`form.rs`), each a stored response that is found through it alone.
//!
//! Invariant: `lines` never hold hop-by-hop fields nor `Content-Length` (framing is the sender's), and the body is
//! complete: it was proven so by its framing before this type existed. A stored partial names the spans it holds.

mod body;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use crate::atomic::{AtomicU64, Ordering};
use crate::form::{Form, Forms};
use crate::large::Large;
use crate::purge::TagSketch;
use crate::rules::coding::Coding;
use crate::rules::partial::Held;
use crate::rules::reuse::Purged;
use crate::rules::validator::strong_validator;
use crate::rules::{Freshness, VarySpec};
use crate::tiers::admit::Tick;
use crate::tiers::arena::Arena;
pub use crate::tiers::arena::Lendable;
use crate::timestamp::Timestamp;
use crate::weight::{allocated, shared};

use self::body::{BYTES_SHARED_BYTES, Chunks, StoredBody, is_inline, pack_chunks};

pub use self::body::BodyPieces;

/// Purge epoch: how many purges had been applied.
pub type Epoch = u64;

/// One stored response.
#[derive(Debug)]
pub struct StoredResponse {
    /// Lines, an empty line, and the body if it is short enough.
    blob: Bytes,
    lines_len: u32,
    status: StatusCode,
    /// A full disk takes it at a later request, which has not come yet: 0 where none is waited for, or the [`Tick`] of its coming
    /// and one.
    owed: AtomicU8,
    /// [`StoredResponse::coding_notes`].
    coding_notes: AtomicU8,
    /// Parts that few responses have, boxed together to keep the rest small.
    rare: Option<Box<Rare>>,
    body: StoredBody,
    /// When it is fresh and how long it may be served stale.
    pub freshness: Freshness,
    /// The purge epoch when its origin request started, or the last at which it was looked at and found whole.
    epoch: AtomicU64,
    /// The moment of the soft purge that reached it, in milliseconds; [`NOT_PURGED`] or [`PURGED_HARD`].
    purged: AtomicU64,
    /// The round of `tiers::sizing` in which every size was seen to have it; none has number 0.
    settled: AtomicU32,
    /// Whether a line is its `Date`.
    has_date: bool,
    /// Of its tags, which lie farther away.
    tag_sketch: TagSketch,
}

#[derive(Debug, Default)]
struct Rare {
    vary: VarySpec,
    tags: Box<[Box<str>]>,
    held: Option<Held>,
    /// The same in other codings.
    forms: Option<Forms>,
    /// What it is a form in, if it is one.
    coding: Option<Coding>,
}

/// What a [`StoredResponse`] is made from.
#[derive(Debug)]
pub struct Parts {
    /// Final status.
    pub status: StatusCode,
    /// Fields to keep, without hop-by-hop ones (`rules::retained`); `Content-Length` and `Age` are left out here.
    pub fields: HeaderMap,
    /// The whole body, in pieces; none where it lies in `large` alone.
    pub body: Vec<Bytes>,
    /// The body on disk, if it is large; its length is known.
    pub large: Option<Arc<Large>>,
    /// Frozen times.
    pub freshness: Freshness,
    /// Request fields it depends on.
    pub vary: VarySpec,
    /// Surrogate keys.
    pub tags: Box<[Box<str>]>,
    /// For a stored partial: the spans of the representation that `body` is, one after another. Its status is then the
    /// one that the whole would have: 200.
    pub held: Option<Held>,
    /// The purge epoch when the origin request started.
    pub epoch: Epoch,
}

/// A response packed before, as a disk brings it back.
#[derive(Debug)]
pub(crate) struct Packed {
    /// Final status.
    pub(crate) status: StatusCode,
    /// Lines, an empty line, and the whole body.
    pub(crate) blob: Bytes,
    /// Length of the lines.
    pub(crate) lines_len: u32,
    /// Frozen times.
    pub(crate) freshness: Freshness,
    /// Request fields it depends on.
    pub(crate) vary: VarySpec,
    /// Surrogate keys.
    pub(crate) tags: Box<[Box<str>]>,
    /// For a stored partial: its spans.
    pub(crate) held: Option<Held>,
    /// The epoch it belongs to from now on.
    pub(crate) epoch: Epoch,
    /// [`StoredResponse::purge_mark`].
    pub(crate) purge_mark: u64,
}

impl StoredResponse {
    /// A response from its packed form, sharing the bytes but for a body that is worth a place in `arena`; `None` where they
    /// are not such a form.
    pub(crate) fn from_packed(packed: Packed, arena: Option<&Arc<Arena>>) -> Option<Self> {
        let Packed { status, blob, lines_len, freshness, vary, tags, held, epoch, purge_mark } = packed;
        let end = (lines_len as usize).checked_add(2)?;
        if blob.get(lines_len as usize..end)? != b"\r\n"
            || (lines_len > 0 && !blob.get(..end - 2)?.ends_with(b"\r\n"))
        {
            return None;
        }
        let body = blob.slice(end..);
        let spanned = held.as_ref().map(|held| held.spans().iter().map(|span| span.length()).sum::<u64>());
        if spanned.is_some_and(|spanned| spanned != body.len() as u64) {
            return None;
        }
        let (blob, body) = if is_inline(body.len(), arena) {
            (blob, StoredBody::Inline)
        } else {
            let len = body.len();
            let pieces = pack_chunks(&[body], len, arena);
            let chunks = Chunks { pieces, len: len as u64, large: None, arena: arena.cloned() };
            // A head of its own: the record's memory goes.
            (Bytes::copy_from_slice(blob.get(..end)?), StoredBody::Chunks(Arc::new(chunks)))
        };
        let tag_sketch = TagSketch::of(&tags);
        let rare = (!vary.is_empty() || !tags.is_empty() || held.is_some())
            .then(|| Box::new(Rare { vary, tags, held, ..Rare::default() }));
        let mut lines = blob.get(..lines_len as usize)?.split(|byte| *byte == b'\n');
        let has_date =
            lines.any(|line| line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:")));
        Some(Self {
            has_date,
            tag_sketch,
            blob,
            lines_len,
            status,
            owed: AtomicU8::new(0),
            settled: AtomicU32::new(0),
            coding_notes: AtomicU8::new(0),
            rare,
            body,
            freshness,
            epoch: AtomicU64::new(epoch),
            purged: AtomicU64::new(purge_mark),
        })
    }

    /// A response whose body lies on disk, from its packed head; `None` where the bytes are no such form.
    pub(crate) fn from_packed_large(
        packed: Packed,
        large: impl FnOnce(Option<HeaderValue>) -> Arc<Large>,
    ) -> Option<Self> {
        let mut stored = Self::from_packed(packed, None)?;
        let large = large(strong_validator(&stored.fields()).cloned());
        if stored.body_len() > 0 || stored.held().is_some() || large.length().is_none() {
            return None;
        }
        stored.body = StoredBody::on_disk(large);
        Some(stored)
    }

    /// Packs a response on the heap. Copies head and body once; pieces of larger buffers are let go.
    pub fn new(parts: Parts) -> Self {
        Self::new_in(None, parts)
    }

    /// Packs a response, a body that is worth it in `arena`. A body that lies there already is shared.
    pub(crate) fn new_in(arena: Option<&Arc<Arena>>, parts: Parts) -> Self {
        let Parts { status, fields, body, large, freshness, vary, tags, held, epoch } = parts;
        let body_len: usize = body.iter().map(Bytes::len).sum();
        let inline = is_inline(body_len, arena) && large.is_none();
        let lines_len: usize =
            stored_lines(&fields).map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        let mut blob = Vec::with_capacity(lines_len + 2 + if inline { body_len } else { 0 });
        for (name, value) in stored_lines(&fields) {
            blob.extend_from_slice(name.as_str().as_bytes());
            blob.extend_from_slice(b": ");
            blob.extend_from_slice(value.as_bytes());
            blob.extend_from_slice(b"\r\n");
        }
        let lines_len = u32::try_from(blob.len()).unwrap_or(u32::MAX);
        let has_date = fields.contains_key(header::DATE);
        blob.extend_from_slice(b"\r\n");
        let body = if inline {
            for piece in &body {
                blob.extend_from_slice(piece);
            }
            StoredBody::Inline
        } else if body.is_empty()
            && let Some(large) = large
        {
            StoredBody::on_disk(large)
        } else {
            let pieces = match arena {
                Some(arena) if body.iter().all(|piece| arena.is_extent(piece)) => body.into(),
                _ => pack_chunks(&body, body_len, arena),
            };
            let chunks = Chunks { pieces, len: body_len as u64, large, arena: arena.cloned() };
            StoredBody::Chunks(Arc::new(chunks))
        };
        let tag_sketch = TagSketch::of(&tags);
        let rare = (!vary.is_empty() || !tags.is_empty() || held.is_some())
            .then(|| Box::new(Rare { vary, tags, held, ..Rare::default() }));
        Self {
            has_date,
            tag_sketch,
            blob: Bytes::from(blob),
            lines_len,
            status,
            owed: AtomicU8::new(0),
            settled: AtomicU32::new(0),
            coding_notes: AtomicU8::new(0),
            rare,
            body,
            freshness,
            epoch: AtomicU64::new(epoch),
            purged: AtomicU64::new(NOT_PURGED),
        }
    }

    /// The same in every respect, with one more form or another; what the purges say is said of both.
    pub(crate) fn with_form(&self, coding: Coding, form: Form) -> Self {
        // The epoch first: what is marked between the two is then at worst looked up once more.
        let epoch = self.epoch();
        let rare = Rare {
            vary: self.vary().clone(),
            tags: self.tags().into(),
            held: self.held().cloned(),
            forms: Some(Forms::with(self.known_forms(), coding, form)),
            coding: self.coding(),
        };
        Self {
            has_date: self.has_date,
            tag_sketch: self.tag_sketch,
            blob: self.blob.clone(),
            lines_len: self.lines_len,
            status: self.status,
            owed: AtomicU8::new(self.owed.load(Ordering::Acquire)),
            settled: AtomicU32::new(0),
            coding_notes: AtomicU8::new(self.coding_notes()),
            rare: Some(Box::new(rare)),
            body: self.body.clone(),
            freshness: self.freshness,
            epoch: AtomicU64::new(epoch),
            purged: AtomicU64::new(self.purge_mark()),
        }
    }

    /// The same as a form in `coding`.
    pub(crate) fn in_coding(mut self, coding: Coding) -> Self {
        self.rare.get_or_insert_default().coding = Some(coding);
        self
    }

    /// Takes over the forms of `base`, whose body it has under another head.
    pub(crate) fn take_forms(&mut self, base: &Self, pack: impl Fn(Parts) -> Self) {
        let fits = self.held().is_none() && base.held().is_none() && self.body_len() == base.body_len();
        if let Some(forms) = base.known_forms().filter(|_| fits) {
            self.rare.get_or_insert_default().forms = Some(forms.under(self, pack));
        }
    }

    /// Whether it is the same stored response: this one, or this one with other forms.
    #[inline]
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
            || (self.blob.as_ptr() == other.blob.as_ptr() && self.lines_len == other.lines_len)
    }

    /// It in `coding`, if that has been made.
    #[inline]
    pub fn form(&self, coding: Coding) -> Option<&Form> {
        self.known_forms()?.of(coding)
    }

    #[inline]
    fn known_forms(&self) -> Option<&Forms> {
        self.rare.as_ref()?.forms.as_ref()
    }

    /// All its forms.
    pub fn forms(&self) -> impl Iterator<Item = (Coding, &Form)> {
        Coding::ALL.into_iter().filter_map(|coding| Some((coding, self.form(coding)?)))
    }

    /// The coding it was encoded in here, if it is a form.
    #[inline]
    pub fn coding(&self) -> Option<Coding> {
        self.rare.as_ref()?.coding
    }

    /// Bits in which whoever serves it keeps what is to be known about encoding it; none at first.
    #[inline]
    pub fn coding_notes(&self) -> u8 {
        self.coding_notes.load(Ordering::Relaxed)
    }

    /// Sets bits of them; what was set before.
    pub fn note_coding(&self, bits: u8) -> u8 {
        self.coding_notes.fetch_or(bits, Ordering::Relaxed)
    }

    /// Takes bits of them back.
    pub fn forget_coding(&self, bits: u8) {
        self.coding_notes.fetch_and(!bits, Ordering::Relaxed);
    }

    /// The final status.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// Header lines in HTTP/1 form, each ended by CRLF, without the empty line.
    pub fn lines(&self) -> &[u8] {
        self.blob.get(..self.lines_len as usize).unwrap_or_default()
    }

    /// Whether a line is its `Date`, which nearly all have.
    #[inline]
    pub const fn has_date(&self) -> bool {
        self.has_date
    }

    /// The header lines, the empty line and, if [`StoredResponse::is_inline`], the whole body: one write.
    pub fn lines_and_inline_body(&self) -> &[u8] {
        &self.blob
    }

    /// Whether the body lies behind the lines.
    pub const fn is_inline(&self) -> bool {
        matches!(self.body, StoredBody::Inline)
    }

    /// Length of the body in bytes.
    pub fn body_len(&self) -> u64 {
        match &self.body {
            StoredBody::Inline => (self.blob.len() as u64).saturating_sub(u64::from(self.lines_len) + 2),
            StoredBody::Chunks(chunks) => match chunks.large_alone() {
                Some(large) => large.length().unwrap_or_default(),
                None => chunks.len,
            },
        }
    }

    /// The body where it lies on disk and not in memory: [`StoredResponse::body`] has none of it.
    #[inline]
    pub fn large(&self) -> Option<&Arc<Large>> {
        match &self.body {
            StoredBody::Chunks(chunks) => chunks.large_alone(),
            StoredBody::Inline => None,
        }
    }

    /// The body as it lies on disk, in memory or not.
    pub(crate) fn on_disk(&self) -> Option<&Arc<Large>> {
        match &self.body {
            StoredBody::Chunks(chunks) => chunks.large.as_ref(),
            StoredBody::Inline => None,
        }
    }

    /// A piece of the body, or a part of one, as a socket may be lent it instead of a copy, if it lies where that can be
    /// done.
    #[inline]
    pub fn lendable<'p>(&self, piece: &'p [u8]) -> Option<Lendable<'p>> {
        let StoredBody::Chunks(chunks) = &self.body else { return None };
        chunks.arena.as_ref()?.lendable(piece)
    }

    /// The body's pieces in order, sharing the stored bytes; none of a body on disk.
    pub fn body(&self) -> BodyPieces {
        match &self.body {
            StoredBody::Inline => {
                let at = (self.lines_len as usize + 2).min(self.blob.len());
                BodyPieces { one: Some(self.blob.slice(at..)), chunks: None, next: 0 }
            }
            StoredBody::Chunks(chunks) => BodyPieces { one: None, chunks: Some(Arc::clone(chunks)), next: 0 },
        }
    }

    /// The pieces of bytes `range` of the body; what lies outside the body is left out.
    pub fn slice(&self, range: std::ops::Range<u64>) -> Vec<Bytes> {
        let mut at = 0u64;
        let mut pieces = Vec::new();
        for piece in self.body() {
            let end = at + piece.len() as u64;
            let from = range.start.clamp(at, end) - at;
            let to = range.end.clamp(at, end) - at;
            if from < to {
                #[allow(clippy::cast_possible_truncation)]
                // both lie within the piece, whose length is a usize
                pieces.push(piece.slice(from as usize..to as usize));
            }
            at = end;
        }
        pieces
    }

    /// The stored fields, decoded again. Allocates; not for the hit path of HTTP/1.
    pub fn fields(&self) -> HeaderMap {
        let mut fields = HeaderMap::new();
        for (name, value) in self.field_lines() {
            let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) else {
                continue;
            };
            fields.append(name, value);
        }
        fields
    }

    /// Name and value of every stored line, in order.
    pub fn field_lines(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.lines().split(|byte| *byte == b'\n').filter_map(|line| {
            let line = line.strip_suffix(b"\r")?;
            let colon = line.iter().position(|byte| *byte == b':')?;
            Some((line.get(..colon)?, line.get(colon + 2..)?))
        })
    }

    /// The value of the first stored line with this name (lower case).
    pub fn field(&self, name: &str) -> Option<&[u8]> {
        self.field_lines()
            .find(|(text, _)| text.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The request fields it depends on.
    #[inline]
    pub fn vary(&self) -> &VarySpec {
        static EMPTY: std::sync::LazyLock<VarySpec> = std::sync::LazyLock::new(VarySpec::default);
        self.rare.as_ref().map_or_else(|| &*EMPTY, |rare| &rare.vary)
    }

    /// Whether it answers every request for its key.
    #[inline]
    pub fn varies(&self) -> bool {
        self.rare.as_ref().is_some_and(|rare| !rare.vary.is_empty())
    }

    /// What can be said of its surrogate keys without a look at them.
    #[inline]
    pub(crate) const fn tag_sketch(&self) -> TagSketch {
        self.tag_sketch
    }

    /// Its surrogate keys.
    pub fn tags(&self) -> &[Box<str>] {
        self.rare.as_ref().map(|rare| &*rare.tags).unwrap_or_default()
    }

    /// For a stored partial, which spans of the representation its body is.
    #[inline]
    pub fn held(&self) -> Option<&Held> {
        self.rare.as_ref()?.held.as_ref()
    }

    /// The parts again, with the body shared, to make an updated response from (RFC 9111 §4.3.4).
    pub fn to_parts(&self) -> Parts {
        Parts {
            status: self.status,
            fields: self.fields(),
            body: self.body().collect(),
            large: self.on_disk().cloned(),
            freshness: self.freshness,
            vary: self.vary().clone(),
            tags: self.tags().into(),
            held: self.held().cloned(),
            epoch: self.epoch(),
        }
    }

    /// Bytes it costs in memory: every allocation, rounded up as the allocator does.
    pub fn weight(&self) -> usize {
        let body = match &self.body {
            StoredBody::Inline => 0,
            StoredBody::Chunks(chunks) => chunks.weight(),
        };
        let rare = self
            .rare
            .as_ref()
            .map_or(0, |rare| allocated(size_of::<Rare>()) + vary_bytes(&rare.vary) + tag_bytes(&rare.tags));
        let forms = self.known_forms().map_or(0, Forms::weight);
        shared(size_of::<Self>()) + allocated(self.blob.len()) + BYTES_SHARED_BYTES + body + rare + forms
    }

    /// The round in which every size of `tiers::sizing` was seen to have it.
    #[inline]
    pub(crate) fn settled(&self) -> u32 {
        self.settled.load(Ordering::Relaxed)
    }

    /// Every size was, in this round.
    pub(crate) fn settle(&self, round: u32) {
        self.settled.store(round, Ordering::Relaxed);
    }

    /// The disk gets it when it is asked for later; it came at `now`.
    pub(crate) fn owe(&self, now: Tick) {
        self.owed.store(now.0 + 1, Ordering::Release);
    }

    /// When it came, if the disk is still to get it.
    #[inline]
    pub(crate) fn owed_since(&self) -> Option<Tick> {
        self.owed.load(Ordering::Acquire).checked_sub(1).map(Tick)
    }

    /// Whether the disk was still to get it; from now on no longer.
    pub(crate) fn take_owed(&self) -> bool {
        self.owed.swap(0, Ordering::AcqRel) != 0
    }

    /// What the purges say about it.
    #[inline]
    pub fn purged(&self) -> Purged {
        match self.purged.load(Ordering::Acquire) {
            NOT_PURGED => Purged::No,
            PURGED_HARD => Purged::Hard,
            at => Purged::Soft(Timestamp::from_millis(at)),
        }
    }

    /// Up to which purge epoch its mark is known.
    #[inline]
    pub fn epoch(&self) -> Epoch {
        self.epoch.load(Ordering::Acquire)
    }

    /// Its mark has been made good up to this epoch.
    pub(crate) fn checked(&self, epoch: Epoch) {
        self.epoch.fetch_max(epoch, Ordering::AcqRel);
    }

    /// What the purges say about it, as a number to write down.
    pub(crate) fn purge_mark(&self) -> u64 {
        self.purged.load(Ordering::Acquire)
    }

    /// Marks it purged; whether that makes it less than it was. A hard purge stays; of several soft ones the first counts.
    pub(crate) fn purge(&self, purged: Purged) -> bool {
        let mark = match purged {
            Purged::No => return false,
            Purged::Hard => PURGED_HARD,
            Purged::Soft(at) => at.as_millis().clamp(PURGED_HARD + 1, NOT_PURGED - 1),
        };
        self.purged.fetch_min(mark, Ordering::AcqRel) > mark
    }
}

/// Framing is the sender's, and `Age` is computed anew for every answer.
fn stored_lines(fields: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    fields.iter().filter(|(name, _)| **name != header::CONTENT_LENGTH && **name != header::AGE)
}

fn vary_bytes(vary: &VarySpec) -> usize {
    vary.entries().map(|(name, value)| name.as_str().len() + value.map_or(0, <[u8]>::len) + 64).sum()
}

/// What tags weigh.
pub(crate) fn tag_bytes(tags: &[Box<str>]) -> usize {
    allocated(size_of_val(tags)) + tags.iter().map(|tag| allocated(tag.len())).sum::<usize>()
}

const NOT_PURGED: u64 = u64::MAX;
const PURGED_HARD: u64 = 0;
