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
#[derive(Clone)]
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
            match accept_now(&acceptor).await {
                Some(Ok((io, peer))) => self.place(io, peer, &mut admit),
                Some(Err(error)) if is_of_one_connection(&error) => {}
                _ => return,
            }
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

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;
    use std::rc::Rc;

    use cache_store::timestamp::Timestamp;
    use tokio::task::{LocalSet, spawn_local};

    use super::super::deadline::Phase;
    use super::*;

    /// Answers by a script, then has nothing.
    #[derive(Clone, Default)]
    struct Script(Rc<RefCell<VecDeque<Result<u32, i32>>>>);

    impl Accept for Script {
        type Io = u32;

        fn poll_accept(&self, _: &mut Context<'_>) -> Poll<io::Result<(u32, SocketAddr)>> {
            match self.0.borrow_mut().pop_front() {
                Some(Ok(io)) => Poll::Ready(Ok((io, ([127, 0, 0, 1], 1).into()))),
                Some(Err(code)) => Poll::Ready(Err(io::Error::from_raw_os_error(code))),
                None => Poll::Pending,
            }
        }
    }

    struct Stage {
        script: Script,
        clock: Clock,
        stats: Arc<ListenerStats>,
        deadlines: Deadlines,
        drain: Drain,
        admitted: Rc<RefCell<Vec<(u32, Slot)>>>,
        ended: Rc<Cell<bool>>,
    }

    impl Stage {
        fn new(script: impl IntoIterator<Item = Result<u32, i32>>, connections_max: usize) -> Self {
            let stage = Self {
                script: Script(Rc::new(RefCell::new(script.into_iter().collect()))),
                clock: Clock::manual(Timestamp::from_secs(1000)),
                stats: Arc::new(ListenerStats::new(([127, 0, 0, 1], 1).into())),
                deadlines: Deadlines::default(),
                drain: Drain::default(),
                admitted: Rc::default(),
                ended: Rc::default(),
            };
            let accept = AcceptLoop {
                clock: stage.clock.clone(),
                stats: Arc::clone(&stage.stats),
                slots: Slots::new(connections_max),
                deadlines: stage.deadlines.clone(),
                drain: stage.drain.clone(),
            };
            let (script, admitted, ended) =
                (stage.script.clone(), Rc::clone(&stage.admitted), Rc::clone(&stage.ended));
            spawn_local(async move {
                accept.run(script, |io, _, slot| admitted.borrow_mut().push((io, slot))).await;
                ended.set(true);
            });
            stage
        }

        fn admitted(&self) -> Vec<u32> {
            self.admitted.borrow().iter().map(|(io, _)| *io).collect()
        }
    }

    async fn settle() {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    const EMFILE: i32 = 24;
    const ENFILE: i32 = 23;
    const ENOBUFS: i32 = 105;
    const ECONNABORTED: i32 = 103;
    const EPROTO: i32 = 71;

    #[tokio::test]
    async fn a_lack_of_descriptors_lets_one_client_go_pauses_and_goes_on() {
        LocalSet::new()
            .run_until(async {
                for code in [EMFILE, ENFILE, ENOBUFS] {
                    let stage = Stage::new([Ok(1), Err(code), Ok(2), Ok(3)], 10);
                    settle().await;
                    assert_eq!(stage.admitted(), [1], "2 was let go with the reserve, 3 waits");
                    stage.clock.advance(ACCEPT_PAUSE);
                    settle().await;
                    assert_eq!(stage.admitted(), [1, 3]);
                    assert_eq!(stage.stats.accept_failures.load(Ordering::Relaxed), 1);
                }
            })
            .await;
    }

    #[tokio::test]
    async fn a_connection_that_was_gone_before_it_was_taken_does_not_pause_the_loop() {
        LocalSet::new()
            .run_until(async {
                let stage = Stage::new([Err(ECONNABORTED), Ok(1), Err(EPROTO), Ok(2)], 10);
                settle().await;
                assert_eq!(stage.admitted(), [1, 2]);
                assert_eq!(stage.stats.accept_failures.load(Ordering::Relaxed), 0);
            })
            .await;
    }

    #[tokio::test]
    async fn a_full_node_refuses_unless_someone_is_idle() {
        LocalSet::new()
            .run_until(async {
                let stage = Stage::new([Ok(1), Ok(2)], 1);
                settle().await;
                assert_eq!(stage.admitted(), [1]);
                assert_eq!(stage.stats.refused.load(Ordering::Relaxed), 1);

                let stage = Stage::new([Ok(1), Err(EMFILE), Ok(2), Ok(3)], 1);
                let deadline = stage.deadlines.register();
                settle().await;
                deadline.set(Timestamp::from_secs(2000), Phase::Idle);
                stage.clock.advance(ACCEPT_PAUSE);
                settle().await;
                assert_eq!(stage.admitted(), [1, 3]);
                assert_eq!(stage.stats.displaced.load(Ordering::Relaxed), 1);
                assert_eq!(deadline.expired().await, Phase::Idle);
            })
            .await;
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_its_connection_ends() {
        let slots = Slots::new(1);
        let one = slots.take();
        assert!(one.is_some() && slots.take().is_none());
        drop(one);
        assert!(slots.take().is_some());
    }

    #[tokio::test]
    async fn a_drain_still_takes_what_waits_in_the_queue() {
        LocalSet::new()
            .run_until(async {
                let stage = Stage::new([], 10);
                settle().await;
                stage.script.0.borrow_mut().extend([Ok(1), Ok(2)]);
                stage.drain.begin();
                settle().await;
                assert_eq!(stage.admitted(), [1, 2]);
                assert!(stage.ended.get());
            })
            .await;
    }
}
