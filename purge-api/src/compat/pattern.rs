//! The few regular expressions that name exactly a host, a prefix, a URL or tags.
//!
//! ```text
//! url    .*  ^/.*  ^.*$            everything of the host
//!        ^/news/  ^/news/.*  …$    a prefix
//!        ^/news/index\.html$       one URL
//! host   .*                        every host
//!        a  ^a$  ^(a|b)$           those; dots may stand unescaped, as everybody writes them
//! tags   .*                        every tag
//!        a  a|b                    those, and as Symfony and Magento write them:
//!        (^|,)(a|b)(,|$)           ((^|,)a(,|$))|((^|,)b(,|$))
//! ```
//!
//! All else is told to be none of these.

/// What a pattern for URLs takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum UrlPattern {
    /// Whatever there is.
    All,
    /// Paths that begin so.
    Prefix(String),
    /// This path, with its query.
    Exact(String),
}

/// What a pattern for hosts or tags takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Names {
    /// Whatever there is.
    All,
    /// Each of these.
    These(Vec<String>),
}

/// The pattern of URLs in this text.
pub(super) fn url(text: &str) -> Option<UrlPattern> {
    if text == ".*" {
        return Some(UrlPattern::All);
    }
    let rest = text.strip_prefix('^')?;
    let (rest, ends) = match rest.strip_suffix('$') {
        // `\$` is a dollar sign.
        Some(before) if !before.ends_with('\\') => (before, true),
        _ => (rest, false),
    };
    let (rest, open) = match rest.strip_suffix(".*") {
        Some(before) if !before.ends_with('\\') => (before, true),
        _ => (rest, false),
    };
    let literal = unescaped(rest, "")?;
    match (literal.as_str(), open || !ends) {
        ("" | "/", true) => Some(UrlPattern::All),
        (path, true) if path.starts_with('/') => Some(UrlPattern::Prefix(literal)),
        (path, false) if path.starts_with('/') => Some(UrlPattern::Exact(literal)),
        _ => None,
    }
}

/// The pattern of hosts in this text.
pub(super) fn hosts(text: &str) -> Option<Names> {
    if text == ".*" {
        return Some(Names::All);
    }
    let bare = match text.strip_prefix('^') {
        Some(rest) => rest.strip_suffix('$')?,
        None => text,
    };
    let inner = bare.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    alternatives(inner.unwrap_or(bare), inner.is_some(), ".")
}

/// The pattern of tags in this text.
pub(super) fn tags(text: &str) -> Option<Names> {
    if text == ".*" {
        return Some(Names::All);
    }
    if let Some(inner) = text.strip_prefix("(^|,)(").and_then(|rest| rest.strip_suffix(")(,|$)")) {
        return alternatives(inner, true, ".");
    }
    if text.starts_with("((^|,)") {
        let each = text.split("|((^|,)").map(|part| {
            let part = part.strip_prefix("((^|,)").unwrap_or(part);
            unescaped(part.strip_suffix("(,|$))")?, ".")
        });
        return names(each);
    }
    alternatives(text, true, ".")
}

fn alternatives(text: &str, several: bool, allowed: &str) -> Option<Names> {
    if !several && text.contains('|') {
        return None;
    }
    names(text.split('|').map(|one| unescaped(one, allowed)))
}

fn names(each: impl Iterator<Item = Option<String>>) -> Option<Names> {
    let names: Vec<String> = each.collect::<Option<_>>()?;
    (!names.iter().any(String::is_empty)).then_some(Names::These(names))
}

/// The literal text of an expression that is nothing else; what stands in `allowed` counts as itself.
fn unescaped(text: &str, allowed: &str) -> Option<String> {
    let mut out = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match character {
            '\\' => out.push(characters.next().filter(char::is_ascii_punctuation)?),
            other if META.contains(other) && !allowed.contains(other) => return None,
            other => out.push(other),
        }
    }
    Some(out)
}

/// What means something else than itself.
const META: &str = ".*+?()[]{}|^$";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let prefix = |path: &str| Some(UrlPattern::Prefix(path.into()));
        let exact = |path: &str| Some(UrlPattern::Exact(path.into()));
        for (text, expected) in [
            (".*", Some(UrlPattern::All)),
            ("^.*", Some(UrlPattern::All)),
            ("^/.*", Some(UrlPattern::All)),
            ("^/.*$", Some(UrlPattern::All)),
            ("^/", Some(UrlPattern::All)),
            ("^/news/.*", prefix("/news/")),
            ("^/news/.*$", prefix("/news/")),
            ("^/news", prefix("/news")),
            ("^/a\\.html", prefix("/a.html")),
            ("^\\/news\\/.*", prefix("/news/")),
            ("^/news$", exact("/news")),
            ("^/a\\?b=1$", exact("/a?b=1")),
            ("^/$", exact("/")),
            // Not what these say: found anywhere in a URL.
            ("/news/.*", None),
            ("/news", None),
            ("", None),
            // A dot is any character.
            ("^/a.html$", None),
            ("^/(a|b)$", None),
            ("^/a.*b$", None),
            ("^/[0-9]+", None),
            ("^/a\\d", None),
            ("^/a\\", None),
            ("^news", None),
            ("^/.*.*", None),
            ("^/a|^/b", None),
            ("\\.(jpg|png)$", None),
            ("^/costs\\$", prefix("/costs$")),
            ("^/a\\.*", None),
        ] {
            assert_eq!(url(text), expected, "{text}");
        }
    }

    #[test]
    fn hosts_and_tags() {
        let these =
            |names: &[&str]| Some(Names::These(names.iter().map(|name| (*name).to_owned()).collect()));
        for (text, expected) in [
            (".*", Some(Names::All)),
            ("www.example.com", these(&["www.example.com"])),
            ("^www\\.example\\.com$", these(&["www.example.com"])),
            ("^(www.example.com|example.org)$", these(&["www.example.com", "example.org"])),
            ("^www.example.com", None),
            ("www.*", None),
            ("a|b", None),
            ("^()$", None),
            ("", None),
        ] {
            assert_eq!(hosts(text), expected, "host {text}");
        }
        for (text, expected) in [
            (".*", Some(Names::All)),
            ("node:1", these(&["node:1"])),
            ("node:1|node:2", these(&["node:1", "node:2"])),
            ("(^|,)(a|b\\-c)(,|$)", these(&["a", "b-c"])),
            ("((^|,)cat_p_1(,|$))", these(&["cat_p_1"])),
            ("((^|,)cat_p_1(,|$))|((^|,)cat_p(,|$))", these(&["cat_p_1", "cat_p"])),
            ("a.*", None),
            ("^a$", None),
            ("a||b", None),
            ("((^|,)a", None),
            ("", None),
        ] {
            assert_eq!(tags(text), expected, "tag {text}");
        }
    }
}
