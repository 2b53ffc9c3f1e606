//! What stands in a segment: records, one after the other, each a header, the caller's meta bytes and the payload.
//!
//! ```text
//! 0      4    5      8        12   28       36    40       44        52     56          64
//! "TGR1" kind unused flags    key  version  meta  payload  body sum  seq    header sum  meta  payload  (to 8 bytes)
//! ```
//!
//! All numbers are little-endian. The header sum (XXH3, seeded by the log's salt, which no one outside knows) covers the header;
//! the body sum in it covers meta and payload. `seq` says which segment the record was written for.
//!
//! Invariant: a header that decodes was written by this log, for this segment; a body is used only once its sum was compared.

use std::hash::Hasher as _;

use twox_hash::XxHash3_64;

/// Bytes before meta and payload.
pub(super) const HEADER_BYTES: usize = 64;
/// Records begin and end at multiples of this, so that places in the index are short.
pub(super) const UNIT_BYTES: u64 = 8;

const MAGIC: [u8; 4] = *b"TGR1";

/// What a record says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The key has these bytes.
    Data,
    /// What the key had up to this version is forgotten.
    Tombstone,
    /// What the segment holds, for the one that opens it.
    Summary,
}

/// The header of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u32,
    pub(super) key: u128,
    pub(super) version: u64,
    pub(super) meta_bytes: u32,
    pub(super) payload_bytes: u32,
    pub(super) body_sum: u64,
    /// Low half of the segment's number.
    pub(super) seq: u32,
}

impl Header {
    /// A tombstone; it has no body.
    pub(super) fn tombstone(key: u128, version: u64) -> Self {
        let body_sum = sum(&[]);
        Self {
            kind: Kind::Tombstone,
            flags: 0,
            key,
            version,
            meta_bytes: 0,
            payload_bytes: 0,
            body_sum,
            seq: 0,
        }
    }

    pub(super) fn encode(&self, salt: u64) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0..4].copy_from_slice(&MAGIC);
        bytes[4] = match self.kind {
            Kind::Data => 1,
            Kind::Tombstone => 2,
            Kind::Summary => 3,
        };
        bytes[8..12].copy_from_slice(&self.flags.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.key.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.version.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.meta_bytes.to_le_bytes());
        bytes[40..44].copy_from_slice(&self.payload_bytes.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.body_sum.to_le_bytes());
        bytes[52..56].copy_from_slice(&self.seq.to_le_bytes());
        let sum = XxHash3_64::oneshot_with_seed(salt, &bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// The header at the front of `bytes`, if one of ours stands there unharmed.
    pub(super) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let bytes: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        if bytes[..4] != MAGIC || u64_at(bytes, 56)? != XxHash3_64::oneshot_with_seed(salt, &bytes[..56]) {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Data,
            2 => Kind::Tombstone,
            3 => Kind::Summary,
            _ => return None,
        };
        Some(Self {
            kind,
            flags: u32_at(bytes, 8)?,
            key: u128_at(bytes, 12)?,
            version: u64_at(bytes, 28)?,
            meta_bytes: u32_at(bytes, 36)?,
            payload_bytes: u32_at(bytes, 40)?,
            body_sum: u64_at(bytes, 44)?,
            seq: u32_at(bytes, 52)?,
        })
    }

    /// Bytes that the record takes in its segment.
    pub(super) fn record_bytes(&self) -> u64 {
        record_bytes(u64::from(self.meta_bytes) + u64::from(self.payload_bytes))
    }

    /// Bytes of meta and payload.
    pub(super) fn body_bytes(&self) -> usize {
        usize::try_from(u64::from(self.meta_bytes) + u64::from(self.payload_bytes)).unwrap_or(usize::MAX)
    }
}

/// Bytes that a record with such a body takes.
pub(super) fn record_bytes(body_bytes: u64) -> u64 {
    (HEADER_BYTES as u64).saturating_add(body_bytes).next_multiple_of(UNIT_BYTES)
}

/// The sum of a body in one piece.
pub(super) fn sum(body: &[u8]) -> u64 {
    XxHash3_64::oneshot(body)
}

/// The sum of a body in several pieces.
pub(super) fn sum_of(pieces: &[&[u8]]) -> u64 {
    let mut hasher = XxHash3_64::new();
    for piece in pieces {
        hasher.write(piece);
    }
    hasher.finish()
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

pub(super) fn u128_at(bytes: &[u8], at: usize) -> Option<u128> {
    bytes.get(at..)?.first_chunk().map(|bytes| u128::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back_and_no_flipped_bit_passes() {
        let header = Header {
            kind: Kind::Data,
            flags: 7,
            key: 1 << 100,
            version: 9,
            meta_bytes: 11,
            payload_bytes: 13,
            body_sum: 17,
            seq: 19,
        };
        let bytes = header.encode(3);
        assert_eq!(Header::decode(&bytes, 3), Some(header));
        assert_eq!(Header::decode(&bytes, 4), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::decode(&flipped, 3), None, "bit {bit}");
        }
    }

    #[test]
    fn a_body_has_one_sum_however_it_is_cut() {
        let body: Vec<u8> = (0..3000u32).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
        for cut in [0, 1, 240, 241, 1024, 3000] {
            let (head, tail) = body.split_at(cut);
            assert_eq!(sum_of(&[head, tail]), sum(&body));
        }
    }
}
