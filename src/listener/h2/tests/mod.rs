//! HTTP/2 over memory, by hand-made frames: what reaches the service, what the client sees, and how it ends.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use cache_store::timestamp::Timestamp;
use http::StatusCode;
use http_body::Body as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, LocalSet, spawn_local};

use super::frame::{DATA, FrameHead, GOAWAY, HEAD_BYTES, HEADERS, RST_STREAM, WINDOW_UPDATE};
use super::*;
use crate::clock::Clock;
use crate::config::Limits;
use crate::config::limits::H2_HELD_HEAD_BYTES_MAX;
use crate::listener::deadline::Deadlines;
use crate::listener::fields::FieldId;
use crate::listener::h1::DateLine;
use crate::listener::request::{Client, Request, Scheme, Tls};
use crate::listener::service::{Finished, Served, refusal};
use crate::respond::response::{Body, Cut, Lines, Outcome, Response, Stream};
use crate::shutdown::Drain;

mod bounds;
mod conformance;
mod connect;
mod property;

#[path = "../../../../tests/framing/h2_cases.rs"]
#[allow(unreachable_pub)] // a scenario may use it too
mod h2_cases;

use h2_cases::{CASES, Expect, PREFACE, frame, section};

/// What the test service was asked and told.
#[derive(Default)]
struct Saw {
    served: Vec<(String, String)>,
    fields: Vec<Vec<(String, String)>>,
    refused: Vec<u16>,
    finished: Vec<Report>,
}

/// Target, status, body bytes, whole or not.
type Report = (String, u16, u64, bool);

/// Answers by path.
#[derive(Clone, Default)]
struct Scripted {
    saw: Rc<RefCell<Saw>>,
    bodies: Rc<RefCell<VecDeque<Pieces>>>,
}

type Pieces = mpsc::UnboundedReceiver<Result<Bytes, Cut>>;

struct Pushed(Pieces);

impl Stream for Pushed {
    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        self.0.poll_recv(cx)
    }
}

fn reply(body: Body) -> Response {
    Response {
        status: StatusCode::OK,
        extra: b"Age: 1\r\n".to_vec(),
        lines: Lines::Own(Bytes::from_static(b"Content-Type: text/plain\r\nConnection: close\r\n")),
        body,
        outcome: Outcome::default(),
        close: false,
    }
}

impl Service for Scripted {
    fn serve(&self, request: &mut Request) -> Served {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let (authority, target) = (text(request.authority()), text(request.target()));
        let mut saw = self.saw.borrow_mut();
        saw.served.push((authority, target.clone()));
        saw.fields.push(request.fields.lines().map(|line| (text(line.name), text(line.value))).collect());
        match target.as_str() {
            "/wait" => Served::later(std::future::pending()),
            "/panic" => panic!("asked to"),
            "/panic-later" => Served::later(async { panic!("asked to") }),
            "/pushed" | "/announced" => {
                let body = self.bodies.borrow_mut().pop_front().expect("a body was prepared");
                let length = (target == "/announced").then_some(4);
                Served::Now(reply(Body::Stream { length, source: Box::pin(Pushed(body)) }))
            }
            "/large" => Served::Now(reply(Body::Bytes(Bytes::from(vec![b'x'; 300_000])))),
            "/head" => Served::Now(reply(Body::Omitted(Some(7)))),
            _ => {
                let mut body = std::mem::take(&mut request.body);
                if body.is_empty() {
                    return Served::Now(reply(Body::Bytes(Bytes::from_static(b"hello"))));
                }
                // The status tells how the body ended: the client's test looks at it through `finished`.
                Served::later(async move {
                    let mut whole = true;
                    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                        whole &= frame.is_ok();
                    }
                    let mut response = reply(Body::Bytes(Bytes::from_static(b"hello")));
                    response.status = if whole { StatusCode::OK } else { StatusCode::IM_A_TEAPOT };
                    response
                })
            }
        }
    }

    fn finished(&self, request: &Request, finished: &Finished<'_>) {
        let target = String::from_utf8_lossy(request.target()).into_owned();
        self.saw.borrow_mut().finished.push((
            target,
            finished.status,
            finished.body_bytes,
            finished.complete,
        ));
    }

    fn refused(&self, status: StatusCode, reason: &'static str, _: &Arc<Client>) -> Response {
        self.saw.borrow_mut().refused.push(status.as_u16());
        refusal(status, reason)
    }
}

/// One connection with a client made of frames.
struct Stage {
    service: Scripted,
    clock: Clock,
    stats: Arc<ListenerStats>,
    deadlines: Deadlines,
    drain: Drain,
    io: DuplexStream,
    server: JoinHandle<Ended>,
}

impl Stage {
    fn with(limits: Limits) -> Self {
        let clock = Clock::manual(Timestamp::from_secs(1000));
        let (deadlines, drain, service) = (Deadlines::default(), Drain::default(), Scripted::default());
        let (io, theirs) = tokio::io::duplex(1 << 20);
        let context = ConnectionContext {
            clock: clock.clone(),
            limits: Arc::new(limits),
            deadline: deadlines.register(),
            client: Arc::new(Client::new(
                ([127, 0, 0, 1], 1).into(),
                Some(Tls { version: "TLSv1.3", server_name: Some("a.example".into()) }),
            )),
            scheme: Scheme::Https,
            drain: drain.clone(),
            date: Rc::new(DateLine::default()),
            buffers: Rc::default(),
        };
        let stats = Arc::new(ListenerStats::new(([127, 0, 0, 1], 1).into()));
        let (handler, counted) = (Rc::new(service.clone()), Arc::clone(&stats));
        let server = spawn_local(async move {
            Worker::default().serve_connection(theirs, handler, context, &counted).await
        });
        Self { service, clock, stats, deadlines, drain, io, server }
    }

    fn new() -> Self {
        Self::with(Limits::default())
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.io.write_all(bytes).await.expect("the server reads");
    }

    async fn get(&mut self, stream: u32, path: &str) {
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", path.as_bytes()),
        ];
        self.send(&frame(HEADERS, 5, stream, &section(fields))).await;
    }

    /// The next frame, or `None` at the end of the connection.
    async fn next(&mut self) -> Option<(FrameHead, Vec<u8>)> {
        let mut head = [0; HEAD_BYTES];
        self.io.read_exact(&mut head).await.ok()?;
        let head = FrameHead::parse(head);
        let mut payload = vec![0; head.length as usize];
        self.io.read_exact(&mut payload).await.ok()?;
        Some((head, payload))
    }

    /// The next frame of this kind on this stream; `None` if the connection ends first.
    async fn next_of(&mut self, kind: u8, stream: u32) -> Option<(FrameHead, Vec<u8>)> {
        loop {
            let frame = self.next().await?;
            if (frame.0.kind, frame.0.stream) == (kind, stream) {
                return Some(frame);
            }
        }
    }

    async fn ending(&mut self, stream: u32) -> Result<Vec<u8>, u32> {
        self.try_ending(stream).await.expect("the connection outlives the stream")
    }

    /// How a stream ended: all body bytes at its proper end, or the code of its reset; `None` if the connection did.
    async fn try_ending(&mut self, stream: u32) -> Option<Result<Vec<u8>, u32>> {
        let mut body = Vec::new();
        loop {
            let (head, payload) = self.next().await?;
            if head.stream != stream {
                continue;
            }
            match head.kind {
                RST_STREAM => return Some(Err(u32::from_be_bytes(payload.try_into().expect("four bytes")))),
                DATA => body.extend(payload),
                _ => {}
            }
            if matches!(head.kind, DATA | HEADERS) && head.ends_stream() {
                return Some(Ok(body));
            }
        }
    }

    /// The code of the GOAWAY behind which the connection ends.
    async fn goaway(&mut self) -> u32 {
        let mut code = None;
        while let Some((head, payload)) = self.next().await {
            if head.kind == GOAWAY {
                code = Some(u32::from_be_bytes([payload[4], payload[5], payload[6], payload[7]]));
            }
        }
        code.expect("a GOAWAY before the end")
    }

    async fn pass(&mut self, time: Duration) {
        settle().await;
        self.clock.advance(time);
        self.deadlines.sweep(self.clock.now());
        settle().await;
    }

    fn saw<T>(&self, of: impl FnOnce(&Saw) -> T) -> T {
        of(&self.service.saw.borrow())
    }
}

/// Lets every task that can run do so.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

async fn stage(test: impl AsyncFnOnce()) {
    LocalSet::new().run_until(test()).await;
}

#[tokio::test]
async fn an_answer_has_its_fields_its_length_and_its_body() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.get(1, "/x").await;
        assert_eq!(stage.ending(1).await, Ok(b"hello".to_vec()));
        settle().await;
        assert_eq!(stage.saw(|saw| saw.finished.clone()), [("/x".to_owned(), 200, 5, true)]);
    })
    .await;
}

#[tokio::test]
async fn every_request_of_the_table_comes_to_what_the_table_says() {
    stage(async || {
        let mut wrong = Vec::new();
        for case in CASES {
            let came = outcome(&case.frames(1)).await;
            if came != expected(case.expect) {
                wrong.push((case.claim, came));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    })
    .await;
}

/// What came of the frames of stream 1, in words.
async fn outcome(frames: &[u8]) -> String {
    let mut stage = Stage::new();
    stage.send(PREFACE).await;
    stage.send(frames).await;
    let ending = stage.try_ending(1).await;
    // The canary: the connection lives on and the next request is answered right.
    let canary = if ending.is_some() {
        stage.get(3, "/canary").await;
        stage.try_ending(3).await
    } else {
        None
    };
    settle().await;
    let (mut served, refused, finished) =
        stage.saw(|saw| (saw.served.clone(), saw.refused.clone(), saw.finished.clone()));
    if canary == Some(Ok(b"hello".to_vec())) {
        assert_eq!(served.pop(), Some(("a.example".into(), "/canary".into())));
    } else if ending.is_some() {
        return format!("the next request was answered with {canary:?}");
    }
    match (served.as_slice(), refused.as_slice(), ending) {
        ([], [], None) => "closed".into(),
        ([], [], Some(Err(_))) => "reset".into(),
        ([], [status], Some(Ok(_))) => format!("refused {status}"),
        ([(authority, target)], [], Some(Ok(_))) if finished.iter().all(|(_, status, ..)| *status == 200) => {
            format!("passed {authority} {target}")
        }
        ([_], [], Some(_)) if finished.iter().any(|(_, status, ..)| *status != 200) => "body broken".into(),
        other => format!("{other:?} {finished:?}"),
    }
}

fn expected(expect: Expect) -> String {
    match expect {
        Expect::Closed => "closed".into(),
        Expect::Reset => "reset".into(),
        Expect::Refused(status) => format!("refused {status}"),
        Expect::Passed(authority, target) => format!("passed {authority} {target}"),
        Expect::BodyBroken => "body broken".into(),
    }
}

#[tokio::test]
async fn crumbs_of_a_cookie_are_one_field_and_host_is_none() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
            (b"host", b"a.example"),
            (b"cookie", b"a=1"),
            (b"accept", b"*/*"),
            (b"cookie", b"b=2"),
            (b"cookie", b"c=3"),
        ];
        stage.send(&frame(HEADERS, 5, 1, &section(fields))).await;
        stage.ending(1).await.expect("answered");
        let fields = stage.saw(|saw| saw.fields[0].clone());
        assert_eq!(
            fields,
            [("accept".to_owned(), "*/*".to_owned()), ("cookie".to_owned(), "a=1; b=2; c=3".to_owned())]
        );
        assert_eq!(FieldId::of(fields[1].0.as_bytes()), FieldId::Cookie);
    })
    .await;
}

#[tokio::test]
async fn more_fields_than_the_limit_are_refused_and_nothing_is_held() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        let mut fields: Vec<(&[u8], &[u8])> = vec![
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
        ];
        fields.extend(std::iter::repeat_n((b"x".as_slice(), b"".as_slice()), 101));
        stage.send(&frame(HEADERS, 5, 1, &section(&fields))).await;
        stage.ending(1).await.expect("answered");
        assert_eq!(stage.saw(|saw| saw.refused.clone()), [431]);
    })
    .await;
}

#[tokio::test]
async fn heads_held_by_waiting_requests_are_bounded() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        let long = vec![b'v'; 15_000];
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"GET"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/wait"),
            (b"x", &long),
        ];
        for stream in (1..100).step_by(2) {
            stage.send(&frame(HEADERS, 5, stream, &section(fields))).await;
        }
        settle().await;
        let (served, refused) = stage.saw(|saw| (saw.served.len(), saw.refused.clone()));
        assert!(served * 15_000 <= H2_HELD_HEAD_BYTES_MAX, "{served} requests wait");
        assert_eq!(refused, vec![503; 50 - served]);
        for stream in (1..100).step_by(2).skip(served) {
            let (_, code) = stage.next_of(RST_STREAM, stream).await.expect("refused");
            assert_eq!(code, 7u32.to_be_bytes(), "REFUSED_STREAM: the client may ask again");
        }
        // What is given up is given back.
        for stream in (1..100).step_by(2) {
            stage.send(&frame(RST_STREAM, 0, stream, &8u32.to_be_bytes())).await;
        }
        settle().await;
        stage.send(&frame(HEADERS, 5, 101, &section(fields))).await;
        settle().await;
        assert_eq!(stage.saw(|saw| saw.served.len()), served + 1);
    })
    .await;
}

#[tokio::test]
async fn a_body_that_is_cut_ends_in_a_reset_and_never_in_an_end() {
    stage(async || {
        for (path, pieces, claim) in [
            ("/pushed", vec![Ok("ab"), Err(Cut)], "cut without a length"),
            ("/announced", vec![Ok("ab"), Err(Cut)], "cut short of the length"),
            ("/announced", vec![Ok("ab")], "ended short of the length"),
            ("/announced", vec![Ok("ab"), Ok("cde")], "longer than the length"),
        ] {
            let mut stage = Stage::new();
            let (sender, body) = mpsc::unbounded_channel();
            stage.service.bodies.borrow_mut().push_back(body);
            stage.send(PREFACE).await;
            stage.get(1, path).await;
            for piece in pieces {
                let _ = sender.send(piece.map(|text: &str| Bytes::copy_from_slice(text.as_bytes())));
                settle().await;
            }
            drop(sender);
            assert!(stage.ending(1).await.is_err(), "{claim}");
            settle().await;
            assert_eq!(stage.saw(|saw| saw.finished.clone()), [(path.to_owned(), 200, 2, false)], "{claim}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_streamed_body_ends_when_its_source_does() {
    stage(async || {
        for path in ["/pushed", "/announced"] {
            let mut stage = Stage::new();
            let (sender, body) = mpsc::unbounded_channel();
            stage.service.bodies.borrow_mut().push_back(body);
            stage.send(PREFACE).await;
            stage.get(1, path).await;
            for piece in ["ab", "cd"] {
                settle().await;
                sender.send(Ok(Bytes::from_static(piece.as_bytes()))).expect("the body is pulled");
            }
            drop(sender);
            assert_eq!(stage.ending(1).await, Ok(b"abcd".to_vec()), "{path}");
            settle().await;
            assert_eq!(stage.saw(|saw| saw.finished.clone()), [(path.to_owned(), 200, 4, true)], "{path}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_request_is_reported_once_however_it_ends() {
    stage(async || {
        // Reset while the answer is awaited.
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.get(1, "/wait").await;
        settle().await;
        stage.send(&frame(RST_STREAM, 0, 1, &8u32.to_be_bytes())).await;
        settle().await;
        assert_eq!(stage.saw(|saw| saw.finished.clone()), [("/wait".to_owned(), 499, 0, false)]);
        // The connection is lost within an answer that the window holds back.
        stage.get(3, "/large").await;
        settle().await;
        drop(std::mem::replace(&mut stage.io, tokio::io::duplex(1).0));
        settle().await;
        let finished = stage.saw(|saw| saw.finished.clone());
        assert_eq!(finished.len(), 2, "{finished:?}");
        assert_eq!(finished[1], ("/large".to_owned(), 200, 65_535, false));
        assert!(stage.server.is_finished());
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_waits_in_the_window_is_reported_when_it_is_through() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.get(1, "/large").await;
        settle().await;
        assert_eq!(stage.saw(|saw| saw.finished.len()), 0, "only the first window has been sent");
        for stream in [0, 1] {
            stage.send(&frame(WINDOW_UPDATE, 0, stream, &1_000_000u32.to_be_bytes())).await;
        }
        assert_eq!(stage.ending(1).await.map(|body| body.len()), Ok(300_000));
        settle().await;
        assert_eq!(stage.saw(|saw| saw.finished.clone()), [("/large".to_owned(), 200, 300_000, true)]);
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_head_says_the_length_and_ends_with_its_fields() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"HEAD"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/head"),
        ];
        stage.send(&frame(HEADERS, 5, 1, &section(fields))).await;
        let (head, payload) = stage.next_of(HEADERS, 1).await.expect("answered");
        assert!(head.ends_stream());
        // content-length: name 28 of the static table, not indexed, and one byte.
        assert!(payload.windows(4).any(|at| at == [0x0f, 0x0d, 1, b'7']), "{payload:x?}");
        settle().await;
        assert_eq!(stage.saw(|saw| saw.finished.clone()), [("/head".to_owned(), 200, 0, true)]);
    })
    .await;
}

#[tokio::test]
async fn a_panic_costs_its_own_request_and_is_counted() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.get(1, "/panic").await;
        assert!(stage.ending(1).await.is_ok(), "answered with 500");
        stage.get(3, "/panic-later").await;
        assert!(stage.ending(3).await.is_err(), "reset");
        stage.get(5, "/x").await;
        assert_eq!(stage.ending(5).await, Ok(b"hello".to_vec()));
        settle().await;
        let statuses = stage.saw(|saw| saw.finished.iter().map(|report| report.1).collect::<Vec<_>>());
        assert_eq!(statuses, [500, 499, 200]);
        assert_eq!(stage.stats.panics.load(std::sync::atomic::Ordering::Relaxed), 2);
    })
    .await;
}
