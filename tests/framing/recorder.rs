//! An origin that keeps every byte it is sent, connection by connection, and answers what the strict reader understands.
//!
//! An answer names what was asked (`GET /x 0`: method, target, bytes of body), so that a client sees whose answer it
//! got. What the strict reader objects to is not answered: the connection is closed and [`Recorder::judge`] complains.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::client::within;
use crate::strict::{self, Complaint, Request};

/// The origin; it listens as long as its runtime runs.
#[derive(Clone)]
pub(crate) struct Recorder {
    pub(crate) address: SocketAddr,
    log: Arc<Mutex<Log>>,
}

#[derive(Default)]
struct Log {
    /// All bytes of each connection, in the order in which they were opened.
    connections: Vec<Vec<u8>>,
    /// Whole requests in the order in which they ended.
    requests: Vec<Request>,
    /// Connections not yet closed.
    open: usize,
}

/// What an origin says to a request; `None`: nothing, for ever.
pub(crate) type Script = fn(&Request) -> Option<Vec<u8>>;

/// What an origin got, once it is known to be clean.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// Whole requests.
    pub(crate) requests: usize,
    /// Connections that ended within a request.
    pub(crate) cut: usize,
}

impl Recorder {
    pub(crate) async fn open(script: Script) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let log = Arc::new(Mutex::new(Log::default()));
        let recorder = Self { address, log };
        let opened = recorder.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let recorder = recorder.clone();
                let index = recorder.with(|log| {
                    log.connections.push(Vec::new());
                    log.open += 1;
                    log.connections.len() - 1
                });
                tokio::spawn(async move {
                    // A reset is an end like another.
                    let _ = recorder.serve(index, stream, script).await;
                    recorder.with(|log| log.open -= 1);
                });
            }
        });
        opened
    }

    async fn serve(&self, index: usize, mut stream: TcpStream, script: Script) -> io::Result<()> {
        let mut pending = Vec::new();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let count = stream.read(&mut buffer).await?;
            if count == 0 {
                return Ok(());
            }
            pending.extend_from_slice(&buffer[..count]);
            self.with(|log| log.connections[index].extend_from_slice(&buffer[..count]));
            let Ok((requests, rest)) = strict::read_cut(&pending) else { return Ok(()) };
            pending.drain(..rest);
            for request in requests {
                let answer = script(&request);
                self.with(|log| log.requests.push(request));
                let Some(answer) = answer else {
                    while stream.read(&mut buffer).await? > 0 {}
                    return Ok(());
                };
                stream.write_all(&answer).await?;
            }
        }
    }

    /// Whole requests so far.
    pub(crate) fn count(&self) -> usize {
        self.with(|log| log.requests.len())
    }

    /// Whole requests from the `from`th on.
    pub(crate) fn since(&self, from: usize) -> Vec<Request> {
        self.with(|log| log.requests[from..].to_vec())
    }

    /// Completes when every connection is closed, which the node does when it ends.
    pub(crate) async fn settled(&self) {
        within("the origin's connections end", async {
            while self.with(|log| log.open) > 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    /// Judges the bytes of each connection from its beginning.
    pub(crate) fn judge(&self) -> Result<Verdict, String> {
        self.with(|log| {
            let mut verdict = Verdict { requests: 0, cut: 0 };
            for bytes in &log.connections {
                let (requests, rest) =
                    strict::read_cut(bytes).map_err(|complaint| dirty(bytes, &complaint))?;
                verdict.requests += requests.len();
                verdict.cut += usize::from(rest < bytes.len());
            }
            Ok(verdict)
        })
    }

    fn with<T>(&self, look: impl FnOnce(&mut Log) -> T) -> T {
        look(&mut self.log.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The body of the answer to a request.
pub(crate) fn echo(method: &str, target: &str, body_bytes: usize) -> String {
    format!("{method} {target} {body_bytes}")
}

/// 200 with these lines and the echo.
pub(crate) fn answer(request: &Request, lines: &str) -> Vec<u8> {
    let body = echo(&request.method, &request.target, request.body.len());
    let head = format!("HTTP/1.1 200 OK\r\n{lines}Content-Length: {}\r\n\r\n", body.len());
    let body = if request.method == "HEAD" { String::new() } else { body };
    [head, body].concat().into_bytes()
}

fn dirty(bytes: &[u8], complaint: &Complaint) -> String {
    let from = complaint.at.saturating_sub(400);
    let shown = &bytes[from..bytes.len().min(complaint.at + 100)];
    format!("dirty at {}, {}: …{}…", complaint.at, complaint.what, shown.escape_ascii())
}
