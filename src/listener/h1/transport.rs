//! What a connection speaks over, and whether stored bytes can be lent to the kernel instead of copied.
//!
//! [`Plain`], a bare socket, can: references to the pages go through a pipe into the socket's queue, and parts of files, which a
//! large body on disk is made of, by `sendfile`. TLS cannot, it has to see every byte; nor can what tests speak over. Who sends
//! asks, and writes the same bytes where the answer is no.
//!
//! Why lent pages stay what they are is told where they lie (`cache-store`, `tiers/arena`).

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use cache_store::entry::Lendable;
use cache_store::large::FilePart;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::config::limits::{LENT_BYTES_MAX, SENT_FILE_BYTES_MAX};

/// Bytes in both directions, and maybe lent ones.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// Whether [`Transport::poll_send_file`] does anything.
    const SENDS_FILES: bool = false;

    /// Writes some of `bytes`, behind which a file follows at once: the system may keep them until that does. By default it is not told.
    fn poll_write_before_file(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write(cx, bytes)
    }

    /// Has the system send some of `part`; how much. Zero is the end of the file. By default there is only an error.
    fn poll_send_file(&mut self, _: &mut Context<'_>, _part: &FilePart) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Sends some of `bytes` from `from` on without copying them; how many. An error says nothing about the connection:
    /// it may be the system's, that does not do such things. By default there is only an error.
    fn poll_lend(
        &mut self,
        _: &mut Context<'_>,
        _bytes: Lendable<'_>,
        _from: usize,
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Transport for TlsStream<IO> {}

impl Transport for DuplexStream {}

impl<T: Transport> Transport for &mut T {
    const SENDS_FILES: bool = T::SENDS_FILES;

    fn poll_write_before_file(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        (**self).poll_write_before_file(cx, bytes)
    }

    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart) -> Poll<io::Result<usize>> {
        (**self).poll_send_file(cx, part)
    }

    fn poll_lend(
        &mut self,
        cx: &mut Context<'_>,
        bytes: Lendable<'_>,
        from: usize,
    ) -> Poll<io::Result<usize>> {
        (**self).poll_lend(cx, bytes, from)
    }
}

/// A bare socket, and the pipe that its worker lends through.
#[derive(Debug)]
pub(crate) struct Plain {
    tcp: TcpStream,
    lending: Rc<Lending>,
}

impl Plain {
    pub(crate) const fn new(tcp: TcpStream, lending: Rc<Lending>) -> Self {
        Self { tcp, lending }
    }

    pub(crate) const fn tcp(&self) -> &TcpStream {
        &self.tcp
    }

    /// Calls `send` as soon as the socket has room.
    fn poll_send(
        &self,
        cx: &mut Context<'_>,
        mut send: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.tcp.poll_write_ready(cx))?;
            match self.tcp.try_io(Interest::WRITABLE, &mut send) {
                // The socket was not as ready as it was thought to be; now it is waited for.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                sent => return Poll::Ready(sent),
            }
        }
    }
}

impl Transport for Plain {
    const SENDS_FILES: bool = cfg!(target_os = "linux");

    #[cfg(target_os = "linux")]
    fn poll_write_before_file(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        use rustix::net::SendFlags;
        self.poll_send(cx, || Ok(rustix::net::send(&self.tcp, bytes, SendFlags::MORE | SendFlags::NOSIGNAL)?))
    }

    #[cfg(target_os = "linux")]
    fn poll_send_file(&mut self, cx: &mut Context<'_>, part: &FilePart) -> Poll<io::Result<usize>> {
        let length = usize::try_from(part.length).unwrap_or(usize::MAX).min(SENT_FILE_BYTES_MAX);
        self.poll_send(cx, || {
            use rustix::io::Errno;
            match rustix::fs::sendfile(&self.tcp, &part.file, Some(&mut { part.offset }), length) {
                // A file system that does not do such things.
                Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => copy(&self.tcp, part),
                sent => Ok(sent?),
            }
        })
    }

    fn poll_lend(
        &mut self,
        cx: &mut Context<'_>,
        bytes: Lendable<'_>,
        from: usize,
    ) -> Poll<io::Result<usize>> {
        self.poll_send(cx, || self.lending.send(&self.tcp, bytes, from))
    }
}

impl AsyncRead for Plain {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_read(cx, buf)
    }
}

impl AsyncWrite for Plain {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().tcp).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().tcp).poll_shutdown(cx)
    }
}

/// A little of a file, as any system sends it.
#[cfg(target_os = "linux")]
fn copy(tcp: &TcpStream, part: &FilePart) -> io::Result<usize> {
    use std::os::unix::fs::FileExt;
    let mut buffer = [0; 16 * 1024];
    let room = buffer.len().min(usize::try_from(part.length).unwrap_or(usize::MAX));
    let read = part.file.read_at(buffer.get_mut(..room).unwrap_or_default(), part.offset)?;
    match buffer.get(..read) {
        Some(bytes) if !bytes.is_empty() => Ok(rustix::io::write(tcp, bytes)?),
        _ => Ok(0),
    }
}

/// A worker's pipe, through which pages reach a socket; made when it is first needed.
#[derive(Debug, Default)]
pub(crate) struct Lending(RefCell<Option<Pipe>>);

#[derive(Debug)]
struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    /// Takes what a socket had no room for.
    nothing: File,
}

impl Lending {
    /// The pipe is empty before and after.
    fn send(&self, socket: &TcpStream, bytes: Lendable<'_>, from: usize) -> io::Result<usize> {
        let mut place = self.0.borrow_mut();
        // A pipe that something goes wrong with is dropped with what is in it.
        let pipe = place.take().map_or_else(Pipe::new, Ok)?;
        let lent = bytes.lend(from, pipe.into.as_fd())?;
        let sent = pipe.pour(socket, lent, from.saturating_add(lent) < bytes.len());
        let left = lent.saturating_sub(*sent.as_ref().unwrap_or(&0));
        if left == 0 || pipe.pour(&pipe.nothing, left, false).is_ok_and(|dropped| dropped == left) {
            *place = Some(pipe);
        }
        sent
    }
}

#[cfg(target_os = "linux")]
impl Pipe {
    fn new() -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
        let (out, into) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where a user's pipes may not be so large, this one keeps its usual size, and long pieces take more turns.
        let _ = fcntl_setpipe_size(&into, LENT_BYTES_MAX);
        Ok(Self { out, into, nothing: File::options().write(true).open("/dev/null")? })
    }

    /// Moves up to `length` bytes on; `more` will follow at once.
    fn pour(&self, to: impl AsFd, length: usize, more: bool) -> io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        let more = if more { SpliceFlags::MORE } else { SpliceFlags::empty() };
        Ok(splice(&self.out, None, to, None, length, SpliceFlags::NONBLOCK | more)?)
    }
}

#[cfg(not(target_os = "linux"))]
impl Pipe {
    fn new() -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn pour(&self, _to: impl AsFd, _length: usize, _more: bool) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;

    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_head_leaves_with_the_first_of_its_file() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let connecting = TcpStream::connect(listener.local_addr().expect("bound"));
        let (client, accepted) = tokio::join!(connecting, listener.accept());
        let (mut client, (tcp, _)) = (client.expect("it listens"), accepted.expect("it connected"));
        tcp.set_nodelay(true).expect("it is open");
        let mut plain = Plain::new(tcp, Rc::default());
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        let path = std::env::temp_dir().join(format!("tidegate-head-{}", std::process::id()));
        std::fs::write(&path, [b'a'; 1000]).expect("room");
        let file = Arc::new(File::open(&path).expect("it was just written"));
        std::fs::remove_file(&path).expect("it is there");

        let written = poll_fn(|cx| plain.poll_write_before_file(cx, head)).await.expect("room");
        assert_eq!(written, head.len());
        let early = client.try_read(&mut [0; 64]).map_err(|error| error.kind());
        assert_eq!(early, Err(io::ErrorKind::WouldBlock), "it waits for the file");

        let part = FilePart { file, offset: 0, length: 1000 };
        let sent = poll_fn(|cx| plain.poll_send_file(cx, &part)).await.expect("room");
        assert_eq!(sent, 1000);
        let mut all = vec![0; head.len() + 1000];
        client.read_exact(&mut all).await.expect("nobody closed");
        assert_eq!(all.split_at(head.len()), (&head[..], &[b'a'; 1000][..]));
    }
}
