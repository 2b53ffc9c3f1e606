//! Which site and which of its routes a normalised request belongs to: the settings, compiled for looking up.
//!
//! A site is found by its exact host, else by the longest wildcard, else the one that takes any host. Within it the
//! first route written that matches path, method and conditions decides, else the site's defaults. No look-up allocates. Few
//! routes are tried in order; many are indexed, exact paths and prefixes by hash, so that a site with ten thousand
//! redirected paths costs a request as much as one with ten.
//!
//! Patterns are put into the spelling of a normal path first: `/größe/*` matches what a browser sends.
//! The hash is not keyed: clients look up, only settings insert.
//!
//! A route that is chosen by what is not in the URL has a *lane*: a name that goes into the keys of its answers. So what it
//! brings is never given to a request that another route would have answered, and [`CompiledSite::lanes`] knows every lane of
//! a URL for whoever purges it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use http::{HeaderName, Method};

use super::access::{Guard, Guards, Inspections, Made, SetupError, readings};
use super::authority::Authority;
use super::condition::{Facts, all_hold};
use super::normal::{Target, normal_piece};
use super::query;
use crate::config::{Conditions, HostPattern, PathPattern, Redirect, Route, RoutePolicy, Site};
use crate::listener::request::Scheme;

/// All sites, by host.
#[derive(Debug)]
pub(super) struct Sites {
    compiled: Vec<CompiledSite>,
    exact: ByBytes<usize>,
    wildcard: ByBytes<usize>,
    any: Option<usize>,
    /// What their access rules have counted, for the settings after.
    made: Made,
}

/// One site.
#[derive(Debug)]
pub(super) struct CompiledSite {
    /// Its place in the counters.
    pub(super) index: u16,
    /// Its name in metrics.
    pub(super) name: Arc<str>,
    /// The host under which the answers of all its hosts are kept, if they share them.
    pub(super) shared_host: Option<Box<[u8]>>,
    defaults: Arc<RoutePolicy>,
    is_plain: bool,
    redirects: Option<Redirects>,
    guard: Option<Arc<Guard>>,
    /// Whether a route has other access rules than the site.
    is_mixed: bool,
    routes: Vec<CompiledRoute>,
    by_path: Option<ByPath>,
    /// Fields that its routes are chosen by.
    chosen_by: Box<[HeaderName]>,
    /// Whether a route is chosen by what is not in the URL.
    has_conditions: bool,
}

/// What matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched<'t> {
    pub(super) policy: &'t Arc<RoutePolicy>,
    pub(super) guard: Option<&'t Arc<Guard>>,
    /// Whether the route was chosen by what stands behind a star (`*.css`), which an origin may see elsewhere.
    pub(super) by_ending: bool,
    /// What goes into the key beside the URL.
    pub(super) lane: Option<&'t [u8]>,
    /// Its place in the site's settings; none: the site itself.
    pub(super) route: Option<usize>,
    /// Nothing is to be done beside caching.
    pub(super) is_plain: bool,
    /// The route's path.
    pub(super) pattern: Option<&'t CompiledPath>,
    /// Fields that the site's routes are chosen by.
    pub(super) chosen_by: &'t [HeaderName],
    /// Whether the site has routes that are chosen by what is not in the URL.
    pub(super) has_conditions: bool,
}

impl Matched<'_> {
    /// The target as the route keys it.
    pub(super) fn treat<'a>(&self, target: Target<'a>) -> Target<'a> {
        let own = self.guard.map_or(&[][..], |guard| guard.own_parameters());
        query::treat(target, &self.policy.query, own)
    }
}

impl Sites {
    /// `place_of` says where a site's counters are, by its place in the settings. `before` are the sites of the settings before.
    pub(super) fn new(
        sites: &[Site],
        place_of: impl Fn(usize, &Site) -> u16,
        before: Option<&Self>,
    ) -> Result<Self, SetupError> {
        let mut guards = Guards::after(before.map(|before| before.made.clone()).unwrap_or_default());
        let mut all = Self {
            compiled: Vec::with_capacity(sites.len()),
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            any: None,
            made: Made::default(),
        };
        for (at, site) in sites.iter().enumerate() {
            for host in &site.hosts {
                match host {
                    HostPattern::Exact(name) => {
                        all.exact.entry(normal_host(name)).or_insert(at);
                    }
                    HostPattern::Wildcard(parent) => {
                        all.wildcard.entry(normal_host(parent)).or_insert(at);
                    }
                    HostPattern::Any => {
                        all.any.get_or_insert(at);
                    }
                }
            }
            all.compiled.push(CompiledSite::new(place_of(at, site), site, &mut guards)?);
        }
        all.made = guards.made();
        Ok(all)
    }

    /// What is looked into for attacks, counted.
    pub(super) fn inspections(&self) -> &Arc<Inspections> {
        self.made.inspections()
    }

    /// The site that answers for a host, which is in normal form and without port.
    pub(super) fn of_host(&self, host: &[u8]) -> Option<&CompiledSite> {
        let at = self.exact.get(host).copied().or_else(|| self.of_parent(host)).or(self.any)?;
        self.compiled.get(at)
    }

    /// Whether the site of a host has redirects.
    pub(super) fn redirects(&self, host: &[u8]) -> bool {
        self.of_host(host).is_some_and(|site| site.redirects.is_some())
    }

    /// The first redirect of a host's site for a path in normal form.
    pub(super) fn redirect(&self, host: &[u8], path: &[u8]) -> Option<(&CompiledPath, &Redirect)> {
        let Redirects { all, by_path } = self.of_host(host)?.redirects.as_ref()?;
        let at =
            by_path.first(path, |at| all.get(at).is_some_and(|(from, _)| from.matches(path)), |_| true)?;
        all.get(at).map(|(from, redirect)| (from, redirect))
    }

    fn of_parent(&self, host: &[u8]) -> Option<usize> {
        if self.wildcard.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some(dot) = rest.iter().position(|byte| *byte == b'.') {
            rest = rest.get(dot + 1..)?;
            if let Some(at) = self.wildcard.get(rest) {
                return Some(*at);
            }
        }
        None
    }
}

impl CompiledSite {
    fn new(index: u16, site: &Site, guards: &mut Guards) -> Result<Self, SetupError> {
        let routes = site.routes.iter().map(|route| CompiledRoute::new(route, guards));
        let routes = routes.collect::<Result<Vec<_>, _>>()?;
        let guard = guards.of(site.defaults.access.as_ref())?;
        let by_path =
            (routes.len() > LINEAR_ROUTES_MAX).then(|| ByPath::new(routes.iter().map(|route| &route.path)));
        let redirects = (!site.redirects.is_empty()).then(|| Redirects::new(&site.redirects));
        let chosen_by = site.routes.iter().flat_map(|route| &route.conditions.header);
        let mut chosen_by: Vec<_> = chosen_by.map(|(name, _)| name.clone()).collect();
        chosen_by.sort_by(|one, other| one.as_str().cmp(other.as_str()));
        chosen_by.dedup();
        Ok(Self {
            index,
            chosen_by: chosen_by.into(),
            has_conditions: site.routes.iter().any(|route| !route.conditions.is_empty()),
            name: Arc::clone(&site.name),
            shared_host: site.shared_host.as_deref().map(normal_host),
            defaults: Arc::clone(&site.defaults),
            is_plain: site.defaults.is_plain() && redirects.is_none(),
            redirects,
            is_mixed: routes.iter().any(|route| !is_same(route.guard.as_ref(), guard.as_ref())),
            guard,
            routes,
            by_path,
        })
    }

    /// Host and port under which answers for `authority` are kept, where that is another.
    pub(super) fn shared(&self, authority: &Authority<'_>) -> Option<Box<[u8]>> {
        let name = self.shared_host.as_deref().filter(|name| *name != authority.host())?;
        let port = authority.as_bytes().get(authority.host().len()..).unwrap_or_default();
        Some([name, port].concat().into())
    }

    /// Whether an origin may read a path in normal form as one that has rules which are not asked: those of `guard` are.
    #[inline]
    pub(super) fn is_disputed(
        &self,
        path: &[u8],
        method: &Method,
        facts: &Facts<'_>,
        guard: Option<&Arc<Guard>>,
    ) -> bool {
        let is_asked = |other: &[u8], facts: &Facts<'_>| {
            let rules = self.route(other, method, facts).guard;
            rules.is_none() || is_same(rules, guard)
        };
        self.is_mixed
            && !readings::all(path, |other, query| {
                // A route may be chosen by a parameter that an origin sees where we see a path.
                is_asked(other, facts)
                    && query.is_none_or(|query| is_asked(other, &Facts { query: Some(query), ..*facts }))
            })
    }

    /// What holds for a path in normal form, a method, and the rest of a request.
    pub(super) fn route(&self, path: &[u8], method: &Method, facts: &Facts<'_>) -> Matched<'_> {
        let found = match &self.by_path {
            None => self.routes.iter().position(|route| route.matches(path) && route.takes(method, facts)),
            Some(index) => index.first(
                path,
                |at| self.routes.get(at).is_some_and(|route| route.matches(path)),
                |at| self.routes.get(at).is_some_and(|route| route.takes(method, facts)),
            ),
        };
        self.matched(found)
    }

    /// What may hold for a path in normal form and a method, whatever the rest of the request is.
    pub(super) fn lanes(&self, path: &[u8], method: &Method) -> Vec<Matched<'_>> {
        let all = match &self.by_path {
            None => self
                .routes
                .iter()
                .enumerate()
                .filter(|(_, route)| route.matches(path))
                .map(|(at, _)| at)
                .collect(),
            Some(index) => index.all(path, |at| self.routes.get(at).is_some_and(|route| route.matches(path))),
        };
        let mut lanes = Vec::with_capacity(1);
        for at in all {
            let Some(route) = self.routes.get(at).filter(|route| route.takes_method(method)) else {
                continue;
            };
            lanes.push(self.matched(Some(at)));
            if route.conditions.is_none() {
                return lanes;
            }
        }
        lanes.push(self.matched(None));
        lanes
    }

    /// Whether a route for a path in normal form is chosen by country.
    pub(super) fn asks_country(&self, path: &[u8]) -> bool {
        let mut asking = self.routes.iter().filter(|route| {
            route.conditions.as_ref().is_some_and(|conditions| !conditions.country.is_empty())
        });
        asking.any(|route| route.matches(path))
    }

    fn matched(&self, found: Option<usize>) -> Matched<'_> {
        match found.and_then(|at| self.routes.get(at)) {
            Some(route) => Matched {
                policy: &route.policy,
                guard: route.guard.as_ref(),
                by_ending: route.path.is_by_ending(),
                lane: route.lane.as_deref(),
                route: found,
                is_plain: route.is_plain && self.redirects.is_none(),
                pattern: Some(&route.path),
                chosen_by: &self.chosen_by,
                has_conditions: self.has_conditions,
            },
            None => Matched {
                policy: &self.defaults,
                guard: self.guard.as_ref(),
                by_ending: false,
                lane: None,
                route: None,
                is_plain: self.is_plain,
                pattern: None,
                chosen_by: &self.chosen_by,
                has_conditions: self.has_conditions,
            },
        }
    }
}

/// Whether two places have the same access rules.
fn is_same(one: Option<&Arc<Guard>>, other: Option<&Arc<Guard>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        (None, None) => true,
        _ => false,
    }
}

/// The redirects of a site, by path.
#[derive(Debug)]
struct Redirects {
    all: Vec<(CompiledPath, Redirect)>,
    by_path: ByPath,
}

impl Redirects {
    fn new(redirects: &[(PathPattern, Redirect)]) -> Self {
        let all: Vec<_> =
            redirects.iter().map(|(from, redirect)| (CompiledPath::new(from), redirect.clone())).collect();
        let by_path = ByPath::new(all.iter().map(|(from, _)| from));
        Self { all, by_path }
    }
}

#[derive(Debug)]
struct CompiledRoute {
    path: CompiledPath,
    methods: Vec<Method>,
    conditions: Option<Box<Conditions>>,
    lane: Option<Box<[u8]>>,
    policy: Arc<RoutePolicy>,
    is_plain: bool,
    guard: Option<Arc<Guard>>,
}

/// A path's pattern, in the spelling of paths in normal form.
#[derive(Debug)]
pub(super) enum CompiledPath {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    /// What stands before the first star, between stars, and behind the last.
    Glob {
        head: Vec<u8>,
        inner: Vec<Vec<u8>>,
        tail: Vec<u8>,
    },
    Regex(regex::bytes::Regex),
}

impl CompiledRoute {
    fn new(route: &Route, guards: &mut Guards) -> Result<Self, SetupError> {
        Ok(Self {
            path: CompiledPath::new(&route.path),
            methods: route.methods.clone(),
            conditions: (!route.conditions.is_empty()).then(|| Box::new(route.conditions.clone())),
            lane: lane(route),
            policy: Arc::clone(&route.policy),
            is_plain: route.policy.is_plain(),
            guard: guards.of(route.policy.access.as_ref())?,
        })
    }

    fn matches(&self, path: &[u8]) -> bool {
        self.path.matches(path)
    }

    fn takes(&self, method: &Method, facts: &Facts<'_>) -> bool {
        self.takes_method(method)
            && self.conditions.as_ref().is_none_or(|conditions| all_hold(conditions, facts))
    }

    fn takes_method(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
}

/// What tells the answers of a route from those of others for the same URL. It is the same whatever else stands in the settings,
/// so that what lies on a disk is found again.
fn lane(route: &Route) -> Option<Box<[u8]>> {
    let takes = |method| route.methods.is_empty() || route.methods.contains(&method);
    // A HEAD is answered from what a GET has stored, and updates it.
    let (get, head) = (takes(Method::GET), takes(Method::HEAD));
    if route.conditions.is_empty() && get == head {
        return None;
    }
    Some(format!("route {get} {head} {:?}", route.conditions).into_bytes().into())
}

impl CompiledPath {
    fn new(pattern: &PathPattern) -> Self {
        match pattern {
            PathPattern::Exact(path) => Self::Exact(normal_piece(path)),
            PathPattern::Prefix(path) => Self::Prefix(normal_piece(path.strip_suffix('*').unwrap_or(path))),
            PathPattern::Glob(pieces) => {
                let mut pieces: Vec<_> = pieces.iter().map(|piece| normal_piece(piece)).collect();
                let tail = pieces.pop().unwrap_or_default();
                if pieces.is_empty() {
                    return Self::Exact(tail);
                }
                let head = pieces.remove(0);
                Self::Glob { head, inner: pieces, tail }
            }
            PathPattern::Regex(regex) => Self::Regex(regex.compiled().clone()),
        }
    }

    fn matches(&self, path: &[u8]) -> bool {
        match self {
            Self::Exact(whole) => path == whole,
            Self::Prefix(head) => path.starts_with(head),
            Self::Glob { head, inner, tail } => {
                let Some(mut rest) = path.strip_prefix(&head[..]) else { return false };
                for piece in inner {
                    // The leftmost place is never worse: what follows may then begin anywhere behind it.
                    let Some(at) = memchr::memmem::find(rest, piece) else { return false };
                    rest = rest.get(at + piece.len()..).unwrap_or_default();
                }
                rest.ends_with(tail)
            }
            Self::Regex(regex) => regex.is_match(path),
        }
    }

    /// What its stars or groups took of a path that it matches.
    pub(super) fn captures<'p>(&self, path: &'p [u8]) -> Captures<'p> {
        let mut taken = Vec::new();
        match self {
            Self::Exact(_) => {}
            Self::Prefix(head) => taken.extend(path.strip_prefix(&head[..])),
            Self::Glob { head, inner, tail } => {
                let mut rest = path.strip_prefix(&head[..]).unwrap_or_default();
                for piece in inner {
                    let at = memchr::memmem::find(rest, piece).unwrap_or(rest.len());
                    taken.push(rest.get(..at).unwrap_or_default());
                    rest = rest.get(at + piece.len()..).unwrap_or_default();
                }
                taken.extend(rest.strip_suffix(&tail[..]));
            }
            Self::Regex(regex) => {
                let groups = regex.captures(path);
                let groups = groups.iter().flat_map(|groups| groups.iter().skip(1));
                taken.extend(groups.map(|group| group.map_or(&[][..], |group| group.as_bytes())));
            }
        }
        Captures(taken)
    }

    /// Whether something is asked of a path behind a place where anything may stand: an origin that ends the path there does
    /// not see it. Nobody knows what an expression asks.
    fn is_by_ending(&self) -> bool {
        match self {
            Self::Exact(_) | Self::Prefix(_) => false,
            Self::Glob { inner, tail, .. } => !tail.is_empty() || inner.iter().any(|piece| !piece.is_empty()),
            Self::Regex(_) => true,
        }
    }
}

/// What the stars or groups of a pattern took.
#[derive(Debug, Default)]
pub(super) struct Captures<'p>(Vec<&'p [u8]>);

impl<'p> Captures<'p> {
    /// The one with this number, from 1; empty where it took nothing.
    pub(super) fn of(&self, number: u8) -> &'p [u8] {
        let at = usize::from(number).checked_sub(1);
        at.and_then(|at| self.0.get(at)).copied().unwrap_or_default()
    }
}

/// Places of routes by what their path must equal or begin with; each list ascends.
#[derive(Debug, Default)]
struct ByPath {
    exact: ByBytes<Vec<usize>>,
    prefix: ByBytes<Vec<usize>>,
    /// Lengths that occur among the prefixes.
    prefix_lens: Vec<usize>,
    /// Globs and expressions.
    others: Vec<usize>,
}

impl ByPath {
    fn new<'p>(paths: impl Iterator<Item = &'p CompiledPath>) -> Self {
        let mut index = Self::default();
        for (at, path) in paths.enumerate() {
            match path {
                CompiledPath::Exact(path) => index.exact.entry(path.as_slice().into()).or_default().push(at),
                CompiledPath::Prefix(path) => {
                    index.prefix.entry(path.as_slice().into()).or_default().push(at);
                    index.prefix_lens.push(path.len());
                }
                CompiledPath::Glob { .. } | CompiledPath::Regex(_) => index.others.push(at),
            }
        }
        index.prefix_lens.sort_unstable();
        index.prefix_lens.dedup();
        index
    }

    /// The first place for a path that `takes` the rest; `matches` says whether one that is not indexed is for the path.
    fn first(
        &self,
        path: &[u8],
        matches: impl Fn(usize) -> bool,
        takes: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let takes = |at: &&usize| takes(**at);
        let first_of = |list: Option<&Vec<usize>>| list.and_then(|list| list.iter().find(takes)).copied();
        let mut best = first_of(self.exact.get(path));
        for len in &self.prefix_lens {
            let Some(head) = path.get(..*len) else { break };
            best = earlier(best, first_of(self.prefix.get(head)));
        }
        let other = self
            .others
            .iter()
            .take_while(|at| best.is_none_or(|best| **at < best))
            .find(|at| matches(**at) && takes(at));
        earlier(best, other.copied())
    }

    /// All places for a path, in order.
    fn all(&self, path: &[u8], matches: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut all: Vec<usize> = self.exact.get(path).into_iter().flatten().copied().collect();
        for len in &self.prefix_lens {
            let Some(head) = path.get(..*len) else { break };
            all.extend(self.prefix.get(head).into_iter().flatten());
        }
        all.extend(self.others.iter().filter(|at| matches(**at)));
        all.sort_unstable();
        all
    }
}

fn earlier(one: Option<usize>, other: Option<usize>) -> Option<usize> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// A host of the settings as a request's would be spelled.
fn normal_host(host: &str) -> Box<[u8]> {
    match Authority::of(Scheme::Http, host.as_bytes()) {
        Ok(authority) => authority.host().into(),
        // What no request can say matches no request.
        Err(_) => host.as_bytes().into(),
    }
}

type ByBytes<V> = HashMap<Box<[u8]>, V, BuildHasherDefault<FoldHasher>>;

/// Eight bytes a step: rotate, mix, multiply. Good enough to spread names that an operator wrote.
#[derive(Debug, Default)]
struct FoldHasher(u64);

impl FoldHasher {
    const fn mix(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

impl Hasher for FoldHasher {
    fn write(&mut self, bytes: &[u8]) {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            self.mix(u64::from_le_bytes(*word));
        }
        self.mix(rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)));
    }

    fn write_usize(&mut self, length: usize) {
        self.mix(length as u64);
    }

    fn finish(&self) -> u64 {
        // The map takes its place from the low bits, a product's entropy is in the high ones.
        self.0 ^ (self.0 >> 32)
    }
}

/// Up to this many routes of a site are tried in order; beyond, looking them up is quicker.
const LINEAR_ROUTES_MAX: usize = 16;
