//! What a validation or a `HEAD` changes in what is stored.
//!
//! A 304 confirms a stored response and brings newer fields: [`merged`] is the head to store from then on, judged anew
//! by [`storable`](super::storable::storable). [`confirmed`] says which of several stored responses a 304 is about.
//! A 200 to a `HEAD` does the same for a stored `GET`, or shows that it is outdated ([`head_effect`]).
//!
//! Invariant: what describes the stored bytes stays with them. `ETag`, `Content-Encoding`, `Content-Length`,
//! `Content-Range` and digests are never taken from a message that did not bring the bytes.
//!
//! Departure, RFC 9111 §4.3.4: a 304 that labels itself with another strong tag than the only one asked about still
//! confirms it. One tag was asked about, and "not modified" can be about nothing else; servers that get the label
//! wrong are common, and fetching everything again from them would not make it right.
//!
//! RFC 9111 §3.2, §4.3.4, §4.3.5.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::ResponseHead;
use super::retained::retained;
use super::validator::{Comparison, ETag, Validators};

/// The head of a stored response once `news` (a 304, or a 200 to `HEAD`) confirmed it: fields `news` names are
/// replaced by its lines, the others kept. Time fields of the old exchange go: the age counts from the validation.
pub fn merged(stored: &HeaderMap, news: &HeaderMap) -> HeaderMap {
    let updates = |name: &HeaderName| news.contains_key(name) && updatable(name);
    let mut head = HeaderMap::with_capacity(stored.keys_len() + news.keys_len());
    for (name, value) in stored {
        let outdated = *name == header::AGE || *name == header::DATE;
        if !outdated && !updates(name) {
            head.append(name.clone(), value.clone());
        }
    }
    for (name, value) in retained(news, &[]) {
        if updatable(name) {
            head.append(name.clone(), value.clone());
        }
    }
    head
}

/// Whether a confirmation may change the field.
pub fn updatable(name: &HeaderName) -> bool {
    !super::retained::hop_by_hop(name)
        && !matches!(
            name.as_str(),
            "content-encoding"
                | "content-length"
                | "content-md5"
                | "content-range"
                | "content-digest"
                | "repr-digest"
                | "digest"
                | "etag"
        )
}

/// Which stored responses a 304 confirms, as indices into `asked`: the validators sent, one entry a stored response.
///
/// A single one asked about is the one. Of several, those with the 304's strong tag; else those it matches weakly,
/// by tag or `Last-Modified`, when that is exactly one. RFC 9111 §4.3.4.
pub fn confirmed(not_modified: &HeaderMap, asked: &[Validators]) -> Vec<usize> {
    if asked.len() == 1 {
        return vec![0];
    }
    let tag = ETag::of(not_modified);
    let with = |comparison: Comparison| -> Vec<usize> {
        let Some(tag) = tag else { return Vec::new() };
        indices(asked, |validators| {
            let stored = validators.etag.as_ref().and_then(|value| ETag::parse(value.as_bytes()));
            stored.is_some_and(|stored| tag.matches(stored, comparison))
        })
    };
    if tag.is_some_and(|tag| !tag.weak) {
        return with(Comparison::Strong);
    }
    let candidates = if tag.is_some() {
        with(Comparison::Weak)
    } else {
        let modified = not_modified.get(header::LAST_MODIFIED).map(HeaderValue::as_bytes);
        indices(asked, |validators| {
            modified.is_some() && validators.last_modified.as_ref().map(HeaderValue::as_bytes) == modified
        })
    };
    if candidates.len() == 1 { candidates } else { Vec::new() }
}

fn indices(asked: &[Validators], keep: impl Fn(&Validators) -> bool) -> Vec<usize> {
    asked.iter().enumerate().filter(|(_, validators)| keep(validators)).map(|(index, _)| index).collect()
}

/// What a response to `HEAD` says about a stored response to `GET`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HeadEffect {
    /// It describes the same content: store its [`merged`] head.
    Update,
    /// It describes other content: what is stored is stale.
    Invalidate,
    /// It says nothing about it.
    Nothing,
}

/// Compares a response to `HEAD` with the stored response it was about (RFC 9111 §4.3.5).
pub fn head_effect(stored: &ResponseHead<'_>, head: &ResponseHead<'_>) -> HeadEffect {
    if head.status != StatusCode::OK {
        return HeadEffect::Nothing;
    }
    if stored.status != StatusCode::OK {
        return HeadEffect::Invalidate;
    }
    // What `head` does not carry says nothing against the stored response; what it carries must be the same there.
    let same = |name: &HeaderName| {
        head.fields.get(name).is_none_or(|value| stored.fields.get(name).is_some_and(|kept| kept == value))
    };
    let validators = same(&header::ETAG) && same(&header::LAST_MODIFIED);
    if validators && same(&header::CONTENT_LENGTH) && same(&header::CONTENT_ENCODING) {
        HeadEffect::Update
    } else {
        HeadEffect::Invalidate
    }
}
