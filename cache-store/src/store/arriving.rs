//! Bytes of bodies that are arriving and will be stored: they are not in the tier's budget yet, and bounded here.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::CacheStore;

/// Room taken for a body that is arriving and will be stored; given back when dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    store: Arc<CacheStore>,
    bytes: u64,
}

impl Reservation {
    /// Takes room for `bytes`, or `None` when too much is arriving at once.
    pub(crate) fn take(store: &Arc<CacheStore>, bytes: u64) -> Option<Self> {
        let mut room = Self { store: Arc::clone(store), bytes: 0 };
        room.grow(bytes).then_some(room)
    }

    /// Takes more room; `false`, and nothing changes, when there is none.
    pub(crate) fn grow(&mut self, bytes: u64) -> bool {
        let before = self.store.arriving.fetch_add(bytes, Ordering::AcqRel);
        if before.saturating_add(bytes) > self.store.arriving_max {
            self.store.arriving.fetch_sub(bytes, Ordering::AcqRel);
            return false;
        }
        self.bytes += bytes;
        true
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.store.arriving.fetch_sub(self.bytes, Ordering::AcqRel);
    }
}
