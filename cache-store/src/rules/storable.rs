//! May this response be stored, and what is frozen about it?
//!
//! Asked when the head of a response has arrived, and again with the merged head after a validation. The answer is
//! what the store keeps beside the object ([`Storable`]) or the reason why nothing is kept ([`NotStored`]).
//!
//! Invariant: `private` and `no-store` are obeyed under every policy; an operator can shorten and guess, never
//! publish what the origin kept for one client.
//!
//! Deliberately absent: whether there is room, and whether the content is complete. RFC 9111 §3.

use http::{HeaderName, Method, StatusCode, header};

use super::cache_control::{CacheControl, RequestControl};
use super::freshness::{Freshness, Lifetime, capped, clamp_secs, heuristically_cacheable, initial_age};
use super::policy::{Policy, RequestDirectives, SetCookie};
use super::targeted::Governing;
use super::validator::has_validator;
use super::vary::VarySpec;
use super::{Fields, RequestHead, ResponseHead, invalidate, partial, stale};
use crate::timestamp::Timestamp;

/// What is kept beside a stored response.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Storable {
    /// The numbers it lives by.
    pub freshness: Freshness,
    /// Which requests it answers.
    pub vary: VarySpec,
    /// Fields that must not be stored, beyond those [`retained`](super::retained::retained) leaves out anyway.
    pub strip: Vec<HeaderName>,
}

/// Why a response is not stored.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum NotStored {
    /// The method's responses are not stored, or (`POST`) not this one.
    Method,
    /// The status is not one that is stored: interim, 304, or not understood under `must-understand`.
    Status,
    /// An error, and the policy does not keep errors of its kind.
    Error,
    /// The client said `no-store`.
    RequestNoStore,
    /// The response said `no-store`.
    NoStore,
    /// The response said `private`.
    Private,
    /// The request was authenticated and the response does not say that it is for all (RFC 9111 §3.5).
    Authorization,
    /// `Vary: *`.
    VaryStar,
    /// It sets cookies.
    SetCookie,
    /// A 206 whose `Content-Range` cannot be used.
    ContentRange,
    /// Nothing says how long it may be used, and it could not be validated.
    NoFreshness,
    /// It arrived stale, and could be neither validated nor used stale.
    StaleOnArrival,
}

impl NotStored {
    /// A short name, stable for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Status => "status",
            Self::Error => "error",
            Self::RequestNoStore => "request-no-store",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::Authorization => "authorization",
            Self::VaryStar => "vary-star",
            Self::SetCookie => "set-cookie",
            Self::ContentRange => "content-range",
            Self::NoFreshness => "no-freshness",
            Self::StaleOnArrival => "stale-on-arrival",
        }
    }

    /// Every reason, for whoever counts them.
    pub const ALL: [Self; 12] = [
        Self::Method,
        Self::Status,
        Self::Error,
        Self::RequestNoStore,
        Self::NoStore,
        Self::Private,
        Self::Authorization,
        Self::VaryStar,
        Self::SetCookie,
        Self::ContentRange,
        Self::NoFreshness,
        Self::StaleOnArrival,
    ];
}

/// Whether `response` to `request` may be stored under `policy`, and with which numbers.
///
/// `requested_at` and `received_at` are on the steady line; `wall_now` is the calendar at reception. After a
/// validation, `response` is the stored status with the merged head ([`update`](super::update)).
///
/// # Errors
/// The first reason that forbids it; the origin's word is asked before the policy's.
pub fn storable<F: Fields, G: Fields>(
    request: &RequestHead<'_, F>,
    response: &ResponseHead<'_, G>,
    policy: &Policy,
    requested_at: Timestamp,
    received_at: Timestamp,
    wall_now: Timestamp,
) -> Result<Storable, NotStored> {
    let Governing { control, targeted } = Governing::of(response.fields, policy);
    allowed_by_request(request, policy)?;
    allowed_by_response(response, &control)?;
    if !policy.authorization_ends_here
        && request.has(&header::AUTHORIZATION)
        && !shared_despite_authorization(&control)
    {
        return Err(NotStored::Authorization);
    }
    let vary = VarySpec::of(response.fields, request.fields, policy).ok_or(NotStored::VaryStar)?;
    let lifetime = lifetime(response, &control, targeted, policy, wall_now)?;
    if *request.method == Method::POST && !answers_get(request, response, lifetime) {
        return Err(NotStored::Method);
    }
    let strip = strip(response, &control, lifetime, policy)?;
    let freshness = Freshness::new(
        received_at,
        initial_age(response.fields, requested_at, received_at, wall_now),
        capped(lifetime.seconds, policy),
        stale::windows(&control, policy, response.status),
        flags(&control, lifetime, policy),
    );
    useful(response.fields, &freshness, lifetime, policy, received_at)?;
    Ok(Storable { freshness, vary, strip })
}

fn allowed_by_request<F: Fields>(request: &RequestHead<'_, F>, policy: &Policy) -> Result<(), NotStored> {
    if *request.method != Method::GET && *request.method != Method::POST {
        return Err(NotStored::Method);
    }
    if RequestControl::of(request.fields, policy).no_store {
        return Err(NotStored::RequestNoStore);
    }
    Ok(())
}

fn allowed_by_response<G: Fields>(
    response: &ResponseHead<'_, G>,
    control: &CacheControl,
) -> Result<(), NotStored> {
    let status = response.status;
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err(NotStored::Status);
    }
    if status == StatusCode::PARTIAL_CONTENT && partial::content_range(response.fields).is_none() {
        return Err(NotStored::ContentRange);
    }
    // RFC 9111 §5.2.2.3: one who understands the status goes by its rules, one who does not stores nothing.
    let understood = status.canonical_reason().is_some();
    let must_understand = control.has(CacheControl::MUST_UNDERSTAND);
    if must_understand && !understood {
        return Err(NotStored::Status);
    }
    if control.has(CacheControl::NO_STORE) && !must_understand {
        return Err(NotStored::NoStore);
    }
    if control.has(CacheControl::PRIVATE) {
        return Err(NotStored::Private);
    }
    Ok(())
}

/// RFC 9111 §3.5.
fn shared_despite_authorization(control: &CacheControl) -> bool {
    control.has(CacheControl::PUBLIC)
        || control.has(CacheControl::MUST_REVALIDATE)
        || control.s_maxage.seconds().is_some()
}

/// A lifetime that was decided on.
#[derive(Clone, Copy)]
struct Decided {
    seconds: u32,
    /// The response named it, or the operator set it for all.
    explicit: bool,
    /// Neither named nor guessed: to be validated before each use.
    unknown: bool,
}

impl Decided {
    const fn explicit(seconds: u32) -> Self {
        Self { seconds, explicit: true, unknown: false }
    }

    const fn guessed(seconds: u32) -> Self {
        Self { seconds, explicit: false, unknown: false }
    }

    const UNKNOWN: Self = Self { seconds: 0, explicit: false, unknown: true };
}

fn lifetime<G: Fields>(
    response: &ResponseHead<'_, G>,
    control: &CacheControl,
    targeted: bool,
    policy: &Policy,
    wall_now: Timestamp,
) -> Result<Decided, NotStored> {
    let named = Lifetime::named(control, response.fields, targeted, wall_now);
    if response.status.as_u16() >= 400 {
        return error_lifetime(response, control, named, policy, wall_now);
    }
    if let Some(ttl) = policy.ttl_override {
        return Ok(Decided::explicit(clamp_secs(ttl)));
    }
    match named {
        Lifetime::Named(seconds) => Ok(Decided::explicit(seconds)),
        Lifetime::Guessed(_) | Lifetime::Unknown => {
            guess(response, control, policy.default_ttl, policy, wall_now)
        }
    }
}

/// Errors live as the policy says; the origin is heard where that cannot be turned against others.
fn error_lifetime<G: Fields>(
    response: &ResponseHead<'_, G>,
    control: &CacheControl,
    named: Lifetime,
    policy: &Policy,
    wall_now: Timestamp,
) -> Result<Decided, NotStored> {
    let errors = &policy.errors;
    let gone = matches!(response.status.as_u16(), 404 | 410);
    let heard = errors.by_origin || gone || response.status == StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS;
    let ours = match response.status.as_u16() {
        404 | 410 => errors.gone_ttl,
        400..=499 => errors.client_ttl,
        _ => errors.server_ttl,
    };
    match (named, ours) {
        (Lifetime::Named(seconds), _) if heard => Ok(Decided::explicit(seconds)),
        (Lifetime::Named(seconds), Some(limit)) => Ok(Decided::explicit(seconds.min(clamp_secs(limit)))),
        (Lifetime::Guessed(_) | Lifetime::Unknown, Some(ttl)) => Ok(Decided::guessed(clamp_secs(ttl))),
        (Lifetime::Guessed(_) | Lifetime::Unknown, None) if heard => {
            guess(response, control, None, policy, wall_now)
        }
        (_, None) => Err(NotStored::Error),
    }
}

/// A lifetime for a response that names none (RFC 9111 §4.2.2).
fn guess<G: Fields>(
    response: &ResponseHead<'_, G>,
    control: &CacheControl,
    default_ttl: Option<std::time::Duration>,
    policy: &Policy,
    wall_now: Timestamp,
) -> Result<Decided, NotStored> {
    if !heuristically_cacheable(response.status) && !control.has(CacheControl::PUBLIC) {
        return Err(NotStored::NoFreshness);
    }
    if says_pragma_no_cache(response.fields) {
        return Ok(Decided::UNKNOWN);
    }
    if let Some(ttl) = default_ttl {
        return Ok(Decided::guessed(clamp_secs(ttl)));
    }
    let guessed = policy.heuristic.map(|heuristic| Lifetime::guessed(response.fields, heuristic, wall_now));
    Ok(match guessed {
        Some(Lifetime::Guessed(seconds)) => Decided::guessed(seconds),
        _ => Decided::UNKNOWN,
    })
}

/// `Pragma` means nothing in a response (RFC 9111 §5.4), but whoever writes it does not want a guess.
fn says_pragma_no_cache<G: Fields>(fields: &G) -> bool {
    fields
        .values(&header::PRAGMA)
        .flat_map(super::cache_control::Directives::new)
        .any(|directive| directive.name.eq_ignore_ascii_case(b"no-cache"))
}

/// The answer to a `POST` is one to a later `GET` when it names itself so and its lifetime (RFC 9110 §9.3.3).
fn answers_get<F: Fields, G: Fields>(
    request: &RequestHead<'_, F>,
    response: &ResponseHead<'_, G>,
    lifetime: Decided,
) -> bool {
    lifetime.explicit
        && response.status.is_success()
        && invalidate::content_location_is_target(&request.target, response.fields)
}

/// The fields to leave out, or the refusal of a response that sets cookies.
fn strip<G: Fields>(
    response: &ResponseHead<'_, G>,
    control: &CacheControl,
    lifetime: Decided,
    policy: &Policy,
) -> Result<Vec<HeaderName>, NotStored> {
    let mut strip = control.fields_withheld.clone();
    let cookies = COOKIES.into_iter().any(|name| response.fields.has(&name) && !strip.contains(&name));
    if cookies {
        match policy.set_cookie {
            SetCookie::Strip => strip.extend(COOKIES),
            SetCookie::Store if lifetime.explicit => {}
            SetCookie::Store | SetCookie::Refuse => return Err(NotStored::SetCookie),
        }
    }
    Ok(strip)
}

fn flags(control: &CacheControl, lifetime: Decided, policy: &Policy) -> u8 {
    let mut flags = 0;
    if control.has(CacheControl::NO_CACHE) {
        flags |= Freshness::NO_CACHE;
    }
    if stale::must_revalidate(control, policy) {
        flags |= Freshness::MUST_REVALIDATE;
    }
    if lifetime.explicit {
        flags |= Freshness::EXPLICIT;
    }
    if control.has(CacheControl::IMMUTABLE) {
        flags |= Freshness::IMMUTABLE;
    }
    flags
}

/// Keeps out what could never be used: not fresh, not to be validated, not to be used stale.
fn useful<G: Fields>(
    fields: &G,
    freshness: &Freshness,
    lifetime: Decided,
    policy: &Policy,
    now: Timestamp,
) -> Result<(), NotStored> {
    if has_validator(fields) {
        return Ok(());
    }
    if lifetime.unknown || freshness.no_cache() {
        return Err(NotStored::NoFreshness);
    }
    let windows = freshness.windows();
    let usable_stale = !freshness.must_revalidate()
        && (windows.while_revalidate_secs > 0
            || windows.if_error_secs > 0
            || policy.honour.contains(RequestDirectives::MAX_STALE));
    if freshness.is_fresh(now) || (usable_stale && lifetime.seconds > 0) {
        Ok(())
    } else {
        Err(NotStored::StaleOnArrival)
    }
}

const COOKIES: [HeaderName; 2] = [header::SET_COOKIE, HeaderName::from_static("set-cookie2")];
