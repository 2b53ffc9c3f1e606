//! The Huffman code of RFC 7541 §5.2 and appendix B.
//!
//! The code is canonical, so the lengths of its symbols are all there is to know: codes and tables are computed from
//! them when this is compiled. Symbols of up to ten bits, all that headers are commonly made of, are found by one look into a
//! table; longer ones by their length.

use super::Wrong;

/// Appends what `coded` stands for.
pub(super) fn decode(coded: &[u8], out: &mut Vec<u8>) -> Result<(), Wrong> {
    // The shortest code has five bits.
    out.reserve(coded.len() * 8 / 5);
    let mut coded = coded.iter();
    // The bits to read stand at the top; below them are zeros.
    let (mut bits, mut have) = (0_u64, 0_u32);
    loop {
        while have <= 56 {
            let Some(byte) = coded.next() else { break };
            bits |= u64::from(*byte) << (56 - have);
            have += 8;
        }
        let (symbol, length) = match FAST.get((bits >> (64 - FAST_BITS)) as usize) {
            Some(&(symbol, length)) if length > 0 => (symbol, u32::from(length)),
            _ => long(bits)?,
        };
        if length > have {
            // What is left is no symbol. Padding is the beginning of EOS and shorter than a byte.
            return if have < 8 && bits.leading_ones() >= have { Ok(()) } else { Err(Wrong::Compression) };
        }
        out.push(symbol);
        bits <<= length;
        have -= length;
    }
}

/// The symbol of more than `FAST_BITS` bits that stands at the top, and its length.
fn long(bits: u64) -> Result<(u8, u32), Wrong> {
    for length in FAST_BITS + 1..=LENGTH_MAX {
        let (first, count, at) = BY_LENGTH[length as usize];
        #[allow(clippy::cast_possible_truncation)] // at most thirty bits
        let code = (bits >> (64 - length)) as u32;
        if let Some(nth) = code.checked_sub(first)
            && nth < count
        {
            // The last symbol is EOS, which must not occur; all bits ones may also be the padding.
            return match SORTED.get(at + nth as usize).copied() {
                Some(symbol) if usize::from(symbol) != EOS => {
                    u8::try_from(symbol).map(|symbol| (symbol, length)).map_err(|_| Wrong::Compression)
                }
                _ => Ok((0, u32::MAX)),
            };
        }
    }
    // The code is complete: unreachable, and harmless.
    Err(Wrong::Compression)
}

/// Appends `text` in code.
pub(super) fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut have) = (0_u64, 0_u32);
    for byte in text {
        let (code, length) = CODES[*byte as usize];
        bits = bits << length | u64::from(code);
        have += u32::from(length);
        while have >= 8 {
            have -= 8;
            #[allow(clippy::cast_possible_truncation)] // the byte on top
            out.push((bits >> have) as u8);
        }
    }
    if have > 0 {
        #[allow(clippy::cast_possible_truncation)] // the last bits, filled up with ones
        out.push((bits << (8 - have)) as u8 | (0xff >> have));
    }
}

/// Bytes that `text` takes in code.
pub(super) fn encoded_len(text: &[u8]) -> usize {
    let bits: usize = text.iter().map(|byte| usize::from(LENGTHS[*byte as usize])).sum();
    bits.div_ceil(8)
}

/// Bits of the symbols found at once.
const FAST_BITS: u32 = 10;
/// Bits of the longest symbol.
const LENGTH_MAX: u32 = 30;
/// The symbol behind the bytes.
const EOS: usize = 256;

/// Bits of each symbol, EOS last. RFC 7541 appendix B.
#[rustfmt::skip]
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// Symbols in the order of their codes.
static SORTED: [u16; 257] = {
    let mut sorted = [0; 257];
    let (mut at, mut length) = (0, 0);
    while length <= LENGTH_MAX {
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] as u32 == length {
                #[allow(clippy::cast_possible_truncation)] // at most 256
                {
                    sorted[at] = symbol as u16;
                }
                at += 1;
            }
            symbol += 1;
        }
        length += 1;
    }
    sorted
};

/// For each length: the first code, how many there are, and where they begin in [`SORTED`].
const BY_LENGTH: [(u32, u32, usize); LENGTH_MAX as usize + 1] = {
    let mut table = [(0, 0, 0); LENGTH_MAX as usize + 1];
    let (mut code, mut at, mut length) = (0_u32, 0, 1);
    while length <= LENGTH_MAX as usize {
        let mut count = 0;
        let mut symbol = 0;
        while symbol <= EOS {
            if LENGTHS[symbol] as usize == length {
                count += 1;
            }
            symbol += 1;
        }
        table[length] = (code, count, at);
        at += count as usize;
        code = (code + count) << 1;
        length += 1;
    }
    table
};

/// Code and length of each byte.
static CODES: [(u32, u8); 256] = {
    let mut codes = [(0, 0); 256];
    let mut length = 1;
    while length <= LENGTH_MAX as usize {
        let (first, count, at) = BY_LENGTH[length];
        let mut nth = 0;
        while nth < count {
            let symbol = SORTED[at + nth as usize] as usize;
            if symbol < EOS {
                codes[symbol] = (first + nth, LENGTHS[symbol]);
            }
            nth += 1;
        }
        length += 1;
    }
    codes
};

/// By the next `FAST_BITS` bits: the symbol, and its length or 0 if it is longer.
static FAST: [(u8, u8); 1 << FAST_BITS] = {
    let mut table = [(0, 0); 1 << FAST_BITS];
    let mut symbol = 0;
    while symbol < EOS {
        let (code, length) = CODES[symbol];
        if length as u32 <= FAST_BITS {
            let shift = FAST_BITS - length as u32;
            let mut low = 0;
            while low < 1 << shift {
                #[allow(clippy::cast_possible_truncation)] // a byte
                {
                    table[(code << shift) as usize + low] = (symbol as u8, length);
                }
                low += 1;
            }
        }
        symbol += 1;
    }
    table
};
