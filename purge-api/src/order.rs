//! What a purge takes: selectors, all under one number.
//!
//! An [`Order`] is text that has become a type: every selector in it was checked at the door, so whoever applies it or
//! writes it down need not look at text again. Each selector has a scope and a text, and reads the same again from the two
//! ([`Selector::parse`]), which is how logs keep it.
//!
//! Invariant: nothing here ever means more than was written; "everything" is a selector of its own, never an empty one.

use std::fmt;

use cache_store::purge;

use crate::error::{HostError, SelectorError, TagError, UrlError};
use crate::limits::{HOST_BYTES_MAX, TAG_BYTES_MAX};
use crate::url::ResourceUrl;

/// A purge, applied whole or not at all.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    /// What it takes; never empty.
    pub selectors: Vec<Selector>,
    /// Make stale rather than forget.
    pub soft: bool,
}

/// One thing that a purge takes.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Selector {
    /// One URL with all its variants, under either scheme.
    Url(ResourceUrl),
    /// Every URL of a host whose path begins with this one's; the scheme does not matter, and there is no query.
    Prefix(ResourceUrl),
    /// Every URL of a host, on whatever port.
    Host(HostName),
    /// Every response that carries a tag.
    Tag(Tag),
    /// Whatever is stored.
    Everything,
}

/// The kinds of selectors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Scope {
    /// [`Selector::Url`].
    Url,
    /// [`Selector::Prefix`].
    Prefix,
    /// [`Selector::Host`].
    Host,
    /// [`Selector::Tag`].
    Tag,
    /// [`Selector::Everything`].
    Everything,
}

/// A host without port: lower case, punycode as written, an IPv6 address in brackets.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct HostName(Box<str>);

/// A tag (a surrogate key): matched whole, by its bytes. 1 to 256 bytes of visible ASCII without comma.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Tag(Box<str>);

impl Order {
    /// The scope of all its selectors, or `None` where there are several.
    pub fn scope(&self) -> Option<Scope> {
        let first = self.selectors.first()?.scope();
        self.selectors.iter().all(|selector| selector.scope() == first).then_some(first)
    }
}

impl Selector {
    /// The selector of this scope and text, as [`Selector::scope`] and its `Display` give them; text beside `everything` is
    /// refused.
    ///
    /// # Errors
    /// [`SelectorError`], the writer's fault.
    pub fn parse(scope: Scope, text: &str) -> Result<Self, SelectorError> {
        Ok(match scope {
            Scope::Url => Self::Url(ResourceUrl::parse(text)?),
            Scope::Prefix => Self::Prefix(prefix(text)?),
            Scope::Host => Self::Host(HostName::parse(text)?),
            Scope::Tag => Self::Tag(Tag::parse(text)?),
            Scope::Everything if text.is_empty() => Self::Everything,
            Scope::Everything => return Err(SelectorError::NotByItself),
        })
    }

    /// The selector that a scope of the store was made of; `None` where it no longer reads as one.
    pub fn of_scope(scope: &purge::Scope) -> Option<Self> {
        let (kind, text) = match scope {
            purge::Scope::Url { url, .. } => (Scope::Url, url.to_string()),
            purge::Scope::Prefix { authority, path } => (Scope::Prefix, format!("http://{authority}{path}")),
            purge::Scope::Host(host) => (Scope::Host, host.to_string()),
            purge::Scope::Tag(tag) => (Scope::Tag, tag.to_string()),
            purge::Scope::Everything => (Scope::Everything, String::new()),
        };
        Self::parse(kind, &text).ok()
    }

    /// Kind and text, for people.
    pub fn told(&self) -> String {
        match self {
            Self::Everything => "everything".to_owned(),
            other => format!("the {} `{other}`", other.scope().noun()),
        }
    }

    /// Its kind.
    pub const fn scope(&self) -> Scope {
        match self {
            Self::Url(_) => Scope::Url,
            Self::Prefix(_) => Scope::Prefix,
            Self::Host(_) => Scope::Host,
            Self::Tag(_) => Scope::Tag,
            Self::Everything => Scope::Everything,
        }
    }
}

/// Its text, empty for everything.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(url) | Self::Prefix(url) => url.fmt(f),
            Self::Host(host) => f.write_str(host.as_str()),
            Self::Tag(tag) => f.write_str(tag.as_str()),
            Self::Everything => Ok(()),
        }
    }
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Url, Self::Prefix, Self::Host, Self::Tag, Self::Everything];

    /// As named in receipts, logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Prefix => "prefix",
            Self::Host => "host",
            Self::Tag => "tag",
            Self::Everything => "everything",
        }
    }

    /// Whether applying it says how many responses it takes: those of all but URLs are found when they are asked for.
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::Url)
    }

    /// One entry of it, as a noun.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Url => "URL",
            other => other.as_str(),
        }
    }

    /// The scope of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scope| scope.as_str() == name)
    }
}

impl HostName {
    /// The host in this text.
    ///
    /// # Errors
    /// [`HostError`], the writer's fault: a port, a scheme, or what no host is spelled with.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if text.len() > HOST_BYTES_MAX {
            return Err(HostError::TooLong(HOST_BYTES_MAX));
        }
        if text.contains('/') {
            return Err(HostError::Url);
        }
        if let Some(inner) = text.strip_prefix('[') {
            let Some((address, rest)) = inner.split_once(']') else { return Err(HostError::Character) };
            let address: std::net::Ipv6Addr = address.parse().map_err(|_| HostError::Character)?;
            return match rest {
                "" => Ok(Self(format!("[{address}]").into())),
                _ if rest.starts_with(':') => Err(HostError::Port(format!("[{address}]").into())),
                _ => Err(HostError::Character),
            };
        }
        if let Some((host, port)) = text.split_once(':') {
            let port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
            return Err(if port { HostError::Port(host.into()) } else { HostError::Character });
        }
        let spelled = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let host = text.strip_suffix('.').unwrap_or(text);
        if host.is_empty() || host.split('.').any(str::is_empty) {
            return Err(HostError::Empty);
        }
        if !host.bytes().all(spelled) {
            return Err(HostError::Character);
        }
        Ok(Self(host.to_ascii_lowercase().into()))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Tag {
    /// The tag in this text.
    ///
    /// # Errors
    /// [`TagError`], the writer's fault.
    pub fn parse(text: &str) -> Result<Self, TagError> {
        match text.len() {
            0 => Err(TagError::Empty),
            1..=TAG_BYTES_MAX if text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',') => {
                Ok(Self(text.into()))
            }
            1..=TAG_BYTES_MAX => Err(TagError::Character),
            _ => Err(TagError::TooLong(TAG_BYTES_MAX)),
        }
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A prefix: an absolute URL that ends with its path. What would make it mean something else than it says is refused: a
/// fragment would be dropped silently, a query would have to match the beginning of one in another spelling, and dot segments
/// would widen it.
fn prefix(text: &str) -> Result<ResourceUrl, UrlError> {
    if text.contains('#') {
        return Err(UrlError::PrefixFragment);
    }
    if text.contains('?') {
        return Err(UrlError::PrefixQuery);
    }
    let url = ResourceUrl::parse(text)?;
    let dots = |segment: &str| {
        let plain = segment.replace("%2e", ".").replace("%2E", ".");
        plain == "." || plain == ".."
    };
    if url.target().split('/').any(dots) { Err(UrlError::PrefixDots) } else { Ok(url) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (claim, text, expected) in [
            ("a host is its name", "www.example.com", Ok("www.example.com")),
            ("a host has no case", "WWW.Example.COM", Ok("www.example.com")),
            ("a dot at the end says nothing", "example.com.", Ok("example.com")),
            ("punycode stays as written", "xn--bcher-kva.example", Ok("xn--bcher-kva.example")),
            ("an address is a host", "127.0.0.1", Ok("127.0.0.1")),
            ("an IPv6 address has one spelling", "[::0:1]", Ok("[::1]")),
            ("a port is refused", "example.com:8080", Err(HostError::Port("example.com".into()))),
            ("a port behind an address too", "[::1]:80", Err(HostError::Port("[::1]".into()))),
            ("a URL is refused", "https://example.com", Err(HostError::Url)),
            ("a path is refused", "example.com/x", Err(HostError::Url)),
            ("nothing is no host", "", Err(HostError::Empty)),
            ("a dot is no host", ".", Err(HostError::Empty)),
            ("an empty label is no name", "a..b", Err(HostError::Empty)),
            ("a wildcard is no host", "*.example.com", Err(HostError::Character)),
            ("letters above ASCII are punycode", "bücher.example", Err(HostError::Character)),
            ("spaces are refused", "example.com ", Err(HostError::Character)),
            ("bare colons are refused", "::1", Err(HostError::Character)),
            ("length is bounded", &"a".repeat(300), Err(HostError::TooLong(HOST_BYTES_MAX))),
        ] {
            let host = HostName::parse(text);
            assert_eq!(host.as_ref().map(HostName::as_str), expected.as_ref().map(|host| *host), "{claim}");
        }
    }

    #[test]
    fn tags() {
        let long = "x".repeat(TAG_BYTES_MAX);
        for (claim, text, expected) in [
            ("a tag is its bytes", "article:42", Ok(())),
            ("case matters, and stays", "Article", Ok(())),
            ("the longest is good", long.as_str(), Ok(())),
            ("one byte more is not", &format!("{long}x"), Err(TagError::TooLong(TAG_BYTES_MAX))),
            ("nothing is no tag", "", Err(TagError::Empty)),
            ("a space separates tags", "a b", Err(TagError::Character)),
            ("so does a comma", "a,b", Err(TagError::Character)),
            ("letters above ASCII never stood in a field", "é", Err(TagError::Character)),
            ("nor did a line feed", "a\n", Err(TagError::Character)),
        ] {
            let tag = Tag::parse(text);
            assert_eq!(tag.as_ref().map(Tag::as_str), expected.as_ref().map(|()| text), "{claim}");
        }
    }

    #[test]
    fn prefixes_end_with_their_path() {
        for (claim, text, expected) in [
            ("a path is a prefix", "https://a/news/", Ok("https://a/news/")),
            ("a host is the prefix of its root", "https://a", Ok("https://a/")),
            ("a query is refused", "https://a/news?p=", Err(SelectorError::Url(UrlError::PrefixQuery))),
            ("a fragment is refused", "https://a/#x", Err(SelectorError::Url(UrlError::PrefixFragment))),
            ("dots would widen it", "https://a/news/..", Err(SelectorError::Url(UrlError::PrefixDots))),
            ("however written", "https://a/%2E%2e/x", Err(SelectorError::Url(UrlError::PrefixDots))),
            ("a dot within a segment is one", "https://a/.well-known", Ok("https://a/.well-known")),
            ("a path alone is refused", "/news/", Err(SelectorError::Url(UrlError::NotAbsolute))),
        ] {
            let selector = Selector::parse(Scope::Prefix, text).map(|selector| selector.to_string());
            assert_eq!(selector.as_deref(), expected.as_ref().map(|text| *text), "{claim}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_down_reads_the_same_again(at in 0..5_usize, text in "(https?://)?[ -~]{0,30}") {
            let scope = Scope::ALL[at];
            prop_assert_eq!(Scope::named(scope.as_str()), Some(scope));
            if let Ok(selector) = Selector::parse(scope, &text) {
                prop_assert_eq!(selector.scope(), scope);
                prop_assert_eq!(Selector::parse(scope, &selector.to_string()), Ok(selector));
            }
        }
    }
}
