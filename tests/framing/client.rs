//! Clients that write raw bytes over TCP or TLS, and a strict reader of the answers they get.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A connection, encrypted or not.
pub(crate) trait Io: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Trusts one certificate and offers one protocol.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn new(trusted: &CertificateDer<'static>, protocol: &[u8]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(trusted.clone()).expect("the certificate can be a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider fits")
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![protocol.to_vec()];
        Self(TlsConnector::from(Arc::new(config)))
    }

    pub(crate) async fn connect(&self, address: SocketAddr) -> Box<dyn Io> {
        let name = ServerName::try_from("a.example").expect("a name");
        let stream = TcpStream::connect(address).await.expect("the node listens");
        Box::new(
            within("the handshake", self.0.connect(name, stream)).await.expect("the handshake ends well"),
        )
    }
}

/// One answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: String,
}

/// Sends all bytes and reads to the end of the connection, however it comes.
pub(crate) async fn exchange(io: &mut dyn Io, bytes: &[u8]) -> Vec<u8> {
    let (mut reader, mut writer) = tokio::io::split(io);
    let mut answers = Vec::new();
    let write = async {
        // Who is refused may find the door shut.
        if writer.write_all(bytes).await.is_ok() {
            let _ = writer.flush().await;
        }
    };
    let read = async {
        let mut buffer = vec![0; 16 * 1024];
        while let Ok(count @ 1..) = reader.read(&mut buffer).await {
            answers.extend_from_slice(&buffer[..count]);
        }
    };
    tokio::join!(write, read);
    answers
}

/// Writes and flushes, which TLS needs.
pub(crate) async fn send(io: &mut dyn Io, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// What can be read at once, when something can be.
pub(crate) async fn piece(io: &mut dyn Io) -> io::Result<Vec<u8>> {
    let mut buffer = vec![0; 16 * 1024];
    let count = io.read(&mut buffer).await?;
    buffer.truncate(count);
    Ok(buffer)
}

/// Sends a request on a kept connection and reads its answer.
pub(crate) async fn ask(io: &mut dyn Io, request: &str) -> Result<Answer, String> {
    let failed = |error: io::Error| format!("{request:?}: {error}");
    send(io, request.as_bytes()).await.map_err(failed)?;
    let mut bytes = Vec::new();
    loop {
        let piece = piece(io).await.map_err(failed)?;
        let count = piece.len();
        bytes.extend(piece);
        match first(&bytes, "GET")? {
            Some((answer, used)) if used == bytes.len() => return Ok(answer),
            Some((_, used)) => {
                return Err(format!("bytes behind the answer: {}", bytes[used..].escape_ascii()));
            }
            None if count == 0 => return Err(format!("ended within: {}", bytes.escape_ascii())),
            None => {}
        }
    }
}

/// All answers of a connection, interim ones left out; `method` is what the first answers. They must end with the bytes.
pub(crate) fn answers(mut bytes: &[u8], method: &str) -> Result<Vec<Answer>, String> {
    let mut answers: Vec<Answer> = Vec::new();
    while !bytes.is_empty() {
        let method = if answers.is_empty() { method } else { "GET" };
        let Some((answer, used)) = first(bytes, method)? else {
            return Err(format!("cut within an answer: {}", bytes.escape_ascii()));
        };
        bytes = &bytes[used..];
        if answer.status >= 200 {
            answers.push(answer);
        }
    }
    Ok(answers)
}

/// The first answer and its length; `None` if it is not whole.
fn first(bytes: &[u8], method: &str) -> Result<Option<(Answer, usize)>, String> {
    let wrong = |what: &str| Err(format!("{what}: {}", bytes.escape_ascii()));
    let Some(head_end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(None) };
    let Ok(head) = std::str::from_utf8(&bytes[..head_end]) else { return wrong("head above ASCII") };
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let Some(status) = status else { return wrong("no status line") };
    let mut fields = Vec::new();
    for line in lines {
        let Some((name, value)) = line.split_once(": ") else { return wrong("no field line") };
        fields.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let all = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    let (lengths, codings) = (all("content-length"), all("transfer-encoding").len());
    let start = head_end + 4;
    let length: usize = match (&lengths[..], codings) {
        _ if method == "HEAD" || status < 200 || status == 204 || status == 304 => 0,
        ([length], 0) => length.parse().map_err(|_| "not a length".to_owned())?,
        _ => return wrong("framing of an answer not told by one length"),
    };
    let Some(body) = bytes.get(start..start + length) else { return Ok(None) };
    let body = String::from_utf8_lossy(body).into_owned();
    Ok(Some((Answer { status, fields, body }, start + length)))
}

/// Waits for what must come.
pub(crate) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("waited in vain: {what}"),
    }
}

/// Long enough for a busy machine; only a failing test waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
