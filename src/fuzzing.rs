//! What `tests/fuzz` needs of the parsers that the crate keeps to itself: bytes in, a comparable value out.
//!
//! Compiled with the feature `fuzzing` only. Each function takes its input in pieces where the parser does, so that a
//! target can compare one cut of the same bytes with another.

use crate::config::log::{Log, Mask};
use crate::config::trace::Trace;
use crate::listener::h2::hpack::Decoder;
use crate::listener::h2::inbound::{Event, Inbound};
use crate::listener::request::Request;
use crate::listener::service::Finished;
use crate::observe::calendar::SecondText;
use crate::observe::id::{RequestIds, Run};
use crate::observe::line::Line;
use crate::origin::framing::{Listen, Scanner};
use crate::origin::{Framing, OriginError, Surplus};

/// What the reading of a response came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scanned {
    /// Its status and fields, those of its framing left out, and its body.
    pub told: Told,
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

/// What is told of a response while it is read.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Told {
    /// Zero: there was no final head.
    pub status: u16,
    /// In order, names in lower case.
    pub fields: FuzzedFields,
    /// Without its framing.
    pub body: Vec<u8>,
}

impl Listen for Told {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        self.fields.push((name.to_ascii_lowercase(), value.to_vec()));
    }

    fn head(&mut self, status: u16, interim: bool) {
        if interim {
            self.fields.clear();
        } else {
            self.status = status;
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        self.body.extend_from_slice(bytes);
    }
}

/// Reads the response to one request as `origin/connection.rs` does.
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
    let (mut taken, mut told) = (0, Told::default());
    for piece in pieces {
        taken += scanner.read(piece, &mut told)?;
    }
    Ok(Scanned {
        told,
        framing: scanner.framing(),
        declared_length: scanner.declared_length(),
        whole: scanner.whole(),
        reusable: scanner.reusable(),
        taken,
    })
}

/// What a client's bytes are as HTTP/2 frames, preface included: kind, flags, stream and payload (of DATA its body, of what
/// is skipped nothing); and the code of the error behind them.
pub fn frames<'b>(pieces: impl IntoIterator<Item = &'b [u8]>) -> (Vec<FuzzedFrame>, Option<u32>) {
    let (mut inbound, mut frames) = (Inbound::Preface, Vec::<FuzzedFrame>::new());
    let mut input = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        let mut rest = &input[..];
        loop {
            match inbound.next(&mut rest) {
                Ok(Some(Event::Frame(head, payload))) => {
                    frames.push((head.kind, head.flags, head.stream, payload.to_vec()));
                }
                Ok(Some(Event::Data(head, _) | Event::Skipped(head))) => {
                    frames.push((head.kind, head.flags, head.stream, Vec::new()));
                }
                Ok(Some(Event::Piece(_, bytes))) => {
                    if let Some(frame) = frames.last_mut() {
                        frame.3.extend_from_slice(bytes);
                    }
                }
                Ok(Some(Event::DataEnds(_))) => {}
                Ok(None) => break,
                Err(code) => return (frames, Some(code as u32)),
            }
        }
        let taken = input.len() - rest.len();
        input.drain(..taken);
    }
    (frames, None)
}

/// Kind, flags, stream, payload.
pub type FuzzedFrame = (u8, u8, u32, Vec<u8>);

/// The fields of header blocks that one decoder reads one after another, until one cannot be read.
pub fn header_blocks<'b>(blocks: impl IntoIterator<Item = &'b [u8]>) -> Vec<Option<FuzzedFields>> {
    let (mut decoder, mut read) = (Decoder::default(), Vec::new());
    for block in blocks {
        let mut fields = Vec::new();
        let decoded = decoder.decode(block, |field| fields.push((field.name.to_vec(), field.value.to_vec())));
        let broken = decoded.is_err();
        read.push(decoded.ok().map(|()| fields));
        if broken {
            break;
        }
    }
    read
}

/// Names and values.
pub type FuzzedFields = Vec<(Vec<u8>, Vec<u8>)>;

/// A whole HTTP/2 connection over memory.
pub use crate::listener::h2::rehearsal::{Rehearsed, rehearse};

/// The two access log lines of a request, JSON and combined.
pub fn log_lines(request: &Request, finished: &Finished<'_>, wall_millis: u64) -> (Vec<u8>, Vec<u8>) {
    let id = RequestIds::new(Run::from_bits(1), 0).draw();
    let mask = wall_millis.is_multiple_of(2).then(Mask::default);
    let trace = Trace { on: wall_millis.is_multiple_of(3), ..Trace::default() };
    let log = Log { mask, trace, ..Log::default() };
    let given = request.given_name();
    let line = Line { wall_millis, id, given, run: Run::from_bits(1), log: &log, request, finished };
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

/// The network of a line of a list of networks, if it has one.
///
/// # Errors
/// What an operator reads.
pub fn listed_network(line: &str) -> Result<Option<crate::config::Network>, String> {
    crate::route::access::fuzzed::network(line)
}

/// Whether this text is a file of users; else the line and what is wrong with it.
///
/// # Errors
/// What an operator reads.
pub fn users(text: &str) -> Result<(), (usize, String)> {
    crate::route::access::fuzzed::users(text)
}

/// A name and a password.
pub type Credentials = (Box<[u8]>, Box<[u8]>);

/// Name and password in a value of `Authorization`.
pub fn credentials(value: &[u8]) -> Option<Credentials> {
    crate::route::access::fuzzed::credentials(value)
}

/// Whether a request for `own.test` may come from the page of this `Referer`, where `friend.test` and `*.family.test` are known.
pub fn admits_page(value: &[u8]) -> bool {
    crate::route::access::fuzzed::admits_page(value)
}

/// What is said of a target's signature under a key that nobody has.
pub fn signature(target: &[u8]) -> &'static str {
    crate::route::access::fuzzed::signature(target)
}

/// Every value that is looked into of a body with this `Content-Type`, and whether there were more than are.
pub fn inspected_values(content_type: Option<&[u8]>, body: &[u8]) -> (Vec<Vec<u8>>, bool) {
    crate::route::access::fuzzed::values(content_type, body)
}

/// What a value is taken for: `harmless`, `sql`, `script` or `unreadable`.
pub fn inspected(value: &[u8]) -> &'static str {
    crate::route::access::fuzzed::word(value)
}
