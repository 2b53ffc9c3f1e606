//! A request to a pool as it goes out, as often as it takes.
//!
//! `pool.rs` makes one of an [`Ask`] and sends it to one origin after the other. What is the same for all of them is checked
//! once; the head is rendered anew for each connection.
//!
//! Invariant: nothing that could end a line stands in the request line. RFC 9112 §3, §5.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::Method;
use http::uri::PathAndQuery;

use super::body::Switched;
use super::choose::{Key, key_of_client, key_of_resource};
use super::error::{Finding, OriginError};
use super::forward::Sent;
use super::framing::is_text;
use super::h2;
use super::line::Line;
use super::response::Received;
use super::retry::{Attempt, idempotent};
use super::tunnel::Place;
use super::upload::Upload;
use super::{Ask, Surplus};
use crate::config::{self, Balance, ProxyProtocol};
use crate::listener::request::InterimSink;

/// A request ready to be sent, as often as it takes.
pub(super) struct Outgoing {
    method: Method,
    target: Bytes,
    host: Bytes,
    pub(super) fields: Sent,
    pub(super) upload: Upload,
    pub(super) interim: Option<InterimSink>,
    surplus: Surplus,
    /// The origin that its client was given to.
    pub(super) stuck: Option<usize>,
    /// What the choice goes by beside the origins.
    pub(super) key: Option<Key>,
    /// It is asked on top of one that waits: no other is.
    is_on_top: bool,
    /// For SNI and the certificate check.
    server_name: Option<Arc<str>>,
    /// Where it asks for another protocol: a place for that.
    pub(super) place: Option<Place>,
}

impl Outgoing {
    /// As it goes to a pool with these settings.
    ///
    /// # Errors
    /// [`OriginError::Target`]: it cannot.
    pub(super) fn new(ask: Ask, settings: &config::Pool) -> Result<Box<Self>, OriginError> {
        if ask.method == Method::CONNECT {
            // It asks for a tunnel, which no origin is to open through us.
            return Err(OriginError::Target);
        }
        let key = match settings.balance {
            _ if ask.stuck.is_some() => ask.stuck.map(Key::Origin),
            Balance::ClientHash => ask.client.map(key_of_client),
            Balance::UriHash => Some(key_of_resource(&ask.authority, &ask.target)),
            _ => None,
        };
        let host = match &settings.host {
            Some(host) => Bytes::copy_from_slice(host.as_bytes()),
            None => ask.authority,
        };
        if !is_text(&host) {
            return Err(OriginError::Target);
        }
        let target = checked(ask.target)?;
        Ok(Box::new(Self {
            method: ask.method,
            target,
            host,
            fields: ask.fields,
            upload: Upload::new(ask.body),
            interim: ask.interim,
            surplus: ask.surplus,
            stuck: ask.stuck,
            key,
            is_on_top: false,
            server_name: settings.server_name.clone(),
            place: None,
        }))
    }

    /// The name to ask the origin's certificate for.
    pub(super) fn server_name(&self) -> Result<Arc<str>, OriginError> {
        let host = std::str::from_utf8(&self.host).map_err(|_| OriginError::Target)?;
        Ok(self.server_name.clone().unwrap_or_else(|| without_port(host).into()))
    }

    /// It goes out on `line`.
    pub(super) fn begin(&self, line: &mut Line, tls: bool, received: &mut Received) {
        let connection = match line {
            Line::Whole(connection, _) => connection,
            Line::Stream(stream) => {
                let [forwarded, own] = self.fields.lines();
                let head = h2::Head {
                    method: &self.method,
                    tls,
                    authority: &self.host,
                    target: &self.target,
                    lines: [&forwarded, &own],
                    trailers: self.fields.asks_for_trailers(),
                    length: self.upload.declared(self.anticipates_content()),
                };
                stream.begin(&head, !self.upload.is_ended());
                return;
            }
        };
        connection.begin(self.method == Method::HEAD, self.surplus, |out| self.render(out));
        if let Some(offered) = self.fields.upgrade() {
            connection.may_switch();
            received.may_switch(offered);
        }
    }

    fn anticipates_content(&self) -> bool {
        !matches!(self.method, Method::GET | Method::HEAD | Method::OPTIONS | Method::DELETE | Method::TRACE)
    }

    /// The head as it is sent. RFC 9112 §3, §5.
    fn render(&self, out: &mut Vec<u8>) {
        let start: [&[u8]; 5] =
            [self.method.as_str().as_bytes(), b" ", &self.target, b" HTTP/1.1\r\nhost: ", &self.host];
        for part in start {
            out.extend_from_slice(part);
        }
        out.extend_from_slice(b"\r\n");
        self.fields.write(out);
        if self.fields.asks_for_trailers() {
            out.extend_from_slice(b"connection: te\r\nte: trailers\r\n");
        }
        self.upload.write_framing(self.anticipates_content(), out);
        out.extend_from_slice(b"\r\n");
    }

    /// The client that an origin is told of, where it is told of one.
    pub(super) fn introduced(&self, version: Option<ProxyProtocol>) -> Option<SocketAddr> {
        version.and_then(|_| self.fields.client())
    }

    /// What the origin has gone over to.
    ///
    /// # Errors
    /// It is not what was asked for.
    pub(super) fn switched(&mut self, received: &mut Received) -> Result<Switched, OriginError> {
        let doubtful = OriginError::Framing(Finding::Upgrade);
        let protocol = received.switched().ok_or(doubtful)?;
        let place = self.place.take().ok_or(doubtful)?;
        Ok(Switched { protocol, place })
    }

    /// Whether it may be asked of two origins at once: the later of the two may be carried out when the client has had its
    /// answer and done something else, so it must change nothing.
    pub(super) fn may_be_hedged(&self) -> bool {
        !self.is_on_top && self.method.is_safe() && self.may_be_held()
    }

    /// Whether its answer may wait for its own end.
    pub(super) fn may_be_held(&self) -> bool {
        idempotent(&self.method) && self.upload.is_none() && self.fields.upgrade().is_none()
    }

    /// The same for another origin, beside this one; hints come by one way.
    pub(super) fn on_top(&self) -> Box<Self> {
        Box::new(Self {
            method: self.method.clone(),
            target: self.target.clone(),
            host: self.host.clone(),
            fields: self.fields.clone(),
            upload: Upload::default(),
            interim: None,
            surplus: self.surplus,
            stuck: self.stuck,
            key: self.key,
            is_on_top: true,
            server_name: self.server_name.clone(),
            place: None,
        })
    }

    /// The body, whose rest may be sent while the response comes.
    pub(super) fn take_upload(&mut self) -> Upload {
        let left = if self.upload.is_none() { Upload::default() } else { Upload::gone() };
        std::mem::replace(&mut self.upload, left)
    }

    /// What is known before anything is sent.
    pub(super) fn attempt(&self) -> Attempt {
        Attempt {
            idempotent: idempotent(&self.method),
            body_whole: self.upload.is_whole(),
            kept: false,
            unsent: true,
            answered: false,
            held: false,
        }
    }
}

/// A target as it may stand in a request line. What comes here is in normal form, and of plain bytes at a glance; anything else
/// is read.
fn checked(target: Bytes) -> Result<Bytes, OriginError> {
    let is_plain = |byte: &u8| PLAIN.get(usize::from(*byte)).is_some_and(|is| *is);
    // No early end: nearly all are plain to their end.
    if target.first() == Some(&b'/') && target.iter().fold(true, |plain, byte| plain & is_plain(byte)) {
        return Ok(target);
    }
    let read = PathAndQuery::from_maybe_shared(target).map_err(|_| OriginError::Target)?;
    Ok(Bytes::copy_from_slice(read.as_str().as_bytes()))
}

/// What stands in most targets, and may.
#[allow(clippy::cast_possible_truncation)] // below 256
static PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut byte = 0;
    while byte < plain.len() {
        plain[byte] =
            matches!(byte as u8, b'!' | b'$'..=b';' | b'=' | b'?'..=b'[' | b']' | b'_' | b'a'..=b'z' | b'~');
        byte += 1;
    }
    plain
};

/// `www.example.com:8443` → `www.example.com`; `[::1]:80` → `::1`.
pub(super) fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    host.split(':').next().unwrap_or(host)
}
