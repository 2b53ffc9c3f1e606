//! Bytes chosen by clients, made safe to stand in a log line.
//!
//! Two dialects: JSON strings, and nginx's for the combined format. In both, nothing that comes in can end the string,
//! the line or the terminal's good mood: quotes, backslashes, C0 and C1 controls and DEL are escaped, and bytes that
//! are not UTF-8 appear as `\xHH`.
//!
//! Almost every value is plain ASCII, so one pass over eight bytes at a time asks that question first and the whole value is copied.

/// Appends `value` as the inside of a JSON string. Valid UTF-8 stays as it is; a byte that is not part of a valid sequence
/// becomes the four characters `\xHH` (with the backslash escaped, as JSON wants).
#[inline]
pub fn json(out: &mut Vec<u8>, value: &[u8]) {
    if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        json_slowly(out, value);
    }
}

/// Appends `value` as nginx does in its default escaping: quotes, backslashes, controls and all bytes above ASCII
/// become `\xHH`. An empty value becomes `-`.
#[inline]
pub fn combined(out: &mut Vec<u8>, value: &[u8]) {
    if value.is_empty() {
        out.push(b'-');
    } else if is_plain(value) {
        out.extend_from_slice(value);
    } else {
        for &byte in value {
            if is_plain_byte(byte) {
                out.push(byte);
            } else {
                out.extend_from_slice(b"\\x");
                push_hex(out, byte, HEX_UPPER);
            }
        }
    }
}

/// Whether no byte of it is escaped.
#[inline]
fn is_plain(value: &[u8]) -> bool {
    if value.len() < WORD {
        return value.iter().all(|byte| is_plain_byte(*byte));
    }
    let (words, _) = value.as_chunks::<WORD>();
    // What is behind them lies in the last word, counted from the end. No early end: values are short.
    let last = value.last_chunk().map_or(0, |word| odd_bytes(*word));
    words.iter().fold(last, |odd, word| odd | odd_bytes(*word)) == 0
}

/// Not 0 if one of eight bytes is not plain. Where no byte has its upper bit, none borrows from its neighbour but one that is refused.
#[inline]
const fn odd_bytes(word: [u8; WORD]) -> u64 {
    const fn all(byte: u8) -> u64 {
        u64::from_le_bytes([byte; WORD])
    }
    let word = u64::from_le_bytes(word);
    let below_space = word.wrapping_sub(all(0x20));
    let is_delete = word.wrapping_add(all(0x01));
    let is_quote = (word ^ all(b'"')).wrapping_sub(all(0x01));
    let is_backslash = (word ^ all(b'\\')).wrapping_sub(all(0x01));
    (word | below_space | is_delete | is_quote | is_backslash) & all(0x80)
}

#[inline]
const fn is_plain_byte(byte: u8) -> bool {
    byte >= 0x20 && byte < 0x7f && byte != b'"' && byte != b'\\'
}

#[cold]
fn json_slowly(out: &mut Vec<u8>, value: &[u8]) {
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                // C0, DEL, C1: all below U+0100.
                control if control.is_control() => {
                    out.extend_from_slice(b"\\u00");
                    push_hex(out, u8::try_from(u32::from(control)).unwrap_or(b'?'), HEX_LOWER);
                }
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for byte in chunk.invalid() {
            out.extend_from_slice(b"\\\\x");
            push_hex(out, *byte, HEX_LOWER);
        }
    }
}

fn push_hex(out: &mut Vec<u8>, byte: u8, digits: &[u8; 16]) {
    out.push(digits[usize::from(byte >> 4)]);
    out.push(digits[usize::from(byte & 15)]);
}

/// Bytes looked at together.
const WORD: usize = size_of::<u64>();
const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn json_escapes() {
        for (claim, value, written) in [
            ("plain text is copied", &b"/a/b?c=d"[..], r"/a/b?c=d"),
            ("nothing stays nothing", b"", ""),
            ("a quote cannot end the string", b"a\"b", r#"a\"b"#),
            ("a backslash cannot escape the end", b"a\\", r"a\\"),
            ("a line cannot be injected", b"a\r\n{\"id\":1}", r#"a\r\n{\"id\":1}"#),
            ("a tab is short", b"\t", r"\t"),
            ("other controls are numbered", b"\x00\x1b[2J\x7f", r"\u0000\u001b[2J\u007f"),
            ("C1 controls do not reach the terminal", "\u{9b}2J".as_bytes(), r"\u009b2J"),
            ("UTF-8 stays as it is", "/straße/日本".as_bytes(), "/straße/日本"),
            ("a stray byte is shown in hexadecimal", b"a\xffb", r"a\\xffb"),
            ("a sequence cut short is shown byte by byte", b"\xe6\x97", r"\\xe6\\x97"),
            ("an overlong form is not UTF-8", b"\xc0\xaf", r"\\xc0\\xaf"),
            ("a surrogate is not UTF-8", b"\xed\xa0\x80", r"\\xed\\xa0\\x80"),
        ] {
            let mut out = Vec::new();
            json(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), written, "{claim}");
        }
    }

    #[test]
    fn combined_escapes() {
        for (claim, value, written) in [
            ("plain text is copied", &b"Mozilla/5.0 (X11)"[..], "Mozilla/5.0 (X11)"),
            ("nothing is a dash", b"", "-"),
            ("a quote cannot end the field", b"a\" 200", r"a\x22 200"),
            ("a line cannot be injected", b"a\nb", r"a\x0Ab"),
            ("a backslash is told from an escape", b"\\x22", r"\x5Cx22"),
            ("nothing above ASCII is left", "é".as_bytes(), r"\xC3\xA9"),
        ] {
            let mut out = Vec::new();
            combined(&mut out, value);
            assert_eq!(String::from_utf8(out).unwrap(), written, "{claim}");
        }
    }

    #[test]
    fn each_byte_is_judged_alike_alone_and_in_company() {
        for byte in 0..=u8::MAX {
            for length in 1..=25 {
                for at in 0..length {
                    let mut value = vec![b'~'; length];
                    value[at] = byte;
                    assert_eq!(is_plain(&value), is_plain_byte(byte), "{byte:#x} at {at} of {length}");
                    let mut value = vec![b' '; length];
                    value[at] = byte;
                    assert_eq!(is_plain(&value), is_plain_byte(byte), "{byte:#x} at {at} of {length}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_make_a_json_string_without_controls(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = vec![b'"'];
            json(&mut out, &value);
            out.push(b'"');
            let back: String = serde_json::from_slice(&out).unwrap();
            prop_assert!(!std::str::from_utf8(&out).unwrap().chars().any(char::is_control));
            if let Ok(text) = std::str::from_utf8(&value) {
                prop_assert_eq!(back, text);
            }
        }

        #[test]
        fn any_bytes_make_one_printable_combined_field(value in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut out = Vec::new();
            combined(&mut out, &value);
            prop_assert!(out.iter().all(|byte| (0x20..0x7f).contains(byte) && *byte != b'"'));
        }
    }
}
