//! The connections to one origin: how many, who waits, which are idle.
//!
//! Shared by all workers. A request takes a [`Slot`] first (at most `connections_max`, a bounded queue behind it), then
//! the idle connection used last, one of its own worker if there is one, else a new one; the one used longest ago ages out.
//!
//! ```text
//! Slot --take--> kept | fresh --whole, clean, kept alive--> idle
//!                              '--anything else--> closed
//! ```
//!
//! Invariant: idle and leased connections together never exceed `connections_max`; a connection in doubt is never idle.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::connection::{Connection, home};
use super::error::OriginError;
use crate::clock::Clock;
use crate::config;

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
    idle: Mutex<VecDeque<Box<Connection>>>,
}

/// The right to have one connection in use.
#[derive(Debug)]
pub(crate) struct Slot(#[allow(dead_code)] OwnedSemaphorePermit); // held for its drop

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

    /// Requests that have a slot or wait for one.
    pub(crate) fn active(&self) -> usize {
        let taken = self.slots_max.saturating_sub(self.slots.available_permits());
        taken.saturating_add(self.waiting())
    }

    /// Requests that wait for a slot.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// A slot, if one is free.
    pub(crate) fn slot_now(&self) -> Option<Slot> {
        Arc::clone(&self.slots).try_acquire_owned().ok().map(Slot)
    }

    /// A slot after waiting in line.
    ///
    /// # Errors
    /// [`OriginError::QueueFull`], [`OriginError::QueueTimeout`].
    pub(crate) async fn slot_in_line(&self, clock: &Clock) -> Result<Slot, OriginError> {
        let _place = Place::take(&self.waiting, self.waiting_max).ok_or(OriginError::QueueFull)?;
        match clock.timeout(self.queue_timeout, Arc::clone(&self.slots).acquire_owned()).await {
            Ok(Ok(permit)) => Ok(Slot(permit)),
            // The semaphore is never closed; a closed one has no room.
            Ok(Err(_)) => Err(OriginError::QueueFull),
            Err(_) => Err(OriginError::QueueTimeout),
        }
    }

    /// The idle connection used last that may still serve for `name`, and for `client` where it was introduced with one.
    pub(crate) fn take_idle(
        &self,
        name: Option<&str>,
        client: Option<SocketAddr>,
        now: Timestamp,
    ) -> Option<Box<Connection>> {
        let home = home();
        loop {
            let mut connection = {
                let mut idle = self.idle.lock();
                drop_aged(&mut idle, now, self.idle_timeout);
                let at = idle
                    .iter()
                    .rposition(|one| one.is_at(home) && one.is_for(name, client))
                    .or_else(|| idle.iter().rposition(|one| one.is_for(name, client)))?;
                idle.remove(at)?
            };
            if connection.resume(home) {
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

    /// Closes idle connections that are too old at `now`, or that their origin has closed.
    pub(crate) fn sweep(&self, now: Timestamp) {
        let mut idle = self.idle.lock();
        drop_aged(&mut idle, now, self.idle_timeout);
        idle.retain_mut(|connection| connection.is_silent());
    }

    /// Keeps a connection whose response was whole for the next request.
    pub(crate) fn keep(&self, mut connection: Box<Connection>, now: Timestamp) {
        connection.idle_since = now;
        self.idle.lock().push_back(connection);
    }
}

fn drop_aged(idle: &mut VecDeque<Box<Connection>>, now: Timestamp, idle_timeout: Duration) {
    while idle.front().is_some_and(|oldest| now.since(oldest.idle_since) >= idle_timeout) {
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
