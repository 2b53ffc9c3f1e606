//! What `tests/fuzz` needs of the parsers that the crate keeps to itself: bytes in, a comparable value out.
//!
//! Compiled with the feature `fuzzing` only. Each function takes its input in pieces where the parser does, so that a
//! target can compare one cut of the same bytes with another.

use cache_store::timestamp::Timestamp;

use crate::config::limits::Limits;
use crate::listener::request::Request;
use crate::listener::service::Finished;
use crate::observe::calendar::SecondText;
use crate::observe::id::{RequestIds, Run};
use crate::observe::line::Line;
use crate::origin::framing::Scanner;
use crate::origin::{Framing, OriginError, Surplus};

/// What the look at a response came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// How its body is framed, by its head.
    pub framing: Framing,
    /// Its `Content-Length`.
    pub declared_length: Option<u64>,
    /// Whether it is whole if the connection ended cleanly now.
    pub whole: bool,
    /// Whether the connection may carry another.
    pub reusable: bool,
    /// How many of the bytes belong to it.
    pub taken: usize,
}

/// Looks at the response to one request as `origin/wire.rs` does.
///
/// # Errors
/// What the scanner objects to.
pub fn scan<'b>(
    pieces: impl IntoIterator<Item = &'b [u8]>,
    to_head_request: bool,
    surplus: Surplus,
) -> Result<Scanned, OriginError> {
    let mut scanner = Scanner::default();
    scanner.begin(to_head_request, surplus);
    let mut taken = 0;
    for piece in pieces {
        taken += scanner.feed(piece)?;
    }
    Ok(Scanned {
        framing: scanner.framing(),
        declared_length: scanner.declared_length(),
        whole: scanner.whole(),
        reusable: scanner.reusable(),
        taken,
    })
}

/// Payload length, type, flags and stream of each HTTP/2 frame that ended in a client's bytes, preface included.
pub fn frames<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> Vec<(u32, u8, u8, u32)> {
    let mut scanner = crate::listener::h2::frames::FrameScanner::at_preface();
    let mut frames = Vec::new();
    for piece in pieces {
        scanner.feed(piece, |seen| {
            if let crate::listener::h2::frames::Seen::End(head) = seen {
                frames.push((head.length, head.kind, head.flags, head.stream));
            }
        });
    }
    frames
}

/// What an HTTP/2 connection has cost.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Spent {
    /// Whether it is closed for it.
    pub overspent: bool,
    /// Streams under way.
    pub streams: usize,
    /// Whether a header block has begun and not ended.
    pub within_head: bool,
    /// What the client is too slow with a minute later, by name.
    pub late: Option<String>,
    /// Whether the last frame sent was whole, so that a GOAWAY may follow.
    pub can_say_goodbye: bool,
    /// The ledger as text.
    pub ledger: String,
}

/// The ledger of a connection on which the client sent and we sent these pieces, `true` for the client's, all at once.
pub fn spent<'b>(pieces: impl IntoIterator<Item = (bool, &'b [u8])>) -> Spent {
    let now = Timestamp::from_secs(1000);
    let mut budget = crate::listener::budget::Budget::new(now);
    for (from_client, piece) in pieces {
        if from_client { budget.received(piece, now) } else { budget.sent(piece, now) }
    }
    let ledger = format!("{budget:?}");
    let later = now.plus(std::time::Duration::from_mins(1));
    Spent {
        overspent: budget.is_overspent(),
        streams: budget.streams(),
        within_head: budget.is_within_head(),
        late: budget.late(later, &Limits::default(), 0).map(|phase| format!("{phase:?}")),
        can_say_goodbye: budget.take_goaway(0).is_some(),
        ledger,
    }
}

/// The two access log lines of a request, JSON and combined.
pub fn log_lines(request: &Request, finished: &Finished<'_>, wall_millis: u64) -> (Vec<u8>, Vec<u8>) {
    let id = RequestIds::new(Run::from_bits(1), 0).draw();
    let line = Line { wall_millis, id, mask_client: wall_millis.is_multiple_of(2), request, finished };
    let (mut json, mut combined) = (Vec::new(), Vec::new());
    line.json(&mut SecondText::new(), &mut json);
    line.combined(&mut SecondText::new(), &mut combined);
    (json, combined)
}

/// Whether this text is a file of admin tokens; else what is wrong with it.
///
/// # Errors
/// The message an operator reads.
pub fn tokens(text: &str) -> Result<(), String> {
    crate::admin::tokens::parse(text).map(drop)
}

/// The client that these proxies name for a request from `peer`.
pub fn proxied(
    peer: std::net::SocketAddr,
    fields: &crate::listener::fields::Fields,
    trusted: &[crate::config::Network],
) -> Option<std::net::SocketAddr> {
    crate::listener::proxied::client(peer, fields, trusted)
}
