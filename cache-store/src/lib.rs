//! The cache: may forget, must not lie.

pub mod entry;
pub mod key;
pub mod rules;
pub mod timestamp;
