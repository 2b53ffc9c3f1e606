//! `[[site]]` and `[[site.route]]` as meant: which hosts and paths are served how.

use std::sync::Arc;

use cache_store::rules::Policy;
use http::{HeaderName, Method};

use super::access::Access;
use super::limits::REGEX_BYTES_MAX;
use super::template::Variable;
use super::{
    Answer, Conditions, Encode, ErrorPages, HeaderRules, Maintenance, Mirror, MirrorOf, Redirect, Rewrite,
    Steer,
};

/// Which hosts are served how.
#[derive(Clone, Debug)]
pub struct Site {
    /// Its name in metrics: the first host pattern.
    pub name: Arc<str>,
    /// The hosts it answers for.
    pub hosts: Vec<HostPattern>,
    /// What holds where no route says otherwise.
    pub defaults: Arc<RoutePolicy>,
    /// The host under which the answers of all of them are keyed, fetched and purged, where they share them; one of `hosts`.
    pub shared_host: Option<Box<str>>,
    /// In the order written; the first that matches decides. They come before the routes.
    pub redirects: Vec<(PathPattern, Redirect)>,
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
    /// What else a request must be like; all of it.
    pub conditions: Conditions,
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

/// A path as written in a route.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathPattern {
    /// No `*` in it.
    Exact(Box<str>),
    /// One `*` at its end.
    Prefix(Box<str>),
    /// Anything else, split at its stars: `*` matches any run of characters, also `/`.
    Glob(Vec<Box<str>>),
    /// A regular expression over the path in normal form.
    Regex(PathRegex),
}

/// A regular expression, compiled; it matches in time linear to the path.
#[derive(Clone)]
pub struct PathRegex {
    text: Box<str>,
    compiled: regex::bytes::Regex,
}

/// Everything that a site or route decides.
#[allow(clippy::struct_excessive_bools)] // independent settings, not states
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
    /// Keeps stored responses encoded too and sends them so to clients that take it, encoded once, beside the requests; what is not
    /// stored is encoded as it goes (`unstored`). None: what the origin sends is what clients get. What is encoded already or says
    /// `no-transform` is left as it is, and so is what is stored above 8 MiB.
    pub encode: Option<Arc<Encode>>,
    /// Also send `X-Cache`, in nginx's words.
    pub x_cache: bool,
    /// What origins are asked for in place of what clients ask; the key is of what clients ask.
    pub rewrite: Rewrite,
    /// Goes around the cache what is like one of these.
    pub bypass: Conditions,
    /// What the key has beside the URL.
    pub key: KeyParts,
    /// What is done to the fields of requests to origins; parents of the tier do it themselves.
    pub request_headers: HeaderRules,
    /// What is done to the fields of answers to clients, whatever they come from.
    pub response_headers: HeaderRules,
    /// What is asked for without TLS is redirected to the same with it.
    pub https_only: bool,
    /// Methods that are taken; empty: all. Others get 405.
    pub allow_methods: Vec<Method>,
    /// Closed, but for some.
    pub maintenance: Option<Arc<Maintenance>>,
    /// Answered without asking anybody.
    pub answer: Option<Arc<Answer>>,
    /// Pages in place of errors.
    pub error_pages: ErrorPages,
    /// Protocols that a client may go over to with an origin (`Upgrade`), in lower case; `upgrade = "off"`: none. Never HTTP
    /// itself: `h2c` would carry requests past this node. Over HTTP/2 (extended CONNECT, RFC 8441) only `websocket`; the origin is
    /// asked over HTTP/1.1.
    pub upgrade: Arc<[Box<str>]>,
    /// A share of the requests is copied to another pool, whose answers are dropped.
    pub mirror: Option<Arc<Mirror>>,
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
    /// The only ones that stay, in the same way; none: all.
    pub keep: Option<Vec<Box<str>>>,
}

/// What tells answers for one URL apart beside what origins name in `Vary`. A purge of the URL takes all of them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct KeyParts {
    /// Request fields; they reach the origin.
    pub headers: Vec<HeaderName>,
    /// Request cookies, by name; of cookies that are not forwarded these are.
    pub cookies: Vec<Box<str>>,
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

impl RoutePolicy {
    /// Whether there is nothing to do beside caching: what a hit is spared.
    pub fn is_plain(&self) -> bool {
        let Self { rewrite, bypass, request_headers, response_headers, allow_methods, error_pages, .. } =
            self;
        rewrite.is_empty()
            && bypass.is_empty()
            && request_headers.is_empty()
            && response_headers.is_empty()
            && !self.https_only
            && allow_methods.is_empty()
            && self.maintenance.is_none()
            && self.answer.is_none()
            && error_pages.is_empty()
            && self.mirror.as_ref().is_none_or(|mirror| mirror.of == MirrorOf::Misses)
    }

    /// Whether a field of its has the request's name in it.
    pub fn names_requests(&self) -> bool {
        let has = |rules: &HeaderRules| !rules.is_empty() && rules.has(Variable::RequestId);
        has(&self.request_headers) || has(&self.response_headers)
    }
}

impl std::fmt::Display for PathPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(path) => f.write_str(path),
            Self::Prefix(path) => write!(f, "{path}*"),
            Self::Glob(parts) => f.write_str(&parts.join("*")),
            Self::Regex(regex) => write!(f, "~ {}", regex.text),
        }
    }
}

impl PathPattern {
    /// The names of what it captures, in order: what each star took, or each group of an expression.
    pub fn captures(&self) -> Vec<Option<Box<str>>> {
        match self {
            Self::Exact(_) => Vec::new(),
            Self::Prefix(_) => vec![None],
            Self::Glob(parts) => vec![None; parts.len().saturating_sub(1)],
            Self::Regex(regex) => {
                regex.compiled.capture_names().skip(1).map(|name| name.map(Box::from)).collect()
            }
        }
    }
}

impl PathRegex {
    /// The expression in `text`.
    ///
    /// # Errors
    /// Why it is none, or too large.
    pub fn new(text: &str) -> Result<Self, regex::Error> {
        let compiled = regex::bytes::RegexBuilder::new(text)
            .unicode(false)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()?;
        Ok(Self { text: text.into(), compiled })
    }

    /// As written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Compiled.
    pub fn compiled(&self) -> &regex::bytes::Regex {
        &self.compiled
    }
}

impl PartialEq for PathRegex {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for PathRegex {}

impl std::fmt::Debug for PathRegex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "PathRegex({:?})", self.text)
    }
}
