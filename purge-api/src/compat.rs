//! Purge calls in other people's shapes: the PURGE method, as Varnish, Squid and Fastly made it known.

use http::StatusCode;
use serde_json::json;

use crate::reply::{Problem, Reply};
use crate::{Applied, Order, Purger, ResourceUrl, Selector};

/// Request fields that make a PURGE soft when their value is `1`.
pub const SOFT_FIELDS: [&str; 2] = ["soft-purge", "fastly-soft-purge"];

/// Whether one of the values of [`SOFT_FIELDS`] asks for a soft purge.
pub fn asks_soft<'a>(mut values: impl Iterator<Item = &'a [u8]>) -> bool {
    values.any(|value| value == b"1")
}

/// Answers `PURGE url`: 200 with what was touched, also when nothing was stored, so that scripts need not tell the two
/// apart.
pub fn purge_method(purger: &dyn Purger, url: ResourceUrl, soft: bool) -> Reply {
    match purger.purge(&Order { selectors: vec![Selector::Url(url)], soft }) {
        Ok(Applied { sequence, matched }) => {
            let mut reply = Reply::json(StatusCode::OK, &json!({"matched": matched, "sequence": sequence}));
            reply.fields.push(("cache-control", "no-store".into()));
            reply
        }
        Err(error) => Problem::from(error).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::Fake;

    #[test]
    fn softness() {
        for (claim, values, soft) in [
            ("no field is hard", &[][..], false),
            ("one is soft", &[&b"1"[..]], true),
            ("one of two is enough", &[b"0", b"1"], true),
            ("zero is hard", &[b"0"], false),
            ("other words are not understood", &[b"true"], false),
        ] {
            assert_eq!(asks_soft(values.iter().copied()), soft, "{claim}");
        }
    }

    #[test]
    fn answers() {
        let purger = Fake::holding(&["http://a/x"]);
        for (claim, url, status, body) in [
            ("what was stored is told", "http://a/x", 200, "{\"matched\":1,\"sequence\":1}\n"),
            ("what was not is no error", "http://a/y", 200, "{\"matched\":0,\"sequence\":2}\n"),
            ("another's host is one", "http://b/x", 422, "{\"code\":\"no-site\""),
        ] {
            let reply = purge_method(&purger, ResourceUrl::parse(url).unwrap(), false);
            assert_eq!(reply.status, status, "{claim}");
            assert!(String::from_utf8(reply.body).unwrap().starts_with(body), "{claim}");
        }
    }
}
