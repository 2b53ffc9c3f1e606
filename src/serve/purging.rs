//! What the purge calls need of the node, over the store: orders become scopes and keys, records become orders again.
//!
//! Called by `admin/` and by `service.rs` for the PURGE method, both where waiting for the disk is allowed.
//!
//! Invariant: an order is applied under one number, or not at all; one that names a host that no site has is refused whole.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_store::key::CacheKey;
use cache_store::purge::{self, Logged, Purge, Resource, Scope};
use purge_api::{
    Applied, Entry, FleetReceipt, Matched, NOTE_BYTES_MAX, NOTES_MAX, Order, PurgeError, Purger, ResourceUrl,
    Selector,
};

use super::Edge;
use crate::listener::request::Scheme;
use crate::observe::gauges;
use crate::route::Normal;

/// Purges ordered.
#[derive(Debug, Default)]
pub struct Purging {
    /// By scope and softness.
    applied: [[AtomicU64; 2]; SCOPES],
    /// When it was last counted what one would take, microseconds.
    counted: AtomicU64,
}

impl Purging {
    /// Purges by scope and softness.
    pub(super) fn applied(&self) -> Vec<gauges::Applied> {
        let scopes = purge_api::Scope::ALL.into_iter().zip(&self.applied);
        let both = scopes.flat_map(|(scope, counts)| [(scope, false, &counts[0]), (scope, true, &counts[1])]);
        both.map(|(scope, soft, count)| gauges::Applied {
            scope: scope.as_str(),
            soft,
            count: count.load(Ordering::Relaxed),
        })
        .collect()
    }

    fn count(&self, order: &Order) {
        for selector in &order.selectors {
            let place = purge_api::Scope::ALL.into_iter().position(|scope| scope == selector.scope());
            if let Some([hard, soft]) = place.and_then(|place| self.applied.get(place)) {
                let count = if order.soft { soft } else { hard };
                count.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Purging {
    /// Whether counting what a purge takes is due: it costs milliseconds, which one purge a second may be held up for.
    fn may_count(&self, now_micros: u64) -> bool {
        let before = self.counted.load(Ordering::Relaxed);
        let is_due = before == 0 || now_micros.saturating_sub(before) >= PURGE_COUNT_EVERY_MICROS;
        is_due
            && self
                .counted
                .compare_exchange(before, now_micros.max(1), Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
    }
}

impl Edge {
    /// What a selector takes here.
    fn scope_of(&self, selector: &Selector) -> Result<Scope, PurgeError> {
        let host = match selector {
            Selector::Url(url) | Selector::Prefix(url) => Some(url.host()),
            Selector::Host(host) => Some(host.as_str()),
            Selector::Tag(_) | Selector::Everything => None,
        };
        let scope = self.scope_of_any(selector);
        let host = match &scope {
            Scope::Url { keys, .. } if keys.is_empty() => host,
            Scope::Prefix { authority, .. } if !self.serves(authority) => host,
            Scope::Host(name) if !self.serves(name) => host,
            _ => return Ok(scope),
        };
        Err(PurgeError::NoSite(host.unwrap_or_default().to_owned()))
    }

    /// The same, also for what this node does not serve: that takes nothing here, and other nodes are told of it.
    pub(crate) fn scope_of_any(&self, selector: &Selector) -> Scope {
        match selector {
            Selector::Url(url) => Scope::Url { url: url.to_string().into(), keys: self.keys_of(url).into() },
            Selector::Prefix(url) => {
                let scheme = if url.is_https() { Scheme::Https } else { Scheme::Http };
                let target = url.target();
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned().into();
                match Normal::of(scheme, url.authority().as_bytes(), target.as_bytes()) {
                    Ok(normal) => Scope::Prefix {
                        authority: text(&self.routes.kept_as(scheme, normal.authority.as_bytes())),
                        path: text(normal.target.as_bytes()),
                    },
                    // What no request can say matches no request.
                    Err(_) => Scope::Prefix { authority: url.authority().into(), path: target.into() },
                }
            }
            // The scheme says which port is left out; there is none.
            Selector::Host(host) => Scope::Host(
                String::from_utf8_lossy(&self.routes.kept_as(Scheme::Http, host.as_str().as_bytes()))
                    .into_owned()
                    .into(),
            ),
            Selector::Tag(tag) => Scope::Tag(tag.as_str().into()),
            Selector::Everything => Scope::Everything,
        }
    }

    fn serves(&self, authority: &str) -> bool {
        let authority = authority.as_bytes();
        self.routes.serves(Resource { key: CacheKey::from_bits(0), authority, target: b"/" }.host())
    }

    /// The keys that a URL means, none where no site has its host: a page that is purged is purged whichever way it was asked for.
    fn keys_of(&self, url: &ResourceUrl) -> Vec<CacheKey> {
        let target = url.target();
        let mut keys = Vec::new();
        for scheme in [Scheme::Http, Scheme::Https] {
            keys.extend(self.routes.keys_of(
                self.store.keyer(),
                scheme,
                url.authority().as_bytes(),
                target.as_bytes(),
            ));
        }
        keys.sort_unstable();
        keys.dedup();
        keys
    }
}

impl Purger for Edge {
    fn purge(&self, order: &Order) -> Result<Applied, PurgeError> {
        let scopes = order.selectors.iter().map(|selector| self.scope_of(selector));
        let scopes = scopes.collect::<Result<Vec<_>, _>>()?;
        // Other nodes are told what it reads as.
        if let Some(scope) = scopes.iter().find(|scope| Selector::of_scope(scope).is_none()) {
            let kind = scope.as_str();
            return Err(PurgeError::Unavailable(format!("the {kind} is too long once it is in normal form")));
        }
        let purge = Purge {
            id: purge::new_id().map_err(unavailable)?,
            at: self.clock.wall(),
            soft: order.soft,
            scopes,
        };
        let applied = self.store.purge(purge).map_err(|error| PurgeError::Unavailable(error.to_string()))?;
        self.purges.count(order);
        Ok(applied)
    }

    fn beforehand(&self, order: &Order) -> Option<Matched> {
        self.purges.may_count(self.clock.micros()).then(|| self.matched(order).ok()).flatten()
    }

    fn matched(&self, order: &Order) -> Result<Matched, PurgeError> {
        let scopes = order.selectors.iter().map(|selector| self.scope_of(selector));
        Ok(self.store.matched(&scopes.collect::<Result<Vec<_>, _>>()?))
    }

    fn purges(&self, since: u64, max: usize) -> Result<Vec<Entry>, PurgeError> {
        let logged = self.store.purge_log().since(since, max).map_err(unavailable)?;
        Ok(logged.into_iter().map(entry).collect())
    }

    fn sequence(&self) -> u64 {
        self.store.purge_log().sequence()
    }

    fn passed(&self, since: u64) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        let mut passed = self.store.purge_log().watch();
        Box::pin(async move {
            // The sender lives in the store, so it is not gone.
            let _ = passed.wait_for(|passed| *passed > since).await;
        })
    }

    fn note(&self, name: &str) -> Result<Option<Vec<u8>>, PurgeError> {
        self.store.purge_log().note(name).map_err(unavailable)
    }

    fn write_note(&self, name: &str, value: &[u8]) -> Result<(), PurgeError> {
        if value.len() > NOTE_BYTES_MAX {
            return Err(PurgeError::NoteTooLong(NOTE_BYTES_MAX));
        }
        match self.store.purge_log().write_note(name, value, NOTES_MAX) {
            Ok(true) => Ok(()),
            Ok(false) => Err(PurgeError::TooManyNotes(NOTES_MAX)),
            Err(error) => Err(unavailable(error)),
        }
    }

    fn fleet_applied<'a>(&'a self, sequence: u64) -> Pin<Box<dyn Future<Output = FleetReceipt> + Send + 'a>> {
        self.fleet.receipt(sequence)
    }
}

/// A record as whoever reads the log sees it.
fn entry(logged: Logged) -> Entry {
    let Logged { sequence, via, purge: Purge { id, at, soft, scopes }, .. } = logged;
    let selectors = scopes.iter().filter_map(Selector::of_scope).collect();
    Entry {
        sequence,
        id: format!("{id:032x}"),
        order: Order { selectors, soft },
        at_millis: at.as_millis(),
        elsewhere: !via.is_empty(),
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it over
fn unavailable(error: io::Error) -> PurgeError {
    PurgeError::Unavailable(error.to_string())
}

/// What purges take is counted before they are applied at most so often.
const PURGE_COUNT_EVERY_MICROS: u64 = 1_000_000;
/// Kinds of selectors.
const SCOPES: usize = purge_api::Scope::ALL.len();
