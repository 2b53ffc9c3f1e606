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

use cache_store::rules::Codings;
use cache_store::store::{CacheStore, Settings};
use cache_store::tiers::disk::Disk;
use cache_store::tiers::segments::OpenError;
use cache_store::timestamp::Timestamp;
use purge_api::bus::{ScopeOf, Standing};
use tokio::runtime::{Builder, Runtime};

use crate::admin::{AdminDoor, AdminService, NodeNow};
use crate::clock::Clock;
use crate::config::limits::{ADMIN_CONNECTIONS_MAX, ORIGIN_SWEEP, PURGE_RECORDS_KEPT};
use crate::config::{AdminAddress, By, Config, DiskCache, Listener, ListenerProtocol, Pool};
use crate::encode::Encoders;
use crate::fleet::Fleet;
use crate::listener::{self, Workers};
use crate::observe::Observe;
use crate::origin::parent::proof::Children;
use crate::origin::parent::{self, Parents, proof};
use crate::origin::{OriginPools, PoolSetupError};
use crate::places::Places;
use crate::reload::Reloader;
use crate::route::RouteTable;
use crate::route::access::SetupError;
use crate::serve::{Crawlers, Current, Edge, Purging, Refreshes, WalkService};
use crate::shutdown::Shutdown;

/// A node that runs.
pub struct Running {
    current: Arc<Current>,
    clients: Option<listener::Running>,
    admin: Option<listener::Running>,
    observe: Arc<Observe>,
    reloader: Arc<Reloader>,
    shutdown: Shutdown,
    admin_shutdown: Shutdown,
    /// For what blocks or belongs to no worker; ends with the node.
    shared: Option<Runtime>,
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
        Self::start_from(None, config, clock)
    }

    /// The same, of settings that were read from a file, which a reload reads again.
    ///
    /// # Errors
    /// [`StartError`]
    pub fn start_from(path: Option<PathBuf>, config: Config, clock: Clock) -> Result<Running, StartError> {
        let shared = Builder::new_multi_thread()
            .worker_threads(SHARED_THREADS)
            .thread_name("shared")
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let config = Arc::new(named(config));
        let observe = Arc::new(Observe::start(&config, &clock).map_err(StartError::Log)?);
        let (shutdown, admin_shutdown) = (Shutdown::new(), Shutdown::new());
        let disk = match &config.cache.disk {
            None => None,
            Some(DiskCache { path, bytes, admission }) => Some(
                Disk::open(path, *bytes, shared.handle().clone(), clock.wall())
                    .map_err(|source| StartError::Disk { path: path.clone(), source })?
                    .admitting(*admission),
            ),
        };
        let places = places(&config)?;
        let settings = Settings {
            memory_bytes: usize::try_from(config.cache.memory_bytes).unwrap_or(usize::MAX),
            memory_admission: config.cache.memory_admission,
            object_bytes_max: config.cache.object_bytes_max,
            secret: match &disk {
                Some(disk) => disk.secret(),
                None => secret().map_err(StartError::System)?,
            },
        };
        let store = CacheStore::over(&settings, disk);
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let fleet = Fleet::new(&config, &store, &standing, &clock);
        let edge = Arc::new(Edge {
            routes: Arc::new(RouteTable::counted(&config.sites, &observe.metrics)?),
            standing,
            fleet,
            origins: Arc::new(OriginPools::new(&all_pools(&config), &clock)?),
            places,
            crawlers: crawlers(&config, None)?,
            parents: Parents::new(&config.tier).map_err(StartError::TierKey)?.map(Arc::new),
            children: Children::new(&config.tier).map_err(StartError::TierKey)?.map(Arc::new),
            ids: Arc::new(observe.walk_ids()),
            purges: Arc::new(Purging::default()),
            encoders: Arc::new(Encoders::new(&store, &clock, config.workers)),
            refreshes: Arc::new(Refreshes::new(config.purge.refresh_per_second)),
            ledger: Arc::default(),
            mirrors: Arc::default(),
            not_stored: Arc::default(),
            shutdown: shutdown.clone(),
            listeners: Arc::default(),
            store,
            clock: clock.clone(),
            config: Arc::clone(&config),
        });
        let current = Arc::new(Current::new(Arc::clone(&edge)));
        join_fleet(&current, &edge, &shared);
        let clients = {
            let (current, observe) = (Arc::clone(&current), Arc::clone(&observe));
            Workers { config: &config, clock: &clock, shutdown: &shutdown, shared: shared.handle() }
                .start(move |worker| WalkService::new(Arc::clone(&current), &observe, worker))?
        };
        drop(edge.listeners.set(clients.stats().to_vec()));
        let door = AdminDoor::open(&config.admin).map_err(StartError::Tokens)?;
        let reloader =
            Reloader::new(&current, &observe, clients.certificates(), door.clone(), shared.handle(), path);
        let mut running = Running {
            reloader: Arc::clone(&reloader),
            current: Arc::clone(&current),
            clients: Some(clients),
            admin: None,
            observe: Arc::clone(&observe),
            shutdown,
            admin_shutdown: admin_shutdown.clone(),
            shared: None,
        };
        match &config.admin.address {
            None => {}
            Some(AdminAddress::Unix(_)) => return Err(StartError::UnixAdmin),
            Some(AdminAddress::Tcp(address)) => {
                let service =
                    AdminService::new(door, node_now(&current), Some(reloader), observe, clock.clone());
                let settings = Arc::new(admin_config(&config, *address));
                let workers = Workers {
                    config: &settings,
                    clock: &clock,
                    shutdown: &admin_shutdown,
                    shared: shared.handle(),
                };
                running.admin = Some(workers.start(move |_| service.clone())?);
            }
        }
        attend(&current, &running.observe, &shared, clock);
        running.shared = Some(shared);
        Ok(running)
    }
}

/// Has the node hear the purges of others, and tell its own.
fn join_fleet(current: &Arc<Current>, edge: &Edge, shared: &Runtime) {
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
fn attend(current: &Arc<Current>, observe: &Arc<Observe>, shared: &Runtime, clock: Clock) {
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
        if let Some(disk) = edge.store.disk() {
            disk.tend();
        }
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
fn node_now(current: &Arc<Current>) -> NodeNow {
    let current = Arc::clone(current);
    Arc::new(move || current.load_full())
}

/// The geo database of the settings.
fn places(config: &Config) -> Result<Option<Arc<Places>>, StartError> {
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
fn admin_config(config: &Config, address: SocketAddr) -> Config {
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

    /// Stops accepting, lets what is under way end within the drain timeout, then stops.
    pub async fn shutdown(self) {
        self.shutdown.begin();
        self.ended().await;
    }

    /// Completes when the node has ended, however that began.
    pub async fn ended(mut self) {
        self.shutdown.done().await;
        self.admin_shutdown.force();
        self.admin_shutdown.done().await;
        let (clients, admin, shared) = (self.clients.take(), self.admin.take(), self.shared.take());
        let (observe, edge) = (Arc::clone(&self.observe), self.edge());
        // Joining threads and closing files block.
        self.edge().encoders.close();
        let joined = tokio::task::spawn_blocking(move || {
            for running in [clients, admin].into_iter().flatten() {
                running.join();
            }
            observe.log.finish(LOG_FINISH);
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

impl Drop for Running {
    fn drop(&mut self) {
        self.shutdown.force();
        self.admin_shutdown.force();
        self.edge().encoders.close();
        if let Some(shared) = self.shared.take() {
            shared.shutdown_background();
        }
    }
}

/// What keys are hashed under where nothing outlives the process.
fn secret() -> io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut secret = [0; 32];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut secret)?;
    Ok(secret)
}

/// How often the store is looked after.
const STORE_TICK: std::time::Duration = std::time::Duration::from_secs(1);
const SHARED_THREADS: usize = 2;
/// How long what still waits for the disk may take at the end.
const SHARED_FINISH: std::time::Duration = std::time::Duration::from_secs(1);
/// How long the access log may take to write what it still holds.
const LOG_FINISH: std::time::Duration = std::time::Duration::from_secs(5);
