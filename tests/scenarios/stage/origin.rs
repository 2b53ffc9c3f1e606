//! An origin that follows a script, byte by byte, and records every request.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tidegate::clock::Clock;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::journal::Journal;
use super::reply::{Reply, Step, reply};
use super::wire::{End, Framing, Head, Wire};

/// An origin on a port of its own; clones are one origin.
#[derive(Clone)]
pub(crate) struct Origin(Arc<Inner>);

struct Inner {
    name: &'static str,
    address: SocketAddr,
    clock: Clock,
    journal: Journal,
    scripts: Mutex<Vec<(String, Script)>>,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    /// Whether it should listen, and whether it does.
    wanted: watch::Sender<bool>,
    listening: watch::Sender<bool>,
    /// Keeps the port while it does not listen.
    _port: Socket,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// The connection it came on, counted from 0.
    pub(crate) connection: usize,
}

enum Script {
    /// One after the other; the last repeats.
    Replies {
        replies: Vec<Reply>,
        next: usize,
    },
    Answers(Arc<dyn Fn(&Seen) -> Reply + Send + Sync>),
}

impl Seen {
    pub(crate) fn method(&self) -> &str {
        self.head.start.split(' ').next().unwrap_or_default()
    }

    pub(crate) fn target(&self) -> &str {
        self.head.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn field(&self, name: &str) -> Option<String> {
        self.head.field(name)
    }
}

impl Origin {
    /// Listens on a free port and answers 404 until it is given a script.
    pub(crate) fn open(name: &'static str, clock: &Clock, journal: &Journal) -> Self {
        let port = bound((Ipv4Addr::LOCALHOST, 0).into());
        let address = port.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
        let origin = Self(Arc::new(Inner {
            name,
            address,
            clock: clock.clone(),
            journal: journal.clone(),
            scripts: Mutex::default(),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
            wanted: watch::Sender::new(true),
            listening: watch::Sender::new(true),
            _port: port,
        }));
        let first = listening(address);
        tokio::spawn(origin.clone().listen(first));
        origin
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.0.address
    }

    /// Answers requests for `target` with these, one after the other; the last repeats. Replaces what stood there.
    pub(crate) fn on(&self, target: &str, replies: impl IntoIterator<Item = Reply>) {
        let replies: Vec<_> = replies.into_iter().collect();
        assert!(!replies.is_empty(), "a script needs a reply");
        self.put(target, Script::Replies { replies, next: 0 });
    }

    /// Answers requests for `target` with what `answer` makes of each; `*` stands for every other target.
    pub(crate) fn answers(&self, target: &str, answer: impl Fn(&Seen) -> Reply + Send + Sync + 'static) {
        self.put(target, Script::Answers(Arc::new(answer)));
    }

    /// Every request so far, in the order in which they were whole.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.0.seen.lock().clone()
    }

    /// The requests for `target` so far.
    pub(crate) fn seen_for(&self, target: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| seen.target() == target).collect()
    }

    /// Claims that it was asked `times` for `target`.
    #[track_caller]
    pub(crate) fn saw(&self, times: usize, target: &str) {
        let seen = self.seen_for(target).len();
        assert_eq!(seen, times, "requests for {target} at origin {}", self.0.name);
    }

    /// Connections taken so far.
    pub(crate) fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// Refuses connections from now on, and ends those that are idle.
    pub(crate) async fn refuses(&self) {
        self.switch(false).await;
    }

    /// Takes connections again.
    pub(crate) async fn listens(&self) {
        self.switch(true).await;
    }

    async fn switch(&self, on: bool) {
        self.0.wanted.send_replace(on);
        let mut listening = self.0.listening.subscribe();
        listening.wait_for(|now| *now == on).await.expect("the origin holds the sender");
        self.0.journal.note(self.0.name, if on { "listens" } else { "refuses" });
    }

    fn put(&self, target: &str, script: Script) {
        let mut scripts = self.0.scripts.lock();
        scripts.retain(|(known, _)| known != target);
        scripts.push((target.to_owned(), script));
    }

    async fn listen(self, first: TcpListener) {
        let mut wanted = self.0.wanted.subscribe();
        let mut listener = first;
        loop {
            self.0.listening.send_replace(true);
            loop {
                tokio::select! {
                    accepted = listener.accept() => {
                        let Ok((stream, _)) = accepted else { continue };
                        // A script's steps are writes of their own; none waits for the one before to be acknowledged.
                        let _ = stream.set_nodelay(true);
                        let number = self.0.connections.fetch_add(1, Ordering::Relaxed);
                        tokio::spawn(self.clone().converse(stream, number));
                    }
                    _ = wanted.wait_for(|on| !*on) => break,
                }
            }
            drop(listener);
            self.0.listening.send_replace(false);
            if wanted.wait_for(|on| *on).await.is_err() {
                return;
            }
            listener = listening(self.0.address);
        }
    }

    async fn converse(self, stream: TcpStream, number: usize) {
        let mut wanted = self.0.wanted.subscribe();
        let who = format!("{}#{number}", self.0.name);
        let mut wire = Wire::new(stream);
        loop {
            let head = tokio::select! {
                head = wire.head() => head,
                _ = wanted.wait_for(|on| !*on) => return,
            };
            let head = match head {
                Ok(Some(head)) => head,
                Ok(None) => return,
                Err(why) => {
                    self.0.journal.note(&who, &format!("DIRTY: {why}"));
                    self.record(
                        Head { start: format!("DIRTY {why}"), ..Head::default() },
                        Vec::new(),
                        number,
                    );
                    return;
                }
            };
            let framing = head.framing();
            let mut body = Vec::new();
            let end = match framing {
                Ok(framing) => wire.body(framing.unwrap_or(Framing::None), &mut body).await,
                Err(why) => Err(why),
            };
            self.0.journal.bytes(&who, "got", &head.raw);
            match end {
                Ok(End::Clean) => {}
                Ok(End::Cut(why)) => {
                    self.0.journal.note(&who, &format!("got a body that was cut: {why}"));
                    self.record(Head { start: format!("CUT {}", head.start), ..head }, body, number);
                    return;
                }
                Err(why) => {
                    self.0.journal.note(&who, &format!("DIRTY: {why}"));
                    self.record(Head { start: format!("DIRTY {why}"), ..head }, body, number);
                    return;
                }
            }
            let seen = self.record(head, body, number);
            let steps = self.reply_to(&seen).steps(&seen, self.0.clock.wall());
            if !self.perform(&mut wire, &who, steps).await {
                return;
            }
        }
    }

    fn record(&self, head: Head, body: Vec<u8>, connection: usize) -> Seen {
        let seen = Seen { head, body, connection };
        self.0.seen.lock().push(seen.clone());
        seen
    }

    fn reply_to(&self, seen: &Seen) -> Reply {
        let answer = {
            let mut scripts = self.0.scripts.lock();
            let place = scripts.iter().position(|(target, _)| target == seen.target());
            let place = place.or_else(|| scripts.iter().position(|(target, _)| target == "*"));
            match place.and_then(|place| scripts.get_mut(place)).map(|(_, script)| script) {
                Some(Script::Replies { replies, next }) => {
                    let at = (*next).min(replies.len() - 1);
                    *next += 1;
                    return replies[at].clone();
                }
                Some(Script::Answers(answer)) => Arc::clone(answer),
                None => return reply(404).cache_control("no-store").body("not in the script"),
            }
        };
        answer(seen)
    }

    /// Whether the connection is good for another request.
    async fn perform(&self, wire: &mut Wire<TcpStream>, who: &str, steps: Vec<Step>) -> bool {
        for step in steps {
            match step {
                Step::Send(bytes) => {
                    self.0.journal.bytes(who, "sends", &bytes);
                    if wire.stream.write_all(&bytes).await.is_err() {
                        self.0.journal.note(who, "the node is gone");
                        return false;
                    }
                }
                Step::Wait(gate) => gate.passed().await,
                Step::Stall => {
                    self.0.journal.note(who, "stalls");
                    wire.ended().await;
                    return false;
                }
                Step::Close => {
                    self.0.journal.note(who, "closes");
                    return false;
                }
                Step::Reset => {
                    self.0.journal.note(who, "resets");
                    let _ = SockRef::from(&wire.stream).set_linger(Some(Duration::ZERO));
                    return false;
                }
            }
        }
        true
    }
}

/// A port that is held and on which nobody listens yet.
pub(crate) fn bound(address: SocketAddr) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).expect("a socket");
    socket.set_reuse_port(true).expect("a fresh socket takes options");
    socket.set_nonblocking(true).expect("a fresh socket takes options");
    socket.bind(&address.into()).expect("a free port, or one that we hold");
    socket
}

fn listening(address: SocketAddr) -> TcpListener {
    let socket = bound(address);
    socket.listen(4096).expect("a bound socket listens");
    TcpListener::from_std(socket.into()).expect("it does not block")
}
