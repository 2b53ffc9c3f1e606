//! A socket that takes a datagram a line: systemd's journal, `/dev/log`, syslog over UDP (RFC 5426).
//!
//! Whoever receives may be away, full or slow: a line that is not taken at once, or within the socket's bound, is lost and counted,
//! and where nobody is there at all the rest of the block with it. The socket is opened anew then, at most once in
//! `LOG_RECEIVER_PAUSE` of the lines' own time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::syslog::Header;
use super::{Receiver, each};
use crate::config::limits::{LOG_RECEIVER_PAUSE, LOG_RECEIVER_TIMEOUT};

pub(super) struct Datagrams {
    to: To,
    socket: Option<Socket>,
    dress: Dress,
    /// Not before the lines of this moment.
    again_millis: u64,
    datagram: Vec<u8>,
}

enum To {
    Path(PathBuf),
    Address(Box<str>),
}

enum Socket {
    Unix(UnixDatagram),
    Udp(UdpSocket),
}

/// What stands around a line.
enum Dress {
    /// The fields of a record of the journal, by its native protocol.
    Journal,
    Syslog(Header),
}

impl Datagrams {
    /// To systemd's journal.
    pub(super) fn journal(path: &Path) -> Self {
        Self::new(To::Path(path.into()), Dress::Journal)
    }

    /// To a syslog socket in the file system.
    pub(super) fn unix(path: &Path) -> Self {
        Self::new(To::Path(path.into()), Dress::Syslog(Header::new()))
    }

    /// To a syslog receiver in the network.
    pub(super) fn udp(at: &str) -> Self {
        Self::new(To::Address(at.into()), Dress::Syslog(Header::new()))
    }

    fn new(to: To, dress: Dress) -> Self {
        Self { to, socket: None, dress, again_millis: 0, datagram: Vec::new() }
    }

    fn connect(&self) -> io::Result<Socket> {
        match &self.to {
            To::Path(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.set_write_timeout(Some(LOG_RECEIVER_TIMEOUT))?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
            }
            To::Address(at) => {
                let mut last = io::Error::from(io::ErrorKind::NotFound);
                for address in at.to_socket_addrs()? {
                    match udp(address) {
                        Ok(socket) => return Ok(Socket::Udp(socket)),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

fn udp(address: SocketAddr) -> io::Result<UdpSocket> {
    let any: SocketAddr = if address.is_ipv4() {
        (std::net::Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (std::net::Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let socket = UdpSocket::bind(any)?;
    socket.set_write_timeout(Some(LOG_RECEIVER_TIMEOUT))?;
    socket.connect(address)?;
    Ok(socket)
}

impl Receiver for Datagrams {
    fn take(&mut self, lines: &[u8], wall_millis: u64) -> io::Result<u64> {
        let socket = match self.socket.take() {
            Some(socket) => socket,
            None if wall_millis < self.again_millis => return Ok(0),
            None => {
                self.again_millis = wall_millis.saturating_add(millis(LOG_RECEIVER_PAUSE));
                self.connect()?
            }
        };
        let mut taken = 0;
        for line in each(lines) {
            self.datagram.clear();
            match &mut self.dress {
                Dress::Journal => {
                    self.datagram.extend_from_slice(b"PRIORITY=6\nSYSLOG_IDENTIFIER=tidegate\nMESSAGE=");
                }
                Dress::Syslog(header) => header.write(wall_millis, &mut self.datagram),
            }
            self.datagram.extend_from_slice(line);
            if matches!(self.dress, Dress::Journal) {
                self.datagram.push(b'\n');
            }
            let sent = match &socket {
                Socket::Unix(socket) => socket.send(&self.datagram),
                Socket::Udp(socket) => socket.send(&self.datagram),
            };
            match sent {
                Ok(_) => taken += 1,
                // This line is too long for the system; the next may not be.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::MSGSIZE.raw_os_error()) => {}
                // UDP: a datagram sent before was refused; the next may be taken.
                Err(error)
                    if matches!(socket, Socket::Udp(_))
                        && error.kind() == io::ErrorKind::ConnectionRefused => {}
                // Nobody is there any more, or nobody reads.
                Err(_) => {
                    self.again_millis = wall_millis.saturating_add(millis(LOG_RECEIVER_PAUSE));
                    return Ok(taken);
                }
            }
        }
        self.socket = Some(socket);
        Ok(taken)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.socket = None;
        self.again_millis = 0;
        Ok(())
    }
}

pub(super) fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
