//! How much one origin is given at once where that is not a fixed number (`concurrency = "adaptive"`).
//!
//! The limit grows by one a round while it is used and answers come about as soon as when little is under way, and falls by a
//! tenth when they take twice as long, or none comes (additive increase, multiplicative decrease; the measure is the time to
//! the first byte, averaged, so that pages of different weight do not disturb it). What is beyond the limit goes to another origin, else
//! it is refused at once: 503, or something stale where `stale-if-error` allows it. A queue at an origin that has
//! enough to do makes every answer late and none sooner.
//!
//! What "as soon" means is learned while less than half of the limit is used, and anew when the limit has fallen to its least: an
//! origin that has become slower for good is measured by what it does now.

use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use crate::config::limits::{
    ADAPTIVE_SAMPLES, ADAPTIVE_SLACK_MICROS, ADAPTIVE_SLOWER, ADAPTIVE_START, CONCURRENCY_MIN,
};

/// One origin's limit.
#[derive(Debug)]
pub(crate) struct Limiter {
    most: f64,
    allowed: AtomicUsize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    limit: f64,
    /// Average time to the first byte, microseconds; none before the first.
    average: Option<f64>,
    /// The same with little under way.
    unloaded: f64,
    /// Requests that ended since the limit fell last.
    since_fall: u32,
}

impl Limiter {
    /// At most `most` at once.
    pub(crate) fn new(most: usize) -> Self {
        let most = u32::try_from(most).unwrap_or(u32::MAX).max(CONCURRENCY_MIN);
        let limit = f64::from(ADAPTIVE_START.min(most));
        Self {
            most: f64::from(most),
            allowed: AtomicUsize::new(whole(limit)),
            state: Mutex::new(State { limit, average: None, unloaded: f64::MAX, since_fall: 0 }),
        }
    }

    /// How many may be under way.
    pub(crate) fn allowed(&self) -> usize {
        self.allowed.load(Ordering::Relaxed)
    }

    /// A head came after `micros`, with so many under way.
    pub(crate) fn answered(&self, micros: u64, active: usize) {
        let active = f64::from(u32::try_from(active).unwrap_or(u32::MAX));
        #[allow(clippy::cast_precision_loss)] // an estimate
        let took = micros as f64;
        let mut state = self.state.lock();
        let average = state.average.map_or(took, |average| average + (took - average) / ADAPTIVE_SAMPLES);
        state.average = Some(average);
        state.since_fall = state.since_fall.saturating_add(1);
        if state.unloaded > average {
            state.unloaded = average;
        } else if active < state.limit / 2.0 {
            state.unloaded += (average - state.unloaded) / ADAPTIVE_SAMPLES;
        }
        if average > state.unloaded * ADAPTIVE_SLOWER + ADAPTIVE_SLACK_MICROS {
            self.fall(&mut state);
        } else if active >= state.limit * 0.75 {
            state.limit = (state.limit + 1.0 / state.limit).min(self.most);
            self.allowed.store(whole(state.limit), Ordering::Relaxed);
        }
    }

    /// No head came.
    pub(crate) fn failed(&self) {
        let mut state = self.state.lock();
        state.since_fall = state.since_fall.saturating_add(1);
        self.fall(&mut state);
    }

    /// Once for what a round of requests has to say.
    fn fall(&self, state: &mut State) {
        if f64::from(state.since_fall) < state.limit {
            return;
        }
        state.since_fall = 0;
        let least = f64::from(CONCURRENCY_MIN);
        if state.limit <= least {
            state.unloaded = state.average.unwrap_or(f64::MAX);
        }
        state.limit = (state.limit * 0.9).max(least);
        self.allowed.store(whole(state.limit), Ordering::Relaxed);
    }
}

fn whole(limit: f64) -> usize {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // between 1 and 2³²
    let whole = limit as usize;
    whole
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    /// An origin that takes `alone` for a request while it has no more than `capacity`, and shares itself beyond.
    fn loaded(limiter: &Limiter, clients: usize, capacity: usize, alone: u64, requests: usize) -> usize {
        let mut open = VecDeque::new();
        let mut refused = 0;
        for nth in 0..requests {
            if open.len() < limiter.allowed().min(clients) {
                let crowd = (open.len() as u64 + 1).max(capacity as u64) * 100 / capacity as u64;
                // Light pages and heavy ones.
                let page = if nth % 10 == 0 { alone * 5 } else { alone };
                open.push_back(page * crowd / 100);
            } else {
                refused += usize::from(open.len() < clients);
            }
            while open.len() >= limiter.allowed().min(clients) {
                let Some(took) = open.pop_front() else { break };
                limiter.answered(took, open.len() + 1);
            }
        }
        refused
    }

    #[test]
    fn the_limit_finds_what_an_origin_can_do() {
        for (capacity, alone) in [(10, 20_000), (40, 5_000), (100, 50_000)] {
            let limiter = Limiter::new(1000);
            loaded(&limiter, 5, capacity, alone, 500);
            loaded(&limiter, 1000, capacity, alone, 20_000);
            let found = limiter.allowed();
            assert!(
                (capacity / 2..=capacity * 4).contains(&found),
                "{found} where {capacity} is the capacity"
            );
        }
    }

    #[test]
    fn an_origin_that_is_well_is_not_limited() {
        let limiter = Limiter::new(200);
        loaded(&limiter, 1000, 10_000, 20_000, 50_000);
        assert_eq!(limiter.allowed(), 200);
    }

    #[test]
    fn failures_bring_the_limit_down_and_never_to_nothing() {
        let limiter = Limiter::new(200);
        for _ in 0..100_000 {
            limiter.answered(20_000, 1);
            limiter.failed();
        }
        assert_eq!(limiter.allowed(), CONCURRENCY_MIN as usize);
    }

    #[test]
    fn an_origin_that_answers_nobody_is_given_less_and_less() {
        let limiter = Limiter::new(200);
        let most = limiter.allowed();
        for _ in 0..10_000 {
            limiter.failed();
        }
        assert_eq!(limiter.allowed(), CONCURRENCY_MIN as usize, "from {most}");
    }

    #[test]
    fn an_origin_that_became_slower_for_good_is_not_held_down() {
        let limiter = Limiter::new(100);
        loaded(&limiter, 1000, 10_000, 1_000, 10_000);
        loaded(&limiter, 1000, 10_000, 100_000, 50_000);
        assert!(limiter.allowed() >= 90, "{}", limiter.allowed());
    }
}
