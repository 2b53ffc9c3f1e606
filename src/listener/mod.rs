//! 1 bytes -> Request.

pub mod deadline;
pub mod fields;
pub mod h1;
pub mod request;
pub mod service;
