//! What an acknowledgement waits for: one write and one sync of a file that has all its blocks, in front of the log's database.
//!
//! A commit of the database writes eight pages here and there and waits for each; a batch in the journal is one block in most cases.
//! What stands in the journal alone is *pending*: it is part of the log, kept in memory too, and goes into the database with the tick,
//! many batches in one commit. The next start takes over what the database has not.
//!
//! ```text
//! block    batch │ batch (two blocks) │ batch │ zeros │ …             a batch: magic length identity nth sources records sum
//! ```
//!
//! With a batch goes the block of zeros behind it, so where batches end the file says so; anything else there is a batch that was
//! cut, or damage. Once all of them are in the database they begin at the first block again; while it takes some over others may be
//! written behind them. Batches are counted, and the database knows up to which it has them.
//!
//! Invariants: a batch is read whole or not at all; a block that an acknowledged batch stands in is not written again until the
//! database has it.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use bytes::BufMut;
use parking_lot::Mutex;
use twox_hash::XxHash3_64;

use super::log::Source;
use crate::cursor::Cursor;
use crate::tiers::files::{File, Files};

/// The file, and what stands in it alone.
pub(super) struct Journal {
    file: Box<dyn File>,
    state: Mutex<State>,
}

struct State {
    /// The block at which the next batch begins.
    at: u64,
    /// Batches so far.
    count: u64,
    /// What stands in batches that the database has not.
    pending: Batch,
    /// Those batches, in their order.
    parts: VecDeque<Part>,
}

/// A batch that is pending: which one, and how much of what is pending is its.
struct Part {
    nth: u64,
    records: usize,
    sources: usize,
}

/// Records in their order, and how far sources have been followed with them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Batch {
    pub(super) records: Vec<Record>,
    pub(super) sources: Vec<Source>,
}

/// A record of the log, encoded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) sequence: u64,
    pub(super) id: u128,
    pub(super) bytes: Arc<[u8]>,
}

/// A batch as it is written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Numbered {
    /// Of the log.
    pub(super) identity: u128,
    /// The how manieth.
    pub(super) nth: u64,
    pub(super) batch: Batch,
}

/// What a journal said when it was opened.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// In their order.
    pub(super) batches: Vec<Numbered>,
    /// There was none, or not all of it.
    pub(super) is_new: bool,
    /// What lies behind the end, and is of batches that were taken over if nothing was lost.
    pub(super) behind: Vec<Numbered>,
    /// It does not end where it says: its last batch is missing, which nobody was told of, or what was written has changed since.
    pub(super) is_doubtful: bool,
}

impl Batch {
    pub(super) fn extend(&mut self, other: Self) {
        self.records.extend(other.records);
        self.sources.extend(other.sources);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.sources.is_empty()
    }

    /// The number of the last record; zero where there is none.
    pub(super) fn last(&self) -> u64 {
        self.records.last().map_or(0, |record| record.sequence)
    }

    /// The number of the purge of this name.
    pub(super) fn sequence_of(&self, id: u128) -> Option<u64> {
        self.records.iter().find(|record| record.id == id).map(|record| record.sequence)
    }

    fn encode(&self, identity: u128, nth: u64) -> Vec<u8> {
        let of_records: usize = self.records.iter().map(|record| record.bytes.len() + 32).sum();
        let mut out = Vec::with_capacity(64 + self.sources.len() * 64 + of_records + 2 * BLOCK);
        out.put_u64_le(MAGIC);
        out.put_u32_le(0);
        out.put_u128_le(identity);
        out.put_u64_le(nth);
        out.put_u32_le(length(self.sources.len()));
        for Source { name, identity, position } in &self.sources {
            text(name.as_bytes(), &mut out);
            out.put_u128_le(*identity);
            out.put_u64_le(*position);
        }
        out.put_u32_le(length(self.records.len()));
        for Record { sequence, id, bytes } in &self.records {
            out.put_u64_le(*sequence);
            out.put_u128_le(*id);
            text(bytes, &mut out);
        }
        let whole = length(out.len() + SUM);
        if let Some(place) = out.get_mut(MAGIC_BYTES..HEAD) {
            place.copy_from_slice(&whole.to_le_bytes());
        }
        out.put_u64_le(XxHash3_64::oneshot(&out));
        // To the end of its last block, and one of zeros.
        out.resize((out.len().div_ceil(BLOCK) + 1) * BLOCK, 0);
        out
    }

    /// `bytes` as they were written, without what fills the last block.
    fn decode(bytes: &[u8]) -> Option<Numbered> {
        let (bytes, sum) = bytes.split_last_chunk::<SUM>()?;
        if XxHash3_64::oneshot(bytes) != u64::from_le_bytes(*sum) {
            return None;
        }
        let mut from = Cursor::new(bytes);
        from.take(HEAD)?;
        let (identity, nth) = (from.u128()?, from.u64()?);
        let mut batch = Self::default();
        for _ in 0..from.u32()? {
            let name = std::str::from_utf8(from.text()?).ok()?.into();
            batch.sources.push(Source { name, identity: from.u128()?, position: from.u64()? });
        }
        for _ in 0..from.u32()? {
            let (sequence, id) = (from.u64()?, from.u128()?);
            batch.records.push(Record { sequence, id, bytes: from.text()?.into() });
        }
        Some(Numbered { identity, nth, batch })
    }
}

impl Journal {
    /// The journal of a directory and what it says; made where there is none. None where the disk has no room for one: the log does
    /// without.
    ///
    /// # Errors
    /// As the disk says of one that is there.
    pub(super) fn open(files: &dyn Files) -> io::Result<Option<(Self, Found)>> {
        let (file, is_new) = match files.open(NAME) {
            Ok(file) => (file, false),
            Err(error) if error.kind() == io::ErrorKind::NotFound => match make(files) {
                Ok(file) => (file, true),
                Err(_) => return Ok(None),
            },
            Err(error) => return Err(error),
        };
        // One whose making was cut, or it was cut since.
        let is_short = file.length()? < BLOCKS * BLOCK as u64;
        if is_short && fill(&*file).is_err() {
            return Ok(None);
        }
        let found = Found { is_new: is_new || is_short, ..read(&*file)? };
        let state = State { at: 0, count: 0, pending: Batch::default(), parts: VecDeque::new() };
        Ok(Some((Self { file, state: Mutex::new(state) }, found)))
    }

    /// Whether a directory has one, whole.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn is_there(files: &dyn Files) -> io::Result<bool> {
        match files.length(NAME) {
            Ok(bytes) => Ok(bytes >= BLOCKS * BLOCK as u64),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The database has the first `count` batches, and that is all that there are.
    pub(super) fn begin(&self, count: u64) {
        // Where it fails what is there is passed over once more.
        if self.file.write_at(&[0; BLOCK], 0).is_ok() {
            drop(self.file.sync());
        }
        let mut state = self.state.lock();
        (state.at, state.count) = (0, count);
    }

    /// Writes a batch down, durable when it returns; `false` where it has no room, and nothing was written. After an error it may be
    /// there or not.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn append(&self, identity: u128, batch: Batch) -> io::Result<bool> {
        let (at, nth) = {
            let state = self.state.lock();
            (state.at, state.count + 1)
        };
        let bytes = batch.encode(identity, nth);
        let end = at + (bytes.len() / BLOCK) as u64;
        if end > BLOCKS {
            return Ok(false);
        }
        self.file.write_at(&bytes, at * BLOCK as u64)?;
        self.file.sync()?;
        let mut state = self.state.lock();
        // On the block of zeros.
        (state.at, state.count) = (end - 1, nth);
        state.parts.push_back(Part { nth, records: batch.records.len(), sources: batch.sources.len() });
        state.pending.extend(batch);
        Ok(true)
    }

    /// What the database has not, and how many batches there were with it.
    pub(super) fn pending(&self) -> (Batch, u64) {
        let state = self.state.lock();
        (state.pending.clone(), state.count)
    }

    /// The same of one kind, or less: whatever `look` makes of it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&Batch) -> T) -> T {
        look(&self.state.lock().pending)
    }

    /// The database has, durably, the first `count` batches. Others may be pending behind them, or be written just now.
    pub(super) fn taken_over(&self, count: u64) {
        let state = &mut *self.state.lock();
        while let Some(part) = state.parts.pop_front_if(|part| part.nth <= count) {
            state.pending.records.drain(..part.records);
            state.pending.sources.drain(..part.sources);
        }
        if state.parts.is_empty() {
            // One that is being written sets it behind itself.
            state.at = 0;
        }
    }
}

fn make(files: &dyn Files) -> io::Result<Box<dyn File>> {
    let file = files.create(NAME)?;
    fill(&*file)?;
    files.sync_directory("")?;
    Ok(file)
}

/// Zeros to its full length, durable: whatever is written there later has its blocks.
fn fill(file: &dyn File) -> io::Result<()> {
    let zeros = vec![0; BLOCK * 16];
    let mut at = file.length()? / BLOCK as u64;
    while at < BLOCKS {
        let blocks = (BLOCKS - at).min(16);
        let bytes = usize::try_from(blocks).map_or(BLOCK, |blocks| blocks * BLOCK);
        file.write_at(zeros.get(..bytes).unwrap_or_default(), at * BLOCK as u64)?;
        at += blocks;
    }
    file.sync()
}

fn read(file: &dyn File) -> io::Result<Found> {
    let (mut found, mut at) = (Found::default(), 0);
    while at < BLOCKS {
        match read_at(file, at)? {
            Some((batch, blocks)) => {
                found.batches.push(batch);
                at += blocks;
            }
            None => break,
        }
    }
    let mut end = vec![0; BLOCK];
    if at < BLOCKS {
        file.read_at(&mut end, at * BLOCK as u64)?;
    }
    found.is_doubtful = at >= BLOCKS || end.iter().any(|byte| *byte != 0);
    while at < BLOCKS {
        if let Some((batch, _)) = read_at(file, at)? {
            found.behind.push(batch);
        }
        at += 1;
    }
    Ok(found)
}

/// The batch that begins in this block, if one does, and how many it fills.
fn read_at(file: &dyn File, at: u64) -> io::Result<Option<(Numbered, u64)>> {
    let mut bytes = vec![0; BLOCK];
    file.read_at(&mut bytes, at * BLOCK as u64)?;
    let Some(length) = length_of(&bytes).filter(|length| *length >= HEAD + SUM) else { return Ok(None) };
    let blocks = length.div_ceil(BLOCK) as u64;
    if at + blocks > BLOCKS {
        return Ok(None);
    }
    bytes.resize(length, 0);
    file.read_at(&mut bytes, at * BLOCK as u64)?;
    Ok(Batch::decode(&bytes).map(|batch| (batch, blocks)))
}

/// Of the batch that begins with these bytes.
fn length_of(block: &[u8]) -> Option<usize> {
    let mut from = Cursor::new(block);
    if from.u64()? != MAGIC {
        return None;
    }
    usize::try_from(from.u32()?).ok()
}

fn text(text: &[u8], out: &mut Vec<u8>) {
    out.put_u32_le(length(text.len()));
    out.extend_from_slice(text);
}

/// A length as written; what does not fit in the journal is not written at all.
fn length(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

pub(super) const NAME: &str = "purges.journal";
/// What a disk writes whole.
const BLOCK: usize = 4096;
/// Pending is no more than fits here: some hundred purges.
const BLOCKS: u64 = 256;
const MAGIC: u64 = u64::from_le_bytes(*b"TGPURGE1");
const MAGIC_BYTES: usize = 8;
/// Magic and length.
const HEAD: usize = MAGIC_BYTES + 4;
const SUM: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiers::files::Torn;

    fn batch(first: u64, count: u64, bytes: usize) -> Batch {
        let record =
            |sequence| Record { sequence, id: u128::from(sequence) << 64, bytes: vec![7; bytes].into() };
        let source = Source { name: "there".into(), identity: 5, position: first };
        Batch { records: (first..first + count).map(record).collect(), sources: vec![source] }
    }

    fn numbered(nth: u64, batch: Batch) -> Numbered {
        Numbered { identity: 3, nth, batch }
    }

    fn opened(files: &Torn) -> (Journal, Found) {
        Journal::open(files).expect("a disk that is well").expect("there is room")
    }

    #[test]
    fn batches_come_back_as_they_were() {
        let files = Torn::new(1);
        let (journal, found) = opened(&files);
        assert!(found.batches.is_empty() && !found.is_doubtful);
        let batches = [batch(1, 1, 100), batch(2, 30, 1000), Batch { records: Vec::new(), ..batch(9, 0, 0) }];
        for batch in &batches {
            assert!(journal.append(3, batch.clone()).expect("a disk that is well"));
        }
        assert_eq!(journal.pending().0.records.len(), 31);
        let (_, found) = opened(&files);
        let [a, b, c] = batches;
        assert_eq!(found.batches, [numbered(1, a), numbered(2, b), numbered(3, c)]);
        assert!(!found.is_doubtful);
    }

    #[test]
    fn it_begins_anew_once_it_was_taken_over_and_ends_where_it_says() {
        let files = Torn::new(1);
        let (journal, _) = opened(&files);
        for first in 1..=100 {
            assert!(journal.append(3, batch(first, 1, 5000)).expect("a disk that is well"));
        }
        journal.taken_over(100);
        assert!(journal.pending().0.is_empty());
        assert!(journal.append(3, batch(101, 1, 100)).expect("a disk that is well"));
        let (_, found) = opened(&files);
        assert_eq!((found.batches.len(), found.is_doubtful), (1, false), "nothing of what was there before");
    }

    #[test]
    fn what_came_while_it_was_taken_over_stays_pending_behind_it() {
        let files = Torn::new(1);
        let (journal, _) = opened(&files);
        for first in 1..=3 {
            assert!(journal.append(3, batch(first, 1, 100)).expect("a disk that is well"));
        }
        let (_, count) = journal.pending();
        for first in 4..=5 {
            assert!(journal.append(3, batch(first, 1, 100)).expect("a disk that is well"));
        }
        journal.taken_over(count);
        let mut left = batch(4, 1, 100);
        left.extend(batch(5, 1, 100));
        assert_eq!(journal.pending(), (left, 5));
        assert!(journal.append(3, batch(6, 1, 100)).expect("a disk that is well"));
        let (_, found) = opened(&files);
        let nths: Vec<_> = found.batches.iter().map(|batch| batch.nth).collect();
        assert_eq!(
            (nths, found.is_doubtful),
            ((1..=6).collect(), false),
            "a start passes over what is known"
        );
        journal.taken_over(count);
        assert_eq!(journal.pending().1, 6, "what was taken over before says nothing new");
        journal.taken_over(6);
        assert!(journal.append(3, batch(7, 1, 100)).expect("a disk that is well"));
        let (_, found) = opened(&files);
        let nths: Vec<_> = found.batches.iter().map(|batch| batch.nth).collect();
        assert_eq!((nths, found.is_doubtful), (vec![7], false));
    }

    #[test]
    fn what_has_no_room_is_not_written() {
        let files = Torn::new(1);
        let (journal, _) = opened(&files);
        assert!(!journal.append(3, batch(1, 300, 5000)).expect("a disk that is well"), "more than there is");
        let mut written = 0;
        while journal.append(3, batch(written + 1, 1, 100)).expect("a disk that is well") {
            written += 1;
        }
        assert_eq!(written, BLOCKS - 1, "but for the zeros behind the last");
        let (_, found) = opened(&files);
        assert_eq!((found.batches.len() as u64, found.is_doubtful), (written, false));
    }

    #[test]
    fn whatever_is_damaged_is_told() {
        for bit in (0..8 * (BLOCK as u64 + 200)).step_by(61) {
            let files = Torn::new(1);
            let (journal, _) = opened(&files);
            for first in [1, 2] {
                assert!(journal.append(3, batch(first, 1, 100)).expect("a disk that is well"));
            }
            files.flip(NAME, bit);
            let (_, found) = opened(&files);
            let is_whole = found.batches == [1, 2].map(|nth| numbered(nth, batch(nth, 1, 100)));
            assert!(is_whole || found.is_doubtful, "bit {bit}");
        }
    }
}
