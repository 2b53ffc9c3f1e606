//! TLS at the door: which certificate a client is shown, and when the files behind it are read again.
//!
//! A listener has one [`Certificates`]: names to keys in an `ArcSwap`, so a reload never waits for a handshake nor a
//! handshake for a reload. A name is looked up exactly, then with its first label replaced by `*` (RFC 9525 §6.3:
//! one label, leftmost), and whatever nobody covers is shown the first certificate. Several certificates
//! may cover a name; the first whose key fits the client's signature schemes is taken, so RSA can stand behind ECDSA.
//!
//! Invariant: what is served came whole from files that parsed, and each key belongs to its certificate; a reload
//! that fails changes nothing. Sessions resume by ticket only and only under the same server name (rustls checks).
//! Deliberately absent: TLS before 1.2, renegotiation, early data, client certificates.
//! RFC 8446, RFC 6066 §3, RFC 7301 (ALPN), RFC 9110 §15.5.20 (421).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio::sync::Notify;

use crate::config::{Certificate, ListenerProtocol};

/// The certificates of one listener.
pub struct Certificates {
    files: ArcSwap<Vec<Certificate>>,
    provider: Arc<CryptoProvider>,
    shown: ArcSwap<Shown>,
    /// Other files are shown: whoever watches them is to watch those.
    changed: Notify,
}

/// Certificates that were read, to be shown.
pub struct Read {
    files: Vec<Certificate>,
    shown: Shown,
}

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or holds no PEM of the kind needed.
    #[error("{path}: {what}; {help}")]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
        /// What to do about it.
        help: &'static str,
    },
    /// Certificate and key do not belong together.
    #[error(
        "{key}: the key does not belong to the certificate in {cert}; use the key that the certificate was issued for"
    )]
    KeyMismatch {
        /// The certificate's file.
        cert: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// A listener with TLS names no certificate.
    #[error("the listener has no certificate; name at least one pair of `cert` and `key`")]
    None,
    /// The TLS library refused the combination.
    #[error(transparent)]
    Library(#[from] rustls::Error),
}

/// What is shown at one time: never changed, only replaced.
struct Shown {
    /// In the order of the settings; the first is the default.
    all: Vec<Arc<CertifiedKey>>,
    /// Lower-case names to indices into `all`; a wildcard stands as `*.example.org`.
    by_name: HashMap<Box<str>, Vec<usize>>,
}

impl Certificates {
    /// Reads every pair.
    ///
    /// # Errors
    /// The first file that cannot be used, with what to do; or [`TlsError::None`].
    pub fn load(files: &[Certificate]) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let shown = Shown::load(files, &provider)?;
        Ok(Self {
            files: ArcSwap::from_pointee(files.to_vec()),
            provider,
            shown: ArcSwap::from_pointee(shown),
            changed: Notify::new(),
        })
    }

    /// Reads every pair of another list.
    ///
    /// # Errors
    /// As [`Certificates::load`].
    pub fn read(&self, files: &[Certificate]) -> Result<Read, TlsError> {
        Ok(Read { files: files.to_vec(), shown: Shown::load(files, &self.provider)? })
    }

    /// Shows what was read from the next handshake on.
    pub fn show(&self, read: Read) {
        self.shown.store(Arc::new(read.shown));
        if **self.files.load() != read.files {
            self.files.store(Arc::new(read.files));
            self.changed.notify_one();
        }
    }

    /// Other files are shown than when it was last asked.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Reads every pair again and shows them from the next handshake on; whether they are others than before.
    ///
    /// # Errors
    /// As [`Certificates::load`]; then what was shown before stays.
    pub fn reload(&self) -> Result<bool, TlsError> {
        let files = self.files.load_full();
        let read = Shown::load(&files, &self.provider)?;
        let is_other = !read.is_as(&self.shown.load());
        if is_other {
            self.shown.store(Arc::new(read));
        }
        Ok(is_other)
    }

    /// The directories whose changes matter.
    pub fn directories(&self) -> Vec<PathBuf> {
        let files = self.files.load();
        let directories =
            files.iter().flat_map(|pair| [&pair.cert, &pair.key]).map(|path| match path.parent() {
                Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
                _ => PathBuf::from("."),
            });
        directories.collect()
    }

    /// Whether a request for `host` came to the wrong connection: the certificate shown for `server_name` does not
    /// cover the host, but another one here does, so that a browser could reach it by a connection of its own (421).
    /// A host that no certificate covers is not misdirected; routing decides about it.
    pub fn misdirected(&self, server_name: Option<&str>, host: &str) -> bool {
        if server_name.is_some_and(|name| name.eq_ignore_ascii_case(host)) {
            return false;
        }
        let shown = self.shown.load();
        // By the names read when the certificates were loaded: a certificate is not parsed for a request.
        let Some(covering) = (shown.all.len() > 1).then(|| shown.covering(host)).flatten() else {
            return false;
        };
        !shown.indices(server_name).iter().any(|asked| covering.contains(asked))
    }

    /// The settings of a listener that shows these certificates.
    ///
    /// # Errors
    /// When the ticket keys cannot be made.
    pub fn server_config(
        self: &Arc<Self>,
        protocols: &[ListenerProtocol],
    ) -> Result<Arc<rustls::ServerConfig>, TlsError> {
        let mut config = rustls::ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        // HTTP/2 first: the server's order decides.
        config.alpn_protocols = [(ListenerProtocol::H2, ALPN_H2), (ListenerProtocol::Http11, ALPN_HTTP11)]
            .into_iter()
            .filter(|(protocol, _)| protocols.contains(protocol))
            .map(|(_, name)| name.to_vec())
            .collect();
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 1;
        config.max_early_data_size = 0;
        Ok(Arc::new(config))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let shown = self.shown.load();
        let indices = shown.indices(hello.server_name());
        let candidates = || indices.iter().filter_map(|index| shown.all.get(*index));
        candidates()
            .find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some())
            .or_else(|| candidates().next())
            .cloned()
    }
}

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Shown {
    fn load(files: &[Certificate], provider: &CryptoProvider) -> Result<Self, TlsError> {
        let mut shown = Self { all: Vec::new(), by_name: HashMap::new() };
        for pair in files {
            let index = shown.all.len();
            let (key, names) = load_pair(pair, provider)?;
            shown.all.push(key);
            for name in names {
                shown.by_name.entry(name).or_default().push(index);
            }
        }
        if shown.all.is_empty() { Err(TlsError::None) } else { Ok(shown) }
    }

    /// Whether clients are shown the same. The keys are, too, where the certificates are: each belongs to its own.
    fn is_as(&self, other: &Self) -> bool {
        self.all.iter().map(|key| &key.cert).eq(other.all.iter().map(|key| &key.cert))
    }

    /// The certificates for a server name, best first; the default for none and for a name nobody covers.
    fn indices(&self, server_name: Option<&str>) -> &[usize] {
        server_name.and_then(|name| self.covering(name)).unwrap_or(&[0])
    }

    /// The certificates whose DNS names cover a host.
    fn covering(&self, host: &str) -> Option<&[usize]> {
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if let Some(found) = self.by_name.get(name.as_str()) {
            return Some(found);
        }
        let wildcard = name.split_once('.').map(|(_, parent)| format!("*.{parent}"))?;
        self.by_name.get(wildcard.as_str()).map(Vec::as_slice)
    }
}

/// One pair and the DNS names its leaf is good for, lower case.
fn load_pair(
    pair: &Certificate,
    provider: &CryptoProvider,
) -> Result<(Arc<CertifiedKey>, Vec<Box<str>>), TlsError> {
    let wrong = |path: &Path, what: String, help| TlsError::File { path: path.to_owned(), what, help };
    let chain = CertificateDer::pem_file_iter(&pair.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| wrong(&pair.cert, error.to_string(), HELP_CERT))?;
    let Some(leaf) = chain.first().cloned() else {
        return Err(wrong(&pair.cert, "no certificate in the file".into(), HELP_CERT));
    };
    let key = PrivateKeyDer::from_pem_file(&pair.key)
        .map_err(|error| wrong(&pair.key, error.to_string(), HELP_KEY))?;
    let names = webpki::EndEntityCert::try_from(&leaf)
        .map_err(|error| {
            wrong(&pair.cert, format!("the first certificate cannot be used: {error}"), HELP_LEAF)
        })?
        .valid_dns_names()
        .map(|name| name.trim_end_matches('.').to_ascii_lowercase().into_boxed_str())
        .collect();
    let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::KeyMismatch { cert: pair.cert.clone(), key: pair.key.clone() }
        }
        other => wrong(&pair.key, other.to_string(), HELP_KEY),
    })?;
    Ok((Arc::new(key), names))
}

/// HTTP/2's name in ALPN.
pub(crate) const ALPN_H2: &[u8] = b"h2";
/// HTTP/1.1's name in ALPN.
pub(crate) const ALPN_HTTP11: &[u8] = b"http/1.1";
const HELP_CERT: &str = "give a PEM file with the certificate chain, the site's own certificate first";
const HELP_KEY: &str = "give an unencrypted PEM file with an ECDSA, Ed25519 or RSA private key";
const HELP_LEAF: &str = "put the site's own X.509 v3 certificate first, before those of its issuers";
