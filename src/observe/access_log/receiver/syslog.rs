//! Syslog, RFC 5424: what stands in front of a line, and a stream of lines over TCP.
//!
//! `<190>1 2026-11-26T10:00:00.000Z www-1 tidegate 4711 access - LINE`: facility local7, severity informational, as nginx has it.
//! The time is that of the block, a second at most behind the line's own. Over TCP each message has its length in front of it
//! (RFC 6587 §3.4.1), so a line is never split in two.

use std::io::{self, Write};
use std::net::{TcpStream, ToSocketAddrs};

use super::datagrams::{Datagrams, millis};
use super::{Receiver, each};
use crate::config::limits::{LOG_RECEIVER_PAUSE, LOG_RECEIVER_TIMEOUT};
use crate::config::log::SyslogAt;
use crate::observe::calendar::SecondText;

/// The receiver at this place.
pub(super) fn receiver(at: &SyslogAt) -> Box<dyn Receiver> {
    match at {
        SyslogAt::Unix(path) => Box::new(Datagrams::unix(path)),
        SyslogAt::Udp(at) => Box::new(Datagrams::udp(at)),
        SyslogAt::Tcp(at) => Box::new(Messages::new(at)),
    }
}

/// Writes what stands in front of a line.
pub(super) struct Header {
    time: SecondText,
    /// Host, application, process, kind of message, no structured data.
    names: String,
}

impl Header {
    pub(super) fn new() -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let host: String = host.chars().filter(char::is_ascii_graphic).take(HOST_BYTES_MAX).collect();
        let host = if host.is_empty() { "-" } else { &host };
        Self { time: SecondText::new(), names: format!(" {host} tidegate {} access - ", std::process::id()) }
    }

    pub(super) fn write(&mut self, wall_millis: u64, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<190>1 ");
        out.extend_from_slice(self.time.iso(wall_millis));
        out.extend_from_slice(self.names.as_bytes());
    }
}

/// Over TCP.
struct Messages {
    at: Box<str>,
    stream: Option<TcpStream>,
    header: Header,
    again_millis: u64,
    message: Vec<u8>,
    block: Vec<u8>,
}

impl Messages {
    fn new(at: &str) -> Self {
        Self {
            at: at.into(),
            stream: None,
            header: Header::new(),
            again_millis: 0,
            message: Vec::new(),
            block: Vec::new(),
        }
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in self.at.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, LOG_RECEIVER_TIMEOUT) {
                Ok(stream) => {
                    stream.set_write_timeout(Some(LOG_RECEIVER_TIMEOUT))?;
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Receiver for Messages {
    fn take(&mut self, lines: &[u8], wall_millis: u64) -> io::Result<u64> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None if wall_millis < self.again_millis => return Ok(0),
            None => {
                self.again_millis = wall_millis.saturating_add(millis(LOG_RECEIVER_PAUSE));
                self.connect()?
            }
        };
        self.block.clear();
        let mut count = 0;
        for line in each(lines) {
            self.message.clear();
            self.header.write(wall_millis, &mut self.message);
            self.message.extend_from_slice(line);
            self.block.extend_from_slice(itoa::Buffer::new().format(self.message.len()).as_bytes());
            self.block.push(b' ');
            self.block.extend_from_slice(&self.message);
            count += 1;
        }
        // How much of a block that broke off arrived is not known: all of it counts as lost.
        self.again_millis = wall_millis.saturating_add(millis(LOG_RECEIVER_PAUSE));
        stream.write_all(&self.block)?;
        self.stream = Some(stream);
        Ok(count)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.stream = None;
        self.again_millis = 0;
        Ok(())
    }
}

/// RFC 5424 §6: HOSTNAME.
const HOST_BYTES_MAX: usize = 255;
