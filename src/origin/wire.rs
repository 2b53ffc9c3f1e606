//! The socket of an origin connection as hyper sees it, with our eyes on every byte.
//!
//! Reads pass the [`Scanner`] before hyper gets them; a finding becomes a read error and is kept for whoever waits for
//! the response. The first write of a request on a kept connection first asks the socket whether the origin has
//! closed it or spoken out of turn meanwhile: then nothing has been sent and the request may go out afresh.
//!
//! Invariant: hyper never sees a byte that the scanner objected to, nor one after it.

use std::cell::RefCell;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Surplus;
use super::error::{Finding, OriginError};
use super::framing::{Framing, Scanner};
use crate::config::limits::ORIGIN_READ_BYTES;

/// A connected socket, encrypted or not.
#[derive(Debug)]
pub(crate) enum Socket {
    Plain(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// What the wire and the request on it know of each other.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Watched>);

#[derive(Debug, Default)]
struct Watched {
    scanner: Scanner,
    finding: Option<OriginError>,
    /// Whether a request is on the wire since [`Watch::begin`] and none of its bytes has been written.
    unsent: bool,
    /// Whether a byte of the response has been read.
    answered: bool,
    /// Ask the socket before the first write.
    kept: bool,
}

/// The IO under hyper.
#[derive(Debug)]
pub(crate) struct Wire {
    socket: Socket,
    watch: Arc<Watch>,
}

impl Wire {
    /// Puts `watch` over `socket`.
    pub(crate) fn new(socket: Socket, watch: Arc<Watch>) -> Self {
        Self { socket, watch }
    }

    /// Before the first byte of a request on a kept connection: is the origin still there, and silent?
    fn before_write(&self) -> io::Result<()> {
        let mut watched = self.watch.0.lock();
        if let Some(finding) = watched.finding {
            return Err(refuse(finding));
        }
        if !watched.unsent {
            return Ok(());
        }
        if watched.kept {
            let (tcp, encrypted) = match &self.socket {
                Socket::Plain(tcp) => (tcp, false),
                Socket::Tls(tls) => (tls.get_ref().0, true),
            };
            match socket2::SockRef::from(tcp).peek(&mut [MaybeUninit::uninit()]) {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                // Under TLS these may be session tickets; hyper reads them, and the scanner sees what is in them.
                Ok(_) if !encrypted => {
                    let finding = OriginError::Framing(Finding::Unsolicited);
                    watched.finding = Some(finding);
                    return Err(refuse(finding));
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        watched.kept = false;
        Ok(())
    }

    fn written(&self, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(result, Poll::Ready(Ok(count)) if count > 0) {
            self.watch.0.lock().unsent = false;
        }
        result
    }
}

impl Watch {
    /// A request goes out on this connection.
    pub(crate) fn begin(&self, to_head_request: bool, kept: bool, surplus: Surplus) {
        let mut watched = self.0.lock();
        watched.scanner.begin(to_head_request, surplus);
        watched.unsent = true;
        watched.answered = false;
        watched.kept = kept;
    }

    /// What was objected to, if anything was.
    pub(crate) fn finding(&self) -> Option<OriginError> {
        self.0.lock().finding
    }

    /// Whether not a byte of the request begun last has been written.
    pub(crate) fn unsent(&self) -> bool {
        self.0.lock().unsent
    }

    /// Whether a byte of the response has been read.
    pub(crate) fn answered(&self) -> bool {
        self.0.lock().answered
    }

    /// How the body is framed, and the length its head declares.
    pub(crate) fn framing(&self) -> (Framing, Option<u64>) {
        let watched = self.0.lock();
        (watched.scanner.framing(), watched.scanner.declared_length())
    }

    /// Whether the response is whole by its framing.
    pub(crate) fn whole(&self) -> bool {
        let watched = self.0.lock();
        watched.finding.is_none() && watched.scanner.whole()
    }

    /// Whether the connection may carry another request.
    pub(crate) fn reusable(&self) -> bool {
        let watched = self.0.lock();
        watched.finding.is_none() && watched.scanner.reusable()
    }

    /// How many of the bytes belong to a response.
    fn look(&self, bytes: &[u8]) -> io::Result<usize> {
        let mut watched = self.0.lock();
        if let Some(finding) = watched.finding {
            return Err(refuse(finding));
        }
        let outcome = if watched.unsent {
            Err(OriginError::Framing(Finding::Unsolicited))
        } else {
            watched.answered = true;
            watched.scanner.feed(bytes)
        };
        outcome.map_err(|finding| {
            watched.finding = Some(finding);
            refuse(finding)
        })
    }
}

fn refuse(finding: OriginError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, finding)
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let wire = self.get_mut();
        SCRATCH.with_borrow_mut(|scratch| {
            let room = cursor.remaining().min(scratch.len());
            let mut buffer = ReadBuf::new(scratch.get_mut(..room).unwrap_or_default());
            ready!(match &mut wire.socket {
                Socket::Plain(tcp) => Pin::new(tcp).poll_read(cx, &mut buffer),
                Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_read(cx, &mut buffer),
            })?;
            if !buffer.filled().is_empty() {
                let taken = wire.watch.look(buffer.filled())?;
                cursor.put_slice(buffer.filled().get(..taken).unwrap_or_default());
            }
            Poll::Ready(Ok(()))
        })
    }
}

thread_local! {
    /// hyper lends uninitialised memory, which only `unsafe` code can read into; copying what was read out of here
    /// costs less than clearing hyper's buffer before each read, and no connection holds a buffer while it is idle.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; ORIGIN_READ_BYTES].into_boxed_slice());
}

impl hyper::rt::Write for Wire {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.before_write()?;
        let result = match &mut wire.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write(cx, bytes),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_write(cx, bytes),
        };
        wire.written(result)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wire = self.get_mut();
        wire.before_write()?;
        let result = match &mut wire.socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_write_vectored(cx, slices),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_write_vectored(cx, slices),
        };
        wire.written(result)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.socket {
            Socket::Plain(tcp) => tcp.is_write_vectored(),
            Socket::Tls(tls) => tls.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_flush(cx),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.get_mut().socket {
            Socket::Plain(tcp) => Pin::new(tcp).poll_shutdown(cx),
            Socket::Tls(tls) => Pin::new(tls.as_mut()).poll_shutdown(cx),
        }
    }
}
