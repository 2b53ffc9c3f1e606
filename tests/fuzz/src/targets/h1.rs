//! HTTP/1.1 from clients: `listener/h1/head.rs` and `listener/h1/body.rs`.

use bytes::BytesMut;
use tidegate::config::limits::Limits;
use tidegate::listener::fields::FieldIndex;
use tidegate::listener::h1::Refusal;
use tidegate::listener::h1::body::{Decoded, Decoder, Malformed};
use tidegate::listener::h1::head::{BodyLength, Head, HeadReader};
use tidegate::listener::request::Scheme;

use super::{Cut, second};
use crate::reached;

/// A request as ours read it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Read {
    method: String,
    authority: Vec<u8>,
    target: Vec<u8>,
    fields: Vec<(String, Vec<u8>)>,
    keep_alive: bool,
    body: Vec<u8>,
    complete: bool,
}

/// How reading a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum End {
    /// The bytes did.
    NeedMore,
    /// The client asked for it.
    Closed,
    /// A head was refused.
    Refused(Refusal),
    /// A body was.
    Malformed(Malformed),
}

/// Reads requests from a connection's bytes as they come, as `connection.rs` does.
pub fn read<'b>(pieces: impl IntoIterator<Item = &'b [u8]>, limits: &Limits) -> (Vec<Read>, End) {
    let mut input = BytesMut::new();
    let (mut heads, mut index) = (HeadReader::default(), FieldIndex::default());
    let mut all: Vec<Read> = Vec::new();
    let mut body: Option<Decoder> = None;
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            if let (Some(decoder), Some(current)) = (&mut body, all.last_mut()) {
                match decoder.decode(&mut input) {
                    Err(malformed) => {
                        assert_eq!(decoder.decode(&mut input), Err(malformed), "an error is for good");
                        return (all, End::Malformed(malformed));
                    }
                    Ok(Decoded::NeedMore) => break,
                    Ok(Decoded::Data(data)) => {
                        assert!(!data.is_empty(), "a piece of a body is never empty");
                        current.body.extend_from_slice(&data);
                    }
                    Ok(Decoded::End) => {
                        assert!(decoder.is_ended());
                        current.complete = true;
                        body = None;
                        if !current.keep_alive {
                            return (all, End::Closed);
                        }
                    }
                }
            } else {
                match heads.next(&mut input, &mut index, Scheme::Http, limits) {
                    Err(refusal) => return (all, End::Refused(refusal)),
                    Ok(None) => break,
                    Ok(Some(head)) => {
                        body = Some(decoder(&head, limits));
                        all.push(record(&head));
                        index = head.fields.into_index();
                    }
                }
            }
        }
    }
    (all, End::NeedMore)
}

fn decoder(head: &Head, limits: &Limits) -> Decoder {
    match head.body {
        BodyLength::None => Decoder::length(0),
        BodyLength::Exactly(length) => {
            assert!(length > 0 && length <= limits.request_body_bytes_max);
            Decoder::length(length)
        }
        BodyLength::Chunked => Decoder::chunked(limits.request_body_bytes_max),
    }
}

fn record(head: &Head) -> Read {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).to_ascii_lowercase();
    for line in head.fields.lines() {
        assert!(!line.name.is_empty() && line.name.iter().all(u8::is_ascii_graphic), "a name is a token");
        assert!(!line.value.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)), "a value is one line");
        assert_eq!(line.value, line.value.trim_ascii(), "white space around a value is not of it");
    }
    let (target, authority) = (head.fields.part(&head.target), head.fields.part(&head.authority));
    assert!(target.starts_with(b"/") || target == b"*", "a target is in origin-form");
    assert!(target.iter().chain(authority).all(u8::is_ascii_graphic));
    assert!(!authority.is_empty() && !authority.contains(&b'@'), "an authority is host and port");
    Read {
        method: head.method.to_string(),
        authority: authority.to_vec(),
        target: target.to_vec(),
        fields: head.fields.lines().map(|line| (text(line.name), line.value.to_vec())).collect(),
        keep_alive: head.keep_alive,
        body: Vec::new(),
        complete: false,
    }
}

/// Heads and bodies: however the bytes arrive they are read alike, and every bound holds.
pub fn h1_requests(data: &[u8]) {
    // Small bounds, so that inputs pass them.
    let small = Limits {
        head_bytes_max: 300,
        fields_max: 6,
        target_bytes_max: 60,
        request_body_bytes_max: 40,
        ..Limits::default()
    };
    for limits in [&Limits::default(), &small] {
        let (whole, end) = read([data], limits);
        reached((end, whole.len().min(4), whole.last().map(|last| (last.complete, last.body.len().min(3)))));
        for cut in [Cut::Bytes, Cut::Uneven] {
            let (pieces, pieces_end) = read(cut.pieces(data), limits);
            assert_eq!(whole, pieces, "{cut:?}");
            assert!(
                end == pieces_end || (is_bound(end) || is_bound(pieces_end)) && is_refusal(end, pieces_end)
            );
        }
        for request in &whole {
            assert!(request.target.len() <= limits.target_bytes_max);
            assert!(request.fields.len() <= limits.fields_max);
            assert!(request.body.len() as u64 <= limits.request_body_bytes_max);
        }
    }
}

/// What comes in pieces may pass a bound before another fault is seen.
const fn is_bound(end: End) -> bool {
    matches!(end, End::Refused(Refusal::HeadTooLong | Refusal::TargetTooLong | Refusal::TooManyFields))
}

const fn is_refusal(one: End, other: End) -> bool {
    matches!((one, other), (End::Refused(_), End::Refused(_)))
}

/// What ours accepts, hyper's server reads with the same meaning.
pub fn h1_against_hyper(data: &[u8]) {
    let limits = Limits { fields_max: 60, ..Limits::default() };
    let (ours, end) = read([data], &limits);
    if ours.is_empty() {
        return;
    }
    let theirs = second::requests(data);
    reached((end, ours.len().min(4), theirs.len().min(4)));
    for (at, one) in ours.iter().enumerate() {
        let Some(other) = theirs.get(at) else {
            // Only where the connection ended in between: hyper closes where it is asked to, as we do.
            panic!("hyper does not read request {at}: {one:?} of {ours:?}, {end:?}; it reads {theirs:?}");
        };
        assert_eq!(format!("{} {}", one.method, uri_of(one, other)), other.start, "{one:?}\n{other:?}");
        assert_eq!(sorted(&one.fields), sorted(&other.fields), "request {at}");
        // What we refuse within a body hyper may take; what we take, or wait for, it must not see otherwise.
        let is_last = at + 1 == ours.len();
        if one.complete || !(is_last && matches!(end, End::Malformed(_))) {
            assert_eq!((&one.body, one.complete), (&other.body, other.complete), "request {at}: {one:?}");
        }
    }
    if matches!(end, End::NeedMore | End::Closed) {
        assert_eq!(ours.len(), theirs.len(), "hyper reads a request more: {theirs:?}");
    }
}

/// The target as hyper shows it: in absolute-form where the client sent it so.
fn uri_of(ours: &Read, theirs: &second::Message) -> String {
    let target = String::from_utf8_lossy(&ours.target);
    let is_absolute = theirs.start.split_once(' ').is_some_and(|(_, uri)| uri.starts_with("http"));
    match (is_absolute, &*target) {
        (false, _) => target.into_owned(),
        // RFC 9112 §3.2.4: no path with OPTIONS is the server as a whole; hyper leaves that to its caller.
        (true, "*") => format!("http://{}/", String::from_utf8_lossy(&ours.authority)),
        (true, path) => format!("http://{}{path}", String::from_utf8_lossy(&ours.authority)),
    }
}

/// By name; the order within a name counts, the order of names does not.
fn sorted(fields: &[(String, Vec<u8>)]) -> Vec<(String, Vec<u8>)> {
    let mut sorted = fields.to_vec();
    sorted.sort_by(|one, other| one.0.cmp(&other.0));
    sorted
}

/// Chunked and counted bodies: however cut, the same bytes; and those of an independent reading.
pub fn chunked_body(data: &[u8]) {
    const ALLOWED: u64 = 1000;
    let whole = decoded(Decoder::chunked(ALLOWED), [data]);
    for cut in [Cut::Bytes, Cut::Uneven] {
        assert_eq!(whole, decoded(Decoder::chunked(ALLOWED), cut.pieces(data)), "{cut:?}");
    }
    let (body, left, end) = &whole;
    assert!(body.len() as u64 <= ALLOWED, "a body is as long as allowed at most");
    reached((body.len().min(4), left.min(&1), end));
    if *end == Ok(true) {
        assert_eq!(plain_chunked(data), Some((body.clone(), *left)), "{}", data.escape_ascii());
    }
    for length in [0, 1, 7, 100] {
        let counted = decoded(Decoder::length(length), [data]);
        let taken = data.len().min(usize::try_from(length).unwrap_or(usize::MAX));
        assert_eq!(counted.0, data.get(..taken).unwrap_or_default());
        assert_eq!(counted.1, data.len() - taken, "no byte behind the body is taken");
        assert_eq!(counted.2, Ok(taken as u64 == length));
        assert_eq!(counted, decoded(Decoder::length(length), Cut::Uneven.pieces(data)));
    }
}

/// The body, how many bytes are left behind it (0 while it has not ended), and whether it has.
fn decoded<'b>(
    mut decoder: Decoder,
    pieces: impl IntoIterator<Item = &'b [u8]>,
) -> (Vec<u8>, usize, Result<bool, Malformed>) {
    let (mut input, mut body) = (BytesMut::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match decoder.decode(&mut input) {
                Ok(Decoded::Data(data)) => body.extend_from_slice(&data),
                Ok(Decoded::NeedMore | Decoded::End) => break,
                Err(malformed) => return (body, 0, Err(malformed)),
            }
        }
    }
    let is_ended = matches!(decoder.decode(&mut input), Ok(Decoded::End));
    (body, if is_ended { input.len() } else { 0 }, Ok(is_ended))
}

/// RFC 9112 §7.1 read the slow way from a whole body: content and the number of bytes behind it.
fn plain_chunked(data: &[u8]) -> Option<(Vec<u8>, usize)> {
    let text: Vec<char> = data.iter().map(|byte| char::from(*byte)).collect();
    let line = |from: usize| -> Option<(String, usize)> {
        let end = (from..text.len()).find(|at| text[*at] == '\n')?;
        let line: String = text.get(from..end)?.iter().collect();
        Some((line.strip_suffix('\r')?.to_owned(), end + 1))
    };
    let (mut at, mut body) = (0, Vec::new());
    loop {
        let (size, after) = line(at)?;
        let size = usize::from_str_radix(size.split(';').next()?, 16).ok()?;
        at = after;
        if size == 0 {
            break;
        }
        body.extend_from_slice(data.get(at..at + size)?);
        let (nothing, after) = line(at + size)?;
        if !nothing.is_empty() {
            return None;
        }
        at = after;
    }
    loop {
        let (trailer, after) = line(at)?;
        at = after;
        if trailer.is_empty() {
            return Some((body, data.len() - at));
        }
        trailer.split_once(':')?;
    }
}

/// Words of requests.
pub const WORDS: &[&str] = &[
    "GET ",
    "POST ",
    "HEAD ",
    "OPTIONS ",
    "CONNECT ",
    "* ",
    "/ ",
    "/a?b=c",
    "http://a.example",
    "https://",
    "//",
    "HTTP/1.1\r\n",
    "HTTP/1.0\r\n",
    "HTTP/2.0",
    "\r\n\r\n",
    "Host: a.example\r\n",
    "Host:",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length:",
    "Content_Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:",
    "Transfer-Encoding: identity\r\n",
    "transfer_encoding",
    "chunked",
    "gzip, chunked",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection:",
    "Keep-Alive: timeout=5\r\n",
    "Upgrade: h2c\r\n",
    "Upgrade: websocket\r\n",
    "HTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    "TE: trailers\r\n",
    "Trailer: x\r\n",
    "Expect: 100-continue\r\n",
    "Via: 1.1 n1\r\n",
    "CDN-Loop: n1\r\n",
    "X-Forwarded-For: 1.2.3.4\r\n",
    "Forwarded: for=1.2.3.4\r\n",
    "Cookie: a=b\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "\r\n ",
    ":80",
    "@",
    "[::1]",
    "%2f",
];
/// Words of chunked bodies.
pub const CHUNK_WORDS: &[&str] = &[
    "0\r\n",
    "0\r\n\r\n",
    "5\r\nhello\r\n",
    "a\r\n0123456789\r\n",
    "\r\n",
    ";",
    ";a=b",
    ";a=\"b;c\\\"\"",
    "X: y\r\n",
    "Content-Length: 3\r\n",
    "0x",
    "ffffffffffffffff",
    "00000000000000000",
    "3e8\r\n",
];
