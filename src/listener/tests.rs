//! The listeners over real sockets on port 0: ports, TLS by name, reload, bounds and drain.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::StatusCode;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::request::Request;
use super::service::{Finished, Served};
use super::*;
use crate::config::{Admin, Cache, Certificate, Limits, Listener, ListenerProtocol, Log, LogTarget, Purge};
use crate::respond::response::{Body, Lines, Outcome, Response};
use crate::shutdown::Phase;

/// Says which worker answers; `/wait` never does.
struct Says(usize);

impl Service for Says {
    fn serve(&self, request: &mut Request) -> Served {
        if request.target() == b"/wait" {
            return Served::later(std::future::pending());
        }
        Served::Now(Response {
            status: StatusCode::OK,
            extra: Vec::new(),
            lines: Lines::Own(Bytes::new()),
            body: Body::Bytes(Bytes::from(format!("worker {}", self.0))),
            outcome: Outcome::default(),
            close: false,
        })
    }

    fn finished(&self, _: &Request, _: &Finished<'_>) {}
}

struct Node {
    running: Running,
    clock: Clock,
}

impl Node {
    fn start(workers: usize, limits: Limits, listeners: Vec<Listener>) -> Result<Self, StartError> {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let config = Arc::new(Config {
            node: "test".into(),
            listeners,
            admin: Admin { address: None, tokens: None },
            cache: Cache { memory_bytes: 0, object_bytes_max: 0, ..Cache::default() },
            geo: None,
            crawlers: None,
            modsecurity: None,
            pools: std::collections::BTreeMap::new(),
            sites: Vec::new(),
            purge: Purge::default(),
            tier: crate::config::Tier::default(),
            log: Log { target: LogTarget::Off, ..Log::default() },
            limits,
            workers,
        });
        let shutdown = Shutdown::new();
        let (gate, shared) = (Gate::shut(), Handle::current());
        let workers =
            Workers { config: &config, clock: &clock, shutdown: &shutdown, shared: &shared, gate: &gate };
        let bound = workers.bind(Purpose::Clients, &Inherited::default())?;
        let sockets: Vec<_> = bound.sockets().iter().map(Arc::clone).collect();
        let running = workers.start(bound, |worker| Says(worker.index))?;
        for open in &sockets {
            open.listen().expect("the address is ours");
        }
        gate.open();
        Ok(Self { running, clock })
    }

    fn plain(workers: usize, limits: Limits) -> Self {
        Self::start(workers, limits, vec![listener(Vec::new())]).expect("the node starts")
    }

    fn tls(certificates: Vec<Certificate>) -> Self {
        Self::start(1, Limits::default(), vec![listener(certificates)]).expect("the node starts")
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.running.addresses()[0]).await.expect("the node listens")
    }

    async fn connect_tls(
        &self,
        server_name: &str,
        alpn: &[&[u8]],
    ) -> io::Result<(TlsStream<TcpStream>, Vec<u8>)> {
        let shown = Arc::new(Shown::default());
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider fits")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&shown) as Arc<dyn ServerCertVerifier>)
            .with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
        let name = ServerName::try_from(server_name.to_owned()).expect("a name");
        let stream = TlsConnector::from(Arc::new(config)).connect(name, self.connect().await).await?;
        let leaf = shown.0.lock().expect("not poisoned").clone();
        Ok((stream, leaf))
    }

    async fn end(self) {
        self.running.shutdown().force();
        self.running.shutdown().done().await;
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.running.shutdown().force();
    }
}

fn listener(tls: Vec<Certificate>) -> Listener {
    Listener {
        address: ([127, 0, 0, 1], 0).into(),
        tls,
        protocols: vec![ListenerProtocol::Http11, ListenerProtocol::H2],
        trusted_proxies: Vec::new(),
        proxy_protocol: None,
    }
}

/// Accepts and remembers whatever is shown.
#[derive(Debug, Default)]
struct Shown(Mutex<Vec<u8>>);

impl ServerCertVerifier for Shown {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.0.lock().expect("not poisoned") = leaf.to_vec();
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        rustls::crypto::aws_lc_rs::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// A directory of its own that goes with the test.
struct Files(PathBuf);

impl Files {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&path).expect("a temporary directory");
        Self(path)
    }

    /// Writes a new certificate for these names; gives its DER.
    fn issue(&self, file: &str, names: &[&str]) -> (Certificate, Vec<u8>) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let issued = rcgen::generate_simple_self_signed(names).expect("rcgen issues");
        let pair =
            Certificate { cert: self.0.join(format!("{file}.pem")), key: self.0.join(format!("{file}.key")) };
        write(&pair.key, &issued.signing_key.serialize_pem());
        write(&pair.cert, &issued.cert.pem());
        (pair, issued.cert.der().to_vec())
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("the directory is writable");
}

async fn ask<IO: AsyncRead + AsyncWrite + Unpin>(io: &mut IO, host: &str, path: &str) -> io::Result<String> {
    io.write_all(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    loop {
        let read = io.read(&mut piece).await?;
        answer.extend_from_slice(&piece[..read]);
        let text = String::from_utf8_lossy(&answer).into_owned();
        let whole = text.split_once("\r\n\r\n").is_some_and(|(head, body)| {
            let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "));
            length.is_some_and(|length| length.parse() == Ok(body.len()))
        });
        if read == 0 || whole {
            return Ok(text);
        }
    }
}

/// Reads until the connection ends, moving the clock meanwhile.
async fn ended(io: &mut TcpStream, clock: &Clock) {
    let mut rest = Vec::new();
    let read = io.read_to_end(&mut rest);
    tokio::pin!(read);
    loop {
        tokio::select! {
            biased;
            _ = &mut read => return,
            () = tokio::task::yield_now() => clock.advance(Duration::from_millis(100)),
        }
    }
}

#[tokio::test]
async fn every_worker_answers_on_the_one_port_that_zero_became() {
    let node = Node::plain(2, Limits::default());
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        let answer = ask(&mut node.connect().await, "a.example", "/").await.expect("answered");
        seen.extend(["worker 0", "worker 1"].into_iter().filter(|name| answer.ends_with(name)));
    }
    node.end().await;
}

#[tokio::test]
async fn a_drain_closes_idle_connections_and_stops_listening() {
    let node = Node::plain(1, Limits::default());
    let mut idle = node.connect().await;
    ask(&mut idle, "a.example", "/").await.expect("answered");
    assert_eq!(node.running.stats()[0].open(request::Protocol::Http11), 1);
    node.running.shutdown().begin();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("ended in order");
    node.running.shutdown().done().await;
    assert_eq!(node.running.shutdown().phase(), Phase::Draining, "nothing had to be cut");
    assert!(TcpStream::connect(node.running.addresses()[0]).await.is_err());
    assert_eq!(node.running.stats()[0].open(request::Protocol::Http11), 0);
}

#[tokio::test]
async fn a_request_that_outlasts_the_drain_timeout_is_cut() {
    let node = Node::plain(1, Limits::default());
    let mut busy = node.connect().await;
    busy.write_all(b"GET /wait HTTP/1.1\r\nHost: a.example\r\n\r\n").await.expect("sent");
    while node.running.stats()[0].open(request::Protocol::Http11) == 0 {
        tokio::task::yield_now().await;
    }
    node.running.shutdown().begin();
    ended(&mut busy, &node.clock).await;
    node.running.shutdown().done().await;
    assert_eq!(node.running.shutdown().phase(), Phase::Cut);
}

#[tokio::test]
async fn a_full_node_gives_the_place_of_an_idle_connection_to_a_new_one() {
    let node = Node::plain(1, Limits { connections_max: 1, ..Limits::default() });
    let mut idle = node.connect().await;
    ask(&mut idle, "a.example", "/").await.expect("answered");
    let answer = ask(&mut node.connect().await, "a.example", "/").await.expect("answered");
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.expect("ended in order");
    assert_eq!(node.running.stats()[0].displaced.load(Ordering::Relaxed), 1);
    node.end().await;
}

#[tokio::test]
async fn a_client_is_shown_the_certificate_for_the_name_it_asks_for() {
    let files = Files::new();
    let (first, first_der) = files.issue("first", &["first.example"]);
    let (wild, wild_der) = files.issue("wild", &["*.wild.example"]);
    let (exact, exact_der) = files.issue("exact", &["exact.wild.example", "wild.example"]);
    let node = Node::tls(vec![first, wild, exact]);
    for (name, wanted, claim) in [
        ("first.example", &first_der, "an exact name"),
        ("FIRST.example", &first_der, "an exact name in other case"),
        ("a.wild.example", &wild_der, "a wildcard"),
        ("exact.wild.example", &exact_der, "an exact name beats a wildcard"),
        ("wild.example", &exact_der, "a wildcard does not cover its parent"),
        ("a.b.wild.example", &first_der, "a wildcard covers one label, the default the rest"),
        ("unknown.example", &first_der, "the default is the first"),
        ("127.0.0.1", &first_der, "no server name at all"),
    ] {
        let (_, shown) = node.connect_tls(name, &[]).await.expect("the handshake succeeds");
        assert_eq!(&shown, wanted, "{claim}");
    }
    node.end().await;
}

#[tokio::test]
async fn alpn_decides_the_protocol_and_nothing_in_common_is_refused() {
    let files = Files::new();
    let (pair, _) = files.issue("a", &["a.example"]);
    let node = Node::tls(vec![pair]);
    for (offered, chosen) in [
        (&[b"h2".as_slice(), b"http/1.1"] as &[&[u8]], Some(b"h2".as_slice())),
        (&[b"http/1.1"], Some(b"http/1.1")),
        (&[], None),
    ] {
        let (stream, _) = node.connect_tls("a.example", offered).await.expect("the handshake succeeds");
        assert_eq!(stream.get_ref().1.alpn_protocol(), chosen);
        assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    }
    assert!(node.connect_tls("a.example", &[b"spdy/3"]).await.is_err());
    let (mut stream, _) = node.connect_tls("a.example", &[]).await.expect("the handshake succeeds");
    let answer = ask(&mut stream, "a.example", "/").await.expect("answered");
    assert!(answer.ends_with("worker 0"), "{answer}");
    node.end().await;
}

#[tokio::test]
async fn a_request_for_a_host_of_another_certificate_is_misdirected() {
    let files = Files::new();
    let (one, _) = files.issue("one", &["one.example", "also-one.example"]);
    let (two, _) = files.issue("two", &["*.two.example"]);
    let node = Node::tls(vec![one, two]);
    for (server_name, host, status, claim) in [
        ("one.example", "one.example", "200", "its own host"),
        ("one.example", "ONE.example:8443", "200", "its own host, in other case and with a port"),
        ("one.example", "also-one.example", "200", "another host of the same certificate"),
        ("one.example", "a.two.example", "421", "a host of another certificate"),
        ("a.two.example", "b.two.example", "200", "another host of the same wildcard"),
        ("a.two.example", "one.example", "421", "a host of the default certificate"),
        ("one.example", "nobody.example", "200", "a host of no certificate is for routing to decide"),
        ("127.0.0.1", "one.example", "200", "no server name, a host of the default certificate"),
    ] {
        let (mut stream, _) = node.connect_tls(server_name, &[]).await.expect("the handshake succeeds");
        let answer = ask(&mut stream, host, "/").await.expect("answered");
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{claim}: {answer}");
    }
    node.end().await;
}

#[tokio::test]
async fn a_handshake_that_does_not_come_is_cut() {
    let files = Files::new();
    let (pair, _) = files.issue("a", &["a.example"]);
    let node = Node::tls(vec![pair]);
    let mut silent = node.connect().await;
    ended(&mut silent, &node.clock).await;
    let stats = Arc::clone(&node.running.stats()[0]);
    // Counted once the socket is closed, so looked at when the worker has ended.
    node.running.shutdown().begin();
    node.running.shutdown().done().await;
    assert_eq!(stats.handshake_failures.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_reload_shows_the_new_certificate_and_a_failed_one_keeps_the_old() {
    let files = Files::new();
    let (pair, old) = files.issue("a", &["a.example"]);
    let certificates = Arc::new(Certificates::load(std::slice::from_ref(&pair)).expect("they load"));
    let listeners = vec![listener(vec![pair.clone()])];
    let node = Node::start(1, Limits::default(), listeners).expect("the node starts");
    write(&pair.cert, "no certificate");
    assert!(certificates.reload().is_err() && node.running.certificates()[0].reload().is_err());
    let (_, shown) = node.connect_tls("a.example", &[]).await.expect("the old one is still shown");
    assert_eq!(shown, old);
    let (_, new) = files.issue("a", &["a.example"]);
    // The node's own watch may have been first.
    node.running.certificates()[0].reload().expect("they load");
    let (_, shown) = node.connect_tls("a.example", &[]).await.expect("the handshake succeeds");
    assert_eq!(shown, new);
    node.end().await;
}

#[test]
fn files_that_were_written_again_as_they_were_are_no_change() {
    let files = Files::new();
    let (pair, _) = files.issue("a", &["a.example"]);
    let (other, _) = files.issue("b", &["b.example"]);
    let certificates = Certificates::load(&[pair.clone(), other.clone()]).expect("they load");
    let again = |path: &Path| write(path, &std::fs::read_to_string(path).expect("written"));
    again(&pair.cert);
    again(&other.key);
    write(&files.0.join("beside.txt"), "in the same directory");
    assert!(!certificates.reload().expect("they load"), "nothing else is shown");
    files.issue("b", &["b.example"]);
    assert!(certificates.reload().expect("they load"), "one of two is another");
    assert!(!certificates.reload().expect("they load"), "told once");
}

#[tokio::test]
async fn a_changed_file_is_noticed() {
    let files = Files::new();
    let (pair, old) = files.issue("a", &["a.example"]);
    let node = Node::tls(vec![pair]);
    let (_, shown) = node.connect_tls("a.example", &[]).await.expect("the handshake succeeds");
    assert_eq!(shown, old);
    let (_, new) = files.issue("a", &["a.example"]);
    loop {
        node.clock.advance(Duration::from_millis(100));
        let (_, shown) = node.connect_tls("a.example", &[]).await.expect("the handshake succeeds");
        if shown == new {
            break;
        }
    }
    node.end().await;
}

#[test]
fn what_is_wrong_with_a_certificate_is_said_with_its_file_and_what_to_do() {
    let files = Files::new();
    let (good, _) = files.issue("good", &["a.example"]);
    let (other, _) = files.issue("other", &["a.example"]);
    let at = |name: &str, text: &str| {
        let path = files.0.join(name);
        write(&path, text);
        path
    };
    let cert_text = std::fs::read_to_string(&good.cert).expect("written");
    for (cert, key, words, claim) in [
        (
            good.cert.clone(),
            other.key.clone(),
            ["other.key", "does not belong"],
            "a key of another certificate",
        ),
        (
            files.0.join("none.pem"),
            good.key.clone(),
            ["none.pem", "give a PEM file"],
            "no such certificate file",
        ),
        (
            good.cert.clone(),
            files.0.join("none.key"),
            ["none.key", "give an unencrypted PEM"],
            "no such key file",
        ),
        (at("empty.pem", ""), good.key.clone(), ["empty.pem", "no certificate in the file"], "an empty file"),
        (
            good.cert.clone(),
            at("cert.key", &cert_text),
            ["cert.key", "private key"],
            "a certificate for a key",
        ),
        (
            at("junk.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
            good.key.clone(),
            ["junk.pem", "put the site's own"],
            "bytes that are no certificate",
        ),
    ] {
        let error = Certificates::load(&[Certificate { cert, key }]).expect_err(claim).to_string();
        for word in words {
            assert!(error.contains(word), "{claim}: {error}");
        }
    }
    assert!(matches!(Certificates::load(&[]), Err(TlsError::None)));
}

#[tokio::test]
async fn an_address_in_use_by_someone_else_is_told() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let mut listener = listener(Vec::new());
    listener.address = taken.local_addr().expect("bound");
    let error = Node::start(1, Limits::default(), vec![listener]).map(|_| ()).expect_err("the port is taken");
    assert!(matches!(error, StartError::Listen { .. }), "{error}");
}
