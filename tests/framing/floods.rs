//! Frames that cost and bring nothing, over TLS against the whole node (FAULTS R2; B15).
//!
//! Each kind is sent until it is 10 000 frames or 1 MB, whichever comes first; by then the node must have closed the
//! connection. Meanwhile another client's requests are answered from the cache. The clock stands still, so no
//! kind is closed for being slow and none earns credit by waiting.

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::attacks::{BYTES_MAX, FRAMES_MAX, Flood, PROTOCOL_ERROR, floods};
use crate::client::{Io, ask, send, within};
use crate::frames::{Http2, goaway};
use crate::h2_cases::PREFACE;
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
    for kind in floods() {
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
    for kind in floods() {
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

/// Floods; completes when the node has closed the connection, and tells with which code if that arrived.
async fn flood(mut io: Box<dyn Io>, kind: &Flood) -> Option<u32> {
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

fn script(request: &Request) -> Option<Vec<u8>> {
    (request.target != "/stall").then(|| answer(request, "Cache-Control: max-age=1000\r\n"))
}

/// Pieces that an honest client may send by some misfortune.
const LITTLE: u32 = 10;
