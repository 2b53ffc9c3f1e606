//! Atomics whose order matters: the standard library's, and a model checker's where that runs this crate (`tests/model`).
//!
//! Used by what purges, fills and hits tell each other through without a lock: epochs, marks, numbers of the log. Locks need
//! no such door, for the checker takes the place of the whole crate that they come from. Counters stay with `std`.

#[cfg(not(shuttle))]
pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[cfg(shuttle)]
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, Ordering};
