//! A record of the log as bytes, and back.
//!
//! ```text
//! format epoch via id at soft count (kind …)* sum     url: keys text │ prefix: text text │ host, tag: text │ everything
//! ```
//!
//! Little endian; lists and texts are preceded by their length.
//!
//! Invariant: any bytes decode or do not; none panics, and none that was changed since decodes.

use bytes::BufMut;
use twox_hash::XxHash3_64;

use super::{Purge, Scope};
use crate::cursor::Cursor;
use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::timestamp::Timestamp;

pub(super) fn encode(epoch: Epoch, via: &str, purge: &Purge) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + purge.scopes.len() * 96);
    out.put_u8(FORMAT);
    out.put_u64_le(epoch);
    text(via, &mut out);
    out.put_u128_le(purge.id);
    out.put_u64_le(purge.at.as_millis());
    out.put_u8(u8::from(purge.soft));
    out.put_u32_le(length(purge.scopes.len()));
    for scope in &purge.scopes {
        match scope {
            Scope::Url { url, keys } => {
                out.put_u8(URL);
                out.put_u32_le(length(keys.len()));
                for key in keys {
                    out.put_u128_le(key.bits());
                }
                text(url, &mut out);
            }
            Scope::Prefix { authority, path } => {
                out.put_u8(PREFIX);
                text(authority, &mut out);
                text(path, &mut out);
            }
            Scope::Host(host) => {
                out.put_u8(HOST);
                text(host, &mut out);
            }
            Scope::Tag(tag) => {
                out.put_u8(TAG);
                text(tag, &mut out);
            }
            Scope::Everything => out.put_u8(EVERYTHING),
        }
    }
    out.put_u64_le(XxHash3_64::oneshot(&out));
    out
}

pub(super) fn decode(record: &[u8]) -> Option<(Epoch, Box<str>, Purge)> {
    let (record, sum) = record.split_last_chunk()?;
    if XxHash3_64::oneshot(record) != u64::from_le_bytes(*sum) {
        return None;
    }
    let mut from = Cursor::new(record);
    if from.u8()? != FORMAT {
        return None;
    }
    let epoch = from.u64()?;
    let via = read_text(&mut from)?;
    let id = from.u128()?;
    let at = Timestamp::from_millis(from.u64()?);
    let soft = from.u8()? == 1;
    let mut scopes = Vec::new();
    for _ in 0..from.u32()? {
        scopes.push(match from.u8()? {
            URL => {
                let mut keys = Vec::new();
                for _ in 0..from.u32()? {
                    keys.push(CacheKey::from_bits(from.u128()?));
                }
                Scope::Url { url: read_text(&mut from)?, keys: keys.into() }
            }
            PREFIX => Scope::Prefix { authority: read_text(&mut from)?, path: read_text(&mut from)? },
            HOST => Scope::Host(read_text(&mut from)?),
            TAG => Scope::Tag(read_text(&mut from)?),
            EVERYTHING => Scope::Everything,
            _ => return None,
        });
    }
    Some((epoch, via, Purge { id, at, soft, scopes }))
}

fn text(text: &str, out: &mut Vec<u8>) {
    out.put_u32_le(length(text.len()));
    out.extend_from_slice(text.as_bytes());
}

fn read_text(from: &mut Cursor<'_>) -> Option<Box<str>> {
    Some(std::str::from_utf8(from.text()?).ok()?.into())
}

/// A length as written; whoever gives an order bounds it far below.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

const FORMAT: u8 = 1;
const URL: u8 = 1;
const PREFIX: u8 = 2;
const HOST: u8 = 3;
const TAG: u8 = 4;
const EVERYTHING: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order() -> Purge {
        Purge {
            id: 1 << 100,
            at: Timestamp::from_millis(12_345),
            soft: true,
            scopes: vec![
                Scope::Url { url: "https://a/x".into(), keys: [1, 1 << 90].map(CacheKey::from_bits).into() },
                Scope::Prefix { authority: "a:81".into(), path: "/n".into() },
                Scope::Host("a".into()),
                Scope::Tag("t".into()),
                Scope::Everything,
            ],
        }
    }

    #[test]
    fn an_order_comes_back_as_it_was() {
        assert_eq!(decode(&encode(7, "p", &order())), Some((7, "p".into(), order())));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100), at in 0_usize..120, bit in 0_u8..8) {
            let _ = decode(&bytes);
            let mut bytes = encode(7, "p", &order());
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            prop_assert!(at >= bytes.len() || decode(&bytes).is_none());
            bytes.truncate(at);
            let _ = decode(&bytes);
        }
    }
}
