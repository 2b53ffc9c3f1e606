//! The settings as meant: valid by construction, every default filled in.
//!
//! Built only by `check/` from what `file.rs` read (or by `cli/` from flags, through the same checks in `value.rs`). The
//! rest of the house sees this type and never TOML. `effective.rs` writes it back as settings.

pub mod check;
pub mod effective;
mod file;
pub mod limits;
pub mod load;
pub mod mistake;
pub mod presets;
pub mod units;
pub mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use cache_store::rules::Policy;
pub use cache_store::store::MemoryAdmission;
pub use cache_store::tiers::admit::DiskAdmission;
use http::Method;

pub use limits::Limits;

/// One node's settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name in `Cache-Status`, `Via` and `CDN-Loop`; an RFC 9110 token.
    pub node: Arc<str>,
    /// Where clients connect; at least one.
    pub listeners: Vec<Listener>,
    /// The second listener.
    pub admin: Admin,
    /// The store.
    pub cache: Cache,
    /// Pools by name.
    pub pools: BTreeMap<Arc<str>, Pool>,
    /// Sites in the order written; hosts are unique over all.
    pub sites: Vec<Site>,
    /// Purging.
    pub purge: Purge,
    /// Nodes before and behind this one.
    pub tier: Tier,
    /// Access log.
    pub log: Log,
    /// Bounds.
    pub limits: Limits,
    /// Worker threads; default: one a core.
    pub workers: usize,
}

/// A socket clients connect to.
#[derive(Clone, Debug)]
pub struct Listener {
    /// Address and port; port 0 takes a free one.
    pub address: SocketAddr,
    /// Certificates; empty: plain.
    pub tls: Vec<Certificate>,
    /// Protocols offered.
    pub protocols: Vec<ListenerProtocol>,
    /// Peers whose `X-Forwarded-For` or `Forwarded` names the client.
    pub trusted_proxies: Vec<Network>,
}

/// What a listener can speak.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenerProtocol {
    /// HTTP/1.1 (and 1.0).
    Http11,
    /// HTTP/2, by ALPN over TLS.
    H2,
}

/// A certificate chain and its key, PEM files.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Chain, leaf first.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// The admin listener.
#[derive(Clone, Debug)]
pub struct Admin {
    /// Where it listens; none: no admin listener.
    pub address: Option<AdminAddress>,
    /// The token file; without it only loopback may call.
    pub tokens: Option<PathBuf>,
}

/// Where the admin listener is.
#[derive(Clone, Debug)]
pub enum AdminAddress {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl std::fmt::Display for AdminAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Default for Admin {
    fn default() -> Self {
        Self { address: Some(AdminAddress::Tcp(limits::ADMIN_ADDRESS)), tokens: None }
    }
}

/// The store's size.
#[derive(Clone, Debug)]
pub struct Cache {
    /// Memory budget, bytes; heads and overhead count.
    pub memory_bytes: u64,
    /// What memory takes in. Default: what is worth more, for its size and use, than what would have to go for it.
    pub memory_admission: MemoryAdmission,
    /// Responses above this many bytes are passed through, not stored; so is, whatever this says, what has no place: with a
    /// disk what is longer than 10 GiB or half of what the disk has for large bodies, without one what would take more than a
    /// quarter of the memory (64 MiB with the default 256 MiB).
    pub object_bytes_max: u64,
    /// The disk beneath the memory, if there is one.
    pub disk: Option<DiskCache>,
}

/// Where the cache outlives the process.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DiskCache {
    /// A directory of its own; made where it is missing.
    pub path: PathBuf,
    /// What may lie in it, bytes.
    pub bytes: u64,
    /// What is written to it. Default: everything while there is room, then what is asked for a second time.
    pub admission: DiskAdmission,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            memory_bytes: limits::CACHE_MEMORY_BYTES,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: limits::OBJECT_BYTES_MAX,
            disk: None,
        }
    }
}

/// A group of origins that can answer for the same sites.
#[derive(Clone, Debug)]
pub struct Pool {
    /// Its name in log, metrics and `explain`.
    pub name: Arc<str>,
    /// Its origins; at least one.
    pub origins: Vec<Origin>,
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

/// Which hosts are served how.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name in metrics: the first host pattern.
    pub name: Arc<str>,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// What holds where no route says otherwise.
    pub defaults: Arc<RoutePolicy>,
    /// In the order written; the first that matches decides.
    pub routes: Vec<Route>,
}

/// A host as written in `hosts`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HostPattern {
    /// `www.example.com`, lower case, without port.
    Exact(Box<str>),
    /// `*.example.org`: the part after `*.`; any number of labels before it.
    Wildcard(Box<str>),
    /// `*`: whatever no other site takes.
    Any,
}

/// A part of a site.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty: all.
    pub methods: Vec<Method>,
    /// What holds for them.
    pub policy: Arc<RoutePolicy>,
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(host) => write!(f, "*.{host}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A path as written in a route: `*` matches any run of characters, also `/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathPattern {
    /// No `*` in it.
    Exact(Box<str>),
    /// One `*` at its end.
    Prefix(Box<str>),
    /// Anything else, split at its stars.
    Glob(Vec<Box<str>>),
}

/// Everything that a site or route decides.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// The preset it started from.
    pub preset: Preset,
    /// May the cache be used at all.
    pub cache: bool,
    /// The caching rules' settings.
    pub rules: Policy,
    /// The pools to ask.
    pub steer: Steer,
    /// What happens to the query before it is routed, keyed and forwarded.
    pub query: Query,
    /// Which request fields reach the origin.
    pub forward: Forward,
    /// Which request cookies reach the origin.
    pub cookies: Cookies,
    /// Also send `X-Cache`, in nginx's words.
    pub x_cache: bool,
}

/// Named starting points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// Safe for anything.
    Default,
    /// A static site.
    Static,
    /// A news site.
    News,
    /// RFC 9111 to the letter.
    Rfc,
}

impl Preset {
    /// As written in settings; `none` for the default.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "none",
            Self::Static => "static",
            Self::News => "news",
            Self::Rfc => "rfc",
        }
    }
}

/// Which pool is asked.
#[derive(Clone, Debug)]
pub enum Steer {
    /// Always this one.
    Pool(Arc<str>),
    /// One of these by weight, each request anew.
    Weight(Vec<(Arc<str>, u32)>),
}

/// Query handling; the same for route, key and forward.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Sort parameters by name, keeping the order of equal names.
    pub sort: bool,
    /// Parameters removed, by exact name or, ending in `*`, by prefix.
    pub remove: Vec<Box<str>>,
}

/// Which request fields reach the origin on cacheable routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forward {
    /// All but hop-by-hop ones and those that could change an answer without being in the key.
    Safe,
    /// These only (lower case), and what the node itself sets.
    Only(Vec<Box<str>>),
}

/// Request cookies on cacheable routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cookies {
    /// Forwarded as they are; an origin that answers by cookie must say so in `Vary` or `Cache-Control`.
    Forward,
    /// Removed, unless one of these names (exact, or by prefix ending in `*`) is among them: then the request passes.
    PassOn(Vec<Box<str>>),
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::Glob(parts) => f.write_str(&parts.join("*")),
        }
    }
}

/// Purging: who may by method, and how purges come to other nodes.
#[derive(Clone, Debug)]
pub struct Purge {
    /// Who may use the PURGE method.
    pub method_from: Vec<Network>,
    /// Fetches a second that soft purges may cause; what is asked for most goes first.
    pub refresh_per_second: u32,
    /// The fleet's stream, if there is a broker.
    pub bus: Option<NatsBus>,
    /// What becomes of what is stored while it is not certain that every purge has been heard of.
    pub unsynced: Unsynced,
    /// How long a stream or a parent's log may be out of reach before that is so.
    pub unsynced_after: Duration,
}

/// A stream of a NATS broker.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NatsBus {
    /// Addresses, separated by commas.
    pub servers: String,
    /// The stream's name, the same on every node of the fleet.
    pub stream: String,
    /// On how many brokers it is kept, where it has to be made.
    pub replicas: usize,
    /// A file of credentials.
    pub credentials: Option<PathBuf>,
}

/// What becomes of what is stored while it is not certain that every purge has been heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Unsynced {
    /// It counts as softly purged: confirmed by the origin before it is used as fresh.
    #[default]
    Revalidate,
    /// It is not used, and the node is not ready.
    Deny,
    /// It is used as if nothing had happened.
    Serve,
}

impl Default for Purge {
    fn default() -> Self {
        Self {
            method_from: Vec::new(),
            refresh_per_second: limits::REFRESH_PER_SECOND,
            bus: None,
            unsynced: Unsynced::default(),
            unsynced_after: limits::UNSYNCED_AFTER,
        }
    }
}

/// The regional tier: nodes that this one asks before it asks origins, and nodes that ask this one.
#[derive(Clone, Debug, Default)]
pub struct Tier {
    /// Asked for what is missing here, before the origins.
    pub parents: Vec<Parent>,
    /// What this node proves itself with to its parents, and its children to it.
    pub key: Option<TierKey>,
    /// Networks whose nodes are children without a proof.
    pub children_from: Vec<Network>,
    /// Extra root certificates (PEM file) trusted for parents.
    pub ca: Option<PathBuf>,
    /// Nobody follows the parents' logs: for tests, which say by hand what is known of them.
    pub by_hand: bool,
}

impl Tier {
    /// Whether other nodes may ask this one as children.
    pub fn takes_children(&self) -> bool {
        !self.children_from.is_empty() || matches!(self.key, Some(TierKey::Written(_) | TierKey::File(_)))
    }
}

/// A node that is asked before the origins.
#[derive(Clone, Debug)]
pub struct Parent {
    /// Where it is.
    pub origin: Origin,
    /// What this node proves itself with there, if not with the tier's key.
    pub key: Option<TierKey>,
}

/// A secret that nodes share.
#[derive(Clone, PartialEq, Eq)]
pub enum TierKey {
    /// There is none: the parents know this node by its address.
    None,
    /// As written.
    Written(Box<str>),
    /// What stands in a file.
    File(PathBuf),
}

impl std::fmt::Debug for TierKey {
    /// Tells everything but the secret.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Written(_) => f.write_str("Written(…)"),
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
        }
    }
}

/// The access log.
#[derive(Clone, Debug)]
pub struct Log {
    /// Where it goes.
    pub target: LogTarget,
    /// How a line looks.
    pub format: LogFormat,
    /// Zero the last octet (IPv4) or the last 80 bits (IPv6) of client addresses.
    pub mask_client: bool,
}

impl Default for Log {
    fn default() -> Self {
        Self { target: LogTarget::Stdout, format: LogFormat::Json, mask_client: false }
    }
}

/// Where the access log goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogTarget {
    /// Nowhere.
    Off,
    /// Standard output.
    Stdout,
    /// Appended to this file.
    File(PathBuf),
}

/// Shape of an access log line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// The combined format, with the cache outcome behind it.
    Combined,
}

/// An address range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Network {
    address: std::net::IpAddr,
    prefix: u8,
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

impl Network {
    /// The range of the addresses that share the first `prefix` bits with `address`; `None` if `prefix` is too long.
    pub fn new(address: std::net::IpAddr, prefix: u8) -> Option<Self> {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        (prefix <= bits).then_some(Self { address, prefix })
    }

    /// Whether `address` lies in it; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: std::net::IpAddr) -> bool {
        use std::net::IpAddr::{V4, V6};
        match (self.address.to_canonical(), address.to_canonical()) {
            (V4(ours), V4(theirs)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                ours.to_bits().checked_shr(shift).unwrap_or(0)
                    == theirs.to_bits().checked_shr(shift).unwrap_or(0)
            }
            (V6(ours), V6(theirs)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                ours.to_bits().checked_shr(shift).unwrap_or(0)
                    == theirs.to_bits().checked_shr(shift).unwrap_or(0)
            }
            _ => false,
        }
    }
}
