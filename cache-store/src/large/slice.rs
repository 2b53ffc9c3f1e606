//! The permit to fetch a run of chunks.
//!
//! ```text
//!         ┌─begin──► SliceWriting ──write…──► finish     what came whole is noted
//! Slice ──┼─changed──► no hole of this body is filled any more
//!         ├─fail─────► readers try once more, then are cut
//!         └─drop─────► the same, without a reason
//! ```
//!
//! However it ends, those who waited for it look again.

use std::future::poll_fn;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

use super::spill::{SPILL_BYTES, Spill};
use super::{CHUNK, Flight, Large, Stage};
use crate::body::{Unread, Writer, growing};
use crate::coalesce::Failure;
use crate::store::{CacheStore, Reservation};

/// The right and the duty to fetch some chunks of a body.
#[derive(Debug)]
pub struct Slice {
    large: Arc<Large>,
    flight: Arc<Flight>,
}

/// A slice that is arriving.
#[derive(Debug)]
pub struct SliceWriting {
    slice: Slice,
    writer: Writer,
    spill: Option<Spill>,
    /// Room for what is on its way to disk; without it, it is for those who read along.
    room: Option<Reservation>,
}

impl Slice {
    pub(super) const fn new(large: Arc<Large>, flight: Arc<Flight>) -> Self {
        Self { large, flight }
    }

    /// The body it belongs to.
    pub const fn large(&self) -> &Arc<Large> {
        &self.large
    }

    /// The bytes to ask for: whole chunks, the body's last one as short as it is.
    pub fn range(&self) -> Range<u64> {
        let end = u64::from(self.flight.run.end) * CHUNK;
        let end = self.large.length().map_or(end, |length| end.min(length));
        u64::from(self.flight.run.start) * CHUNK..end
    }

    /// What the origin's answer must have, to belong to the same body.
    pub fn validator(&self) -> Option<&HeaderValue> {
        self.large.validator()
    }

    /// The origin's answer is of the same body and begins at its byte `first`. What comes before the run is kept too.
    ///
    /// # Errors
    /// The permit again, where it begins behind the run or within a chunk: it is of no use.
    pub fn begin(self, first: u64, store: &Arc<CacheStore>, window_bytes: u64) -> Result<SliceWriting, Self> {
        if !first.is_multiple_of(CHUNK) || first > self.range().start {
            return Err(self);
        }
        let (writer, body) = growing(Some(window_bytes));
        let room = Reservation::take(store, SPILL_BYTES);
        let spill = room.as_ref().map(|_| Spill::new(&self.large, first));
        if spill.is_some() {
            writer.keep_from(0);
        }
        self.flight.stage.send_replace(Stage::Coming { first, body });
        Ok(SliceWriting { slice: self, writer, spill, room })
    }

    /// The origin has another representation.
    pub fn changed(self) {
        self.large.change();
    }

    /// The origin could not be asked, or did not answer as it should.
    pub fn fail(self, failure: Failure) {
        self.large.fail(failure);
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        self.large.leave(&self.flight);
    }
}

impl SliceWriting {
    /// The body it belongs to.
    pub const fn large(&self) -> &Arc<Large> {
        &self.slice.large
    }

    /// Adds a piece.
    pub fn write(&mut self, piece: &Bytes) {
        if let Some(spill) = &mut self.spill {
            spill.push(piece);
        }
        self.writer.push(piece.clone());
    }

    /// Whether the disk is being waited for.
    pub const fn spills(&self) -> bool {
        self.spill.is_some()
    }

    /// Waits until there is room for more. Cancel and call again.
    ///
    /// # Errors
    /// [`Unread`] when the disk takes nothing and nobody reads it any more.
    pub async fn room(&mut self, window_bytes: u64) -> Result<(), Unread> {
        if let Some(spill) = &mut self.spill
            && poll_fn(|cx| spill.poll_room(cx, &self.writer)).await.is_err()
        {
            self.give_up_disk(window_bytes);
        }
        poll_fn(|cx| self.writer.poll_room(cx)).await
    }

    /// The disk is too slow or fails: what still comes is for those who read along.
    pub fn give_up_disk(&mut self, window_bytes: u64) {
        (self.spill, self.room) = (None, None);
        self.writer.keep_only(window_bytes);
    }

    /// All of it has come.
    pub fn complete(&mut self) {
        if let Some(spill) = &mut self.spill {
            let end = self.slice.large.length();
            spill.complete(end);
        }
        self.writer.finish();
    }

    /// Waits until all of it is on disk; whether it is. Cancel and call again.
    pub async fn stored(&mut self) -> bool {
        let Some(spill) = &mut self.spill else { return false };
        poll_fn(|cx| spill.poll_empty(cx, &self.writer)).await.is_ok()
    }
}
