//! HPACK: header blocks of HTTP/2, RFC 7541.
//!
//! The decoder (`decoder.rs`) keeps the one table that the protocol asks for (`table.rs`), the encoder (`encoder.rs`) keeps
//! nothing: it never adds to the client's table, so that the block of a stored response is the same on every connection
//! and is rendered once. Sans I/O; called by `head.rs` for requests and `heads.rs` for answers.
//!
//! Invariant: what comes out of the decoder has passed the field syntax of RFC 9113 §8.2.1 once, when its literal was read; what
//! a table holds need not be looked at again. Work and memory are bounded by the block's length and by `H2_TABLE_BYTES`.

mod decoder;
mod encoder;
mod huffman;
mod table;
#[cfg(test)]
mod tests;

pub(crate) use decoder::{Decoder, Field};
pub(super) use encoder::{append_lines, content_length, date, status};
pub(crate) use table::Name;

/// Why a block cannot be read; either ends the connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// Not HPACK: from here on the tables of both ends differ. RFC 9113 §4.3.
    Compression,
    /// A name or value that would be other lines in HTTP/1, or an unknown pseudo field. RFC 9113 §8.2.1, §8.3.
    Field,
}

/// An integer whose first byte is `first` and whose further bytes are taken off `rest`. RFC 7541 §5.1.
///
/// At most four further bytes, so it stays below 2^29; no length or index that fits a block needs more.
fn integer(first: u8, prefix_bits: u32, rest: &mut &[u8]) -> Result<usize, Wrong> {
    let max = (1_usize << prefix_bits) - 1;
    let mut value = usize::from(first) & max;
    if value < max {
        return Ok(value);
    }
    for shift in [0, 7, 14, 21] {
        let (byte, after) = rest.split_first().ok_or(Wrong::Compression)?;
        *rest = after;
        value += usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(Wrong::Compression)
}

/// Appends an integer behind the bits of `first` that are set already. RFC 7541 §5.1.
fn append_integer(out: &mut Vec<u8>, first: u8, prefix_bits: u32, value: usize) {
    let max = (1_usize << prefix_bits) - 1;
    // Masked to their width before they are narrowed.
    #[allow(clippy::cast_possible_truncation)]
    if value < max {
        out.push(first | value as u8);
    } else {
        out.push(first | max as u8);
        let mut rest = value - max;
        while rest >= 0x80 {
            out.push((rest & 0x7f) as u8 | 0x80);
            rest >>= 7;
        }
        out.push(rest as u8);
    }
}
