//! The settings as meant: valid by construction, every default filled in.
//!
//! Built only by `check/` from what `file.rs` read (or by `cli/` from flags, through the same checks in `value.rs`). The
//! rest of the house sees this type and never TOML. `effective.rs` writes it back as settings.

pub mod access;
mod answer;
pub mod check;
mod condition;
pub mod countries;
mod crawlers;
pub mod effective;
pub mod encode;
mod file;
mod geo;
mod headers;
pub mod inspect;
pub mod limits;
pub mod load;
pub mod log;
pub mod mirror;
pub mod mistake;
pub mod plan;
mod pool;
pub mod presets;
mod purge;
#[cfg(test)]
mod reference;
mod rewrite;
mod site;
pub mod steer;
pub mod template;
mod tier;
pub mod trace;
mod transport;
pub mod units;
pub mod value;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use cache_store::store::MemoryAdmission;
pub use cache_store::tiers::admit::DiskAdmission;

pub use answer::{Answer, ErrorPages, ErrorStatus, Fixed, Maintenance, Page, Redirect};
pub use condition::{Conditions, Glob, Wanted};
pub use crawlers::Crawlers;
pub use encode::Encode;
pub use geo::{Geo, GeoLayout, GeoPaths};
pub use headers::HeaderRules;
pub use inspect::ModSecurity;
pub use limits::Limits;
pub use log::{Log, LogFormat, LogTarget};
pub use mirror::{Mirror, MirrorOf};
pub use pool::{Balance, Concurrency, Health, HealthKind, HedgeAfter, Origin, Pool, Statuses};
pub use purge::{NatsBus, Purge, Unsynced};
pub use rewrite::Rewrite;
pub use site::{
    Cookies, Forward, HostPattern, KeyParts, PathPattern, PathRegex, Preset, Query, Route, RoutePolicy, Site,
};
pub use steer::{By, PlaceRule, Shares, Steer, Steering, Sticky, ValueRule};
pub use tier::{Parent, Tier, TierKey};
pub use trace::Trace;
pub use transport::{OriginProtocol, ProxyProtocol, Transport};

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
    /// Where addresses are, if a database says so.
    pub geo: Option<Geo>,
    /// Crawlers, if they have a lane of their own.
    pub crawlers: Option<Crawlers>,
    /// `ModSecurity`, if routes may name it.
    pub modsecurity: Option<Arc<ModSecurity>>,
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
    /// Peers that begin each connection with the PROXY protocol (version 1 or 2) and so name the client; nobody else is served.
    /// None: it is not spoken.
    pub proxy_protocol: Option<Vec<Network>>,
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
#[derive(Clone, PartialEq, Eq, Debug)]
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

    /// The address that it was made with, and how many of its bits count.
    pub const fn parts(self) -> (std::net::IpAddr, u8) {
        (self.address, self.prefix)
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
