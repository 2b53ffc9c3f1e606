//! The side of the older process: the newer one as its child, until it serves or is given up.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::Arc;

use cache_store::timestamp::Timestamp;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags};

use super::UpgradeError;
use super::program::Program;
use super::wire::{Channel, Word};
use crate::clock::Clock;
use crate::config::limits::HANDOVER_REAP;
use crate::listener::sockets::Handed;

/// A process that is to take over. Dropped before it was let go it is ended, before it can hear that it was given up.
pub(super) struct Successor {
    child: Option<Child>,
    /// Names it whatever becomes of its number.
    watched: Option<Arc<OwnedFd>>,
    pub(super) channel: Arc<Channel>,
    clock: Clock,
}

impl Successor {
    /// Starts it and hands the sockets over.
    pub(super) fn start(
        program: &Program,
        path: &Path,
        sockets: &[Handed],
        clock: &Clock,
    ) -> Result<Self, UpgradeError> {
        let (ours, theirs) = UnixStream::pair().map_err(UpgradeError::System)?;
        let channel = Arc::new(Channel::new(ours).map_err(UpgradeError::System)?);
        let child = program
            .start(path, OwnedFd::from(theirs))
            .map_err(|source| UpgradeError::Start { path: path.to_owned(), source })?;
        let watched = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let watched = watched.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()).ok());
        let watched = watched.map(Arc::new);
        let mut this = Self { child: Some(child), watched, channel, clock: clock.clone() };
        match this.channel.hand_over(env!("CARGO_PKG_VERSION"), sockets) {
            Ok(()) => Ok(this),
            Err(error) => Err(this.why(error)),
        }
    }

    /// What ends it from elsewhere, where the system can name it so.
    pub(super) fn watched(&self) -> Option<Arc<OwnedFd>> {
        self.watched.clone()
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    pub(super) fn say(&mut self, word: &Word) -> Result<(), UpgradeError> {
        self.channel.send(word).map_err(|error| self.why(error))
    }

    /// What it says next; a refusal is an error.
    pub(super) fn hear(&mut self, until: Timestamp) -> Result<Word, UpgradeError> {
        loop {
            match self.channel.next(&self.clock, until) {
                Ok(Word::Refused(refusal)) => return Err(UpgradeError::Refused(Box::new(refusal))),
                Ok(Word::Unknown) => {}
                Ok(word) => return Ok(word),
                Err(error) => return Err(self.why(error)),
            }
        }
    }

    /// It serves: it is not to be ended any more.
    pub(super) fn let_go(mut self) -> Arc<Channel> {
        drop(self.child.take());
        Arc::clone(&self.channel)
    }

    /// Why the channel failed: it has ended, or says nothing.
    fn why(&mut self, error: io::Error) -> UpgradeError {
        match error.kind() {
            io::ErrorKind::TimedOut => UpgradeError::Silent,
            io::ErrorKind::UnexpectedEof | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => {
                UpgradeError::Ended(self.end(true))
            }
            _ => UpgradeError::System(error),
        }
    }

    /// Ends it; how it has ended, where that is known. One that has closed its end is about to exit by itself, which tells more.
    fn end(&mut self, by_itself: bool) -> Option<ExitStatus> {
        let mut child = self.child.take()?;
        let watched = self.watched.take();
        let ended = |watched: &Arc<OwnedFd>| {
            let mut one = [PollFd::new(watched, PollFlags::IN)];
            let wait = Timespec::try_from(HANDOVER_REAP).ok();
            matches!(rustix::event::poll(&mut one, wait.as_ref()), Ok(1))
        };
        let is_over = by_itself && watched.as_ref().is_some_and(ended);
        if !is_over && let Err(error) = child.kill() {
            tracing::error!(pid = child.id(), %error, "the new process cannot be ended");
        }
        // Its lock on the store goes with it. One that hangs in the system is not waited for.
        match &watched {
            Some(watched) if !is_over && !ended(watched) => None,
            _ => child.wait().ok(),
        }
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        let _ = self.end(false);
    }
}

/// How a process ended, for people.
pub(super) fn told(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "an unknown end".to_owned(),
    }
}
