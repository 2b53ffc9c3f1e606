//! Which connection carries a request, and what happens when one goes away.

use std::collections::HashMap;

use super::peer::{HEADERS, Peer, RST_STREAM, listen};
use super::*;

const MAX_CONCURRENT_STREAMS: u16 = 3;

/// As many requests to a pool at once, each with its outcome.
fn all_at_once(
    pools: &Arc<OriginPools>,
    count: usize,
) -> Vec<tokio::task::JoinHandle<Result<(u16, String), OriginError>>> {
    let one = |_| {
        let pools = Arc::clone(pools);
        tokio::spawn(async move { fetch(&pools, get("/")).await })
    };
    (0..count).map(one).collect()
}

#[tokio::test]
async fn a_hundred_requests_share_two_connections_within_the_bound_of_each() {
    let (listener, port) = listen().await;
    let open = Arc::new(Mutex::new(Vec::new()));
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let (counts, shut) = (Arc::clone(&open), Arc::clone(&gate));
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let at = counts.lock().len();
            counts.lock().push(0_usize);
            let (counts, shut) = (Arc::clone(&counts), Arc::clone(&shut));
            tokio::spawn(async move {
                let mut connection = ::h2::server::handshake(socket).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    counts.lock()[at] += 1;
                    let shut = Arc::clone(&shut);
                    tokio::spawn(async move {
                        drop(shut.acquire().await);
                        let mut body = respond.send_response(http::Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                    });
                }
            });
        }
    });
    let settings = PoolSettings { connections_max: 2, queue_max: 1000, ..spoken(vec![at(port)], 50) };
    let pools = pools(settings, &manual());
    let asked = all_at_once(&pools, 100);
    while open.lock().iter().sum::<usize>() < 100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(*open.lock(), [50, 50]);
    assert_eq!((pools.stats()[0].connections_in_use, pools.load("p")), (2, 100));
    // One more finds no room, and waits.
    let mut late = all_at_once(&pools, 1);
    while pools.load("p") < 101 {
        tokio::task::yield_now().await;
    }
    gate.add_permits(1000);
    for asked in asked.into_iter().chain(late.drain(..)) {
        assert_eq!(asked.await.unwrap(), Ok((200, "ok".into())));
    }
    assert_eq!(*open.lock().iter().max().unwrap(), 51);
}

/// RFC 9113 §5.1.2: what it says in its first SETTINGS holds for the first requests.
#[tokio::test]
async fn an_origin_never_has_more_streams_than_it_takes() {
    let (listener, port) = listen().await;
    let origin = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[(MAX_CONCURRENT_STREAMS, 3)]).await;
        let mut waiting = std::collections::VecDeque::new();
        for asked in 1..=10 {
            waiting.push_back(peer.request().await);
            assert!(waiting.len() <= 3, "{waiting:?}");
            while waiting.len() == 3 || asked == 10 {
                let Some(stream) = waiting.pop_front() else { break };
                peer.answer(stream, "ok").await;
            }
        }
        peer.silence().await;
    });
    let settings = PoolSettings { connections_max: 1, ..spoken(vec![at(port)], 50) };
    let pools = pools(settings, &manual());
    for asked in all_at_once(&pools, 10) {
        assert_eq!(asked.await.unwrap(), Ok((200, "ok".into())));
    }
    drop(pools);
    origin.await.unwrap();
}

/// RFC 9113 §6.8: what is above the last stream it names was not looked at, whatever the method.
#[tokio::test]
async fn behind_a_goaway_what_was_not_looked_at_is_asked_again_and_the_rest_ends_where_it_is() {
    let (listener, port) = listen().await;
    let origin = tokio::spawn(async move {
        let mut old = Peer::accept(&listener, &[]).await;
        let first = old.request().await;
        let second = old.request().await;
        old.go_away(first, 0).await;
        let mut new = Peer::accept(&listener, &[]).await;
        let again = new.request().await;
        new.answer(again, "new").await;
        old.answer(first, "old").await;
        assert_ne!(first, second);
        tokio::join!(old.silence(), new.silence());
    });
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let first = all_at_once(&pools, 1).remove(0);
    let second = {
        let pools = Arc::clone(&pools);
        tokio::spawn(async move { fetch(&pools, ask(Method::POST, "/")).await })
    };
    assert_eq!(second.await.unwrap(), Ok((200, "new".into())));
    assert_eq!(first.await.unwrap(), Ok((200, "old".into())));
    assert_eq!(pools.stats()[0].counts.connects, 2);
    drop(pools);
    origin.await.unwrap();
}

/// RFC 9113 §8.7; once at the same origin, and not for ever.
#[tokio::test]
async fn a_refused_stream_is_asked_again_once_and_then_given_up() {
    for (refusals, expected) in [(1, Ok((200, "ok".into()))), (9, Err(OriginError::Reset))] {
        let (listener, port) = listen().await;
        let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut peer = Peer::accept(&listener, &[]).await;
            loop {
                let stream = peer.request().await;
                if counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst) < refusals {
                    peer.reset(stream, 7).await;
                } else {
                    peer.answer(stream, "ok").await;
                }
            }
        });
        let pools = pools(spoken(vec![at(port)], 10), &manual());
        assert_eq!(fetch(&pools, ask(Method::POST, "/")).await, expected);
        assert_eq!(asked.load(std::sync::atomic::Ordering::SeqCst), 2);
    }
}

/// Only what may be repeated is: RFC 9110 §9.2.2.
#[tokio::test]
async fn a_stream_that_is_reset_without_a_word_is_asked_again_only_where_that_is_safe() {
    for (method, requests) in [(Method::POST, 1), (Method::GET, 2)] {
        let (listener, port) = listen().await;
        let asked = Arc::new(Mutex::new(HashMap::<u32, usize>::new()));
        let counted = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut peer = Peer::accept(&listener, &[]).await;
            // So that the next request finds a connection that was used.
            let first = peer.request().await;
            peer.answer(first, "ok").await;
            loop {
                let stream = peer.request().await;
                *counted.lock().entry(stream).or_default() += 1;
                peer.reset(stream, 2).await;
            }
        });
        let pools = pools(spoken(vec![at(port)], 10), &manual());
        assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
        assert_eq!(fetch(&pools, ask(method, "/")).await, Err(OriginError::Reset));
        assert_eq!(asked.lock().len(), requests);
    }
}

#[tokio::test]
async fn those_who_wait_for_a_connection_that_cannot_be_made_share_its_failure() {
    let (listener, port) = listen().await;
    let accepted = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            drop(socket);
        }
    });
    let settings = PoolSettings { eject_after: 100, ..spoken(vec![at(port)], 10) };
    let pools = pools(settings, &manual());
    for asked in all_at_once(&pools, 8) {
        let error = asked.await.unwrap().expect_err("nobody is there");
        assert!(matches!(error, OriginError::Reset), "{error:?}");
    }
    assert_eq!(accepted.load(std::sync::atomic::Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_leaves_resets_its_stream_and_no_other() {
    let (listener, port) = listen().await;
    let (told, left) = tokio::sync::oneshot::channel();
    let origin = tokio::spawn(async move {
        let mut peer = Peer::accept(&listener, &[]).await;
        let (first, second) = (peer.request().await, peer.request().await);
        told.send(()).unwrap();
        let reset = peer.until(RST_STREAM).await;
        assert_eq!(reset.stream, first);
        peer.answer(second, "ok").await;
        let third = peer.until(HEADERS).await;
        peer.answer(third.stream, "ok").await;
        peer.silence().await;
    });
    let pools = pools(spoken(vec![at(port)], 10), &manual());
    let first = all_at_once(&pools, 1).remove(0);
    let second = all_at_once(&pools, 1).remove(0);
    left.await.unwrap();
    first.abort();
    assert_eq!(second.await.unwrap(), Ok((200, "ok".into())));
    assert_eq!(fetch(&pools, get("/")).await, Ok((200, "ok".into())));
    drop(pools);
    origin.await.unwrap();
}
