//! How a pool's connections are made, and what they carry beside requests and answers.

use std::time::Duration;

use super::{Certificate, limits};

/// Settings of `[pool.NAME]` about its connections.
#[derive(Clone, PartialEq, Debug)]
pub struct Transport {
    /// Connections to all of its origins together that may carry another protocol at once (WebSocket), beside those of
    /// `connections_max`; beyond it 503.
    pub tunnels_max: usize,
    /// Such a connection is ended when no byte has gone either way for this long.
    pub tunnel_timeout: Duration,
    /// What is shown to origins that ask for a certificate.
    pub client_cert: Option<Certificate>,
    /// What origins are told of the client in front of everything else; such a connection serves one client alone.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Versions of the PROXY protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// The binary form.
    V2,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            tunnels_max: limits::POOL_TUNNELS_MAX,
            tunnel_timeout: limits::POOL_TUNNEL_TIMEOUT,
            client_cert: None,
            proxy_protocol: None,
        }
    }
}
