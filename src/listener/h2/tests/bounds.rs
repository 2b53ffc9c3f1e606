//! What a connection may cost, and how it ends: floods, stalls, idleness, drain.

use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::spawn_local;

use super::super::frame::{DATA, GOAWAY, HEADERS};
use super::super::*;
use super::h2_cases::{PREFACE, frame, section};
use super::{Stage, settle, stage};
use crate::config::Limits;
use crate::config::limits::H2_CREDIT;

#[tokio::test]
async fn a_flood_of_frames_without_progress_ends_in_enhance_your_calm() {
    stage(async || {
        let kinds: [(&str, Vec<u8>); 8] = [
            ("PING", frame(6, 0, 0, &[0; 8])),
            ("PING acknowledged", frame(6, 1, 0, &[0; 8])),
            ("SETTINGS", frame(4, 0, 0, &[])),
            ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
            ("WINDOW_UPDATE", frame(8, 0, 0, &1u32.to_be_bytes())),
            ("unknown", frame(0xfa, 0, 0, &[])),
            ("empty DATA", frame(0, 0, 1, &[])),
            ("padding only", frame(0, 8, 1, &[9, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        ];
        for (kind, bytes) in kinds {
            let mut stage = Stage::new();
            stage.send(PREFACE).await;
            // A stream whose body the DATA frames belong to.
            let fields: &[(&[u8], &[u8])] = &[
                (b":method", b"POST"),
                (b":scheme", b"https"),
                (b":authority", b"a.example"),
                (b":path", b"/wait"),
            ];
            stage.send(&frame(HEADERS, 4, 1, &section(fields))).await;
            let flood = bytes.repeat(2 * H2_CREDIT as usize);
            let (mut reader, mut writer) = tokio::io::split(stage.io);
            let sender = spawn_local(async move {
                let _ = writer.write_all(&flood).await;
            });
            let mut received = Vec::new();
            reader.read_to_end(&mut received).await.expect("the connection ends");
            sender.await.expect("the flood does not panic");
            assert!(
                received.ends_with(&[0, 0, 0, 11]) || received.windows(4).any(|code| code == [0, 0, 0, 11]),
                "{kind}: no ENHANCE_YOUR_CALM"
            );
            stage.server.await.expect("no panic");
            settle().await;
            assert_eq!(stage.service.saw.borrow().finished.len(), 1, "{kind}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_client_that_opens_no_window_is_cut_after_half_the_send_stall_timeout() {
    stage(async || {
        let mut stage = Stage::new();
        // SETTINGS_INITIAL_WINDOW_SIZE 0.
        stage.send(&PREFACE[..24]).await;
        stage.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 0])).await;
        stage.get(1, "/x").await;
        stage.next_of(HEADERS, 1).await.expect("the head comes");
        stage.pass(Duration::from_secs(14)).await;
        assert!(!stage.server.is_finished());
        stage.pass(Duration::from_secs(3)).await;
        assert_eq!(stage.goaway().await, Code::EnhanceYourCalm as u32);
        assert_eq!(stage.server.await.expect("no panic"), Ended::Late(Phase::SendStall));
        assert_eq!(stage.service.saw.borrow().finished, [("/x".to_owned(), 200, 0, false)]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_opens_its_window_no_more_is_cut_after_the_send_stall_timeout() {
    stage(async || {
        let mut stage = Stage::new();
        // SETTINGS_INITIAL_WINDOW_SIZE 1.
        stage.send(&PREFACE[..24]).await;
        stage.send(&frame(4, 0, 0, &[0, 4, 0, 0, 0, 1])).await;
        stage.get(1, "/x").await;
        stage.next_of(HEADERS, 1).await.expect("the head comes");
        stage.pass(Duration::from_secs(29)).await;
        assert!(!stage.server.is_finished());
        stage.pass(Duration::from_secs(4)).await;
        assert_eq!(stage.goaway().await, Code::EnhanceYourCalm as u32);
        assert_eq!(stage.server.await.expect("no panic"), Ended::Late(Phase::SendStall));
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_waits_for_its_origin_does_not_cut_the_client() {
    stage(async || {
        let mut stage = Stage::new();
        let (sender, body) = mpsc::unbounded_channel();
        stage.service.bodies.borrow_mut().push_back(body);
        stage.send(PREFACE).await;
        stage.get(1, "/pushed").await;
        // Exactly the window, so that it is shut while the origin pauses.
        sender.send(Ok(Bytes::from(vec![b'x'; 65_535]))).expect("the body is pulled");
        for _ in 0..20 {
            stage.pass(Duration::from_secs(10)).await;
        }
        assert!(!stage.server.is_finished());
        drop(sender);
        assert_eq!(stage.ending(1).await.map(|body| body.len()), Ok(65_535));
    })
    .await;
}

#[tokio::test]
async fn a_body_slower_than_the_minimum_rate_is_cut() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        let fields: &[(&[u8], &[u8])] = &[
            (b":method", b"POST"),
            (b":scheme", b"https"),
            (b":authority", b"a.example"),
            (b":path", b"/x"),
        ];
        stage.send(&frame(HEADERS, 4, 1, &section(fields))).await;
        for _ in 0..3 {
            stage.send(&frame(DATA, 0, 1, &[b'x'; 1024])).await;
            stage.pass(Duration::from_secs(10)).await;
            assert!(!stage.server.is_finished(), "a kibibyte in ten seconds is enough");
        }
        stage.send(&frame(DATA, 0, 1, b"x")).await;
        stage.pass(Duration::from_secs(11)).await;
        stage.pass(Duration::from_secs(1)).await;
        assert_eq!(stage.goaway().await, Code::EnhanceYourCalm as u32);
        assert_eq!(stage.server.await.expect("no panic"), Ended::Late(Phase::BodyRate));
    })
    .await;
}

#[tokio::test]
async fn a_header_block_that_drips_is_cut_after_the_head_timeout() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        // HEADERS without END_HEADERS, and no CONTINUATION.
        stage.send(&frame(HEADERS, 1, 1, &section(&[(b":method", b"GET")]))).await;
        stage.pass(Duration::from_secs(9)).await;
        assert!(!stage.server.is_finished());
        stage.pass(Duration::from_secs(2)).await;
        assert_eq!(stage.server.await.expect("no panic"), Ended::Late(Phase::Head));
    })
    .await;
}

#[tokio::test]
async fn an_idle_connection_is_ended_politely() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.get(1, "/x").await;
        stage.ending(1).await.expect("answered");
        stage.pass(Duration::from_secs(59)).await;
        assert!(!stage.server.is_finished());
        stage.pass(Duration::from_secs(1)).await;
        assert_eq!(stage.goaway().await, Code::NoError as u32);
        assert_eq!(stage.server.await.expect("no panic"), Ended::Late(Phase::Idle));
    })
    .await;
}

#[tokio::test]
async fn a_drain_says_goaway_and_lets_what_is_open_end() {
    stage(async || {
        let mut stage = Stage::new();
        let (sender, body) = mpsc::unbounded_channel();
        stage.service.bodies.borrow_mut().push_back(body);
        stage.send(PREFACE).await;
        stage.get(1, "/pushed").await;
        stage.next_of(HEADERS, 1).await.expect("the head comes");
        stage.drain.begin();
        stage.deadlines.expire_idle();
        stage.next_of(GOAWAY, 0).await.expect("told to go");
        let (_, ping) = stage.next_of(6, 0).await.expect("asked for its last word");
        stage.send(&frame(6, 1, 0, &ping)).await;
        sender.send(Ok(Bytes::from_static(b"last"))).expect("the body is pulled");
        drop(sender);
        assert_eq!(stage.ending(1).await, Ok(b"last".to_vec()));
        assert!(stage.next_of(0xff, 0).await.is_none(), "the connection ends");
        stage.send(&frame(8, 0, 0, &1000_u32.to_be_bytes())).await;
        tokio::task::yield_now().await;
        assert!(!stage.server.is_finished(), "the socket is kept for a client that still reads");
        stage.io.shutdown().await.expect("the client closes too");
        assert_eq!(stage.server.await.expect("no panic"), Ended::Closed);
    })
    .await;
}

#[tokio::test]
async fn a_connection_is_ended_politely_after_its_share_of_requests() {
    stage(async || {
        let mut stage = Stage::with(Limits { requests_per_connection_max: 2, ..Limits::default() });
        stage.send(PREFACE).await;
        stage.get(1, "/x").await;
        stage.ending(1).await.expect("answered");
        stage.get(3, "/x").await;
        // In whichever order.
        let (mut told, mut answered) = (false, false);
        while !(told && answered) {
            let (head, _) =
                stage.next().await.expect("told to go, and the last request is answered all the same");
            told |= head.kind == GOAWAY;
            answered |= head.stream == 3 && head.ends_stream();
        }
    })
    .await;
}
