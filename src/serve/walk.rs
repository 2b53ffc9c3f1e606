//! A request on its way behind the lookup: what must outlive the listener's call.
//!
//! Cheap to clone (bytes are shared); one clone belongs to the client's future, one to the task that fetches.

use std::sync::Arc;

use bytes::Bytes;
use cache_store::key::CacheKey;
use cache_store::rules::{RequestHead, Target};
use http::{HeaderMap, Method};
use parking_lot::Mutex;

use super::Edge;
use crate::config::RoutePolicy;
use crate::listener::fields::{FieldId, Fields};
use crate::listener::request::{Client, InterimSink, Request, RequestBody, Scheme};
use crate::origin::Ask;
use crate::respond::Occasion;
use crate::respond::failure::{self, Failure};
use crate::respond::response::Response;
use crate::route::Route;

/// A request on its way.
#[derive(Clone)]
pub(super) struct Walk {
    pub(super) edge: Arc<Edge>,
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    /// Normalised host and port.
    pub(super) authority: Bytes,
    /// Normalised path and query.
    pub(super) target: Bytes,
    /// The fields as received.
    pub(super) fields: Fields,
    /// The fields to forward.
    pub(super) forward: HeaderMap,
    pub(super) policy: Arc<RoutePolicy>,
    pub(super) key: CacheKey,
    pub(super) client: Arc<Client>,
    pub(super) interim: Option<InterimSink>,
    /// The body, until it is taken.
    body: Arc<Mutex<RequestBody>>,
}

impl Walk {
    /// A walk that may fill the cache: its body is not forwarded, its fields are those of the route.
    pub(super) fn fill(edge: &Arc<Edge>, request: &mut Request, route: &Route<'_>, key: CacheKey) -> Self {
        let forward = route.fields_for_fill(&request.fields);
        Self::new(edge, request, route, key, forward, RequestBody::Empty)
    }

    /// A walk around the cache, with everything the client sent.
    pub(super) fn pass(edge: &Arc<Edge>, request: &mut Request, route: &Route<'_>) -> Self {
        let forward = route.fields_for_pass(&request.fields);
        let body = std::mem::take(&mut request.body);
        let key = route.key(edge.store.keyer());
        Self::new(edge, request, route, key, forward, body)
    }

    fn new(
        edge: &Arc<Edge>,
        request: &mut Request,
        route: &Route<'_>,
        key: CacheKey,
        forward: HeaderMap,
        body: RequestBody,
    ) -> Self {
        Self {
            edge: Arc::clone(edge),
            method: request.method.clone(),
            scheme: request.scheme,
            authority: Bytes::copy_from_slice(route.authority()),
            target: route.forward_target(),
            fields: request.fields.clone(),
            forward,
            policy: Arc::clone(route.policy),
            key,
            client: Arc::clone(&request.client),
            interim: request.interim.take(),
            body: Arc::new(Mutex::new(body)),
        }
    }

    /// The request as the rules read it.
    pub(super) fn head(&self) -> RequestHead<'_, Fields> {
        head(
            &self.method,
            self.scheme,
            std::str::from_utf8(&self.authority).unwrap_or_default(),
            std::str::from_utf8(&self.target).unwrap_or_default(),
            &self.fields,
        )
    }

    /// What an answer to it is made with.
    pub(super) fn occasion<'a>(&'a self, request: &'a RequestHead<'a, Fields>) -> Occasion<'a> {
        Occasion {
            request,
            now: self.edge.clock.now(),
            wall: self.edge.clock.wall(),
            node: &self.edge.config.node,
            x_cache: self.policy.x_cache,
        }
    }

    /// The question to the origin, with these fields.
    pub(super) fn ask(&self, fields: HeaderMap) -> Ask {
        Ask {
            method: self.method.clone(),
            scheme: self.scheme,
            authority: self.authority.clone(),
            target: self.target.clone(),
            fields,
            body: std::mem::take(&mut *self.body.lock()),
            interim: self.interim.clone(),
            client: Arc::clone(&self.client),
            steer: self.policy.steer.clone(),
        }
    }

    /// The page for a failure.
    pub(super) fn failed(&self, failure: Failure) -> Response {
        failure::response(failure, &self.edge.config.node, self.fields.first(FieldId::Accept), "")
    }
}

/// A request head as the rules read it.
pub(super) fn head<'a>(
    method: &'a Method,
    scheme: Scheme,
    authority: &'a str,
    path: &'a str,
    fields: &'a Fields,
) -> RequestHead<'a, Fields> {
    RequestHead { method, target: Target { scheme: scheme.as_str(), authority, path }, fields }
}
