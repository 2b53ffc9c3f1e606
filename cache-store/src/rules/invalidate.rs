//! What a successful unsafe request makes stale: its own URI, and what `Location` and `Content-Location` name, on the
//! same origin only (RFC 9111 §4.4).
//!
//! Called when the response to a `POST`, `PUT`, `DELETE` or any method not known to be safe arrives; the store turns
//! each [path](Invalidated) into a purge of that URL. References are resolved as RFC 3986 §5.2 says.
//!
//! Invariant: no response invalidates anything on another scheme, host or port than the request's.

use http::{HeaderName, Method, StatusCode, header};

use super::{Fields, ResponseHead, Target};

/// The paths (with query) a response invalidates, on the target's own origin; the target's own is the first.
pub type Invalidated = Vec<String>;

/// What the response to an unsafe request invalidates; nothing when the method is safe or the response an error.
pub fn invalidated<F: Fields>(
    method: &Method,
    target: &Target<'_>,
    response: &ResponseHead<'_, F>,
) -> Invalidated {
    if is_safe(method) || !succeeded(response.status) {
        return Vec::new();
    }
    let mut paths = vec![target.path.to_owned()];
    for name in [header::LOCATION, header::CONTENT_LOCATION] {
        if let Some(path) = named(target, response.fields, &name)
            && !paths.contains(&path)
        {
            paths.push(path);
        }
    }
    paths
}

/// Methods that ask for nothing to change (RFC 9110 §9.2.1), and those that cannot concern what is stored.
pub fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::CONNECT)
        || method.as_str() == "QUERY"
}

/// RFC 9111 §4.4: a non-error status is a 2xx or a 3xx.
fn succeeded(status: StatusCode) -> bool {
    status.is_success() || status.is_redirection()
}

/// Whether the response says that it is what its target URI stands for (RFC 9110 §8.7).
pub fn content_location_is_target<F: Fields>(target: &Target<'_>, fields: &F) -> bool {
    named(target, fields, &header::CONTENT_LOCATION).is_some_and(|path| path == without_fragment(target.path))
}

/// The path the field called `name` names, if it is there once and on the target's origin.
fn named<F: Fields>(target: &Target<'_>, fields: &F, name: &HeaderName) -> Option<String> {
    let mut lines = fields.values(name);
    let reference = lines.next().filter(|value| value.is_ascii())?;
    let reference = std::str::from_utf8(reference).ok()?;
    if lines.next().is_some() { None } else { resolve(target, reference.trim()) }
}

/// Resolves a URI reference against the target; `None` when it leaves the target's origin.
pub fn resolve(target: &Target<'_>, reference: &str) -> Option<String> {
    let reference = without_fragment(reference);
    if let Some(rest) = strip_scheme(reference) {
        let (scheme, rest) = rest;
        return if scheme.eq_ignore_ascii_case(target.scheme) {
            on_authority(target, rest.strip_prefix("//")?)
        } else {
            None
        };
    }
    if let Some(rest) = reference.strip_prefix("//") {
        return on_authority(target, rest);
    }
    let (base_path, _) = split_query(without_fragment(target.path));
    if reference.is_empty() {
        return Some(without_fragment(target.path).to_owned());
    }
    if reference.starts_with('?') {
        return Some(format!("{base_path}{reference}"));
    }
    let (path, query) = split_query(reference);
    let merged = if path.starts_with('/') {
        path.to_owned()
    } else {
        let directory = base_path.rfind('/').and_then(|slash| base_path.get(..=slash)).unwrap_or("/");
        format!("{directory}{path}")
    };
    Some(without_dots(&merged) + query)
}

/// `http:…` as its scheme and the rest; `None` when the reference is relative.
fn strip_scheme(reference: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = reference.split_once(':')?;
    let named = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'));
    named.then_some((scheme, rest))
}

/// What follows `//`: the path, when the authority is the target's.
fn on_authority(target: &Target<'_>, rest: &str) -> Option<String> {
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at_checked(end)?;
    if !same_authority(target.scheme, authority, target.authority) {
        return None;
    }
    let (path, query) = split_query(tail);
    let path = if path.is_empty() { "/".to_owned() } else { without_dots(path) };
    Some(path + query)
}

/// Host and port are equal, with the scheme's default port left out or written.
fn same_authority(scheme: &str, a: &str, b: &str) -> bool {
    let default = if scheme.eq_ignore_ascii_case("https") { ":443" } else { ":80" };
    let bare = |authority| str::strip_suffix(authority, default).unwrap_or(authority);
    bare(a).eq_ignore_ascii_case(bare(b))
}

fn without_fragment(reference: &str) -> &str {
    reference.split_once('#').map_or(reference, |(before, _)| before)
}

/// Path and query, the query with its `?`.
fn split_query(reference: &str) -> (&str, &str) {
    reference.find('?').and_then(|at| reference.split_at_checked(at)).unwrap_or((reference, ""))
}

/// RFC 3986 §5.2.4.
fn without_dots(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." | ".." => {
                if segment == ".." {
                    kept.pop();
                }
                if last {
                    kept.push("");
                }
            }
            _ => kept.push(segment),
        }
    }
    format!("/{}", kept.join("/"))
}
