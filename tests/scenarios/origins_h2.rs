//! Origins that are asked over HTTP/2 (`[pool.X] protocol = "h2"`), through the whole node. What goes wrong frame by frame is in
//! `src/origin/tests/h2`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use tidegate::config::OriginProtocol;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::stage::Stage;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::settings::{encrypted, pool};

/// A stage whose origin is `serve`, by the library's server; connections and requests that it saw.
async fn stage<F>(
    identity: Option<&Identity>,
    serve: impl Fn(Call) -> F + Clone + Send + 'static,
) -> (Stage, Arc<[AtomicUsize; 2]>)
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let seen: Arc<[AtomicUsize; 2]> = Arc::default();
    let counts = Arc::clone(&seen);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counts[0].fetch_add(1, Ordering::SeqCst);
            let (serve, counts) = (serve.clone(), Arc::clone(&counts));
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(socket).await else { return };
                while let Some(Ok((request, respond))) = connection.accept().await {
                    counts[1].fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(serve(Call { request, respond }));
                }
            });
        }
    });
    let files = identity.map(|identity| (identity.cert.clone(), identity.key.clone()));
    let stage = Stage::build()
        .config(move |config, _| {
            let mut main = pool("main", &[address]);
            main.transport.protocol = OriginProtocol::H2;
            config.pools.insert("main".into(), main);
            if let Some((cert, key)) = files {
                config.listeners = vec![encrypted(cert, key)];
            }
        })
        .start()
        .await;
    (stage, seen)
}

/// A request at the origin.
struct Call {
    request: http::Request<h2::RecvStream>,
    respond: h2::server::SendResponse<Bytes>,
}

impl Call {
    fn head(&mut self, fields: &[(&'static str, &'static str)]) -> h2::SendStream<Bytes> {
        let mut head = http::Response::new(());
        for (name, value) in fields {
            head.headers_mut().insert(*name, HeaderValue::from_static(value));
        }
        self.respond.send_response(head, false).expect("the client is there")
    }
}

#[tokio::test]
async fn a_miss_is_fetched_once_over_http2_and_stored() {
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let (stage, seen) = stage(None, move |mut call| {
        let shut = Arc::clone(&shut);
        async move {
            drop(shut.acquire().await);
            let mut body = call.head(&[("cache-control", "max-age=60"), ("content-length", "5")]);
            body.send_data(Bytes::from_static(b"hello"), true).expect("the client is there");
        }
    })
    .await;
    let clients = stage.clients(8).get("/x");
    gate.add_permits(100);
    clients.await.expect_all(200, "hello");
    stage.client().get("/x").await.expect(200, "hello").cache_status("hit; ttl=60");
    assert_eq!((seen[0].load(Ordering::SeqCst), seen[1].load(Ordering::SeqCst)), (1, 1));
}

/// What an origin does not end well is never whole to a client, nor stored.
#[tokio::test]
async fn a_stream_that_is_cut_is_cut_for_its_clients_and_not_stored() {
    let gate = Arc::new(Semaphore::new(0));
    let shut = Arc::clone(&gate);
    let (stage, seen) = stage(None, move |mut call| {
        let shut = Arc::clone(&shut);
        async move {
            let mut body = call.head(&[("cache-control", "max-age=60")]);
            body.send_data(Bytes::from_static(b"cut"), false).expect("the client is there");
            // A reset takes along what has not been sent yet.
            shut.acquire().await.expect("it stays").forget();
            body.send_reset(h2::Reason::INTERNAL_ERROR);
        }
    })
    .await;
    let client = stage.client();
    let mut connection = client.connect().await;
    connection.write(&client.bytes("GET", "/b", b"")).await;
    assert!(connection.read_to(b"cut\r\n").await.starts_with("HTTP/1.1 200 "));
    gate.add_permits(1);
    let (rest, end) = connection.rest().await;
    assert!(!rest.ends_with(b"0\r\n\r\n"), "{end:?} behind {rest:?}");
    stage.until(|count| count.fills_under_way == 0).await;
    // The next answers of such an origin are read to their end first.
    gate.add_permits(10);
    assert_eq!(client.get("/b").await.status, 502);
    assert!(seen[1].load(Ordering::SeqCst) > 1, "nothing was stored");
}

/// gRPC: an HTTP/2 client, an HTTP/2 origin, trailers both ways and a status in them.
#[tokio::test]
async fn a_call_passes_from_end_to_end_with_its_trailers() {
    let identity = Identity::new();
    let (stage, _) = stage(Some(&identity), |mut call| async move {
        assert_eq!(call.request.headers().get("te").map(HeaderValue::as_bytes), Some(&b"trailers"[..]));
        let incoming = call.request.body_mut();
        let mut all = Vec::new();
        while let Some(piece) = incoming.data().await {
            let piece = piece.expect("it is whole");
            incoming.flow_control().release_capacity(piece.len()).expect("it was received");
            all.extend_from_slice(&piece);
        }
        let told = incoming.trailers().await.expect("it is whole").expect("they were sent");
        let mut body = call.head(&[("content-type", "application/grpc")]);
        body.send_data(all.into(), false).expect("the client is there");
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        trailers.insert("x-back", told["x-forth"].clone());
        body.send_trailers(trailers).expect("the client is there");
    })
    .await;
    let client = H2Client::connect(stage.address(), &identity).await;
    let mut forth = HeaderMap::new();
    forth.insert("x-forth", HeaderValue::from_static("7"));
    let calls = (0..20).map(|_| client.call("/svc/Method", "ping", Some(forth.clone())));
    for (answer, trailers) in futures_util::future::join_all(calls).await {
        answer.expect(200, "ping");
        assert_eq!(
            (trailers["grpc-status"].as_bytes(), trailers["x-back"].as_bytes()),
            (&b"0"[..], &b"7"[..])
        );
    }
}
