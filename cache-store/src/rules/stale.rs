//! May a stale response be used, and when?
//!
//! RFC 5861 opens two windows after the end of freshness: while one request refreshes the response, and when the
//! origin fails. `must-revalidate`, `proxy-revalidate` and `no-cache` close both (RFC 9111 §4.2.4); a soft purge
//! moves the end of freshness to the moment of the purge and leaves the windows their length.
//!
//! Called by [`reuse`](super::reuse::reuse) at a lookup, and by whoever learned that the origin failed.

use std::time::Duration;

use http::StatusCode;

use super::cache_control::{CacheControl, RequestControl};
use super::freshness::{Freshness, Windows, clamp_secs};
use super::policy::Policy;
use super::reuse::Purged;
use crate::timestamp::Timestamp;

impl Freshness {
    /// Whether, stale at `now`, it may be used while one request refreshes it (RFC 5861 §3).
    pub fn may_serve_stale_while_revalidate(&self, purged: Purged, now: Timestamp) -> bool {
        self.within(self.windows().while_revalidate_secs, purged, now)
    }

    /// Whether, stale at `now`, it may be used because the origin failed (RFC 5861 §4). A client's own
    /// `stale-if-error` may widen the window, never past `must-revalidate`.
    pub fn may_serve_stale_if_error(&self, control: &RequestControl, purged: Purged, now: Timestamp) -> bool {
        let window = self.windows().if_error_secs.max(control.stale_if_error.unwrap_or(0));
        self.within(window, purged, now)
    }

    /// Whether, stale at `now`, the client's `max-stale` covers it (RFC 9111 §5.2.1.2).
    pub fn may_serve_max_stale(&self, control: &RequestControl, purged: Purged, now: Timestamp) -> bool {
        // A purge says that the content is wrong; a client that takes it old does not take it wrong.
        purged == Purged::No && control.max_stale.is_some_and(|window| self.within(window, purged, now))
    }

    /// The moment it went stale, or will: the end of its lifetime, or a soft purge before that.
    pub fn stale_since(&self, purged: Purged) -> Timestamp {
        match purged {
            Purged::Soft(at) => self.fresh_until().min(at),
            Purged::No | Purged::Hard => self.fresh_until(),
        }
    }

    fn within(&self, window_secs: u32, purged: Purged, now: Timestamp) -> bool {
        let allowed =
            !self.must_revalidate() && !self.no_cache() && purged != Purged::Hard && window_secs > 0;
        allowed && now < self.stale_since(purged).plus(Duration::from_secs(window_secs.into()))
    }
}

/// The windows a response with this status is stored with: its own, else the policy's. The policy's are for content: an
/// error that was kept for a second must not be told for an hour because stale content may be.
pub fn windows(control: &CacheControl, policy: &Policy, status: StatusCode) -> Windows {
    let default = |window| if status.as_u16() < 400 { clamp_secs(window) } else { 0 };
    Windows {
        while_revalidate_secs: control
            .stale_while_revalidate
            .seconds()
            .unwrap_or_else(|| default(policy.stale_while_revalidate)),
        if_error_secs: control.stale_if_error.seconds().unwrap_or_else(|| default(policy.stale_if_error)),
    }
}

/// Whether the response forbids its use once stale (RFC 9111 §4.2.4).
pub fn must_revalidate(control: &CacheControl, policy: &Policy) -> bool {
    control.has(CacheControl::MUST_REVALIDATE)
        || control.has(CacheControl::PROXY_REVALIDATE)
        || (policy.s_maxage_forbids_stale && control.s_maxage.seconds().is_some())
}

/// Whether a response with this status is the kind of error a stale one may stand in for (RFC 5861 §4).
pub fn is_error(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}
