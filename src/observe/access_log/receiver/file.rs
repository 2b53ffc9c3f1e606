//! A file that is appended to, begun anew when it has grown enough or when it is told to.
//!
//! ```text
//! access.log ──► access.log.1 ──► access.log.2 ──► … ──► access.log.KEEP ──► gone
//! ```
//!
//! A block is whole lines and goes into one file, so none is torn and none is lost between two files. What cannot be renamed is
//! appended to further: a log that grows is better than none.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Receiver, count, write_lines};
use crate::config::log::Rotation;

pub(super) struct Appended {
    path: PathBuf,
    file: File,
    /// Bytes in it.
    bytes: u64,
    rotation: Option<Rotation>,
    /// That it cannot be begun anew is told once.
    is_told: bool,
}

impl Appended {
    /// Goes on at the end of the file at `path`.
    ///
    /// # Errors
    /// It cannot be opened for appending.
    pub(super) fn open(path: &Path, rotation: Option<Rotation>) -> io::Result<Self> {
        let (file, bytes) = opened(path)?;
        Ok(Self { path: path.into(), file, bytes, rotation, is_told: false })
    }

    /// Every file moves one on, and an empty one stands in front.
    fn rotate(&mut self, keep: u16) -> io::Result<()> {
        for number in (1..keep).rev() {
            let from = self.numbered(number);
            match fs::rename(&from, self.numbered(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        fs::rename(&self.path, self.numbered(1))?;
        self.reopen()
    }

    fn numbered(&self, number: u16) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }
}

impl Receiver for Appended {
    fn take(&mut self, lines: &[u8], _: u64) -> io::Result<u64> {
        let more = lines.len() as u64;
        if let Some(Rotation { bytes, keep }) = self.rotation
            && self.bytes > 0
            && self.bytes.saturating_add(more) > bytes
            && let Err(error) = self.rotate(keep)
            && !std::mem::replace(&mut self.is_told, true)
        {
            tracing::error!(%error, path = %self.path.display(), "the access log cannot be begun anew; it grows");
        }
        write_lines(&mut self.file, lines)?;
        self.bytes = self.bytes.saturating_add(more);
        Ok(count(lines))
    }

    fn reopen(&mut self) -> io::Result<()> {
        (self.file, self.bytes) = opened(&self.path)?;
        Ok(())
    }
}

fn opened(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let bytes = file.metadata()?.len();
    Ok((file, bytes))
}
