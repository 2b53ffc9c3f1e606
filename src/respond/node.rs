//! Lines that only a node of the tier gets: what this node has computed, so that the next one lives by the same numbers.
//!
//! A stored response no longer has its targeted fields and tags as lines: they are not for clients. What became of them goes on
//! as `Tidegate-Control`, in the grammar of RFC 9213, which governs at the child before any other field, and as
//! `Surrogate-Key`. The lifetime counts from the generation of the response, as `Age` does, so neither it nor the
//! windows behind it begin anew at the second hop.

use cache_store::rules::{CacheControl, Freshness};

use super::headers::line;
use crate::origin::parent::proof::CONTROL;

/// The lines for a response with this freshness and these tags; `said` are the values of its `Cache-Control` and
/// `CDN-Cache-Control` lines.
pub(super) fn lines<'a>(
    out: &mut Vec<u8>,
    freshness: &Freshness,
    tags: &[Box<str>],
    said: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) {
    let mut control = CacheControl::default();
    for (name, value) in said {
        if CACHE_CONTROLS.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes())) {
            control.read(value);
        }
    }
    let windows = freshness.windows();
    let mut text = format!(
        "max-age={}, stale-while-revalidate={}, stale-if-error={}",
        freshness.lifetime_secs(),
        windows.while_revalidate_secs,
        windows.if_error_secs
    );
    // RFC 9111 §3.5: what the child may keep of an answer to an authenticated request.
    let is_public = control.has(CacheControl::PUBLIC)
        || control.has(CacheControl::MUST_REVALIDATE)
        || control.s_maxage.seconds().is_some();
    for (is_so, directive) in [
        (freshness.no_cache(), ", no-cache"),
        (freshness.must_revalidate(), ", proxy-revalidate"),
        (freshness.immutable(), ", immutable"),
        (is_public, ", public"),
    ] {
        if is_so {
            text.push_str(directive);
        }
    }
    line(out, CONTROL.as_str().as_bytes(), text.as_bytes());
    if !tags.is_empty() {
        line(out, b"surrogate-key", tags.join(" ").as_bytes());
    }
}

const CACHE_CONTROLS: [&str; 2] = ["cache-control", "cdn-cache-control"];
