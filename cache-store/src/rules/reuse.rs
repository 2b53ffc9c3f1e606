//! May this stored response answer this request, now?
//!
//! Asked by the store for each candidate under a key, at every hit; the one place that allows a use (invariant 1 of
//! the house). It compares numbers; it never allocates.
//!
//! ```text
//! method, hard purge, Vary ──► NoMatch
//! no-cache (either side), client max-age / min-fresh, soft purge without window ──► MustValidate
//! fresh ──► Fresh        stale, in a window ──► Stale        else ──► MustValidate
//! ```
//!
//! Deliberately absent: preconditions and ranges of the request ([`validator`](super::validator),
//! [`partial`](super::partial)): they change the form of the answer, not whether it may be given.
//!
//! RFC 9111 §4.

use http::Method;

use super::cache_control::RequestControl;
use super::freshness::Freshness;
use super::vary::{Match, VarySpec};
use super::{Fields, RequestHead};
use crate::timestamp::Timestamp;

/// What the purge log says about a stored response.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purged {
    /// Nothing.
    No,
    /// It is stale since this moment.
    Soft(Timestamp),
    /// It must not be used any more.
    Hard,
}

/// The answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reuse {
    /// Use it.
    Fresh,
    /// Use it although it is stale.
    Stale(StaleUse),
    /// Use it only once the origin has confirmed it.
    MustValidate(MustValidate),
    /// It is not an answer to this request.
    NoMatch(NoMatch),
}

/// What allows a stale use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StaleUse {
    /// The window of RFC 5861 §3: one request should refresh it meanwhile.
    WhileRevalidate,
    /// The client's `max-stale`.
    ClientAllows,
}

impl StaleUse {
    /// A short name, stable for log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::WhileRevalidate => "stale-while-revalidate",
            Self::ClientAllows => "max-stale",
        }
    }
}

/// Why the origin must confirm first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MustValidate {
    /// Its lifetime is over.
    Stale,
    /// A soft purge ended its lifetime.
    Purged,
    /// It said `no-cache`.
    NoCache,
    /// The client said `no-cache`.
    ClientNoCache,
    /// It is older than the client's `max-age`.
    ClientMaxAge,
    /// It will not live for the client's `min-fresh`.
    ClientMinFresh,
}

impl MustValidate {
    /// A short name, stable for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stale => "stale",
            Self::Purged => "purged",
            Self::NoCache => "no-cache",
            Self::ClientNoCache => "client-no-cache",
            Self::ClientMaxAge => "client-max-age",
            Self::ClientMinFresh => "client-min-fresh",
        }
    }
}

/// Why it is no answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NoMatch {
    /// The method is neither `GET` nor `HEAD`.
    Method,
    /// The fields named by `Vary` differ.
    Vary,
    /// It was purged.
    Purged,
}

impl NoMatch {
    /// A short name, stable for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Vary => "vary",
            Self::Purged => "purged",
        }
    }
}

/// Whether the stored response described by `freshness` and `vary` may answer `request` at `now`.
pub fn reuse<F: Fields>(
    freshness: &Freshness,
    vary: &VarySpec,
    request: &RequestHead<'_, F>,
    control: &RequestControl,
    purged: Purged,
    now: Timestamp,
) -> Reuse {
    if *request.method != Method::GET && *request.method != Method::HEAD {
        return Reuse::NoMatch(NoMatch::Method);
    }
    if purged == Purged::Hard {
        return Reuse::NoMatch(NoMatch::Purged);
    }
    if vary.matches(request.fields) == Match::No {
        return Reuse::NoMatch(NoMatch::Vary);
    }
    by_time(freshness, control, purged, now)
}

/// The part of [`reuse`] about time alone, for whoever knows that the response matches.
pub fn by_time(freshness: &Freshness, control: &RequestControl, purged: Purged, now: Timestamp) -> Reuse {
    if freshness.no_cache() {
        return Reuse::MustValidate(MustValidate::NoCache);
    }
    if control.no_cache {
        return Reuse::MustValidate(MustValidate::ClientNoCache);
    }
    let fresh = purged == Purged::No && freshness.is_fresh(now);
    // `max-age=0` asks for validation even of what arrived within this second.
    let too_old = |limit: u32| freshness.age(now) >= limit.saturating_add(u32::from(limit > 0));
    // A reload says `max-age=0`; of what never changes while fresh there is nothing to validate (RFC 8246 §2).
    let unchanging = fresh && freshness.immutable();
    if !unchanging && control.max_age.is_some_and(too_old) {
        return Reuse::MustValidate(MustValidate::ClientMaxAge);
    }
    if fresh {
        let short = control.min_fresh.is_some_and(|wanted| freshness.ttl(now) < i64::from(wanted));
        return if short { Reuse::MustValidate(MustValidate::ClientMinFresh) } else { Reuse::Fresh };
    }
    // A client that names how fresh it wants it does not want it stale (RFC 9111 §5.2.1.1), unless it says so itself.
    let lenient = control.min_fresh.is_none() && control.max_age.is_none();
    if lenient && freshness.may_serve_stale_while_revalidate(purged, now) {
        return Reuse::Stale(StaleUse::WhileRevalidate);
    }
    if freshness.may_serve_max_stale(control, purged, now) {
        return Reuse::Stale(StaleUse::ClientAllows);
    }
    match purged {
        Purged::Soft(_) => Reuse::MustValidate(MustValidate::Purged),
        Purged::No | Purged::Hard => Reuse::MustValidate(MustValidate::Stale),
    }
}
