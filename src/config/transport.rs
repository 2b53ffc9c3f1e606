//! How a pool's connections are made, and what they carry beside requests and answers.

use std::time::Duration;

use super::{Certificate, limits};

/// Settings of `[pool.NAME]` about its connections.
#[derive(Clone, PartialEq, Debug)]
pub struct Transport {
    /// What origins are asked in: `"h2"` is HTTP/2, over TLS where the origin chooses it in the handshake (else HTTP/1.1), without
    /// TLS at once. What asks for another protocol (WebSocket) goes over HTTP/1.1. Default `"http/1.1"`.
    pub protocol: OriginProtocol,
    /// Requests at once on each connection of HTTP/2; the origin may say less. Another connection is opened where all are full.
    pub streams_max: usize,
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

/// What origins are asked in.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OriginProtocol {
    /// HTTP/1.1.
    #[default]
    Http11,
    /// HTTP/2: over TLS where the origin chooses it (else HTTP/1.1), and without TLS by prior knowledge.
    H2,
}

impl OriginProtocol {
    /// As written in settings.
    pub const WORDS: [(&'static str, Self); 2] = [("http/1.1", Self::Http11), ("h2", Self::H2)];
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
            protocol: OriginProtocol::Http11,
            streams_max: limits::POOL_STREAMS_MAX,
            tunnels_max: limits::POOL_TUNNELS_MAX,
            tunnel_timeout: limits::POOL_TUNNEL_TIMEOUT,
            client_cert: None,
            proxy_protocol: None,
        }
    }
}
