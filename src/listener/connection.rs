//! What a protocol needs to know about the connection it serves, beside the bytes.

use std::sync::Arc;

use super::deadline::Deadline;
use super::request::{Client, Scheme};
use crate::clock::Clock;
use crate::config::Limits;
use crate::shutdown::Drain;

/// Handed to `h1` and `h2` with each connection.
#[derive(Debug)]
pub struct ConnectionContext {
    /// The clock.
    pub clock: Clock,
    /// What the connection may cost.
    pub limits: Arc<Limits>,
    /// Its slot in the worker's sweep, not set yet.
    pub deadline: Deadline,
    /// Who is at the other end.
    pub client: Arc<Client>,
    /// By the connection: TLS or not.
    pub scheme: Scheme,
    /// Whether the node is ending.
    pub drain: Drain,
}
