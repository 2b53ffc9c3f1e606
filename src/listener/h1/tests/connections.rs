//! The order of requests and answers on a connection: FAULTS S3, S10, S16.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

use super::super::ConnectionEnd;
use super::super::refusal::Refusal;
use super::stage::{Done, Pieces, Stage, answer, get, later, local, pull, settle, stored, text};
use crate::listener::request::{BodyError, Interim, Protocol};
use crate::listener::service::Served;
use crate::respond::response::{Body, Response};

#[tokio::test]
async fn a_hit_costs_one_read_and_one_write() {
    local(async {
        let stage = Stage::new(|_| Served::Now(stored(b"hello")));
        let mut talk = stage.connect();
        for _ in 0..10 {
            talk.send(get("/x")).await;
            assert_eq!(
                talk.until("hello").await,
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: D\r\n\r\nhello"
            );
        }
        assert_eq!((talk.reads.get(), talk.writes.get()), (10, 10));
        assert_eq!(stage.done().len(), 10);
        assert!(stage.done().iter().all(|done| done.complete && done.body_bytes == 5));
        assert!(matches!(talk.end().await, ConnectionEnd::Closed));
    })
    .await;
}

#[tokio::test]
async fn a_long_stored_body_leaves_with_its_head_in_one_write() {
    local(async {
        let body = vec![b'x'; 100_000];
        let stage = Stage::new(move |_| Served::Now(stored(&body)));
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        let read = talk.until(&"x".repeat(100_000)).await;
        assert!(read.starts_with("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n"), "{}", &read[..80]);
        assert_eq!((talk.reads.get(), talk.writes.get()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn a_stored_body_in_chunks_arrives_whole() {
    local(async {
        let body: Vec<u8> = (0..2_500_000u32).map(|at| b'a' + (at % 23) as u8).collect();
        let expected = String::from_utf8(body.clone()).expect("letters");
        let stage = Stage::new(move |_| Served::Now(stored(&body)));
        let mut talk = stage.connect();
        talk.send(get("/x") + "GET /y HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        let read = talk.rest().await;
        let bodies: Vec<&str> = read.split("\r\n\r\n").skip(1).collect();
        assert!(bodies[0].starts_with(&expected) && bodies[1] == expected);
    })
    .await;
}

#[tokio::test]
async fn a_thousand_pipelined_requests_are_answered_in_order_and_in_few_writes() {
    local(async {
        let stage = Stage::new(|request| {
            let target = String::from_utf8_lossy(request.target()).into_owned();
            // Every third must be awaited.
            if target.ends_with('3') {
                later(async move { text(200, &target) })
            } else {
                Served::Now(text(200, &target))
            }
        });
        let mut talk = stage.connect();
        let requests: String = (0..1000).map(|number| get(&format!("/{number}"))).collect();
        talk.send(requests).await;
        let read = talk.until("/999").await;
        let targets: Vec<&str> =
            read.split("\r\n\r\n").skip(1).map(|part| part.split("HTTP").next().unwrap_or("")).collect();
        let expected: Vec<String> = (0..1000).map(|number| format!("/{number}")).collect();
        assert_eq!(targets, expected);
        assert!(talk.writes.get() < 300, "{} writes", talk.writes.get());
        settle().await;
        assert_eq!(stage.done().len(), 1000);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_parsed_after_a_refusal() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        talk.send(get("/1") + "GET /2 HTTP/1.1\r\n\r\n" + &get("/3")).await;
        let read = talk.rest().await;
        assert_eq!(read.matches("HTTP/1.1 ").count(), 2, "{read}");
        assert!(read.contains("HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\nConnection: close\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), "{read}");
        assert!(read.ends_with("400 Bad Request: no Host\n"), "{read}");
        assert_eq!(stage.seen(), ["/1"]);
        assert_eq!(*stage.service.refused.borrow(), [(400, "no Host")]);
        assert!(matches!(talk.end().await, ConnectionEnd::Refused(Refusal::HostMissing)));
    })
    .await;
}

type Kind = (&'static str, fn() -> Served);

/// Every kind of early answer.
const KINDS: &[Kind] = &[
    ("bytes", || Served::Now(text(200, "ok"))),
    ("a hit", || Served::Now(stored(b"ok"))),
    ("a long hit", || Served::Now(stored(&[b'x'; 10_000]))),
    ("304", || Served::Now(answer(304, Body::None))),
    ("204", || Served::Now(answer(204, Body::None))),
    ("a redirect", || Served::Now(answer(301, Body::Bytes(Bytes::new())))),
    ("an error", || Served::Now(text(403, "no"))),
    ("a stream", || {
        let source = Box::pin(Pieces::new(vec![Ok(Bytes::from_static(b"ok"))]));
        Served::Now(answer(200, Body::Stream { length: None, source }))
    }),
    ("an awaited answer", || later(async { text(200, "ok") })),
];

#[tokio::test]
async fn a_body_that_an_early_answer_left_unread_is_never_taken_for_a_request() {
    local(async {
        let smuggled = get("/smuggled");
        let bodies = [
            format!("Content-Length: {}\r\n\r\n{smuggled}", smuggled.len()),
            format!("Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len()),
        ];
        for (name, kind) in KINDS {
            for body in &bodies {
                for method in ["GET", "POST", "OPTIONS", "HEAD"] {
                    for cut in [0, 10, body.len()] {
                        let stage = Stage::new(|_| kind());
                        let mut talk = stage.connect();
                        let (now, afterwards) = body.split_at(body.len() - cut);
                        talk.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n{now}")).await;
                        settle().await;
                        talk.send(format!("{afterwards}{}", get("/canary"))).await;
                        settle().await;
                        assert_eq!(stage.seen(), ["/x", "/canary"], "{name} {method} {cut}");
                        assert_eq!(stage.done().len(), 2, "{name} {method} {cut}");
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_unread_body_too_long_to_drain_ends_the_connection() {
    local(async {
        for (lines, told) in [("Content-Length: 100000", true), ("Transfer-Encoding: chunked", false)] {
            let stage = Stage::new(|_| Served::Now(text(200, "ok")));
            let mut talk = stage.connect();
            talk.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")).await;
            talk.send(b"3e8\r\n".to_vec()).await;
            talk.send([vec![b'x'; 1000], b"\r\n3e8\r\n".to_vec()].concat().repeat(100)).await;
            talk.send(get("/canary")).await;
            let read = talk.rest().await;
            assert_eq!(read.contains("Connection: close\r\n"), told, "{lines}");
            assert_eq!(read.matches("HTTP/1.1 ").count(), 1);
            assert_eq!(stage.seen(), ["/x"]);
        }
    })
    .await;
}

#[tokio::test]
async fn a_malformed_rest_of_a_body_ends_the_connection() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        talk.send(format!(
            "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
            get("/y")
        ))
        .await;
        assert!(talk.rest().await.ends_with("\r\n\r\nok"));
        assert_eq!(stage.seen(), ["/x"]);
    })
    .await;
}

#[tokio::test]
async fn a_body_reaches_whoever_pulls_it() {
    local(async {
        let stage = Stage::new(|request| {
            let body = std::mem::take(&mut request.body);
            later(async move {
                let bytes = pull(body).await.expect("the body is well-formed");
                text(200, &String::from_utf8_lossy(&bytes))
            })
        });
        let mut talk = stage.connect();
        talk.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe").await;
        settle().await;
        talk.send("llo").await;
        assert!(talk.until("hello").await.ends_with("\r\n\r\nhello"));
        talk.send("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n0\r\nX: y\r\n\r\n").await;
        assert!(talk.until("abcdefg").await.ends_with("\r\n\r\nabcdefg"));
        let long = "x".repeat(300_000);
        talk.send(format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n{long}")).await;
        assert!(talk.until(&long).await.ends_with(&long));
        talk.send(get("/y")).await;
        assert!(talk.until("\r\n\r\n").await.contains("Content-Length: 0\r\n"));
    })
    .await;
}

#[tokio::test]
async fn a_body_that_breaks_is_answered_by_us_and_told_to_whoever_pulls_it() {
    local(async {
        for (lines, bytes, status, told) in [
            ("Transfer-Encoding: chunked", "1\r\na\r\nzz\r\n", 400, BodyError::Malformed),
            ("Transfer-Encoding: chunked", "ffffffffff\r\n", 413, BodyError::TooLong),
        ] {
            let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
            let stage = Stage::new(move |request| {
                let (body, sender) = (std::mem::take(&mut request.body), sender.clone());
                // A fill lives on when its client is answered.
                tokio::task::spawn_local(async move { sender.send(pull(body).await).await });
                later(std::future::pending())
            });
            let mut talk = stage.connect();
            talk.send(format!("POST /x HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n{bytes}{}", get("/y"))).await;
            let read = talk.rest().await;
            assert!(
                read.starts_with(&format!("HTTP/1.1 {status} ")) && read.contains("Connection: close\r\n"),
                "{read}"
            );
            assert_eq!(receiver.recv().await, Some(Err(told)));
            assert_eq!(stage.seen(), ["/x"]);
            assert_eq!(stage.done()[0].status, status);
        }
    })
    .await;
}

#[tokio::test]
async fn one_100_continue_goes_out_when_the_body_is_first_pulled() {
    local(async {
        let gate = std::sync::Arc::new(tokio::sync::Notify::new());
        let stage = Stage::new({
            let gate = gate.clone();
            move |request| {
                let (gate, body) = (gate.clone(), std::mem::take(&mut request.body));
                later(async move {
                    gate.notified().await;
                    let bytes = pull(body).await.expect("the body is well-formed");
                    text(200, &String::from_utf8_lossy(&bytes))
                })
            }
        });
        let mut talk = stage.connect();
        talk.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        settle().await;
        assert_eq!(talk.writes.get(), 0);
        gate.notify_one();
        assert_eq!(talk.until("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
        talk.send("he").await;
        settle().await;
        talk.send("llo").await;
        let read = talk.until("hello").await;
        assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");
        talk.send(get("/y")).await;
        gate.notify_one();
        assert!(talk.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
    })
    .await;
}

#[tokio::test]
async fn an_answer_before_the_expected_body_comes_alone_and_ends_the_connection() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(401, "no")));
        let mut talk = stage.connect();
        talk.send("POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n").await;
        let read = talk.rest().await;
        assert!(
            read.starts_with("HTTP/1.1 401 Unauthorized\r\n") && read.contains("Connection: close\r\n"),
            "{read}"
        );
    })
    .await;
}

#[tokio::test]
async fn interim_responses_pass_to_clients_that_know_them_and_100_and_101_do_not() {
    local(async {
        let stage = Stage::new(|request| {
            let sink = request.interims.sink();
            assert_eq!(sink.is_some(), request.protocol == Protocol::Http11);
            later(async move {
                if let Some(sink) = sink {
                    for code in [100, 101, 103, 103] {
                        let status = StatusCode::from_u16(code).expect("a status");
                        let mut fields = HeaderMap::new();
                        fields.insert("link", http::HeaderValue::from_static("</a>"));
                        sink.send(Interim { status, fields });
                    }
                }
                text(200, "ok")
            })
        });
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        let early = "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n";
        let read = talk.until("ok").await;
        assert!(read.starts_with(&format!("{early}{early}HTTP/1.1 200 OK\r\n")), "{read}");
        talk.send("GET /x HTTP/1.0\r\nHost: a\r\n\r\n").await;
        assert!(talk.rest().await.starts_with("HTTP/1.1 200 OK\r\n"));
    })
    .await;
}

#[tokio::test]
async fn a_client_that_leaves_drops_the_answer_and_is_reported() {
    local(async {
        let stage = Stage::new(|_| later(std::future::pending()));
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        settle().await;
        assert!(matches!(talk.end().await, ConnectionEnd::ClientGone));
        let gone = Done { target: "/x".to_owned(), status: 499, body_bytes: 0, complete: false };
        assert_eq!(stage.done(), [gone]);
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_is_dropped_still_reports_its_request() {
    local(async {
        let stage = Stage::new(|_| later(std::future::pending()));
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        settle().await;
        talk.task.abort();
        settle().await;
        assert_eq!(stage.done().len(), 1);
        assert!(!stage.done()[0].complete);
    })
    .await;
}

#[tokio::test]
async fn the_answer_says_whether_the_connection_is_kept() {
    local(async {
        let rows: &[(&str, &str, bool, Option<&str>)] = &[
            ("HTTP/1.1", "", false, None),
            ("HTTP/1.1", "Connection: close\r\n", false, Some("close")),
            ("HTTP/1.1", "", true, Some("close")),
            ("HTTP/1.0", "", false, Some("close")),
            ("HTTP/1.0", "Connection: keep-alive\r\n", false, Some("keep-alive")),
            ("HTTP/1.0", "Connection: keep-alive\r\n", true, Some("close")),
        ];
        for (version, lines, close, told) in rows.iter().copied() {
            let stage = Stage::new(move |_| Served::Now(Response { close, ..text(200, "ok") }));
            let mut talk = stage.connect();
            talk.send(format!("GET /x {version}\r\nHost: a\r\n{lines}\r\n")).await;
            let read = talk.until("ok").await;
            let said = read.lines().find_map(|line| line.strip_prefix("Connection: "));
            assert_eq!(said, told, "{version} {lines} {close}");
            settle().await;
            if told == Some("close") {
                assert_eq!(talk.rest().await, "");
            } else {
                assert!(!talk.task.is_finished());
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_ends_with_its_last_allowed_request() {
    local(async {
        let mut stage = Stage::new(|_| Served::Now(text(200, "ok")));
        stage.limits.requests_per_connection_max = 2;
        let mut talk = stage.connect();
        talk.send(get("/1") + &get("/2") + &get("/3")).await;
        let read = talk.rest().await;
        assert_eq!(read.matches("HTTP/1.1 200 OK").count(), 2);
        assert_eq!(read.matches("Connection: close").count(), 1);
        assert_eq!(stage.seen(), ["/1", "/2"]);
    })
    .await;
}

#[tokio::test]
async fn a_draining_worker_ends_idle_connections_and_says_close_on_busy_ones() {
    local(async {
        let gate = std::sync::Arc::new(tokio::sync::Notify::new());
        let stage = Stage::new({
            let gate = gate.clone();
            move |_| {
                let gate = gate.clone();
                later(async move {
                    gate.notified().await;
                    text(200, "ok")
                })
            }
        });
        let (idle, mut busy) = (stage.connect(), stage.connect());
        busy.send(get("/x")).await;
        settle().await;
        stage.drain.begin();
        stage.deadlines.expire_idle();
        settle().await;
        assert!(idle.task.is_finished() && !busy.task.is_finished());
        assert!(matches!(idle.end().await, ConnectionEnd::Idle));
        gate.notify_one();
        assert!(busy.rest().await.contains("Connection: close\r\n"));
        assert!(matches!(busy.end().await, ConnectionEnd::Closed));
    })
    .await;
}

/// Method, answer, bytes.
type Row = (&'static str, fn() -> Response, &'static str);

#[tokio::test]
async fn the_framing_of_an_answer_fits_method_and_status() {
    local(async {
        let rows: &[Row] = &[
            ("GET", || answer(204, Body::None), "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n"),
            ("GET", || answer(304, Body::None), "HTTP/1.1 304 Not Modified\r\nDate: D\r\n\r\n"),
            ("GET", || text(304, "no"), "HTTP/1.1 304 Not Modified\r\nDate: D\r\n\r\n"),
            ("GET", || text(204, "no"), "HTTP/1.1 204 No Content\r\nDate: D\r\n\r\n"),
            ("GET", || answer(200, Body::None), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: D\r\n\r\n"),
            (
                "HEAD",
                || answer(200, Body::Omitted(Some(9))),
                "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nDate: D\r\n\r\n",
            ),
            ("HEAD", || answer(200, Body::Omitted(None)), "HTTP/1.1 200 OK\r\nDate: D\r\n\r\n"),
            ("HEAD", || text(200, "hello"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nDate: D\r\n\r\n"),
            ("HEAD", || stored(b"hello"), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\ndate: D\r\n\r\n"),
            ("GET", || text(418, "a"), "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 1\r\nDate: D\r\n\r\na"),
            ("GET", || text(599, "a"), "HTTP/1.1 599 \r\nContent-Length: 1\r\nDate: D\r\n\r\na"),
            (
                "GET",
                || Response { extra: b"Age: 1\r\n".to_vec(), ..stored(b"a") },
                "HTTP/1.1 200 OK\r\nAge: 1\r\nContent-Length: 1\r\ndate: D\r\n\r\na",
            ),
            (
                "GET",
                || Response { lines: crate::respond::response::Lines::Own(Bytes::new()), ..text(200, "a") },
                "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\na",
            ),
        ];
        for (method, response, expected) in rows.iter().copied() {
            let stage = Stage::new(move |_| Served::Now(response()));
            let mut talk = stage.connect();
            talk.send(format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).await;
            assert_eq!(talk.until(expected).await, expected);
        }
    })
    .await;
}
