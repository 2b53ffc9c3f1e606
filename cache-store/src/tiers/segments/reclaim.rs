//! Room for the next segment: the oldest goes, first in, first out, with a second chance for what was read.
//!
//! ```text
//! oldest ──seen, within the share──> copied to the tail, same version
//!        ├──a mark──> what it speaks of is forgotten
//!        └──the rest──> file removed, durably ──> index forgets
//! ```
//!
//! The order matters. The log must not forget a key whose record still stands in a file: a later `forget` would find nothing to
//! bury, and a restart would find the record. And segments go strictly in order, each removal durable before the next, so that a
//! tombstone goes after all that it buries.
//!
//! Invariant: one segment's room is always free while another is reclaimed, so that what is copied can be written.

use std::io;
use std::sync::Arc;

use super::index::{Entry, Place, SEGMENTS_MAX};
use super::segment::{self, Line, Segment};
use super::writer::Writer;
use super::{Segments, record};

impl Segments {
    /// Reclaims the oldest segments until what must be free is free.
    pub(super) fn make_room(&self, writer: &mut Writer) -> io::Result<()> {
        // Each is met once; what is copied lands behind the last.
        let rounds = self.live.read().len();
        for _ in 0..rounds {
            let (condemned, unwritten) = {
                let tail = self.tail.lock();
                (tail.condemned, tail.unwritten_seq())
            };
            let Some(oldest) = self.oldest(unwritten) else {
                if self.is_crowded() {
                    // All that fills the index is in the segment that is written to: end it, so that it can go.
                    let mut tail = self.tail.lock();
                    let before = tail.seq;
                    let _ = tail.turn();
                    self.planned(&tail, before);
                }
                break;
            };
            let given_up = oldest.seq <= condemned;
            if !given_up && !self.is_short(unwritten) {
                break;
            }
            self.reclaim(writer, &oldest, !given_up)?;
        }
        let mut tail = self.tail.lock();
        let first = self.live.read().first_key_value().map_or(u64::MAX, |(first, _)| *first);
        if tail.condemned < first {
            tail.condemned = 0;
        }
        Ok(())
    }

    /// Gives up the oldest segment for its room; `false` if there is none.
    pub(super) fn evict_oldest(&self, writer: &mut Writer) -> io::Result<bool> {
        let unwritten = self.tail.lock().unwritten_seq();
        let Some(oldest) = self.oldest(unwritten) else { return Ok(false) };
        self.reclaim(writer, &oldest, false)?;
        Ok(true)
    }

    /// The oldest segment, if it is written to its end.
    fn oldest(&self, unwritten: u64) -> Option<Arc<Segment>> {
        let live = self.live.read();
        live.first_key_value().filter(|(seq, _)| **seq < unwritten).map(|(_, segment)| Arc::clone(segment))
    }

    fn is_short(&self, unwritten: u64) -> bool {
        let live = self.live.read();
        let sealed: u64 = live.range(..unwritten).map(|(_, segment)| segment.written()).sum();
        let many = live.len() as u64 > SEGMENTS_MAX - SEGMENTS_SPARE;
        drop(live);
        let whole = self.settings.segment_bytes;
        many
            // The segment that is written to, and one that is free.
            || sealed.saturating_add(2 * whole) > self.settings.capacity_bytes
            || self.is_crowded()
            || (self.settings.free_bytes_min > 0
                && self.files.free_bytes().is_ok_and(|free| free < self.settings.free_bytes_min.saturating_add(whole)))
    }

    fn is_crowded(&self) -> bool {
        let entries_max = self.settings.entries_max;
        self.index.entries() > entries_max - entries_max / ENTRIES_SPARE
    }

    fn reclaim(&self, writer: &mut Writer, oldest: &Arc<Segment>, keep: bool) -> io::Result<()> {
        let file = oldest.file();
        let summary = file.and_then(|file| segment::summary(file, oldest.seq, oldest.written(), self.salt));
        let lines = summary.map(|summary| summary.lines);
        if keep {
            self.carry_seen(writer, oldest, lines.as_deref().unwrap_or_default());
        }
        self.forget_marked(oldest.seq, lines.as_deref().unwrap_or_default());
        super::snapshot::invalidate(&*self.files, writer)?;
        match self.files.remove(&segment::name(oldest.seq)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => writer.names_unsynced = true,
        }
        self.sync_names(writer)?;
        let evicted = match &lines {
            Some(lines) => lines.iter().filter(|line| self.evict(oldest.seq, line)).count(),
            None => self.index.sweep(oldest.seq),
        };
        self.counters.evicted(evicted as u64);
        self.live.write().remove(&oldest.seq);
        Ok(())
    }

    /// Forgets what a record that goes now spoke of: under the complement of its key stands what it says something about, and
    /// whoever read that alone would not know. What was written since is another.
    fn forget_marked(&self, seq: u64, lines: &[Line]) {
        for line in lines {
            let Some(marked) = self.index.find(!line.key).filter(|marked| marked.version < line.version)
            else {
                continue;
            };
            let goes = |held: Entry| held.place.is(line.place(seq)) && !held.place.is_tombstone();
            if !marked.place.is_tombstone() && self.index.find(line.key).is_some_and(goes) {
                self.forget(!line.key, marked.version);
            }
        }
    }

    /// Takes the record out of the index, if the key still has it; tells whether it had bytes.
    fn evict(&self, seq: u64, line: &Line) -> bool {
        self.index.take(line.key, line.place(seq)).is_some_and(|place| !place.is_tombstone())
    }

    /// Copies what was read since it was written to the tail, until its share is used up.
    fn carry_seen(&self, writer: &mut Writer, oldest: &Segment, lines: &[Line]) {
        let mut share = self.settings.segment_bytes / SHARE_OF_SEGMENT;
        for line in lines {
            let place = line.place(oldest.seq);
            let Some(held) = self.index.find(line.key) else { continue };
            if !held.place.is(place) || !held.place.is_seen() || held.place.is_tombstone() {
                continue;
            }
            let Some(left) = share.checked_sub(place.length()) else { break };
            share = left;
            if !self.carry(writer, oldest, line.key, place) {
                break;
            }
        }
    }

    /// Copies one record; `false` if there is no room for more.
    fn carry(&self, writer: &mut Writer, oldest: &Segment, key: u128, place: Place) -> bool {
        let Ok(length) = usize::try_from(place.length()) else { return true };
        let mut bytes = vec![0; length];
        if oldest.file().is_none_or(|file| file.read_at(&mut bytes, place.offset()).is_err()) {
            return true;
        }
        // A damaged record is not worth a second chance; it goes with its segment.
        let Some(header) = self.verify(&bytes, oldest).filter(|header| header.key == key) else {
            return true;
        };
        let body = bytes.get(record::HEADER_BYTES..).unwrap_or_default();
        let body = body.get(..header.body_bytes()).unwrap_or_default();
        loop {
            let mut tail = self.tail.lock();
            if self.index.find(key).is_none_or(|held| !held.place.is(place)) {
                return true;
            }
            if let Some(copy) = self.put(&mut tail, header, &[body]) {
                if self.index.relocate(key, place, copy) {
                    self.counters.carried();
                }
                return true;
            }
            drop(tail);
            if !self.relieve(writer) {
                return false;
            }
        }
    }

    /// Writes one buffer, if that needs no room that is not there.
    fn relieve(&self, writer: &mut Writer) -> bool {
        let Some(chunk) = self.tail.lock().next((u64::MAX, u64::MAX)) else { return false };
        let has_file = self.live.read().get(&chunk.seq).is_some_and(|segment| segment.file().is_some());
        if !has_file && !self.has_room_for_file(chunk.seq) {
            return false;
        }
        let written = self.write(writer, &chunk).is_ok();
        if written {
            self.tail.lock().done(chunk);
        }
        written
    }
}

/// Of a segment's bytes, one of so many parts may be copied when it is reclaimed. It bounds what is written twice.
const SHARE_OF_SEGMENT: u64 = 2;
/// Room is made when fewer than this part of the entries are free.
const ENTRIES_SPARE: usize = 16;
const SEGMENTS_SPARE: u64 = 16;
