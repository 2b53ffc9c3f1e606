//! HTTP/2 to an origin that speaks HTTP/1.1, over TLS by raw frames (FAULTS S13; B2).
//!
//! Each case is one stream on a connection of its own, then a canary on the next stream and one from another client,
//! who meets whatever connection the case left in the pool.

use std::fmt::Write as _;

use crate::client::{Io, Tls, ask, within};
use crate::frames::{Ended, Http2};
use crate::h2_cases::{CASES, Case, Expect};
use crate::node::Node;
use crate::recorder::{answer, echo};
use crate::strict::Request;

#[tokio::test]
async fn no_stream_of_the_table_reaches_an_origin_dirty() {
    assert!(CASES.len() >= 60, "{} cases", CASES.len());
    let mut stage = Stage::new().await;
    let mut wrong = String::new();
    for case in CASES {
        if let Err(complaint) = within(case.claim, stage.run(case)).await {
            let _ = writeln!(wrong, "{}: {complaint}", case.claim);
        }
    }
    stage.end(wrong).await;
}

#[tokio::test]
async fn bodies_that_are_not_as_long_as_they_said_poison_no_pooled_connection() {
    let mut stage = Stage::new().await;
    let mut wrong = String::new();
    let broken = || CASES.iter().filter(|case| case.expect == Expect::BodyBroken);
    assert!(broken().count() >= 5);
    for round in 0..MISMATCHES / broken().count() {
        for case in broken() {
            let name = format!("{}, round {round}", case.claim);
            if let Err(complaint) = within(&name, stage.run(case)).await {
                let _ = writeln!(wrong, "{name}: {complaint}");
            }
        }
    }
    stage.end(wrong).await;
}

struct Stage {
    node: Node,
    tls: Tls,
    other: Box<dyn Io>,
    canaries: usize,
    attributed: usize,
}

impl Stage {
    async fn new() -> Self {
        let node = Node::start(script).await;
        let (tls, other) = (node.tls(b"h2"), node.plain().await);
        Self { node, tls, other, canaries: 0, attributed: 0 }
    }

    async fn run(&mut self, case: &Case) -> Result<(), String> {
        self.canaries += 1;
        let from = self.node.recorder.count();
        let io = self.tls.connect(self.node.addresses()[1]).await;
        let mut http2 = Http2::open(io, &[]).await.map_err(|error| error.to_string())?;
        // A connection that is refused may be shut before all is written.
        let _ = http2.send(&case.frames(1)).await;
        let ended = http2.ended(1).await;
        let right = match (case.expect, &ended) {
            (Expect::Closed, Ended::Closed(_)) | (Expect::Reset | Expect::BodyBroken, Ended::Reset(_)) => {
                true
            }
            (Expect::Refused(wanted), Ended::Answer { status, .. }) => *status == wanted,
            (Expect::Passed(..), Ended::Answer { status, .. }) => *status == 200,
            (Expect::BodyBroken, Ended::Answer { status, .. }) => (400..500).contains(status),
            _ => false,
        };
        if !right {
            return Err(format!("ended as {ended:?}, not {:?}", case.expect));
        }
        let canary = format!("/canary/{}", self.canaries);
        if case.expect != Expect::Closed {
            http2.get(3, &canary).await.map_err(|error| error.to_string())?;
            let ended = http2.ended(3).await;
            if ended != (Ended::Answer { status: 200, body: echo("GET", &canary, 0) }) {
                return Err(format!("the canary ended as {ended:?}"));
            }
        }
        http2.leave().await;
        let target = format!("/other/{}", self.canaries);
        let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
        let answer = ask(&mut *self.other, &request).await?;
        if answer.status != 200 || answer.body != echo("GET", &target, 0) {
            return Err(format!("the other client got {answer:?}"));
        }
        let reached = self.node.recorder.since(from);
        self.attributed += reached.len();
        let ours: Vec<&Request> =
            reached.iter().filter(|request| request.target != canary && request.target != target).collect();
        match (case.expect, &ours[..]) {
            (Expect::Passed(authority, target), [request]) => same(request, authority, target),
            (Expect::Passed(..), _) | (_, [_, ..]) => Err(format!("reached the origin: {ours:?}")),
            (_, []) => Ok(()),
        }
    }

    async fn end(self, mut wrong: String) {
        let Self { node, other, attributed, .. } = self;
        drop(other);
        match node.end().await {
            Ok(verdict) => assert_eq!(verdict.requests, attributed, "requests that came late"),
            Err(complaint) => wrong.push_str(&complaint),
        }
        assert!(wrong.is_empty(), "{} wrong:\n{wrong}", wrong.lines().count());
    }
}

/// Whether the origin was asked what the client meant, in the one spelling that key and forward share.
fn same(request: &Request, authority: &str, target: &str) -> Result<(), String> {
    let target = NORMALISED.iter().find(|(received, _)| *received == target).map_or(target, |(_, sent)| sent);
    let host = request.fields.iter().find(|(name, _)| name == "host").map(|(_, value)| &value[..]);
    if request.target != target || host != Some(authority.as_bytes()) {
        return Err(format!("the origin was asked {request:?}"));
    }
    Ok(())
}

#[allow(clippy::unnecessary_wraps)] // a script may also be silent
fn script(request: &Request) -> Option<Vec<u8>> {
    Some(answer(request, "Cache-Control: no-store\r\n"))
}

/// Streams whose body is not as long as announced.
const MISMATCHES: usize = 1000;

/// Targets that travel on in another spelling.
const NORMALISED: &[(&str, &str)] = &[("/x?a=%0d%0a&b[]={}|", "/x?a=%0D%0A&b[]=%7B%7D%7C")];
