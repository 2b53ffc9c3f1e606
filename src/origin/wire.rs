//! The socket of an origin connection: plain or TLS, the same to whoever reads and writes.
//!
//! A connection belongs to the worker whose runtime it is registered with; [`Socket::adopt`] moves it to another's. Between
//! requests nobody polls it: what the origin did meanwhile is asked of the system ([`Socket::is_silent`]) before the next
//! request is written.
//!
//! Invariant: a request never goes out on a connection that the origin is known to have closed or spoken on unasked.

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::client::TlsStream;

use super::connect::H2;

/// A connected socket, encrypted or not.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    /// In the file system.
    Local(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl Socket {
    /// Reads once; nothing read is the origin's end, which TLS has signed.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_read(cx, buffer),
            Self::Local(unix) => Pin::new(unix).poll_read(cx, buffer),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, buffer),
        }
    }

    /// Writes once.
    pub(crate) fn poll_write(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Self::Local(unix) => Pin::new(unix).poll_write(cx, bytes),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        }
    }

    /// Has what was written leave.
    pub(crate) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(_) | Self::Local(_) => Poll::Ready(Ok(())),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    /// Ends the writing side.
    pub(crate) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Self::Local(unix) => Pin::new(unix).poll_shutdown(cx),
            Self::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }

    /// Whether the origin has neither closed the connection nor sent anything since the last response. Costs a system call.
    pub(crate) fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(tcp) => has_nothing(&SockRef::from(&*tcp)),
            Self::Local(unix) => has_nothing(&SockRef::from(&*unix)),
            Self::Tls(tls) => is_silent_within(tls),
        }
    }

    /// Whether the origin, offered HTTP/2 in the handshake, has not taken it. Without TLS nobody asks.
    pub(crate) fn has_chosen_http1(&self) -> bool {
        matches!(self, Self::Tls(tls) if tls.get_ref().1.alpn_protocol() != Some(H2))
    }

    /// Makes the connection the current runtime's: another's would have to wake us from its thread.
    ///
    /// # Errors
    /// The system's; the connection is of no use then.
    pub(crate) fn adopt(&mut self) -> io::Result<()> {
        let tcp = match self {
            Self::Plain(tcp) => tcp,
            Self::Tls(tls) => tls.get_mut().0,
            Self::Local(unix) => {
                let descriptor = unix.as_fd().try_clone_to_owned()?;
                *unix = UnixStream::from_std(descriptor.into())?;
                return Ok(());
            }
        };
        // The old registration ends with the old descriptor.
        let descriptor = tcp.as_fd().try_clone_to_owned()?;
        *tcp = TcpStream::from_std(descriptor.into())?;
        Ok(())
    }
}

/// Whether neither bytes nor the end have come.
fn has_nothing(socket: &SockRef<'_>) -> bool {
    let peeked = socket.peek(&mut [MaybeUninit::uninit()]);
    matches!(peeked, Err(error) if error.kind() == io::ErrorKind::WouldBlock)
}

/// Session tickets come at any time and are none of ours; a closing alert or a byte of plain text is.
fn is_silent_within(tls: &mut TlsStream<TcpStream>) -> bool {
    let (tcp, session) = tls.get_mut();
    let socket = SockRef::from(&*tcp);
    loop {
        match session.read_tls(&mut Reading(&socket)) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
        match session.process_new_packets() {
            Ok(state) if state.plaintext_bytes_to_read() == 0 && !state.peer_has_closed() => {}
            _ => return false,
        }
    }
}

/// What has arrived, past the runtime's own idea of it.
struct Reading<'s>(&'s socket2::Socket);

impl Read for Reading<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut socket = self.0;
        socket.read(buffer)
    }
}
