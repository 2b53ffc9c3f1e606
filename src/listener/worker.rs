//! One worker thread: its doors, its sweep, and how it ends.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::net::TcpListener as StdListener;
use std::rc::Rc;
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
use super::stats::ListenerStats;
use super::{Worker, h2};
use crate::clock::Clock;
use crate::config::{Limits, Network};
use crate::shutdown::{Drain, Shutdown};

/// A listener's part on one worker.
pub(super) struct Opening {
    pub(super) socket: StdListener,
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
    pub(super) doors: Vec<Opening>,
    pub(super) busy: Busy,
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
        let Self { clock, limits, slots, shutdown, doors, busy, .. } = self;
        let deadlines = Deadlines::default();
        let drain = Drain::default();
        let tasks = Tasks::default();
        let h2 = h2::Worker::default();
        let date = Rc::new(DateLine::default());
        let buffers = Rc::new(Buffers::default());
        let lending = Rc::new(Lending::default());
        for Opening { socket, stats, tls, trusted_proxies, proxy_protocol } in doors {
            let socket = match TcpListener::from_std(socket) {
                Ok(socket) => socket,
                Err(error) => {
                    let _ = ready.send(Err(error));
                    return;
                }
            };
            let accept = AcceptLoop {
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
            let connections = tasks.clone();
            tasks.spawn(accept.run(socket, move |io, peer, slot| {
                connections.spawn(Rc::clone(&door).serve(io, peer, slot));
            }));
        }
        spawn_local({
            let (deadlines, clock) = (deadlines.clone(), clock.clone());
            async move { deadlines.run(&clock).await }
        });
        let _ = ready.send(Ok(()));
        shutdown.begun().await;
        drain.begin();
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
