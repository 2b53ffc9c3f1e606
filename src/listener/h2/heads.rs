//! Heads of answers in h2's form; those that a worker sends most are decoded once.
//!
//! h2 takes a `HeaderMap`, the store keeps rendered lines; decoding eight lines costs 1.4 µs and cloning the decoded
//! map 0.6 µs, of the 3 to 4 that a hit costs on HTTP/2. So a worker keeps some maps, by the object they belong to.
//! A head is kept when its object comes by twice in a row at its place, so a scan over many objects keeps nothing
//! and costs nothing.
//!
//! Invariant: a kept head belongs to the object it is found by (a `Weak` keeps the address from being used again), and
//! keeps nothing else of it alive: its values share a copy of the lines, not the object's bytes.

use std::cell::RefCell;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use http::header::{CONTENT_LENGTH, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::Connection;
use crate::config::limits::H2_HEADS_KEPT;
use crate::respond::response::{Body, Lines, Response};

/// The head of an answer. RFC 9113 §8.3.2, §8.2.2: no reason phrase, no connection fields.
pub(super) fn head(connection: &Connection, response: &Response, to_head: bool) -> http::Response<()> {
    let Response { status, extra, lines, body, .. } = response;
    let mut fields = match lines {
        Lines::Stored(stored) => connection.heads.fields(stored),
        Lines::Own(lines) => {
            let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
            append(&mut fields, lines);
            fields
        }
    };
    append(&mut fields, &Bytes::copy_from_slice(extra));
    if let Some(length) = announced(*status, body, to_head) {
        fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    if !fields.contains_key(DATE) {
        fields.insert(DATE, connection.date.value(&connection.clock));
    }
    let mut head = http::Response::new(());
    *head.status_mut() = *status;
    *head.headers_mut() = fields;
    head
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

/// Reads `name: value CRLF …` into `fields`; values share the bytes. Lines were rendered by us: what is no field is
/// left out, and so is what only HTTP/1 may say.
fn append(fields: &mut HeaderMap, lines: &Bytes) {
    let mut rest = &lines[..];
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, later) = rest.split_at(end + 1);
        rest = later;
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            continue;
        };
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name), HeaderValue::from_maybe_shared(lines.slice_ref(value)))
        else {
            continue;
        };
        if !is_of_http1(&name) {
            fields.append(name, value);
        }
    }
}

fn is_of_http1(name: &HeaderName) -> bool {
    use http::header::{CONNECTION, TE, TRANSFER_ENCODING, UPGRADE};
    *name == CONNECTION
        || *name == TRANSFER_ENCODING
        || *name == UPGRADE
        || *name == TE
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// A worker's decoded heads.
#[derive(Debug)]
pub(super) struct Heads(RefCell<Box<[Place]>>);

#[derive(Debug, Default)]
struct Place {
    /// The object that came by last.
    of: Weak<StoredResponse>,
    /// Its head, once it has come by twice.
    head: Option<HeaderMap>,
}

impl Default for Heads {
    fn default() -> Self {
        let places = std::iter::repeat_with(Place::default).take(H2_HEADS_KEPT);
        Self(RefCell::new(places.collect()))
    }
}

impl Heads {
    /// The fields of `stored`, with room for a few more.
    pub(super) fn fields(&self, stored: &Arc<StoredResponse>) -> HeaderMap {
        let mut places = self.0.borrow_mut();
        let address = Arc::as_ptr(stored).addr();
        // Addresses of one size of object differ by multiples of it, which is not a power of two.
        let at = (address >> 4) % places.len().max(1);
        let Some(place) = places.get_mut(at) else { return decode(stored) };
        if std::ptr::eq(place.of.as_ptr(), Arc::as_ptr(stored)) {
            return place.head.get_or_insert_with(|| decode(stored)).clone();
        }
        *place = Place { of: Arc::downgrade(stored), head: None };
        decode(stored)
    }
}

fn decode(stored: &StoredResponse) -> HeaderMap {
    let mut fields = HeaderMap::with_capacity(FIELDS_USUAL);
    // A copy: the object's own bytes hold its body too, and their count is shared by all workers.
    append(&mut fields, &Bytes::copy_from_slice(stored.lines()));
    fields
}

/// Room for the fields of a usual answer.
const FIELDS_USUAL: usize = 16;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use cache_store::entry::Parts;
    use cache_store::rules::Freshness;
    use cache_store::rules::freshness::Windows;
    use cache_store::timestamp::Timestamp;

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

    #[test]
    fn a_head_is_its_objects_own_however_often_and_in_whatever_order_they_come() {
        let heads = Heads::default();
        let objects: Vec<_> = (0..3 * H2_HEADS_KEPT).map(|at| stored(&at.to_string())).collect();
        for round in 0..3 {
            for object in objects.iter().flat_map(|object| std::iter::repeat_n(object, round + 1)) {
                assert_eq!(heads.fields(object), object.fields());
            }
        }
    }

    #[test]
    fn a_kept_head_does_not_keep_its_object() {
        let heads = Heads::default();
        let object = stored("gone");
        let (one, two) = (heads.fields(&object), heads.fields(&object));
        assert_eq!(one, two);
        let watch = Arc::downgrade(&object);
        drop(object);
        assert!(watch.upgrade().is_none());
    }
}
