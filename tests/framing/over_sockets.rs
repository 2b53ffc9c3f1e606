//! The framing table against the whole node over TCP and TLS, in front of an origin that stores nothing and one whose
//! answers are stored (FAULTS S1 to S10, S12; B1).
//!
//! Behind each case, in the same write, goes a canary; another client's request follows on a connection of its own. What
//! reached the origin is judged by the strict reader: an accepted case is one request there, a refused one none.

use std::fmt::Write as _;

use crate::cases::{self, Case, Expect};
use crate::client::{Io, answers, ask, exchange, within};
use crate::node::Node;
use crate::recorder::{Script, answer, echo};
use crate::strict::Request;

#[tokio::test]
async fn no_case_over_tcp_reaches_an_origin_dirty() {
    run_all(Lane { secure: false, stores: false }, |request| Some(answer(request, NO_STORE))).await;
}

#[tokio::test]
async fn no_case_over_tls_reaches_an_origin_dirty() {
    run_all(Lane { secure: true, stores: false }, |request| Some(answer(request, NO_STORE))).await;
}

#[tokio::test]
async fn no_case_over_tcp_before_a_stored_answer_confuses_the_next() {
    run_all(Lane { secure: false, stores: true }, |request| Some(answer(request, STORED))).await;
}

#[tokio::test]
async fn no_case_over_tls_before_a_stored_answer_confuses_the_next() {
    run_all(Lane { secure: true, stores: true }, |request| Some(answer(request, STORED))).await;
}

/// How the cases travel and what the origin lets us do.
#[derive(Clone, Copy)]
struct Lane {
    secure: bool,
    stores: bool,
}

async fn run_all(lane: Lane, script: Script) {
    let node = Node::start(script).await;
    let tls = node.tls(b"http/1.1");
    let mut other = node.plain().await;
    let cases = cases::all();
    assert!(cases.len() >= 600, "{} cases", cases.len());
    let mut wrong = String::new();
    let mut refused_with_body = 0;
    for (index, case) in cases.iter().enumerate() {
        let mut io = if lane.secure { tls.connect(node.addresses()[1]).await } else { node.plain().await };
        let expected = whole_node(case);
        refused_with_body += usize::from(expected.reached == 0);
        let outcome =
            within(&case.name, one(lane, &node, &mut *io, &mut *other, index, case, &expected)).await;
        if let Err(complaint) = outcome {
            let _ = writeln!(wrong, "{}: {complaint}", case.name);
        }
    }
    let attributed = node.recorder.count();
    drop(other);
    match node.end().await {
        Ok(verdict) => {
            assert_eq!(verdict.requests, attributed, "requests that came late");
            assert!(verdict.cut <= refused_with_body, "{verdict:?}");
        }
        Err(complaint) => wrong.push_str(&complaint),
    }
    assert!(wrong.is_empty(), "{} of {}:\n{wrong}", wrong.lines().count(), cases.len());
}

/// What the node as a whole makes of a case.
struct Expected {
    /// Statuses of the answer to the case; nothing else may be answered in its place.
    status: u16,
    /// Whether the canary behind it is answered.
    goes_on: bool,
    /// Requests at an origin that stores nothing.
    reached: usize,
}

/// The table speaks of the connection alone; a few cases end further in.
fn whole_node(case: &Case) -> Expected {
    let (status, goes_on, reached) = match case.expect {
        Expect::Refuse(status) => (status, false, 0),
        Expect::Accept => (200, true, 1),
        Expect::AcceptAndClose => (200, false, 1),
    };
    let known = FURTHER_IN.iter().find(|(name, _)| *name == case.name);
    match known {
        Some((_, status)) => Expected { status: *status, goes_on, reached: 0 },
        None => Expected { status, goes_on, reached },
    }
}

async fn one(
    lane: Lane,
    node: &Node,
    io: &mut dyn Io,
    other: &mut dyn Io,
    index: usize,
    case: &Case,
    expected: &Expected,
) -> Result<(), String> {
    let from = node.recorder.count();
    let canary = format!("/canary/{index}");
    let mut bytes = if lane.secure { over_tls(&case.bytes) } else { case.bytes.clone() };
    bytes.extend_from_slice(
        format!("GET {canary} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").as_bytes(),
    );
    let got = exchange(io, &bytes).await;
    let method = if expected.goes_on || expected.reached > 0 { method(&case.bytes) } else { "GET" };
    let answers = answers(&got, method)?;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let wanted: &[u16] = if expected.goes_on { &[expected.status, 200] } else { &[expected.status] };
    if statuses != wanted {
        return Err(format!("answered {statuses:?}, not {wanted:?}: {}", got.escape_ascii()));
    }
    if expected.goes_on && answers[1].body != echo("GET", &canary, 0) {
        return Err(format!("the canary got {:?}", answers[1]));
    }
    let target = format!("/other/{index}");
    let answer = ask(other, &format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n")).await?;
    if answer.status != 200 || answer.body != echo("GET", &target, 0) {
        return Err(format!("the other client got {answer:?}"));
    }
    let reached = node.recorder.since(from);
    let ours = |request: &&Request| request.target != canary && request.target != target;
    let count = reached.iter().filter(ours).count();
    let enough = if lane.stores { count <= expected.reached } else { count == expected.reached };
    let canaries = reached.len() - count;
    if !enough || canaries != 1 + usize::from(expected.goes_on) {
        return Err(format!("{count} requests and {canaries} canaries at the origin: {reached:?}"));
    }
    Ok(())
}

/// The method a case names.
fn method(bytes: &[u8]) -> &str {
    let bytes = bytes.trim_ascii_start();
    let end = bytes.iter().position(|byte| !byte.is_ascii_graphic()).unwrap_or(0);
    std::str::from_utf8(&bytes[..end]).unwrap_or("GET")
}

/// The same case where `https` is the connection's scheme: absolute targets change theirs.
fn over_tls(bytes: &[u8]) -> Vec<u8> {
    let end = bytes.windows(2).position(|end| end == b"\r\n").unwrap_or(bytes.len());
    let (line, rest) = bytes.split_at(end);
    let at = |part: &[u8]| line.windows(part.len()).position(|window| window.eq_ignore_ascii_case(part));
    let swapped = |at: usize, from: usize, to: &[u8]| [&line[..at], to, &line[at + from..]].concat();
    let mut line = match (at(b"https:"), at(b" http:")) {
        (Some(at), _) => swapped(at, 6, b"http:"),
        (None, Some(at)) => swapped(at, 6, b" https:"),
        (None, None) => line.to_vec(),
    };
    if let Some(at) = line.windows(4).position(|window| window == b":80/") {
        line.splice(at..at + 3, *b":443");
    }
    line.extend_from_slice(rest);
    line
}

/// Cases that are no fault of framing and that the rooms behind the listener answer, with their status.
const FURTHER_IN: &[(&str, u16)] = &[("PURGE is taken", 403), ("BAN is taken", 403)];

const NO_STORE: &str = "Cache-Control: no-store\r\n";
const STORED: &str = "Cache-Control: max-age=1000\r\n";
