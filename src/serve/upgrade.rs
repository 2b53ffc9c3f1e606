//! Over to another protocol with an origin: around the cache, and out of HTTP.
//!
//! `mod.rs` comes here where the route allows one of the protocols that the client offers. Only those go on to the origin; what
//! it answers is an answer like any other, unless it is a 101 to one of them, with which the connections on both sides
//! are given over (`origin/tunnel.rs`, `listener/h1/tunnel.rs`).
//!
//! A stream of HTTP/2 that asks for WebSocket asks the origin in the same way, with a key of ours, and has its tunnel with a 200
//! (`listener/h2/tunnel.rs`). It is never answered as another request would be: a success would look like a tunnel.
//!
//! Invariant: `Upgrade` never reaches an origin but from here. RFC 9110 §7.8, RFC 6455, RFC 8441.

use std::sync::Arc;

use aws_lc_rs::digest;
use base64ct::{Base64, Encoding as _};
use http::StatusCode;
use http::header::{SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY};

use super::kept::fields_on;
use super::led::{Through, Told};
use super::pass;
use super::walk::Walk;
use crate::config::limits::UPGRADE_BYTES_MAX;
use crate::listener::fields::{FieldId, Fields};
use crate::listener::request::{Request, Upgrade};
use crate::origin::ResponseFields;
use crate::origin::forward::Sent;
use crate::respond::failure::Failure;
use crate::respond::headers::CacheStatus;
use crate::respond::response::{Body, CacheOutcome, Response};
use crate::respond::{self, Occasion};

/// What a request asks its origin to go over to.
pub(super) struct Offer {
    /// A list, as `Upgrade` has it.
    protocols: Box<[u8]>,
    /// What proves to the node that the origin has gone over, where the client cannot see that: of a stream of HTTP/2.
    proof: Option<Proof>,
}

/// RFC 6455 §4.1: what a client names, and what an origin makes of it.
struct Proof {
    key: String,
    accepted: String,
}

/// What is offered of what a request asks for: what the route allows of it. None where it is to be answered as any other.
///
/// # Errors
/// It cannot be answered as any other, and the route does not allow what it asks for.
pub(super) fn offered(request: &Request, allowed: &[Box<str>]) -> Result<Option<Offer>, Failure> {
    match request.upgrade {
        Upgrade::No => Ok(None),
        Upgrade::Connection => {
            let protocols = listed(&request.fields, allowed);
            Ok(protocols.map(|protocols| Offer { protocols, proof: None }))
        }
        Upgrade::Stream if allowed.iter().any(|known| &**known == WEBSOCKET) => {
            let proof = Proof::new().ok_or(Failure::new(StatusCode::SERVICE_UNAVAILABLE, REASON))?;
            Ok(Some(Offer { protocols: WEBSOCKET.as_bytes().into(), proof: Some(proof) }))
        }
        Upgrade::Stream => Err(Failure::new(StatusCode::NOT_IMPLEMENTED, REASON)),
    }
}

/// The protocols of `Upgrade` that are allowed, as a list; `None` where there is none.
fn listed(fields: &Fields, allowed: &[Box<str>]) -> Option<Box<[u8]>> {
    let mut offered = Vec::new();
    let names = fields.all(FieldId::Upgrade).flat_map(|line| line.split(|byte| *byte == b','));
    for name in names.map(<[u8]>::trim_ascii) {
        let known = allowed.iter().find(|known| name.eq_ignore_ascii_case(known.as_bytes()));
        if known.is_some() && offered.len().saturating_add(name.len()) < UPGRADE_BYTES_MAX {
            if !offered.is_empty() {
                offered.extend_from_slice(b", ");
            }
            offered.extend_from_slice(name);
        }
    }
    (!offered.is_empty()).then(|| offered.into())
}

/// Asks the origin to go over to one of the protocols of the offer.
pub(super) async fn upgrade(mut walk: Walk, offer: Offer) -> Response {
    if let Err(failure) = walk.inspect().await {
        return walk.failed(failure);
    }
    let Offer { protocols, proof } = offer;
    let mut sent = Sent::upgrading(Arc::clone(&walk.forward), protocols);
    if let Some(proof) = &proof {
        sent.push(&SEC_WEBSOCKET_KEY, proof.key.as_bytes());
    }
    let mut answer = match walk.ask_origin(sent).await {
        Ok(answer) => answer,
        Err(error) => return walk.failed(Failure::from(error.cause)),
    };
    let mut told = Told::of(&answer);
    fields_on(&walk, &mut answer.fields);
    let mut status = answer.status;
    if let Some(proof) = proof {
        let is_over = status == StatusCode::SWITCHING_PROTOCOLS;
        // A success that is no tunnel would be taken for one.
        if (is_over && !proof.is_given_by(&answer.fields)) || status.is_success() {
            return walk.failed(Failure::new(StatusCode::BAD_GATEWAY, REASON));
        }
        answer.fields.retain(|name| name != SEC_WEBSOCKET_ACCEPT.as_str().as_bytes());
        status = if is_over { StatusCode::OK } else { status };
    }
    if answer.status != StatusCode::SWITCHING_PROTOCOLS {
        return pass::passed(&walk, Through { answer, told, why_not: Some(REASON) });
    }
    let Some(tunnel) = answer.body.into_tunnel() else {
        return walk.failed(Failure::new(StatusCode::BAD_GATEWAY, REASON));
    };
    let cache_status = CacheStatus::Forwarded {
        fwd: "bypass",
        fwd_status: Some(told.status),
        stored: false,
        ttl: None,
        detail: Some(REASON),
    };
    let upstream = told.upstream.take();
    let outcome = told.outcome(CacheOutcome::Pass, Some(REASON), None);
    let head = walk.head();
    let occasion = Occasion { upstream: upstream.as_deref(), ..walk.occasion(&head, answer.received_at) };
    let body = Body::Tunnel(Box::new(tunnel));
    respond::passed(status, answer.fields, body, occasion, cache_status, outcome)
}

impl Proof {
    /// One that nobody could have foreseen; `None` where the system has no randomness.
    fn new() -> Option<Self> {
        let mut nonce = [0; 16];
        aws_lc_rs::rand::fill(&mut nonce).ok()?;
        let key = Base64::encode_string(&nonce);
        let made = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{GUID}").as_bytes());
        Some(Self { accepted: Base64::encode_string(made.as_ref()), key })
    }

    fn is_given_by(&self, fields: &ResponseFields) -> bool {
        let mut given = fields.named(SEC_WEBSOCKET_ACCEPT.as_str());
        given.next() == Some(self.accepted.as_bytes()) && given.next().is_none()
    }
}

const WEBSOCKET: &str = "websocket";
/// RFC 6455 §1.3.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// In `Cache-Status`, log and metrics.
const REASON: &str = "upgrade";
