//! The floor: what one HTTP/1.1 keep-alive answer costs when nothing is decided.
//!
//! One thread, one epoll, one read and one write a request, the same prebuilt answer to whatever came. It
//! does not parse; every read counts as one request, which holds for closed-loop clients without pipelining.
//! `× floor` in the tables is against this.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use crate::time::http_date;

/// Answers with `size` bytes until killed.
pub(crate) fn serve(address: SocketAddr, size: usize) -> io::Result<()> {
    let answer = answer(size);
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(256);
    let mut listener = TcpListener::bind(address)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    // Made once: to clear it for every request would cost more than all the rest.
    let mut buffer = vec![0; 16 * 1024];
    let mut connections: Vec<Option<(TcpStream, usize)>> = Vec::new();
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Token(index) = event.token();
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    let _ = stream.set_nodelay(true);
                    let index = connections.iter().position(Option::is_none).unwrap_or(connections.len());
                    let interest = Interest::READABLE | Interest::WRITABLE;
                    poll.registry().register(&mut stream, Token(index), interest)?;
                    if index == connections.len() {
                        connections.push(None);
                    }
                    connections[index] = Some((stream, answer.len()));
                }
            } else if let Some(slot) = connections.get_mut(index)
                && let Some((stream, sent)) = slot
                && pump(stream, sent, &answer, &mut buffer).is_err()
            {
                *slot = None;
            }
        }
    }
}

/// Reads and answers until the socket has no more; an error ends the connection.
fn pump(stream: &mut TcpStream, sent: &mut usize, answer: &[u8], buffer: &mut [u8]) -> io::Result<()> {
    loop {
        let step = if *sent < answer.len() {
            stream.write(&answer[*sent..]).map(|length| *sent += length)
        } else {
            stream.read(buffer).and_then(|length| {
                *sent = 0;
                if length == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
            })
        };
        match step {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            other => other?,
        }
    }
}

/// About the fields a cache sends with a hit.
fn answer(size: usize) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: {}\r\nETag: \"floor-{size}\"\r\n\
         Cache-Control: max-age=3600\r\nContent-Length: {size}\r\nAge: 12\r\nX-Cache: HIT\r\n\r\n",
        http_date()
    );
    let mut answer = head.into_bytes();
    answer.resize(answer.len() + size, b'x');
    answer
}

const LISTENER: Token = Token(usize::MAX);
