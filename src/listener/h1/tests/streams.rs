//! Bodies that are pulled: framing, pace and cuts. FAULTS F1.

use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::super::ConnectionEnd;
use super::stage::{Pieces, Stage, answer, get, local, settle};
use crate::listener::service::Served;
use crate::respond::response::{Body, Cut};

/// Name, announced length, what the source gives.
type Row = (&'static str, Option<u64>, Vec<Result<Bytes, Cut>>);

fn pieces(pieces: &[&'static str]) -> Vec<Result<Bytes, Cut>> {
    pieces.iter().map(|piece| Ok(Bytes::from_static(piece.as_bytes()))).collect()
}

fn serve(length: Option<u64>, pieces: Vec<Result<Bytes, Cut>>) -> Served {
    Served::Now(answer(200, Body::Stream { length, source: Box::pin(Pieces::new(pieces)) }))
}

#[tokio::test]
async fn a_stream_is_framed_by_what_is_known_of_it_and_of_the_client() {
    local(async {
        let rows = [
            (
                "HTTP/1.1",
                None,
                "Transfer-Encoding: chunked\r\nDate: D\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
                true,
            ),
            ("HTTP/1.1", Some(3), "Content-Length: 3\r\nDate: D\r\n\r\nabc", true),
            ("HTTP/1.0", Some(3), "Content-Length: 3\r\nConnection: keep-alive\r\nDate: D\r\n\r\nabc", true),
            ("HTTP/1.0", None, "Connection: close\r\nDate: D\r\n\r\nabc", false),
        ];
        for (version, length, expected, kept) in rows {
            let stage = Stage::new(move |_| serve(length, pieces(&["ab", "", "c"])));
            let mut talk = stage.connect();
            talk.send(format!("GET /x {version}\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")).await;
            assert_eq!(talk.until(expected).await, format!("HTTP/1.1 200 OK\r\n{expected}"));
            settle().await;
            assert_eq!(talk.writes.get(), 1);
            assert_eq!(stage.done()[0].body_bytes, 3);
            assert!(stage.done()[0].complete);
            if kept {
                talk.send(get("/y")).await;
                let end = if length.is_some() { "c" } else { "0\r\n\r\n" };
                assert!(talk.until(end).await.starts_with("HTTP/1.1 200 OK\r\n"));
            } else {
                assert_eq!(talk.rest().await, "");
            }
        }
    })
    .await;
}

#[tokio::test]
async fn long_pieces_arrive_whole_and_in_order() {
    local(async {
        for length in [Some(300_004), None] {
            let long = vec![b'x'; 100_000];
            let stage = Stage::new(move |_| {
                let mut all = Vec::new();
                for _ in 0..3 {
                    all.push(Ok(Bytes::copy_from_slice(&long)));
                    all.push(Ok(Bytes::from_static(b"y")));
                }
                all.push(Ok(Bytes::from_static(b"z")));
                serve(length, all)
            });
            let mut talk = stage.connect();
            talk.send(get("/x")).await;
            let read = talk.until(if length.is_some() { "z" } else { "0\r\n\r\n" }).await;
            let body = read.split_once("\r\n\r\n").expect("there is a head").1;
            let one = "x".repeat(100_000);
            let expected = if length.is_some() {
                format!("{one}y{one}y{one}yz")
            } else {
                let one = format!("186a0\r\n{one}\r\n1\r\ny\r\n");
                format!("{one}{one}{one}1\r\nz\r\n0\r\n\r\n")
            };
            assert!(body == expected);
        }
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_does_not_keep_its_word_never_looks_whole() {
    local(async {
        let rows: Vec<Row> = vec![
            ("cut, chunked", None, vec![Ok(Bytes::from_static(b"ab")), Err(Cut)]),
            ("cut, of known length", Some(3), vec![Ok(Bytes::from_static(b"ab")), Err(Cut)]),
            ("short", Some(3), pieces(&["ab"])),
            ("long", Some(3), pieces(&["ab", "cd"])),
            ("empty", Some(3), pieces(&[])),
            ("cut at its very end", Some(2), vec![Ok(Bytes::from_static(b"ab")), Err(Cut)]),
        ];
        for (name, length, all) in rows {
            let stage = Stage::new(move |_| serve(length, all.clone()));
            let mut talk = stage.connect();
            talk.send(get("/x") + &get("/y")).await;
            let read = talk.rest().await;
            let body = read.split_once("\r\n\r\n").map_or("", |(_, body)| body);
            assert!(!read.contains("0\r\n\r\n"), "{name}: {read}");
            assert!(length.is_none_or(|length| (body.len() as u64) < length), "{name}: {read}");
            assert_eq!(stage.seen(), ["/x"], "{name}");
            assert!(!stage.done()[0].complete, "{name}");
            assert!(matches!(talk.end().await, ConnectionEnd::Cut { .. }), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_source_is_pulled_no_faster_than_the_client_takes() {
    local(async {
        let all: Vec<Result<Bytes, Cut>> = (0..1000).map(|_| Ok(Bytes::from_static(&[b'x'; 1024]))).collect();
        let source = Pieces::new(all);
        let pulled = source.pulled.clone();
        let source = std::cell::RefCell::new(Some(source));
        let mut stage = Stage::new(move |_| {
            let source = source.borrow_mut().take().expect("one request");
            Served::Now(answer(200, Body::Stream { length: None, source: Box::pin(source) }))
        });
        stage.pipe_bytes = 1024;
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        settle().await;
        assert!(pulled.load(Ordering::Relaxed) <= 65, "{}", pulled.load(Ordering::Relaxed));
        talk.until("0\r\n\r\n").await;
        assert_eq!(pulled.load(Ordering::Relaxed), 1001);
    })
    .await;
}

#[tokio::test]
async fn the_head_of_a_stream_and_its_first_bytes_do_not_wait_for_the_rest() {
    local(async {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Bytes>(1);
        let receiver = std::cell::RefCell::new(Some(receiver));
        let stage = Stage::new(move |_| {
            let source = Channel(receiver.borrow_mut().take().expect("one request"));
            Served::Now(answer(200, Body::Stream { length: None, source: Box::pin(source) }))
        });
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        assert!(talk.until("\r\n\r\n").await.starts_with("HTTP/1.1 200 OK\r\n"));
        sender.send(Bytes::from_static(b"a")).await.expect("it is pulled");
        assert_eq!(talk.until("a\r\n").await, "1\r\na\r\n");
        drop(talk.io);
        settle().await;
        assert!(sender.is_closed(), "a client that leaves stops the source");
        assert!(matches!(talk.task.await.expect("no panic"), ConnectionEnd::ClientGone));
    })
    .await;
}

struct Channel(tokio::sync::mpsc::Receiver<Bytes>);

impl crate::respond::response::Stream for Channel {
    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Bytes, Cut>>> {
        self.get_mut().0.poll_recv(cx).map(|piece| piece.map(Ok))
    }
}
