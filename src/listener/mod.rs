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
use std::net::{SocketAddr, TcpListener as StdListener};
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::runtime::{Builder, Handle, LocalOptions};
use tokio::sync::Semaphore;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::limits::BACKLOG;
use crate::shutdown::Shutdown;

mod accept;
pub(crate) mod budget;
pub mod deadline;
mod door;
pub mod fields;
mod guard;
pub mod h1;
pub(crate) mod h2;
pub(crate) mod proxied;
mod proxy_protocol;
pub mod request;
pub mod service;
mod sever;
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
use stats::ListenerStats;
use tls::{Certificates, TlsError};
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
    /// Opens every socket, then starts the threads; `make_service` is called on each, so the service may be `!Send`.
    /// When this returns the addresses are bound and connections are taken.
    ///
    /// # Errors
    /// [`StartError`]; then nothing is left running.
    pub fn start<S, F>(&self, make_service: F) -> Result<Running, StartError>
    where
        S: Service + 'static,
        F: Fn(&Worker) -> S + Send + Sync + 'static,
    {
        let workers = self.config.workers.max(1);
        let handshakes = Arc::new(Semaphore::new(self.config.limits.handshakes_max));
        let slots = Slots::new(self.config.limits.connections_max);
        let mut listeners = Vec::new();
        let mut certificates = Vec::new();
        let mut doors: Vec<Vec<Opening>> = std::iter::repeat_with(Vec::new).take(workers).collect();
        for listener in &self.config.listeners {
            let address = listener.address;
            let sockets = bind(address, workers).map_err(|source| StartError::Listen { address, source })?;
            let bound = sockets.first().and_then(|socket| socket.local_addr().ok()).unwrap_or(address);
            let tls = if listener.tls.is_empty() {
                None
            } else {
                let tls = TlsDoor::open(listener, &handshakes)
                    .map_err(|source| StartError::Tls { address: bound, source })?;
                certificates.push(Arc::clone(&tls.certificates));
                Some(tls)
            };
            let stats = Arc::new(ListenerStats::new(bound));
            listeners.push(Arc::clone(&stats));
            for (socket, doors) in sockets.into_iter().zip(&mut doors) {
                doors.push(Opening {
                    socket,
                    stats: Arc::clone(&stats),
                    tls: tls.clone(),
                    trusted_proxies: listener.trusted_proxies.as_slice().into(),
                    proxy_protocol: listener.proxy_protocol.as_deref().map(Into::into),
                });
            }
        }
        let make_service = Arc::new(make_service);
        let mut running =
            Running { listeners, certificates, shutdown: self.shutdown.clone(), threads: Vec::new() };
        let busy = Busy::none();
        for (index, doors) in doors.into_iter().enumerate() {
            let thread = WorkerThread {
                worker: Worker { index, shared: self.shared.clone() },
                clock: self.clock.clone(),
                limits: Arc::new(self.config.limits.clone()),
                slots: slots.clone(),
                shutdown: self.shutdown.clone(),
                doors,
                busy: Busy::join(&busy),
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

/// One socket a worker, all on one port: the first takes it where it is 0, the others follow.
fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<StdListener>> {
    let mut sockets = Vec::with_capacity(workers);
    let mut at = address;
    for _ in 0..workers {
        let socket = listening(at)?;
        at = socket.local_addr()?;
        sockets.push(socket);
    }
    Ok(sockets)
}

fn listening(address: SocketAddr) -> io::Result<StdListener> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // `[::]` and `0.0.0.0` are two listeners, whatever the system's default.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The kernel lowers it to net.core.somaxconn.
    socket.listen(BACKLOG)?;
    Ok(socket.into())
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
