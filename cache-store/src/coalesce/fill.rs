//! The leader's permit: the right and the duty to fetch one key.
//!
//! A [`Fill`] ends in exactly one of the ways drawn in the module head; dropping it, on whatever path, lets the
//! followers look up again. It belongs to the task that fetches, not to the client that caused it.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_RANGE;

use super::{Failure, FillHead, Flight, Phase, Streaming};
use crate::body::{Unread, Writer, growing};
use crate::entry::{Epoch, Parts, StoredResponse};
use crate::key::CacheKey;
use crate::lookup::Why;
use crate::rules::partial::Held;
use crate::store::{CacheStore, Reservation};
use crate::timestamp::Timestamp;

/// The permit to fetch.
#[derive(Debug)]
pub struct Fill {
    pub(crate) store: Arc<CacheStore>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) primary: CacheKey,
    /// What is stored and answers the request but for its age, or in part.
    pub stored: Option<Arc<StoredResponse>>,
    /// Everything stored for the URI that the origin may confirm, `stored` first.
    pub candidates: Vec<Arc<StoredResponse>>,
    /// Why the origin is asked.
    pub why: Why,
    /// Whether others may be waiting for it.
    pub shared: bool,
}

/// A response that is arriving: its head is published, its body is being written.
#[derive(Debug)]
pub struct Writing {
    fill: Fill,
    writer: Writer,
    streaming: Arc<Streaming>,
    tags: Box<[Box<str>]>,
    held: Option<Held>,
    /// Heaviest body that is kept, bytes.
    keep_bytes_max: u64,
    /// Room taken for it while it is to be stored at its end.
    keep: Option<Reservation>,
}

impl Fill {
    /// The purge epoch in which the fetch began.
    pub fn epoch(&self) -> Epoch {
        self.flight.epoch
    }

    /// A place behind this fill, for the request that caused it.
    pub fn follower(&self) -> super::Follower {
        super::Follower::new(self.flight.phase.subscribe(), self.stored.clone(), self.why)
    }

    /// Publishes a head that may be stored and shared; `part` says which part of the representation a 206 brings. A body announced as longer than is kept is streamed through
    /// a window of `window_bytes` and not stored.
    pub fn stream(
        self,
        head: FillHead,
        length: Option<u64>,
        tags: Box<[Box<str>]>,
        part: Option<Held>,
        window_bytes: u64,
    ) -> Writing {
        let room = self.store.body_bytes_max(head.lines.len() as u64 + HEAD_SLACK_BYTES);
        let keep = if length.is_none_or(|length| length <= room) {
            Reservation::take(&self.store, length.unwrap_or(0))
        } else {
            None
        };
        let (writer, body) = growing(keep.is_none().then_some(window_bytes));
        let streaming = Arc::new(Streaming { head, body, length });
        // A body that is not kept cannot be joined late: close the flight before the head is out.
        if keep.is_none() {
            self.store.flights().shard(self.primary).end(&self.flight);
        }
        self.flight.phase.send_replace(Phase::Streaming(Arc::clone(&streaming)));
        Writing { fill: self, writer, streaming, tags, held: part, keep_bytes_max: room, keep }
    }

    /// Stores a response that is complete already (one that a 304 confirmed, or a completed partial) and hands it to
    /// the followers. `base` is the stored response that it was made from; where that has been replaced meanwhile, the
    /// newer one stays.
    pub fn settle(self, parts: Parts, base: &Arc<StoredResponse>) -> Arc<StoredResponse> {
        let stored = self.store.insert(&self, self.store.pack(parts), Some(base));
        self.flight.phase.send_replace(Phase::Settled(Arc::clone(&stored)));
        stored
    }

    /// The answer is for the one who asked only: frees the followers, and remembers that this key does not share.
    pub fn uncacheable(self, now: Timestamp) {
        {
            let mut shard = self.store.flights().shard(self.primary);
            shard.end(&self.flight);
            shard.forget_failure(self.primary);
            if self.shared {
                shard.remember_hit_for_miss(self.flight.key, now);
            }
        }
        self.flight.phase.send_replace(Phase::Freed);
    }

    /// The origin failed before its head was there.
    pub fn fail(self, failure: Failure, now: Timestamp) {
        {
            let mut shard = self.store.flights().shard(self.primary);
            shard.end(&self.flight);
            shard.remember_failure(self.primary, now);
        }
        self.flight.phase.send_replace(Phase::Failed(failure));
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        self.store.flights().shard(self.primary).end(&self.flight);
        self.flight.phase.send_if_modified(|phase| {
            let vanished = matches!(phase, Phase::Waiting);
            if vanished {
                *phase = Phase::Abandoned;
            }
            vanished
        });
    }
}

impl Writing {
    /// The head and the growing body.
    pub fn streaming(&self) -> &Arc<Streaming> {
        &self.streaming
    }

    /// Whether the response will be stored, as far as is known now.
    pub const fn keeps(&self) -> bool {
        self.keep.is_some()
    }

    /// Adds a piece of the body; see [`Writer::write`].
    ///
    /// # Errors
    /// [`Unread`] when the body is not kept and nobody reads it any more.
    pub async fn write(&mut self, piece: Bytes, window_bytes: u64) -> Result<(), Unread> {
        if self.streaming.length.is_none()
            && let Some(room) = &mut self.keep
        {
            let written = self.writer.written() + piece.len() as u64;
            if written > self.keep_bytes_max || !room.grow(piece.len() as u64) {
                self.keep = None;
                self.fill.store.flights().shard(self.fill.primary).end(&self.fill.flight);
                self.writer.keep_only(window_bytes);
            }
        }
        self.writer.write(piece).await
    }

    /// The body is complete, as its framing proved: stores the response if it was kept, and ends the readers.
    pub fn finish(self) -> Option<Arc<StoredResponse>> {
        let Self { fill, writer, streaming, tags, held, keep, .. } = self;
        let store = Arc::clone(&fill.store);
        let body = writer.finish().filter(|_| keep.is_some())?;
        let head = &streaming.head;
        let mut fields = head.fields.clone();
        let status = if held.is_some() {
            // A part is kept as what it is a part of.
            fields.remove(CONTENT_RANGE);
            StatusCode::OK
        } else {
            head.status
        };
        let stored = store.insert(
            &fill,
            store.pack(Parts {
                status,
                fields,
                body,
                freshness: head.freshness,
                vary: head.vary.clone(),
                tags,
                held,
                epoch: fill.epoch(),
            }),
            None,
        );
        Some(stored)
    }

    /// The body ended before its end, or is no longer wanted: nothing is stored, readers are cut.
    pub fn cut(self, now: Timestamp) {
        let mut shard = self.fill.store.flights().shard(self.fill.primary);
        shard.end(&self.fill.flight);
        shard.remember_failure(self.fill.primary, now);
    }
}

/// What an entry weighs beside head lines and body, at most; the rest of the body's last page is in it.
const HEAD_SLACK_BYTES: u64 = 8192;
