//! One worker's share of what those who watch are shown: lines of JSON about some of its requests, whatever the log itself
//! writes.
//!
//! Hits are chosen apart from all else, so that a million of them hide no miss and no error. A line that stands for several requests
//! says so last: `"one_of":16`. Where nobody watches nothing here is called but [`Watched::error`], and that for a 5xx only.
//!
//! Invariant: what is formatted here in a second is bounded (`WATCHED_HITS_A_SECOND`, `WATCHED_OTHERS_A_SECOND`, both shared by all
//! workers), so watching costs a worker next to nothing however busy it is.

use super::calendar::SecondText;
use super::errors::RecentErrors;
use super::line::Line;
use super::sample::Sample;
use crate::config::limits::{
    LOG_BLOCK_BYTES, RECENT_ERRORS_A_SECOND, WATCHED_HITS_A_SECOND, WATCHED_OTHERS_A_SECOND,
};
use crate::listener::service::Finished;
use crate::respond::response::CacheOutcome;

/// What is chosen, and what of it waits to be handed over.
#[derive(Debug)]
pub(super) struct Watched {
    hits: Sample,
    others: Sample,
    errors: Sample,
    text: Vec<u8>,
    /// The requests that `text` stands for.
    requests: u64,
}

impl Watched {
    /// Of one of `workers`; `seed` tells them apart.
    pub(super) fn new(workers: u32, seed: u32) -> Self {
        let mut this = Self {
            hits: Sample::new(seed),
            others: Sample::new(seed.rotate_left(8)),
            errors: Sample::new(seed.rotate_left(16)),
            text: Vec::new(),
            requests: 0,
        };
        this.share_among(workers);
        this
    }

    /// Whether this request is shown, and then for how many it stands.
    #[inline]
    pub(super) fn take(&mut self, finished: &Finished<'_>) -> Option<u32> {
        if finished.outcome.cache == CacheOutcome::Hit && finished.status < 400 {
            self.hits.take()
        } else {
            self.others.take()
        }
    }

    /// Appends a line that is already there, with its line feed.
    pub(super) fn copy(&mut self, line: &[u8], weight: u32) {
        self.text.extend_from_slice(line);
        weigh(&mut self.text, weight);
        self.requests += u64::from(weight);
    }

    /// Appends the line.
    pub(super) fn append(&mut self, line: &Line<'_>, time: &mut SecondText, weight: u32) {
        line.json(time, &mut self.text);
        weigh(&mut self.text, weight);
        self.requests += u64::from(weight);
    }

    /// Keeps the line of a server's error, if it is one of those that are.
    #[cold]
    pub(super) fn error(&mut self, line: &Line<'_>, time: &mut SecondText, kept: &RecentErrors) {
        let Some(weight) = self.errors.take() else { return };
        let mut text = Vec::new();
        line.json(time, &mut text);
        weigh(&mut text, weight);
        kept.keep(text.strip_suffix(b"\n").unwrap_or(&text));
    }

    /// Whether it is time to hand over.
    #[inline]
    pub(super) fn is_full(&self) -> bool {
        self.text.len() >= LOG_BLOCK_BYTES
    }

    /// What waits, and the requests that it stands for; `None` where nothing does.
    pub(super) fn hand_over(&mut self) -> Option<(Vec<u8>, u64)> {
        if self.text.is_empty() {
            return None;
        }
        Some((std::mem::take(&mut self.text), std::mem::take(&mut self.requests)))
    }

    /// So many workers share from now on what may be shown.
    pub(super) fn share_among(&mut self, workers: u32) {
        let share = |all: u32| (all / workers.max(1)).max(1);
        self.hits.at_most(share(WATCHED_HITS_A_SECOND));
        self.others.at_most(share(WATCHED_OTHERS_A_SECOND));
        self.errors.at_most(share(RECENT_ERRORS_A_SECOND));
    }

    /// A second has passed.
    pub(super) fn second(&mut self) {
        self.hits.second();
        self.others.second();
        self.errors.second();
    }
}

/// Writes into the line at the end of `text` for how many requests it stands.
fn weigh(text: &mut Vec<u8>, weight: u32) {
    if weight > 1 {
        text.truncate(text.len().saturating_sub(END.len()));
        text.extend_from_slice(b",\"one_of\":");
        text.extend_from_slice(itoa::Buffer::new().format(weight).as_bytes());
        text.extend_from_slice(END);
    }
}

/// How a line ends.
const END: &[u8] = b"}\n";
