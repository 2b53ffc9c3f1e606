//! The books of the open loop: what is due, what waits, which connection is free, what came of it.
//!
//! Time is an argument, so the whole of it runs in a test with a responder that is arithmetic. The loop in
//! `mod.rs` brings the clock and the sockets.
//!
//! ```text
//! a moment of the schedule ── due ──► waiting ── send ──► on a connection ── answered ──► latency
//!                                                                         └─ lost ──────► error
//! ```
//!
//! Invariant: a latency runs from the moment of the schedule, whatever happened between; a request that has
//! left the schedule ends as a latency or as an error.

use std::collections::VecDeque;

use super::stalls::Span;
use crate::time::SECOND;

/// The state of one run. Times are nanoseconds of one clock.
pub(crate) struct Book {
    schedule: Schedule,
    next: u64,
    unscheduled: u64,
    waiting: VecDeque<u64>,
    free: Vec<usize>,
    unanswered: u64,
    /// From its moment to its answer, for each that had one.
    pub(crate) latencies: Vec<Span>,
    /// From its moment until it was noticed to be due, for each.
    pub(crate) lags: Vec<Span>,
}

impl Book {
    /// `requests` by a schedule from `start` on, over connections numbered from zero.
    pub(crate) fn new(mut schedule: Schedule, requests: u64, connections: usize, start: u64) -> Self {
        Self {
            next: schedule.after(start, start),
            schedule,
            unscheduled: requests,
            waiting: VecDeque::new(),
            free: (0..connections).collect(),
            unanswered: requests,
            // Reserved: to grow them would be a stall of our own.
            latencies: Vec::with_capacity(requests as usize),
            lags: Vec::with_capacity(requests as usize),
        }
    }

    /// Moves what the schedule asks for up to `now` into the queue.
    pub(crate) fn due(&mut self, now: u64) {
        while self.unscheduled > 0 && self.next <= now {
            self.lags.push(Span { from: self.next, to: now });
            self.waiting.push_back(self.next);
            self.next = self.schedule.after(self.next, now);
            self.unscheduled -= 1;
        }
    }

    /// The oldest request that waits, and a connection for it; nothing while either is lacking.
    pub(crate) fn send(&mut self) -> Option<(usize, u64)> {
        let connection = self.free.pop_if(|_| !self.waiting.is_empty())?;
        self.waiting.pop_front().map(|moment| (connection, moment))
    }

    /// The request of `moment` was answered at `now`, and its connection is free again.
    pub(crate) fn answered(&mut self, connection: usize, moment: u64, now: u64) {
        self.latencies.push(Span { from: moment, to: now });
        self.unanswered -= 1;
        self.free.push(connection);
    }

    /// The request on `connection` will have no answer.
    pub(crate) fn lost(&mut self, connection: usize) {
        self.unanswered -= 1;
        self.free.push(connection);
    }

    /// Whether every request has ended.
    pub(crate) fn over(&self) -> bool {
        self.unanswered == 0
    }
}

/// When requests leave.
pub(crate) enum Schedule {
    /// As clients that do not know of each other would send. What was missed is made up for at once, so that it is felt.
    Poisson(Poisson),
    /// One after another, so many nanoseconds apart. What was missed is not made up for: a burst would be the generator's. So the rate
    /// falls a little, and latencies say nothing of a stall; for load beside something else that is measured.
    Even(u64),
}

impl Schedule {
    /// At `rate` a second.
    pub(crate) fn new(rate: f64, even: bool) -> Self {
        if even { Self::Even((SECOND as f64 / rate) as u64) } else { Self::Poisson(Poisson::new(rate)) }
    }

    /// The moment after `moment`, which was noticed to be due at `now`.
    fn after(&mut self, moment: u64, now: u64) -> u64 {
        match self {
            Self::Poisson(poisson) => moment + poisson.gap(),
            Self::Even(gap) => (moment + *gap).max(now + *gap / 2),
        }
    }
}

/// Gaps between arrivals that do not know of each other.
pub(crate) struct Poisson {
    state: u64,
    mean: f64,
}

impl Poisson {
    fn new(rate: f64) -> Self {
        Self { state: 0x9E37_79B9_7F4A_7C15, mean: SECOND as f64 / rate }
    }

    fn gap(&mut self) -> u64 {
        // xorshift64*: the same schedule for every server.
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        let uniform = (self.state.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64;
        (-(1.0 - uniform).ln() * self.mean) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::super::stalls::Stalls;
    use super::*;
    use crate::histogram::Histogram;
    use crate::time::MILLI;

    /// The value that `share` of the spans do not exceed.
    fn percentile(spans: &[Span], share: f64) -> u64 {
        Histogram::of(Stalls::default().untouched(spans)).percentile(share)
    }

    #[test]
    fn arrivals_keep_the_rate_and_are_not_even() {
        let mut schedule = Poisson::new(20_000.0);
        let gaps: Vec<_> = (0..100_000).map(|_| schedule.gap()).collect();
        let mean = gaps.iter().sum::<u64>() as f64 / gaps.len() as f64;
        assert!((mean - 50_000.0).abs() < 1_000.0, "the mean gap is 50 µs, not {mean} ns");
        let short = gaps.iter().filter(|gap| **gap < 50_000).count() as f64 / gaps.len() as f64;
        assert!((short - 0.632).abs() < 0.01, "1 - 1/e of the gaps are shorter than the mean, not {short}");
    }

    /// Answers one after the other, 10 µs each, and not at all between 1.0 s and 1.1 s.
    struct StallsOnce {
        idle_from: u64,
    }

    impl StallsOnce {
        /// When what arrives at `now` is answered.
        fn answer(&mut self, now: u64) -> u64 {
            let mut begins = self.idle_from.max(now);
            if (SECOND..SECOND + 100 * MILLI).contains(&begins) {
                begins = SECOND + 100 * MILLI;
            }
            self.idle_from = begins + 10_000;
            self.idle_from
        }
    }

    /// 60,000 requests at 20,000/s over `connections`; with `deaf`, the generator itself does not look at its
    /// schedule during the stall.
    fn open_loop(connections: usize, deaf: bool) -> Book {
        let mut responder = StallsOnce { idle_from: 0 };
        let mut book = Book::new(Schedule::new(20_000.0, false), 60_000, connections, 0);
        let mut sent: VecDeque<(u64, usize, u64)> = VecDeque::new();
        while !book.over() {
            let arrival = if book.unscheduled > 0 { book.next } else { u64::MAX };
            let mut now = arrival.min(sent.front().map_or(u64::MAX, |(at, ..)| *at));
            if deaf && (SECOND..SECOND + 100 * MILLI).contains(&now) {
                now = SECOND + 100 * MILLI;
            }
            while let Some((_, connection, moment)) = sent.pop_front_if(|(at, ..)| *at <= now) {
                book.answered(connection, moment, now);
            }
            book.due(now);
            while let Some((connection, moment)) = book.send() {
                sent.push_back((responder.answer(now), connection, moment));
            }
        }
        book
    }

    #[test]
    fn a_stall_is_felt_by_all_that_should_have_left_during_it() {
        let book = open_loop(128, false);
        assert_eq!(book.latencies.len(), 60_000);
        // 2,000 of 60,000 fall into the stall, and the queue behind it needs 25 ms more.
        assert!(percentile(&book.latencies, 0.97) > 10 * MILLI, "{} ns", percentile(&book.latencies, 0.97));
        assert!(percentile(&book.latencies, 0.99) > 50 * MILLI, "{} ns", percentile(&book.latencies, 0.99));
        assert!(percentile(&book.latencies, 0.9) < MILLI, "{} ns", percentile(&book.latencies, 0.9));
        assert_eq!(percentile(&book.lags, 1.0), 0, "the generator itself was never late");
    }

    #[test]
    fn a_closed_loop_hides_the_same_stall() {
        let mut responder = StallsOnce { idle_from: 0 };
        let mut latency = Histogram::new();
        // Each connection asks again when it was answered; the clock starts at the real send.
        let mut sent: VecDeque<u64> = (0..128).map(|_| 0).collect();
        while let Some(at) = sent.pop_front_if(|at| *at < 3 * SECOND) {
            let answered = responder.answer(at);
            latency.add(answered - at);
            sent.push_back(answered);
        }
        assert!(latency.percentile(0.999) < 2 * MILLI, "{} ns", latency.percentile(0.999));
        assert!(latency.max() > 99 * MILLI, "128 of them were held all the same");
    }

    #[test]
    fn without_a_free_connection_a_request_waits_on_its_own_time() {
        let one = open_loop(1, false);
        assert_eq!(one.latencies.len(), 60_000);
        assert!(percentile(&one.latencies, 0.99) > 50 * MILLI, "{} ns", percentile(&one.latencies, 0.99));
    }

    #[test]
    fn a_generator_that_was_away_says_so() {
        let book = open_loop(128, true);
        assert!(percentile(&book.lags, 0.99) > 50 * MILLI, "{} ns", percentile(&book.lags, 0.99));
        assert!(percentile(&book.latencies, 0.99) > 50 * MILLI, "{} ns", percentile(&book.latencies, 0.99));
    }

    #[test]
    fn an_even_schedule_has_no_bursts() {
        let mut book = Book::new(Schedule::new(1000.0, true), 10, 16, 0);
        let mut sent = |now| {
            book.due(now);
            std::iter::from_fn(|| book.send()).count()
        };
        assert_eq!([MILLI - 1, MILLI, 2 * MILLI, 3 * MILLI].map(&mut sent), [0, 1, 1, 1]);
        // Away for ten of them.
        assert_eq!([14 * MILLI, 14 * MILLI + 1, 15 * MILLI].map(&mut sent), [1, 0, 1]);
        // A little late, and in time again.
        assert_eq!([15 * MILLI + MILLI / 2 + MILLI / 4, 16 * MILLI + MILLI / 2].map(&mut sent), [1, 1]);
    }

    #[test]
    fn a_lost_request_frees_its_connection_and_is_no_latency() {
        let mut book = Book::new(Schedule::new(1000.0, false), 2, 1, 0);
        book.due(SECOND);
        let (connection, _) = book.send().expect("two are due");
        assert!(book.send().is_none(), "the one connection is taken");
        book.lost(connection);
        let (connection, moment) = book.send().expect("the second is due");
        book.answered(connection, moment, SECOND);
        assert!(book.over());
        assert_eq!(book.latencies.len(), 1);
    }
}
