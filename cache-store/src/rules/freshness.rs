//! How old is a stored response, and how long may it be used?
//!
//! [`Freshness`] is what remains of a response's time fields once they have been read: computed when the response is
//! stored or validated, 32 bytes, kept beside the object. A hit asks it and compares numbers. [`Lifetime`] and
//! [`initial_age`] are the reading (RFC 9111 §4.2.1 to §4.2.3).
//!
//! Invariant: age never decreases as `now` grows, and a response whose age cannot be known is as old as can be.
//!
//! Departure, RFC 9111 §5.1: an `Age` that is not a number should be ignored, and the first of several taken. An
//! unreadable `Age` means that some cache on the way has had this response for we do not know how long, so it counts
//! as [`DELTA_MAX`]; so do several field lines, also where someone joined them by `, ` (RFC 9110 §5.2). Of a list
//! written without the joining space the first member is taken, as §5.1 says.

use std::time::Duration;

use http::{StatusCode, header};

use super::Fields;
use super::cache_control::{CacheControl, DELTA_MAX, delta_seconds};
use super::date::DateField;
use super::policy::{Heuristic, Policy};
use crate::timestamp::Timestamp;

/// The numbers a stored response lives by. Frozen when it is stored or validated.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Freshness {
    received: Timestamp,
    initial_age_millis: u64,
    lifetime_secs: u32,
    stale_while_revalidate_secs: u32,
    stale_if_error_secs: u32,
    flags: u8,
}

impl Freshness {
    /// Must be validated before each use (`no-cache`).
    pub const NO_CACHE: u8 = 1;
    /// Must not be used stale (`must-revalidate`, `proxy-revalidate`, `s-maxage` where the policy says so).
    pub const MUST_REVALIDATE: u8 = 1 << 1;
    /// The lifetime was named by the response, or set by the operator, and not guessed.
    pub const EXPLICIT: u8 = 1 << 2;
    /// A reload of it while fresh need not be validated (`immutable`, RFC 8246).
    pub const IMMUTABLE: u8 = 1 << 3;

    /// Puts the numbers together; seconds above [`DELTA_MAX`] count as that.
    pub fn new(
        received: Timestamp,
        initial_age: Duration,
        lifetime_secs: u32,
        windows: Windows,
        flags: u8,
    ) -> Self {
        let cap = u64::from(DELTA_MAX) * 1000;
        Self {
            received,
            initial_age_millis: u64::try_from(initial_age.as_millis()).unwrap_or(cap).min(cap),
            lifetime_secs: lifetime_secs.min(DELTA_MAX),
            stale_while_revalidate_secs: windows.while_revalidate_secs.min(DELTA_MAX),
            stale_if_error_secs: windows.if_error_secs.min(DELTA_MAX),
            flags,
        }
    }

    /// When the response was received, on the steady line.
    pub const fn received(&self) -> Timestamp {
        self.received
    }

    /// How long the response is fresh, counted from its generation, in seconds.
    pub const fn lifetime_secs(&self) -> u32 {
        self.lifetime_secs
    }

    /// The value of `Age` at `now`, in seconds (RFC 9111 §4.2.3, `current_age`); at most [`DELTA_MAX`].
    pub fn age(&self, now: Timestamp) -> u32 {
        let secs = self.age_millis(now) / 1000;
        u32::try_from(secs).unwrap_or(DELTA_MAX).min(DELTA_MAX)
    }

    /// Seconds of freshness left at `now`; negative once stale.
    pub fn ttl(&self, now: Timestamp) -> i64 {
        i64::from(self.lifetime_secs) - i64::from(self.age(now))
    }

    /// The first moment the response is stale. Not after [`received`](Self::received) where it arrived stale.
    pub fn fresh_until(&self) -> Timestamp {
        let lifetime = u64::from(self.lifetime_secs) * 1000;
        if lifetime >= self.initial_age_millis {
            self.received.plus(Duration::from_millis(lifetime - self.initial_age_millis))
        } else {
            self.received.minus(Duration::from_millis(self.initial_age_millis - lifetime))
        }
    }

    /// Whether the response is fresh at `now`. It may still have to be validated: see [`no_cache`](Self::no_cache).
    pub fn is_fresh(&self, now: Timestamp) -> bool {
        self.age_millis(now) < u64::from(self.lifetime_secs) * 1000
    }

    /// Whether the response must be validated before each use.
    pub const fn no_cache(&self) -> bool {
        self.flags & Self::NO_CACHE != 0
    }

    /// Whether the response must not be used once stale.
    pub const fn must_revalidate(&self) -> bool {
        self.flags & Self::MUST_REVALIDATE != 0
    }

    /// Whether the lifetime was named and not guessed.
    pub const fn explicit(&self) -> bool {
        self.flags & Self::EXPLICIT != 0
    }

    /// Whether the response said `immutable`.
    pub const fn immutable(&self) -> bool {
        self.flags & Self::IMMUTABLE != 0
    }

    /// The windows of RFC 5861.
    pub const fn windows(&self) -> Windows {
        Windows {
            while_revalidate_secs: self.stale_while_revalidate_secs,
            if_error_secs: self.stale_if_error_secs,
        }
    }

    /// The flags, for whoever writes an object down.
    pub const fn flags(&self) -> u8 {
        self.flags
    }

    /// The corrected initial age, for whoever writes an object down.
    pub const fn initial_age(&self) -> Duration {
        Duration::from_millis(self.initial_age_millis)
    }

    fn age_millis(&self, now: Timestamp) -> u64 {
        now.as_millis().saturating_sub(self.received.as_millis()).saturating_add(self.initial_age_millis)
    }
}

/// How long past its lifetime a response may be used, in seconds (RFC 5861).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Windows {
    /// While one request refreshes it.
    pub while_revalidate_secs: u32,
    /// When the origin fails.
    pub if_error_secs: u32,
}

/// Where a lifetime comes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Lifetime {
    /// The response names it; zero where it names it unreadably.
    Named(u32),
    /// Nothing names it, and it was guessed.
    Guessed(u32),
    /// Nothing names it, and nothing may be guessed.
    Unknown,
}

impl Lifetime {
    /// How long the response stays fresh from the moment it was generated.
    /// `s-maxage` beats `max-age` beats `Expires` − `Date`; a conflicting or unreadable value counts as zero.
    /// `targeted`: a targeted field governs, so `Expires` is not looked at (RFC 9213 §2.2).
    /// RFC 9111 §4.2.1.
    pub fn named<F: Fields>(control: &CacheControl, fields: &F, targeted: bool, wall_now: Timestamp) -> Self {
        if let Some(seconds) = control.s_maxage.seconds().or_else(|| control.max_age.seconds()) {
            return Self::Named(seconds);
        }
        if targeted {
            return Self::Unknown;
        }
        match DateField::of(fields, &header::EXPIRES) {
            DateField::Absent => Self::Unknown,
            DateField::Unreadable => Self::Named(0),
            DateField::At(expires) => {
                let date = DateField::of(fields, &header::DATE).moment().unwrap_or(wall_now);
                Self::Named(clamp_secs(expires.since(date)))
            }
        }
    }

    /// A share of the time since the last modification, within the cap; unknown without a `Last-Modified` in the past.
    /// RFC 9111 §4.2.2.
    pub fn guessed<F: Fields>(fields: &F, heuristic: Heuristic, wall_now: Timestamp) -> Self {
        let DateField::At(modified) = DateField::of(fields, &header::LAST_MODIFIED) else {
            return Self::Unknown;
        };
        let date = DateField::of(fields, &header::DATE).moment().unwrap_or(wall_now);
        let since = clamp_secs(date.since(modified));
        let share = u64::from(since) * u64::from(heuristic.percent.min(100)) / 100;
        let seconds = u32::try_from(share).unwrap_or(DELTA_MAX).min(clamp_secs(heuristic.cap));
        if seconds == 0 { Self::Unknown } else { Self::Guessed(seconds) }
    }
}

/// Statuses that may be given a lifetime nobody named (RFC 9110 §15.1).
pub fn heuristically_cacheable(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 206 | 300 | 301 | 308 | 404 | 405 | 410 | 414 | 501)
}

/// How old the response already was when it arrived: the larger of what `Date` shows and what `Age` says plus the
/// time the request took. RFC 9111 §4.2.3, `corrected_initial_age`.
pub fn initial_age<F: Fields>(
    fields: &F,
    requested_at: Timestamp,
    received_at: Timestamp,
    wall_now: Timestamp,
) -> Duration {
    let date = DateField::of(fields, &header::DATE).moment();
    let apparent = date.map_or(0, |date| wall_now.as_secs().saturating_sub(date.as_secs()));
    let corrected =
        Duration::from_secs(age_value(fields).into()).saturating_add(received_at.since(requested_at));
    corrected.max(Duration::from_secs(apparent)).min(Duration::from_secs(DELTA_MAX.into()))
}

/// What `Age` says, in seconds; see the departure in the module's head.
fn age_value<F: Fields>(fields: &F) -> u32 {
    let mut lines = fields.values(&header::AGE);
    let Some(line) = lines.next() else { return 0 };
    if lines.next().is_some() {
        return DELTA_MAX;
    }
    let value = line.trim_ascii();
    let first = match value.iter().position(|byte| *byte == b',') {
        Some(comma) if value.get(comma + 1).is_none_or(|next| !next.is_ascii_whitespace()) => {
            value.get(..comma)
        }
        Some(_) => None,
        None => Some(value),
    };
    first.and_then(delta_seconds).unwrap_or(DELTA_MAX)
}

/// Whole seconds, at most [`DELTA_MAX`].
pub(super) fn clamp_secs(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(DELTA_MAX).min(DELTA_MAX)
}

/// The lifetime the policy leaves of what was named or guessed.
pub(super) fn capped(seconds: u32, policy: &Policy) -> u32 {
    seconds.min(clamp_secs(policy.lifetime_max))
}
