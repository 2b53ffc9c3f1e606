//! What two processes of one node say to each other while the newer takes over, and how sockets go along.
//!
//! A message is its length, four bytes, and JSON; sockets follow as rights beside single bytes (`unix(7)`, `SCM_RIGHTS`). A member that
//! a later version adds is ignored by an earlier one; what cannot be ignored has a later number of the protocol.

use std::fmt::Write as _;
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use cache_store::timestamp::Timestamp;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::Clock;
use crate::config::limits::{HANDOVER_MESSAGE_BYTES_MAX, HANDOVER_SOCKETS_MAX, HANDOVER_WRITE_TIMEOUT};
use crate::listener::sockets::{Handed, Purpose};

/// What is said; in this order, but for the last four.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Word {
    /// Old to new: who is here, and how many sockets follow.
    Hello(Hello),
    /// New to old: nothing is wrong with the settings; the store is wanted.
    Prepared {
        /// Of the new binary.
        version: String,
    },
    /// New to old: it gives up.
    Refused(Refusal),
    /// Old to new: the store's directory is closed.
    Released(Box<Facts>),
    /// New to old: everything stands.
    Ready,
    /// Old to new: serve.
    Go,
    /// New to old: it serves.
    Serving,
    /// New to old: this many purges hold here, and are to hold there.
    Purged {
        /// So many.
        count: u64,
    },
    /// Old to new: they do.
    Forgotten {
        /// So many.
        count: u64,
    },
    /// Either way: requests have changed what these keys name.
    Changed {
        /// In hexadecimal.
        keys: Vec<String>,
        /// And so much more that it counts as everything.
        everything: bool,
    },
    /// What a later version says and this one does not know.
    #[serde(other)]
    Unknown,
}

/// The beginning.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Hello {
    /// [`PROTOCOL`] of who speaks.
    pub(super) protocol: u32,
    /// Its version, for people.
    pub(super) version: String,
    /// Its process id.
    pub(super) pid: u32,
    /// Whose sockets follow, in this order.
    pub(super) listeners: Vec<Listening>,
}

/// The sockets of one listener.
#[derive(Serialize, Deserialize, Debug)]
pub(super) struct Listening {
    address: SocketAddr,
    purpose: Option<Purpose>,
    sockets: usize,
}

/// Why the new process gives up.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
pub struct Refusal {
    /// In one line.
    pub detail: String,
    /// It is the settings' fault, or what they name.
    #[serde(default)]
    pub settings: bool,
    /// Mistakes of a settings file, as other calls tell them.
    #[serde(default)]
    pub mistakes: Option<Value>,
    /// The same for people.
    #[serde(default)]
    pub text: Option<String>,
}

/// What the old process knows that is written nowhere.
#[derive(Serialize, Deserialize, Clone, Debug, Default)]
#[serde(default)]
pub struct Facts {
    /// What keys are hashed under where no disk keeps it, in hexadecimal.
    pub secret: Option<String>,
    /// Logs of purges that are followed, and how long ago everything in them was heard, milliseconds.
    pub heard: Vec<(String, u64)>,
    /// Origins that were taken out by hand: pool and origin. Shares that were moved by hand do not go along: the settings say what a
    /// process begins with.
    pub drained: Vec<(String, String)>,
}

impl Facts {
    /// With the secret of a store without a disk.
    pub(crate) fn with_secret(self, secret: [u8; 32]) -> Self {
        let mut text = String::with_capacity(64);
        for byte in secret {
            // Writing to a string cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        Self { secret: Some(text), ..self }
    }

    /// The secret, where it goes along.
    pub(crate) fn secret(&self) -> Option<[u8; 32]> {
        let text = self.secret.as_deref()?;
        let mut secret = [0; 32];
        for (at, byte) in secret.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(secret)
    }
}

/// One end.
#[derive(Debug)]
pub(super) struct Channel(UnixStream);

impl Channel {
    pub(super) fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_write_timeout(Some(HANDOVER_WRITE_TIMEOUT))?;
        Ok(Self(stream))
    }

    /// The same end, for another thread.
    pub(super) fn another(&self) -> io::Result<Self> {
        Ok(Self(self.0.try_clone()?))
    }

    pub(super) fn send(&self, word: &Word) -> io::Result<()> {
        let text = serde_json::to_vec(word)?;
        let length = u32::try_from(text.len()).map_err(io::Error::other)?;
        let mut message = length.to_le_bytes().to_vec();
        message.extend_from_slice(&text);
        (&self.0).write_all(&message)
    }

    /// The next word; an error of the kind `UnexpectedEof` when the other end is gone, `TimedOut` when it says nothing until then.
    pub(super) fn next(&self, clock: &Clock, until: Timestamp) -> io::Result<Word> {
        let mut length = [0; 4];
        self.fill(&mut length, clock, until)?;
        let length = usize::try_from(u32::from_le_bytes(length)).unwrap_or(usize::MAX);
        if length > HANDOVER_MESSAGE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "what it says is too long"));
        }
        let mut text = vec![0; length];
        self.fill(&mut text, clock, until)?;
        Ok(serde_json::from_slice(&text)?)
    }

    /// The same, however long it takes.
    pub(super) fn wait(&self, clock: &Clock) -> io::Result<Word> {
        self.next(clock, Timestamp::from_millis(u64::MAX))
    }

    fn fill(&self, mut into: &mut [u8], clock: &Clock, until: Timestamp) -> io::Result<()> {
        while !into.is_empty() {
            let left = until.since(clock.now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let endless = until.as_millis() == u64::MAX;
            self.0.set_read_timeout((!endless).then_some(left.max(Duration::from_millis(1))))?;
            match (&self.0).read(into) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => into = into.get_mut(read..).unwrap_or_default(),
                Err(error) => match error.kind() {
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {}
                    io::ErrorKind::ConnectionReset => return Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Says hello, and hands the sockets over.
    pub(super) fn hand_over(&self, version: &str, all: &[Handed]) -> io::Result<()> {
        let listeners = all.iter().map(|one| Listening {
            address: one.address,
            purpose: one.purpose,
            sockets: one.sockets.len(),
        });
        self.send(&Word::Hello(Hello {
            protocol: PROTOCOL,
            version: version.to_owned(),
            pid: std::process::id(),
            listeners: listeners.collect(),
        }))?;
        for socket in all.iter().flat_map(|one| &one.sockets) {
            self.send_socket(socket.as_fd())?;
        }
        Ok(())
    }

    /// Takes the sockets that a hello announced.
    pub(super) fn take_over(
        &self,
        hello: &Hello,
        clock: &Clock,
        until: Timestamp,
    ) -> io::Result<Vec<Handed>> {
        let mut all = Vec::new();
        let mut count = 0;
        for Listening { address, purpose, sockets } in &hello.listeners {
            let mut handed = Handed { address: *address, purpose: *purpose, sockets: Vec::new() };
            for _ in 0..*sockets {
                count += 1;
                if count > HANDOVER_SOCKETS_MAX {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "too many sockets"));
                }
                handed.sockets.push(self.take_socket(clock, until)?);
            }
            all.push(handed);
        }
        Ok(all)
    }

    fn send_socket(&self, socket: BorrowedFd<'_>) -> io::Result<()> {
        let sockets = [socket];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !beside.push(SendAncillaryMessage::ScmRights(&sockets)) {
            return Err(io::Error::other("no room for a socket"));
        }
        loop {
            match rustix::net::sendmsg(&self.0, &[IoSlice::new(&[0])], &mut beside, SendFlags::NOSIGNAL) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn take_socket(&self, clock: &Clock, until: Timestamp) -> io::Result<OwnedFd> {
        self.0.set_read_timeout(Some(until.since(clock.now()).max(Duration::from_millis(1))))?;
        let mut byte = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let read = loop {
            let mut into = [IoSliceMut::new(&mut byte)];
            match rustix::net::recvmsg(&self.0, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Ok(read) => break read,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if read.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let socket = beside.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut sockets) => sockets.next(),
            _ => None,
        });
        socket.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "a socket did not come along"))
    }
}

/// The number of what is said here. Another one is not understood.
pub(super) const PROTOCOL: u32 = 1;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn pair() -> (Channel, Channel, Clock) {
        let (one, other) = UnixStream::pair().expect("a pair");
        (Channel::new(one).expect("one"), Channel::new(other).expect("the other"), Clock::system())
    }

    fn soon(clock: &Clock) -> Timestamp {
        clock.now().plus(Duration::from_secs(30))
    }

    #[test]
    fn sockets_arrive_with_what_they_are_for() {
        let (old, new, clock) = pair();
        let bind = || TcpListener::bind("127.0.0.1:0").expect("a free port");
        let sockets = [bind(), bind(), bind()];
        let ports: Vec<_> = sockets.iter().map(|socket| socket.local_addr().expect("bound")).collect();
        let [one, two, admin] = sockets.map(OwnedFd::from);
        let address = "127.0.0.1:0".parse().expect("an address");
        let all = [
            Handed { address, purpose: Some(Purpose::Clients), sockets: vec![one, two] },
            Handed { address, purpose: Some(Purpose::Admin), sockets: vec![admin] },
        ];
        old.hand_over("1.2.3", &all).expect("sent");
        let Word::Hello(hello) = new.next(&clock, soon(&clock)).expect("said") else { panic!("no hello") };
        assert_eq!((hello.protocol, hello.pid), (PROTOCOL, std::process::id()));
        let taken = new.take_over(&hello, &clock, soon(&clock)).expect("taken");
        assert_eq!(taken[1].purpose, Some(Purpose::Admin));
        let taken = taken.into_iter().flat_map(|one| one.sockets).map(TcpListener::from);
        assert_eq!(taken.map(|socket| socket.local_addr().expect("bound")).collect::<Vec<_>>(), ports);
    }

    #[test]
    fn what_a_later_version_says_is_passed_over() {
        let (old, new, clock) = pair();
        let text = br#"{"later":{"a":1}}"#;
        let mut message = u32::try_from(text.len()).expect("short").to_le_bytes().to_vec();
        message.extend_from_slice(text);
        (&old.0).write_all(&message).expect("sent");
        old.send(&Word::Ready).expect("sent");
        assert!(matches!(new.next(&clock, soon(&clock)), Ok(Word::Unknown)));
        assert!(matches!(new.next(&clock, soon(&clock)), Ok(Word::Ready)));
    }

    #[test]
    fn an_end_that_is_gone_or_silent_is_told_apart() {
        let (old, new, clock) = pair();
        let passed = clock.now();
        assert_eq!(
            new.next(&clock, passed).map_err(|error| error.kind()).err(),
            Some(io::ErrorKind::TimedOut)
        );
        (&old.0).write_all(&u32::MAX.to_le_bytes()).expect("sent");
        assert_eq!(new.wait(&clock).map_err(|error| error.kind()).err(), Some(io::ErrorKind::InvalidData));
        drop(old);
        assert_eq!(new.wait(&clock).map_err(|error| error.kind()).err(), Some(io::ErrorKind::UnexpectedEof));
    }
}
