//! Over to another protocol with an origin: around the cache, and out of HTTP.
//!
//! `mod.rs` comes here where the route allows one of the protocols that the client offers. Only those go on to the origin; what
//! it answers is an answer like any other, unless it is a 101 to one of them, with which the connections on both sides
//! are given over (`origin/tunnel.rs`, `listener/h1/tunnel.rs`).
//!
//! Invariant: `Upgrade` never reaches an origin but from here. RFC 9110 §7.8, RFC 6455.

use std::sync::Arc;

use super::kept::fields_on;
use super::led::{Through, Told};
use super::pass;
use super::walk::Walk;
use crate::config::limits::UPGRADE_BYTES_MAX;
use crate::listener::fields::{FieldId, Fields};
use crate::origin::forward::Sent;
use crate::respond::failure::Failure;
use crate::respond::headers::CacheStatus;
use crate::respond::response::{Body, CacheOutcome, Response};
use crate::respond::{self, Occasion};

/// The protocols of `Upgrade` that the route allows, as a list; `None` where there is none.
pub(super) fn offered(fields: &Fields, allowed: &[Box<str>]) -> Option<Box<[u8]>> {
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

/// Asks the origin to go over to one of the protocols in `offered`.
pub(super) async fn upgrade(mut walk: Walk, offered: Box<[u8]>) -> Response {
    if let Err(failure) = walk.inspect().await {
        return walk.failed(failure);
    }
    let mut answer = match walk.ask_origin(Sent::upgrading(Arc::clone(&walk.forward), offered)).await {
        Ok(answer) => answer,
        Err(error) => return walk.failed(Failure::from(error.cause)),
    };
    let mut told = Told::of(&answer);
    fields_on(&walk, &mut answer.fields);
    if answer.status != http::StatusCode::SWITCHING_PROTOCOLS {
        return pass::passed(&walk, Through { answer, told, why_not: Some(REASON) });
    }
    let Some(tunnel) = answer.body.into_tunnel() else {
        return walk.failed(Failure::new(http::StatusCode::BAD_GATEWAY, REASON));
    };
    let status = CacheStatus::Forwarded {
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
    respond::passed(answer.status, answer.fields, Body::Tunnel(Box::new(tunnel)), occasion, status, outcome)
}

/// In `Cache-Status`, log and metrics.
const REASON: &str = "upgrade";
