//! An answer as every protocol can write it, and what is told about it in `Cache-Status`, log and metrics.
//!
//! `serve` returns it; `listener/` writes it. Framing belongs to the listener: `lines` never hold `Content-Length`,
//! `Transfer-Encoding`, `Connection` nor any other field that speaks of one connection; the listener derives them
//! from [`Body`].

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::large::FilePart;
use cache_store::rules::Coding;
use http::StatusCode;

use crate::listener::trailers::Trailers;
use crate::observe::id::RequestId;
use crate::origin::{ResponseFields, Tunnel};

/// One answer.
pub struct Response {
    /// The status code.
    pub status: StatusCode,
    /// Lines made for this answer (`Age`, `Cache-Status` …): `name: value\r\n` each.
    pub extra: Vec<u8>,
    /// Lines that the answer shares with others of its kind.
    pub lines: Lines,
    /// The body and its length.
    pub body: Body,
    /// For the log and the counters.
    pub outcome: Outcome,
    /// The connection must end after this answer (HTTP/1: `Connection: close`).
    pub close: bool,
}

/// Header lines in HTTP/1 form, without the empty line.
pub enum Lines {
    /// As rendered when the response was stored.
    Stored(Arc<StoredResponse>),
    /// Rendered for this answer.
    Own(Bytes),
    /// As the origin sent them.
    Passed(ResponseFields),
}

impl Lines {
    /// `name: value\r\n` …
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Stored(stored) => stored.lines(),
            Self::Own(lines) => lines,
            Self::Passed(fields) => fields.lines(),
        }
    }

    /// Whether one of them is the answer's `Date`.
    #[inline]
    pub fn has_date(&self) -> bool {
        match self {
            Self::Stored(stored) => stored.has_date(),
            Self::Own(lines) => names_date(lines),
            Self::Passed(fields) => fields.has_date(),
        }
    }
}

/// Whether one of these lines is a `Date`.
pub(crate) fn names_date(lines: &[u8]) -> bool {
    let is_date = |at: usize| lines.get(at..at + 5).is_some_and(|name| name.eq_ignore_ascii_case(b"date:"));
    is_date(0) || memchr::memchr_iter(b'\n', lines).any(|at| is_date(at + 1))
}

/// The body of an answer.
pub enum Body {
    /// None, and no `Content-Length` either: 204 and 304.
    None,
    /// The answer to HEAD: the length a GET would have, if known, but no bytes.
    Omitted(Option<u64>),
    /// The whole body of the stored response whose lines go with it.
    Stored(Arc<StoredResponse>),
    /// These bytes.
    Bytes(Bytes),
    /// Bytes as they come.
    Stream {
        /// Total length if it is known; the stream ends in an error rather than short of it.
        length: Option<u64>,
        /// Where they come from.
        source: Pin<Box<dyn Stream>>,
    },
    /// A 101: the connection is the other protocol's from here on, and goes on in this. Over HTTP/2 a 200, and its stream is.
    Tunnel(Box<Tunnel>),
}

/// A body that is pulled piece by piece. Dropping it stops it.
pub trait Stream: Send {
    /// The next piece, `None` at a proven end, or an error after which the answer must be cut visibly.
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>>;

    /// Whether fields may follow the body: then its last piece is not its end, whatever its length.
    fn may_trail(&self) -> bool {
        false
    }

    /// The fields that follow the body, once it has ended.
    fn trailers(self: Pin<&mut Self>) -> Option<Box<Trailers>> {
        None
    }

    /// Waits for the next piece. Where [`Stream::file`] has it, it is left there for whoever can use that: then there are no bytes.
    fn poll_first(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Option<Bytes>, Cut>>> {
        self.poll_next(cx).map(|next| next.map(|piece| piece.map(Some)))
    }

    /// The next piece as a part of a file, for whoever can have the system send that; where it is not one, or not without waiting,
    /// [`Stream::poll_next`] has it.
    fn file(self: Pin<&mut Self>) -> Option<FilePart> {
        None
    }
}

/// The rest of a body will not come: the answer must end in a way that no client takes for its end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body was cut short")]
pub struct Cut;

impl Body {
    /// Its length in bytes if known; what `Content-Length` says.
    pub fn length(&self) -> Option<u64> {
        match self {
            Self::None | Self::Tunnel(_) => None,
            Self::Omitted(length) | Self::Stream { length, .. } => *length,
            Self::Stored(stored) => Some(stored.body_len()),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
        }
    }
}

/// What the cache had to do with an answer; one spelling for `Cache-Status`, log, metric and test.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// In one word.
    pub cache: CacheOutcome,
    /// Why it was not stored, not reused or not sent on.
    pub reason: Option<&'static str>,
    /// Seconds of freshness left, negative when stale.
    pub ttl: Option<i64>,
    /// The `Age` sent.
    pub age: Option<u64>,
    /// Bytes of the body that need not be sent, because it was encoded here.
    pub saved_bytes: u64,
    /// The coding that it was given here, as it went.
    pub encoding: Option<Coding>,
    /// The tier that held it: `memory` or `disk`.
    pub tier: Option<&'static str>,
    /// Index of the site in the configuration, if one was found.
    pub site: Option<u16>,
    /// The pool asked.
    pub pool: Option<Arc<str>>,
    /// The origin that answered or failed.
    pub origin: Option<Arc<str>>,
    /// From the request to the origin to its head, microseconds.
    pub origin_micros: Option<u64>,
    /// Bytes that a tunnel took from the client.
    pub received_bytes: u64,
    /// The request's id where one was drawn before the answer was sent (error pages show it); the log draws the rest.
    pub id: Option<RequestId>,
}

/// How an answer came about.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum CacheOutcome {
    /// From the store, fresh.
    Hit,
    /// From the store, stale and allowed to be.
    Stale,
    /// From the origin.
    Miss,
    /// From another request's fetch that was under way.
    Collapsed,
    /// From the store after the origin said it is still good.
    Revalidated,
    /// Around the cache.
    Pass,
    /// Generated here: an error, a redirect, a purge reply.
    #[default]
    Generated,
}

impl CacheOutcome {
    /// The word in log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Collapsed => "collapsed",
            Self::Revalidated => "revalidated",
            Self::Pass => "pass",
            Self::Generated => "generated",
        }
    }

    /// The index of this outcome in a table of counters; below [`CacheOutcome::COUNT`].
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Number of outcomes.
    pub const COUNT: usize = 7;
}
