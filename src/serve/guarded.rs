//! A route's access rules (`route/access/` has them), asked about a request, and told to whoever explains one.
//!
//! ```text
//! guard ─┬─ given ─────► the walk, in the call itself
//!        ├─ denied ────► its page
//!        └─ later ─────► verify, and look into it, elsewhere ─┬─ good ─► the walk
//!                                                             └─ bad ──► its page
//! ```
//!
//! Invariant: behind that the store is asked anew, so what it says is as new as the answer.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use purge_api::compat::method;
use serde_json::{Map, Value, json};

use super::walk::Walk;
use super::{Edge, Finish, Tier, pass, upgrade, walk_on};
use crate::listener::request::Request;
use crate::listener::service::Served;
use crate::respond::failure::Failure;
use crate::respond::response::Response;
use crate::route::access::{Admission, Asking, Denied, Guard, Held, Refusal, Subject, Verification};
use crate::route::{Bypass, Route};

impl Edge {
    /// Whether the request may be answered.
    ///
    /// # Errors
    /// [`Refusal`]: it may not.
    pub(super) fn ask(
        &self,
        guard: &Guard,
        request: &Request,
        route: &Route<'_, '_>,
    ) -> Result<Admission, Refusal> {
        let client = request.client.address.ip();
        if method::is_purge(request.method.as_str()) {
            guard.ask_purger(client)?;
            return Ok(Admission::default());
        }
        let place = if guard.asks_place() { self.place_of(&request.client) } else { None };
        guard.ask(&Asking {
            client,
            authority: route.authority(),
            fields: &request.fields,
            country: place.and_then(|place| place.country),
            target: request.target(),
            now_micros: request.received_micros,
            wall_secs: if guard.asks_calendar() { self.clock.wall().as_millis() / 1000 } else { 0 },
        })
    }

    /// The page for a request that is refused.
    pub(super) fn denied(&self, request: &Request, guard: &Guard, refusal: &Refusal) -> Response {
        let mut page = self.failed(request, refusal.denied.into());
        page.extra.extend_from_slice(&refusal.lines);
        told(guard, refusal.denied, page)
    }

    /// Answers a request once what it shows is verified, and what is in it looked into; by what the route answers itself, where it
    /// does.
    pub(super) fn serve_guarded(
        self: &Arc<Self>,
        request: &mut Request,
        route: Route<'_, 'static>,
        guard: &Arc<Guard>,
        (verification, inspects_first): (Option<Verification>, bool),
        (finish, own): (Finish, Option<Response>),
    ) -> Served {
        // A redirect or a page of the node's own reaches nobody who could be attacked.
        if verification.is_none()
            && let Some(own) = own
        {
            return Served::Now(finish.dressed(own));
        }
        let bypass = route.bypass;
        let offer = match upgrade::offered(request, &route.policy.upgrade) {
            Ok(offer) => offer,
            Err(refusal) => return Served::Now(finish.answer(self.failed(request, refusal))),
        };
        let marking = if offer.is_some() { None } else { self.marking(request, route.policy) };
        let mark = marking.as_ref().map(|marking| Arc::clone(&marking.mark));
        let route = self.on_its_side(route, request, mark.as_deref());
        let walk = match bypass {
            _ if offer.is_some() => Walk::pass(self, request, &route),
            Some(Bypass::Trace) => Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method")),
            Some(_) => Walk::pass(self, request, &route),
            None => Walk::fill(self, request, &route, route.key(self.store.keyer())),
        };
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(failure) => return Served::Now(finish.answer(self.failed(request, failure))),
        };
        walk.mark = mark;
        let guard = Arc::clone(guard);
        Served::later(async move {
            if let Some(verification) = verification
                && let Err(denied) = verification.run().await
            {
                return finish.answer(told(&guard, denied, walk.failed(denied.into())));
            }
            if let Some(own) = own {
                return finish.dressed(own);
            }
            if inspects_first && let Err(failure) = walk.inspect().await {
                return finish.answer(walk.failed(failure));
            }
            walk.mirror_request();
            let mut answer = match (offer, bypass) {
                (Some(offer), _) => upgrade::upgrade(walk, offer).await,
                (None, Some(reason)) => pass::pass(walk, reason.as_str()).await,
                (None, None) => {
                    let looked = walk.look_up();
                    walk_on(walk, looked, Tier::Memory).await
                }
            };
            finish.put_on_marked(&mut answer, marking);
            answer
        })
    }
}

/// Puts what the rules have to say beside the answer, where it lies: a hit would feel its copies.
pub(super) fn put_beside(held: &Held, served: &mut Served) {
    if held.lines.is_empty() {
        return;
    }
    match served {
        Served::Now(response) => response.extra.extend_from_slice(&held.lines),
        Served::Later(answering) => {
            let lines = held.lines.clone();
            let bare = std::mem::replace(answering, Box::pin(std::future::pending()));
            *answering = Box::pin(async move {
                let mut response = bare.await;
                response.extra.extend_from_slice(&lines);
                response
            });
        }
    }
}

fn told(guard: &Guard, denied: Denied, mut page: Response) -> Response {
    guard.tell(denied, &mut page.extra);
    page
}

/// What each rule of `guard` would say to a request that is only imagined, and the first that refuses it.
pub(super) fn explain(
    guard: &Guard,
    client: Option<IpAddr>,
    asking: &Asking<'_>,
    subject: &Subject,
) -> (Value, Option<Denied>) {
    let mut first = None;
    let told = guard.explain(asking, client).into_iter().map(|(rule, said)| {
        let word = match said {
            None if rule == "basic" => "would be verified",
            None if matches!(rule, "rates" | "concurrency") => "counts requests",
            None => "depends on the client",
            Some(Ok(())) => "admits",
            Some(Err(denied)) if rule == "inspect" && !guard.refuses_attacks() => denied.as_tried(),
            Some(Err(denied)) => {
                first.get_or_insert(denied);
                denied.as_str()
            }
        };
        (rule.to_owned(), json!(word))
    });
    let mut told = told.collect::<Map<_, _>>();
    if let Some(said) = guard.explain_rules(subject) {
        let found = said.err();
        if let Some(finding) = found.as_ref().filter(|_| guard.refuses_attacks()) {
            first.get_or_insert(finding.denied);
        }
        let word = found.as_ref().map_or("admits", |finding| &finding.told);
        told.insert("modsecurity".to_owned(), json!(word));
    }
    (Value::Object(told), first)
}
