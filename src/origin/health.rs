//! Whether an origin may be asked: what became of requests, and what checks say.
//!
//! ```text
//! standing --failures--> ejected --eject_for passes, or checks succeed--> on trial --success--> standing
//!                           ^---------------- twice as long ----------------- failure --'
//! up --unhealthy_after checks fail--> down --healthy_after checks succeed--> up
//! ```
//!
//! Pure: `now` is an argument, `choose/` keeps one of these for each origin under its lock. A failure is what is the
//! origin's or the network's fault (no connection, no or broken response), and a status that the pool counts as one
//! (`fail_status`). It takes `eject_after` of them in a row, or that they are `eject_failure_percent` of the last requests: an
//! origin that fails every other request is no good either.
//! On trial one request at a time is let through; if its end is never told, the next may try after `eject_for`. Checks
//! alone never end an ejection: an origin that answers its check and fails its requests is tried sooner, not trusted.

use std::time::Duration;

use cache_store::timestamp::Timestamp;

use crate::config;
use crate::config::limits::{EJECT_FACTOR_MAX, EJECT_SAMPLES_MIN, EJECT_WINDOW};

/// When failures are too many, and for how long that counts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Terms {
    after: u32,
    failure_percent: u32,
    eject_for: Duration,
    unhealthy_after: u32,
    healthy_after: u32,
}

/// The health of one origin.
#[derive(Clone, Debug, Default)]
pub(crate) struct Health {
    consecutive_failures: u32,
    /// Ejections without a success in between.
    ejections: u32,
    /// Left out before this moment; none: standing.
    ejected_until: Option<Timestamp>,
    /// A request is out to see whether it is back.
    on_trial: bool,
    /// It fails often, not always: that one request succeeds says little.
    by_share: bool,
    window: Window,
    checks: Checks,
}

/// What became of the last requests.
#[derive(Clone, Debug, Default)]
struct Window {
    began_at: Timestamp,
    requests: u32,
    failures: u32,
}

/// What the last checks said.
#[derive(Clone, Debug, Default)]
struct Checks {
    down: bool,
    /// Checks in a row that say the other thing.
    against: u32,
    /// Checks in a row that succeeded, since the last ejection.
    succeeded: u32,
}

impl Terms {
    /// A pool's.
    pub(crate) fn of(pool: &config::Pool) -> Self {
        let health = pool.health.as_ref();
        Self {
            after: pool.eject_after.max(1),
            failure_percent: pool.eject_failure_percent,
            eject_for: pool.eject_for,
            unhealthy_after: health.map_or(1, |health| health.unhealthy_after.max(1)),
            healthy_after: health.map_or(1, |health| health.healthy_after.max(1)),
        }
    }
}

impl Health {
    /// Whether it may be asked at `now`.
    pub(crate) fn available(&self, now: Timestamp) -> bool {
        !self.checks.down && self.ejected_until.is_none_or(|until| until <= now)
    }

    /// Whether it is ejected or on trial: no success since the last ejection.
    pub(crate) fn ejected(&self) -> bool {
        self.ejected_until.is_some()
    }

    /// Whether its checks fail.
    pub(crate) fn is_down(&self) -> bool {
        self.checks.down
    }

    /// A request goes to it. On trial, this keeps others away until its end or for `eject_for`.
    pub(crate) fn asked(&mut self, now: Timestamp, terms: &Terms) {
        if self.ejected_until.is_some_and(|until| until <= now) {
            self.ejected_until = Some(now.plus(terms.eject_for));
            self.on_trial = true;
        }
    }

    /// It answered to the end. Returns whether it had been left out before.
    pub(crate) fn succeeded(&mut self, now: Timestamp) -> bool {
        self.window.count(now, false);
        if self.by_share && self.ejected() && !self.on_trial {
            // It was under way already, or had nowhere else to go.
            return false;
        }
        self.consecutive_failures = 0;
        self.ejections = 0;
        self.on_trial = false;
        self.ejected_until.take().is_some()
    }

    /// It failed. Returns whether this ejected it anew; `may_eject`: as far as the rest of its pool goes.
    pub(crate) fn failed(&mut self, now: Timestamp, terms: &Terms, may_eject: bool) -> bool {
        self.window.count(now, true);
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let trial = std::mem::take(&mut self.on_trial);
        // Requests that were under way when it was ejected, or that had nowhere else to go, do not lengthen it.
        if self.ejected_until.is_some() && !trial {
            return false;
        }
        let in_a_row = self.consecutive_failures >= terms.after;
        if !trial && !((in_a_row || self.window.fails(terms.failure_percent)) && may_eject) {
            return false;
        }
        self.by_share = if trial { self.by_share } else { !in_a_row };
        let factor = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX).clamp(1, EJECT_FACTOR_MAX);
        self.ejected_until = Some(now.plus(terms.eject_for.saturating_mul(factor)));
        self.ejections = self.ejections.saturating_add(1).min(31);
        self.window = Window::default();
        self.checks.succeeded = 0;
        true
    }

    /// A check came to an end. Returns whether the origin went down or came up by it.
    pub(crate) fn checked(&mut self, now: Timestamp, is_well: bool, terms: &Terms) -> bool {
        let checks = &mut self.checks;
        checks.succeeded = if is_well { checks.succeeded.saturating_add(1) } else { 0 };
        if checks.succeeded >= terms.healthy_after
            && !self.on_trial
            && self.ejected_until.is_some_and(|until| until > now)
        {
            // Its next request is the trial.
            self.ejected_until = Some(now);
        }
        if is_well != checks.down {
            checks.against = 0;
            return false;
        }
        checks.against = checks.against.saturating_add(1);
        let needed = if is_well { terms.healthy_after } else { terms.unhealthy_after };
        if checks.against < needed {
            return false;
        }
        checks.against = 0;
        checks.down = !is_well;
        true
    }

    /// What holds where there are no checks any more.
    pub(crate) fn without_checks(mut self) -> Self {
        self.checks = Checks::default();
        self
    }
}

impl Window {
    fn count(&mut self, now: Timestamp, failed: bool) {
        if now.since(self.began_at) >= EJECT_WINDOW {
            *self = Self { began_at: now, ..Self::default() };
        }
        self.requests = self.requests.saturating_add(1);
        self.failures = self.failures.saturating_add(u32::from(failed));
    }

    fn fails(&self, percent: u32) -> bool {
        percent > 0
            && self.requests >= EJECT_SAMPLES_MIN
            && u64::from(self.failures) * 100 >= u64::from(self.requests) * u64::from(percent)
    }
}
