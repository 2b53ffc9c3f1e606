//! Connections: reuse, the keep-alive race, what is repeated and what is not, the line for a connection.

use std::fmt::Write as _;

use super::*;
use crate::listener::request::BodyError;

fn closes_after(plays: &[Play]) -> Vec<Play> {
    let mut all = plays.to_vec();
    all.push(Play::Close);
    all
}

#[tokio::test]
async fn requests_one_after_the_other_share_a_connection() {
    let origin = Scripted::always(OK).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    for _ in 0..5 {
        assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".to_owned())));
    }
    assert_eq!(origin.seen().connections, 1);
    let stats = pools.stats();
    let one = stats.first().unwrap();
    assert_eq!((one.connections_idle, one.connections_in_use, one.counts.connects), (1, 0, 1));
    assert_eq!(one.counts.statuses, [0, 5, 0, 0, 0]);
    assert_eq!(one.counts.durations.iter().sum::<u64>(), 5);
}

#[tokio::test]
async fn a_connection_that_says_close_or_has_aged_is_not_used_again() {
    let close = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let origin = Scripted::always(close).await;
    let pools_ = pools(settings(vec![at(origin.port)]), &Clock::system());
    for _ in 0..3 {
        assert_eq!(fetch(&pools_, get("/")).await, Ok((200, "ok".to_owned())));
    }
    assert_eq!(origin.seen().connections, 3);

    let origin = Scripted::always(OK).await;
    let clock = manual();
    let pools = pools(settings(vec![at(origin.port)]), &clock);
    fetch(&pools, get("/")).await.unwrap();
    clock.advance(Duration::from_millis(14_999));
    fetch(&pools, get("/")).await.unwrap();
    assert_eq!(origin.seen().connections, 1);
    clock.advance(Duration::from_secs(15));
    fetch(&pools, get("/")).await.unwrap();
    assert_eq!(origin.seen().connections, 2);
    clock.advance(Duration::from_secs(15));
    pools.sweep();
    assert_eq!(pools.stats().first().unwrap().connections_idle, 0);
}

#[tokio::test]
async fn large_bodies_come_whole_by_length_and_by_chunks_and_the_connection_serves_on() {
    const BYTES: usize = 4 << 20;
    let block = "0123456789abcdef".repeat(BYTES / 16);
    let by_length = format!("HTTP/1.1 200 OK\r\nContent-Length: {BYTES}\r\n\r\n{block}");
    let mut by_chunks = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    for chunk in block.as_bytes().chunks(100_003) {
        write!(by_chunks, "{:x}\r\n{}\r\n", chunk.len(), std::str::from_utf8(chunk).unwrap()).unwrap();
    }
    by_chunks += "0\r\n\r\n";
    let origin = Scripted::new(vec![vec![Play::Read, write(by_length), Play::Read, write(by_chunks)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    for _ in 0..2 {
        let (status, body) = fetch(&pools, get("/")).await.unwrap();
        assert!(status == 200 && body == block);
    }
    assert_eq!(origin.seen().connections, 1);
}

#[tokio::test]
async fn a_body_dropped_before_its_end_closes_its_connection() {
    let half = OK.strip_suffix('k').unwrap();
    let origin = Scripted::new(vec![vec![Play::Read, write(half)], vec![Play::Read, write(OK)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    drop(pools.ask(get("/")).await.unwrap());
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".to_owned())));
    assert_eq!(origin.seen().connections, 2);
    assert_eq!(pools.stats().first().unwrap().stands, Stands::Well);
}

#[tokio::test]
async fn a_body_that_came_whole_gives_its_connection_back_before_it_is_read() {
    let origin = Scripted::always(OK).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let mut first = pools.ask(get("/1")).await.unwrap();
    drop(pools.ask(get("/2")).await.unwrap());
    assert_eq!(fetch(&pools, get("/3")).await, Ok((200, "ok".to_owned())));
    assert_eq!(collect(&mut first.body).await, Ok("ok".to_owned()));
    assert_eq!(origin.seen().connections, 1);
}

/// The origin reads the second request on a kept connection and closes without a byte: the race that every
/// keep-alive client meets.
#[tokio::test]
async fn a_kept_connection_that_dies_under_a_get_is_replaced_once() {
    let origin =
        Scripted::new(vec![closes_after(&[Play::Read, write(OK), Play::Read]), vec![Play::Read, write(OK)]])
            .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    fetch(&pools, get("/1")).await.unwrap();
    assert_eq!(fetch(&pools, get("/2")).await, Ok((200, "ok".to_owned())));
    let seen = origin.seen();
    assert_eq!((seen.connections, seen.requests.len()), (2, 3));
    assert_eq!(pools.stats().first().unwrap().counts.failures, 0);
}

#[tokio::test]
async fn it_is_replaced_once_and_not_twice() {
    let origin = Scripted::new(vec![
        closes_after(&[Play::Read, write(OK), Play::Read]),
        closes_after(&[Play::Read]),
        vec![Play::Read, write(OK)],
    ])
    .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    fetch(&pools, get("/1")).await.unwrap();
    assert_eq!(fetch(&pools, get("/2")).await, Err(OriginError::Reset));
    assert_eq!(origin.seen().connections, 2);
}

#[tokio::test]
async fn a_post_that_was_sent_is_never_repeated() {
    for body in [RequestBody::Empty, body_of(&["a=b"])] {
        let origin = Scripted::new(vec![
            closes_after(&[Play::Read, write(OK), Play::Read]),
            vec![Play::Read, write(OK)],
        ])
        .await;
        let other = Scripted::always(OK).await;
        let mut spare = at(other.port);
        spare.backup = true;
        let pools = pools(settings(vec![at(origin.port), spare]), &Clock::system());
        fetch(&pools, get("/1")).await.unwrap();
        let post = Ask { body, ..ask(Method::POST, "/2") };
        assert_eq!(fetch(&pools, post).await, Err(OriginError::Reset));
        let seen = origin.seen();
        assert_eq!((seen.connections, seen.requests.len()), (1, 2));
        assert_eq!(other.seen().requests.len(), 0);
    }
}

#[tokio::test]
async fn an_idempotent_request_whose_body_has_gone_is_not_repeated() {
    let origin =
        Scripted::new(vec![closes_after(&[Play::Read, write(OK), Play::Read]), vec![Play::Read, write(OK)]])
            .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    fetch(&pools, get("/1")).await.unwrap();
    let put = Ask { body: body_of(&["ab", "c"]), ..ask(Method::PUT, "/2") };
    assert_eq!(fetch(&pools, put).await, Err(OriginError::Reset));
    assert_eq!(origin.seen().connections, 1);
}

/// Nothing of it was sent when the origin's FIN was already there: even a POST may go out afresh.
#[tokio::test]
async fn a_post_on_a_connection_closed_before_it_goes_out_on_a_fresh_one() {
    let origin =
        Scripted::new(vec![closes_after(&[Play::Read, write(OK)]), vec![Play::Read, write(OK)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    fetch(&pools, get("/1")).await.unwrap();
    assert_eq!(fetch(&pools, ask(Method::POST, "/2")).await, Ok((200, "ok".to_owned())));
    assert_eq!(origin.seen().requests.len(), 2);
}

#[tokio::test]
async fn half_an_answer_on_a_kept_connection_is_not_asked_for_again() {
    let origin = Scripted::new(vec![
        closes_after(&[Play::Read, write(OK), Play::Read, write("HTTP/1.1 200 OK\r\nCont")]),
        vec![Play::Read, write(OK)],
    ])
    .await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    fetch(&pools, get("/1")).await.unwrap();
    assert_eq!(fetch(&pools, get("/2")).await, Err(OriginError::Reset));
    assert_eq!(origin.seen().connections, 1);
}

#[tokio::test]
async fn request_bodies_go_out_framed_by_us() {
    let origin = Scripted::always(OK).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let sized = Ask { body: body_of(&["ab", "cd"]), ..ask(Method::POST, "/sized") };
    fetch(&pools, sized).await.unwrap();
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    sender.try_send(Ok(Bytes::from_static(b"xyz"))).unwrap();
    drop(sender);
    let body = RequestBody::Channel { frames, length: None, ended: false, wanted: None };
    fetch(&pools, Ask { body, ..ask(Method::POST, "/chunked") }).await.unwrap();
    fetch(&pools, ask(Method::POST, "/empty")).await.unwrap();
    fetch(&pools, ask(Method::OPTIONS, "*")).await.unwrap();
    let requests = origin.seen().requests;
    let has = |index: usize, text: &str| requests.get(index).unwrap().to_ascii_lowercase().contains(text);
    assert!(has(0, "content-length: 4\r\n") && has(0, "\r\n\r\nabcd"), "{requests:?}");
    assert!(
        has(1, "transfer-encoding: chunked\r\n") && has(1, "\r\n\r\n3\r\nxyz\r\n0\r\n\r\n"),
        "{requests:?}"
    );
    assert!(has(2, "content-length: 0\r\n"), "{requests:?}");
    assert!(has(3, "options * http/1.1\r\n") && !has(3, "content-length"), "{requests:?}");
    assert!(
        requests.iter().all(|request| request.to_ascii_lowercase().contains("host: www.example.com\r\n"))
    );
}

#[tokio::test]
async fn a_client_that_leaves_within_its_body_is_not_the_origins_failure() {
    let origin = Scripted::new(vec![vec![Play::Read, write(OK)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let (sender, frames) = tokio::sync::mpsc::channel(2);
    sender.try_send(Ok(Bytes::from_static(b"ab"))).unwrap();
    sender.try_send(Err(BodyError::Closed)).unwrap();
    let body = RequestBody::Channel { frames, length: Some(4), ended: false, wanted: None };
    let outcome = fetch(&pools, Ask { body, ..ask(Method::POST, "/") }).await;
    assert_eq!(outcome, Err(OriginError::RequestBody(BodyError::Closed)));
    assert_eq!(pools.stats().first().unwrap().counts.failures, 0);
}

/// An origin that answers before it has read the request body would read its rest as the next request.
#[tokio::test]
async fn a_connection_whose_request_was_not_sent_whole_is_not_used_again() {
    let origin =
        Scripted::new(vec![vec![Play::ReadHead, write(OK), Play::Read], vec![Play::Read, write(OK)]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    sender.try_send(Ok(Bytes::from_static(b"ab"))).unwrap();
    let body = RequestBody::Channel { frames, length: Some(4), ended: false, wanted: None };
    let early = fetch(&pools, Ask { body, ..ask(Method::POST, "/1") }).await;
    assert_eq!(early, Ok((200, "ok".to_owned())));
    assert_eq!(pools.stats().first().unwrap().connections_idle, 0);
    assert_eq!(fetch(&pools, get("/2")).await, Ok((200, "ok".to_owned())));
    assert_eq!(origin.seen().connections, 2);
    drop(sender);
}

#[tokio::test]
async fn requests_beyond_the_connections_wait_in_a_bounded_line() {
    let gate = Arc::new(Notify::new());
    let origin = Scripted::new(vec![vec![
        Play::Read,
        Play::Wait(Arc::clone(&gate)),
        write(OK),
        Play::Read,
        write(OK),
    ]])
    .await;
    let mut settings = settings(vec![at(origin.port)]);
    (settings.connections_max, settings.queue_max) = (1, 1);
    let clock = manual();
    let pools = pools(settings, &clock);
    let spawn = || {
        let pools = Arc::clone(&pools);
        tokio::spawn(async move { fetch(&pools, get("/")).await })
    };
    let first = spawn();
    origin.until(|seen| seen.requests.len() == 1).await;
    let second = spawn();
    while pools.stats().first().unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(fetch(&pools, get("/")).await, Err(OriginError::QueueFull));
    gate.notify_one();
    assert_eq!(first.await.unwrap(), Ok((200, "ok".to_owned())));
    assert_eq!(second.await.unwrap(), Ok((200, "ok".to_owned())));
    assert_eq!(origin.seen().connections, 1);
    assert_eq!(pools.stats().first().unwrap().stands, Stands::Well);
}

#[tokio::test]
async fn waiting_in_line_ends_after_queue_timeout() {
    let origin = Scripted::new(vec![vec![Play::Read, Play::Wait(Arc::default())]]).await;
    let mut settings = settings(vec![at(origin.port)]);
    settings.connections_max = 1;
    settings.queue_timeout = Duration::from_secs(1);
    let clock = manual();
    let pools = pools(settings, &clock);
    let first = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, get("/")).await }
    });
    origin.until(|seen| seen.requests.len() == 1).await;
    let second = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, get("/")).await }
    });
    while pools.stats().first().unwrap().waiting == 0 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(second.await.unwrap(), Err(OriginError::QueueTimeout));
    assert_eq!(pools.stats().first().unwrap().waiting, 0);
    clock.advance(Duration::from_secs(4));
    assert_eq!(first.await.unwrap(), Err(OriginError::FirstByteTimeout));
}

#[tokio::test]
async fn dropping_an_ask_closes_its_connection_and_gives_its_slot_back() {
    let origin = Scripted::new(vec![vec![Play::Read, Play::Read], vec![Play::Read, write(OK)]]).await;
    let mut settings = settings(vec![at(origin.port)]);
    settings.connections_max = 1;
    let pools = pools(settings, &Clock::system());
    let asked = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, get("/1")).await }
    });
    origin.until(|seen| seen.requests.len() == 1).await;
    asked.abort();
    assert_eq!(fetch(&pools, get("/2")).await, Ok((200, "ok".to_owned())));
    assert_eq!(pools.stats().first().unwrap().counts.failures, 0);
}

/// The first-byte limit does not run while the client is still to bring its body.
#[tokio::test]
async fn a_slow_upload_is_not_the_origins_first_byte_timeout() {
    let origin = Scripted::always(OK).await;
    let clock = manual();
    let pools = pools(settings(vec![at(origin.port)]), &clock);
    let (sender, frames) = tokio::sync::mpsc::channel(1);
    let body = RequestBody::Channel { frames, length: Some(4), ended: false, wanted: None };
    let asked = tokio::spawn({
        let pools = Arc::clone(&pools);
        async move { fetch(&pools, Ask { body, ..ask(Method::POST, "/") }).await }
    });
    for _ in 0..2 {
        origin.until(|seen| seen.connections == 1).await;
        clock.advance(Duration::from_mins(1));
        sender.send(Ok(Bytes::from_static(b"ab"))).await.unwrap();
        // The channel has room again only when the piece was taken.
        let _room = sender.reserve().await.unwrap();
    }
    drop(sender);
    assert_eq!(asked.await.unwrap(), Ok((200, "ok".to_owned())));
}

/// Workers have a runtime each and share the connections: one that another worker takes becomes its own.
#[test]
fn a_connection_serves_every_worker_and_outlives_the_one_that_opened_it() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let stage = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let origin = stage.block_on(Scripted::always(OK));
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    let ok = Ok((200, "ok".to_owned()));
    let (one, other) = (runtime(), runtime());
    for target in ["/1", "/2"] {
        assert_eq!(one.block_on(fetch(&pools, get(target))), ok);
        assert_eq!(other.block_on(fetch(&pools, get(target))), ok);
    }
    assert_eq!(one.block_on(fetch(&pools, get("/3"))), ok);
    drop(one);
    assert_eq!(other.block_on(fetch(&pools, get("/4"))), ok);
    assert_eq!(origin.seen().connections, 1);
}

#[tokio::test]
async fn connect_is_never_sent() {
    let origin = Scripted::always(OK).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    assert_eq!(fetch(&pools, ask(Method::CONNECT, "/")).await, Err(OriginError::Target));
    assert_eq!(fetch(&pools, get("no slash")).await, Err(OriginError::Target));
    assert_eq!(origin.seen().connections, 0);
}
