//! A client that speaks HTTP/2 over TLS, by hyper and rustls: not our own reading of either.

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http2::SendRequest;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncWriteExt;
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::answer::Answer;
use super::client::within;
use super::settings::HOST;
use super::wire::{End, FieldLines};

/// A certificate for the site, in files of its own that go with it.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
    der: CertificateDer<'static>,
}

/// One connection with as many requests at once as the node allows.
pub(crate) struct H2Client(SendRequest<Content>);

/// The body of a request, which may be empty, and what follows it.
struct Content(Option<Bytes>, Option<HeaderMap>);
struct Io(TlsStream<TcpStream>);
#[derive(Clone, Copy)]
struct Spawn;

impl Identity {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).expect("a host name is a subject");
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let stem = std::env::temp_dir().join(format!("tidegate-stage-{}-{number}", std::process::id()));
        let (cert, key) = (stem.with_extension("pem"), stem.with_extension("key"));
        std::fs::write(&cert, made.cert.pem()).expect("the directory for such files takes files");
        std::fs::write(&key, made.signing_key.serialize_pem())
            .expect("the directory for such files takes files");
        Self { cert, key, der: made.cert.der().clone() }
    }
}

impl Drop for Identity {
    fn drop(&mut self) {
        for path in [&self.cert, &self.key] {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl H2Client {
    pub(crate) async fn connect(address: SocketAddr, identity: &Identity) -> Self {
        Self::connect_after(address, identity, b"").await
    }

    /// The same where these bytes go before the handshake.
    pub(crate) async fn connect_after(address: SocketAddr, identity: &Identity, first: &[u8]) -> Self {
        let stream = tls(address, identity, first).await;
        let (sender, connection) =
            hyper::client::conn::http2::handshake(Spawn, Io(stream)).await.expect("a connection of HTTP/2");
        tokio::spawn(connection);
        Self(sender)
    }

    /// One request; others may be under way.
    pub(crate) fn get(&self, target: &str) -> impl Future<Output = Answer> + use<> {
        let asked = self.send(http::Request::get(format!("https://{HOST}{target}")), None, None);
        async { asked.await.0 }
    }

    /// The same with these fields.
    pub(crate) fn get_with(
        &self,
        target: &str,
        fields: &[(&str, &str)],
    ) -> impl Future<Output = Answer> + use<> {
        let request = http::Request::get(format!("https://{HOST}{target}"));
        let request = fields.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        let asked = self.send(request, None, None);
        async { asked.await.0 }
    }

    /// The same with a body.
    pub(crate) fn post(&self, target: &str, body: Vec<u8>) -> impl Future<Output = Answer> + use<> {
        let asked =
            self.send(http::Request::post(format!("https://{HOST}{target}")), Some(body.into()), None);
        async { asked.await.0 }
    }

    /// A call with trailers both ways, and those that came.
    pub(crate) fn call(
        &self,
        target: &str,
        body: &str,
        trailers: Option<HeaderMap>,
    ) -> impl Future<Output = (Answer, HeaderMap)> + use<> {
        let request = http::Request::post(format!("https://{HOST}{target}")).header("te", "trailers");
        self.send(request, Some(body.to_owned().into()), trailers)
    }

    fn send(
        &self,
        request: http::request::Builder,
        body: Option<Bytes>,
        trailers: Option<HeaderMap>,
    ) -> impl Future<Output = (Answer, HeaderMap)> + use<> {
        let mut sender = self.0.clone();
        let request = request.body(Content(body, trailers)).expect("a request");
        async move {
            let response = within(sender.send_request(request)).await;
            let Ok(response) = response else { return (Answer::none(Vec::new()), HeaderMap::new()) };
            let (head, mut body) = response.into_parts();
            let fields: FieldLines = head
                .headers
                .iter()
                .map(|(name, value)| (name.to_string(), value.as_bytes().to_vec()))
                .collect();
            let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
            let end = loop {
                match within(poll_fn(|cx| Pin::new(&mut body).poll_frame(cx))).await {
                    None => break End::Clean,
                    Some(Ok(frame)) => match frame.into_data() {
                        Ok(data) => bytes.extend_from_slice(&data),
                        Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                    },
                    Some(Err(error)) => break End::Cut(error.to_string()),
                }
            };
            (Answer::made(head.status.as_u16(), fields, bytes, end), trailers)
        }
    }
}

/// A handshake for HTTP/2; these bytes go before it.
pub(crate) async fn tls(address: SocketAddr, identity: &Identity, first: &[u8]) -> TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(identity.der.clone()).expect("our own certificate");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config =
        config.expect("the provider has them").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut stream = within(TcpStream::connect(address)).await.expect("the node listens");
    stream.write_all(first).await.expect("a new connection takes a few bytes");
    let name = ServerName::try_from(HOST).expect("a host name");
    within(TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("a handshake")
}

impl Body for Content {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if let Some(body) = self.0.take() {
            return Poll::Ready(Some(Ok(Frame::data(body))));
        }
        Poll::Ready(self.1.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none() && self.1.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match &self.1 {
            Some(_) => SizeHint::default(),
            None => SizeHint::with_exact(self.0.as_ref().map_or(0, |body| body.len() as u64)),
        }
    }
}

impl<F: Future<Output: Send> + Send + 'static> hyper::rt::Executor<F> for Spawn {
    fn execute(&self, future: F) {
        tokio::spawn(future);
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = vec![0; cursor.remaining().min(16 * 1024)];
        let mut read = ReadBuf::new(&mut buffer);
        ready!(pin!(&mut self.0).poll_read(cx, &mut read))?;
        cursor.put_slice(read.filled());
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        pin!(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        pin!(&mut self.0).poll_shutdown(cx)
    }
}
