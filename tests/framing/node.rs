//! A whole node with a plain and an encrypted listener, in front of a recording origin.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use cache_store::timestamp::Timestamp;
use rustls::pki_types::CertificateDer;
use tidegate::clock::Clock;
use tidegate::config::{Config, HostPattern, Preset};
use tidegate::listener::request::Protocol;
use tidegate::{Edge, Running};
use tokio::net::TcpStream;

use crate::client::{Io, Tls, within};
use crate::recorder::{Recorder, Script, Verdict};

#[allow(clippy::duration_suboptimal_units)] // not ours to change here
#[path = "../scenarios/stage/settings.rs"]
mod settings;

/// Node, origin and clock.
pub(crate) struct Node {
    pub(crate) clock: Clock,
    pub(crate) recorder: Recorder,
    running: Running,
    certificate: CertificateDer<'static>,
    directory: PathBuf,
}

impl Node {
    /// One worker, one site for every host.
    pub(crate) async fn start(script: Script) -> Self {
        Self::with(script, |_| {}).await
    }

    /// The same with changed settings.
    pub(crate) async fn with(script: Script, change: impl FnOnce(&mut Config)) -> Self {
        let recorder = Recorder::open(script).await;
        let signed =
            rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).expect("keys can be made");
        let number = DIRECTORIES.fetch_add(1, Ordering::Relaxed);
        let directory =
            std::env::temp_dir().join(format!("tidegate-framing-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).expect("the temporary directory can be written");
        let (cert, key) = (directory.join("cert.pem"), directory.join("key.pem"));
        fs::write(&cert, signed.cert.pem()).expect("the file can be written");
        fs::write(&key, signed.signing_key.serialize_pem()).expect("the file can be written");
        let mut config = settings::config(&[recorder.address], settings::policy(Preset::Default));
        config.listeners.push(settings::encrypted(cert, key));
        config.sites[0].hosts = vec![HostPattern::Any];
        config.admin.address = None;
        config.purge.method_from.clear();
        config.workers = 1;
        change(&mut config);
        let clock = Clock::manual(Timestamp::from_secs(1_793_611_200));
        let node_clock = clock.clone();
        // Starting waits for the workers' threads, which a test's own runtime must not.
        let started = tokio::task::spawn_blocking(move || Edge::start(config, node_clock)).await;
        let running = started.expect("starting does not panic").expect("the settings are good");
        Self { clock, recorder, running, certificate: signed.cert.der().clone(), directory }
    }

    /// A client over TCP.
    pub(crate) async fn plain(&self) -> Box<dyn Io> {
        Box::new(TcpStream::connect(self.addresses()[0]).await.expect("the node listens"))
    }

    /// A client over TLS that speaks this protocol.
    pub(crate) fn tls(&self, protocol: &[u8]) -> Tls {
        Tls::new(&self.certificate, protocol)
    }

    /// The plain address and the encrypted one.
    pub(crate) fn addresses(&self) -> [std::net::SocketAddr; 2] {
        self.running.addresses().try_into().expect("two listeners")
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        let edge = self.edge();
        let stats = edge.listeners.get().expect("they are bound");
        stats.iter().map(|stats| stats.open(Protocol::Http11) + stats.open(Protocol::Http2)).sum()
    }

    pub(crate) fn edge(&self) -> Arc<Edge> {
        self.running.edge()
    }

    /// Ends the node, and judges all that it ever sent to its origin.
    pub(crate) async fn end(self) -> Result<Verdict, String> {
        let Self { running, recorder, directory, .. } = self;
        running.ending().force();
        within("the node ends", running.ended()).await;
        recorder.settled().await;
        // Left behind it does no harm.
        let _ = fs::remove_dir_all(directory);
        recorder.judge()
    }
}

static DIRECTORIES: AtomicUsize = AtomicUsize::new(0);
