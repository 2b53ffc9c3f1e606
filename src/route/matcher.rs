//! Which site and which of its routes a normalised request belongs to: the settings, compiled for looking up.
//!
//! A site is found by its exact host, else by the longest wildcard, else the one that takes any host. Within it the
//! first route written that matches path and method decides, else the site's defaults. No look-up allocates. Few
//! routes are tried in order; many are indexed, exact paths and prefixes by hash, so that a site with ten thousand
//! redirected paths costs a request as much as one with ten.
//!
//! Patterns are put into the spelling of a normal path first: `/größe/*` matches what a browser sends.
//! The hash is not keyed: clients look up, only settings insert.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use http::Method;

use super::access::{Guard, Guards, SetupError};
use super::authority::Authority;
use super::normal::normal_piece;
use crate::config::{HostPattern, PathPattern, Route, RoutePolicy, Site};
use crate::listener::request::Scheme;

/// All sites, by host.
#[derive(Debug)]
pub(super) struct Sites {
    compiled: Vec<CompiledSite>,
    exact: ByBytes<usize>,
    wildcard: ByBytes<usize>,
    any: Option<usize>,
}

/// One site.
#[derive(Debug)]
pub(super) struct CompiledSite {
    /// Its place in the counters.
    pub(super) index: u16,
    /// Its name in metrics.
    pub(super) name: Arc<str>,
    defaults: Arc<RoutePolicy>,
    guard: Option<Arc<Guard>>,
    routes: Vec<CompiledRoute>,
    by_path: Option<ByPath>,
}

/// What matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Matched<'t> {
    pub(super) policy: &'t Arc<RoutePolicy>,
    pub(super) guard: Option<&'t Arc<Guard>>,
    /// Whether the route was chosen by how the path ends (`*.css`), which an origin may see elsewhere.
    pub(super) by_ending: bool,
}

impl Sites {
    /// `place_of` says where a site's counters are, by its place in the settings.
    pub(super) fn new(sites: &[Site], place_of: impl Fn(usize, &Site) -> u16) -> Result<Self, SetupError> {
        let mut guards = Guards::default();
        let mut all = Self {
            compiled: Vec::with_capacity(sites.len()),
            exact: HashMap::default(),
            wildcard: HashMap::default(),
            any: None,
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
        Ok(all)
    }

    /// The site that answers for a host, which is in normal form and without port.
    pub(super) fn of_host(&self, host: &[u8]) -> Option<&CompiledSite> {
        let at = self.exact.get(host).copied().or_else(|| self.of_parent(host)).or(self.any)?;
        self.compiled.get(at)
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
        let by_path = (routes.len() > LINEAR_ROUTES_MAX).then(|| ByPath::new(&routes));
        Ok(Self {
            index,
            name: Arc::clone(&site.name),
            defaults: Arc::clone(&site.defaults),
            guard: guards.of(site.defaults.access.as_ref())?,
            routes,
            by_path,
        })
    }

    /// What holds for a path in normal form and a method.
    pub(super) fn route(&self, path: &[u8], method: &Method) -> Matched<'_> {
        let found = match &self.by_path {
            None => self.routes.iter().find(|route| route.matches(path, method)),
            Some(index) => index.first(&self.routes, path, method),
        };
        match found {
            Some(route) => Matched {
                policy: &route.policy,
                guard: route.guard.as_ref(),
                by_ending: route.path.is_by_ending(),
            },
            None => Matched { policy: &self.defaults, guard: self.guard.as_ref(), by_ending: false },
        }
    }
}

#[derive(Debug)]
struct CompiledRoute {
    path: CompiledPath,
    methods: Vec<Method>,
    policy: Arc<RoutePolicy>,
    guard: Option<Arc<Guard>>,
}

#[derive(Debug)]
enum CompiledPath {
    Exact(Vec<u8>),
    Prefix(Vec<u8>),
    /// What stands before the first star, between stars, and behind the last.
    Glob {
        head: Vec<u8>,
        inner: Vec<Vec<u8>>,
        tail: Vec<u8>,
    },
}

impl CompiledRoute {
    fn new(route: &Route, guards: &mut Guards) -> Result<Self, SetupError> {
        Ok(Self {
            path: CompiledPath::new(&route.path),
            methods: route.methods.clone(),
            policy: Arc::clone(&route.policy),
            guard: guards.of(route.policy.access.as_ref())?,
        })
    }

    fn matches(&self, path: &[u8], method: &Method) -> bool {
        self.path.matches(path) && self.takes(method)
    }

    fn takes(&self, method: &Method) -> bool {
        self.methods.is_empty() || self.methods.contains(method)
    }
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
        }
    }

    /// Whether the last thing asked of a path is what stands behind its last dot.
    fn is_by_ending(&self) -> bool {
        matches!(self, Self::Glob { tail, .. } if tail.contains(&b'.') && !tail.contains(&b'/'))
    }
}

/// Places of routes by what their path must equal or begin with; each list ascends.
#[derive(Debug, Default)]
struct ByPath {
    exact: ByBytes<Vec<usize>>,
    prefix: ByBytes<Vec<usize>>,
    /// Lengths that occur among the prefixes.
    prefix_lens: Vec<usize>,
    globs: Vec<usize>,
}

impl ByPath {
    fn new(routes: &[CompiledRoute]) -> Self {
        let mut index = Self::default();
        for (at, route) in routes.iter().enumerate() {
            match &route.path {
                CompiledPath::Exact(path) => index.exact.entry(path.as_slice().into()).or_default().push(at),
                CompiledPath::Prefix(path) => {
                    index.prefix.entry(path.as_slice().into()).or_default().push(at);
                    index.prefix_lens.push(path.len());
                }
                CompiledPath::Glob { .. } => index.globs.push(at),
            }
        }
        index.prefix_lens.sort_unstable();
        index.prefix_lens.dedup();
        index
    }

    fn first<'r>(
        &self,
        routes: &'r [CompiledRoute],
        path: &[u8],
        method: &Method,
    ) -> Option<&'r CompiledRoute> {
        let takes = |at: &&usize| routes.get(**at).is_some_and(|route| route.takes(method));
        let first_of = |list: Option<&Vec<usize>>| list.and_then(|list| list.iter().find(takes)).copied();
        let mut best = first_of(self.exact.get(path));
        for len in &self.prefix_lens {
            let Some(head) = path.get(..*len) else { break };
            best = earlier(best, first_of(self.prefix.get(head)));
        }
        let glob = self
            .globs
            .iter()
            .take_while(|at| best.is_none_or(|best| **at < best))
            .find(|at| routes.get(**at).is_some_and(|route| route.matches(path, method)));
        routes.get(earlier(best, glob.copied())?)
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
