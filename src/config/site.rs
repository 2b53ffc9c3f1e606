//! `[[site]]` and `[[site.route]]` as meant: which hosts and paths are served how.

use std::sync::Arc;

use cache_store::rules::Policy;
use http::Method;

use super::access::Access;
use super::{Encode, Steer};

/// Which hosts are served how.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name in metrics: the first host pattern.
    pub name: Arc<str>,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// What holds where no route says otherwise.
    pub defaults: Arc<RoutePolicy>,
    /// In the order written; the first that matches decides.
    pub routes: Vec<Route>,
}

/// A host as written in `hosts`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum HostPattern {
    /// `www.example.com`, lower case, without port.
    Exact(Box<str>),
    /// `*.example.org`: the part after `*.`; any number of labels before it.
    Wildcard(Box<str>),
    /// `*`: whatever no other site takes.
    Any,
}

/// A part of a site.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which paths.
    pub path: PathPattern,
    /// Which methods; empty: all.
    pub methods: Vec<Method>,
    /// What holds for them.
    pub policy: Arc<RoutePolicy>,
}

impl std::fmt::Display for HostPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Wildcard(host) => write!(f, "*.{host}"),
            Self::Any => f.write_str("*"),
        }
    }
}

/// A path as written in a route: `*` matches any run of characters, also `/`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathPattern {
    /// No `*` in it.
    Exact(Box<str>),
    /// One `*` at its end.
    Prefix(Box<str>),
    /// Anything else, split at its stars.
    Glob(Vec<Box<str>>),
}

/// Everything that a site or route decides.
#[derive(Clone, Debug)]
pub struct RoutePolicy {
    /// The preset it started from.
    pub preset: Preset,
    /// May the cache be used at all.
    pub cache: bool,
    /// The caching rules' settings.
    pub rules: Policy,
    /// The pools to ask.
    pub steer: Steer,
    /// Whether answers are kept apart by the client's country, which origins are told of in `X-Country-Code`.
    pub vary_by_country: bool,
    /// What happens to the query before it is routed, keyed and forwarded.
    pub query: Query,
    /// Which request fields reach the origin.
    pub forward: Forward,
    /// Which request cookies reach the origin.
    pub cookies: Cookies,
    /// Keeps stored responses encoded too and sends them so to clients that take it, encoded once, beside the requests. None: what
    /// the origin sends is what clients get. What is encoded already, says `no-transform` or is above 8 MiB is left as it is.
    pub encode: Option<Arc<Encode>>,
    /// Also send `X-Cache`, in nginx's words.
    pub x_cache: bool,
    /// Protocols that a client may go over to with an origin (`Upgrade`), in lower case; `upgrade = "off"`: none. Never HTTP
    /// itself: `h2c` would carry requests past this node.
    pub upgrade: Arc<[Box<str>]>,
    /// Who gets an answer at all; none: everybody.
    pub access: Option<Arc<Access>>,
}

/// Named starting points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Preset {
    /// Safe for anything.
    Default,
    /// A static site.
    Static,
    /// A news site.
    News,
    /// RFC 9111 to the letter.
    Rfc,
}

impl Preset {
    /// As written in settings; `none` for the default.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "none",
            Self::Static => "static",
            Self::News => "news",
            Self::Rfc => "rfc",
        }
    }
}

/// Query handling; the same for route, key and forward.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Query {
    /// Sort parameters by name, keeping the order of equal names.
    pub sort: bool,
    /// Parameters removed, by exact name or, ending in `*`, by prefix.
    pub remove: Vec<Box<str>>,
}

/// Which request fields reach the origin on cacheable routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forward {
    /// All but hop-by-hop ones and those that could change an answer without being in the key.
    Safe,
    /// These only (lower case), and what the node itself sets.
    Only(Vec<Box<str>>),
}

/// Request cookies on cacheable routes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Cookies {
    /// Forwarded as they are; an origin that answers by cookie must say so in `Vary` or `Cache-Control`.
    Forward,
    /// Removed, unless one of these names (exact, or by prefix ending in `*`) is among them: then the request passes.
    PassOn(Vec<Box<str>>),
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::Glob(parts) => f.write_str(&parts.join("*")),
        }
    }
}
