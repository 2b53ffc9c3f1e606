//! Waiting for a head, and not for ever at one origin alone.
//!
//! Where a request changes nothing (a safe method, without a body) and its origin lets it wait too long, another origin is asked as
//! well, and the first head counts. How long that is says the pool's `hedge_after`. By default only silence counts: an
//! origin that has sent no head to anybody since it was asked ([`ORIGIN_PATIENCE`]). So a machine that takes requests
//! and does nothing with them costs its clients two seconds instead of the deadline, and a page that merely takes long
//! is made once.
//!
//! Why not a shorter deadline for the first try: a page that takes longer than that would be made twice and fail, where
//! today it comes. The request that waits goes on waiting here; the other one is on top.
//!
//! Invariant: what is asked on top comes out of the pool's budget for repeats, so all of it together stays below a tenth. FAULTS F2, F3.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cache_store::timestamp::Timestamp;

use super::Answer;
use super::error::OriginError;
use super::line::Line;
use super::outgoing::Outgoing;
use super::pool::Pool;
use super::response::Received;
use super::retry::{Attempt, Tried};
use crate::config::HedgeAfter;
use crate::config::limits::{HEDGE_AGAIN, HEDGE_SAMPLES_MIN, ORIGIN_PATIENCE};

/// Where the head is.
pub(super) enum Heard {
    /// It came on the connection.
    Here,
    /// Another origin was sooner.
    Elsewhere(Box<Answer>),
}

/// An origin asked on top.
type Asking<'p> = Pin<Box<dyn Future<Output = Result<Box<Answer>, (OriginError, Attempt)>> + Send + 'p>>;

impl Pool {
    /// Sends what was begun on `line`, at `asked_at`, to the origin at `index` and waits for the head of the response.
    ///
    /// # Errors
    /// Why no head came, neither there nor elsewhere.
    pub(super) async fn exchange(
        self: &Arc<Self>,
        index: usize,
        asked_at: Timestamp,
        line: &mut Line,
        outgoing: &mut Outgoing,
        received: &mut Received,
        tried: &mut Tried,
    ) -> Result<Heard, OriginError> {
        let limit = self.settings.first_byte_timeout;
        let patience = self.patience().filter(|patience| *patience < limit && outgoing.may_be_hedged());
        let Some(patience) = patience else {
            let limit = (asked_at, limit);
            let head = line.exchange(&mut outgoing.upload, received, limit, &self.clock).await;
            return head.map(|()| Heard::Here);
        };
        let patience = (asked_at, patience);
        match line.exchange(&mut outgoing.upload, received, patience, &self.clock).await {
            // Boxed: seldom, and much.
            Err(OriginError::FirstByteTimeout) => {
                Box::pin(self.hedge(index, line, outgoing, received, tried, asked_at)).await
            }
            head => head.map(|()| Heard::Here),
        }
    }

    /// How long an origin may let a request wait before another is asked too.
    fn patience(&self) -> Option<Duration> {
        if self.settings.origins.len() < 2 {
            return None;
        }
        match self.settings.hedge_after {
            HedgeAfter::Off => None,
            HedgeAfter::Time(time) => Some(time),
            HedgeAfter::P95 => self.slow.read().or_else(|| Some(self.patience_with_silence())),
            HedgeAfter::Silence => Some(self.patience_with_silence()),
        }
    }

    fn patience_with_silence(&self) -> Duration {
        ORIGIN_PATIENCE.min(self.settings.first_byte_timeout / 2)
    }

    /// Whether what is asked of an origin at `asked_at` has waited in vain for long enough.
    fn waits_in_vain(&self, index: usize, asked_at: Timestamp) -> bool {
        let only_silence = match self.settings.hedge_after {
            HedgeAfter::Silence => true,
            HedgeAfter::P95 => self.slow.read().is_none(),
            HedgeAfter::Off | HedgeAfter::Time(_) => false,
        };
        !only_silence || self.is_silent_since(index, asked_at)
    }

    fn is_silent_since(&self, index: usize, asked_at: Timestamp) -> bool {
        self.origin(index).is_some_and(|origin| origin.pulse.heard_at() < asked_at)
    }

    async fn hedge(
        self: &Arc<Self>,
        index: usize,
        line: &mut Line,
        outgoing: &mut Outgoing,
        received: &mut Received,
        tried: &mut Tried,
        asked_at: Timestamp,
    ) -> Result<Heard, OriginError> {
        let deadline = asked_at.plus(self.settings.first_byte_timeout);
        // Until another origin and a repeat to spend on it are there, it waits here alone.
        let other = loop {
            let now = self.clock.now();
            let left = deadline.since(now);
            if left.is_zero() {
                return Err(OriginError::FirstByteTimeout);
            }
            if self.waits_in_vain(index, asked_at)
                && let Some(other) = self.choose_on_top(tried, outgoing)
            {
                break other;
            }
            let turn = (now, left.min(HEDGE_AGAIN));
            match line.exchange(&mut outgoing.upload, received, turn, &self.clock).await {
                Err(OriginError::FirstByteTimeout) => {}
                head => return head.map(|()| Heard::Here),
            }
        };
        tried.push(other);
        if let Some(origin) = self.origin(index) {
            origin.counters.hedged();
        }
        let mut elsewhere = self.on_top(other, outgoing.on_top());
        let now = self.clock.now();
        let left = (now, deadline.since(now));
        let here = {
            let mut here = pin!(line.exchange(&mut outgoing.upload, received, left, &self.clock));
            tokio::select! {
                biased;
                here = &mut here => here,
                answer = &mut elsewhere => match answer {
                    Ok(answer) => {
                        // Whoever is merely slower has not failed.
                        if self.is_silent_since(index, asked_at) {
                            self.failed(index, OriginError::FirstByteTimeout);
                        }
                        return Ok(Heard::Elsewhere(answer));
                    }
                    Err((error, _)) => {
                        self.failed(other, error);
                        return here.await.map(|()| Heard::Here);
                    }
                },
            }
        };
        match here {
            Ok(()) => Ok(Heard::Here),
            // That was the deadline for both.
            Err(OriginError::FirstByteTimeout) => Err(OriginError::FirstByteTimeout),
            Err(error) => match elsewhere.await {
                Ok(answer) => {
                    self.failed(index, error);
                    Ok(Heard::Elsewhere(answer))
                }
                Err((on_top, _)) => {
                    self.failed(other, on_top);
                    Err(error)
                }
            },
        }
    }

    /// An origin that is well and talks, where the budget has a repeat left for it.
    fn choose_on_top(&self, tried: &Tried, outgoing: &Outgoing) -> Option<usize> {
        if !tried.has_room() || !self.steering.has_well(self.clock.now(), tried.all(), self.loads()) {
            return None;
        }
        self.budget.withdraw().then(|| self.choose(self.clock.now(), tried.all(), outgoing.key)).flatten()
    }

    /// A boxed future by name: it is one of those that [`Pool::exchange`] may wait for.
    fn on_top(self: &Arc<Self>, index: usize, mut outgoing: Box<Outgoing>) -> Asking<'static> {
        let pool = Arc::clone(self);
        Box::pin(async move {
            let origin = pool.origin(index).ok_or((OriginError::NoOrigin, outgoing.attempt()))?;
            let now_micros = pool.clock.micros();
            pool.ask_origin(index, origin, now_micros, &mut outgoing, &mut Tried::default()).await
        })
    }
}

/// An estimate of the time to the first byte that 95 of 100 requests to a pool do not exceed.
///
/// It climbs by nineteen small steps where it was exceeded and falls by one where it was not: at rest where that
/// happens once in twenty times. Steps are shares of itself, so that it finds its way from any start.
#[derive(Debug, Default)]
pub(super) struct Slow {
    micros: AtomicU64,
    samples: AtomicU64,
}

impl Slow {
    /// A head came after `micros`. Of two at once one may be lost.
    pub(super) fn observe(&self, micros: u64) {
        let samples = self.samples.load(Ordering::Relaxed);
        self.samples.store(samples.saturating_add(1), Ordering::Relaxed);
        let now = self.micros.load(Ordering::Relaxed);
        let step = (now / SLOW_STEPS).max(1);
        let next = match samples {
            0 => micros,
            _ if micros > now => now.saturating_add(step.saturating_mul(19)),
            _ => now.saturating_sub(step).max(1),
        };
        self.micros.store(next, Ordering::Relaxed);
    }

    /// None before enough were seen.
    fn read(&self) -> Option<Duration> {
        let known = self.samples.load(Ordering::Relaxed) >= HEDGE_SAMPLES_MIN;
        // A timer knows milliseconds.
        known
            .then(|| Duration::from_micros(self.micros.load(Ordering::Relaxed)).max(Duration::from_millis(1)))
    }
}

/// The larger, the steadier and slower.
const SLOW_STEPS: u64 = 500;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_finds_what_nineteen_of_twenty_do_not_exceed() {
        for (scale, start) in [(1_000, 1), (1_000, 1_000_000), (50_000, 2)] {
            let slow = Slow::default();
            slow.observe(start);
            let mut bits = 1_u64;
            for _ in 0..20_000 {
                bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                // Even from nothing to twice the scale.
                slow.observe((bits >> 33) % (2 * scale));
            }
            let found =
                u64::try_from(slow.read().expect("enough were seen").as_micros()).expect("it is short");
            let due = 2 * scale * 95 / 100;
            assert!(found.max(1_000).abs_diff(due.max(1_000)) <= due / 10, "{found} where {due} is due");
        }
    }
}
