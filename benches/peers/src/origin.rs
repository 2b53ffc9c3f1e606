//! The counting origin: what stands behind every cache under test.
//!
//! `GET /o/ID?s=BYTES` answers with a body of that size made from ID, an `ETag`, the current `Date` and
//! `Cache-Control: max-age=3600`. More switches: `delay=MS` before the head, `over=MS` spreads the body,
//! `nostore`, `chunked` (no length given), `text` (words, as a page has them). `GET /count` says how many `/o/` requests came since `GET /reset`.
//! A matching `If-None-Match` gets a 304, and is counted too. `/hit` is such an object; `/stall…` is never answered.
//!
//! One thread and one epoll; an answer is a row of pieces, each with the moment it may leave.
//! Invariant: pieces leave in order, so pipelined requests are answered in order.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::reply::find;
use crate::time::{MILLI, http_date, now};

/// Serves until killed.
pub(crate) fn serve(address: SocketAddr) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut origin = Origin::default();
    loop {
        let wait = origin.due.peek().map(|Reverse((due, _))| {
            // Rounded up: epoll counts whole milliseconds, and zero would spin until the piece is due.
            Duration::from_millis(due.saturating_sub(now()).div_ceil(MILLI))
        });
        if let Err(error) = poll.poll(&mut events, wait) {
            if error.kind() == io::ErrorKind::Interrupted {
                continue;
            }
            return Err(error);
        }
        for event in &events {
            if event.token() == LISTENER {
                origin.accept(&listener, &poll)?;
            } else {
                origin.ready(event.token().0);
            }
        }
        while let Some(Reverse((due, index))) = origin.due.peek().copied() {
            if due > now() {
                break;
            }
            origin.due.pop();
            origin.ready(index);
        }
    }
}

#[derive(Default)]
struct Origin {
    connections: Vec<Option<Connection>>,
    free: Vec<usize>,
    due: BinaryHeap<Reverse<(u64, usize)>>,
    count: u64,
}

struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    pieces: VecDeque<Piece>,
}

struct Piece {
    due: u64,
    bytes: Vec<u8>,
    sent: usize,
}

impl Origin {
    fn accept(&mut self, listener: &TcpListener, poll: &Poll) -> io::Result<()> {
        loop {
            let mut stream = match listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            let _ = stream.set_nodelay(true);
            let index = self.free.pop().unwrap_or_else(|| {
                self.connections.push(None);
                self.connections.len() - 1
            });
            poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
            self.connections[index] = Some(Connection { stream, input: Vec::new(), pieces: VecDeque::new() });
        }
    }

    /// Reads what came, answers it, writes what is due; forgets the connection when it is over.
    fn ready(&mut self, index: usize) {
        let Some(Some(mut connection)) = self.connections.get_mut(index).map(Option::take) else { return };
        let alive = connection.read().is_ok_and(|open| {
            self.answer(&mut connection);
            open && connection.write().is_ok()
        });
        if alive {
            if let Some(piece) = connection.pieces.front()
                && piece.due > now()
            {
                self.due.push(Reverse((piece.due, index)));
            }
            self.connections[index] = Some(connection);
        } else {
            self.free.push(index);
        }
    }

    fn answer(&mut self, connection: &mut Connection) {
        while let Some(end) = find(&connection.input, b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&connection.input[..end]).into_owned();
            let body = field(&head, "content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
            if connection.input.len() < end + 4 + body {
                return;
            }
            connection.input.drain(..end + 4 + body);
            let target = head.split(' ').nth(1).unwrap_or("/");
            if target.starts_with("/stall") {
                continue;
            }
            if target.starts_with("/o/") || target == "/hit" {
                self.count += 1;
                respond(&head, target, &mut connection.pieces);
                continue;
            }
            let text = match target {
                "/reset" => std::mem::take(&mut self.count),
                _ => self.count,
            }
            .to_string();
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len());
            connection.pieces.push_back(Piece { due: 0, bytes: head.into_bytes(), sent: 0 });
        }
    }
}

impl Connection {
    /// False when the other side has closed.
    fn read(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 2 * 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(length) => self.input.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(piece) = self.pieces.front_mut() {
            if piece.due > now() {
                return Ok(());
            }
            match self.stream.write(&piece.bytes[piece.sent..]) {
                Ok(length) => piece.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
            if piece.sent == piece.bytes.len() {
                self.pieces.pop_front();
            }
        }
        Ok(())
    }
}

fn respond(head: &str, target: &str, pieces: &mut VecDeque<Piece>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let switch = |name: &str| {
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, "1"));
            (key == name).then(|| value.parse::<u64>().unwrap_or(0))
        })
    };
    let size = switch("s").unwrap_or(1024).min(BODY_BYTES_MAX);
    let start = now() + switch("delay").unwrap_or(0).min(DELAY_MS_MAX) * MILLI;
    let etag = format!("\"{}-{size}\"", path.trim_start_matches("/o/"));
    let control = if switch("nostore").is_some() { "no-store" } else { "max-age=3600" };
    let fields = format!("Date: {}\r\nETag: {etag}\r\nCache-Control: {control}\r\n", http_date());
    if field(head, "if-none-match").is_some_and(|value| value.contains(&etag)) {
        let bytes = format!("HTTP/1.1 304 Not Modified\r\n{fields}\r\n").into_bytes();
        pieces.push_back(Piece { due: start, bytes, sent: 0 });
        return;
    }
    let chunked = switch("chunked").is_some();
    let length =
        if chunked { "Transfer-Encoding: chunked".to_owned() } else { format!("Content-Length: {size}") };
    let text = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n{fields}{length}\r\n\r\n");
    let mut bytes = text.into_bytes();
    let mut body =
        if switch("text").is_some() { words(path, size as usize) } else { body(path, size as usize) };
    if head.starts_with("HEAD ") {
        body.clear();
    }
    let over = switch("over").unwrap_or(0).min(DELAY_MS_MAX) * MILLI;
    let parts = if over > 0 && !body.is_empty() { PARTS } else { 1 };
    let step = body.len().div_ceil(parts).max(1);
    let mut due = start;
    for part in body.chunks(step) {
        if chunked {
            bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
        }
        bytes.extend_from_slice(part);
        if chunked {
            bytes.extend_from_slice(b"\r\n");
        }
        pieces.push_back(Piece { due, bytes: std::mem::take(&mut bytes), sent: 0 });
        due += over / parts as u64;
    }
    if chunked && !head.starts_with("HEAD ") {
        bytes.extend_from_slice(b"0\r\n\r\n");
    }
    if !bytes.is_empty() {
        pieces.push_back(Piece { due, bytes, sent: 0 });
    }
}

/// `size` bytes that repeat `path`: another object gives another body, and no body holds a line break.
fn body(path: &str, size: usize) -> Vec<u8> {
    path.as_bytes().iter().copied().cycle().take(size).collect()
}

/// `size` bytes of markup with words that come as often as words do: compresses about as pages do.
fn words(path: &str, size: usize) -> Vec<u8> {
    let mut state = path.bytes().fold(7_u64, |state, byte| state.wrapping_mul(31).wrapping_add(byte.into()));
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut body = Vec::with_capacity(size + 32);
    while body.len() < size {
        // The product of two: few words come often, many seldom.
        let word = (next() % 64) * (next() % 64);
        let tag = if next() % 12 == 0 { "</p><p class=\"text\">" } else { " " };
        body.extend_from_slice(format!("{:x}{tag}", word.wrapping_mul(0x9e37_79b9)).as_bytes());
    }
    body.truncate(size);
    body
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().skip(1).find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then(|| value.trim())
    })
}

const LISTENER: Token = Token(usize::MAX);
/// A body spread over time leaves in this many pieces.
const PARTS: usize = 50;
const BODY_BYTES_MAX: u64 = 1 << 30;
const DELAY_MS_MAX: u64 = 60_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(request: &str) -> (String, Vec<u64>) {
        let target = request.split(' ').nth(1).expect("a request line");
        let mut pieces = VecDeque::new();
        respond(request, target, &mut pieces);
        let start = pieces.front().expect("an answer has a piece").due;
        let dues = pieces.iter().map(|piece| (piece.due - start) / MILLI).collect();
        let bytes = pieces.into_iter().flat_map(|piece| piece.bytes).collect();
        (String::from_utf8(bytes).expect("our answers are text"), dues)
    }

    #[test]
    fn the_query_shapes_the_answer() {
        for (claim, request, wanted) in [
            ("a body is its path, repeated", "GET /o/a?s=6 HTTP/1.1", "\r\n\r\n/o/a/o"),
            ("its length is stated", "GET /o/a?s=6 HTTP/1.1", "Content-Length: 6\r\n"),
            ("it may be stored", "GET /o/a HTTP/1.1", "Cache-Control: max-age=3600\r\n"),
            ("unless told", "GET /o/a?nostore HTTP/1.1", "Cache-Control: no-store\r\n"),
            ("chunks end", "GET /o/a?s=4&chunked HTTP/1.1", "\r\n\r\n4\r\n/o/a\r\n0\r\n\r\n"),
            ("a text has markup", "GET /o/a?s=600&text HTTP/1.1", "<p class=\"text\">"),
            ("it validates", "GET /o/a?s=4 HTTP/1.1\r\nIf-None-Match: \"a-4\"", "HTTP/1.1 304 "),
            ("HEAD has no body", "HEAD /o/a?s=4 HTTP/1.1", "Content-Length: 4\r\n\r\n"),
        ] {
            let (text, _) = answered(request);
            assert!(text.contains(wanted), "{claim}: {text}");
        }
    }

    #[test]
    fn a_spread_body_leaves_in_equal_steps() {
        let (text, dues) = answered("GET /o/a?s=1000&over=100 HTTP/1.1");
        assert!(text.ends_with("/o/a"));
        assert_eq!(dues, (0..50).map(|step| step * 2).collect::<Vec<_>>());
    }
}
