//! Which lines of the log a watcher is shown: all that is asked for must hold.
//!
//! A list (`status=404,5xx`) holds where one of it does, and one that begins with `!` (`cache=!hit,stale`) where none does. In names
//! `*` matches any run of characters.

use std::time::Duration;

use http::StatusCode;
use purge_api::Problem;

use crate::config::units;
use crate::observe::render::OUTCOMES;
use crate::observe::seen::Seen;

/// What lines are chosen by.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Lines {
    host: Option<List<Pattern>>,
    path: Option<Pattern>,
    method: Option<List<Pattern>>,
    status: Option<List<Status>>,
    cache: Option<List<Pattern>>,
    reason: Option<List<Pattern>>,
    pool: Option<List<Pattern>>,
    origin: Option<List<Pattern>>,
    country: Option<List<Pattern>>,
    client: Option<List<Pattern>>,
    slower: Option<Duration>,
    faster: Option<Duration>,
}

/// Names of the parameters, for who writes another.
pub(super) const KNOWN: &str =
    "host, path, method, status, cache, reason, pool, origin, country, client, slower and faster";

/// One of these, or none of them.
#[derive(Clone, PartialEq, Eq, Debug)]
struct List<T> {
    none_of: bool,
    of: Vec<T>,
}

/// A name in which `*` matches any run of characters.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Pattern(String);

/// One status, or a hundred of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    One(u16),
    Class(u16),
}

impl Lines {
    /// Takes a parameter up; whether there is one of this name.
    ///
    /// # Errors
    /// 400 where its value is not of the right form.
    pub(super) fn take(&mut self, name: &str, value: &str) -> Result<bool, Problem> {
        let names = || List::parse(name, value, |text| Ok(Pattern(text.to_owned())));
        let upper = || List::parse(name, value, |text| Ok(Pattern(text.to_ascii_uppercase())));
        let duration = || {
            units::duration(value)
                .map_err(|_| bad(format!("`{name}` is a duration, like 10ms: `{value}` is not")))
        };
        match name {
            "host" => {
                self.host = Some(List::parse(name, value, |text| Ok(Pattern(text.to_ascii_lowercase())))?);
            }
            "path" => self.path = Some(Pattern(value.to_owned())),
            "method" => self.method = Some(upper()?),
            "status" => self.status = Some(List::parse(name, value, Status::parse)?),
            "cache" => self.cache = Some(List::parse(name, value, outcome)?),
            "reason" => self.reason = Some(names()?),
            "pool" => self.pool = Some(names()?),
            "origin" => self.origin = Some(names()?),
            "country" => self.country = Some(upper()?),
            "client" => self.client = Some(names()?),
            "slower" => self.slower = Some(duration()?),
            "faster" => self.faster = Some(duration()?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Whether this line is shown.
    pub(super) fn takes(&self, line: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Some(seen) = Seen::of(line) else { return false };
        let holds = |list: Option<&List<Pattern>>, is: &str| {
            list.is_none_or(|list| list.holds(|pattern| pattern.matches(is)))
        };
        let taken = u128::from(seen.duration_us);
        self.status.as_ref().is_none_or(|list| list.holds(|status| status.holds(seen.status)))
            && holds(self.cache.as_ref(), &seen.cache)
            && self.slower.is_none_or(|slower| taken > slower.as_micros())
            && self.faster.is_none_or(|faster| taken < faster.as_micros())
            && holds(self.host.as_ref(), &seen.host)
            && self.path.as_ref().is_none_or(|pattern| pattern.matches(&seen.path))
            && holds(self.method.as_ref(), &seen.method)
            && holds(self.reason.as_ref(), &seen.reason)
            && holds(self.pool.as_ref(), &seen.pool)
            && holds(self.origin.as_ref(), &seen.origin)
            && holds(self.country.as_ref(), &seen.country)
            && holds(self.client.as_ref(), &seen.client)
    }
}

impl<T> List<T> {
    fn parse(name: &str, text: &str, parse: impl Fn(&str) -> Result<T, Problem>) -> Result<Self, Problem> {
        let (none_of, text) = text.strip_prefix('!').map_or((false, text), |rest| (true, rest));
        let of: Vec<T> = text.split(',').map(|one| parse(one.trim())).collect::<Result<_, _>>()?;
        if text.is_empty() {
            return Err(bad(format!("`{name}` is empty")));
        }
        Ok(Self { none_of, of })
    }

    fn holds(&self, is: impl Fn(&T) -> bool) -> bool {
        self.of.iter().any(is) != self.none_of
    }
}

impl Status {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong =
            || bad(format!("`status` is a status or a class of them, like 404 or 5xx: `{text}` is neither"));
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class));
            return class.map(Self::Class).ok_or_else(wrong);
        }
        text.parse().ok().filter(|status| (100..600).contains(status)).map(Self::One).ok_or_else(wrong)
    }

    fn holds(self, status: u16) -> bool {
        match self {
            Self::One(one) => status == one,
            Self::Class(class) => status / 100 == class,
        }
    }
}

impl Pattern {
    fn matches(&self, text: &str) -> bool {
        let Some((head, rest)) = self.0.split_once('*') else { return self.0 == text };
        let Some(mut text) = text.strip_prefix(head) else { return false };
        let mut rest = rest;
        while let Some((part, behind)) = rest.split_once('*') {
            let Some(at) = text.find(part) else { return false };
            text = text.get(at + part.len()..).unwrap_or_default();
            rest = behind;
        }
        text.ends_with(rest)
    }
}

/// What the cache did, by its word in the log.
fn outcome(text: &str) -> Result<Pattern, Problem> {
    if OUTCOMES.iter().any(|outcome| outcome.as_str() == text) {
        return Ok(Pattern(text.to_owned()));
    }
    let known: Vec<_> = OUTCOMES.iter().map(|outcome| outcome.as_str()).collect();
    Err(bad(format!("`cache` is one of {}: `{text}` is not", known.join(", "))))
}

pub(super) fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"time":"2026-11-26T04:00:00.000Z","client":"192.0.2.7","method":"GET","scheme":"https","host":"www.example.com","path":"/news/1?a=\"b\"","status":503,"bytes":1,"duration_us":12000,"cache":"miss","reason":"connect","pool":"eu","origin":"http://10.0.0.1:3000","country":"DE"}"#;

    #[test]
    fn lines_are_chosen_by_all_that_is_asked_for() {
        for (asked, expected) in [
            (&[][..], true),
            (&[("host", "WWW.example.com")], true),
            (&[("host", "example.com")], false),
            (&[("host", "*.example.com,example.net")], true),
            (&[("path", "/news/*")], true),
            (&[("path", "*news*")], true),
            (&[("path", "/news/1?a=\"b\"")], true),
            (&[("path", "/news")], false),
            (&[("path", "*/old/*")], false),
            (&[("method", "get")], true),
            (&[("method", "!GET,HEAD")], false),
            (&[("status", "503")], true),
            (&[("status", "404, 5xx")], true),
            (&[("status", "4xx")], false),
            (&[("status", "!2xx,3xx")], true),
            (&[("cache", "miss"), ("reason", "connect")], true),
            (&[("cache", "hit"), ("reason", "connect")], false),
            (&[("cache", "!hit,stale")], true),
            (&[("reason", "conn*")], true),
            (&[("pool", "eu,us"), ("origin", "*10.0.0.1*"), ("country", "de")], true),
            (&[("client", "192.0.2.*")], true),
            (&[("client", "192.0.3.*")], false),
            (&[("slower", "11ms")], true),
            (&[("slower", "12ms")], false),
            (&[("slower", "1ms"), ("faster", "13ms")], true),
            (&[("faster", "12ms")], false),
        ] {
            let mut lines = Lines::default();
            for (name, value) in asked {
                assert!(lines.take(name, value).expect("it is right"), "{name}");
            }
            assert_eq!(lines.takes(LINE), expected, "{asked:?}");
        }
        let mut status = Lines::default();
        status.take("status", "503").expect("it is right");
        assert!(!status.takes(b"{\"status\":"), "what is no JSON is not chosen");
    }

    #[test]
    fn what_is_asked_wrongly_is_told() {
        for (name, value, told) in [
            ("status", "6xx", "`6xx` is neither"),
            ("status", "", "`` is neither"),
            ("status", "404,x", "`x` is neither"),
            ("slower", "10", "like 10ms"),
            ("cache", "hits", "hit, stale"),
            ("host", "", "`host` is empty"),
            ("reason", "!", "`reason` is empty"),
        ] {
            let problem = Lines::default().take(name, value).expect_err(name);
            assert!(problem.detail.contains(told), "{name}={value}: {}", problem.detail);
        }
        assert!(!Lines::default().take("hosts", "a").expect("told elsewhere"));
    }

    #[test]
    fn stars() {
        for (pattern, text, expected) in [
            ("/a", "/a", true),
            ("/a", "/ab", false),
            ("*", "", true),
            ("/a*b", "/ab", true),
            ("/a*b", "/axxb", true),
            ("/a*b*c", "/a-b-c", true),
            ("/a*b*c", "/a-c-b", false),
            ("/aa*aa", "/aaa", false),
            ("*ä*", "/bär", true),
        ] {
            assert_eq!(Pattern(pattern.to_owned()).matches(text), expected, "{pattern} {text}");
        }
    }
}
