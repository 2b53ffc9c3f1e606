//! From buffers to files: the one place that writes, under one lock, wherever the owner lets it block.
//!
//! ```text
//! chunk ──write──> in the file ──seal: summary, sync, sync names──> room is made ──> the next segment's file
//! ```
//!
//! A chunk that could not be written stays where it is, readable, and the next call tries again; nothing is lost by an error
//! but time, until the buffers are full and appends are refused. A failed sync is different: the kernel may call clean what never
//! reached the disk, so what was not yet durable is replaced by tombstones, and the segment is ended.
//!
//! Invariant: the snapshot is gone, durably, before the first byte after a start is written. A file is created only where it
//! fits under the capacity with all others at full length.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Segments;
use super::index::Place;
use super::layout;
use super::record::Header;
use super::segment::{self, Segment, encode_summary, summary_bytes};
use super::snapshot;
use super::tail::{Chunk, Seal, Tail};
use crate::tiers::files::{File, Lock};

/// What the writer must remember.
pub(super) struct Writer {
    pub(super) lock: Option<Lock>,
    /// The directory is another's: nothing is written.
    pub(super) given: bool,
    /// A snapshot may stand in the directory.
    pub(super) snapshot: bool,
    /// Names were given or taken since the directory was synced.
    pub(super) names_unsynced: bool,
    /// The segment that was written to last and is not sealed.
    pub(super) current: Option<Arc<Segment>>,
    /// Up to where it is durable.
    pub(super) synced: u64,
    /// What is to be cleared of it before it is continued.
    pub(super) torn: Option<Torn>,
    /// It was found after a crash, and is written again up to here before it is called durable.
    pub(super) doubtful: u64,
    /// The segment that a sync failed of: it is sealed next, and not continued.
    pub(super) broken: Option<u64>,
}

/// What a crash left in a segment that is no record. It may begin with the header of one that was torn, and be taken for a record
/// when the file has grown to its length: that would cover what was found behind it.
pub(super) struct Torn {
    /// In front of records.
    pub(super) gaps: Vec<Range<u64>>,
    /// Where the last record ends.
    pub(super) end: u64,
}

impl Segments {
    /// Writes what waits in the buffers, a part of one too, and makes room in the log. Blocks; one at a time. Call it when
    /// [`Segments::append`] asks for it, and now and then when it does not: what is in a buffer alone, a kill takes.
    ///
    /// # Errors
    /// As the disk says. All that was not written still waits: call again, after a while.
    pub fn flush(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.given {
            return Ok(());
        }
        let result = self.drain(&mut writer);
        self.counters.ended(&result);
        result
    }

    /// The same, and makes durable all that was appended and forgotten before the call.
    ///
    /// # Errors
    /// As the disk says; then nothing more is durable than before.
    pub fn sync(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.given {
            return Ok(());
        }
        let result = self.settle(&mut writer);
        self.counters.ended(&result);
        result
    }

    /// Makes everything durable and leaves a snapshot, for a quick start. Nothing is kept afterwards: stop appending and
    /// forgetting first.
    ///
    /// # Errors
    /// As the disk says; without a snapshot the next start reads the summaries. May be called again.
    pub fn close(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.given {
            return Ok(());
        }
        self.close_under(&mut writer)
    }

    fn close_under(&self, writer: &mut Writer) -> io::Result<()> {
        let result = self.seal_all(writer).and_then(|()| snapshot::write(self, writer));
        self.counters.ended(&result);
        result
    }

    /// Closes the log and leaves the directory to another process. It can still be read: what the other one takes away stays open
    /// here. Nothing is kept any more, and what is forgotten is forgotten in this process. Blocks.
    ///
    /// # Errors
    /// As [`Segments::close`]; the directory is left all the same.
    pub fn give(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if writer.given {
            return Ok(());
        }
        let closed = self.close_under(&mut writer);
        self.tail.lock().closed = true;
        writer.given = true;
        writer.lock = None;
        closed
    }

    /// Takes back a directory that was left by [`Segments::give`], where it is as it was left. Blocks.
    ///
    /// # Errors
    /// Somebody has it, or it was written to meanwhile: then it stays given.
    pub fn take_back(&self) -> io::Result<()> {
        let mut writer = self.writer.lock();
        if !writer.given {
            return Ok(());
        }
        let lock = self.files.lock(layout::LOCK)?;
        // It goes before the first byte that somebody else writes.
        if !writer.snapshot || self.files.length(snapshot::SNAPSHOT).is_err() {
            return Err(io::Error::other("it was written to by another process"));
        }
        writer.lock = Some(lock);
        writer.given = false;
        self.tail.lock().closed = false;
        Ok(())
    }

    fn seal_all(&self, writer: &mut Writer) -> io::Result<()> {
        for _ in 0..ROUNDS_MAX {
            self.settle(writer)?;
            let mut tail = self.tail.lock();
            if tail.closed || tail.is_at_rest() {
                tail.closed = true;
                return Ok(());
            }
            let before = tail.seq;
            let _ = tail.turn();
            self.planned(&tail, before);
        }
        Err(io::Error::other("appends did not stop"))
    }

    pub(super) fn settle(&self, writer: &mut Writer) -> io::Result<()> {
        self.restore_directory(writer)?;
        for _ in 0..ROUNDS_MAX {
            self.drain(writer)?;
            let tail = self.tail.lock();
            if tail.owed.is_empty() && tail.condemned == 0 && writer.broken.is_none() {
                drop(tail);
                self.sync_current(writer)?;
                return self.sync_names(writer);
            }
        }
        Err(io::Error::other("tombstones are still owed, or a segment is not ended"))
    }

    pub(super) fn drain(&self, writer: &mut Writer) -> io::Result<()> {
        let target = {
            let mut tail = self.tail.lock();
            if tail.condemned >= tail.seq || writer.broken == Some(tail.seq) {
                let before = tail.seq;
                let _ = tail.turn();
                self.planned(&tail, before);
            }
            self.pay(&mut tail);
            tail.position()
        };
        loop {
            let Some(chunk) = self.tail.lock().next(target) else { break };
            self.write_or_evict(writer, &chunk)?;
            let sealed = chunk.seal.is_some();
            self.tail.lock().done(chunk);
            if sealed {
                self.make_room(writer)?;
            }
        }
        self.make_room(writer)
    }

    /// Writes a chunk; on a full disk in the place of the oldest segment.
    fn write_or_evict(&self, writer: &mut Writer, chunk: &Chunk) -> io::Result<()> {
        match self.write(writer, chunk) {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && self.evict_oldest(writer)? => {
                self.write(writer, chunk)
            }
            result => result,
        }
    }

    /// Writes a chunk, and seals its segment where that ends. May be repeated.
    pub(super) fn write(&self, writer: &mut Writer, chunk: &Chunk) -> io::Result<()> {
        snapshot::invalidate(&*self.files, writer)?;
        let segment = self.live.read().get(&chunk.seq).map(Arc::clone);
        let segment = segment.ok_or_else(|| io::Error::other("a segment that was given up"))?;
        if segment.file().is_none() {
            self.create(writer, &segment)?;
        }
        let file = segment.file().ok_or(io::ErrorKind::NotFound)?;
        self.clear(writer)?;
        if writer.current.as_ref().is_none_or(|current| current.seq != segment.seq) {
            writer.current = Some(Arc::clone(&segment));
            writer.synced = chunk.offset;
        }
        let end = chunk.offset + chunk.bytes.len() as u64;
        if !chunk.bytes.is_empty() {
            file.write_at(&chunk.bytes, chunk.offset)?;
            self.counters.written(chunk.bytes.len());
            segment.set_written(end);
        }
        match &chunk.seal {
            Some(seal) => self.seal(writer, &segment, end, seal),
            None => Ok(()),
        }
    }

    fn seal(&self, writer: &mut Writer, segment: &Segment, end: u64, seal: &Seal) -> io::Result<()> {
        let file = segment.file().ok_or(io::ErrorKind::NotFound)?;
        let broken = writer.broken == Some(segment.seq);
        let mut written = end;
        if broken || !seal.summarized {
            // It takes the place of the one that stands there.
            let at = if seal.summarized { end.saturating_sub(summary_bytes(seal.lines.len())) } else { end };
            let summary = encode_summary(&seal.lines, segment.seq, at, self.salt, broken);
            file.write_at(&summary, at)?;
            self.counters.written(summary.len());
            written = at + summary.len() as u64;
        }
        self.renew(writer)?;
        if let Err(error) = file.sync() {
            self.lose(writer, segment, end);
            return Err(error);
        }
        self.sync_names(writer)?;
        segment.set_written(written);
        writer.current = None;
        writer.broken = None;
        Ok(())
    }

    /// Clears what a crash left torn of the segment that is continued.
    fn clear(&self, writer: &mut Writer) -> io::Result<()> {
        let current = writer.current.as_ref().and_then(|last| last.file());
        if let (Some(torn), Some(file)) = (&writer.torn, current) {
            file.set_length(torn.end)?;
            for gap in &torn.gaps {
                self.blank(file, gap.clone())?;
            }
        }
        writer.torn = None;
        Ok(())
    }

    fn blank(&self, file: &dyn File, gap: Range<u64>) -> io::Result<()> {
        let mut at = gap.start;
        while at < gap.end {
            let left = usize::try_from(gap.end - at).unwrap_or(usize::MAX).min(BLANK.len());
            file.write_at(BLANK.get(..left).unwrap_or_default(), at)?;
            self.counters.written(left);
            at += left as u64;
        }
        Ok(())
    }

    /// Writes again what was found after a crash. The process before us may have seen a sync of it fail: then the kernel calls
    /// clean what only its cache has, and our sync would succeed without it.
    fn renew(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.doubtful == 0 {
            return Ok(());
        }
        let Some(file) = writer.current.as_ref().and_then(|last| last.file()) else { return Ok(()) };
        let mut bytes = vec![0; self.settings.buffer_bytes];
        let mut at = 0;
        while at < writer.doubtful {
            let left = usize::try_from(writer.doubtful - at).unwrap_or(usize::MAX).min(bytes.len());
            let Some(piece) = bytes.get_mut(..left) else { break };
            file.read_at(piece, at)?;
            file.write_at(piece, at)?;
            self.counters.written(left);
            at += left as u64;
        }
        writer.doubtful = 0;
        Ok(())
    }

    fn sync_current(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.torn.is_some() {
            snapshot::invalidate(&*self.files, writer)?;
            self.clear(writer)?;
        }
        let Some(segment) = writer.current.clone() else { return Ok(()) };
        let (written, Some(file)) = (segment.written(), segment.file()) else { return Ok(()) };
        if written == writer.synced {
            return Ok(());
        }
        self.renew(writer)?;
        if let Err(error) = file.sync() {
            self.lose(writer, &segment, written);
            return Err(error);
        }
        writer.synced = written;
        Ok(())
    }

    pub(super) fn sync_names(&self, writer: &mut Writer) -> io::Result<()> {
        if writer.names_unsynced {
            self.files.sync_directory("")?;
            writer.names_unsynced = false;
        }
        Ok(())
    }

    /// A sync failed: what stood between the last good one and `end` may be gone, and no sync will bring it back. What a power loss
    /// leaves there may cover what is behind, so the segment ends here, and only its summary is believed.
    fn lose(&self, writer: &mut Writer, segment: &Segment, end: u64) {
        let mut tail = self.tail.lock();
        for line in tail.lines_between(segment.seq, writer.synced, end) {
            let place = line.place(segment.seq);
            if let Some(held) = self.index.find(line.key).filter(|held| held.place.is(place)) {
                self.owe(&mut tail, line.key, held.version, held);
                self.counters.dropped();
            }
        }
        writer.broken = Some(segment.seq);
        writer.synced = end;
    }

    /// Puts the tombstones that are owed into the buffers, as far as they have room.
    fn pay(&self, tail: &mut Tail) {
        let owed: Vec<u128> = tail.owed.keys().copied().collect();
        for key in owed {
            // What came for the key since then speaks for itself.
            if let Some(held) = self.index.find(key).filter(|held| held.place.is(Place::OWED)) {
                let Some(place) = self.put(tail, Header::tombstone(key, held.version), &[]) else { return };
                self.index.put(key, held.version, place);
            }
            tail.owed.remove(&key);
        }
    }

    /// Creates the file of a segment, within the capacity.
    fn create(&self, writer: &mut Writer, segment: &Segment) -> io::Result<()> {
        while !self.has_room_for_file(segment.seq) {
            if !self.evict_oldest(writer)? {
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        let name = segment::name(segment.seq);
        let file = match self.files.create(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.restore_directory(writer)?;
                self.files.create(&name)?
            }
            result => result?,
        };
        writer.names_unsynced = true;
        segment.created(file);
        Ok(())
    }

    /// Whether one more file fits, with those that are still written to at their full length.
    pub(super) fn has_room_for_file(&self, seq: u64) -> bool {
        let whole = self.settings.segment_bytes;
        let taken: u64 = self
            .live
            .read()
            .values()
            .filter(|segment| segment.file().is_some() && segment.seq != seq)
            .map(|segment| segment.written())
            .sum();
        taken.saturating_add(whole) <= self.settings.capacity_bytes
    }

    /// Somebody removed the directory, or took our file out of it: make it ours again.
    fn restore_directory(&self, writer: &mut Writer) -> io::Result<()> {
        match self.files.length(layout::LAYOUT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            result => return result.map(|_| ()),
        }
        self.files.create_directory("")?;
        writer.lock = None;
        writer.lock = Some(self.files.lock(layout::LOCK)?);
        layout::write(&*self.files, self.salt)
    }
}

/// Times that `sync` and `close` go round for what others append meanwhile, or is owed.
const ROUNDS_MAX: usize = 4096;
static BLANK: [u8; 4096] = [0; 4096];
