//! What is not stored, encoded as it goes: in the coding that the client takes, at the pace of origin and client, and never whole
//! where it is not.

use std::io::Read;
use std::sync::Arc;

use cache_store::rules::Coding;
use tidegate::config::encode::{TypePattern, Unstored};
use tidegate::config::limits::ENCODE_PASSING_MAX;
use tidegate::config::{Encode, LogFormat, LogTarget};
use tidegate::encode::PassingFigures;

use crate::stage::answer::Answer;
use crate::stage::client::Client;
use crate::stage::directory::Directory;
use crate::stage::gate::Gate;
use crate::stage::h2::{H2Client, Identity};
use crate::stage::origin::Seen;
use crate::stage::peer::Peer;
use crate::stage::region::Region;
use crate::stage::reply::{Frame, Reply, Trouble, reply};
use crate::stage::settings::{HOST, encrypted};
use crate::stage::{Builder, Stage, secs};

const CODINGS: [&str; 3] = ["br", "zstd", "gzip"];

#[tokio::test]
async fn what_is_not_stored_is_encoded_as_it_goes() {
    let stage = encoding(Unstored::Anonymous).start().await;
    let (short, long) = (text(40), text(9000));
    for (name, body) in [("short", &short), ("long", &long)] {
        for frame in [Frame::Length, Frame::Chunks(5000), Frame::Close] {
            let target = format!("/{name}/{frame:?}");
            stage.origin("a").on(&target, [page().body(body.clone()).framed(frame)]);
            for coding in CODINGS {
                let answer = ask(&stage, coding).get(&target).await;
                encoded(&answer, coding, body)
                    .has("vary", "accept-encoding")
                    .has("etag", "W/\"1\"")
                    .has("content-type", "text/html")
                    .lacks("accept-ranges")
                    .cache_status("fwd=uri-miss; fwd-status=200; detail=no-store");
                // One that came whole may keep a length.
                assert!(name == "short" || answer.field("content-length").is_none(), "{target}");
                assert!(answer.body.len() < body.len() / 3, "{target}: {}", answer.body.len());
            }
            ask(&stage, "identity").get(&target).await.expect(200, body).has("etag", "\"1\"");
        }
    }
    let figures = figures(&stage);
    assert_eq!((figures.open, figures.begun, figures.plain), (0, 18, 0));
    assert!(figures.bytes_out < figures.bytes_in / 3, "{figures:?}");
    assert_eq!(stage.edge().encoders.figures().made, [0; 3]);
}

#[tokio::test]
async fn what_is_short_and_comes_whole_keeps_a_length_or_goes_as_it_is_where_nothing_is_gained() {
    let peer = Peer::open().await;
    let stage = peer.stage(encoding(Unstored::Anonymous)).await;
    let (page, noise) = (text(40).into_bytes(), noise(2000));
    for (body, is_encoded) in [(&page, true), (&noise, false)] {
        for (coding, version) in [("br", "1.1"), ("zstd", "1.1"), ("gzip", "1.1"), ("gzip", "1.0")] {
            let mut client = stage.client().connect().await;
            let asked = format!("GET /x HTTP/{version}\r\nHost: {HOST}\r\nAccept-Encoding: {coding}\r\n\r\n");
            client.write(asked.as_bytes()).await;
            let mut origin = peer.taken().await;
            origin.head().await;
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            origin.write(&[head.as_bytes(), body].concat()).await;
            let answer = client.answer("GET").await;
            answer.expect_status(200).has("content-length", &answer.body.len().to_string());
            assert_eq!(answer.field("content-encoding").is_some(), is_encoded, "{coding}");
            let came = if is_encoded { decoded(coding, &answer.body) } else { (answer.body.clone(), true) };
            assert!(came == (body.clone(), true), "{coding}");
            drop(origin);
        }
    }
}

#[tokio::test]
async fn answers_to_posts_and_pages_with_cookies_and_passes_are_too() {
    let site = "encode = { unstored = \"all\" }\n[[site.route]]\npath = \"/off/*\"\ncache = \"off\"\n";
    let stage = Stage::build().site(site).start().await;
    let body = text(900);
    stage.origin("a").on("*", [page().body(body.clone())]);
    stage.origin("a").on("/mine", [of_type("max-age=60").field("set-cookie", "id=1").body(body.clone())]);
    stage.origin("a").on("/private", [of_type("private, max-age=60").body(body.clone())]);
    stage.origin("a").on("/missing", [with_status(404, page().body(body.clone()))]);
    let client = ask(&stage, "gzip");
    encoded(&client.post("/form", "a=b").await, "gzip", &body);
    encoded(&client.get("/off/x").await, "gzip", &body).cache_status_has("fwd=bypass");
    encoded(&client.get("/private").await, "gzip", &body);
    encoded(&client.get("/mine").await, "gzip", &body).has("set-cookie", "id=1");
    let missing = client.get("/missing").await;
    assert_eq!((missing.status, plain(&missing)), (404, (body.clone(), true)));
    encoded(&client.header("cookie", "id=1").get("/mine").await, "gzip", &body);
}

/// BREACH: a page with a secret of its reader's is not encoded where somebody else may have a word in it.
#[tokio::test]
async fn whoever_shows_who_they_are_gets_it_plain_unless_the_settings_say_all() {
    for (unstored, anonymous, named) in
        [(Unstored::Off, false, false), (Unstored::Anonymous, true, false), (Unstored::All, true, true)]
    {
        let stage = encoding(unstored).start().await;
        let body = text(900);
        stage.origin("a").on("*", [page().body(body.clone())]);
        let asked = [
            (ask(&stage, "gzip"), anonymous),
            (ask(&stage, "gzip").header("cookie", "session=1"), named),
            (ask(&stage, "gzip").header("authorization", "Bearer x"), named),
        ];
        for (client, is_encoded) in asked {
            let answer = client.get("/x").await;
            assert_eq!(answer.field("content-encoding").is_some(), is_encoded, "{unstored:?}");
            assert_eq!(plain(&answer), (body.clone(), true), "{unstored:?}");
            let url = format!("/v1/explain?url=http://{HOST}/x&header=accept-encoding:%20gzip");
            let told = stage.operator().get(&url).await.text();
            assert_eq!(told.contains("\"encoding_if_not_stored\":\"gzip\""), anonymous, "{told}");
        }
    }
}

#[tokio::test]
async fn what_must_stay_as_it_is_does() {
    let named = Encode {
        types: ["text/*", "application/*"].iter().filter_map(|text| TypePattern::parse(text)).collect(),
        ..Encode::usual()
    };
    let stage = Stage::build().policy(|policy| policy.encode = Some(Arc::new(named))).start().await;
    let body = text(900);
    let plain = |control: &str, kind: &str| {
        reply(200).cache_control(control).field("content-type", kind).body(body.clone())
    };
    let rows: [(&str, Reply, bool); 9] = [
        ("/typeless", reply(200).cache_control("no-store").body(body.clone()), false),
        ("/image", plain("no-store", "image/png"), false),
        ("/no-transform", plain("no-store, no-transform", "text/html"), false),
        ("/zipped", page().field("content-encoding", "gzip").body(body.clone()), true),
        ("/other", page().field("content-encoding", "compress").body(body.clone()), false),
        ("/short", page().body("short"), false),
        ("/empty", page(), false),
        ("/events", plain("no-store", "text/event-stream"), false),
        ("/grpc", plain("no-store", "application/grpc+proto"), false),
    ];
    for (target, answer, varies) in rows {
        let was = answer.body.clone();
        stage.origin("a").on(target, [answer]);
        let told = ask(&stage, "gzip").get(target).await;
        assert!(told.expect_status(200).body == was, "{target}");
        assert_eq!(told.field("vary").is_some(), varies, "{target}");
        let encoding = told.field("content-encoding");
        assert_eq!(encoding.is_some(), ["/zipped", "/other"].contains(&target), "{target}: {encoding:?}");
        told.has("content-length", &was.len().to_string());
    }
    stage.origin("a").on("/x", [page().body(body.clone())]);
    let client = ask(&stage, "gzip").header("cache-control", "no-transform");
    client.get("/x").await.expect(200, &body).lacks("content-encoding").has("vary", "accept-encoding");
    // The end of the connection is no end that a client of HTTP/1.0 could tell from a cut.
    let old = format!("GET /x HTTP/1.0\r\nHost: {HOST}\r\nAccept-Encoding: gzip\r\n\r\n");
    stage.client().raw(old).await.expect(200, &body).lacks("content-encoding").has("etag", "\"1\"");
    assert_eq!(figures(&stage), PassingFigures::default());
}

#[tokio::test]
async fn heads_parts_and_confirmations_say_what_the_whole_would() {
    let stage = encoding(Unstored::All).start().await;
    let body = text(900);
    let page_body = body.clone();
    let page = move || page().field("last-modified", "Mon, 02 Nov 2026 08:00:00 GMT").body(page_body.clone());
    stage.origin("a").on("/x", [page().confirms().ranged()]);
    let client = ask(&stage, "gzip");
    for method in ["POST", "HEAD"] {
        let answer = client.request(method, "/x", b"").await;
        answer.has("content-encoding", "gzip").has("etag", "W/\"1\"").has("vary", "accept-encoding");
        assert!(method == "POST" || answer.field("content-length").is_none());
    }
    let site = "encode = { unstored = \"all\" }\ncache = \"off\"\n";
    let stage = Stage::build().site(site).start().await;
    stage.origin("a").answers("/x", move |seen: &Seen| {
        // An origin that compares as the standard says: weakly.
        let names_weak = seen.field("if-none-match").as_deref() == Some("W/\"1\"");
        if names_weak { with_status(304, page()) } else { page().confirms().ranged() }
    });
    let client = ask(&stage, "gzip");
    let confirmed = client.clone().header("if-none-match", "W/\"1\"").get("/x").await;
    confirmed.expect(304, "").has("etag", "W/\"1\"").has("vary", "accept-encoding");
    let strong = client.clone().header("if-none-match", "\"1\"").get("/x").await;
    strong.expect(304, "").has("etag", "\"1\"");
    let part = client.clone().header("range", "bytes=2-5").get("/x").await;
    part.expect(206, &body[2..=5]).lacks("content-encoding").has("etag", "\"1\"");
    // By its tag, of the bytes as they are.
    let tagged = client.clone().header("range", "bytes=2-5").header("if-range", "\"1\"").get("/x").await;
    tagged.expect(206, &body[2..=5]);
    // By a date, which both have: what it has the beginning of may have been encoded.
    let date = "Mon, 02 Nov 2026 08:00:00 GMT";
    let dated = |client: Client| client.header("range", "bytes=2-5").header("if-range", date).get("/x");
    let asked = || stage.origin("a").seen().last().and_then(|seen| seen.field("range"));
    encoded(&dated(client).await, "gzip", &body);
    assert_eq!(asked(), None);
    dated(stage.client()).await;
    assert_eq!(asked().as_deref(), Some("bytes=2-5"));
}

/// The stage's clock stands: nothing but the origin's pause makes the first part come.
#[tokio::test]
async fn what_came_before_an_origin_pauses_is_with_the_client() {
    let types = ["text/*", "text/event-stream"];
    let named = Encode {
        types: types.iter().filter_map(|text| TypePattern::parse(text)).collect(),
        ..Encode::usual()
    };
    let stage = Stage::build().policy(|policy| policy.encode = Some(Arc::new(named))).start().await;
    for kind in ["text/html", "text/event-stream"] {
        for coding in CODINGS {
            let gate = Gate::shut();
            let events = "data: 1\n\ndata: 2\n\n";
            let answer = reply(200).cache_control("no-store").field("content-type", kind).body(events);
            stage.origin("a").on("/x", [answer.framed(Frame::Chunks(4)).pause(9, &gate)]);
            let mut client = stage.client().connect().await;
            let asked = format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: {coding}\r\n\r\n");
            client.write(asked.as_bytes()).await;
            assert_eq!(client.head().await.field("content-encoding").as_deref(), Some(coding));
            let mut body = Vec::new();
            while decoded(coding, &body).0 != b"data: 1\n\n" {
                body.extend_from_slice(&chunk(&mut client).await);
            }
            gate.open();
            loop {
                let more = chunk(&mut client).await;
                if more.is_empty() {
                    break;
                }
                body.extend_from_slice(&more);
            }
            assert_eq!(decoded(coding, &body), (events.as_bytes().to_vec(), true), "{coding}");
        }
    }
}

#[tokio::test]
async fn a_body_that_is_cut_never_looks_whole() {
    let (stage, identity) = secure().await;
    let client = H2Client::connect(stage.address(), &identity).await;
    let body = text(400);
    for coding in CODINGS {
        for (nth, trouble) in
            [Trouble::Truncates(1), Trouble::Truncates(3000), Trouble::ResetsAt(3000)].into_iter().enumerate()
        {
            for framing in [Frame::Length, Frame::Chunks(500)] {
                let target = format!("/{coding}/{nth}/{}", framing == Frame::Length);
                let cut = page().body(body.clone()).framed(framing).but(trouble.clone());
                stage.origin("a").on(&target, [cut]);
                let answer = client.get_with(&target, &[("accept-encoding", coding)]).await;
                assert!(answer.status == 502 || answer.was_cut(), "{target}: {answer:?}");
                if answer.status == 200 {
                    let (came, whole) = decoded(coding, &answer.body);
                    assert!(!whole && body.as_bytes().starts_with(&came), "{target}");
                }
            }
        }
    }
    let stage = encoding(Unstored::Anonymous).start().await;
    for coding in CODINGS {
        for at in [1, 3000] {
            let cut = page().body(body.clone()).framed(Frame::Chunks(500)).but(Trouble::Truncates(at));
            stage.origin("a").on("/x", [cut]);
            let answer = ask(&stage, coding).get("/x").await;
            assert!(answer.status == 502 || answer.was_cut(), "{coding}: {answer:?}");
            // A failure is told in words of ours, which are not encoded.
            let is_whole = answer.status == 200 && decoded(coding, &answer.body).1;
            assert!(!is_whole, "{coding}: {answer:?}");
        }
    }
    stage.until(|_| figures(&stage).open == 0).await;
}

#[tokio::test]
async fn it_is_the_same_over_http_2() {
    let (stage, identity) = secure().await;
    let client = H2Client::connect(stage.address(), &identity).await;
    let body = text(9000);
    stage.origin("a").on("/x", [page().body(body.clone())]);
    stage.origin("a").on("/chunks", [page().body(body.clone()).framed(Frame::Chunks(3000))]);
    for coding in CODINGS {
        for target in ["/x", "/chunks"] {
            let fields = [("accept-encoding", coding)];
            let asked: Vec<_> = (0..8).map(|_| tokio::spawn(client.get_with(target, &fields))).collect();
            for answer in asked {
                let answer = answer.await.expect("no panic");
                encoded(&answer, coding, &body).lacks("content-length").has("etag", "W/\"1\"");
            }
        }
    }
}

/// One that cannot be compressed, so that what the client does not read stays with the origin.
#[tokio::test]
async fn a_client_that_does_not_read_stops_the_origin() {
    let peer = Peer::open().await;
    let stage = peer.stage(encoding(Unstored::Anonymous)).await;
    let mut client = stage.client().connect().await;
    client
        .write(format!("GET /x HTTP/1.1\r\nHost: {HOST}\r\nAccept-Encoding: zstd\r\n\r\n").as_bytes())
        .await;
    let mut origin = peer.taken().await;
    origin.head().await;
    let piece = noise(1 << 20);
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nCache-Control: no-store\r\nContent-Length: {}\r\n\r\n",
        64 << 20
    );
    let sent = piece.clone();
    let sending = tokio::spawn(async move {
        origin.write(head.as_bytes()).await;
        for _ in 0..64 {
            origin.write(&sent).await;
        }
        origin
    });
    let taken = stage.until_still(|| figures(&stage).bytes_in).await;
    assert!(taken < 32 << 20, "{taken} bytes were taken for a client that reads none");
    assert!(!sending.is_finished());
    let answer = client.answer("GET").await;
    let (body, whole) = decoded("zstd", &answer.body);
    assert!(whole && body.len() == 64 << 20 && body.chunks(1 << 20).all(|one| one == piece));
    drop(sending.await.expect("no panic"));
}

#[tokio::test]
async fn more_than_so_many_at_once_go_as_they_are() {
    let stage = encoding(Unstored::Anonymous).config(|config, _| config.workers = 1).start().await;
    let gate = Gate::shut();
    let body = text(900);
    stage.origin("a").on("/held", [page().body(body.clone()).pause(500, &gate)]);
    stage.origin("a").on("/x", [page().body(body.clone()).framed(Frame::Chunks(700))]);
    let held: Vec<_> = (0..ENCODE_PASSING_MAX).map(|_| ask(&stage, "gzip").get("/held")).collect();
    stage.until(|_| figures(&stage).open == ENCODE_PASSING_MAX as u64).await;
    let answer = ask(&stage, "gzip").get("/x").await;
    answer.expect(200, &body).lacks("content-encoding").has("vary", "accept-encoding").has("etag", "\"1\"");
    let figures_then = figures(&stage);
    assert_eq!((figures_then.begun, figures_then.plain), (ENCODE_PASSING_MAX as u64, 1));
    let metrics = stage.operator().get("/metrics").await.text();
    for line in [
        format!("tidegate_encoding_unstored {ENCODE_PASSING_MAX}"),
        format!("tidegate_encoding_unstored_total {ENCODE_PASSING_MAX}"),
        "tidegate_encoding_unstored_plain_total 1".to_owned(),
    ] {
        assert!(metrics.lines().any(|one| one == line), "{line}: {metrics}");
    }
    gate.open();
    for answer in held {
        encoded(&answer.await, "gzip", &body);
    }
    stage.until(|_| figures(&stage).open == 0).await;
    encoded(&ask(&stage, "gzip").get("/x").await, "gzip", &body);
    // Who leaves gives the place back.
    let gate = Gate::shut();
    stage.origin("a").on("/held", [page().body(body.clone()).pause(500, &gate)]);
    let left = ask(&stage, "gzip").get("/held");
    stage.until(|_| figures(&stage).open == 1).await;
    left.leave();
    stage.until(|_| figures(&stage).open == 0).await;
}

#[tokio::test]
async fn trailers_follow_what_is_encoded() {
    let peer = Peer::open().await;
    let stage = peer.stage(encoding(Unstored::Anonymous)).await;
    let mut client = stage.client().connect().await;
    let asked = "TE: trailers\r\nConnection: TE\r\nAccept-Encoding: gzip\r\n\r\n";
    client
        .write(format!("POST /x HTTP/1.1\r\nHost: {HOST}\r\nContent-Length: 0\r\n{asked}").as_bytes())
        .await;
    let mut origin = peer.taken().await;
    origin.head().await;
    let body = text(20);
    let head = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n";
    let rest = format!("{:x}\r\n{body}\r\n0\r\nX-Sum: 7\r\n\r\n", body.len());
    origin.write(head.as_bytes()).await;
    assert_eq!(client.head().await.field("content-encoding").as_deref(), Some("gzip"));
    origin.write(rest.as_bytes()).await;
    let mut came = Vec::new();
    loop {
        let size = chunk_size(&mut client).await;
        if size == 0 {
            break;
        }
        came.extend_from_slice(&client.read(size + 2).await[..size]);
    }
    assert_eq!(decoded("gzip", &came), (body.into_bytes(), true));
    assert_eq!(client.read_to(b"\r\n\r\n").await.to_ascii_lowercase(), "x-sum: 7\r\n\r\n");
}

#[tokio::test]
async fn a_parent_leaves_it_to_its_child() {
    let region = Region::build()
        .policy(|policy| policy.encode = Some(Arc::new(Encode::usual())))
        .node("p", &[])
        .node("c", &["p"])
        .start()
        .await;
    region.follow_all();
    let body = text(900);
    region.origin("a").on("/x", [page().body(body.clone())]);
    let answer = region.client("c").header("accept-encoding", "gzip").get("/x").await;
    encoded(&answer, "gzip", &body);
    assert_eq!(region.edge("p").encoders.figures().passing, PassingFigures::default());
    assert_eq!(region.edge("c").encoders.figures().passing.begun, 1);
}

#[tokio::test]
async fn the_log_says_in_which_coding_it_went() {
    let directory = Directory::new();
    let path = directory.path().join("access.log");
    let log = path.clone();
    let build = encoding(Unstored::Anonymous).config(move |config, _| {
        config.log.target = LogTarget::File(log);
        config.log.format = LogFormat::Json;
    });
    let stage = build.start().await;
    let body = text(40);
    stage.origin("a").on("/x", [page().body(body.clone())]);
    let answer = ask(&stage, "zstd").get("/x").await;
    encoded(&answer, "zstd", &body);
    let told = || std::fs::read_to_string(&path).unwrap_or_default();
    stage
        .until(|_| {
            stage.clock.advance(secs(1));
            stage.observe().log.finish(secs(10));
            !told().is_empty()
        })
        .await;
    let line: serde_json::Value = serde_json::from_str(told().trim()).expect("a line is JSON");
    assert_eq!((&line["encoding"], &line["bytes"]), (&"zstd".into(), &answer.body.len().into()), "{line}");
    // Known when the line is begun only of what was here whole; what the origin said in two breaths is counted by the metrics alone.
    let saved = answer.field("content-length").map(|_| body.len() - answer.body.len());
    assert_eq!(line["saved_bytes"], serde_json::json!(saved), "{line}");
}

fn encoding(unstored: Unstored) -> Builder {
    let encode = Encode { unstored, ..Encode::usual() };
    Stage::build().policy(move |policy| policy.encode = Some(Arc::new(encode)))
}

async fn secure() -> (Stage, Identity) {
    let identity = Identity::new();
    let (cert, key) = (identity.cert.clone(), identity.key.clone());
    let build =
        encoding(Unstored::Anonymous).config(move |config, _| config.listeners = vec![encrypted(cert, key)]);
    (build.start().await, identity)
}

fn ask(stage: &Stage, accepted: &str) -> Client {
    stage.client().header("accept-encoding", accepted)
}

fn figures(stage: &Stage) -> PassingFigures {
    stage.edge().encoders.figures().passing
}

/// A page that is not to be stored.
fn page() -> Reply {
    of_type("no-store")
}

fn with_status(status: u16, mut reply: Reply) -> Reply {
    reply.status = status;
    reply
}

fn of_type(control: &str) -> Reply {
    reply(200)
        .cache_control(control)
        .field("content-type", "text/html")
        .field("accept-ranges", "bytes")
        .etag("\"1\"")
}

#[track_caller]
fn encoded<'a>(answer: &'a Answer, coding: &str, body: &str) -> &'a Answer {
    answer.expect_status(200).has("content-encoding", coding);
    assert!(plain(answer) == (body.to_owned(), true), "{answer:?}");
    answer
}

/// The body in no coding, and whether it is whole.
fn plain(answer: &Answer) -> (String, bool) {
    let Some(coding) = answer.field("content-encoding") else { return (answer.text(), true) };
    let (body, whole) = decoded(&coding, &answer.body);
    (String::from_utf8_lossy(&body).into_owned(), whole)
}

/// As much as can be decoded, and whether it ends as its coding does.
fn decoded(coding: &str, bytes: &[u8]) -> (Vec<u8>, bool) {
    let mut out = Vec::new();
    let mut read = |from: &mut dyn Read| {
        let mut some = [0; 4096];
        loop {
            match from.read(&mut some) {
                Ok(0) => return true,
                Ok(count) => out.extend_from_slice(&some[..count]),
                Err(_) => return false,
            }
        }
    };
    let whole = match Coding::named(coding.as_bytes()).expect("one that we make") {
        Coding::Brotli => read(&mut brotli::Decompressor::new(bytes, 4096)),
        Coding::Zstd => read(&mut zstd::stream::read::Decoder::new(bytes).expect("a decoder")),
        Coding::Gzip => read(&mut flate2::read::GzDecoder::new(bytes)),
    };
    (out, whole && !bytes.is_empty())
}

/// The next chunk of a body; empty at its end.
async fn chunk(client: &mut crate::stage::client::Connection) -> Vec<u8> {
    let size = chunk_size(client).await;
    let mut bytes = client.read(size + 2).await;
    bytes.truncate(size);
    bytes
}

async fn chunk_size(client: &mut crate::stage::client::Connection) -> usize {
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.extend_from_slice(&client.read(1).await);
    }
    let digits = String::from_utf8_lossy(&line).trim().to_owned();
    usize::from_str_radix(&digits, 16).unwrap_or_else(|_| panic!("no size of a chunk: {digits}"))
}

fn text(lines: u32) -> String {
    let line = |line: u32| format!("<p>line {} of the page, and {line} more</p>\n", line * 7 % 61);
    (0..lines).map(line).collect()
}

fn noise(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(length).collect()
}
