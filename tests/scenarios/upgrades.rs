//! WebSocket and its like: a client and an origin go over to it together, and nobody smuggles anything past the node that way
//! (RFC 9110 §7.8, RFC 6455; FAULTS S11).

use std::net::SocketAddr;
use std::sync::Arc;

use crate::stage::client::{Connection, within};
use crate::stage::directory::Directory;
use crate::stage::peer::Peer;
use crate::stage::settings::{self, HOST};
use crate::stage::wire::{End, Head};
use crate::stage::{Stage, secs};
use tidegate::config::Config;
use tidegate::config::access::{Access, Basic};

#[tokio::test]
async fn both_sides_speak_once_the_origin_has_gone_over() {
    let (stage, peer) = stage(|_| {}).await;
    let mut client = stage.client().connect().await;
    client.write(&asking("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nCookie: a=1\r\n")).await;
    let mut origin = peer.taken().await;
    let asked = origin.head().await;
    assert_eq!(asked.start, "GET /chat HTTP/1.1");
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("cookie", "a=1"),
        ("host", HOST),
    ] {
        assert_eq!(asked.field(name).as_deref(), Some(value), "{name}");
    }
    // The first of the other protocol comes with the head.
    origin.write(&[GOES_OVER, b"hello"].concat()).await;
    let answer = client.head().await;
    assert_eq!(answer.start, "HTTP/1.1 101 Switching Protocols");
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
    ] {
        assert_eq!(answer.field(name).as_deref(), Some(value), "{name}");
    }
    assert_eq!(
        answer.field("cache-status").as_deref(),
        Some("stage; fwd=bypass; fwd-status=101; detail=upgrade")
    );
    assert!(answer.field("content-length").is_none() && answer.field("transfer-encoding").is_none());
    assert_eq!(client.read(5).await, b"hello");
    for round in 0..50_u8 {
        client.write(&[round; 100]).await;
        assert_eq!(origin.read(100).await, [round; 100]);
        origin.write(&[round, 0, b'\r', b'\n']).await;
        assert_eq!(client.read(4).await, [round, 0, b'\r', b'\n']);
    }
    let figures = stage.operator().get("/metrics").await.text();
    for line in [
        "tidegate_tunnels 1",
        "tidegate_tunnels_total 1",
        "tidegate_tunnels_to_origin_bytes_total 5000",
        "tidegate_tunnels_to_client_bytes_total 205",
    ] {
        assert!(figures.lines().any(|one| one == line), "{line} is not in {figures}");
    }
    client.shut().await;
    assert_eq!(origin.rest().await, (Vec::new(), End::Clean));
    drop(origin);
    assert_eq!(client.rest().await, (Vec::new(), End::Clean));
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
    let figures = stage.operator().get("/metrics").await.text();
    assert!(figures.contains("status=\"1xx\"") || figures.contains("code=\"101\""), "{figures}");
}

/// RFC 6455 §4.1 has the client wait; one that does not gets nothing through before the origin has agreed.
#[tokio::test]
async fn what_is_sent_ahead_waits_for_the_origin_to_go_over() {
    let (stage, peer) = stage(|_| {}).await;
    let mut client = stage.client().connect().await;
    client.write(&[asking("").as_slice(), b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"].concat()).await;
    let mut origin = peer.taken().await;
    origin.head().await;
    assert!(origin.is_silent().await, "bytes came before the origin said anything");
    origin.write(GOES_OVER).await;
    client.head().await;
    assert_eq!(origin.read(32).await, b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[tokio::test]
async fn a_request_behind_a_refused_upgrade_is_a_request_like_any_other() {
    for refusal in [
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno",
        "HTTP/1.1 503 Later\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
    ] {
        let (stage, peer) = stage(|_| {}).await;
        let mut client = stage.client().connect().await;
        let smuggled =
            format!("GET /smuggled HTTP/1.1\r\nHost: {HOST}\r\nX-Forwarded-For: 127.0.0.1\r\n\r\n");
        client.write(&[asking("Sec-WebSocket-Version: 777\r\n"), smuggled.into_bytes()].concat()).await;
        let mut first = peer.taken().await;
        first.head().await;
        first.write(refusal.as_bytes()).await;
        let answer = client.answer("GET").await;
        assert!(answer.text() == "no" && answer.head.field("upgrade").is_none(), "{answer:?}");
        // An origin that may still wait for the other protocol gets no request on that connection.
        assert_eq!(within(first.rest()).await, (Vec::new(), End::Clean), "{refusal}");
        let mut second = peer.taken().await;
        let seen = second.head().await;
        assert_eq!(seen.start, "GET /smuggled HTTP/1.1");
        assert_eq!(seen.field("via").as_deref(), Some("1.1 stage"));
        assert!(seen.field("upgrade").is_none());
        second.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes").await;
        client.answer("GET").await.expect(200, "yes");
    }
}

#[tokio::test]
async fn only_a_request_that_can_be_followed_asks_for_another_protocol() {
    let long = format!(
        "GET /chat HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: {}\r\n\r\n",
        "a, ".repeat(2000)
    );
    let cases = [
        (
            "a body",
            request(
                "POST",
                "1.1",
                "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 4\r\n",
                "body",
            ),
        ),
        (
            "a body of a GET",
            request(
                "GET",
                "1.1",
                "Upgrade: websocket\r\nConnection: upgrade\r\nContent-Length: 4\r\n",
                "body",
            ),
        ),
        (
            "chunks",
            request(
                "GET",
                "1.1",
                "Upgrade: websocket\r\nConnection: upgrade\r\nTransfer-Encoding: chunked\r\n",
                "0\r\n\r\n",
            ),
        ),
        ("no nomination", request("GET", "1.1", "Upgrade: websocket\r\n", "")),
        ("another nomination", request("GET", "1.1", "Upgrade: websocket\r\nConnection: keep-alive\r\n", "")),
        ("only a nomination", request("GET", "1.1", "Connection: upgrade\r\n", "")),
        (
            "the connection's end",
            request("GET", "1.1", "Upgrade: websocket\r\nConnection: upgrade, close\r\n", ""),
        ),
        ("HTTP/1.0", request("GET", "1.0", "Upgrade: websocket\r\nConnection: upgrade\r\n", "")),
        ("HEAD", request("HEAD", "1.1", "Upgrade: websocket\r\nConnection: upgrade\r\n", "")),
        (
            "h2c",
            request(
                "GET",
                "1.1",
                "Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAA\r\nConnection: Upgrade, HTTP2-Settings\r\n",
                "",
            ),
        ),
        (
            "one that is not allowed",
            request("GET", "1.1", "Upgrade: tcp, websocket/2, web socket\r\nConnection: upgrade\r\n", ""),
        ),
        ("nothing", request("GET", "1.1", "Upgrade: , ,\r\nConnection: upgrade\r\n", "")),
        ("a list without end", long.into_bytes()),
    ];
    for (claim, bytes) in cases {
        let (stage, peer) = stage(|_| {}).await;
        let mut client = stage.client().connect().await;
        client.write(&bytes).await;
        let mut origin = peer.taken().await;
        let seen = origin.head().await;
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(seen.field(name), None, "{claim}: {}", seen.raw.escape_ascii());
        }
        // And a 101 to it is no answer.
        origin.write(GOES_OVER).await;
        let answer = client.answer(seen.start.split(' ').next().unwrap_or_default()).await;
        assert_eq!(answer.status, 502, "{claim}");
    }
}

#[tokio::test]
async fn of_several_protocols_the_allowed_ones_are_offered_and_one_of_them_is_taken() {
    let (stage, peer) = stage(|config| {
        change(config, |policy| {
            policy.upgrade = Arc::from(["tcp".into(), "websocket".into(), "spdy/3.1".into()]);
        });
    })
    .await;
    let mut client = stage.client().connect().await;
    let offer = "Upgrade: h2c, SPDY/3.1\r\nUpgrade: TLS/1.0,tcp\r\nConnection: Upgrade\r\n";
    client.write(&request("GET", "1.1", offer, "")).await;
    let mut origin = peer.taken().await;
    assert_eq!(origin.head().await.field("upgrade").as_deref(), Some("SPDY/3.1, tcp"));
    origin.write(b"HTTP/1.1 101 Go\r\nConnection: Upgrade\r\nUpgrade: TCP\r\n\r\n").await;
    assert_eq!(client.head().await.field("upgrade").as_deref(), Some("TCP"));
    origin.write(b"there").await;
    assert_eq!(client.read(5).await, b"there");
}

#[tokio::test]
async fn a_101_that_leaves_a_doubt_is_no_answer() {
    let heads = [
        ("to another protocol", "Connection: upgrade\r\nUpgrade: tcp\r\n"),
        ("to one more than asked for", "Connection: upgrade\r\nUpgrade: websocket, tcp\r\n"),
        ("to one twice", "Connection: upgrade\r\nUpgrade: websocket\r\nUpgrade: websocket\r\n"),
        ("to none", "Connection: upgrade\r\n"),
        ("without the nomination", "Upgrade: websocket\r\n"),
        ("a status alone", ""),
        ("with a length", "Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n"),
        ("with a coding", "Connection: upgrade\r\nUpgrade: websocket\r\nTransfer-Encoding: chunked\r\n"),
    ];
    for (claim, fields) in heads {
        let (stage, peer) = stage(|_| {}).await;
        let mut client = stage.client().connect().await;
        client.write(&asking("")).await;
        let mut origin = peer.taken().await;
        origin.head().await;
        origin.write(format!("HTTP/1.1 101 Go\r\n{fields}\r\nsecret").as_bytes()).await;
        let answer = client.answer("GET").await;
        assert_eq!(answer.status, 502, "{claim}");
        assert!(!answer.text().contains("secret"), "{claim}");
        assert_eq!(origin.rest().await.0, b"", "{claim}");
    }
}

/// Said before the final head, it is not said of the connection.
#[tokio::test]
async fn what_an_interim_head_says_does_not_count_for_the_101() {
    let (stage, peer) = stage(|_| {}).await;
    let mut client = stage.client().connect().await;
    client.write(&asking("")).await;
    let mut origin = peer.taken().await;
    origin.head().await;
    let heads =
        "HTTP/1.1 103 Hints\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\nHTTP/1.1 101 Go\r\n\r\n";
    origin.write(heads.as_bytes()).await;
    assert_eq!(client.answer("GET").await.status, 502);
}

#[tokio::test]
async fn where_upgrades_are_off_the_request_is_an_ordinary_one() {
    let (stage, peer) = stage(|config| change(config, |policy| policy.upgrade = Arc::default())).await;
    let mut client = stage.client().connect().await;
    client.write(&asking("")).await;
    let mut origin = peer.taken().await;
    assert_eq!(origin.head().await.field("upgrade"), None);
    origin.write(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\nContent-Length: 4\r\n\r\npage").await;
    client.answer("GET").await.expect(200, "page");
}

#[tokio::test]
async fn a_side_that_has_ended_still_hears_the_other() {
    let (stage, peer) = stage(|_| {}).await;
    for client_first in [true, false] {
        let (mut client, mut origin) = gone_over(&stage, &peer).await;
        let (first, second) =
            if client_first { (&mut client, &mut origin) } else { (&mut origin, &mut client) };
        first.write(b"last words").await;
        first.shut().await;
        assert_eq!(second.read(10).await, b"last words");
        assert!(within(second.is_at_end()).await);
        second.write(b"a long answer").await;
        assert_eq!(first.read(13).await, b"a long answer");
        second.shut().await;
        assert!(within(first.is_at_end()).await);
    }
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

#[tokio::test]
async fn a_side_that_breaks_takes_the_other_with_it() {
    let (stage, peer) = stage(|_| {}).await;
    for client_first in [true, false] {
        let (client, origin) = gone_over(&stage, &peer).await;
        let (first, mut second) = if client_first { (client, origin) } else { (origin, client) };
        first.reset();
        second.rest().await;
    }
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_ended_and_one_that_is_used_is_not() {
    let (stage, peer) = stage(|_| {}).await;
    let (mut client, mut origin) = gone_over(&stage, &peer).await;
    // Far longer than any request may take, in steps shorter than the limit.
    for _ in 0..20 {
        stage.clock.advance(secs(9 * 60));
        client.write(b"ping").await;
        assert_eq!(origin.read(4).await, b"ping");
        stage.clock.advance(secs(9 * 60));
        origin.write(b"pong").await;
        assert_eq!(client.read(4).await, b"pong");
    }
    stage.let_go(client, b"").await;
    assert_eq!(origin.rest().await.0, b"");
}

#[tokio::test]
async fn a_node_that_ends_gives_tunnels_a_little_time_and_no_more() {
    let (mut stage, peer) = stage(|_| {}).await;
    let (mut client, mut origin) = gone_over(&stage, &peer).await;
    stage.drain();
    origin.write(b"still").await;
    assert_eq!(client.read(5).await, b"still");
    stage.clock.advance(secs(9));
    origin.write(b"here").await;
    assert_eq!(client.read(4).await, b"here");
    let before = stage.clock.now();
    let (said, _) = stage.let_go(client, b"").await;
    assert_eq!(said, b"");
    assert!(stage.clock.now().since(before) < secs(20), "it waited for the node to be cut");
    assert_eq!(origin.rest().await.0, b"");
    stage.shut_down().await;
}

#[tokio::test]
async fn a_side_that_does_not_read_holds_up_the_other_and_not_the_node() {
    let (stage, peer) = stage(|_| {}).await;
    let (mut client, mut origin) = gone_over(&stage, &peer).await;
    let piece: Vec<u8> = (0..1 << 20_u32).map(|n: u32| n.to_le_bytes()[1]).collect();
    let sent = piece.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            origin.write(&sent).await;
        }
        origin
    });
    let taken = stage.until_still(|| stage.edge().origins.tunnels().to_client_bytes).await;
    assert!(taken < 32 << 20, "{taken} bytes were taken for a client that reads none");
    assert!(!sending.is_finished());
    for _ in 0..64 {
        assert!(client.read(1 << 20).await == piece);
    }
    let mut origin = within(sending).await.expect("no panic");
    client.write(b"thanks").await;
    assert_eq!(origin.read(6).await, b"thanks");
}

#[tokio::test]
async fn more_tunnels_than_are_allowed_are_refused_and_requests_go_on() {
    let (stage, peer) = stage(|config| {
        for pool in config.pools.values_mut() {
            pool.transport.tunnels_max = 2;
            // They take none of these.
            pool.connections_max = 1;
        }
    })
    .await;
    let first = gone_over(&stage, &peer).await;
    let second = gone_over(&stage, &peer).await;
    stage.client().raw(asking("")).await.expect_status(503);
    let asked = stage.client().get("/page");
    let mut origin = peer.taken().await;
    origin.head().await;
    origin.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\npage").await;
    asked.await.expect(200, "page");
    drop(first);
    stage.until(|_| stage.edge().origins.tunnels().open == 1).await;
    gone_over(&stage, &peer).await;
    drop(second);
}

/// FAULTS S11 behind a password: the first request that shows one is no other than those behind it.
#[tokio::test]
async fn an_upgrade_whose_password_is_still_to_be_verified_is_one() {
    let directory = Directory::new();
    let users = directory.path().join("users");
    std::fs::write(&users, format!("ann:{SWORDFISH}\n")).expect("it is written");
    let basic = Basic { users, realm: "staging".into(), forward: false };
    let access = Arc::new(Access { basic: Some(Arc::new(basic)), ..Access::default() });
    let (stage, peer) =
        stage(move |config| change(config, |policy| policy.access = Some(access.clone()))).await;
    stage.client().raw(asking("Authorization: Basic YW5uOnN3b3Jk\r\n")).await.expect_status(401);
    for claim in ["to be verified", "known"] {
        let mut client = stage.client().connect().await;
        client.write(&asking("Authorization: Basic YW5uOnN3b3JkZmlzaA==\r\n")).await;
        let mut origin = peer.taken().await;
        assert_eq!(origin.head().await.field("upgrade").as_deref(), Some("WebSocket"), "{claim}");
        origin.write(GOES_OVER).await;
        assert_eq!(client.head().await.start, "HTTP/1.1 101 Switching Protocols", "{claim}");
    }
}

/// A reload that replaces the pool: what is open stays counted, and takes a place.
#[tokio::test]
async fn a_tunnel_outlives_its_pool_and_stays_among_those_that_are_open() {
    let (mut stage, peer) = stage(|_| {}).await;
    let (mut client, mut origin) = gone_over(&stage, &peer).await;
    let before = stage.edge();
    let renewed = stage.reload(|config| {
        let main = config.pools.get_mut("main").expect("the pool of a stage");
        main.transport.tunnels_max = 1;
    });
    assert_eq!(renewed.await.map(|changes| changes.len()).ok(), Some(1));
    assert!(!Arc::ptr_eq(&before.origins, &stage.edge().origins), "the pool is another");
    client.write(b"ping").await;
    assert_eq!(origin.read(4).await, b"ping");
    let counted = || {
        let tunnels = stage.edge().origins.tunnels();
        (tunnels.open, tunnels.begun, tunnels.to_origin_bytes)
    };
    stage.until(|_| counted() == (1, 1, 4)).await;
    let mut another = stage.client().connect().await;
    another.write(&asking("")).await;
    assert_eq!(another.head().await.start, "HTTP/1.1 503 Service Unavailable");
    client.shut().await;
    origin.shut().await;
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

#[tokio::test]
async fn what_a_route_adds_to_answers_is_added_to_those_of_upgrades_too() {
    let site = "response_headers = { set = { x-edge = \"1\" } }\n";
    let peer = Peer::open().await;
    let address = peer.address();
    let stage = Stage::build()
        .site(site)
        .config(move |config, _: &[SocketAddr]| {
            let pool = settings::pool("main", &[address]);
            config.pools.insert(Arc::clone(&pool.name), pool);
        })
        .start()
        .await;
    for refuses in [true, false] {
        let mut client = stage.client().connect().await;
        client.write(&asking("")).await;
        let mut origin = peer.taken().await;
        origin.head().await;
        let refusal: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        origin.write(if refuses { refusal } else { GOES_OVER }).await;
        let answer = client.head().await;
        assert_eq!(answer.field("x-edge").as_deref(), Some("1"), "{}", answer.start);
    }
}

async fn stage(change: impl FnOnce(&mut Config) + 'static) -> (Stage, Peer) {
    let peer = Peer::open().await;
    let address = peer.address();
    let build = Stage::build().config(move |config, _: &[SocketAddr]| {
        let pool = settings::pool("main", &[address]);
        config.pools.insert(Arc::clone(&pool.name), pool);
        change(config);
    });
    (build.start().await, peer)
}

fn change(config: &mut Config, change: impl Fn(&mut tidegate::config::RoutePolicy)) {
    for site in &mut config.sites {
        change(Arc::make_mut(&mut site.defaults));
    }
}

/// A client and an origin in another protocol.
async fn gone_over(stage: &Stage, peer: &Peer) -> (Connection, Connection) {
    let mut client = stage.client().connect().await;
    client.write(&asking("")).await;
    let mut origin = peer.taken().await;
    origin.head().await;
    origin.write(GOES_OVER).await;
    let Head { start, .. } = client.head().await;
    assert_eq!(start, "HTTP/1.1 101 Switching Protocols");
    (client, origin)
}

fn asking(lines: &str) -> Vec<u8> {
    request("GET", "1.1", &format!("Connection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n{lines}"), "")
}

fn request(method: &str, version: &str, lines: &str, body: &str) -> Vec<u8> {
    format!("{method} /chat HTTP/{version}\r\nHost: {HOST}\r\n{lines}\r\n{body}").into_bytes()
}

const GOES_OVER: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
/// Of `swordfish`.
const SWORDFISH: &str = "$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.";
