//! Streams that are under way, and the exchanges on them.
//!
//! ```text
//! request ──> Awaiting the answer ──> Body to be sent ──> over
//!    └─ an answer that is here and fits needs no stream at all
//! ```
//!
//! A request whose answer goes out within its turn never comes here: a stream is what has to wait for an origin, a window or
//! its client's body. RFC 9113 §5.1.

use std::collections::VecDeque;

use cache_store::timestamp::Timestamp;

use super::body::Outgoing;
use super::head::cost;
use super::tunnel::Carrier;
use super::upload::{Inlet, Upload};
use super::wake::StreamWaker;
use crate::config::limits::{H2_IGNORED_STREAMS, H2_STREAM_WINDOW_BYTES};
use crate::listener::fields::FieldIndex;
use crate::listener::request::Request;
use crate::respond::response::Outcome;

/// A request and what was sent for it.
pub(super) struct Exchange {
    pub(super) request: Request,
    /// Taken from what heads may hold.
    pub(super) held_bytes: usize,
    pub(super) status: u16,
    pub(super) body_bytes: u64,
    /// The answer went out whole.
    pub(super) complete: bool,
    pub(super) outcome: Outcome,
    /// Where in all that the connection ever wrote the answer ends.
    pub(super) ends_at: u64,
    /// The request holds no more than is told at its end.
    shed: bool,
}

impl Exchange {
    pub(super) fn new(request: Request, held_bytes: usize) -> Self {
        Self {
            request,
            held_bytes,
            status: STATUS_CLIENT_LEFT,
            body_bytes: 0,
            complete: false,
            outcome: Outcome::default(),
            ends_at: 0,
            shed: false,
        }
    }

    /// Lets go of what the answer no longer needs of its request, once; how much less it holds now.
    pub(super) fn shed(&mut self) -> (FieldIndex, usize) {
        if std::mem::replace(&mut self.shed, true) {
            return (FieldIndex::default(), 0);
        }
        let index = self.request.shed();
        let held_bytes = cost(&self.request.fields).min(self.held_bytes);
        (index, std::mem::replace(&mut self.held_bytes, held_bytes).saturating_sub(held_bytes))
    }
}

/// A stream under way.
pub(super) struct Stream {
    /// `None`: it never became a request, and is being refused.
    pub(super) exchange: Option<Exchange>,
    pub(super) opened: Timestamp,
    pub(super) sending: Sending,
    /// What the client lets us send. RFC 9113 §6.9.1.
    pub(super) window: i64,
    /// Since when something is ready to be sent and a window forbids it.
    pub(super) blocked_since: Option<Timestamp>,
    /// The request's body, until all of it has come and was pulled.
    pub(super) receiving: Option<Receiving>,
    pub(super) waker: StreamWaker,
}

pub(super) use crate::listener::service::Answering;

/// What is done for a stream.
pub(super) enum Sending {
    Awaiting(Answering),
    Body(Outgoing),
    /// The origin of a tunnel has ended, and its client goes on.
    Tail(Box<Carrier>),
}

/// A request's body that comes in.
pub(super) struct Receiving {
    pub(super) inlet: Inlet,
    /// Bytes still to come, if the client said how many.
    pub(super) left: Option<u64>,
    pub(super) window: i64,
    /// Handed over and not pulled yet.
    pub(super) unpulled: u32,
    /// Pulled, and not told to the client yet.
    pub(super) owed: u32,
    pub(super) ended: bool,
    /// It is no body, and has no pace: its client wants a tunnel.
    pub(super) is_tunnel: bool,
    /// What is to go through that, until there is one.
    pub(super) upload: Option<Upload>,
    /// Bytes received since `since`, for the minimum rate.
    pub(super) bytes: u64,
    pub(super) since: Timestamp,
}

impl Receiving {
    pub(super) fn new(inlet: Inlet, left: Option<u64>, now: Timestamp) -> Self {
        Self {
            inlet,
            left,
            window: i64::from(H2_STREAM_WINDOW_BYTES),
            unpulled: 0,
            owed: 0,
            ended: false,
            is_tunnel: false,
            upload: None,
            bytes: 0,
            since: now,
        }
    }

    /// The same of what is to go through a tunnel.
    pub(super) fn of_tunnel(inlet: Inlet, upload: Upload, now: Timestamp) -> Self {
        Self { is_tunnel: true, upload: Some(upload), ..Self::new(inlet, None, now) }
    }
}

/// All streams of a connection that are under way.
#[derive(Default)]
pub(super) struct Streams {
    /// As many as are allowed, so looking through them is cheap.
    list: Vec<(u32, Box<Stream>)>,
    /// Whose turn it is to send.
    turn: usize,
    /// Streams that we have reset: what the client sent before it knew is ignored. RFC 9113 §5.1.
    ignored: VecDeque<u32>,
}

impl Streams {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub(super) fn insert(&mut self, id: u32, stream: Box<Stream>) {
        self.list.push((id, stream));
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Stream> {
        self.list.iter_mut().find(|(known, _)| *known == id).map(|(_, stream)| &mut **stream)
    }

    pub(super) fn remove(&mut self, id: u32) -> Option<Box<Stream>> {
        let at = self.list.iter().position(|(known, _)| *known == id)?;
        Some(self.list.swap_remove(at).1)
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.list.iter_mut().map(|(_, stream)| &mut **stream)
    }

    pub(super) fn each_mut(&mut self) -> impl Iterator<Item = (u32, &mut Stream)> {
        self.list.iter_mut().map(|(id, stream)| (*id, &mut **stream))
    }

    /// The next in turn.
    pub(super) fn next(&mut self) -> Option<(u32, &mut Stream)> {
        if self.turn >= self.list.len() {
            self.turn = 0;
        }
        let at = self.turn;
        self.turn += 1;
        self.list.get_mut(at).map(|(id, stream)| (*id, &mut **stream))
    }

    /// All of them, at the connection's end.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Box<Stream>> {
        self.list.drain(..).map(|(_, stream)| stream)
    }

    /// We have reset this one.
    pub(super) fn ignore(&mut self, id: u32) {
        if self.ignored.len() >= H2_IGNORED_STREAMS {
            self.ignored.pop_front();
        }
        self.ignored.push_back(id);
    }

    pub(super) fn is_ignored(&self, id: u32) -> bool {
        self.ignored.contains(&id)
    }
}

/// As nginx logs a client that left before an answer began.
const STATUS_CLIENT_LEFT: u16 = 499;
