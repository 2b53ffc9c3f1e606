//! Extended CONNECT: what becomes a request for a tunnel, and what is refused. RFC 8441.
//!
//! Nothing here has an origin: a request that got through is answered 200 by the service, which is no tunnel, so the client sees 501.

use std::time::Duration;

use super::super::frame::{DATA, HEADERS, SETTINGS, SETTINGS_ENABLE_CONNECT_PROTOCOL};
use super::h2_cases::{PREFACE, frame, section};
use super::{Stage, settle, stage};

type Fields<'a> = &'a [(&'a [u8], &'a [u8])];
type Row = (&'static str, Vec<(&'static [u8], &'static [u8])>, u8, Result<u16, ()>);

const OPENS: u8 = 4;
const OPENS_AND_ENDS: u8 = 5;

/// A connection whose client has acknowledged our settings.
async fn connected() -> Stage {
    let mut stage = Stage::new();
    stage.send(PREFACE).await;
    stage.send(&frame(SETTINGS, 1, 0, &[])).await;
    settle().await;
    stage
}

fn asking<'a>(protocol: &'a [u8], more: Fields<'a>) -> Vec<(&'a [u8], &'a [u8])> {
    let asked: [(&[u8], &[u8]); 5] = [
        (b":method", b"CONNECT"),
        (b":scheme", b"https"),
        (b":authority", b"a.example"),
        (b":path", b"/chat"),
        (b":protocol", protocol),
    ];
    [&asked, more].concat()
}

#[tokio::test]
async fn the_client_is_told_that_it_may() {
    stage(async || {
        let mut stage = connected().await;
        let (_, settings) = stage.next_of(SETTINGS, 0).await.expect("ours come first");
        let [high, low] = SETTINGS_ENABLE_CONNECT_PROTOCOL.to_be_bytes();
        assert!(settings.chunks(6).any(|one| one == [high, low, 0, 0, 0, 1]), "{settings:?}");
    })
    .await;
}

#[tokio::test]
async fn a_request_for_a_tunnel_is_the_get_that_it_stands_for_and_no_success_but_a_tunnel() {
    stage(async || {
        let mut stage = connected().await;
        let fields = asking(b"WebSocket", &[(b"sec-websocket-version", b"13")]);
        stage.send(&frame(HEADERS, OPENS, 1, &section(&fields))).await;
        // What comes ahead waits within its window, and goes nowhere.
        stage.send(&frame(DATA, 0, 1, b"early")).await;
        let body = stage.ending(1).await.expect("it is answered");
        assert!(body.starts_with(b"501"), "{}", body.escape_ascii());
        settle().await;
        let (served, fields) = stage.saw(|saw| (saw.served.clone(), saw.fields[0].clone()));
        assert_eq!(served, [("a.example".to_owned(), "/chat".to_owned())]);
        assert_eq!(fields, [("sec-websocket-version".to_owned(), "13".to_owned())]);
        assert_eq!(stage.saw(|saw| saw.finished[0].1), 501);
    })
    .await;
}

#[tokio::test]
async fn what_is_no_such_request_is_refused_or_resets_its_stream_and_nothing_else() {
    let without = |name: &[u8]| -> Vec<(&'static [u8], &'static [u8])> {
        let fields = asking(b"websocket", &[]);
        fields.into_iter().filter(|(known, _)| *known != name).collect()
    };
    let with_method = |method: &'static [u8]| -> Vec<(&'static [u8], &'static [u8])> {
        let mut fields = asking(b"websocket", &[]);
        fields[0].1 = method;
        fields
    };
    let rows: [Row; 14] = [
        ("of GET", with_method(b"GET"), OPENS, Err(())),
        ("of POST", with_method(b"POST"), OPENS, Err(())),
        ("without a scheme", without(b":scheme"), OPENS, Err(())),
        ("without a path", without(b":path"), OPENS, Err(())),
        ("without a method", without(b":method"), OPENS, Err(())),
        ("twice", asking(b"websocket", &[(b":protocol", b"websocket")]), OPENS, Err(())),
        ("behind a field", asking(b"websocket", &[(b"a", b"b"), (b":protocol", b"x")]), OPENS, Err(())),
        ("without an authority", without(b":authority"), OPENS, Ok(400)),
        ("to another protocol", asking(b"connect-udp", &[]), OPENS, Ok(501)),
        ("to none", asking(b"", &[]), OPENS, Ok(501)),
        ("to a list", asking(b"websocket, h2c", &[]), OPENS, Ok(501)),
        ("with a length", asking(b"websocket", &[(b"content-length", b"0")]), OPENS, Ok(400)),
        ("that is over", asking(b"websocket", &[]), OPENS_AND_ENDS, Ok(400)),
        ("with a field of HTTP/1", asking(b"websocket", &[(b"upgrade", b"websocket")]), OPENS, Err(())),
    ];
    stage(async || {
        for (claim, fields, flags, expected) in rows {
            let mut stage = connected().await;
            stage.send(&frame(HEADERS, flags, 1, &section(&fields))).await;
            let ending = stage.try_ending(1).await;
            stage.get(3, "/canary").await;
            assert_eq!(stage.try_ending(3).await, Some(Ok(b"hello".to_vec())), "{claim}: the canary");
            settle().await;
            assert_eq!(stage.saw(|saw| saw.served.len()), 1, "{claim}: only the canary");
            match expected {
                Err(()) => assert_eq!(ending, Some(Err(1)), "{claim}"),
                Ok(status) => assert_eq!(stage.saw(|saw| saw.refused.clone()), [status], "{claim}"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_asks_before_having_acknowledged_our_settings_is_reset() {
    stage(async || {
        let mut stage = Stage::new();
        stage.send(PREFACE).await;
        stage.send(&frame(HEADERS, OPENS, 1, &section(&asking(b"websocket", &[])))).await;
        assert_eq!(stage.try_ending(1).await, Some(Err(1)));
        stage.send(&frame(SETTINGS, 1, 0, &[])).await;
        stage.send(&frame(HEADERS, OPENS, 3, &section(&asking(b"websocket", &[])))).await;
        assert!(stage.ending(3).await.is_ok());
        assert_eq!(stage.saw(|saw| saw.served.len()), 1);
    })
    .await;
}

/// RFC 9113 §8.5: nothing but DATA goes on it.
#[tokio::test]
async fn trailers_in_a_tunnel_reset_it() {
    stage(async || {
        let mut stage = connected().await;
        let mut fields = asking(b"websocket", &[]);
        fields[3].1 = b"/wait";
        stage.send(&frame(HEADERS, OPENS, 1, &section(&fields))).await;
        stage.send(&frame(HEADERS, OPENS_AND_ENDS, 1, &section(&[(b"x-sum", b"7")]))).await;
        assert_eq!(stage.try_ending(1).await, Some(Err(1)));
    })
    .await;
}

/// A client of WebSocket says nothing before it is answered, and sends no body at any rate.
#[tokio::test]
async fn who_waits_for_a_tunnel_is_not_too_slow_with_a_body() {
    stage(async || {
        let mut stage = connected().await;
        let mut fields = asking(b"websocket", &[]);
        fields[3].1 = b"/wait";
        stage.send(&frame(HEADERS, OPENS, 1, &section(&fields))).await;
        for _ in 0..50 {
            stage.pass(Duration::from_secs(2)).await;
        }
        assert!(!stage.server.is_finished());
        stage.get(3, "/canary").await;
        assert_eq!(stage.ending(3).await, Ok(b"hello".to_vec()));
    })
    .await;
}

/// What nobody takes stays within the window of its stream.
#[tokio::test]
async fn what_is_sent_ahead_of_a_tunnel_is_bounded_by_its_window() {
    stage(async || {
        let mut stage = connected().await;
        let mut fields = asking(b"websocket", &[]);
        fields[3].1 = b"/wait";
        stage.send(&frame(HEADERS, OPENS, 1, &section(&fields))).await;
        for _ in 0..4 {
            stage.send(&frame(DATA, 0, 1, &[b'x'; 16_384])).await;
        }
        settle().await;
        stage.send(&frame(DATA, 0, 1, b"x")).await;
        // FLOW_CONTROL_ERROR.
        assert_eq!(stage.try_ending(1).await, Some(Err(3)));
    })
    .await;
}
