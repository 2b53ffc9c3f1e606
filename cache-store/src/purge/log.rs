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
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, MutexGuard, RwLock};
use redb::{
    Database, ReadTransaction, ReadableDatabase as _, ReadableTable as _, ReadableTableMetadata as _,
    TableDefinition, WriteTransaction,
};
use tokio::sync::watch;
use twox_hash::XxHash3_64;

use super::file::{Found, Place, Unusable};
use super::owner::{Owner, Ownership};
use super::{Purge, Scope, record};
use crate::atomic::{AtomicU64, Ordering};
use crate::entry::Epoch;
use crate::tiers::files::Files;
use crate::timestamp::Timestamp;

/// The log. Everything but figures blocks.
pub struct PurgeLog {
    place: Place,
    /// None after the disk refused: opened again by the next who writes.
    database: RwLock<Option<Arc<Database>>>,
    /// Taken before it is looked at whose the log is.
    writer: Mutex<()>,
    owner: Ownership,
    queue: Mutex<Vec<Arc<Job>>>,
    identity: u128,
    epoch: AtomicU64,
    /// Where the next start begins, as written down: no epoch that was taken is above it.
    ceiling: AtomicU64,
    /// The number of the last record that is being applied: rises before its epoch is taken.
    announced: AtomicU64,
    passed: watch::Sender<u64>,
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

/// What became of one order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Done {
    pub(super) sequence: u64,
    pub(super) matched: u64,
}

/// Orders that wait to be written together.
struct Job {
    purges: Vec<Purge>,
    via: Box<str>,
    source: Option<Source>,
    done: OnceLock<Result<Vec<Done>, Arc<io::Error>>>,
}

/// What a commit will have written.
struct Written {
    /// By job: number, epoch, and whether it is new.
    records: Vec<Vec<(u64, Epoch, bool)>>,
    last: u64,
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
        let Found { database, is_new, fell_back } = place.open().map_err(Unusable::into_error)?;
        let begun = begin(&database, epoch_min, fell_back).map_err(storage)?;
        let log = Self {
            place,
            database: RwLock::new(Some(Arc::new(database))),
            writer: Mutex::default(),
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

    /// Writes orders that came `via` a source down and applies them, in their order, with `apply`. When it returns they are durable and applied. An order
    /// that is there already is neither.
    ///
    /// # Errors
    /// As the disk says. They are applied all the same, and will not outlast the process.
    pub(super) fn append(
        &self,
        purges: Vec<Purge>,
        via: &str,
        source: Option<Source>,
        apply: &dyn Fn(&Purge, Epoch) -> u64,
    ) -> Result<Vec<Done>, Arc<io::Error>> {
        let job = Arc::new(Job { purges, via: via.into(), source, done: OnceLock::new() });
        self.queue.lock().push(Arc::clone(&job));
        let (_writer, is_ours) = self.writer();
        if job.done.get().is_none() {
            let jobs = std::mem::take(&mut *self.queue.lock());
            let written = if is_ours { self.commit(&jobs) } else { Err(given_away()) };
            self.settle(&jobs, written, apply);
        }
        job.done.get().cloned().unwrap_or_else(|| Err(Arc::new(io::Error::other("the purge was lost"))))
    }

    /// Leaves the log to another process, or is about to: who orders a purge from now on waits until [`PurgeLog::settle_owner`] is
    /// called. When it returns nothing here reads or writes the file. Blocks.
    pub(crate) fn offer(&self) {
        self.owner.change(Owner::Unsettled);
        let _writer = self.writer.lock();
        if !matches!(self.place, Place::Memory) {
            *self.database.write() = None;
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
    fn writer(&self) -> (MutexGuard<'_, ()>, bool) {
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

    fn commit(&self, jobs: &[Arc<Job>]) -> io::Result<Written> {
        let database = self.database()?;
        let written = self.write(&database, jobs);
        if written.is_err() {
            // It refuses everything after an error: whoever comes next opens it again.
            *self.database.write() = None;
        }
        written.map_err(storage)
    }

    fn write(&self, database: &Database, jobs: &[Arc<Job>]) -> Result<Written, redb::Error> {
        let transaction = database.begin_write()?;
        let mut records = Vec::with_capacity(jobs.len());
        let ceiling;
        let last = {
            let mut log = transaction.open_table(LOG)?;
            // A commit that failed may have been written all the same.
            let mut last = log.last()?.map_or(0, |(last, _)| last.value()).max(self.sequence());
            let mut ids = transaction.open_table(IDS)?;
            let mut cursors = transaction.open_table(CURSORS)?;
            for job in jobs {
                let mut numbers = Vec::with_capacity(job.purges.len());
                for purge in &job.purges {
                    if let Some(known) = ids.get(purge.id)? {
                        numbers.push((known.value(), 0, false));
                        continue;
                    }
                    last += 1;
                    self.announced.fetch_max(last, Ordering::AcqRel);
                    let epoch = self.next_epoch();
                    log.insert(last, record::encode(epoch, &job.via, purge).as_slice())?;
                    ids.insert(purge.id, last)?;
                    numbers.push((last, epoch, true));
                }
                if let Some(Source { name, identity, position }) = &job.source {
                    cursors.insert(&**name, (*identity, *position))?;
                }
                records.push(numbers);
            }
            let mut meta = transaction.open_table(META)?;
            ceiling = self.epoch().saturating_add(EPOCHS_AHEAD);
            meta.insert(CEILING, sealed(CEILING, ceiling))?;
            last
        };
        transaction.commit()?;
        self.ceiling.store(ceiling, Ordering::Release);
        Ok(Written { records, last })
    }

    /// Applies what a commit has written, and tells those who wait.
    fn settle(&self, jobs: &[Arc<Job>], written: io::Result<Written>, apply: &dyn Fn(&Purge, Epoch) -> u64) {
        match written {
            Ok(Written { records, last }) => {
                for (job, numbers) in jobs.iter().zip(records) {
                    let done = job.purges.iter().zip(numbers).map(|(purge, (sequence, epoch, is_new))| {
                        let matched = if is_new { apply(purge, epoch) } else { 0 };
                        Done { sequence, matched }
                    });
                    let done = done.collect();
                    drop(job.done.set(Ok(done)));
                }
                // After one that could not be written this one can: whoever ordered that was told to order it again.
                self.announced.store(last.max(self.sequence()), Ordering::Release);
                self.passed.send_if_modified(|passed| {
                    let rises = *passed < last;
                    *passed = (*passed).max(last);
                    rises
                });
            }
            Err(error) => {
                let error = Arc::new(error);
                // None of them has a number, so no number says any more that another node has what holds here.
                self.announced.store(u64::MAX, Ordering::Release);
                for job in jobs {
                    for purge in &job.purges {
                        apply(purge, self.next_epoch());
                    }
                    drop(job.done.set(Err(Arc::clone(&error))));
                }
            }
        }
    }

    /// Up to `max` records behind `sequence`, in order.
    ///
    /// # Errors
    /// As the disk says.
    pub fn since(&self, sequence: u64, max: usize) -> io::Result<Vec<Logged>> {
        self.read(|transaction| {
            let log = transaction.open_table(LOG)?;
            let mut found = Vec::new();
            for entry in log.range(sequence.saturating_add(1)..)?.take(max) {
                let (sequence, record) = entry?;
                found.extend(logged(sequence.value(), record.value()));
            }
            Ok(found)
        })
    }

    /// The number of the oldest record that is kept; one above the last where none is.
    ///
    /// # Errors
    /// As the disk says.
    pub fn first(&self) -> io::Result<u64> {
        let next = self.sequence() + 1;
        self.read(|transaction| {
            let first = transaction.open_table(LOG)?.first()?.map(|(first, _)| first.value());
            Ok(first.unwrap_or(next))
        })
    }

    /// How far a source has been followed, and which log that was.
    ///
    /// # Errors
    /// As the disk says.
    pub fn source(&self, name: &str) -> io::Result<Option<Source>> {
        self.read(|transaction| {
            let cursor = transaction.open_table(CURSORS)?.get(name)?.map(|cursor| cursor.value());
            Ok(cursor.map(|(identity, position)| Source { name: name.into(), identity, position }))
        })
    }

    /// Up to which record another node has everything, as noted last; zero if it never was.
    ///
    /// # Errors
    /// As the disk says.
    pub fn given(&self, name: &str) -> io::Result<u64> {
        self.read(|transaction| {
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
        self.read(|transaction| {
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

    /// Calls `each` with every record there is, in order; `false` where one is missing or damaged.
    pub(crate) fn replay(&self, mut each: impl FnMut(Logged)) -> io::Result<bool> {
        let last = self.sequence();
        self.read(|transaction| {
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
        self.read(|transaction| {
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

    /// Writes down where the next start is to begin, if half of what was left has been taken since, by purges that are not written.
    /// For a tick.
    pub(crate) fn raise_ceiling(&self) -> io::Result<()> {
        if self.epoch().saturating_add(EPOCHS_AHEAD / 2) <= self.ceiling.load(Ordering::Acquire) {
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

    /// Drops the oldest records: those ordered before `before`, and beyond [`RECORDS_MAX`]; not more than a transaction's worth.
    /// Returns the epoch below which nothing is known any more, if that has risen.
    pub(crate) fn trim(&self, before: Timestamp) -> io::Result<Option<Epoch>> {
        let (too_many, is_old) = self.read(|transaction| {
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

    fn database(&self) -> io::Result<Arc<Database>> {
        if let Some(database) = &*self.database.read() {
            return Ok(Arc::clone(database));
        }
        let mut place = self.database.write();
        if let Some(database) = &*place {
            return Ok(Arc::clone(database));
        }
        let Found { database, is_new, .. } = self.place.open().map_err(Unusable::into_error)?;
        if is_new {
            // Somebody took the file away: what it said is gone, and only a new start may begin another.
            return Err(io::Error::new(io::ErrorKind::NotFound, "the purge log has vanished"));
        }
        let database = Arc::new(database);
        *place = Some(Arc::clone(&database));
        Ok(database)
    }

    fn read<T>(&self, read: impl FnOnce(&ReadTransaction) -> Result<T, redb::Error>) -> io::Result<T> {
        let read_from = |database: &Database| {
            let transaction = database.begin_read().map_err(|error| storage(error.into()))?;
            read(&transaction).map_err(storage)
        };
        // Held while it is read: whoever gives the log away waits for that.
        let held = self.database.read();
        if let Some(database) = &*held {
            return read_from(database);
        }
        drop(held);
        let (_writer, is_ours) = self.writer();
        if !is_ours {
            return Err(given_away());
        }
        read_from(&*self.database()?)
    }

    /// A transaction beside the records.
    fn change<T>(&self, change: impl FnOnce(&WriteTransaction) -> Result<T, redb::Error>) -> io::Result<T> {
        let (_writer, is_ours) = self.writer();
        if !is_ours {
            return Err(given_away());
        }
        let database = self.database()?;
        let changed = (|| {
            let transaction = checkpoint(&database)?;
            let changed = change(&transaction)?;
            transaction.commit()?;
            Ok(changed)
        })();
        if changed.is_err() {
            *self.database.write() = None;
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

/// What a database says when it is opened.
struct Begun {
    identity: u128,
    epoch: Epoch,
    last: u64,
    is_new: bool,
}

/// Reads where a log stands, or begins one; takes its epochs. One that `fell_back` may have told a number that it does not know: it
/// goes on under another name.
fn begin(database: &Database, epoch_min: Epoch, fell_back: bool) -> Result<Begun, redb::Error> {
    let transaction = checkpoint(database)?;
    let begun = {
        let mut meta = transaction.open_table(META)?;
        let log = transaction.open_table(LOG)?;
        transaction.open_table(IDS)?;
        transaction.open_table(GIVEN)?;
        transaction.open_table(CURSORS)?;
        transaction.open_table(NOTES)?;
        let known = meta.get(IDENTITY)?.map(|identity| identity.value());
        let identity = match known {
            Some(identity) if !fell_back => identity,
            _ => new_id().map_err(redb::Error::Io)?,
        };
        meta.insert(IDENTITY, identity)?;
        let ceiling = meta.get(CEILING)?.map(|ceiling| ceiling.value());
        let epoch = ceiling.map_or(Ok(epoch_min), |ceiling| unsealed(CEILING, ceiling))?;
        meta.insert(CEILING, sealed(CEILING, epoch.saturating_add(EPOCHS_AHEAD)))?;
        let last = log.last()?.map(|(last, _)| last.value());
        let told = meta.get(TOLD)?.map_or(Ok(0), |told| unsealed(TOLD, told.value()))?;
        Begun { identity, epoch, last: last.unwrap_or(0).max(told), is_new: known.is_none() }
    };
    transaction.commit()?;
    Ok(begun)
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

/// A transaction after whose commit, at twice the price, the next start does not walk through everything (0.7 µs a record).
fn checkpoint(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// One that cannot be read says nothing: the checksums of the pages leave that to other versions.
fn logged(sequence: u64, record: &[u8]) -> Option<Logged> {
    let (epoch, via, purge) = record::decode(record)?;
    Some(Logged { sequence, epoch, via, purge })
}

fn given_away() -> io::Error {
    io::Error::other("a new process has taken over this node's purges: order it again, on a new connection")
}

/// `InvalidData` is what makes no sense; the rest is the disk's.
fn storage(error: redb::Error) -> io::Error {
    match error {
        redb::Error::Io(error) => error,
        redb::Error::Corrupted(_)
        | redb::Error::TableTypeMismatch { .. }
        | redb::Error::TableDoesNotExist(_)
        | redb::Error::TypeDefinitionChanged { .. } => io::Error::new(io::ErrorKind::InvalidData, error),
        other => io::Error::other(other),
    }
}

/// A number beside its checksum: no page of the database has one that is looked at.
fn sealed(name: &str, number: u64) -> u128 {
    u128::from(seal(name, number)) << 64 | u128::from(number)
}

fn unsealed(name: &str, sealed: u128) -> Result<u64, redb::Error> {
    #[allow(clippy::cast_possible_truncation)] // the lower half
    let number = sealed as u64;
    if u128::from(seal(name, number)) == sealed >> 64 {
        Ok(number)
    } else {
        Err(redb::Error::Corrupted(format!("{name} is damaged")))
    }
}

fn seal(name: &str, number: u64) -> u64 {
    XxHash3_64::oneshot_with_seed(number, name.as_bytes())
}

const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
const IDS: TableDefinition<'_, u128, u64> = TableDefinition::new("ids");
const GIVEN: TableDefinition<'_, &str, u64> = TableDefinition::new("given");
const CURSORS: TableDefinition<'_, &str, (u128, u64)> = TableDefinition::new("cursors");
const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");
const META: TableDefinition<'_, &str, u128> = TableDefinition::new("meta");
const IDENTITY: &str = "identity";
const CEILING: &str = "epoch-ceiling";
const SETTLED: &str = "settled";
const FLOOR: &str = "floor";
/// The number of the last record, where all have been dropped.
const TOLD: &str = "told";
/// Epochs that a process may take before it writes again how far it is: more than it can take between ticks. Every start takes as
/// many, which are 16 ms of the calendar's: a start takes longer, so a log that begins anew begins above all of them.
const EPOCHS_AHEAD: u64 = 1 << 24;
/// A log that begins now begins at so many epochs a millisecond of the calendar.
const EPOCHS_A_MILLI_BITS: u32 = 20;
/// Records kept: at about 250 bytes each.
const RECORDS_MAX: u64 = 1_000_000;
/// Records dropped in one transaction.
const TRIMMED_AT_ONCE: usize = 10_000;
