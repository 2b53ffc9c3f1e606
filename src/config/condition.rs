//! What a request must be like beside its path: the `match` of a route, of which all must hold, and the `bypass`, of which one is
//! enough to send requests around the cache.
//!
//! Values are patterns in which `*` stands for any run of bytes; they are compared with case, as they are on the wire.
//! `route/condition.rs` judges requests by them.

use std::fmt;

use geo::Code;
use http::HeaderName;

use super::Network;

/// Conditions on the parts of a request.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Conditions {
    /// By header field, by name.
    pub header: Vec<(HeaderName, Wanted)>,
    /// By query parameter; in a `bypass` also by the beginning of names, ending in `*`.
    pub query: Vec<(Box<str>, Wanted)>,
    /// By cookie, in the same way.
    pub cookie: Vec<(Box<str>, Wanted)>,
    /// The client's address is in one of these; empty: any.
    pub client: Vec<Network>,
    /// The client is in one of these countries, by `[geo]`'s database; empty: anywhere. A client that is nowhere is in none.
    pub country: Vec<Code>,
}

/// What is asked of a field, parameter or cookie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// One of its values is like one of these.
    Like(Vec<Glob>),
}

/// Text in which `*` stands for any run of bytes; split at its stars, so never empty.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Glob(Vec<Box<str>>);

impl Conditions {
    /// Whether nothing is asked.
    pub fn is_empty(&self) -> bool {
        let Self { header, query, cookie, client, country } = self;
        header.is_empty() && query.is_empty() && cookie.is_empty() && client.is_empty() && country.is_empty()
    }
}

impl Glob {
    /// The pattern in `text`.
    pub fn new(text: &str) -> Self {
        Self(text.split('*').map(Box::from).collect())
    }

    /// Whether `text` is like it.
    pub fn matches(&self, text: &[u8]) -> bool {
        let pieces = &self.0;
        let (Some(head), Some(tail)) = (pieces.first(), pieces.last()) else { return false };
        if pieces.len() == 1 {
            return text == head.as_bytes();
        }
        let Some(mut rest) = text.strip_prefix(head.as_bytes()) else { return false };
        for piece in pieces.get(1..pieces.len() - 1).unwrap_or_default() {
            // The leftmost place is never worse: what follows may then begin anywhere behind it.
            let Some(at) = memchr::memmem::find(rest, piece.as_bytes()) else { return false };
            rest = rest.get(at + piece.len()..).unwrap_or_default();
        }
        rest.ends_with(tail.as_bytes())
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("*"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_run_of_bytes() {
        for (pattern, text, is_like) in [
            ("", "", true),
            ("", "a", false),
            ("a", "a", true),
            ("a", "A", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*json*", "application/json, */*", true),
            ("a*b*c", "abbbc", true),
            ("a*b", "ab", true),
            ("ab*b", "ab", false),
            ("*a*a", "a", false),
            ("a**c", "abc", true),
        ] {
            assert_eq!(Glob::new(pattern).matches(text.as_bytes()), is_like, "{pattern} and {text}");
            assert_eq!(Glob::new(pattern).to_string(), pattern);
        }
    }
}
