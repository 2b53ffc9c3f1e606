//! `encode` as meant: which stored responses are kept in content codings too, in which, and how hard they are compressed.

use std::sync::Arc;

use cache_store::rules::{Coding, Codings};

use super::limits::{ENCODE_BYTES_MIN, ENCODE_LEVEL_BEST, ENCODE_LEVEL_FAST};

/// Which stored responses are encoded, and how.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Encode {
    /// In which codings, the one that is sent to a client that likes several as well first.
    pub codings: Vec<Coding>,
    /// Of which media types.
    pub types: Vec<TypePattern>,
    /// From how many bytes of body on.
    pub bytes_min: u64,
    /// How hard at first, on brotli's scale from 1 to 11: as soon as somebody asks.
    pub level_fast: u8,
    /// How hard while nothing else is to be encoded, for what is still asked for a while later; the same as
    /// [`Encode::level_fast`]: never again.
    pub level_best: u8,
}

/// A media type as written in `types`: lower case, with at most one `*`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TypePattern {
    before: Box<str>,
    /// What follows the `*`, if there is one.
    after: Option<Box<str>>,
}

impl Encode {
    /// All codings, and what is text in one form or another.
    pub fn usual() -> Self {
        Self {
            codings: Coding::ALL.to_vec(),
            types: TYPES.iter().filter_map(|text| TypePattern::parse(text)).collect(),
            bytes_min: ENCODE_BYTES_MIN,
            level_fast: ENCODE_LEVEL_FAST,
            level_best: ENCODE_LEVEL_BEST,
        }
    }

    /// The codings as a set.
    pub fn set(&self) -> Codings {
        self.codings.iter().copied().collect()
    }

    /// Whether responses with this `Content-Type` are encoded.
    pub fn takes_type(&self, value: &[u8]) -> bool {
        let essence = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        self.types.iter().any(|pattern| pattern.matches(essence))
    }
}

impl TypePattern {
    /// `text/html`, `text/*` or `application/*+json`; `None` where it is none of these.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.to_ascii_lowercase();
        let (kind, sub) = text.split_once('/')?;
        let is_token = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        let is_right = match sub.split_once('*') {
            None => is_token(sub),
            Some((before, after)) => [before, after].iter().all(|part| part.is_empty() || is_token(part)),
        };
        if !is_token(kind) || !is_right {
            return None;
        }
        Some(match text.split_once('*') {
            None => Self { before: text.into(), after: None },
            Some((before, after)) => Self { before: before.into(), after: Some(after.into()) },
        })
    }

    fn matches(&self, essence: &[u8]) -> bool {
        let before = self.before.as_bytes();
        let Some((start, rest)) = essence.split_at_checked(before.len()) else { return false };
        start.eq_ignore_ascii_case(before)
            && match self.after.as_deref().map(str::as_bytes) {
                None => rest.is_empty(),
                Some(after) => rest
                    .len()
                    .checked_sub(after.len())
                    .and_then(|at| rest.get(at..))
                    .is_some_and(|end| end.eq_ignore_ascii_case(after)),
            }
    }
}

impl std::fmt::Display for TypePattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.before)?;
        self.after.as_ref().map_or(Ok(()), |after| write!(f, "*{after}"))
    }
}

/// What a preset begins with, if it encodes.
pub(super) fn shared_usual() -> Arc<Encode> {
    Arc::new(Encode::usual())
}

/// Text in one form or another, and what is not compressed in itself. Images, video, archives and `woff2` are.
const TYPES: &[&str] = &[
    "text/*",
    "application/json",
    "application/*+json",
    "application/javascript",
    "application/x-javascript",
    "application/ecmascript",
    "application/xml",
    "application/*+xml",
    "application/wasm",
    "application/x-ndjson",
    "application/graphql-response",
    "application/x-font-ttf",
    "application/x-font-otf",
    "application/vnd.ms-fontobject",
    "application/x-web-app-manifest",
    "font/ttf",
    "font/otf",
    "font/sfnt",
    "font/collection",
    "image/svg+xml",
    "image/x-icon",
    "image/vnd.microsoft.icon",
    "image/bmp",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_encoded_and_what_is_compressed_is_not() {
        let usual = Encode::usual();
        assert_eq!(usual.types.len(), TYPES.len(), "each of them is a pattern");
        for (value, expected) in [
            ("text/html; charset=utf-8", true),
            ("TEXT/CSS", true),
            ("text/", true),
            ("text", false),
            ("", false),
            (" application/json ;x", true),
            ("application/ld+json", true),
            ("application/+json", true),
            ("application/json5", false),
            ("application/problem+jsonx", false),
            ("image/svg+xml", true),
            ("image/png", false),
            ("video/mp4", false),
            ("font/woff2", false),
            ("font/ttf", true),
            ("application/zip", false),
            ("application/octet-stream", false),
            ("x-text/html", false),
        ] {
            assert_eq!(usual.takes_type(value.as_bytes()), expected, "{value}");
        }
    }

    #[test]
    fn a_pattern_is_a_media_type_with_at_most_one_star() {
        for text in ["text/html", "text/*", "application/*+json", "a/b*c", "image/svg+xml"] {
            assert_eq!(TypePattern::parse(text).map(|pattern| pattern.to_string()).as_deref(), Some(text));
        }
        for text in ["", "text", "*/*", "*", "text/", "/html", "a/*b*", "text/html; q=1", "a/b/c", "te xt/a"]
        {
            assert_eq!(TypePattern::parse(text), None, "{text}");
        }
    }
}
