//! Which of a query's parameters count: removal and sorting, for the key and the forward alike (FAULTS C3).
//!
//! Works on a query in normal form (`normal.rs`), so that `utm%5Fsource` is `utm_source`. Parameters are what `&` parts and
//! nothing else: an origin that also splits at `;` finds a removed parameter gone whole, never in half. Names are
//! compared with case. A query whose last parameter is removed is no query; an empty one stays.
//!
//! Invariant: what is not in the forwarded query is not in the key, and the other way round; doing it twice changes
//! nothing.

use super::normal::Target;
use crate::config::Query;

/// The target as the route's settings want it, without the parameters that are this node's `own`.
pub(super) fn treat<'a>(target: Target<'a>, settings: &Query, own: &[&str]) -> Target<'a> {
    let target = without(target, own);
    let Some(query) = target.query() else { return target };
    match treated(query, settings) {
        Treated::Same => target,
        Treated::Other(query) => target.with_query(Some(&query)),
        Treated::Gone => target.with_query(None),
    }
}

/// The target without these parameters.
pub(super) fn without<'a>(target: Target<'a>, own: &[&str]) -> Target<'a> {
    if own.is_empty() {
        return target;
    }
    let Some(query) = target.query() else { return target };
    let is_own = |parameter: &[u8]| own.iter().any(|own| own.as_bytes() == name(parameter));
    if !parameters(query).any(is_own) {
        return target;
    }
    let kept: Vec<&[u8]> = parameters(query).filter(|one| !is_own(one)).collect();
    let kept = kept.join(&b'&');
    target.with_query((!kept.is_empty()).then_some(&kept))
}

/// What becomes of a query.
enum Treated {
    Same,
    Other(Vec<u8>),
    Gone,
}

fn treated(query: &[u8], settings: &Query) -> Treated {
    if query.is_empty() {
        return Treated::Same;
    }
    let removes = (!settings.remove.is_empty() || settings.keep.is_some())
        && parameters(query).any(|one| is_removed(one, settings));
    let sorts = settings.sort && !parameters(query).is_sorted_by_key(name);
    if !removes && !sorts {
        return Treated::Same;
    }
    let mut kept: Vec<&[u8]> = parameters(query).filter(|one| !is_removed(one, settings)).collect();
    if settings.sort {
        // Stable: an origin may read repeated parameters in order.
        kept.sort_by_key(|one| name(one));
    }
    // What is left may be one empty parameter, as of `?utm_source=x&`: that is no query either.
    let query = kept.join(&b'&');
    if query.is_empty() { Treated::Gone } else { Treated::Other(query) }
}

/// The parameters of a query, each with its value.
pub(super) fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&')
}

/// What stands before the first `=`.
pub(super) fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn is_removed(parameter: &[u8], settings: &Query) -> bool {
    let name = name(parameter);
    settings.keep.as_ref().is_some_and(|kept| !is_named(name, kept)) || is_named(name, &settings.remove)
}

/// Whether a name is one of these: exact, or by prefix ending in `*`.
pub(super) fn is_named(name: &[u8], patterns: &[Box<str>]) -> bool {
    patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == pattern.as_bytes(),
    })
}
