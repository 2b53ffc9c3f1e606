//! Tidegate: a caching edge node.

pub mod admin;
pub mod clock;
pub mod config;
pub mod listener;
pub mod observe;
pub mod origin;
pub mod respond;
pub mod route;
pub mod shutdown;
