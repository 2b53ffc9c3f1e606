//! The barrier: many clients stand connected, then all ask for one object no cache has yet.
//!
//! Told: first and last byte of each, counted from the moment the barrier opened. How many requests the
//! origin saw is the harness's to ask.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::histogram::Histogram;
use crate::reply::{Progress, Reply};
use crate::time::{SECOND, now};

struct Client {
    stream: TcpStream,
    reply: Reply,
    first: Option<u64>,
    over: bool,
}

/// Asks `clients` times at once; prints one line of `name=value`, times in µs.
pub(crate) fn run(server: SocketAddr, path: &str, clients: usize) -> io::Result<String> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut waiting = Vec::with_capacity(clients);
    for index in 0..clients {
        let stream = std::net::TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE)?;
        waiting.push(Client { stream, reply: Reply::default(), first: None, over: false });
    }
    let request = format!("GET {path} HTTP/1.1\r\nHost: {server}\r\n\r\n");
    let (mut first, mut last) = (Histogram::new(), Histogram::new());
    let mut buffer = vec![0; 256 * 1024];
    let start = now();
    for client in &mut waiting {
        client.stream.write_all(request.as_bytes())?;
    }
    let mut over = 0;
    while over < clients && now() - start < LIMIT {
        match poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Some(client) = waiting.get_mut(event.token().0).filter(|client| !client.over) else {
                continue;
            };
            let progress = client.receive(&mut buffer);
            if let Some(at) = client.first.take_if(|at| *at > 0) {
                first.add(at - start);
                client.first = Some(0);
            }
            match progress {
                Ok(Progress::More) => continue,
                Ok(Progress::Done) => last.add(now() - start),
                Ok(Progress::Broken) | Err(_) => {}
            }
            client.over = true;
            over += 1;
        }
    }
    let micros = |histogram: &Histogram, share| histogram.percentile(share) / 1000;
    Ok(format!(
        "ttfb_p50={} ttfb_p99={} ttfb_max={} ttlb_p50={} ttlb_p99={} ttlb_max={} errors={}",
        micros(&first, 0.5),
        micros(&first, 0.99),
        first.max() / 1000,
        micros(&last, 0.5),
        micros(&last, 0.99),
        last.max() / 1000,
        clients as u64 - last.count(),
    ))
}

impl Client {
    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Progress::Broken),
                Ok(length) => {
                    self.first.get_or_insert_with(now);
                    match self.reply.take(&buffer[..length]) {
                        Progress::More => {}
                        other => return Ok(other),
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::More),
                Err(error) => return Err(error),
            }
        }
    }
}

/// After this, whoever still waits is an error.
const LIMIT: u64 = 60 * SECOND;
