//! Frames that cost and bring nothing, over TLS against the whole node (FAULTS R2; B15).
//!
//! Each kind is sent until it is 10 000 frames or 1 MB, whichever comes first; by then the node must have closed the
//! connection. Meanwhile another client's requests are answered from the cache. The clock stands still, so no
//! kind is closed for being slow and none earns credit by waiting.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Io, ask, send, within};
use crate::frames::{END_HEADERS, END_STREAM, HEADERS, Http2, get, goaway, request};
use crate::h2_cases::{PREFACE, frame, section};
use crate::node::Node;
use crate::recorder::{answer, echo};
use crate::strict::Request;

#[tokio::test]
async fn every_kind_of_flood_is_closed_while_others_are_served() {
    let node = Node::start(script).await;
    let (tls, http1) = (node.tls(b"h2"), node.tls(b"http/1.1"));
    let mut good = http1.connect(node.addresses()[1]).await;
    hits(&mut *good, "before").await;
    let mut wrong = Vec::new();
    let mut count = 0;
    for kind in kinds() {
        count += 1;
        let io = tls.connect(node.addresses()[1]).await;
        let flooding = tokio::time::timeout(crate::client::PATIENCE, flood(io, &kind));
        let (closed, ()) = tokio::join!(flooding, hits(&mut *good, kind.claim));
        match closed {
            Ok(None) => {}
            Ok(Some(code)) if code == kind.code => {}
            Ok(Some(code)) => wrong.push(format!("{}: closed with {code}", kind.claim)),
            Err(_) => wrong.push(format!("{}: still open", kind.claim)),
        }
        hits(&mut *good, kind.claim).await;
    }
    assert!(count >= 15, "{count} kinds");
    drop(good);
    let verdict = node.end().await;
    assert!(verdict.is_ok(), "{verdict:?}");
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[tokio::test]
async fn a_little_of_what_floods_are_made_of_closes_nothing() {
    let node = Node::start(script).await;
    let tls = node.tls(b"h2");
    for kind in kinds() {
        if kind.code == PROTOCOL_ERROR || kind.claim.contains("CONTINUATION") {
            continue;
        }
        let io = tls.connect(node.addresses()[1]).await;
        let mut http2 = Http2::open(io, &[]).await.expect("the node reads");
        http2.send(&kind.begins).await.expect("the node reads");
        for n in 1..=LITTLE {
            http2.send(&(kind.goes_on)(n)).await.expect("the node reads");
        }
        let alive = within(kind.claim, http2.caught_up()).await;
        assert!(alive.is_ok(), "{}: {alive:?}", kind.claim);
    }
    let verdict = node.end().await;
    assert!(verdict.is_ok(), "{verdict:?}");
}

/// A flood: how it begins and how its `n`th piece goes on.
struct Kind {
    claim: &'static str,
    begins: Vec<u8>,
    /// Some frames each.
    goes_on: fn(u32) -> Vec<u8>,
    frames: u64,
    /// What the node says at the end.
    code: u32,
}

/// Floods; completes when the node has closed the connection, and tells with which code if that arrived.
async fn flood(mut io: Box<dyn Io>, kind: &Kind) -> Option<u32> {
    send(&mut *io, &[PREFACE, &kind.begins].concat()).await.expect("nothing is wrong yet");
    let (mut reader, mut writer) = tokio::io::split(io);
    let write = async {
        let (mut frames, mut bytes) = (0, 0);
        for n in 1.. {
            let piece = (kind.goes_on)(n);
            frames += kind.frames;
            bytes += piece.len();
            if frames > FRAMES_MAX || bytes > BYTES_MAX {
                break;
            }
            if writer.write_all(&piece).await.is_err() || (n % 16 == 0 && writer.flush().await.is_err()) {
                break;
            }
        }
        // If this fails the connection is closed, which the reader sees.
        let _ = writer.flush().await;
    };
    let read = async {
        let mut bytes = Vec::new();
        // A reset ends it too, and keeps what was read before.
        let _ = reader.read_to_end(&mut bytes).await;
        goaway(&bytes)
    };
    tokio::join!(write, read).1
}

/// A few hits on a kept connection.
async fn hits(io: &mut dyn Io, kind: &str) {
    for _ in 0..20 {
        let request = "GET /hit HTTP/1.1\r\nHost: a.example\r\n\r\n";
        let answer = within(kind, ask(io, request)).await.expect("the good client is served");
        assert_eq!((answer.status, answer.body), (200, echo("GET", "/hit", 0)), "{kind}");
    }
}

#[allow(clippy::too_many_lines)] // a table
fn kinds() -> Vec<Kind> {
    let upload = || frame(HEADERS, END_HEADERS, 1, &section(&request(b"POST", b"/stall")));
    let waiting = || get(1, "/stall");
    let unfinished = || frame(HEADERS, END_STREAM, 1, &section(&request(b"GET", b"/stall")));
    vec![
        kind("PING", waiting(), 1, |_| frame(6, 0, 0, &[0; 8])),
        kind("PING acknowledged", waiting(), 1, |_| frame(6, 1, 0, &[0; 8])),
        kind("SETTINGS", waiting(), 1, |_| frame(4, 0, 0, &[])),
        kind("SETTINGS that move the windows", waiting(), 1, |n| {
            frame(4, 0, 0, &[0, 4, 0, 0, 0x80, n.to_be_bytes()[3]])
        }),
        malformed("SETTINGS acknowledged unasked", waiting(), 1, |_| frame(4, 1, 0, &[])),
        kind("PRIORITY", waiting(), 1, |_| frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        kind("PRIORITY of idle streams", waiting(), 1, |n| frame(2, 0, 2 * n + 1, &[0, 0, 0, 0, 1])),
        kind("WINDOW_UPDATE of the connection", waiting(), 1, |_| frame(8, 0, 0, &[0, 0, 0, 1])),
        kind("WINDOW_UPDATE of a stream", waiting(), 1, |_| frame(8, 0, 1, &[0, 0, 0, 1])),
        kind("unknown frames", waiting(), 1, |_| frame(0xfa, 0, 0, &[])),
        kind("long unknown frames", waiting(), 1, |_| frame(0xfa, 0, 1, &[0; 4096])),
        kind("PRIORITY_UPDATE", waiting(), 1, |_| frame(0x10, 0, 0, b"\0\0\0\x01u=1")),
        kind("GOAWAY", waiting(), 1, |_| frame(7, 0, 0, &[0; 8])),
        kind("empty DATA", upload(), 1, |_| frame(0, 0, 1, &[])),
        kind("DATA of padding only", upload(), 1, |_| frame(0, 8, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        kind("empty CONTINUATION", unfinished(), 1, |_| frame(9, 0, 1, &[])),
        kind("full CONTINUATION", unfinished(), 1, |_| frame(9, 0, 1, &section(&[(b"x", &[b'y'; 1000])]))),
        kind("rapid reset of what waits", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(3, 0, 2 * n - 1, &[0, 0, 0, 8])].concat()
        }),
        kind("rapid reset of hits", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/hit"), frame(3, 0, 2 * n - 1, &[0, 0, 0, 8])].concat()
        }),
        malformed("resets provoked by an increment of 0", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(8, 0, 2 * n - 1, &[0; 4])].concat()
        }),
        kind("resets provoked by a window too large", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(8, 0, 2 * n - 1, &[0x7f, 0xff, 0xff, 0xff])].concat()
        }),
        kind("resets provoked by DATA behind the end", Vec::new(), 2, |n| {
            [get(2 * n - 1, "/stall"), frame(0, 0, 2 * n - 1, b"x")].concat()
        }),
        kind("resets provoked by a stream that depends on itself", Vec::new(), 2, |n| {
            let stream = 2 * n - 1;
            [get(stream, "/stall"), frame(2, 0, stream, &[&stream.to_be_bytes()[..], &[1]].concat())].concat()
        }),
        kind("resets provoked by malformed requests", Vec::new(), 1, |n| {
            let mut fields = request(b"GET", b"/stall");
            fields.push((b"connection", b"close"));
            frame(HEADERS, END_STREAM | END_HEADERS, 2 * n - 1, &section(&fields))
        }),
        kind("streams above the limit", Vec::new(), 1, |n| get(2 * n - 1, "/stall")),
        kind("streams above the limit that end in trailers", Vec::new(), 2, |n| {
            let fields = section(&request(b"POST", b"/stall"));
            let trailers = section(&[(b"x", b"y")]);
            [
                frame(HEADERS, END_HEADERS, 2 * n - 1, &fields),
                frame(HEADERS, END_STREAM | END_HEADERS, 2 * n - 1, &trailers),
            ]
            .concat()
        }),
        kind("resets of a stream that is over", get(1, "/hit"), 1, |_| frame(3, 0, 1, &[0, 0, 0, 8])),
    ]
}

const fn kind(claim: &'static str, begins: Vec<u8>, frames: u64, goes_on: fn(u32) -> Vec<u8>) -> Kind {
    Kind { claim, begins, goes_on, frames, code: ENHANCE_YOUR_CALM }
}

/// A kind that ends at its first frame already.
const fn malformed(claim: &'static str, begins: Vec<u8>, frames: u64, goes_on: fn(u32) -> Vec<u8>) -> Kind {
    Kind { claim, begins, goes_on, frames, code: PROTOCOL_ERROR }
}

fn script(request: &Request) -> Option<Vec<u8>> {
    (request.target != "/stall").then(|| answer(request, "Cache-Control: max-age=1000\r\n"))
}

/// RFC 9113 §7.
const PROTOCOL_ERROR: u32 = 1;
const ENHANCE_YOUR_CALM: u32 = 11;
/// FAULTS B15.
const FRAMES_MAX: u64 = 10_000;
/// Pieces that an honest client may send by some misfortune.
const LITTLE: u32 = 10;
const BYTES_MAX: usize = 1_000_000;
