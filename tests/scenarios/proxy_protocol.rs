//! Balancers say by the PROXY protocol whom they speak for; nobody else does.

use std::net::{IpAddr, SocketAddr};

use tidegate::config::{Config, Network};

use crate::stage::h2::{H2Client, Identity};
use crate::stage::reply::reply;
use crate::stage::settings::encrypted;
use crate::stage::wire::End;
use crate::stage::{Stage, secs};

/// The listener is behind balancers in this network.
fn behind(network: [u8; 4], bits: u8) -> impl FnOnce(&mut Config, &[SocketAddr]) {
    let network = Network::new(IpAddr::from(network), bits).expect("a network");
    move |config, _| config.listeners[0].proxy_protocol = Some(vec![network])
}

async fn stage() -> Stage {
    let stage = Stage::build().config(behind([127, 0, 0, 0], 8)).start().await;
    stage.origin("a").answers("/x", |seen| {
        let client = seen.field("x-forwarded-for").unwrap_or_default();
        reply(200).cache_control("no-store").body(client)
    });
    stage
}

const REQUEST: &[u8] = b"GET /x HTTP/1.1\r\nHost: www.example.test\r\n\r\n";

/// Version 2, TCP over IPv4, with a TLV behind the addresses.
const TWO: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x11\xc0\0\x02\x07\x7f\0\0\x01\x1f\x90\0\x50\x04\0\x02ab";

#[tokio::test]
async fn the_client_is_whom_the_balancer_names_for_every_request_of_the_connection() {
    let stage = stage().await;
    for (first, client) in [
        (&b"PROXY TCP4 192.0.2.7 127.0.0.1 8080 80\r\n"[..], "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 8080 80\r\n", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.8 ::1 8080 80\r\n", "192.0.2.8"),
        (b"PROXY UNKNOWN\r\n", "127.0.0.1"),
        (TWO, "192.0.2.7"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", "127.0.0.1"),
    ] {
        let mut connection = stage.client().connect().await;
        // In two pieces, cut within the header, with the request behind the second.
        let (one, other) = first.split_at(first.len() / 2);
        connection.write(one).await;
        connection.write(&[other, REQUEST].concat()).await;
        connection.answer("GET").await.expect(200, client);
        connection.write(REQUEST).await;
        connection.answer("GET").await.expect(200, client);
    }
}

#[tokio::test]
async fn over_tls_the_header_comes_before_the_handshake() {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let stage = Stage::build()
        .config(move |config, _| config.listeners = vec![encrypted(cert, key)])
        .config(behind([127, 0, 0, 1], 32))
        .start()
        .await;
    stage
        .origin("a")
        .answers("/x", |seen| reply(200).body(seen.field("x-forwarded-for").unwrap_or_default()));
    let client = H2Client::connect_after(stage.address(), &identity, TWO).await;
    client.get("/x").await.expect(200, "192.0.2.7");
}

#[tokio::test]
async fn who_is_not_trusted_is_refused_whatever_it_says() {
    let stage = Stage::build().config(behind([10, 0, 0, 0], 8)).start().await;
    for first in [&b"PROXY TCP4 192.0.2.7 127.0.0.1 8080 80\r\n"[..], b"", TWO] {
        let mut connection = stage.client().connect().await;
        connection.write(&[first, REQUEST].concat()).await;
        let answer = connection.answer("GET").await;
        answer.expect(403, "403 Forbidden: this listener serves its balancers only\n");
        assert_eq!(connection.rest().await, (Vec::new(), End::Clean));
    }
    assert_eq!(stage.count().requests, 0);
    let metrics = stage.operator().get("/metrics").await.text();
    let refused = metrics.lines().find(|line| line.starts_with("tidegate_listener_unproxied_total"));
    assert!(refused.is_some_and(|line| line.ends_with(" 3")), "{refused:?}");
}

#[tokio::test]
async fn what_is_not_a_whole_header_is_refused_and_nothing_behind_it_is_read() {
    let stage = stage().await;
    for first in [
        &b""[..],
        b"PROXY TCP4 192.0.2.7 127.0.0.1 8080\r\n",
        b"PROXY TCP4 192.0.2.7\n",
        b"PROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\nPROXY TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x02ab",
        b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xffab",
    ] {
        let mut connection = stage.client().connect().await;
        connection.write(&[first, REQUEST].concat()).await;
        let answer = connection.answer("GET").await;
        assert_eq!(answer.status, 400, "{:?}: {answer:?}", String::from_utf8_lossy(first));
        assert_eq!(connection.rest().await.0, b"");
    }
    assert_eq!(stage.count().requests, 0);
}

#[tokio::test]
async fn a_header_that_does_not_come_does_not_hold_a_connection() {
    let stage = stage().await;
    let mut connection = stage.client().connect().await;
    connection.write(b"PROXY TCP4 192.0.2.7 ").await;
    stage.clock.advance(secs(1));
    let (said, _) = stage.let_go(connection, b"").await;
    assert_eq!(said, b"");
}
