//! What has been purged: scopes, epochs, and the log that makes a purge a fact.
//!
//! ```text
//! order ── commit.rs: numbered, written, fsynced ── apply.rs: what is resident is marked; broad scopes move the epoch ── acknowledged
//!                                                                       │
//! hit ── epoch.rs: has the epoch moved since this response was checked? ┘        fill ends ── recent.rs: was its key purged?
//! ```
//!
//! An *epoch* counts what was purged in this store, whatever asked for it; every response remembers the one at the *start* of
//! its origin request, or the last at which it was checked and found untouched. A *sequence* numbers the records of the log:
//! dense, and what receipts, children and parents talk about. A purge by URL marks what is resident and is told to fills when
//! they end; only broad scopes (prefix, host, tag, everything) move the epoch that hits compare, so a stream of purges by
//! URL does not slow hits. Deleting bytes only reclaims space.
//!
//! Invariants: what an origin request fetched that started before a purge was acknowledged is never served as fresh after it,
//! from either tier and across a restart; the cost of a purge does not depend on how much is stored.
//!
//! Deliberately absent: who may purge (`purge-api`), what a URL's keys are (the root's routes), other nodes (`purge-api::bus`).

mod apply;
mod commit;
mod cost;
mod epoch;
mod file;
mod journal;
mod latest;
mod log;
mod owner;
mod recent;
mod record;
#[cfg(test)]
mod reopening;
mod tables;

use crate::entry::Epoch;
use crate::key::CacheKey;
use crate::rules::Purged;
use crate::timestamp::Timestamp;

pub(crate) use apply::Purges;
pub use apply::{Applied, GAP, Matched, PurgeFailed};
pub(crate) use cost::Costs;
pub(crate) use epoch::Broad;
pub(crate) use latest::TagSketch;
pub use log::{Logged, PurgeLog, Source, new_id};
pub(crate) use recent::Recent;

/// What a purge takes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scope {
    /// One URL with all its variants.
    Url {
        /// As it was written, for other nodes.
        url: Box<str>,
        /// The keys under which answers to it may be stored here; none where no site has its host.
        keys: Box<[CacheKey]>,
    },
    /// Every URL of an authority whose path begins so, whatever the scheme.
    Prefix {
        /// Host and, where it is not the scheme's default, port, in normal form.
        authority: Box<str>,
        /// The beginning of a path in normal form.
        path: Box<str>,
    },
    /// Every URL of a host, whatever scheme and port; in lower case.
    Host(Box<str>),
    /// Every response that names this tag, exactly.
    Tag(Box<str>),
    /// All there is.
    Everything,
}

/// An order to forget.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Purge {
    /// Its name wherever it comes to: of two with the same one the second is the first again.
    pub id: u128,
    /// When it was given.
    pub at: Timestamp,
    /// Make stale instead of forgetting.
    pub soft: bool,
    /// What; taken together or not at all.
    pub scopes: Vec<Scope>,
}

/// What a request is about, as the store finds it: its key, and the normal form of which that is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Resource<'a> {
    /// The primary key.
    pub key: CacheKey,
    /// Host and, where it is not the scheme's default, port.
    pub authority: &'a [u8],
    /// Path and query.
    pub target: &'a [u8],
}

impl Resource<'_> {
    /// The host without its port.
    pub fn host(&self) -> &[u8] {
        let end = match self.authority.iter().rposition(|byte| *byte == b':' || *byte == b']') {
            Some(at) if self.authority.get(at) == Some(&b':') => at,
            Some(_) | None => self.authority.len(),
        };
        self.authority.get(..end).unwrap_or_default()
    }
}

impl Scope {
    /// As named in receipts and metrics.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Url { .. } => "url",
            Self::Prefix { .. } => "prefix",
            Self::Host(_) => "host",
            Self::Tag(_) => "tag",
            Self::Everything => "everything",
        }
    }

    /// Whether it takes what is stored of a resource with these tags.
    pub(crate) fn takes(&self, resource: &Resource<'_>, tags: &[Box<str>]) -> bool {
        match self {
            Self::Url { keys, .. } => keys.contains(&resource.key),
            Self::Prefix { authority, path } => {
                authority.as_bytes() == resource.authority && resource.target.starts_with(path.as_bytes())
            }
            Self::Host(host) => host.as_bytes() == resource.host(),
            Self::Tag(tag) => tags.contains(tag),
            Self::Everything => true,
        }
    }

    /// Whether hits must look again when it was purged.
    pub(crate) const fn is_broad(&self) -> bool {
        !matches!(self, Self::Url { .. })
    }
}

/// Epochs of the last purges of something, zero where there was none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Last {
    hard: Epoch,
    soft: Epoch,
    /// The moment of the last soft one, milliseconds.
    soft_at: u64,
}

impl Last {
    pub(crate) const fn of(epoch: Epoch, soft: bool, now: Timestamp) -> Self {
        if soft {
            Self { hard: 0, soft: epoch, soft_at: now.as_millis() }
        } else {
            Self { hard: epoch, soft: 0, soft_at: 0 }
        }
    }

    pub(crate) fn newest(self) -> Epoch {
        self.hard.max(self.soft)
    }

    pub(crate) fn take_in(&mut self, other: Self) {
        self.hard = self.hard.max(other.hard);
        self.soft = self.soft.max(other.soft);
        self.soft_at = self.soft_at.max(other.soft_at);
    }

    /// Which of them [`Last::since`] speaks of.
    pub(crate) const fn taker(self, epoch: Epoch) -> Epoch {
        if self.hard > epoch { self.hard } else { self.soft }
    }

    /// What became of something that was whole at `epoch`.
    pub(crate) const fn since(self, epoch: Epoch) -> Purged {
        if self.hard > epoch {
            Purged::Hard
        } else if self.soft > epoch {
            Purged::Soft(Timestamp::from_millis(self.soft_at))
        } else {
            Purged::No
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_of_an_authority() {
        for (authority, host) in [
            ("a.example", "a.example"),
            ("a.example:8080", "a.example"),
            ("[::1]", "[::1]"),
            ("[::1]:80", "[::1]"),
            ("", ""),
        ] {
            let resource =
                Resource { key: CacheKey::from_bits(0), authority: authority.as_bytes(), target: b"/" };
            assert_eq!(resource.host(), host.as_bytes(), "{authority}");
        }
    }
}
