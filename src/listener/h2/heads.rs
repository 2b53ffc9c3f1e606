//! Heads of answers as header blocks; those that a worker sends most are rendered once.
//!
//! The store keeps lines of HTTP/1. As fields of HTTP/2 they are the same bytes for every connection (`hpack/encoder.rs`), so
//! a worker keeps some blocks, by the object they belong to. A block is kept when its object comes by twice in a row at its
//! place, so a scan over many objects keeps nothing and costs nothing.
//!
//! Invariant: a kept block belongs to the object it is found by (a `Weak` keeps the address from being used again), and
//! keeps nothing else of it alive. RFC 9113 §8.2.2, §8.3.2; RFC 9110 §6.6.1, §8.6.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use cache_store::entry::StoredResponse;
use http::StatusCode;

use super::frame::{
    CONTINUATION, END_HEADERS, END_STREAM, FrameHead, HEAD_BYTES, HEADERS, PAYLOAD_BYTES_MAX,
};
use super::hpack;
use crate::clock::Clock;
use crate::config::limits::H2_HEADS_KEPT;
use crate::listener::h1::DateLine;
use crate::respond::response::{Body, Lines, Response};

/// A worker's rendered blocks.
#[derive(Debug)]
pub(super) struct Heads(RefCell<Box<[Place]>>);

#[derive(Debug, Default)]
struct Place {
    /// The object that came by last.
    of: Weak<StoredResponse>,
    /// Its fields, once it has come by twice, and whether `date` is among them.
    block: Option<(Box<[u8]>, bool)>,
}

impl Default for Heads {
    fn default() -> Self {
        let places = std::iter::repeat_with(Place::default).take(H2_HEADS_KEPT);
        Self(RefCell::new(places.collect()))
    }
}

impl Heads {
    /// Appends the block of an answer.
    #[inline]
    pub(super) fn append(
        &self,
        out: &mut Vec<u8>,
        response: &Response,
        to_head: bool,
        (clock, date): (&Clock, &DateLine),
    ) {
        hpack::status(out, response.status);
        let mut dated = match &response.lines {
            Lines::Stored(stored) => self.fields(out, stored),
            lines => hpack::append_lines(out, lines.as_bytes(), false),
        };
        dated |= hpack::append_lines(out, &response.extra, false);
        if let Some(length) = announced(response.status, &response.body, to_head) {
            hpack::content_length(out, length);
        }
        if !dated {
            date.with(clock, |date| hpack::date(out, date.as_bytes()));
        }
    }

    /// Appends the fields of `stored`, and tells whether `date` is among them.
    #[inline]
    fn fields(&self, out: &mut Vec<u8>, stored: &Arc<StoredResponse>) -> bool {
        let mut places = self.0.borrow_mut();
        // Addresses of one size of object differ by multiples of it, which is not a power of two.
        let at = (Arc::as_ptr(stored).addr() >> 4) % places.len().max(1);
        let Some(place) = places.get_mut(at) else { return false };
        if !std::ptr::eq(place.of.as_ptr(), Arc::as_ptr(stored)) {
            *place = Place { of: Arc::downgrade(stored), block: None };
            return hpack::append_lines(out, stored.lines(), false);
        }
        let (block, dated) = place.block.get_or_insert_with(|| {
            let mut block = Vec::new();
            let dated = hpack::append_lines(&mut block, stored.lines(), true);
            (block.into_boxed_slice(), dated)
        });
        out.extend_from_slice(block);
        *dated
    }
}

/// Appends HEADERS, and CONTINUATION where `block` appends more than a frame holds. RFC 9113 §6.2, §6.10.
#[inline]
pub(super) fn frames(out: &mut Vec<u8>, stream: u32, ends: bool, block: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; HEAD_BYTES]);
    block(out);
    let length = out.len() - at - HEAD_BYTES;
    let flags = if ends { END_STREAM } else { 0 };
    let whole = u32::try_from(length).ok().filter(|length| *length <= PAYLOAD_BYTES_MAX);
    let (length, flags) = whole.map_or((PAYLOAD_BYTES_MAX, flags), |length| (length, flags | END_HEADERS));
    if let Some(head) = out.get_mut(at..at + HEAD_BYTES) {
        head.copy_from_slice(&FrameHead { length, kind: HEADERS, flags, stream }.bytes());
    }
    if whole.is_none() {
        let rest = out.split_off(at + HEAD_BYTES + PAYLOAD_BYTES_MAX as usize);
        let mut chunks = rest.chunks(PAYLOAD_BYTES_MAX as usize).peekable();
        while let Some(chunk) = chunks.next() {
            let flags = if chunks.peek().is_none() { END_HEADERS } else { 0 };
            super::frame::append(out, CONTINUATION, flags, stream, chunk);
        }
    }
}

/// What `content-length` says, if anything.
fn announced(status: StatusCode, body: &Body, to_head: bool) -> Option<u64> {
    match (body, status) {
        (Body::Omitted(length), StatusCode::NOT_MODIFIED) => *length,
        (_, StatusCode::NOT_MODIFIED | StatusCode::NO_CONTENT) => None,
        (body, _) if to_head => body.length(),
        (Body::None | Body::Omitted(_), _) => Some(0),
        (body, _) => body.length(),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use cache_store::entry::Parts;
    use cache_store::rules::Freshness;
    use cache_store::rules::freshness::Windows;
    use cache_store::timestamp::Timestamp;
    use http::{HeaderMap, HeaderValue};

    use super::*;
    use crate::listener::h2::frame::PREFACE;
    use crate::listener::h2::hpack::Decoder;

    fn stored(value: &str) -> Arc<StoredResponse> {
        let mut fields = HeaderMap::new();
        fields.insert("x", HeaderValue::from_str(value).expect("a value"));
        fields.append("y", HeaderValue::from_static("1"));
        fields.append("y", HeaderValue::from_static("2"));
        Arc::new(StoredResponse::new(Parts {
            status: StatusCode::OK,
            fields,
            body: Vec::new(),
            freshness: Freshness::new(Timestamp::from_secs(1), Duration::ZERO, 60, Windows::default(), 0),
            vary: cache_store::rules::VarySpec::default(),
            tags: Box::default(),
            held: None,
            large: None,
            epoch: 0,
        }))
    }

    fn fields(heads: &Heads, stored: &Arc<StoredResponse>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let (mut block, mut fields) = (Vec::new(), Vec::new());
        heads.fields(&mut block, stored);
        let decoded = Decoder::default()
            .decode(&block, |field| fields.push((field.name.to_vec(), field.value.to_vec())));
        decoded.expect("our own block");
        fields
    }

    #[test]
    fn a_head_is_its_objects_own_however_often_and_in_whatever_order_they_come() {
        let heads = Heads::default();
        let objects: Vec<_> = (0..3 * H2_HEADS_KEPT).map(|at| stored(&at.to_string())).collect();
        for round in 0..3 {
            for object in objects.iter().flat_map(|object| std::iter::repeat_n(object, round + 1)) {
                let wanted: Vec<_> =
                    object.field_lines().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
                assert_eq!(fields(&heads, object), wanted);
            }
        }
    }

    #[test]
    fn a_kept_head_does_not_keep_its_object() {
        let heads = Heads::default();
        let object = stored("gone");
        assert_eq!(fields(&heads, &object), fields(&heads, &object));
        let watch = Arc::downgrade(&object);
        drop(object);
        assert!(watch.upgrade().is_none());
    }

    #[test]
    fn a_block_longer_than_a_frame_goes_on_in_continuations() {
        for length in [0, 1, 16_383, 16_384, 16_385, 32_768, 40_000] {
            let mut out = PREFACE.to_vec();
            frames(&mut out, 7, true, |out| out.resize(out.len() + length, b'x'));
            let (mut rest, mut block, mut ended) = (&out[PREFACE.len()..], 0, false);
            while let Some((head, after)) = rest.split_first_chunk::<HEAD_BYTES>() {
                let head = FrameHead::parse(*head);
                assert!(!ended && head.stream == 7 && head.length <= PAYLOAD_BYTES_MAX, "{length}: {head:?}");
                assert_eq!(head.kind, if block == 0 { HEADERS } else { CONTINUATION }, "{length}");
                assert_eq!(head.kind == HEADERS, head.ends_stream(), "{length}");
                ended = head.ends_headers();
                block += head.length as usize;
                rest = &after[head.length as usize..];
            }
            assert!(ended && rest.is_empty());
            assert_eq!(block, length);
        }
    }
}
