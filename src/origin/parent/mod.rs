//! 5 miss -> a parent's response: the regional tier, from below.
//!
//! A child asks for what may be stored (fills, refreshes, slices) at a node of its tier before it asks an origin, so that a
//! region fetches an object once. `order.rs` says which parent has the key, `proof.rs` how the two know each other. What
//! passes the cache goes to the origin: a parent could only add a hop to it, and may not repeat it.
//!
//! ```text
//! order of the key ─► well? may it have missed a purge? ─► asked ─┬─ answer ─► the walk goes on as from an origin
//!                                                                ├─ "asking": it lives, wait ─► …
//!                                                                └─ no word in time, none of ours, its own failure ─► next (two at
//!                                                                   most) ─► the origin pool of the route
//! ```
//!
//! A parent that asks in its turn says so in interim responses (102), so nothing may stand between the two that keeps those back.
//! Each parent is a pool of one, `tier:HOST`: connections, timeouts, ejection and numbers are the pool's, so a parent that comes
//! back is tried by one request first. Called by `serve`, whose walk falls back to the origin where this has no answer.
//!
//! **What is guaranteed.** A parent answers from its cache only when it has applied every purge that the child had applied when it
//! asked (`Tidegate-Purged`, [`Standing`]); where it has not, it waits for a moment and then goes around its cache; one that
//! cannot be told what to have applied is not asked. So what was purged at a child never comes back to it from above. A
//! child is never sent stale content as fresh: inside stale-while-revalidate a parent refreshes first, under stale-if-error
//! it says so and sends the true `Age`, and what is softly purged it does not send at all without asking.
//! **What is not.** A region may fetch an object more than once while a parent is away or its load spills over, and around
//! a barrier that is not met. An unsafe request invalidates at the node it came through; that node asks around its parents'
//! caches for that resource for ten minutes, other children do not know of it.

mod calls;
mod order;
pub(crate) mod proof;

use std::collections::BTreeMap;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use cache_store::key::CacheKey;
use cache_store::timestamp::Timestamp;
use http::{Method, StatusCode};
use purge_api::bus::{Position, Standing};

use self::order::Order;
use self::proof::{AROUND, CHILD, Key, PURGED, Proven, Word};
use super::forward::Sent;
use super::{Answer, Ask, Finding, OriginBody, OriginError, OriginPools, Surplus};
use crate::clock::Clock;
use crate::config::limits::{
    TIER_ATTEMPTS_MAX, TIER_CHANGED_HOLD, TIER_CHANGED_PLACES, TIER_CONNECT_TIMEOUT, TIER_EJECT_AFTER,
    TIER_EJECT_FOR, TIER_FIRST_BYTE_TIMEOUT, TIER_PAGE_BYTES_MAX, TIER_PATIENCE, TIER_QUEUE_TIMEOUT,
    TIER_SIGN_EVERY,
};
use crate::config::{self, Pool, Tier};
use crate::fleet::STREAM;
use crate::listener::request::{InterimSink, RequestBody, Scheme};

/// The nodes before this one.
#[derive(Debug)]
pub struct Parents {
    all: Vec<Parent>,
    order: Order,
    changed: Changed,
}

#[derive(Debug)]
struct Parent {
    /// As [`Standing`] knows it: its URL.
    name: Arc<str>,
    pool: Arc<str>,
    key: Key,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) method: &'a Method,
    pub(crate) scheme: Scheme,
    pub(crate) authority: &'a Bytes,
    pub(crate) target: &'a Bytes,
    pub(crate) key: CacheKey,
    pub(crate) fields: &'a Sent,
    pub(crate) interim: Option<&'a InterimSink>,
    pub(crate) surplus: Surplus,
}

/// What a child stands on when it asks.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footing<'a> {
    pub(crate) origins: &'a OriginPools,
    pub(crate) standing: &'a Standing,
    /// The number of the last purge here.
    pub(crate) applied: u64,
    pub(crate) clock: &'a Clock,
}

/// Why a parent would not be asked, for `explain`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Unasked {
    /// It failed lately, or was taken out by hand.
    Unhealthy,
    /// It may not have heard of the purge of this number.
    MayNotHaveHeard(u64),
    /// Another comes before it.
    Behind,
}

/// How asking one parent ended without an answer.
enum Silent {
    /// It is not well; the next may be.
    Parent,
    /// The request has been there: asking another would only make the ring longer.
    Loop,
}

impl Parents {
    /// By the settings; none where there are none.
    ///
    /// # Errors
    /// A key cannot be read.
    pub fn new(tier: &Tier) -> io::Result<Option<Self>> {
        if tier.parents.is_empty() {
            return Ok(None);
        }
        let mut parents = Vec::with_capacity(tier.parents.len());
        for parent in &tier.parents {
            parents.push(Parent {
                name: Arc::clone(&parent.origin.name),
                pool: pool_name(&parent.origin),
                key: Key::read(parent.key.as_ref().or(tier.key.as_ref()))?,
            });
        }
        let order = Order::new(&Key::read(tier.key.as_ref())?, parents.iter().map(|parent| &*parent.name));
        Ok(Some(Self { all: parents, order, changed: Changed::default() }))
    }

    /// An answer that is this node's own affair has changed a resource: a parent's copy is not to come back here.
    pub(crate) fn changed(&self, key: CacheKey, now: Timestamp) {
        self.changed.note(key, now);
    }

    /// Asks the parents of a resource, in its order; none: the origin is to be asked.
    pub(crate) async fn ask(&self, wanted: &Wanted<'_>, on: Footing<'_>) -> Option<Box<Answer>> {
        let around = self.changed.holds(wanted.key, on.clock.now());
        let mut asked = 0;
        for nth in self.in_order(wanted, on.origins) {
            if asked == TIER_ATTEMPTS_MAX {
                break;
            }
            let Some(parent) = self.all.get(nth) else { continue };
            let Some(position) = required(on.standing, parent) else { continue };
            // Asked late: who comes first on trial keeps the others away.
            if !on.origins.available(&parent.pool) {
                continue;
            }
            asked += 1;
            match parent.ask(wanted, on, (!around).then_some(position)).await {
                Ok(answer) => return Some(answer),
                Err(Silent::Parent) => {}
                Err(Silent::Loop) => return None,
            }
        }
        None
    }

    /// Every parent in the order in which it would be asked, with the reason why it would not, if there is one.
    pub(crate) fn explained(&self, wanted: &Wanted<'_>, on: Footing<'_>) -> Vec<(Arc<str>, Option<Unasked>)> {
        let mut asked = false;
        let mut told = Vec::with_capacity(self.all.len());
        for nth in self.in_order(wanted, on.origins) {
            let Some(parent) = self.all.get(nth) else { continue };
            let unasked = if !on.origins.available(&parent.pool) {
                Some(Unasked::Unhealthy)
            } else if required(on.standing, parent).is_none() {
                Some(Unasked::MayNotHaveHeard(on.applied))
            } else if std::mem::replace(&mut asked, true) {
                Some(Unasked::Behind)
            } else {
                None
            };
            told.push((Arc::clone(&parent.name), unasked));
        }
        told
    }

    fn in_order(&self, wanted: &Wanted<'_>, origins: &OriginPools) -> Vec<usize> {
        let order = self.order.of(wanted.scheme.as_str(), wanted.authority, wanted.target);
        let load = |nth: &usize| self.all.get(*nth).map_or(0, |parent| origins.load(&parent.pool));
        // What is down counts neither as a place nor as light: its share is the others'.
        let (well, down): (Vec<_>, Vec<_>) = order
            .into_iter()
            .partition(|nth| self.all.get(*nth).is_some_and(|parent| origins.available(&parent.pool)));
        let loads: Vec<u64> = well.iter().map(load).collect();
        let mut order = order::by_load(&well, &loads);
        order.extend(down);
        order
    }
}

impl Parent {
    async fn ask(
        &self,
        wanted: &Wanted<'_>,
        on: Footing<'_>,
        position: Option<Position>,
    ) -> Result<Box<Answer>, Silent> {
        let sink = InterimSink::default();
        let ask = Ask {
            pool: Arc::clone(&self.pool),
            method: wanted.method.clone(),
            authority: wanted.authority.clone(),
            target: wanted.target.clone(),
            fields: self.fields(wanted, on.clock, position),
            body: RequestBody::Empty,
            interim: Some(sink.clone()),
            client: None,
            stuck: None,
            surplus: wanted.surplus,
        };
        let mut asking = pin!(on.origins.ask(ask));
        let mut patience = pin!(on.clock.sleep(TIER_PATIENCE));
        let mut until_next = TIER_SIGN_EVERY;
        let answer = loop {
            tokio::select! {
                biased;
                answer = &mut asking => break answer,
                mut interim = sink.next() => {
                    if Word::of(&interim.fields) == Some(Word::Asking) {
                        patience.set(on.clock.sleep(until_next.saturating_add(TIER_PATIENCE)));
                        until_next = until_next.saturating_mul(2);
                    }
                    if interim.status != StatusCode::PROCESSING
                        && let Some(client) = wanted.interim
                    {
                        proof::remove_ours(&mut interim.fields);
                        client.send(interim);
                    }
                }
                () = &mut patience => {
                    // Nobody told the pool: the request has not failed, it was given up.
                    on.origins.failed(&self.pool, OriginError::FirstByteTimeout);
                    return Err(Silent::Parent);
                }
            }
        };
        // Why it failed is counted where it did.
        let Ok(answer) = answer else { return Err(Silent::Parent) };
        match Word::of(&answer.fields) {
            Some(Word::Answer | Word::Stale) => Ok(answer),
            Some(Word::Failed) => {
                let is_loop = answer.status == StatusCode::LOOP_DETECTED;
                tokio::spawn(drained(answer.body));
                Err(if is_loop { Silent::Loop } else { Silent::Parent })
            }
            Some(Word::Asking) | None => {
                tracing::warn!(parent = %self.name, status = answer.status.as_u16(),
                    "what answers there does not take this node for a child: see [tier] key and children_from");
                drop(answer);
                on.origins.failed(&self.pool, OriginError::Framing(Finding::NotAParent));
                Err(Silent::Parent)
            }
        }
    }

    /// The fields to send, with who asks and as of which purges.
    fn fields(&self, wanted: &Wanted<'_>, clock: &Clock, position: Option<Position>) -> Sent {
        let mut fields = wanted.fields.clone();
        let purged = position.map_or_else(|| AROUND.to_owned(), |position| position.to_string());
        let proof = self.key.prove(Proven {
            method: wanted.method,
            scheme: wanted.scheme,
            authority: wanted.authority,
            target: wanted.target,
            at_secs: clock.wall().as_secs(),
            purged: purged.as_bytes(),
        });
        for (name, value) in [(CHILD, proof), (PURGED, purged)] {
            fields.push(&name, value.as_bytes());
        }
        fields
    }
}

/// As of which position to ask a parent: of its own log, where that is followed, else of the fleet's stream, which it follows too.
fn required(standing: &Standing, parent: &Parent) -> Option<Position> {
    standing.required(&parent.name).or_else(|| standing.required(STREAM))
}

/// Reads what is left of an error page, so that its connection can be used again.
async fn drained(mut body: OriginBody) {
    let mut left = TIER_PAGE_BYTES_MAX;
    while let Some(Ok(piece)) = body.next().await {
        match left.checked_sub(piece.len()) {
            Some(less) => left = less,
            None => return,
        }
    }
}

/// The pools of all parents.
pub fn pools(tier: &Tier) -> BTreeMap<Arc<str>, Pool> {
    let pool = |parent: &config::Parent| {
        let name = pool_name(&parent.origin);
        let mut pool = Pool::of(&name, vec![parent.origin.clone()]);
        pool.server_name = parent.origin.tls.then(|| Arc::clone(&parent.origin.host));
        pool.ca.clone_from(&tier.ca);
        pool.connect_timeout = TIER_CONNECT_TIMEOUT;
        pool.queue_timeout = TIER_QUEUE_TIMEOUT;
        pool.first_byte_timeout = TIER_FIRST_BYTE_TIMEOUT;
        pool.eject_after = TIER_EJECT_AFTER;
        pool.eject_for = TIER_EJECT_FOR;
        (name, pool)
    };
    tier.parents.iter().map(pool).collect()
}

/// `tier:shield-1.example.net`: no pool of the settings can be called so.
fn pool_name(origin: &config::Origin) -> Arc<str> {
    let authority = origin.name.split_once("://").map_or(&*origin.name, |(_, authority)| authority);
    format!("tier:{authority}").into()
}

/// Resources that changed through this node alone: when, by a hash of the key.
#[derive(Debug)]
struct Changed(Box<[AtomicU64]>);

impl Default for Changed {
    fn default() -> Self {
        Self((0..TIER_CHANGED_PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Changed {
    fn note(&self, key: CacheKey, now: Timestamp) {
        if let Some(place) = self.place(key) {
            place.fetch_max(now.plus(TIER_CHANGED_HOLD).as_millis(), Ordering::AcqRel);
        }
    }

    fn holds(&self, key: CacheKey, now: Timestamp) -> bool {
        self.place(key).is_some_and(|place| now.as_millis() < place.load(Ordering::Acquire))
    }

    fn place(&self, key: CacheKey) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(key.bits() % TIER_CHANGED_PLACES as u128).ok()?)
    }
}
