//! The log: every purge that was ordered, in the order in which it was applied here, durable before it is acknowledged.
//!
//! Records are numbered densely from 1 (the *sequence*) and carry the epoch that they took. Whoever appends waits for one
//! commit; all who wait at the same time share it. With the records, in the same transaction, stands the cursor into the log
//! they came from, if they came from one. Other nodes are given what is behind a number of their own ([`PurgeLog::given`]).
//!
//! ```text
//! append ── queue ── whoever holds the writer takes all that wait: write, commit (fsync), apply in order ── done, each
//! ```
//!
//! The log of a node without a disk is kept in memory: it has nothing that could outlive it. A log that is gone or makes
//! no sense while there are responses on the disk begins anew, above every epoch that there was, and what is on the disk counts
//! as softly purged: what was purged until then is not known.
//!
//! Invariants: a number that was told is never given again, over restarts too; epochs rise over restarts; a record that was
//! appended with an id that is there already is not written twice.

use std::io;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard, RwLock};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    WriteTransaction,
};
use tokio::sync::watch;

use super::commit::Job;
use super::file::{Ahead, Found, Place, Unusable};
use super::journal::{Batch, Journal};
use super::owner::{Owner, Ownership};
use super::tables::{
    CEILING, CURSORS, EPOCHS_AHEAD, FLOOR, GIVEN, IDS, LOG, META, NOTES, SETTLED, TOLD, begin, checkpoint,
    doubt, insert, sealed, standing, storage, unsealed,
};
use super::{Purge, Scope, record};
use crate::atomic::{AtomicU64, Ordering};
use crate::entry::Epoch;
use crate::tiers::files::Files;
use crate::timestamp::Timestamp;

/// The log. Everything but figures blocks.
pub struct PurgeLog {
    place: Place,
    /// None after the disk refused: opened again by the next who writes.
    database: RwLock<Option<Opening>>,
    /// Taken before it is looked at whose the log is.
    writer: Mutex<()>,
    /// Taken before the writer.
    tending: Mutex<()>,
    /// The database as it was, while a tick's commit is under way.
    pub(super) before_tick: Mutex<Option<Arc<ReadTransaction>>>,
    owner: Ownership,
    pub(super) queue: Mutex<Vec<Arc<Job>>>,
    pub(super) identity: u128,
    epoch: AtomicU64,
    /// Where the next start begins, as written down: no epoch that was taken is above it.
    pub(super) ceiling: AtomicU64,
    /// The number of the last record that is being applied: rises before its epoch is taken.
    pub(super) announced: AtomicU64,
    pub(super) passed: watch::Sender<u64>,
}

/// The database, the file below it, and what stands before it.
#[derive(Clone)]
pub(super) struct Opening {
    pub(super) database: Arc<Database>,
    ahead: Option<Arc<Ahead>>,
    pub(super) journal: Option<Arc<Journal>>,
}

/// A record of the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logged {
    /// Its number.
    pub sequence: u64,
    /// The epoch that it took here.
    pub epoch: Epoch,
    /// By which source it came; empty for what was ordered here.
    pub via: Box<str>,
    /// What was ordered.
    pub purge: Purge,
}

/// How far another log has been followed: stands in the transaction of what came from it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Source {
    /// Which source, as named here.
    pub name: Box<str>,
    /// The log's identity there.
    pub identity: u128,
    /// The last of its numbers that has been applied.
    pub position: u64,
}

/// What a log that was just opened says.
pub(crate) struct Opened {
    pub(crate) log: PurgeLog,
    /// There was none, or none that made sense, or it may have lost its last record.
    pub(crate) is_new: bool,
}

impl std::fmt::Debug for PurgeLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PurgeLog").field("sequence", &self.sequence()).finish_non_exhaustive()
    }
}

impl PurgeLog {
    /// A log that ends with the process.
    pub(crate) fn in_memory() -> Self {
        match Self::over(Place::Memory, 0) {
            Ok(opened) => opened.log,
            // What only a disk can refuse.
            Err(error) => unreachable!("memory refuses nothing: {error}"),
        }
    }

    /// The log in a directory; `now` as the calendar has it.
    pub(crate) fn open(files: Arc<dyn Files>, now: Timestamp) -> io::Result<Opened> {
        // Above every epoch of a log that was here before: those rise by one a purge, and begin so.
        Self::over(Place::Directory(files), now.as_millis() << EPOCHS_A_MILLI_BITS)
    }

    fn over(place: Place, epoch_min: Epoch) -> io::Result<Opened> {
        let Found { database, ahead, journal, is_new, fell_back } =
            place.open().map_err(Unusable::into_error)?;
        let begun = begin(&database, epoch_min, fell_back).map_err(storage)?;
        let log = Self {
            place,
            database: RwLock::new(Some(Opening { database: Arc::new(database), ahead, journal })),
            writer: Mutex::default(),
            tending: Mutex::default(),
            before_tick: Mutex::default(),
            owner: Ownership::default(),
            queue: Mutex::default(),
            identity: begun.identity,
            epoch: AtomicU64::new(begun.epoch),
            ceiling: AtomicU64::new(begun.epoch.saturating_add(EPOCHS_AHEAD)),
            announced: AtomicU64::new(begun.last),
            passed: watch::Sender::new(begun.last),
        };
        Ok(Opened { log, is_new: is_new || begun.is_new || fell_back })
    }

    /// Puts a log that makes no sense out of the way.
    pub(crate) fn set_aside(files: &Arc<dyn Files>) -> io::Result<()> {
        Place::Directory(Arc::clone(files)).set_aside()
    }

    /// What this log is called wherever it is followed: another one has another name, also in the same place.
    pub const fn identity(&self) -> u128 {
        self.identity
    }

    /// The number of the last record that has been applied.
    pub fn sequence(&self) -> u64 {
        *self.passed.borrow()
    }

    /// The number of the last record that is applied or about to be. Whoever has read an epoch above a record's reads here a
    /// number that is not below the record's. [`u64::MAX`] from when a purge was applied that could not be written, until one can.
    pub fn announced(&self) -> u64 {
        self.announced.load(Ordering::Acquire)
    }

    /// Tells the number of the last that has been applied whenever it rises.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.passed.subscribe()
    }

    /// The epoch now: how many purges there were, and what begins now belongs to.
    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch.load(Ordering::Acquire)
    }

    /// Takes the next epoch, for a purge that is not written.
    pub(crate) fn next_epoch(&self) -> Epoch {
        self.epoch.fetch_add(1, Ordering::AcqRel) + 1
    }

    /// Leaves the log to another process, or is about to: who orders a purge from now on waits until [`PurgeLog::settle_owner`] is
    /// called. When it returns nothing here reads or writes the file. Blocks.
    pub(crate) fn offer(&self) {
        self.owner.change(Owner::Unsettled);
        let _writer = self.writer.lock();
        if !matches!(self.place, Place::Memory) {
            // Whoever opens it takes over what is pending.
            self.shut();
        }
    }

    /// It is settled whose the log is: ours again, or another process's; then purges that are ordered here are refused, and applied
    /// all the same.
    pub(crate) fn settle_owner(&self, is_ours: bool) {
        self.owner.change(if is_ours { Owner::Us } else { Owner::Another });
    }

    /// Whether it is ours, as far as is known now.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner.now() == Owner::Us
    }

    /// The place of whoever writes, and whether the log is ours to write as long as it is held.
    pub(super) fn writer(&self) -> (MutexGuard<'_, ()>, bool) {
        loop {
            let writer = self.writer.lock();
            match self.owner.now() {
                Owner::Us => return (writer, true),
                Owner::Another => return (writer, false),
                Owner::Unsettled => {
                    drop(writer);
                    self.owner.settled();
                }
            }
        }
    }

    /// Up to `max` records behind `sequence`, in order.
    ///
    /// # Errors
    /// As the disk says.
    pub fn since(&self, sequence: u64, max: usize) -> io::Result<Vec<Logged>> {
        self.read(|transaction, pending| {
            let log = transaction.open_table(LOG)?;
            let (mut found, mut last, mut looked_at) = (Vec::new(), sequence, 0);
            for entry in log.range(sequence.saturating_add(1)..)?.take(max) {
                let (sequence, record) = entry?;
                last = sequence.value();
                looked_at += 1;
                found.extend(logged(last, record.value()));
            }
            let pending = pending.records.iter().filter(|record| record.sequence > last);
            let room = max.saturating_sub(looked_at);
            found.extend(pending.take(room).filter_map(|record| logged(record.sequence, &record.bytes)));
            Ok(found)
        })
    }

    /// The number of the oldest record that is kept; one above the last where none is.
    ///
    /// # Errors
    /// As the disk says.
    pub fn first(&self) -> io::Result<u64> {
        let next = self.sequence() + 1;
        self.read(|transaction, pending| {
            let first = transaction.open_table(LOG)?.first()?.map(|(first, _)| first.value());
            Ok(first.or(pending.records.first().map(|record| record.sequence)).unwrap_or(next))
        })
    }

    /// How far a source has been followed, and which log that was.
    ///
    /// # Errors
    /// As the disk says.
    pub fn source(&self, name: &str) -> io::Result<Option<Source>> {
        self.read(|transaction, pending| {
            if let Some(source) = pending.sources.iter().rfind(|source| &*source.name == name) {
                return Ok(Some(source.clone()));
            }
            let cursor = transaction.open_table(CURSORS)?.get(name)?.map(|cursor| cursor.value());
            Ok(cursor.map(|(identity, position)| Source { name: name.into(), identity, position }))
        })
    }

    /// Up to which record another node has everything, as noted last; zero if it never was.
    ///
    /// # Errors
    /// As the disk says.
    pub fn given(&self, name: &str) -> io::Result<u64> {
        self.read(|transaction, _| {
            Ok(transaction.open_table(GIVEN)?.get(name)?.map_or(0, |sequence| sequence.value()))
        })
    }

    /// Notes that another node has everything up to a record.
    ///
    /// # Errors
    /// As the disk says; it will be given some again.
    pub fn note_given(&self, name: &str, sequence: u64) -> io::Result<()> {
        self.change(|transaction| {
            transaction.open_table(GIVEN)?.insert(name, sequence)?;
            Ok(())
        })
    }

    /// What was written down under a name.
    ///
    /// # Errors
    /// As the disk says.
    pub fn note(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.read(|transaction, _| {
            Ok(transaction.open_table(NOTES)?.get(name)?.map(|note| note.value().to_vec()))
        })
    }

    /// Writes something small down under a name, in place of what was there; `false` where `max` others are there already.
    /// Durable when it returns.
    ///
    /// # Errors
    /// As the disk says.
    pub fn write_note(&self, name: &str, note: &[u8], max: usize) -> io::Result<bool> {
        self.change(|transaction| {
            let mut notes = transaction.open_table(NOTES)?;
            if notes.get(name)?.is_none() && notes.len()? >= max as u64 {
                return Ok(false);
            }
            notes.insert(name, note)?;
            Ok(true)
        })
    }

    /// Calls `each` with every record there is, in order; `false` where one is missing or damaged. For a start: nothing is pending.
    pub(crate) fn replay(&self, mut each: impl FnMut(Logged)) -> io::Result<bool> {
        let last = self.sequence();
        self.read(|transaction, _| {
            let (mut expected, mut whole) = (None, true);
            for entry in transaction.open_table(LOG)?.iter()? {
                let (sequence, record) = entry?;
                let sequence = sequence.value();
                whole &= expected.is_none_or(|expected| expected == sequence);
                expected = Some(sequence + 1);
                match logged(sequence, record.value()) {
                    Some(logged) => each(logged),
                    None => whole = false,
                }
            }
            Ok(whole && expected.is_none_or(|expected| expected > last))
        })
    }

    /// Up to which record the disk tier has forgotten for good what purges by URL took; and what was purged before the
    /// oldest record counts as of this epoch.
    pub(crate) fn marks(&self) -> io::Result<(u64, Epoch)> {
        self.read(|transaction, _| {
            let meta = transaction.open_table(META)?;
            let value = |name| -> Result<u64, redb::Error> {
                meta.get(name)?.map_or(Ok(0), |value| unsealed(name, value.value()))
            };
            Ok((value(SETTLED)?, value(FLOOR)?))
        })
    }

    /// The disk tier has forgotten for good what was purged by URL up to this record.
    pub(crate) fn settled(&self, sequence: u64) -> io::Result<()> {
        self.change(|transaction| {
            transaction.open_table(META)?.insert(SETTLED, sealed(SETTLED, sequence))?;
            Ok(())
        })
    }

    /// What may have been missing at the start has been made up for.
    pub(crate) fn trust(&self) -> io::Result<()> {
        let (_writer, _) = self.writer();
        doubt(&self.opening()?.database, false).map_err(storage)
    }

    /// Writes down where the next start is to begin, if half of what was left has been taken since, by purges that are not written.
    /// For a tick.
    pub(crate) fn raise_ceiling(&self) -> io::Result<()> {
        if !self.is_near_the_ceiling() {
            return Ok(());
        }
        let ceiling = self.change(|transaction| {
            let ceiling = self.epoch().saturating_add(EPOCHS_AHEAD);
            transaction.open_table(META)?.insert(CEILING, sealed(CEILING, ceiling))?;
            Ok(ceiling)
        })?;
        self.ceiling.store(ceiling, Ordering::Release);
        Ok(())
    }

    pub(super) fn is_near_the_ceiling(&self) -> bool {
        self.epoch().saturating_add(EPOCHS_AHEAD / 2) > self.ceiling.load(Ordering::Acquire)
    }

    /// Takes what is pending into the database, and has its file ready for the purges to come. For a tick: a purge waits for it only
    /// where zeros are to be written.
    pub(crate) fn tend_file(&self) -> io::Result<()> {
        // No other commit is under way than one of who holds the writer.
        let _tending = self.tending.lock();
        for _ in 0..DRAINS {
            match self.drain_once() {
                Ok(true) => return Ok(()),
                // Something came meanwhile: the journal begins anew once nothing is pending.
                Ok(false) => {}
                Err(error) => {
                    let _writer = self.writer();
                    self.shut();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn drain_once(&self) -> io::Result<bool> {
        let (writer, is_ours) = self.writer();
        // Held until it has committed: whoever gives the log away, or shuts it, waits for that.
        let held = self.database.read();
        let Some(opening) = held.as_ref().filter(|_| is_ours) else { return Ok(true) };
        if let Some(ahead) = &opening.ahead
            && ahead.tend()
        {
            // In the file of another process nothing is written, and no commit is under way.
            ahead.sync()?;
        }
        self.drain(opening, writer)
    }

    /// Drops the oldest records: those ordered before `before`, and beyond [`RECORDS_MAX`]; not more than a transaction's worth.
    /// Returns the epoch below which nothing is known any more, if that has risen.
    pub(crate) fn trim(&self, before: Timestamp) -> io::Result<Option<Epoch>> {
        let (too_many, is_old) = self.read(|transaction, _| {
            let log = transaction.open_table(LOG)?;
            let oldest = log.first()?.and_then(|(sequence, record)| logged(sequence.value(), record.value()));
            Ok((log.len()? > RECORDS_MAX, oldest.is_some_and(|oldest| oldest.purge.at < before)))
        })?;
        if !too_many && !is_old {
            return Ok(None);
        }
        self.change(|transaction| {
            let mut log = transaction.open_table(LOG)?;
            let mut ids = transaction.open_table(IDS)?;
            let mut floor = None;
            for _ in 0..TRIMMED_AT_ONCE {
                let surplus = log.len()? > RECORDS_MAX;
                let Some((sequence, oldest)) = log
                    .first()?
                    .map(|(sequence, record)| (sequence.value(), logged(sequence.value(), record.value())))
                else {
                    break;
                };
                if let Some(oldest) = &oldest {
                    if !surplus && oldest.purge.at >= before {
                        break;
                    }
                    if oldest.purge.scopes.iter().any(Scope::is_broad) {
                        floor = Some(oldest.epoch);
                    }
                    ids.remove(oldest.purge.id)?;
                }
                log.remove(sequence)?;
            }
            let mut meta = transaction.open_table(META)?;
            meta.insert(TOLD, sealed(TOLD, self.sequence()))?;
            if let Some(floor) = floor {
                meta.insert(FLOOR, sealed(FLOOR, floor))?;
            }
            Ok(floor)
        })
    }

    pub(super) fn opening(&self) -> io::Result<Opening> {
        if let Some(opening) = &*self.database.read() {
            return Ok(opening.clone());
        }
        let mut place = self.database.write();
        if let Some(opening) = &*place {
            return Ok(opening.clone());
        }
        let Found { database, ahead, journal, is_new, fell_back } =
            self.place.open().map_err(Unusable::into_error)?;
        let (identity, last) = standing(&database).map_err(storage)?;
        if is_new || identity != Some(self.identity) || last < self.sequence() {
            // Somebody took a file away, or put another one there: what it said is gone, and only a new start may begin another log.
            doubt(&database, true).map_err(storage)?;
            return Err(io::Error::new(io::ErrorKind::NotFound, "the purge log has vanished"));
        }
        if fell_back {
            // All that was told is there: what is missing is what failed.
            doubt(&database, false).map_err(storage)?;
        }
        let opening = Opening { database: Arc::new(database), ahead, journal };
        *place = Some(opening.clone());
        Ok(opening)
    }

    /// Closes the files: whoever comes next opens them again. For whoever holds the writer.
    pub(super) fn shut(&self) {
        *self.database.write() = None;
    }

    /// Reads from the database, and what it has not.
    fn read<T>(
        &self,
        read: impl FnOnce(&ReadTransaction, &Batch) -> Result<T, redb::Error>,
    ) -> io::Result<T> {
        let read_from = |opening: &Opening| {
            // First: what is taken over in between is found in the database.
            let pending = opening.journal.as_ref().map(|journal| journal.pending().0).unwrap_or_default();
            let transaction = opening.database.begin_read().map_err(|error| storage(error.into()))?;
            read(&transaction, &pending).map_err(storage)
        };
        // Held while it is read: whoever gives the log away waits for that.
        let held = self.database.read();
        if let Some(opening) = &*held {
            return read_from(opening);
        }
        drop(held);
        let (_writer, is_ours) = self.writer();
        if !is_ours {
            return Err(given_away());
        }
        read_from(&self.opening()?)
    }

    /// A transaction beside the records.
    fn change<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> io::Result<T> {
        let (_writer, is_ours) = self.writer();
        if !is_ours {
            return Err(given_away());
        }
        let opening = self.opening()?;
        let changed = (|| {
            let transaction = checkpoint(&opening.database)?;
            if let Some(journal) = &opening.journal {
                // In one go: what is trimmed, or counted, is all there is.
                let (pending, count) = journal.pending();
                insert(&transaction, &pending, count)?;
            }
            let changed = change(&transaction)?;
            transaction.commit()?;
            if let Some(journal) = &opening.journal {
                // Nothing came since: the writer is held.
                self.taken_over(journal, u64::MAX);
            }
            Ok(changed)
        })();
        if changed.is_err() {
            self.shut();
        }
        changed.map_err(storage)
    }
}

impl Unusable {
    fn into_error(self) -> io::Error {
        match self {
            Self::Disk(error) => error,
            Self::Damaged(error) => io::Error::new(io::ErrorKind::InvalidData, error),
        }
    }
}

/// A name for a purge or a log that nobody else draws.
///
/// # Errors
/// The system has no randomness.
pub fn new_id() -> io::Result<u128> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(u128::from_le_bytes(bytes))
}

/// One that cannot be read says nothing: the checksums of the pages leave that to other versions.
fn logged(sequence: u64, record: &[u8]) -> Option<Logged> {
    let (epoch, via, purge) = record::decode(record)?;
    Some(Logged { sequence, epoch, via, purge })
}

pub(super) fn given_away() -> io::Error {
    io::Error::other("a new process has taken over this node's purges: order it again, on a new connection")
}

/// A log that begins now begins at so many epochs a millisecond of the calendar.
const EPOCHS_A_MILLI_BITS: u32 = 20;
/// Records kept: at about 250 bytes each.
const RECORDS_MAX: u64 = 1_000_000;
/// Commits of a tick, while purges come.
const DRAINS: usize = 4;
/// Records dropped in one transaction.
const TRIMMED_AT_ONCE: usize = 10_000;
