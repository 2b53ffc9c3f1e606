//! Which chunks a large body is made of, and which of them are missing.
//!
//! A fill notes each chunk as it is put ([`Manifest::note`]) and the length when the framing has proved it
//! ([`Manifest::finish`]); a slice that was fetched alone leaves holes before and behind it. A reader asks for the
//! [`Piece`]s of a range; a fill that completes it asks for its [`holes`](Manifest::holes) and fetches those under the
//! same strong validator. A chunk that is not on disk any more becomes a hole ([`Manifest::forget`]). Who finds that the
//! validator has changed drops the whole: old and new bytes never stand in one manifest.
//!
//! Invariant: a chunk that is noted lies within the length, where that is known, and every number is below
//! [`CHUNKS_MAX`].
//!
//! Absent: validators and heads, which stand beside it in what is stored, and a checksum: the log that keeps the bytes
//! has one. The encoding has one form for every manifest, so what decodes is what was encoded:
//!
//! ```text
//! version 1 B │ known 1 B │ length 8 B, little endian │ chunks 4 B │ present ⌈chunks/8⌉ B │ names 32 B each present
//! ```

use std::ops::Range;

use super::chunks::{CHUNK_BYTES, ChunkId};

/// A body as its chunks, with holes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Manifest {
    /// Known once announced or proven.
    length: Option<u64>,
    /// One a chunk, up to the last that is noted or, where the length is known, all. [`HOLE`] where none is.
    ids: Vec<ChunkId>,
    noted: usize,
}

/// A part of a chunk that a range asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// The chunk's number.
    pub index: u32,
    /// Its name; `None` for a hole.
    pub id: Option<ChunkId>,
    /// Bytes within the chunk, never empty.
    pub range: Range<u32>,
}

/// What a manifest cannot be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ManifestError {
    /// More than [`BODY_BYTES_MAX`].
    #[error("the body is longer than {BODY_BYTES_MAX} bytes")]
    TooLong,
    /// A chunk behind the end, or an end before a chunk, or another end than the one that is known.
    #[error("the chunk or the length contradicts what is noted")]
    Contradiction,
    /// Bytes that no manifest encodes to.
    #[error("the bytes are no manifest")]
    Malformed,
}

impl Manifest {
    /// A body whose length is not known yet.
    pub const fn growing() -> Self {
        Self { length: None, ids: Vec::new(), noted: 0 }
    }

    /// A body of this length, all of it missing.
    ///
    /// # Errors
    /// [`ManifestError::TooLong`].
    pub fn of_length(length: u64) -> Result<Self, ManifestError> {
        let mut manifest = Self::growing();
        manifest.finish(length)?;
        Ok(manifest)
    }

    /// Chunk `index` is this one. Of two for one place, the later stands.
    ///
    /// # Errors
    /// When it lies behind the end or beyond what may be stored.
    pub fn note(&mut self, index: u32, id: ChunkId) -> Result<(), ManifestError> {
        if index >= CHUNKS_MAX {
            return Err(ManifestError::TooLong);
        }
        let at = index as usize;
        if at >= self.ids.len() {
            if self.length.is_some() {
                return Err(ManifestError::Contradiction);
            }
            self.ids.resize(at + 1, HOLE);
        }
        // No bytes are known that have this name; a hole stays a hole.
        if id != HOLE {
            self.forget(index);
            if let Some(place) = self.ids.get_mut(at) {
                *place = id;
                self.noted += 1;
            }
        }
        Ok(())
    }

    /// Chunk `index` is missing.
    pub fn forget(&mut self, index: u32) {
        if let Some(place) = self.ids.get_mut(index as usize)
            && *place != HOLE
        {
            *place = HOLE;
            self.noted -= 1;
        }
    }

    /// The body has this length.
    ///
    /// # Errors
    /// When a chunk is noted behind it, another length is known, or it is beyond what may be stored.
    pub fn finish(&mut self, length: u64) -> Result<(), ManifestError> {
        let chunks = chunks_of(length).ok_or(ManifestError::TooLong)? as usize;
        if self.length.is_some_and(|known| known != length) || self.ids.len() > chunks {
            return Err(ManifestError::Contradiction);
        }
        self.length = Some(length);
        self.ids.resize(chunks, HOLE);
        Ok(())
    }

    /// Length of the body, if it is known.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The name of chunk `index`, unless it is missing.
    pub fn id(&self, index: u32) -> Option<ChunkId> {
        self.ids.get(index as usize).copied().filter(|id| *id != HOLE)
    }

    /// The names of all chunks that are not missing.
    pub fn ids(&self) -> impl Iterator<Item = ChunkId> {
        self.ids.iter().copied().filter(|id| *id != HOLE)
    }

    /// The length is known and nothing is missing.
    pub fn is_whole(&self) -> bool {
        self.length.is_some() && self.noted == self.ids.len()
    }

    /// Memory it holds, in bytes.
    pub fn weight(&self) -> usize {
        size_of::<Self>() + self.ids.capacity() * size_of::<ChunkId>()
    }

    /// The chunks' parts that make up `range`, in order and without a gap. Bytes behind the end are left out. While the
    /// length is not known, nothing noted behind the last chunk counts as a hole.
    pub fn plan(&self, range: Range<u64>) -> impl Iterator<Item = Piece> + '_ {
        let end = range.end.min(self.length.unwrap_or(BODY_BYTES_MAX));
        let mut at = range.start;
        std::iter::from_fn(move || {
            if at >= end {
                return None;
            }
            let index = u32::try_from(at / CHUNK).ok()?;
            let first = u64::from(index) * CHUNK;
            let until = end.min(first + CHUNK);
            let range = u32::try_from(at - first).ok()?..u32::try_from(until - first).ok()?;
            at = until;
            Some(Piece { index, id: self.id(index), range })
        })
    }

    /// The bytes that are missing to serve `range`: whole chunks (the last one as short as the body), neighbours joined.
    pub fn holes(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut holes: Vec<Range<u64>> = Vec::new();
        for piece in self.plan(range).filter(|piece| piece.id.is_none()) {
            let start = u64::from(piece.index) * CHUNK;
            let end = (start + CHUNK).min(self.length.unwrap_or(u64::MAX));
            match holes.last_mut() {
                Some(before) if before.end == start => before.end = end,
                _ => holes.push(start..end),
            }
        }
        holes
    }

    /// The bytes to keep: 32 a chunk and 1/8; 10 GiB take 321 KiB.
    pub fn encode(&self) -> Vec<u8> {
        let present = self.ids.len().div_ceil(8);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + present + self.noted * 32);
        bytes.extend_from_slice(&[VERSION, u8::from(self.length.is_some())]);
        bytes.extend_from_slice(&self.length.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.ids.len()).unwrap_or(u32::MAX).to_le_bytes());
        for eight in self.ids.chunks(8) {
            let bits = eight.iter().enumerate().map(|(bit, id)| u8::from(*id != HOLE) << bit);
            bytes.push(bits.fold(0, |all, bit| all | bit));
        }
        self.ids().for_each(|id| bytes.extend_from_slice(id.as_bytes()));
        bytes
    }

    /// A manifest from what [`Self::encode`] made. Takes no more memory than a body of [`BODY_BYTES_MAX`] needs, whatever
    /// the bytes say.
    ///
    /// # Errors
    /// [`ManifestError`] for anything that `encode` does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, ManifestError> {
        Self::decoded(bytes).ok_or(ManifestError::Malformed)
    }

    fn decoded(bytes: &[u8]) -> Option<Self> {
        let (&[version, known], rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let (chunks, rest) = rest.split_first_chunk()?;
        let (length, chunks) = (u64::from_le_bytes(*length), u32::from_le_bytes(*chunks));
        let length = match known {
            0 if length == 0 => None,
            1 => Some(length),
            _ => return None,
        };
        if version != VERSION
            || chunks > CHUNKS_MAX
            || length.is_some_and(|length| chunks_of(length) != Some(chunks))
        {
            return None;
        }
        let (present, names) = rest.split_at_checked(chunks.div_ceil(8) as usize)?;
        let (mut names, odd) = {
            let (names, odd) = names.as_chunks::<32>();
            (names.iter(), odd)
        };
        let mut ids = Vec::with_capacity(chunks as usize);
        for index in 0..chunks {
            let bit = present.get(index as usize / 8)? >> (index % 8) & 1;
            let id = if bit == 0 { HOLE } else { ChunkId::from_bytes(*names.next()?) };
            if bit == 1 && id == HOLE {
                return None;
            }
            ids.push(id);
        }
        let spare = chunks % 8;
        let spare_bits = present.last().map_or(0, |last| if spare == 0 { 0 } else { last >> spare });
        // A growing body ends with what was noted last or forgotten since; nothing else may follow.
        if names.next().is_some() || !odd.is_empty() || spare_bits != 0 {
            return None;
        }
        let noted = ids.iter().filter(|id| **id != HOLE).count();
        Some(Self { length, ids, noted })
    }
}

/// Chunks of a body of `length` bytes; `None` when it is too long.
fn chunks_of(length: u64) -> Option<u32> {
    u32::try_from(length.div_ceil(CHUNK)).ok().filter(|chunks| *chunks <= CHUNKS_MAX)
}

/// Chunks of one body.
pub const CHUNKS_MAX: u32 = 10_240;
/// Bytes of one body: 10 GiB.
pub const BODY_BYTES_MAX: u64 = CHUNKS_MAX as u64 * CHUNK;
const CHUNK: u64 = CHUNK_BYTES as u64;
/// No bytes are known whose SHA-256 this is.
const HOLE: ChunkId = ChunkId::from_bytes([0; 32]);
const VERSION: u8 = 1;
const HEAD_BYTES: usize = 14;

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init)] // one hole is a list of one range
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(number: u32) -> ChunkId {
        ChunkId::of(&number.to_le_bytes())
    }

    /// A manifest and what it is meant to be: the length, and for each chunk whether it is there.
    fn manifests() -> impl Strategy<Value = (Manifest, Option<u64>, Vec<bool>)> {
        (proptest::collection::vec(any::<bool>(), 0..40), any::<bool>(), 0..CHUNK).prop_map(
            |(mut there, known, short)| {
                let mut manifest = Manifest::growing();
                for (index, _) in (0..).zip(&there).filter(|(_, there)| **there) {
                    manifest.note(index, id(index)).expect("within bounds");
                }
                let length = known.then(|| (there.len() as u64 * CHUNK).saturating_sub(short));
                if let Some(length) = length {
                    manifest.finish(length).expect("not before a chunk");
                } else {
                    there.truncate(there.iter().rposition(|there| *there).map_or(0, |last| last + 1));
                }
                (manifest, length, there)
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_nothing_else_is((manifest, _, _) in manifests(), at: usize, flip in 1..=255u8) {
            let mut bytes = manifest.encode();
            prop_assert_eq!(&Manifest::decode(&bytes), &Ok(manifest));
            for cut in [0, 1, at % bytes.len(), bytes.len() - 1] {
                prop_assert_eq!(Manifest::decode(&bytes[..cut]), Err(ManifestError::Malformed));
            }
            bytes.push(0);
            prop_assert_eq!(Manifest::decode(&bytes), Err(ManifestError::Malformed));
            bytes.pop();
            let at = at % bytes.len();
            bytes[at] ^= flip;
            if let Ok(other) = Manifest::decode(&bytes) {
                prop_assert_eq!(other.encode(), bytes, "one form for every manifest");
            }
        }

        #[test]
        fn any_bytes_are_survived(mut bytes in proptest::collection::vec(any::<u8>(), 0..600), plausible: bool) {
            if plausible && bytes.len() >= HEAD_BYTES {
                bytes[0] = VERSION;
                bytes[1] &= 1;
                bytes[5..10].fill(0);
                bytes[11..14].fill(0);
            }
            if let Ok(manifest) = Manifest::decode(&bytes) {
                prop_assert_eq!(manifest.encode(), bytes);
                prop_assert!(manifest.plan(0..u64::MAX).count() <= CHUNKS_MAX as usize);
            }
        }

        #[test]
        fn a_plan_is_the_range_without_gap_or_overlap(
            (manifest, length, there) in manifests(),
            start in 0..45 * CHUNK,
            len in 0..45 * CHUNK,
        ) {
            let asked = start..start + len;
            let end = asked.end.min(length.unwrap_or(u64::MAX));
            let (mut at, mut missing) = (start, Vec::new());
            for piece in manifest.plan(asked.clone()) {
                let first = u64::from(piece.index) * CHUNK;
                prop_assert_eq!(first + u64::from(piece.range.start), at);
                prop_assert!(!piece.range.is_empty() && piece.range.end <= CHUNK_BYTES);
                at = first + u64::from(piece.range.end);
                let expected = there.get(piece.index as usize).copied().unwrap_or(false);
                prop_assert_eq!(piece.id, expected.then(|| id(piece.index)));
                if !expected {
                    missing.push(u64::from(piece.index));
                }
            }
            prop_assert_eq!(at, end.max(start));
            let holes = manifest.holes(asked);
            for pair in holes.windows(2) {
                prop_assert!(pair[0].end < pair[1].start, "neighbours are joined");
            }
            let mut filled = Vec::new();
            for hole in holes {
                prop_assert_eq!(hole.start % CHUNK, 0);
                prop_assert!(hole.end % CHUNK == 0 || Some(hole.end) == length);
                filled.extend(hole.start / CHUNK..hole.end.div_ceil(CHUNK));
            }
            prop_assert_eq!(filled, missing, "every hole that is needed, and no other");
        }
    }

    #[test]
    fn noting_and_forgetting_makes_and_closes_holes() {
        let mut manifest = Manifest::of_length(2 * CHUNK + 5).expect("short enough");
        assert_eq!(manifest.holes(0..u64::MAX), [0..2 * CHUNK + 5]);
        for index in [2, 0, 1, 1] {
            manifest.note(index, id(index)).expect("within");
        }
        assert!(manifest.is_whole());
        manifest.forget(2);
        manifest.forget(2);
        assert!(!manifest.is_whole());
        assert_eq!(manifest.holes(0..CHUNK), []);
        assert_eq!(manifest.holes(2 * CHUNK..2 * CHUNK + 1), [2 * CHUNK..2 * CHUNK + 5]);
    }

    #[test]
    fn what_contradicts_is_refused_and_changes_nothing() {
        let mut manifest = Manifest::growing();
        manifest.note(3, id(3)).expect("growing");
        assert_eq!(manifest.finish(3 * CHUNK), Err(ManifestError::Contradiction));
        manifest.finish(3 * CHUNK + 1).expect("the fourth has a byte");
        assert_eq!(manifest.finish(3 * CHUNK + 2), Err(ManifestError::Contradiction));
        assert_eq!(manifest.note(4, id(4)), Err(ManifestError::Contradiction));
        assert_eq!(manifest.length(), Some(3 * CHUNK + 1));
    }

    #[test]
    fn ten_gibibytes_are_the_longest_body() {
        assert_eq!(Manifest::of_length(BODY_BYTES_MAX + 1), Err(ManifestError::TooLong));
        assert_eq!(Manifest::growing().note(CHUNKS_MAX, id(0)), Err(ManifestError::TooLong));
        let mut manifest = Manifest::of_length(BODY_BYTES_MAX).expect("the longest");
        (0..CHUNKS_MAX).for_each(|index| manifest.note(index, id(index)).expect("within"));
        assert!(manifest.is_whole());
        let bytes = manifest.encode();
        assert_eq!(bytes.len(), HEAD_BYTES + 1280 + 320 * 1024);
        assert_eq!(Manifest::decode(&bytes), Ok(manifest));
    }
}
