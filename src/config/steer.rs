//! `pool` and `steer` as meant: which pool a request goes to, and which ones when that has nobody to ask.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use geo::{Code, Coordinates};
use http::HeaderName;

/// Which pool is asked.
#[derive(Clone, Debug)]
pub enum Steer {
    /// Always this one.
    Pool(Arc<str>),
    /// One of several.
    By(Arc<Steering>),
}

/// How one of several pools is chosen.
#[derive(Clone, Debug)]
pub struct Steering {
    /// By what.
    pub by: By,
    /// Pools that are asked, in this order, when the chosen one has no origin available, or failed where it is safe to ask again.
    pub fallback: Vec<Arc<str>>,
    /// Whether the choice is part of the cache's key, so that what the pools answer is kept apart.
    pub split: bool,
}

/// What chooses a pool.
#[derive(Clone, Debug)]
pub enum By {
    /// The first that has an origin available.
    Order(Vec<Arc<str>>),
    /// Shares of the requests, or of the clients where it is sticky.
    Weight {
        /// Of each pool; may be moved while the node runs.
        shares: Arc<Shares>,
        /// What makes a client come to the same pool again; none: each request anew.
        sticky: Option<Sticky>,
    },
    /// Where the client is; the first rule that matches decides.
    Geo {
        /// In the order written.
        rules: Vec<PlaceRule>,
        /// Where none matches, or the place is not known.
        otherwise: Arc<str>,
    },
    /// Which is nearest to the client; the others follow by distance.
    Nearest {
        /// And where they are.
        pools: Vec<(Arc<str>, Coordinates)>,
        /// Where the client's point is not known.
        otherwise: Arc<str>,
    },
    /// What the client sent in a field.
    Field {
        /// Its name.
        name: HeaderName,
        /// In the order written; the first that matches decides.
        rules: Vec<ValueRule>,
        /// Where none does.
        otherwise: Arc<str>,
    },
    /// What the client sent in a cookie.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// In the order written; the first that matches decides.
        rules: Vec<ValueRule>,
        /// Where none does.
        otherwise: Arc<str>,
    },
}

/// What makes a client come to the same pool again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Sticky {
    /// Its address.
    Client,
    /// A cookie that it is given.
    Cookie {
        /// Its name.
        name: Box<str>,
        /// How long the client keeps it.
        max_age: Duration,
    },
}

/// Places and their pool. One that fits is enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PlaceRule {
    /// Countries.
    pub countries: Vec<Code>,
    /// Continents.
    pub continents: Vec<Code>,
    /// Country and region, as in `US-CA`.
    pub regions: Vec<(Code, Code)>,
    /// Where they go.
    pub pool: Arc<str>,
}

/// Values and their pool. One that fits is enough.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ValueRule {
    /// Exact, or by prefix ending in `*`.
    pub values: Vec<Box<str>>,
    /// Where they go.
    pub pool: Arc<str>,
}

/// Shares of pools. The one part of the settings that an admin call moves; a restart begins with what is written.
#[derive(Debug)]
pub struct Shares {
    pools: Vec<Arc<str>>,
    written: Vec<u32>,
    live: ArcSwap<Vec<u32>>,
}

impl Steer {
    /// One of these pools by weight, each request anew.
    pub fn weight(pools: Vec<(Arc<str>, u32)>) -> Self {
        let by = By::Weight { shares: Arc::new(Shares::new(pools)), sticky: None };
        Self::By(Arc::new(Steering { by, fallback: Vec::new(), split: false }))
    }

    /// The steering, where there is more than one pool to choose from.
    pub fn steering(&self) -> Option<&Steering> {
        match self {
            Self::Pool(_) => None,
            Self::By(steering) => Some(steering),
        }
    }

    /// The pools that a choice can fall on, each once, fallbacks not among them.
    pub fn pools(&self) -> Vec<&Arc<str>> {
        let mut all: Vec<&Arc<str>> = match self {
            Self::Pool(pool) => vec![pool],
            Self::By(steering) => match &steering.by {
                By::Order(pools) => pools.iter().collect(),
                By::Weight { shares, .. } => shares.pools.iter().collect(),
                By::Geo { rules, otherwise } => {
                    rules.iter().map(|rule| &rule.pool).chain([otherwise]).collect()
                }
                By::Nearest { pools, otherwise } => {
                    pools.iter().map(|(pool, _)| pool).chain([otherwise]).collect()
                }
                By::Field { rules, otherwise, .. } | By::Cookie { rules, otherwise, .. } => {
                    rules.iter().map(|rule| &rule.pool).chain([otherwise]).collect()
                }
            },
        };
        let mut known = std::collections::BTreeSet::new();
        all.retain(|pool| known.insert(Arc::clone(pool)));
        all
    }

    /// Whether it looks at where a client is.
    pub fn asks_for_place(&self) -> bool {
        self.steering().is_some_and(|steering| matches!(steering.by, By::Geo { .. } | By::Nearest { .. }))
    }

    /// Whether the choice is part of the key.
    pub fn splits(&self) -> bool {
        self.steering().is_some_and(|steering| steering.split)
    }
}

impl Steering {
    /// The cookie by which clients come to the same pool again, and how long they keep it.
    pub fn cookie(&self) -> Option<(&str, Duration)> {
        match &self.by {
            By::Weight { sticky: Some(Sticky::Cookie { name, max_age }), .. } => Some((name, *max_age)),
            _ => None,
        }
    }
}

impl Shares {
    /// As written.
    pub fn new(pools: Vec<(Arc<str>, u32)>) -> Self {
        let (pools, written): (Vec<_>, Vec<_>) = pools.into_iter().unzip();
        Self { live: ArcSwap::from_pointee(written.clone()), pools, written }
    }

    /// Each pool and its share as written.
    pub fn written(&self) -> impl Iterator<Item = (&Arc<str>, u32)> {
        self.pools.iter().zip(self.written.iter().copied())
    }

    /// Each pool and its share now: all of one moment.
    pub fn now(&self) -> Vec<(&Arc<str>, u32)> {
        self.pools.iter().zip(self.live.load().iter().copied()).collect()
    }

    /// Moves them to `shares`, all at once and from the next request on; pools that are not named keep theirs.
    ///
    /// # Errors
    /// As [`Shares::with`]; nothing is changed then.
    pub fn set(&self, shares: &BTreeMap<Box<str>, u32>) -> Result<(), SharesError> {
        // Two at once: the later has all of its own.
        let live = self.with(shares)?;
        self.live.store(Arc::new(live));
        Ok(())
    }

    /// What they would be.
    ///
    /// # Errors
    /// A pool that is not among them, or nothing would be left for any.
    pub fn with(&self, shares: &BTreeMap<Box<str>, u32>) -> Result<Vec<u32>, SharesError> {
        if let Some(unknown) = shares.keys().find(|name| !self.pools.iter().any(|pool| **pool == ***name)) {
            return Err(SharesError::UnknownPool(unknown.clone()));
        }
        let mut live = self.live.load().to_vec();
        for (pool, share) in self.pools.iter().zip(&mut live) {
            if let Some(wanted) = shares.get(&**pool) {
                *share = *wanted;
            }
        }
        if live.iter().all(|share| *share == 0) {
            return Err(SharesError::Nothing);
        }
        Ok(live)
    }
}

/// Why shares cannot be moved.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SharesError {
    /// It is not among those steered to.
    #[error("`{0}` is not among the pools")]
    UnknownPool(Box<str>),
    /// Every share would be zero.
    #[error("at least one share must be above zero")]
    Nothing,
}

/// A share of requests at most; as relative as any weight.
pub const SHARE_MAX: u32 = 1_000_000;
