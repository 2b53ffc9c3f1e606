//! How the log lies in its database: the tables, what a start reads of them, and numbers that tell when they are damaged.
//!
//! ```text
//! log      sequence -> record            ids     a purge's name -> sequence
//! cursors  source -> its log, position   given   other node -> sequence
//! notes    name -> something small       meta    name -> a number beside its checksum
//! ```

use std::io;

use redb::{Database, ReadableTable as _, TableDefinition, WriteTransaction};
use twox_hash::XxHash3_64;

use super::log::new_id;
use crate::entry::Epoch;

/// What a database says when it is opened.
pub(super) struct Begun {
    pub(super) identity: u128,
    pub(super) epoch: Epoch,
    pub(super) last: u64,
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
pub(super) const CEILING: &str = "epoch-ceiling";
pub(super) const SETTLED: &str = "settled";
pub(super) const FLOOR: &str = "floor";
/// The number of the last record, where all have been dropped.
pub(super) const TOLD: &str = "told";
/// Epochs that a process may take before it writes again how far it is: more than it can take between ticks. Every start takes as
/// many, which are 16 ms of the calendar's: a start takes longer, so a log that begins anew begins above all of them.
pub(super) const EPOCHS_AHEAD: u64 = 1 << 24;
