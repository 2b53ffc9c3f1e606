//! `[pool.NAME]` as meant: a group of origins, and how they are asked.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::limits;

/// A group of origins that can answer for the same sites.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name in log, metrics and `explain`.
    pub name: Arc<str>,
    /// Its origins; at least one.
    pub origins: Vec<Origin>,
    /// Where it is on the globe, for steering to the nearest.
    pub location: Option<geo::Coordinates>,
    /// The `Host` sent; none: as the client named it.
    pub host: Option<Arc<str>>,
    /// Name for SNI and certificate check; none: the host sent.
    pub server_name: Option<Arc<str>>,
    /// Verify the origin's certificate. Default true.
    pub verify: bool,
    /// Extra root certificates (PEM file) trusted for this pool.
    pub ca: Option<PathBuf>,
    /// Connections to each origin at most.
    pub connections_max: usize,
    /// How long a request may wait for a connection when all are taken.
    pub queue_timeout: Duration,
    /// Requests that may wait so at once; beyond it 503.
    pub queue_max: usize,
    /// TCP and TLS together.
    pub connect_timeout: Duration,
    /// From the request to the response's head.
    pub first_byte_timeout: Duration,
    /// Between two pieces of the response's body.
    pub between_bytes_timeout: Duration,
    /// An idle connection older than this is not reused.
    pub idle_timeout: Duration,
    /// Consecutive failures after which an origin is left out for `eject_for`.
    pub eject_after: u32,
    /// How long; doubles with each ejection up to ten times.
    pub eject_for: Duration,
    /// Which origin is asked. Default: by weight.
    pub balance: Balance,
    /// An origin that is back after an absence gets its share little by little in this time, from a tenth on. Default `0s`: at
    /// once.
    pub slow_start: Duration,
}

impl Pool {
    /// A pool of these origins with every other setting at its default.
    pub fn of(name: &Arc<str>, origins: Vec<Origin>) -> Self {
        Self {
            name: Arc::clone(name),
            origins,
            location: None,
            host: None,
            server_name: None,
            verify: true,
            ca: None,
            connections_max: limits::POOL_CONNECTIONS_MAX,
            queue_timeout: limits::POOL_QUEUE_TIMEOUT,
            queue_max: limits::POOL_QUEUE_MAX,
            connect_timeout: limits::POOL_CONNECT_TIMEOUT,
            first_byte_timeout: limits::POOL_FIRST_BYTE_TIMEOUT,
            between_bytes_timeout: limits::POOL_BETWEEN_BYTES_TIMEOUT,
            idle_timeout: limits::POOL_IDLE_TIMEOUT,
            eject_after: limits::POOL_EJECT_AFTER,
            eject_for: limits::POOL_EJECT_FOR,
            balance: Balance::Weighted,
            slow_start: Duration::ZERO,
        }
    }
}

/// Which origin of a pool is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Balance {
    /// In turn, each as often as its weight says (smooth weighted round robin).
    Weighted,
    /// In turn; weights are not looked at.
    RoundRobin,
    /// The one with the least under way for its weight.
    LeastConnections,
    /// Of two that come by weight, the one that is likely to answer sooner (peak EWMA of the time to the first byte).
    Ewma,
    /// The same client at the same origin: by its address, of IPv6 the /64.
    ClientHash,
    /// The same URL at the same origin, unless that has more than its share under way (consistent, with bounded load).
    UriHash,
}

impl Balance {
    /// As written in settings.
    pub const WORDS: [(&'static str, Self); 6] = [
        ("weighted", Self::Weighted),
        ("round-robin", Self::RoundRobin),
        ("least-connections", Self::LeastConnections),
        ("ewma", Self::Ewma),
        ("client-hash", Self::ClientHash),
        ("uri-hash", Self::UriHash),
    ];

    /// As written in settings.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, balance)| *balance == self).map_or("", |(word, _)| word)
    }
}

/// One server.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `http://host:port` without path, as written in logs and metrics.
    pub name: Arc<str>,
    /// TLS to it.
    pub tls: bool,
    /// Name or address to connect to.
    pub host: Arc<str>,
    /// Port.
    pub port: u16,
    /// Share of requests relative to its siblings; at least 1.
    pub weight: u32,
    /// Asked only when no other is available.
    pub backup: bool,
}
