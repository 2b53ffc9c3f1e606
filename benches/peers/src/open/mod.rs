//! The open-loop generator: requests leave by a Poisson schedule, whether or not answers come.
//!
//! Latency counts from the scheduled moment, so a stall is felt by every request that should have left during
//! it; closed-loop tools start the clock at the real send and hide that. A request waits in the generator
//! when no connection is free. The accounts are `book.rs`, this is the loop around them: one thread that never
//! sleeps (epoll counts in milliseconds, the schedule in microseconds) and looks at the schedule between any
//! two answers.
//!
//! What is the generator's own in a latency is told beside it: `lag`, how late it noticed a moment of the
//! schedule, and `turn`, how long an answer can have lain in its socket before it was read (from the poll
//! that did not have it yet to the read). Where they are large, the round says nothing about the server.

mod book;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use self::book::Book;
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
    latency: Histogram,
    lag: Histogram,
    turn: Histogram,
    errors: u64,
    /// Nanoseconds from the first moment of the schedule to the last answer.
    took: u64,
}

impl Measured {
    /// One line of `name=value`, times in µs: what the harness reads back.
    pub(crate) fn line(&self) -> String {
        let micros = |share| self.latency.percentile(share) / 1000;
        let own = |name: &str, of: &Histogram| {
            let [p99, p999, max] = [of.percentile(0.99), of.percentile(0.999), of.max()].map(|at| at / 1000);
            format!("{name}_p99={p99} {name}_p999={p999} {name}_max={max}")
        };
        format!(
            "p50={} p90={} p99={} p999={} max={} rps={:.0} errors={} {} {}",
            micros(0.5),
            micros(0.9),
            micros(0.99),
            micros(0.999),
            self.latency.max() / 1000,
            self.latency.count() as f64 * SECOND as f64 / self.took.max(1) as f64,
            self.errors,
            own("lag", &self.lag),
            own("turn", &self.turn),
        )
    }
}

/// Runs the plan. A lost connection counts as an error and is opened again.
pub(crate) fn run(plan: &Plan) -> io::Result<Measured> {
    let mut generator = Generator::new(plan)?;
    let mut events = Events::with_capacity(1024);
    let start = now();
    let deadline = start + (plan.requests as f64 / plan.rate * SECOND as f64) as u64 + GRACE;
    let mut book = Book::new(plan.rate, plan.requests, plan.connections, start);
    let mut turn = Histogram::new();
    let mut last_look = start;
    while !book.over() && now() < deadline {
        generator.launch(&mut book)?;
        let look = now();
        match generator.poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            if generator.step(event.token().0, &mut book)? {
                turn.add(now() - last_look);
            }
            generator.launch(&mut book)?;
        }
        last_look = look;
    }
    // What was still unanswered at the end is an error, not a latency left out.
    let errors = plan.requests - book.latency.count();
    Ok(Measured { latency: book.latency, lag: book.lag, turn, errors, took: now() - start })
}

struct Generator<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    numbered: u64,
}

impl<'a> Generator<'a> {
    fn new(plan: &'a Plan) -> io::Result<Self> {
        let poll = Poll::new()?;
        // Connected before it is non-blocking: the schedule starts when every connection stands.
        let connections = (0..plan.connections)
            .map(|index| {
                let stream = std::net::TcpStream::connect(plan.server)?;
                stream.set_nonblocking(true)?;
                Connection::new(index, TcpStream::from_std(stream), &poll)
            })
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self { plan, poll, connections, buffer: vec![0; 256 * 1024], numbered: 0 })
    }

    /// Sends what is due, as far as there are connections for it.
    fn launch(&mut self, book: &mut Book) -> io::Result<()> {
        book.due(now());
        while let Some((index, moment)) = book.send() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            connection.moment = Some(moment);
            connection.sent = 0;
            connection.request.clear();
            let path = self.plan.path.replace("{n}", &self.numbered.to_string());
            write!(connection.request, "GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.plan.server)?;
            self.numbered += 1;
            // A failed send shows as a readable, broken connection in `step`.
            let _ = connection.send();
        }
        Ok(())
    }

    /// Goes on with a connection that has something to tell; true when that was the end of an answer.
    fn step(&mut self, index: usize, book: &mut Book) -> io::Result<bool> {
        let Some(connection) = self.connections.get_mut(index) else { return Ok(false) };
        let progress = connection.send().and_then(|()| connection.receive(&mut self.buffer));
        match (progress, connection.moment.take()) {
            (Ok(Progress::More), moment) => connection.moment = moment,
            (Ok(Progress::Done), Some(moment)) => {
                book.answered(index, moment, now());
                return Ok(true);
            }
            (_, busy) => {
                // Not waited for: the schedule goes on while it connects.
                let stream = TcpStream::connect(self.plan.server)?;
                *connection = Connection::new(index, stream, &self.poll)?;
                if busy.is_some() {
                    book.lost(index);
                }
            }
        }
        Ok(false)
    }
}

struct Connection {
    stream: TcpStream,
    reply: Reply,
    request: Vec<u8>,
    sent: usize,
    /// The moment of the request that is on it.
    moment: Option<u64>,
}

impl Connection {
    fn new(index: usize, mut stream: TcpStream, poll: &Poll) -> io::Result<Self> {
        // On a socket that still connects too.
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        Ok(Self { stream, reply: Reply::default(), request: Vec::new(), sent: 0, moment: None })
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

/// How long the last answers may take.
const GRACE: u64 = 10 * SECOND;
