//! What a site or a route decides about caching, as meant.
//!
//! RFC 9111 leaves much to the cache: how long a response without a lifetime may be used, whether a client may ask
//! for fresher than fresh, what happens when the origin is down. Those choices stand here, one field each, and the
//! rules ask this type and nothing else. [`Policy::default`] is safe behind an unknown origin;
//! [`Policy::rfc`] does what the standards say where they say it, request directives included.
//!
//! Deliberately absent: keys, routes, sizes. They do not change what is allowed.

use std::time::Duration;

use http::HeaderName;

use super::coding::Codings;

/// The choices RFC 9111 leaves to a cache. Cheap to share, built once from the settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// What to do with a response that sets cookies.
    pub set_cookie: SetCookie,
    /// The lifetime of a response that says nothing about it, where its status is cacheable by default; beats the
    /// heuristic. `None`: the heuristic decides.
    pub default_ttl: Option<Duration>,
    /// The lifetime of every response that may be stored and has a status below 400, whatever the response says.
    /// `no-store`, `private` and `no-cache` still hold.
    pub ttl_override: Option<Duration>,
    /// Guessing a lifetime from `Last-Modified` (RFC 9111 §4.2.2). `None`: never.
    pub heuristic: Option<Heuristic>,
    /// How long errors live.
    pub errors: Errors,
    /// The window of RFC 5861 §3 where the response names none. Zero: none.
    pub stale_while_revalidate: Duration,
    /// The window of RFC 5861 §4 where the response names none. Zero: none.
    pub stale_if_error: Duration,
    /// Whether `s-maxage` forbids serving stale, as `proxy-revalidate` does (RFC 9111 §5.2.2.10). Where it does not,
    /// `s-maxage=60, stale-while-revalidate=600` means what those who write it mean.
    pub s_maxage_forbids_stale: bool,
    /// Which request directives of a client are heard.
    pub honour: RequestDirectives,
    /// Targeted fields, the first that is there and readable governs (RFC 9213 §2.2). `Surrogate-Control` may be among
    /// them; it is read by its own grammar.
    pub targets: Vec<HeaderName>,
    /// Our name in `Surrogate-Capability`: directives of `Surrogate-Control` aimed at another device are not ours.
    pub surrogate_device: Option<Box<str>>,
    /// Names in `Vary` that do not tell responses apart here, lower case.
    pub vary_ignored: Vec<HeaderName>,
    /// Names that tell responses apart whether or not they are in `Vary`.
    pub vary_always: Vec<HeaderName>,
    /// Whether a stored response in the one language a request likes best answers it, although the two
    /// `Accept-Language` differ (RFC 9111 §4.1 allows it; an origin may negotiate otherwise).
    pub select_by_language: bool,
    /// Codings that are negotiated here, by whoever serves: a response in none of them answers every `Accept-Encoding`, one in one
    /// of them whoever takes it. None: `Accept-Encoding` is a field like any other.
    pub codings: Codings,
    /// What to do with a 206 whose content is shorter than its `Content-Range`.
    pub short_part: ShortPart,
    /// The longest lifetime of anything stored.
    pub lifetime_max: Duration,
    /// Whether `Authorization` is for this node and never reaches an origin: then an answer is not made for whoever sent it, and RFC 9111
    /// §3.5 does not hold.
    pub authorization_ends_here: bool,
}

/// What to do with a response that has `Set-Cookie`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SetCookie {
    /// Do not store it.
    Refuse,
    /// Store it without `Set-Cookie`.
    Strip,
    /// Store it whole, provided that its freshness is explicit.
    Store,
}

/// A lifetime guessed as a share of the time since the last modification (RFC 9111 §4.2.2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Heuristic {
    /// The share, in percent; more than 100 counts as 100.
    pub percent: u8,
    /// The longest guess.
    pub cap: Duration,
}

/// How long responses with status 400 and above live. `no-store` and `private` are always heard.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Errors {
    /// Whether an origin's explicit lifetime counts for every error. Where it does not, it counts for 404, 410 and 451
    /// alone, so that a request made to fail does not plant its error for all.
    pub by_origin: bool,
    /// Lifetime of 404 and 410 that name none.
    pub gone_ttl: Option<Duration>,
    /// Lifetime of other 4xx that name none; where the origin is not heard, also the longest they may name.
    pub client_ttl: Option<Duration>,
    /// The same for 5xx.
    pub server_ttl: Option<Duration>,
}

/// What a 206 is worth that ends before its `Content-Range` does, although its framing is complete.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ShortPart {
    /// One of its two lengths is a lie: do not store it.
    Refuse,
    /// The framing is right: a part that claims to reach the end ends where its content ends.
    TrustFraming,
}

/// A set of request directives (RFC 9111 §5.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestDirectives(u8);

impl RequestDirectives {
    /// None of them.
    pub const NONE: Self = Self(0);
    /// `no-cache`, and `Pragma: no-cache` where there is no `Cache-Control`.
    pub const NO_CACHE: Self = Self(1);
    /// `max-age`.
    pub const MAX_AGE: Self = Self(2);
    /// `min-fresh`.
    pub const MIN_FRESH: Self = Self(4);
    /// `max-stale`.
    pub const MAX_STALE: Self = Self(8);
    /// `only-if-cached`.
    pub const ONLY_IF_CACHED: Self = Self(16);
    /// `no-store`.
    pub const NO_STORE: Self = Self(32);
    /// `stale-if-error` (RFC 5861 §4).
    pub const STALE_IF_ERROR: Self = Self(64);
    /// All of them.
    pub const ALL: Self = Self(127);

    /// Whether all of `other` are in this set.
    pub const fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl Default for Policy {
    /// Safe behind an origin nobody has looked at: no cookies, no errors but "gone", nothing guessed beyond a day, no
    /// stale but what the origin allows, and no client talks past a fresh response.
    fn default() -> Self {
        Self {
            set_cookie: SetCookie::Refuse,
            default_ttl: None,
            ttl_override: None,
            heuristic: Some(Heuristic { percent: 10, cap: DAY }),
            errors: Errors { by_origin: false, gone_ttl: None, client_ttl: None, server_ttl: None },
            stale_while_revalidate: Duration::ZERO,
            stale_if_error: Duration::ZERO,
            s_maxage_forbids_stale: false,
            honour: RequestDirectives::NO_STORE.and(RequestDirectives::ONLY_IF_CACHED),
            targets: vec![CDN_CACHE_CONTROL, SURROGATE_CONTROL],
            surrogate_device: None,
            authorization_ends_here: false,
            vary_ignored: Vec::new(),
            vary_always: Vec::new(),
            select_by_language: false,
            codings: Codings::NONE,
            short_part: ShortPart::Refuse,
            lifetime_max: LIFETIME_MAX,
        }
    }
}

impl Policy {
    /// RFC 9111 to the letter, request directives included.
    pub fn rfc() -> Self {
        Self {
            set_cookie: SetCookie::Store,
            heuristic: Some(Heuristic { percent: 10, cap: DAY }),
            errors: Errors { by_origin: true, gone_ttl: None, client_ttl: None, server_ttl: None },
            s_maxage_forbids_stale: true,
            honour: RequestDirectives::ALL,
            select_by_language: true,
            short_part: ShortPart::TrustFraming,
            ..Self::default()
        }
    }

    /// A site of files that change when they are deployed: what says nothing lives a while, and stale beats down.
    pub fn static_site() -> Self {
        Self {
            default_ttl: Some(Duration::from_mins(10)),
            errors: Errors {
                by_origin: false,
                gone_ttl: Some(Duration::from_secs(30)),
                client_ttl: None,
                server_ttl: Some(Duration::from_secs(1)),
            },
            stale_while_revalidate: Duration::from_hours(1),
            stale_if_error: DAY,
            honour: RequestDirectives::ONLY_IF_CACHED,
            ..Self::default()
        }
    }

    /// A site whose pages change by the minute and whose readers come all at once.
    pub fn news() -> Self {
        Self {
            default_ttl: Some(Duration::from_secs(10)),
            heuristic: None,
            errors: Errors {
                by_origin: false,
                gone_ttl: Some(Duration::from_secs(10)),
                client_ttl: None,
                server_ttl: Some(Duration::from_secs(1)),
            },
            stale_while_revalidate: Duration::from_mins(1),
            stale_if_error: DAY,
            honour: RequestDirectives::ONLY_IF_CACHED,
            ..Self::default()
        }
    }
}

/// `CDN-Cache-Control` (RFC 9213 §3.1).
pub const CDN_CACHE_CONTROL: HeaderName = HeaderName::from_static("cdn-cache-control");
/// `Surrogate-Control` (Edge Architecture Specification, W3C Note 2001).
pub const SURROGATE_CONTROL: HeaderName = HeaderName::from_static("surrogate-control");

const DAY: Duration = Duration::from_hours(24);
const LIFETIME_MAX: Duration = Duration::from_hours(30 * 24);
