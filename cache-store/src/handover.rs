//! One node, two processes: the store goes from the one that ends to the one that begins, and for as long as both serve, each
//! hears from the other what was changed.
//!
//! ```text
//! old: offer (directory closed and left, purges wait) ──> settle(Given) ─┬─> serves on from what it has, to its end
//!                                         └── settle(Kept): as before    └─> forgets all of it when the new one purges
//! new:                        opens the directory ──> serves; tells the old one of every purge before it is acknowledged
//! ```
//!
//! Invariants: one process writes to the directory. A purge that is acknowledged holds in both. What is changed by a request
//! (RFC 9111 §4.4) in one is told to the other.

use std::io;
use std::sync::Arc;

use parking_lot::RwLock;

use crate::key::CacheKey;
use crate::purge::{Purge, Scope};
use crate::store::CacheStore;
use crate::timestamp::Timestamp;

/// The other process.
pub trait Neighbour: Send + Sync {
    /// A purge holds here and is about to be acknowledged: returns once it holds there. May block, and not for long.
    fn purged(&self);

    /// Requests have changed what these keys name. Never blocks.
    fn changed(&self, keys: &[CacheKey]);
}

/// What is known of the other process.
#[derive(Default)]
pub(crate) struct Handover(RwLock<Option<Arc<dyn Neighbour>>>);

/// What became of an offer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Settled {
    /// The other process has what was offered.
    Given,
    /// It does not want it: it is ours again.
    Kept,
}

impl Handover {
    pub(crate) fn purged(&self) {
        // Not under the lock: it waits.
        let neighbour = self.0.read().clone();
        if let Some(neighbour) = neighbour {
            neighbour.purged();
        }
    }

    pub(crate) fn changed(&self, keys: &[CacheKey]) {
        if let Some(neighbour) = &*self.0.read() {
            neighbour.changed(keys);
        }
    }
}

impl std::fmt::Debug for Handover {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handover")
    }
}

impl CacheStore {
    /// Writes everything down, closes the directory and leaves it to another process. What is stored is served as before, and what
    /// is fetched from now on is kept in memory alone; purges wait for [`CacheStore::settle`]. Blocks.
    ///
    /// # Errors
    /// As the disk says: the other process takes longer to open it.
    pub fn offer(&self) -> io::Result<()> {
        // The disk is told what URLs purged, or the next start has to do it again.
        let told = self.tend_purges(Timestamp::from_millis(0));
        self.purge_log().offer();
        let given = self.disk().map_or(Ok(()), |disk| disk.give());
        told.and(given)
    }

    /// What became of the offer: purges go on here, or are refused. Blocks.
    ///
    /// # Errors
    /// What was offered cannot be taken back, for somebody has it or has changed it: memory begins anew, purges are refused, and
    /// nothing is written until the next start.
    pub fn settle(&self, settled: Settled) -> io::Result<()> {
        let taken = match (settled, self.disk()) {
            (Settled::Kept, Some(disk)) => disk.take_back(),
            _ => Ok(()),
        };
        if taken.is_err() {
            // Whoever has been there may have purged.
            self.forget_everything_here();
        }
        self.purge_log().settle_owner(settled == Settled::Kept && taken.is_ok());
        taken
    }

    /// Another process of this node serves as well, from now on; or no more.
    pub fn beside(&self, neighbour: Option<Arc<dyn Neighbour>>) {
        *self.handover().0.write() = neighbour;
    }

    /// The other process has purged something: nothing that this one has stored until now is served again, and no fetch that began before
    /// is joined.
    pub fn forget_everything_here(&self) {
        let epoch = self.purge_log().next_epoch();
        let at = Timestamp::from_millis(0);
        let purge = Purge { id: 0, at, soft: false, scopes: vec![Scope::Everything] };
        self.purges().broad.apply(&purge, epoch);
    }
}
