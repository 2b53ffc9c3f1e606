//! The files: one a chunk, in the content layout of cacache 13 (`content-v2/sha256/ab/cd/…`), so that cacache and its
//! tools read what we keep.
//!
//! A file is written beside (`tmp/`) and renamed into place: it is there whole or not at all, as long as the kernel lives.
//! Nothing is synced; after a power loss a file may be empty or torn, and its name tells. cacache itself does not write
//! here, for it hashes what was hashed to find out whether it is there (0.55 of 1.6 ms a MiB), and takes a rename
//! that failed for a success when a file of that name exists, torn or not.
//!
//! Absent: any idea of which chunks there are. That is [`super::table`].

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, IoSliceMut, Write};
use std::num::NonZero;
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::buffer::spare_capacity;
use rustix::fs::OFlags;
use rustix::io::{Errno, ReadWriteFlags};

use super::CHUNK_BYTES;
use super::id::{CONTENT, ChunkId};

/// The directory of chunks.
#[derive(Debug)]
pub(super) struct Content {
    dir: PathBuf,
    /// Names of files that are being written: a start that no other process has, then counted.
    next: AtomicU64,
}

impl Content {
    pub(super) fn new(dir: &Path) -> Self {
        Self { dir: dir.to_owned(), next: AtomicU64::new(RandomState::new().hash_one(std::process::id())) }
    }

    pub(super) fn path(&self, id: ChunkId) -> PathBuf {
        self.dir.join(id.path())
    }

    /// The directory that holds the chunks whose names begin with these digits.
    pub(super) fn fan(&self, first: u8, second: Option<u8>) -> PathBuf {
        let fan = self.dir.join(CONTENT).join(format!("{first:02x}"));
        second.map_or(fan.clone(), |second| fan.join(format!("{second:02x}")))
    }

    /// Makes the directories above the chunks; they are made again when somebody removed them. What they all stand in is not:
    /// where that is gone, another will be put in its place, or it will come back.
    pub(super) fn prepare(&self) -> io::Result<()> {
        if let Some(above) = self.dir.parent() {
            fs::metadata(above)?;
        }
        make_dir(&self.dir.join(TMP))?;
        make_dir(&self.dir.join(CONTENT))
    }

    /// Removes what a process that ended amid a write has left, up to a bound; the next start removes the rest.
    pub(super) fn wipe(&self) -> io::Result<()> {
        for left in fs::read_dir(self.dir.join(TMP))?.take(WIPED_MAX) {
            let left = left?;
            if left.file_type()?.is_file() {
                fs::remove_file(left.path())?;
            }
        }
        Ok(())
    }

    /// Writes bytes to a file that is not in its place yet.
    fn draft(&self, bytes: &[u8]) -> io::Result<Draft> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let draft = Draft { path: self.dir.join(TMP).join(format!("{number:016x}")), renamed: false };
        let create = || OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&draft.path);
        let mut file = match create() {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.prepare()?;
                create()?
            }
            opened => opened?,
        };
        file.write_all(bytes)?;
        Ok(draft)
    }

    /// Whether the disk takes a file now; nothing is left of it.
    pub(super) fn try_out(&self) -> io::Result<()> {
        self.draft(&[0; 4096]).map(drop)
    }

    /// Writes a chunk, over whatever had its name.
    pub(super) fn write(&self, id: ChunkId, bytes: &[u8]) -> io::Result<()> {
        let mut draft = self.draft(bytes)?;
        let path = self.path(id);
        match fs::rename(&draft.path, &path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                path.parent().map_or(Ok(()), make_dir)?;
                fs::rename(&draft.path, &path)?;
            }
            renamed => renamed?,
        }
        draft.renamed = true;
        Ok(())
    }

    /// Opens a chunk's file for reading. Never follows a link and never waits for the other end of a pipe.
    pub(super) fn open(&self, id: ChunkId) -> io::Result<File> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file =
            OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(self.path(id))?;
        if file.metadata()?.is_file() { Ok(file) } else { Err(ErrorKind::InvalidData.into()) }
    }

    /// Whether the chunk's file holds exactly these bytes.
    pub(super) fn holds(&self, id: ChunkId, bytes: &[u8]) -> bool {
        let Ok(file) = self.open(id) else { return false };
        let as_long = file.metadata().is_ok_and(|found| found.len() == bytes.len() as u64);
        as_long && read_whole(&file).is_ok_and(|held| held == bytes)
    }

    /// Unlinks a chunk; one that is not there is as good as unlinked.
    pub(super) fn remove(&self, id: ChunkId) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            // A foreign directory under a chunk's name.
            Err(error) if error.kind() == ErrorKind::IsADirectory => Ok(()),
            removed => removed,
        }
    }

    /// Whether the chunk's name leads to this open file still.
    pub(super) fn is_at(&self, id: ChunkId, file: &File) -> bool {
        let (Ok(there), Ok(open)) = (fs::symlink_metadata(self.path(id)), file.metadata()) else {
            return false;
        };
        (there.dev(), there.ino()) == (open.dev(), open.ino())
    }

    /// Bytes that the file system has left for us.
    pub(super) fn free_bytes(&self) -> io::Result<u64> {
        let state = match rustix::fs::statvfs(&self.dir) {
            Err(error) if error == Errno::NOENT => {
                self.prepare()?;
                rustix::fs::statvfs(&self.dir)?
            }
            state => state?,
        };
        Ok(state.f_bavail.saturating_mul(state.f_frsize))
    }
}

/// A file that is not in its place yet, unlinked unless it gets there.
struct Draft {
    path: PathBuf,
    renamed: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.renamed {
            // What cannot be unlinked now is wiped at the next start.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The whole of a chunk's file.
///
/// # Errors
/// `InvalidData` for a file that is longer than any chunk; it is not read to its end.
pub(super) fn read_whole(file: &File) -> io::Result<Vec<u8>> {
    let len = file.metadata()?.len();
    let len = u32::try_from(len).ok().filter(|len| *len <= CHUNK_BYTES).ok_or(ErrorKind::InvalidData)?;
    ramp(file, len)?;
    read_range(file, 0..len)
}

/// Exactly these bytes.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub(super) fn read_range(file: &File, range: Range<u32>) -> io::Result<Vec<u8>> {
    let len = range.len();
    let mut bytes = Vec::with_capacity(len);
    while bytes.len() < len {
        let at = u64::from(range.start) + bytes.len() as u64;
        // Into memory that need not be zeroed before.
        match rustix::io::pread(file, spare_capacity(&mut bytes), at) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(len);
    Ok(bytes)
}

/// Brings these bytes into the page cache: all of them are asked for at once, and then waited for. `whole` when they are all that
/// the file has.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
pub(super) fn warm(file: &File, range: &Range<u32>, whole: bool) -> io::Result<()> {
    if let Some(length) = NonZero::new(range.len() as u64) {
        if whole {
            ramp(file, range.end)?;
        }
        // Where that cannot be said, each read fetches what follows it as far as the system likes.
        #[cfg(target_os = "linux")]
        let _ = rustix::fs::fadvise(file, range.start.into(), Some(length), rustix::fs::Advice::WillNeed);
        for at in range.clone().step_by(STRIDE_BYTES).chain([range.end - 1]) {
            touch(file, at)?;
        }
    }
    Ok(())
}

/// Has the system read a file of `len` bytes ahead as it does for who reads it from its beginning: from the mark in one window on it
/// reads the next, four times as long and in pages sixteen times as large until that is as much as the device allows. It is half
/// as much work as the same bytes in single pages, which is how they come when they are only asked for ([`warm`]), and so
/// is sending them: whoever receives them on the same machine gets a quarter more a second.
#[cfg(target_os = "linux")]
fn ramp(file: &File, len: u32) -> io::Result<()> {
    let page_bytes = u32::try_from(rustix::param::page_size()).unwrap_or(u32::MAX);
    let marks = MARKS.iter().map(|page| page.saturating_mul(page_bytes));
    marks.take_while(|at| *at < len).try_for_each(|at| touch(file, at))
}

/// Nothing is known of how another system reads ahead.
#[cfg(not(target_os = "linux"))]
fn ramp(_file: &File, _len: u32) -> io::Result<()> {
    Ok(())
}

/// Waits until a byte is in the page cache.
///
/// # Errors
/// `UnexpectedEof` when the file ends before.
fn touch(file: &File, at: u32) -> io::Result<()> {
    loop {
        match rustix::io::pread(file, &mut [0; 1], at.into()) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Whether the page cache seems to have these bytes: looked at in strides, for what is read ahead and let go of there are
/// longer runs. What lies in between and was let go of after all costs the thread that believes this one short read.
#[cfg(target_os = "linux")]
pub(super) fn is_cached(file: &File, range: &Range<u32>) -> bool {
    let has = |at: u32| {
        let mut byte = [0];
        let slices = &mut [IoSliceMut::new(&mut byte)];
        rustix::io::preadv2(file, slices, at.into(), ReadWriteFlags::NOWAIT) == Ok(1)
    };
    range.is_empty() || (range.clone().step_by(STRIDE_BYTES).all(has) && has(range.end - 1))
}

/// Whether the page cache has these bytes: that cannot be told here.
#[cfg(not(target_os = "linux"))]
pub(super) fn is_cached(_file: &File, _range: &Range<u32>) -> bool {
    false
}

/// Exactly these bytes if the page cache has them all, without waiting for the disk.
#[cfg(target_os = "linux")]
pub(super) fn read_cached(file: &File, range: Range<u32>) -> Option<Vec<u8>> {
    let mut bytes = vec![0; range.len()];
    let slices = &mut [IoSliceMut::new(&mut bytes)];
    let read = rustix::io::preadv2(file, slices, range.start.into(), ReadWriteFlags::NOWAIT).ok()?;
    (read == bytes.len()).then_some(bytes)
}

/// Exactly these bytes, where the system can tell that it need not wait: nowhere else.
#[cfg(not(target_os = "linux"))]
pub(super) fn read_cached(_file: &File, _range: Range<u32>) -> Option<Vec<u8>> {
    None
}

fn make_dir(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir)
}

/// Bytes between two looks into the page cache.
const STRIDE_BYTES: usize = 64 * 1024;
/// Pages that begin a file's windows, of 4, 16, 64 and 256 pages, but for the first, whose mark is its second page. Where a device has
/// shorter ones, what follows is asked for all the same.
#[cfg(target_os = "linux")]
const MARKS: [u32; 5] = [0, 1, 4, 20, 84];
const TMP: &str = "tmp";
/// What is cached for one site is nobody else's on this machine.
const FILE_MODE: u32 = 0o600;
const DIR_MODE: u32 = 0o700;
/// Far more than there are writes at a time.
const WIPED_MAX: usize = 16_384;
