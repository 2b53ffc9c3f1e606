//! The log's database in a file of the disk tier, so that a test can put a torn disk under it; or in memory.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};

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
    /// It was made just now.
    pub(super) is_new: bool,
    /// Its last commit does not verify, and it stands as of the one before: the power failed within a commit, which nobody was told
    /// of, or what was written has changed since.
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
                Ok(Found { database: made, is_new: true, fell_back: false })
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
                let backing = Backing { file, head: Mutex::default() };
                let database = builder.create_with_backend(backing).map_err(unusable)?;
                if is_new {
                    files.sync_directory("").map_err(Unusable::Disk)?;
                }
                Ok(Found { database, is_new, fell_back: fell_back.load(Ordering::Relaxed) })
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
        DatabaseError::Storage(redb::StorageError::Io(error))
            if error.kind() != io::ErrorKind::InvalidData =>
        {
            Unusable::Disk(error)
        }
        other => Unusable::Damaged(other.to_string()),
    }
}

/// The file under the database.
struct Backing {
    file: Box<dyn File>,
    /// The database's head, held back: it makes what is written beside it current, so it is written behind that. A process that
    /// is killed within a commit leaves the one before, whole.
    head: Mutex<Option<Vec<u8>>>,
}

impl Backing {
    fn write_head(&self) -> io::Result<()> {
        let mut head = self.head.lock();
        if let Some(bytes) = &*head {
            self.file.write_at(bytes, 0)?;
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
        self.file.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if offset == 0 {
            self.write_head()?;
        }
        self.file.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.write_head()?;
        // Never shorter: it is cut behind the commit that no longer needs the rest, so nothing waits for the cut to be durable, and a
        // power failure may leave any length between the two, which the database takes for damage. What it had it grows into again.
        if len > self.file.length()? { self.file.set_length(len) } else { Ok(()) }
    }

    fn sync_data(&self) -> io::Result<()> {
        self.write_head()?;
        self.file.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        if offset == 0 {
            *self.head.lock() = Some(data.to_vec());
            return Ok(());
        }
        self.file.write_at(data, offset)
    }

    fn close(&self) -> io::Result<()> {
        self.write_head()
    }
}

const NAME: &str = "purges.redb";
/// One that made no sense, for whoever wants to know why.
const ASIDE: &str = "purges.damaged";
/// Pages kept in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
