//! Tidegate: a caching edge node.
//!
//! A request's way through the house, room by room:
//!
//! ```text
//! listener (1) ─► route (2) ─► serve: lookup (3), coalesce (4) ─► origin (5) ─► store (6) ─► respond (7)
//! ```
//!
//! [`listener`] turns bytes into a [`listener::request::Request`]; [`route`] finds its site and makes the normal form that
//! is key and forward alike; [`serve`] holds every branch and asks `cache_store` for the one answer under one
//! lock; [`origin`] fetches what is missing; [`respond`] makes the answer. [`admin`] is the second listener, [`fleet`] brings purges to other nodes and theirs here, [`observe`] the
//! log and the metrics, [`places`] knows where clients are, [`config`] the settings, [`node`] starts and stops it all.
//!
//! `ARCHITECTURE.md` has the invariants.

pub mod admin;
pub mod cli;
pub mod clock;
pub mod config;
pub mod demo;
pub mod encode;
pub mod fleet;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod gate;
pub mod handover;
pub mod listener;
pub mod manager;
pub mod node;
pub mod observe;
pub mod origin;
pub mod places;
pub mod reload;
pub mod respond;
pub mod route;
pub mod serve;
pub mod shutdown;
pub mod start;
mod watch;

pub use node::{Running, StartError};
pub use serve::Edge;
