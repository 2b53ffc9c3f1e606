//! `mirror` of a site or route: a share of its requests is copied to another pool, whose answers nobody waits for.

use std::sync::Arc;

/// What is copied, and where to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mirror {
    /// The pool that gets the copies.
    pub pool: Arc<str>,
    /// How many of a hundred.
    pub percent: u32,
    /// Of which.
    pub of: MirrorOf,
}

/// Of which requests a share is copied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MirrorOf {
    /// Of those that origins are asked for: what such a pool would get in their place.
    Misses,
    /// Of those that clients make, whatever answers them.
    Requests,
}
