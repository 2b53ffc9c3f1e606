//! What the log's thread writes blocks of whole lines to.
//!
//! A receiver may block that thread for a bounded time and nobody else. What it does not take is lost, and the log counts it.

mod datagrams;
mod file;
mod syslog;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io::{self, Write};

use crate::config::{Log, LogTarget};

/// Takes lines.
pub(super) trait Receiver: Send {
    /// Takes these whole lines, the last of which ended at `wall_millis`; how many of them it took.
    ///
    /// # Errors
    /// It took none.
    fn take(&mut self, lines: &[u8], wall_millis: u64) -> io::Result<u64>;

    /// Goes on in a file of the same name that may be another (USR1).
    ///
    /// # Errors
    /// It cannot be opened; the old one stays in use.
    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl std::fmt::Debug for dyn Receiver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Receiver")
    }
}

/// The receiver that the settings name; `None` where the log is off.
///
/// # Errors
/// A file cannot be opened. Whoever is reached by a socket need not be there yet.
pub(super) fn open(log: &Log) -> io::Result<Option<Box<dyn Receiver>>> {
    Ok(match &log.target {
        LogTarget::Off => None,
        LogTarget::Stdout => {
            // Its own descriptor: `io::stdout` would buffer by line and take a lock for each block.
            let out = std::os::fd::AsFd::as_fd(&io::stdout()).try_clone_to_owned()?;
            Some(Box::new(Stream(File::from(out))))
        }
        LogTarget::File(path) => Some(Box::new(file::Appended::open(path, log.rotation)?)),
        LogTarget::Journal => Some(Box::new(datagrams::Datagrams::journal(JOURNAL.as_ref()))),
        LogTarget::Syslog(at) => Some(syslog::receiver(at)),
    })
}

/// A stream that takes everything as it is.
struct Stream(File);

impl Receiver for Stream {
    fn take(&mut self, lines: &[u8], _: u64) -> io::Result<u64> {
        write_lines(&mut self.0, lines).map(|()| count(lines))
    }
}

/// For who watches alone.
pub(super) struct Nobody;

impl Receiver for Nobody {
    fn take(&mut self, lines: &[u8], _: u64) -> io::Result<u64> {
        Ok(count(lines))
    }
}

/// Writes a block a few lines at a time. A whole one would keep its core for as long as the kernel copies it, a tenth of a millisecond,
/// and a worker that shares the core from its requests; between two writes that worker has its turn.
fn write_lines(file: &mut impl Write, mut lines: &[u8]) -> io::Result<()> {
    while lines.len() > WRITE_BYTES_MAX {
        let end = |within: &[u8]| memchr::memrchr(b'\n', within).map(|at| at + 1);
        let longest = || memchr::memchr(b'\n', lines).map_or(lines.len(), |at| at + 1);
        let end = lines.get(..WRITE_BYTES_MAX).and_then(end).unwrap_or_else(longest);
        let (first, rest) = lines.split_at_checked(end).unwrap_or((lines, &[]));
        file.write_all(first)?;
        std::thread::yield_now();
        lines = rest;
    }
    file.write_all(lines)
}

/// The lines in a block.
pub(super) fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// Each line of a block without its end.
fn each(lines: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty())
}

/// Of what is written at once, but for a line that is longer.
const WRITE_BYTES_MAX: usize = 8 * 1024;
/// Where systemd's journal takes datagrams.
const JOURNAL: &str = "/run/systemd/journal/socket";
