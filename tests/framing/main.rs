//! Bytes that want to be misread, and clients that want to cost: tables, floods and stalls against the node.
//!
//! Here the framing table goes through the HTTP/1.1 connection over memory, beside a second, independent reader. `cases.rs`
//! `h2_cases.rs` and `attacks.rs` (the tables) and `strict.rs` (the reader) know nothing of the node. The other files send them, and
//! worse, over TCP and TLS to a whole node (`node.rs`) whose origin (`recorder.rs`) keeps every byte it gets:
//! `over_sockets.rs`, `early_answers.rs`, `downgrade.rs`, `floods.rs`, `bomb.rs`, `slow.rs`.
//!
//! Nothing sleeps and nothing is timed; what must come is waited for within a bound, and a failure names its case.

#![allow(clippy::large_futures)] // buffers on the stack of a test that has it to itself

#[allow(unreachable_pub)] // a benchmark includes it too
mod attacks;
mod bomb;
mod cases;
mod client;
mod downgrade;
mod early_answers;
mod floods;
mod frames;
#[allow(unreachable_pub)] // the listener's own tests include it too
mod h2_cases;
mod node;
mod over_sockets;
mod recorder;
mod slow;
mod strict;

use std::cell::RefCell;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::StatusCode;
use http_body::Body as _;
use tidegate::clock::Clock;
use tidegate::config::limits::Limits;
use tidegate::listener::deadline::Deadlines;
use tidegate::listener::h1::{ConnectionContext, DateLine, serve_connection};
use tidegate::listener::request::{Client, Request, Scheme};
use tidegate::listener::service::{Finished, Served, Service};
use tidegate::respond::response::{Body, Lines, Outcome, Response};
use tidegate::shutdown::Drain;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use cases::{Case, Expect};

#[tokio::test]
async fn every_case_of_the_framing_table_ends_as_it_says() {
    let cases = cases::all();
    assert!(cases.len() >= 250, "{} cases", cases.len());
    let mut wrong = Vec::new();
    for case in &cases {
        if let Err(complaint) = run(case).await {
            wrong.push(format!("{}: {complaint}", case.name));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), cases.len(), wrong.join("\n"));
}

#[test]
fn names_in_the_framing_table_are_distinct() {
    let mut names: Vec<String> = cases::all().into_iter().map(|case| case.name).collect();
    names.sort();
    let count = names.len();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn what_is_accepted_an_independent_reader_takes_for_one_request_too() {
    for case in cases::all() {
        if matches!(case.expect, Expect::Refuse(_)) {
            continue;
        }
        // The one repair we make and a strict origin would not.
        let bytes = case.bytes.strip_prefix(b"\r\n").unwrap_or(&case.bytes);
        match strict::read(bytes) {
            Ok(requests) => assert_eq!(requests.len(), 1, "{}", case.name),
            Err(complaint) => panic!("{}: {complaint:?}", case.name),
        }
    }
}

#[test]
fn the_independent_reader_complains_of_what_two_servers_could_read_in_two_ways() {
    for bytes in [
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n X: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 05\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello0\r\n\r\n",
    ] {
        assert!(strict::read(bytes.as_bytes()).is_err(), "{}", bytes.escape_debug());
    }
}

/// Sends a case and behind it one more request, and looks at the answers.
async fn run(case: &Case) -> Result<(), String> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let answers = talk(&case.bytes, CANARY, &seen).await;
    let statuses = statuses(&answers);
    let targets = seen.borrow().clone();
    let (wanted, reached): (&[u16], usize) = match &case.expect {
        Expect::Refuse(status) => (std::slice::from_ref(status), 0),
        Expect::Accept => (&[200, 200], 2),
        Expect::AcceptAndClose => (&[200], 1),
    };
    if statuses != wanted {
        return Err(format!("answered {statuses:?}, not {wanted:?}"));
    }
    if targets.iter().any(|target| target == "/smuggled") {
        return Err("the body was taken for a request".to_owned());
    }
    // A request whose body breaks has reached the service, and only that one.
    if targets.len() > reached.max(1) || (reached > 0 && targets.len() != reached) {
        return Err(format!("the service saw {targets:?}"));
    }
    if reached == 2 && targets.last().is_none_or(|target| target != "/canary") {
        return Err(format!("the service saw {targets:?} and not the canary last"));
    }
    Ok(())
}

async fn talk(bytes: &[u8], then: &[u8], seen: &Rc<RefCell<Vec<String>>>) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(1024 * 1024);
    client.write_all(bytes).await.expect("the pipe is wide enough");
    client.write_all(then).await.expect("the pipe is wide enough");
    let deadlines = Deadlines::default();
    let context = ConnectionContext {
        clock: Clock::manual(Timestamp::from_secs(1_000_000)),
        limits: Arc::new(Limits::default()),
        deadline: deadlines.register(),
        client: Arc::new(Client::new(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)), None)),
        scheme: Scheme::Http,
        drain: Drain::default(),
        date: Rc::new(DateLine::default()),
        buffers: Rc::default(),
    };
    let service = Reads(Rc::clone(seen));
    let mut answers = Vec::new();
    let (_, read) = tokio::join!(serve_connection(server, &service, context), async {
        // Everything is in the pipe and ours is the only side that could end an idle connection.
        let mut buffer = [0; 4096];
        let done = |answers: &[u8]| {
            let statuses = statuses(answers);
            statuses.len() == 2 && answers.ends_with(b"ok")
        };
        while !done(&answers) {
            match client.read(&mut buffer).await? {
                0 => break,
                count => answers.extend_from_slice(&buffer[..count]),
            }
        }
        drop(client);
        Ok::<_, std::io::Error>(())
    });
    read.expect("reading from a pipe does not fail");
    answers
}

fn statuses(answers: &[u8]) -> Vec<u16> {
    String::from_utf8_lossy(answers)
        .match_indices("HTTP/1.1 ")
        .filter_map(|(at, _)| std::str::from_utf8(answers.get(at + 9..at + 12)?).ok()?.parse().ok())
        .filter(|status| *status >= 200)
        .collect()
}

/// Reads the whole body and answers 200.
struct Reads(Rc<RefCell<Vec<String>>>);

impl Service for Reads {
    fn serve(&self, request: &mut Request) -> Served {
        self.0.borrow_mut().push(String::from_utf8_lossy(request.target()).into_owned());
        let mut body = std::mem::take(&mut request.body);
        Served::later(async move {
            let mut status = StatusCode::OK;
            while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                if frame.is_err() {
                    status = StatusCode::BAD_GATEWAY;
                }
            }
            Response {
                status,
                extra: Vec::new(),
                lines: Lines::Own(Bytes::from_static(b"X: y\r\n")),
                body: Body::Bytes(Bytes::from_static(b"ok")),
                outcome: Outcome::default(),
                close: false,
            }
        })
    }

    fn finished(&self, _: &Request, _: &Finished<'_>) {}
}

const CANARY: &[u8] = b"GET /canary HTTP/1.1\r\nHost: a.example\r\n\r\n";
