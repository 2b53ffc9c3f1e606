//! Where stored responses live. Today one tier, memory; disk comes beneath it behind the same calls.

pub(crate) mod arena;
pub(crate) mod objects;
