//! Whether a value is SQL or markup that is meant to break out of where an application puts it: asked of libinjection, which
//! tokenizes the value as a database or a browser would and compares the shape with those of known attacks.
//!
//! The library is `barbacane-libinjection`: a port of libinjection to Rust without `unsafe`, tested against the C original on its
//! corpus of 163,000 inputs. What knows attacks is there; here stand only the two shapes that can be none, so that most values cost a
//! scan. Should it panic, that is a third answer and not the end of the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use libinjectionrs::{SqliFlags, SqliState, detect_xss};

/// What a value is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Value {
    /// Nothing known.
    Harmless,
    /// SQL, with its fingerprint: up to five tokens, a letter each.
    Sql([u8; FINGERPRINT_BYTES_MAX]),
    /// Markup that runs.
    Script,
    /// What the library breaks on.
    Unreadable,
}

/// What `value` is.
pub(super) fn what_is(value: &[u8]) -> Value {
    if is_word(value) {
        return Value::Harmless;
    }
    // Nothing of ours is in it.
    catch_unwind(AssertUnwindSafe(|| asked(value))).unwrap_or(Value::Unreadable)
}

fn asked(value: &[u8]) -> Value {
    let mut state = SqliState::new(value, SqliFlags::FLAG_NONE);
    if state.detect() {
        return Value::Sql(state.fingerprint);
    }
    // A tag begins with the one, the value of an attribute stands behind the other.
    if memchr::memchr2(b'<', b'=', value).is_some() && detect_xss(value).is_injection() {
        return Value::Script;
    }
    Value::Harmless
}

/// Whether it is a number, a word, or one behind the other: no attack has less in it than that.
fn is_word(value: &[u8]) -> bool {
    value.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

pub(super) const FINGERPRINT_BYTES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_looked_at_would_be_harmless_anyway() {
        let words = [
            "1",
            "0",
            "0x1F",
            "0b1",
            "1e5",
            "1d",
            "1f",
            "UNION",
            "union",
            "SELECT",
            "or",
            "AND",
            "x",
            "_",
            "__",
            "sp_password",
            "sleep",
            "IF",
            "N",
            "q",
            "DROP",
            "TABLE",
            "e",
            "u",
            "null",
            "_utf8",
            "b",
            "X",
            "9",
            "USER",
        ];
        let all = |depth: usize| {
            let mut texts = vec![String::new()];
            for _ in 0..depth {
                texts = texts.iter().flat_map(|text| words.map(|word| format!("{text}{word}"))).collect();
            }
            texts
        };
        for text in (1..=3).flat_map(all) {
            assert!(is_word(text.as_bytes()));
            assert_eq!(asked(text.as_bytes()), Value::Harmless, "{text}");
        }
    }

    #[test]
    fn markup_without_a_tag_or_an_equals_sign_is_never_an_attack() {
        for text in
            ["onerror", "javascript:alert(1)", "' onload alert(1)", "a>b", "\" style x", "/ xmlns:x y"]
        {
            assert!(!detect_xss(text.as_bytes()).is_injection(), "{text}");
        }
    }
}
