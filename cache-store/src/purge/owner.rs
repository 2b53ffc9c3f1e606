//! Whose the log is, while one process takes it over from another.
//!
//! ```text
//! Us ── offered ──> Unsettled ──┬── the other one did not come up ──> Us
//!                               └── it serves ──────────────────────> Another
//! ```
//!
//! Locks of the standard library, held for a moment and with nothing else inside: they are not the model checker's.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Whose the log is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Owner {
    /// Ours.
    #[default]
    Us,
    /// Another process is about to take it: who orders waits until it is settled.
    Unsettled,
    /// Another process's.
    Another,
}

/// The owner, and whoever waits to know it.
#[derive(Debug, Default)]
pub(super) struct Ownership {
    owner: Mutex<Owner>,
    changed: Condvar,
}

impl Ownership {
    pub(super) fn now(&self) -> Owner {
        *self.lock()
    }

    pub(super) fn change(&self, owner: Owner) {
        *self.lock() = owner;
        self.changed.notify_all();
    }

    /// Waits until it is known.
    pub(super) fn settled(&self) {
        let known = self.changed.wait_while(self.lock(), |owner| *owner == Owner::Unsettled);
        drop(known.unwrap_or_else(PoisonError::into_inner));
    }

    fn lock(&self) -> MutexGuard<'_, Owner> {
        self.owner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
