//! Takes connections off a listening socket, whatever happens.
//!
//! The loop ends only with the drain. An error of one connection (it was gone before we took it) is skipped; a lack of
//! descriptors or memory is the node's: the longest idle connection is closed, one waiting client is let in through a
//! descriptor held in reserve and closed at once, so that it learns and the queue moves, and then the loop pauses. A
//! bare `accept()?` would end the process, a bare `continue` would burn a core (FAULTS R14, B28).
//!
//! Invariant: connections of the process never exceed `connections_max` by more than those just told to go.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use tokio::net::{TcpListener, TcpStream};

use super::deadline::Deadlines;
use super::stats::{ListenerStats, count};
use crate::clock::Clock;
use crate::config::limits::{ACCEPT_PAUSE, BACKLOG};
use crate::shutdown::Drain;

/// Where connections come from: a socket, or a test.
pub(super) trait Accept {
    /// A connection.
    type Io;

    /// The next connection and its peer.
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Self::Io, SocketAddr)>>;
}

impl Accept for TcpListener {
    type Io = TcpStream;

    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(TcpStream, SocketAddr)>> {
        Self::poll_accept(self, cx)
    }
}

/// The connections that the process may have; clones share one count.
#[derive(Clone, Debug)]
pub(super) struct Slots {
    taken: Arc<AtomicUsize>,
    max: usize,
}

/// A place for one connection, given back when dropped.
#[derive(Debug)]
pub(super) struct Slot(Arc<AtomicUsize>);

impl Slots {
    pub(super) fn new(max: usize) -> Self {
        Self { taken: Arc::default(), max }
    }

    /// A place, or `None` if all are taken.
    fn take(&self) -> Option<Slot> {
        let slot = self.take_anyway();
        (self.taken.load(Ordering::Relaxed) <= self.max).then_some(slot)
    }

    /// A place beyond the bound, for a connection that takes the place of one that is on its way out.
    fn take_anyway(&self) -> Slot {
        self.taken.fetch_add(1, Ordering::Relaxed);
        Slot(Arc::clone(&self.taken))
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What the loop stands on.
pub(super) struct AcceptLoop {
    pub(super) clock: Clock,
    pub(super) stats: Arc<ListenerStats>,
    pub(super) slots: Slots,
    pub(super) deadlines: Deadlines,
    pub(super) drain: Drain,
}

impl AcceptLoop {
    /// Hands connections to `admit` until the drain begins; what waits in the queue by then is still admitted, since
    /// the kernel would reset it.
    pub(super) async fn run<A: Accept>(self, acceptor: A, mut admit: impl FnMut(A::Io, SocketAddr, Slot)) {
        let mut reserve = Reserve::open();
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.begun() => break,
                accepted = std::future::poll_fn(|cx| acceptor.poll_accept(cx)) => accepted,
            };
            match accepted {
                Ok((io, peer)) => self.place(io, peer, &mut admit),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    count(&self.stats.accept_failures);
                    tracing::warn!(address = %self.stats.address, %error, "cannot accept connections, pausing");
                    self.deadlines.expire_oldest_idle();
                    reserve.let_one_go(&acceptor).await;
                    tokio::select! {
                        () = self.clock.sleep(ACCEPT_PAUSE) => {}
                        () = self.drain.begun() => {}
                    }
                }
            }
        }
        for _ in 0..BACKLOG {
            let Some(Ok((io, peer))) = accept_now(&acceptor).await else { return };
            self.place(io, peer, &mut admit);
        }
    }

    fn place<Io>(&self, io: Io, peer: SocketAddr, admit: &mut impl FnMut(Io, SocketAddr, Slot)) {
        count(&self.stats.accepted);
        if let Some(slot) = self.slots.take() {
            admit(io, peer, slot);
        } else if self.deadlines.expire_oldest_idle() {
            count(&self.stats.displaced);
            admit(io, peer, self.slots.take_anyway());
        } else {
            count(&self.stats.refused);
        }
    }
}

/// A descriptor kept for the moment when there is no other.
struct Reserve(Option<File>);

impl Reserve {
    fn open() -> Self {
        Self(File::open("/dev/null").ok())
    }

    /// Accepts one waiting connection with the reserve's descriptor and closes it.
    async fn let_one_go<A: Accept>(&mut self, acceptor: &A) {
        if self.0.take().is_some() {
            drop(accept_now(acceptor).await);
        }
        *self = Self::open();
    }
}

/// What is in the queue now, without waiting.
async fn accept_now<A: Accept>(acceptor: &A) -> Option<io::Result<(A::Io, SocketAddr)>> {
    std::future::poll_fn(|cx| match acceptor.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Whether an error of `accept` concerns the connection taken, not the node: the next one may be fine (`accept(2)`
/// hands pending network errors of the new connection through).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::ConnectionAborted
        | Kind::ConnectionReset
        | Kind::ConnectionRefused
        | Kind::Interrupted
        | Kind::WouldBlock
        | Kind::TimedOut
        | Kind::HostUnreachable
        | Kind::NetworkUnreachable
        | Kind::NetworkDown
        | Kind::PermissionDenied => true,
        // EPROTO, ENOPROTOOPT, EHOSTDOWN, ENONET have no kind of their own.
        _ => matches!(error.raw_os_error(), Some(71 | 92 | 112 | 64)),
    }
}
