//! A fleet over a network that drops, doubles, delays and parts, with nodes that are killed and a stream that is lost: no purge is
//! lost, and a node that counts itself caught up serves nothing that was purged.
//!
//! ```text
//! node 0 ─┐                               node 3 follows node 2's log, as a child without a broker does
//! node 1 ─┼─ stream (a broker's)
//! node 2 ─┴────────────── node 3
//! ```
//!
//! Schedules are seeded. `TIDEGATE_SCHEDULES` says how many are run, `TIDEGATE_PURGES` how many purges each has, `TIDEGATE_SEED`
//! which is the first.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

use cache_store::lookup::Lookup;
use cache_store::purge::{Purge, Scope, new_id};
use cache_store::store::{CacheStore, MemoryAdmission, Settings};
use cache_store::tiers::files::Torn;
use cache_store::timestamp::Timestamp;
use parking_lot::Mutex;
use purge_api::bus::{
    Batch, BusError, Exchange, Pending, Position, Pulled, PurgeBus, Record, ScopeOf, Standing, record_of,
};
use purge_api::{Order, Scope as Kind, Selector};

use pages::{NOW, Page};

#[path = "../../cache-store/tests/pages/mod.rs"]
mod pages;

const NODES: usize = 4;
const PAGES: usize = 6;
/// Host, path and tags of each page.
const SITE: [Page; PAGES] = [
    ("a", "/0", &["x"]),
    ("a", "/1/x", &["x", "y"]),
    ("a", "/1/y", &[]),
    ("b", "/1/y", &["y"]),
    ("b", "/2", &["z"]),
    ("b", "/3", &[]),
];

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).expect("31 bits") % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }
}

/// What a broker keeps.
struct Stream {
    identity: u128,
    first: u64,
    records: Vec<Record>,
}

impl Stream {
    fn last(&self) -> u64 {
        self.first + self.records.len() as u64 - 1
    }
}

/// The network to one log.
struct Wire {
    name: &'static str,
    log: Log,
    faults: Arc<Mutex<Faults>>,
}

enum Log {
    /// A broker's.
    Stream(Arc<Mutex<Stream>>),
    /// That of whoever is node 2 now.
    Node(Arc<Mutex<Arc<CacheStore>>>),
}

struct Faults {
    random: Random,
    parted: bool,
}

impl Wire {
    /// Whether this call is lost on its way, and whether its answer is.
    fn lost(&self) -> (bool, bool) {
        let mut faults = self.faults.lock();
        if faults.parted {
            return (true, true);
        }
        (faults.random.below(10) < 3, faults.random.below(10) < 2)
    }

    fn lost_error<T>() -> Result<T, BusError> {
        Err(BusError("lost".into()))
    }
}

impl PurgeBus for Wire {
    fn name(&self) -> &str {
        self.name
    }

    fn pull(&self, since: u64, max: usize) -> Pending<'_, Batch> {
        Box::pin(async move {
            if self.lost().0 {
                return Self::lost_error();
            }
            // Some of it comes again, or not much comes at once.
            let (since, max) = {
                let mut faults = self.faults.lock();
                let back = if faults.random.one_in(8) { faults.random.below(5) as u64 } else { 0 };
                (since.saturating_sub(back), 1 + faults.random.below(max))
            };
            Ok(match &self.log {
                Log::Stream(stream) => {
                    let stream = stream.lock();
                    let numbered = (stream.first..).zip(stream.records.iter().cloned());
                    let records = numbered.filter(|(number, _)| *number > since).take(max).collect();
                    Batch { log: stream.identity, first: stream.first, last: stream.last(), records }
                }
                Log::Node(node) => {
                    let node = Arc::clone(&node.lock());
                    let log = node.purge_log();
                    let last = log.sequence();
                    let logged = log.since(since, max).expect("the disk is well");
                    let numbered =
                        logged.iter().map(|logged| (logged.sequence, record_of(logged).expect("an order")));
                    let first = log.first().expect("the disk is well");
                    Batch { log: log.identity(), first, last, records: numbered.collect() }
                }
            })
        })
    }

    fn give<'a>(&'a self, records: &'a [Record]) -> Pending<'a, Position> {
        Box::pin(async move {
            let (there, back) = self.lost();
            if there {
                return Self::lost_error();
            }
            // Cut off in the middle.
            let whole = !self.faults.lock().random.one_in(6);
            let records = if whole { records } else { records.get(..records.len() / 2).unwrap_or_default() };
            let position = match &self.log {
                Log::Stream(stream) => {
                    let mut stream = stream.lock();
                    for record in records {
                        let known = stream.records.iter().any(|known| known.id == record.id);
                        // The window in which a broker knows names again ends: some are doubled.
                        if !known || self.faults.lock().random.one_in(4) {
                            stream.records.push(record.clone());
                        }
                    }
                    Position { log: stream.identity, sequence: stream.last() }
                }
                Log::Node(node) => {
                    let node = Arc::clone(&node.lock());
                    let purges = records.iter().map(|record| purge_of(&node, record)).collect();
                    let applied = node.accept(purges, "child").expect("the disk is well");
                    let sequence = applied.iter().map(|applied| applied.sequence).max().unwrap_or(0);
                    Position { log: node.purge_log().identity(), sequence }
                }
            };
            if back || !whole { Self::lost_error() } else { Ok(position) }
        })
    }
}

fn scope_of(store: &CacheStore, selector: &Selector) -> Scope {
    match selector {
        Selector::Url(url) => {
            let page = SITE.iter().position(|(host, path, _)| url.host() == *host && url.target() == *path);
            let keys = page.map(|page| pages::key(store, SITE[page])).into_iter().collect();
            Scope::Url { url: url.to_string().into(), keys }
        }
        Selector::Prefix(url) => Scope::Prefix { authority: url.host().into(), path: url.target().into() },
        Selector::Host(host) => Scope::Host(host.as_str().into()),
        Selector::Tag(tag) => Scope::Tag(tag.as_str().into()),
        Selector::Everything => Scope::Everything,
    }
}

fn purge_of(store: &CacheStore, record: &Record) -> Purge {
    let scopes = record.order.selectors.iter().map(|selector| scope_of(store, selector)).collect();
    Purge { id: record.id, at: Timestamp::from_millis(record.at_millis), soft: record.order.soft, scopes }
}

fn takes(selector: &Selector, page: usize) -> bool {
    let (host, path, tags) = SITE[page];
    match selector {
        Selector::Url(url) => url.host() == host && url.target() == path,
        Selector::Prefix(url) => url.host() == host && path.starts_with(&url.target()),
        Selector::Host(name) => name.as_str() == host,
        Selector::Tag(tag) => tags.contains(&tag.as_str()),
        Selector::Everything => true,
    }
}

/// A purge that was ordered and acknowledged.
struct Ordered {
    id: u128,
    order: Order,
    /// What was fetched before this moment is of before it.
    time: usize,
    /// Where.
    node: usize,
    /// It was in the stream when the beginning of that was lost: for who has not heard of it, it is a soft one.
    softened: bool,
}

struct Node {
    torn: Torn,
    store: Arc<CacheStore>,
    exchange: Option<Exchange>,
    /// So many of the purges that were ordered anywhere are applied here, as far as the node can tell.
    caught_up: usize,
}

struct Fleet {
    nodes: Vec<Node>,
    stream: Arc<Mutex<Stream>>,
    faults: Vec<Arc<Mutex<Faults>>>,
    /// The store of node 2, for node 3.
    second: Arc<Mutex<Arc<CacheStore>>>,
    random: Random,
    ordered: Vec<Ordered>,
    time: usize,
    /// So many of the purges are in the stream.
    streamed: usize,
}

fn open(torn: &Torn) -> Arc<CacheStore> {
    pages::store(Some(torn), NOW, 1 << 20)
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let faults = (0..NODES).map(|_| {
            let random = Random(random.below(1 << 30) as u64 + 1);
            Arc::new(Mutex::new(Faults { random, parted: false }))
        });
        let faults = faults.collect();
        let torns: Vec<Torn> = (0..NODES as u64).map(|node| Torn::new(seed * 31 + node)).collect();
        let stores: Vec<_> = torns.iter().map(open).collect();
        let mut fleet = Self {
            nodes: Vec::new(),
            stream: Arc::new(Mutex::new(Stream { identity: 1, first: 1, records: Vec::new() })),
            faults,
            second: Arc::new(Mutex::new(Arc::clone(&stores[2]))),
            random,
            ordered: Vec::new(),
            time: 0,
            streamed: 0,
        };
        for (torn, store) in torns.into_iter().zip(stores) {
            let exchange = Some(fleet.exchange(fleet.nodes.len(), &store));
            fleet.nodes.push(Node { torn, store, exchange, caught_up: 0 });
        }
        fleet
    }

    fn exchange(&self, node: usize, store: &Arc<CacheStore>) -> Exchange {
        let faults = Arc::clone(&self.faults[node]);
        let wire = if node == 3 {
            Wire { name: "parent", log: Log::Node(Arc::clone(&self.second)), faults }
        } else {
            Wire { name: "stream", log: Log::Stream(Arc::clone(&self.stream)), faults }
        };
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let of = Arc::clone(store);
        let scope_of: Arc<ScopeOf> = Arc::new(move |selector| scope_of(&of, selector));
        Exchange::new(Arc::clone(store), Arc::new(wire), standing, scope_of)
    }

    fn order(&mut self, node: usize) {
        let (host, path, _) = SITE[self.random.below(PAGES)];
        let (kind, text) = match self.random.below(12) {
            0..6 => (Kind::Url, format!("http://{host}{path}")),
            6 | 7 => (Kind::Tag, ["x", "y", "z"][self.random.below(3)].to_owned()),
            8 => (Kind::Prefix, format!("http://{host}/1/")),
            9 | 10 => (Kind::Host, host.to_owned()),
            _ => (Kind::Everything, String::new()),
        };
        let selector = Selector::parse(kind, &text).expect("well formed");
        let order = Order { selectors: vec![selector], soft: self.random.one_in(3) };
        let id = new_id().expect("randomness");
        let store = &self.nodes[node].store;
        let purge = purge_of(store, &Record { id, at_millis: NOW.as_millis(), order: order.clone() });
        store.purge(purge).expect("the disk is well");
        self.time += 1;
        self.ordered.push(Ordered { id, order, time: self.time, node, softened: false });
    }

    fn look(&self, node: usize, page: usize) -> Lookup {
        pages::look(&self.nodes[node].store, SITE[page], NOW)
    }

    /// A visitor: what is served is judged, what is missing is fetched.
    fn visit(&mut self, node: usize, page: usize) {
        self.time += 1;
        let found = self.look(node, page);
        if let Some(text) = pages::text(&found) {
            let began: usize = text.parse().expect("a number");
            let fresh = matches!(found, Lookup::Fresh(_));
            for (at, purge) in self.ordered.iter().enumerate() {
                let known = at < self.nodes[node].caught_up || purge.node == node;
                let is_taken = purge.order.selectors.iter().any(|selector| takes(selector, page));
                if known && is_taken && began < purge.time {
                    let hard = !purge.order.soft && !purge.softened;
                    let time = purge.time;
                    assert!(
                        !fresh,
                        "node {node}, page {page} of {began} is fresh after purge {at} at {time}"
                    );
                    assert!(
                        !hard,
                        "node {node}, page {page} of {began} is served after purge {at} at {time}"
                    );
                }
            }
        }
        if let Lookup::Miss(fill) | Lookup::Stale(_, Some(fill)) = found {
            pages::end(fill, SITE[page], &self.time.to_string());
        }
    }

    /// A node gives what it has and takes what there is.
    async fn step(&mut self, node: usize) {
        // What is there to be heard of before it listens.
        let reaches = if node == 3 { self.nodes[2].caught_up } else { self.streamed };
        if let Some(exchange) = &self.nodes[node].exchange {
            drop(exchange.give(NOW).await);
            if exchange.pull(NOW).await == Ok(Pulled::All) {
                let caught_up = &mut self.nodes[node].caught_up;
                *caught_up = reaches.max(*caught_up);
            }
        }
        let stream = self.stream.lock();
        while let Some(next) = self.ordered.get(self.streamed)
            && (next.softened || stream.records.iter().any(|record| record.id == next.id))
        {
            self.streamed += 1;
        }
    }

    fn kill(&mut self, node: usize) {
        // Gone before the next one comes: a database that is dropped later would write into the other's file.
        self.nodes[node].exchange = None;
        let nobody = CacheStore::new(&Settings {
            memory_bytes: 1 << 20,
            memory_admission: MemoryAdmission::default(),
            object_bytes_max: 1 << 20,
            secret: [0; 32],
        });
        if node == 2 {
            *self.second.lock() = Arc::clone(&nobody);
        }
        self.nodes[node].store = nobody;
        let torn = &mut self.nodes[node].torn;
        if self.random.one_in(2) {
            torn.power_loss();
        } else {
            torn.kill();
        }
        let store = open(torn);
        if node == 2 {
            *self.second.lock() = Arc::clone(&store);
        }
        let exchange = self.exchange(node, &store);
        self.nodes[node].store = store;
        self.nodes[node].exchange = Some(exchange);
    }

    /// The broker comes back without what it had, or without the beginning.
    fn lose(&mut self, all: bool) {
        let mut stream = self.stream.lock();
        if all {
            // Whoever ordered what it had gives it again.
            *stream = Stream { identity: stream.identity + 1, first: 1, records: Vec::new() };
            self.streamed = 0;
            return;
        }
        let count = stream.records.len() / 2;
        stream.first += count as u64;
        let gone: HashSet<u128> = stream.records.drain(..count).map(|record| record.id).collect();
        for purge in self.ordered.iter_mut().filter(|purge| gone.contains(&purge.id)) {
            purge.softened = true;
        }
    }

    /// The network heals, and everybody hears everything.
    async fn settle(&mut self) {
        for faults in &self.faults {
            faults.lock().parted = false;
        }
        for _ in 0..10_000 {
            let mut done = true;
            for node in 0..NODES {
                self.step(node).await;
                done &= self.nodes[node].caught_up == self.ordered.len();
            }
            if done {
                return;
            }
        }
        for node in 0..NODES {
            let log = self.nodes[node].store.purge_log();
            eprintln!(
                "node {node}: log {}, caught up {}, given {:?}, source {:?}",
                log.sequence(),
                self.nodes[node].caught_up,
                (log.given("stream"), log.given("parent")),
                (log.source("stream"), log.source("parent"))
            );
        }
        let lacking = &self.ordered[self.streamed];
        for (nth, node) in self.nodes.iter().enumerate() {
            let logged = node.store.purge_log().since(0, usize::MAX).expect("the disk is well");
            let known = logged.iter().find(|logged| logged.purge.id == lacking.id);
            eprintln!("purge of node {} at node {nth}: {known:?}", lacking.node);
        }
        let stream = self.stream.lock();
        panic!(
            "{} ordered, {} in the stream, which ends at {}",
            self.ordered.len(),
            self.streamed,
            stream.last()
        );
    }
}

async fn schedule(seed: u64, purges: usize) {
    let mut fleet = Fleet::new(seed);
    let loses = seed % 4 == 3;
    while fleet.ordered.len() < purges {
        let node = fleet.random.below(NODES);
        match fleet.random.below(100) {
            0..20 => fleet.order(node),
            20..60 => {
                let page = fleet.random.below(PAGES);
                fleet.visit(node, page);
            }
            60..95 => fleet.step(node).await,
            95..97 => {
                let mut faults = fleet.faults[node].lock();
                faults.parted = !faults.parted;
            }
            97 => {
                if let Some(disk) = fleet.nodes[node].store.disk() {
                    disk.settle().expect("the disk is well");
                }
            }
            98 if fleet.random.one_in(4) => fleet.kill(node),
            99 if loses && fleet.random.one_in(6) => {
                let all = fleet.random.one_in(2);
                fleet.lose(all);
            }
            _ => {}
        }
    }
    fleet.settle().await;
    for node in 0..NODES {
        for page in 0..PAGES {
            fleet.visit(node, page);
        }
        let logged = fleet.nodes[node].store.purge_log().since(0, usize::MAX).expect("the disk is well");
        let ids: HashSet<u128> = logged.iter().map(|logged| logged.purge.id).collect();
        for purge in fleet.ordered.iter().filter(|purge| !purge.softened) {
            assert!(ids.contains(&purge.id), "node {node} has not heard of the purge at {}", purge.time);
        }
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().map_or(otherwise, |text| text.parse().expect("a number"))
}

#[test]
fn no_purge_is_lost_and_nothing_purged_is_served_by_who_has_caught_up() {
    let (schedules, purges) = (number("TIDEGATE_SCHEDULES", 12), number("TIDEGATE_PURGES", 60));
    let first = number("TIDEGATE_SEED", 1);
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    for seed in first..first + schedules {
        let purges = usize::try_from(purges).expect("a count");
        let run = AssertUnwindSafe(|| runtime.block_on(schedule(seed, purges)));
        if let Err(panic) = catch_unwind(run) {
            eprintln!("TIDEGATE_SEED={seed} TIDEGATE_SCHEDULES=1 TIDEGATE_PURGES={purges} fails alike");
            resume_unwind(panic);
        }
    }
}
