//! The real thing: a directory of a file system, by the calls of std and two of Linux.
//!
//! Reads go through the page cache on purpose: a reader that must not wait asks it (`preadv2` with `RWF_NOWAIT`) and is
//! answered in about a microsecond, which direct I/O cannot.

use std::fs;
use std::io::{self, IoSliceMut};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use rustix::io::ReadWriteFlags;

use super::{File, Files, Listed, Lock};

/// A directory of the file system.
#[derive(Clone, Debug)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory at this path; nothing is touched until it is used.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.root.clone() } else { self.root.join(name) }
    }
}

impl Files for Directory {
    fn create(&self, name: &str) -> io::Result<Box<dyn File>> {
        let options = fs::File::options().read(true).write(true).create(true).truncate(true).clone();
        Ok(Box::new(options.open(self.path(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn File>> {
        Ok(Box::new(fs::File::options().read(true).write(true).open(self.path(name))?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }

    fn list(&self, under: &str) -> io::Result<Vec<Listed>> {
        let mut listed = Vec::new();
        for entry in fs::read_dir(self.path(under))? {
            let entry = entry?;
            let about = entry.metadata()?;
            // A name that is no text is none of ours.
            if let (true, Ok(name)) = (about.is_file(), entry.file_name().into_string()) {
                listed.push(Listed { name, bytes: about.len() });
            }
        }
        Ok(listed)
    }

    fn create_directory(&self, name: &str) -> io::Result<()> {
        fs::create_dir_all(self.path(name))
    }

    fn sync_directory(&self, name: &str) -> io::Result<()> {
        fs::File::open(self.path(name))?.sync_all()
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.path(name))?.len())
    }

    fn free_bytes(&self) -> io::Result<u64> {
        let about = rustix::fs::statvfs(&self.root)?;
        Ok(about.f_bavail.saturating_mul(about.f_frsize))
    }

    fn lock(&self, name: &str) -> io::Result<Lock> {
        let file = fs::File::options().write(true).create(true).truncate(false).open(self.path(name))?;
        file.try_lock()?;
        Ok(Lock::new(file))
    }
}

impl File for fs::File {
    fn read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(into, offset)
    }

    fn try_read_at(&self, into: &mut [u8], offset: u64) -> io::Result<()> {
        let wanted = into.len();
        let read = rustix::io::preadv2(self, &mut [IoSliceMut::new(into)], offset, ReadWriteFlags::NOWAIT);
        match read {
            Ok(read) if read == wanted => Ok(()),
            // A part of it is cached, or the file ends: the thread that may wait finds out which.
            Ok(_) => Err(io::ErrorKind::WouldBlock.into()),
            // Not every file system can tell.
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::OPNOTSUPP) => {
                Err(io::ErrorKind::WouldBlock.into())
            }
            Err(errno) => Err(errno.into()),
        }
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }

    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> (PathBuf, Directory) {
        let root = std::env::temp_dir().join(format!("tidegate-files-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let files = Directory::new(&root);
        files.create_directory("").expect("a directory");
        (root, files)
    }

    #[test]
    fn what_is_written_is_read_by_position_and_listed() {
        let (root, files) = scratch("read");
        let file = files.create("a").expect("created");
        file.write_at(b"hello", 3).expect("written");
        file.sync().expect("synced");
        files.sync_directory("").expect("synced");
        let mut read = [0; 5];
        file.read_at(&mut read, 3).expect("read");
        assert_eq!(&read, b"hello");
        assert_eq!(file.read_at(&mut read, 4).map_err(|e| e.kind()), Err(io::ErrorKind::UnexpectedEof));
        match file.try_read_at(&mut read, 3) {
            Ok(()) => assert_eq!(&read, b"hello"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
        }
        assert_eq!(files.list("").expect("listed"), [Listed { name: "a".into(), bytes: 8 }]);
        assert_eq!(files.open("b").map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::NotFound));
        assert!(files.free_bytes().expect("told") > 0);
        fs::remove_dir_all(root).expect("removed");
    }

    #[test]
    fn a_directory_has_one_owner() {
        let (root, files) = scratch("lock");
        let held = files.lock("lock").expect("free");
        assert_eq!(files.lock("lock").map(|_| ()).map_err(|e| e.kind()), Err(io::ErrorKind::WouldBlock));
        drop(held);
        files.lock("lock").expect("free again");
        fs::remove_dir_all(root).expect("removed");
    }
}
