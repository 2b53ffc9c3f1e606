//! The cache: may forget, must not lie.

pub mod rules;
pub mod timestamp;
