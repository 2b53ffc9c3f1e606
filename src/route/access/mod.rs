//! Who gets an answer of a route at all: asked by `serve` once the route is known, before anything is looked up.
//!
//! ```text
//! route ─► addresses ─► referers ─► look-up
//!              │            │
//!              └────────────┴──────► Denied: a page that says why, and no more
//! ```
//!
//! A [`Guard`] is a route's rules, compiled when the node starts; routes that rule the same share one. What a client is refused
//! by, it is refused whatever lies in the cache: a hit, a stale answer, a part, a `304`, a fetch that is under way.
//!
//! A child node that has been proven to be one is not asked again: it asks its own rules of its own clients, and what it
//! fetches may be for many. `PURGE` is asked for the address alone; who may purge is `purge.method_from`'s to say.
//!
//! Invariant: a route without rules has no guard, and costs one branch. A guard that cannot be built keeps the node from starting.

mod addresses;
mod referers;

use std::io;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use http::StatusCode;

pub use addresses::AddressTable;

use crate::config::access::Access;
use crate::listener::fields::Fields;
use crate::respond::failure::Failure;
use referers::RefererRule;

/// The rules of a route.
#[derive(Debug)]
pub struct Guard {
    addresses: Option<AddressTable>,
    referers: Option<RefererRule>,
}

/// What is asked about.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'r> {
    /// Whose request it is.
    pub client: IpAddr,
    /// Host and port that it names, in normal form.
    pub authority: &'r [u8],
    /// Its fields.
    pub fields: &'r Fields,
}

/// Why a request is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Denied {
    /// The client's address.
    Address,
    /// The page that it comes from.
    Referer,
}

/// Why the rules cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// A file cannot be read.
    #[error("cannot read `{}`, which a route's access rules name", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of one is not what it must be.
    #[error("{}, line {line}: {what}", path.display())]
    Line {
        /// Which.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong, and what to write.
        what: String,
    },
}

/// Builds guards, and gives the same to whoever rules the same.
#[derive(Debug, Default)]
pub(super) struct Guards(Vec<(Arc<Access>, Arc<Guard>)>);

impl Guards {
    /// The guard of these rules.
    ///
    /// # Errors
    /// [`SetupError`]
    pub(super) fn of(&mut self, access: Option<&Arc<Access>>) -> Result<Option<Arc<Guard>>, SetupError> {
        let Some(access) = access else { return Ok(None) };
        if let Some((_, guard)) = self.0.iter().find(|(known, _)| known == access) {
            return Ok(Some(Arc::clone(guard)));
        }
        let guard = Arc::new(Guard::new(access)?);
        self.0.push((Arc::clone(access), Arc::clone(&guard)));
        Ok(Some(guard))
    }
}

impl Guard {
    fn new(access: &Access) -> Result<Self, SetupError> {
        let Access { addresses, referers } = access;
        Ok(Self {
            addresses: addresses.as_deref().map(AddressTable::of).transpose()?,
            referers: referers.as_deref().map(RefererRule::of),
        })
    }

    /// Whether the request may be answered.
    ///
    /// # Errors
    /// [`Denied`]: it may not.
    pub fn ask(&self, asking: &Asking<'_>) -> Result<(), Denied> {
        self.ask_purger(asking.client)?;
        match &self.referers {
            Some(rule) if !rule.admits(asking.fields, asking.authority) => Err(Denied::Referer),
            _ => Ok(()),
        }
    }

    /// Whether one who purges may ask.
    ///
    /// # Errors
    /// [`Denied`]: it may not.
    pub fn ask_purger(&self, client: IpAddr) -> Result<(), Denied> {
        match &self.addresses {
            Some(table) if !table.admits(client) => Err(Denied::Address),
            _ => Ok(()),
        }
    }

    /// What each rule would say, by its name and in the order asked; of a client that is not told, nothing.
    pub fn explain(
        &self,
        client: Option<IpAddr>,
        authority: &[u8],
        fields: &Fields,
    ) -> Vec<(&'static str, Option<Result<(), Denied>>)> {
        let mut told = Vec::new();
        if self.addresses.is_some() {
            told.push(("addresses", client.map(|client| self.ask_purger(client))));
        }
        if let Some(rule) = &self.referers {
            let said = if rule.admits(fields, authority) { Ok(()) } else { Err(Denied::Referer) };
            told.push(("referers", Some(said)));
        }
        told
    }
}

impl Denied {
    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Address => "address-denied",
            Self::Referer => "referer-denied",
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::new(StatusCode::FORBIDDEN, denied.as_str())
    }
}
