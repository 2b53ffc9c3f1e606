//! Ends a node in order, under one deadline.
//!
//! ```text
//! Serving ── begin ──> Draining ── every worker left, drain_timeout passed or force ──> Cut
//! ```
//!
//! In *Draining* nothing new is accepted; connections hear of it through their worker's [`Drain`]: an idle one
//! closes, an HTTP/1.1 answer says `Connection: close` and is the last, HTTP/2 sends GOAWAY and finishes what is open
//! (RFC 9112 §9.6, RFC 9113 §6.8). In *Cut* workers leave whatever is still under way. `cli/` turns the first TERM
//! or INT into [`Shutdown::begin`] and the second into [`Shutdown::force`]; this room knows no signals.
//!
//! Invariant: phases only move forward, and [`Shutdown::done`] completes once every [`Participant`] is dropped.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::clock::Clock;

/// A handle on the end of the node; clones share one.
#[derive(Clone, Debug)]
pub struct Shutdown(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    phase: watch::Sender<Phase>,
    participants: watch::Sender<usize>,
    /// Another process accepts what this one does not.
    succeeded: AtomicBool,
}

/// How far the end has come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Not begun.
    Serving,
    /// Nothing new is accepted; what is under way may end.
    Draining,
    /// What is under way is dropped.
    Cut,
}

/// Someone whose leaving [`Shutdown::done`] waits for; dropping it is leaving.
#[derive(Debug)]
pub struct Participant(Shutdown);

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Shutdown {
    /// A node that serves.
    pub fn new() -> Self {
        Self(Arc::new(Inner {
            phase: watch::Sender::new(Phase::Serving),
            participants: watch::Sender::new(0),
            succeeded: AtomicBool::new(false),
        }))
    }

    /// Begins the drain. Does nothing if it has begun.
    pub fn begin(&self) {
        self.advance(Phase::Draining);
    }

    /// The same where another process has taken over: whoever is idle is given a moment to be told so by an answer.
    pub fn begin_succeeded(&self) {
        self.0.succeeded.store(true, Ordering::Release);
        self.begin();
    }

    /// Whether another process has taken over.
    pub fn is_succeeded(&self) -> bool {
        self.0.succeeded.load(Ordering::Acquire)
    }

    /// Cuts what is under way, at once.
    pub fn force(&self) {
        self.advance(Phase::Cut);
    }

    /// How far it has come.
    pub fn phase(&self) -> Phase {
        *self.0.phase.borrow()
    }

    /// Completes when the drain has begun (or the cut).
    pub async fn begun(&self) {
        self.reached(Phase::Draining).await;
    }

    /// Completes at the cut.
    pub async fn forced(&self) {
        self.reached(Phase::Cut).await;
    }

    /// Completes when the end has begun and every participant has left.
    pub async fn done(&self) {
        self.begun().await;
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.participants.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Forces the end `drain_timeout` after it began. Run once a node, as a task; ends with [`Shutdown::done`].
    pub async fn enforce(&self, clock: &Clock, drain_timeout: Duration) {
        self.begun().await;
        tokio::select! {
            () = self.done() => {}
            () = clock.sleep(drain_timeout) => self.force(),
        }
    }

    /// Joins those that [`Shutdown::done`] waits for.
    pub fn join(&self) -> Participant {
        self.0.participants.send_modify(|count| *count += 1);
        Participant(self.clone())
    }

    fn advance(&self, to: Phase) {
        self.0.phase.send_if_modified(|phase| {
            let forward = *phase < to;
            if forward {
                *phase = to;
            }
            forward
        });
    }

    async fn reached(&self, wanted: Phase) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.0.phase.subscribe().wait_for(|phase| *phase >= wanted).await;
    }
}

impl Drop for Participant {
    fn drop(&mut self) {
        self.0.0.participants.send_modify(|count| *count = count.saturating_sub(1));
    }
}

/// What connections of one worker see of the shutdown: one flag to look at after each answer, and a wake-up for
/// those that wait. Belongs to its worker's thread.
#[derive(Clone, Debug, Default)]
pub struct Drain(Rc<DrainState>);

#[derive(Debug, Default)]
struct DrainState {
    begun: Cell<bool>,
    closes_idle: Cell<bool>,
    succeeded: Cell<bool>,
    told: Notify,
}

impl Drain {
    /// Whether connections should end at the next good moment.
    #[inline]
    pub fn is_begun(&self) -> bool {
        self.0.begun.get()
    }

    /// Whether connections end without another answer.
    #[inline]
    pub fn closes_idle(&self) -> bool {
        self.0.closes_idle.get()
    }

    /// Those that wait for a request are to end, too; whoever calls sees to those that wait already.
    pub fn close_idle(&self) {
        self.0.closes_idle.set(true);
    }

    /// Another process serves in this one's place: said before the drain begins.
    pub fn succeed(&self) {
        self.0.succeeded.set(true);
    }

    /// Whether another process serves in this one's place.
    pub fn is_succeeded(&self) -> bool {
        self.0.succeeded.get()
    }

    /// Tells the worker's connections.
    pub fn begin(&self) {
        self.0.begun.set(true);
        self.0.told.notify_waiters();
    }

    /// Completes when connections should end. Cancel by dropping.
    pub async fn begun(&self) {
        // Between the look and the registration nothing else runs on this thread, so no wake-up is lost.
        while !self.is_begun() {
            self.0.told.notified().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_store::timestamp::Timestamp;

    use super::*;

    #[tokio::test]
    async fn the_end_is_done_when_the_last_participant_has_left() {
        let shutdown = Shutdown::new();
        let (one, two) = (shutdown.join(), shutdown.join());
        let done = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.done().await }
        });
        drop(one);
        shutdown.begin();
        tokio::task::yield_now().await;
        assert!(!done.is_finished());
        drop(two);
        done.await.expect("done does not panic");
        assert_eq!(shutdown.phase(), Phase::Draining);
    }

    #[tokio::test]
    async fn what_has_not_left_when_the_drain_timeout_passes_is_cut() {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let shutdown = Shutdown::new();
        let participant = shutdown.join();
        let enforcer = tokio::spawn({
            let (shutdown, clock) = (shutdown.clone(), clock.clone());
            async move { shutdown.enforce(&clock, Duration::from_secs(30)).await }
        });
        shutdown.begin();
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(29));
        tokio::task::yield_now().await;
        assert_eq!(shutdown.phase(), Phase::Draining);
        clock.advance(Duration::from_secs(1));
        enforcer.await.expect("the enforcer does not panic");
        assert_eq!(shutdown.phase(), Phase::Cut);
        drop(participant);
    }

    #[test]
    fn a_cut_node_does_not_go_back_to_draining() {
        let shutdown = Shutdown::new();
        shutdown.force();
        shutdown.begin();
        assert_eq!(shutdown.phase(), Phase::Cut);
    }

    #[tokio::test]
    async fn a_connection_that_waits_hears_of_the_drain() {
        let drain = Drain::default();
        let waiting = drain.begun();
        tokio::pin!(waiting);
        assert!(
            std::future::poll_fn(|cx| std::task::Poll::Ready(waiting.as_mut().poll(cx).is_pending())).await
        );
        drain.begin();
        waiting.await;
        assert!(drain.is_begun());
    }
}
