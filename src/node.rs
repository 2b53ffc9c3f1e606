//! The node as a whole: every room started in order, and stopped in the reverse.
//!
//! ```text
//! origins, store, log ─► worker threads with their listeners ─► the admin listener ─► ready
//! ```
//!
//! Several nodes can live in one process (tests do it): nothing here is global. [`Running`] is what the commands
//! hold; dropping it cuts everything at once, [`Running::shutdown`] drains first.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use cache_store::owing::Owed;
use cache_store::rules::Codings;
use cache_store::tiers::segments::OpenError;
use cache_store::timestamp::Timestamp;
use purge_api::bus::ScopeOf;
use tokio::runtime::Runtime;

use crate::admin::NodeNow;
use crate::clock::Clock;
use crate::config::limits::{ADMIN_CONNECTIONS_MAX, ORIGIN_SWEEP, OWED_WRITE, PURGE_RECORDS_KEPT};
use crate::config::{By, Config, Listener, ListenerProtocol, Pool};
use crate::handover::{Facts, Upgrader};
use crate::listener;
use crate::listener::sockets::Inherited;
use crate::observe::Observe;
use crate::origin::PoolSetupError;
use crate::origin::parent::{self, proof};
use crate::places::Places;
use crate::reload::Reloader;
use crate::route::access::SetupError;
use crate::serve::{Crawlers, Current, Edge};
use crate::shutdown::{Phase, Shutdown};
use crate::start::Prepared;

/// A node that runs.
pub struct Running {
    pub(crate) current: Arc<Current>,
    pub(crate) clients: Option<listener::Running>,
    pub(crate) admin: Option<listener::Running>,
    pub(crate) observe: Arc<Observe>,
    pub(crate) reloader: Arc<Reloader>,
    pub(crate) upgrader: Arc<Upgrader>,
    pub(crate) shutdown: Shutdown,
    pub(crate) admin_shutdown: Shutdown,
    /// For what blocks or belongs to no worker; ends with the node.
    pub(crate) shared: Option<Runtime>,
}

/// Why a node could not be started. Nothing is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A pool's certificates.
    #[error(transparent)]
    Pool(#[from] PoolSetupError),
    /// A listener.
    #[error(transparent)]
    Listener(#[from] listener::StartError),
    /// The admin listener's tokens.
    #[error("cannot read the admin tokens")]
    Tokens(#[source] io::Error),
    /// The disk cache.
    #[error("cannot open the disk cache in {}", path.display())]
    Disk {
        /// Its directory.
        path: PathBuf,
        /// Why.
        source: OpenError,
    },
    /// The geo database.
    #[error("cannot use the geo database {}", path.display())]
    Geo {
        /// The file.
        path: PathBuf,
        /// Why.
        source: geo::GeoError,
    },
    /// The key of the tier.
    #[error("cannot read the key of the tier")]
    TierKey(#[source] io::Error),
    /// What a route's access rules name.
    #[error(transparent)]
    Access(#[from] SetupError),
    /// The access log.
    #[error("cannot open the access log")]
    Log(#[source] io::Error),
    /// The shared runtime, or randomness.
    #[error("cannot start the node")]
    System(#[source] io::Error),
    /// An admin listener on a Unix socket.
    #[error("an admin listener on a Unix socket is not supported by this version yet")]
    UnixAdmin,
}

impl Edge {
    /// Starts a node. When this returns the addresses are bound and requests are answered.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start(config: Config, clock: Clock) -> Result<Running, StartError> {
        Prepared::new(config, clock, &Inherited::default())?.open(None, Facts::default())?.serve()
    }
}

/// Has the node hear the purges of others, and tell its own.
pub(crate) fn join_fleet(current: &Arc<Current>, edge: &Edge, shared: &Runtime) {
    let of = Arc::clone(current);
    let scope_of: Arc<ScopeOf> = Arc::new(move |selector| of.load().scope_of_any(selector));
    let _shared = shared.enter();
    match &edge.config.purge.bus {
        Some(bus) => edge.fleet.join(bus, scope_of),
        None if edge.config.tier.by_hand => {}
        None => edge.fleet.follow_parents(current, &scope_of),
    }
}

/// The lanes of crawlers by these settings, which go on with what `before` has counted.
///
/// # Errors
/// A file of networks cannot be used.
pub(crate) fn crawlers(
    config: &Config,
    before: Option<&Crawlers>,
) -> Result<Option<Arc<Crawlers>>, SetupError> {
    let made = config.crawlers.as_ref().map(|settings| Crawlers::new(settings, config.pools.keys(), before));
    Ok(made.transpose()?.map(Arc::new))
}

/// Starts what looks after the node while it runs.
pub(crate) fn attend(current: &Arc<Current>, observe: &Arc<Observe>, shared: &Runtime, clock: Clock) {
    let (swept, tended, observe) = (Arc::clone(current), Arc::clone(current), Arc::clone(observe));
    let fleet = Arc::clone(&current.load().fleet);
    shared.spawn(async move {
        loop {
            clock.sleep(ORIGIN_SWEEP).await;
            let edge = swept.load_full();
            edge.origins.sweep();
            observe.log.tend();
            observe.second(&crate::admin::Node::gauges(&*edge), &clock);
            drop(edge);
            // Not with what waits for the disk: one that hangs keeps purges from being heard.
            fleet.look();
        }
    });
    {
        let _shared = shared.enter();
        current.load().origins.watch();
    }
    shared.spawn(tend(tended));
}

/// Looks after the store once a second: has what waits written, tries again what failed, drops what is of no use any more.
async fn tend(current: Arc<Current>) {
    let mut known = None;
    let clock = current.load().clock.clone();
    let looking = current.load_full();
    // Nobody waits for it but a dry run that wants to know all.
    drop(tokio::task::spawn_blocking(move || {
        looking.store.take_stock(|| looking.shutdown.phase() == crate::shutdown::Phase::Serving);
    }));
    loop {
        clock.sleep(STORE_TICK).await;
        // The store is always the same; an edge held on to would keep the pools of its settings.
        let edge = current.load_full();
        edge.store.tend_disk();
        let tended = Arc::clone(&edge);
        let tending = tokio::task::spawn_blocking(move || {
            tended.store.tend_purges(tended.clock.wall().minus(PURGE_RECORDS_KEPT))
        });
        let purges = tending.await.unwrap_or(Ok(())).err().map(|error| error.to_string());
        let disk = edge.store.disk().and_then(|disk| disk.usage().trouble);
        tell_trouble(&mut known, disk.or(purges));
    }
}

/// The node as admin calls see it.
pub(crate) fn node_now(current: &Arc<Current>) -> NodeNow {
    let current = Arc::clone(current);
    Arc::new(move || current.load_full())
}

/// The geo database of the settings.
pub(crate) fn places(config: &Config) -> Result<Option<Arc<Places>>, StartError> {
    let Some(settings) = &config.geo else { return Ok(None) };
    match Places::open(settings) {
        Ok(places) => {
            if !places.has_points() && steers_to_the_nearest(config) {
                tracing::warn!(
                    "the geo database knows no points on the globe: steering to the nearest pool takes `otherwise` for everybody; take a city database"
                );
            }
            Ok(Some(Arc::new(places)))
        }
        Err(source) => Err(StartError::Geo { path: settings.database.clone(), source }),
    }
}

fn steers_to_the_nearest(config: &Config) -> bool {
    let policies = config
        .sites
        .iter()
        .flat_map(|site| site.routes.iter().map(|route| &route.policy).chain([&site.defaults]));
    let mut all = policies.filter_map(|policy| policy.steer.steering());
    all.any(|steering| matches!(steering.by, By::Nearest { .. }))
}

/// The pools of the settings, and one for each parent.
pub(crate) fn all_pools(config: &Config) -> BTreeMap<Arc<str>, Pool> {
    let mut pools = parent::pools(&config.tier);
    pools.extend(config.pools.iter().map(|(name, pool)| (Arc::clone(name), pool.clone())));
    pools
}

/// Says in the operator's log when the disk begins to fail, with what, and when it is well again.
fn tell_trouble(known: &mut Option<String>, now: Option<String>) {
    match (&*known, &now) {
        (before, Some(error)) if before.as_ref() != Some(error) => {
            tracing::error!(%error, "the disk cache fails; serving from memory and origins, and trying again");
        }
        (Some(_), None) => tracing::info!("the disk cache is well again"),
        _ => {}
    }
    *known = now;
}

/// Tells every route's rules this node's name, which `Surrogate-Control` may address, whose word about a lifetime comes first,
/// and which codings are negotiated here.
pub(crate) fn named(mut config: Config) -> Config {
    let has_parents = !config.tier.parents.is_empty();
    let device: Box<str> = (&*config.node).into();
    for site in &mut config.sites {
        let routes = site.routes.iter_mut().map(|route| &mut route.policy);
        for policy in routes.chain([&mut site.defaults]) {
            let codings = policy.encode.as_ref().map_or(Codings::NONE, |encode| encode.set());
            let ends_here = policy.access.as_ref().is_some_and(|access| access.consumes_authorization());
            let rules = &mut Arc::make_mut(policy).rules;
            rules.surrogate_device = Some(device.clone());
            rules.authorization_ends_here = ends_here;
            rules.codings = codings;
            if has_parents && rules.targets.first() != Some(&proof::CONTROL) {
                rules.targets.insert(0, proof::CONTROL);
            }
        }
    }
    config
}

/// The admin listener is a listener like the others, with one worker and room for few.
pub(crate) fn admin_config(config: &Config, address: SocketAddr) -> Config {
    let mut settings = config.clone();
    settings.listeners = vec![Listener {
        address,
        tls: Vec::new(),
        protocols: vec![ListenerProtocol::Http11],
        trusted_proxies: Vec::new(),
        proxy_protocol: None,
    }];
    settings.workers = 1;
    settings.limits.connections_max = ADMIN_CONNECTIONS_MAX;
    settings
}

impl Running {
    /// Where clients connect, in the order of the settings, with the ports that 0 became.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.clients.as_ref().map(listener::Running::addresses).unwrap_or_default()
    }

    /// Where the admin listener is.
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref()?.addresses().first().copied()
    }

    /// What the workers share.
    pub fn edge(&self) -> Arc<Edge> {
        self.current.load_full()
    }

    /// Log and metrics.
    pub const fn observe(&self) -> &Arc<Observe> {
        &self.observe
    }

    /// The handle to begin or force the end, also for who does not own the node.
    pub const fn ending(&self) -> &Shutdown {
        &self.shutdown
    }

    /// What takes up other settings.
    pub const fn reloader(&self) -> &Arc<Reloader> {
        &self.reloader
    }

    /// What replaces the process by another.
    pub const fn upgrader(&self) -> &Arc<Upgrader> {
        &self.upgrader
    }

    /// How often each worker that serves clients has come round.
    pub fn pulses(&self) -> Vec<listener::Pulse> {
        self.clients.as_ref().map(|clients| clients.pulses().to_vec()).unwrap_or_default()
    }

    /// Stops accepting, lets what is under way end within the drain timeout, then stops.
    pub async fn shutdown(self) {
        self.shutdown.begin();
        self.ended().await;
    }

    /// Completes when the node has ended, however that began.
    pub async fn ended(mut self) {
        let clock = self.edge().clock.clone();
        self.shutdown.begun().await;
        let begun = clock.now();
        self.shutdown.done().await;
        let finish = Finish::of(&self, begun);
        if self.shutdown.is_succeeded() {
            // Whoever asked for the other process is about to be told that it serves.
            let _ = clock.timeout(ADMIN_FINISH, self.admin_shutdown.done()).await;
        }
        self.admin_shutdown.force();
        self.admin_shutdown.done().await;
        let (clients, admin, shared) = (self.clients.take(), self.admin.take(), self.shared.take());
        let (observe, edge, upgrader) = (Arc::clone(&self.observe), self.edge(), Arc::clone(&self.upgrader));
        // Joining threads and closing files block.
        self.edge().encoders.close();
        let joined = tokio::task::spawn_blocking(move || {
            for running in [clients, admin].into_iter().flatten() {
                running.join();
            }
            // One that is under way has the store in its hands.
            upgrader.give_up();
            observe.log.finish(LOG_FINISH);
            observe.log.end();
            write_owed(&edge, || finish.goes_on());
            let settled = edge.store.tend_purges(Timestamp::from_secs(0));
            if let Some(disk) = edge.store.disk()
                && let Err(error) = settled.and_then(|()| disk.close())
            {
                tracing::warn!(%error, "the disk cache was not closed in order; the next start takes longer");
            }
            if let Some(shared) = shared {
                // Whoever starts the next node finds the disk's lock free: what holds it ends with the tasks.
                shared.shutdown_timeout(SHARED_FINISH);
            }
        });
        drop(joined.await);
    }
}

/// How long what only memory has may be written to disk at the end: while the drain could have lasted, and a moment in any case. Not
/// where somebody has asked for the end at once, or does.
struct Finish {
    shutdown: Shutdown,
    clock: Clock,
    until: Timestamp,
    was_cut: bool,
}

impl Finish {
    /// As of when everybody has left; the end began at `begun`.
    fn of(running: &Running, begun: Timestamp) -> Self {
        let edge = running.edge();
        let now = edge.clock.now();
        let drained = begun.plus(edge.config.limits.drain_timeout);
        let was_cut = running.shutdown.phase() == Phase::Cut;
        // Cut before the drain's time was up: by hand.
        let until = if was_cut && now < drained { now } else { drained.max(now.plus(OWED_WRITE)) };
        Self { shutdown: running.shutdown.clone(), clock: edge.clock.clone(), until, was_cut }
    }

    fn goes_on(&self) -> bool {
        self.clock.now() < self.until && (self.was_cut || self.shutdown.phase() != Phase::Cut)
    }
}

/// Writes to disk what only memory has, so that the next start, or the next process, has it too. Blocks.
pub(crate) fn write_owed(edge: &Edge, goes_on: impl Fn() -> bool) {
    match edge.store.write_owed(edge.clock.wall(), goes_on) {
        Ok(Owed { written: 0, left: 0, .. }) => {}
        Ok(Owed { written, written_bytes, left }) => {
            tracing::info!(
                written,
                written_bytes,
                left,
                "what only memory had was written to the disk cache"
            );
        }
        Err(error) => {
            tracing::warn!(%error, "what only memory had is lost: it cannot be written to the disk cache");
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.force();
        self.admin_shutdown.force();
        self.edge().encoders.close();
        self.observe.log.end();
        if let Some(shared) = self.shared.take() {
            shared.shutdown_background();
        }
    }
}

/// What keys are hashed under where nothing outlives the process.
pub(crate) fn secret() -> io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

/// How long calls of operators that are under way may take once everything else has ended, where another process has taken over.
const ADMIN_FINISH: std::time::Duration = std::time::Duration::from_secs(2);
/// How often the store is looked after.
const STORE_TICK: std::time::Duration = std::time::Duration::from_secs(1);
/// How long what still waits for the disk may take at the end.
const SHARED_FINISH: std::time::Duration = std::time::Duration::from_secs(1);
/// How long the access log may take to write what it still holds.
const LOG_FINISH: std::time::Duration = std::time::Duration::from_secs(5);
