//! An origin that the test drives by hand, byte by byte: for what is no exchange of requests and answers.

use std::net::{Ipv4Addr, SocketAddr};

use cache_store::timestamp::Timestamp;
use tidegate::clock::Clock;
use tokio::net::TcpListener;

use super::client::{Connection, within};
use super::journal::Journal;
use super::{Builder, STARTS_AT_SECS, Stage, settings};

/// A server that takes connections when it is told to.
pub(crate) struct Peer {
    listener: TcpListener,
    journal: Journal,
}

impl Peer {
    pub(crate) async fn open() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        Self { listener, journal: Journal::new(&Clock::manual(Timestamp::from_secs(STARTS_AT_SECS))) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("it is bound")
    }

    /// A stage whose only origin it is.
    pub(crate) async fn stage(&self, build: Builder) -> Stage {
        let address = self.address();
        let build = build.config(move |config, _| {
            let pool = config.pools.get_mut("main").expect("a stage has it");
            pool.origins = vec![settings::origin(&address)];
        });
        build.start().await
    }

    /// The next connection.
    pub(crate) async fn taken(&self) -> Connection {
        let (stream, _) = within(self.listener.accept()).await.expect("it listens");
        let _ = stream.set_nodelay(true);
        Connection::of(stream, &self.journal)
    }
}
