//! `encode` as meant: which responses are sent in content codings, in which, and how hard they are compressed.

use std::sync::Arc;

use cache_store::rules::{Coding, Codings};

use super::limits::{ENCODE_BYTES_MIN, ENCODE_LEVEL_BEST, ENCODE_LEVEL_FAST};

/// Which responses are encoded, and how.
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
    /// Which responses that are not stored are encoded as they go, each time anew: `"anonymous"`, those to requests without `Cookie`
    /// and `Authorization`; `"all"` of them; or none. What is secret to a user can be guessed by the length of an encoded page that
    /// somebody else has a word in (BREACH); who shows nothing is told no secret. An event stream only where `types` names it in full.
    pub unstored: Unstored,
}

/// Which responses that are not stored are encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unstored {
    /// None.
    Off,
    /// Those to requests that do not say who asks.
    #[default]
    Anonymous,
    /// All.
    All,
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
            unstored: Unstored::default(),
        }
    }

    /// The codings as a set.
    pub fn set(&self) -> Codings {
        self.codings.iter().copied().collect()
    }

    /// Whether responses with this `Content-Type` are encoded.
    pub fn takes_type(&self, value: &[u8]) -> bool {
        self.types.iter().any(|pattern| pattern.matches(essence(value)))
    }

    /// The same of one that is encoded while it goes: an event stream lasts for hours, and holds an encoder's memory for as long, so it
    /// must be named in full; what frames messages itself (gRPC) says in each of them how it is encoded.
    pub fn takes_type_as_it_goes(&self, value: &[u8]) -> bool {
        let essence = essence(value);
        let lasts = essence.eq_ignore_ascii_case(EVENTS);
        let frames = essence.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC));
        !frames
            && self
                .types
                .iter()
                .any(|pattern| pattern.matches(essence) && !(lasts && pattern.after.is_some()))
    }
}

impl Unstored {
    /// As it stands in the settings.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Anonymous => "anonymous",
            Self::All => "all",
        }
    }
}

/// A `Content-Type` without its parameters.
fn essence(value: &[u8]) -> &[u8] {
    value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
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

const EVENTS: &[u8] = b"text/event-stream";
const GRPC: &[u8] = b"application/grpc";
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
    fn what_lasts_or_frames_itself_is_not_encoded_as_it_goes_unless_it_is_named() {
        let types = |texts: &[&str]| Encode {
            types: texts.iter().filter_map(|text| TypePattern::parse(text)).collect(),
            ..Encode::usual()
        };
        for (texts, value, expected) in [
            (&["text/*"][..], "text/html; charset=utf-8", true),
            (&["text/*"], "image/png", false),
            (&["text/*"], "Text/Event-Stream; charset=utf-8", false),
            (&["text/event-*"], "text/event-stream", false),
            (&["text/*", "text/event-stream"], "text/event-stream", true),
            (&["application/*"], "application/json", true),
            (&["application/*"], "application/grpc", false),
            (&["application/*+proto"], "application/grpc+proto", false),
            (&["application/grpc-web"], "application/grpc-web", false),
        ] {
            assert_eq!(
                types(texts).takes_type_as_it_goes(value.as_bytes()),
                expected,
                "{value} of {texts:?}"
            );
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
