//! The connections to one origin: how many, who waits, which are idle.
//!
//! Shared by all workers. A request takes a [`Slot`] first (at most `connections_max`, a bounded queue behind it), then
//! the idle connection used last, else a new one; the one used longest ago ages out. hyper's driver of a connection
//! runs as a task on the worker that opened it and ends with the [`Connection`].
//!
//! ```text
//! Slot --take--> Lease(kept) | Lease(fresh) --whole, clean, kept alive--> idle
//!                                           '--anything else--> closed
//! ```
//!
//! Invariant: idle and leased connections together never exceed `connections_max`; a connection in doubt is never idle.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_store::timestamp::Timestamp;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::AbortHandle;

use super::Surplus;
use super::body::LentBody;
use super::error::{Finding, OriginError};
use super::pool::Pool;
use super::wire::{Socket, Watch, Wire};
use crate::clock::Clock;
use crate::config;
use crate::config::limits::{ORIGIN_FIELDS_MAX, ORIGIN_HEAD_BYTES_MAX};

/// All connections to one origin.
#[derive(Debug)]
pub(crate) struct Connections {
    slots: Arc<Semaphore>,
    slots_max: usize,
    waiting: AtomicUsize,
    waiting_max: usize,
    queue_timeout: Duration,
    idle_timeout: Duration,
    /// Used last at the back.
    idle: Mutex<VecDeque<Connection>>,
}

/// The right to have one connection in use.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code)] OwnedSemaphorePermit); // held for its drop

/// An open connection on which at most one request is under way.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<LentBody>,
    watch: Arc<Watch>,
    /// Held for its drop.
    _driver: Driver,
    /// The name that TLS was verified for.
    name: Option<Arc<str>>,
    kept: bool,
    idle_since: Timestamp,
}

/// hyper's task for the connection; it and the socket end with this.
#[derive(Debug)]
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Connections {
    /// None open.
    pub(crate) fn new(pool: &config::Pool) -> Self {
        let slots_max = pool.connections_max.clamp(1, Semaphore::MAX_PERMITS);
        Self {
            slots: Arc::new(Semaphore::new(slots_max)),
            slots_max,
            waiting: AtomicUsize::new(0),
            waiting_max: pool.queue_max,
            queue_timeout: pool.queue_timeout,
            idle_timeout: pool.idle_timeout,
            idle: Mutex::new(VecDeque::new()),
        }
    }

    /// Whether a request would find a slot without waiting.
    pub(crate) fn has_room(&self) -> bool {
        self.slots.available_permits() > 0
    }

    /// Connections in use, and idle ones.
    pub(crate) fn count(&self) -> (usize, usize) {
        (self.slots_max.saturating_sub(self.slots.available_permits()), self.idle.lock().len())
    }

    /// Requests that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A slot, at once or after waiting in line.
    ///
    /// # Errors
    /// [`OriginError::QueueFull`], [`OriginError::QueueTimeout`].
    pub(crate) async fn slot(&self, clock: &Clock) -> Result<Slot, OriginError> {
        if let Ok(permit) = Arc::clone(&self.slots).try_acquire_owned() {
            return Ok(Slot(permit));
        }
        let _place = Place::take(&self.waiting, self.waiting_max).ok_or(OriginError::QueueFull)?;
        match clock.timeout(self.queue_timeout, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            // The semaphore is never closed; a closed one has no room.
            Ok(Err(_)) => Err(OriginError::QueueFull),
            Err(_) => Err(OriginError::QueueTimeout),
        }
    }

    /// The idle connection used last that may still serve for `name`; one that is not ready within `limit` may not.
    pub(crate) async fn take_idle(
        &self,
        name: Option<&str>,
        limit: Duration,
        clock: &Clock,
    ) -> Option<Connection> {
        loop {
            let now = clock.now();
            let mut connection = {
                let mut idle = self.idle.lock();
                drop_aged(&mut idle, now, self.idle_timeout);
                let at = idle.iter().rposition(|one| one.name.as_deref() == name)?;
                idle.remove(at)?
            };
            // The driver of a connection just given back may still be tidying up on its worker: it says when it is
            // ready, or that it is gone.
            let ready = clock.timeout(limit, connection.sender.ready()).await;
            if matches!(ready, Ok(Ok(()))) && connection.watch.finding().is_none() {
                connection.kept = true;
                return Some(connection);
            }
        }
    }

    /// Makes room for a fresh connection beside idle ones that serve other names.
    pub(crate) fn make_room(&self) {
        let mut idle = self.idle.lock();
        while idle.len() > self.slots.available_permits() {
            idle.pop_front();
        }
    }

    /// Closes idle connections that are too old at `now`.
    pub(crate) fn sweep(&self, now: Timestamp) {
        drop_aged(&mut self.idle.lock(), now, self.idle_timeout);
    }

    /// Keeps a connection whose response was whole for the next request.
    fn keep(&self, mut connection: Connection, now: Timestamp) {
        connection.idle_since = now;
        self.idle.lock().push_back(connection);
    }
}

fn drop_aged(idle: &mut VecDeque<Connection>, now: Timestamp, idle_timeout: Duration) {
    while idle
        .front()
        .is_some_and(|oldest| oldest.sender.is_closed() || now.since(oldest.idle_since) >= idle_timeout)
    {
        idle.pop_front();
    }
}

/// A place in the line for a slot; left when dropped.
struct Place<'c>(&'c AtomicUsize);

impl<'c> Place<'c> {
    fn take(waiting: &'c AtomicUsize, max: usize) -> Option<Self> {
        waiting
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < max).then(|| count.saturating_add(1))
            })
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Connection {
    /// Speaks HTTP/1.1 over `socket`, verified for `name` where it is encrypted.
    ///
    /// # Errors
    /// [`OriginError::Connect`] when hyper cannot start on it.
    pub(crate) async fn open(socket: Socket, name: Option<Arc<str>>) -> Result<Self, OriginError> {
        let watch = Arc::new(Watch::default());
        let (sender, connection) = http1::Builder::new()
            .max_headers(ORIGIN_FIELDS_MAX)
            .max_buf_size(ORIGIN_HEAD_BYTES_MAX.saturating_mul(2))
            .handshake(Wire::new(socket, Arc::clone(&watch)))
            .await
            .map_err(|_| OriginError::Connect)?;
        // Its errors reach the request under way; between requests they only close the connection.
        let driver = tokio::spawn(async move {
            let _ = connection.await;
        });
        let driver = Driver(driver.abort_handle());
        Ok(Self { sender, watch, _driver: driver, name, kept: false, idle_since: Timestamp::default() })
    }

    /// Whether it has carried a request before.
    pub(crate) fn kept(&self) -> bool {
        self.kept
    }

    /// What is seen of its bytes.
    pub(crate) fn watch(&self) -> &Watch {
        &self.watch
    }

    /// Sends a request and waits for the head of its response within `limit`, which does not run while the client is
    /// still to bring its body. Cancel by dropping; the connection must then be dropped too.
    ///
    /// # Errors
    /// Why there is no head.
    pub(crate) async fn exchange(
        &mut self,
        request: Request<LentBody>,
        limit: Duration,
        clock: &Clock,
    ) -> Result<Response<Incoming>, OriginError> {
        let body = request.body().clone();
        let surplus = request.extensions().get::<Surplus>().copied().unwrap_or_default();
        self.watch.begin(*request.method() == http::Method::HEAD, self.kept, surplus);
        let mut sending = std::pin::pin!(self.sender.try_send_request(request));
        let mut seen = 0;
        let outcome = loop {
            if let Ok(outcome) = clock.timeout(limit, sending.as_mut()).await {
                break outcome;
            }
            let (client_is_waited_for, pieces) = body.progress();
            if !client_is_waited_for && pieces == seen {
                return Err(OriginError::FirstByteTimeout);
            }
            seen = pieces;
        };
        outcome.map_err(|failed| {
            let error = failed.into_error();
            self.watch.finding().unwrap_or_else(|| match body.error() {
                Some(cause) => OriginError::RequestBody(cause),
                None if error.is_parse_too_large() => OriginError::HeadTooLarge,
                None if error.is_parse() => OriginError::Framing(Finding::Unreadable),
                None => OriginError::Reset,
            })
        })
    }
}

/// A connection in use for one request, up to the end of its response. Dropped, the connection is closed.
#[derive(Debug)]
pub(crate) struct Lease {
    connection: Connection,
    body: LentBody,
    pool: Arc<Pool>,
    index: usize,
    // Last: the slot is free only when the connection is closed or idle.
    slot: Slot,
}

impl Lease {
    /// For the origin at `index` of `pool`, which is sent `body`.
    pub(crate) fn new(
        connection: Connection,
        body: LentBody,
        pool: Arc<Pool>,
        index: usize,
        slot: Slot,
    ) -> Self {
        Self { connection, body, pool, index, slot }
    }

    /// What is seen of the connection's bytes.
    pub(crate) fn watch(&self) -> &Watch {
        self.connection.watch()
    }

    /// The response was whole.
    pub(crate) fn succeeded(self) {
        self.pool.succeeded(self.index);
        // An origin that answered before it had the whole request would take the rest of it for the next one.
        if self.watch().reusable()
            && self.body.ended()
            && let Some(origin) = self.pool.origin(self.index)
        {
            origin.connections.keep(self.connection, self.pool.clock().now());
        }
        drop(self.slot);
    }

    /// The response broke off or broke the rules.
    pub(crate) fn failed(self, error: OriginError) {
        self.pool.failed(self.index, error);
    }
}
