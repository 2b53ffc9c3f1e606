//! Who writes or unlinks the file of a name does it alone.
//!
//! Without this an eviction could unlink what a put has just written under the same name, and two fills of the same
//! bytes would both write them. A lock for every name would be a table; a few for all of them make strangers wait
//! now and then, on threads that may.

use parking_lot::{Mutex, MutexGuard};

use super::id::ChunkId;

/// Locks by name.
#[derive(Debug)]
pub(super) struct Stripes([Mutex<()>; STRIPES]);

impl Stripes {
    pub(super) fn lock(&self, id: ChunkId) -> MutexGuard<'_, ()> {
        let [.., last] = *id.as_bytes();
        self.0.get(usize::from(last) % STRIPES).expect("a remainder of their number").lock()
    }

    /// Waits until everybody who has one now has let go of it.
    pub(super) fn pass(&self) {
        for stripe in &self.0 {
            drop(stripe.lock());
        }
    }
}

impl Default for Stripes {
    fn default() -> Self {
        Self([const { Mutex::new(()) }; STRIPES])
    }
}

const STRIPES: usize = 64;
