//! One listener as one worker sees it: takes a connection from its first byte to its protocol.
//!
//! On a listener with `proxy_protocol` a balancer says first whom it speaks for (`proxy_protocol.rs`).
//!
//! Plain connections speak HTTP/1.1. Over TLS the handshake has one deadline for both halves; its costly half waits
//! for one of the process's permits, so that a flood of hellos cannot hold more than `handshakes_max` of them in
//! memory at once. Then ALPN decides: `h2`, or HTTP/1.1 for `http/1.1` and for clients that offer nothing.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::Slot;
use super::deadline::Deadlines;
use super::guard::Guard;
use super::h1::{self, Buffers, ConnectionContext, DateLine, Lending, Plain};
use super::h2;
use super::proxy_protocol::{self, ProxyError};
use super::request::{Client, Protocol, Scheme, Tls};
use super::service::Service;
use super::sever::Severed;
use super::stats::{ListenerStats, count};
use super::tls::{ALPN_H2, Certificates, TlsError};
use crate::clock::Clock;
use crate::config::limits::{TURN_AWAY_TIMEOUT, TURNED_AWAY_BYTES_MAX};
use crate::config::{Limits, Listener, Network};
use crate::shutdown::Drain;

/// A listener and what its connections share on this worker.
pub(super) struct Door<S> {
    pub(super) service: Rc<Guard<S>>,
    pub(super) clock: Clock,
    pub(super) limits: Arc<Limits>,
    pub(super) deadlines: Deadlines,
    pub(super) drain: Drain,
    pub(super) stats: Arc<ListenerStats>,
    /// Whose connections begin with the PROXY protocol, where it is spoken.
    pub(super) proxy_protocol: Option<Arc<[Network]>>,
    pub(super) tls: Option<TlsDoor>,
    pub(super) h2: h2::Worker,
    pub(super) date: Rc<DateLine>,
    pub(super) buffers: Rc<Buffers>,
    pub(super) lending: Rc<Lending>,
}

/// What a listener with TLS has beside.
#[derive(Clone)]
pub(super) struct TlsDoor {
    pub(super) config: Arc<rustls::ServerConfig>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) handshakes: Arc<Semaphore>,
}

impl TlsDoor {
    /// Reads the listener's certificates.
    pub(super) fn open(listener: &Listener, handshakes: &Arc<Semaphore>) -> Result<Self, TlsError> {
        let certificates = Arc::new(Certificates::load(&listener.tls)?);
        let config = certificates.server_config(&listener.protocols)?;
        Ok(Self { config, certificates, handshakes: Arc::clone(handshakes) })
    }
}

impl<S: Service + 'static> Door<S> {
    /// Serves one connection to its end. Dropping the future cuts it.
    pub(super) async fn serve(self: Rc<Self>, mut io: TcpStream, peer: SocketAddr, slot: Slot) {
        let _slot = slot;
        // Answers leave in one write each; waiting for more would only delay them. A socket that is already gone says
        // so at the first read.
        let _ = io.set_nodelay(true);
        let peer = match &self.proxy_protocol {
            None => peer,
            Some(trust) => match self.spoken_for(&mut io, peer, trust).await {
                Ok(client) => client,
                Err(error) => return self.turn_away(io, peer, error).await,
            },
        };
        match &self.tls {
            None => {
                let _open = self.stats.opened(Protocol::Http11);
                let mut io = Severed::new(Plain::new(io, Rc::clone(&self.lending)), Plain::tcp);
                let context = self.context(peer, Scheme::Http, None);
                let end = h1::serve_connection(io.io(), &*self.service, context).await;
                io.ended(&end);
            }
            Some(tls) => {
                let Some(io) = self.handshake(tls, io).await else {
                    return count(&self.stats.handshake_failures);
                };
                let (_, session) = io.get_ref();
                let http2 = session.alpn_protocol() == Some(ALPN_H2);
                let _open = self.stats.opened(if http2 { Protocol::Http2 } else { Protocol::Http11 });
                let context = self.context(peer, Scheme::Https, Some(described(session)));
                if http2 {
                    let ended =
                        self.h2.serve_connection(io, Rc::clone(&self.service), context, &self.stats).await;
                    if ended.is_overspent() {
                        count(&self.stats.overspent);
                    }
                } else {
                    let mut io = Severed::new(io, |io| io.get_ref().0);
                    let end = h1::serve_connection(io.io(), &*self.service, context).await;
                    io.ended(&end);
                }
            }
        }
    }

    /// Whom a peer speaks for, by its PROXY protocol header; itself, where it says so.
    async fn spoken_for(
        &self,
        io: &mut TcpStream,
        peer: SocketAddr,
        trust: &[Network],
    ) -> Result<SocketAddr, ProxyError> {
        if !trust.iter().any(|network| network.contains(peer.ip())) {
            return Err(ProxyError::Untrusted);
        }
        let header = self.clock.timeout(self.limits.head_timeout, proxy_protocol::read(io)).await;
        Ok(header.map_err(|_| ProxyError::Late)??.unwrap_or(peer))
    }

    /// Says why a connection is not served, where the other end could read it.
    async fn turn_away(&self, mut io: TcpStream, peer: SocketAddr, error: ProxyError) {
        count(&self.stats.unproxied);
        tracing::debug!(address = %self.stats.address, %peer, %error, "connection refused");
        if self.tls.is_some() || matches!(error, ProxyError::Gone | ProxyError::Late) {
            return;
        }
        let status = if error == ProxyError::Untrusted { "403 Forbidden" } else { "400 Bad Request" };
        let page = format!("{status}: {error}\n");
        let length = page.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {length}\r\nCache-Control: no-store\r\nConnection: close\r\n\r\n{page}"
        );
        let goodbye = async {
            io.write_all(answer.as_bytes()).await?;
            io.shutdown().await?;
            // What it sends meanwhile is read, or the system would reset the connection and the answer with it.
            tokio::io::copy(&mut io.take(TURNED_AWAY_BYTES_MAX), &mut tokio::io::sink()).await
        };
        // Whatever comes of it, the connection ends.
        drop(self.clock.timeout(TURN_AWAY_TIMEOUT, goodbye).await);
    }

    async fn handshake(&self, tls: &TlsDoor, io: TcpStream) -> Option<TlsStream<TcpStream>> {
        let handshake = async {
            let hello = LazyConfigAcceptor::new(Acceptor::default(), io).await.ok()?;
            // Taken after the hello: a client that sends none holds a connection, not a permit.
            let _permit = tls.handshakes.acquire().await.ok()?;
            hello.into_stream(Arc::clone(&tls.config)).await.ok()
        };
        self.clock.timeout(self.limits.handshake_timeout, handshake).await.ok().flatten()
    }

    fn context(&self, peer: SocketAddr, scheme: Scheme, tls: Option<Tls>) -> ConnectionContext {
        ConnectionContext {
            clock: self.clock.clone(),
            limits: Arc::clone(&self.limits),
            deadline: self.deadlines.register(),
            client: Arc::new(Client::new(SocketAddr::new(peer.ip().to_canonical(), peer.port()), tls)),
            scheme,
            drain: self.drain.clone(),
            date: Rc::clone(&self.date),
            buffers: Rc::clone(&self.buffers),
        }
    }
}

fn described(session: &rustls::ServerConnection) -> Tls {
    Tls {
        version: match session.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_2) => "TLSv1.2",
            _ => "TLSv1.3",
        },
        server_name: session.server_name().map(Into::into),
    }
}
