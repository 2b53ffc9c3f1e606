//! The binary is replaced while it serves: the process starts its successor, hands it everything, and finishes what it has begun.
//!
//! ```text
//! old                                             new
//! start it, with all listening sockets ─────────►
//!                                        prepared: settings read, everything but the store made
//! close the store's directory; purges wait ─────► open it
//!                                        ready: threads stand, nobody is let in
//! tell what is purged and changed from here on ─► let everybody in
//!                                        serving
//! drain: who is under way ends, idle ones are told to go
//! ```
//!
//! Whatever goes wrong before the last word (it crashes, hangs, refuses its settings, cannot open the store) ends the new process
//! first and takes the store back then; why is told to whoever asked and to the operator's log. While both serve, what one purges or
//! changes is told to the other (`cache_store::handover`).
//!
//! Why the sockets themselves go along, and are not bound anew beside the old ones: `listener/sockets.rs`. Why they go through a
//! socket that is the new process's standard input, and are not inherited by number: nothing else that this process may start ever
//! has them, and no descriptor's number is believed.
//!
//! Invariants: one process has the store's directory. A connection that the kernel has accepted is served by one of the two. A purge
//! that was acknowledged holds in both; one that is ordered meanwhile waits, and is applied or refused.

mod changes;
mod predecessor;
mod program;
mod successor;
mod wire;

use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::thread::JoinHandle;

use cache_store::handover::{Neighbour, Settled};
use cache_store::key::CacheKey;
use parking_lot::Mutex;
use rustix::process::Signal;
use tokio::sync::oneshot;

pub use self::predecessor::Predecessor;
pub use self::program::Program;
pub use self::wire::{Facts, Refusal};

use self::changes::{Changes, hear_changes};
use self::successor::Successor;
use self::wire::{Channel, Word};
use crate::clock::Clock;
use crate::config::limits::OWED_WRITE;
use crate::listener::sockets::OpenSockets;
use crate::origin::Stands;
use crate::serve::{Current, Edge};
use crate::shutdown::{Phase, Shutdown};

/// Replaces the process by another. One upgrade at a time.
pub struct Upgrader {
    current: Arc<Current>,
    /// What keys are hashed under.
    secret: [u8; 32],
    sockets: Vec<Arc<OpenSockets>>,
    shutdown: Shutdown,
    admin_shutdown: Shutdown,
    /// None: nothing is known that could be started.
    program: Mutex<Option<Program>>,
    state: Mutex<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
    /// The process that is to take over, until it does.
    successor: Mutex<Option<Arc<OwnedFd>>>,
    /// Told once another process serves.
    succeeded: Mutex<Option<OnSucceeded>>,
}

type OnSucceeded = Box<dyn Fn(u32) + Send>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    Serving,
    UnderWay,
    Succeeded(u32),
}

/// Another process has taken over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Upgraded {
    /// Its process id.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

/// Why this process goes on.
#[derive(Debug, thiserror::Error)]
pub enum UpgradeError {
    /// There is one.
    #[error("an upgrade is under way")]
    UnderWay,
    /// There was one.
    #[error("process {0} has taken over already; call again, on a new connection")]
    Succeeded(u32),
    /// Nothing was being served any more.
    #[error("this process is ending")]
    Ending,
    /// It is not a program that runs by itself.
    #[error("this node cannot replace itself: {0}")]
    NotThis(&'static str),
    /// What was named is not trusted.
    #[error("{0}")]
    Untrusted(String),
    /// The new binary cannot be started.
    #[error("cannot start {}", path.display())]
    Start {
        /// The binary.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It ended.
    #[error("the new process ended before it could serve{}", .0.map_or_else(String::new, |status| format!(": {}", successor::told(status))))]
    Ended(Option<ExitStatus>),
    /// It did not get on.
    #[error("the new process does not get on within `limits.upgrade_timeout` and was ended")]
    Silent,
    /// It says why not.
    #[error("the new process gave up: {}", .0.detail)]
    Refused(Box<Refusal>),
    /// It says something else than it should.
    #[error("the new process is not understood")]
    Confused,
    /// This process could not do its part.
    #[error("cannot upgrade")]
    System(#[source] io::Error),
}

impl Upgrader {
    pub(crate) fn new(
        current: &Arc<Current>,
        secret: [u8; 32],
        sockets: Vec<Arc<OpenSockets>>,
        shutdown: &Shutdown,
        admin_shutdown: &Shutdown,
    ) -> Arc<Self> {
        Arc::new(Self {
            current: Arc::clone(current),
            secret,
            sockets,
            shutdown: shutdown.clone(),
            admin_shutdown: admin_shutdown.clone(),
            program: Mutex::default(),
            state: Mutex::new(State::Serving),
            thread: Mutex::default(),
            successor: Mutex::default(),
            succeeded: Mutex::default(),
        })
    }

    /// What is started from now on, and who is told of a process that has taken over, before this one drains.
    pub fn enable(&self, program: Program, succeeded: impl Fn(u32) + Send + 'static) {
        *self.program.lock() = Some(program);
        *self.succeeded.lock() = Some(Box::new(succeeded));
    }

    /// Begins an upgrade to `binary`, or to what lies where this process came from. It goes on whether or not anybody waits for what
    /// becomes of it.
    pub fn begin(
        self: &Arc<Self>,
        binary: Option<PathBuf>,
    ) -> oneshot::Receiver<Result<Upgraded, UpgradeError>> {
        let (sender, outcome) = oneshot::channel();
        let refused = {
            let mut state = self.state.lock();
            match *state {
                State::UnderWay => Some(UpgradeError::UnderWay),
                State::Succeeded(pid) => Some(UpgradeError::Succeeded(pid)),
                State::Serving if self.shutdown.phase() != Phase::Serving => Some(UpgradeError::Ending),
                State::Serving => {
                    *state = State::UnderWay;
                    None
                }
            }
        };
        if let Some(error) = refused {
            let _ = sender.send(Err(error));
            return outcome;
        }
        let this = Arc::clone(self);
        let thread =
            std::thread::Builder::new().name("upgrade".into()).spawn(move || this.run(binary, sender));
        match thread {
            Ok(thread) => *self.thread.lock() = Some(thread),
            // The sender went with it: whoever waits hears that nothing came of it.
            Err(_) => *self.state.lock() = State::Serving,
        }
        outcome
    }

    /// Gives up an upgrade that is under way, and waits, blocking, until the store is ours again: for the end, which has begun.
    pub(crate) fn give_up(&self) {
        let is_under_way = *self.state.lock() == State::UnderWay;
        if let Some(successor) = &*self.successor.lock() {
            let _ = rustix::process::pidfd_send_signal(successor, Signal::KILL);
        }
        let thread = self.thread.lock().take();
        if let Some(thread) = thread.filter(|_| is_under_way) {
            // Its panic has been reported by the hook.
            let _ = thread.join();
        }
    }

    fn run(&self, binary: Option<PathBuf>, sender: oneshot::Sender<Result<Upgraded, UpgradeError>>) {
        let upgraded = self.upgrade(binary);
        *self.successor.lock() = None;
        match upgraded {
            Ok((upgraded, channel)) => {
                *self.state.lock() = State::Succeeded(upgraded.pid);
                if let Some(told) = &*self.succeeded.lock() {
                    told(upgraded.pid);
                }
                tracing::info!(
                    pid = upgraded.pid,
                    version = upgraded.version,
                    "upgraded: another process serves, this one finishes what it has begun"
                );
                let _ = sender.send(Ok(upgraded));
                self.shutdown.begin_succeeded();
                self.admin_shutdown.begin_succeeded();
                self.hear_to_the_end(&channel);
            }
            Err(error) => {
                *self.state.lock() = State::Serving;
                tracing::error!(error = %crate::cli::chain(&error), "not upgraded; this process goes on");
                let _ = sender.send(Err(error));
            }
        }
    }

    fn upgrade(&self, binary: Option<PathBuf>) -> Result<(Upgraded, Arc<Channel>), UpgradeError> {
        let program = self.program.lock().clone();
        let program = program.ok_or(UpgradeError::NotThis("it is not run by `tidegate run` or `proxy`"))?;
        if std::process::id() == 1 {
            return Err(UpgradeError::NotThis(
                "it is the first process of a container, which ends with it; replace the container",
            ));
        }
        let path = match binary {
            Some(path) => {
                program::trusted(&path).map_err(UpgradeError::Untrusted)?;
                path
            }
            None => program.path(),
        };
        let edge = self.current.load_full();
        let clock = edge.clock.clone();
        let patience = edge.config.limits.upgrade_timeout;
        let sockets = self.sockets.iter().map(|open| open.hand_over()).collect::<Result<Vec<_>, _>>();
        let sockets = sockets.map_err(UpgradeError::System)?;
        tracing::info!(binary = %path.display(), "upgrading");
        let mut successor = Successor::start(&program, &path, &sockets, &clock)?;
        drop(sockets);
        *self.successor.lock() = successor.watched();
        let Word::Prepared { version } = successor.hear(clock.now().plus(patience))? else {
            return Err(UpgradeError::Confused);
        };
        if self.shutdown.phase() != Phase::Serving {
            return Err(UpgradeError::Ending);
        }
        let pid = successor.pid();
        match self.give_store(&edge, &clock, successor) {
            Ok(channel) => Ok((Upgraded { pid, version }, channel)),
            Err(error) => {
                // The new process is gone by now, with its lock.
                edge.store.beside(None);
                if let Err(lost) = edge.store.settle(Settled::Kept) {
                    tracing::error!(error = %lost, "the disk cache cannot be taken back: it is not used and nothing is purged durably until this node is restarted");
                }
                edge.fleet.pause(false);
                Err(error)
            }
        }
    }

    /// From the moment that the store is offered. After an error the successor is gone.
    fn give_store(
        &self,
        edge: &Arc<Edge>,
        clock: &Clock,
        mut successor: Successor,
    ) -> Result<Arc<Channel>, UpgradeError> {
        let until = |edge: &Edge| clock.now().plus(edge.config.limits.upgrade_timeout);
        // While purges still hold here and requests are served as ever.
        let begun = clock.now();
        crate::node::write_owed(edge, || {
            clock.now() < begun.plus(OWED_WRITE) && self.shutdown.phase() == Phase::Serving
        });
        edge.fleet.pause(true);
        let facts = self.facts_of(edge);
        // From here on the directory does not hear of it.
        let changes = Changes::default();
        edge.store.beside(Some(Arc::new(Heir(changes.clone()))));
        if let Err(error) = edge.store.offer() {
            tracing::warn!(%error, "the disk cache was not closed in order; the new process takes longer to open it");
        }
        successor.say(&Word::Released(Box::new(facts)))?;
        let Word::Ready = successor.hear(until(edge))? else { return Err(UpgradeError::Confused) };
        if self.shutdown.phase() != Phase::Serving {
            return Err(UpgradeError::Ending);
        }
        successor.say(&Word::Go)?;
        changes.tell(&successor.channel).map_err(UpgradeError::System)?;
        loop {
            match successor.hear(until(edge))? {
                Word::Serving => break,
                word => self.heard(edge, &successor.channel, word),
            }
        }
        *self.successor.lock() = None;
        let channel = successor.let_go();
        // Only what was kept can be refused.
        let _ = edge.store.settle(Settled::Given);
        Ok(channel)
    }

    /// Does what the new process says as long as this one lives.
    fn hear_to_the_end(&self, channel: &Channel) {
        let edge = self.current.load_full();
        while let Ok(word) = channel.wait(&edge.clock) {
            self.heard(&edge, channel, word);
        }
    }

    /// What goes along.
    fn facts_of(&self, edge: &Edge) -> Facts {
        let origins = edge.origins.stats().into_iter().filter(|origin| origin.stands == Stands::Drained);
        let drained = origins.map(|origin| (origin.pool.to_string(), origin.origin.to_string())).collect();
        let facts = Facts { heard: edge.fleet.heard(), drained, ..Facts::default() };
        // A disk has its own.
        if edge.store.disk().is_some() { facts } else { facts.with_secret(self.secret) }
    }

    #[allow(clippy::unused_self)] // its part of the talk
    fn heard(&self, edge: &Edge, channel: &Channel, word: Word) {
        match word {
            Word::Purged { count } => {
                edge.store.forget_everything_here();
                let _ = channel.send(&Word::Forgotten { count });
            }
            Word::Changed { keys, everything } => hear_changes(&edge.store, &keys, everything, &edge.clock),
            _ => {}
        }
    }
}

/// The process that takes over, as the store sees it: what is purged here is refused, and what is changed is told.
struct Heir(Changes);

impl Drop for Heir {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Neighbour for Heir {
    fn purged(&self) {}

    fn changed(&self, keys: &[CacheKey]) {
        self.0.add(keys);
    }
}
