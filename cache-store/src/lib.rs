//! The cache: may forget, must not lie.

pub mod timestamp;
pub mod rules;
