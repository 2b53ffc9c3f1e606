//! 2 Request -> Route: which site and route a request belongs to, under which key, and what of it an origin may see.
//!
//! Called by `serve` for each request, and by purge and `explain` for a URL as text. A [`Route`] is the value that could
//! not exist earlier: its authority, path and query are in the one normal form (`normal.rs`) from which the key
//! is made *and* the request line to the origin, so that no two requests share an answer that an origin would have
//! told apart. `matcher.rs` finds site and route, `query.rs` treats the query as the route wants, `policy.rs` says whether
//! the cache may be used and, with `unkeyed.rs`, which fields go on.
//!
//! Invariant: of requests that may be cached, equal keys have equal forwards and equal forwards have equal keys.
//! A request in normal form is routed without allocating; a part that had to be changed costs one copy.
//! Deliberately absent: what the response says (`cache_store::rules`), which origin is asked (`origin/`).

pub mod access;
mod answer;
mod authority;
mod condition;
pub(crate) mod ending;
mod matcher;
mod normal;
mod policy;
mod query;
mod rewrite;
mod unkeyed;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::IpAddr;
use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use cache_store::key::{CacheKey, Keyer};
use cache_store::purge::Resource;
use geo::Code;
use http::{HeaderName, Method};

pub(crate) use answer::{Asked, OwnAnswer};
pub use authority::Authority;
pub use normal::{Malformed, Normal, Target};
pub use policy::Bypass;
pub(crate) use unkeyed::is_alike;

use crate::config::countries::COUNTRIES;
use crate::config::template::Values;
use crate::config::{RoutePolicy, Site};
use crate::listener::fields::{FieldId, FieldLine, Fields};
use crate::listener::request::{Request, Scheme};
use crate::observe::id::RequestName;
use crate::observe::metrics::Metrics;
use crate::places::Places;
use access::{Guard, Inspections, SetupError};
pub use condition::Caller;
use condition::Facts;
use matcher::{CompiledPath, Matched, Sites};
use policy::Purpose;
use rewrite::Unwritable;

/// All sites and routes, compiled from the settings.
#[derive(Debug)]
pub struct RouteTable {
    sites: Sites,
}

/// Where a request goes and what may be done with it.
#[derive(Clone, Debug)]
pub struct Route<'t, 'r> {
    /// The site's place in the counters.
    pub site: u16,
    /// The site's name in metrics.
    pub site_name: &'t Arc<str>,
    /// What the site or route decides.
    pub policy: &'t Arc<RoutePolicy>,
    /// The route's place in the site's settings; none: the site itself.
    pub route: Option<usize>,
    /// Nothing is to be done beside caching.
    pub is_plain: bool,
    /// Who gets an answer, unless everybody does.
    pub guard: Option<&'t Arc<Guard>>,
    /// Why the cache cannot answer, if so.
    pub bypass: Option<Bypass>,
    /// The request's name, where the policy writes it into a field.
    pub name: Option<RequestName>,
    scheme: Scheme,
    authority: Text<'r>,
    host_len: usize,
    /// Path and query as clients see them, treated as the route wants.
    target: Text<'r>,
    path_len: usize,
    /// Under which host and port answers are kept and origins are asked for what may be stored, where that is not `authority`.
    shared: Option<Box<[u8]>>,
    /// What is forwarded, where that is not `target`.
    rewritten: Option<Box<[u8]>>,
    /// What the key is made of, where that is not `target`: a request that passes keeps its query.
    keyed: Option<Box<[u8]>>,
    /// Which of the answers that the route keeps apart it is about, if it does; see [`arm_key`].
    pub arm: Option<Box<[u8]>>,
    /// What the key has of the route that was chosen by more than the URL.
    lane: Option<&'t [u8]>,
    /// The route's path, which knows what its stars and groups took.
    pattern: Option<&'t CompiledPath>,
    /// Fields that the site's routes are chosen by.
    chosen_by: &'t [HeaderName],
    /// Whether the site has routes that are chosen by what is not in the URL.
    has_conditions: bool,
    /// Whether the route was chosen by the ending of the path: what it stores is to be of that kind; see [`ending`].
    pub(crate) by_ending: bool,
}

/// Why a request has no route.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RouteRefusal {
    /// It cannot be understood in one way only: 400.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// `Connection` names a field that is not the connection's (FAULTS S12): 400.
    #[error("Connection nominates a field that belongs to the message")]
    Nominated,
    /// An origin may read its path as another that has other access rules: 403.
    #[error("the path may be read as another, which has other access rules")]
    Disputed,
    /// Its path cannot be written anew as the route wants: 400.
    #[error("the path leads out of where the route writes it to")]
    Unwritable,
    /// Its target is too long once it is written anew: 414.
    #[error("the target is too long once it is written anew")]
    Long,
    /// No site has this host: 421.
    #[error("no site is configured for this host")]
    NoSite,
}

impl RouteRefusal {
    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Malformed(malformed) => malformed.as_str(),
            Self::Nominated => "connection-nominates",
            Self::Disputed => "path-disputed",
            Self::Unwritable => "rewrite-path",
            Self::Long => "rewrite-length",
            Self::NoSite => "no-site",
        }
    }
}

impl RouteTable {
    /// Compiles the sites of the settings, whose places in the counters are those in the settings; reads the files that their access
    /// rules name.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn new(sites: &[Site]) -> Result<Self, SetupError> {
        Ok(Self { sites: Sites::new(sites, |at, _| u16::try_from(at).unwrap_or(u16::MAX), None)? })
    }

    /// The same with the places of `metrics`.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn counted(sites: &[Site], metrics: &Metrics) -> Result<Self, SetupError> {
        Ok(Self { sites: Sites::new(sites, |_, site| metrics.place_of(&site.name), None)? })
    }

    /// The table of other settings, which goes on with what this one's access rules have counted, and whom they know, where they
    /// say the same.
    ///
    /// # Errors
    /// [`SetupError`]
    pub fn renewed(&self, sites: &[Site], metrics: &Metrics) -> Result<Self, SetupError> {
        Ok(Self { sites: Sites::new(sites, |_, site| metrics.place_of(&site.name), Some(&self.sites))? })
    }

    /// The route of a request, whose client is looked up in `places` where a route is chosen by country.
    ///
    /// # Errors
    /// [`RouteRefusal`]: always the client's fault.
    pub fn route<'r>(
        &self,
        request: &'r Request,
        places: Option<&Places>,
    ) -> Result<Route<'_, 'r>, RouteRefusal> {
        self.route_parts(
            &request.method,
            request.scheme,
            request.authority(),
            request.target(),
            &request.fields,
            Caller::new(&request.client, places),
        )
    }

    /// The route of a request in its parts.
    ///
    /// # Errors
    /// [`RouteRefusal`]
    pub fn route_parts<'r, 'c>(
        &self,
        method: &Method,
        scheme: Scheme,
        received_authority: &'r [u8],
        received_target: &'r [u8],
        fields: &Fields,
        client: impl Into<Caller<'c>>,
    ) -> Result<Route<'_, 'r>, RouteRefusal> {
        let client = client.into();
        refuse_nominations(fields)?;
        let Normal { scheme, authority, target } = Normal::of(scheme, received_authority, received_target)?;
        let site = self.sites.of_host(authority.host()).ok_or(RouteRefusal::NoSite)?;
        let shared = site.shared(&authority);
        let facts = Facts { fields, query: target.query(), client };
        let matched = site.route(target.path(), method, &facts);
        if site.is_disputed(target.path(), method, &facts, matched.guard) {
            return Err(RouteRefusal::Disputed);
        }
        let mut bypass = policy::bypass(method, &target, &matched, &facts);
        let path_len = target.path_len();
        let own = matched.guard.map_or(&[][..], |guard| guard.own_parameters());
        let (target, keyed, lane) = if bypass.is_none() {
            (query::treat(target, &matched.policy.query, own), None, matched.lane)
        } else {
            let as_get = site.route(target.path(), &Method::GET, &facts);
            let keyed = as_get.treat(target.clone());
            let target = query::without(target, own);
            let differs = keyed.as_bytes() != target.as_bytes();
            let keyed = differs.then(|| keyed.as_bytes().into());
            (target, keyed, as_get.lane)
        };
        let mut rewritten = None;
        // The star of OPTIONS is no path.
        if !matched.is_plain && !matched.policy.rewrite.is_empty() && target.path() != b"*" {
            // What is forwarded is a function of the key.
            let known_as = shared.is_some().then_some(site.shared_host.as_deref()).flatten();
            let host = known_as.filter(|_| bypass.is_none()).unwrap_or(authority.host());
            let written = written_anew(&matched, scheme, host, &target, client.address)?;
            if bypass.is_none() && policy::is_unclear(&written) {
                bypass = Some(Bypass::Ambiguous);
            }
            rewritten = Some(written.into_bytes().into());
        }
        Ok(Route {
            site: site.index,
            site_name: &site.name,
            policy: matched.policy,
            route: matched.route,
            is_plain: matched.is_plain,
            guard: matched.guard,
            bypass,
            name: None,
            scheme,
            host_len: authority.host().len(),
            authority: Text::of(authority.into_bytes()),
            target: Text::of(target.into_bytes()),
            path_len,
            shared,
            rewritten,
            keyed,
            arm: None,
            lane,
            pattern: matched.pattern,
            chosen_by: matched.chosen_by,
            has_conditions: matched.has_conditions,
            by_ending: matched.by_ending,
        })
    }

    /// Whether a node that is asked for the same with these fields chooses the same route: not all that a route is chosen by goes on
    /// with a request.
    pub(crate) fn is_chosen_too(
        &self,
        route: &Route<'_, '_>,
        method: &Method,
        fields: &Fields,
        client: IpAddr,
    ) -> bool {
        let chosen =
            || self.route_parts(method, route.scheme, &route.authority, &route.target, fields, client);
        !route.has_conditions
            // Another node may know other places.
            || !self.asks_country(route)
                && chosen().is_ok_and(|there| there.route == route.route && there.bypass.is_none())
    }

    /// Whether a route for the path is chosen by country.
    fn asks_country(&self, route: &Route<'_, '_>) -> bool {
        let site = self.sites.of_host(route.host());
        site.is_some_and(|site| site.asks_country(route.path()))
    }

    /// Every key under which an answer for this path and query may be stored: one, or more where routes are chosen by more than
    /// the URL. None where no site has the host, or the URL has no normal form.
    pub fn keys_of(&self, keyer: &Keyer, scheme: Scheme, authority: &[u8], target: &[u8]) -> Vec<CacheKey> {
        match Normal::of(scheme, authority, target) {
            Ok(normal) => self.keys(keyer, &normal),
            Err(_) => Vec::new(),
        }
    }

    /// Host and port under which answers for this one, in normal form, are kept.
    pub fn kept_as<'a>(&self, scheme: Scheme, authority: &'a [u8]) -> Cow<'a, [u8]> {
        let shared = Authority::of(scheme, authority)
            .ok()
            .and_then(|authority| self.sites.of_host(authority.host())?.shared(&authority));
        shared.map_or(Cow::Borrowed(authority), |shared| Cow::Owned(shared.into_vec()))
    }

    /// What is looked into for attacks, counted.
    pub fn inspections(&self) -> &Arc<Inspections> {
        self.sites.inspections()
    }

    /// Whether a site has this host, in normal form and without port.
    pub fn serves(&self, host: &[u8]) -> bool {
        self.sites.of_host(host).is_some()
    }

    /// The keys of a URL as an operator or a program writes it.
    ///
    /// # Errors
    /// [`RouteRefusal::Malformed`], [`RouteRefusal::NoSite`].
    pub fn keys_of_url(&self, keyer: &Keyer, url: &str) -> Result<Vec<CacheKey>, RouteRefusal> {
        let keys = self.keys(keyer, &Normal::from_url(url)?);
        if keys.is_empty() { Err(RouteRefusal::NoSite) } else { Ok(keys) }
    }

    fn keys(&self, keyer: &Keyer, normal: &Normal<'_>) -> Vec<CacheKey> {
        let Some(site) = self.sites.of_host(normal.authority.host()) else { return Vec::new() };
        let shared = site.shared(&normal.authority);
        let authority = shared.as_deref().unwrap_or(normal.authority.as_bytes());
        let mut keys = Vec::with_capacity(1);
        for method in [Method::GET, Method::HEAD] {
            for matched in site.lanes(normal.target.path(), &method) {
                let target = matched.treat(normal.target.clone());
                let key = keyer.primary(normal.scheme.as_str(), authority, target.path(), target.query());
                let key = in_lane(keyer, key, matched.lane);
                if !keys.contains(&key) {
                    keys.push(key);
                }
                // One that is purged is purged on all sides; lanes of one key may have others.
                for arm in arms(matched.policy) {
                    let side = keyer.variant(key, &arm);
                    if !keys.contains(&side) {
                        keys.push(side);
                    }
                }
            }
        }
        keys
    }
}

impl<'t> Route<'t, '_> {
    /// The same without a borrow of the request, for whoever will change it; `fields` are the request's, whose bytes it shares.
    pub fn detached(self, fields: &Fields) -> Route<'t, 'static> {
        let [authority, target] = [self.authority, self.target].map(|part| Text::Own(part.shared(fields)));
        Route { authority, target, ..self }
    }

    /// Host and port in normal form: for `Host`, the rules, purges and the log.
    pub fn authority(&self) -> &[u8] {
        &self.authority
    }

    /// The same as text; it is ASCII.
    pub fn authority_str(&self) -> &str {
        std::str::from_utf8(&self.authority).unwrap_or_default()
    }

    /// Host and port under which its answer is kept, and asked for.
    pub fn kept_as(&self) -> &[u8] {
        self.shared.as_deref().unwrap_or(&self.authority)
    }

    /// The host without its port.
    pub fn host(&self) -> &[u8] {
        self.authority.get(..self.host_len).unwrap_or_default()
    }

    /// Path and query as clients see them, treated as the route wants.
    pub fn public_target(&self) -> &[u8] {
        &self.target
    }

    /// The same as text; it is ASCII.
    pub fn path_str(&self) -> &str {
        std::str::from_utf8(&self.target).unwrap_or_default()
    }

    /// The path alone.
    pub fn path(&self) -> &[u8] {
        self.target.get(..self.path_len).unwrap_or_default()
    }

    /// [`Route::authority`] to be kept; without a copy where the route is detached.
    pub fn authority_bytes(&self) -> Bytes {
        self.authority.to_bytes()
    }

    /// [`Route::public_target`] to be kept; without a copy where the route is detached.
    pub fn target_bytes(&self) -> Bytes {
        self.target.to_bytes()
    }

    /// What stands in the request line towards the origin.
    pub fn forward_target(&self) -> Bytes {
        self.rewritten_target().unwrap_or_else(|| self.target.to_bytes())
    }

    /// The same, where it is not [`Route::public_target`].
    pub fn rewritten_target(&self) -> Option<Bytes> {
        self.rewritten.as_deref().map(Bytes::copy_from_slice)
    }

    /// The `Cookie` of a fill, where not all cookies are forwarded.
    pub fn cookies_for_fill(&self, fields: &Fields) -> Option<Vec<u8>> {
        policy::cookies(fields, self.policy)
    }

    /// The primary key of what the request asks for; of a request that passes, the key that a `GET` for it would have.
    pub fn key(&self, keyer: &Keyer) -> CacheKey {
        let target = self.keyed.as_deref().unwrap_or(&self.target);
        let path = target.get(..self.path_len).unwrap_or_default();
        let query = target.get(self.path_len.saturating_add(1)..);
        let key = keyer.primary(self.scheme.as_str(), self.kept_as(), path, query);
        let key = in_lane(keyer, key, self.lane);
        self.arm.as_deref().map_or(key, |arm| keyer.variant(key, arm))
    }

    /// What the request is about, under its key, as the store finds it.
    pub fn resource(&self, key: CacheKey) -> Resource<'_> {
        Resource { key, authority: self.kept_as(), target: &self.target }
    }

    /// Whether a received field goes to the origin with a request whose answer may be stored. Hop-by-hop fields, framing,
    /// conditions and what the edge says itself are the caller's.
    pub fn keeps_for_fill(&self, line: &FieldLine<'_>) -> bool {
        self.keeps(line, Purpose::Fill)
    }

    /// Whether a received field goes to the origin with a request around the cache.
    pub fn keeps_for_pass(&self, line: &FieldLine<'_>) -> bool {
        self.keeps(line, Purpose::Pass)
    }

    fn keeps(&self, line: &FieldLine<'_>, purpose: Purpose) -> bool {
        let ends_here = line.id == FieldId::Authorization
            && self.guard.is_some_and(|guard| guard.consumes_authorization());
        let is_disguised = || purpose == Purpose::Fill && self.is_disguised(line.name);
        !ends_here && !is_disguised() && policy::keeps(line, self.policy, purpose)
    }

    /// Whether an origin may take a field for one that tells answers apart here, and that this one is not.
    fn is_disguised(&self, name: &[u8]) -> bool {
        let bypass = self.policy.bypass.header.iter().map(|(known, _)| known);
        self.policy.key.headers.iter().chain(bypass).chain(self.chosen_by).any(|known| {
            is_alike(name, known.as_str()) && !name.eq_ignore_ascii_case(known.as_str().as_bytes())
        })
    }
}

/// A part of a route: of the request's own bytes, or its own.
#[derive(Clone, Debug)]
enum Text<'r> {
    Borrowed(&'r [u8]),
    Own(Bytes),
}

impl<'r> Text<'r> {
    fn of(text: Cow<'r, [u8]>) -> Self {
        match text {
            Cow::Borrowed(text) => Self::Borrowed(text),
            Cow::Owned(text) => Self::Own(text.into()),
        }
    }

    fn shared(self, fields: &Fields) -> Bytes {
        match self {
            Self::Borrowed(text) => fields.share(text),
            Self::Own(text) => text,
        }
    }

    fn to_bytes(&self) -> Bytes {
        match self {
            Self::Borrowed(text) => Bytes::copy_from_slice(text),
            Self::Own(text) => text.clone(),
        }
    }
}

impl Deref for Text<'_> {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        match self {
            Self::Borrowed(text) => text,
            Self::Own(text) => text,
        }
    }
}

/// What the key of an answer has beside its URL where a route keeps pools or countries apart; `None` where it does neither. A
/// country that is not in [`COUNTRIES`] counts as unknown: what can be purged is finite.
pub fn arm_key(pool: Option<&str>, country: Option<Option<Code>>) -> Option<Box<[u8]>> {
    let country = country.map(|country| {
        let known = country.filter(|code| COUNTRIES.binary_search(&code.as_str()).is_ok());
        known.map_or_else(|| UNKNOWN_COUNTRY.to_owned(), |code| code.to_string())
    });
    if pool.is_none() && country.is_none() {
        return None;
    }
    // A pool's name has no line feed; without a country there is none.
    Some(format!("arm\n{}\n{}", country.unwrap_or_default(), pool.unwrap_or_default()).into_bytes().into())
}

/// Every side that a route's answers may be on.
fn arms(policy: &RoutePolicy) -> impl Iterator<Item = Box<[u8]>> {
    let pools: Vec<Option<&str>> = if policy.steer.splits() {
        policy.steer.pools().into_iter().map(|pool| Some(&**pool)).collect()
    } else {
        vec![None]
    };
    let countries: Vec<Option<Option<Code>>> = if policy.vary_by_country {
        let known = COUNTRIES.iter().map(|code| Some(Code::new(code)));
        known.chain([Some(None)]).collect()
    } else {
        vec![None]
    };
    pools
        .into_iter()
        .flat_map(move |pool| countries.clone().into_iter().filter_map(move |country| arm_key(pool, country)))
}

/// What the origin is asked for instead.
#[cold]
fn written_anew(
    matched: &Matched<'_>,
    scheme: Scheme,
    host: &[u8],
    target: &Target<'_>,
    client: IpAddr,
) -> Result<Target<'static>, RouteRefusal> {
    let values =
        Values { host, target: target.as_bytes(), path_len: target.path_len(), scheme, client, id: None };
    rewrite::rewritten(&matched.policy.rewrite, matched.pattern, &values).map_err(|unwritable| {
        match unwritable {
            Unwritable::Long => RouteRefusal::Long,
            Unwritable::Malformed => RouteRefusal::Unwritable,
        }
    })
}

/// The key of a URL in the lane of a route.
#[inline]
fn in_lane(keyer: &Keyer, key: CacheKey, lane: Option<&[u8]>) -> CacheKey {
    match lane {
        None => key,
        // What a `Vary` selects begins with a name.
        Some(lane) => keyer.variant(key, &[&[u8::MAX; 8], lane].concat()),
    }
}

/// Refuses a request whose `Connection` takes a field out of the message that others rely on (FAULTS S12).
#[inline]
fn refuse_nominations(fields: &Fields) -> Result<(), RouteRefusal> {
    if fields.has(FieldId::Connection) { refuse_what_it_nominates(fields) } else { Ok(()) }
}

fn refuse_what_it_nominates(fields: &Fields) -> Result<(), RouteRefusal> {
    let names = fields
        .all(FieldId::Connection)
        .flat_map(|line| line.split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii);
    for name in names {
        if !matches!(FieldId::of(name), FieldId::Other) && !is_of_the_connection(FieldId::of(name)) {
            return Err(RouteRefusal::Nominated);
        }
    }
    Ok(())
}

/// In the key of who comes from nowhere known.
const UNKNOWN_COUNTRY: &str = "ZZ";

/// Well-known fields that `Connection` may name. Every other well-known one is the message's.
const fn is_of_the_connection(id: FieldId) -> bool {
    matches!(
        id,
        FieldId::Te | FieldId::Upgrade | FieldId::KeepAlive | FieldId::Trailer | FieldId::ProxyConnection
    )
}
