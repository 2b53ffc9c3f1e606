//! A response as it is read: its head, the bytes of its body that came with the same read, and the interim ones before it.
//!
//! What speaks of the origin's connection stays behind: the hop-by-hop fields of RFC 9110 §7.6.1, what `Connection`
//! nominates, and framing (the caller gets [`super::Answer::framing`] and its length instead). A nomination of a field that
//! every recipient needs is ignored, as the RFC forbids it and obeying would strip `Cache-Control` from a private answer
//! (FAULTS C16). Interim responses (103 and others; not 100, which we never ask for) go to the client's side as they come; what
//! finds no room there is dropped: they are hints.

use bytes::Bytes;
use http::StatusCode;

use super::fields::ResponseFields;
use super::framing::Listen;
use crate::config::limits::INTERIM_MAX;
use crate::listener::fields::FieldId;
use crate::listener::request::{Interim, InterimSink};
use crate::listener::trailers::Trailers;

/// What has been read of one response.
#[derive(Debug, Default)]
pub(crate) struct Received {
    pub(crate) status: StatusCode,
    /// Fit to be stored and sent on, once the head is complete.
    pub(crate) fields: ResponseFields,
    data: Vec<u8>,
    /// To be taken out again; names in lower case.
    nominated: Vec<Box<[u8]>>,
    interim: Option<InterimSink>,
    passed: usize,
    switch: Option<Box<Switch>>,
    /// What follows the body, if it is to be kept.
    pub(crate) trailers: Option<Box<Trailers>>,
}

/// Going over to another protocol: what was offered, and what the origin says.
#[derive(Debug, Default)]
struct Switch {
    offered: Box<[u8]>,
    chosen: Vec<u8>,
    /// `Upgrade` fields of the head.
    times: usize,
    /// `Connection` names `Upgrade`.
    named: bool,
}

impl Received {
    /// Nothing yet; `interim` is where interim responses go.
    pub(crate) fn new(interim: Option<InterimSink>) -> Self {
        Self { interim, ..Self::default() }
    }

    /// The request offers to go over to one of these protocols.
    pub(crate) fn may_switch(&mut self, offered: &[u8]) {
        self.switch = Some(Box::new(Switch { offered: offered.into(), ..Switch::default() }));
    }

    /// The protocol of a 101, if it is one that was offered and nothing in the head makes it doubtful: one `Upgrade` with one
    /// name, that `Connection` names. A status alone is no reason to pass bytes unseen (FAULTS S11).
    pub(crate) fn switched(&mut self) -> Option<Box<[u8]>> {
        let switch = self.switch.take().filter(|switch| switch.named && switch.times == 1)?;
        let is_offered = members(&switch.offered).any(|name| name.eq_ignore_ascii_case(&switch.chosen));
        is_offered.then(|| switch.chosen.into())
    }

    /// How many bytes of the body have come since they were taken last.
    pub(crate) fn data_bytes(&self) -> usize {
        self.data.len()
    }

    /// The bytes of the body that came since the last call.
    pub(crate) fn take_data(&mut self) -> Bytes {
        Bytes::from(std::mem::take(&mut self.data))
    }
}

impl Listen for Received {
    fn field(&mut self, name: &[u8], value: &[u8]) {
        if is_hop_by_hop(name) {
            let is_connection = name.eq_ignore_ascii_case(b"connection");
            if is_connection {
                self.nominated.extend(nominated(value));
            }
            if let Some(switch) = &mut self.switch {
                if is_connection {
                    switch.named |= members(value).any(|name| name.eq_ignore_ascii_case(b"upgrade"));
                } else if name.eq_ignore_ascii_case(b"upgrade") {
                    switch.times = switch.times.saturating_add(1);
                    switch.chosen = value.to_vec();
                }
            }
            return;
        }
        self.fields.push(name, value);
    }

    fn head(&mut self, status: u16, interim: bool) {
        self.status = StatusCode::from_u16(status).unwrap_or_default();
        let nominated = std::mem::take(&mut self.nominated);
        if !nominated.is_empty() {
            self.fields.retain(|name| !nominated.iter().any(|nominated| **nominated == *name));
        }
        if !interim {
            return;
        }
        if let Some(switch) = &mut self.switch {
            // What an interim head said is not the next one's.
            (switch.times, switch.named) = (0, false);
        }
        let fields = std::mem::take(&mut self.fields);
        let sink = self.interim.as_ref().filter(|_| self.status != StatusCode::CONTINUE);
        if let Some(sink) = sink
            && self.passed < INTERIM_MAX
        {
            self.passed = self.passed.saturating_add(1);
            sink.send(Interim { status: self.status, fields: fields.to_map() });
        }
    }

    fn data(&mut self, bytes: &[u8]) {
        if self.data.is_empty() {
            self.data = bytes.to_vec();
        } else {
            self.data.extend_from_slice(bytes);
        }
    }

    fn trailer(&mut self, name: &[u8], value: &[u8]) {
        if let Some(trailers) = &mut self.trailers {
            trailers.add(name, value);
        }
    }
}

/// The fields that a `Connection` names and may.
fn nominated(value: &[u8]) -> impl Iterator<Item = Box<[u8]>> {
    let is_end_to_end =
        |name: &[u8]| END_TO_END.iter().any(|known| name.eq_ignore_ascii_case(known.as_bytes()));
    members(value)
        .filter(move |name| !name.is_empty() && !is_hop_by_hop(name) && !is_end_to_end(name))
        .map(|name| name.to_ascii_lowercase().into())
}

fn members(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    list.split(|byte| *byte == b',').map(<[u8]>::trim_ascii)
}

/// Whether a field speaks of one connection. RFC 9110 §7.6.1; `Proxy-*` by RFC 9111 §3.1.
fn is_hop_by_hop(name: &[u8]) -> bool {
    use FieldId::{Connection, KeepAlive, Other, ProxyConnection, Te, Trailer, TransferEncoding, Upgrade};
    // Most names are not as long as any of them.
    if !matches!(name.len(), 2 | 7 | 10 | 16..=19 | 25) {
        return false;
    }
    match FieldId::of(name) {
        Connection | KeepAlive | ProxyConnection | Te | Trailer | TransferEncoding | Upgrade => true,
        Other => {
            name.eq_ignore_ascii_case(b"proxy-authenticate")
                || name.eq_ignore_ascii_case(b"proxy-authentication-info")
                || name.eq_ignore_ascii_case(b"proxy-authorization")
        }
        _ => false,
    }
}

/// Fields that a `Connection` of an origin cannot take away.
const END_TO_END: [&str; 17] = [
    "age",
    "cache-control",
    "cdn-cache-control",
    "content-encoding",
    "content-range",
    "content-type",
    "date",
    "etag",
    "expires",
    "last-modified",
    "location",
    "pragma",
    "set-cookie",
    "surrogate-control",
    "surrogate-key",
    "vary",
    "www-authenticate",
];
