//! Clients on raw sockets, who read answers strictly and say how they ended.
//!
//! A request is under way as soon as it is named; awaiting it gives the answer, or fails within [`PATIENCE`].

use std::future::{Future, IntoFuture};
use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::answer::{Answer, Answers};
use super::journal::Journal;
use super::wire::{End, Framing, Head, Wire};

/// One who asks; each request goes over a connection of its own.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    address: SocketAddr,
    host: String,
    lines: String,
    journal: Journal,
}

/// Several who ask the same at once.
#[derive(Clone, Debug)]
pub(crate) struct Clients {
    client: Client,
    count: usize,
}

/// A connection that the test drives by hand.
#[derive(Debug)]
pub(crate) struct Connection {
    wire: Wire<TcpStream>,
    journal: Journal,
}

/// Something under way; dropped, it goes on.
#[derive(Debug)]
pub(crate) struct Pending<T>(JoinHandle<T>);

impl Client {
    pub(crate) fn new(address: SocketAddr, host: &str, journal: &Journal) -> Self {
        Self { address, host: host.to_owned(), lines: String::new(), journal: journal.clone() }
    }

    /// Sends this field too.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.lines.extend([name, ": ", value, "\r\n"]);
        self
    }

    pub(crate) fn host(mut self, host: &str) -> Self {
        host.clone_into(&mut self.host);
        self
    }

    pub(crate) fn get(&self, target: &str) -> Pending<Answer> {
        self.request("GET", target, b"")
    }

    pub(crate) fn head(&self, target: &str) -> Pending<Answer> {
        self.request("HEAD", target, b"")
    }

    pub(crate) fn post(&self, target: &str, body: &str) -> Pending<Answer> {
        self.request("POST", target, body.as_bytes())
    }

    pub(crate) fn request(&self, method: &str, target: &str, body: &[u8]) -> Pending<Answer> {
        let bytes = self.bytes(method, target, body);
        self.exchange(method, bytes)
    }

    /// Sends these bytes as they are, and reads one answer.
    pub(crate) fn raw(&self, bytes: impl Into<Vec<u8>>) -> Pending<Answer> {
        self.exchange("GET", bytes.into())
    }

    /// A request as it goes over the wire.
    pub(crate) fn bytes(&self, method: &str, target: &str, body: &[u8]) -> Vec<u8> {
        let length = match (method, body.len()) {
            ("GET" | "HEAD", 0) => String::new(),
            (_, length) => format!("Content-Length: {length}\r\n"),
        };
        let Self { host, lines, .. } = self;
        let mut bytes =
            format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{lines}{length}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }

    /// A connection to drive by hand.
    pub(crate) async fn connect(&self) -> Connection {
        let stream = within(TcpStream::connect(self.address)).await.expect("the node listens");
        let _ = stream.set_nodelay(true);
        Connection::of(stream, &self.journal)
    }

    fn exchange(&self, method: &str, bytes: Vec<u8>) -> Pending<Answer> {
        let (client, method) = (self.clone(), method.to_owned());
        Pending(tokio::spawn(async move {
            let mut connection = client.connect().await;
            connection.write(&bytes).await;
            connection.answer(&method).await
        }))
    }
}

impl Clients {
    pub(crate) fn new(client: Client, count: usize) -> Self {
        Self { client, count }
    }

    pub(crate) fn get(&self, target: &str) -> Pending<Answers> {
        let asked: Vec<_> = (0..self.count).map(|_| self.client.get(target)).collect();
        gather(asked)
    }
}

/// Several requests as one.
pub(crate) fn gather(asked: Vec<Pending<Answer>>) -> Pending<Answers> {
    Pending(tokio::spawn(async move {
        let mut answers = Vec::with_capacity(asked.len());
        for Pending(asked) in asked {
            answers.push(asked.await.expect("a client that is not sent away answers"));
        }
        Answers(answers)
    }))
}

impl Connection {
    /// Over a stream that is open.
    pub(crate) fn of(stream: TcpStream, journal: &Journal) -> Self {
        Self { wire: Wire::new(stream), journal: journal.clone() }
    }

    /// Ends its own side; the other goes on.
    pub(crate) async fn shut(&mut self) {
        let _ = self.wire.stream.shutdown().await;
    }

    /// Ends at once, and the other is told so.
    pub(crate) fn reset(self) {
        let _ = socket2::SockRef::from(&self.wire.stream).set_linger(Some(Duration::ZERO));
    }

    /// Whether the other ends its side next, and cleanly.
    pub(crate) async fn is_at_end(&mut self) -> bool {
        self.wire.unread.is_empty() && matches!(self.wire.more().await, Ok(false))
    }

    /// Whether more comes soon.
    pub(crate) async fn is_silent(&mut self) -> bool {
        self.wire.unread.is_empty() && tokio::time::timeout(super::TURN, self.wire.more()).await.is_err()
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            self.journal.bytes("client", "sends", bytes);
        }
        // A peer that has refused the request already may be gone; what it said is still read.
        let _ = self.wire.stream.write_all(bytes).await;
    }

    /// The next answer, interim ones before it, to a request with `method`.
    pub(crate) async fn answer(&mut self, method: &str) -> Answer {
        let mut interim = Vec::new();
        loop {
            let head = match self.wire.head().await {
                Ok(Some(head)) => head,
                Ok(None) => return Answer::none(interim),
                Err(why) => panic!("an answer that no client accepts: {why}"),
            };
            self.journal.bytes("client", "got", &head.raw);
            let status = status_of(&head);
            if (100..200).contains(&status) && status != 101 {
                interim.push(head);
                continue;
            }
            let framing = framing(&head, status, method);
            let mut body = Vec::new();
            let end = self.wire.body(framing, &mut body).await.unwrap_or_else(|why| panic!("{why}"));
            self.journal.note("client", &format!("got {} body bytes, {end:?}", body.len()));
            return Answer { status, head, body, end, interim };
        }
    }

    /// The head of the next answer; its body is left to be read with [`Connection::read`].
    pub(crate) async fn head(&mut self) -> Head {
        let head = within(self.wire.head()).await;
        head.unwrap_or_else(|why| panic!("an answer that no client accepts: {why}")).expect("an answer")
    }

    /// Reads until what has come ends in this, framing included.
    pub(crate) async fn read_to(&mut self, end: &[u8]) -> String {
        while !self.wire.unread.ends_with(end) {
            let more = within(self.wire.more()).await;
            assert!(matches!(more, Ok(true)), "{more:?} after {}", self.wire.unread.escape_ascii());
        }
        String::from_utf8_lossy(&std::mem::take(&mut self.wire.unread)).into_owned()
    }

    /// Reads until `count` bytes have come, framing included.
    pub(crate) async fn read(&mut self, count: usize) -> Vec<u8> {
        while self.wire.unread.len() < count {
            let more = within(self.wire.more()).await;
            assert!(matches!(more, Ok(true)), "{more:?} after {} bytes", self.wire.unread.len());
        }
        self.wire.unread.drain(..count).collect()
    }

    /// What still comes until the node ends the connection.
    pub(crate) async fn rest(&mut self) -> (Vec<u8>, End) {
        let end = within(self.wire.ended()).await;
        (std::mem::take(&mut self.wire.unread), end)
    }

    /// The same, if it comes so soon.
    pub(crate) async fn rest_within(&mut self, time: Duration) -> Option<(Vec<u8>, End)> {
        let end = tokio::time::timeout(time, self.wire.ended()).await.ok()?;
        Some((std::mem::take(&mut self.wire.unread), end))
    }
}

impl<T: Send + 'static> Pending<T> {
    /// Something that goes on by itself.
    pub(crate) fn of(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self(tokio::spawn(work))
    }
}

impl<T> Pending<T> {
    /// The client goes away.
    pub(crate) fn leave(self) {
        self.0.abort();
    }

    /// Whether it has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_finished()
    }
}

impl<T: Send + 'static> IntoFuture for Pending<T> {
    type Output = T;
    type IntoFuture = Pin<Box<dyn Future<Output = T> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            match within(self.0).await {
                Ok(value) => value,
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            }
        })
    }
}

/// `future`, which must not take longer than a test may hang.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    let came = tokio::time::timeout(PATIENCE, future).await;
    came.unwrap_or_else(|_| panic!("nothing came within {PATIENCE:?}"))
}

fn status_of(head: &Head) -> u16 {
    let mut parts = head.start.splitn(3, ' ');
    assert_eq!(parts.next(), Some("HTTP/1.1"), "{}", head.start);
    let status = parts.next().filter(|status| status.len() == 3).and_then(|status| status.parse().ok());
    status.unwrap_or_else(|| panic!("a status line without a status: {}", head.start))
}

fn framing(head: &Head, status: u16, method: &str) -> Framing {
    let told = head.framing().unwrap_or_else(|why| panic!("{why}: {}", head.raw.escape_ascii()));
    if matches!(status, 204 | 304) {
        assert!(status == 304 || told.is_none(), "a {status} with framing: {}", head.raw.escape_ascii());
        return Framing::None;
    }
    if method == "HEAD" {
        return Framing::None;
    }
    told.unwrap_or(Framing::Close)
}

/// Real time after which a test that waits has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);
