//! What becomes of an answer before it goes to its client: pages in place of errors, the route's own fields, and what the log
//! is told about where it came from.
//!
//! Nearly all routes want nothing of it; then it is one number, and a hit is changed where it lies.

use std::sync::Arc;

use super::arm::{Marking, mark};
use super::{Edge, answer};
use crate::config::RoutePolicy;
use crate::listener::request::Request;
use crate::respond::dress::Dress;
use crate::respond::response::Response;
use crate::route::Route;

/// What is done to every answer of a route before it goes to a client.
pub(super) struct Finish {
    site: u16,
    dress: Option<Dress>,
    /// Has pages in place of errors.
    pages: Option<Arc<RoutePolicy>>,
}

/// Where a stored answer lay when it was asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Tier {
    Memory,
    Disk,
}

impl Finish {
    /// Of a route that wants nothing.
    #[inline]
    pub(super) const fn plain(site: u16) -> Self {
        Self { site, dress: None, pages: None }
    }

    /// An answer that came by the walk.
    pub(super) fn answer(self, mut response: Response) -> Response {
        self.put_on(&mut response, Tier::Memory);
        response
    }

    /// The same, where it lies, of one with which a client may be told the mark that it is known by from now on.
    #[inline]
    pub(super) fn put_on_marked(&self, response: &mut Response, marking: Option<Box<Marking>>) {
        mark(response, marking);
        self.put_on(response, Tier::Memory);
    }

    /// The same where it lies, of one from the store: a hit would feel its copies.
    #[inline]
    pub(super) fn put_on(&self, response: &mut Response, tier: Tier) {
        mark_tier(tier, response);
        self.in_place(response);
        self.dress(response);
    }

    /// Puts a page in place of an error.
    #[inline]
    pub(super) fn in_place(&self, response: &mut Response) {
        if let Some(policy) = &self.pages {
            answer::in_place(&policy.error_pages, response);
        }
    }

    /// An answer of the route's own.
    pub(super) fn dressed(self, mut response: Response) -> Response {
        self.dress(&mut response);
        response
    }

    #[inline]
    fn dress(&self, response: &mut Response) {
        if let Some(dress) = &self.dress {
            dress.put_on(response);
        }
        response.outcome.site = Some(self.site);
    }
}

impl Edge {
    /// What the route wants.
    #[cold]
    pub(super) fn finish(&self, route: &mut Route<'_, '_>, request: &Request) -> Finish {
        if route.policy.names_requests() {
            route.name = Some(request.name(&self.ids));
        }
        let pages = (!route.policy.error_pages.is_empty()).then(|| Arc::clone(route.policy));
        Finish { site: route.site, dress: Dress::of(route, request), pages }
    }
}

/// Says which tier an answer from the store came from.
pub(super) fn from(tier: Tier, mut response: Response) -> Response {
    mark_tier(tier, &mut response);
    response
}

#[inline]
fn mark_tier(tier: Tier, response: &mut Response) {
    if tier == Tier::Disk && response.outcome.tier.is_some() {
        response.outcome.tier = Some("disk");
    }
}

/// Says whose answer it is.
pub(super) fn tagged(site: u16, mut response: Response) -> Response {
    response.outcome.site = Some(site);
    response
}
