//! The HTTP/2 connections to one origin: which of them carries a request, and when there is one more.
//!
//! A request goes on the connection of its own worker with the fewest streams. Where all of those are full another is opened,
//! up to `connections_max` for the node; where none may be opened one of another worker's carries it; where all are full it
//! waits. While one is being opened those that need it wait for it instead of opening one each, and share its failure.
//! An origin that chooses HTTP/1.1 in the TLS handshake is spoken to in that, one request a connection (`connection.rs`),
//! within the same bound. So is every request that asks for another protocol (WebSocket).
//!
//! Invariant: open sockets never exceed `connections_max` (HTTP/1.1 ones that are idle make room for those in use); the
//! streams of each never exceed `streams_max`, nor what the origin takes. Names share no connection (RFC 9113 §9.1.1 is not made
//! use of).

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;
use tokio::runtime::Id;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::super::connection::{Connection, home};
use super::super::error::OriginError;
use super::super::line::Line;
use super::super::pool::{Origin, Pool};
use super::Stream;
use super::link::{Fit, Link, Share};
use crate::config;

/// All HTTP/2 connections to one origin.
#[derive(Debug)]
pub(crate) struct Links {
    seats: Arc<Semaphore>,
    streams_max: usize,
    state: Mutex<State>,
    /// A stream or a connection ended, or one was opened.
    freed: Arc<Notify>,
    /// What the origin chose last.
    speaks_http1: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    links: Vec<Arc<Link>>,
    /// For whom, and on which runtime, connections are being opened.
    opening: Vec<(Fit, Option<Id>)>,
    /// How many could not be, and which was the last one, and why.
    failures: u64,
    failure: Option<(Fit, OriginError)>,
}

impl Links {
    /// None open.
    pub(crate) fn new(pool: &config::Pool) -> Self {
        Self {
            seats: Arc::new(Semaphore::new(pool.connections_max.clamp(1, Semaphore::MAX_PERMITS))),
            streams_max: pool.transport.streams_max,
            state: Mutex::default(),
            freed: Arc::default(),
            speaks_http1: AtomicBool::new(false),
        }
    }

    /// Connections that carry streams, and idle ones.
    pub(crate) fn count(&self) -> (usize, usize) {
        let state = self.state.lock();
        let idle = state.links.iter().filter(|link| link.streams() == 0).count();
        (state.links.len().saturating_sub(idle), idle)
    }

    /// Lets go of connections that ended or have been idle for too long.
    pub(crate) fn sweep(&self, now: Timestamp, pool: &config::Pool) {
        let gone = |link: &mut Arc<Link>| link.is_closed() || link.idle_for(now) >= pool.idle_timeout;
        let gone: Vec<_> = self.state.lock().links.extract_if(.., gone).collect();
        // Outside of the lock: their ends tell who waits.
        drop(gone);
    }

    /// A place for a request to `origin`, at once, on a fresh connection, or after waiting in line.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn line(
        &self,
        pool: &Pool,
        origin: &Origin,
        name: Option<&Arc<str>>,
        client: Option<SocketAddr>,
        only_http1: bool,
    ) -> Result<Line, OriginError> {
        let (fit, home) = (Fit { name: name.cloned(), client }, home());
        let patience = pool.settings.queue_timeout.max(pool.settings.connect_timeout);
        let deadline = pool.clock().now().plus(patience);
        let failures = self.state.lock().failures;
        loop {
            let freed = self.freed.notified();
            tokio::pin!(freed);
            freed.as_mut().enable();
            match self.turn(&fit, home, failures, only_http1)? {
                Turn::Stream(share) => return Ok(Line::Stream(Box::new(Stream::new(share)))),
                Turn::Open(seat, _opening) => {
                    let opened = self.open(pool, origin, &fit, seat, only_http1).await;
                    if let Err(error) = opened {
                        let mut state = self.state.lock();
                        state.failures = state.failures.wrapping_add(1);
                        state.failure = Some((fit.clone(), error));
                    }
                    return opened;
                }
                Turn::Wait => {}
            }
            let left = deadline.since(pool.clock().now());
            pool.clock().timeout(left, freed).await.map_err(|_| OriginError::QueueTimeout)?;
        }
    }

    fn turn(
        &self,
        fit: &Fit,
        home: Option<Id>,
        failures: u64,
        only_http1: bool,
    ) -> Result<Turn<'_>, OriginError> {
        // They end outside of the lock.
        let mut gone = Vec::new();
        let mut state = self.state.lock();
        if !only_http1 {
            gone.extend(state.links.extract_if(.., |link| link.is_closed()));
            if let Some(share) = take(&state.links, fit, |link| link.is_at(home)) {
                return Ok(Turn::Stream(share));
            }
            if !self.speaks_http1.load(Ordering::Relaxed) {
                if state.opening.contains(&(fit.clone(), home)) {
                    return Ok(Turn::Wait);
                }
                if state.failures != failures
                    && let Some((theirs, error)) = &state.failure
                    && theirs == fit
                {
                    return Err(*error);
                }
            }
        }
        if let Ok(permit) = Arc::clone(&self.seats).try_acquire_owned() {
            let seat = Seat { permit: Some(permit), freed: Arc::clone(&self.freed) };
            let opening = (fit.clone(), home);
            state.opening.push(opening.clone());
            return Ok(Turn::Open(seat, Opening { links: self, opening }));
        }
        if !only_http1 && let Some(share) = take(&state.links, fit, |_| true) {
            return Ok(Turn::Stream(share));
        }
        // One that serves nobody has another's place.
        if let Some(at) = state.links.iter().position(|link| link.streams() == 0) {
            gone.push(state.links.swap_remove(at));
        }
        drop(state);
        drop(gone);
        Ok(Turn::Wait)
    }

    async fn open(
        &self,
        pool: &Pool,
        origin: &Origin,
        fit: &Fit,
        seat: Seat,
        only_http1: bool,
    ) -> Result<Line, OriginError> {
        let now = pool.clock().now();
        if let Some(connection) = origin.connections.take_idle(fit.name.as_deref(), fit.client, now) {
            return Ok(Line::Whole(connection, Some(seat)));
        }
        origin.connections.keep_idle(self.seats.available_permits());
        let socket = pool.connect(origin, fit.name.as_ref(), fit.client, only_http1).await?;
        let speaks_http1 = only_http1 || socket.has_chosen_http1();
        if !only_http1 {
            self.speaks_http1.store(speaks_http1, Ordering::Relaxed);
        }
        if speaks_http1 {
            let connection = Connection::new(socket, fit.name.clone(), fit.client);
            return Ok(Line::Whole(Box::new(connection), Some(seat)));
        }
        let (freed, limit) = (Arc::clone(&self.freed), pool.settings.connect_timeout);
        let shaking =
            Link::shake(socket, fit.clone(), Some(seat), freed, self.streams_max, limit, pool.clock());
        let link = shaking.await?;
        let share = link.share();
        self.state.lock().links.push(link);
        Ok(Line::Stream(Box::new(Stream::new(share))))
    }

    /// A connection for one request, beside all others: a health check's.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn alone(
        &self,
        pool: &Pool,
        origin: &Origin,
        name: Option<&Arc<str>>,
    ) -> Result<Line, OriginError> {
        let socket = pool.connect(origin, name, None, false).await?;
        if socket.has_chosen_http1() {
            let connection = Connection::new(socket, name.cloned(), None);
            return Ok(Line::Whole(Box::new(connection), None));
        }
        let (fit, freed) = (Fit { name: name.cloned(), client: None }, Arc::default());
        let limit = pool.settings.connect_timeout;
        let link = Link::shake(socket, fit, None, freed, 1, limit, pool.clock()).await?;
        Ok(Line::Stream(Box::new(Stream::new(link.share()))))
    }
}

/// The right to have one socket open.
#[derive(Debug)]
pub(crate) struct Seat {
    permit: Option<OwnedSemaphorePermit>,
    freed: Arc<Notify>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.permit.take());
        self.freed.notify_waiters();
    }
}

/// What a request does next.
enum Turn<'l> {
    /// It has a place.
    Stream(Share),
    /// It opens a connection.
    Open(Seat, Opening<'l>),
    /// It waits until something changes.
    Wait,
}

/// The one with the fewest streams among those that fit and have room.
fn take(links: &[Arc<Link>], fit: &Fit, among: impl Fn(&Link) -> bool) -> Option<Share> {
    let fitting = links.iter().filter(|link| among(link) && link.is_for(fit) && link.has_room());
    fitting.min_by_key(|link| link.streams()).map(Link::share)
}

/// A connection being opened, until this is dropped.
struct Opening<'l> {
    links: &'l Links,
    opening: (Fit, Option<Id>),
}

impl Drop for Opening<'_> {
    fn drop(&mut self) {
        let mut state = self.links.state.lock();
        if let Some(at) = state.opening.iter().position(|one| *one == self.opening) {
            state.opening.swap_remove(at);
        }
        drop(state);
        self.links.freed.notify_waiters();
    }
}
