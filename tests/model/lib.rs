//! The store's races, their order chosen by a model checker: see `purges.rs`.
