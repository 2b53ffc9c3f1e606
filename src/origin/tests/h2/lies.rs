//! Answers that break off, break the rules, or never come.

use super::peer::{self, HEADERS, PING, Peer, listen};
use super::*;

/// What an origin does with its first request.
#[derive(Clone, Copy, Debug)]
enum Lie {
    /// Fewer bytes than its head declares, and an end.
    Short,
    /// More.
    Long,
    /// Two lengths.
    TwoLengths,
    /// A length that is none.
    NoLength,
    /// `RST_STREAM` within the body, of no error.
    Reset,
    /// The connection ends within the body.
    Closed,
    /// The connection ends within a body that declares no length.
    ClosedOpen,
    /// GOAWAY that names the stream, and the end of the connection.
    GoneAway,
    /// A body where there can be none.
    Forbidden,
    /// 101.
    Switches,
    /// A field that HTTP/2 does not have.
    Connection,
    /// An upper-case name.
    Upper,
    /// A frame of no stream.
    NoStream,
    /// Interim heads without end.
    Interims,
    /// More fields than are taken.
    Fields,
}

async fn tell(peer: &mut Peer, stream: u32, lie: Lie) {
    let ok = (":status", "200");
    match lie {
        Lie::Short => {
            peer.head(stream, false, &[ok, ("content-length", "10")]).await;
            peer.data(stream, true, b"half").await;
        }
        Lie::Long => {
            peer.head(stream, false, &[ok, ("content-length", "2")]).await;
            peer.data(stream, true, b"half").await;
        }
        Lie::TwoLengths => {
            peer.head(stream, false, &[ok, ("content-length", "4"), ("content-length", "4")]).await;
            peer.data(stream, true, b"half").await;
        }
        Lie::NoLength => {
            peer.head(stream, false, &[ok, ("content-length", "+4")]).await;
            peer.data(stream, true, b"half").await;
        }
        Lie::Reset => {
            peer.head(stream, false, &[ok, ("content-length", "10")]).await;
            peer.data(stream, false, b"half").await;
            peer.reset(stream, 0).await;
        }
        Lie::Closed => {
            peer.head(stream, false, &[ok, ("content-length", "10")]).await;
            peer.data(stream, false, b"half").await;
        }
        Lie::ClosedOpen => {
            peer.head(stream, false, &[ok]).await;
            peer.data(stream, false, b"half").await;
        }
        Lie::GoneAway => {
            peer.head(stream, false, &[ok]).await;
            peer.data(stream, false, b"half").await;
            peer.go_away(stream, 0).await;
        }
        Lie::Forbidden => {
            peer.head(stream, false, &[(":status", "204")]).await;
            peer.data(stream, true, b"half").await;
        }
        Lie::Switches => peer.head(stream, false, &[(":status", "101")]).await,
        Lie::Connection => peer.head(stream, true, &[ok, ("connection", "close")]).await,
        Lie::Upper => peer.head(stream, true, &[ok, ("X-Upper", "1")]).await,
        Lie::NoStream => peer.head(0, true, &[ok]).await,
        Lie::Interims => {
            for _ in 0..200 {
                peer.head(stream, false, &[(":status", "103")]).await;
            }
        }
        Lie::Fields => {
            let mut fields = vec![ok];
            fields.resize(600, ("x", "1"));
            peer.head(stream, true, &fields).await;
        }
    }
}

#[tokio::test]
async fn an_answer_that_is_not_what_it_says_never_ends_well() {
    use Lie as L;
    for lie in [
        L::Short,
        L::Long,
        L::TwoLengths,
        L::NoLength,
        L::Reset,
        L::Closed,
        L::ClosedOpen,
        L::GoneAway,
        L::Forbidden,
        L::Switches,
        L::Connection,
        L::Upper,
        L::NoStream,
        L::Interims,
        L::Fields,
    ] {
        let (listener, port) = listen().await;
        tokio::spawn(async move {
            loop {
                let mut peer = Peer::accept(&listener, &[]).await;
                let stream = peer.request().await;
                tell(&mut peer, stream, lie).await;
                let closes = matches!(lie, L::Closed | L::ClosedOpen | L::GoneAway);
                if !closes {
                    tokio::spawn(peer.silence());
                }
            }
        });
        let pools = pools(spoken(vec![at(port)], 10), &manual());
        let outcome = fetch(&pools, ask(Method::POST, "/")).await;
        let error = outcome.expect_err(&format!("{lie:?}"));
        let is_cut = matches!(error, OriginError::BodyCut);
        match lie {
            L::Reset | L::Closed | L::ClosedOpen | L::GoneAway => assert!(is_cut, "{lie:?}: {error:?}"),
            L::Fields => assert_eq!(error, OriginError::HeadTooLarge),
            // The library sees some of it first: then it is the frames that are not allowed.
            _ => assert!(is_cut || matches!(error, OriginError::Framing(_)), "{lie:?}: {error:?}"),
        }
        assert_eq!(pools.stats()[0].counts.failures, 1, "{lie:?}");
    }
}

#[tokio::test]
async fn what_is_no_http2_is_told_before_anything_was_asked_and_another_origin_answers() {
    let one = Scripted::new(vec![vec![write("HTTP/1.1 400 Bad Request\r\n\r\n"), Play::Close]]).await;
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[]).await;
        let stream = peer.request().await;
        peer.answer(stream, "ok").await;
        peer.silence().await;
    });
    let backup = Origin { backup: true, ..at(port) };
    let pools = pools(spoken(vec![at(one.port), backup], 10), &manual());
    // Not idempotent: it may go on because it was never sent.
    assert_eq!(fetch(&pools, ask(Method::POST, "/")).await, Ok((200, "ok".into())));
    assert_eq!(pools.stats()[0].counts.failures, 1);
}

#[tokio::test]
async fn a_stream_that_stalls_fails_by_its_own_deadline_and_the_others_go_on() {
    let (listener, port) = listen().await;
    let (told, asked) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[]).await;
        peer.request().await;
        told.send(()).unwrap();
        let body = peer.request().await;
        peer.head(body, false, &[(":status", "200")]).await;
        loop {
            let frame = peer.until(HEADERS).await;
            peer.answer(frame.stream, "ok").await;
        }
    });
    let clock = manual();
    let settings = PoolSettings { first_byte_timeout: Duration::from_secs(3), ..spoken(vec![at(port)], 10) };
    let pools = pools(settings, &clock);
    let first = {
        let pools = Arc::clone(&pools);
        tokio::spawn(async move { fetch(&pools, ask(Method::POST, "/1")).await })
    };
    asked.await.unwrap();
    let mut second = pools.ask(ask(Method::POST, "/2")).await.unwrap();
    assert_eq!(fetch(&pools, get("/3")).await, Ok((200, "ok".into())));
    let mut pull = Box::pin(second.body.next());
    assert!(futures_util::poll!(&mut pull).is_pending());
    clock.advance(Duration::from_secs(4));
    assert_eq!(first.await.unwrap(), Err(OriginError::FirstByteTimeout));
    assert_eq!(fetch(&pools, get("/4")).await, Ok((200, "ok".into())));
    clock.advance(Duration::from_secs(2));
    assert_eq!(pull.await, Some(Err(OriginError::BetweenBytesTimeout)));
    assert_eq!(pools.stats()[0].counts.connects, 1);
}

/// RFC 9113 §6.7.
#[tokio::test]
async fn a_connection_that_does_not_answer_a_ping_is_dead_and_its_requests_go_elsewhere() {
    let (listener, port) = listen().await;
    let (told, pinged) = tokio::sync::oneshot::channel();
    tokio::spawn(async move {
        let mut dead = Peer::accept(&listener, &[]).await;
        let first = dead.request().await;
        dead.answer(first, "ok").await;
        dead.request().await;
        dead.until(PING).await;
        told.send(()).unwrap();
        let mut new = Peer::accept(&listener, &[]).await;
        let again = new.request().await;
        new.answer(again, "new").await;
        tokio::join!(dead.silence(), new.silence());
    });
    let clock = manual();
    let settings = PoolSettings { first_byte_timeout: Duration::from_mins(1), ..spoken(vec![at(port)], 10) };
    let pools = pools(settings, &clock);
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
    let mut asked = {
        let pools = Arc::clone(&pools);
        tokio::spawn(async move { fetch(&pools, get("/")).await })
    };
    // Ten seconds without a word and five for the answer: the driver looks every ten.
    let mut pinged = std::pin::pin!(pinged);
    while futures_util::poll!(&mut pinged).is_pending() {
        clock.advance(Duration::from_secs(1));
        let turn = std::future::pending::<()>();
        let _ = tokio::time::timeout(Duration::from_millis(2), turn).await;
        assert!(futures_util::poll!(&mut asked).is_pending());
    }
    clock.advance(Duration::from_secs(6));
    assert_eq!(asked.await.unwrap(), Ok((200, "new".into())));
}

/// An origin may answer before it has the whole request: RFC 9113 §8.1.
#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_request_is_whole() {
    let (listener, port) = listen().await;
    tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[]).await;
        let head = peer.until(HEADERS).await;
        peer.head(head.stream, false, &[(":status", "413")]).await;
        peer.data(head.stream, true, b"too much").await;
        peer.reset(head.stream, 0).await;
        let next = peer.request().await;
        peer.answer(next, "ok").await;
        peer.silence().await;
    });
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let (sender, frames) = tokio::sync::mpsc::channel(4);
    sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
    let body = RequestBody::Channel { frames, length: None, ended: false, wanted: None };
    assert_eq!(fetch(&pools, Ask { body, ..ask(Method::POST, "/") }).await, Ok((413, "too much".into())));
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
    assert_eq!(pools.stats()[0].counts.connects, 1, "the connection serves on");
    drop(sender);
}

/// What the client breaks off never looks whole to the origin.
#[tokio::test]
async fn a_request_body_that_breaks_off_resets_its_stream() {
    let (listener, port) = listen().await;
    let origin = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[]).await;
        let reset = peer.until(peer::RST_STREAM).await;
        assert_eq!(reset.stream, 1);
    });
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let (sender, frames) = tokio::sync::mpsc::channel(4);
    sender.send(Ok(Bytes::from_static(b"some"))).await.unwrap();
    sender.send(Err(crate::listener::request::BodyError::Closed)).await.unwrap();
    let body = RequestBody::Channel { frames, length: Some(10), ended: false, wanted: None };
    let outcome = fetch(&pools, Ask { body, ..ask(Method::POST, "/") }).await;
    assert!(matches!(outcome, Err(OriginError::RequestBody(_))), "{outcome:?}");
    origin.await.unwrap();
}
