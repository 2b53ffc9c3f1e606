//! Several nodes of a tier in this process, before the same origins, with one clock.
//!
//! Every address is known before anything starts, so that nodes may name each other in a ring. What one knows of another's
//! purges a test tells by hand ([`Region::follows`], [`Region::gives`]): no bus runs here.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use cache_store::timestamp::Timestamp;
use purge_api::bus::Position;
use purge_api::{Order, Purger, Scope, Selector};
use socket2::Socket;
use tidegate::clock::Clock;
use tidegate::config::{Config, Parent, Preset, RoutePolicy, Tier, TierKey};
use tidegate::{Edge, Running};

use super::client::{Client, PATIENCE, Pending, within};
use super::journal::Journal;
use super::origin::{Origin, bound};
use super::settings::{self, HOST};
use super::{STARTS_AT_SECS, TURN, addresses_of, running};

/// Nodes, origins and clock.
pub(crate) struct Region {
    pub(crate) clock: Clock,
    origins: Vec<(&'static str, Origin)>,
    nodes: Vec<Node>,
    journal: Journal,
}

struct Node {
    name: &'static str,
    address: SocketAddr,
    admin: SocketAddr,
    running: Option<Running>,
    config: Config,
    /// Keeps the port while it does not listen.
    _port: Socket,
}

/// A region on its way.
pub(crate) struct Builder {
    origins: Vec<&'static str>,
    nodes: Vec<Planned>,
    policy: RoutePolicy,
    changes: Vec<Change>,
}

type Change = Box<dyn Fn(&str, &mut Config)>;

struct Planned {
    name: &'static str,
    parents: Vec<&'static str>,
}

impl Region {
    /// One origin, `a`.
    pub(crate) fn build() -> Builder {
        Builder {
            origins: vec!["a"],
            nodes: Vec::new(),
            policy: settings::policy(Preset::Default),
            changes: Vec::new(),
        }
    }

    /// A child, `c`, of the parents `p` and `q`; the child has heard of their logs.
    pub(crate) async fn usual() -> Self {
        let region = Self::build().node("p", &[]).node("q", &[]).node("c", &["p", "q"]).start().await;
        region.follow_all();
        region
    }

    #[track_caller]
    pub(crate) fn origin(&self, name: &str) -> &Origin {
        let found = self.origins.iter().find(|(known, _)| *known == name);
        &found.unwrap_or_else(|| panic!("there is no origin `{name}` here")).1
    }

    /// A client of this node.
    pub(crate) fn client(&self, node: &str) -> Client {
        Client::new(self.node(node).address, HOST, &self.journal)
    }

    /// A client of its admin listener.
    pub(crate) fn operator(&self, node: &str) -> Client {
        let admin = self.node(node).admin;
        Client::new(admin, &admin.to_string(), &self.journal).header("content-type", "application/json")
    }

    pub(crate) fn edge(&self, node: &str) -> Arc<Edge> {
        self.node(node).running.as_ref().expect("the node runs").edge()
    }

    /// As children name it.
    pub(crate) fn url(&self, node: &str) -> String {
        let origin = self.origins.iter().find(|(known, _)| *known == node);
        let address = origin.map_or_else(|| self.node(node).address, |(_, origin)| origin.address());
        format!("http://{address}")
    }

    /// Every child has applied all that its parents have.
    pub(crate) fn follow_all(&self) {
        for node in &self.nodes {
            for parent in &node.config.tier.parents {
                let known = self.nodes.iter().find(|known| parent.origin.port == known.address.port());
                let position =
                    known.map_or(Position { log: 7, sequence: 0 }, |known| self.position(known.name));
                self.edge(node.name).standing.followed(&parent.origin.name, position);
            }
        }
    }

    /// Where a node's own log stands.
    pub(crate) fn position(&self, node: &str) -> Position {
        let edge = self.edge(node);
        let log = edge.store.purge_log();
        Position { log: log.identity(), sequence: log.sequence() }
    }

    /// Purges at this node: `url /x`, `tag t`, `host www.example.test` or `everything`. In the call itself, without the admin
    /// listener.
    pub(crate) fn purge(&self, node: &str, selection: &str, soft: bool) -> Pending<()> {
        let (kind, text) = selection.split_once(' ').unwrap_or((selection, ""));
        let url = format!("http://{HOST}{text}");
        let (scope, text) = match kind {
            "url" => (Scope::Url, &*url),
            "tag" => (Scope::Tag, text),
            "host" => (Scope::Host, text),
            "everything" => (Scope::Everything, ""),
            _ => panic!("`{kind}` is no scope of these tests"),
        };
        let selectors = vec![Selector::parse(scope, text).expect("a selector")];
        let (edge, order) = (self.edge(node), Order { selectors, soft });
        Pending::of(async move {
            let purging = tokio::task::spawn_blocking(move || edge.purge(&order).map(|_| ()));
            purging.await.expect("it does not panic").expect("it is applied");
        })
    }

    /// The parent is given what the child has purged so far, under the number that its own log will have next; it applies it
    /// when the test purges there.
    pub(crate) fn announces(&self, child: &str, parent: &str) {
        let Position { log, sequence } = self.position(parent);
        let given = self.position(child).sequence;
        let holds = Position { log, sequence: sequence + 1 };
        self.edge(child).standing.given(&self.url(parent), given, holds);
    }

    /// Purges at the child, then at the parent, and tells the child so.
    pub(crate) async fn gives(&self, child: &str, parent: &str, selection: &str, soft: bool) {
        self.purge(child, selection, soft).await;
        self.purge(parent, selection, soft).await;
        let given = self.position(child).sequence;
        self.edge(child).standing.given(&self.url(parent), given, self.position(parent));
    }

    /// Completes when `reached`; fails if it does not come to that.
    pub(crate) async fn until(&self, reached: impl Fn() -> bool) {
        let waiting = async {
            while !reached() {
                let turn = std::future::pending::<()>();
                let _ = tokio::time::timeout(TURN, turn).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, waiting).await.is_ok(), "waited in vain");
    }

    /// Lets time go on until `asked` is over, for `at_most`.
    pub(crate) async fn in_time<T: Send + 'static>(&self, at_most: Duration, asked: Pending<T>) -> T {
        let began = self.clock.now();
        self.until(|| {
            if !asked.is_over() {
                // A little at a time: the node is to begin to count when the request is there.
                self.clock.advance(Duration::from_millis(5));
            }
            asked.is_over()
        })
        .await;
        let took = self.clock.now().since(began);
        assert!(took <= at_most, "it took {took:?}");
        asked.await
    }

    /// Ends a node as if its machine were gone: what is under way is cut.
    pub(crate) async fn kill(&mut self, node: &str) {
        let running = self.node_mut(node).running.take().expect("a node ends once");
        running.ending().force();
        within(running.ended()).await;
    }

    /// Starts it again where it was.
    pub(crate) async fn revive(&mut self, node: &str) {
        let clock = self.clock.clone();
        let node = self.node_mut(node);
        let running = running(node.config.clone(), &clock).await;
        (node.address, node.admin) = addresses_of(&running);
        node.running = Some(running);
    }

    #[track_caller]
    fn node(&self, name: &str) -> &Node {
        let found = self.nodes.iter().find(|node| node.name == name);
        found.unwrap_or_else(|| panic!("there is no node `{name}` here"))
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes.iter_mut().find(|node| node.name == name).expect("a node of this region")
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the clock stands at {} ms", self.clock.now().as_millis());
            eprintln!("what happened:\n{}", self.journal.told());
        }
    }
}

impl Builder {
    /// These origins instead of `a`; the first is the site's.
    pub(crate) fn origins(mut self, names: &[&'static str]) -> Self {
        self.origins = names.to_vec();
        self
    }

    /// A node with these parents: nodes, or origins that play one.
    pub(crate) fn node(mut self, name: &'static str, parents: &[&'static str]) -> Self {
        self.nodes.push(Planned { name, parents: parents.to_vec() });
        self
    }

    /// Changes what the site decides, at every node.
    pub(crate) fn policy(mut self, change: impl FnOnce(&mut RoutePolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    /// Changes the settings of the node that is named.
    pub(crate) fn config(mut self, change: impl Fn(&str, &mut Config) + 'static) -> Self {
        self.changes.push(Box::new(change));
        self
    }

    pub(crate) async fn start(self) -> Region {
        let clock = Clock::manual(Timestamp::from_secs(STARTS_AT_SECS));
        let journal = Journal::new(&clock);
        let origins: Vec<_> =
            self.origins.iter().map(|name| (*name, Origin::open(name, &clock, &journal))).collect();
        let ports: Vec<_> = self.nodes.iter().map(|_| bound((Ipv4Addr::LOCALHOST, 0).into())).collect();
        let places: Vec<(&str, SocketAddr)> = self
            .nodes
            .iter()
            .zip(&ports)
            .map(|(node, port)| {
                let address = port.local_addr().ok().and_then(|address| address.as_socket());
                (node.name, address.expect("it is bound"))
            })
            .chain(origins.iter().map(|(name, origin)| (*name, origin.address())))
            .collect();
        let place = |name: &str| places.iter().find(|(known, _)| *known == name).expect("a known name").1;
        let site = origins.first().expect("a region has an origin").1.address();
        let mut nodes = Vec::new();
        for (planned, port) in self.nodes.iter().zip(ports) {
            let mut config = settings::config(&[site], self.policy.clone());
            config.node = planned.name.into();
            config.listeners[0].address = place(planned.name);
            let parent = |name: &&str| Parent { origin: settings::origin(&place(name)), key: None };
            config.tier = Tier {
                parents: planned.parents.iter().map(parent).collect(),
                key: Some(TierKey::Written("the key of this region".into())),
                // Scenarios say what is known of whom, but for those about that.
                by_hand: true,
                ..Tier::default()
            };
            for change in &self.changes {
                change(planned.name, &mut config);
            }
            let running = running(config.clone(), &clock).await;
            let (address, admin) = addresses_of(&running);
            let running = Some(running);
            nodes.push(Node { name: planned.name, address, admin, running, config, _port: port });
        }
        Region { clock, origins, nodes, journal }
    }
}
