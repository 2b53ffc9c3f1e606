//! What a caller may purge.
//!
//! A token is unlimited, or it names hosts, prefixes and tags. A limited one may purge what one of its lists allows, and never
//! everything. Tags are not bound to hosts: who may purge a tag may purge it wherever it stands.
//!
//! Invariant: what is looked at here is in normal form, as it will be purged ([`crate::request::Normalise`]), so no spelling
//! of a path leads out of a prefix.

use crate::error::SelectorError;
use crate::order::{HostName, Order, Scope, Selector, Tag};
use crate::request::Normalise;
use crate::url::ResourceUrl;

/// What a caller may purge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Grant {
    /// Whatever there is.
    All,
    /// What one of these allows.
    Limited(Box<[Allowed]>),
}

/// One line of a limited grant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Allowed {
    /// A host and all that is under it by URL.
    Host(HostName),
    /// The hosts below this one, `*.example.org`; not itself.
    HostsBelow(HostName),
    /// URLs and prefixes whose path begins with this one's.
    Prefix(ResourceUrl),
    /// A tag.
    Tag(Tag),
    /// Tags that begin so.
    TagsFrom(Tag),
}

impl Grant {
    /// The first selector of an order that is not allowed.
    pub fn first_outside<'o>(&self, order: &'o Order) -> Option<&'o Selector> {
        order.selectors.iter().find(|selector| !self.allows(selector))
    }

    /// Whether it may be purged.
    pub fn allows(&self, selector: &Selector) -> bool {
        match self {
            Self::All => true,
            Self::Limited(lines) => match selector {
                Selector::Everything => false,
                Selector::Url(url) | Selector::Prefix(url) => {
                    let Ok(host) = HostName::parse(url.host()) else { return false };
                    lines.iter().any(|line| line.takes_url(&host, url))
                }
                Selector::Host(host) => lines.iter().any(|line| line.takes_host(host)),
                Selector::Tag(tag) => lines.iter().any(|line| line.takes_tag(tag)),
            },
        }
    }
}

impl Allowed {
    /// A line of `hosts`: `www.example.com` or `*.example.org`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn host(text: &str) -> Result<Self, SelectorError> {
        Ok(match text.strip_prefix("*.") {
            Some(parent) => Self::HostsBelow(HostName::parse(parent)?),
            None => Self::Host(HostName::parse(text)?),
        })
    }

    /// A line of `prefixes`: `https://www.example.com/news/`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn prefix(text: &str, normalise: Normalise<'_>) -> Result<Self, SelectorError> {
        match Selector::parse(Scope::Prefix, text)? {
            Selector::Prefix(url) => Ok(Self::Prefix(normalise(&url)?)),
            _ => Err(SelectorError::NotByItself),
        }
    }

    /// A line of `tags`: `article-42` or `article-*`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn tag(text: &str) -> Result<Self, SelectorError> {
        Ok(match text.strip_suffix('*') {
            Some(start) => Self::TagsFrom(Tag::parse(start)?),
            None => Self::Tag(Tag::parse(text)?),
        })
    }

    fn takes_host(&self, host: &HostName) -> bool {
        match self {
            Self::Host(allowed) => allowed == host,
            Self::HostsBelow(parent) => host
                .as_str()
                .strip_suffix(parent.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
            Self::Prefix(_) | Self::Tag(_) | Self::TagsFrom(_) => false,
        }
    }

    fn takes_url(&self, host: &HostName, url: &ResourceUrl) -> bool {
        match self {
            Self::Prefix(prefix) => {
                let same_host = HostName::parse(prefix.host()).is_ok_and(|allowed| allowed == *host);
                same_host && url.target().starts_with(&prefix.target())
            }
            other => other.takes_host(host),
        }
    }

    fn takes_tag(&self, tag: &Tag) -> bool {
        match self {
            Self::Tag(allowed) => allowed == tag,
            Self::TagsFrom(start) => tag.as_str().starts_with(start.as_str()),
            Self::Host(_) | Self::HostsBelow(_) | Self::Prefix(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_limited_token_may_purge() {
        let grant = Grant::Limited(Box::new([
            Allowed::host("www.example.com").unwrap(),
            Allowed::host("*.example.org").unwrap(),
            Allowed::prefix("https://cdn.example/news/", &|url| Ok(url.clone())).unwrap(),
            Allowed::tag("front").unwrap(),
            Allowed::tag("article-*").unwrap(),
        ]));
        for (claim, scope, text, may) in [
            ("a URL of its host", Scope::Url, "https://www.example.com/x", true),
            ("under either scheme", Scope::Url, "http://www.example.com/x", true),
            ("on any port", Scope::Url, "http://www.example.com:8080/x", true),
            ("its host", Scope::Host, "www.example.com", true),
            ("a prefix of its host", Scope::Prefix, "https://www.example.com/", true),
            ("another host", Scope::Url, "https://example.com/x", false),
            ("a host that ends alike", Scope::Host, "evilwww.example.com", false),
            ("a host below its host", Scope::Host, "a.www.example.com", false),
            ("a host below its parent", Scope::Host, "a.example.org", true),
            ("however far below", Scope::Url, "https://a.b.example.org/", true),
            ("not the parent itself", Scope::Host, "example.org", false),
            ("not one that ends alike", Scope::Host, "evilexample.org", false),
            ("a URL under its prefix", Scope::Url, "http://cdn.example/news/1", true),
            ("a longer prefix", Scope::Prefix, "http://cdn.example/news/2026/", true),
            ("its prefix", Scope::Prefix, "http://cdn.example/news/", true),
            ("not a shorter one", Scope::Prefix, "http://cdn.example/news", false),
            ("not the root", Scope::Prefix, "http://cdn.example/", false),
            ("not another path", Scope::Url, "http://cdn.example/sport/1", false),
            ("not the whole host", Scope::Host, "cdn.example", false),
            ("not that path on another host", Scope::Url, "http://cdn.example.com/news/1", false),
            ("its tag", Scope::Tag, "front", true),
            ("not one that begins alike", Scope::Tag, "front-2", false),
            ("not in another case", Scope::Tag, "Front", false),
            ("a tag that begins as it may", Scope::Tag, "article-42", true),
            ("not the beginning of one", Scope::Tag, "article", false),
            ("a tag that is a host's name", Scope::Tag, "www.example.com", false),
            ("never everything", Scope::Everything, "", false),
        ] {
            let selector = Selector::parse(scope, text).unwrap();
            assert_eq!(grant.allows(&selector), may, "{claim}");
            assert!(Grant::All.allows(&selector), "{claim}");
            assert!(!Grant::Limited(Box::default()).allows(&selector), "no line allows nothing: {claim}");
        }
    }

    #[test]
    fn the_first_selector_outside_is_found_wherever_it_stands() {
        let grant = Grant::Limited(Box::new([Allowed::host("a").unwrap()]));
        let good = Selector::parse(Scope::Url, "http://a/").unwrap();
        let bad = Selector::parse(Scope::Url, "http://b/").unwrap();
        for (selectors, outside) in [
            (vec![good.clone(), good.clone()], None),
            (vec![good.clone(), bad.clone(), Selector::Everything], Some(&bad)),
            (vec![Selector::Everything, good], Some(&Selector::Everything)),
        ] {
            assert_eq!(grant.first_outside(&Order { selectors, soft: true }), outside);
        }
    }

    #[test]
    fn lines_that_would_mean_too_much_are_refused() {
        for line in [
            Allowed::host("*"),
            Allowed::host("*."),
            Allowed::host("*.*.example.org"),
            Allowed::host("a:80"),
            Allowed::host(""),
            Allowed::tag("*"),
            Allowed::tag("a b*"),
            Allowed::prefix("/news/", &|url| Ok(url.clone())),
            Allowed::prefix("https://a/news/?x", &|url| Ok(url.clone())),
        ] {
            assert!(line.is_err(), "{line:?}");
        }
    }
}
