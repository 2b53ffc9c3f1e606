//! Cuts a body that comes in pieces of any size into chunks.
//!
//! Memory: the chunk that is being gathered, and the one that was handed out. A piece that holds a whole chunk is cut
//! without a copy. The last chunk of a body is as short as it is; a slice of a body begins at any chunk.

use std::collections::TryReserveError;

use bytes::Bytes;

use super::CHUNK_BYTES;

/// Gathers pieces into chunks.
#[derive(Debug)]
pub struct ChunkWriter {
    next: u32,
    gathered: Vec<u8>,
}

/// A chunk and where in the body it belongs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// Its number in the body, from 0.
    pub index: u32,
    /// Its bytes: [`CHUNK_BYTES`], fewer for the last of a body.
    pub bytes: Bytes,
}

impl ChunkWriter {
    /// A writer whose first byte is the first of chunk `index`.
    pub fn starting_at(index: u32) -> Self {
        Self { next: index, gathered: Vec::new() }
    }

    /// Takes bytes off the front of `piece`, until it is empty (`None`) or a chunk is full. Call it until it says `None`.
    ///
    /// # Errors
    /// When there is no memory for a chunk; nothing was taken then.
    pub fn take(&mut self, piece: &mut Bytes) -> Result<Option<Chunk>, TryReserveError> {
        let whole = CHUNK_BYTES as usize;
        if self.gathered.is_empty() && piece.len() >= whole {
            let bytes = piece.split_to(whole);
            return Ok(Some(self.chunk(bytes)));
        }
        if piece.is_empty() {
            return Ok(None);
        }
        // All of it at once: growing by doubling would copy and hold twice as much.
        self.gathered.try_reserve_exact(whole - self.gathered.len())?;
        let taken = piece.split_to(piece.len().min(whole - self.gathered.len()));
        self.gathered.extend_from_slice(&taken);
        if self.gathered.len() < whole {
            return Ok(None);
        }
        let bytes = std::mem::take(&mut self.gathered);
        Ok(Some(self.chunk(bytes.into())))
    }

    /// The last chunk, if the body did not end with a whole one.
    pub fn finish(mut self) -> Option<Chunk> {
        let bytes = std::mem::take(&mut self.gathered);
        (!bytes.is_empty()).then(|| self.chunk(bytes.into()))
    }

    fn chunk(&mut self, bytes: Bytes) -> Chunk {
        let index = self.next;
        self.next = index.saturating_add(1);
        Chunk { index, bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        #[allow(clippy::cast_possible_truncation)] // a byte of each number is what is wanted
        fn chunks_are_the_body_cut_at_every_mebibyte(
            cuts in proptest::collection::vec(0..1_500_000usize, 1..6),
            start in 0..20_000u32,
        ) {
            let len = cuts.iter().sum();
            let body: Bytes = (0..len).map(|at: usize| ((at % 251) ^ (at / 4096)) as u8).collect::<Vec<_>>().into();
            let mut writer = ChunkWriter::starting_at(start);
            let (mut rest, mut chunks) = (body.clone(), Vec::new());
            for cut in cuts {
                let mut piece = rest.split_to(cut);
                while let Some(chunk) = writer.take(&mut piece).expect("memory") {
                    chunks.push(chunk);
                }
                prop_assert!(piece.is_empty());
                prop_assert!(writer.gathered.capacity() <= CHUNK_BYTES as usize, "one chunk is held");
            }
            chunks.extend(writer.finish());
            let expected: Vec<_> = body.chunks(CHUNK_BYTES as usize).zip(start..).collect();
            prop_assert_eq!(chunks.len(), expected.len());
            for (chunk, (bytes, index)) in chunks.iter().zip(expected) {
                prop_assert_eq!(chunk.index, index);
                prop_assert!(chunk.bytes == bytes);
            }
        }
    }

    #[test]
    fn a_piece_that_holds_a_whole_chunk_is_cut_without_a_copy() {
        let body = Bytes::from(vec![7; 2 * CHUNK_BYTES as usize]);
        let mut piece = body.clone();
        let mut writer = ChunkWriter::starting_at(0);
        let first = writer.take(&mut piece).expect("memory").expect("a chunk");
        assert_eq!(first.bytes.as_ptr(), body.as_ptr());
    }
}
