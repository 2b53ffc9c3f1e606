//! How the log lies in its database: the tables, what a start reads of them, and numbers that tell when they are damaged.
//!
//! ```text
//! log      sequence -> record            ids     a purge's name -> sequence
//! cursors  source -> its log, position   given   other node -> sequence
//! notes    name -> something small       meta    name -> a number beside its checksum
//! ```

use std::io;

use redb::{Database, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction};
use twox_hash::XxHash3_64;

use super::journal::{Batch, Found, Numbered, Record};
use super::log::{Source, new_id};
use crate::entry::Epoch;

/// What a database says when it is opened.
pub(super) struct Begun {
    pub(super) identity: u128,
    pub(super) epoch: Epoch,
    pub(super) last: u64,
    /// There was none, or something of it may be missing.
    pub(super) is_new: bool,
}

/// Reads where a log stands, or begins one; takes its epochs. One that `fell_back` may have told a number that it does not know: it
/// goes on under another name.
pub(super) fn begin(database: &Database, epoch_min: Epoch, fell_back: bool) -> Result<Begun, redb::Error> {
    let transaction = checkpoint(database)?;
    let begun = {
        let mut meta = transaction.open_table(META)?;
        let log = transaction.open_table(LOG)?;
        transaction.open_table(IDS)?;
        transaction.open_table(GIVEN)?;
        transaction.open_table(CURSORS)?;
        transaction.open_table(NOTES)?;
        let known = meta.get(IDENTITY)?.map(|identity| identity.value());
        let is_doubted = fell_back || meta.get(DOUBTED)?.is_some();
        let identity = match known {
            Some(identity) if !is_doubted => identity,
            _ => new_id().map_err(redb::Error::Io)?,
        };
        meta.insert(IDENTITY, identity)?;
        let is_new = is_doubted || known.is_none();
        if is_new {
            // Until it is made up for: whoever is killed before that leaves it to the next start.
            meta.insert(DOUBTED, sealed(DOUBTED, 1))?;
        }
        let ceiling = meta.get(CEILING)?.map(|ceiling| ceiling.value());
        let epoch = ceiling.map_or(Ok(epoch_min), |ceiling| unsealed(CEILING, ceiling))?;
        meta.insert(CEILING, sealed(CEILING, epoch.saturating_add(EPOCHS_AHEAD)))?;
        let last = log.last()?.map(|(last, _)| last.value());
        let told = meta.get(TOLD)?.map_or(Ok(0), |told| unsealed(TOLD, told.value()))?;
        Begun { identity, epoch, last: last.unwrap_or(0).max(told), is_new }
    };
    transaction.commit()?;
    Ok(begun)
}

/// Takes over what a journal has and the database has not: how many of its batches the database has then, and whether nothing is
/// missing between the two. Where something is, or may be, it cannot be told what was purged until now. What stands in the journal of
/// another log is none of this one's.
pub(super) fn take_over(database: &Database, found: Option<&Found>) -> Result<(u64, bool), redb::Error> {
    let transaction = checkpoint(database)?;
    let (identity, begun, had_one, mut last) = {
        let meta = transaction.open_table(META)?;
        let identity = meta.get(IDENTITY)?.map(|identity| identity.value());
        let taken = meta.get(TAKEN)?.map_or(Ok(0), |taken| unsealed(TAKEN, taken.value()))?;
        let last = transaction.open_table(LOG)?.last()?.map_or(0, |(last, _)| last.value());
        let told = meta.get(TOLD)?.map_or(Ok(0), |told| unsealed(TOLD, told.value()))?;
        (identity, taken, meta.get(JOURNAL)?.is_some(), last.max(told))
    };
    let Some(found) = found else {
        if had_one {
            // What it said is gone.
            let mut meta = transaction.open_table(META)?;
            meta.remove(JOURNAL)?;
            meta.insert(DOUBTED, sealed(DOUBTED, 1))?;
            drop(meta);
            transaction.commit()?;
        }
        return Ok((begun, !had_one));
    };
    let is_of_another = found.batches.first().is_some_and(|first| Some(first.identity) != identity);
    let mut is_whole = !(found.is_doubtful || is_of_another || had_one && found.is_new);
    let (mut count, mut all) = (begun, Batch::default());
    for Numbered { nth, batch, .. } in
        found.batches.iter().take_while(|batch| Some(batch.identity) == identity)
    {
        if *nth <= begun {
            continue;
        }
        let first = batch.records.first().map(|record| record.sequence);
        if *nth != count + 1 || first.is_some_and(|first| first != last + 1) {
            is_whole = false;
            break;
        }
        (count, last) = (*nth, last.max(batch.last()));
        all.extend(batch.clone());
    }
    // Behind its end stands what was taken over, unless the end is a block that was lost.
    is_whole &= !found.behind.iter().any(|batch| Some(batch.identity) == identity && batch.nth > count);
    if had_one && count == begun && is_whole {
        return Ok((count, true));
    }
    insert(&transaction, &all, count)?;
    {
        let mut meta = transaction.open_table(META)?;
        meta.insert(JOURNAL, sealed(JOURNAL, 1))?;
        if !is_whole {
            meta.insert(DOUBTED, sealed(DOUBTED, 1))?;
        }
    }
    transaction.commit()?;
    Ok((count, is_whole))
}

/// Whether the log has a journal, if it is to be found.
pub(super) fn has_journal(database: &Database) -> Result<bool, redb::Error> {
    let transaction = database.begin_read()?;
    match transaction.open_table(META) {
        Ok(meta) => Ok(meta.get(JOURNAL)?.is_some()),
        Err(redb::TableError::TableDoesNotExist(_)) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Which log it is, and the number of its last record.
pub(super) fn standing(database: &Database) -> Result<(Option<u128>, u64), redb::Error> {
    let transaction = checkpoint(database)?;
    let meta = transaction.open_table(META)?;
    let identity = meta.get(IDENTITY)?.map(|identity| identity.value());
    let last = transaction.open_table(LOG)?.last()?.map_or(0, |(last, _)| last.value());
    let told = meta.get(TOLD)?.map_or(Ok(0), |told| unsealed(TOLD, told.value()))?;
    Ok((identity, last.max(told)))
}

/// Writes down that something may be missing, until everything counts as softly purged; or that nothing is.
pub(super) fn doubt(database: &Database, is_doubted: bool) -> Result<(), redb::Error> {
    let transaction = checkpoint(database)?;
    {
        let mut meta = transaction.open_table(META)?;
        if is_doubted {
            meta.insert(DOUBTED, sealed(DOUBTED, 1))?;
        } else {
            meta.remove(DOUBTED)?;
        }
    }
    Ok(transaction.commit()?)
}

/// Records and cursors: with them, the database has so many batches of its journal.
pub(super) fn insert(transaction: &WriteTransaction, batch: &Batch, taken: u64) -> Result<(), redb::Error> {
    let (mut log, mut ids) = (transaction.open_table(LOG)?, transaction.open_table(IDS)?);
    for Record { sequence, id, bytes } in &batch.records {
        log.insert(sequence, &**bytes)?;
        ids.insert(id, sequence)?;
    }
    let mut cursors = transaction.open_table(CURSORS)?;
    for Source { name, identity, position } in &batch.sources {
        cursors.insert(&**name, (*identity, *position))?;
    }
    if taken > 0 {
        transaction.open_table(META)?.insert(TAKEN, sealed(TAKEN, taken))?;
    }
    Ok(())
}

/// A transaction after whose commit, at twice the price, the next start does not walk through everything (0.7 µs a record).
pub(super) fn checkpoint(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_quick_repair(true);
    Ok(transaction)
}

/// `InvalidData` is what makes no sense; the rest is the disk's.
pub(super) fn storage(error: redb::Error) -> io::Error {
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
pub(super) fn sealed(name: &str, number: u64) -> u128 {
    u128::from(seal(name, number)) << 64 | u128::from(number)
}

pub(super) fn unsealed(name: &str, sealed: u128) -> Result<u64, redb::Error> {
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

pub(super) const LOG: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("log");
pub(super) const IDS: TableDefinition<'_, u128, u64> = TableDefinition::new("ids");
pub(super) const GIVEN: TableDefinition<'_, &str, u64> = TableDefinition::new("given");
pub(super) const CURSORS: TableDefinition<'_, &str, (u128, u64)> = TableDefinition::new("cursors");
pub(super) const NOTES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("notes");
pub(super) const META: TableDefinition<'_, &str, u128> = TableDefinition::new("meta");
pub(super) const IDENTITY: &str = "identity";
/// There is a journal: without it, something may be missing.
const JOURNAL: &str = "journal";
/// Something may be missing, and nothing has been purged for it yet.
const DOUBTED: &str = "doubted";
/// How many of its batches the database has.
const TAKEN: &str = "journal-taken";
pub(super) const CEILING: &str = "epoch-ceiling";
pub(super) const SETTLED: &str = "settled";
pub(super) const FLOOR: &str = "floor";
/// The number of the last record, where all have been dropped.
pub(super) const TOLD: &str = "told";
/// Epochs that a process may take before it writes again how far it is: more than it can take between ticks. Every start takes as
/// many, which are 16 ms of the calendar's: a start takes longer, so a log that begins anew begins above all of them.
pub(super) const EPOCHS_AHEAD: u64 = 1 << 24;
