//! The one answer of the store to a request.
//!
//! [`Lookup`] is taken under the lock of the key's shard whenever it promises more than a fresh hit, so that
//! between "not there" and "I fetch it" nobody else can begin the same fetch. Each arm holds a value that could not
//! exist earlier: a [`Hit`] may be sent, a [`Fill`] must be ended, a [`Follower`] waits.

use std::sync::Arc;

use http::Method;

use crate::coalesce::{Fill, Follower};
use crate::entry::StoredResponse;
use crate::key::CacheKey;
use crate::purge::Resource;
use crate::rules::partial::{self, Answer, Held};
use crate::rules::reuse::{MustValidate, NoMatch, StaleUse};
use crate::rules::validator::if_range_holds;
use crate::rules::vary::Match;
use crate::rules::{Fields, Purged, RequestControl, RequestHead, Reuse, VarySpec, reuse};
use crate::store::CacheStore;
use crate::tiers::objects::Slot;
use crate::tiers::promotion::Promotion;
use crate::timestamp::Timestamp;

/// What the store can do for a request.
#[derive(Debug)]
pub enum Lookup {
    /// Send it.
    Fresh(Hit),
    /// Send it: it was read from disk just now, and memory does not keep it.
    FreshOnDisk(Hit),
    /// Send it, stale as it is; with a [`Fill`], refresh it meanwhile.
    Stale(Hit, Option<Fill>),
    /// Another request is fetching it: wait and stream along.
    Filling(Follower),
    /// Bring it from disk into memory, and look up again.
    OnDisk(Promotion),
    /// Fetch it.
    Miss(Fill),
    /// The client wants it from the cache only, and it is not there.
    OnlyIfCached,
}

/// A stored response that may be sent now.
#[derive(Debug)]
pub struct Hit {
    /// The response.
    pub stored: Arc<StoredResponse>,
    /// What allows it although it is stale.
    pub stale: Option<Stale>,
}

/// What allows a stale answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Stale {
    /// A rule that holds while the origin is well.
    Use(StaleUse),
    /// The origin failed (RFC 5861 §4).
    Error,
}

impl Stale {
    /// A short name for `Cache-Status` and log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Use(stale) => stale.as_str(),
            Self::Error => "stale-if-error",
        }
    }
}

/// Why the origin must be asked (RFC 9211 §2.2, `fwd`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Why {
    /// Nothing is stored for the URI.
    UriMiss,
    /// What is stored answers other requests.
    VaryMiss,
    /// It was purged.
    Purged,
    /// A part is stored, not the one asked for.
    Partial,
    /// What is stored must be confirmed first.
    Validate(MustValidate),
    /// Another cache asks, which knows of a purge that may not have come here yet.
    Behind,
}

impl Why {
    /// The value of `fwd` (RFC 9211 §2.2).
    pub const fn fwd(self) -> &'static str {
        match self {
            Self::UriMiss | Self::Purged => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Partial => "partial",
            Self::Behind => "request",
            Self::Validate(why) => match why {
                MustValidate::Stale | MustValidate::Purged | MustValidate::NoCache => "stale",
                MustValidate::ClientNoCache | MustValidate::ClientMaxAge | MustValidate::ClientMinFresh => {
                    "request"
                }
            },
        }
    }

    /// A reason beyond [`Why::fwd`], if there is one.
    pub const fn detail(self) -> Option<&'static str> {
        match self {
            Self::UriMiss | Self::VaryMiss | Self::Partial | Self::Validate(MustValidate::Stale) => None,
            Self::Purged => Some("purged"),
            Self::Behind => Some("purge-behind"),
            Self::Validate(why) => Some(why.as_str()),
        }
    }
}

/// The variants of one resource, newest first; immutable, replaced whole.
#[derive(Debug, Default)]
pub(crate) struct Variants(Box<[Variant]>);

#[derive(Clone, Debug)]
pub(crate) struct Variant {
    pub(crate) key: CacheKey,
    pub(crate) vary: VarySpec,
}

impl Variants {
    /// A list as it was written down, newest first; what is beyond [`VARIANTS_MAX`] is left out.
    pub(crate) fn from_list(mut list: Vec<Variant>) -> Self {
        list.truncate(VARIANTS_MAX);
        Self(list.into())
    }

    /// With `variant` as the newest; the oldest goes when there are more than [`VARIANTS_MAX`]. Returns it too.
    pub(crate) fn with(&self, variant: Variant) -> (Self, Option<CacheKey>) {
        let mut list = Vec::with_capacity(self.0.len() + 1);
        list.push(variant);
        for old in &self.0 {
            if list.first().is_some_and(|new| new.key != old.key) {
                list.push(old.clone());
            }
        }
        let dropped = if list.len() > VARIANTS_MAX { list.pop().map(|old| old.key) } else { None };
        (Self(list.into()), dropped)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Variant> {
        self.0.iter()
    }

    pub(crate) fn newest(&self) -> Option<&Variant> {
        self.0.first()
    }

    pub(crate) fn weight(&self) -> usize {
        256 + self.0.iter().map(|variant| 160 + variant.vary.entries().count() * 96).sum::<usize>()
    }
}

/// What a look into the tiers found, before anything about flights is known.
pub(crate) enum Found {
    Usable(Hit),
    /// There is something, but not to be sent as it is.
    Unusable(Arc<StoredResponse>, Why),
    /// Nothing in memory; where the disk may have it.
    Nothing(Why, Option<CacheKey>),
}

impl Found {
    /// Whether memory has nothing under the resource's key, and so no list of variants either.
    pub(crate) const fn is_unknown(&self) -> bool {
        // Of variants, and of what was purged, something is known.
        matches!(self, Self::Nothing(Why::UriMiss, Some(_)))
    }
}

/// Looks for a response that answers `request`, without any lock but the tier's own.
pub(crate) fn find<F: Fields>(
    store: &CacheStore,
    resource: &Resource<'_>,
    request: &RequestHead<'_, F>,
    control: &RequestControl,
    now: Timestamp,
) -> Found {
    let objects = store.objects();
    let judge = |stored: Arc<StoredResponse>| {
        let purged = store.purged(&stored, resource);
        judge(stored, purged, request, control, now)
    };
    match objects.find(resource.key) {
        None => Found::Nothing(Why::UriMiss, Some(resource.key)),
        Some(Slot::Response(stored)) => judge(stored),
        Some(Slot::Variants(variants)) => {
            let (mut second, mut absent) = (None, None);
            for variant in variants.iter() {
                let matched = variant.vary.matches(request.fields);
                if matched == Match::No || (matched == Match::ByLanguage && second.is_some()) {
                    continue;
                }
                let Some(Slot::Response(stored)) = objects.find(variant.key) else {
                    absent = absent.or(Some(variant.key).filter(|_| matched == Match::Exact));
                    continue;
                };
                if store.purged(&stored, resource) == Purged::Hard {
                    continue;
                }
                if matched == Match::Exact {
                    return judge(stored);
                }
                second = Some(stored);
            }
            match second {
                Some(stored) => judge(stored),
                None => Found::Nothing(Why::VaryMiss, absent),
            }
        }
    }
}

/// Whether a stored response answers `request`.
#[inline]
pub(crate) fn judge<F: Fields>(
    stored: Arc<StoredResponse>,
    purged: Purged,
    request: &RequestHead<'_, F>,
    control: &RequestControl,
    now: Timestamp,
) -> Found {
    if let Some(held) = stored.held()
        && !covers(held, &stored, request)
    {
        return match purged {
            Purged::No => Found::Unusable(stored, Why::Partial),
            Purged::Soft(_) | Purged::Hard => Found::Nothing(Why::Purged, None),
        };
    }
    match reuse(&stored.freshness, stored.vary(), request, control, purged, now) {
        Reuse::Fresh => Found::Usable(Hit { stored, stale: None }),
        Reuse::Stale(stale) => Found::Usable(Hit { stored, stale: Some(Stale::Use(stale)) }),
        Reuse::MustValidate(why) => Found::Unusable(stored, Why::Validate(why)),
        Reuse::NoMatch(NoMatch::Purged) => Found::Nothing(Why::Purged, None),
        Reuse::NoMatch(NoMatch::Vary) => Found::Nothing(Why::VaryMiss, None),
        Reuse::NoMatch(NoMatch::Method) => Found::Nothing(Why::UriMiss, None),
    }
}

/// Whether a stored partial can answer the request: a GET for ranges that it holds, whose `If-Range` names it.
fn covers<F: Fields>(held: &Held, stored: &StoredResponse, request: &RequestHead<'_, F>) -> bool {
    if *request.method == Method::HEAD {
        return held.complete().is_some();
    }
    let requested = partial::requested(request).filter(|_| if_range_holds(request, &stored.fields()));
    matches!(held.answer(requested.as_ref()), Answer::Spans(_) | Answer::Whole | Answer::Unsatisfiable)
}

/// Variants kept of one resource. FAULTS C8.
pub(crate) const VARIANTS_MAX: usize = 64;
