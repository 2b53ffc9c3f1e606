//! What an HTTP/2 connection may cost, kept as a ledger of the frames that pass.
//!
//! Frames that bring nothing forward cost credit (PING, SETTINGS, PRIORITY, window updates, resets, empty DATA, what nobody
//! knows: FAULTS §1.2); answers that end, body bytes sent and passing time give some back. A connection without credit
//! is closed with `ENHANCE_YOUR_CALM`. Honest clients pay a few frames an answer and earn more than that.
//!
//! Called by `h2/connection.rs` for each frame. Invariant: nothing here grows. What a client is too *slow* with is
//! `h2/late.rs`'s question. RFC 9113 §10.5; CVE-2019-9511 … 9518, CVE-2023-44487, CVE-2024-27316, CVE-2025-8671.

use cache_store::timestamp::Timestamp;

use crate::config::limits::{
    H2_ANSWER_CREDIT, H2_COST_BYTES, H2_CREDIT, H2_CREDIT_PER_SECOND, H2_ERROR_RESETS_MAX,
    H2_SENT_BYTES_PER_CREDIT,
};

/// The ledger of one connection.
#[derive(Debug)]
pub(crate) struct Budget {
    credit: u32,
    overspent: bool,
    refilled_at: Timestamp,
    /// Body bytes sent that have not yet made a whole credit.
    sent_bytes: u32,
    /// Streams reset for the client's errors.
    error_resets: usize,
}

impl Budget {
    /// For a connection that begins now.
    pub(crate) const fn new(now: Timestamp) -> Self {
        Self { credit: H2_CREDIT, overspent: false, refilled_at: now, sent_bytes: 0, error_resets: 0 }
    }

    /// Whether the connection has cost more than it earned; then nothing more of it should be read.
    #[inline]
    pub(crate) const fn is_overspent(&self) -> bool {
        self.overspent
    }

    /// A frame that may lead to something: HEADERS, CONTINUATION, `RST_STREAM`.
    #[inline]
    pub(crate) const fn frame(&mut self) {
        self.charge(1);
    }

    /// A frame that brings nothing forward, with a payload of this length.
    pub(crate) const fn idle_frame(&mut self, length: u32) {
        self.charge(1 + length / H2_COST_BYTES);
    }

    /// The client reset what had been answered: the answer earned nothing.
    pub(crate) const fn answer_thrown_away(&mut self) {
        self.charge(H2_ANSWER_CREDIT);
    }

    /// The client reset what it waited for, and the origin may be at work for it still: with its frames that costs what an answer
    /// earns, so that hits do not pay for fetches that nobody wants.
    pub(crate) const fn wait_thrown_away(&mut self) {
        self.charge(H2_ANSWER_CREDIT.saturating_sub(2));
    }

    /// A stream is reset for an error of the client's.
    pub(crate) const fn error_reset(&mut self) {
        self.error_resets += 1;
        self.overspent |= self.error_resets > H2_ERROR_RESETS_MAX;
    }

    /// An answer has ended.
    #[inline]
    pub(crate) fn answered(&mut self) {
        self.earn(H2_ANSWER_CREDIT);
    }

    /// Body bytes were sent.
    #[inline]
    pub(crate) fn sent(&mut self, bytes: u32) {
        self.sent_bytes = self.sent_bytes.saturating_add(bytes);
        self.earn(self.sent_bytes / H2_SENT_BYTES_PER_CREDIT);
        self.sent_bytes %= H2_SENT_BYTES_PER_CREDIT;
    }

    /// It is `now`.
    #[inline]
    pub(crate) fn refill(&mut self, now: Timestamp) {
        let seconds = now.since(self.refilled_at).as_secs();
        if seconds > 0 {
            self.refilled_at = now;
            self.earn(u32::try_from(seconds).unwrap_or(u32::MAX).saturating_mul(H2_CREDIT_PER_SECOND));
        }
    }

    const fn charge(&mut self, cost: u32) {
        match self.credit.checked_sub(cost) {
            Some(left) => self.credit = left,
            None => self.overspent = true,
        }
    }

    fn earn(&mut self, credit: u32) {
        self.credit = self.credit.saturating_add(credit).min(H2_CREDIT);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const START: Timestamp = Timestamp::from_secs(1000);

    #[test]
    fn frames_that_bring_nothing_forward_end_within_their_bound() {
        // FAULTS B15: closed within 10 000 frames or 1 MB.
        for length in [0, 1, 8, 200, 4096, 16_384] {
            let mut budget = Budget::new(START);
            let mut frames: u32 = 0;
            while !budget.is_overspent() {
                budget.idle_frame(length);
                frames += 1;
                assert!(frames <= 10_000 && frames * (length + 9) <= 1 << 20, "{length}: {frames}");
            }
        }
    }

    #[test]
    fn answers_that_are_thrown_away_earn_nothing() {
        let mut budget = Budget::new(START);
        let mut requests = 0;
        while !budget.is_overspent() {
            budget.frame();
            budget.answered();
            budget.frame();
            budget.answer_thrown_away();
            requests += 1;
            assert!(requests <= 5_000);
        }
    }

    #[test]
    fn honest_clients_never_run_out() {
        let mut browser = Budget::new(START);
        // For each answer its head, a priority, a window update and a ping.
        for _ in 0..200_000 {
            browser.frame();
            browser.idle_frame(5);
            browser.idle_frame(4);
            browser.idle_frame(8);
            browser.answered();
        }
        assert!(!browser.is_overspent(), "a browser");
        let mut download = Budget::new(START);
        // Two window updates for each 16 KiB.
        for _ in 0..10_000 {
            download.sent(16_384);
            download.idle_frame(4);
            download.idle_frame(4);
        }
        assert!(!download.is_overspent(), "a download");
        let mut pinging = Budget::new(START);
        for second in 0..10_800 {
            pinging.refill(START.plus(Duration::from_secs(second)));
            pinging.idle_frame(8);
        }
        assert!(!pinging.is_overspent(), "a ping a second for three hours");
    }

    #[test]
    fn a_client_whose_streams_are_reset_for_its_errors_is_closed() {
        let mut budget = Budget::new(START);
        for _ in 0..H2_ERROR_RESETS_MAX {
            budget.error_reset();
        }
        assert!(!budget.is_overspent());
        budget.error_reset();
        assert!(budget.is_overspent());
    }
}
