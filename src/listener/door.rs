//! One listener as one worker sees it: takes a connection from its first byte to its protocol.
//!
//! Plain connections speak HTTP/1.1. Over TLS the handshake has one deadline for both halves; its costly half waits
//! for one of the process's permits, so that a flood of hellos cannot hold more than `handshakes_max` of them in
//! memory at once. Then ALPN decides: `h2`, or HTTP/1.1 for `http/1.1` and for clients that offer nothing.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use rustls::server::Acceptor;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::accept::Slot;
use super::deadline::Deadlines;
use super::guard::Guard;
use super::h1::{self, ConnectionContext, DateLine, Lending, Plain};
use super::h2;
use super::request::{Client, Protocol, Scheme, Tls};
use super::service::Service;
use super::sever::Severed;
use super::stats::{ListenerStats, count};
use super::tls::{ALPN_H2, Certificates, TlsError};
use crate::clock::Clock;
use crate::config::{Limits, Listener};
use crate::shutdown::Drain;

/// A listener and what its connections share on this worker.
pub(super) struct Door<S> {
    pub(super) service: Rc<Guard<S>>,
    pub(super) clock: Clock,
    pub(super) limits: Arc<Limits>,
    pub(super) deadlines: Deadlines,
    pub(super) drain: Drain,
    pub(super) stats: Arc<ListenerStats>,
    pub(super) tls: Option<TlsDoor>,
    pub(super) h2: h2::Worker,
    pub(super) date: Rc<DateLine>,
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
    pub(super) async fn serve(self: Rc<Self>, io: TcpStream, peer: SocketAddr, slot: Slot) {
        let _slot = slot;
        // Answers leave in one write each; waiting for more would only delay them. A socket that is already gone says
        // so at the first read.
        let _ = io.set_nodelay(true);
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
            client: Arc::new(Client { address: SocketAddr::new(peer.ip().to_canonical(), peer.port()), tls }),
            scheme,
            drain: self.drain.clone(),
            date: Rc::clone(&self.date),
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
