//! Purge calls in other people's shapes, so that plugins and scripts work with another base URL.
//!
//! `method.rs`: `PURGE`, `PURGEKEYS` and `BAN` on a client listener, as Varnish, Squid and Fastly made them known; `pattern.rs`
//! the regular expressions in them. `zones.rs`: Cloudflare's `purge_cache`. `service.rs`: Fastly's calls by surrogate key.
//!
//! Invariant: what cannot be said exactly in an [`Order`](crate::Order) is refused with what to write instead. A purge never
//! takes less than was asked for, and `everything` is never guessed.

pub mod method;
mod pattern;
pub mod service;
pub mod zones;
