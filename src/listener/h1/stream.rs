//! An answer's body as it comes: pulled, framed and written piece by piece.
//!
//! Small pieces are gathered until the source pauses or `GATHER_BYTES_MAX` is reached, large ones are written from where
//! they lie. Nothing is pulled while more than that waits for the client, so its pace is the source's pace. The
//! request's body goes on being pumped meanwhile. Called by `connection.rs`.
//!
//! Invariant: an answer whose source is cut, or does not keep to the length announced, never ends in a way that looks
//! whole: the last chunk is missing, or bytes of the `Content-Length` are. (Only an HTTP/1.0 client without a length
//! cannot tell; for it the listener resets the connection on
//! [`ConnectionEnd::Cut`].) RFC 9112 §7.1, §8.

use std::future::poll_fn;
use std::io::{self, Write};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;

use super::ConnectionEnd;
use super::answer::Announced;
use super::connection::{Connection, Stop, failed};
use super::pump::{Broken, Pump};
use super::socket::Tail;
use super::transport::Transport;
use super::waiting::{Due, poll_watch};
use crate::config::limits::{COPY_BODY_BYTES_MAX, GATHER_BYTES_MAX};
use crate::listener::deadline::Phase;
use crate::listener::service::Service;
use crate::respond::response::Stream;
use cache_store::large::FilePart;

/// What is known of the source.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// May have more.
    Open,
    /// Has none now.
    Paused,
    Ended,
    /// Failed: what came before goes out, and then the connection ends.
    Cut,
}

impl<IO, S> Connection<'_, IO, S>
where
    IO: Transport,
    S: Service,
{
    /// Sends the body behind a head that is already rendered; counts its bytes in `sent`.
    #[allow(clippy::too_many_lines)] // the one place where pulling, writing and waiting meet
    pub(super) async fn stream(
        &mut self,
        announced: Announced,
        mut source: Pin<Box<dyn Stream>>,
        mut pump: Option<&mut Pump>,
        sent: &mut u64,
    ) -> Result<(), Stop> {
        let total_due = self.total_due;
        let Self { socket, context, .. } = self;
        let chunked = announced == Announced::Chunked;
        let length = if let Announced::Length(length) = announced { Some(length) } else { None };
        // A long piece under way and how much of it is written.
        let mut piece = Bytes::new();
        let mut piece_sent = 0;
        // A part of a file under way, which the system sends.
        let mut file: Option<FilePart> = None;
        let mut state = Source::Open;
        let mut due = Due::default();
        let mut taken = None;
        poll_fn(|cx| {
            loop {
                if state == Source::Paused {
                    state = Source::Open;
                }
                if state == Source::Cut && piece.is_empty() && file.is_none() && socket.out.is_empty() {
                    return Poll::Ready(Err(ConnectionEnd::Cut {
                        announced: announced != Announced::UntilClose,
                    }));
                }
                while state == Source::Open
                    && piece.is_empty()
                    && file.is_none()
                    && socket.out.len() < GATHER_BYTES_MAX
                {
                    if let Some(left) =
                        length.map(|length| length.saturating_sub(*sent)).filter(|_| IO::SENDS_FILES)
                        && let Some(part) = source.as_mut().file()
                    {
                        if part.length > left {
                            state = Source::Cut;
                        } else {
                            *sent = sent.saturating_add(part.length);
                            file = Some(part);
                        }
                        continue;
                    }
                    match source.as_mut().poll_next(cx) {
                        Poll::Ready(Some(Ok(bytes))) if bytes.is_empty() => {}
                        Poll::Ready(Some(Ok(bytes))) => {
                            *sent = sent.saturating_add(bytes.len() as u64);
                            if length.is_some_and(|length| *sent > length) {
                                *sent = sent.saturating_sub(bytes.len() as u64);
                                state = Source::Cut;
                                continue;
                            }
                            if chunked {
                                // Writing to a vector does not fail.
                                let _ = write!(socket.out, "{:x}\r\n", bytes.len());
                            }
                            if bytes.len() > COPY_BODY_BYTES_MAX {
                                piece = bytes;
                                piece_sent = 0;
                            } else {
                                socket.out.extend_from_slice(&bytes);
                                if chunked {
                                    socket.out.extend_from_slice(b"\r\n");
                                }
                            }
                        }
                        Poll::Ready(None) if length.is_none_or(|length| length == *sent) => {
                            state = Source::Ended;
                            if chunked {
                                socket.out.extend_from_slice(b"0\r\n");
                                if let Some(trailers) = source.as_mut().trailers() {
                                    trailers.write(&mut socket.out);
                                }
                                socket.out.extend_from_slice(b"\r\n");
                            }
                        }
                        // Failed behind its last byte: that byte must not make it look whole.
                        Poll::Ready(Some(Err(_))) if length == Some(*sent) => {
                            return Poll::Ready(Err(ConnectionEnd::Cut { announced: false }));
                        }
                        Poll::Ready(None | Some(Err(_))) => state = Source::Cut,
                        Poll::Pending => state = Source::Paused,
                    }
                }
                if state == Source::Ended
                    && piece.is_empty()
                    && file.is_none()
                    && socket.out.len() < GATHER_BYTES_MAX
                {
                    // The rest is written with whatever comes after it.
                    return Poll::Ready(Ok(()));
                }
                if let Some(pump) = pump.as_deref_mut() {
                    match pump.poll(cx, socket) {
                        Poll::Ready(Broken::Gone) => return Poll::Ready(Err(ConnectionEnd::ClientGone)),
                        Poll::Ready(Broken::Failed(error)) => return Poll::Ready(Err(failed(error))),
                        // The answer has begun: it goes on, and the connection ends behind it.
                        Poll::Ready(Broken::Malformed(_)) | Poll::Pending => {}
                    }
                }
                if !socket.out.is_empty() || !piece.is_empty() || file.is_some() {
                    let written = if let Some(part) = &mut file {
                        socket.poll_send_file(cx, part)
                    } else {
                        let mut tail = Tail { bytes: &piece, lendable: None, sent: piece_sent };
                        let written = socket.poll_write(cx, &mut tail);
                        piece_sent = tail.sent;
                        written
                    };
                    match written {
                        Poll::Ready(Ok(())) => {
                            file = None;
                            if chunked && !piece.is_empty() {
                                socket.out.extend_from_slice(b"\r\n");
                            }
                            piece = Bytes::new();
                            taken = None;
                            if state != Source::Paused {
                                continue;
                            }
                        }
                        // The file, or a system that cannot send it: the client must not take this for the end.
                        Poll::Ready(Err(error)) if file.is_some() && is_of_the_file(&error) => {
                            return Poll::Ready(Err(ConnectionEnd::Cut { announced: true }));
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Err(failed(error))),
                        Poll::Pending => {
                            if taken.replace(socket.written()) != Some(socket.written()) {
                                let stalled = context.clock.now().plus(context.limits.send_stall_timeout);
                                context.deadline.set(stalled.min(total_due), Phase::SendStall);
                                due = Due::default();
                            }
                            let expired = context.deadline.poll_expired(cx);
                            return expired.map(|phase| Err(ConnectionEnd::TimedOut(phase)));
                        }
                    }
                }
                if !socket.out.is_empty() || state == Source::Cut {
                    // The end of a chunk goes out before the wait for the next.
                    continue;
                }
                if !pump.as_deref().is_some_and(Pump::is_reading)
                    && let Poll::Ready(end) = poll_watch(cx, socket)
                {
                    return Poll::Ready(Err(end));
                }
                return due
                    .poll(cx, context, total_due, pump.as_deref_mut())
                    .map(|phase| Err(ConnectionEnd::TimedOut(phase)));
            }
        })
        .await
    }
}

/// What a disk says when it cannot read; no socket says so.
const EIO: i32 = 5;

/// Whether it was the file that failed, not the socket.
fn is_of_the_file(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof || error.raw_os_error() == Some(EIO)
}
