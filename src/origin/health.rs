//! Whether an origin may be asked: passive ejection by consecutive failures.
//!
//! ```text
//! standing --eject_after failures--> ejected --eject_for passes--> on trial --success--> standing
//!                                       ^--------- twice as long ---------- failure --'
//! ```
//!
//! Pure: `now` is an argument, `choose.rs` keeps one of these for each origin under its lock. A failure is what is the
//! origin's or the network's fault (no connection, no or broken response); a status is an answer, whatever it says.
//! On trial one request at a time is let through; if its end is never told, the next may try after `eject_for`.

use std::time::Duration;

use cache_store::timestamp::Timestamp;

use crate::config::limits::EJECT_FACTOR_MAX;

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
}

impl Health {
    /// Whether it may be asked at `now`.
    pub(crate) fn available(&self, now: Timestamp) -> bool {
        self.ejected_until.is_none_or(|until| until <= now)
    }

    /// Whether it is ejected or on trial: no success since the last ejection.
    pub(crate) fn ejected(&self) -> bool {
        self.ejected_until.is_some()
    }

    /// A request goes to it. On trial, this keeps others away until its end or for `eject_for`.
    pub(crate) fn asked(&mut self, now: Timestamp, eject_for: Duration) {
        if self.ejected_until.is_some_and(|until| until <= now) {
            self.ejected_until = Some(now.plus(eject_for));
            self.on_trial = true;
        }
    }

    /// It answered to the end. Returns whether it had been left out before.
    pub(crate) fn succeeded(&mut self) -> bool {
        std::mem::take(self).ejected()
    }

    /// It failed. Returns whether this ejected it anew.
    pub(crate) fn failed(&mut self, now: Timestamp, eject_after: u32, eject_for: Duration) -> bool {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        let trial = std::mem::take(&mut self.on_trial);
        // Requests that were under way when it was ejected, or that had nowhere else to go, do not lengthen it.
        if self.ejected_until.is_some() && !trial {
            return false;
        }
        if !trial && self.consecutive_failures < eject_after.max(1) {
            return false;
        }
        let factor = 1_u32.checked_shl(self.ejections).unwrap_or(u32::MAX).clamp(1, EJECT_FACTOR_MAX);
        self.ejected_until = Some(now.plus(eject_for.saturating_mul(factor)));
        self.ejections = self.ejections.saturating_add(1).min(31);
        true
    }
}
