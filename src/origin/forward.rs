//! The fields of a request as an origin gets them.
//!
//! Removed: hop-by-hop fields (RFC 9110 §7.6.1) and what `Connection` nominates, framing, `Host`, `Expect` (we answer it
//! ourselves), what nodes of a tier tell each other (`Tidegate-*`), what a proxy before us may have claimed
//! (`X-Forwarded-*`, `Forwarded`), and what the route's list says.
//! Added: `X-Forwarded-For/-Proto/-Host`, `Forwarded` (RFC 7239), `Via` (RFC 9110 §7.6.3), `CDN-Loop` (RFC 8586).
//! Conditions and ranges are the client's only where the cache is bypassed; a fill asks with its own.
//!
//! A request that has this node in its `CDN-Loop` or `Via`, or too many nodes, is a loop: 508, no origin is asked
//! (FAULTS R8). A nomination by `Connection` cannot take those fields away (S12).
//! Invariant: nothing here depends on what the origin is.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, FORWARDED, HOST, HeaderValue, IF_MATCH, IF_MODIFIED_SINCE,
    IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, PROXY_AUTHORIZATION, RANGE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE, VIA,
};
use http::{HeaderMap, HeaderName};

use super::error::OriginError;
use super::parent::proof::OURS;
use crate::config::limits::HOPS_MAX;
use crate::listener::fields::{FieldId, FieldLine, Fields};
use crate::listener::request::{Protocol, Scheme};

/// Where a request came from and by which way.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// This node's name.
    pub node: &'a str,
    /// The client.
    pub client: IpAddr,
    /// How the client connected.
    pub scheme: Scheme,
    /// What the client spoke.
    pub protocol: Protocol,
    /// The authority it named, normalised.
    pub authority: &'a [u8],
}

/// Whose conditions the origin sees.
#[derive(Clone, Copy, Debug)]
pub enum Conditions<'a> {
    /// The client's, untouched: the cache is bypassed.
    Client,
    /// A fill's own, and none of the client's.
    Own {
        /// `If-None-Match`: the entity tag of what is stored.
        etag: Option<&'a [u8]>,
        /// `If-Modified-Since`: the `Last-Modified` of what is stored.
        last_modified: Option<&'a [u8]>,
        /// `Range`, where the fill asks for a part.
        range: Option<&'a [u8]>,
    },
}

/// The fields to send for a request with `received` ones; `keep` is the route's say over the rest of them.
///
/// # Errors
/// [`OriginError::Loop`]; [`OriginError::Target`] when the authority cannot stand in a field.
pub fn fields(
    received: &Fields,
    hop: &Hop<'_>,
    conditions: Conditions<'_>,
    keep: impl Fn(&FieldLine<'_>) -> bool,
) -> Result<HeaderMap, OriginError> {
    refuse_loop(received, hop.node)?;
    let nominated: Vec<&[u8]> = received.all(FieldId::Connection).flat_map(members).collect();
    // Room for what honest requests bring; a map made for a hundred fields weighs 20 KiB before it holds one.
    let mut fields = HeaderMap::with_capacity(received.len().min(FIELDS_USUAL).saturating_add(8));
    for line in received.lines() {
        let is_nominated = nominated.iter().any(|name| name.eq_ignore_ascii_case(line.name));
        if is_nominated && !matches!(line.id, FieldId::CdnLoop | FieldId::Via) {
            continue;
        }
        let Ok(name) = HeaderName::from_bytes(line.name) else { continue };
        let ours = NEVER_SENT_ON.contains(&name)
            || name.as_str().starts_with(OURS)
            || (matches!(conditions, Conditions::Own { .. }) && CONDITIONS.contains(&name));
        let chain = matches!(line.id, FieldId::CdnLoop | FieldId::Via);
        if ours || !(chain || keep(&line)) {
            continue;
        }
        let Ok(value) = HeaderValue::from_bytes(line.value) else { continue };
        fields.append(name, value);
    }
    if let Conditions::Own { etag, last_modified, range } = conditions {
        for (name, value) in [(IF_NONE_MATCH, etag), (IF_MODIFIED_SINCE, last_modified), (RANGE, range)] {
            // A validator that cannot stand in a field was never received in one.
            if let Some(value) = value.and_then(|value| HeaderValue::from_bytes(value).ok()) {
                fields.insert(name, value);
            }
        }
    }
    add_hop(&mut fields, hop)?;
    Ok(fields)
}

fn add_hop(fields: &mut HeaderMap, hop: &Hop<'_>) -> Result<(), OriginError> {
    let authority = std::str::from_utf8(hop.authority).map_err(|_| OriginError::Target)?;
    if authority.contains(['"', '\\']) {
        return Err(OriginError::Target);
    }
    let client = hop.client.to_canonical();
    let scheme = hop.scheme.as_str();
    let mut forwarded = String::with_capacity(64);
    let written = match client {
        IpAddr::V4(address) => write!(forwarded, "for={address}"),
        IpAddr::V6(address) => write!(forwarded, "for=\"[{address}]\""),
    };
    let written = written.and_then(|()| write!(forwarded, ";host=\"{authority}\";proto={scheme}"));
    debug_assert!(written.is_ok(), "writing to a string");
    let version = match hop.protocol {
        Protocol::Http10 => "1.0",
        Protocol::Http11 => "1.1",
        Protocol::Http2 => "2",
    };
    let value = |text: String| HeaderValue::try_from(text).map_err(|_| OriginError::Target);
    fields.insert(X_FORWARDED_FOR, value(client.to_string())?);
    fields.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    fields.insert(X_FORWARDED_HOST, value(authority.to_owned())?);
    fields.insert(FORWARDED, value(forwarded)?);
    fields.append(VIA, value(format!("{version} {}", hop.node))?);
    fields.append(CDN_LOOP, value(hop.node.to_owned())?);
    Ok(())
}

/// RFC 8586 §2: our own name in the chain, or a chain that is too long.
fn refuse_loop(received: &Fields, node: &str) -> Result<(), OriginError> {
    let node = node.as_bytes();
    let mut loops = 0_usize;
    for member in received.all(FieldId::CdnLoop).flat_map(members) {
        loops = loops.saturating_add(1);
        let name = member.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(node) {
            return Err(OriginError::Loop);
        }
    }
    let mut vias = 0_usize;
    for member in received.all(FieldId::Via).flat_map(members) {
        vias = vias.saturating_add(1);
        // `1.1 name (comment)`
        let name = member.split(u8::is_ascii_whitespace).filter(|part| !part.is_empty()).nth(1);
        if name.is_some_and(|name| name.eq_ignore_ascii_case(node)) {
            return Err(OriginError::Loop);
        }
    }
    if loops.max(vias) > HOPS_MAX { Err(OriginError::Loop) } else { Ok(()) }
}

fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
}

/// Fields of a browser's request, about.
const FIELDS_USUAL: usize = 16;
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");

/// Fields that end here: RFC 9110 §7.6.1, framing, `Expect`, and what we say ourselves.
const NEVER_SENT_ON: [HeaderName; 16] = [
    CONNECTION,
    CONTENT_LENGTH,
    EXPECT,
    FORWARDED,
    HOST,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    PROXY_AUTHORIZATION,
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    X_FORWARDED_FOR,
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
];

/// Fields by which a client asks for less than the whole representation.
pub(crate) const CONDITIONS: [HeaderName; 6] =
    [IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE];
