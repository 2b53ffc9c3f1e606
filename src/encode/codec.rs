//! Bytes into bytes of a coding, each by the library that is kept well for it.
//!
//! Called by the encoders' threads, and for a short body that is sent at once: this is the work. Nothing is ever decoded here, so no origin can send anything that
//! becomes more than it is.
//!
//! Invariant: what comes out is whole, or nothing comes out. It is shorter than a bound that the caller names, and memory for more
//! is never taken.
//! RFC 1952, RFC 7932, RFC 8878; RFC 9659 §3 (a client need not have more than 8 MiB for the window of a zstd frame: no
//! body is longer than that, and no window is longer than its body).

use std::io::{self, Write};

use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use cache_store::rules::Coding;

use crate::config::limits::ENCODE_PIECE_BYTES;

/// Encodes `pieces`, which have `length` bytes together, at `level` of brotli's scale; `None` where that would take more than
/// `bytes_max` bytes, or `goes_on` says no on the way.
pub(super) fn encoded(
    coding: Coding,
    level: u8,
    pieces: impl Iterator<Item = Bytes>,
    length: u64,
    bytes_max: usize,
    goes_on: impl Fn() -> bool,
) -> Option<Vec<u8>> {
    let out = Bounded { bytes: Vec::new(), bytes_max, is_full: false };
    let out = match coding {
        Coding::Brotli => {
            let params = BrotliEncoderParams {
                quality: i32::from(level),
                // A window that is longer than the body costs memory and brings nothing.
                lgwin: i32::try_from(length.max(1).ilog2() + 1)
                    .unwrap_or(WINDOW_BITS_MAX)
                    .clamp(16, WINDOW_BITS_MAX),
                size_hint: usize::try_from(length).unwrap_or(0),
                ..BrotliEncoderParams::default()
            };
            let mut encoder = brotli::CompressorWriter::with_params(out, BUFFER_BYTES, &params);
            pour(&mut encoder, pieces, goes_on)?;
            // Ends the stream; what goes wrong there the sink knows.
            encoder.into_inner()
        }
        Coding::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(out, zstd_level(level)).ok()?;
            encoder.set_pledged_src_size(Some(length)).ok()?;
            pour(&mut encoder, pieces, goes_on)?;
            encoder.finish().ok()?
        }
        Coding::Gzip => {
            let level = flate2::Compression::new(u32::from(level.min(9)));
            let mut encoder = flate2::write::GzEncoder::new(out, level);
            pour(&mut encoder, pieces, goes_on)?;
            encoder.finish().ok()?
        }
    };
    (!out.is_full).then_some(out.bytes)
}

fn pour(
    into: &mut impl Write,
    pieces: impl Iterator<Item = Bytes>,
    goes_on: impl Fn() -> bool,
) -> Option<()> {
    for piece in pieces {
        for part in piece.chunks(ENCODE_PIECE_BYTES) {
            if !goes_on() {
                return None;
            }
            into.write_all(part).ok()?;
        }
    }
    Some(())
}

/// Brotli's eleven levels on the nineteen of zstd that need no more memory than others.
fn zstd_level(level: u8) -> i32 {
    i32::from(level) * 19 / 11
}

/// Takes bytes up to a bound, and remembers that there were more: not every encoder tells.
struct Bounded {
    bytes: Vec<u8>,
    bytes_max: usize,
    is_full: bool,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_full || self.bytes.len().saturating_add(bytes.len()) > self.bytes_max {
            self.is_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const WINDOW_BITS_MAX: i32 = 22;
const BUFFER_BYTES: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        match coding {
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut out),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).expect("a decoder").read_to_end(&mut out),
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut out),
        }
        .expect("what was encoded is decoded");
        out
    }

    fn text(length: usize) -> Vec<u8> {
        (0..)
            .flat_map(|line: usize| format!("line {} of the text\n", line * 7 % 1013).into_bytes())
            .take(length)
            .collect()
    }

    fn once(coding: Coding, level: u8, body: &[u8], bytes_max: usize) -> Option<Vec<u8>> {
        let pieces = body.chunks(10_000).map(Bytes::copy_from_slice).collect::<Vec<_>>();
        encoded(coding, level, pieces.into_iter(), body.len() as u64, bytes_max, || true)
    }

    #[test]
    fn what_is_encoded_is_decoded_to_what_it_was() {
        for coding in Coding::ALL {
            for length in [0, 1, 255, 256, 65_535, 65_536, 200_000] {
                let body = text(length);
                for level in [1, 4, 9, 11] {
                    let Some(bytes) = once(coding, level, &body, length + 64) else {
                        panic!("{coding:?} {length}")
                    };
                    assert!(decoded(coding, &bytes) == body, "{coding:?} {length} at {level}");
                    assert!(length < 1000 || bytes.len() < length / 2, "{coding:?} {length} at {level}");
                }
            }
        }
    }

    #[test]
    fn what_would_be_longer_than_it_may_is_nothing() {
        let mut state = 1_u64;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        })
        .take(100_000)
        .collect();
        for coding in Coding::ALL {
            assert_eq!(once(coding, 4, &noise, noise.len() * 95 / 100), None, "{coding:?}");
            let whole = once(coding, 4, &text(100_000), usize::MAX).expect("no bound");
            assert_eq!(once(coding, 4, &text(100_000), whole.len() - 1), None, "{coding:?}: the last byte");
            assert_eq!(once(coding, 4, &text(100_000), whole.len()).as_ref(), Some(&whole), "{coding:?}");
        }
    }

    #[test]
    fn an_encoder_that_is_told_to_stop_stops() {
        for coding in Coding::ALL {
            let pieces = [Bytes::from(text(100_000))];
            assert_eq!(encoded(coding, 4, pieces.into_iter(), 100_000, usize::MAX, || false), None);
        }
    }
}
