//! The segment log's promises: against a model, on a disk that tears, flips bits and fails, under threads, and killed.

mod durability;
mod faults;
mod killed;
mod model;
mod opening;
mod racing;
