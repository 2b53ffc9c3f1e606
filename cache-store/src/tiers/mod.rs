//! Where stored responses live: `objects` in memory, under a budget of bytes; beneath it the parts that a disk tier is made
//! of. [`segments`] is a log that knows keys and bytes but nothing of HTTP; [`files`] is how it reaches a disk, and how a test
//! puts a failing one in its place.

pub mod files;
pub(crate) mod objects;
pub mod segments;
