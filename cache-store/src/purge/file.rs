//! The log's database in a file of the disk tier, so that a test can put a torn disk under it; or in memory.

use std::io;
use std::sync::Arc;

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

/// Why a database could not be opened.
pub(super) enum Unusable {
    /// The disk refuses.
    Disk(io::Error),
    /// It can be read and makes no sense.
    Damaged(String),
}

impl Place {
    /// Opens the database; tells whether it was made just now.
    pub(super) fn open(&self) -> Result<(Database, bool), Unusable> {
        match self {
            Self::Memory => {
                let made = builder().create_with_backend(InMemoryBackend::new());
                made.map(|database| (database, true)).map_err(unusable)
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
                let database = builder().create_with_backend(Backing(file)).map_err(unusable)?;
                if is_new {
                    files.sync_directory("").map_err(Unusable::Disk)?;
                }
                Ok((database, is_new))
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

struct Backing(Box<dyn File>);

impl std::fmt::Debug for Backing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Backing")
    }
}

impl StorageBackend for Backing {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_length(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write_at(data, offset)
    }
}

const NAME: &str = "purges.redb";
/// One that made no sense, for whoever wants to know why.
const ASIDE: &str = "purges.damaged";
/// Pages kept in memory.
const CACHE_BYTES: usize = 4 * 1024 * 1024;
