//! A request's body on its way to an origin.
//!
//! `pool.rs` makes one for a request; `connection.rs` pulls from it while it writes, whether or not the response has begun. As
//! long as nothing was taken from it, a failed attempt leaves it whole for the next. It is framed here: by the length that
//! the client declared, else in chunks. Trailers go on only where the listener kept them (FAULTS S6).
//!
//! Invariant: what is written is whole by its framing exactly when the client's body was. RFC 9112 §6, §7.1.

use std::io::Write;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::Body;

use crate::config::limits::BODY_READ_BYTES;
use crate::listener::request::{BodyError, RequestBody};
use crate::listener::trailers;

/// What comes next of a body.
#[derive(Debug)]
pub(crate) enum Piece {
    /// Some bytes.
    Data(Bytes),
    /// Its end, with what follows it.
    End(Option<HeaderMap>),
}

/// A body, and how much of it went out; none by default.
#[derive(Debug)]
pub(crate) struct Upload {
    body: RequestBody,
    framing: Framing,
    /// Something was taken out.
    touched: bool,
    /// Its end has been taken.
    ended: bool,
    /// It was asked last and had nothing: the client is being waited for.
    waiting: bool,
    /// Pieces taken, to see that an upload moves.
    pieces: u64,
}

#[derive(Clone, Copy, Debug, Default)]
enum Framing {
    #[default]
    None,
    /// `Content-Length`: bytes to come.
    Length(u64),
    Chunked,
}

impl Default for Upload {
    fn default() -> Self {
        Self::new(RequestBody::Empty)
    }
}

impl Upload {
    /// In place of one that has gone with an answer: nobody else can be sent it.
    pub(crate) fn gone() -> Self {
        Self { touched: true, ..Self::default() }
    }

    /// Nothing taken yet.
    pub(crate) fn new(body: RequestBody) -> Self {
        let framing = match body.size_hint().exact() {
            _ if body.is_end_stream() => Framing::None,
            Some(length) => Framing::Length(length),
            None => Framing::Chunked,
        };
        let ended = matches!(framing, Framing::None | Framing::Length(0));
        Self { body, framing, touched: false, ended, waiting: false, pieces: 0 }
    }

    /// Nothing has been taken: another attempt can send it from its start.
    pub(crate) const fn is_whole(&self) -> bool {
        !self.touched
    }

    /// There is none, nor was there one.
    pub(crate) const fn is_none(&self) -> bool {
        matches!(self.framing, Framing::None) && self.ended
    }

    /// All of it has been taken.
    pub(crate) const fn is_ended(&self) -> bool {
        self.ended
    }

    /// Whether its next piece is the client's turn.
    pub(crate) const fn waits_for_client(&self) -> bool {
        self.waiting && !self.ended
    }

    /// How many pieces came so far.
    pub(crate) const fn pieces(&self) -> u64 {
        self.pieces
    }

    /// The field that frames it, as a line. A method that anticipates content says when there is none (RFC 9110 §8.6).
    pub(crate) fn write_framing(&self, anticipated: bool, out: &mut Vec<u8>) {
        match self.framing {
            Framing::None if anticipated => out.extend_from_slice(b"content-length: 0\r\n"),
            Framing::None => {}
            Framing::Length(length) => {
                out.extend_from_slice(b"content-length: ");
                out.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
                out.extend_from_slice(b"\r\n");
            }
            Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
    }

    /// Appends what the client has brought, framed, until there is enough for a write or no more now.
    ///
    /// # Errors
    /// Why the body ends before its end.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>, out: &mut Vec<u8>) -> Result<(), BodyError> {
        while !self.ended && out.len() < BODY_READ_BYTES {
            let polled = Pin::new(&mut self.body).poll_frame(cx);
            self.waiting = polled.is_pending();
            let Poll::Ready(next) = polled else { break };
            self.touched = true;
            let Some(frame) = next else {
                self.end(out, None)?;
                break;
            };
            let piece = match frame?.into_data() {
                Ok(piece) => piece,
                Err(frame) => {
                    self.end(out, frame.into_trailers().ok().as_ref())?;
                    break;
                }
            };
            self.pieces = self.pieces.wrapping_add(1);
            self.piece(&piece, out)?;
            if self.body.is_end_stream() || matches!(self.framing, Framing::Length(0)) {
                self.end(out, None)?;
            }
        }
        Ok(())
    }

    /// The next piece, unframed. To be called until the end and not beyond.
    ///
    /// # Errors
    /// Why the body ends before its end.
    pub(crate) fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Result<Piece, BodyError>> {
        if self.ended {
            return Poll::Ready(Ok(Piece::End(None)));
        }
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.waiting = polled.is_pending();
        let next = ready!(polled);
        self.touched = true;
        let trailers = match next.transpose()?.map(http_body::Frame::into_data) {
            Some(Ok(piece)) => {
                self.pieces = self.pieces.wrapping_add(1);
                if let Framing::Length(left) = &mut self.framing {
                    *left = left.checked_sub(piece.len() as u64).ok_or(BodyError::TooLong)?;
                }
                return Poll::Ready(Ok(Piece::Data(piece)));
            }
            Some(Err(frame)) => frame.into_trailers().ok(),
            None => None,
        };
        if matches!(self.framing, Framing::Length(left) if left > 0) {
            return Poll::Ready(Err(BodyError::Closed));
        }
        self.ended = true;
        Poll::Ready(Ok(Piece::End(trailers)))
    }

    /// The length to be declared, where there is one. A method that anticipates content says when there is none (RFC 9110 §8.6).
    pub(crate) fn declared(&self, anticipated: bool) -> Option<u64> {
        match self.framing {
            Framing::None => anticipated.then_some(0),
            Framing::Length(length) => Some(length),
            Framing::Chunked => None,
        }
    }

    fn piece(&mut self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), BodyError> {
        match &mut self.framing {
            // An empty chunk would be the last.
            _ if piece.is_empty() => {}
            Framing::Length(left) => {
                *left = left.checked_sub(piece.len() as u64).ok_or(BodyError::TooLong)?;
                out.extend_from_slice(piece);
            }
            Framing::Chunked => {
                // Writing to a vector does not fail.
                let _ = write!(out, "{:x}\r\n", piece.len());
                out.extend_from_slice(piece);
                out.extend_from_slice(b"\r\n");
            }
            Framing::None => return Err(BodyError::TooLong),
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<u8>, trailers: Option<&HeaderMap>) -> Result<(), BodyError> {
        match self.framing {
            Framing::Length(left) if left > 0 => return Err(BodyError::Closed),
            Framing::Chunked => {
                out.extend_from_slice(b"0\r\n");
                if let Some(trailers) = trailers {
                    trailers::write(trailers, out);
                }
                out.extend_from_slice(b"\r\n");
            }
            Framing::Length(_) | Framing::None => {}
        }
        self.ended = true;
        Ok(())
    }
}
