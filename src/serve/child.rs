//! The walk of a request that comes from another node of the tier: what a parent does for its children.
//!
//! ```text
//! proven ─► route ─► barrier ─┬─ met ──────────────► lookup, as for a client, but nothing stale
//!                             ├─ not yet ─► wait ─┬─ met ─► …
//!                             │                   └─ no ─┐
//!                             └─ unknown ────────────────┴─► fetch alone, around what is stored
//! ```
//!
//! The child keeps what it gets for as long as it is told, so it is never given something stale as fresh:
//!
//! | what lies here | a client gets | a child gets |
//! |---|---|---|
//! | fresh | it | it, with its true `Age` and lifetime |
//! | stale, in stale-while-revalidate | it, refreshed behind its back | the refreshed one; it waits |
//! | stale, the origin fails, in stale-if-error | it | it, told to be so; by `Age` and lifetime it is stale there too |
//! | softly purged, in a window | it | what the origin says; if that fails, nothing |
//! | anything, the barrier not met | – | what the origin says; if that fails, nothing |
//!
//! Invariant: a child that is answered from what is stored is answered as of every purge that it knows of.

use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;

use cache_store::lookup::{Lookup, Why};
use http::{HeaderMap, HeaderValue, StatusCode};
use purge_api::bus::{Met, Position};

use super::walk::{Asker, Walk};
use super::{Edge, Tier, fetched, pass, reads, tagged, walk_on};
use crate::config::limits::{TIER_BARRIER_PATIENCE, TIER_SIGN_EVERY};
use crate::listener::fields::FieldId;
use crate::listener::request::{Client, Interim, Request};
use crate::listener::service::Served;
use crate::origin::parent::proof::{Child, TIER, Word};
use crate::respond::failure::Failure;
use crate::respond::headers::line;
use crate::respond::response::{CacheOutcome, Response};

impl Edge {
    /// Answers a node that has been proven to be one.
    pub(super) fn serve_child(self: &Arc<Self>, request: &mut Request, child: Child) -> Served {
        if let Some(served) = self.serve_log(request) {
            return served;
        }
        // Its client's: the scheme is part of the key, and the origin is told for whom it is asked.
        request.scheme = child.scheme;
        if let Some(address) = named_client(request) {
            request.client = Arc::new(Client::new((address, 0).into(), request.client.tls.clone()).vouched());
        }
        let route = match self.routes.route(request, self.places.as_deref()) {
            Ok(route) => route.detached(&request.fields),
            Err(refusal) => return Served::Now(marked(self.failed(request, refusal.into()))),
        };
        let site = route.site;
        if !reads(&request.method) {
            // What may change something goes to the origin from where it is.
            let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method");
            return Served::Now(marked(tagged(site, self.failed(request, failure))));
        }
        let route = self.on_its_side(route, request, None);
        let key = route.key(self.store.keyer());
        let walk = match route.bypass {
            Some(_) => Walk::pass(self, request, &route),
            None => Walk::fill(self, request, &route, key),
        };
        let mut walk = match walk {
            Ok(walk) => walk,
            Err(failure) => return Served::Now(marked(tagged(site, self.failed(request, failure)))),
        };
        walk.asker = Asker::Node { around: false };
        // It has a lane for them itself.
        walk.crawler = None;
        let bypass = route.bypass;
        Served::later(async move {
            let answer = match bypass {
                Some(reason) => living(&walk, pass::pass(walk.clone(), reason.as_str())).await,
                None => stored_or_fetched(walk, child.purged).await,
            };
            marked(tagged(site, answer))
        })
    }

    /// Whether everything up to `wanted` has been applied here, now or in a moment.
    async fn has_applied(&self, wanted: Option<Position>) -> bool {
        let Some(wanted) = wanted else { return false };
        let (mut others, mut own) = (self.standing.changes(), self.store.purge_log().watch());
        let waiting = async {
            loop {
                match self.standing.meets(wanted) {
                    Met::Yes => return true,
                    Met::Unknown => return false,
                    Met::NotYet => {}
                }
                // The senders live as long as the node.
                tokio::select! {
                    _ = others.changed() => {}
                    _ = own.changed() => {}
                }
            }
        };
        self.clock.timeout(TIER_BARRIER_PATIENCE, waiting).await.unwrap_or(false)
    }
}

async fn stored_or_fetched(mut walk: Walk, wanted: Option<Position>) -> Response {
    if !walk.edge.has_applied(wanted).await {
        walk.asker = Asker::Node { around: true };
        // Nothing that is stored, and nobody's fetch that began before.
        let fill = walk.edge.store.fill_alone(walk.resource(), &walk.head(), None, Why::Behind);
        return living(&walk, async { *fetched(walk.clone(), fill).await }).await;
    }
    match walk.look_up() {
        looked @ Lookup::Fresh(_) => walk_on(walk, looked, Tier::Memory).await,
        looked => living(&walk, walk_on(walk.clone(), looked, Tier::Memory)).await,
    }
}

/// Tells the child again and again that somebody is here, until there is an answer.
async fn living(walk: &Walk, answering: impl Future<Output = Response>) -> Response {
    let mut answering = pin!(answering);
    let mut pause = TIER_SIGN_EVERY;
    loop {
        if let Some(sink) = &walk.interim {
            let fields = HeaderMap::from_iter([(TIER, HeaderValue::from_static(Word::Asking.as_str()))]);
            // What finds no room follows other interim responses, which are signs of life too.
            sink.send(Interim { status: StatusCode::PROCESSING, fields });
        }
        tokio::select! {
            biased;
            answer = &mut answering => return answer,
            () = walk.edge.clock.sleep(pause) => pause = pause.saturating_mul(2),
        }
    }
}

/// Whom a child asks for: it writes one address, and its word counts as a trusted proxy's.
fn named_client(request: &Request) -> Option<IpAddr> {
    std::str::from_utf8(request.fields.first(FieldId::XForwardedFor)?).ok()?.parse().ok()
}

/// An answer that a child takes for one.
fn marked(mut response: Response) -> Response {
    let word = match response.outcome.cache {
        CacheOutcome::Generated => Word::Failed,
        CacheOutcome::Stale => Word::Stale,
        _ => Word::Answer,
    };
    line(&mut response.extra, TIER.as_str().as_bytes(), word.as_str().as_bytes());
    response
}
