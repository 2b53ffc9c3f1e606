//! The fields of a request as an origin gets them.
//!
//! Removed: hop-by-hop fields (RFC 9110 §7.6.1) and what `Connection` nominates, framing, `Host`, `Expect` (we answer it
//! ourselves), what nodes of a tier tell each other (`Tidegate-*`), what a proxy before us may have claimed
//! (`X-Forwarded-*`, `Forwarded`), and what the route's list says.
//! Added: `X-Forwarded-For/-Proto/-Host`, `Forwarded` (RFC 7239), `Via` (RFC 9110 §7.6.3), `CDN-Loop` (RFC 8586).
//! The request's name and its part of a trace come from this node too (`serve/walk.rs` adds them).
//! Conditions and ranges are the client's only where the cache is bypassed; a fill asks with its own.
//!
//! A request that has this node in its `CDN-Loop` or `Via`, or too many nodes, is a loop: 508, no origin is asked
//! (FAULTS R8). A nomination by `Connection` cannot take those fields away (S12).
//!
//! What comes of it is rendered at once: bytes that all who ask for this request share.
//! Invariant: nothing here depends on what the origin is.

use std::borrow::Cow;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

#[cfg(any(test, feature = "fuzzing"))]
use http::HeaderMap;
use http::HeaderName;
use http::header::{CONNECTION, UPGRADE};

use super::error::OriginError;
use super::framing::{is_name, is_text};
use super::parent::proof::OURS;
use crate::config::HeaderRules;
use crate::config::limits::HOPS_MAX;
use crate::config::template::Values;
use crate::listener::fields::{FieldId, FieldLine, Fields, SharedValue};
use crate::listener::request::{Protocol, Scheme};
use crate::respond::dress;
use crate::respond::headers::line;

/// What is forwarded of a request, rendered: lines that every attempt and every walk of it shares.
#[derive(Clone, Debug, Default)]
pub struct Forwarded {
    lines: Vec<u8>,
    /// Values that requests share, and where in the lines each belongs; in order, before the conditions.
    shared: Vec<(usize, SharedValue)>,
    /// From here on they are conditions and ranges.
    conditions_at: usize,
    /// Whose request it is.
    client: Option<SocketAddr>,
}

/// The fields of one request to an origin, but for `Host` and framing.
#[derive(Clone, Debug, Default)]
pub struct Sent {
    forwarded: Arc<Forwarded>,
    with_conditions: bool,
    /// Lines of this one alone.
    own: Vec<u8>,
    /// The protocols that it offers to go over to.
    upgrade: Option<Box<[u8]>>,
    /// It asks for trailers.
    trailers: bool,
}

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
    /// Where the lines of the first hop like it are kept, if anywhere: a client names the same one again and again.
    pub known: Option<&'a KnownHop>,
}

/// What is said of a way that requests come by, once it was.
#[derive(Debug, Default)]
pub struct KnownHop(OnceLock<Said>);

#[derive(Debug)]
struct Said {
    node: Box<str>,
    client: IpAddr,
    scheme: Scheme,
    protocol: Protocol,
    authority: Box<[u8]>,
    lines: Box<[u8]>,
}

impl Said {
    fn is_of(&self, hop: &Hop<'_>) -> bool {
        (self.scheme, self.protocol, self.client) == (hop.scheme, hop.protocol, hop.client)
            && *self.authority == *hop.authority
            && *self.node == *hop.node
    }
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

impl Forwarded {
    /// Adds a line to what is always sent; before anything is shared.
    pub(crate) fn push(&mut self, name: &str, value: &[u8]) {
        self.push_parts(name, &[value]);
    }

    /// The same of a value in parts.
    pub(crate) fn push_parts(&mut self, name: &str, value: &[&[u8]]) {
        // Nearly none has any.
        let conditions = if self.conditions_at < self.lines.len() {
            self.lines.split_off(self.conditions_at)
        } else {
            Vec::new()
        };
        self.lines.extend_from_slice(name.as_bytes());
        self.lines.extend_from_slice(b": ");
        for part in value {
            self.lines.extend_from_slice(part);
        }
        self.lines.extend_from_slice(b"\r\n");
        self.conditions_at = self.lines.len();
        self.lines.extend_from_slice(&conditions);
    }

    /// What is always sent, as whoever gets it reads it.
    pub(crate) fn as_fields(&self) -> Fields {
        let always = self.up_to(self.conditions_at);
        let lines = dress::lines(&always);
        let values = lines.map(|(name, line)| {
            (name, line.get(name.len().saturating_add(1)..).unwrap_or_default().trim_ascii())
        });
        Fields::pack(values)
    }

    /// It is this client's.
    pub(crate) fn of_client(self, client: SocketAddr) -> Self {
        Self { client: Some(client), ..self }
    }

    /// The same with these conditions instead of its own.
    pub(crate) fn with_conditions<'f>(
        &self,
        conditions: impl Iterator<Item = (&'static str, &'f [u8])>,
    ) -> Self {
        let mut lines = self.lines.get(..self.conditions_at).unwrap_or_default().to_vec();
        for (name, value) in conditions.filter(|(_, value)| is_text(value)) {
            line(&mut lines, name.as_bytes(), value);
        }
        let shared = self.shared.clone();
        Self { lines, shared, conditions_at: self.conditions_at, client: self.client }
    }

    /// The same as an origin of a route with these rules gets it; conditions are not theirs.
    pub(crate) fn dressed(&self, rules: &HeaderRules, values: &Values<'_>) -> Self {
        let (lines, conditions) =
            (self.up_to(self.conditions_at), self.lines.get(self.conditions_at..).unwrap_or_default());
        let mut dressed = Vec::with_capacity(self.lines.len());
        for (_, line) in dress::lines(&lines).filter(|(name, _)| !rules.takes_alike(name)) {
            dressed.extend_from_slice(line);
        }
        rules.write(values, &mut dressed);
        let conditions_at = dressed.len();
        dressed.extend_from_slice(conditions);
        Self { lines: dressed, shared: Vec::new(), conditions_at, client: self.client }
    }

    /// Its first `end` bytes, and what is shared among them.
    fn up_to(&self, end: usize) -> Cow<'_, [u8]> {
        let own = self.lines.get(..end).unwrap_or_default();
        if self.shared.is_empty() {
            return Cow::Borrowed(own);
        }
        let mut whole = Vec::new();
        self.write_up_to(end, &mut whole);
        Cow::Owned(whole)
    }

    /// The same, appended.
    fn write_up_to(&self, end: usize, out: &mut Vec<u8>) {
        let mut from = 0;
        for (at, value) in &self.shared {
            out.extend_from_slice(self.lines.get(from..*at).unwrap_or_default());
            out.extend_from_slice(value);
            from = *at;
        }
        out.extend_from_slice(self.lines.get(from..end).unwrap_or_default());
    }

    /// As a map.
    ///
    /// # Panics
    /// When they are not lines, which they must be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn to_map(&self) -> HeaderMap {
        Sent::with_conditions(Arc::new(self.clone())).to_map()
    }
}

impl Sent {
    /// Everything forwarded, the client's conditions among it.
    pub(crate) const fn with_conditions(forwarded: Arc<Forwarded>) -> Self {
        Self { forwarded, with_conditions: true, own: Vec::new(), upgrade: None, trailers: false }
    }

    /// What does not make the answer depend on what this client has.
    pub(crate) const fn without_conditions(forwarded: Arc<Forwarded>) -> Self {
        Self { forwarded, with_conditions: false, own: Vec::new(), upgrade: None, trailers: false }
    }

    /// Everything forwarded, and the offer to go over to one of these protocols: a list as `Upgrade` has it.
    pub(crate) fn upgrading(forwarded: Arc<Forwarded>, offered: Box<[u8]>) -> Self {
        let mut sent = Self::with_conditions(forwarded);
        sent.push(&CONNECTION, b"upgrade");
        sent.push(&UPGRADE, &offered);
        Self { upgrade: Some(offered), ..sent }
    }

    /// Whose request it is, if it is a client's.
    pub(crate) fn client(&self) -> Option<SocketAddr> {
        self.forwarded.client
    }

    /// Asks for trailers. RFC 9110 §10.1.4.
    pub(crate) fn ask_for_trailers(&mut self) {
        self.trailers = true;
    }

    /// Whether it asks for trailers.
    pub(crate) const fn asks_for_trailers(&self) -> bool {
        self.trailers
    }

    /// The protocols that it offers to go over to.
    pub(crate) fn upgrade(&self) -> Option<&[u8]> {
        self.upgrade.as_deref()
    }

    /// The same as an origin of a route with these rules gets it.
    pub(crate) fn dressed(mut self, rules: &HeaderRules, values: &Values<'_>) -> Self {
        self.forwarded = Arc::new(self.forwarded.dressed(rules, values));
        self
    }

    /// Adds a line; a value that cannot stand in one is left out.
    pub(crate) fn push(&mut self, name: &HeaderName, value: &[u8]) {
        if is_text(value) {
            line(&mut self.own, name.as_str().as_bytes(), value);
        }
    }

    /// All lines.
    pub(crate) fn lines(&self) -> [Cow<'_, [u8]>; 2] {
        [self.forwarded.up_to(self.end()), Cow::Borrowed(&self.own)]
    }

    /// The same, appended.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        self.forwarded.write_up_to(self.end(), out);
        out.extend_from_slice(&self.own);
    }

    /// Where what is forwarded ends.
    fn end(&self) -> usize {
        let Forwarded { lines, conditions_at, .. } = &*self.forwarded;
        if self.with_conditions { lines.len() } else { *conditions_at }
    }

    /// As a map.
    ///
    /// # Panics
    /// When they are not lines, which they must be.
    #[cfg(any(test, feature = "fuzzing"))]
    pub fn to_map(&self) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in self.lines().concat().split(|byte| *byte == b'\n') {
            let Some(at) = memchr::memmem::find(line, b": ") else { continue };
            let (name, value) = line.split_at(at);
            let value = value.strip_prefix(b": ").and_then(|value| value.strip_suffix(b"\r"));
            let name = HeaderName::from_bytes(name).expect("names are tokens");
            let value = http::HeaderValue::from_bytes(value.expect("lines end in CR LF"));
            map.append(name, value.expect("values are text"));
        }
        map
    }
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
) -> Result<Forwarded, OriginError> {
    refuse_loop(received, hop.node)?;
    let nominated: Vec<&[u8]> = if received.has(FieldId::Connection) {
        received.all(FieldId::Connection).flat_map(members).collect()
    } else {
        Vec::new()
    };
    let mut lines = Vec::with_capacity(received.text_bytes().saturating_add(HOP_BYTES));
    let mut conditional = Vec::new();
    let mut shared = Vec::new();
    for field in received.lines() {
        let chain = matches!(field.id, FieldId::CdnLoop | FieldId::Via);
        let is_nominated = nominated.iter().any(|name| name.eq_ignore_ascii_case(field.name));
        if (is_nominated && !chain) || is_never_sent_on(&field) || is_ours(field.name) {
            continue;
        }
        let is_condition = CONDITIONS.contains(&field.id);
        if is_condition && matches!(conditions, Conditions::Own { .. }) || !(chain || keep(&field)) {
            continue;
        }
        if !is_name(field.name) || !is_text(field.value) {
            continue;
        }
        let is_shared = !is_condition && field.shared.is_some();
        let lines = if is_condition { &mut conditional } else { &mut lines };
        let at = lines.len();
        line(lines, field.name, if is_shared { &[] } else { field.value });
        if let Some(value) = field.shared.filter(|_| is_shared) {
            shared.push((lines.len().saturating_sub(LINE_END_BYTES), Arc::clone(value)));
        }
        // Names are sent in lower case, however they came.
        if let Some(name) = lines.get_mut(at..at.saturating_add(field.name.len())) {
            name.make_ascii_lowercase();
        }
    }
    if let Conditions::Own { etag, last_modified, range } = conditions {
        let own = [("if-none-match", etag), ("if-modified-since", last_modified), ("range", range)];
        for (name, value) in own {
            // A validator that cannot stand in a field was never received in one.
            if let Some(value) = value.filter(|value| is_text(value)) {
                line(&mut conditional, name.as_bytes(), value);
            }
        }
    }
    add_hop(&mut lines, hop)?;
    let conditions_at = lines.len();
    lines.extend_from_slice(&conditional);
    Ok(Forwarded { lines, shared, conditions_at, client: None })
}

fn add_hop(lines: &mut Vec<u8>, hop: &Hop<'_>) -> Result<(), OriginError> {
    let Some(KnownHop(known)) = hop.known else { return write_hop(lines, hop) };
    if let Some(said) = known.get().filter(|said| said.is_of(hop)) {
        lines.extend_from_slice(&said.lines);
        return Ok(());
    }
    let at = lines.len();
    write_hop(lines, hop)?;
    known.get_or_init(|| Said {
        node: hop.node.into(),
        client: hop.client,
        scheme: hop.scheme,
        protocol: hop.protocol,
        authority: hop.authority.into(),
        lines: lines.get(at..).unwrap_or_default().into(),
    });
    Ok(())
}

fn write_hop(lines: &mut Vec<u8>, hop: &Hop<'_>) -> Result<(), OriginError> {
    let Hop { authority, node, .. } = *hop;
    if !is_text(authority)
        || authority.iter().any(|byte| matches!(byte, b'"' | b'\\'))
        || std::str::from_utf8(authority).is_err()
    {
        return Err(OriginError::Target);
    }
    let mut address = Vec::with_capacity(ADDRESS_BYTES);
    let client = hop.client.to_canonical();
    write_address(&mut address, client);
    let scheme = hop.scheme.as_str().as_bytes();
    line(lines, b"x-forwarded-for", &address);
    line(lines, b"x-forwarded-proto", scheme);
    line(lines, b"x-forwarded-host", authority);
    let (opening, closing): (&[u8], &[u8]) =
        if client.is_ipv4() { (b"forwarded: for=", b"") } else { (b"forwarded: for=\"[", b"]\"") };
    let version: &[u8] = match hop.protocol {
        Protocol::Http10 => b"via: 1.0 ",
        Protocol::Http11 => b"via: 1.1 ",
        Protocol::Http2 => b"via: 2 ",
    };
    let parts = [
        opening,
        &address,
        closing,
        b";host=\"",
        authority,
        b"\";proto=",
        scheme,
        b"\r\n",
        version,
        node.as_bytes(),
        b"\r\ncdn-loop: ",
        node.as_bytes(),
        b"\r\n",
    ];
    for part in parts {
        lines.extend_from_slice(part);
    }
    Ok(())
}

/// Every request has one, so not by the formatting machinery where that is not needed.
fn write_address(out: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            for (nth, octet) in address.octets().into_iter().enumerate() {
                if nth > 0 {
                    out.push(b'.');
                }
                out.extend_from_slice(itoa::Buffer::new().format(octet).as_bytes());
            }
        }
        // Writing to a vector does not fail.
        IpAddr::V6(address) => drop(write!(out, "{address}")),
    }
}

/// RFC 8586 §2: our own name in the chain, or a chain that is too long.
fn refuse_loop(received: &Fields, node: &str) -> Result<(), OriginError> {
    if !received.has_any(&[FieldId::CdnLoop, FieldId::Via]) {
        return Ok(());
    }
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

/// Whether a field ends here: RFC 9110 §7.6.1, framing, `Expect`, and what we say ourselves.
/// What nodes of a tier tell each other: it never comes from a client, and never goes on.
fn is_ours(name: &[u8]) -> bool {
    name.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS.as_bytes()))
}

fn is_never_sent_on(field: &FieldLine<'_>) -> bool {
    use FieldId as Id;
    match field.id {
        Id::Connection
        | Id::ContentLength
        | Id::Expect
        | Id::Forwarded
        | Id::Host
        | Id::KeepAlive
        | Id::ProxyConnection
        | Id::Te
        | Id::TraceParent
        | Id::TraceState
        | Id::Trailer
        | Id::TransferEncoding
        | Id::Upgrade
        | Id::XForwardedFor
        | Id::XForwardedHost
        | Id::XForwardedProto
        | Id::XRequestId => true,
        Id::Other => {
            field.name.eq_ignore_ascii_case(b"http2-settings")
                || field.name.eq_ignore_ascii_case(b"proxy-authorization")
        }
        _ => false,
    }
}

/// What stands behind a value.
const LINE_END_BYTES: usize = 2;
/// What the lines that we add take, about.
const HOP_BYTES: usize = 320;
/// An address, bytes.
const ADDRESS_BYTES: usize = 48;

/// Fields by which a client asks for less than the whole representation.
const CONDITIONS: [FieldId; 6] = [
    FieldId::IfMatch,
    FieldId::IfModifiedSince,
    FieldId::IfNoneMatch,
    FieldId::IfRange,
    FieldId::IfUnmodifiedSince,
    FieldId::Range,
];

/// The same by name.
pub(crate) const CONDITION_NAMES: [&str; 6] =
    ["if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "range"];
