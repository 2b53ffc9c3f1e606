//! The head of an answer, and how its body is framed.
//!
//! The listener alone speaks of the connection: `Content-Length`, `Transfer-Encoding`, `Connection` and a missing
//! `Date` are written here, around the lines that `respond/` or the store rendered. Called by `connection.rs`.
//!
//! Invariant: what is announced is what is sent, or the connection ends visibly short.
//! RFC 9112 §4, §6, §7; RFC 9110 §6.4.1, §6.6.1, §8.6, §9.3.2, §15.

use http::StatusCode;

use super::date::DateLine;
use crate::clock::Clock;
use crate::listener::request::{Interim, Protocol};
use crate::respond::response::{Body, Response, names_date};

/// How an answer's body goes over the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Framing {
    pub(super) announced: Announced,
    /// Whether body bytes follow the head.
    pub(super) sends_body: bool,
}

/// What the head says about the body's length.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Announced {
    /// Nothing: there is no body, or (HEAD) it is unknown.
    Nothing,
    Length(u64),
    Chunked,
    /// Nothing: the end of the connection ends it. HTTP/1.0 only.
    UntilClose,
}

impl Framing {
    pub(super) fn of(response: &Response, to_head: bool, protocol: Protocol) -> Self {
        let announced = match (&response.body, response.status) {
            (_, StatusCode::NO_CONTENT) => Announced::Nothing,
            (_, status) if status.is_informational() => Announced::Nothing,
            (Body::Omitted(Some(length)), StatusCode::NOT_MODIFIED) => Announced::Length(*length),
            (_, StatusCode::NOT_MODIFIED) => Announced::Nothing,
            (body, _) if to_head => body.length().map_or(Announced::Nothing, Announced::Length),
            (Body::Stream { length: None, .. }, _) if protocol == Protocol::Http10 => Announced::UntilClose,
            (Body::Stream { length: None, .. }, _) => Announced::Chunked,
            // Without a length the client would wait for a body until the connection ends.
            (Body::None | Body::Omitted(_) | Body::Tunnel(_), _) => Announced::Length(0),
            (body, _) => Announced::Length(body.length().unwrap_or_default()),
        };
        let sends_body = !to_head
            && announced != Announced::Nothing
            && response.status != StatusCode::NOT_MODIFIED
            && !matches!(response.body, Body::None | Body::Omitted(_) | Body::Tunnel(_));
        Self { announced, sends_body }
    }
}

/// Appends the status line and all lines but [`Response::lines`].
#[inline]
pub(super) fn append_head(
    out: &mut Vec<u8>,
    response: &Response,
    framing: Framing,
    close: bool,
    protocol: Protocol,
    (clock, date): (&Clock, &DateLine),
) {
    append_status(out, response.status);
    out.extend_from_slice(&response.extra);
    match framing.announced {
        Announced::Length(length) => {
            out.extend_from_slice(b"Content-Length: ");
            out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        Announced::Chunked => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Announced::Nothing | Announced::UntilClose => {}
    }
    if close {
        out.extend_from_slice(b"Connection: close\r\n");
    } else if protocol == Protocol::Http10 {
        out.extend_from_slice(b"Connection: keep-alive\r\n");
    }
    if !response.lines.has_date() && !names_date(&response.extra) {
        date.append(clock, out);
    }
}

/// Appends what a 101 says of the connection. RFC 9110 §7.8, §15.2.2.
pub(super) fn append_upgrade(out: &mut Vec<u8>, protocol: &[u8]) {
    out.extend_from_slice(b"Connection: upgrade\r\nUpgrade: ");
    out.extend_from_slice(protocol);
    out.extend_from_slice(b"\r\n");
}

/// Appends an interim response whole.
pub(super) fn append_interim(out: &mut Vec<u8>, interim: &Interim) {
    append_status(out, interim.status);
    for (name, value) in &interim.fields {
        out.extend_from_slice(name.as_str().as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

/// Always HTTP/1.1, which is what we are; RFC 9112 §2.3.
#[inline]
fn append_status(out: &mut Vec<u8>, status: StatusCode) {
    let line: &[u8] = match status.as_u16() {
        200 => b"HTTP/1.1 200 OK\r\n",
        206 => b"HTTP/1.1 206 Partial Content\r\n",
        301 => b"HTTP/1.1 301 Moved Permanently\r\n",
        302 => b"HTTP/1.1 302 Found\r\n",
        304 => b"HTTP/1.1 304 Not Modified\r\n",
        404 => b"HTTP/1.1 404 Not Found\r\n",
        _ => {
            out.extend_from_slice(b"HTTP/1.1 ");
            out.extend_from_slice(status.as_str().as_bytes());
            out.push(b' ');
            out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
            b"\r\n"
        }
    };
    out.extend_from_slice(line);
}
