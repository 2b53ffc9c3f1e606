//! Slow clients, held: a third sends its head, a third its body, a third reads its answer, a byte a second.
//!
//! Prints `held=N` once all stand, then another such line every second until killed: a server may well
//! close some, and that is part of the answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::time::pause;

enum Slowness {
    Head,
    Body,
    Reading,
}

/// Holds `clients` until killed or until none is left.
pub(crate) fn run(
    server: SocketAddr,
    path: &str,
    clients: usize,
    mut tell: impl FnMut(usize),
) -> io::Result<()> {
    let mut held = Vec::with_capacity(clients);
    for index in 0..clients {
        let mut stream = TcpStream::connect(server)?;
        let (slowness, request) = match index % 3 {
            0 => (Slowness::Head, format!("GET {path} HTTP/1.1\r\nHost: {server}\r\nX-Slow: ")),
            1 => (
                Slowness::Body,
                format!("POST {path} HTTP/1.1\r\nHost: {server}\r\nContent-Length: 100000\r\n\r\n"),
            ),
            _ => (Slowness::Reading, format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n")),
        };
        stream.write_all(request.as_bytes())?;
        stream.set_nonblocking(true)?;
        held.push((stream, slowness));
    }
    while !held.is_empty() {
        tell(held.len());
        pause(1000);
        held.retain_mut(|(stream, slowness)| {
            let step = match slowness {
                Slowness::Head | Slowness::Body => match stream.peek(&mut [0]) {
                    // Something came before we had finished: refused or timed out.
                    Ok(_) => Err(ErrorKind::ConnectionReset.into()),
                    Err(_) => stream.write(b"x"),
                },
                Slowness::Reading => stream.read(&mut [0]).and_then(|length| {
                    if length == 0 { Err(ErrorKind::UnexpectedEof.into()) } else { Ok(length) }
                }),
            };
            step.map_or_else(|error| error.kind() == ErrorKind::WouldBlock, |_| true)
        });
    }
    tell(0);
    Ok(())
}
