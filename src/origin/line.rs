//! What carries one request to an origin: a connection of HTTP/1.1, or a stream of one of HTTP/2. The same face for both.

use std::future::{Future, poll_fn};
use std::task::{Context, Poll};
use std::time::Duration;

use cache_store::timestamp::Timestamp;

use super::connection::Connection;
use super::connections::Connections;
use super::error::OriginError;
use super::framing::Framing;
use super::h2::{Seat, Stream};
use super::patience::Patience;
use super::response::Received;
use super::upload::Upload;
use super::wire::Socket;
use crate::clock::Clock;

/// What carries a request and its response.
#[derive(Debug)]
pub(crate) enum Line {
    /// A connection, and its place among those of a pool that speaks HTTP/2.
    Whole(Box<Connection>, Option<Seat>),
    /// A stream of one.
    Stream(Box<Stream>),
}

impl Line {
    /// Sends the request begun, `now`, and waits for the head of its response within `limit`; see [`Patience`]. Cancel by
    /// dropping; the line must then be dropped too.
    ///
    /// # Errors
    /// Why there is no head.
    pub(crate) fn exchange(
        &mut self,
        upload: &mut Upload,
        received: &mut Received,
        (now, limit): (Timestamp, Duration),
        clock: &Clock,
    ) -> impl Future<Output = Result<(), OriginError>> {
        let mut patience = Patience::new(now, limit, upload);
        // Polled by hand: one future below those that lead the request.
        poll_fn(move |cx| match &mut *self {
            Self::Whole(connection, _) => connection.poll_head(cx, upload, received, &mut patience, clock),
            Self::Stream(stream) => stream.poll_head(cx, upload, received, &mut patience, clock),
        })
    }

    /// See [`Connection::poll_data`].
    ///
    /// # Errors
    /// Why what came is not the whole.
    pub(crate) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        upload: &mut Upload,
        received: &mut Received,
    ) -> Poll<Result<bool, OriginError>> {
        match self {
            Self::Whole(connection, _) => connection.poll_data(cx, upload, received),
            Self::Stream(stream) => stream.poll_data(cx, upload, received),
        }
    }

    /// Ready when `due` has passed.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>, clock: &Clock, due: Timestamp) -> Poll<()> {
        match self {
            Self::Whole(connection, _) => connection.poll_due(cx, clock, due),
            Self::Stream(stream) => stream.poll_due(cx, clock, due),
        }
    }

    /// How the body is framed, and the length its head declares.
    pub(crate) fn framing(&self) -> (Framing, Option<u64>) {
        match self {
            Self::Whole(connection, _) => connection.framing(),
            Self::Stream(stream) => stream.framing(),
        }
    }

    /// Whether nothing more belongs to the response.
    pub(crate) fn is_done(&self) -> bool {
        match self {
            Self::Whole(connection, _) => connection.is_done(),
            Self::Stream(stream) => stream.is_done(),
        }
    }

    /// Whether its connection had carried a request before this one.
    pub(crate) fn kept(&self) -> bool {
        match self {
            Self::Whole(connection, _) => connection.kept(),
            Self::Stream(stream) => stream.kept(),
        }
    }

    /// Whether the origin has surely not looked at the request.
    pub(crate) fn unsent(&self) -> bool {
        match self {
            Self::Whole(connection, _) => connection.unsent(),
            Self::Stream(stream) => stream.unsent(),
        }
    }

    /// Whether something of the response has been read.
    pub(crate) fn answered(&self) -> bool {
        match self {
            Self::Whole(connection, _) => connection.answered(),
            Self::Stream(stream) => stream.answered(),
        }
    }

    /// Whether the origin has gone over to another protocol.
    pub(crate) fn has_switched(&self) -> bool {
        matches!(self, Self::Whole(connection, _) if connection.has_switched())
    }

    /// What is below it, for another protocol.
    pub(crate) fn into_socket(self) -> Option<Socket> {
        match self {
            Self::Whole(connection, _) => Some(connection.into_socket()),
            Self::Stream(_) => None,
        }
    }

    /// The response was whole: its connection serves again where it may. An origin that answered before it had the whole request
    /// would take the rest of it for the next one.
    pub(crate) fn give_back(self, upload: &Upload, connections: &Connections, now: Timestamp) {
        if let Self::Whole(connection, _seat) = self
            && connection.is_reusable()
            && upload.is_ended()
        {
            connections.keep(connection, now);
        }
    }
}
