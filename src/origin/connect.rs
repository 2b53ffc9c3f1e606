//! From an origin's name to a connected socket: addresses, TCP, TLS, under one deadline.
//!
//! Names are resolved anew when their TTL has passed; while that fails, the addresses known before serve on. All
//! addresses are tried, one after the other, each with its share of the time left; one that failed goes to the end of
//! the list. Literal addresses never meet the resolver, `/etc/hosts` is honoured. TLS is verified against the system's
//! roots and the pool's own, unless the pool says `verify = false`; by ALPN it speaks what the pool speaks and nothing else.
//!
//! Invariant: where we connect comes from the settings alone, never from a request.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use cache_store::timestamp::Timestamp;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use parking_lot::Mutex;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use super::error::OriginError;
use super::preface::preface;
use super::wire::Socket;
use crate::clock::Clock;
use crate::config::limits::{DNS_FAILURE_HOLD, DNS_TTL_MAX, DNS_TTL_MIN, ORIGIN_ADDRESSES_MAX};
use crate::config::{Certificate, ProxyProtocol};

/// Addresses of a name and how long they may be kept.
#[derive(Clone, Debug)]
pub(crate) struct Resolved {
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) ttl: Duration,
}

/// A resolution under way; `None` when the name has no address or nobody could tell.
pub(crate) type Resolving<'r> = Pin<Box<dyn Future<Output = Option<Resolved>> + Send + 'r>>;

/// Names to addresses: the system's resolver, or a test's.
pub(crate) trait Resolve: Send + Sync {
    /// Looks `name` up. Cancel by dropping.
    fn resolve<'r>(&'r self, name: &'r str) -> Resolving<'r>;
}

/// The resolver the system is configured for.
pub(crate) struct SystemResolver(Option<TokioResolver>);

impl SystemResolver {
    /// Reads `/etc/resolv.conf` and `/etc/hosts`; without the former only the latter answers.
    pub(crate) fn new() -> Self {
        let mut builder = TokioResolver::builder_tokio().unwrap_or_else(|_| {
            TokioResolver::builder_with_config(ResolverConfig::default(), TokioRuntimeProvider::default())
        });
        // Addresses are kept in `Names`, where the TTL, the bounds on it and stale use are in one place.
        builder.options_mut().cache_size = 0;
        builder.options_mut().use_hosts_file = ResolveHosts::Always;
        Self(builder.build().ok())
    }
}

impl Resolve for SystemResolver {
    fn resolve<'r>(&'r self, name: &'r str) -> Resolving<'r> {
        Box::pin(async move {
            let lookup = self.0.as_ref()?.lookup_ip(name).await.ok()?;
            let ttl = lookup.as_lookup().answers().iter().map(|record| record.ttl).min()?;
            let addresses: Vec<IpAddr> = lookup.iter().collect();
            (!addresses.is_empty()).then(|| Resolved { addresses, ttl: Duration::from_secs(u64::from(ttl)) })
        })
    }
}

/// The addresses of one origin.
pub(crate) struct Names {
    host: Arc<str>,
    resolver: Arc<dyn Resolve>,
    known: Mutex<Known>,
    /// Held by the one task that resolves.
    resolving: tokio::sync::Mutex<()>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    addresses: Vec<IpAddr>,
    until: Timestamp,
}

impl fmt::Debug for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Names").field("host", &self.host).field("known", &self.known).finish_non_exhaustive()
    }
}

impl Names {
    /// Nothing is looked up yet.
    pub(crate) fn new(host: &Arc<str>, resolver: Arc<dyn Resolve>) -> Self {
        let literal = host.trim_start_matches('[').trim_end_matches(']').parse().ok();
        let known = literal.map_or_else(Known::default, |address| Known {
            addresses: vec![address],
            until: Timestamp::from_millis(u64::MAX),
        });
        Self {
            host: Arc::clone(host),
            resolver,
            known: Mutex::new(known),
            resolving: tokio::sync::Mutex::new(()),
        }
    }

    /// The addresses to try, best first. A resolver that has not answered within `limit` counts as failed.
    ///
    /// # Errors
    /// [`OriginError::Dns`] when none was ever known.
    pub(crate) async fn addresses(&self, limit: Duration, clock: &Clock) -> Result<Vec<IpAddr>, OriginError> {
        if let Some(known) = self.current(clock.now()) {
            return known;
        }
        let _resolving = if let Ok(guard) = self.resolving.try_lock() {
            guard
        } else {
            // Another task resolves: what was known before does meanwhile.
            let before = self.known.lock().addresses.clone();
            if !before.is_empty() {
                return Ok(before);
            }
            clock.timeout(limit, self.resolving.lock()).await.map_err(|_| OriginError::Dns)?
        };
        if let Some(known) = self.current(clock.now()) {
            return known;
        }
        let resolved = clock.timeout(limit, self.resolver.resolve(&self.host)).await.ok().flatten();
        let mut known = self.known.lock();
        let now = clock.now();
        if let Some(mut resolved) = resolved {
            resolved.addresses.truncate(ORIGIN_ADDRESSES_MAX);
            known.until = now.plus(resolved.ttl.clamp(DNS_TTL_MIN, DNS_TTL_MAX));
            known.addresses = resolved.addresses;
        } else {
            // Nobody asks again before this, so that those who wait in line do not each wait for the resolver.
            known.until = now.plus(DNS_FAILURE_HOLD);
        }
        known.answer()
    }

    /// `address` did not take a connection: others go first from now on.
    pub(crate) fn failed(&self, address: IpAddr) {
        let mut known = self.known.lock();
        if let Some(at) = known.addresses.iter().position(|one| *one == address)
            && let Some(tail) = known.addresses.get_mut(at..)
        {
            tail.rotate_left(1);
        }
    }

    /// What holds at `now` without asking; `None` when it is time to ask.
    fn current(&self, now: Timestamp) -> Option<Result<Vec<IpAddr>, OriginError>> {
        let known = self.known.lock();
        (now < known.until).then(|| known.answer())
    }
}

impl Known {
    fn answer(&self) -> Result<Vec<IpAddr>, OriginError> {
        if self.addresses.is_empty() { Err(OriginError::Dns) } else { Ok(self.addresses.clone()) }
    }
}

/// How a pool's TLS connections are made.
#[derive(Clone)]
pub(crate) struct Tls {
    connector: tokio_rustls::TlsConnector,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

/// Why TLS to a pool cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsSetupError {
    /// The `ca` file cannot be read or holds no certificate.
    #[error("the certificates in {path} cannot be used")]
    Ca {
        /// The file.
        path: std::path::PathBuf,
        /// What was wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The client certificate and its key cannot be read or used.
    #[error("the client certificate {path} cannot be used")]
    Identity {
        /// The certificate's file.
        path: std::path::PathBuf,
        /// What was wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The system has no root certificates, and the pool has no `ca`.
    #[error("the system has no root certificates, and the pool has no `ca`")]
    NoRoots,
    /// The cryptography provider refused its own defaults.
    #[error("TLS cannot be set up")]
    Provider(#[source] rustls::Error),
}

impl Tls {
    /// For connections that are verified against `roots`, not at all without them, and show `identity` to who asks. Offered in
    /// them is HTTP/1.1, behind HTTP/2 where that `is_h2`. Sessions are resumed by tickets, as origins give them.
    pub(crate) fn new(
        roots: Option<rustls::RootCertStore>,
        identity: Option<&Certificate>,
        is_h2: bool,
    ) -> Result<Self, TlsSetupError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(TlsSetupError::Provider)?;
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyCertificate(provider))),
        };
        let mut config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let refused = |source| TlsSetupError::Identity { path: identity.cert.clone(), source };
                let (chain, key) = read_identity(&identity.cert, &identity.key).map_err(refused)?;
                builder.with_client_auth_cert(chain, key).map_err(|error| refused(Box::new(error)))?
            }
        };
        let offered: &[&[u8]] = if is_h2 { &[H2, b"http/1.1"] } else { &[b"http/1.1"] };
        config.alpn_protocols = offered.iter().map(|protocol| protocol.to_vec()).collect();
        Ok(Self { connector: tokio_rustls::TlsConnector::from(Arc::new(config)) })
    }
}

/// A mark of what the files hold that a pool's TLS is set up from: they are renewed under the names they have.
pub(crate) fn mark_of_files<'p>(files: impl Iterator<Item = &'p Path>) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for file in files {
        // One that cannot be read is told when it is to be used.
        let bytes = std::fs::read(file).unwrap_or_default();
        context.update(&(bytes.len() as u64).to_be_bytes());
        context.update(&bytes);
    }
    context.finish().as_ref().first_chunk().copied().unwrap_or_default()
}

type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// A certificate with those that sign it, and its key.
fn read_identity(cert: &Path, key: &Path) -> Result<Identity, Box<dyn std::error::Error + Send + Sync>> {
    let chain = CertificateDer::pem_file_iter(cert)?.collect::<Result<Vec<_>, _>>()?;
    if chain.is_empty() {
        return Err("no certificate in it".into());
    }
    Ok((chain, PrivateKeyDer::from_pem_file(key)?))
}

/// Why a certificate cannot be shown with this key, if so.
pub(crate) fn unfit_identity(cert: &Path, key: &Path) -> Option<String> {
    let (chain, key) = match read_identity(cert, key) {
        Ok(identity) => identity,
        Err(error) => return Some(error.to_string()),
    };
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    rustls::sign::CertifiedKey::from_der(chain, key, &provider).err().map(|error| error.to_string())
}

/// The system's root certificates and those in `ca`.
pub(crate) fn roots(ca: Option<&std::path::Path>) -> Result<rustls::RootCertStore, TlsSetupError> {
    let mut roots = rustls::RootCertStore::empty();
    // Some files of the system's store may be unreadable; the rest serves.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(path) = ca {
        let refused = |source: Box<dyn std::error::Error + Send + Sync>| TlsSetupError::Ca {
            path: path.to_path_buf(),
            source,
        };
        let mut any = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(Box::new(error)))? {
            let certificate = certificate.map_err(|error| refused(Box::new(error)))?;
            roots.add(certificate).map_err(|error| refused(Box::new(error)))?;
            any = true;
        }
        if !any {
            return Err(refused("no certificate in it".into()));
        }
    }
    if roots.is_empty() { Err(TlsSetupError::NoRoots) } else { Ok(roots) }
}

/// Where to connect to, and how.
pub(crate) struct Way<'w> {
    pub(crate) names: &'w Names,
    pub(crate) port: u16,
    /// Instead of both: a socket in the file system.
    pub(crate) socket: Option<&'w Path>,
    pub(crate) tls: Option<(&'w Tls, &'w str)>,
    /// What is said of this client first.
    pub(crate) preface: Option<(ProxyProtocol, Option<SocketAddr>)>,
}

/// Connects to one of the addresses, and sets TLS up where that is wanted.
///
/// # Errors
/// [`OriginError::Dns`], [`OriginError::Connect`], [`OriginError::ConnectTimeout`], [`OriginError::Tls`]; the last one
/// met where several addresses failed.
pub(crate) async fn connect(way: Way<'_>, limit: Duration, clock: &Clock) -> Result<Socket, OriginError> {
    if let Some(path) = way.socket {
        let connected = clock.timeout(limit, way.local(path)).await;
        return connected.unwrap_or(Err(OriginError::ConnectTimeout));
    }
    let deadline = clock.now().plus(limit);
    // Half the time at most, so that addresses known before can still be tried when the resolver hangs.
    let addresses = way.names.addresses(limit / 2, clock).await?;
    let mut last = OriginError::Dns;
    let mut left = u32::try_from(addresses.len()).unwrap_or(u32::MAX);
    for address in addresses {
        let share = deadline.since(clock.now()) / left.max(1);
        left = left.saturating_sub(1);
        if share.is_zero() {
            return Err(OriginError::ConnectTimeout);
        }
        match clock.timeout(share, way.remote(SocketAddr::new(address, way.port))).await {
            Ok(Ok(socket)) => return Ok(socket),
            Ok(Err(error)) => last = error,
            Err(_) => last = OriginError::ConnectTimeout,
        }
        way.names.failed(address);
    }
    Err(last)
}

impl Way<'_> {
    async fn remote(&self, address: SocketAddr) -> Result<Socket, OriginError> {
        let mut tcp = TcpStream::connect(address).await.map_err(|_| OriginError::Connect)?;
        // Requests are written whole; waiting for more to send would only delay them.
        tcp.set_nodelay(true).map_err(|_: io::Error| OriginError::Connect)?;
        self.introduce(&mut tcp, Some(address)).await?;
        let Some((tls, name)) = self.tls else {
            return Ok(Socket::Plain(tcp));
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| OriginError::Tls)?;
        let stream = tls.connector.connect(name, tcp).await.map_err(|_| OriginError::Tls)?;
        Ok(Socket::Tls(Box::new(stream)))
    }

    async fn local(&self, path: &Path) -> Result<Socket, OriginError> {
        let mut unix = UnixStream::connect(path).await.map_err(|_| OriginError::Connect)?;
        self.introduce(&mut unix, None).await?;
        Ok(Socket::Local(unix))
    }

    async fn introduce(
        &self,
        stream: &mut (impl AsyncWrite + Unpin),
        address: Option<SocketAddr>,
    ) -> Result<(), OriginError> {
        let Some((version, client)) = self.preface else { return Ok(()) };
        stream.write_all(&preface(version, client, address)).await.map_err(|_| OriginError::Connect)
    }
}

/// Takes any certificate, as `verify = false` asks; what the handshake signs is checked all the same.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// HTTP/2 in ALPN.
pub(super) const H2: &[u8] = b"h2";
