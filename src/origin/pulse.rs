//! Whether an origin gives signs of life: how many requests wait for a head there, and when the last one came.
//!
//! A machine that takes connections and does nothing with them fails no request before its deadline; that it has said
//! nothing to anybody meanwhile is seen sooner (`choose/`, `hedge.rs`).

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use cache_store::timestamp::Timestamp;

/// One origin's signs of life.
#[derive(Debug, Default)]
pub(crate) struct Pulse {
    waiting: AtomicUsize,
    heard_at_millis: AtomicU64,
}

/// A request that waits for a head; until it is dropped.
#[derive(Debug)]
pub(crate) struct Listening<'p>(&'p Pulse);

impl Pulse {
    /// A request waits for its head from now on.
    pub(crate) fn listen(&self) -> Listening<'_> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        Listening(self)
    }

    /// A head came.
    pub(crate) fn beat(&self, now: Timestamp) {
        self.heard_at_millis.store(now.as_millis(), Ordering::Relaxed);
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// When the last head came.
    pub(crate) fn heard_at(&self) -> Timestamp {
        Timestamp::from_millis(self.heard_at_millis.load(Ordering::Relaxed))
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
