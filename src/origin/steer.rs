//! The choice among pools: where a client is, shares, or what it sent.
//!
//! ```text
//! rule ─► the pool chosen ─┬─ has an origin available ──► asked first
//!                          └─ has none ──► the next: fallbacks, in order
//! ```
//!
//! `serve` asks for an [`Itinerary`] when a request has to go to an origin, and `explain` for the same of a request that is only
//! imagined. [`arm`] is the choice before anybody's health is looked at: what a split keys by.
//!
//! Where it is sticky, a client draws its pool by weighted rendezvous hashing: moving a share moves only the clients that
//! it has to, and a pool that is away gives only its own to others.
//!
//! Invariant: an itinerary has a pool where the steering has one, and each at most once. The choice is a function of the
//! visitor, the shares and the turn.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use geo::{Code, Place, kilometres};

use crate::config::{By, PlaceRule, Shares, Steer, Steering, Sticky, ValueRule};
use crate::listener::fields::{FieldId, Fields};

/// What is known of who asks.
#[derive(Clone, Copy, Debug)]
pub struct Visitor<'v> {
    /// The client's address.
    pub address: IpAddr,
    /// Where that is, if it was looked up and is known.
    pub place: Option<Place>,
    /// The request's fields, as received.
    pub fields: &'v Fields,
    /// The cookie that it is being given with the answer.
    pub mark: Option<&'v str>,
}

/// The pools to ask, in this order.
#[derive(Clone, Debug)]
pub struct Itinerary {
    /// Asked first.
    pub first: Arc<str>,
    /// Asked when those before failed, where that is safe.
    pub others: Vec<Arc<str>>,
    /// Why the first was chosen.
    pub why: Why,
    /// Pools that would have come before the first and have no origin available.
    pub passed_over: Vec<Arc<str>>,
}

/// Why a pool was chosen.
#[derive(Clone, PartialEq, Debug)]
pub enum Why {
    /// There is no other.
    Only,
    /// It is the first in order.
    First,
    /// Its share of the requests.
    Share(u32, u32),
    /// Its share of the clients, and this client is among them.
    Sticky(u32, u32),
    /// A rule names the client's country, continent or region.
    Rule(usize, Code),
    /// A rule names what the client sent; the value is not repeated.
    Value(usize),
    /// No rule matches.
    NoRule,
    /// Nobody knows where the client is.
    NoPlace,
    /// The nearest, so many kilometres away.
    Nearest(u32),
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => f.write_str("the only pool"),
            Self::First => f.write_str("the first in order"),
            Self::Share(share, all) => write!(f, "by weight, {share} of {all} requests"),
            Self::Sticky(share, all) => write!(f, "by weight, {share} of {all} clients, this one always"),
            Self::Rule(nth, code) => write!(f, "rule {} has {code}", nth.saturating_add(1)),
            Self::Value(nth) => write!(f, "rule {} has what the request says", nth.saturating_add(1)),
            Self::NoRule => f.write_str("no rule matches"),
            Self::NoPlace => f.write_str("the client's place is not known"),
            Self::Nearest(km) => write!(f, "the nearest, {km} km away"),
        }
    }
}

/// The pool that the rule chooses, whoever is well; a request of a split is keyed by it. `turn` spreads what is by weight.
pub fn arm<'s>(steering: &'s Steering, visitor: &Visitor<'_>, turn: u64) -> Option<&'s Arc<str>> {
    chosen(steering, visitor, turn, &|_| true).map(|(pool, _)| pool)
}

/// The pools to ask; `available` tells which have an origin that is well.
pub(super) fn itinerary(
    steer: &Steer,
    visitor: &Visitor<'_>,
    turn: u64,
    available: &dyn Fn(&str) -> bool,
) -> Option<Itinerary> {
    let steering = match steer {
        Steer::Pool(pool) => {
            let (first, others, passed_over) = (Arc::clone(pool), Vec::new(), Vec::new());
            return Some(Itinerary { first, others, why: Why::Only, passed_over });
        }
        Steer::By(steering) => steering,
    };
    // What a split keys by is the rule's word; everybody else's share of a pool that is away goes to the others.
    let (pool, why) = match &steering.by {
        By::Weight { .. } if !steering.split => chosen(steering, visitor, turn, available)
            .or_else(|| chosen(steering, visitor, turn, &|_| true))?,
        _ => chosen(steering, visitor, turn, &|_| true)?,
    };
    let mut pools = vec![pool];
    let next = next(steering, visitor);
    for one in next.into_iter().chain(&steering.fallback) {
        if !pools.contains(&one) {
            pools.push(one);
        }
    }
    let (well, away): (Vec<&Arc<str>>, Vec<&Arc<str>>) = pools.iter().partition(|pool| available(pool));
    // Where nobody is well, that says nothing any more.
    let order = if well.is_empty() { pools } else { well };
    let mut order = order.into_iter().cloned();
    let first = order.next()?;
    let passed_over = away.into_iter().filter(|_| first != *pool).cloned().collect();
    Some(Itinerary { first, others: order.collect(), why, passed_over })
}

/// Who comes behind the pool chosen, before the fallbacks.
fn next<'s>(steering: &'s Steering, visitor: &Visitor<'_>) -> Vec<&'s Arc<str>> {
    match &steering.by {
        By::Order(pools) => pools.iter().collect(),
        By::Weight { shares, .. } if !steering.split => {
            let mut others = shares.now();
            others.retain(|(_, share)| *share > 0);
            others.sort_by_key(|(_, share)| std::cmp::Reverse(*share));
            others.into_iter().map(|(pool, _)| pool).collect()
        }
        By::Nearest { pools, otherwise } => {
            let Some(from) = visitor.place.and_then(|place| place.coordinates) else {
                return vec![otherwise];
            };
            let mut by_distance: Vec<_> = pools.iter().collect();
            by_distance
                .sort_by(|(_, one), (_, other)| kilometres(from, *one).total_cmp(&kilometres(from, *other)));
            by_distance.into_iter().map(|(pool, _)| pool).chain([otherwise]).collect()
        }
        By::Weight { .. } | By::Geo { .. } | By::Field { .. } | By::Cookie { .. } => Vec::new(),
    }
}

fn chosen<'s>(
    steering: &'s Steering,
    visitor: &Visitor<'_>,
    turn: u64,
    available: &dyn Fn(&str) -> bool,
) -> Option<(&'s Arc<str>, Why)> {
    Some(match &steering.by {
        By::Order(pools) => (pools.first()?, Why::First),
        By::Weight { shares, sticky } => return by_weight(shares, sticky.as_ref(), visitor, turn, available),
        By::Geo { rules, otherwise } => {
            let Some(place) = visitor.place else { return Some((otherwise, Why::NoPlace)) };
            let mut found =
                rules.iter().enumerate().filter_map(|(nth, rule)| Some((nth, rule, matched(rule, &place)?)));
            found
                .next()
                .map_or((otherwise, Why::NoRule), |(nth, rule, code)| (&rule.pool, Why::Rule(nth, code)))
        }
        By::Nearest { pools, otherwise } => {
            let Some(from) = visitor.place.and_then(|place| place.coordinates) else {
                return Some((otherwise, Why::NoPlace));
            };
            let nearest = geo::nearest(from, pools.iter().map(|(_, at)| *at));
            let (pool, at) = pools.get(nearest?)?;
            (pool, Why::Nearest(whole(kilometres(from, *at))))
        }
        By::Field { name, rules, otherwise } => {
            by_value(visitor.fields.named(name.as_str()), rules, otherwise)
        }
        By::Cookie { name, rules, otherwise } => by_value(cookies(visitor.fields, name), rules, otherwise),
    })
}

/// What a rule says of a place.
fn matched(rule: &PlaceRule, place: &Place) -> Option<Code> {
    let of = |code: Option<Code>, list: &[Code]| code.filter(|code| list.contains(code));
    let region = place.country.zip(place.region).filter(|both| rule.regions.contains(both));
    region
        .map(|(_, region)| region)
        .or_else(|| of(place.country, &rule.countries))
        .or_else(|| of(place.continent, &rule.continents))
}

fn by_value<'s, 'v>(
    values: impl Iterator<Item = &'v [u8]>,
    rules: &'s [ValueRule],
    otherwise: &'s Arc<str>,
) -> (&'s Arc<str>, Why) {
    // The first value only: which of several counts must not depend on who reads it.
    let Some(value) = { values }.next() else { return (otherwise, Why::NoRule) };
    let fits = |rule: &ValueRule| {
        rule.values.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => value.starts_with(prefix.as_bytes()),
            None => value == pattern.as_bytes(),
        })
    };
    let found = rules.iter().enumerate().find(|(_, rule)| fits(rule));
    found.map_or((otherwise, Why::NoRule), |(nth, rule)| (&rule.pool, Why::Value(nth)))
}

/// The values of a cookie.
fn cookies<'f>(fields: &'f Fields, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
    fields.all(FieldId::Cookie).flat_map(|line| line.split(|byte| *byte == b';')).filter_map(move |pair| {
        let at = memchr::memchr(b'=', pair)?;
        let (found, value) = pair.split_at_checked(at)?;
        (found.trim_ascii() == name.as_bytes()).then(|| value.get(1..).unwrap_or_default().trim_ascii())
    })
}

/// The value of the cookie by which a client is known, if it sent one that can be.
pub fn known_by<'f>(fields: &'f Fields, name: &'f str) -> Option<&'f [u8]> {
    cookies(fields, name).next().filter(|value| (1..=MARK_BYTES_MAX).contains(&value.len()))
}

fn by_weight<'s>(
    shares: &'s Shares,
    sticky: Option<&Sticky>,
    visitor: &Visitor<'_>,
    turn: u64,
    available: &dyn Fn(&str) -> bool,
) -> Option<(&'s Arc<str>, Why)> {
    let mut pools = shares.now();
    let all: u64 = pools.iter().map(|(_, share)| u64::from(*share)).sum();
    pools.retain(|(pool, share)| *share > 0 && available(pool));
    let all = u32::try_from(all).unwrap_or(u32::MAX);
    let address: Box<[u8]>;
    let who = match sticky {
        None => return spread(&pools, turn).map(|(pool, share)| (pool, Why::Share(share, all))),
        Some(Sticky::Cookie { name, .. }) => match (known_by(visitor.fields, name), visitor.mark) {
            (Some(known), _) => known,
            (None, Some(mark)) => mark.as_bytes(),
            (None, None) => {
                address = bytes_of(visitor.address);
                &address
            }
        },
        Some(Sticky::Client) => {
            address = bytes_of(visitor.address);
            &address
        }
    };
    let drawn = pools.iter().max_by(|(one, share), (other, others)| {
        score(who, one, *share).total_cmp(&score(who, other, *others))
    });
    drawn.map(|(pool, share)| (*pool, Why::Sticky(*share, all)))
}

fn bytes_of(address: IpAddr) -> Box<[u8]> {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.octets().into(),
        // A client has a network of these, and changes its address within it.
        IpAddr::V6(v6) => v6.octets().get(..8).unwrap_or_default().into(),
    }
}

/// The pool at `turn`.
///
/// Multiples of the golden ratio fill the circle evenly whatever stride a route sees of them, so each route gets
/// its weights to within a few requests although all routes share one counter.
fn spread<'p>(pools: &[(&'p Arc<str>, u32)], turn: u64) -> Option<(&'p Arc<str>, u32)> {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let total: u64 = pools.iter().map(|(_, share)| u64::from(*share)).sum();
    let turn = turn.wrapping_mul(GOLDEN);
    let mut point = u64::try_from((u128::from(turn) * u128::from(total)) >> 64).unwrap_or(0);
    for (pool, share) in pools {
        match point.checked_sub(u64::from(*share)) {
            Some(rest) => point = rest,
            None => return Some((pool, *share)),
        }
    }
    None
}

/// Weighted rendezvous hashing: of several exponential draws with these rates the largest wins by its weight's share.
#[allow(clippy::cast_precision_loss)] // 53 bits are what a draw has
fn score(who: &[u8], pool: &str, share: u32) -> f64 {
    let bits = hash(who, pool.as_bytes()) >> 11;
    let draw = (bits as f64 + 0.5) / (1_u64 << 53) as f64;
    -f64::from(share) / draw.ln()
}

/// FNV-1a over both, then mixed as `MurmurHash3` ends. The same on every node, so that a client has one pool in a fleet; who aims at
/// it chooses nobody's pool but its own.
fn hash(who: &[u8], pool: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in who.iter().chain(&[0xff]).chain(pool) {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // the globe has 20,015 km
fn whole(kilometres: f64) -> u32 {
    kilometres.round() as u32
}

/// Counts the turns of what is spread by weight; all routes share it.
#[derive(Debug, Default)]
pub(super) struct Turns(AtomicU64);

impl Turns {
    /// The next.
    pub(super) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::Relaxed)
    }

    /// The one that comes next.
    pub(super) fn coming(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Bytes of a cookie that a client is known by; a longer one was not given here.
const MARK_BYTES_MAX: usize = 128;
