//! Why a call was not carried out, by cause.

use crate::order::Scope;

/// A purge that could not be applied.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PurgeError {
    /// The caller named a host that nothing is stored for, ever.
    #[error("no site of this node serves the host `{0}`")]
    NoSite(String),
    /// The purge cannot be recorded now. It holds while the node runs; what it took may come back with the next start.
    #[error("the purge cannot be recorded, so it may not outlast the node: {0}; send it again")]
    Unavailable(String),
    /// A note beyond `NOTES_MAX` names.
    #[error("{0} notes are kept already; no other can be")]
    TooManyNotes(usize),
    /// A note beyond `NOTE_BYTES_MAX`.
    #[error("a note may hold {0} bytes")]
    NoteTooLong(usize),
}

/// A call refused whole. Always the caller's fault, but for [`Refusal::Failed`].
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refusal {
    /// The body is not what it should be.
    #[error("the body is not a purge request: {0}")]
    Malformed(String),
    /// Members of the body that are not known, or hold what they cannot.
    #[error("{} of the body {}; nothing was purged", count(.0.len(), "member"), cannot(.0))]
    Members(Vec<Mistake>),
    /// Nothing was selected.
    #[error(
        "nothing is selected: name `urls`, `prefixes`, `hosts` or `tags`, or say `\"everything\": true`; an empty selection never means everything"
    )]
    Empty,
    /// `everything` beside another selector.
    #[error("`everything` must stand by itself, without {0}")]
    NotByItself(&'static str),
    /// More entries than one call may carry.
    #[error("{count} entries, but one call may carry {max}; send several calls")]
    TooMany {
        /// How many there were.
        count: usize,
        /// How many there may be.
        max: usize,
    },
    /// Entries that cannot be purged, each with its place.
    #[error("{} {}; nothing was purged", entries(.0.len(), .1.noun()), cannot(.0))]
    Entries(Vec<Mistake>, Scope),
    /// What the caller may not purge.
    #[error("the token `{token}` may not purge {what}; nothing was purged")]
    OutOfScope {
        /// The token's name.
        token: Box<str>,
        /// The first of what it may not.
        what: String,
    },
    /// What has been meant cannot be said in this call's words.
    #[error("{0}")]
    NotSupported(String),
    /// The purge itself failed.
    #[error(transparent)]
    Failed(#[from] PurgeError),
}

/// Something wrong in a body, with its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mistake {
    /// A JSON pointer in a fragment, RFC 6901 §6.
    pub pointer: String,
    /// What is wrong, and what to write instead.
    pub detail: String,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum UrlError {
    /// Longer than `URL_BYTES_MAX`.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not `http://host/…` nor `https://host/…`.
    #[error("not an absolute URL: write `https://www.example.com/path`")]
    NotAbsolute,
    /// `user:password@`.
    #[error("a user name has no place in it")]
    UserInfo,
    /// A character that a URL cannot hold.
    #[error("holds a character that must be percent-encoded")]
    Character,
    /// A prefix with a query.
    #[error("a prefix ends with its path: leave out `?` and what follows, every query is taken with it")]
    PrefixQuery,
    /// A prefix with `.` or `..` for a segment.
    #[error("a prefix with `.` or `..` in its path would mean another: write the path that it leads to")]
    PrefixDots,
    /// It has no normal form.
    #[error("not a URL that a request could have: {0}")]
    Abnormal(&'static str),
    /// A prefix with a fragment.
    #[error("a prefix ends with its path: leave out `#` and what follows, it never reaches a server")]
    PrefixFragment,
}

/// What is wrong with a host.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum HostError {
    /// Nothing there, or nothing between two dots.
    #[error("not a host: write `www.example.com`")]
    Empty,
    /// Longer than `HOST_BYTES_MAX`.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// With a port.
    #[error("a host is purged on all its ports: write `{0}`")]
    Port(Box<str>),
    /// A URL or a path.
    #[error("a host has no scheme and no path: write `www.example.com`, or purge a prefix")]
    Url,
    /// A character that no host holds.
    #[error("holds a character that no host has; names above ASCII are written in punycode")]
    Character,
}

/// What is wrong with a tag.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TagError {
    /// Nothing there.
    #[error("an empty tag")]
    Empty,
    /// Longer than `TAG_BYTES_MAX`.
    #[error("longer than {0} bytes")]
    TooLong(usize),
    /// Not visible ASCII, or a comma or space, which separate tags.
    #[error("holds a character that no tag has: tags are visible ASCII, commas and spaces separate them")]
    Character,
}

/// What is wrong with a selector.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SelectorError {
    /// With a URL or prefix.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// With a host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// With a tag.
    #[error(transparent)]
    Tag(#[from] TagError),
    /// Everything, and then something.
    #[error("everything stands by itself")]
    NotByItself,
}

/// What is wrong where there is but one mistake, so that whoever shows only a sentence shows enough.
fn cannot(mistakes: &[Mistake]) -> String {
    match mistakes {
        [one] => format!("cannot be understood, {}: {}", one.pointer, one.detail),
        _ => "cannot be understood".to_owned(),
    }
}

/// Entries of one list or of several.
fn entries(count: usize, noun: &str) -> String {
    if count == 1 { format!("one {noun}") } else { format!("{count} entries") }
}

fn count(count: usize, noun: &str) -> String {
    if count == 1 { format!("one {noun}") } else { format!("{count} {noun}s") }
}
