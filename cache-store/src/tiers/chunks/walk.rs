//! The walk through the directories after a start: finds what earlier lives left and enters it in the table, cold.
//!
//! ```text
//! 00/00 ──► 00/01 ──► … ──► ff/ff ──► done        a directory that is not there costs one step
//!   └── its files, one a step
//! ```
//!
//! It keeps its place between steps, so a step costs what its caller says. Names are believed here and bytes are not:
//! a chunk is verified when it is read. What cannot be a chunk by its length is unlinked; what has no chunk's name is
//! foreign and left alone. A chunk that would pass a limit is unlinked rather than entered: it would be the first to go.

use std::fs::{self, DirEntry, ReadDir};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;

use super::id::ChunkId;
use super::shard::Entering;
use super::{CHUNK_BYTES, ChunkStore};

/// Where the walk is after a step.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Walked {
    /// There is more to see.
    Some,
    /// Everything was seen.
    All,
}

/// A place in the walk.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Number of the directory that is next: 0 to 65,535, and done.
    next: u32,
    /// The directory that is being read, and the numbers in its name.
    open: Option<(u8, u8, ReadDir)>,
}

impl Walk {
    pub(super) fn step(&mut self, store: &ChunkStore, steps: u32) -> Walked {
        for _ in 0..steps {
            if let Some((first, second, files)) = &mut self.open {
                let (first, second) = (*first, *second);
                match files.next() {
                    Some(Ok(file)) => store.meet(first, second, &file),
                    // Half a directory: the rest is found by its path when it is asked for.
                    Some(Err(_)) | None => self.open = None,
                }
            } else if let Ok(number) = u16::try_from(self.next) {
                let [first, second] = number.to_be_bytes();
                self.next += 1;
                if second == 0 && is_absent(&fs::symlink_metadata(store.content.fan(first, None))) {
                    self.next += 255;
                } else if let Ok(files) = fs::read_dir(store.content.fan(first, Some(second))) {
                    self.open = Some((first, second, files));
                }
            } else {
                return Walked::All;
            }
        }
        Walked::Some
    }
}

impl ChunkStore {
    fn meet(&self, first: u8, second: u8, file: &DirEntry) {
        let Some(id) = ChunkId::from_path(first, second, file.file_name().as_bytes()) else {
            self.counters.count_foreign();
            return;
        };
        // Else it could be unlinked between the look and the entry.
        let _writing = self.stripes.lock(id);
        if self.table.find(id).is_some() {
            return;
        }
        if self.is_given() {
            return;
        }
        let Ok(found) = fs::symlink_metadata(file.path()) else { return };
        if !found.is_file() {
            self.counters.count_foreign();
            return;
        }
        let len = u32::try_from(found.len()).ok().filter(|len| (1..=CHUNK_BYTES).contains(len));
        if len.is_none() {
            self.counters.count_corrupt();
        }
        let room = len.and_then(|len| self.table.reserve(len, &self.limits()));
        match (len, room) {
            (Some(len), Some(room)) => self.table.insert(id, len, Entering::Cold, Some(room)),
            // Somebody is about to read it; it is over the limits until then.
            (Some(len), None) if self.table.pinned(id) => self.table.insert(id, len, Entering::Cold, None),
            (len, _) => match self.content.remove(id) {
                Ok(()) if len.is_some() => self.counters.count_evicted(),
                Ok(()) => {}
                Err(error) => self.counters.count_not_unlinked(&error),
            },
        }
    }
}

fn is_absent<T>(found: &io::Result<T>) -> bool {
    found.as_ref().is_err_and(|error| error.kind() == ErrorKind::NotFound)
}
