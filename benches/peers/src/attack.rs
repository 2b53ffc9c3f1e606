//! HTTP/2 attackers over TLS: floods of frames and header bombs, the very ones of `tests/framing/attacks.rs`.
//!
//! A flood is sent until the server closes the connection, and then again on a new one, for as long as asked; told is how
//! much of it a connection took at most. A bomb opens every stream it may, with no window for answers, and waits; told is
//! every second how many connections still stand.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::attacks::{BOMBS, BYTES_MAX, Bomb, FRAMES_MAX, Flood, bomb_frames, floods, no_fields};
use super::h2_cases::{PREFACE, frame};
use crate::slow::believing;
use crate::time::{SECOND, now, pause};

type Tls = StreamOwned<ClientConnection, TcpStream>;

/// What a flood came to.
#[derive(Default)]
struct Flooded {
    connections: u64,
    /// The most that one connection took.
    frames: u64,
    bytes: usize,
    /// Connections that took as much as none may.
    open: u64,
}

/// Floods with kind number `kind` on `connections` connections at a time for `secs`; one line.
pub(crate) fn flood(server: SocketAddr, kind: usize, connections: usize, secs: u64) -> io::Result<String> {
    let config = config()?;
    let until = now() + secs * SECOND;
    let workers: Vec<_> = (0..connections)
        .map(|_| {
            let config = Arc::clone(&config);
            std::thread::spawn(move || -> io::Result<Flooded> {
                let flood = floods().into_iter().nth(kind).ok_or(io::ErrorKind::InvalidInput)?;
                let mut all = Flooded::default();
                while now() < until {
                    one(server, &config, &flood, &mut all)?;
                }
                Ok(all)
            })
        })
        .collect();
    let mut all = Flooded::default();
    for worker in workers {
        let one = worker.join().map_err(|_| io::Error::other("an attacker panicked"))??;
        all.connections += one.connections;
        all.frames = all.frames.max(one.frames);
        all.bytes = all.bytes.max(one.bytes);
        all.open += one.open;
    }
    let Flooded { connections, frames, bytes, open } = all;
    Ok(format!("connections={connections} frames={frames} bytes={bytes} open={open}"))
}

fn one(server: SocketAddr, config: &Arc<ClientConfig>, flood: &Flood, all: &mut Flooded) -> io::Result<()> {
    let mut stream = connect(server, config)?;
    all.connections += 1;
    let (mut frames, mut bytes) = (0, 0);
    let mut closed = stream.write_all(&[PREFACE, &flood.begins].concat()).is_err();
    stream.sock.set_read_timeout(Some(Duration::from_millis(1)))?;
    for n in 1.. {
        let piece = (flood.goes_on)(n);
        if closed || frames + flood.frames > FRAMES_MAX || bytes + piece.len() > BYTES_MAX {
            break;
        }
        frames += flood.frames;
        bytes += piece.len();
        closed = stream.write_all(&piece).is_err() || (n % 64 == 0 && is_closed(&mut stream));
    }
    // It has until now to be read, and a moment to be answered.
    stream.sock.set_read_timeout(Some(Duration::from_secs(2)))?;
    let closed = closed || is_closed(&mut stream);
    all.open += u64::from(!closed);
    all.frames = all.frames.max(frames);
    all.bytes = all.bytes.max(bytes);
    Ok(())
}

/// Reads what is there; whether the other side has closed.
fn is_closed(stream: &mut Tls) -> bool {
    let mut buffer = [0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            }
        }
    }
}

/// Holds `connections` full of bomb number `kind` (the last: none, for comparison) until none is left; tells every second
/// how many stand, and first how many bytes each sent.
pub(crate) fn bomb(
    server: SocketAddr,
    kind: usize,
    connections: usize,
    mut tell: impl FnMut(usize, usize),
) -> io::Result<()> {
    let bomb: Bomb = BOMBS.get(kind).map_or(no_fields, |(_, bomb)| *bomb);
    let config = config()?;
    let mut held = Vec::with_capacity(connections);
    let mut sent = 0;
    for number in 0..connections {
        let mut stream = connect(server, &config)?;
        // SETTINGS_INITIAL_WINDOW_SIZE 0: no answer may be sent on.
        let settings = frame(4, 0, 0, &[0, 4, 0, 0, 0, 0]);
        let bytes = [&PREFACE[..24], &settings, &bomb_frames(number, bomb)].concat();
        stream.write_all(&bytes)?;
        stream.flush()?;
        stream.sock.set_nonblocking(true)?;
        sent = bytes.len();
        held.push(stream);
    }
    while !held.is_empty() {
        tell(held.len(), sent);
        pause(1000);
        held.retain_mut(|stream| !is_closed(stream));
    }
    tell(0, sent);
    Ok(())
}

fn connect(server: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Tls> {
    let socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    let name = ServerName::from(server.ip());
    let session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
    Ok(StreamOwned::new(session, socket))
}

fn config() -> io::Result<Arc<ClientConfig>> {
    let mut config = believing()?;
    Arc::make_mut(&mut config).alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}
