//! Tidegate: a caching edge node.

pub mod clock;
pub mod config;
pub mod listener;
pub mod origin;
pub mod respond;
pub mod shutdown;
