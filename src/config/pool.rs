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
        }
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
