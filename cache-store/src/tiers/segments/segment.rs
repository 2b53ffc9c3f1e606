//! One file of the log, and how to learn what stands in it without reading the bodies.
//!
//! ```text
//! record record … record summary          sealed: read from its end, one read a segment
//! record record … rec                     not sealed, or its summary is damaged: header by header
//! ```
//!
//! A summary is a record too, so that a segment may be continued behind one; its last 16 bytes lead back to its beginning.
//!
//! Invariant: a segment that is followed by another was sealed, and synced with its name before the other was created. So only
//! the last one can be torn; a gap in any other is damage, and what it held is not known. Nor is it where the disk refuses to read:
//! no torn write does that.

use std::io;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::index::Place;
use super::record::{self, HEADER_BYTES, Header, Kind, UNIT_BYTES, u32_at, u64_at, u128_at};
use crate::tiers::files::File;

/// A segment, from the moment that a record is promised a place in it.
pub(super) struct Segment {
    pub(super) seq: u64,
    file: OnceLock<Box<dyn File>>,
    written: AtomicU64,
}

/// What a summary says of one record.
#[derive(Clone, Copy, Debug)]
pub(super) struct Line {
    pub(super) key: u128,
    pub(super) version: u64,
    /// In units.
    offset: u32,
    /// In units; zero for a tombstone.
    length: u32,
}

/// What stands at the end of a sealed segment.
pub(super) struct Summary {
    pub(super) lines: Vec<Line>,
    /// It is not to be continued: between its records may be what is none, and only the summary tells.
    pub(super) last: bool,
}

/// What was learned of a segment.
#[derive(Default)]
pub(super) struct Contents {
    pub(super) lines: Vec<Line>,
    /// Where the last whole record ends.
    pub(super) end: u64,
    /// Whether a summary stands at the end.
    pub(super) summarized: bool,
    /// Whether it says that the segment is not to be continued.
    pub(super) ended: bool,
    /// What is no record and has records behind it.
    pub(super) gaps: Vec<Range<u64>>,
    /// Whether the disk refused to show a part of it.
    pub(super) refused: bool,
}

impl Segment {
    /// A segment whose file is still to be created.
    pub(super) fn planned(seq: u64) -> Self {
        Self { seq, file: OnceLock::new(), written: AtomicU64::new(0) }
    }

    /// A segment that was found.
    pub(super) fn found(seq: u64, file: Box<dyn File>, bytes: u64) -> Self {
        Self { seq, file: OnceLock::from(file), written: AtomicU64::new(bytes) }
    }

    /// Its file, once there is one.
    pub(super) fn file(&self) -> Option<&dyn File> {
        self.file.get().map(AsRef::as_ref)
    }

    /// The file was created.
    pub(super) fn created(&self, file: Box<dyn File>) {
        // Only the writer creates, under its lock, and only once.
        let _ = self.file.set(file);
    }

    /// Up to here the file can be read.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    pub(super) fn set_written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Release);
    }
}

impl Line {
    pub(super) fn new(key: u128, version: u64, place: Place) -> Self {
        let units = |bytes: u64| u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX);
        Self { key, version, offset: units(place.offset()), length: units(place.length()) }
    }

    pub(super) fn place(&self, seq: u64) -> Place {
        Place::new(seq, self.offset(), u64::from(self.length) * UNIT_BYTES)
    }

    pub(super) fn offset(&self) -> u64 {
        u64::from(self.offset) * UNIT_BYTES
    }
}

/// The name of a segment's file.
pub(super) fn name(seq: u64) -> String {
    format!("{seq:016x}.seg")
}

/// The number in such a name.
pub(super) fn seq_in(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg").filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// Bytes that the summary of so many records takes.
pub(super) fn summary_bytes(lines: usize) -> u64 {
    record::record_bytes(
        (lines as u64).saturating_mul(LINE_BYTES as u64).saturating_add(TRAILER_BYTES as u64),
    )
}

/// The summary record of these lines, to stand at `offset`; `last` where the segment is not to be continued.
pub(super) fn encode_summary(lines: &[Line], seq: u64, offset: u64, salt: u64, last: bool) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes.reserve_exact(lines.len() * LINE_BYTES + TRAILER_BYTES);
    for line in lines {
        bytes.extend_from_slice(&line.key.to_le_bytes());
        bytes.extend_from_slice(&line.version.to_le_bytes());
        bytes.extend_from_slice(&line.offset.to_le_bytes());
        bytes.extend_from_slice(&line.length.to_le_bytes());
    }
    bytes.extend_from_slice(&TRAILER);
    bytes.extend_from_slice(&offset.to_le_bytes());
    let (header, body) = bytes.split_at_mut(HEADER_BYTES);
    let summary = Header {
        kind: Kind::Summary,
        flags: if last { LAST } else { 0 },
        key: 0,
        version: 0,
        meta_bytes: 0,
        payload_bytes: u32::try_from(body.len()).unwrap_or(u32::MAX),
        body_sum: record::sum(body),
        seq: low(seq),
    };
    header.copy_from_slice(&summary.encode(salt));
    bytes
}

/// What a segment of `bytes` bytes holds: by its summary, else by its headers.
pub(super) fn contents(file: &dyn File, seq: u64, bytes: u64, salt: u64) -> Contents {
    match summary(file, seq, bytes, salt) {
        Some(Summary { lines, last }) => {
            Contents { lines, end: bytes, summarized: true, ended: last, ..Contents::default() }
        }
        None => scan(file, seq, bytes, salt),
    }
}

/// The summary at the end of a segment, if one stands there unharmed.
pub(super) fn summary(file: &dyn File, seq: u64, bytes: u64, salt: u64) -> Option<Summary> {
    let trailer = patiently(file, TRAILER_BYTES, bytes.checked_sub(TRAILER_BYTES as u64)?).ok()?;
    let offset = u64_at(trailer.strip_prefix(&TRAILER)?, 0)?;
    let length = bytes.checked_sub(offset).filter(|length| *length <= summary_bytes(LINES_MAX))?;
    let record = patiently(file, usize::try_from(length).ok()?, offset).ok()?;
    let header = Header::decode(&record, salt)?;
    let body = record.get(HEADER_BYTES..)?;
    if header.kind != Kind::Summary || header.seq != low(seq) || header.body_bytes() != body.len() {
        return None;
    }
    if record::sum(body) != header.body_sum {
        return None;
    }
    let lines = body.get(..body.len().checked_sub(TRAILER_BYTES)?)?;
    let lines = lines.chunks_exact(LINE_BYTES).map(decode_line).collect::<Option<_>>()?;
    Some(Summary { lines, last: header.flags & LAST != 0 })
}

/// What a segment holds, header by header. Behind a gap it goes on at the next header that decodes.
fn scan(file: &dyn File, seq: u64, bytes: u64, salt: u64) -> Contents {
    let mut contents = Contents::default();
    let mut window = Window { file, bytes, from: 0, held: Vec::new(), refused: false };
    let mut at = 0;
    while at + HEADER_BYTES as u64 <= bytes {
        let header = window.header_at(at, salt).filter(|header| {
            header.seq == low(seq) && at.checked_add(header.record_bytes()).is_some_and(|end| end <= bytes)
        });
        let Some(header) = header else {
            at = window.next_magic(at + UNIT_BYTES);
            continue;
        };
        let end = at + header.record_bytes();
        match header.kind {
            Kind::Data => contents.line(&header, Place::new(seq, at, end - at)),
            Kind::Tombstone => contents.line(&header, Place::tombstone(seq, at)),
            Kind::Summary => {}
        }
        if contents.end < at {
            contents.gaps.push(contents.end..at);
        }
        contents.end = end;
        at = end;
    }
    contents.refused = window.refused;
    contents
}

impl Contents {
    /// Whether a file of `bytes` bytes holds nothing but records.
    pub(super) fn fill(&self, bytes: u64) -> bool {
        self.gaps.is_empty() && self.end == bytes
    }

    fn line(&mut self, header: &Header, place: Place) {
        if self.lines.len() < LINES_MAX {
            self.lines.push(Line::new(header.key, header.version, place));
        }
    }
}

/// A stretch of a file that is read forward.
struct Window<'a> {
    file: &'a dyn File,
    bytes: u64,
    from: u64,
    held: Vec<u8>,
    refused: bool,
}

impl Window<'_> {
    fn header_at(&mut self, at: u64, salt: u64) -> Option<Header> {
        Header::decode(self.slice(at)?, salt)
    }

    /// The next place from `at` on where a header may begin.
    fn next_magic(&mut self, mut at: u64) -> u64 {
        while at + HEADER_BYTES as u64 <= self.bytes {
            match self.slice(at) {
                Some(slice) if slice.starts_with(b"TGR1") => return at,
                Some(_) => at += UNIT_BYTES,
                // Unreadable: go on behind it.
                None => at = (at + 1).next_multiple_of(UNREADABLE_BYTES),
            }
        }
        at
    }

    fn slice(&mut self, at: u64) -> Option<&[u8]> {
        let within = at.checked_sub(self.from).and_then(|from| usize::try_from(from).ok());
        let within = within.filter(|from| from + HEADER_BYTES <= self.held.len());
        if let Some(from) = within {
            return self.held.get(from..from + HEADER_BYTES);
        }
        let wanted = self.bytes.saturating_sub(at).min(WINDOW_BYTES);
        let read = patiently(self.file, usize::try_from(wanted).ok()?, at)
            .or_else(|_| patiently(self.file, HEADER_BYTES, at));
        self.refused |= read.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::UnexpectedEof);
        self.held = read.unwrap_or_default();
        self.from = at;
        self.held.get(..HEADER_BYTES)
    }
}

/// Reads, and again if the disk failed: here a refused read costs a whole segment.
fn patiently(file: &dyn File, length: usize, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut tries = 0;
    loop {
        tries += 1;
        match file.read_at(&mut bytes, offset) {
            Ok(()) => return Ok(bytes),
            Err(error) if tries == READ_TRIES || error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(error);
            }
            Err(_) => {}
        }
    }
}

fn decode_line(bytes: &[u8]) -> Option<Line> {
    let line = Line {
        key: u128_at(bytes, 0)?,
        version: u64_at(bytes, 16)?,
        offset: u32_at(bytes, 24)?,
        length: u32_at(bytes, 28)?,
    };
    Some(line)
}

/// The part of a segment's number that its records carry.
#[allow(clippy::cast_possible_truncation)] // the low half is what is wanted
pub(super) fn low(seq: u64) -> u32 {
    seq as u32
}

/// The flag of a summary that is the last of its segment.
const LAST: u32 = 1;
const LINE_BYTES: usize = 32;
const TRAILER: [u8; 8] = *b"TGSUMRY1";
const TRAILER_BYTES: usize = 16;
/// Records in one segment: bounds the memory that the next summary is gathered in (8 MiB).
pub(super) const LINES_MAX: usize = 1 << 18;
const WINDOW_BYTES: u64 = 256 * 1024;
const UNREADABLE_BYTES: u64 = 4096;
const READ_TRIES: u32 = 3;
