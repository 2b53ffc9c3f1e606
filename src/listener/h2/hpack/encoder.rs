//! Fields -> header blocks, without a memory.
//!
//! Every field is a literal without indexing (RFC 7541 §6.2.2), its name from the static table where that has it: the
//! block of a response is then the same bytes on every connection. Huffman coding is worth its time only for what is rendered
//! once and sent often.

use super::{append_integer, huffman, table};

/// `:status`. RFC 9113 §8.3.2.
#[inline]
pub(in crate::listener::h2) fn status(out: &mut Vec<u8>, status: http::StatusCode) {
    let index = match status.as_u16() {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => {
            out.extend_from_slice(&[8, 3]);
            out.extend_from_slice(status.as_str().as_bytes());
            return;
        }
    };
    out.push(0x80 | index);
}

/// `content-length`.
#[inline]
pub(in crate::listener::h2) fn content_length(out: &mut Vec<u8>, length: u64) {
    // Static name 28.
    out.extend_from_slice(&[0x0f, 13]);
    string(out, itoa::Buffer::new().format(length).as_bytes(), false);
}

/// `date`.
#[inline]
pub(in crate::listener::h2) fn date(out: &mut Vec<u8>, value: &[u8]) {
    // Static name 33.
    out.extend_from_slice(&[0x0f, 18]);
    string(out, value, false);
}

/// The fields of `name: value CRLF …`, and whether `date` is one of them. Lines were rendered by us: what is no field
/// is left out, and so is what only HTTP/1 may say (RFC 9113 §8.2.2).
pub(in crate::listener::h2) fn append_lines(out: &mut Vec<u8>, lines: &[u8], huffman: bool) -> bool {
    let mut dated = false;
    let mut rest = lines;
    while let Some(end) = memchr::memchr(b'\n', rest) {
        let (line, later) = rest.split_at(end + 1);
        rest = later;
        let line = line.strip_suffix(b"\r\n").unwrap_or(line);
        let Some((name, value)) = memchr::memchr(b':', line).and_then(|colon| line.split_at_checked(colon))
        else {
            continue;
        };
        dated |= field(out, name, value.strip_prefix(b":").unwrap_or(value).trim_ascii(), huffman);
    }
    dated
}

/// One field, and whether it is `date`.
fn field(out: &mut Vec<u8>, name: &[u8], value: &[u8], huffman: bool) -> bool {
    let mut usual = [0; NAME_BYTES_USUAL];
    let mut long = Vec::new();
    let lower = if let Some(lower) = usual.get_mut(..name.len()) {
        lower
    } else {
        long.resize(name.len(), 0);
        &mut long[..]
    };
    lower.copy_from_slice(name);
    lower.make_ascii_lowercase();
    let name = &*lower;
    if name.is_empty() || is_of_http1(name) {
        return false;
    }
    let index = table::static_index(name);
    append_integer(out, 0, 4, index);
    if index == 0 {
        string(out, name, huffman);
    }
    string(out, value, huffman);
    name == b"date"
}

fn is_of_http1(name: &[u8]) -> bool {
    matches!(
        name,
        b"connection" | b"transfer-encoding" | b"upgrade" | b"te" | b"keep-alive" | b"proxy-connection"
    )
}

/// RFC 7541 §5.2; in the shorter form, if both are looked at.
#[inline]
fn string(out: &mut Vec<u8>, text: &[u8], huffman: bool) {
    if huffman {
        let coded = huffman::encoded_len(text);
        if coded < text.len() {
            append_integer(out, 0x80, 7, coded);
            return huffman::encode(text, out);
        }
    }
    append_integer(out, 0, 7, text.len());
    out.extend_from_slice(text);
}

/// Longer names cost an allocation.
const NAME_BYTES_USUAL: usize = 64;
