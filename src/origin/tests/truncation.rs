//! FAULTS F1, B11: a response cut at any byte is never taken for whole.

use super::*;

/// Cuts `response` at every byte and closes as `close` says; `whole_at` tells from which cut on it is whole.
async fn cut_everywhere(response: &'static str, close: &Play, whole_at: usize) {
    let mut plays = Vec::new();
    for cut in 0..=response.len() {
        plays.push(vec![Play::Read, write(response.get(..cut).unwrap()), close.clone()]);
    }
    let origin = Scripted::new(plays).await;
    let mut settings = settings(vec![at(origin.port)]);
    settings.eject_after = u32::MAX;
    let pools = pools(settings, &Clock::system());
    for cut in 0..=response.len() {
        let outcome = fetch(&pools, ask(Method::POST, "/")).await;
        assert_eq!(outcome.is_ok(), cut >= whole_at, "{response:?} cut at {cut}: {outcome:?}");
    }
}

#[tokio::test]
async fn no_cut_of_a_framed_response_is_whole() {
    for response in [
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 0-4/9\r\nContent-Length: 5\r\n\r\nabcde",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nabcde",
    ] {
        cut_everywhere(response, &Play::Close, response.len()).await;
    }
}

#[tokio::test]
async fn a_response_without_framing_is_whole_only_when_its_connection_closes_cleanly() {
    let response = "HTTP/1.1 200 OK\r\n\r\nabcde";
    let head = response.len() - 5;
    cut_everywhere(response, &Play::Close, head).await;
    cut_everywhere(response, &Play::Reset, usize::MAX).await;
    let origin = Scripted::new(vec![vec![Play::Read, write(response), Play::Close]]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    assert_eq!(pools.ask(get("/")).await.unwrap().framing, Framing::Close);
}

#[tokio::test]
async fn a_body_that_is_cut_counts_against_its_origin_and_a_whole_one_for_it() {
    let cut = vec![Play::Read, write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), Play::Close];
    let whole = vec![Play::Read, write(OK), Play::Close];
    let origin = Scripted::new(vec![cut.clone(), cut.clone(), whole, cut.clone(), cut.clone(), cut]).await;
    let pools = pools(settings(vec![at(origin.port)]), &Clock::system());
    for (request, ejected) in [(0, false), (1, false), (2, false), (3, false), (4, false), (5, true)] {
        let _ = fetch(&pools, get("/")).await;
        assert_eq!(
            pools.stats().first().unwrap().stands == Stands::Ejected,
            ejected,
            "after request {request}"
        );
    }
}

#[tokio::test]
async fn a_body_that_stops_is_cut_after_between_bytes_timeout() {
    let origin =
        Scripted::new(vec![vec![Play::Read, write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")]]).await;
    let clock = manual();
    let pools = pools(settings(vec![at(origin.port)]), &clock);
    let mut answer = pools.ask(get("/")).await.unwrap();
    assert_eq!(answer.body.next().await.unwrap().unwrap(), "ab");
    let mut next = Box::pin(answer.body.next());
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(next.as_mut().poll(cx))).await;
    assert!(first.is_pending());
    clock.advance(Duration::from_secs(5));
    assert_eq!(next.as_mut().await, Some(Err(OriginError::BetweenBytesTimeout)));
    drop(next);
    assert!(answer.body.next().await.is_none());
}
