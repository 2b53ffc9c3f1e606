//! What a route's policy makes of one request: may the cache be used, and which fields and cookies go on.
//!
//! Pure functions over a method, a normal path and the fields; `mod.rs` asks them, `serve` acts on [`Bypass`]. What the
//! *response* says about storing is `cache_store::rules`; nothing here looks at file name extensions.
//!
//! - `GET` and `HEAD` may be answered from the cache, all else passes; a body with them is not forwarded (FAULTS C2).
//! - A path that hides a `..` segment from us but not from every origin (`/static/..%2faccount`, `..;`, `%252e%252e`)
//!   passes: what it names depends on who reads it, so it belongs to nobody's rule (C6). So does one with an encoded
//!   control, and one that a route took for its ending when a delimiter stands before that ending.
//! - Hop-by-hop fields, framing and what the edge says itself are `origin/forward.rs`'s; its `keep` asks here.

use std::borrow::Cow;

use http::Method;

use super::condition::{self, Facts, one_holds};
use super::matcher::Matched;
use super::normal::{Target, decode};
use super::unkeyed::{is_barred, may_be_barred};
use crate::config::{Cookies, Forward, RoutePolicy};
use crate::listener::fields::{FieldId, FieldLine, Fields};

/// Why a request goes around the cache.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Bypass {
    /// The route says `cache = "off"`.
    Off,
    /// Neither GET nor HEAD.
    Method,
    /// `TRACE` or `CONNECT`: not to be forwarded at all, 405.
    Trace,
    /// A cookie that makes it personal.
    Session,
    /// Origins differ about what its path means.
    Ambiguous,
    /// The route's `bypass` says so.
    Asked,
}

impl Bypass {
    /// A stable word for `Cache-Status`, log and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "route-off",
            Self::Method | Self::Trace => "method",
            Self::Session => "session-cookie",
            Self::Ambiguous => "ambiguous-path",
            Self::Asked => "route-bypass",
        }
    }
}

/// What a request to the origin is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Purpose {
    /// Its answer may be stored and given to others.
    Fill,
    /// Its answer is for this client.
    Pass,
}

/// Why the cache cannot answer the request, if so.
pub(super) fn bypass(
    method: &Method,
    target: &Target<'_>,
    matched: &Matched<'_>,
    facts: &Facts<'_>,
) -> Option<Bypass> {
    let policy = matched.policy;
    match *method {
        Method::GET | Method::HEAD => {}
        Method::TRACE | Method::CONNECT => return Some(Bypass::Trace),
        _ => return Some(Bypass::Method),
    }
    if !policy.cache {
        return Some(Bypass::Off);
    }
    // Dots in front of a slash are gone already, so nothing can hide in a clear path.
    if !target.is_clear() && is_ambiguous(target.path(), matched.by_ending) {
        return Some(Bypass::Ambiguous);
    }
    if !matched.is_plain && one_holds(&policy.bypass, facts) {
        return Some(Bypass::Asked);
    }
    match &policy.cookies {
        Cookies::PassOn(names) if !names.is_empty() && has_cookie(facts.fields, names) => {
            Some(Bypass::Session)
        }
        _ => None,
    }
}

/// Whether a received field goes to the origin; hop-by-hop fields and framing aside.
pub(super) fn keeps(line: &FieldLine<'_>, policy: &RoutePolicy, purpose: Purpose) -> bool {
    // Cookies in the key are written anew by themselves.
    let is_keyed =
        || policy.key.headers.iter().any(|name| line.name.eq_ignore_ascii_case(name.as_str().as_bytes()));
    if may_be_barred(line.id) && is_barred(line.name, purpose) {
        // What is in the key may change the answer.
        return purpose == Purpose::Fill && !is_barred(line.name, Purpose::Pass) && is_keyed();
    }
    if purpose == Purpose::Pass {
        return true;
    }
    match line.id {
        FieldId::Cookie if matches!(policy.cookies, Cookies::PassOn(_)) => return false,
        // Of a body that is not forwarded.
        FieldId::Other if BODY.iter().any(|name| line.name.eq_ignore_ascii_case(name.as_bytes())) => {
            return false;
        }
        _ => {}
    }
    match &policy.forward {
        Forward::Safe => true,
        Forward::Only(names) => {
            names.iter().any(|name| line.name.eq_ignore_ascii_case(name.as_bytes())) || is_keyed()
        }
    }
}

/// The cookies of a fill, where not all of them are forwarded: those in the key.
pub(super) fn cookies(fields: &Fields, policy: &RoutePolicy) -> Option<Vec<u8>> {
    if policy.key.cookies.is_empty() || policy.cookies == Cookies::Forward {
        return None;
    }
    let mut line = Vec::new();
    for name in &policy.key.cookies {
        for value in condition::cookies(fields, name) {
            let seam: &[u8] = if line.is_empty() { b"" } else { b"; " };
            line.extend([seam, name.as_bytes(), b"=", value].concat());
        }
    }
    (!line.is_empty()).then_some(line)
}

/// Whether one of the request's cookies has one of these names (exact, or by prefix ending in `*`).
fn has_cookie(fields: &Fields, names: &[Box<str>]) -> bool {
    fields.all(FieldId::Cookie).flat_map(|line| line.split(|byte| *byte == b';')).any(|pair| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii();
        names.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(prefix) => name.starts_with(prefix.as_bytes()),
            None => name == pattern.as_bytes(),
        })
    })
}

/// Whether a path that was written anew is for nobody's rule.
pub(super) fn is_unclear(target: &Target<'_>) -> bool {
    !target.is_clear() && is_ambiguous(target.path(), false)
}

/// Whether origins are known to differ about what a path in normal form names.
fn is_ambiguous(path: &[u8], by_ending: bool) -> bool {
    let mut reading = Cow::Borrowed(path);
    for _ in 0..READINGS_MAX {
        if reading.iter().any(u8::is_ascii_control) || has_parent_segment(&reading) {
            return true;
        }
        match decoded(&reading) {
            Some(next) => reading = Cow::Owned(next),
            None => return by_ending && (has_delimiter(&reading) || slashes(&reading) != slashes(path)),
        }
    }
    // Encoded more deeply than anyone has reason to.
    true
}

/// Whether a segment is `..` once what some origins cut off it is cut off.
fn has_parent_segment(path: &[u8]) -> bool {
    path.split(|byte| matches!(byte, b'/' | b'\\')).any(|segment| {
        let name = segment.split(|byte| matches!(byte, b';' | b'?' | b'#' | b' ')).next().unwrap_or_default();
        name == b".."
    })
}

/// Whether an origin may end the path before its end.
fn has_delimiter(path: &[u8]) -> bool {
    path.iter().any(|byte| matches!(byte, b';' | b'?' | b'#' | b'\\'))
}

fn slashes(path: &[u8]) -> usize {
    memchr::memchr_iter(b'/', path).count()
}

/// The path with each `%XX` decoded once; `None` where there is none.
pub(super) fn decoded(path: &[u8]) -> Option<Vec<u8>> {
    memchr::memchr(b'%', path)?;
    let mut out = Vec::with_capacity(path.len());
    let mut changed = false;
    let mut at = 0;
    while let Some(&byte) = path.get(at) {
        let encoded = path.get(at + 1).zip(path.get(at + 2)).and_then(|(high, low)| decode(*high, *low));
        match encoded {
            Some(decoded) if byte == b'%' => {
                out.push(decoded);
                changed = true;
                at += 3;
            }
            _ => {
                out.push(byte);
                at += 1;
            }
        }
    }
    changed.then_some(out)
}

/// Fields that describe a request's body.
const BODY: [&str; 5] =
    ["content-type", "content-encoding", "content-language", "content-location", "content-disposition"];
/// How often a path may be decoded before nothing is left to decode.
pub(super) const READINGS_MAX: usize = 4;
