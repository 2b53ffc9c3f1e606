//! `access`, as meant: who gets an answer of a route at all.
//!
//! Each part is decided by the nearest place that writes it, so a route keeps of its site's rules what it does not name.
//! What is built from it stands in `route/access/`; files named here are read when the node starts.

use std::path::PathBuf;
use std::sync::Arc;

use super::{HostPattern, Network};

/// The rules of a route; at least one. A policy without rules has no [`Access`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Access {
    /// By the client's address.
    pub addresses: Option<Arc<Addresses>>,
    /// By the page that the request comes from.
    pub referers: Option<Arc<Referers>>,
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
