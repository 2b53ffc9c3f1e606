//! 3-6 the walk: every branch a request can take, on one screen.
//!
//! ```text
//! route ─► access ─► lookup ─┬─ Fresh ───► respond               (in the call itself, no future)
//!                            ├─ Stale ───► respond, and refresh (after a soft purge when its turn comes)
//!                            ├─ FreshOnDisk ► respond            (in the call itself: the page cache has it)
//!                            ├─ OnDisk ──► promote, and look up again(in the call itself while the page cache has it)
//!                            ├─ Filling ─► follow ─► respond | alone
//!                            ├─ Miss ────► fetch::lead, which outlives the client, follow it
//!                            └─ not cacheable ─► pass
//! ```
//!
//! A request of another node of the tier takes the same walk from `child.rs`. `fetch.rs` leads a fill, `pass.rs` goes around the
//! cache, `explain.rs` tells what would happen. A fill outlives its request (`leading.rs`): the client that caused it may
//! leave.
//!
//! Invariant: nothing is sent from the store but through `CacheStore::lookup` or a [`Follower`], which ask
//! `rules::reuse`.

mod about;
mod answer;
mod arm;
mod child;
mod crawl;
mod explain;
mod fetch;
mod finish;
mod guarded;
mod inspected;
mod kept;
mod leading;
mod led;
mod mirror;
mod nodes;
mod pass;
mod purging;
mod refresh;
mod service;
mod slices;
mod upgrade;
mod walk;

pub use crawl::Crawlers;
pub(crate) use kept::via;
pub use mirror::Mirrors;
pub use purging::Purging;
pub use refresh::Refreshes;
pub use service::{NotStoredMemory, WalkService};

/// The node as the settings in force make it: a reload puts another in its place. Who keeps it keeps the settings of then.
pub type Current = ArcSwap<Edge>;

use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwap;

use cache_store::coalesce::{Followed, Follower};
use cache_store::entry::StoredResponse;
use cache_store::key::CacheKey;
use cache_store::lookup::{Hit, Lookup, Stale, Why};
use cache_store::purge::Resource;
use cache_store::rules::{Policy, Purged, RequestHead};
use cache_store::store::CacheStore;
use cache_store::timestamp::Timestamp;
use geo::Place;
use http::{HeaderValue, Method, StatusCode};
use purge_api::bus::Standing;

use purge_api::compat::method;
use purge_api::ledger::Ledger;

use crate::clock::Clock;
use crate::config::Config;
use crate::encode::Encoders;
use crate::fleet::Fleet;
use crate::listener::fields::Fields;
use crate::listener::request::{Client, Request, Scheme, Upgrade};
use crate::listener::service::Served;
use crate::listener::stats::ListenerStats;
use crate::observe::id::RequestIds;
use crate::origin::OriginPools;
use crate::origin::parent::Parents;
use crate::origin::parent::proof::Children;
use crate::places::Places;
use crate::respond::encoding::Negotiation;
use crate::respond::failure::Failure;
use crate::respond::headers::CacheStatus;
use crate::respond::response::{CacheOutcome, Outcome, Response};
use crate::respond::{self, AskOrigin, Occasion};
use crate::route::access::Admission;
use crate::route::{Bypass, Route, RouteTable};
use crate::shutdown::Shutdown;
use finish::{Finish, Tier, from, tagged};
use led::fetched;
use upgrade::Offer;
use walk::Walk;

/// What all workers share to answer requests under one version of the settings. What is behind an `Arc` may outlive it.
#[derive(Clone)]
pub struct Edge {
    /// The settings.
    pub config: Arc<Config>,
    /// What it adds to the `Via` of an answer: origins speak HTTP/1.1 to it.
    pub via: Option<HeaderValue>,
    /// Hosts and paths to routes.
    pub routes: Arc<RouteTable>,
    /// The cache.
    pub store: Arc<CacheStore>,
    /// What it can prove about purges to other nodes.
    pub standing: Arc<Standing>,
    /// The other nodes.
    pub fleet: Arc<Fleet>,
    /// The origins.
    pub origins: Arc<OriginPools>,
    /// Where clients are, if there is a database.
    pub places: Option<Arc<Places>>,
    /// Crawlers, if they have a lane of their own.
    pub crawlers: Option<Arc<Crawlers>>,
    /// The nodes asked before them, if there are any.
    pub(crate) parents: Option<Arc<Parents>>,
    /// Who is taken for a child, if anybody is.
    pub(crate) children: Option<Arc<Children>>,
    /// The clock.
    pub clock: Clock,
    /// Ids for answers generated here.
    pub ids: Arc<RequestIds>,
    /// Purges applied.
    pub purges: Arc<Purging>,
    /// Those who make encoded forms of what is stored.
    pub encoders: Arc<Encoders>,
    /// What soft purges made stale and somebody asked for.
    pub refreshes: Arc<Refreshes>,
    /// Who asked for purges.
    pub ledger: Arc<Ledger>,
    /// Copies of requests for other pools.
    pub mirrors: Arc<Mirrors>,
    /// Why keys were not stored last time.
    pub not_stored: Arc<NotStoredMemory>,
    /// The end of the node.
    pub shutdown: Shutdown,
    /// Counters of the client listeners, once they are bound.
    pub listeners: Arc<OnceLock<Vec<Arc<ListenerStats>>>>,
}

impl Edge {
    /// Where an address is; `None` where no database is configured or it does not know. About 100 ns.
    pub fn place(&self, address: IpAddr) -> Option<Place> {
        self.places.as_ref()?.locate(address)
    }

    /// Where a client is: the same, looked up once a connection.
    pub fn place_of(&self, client: &Client) -> Option<Place> {
        self.places.as_ref()?.locate_client(client)
    }

    /// Answers a request, or promises to.
    #[allow(clippy::too_many_lines)] // the one place that branches
    pub fn serve(self: &Arc<Self>, request: &mut Request) -> Served {
        if let Some(children) = &self.children
            && let Some(child) = children.admit(request, &self.clock)
        {
            return self.serve_child(request, child);
        }
        let spare = std::mem::take(&mut request.spare);
        let mut route = match self.routes.route(request, self.places.as_deref()) {
            Ok(route) => route,
            Err(refusal) => return Served::Now(self.failed(request, refusal.into())),
        };
        if let Some(guard) = route.guard {
            // A password is asked for, and an address told of, where nobody reads along.
            let is_purge = method::is_purge(request.method.as_str());
            if route.policy.https_only && request.scheme == Scheme::Http && !is_purge {
                let finish = self.finish(&mut route, request);
                if let Some(answer) = self.own_answer(&route, request, &finish) {
                    return Served::Now(finish.dressed(answer));
                }
            }
            match self.ask(guard, request, &route) {
                Ok(Admission { after, inspects_first, held }) => {
                    if let Some(held) = held {
                        request.held.get_or_init(|| held);
                    }
                    if after.is_some() || inspects_first {
                        let finish = self.finish(&mut route, request);
                        let own = self.own_answer(&route, request, &finish);
                        let route = route.detached(&request.fields);
                        let later = (after, inspects_first);
                        return self.serve_guarded(request, route, guard, later, (finish, own));
                    }
                }
                Err(mut refusal) => {
                    if let Some(held) = refusal.held.take() {
                        request.held.get_or_init(|| held);
                    }
                    let denied = self.denied(request, guard, &refusal);
                    return Served::Now(self.finish(&mut route, request).answer(denied));
                }
            }
        }
        if method::is_purge(request.method.as_str()) {
            return self.purge_by_method(request, route.site);
        }
        let finish = if route.is_plain {
            Finish::plain(route.site)
        } else {
            let finish = self.finish(&mut route, request);
            if let Some(answer) = self.own_answer(&route, request, &finish) {
                return Served::Now(finish.dressed(answer));
            }
            self.mirror_request(request, &route);
            finish
        };
        if request.upgrade != Upgrade::No {
            match upgrade::offered(request, &route.policy.upgrade) {
                Ok(None) => {}
                Ok(Some(offer)) => {
                    return self.upgrade(request, &route.detached(&request.fields), offer, finish);
                }
                Err(refusal) => return Served::Now(finish.answer(self.failed(request, refusal))),
            }
        }
        match route.bypass {
            None => {}
            Some(Bypass::Trace) => {
                let failure = Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method");
                return Served::Now(finish.answer(self.failed(request, failure)));
            }
            Some(_) if arm::is_apart(route.policy) => {
                return self.serve_apart(request, route.detached(&request.fields), finish);
            }
            Some(reason) => {
                return self.pass(request, &route.detached(&request.fields), finish, reason.as_str());
            }
        }
        if arm::is_apart(route.policy) {
            return self.serve_apart(request, route.detached(&request.fields), finish);
        }
        let key = route.key(self.store.keyer());
        // The listener has just read the clock: a hit reads it once more, when it has been sent.
        let now = request.received();
        let looked = {
            // A look-up and a hit never look at the target.
            let head = walk::head(&request.method, request.scheme, "", "", &request.fields);
            let policy = &route.policy.rules;
            let (looked, tier) = self.look_up(route.resource(key), &head, policy, now);
            match looked {
                // A body on disk may wait for it, and for the origin.
                large if slices::is_large(&large) => Some((large, tier)),
                Lookup::Fresh(hit) => {
                    self.store.count_hit(&route.resource(key), &hit.stored, route.site, now);
                    let occasion = self.occasion(&head, &route, key, tier, now);
                    let mut answer = respond::stored(hit, occasion, CacheOutcome::Hit, spare);
                    if let Ok(response) = &mut answer {
                        finish.put_on(response, tier);
                    }
                    match answer {
                        Ok(response) => return Served::Now(response),
                        Err(AskOrigin) => None,
                    }
                }
                Lookup::Stale(hit, fill) => {
                    self.store.count_hit(&route.resource(key), &hit.stored, route.site, now);
                    // Also what counts as purged for the time being, because purges may have been missed.
                    let is_purged = self.store.purged(&hit.stored, &route.resource(key)) != Purged::No;
                    let occasion = self.occasion(&head, &route, key, tier, now);
                    let answer = respond::stored(hit, occasion, CacheOutcome::Stale, spare);
                    let route = route.detached(&request.fields);
                    if let Some(fill) = fill
                        && !(is_purged && self.refreshes.count(key))
                        && let Ok(walk) = Walk::fill(self, request, &route, key)
                    {
                        refresh::begin(walk, fill, is_purged);
                    }
                    return match answer {
                        Ok(response) => Served::Now(finish.answer(from(tier, response))),
                        Err(AskOrigin) => self.pass(request, &route, finish, "precondition"),
                    };
                }
                other => Some((other, tier)),
            }
        };
        let route = route.detached(&request.fields);
        let Some((looked, tier)) = looked else {
            return self.pass(request, &route, finish, "precondition");
        };
        match Walk::fill(self, request, &route, key) {
            Ok(mut walk) => {
                let marking = self.marking(request, route.policy);
                walk.mark = marking.as_ref().map(|marking| Arc::clone(&marking.mark));
                let looked = if walk.crawler.is_some() {
                    // Others may have the permit to fetch: this one looks differently, and may have to wait.
                    drop(looked);
                    walk.look_up()
                } else {
                    looked
                };
                match looked {
                    // Nearly all that comes here, with less to carry than the rest.
                    Lookup::Miss(fill) if walk.may_fetch() => {
                        let fetched = fetched(walk, fill);
                        Served::Later(Box::pin(async move {
                            let mut response = fetched.await;
                            finish.put_on_marked(&mut response, marking);
                            response
                        }))
                    }
                    looked => Served::later(async move {
                        let mut response = walk_on(walk, looked, tier).await;
                        finish.put_on_marked(&mut response, marking);
                        response
                    }),
                }
            }
            Err(failure) => Served::Now(finish.answer(self.failed(request, failure))),
        }
    }

    /// A look-up, with what lies in the page cache promoted on the way; and the tier that the answer comes from.
    #[inline]
    fn look_up(
        self: &Arc<Self>,
        resource: Resource<'_>,
        head: &RequestHead<'_, Fields>,
        policy: &Policy,
        now: Timestamp,
    ) -> (Lookup, Tier) {
        let mut tier = Tier::Memory;
        let mut looked = self.store.lookup(resource, head, policy, now);
        // A list of variants, one of them.
        for _ in 0..PROMOTIONS_MAX {
            looked = match looked {
                Lookup::OnDisk(promotion) => match promotion.at_once() {
                    Ok(()) => self.store.lookup(resource, head, policy, now),
                    Err(promotion) => return (Lookup::OnDisk(promotion), Tier::Disk),
                },
                Lookup::FreshOnDisk(hit) => return (Lookup::Fresh(hit), Tier::Disk),
                found => return (found, tier),
            };
            tier = Tier::Disk;
        }
        (looked, tier)
    }

    fn pass(
        self: &Arc<Self>,
        request: &mut Request,
        route: &Route<'_, '_>,
        finish: Finish,
        reason: &'static str,
    ) -> Served {
        match Walk::pass(self, request, route) {
            Ok(mut walk) => {
                let marking = self.marking(request, route.policy);
                walk.mark = marking.as_ref().map(|marking| Arc::clone(&marking.mark));
                Served::later(async move {
                    let mut response = pass::pass(walk, reason).await;
                    finish.put_on_marked(&mut response, marking);
                    response
                })
            }
            Err(failure) => Served::Now(finish.answer(self.failed(request, failure))),
        }
    }

    /// Over to another protocol.
    fn upgrade(
        self: &Arc<Self>,
        request: &mut Request,
        route: &Route<'_, '_>,
        offer: Offer,
        finish: Finish,
    ) -> Served {
        match Walk::pass(self, request, route) {
            Ok(walk) => Served::later(async move { finish.answer(upgrade::upgrade(walk, offer).await) }),
            Err(failure) => Served::Now(finish.answer(self.failed(request, failure))),
        }
    }

    fn occasion<'a>(
        &'a self,
        request: &'a RequestHead<'a, Fields>,
        route: &'a Route<'_, '_>,
        key: CacheKey,
        tier: Tier,
        now: Timestamp,
    ) -> Occasion<'a> {
        Occasion {
            request,
            now,
            clock: &self.clock,
            node: &self.config.node,
            x_cache: route.policy.x_cache,
            refill: None,
            fwd: None,
            upstream: None,
            coding: route.policy.encode.as_ref().map(|encode| Negotiation {
                encode,
                // What comes from disk may not be in memory, where forms hang; if it is, its next hit asks.
                encoders: (tier == Tier::Memory).then_some(&self.encoders),
                key,
                streams: false,
            }),
            for_node: false,
        }
    }
}

/// Everything behind a lookup that was not a hit. What waits for an origin is small: what few requests come to is boxed.
async fn walk_on(mut walk: Walk, mut looked: Lookup, mut tier: Tier) -> Response {
    let mut turns = 0;
    loop {
        let follower = match looked {
            Lookup::Fresh(hit) => {
                walk.edge.store.count_hit(&walk.resource(), &hit.stored, walk.site, walk.edge.clock.now());
                return from(tier, Box::pin(from_store(&walk, hit, CacheOutcome::Hit, None)).await);
            }
            Lookup::FreshOnDisk(hit) => {
                return from(Tier::Disk, Box::pin(from_store(&walk, hit, CacheOutcome::Hit, None)).await);
            }
            Lookup::Stale(hit, _) if !walk.takes_stale(&hit.stored) => {
                return walk.failed(Failure::new(StatusCode::BAD_GATEWAY, "purged"));
            }
            Lookup::Stale(hit, fill) => {
                let is_purged = walk.edge.store.purged(&hit.stored, &walk.resource()) != Purged::No;
                if let Some(fill) = fill
                    && !(is_purged && walk.edge.refreshes.count(walk.key))
                {
                    refresh::begin(walk.clone(), fill, is_purged);
                }
                return from(tier, Box::pin(from_store(&walk, hit, CacheOutcome::Stale, None)).await);
            }
            Lookup::OnDisk(promotion) if turns < TURNS_MAX => {
                turns += 1;
                tier = Tier::Disk;
                promotion.run().await;
                looked = walk.look_up();
                continue;
            }
            // What is promoted is pushed out of memory before it can be looked at: go around.
            Lookup::OnDisk(promotion) => {
                drop(promotion);
                if let Err(failure) = Box::pin(walk.wait_to_fetch()).await {
                    return walk.failed(failure);
                }
                let fill = walk.edge.store.fill_alone(walk.resource(), &walk.head(), None, Why::UriMiss);
                return *fetched(walk, fill).await;
            }
            Lookup::OnlyIfCached => {
                return walk.failed(Failure::new(StatusCode::GATEWAY_TIMEOUT, "only-if-cached"));
            }
            Lookup::Miss(fill) if walk.may_fetch() => return *fetched(walk, fill).await,
            Lookup::Miss(fill) => {
                // Who comes meanwhile, and may fetch at once, does.
                drop(fill);
                if let Err(failure) = Box::pin(walk.wait_to_fetch()).await {
                    return walk.failed(failure);
                }
                looked = walk.look_up();
                continue;
            }
            Lookup::Filling(follower) => follower,
        };
        match Box::pin(follow(&walk, follower)).await {
            Ok(response) => return response,
            Err(Parted::Alone(stored, why)) => {
                if let Err(failure) = Box::pin(walk.wait_to_fetch()).await {
                    return walk.failed(failure);
                }
                let fill = walk.edge.store.fill_alone(walk.resource(), &walk.head(), stored, why);
                return *fetched(walk, fill).await;
            }
            Err(Parted::Again) if turns < TURNS_MAX => turns += 1,
            Err(Parted::Again) => {
                return walk
                    .failed(Failure::new(StatusCode::SERVICE_UNAVAILABLE, "fill-abandoned").retry_after(1));
            }
        }
        looked = walk.look_up();
    }
}

/// Why a follower has no answer.
enum Parted {
    /// The answer is not for it.
    Alone(Option<Arc<StoredResponse>>, Why),
    /// The leader vanished.
    Again,
}

async fn follow(walk: &Walk, mut follower: Follower) -> Result<Response, Parted> {
    let clock = walk.edge.clock.clone();
    let followed = follower.wait(&walk.head(), &walk.control(), || clock.now()).await;
    match followed {
        Followed::Streaming(streaming) if !slices::is_part_for(walk, &streaming) => {
            Err(Parted::Alone(follower.stored, follower.why))
        }
        Followed::Streaming(streaming) => {
            let ttl = streaming.head.freshness.ttl(clock.now());
            let outcome = Outcome { cache: CacheOutcome::Collapsed, ttl: Some(ttl), ..Outcome::default() };
            let head = walk.head();
            let refill = slices::refill(walk, &streaming);
            respond::streaming(
                &streaming,
                Occasion { refill: refill.as_ref(), ..walk.occasion(&head, walk.edge.clock.now()) },
                CacheStatus::Collapsed { ttl: Some(ttl) },
                outcome,
            )
            .ok_or(Parted::Alone(follower.stored, follower.why))
        }
        Followed::Stored(hit) if hit.stored.large().is_some() => {
            Ok(Box::pin(slices::answer(walk, hit, CacheOutcome::Collapsed, None)).await)
        }
        Followed::Stored(hit) => {
            let head = walk.head();
            respond::stored(
                hit,
                walk.occasion(&head, walk.edge.clock.now()),
                CacheOutcome::Collapsed,
                Vec::new(),
            )
            .map_err(|AskOrigin| Parted::Alone(follower.stored, follower.why))
        }
        Followed::Failed(failure) => {
            if let Some(hit) = stale_if_error(walk, follower.stored.as_ref()) {
                return Ok(Box::pin(from_store(walk, hit, CacheOutcome::Stale, None)).await);
            }
            let status = StatusCode::from_u16(failure.status).unwrap_or(StatusCode::BAD_GATEWAY);
            Ok(walk.failed(Failure::new(status, failure.reason)))
        }
        Followed::Alone => Err(Parted::Alone(follower.stored, follower.why)),
        Followed::Again => Err(Parted::Again),
    }
}

async fn from_store(walk: &Walk, hit: Hit, cache: CacheOutcome, upstream: Option<&[u8]>) -> Response {
    if hit.stored.large().is_some() {
        return slices::answer(walk, hit, cache, None).await;
    }
    let answer = {
        let head = walk.head();
        respond::stored(
            hit,
            Occasion { upstream, ..walk.occasion(&head, walk.edge.clock.now()) },
            cache,
            Vec::new(),
        )
    };
    match answer {
        Ok(response) => response,
        // Boxed: a pass may itself end in the store, once.
        Err(AskOrigin) => Box::pin(pass::pass(walk.around(), "precondition")).await,
    }
}

/// What may stand in for an origin that failed (RFC 5861 §4).
fn stale_if_error(walk: &Walk, stored: Option<&Arc<StoredResponse>>) -> Option<Hit> {
    let stored = stored.filter(|stored| stored.held().is_none() && walk.takes_stale(stored))?;
    stored
        .freshness
        .may_serve_stale_if_error(
            &walk.control(),
            walk.edge.store.purged(stored, &walk.resource()),
            walk.edge.clock.now(),
        )
        .then(|| Hit { stored: Arc::clone(stored), stale: Some(Stale::Error) })
}

/// Whether a method reads only.
pub(crate) fn reads(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// Promotions in one look-up: a list of variants, and one of them.
const PROMOTIONS_MAX: usize = 2;
/// How often a follower whose leader vanished looks up again.
const TURNS_MAX: usize = 8;
