//! Slow clients, held: a third sends its head, a third its body, a third reads its answer, a byte a second.
//!
//! Prints `held=N` once all stand, then another such line every second until killed: a server may well
//! close some, and that is part of the answer. Over TLS the handshake is quick, and what follows is as slow.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, StreamOwned};

use crate::time::pause;

enum Slowness {
    Head,
    Body,
    Reading,
}

trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

/// Holds `clients` until killed or until none is left.
pub(crate) fn run(
    server: SocketAddr,
    path: &str,
    clients: usize,
    tls: bool,
    mut tell: impl FnMut(usize),
) -> io::Result<()> {
    let config = if tls { Some(believing()?) } else { None };
    let mut held = Vec::with_capacity(clients);
    for index in 0..clients {
        let (slowness, request) = match index % 3 {
            0 => (Slowness::Head, format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nX-Slow: ")),
            1 => (
                Slowness::Body,
                format!("POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Length: 100000\r\n\r\n"),
            ),
            _ => (Slowness::Reading, format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")),
        };
        held.push((connect(server, config.as_ref(), &request)?, slowness));
    }
    while !held.is_empty() {
        tell(held.len());
        pause(1000);
        held.retain_mut(|(stream, slowness)| {
            let read = match stream.read(&mut [0]) {
                Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
                other => other,
            };
            let step = match slowness {
                Slowness::Reading => read,
                Slowness::Head | Slowness::Body => match read {
                    // Something came before we had finished: refused or timed out.
                    Ok(_) => Err(ErrorKind::ConnectionReset.into()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => stream.write(b"x"),
                    Err(error) => Err(error),
                },
            };
            step.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true)
        });
    }
    tell(0);
    Ok(())
}

fn connect(
    server: SocketAddr,
    tls: Option<&Arc<ClientConfig>>,
    request: &str,
) -> io::Result<Box<dyn Stream>> {
    let mut stream = TcpStream::connect(server)?;
    let Some(config) = tls else {
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        return Ok(Box::new(stream));
    };
    let name = ServerName::from(server.ip());
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(session, stream);
    stream.write_all(request.as_bytes())?;
    stream.flush()?;
    stream.sock.set_nonblocking(true)?;
    Ok(Box::new(stream))
}

pub(crate) fn believing() -> io::Result<Arc<ClientConfig>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Believes))
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Asks nobody: the certificate is the harness's own, and only memory is measured.
#[derive(Debug)]
struct Believes;

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
