//! Purge calls in other people's shapes: the PURGE method, as Varnish, Squid and Fastly made it known.

use http::StatusCode;
use serde_json::json;

use crate::reply::{Problem, Reply};
use crate::request::ResourceUrl;
use crate::{Applied, Purger};

/// Request fields that make a PURGE soft when their value is `1`.
pub const SOFT_FIELDS: [&str; 2] = ["soft-purge", "fastly-soft-purge"];

/// Whether one of the values of [`SOFT_FIELDS`] asks for a soft purge.
pub fn asks_soft<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    values.any(|value| value == b"1")
}

/// Answers `PURGE url`: 200 with what was touched, also when nothing was stored, so that scripts need not tell the two
/// apart.
pub fn purge_method(purger: &dyn Purger, url: ResourceUrl, soft: bool) -> Reply {
    match purger.purge_urls(&[url], soft) {
        Ok(Applied { sequence, matched }) => {
            let mut reply = Reply::json(StatusCode::OK, &json!({"matched": matched, "sequence": sequence}));
            reply.fields.push(("cache-control", "no-store"));
            reply
        }
        Err(error) => Problem::from(error).into(),
    }
}
