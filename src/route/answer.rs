//! What a route answers itself, before the cache is asked: redirects, fixed answers, maintenance, methods it does not take.
//!
//! Pure: `serve/answer.rs` makes responses of it, and `explain` tells it. Asked only where something of the kind is written
//! (`Route::is_plain`), in this order: `https_only`, `maintenance`, `allow_methods`, the site's `redirects`, the route's own answer.
//!
//! Invariant: a `Location` holds what a URL may hold and nothing else, and its host is the settings' or the request's own: what
//! is filled in from a path begins a path or continues one.

use std::net::IpAddr;

use http::{Method, StatusCode};

use super::matcher::{Captures, CompiledPath};
use super::normal::Target;
use super::{Bypass, Route, RouteTable};
use crate::config::limits::LOCATION_BYTES_MAX;
use crate::config::template::{Piece, Template, Values, Variable};
use crate::config::{Answer, Fixed, Maintenance, Redirect};
use crate::listener::request::Scheme;

/// An answer of the node's own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum OwnAnswer<'t> {
    /// `Location`, with this status.
    Redirect(StatusCode, Vec<u8>, &'static str),
    /// This.
    Fixed(&'t Fixed),
    /// The route is closed.
    Maintenance(&'t Maintenance),
    /// 405: these are allowed.
    NotAllowed(&'t [Method]),
    /// `OPTIONS *` that is not to be forwarded: nothing is said of it.
    Server,
    /// 414: a `Location` would be longer than is sent.
    TooLong,
}

/// What of the request it depends on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: Scheme,
    /// As received.
    pub(crate) target: &'a [u8],
    pub(crate) client: IpAddr,
}

impl RouteTable {
    /// What the route answers itself, if it does.
    pub(crate) fn own_answer<'t>(
        &'t self,
        route: &Route<'t, '_>,
        asked: &Asked<'_>,
    ) -> Option<OwnAnswer<'t>> {
        if route.is_plain || route.bypass == Some(Bypass::Trace) {
            return None;
        }
        let policy: &'t _ = route.policy;
        let answers = policy.https_only
            || policy.maintenance.is_some()
            || !policy.allow_methods.is_empty()
            || policy.answer.is_some()
            || self.sites.redirects(route.host());
        if !answers {
            return None;
        }
        // The route's own may have lost parameters that the target of a redirect is to keep.
        let whole = Target::of(asked.target).ok()?;
        let values = Values {
            host: route.host(),
            target: whole.as_bytes(),
            path_len: whole.path_len(),
            scheme: asked.scheme,
            client: asked.client,
            id: None,
        };
        if policy.https_only && asked.scheme == Scheme::Http {
            // `OPTIONS *` is about no resource that there could be a URL of: it is answered with what it asks for, and nobody is
            // asked in the clear.
            if asked.target == b"*" {
                return Some(OwnAnswer::Server);
            }
            let reads = *asked.method == Method::GET || *asked.method == Method::HEAD;
            // What has a body is to be sent again with it.
            let status = if reads { StatusCode::MOVED_PERMANENTLY } else { StatusCode::PERMANENT_REDIRECT };
            return Some(to_https(&values, status));
        }
        if let Some(maintenance) = &policy.maintenance
            && !maintenance.allow.iter().any(|network| network.contains(asked.client))
        {
            return Some(OwnAnswer::Maintenance(maintenance));
        }
        if !policy.allow_methods.is_empty() && !policy.allow_methods.contains(asked.method) {
            return Some(OwnAnswer::NotAllowed(&policy.allow_methods));
        }
        if let Some((path, redirect)) = self.sites.redirect(route.host(), whole.path()) {
            return Some(redirected(redirect, Some(path), &values));
        }
        match policy.answer.as_deref()? {
            Answer::Redirect(redirect) => Some(redirected(redirect, route.pattern, &values)),
            Answer::Fixed(fixed) => Some(OwnAnswer::Fixed(fixed)),
        }
    }
}

fn to_https(values: &Values<'_>, status: StatusCode) -> OwnAnswer<'static> {
    let location = [b"https://", values.host, values.target].concat();
    OwnAnswer::Redirect(status, location, "https-only")
}

fn redirected(
    redirect: &Redirect,
    pattern: Option<&CompiledPath>,
    values: &Values<'_>,
) -> OwnAnswer<'static> {
    let path = values.target.get(..values.path_len).unwrap_or_default();
    let captures = pattern.map(|pattern| pattern.captures(path)).unwrap_or_default();
    match location(&redirect.to, redirect.keep_query, values, &captures) {
        Some(location) => OwnAnswer::Redirect(redirect.status, location, "redirect"),
        None => OwnAnswer::TooLong,
    }
}

/// The target of a redirect, filled in; `None` where it is too long.
fn location(
    to: &Template,
    keep_query: bool,
    values: &Values<'_>,
    captures: &Captures<'_>,
) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(128);
    let mut value = Vec::new();
    for piece in to.pieces() {
        let variable = match piece {
            Piece::Text(text) => {
                out.extend_from_slice(text.as_bytes());
                continue;
            }
            Piece::Variable(variable) => *variable,
        };
        value.clear();
        match variable {
            Variable::Capture(number) => value.extend_from_slice(captures.of(number)),
            variable => values.write(variable, &mut value),
        }
        match place(&out) {
            // Else it would be a part of the host's name.
            Place::Authority if variable != Variable::Host && !value.starts_with(b"/") => out.push(b'/'),
            // Else one parameter would become two.
            Place::Query if variable != Variable::Query => value = as_parameter(&value),
            _ => {}
        }
        out.extend_from_slice(&value);
        if out.len() > LOCATION_BYTES_MAX {
            return None;
        }
    }
    let query = values.target.get(values.path_len.saturating_add(1)..).filter(|query| !query.is_empty());
    if let Some(query) = query.filter(|_| keep_query) {
        let at = out.iter().position(|byte| *byte == b'#').unwrap_or(out.len());
        let fragment = out.split_off(at);
        out.push(if out.contains(&b'?') { b'&' } else { b'?' });
        out.extend_from_slice(query);
        out.extend_from_slice(&fragment);
    }
    if out.starts_with(b"//") {
        // A client would take what follows for a host.
        out = [values.scheme.as_str().as_bytes(), b"://", values.host, &out].concat();
    }
    (out.len() <= LOCATION_BYTES_MAX).then(|| clean(out))
}

/// Where in a URL what is written next stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Nothing is written yet, or no more than a scheme.
    Start,
    Authority,
    Path,
    Query,
}

fn place(url: &[u8]) -> Place {
    if url.iter().any(|byte| matches!(byte, b'?' | b'#')) {
        return Place::Query;
    }
    if url.starts_with(b"/") {
        return Place::Path;
    }
    match memchr::memmem::find(url, b"://").and_then(|at| url.get(at + 3..)) {
        None | Some([]) => Place::Start,
        Some(rest) if rest.contains(&b'/') => Place::Path,
        Some(_) => Place::Authority,
    }
}

/// Text of a path as a part of a parameter's value.
pub(super) fn as_parameter(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if matches!(byte, b'&' | b'=' | b'+' | b';' | b'#') {
            super::normal::encode(*byte, &mut out);
        } else {
            out.push(*byte);
        }
    }
    out
}

/// Whatever came together, it is a URL.
fn clean(url: Vec<u8>) -> Vec<u8> {
    let is_clean = |byte: &u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(byte);
    if url.iter().all(is_clean) {
        return url;
    }
    let mut out = Vec::with_capacity(url.len());
    for byte in url {
        if is_clean(&byte) { out.push(byte) } else { super::normal::encode(byte, &mut out) }
    }
    out
}
