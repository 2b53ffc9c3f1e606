//! Header blocks -> fields.
//!
//! Fields are handed out one by one, borrowed from the block, the tables or the decoder's scratch; nothing is allocated for
//! one. A block is always read to its end, whatever becomes of its request: the tables of both ends must stay alike.
//! RFC 7541 §3, §6; RFC 9113 §4.3, §8.2.1.

use super::table::{Dynamic, Found, Name};
use super::{Wrong, huffman, integer};
use crate::listener::fields::SharedValue;

/// One field of a block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Field<'a> {
    /// Which it is.
    pub(crate) id: Name,
    /// In lower case.
    pub(crate) name: &'a [u8],
    /// Without control bytes, but for pseudo fields: those have a syntax of their own.
    pub(crate) value: &'a [u8],
    /// The same, where it is long and may come again.
    pub(crate) shared: Option<&'a SharedValue>,
}

/// The decoder of a connection.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    table: Dynamic,
    /// Text of the literal under way that was Huffman-coded or would move with the table.
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Decoder {
    /// Hands every field of `block` to `sink`.
    ///
    /// # Errors
    /// The client's; the connection must end.
    pub(crate) fn decode(&mut self, block: &[u8], mut sink: impl FnMut(Field<'_>)) -> Result<(), Wrong> {
        let mut rest = block;
        let mut begun = false;
        while let Some((&first, after)) = rest.split_first() {
            rest = after;
            if first & 0x80 != 0 {
                let Found { name: id, text, value, shared } =
                    self.table.get(integer(first, 7, &mut rest)?)?;
                sink(Field { id, name: text, value, shared });
            } else if first & 0xe0 == 0x20 {
                // Only in front of the first field. RFC 7541 §4.2.
                let size = integer(first, 5, &mut rest)?;
                if begun {
                    return Err(Wrong::Compression);
                }
                self.table.resize(size)?;
                continue;
            } else {
                let indexed = first & 0x40 != 0;
                let index = integer(first, if indexed { 6 } else { 4 }, &mut rest)?;
                self.literal(index, indexed, &mut rest, &mut sink)?;
            }
            begun = true;
        }
        Ok(())
    }

    /// RFC 7541 §6.2.
    fn literal(
        &mut self,
        index: usize,
        indexed: bool,
        rest: &mut &[u8],
        sink: &mut impl FnMut(Field<'_>),
    ) -> Result<(), Wrong> {
        let Self { table, name: name_scratch, value: value_scratch } = self;
        let (id, name) = if index == 0 {
            let name = string(rest, name_scratch)?;
            (named(name)?, name)
        } else if indexed {
            // The entry may leave as this one comes.
            let Found { name: id, text: name, .. } = table.get(index)?;
            name_scratch.clear();
            name_scratch.extend_from_slice(name);
            (id, &name_scratch[..])
        } else {
            let Found { name: id, text: name, .. } = table.get(index)?;
            let value = checked(id, string(rest, value_scratch)?)?;
            sink(Field { id, name, value, shared: None });
            return Ok(());
        };
        let value = checked(id, string(rest, value_scratch)?)?;
        sink(Field { id, name, value, shared: None });
        if indexed {
            table.insert(id, name, value);
        }
        Ok(())
    }
}

/// RFC 9113 §8.2.1.
fn checked(id: Name, value: &[u8]) -> Result<&[u8], Wrong> {
    let all_are = |class: u8| value.iter().all(|byte| CLASSES[*byte as usize] & class != 0);
    let valid = match id {
        Name::Method => !value.is_empty() && all_are(TCHAR),
        Name::Field(_) => all_are(TEXT),
        // Looked at where their meaning is.
        Name::Scheme | Name::Authority | Name::Path | Name::Status | Name::Protocol => true,
    };
    if valid { Ok(value) } else { Err(Wrong::Field) }
}

/// A string, decoded into `scratch` if need be. RFC 7541 §5.2.
fn string<'s, 'b: 's>(rest: &mut &'b [u8], scratch: &'s mut Vec<u8>) -> Result<&'s [u8], Wrong> {
    let (&first, after) = rest.split_first().ok_or(Wrong::Compression)?;
    *rest = after;
    let length = integer(first, 7, rest)?;
    let (text, after) = rest.split_at_checked(length).ok_or(Wrong::Compression)?;
    *rest = after;
    if first & 0x80 == 0 {
        return Ok(text);
    }
    scratch.clear();
    huffman::decode(text, scratch)?;
    Ok(scratch)
}

/// RFC 9113 §8.2.1: a token without upper case, or a pseudo field that is known.
fn named(name: &[u8]) -> Result<Name, Wrong> {
    let token = name.strip_prefix(b":").unwrap_or(name);
    let valid = !token.is_empty() && token.iter().all(|byte| CLASSES[*byte as usize] & LOWER != 0);
    Name::of(name).filter(|_| valid).ok_or(Wrong::Field)
}

/// May stand in a name.
const LOWER: u8 = 1;
/// May stand in a method.
const TCHAR: u8 = 2;
/// May stand in a value: all but control bytes, of which HTAB may. RFC 9110 §5.5.
const TEXT: u8 = 4;

static CLASSES: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u8;
    loop {
        let mut class = 0;
        if crate::listener::h1::head::is_token_byte(byte) {
            class |= TCHAR;
            if !byte.is_ascii_uppercase() {
                class |= LOWER;
            }
        }
        if byte == b'\t' || (byte >= b' ' && byte != 0x7f) {
            class |= TEXT;
        }
        table[byte as usize] = class;
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    table
};
