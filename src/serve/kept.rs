//! Which fields of an origin's answer are kept, and which go on to a client.
//!
//! Hop-by-hop fields have stayed behind in `origin/`. Here go what is for caches alone (tags, `Surrogate-Control`, what nodes of a
//! tier tell each other) and what is written anew with our member behind it (`Cache-Status`); `Via` gets our member too.
//!
//! Invariant: what is for caches alone never reaches a client; a node of the tier gets it. RFC 9110 §7.6.3, RFC 9111 §3.1.

use bytes::Bytes;
use cache_store::rules::policy::SURROGATE_CONTROL;
use cache_store::rules::retained::{hop_by_hop, retained};
use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::walk::Walk;
use crate::origin::Answer;
use crate::origin::parent::proof::{OURS, TIER, remove_ours};

/// The values of a list field as one.
pub(super) fn joined_values(fields: &HeaderMap, name: &HeaderName) -> Option<HeaderValue> {
    let mut joined = Vec::new();
    for (nth, value) in fields.get_all(name).iter().enumerate() {
        if nth > 0 {
            joined.extend_from_slice(b", ");
        }
        joined.extend_from_slice(value.as_bytes());
    }
    HeaderValue::from_bytes(&joined).ok().filter(|value| !value.is_empty())
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
    with_via(walk, kept)
}

/// The fields of an answer that goes around the cache.
pub(super) fn fields_on(walk: &Walk, mut fields: HeaderMap) -> HeaderMap {
    if is_plain(&fields) {
        return with_via(walk, fields);
    }
    let tags = take_tags(&mut fields);
    sent_fields(walk, fields, &tags)
}

/// The fields of an answer that is not stored. A node gets what was meant for caches: it judges for itself.
pub(super) fn sent_fields(walk: &Walk, fields: HeaderMap, tags: &[Box<str>]) -> HeaderMap {
    let mut sent = without(fields, &[]);
    if walk.for_node() {
        sent.remove(TIER);
        if let Ok(tags) = HeaderValue::from_str(&tags.join(" "))
            && !tags.is_empty()
        {
            sent.insert(SURROGATE_KEY, tags);
        }
    } else {
        sent.remove(SURROGATE_CONTROL);
        remove_ours(&mut sent);
    }
    with_via(walk, sent)
}

/// Whether no field is there that a cache takes out of an answer, or writes anew. Nearly all answers are so.
pub(super) fn is_plain(fields: &HeaderMap) -> bool {
    !fields.keys().any(|name| {
        name.as_str().starts_with(OURS)
            || matches!(name.as_str(), "surrogate-control" | "cache-status")
            || hop_by_hop(name)
            || is_tag_field(name)
    })
}

fn is_tag_field(name: &HeaderName) -> bool {
    TAG_FIELDS.contains(&name.as_str())
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

/// With our member of `Via`, where it is not there yet.
pub(super) fn with_via(walk: &Walk, mut fields: HeaderMap) -> HeaderMap {
    if let Some(ours) = &walk.edge.via
        && !fields.get_all(header::VIA).iter().any(|via| via == ours)
    {
        fields.append(header::VIA, ours.clone());
    }
    fields
}

/// What a node of this name adds to the `Via` of a response.
pub(crate) fn via(node: &str) -> Option<HeaderValue> {
    HeaderValue::from_maybe_shared(Bytes::from([VIA_VERSION, node.as_bytes()].concat())).ok()
}

/// Takes the surrogate keys out of a head: they are for caches, not for clients.
pub(super) fn take_tags(fields: &mut HeaderMap) -> Box<[Box<str>]> {
    if !fields.keys().any(is_tag_field) {
        return Box::default();
    }
    let mut tags: Vec<Box<str>> = Vec::new();
    for name in TAG_FIELDS {
        for value in fields.get_all(name) {
            let Ok(text) = value.to_str() else { continue };
            for tag in text.split([' ', ',']).map(|tag| tag.trim_matches('"')) {
                if !tag.is_empty() && tag.len() <= TAG_BYTES_MAX {
                    tags.push(tag.into());
                }
            }
        }
        fields.remove(name);
    }
    tags.into()
}

pub(super) const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// What comes before our name in `Via` of a response: origins speak HTTP/1.1 to us.
const VIA_VERSION: &[u8] = b"1.1 ";
const TAG_FIELDS: [&str; 7] =
    ["surrogate-key", "cache-tag", "xkey", "cache-groups", "cache-tags", "x-cache-tags", "x-magento-tags"];
/// Bytes of a tag; no purge names a longer one.
const TAG_BYTES_MAX: usize = purge_api::limits::TAG_BYTES_MAX;
