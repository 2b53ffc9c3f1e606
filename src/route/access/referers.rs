//! The page that a request comes from, by `Referer` (RFC 9110 §10.1.3).
//!
//! Read as a browser writes it and no other way: an `http` or `https` URL whose authority is a host and perhaps a port. A value
//! that could be read as two hosts (user information, a backslash, two lines that differ) names none of them, and is refused.

use std::collections::HashSet;

use crate::config::HostPattern;
use crate::config::access::Referers;
use crate::listener::fields::{FieldId, Fields};
use crate::listener::request::Scheme;
use crate::route::Authority;

/// Pages from which a request may come.
#[derive(Debug)]
pub(super) struct RefererRule {
    exact: HashSet<Box<[u8]>>,
    /// What stands behind `*.`.
    parents: Vec<Box<[u8]>>,
    none: bool,
}

impl RefererRule {
    pub(super) fn of(rule: &Referers) -> Self {
        let (mut exact, mut parents) = (HashSet::new(), Vec::new());
        for host in &rule.hosts {
            match host {
                HostPattern::Exact(host) => drop(exact.insert(normal(host))),
                HostPattern::Wildcard(parent) => parents.push(normal(parent)),
                HostPattern::Any => parents.push(Box::default()),
            }
        }
        Self { exact, parents, none: rule.none }
    }

    /// Whether a request for `authority`, in normal form, may come from the page that it names.
    pub(super) fn admits(&self, fields: &Fields, authority: &[u8]) -> bool {
        let mut pages = fields.all(FieldId::Referer).peekable();
        if pages.peek().is_none() {
            return self.none;
        }
        pages.all(|page| match page.trim_ascii() {
            // RFC 9110: what a user typed has no page.
            b"" | b"about:blank" => self.none,
            page => host_of(page)
                .is_some_and(|host| self.knows(host.host()) || host.host() == host_part(authority)),
        })
    }

    fn knows(&self, host: &[u8]) -> bool {
        let is_below = |parent: &[u8]| {
            parent.is_empty()
                || host.strip_suffix(parent).is_some_and(|sub| sub.len() > 1 && sub.ends_with(b"."))
        };
        self.exact.contains(host) || self.parents.iter().any(|parent| is_below(parent))
    }
}

/// The host of a page's URL, in normal form.
fn host_of(page: &[u8]) -> Option<Authority<'_>> {
    let (scheme, rest) =
        [("https://", Scheme::Https), ("http://", Scheme::Http)].into_iter().find_map(|(text, scheme)| {
            let start = page.get(..text.len())?;
            start
                .eq_ignore_ascii_case(text.as_bytes())
                .then(|| (scheme, page.get(text.len()..).unwrap_or_default()))
        })?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    Authority::of(scheme, rest.get(..end)?).ok()
}

/// The host of an authority in normal form.
fn host_part(authority: &[u8]) -> &[u8] {
    let end = match authority.iter().rposition(|byte| *byte == b':') {
        Some(colon) if !authority.ends_with(b"]") => colon,
        _ => authority.len(),
    };
    authority.get(..end).unwrap_or_default()
}

/// A host of the settings as requests name it.
fn normal(host: &str) -> Box<[u8]> {
    let normal = Authority::of(Scheme::Http, host.as_bytes()).map(|authority| authority.host().into());
    normal.unwrap_or_else(|_| host.to_ascii_lowercase().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(none: bool, lines: &[&str]) -> bool {
        let hosts =
            vec![HostPattern::Exact("friend.test".into()), HostPattern::Wildcard("family.test".into())];
        let fields = Fields::pack(lines.iter().map(|line| (&b"referer"[..], line.as_bytes())));
        RefererRule::of(&Referers { hosts, none }).admits(&fields, b"www.own.test:8080")
    }

    #[test]
    fn a_page_is_known_by_its_host_and_by_nothing_that_looks_like_it() {
        for (page, known) in [
            ("https://friend.test/", true),
            ("http://friend.test", true),
            ("HTTPS://FRIEND.TEST:8443/a?b#c", true),
            ("https://friend.test./x", true),
            ("https://a.family.test/", true),
            ("https://a.b.family.test/", true),
            ("https://www.own.test/page", true),
            ("https://family.test/", false),
            ("https://.family.test/", false),
            ("https://notfamily.test/", false),
            ("https://www.friend.test/", false),
            ("https://friend.test.evil.test/", false),
            ("https://evil.test/friend.test", false),
            ("https://evil.test?friend.test", false),
            ("https://evil.test#https://friend.test/", false),
            ("https://friend.test@evil.test/", false),
            ("https://evil.test\\.family.test/", false),
            ("https://evil.test\\@friend.test/", false),
            ("https://evil.test,friend.test/", false),
            ("https://evil.test friend.test/", false),
            ("ftp://friend.test/", false),
            ("//friend.test/", false),
            ("friend.test", false),
            ("https:/friend.test/", false),
            ("https://", false),
            ("unknown", false),
            ("https://[::1]/", false),
            ("https://\u{ff46}riend.test/", false),
        ] {
            for none in [false, true] {
                assert_eq!(admits(none, &[page]), known, "{page}");
            }
        }
    }

    #[test]
    fn a_request_without_a_page_is_as_the_rule_says() {
        for lines in [&[][..], &[""], &["about:blank"]] {
            assert!(admits(true, lines) && !admits(false, lines), "{lines:?}");
        }
    }

    #[test]
    fn every_line_must_be_known() {
        assert!(admits(false, &["https://friend.test/", "https://a.family.test/"]));
        assert!(!admits(true, &["https://friend.test/", "https://evil.test/"]));
        assert!(!admits(true, &["https://evil.test/", "https://friend.test/"]));
    }
}
