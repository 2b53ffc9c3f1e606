//! `GET /v1/stream`: counters each second and the request log as they happen, as server-sent events.
//!
//! ```text
//! event: stat            event: log                              event: passed
//! data: {"requests":…}   data: {"time":…,"status":200,…}         data: {"lines":1200}
//! ```
//!
//! `passed` says how many lines could not be looked at, or sent: who watches costs the node a bounded share of this thread, and no worker
//! more than the log does. `only=log` or `only=stat` leaves the other out; `host`, `path` (`*` matches any run of characters),
//! `status` (`404`, `5xx`), `cache`, `reason` and `slower` (`10ms`) choose among the lines. Ends with the node or the caller.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use purge_api::Problem;
use serde::Deserialize;

use super::Inner;
use super::query::decode;
use crate::config::limits::{LOG_TAP_LINES_A_SECOND, LOG_TAP_SENT_A_SECOND, STREAM_TICK};
use crate::config::units;
use crate::observe::tap::Tap;
use crate::respond::response::{Cut, Stream};

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Wanted {
    without_log: bool,
    without_stat: bool,
    lines: Lines,
}

/// Which lines of the log; all that are written must hold.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
struct Lines {
    host: Option<String>,
    path: Option<String>,
    status: Option<Status>,
    cache: Option<String>,
    reason: Option<String>,
    slower: Option<Duration>,
}

/// One status, or a hundred of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Status {
    One(u16),
    Class(u16),
}

/// What a line is chosen by.
#[derive(Deserialize)]
struct Seen<'l> {
    #[serde(borrow, default)]
    host: Cow<'l, str>,
    #[serde(borrow, default)]
    path: Cow<'l, str>,
    #[serde(default)]
    status: u16,
    #[serde(borrow, default)]
    cache: Cow<'l, str>,
    #[serde(borrow, default)]
    reason: Cow<'l, str>,
    #[serde(default)]
    duration_us: u64,
}

impl Wanted {
    /// From the query.
    ///
    /// # Errors
    /// 400 with the parameter that is unknown, repeated or malformed.
    pub(super) fn parse(query: &[u8]) -> Result<Self, Problem> {
        let mut wanted = Self::default();
        let mut known: Vec<&[u8]> = Vec::new();
        for pair in query.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = halves.next().unwrap_or_default();
            let told = String::from_utf8_lossy(name);
            let value = decode(halves.next().unwrap_or_default())
                .ok_or_else(|| bad(format!("`{told}` is not percent-encoded UTF-8")))?;
            if known.contains(&name) {
                return Err(bad(format!("`{told}` twice")));
            }
            known.push(name);
            let lines = &mut wanted.lines;
            match name {
                b"only" if value == "log" => wanted.without_stat = true,
                b"only" if value == "stat" => wanted.without_log = true,
                b"only" => return Err(bad("`only` is log or stat")),
                b"host" => lines.host = Some(value.to_ascii_lowercase()),
                b"path" => lines.path = Some(value),
                b"status" => lines.status = Some(Status::parse(&value)?),
                b"cache" => lines.cache = Some(value),
                b"reason" => lines.reason = Some(value),
                b"slower" => {
                    let slower =
                        units::duration(&value).map_err(|_| bad("`slower` is a duration, like 10ms"))?;
                    lines.slower = Some(slower);
                }
                _ => {
                    return Err(bad(format!(
                        "unknown parameter `{told}`; known are only, host, path, status, cache, reason and slower"
                    )));
                }
            }
        }
        Ok(wanted)
    }
}

impl Status {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || bad("`status` is a status or a class of them, like 404 or 5xx");
        if let Some(class) = text.strip_suffix("xx") {
            let class = class.parse().ok().filter(|class| (1..=5).contains(class));
            return class.map(Self::Class).ok_or_else(wrong);
        }
        text.parse().ok().filter(|status| (100..600).contains(status)).map(Self::One).ok_or_else(wrong)
    }
}

impl Lines {
    fn takes(&self, line: &[u8]) -> bool {
        if *self == Self::default() {
            return true;
        }
        let Ok(seen) = serde_json::from_slice::<Seen<'_>>(line) else { return false };
        let holds = |wanted: Option<&String>, is: &str| wanted.is_none_or(|wanted| wanted == is);
        holds(self.host.as_ref(), &seen.host)
            && self.path.as_ref().is_none_or(|pattern| matches(pattern, &seen.path))
            && self.status.is_none_or(|status| match status {
                Status::One(one) => seen.status == one,
                Status::Class(class) => seen.status / 100 == class,
            })
            && holds(self.cache.as_ref(), &seen.cache)
            && holds(self.reason.as_ref(), &seen.reason)
            && self.slower.is_none_or(|slower| u128::from(seen.duration_us) > slower.as_micros())
    }
}

/// Whether `*` in the pattern can stand for what makes it `text`.
fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(mut text) = text.strip_prefix(head) else { return false };
    let mut rest = rest;
    while let Some((part, behind)) = rest.split_once('*') {
        let Some(at) = text.find(part) else { return false };
        text = text.get(at + part.len()..).unwrap_or_default();
        rest = behind;
    }
    text.ends_with(rest)
}

/// The events of one caller.
pub(super) struct Events {
    inner: Arc<Inner>,
    wanted: Wanted,
    tap: Option<Tap>,
    tick: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Lines looked at and sent since the last tick.
    looked: u64,
    sent: u64,
    passed: u64,
}

impl Events {
    /// Begins to watch.
    ///
    /// # Errors
    /// 503 where as many watch as may, or the system refuses.
    pub(super) fn begin(inner: &Arc<Inner>, wanted: Wanted) -> Result<Self, Problem> {
        let refused = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "watched", why);
        let tap = if wanted.without_log {
            None
        } else {
            let tap = inner.observe.log.watch().map_err(|error| refused(error.to_string()))?;
            Some(tap.ok_or_else(|| refused("as many watch the log as may; close one".to_owned()))?)
        };
        // At once, so that who watches need not wait for the first.
        let tick: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(std::future::ready(()));
        Ok(Self { inner: Arc::clone(inner), wanted, tap, tick: Some(tick), looked: 0, sent: 0, passed: 0 })
    }

    /// The events of a block of lines.
    fn lines(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            if self.looked >= LOG_TAP_LINES_A_SECOND || self.sent >= LOG_TAP_SENT_A_SECOND {
                self.passed += 1;
                continue;
            }
            self.looked += 1;
            if self.wanted.lines.takes(line) {
                self.sent += 1;
                event(&mut out, "log", line);
            }
        }
        out
    }

    /// The events of a tick: never none, so that a caller who is gone is noticed.
    fn ticked(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        if !self.wanted.without_stat {
            let stat = self.inner.stat();
            event(&mut out, "stat", stat.to_string().as_bytes());
        }
        let passed = std::mem::take(&mut self.passed) + self.tap.as_ref().map_or(0, Tap::lost);
        if passed > 0 {
            event(&mut out, "passed", format!("{{\"lines\":{passed}}}").as_bytes());
        }
        (self.looked, self.sent) = (0, 0);
        if out.is_empty() {
            out.extend_from_slice(b":\n\n");
        }
        out
    }
}

impl Stream for Events {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let this = self.get_mut();
        let clock = &this.inner.clock;
        let tick = this.tick.get_or_insert_with(|| {
            let clock = clock.clone();
            Box::pin(async move { clock.sleep(STREAM_TICK).await })
        });
        if tick.as_mut().poll(cx).is_ready() {
            this.tick = None;
            let out = this.ticked();
            return Poll::Ready(Some(Ok(out.into())));
        }
        while let Some(tap) = &mut this.tap {
            match tap.poll_next(cx) {
                Poll::Pending => break,
                Poll::Ready(None) => this.tap = None,
                Poll::Ready(Some(block)) => {
                    let out = this.lines(&block);
                    if !out.is_empty() {
                        return Poll::Ready(Some(Ok(out.into())));
                    }
                }
            }
        }
        Poll::Pending
    }
}

fn event(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"] {
        out.extend_from_slice(part);
    }
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "query", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = br#"{"time":"2026-11-26T04:00:00.000Z","host":"www.example.com","path":"/news/1?a=\"b\"","status":503,"duration_us":12000,"cache":"miss","reason":"connect"}"#;

    #[test]
    fn lines_are_chosen_by_all_that_is_asked_for() {
        for (query, expected) in [
            ("", true),
            ("host=WWW.example.com", true),
            ("host=example.com", false),
            ("path=/news/*", true),
            ("path=*news*", true),
            ("path=/news/1%3Fa%3D%22b%22", true),
            ("path=/news", false),
            ("path=*/old/*", false),
            ("status=503", true),
            ("status=5xx", true),
            ("status=4xx", false),
            ("cache=miss&reason=connect", true),
            ("cache=hit&reason=connect", false),
            ("slower=11ms", true),
            ("slower=12ms", false),
            ("only=log&status=5xx", true),
        ] {
            let wanted =
                Wanted::parse(query.as_bytes()).unwrap_or_else(|problem| panic!("{query}: {problem:?}"));
            assert_eq!(wanted.lines.takes(LINE), expected, "{query}");
        }
        let status = Wanted::parse(b"status=503").expect("it is right");
        assert!(!status.lines.takes(b"{\"status\":"), "what is no JSON is not chosen");
    }

    #[test]
    fn what_is_asked_wrongly_is_told() {
        for query in
            ["only=both", "status=6xx", "status=x", "slower=10", "hosts=a", "host=%zz", "host=a&host=b"]
        {
            assert!(Wanted::parse(query.as_bytes()).is_err(), "{query}");
        }
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
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
