//! Ends a connection so that nobody takes the end for the end of an answer.
//!
//! A body that is delimited by the end of its connection (HTTP/1.0 clients get such) looks complete when the connection is
//! closed in order. So a socket on which such an answer was cut, or that is dropped within any, is reset instead (RFC 9112
//! §8: the recipient cannot tell otherwise). Where the head announced the end, an orderly close shows the cut and brings what
//! came before it. `door.rs` keeps the socket in here while HTTP/1 is spoken.

use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;

use super::deadline::Phase;
use super::h1::ConnectionEnd;

/// A socket that is reset when it is dropped, unless its connection [`Severed::ended`] in order.
pub(super) struct Severed<IO> {
    io: IO,
    tcp: fn(&IO) -> &TcpStream,
    resets: bool,
}

impl<IO> Severed<IO> {
    /// `tcp` names the socket below `io`.
    pub(super) fn new(io: IO, tcp: fn(&IO) -> &TcpStream) -> Self {
        Self { io, tcp, resets: true }
    }

    /// To speak over.
    pub(super) const fn io(&mut self) -> &mut IO {
        &mut self.io
    }

    /// The connection ended like this; whatever it said is whole unless it says otherwise.
    pub(super) fn ended(mut self, end: &ConnectionEnd) {
        self.resets = matches!(
            end,
            ConnectionEnd::Cut { announced: false }
                | ConnectionEnd::TimedOut(Phase::SendStall | Phase::Total)
        );
    }
}

impl<IO> Drop for Severed<IO> {
    fn drop(&mut self) {
        if self.resets {
            // A socket that takes no options any more is closed already.
            let _ = SockRef::from((self.tcp)(&self.io)).set_linger(Some(Duration::ZERO));
        }
    }
}
