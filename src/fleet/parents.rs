//! The parents' own logs, followed where there is no broker.

use std::sync::Arc;
use std::time::Duration;

use purge_api::bus::pull::{Calls, ParentLog};
use purge_api::bus::{BusError, Pending, ScopeOf};

use super::Fleet;
use crate::config::limits::FLEET_PULL;
use crate::serve::Current;

/// A parent, as the bus calls it.
struct Parent {
    current: Arc<Current>,
    name: Arc<str>,
}

impl Calls for Parent {
    fn call<'a>(&'a self, method: &'static str, target: String, body: Vec<u8>) -> Pending<'a, Vec<u8>> {
        Box::pin(async move {
            let edge = self.current.load_full();
            let parents = edge.parents.as_ref().ok_or_else(|| BusError("there are no parents".to_owned()))?;
            parents.call(&self.name, method, target, body, edge.footing()).await
        })
    }
}

impl Fleet {
    /// Follows the log of every parent, and gives them what is ordered here, from now on, on this runtime.
    pub(crate) fn follow_parents(self: &Arc<Self>, current: &Arc<Current>, scope_of: &Arc<ScopeOf>) {
        let edge = current.load();
        let names: Vec<_> = edge.parents.iter().flat_map(|parents| parents.names().map(Arc::clone)).collect();
        for name in names {
            let parent = Parent { current: Arc::clone(current), name: Arc::clone(&name) };
            let fleet = Arc::downgrade(self);
            let below = Box::new(move || fleet.upgrade().map_or(0, |fleet| fleet.children()));
            let wait = self.patience().saturating_sub(SPARE);
            let log = ParentLog::new(&name, &self.node, Arc::new(parent), below, wait);
            self.follow(Arc::new(log), Arc::clone(scope_of));
        }
    }

    /// How long one pull waits.
    pub(super) fn patience(&self) -> Duration {
        FLEET_PULL.min(self.unsynced_after / 3)
    }
}

/// A parent answers before its child loses patience.
const SPARE: Duration = Duration::from_millis(200);
