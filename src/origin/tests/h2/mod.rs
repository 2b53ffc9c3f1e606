//! HTTP/2 to origins: the `h2` crate's server for what a good origin does, frames by hand (`peer.rs`) for the rest.

mod lies;
mod peer;
mod places;
mod tls;

use bytes::BytesMut;
use http::HeaderMap;
use http::header::TE;

use super::*;
use crate::config::{OriginProtocol, Transport};
use crate::listener::trailers::Trailers;

/// Settings of a pool that speaks HTTP/2 with these origins.
fn spoken(origins: Vec<Origin>, streams_max: usize) -> PoolSettings {
    let transport = Transport { protocol: OriginProtocol::H2, streams_max, ..Transport::default() };
    PoolSettings { transport, ..settings(origins) }
}

/// What an origin of the library's does with a request.
type Serve = Arc<
    dyn Fn(http::Request<::h2::RecvStream>, ::h2::server::SendResponse<Bytes>) -> tokio::task::JoinHandle<()>
        + Send
        + Sync,
>;

/// An origin by the library; each request is `serve`'s.
async fn library(serve: Serve) -> (u16, Arc<std::sync::atomic::AtomicUsize>) {
    let (listener, port) = peer::listen().await;
    let connections = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let serve = Arc::clone(&serve);
            tokio::spawn(async move {
                let Ok(mut connection) = ::h2::server::handshake(socket).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    drop(serve(request, respond));
                }
            });
        }
    });
    (port, connections)
}

/// The whole body of a request, and what follows it.
async fn whole(body: &mut ::h2::RecvStream) -> (BytesMut, Option<HeaderMap>) {
    let mut all = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        all.extend_from_slice(&piece);
    }
    (all, body.trailers().await.unwrap())
}

/// Sends all of it, as the window lets it go.
async fn send_all(stream: &mut ::h2::SendStream<Bytes>, mut bytes: Bytes) {
    while !bytes.is_empty() {
        stream.reserve_capacity(bytes.len());
        let capacity = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await.unwrap().unwrap();
        let piece = bytes.split_to(capacity.min(bytes.len()));
        stream.send_data(piece, false).unwrap();
    }
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| b"abcdefghijklmnopqrstuvwxy"[at % 25]).collect()
}

fn channel(pieces: Vec<Bytes>, length: Option<u64>) -> RequestBody {
    let (sender, frames) = tokio::sync::mpsc::channel(pieces.len().max(1));
    for piece in pieces {
        sender.try_send(Ok(piece)).unwrap();
    }
    RequestBody::Channel { frames, length, ended: false, wanted: None }
}

/// RFC 9113 §8.3.
#[tokio::test]
async fn a_request_is_said_in_http2_and_its_connection_carries_the_next() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&seen);
    let serve: Serve = Arc::new(move |request, mut respond| {
        heard.lock().push(format!("{} {} {:?}", request.method(), request.uri(), request.headers()));
        tokio::spawn(async move {
            let answer = http::Response::builder().header("x-a", "1").header("content-length", 5).body(());
            let mut body = respond.send_response(answer.unwrap(), false).unwrap();
            body.send_data(Bytes::from_static(b"hello"), true).unwrap();
        })
    });
    let (port, connections) = library(serve).await;
    let clock = manual();
    let pools = pools(spoken(vec![at(port)], 10), &clock);
    let mut answer = pools.ask(get("/a?b=%20")).await.unwrap();
    assert_eq!((answer.status.as_u16(), answer.length), (200, Some(5)));
    assert_eq!(answer.fields.lines(), b"x-a: 1\r\n", "framing is told apart");
    assert_eq!(collect(&mut answer.body).await.unwrap(), "hello");
    assert_eq!(fetch(&pools, ask(Method::POST, "/b")).await, Ok((200, "hello".into())));
    assert_eq!(connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    let seen = seen.lock().clone();
    assert_eq!(seen.first().map(String::as_str), Some("GET http://www.example.com/a?b=%20 {}"));
    assert_eq!(
        seen.get(1).map(String::as_str),
        Some("POST http://www.example.com/b {\"content-length\": \"0\"}")
    );
    let stats = pools.stats();
    assert_eq!((stats[0].connections_in_use, stats[0].connections_idle, stats[0].counts.connects), (0, 1, 1));
    clock.advance(Duration::from_secs(1));
    pools.sweep();
    clock.advance(Duration::from_secs(15));
    pools.sweep();
    assert_eq!(pools.stats()[0].connections_idle, 0, "it has been idle for too long");
}

#[tokio::test]
async fn bodies_larger_than_any_window_come_and_go_whole() {
    let serve: Serve = Arc::new(|request, mut respond| {
        tokio::spawn(async move {
            let mut body = request.into_body();
            let (all, _) = whole(&mut body).await;
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            send_all(&mut stream, all.freeze()).await;
            stream.send_data(Bytes::new(), true).unwrap();
        })
    });
    let (port, _) = library(serve).await;
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let sent = pattern(3 << 20);
    for length in [None, Some(sent.len() as u64)] {
        let pieces = sent.chunks(50_000).map(Bytes::copy_from_slice).collect();
        let ask = Ask { body: channel(pieces, length), ..ask(Method::POST, "/") };
        let (status, body) = fetch(&pools, ask).await.unwrap();
        assert_eq!(status, 200);
        assert!(body.as_bytes() == sent, "{} of {} bytes", body.len(), sent.len());
    }
}

/// As gRPC does it.
#[tokio::test]
async fn trailers_go_both_ways_where_they_were_asked_for() {
    let serve: Serve = Arc::new(|request, mut respond| {
        tokio::spawn(async move {
            assert_eq!(request.headers().get(TE).unwrap(), "trailers");
            let mut body = request.into_body();
            let (all, trailers) = whole(&mut body).await;
            assert_eq!(&all[..], b"ping");
            let mut stream = respond.send_response(http::Response::new(()), false).unwrap();
            stream.send_data(Bytes::from_static(b"pong"), false).unwrap();
            let mut told = HeaderMap::new();
            told.insert("grpc-status", "0".parse().unwrap());
            told.insert("x-heard", trailers.unwrap().get("x-sum").unwrap().clone());
            stream.send_trailers(told).unwrap();
        })
    });
    let (port, _) = library(serve).await;
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let mut sum = Box::<Trailers>::default();
    sum.add(b"x-sum", b"4");
    let body = Box::new(channel(vec![Bytes::from_static(b"ping")], None));
    let body = RequestBody::Trailing { body, trailers: Arc::new(Mutex::new(Some(sum))) };
    let mut ask = Ask { body, ..ask(Method::POST, "/") };
    ask.fields.ask_for_trailers();
    let mut answer = pools.ask(ask).await.unwrap();
    assert!(answer.body.may_trail());
    assert_eq!(collect(&mut answer.body).await.unwrap(), "pong");
    let trailers = answer.body.take_trailers().expect("they came").to_map();
    assert_eq!((trailers["grpc-status"].as_bytes(), trailers["x-heard"].as_bytes()), (&b"0"[..], &b"4"[..]));
}
