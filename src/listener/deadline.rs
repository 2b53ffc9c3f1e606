//! Deadlines of connections, without a timer each.
//!
//! A connection writes the moment by which it must have moved on into its slot (one store, on every request); the
//! worker's sweeper looks over all slots every `DEADLINE_TICK` and wakes those that are late. So a deadline is
//! kept to within one tick, and the hit path never touches a timer.
//!
//! Belongs to one worker thread (`Rc`, `Cell`): a connection never leaves its worker.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use cache_store::timestamp::Timestamp;

/// What a connection was doing when its time ran out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// TLS handshake.
    Handshake,
    /// Reading a request head that has begun (or the first one).
    Head,
    /// Between requests.
    Idle,
    /// Reading a request body slower than the minimum rate.
    BodyRate,
    /// The client takes no bytes of an answer.
    SendStall,
    /// The request as a whole.
    Total,
    /// Nothing moves in another protocol than HTTP.
    Tunnel,
}

/// All deadlines of one worker.
#[derive(Clone, Debug, Default)]
pub struct Deadlines(Rc<RefCell<Vec<Weak<Slot>>>>);

/// The deadline of one connection; dropping it takes it out of the sweep.
#[derive(Debug)]
pub struct Deadline(Rc<Slot>);

#[derive(Debug)]
struct Slot {
    /// Milliseconds on the steady time line; `u64::MAX`: none.
    at: Cell<u64>,
    phase: Cell<Phase>,
    late: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Deadlines {
    /// A deadline for a new connection, not set.
    pub fn register(&self) -> Deadline {
        let slot = Rc::new(Slot {
            at: Cell::new(u64::MAX),
            phase: Cell::new(Phase::Idle),
            late: Cell::new(false),
            waker: RefCell::new(None),
        });
        self.0.borrow_mut().push(Rc::downgrade(&slot));
        Deadline(slot)
    }

    /// Wakes what is late at `now` and forgets the connections that are gone.
    pub fn sweep(&self, now: Timestamp) {
        let mut wake = Vec::new();
        self.0.borrow_mut().retain(|slot| {
            let Some(slot) = slot.upgrade() else { return false };
            if slot.at.get() <= now.as_millis() && !slot.late.replace(true) {
                wake.extend(slot.waker.borrow_mut().take());
            }
            true
        });
        wake.into_iter().for_each(Waker::wake);
    }

    /// Ends the connection that has been idle the longest; false if none is idle.
    ///
    /// Idle deadlines are all set with the same timeout, so the one due first is the oldest. Looks at every slot: for
    /// the moment when the node is full.
    pub fn expire_oldest_idle(&self) -> bool {
        let oldest = self
            .0
            .borrow()
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|slot| slot.is_idle() && !slot.late.get())
            .min_by_key(|slot| slot.at.get());
        oldest.is_some_and(|slot| {
            slot.expire();
            true
        })
    }

    /// Ends every connection that is idle: the drain has begun.
    pub fn expire_idle(&self) {
        let idle: Vec<_> =
            self.0.borrow().iter().filter_map(Weak::upgrade).filter(|slot| slot.is_idle()).collect();
        for slot in idle {
            slot.expire();
        }
    }
}

impl Deadline {
    /// The connection must have moved on by `at`.
    #[inline]
    pub fn set(&self, at: Timestamp, phase: Phase) {
        self.0.at.set(at.as_millis());
        self.0.phase.set(phase);
        self.0.late.set(false);
    }

    /// Nothing is due.
    #[inline]
    pub fn clear(&self) {
        self.0.at.set(u64::MAX);
        self.0.late.set(false);
    }

    /// Completes when the deadline set last has passed.
    pub async fn expired(&self) -> Phase {
        poll_fn(|cx| self.poll_expired(cx)).await
    }

    /// [`Deadline::expired`] for a future written by hand.
    pub fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<Phase> {
        if self.0.late.get() {
            return Poll::Ready(self.0.phase.get());
        }
        let mut waker = self.0.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}

impl Slot {
    fn is_idle(&self) -> bool {
        self.phase.get() == Phase::Idle && self.at.get() != u64::MAX
    }

    fn expire(&self) {
        self.late.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_late_connection_is_woken_with_what_it_was_doing() {
        let deadlines = Deadlines::default();
        let deadline = deadlines.register();
        deadline.set(Timestamp::from_secs(10), Phase::Head);
        deadlines.sweep(Timestamp::from_secs(9));
        assert!(!deadline.0.late.get());
        deadlines.sweep(Timestamp::from_secs(10));
        assert_eq!(deadline.expired().await, Phase::Head);
    }

    #[test]
    fn a_deadline_that_was_moved_on_in_time_does_not_fire() {
        let deadlines = Deadlines::default();
        let deadline = deadlines.register();
        deadline.set(Timestamp::from_secs(10), Phase::Head);
        deadline.set(Timestamp::from_secs(20), Phase::Idle);
        deadlines.sweep(Timestamp::from_secs(15));
        assert!(!deadline.0.late.get());
    }

    #[test]
    fn the_connection_idle_the_longest_is_the_one_to_go() {
        let deadlines = Deadlines::default();
        let [young, old, busy] = std::array::from_fn(|_| deadlines.register());
        young.set(Timestamp::from_secs(20), Phase::Idle);
        old.set(Timestamp::from_secs(10), Phase::Idle);
        busy.set(Timestamp::from_secs(5), Phase::Total);
        assert!(deadlines.expire_oldest_idle());
        assert_eq!([&young, &old, &busy].map(|deadline| deadline.0.late.get()), [false, true, false]);
        assert!(deadlines.expire_oldest_idle());
        assert!(young.0.late.get());
        assert!(!deadlines.expire_oldest_idle(), "a busy connection is not idle");
    }

    #[test]
    fn a_drain_ends_idle_connections_and_no_others() {
        let deadlines = Deadlines::default();
        let [idle, busy, unset] = std::array::from_fn(|_| deadlines.register());
        idle.set(Timestamp::from_secs(20), Phase::Idle);
        busy.set(Timestamp::from_secs(20), Phase::Total);
        deadlines.expire_idle();
        assert_eq!([&idle, &busy, &unset].map(|deadline| deadline.0.late.get()), [true, false, false]);
    }

    #[test]
    fn a_connection_that_is_gone_leaves_the_sweep() {
        let deadlines = Deadlines::default();
        drop(deadlines.register());
        deadlines.sweep(Timestamp::from_secs(1));
        assert!(deadlines.0.borrow().is_empty());
    }
}
