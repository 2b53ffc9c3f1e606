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
//! that did not have it yet to the read). Where they are large, the round says nothing about the server; single
//! stalls of the machine are known by `stalls.rs` and left out of all three.

mod book;
mod stalls;

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use self::book::{Book, Schedule};
pub(crate) use self::stalls::watch;
use self::stalls::{Span, Stalls, Watch};
use crate::histogram::Histogram;
use crate::reply::{Progress, Reply};
use crate::time::{SECOND, now};

/// What to send, and how fast.
pub(crate) struct Plan {
    pub(crate) server: SocketAddr,
    /// `{n}` in it becomes the number of the request, `{mixed}` what [`mixed`] makes of it.
    pub(crate) path: String,
    /// Requests a second.
    pub(crate) rate: f64,
    /// Evenly spaced, and what was missed is left out.
    pub(crate) even: bool,
    /// The run ends after this many, answered or not.
    pub(crate) requests: u64,
    pub(crate) connections: usize,
    /// The server's core, to be watched for stalls.
    pub(crate) watch: Option<String>,
}

/// What came of it.
pub(crate) struct Measured {
    latency: Histogram,
    lag: Histogram,
    turn: Histogram,
    /// The share of the answers that stalls of the machine touched: not in the histograms.
    left_out: f64,
    answered: usize,
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
            "p50={} p90={} p99={} p999={} max={} rps={:.0} errors={} left_out={:.4} {} {}",
            micros(0.5),
            micros(0.9),
            micros(0.99),
            micros(0.999),
            self.latency.max() / 1000,
            self.answered as f64 * SECOND as f64 / self.took.max(1) as f64,
            self.errors,
            self.left_out,
            own("lag", &self.lag),
            own("turn", &self.turn),
        )
    }
}

/// Runs the plan. A lost connection counts as an error and is opened again.
pub(crate) fn run(plan: &Plan) -> io::Result<Measured> {
    let mut generator = Generator::new(plan)?;
    let mut watch =
        plan.watch.as_deref().map(|core| Watch::start(core, &generator.poll, WATCH)).transpose()?;
    let mut events = Events::with_capacity(1024);
    let mut turns = Vec::with_capacity(plan.requests as usize);
    let start = now();
    let deadline = start + (plan.requests as f64 / plan.rate * SECOND as f64) as u64 + GRACE;
    let mut book = Book::new(Schedule::new(plan.rate, plan.even), plan.requests, plan.connections, start);
    generator.last_step = start;
    let mut last_look = start;
    while !book.over() && now() < deadline {
        generator.launch(&mut book)?;
        let look = now();
        match generator.poll.poll(&mut events, Some(Duration::ZERO)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        }
        for event in &events {
            match &mut watch {
                Some(watch) if event.token() == WATCH => watch.read(&mut generator.stalls),
                _ if generator.step(event.token().0, &mut book)? => {
                    turns.push(Span { from: last_look, to: now() });
                }
                _ => {}
            }
            generator.launch(&mut book)?;
        }
        last_look = look;
    }
    let took = now() - start;
    let of = |spans: &[Span]| Histogram::of(generator.stalls.untouched(spans));
    let (latency, answered) = (of(&book.latencies), book.latencies.len());
    Ok(Measured {
        left_out: 1.0 - latency.count() as f64 / answered.max(1) as f64,
        latency,
        lag: of(&book.lags),
        turn: of(&turns),
        answered,
        // What was still unanswered at the end is an error, not a latency left out.
        errors: plan.requests - answered as u64,
        took,
    })
}

struct Generator<'a> {
    plan: &'a Plan,
    poll: Poll,
    connections: Vec<Connection>,
    buffer: Vec<u8>,
    numbered: u64,
    stalls: Stalls,
    last_step: u64,
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
        let buffer = vec![0; 256 * 1024];
        Ok(Self { plan, poll, connections, buffer, numbered: 0, stalls: Stalls::default(), last_step: 0 })
    }

    /// Sends what is due, as far as there are connections for it.
    fn launch(&mut self, book: &mut Book) -> io::Result<()> {
        let now = now();
        self.stalls.gap(self.last_step, now);
        self.last_step = now;
        book.due(now);
        while let Some((index, moment)) = book.send() {
            let Some(connection) = self.connections.get_mut(index) else { continue };
            connection.moment = Some(moment);
            connection.sent = 0;
            connection.request.clear();
            let path = self.plan.path.replace("{n}", &self.numbered.to_string());
            let path = path.replace("{mixed}", &mixed(self.numbered));
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

/// An object of 1 to 200 KB, as many in each octave; every third is one of the last 3,000.
fn mixed(number: u64) -> String {
    let random = |of: u64| {
        let spread = (of + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
        spread.wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 33
    };
    let back = |number: u64| number.saturating_sub(2 + random(number) % 3000);
    let number = match number {
        again if again.is_multiple_of(3) => back(again) + u64::from(back(again).is_multiple_of(3)),
        new => new,
    };
    let share = random(number) as f64 / (1u64 << 31) as f64;
    format!("{number}?s={:.0}", 1000.0 * 200f64.powf(share))
}

/// The mean size of [`mixed`]: 199,000 ÷ ln 200.
pub(crate) const MIXED_MEAN: u64 = 37_560;

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

const WATCH: Token = Token(usize::MAX);
/// How long the last answers may take.
const GRACE: u64 = 10 * SECOND;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mixed_objects_keep_their_size_and_mean() {
        let objects: Vec<_> = (0..100_000).map(mixed).collect();
        let sizes = objects.iter().filter_map(|object| object.split_once("?s=")?.1.parse::<u64>().ok());
        let mean = sizes.sum::<u64>() / 100_000;
        assert!(mean.abs_diff(MIXED_MEAN) < 1_500, "{mean}");
        let numbers = objects.iter().filter_map(|object| object.split('?').next());
        let distinct: std::collections::HashSet<_> = numbers.collect();
        assert!(distinct.len().abs_diff(66_667) < 100, "a third is asked for again, not {}", distinct.len());
        let whole: std::collections::HashSet<_> = objects.iter().collect();
        assert_eq!(whole.len(), distinct.len(), "an object has one size");
    }
}
