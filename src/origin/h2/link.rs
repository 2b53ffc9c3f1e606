//! One HTTP/2 connection to an origin: how it begins, who drives it, and when it is given up for dead.
//!
//! Frames, HPACK and flow control are the `h2` crate's. A connection is a task on the worker that opened it; streams of other
//! workers wake it from theirs. It counts as open when the origin's SETTINGS are there: then the peer speaks HTTP/2, and how
//! many streams it takes is known before the first one goes out.
//!
//! ```text
//! shake ─► SETTINGS came ─► open ─┬─ GOAWAY, broken rules, end of the socket ─► closed
//!                                 ├─ nothing heard, then no answer to a PING ─► closed
//!                                 └─ nobody refers to it any more ─► GOAWAY sent, closed
//! ```
//!
//! Invariant: what is read ahead for all streams of a connection together fits its window, and each stream's share of it
//! is its own, so a reader that stalls does not hold up the others. RFC 9113 §3.4, §5.2, §6.5, §6.7.

use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ::h2::Ping;
use ::h2::client::{Builder, Connection, SendRequest};
use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::runtime::Id;
use tokio::sync::Notify;

use super::super::connection::home;
use super::super::error::{Finding, OriginError};
use super::super::timer::Timer;
use super::super::wire::Socket;
use super::links::Seat;
use crate::clock::Clock;
use crate::config::limits::{
    ORIGIN_H2_HEAD_BYTES_MAX, ORIGIN_H2_PING_AFTER, ORIGIN_H2_PING_TIMEOUT, ORIGIN_H2_SEND_BYTES_MAX,
    ORIGIN_H2_STREAM_WINDOW_BYTES,
};

/// A connection that streams may be opened on.
pub(super) struct Link {
    sender: SendRequest<Bytes>,
    fit: Fit,
    /// The runtime that drives it.
    home: Option<Id>,
    streams_max: usize,
    pulse: Arc<Pulse>,
    freed: Arc<Notify>,
    /// When it was first seen without a stream; 0 while it has some.
    idle_since_millis: AtomicU64,
}

/// Whose requests a connection may carry.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Fit {
    /// The name that TLS was verified for.
    pub(super) name: Option<Arc<str>>,
    /// The client that the origin was told of.
    pub(super) client: Option<SocketAddr>,
}

/// What streams and driver tell each other.
#[derive(Debug, Default)]
struct Pulse {
    streams: AtomicUsize,
    heard_bytes: AtomicU64,
    carried: AtomicBool,
    closed: AtomicBool,
}

/// A stream's place on a connection; left when dropped.
pub(super) struct Share {
    pub(super) sender: SendRequest<Bytes>,
    /// The connection had carried a request before.
    pub(super) kept: bool,
    link: Arc<Link>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("fit", &self.fit).field("pulse", &self.pulse).finish_non_exhaustive()
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Share").field(&self.link).finish()
    }
}

impl Link {
    /// Begins HTTP/2 over `socket`; `seat` is held as long as that is open.
    ///
    /// # Errors
    /// No SETTINGS came within `limit`, or something else did.
    pub(super) async fn shake(
        socket: Socket,
        fit: Fit,
        seat: Option<Seat>,
        freed: Arc<Notify>,
        streams_max: usize,
        limit: Duration,
        clock: &Clock,
    ) -> Result<Arc<Self>, OriginError> {
        let pulse = Arc::new(Pulse::default());
        let wire = Wire { socket, pulse: Arc::clone(&pulse) };
        let begun = async {
            let builder = builder(streams_max);
            let (sender, mut connection) =
                builder.handshake::<_, Bytes>(wire).await.map_err(|error| broken(&error))?;
            poll_fn(|cx| match Pin::new(&mut connection).poll(cx) {
                Poll::Ready(Err(error)) => Poll::Ready(Err(broken(&error))),
                Poll::Ready(Ok(())) => Poll::Ready(Err(OriginError::Reset)),
                // What comes first is its SETTINGS, or would have broken the rules.
                Poll::Pending if pulse.heard() > 0 => Poll::Ready(Ok(())),
                Poll::Pending => Poll::Pending,
            })
            .await?;
            Ok((sender, connection))
        };
        let (sender, connection) =
            clock.timeout(limit, begun).await.map_err(|_| OriginError::ConnectTimeout)??;
        let driving = drive(connection, Arc::clone(&pulse), clock.clone());
        let (over, told) = (Arc::clone(&pulse), Arc::clone(&freed));
        tokio::spawn(async move {
            driving.await;
            over.closed.store(true, Ordering::Release);
            drop(seat);
            told.notify_waiters();
        });
        let idle_since_millis = AtomicU64::new(0);
        Ok(Arc::new(Self { sender, fit, home: home(), streams_max, pulse, freed, idle_since_millis }))
    }

    /// Whether it may carry requests of this kind.
    pub(super) fn is_for(&self, fit: &Fit) -> bool {
        self.fit == *fit
    }

    /// Whether this runtime drives it.
    pub(super) fn is_at(&self, home: Option<Id>) -> bool {
        self.home == home
    }

    /// Streams under way.
    pub(super) fn streams(&self) -> usize {
        self.pulse.streams.load(Ordering::Acquire)
    }

    /// Whether it takes one more stream, by the pool's bound and by the origin's.
    pub(super) fn has_room(&self) -> bool {
        self.streams() < self.streams_max.min(self.sender.current_max_send_streams())
    }

    /// Whether it takes no stream any more: it ended, or the origin has said that it will.
    pub(super) fn is_closed(&self) -> bool {
        let mut sender = self.sender.clone();
        self.pulse.closed.load(Ordering::Acquire)
            || matches!(sender.poll_ready(&mut Context::from_waker(Waker::noop())), Poll::Ready(Err(_)))
    }

    /// Takes a place on it, whether or not there is room.
    pub(super) fn share(self: &Arc<Self>) -> Share {
        self.pulse.streams.fetch_add(1, Ordering::AcqRel);
        self.idle_since_millis.store(0, Ordering::Relaxed);
        let kept = self.pulse.carried.swap(true, Ordering::Relaxed);
        Share { sender: self.sender.clone(), kept, link: Arc::clone(self) }
    }

    /// How long it has been seen without a stream.
    pub(super) fn idle_for(&self, now: Timestamp) -> Duration {
        if self.streams() > 0 {
            return Duration::ZERO;
        }
        match self.idle_since_millis.load(Ordering::Relaxed) {
            0 => {
                self.idle_since_millis.store(now.as_millis(), Ordering::Relaxed);
                Duration::ZERO
            }
            since => now.since(Timestamp::from_millis(since)),
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.link.pulse.streams.fetch_sub(1, Ordering::AcqRel);
        self.link.freed.notify_waiters();
    }
}

impl Pulse {
    fn heard(&self) -> u64 {
        self.heard_bytes.load(Ordering::Relaxed)
    }
}

fn builder(streams_max: usize) -> Builder {
    // Settings allow a thousand, so this is exact.
    let streams = u32::try_from(streams_max).unwrap_or(u32::MAX);
    let mut builder = Builder::new();
    builder
        .initial_window_size(ORIGIN_H2_STREAM_WINDOW_BYTES)
        // Room for all streams at once, up to the protocol's own bound.
        .initial_connection_window_size(
            ORIGIN_H2_STREAM_WINDOW_BYTES.saturating_mul(streams.max(1)).min(WINDOW_BYTES_MAX),
        )
        .max_header_list_size(ORIGIN_H2_HEAD_BYTES_MAX)
        .max_send_buffer_size(ORIGIN_H2_SEND_BYTES_MAX)
        // Nobody asked for what would be pushed.
        .enable_push(false);
    builder
}

/// Drives a connection to its end.
async fn drive(mut connection: Connection<Wire, Bytes>, pulse: Arc<Pulse>, clock: Clock) {
    let mut pings = connection.ping_pong();
    let mut timer = Timer::default();
    let mut due = clock.now().plus(ORIGIN_H2_PING_AFTER);
    let mut heard = pulse.heard();
    let mut asked = false;
    poll_fn(move |cx| {
        loop {
            if let Poll::Ready(end) = Pin::new(&mut connection).poll(cx) {
                if let Err(error) = end {
                    tracing::debug!(%error, "an HTTP/2 connection to an origin ended");
                }
                return Poll::Ready(());
            }
            if let Some(pings) = &mut pings {
                // An answer is heard like anything else; taking it makes room for the next question.
                let _ = pings.poll_pong(cx);
            }
            if timer.poll(cx, &clock, due).is_pending() {
                return Poll::Pending;
            }
            let now = clock.now();
            let is_waited_for = pulse.streams.load(Ordering::Acquire) > 0;
            if !is_waited_for || pulse.heard() != heard {
                (heard, asked, due) = (pulse.heard(), false, now.plus(ORIGIN_H2_PING_AFTER));
            } else if asked {
                tracing::debug!("an HTTP/2 connection to an origin is dead: no answer to a ping");
                return Poll::Ready(());
            } else {
                if let Some(pings) = &mut pings {
                    // One that is still under way asks the same.
                    let _ = pings.send_ping(Ping::opaque());
                }
                (asked, due) = (true, now.plus(ORIGIN_H2_PING_TIMEOUT));
            }
        }
    })
    .await;
}

/// Why a connection did not come to be.
fn broken(error: &::h2::Error) -> OriginError {
    if error.is_io() || error.is_remote() { OriginError::Reset } else { OriginError::Framing(Finding::Http2) }
}

/// The socket, which tells that something was heard on it.
struct Wire {
    socket: Socket,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = self.socket.poll_read(cx, buffer);
        let count = buffer.filled().len().saturating_sub(before);
        self.pulse.heard_bytes.fetch_add(count as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.socket.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket.poll_shutdown(cx)
    }
}

/// RFC 9113 §6.9.1.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
