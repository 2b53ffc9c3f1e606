//! `[pool.NAME]` as meant: a group of origins, and how they are asked.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::{OriginProtocol, Transport, limits};

/// A group of origins that can answer for the same sites.
#[derive(Clone, PartialEq, Debug)]
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
    /// Whether each origin is given less than that at once while more would only make it slower. Default: a fixed number.
    pub concurrency: Concurrency,
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
    /// How its connections are made.
    pub transport: Transport,
    /// The share of requests in ten seconds (twenty at least) that must fail for an origin to be left out although some succeed,
    /// percent; 0: only failures in a row count. Default 50.
    pub eject_failure_percent: u32,
    /// How much of the pool may be left out for failures at once, percent; one origin always may, unless this is 0. Beyond it
    /// an origin that fails is asked all the same. Default 100: when all are left out, all are asked.
    pub eject_max_percent: u8,
    /// Statuses that count as failures of their origin. Where it is safe, another origin is asked instead. Default: none; an answer
    /// is an answer.
    pub fail_status: Statuses,
    /// When a request that changes nothing and waits for its first byte is asked of another origin as well. Default: when its
    /// origin has been silent to everybody for two seconds.
    pub hedge_after: HedgeAfter,
    /// What is asked of each origin to see whether it is well. Default: nothing; only what becomes of requests counts.
    pub health: Option<Health>,
    /// Which origin is asked. Default: by weight.
    pub balance: Balance,
    /// The cookie by which clients stay at the origin that answered them first, on what passes the cache or is not stored.
    /// Default: none.
    pub sticky: Option<Arc<str>>,
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
            concurrency: Concurrency::Fixed,
            queue_timeout: limits::POOL_QUEUE_TIMEOUT,
            queue_max: limits::POOL_QUEUE_MAX,
            connect_timeout: limits::POOL_CONNECT_TIMEOUT,
            first_byte_timeout: limits::POOL_FIRST_BYTE_TIMEOUT,
            between_bytes_timeout: limits::POOL_BETWEEN_BYTES_TIMEOUT,
            idle_timeout: limits::POOL_IDLE_TIMEOUT,
            eject_after: limits::POOL_EJECT_AFTER,
            eject_for: limits::POOL_EJECT_FOR,
            transport: Transport::default(),
            eject_failure_percent: limits::POOL_EJECT_FAILURE_PERCENT,
            eject_max_percent: 100,
            fail_status: Statuses::default(),
            hedge_after: HedgeAfter::Silence,
            health: None,
            balance: Balance::Weighted,
            sticky: None,
            slow_start: Duration::ZERO,
        }
    }
}

impl Pool {
    /// Requests to each origin at once at most.
    pub fn requests_max(&self) -> usize {
        match self.transport.protocol {
            OriginProtocol::Http11 => self.connections_max,
            OriginProtocol::H2 => self.connections_max.saturating_mul(self.transport.streams_max),
        }
    }
}

/// How much an origin is given at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Concurrency {
    /// As many requests as it may have connections.
    #[default]
    Fixed,
    /// As many as it answers about as soon as a few; what is beyond is refused, or answered by something stale.
    Adaptive,
}

impl Concurrency {
    /// As written in settings.
    pub const WORDS: [(&'static str, Self); 2] = [("fixed", Self::Fixed), ("adaptive", Self::Adaptive)];
}

/// Some statuses, as ranges.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Statuses(pub Vec<RangeInclusive<u16>>);

impl Statuses {
    /// Whether `status` is among them.
    pub fn contains(&self, status: StatusCode) -> bool {
        self.0.iter().any(|range| range.contains(&status.as_u16()))
    }
}

/// When a request is asked of another origin as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HedgeAfter {
    /// Never.
    Off,
    /// When its origin is silent: no head has come from it to anybody since.
    Silence,
    /// When it has waited longer than 95 of 100 requests to the pool do.
    P95,
    /// When it has waited so long.
    Time(Duration),
}

/// What is asked of each origin, again and again, to see whether it is well.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Health {
    /// How.
    pub kind: HealthKind,
    /// Path and query that are asked for. Default `/`.
    pub path: Arc<str>,
    /// The `Host` sent; none: the pool's, else the origin's own.
    pub host: Option<Arc<str>>,
    /// How often, a tenth more or less.
    pub every: Duration,
    /// How long it may take in all. Default 2 s, or `every` where that is less.
    pub timeout: Duration,
    /// Checks in a row that must fail for an origin to be left out.
    pub unhealthy_after: u32,
    /// Checks in a row that must succeed for it to be asked again.
    pub healthy_after: u32,
    /// What the answer's status must be. Default `"2xx"`.
    pub status: Statuses,
    /// What must stand in the first 64 KiB of the answer's body; none: anything.
    pub body: Option<Arc<str>>,
}

/// What a check does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HealthKind {
    /// Asks for a page.
    Http,
    /// Connects.
    Tcp,
    /// Connects and shakes hands as for a request.
    Tls,
}

impl HealthKind {
    /// As written in settings.
    pub const WORDS: [(&'static str, Self); 3] =
        [("http", Self::Http), ("tcp", Self::Tcp), ("tls", Self::Tls)];

    /// As written in settings.
    pub fn as_str(self) -> &'static str {
        Self::WORDS.iter().find(|(_, kind)| *kind == self).map_or("", |(word, _)| word)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self {
            kind: HealthKind::Http,
            path: "/".into(),
            host: None,
            every: limits::HEALTH_EVERY,
            timeout: limits::HEALTH_TIMEOUT,
            unhealthy_after: limits::HEALTH_UNHEALTHY_AFTER,
            healthy_after: limits::HEALTH_HEALTHY_AFTER,
            status: Statuses(vec![200..=299]),
            body: None,
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
#[derive(Clone, PartialEq, Debug)]
pub struct Origin {
    /// `http://host:port` without path, or `unix:` and a path, as written in logs and metrics.
    pub name: Arc<str>,
    /// TLS to it.
    pub tls: bool,
    /// Name or address to connect to; of a socket in the file system, its path.
    pub host: Arc<str>,
    /// Port; 0 for a socket in the file system.
    pub port: u16,
    /// Share of requests relative to its siblings; at least 1.
    pub weight: u32,
    /// Asked only when no other is available.
    pub backup: bool,
}

impl Origin {
    /// The path of a socket in the file system, if it is one.
    pub fn socket(&self) -> Option<&Path> {
        (self.port == 0).then(|| Path::new(&*self.host))
    }
}
