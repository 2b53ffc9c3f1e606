//! 5 miss -> origin response.
//!
//! `serve` builds an [`Ask`] (its fields by [`forward`]) for a pool that [`OriginPools::itinerary`] named, and gets an
//! [`Answer`] whose body it pulls, or a [`Failed`] that says why, at which origin, and whose fault it is. Within:
//! `pool.rs` leads a request through `choose/`, `connections.rs`, `connect.rs` and, when it fails, `retry.rs`;
//! `connection.rs` is our own HTTP/1.1 client on one socket (`wire.rs`): it writes the request, with `upload.rs` for a body,
//! and has `framing.rs` read every byte of the response strictly. Where the pool says so `h2/` asks over HTTP/2; `line.rs` is
//! either, to those who do not care.
//!
//! Invariant: origins come from the settings alone, and redirects are never followed (FAULTS R9).
//! Invariant: every wait ends by a setting of the pool, every queue and retry has a bound.
//! Nodes of the tier above are pools too (`parent/`), asked before those of the route.

mod body;
mod checks;
mod choose;
mod connect;
mod connection;
mod connections;
mod error;
pub(crate) mod fields;
pub mod forward;
pub(crate) mod framing;
mod h2;
mod health;
mod hedge;
mod hold;
mod limiter;
mod line;
mod outgoing;
pub mod parent;
mod patience;
mod pool;
mod preface;
mod pulse;
mod response;
mod retry;
mod stats;
pub mod steer;
mod sticky;
#[cfg(test)]
mod tests;
mod timer;
mod tunnel;
mod upload;
mod wire;

use std::collections::BTreeMap;
use std::future::{Future, ready};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::{Method, StatusCode};

pub use self::body::OriginBody;
pub use self::choose::Stands;
pub use self::connect::TlsSetupError;
pub(crate) use self::connect::unfit_identity;
use self::connect::{Resolve, SystemResolver};
pub use self::error::{Fault, Finding, OriginError, Reach};
pub use self::fields::ResponseFields;
use self::forward::Sent;
pub use self::framing::Framing;
use self::pool::Pool;
pub use self::stats::{Counts, DURATION_BOUNDS_MICROS, OriginStats};
use self::steer::{Itinerary, Turns, Visitor};
pub use self::tunnel::{Tunnel, TunnelStats};
use crate::clock::Clock;
use crate::config::{self, Steer};
use crate::listener::fields::Fields;
use crate::listener::request::{InterimSink, RequestBody};

/// All pools. Shared by every worker; asks run on the worker's own runtime.
#[derive(Debug)]
pub struct OriginPools {
    pools: BTreeMap<Arc<str>, Arc<Pool>>,
    turns: Turns,
}

/// A request to a pool.
#[derive(Debug)]
pub struct Ask {
    /// The pool to ask.
    pub pool: Arc<str>,
    /// The method.
    pub method: Method,
    /// The normalised authority as the client named it: `Host`, unless the pool sets its own.
    pub authority: Bytes,
    /// The normalised path and query, or `*`.
    pub target: Bytes,
    /// The fields as they are sent, but for `Host` and framing, which are set here. See [`forward`].
    pub fields: Sent,
    /// The body.
    pub body: RequestBody,
    /// Where interim responses go.
    pub interim: Option<InterimSink>,
    /// Who asks, where the pool chooses its origins by that.
    pub client: Option<IpAddr>,
    /// The place of the origin that the client was given to; see [`OriginPools::stuck`].
    pub stuck: Option<usize>,
    /// What bytes behind a body of declared length mean; see [`Surplus`].
    pub surplus: Surplus,
}

/// What to make of bytes that an origin sends behind the end that its `Content-Length` declared.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Surplus {
    /// One of the two is a lie: the response is refused.
    #[default]
    Refuse,
    /// The framing is right (RFC 9112 §6.3): the response ends where it said, the rest is dropped with the connection.
    Drop,
}

/// The head of an origin's response, and its body to be pulled.
#[derive(Debug)]
pub struct Answer {
    /// The final status.
    pub status: StatusCode,
    /// Its fields, without hop-by-hop ones and without framing.
    pub fields: ResponseFields,
    /// The body.
    pub body: OriginBody,
    /// How its end is known.
    pub framing: Framing,
    /// `Content-Length`, also of a response to HEAD and of a 304, which have no body.
    pub length: Option<u64>,
    /// The pool.
    pub pool: Arc<str>,
    /// The origin that answered.
    pub origin: Arc<str>,
    /// The cookie, `NAME=VALUE`, by which its client stays at that origin, where the pool has one and the client has not.
    pub stick: Option<Arc<str>>,
    /// When the request that got this answer went out.
    pub requested_at: Timestamp,
    /// When its head was complete.
    pub received_at: Timestamp,
    /// Between the two, microseconds.
    pub origin_micros: u64,
}

/// An answer to come. Boxed: it is large, and whoever waits for it would move it with a future of its own.
pub type Answering<'p> = Pin<Box<dyn Future<Output = Result<Box<Answer>, Failed>> + Send + 'p>>;

/// Why there is no answer.
#[derive(Clone, Debug, thiserror::Error)]
#[error("no answer from an origin")]
pub struct Failed {
    /// The cause, at the origin asked last.
    #[source]
    pub cause: OriginError,
    /// The pool.
    pub pool: Option<Arc<str>>,
    /// The origin asked last, if one was.
    pub origin: Option<Arc<str>>,
    /// How long that took, microseconds.
    pub origin_micros: u64,
}

impl From<OriginError> for Failed {
    fn from(cause: OriginError) -> Self {
        Self { cause, pool: None, origin: None, origin_micros: 0 }
    }
}

/// A pool whose TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
#[error("pool `{pool}`")]
pub struct PoolSetupError {
    /// Its name.
    pub pool: Arc<str>,
    /// Why.
    #[source]
    pub source: TlsSetupError,
}

/// Pools by other settings.
pub(crate) struct Renewed {
    /// All of them.
    pub(crate) pools: OriginPools,
    /// Those that were not there before: to be watched.
    pub(crate) fresh: OriginPools,
}

impl OriginPools {
    /// Pools by these settings; nothing is connected or resolved yet.
    ///
    /// # Errors
    /// A pool speaks TLS and its certificates cannot be read.
    pub fn new(pools: &BTreeMap<Arc<str>, config::Pool>, clock: &Clock) -> Result<Self, PoolSetupError> {
        Self::with_resolver(pools, clock, &(Arc::new(SystemResolver::new()) as Arc<dyn Resolve>))
    }

    /// Pools by other settings. One whose settings are the same, and the certificates they name, is the same pool, with its connections; the others take over what is known
    /// of their origins, and what is under way to what they were ends as it will.
    ///
    /// # Errors
    /// As [`OriginPools::new`]; these go on.
    pub(crate) fn renewed(
        &self,
        pools: &BTreeMap<Arc<str>, config::Pool>,
        clock: &Clock,
    ) -> Result<Renewed, PoolSetupError> {
        let mut renewed = Self { pools: BTreeMap::new(), turns: Turns::default() };
        let mut others = BTreeMap::new();
        for (name, settings) in pools {
            match self.pools.get(name).filter(|pool| pool.is_set_to(settings)) {
                Some(pool) => drop(renewed.pools.insert(Arc::clone(name), Arc::clone(pool))),
                None => drop(others.insert(Arc::clone(name), settings.clone())),
            }
        }
        let fresh = Self::new(&others, clock)?;
        fresh.adopt(self);
        renewed.pools.extend(fresh.pools.iter().map(|(name, pool)| (Arc::clone(name), Arc::clone(pool))));
        Ok(Renewed { pools: renewed, fresh })
    }

    /// `next` have taken their place: what is not among them is not checked any more.
    pub(crate) fn retire(&self, next: &Self) {
        for (name, pool) in &self.pools {
            if !next.pools.get(name).is_some_and(|next| Arc::ptr_eq(next, pool)) {
                pool.retire();
            }
        }
    }

    fn with_resolver(
        pools: &BTreeMap<Arc<str>, config::Pool>,
        clock: &Clock,
        resolver: &Arc<dyn Resolve>,
    ) -> Result<Self, PoolSetupError> {
        let pools = pools
            .iter()
            .map(|(name, settings)| match Pool::new(settings.clone(), resolver, clock.clone()) {
                Ok(pool) => Ok((Arc::clone(name), Arc::new(pool))),
                Err(source) => Err(PoolSetupError { pool: Arc::clone(name), source }),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { pools, turns: Turns::default() })
    }

    /// The pools that a request goes to, in order; see [`steer`].
    pub fn itinerary(&self, steer: &Steer, visitor: &Visitor<'_>) -> Option<Itinerary> {
        let turn = if steer.steering().is_some() { self.turns.next() } else { 0 };
        steer::itinerary(steer, visitor, turn, &|pool| self.available(pool))
    }

    /// The same for a request that is only imagined.
    pub fn imagined(&self, steer: &Steer, visitor: &Visitor<'_>) -> Option<Itinerary> {
        steer::itinerary(steer, visitor, self.turns.coming(), &|pool| self.available(pool))
    }

    /// Whether a request without a body that failed at `pool` may be sent to another pool.
    pub(crate) fn may_fall_over(&self, pool: &str, error: OriginError, method: &Method) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.may_fall_over(error, method))
    }

    /// The origin of the pool that the client with these fields was given to.
    pub(crate) fn stuck(&self, pool: &str, fields: &Fields) -> Option<usize> {
        self.pools.get(pool)?.stuck(fields)
    }

    /// Whether the pool exists and one of its origins is not ejected.
    pub fn available(&self, pool: &str) -> bool {
        self.pools.get(pool).is_some_and(|pool| pool.available())
    }

    /// Asks one origin of the pool, and others where that is safe.
    ///
    /// Cancel by dropping: the connection in use is closed. Must run on a tokio runtime.
    ///
    /// # Errors
    /// Why no origin answered; see [`OriginError`].
    pub fn ask(&self, ask: Ask) -> Answering<'_> {
        match self.pools.get(&*ask.pool) {
            Some(pool) => pool.ask(ask),
            None => Box::pin(ready(Err(Failed::from(OriginError::NoOrigin)))),
        }
    }

    /// Requests to a pool that are under way or wait for a connection.
    pub(crate) fn load(&self, pool: &str) -> u64 {
        self.pools.get(pool).map_or(0, |pool| pool.active())
    }

    /// The first origin of a pool did not do what was asked of it, although it answered, or was given up before it did.
    pub(crate) fn failed(&self, pool: &str, error: OriginError) {
        if let Some(pool) = self.pools.get(pool) {
            pool.failed(0, error);
        }
    }

    /// Takes an origin out by hand, or back in: drained, it gets no new request. It is called by its URL, or by host and
    /// port. Returns its name, if it exists.
    pub fn drain(&self, pool: &str, origin: &str, drained: bool) -> Option<Arc<str>> {
        self.pools.get(pool)?.drain(origin, drained)
    }

    /// Takes over what `old` knows of origins that are here too, in a pool of the same name: their health, who was drained
    /// by hand, how long they take.
    pub fn adopt(&self, old: &Self) {
        for (name, pool) in &self.pools {
            if let Some(old) = old.pools.get(name) {
                pool.adopt(old);
            }
        }
    }

    /// Closes idle connections past their `idle_timeout`. Cheap; to be called every second or so.
    pub fn sweep(&self) {
        self.pools.values().for_each(|pool| pool.sweep());
    }

    /// What goes on in other protocols than HTTP.
    pub fn tunnels(&self) -> TunnelStats {
        let mut stats = TunnelStats::default();
        self.pools.values().for_each(|pool| pool.tunnels.add_to(&mut stats));
        stats
    }

    /// Every origin's numbers, by pool and in the order written.
    pub fn stats(&self) -> Vec<OriginStats> {
        self.pools.values().flat_map(|pool| pool.stats()).collect()
    }
}
