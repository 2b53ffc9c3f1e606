//! The `Date` line of answers that bring none: rendered once a second and shared by a worker's connections.
//!
//! RFC 9110 §6.6.1. Belongs to one worker thread (`Cell`).

use std::cell::{Cell, RefCell};
use std::time::{Duration, UNIX_EPOCH};

use crate::clock::Clock;

/// A worker's `Date` line.
#[derive(Debug)]
pub struct DateLine {
    second: Cell<u64>,
    line: RefCell<String>,
}

impl Default for DateLine {
    fn default() -> Self {
        Self { second: Cell::new(u64::MAX), line: RefCell::default() }
    }
}

impl DateLine {
    /// Appends `Date: …` and CRLF for the calendar time of now.
    pub fn append(&self, clock: &Clock, out: &mut Vec<u8>) {
        self.turn(clock);
        out.extend_from_slice(self.line.borrow().as_bytes());
    }

    /// Shows the date alone, as a field's value.
    pub fn with<R>(&self, clock: &Clock, see: impl FnOnce(&str) -> R) -> R {
        self.turn(clock);
        let line = self.line.borrow();
        see(line.trim_start_matches("Date: ").trim_end())
    }

    fn turn(&self, clock: &Clock) {
        let second = clock.wall().as_secs();
        if self.second.replace(second) != second {
            // HTTP dates have four digits for the year; a clock beyond them is held there.
            let moment = UNIX_EPOCH + Duration::from_secs(second.min(LAST_SECOND));
            let date = httpdate::fmt_http_date(moment);
            *self.line.borrow_mut() = format!("Date: {date}\r\n");
        }
    }
}

/// The last second of the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use cache_store::timestamp::Timestamp;

    use super::*;

    #[test]
    fn the_line_follows_the_calendar() {
        let (clock, line, mut out) =
            (Clock::manual(Timestamp::from_secs(784_111_777)), DateLine::default(), Vec::new());
        line.append(&clock, &mut out);
        assert_eq!(out, b"Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
        clock.advance(Duration::from_secs(1));
        out.clear();
        line.append(&clock, &mut out);
        assert_eq!(out, b"Date: Sun, 06 Nov 1994 08:49:38 GMT\r\n");
        line.with(&clock, |date| assert_eq!(date, "Sun, 06 Nov 1994 08:49:38 GMT"));
    }

    #[test]
    fn a_clock_beyond_the_year_9999_does_not_panic() {
        let mut out = Vec::new();
        DateLine::default().append(&Clock::manual(Timestamp::from_millis(u64::MAX)), &mut out);
        assert_eq!(out, b"Date: Fri, 31 Dec 9999 23:59:59 GMT\r\n");
    }
}
