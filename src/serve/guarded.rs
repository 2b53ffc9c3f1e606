//! A route's access rules (`route/access/` has them), asked about a request, and told to whoever explains one.
//!
//! ```text
//! guard ─┬─ given ─────► the walk, in the call itself
//!        ├─ denied ────► its page
//!        └─ unverified ► verify, elsewhere ─┬─ right ─► the walk
//!                                           └─ wrong ─► its page
//! ```
//!
//! Invariant: behind a verification the store is asked anew, so what it says is as new as the answer.

use std::net::IpAddr;
use std::sync::Arc;

use http::StatusCode;
use purge_api::compat::method;
use serde_json::{Map, Value, json};

use super::walk::Walk;
use super::{Edge, Finish, Tier, pass, upgrade, walk_on};
use crate::listener::request::{Request, Upgrade};
use crate::listener::service::Served;
use crate::respond::failure::Failure;
use crate::respond::response::Response;
use crate::route::access::{Admission, Asking, Denied, Guard, Held, Refusal, Verification};
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

    /// Answers a request once what it shows is verified; by what the route answers itself, where it does.
    pub(super) fn serve_verified(
        self: &Arc<Self>,
        request: &mut Request,
        route: &Route<'_, '_>,
        (guard, verification): (&Arc<Guard>, Verification),
        (finish, own): (Finish, Option<Response>),
    ) -> Served {
        let bypass = route.bypass;
        let offered = match request.upgrade {
            Upgrade::No => None,
            Upgrade::Connection => upgrade::offered(&request.fields, &route.policy.upgrade),
        };
        let walk = match bypass {
            _ if offered.is_some() => Walk::pass(self, request, route),
            Some(Bypass::Trace) => Err(Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method")),
            Some(_) => Walk::pass(self, request, route),
            None => Walk::fill(self, request, route, route.key(self.store.keyer())),
        };
        let walk = match walk {
            Ok(walk) => walk,
            Err(failure) => return Served::Now(finish.answer(self.failed(request, failure))),
        };
        let guard = Arc::clone(guard);
        Served::Later(Box::pin(async move {
            let verified = verification.run().await;
            if let (Ok(()), Some(own)) = (&verified, own) {
                return finish.dressed(own);
            }
            let answer = match (verified, offered, bypass) {
                (Err(denied), ..) => told(&guard, denied, walk.failed(denied.into())),
                (Ok(()), Some(offered), _) => upgrade::upgrade(walk, offered).await,
                (Ok(()), None, Some(reason)) => pass::pass(walk, reason.as_str()).await,
                (Ok(()), None, None) => {
                    let looked = walk.look_up();
                    walk_on(walk, looked, Tier::Memory).await
                }
            };
            finish.answer(answer)
        }))
    }
}

/// The answer with what the rules have to say beside it.
pub(super) fn beside(held: &Held, served: Served) -> Served {
    if held.lines.is_empty() {
        return served;
    }
    let lines = held.lines.clone();
    match served {
        Served::Now(mut response) => {
            response.extra.extend_from_slice(&lines);
            Served::Now(response)
        }
        Served::Later(answering) => Served::Later(Box::pin(async move {
            let mut response = answering.await;
            response.extra.extend_from_slice(&lines);
            response
        })),
    }
}

fn told(guard: &Guard, denied: Denied, mut page: Response) -> Response {
    guard.tell(denied, &mut page.extra);
    page
}

/// What each rule of `guard` would say to a request that is only imagined, and the first that refuses it.
pub(super) fn explain(guard: &Guard, client: Option<IpAddr>, asking: &Asking<'_>) -> (Value, Option<Denied>) {
    let mut first = None;
    let told = guard.explain(asking, client).into_iter().map(|(rule, said)| {
        let word = match said {
            None if rule == "basic" => "would be verified",
            None if matches!(rule, "rates" | "concurrency") => "counts requests",
            None => "depends on the client",
            Some(Ok(())) => "admits",
            Some(Err(denied)) => {
                first.get_or_insert(denied);
                denied.as_str()
            }
        };
        (rule.to_owned(), json!(word))
    });
    let told = told.collect::<Map<_, _>>();
    (Value::Object(told), first)
}
