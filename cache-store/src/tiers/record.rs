//! What a key leads to, as bytes on a disk, and back.
//!
//! ```text
//! format kind │ response: primary-key authority target status times epoch purged vary tags held lines-length │ lines CRLF body
//!             │ large: as a response, the manifest in place of the body
//!             │ variants: (key, vary) …
//! ```
//!
//! Little endian, every list preceded by its length. The tail of a response is what memory keeps of it, so reading one
//! back copies nothing: the lines and the body are slices of the record. Called by `disk/`, which checks a record's
//! checksum before it comes here.
//!
//! Invariant: any bytes decode or do not; none panics, none makes a response that could not have been stored. What an
//! older or newer format wrote does not decode, and is a miss.
//!
//! Deliberately absent: whose record it is (the log under it knows the key).

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes};
use http::{HeaderName, StatusCode};

use super::arena::Arena;
use super::manifest::Manifest;
use super::objects::Slot;
use super::shelf::Shelf;
use crate::cursor::Cursor;
use crate::entry::{Epoch, Packed, StoredResponse};
use crate::key::CacheKey;
use crate::large::Large;
use crate::lookup::{Variant, Variants};
use crate::purge::Resource;
use crate::rules::freshness::Windows;
use crate::rules::partial::{Held, Span};
use crate::rules::{Freshness, VarySpec};
use crate::stock::{Address, Item};
use crate::timestamp::Timestamp;

/// Appends a slot. Costs one copy of head and body.
pub(crate) fn encode(resource: &Resource<'_>, slot: &Slot, out: &mut Vec<u8>) {
    out.put_u8(FORMAT);
    match slot {
        Slot::Response(stored) => {
            out.put_u8(if stored.on_disk().is_some() { LARGE } else { RESPONSE });
            out.put_u128_le(resource.key.bits());
            text(resource.authority, out);
            text(resource.target, out);
            response(stored, out);
        }
        Slot::Variants(variants) => {
            out.put_u8(VARIANTS);
            out.put_u16_le(count(variants.iter().count()));
            for variant in variants.iter().take(LIST_MAX) {
                out.put_u128_le(variant.key.bits());
                vary(&variant.vary, out);
            }
        }
    }
}

/// About how long [`encode`] makes a slot: what to reserve.
pub(crate) fn encoded_bytes(resource: &Resource<'_>, slot: &Slot) -> usize {
    match slot {
        Slot::Response(stored) => {
            let body = match stored.on_disk() {
                Some(_) => 0,
                None => usize::try_from(stored.body_len()).unwrap_or(usize::MAX),
            };
            body.saturating_add(beside_bytes(resource, stored))
        }
        Slot::Variants(variants) => variants.weight(),
    }
}

/// …without a body that lies in the record.
pub(crate) fn beside_bytes(resource: &Resource<'_>, stored: &StoredResponse) -> usize {
    let url = resource.authority.len() + resource.target.len();
    stored.on_disk().map_or(0, |large| large.weight()).saturating_add(stored.lines().len() + url + 160)
}

/// Reads a slot back; a body worth it gets its place in `arena`, and one in chunks has them on `shelf`.
pub(crate) fn decode(record: &Bytes, arena: Option<&Arc<Arena>>, shelf: Option<&Arc<Shelf>>) -> Option<Slot> {
    let mut from = Cursor::new(record);
    if from.u8()? != FORMAT {
        return None;
    }
    match from.u8()? {
        RESPONSE => {
            skip_url(&mut from)?;
            let packed = read_response(&mut from, record)?;
            Some(Slot::Response(StoredResponse::from_packed(packed, arena)?.into()))
        }
        LARGE => {
            skip_url(&mut from)?;
            Some(Slot::Response(read_large(&mut from, record, shelf?)?.into()))
        }
        VARIANTS => {
            let mut variants = Vec::new();
            for _ in 0..from.u16()? {
                let key = CacheKey::from_bits(from.u128()?);
                variants.push(Variant { key, vary: read_vary(&mut from)? });
            }
            (from.at == record.len()).then(|| Slot::Variants(Variants::from_list(variants).into()))
        }
        _ => None,
    }
}

/// What the stock is to know of a response that was written down; `None` where the record is none.
pub(crate) fn item(record: &Bytes) -> Option<Item> {
    let mut from = Cursor::new(record);
    if from.u8()? != FORMAT {
        return None;
    }
    let kind = from.u8()?;
    if kind != RESPONSE && kind != LARGE {
        return None;
    }
    let key = CacheKey::from_bits(from.u128()?);
    let (authority, target) = (from.text()?, from.text()?);
    if authority.is_empty() {
        // Written by whoever did not know it: it was beyond the stock's share.
        return None;
    }
    let address = Address::of(&Resource { key, authority, target });
    let Packed { blob, lines_len, tags, epoch, .. } = read_response(&mut from, record)?;
    let body = blob.get((lines_len as usize).checked_add(2)?..)?;
    let body_len = if kind == LARGE { Manifest::decode(body).ok()?.length()? } else { body.len() as u64 };
    let bytes = u64::from(lines_len).saturating_add(body_len);
    Some(Item { primary: key, address, tags, bytes, epoch })
}

/// The epoch of a response that was written down; `None` where the record is none.
pub(crate) fn epoch(record: &Bytes) -> Option<Epoch> {
    let mut from = Cursor::new(record);
    if from.u8()? != FORMAT || !matches!(from.u8()?, RESPONSE | LARGE) {
        return None;
    }
    skip_url(&mut from)?;
    read_response(&mut from, record).map(|packed| packed.epoch)
}

fn skip_url(from: &mut Cursor<'_>) -> Option<()> {
    from.u128()?;
    from.text()?;
    from.text().map(drop)
}

fn response(stored: &StoredResponse, out: &mut Vec<u8>) {
    let freshness = &stored.freshness;
    let windows = freshness.windows();
    out.put_u16_le(stored.status().as_u16());
    out.put_u8(freshness.flags());
    out.put_u64_le(freshness.received().as_millis());
    out.put_u64_le(u64::try_from(freshness.initial_age().as_millis()).unwrap_or(u64::MAX));
    out.put_u32_le(freshness.lifetime_secs());
    out.put_u32_le(windows.while_revalidate_secs);
    out.put_u32_le(windows.if_error_secs);
    // The epoch first: what is marked between the two is then at worst looked up once more.
    out.put_u64_le(stored.epoch());
    out.put_u64_le(stored.purge_mark());
    vary(stored.vary(), out);
    let tags = stored.tags();
    out.put_u16_le(count(tags.len()));
    for tag in tags.iter().take(LIST_MAX) {
        text(tag.as_bytes(), out);
    }
    match stored.held() {
        None => out.put_u8(0),
        Some(held) => {
            out.put_u8(1);
            out.put_u64_le(held.complete().unwrap_or(u64::MAX));
            out.put_u16_le(count(held.spans().len()));
            for span in held.spans().iter().take(LIST_MAX) {
                out.put_u64_le(span.first());
                out.put_u64_le(span.last());
            }
        }
    }
    out.put_u32_le(u32::try_from(stored.lines().len()).unwrap_or(u32::MAX));
    out.extend_from_slice(stored.lines());
    out.extend_from_slice(b"\r\n");
    if let Some(large) = stored.on_disk() {
        return out.extend_from_slice(&large.encode());
    }
    for piece in stored.body() {
        out.extend_from_slice(&piece);
    }
}

fn read_large(from: &mut Cursor<'_>, record: &Bytes, shelf: &Arc<Shelf>) -> Option<StoredResponse> {
    let mut packed = read_response(from, record)?;
    let manifest = packed.blob.split_off((packed.lines_len as usize).checked_add(2)?.min(packed.blob.len()));
    let manifest = Manifest::decode(&manifest).ok()?;
    // A head of its own: the record's memory goes.
    packed.blob = Bytes::copy_from_slice(&packed.blob);
    StoredResponse::from_packed_large(packed, |validator| Large::of(shelf, manifest, validator))
}

fn read_response(from: &mut Cursor<'_>, record: &Bytes) -> Option<Packed> {
    let status = StatusCode::from_u16(from.u16()?).ok()?;
    let flags = from.u8()?;
    let received = Timestamp::from_millis(from.u64()?);
    let initial_age = Duration::from_millis(from.u64()?);
    let lifetime_secs = from.u32()?;
    let windows = Windows { while_revalidate_secs: from.u32()?, if_error_secs: from.u32()? };
    let freshness = Freshness::new(received, initial_age, lifetime_secs, windows, flags);
    let epoch = from.u64()?;
    let purge_mark = from.u64()?;
    let vary = read_vary(from)?;
    let mut tags = Vec::new();
    for _ in 0..from.u16()? {
        tags.push(std::str::from_utf8(from.text()?).ok()?.into());
    }
    let held = match from.u8()? {
        0 => None,
        1 => {
            let complete = Some(from.u64()?).filter(|complete| *complete != u64::MAX);
            let mut spans = Vec::new();
            for _ in 0..from.u16()? {
                spans.push(Span::new(from.u64()?, from.u64()?)?);
            }
            Some(Held::from_spans(spans, complete))
        }
        _ => return None,
    };
    let lines_len = from.u32()?;
    let blob = record.slice(from.at..);
    Some(Packed { status, blob, lines_len, freshness, vary, tags: tags.into(), held, epoch, purge_mark })
}

fn vary(vary: &VarySpec, out: &mut Vec<u8>) {
    out.put_u16_le(count(vary.entries().count()));
    for (name, value) in vary.entries().take(LIST_MAX) {
        text(name.as_str().as_bytes(), out);
        maybe(value, out);
    }
    maybe(vary.language(), out);
}

fn read_vary(from: &mut Cursor<'_>) -> Option<VarySpec> {
    let mut entries = Vec::new();
    for _ in 0..from.u16()? {
        let name = HeaderName::from_bytes(from.text()?).ok()?;
        entries.push((name, read_maybe(from)?.map(Into::into)));
    }
    let language = read_maybe(from)?.map(Into::into);
    Some(VarySpec::from_entries(entries, language))
}

fn text(bytes: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

fn maybe(bytes: Option<&[u8]>, out: &mut Vec<u8>) {
    out.put_u8(u8::from(bytes.is_some()));
    text(bytes.unwrap_or_default(), out);
}

/// A length as written; everything that is listed is bounded far below.
fn count(length: usize) -> u16 {
    u16::try_from(length).unwrap_or(u16::MAX)
}

#[allow(clippy::option_option)] // the outer one: the record ends; the inner one: it says there is none
fn read_maybe<'a>(from: &mut Cursor<'a>) -> Option<Option<&'a [u8]>> {
    let there = match from.u8()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let text = from.text()?;
    Some(there.then_some(text))
}

/// Changes with every change of what is written.
const FORMAT: u8 = 3;
const RESPONSE: u8 = 1;
const VARIANTS: u8 = 2;
const LARGE: u8 = 3;
/// Entries of any one list: above every bound that the store itself keeps.
const LIST_MAX: usize = u16::MAX as usize;

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::entry::Parts;

    fn stored(body: &'static [u8], rare: bool) -> StoredResponse {
        let mut fields = HeaderMap::new();
        fields.insert("content-type", HeaderValue::from_static("text/plain"));
        fields.append("x-a", HeaderValue::from_static("1"));
        fields.append("x-a", HeaderValue::from_static("2"));
        let vary = VarySpec::from_entries(
            [(http::header::ACCEPT, Some(b"text/html".as_slice().into())), (http::header::COOKIE, None)],
            Some(b"de".as_slice().into()),
        );
        let held = Held::from_spans(Span::new(3, 3 + body.len() as u64 - 1), Some(1000));
        StoredResponse::new(Parts {
            status: StatusCode::NOT_FOUND,
            fields,
            body: vec![Bytes::from_static(body)],
            freshness: Freshness::new(
                Timestamp::from_secs(7),
                Duration::from_secs(2),
                60,
                Windows { while_revalidate_secs: 5, if_error_secs: 6 },
                Freshness::EXPLICIT,
            ),
            vary: if rare { vary } else { VarySpec::default() },
            tags: if rare { [Box::from("a"), Box::from("b c")].into() } else { Box::default() },
            held: rare.then_some(held),
            epoch: 9,
            large: None,
        })
    }

    const HERE: Resource<'_> = Resource { key: CacheKey::from_bits(5), authority: b"a", target: b"/x" };

    fn there_and_back(slot: &Slot) -> Slot {
        let mut bytes = Vec::new();
        encode(&HERE, slot, &mut bytes);
        decode(&Bytes::from(bytes), None, None).expect("what was written is read")
    }

    #[test]
    fn a_response_comes_back_as_it_was() {
        for rare in [false, true] {
            let before = stored(b"the body", rare);
            let Slot::Response(after) = there_and_back(&Slot::Response(stored(b"the body", rare).into()))
            else {
                panic!("a response")
            };
            assert_eq!(after.status(), before.status());
            assert_eq!(after.lines(), before.lines());
            assert_eq!(after.lines_and_inline_body(), before.lines_and_inline_body());
            assert_eq!(after.body().collect::<Vec<_>>(), before.body().collect::<Vec<_>>());
            assert_eq!(after.freshness, before.freshness);
            assert_eq!(after.vary(), before.vary());
            assert_eq!(after.tags(), before.tags());
            assert_eq!(after.held(), before.held());
            assert_eq!(after.purged(), before.purged());
            assert_eq!(after.epoch(), 9);
        }
    }

    #[test]
    fn a_response_is_known_by_its_url_again() {
        let stored = stored(b"the body", true);
        let mut bytes = Vec::new();
        encode(&HERE, &Slot::Response(stored.into()), &mut bytes);
        let item = item(&Bytes::from(bytes)).expect("what was written is read");
        assert_eq!(item.address.resource(item.primary), HERE);
        assert_eq!((&*item.tags[1], item.epoch), ("b c", 9));
        assert_eq!(item.bytes, "content-type: text/plain\r\nx-a: 1\r\nx-a: 2\r\n".len() as u64 + 8);
    }

    #[test]
    fn a_soft_purge_comes_back_with_its_moment() {
        let before = stored(b"x", false);
        before.purge(crate::rules::Purged::Soft(Timestamp::from_secs(8)));
        let Slot::Response(after) = there_and_back(&Slot::Response(before.into())) else {
            panic!("a response")
        };
        assert_eq!(after.purged(), crate::rules::Purged::Soft(Timestamp::from_secs(8)));
    }

    #[test]
    fn a_list_of_variants_comes_back_in_its_order() {
        let list =
            |bits: u128| Variant { key: CacheKey::from_bits(bits), vary: stored(b"x", true).vary().clone() };
        let before = Variants::from_list(vec![list(5), list(1 << 100)]);
        let Slot::Variants(after) = there_and_back(&Slot::Variants(before.into())) else {
            panic!("variants")
        };
        let keys: Vec<_> = after.iter().map(|variant| variant.key.bits()).collect();
        assert_eq!(keys, [5, 1 << 100]);
    }

    proptest! {
        #[test]
        fn no_bytes_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..300), valid in any::<bool>()) {
            if valid && let [format, kind, ..] = bytes.as_mut_slice() {
                *format = FORMAT;
                *kind = 1 + *kind % 2;
            }
            let bytes = Bytes::from(bytes);
            let _ = item(&bytes);
            let _ = decode(&bytes, None, None);
        }

        #[test]
        fn a_record_cut_or_changed_anywhere_does_not_panic(at in 0_usize..400, bit in 0_u8..8, cut in any::<bool>()) {
            let mut bytes = Vec::new();
            encode(&HERE, &Slot::Response(stored(b"the body", true).into()), &mut bytes);
            if cut {
                bytes.truncate(at);
            } else if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            let bytes = Bytes::from(bytes);
            let _ = item(&bytes);
            if let Some(Slot::Response(stored)) = decode(&bytes, None, None) {
                let body: u64 = stored.body().map(|piece| piece.len() as u64).sum();
                prop_assert_eq!(body, stored.body_len());
                prop_assert!(stored.held().is_none_or(|held| held.spans().iter().map(|span| span.length()).sum::<u64>() == body));
            }
        }
    }
}
