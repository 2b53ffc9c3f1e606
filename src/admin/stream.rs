//! `GET /v1/stream`: what happens in the node as it happens, as server-sent events.
//!
//! | event | |
//! |---|---|
//! | `stat` | the counters, each second |
//! | `log` | a line of the request log; `one_of` says for how many requests it stands, where there are more than can be shown |
//! | `passed` | how many requests were not looked at, or not sent, since the last one |
//! | `history` | the seconds before, once |
//! | `top` | what is asked for most, each second |
//! | `errors` | the last lines about errors, newest first, at once and whenever there are others |
//!
//! `only=stat,top` chooses among `stat`, `log`, `history`, `top` and `errors`; without it `stat` and `log` are sent. `lines.rs` says
//! how lines are chosen. Ends with the node or the caller.
//!
//! Invariant: who watches costs a bounded share of this thread, and a worker no more than `observe/watched.rs` does. A text that all
//! are told (`stat`, `top`) is made once a second.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use http::StatusCode;
use parking_lot::Mutex;
use purge_api::Problem;

use super::Inner;
use super::lines::{self, Lines, bad};
use super::query::decode;
use crate::config::limits::{LOG_TAP_LINES_A_SECOND, LOG_TAP_SENT_A_SECOND, STREAM_TICK, STREAMS_MAX};
use crate::observe::board::Looking;
use crate::observe::tap::Tap;
use crate::respond::response::{Cut, Stream};

/// What is wanted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    kinds: Kinds,
    lines: Lines,
}

/// Kinds of events.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[allow(clippy::struct_excessive_bools)] // each is asked for by itself
struct Kinds {
    stat: bool,
    log: bool,
    history: bool,
    top: bool,
    errors: bool,
}

/// What all streams share.
#[derive(Default)]
pub(super) struct Streams {
    open: Arc<AtomicUsize>,
    /// The counters as text, and when they were read, microseconds.
    stat: Mutex<Option<(u64, Bytes)>>,
}

/// A place among the streams that may be open.
struct Place(Arc<AtomicUsize>);

impl Default for Wanted {
    fn default() -> Self {
        Self { kinds: Kinds { stat: true, log: true, ..Kinds::default() }, lines: Lines::default() }
    }
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
                return Err(bad(format!("`{told}` twice; several values go with commas")));
            }
            known.push(name);
            if name == b"only" {
                wanted.kinds = Kinds::parse(&value)?;
            } else if !wanted.lines.take(&told, &value)? {
                let all = lines::KNOWN;
                return Err(bad(format!("unknown parameter `{told}`; known are only, {all}")));
            }
        }
        Ok(wanted)
    }
}

impl Kinds {
    fn parse(text: &str) -> Result<Self, Problem> {
        let mut kinds = Self::default();
        for kind in text.split(',') {
            match kind {
                "stat" => kinds.stat = true,
                "log" => kinds.log = true,
                "history" => kinds.history = true,
                "top" => kinds.top = true,
                "errors" => kinds.errors = true,
                _ => {
                    let detail = format!("`only` is of stat, log, history, top and errors: `{kind}` is not");
                    return Err(bad(detail));
                }
            }
        }
        Ok(kinds)
    }
}

impl Streams {
    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.open));
        // Counted before it is looked at, so that two cannot take the last one; a drop gives it back.
        (self.open.fetch_add(1, Ordering::Relaxed) < STREAMS_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The events of one caller.
pub(super) struct Events {
    inner: Arc<Inner>,
    wanted: Wanted,
    tap: Option<Tap>,
    looking: Option<Looking>,
    tick: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Lines looked at and sent since the last tick.
    looked: u64,
    sent: u64,
    /// Requests that were passed over since then.
    passed: u64,
    /// The newest line about an error that was told, empty if none had been; each has an id, so no two are the same.
    errors: Option<Box<[u8]>>,
    _place: Place,
}

impl Events {
    /// Begins to watch.
    ///
    /// # Errors
    /// 503 where as many watch as may, or the system refuses.
    pub(super) fn begin(inner: &Arc<Inner>, wanted: Wanted) -> Result<Self, Problem> {
        let refused = |why: String| Problem::new(StatusCode::SERVICE_UNAVAILABLE, "watched", why);
        let full = || refused("as many watch as may; close one".to_owned());
        let place = inner.streams.place().ok_or_else(full)?;
        let log = &inner.observe.log;
        let tap = if wanted.kinds.log {
            let tap = log.watch().map_err(|error| refused(error.to_string()))?;
            Some(tap.ok_or_else(full)?)
        } else {
            None
        };
        let looking = if wanted.kinds.top {
            let looking = inner.observe.board.look(log).map_err(|error| refused(error.to_string()))?;
            Some(looking.ok_or_else(full)?)
        } else {
            None
        };
        // At once, so that who watches need not wait for the first.
        let tick: Pin<Box<dyn Future<Output = ()> + Send>> = Box::pin(std::future::ready(()));
        Ok(Self {
            inner: Arc::clone(inner),
            wanted,
            tap,
            looking,
            tick: Some(tick),
            looked: 0,
            sent: 0,
            passed: 0,
            errors: None,
            _place: place,
        })
    }

    /// The events of a block of lines.
    fn lines(&mut self, block: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let stands_for = one_of(line);
            if self.looked >= LOG_TAP_LINES_A_SECOND || self.sent >= LOG_TAP_SENT_A_SECOND {
                self.passed += stands_for;
                continue;
            }
            self.looked += 1;
            self.passed += stands_for - 1;
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
        if std::mem::take(&mut self.wanted.kinds.history) {
            event(&mut out, "history", self.inner.observe.history.told().to_string().as_bytes());
        }
        if self.wanted.kinds.stat {
            event(&mut out, "stat", &self.inner.stat_text());
        }
        if let Some(looking) = &self.looking {
            let node = self.inner.node();
            let told = looking.told(self.inner.clock.micros(), &|url| node.tags_of(url));
            event(&mut out, "top", &told);
        }
        if self.wanted.kinds.errors {
            self.tell_errors(&mut out);
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

    fn tell_errors(&mut self, out: &mut Vec<u8>) {
        let lines = self.inner.observe.log.recent_errors();
        let newest = Some(lines.first().cloned().unwrap_or_default());
        if newest == self.errors {
            return;
        }
        self.errors = newest;
        let list = [b"[".as_slice(), &lines.join(&b","[..]), b"]"].concat();
        event(out, "errors", &list);
    }
}

impl Inner {
    /// All counters as text; read anew once a second, however many watch.
    fn stat_text(&self) -> Bytes {
        let now = self.clock.micros();
        let mut kept = self.streams.stat.lock();
        if let Some((at, text)) = &*kept
            && now.saturating_sub(*at) < STAT_KEPT_MICROS
        {
            return text.clone();
        }
        let text = Bytes::from(self.stat().to_string());
        *kept = Some((now, text.clone()));
        text
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

/// For how many requests a line stands: it says so last, if for more than itself.
fn one_of(line: &[u8]) -> u64 {
    let digits = line
        .strip_suffix(b"}")
        .map_or(0, |line| line.iter().rev().take(10).take_while(|byte| byte.is_ascii_digit()).count());
    let number = line.len().checked_sub(digits + 1).and_then(|from| line.get(from..line.len() - 1));
    let before = line.get(..line.len().saturating_sub(digits + 1));
    match (before, number) {
        (Some(before), Some(number)) if before.ends_with(b"\"one_of\":") => std::str::from_utf8(number)
            .ok()
            .and_then(|number| number.parse().ok())
            .map_or(1, |of: u64| of.max(1)),
        _ => 1,
    }
}

fn event(out: &mut Vec<u8>, name: &str, data: &[u8]) {
    for part in [b"event: ", name.as_bytes(), b"\ndata: ", data, b"\n\n"] {
        out.extend_from_slice(part);
    }
}

/// Who asks for the counters sooner is told the same again.
const STAT_KEPT_MICROS: u64 = 900_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_wrongly_is_told() {
        for query in [
            "only=both",
            "only=stat,",
            "only=",
            "status=6xx",
            "slower=10",
            "hosts=a",
            "host=%zz",
            "host=a&host=b",
        ] {
            assert!(Wanted::parse(query.as_bytes()).is_err(), "{query}");
        }
    }

    #[test]
    fn kinds_are_chosen() {
        let kinds = |query: &[u8]| Wanted::parse(query).expect("it is right").kinds;
        assert_eq!(kinds(b""), Kinds { stat: true, log: true, ..Kinds::default() });
        assert_eq!(kinds(b"status=5xx"), kinds(b""));
        assert_eq!(kinds(b"only=log"), Kinds { log: true, ..Kinds::default() });
        assert_eq!(
            kinds(b"only=stat,history,top,errors"),
            Kinds { stat: true, history: true, top: true, errors: true, log: false }
        );
    }

    #[test]
    fn a_line_says_for_how_many_it_stands() {
        for (line, expected) in [
            ("{\"path\":\"/\"}", 1),
            ("{\"path\":\"/\",\"one_of\":16}", 16),
            ("{\"path\":\"/\",\"ttl\":16}", 1),
            ("{\"path\":\"one_of\\\":7\"}", 1),
            ("{\"one_of\":0}", 1),
            ("7}", 1),
            ("}", 1),
            ("", 1),
        ] {
            assert_eq!(one_of(line.as_bytes()), expected, "{line}");
        }
    }

    #[test]
    fn places_are_given_back() {
        let streams = Streams::default();
        let all: Vec<_> = (0..STREAMS_MAX).map(|_| streams.place().expect("there is one")).collect();
        assert!(streams.place().is_none());
        assert!(streams.place().is_none(), "one that was refused took none");
        drop(all);
        assert!(streams.place().is_some());
    }
}
