//! 7 an outcome of the walk -> Response.

pub mod response;
