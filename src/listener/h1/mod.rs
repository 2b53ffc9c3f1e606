//! Our own strict HTTP/1.1 server connection, on `httparse`.
//!
//! Where RFC 9112 lets a server be strict it is: what is ambiguous is refused and the connection closed ([`Refusal`]).
//! The listener accepts a socket and calls [`serve_connection`], which hands requests to a [`Service`] and
//! writes what it answers; a hit costs one read and one write and allocates nothing here.
//!
//! ```text
//! bytes ── head.rs ──> Request ── Service ──> Response ── answer.rs ──> bytes
//!            └ body.rs, pump.rs: the body, pulled while the answer is awaited
//! ```
//!
//! Invariant: the bytes of a body are never parsed as a request, and after a refusal nothing is parsed at all.
//!
//! A byte is passed unparsed only behind a 101 that the walk hands over with an open connection (`tunnel.rs`).
//! Absent on purpose: CONNECT, request pipelining beyond the gather bound. RFC 9112; RFC 9110 §7, §10.1.1, §15.2.

mod answer;
pub mod authority;
pub mod body;
mod buffers;
mod connection;
mod date;
mod exchange;
pub mod head;
mod look;
mod pump;
mod refusal;
mod socket;
mod stream;
#[cfg(test)]
mod tests;
mod transport;
mod tunnel;
mod waiting;

use std::io;
use std::rc::Rc;
use std::sync::Arc;

use super::deadline::{Deadline, Phase};
use super::request::{Client, Scheme};
use super::service::Service;
use crate::clock::Clock;
use crate::config::limits::Limits;
use crate::shutdown::Drain;

pub use buffers::Buffers;
pub use date::DateLine;
pub use refusal::Refusal;
pub use transport::Transport;
pub(super) use transport::{Lending, Plain};

/// What a connection is given by its worker.
#[derive(Debug)]
pub struct ConnectionContext {
    /// The clock.
    pub clock: Clock,
    /// What the connection and its requests may cost.
    pub limits: Arc<Limits>,
    /// Its slot in the worker's sweep.
    pub deadline: Deadline,
    /// The client end.
    pub client: Arc<Client>,
    /// `https` behind TLS, else `http`.
    pub scheme: Scheme,
    /// Tells when the worker drains; its idle connections are ended with `Deadlines::expire_idle`.
    pub drain: Drain,
    /// The worker's `Date` line, rendered once a second.
    pub date: Rc<DateLine>,
    /// What the worker's connections read into and write from.
    pub buffers: Rc<Buffers>,
}

/// How a connection ended.
#[derive(Debug)]
pub enum ConnectionEnd {
    /// In order: the client closed between requests, or an answer said `Connection: close`.
    Closed,
    /// Between requests, because it was idle for too long or the node drains.
    Idle,
    /// A request was refused.
    Refused(Refusal),
    /// The client left within a request or an answer.
    ClientGone,
    /// A deadline passed within a request or an answer.
    TimedOut(Phase),
    /// An answer could not be brought to its end and was cut.
    Cut {
        /// Whether its head told where the end would have been, so that the client sees that it is not there.
        announced: bool,
    },
    /// The socket failed.
    Failed(io::Error),
}

/// Serves one connection to its end. Dropping the future cuts it; every request begun is still reported to
/// [`Service::finished`], exactly once.
pub async fn serve_connection<IO, S>(io: IO, service: &S, context: ConnectionContext) -> ConnectionEnd
where
    IO: Transport,
    S: Service,
{
    connection::Connection::new(io, service, context).run().await
}
