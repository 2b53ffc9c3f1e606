//! What is spoken over TLS: by ALPN, RFC 7301. And what goes over HTTP/1.1 all the same.

use super::super::connecting::acceptor_of;
use super::*;
use crate::config::{Health, HealthKind};
use crate::origin::forward::Forwarded;

/// A TLS origin that speaks both, as the handshake says; what was chosen for each connection.
async fn either(protocols: &'static [&'static [u8]]) -> (Origin, PathBuf, Guard, Arc<Mutex<Vec<String>>>) {
    let (acceptor, ca) = acceptor_of("www.example.com", protocols);
    let (listener, port) = peer::listen().await;
    let chosen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&chosen);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let (acceptor, told) = (acceptor.clone(), Arc::clone(&told));
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(socket).await else { return };
                let protocol = stream.get_ref().1.alpn_protocol().unwrap_or_default().to_vec();
                told.lock().push(String::from_utf8(protocol.clone()).unwrap());
                if protocol == b"h2" {
                    let mut connection = ::h2::server::handshake(stream).await.unwrap();
                    while let Some(Ok((_, mut respond))) = connection.accept().await {
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                    }
                    return;
                }
                while let Some(request) = read_request(&mut stream).await {
                    let switches = request.contains("upgrade: websocket");
                    let answer = if switches {
                        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
                    } else {
                        OK
                    };
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.flush().await.unwrap();
                }
            });
        }
    });
    let origin = Origin { tls: true, ..at(port) };
    (origin, ca.0.clone(), Guard(Some(Box::new(ca))), chosen)
}

/// Keeps a file while it is needed.
struct Guard(#[allow(dead_code)] Option<Box<super::super::connecting::temporary::File>>);
use std::path::PathBuf;

#[tokio::test]
async fn an_origin_that_takes_http2_in_the_handshake_is_spoken_to_in_it() {
    let (origin, ca, _guard, chosen) = either(&[b"h2", b"http/1.1"]).await;
    let pools = pools(PoolSettings { ca: Some(ca), ..spoken(vec![origin], 10) }, &manual());
    for _ in 0..3 {
        assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
    }
    assert_eq!(*chosen.lock(), ["h2"]);
}

#[tokio::test]
async fn an_origin_that_does_not_is_spoken_to_in_http1_within_the_same_bounds() {
    for protocols in [&[b"http/1.1" as &[u8]] as &[&[u8]], &[]] {
        let (origin, ca, _guard, chosen) = either(protocols).await;
        let settings = PoolSettings { ca: Some(ca), connections_max: 2, ..spoken(vec![origin], 10) };
        let pools = pools(settings, &manual());
        for _ in 0..3 {
            assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
        }
        assert_eq!(chosen.lock().len(), 1, "its connection serves again");
        let many: Vec<_> = (0..9)
            .map(|_| {
                let pools = Arc::clone(&pools);
                tokio::spawn(async move { fetch(&pools, get("/")).await })
            })
            .collect();
        for one in many {
            assert_eq!(one.await.unwrap(), Ok((200, "ok".into())));
        }
        assert!(chosen.lock().len() <= 3, "{:?}", chosen.lock());
        assert!(pools.stats()[0].connections_idle <= 2);
    }
}

/// RFC 8441 is not spoken to origins: another protocol is asked for over HTTP/1.1.
#[tokio::test]
async fn another_protocol_is_asked_for_over_http1() {
    let (origin, ca, _guard, chosen) = either(&[b"h2", b"http/1.1"]).await;
    let pools = pools(PoolSettings { ca: Some(ca), ..spoken(vec![origin], 10) }, &manual());
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
    let fields = Sent::upgrading(Arc::new(Forwarded::default()), b"websocket".as_slice().into());
    let answer = pools.ask(Ask { fields, ..get("/chat") }).await.unwrap();
    assert_eq!(answer.status.as_u16(), 101);
    assert!(answer.body.into_tunnel().is_some());
    assert_eq!(*chosen.lock(), ["h2", "http/1.1"]);
}

#[tokio::test]
async fn a_check_asks_in_the_same_protocol_as_a_request() {
    for kind in [HealthKind::Http, HealthKind::Tls, HealthKind::Tcp] {
        let (origin, ca, _guard, chosen) = either(&[b"h2"]).await;
        let host = Some("www.example.com".into());
        let health = Health { kind, host, healthy_after: 1, unhealthy_after: 1, ..Health::default() };
        let clock = manual();
        let settings = PoolSettings { ca: Some(ca), health: Some(health), ..spoken(vec![origin], 10) };
        let pools = pools(settings, &clock);
        pools.watch();
        if kind != HealthKind::Tcp {
            while chosen.lock().is_empty() {
                tokio::task::yield_now().await;
            }
            assert_eq!(*chosen.lock(), ["h2"]);
        }
        assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
        assert_eq!(pools.stats()[0].stands, Stands::Well, "{kind:?}");
        assert_eq!(pools.stats()[0].counts.failed_checks, 0);
    }
}
