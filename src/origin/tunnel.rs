//! The connection of an origin that has gone over to another protocol (101): bytes both ways, and none of ours.
//!
//! `pool.rs` makes one where the origin's head leaves no doubt; the listener carries the bytes (`listener/h1/tunnel.rs`, `h2/tunnel.rs`). It
//! takes no place among the pool's connections for requests, which would run out of them, but one of its own
//! (`tunnels_max`), and is never used for a request again (FAULTS S11). Dropping it closes the connection.
//!
//! Invariant: what has gone each way is counted as it goes.

use std::fmt;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::wire::Socket;

/// Bytes to and from an origin.
pub struct Tunnel {
    socket: Socket,
    /// Came with the head.
    here: Bytes,
    protocol: Box<[u8]>,
    idle_limit: Duration,
    // Last: the place is free only when the connection is closed.
    place: Place,
}

/// The tunnels of one pool.
#[derive(Debug)]
pub(crate) struct Tunnels {
    open_max: usize,
    /// Also those of the pools whose place this one has taken.
    counts: Mutex<Arc<Counts>>,
}

#[derive(Debug, Default)]
struct Counts {
    open: AtomicUsize,
    begun: AtomicU64,
    to_origin_bytes: AtomicU64,
    to_client_bytes: AtomicU64,
}

/// A place among the tunnels of a pool; free again when dropped.
#[derive(Debug)]
pub(crate) struct Place(Arc<Counts>);

/// The tunnels of all pools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TunnelStats {
    /// Open now, or about to be.
    pub open: u64,
    /// Opened since the start.
    pub begun: u64,
    /// Bytes that went to origins.
    pub to_origin_bytes: u64,
    /// Bytes that came from them.
    pub to_client_bytes: u64,
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel")
            .field("protocol", &self.protocol.escape_ascii().to_string())
            .finish_non_exhaustive()
    }
}

impl Tunnel {
    pub(super) fn new(
        socket: Socket,
        here: Bytes,
        protocol: Box<[u8]>,
        idle_limit: Duration,
        place: Place,
    ) -> Self {
        place.0.begun.fetch_add(1, Ordering::Relaxed);
        Self { socket, here, protocol, idle_limit, place }
    }

    /// What is spoken in it, as the origin named it.
    pub fn protocol(&self) -> &[u8] {
        &self.protocol
    }

    /// It is to be ended when no byte has gone either way for this long.
    pub const fn idle_limit(&self) -> Duration {
        self.idle_limit
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Self { socket, here, place, .. } = self.get_mut();
        let before = buffer.filled().len();
        if here.is_empty() {
            ready!(socket.poll_read(cx, buffer))?;
        } else {
            let taken = here.len().min(buffer.remaining());
            buffer.put_slice(here.get(..taken).unwrap_or_default());
            here.advance(taken);
        }
        let count = buffer.filled().len().saturating_sub(before);
        place.0.to_client_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let Self { socket, place, .. } = self.get_mut();
        let count = ready!(socket.poll_write(cx, bytes))?;
        place.0.to_origin_bytes.fetch_add(count as u64, Ordering::Relaxed);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().socket.poll_shutdown(cx)
    }
}

impl Tunnels {
    /// None open.
    pub(crate) fn new(open_max: usize) -> Arc<Self> {
        Arc::new(Self { open_max, counts: Mutex::default() })
    }

    /// Goes on with what `old` has counted: its tunnels stay open, and among those that are allowed.
    pub(crate) fn go_on_from(&self, old: &Self) {
        let counts = old.counts();
        *self.counts.lock() = counts;
    }

    fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts.lock())
    }

    /// A place, if there is one.
    pub(crate) fn place(&self) -> Option<Place> {
        let more = |open: usize| open.checked_add(1).filter(|open| *open <= self.open_max);
        let counts = self.counts();
        let taken = counts.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok();
        // Lazily: a place that is dropped is given back.
        taken.then(|| Place(counts))
    }

    /// Adds what happened here to `stats`.
    pub(crate) fn add_to(&self, stats: &mut TunnelStats) {
        let counts = self.counts();
        stats.open += counts.open.load(Ordering::Relaxed) as u64;
        stats.begun += counts.begun.load(Ordering::Relaxed);
        stats.to_origin_bytes += counts.to_origin_bytes.load(Ordering::Relaxed);
        stats.to_client_bytes += counts.to_client_bytes.load(Ordering::Relaxed);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}
