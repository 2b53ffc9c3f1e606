//! Answers given before a request's body was read, with a body that looks like a request (FAULTS S3).
//!
//! For every kind of early answer and every way to frame the body: one answer, then the right canary or the end of the
//! connection; what the body pretends is never answered and never seen by an origin.

use std::fmt::Write as _;
use std::time::Duration;

use tidegate::config::HostPattern;

use crate::client::{Io, answers, ask, exchange, piece, send, within};
use crate::node::Node;
use crate::recorder::{answer, echo};
use crate::strict::Request;

#[tokio::test]
async fn a_body_left_by_an_early_answer_is_never_taken_for_a_request() {
    let node = Node::with(script, |config| {
        config.sites[0].hosts = vec![HostPattern::Exact("a.example".into())];
    })
    .await;
    let tls = node.tls(b"http/1.1");
    let mut other = node.plain().await;
    for (scheme, address) in node.addresses().into_iter().enumerate() {
        // Both schemes have keys of their own.
        for target in ["/stored", "/stale"] {
            let mut io: Box<dyn Io> =
                if scheme == 0 { node.plain().await } else { tls.connect(address).await };
            let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
            let stored = within(target, ask(&mut *io, &request)).await.expect("the origin answers");
            assert_eq!(stored.status, 200);
        }
    }
    node.clock.advance(Duration::from_secs(3));
    let filled = node.recorder.count();
    let mut wrong = String::new();
    let (mut count, mut kept) = (0, 0);
    for secure in [false, true] {
        for kind in KINDS {
            for framing in [Framing::Length, Framing::Chunks, Framing::Late, Framing::Endless] {
                count += 1;
                let mut io = if secure { tls.connect(node.addresses()[1]).await } else { node.plain().await };
                let name = format!("{}, {framing:?}, TLS {secure}", kind.claim);
                let canary = format!("/canary/{count}");
                match within(&name, one(&mut *io, kind, framing, &canary)).await {
                    Ok(goes_on) => kept += usize::from(goes_on),
                    Err(complaint) => {
                        let _ = writeln!(wrong, "{name}: {complaint}");
                    }
                }
                let target = format!("/other/{count}");
                let request = format!("GET {target} HTTP/1.1\r\nHost: a.example\r\n\r\n");
                let answer =
                    within(&name, ask(&mut *other, &request)).await.expect("the other client is served");
                assert_eq!(answer.body, echo("GET", &target, 0), "{name}: the other client");
            }
        }
    }
    let reached = node.recorder.since(filled);
    let strangers: Vec<_> = reached
        .iter()
        .map(|request| request.target.as_str())
        // The stale ones are refreshed.
        .filter(|target| {
            !target.starts_with("/canary/") && !target.starts_with("/other/") && *target != "/stale"
        })
        .collect();
    assert!(strangers.is_empty(), "at the origin: {strangers:?}");
    assert!(kept >= 2 * 3 * KEPT_KINDS, "only {kept} of {count} went on");
    drop(other);
    let verdict = node.end().await;
    assert!(verdict.as_ref().is_ok_and(|verdict| verdict.cut == 0), "{verdict:?}");
    assert!(wrong.is_empty(), "{} of {count}:\n{wrong}", wrong.lines().count());
}

/// One kind of answer that needs no body.
struct Kind {
    claim: &'static str,
    method: &'static str,
    /// Target and fields.
    target: &'static str,
    fields: &'static str,
    status: u16,
}

const fn kind(
    claim: &'static str,
    method: &'static str,
    target: &'static str,
    fields: &'static str,
    status: u16,
) -> Kind {
    Kind { claim, method, target, fields, status }
}

const KINDS: &[Kind] = &[
    kind("a hit", "GET", "/stored", OURS, 200),
    kind("a hit for HEAD", "HEAD", "/stored", OURS, 200),
    kind("a stale answer", "GET", "/stale", OURS, 200),
    kind("304 by entity tag", "GET", "/stored", "Host: a.example\r\nIf-None-Match: \"e\"\r\n", 304),
    kind("304 for HEAD", "HEAD", "/stored", "Host: a.example\r\nIf-None-Match: \"e\"\r\n", 304),
    kind("206", "GET", "/stored", "Host: a.example\r\nRange: bytes=0-1\r\n", 206),
    kind("416", "GET", "/stored", "Host: a.example\r\nRange: bytes=900-\r\n", 416),
    kind("421 for an unknown host", "GET", "/x", "Host: unknown.example\r\n", 421),
    kind("421 for a POST to an unknown host", "POST", "/x", "Host: unknown.example\r\n", 421),
    kind("PURGE refused", "PURGE", "/stored", OURS, 403),
    kind("TRACE refused", "TRACE", "/x", OURS, 405),
    kind(
        "504 for only-if-cached",
        "GET",
        "/never",
        "Host: a.example\r\nCache-Control: only-if-cached\r\n",
        504,
    ),
    kind("508 for a loop", "POST", "/x", "Host: a.example\r\nCDN-Loop: stage\r\n", 508),
    kind("508 for a loop of GET", "GET", "/loop", "Host: a.example\r\nCDN-Loop: stage\r\n", 508),
    kind("417", "POST", "/x", "Host: a.example\r\nExpect: x\r\n", 417),
    kind("400 for what Connection names", "GET", "/stored", "Host: a.example\r\nConnection: Cookie\r\n", 400),
    kind("400 for a path in bad encoding", "GET", "/%zz", OURS, 400),
    kind("501", "get", "/stored", OURS, 501),
    kind("505", "GET /stored HTTP/1.7\r\nX:", "/x", OURS, 505),
];

/// How the body is framed.
#[derive(Clone, Copy, Debug)]
enum Framing {
    /// `Content-Length`.
    Length,
    /// Chunks.
    Chunks,
    /// `Content-Length`, and the body sent only once the answer is there.
    Late,
    /// A length above what is drained, and all of it sent.
    Endless,
}

/// Sends it; whether the connection went on to the canary.
async fn one(io: &mut dyn Io, kind: &Kind, framing: Framing, canary: &str) -> Result<bool, String> {
    let Kind { method, target, fields, status, .. } = kind;
    let (framed, body) = match framing {
        Framing::Length | Framing::Late => {
            (format!("Content-Length: {}\r\n", SMUGGLED.len()), SMUGGLED.to_owned())
        }
        Framing::Chunks => (
            "Transfer-Encoding: chunked\r\n".to_owned(),
            format!("{:x}\r\n{SMUGGLED}\r\n0\r\n\r\n", SMUGGLED.len()),
        ),
        Framing::Endless => {
            let body = SMUGGLED.repeat(200_000 / SMUGGLED.len());
            (format!("Content-Length: {}\r\n", body.len()), body)
        }
    };
    let mut head = format!("{method} {target} HTTP/1.1\r\n{fields}{framed}\r\n");
    let rest = format!("{body}GET {canary} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n");
    let mut got = Vec::new();
    if matches!(framing, Framing::Late) {
        send(io, head.as_bytes()).await.map_err(|error| error.to_string())?;
        got = piece(io).await.map_err(|error| error.to_string())?;
        head.clear();
    }
    got.extend(exchange(io, (head + &rest).as_bytes()).await);
    if matches!(framing, Framing::Endless) && got.is_empty() {
        // Closed with bytes unread: the reset may take the answer with it.
        return Ok(false);
    }
    let answers = answers(&got, method)?;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
    let right = match &answers[..] {
        [first] => first.status == *status,
        [first, second] => {
            first.status == *status && second.status == 200 && second.body == echo("GET", canary, 0)
        }
        _ => false,
    };
    if right { Ok(answers.len() == 2) } else { Err(format!("answered {statuses:?}: {}", got.escape_ascii())) }
}

#[allow(clippy::unnecessary_wraps)] // a script may also be silent
fn script(request: &Request) -> Option<Vec<u8>> {
    let lines = match request.target.as_str() {
        "/stored" => "Cache-Control: max-age=1000\r\nETag: \"e\"\r\n",
        "/stale" => "Cache-Control: max-age=1, stale-while-revalidate=1000\r\n",
        _ => "Cache-Control: no-store\r\n",
    };
    Some(answer(request, lines))
}

/// Kinds that leave the connection in use: all but those that refuse the head itself.
const KEPT_KINDS: usize = 14;
const OURS: &str = "Host: a.example\r\n";
/// What the body pretends to be.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n";
