//! What an origin says piece by piece reaches the client piece by piece, and what it says behind a body reaches those who know
//! of such (RFC 9110 §6.5; gRPC, server-sent events; FAULTS S6).

use crate::stage::client::Connection;
use crate::stage::gate::Gate;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::peer::Peer;
use crate::stage::reply::{Frame, reply};
use crate::stage::settings::{HOST, encrypted};
use crate::stage::wire::{End, Framing};
use crate::stage::{Builder, Stage};
use http::HeaderMap;

const EVENTS: [&str; 4] = ["data: one\n\n", "data: two\n\n", ": still here\n\n", "data: three\n\n"];

/// Each piece is seen before the origin says the next.
#[tokio::test]
async fn server_sent_events_come_as_they_are_sent() {
    for (framing, control) in
        [(Frame::Chunks(100), "no-cache"), (Frame::Chunks(100), "max-age=60"), (Frame::Close, "no-store")]
    {
        let stage = Stage::new().await;
        let gates: Vec<_> = EVENTS.iter().map(|_| Gate::shut()).collect();
        let mut events =
            reply(200).field("content-type", "text/event-stream").cache_control(control).framed(framing);
        let mut at = 0;
        for (event, gate) in EVENTS.iter().zip(&gates) {
            events = events.pause(at, gate);
            at += event.len();
        }
        let end = Gate::shut();
        stage.origin("a").on("/events", [events.body(EVENTS.concat()).pause(at, &end)]);
        let mut client = stage.client().connect().await;
        client.write(&stage.client().bytes("GET", "/events", b"")).await;
        client.head().await;
        for (event, gate) in EVENTS.iter().zip(&gates) {
            assert!(client.is_silent().await, "{framing:?} {control}: before {event:?}");
            gate.open();
            assert_eq!(
                client.read_to(format!("{event}\r\n").as_bytes()).await,
                format!("{:x}\r\n{event}\r\n", event.len())
            );
        }
        end.open();
        assert_eq!(client.read(5).await, b"0\r\n\r\n");
    }
}

#[tokio::test]
async fn trailers_reach_a_client_that_knows_of_them_and_no_other() {
    let peer = Peer::open().await;
    let stage = peer.stage(Stage::build()).await;
    for (te, trailers) in [
        ("TE: trailers\r\nConnection: TE\r\n", "grpc-status: 0\r\ngrpc-message: ok\r\n"),
        ("TE: gzip, trailers\r\n", "grpc-status: 0\r\ngrpc-message: ok\r\n"),
        ("TE: gzip\r\n", ""),
        ("", ""),
    ] {
        let mut client = stage.client().connect().await;
        client.write(&post(te, "Content-Length: 2\r\n", "hi")).await;
        let mut origin = peer.taken().await;
        let asked = origin.head().await;
        let asks = if te.contains("trailers") { (Some("trailers"), Some("te")) } else { (None, None) };
        assert_eq!((asked.field("te").as_deref(), asked.field("connection").as_deref()), asks, "{te}");
        origin.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n").await;
        origin.write(b"5\r\nhello\r\n").await;
        client.head().await;
        assert_eq!(client.read(10).await, b"5\r\nhello\r\n");
        // In pieces, and with what must not be said at that place.
        for piece in [
            "0\r\nGrpc-Sta",
            "tus: 0\r\nContent-Length: 7\r\nSet-Cookie: a=1\r\n",
            "grpc-message:  ok \r\n\r",
            "\n",
        ] {
            origin.write(piece.as_bytes()).await;
        }
        assert_eq!(client.read_to(b"\r\n\r\n").await, format!("0\r\n{trailers}\r\n"), "{te}");
        // The connection goes on, and nothing of it is left.
        client.write(&post("", "Content-Length: 0\r\n", "")).await;
        let mut origin = peer.taken().await;
        assert_eq!(origin.head().await.field("te"), None);
        origin.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\nnext").await;
        client.answer("POST").await.expect(200, "next");
    }
}

#[tokio::test]
async fn trailers_come_over_http_2_and_only_where_there_are_some() {
    let peer = Peer::open().await;
    let identity = Identity::new();
    let stage = peer.stage(secure(&identity)).await;
    let client = H2Client::connect(stage.address(), &identity).await;
    for (section, expected) in [
        ("grpc-status: 0\r\nx: 1\r\nx: 2\r\n", "grpc-status: 0, x: 1, x: 2"),
        ("", ""),
        ("authorization: me\r\n", ""),
    ] {
        for body in ["5\r\nhello\r\n", ""] {
            let asked = tokio::spawn(client.call("/svc/Method", "hi", None));
            let mut origin = peer.taken().await;
            origin.head().await;
            let said = format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}0\r\n{section}\r\n"
            );
            origin.write(said.as_bytes()).await;
            let (answer, trailers) = asked.await.expect("no panic");
            answer.expect(200, if body.is_empty() { "" } else { "hello" });
            assert_eq!(told(&trailers), expected);
        }
    }
}

#[tokio::test]
async fn trailers_of_a_request_reach_the_origin_where_the_client_knows_of_them() {
    let peer = Peer::open().await;
    let identity = Identity::new();
    let stage = peer.stage(secure(&identity)).await;
    let plain = peer.stage(Stage::build()).await;
    for (te, trailers) in [("TE: trailers\r\n", "x-checksum: 1\r\n"), ("", "")] {
        let mut client = plain.client().connect().await;
        let section = "X-Checksum: 1\r\nHost: evil\r\nAuthorization: me\r\nContent-Length: 3\r\n";
        client
            .write(&post(te, "Transfer-Encoding: chunked\r\n", &format!("3\r\nabc\r\n0\r\n{section}\r\n")))
            .await;
        let mut origin = peer.taken().await;
        origin.head().await;
        assert_eq!(origin.read_to(b"\r\n\r\n").await, format!("3\r\nabc\r\n0\r\n{trailers}\r\n"));
        answered(&mut origin).await;
        client.answer("POST").await.expect(200, "done");
    }
    let client = H2Client::connect(stage.address(), &identity).await;
    let mut section = HeaderMap::new();
    for (name, value) in [("x-checksum", "1"), ("cookie", "a=1"), ("via", "1.1 stage")] {
        section.insert(name, value.parse().expect("a value"));
    }
    let asked = tokio::spawn(client.call("/svc/Method", "abc", Some(section)));
    let mut origin = peer.taken().await;
    origin.head().await;
    assert_eq!(origin.read_to(b"\r\n\r\n").await, "3\r\nabc\r\n0\r\nx-checksum: 1\r\n\r\n");
    answered(&mut origin).await;
    asked.await.expect("no panic").0.expect(200, "done");
}

/// A section that says more than fits is not cut: half of it could mean something else.
#[tokio::test]
async fn trailers_that_are_too_many_are_dropped_and_too_long_ones_cut_the_answer() {
    let peer = Peer::open().await;
    let stage = peer.stage(Stage::build()).await;
    let many = (0..100).map(|at| format!("x{at}: 1\r\n")).collect::<Vec<_>>().concat();
    let long = format!("x: {}\r\n", "v".repeat(9000));
    for (section, ends) in [(many, true), (long, false)] {
        let mut client = stage.client().connect().await;
        client.write(&post("TE: trailers\r\n", "Content-Length: 0\r\n", "")).await;
        let mut origin = peer.taken().await;
        origin.head().await;
        let said = format!(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\nhello\r\n0\r\n{section}\r\n"
        );
        origin.write(said.as_bytes()).await;
        if ends {
            client.head().await;
            assert_eq!(client.read_to(b"\r\n\r\n").await, "5\r\nhello\r\n0\r\n\r\n");
        } else {
            let answer = client.answer("POST").await;
            assert!(answer.status == 502 || matches!(answer.end, End::Cut(_)), "{answer:?}");
        }
    }
}

/// What is stored has no trailers, whoever asks.
#[tokio::test]
async fn a_page_from_the_cache_has_no_trailers() {
    let peer = Peer::open().await;
    let stage = peer.stage(Stage::build()).await;
    let client = stage.client().header("te", "trailers");
    let asked = client.get("/x");
    let mut origin = peer.taken().await;
    assert_eq!(origin.head().await.field("te"), None);
    let said = b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nx-a: 1\r\n\r\n";
    origin.write(said).await;
    asked.await.expect(200, "x");
    stage.until(|count| count.stored == 1).await;
    assert!(client.get("/x").await.expect(200, "x").is_hit());
}

/// The body is asked of the client when an origin is there to take it, and not before.
#[tokio::test]
async fn a_client_that_expects_100_is_told_to_go_on_when_the_origin_takes_its_body() {
    let peer = Peer::open().await;
    let stage = peer.stage(Stage::build()).await;
    let mut client = stage.client().connect().await;
    client.write(&post("Expect: 100-continue\r\n", "Content-Length: 4\r\n", "")).await;
    let mut origin = peer.taken().await;
    let asked = origin.head().await;
    assert_eq!((asked.field("expect"), asked.framing()), (None, Ok(Some(Framing::Length(4)))));
    assert_eq!(client.head().await.start, "HTTP/1.1 100 Continue");
    client.write(b"body").await;
    assert_eq!(origin.read(4).await, b"body");
    answered(&mut origin).await;
    client.answer("POST").await.expect(200, "done");
}

fn secure(identity: &Identity) -> Builder {
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    Stage::build().config(move |config, _| config.listeners = vec![encrypted(cert, key)])
}

async fn answered(origin: &mut Connection) {
    origin.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\ndone").await;
}

fn post(lines: &str, framing: &str, body: &str) -> Vec<u8> {
    format!("POST /svc/Method HTTP/1.1\r\nHost: {HOST}\r\n{lines}{framing}\r\n{body}").into_bytes()
}

fn told(trailers: &HeaderMap) -> String {
    let lines =
        trailers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or_default()));
    lines.collect::<Vec<_>>().join(", ")
}
