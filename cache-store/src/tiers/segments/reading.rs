//! From a place to bytes: out of a buffer that is not yet written, the page cache, or the disk.
//!
//! Invariant: what is returned has the key and the version that were asked for, and both sums were compared. A record that
//! fails is forgotten, on disk too; a segment that is gone, or was reclaimed between, is a miss.

use std::io;
use std::sync::Arc;

use bytes::Bytes;

use super::Segments;
use super::index::Place;
use super::record::{self, HEADER_BYTES, Header, Kind};
use super::segment::{Segment, low};

/// Where a record was when it was looked up. It may be gone when it is read: then that is a miss.
#[derive(Clone, Copy, Debug)]
pub struct Location {
    pub(super) key: u128,
    pub(super) version: u64,
    pub(super) place: Place,
}

/// A record that was read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Found {
    /// As it was appended.
    pub version: u64,
    /// As they were appended.
    pub flags: u32,
    /// As it was appended; shares its memory with the payload.
    pub meta: Bytes,
    /// As it was appended, in one piece.
    pub payload: Bytes,
}

/// What a read that does not wait came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Read {
    /// The record.
    Found(Found),
    /// It is gone, or cannot be read.
    Miss,
    /// The disk would have to be waited for: [`Segments::read`] does.
    WouldBlock,
}

impl Location {
    /// The version that was found.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Bytes that the record takes on disk.
    pub fn record_bytes(&self) -> u64 {
        self.place.length()
    }
}

impl Segments {
    /// The record, if it is in memory: in a buffer of ours or in the page cache. For a thread that must not wait.
    pub fn try_read(&self, location: &Location) -> Read {
        self.fetch(location, false)
    }

    /// The record. Waits for the disk.
    pub fn read(&self, location: &Location) -> Option<Found> {
        match self.fetch(location, true) {
            Read::Found(found) => Some(found),
            Read::Miss | Read::WouldBlock => None,
        }
    }

    /// Shows the records of the keys whose low half is not above `upto`, one read each, as long as `show` says so; `false` where it did
    /// not. What is appended or forgotten meanwhile is among them or not. Waits for the disk; counts as no use of them.
    pub fn each_upto(&self, upto: u64, mut show: impl FnMut(u128, &Bytes) -> bool) -> bool {
        let mut places = Vec::new();
        self.index.each(|tag, entry| {
            if tag <= upto && !entry.place.is_tombstone() {
                places.push(entry.place);
            }
        });
        for place in places {
            let Some(segment) = self.segment_of(place) else { continue };
            let Ok(length) = usize::try_from(place.length()) else { continue };
            let mut bytes = vec![0; length];
            // What cannot be read is found out about by whoever asks for it.
            if !matches!(self.load(&segment, place, &mut bytes, true), Ok(true)) {
                continue;
            }
            let bytes = Bytes::from(bytes);
            let Some(header) = self.verify(&bytes, &segment) else { continue };
            let meta_bytes = usize::try_from(header.meta_bytes).unwrap_or(usize::MAX);
            let from = HEADER_BYTES.saturating_add(meta_bytes).min(HEADER_BYTES + header.body_bytes());
            if !show(header.key, &bytes.slice(from..HEADER_BYTES + header.body_bytes())) {
                return false;
            }
        }
        true
    }

    fn fetch(&self, location: &Location, wait: bool) -> Read {
        let place = location.place;
        let Some(segment) = self.segment_of(place) else { return Read::Miss };
        let Ok(length) = usize::try_from(place.length()) else { return Read::Miss };
        let mut bytes = vec![0; length];
        match self.load(&segment, place, &mut bytes, wait) {
            Ok(true) => {}
            Ok(false) => return Read::Miss,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock && !wait => return Read::WouldBlock,
            Err(error) => {
                if error.kind() == io::ErrorKind::UnexpectedEof {
                    self.damaged(location);
                } else {
                    // It may be read another time.
                    self.counters.read_failed();
                }
                return Read::Miss;
            }
        }
        let bytes = Bytes::from(bytes);
        let Some(header) = self.verify(&bytes, &segment) else {
            self.damaged(location);
            return Read::Miss;
        };
        if (header.key, header.version) != (location.key, location.version) {
            // Another key with the same half, or another use of the place: not ours, and not damaged.
            return Read::Miss;
        }
        self.index.see(location.key, |now| place.is(now) && self.is_past(now));
        let body = bytes.slice(HEADER_BYTES..HEADER_BYTES + header.body_bytes());
        let meta_bytes = usize::try_from(header.meta_bytes).unwrap_or(usize::MAX).min(body.len());
        Read::Found(Found {
            version: header.version,
            flags: header.flags,
            meta: body.slice(..meta_bytes),
            payload: body.slice(meta_bytes..),
        })
    }

    /// Fills `bytes` from the file or from a buffer; `false` where the record was lost on its way to the disk.
    fn load(&self, segment: &Arc<Segment>, place: Place, bytes: &mut [u8], wait: bool) -> io::Result<bool> {
        let end = place.offset() + place.length();
        if segment.written() < end {
            let tail = if wait { Some(self.tail.lock()) } else { self.tail.try_lock() };
            let tail = tail.ok_or(io::ErrorKind::WouldBlock)?;
            if let Some(held) = tail.find(segment.seq, place.offset(), bytes.len()) {
                bytes.copy_from_slice(held);
                return Ok(true);
            }
        }
        // The writer says that it has written before it lets go of a buffer.
        let Some(file) = segment.file().filter(|_| segment.written() >= end) else { return Ok(false) };
        if wait { file.read_at(bytes, place.offset()) } else { file.try_read_at(bytes, place.offset()) }?;
        Ok(true)
    }

    /// The header of a whole, unharmed data record.
    pub(super) fn verify(&self, bytes: &[u8], segment: &Segment) -> Option<Header> {
        let header = Header::decode(bytes, self.salt)?;
        let body = bytes.get(HEADER_BYTES..HEADER_BYTES.checked_add(header.body_bytes())?)?;
        let ours = header.kind == Kind::Data
            && header.seq == low(segment.seq)
            && header.record_bytes() == bytes.len() as u64
            && record::sum(body) == header.body_sum;
        ours.then_some(header)
    }

    fn damaged(&self, location: &Location) {
        self.counters.damaged();
        let mut tail = self.tail.lock();
        if let Some(held) = self.index.find(location.key).filter(|held| held.place.is(location.place)) {
            self.bury(&mut tail, location.key, held.version, held);
        }
    }
}
