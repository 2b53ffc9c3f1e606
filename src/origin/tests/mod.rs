//! The room against scripted origins: real sockets on port 0, every byte as written.
//!
//! An origin plays one list of [`Play`]s for each connection it accepts, in the order they come; connections beyond the
//! script are accepted and closed at once. What it read is kept, so a test can say what reached it.

mod balancing;
mod checking;
mod choosing;
mod connecting;
mod forwarding;
mod framing;
mod h2;
mod pooling;
mod steering;
mod transport;
mod truncation;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;
use crate::config::{Origin, Pool as PoolSettings};
use crate::origin::Surplus;

/// What an origin does next on a connection.
#[derive(Clone)]
pub(super) enum Play {
    /// Reads one request, head and body.
    Read,
    /// Reads the head of a request and leaves its body.
    ReadHead,
    /// Writes these bytes.
    Write(Vec<u8>),
    /// Waits until the test says so.
    Wait(Arc<Notify>),
    /// Closes with FIN.
    Close,
    /// Closes with RST.
    Reset,
}

pub(super) fn write(bytes: impl AsRef<[u8]>) -> Play {
    Play::Write(bytes.as_ref().to_vec())
}

/// A scripted origin.
#[derive(Clone)]
pub(super) struct Scripted {
    pub(super) port: u16,
    seen: Arc<Mutex<Seen>>,
    changed: Arc<Notify>,
}

#[derive(Default, Clone, Debug)]
pub(super) struct Seen {
    pub(super) connections: usize,
    pub(super) requests: Vec<String>,
    /// Pieces written.
    pub(super) writes: usize,
}

impl Scripted {
    pub(super) async fn new(plays: Vec<Vec<Play>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let origin = Self {
            port: listener.local_addr().unwrap().port(),
            seen: Arc::default(),
            changed: Arc::default(),
        };
        let shared = origin.clone();
        tokio::spawn(async move {
            let mut plays = plays.into_iter();
            while let Ok((socket, _)) = listener.accept().await {
                shared.note(|seen| seen.connections += 1);
                if let Some(plays) = plays.next() {
                    tokio::spawn(play(socket, plays, shared.clone()));
                }
            }
        });
        origin
    }

    /// As many connections as wanted, each answering every request with `response`.
    pub(super) async fn always(response: &'static str) -> Self {
        let connection: Vec<Play> = (0..64).flat_map(|_| [Play::Read, write(response)]).collect();
        Self::new(vec![connection; 64]).await
    }

    pub(super) fn seen(&self) -> Seen {
        self.seen.lock().clone()
    }

    pub(super) async fn until(&self, reached: impl Fn(&Seen) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if reached(&self.seen.lock()) {
                return;
            }
            changed.await;
        }
    }

    fn note(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock());
        self.changed.notify_waiters();
    }
}

async fn play(mut socket: TcpStream, plays: Vec<Play>, origin: Scripted) {
    for play in plays {
        match play {
            Play::Read => match read_request(&mut socket).await {
                Some(request) => origin.note(|seen| seen.requests.push(request)),
                None => return,
            },
            Play::ReadHead => match read_head(&mut socket).await {
                Some(head) => origin.note(|seen| seen.requests.push(String::from_utf8(head).unwrap())),
                None => return,
            },
            Play::Write(bytes) => {
                if socket.write_all(&bytes).await.is_err() || socket.flush().await.is_err() {
                    return;
                }
                origin.note(|seen| seen.writes += 1);
            }
            Play::Wait(gate) => gate.notified().await,
            Play::Close => return,
            Play::Reset => {
                socket2::SockRef::from(&socket).set_linger(Some(Duration::ZERO)).unwrap();
                return;
            }
        }
    }
    // Stays open until the other side is done.
    let _ = socket.read(&mut [0; 1]).await;
}

async fn read_head(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(socket.read_u8().await.ok()?);
    }
    Some(bytes)
}

async fn read_request(socket: &mut (impl tokio::io::AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = read_head(socket).await?;
    let head = String::from_utf8(bytes.clone()).unwrap().to_ascii_lowercase();
    if let Some((_, rest)) = head.split_once("content-length: ") {
        let length: usize = rest.split("\r\n").next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        socket.read_exact(&mut body).await.ok()?;
        bytes.extend(body);
    } else if head.contains("transfer-encoding: chunked") {
        let from = bytes.len();
        while !bytes.get(from..).unwrap().ends_with(b"0\r\n\r\n") {
            bytes.push(socket.read_u8().await.ok()?);
        }
    }
    Some(String::from_utf8(bytes).unwrap())
}

/// An origin at this port of the loopback address.
pub(super) fn at(port: u16) -> Origin {
    Origin {
        name: format!("http://127.0.0.1:{port}").into(),
        tls: false,
        host: "127.0.0.1".into(),
        port,
        weight: 1,
        backup: false,
    }
}

/// Settings of a pool `p` of these origins.
pub(super) fn settings(origins: Vec<Origin>) -> PoolSettings {
    PoolSettings {
        connections_max: 16,
        queue_timeout: Duration::from_secs(5),
        queue_max: 16,
        connect_timeout: Duration::from_secs(5),
        first_byte_timeout: Duration::from_secs(5),
        between_bytes_timeout: Duration::from_secs(5),
        idle_timeout: Duration::from_secs(15),
        eject_after: 3,
        eject_for: Duration::from_secs(10),
        eject_failure_percent: 0,
        ..PoolSettings::of(&"p".into(), origins)
    }
}

pub(super) fn pools(settings: PoolSettings, clock: &Clock) -> Arc<OriginPools> {
    let pools = BTreeMap::from([(Arc::clone(&settings.name), settings)]);
    Arc::new(OriginPools::new(&pools, clock).unwrap())
}

pub(super) fn manual() -> Clock {
    Clock::manual(Timestamp::from_secs(1_000_000))
}

pub(super) fn ask(method: Method, target: &'static str) -> Ask {
    Ask {
        pool: "p".into(),
        method,
        authority: Bytes::from_static(b"www.example.com"),
        target: Bytes::from_static(target.as_bytes()),
        fields: Sent::default(),
        body: RequestBody::Empty,
        interim: None,
        client: None,
        stuck: None,
        surplus: Surplus::Refuse,
    }
}

pub(super) fn get(target: &'static str) -> Ask {
    ask(Method::GET, target)
}

/// A request body that is all there.
pub(super) fn body_of(pieces: &[&'static str]) -> RequestBody {
    let (sender, frames) = tokio::sync::mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(Ok(Bytes::from_static(piece.as_bytes()))).unwrap();
    }
    let length = pieces.iter().map(|piece| piece.len() as u64).sum();
    RequestBody::Channel { frames, length: Some(length), ended: false, wanted: None }
}

/// The whole body, or why it is not whole, with what came before.
pub(super) async fn collect(body: &mut OriginBody) -> Result<String, (OriginError, String)> {
    let mut text = String::new();
    while let Some(piece) = body.next().await {
        match piece {
            Ok(bytes) => text.push_str(std::str::from_utf8(&bytes).unwrap()),
            Err(error) => return Err((error, text)),
        }
    }
    Ok(text)
}

/// Status and body, or the cause, wherever it shows.
pub(super) async fn fetch(pools: &OriginPools, ask: Ask) -> Result<(u16, String), OriginError> {
    let mut answer = pools.ask(ask).await.map_err(|failed| failed.cause)?;
    let body = collect(&mut answer.body).await.map_err(|(error, _)| error)?;
    Ok((answer.status.as_u16(), body))
}

impl ResponseFields {
    /// The names, for as long as the test's process lives.
    fn keys(&self) -> impl Iterator<Item = &'static http::HeaderName> {
        Box::leak(Box::new(self.to_map())).keys()
    }
}

pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
