//! A request on its way behind the lookup: what must outlive the listener's call.
//!
//! One pointer: it is moved through the futures of a request and shared by its client's with the one that fetches.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::key::CacheKey;
use cache_store::lookup::Lookup;
use cache_store::purge::Resource;
use cache_store::rules::policy::ShortPart;
use cache_store::rules::{Accepted, Purged, RequestControl, RequestHead, Target};
use cache_store::timestamp::Timestamp;
use http::Method;
use http_body::Body as _;
use parking_lot::Mutex;

use super::crawl::{Class, Place};
use super::inspected::Inspection;
use super::{Edge, reads};
use crate::config::RoutePolicy;
use crate::config::template::Values;
use crate::listener::fields::{FieldId, Fields};
use crate::listener::request::{Client, InterimSink, Protocol, Request, RequestBody, Scheme, Upgrade};
use crate::observe::id::RequestName;
use crate::observe::trace::{Span, tracestate};
use crate::origin::forward::{self, Conditions, Forwarded, Hop, Sent};
use crate::origin::parent::proof::{OURS, remove_ours};
use crate::origin::parent::{Footing, Parents, Wanted};
use crate::origin::steer::{Itinerary, Visitor};
use crate::origin::{Answer, Answering, Ask, Failed, OriginError, ResponseFields, Surplus};
use crate::respond::Occasion;
use crate::respond::encoding::Negotiation;
use crate::respond::failure::{self, Failure};
use crate::respond::passing::asks_by_date;
use crate::respond::response::Response;
use crate::route::{Route, ending};

/// A request on its way. A clone shares it; what is changed of one afterwards is changed of that one alone.
#[derive(Clone)]
pub(super) struct Walk(Arc<Way>);

/// What is known of it.
#[derive(Clone)]
pub(super) struct Way {
    pub(super) edge: Arc<Edge>,
    pub(super) method: Method,
    pub(super) scheme: Scheme,
    /// Normalised host and port, as an origin is asked.
    pub(super) authority: Bytes,
    /// The same, as answers are kept, where that differs.
    kept_as: Option<Bytes>,
    /// Path and query in normal form, as clients see them.
    pub(super) target: Bytes,
    /// As an origin is asked, where that differs.
    forwarded: Option<Bytes>,
    /// The fields as received.
    pub(super) fields: Fields,
    /// The fields to forward; shared, for they may be many and a client can make hundreds of requests wait.
    pub(super) forward: Arc<Forwarded>,
    pub(super) policy: Arc<RoutePolicy>,
    pub(super) key: CacheKey,
    pub(super) interim: Option<InterimSink>,
    /// The client.
    pub(super) client: Arc<Client>,
    /// The cookie that it is being given, if so.
    pub(super) mark: Option<Arc<str>>,
    /// Who asks.
    pub(super) asker: Asker,
    /// The site's place in the counters.
    pub(super) site: u16,
    /// The request's name.
    name: RequestName,
    /// What the client is, where it is a crawler.
    pub(super) crawler: Option<Class>,
    /// Its place in the lane of crawlers, once it has one.
    pub(super) place: Option<Place>,
    host_len: usize,
    /// Its route was chosen by the ending of its path.
    by_ending: bool,
    /// A parent would choose another route by what it is sent: it is not asked.
    is_past_parents: bool,
    /// The answer was begun anew already: what was stored turned out to be of another version.
    pub(super) restarted: bool,
    /// The body, until it is taken, if there is one.
    body: Option<Arc<Mutex<RequestBody>>>,
    /// What is to be looked into before an origin is asked, until it is.
    pub(super) inspection: Option<Inspection>,
    pub(super) protocol: Protocol,
}

impl Deref for Walk {
    type Target = Way;

    #[inline]
    fn deref(&self) -> &Way {
        &self.0
    }
}

impl DerefMut for Walk {
    fn deref_mut(&mut self) -> &mut Way {
        Arc::make_mut(&mut self.0)
    }
}

/// Who asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// A client.
    Client,
    /// A node of the tier.
    Node {
        /// It knows of purges that may not have come here: what is stored is not for it.
        around: bool,
    },
}

impl Walk {
    /// A walk that may fill the cache: its body is not forwarded, its fields are those of the route.
    ///
    /// # Errors
    /// The request runs in a loop.
    pub(super) fn fill(
        edge: &Arc<Edge>,
        request: &mut Request,
        route: &Route<'_, '_>,
        key: CacheKey,
    ) -> Result<Self, Failure> {
        let own = Conditions::Own { etag: None, last_modified: None, range: None };
        let interim = request.interims.sink();
        Self::new(edge, request, route, key, own, (RequestBody::Empty, interim))
    }

    /// A walk around the cache, with everything the client sent.
    ///
    /// # Errors
    /// The request runs in a loop.
    pub(super) fn pass(
        edge: &Arc<Edge>,
        request: &mut Request,
        route: &Route<'_, '_>,
    ) -> Result<Self, Failure> {
        let body = std::mem::take(&mut request.body);
        let key = route.key(edge.store.keyer());
        let interim = request.interims.sink();
        Self::new(edge, request, route, key, Conditions::Client, (body, interim))
    }

    /// A walk for a copy of a request without a body, which itself goes on.
    ///
    /// # Errors
    /// The request runs in a loop.
    pub(super) fn copy(edge: &Arc<Edge>, request: &Request, route: &Route<'_, '_>) -> Result<Self, Failure> {
        let conditions = match route.bypass {
            Some(_) => Conditions::Client,
            None => Conditions::Own { etag: None, last_modified: None, range: None },
        };
        let key = route.key(edge.store.keyer());
        let mut walk = Self::new(edge, request, route, key, conditions, (RequestBody::Empty, None))?;
        walk.inspection = None;
        Ok(walk)
    }

    fn new(
        edge: &Arc<Edge>,
        request: &Request,
        route: &Route<'_, '_>,
        key: CacheKey,
        conditions: Conditions<'_>,
        (body, interim): (RequestBody, Option<InterimSink>),
    ) -> Result<Self, Failure> {
        let fills = matches!(conditions, Conditions::Own { .. });
        let asked_as = if fills { route.kept_as() } else { route.authority() };
        let kept_as = route.kept_as();
        let hop = Hop {
            node: &edge.config.node,
            client: request.client.address.ip(),
            scheme: request.scheme,
            protocol: request.protocol,
            authority: asked_as,
            known: Some(&request.client.hop),
        };
        // Asked for in one text a set of codings, so that an origin which encodes is asked in few ways; what a client is answered
        // from then depends on the set alone.
        let asked =
            route.policy.encode.as_ref().filter(|_| fills && request.fields.has(FieldId::AcceptEncoding));
        // A part by the date of what may have come encoded would be one of other bytes: it gets the whole (RFC 9110 §13.1.5).
        let is_whole = !fills && asks_by_date(route.policy.encode.as_deref(), &request.fields);
        let is_kept = Cell::new(false);
        let mut forward = forward::fields(&request.fields, &hop, conditions, |line| {
            if route.policy.vary_by_country && line.name.eq_ignore_ascii_case(COUNTRY.as_bytes()) {
                return false;
            }
            // A stream of HTTP/2 needs none, and what it says of one is not what the origin is asked with.
            if request.upgrade == Upgrade::Stream && line.name.eq_ignore_ascii_case(b"sec-websocket-key") {
                return false;
            }
            if is_whole && matches!(line.id, FieldId::Range | FieldId::IfRange) {
                return false;
            }
            let keeps = if fills { route.keeps_for_fill(line) } else { route.keeps_for_pass(line) };
            if asked.is_some() && line.id == FieldId::AcceptEncoding {
                is_kept.set(keeps);
                return false;
            }
            keeps
        })
        .map_err(Failure::from)?;
        if let Some(encode) = asked.filter(|_| is_kept.get()) {
            let accepted = Accepted::of(request.fields.all(FieldId::AcceptEncoding));
            forward.push("accept-encoding", accepted.among(encode.set()).asking().as_bytes());
        }
        if fills {
            if let Some(cookies) = route.cookies_for_fill(&request.fields) {
                forward.push("cookie", &cookies);
            }
            let node = edge.config.node.as_bytes();
            forward.push_parts(SURROGATE_CAPABILITY, &[node, b"=\"Surrogate/1.0\""]);
        }
        if route.policy.vary_by_country
            && let Some(country) = edge.place_of(&request.client).and_then(|place| place.country)
        {
            forward.push(COUNTRY, country.as_str().as_bytes());
        }
        let name = route.name.clone().unwrap_or_else(|| request.name(&edge.ids));
        forward.push("x-request-id", name.as_bytes());
        if let Some(span) = Span::of(&request.fields, name.id, edge.ids.run(), &edge.config.log.trace) {
            forward.push("traceparent", &span.traceparent());
            if let Some(state) = tracestate(&request.fields) {
                forward.push("tracestate", &state);
            }
        }
        let is_past_parents = fills && edge.parents.is_some() && {
            let client = request.client.address.ip();
            !edge.routes.is_chosen_too(route, &request.method, &forward.as_fields(), client)
        };
        let authority = if asked_as == route.authority() {
            route.authority_bytes()
        } else {
            Bytes::copy_from_slice(asked_as)
        };
        // The host's part of it.
        let host_len = (route.host().len() + asked_as.len()).saturating_sub(route.authority().len());
        Ok(Self(Arc::new(Way {
            is_past_parents,
            edge: Arc::clone(edge),
            method: request.method.clone(),
            scheme: request.scheme,
            kept_as: (kept_as != asked_as).then(|| Bytes::copy_from_slice(kept_as)),
            authority,
            target: route.target_bytes(),
            forwarded: route.rewritten_target(),
            fields: request.fields.clone(),
            forward: Arc::new(forward.of_client(request.client.address)),
            policy: Arc::clone(route.policy),
            key,
            interim,
            client: Arc::clone(&request.client),
            mark: None,
            asker: Asker::Client,
            site: route.site,
            name,
            crawler: edge
                .crawlers
                .as_ref()
                .and_then(|crawlers| crawlers.class_of(&request.fields, request.client.address.ip())),
            place: None,
            host_len,
            by_ending: route.by_ending,
            restarted: false,
            inspection: Inspection::of(route, request, &body),
            protocol: request.protocol,
            body: (!body.is_empty()).then(|| Arc::new(Mutex::new(body))),
        })))
    }

    /// The same with the client's own conditions: what goes around the cache after all.
    pub(super) fn around(&self) -> Self {
        let conditions = forward::CONDITION_NAMES
            .into_iter()
            .flat_map(|name| self.fields.named(name).map(move |value| (name, value)));
        let forward = Arc::new(self.forward.with_conditions(conditions));
        Self(Arc::new(Way { forward, ..Way::clone(self) }))
    }

    /// The store's answer now.
    pub(super) fn look_up(&self) -> Lookup {
        self.edge.store.lookup_by(self.resource(), &self.head(), self.control(), self.edge.clock.now())
    }

    /// What it asks of caches.
    pub(super) fn control(&self) -> RequestControl {
        let control = RequestControl::of(&self.fields, &self.policy.rules);
        match self.asker {
            // What is stored is good enough for it for longer, but not where it was purged.
            Asker::Client if self.crawler.is_some() => {
                let stale = self.edge.crawlers.as_ref().map(|crawlers| crawlers.settings.stale.as_secs());
                let stale = u32::try_from(stale.unwrap_or(0)).unwrap_or(u32::MAX);
                RequestControl { max_stale: Some(control.max_stale.unwrap_or(0).max(stale)), ..control }
            }
            Asker::Client => control,
            Asker::Node { .. } => control.for_cache(),
        }
    }

    /// Whether a stale response may stand in for an origin that failed, as far as it depends on who asks: a node would keep
    /// what is softly purged, and what it knows to be purged it must not be given.
    pub(super) fn takes_stale(&self, stored: &StoredResponse) -> bool {
        match self.asker {
            Asker::Client => true,
            Asker::Node { around } => !around && stored.purged() == Purged::No,
        }
    }

    /// Whether what it is answered with is of the kind that its route was chosen for.
    pub(super) fn is_of_its_kind(&self, fields: &ResponseFields) -> bool {
        if !self.by_ending {
            return true;
        }
        let path = self.target.split(|byte| *byte == b'?').next().unwrap_or_default();
        ending::fits(path, fields.named("content-type").next())
    }

    /// Whether a node of the tier asks.
    pub(super) fn for_node(&self) -> bool {
        matches!(self.asker, Asker::Node { .. })
    }

    /// What it is about, as the store finds it.
    pub(super) fn resource(&self) -> Resource<'_> {
        let authority = self.kept_as.as_ref().unwrap_or(&self.authority);
        Resource { key: self.key, authority, target: &self.target }
    }

    /// The request as the rules read it. Of one that only reads they never ask where it goes.
    pub(super) fn head(&self) -> RequestHead<'_, Fields> {
        if reads(&self.method) {
            return head(&self.method, self.scheme, "", "", &self.fields);
        }
        head(
            &self.method,
            self.scheme,
            std::str::from_utf8(&self.authority).unwrap_or_default(),
            std::str::from_utf8(&self.target).unwrap_or_default(),
            &self.fields,
        )
    }

    /// What an answer to it is made with, `now`.
    pub(super) fn occasion<'a>(
        &'a self,
        request: &'a RequestHead<'a, Fields>,
        now: Timestamp,
    ) -> Occasion<'a> {
        Occasion {
            request,
            now,
            clock: &self.edge.clock,
            node: &self.edge.config.node,
            x_cache: self.policy.x_cache,
            refill: None,
            fwd: None,
            upstream: None,
            coding: self.negotiation(true),
            for_node: self.for_node(),
        }
    }

    /// Whether there is somebody to ask who is not known to be down; with a tier, a parent may have the answer.
    pub(super) fn has_origin(&self) -> bool {
        let origins = &self.edge.origins;
        self.edge.parents.is_some()
            || self.imagined().is_some_and(|itinerary| origins.available(&itinerary.first))
    }

    /// By what the coding of an answer is chosen; a node of the tier encodes for itself. `makes`: what is missing is made.
    pub(super) fn negotiation(&self, makes: bool) -> Option<Negotiation<'_>> {
        let encode = self.policy.encode.as_ref().filter(|_| !self.for_node())?;
        let encoders = makes.then_some(&*self.edge.encoders);
        Some(Negotiation { encode, encoders, key: self.key, streams: self.protocol != Protocol::Http10 })
    }

    /// Asks for what may be stored, with these fields: a parent of the tier, or an origin of the route's pool.
    pub(super) async fn ask(&self, fields: Sent) -> Result<Box<Answer>, Failed> {
        match self.parents_to_ask() {
            // Boxed: few nodes have any.
            Some(parents) => Box::pin(self.ask_parents(parents, fields)).await,
            None => self.ask_origin(fields).await,
        }
    }

    fn parents_to_ask(&self) -> Option<&Parents> {
        // A child that goes around this node's store must not be given a parent's.
        // Nor would one know which side of a split it is asked for.
        self.edge.parents.as_deref().filter(|_| {
            !self.policy.vary_by_country
                && !self.policy.steer.splits()
                && self.asker != (Asker::Node { around: true })
                && !self.is_past_parents
        })
    }

    async fn ask_parents(&self, parents: &Parents, fields: Sent) -> Result<Box<Answer>, Failed> {
        let wanted = Wanted {
            method: &self.method,
            scheme: self.scheme,
            authority: &self.authority,
            target: &self.target,
            key: self.key,
            fields: &fields,
            interim: self.interim.as_ref(),
            surplus: self.surplus(),
        };
        match parents.ask(&wanted, self.edge.footing()).await {
            Some(answer) => Ok(answer),
            None => self.ask_origin(fields).await,
        }
    }

    /// Asks an origin of the route's pool, with these fields; of another pool where that one has nobody to ask, or failed and it
    /// is safe to ask again.
    pub(super) async fn ask_origin(&self, fields: Sent) -> Result<Box<Answer>, Failed> {
        let mut answer = self.asked(fields).await?;
        // Only a parent may say what is between nodes.
        if answer.fields.has_special() {
            answer.fields.retain(|name| !name.starts_with(OURS.as_bytes()));
        }
        Ok(answer)
    }

    /// The answer to come. Not `async`: what is sent lies in one future alone.
    fn asked(&self, fields: Sent) -> Answering<'_> {
        let fields = self.dressed_for_origin(fields);
        self.mirror_miss(&fields);
        let body = self.take_body();
        match self.itinerary() {
            Some(itinerary) if itinerary.others.is_empty() || !body.is_empty() => {
                self.edge.origins.ask(self.asking(itinerary.first, fields, body))
            }
            itinerary => Box::pin(self.ask_one_after_another(itinerary, fields)),
        }
    }

    async fn ask_one_after_another(
        &self,
        itinerary: Option<Itinerary>,
        fields: Sent,
    ) -> Result<Box<Answer>, Failed> {
        let itinerary = itinerary.ok_or(OriginError::NoOrigin)?;
        let mut pool = itinerary.first;
        let mut others = itinerary.others.into_iter();
        loop {
            let asking = self.asking(Arc::clone(&pool), fields.clone(), RequestBody::Empty);
            let failed = match self.edge.origins.ask(asking).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if !self.edge.origins.may_fall_over(&pool, failed.cause, &self.method) {
                return Err(failed);
            }
            let Some(next) = others.next() else { return Err(failed) };
            tracing::debug!(from = %pool, to = %next, cause = failed.cause.as_str(), "another pool is asked");
            pool = next;
        }
    }

    /// The pools to ask.
    fn itinerary(&self) -> Option<Itinerary> {
        self.edge.origins.itinerary(&self.policy.steer, &self.visitor())
    }

    /// The pools that would be asked.
    fn imagined(&self) -> Option<Itinerary> {
        self.edge.origins.imagined(&self.policy.steer, &self.visitor())
    }

    /// The pool whose lane a crawler is in.
    pub(super) fn pool_of_crawlers(&self) -> Option<Arc<str>> {
        self.imagined().map(|itinerary| itinerary.first)
    }

    fn visitor(&self) -> Visitor<'_> {
        let steer = &self.policy.steer;
        let place = steer.asks_for_place().then(|| self.edge.place_of(&self.client)).flatten();
        Visitor { address: self.client.address.ip(), place, fields: &self.fields, mark: self.mark.as_deref() }
    }

    fn asking(&self, pool: Arc<str>, fields: Sent, body: RequestBody) -> Ask {
        let stuck = self.edge.origins.stuck(&pool, &self.fields);
        Ask {
            pool,
            method: self.method.clone(),
            authority: self.authority.clone(),
            target: self.forwarded.as_ref().unwrap_or(&self.target).clone(),
            fields,
            body,
            // Only a parent may say what is between nodes.
            interim: self.interim.clone().map(|sink| sink.through(remove_ours)),
            client: Some(self.client.address.ip()),
            stuck,
            surplus: self.surplus(),
        }
    }

    /// A copy of it for another pool, with these fields.
    pub(super) fn copy_for(&self, pool: Arc<str>, fields: Sent) -> Ask {
        Ask { interim: None, ..self.asking(pool, fields, RequestBody::Empty) }
    }

    /// Whether it has no body, or none any more.
    pub(super) fn has_no_body(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.lock().is_empty())
    }

    /// How long its body is, bytes, if that is known.
    pub(super) fn body_length(&self) -> Option<usize> {
        let length = self.body.as_ref()?.lock().size_hint().exact()?;
        usize::try_from(length).ok()
    }

    /// Takes its body.
    pub(super) fn take_body(&self) -> RequestBody {
        self.body.as_ref().map(|body| std::mem::take(&mut *body.lock())).unwrap_or_default()
    }

    /// Gives it back.
    pub(super) fn put_body(&self, body: RequestBody) {
        if let Some(place) = &self.body {
            *place.lock() = body;
        }
    }

    /// The fields as the route's origins get them.
    pub(super) fn dressed_for_origin(&self, fields: Sent) -> Sent {
        if self.policy.request_headers.is_empty() { fields } else { self.dressed(fields) }
    }

    /// The same, of a route that changes them.
    fn dressed(&self, fields: Sent) -> Sent {
        let values = Values {
            host: self.authority.get(..self.host_len).unwrap_or_default(),
            target: &self.target,
            path_len: self.target.iter().position(|byte| *byte == b'?').unwrap_or(self.target.len()),
            scheme: self.scheme,
            client: self.client.address.ip(),
            id: Some(self.name.as_bytes()),
        };
        fields.dressed(&self.policy.request_headers, &values)
    }

    fn surplus(&self) -> Surplus {
        match self.policy.rules.short_part {
            ShortPart::Refuse => Surplus::Refuse,
            ShortPart::TrustFraming => Surplus::Drop,
        }
    }

    /// The page for a failure.
    pub(super) fn failed(&self, failure: Failure) -> Response {
        failure::response(failure, &self.edge.config.node, self.fields.first(FieldId::Accept), &self.name)
    }
}

impl Edge {
    /// What this node stands on when it asks a parent.
    pub(crate) fn footing(&self) -> Footing<'_> {
        Footing {
            origins: &self.origins,
            standing: &self.standing,
            applied: self.store.purge_log().announced(),
            clock: &self.clock,
        }
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

/// Edge Architecture Specification (W3C Note 2001): tells an origin that `Surrogate-Control` is understood here.
const SURROGATE_CAPABILITY: &str = "surrogate-capability";
/// Tells an origin the country by which answers are kept apart.
const COUNTRY: &str = "x-country-code";
