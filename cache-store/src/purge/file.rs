//! The log's database in a file of the disk tier, so that a test can put a torn disk under it; or in memory.
//!
//! A commit that writes where the file system has no block yet makes it find one and commit its own journal within the fsync, which
//! costs several times as much and waits for whatever else that journal holds. So zeros are written ahead of the database ([`Ahead`]):
//! what a commit writes to has its blocks, and a commit is its pages and nothing else.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

use super::journal::Journal;
use super::tables::{doubt, has_journal, storage, take_over};
use crate::tiers::files::{File, Files};

/// Where the log is kept.
pub(super) enum Place {
    /// Nowhere: it ends with the process, as what is stored does.
    Memory,
    /// In this directory.
    Directory(Arc<dyn Files>),
}

/// A database that was opened.
pub(super) struct Found {
    pub(super) database: Database,
    /// The file below it, if it has one.
    pub(super) ahead: Option<Arc<Ahead>>,
    /// What stands before it.
    pub(super) journal: Option<Arc<Journal>>,
    /// It was made just now.
    pub(super) is_new: bool,
    /// Its last commit does not verify, and it stands as of the one before: the power failed within a commit, which nobody was told
    /// of, or what was written has changed since. Or the same holds of the journal.
    pub(super) fell_back: bool,
}

/// Why a database could not be opened.
pub(super) enum Unusable {
    /// The disk refuses.
    Disk(io::Error),
    /// It can be read and makes no sense.
    Damaged(String),
}

impl Place {
    /// Opens the database, or makes one.
    pub(super) fn open(&self) -> Result<Found, Unusable> {
        match self {
            Self::Memory => {
                let made = builder().create_with_backend(InMemoryBackend::new()).map_err(unusable)?;
                Ok(Found { database: made, ahead: None, journal: None, is_new: true, fell_back: false })
            }
            Self::Directory(files) => {
                let (file, is_new) = match files.open(NAME) {
                    Ok(file) => (file, false),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        (files.create(NAME).map_err(Unusable::Disk)?, true)
                    }
                    Err(error) => return Err(Unusable::Disk(error)),
                };
                let is_new = is_new || file.length().map_err(Unusable::Disk)? == 0;
                let fell_back = Arc::new(AtomicBool::new(false));
                let told = Arc::clone(&fell_back);
                let mut builder = builder();
                // It calls at its start, then when the last commit does not verify, and from its middle on.
                builder.set_repair_callback(move |session| {
                    if session.progress() > 0.0 && session.progress() < 0.5 {
                        told.store(true, Ordering::Relaxed);
                    }
                });
                let ahead = Arc::new(Ahead::over(file).map_err(Unusable::Disk)?);
                ahead.write_ahead(BEGUN_WITH);
                ahead.sync().map_err(Unusable::Disk)?;
                let backing = Backing { ahead: Arc::clone(&ahead), head: Mutex::default() };
                let database = builder.create_with_backend(backing).map_err(unusable)?;
                if is_new {
                    files.sync_directory("").map_err(Unusable::Disk)?;
                }
                // Before another takes its place.
                if !Journal::is_there(&**files).map_err(Unusable::Disk)?
                    && has_journal(&database).map_err(Unusable::from)?
                {
                    doubt(&database, true).map_err(Unusable::from)?;
                }
                let (journal, found) = Journal::open(&**files).map_err(Unusable::Disk)?.unzip();
                let (count, is_whole) = take_over(&database, found.as_ref()).map_err(Unusable::from)?;
                if let Some(journal) = &journal {
                    // All that can be read is in the database, and what cannot is told there.
                    journal.begin(count);
                }
                let fell_back = fell_back.load(Ordering::Relaxed) || !is_whole;
                Ok(Found { database, ahead: Some(ahead), journal: journal.map(Arc::new), is_new, fell_back })
            }
        }
    }

    /// Puts a database that makes no sense out of the way.
    pub(super) fn set_aside(&self) -> io::Result<()> {
        match self {
            Self::Memory => Ok(()),
            Self::Directory(files) => {
                files.rename(NAME, ASIDE)?;
                files.sync_directory("")
            }
        }
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE_BYTES);
    builder
}

fn unusable(error: DatabaseError) -> Unusable {
    match error {
        DatabaseError::Storage(redb::StorageError::Io(error)) => Unusable::of(error),
        other => Unusable::Damaged(other.to_string()),
    }
}

impl From<redb::Error> for Unusable {
    fn from(error: redb::Error) -> Self {
        Self::of(storage(error))
    }
}

impl Unusable {
    fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::InvalidData {
            Self::Damaged(error.to_string())
        } else {
            Self::Disk(error)
        }
    }
}

/// The file under the database, and how far it has its blocks.
pub(super) struct Ahead {
    file: Box<dyn File>,
    extent: Mutex<Extent>,
}

/// Offsets in the file.
#[derive(Clone, Copy)]
struct Extent {
    /// The database has written nothing behind this.
    used: u64,
    /// What lies before this has been written, at least as zeros.
    written: u64,
}

impl Ahead {
    /// The file as it is found: what it ends with is zeros, or holes.
    fn over(file: Box<dyn File>) -> io::Result<Self> {
        let mut used = file.length()?;
        let mut piece = vec![0; PIECE];
        while used > 0 {
            let from = (used - 1) / PIECE as u64 * PIECE as u64;
            let piece = piece.get_mut(..usize::try_from(used - from).unwrap_or(PIECE)).unwrap_or_default();
            file.read_at(piece, from)?;
            if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
                used = from + last as u64 + 1;
                break;
            }
            used = from;
        }
        Ok(Self { file, extent: Mutex::new(Extent { used, written: used }) })
    }

    /// Writes zeros so that so many bytes behind what the database uses have blocks, as far as the file goes and the disk has room: a
    /// purge that finds none says so itself. They have them for good once the file is synced.
    fn write_ahead(&self, bytes: u64) {
        let Ok(length) = self.file.length() else { return };
        loop {
            let mut extent = self.extent.lock();
            let wanted = extent.used.saturating_add(bytes).min(length);
            // Who writes beyond waits for no more than one piece.
            let piece = usize::try_from(wanted.saturating_sub(extent.written)).unwrap_or(PIECE).min(PIECE);
            let zeros = ZEROS.get(..piece).unwrap_or(ZEROS);
            if zeros.is_empty() || self.file.write_at(zeros, extent.written).is_err() {
                return;
            }
            extent.written += zeros.len() as u64;
        }
    }

    /// Writes ahead again once half of what was is used up; whether it did, and the file is to be synced. For a tick.
    pub(super) fn tend(&self) -> bool {
        let Extent { used, written } = *self.extent.lock();
        let is_low = written.saturating_sub(used) < KEPT_AHEAD / 2;
        if is_low {
            self.write_ahead(KEPT_AHEAD);
        }
        is_low && self.extent.lock().written > written
    }

    /// Makes what was written durable. While a commit is being written nobody else may call this: an error is told once, and its
    /// commit would not hear of it.
    ///
    /// # Errors
    /// As the disk says.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let end = offset.saturating_add(bytes.len() as u64);
        let mut extent = self.extent.lock();
        extent.used = extent.used.max(end);
        if end <= extent.written {
            drop(extent);
            return self.file.write_at(bytes, offset);
        }
        // Under the lock, or zeros could be written over it.
        extent.written = end;
        self.file.write_at(bytes, offset)
    }
}

/// The file as the database sees it.
struct Backing {
    ahead: Arc<Ahead>,
    /// The database's head, held back: it makes what is written beside it current, so it is written behind that. A process that
    /// is killed within a commit leaves the one before, whole.
    head: Mutex<Option<Vec<u8>>>,
}

impl Backing {
    fn write_head(&self) -> io::Result<()> {
        let mut head = self.head.lock();
        if let Some(bytes) = &*head {
            self.ahead.write_at(bytes, 0)?;
        }
        *head = None;
        Ok(())
    }
}

impl std::fmt::Debug for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backing")
    }
}

impl StorageBackend for Backing {
    fn len(&self) -> io::Result<u64> {
        self.ahead.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == 0 {
            self.write_head()?;
        }
        self.ahead.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_head()?;
        // Never shorter: it is cut behind the commit that no longer needs the rest, so nothing waits for the cut to be durable, and a
        // power failure may leave any length between the two, which the database takes for damage. What it had it grows into again.
        if len <= self.ahead.file.length()? {
            return Ok(());
        }
        self.ahead.file.set_length(len)?;
        // The database syncs it before it goes on.
        self.ahead.write_ahead(BEGUN_WITH);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_head()?;
        self.ahead.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            *self.head.lock() = Some(data.to_vec());
            return Ok(());
        }
        self.ahead.write_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.write_head()
    }
}

pub(super) const NAME: &str = "purges.redb";
/// One that made no sense, for whoever wants to know why.
const ASIDE: &str = "purges.damaged";
/// Pages kept in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
/// Zeros written ahead of the database when its file is opened or grows: a start and a commit wait for them.
const BEGUN_WITH: u64 = 256 * 1024;
/// And by the tick: some thousand purges.
const KEPT_AHEAD: u64 = 4 * 1024 * 1024;
/// Written or read at once.
const PIECE: usize = 64 * 1024;
static ZEROS: &[u8] = &[0; PIECE];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tiers::files::Torn;

    #[test]
    fn zeros_are_written_ahead_and_never_over_what_is_there() {
        let file = Torn::new(1).create("log").expect("a disk that is well");
        file.set_length(12 << 20).expect("a disk that is well");
        file.write_at(b"end", 1_000_000).expect("a disk that is well");
        let ahead = Ahead::over(file).expect("a disk that is well");
        assert_eq!(ahead.extent.lock().written, 1_000_003, "what it ends with is zeros, or holes");
        ahead.write_ahead(3 * PIECE as u64);
        assert_eq!(ahead.extent.lock().written, 1_000_003 + 3 * PIECE as u64);
        ahead.write_at(b"far", 2_000_000).expect("a disk that is well");
        assert!(ahead.tend(), "less than half is left");
        assert_eq!(ahead.extent.lock().written, 2_000_003 + KEPT_AHEAD);
        assert!(!ahead.tend(), "now there is enough");
        let mut read = vec![1; 12 << 20];
        ahead.file.read_at(&mut read, 0).expect("a disk that is well");
        let is_there =
            [(1_000_000, b"end"), (2_000_000, b"far")].map(|(at, text)| read.get(at..at + 3) == Some(text));
        assert_eq!((is_there, read.iter().filter(|byte| **byte != 0).count()), ([true; 2], 6));
    }

    #[test]
    fn a_disk_that_is_full_is_no_reason_not_to_begin() {
        let torn = Torn::new(1);
        let file = torn.create("log").expect("a disk that is well");
        file.set_length(12 << 20).expect("a disk that is well");
        let ahead = Ahead::over(file).expect("a disk that is well");
        torn.faults(crate::tiers::files::torn::Faults { per_mille: 1000, ..Default::default() });
        ahead.write_ahead(KEPT_AHEAD);
        assert!(!ahead.tend());
        assert_eq!(ahead.extent.lock().written, 0);
    }
}
