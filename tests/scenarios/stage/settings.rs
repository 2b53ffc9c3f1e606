//! The settings of a node on a stage: every port is 0, every timeout as in production, one site.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tidegate::config::{
    Admin, AdminAddress, Cache, Config, HostPattern, Limits, Listener, ListenerProtocol, Log, LogTarget,
    Network, Origin, Pool, Preset, Purge, RoutePolicy, Site, Steer, Tier,
};

/// The site's host.
pub(crate) const HOST: &str = "www.example.test";
/// The node's name.
pub(crate) const NODE: &str = "stage";

/// One site on one pool, `main`, of these origins.
pub(crate) fn config(origins: &[SocketAddr], policy: RoutePolicy) -> Config {
    let pool = pool("main", origins);
    let local = Network::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8).expect("eight bits of thirty-two");
    Config {
        node: NODE.into(),
        listeners: vec![plain()],
        admin: Admin { address: Some(AdminAddress::Tcp(any_port())), tokens: None },
        cache: Cache { memory_bytes: 64 << 20, object_bytes_max: 16 << 20, ..Cache::default() },
        geo: None,
        crawlers: None,
        modsecurity: None,
        pools: BTreeMap::from([(Arc::clone(&pool.name), pool)]),
        sites: vec![Site {
            name: HOST.into(),
            hosts: vec![HostPattern::Exact(HOST.into())],
            shared_host: None,
            defaults: Arc::new(policy),
            redirects: Vec::new(),
            routes: Vec::new(),
        }],
        purge: Purge { method_from: vec![local], ..Purge::default() },
        tier: Tier::default(),
        log: Log { target: LogTarget::Off, ..Log::default() },
        limits: Limits::default(),
        workers: 2,
    }
}

/// A pool that never ejects, so that only tests about ejection see it.
pub(crate) fn pool(name: &str, origins: &[SocketAddr]) -> Pool {
    Pool {
        connections_max: 2048,
        queue_timeout: Duration::from_secs(5),
        queue_max: 2048,
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(30),
        between_bytes_timeout: Duration::from_secs(30),
        idle_timeout: Duration::from_mins(1),
        eject_after: u32::MAX,
        eject_for: Duration::from_secs(10),
        eject_failure_percent: 0,
        ..Pool::of(&name.into(), origins.iter().map(origin).collect())
    }
}

/// What a preset decides, on the pool `main`.
pub(crate) fn policy(preset: Preset) -> RoutePolicy {
    preset.policy(Steer::Pool("main".into()))
}

/// A listener with this certificate, for both protocols.
pub(crate) fn encrypted(cert: PathBuf, key: PathBuf) -> Listener {
    Listener {
        tls: vec![tidegate::config::Certificate { cert, key }],
        protocols: vec![ListenerProtocol::H2, ListenerProtocol::Http11],
        ..plain()
    }
}

fn plain() -> Listener {
    Listener {
        address: any_port(),
        tls: Vec::new(),
        protocols: vec![ListenerProtocol::Http11],
        trusted_proxies: Vec::new(),
        proxy_protocol: None,
    }
}

pub(crate) fn origin(address: &SocketAddr) -> Origin {
    Origin {
        name: format!("http://{address}").into(),
        tls: false,
        host: address.ip().to_string().into(),
        port: address.port(),
        weight: 1,
        backup: false,
    }
}

fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}
