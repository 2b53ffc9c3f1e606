//! 1 bytes -> Request.

pub mod deadline;
pub mod fields;
pub mod request;
pub mod service;
