//! The side of the newer process: what it is handed, and how it begins.
//!
//! ```text
//! meet ─► (settings are read, everything but the store is made) ─► prepared ─► (the store is opened) ─► ready ─► serving
//! ```
//!
//! It waits for the older one's word twice. An older one that is gone in the middle has crashed, for one that changes its mind ends
//! this process before it closes the channel: then there is nobody else, and this one goes on.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use cache_store::handover::Neighbour;
use cache_store::key::CacheKey;
use cache_store::store::CacheStore;
use parking_lot::{Condvar, Mutex};
use rustix::process::{Pid, Signal};

use super::changes::{Changes, hear_changes};
use super::program;
use super::wire::{Channel, Facts, Hello, PROTOCOL, Refusal, Word};
use crate::clock::Clock;
use crate::config::limits::{HANDOVER_PATIENCE, HANDOVER_PURGE_PATIENCE};
use crate::listener::sockets::Inherited;

/// The process that this one takes over from.
#[derive(Debug)]
pub struct Predecessor {
    channel: Channel,
    clock: Clock,
    hello: Hello,
    /// The channel is closed: it is no more.
    gone: bool,
}

impl Predecessor {
    /// Whoever started this process to take over, with its listening sockets; `None` where nobody did.
    ///
    /// # Errors
    /// It cannot be understood.
    pub fn meet(clock: &Clock) -> io::Result<Option<(Self, Inherited)>> {
        if std::env::var_os(program::HANDOVER).is_none() {
            return Ok(None);
        }
        let input = io::stdin().as_fd().try_clone_to_owned()?;
        // Inherited by whatever else it was started for.
        if rustix::net::sockopt::socket_domain(&input).is_err() {
            return Ok(None);
        }
        let channel = Channel::new(UnixStream::from(input))?;
        let nothing: OwnedFd = std::fs::File::open("/dev/null")?.into();
        rustix::stdio::dup2_stdin(&nothing)?;
        let until = clock.now().plus(HANDOVER_PATIENCE);
        let hello = match channel.next(clock, until)? {
            Word::Hello(hello) if hello.protocol == PROTOCOL => hello,
            Word::Hello(hello) => {
                let detail = format!(
                    "version {} hands over by another protocol than {}: restart instead",
                    hello.version,
                    env!("CARGO_PKG_VERSION")
                );
                let _ =
                    channel.send(&Word::Refused(Refusal { detail: detail.clone(), ..Refusal::default() }));
                return Err(io::Error::other(detail));
            }
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "it does not say hello")),
        };
        let handed = channel.take_over(&hello, clock, until)?;
        Ok(Some((Self { channel, clock: clock.clone(), hello, gone: false }, Inherited::new(handed))))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.hello.pid
    }

    /// This process gives up.
    pub fn refuse(self, refusal: Refusal) {
        // It finds out anyway when this one ends.
        let _ = self.channel.send(&Word::Refused(refusal));
    }

    /// Everything but the store stands: waits for the store.
    ///
    /// # Errors
    /// It does not answer.
    pub fn prepared(&mut self) -> io::Result<Facts> {
        match self.ask(&Word::Prepared { version: env!("CARGO_PKG_VERSION").to_owned() })? {
            Some(Word::Released(facts)) => Ok(*facts),
            None => Ok(Facts::default()),
            Some(_) => Err(unexpected()),
        }
    }

    /// Everything stands: waits for the word to serve.
    ///
    /// # Errors
    /// It does not answer.
    pub fn ready(&mut self) -> io::Result<()> {
        match self.ask(&Word::Ready)? {
            Some(Word::Go) | None => Ok(()),
            Some(_) => Err(unexpected()),
        }
    }

    /// This process is about to serve from this store: it tells the older one what it purges, and hears what is changed there, until
    /// that has ended.
    ///
    /// # Errors
    /// No thread can be started.
    pub fn stand_beside(&self, store: &Arc<CacheStore>) -> io::Result<()> {
        if self.gone {
            return Ok(());
        }
        let channel = Arc::new(self.channel.another()?);
        let beside = Arc::new(Beside {
            changes: Changes::default(),
            channel,
            pid: self.hello.pid,
            sent: Mutex::default(),
            forgotten: Mutex::default(),
            told: Condvar::new(),
        });
        beside.changes.tell(&beside.channel)?;
        store.beside(Some(Arc::clone(&beside) as Arc<dyn Neighbour>));
        let (store, clock) = (Arc::clone(store), self.clock.clone());
        std::thread::Builder::new().name("predecessor".into()).spawn(move || {
            beside.hear(&store, &clock);
            store.beside(None);
            beside.changes.end();
            tracing::info!(pid = beside.pid, "the process before this one has ended");
        })?;
        Ok(())
    }

    /// This process serves.
    pub fn serving(self) {
        // Who is gone needs no telling.
        let _ = self.channel.send(&Word::Serving);
    }

    fn ask(&mut self, word: &Word) -> io::Result<Option<Word>> {
        if self.gone {
            return Ok(None);
        }
        let until = self.clock.now().plus(HANDOVER_PATIENCE);
        let answer = self.channel.send(word).and_then(|()| self.channel.next(&self.clock, until));
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe) =>
            {
                tracing::warn!(pid = self.hello.pid, "the process before this one is gone; this one goes on");
                self.gone = true;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "the process before this one says something else than expected",
    )
}

/// The older process, while it finishes what it has under way.
struct Beside {
    channel: Arc<Channel>,
    pid: u32,
    changes: Changes,
    /// Purges that it was told of.
    sent: Mutex<u64>,
    forgotten: Mutex<Forgotten>,
    told: Condvar,
}

#[derive(Default)]
struct Forgotten {
    /// Purges that hold there.
    count: u64,
    gone: bool,
}

impl Beside {
    /// Hears what it says until it has ended.
    fn hear(&self, store: &CacheStore, clock: &Clock) {
        while let Ok(word) = self.channel.wait(clock) {
            match word {
                Word::Forgotten { count } => {
                    self.forgotten.lock().count = count;
                    self.told.notify_all();
                }
                Word::Changed { keys, everything } => hear_changes(store, &keys, everything, clock),
                _ => {}
            }
        }
        self.forgotten.lock().gone = true;
        self.told.notify_all();
    }

    /// Waits until so many purges hold there; whether they do.
    fn wait_for(&self, count: u64) -> bool {
        let mut forgotten = self.forgotten.lock();
        let waiting = |forgotten: &mut Forgotten| forgotten.count < count && !forgotten.gone;
        !self.told.wait_while_for(&mut forgotten, waiting, HANDOVER_PURGE_PATIENCE).timed_out()
    }
}

impl Neighbour for Beside {
    fn purged(&self) {
        let count = {
            let mut sent = self.sent.lock();
            *sent += 1;
            // It is gone: so is what it had.
            if self.channel.send(&Word::Purged { count: *sent }).is_err() {
                return;
            }
            *sent
        };
        if self.wait_for(count) {
            return;
        }
        // It would go on with what was purged. As long as it is our parent its number is nobody else's.
        let parent = rustix::process::getppid();
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid.filter(|pid| parent == Some(*pid)) {
            tracing::error!(
                pid = self.pid,
                "the process before this one does not hear of a purge and is ended"
            );
            let _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }

    fn changed(&self, keys: &[CacheKey]) {
        self.changes.add(keys);
    }
}
