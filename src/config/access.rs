//! `access`, as meant: who gets an answer of a route at all.
//!
//! Each part is decided by the nearest place that writes it, so a route keeps of its site's rules what it does not name.
//! What is built from it stands in `route/access/`; files named here are read when the node starts.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use geo::Code;

use super::inspect::Inspect;
use super::{HostPattern, Network};

/// The rules of a route; at least one. A policy without rules has no [`Access`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// By the client's address.
    pub addresses: Option<Arc<Addresses>>,
    /// By how often is asked.
    pub rates: Option<Arc<Vec<Arc<Rate>>>>,
    /// By how much a client has under way.
    pub concurrency: Option<Arc<Concurrency>>,
    /// By the country that it is in.
    pub countries: Option<Arc<Countries>>,
    /// By the page that the request comes from.
    pub referers: Option<Arc<Referers>>,
    /// By the signature of the URL.
    pub signed: Option<Arc<Signed>>,
    /// By name and password.
    pub basic: Option<Arc<Basic>>,
    /// By what is in it: attacks on what stands behind.
    pub inspect: Option<Arc<Inspect>>,
}

impl Access {
    /// Whether nothing is ruled.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// `access` with `change` made to it; `None` where nothing is ruled then.
    pub fn changed(access: Option<&Arc<Self>>, change: impl FnOnce(&mut Self)) -> Option<Arc<Self>> {
        let mut access = access.map(|access| Self::clone(access)).unwrap_or_default();
        change(&mut access);
        (!access.is_empty()).then(|| Arc::new(access))
    }
}

/// Which addresses may ask: of all networks that an address lies in, the smallest decides. An address in none of them is
/// refused where anything is allowed by name, else admitted.
///
/// IPv4 written as IPv6 (`::ffff:192.0.2.1`) counts as IPv4, in lists and of clients. A network that is allowed and denied is
/// denied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Addresses {
    /// Admitted.
    pub allow: Vec<Network>,
    /// Refused.
    pub deny: Vec<Network>,
    /// Files of networks that are admitted, one a line; `#` and `;` begin a comment.
    pub allow_files: Vec<PathBuf>,
    /// The same of networks that are refused.
    pub deny_files: Vec<PathBuf>,
}

/// From which pages a request may come, by `Referer`: so that other sites do not show one's pictures as theirs. Not a wall: a
/// program writes what it wants.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Referers {
    /// Hosts of such pages. A page of the host that is asked always may.
    pub hosts: Vec<HostPattern>,
    /// Whether a request may name no page at all: typed addresses, bookmarks, and sites whose policy sends none.
    /// Default: true.
    pub none: bool,
}

/// From which countries a client may ask, by `[geo]`'s database.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Countries {
    /// Admitted, ISO 3166-1 alpha-2; where one is named, others are refused.
    pub allow: Vec<Code>,
    /// Refused, whatever `allow` says.
    pub deny: Vec<Code>,
    /// Whether an address of which the database knows no country is admitted. Default: where nobody is admitted by name.
    pub unknown: bool,
}

/// How often may be asked. Requests above it are answered with 429 and `Retry-After`; being refused costs nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rate {
    /// What it counts goes by this name: rules of one name count together, and must say the same. Default: the first host of the
    /// site, with path and methods of the route, so a rate of a site is one budget for all of its routes that write none.
    pub name: Arc<str>,
    /// So many …
    pub requests: u32,
    /// … in this time …
    pub per: Duration,
    /// … and so many at once, after a pause. Default: as many as `requests`.
    pub burst: u32,
    /// For whom it counts. Default: for each client.
    pub by: RateBy,
    /// Whether requests above it are answered, and only told: `would_refuse` in the access log, `tidegate_reasons_total`. Default:
    /// false.
    pub dry_run: bool,
    /// Whether answers say how much is left (`RateLimit`, `RateLimit-Policy`). Default: false.
    pub fields: bool,
    /// Memory for what clients have used, bytes. Where it holds fewer than those who are above no rate yet but have not paid for
    /// what they had, further ones share places and may be held back early; never is one given more. Default: 8 MiB, for some
    /// fifty thousand at once.
    pub memory_bytes: u64,
}

/// For whom a rate counts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RateBy {
    /// Each IPv4 address, and each /64 of IPv6.
    Client,
    /// All together.
    Route,
    /// Each value of this field (lower case), like an API key; requests without it count by client. Who makes values up counts anew
    /// with each, so a rate by client belongs beside it.
    Field(Box<str>),
}

/// How many requests of one client (an IPv4 address, or a /64 of IPv6) may be under way at once; further ones are answered with 429.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Concurrency {
    /// As for a [`Rate`].
    pub name: Arc<str>,
    /// So many.
    pub requests: u32,
    /// As for a [`Rate`].
    pub dry_run: bool,
}

/// URLs that the site's application signs and that end when they say: `?expires=…&signature=…&key_id=…`, made by `tidegate sign` or as
/// `route/access/signed.rs` says. A URL without signature, or with a wrong one, is answered with 403, one that has ended with 410. The
/// parameters are in no key and reach no origin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Signed {
    /// Names of keys, which a URL's `key_id` may give, and the files that hold them. Of a URL that names none, any may be the key.
    pub keys: Vec<(Box<str>, PathBuf)>,
    /// Which parameters of the query are signed beside host and path. Default: all.
    pub query: SignedQuery,
    /// How far the signer's clock may be ahead: so much longer a URL is good. Default: 0.
    pub skew: Duration,
}

/// Parameters that are signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SignedQuery {
    /// All: none can be added, taken away or changed.
    All,
    /// These; others are free, and an origin that answers by them answers whoever has a URL.
    Only(Vec<Box<str>>),
}

/// Basic authentication (RFC 7617): who has no name and password of the file is asked for them.
///
/// What is stored is given to all who are admitted and to nobody else; so do caches between here and a client (RFC 9111 §3.5), unless the
/// response calls itself `public` or names an `s-maxage`. Over plain HTTP passwords can be read on the way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Basic {
    /// Users and their hashed passwords, as `htpasswd -B` (or `-2`, `-5`) writes them; Argon2 is taken as well.
    pub users: PathBuf,
    /// What browsers show while they ask. Default: `restricted`.
    pub realm: Box<str>,
    /// Whether the origin gets `Authorization` too. Then what it answers counts as made for one client: it is stored only where
    /// the response says that it is for everybody (RFC 9111 §3.5). Default: false, the field ends here.
    pub forward: bool,
}

impl Access {
    /// Whether `Authorization` is for this node alone.
    pub fn consumes_authorization(&self) -> bool {
        self.basic.as_ref().is_some_and(|basic| !basic.forward)
    }
}
