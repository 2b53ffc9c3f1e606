//! The leader's permit: the right and the duty to fetch one key.
//!
//! A [`Fill`] ends in exactly one of the ways drawn in the module head; dropping it, on whatever path, lets the
//! followers look up again. It belongs to the task that fetches, not to the client that caused it.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_RANGE;

use super::{Failure, FillHead, Flight, Phase, Streaming};
use crate::body::{Unread, Writer, growing};
use crate::entry::{Epoch, Parts, StoredResponse, tag_bytes};
use crate::key::CacheKey;
use crate::large::{self, SPILL_BYTES, Slice, Spill};
use crate::lookup::Why;
use crate::purge::Resource;
use crate::rules::Freshness;
use crate::rules::partial::Held;
use crate::rules::validator::strong_validator;
use crate::stock::Address;
use crate::store::{CacheStore, Reservation};
use crate::tiers::shelf::{LARGE_BYTES_MIN, large_bytes_min};
use crate::tiers::sizing::TooLong;
use crate::timestamp::Timestamp;

/// The permit to fetch.
#[derive(Debug)]
pub struct Fill {
    pub(crate) store: Arc<CacheStore>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) primary: CacheKey,
    /// Its URL.
    pub(crate) address: Address,
    /// What is stored and answers the request but for its age, or in part.
    pub stored: Option<Arc<StoredResponse>>,
    /// Everything stored for the URI that the origin may confirm, `stored` first.
    pub candidates: Vec<Arc<StoredResponse>>,
    /// Why the origin is asked.
    pub why: Why,
    /// Whether others may be waiting for it.
    pub shared: bool,
    /// What the request is counted as by whoever says what other sizes would bring: the site's place.
    pub class: u16,
    /// What it brings takes free room only: it pushes nothing out.
    pub modest: bool,
    /// The flight is out of the table, and whoever follows it has been told.
    pub(crate) is_ended: bool,
}

/// A response that is arriving: its head is published, its body is being written.
#[derive(Debug)]
pub struct Writing {
    fill: Fill,
    writer: Writer,
    streaming: Arc<Streaming>,
    held: Option<Held>,
    /// Heaviest body that is kept in memory, bytes.
    keep_bytes_max: u64,
    /// From this length on it goes to disk as it comes.
    large_bytes_min: u64,
    /// Room taken for it while it is to be stored in memory at its end.
    keep: Option<Reservation>,
    /// While it goes to disk, or may yet turn out to be for it.
    disk: ToDisk,
    /// Room for what is on its way to disk.
    spilled: Option<Reservation>,
    /// Its entry among those who bring the large body that it is or may become.
    whole: Option<Arc<large::Flight>>,
    /// How much of a body that is kept nowhere is in flight, bytes.
    window_bytes: u64,
}

/// What the disk has to do with a body that is arriving.
#[derive(Debug)]
enum ToDisk {
    /// Nothing, or nothing any more.
    No,
    /// So far it is short enough for memory alone.
    Perhaps,
    /// It goes there as it comes.
    Yes(Spill),
}

impl Fill {
    /// What is fetched.
    pub(crate) fn resource(&self) -> Resource<'_> {
        self.address.resource(self.primary)
    }

    /// The purge epoch in which the fetch began.
    pub fn epoch(&self) -> Epoch {
        self.flight.epoch
    }

    /// A place behind this fill, for the request that caused it.
    pub fn follower(&self) -> super::Follower {
        super::Follower::new(self.flight.phase.follow(), self.stored.clone(), self.why)
    }

    /// Publishes a head that may be stored and shared; `part` says which part of the representation a 206 brings. A body
    /// above 256 KiB, or too heavy for memory, goes to disk as it comes, where there is one. One that is kept neither there nor in
    /// memory is streamed through a window of `window_bytes` and not stored.
    pub fn stream(
        self,
        head: FillHead,
        length: Option<u64>,
        tags: Box<[Box<str>]>,
        part: Option<Held>,
        window_bytes: u64,
    ) -> Writing {
        let room = self.store.body_bytes_max(beside_bytes(head.lines.len(), &tags));
        let keep = if length.is_none_or(|length| length <= room) {
            Reservation::take(&self.store, length.unwrap_or(0))
        } else {
            None
        };
        let large_bytes_min = large_bytes_min(room);
        let large = if part.is_some() || length.is_some_and(|length| length < large_bytes_min) {
            None
        } else {
            self.store.large(length, strong_validator(&head.fields).cloned())
        };
        if large.is_none() && part.is_none() && length.is_some_and(|length| length > room) {
            self.too_long(length.unwrap_or(0), head.lines.len(), head.freshness, &tags);
        }
        let spilled = large.as_ref().and_then(|_| Reservation::take(&self.store, SPILL_BYTES));
        let large = large.filter(|_| length.is_none() || spilled.is_some());
        let spills = large.is_some() && length.is_some();
        let (writer, body) = growing((keep.is_none() && !spills).then_some(window_bytes));
        let whole = large.as_ref().map(|large| large.begin_whole(&body));
        let disk = match (&large, &spilled) {
            (Some(large), Some(_)) if spills => ToDisk::Yes(Spill::new(large, 0)),
            // Without room its beginning is let go of.
            (Some(_), _) if keep.is_some() => ToDisk::Perhaps,
            (Some(_) | None, _) => ToDisk::No,
        };
        if keep.is_none() && spills {
            writer.keep_from(0);
        }
        let streaming = Arc::new(Streaming { head, body, length, large, tags });
        // A body that is not kept cannot be joined late: close the flight before the head is out.
        if keep.is_none() && !spills {
            self.store.flights().shard(self.primary).end(&self.flight);
        }
        self.flight.phase.tell(Phase::Streaming(Arc::clone(&streaming)));
        Writing {
            fill: self,
            writer,
            streaming,
            held: part,
            keep_bytes_max: room,
            large_bytes_min,
            keep,
            disk,
            spilled: spilled.filter(|_| spills),
            whole,
            window_bytes,
        }
    }

    /// A part of a large body has come (`range` of it, whole chunks): stores the head over a body of holes, unless the same
    /// body stands there already, and returns the response with the permit to fill in that part. `None` where it
    /// cannot be stored so.
    pub fn adopt(
        &self,
        parts: Parts,
        length: u64,
        range: Range<u64>,
    ) -> Option<(Arc<StoredResponse>, Slice)> {
        let validator = strong_validator(&parts.fields)?.clone();
        if range.is_empty() || length < LARGE_BYTES_MIN {
            return None;
        }
        let large = self.store.large(Some(length), Some(validator))?;
        let stored = self.store.adopt(self, Parts { large: Some(large), ..parts });
        let slice = stored.large()?.begin_slice(range);
        Some((stored, slice))
    }

    /// Hands a stored response to the followers.
    pub fn settled(self, stored: &Arc<StoredResponse>) {
        self.flight.phase.tell(Phase::Settled(Arc::clone(stored)));
    }

    /// Stores a response that is complete already (one that a 304 confirmed, or a completed partial) and hands it to
    /// the followers. `base` is the stored response that it was made from; where that has been replaced meanwhile, the
    /// newer one stays.
    pub fn settle(self, parts: Parts, base: &Arc<StoredResponse>) -> Arc<StoredResponse> {
        let stored = self.store.insert(&self, self.store.pack(parts), Some(base));
        self.store.count_fill(&self, &stored);
        self.flight.phase.tell(Phase::Settled(Arc::clone(&stored)));
        stored
    }

    /// The response might be kept but for its length: larger tiers could. So many bytes are its body, and its head's lines.
    pub fn too_long(&self, body_bytes: u64, line_bytes: usize, freshness: Freshness, tags: &[Box<str>]) {
        let beside_bytes = beside_bytes(line_bytes, tags);
        self.store.count_too_long(self, &TooLong { body_bytes, beside_bytes, freshness, tags });
    }

    /// The answer is for the one who asked only: frees the followers, and remembers that this key does not share.
    pub fn uncacheable(mut self, now: Timestamp) {
        self.is_ended = true;
        {
            let mut shard = self.store.flights().shard(self.primary);
            shard.end(&self.flight);
            shard.forget_failure(self.primary);
            if self.shared {
                shard.remember_hit_for_miss(self.flight.key, now);
            }
        }
        self.flight.phase.tell(Phase::Freed);
    }

    /// The origin failed before its head was there.
    pub fn fail(mut self, failure: Failure, now: Timestamp) {
        self.is_ended = true;
        {
            let mut shard = self.store.flights().shard(self.primary);
            shard.end(&self.flight);
            shard.remember_failure(self.primary, now);
        }
        self.flight.phase.tell(Phase::Failed(failure));
    }
}

impl Drop for Fill {
    fn drop(&mut self) {
        if !self.is_ended {
            self.store.flights().shard(self.primary).end(&self.flight);
            self.flight.phase.abandon();
        }
    }
}

impl Writing {
    /// The head and the growing body.
    pub fn streaming(&self) -> &Arc<Streaming> {
        &self.streaming
    }

    /// Whether the response will be stored, as far as is known now.
    pub const fn keeps(&self) -> bool {
        self.keep.is_some() || matches!(self.disk, ToDisk::Yes(..))
    }

    /// Whether the disk takes part: [`Writing::room`] may wait for it.
    pub const fn spills(&self) -> bool {
        matches!(self.disk, ToDisk::Yes(..))
    }

    /// Adds a piece of the body. [`Writing::room`] is to be awaited before the next.
    pub fn write(&mut self, piece: &Bytes) {
        let written = self.writer.written() + piece.len() as u64;
        if self.streaming.length.is_none() {
            if matches!(self.disk, ToDisk::Perhaps) && written >= self.large_bytes_min {
                self.begin_to_spill();
            }
            if matches!(self.disk, ToDisk::Yes(..)) && written > self.fill.store.large_bytes_max() {
                self.give_up_disk();
            }
            if let Some(room) = &mut self.keep
                && (written > self.keep_bytes_max || !room.grow(piece.len() as u64))
            {
                self.give_up_memory();
            }
        }
        if let ToDisk::Yes(spill) = &mut self.disk {
            spill.push(piece);
        }
        self.writer.push(piece.clone());
    }

    /// Waits until there is room for more. Cancel and call again.
    ///
    /// # Errors
    /// [`Unread`] when the body is kept nowhere and nobody reads it any more.
    pub async fn room(&mut self) -> Result<(), Unread> {
        if let ToDisk::Yes(spill) = &mut self.disk
            && poll_fn(|cx| spill.poll_room(cx, &self.writer)).await.is_err()
        {
            self.give_up_disk();
        }
        poll_fn(|cx| self.writer.poll_room(cx)).await
    }

    /// The disk is too slow, or fails, or the body is too long for it: it goes on in memory or through a window.
    pub fn give_up_disk(&mut self) {
        self.disk = ToDisk::No;
        self.spilled = None;
        if self.keep.is_none() {
            self.keep_nothing();
        }
    }

    fn give_up_memory(&mut self) {
        self.keep = None;
        match &self.disk {
            ToDisk::Yes(spill) => self.writer.keep_from(spill.sealed()),
            ToDisk::No | ToDisk::Perhaps => {
                self.disk = ToDisk::No;
                self.keep_nothing();
            }
        }
    }

    fn keep_nothing(&mut self) {
        self.fill.store.flights().shard(self.fill.primary).end(&self.fill.flight);
        self.writer.keep_only(self.window_bytes);
    }

    /// It is longer than what log or memory take.
    fn begin_to_spill(&mut self) {
        self.disk = ToDisk::No;
        self.spilled = Reservation::take(&self.fill.store, SPILL_BYTES);
        if self.spilled.is_none() {
            return;
        }
        if let Some(large) = &self.streaming.large {
            let mut spill = Spill::new(large, 0);
            self.writer.pieces().iter().for_each(|piece| spill.push(piece));
            self.disk = ToDisk::Yes(spill);
        }
    }

    /// The body is complete, as its framing proved: ends the readers. What is to be stored is so by [`Writing::finish`].
    pub fn complete(&mut self) {
        let length = self.writer.written();
        if let ToDisk::Yes(spill) = &mut self.disk {
            spill.complete(Some(length));
        }
        // Who reads along a body of unknown length learns its end from it, wherever the body goes.
        let fits = self.streaming.large.as_ref().is_none_or(|large| large.finish(length));
        if !fits && matches!(self.disk, ToDisk::Yes(..)) {
            self.give_up_disk();
        }
        self.writer.finish();
    }

    /// Waits until the disk has all of it; at once where it takes no part. Cancel and call again.
    pub async fn on_disk(&mut self) {
        if let ToDisk::Yes(spill) = &mut self.disk
            && poll_fn(|cx| spill.poll_empty(cx, &self.writer)).await.is_err()
        {
            self.give_up_disk();
        }
    }

    /// Stores the response, as far as memory or disk have kept it whole.
    pub fn finish(self) -> Option<Arc<StoredResponse>> {
        let Self { fill, writer, streaming, held, keep, disk, whole, keep_bytes_max, .. } = self;
        let store = Arc::clone(&fill.store);
        let written = writer.written();
        let body = writer.finish().filter(|_| keep.is_some());
        let large = match &disk {
            ToDisk::Yes(spill) => Some(Arc::clone(spill.large())).filter(|large| large.is_whole()),
            ToDisk::No | ToDisk::Perhaps => None,
        };
        if body.is_none() && large.is_none() {
            let is_told = held.is_some() || streaming.length.is_some();
            if !is_told && written > keep_bytes_max {
                let head = &streaming.head;
                fill.too_long(written, head.lines.len(), head.freshness, &streaming.tags);
            }
            return None;
        }
        if let (Some(large), Some(whole)) = (&large, &whole) {
            large.leave(whole);
        }
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
                body: body.unwrap_or_default(),
                large,
                freshness: head.freshness,
                vary: head.vary.clone(),
                tags: streaming.tags.clone(),
                held,
                epoch: fill.epoch(),
            }),
            None,
        );
        store.count_fill(&fill, &stored);
        Some(stored)
    }

    /// The body ended before its end: nothing is stored, readers are cut.
    pub fn cut(self, now: Timestamp) {
        if let Some(large) = &self.streaming.large {
            large.change();
        }
        self.unread(now);
    }

    /// The body is kept nowhere and nobody reads along any more: nothing is stored. Who is behind, on disk, has the rest of a
    /// large body fetched by the slice.
    pub fn unread(self, now: Timestamp) {
        let mut shard = self.fill.store.flights().shard(self.fill.primary);
        shard.end(&self.fill.flight);
        shard.remember_failure(self.fill.primary, now);
    }
}

/// What an entry weighs beside the body, at most.
fn beside_bytes(line_bytes: usize, tags: &[Box<str>]) -> u64 {
    (line_bytes + tag_bytes(tags)) as u64 + HEAD_SLACK_BYTES
}

/// What an entry weighs beside head lines, tags and body, at most; the rest of the body's last page is in it.
pub(crate) const HEAD_SLACK_BYTES: u64 = 8192;
