//! Bodies on disk, as answers: read piece by piece while they are sent.
//!
//! What is missing on the way is fetched by whoever serves the request ([`Refill`]); this room only hands the permit on. A
//! body that cannot be gone on with is cut, never ended (RFC 9112 §8).

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::large::{FilePart, Large, LargeReader, Slice};
use cache_store::rules::partial::Span;

use super::response::{Body, Cut, Stream};

/// Has a missing part of a stored body fetched from the origin.
pub trait Refill: Send + Sync {
    /// Begins to; does not wait.
    fn refill(&self, slice: Slice);
}

/// What an answer's body is put together from.
pub(super) enum Part {
    /// These bytes.
    Bytes(Bytes),
    /// These of the stored body.
    Span(Span),
}

impl Part {
    fn length(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Span(span) => span.length(),
        }
    }
}

/// A body on disk, or parts of it, as an answer's stream.
pub(super) struct LargeStream {
    parts: VecDeque<Part>,
    reader: Option<LargeReader>,
    large: Arc<Large>,
    refill: Option<Arc<dyn Refill>>,
}

impl LargeStream {
    pub(super) fn new(
        large: &Arc<Large>,
        parts: impl IntoIterator<Item = Part>,
        refill: Option<&Arc<dyn Refill>>,
    ) -> Self {
        Self {
            parts: parts.into_iter().collect(),
            reader: None,
            large: Arc::clone(large),
            refill: refill.map(Arc::clone),
        }
    }

    /// What one reader reads.
    pub(super) fn of(reader: LargeReader, refill: Option<&Arc<dyn Refill>>) -> Self {
        let large = Arc::clone(reader.large());
        Self { reader: Some(reader), ..Self::new(&large, [], refill) }
    }

    /// Begins with a part of the stored body, if one is next and none under way.
    fn begin(&mut self) {
        if self.reader.is_none()
            && let Some(Part::Span(span)) = self.parts.pop_front_if(|part| matches!(part, Part::Span(_)))
        {
            self.reader = Some(self.large.reader(span.first(), Some(span.end())));
        }
    }
}

/// Has what is missing fetched, where somebody does that.
fn fetch(refill: Option<&Arc<dyn Refill>>, slice: Slice) {
    if let Some(refill) = refill {
        refill.refill(slice);
    }
}

impl Stream for LargeStream {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let this = self.get_mut();
        loop {
            if let Some(reader) = &mut this.reader {
                let mut fetch = |slice| fetch(this.refill.as_ref(), slice);
                match ready!(reader.poll_next(cx, &mut fetch)) {
                    Some(piece) => return Poll::Ready(Some(piece.map_err(|_| Cut))),
                    None => this.reader = None,
                }
            }
            match this.parts.pop_front() {
                None => return Poll::Ready(None),
                Some(Part::Bytes(bytes)) => return Poll::Ready(Some(Ok(bytes))),
                Some(Part::Span(span)) => {
                    this.reader = Some(this.large.reader(span.first(), Some(span.end())));
                }
            }
        }
    }

    fn poll_first(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Option<Bytes>, Cut>>> {
        self.begin();
        let Self { reader: Some(reader), refill, .. } = &mut *self else {
            return self.poll_next(cx).map(|next| next.map(|piece| piece.map(Some)));
        };
        let mut fetch = |slice| fetch(refill.as_ref(), slice);
        match ready!(reader.poll_first(cx, &mut fetch)) {
            Some(piece) => Poll::Ready(Some(piece.map_err(|_| Cut))),
            // A part that has nothing.
            None => self.poll_next(cx).map(|next| next.map(|piece| piece.map(Some))),
        }
    }

    fn file(self: Pin<&mut Self>) -> Option<FilePart> {
        let this = self.get_mut();
        this.begin();
        this.reader.as_mut()?.file()
    }
}

/// The whole body of a stored response, wherever it lies.
pub(super) fn whole(stored: &Arc<StoredResponse>, refill: Option<&Arc<dyn Refill>>) -> Body {
    let Some(large) = stored.large() else { return Body::Stored(Arc::clone(stored)) };
    let length = stored.body_len();
    let all = length.checked_sub(1).and_then(|last| Span::new(0, last)).map(Part::Span);
    Body::Stream { length: Some(length), source: Box::pin(LargeStream::new(large, all, refill)) }
}

/// Parts of the body of a large stored response, as one body.
pub(super) fn parts(large: &Arc<Large>, parts: Vec<Part>, refill: Option<&Arc<dyn Refill>>) -> Body {
    let length = parts.iter().map(Part::length).sum();
    Body::Stream { length: Some(length), source: Box::pin(LargeStream::new(large, parts, refill)) }
}

/// A stream whose first piece has been waited for, to see whether there is one.
pub(crate) struct Begun {
    /// That piece, where it was taken.
    pub(crate) first: Option<Bytes>,
    /// What follows.
    pub(crate) rest: Pin<Box<dyn Stream>>,
}

impl Stream for Begun {
    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Cut>>> {
        let this = self.get_mut();
        match this.first.take() {
            Some(first) => Poll::Ready(Some(Ok(first))),
            None => this.rest.as_mut().poll_next(cx),
        }
    }

    fn file(self: Pin<&mut Self>) -> Option<FilePart> {
        let this = self.get_mut();
        if this.first.is_some() { None } else { this.rest.as_mut().file() }
    }
}
