//! The index on disk, from a stop to the next start: so that a start reads 24 bytes a key and no segment.
//!
//! ```text
//! "TGINDEX1" salt segments entries sum | (number, bytes)… sum | (tag, version, place)… sum | …
//! ```
//!
//! Every part has its own sum, seeded with the part before, and the snapshot names each segment with its length: if anything is
//! different from what is found, it is not used.
//!
//! Invariant: while it has its name, the log is exactly as it says: it is written whole under another name, synced and renamed,
//! and it is gone, durably, before the log changes again.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use twox_hash::XxHash3_64;

use super::Segments;
use super::index::{Entry, Index, Place};
use super::record::u64_at;
use super::segment::Segment;
use super::usage::Recovery;
use super::writer::Writer;
use crate::tiers::files::{File, Files};

/// The snapshot's name.
pub(super) const SNAPSHOT: &str = "index";
const SNAPSHOT_NEW: &str = "index.new";

/// Takes the snapshot away before the log is changed.
pub(super) fn invalidate(files: &dyn Files, writer: &mut Writer) -> io::Result<()> {
    if writer.snapshot {
        match files.remove(SNAPSHOT) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => files.sync_directory("")?,
        }
        writer.snapshot = false;
    }
    Ok(())
}

/// Writes the snapshot of a log that is at rest and durable.
pub(super) fn write(log: &Segments, writer: &mut Writer) -> io::Result<()> {
    if writer.snapshot && log.recovery == Recovery::Snapshot {
        // Nothing was written since it was read.
        return Ok(());
    }
    let file = log.files.create(SNAPSHOT_NEW)?;
    let mut out = Out { file: &*file, at: HEADER_BYTES as u64, part: Vec::new(), seed: log.salt };
    let mut segments = 0u64;
    for segment in log.live.read().values().filter(|segment| segment.file().is_some()) {
        segments += 1;
        out.part.extend_from_slice(&segment.seq.to_le_bytes());
        out.part.extend_from_slice(&segment.written().to_le_bytes());
    }
    out.end_part()?;
    let mut entries = 0u64;
    let mut result = Ok(());
    log.index.each(|tag, Entry { version, place }| {
        if place.is(Place::OWED) || result.is_err() {
            return;
        }
        entries += 1;
        for word in [tag, version, place.bits()] {
            out.part.extend_from_slice(&word.to_le_bytes());
        }
        if out.part.len() == PART_BYTES {
            result = out.end_part();
        }
    });
    result?;
    if !out.part.is_empty() {
        out.end_part()?;
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    header.extend_from_slice(&MAGIC);
    for word in [log.salt, segments, entries] {
        header.extend_from_slice(&word.to_le_bytes());
    }
    header.extend_from_slice(&XxHash3_64::oneshot(&header).to_le_bytes());
    file.write_at(&header, 0)?;
    file.sync()?;
    log.counters.written(usize::try_from(out.at).unwrap_or_default());
    log.files.rename(SNAPSHOT_NEW, SNAPSHOT)?;
    writer.snapshot = true;
    log.files.sync_directory("")
}

/// Fills the index from the snapshot, if there is one and it means exactly these segments. Otherwise the index may hold anything.
pub(super) fn read(
    files: &dyn Files,
    salt: u64,
    live: &BTreeMap<u64, Arc<Segment>>,
    index: &Index,
) -> Option<()> {
    let file = files.open(SNAPSHOT).ok()?;
    let header = load(&*file, 0, HEADER_BYTES)?;
    let (words, sum) = header.split_at_checked(HEADER_BYTES - SUM_BYTES)?;
    if !words.starts_with(&MAGIC)
        || u64_at(sum, 0)? != XxHash3_64::oneshot(words)
        || u64_at(words, 8)? != salt
    {
        return None;
    }
    let (segments, entries) = (u64_at(words, 16)?, u64_at(words, 24)?);
    if segments != live.len() as u64 {
        return None;
    }
    let mut input = In { file: &*file, at: HEADER_BYTES as u64, seed: salt };
    let table = input.part(live.len().checked_mul(16)?)?;
    for (pair, (seq, segment)) in table.chunks_exact(16).zip(live) {
        if (u64_at(pair, 0)?, u64_at(pair, 8)?) != (*seq, segment.written()) {
            return None;
        }
    }
    let mut left = usize::try_from(entries).ok()?.checked_mul(ENTRY_BYTES)?;
    if left as u64 > file.length().ok()? {
        return None;
    }
    index.reserve(left / ENTRY_BYTES);
    while left > 0 {
        let part = input.part(left.min(PART_BYTES))?;
        left -= part.len();
        for entry in part.chunks_exact(ENTRY_BYTES) {
            index.recover(u64_at(entry, 0)?, u64_at(entry, 8)?, Place::from_bits(u64_at(entry, 16)?));
        }
    }
    Some(())
}

struct Out<'a> {
    file: &'a dyn File,
    at: u64,
    part: Vec<u8>,
    seed: u64,
}

impl Out<'_> {
    fn end_part(&mut self) -> io::Result<()> {
        let sum = XxHash3_64::oneshot_with_seed(self.seed, &self.part);
        self.seed = sum;
        self.part.extend_from_slice(&sum.to_le_bytes());
        self.file.write_at(&self.part, self.at)?;
        self.at += self.part.len() as u64;
        self.part.clear();
        Ok(())
    }
}

struct In<'a> {
    file: &'a dyn File,
    at: u64,
    seed: u64,
}

impl In<'_> {
    fn part(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let mut part = load(self.file, self.at, bytes + SUM_BYTES)?;
        self.at += part.len() as u64;
        let sum = u64_at(&part, bytes)?;
        part.truncate(bytes);
        if XxHash3_64::oneshot_with_seed(self.seed, &part) != sum {
            return None;
        }
        self.seed = sum;
        Some(part)
    }
}

fn load(file: &dyn File, at: u64, bytes: usize) -> Option<Vec<u8>> {
    let mut read = vec![0; bytes];
    file.read_at(&mut read, at).ok()?;
    Some(read)
}

const MAGIC: [u8; 8] = *b"TGINDEX1";
const HEADER_BYTES: usize = 40;
const SUM_BYTES: usize = 8;
const ENTRY_BYTES: usize = 24;
/// Entries under one sum, in bytes.
const PART_BYTES: usize = ENTRY_BYTES * 16_384;
