//! Where stored responses live. Whole responses in memory; large bodies on disk as chunks, and the manifests that
//! name them.

pub mod chunks;
pub mod manifest;
pub(crate) mod objects;
