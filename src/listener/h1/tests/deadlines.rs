//! What happens when time runs out: FAULTS R1.

use super::super::ConnectionEnd;
use super::super::refusal::Refusal;
use super::stage::{Stage, get, later, local, pull, settle, stored, text};
use crate::listener::deadline::Phase;
use crate::listener::service::Served;

#[tokio::test]
async fn a_connection_without_a_first_byte_ends_in_silence() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        stage.advance(9).await;
        assert!(!talk.task.is_finished());
        stage.advance(1).await;
        assert_eq!(talk.rest().await, "");
        assert!(matches!(talk.end().await, ConnectionEnd::Idle));
    })
    .await;
}

#[tokio::test]
async fn a_head_that_drips_in_is_answered_408_however_it_drips() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        for byte in "GET /x HTT".bytes() {
            talk.send([byte]).await;
            stage.advance(1).await;
        }
        let read = talk.rest().await;
        assert!(read.starts_with("HTTP/1.1 408 Request Timeout\r\n"), "{read}");
        assert!(matches!(talk.end().await, ConnectionEnd::Refused(Refusal::HeadTimeout)));
        assert!(stage.seen().is_empty());
    })
    .await;
}

#[tokio::test]
async fn between_requests_the_idle_timeout_runs_and_in_the_next_head_the_head_timeout() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        talk.until("ok").await;
        stage.advance(59).await;
        assert!(!talk.task.is_finished());
        talk.send("GET /y").await;
        stage.advance(9).await;
        assert!(!talk.task.is_finished());
        stage.advance(1).await;
        assert!(talk.rest().await.starts_with("HTTP/1.1 408 "));

        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        talk.until("ok").await;
        stage.advance(60).await;
        assert_eq!(talk.rest().await, "");
        assert!(matches!(talk.end().await, ConnectionEnd::Idle));
    })
    .await;
}

#[tokio::test]
async fn a_body_slower_than_the_minimum_rate_is_answered_408_and_a_faster_one_is_not() {
    local(async {
        let stage = Stage::new(|request| {
            let body = std::mem::take(&mut request.body);
            later(async move {
                let _ = pull(body).await;
                text(200, "ok")
            })
        });
        for (bytes_each, status) in [(1024, "200"), (1000, "408")] {
            let mut talk = stage.connect();
            talk.send("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4096\r\n\r\n").await;
            settle().await;
            let mut left: usize = 4096;
            while left > 0 && stage.done().is_empty() {
                let now = left.min(bytes_each);
                talk.send(vec![b'x'; now]).await;
                left -= now;
                if left > 0 {
                    stage.advance(10).await;
                }
            }
            let read = talk.until("ok").await;
            assert!(read.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes_each}: {read}");
            settle().await;
            assert_eq!(stage.service.finished.borrow_mut().drain(..).count(), 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_of_its_answer_is_cut_and_one_that_takes_little_is_not() {
    local(async {
        let mut stage = Stage::new(|_| Served::Now(stored(&vec![b'x'; 100_000])));
        stage.pipe_bytes = 1024;
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        for _ in 0..5 {
            stage.advance(29).await;
            let mut few = [0; 512];
            tokio::io::AsyncReadExt::read_exact(&mut talk.io, &mut few).await.expect("there is more");
            settle().await;
        }
        assert!(!talk.task.is_finished());
        stage.advance(30).await;
        assert!(talk.task.is_finished());
        assert!(!stage.done()[0].complete);
        assert!(matches!(talk.end().await, ConnectionEnd::TimedOut(Phase::SendStall)));
    })
    .await;
}

#[tokio::test]
async fn a_request_that_is_not_answered_in_the_total_time_is_cut() {
    local(async {
        let stage = Stage::new(|_| later(std::future::pending()));
        let mut talk = stage.connect();
        talk.send(get("/x")).await;
        stage.advance(3599).await;
        assert!(!talk.task.is_finished());
        stage.advance(1).await;
        assert_eq!(talk.rest().await, "");
        assert!(matches!(talk.end().await, ConnectionEnd::TimedOut(Phase::Total)));
        assert_eq!(stage.done().len(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_does_not_close_after_the_last_answer_is_left() {
    local(async {
        let stage = Stage::new(|_| Served::Now(text(200, "ok")));
        let mut talk = stage.connect();
        talk.send("GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await;
        assert!(talk.rest().await.ends_with("ok"));
        stage.advance(4).await;
        assert!(!talk.task.is_finished());
        stage.advance(1).await;
        assert!(talk.task.is_finished());
    })
    .await;
}
