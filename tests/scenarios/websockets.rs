//! WebSocket over HTTP/2 (RFC 8441): a stream of a client and a connection of an origin become one tunnel, with the bounds of both.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::SendRequest;
use h2::ext::Protocol;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response};

use crate::stage::client::{Connection, within};
use crate::stage::directory::Directory;
use crate::stage::h2::{Identity, tls};
use crate::stage::peer::Peer;
use crate::stage::settings::{self, HOST, encrypted};
use crate::stage::wire::{End, Head};
use crate::stage::{Stage, secs};
use tidegate::config::access::{Access, Basic};
use tidegate::config::{Config, LogFormat, LogTarget};

/// Both halves of a client's stream.
struct Socket {
    send: SendStream<Bytes>,
    body: RecvStream,
    unread: Vec<u8>,
}

#[tokio::test]
async fn both_sides_speak_once_the_origin_has_gone_over() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let fields = [("sec-websocket-version", "13"), ("sec-websocket-protocol", "chat"), ("cookie", "a=1")];
    let asked = ask(&mut client, "websocket", "/chat?room=1", &fields).await;
    let mut origin = peer.taken().await;
    let head = origin.head().await;
    assert_eq!(head.start, "GET /chat?room=1 HTTP/1.1");
    for (name, value) in [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-protocol", "chat"),
        ("cookie", "a=1"),
        ("host", HOST),
        ("via", "2 stage"),
        ("x-forwarded-proto", "https"),
    ] {
        assert_eq!(head.field(name).as_deref(), Some(value), "{name}");
    }
    let key = head.field("sec-websocket-key").expect("one of the node's");
    assert_eq!(key.len(), 24, "sixteen bytes in Base64");
    // The first of the other protocol comes with the head.
    origin.write(&[goes_over(&head, "Sec-WebSocket-Protocol: chat\r\n").as_slice(), b"hello"].concat()).await;
    let (answer, mut socket) = asked.answered().await;
    assert_eq!(answer.status(), 200);
    let field = |name: &str| answer.headers().get(name).and_then(|value| value.to_str().ok());
    assert_eq!(field("sec-websocket-protocol"), Some("chat"));
    assert_eq!(field("cache-status"), Some("stage; fwd=bypass; fwd-status=101; detail=upgrade"));
    for name in ["sec-websocket-accept", "upgrade", "connection", "content-length", "vary"] {
        assert_eq!(field(name), None, "{name}");
    }
    assert_eq!(socket.read(5).await, b"hello");
    for round in 0..50_u8 {
        socket.write(vec![round; 100]).await;
        assert_eq!(origin.read(100).await, [round; 100]);
        origin.write(&[round, 0, b'\r', b'\n']).await;
        assert_eq!(socket.read(4).await, [round, 0, b'\r', b'\n']);
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
    socket.end();
    assert_eq!(origin.rest().await, (Vec::new(), End::Clean));
    drop(origin);
    assert_eq!(socket.rest().await, Ok(Vec::new()));
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

#[tokio::test]
async fn a_side_that_has_ended_still_hears_the_other() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    socket.write(&b"last words"[..]).await;
    socket.end();
    assert_eq!(origin.read(10).await, b"last words");
    assert!(within(origin.is_at_end()).await);
    origin.write(b"a long answer").await;
    assert_eq!(socket.read(13).await, b"a long answer");
    origin.shut().await;
    assert_eq!(socket.rest().await, Ok(Vec::new()));
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    origin.write(b"last words").await;
    origin.shut().await;
    assert_eq!(socket.rest().await, Ok(b"last words".to_vec()));
    socket.write(&b"a long answer"[..]).await;
    assert_eq!(origin.read(13).await, b"a long answer");
    socket.end();
    assert!(within(origin.is_at_end()).await);
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

#[tokio::test]
async fn a_side_that_breaks_takes_the_other_with_it_and_no_other_stream() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let (mut kept, mut keeper) = gone_over(&mut client, &peer).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    socket.send.send_reset(Reason::CANCEL);
    origin.rest().await;
    let (mut socket, origin) = gone_over(&mut client, &peer).await;
    origin.reset();
    assert_eq!(socket.rest().await, Err(Some(Reason::CANCEL)));
    kept.write(&b"still"[..]).await;
    assert_eq!(keeper.read(5).await, b"still");
    keeper.write(b"here").await;
    assert_eq!(kept.read(4).await, b"here");
    stage.until(|_| stage.edge().origins.tunnels().open == 1).await;
    // The connection with all its streams.
    drop((kept, client));
    keeper.rest().await;
    stage.until(|_| stage.edge().origins.tunnels().open == 0).await;
}

/// A success is a tunnel, so what is none must not be one.
#[tokio::test]
async fn what_leaves_a_doubt_is_no_tunnel() {
    let right = "Upgrade: websocket\r\nConnection: upgrade\r\n";
    let rows: [(&str, &str, u16); 8] = [
        ("no proof", "HTTP/1.1 101 Go\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n", 502),
        (
            "another's proof",
            "HTTP/1.1 101 Go\r\n{right}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
            502,
        ),
        (
            "two proofs",
            "HTTP/1.1 101 Go\r\n{right}Sec-WebSocket-Accept: {proof}\r\nSec-WebSocket-Accept: {proof}\r\n\r\n",
            502,
        ),
        (
            "another protocol",
            "HTTP/1.1 101 Go\r\nUpgrade: tcp\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {proof}\r\n\r\n",
            502,
        ),
        ("a status alone", "HTTP/1.1 101 Go\r\n\r\n", 502),
        ("a page", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 502),
        ("a refusal", "HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\nno", 403),
        ("a redirect", "HTTP/1.1 302 Go\r\nLocation: /login\r\nContent-Length: 0\r\n\r\n", 302),
    ];
    for (claim, text, status) in rows {
        let (_stage, peer, mut client) = stage(|_| {}).await;
        let asked = ask(&mut client, "websocket", "/chat", &[]).await;
        let mut origin = peer.taken().await;
        let head = origin.head().await;
        let proof = proof_of(&head);
        origin.write(text.replace("{right}", right).replace("{proof}", &proof).as_bytes()).await;
        let (answer, _) = asked.answered().await;
        assert_eq!(answer.status(), status, "{claim}");
        if status == 502 {
            assert_eq!(origin.rest().await.0, b"", "{claim}");
        }
    }
}

#[tokio::test]
async fn where_nobody_goes_over_the_client_is_told_so() {
    let (stage, peer, mut client) =
        stage(|config| change(config, |policy| policy.upgrade = Arc::default())).await;
    let (answer, _) = ask(&mut client, "websocket", "/chat", &[]).await.answered().await;
    assert_eq!(answer.status(), 501);
    let (answer, _) = ask(&mut client, "connect-udp", "/chat", &[]).await.answered().await;
    assert_eq!(answer.status(), 501);
    assert_eq!(stage.edge().origins.tunnels().begun, 0);
    drop(peer);
    // A page of the node's own is no tunnel either.
    let site = "respond = { status = 200, body = \"hello\" }\n";
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let stage = Stage::build()
        .site(site)
        .config(|config, _| config.listeners = vec![encrypted(cert, key)])
        .start()
        .await;
    let mut client = connect(stage.address(), &identity).await;
    let (answer, _) = ask(&mut client, "websocket", "/chat", &[]).await.answered().await;
    assert_eq!(answer.status(), 501);
}

#[tokio::test]
async fn rules_of_access_hold_for_it() {
    let directory = Directory::new();
    let users = directory.path().join("users");
    std::fs::write(&users, format!("ann:{SWORDFISH}\n")).expect("it is written");
    let basic = Basic { users, realm: "staging".into(), forward: false };
    let access = Arc::new(Access { basic: Some(Arc::new(basic)), ..Access::default() });
    let (_stage, peer, mut client) =
        stage(move |config| change(config, |policy| policy.access = Some(access.clone()))).await;
    for password in [None, Some("Basic YW5uOnN3b3Jk")] {
        let fields: Vec<_> = password.map(|password| ("authorization", password)).into_iter().collect();
        let (answer, _) = ask(&mut client, "websocket", "/chat", &fields).await.answered().await;
        assert_eq!(answer.status(), 401, "{password:?}");
    }
    for claim in ["to be verified", "known"] {
        let fields = [("authorization", "Basic YW5uOnN3b3JkZmlzaA==")];
        let asked = ask(&mut client, "websocket", "/chat", &fields).await;
        let mut origin = peer.taken().await;
        let head = origin.head().await;
        assert_eq!(head.field("authorization"), None, "{claim}");
        origin.write(&goes_over(&head, "")).await;
        assert_eq!(asked.answered().await.0.status(), 200, "{claim}");
    }
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_ended_and_one_that_is_used_is_not() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    // Far longer than any request may take, in steps shorter than the limit.
    for _ in 0..20 {
        stage.clock.advance(secs(8 * 60));
        socket.write(&b"ping"[..]).await;
        assert_eq!(origin.read(4).await, b"ping");
        stage.clock.advance(secs(8 * 60));
        origin.write(b"pong").await;
        assert_eq!(socket.read(4).await, b"pong");
    }
    let ending = tokio::spawn(async move { socket.rest().await });
    stage
        .until(|_| {
            stage.clock.advance(secs(1));
            ending.is_finished()
        })
        .await;
    assert_eq!(ending.await.expect("no panic"), Err(Some(Reason::CANCEL)));
    assert_eq!(origin.rest().await.0, b"");
    // The connection goes on.
    gone_over(&mut client, &peer).await;
}

#[tokio::test]
async fn a_node_that_ends_gives_tunnels_a_little_time_and_no_more() {
    let (mut stage, peer, mut client) = stage(|_| {}).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    stage.drain();
    origin.write(b"still").await;
    assert_eq!(socket.read(5).await, b"still");
    stage.clock.advance(secs(8));
    origin.write(b"here").await;
    assert_eq!(socket.read(4).await, b"here");
    let before = stage.clock.now();
    let ending = tokio::spawn(async move { socket.rest().await });
    stage
        .until(|_| {
            stage.clock.advance(secs(1));
            ending.is_finished()
        })
        .await;
    assert_eq!(ending.await.expect("no panic"), Err(Some(Reason::CANCEL)));
    assert!(stage.clock.now().since(before) < secs(20), "it waited for the node to be cut");
    assert_eq!(origin.rest().await.0, b"");
    stage.shut_down().await;
}

#[tokio::test]
async fn a_side_that_does_not_read_holds_up_neither_the_other_way_nor_other_streams() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    let (mut other, mut others) = gone_over(&mut client, &peer).await;
    let piece: Vec<u8> = (0..1 << 20_u32).map(|n: u32| n.to_le_bytes()[1]).collect();
    let sent = piece.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            origin.write(&sent).await;
        }
        origin
    });
    let taken = stage.until_still(|| stage.edge().origins.tunnels().to_client_bytes).await;
    assert!(taken < 1 << 20, "{taken} bytes were taken for a client that reads none");
    assert!(!sending.is_finished());
    // Longer than any body may stand still.
    for _ in 0..10 {
        stage.clock.advance(secs(20));
        other.write(&b"ping"[..]).await;
        assert_eq!(others.read(4).await, b"ping");
        others.write(b"pong").await;
        assert_eq!(other.read(4).await, b"pong");
    }
    // The other way of the same tunnel.
    let before = stage.edge().origins.tunnels().to_origin_bytes;
    socket.write(&b"are you there?"[..]).await;
    stage.until(|_| stage.edge().origins.tunnels().to_origin_bytes == before + 14).await;
    for _ in 0..64 {
        assert!(socket.read(1 << 20).await == piece);
    }
    let mut origin = within(sending).await.expect("no panic");
    assert_eq!(origin.read(14).await, b"are you there?");
}

#[tokio::test]
async fn an_origin_that_does_not_read_stops_its_client() {
    let (stage, peer, mut client) = stage(|_| {}).await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    let (mut other, mut others) = gone_over(&mut client, &peer).await;
    let piece: Vec<u8> = (0..1 << 20_u32).map(|n: u32| n.to_le_bytes()[1]).collect();
    let sent = piece.clone();
    let sending = tokio::spawn(async move {
        for _ in 0..64 {
            socket.write(sent.clone()).await;
        }
        socket
    });
    let taken = stage.until_still(|| stage.edge().origins.tunnels().to_origin_bytes).await;
    assert!(taken < 32 << 20 && !sending.is_finished());
    other.write(&b"ping"[..]).await;
    assert_eq!(others.read(4).await, b"ping");
    for _ in 0..64 {
        assert!(origin.read(1 << 20).await == piece);
    }
    drop(within(sending).await.expect("no panic"));
}

#[tokio::test]
async fn more_tunnels_than_are_allowed_are_refused_and_requests_go_on() {
    let (stage, peer, mut client) = stage(|config| {
        for pool in config.pools.values_mut() {
            pool.transport.tunnels_max = 3;
            // They take none of these.
            pool.connections_max = 1;
        }
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..3 {
        held.push(gone_over(&mut client, &peer).await);
    }
    let mut asked = Vec::new();
    for _ in 0..200 {
        // As many as a connection may have open.
        asked.push(ask(&mut client, "websocket", "/chat", &[]).await);
        if asked.len() == 50 {
            for asked in asked.drain(..) {
                assert_eq!(asked.answered().await.0.status(), 503);
            }
        }
    }
    let page = tokio::spawn(get(client.clone(), "/page"));
    let mut origin = peer.taken().await;
    assert_eq!(origin.head().await.start, "GET /page HTTP/1.1");
    origin.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 4\r\n\r\npage").await;
    assert_eq!(page.await.expect("no panic"), (200, b"page".to_vec()));
    held.pop();
    stage.until(|_| stage.edge().origins.tunnels().open == 2).await;
    gone_over(&mut client, &peer).await;
}

/// FAULTS S11: bytes ahead of the answer go nowhere before it.
#[tokio::test]
async fn what_is_sent_ahead_waits_for_the_origin_to_go_over() {
    let (_stage, peer, mut client) = stage(|_| {}).await;
    for goes in [true, false] {
        let mut asked = ask(&mut client, "websocket", "/chat", &[]).await;
        let early = &b"GET /admin HTTP/1.1\r\nHost: x\r\n\r\n"[..];
        asked.send.send_data(early.into(), false).expect("the window takes it");
        let mut origin = peer.taken().await;
        let head = origin.head().await;
        assert!(origin.is_silent().await, "bytes came before the origin said anything");
        if goes {
            origin.write(&goes_over(&head, "")).await;
            let _socket = asked.answered().await;
            assert_eq!(origin.read(early.len()).await, early);
        } else {
            origin.write(b"HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n").await;
            assert_eq!(asked.answered().await.0.status(), 400);
            assert_eq!(within(origin.rest()).await, (Vec::new(), End::Clean));
        }
    }
}

#[tokio::test]
async fn the_log_tells_of_it_as_of_any_request() {
    let directory = Directory::new();
    let path = directory.path().join("access.log");
    let log = path.clone();
    let (stage, peer, mut client) = stage(move |config| {
        config.log.target = LogTarget::File(log);
        config.log.format = LogFormat::Json;
    })
    .await;
    let (mut socket, mut origin) = gone_over(&mut client, &peer).await;
    socket.write(&b"four"[..]).await;
    assert_eq!(origin.read(4).await, b"four");
    origin.write(b"five5").await;
    assert_eq!(socket.read(5).await, b"five5");
    socket.end();
    origin.shut().await;
    assert_eq!(socket.rest().await, Ok(Vec::new()));
    let told = || std::fs::read_to_string(&path).unwrap_or_default();
    stage
        .until(|_| {
            stage.clock.advance(secs(1));
            stage.observe().log.finish(secs(10));
            !told().is_empty()
        })
        .await;
    let line: serde_json::Value = serde_json::from_str(told().trim()).expect("a line is JSON");
    let expected = serde_json::json!({
        "method": "GET", "path": "/chat", "protocol": "HTTP/2", "status": 200, "bytes": 5, "received": 4,
        "cache": "pass", "reason": "upgrade",
    });
    for (name, value) in expected.as_object().expect("an object") {
        assert_eq!(&line[name], value, "{name} in {line}");
    }
    assert_eq!(line["complete"], serde_json::Value::Null, "{line}");
}

async fn stage(change: impl FnOnce(&mut Config) + 'static) -> (Stage, Peer, SendRequest<Bytes>) {
    let (peer, identity) = (Peer::open().await, Identity::new());
    let address = peer.address();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let build = Stage::build().config(move |config, _: &[SocketAddr]| {
        config.listeners = vec![encrypted(cert, key)];
        let pool = settings::pool("main", &[address]);
        config.pools.insert(Arc::clone(&pool.name), pool);
        change(config);
    });
    let stage = build.start().await;
    let client = connect(stage.address(), &identity).await;
    (stage, peer, client)
}

fn change(config: &mut Config, change: impl Fn(&mut tidegate::config::RoutePolicy)) {
    for site in &mut config.sites {
        change(Arc::make_mut(&mut site.defaults));
    }
}

/// A client that has heard that it may ask for other protocols.
async fn connect(address: SocketAddr, identity: &Identity) -> SendRequest<Bytes> {
    let io = tls(address, identity, b"").await;
    // One stream that is not read does not use up the connection's window.
    let mut builder = h2::client::Builder::new();
    let (client, connection) =
        builder.initial_connection_window_size(1 << 20).handshake(io).await.expect("a connection of HTTP/2");
    tokio::spawn(connection);
    let mut client = within(client.ready()).await.expect("it is open");
    let told = async {
        while !client.is_extended_connect_protocol_enabled() {
            tokio::task::yield_now().await;
        }
    };
    within(told).await;
    within(poll_fn(|cx| client.poll_ready(cx))).await.expect("it is open");
    client
}

/// A request under way.
struct Asked {
    response: h2::client::ResponseFuture,
    send: SendStream<Bytes>,
}

async fn ask(
    client: &mut SendRequest<Bytes>,
    protocol: &'static str,
    target: &str,
    fields: &[(&str, &str)],
) -> Asked {
    let mut request = Request::builder()
        .method(Method::CONNECT)
        .uri(format!("https://{HOST}{target}"))
        .extension(Protocol::from_static(protocol));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    within(poll_fn(|cx| client.poll_ready(cx))).await.expect("it is open");
    let request = request.body(()).expect("a request");
    let (response, send) = client.send_request(request, false).expect("it may be sent");
    Asked { response, send }
}

impl Asked {
    async fn answered(self) -> (Response<()>, Socket) {
        let (head, body) = within(self.response).await.expect("an answer").into_parts();
        (Response::from_parts(head, ()), Socket { send: self.send, body, unread: Vec::new() })
    }
}

impl Socket {
    async fn write(&mut self, bytes: impl Into<Bytes>) {
        let mut bytes = bytes.into();
        while !bytes.is_empty() {
            self.send.reserve_capacity(bytes.len());
            let room = poll_fn(|cx| self.send.poll_capacity(cx)).await;
            let Some(Ok(room)) = room else { panic!("the stream is over: {room:?}") };
            self.send.send_data(bytes.split_to(room.min(bytes.len())), false).expect("there is room");
        }
    }

    fn end(&mut self) {
        self.send.send_data(Bytes::new(), true).expect("it is open");
    }

    async fn read(&mut self, count: usize) -> Vec<u8> {
        let mut came = std::mem::take(&mut self.unread);
        while came.len() < count {
            let piece = within(self.body.data()).await.expect("more").expect("more");
            let _ = self.body.flow_control().release_capacity(piece.len());
            came.extend_from_slice(&piece);
        }
        self.unread = came.split_off(count);
        came
    }

    /// What still comes to its end; or why it was reset.
    async fn rest(&mut self) -> Result<Vec<u8>, Option<Reason>> {
        let mut came = std::mem::take(&mut self.unread);
        while let Some(piece) = within(self.body.data()).await {
            let piece = piece.map_err(|error| error.reason())?;
            let _ = self.body.flow_control().release_capacity(piece.len());
            came.extend_from_slice(&piece);
        }
        Ok(came)
    }
}

async fn get(mut client: SendRequest<Bytes>, target: &'static str) -> (u16, Vec<u8>) {
    let request = Request::get(format!("https://{HOST}{target}")).body(()).expect("a request");
    within(poll_fn(|cx| client.poll_ready(cx))).await.expect("it is open");
    let (response, send) = client.send_request(request, true).expect("it may be sent");
    let (head, body) = within(response).await.expect("an answer").into_parts();
    let mut socket = Socket { send, body, unread: Vec::new() };
    (head.status.as_u16(), socket.rest().await.expect("its end"))
}

/// A client and an origin in another protocol.
async fn gone_over(client: &mut SendRequest<Bytes>, peer: &Peer) -> (Socket, Connection) {
    let asked = ask(client, "websocket", "/chat", &[]).await;
    let mut origin = peer.taken().await;
    let head = origin.head().await;
    origin.write(&goes_over(&head, "")).await;
    let (answer, socket) = asked.answered().await;
    assert_eq!(answer.status(), 200);
    (socket, origin)
}

fn goes_over(head: &Head, more: &str) -> Vec<u8> {
    let proof = proof_of(head);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {proof}\r\n{more}\r\n"
    )
    .into_bytes()
}

/// RFC 6455 §4.2.2.
fn proof_of(head: &Head) -> String {
    use base64ct::{Base64, Encoding as _};
    let key = head.field("sec-websocket-key").expect("a key");
    let text = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let made = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    Base64::encode_string(made.as_ref())
}

/// Of `swordfish`.
const SWORDFISH: &str = "$2b$04$abcdefghijklmnopqrstuugIEnm3ZbWF6xb2GcoE3L1CoGJFMKtu.";
