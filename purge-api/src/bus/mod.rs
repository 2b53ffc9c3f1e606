//! How purges come to other nodes.

mod standing;

pub use standing::{Met, Position, Standing};
