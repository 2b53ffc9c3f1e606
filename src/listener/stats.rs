//! Counters of one listener, shared by all workers and read by `observe/`.
//!
//! Touched when a connection comes, goes or fails, never per request, so that one shared line costs nothing.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use super::request::Protocol;

/// What happened at a listener since the start, and what is open now.
#[derive(Debug)]
pub struct ListenerStats {
    /// The address bound, as it resulted.
    pub address: SocketAddr,
    /// Open connections that speak HTTP/1, and HTTP/2.
    open: [AtomicUsize; 2],
    /// Connections accepted.
    pub accepted: AtomicU64,
    /// Connections closed at once because the node was full.
    pub refused: AtomicU64,
    /// Idle connections closed to make room.
    pub displaced: AtomicU64,
    /// Failures of `accept` itself (no descriptors, no memory), each followed by a pause.
    pub accept_failures: AtomicU64,
    /// TLS handshakes that failed or ran out of time.
    pub handshake_failures: AtomicU64,
    /// Connections that did not begin with a PROXY protocol header, or came from where none is trusted.
    pub unproxied: AtomicU64,
    /// HTTP/2 connections closed for what they cost: floods, stalls, too slow.
    pub overspent: AtomicU64,
    /// HTTP/2 requests refused before they reached the walk: malformed or above a limit.
    pub malformed: AtomicU64,
    /// Connections lost to a panic of ours.
    pub panics: AtomicU64,
}

/// Counts a connection as open until it is dropped.
#[derive(Debug)]
pub struct OpenConnection {
    stats: Arc<ListenerStats>,
    protocol: Protocol,
}

impl ListenerStats {
    /// Zeros, for the listener at `address`.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            open: [AtomicUsize::new(0), AtomicUsize::new(0)],
            accepted: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            displaced: AtomicU64::new(0),
            accept_failures: AtomicU64::new(0),
            handshake_failures: AtomicU64::new(0),
            unproxied: AtomicU64::new(0),
            overspent: AtomicU64::new(0),
            malformed: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Connections open now that speak this protocol; HTTP/1.0 and 1.1 count as one.
    pub fn open(&self, protocol: Protocol) -> usize {
        self.gauge(protocol).load(Ordering::Relaxed)
    }

    /// Counts a connection that has begun to speak `protocol`.
    pub fn opened(self: &Arc<Self>, protocol: Protocol) -> OpenConnection {
        self.gauge(protocol).fetch_add(1, Ordering::Relaxed);
        OpenConnection { stats: Arc::clone(self), protocol }
    }

    fn gauge(&self, protocol: Protocol) -> &AtomicUsize {
        let [http1, http2] = &self.open;
        if protocol == Protocol::Http2 { http2 } else { http1 }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.stats.gauge(self.protocol).fetch_sub(1, Ordering::Relaxed);
        if std::thread::panicking() {
            count(&self.stats.panics);
        }
    }
}

/// Adds one.
pub(crate) fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
