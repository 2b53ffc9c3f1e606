//! What would happen to a request, and why: the same route, lookup and rules as serving, with nothing sent.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use bytes::Bytes;
use cache_store::entry::StoredResponse;
use cache_store::key::CacheKey;
use cache_store::rules::{Coding, Purged};
use http::{HeaderName, Method, header};
use purge_api::{Problem, ResourceUrl};
use serde_json::{Value, json};

use super::arm::on_the_side_of;
use super::walk::head;
use super::{Edge, guarded};
use crate::admin::ExplainQuery;
use crate::config::{KeyParts, RoutePolicy};
use crate::listener::fields::Fields;
use crate::listener::request::{Client, Protocol, Scheme};
use crate::origin::Surplus;
use crate::origin::forward::Sent;
use crate::origin::parent::{Parents, Unasked, Wanted};
use crate::origin::steer::Visitor;
use crate::respond::encoding::Negotiation;
use crate::respond::passing::{self, Plain};
use crate::route::access::{Asking, Denied, Guard, Subject};
use crate::route::{Asked, Caller, OwnAnswer, Route};

impl Edge {
    /// What the response is tagged with that memory holds for a plain GET of this URL; nothing where it holds none.
    pub(crate) fn tags_in_memory(&self, url: &str) -> Vec<Box<str>> {
        let Ok(url) = ResourceUrl::parse(url) else { return Vec::new() };
        let scheme = if url.is_https() { Scheme::Https } else { Scheme::Http };
        let fields = Fields::pack(std::iter::empty());
        let (authority, target) = (url.authority().as_bytes(), url.target());
        let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
        let route =
            self.routes.route_parts(&Method::GET, scheme, authority, target.as_bytes(), &fields, client);
        let Ok(route) = route else { return Vec::new() };
        if route.bypass.is_some() {
            return Vec::new();
        }
        let key = route.key(self.store.keyer());
        let request = head(&Method::GET, scheme, route.authority_str(), route.path_str(), &fields);
        let stored =
            self.store.resident(route.resource(key), &request, &route.policy.rules, self.clock.now());
        stored.map_or_else(Vec::new, |stored| stored.tags().to_vec())
    }

    /// The decision for a request that is only imagined.
    ///
    /// # Errors
    /// No site serves the host, or the URL cannot be a request's.
    pub(crate) fn explained(&self, query: &ExplainQuery) -> Result<Value, Problem> {
        let scheme = if query.url.is_https() { Scheme::Https } else { Scheme::Http };
        let lines: Vec<_> =
            query.fields.iter().map(|(name, value)| (name.as_str().as_bytes(), value.as_bytes())).collect();
        let fields = Fields::pack(lines.iter().copied());
        let target = query.url.target();
        let authority = query.url.authority().as_bytes();
        let client = query.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let imagined = Client::new((client, 0).into(), None);
        let caller = Caller::new(&imagined, self.places.as_deref());
        let route = self
            .routes
            .route_parts(&query.method, scheme, authority, target.as_bytes(), &fields, caller)
            .map_err(|refusal| {
                let failure = crate::respond::failure::Failure::from(refusal);
                Problem::new(
                    failure.status,
                    failure.reason,
                    "no answer would be looked for: the request is refused",
                )
            })?;
        let visitor = self.imagined_visitor(query, &fields, route.policy);
        let route = on_the_side_of(&visitor, route);
        let key = route.key(self.store.keyer());
        let (authority, path) = (route.authority_str(), route.path_str());
        let request = head(&query.method, scheme, authority, path, &fields);
        let now = self.clock.now();
        let pools: Vec<&str> = route.policy.steer.pools().into_iter().map(|pool| &**pool).collect();
        let mut answer = json!({
            "url": query.url.to_string(),
            "method": query.method.as_str(),
            "site": &**route.site_name,
            "route": self.told_route(&route),
            "preset": route.policy.preset.as_str(),
            "forwarded_as": String::from_utf8_lossy(&route.forward_target()),
            "host": authority,
            "pools": pools,
        });
        if route.policy.steer.steering().is_some() || route.policy.vary_by_country {
            answer["steering"] = self.steered(query, &visitor, route.policy);
        }
        told_of_key(&route, &mut answer);
        self.told_of_crawler(&fields, client, &mut answer);
        let asked = Asked { method: &query.method, scheme, target: target.as_bytes(), client };
        let own = self.routes.own_answer(&route, &asked);
        let mut denied = None;
        if let Some(guard) = route.guard {
            (answer["access"], denied) = self.told_of_access(guard, query, &fields, &route);
            // Nothing is asked where nobody reads along.
            if route.policy.https_only && scheme == Scheme::Http && own.is_some() {
                denied = None;
            }
        }
        let (decision, reason) = if let Some(denied) = denied {
            ("refuse", Some(denied.as_str()))
        } else if let Some(own) = &own {
            answer["answer"] = told_answer(own);
            ("answer", None)
        } else if let Some(bypass) = route.bypass {
            ("pass", Some(bypass.as_str()))
        } else {
            let peek = self.store.peek(route.resource(key), &request, &route.policy.rules, now);
            answer["key"] = json!(key.to_string());
            answer["filling"] = json!(peek.filling);
            if let (Some(encode), Some(stored)) = (&route.policy.encode, &peek.stored) {
                let negotiation = Negotiation { encode, encoders: None, key, streams: true };
                answer["encoding"] = negotiation.explained(stored, &fields, now);
            }
            answer["stored"] = peek.stored.as_ref().map_or(Value::Null, |stored| {
                describe(stored, if peek.from_disk { "disk" } else { "memory" }, now)
            });
            match (peek.why, peek.stale) {
                (None, None) => ("hit", None),
                (None, Some(stale)) => ("stale", Some(stale.as_str())),
                (Some(why), _) if peek.filling => ("wait", why.detail().or(Some(why.fwd()))),
                (Some(why), _) => ("fetch", why.detail().or(Some(why.fwd()))),
            }
        };
        if denied.is_none()
            && own.is_none()
            && route.bypass.is_none()
            && let Some(parents) = &self.parents
        {
            answer["parents"] = json!(self.told_of(parents, &query.method, scheme, &route, key));
        }
        if let Some(encode) = route.policy.encode.as_ref().filter(|_| denied.is_none() && own.is_none()) {
            let wanted = passing::wanted(encode, &fields);
            answer["encoding_if_not_stored"] = json!(wanted.map_or_else(Plain::as_str, Coding::as_str));
        }
        answer["decision"] = json!(decision);
        answer["reason"] = json!(reason);
        if let Some(last) = self.not_stored.of(key) {
            answer["not_stored_last_time"] = json!(last);
        }
        Ok(answer)
    }
}

impl Edge {
    /// Who would ask: the client that the query names, or nobody who is anywhere.
    fn imagined_visitor<'f>(
        &self,
        query: &ExplainQuery,
        fields: &'f Fields,
        policy: &RoutePolicy,
    ) -> Visitor<'f> {
        let address = query.client.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let looks = policy.steer.asks_for_place() || policy.vary_by_country;
        let place = looks.then(|| self.place(address)).flatten();
        Visitor { address, place, fields, mark: None }
    }

    /// Where the client is, which pool it is sent to and why, and who comes next.
    fn steered(&self, query: &ExplainQuery, visitor: &Visitor<'_>, policy: &RoutePolicy) -> Value {
        let code = |code: Option<geo::Code>| code.map(|code| code.to_string());
        let itinerary = self.origins.imagined(&policy.steer, visitor);
        let (first, why, others, passed_over) = itinerary.map_or_else(
            || ("".into(), "no pool".to_owned(), Vec::new(), Vec::new()),
            |it| (it.first, it.why.to_string(), it.others, it.passed_over),
        );
        let names = |pools: &[Arc<str>]| pools.iter().map(|pool| json!(&**pool)).collect::<Vec<_>>();
        let split = policy.steer.steering().is_some_and(|steering| steering.split);
        json!({
            "client": query.client.map(|client| client.to_string()),
            "place": visitor.place.map(|place| json!({
                "country": code(place.country),
                "continent": code(place.continent),
                "region": code(place.region),
                "latitude": place.coordinates.map(|at| at.latitude()),
                "longitude": place.coordinates.map(|at| at.longitude()),
            })),
            "pool": &*first,
            "why": why,
            "then": names(&others),
            "not_available": names(&passed_over),
            "kept_apart_by": match (split, policy.vary_by_country) {
                (true, true) => Some("pool and country"),
                (true, false) => Some("pool"),
                (false, true) => Some("country"),
                (false, false) => None,
            },
        })
    }

    /// What the client is taken for, where crawlers have a lane of their own.
    fn told_of_crawler(&self, fields: &Fields, client: IpAddr, answer: &mut Value) {
        if let Some(crawlers) = &self.crawlers {
            let class = crawlers.class_of(fields, client);
            answer["crawler"] = class.map_or(Value::Null, |class| json!(class.as_str()));
        }
    }

    /// What the rules of the route say, and what refuses the request, if something does.
    fn told_of_access(
        &self,
        guard: &Guard,
        query: &ExplainQuery,
        fields: &Fields,
        route: &Route<'_, '_>,
    ) -> (Value, Option<Denied>) {
        let country = query.client.and_then(|client| self.place(client)?.country);
        let target = query.url.target();
        // Where it is not told, nothing that depends on it is.
        let client = query.client.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        let asking = Asking {
            client,
            authority: route.authority(),
            fields,
            country,
            target: target.as_bytes(),
            now_micros: self.clock.micros(),
            wall_secs: self.clock.wall().as_millis() / 1000,
        };
        let subject = Subject {
            method: query.method.clone(),
            target: route.target_bytes(),
            protocol: Protocol::Http11,
            authority: Some(route.authority_bytes()),
            fields: fields.clone(),
            client: Some((client, 0).into()),
            body: Vec::new(),
            is_whole: true,
        };
        guarded::explain(guard, query.client, &asking, &subject)
    }

    /// The path of the route that decides, as the settings have it.
    fn told_route(&self, route: &Route<'_, '_>) -> Option<String> {
        let site = self.config.sites.get(usize::from(route.site))?;
        Some(site.routes.get(route.route?)?.path.to_string())
    }

    /// Every parent in the order of the key, and why it would not be asked.
    fn told_of(
        &self,
        parents: &Parents,
        method: &Method,
        scheme: Scheme,
        route: &Route<'_, '_>,
        key: CacheKey,
    ) -> Vec<Value> {
        let wanted = Wanted {
            method,
            scheme,
            authority: &Bytes::copy_from_slice(route.kept_as()),
            target: &Bytes::copy_from_slice(route.public_target()),
            key,
            fields: &Sent::default(),
            interim: None,
            surplus: Surplus::default(),
        };
        let told = parents.explained(&wanted, self.footing()).into_iter().map(|(parent, unasked)| {
            let why = unasked.map(|why| match why {
                Unasked::Unhealthy => "unhealthy".to_owned(),
                Unasked::MayNotHaveHeard(purge) => format!("may not have heard of purge {purge}"),
                Unasked::Behind => "another comes before it".to_owned(),
            });
            let mut told = json!({ "parent": &*parent, "asked": why.is_none() });
            if let Some(why) = why {
                told["why_not"] = json!(why);
            }
            told
        });
        told.collect()
    }
}

/// What tells its answers apart.
fn told_of_key(route: &Route<'_, '_>, answer: &mut Value) {
    if route.kept_as() != route.authority() {
        answer["kept_as"] = json!(String::from_utf8_lossy(route.kept_as()));
    }
    let KeyParts { headers, cookies } = &route.policy.key;
    let parts = headers.iter().map(HeaderName::as_str).chain(cookies.iter().map(|name| &**name));
    answer["key_parts"] = json!(parts.collect::<Vec<_>>());
}

/// An answer of the node's own.
fn told_answer(own: &OwnAnswer<'_>) -> Value {
    match own {
        OwnAnswer::Redirect(status, location, why) => {
            json!({ "why": why, "status": status.as_u16(), "location": String::from_utf8_lossy(location) })
        }
        OwnAnswer::Fixed(fixed) => json!({
            "why": "respond",
            "status": fixed.status.as_u16(),
            "content_type": fixed.page.content_type,
            "bytes": fixed.page.bytes.len(),
            "file": fixed.page.file,
        }),
        OwnAnswer::Maintenance(closed) => json!({ "why": "maintenance", "status": closed.status.as_u16() }),
        OwnAnswer::NotAllowed(methods) => {
            json!({ "why": "method", "status": 405, "allow": super::answer::allowed(methods) })
        }
        OwnAnswer::Server => json!({ "why": "https-only", "status": 204 }),
        OwnAnswer::TooLong => json!({ "why": "redirect-length", "status": 414 }),
    }
}

fn describe(stored: &Arc<StoredResponse>, tier: &str, now: cache_store::timestamp::Timestamp) -> Value {
    let freshness = &stored.freshness;
    let windows = freshness.windows();
    let vary: Vec<Value> = stored
        .vary()
        .entries()
        .map(|(name, value)| match stored.vary().coding().filter(|_| *name == header::ACCEPT_ENCODING) {
            Some(coding) => json!({ "field": name.as_str(), "takes": coding.as_str() }),
            None => json!({ "field": name.as_str(), "value": value.map(String::from_utf8_lossy) }),
        })
        .collect();
    let on_disk = stored.large().map(|large| large.holding());
    json!({
        "status": stored.status().as_u16(),
        "bytes": stored.body_len(),
        "tier": if on_disk.is_some() { "disk" } else { tier },
        "chunks": on_disk.map(|held| json!({ "held": held.chunks, "missing": held.missing })),
        "age": freshness.age(now),
        "lifetime": freshness.lifetime_secs(),
        "ttl": freshness.ttl(now),
        "fresh": freshness.is_fresh(now) && stored.purged() == Purged::No,
        "lifetime_explicit": freshness.explicit(),
        "no_cache": freshness.no_cache(),
        "must_revalidate": freshness.must_revalidate(),
        "stale_while_revalidate": windows.while_revalidate_secs,
        "stale_if_error": windows.if_error_secs,
        "purged": match stored.purged() { Purged::No => "no", Purged::Soft(_) => "soft", Purged::Hard => "hard" },
        "vary": vary,
        "forms": stored.forms().map(|(coding, form)| json!({
            "coding": coding.as_str(),
            "bytes": form.stored.body_len(),
            "level": form.level,
        })).collect::<Vec<_>>(),
        "tags": stored.tags().iter().map(|tag| &**tag).collect::<Vec<_>>(),
        "partial": stored.held().is_some(),
        "epoch": stored.epoch(),
    })
}
