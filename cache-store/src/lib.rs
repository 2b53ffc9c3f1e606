//! The cache: may forget, must not lie.
//!
//! [`store::CacheStore::lookup`] gives one answer to a request ([`lookup::Lookup`]): a hit, a place behind a fetch
//! that is under way, or the permit to fetch. [`rules`] decide what may be stored and used; [`coalesce`] lets
//! many wait for one; [`body`] is what they read while it comes; [`purge`] makes it forget.
//!
//! Large bodies live on disk as chunks named by their content ([`large`], [`tiers::chunks`]).
//!
//! The crate reads no clock, opens no socket and knows HTTP only by the `http` crate's types.

mod atomic;
pub mod body;
pub mod coalesce;
mod cursor;
pub mod entry;
pub mod form;
pub mod handover;
pub mod key;
pub mod large;
pub mod lookup;
pub mod owing;
pub mod purge;
pub mod rules;
mod stock;
pub mod store;
pub mod tiers;
pub mod timestamp;
mod weight;
