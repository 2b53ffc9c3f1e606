//! Where stored responses live. Whole responses in memory; beneath it the parts of a disk tier: [`segments`] for what is small,
//! [`chunks`] and the manifests that name them for large bodies. [`files`] is how a disk is reached, and how a test puts a
//! failing one in its place.

pub mod chunks;
pub mod files;
pub mod manifest;
pub(crate) mod objects;
pub mod segments;
