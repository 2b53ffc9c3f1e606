//! A request and its response on a stream of an HTTP/2 connection (`[pool.X] protocol = "h2"`).
//!
//! It has the face of `connection.rs`: `pool.rs` begins a request, waits for its head, and `body.rs` pulls what follows; the
//! request's body goes on being sent meanwhile. `links.rs` lends the place, `link.rs` drives the connection, `request.rs` says the
//! head. The pieces of a body are taken from the client as the origin's window lets them go, and the origin's window opens
//! as they are pulled here, so neither side is buffered beyond its window.
//!
//! A request counts as unsent where the origin says that it has not looked at it: a stream refused (RFC 9113 §8.7), or one
//! above the last that a GOAWAY names (§6.8). All else that ends a stream ends its request as the end of a connection would.
//!
//! Invariant: a body ends without an error only by `END_STREAM`, and with the length that its head declared (§8.1.1). A
//! stream that is dropped before is reset.
//! Absent: server push, connection coalescing, priorities, other protocols over a stream (RFC 8441).

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use ::h2::client::ResponseFuture;
use ::h2::{Reason, RecvStream, SendStream};
use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, StatusCode};

use super::error::{Finding, OriginError};
use super::framing::{Framing, Listen};
use super::patience::Patience;
use super::response::Received;
use super::timer::Timer;
use super::upload::{Piece, Upload};
use crate::clock::Clock;
use crate::config::limits::{ORIGIN_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX, ORIGIN_INTERIM_MAX};

mod link;
mod links;
mod request;

use self::link::Share;
pub(crate) use self::links::{Links, Seat};
pub(crate) use self::request::Head;

/// A place on a connection, with at most one request.
pub(crate) struct Stream {
    state: State,
    /// What is still to be sent; none once all was, or the origin takes no more.
    sending: Option<SendStream<Bytes>>,
    /// Taken from the client, not yet from us.
    pending: Bytes,
    to_head_request: bool,
    declared: Declared,
    interims: usize,
    answered: bool,
    /// The origin has not looked at the request.
    unsent: bool,
    timer: Timer,
    // Last: the place is free only when the stream has ended.
    share: Share,
}

enum State {
    /// Nothing was asked.
    Quiet,
    /// It could not be sent.
    Failed(OriginError),
    Waiting(ResponseFuture),
    Body(RecvStream),
    Done,
}

/// What the head says of its body.
#[derive(Clone, Copy, Debug, Default)]
struct Declared {
    status: u16,
    length: Option<u64>,
    /// Bytes of it to come, where that is known.
    left: Option<u64>,
}

impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream").field("share", &self.share).finish_non_exhaustive()
    }
}

impl Stream {
    fn new(share: Share) -> Self {
        Self {
            state: State::Quiet,
            sending: None,
            pending: Bytes::new(),
            to_head_request: false,
            declared: Declared::default(),
            interims: 0,
            answered: false,
            unsent: true,
            timer: Timer::default(),
            share,
        }
    }

    /// A request goes out: its head. A refusal is told by [`Stream::poll_head`].
    pub(crate) fn begin(&mut self, head: &Head<'_>, has_body: bool) {
        self.to_head_request = head.method == http::Method::HEAD;
        let request = match head.to_request() {
            Ok(request) => request,
            Err(error) => {
                self.state = State::Failed(error);
                return;
            }
        };
        match self.share.sender.send_request(request, !has_body) {
            Ok((response, sending)) => {
                self.unsent = false;
                self.state = State::Waiting(response);
                self.sending = has_body.then_some(sending);
            }
            // The connection has ended meanwhile, or has no numbers left.
            Err(_) => self.state = State::Failed(OriginError::Reset),
        }
    }

    /// Whether the connection had carried a request before this one.
    pub(crate) const fn kept(&self) -> bool {
        self.share.kept || self.unsent
    }

    /// Whether the origin has surely not looked at the request.
    pub(crate) const fn unsent(&self) -> bool {
        self.unsent
    }

    /// Whether something of the response has been read.
    pub(crate) const fn answered(&self) -> bool {
        self.answered
    }

    /// How the body is framed, and the length its head declares.
    pub(crate) fn framing(&self) -> (Framing, Option<u64>) {
        let framing = if self.is_bodiless() {
            Framing::None
        } else {
            self.declared.length.map_or(Framing::Chunked, Framing::Length)
        };
        (framing, self.declared.length)
    }

    /// Whether nothing more belongs to the response.
    pub(crate) const fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// Sends the request begun, and is ready when the head of its response is there. Cancel by dropping.
    ///
    /// # Errors
    /// Why there is no head.
    pub(crate) fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        received: &mut Received,
        patience: &mut Patience,
        clock: &Clock,
    ) -> Poll<Result<(), OriginError>> {
        self.send(cx, upload)?;
        if self.poll_answer(cx, received)?.is_ready() {
            return Poll::Ready(Ok(()));
        }
        patience.poll(cx, &mut self.timer, clock, upload).map(Err)
    }

    /// More of the body into `received`; false at its proven end.
    ///
    /// # Errors
    /// Why what came is not the whole.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        received: &mut Received,
    ) -> Poll<Result<bool, OriginError>> {
        self.send(cx, upload)?;
        let State::Body(body) = &mut self.state else {
            return Poll::Ready(if self.is_done() { Ok(false) } else { Err(OriginError::BodyCut) });
        };
        match ready!(body.poll_data(cx)) {
            Some(Ok(piece)) => {
                // What is released lets as much more come; that fails for nothing that was received.
                let _ = body.flow_control().release_capacity(piece.len());
                let is_end = body.is_end_stream();
                self.take(&piece, received)?;
                if is_end {
                    self.end()?;
                }
                return Poll::Ready(Ok(true));
            }
            Some(Err(error)) => return Poll::Ready(Err(cut(&error))),
            None => {}
        }
        let trailers = ready!(body.poll_trailers(cx)).map_err(|error| cut(&error))?;
        for (name, value) in trailers.iter().flatten() {
            received.trailer(name.as_str().as_bytes(), value.as_bytes());
        }
        self.end()?;
        Poll::Ready(Ok(false))
    }

    /// Ready when `due` has passed.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Timestamp) -> Poll<()> {
        self.timer.poll(cx, clock, due)
    }

    fn poll_answer(
        &mut self,
        cx: &mut Context<'_>,
        received: &mut Received,
    ) -> Poll<Result<(), OriginError>> {
        let response = match &mut self.state {
            State::Waiting(response) => response,
            State::Failed(error) => return Poll::Ready(Err(*error)),
            State::Quiet | State::Body(_) | State::Done => return Poll::Ready(Ok(())),
        };
        while let Poll::Ready(Some(Ok(interim))) = response.poll_informational(cx) {
            self.answered = true;
            self.interims = self.interims.saturating_add(1);
            if self.interims > ORIGIN_INTERIM_MAX {
                return Poll::Ready(Err(OriginError::Framing(Finding::InterimStorm)));
            }
            hear(interim.status(), interim.headers(), true, received)?;
        }
        let answer = match ready!(Pin::new(response).poll(cx)) {
            Ok(answer) => answer,
            Err(error) => {
                self.unsent = is_unseen(&error);
                let protocol = error.is_library() && !error.is_io();
                return Poll::Ready(Err(if protocol {
                    OriginError::Framing(Finding::Http2)
                } else {
                    OriginError::Reset
                }));
            }
        };
        self.answered = true;
        let (head, body) = answer.into_parts();
        let length = declared_length(&head.headers)?;
        self.declared = Declared { status: head.status.as_u16(), length, left: length };
        if self.is_bodiless() {
            self.declared.left = Some(0);
        }
        hear(head.status, &head.headers, false, received)?;
        if body.is_end_stream() {
            self.end()?;
        } else {
            self.state = State::Body(body);
        }
        Poll::Ready(Ok(()))
    }

    /// A piece of the body.
    fn take(&mut self, piece: &Bytes, received: &mut Received) -> Result<(), OriginError> {
        if self.is_bodiless() && !piece.is_empty() {
            return Err(OriginError::Framing(Finding::ForbiddenBody));
        }
        if let Some(left) = &mut self.declared.left {
            let longer = OriginError::Framing(Finding::ExtraBytes);
            *left = left.checked_sub(piece.len() as u64).ok_or(longer)?;
        }
        received.data(piece);
        Ok(())
    }

    /// `END_STREAM`.
    fn end(&mut self) -> Result<(), OriginError> {
        if self.declared.left.is_some_and(|left| left > 0) {
            return Err(OriginError::BodyCut);
        }
        self.state = State::Done;
        Ok(())
    }

    fn is_bodiless(&self) -> bool {
        self.to_head_request || matches!(self.declared.status, 204 | 304)
    }

    /// Sends what there is of the body, as far as the origin takes it now. One that takes no more may answer all the same.
    fn send(&mut self, cx: &mut Context<'_>, upload: &mut Upload) -> Result<(), OriginError> {
        while let Some(sending) = &mut self.sending {
            if self.pending.is_empty() {
                let end = match upload.poll_piece(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Err(error)) => return Err(OriginError::RequestBody(error)),
                    Poll::Ready(Ok(Piece::Data(piece))) => {
                        self.pending = piece;
                        continue;
                    }
                    Poll::Ready(Ok(Piece::End(trailers))) => trailers,
                };
                // What fails here is told by the response.
                let _ = match end {
                    Some(trailers) => sending.send_trailers(trailers),
                    None => sending.send_data(Bytes::new(), true),
                };
                self.sending = None;
                return Ok(());
            }
            sending.reserve_capacity(self.pending.len());
            let capacity = match sending.capacity() {
                0 => match sending.poll_capacity(cx) {
                    Poll::Pending => return Ok(()),
                    Poll::Ready(Some(Ok(capacity))) => capacity,
                    Poll::Ready(_) => {
                        self.sending = None;
                        return Ok(());
                    }
                },
                capacity => capacity,
            };
            let piece = self.pending.split_to(capacity.min(self.pending.len()));
            if sending.send_data(piece, false).is_err() {
                self.sending = None;
            }
        }
        Ok(())
    }
}

/// A head, within the same bounds as one of HTTP/1.1.
fn hear(
    status: StatusCode,
    fields: &HeaderMap,
    interim: bool,
    received: &mut Received,
) -> Result<(), OriginError> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(OriginError::Framing(Finding::Upgrade));
    }
    let mut bytes = 0_usize;
    for (name, value) in fields {
        bytes = bytes.saturating_add(name.as_str().len()).saturating_add(value.len());
        if name != CONTENT_LENGTH {
            received.field(name.as_str().as_bytes(), value.as_bytes());
        }
    }
    if bytes > ORIGIN_HEAD_BYTES_MAX || fields.len() > ORIGIN_FIELDS_MAX {
        return Err(OriginError::HeadTooLarge);
    }
    received.head(status.as_u16(), interim);
    Ok(())
}

/// RFC 9110 §8.6: digits, once.
fn declared_length(fields: &HeaderMap) -> Result<Option<u64>, OriginError> {
    let mut lines = fields.get_all(CONTENT_LENGTH).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(OriginError::Framing(Finding::TwoLengths));
    }
    let digits = line.as_bytes();
    let text = std::str::from_utf8(digits).ok().filter(|_| digits.iter().all(u8::is_ascii_digit));
    let length = text.and_then(|text| text.parse().ok());
    length.map(Some).ok_or(OriginError::Framing(Finding::Length))
}

/// Whether the origin has not looked at a request that ended so. A GOAWAY ends those streams alone that are above the last
/// one it names.
fn is_unseen(error: &::h2::Error) -> bool {
    error.is_remote()
        && (error.is_go_away() || error.is_reset() && error.reason() == Some(Reason::REFUSED_STREAM))
}

/// Why a body is not whole.
fn cut(error: &::h2::Error) -> OriginError {
    if error.is_library() && !error.is_io() {
        OriginError::Framing(Finding::Http2)
    } else {
        OriginError::BodyCut
    }
}
