//! How the disk tier reaches a disk: a directory of files, each read and written by position.
//!
//! Everything the tier does to a disk goes through [`Files`] and [`File`], so that a test can put [`Torn`] in their place: a
//! disk that forgets what was not synced, fails at chosen calls and counts what is written. [`Directory`] is the real one.
//!
//! Names are relative to the directory, with `/` between parts. Nothing here retries, caches or knows a format.
//!
//! Invariant: bytes are durable after [`File::sync`], names after [`Files::sync_directory`]; neither before, in any order.

mod directory;
#[doc(hidden)]
pub mod torn;

use std::io;

pub use directory::Directory;
#[doc(hidden)]
pub use torn::Torn;

/// A directory that is ours.
pub trait Files: Send + Sync {
    /// A new, empty file, in place of one of that name.
    fn create(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// The file of that name.
    ///
    /// # Errors
    /// `NotFound` where there is none; as the disk says.
    fn open(&self, name: &str) -> io::Result<Box<dyn File>>;

    /// Gives `from` the name `to`, in place of a file of that name: after a power loss one of the two stands there, whole.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Takes the name away; who has the file open reads on.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// The files in directory `under` (empty: our own), without its directories.
    fn list(&self, under: &str) -> io::Result<Vec<Listed>>;

    /// The directory and those above it, where they are missing.
    fn create_directory(&self, name: &str) -> io::Result<()>;

    /// Makes names that were given, changed and taken in the directory durable.
    fn sync_directory(&self, name: &str) -> io::Result<()>;

    /// Length of a file in bytes, by name.
    fn length(&self, name: &str) -> io::Result<u64>;

    /// Bytes that we may still write.
    fn free_bytes(&self) -> io::Result<u64>;

    /// Locks the file of that name, created if missing, until the result is dropped or the process dies.
    ///
    /// # Errors
    /// `WouldBlock` while somebody else holds it.
    fn lock(&self, name: &str) -> io::Result<Lock>;
}

/// An open file.
pub trait File: Send + Sync {
    /// Fills `into` from `offset` on; waits for the disk.
    ///
    /// # Errors
    /// `UnexpectedEof` where the file is shorter.
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;

    /// The same without waiting: for a thread that must not.
    ///
    /// # Errors
    /// `WouldBlock` where not all of it is in the page cache, or nobody can tell.
    fn try_read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `bytes` at `offset`. After an error any part of it may stand there.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error what was not yet durable is lost, even if a later call succeeds.
    fn sync(&self) -> io::Result<()>;

    /// Length in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Cuts the file, or lengthens it with zeros.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
}

/// A file as a directory lists it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Listed {
    /// Its name, without the directory.
    pub name: String,
    /// Its length in bytes.
    pub bytes: u64,
}

/// A held lock; dropping it lets go.
pub struct Lock(#[allow(dead_code)] Box<dyn Send + Sync>); // held, never read

impl Lock {
    /// A lock that lasts as long as `held`.
    pub fn new(held: impl Send + Sync + 'static) -> Self {
        Self(Box::new(held))
    }
}

impl std::fmt::Debug for Lock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lock")
    }
}
