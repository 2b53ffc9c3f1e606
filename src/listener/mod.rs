//! 1 bytes -> Request: accept, limit, drain.
//!
//! [`Workers`] starts one thread a worker, each with a single-threaded runtime and its own `SO_REUSEPORT` socket for
//! every listener, so a connection never leaves its thread and a hit never crosses to another. `door.rs` takes a
//! connection through TLS to its protocol; the protocols hand [`request::Request`]s to the [`service::Service`] that
//! the caller made for the worker. Work that blocks belongs on the shared runtime whose handle each worker gets.
//!
//! ```text
//! socket ── accept.rs ──> door.rs ──(proxy_protocol.rs)──(tls.rs)──> h1/ or h2/ ── guard.rs ──> Service
//! ```
//!
//! Invariant: everything a connection costs is bounded (`config/limits.rs`), and all of it is dropped with its task.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Config;
use crate::gate::Gate;
use crate::shutdown::Shutdown;

mod accept;
pub(crate) mod budget;
pub mod deadline;
mod door;
pub mod fields;
mod guard;
pub mod h1;
pub(crate) mod h2;
pub(crate) mod peeked;
pub(crate) mod proxied;
mod proxy_protocol;
pub mod request;
pub mod service;
mod sever;
pub mod sockets;
pub mod stats;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod trailers;
mod watch;
mod worker;

use accept::Slots;
use door::TlsDoor;
use service::Service;
use sockets::{Inherited, OpenSockets, Purpose};
use stats::ListenerStats;
use tls::{Certificates, TlsError};
pub use worker::Pulse;
use worker::{Busy, Opening, WorkerThread};

/// Starts the threads that serve clients.
#[derive(Debug)]
pub struct Workers<'a> {
    /// Listeners, limits and the number of workers.
    pub config: &'a Arc<Config>,
    /// The clock.
    pub clock: &'a Clock,
    /// The end of the node; workers join it, and its drain timeout is enforced here.
    pub shutdown: &'a Shutdown,
    /// The runtime for what blocks or belongs to no worker.
    pub shared: &'a Handle,
    /// Nothing is accepted before it is open.
    pub gate: &'a Gate,
}

/// Listeners that stand: their sockets are bound and their certificates read, and nobody accepts yet.
pub struct Bound {
    listeners: Vec<Arc<ListenerStats>>,
    sockets: Vec<Arc<OpenSockets>>,
    certificates: Vec<Arc<Certificates>>,
    /// By worker.
    doors: Vec<Vec<Opening>>,
}

/// What a service may know about the worker it is made for.
#[derive(Clone, Debug)]
pub struct Worker {
    /// From 0.
    pub index: usize,
    /// The runtime for what blocks or burns CPU.
    pub shared: Handle,
}

/// Listeners that serve.
#[derive(Debug)]
pub struct Running {
    /// By listener, in the order of the settings.
    listeners: Vec<Arc<ListenerStats>>,
    certificates: Vec<Arc<Certificates>>,
    pulses: Vec<Pulse>,
    shutdown: Shutdown,
    threads: Vec<JoinHandle<()>>,
}

/// Why the listeners could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A socket could not be opened.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address wanted.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Certificates cannot be used.
    #[error("cannot show a certificate on {address}")]
    Tls {
        /// The listener's address.
        address: SocketAddr,
        /// Which and why.
        source: TlsError,
    },
    /// A thread or its runtime could not be made.
    #[error("cannot start a worker thread")]
    Thread(#[source] io::Error),
}

impl Workers<'_> {
    /// Opens every socket, or takes up those that were handed over, and reads the certificates.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is bound.
    pub fn bind(&self, purpose: Purpose, inherited: &Inherited) -> Result<Bound, StartError> {
        let workers = self.config.workers.max(1);
        let handshakes = Arc::new(Semaphore::new(self.config.limits.handshakes_max));
        let (listeners, sockets, certificates) = (Vec::new(), Vec::new(), Vec::new());
        let doors = std::iter::repeat_with(Vec::new).take(workers).collect();
        let mut bound = Bound { listeners, sockets, certificates, doors };
        for listener in &self.config.listeners {
            let address = listener.address;
            let sockets = sockets::open(address, purpose, workers, inherited)
                .map_err(|source| StartError::Listen { address, source })?;
            let first = sockets.first().and_then(|sockets| sockets.first());
            let at = first.and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
            let tls = if listener.tls.is_empty() {
                None
            } else {
                let tls = TlsDoor::open(listener, &handshakes)
                    .map_err(|source| StartError::Tls { address: at, source })?;
                bound.certificates.push(Arc::clone(&tls.certificates));
                Some(tls)
            };
            let stats = Arc::new(ListenerStats::new(at));
            bound.listeners.push(Arc::clone(&stats));
            let open = OpenSockets::new(address, purpose);
            bound.sockets.push(Arc::clone(&open));
            for (sockets, doors) in sockets.into_iter().zip(&mut bound.doors) {
                doors.push(Opening {
                    sockets,
                    open: Arc::clone(&open),
                    stats: Arc::clone(&stats),
                    tls: tls.clone(),
                    trusted_proxies: listener.trusted_proxies.as_slice().into(),
                    proxy_protocol: listener.proxy_protocol.as_deref().map(Into::into),
                });
            }
        }
        Ok(bound)
    }

    /// Starts the threads; `make_service` is called on each, so the service may be `!Send`. When this returns connections are taken, or
    /// will be as soon as the gate is open.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start<S, F>(&self, bound: Bound, make_service: F) -> Result<Running, StartError>
    where
        S: Service + 'static,
        F: Fn(&Worker) -> S + Send + Sync + 'static,
    {
        let Bound { listeners, certificates, doors, .. } = bound;
        let slots = Slots::new(self.config.limits.connections_max);
        let make_service = Arc::new(make_service);
        let (pulses, threads) = (Vec::new(), Vec::new());
        let shutdown = self.shutdown.clone();
        let mut running = Running { listeners, certificates, pulses, shutdown, threads };
        let busy = Busy::none();
        for (index, doors) in doors.into_iter().enumerate() {
            let pulse = Pulse::default();
            running.pulses.push(pulse.clone());
            let thread = WorkerThread {
                worker: Worker { index, shared: self.shared.clone() },
                clock: self.clock.clone(),
                limits: Arc::new(self.config.limits.clone()),
                slots: slots.clone(),
                shutdown: self.shutdown.clone(),
                gate: self.gate.clone(),
                doors,
                busy: Busy::join(&busy),
                pulse,
            };
            match spawn(thread, Arc::clone(&make_service)) {
                Ok(thread) => running.threads.push(thread),
                Err(error) => {
                    self.shutdown.force();
                    running.join();
                    return Err(StartError::Thread(error));
                }
            }
        }
        self.attend(&running);
        Ok(running)
    }

    /// Starts what belongs to no worker: the drain's deadline and the watch over certificate files.
    fn attend(&self, running: &Running) {
        let (shutdown, clock) = (self.shutdown.clone(), self.clock.clone());
        let drain_timeout = self.config.limits.drain_timeout;
        self.shared.spawn(async move { shutdown.enforce(&clock, drain_timeout).await });
        if !running.certificates.is_empty() {
            let watch = watch::certificates(running.certificates.clone(), self.clock.clone());
            let shutdown = self.shutdown.clone();
            self.shared.spawn(async move {
                tokio::select! {
                    () = watch => {}
                    () = shutdown.begun() => {}
                }
            });
        }
    }
}

impl Bound {
    /// The sockets of each listener, in the order of the settings.
    pub fn sockets(&self) -> &[Arc<OpenSockets>] {
        &self.sockets
    }
}

impl Running {
    /// The address of each listener, in the order of the settings, with the port that 0 became.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|stats| stats.address).collect()
    }

    /// The counters of each listener, in the order of the settings.
    pub fn stats(&self) -> &[Arc<ListenerStats>] {
        &self.listeners
    }

    /// Each listener's certificates, in the order of the settings; those without TLS have none.
    pub fn certificates(&self) -> &[Arc<Certificates>] {
        &self.certificates
    }

    /// How often each worker has come round.
    pub fn pulses(&self) -> &[Pulse] {
        &self.pulses
    }

    /// The end of the node.
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Waits, blocking, until every worker thread has ended; see [`Shutdown::done`] to wait otherwise.
    pub fn join(self) {
        for thread in self.threads {
            // A worker that panicked has been reported by the panic hook.
            let _ = thread.join();
        }
    }
}

/// Starts a worker's thread and waits until its runtime stands.
fn spawn<S, F>(thread: WorkerThread, make_service: Arc<F>) -> io::Result<JoinHandle<()>>
where
    S: Service + 'static,
    F: Fn(&Worker) -> S + Send + Sync + 'static,
{
    let (ready, started) = mpsc::sync_channel(1);
    let participant = thread.shutdown.join();
    let handle =
        std::thread::Builder::new().name(format!("worker-{}", thread.worker.index)).spawn(move || {
            let _participant = participant;
            let runtime =
                match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
                    Ok(runtime) => runtime,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
            runtime.block_on(async move {
                let service = Rc::new(make_service(&thread.worker));
                drop(make_service);
                thread.run(service, ready).await;
            });
            // Whatever is still under way after the cut is dropped here, with the runtime.
        })?;
    // Blocks for as long as a thread takes to start, also within a runtime.
    match started.recv() {
        Ok(Ok(())) => Ok(handle),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the worker ended before it had started")),
    }
}
