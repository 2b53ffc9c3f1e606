//! A request body whose beginning was looked at before it goes on: what was taken out is given again, and then the rest.
//!
//! Invariant: what is pulled from it, its declared length and how it ends are what they would have been. Frames may be cut otherwise.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as _, Frame, SizeHint};

use super::request::{BodyError, RequestBody};
use crate::route::access::inspect::Room;

/// What was taken out of a body, and what was left.
#[derive(Debug)]
pub struct Peeked {
    pieces: VecDeque<Bytes>,
    /// What followed the body, if that was seen.
    trailers: Option<HeaderMap>,
    rest: RequestBody,
    /// What the pieces take; free when they are gone.
    room: Option<Room>,
}

/// The beginning of a body.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) pieces: Vec<Bytes>,
    /// There is no more.
    pub(crate) is_whole: bool,
}

/// Takes `bytes_max` bytes out of `body`, or all of it; and the body as it was before. A client that waits for `100 Continue` is told to go
/// on. Where the body was cut on its way makes no difference. Cancel by dropping: the body is lost.
///
/// # Errors
/// Why the body ends before its end.
pub(crate) async fn peek(
    mut body: RequestBody,
    bytes_max: usize,
    room: Option<Room>,
) -> Result<(Beginning, RequestBody), BodyError> {
    let (mut pieces, mut beginning) = (VecDeque::new(), Vec::new());
    let (mut left, mut trailers, mut is_ended, mut has_more) = (bytes_max, None, false, false);
    // One byte more tells whether that was all.
    while !has_more && !is_ended {
        match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await.transpose()?.map(Frame::into_data) {
            None => is_ended = true,
            Some(Ok(piece)) => {
                has_more = piece.len() > left;
                let fitting = piece.slice(..piece.len().min(left));
                left = left.saturating_sub(fitting.len());
                beginning.push(fitting);
                pieces.push_back(piece);
                is_ended = body.is_end_stream() || body.size_hint().exact() == Some(0);
            }
            Some(Err(frame)) => {
                trailers = frame.into_trailers().ok();
                is_ended = true;
            }
        }
    }
    let beginning = Beginning { pieces: beginning, is_whole: !has_more };
    Ok((beginning, RequestBody::Peeked(Box::new(Peeked { pieces, trailers, rest: body, room }))))
}

impl Peeked {
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(piece) = self.pieces.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        self.room = None;
        if let Some(trailers) = self.trailers.take() {
            return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
        }
        Pin::new(&mut self.rest).poll_frame(cx)
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.pieces.is_empty() && self.trailers.is_none() && self.rest.is_end_stream()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let held: u64 = self.pieces.iter().map(|piece| piece.len() as u64).sum();
        let exact = self.rest.size_hint().exact().map(|rest| rest.saturating_add(held));
        exact.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;
    use tokio::sync::{mpsc, oneshot};

    use super::*;
    use crate::listener::trailers::Trailers;

    fn body(pieces: &[&'static str], length: Option<u64>) -> (RequestBody, oneshot::Receiver<()>) {
        let (send, frames) = mpsc::channel(16);
        for piece in pieces {
            send.try_send(Ok(Bytes::from_static(piece.as_bytes()))).expect("there is room");
        }
        let (wanted, is_wanted) = oneshot::channel();
        (RequestBody::Channel { frames, length, ended: false, wanted: Some(wanted) }, is_wanted)
    }

    async fn all(mut body: RequestBody) -> (String, Option<HeaderMap>) {
        let (mut text, mut trailers) = (String::new(), None);
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            match frame.expect("it is whole").into_data() {
                Ok(piece) => text.push_str(std::str::from_utf8(&piece).expect("it is text")),
                Err(frame) => trailers = frame.into_trailers().ok(),
            }
        }
        (text, trailers)
    }

    #[tokio::test]
    async fn a_body_is_the_same_behind_a_look_at_its_beginning_wherever_it_is_cut() {
        let text = "0123456789";
        for length in [Some(10), None] {
            for cut in 0..=text.len() {
                for bytes_max in 0..=text.len() + 1 {
                    let (first, second) = text.split_at(cut);
                    let pieces: Vec<_> =
                        [first, second].into_iter().filter(|piece| !piece.is_empty()).collect();
                    let (body, mut wanted) = body(&pieces, length);
                    let (beginning, body) = peek(body, bytes_max, None).await.expect("it is whole");
                    let claim = format!("{length:?}, cut at {cut}, {bytes_max} bytes");
                    assert!(wanted.try_recv().is_ok(), "{claim}: the client is told to go on");
                    let taken: usize = beginning.pieces.iter().map(Bytes::len).sum();
                    assert_eq!(taken, text.len().min(bytes_max), "{claim}");
                    assert_eq!(beginning.is_whole, text.len() <= bytes_max, "{claim}");
                    assert_eq!(body.size_hint().exact(), length, "{claim}");
                    assert!(!body.is_end_stream(), "{claim}");
                    assert_eq!(all(body).await.0, text, "{claim}");
                }
            }
        }
    }

    #[tokio::test]
    async fn what_breaks_off_is_told_at_once_and_trailers_stay_behind_the_body() {
        let (cut, _wanted) = body(&["abc"], Some(10));
        assert!(matches!(peek(cut, 64, None).await, Err(BodyError::Closed)));
        let (inner, _wanted) = body(&["abc"], None);
        let mut sum = Trailers::default();
        sum.add(b"x-sum", b"7");
        let trailers = Arc::new(Mutex::new(Some(Box::new(sum))));
        let body = RequestBody::Trailing { body: Box::new(inner), trailers };
        let (beginning, body) = peek(body, 64, None).await.expect("it is whole");
        assert!(beginning.is_whole);
        let (text, trailers) = all(body).await;
        assert_eq!((&*text, trailers.expect("they are there").len()), ("abc", 1));
    }
}
