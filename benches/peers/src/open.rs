//! The open-loop generator: requests leave by a Poisson schedule, whether or not answers come.
//!
//! Latency counts from the scheduled moment, so a stall is felt by every request that should have left during
//! it; closed-loop tools start the clock at the real send and hide that. A request waits in the generator
//! when no connection is free. One thread that never sleeps: epoll counts in milliseconds, the schedule in
//! microseconds. The generator's own lag (how late it noticed a moment of the schedule) is told beside the
//! latencies; where it is large, the round says nothing about the server.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::histogram::Histogram;
use crate::reply::{Progress, Reply};
use crate::time::{SECOND, now};

/// What to send, and how fast.
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    /// `{n}` in it becomes the number of the request.
    pub(crate) path: String,
    /// Requests a second.
    pub(crate) rate: f64,
    /// The run ends after this many, answered or not.
    pub(crate) requests: u64,
    pub(crate) connections: usize,
}

/// What came of it.
pub(crate) struct Measured {
    pub(crate) latency: Histogram,
    pub(crate) lag: Histogram,
    pub(crate) errors: u64,
    /// Nanoseconds from the first moment of the schedule to the last answer.
    pub(crate) took: u64,
}

impl Measured {
    /// One line of `name=value`, latencies in µs: what the harness reads back.
    pub(crate) fn line(&self) -> String {
        let micros = |share| self.latency.percentile(share) / 1000;
        format!(
            "p50={} p90={} p99={} p999={} max={} rps={:.0} errors={} lag_p99={} lag_max={}",
            micros(0.5),
            micros(0.9),
            micros(0.99),
            micros(0.999),
            self.latency.max() / 1000,
            self.latency.count() as f64 * SECOND as f64 / self.took.max(1) as f64,
            self.errors,
            self.lag.percentile(0.99) / 1000,
            self.lag.max() / 1000,
        )
    }
}

struct Connection {
    stream: TcpStream,
    reply: Reply,
    request: Vec<u8>,
    sent: usize,
    scheduled: Option<u64>,
}

impl Connection {
    fn open(index: usize, server: SocketAddr, poll: &Poll) -> io::Result<Self> {
        // Connected before it is non-blocking: the schedule starts when every connection stands.
        let stream = std::net::TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, reply: Reply::default(), request: Vec::new(), sent: 0, scheduled: None })
    }

    fn send(&mut self) -> io::Result<()> {
        while self.sent < self.request.len() {
            match self.stream.write(&self.request[self.sent..]) {
                Ok(length) => self.sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Progress> {
        loop {
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Progress::Broken),
                Ok(length) => match self.reply.take(&buffer[..length]) {
                    Progress::More => {}
                    other => return Ok(other),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Progress::More),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Runs the plan. A lost connection counts as an error and is opened again.
pub(crate) fn run(plan: &Plan) -> io::Result<Measured> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let mut connections = (0..plan.connections)
        .map(|index| Connection::open(index, plan.server, &poll))
        .collect::<io::Result<Vec<_>>>()?;
    let mut free: Vec<usize> = (0..connections.len()).collect();
    let mut buffer = vec![0; 256 * 1024];
    let mut waiting = VecDeque::new();
    let mut measured = Measured { latency: Histogram::new(), lag: Histogram::new(), errors: 0, took: 0 };
    let mut schedule = Poisson::new(plan.rate);
    let start = now();
    let deadline = start + (plan.requests as f64 / plan.rate * SECOND as f64) as u64 + GRACE;
    let mut next = start + schedule.gap();
    let (mut scheduled, mut numbered) = (0, 0u64);
    while measured.latency.count() + measured.errors < plan.requests && now() < deadline {
        let seen = now();
        while scheduled < plan.requests && next <= seen {
            measured.lag.add(seen - next);
            waiting.push_back(next);
            next += schedule.gap();
            scheduled += 1;
        }
        while let Some(index) = free.pop_if(|_| !waiting.is_empty()) {
            let Some(connection) = connections.get_mut(index) else { continue };
            connection.scheduled = waiting.pop_front();
            connection.sent = 0;
            connection.request.clear();
            let path = plan.path.replace("{n}", &numbered.to_string());
            write!(connection.request, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", plan.server)?;
            numbered += 1;
            // A failed send shows as a readable, broken connection below.
            let _ = connection.send();
        }
        match poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            let Token(index) = event.token();
            let Some(connection) = connections.get_mut(index) else { continue };
            let sent = connection.send();
            let progress = sent.and_then(|()| connection.receive(&mut buffer));
            match (progress, connection.scheduled) {
                (Ok(Progress::More), _) => {}
                (Ok(Progress::Done), Some(at)) => {
                    measured.latency.add(now() - at);
                    connection.scheduled = None;
                    free.push(index);
                }
                (_, busy) => {
                    *connection = Connection::open(index, plan.server, &poll)?;
                    if busy.is_some() {
                        measured.errors += 1;
                        free.push(index);
                    }
                }
            }
        }
    }
    // What was still unanswered at the end is an error, not a latency left out.
    measured.errors = plan.requests - measured.latency.count();
    measured.took = now() - start;
    Ok(measured)
}

/// Gaps between arrivals that do not know of each other.
struct Poisson {
    state: u64,
    mean: f64,
}

impl Poisson {
    fn new(rate: f64) -> Self {
        Self { state: 0x9E37_79B9_7F4A_7C15, mean: SECOND as f64 / rate }
    }

    fn gap(&mut self) -> u64 {
        // xorshift64*: the same schedule for every server.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let uniform = (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
        (-(1.0 - uniform).ln() * self.mean) as u64
    }
}

/// How long the last answers may take.
const GRACE: u64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_keep_the_rate_and_are_not_even() {
        let mut schedule = Poisson::new(20_000.0);
        let gaps: Vec<_> = (0..100_000).map(|_| schedule.gap()).collect();
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        assert!((mean - 50_000.0).abs() < 1_000.0, "the mean gap is 50 µs, not {mean} ns");
        let short = gaps.iter().filter(|gap| **gap < 50_000).count() as f64 / gaps.len() as f64;
        assert!((short - 0.632).abs() < 0.01, "1 - 1/e of the gaps are shorter than the mean, not {short}");
    }
}
