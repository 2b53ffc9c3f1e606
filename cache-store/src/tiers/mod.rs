//! The ladder: where stored responses live. `objects` keeps what is asked for in memory, under a budget of bytes; [`disk`]
//! keeps more of it beneath, so that memory may forget and a restart begins warm; [`admit`] and `gate` say what a full one takes.
//!
//! ```text
//! lookup ── objects ── (disk ── promotion ──► objects)        insert ──► objects, (admit ──►) disk
//! ```
//!
//! [`segments`] is the log under [`disk`]; `shelf` holds the [`chunks`] of bodies too large for it, whose [`manifest`] lies in it. [`files`] is how a disk
//! is reached, and how a test puts a failing one in its place.

pub mod admit;
pub(crate) mod arena;
pub mod chunks;
pub mod disk;
pub mod files;
pub(crate) mod gate;
pub(crate) mod late;
pub mod manifest;
pub(crate) mod objects;
pub mod promotion;
pub(crate) mod record;
mod replay;
mod sample;
pub mod segments;
pub(crate) mod shelf;
pub mod sizing;
#[cfg(test)]
pub(crate) mod stage;
