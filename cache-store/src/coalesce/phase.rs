//! How far a flight is, and who waits to hear it.
//!
//! Most flights have no followers: to them a channel, made and closed again, would be the dearest part of a miss. So the
//! phase is a value under a lock until somebody follows, and a channel from then on.
//!
//! Invariant: who follows hears everything that is told after the phase it begins with.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::{Failure, Streaming};
use crate::entry::StoredResponse;

/// How far a flight is.
#[derive(Clone, Debug)]
pub(crate) enum Phase {
    Waiting,
    Streaming(Arc<Streaming>),
    Settled(Arc<StoredResponse>),
    Freed,
    Failed(Failure),
    Abandoned,
}

/// The phase of one flight.
#[derive(Debug)]
pub(crate) struct Phases(Mutex<Told>);

#[derive(Debug)]
enum Told {
    /// Nobody has followed yet.
    Alone(Phase),
    /// Somebody has.
    Heard(watch::Sender<Phase>),
}

impl Phases {
    /// At the beginning.
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Told::Alone(Phase::Waiting)))
    }

    /// Tells how far it is.
    pub(crate) fn tell(&self, phase: Phase) {
        self.change(|told| {
            *told = phase;
            true
        });
    }

    /// It will not go on: told unless it has come further than waiting.
    pub(crate) fn abandon(&self) {
        self.change(|told| {
            let vanished = matches!(told, Phase::Waiting);
            if vanished {
                *told = Phase::Abandoned;
            }
            vanished
        });
    }

    /// Hears of it from now on.
    pub(crate) fn follow(&self) -> watch::Receiver<Phase> {
        let mut told = self.0.lock();
        let phase = match &mut *told {
            Told::Heard(sender) => return sender.subscribe(),
            Told::Alone(phase) => phase.clone(),
        };
        let (sender, receiver) = watch::channel(phase);
        *told = Told::Heard(sender);
        receiver
    }

    /// Whether it streams something of this kind.
    pub(crate) fn streams(&self, of_the_kind: impl FnOnce(&Streaming) -> bool) -> bool {
        let is = |phase: &Phase| matches!(phase, Phase::Streaming(streaming) if of_the_kind(streaming));
        match &*self.0.lock() {
            Told::Alone(phase) => is(phase),
            Told::Heard(sender) => is(&sender.borrow()),
        }
    }

    fn change(&self, change: impl FnOnce(&mut Phase) -> bool) {
        match &mut *self.0.lock() {
            Told::Alone(phase) => {
                change(phase);
            }
            Told::Heard(sender) => {
                sender.send_if_modified(change);
            }
        }
    }
}
