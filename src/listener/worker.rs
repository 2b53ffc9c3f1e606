//! One worker thread: its doors, its sweep, and how it ends.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::spawn_local;

use super::accept::{AcceptLoop, Slots};
use super::deadline::Deadlines;
use super::door::{self, TlsDoor};
use super::guard::Guard;
use super::h1::{Buffers, DateLine, Lending};
use super::service::Service;
use super::sockets::OpenSockets;
use super::stats::ListenerStats;
use super::{Worker, h2};
use crate::clock::Clock;
use crate::config::limits::{DEADLINE_TICK, IDLE_GRACE};
use crate::config::{Limits, Network};
use crate::gate::Gate;
use crate::shutdown::{Drain, Shutdown};

/// A listener's part on one worker.
pub(super) struct Opening {
    pub(super) sockets: Vec<StdListener>,
    /// Where they are found to be handed over.
    pub(super) open: Arc<OpenSockets>,
    pub(super) stats: Arc<ListenerStats>,
    pub(super) tls: Option<TlsDoor>,
    pub(super) trusted_proxies: Arc<[Network]>,
    pub(super) proxy_protocol: Option<Arc<[Network]>>,
}

/// What a worker's thread starts with.
pub(super) struct WorkerThread {
    pub(super) worker: Worker,
    pub(super) clock: Clock,
    pub(super) limits: Arc<Limits>,
    pub(super) slots: Slots,
    pub(super) shutdown: Shutdown,
    pub(super) gate: Gate,
    pub(super) doors: Vec<Opening>,
    pub(super) busy: Busy,
    pub(super) pulse: Pulse,
}

/// How often a worker's thread has come round: one that hangs does not.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<AtomicU64>);

impl Pulse {
    /// So often.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn beat(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Counts the workers that still serve, as long as it lives.
///
/// Fills are shared: the one that a worker's client reads from may run on another worker. So a worker that has nothing left
/// to serve stays until none has.
pub(super) struct Busy(watch::Sender<usize>);

impl Busy {
    /// None yet.
    pub(super) fn none() -> watch::Sender<usize> {
        watch::Sender::new(0)
    }

    /// One more.
    pub(super) fn join(count: &watch::Sender<usize>) -> Self {
        count.send_modify(|count| *count += 1);
        Self(count.clone())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

impl WorkerThread {
    /// Serves until the drain is over or cut; says on `ready` when connections are taken, or why not.
    pub(super) async fn run<S: Service + 'static>(
        self,
        service: Rc<S>,
        ready: mpsc::SyncSender<io::Result<()>>,
    ) {
        let Self { clock, limits, slots, shutdown, gate, doors, busy, pulse, .. } = self;
        let deadlines = Deadlines::default();
        let drain = Drain::default();
        let tasks = Tasks::default();
        let h2 = h2::Worker::default();
        let date = Rc::new(DateLine::default());
        let buffers = Rc::new(Buffers::default());
        let lending = Rc::new(Lending::default());
        for Opening { sockets, open, stats, tls, trusted_proxies, proxy_protocol } in doors {
            let loops = AcceptLoop {
                clock: clock.clone(),
                stats: Arc::clone(&stats),
                slots: slots.clone(),
                deadlines: deadlines.clone(),
                drain: drain.clone(),
            };
            let certificates = tls.as_ref().map(|tls| Arc::clone(&tls.certificates));
            let door = Rc::new(door::Door {
                service: Rc::new(Guard::new(Rc::clone(&service), certificates, trusted_proxies)),
                clock: clock.clone(),
                limits: Arc::clone(&limits),
                deadlines: deadlines.clone(),
                drain: drain.clone(),
                stats,
                proxy_protocol,
                tls,
                h2: h2.clone(),
                date: Rc::clone(&date),
                buffers: Rc::clone(&buffers),
                lending: Rc::clone(&lending),
            });
            for socket in sockets {
                let turned = match socket.try_clone() {
                    Ok(turned) => turned,
                    Err(error) => {
                        let _ = ready.send(Err(error));
                        return;
                    }
                };
                // As long as it is accepted from it can be handed over.
                let socket = Arc::new(socket);
                open.add(&socket);
                let (accept, connections, door) = (loops.clone(), tasks.clone(), Rc::clone(&door));
                let (gate, drain, shutdown) = (gate.clone(), drain.clone(), shutdown.clone());
                tasks.spawn(async move {
                    tokio::select! {
                        biased;
                        () = gate.opened() => {}
                        // Never opened: who waits is another process's to answer.
                        () = drain.begun() => return,
                    }
                    // Not before: the runtime takes a socket that does not listen for one that is closed, and keeps to that.
                    let turned = match TcpListener::from_std(turned) {
                        Ok(turned) => turned,
                        Err(error) => {
                            tracing::error!(%error, "a worker cannot turn its socket: the node ends");
                            return shutdown.force();
                        }
                    };
                    let admit = |io, peer, slot| connections.spawn(Rc::clone(&door).serve(io, peer, slot));
                    accept.run(turned, admit).await;
                    drop(socket);
                });
            }
        }
        spawn_local({
            let (deadlines, clock) = (deadlines.clone(), clock.clone());
            async move {
                loop {
                    clock.sleep(DEADLINE_TICK).await;
                    deadlines.sweep(clock.now());
                    pulse.beat();
                }
            }
        });
        let _ = ready.send(Ok(()));
        shutdown.begun().await;
        if shutdown.is_succeeded() {
            drain.succeed();
        }
        drain.begin();
        if drain.is_succeeded() {
            // Whoever is about to ask on a connection is answered and told to go; one that is closed under a request looks like a
            // failure to its client.
            tokio::select! {
                () = tasks.ended() => {}
                () = clock.sleep(IDLE_GRACE) => {}
                () = shutdown.forced() => {}
            }
        }
        drain.close_idle();
        deadlines.expire_idle();
        let mut others = busy.0.subscribe();
        tokio::select! {
            () = tasks.ended() => {}
            () = shutdown.forced() => {}
        }
        drop(busy);
        tokio::select! {
            // The sender lives in the other workers, and with the last of them the count is zero.
            _ = others.wait_for(|count| *count == 0) => {}
            () = shutdown.forced() => {}
        }
    }
}

/// The tasks that a drain waits for: accept loops and connections.
#[derive(Clone, Default)]
struct Tasks(Rc<TaskCount>);

#[derive(Default)]
struct TaskCount {
    running: Cell<usize>,
    ended: Notify,
}

/// One of them; dropped when it ends, panics or is cut.
struct Task(Tasks);

impl Tasks {
    fn spawn(&self, future: impl Future<Output = ()> + 'static) {
        self.0.running.set(self.0.running.get() + 1);
        let task = Task(self.clone());
        spawn_local(async move {
            let _task = task;
            future.await;
        });
    }

    async fn ended(&self) {
        // Between the look and the registration nothing else runs on this thread, so no wake-up is lost.
        while self.0.running.get() > 0 {
            self.0.ended.notified().await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        let count = &self.0.0;
        count.running.set(count.running.get().saturating_sub(1));
        count.ended.notify_waiters();
    }
}
