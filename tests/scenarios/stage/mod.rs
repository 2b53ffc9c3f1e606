//! A whole node in this process, with scripted origins behind it, clients before it and a clock in the test's hand.
//!
//! [`Stage::new`] is one origin, `a`, and one site; [`Stage::build`] changes that. When a test fails, the stage prints
//! its clock, its counters and every byte that went over a wire.

pub(crate) mod answer;
pub(crate) mod atlas;
pub(crate) mod client;
pub(crate) mod directory;
pub(crate) mod gate;
pub(crate) mod h2;
pub(crate) mod journal;
pub(crate) mod origin;
pub(crate) mod peer;
pub(crate) mod region;
pub(crate) mod reply;
pub(crate) mod settings;
pub(crate) mod site;
pub(crate) mod wire;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Deref;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use cache_store::rules::Policy;
use cache_store::store::Usage;
use cache_store::timestamp::Timestamp;
use tidegate::clock::Clock;
use tidegate::config::plan::Change;
use tidegate::config::{Config, Preset, RoutePolicy};
use tidegate::observe::Observe;
use tidegate::reload::ReloadError;
use tidegate::{Edge, Running};

use answer::Answer;
use client::{Client, Clients, PATIENCE};
use journal::Journal;
use origin::Origin;
use settings::HOST;

/// Node, origins, clients and clock.
pub(crate) struct Stage {
    pub(crate) clock: Clock,
    running: Option<Running>,
    address: SocketAddr,
    admin: SocketAddr,
    origins: Vec<(&'static str, Origin)>,
    journal: Journal,
    config: Config,
}

/// A stage on its way.
pub(crate) struct Builder {
    origins: Vec<&'static str>,
    policy: RoutePolicy,
    changes: Vec<Setting>,
}

type Setting = Box<dyn FnOnce(&mut Config, &[SocketAddr])>;

/// What has happened so far.
#[derive(Clone, Debug)]
pub(crate) struct Count {
    usage: Usage,
    /// Requests that reached an origin.
    pub(crate) requests: usize,
}

impl Deref for Count {
    type Target = Usage;

    fn deref(&self) -> &Usage {
        &self.usage
    }
}

impl Stage {
    /// One origin, `a`, and the safe defaults.
    pub(crate) async fn new() -> Self {
        Self::build().start().await
    }

    /// One origin, `a`, and this preset.
    pub(crate) async fn preset(preset: Preset) -> Self {
        Self::build().preset(preset).start().await
    }

    pub(crate) fn build() -> Builder {
        Builder { origins: vec!["a"], policy: settings::policy(Preset::Default), changes: Vec::new() }
    }

    /// The origin of this name.
    #[track_caller]
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        let found = self.origins.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("there is no origin `{name}` on this stage")).1
    }

    /// A client of the site.
    pub(crate) fn client(&self) -> Client {
        Client::new(self.address, HOST, &self.journal)
    }

    /// So many of them.
    pub(crate) fn clients(&self, count: usize) -> Clients {
        Clients::new(self.client(), count)
    }

    /// A client of the admin listener.
    pub(crate) fn operator(&self) -> Client {
        Client::new(self.admin, &self.admin.to_string(), &self.journal)
            .header("content-type", "application/json")
    }

    /// Purges URLs of the site by the admin call; `soft` makes them stale.
    pub(crate) async fn purge(&self, targets: &[&str], soft: bool) -> Answer {
        let urls: Vec<_> = targets.iter().map(|target| format!("\"http://{HOST}{target}\"")).collect();
        let body = format!("{{\"urls\": [{}], \"soft\": {soft}}}", urls.join(", "));
        let answer = self.operator().post("/v1/purge", &body).await;
        assert!(matches!(answer.status, 200 | 202), "the purge was refused: {answer:?}");
        answer
    }

    /// Completes when `reached` holds of the counters; fails if it does not come to that.
    #[track_caller]
    pub(crate) fn until<'a>(
        &'a self,
        reached: impl Fn(&Count) -> bool + 'a,
    ) -> impl Future<Output = ()> + 'a {
        let at = Location::caller();
        async move {
            let waiting = async {
                while !reached(&self.count()) {
                    // Looks again as soon as other tasks have had their turn.
                    let turn = std::future::pending::<()>();
                    let _ = tokio::time::timeout(TURN, turn).await;
                }
            };
            let waited = tokio::time::timeout(PATIENCE, waiting).await;
            assert!(waited.is_ok(), "{at}: waited in vain, {:?}", self.count());
        }
    }

    /// Completes when `figure` has begun to grow and then stands still for many turns; its value.
    pub(crate) async fn until_still(&self, figure: impl Fn() -> u64) -> u64 {
        let seen = Cell::new((0, 0));
        self.until(|_| {
            let ((last, turns), now) = (seen.get(), figure());
            seen.set((now, if last == now && last > 0 { turns + 1 } else { 0 }));
            turns > TURNS_STILL
        })
        .await;
        seen.get().0
    }

    /// Lets time go on, from `at_least` on, until `asked` is over.
    pub(crate) async fn in_time<T: Send + 'static>(
        &self,
        at_least: Duration,
        asked: client::Pending<T>,
    ) -> T {
        self.clock.advance(at_least);
        self.until(|_| {
            // The node may have begun to count only after the first step.
            self.clock.advance(secs(1));
            asked.is_over()
        })
        .await;
        asked.await
    }

    /// Lets time go on until the node ends `connection`, which sends `drip` all the while; what it still said, and how
    /// it ended. Time runs ahead of the node here, so this is no measure of how long it took.
    pub(crate) async fn let_go(
        &self,
        mut connection: client::Connection,
        drip: &'static [u8],
    ) -> (Vec<u8>, wire::End) {
        let ending = tokio::spawn(async move {
            loop {
                if let Some(ended) = connection.rest_within(TURN).await {
                    return ended;
                }
                connection.write(drip).await;
            }
        });
        self.until(|_| {
            self.clock.advance(secs(1));
            ending.is_finished()
        })
        .await;
        ending.await.expect("it ends without a panic")
    }

    /// The counters now.
    pub(crate) fn count(&self) -> Count {
        let requests = self.origins.iter().map(|(_, origin)| origin.seen().len()).sum();
        Count { usage: self.edge().store.usage(), requests }
    }

    /// The node itself.
    pub(crate) fn edge(&self) -> Arc<Edge> {
        self.running.as_ref().expect("the node runs until the stage ends").edge()
    }

    /// Its counters.
    pub(crate) fn observe(&self) -> &Observe {
        self.running.as_ref().expect("the node runs until the stage ends").observe()
    }

    /// The node's own address.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Tells the node to end; what is under way goes on.
    pub(crate) fn drain(&self) {
        self.running.as_ref().expect("the node runs until the stage ends").ending().begin();
    }

    /// Takes up the settings as they are after `change`; what was different, or why nothing has changed.
    pub(crate) async fn reload(
        &mut self,
        change: impl FnOnce(&mut Config),
    ) -> Result<Vec<Change>, ReloadError> {
        change(&mut self.config);
        let reloader = Arc::clone(self.running.as_ref().expect("the node runs").reloader());
        let config = self.config.clone();
        tokio::task::spawn_blocking(move || reloader.apply(config)).await.expect("it does not panic")
    }

    /// Ends the node and starts it again with the same settings, before the same origins.
    pub(crate) async fn restart(&mut self) {
        self.shut_down().await;
        self.start_again().await;
    }

    /// Starts the node again, after it has ended.
    pub(crate) async fn start_again(&mut self) {
        let running = running(self.config.clone(), &self.clock).await;
        (self.address, self.admin) = addresses_of(&running);
        self.running = Some(running);
    }

    /// Ends the node; completes when it has ended.
    pub(crate) async fn shut_down(&mut self) {
        let running = self.running.take().expect("a node ends once");
        client::within(running.shutdown()).await;
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let count = self.running.as_ref().map(|_| self.count());
            eprintln!("the clock stands at {} ms; {count:?}", self.clock.now().as_millis());
            eprintln!("what happened:\n{}", self.journal.told());
        }
    }
}

impl Builder {
    /// These origins instead of `a`, all in the pool `main`.
    pub(crate) fn origins(mut self, names: &[&'static str]) -> Self {
        self.origins = names.to_vec();
        self
    }

    pub(crate) fn preset(mut self, preset: Preset) -> Self {
        self.policy = settings::policy(preset);
        self
    }

    /// Changes what the site decides.
    pub(crate) fn policy(mut self, change: impl FnOnce(&mut RoutePolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Changes the site's caching rules.
    pub(crate) fn rules(self, change: impl FnOnce(&mut Policy)) -> Self {
        self.policy(|policy| change(&mut policy.rules))
    }

    /// The site as these settings have it: keys of `[[site]]`, and `[[site.route]]` behind them. Each origin is a pool
    /// of its own name, too.
    pub(crate) fn site(self, text: &str) -> Self {
        let (text, names) = (text.to_owned(), self.origins.clone());
        self.config(move |config, addresses| {
            for (name, address) in names.iter().zip(addresses) {
                let pool = settings::pool(name, &[*address]);
                config.pools.insert(std::sync::Arc::clone(&pool.name), pool);
            }
            config.sites = vec![site::site(&text, &names)];
        })
    }

    /// Changes the settings; the second argument is the origins' addresses in the order named.
    pub(crate) fn config(mut self, change: impl FnOnce(&mut Config, &[SocketAddr]) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    /// Opens the origins and starts the node.
    pub(crate) async fn start(self) -> Stage {
        let clock = Clock::manual(Timestamp::from_secs(STARTS_AT_SECS));
        let journal = Journal::new(&clock);
        let origins: Vec<_> =
            self.origins.iter().map(|name| (*name, Origin::open(name, &clock, &journal))).collect();
        let addresses: Vec<_> = origins.iter().map(|(_, origin)| origin.address()).collect();
        let mut config = settings::config(&addresses, self.policy);
        for change in self.changes {
            change(&mut config, &addresses);
        }
        let running = running(config.clone(), &clock).await;
        let (address, admin) = addresses_of(&running);
        Stage { clock, running: Some(running), address, admin, origins, journal, config }
    }
}

/// A node with these settings.
pub(crate) async fn running(config: Config, clock: &Clock) -> Running {
    let clock = clock.clone();
    // Starting waits for the workers' threads, which a test's own runtime must not.
    let started = tokio::task::spawn_blocking(move || Edge::start(config, clock)).await;
    started.expect("starting does not panic").expect("settings of a stage are good")
}

pub(crate) fn addresses_of(running: &Running) -> (SocketAddr, SocketAddr) {
    let client = *running.addresses().first().expect("a stage has a listener");
    (client, running.admin_address().expect("a stage has an admin listener"))
}

/// So many seconds.
pub(crate) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(crate) const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// 2026-11-02 09:20:00 UTC.
pub(crate) const STARTS_AT_SECS: u64 = 1_793_611_200;
/// How long a test that polls a counter lets others run.
pub(crate) const TURN: Duration = Duration::from_millis(1);
/// After so many of them without a change nothing more comes.
const TURNS_STILL: u32 = 100;
