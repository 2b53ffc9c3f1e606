//! Which side of a split a request is on, and the cookie by which its client stays there.
//!
//! Where the choice of the pool is part of the key (`split`, or steering by what clients send), and where answers vary by
//! country, that is settled before the look-up: [`Edge::on_its_side`] gives the route its *arm*, and `Route::key` has it in it. Such
//! requests take the walk as a future also for a hit; all others never come here.
//!
//! Invariant: the arm does not depend on who is well, so a pool that is away never moves a client to the other side's answers.

use std::sync::Arc;
use std::time::Duration;

use super::pass;
use super::walk::{Asker, Walk};
use super::{Edge, Finish, Tier, walk_on};
use crate::config::RoutePolicy;
use crate::listener::request::{Request, Scheme};
use crate::listener::service::Served;
use crate::origin::steer::{Visitor, arm, known_by};
use crate::respond::headers::line;
use crate::respond::response::{CacheOutcome, Response};
use crate::route::{Route, arm_key};

/// The cookie that a client is given with its answer.
pub(super) struct Marking {
    name: Box<str>,
    max_age: Duration,
    secure: bool,
    /// What it says: nothing but which client this is.
    pub(super) mark: Arc<str>,
    /// Also with what comes from the cache; else only with what an origin was asked for.
    always: bool,
}

/// Whether requests of this policy come here.
#[inline]
pub(super) fn is_apart(policy: &RoutePolicy) -> bool {
    policy.vary_by_country || policy.steer.splits()
}

impl Edge {
    /// The cookie for the client of this request, if the route knows clients by one and this client has none.
    pub(super) fn marking(&self, request: &Request, policy: &RoutePolicy) -> Option<Box<Marking>> {
        let steering = policy.steer.steering()?;
        let (name, max_age) = steering.cookie()?;
        if known_by(&request.fields, name).is_some() {
            return None;
        }
        Some(Box::new(Marking {
            name: name.into(),
            max_age,
            secure: request.scheme == Scheme::Https,
            mark: self.ids.draw().to_string().into(),
            always: steering.split,
        }))
    }

    /// The route with the request's side of it.
    pub(super) fn on_its_side<'t, 'r>(
        &self,
        route: Route<'t, 'r>,
        request: &Request,
        mark: Option<&str>,
    ) -> Route<'t, 'r> {
        if !is_apart(route.policy) {
            return route;
        }
        let address = request.client.address.ip();
        let looks = route.policy.vary_by_country || route.policy.steer.asks_for_place();
        let place = looks.then(|| self.place_of(&request.client)).flatten();
        on_the_side_of(&Visitor { address, place, fields: &request.fields, mark }, route)
    }

    /// Answers a request whose route keeps clients apart.
    pub(super) fn serve_apart(
        self: &Arc<Self>,
        request: &mut Request,
        route: Route<'_, 'static>,
        finish: Finish,
    ) -> Served {
        let marking = self.marking(request, route.policy);
        let mark = marking.as_ref().map(|marking| Arc::clone(&marking.mark));
        let route = self.on_its_side(route, request, mark.as_deref());
        let bypass = route.bypass;
        let walk = if bypass.is_some() {
            Walk::pass(self, request, &route)
        } else {
            let key = route.key(self.store.keyer());
            Walk::fill(self, request, &route, key)
        };
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(failure) => return Served::Now(finish.answer(self.failed(request, failure))),
        };
        walk.mark = mark;
        debug_assert!(walk.asker == Asker::Client);
        Served::later(async move {
            let mut response = if let Some(reason) = bypass {
                pass::pass(walk, reason.as_str()).await
            } else {
                let looked = walk.look_up();
                walk_on(walk, looked, Tier::Memory).await
            };
            finish.put_on_marked(&mut response, marking);
            response
        })
    }
}

/// The route with this visitor's side of it.
pub(super) fn on_the_side_of<'t, 'r>(visitor: &Visitor<'_>, mut route: Route<'t, 'r>) -> Route<'t, 'r> {
    let steering = route.policy.steer.steering().filter(|steering| steering.split);
    // Shares that are split are sticky: there are no turns.
    let pool = steering.and_then(|steering| arm(steering, visitor, 0));
    let country = route.policy.vary_by_country.then(|| visitor.place.and_then(|place| place.country));
    route.arm = arm_key(pool.map(|pool| &**pool), country);
    route
}

/// Puts the cookie on an answer.
pub(super) fn mark(response: &mut Response, marking: Option<Box<Marking>>) {
    if let Some(Marking { name, max_age, secure, mark, always }) = marking.map(|marking| *marking)
        && (always || matches!(response.outcome.cache, CacheOutcome::Pass | CacheOutcome::Miss))
    {
        let seconds = max_age.as_secs();
        let secure = if secure { "; Secure" } else { "" };
        let cookie = format!("{name}={mark}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}");
        line(&mut response.extra, b"set-cookie", cookie.as_bytes());
    }
}
