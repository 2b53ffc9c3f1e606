//! Which fields of an origin's answer are kept, and which go on to a client.
//!
//! Hop-by-hop fields have stayed behind in `origin/`. Here go what is for caches alone (tags, `Surrogate-Control`, what nodes of a
//! tier tell each other) and what is written anew with our member behind it (`Cache-Status`); `Via` gets our member too.
//!
//! Invariant: what is for caches alone never reaches a client; a node of the tier gets it. RFC 9110 §7.6.3, RFC 9111 §3.1.

use bytes::Bytes;
use cache_store::rules;
use cache_store::rules::policy::SURROGATE_CONTROL;
use cache_store::rules::retained::{hop_by_hop, retained};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::walk::Walk;
use crate::origin::fields::{TAG_FIELDS, is_tag_field};
use crate::origin::parent::proof::{OURS, TIER, remove_ours};
use crate::origin::{Answer, ResponseFields};

/// The fields of an answer that goes around the cache. A node gets what was meant for caches: it judges for itself.
pub(super) fn fields_on(walk: &Walk, fields: &mut ResponseFields) {
    if fields.has_special() {
        let tags = if walk.for_node() { tags_of(fields).join(" ") } else { String::new() };
        fields.retain(|name| goes_on(name, walk.for_node()));
        if !tags.is_empty() {
            fields.push(SURROGATE_KEY.as_bytes(), tags.as_bytes());
        }
    }
    if let Some(ours) = &walk.edge.via
        && !fields.named(header::VIA.as_str()).any(|via| via == ours.as_bytes())
    {
        fields.push(header::VIA.as_str().as_bytes(), ours.as_bytes());
    }
}

/// Whether a field of this name, in lower case, goes on as it came: to a node of the tier, or to a client.
fn goes_on(name: &[u8], to_node: bool) -> bool {
    let is_written_anew =
        is_tag_field(name) || name == CACHE_STATUS.as_bytes() || name == TIER.as_str().as_bytes();
    let is_for_caches = name == SURROGATE_CONTROL.as_str().as_bytes() || name.starts_with(OURS.as_bytes());
    !is_written_anew && (to_node || !is_for_caches)
}

/// What caches before this one said in `Cache-Status`, as one line.
pub(super) fn said_before(fields: &ResponseFields) -> Option<Box<[u8]>> {
    if !fields.has_special() {
        return None;
    }
    let lines: Vec<&[u8]> = fields.named(CACHE_STATUS).collect();
    Some(lines.join(&b", "[..])).filter(|joined| !joined.is_empty()).map(Vec::into_boxed_slice)
}

/// The fields to store: no hop-by-hop ones, `Date` where the origin forgot it, our `Via`.
pub(super) fn kept_fields(
    walk: &Walk,
    fields: HeaderMap,
    strip: &[http::HeaderName],
    answer: &Answer,
) -> HeaderMap {
    let mut kept = without(fields, strip);
    kept.remove(SURROGATE_CONTROL);
    remove_ours(&mut kept);
    if !kept.contains_key(header::DATE) {
        let received = walk.edge.clock.wall().minus(walk.edge.clock.now().since(answer.received_at));
        let at = std::time::UNIX_EPOCH + std::time::Duration::from_millis(received.as_millis());
        if let Ok(date) = HeaderValue::from_str(&httpdate::fmt_http_date(at)) {
            kept.insert(header::DATE, date);
        }
    }
    if let Some(ours) = &walk.edge.via
        && !kept.get_all(header::VIA).iter().any(|via| via == ours)
    {
        kept.append(header::VIA, ours.clone());
    }
    kept
}

/// Without hop-by-hop fields and those in `strip`, nor what is written anew with our member behind it; copied only where one
/// of them is there.
fn without(fields: HeaderMap, strip: &[http::HeaderName]) -> HeaderMap {
    let goes = |name: &HeaderName| hop_by_hop(name) || *name == CACHE_STATUS || strip.contains(name);
    if !fields.keys().any(goes) {
        return fields;
    }
    let mut left = HeaderMap::with_capacity(fields.len() + 2);
    for (name, value) in retained(&fields, strip) {
        if *name != CACHE_STATUS {
            left.append(name.clone(), value.clone());
        }
    }
    left
}

/// What a node of this name adds to the `Via` of a response.
pub(crate) fn via(node: &str) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from([VIA_VERSION, node.as_bytes()].concat())).ok()
}

/// Takes the tags out of a head: they are for caches, not for clients.
pub(super) fn take_tags(fields: &mut HeaderMap) -> Box<[Box<str>]> {
    if !fields.keys().any(|name| is_tag_field(name.as_str().as_bytes())) {
        return Box::default();
    }
    let tags = tags_of(fields);
    for name in TAG_FIELDS {
        fields.remove(name);
    }
    tags
}

/// The tags under which a response can be purged.
pub(super) fn tags_of(fields: &impl rules::Fields) -> Box<[Box<str>]> {
    let mut tags: Vec<Box<str>> = Vec::new();
    for name in TAG_FIELDS.map(HeaderName::from_static) {
        for value in fields.values(&name).filter(|value| value.is_ascii()) {
            let Ok(text) = std::str::from_utf8(value) else { continue };
            for tag in text.split([' ', ',']).map(|tag| tag.trim_matches('"')) {
                if !tag.is_empty() && tag.len() <= TAG_BYTES_MAX {
                    tags.push(tag.into());
                }
            }
        }
    }
    tags.into()
}

const CACHE_STATUS: &str = "cache-status";
const SURROGATE_KEY: &str = "surrogate-key";
/// What comes before our name in `Via` of a response: origins speak HTTP/1.1 to us.
const VIA_VERSION: &[u8] = b"1.1 ";
/// Bytes of a tag; no purge names a longer one.
const TAG_BYTES_MAX: usize = purge_api::limits::TAG_BYTES_MAX;
