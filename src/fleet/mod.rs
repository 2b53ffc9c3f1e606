//! The node among others: its purges come to them and theirs to it.
//!
//! Keeps an [`Exchange`] going with every log that is followed (`purge_api::bus`): the fleet's stream, or, without a broker, the
//! log of each parent (`parents.rs`). Knows whether that is so
//! ([`Fleet::ready`]), and what others have said of themselves ([`Fleet::receipt`]). Stands beside the walk: `serve` sees of it only
//! what it does to the store.
//!
//! ```text
//! starting ── everything heard ──► in step ◄──► away for `unsynced_after`: what is stored is no longer trusted
//! ```
//!
//! Invariant: until a node has heard everything that the stream had when it began, and while it has been away for longer than it
//! may, what it holds is not served as fresh, unless the settings say so.

mod parents;
mod polls;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cache_store::rules::Purged;
use cache_store::store::CacheStore;
use cache_store::timestamp::Timestamp;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use purge_api::bus::{
    BusError, Exchange, JetStream, JetStreamSettings, Members, Position, Pulled, PurgeBus, ScopeOf, Standing,
    Status,
};
use purge_api::{FleetReceipt, NodeReceipt};
use tokio::sync::watch;

use self::polls::{Polls, Waits};
use crate::clock::Clock;
use crate::config::limits::{
    FLEET_ANNOUNCE, FLEET_MEMBER_KEPT, FLEET_RECEIPT_WAIT, FLEET_RETRY, PURGE_RECORDS_KEPT,
};
use crate::config::{Config, NatsBus, Unsynced};
use crate::observe::gauges::NodeStanding;

/// What the node knows of the others. Cheap where there are none.
pub struct Fleet {
    node: Box<str>,
    clock: Clock,
    store: Arc<CacheStore>,
    standing: Arc<Standing>,
    members: Members,
    /// Children that wait for a purge here.
    polls: Polls,
    unsynced: Unsynced,
    unsynced_after: Duration,
    /// The logs that are followed, in the order of the settings.
    links: Mutex<Vec<Link>>,
    changed: watch::Sender<()>,
    /// Another process of this node may be about to follow them instead.
    paused: watch::Sender<bool>,
}

/// How it stands with one log.
struct Link {
    name: Box<str>,
    /// When everything that it had was last applied here.
    in_step: Option<Timestamp>,
    /// What was last wrong.
    trouble: Option<String>,
    /// The node began to wait for it.
    since: Timestamp,
}

impl Fleet {
    /// A node that knows nobody yet.
    pub fn new(
        config: &Config,
        store: &Arc<CacheStore>,
        standing: &Arc<Standing>,
        clock: &Clock,
    ) -> Arc<Self> {
        Arc::new(Self {
            node: (&*config.node).into(),
            clock: clock.clone(),
            store: Arc::clone(store),
            standing: Arc::clone(standing),
            members: Members::default(),
            polls: Polls::default(),
            unsynced: config.purge.unsynced,
            unsynced_after: config.purge.unsynced_after,
            links: Mutex::default(),
            changed: watch::Sender::new(()),
            paused: watch::Sender::new(false),
        })
    }

    /// Follows nothing and says nothing any more, or goes on: two processes of one node would speak under one name.
    pub fn pause(&self, paused: bool) {
        self.paused.send_replace(paused);
    }

    async fn goes_on(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.paused.subscribe().wait_for(|paused| !paused).await;
    }

    /// The logs that are followed, and how long ago everything in them was heard, milliseconds.
    pub fn heard(&self) -> Vec<(String, u64)> {
        let now = self.clock.now();
        let links = self.links.lock();
        let heard = links.iter().filter_map(|link| Some((link.name.to_string(), now.since(link.in_step?))));
        heard.map(|(name, ago)| (name, u64::try_from(ago.as_millis()).unwrap_or(u64::MAX))).collect()
    }

    /// Another process of this node had heard everything in these logs so long ago: what is followed goes on from there.
    pub fn take_up(&self, heard: &[(String, u64)]) {
        let now = self.clock.now();
        for link in &mut *self.links.lock() {
            let known = heard.iter().find(|(name, _)| **name == *link.name);
            if let (None, Some((_, ago))) = (link.in_step, known) {
                link.in_step = Some(now.minus(Duration::from_millis(*ago)));
            }
        }
        self.look();
    }

    /// Follows a stream from now on, on this runtime.
    pub fn join(self: &Arc<Self>, bus: &NatsBus, scope_of: Arc<ScopeOf>) {
        let NatsBus { servers, stream, replicas, credentials } = bus.clone();
        let settings = JetStreamSettings { servers, credentials, stream, replicas, kept: PURGE_RECORDS_KEPT };
        let fleet = Arc::clone(self);
        fleet.begin_link(STREAM);
        tokio::spawn(async move {
            let stream = loop {
                match JetStream::connect(&fleet.node, settings.clone()).await {
                    Ok(stream) => break stream,
                    Err(error) => fleet.trouble(STREAM, &error),
                }
                fleet.clock.sleep(FLEET_RETRY).await;
            };
            fleet.follow(Arc::clone(&stream) as Arc<dyn PurgeBus>, scope_of);
            tokio::spawn(Arc::clone(&fleet).announce(Arc::clone(&stream)));
            tokio::spawn(fleet.listen(stream));
        });
    }

    /// Keeps the node's log and the one behind `bus` together from now on, on this runtime.
    pub fn follow(self: &Arc<Self>, bus: Arc<dyn PurgeBus>, scope_of: Arc<ScopeOf>) {
        self.begin_link(bus.name());
        let exchange = Exchange::new(Arc::clone(&self.store), bus, Arc::clone(&self.standing), scope_of);
        let exchange = Arc::new(exchange);
        tokio::spawn(Arc::clone(self).pull(Arc::clone(&exchange)));
        tokio::spawn(Arc::clone(self).give(exchange));
    }

    /// Looks how it stands: what is stored is trusted or not. For a tick.
    pub fn look(&self) {
        let now = self.clock.now();
        // Since when something may have been missed.
        let mut missed = None;
        for link in &*self.links.lock() {
            if link.in_step.is_none_or(|heard| now.since(heard) > self.unsynced_after) {
                let since = link.in_step.unwrap_or(link.since);
                missed = Some(missed.map_or(since, |missed: Timestamp| missed.min(since)));
            }
        }
        let how = match (missed, self.unsynced) {
            (None, _) | (Some(_), Unsynced::Serve) => None,
            // What the origin has said within that time is as good as it was while all was well: so long a purge may be on its way.
            // Without that everything would be asked for at every request.
            (Some(since), Unsynced::Revalidate) => {
                Some((Purged::Soft(since), now.minus(self.unsynced_after)))
            }
            (Some(_), Unsynced::Deny) => Some((Purged::Hard, Timestamp::from_millis(u64::MAX))),
        };
        self.store.distrust_for_now(how);
    }

    /// Whether the node has heard what it had to hear before it serves.
    ///
    /// # Errors
    /// What it waits for, for people.
    pub fn ready(&self) -> Result<(), String> {
        let now = self.clock.now();
        for link in &*self.links.lock() {
            let lost = link.in_step.is_none_or(|heard| now.since(heard) > self.unsynced_after);
            let waits = link.in_step.is_none() && now.since(link.since) < self.unsynced_after;
            if lost && (waits || self.unsynced == Unsynced::Deny) {
                let why = link.trouble.as_deref().unwrap_or("it has not been heard of yet");
                return Err(format!("purges are not known to be complete: {}: {why}", link.name));
            }
        }
        Ok(())
    }

    /// What ails it, a line each.
    pub fn ailments(&self) -> Vec<String> {
        let links = self.links.lock();
        let ill = links.iter().filter_map(|link| link.trouble.as_ref().map(|trouble| (&link.name, trouble)));
        ill.map(|(name, trouble)| format!("purges from {name}: {trouble}")).collect()
    }

    /// Seconds since everything that was to be heard was heard; zero without a log to follow.
    pub fn lag_seconds(&self) -> u64 {
        let now = self.clock.now();
        let links = self.links.lock();
        links.iter().map(|link| now.since(link.in_step.unwrap_or(link.since)).as_secs()).max().unwrap_or(0)
    }

    /// Every node and how far it is, once all have applied the node's own record `sequence`, or when patience is over.
    pub fn receipt(&self, sequence: u64) -> Pin<Box<dyn Future<Output = FleetReceipt> + Send + '_>> {
        Box::pin(async move {
            let began = self.clock.now();
            let mut receipt = Receipt { nodes: Vec::new(), began };
            receipt.add(&self.node, sequence, began);
            let all = async {
                let (mut heard, mut given) = (self.members.changes(), self.standing.changes());
                loop {
                    heard.borrow_and_update();
                    given.borrow_and_update();
                    if self.late(sequence, &mut receipt).is_empty() {
                        return;
                    }
                    tokio::select! {
                        _ = heard.changed() => {}
                        _ = given.changed() => {}
                    }
                }
            };
            // Who is late is told by name.
            let _ = self.clock.timeout(FLEET_RECEIPT_WAIT, all).await;
            let late = self.late(sequence, &mut receipt);
            let parents = self.links.lock();
            let parents = parents.iter().filter(|link| &*link.name != STREAM);
            // They say how far they are to the parent alone.
            let beyond = parents.map(|link| format!("other nodes below {} and above it", link.name).into());
            FleetReceipt { nodes: receipt.nodes, late, not_waited_for: beyond.collect() }
        })
    }

    /// Who has not applied it yet; who has is noted. Nodes of the stream and children say so themselves; of a parent it is known
    /// from giving it.
    fn late(&self, sequence: u64, receipt: &mut Receipt) -> Vec<Box<str>> {
        let now = self.clock.now();
        let mut late = Vec::new();
        let mut places = vec![Position { log: self.store.purge_log().identity(), sequence }];
        for link in &*self.links.lock() {
            let holds = self.standing.holds(&link.name, sequence);
            if &*link.name == STREAM {
                places.extend(holds);
                if holds.is_none() {
                    late.push("the stream has not got it".into());
                }
            } else if let Some(holds) = holds {
                receipt.add(&link.name, holds.sequence, now);
            } else {
                late.push(link.name.clone());
            }
        }
        let members = self.members.since(now.minus(FLEET_MEMBER_KEPT));
        for member in members.into_iter().filter(|member| *member.node != *self.node) {
            let Position { log, sequence } = member.position;
            if places.iter().any(|place| place.log == log && place.sequence <= sequence) {
                receipt.add(&member.node, member.sequence, now);
            } else {
                late.push(member.node);
            }
        }
        late
    }

    /// How far every node is that is heard of, this one first. Does not wait.
    pub(crate) fn standings(&self) -> Vec<NodeStanding> {
        let now = self.clock.now();
        let log = self.store.purge_log();
        let sequence = log.sequence();
        let mut all = vec![NodeStanding {
            node: self.node.clone(),
            kind: "this",
            sequence: Some(sequence),
            behind: Some(0),
            heard_seconds: 0,
            trouble: None,
        }];
        for link in &*self.links.lock() {
            all.push(NodeStanding {
                node: link.name.clone(),
                kind: if &*link.name == STREAM { "stream" } else { "parent" },
                sequence: self.standing.position(&link.name).map(|position| position.sequence),
                behind: None,
                heard_seconds: now.since(link.in_step.unwrap_or(link.since)).as_secs(),
                trouble: link.trouble.clone(),
            });
        }
        let (own, stream) = (log.identity(), self.standing.position(STREAM));
        let members = self.members.heard_since(now.minus(FLEET_MEMBER_KEPT));
        all.extend(members.into_iter().filter(|(member, _)| *member.node != *self.node).map(
            |(member, heard)| {
                let Position { log, sequence: theirs } = member.position;
                let of_stream = stream.filter(|stream| stream.log == log);
                let ours = if log == own { Some(sequence) } else { of_stream.map(|stream| stream.sequence) };
                NodeStanding {
                    node: member.node,
                    kind: if log == own { "child" } else { "member" },
                    sequence: Some(member.sequence),
                    behind: ours.map(|ours| ours.saturating_sub(theirs)),
                    heard_seconds: now.since(heard).as_secs(),
                    trouble: None,
                }
            },
        ));
        all
    }

    /// Another node says how far it is.
    pub(crate) fn hear(&self, status: Status) {
        self.members.hear(status, self.clock.now());
    }

    /// A place among the children that wait for a purge; `None` where there is none left.
    pub(crate) fn wait_for_child(&self, node: &str) -> Option<Waits<'_>> {
        self.polls.begin(node)
    }

    fn begin_link(&self, name: &str) {
        let mut links = self.links.lock();
        if links.iter().all(|link| &*link.name != name) {
            let since = self.clock.now();
            links.push(Link { name: name.into(), in_step: None, trouble: None, since });
        }
        drop(links);
        self.look();
    }

    async fn pull(self: Arc<Self>, exchange: Arc<Exchange>) {
        loop {
            self.goes_on().await;
            // A stream that says nothing may be gone: asked again, it answers how it is, and often enough that silence alone is
            // no reason to distrust anything.
            match self.clock.timeout(self.patience(), exchange.pull(self.clock.wall())).await {
                Ok(Ok(pulled)) => {
                    if pulled == Pulled::All {
                        self.in_step(exchange.name());
                    }
                    self.changed.send_replace(());
                }
                Ok(Err(error)) => {
                    self.trouble(exchange.name(), &error);
                    self.clock.sleep(FLEET_RETRY).await;
                }
                Err(_) => {}
            }
        }
    }

    async fn give(self: Arc<Self>, exchange: Arc<Exchange>) {
        let mut passed = self.store.purge_log().watch();
        loop {
            self.goes_on().await;
            passed.borrow_and_update();
            match exchange.give().await {
                Ok(true) => {
                    // The sender lives in the store.
                    let _ = passed.changed().await;
                }
                Ok(false) => {}
                Err(error) => {
                    self.trouble(exchange.name(), &error);
                    self.clock.sleep(FLEET_RETRY).await;
                }
            }
        }
    }

    /// Says how far this node is, whenever that changes and now and then.
    async fn announce(self: Arc<Self>, stream: Arc<JetStream>) {
        let mut changes = self.standing.changes();
        loop {
            self.goes_on().await;
            changes.borrow_and_update();
            if let Some(position) = self.standing.position(STREAM) {
                let sequence = self.store.purge_log().sequence();
                stream.announce(&Status { node: self.node.clone(), position, sequence }).await;
            }
            // The sender lives in the standing; when nothing changes it is said again.
            drop(self.clock.timeout(FLEET_ANNOUNCE, changes.changed()).await);
        }
    }

    async fn listen(self: Arc<Self>, stream: Arc<JetStream>) {
        loop {
            match stream.statuses().await {
                Ok(said) => {
                    let mut said = std::pin::pin!(said);
                    while let Some(status) = said.next().await {
                        self.hear(status);
                    }
                }
                Err(error) => self.trouble(STREAM, &error),
            }
            self.clock.sleep(FLEET_RETRY).await;
        }
    }

    fn in_step(&self, name: &str) {
        let now = self.clock.now();
        let mut links = self.links.lock();
        let Some(link) = links.iter_mut().find(|link| &*link.name == name) else { return };
        let first = link.in_step.is_none();
        link.in_step = Some(now);
        let healed = link.trouble.take().is_some();
        drop(links);
        if healed {
            tracing::info!(log = name, "purges are heard again");
        }
        if first || healed {
            self.look();
        }
    }

    fn trouble(&self, name: &str, error: &BusError) {
        if *self.paused.borrow() {
            return;
        }
        let mut links = self.links.lock();
        let Some(link) = links.iter_mut().find(|link| &*link.name == name) else { return };
        let is_new = link.trouble.replace(error.to_string()).is_none();
        drop(links);
        if is_new {
            tracing::warn!(log = name, %error, "purges of other nodes are not heard; trying again");
        }
    }
}

/// Nodes that have applied a purge, as they are heard of.
struct Receipt {
    nodes: Vec<NodeReceipt>,
    began: Timestamp,
}

impl Receipt {
    fn add(&mut self, node: &str, sequence: u64, now: Timestamp) {
        if self.nodes.iter().all(|known| known.node != node) {
            let ms = u64::try_from(now.since(self.began).as_millis()).unwrap_or(u64::MAX);
            self.nodes.push(NodeReceipt { node: node.into(), sequence, ms });
        }
    }
}

/// What the stream is called among the logs that are followed.
pub(crate) const STREAM: &str = "stream";
