//! Clients that are slow on purpose, in every phase and protocol (FAULTS R1; B14): all are reaped by their deadlines, and
//! another client is served meanwhile.

use std::time::Duration;

use tokio::net::TcpSocket;

use crate::attacks::{get, request};
use crate::client::{Io, ask, piece, send, within};
use crate::frames::{END_HEADERS, HEADERS, Http2};
use crate::h2_cases::{frame, section};
use crate::node::Node;
use crate::recorder::{answer, echo};
use crate::strict::Request;

#[tokio::test]
async fn two_hundred_slow_clients_are_reaped_by_their_deadlines_while_others_are_served() {
    let node = Node::start(script).await;
    let mut good = node.plain().await;
    hit(&mut *good).await;
    let mut slow: Vec<Box<dyn Io>> = Vec::new();
    for _ in 0..EACH {
        slow.push(begun(&node, b"GET /x HTTP/1.1\r\nHost: a.exa").await);
        slow.push(begun(&node, b"").await);
        slow.push(
            begun(&node, b"POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 9999\r\n\r\nx").await,
        );
        slow.push(begun(&node, b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n").await);
        slow.push(encrypted(&node, b"GET /x HTTP/1.1\r\nHost: a.exa").await);
        slow.push(encrypted(&node, b"GET /large HTTP/1.1\r\nHost: a.example\r\n\r\n").await);
        slow.push(half_a_handshake(&node).await);
        slow.push(http2(&node, &[]).await);
        slow.push(http2(&node, &frame(HEADERS, END_HEADERS, 1, &section(&request(b"POST", b"/x")))).await);
        slow.push(http2(&node, &get(1, "/large")).await);
    }
    assert_eq!(slow.len(), EACH * KINDS);
    let edge = node.edge();
    let listeners = edge.listeners.get().expect("they are bound");
    let accepted = || -> u64 {
        listeners.iter().map(|stats| stats.accepted.load(std::sync::atomic::Ordering::Relaxed)).sum()
    };
    within("all are accepted", async {
        while accepted() <= slow.len() as u64 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let at_first = node.open();
    assert!(at_first > slow.len() / 2, "only {at_first} are open");
    let mut seconds = 0;
    while node.open() > 1 {
        assert!(seconds < SECONDS_MAX, "{} of {at_first} are still open", node.open());
        seconds += 1;
        node.clock.advance(Duration::from_secs(1));
        hit(&mut *good).await;
    }
    for mut io in slow {
        within("the end of a slow connection", async {
            // A reset is an end too.
            while piece(&mut *io).await.is_ok_and(|piece| !piece.is_empty()) {}
        })
        .await;
    }
    drop(good);
    let verdict = node.end().await;
    assert!(verdict.is_ok(), "{verdict:?}");
}

/// Connects with a window so small that what is read stays short, and sends this.
async fn begun(node: &Node, bytes: &[u8]) -> Box<dyn Io> {
    let socket = TcpSocket::new_v4().expect("there are sockets");
    socket.set_recv_buffer_size(4096).expect("it may be small");
    let stream = within("a connection", socket.connect(node.addresses()[0])).await.expect("the node listens");
    let mut io: Box<dyn Io> = Box::new(stream);
    send(&mut *io, bytes).await.expect("the node reads");
    io
}

async fn encrypted(node: &Node, bytes: &[u8]) -> Box<dyn Io> {
    let mut io = node.tls(b"http/1.1").connect(node.addresses()[1]).await;
    send(&mut *io, bytes).await.expect("the node reads");
    io
}

async fn half_a_handshake(node: &Node) -> Box<dyn Io> {
    let stream = tokio::net::TcpStream::connect(node.addresses()[1]).await.expect("the node listens");
    let mut io: Box<dyn Io> = Box::new(stream);
    // The head of a record, and the first bytes of a hello.
    send(&mut *io, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.expect("the node reads");
    io
}

/// Without a window for answers.
async fn http2(node: &Node, bytes: &[u8]) -> Box<dyn Io> {
    let io = node.tls(b"h2").connect(node.addresses()[1]).await;
    let mut http2 = Http2::open(io, &[(4, 0)]).await.expect("the node reads");
    http2.send(bytes).await.expect("the node reads");
    http2.io
}

async fn hit(io: &mut dyn Io) {
    let answer = within("a hit", ask(io, "GET /hit HTTP/1.1\r\nHost: a.example\r\n\r\n")).await;
    let answer = answer.expect("the good client is served");
    assert_eq!((answer.status, answer.body), (200, echo("GET", "/hit", 0)));
}

#[allow(clippy::unnecessary_wraps)] // a script may also be silent
fn script(request: &Request) -> Option<Vec<u8>> {
    if request.target != "/large" {
        return Some(answer(request, "Cache-Control: max-age=10000\r\n"));
    }
    // More than the buffers of both ends hold.
    let head = format!("HTTP/1.1 200 OK\r\nCache-Control: max-age=10000\r\nContent-Length: {LARGE}\r\n\r\n");
    Some([head.as_bytes(), &vec![b'x'; LARGE]].concat())
}

const EACH: usize = 20;
const KINDS: usize = 10;
/// Twice the longest deadline, thirty seconds for a client that takes nothing, counted from when the buffers between us
/// are full.
const SECONDS_MAX: u32 = 60;
const LARGE: usize = 12 << 20;
