//! The last requests that ended in a server's error, kept whether or not somebody watches: who is called because of them wants to see
//! them.
//!
//! A worker comes here with a 5xx only, never with a hit; it formats and keeps a few of them a second and does not wait for
//! the others' lock.

use std::collections::VecDeque;

use parking_lot::Mutex;

use crate::config::limits::{RECENT_ERRORS_BYTES, RECENT_ERRORS_MAX};

/// The last lines of the log about errors, as JSON, oldest first.
#[derive(Debug, Default)]
pub(super) struct RecentErrors(Mutex<Ring>);

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Box<[u8]>>,
    bytes: usize,
}

impl RecentErrors {
    /// Keeps a line without its line feed, in place of the oldest ones. It is lost where somebody else is here.
    pub(super) fn keep(&self, line: &[u8]) {
        let Some(mut ring) = self.0.try_lock() else { return };
        if line.len() > RECENT_ERRORS_BYTES {
            return;
        }
        ring.lines.push_back(line.into());
        ring.bytes += line.len();
        while ring.lines.len() > RECENT_ERRORS_MAX || ring.bytes > RECENT_ERRORS_BYTES {
            let Some(oldest) = ring.lines.pop_front() else { break };
            ring.bytes -= oldest.len();
        }
    }

    /// All of them, newest first.
    pub(super) fn lines(&self) -> Vec<Box<[u8]>> {
        self.0.lock().lines.iter().rev().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_stay_within_both_bounds() {
        let errors = RecentErrors::default();
        for at in 0..2 * RECENT_ERRORS_MAX {
            errors.keep(at.to_string().as_bytes());
        }
        let lines = errors.lines();
        assert_eq!(lines.len(), RECENT_ERRORS_MAX);
        assert_eq!(&*lines[0], (2 * RECENT_ERRORS_MAX - 1).to_string().as_bytes());
        errors.keep(&vec![b'x'; RECENT_ERRORS_BYTES]);
        assert_eq!(errors.lines().len(), 1, "a long one takes the others' room");
        errors.keep(&vec![b'y'; RECENT_ERRORS_BYTES + 1]);
        assert_eq!(errors.lines()[0][0], b'x', "one that has no room is not kept");
    }
}
