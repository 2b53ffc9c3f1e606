//! Which of a query's parameters count: removal and sorting, for the key and the forward alike (FAULTS C3).
//!
//! Works on a query in normal form (`normal.rs`), so that `utm%5Fsource` is `utm_source`. Parameters are what `&` parts and
//! nothing else: an origin that also splits at `;` finds a removed parameter gone whole, never in half. Names are
//! compared with case. A query whose last parameter is removed is no query; an empty one stays.
//!
//! Invariant: what is not in the forwarded query is not in the key, and the other way round; doing it twice changes
//! nothing.

use std::borrow::Cow;

use super::normal::Target;
use crate::config::Query;

/// The target as the route's settings want it.
pub(super) fn treat<'a>(target: Target<'a>, settings: &Query) -> Target<'a> {
    let Some(query) = target.query() else { return target };
    match treated(query, settings) {
        None => target,
        Some(query) => target.with_query(query.as_deref()),
    }
}

/// The query that remains, or `None` where it stays as it is.
fn treated<'q>(query: &'q [u8], settings: &Query) -> Option<Option<Cow<'q, [u8]>>> {
    if query.is_empty() {
        return None;
    }
    let removes = !settings.remove.is_empty() && parameters(query).any(|one| is_removed(one, settings));
    let sorts = settings.sort && !parameters(query).is_sorted_by_key(name);
    if !removes && !sorts {
        return None;
    }
    let mut kept: Vec<&[u8]> = parameters(query).filter(|one| !is_removed(one, settings)).collect();
    if kept.is_empty() {
        return Some(None);
    }
    if settings.sort {
        // Stable: an origin may read repeated parameters in order.
        kept.sort_by_key(|one| name(one));
    }
    // One parameter that is empty, as in `?utm_source=x&`, is no query either.
    let query = kept.join(&b'&');
    Some((!query.is_empty()).then_some(Cow::Owned(query)))
}

fn parameters(query: &[u8]) -> impl Iterator<Item = &[u8]> {
    query.split(|byte| *byte == b'&')
}

fn name(parameter: &[u8]) -> &[u8] {
    parameter.split(|byte| *byte == b'=').next().unwrap_or_default()
}

fn is_removed(parameter: &[u8], settings: &Query) -> bool {
    let name = name(parameter);
    settings.remove.iter().any(|pattern| match pattern.strip_suffix('*') {
        Some(prefix) => name.starts_with(prefix.as_bytes()),
        None => name == pattern.as_bytes(),
    })
}
