//! From settings to a node that serves, in steps that a process which takes over from another waits between.
//!
//! ```text
//! Prepared: all that can be wrong in the settings, sockets bound, certificates read; the cache is not touched
//!    └─ open ──► Opened: the store and the threads stand behind a shut gate
//!                   └─ serve ──► Running
//! ```
//!
//! Invariant: what is dropped before it serves has answered nobody and changed nothing that outlives it.

use std::path::PathBuf;
use std::sync::Arc;

use cache_store::store::{CacheStore, Settings};
use cache_store::tiers::disk::Disk;
use purge_api::bus::Standing;
use tokio::runtime::{Builder, Runtime};

use crate::admin::{AdminDoor, AdminService, Operations};
use crate::clock::Clock;
use crate::config::{AdminAddress, Config, DiskCache};
use crate::encode::Encoders;
use crate::fleet::Fleet;
use crate::gate::Gate;
use crate::handover::{Facts, Upgrader};
use crate::listener::sockets::{Inherited, OpenSockets, Purpose};
use crate::listener::{self, Bound, Workers};
use crate::node::{
    Running, StartError, admin_config, all_pools, attend, crawlers, join_fleet, named, node_now, places,
    secret,
};
use crate::observe::Observe;
use crate::origin::OriginPools;
use crate::origin::parent::Parents;
use crate::origin::parent::proof::Children;
use crate::places::Places;
use crate::reload::Reloader;
use crate::route::RouteTable;
use crate::serve::{Crawlers, Current, Edge, Purging, Refreshes, WalkService, via};
use crate::shutdown::Shutdown;

/// A node whose settings can be served, before its store is opened.
pub struct Prepared {
    config: Arc<Config>,
    clock: Clock,
    shared: Runtime,
    observe: Arc<Observe>,
    routes: RouteTable,
    origins: OriginPools,
    places: Option<Arc<Places>>,
    crawlers: Option<Arc<Crawlers>>,
    parents: Option<Parents>,
    children: Option<Children>,
    door: AdminDoor,
    clients: Bound,
    admin: Option<(Arc<Config>, Bound)>,
}

/// A node that stands and lets nobody in yet.
pub struct Opened {
    running: Running,
    gate: Gate,
    shared: Runtime,
    facts: Facts,
    sockets: Vec<Arc<OpenSockets>>,
}

impl Prepared {
    /// Makes everything that needs no store, with the sockets that another process handed over where there are some.
    ///
    /// # Errors
    /// [`StartError`]: then nothing is left running.
    pub fn new(config: Config, clock: Clock, inherited: &Inherited) -> Result<Self, StartError> {
        let shared = Builder::new_multi_thread()
            .worker_threads(SHARED_THREADS)
            .thread_name("shared")
            .enable_all()
            .build()
            .map_err(StartError::System)?;
        let config = Arc::new(named(config));
        let observe = Arc::new(Observe::start(&config, &clock).map_err(StartError::Log)?);
        let admin = match &config.admin.address {
            None => None,
            Some(AdminAddress::Unix(_)) => return Err(StartError::UnixAdmin),
            Some(AdminAddress::Tcp(address)) => Some(Arc::new(admin_config(&config, *address))),
        };
        // Of no use to what is bound here; the threads bring their own.
        let (gate, shutdown) = (Gate::shut(), Shutdown::new());
        let workers = |config| Workers {
            config,
            clock: &clock,
            shutdown: &shutdown,
            shared: shared.handle(),
            gate: &gate,
        };
        let clients = workers(&config).bind(Purpose::Clients, inherited)?;
        let admin = match &admin {
            Some(settings) => {
                Some((Arc::clone(settings), workers(settings).bind(Purpose::Admin, inherited)?))
            }
            None => None,
        };
        Ok(Self {
            routes: RouteTable::counted(&config.sites, &observe.metrics)?,
            origins: OriginPools::new(&all_pools(&config), &clock)?,
            places: places(&config)?,
            crawlers: crawlers(&config, None)?,
            parents: Parents::new(&config.tier).map_err(StartError::TierKey)?,
            children: Children::new(&config.tier).map_err(StartError::TierKey)?,
            door: AdminDoor::open(&config.admin).map_err(StartError::Tokens)?,
            clients,
            admin,
            observe,
            shared,
            clock,
            config,
        })
    }

    /// Opens the store and starts the threads. `path` is where a reload finds the settings, `facts` what a process before this one
    /// knew.
    ///
    /// # Errors
    /// [`StartError`]: then nothing is left running.
    pub fn open(self, path: Option<PathBuf>, facts: Facts) -> Result<Opened, StartError> {
        let Self { config, clock, shared, observe, clients, admin, door, .. } = self;
        let disk = match &config.cache.disk {
            None => None,
            Some(DiskCache { path, bytes, admission }) => Some(
                Disk::open(path, *bytes, shared.handle().clone(), clock.wall())
                    .map_err(|source| StartError::Disk { path: path.clone(), source })?
                    .admitting(*admission),
            ),
        };
        if disk.as_ref().is_some_and(Disk::is_doubtful) {
            tracing::warn!(
                "the log of purges may lack some: what was stored is stale until the origin has confirmed it"
            );
        }
        let settings = Settings {
            memory_bytes: usize::try_from(config.cache.memory_bytes).unwrap_or(usize::MAX),
            memory_admission: config.cache.memory_admission,
            object_bytes_max: config.cache.object_bytes_max,
            secret: match &disk {
                Some(disk) => disk.secret(),
                None => facts.secret().map_or_else(secret, Ok).map_err(StartError::System)?,
            },
        };
        for (pool, origin) in &facts.drained {
            if self.origins.drain(pool, origin, true).is_some() {
                tracing::info!(%pool, %origin, "still taken out by hand");
            }
        }
        let store = CacheStore::over(&settings, disk);
        let standing = Arc::new(Standing::new(Arc::clone(store.purge_log())));
        let fleet = Fleet::new(&config, &store, &standing, &clock);
        let (shutdown, admin_shutdown) = (Shutdown::new(), Shutdown::new());
        let edge = Arc::new(Edge {
            via: via(&config.node),
            routes: Arc::new(self.routes),
            standing,
            fleet,
            origins: Arc::new(self.origins),
            places: self.places,
            crawlers: self.crawlers,
            parents: self.parents.map(Arc::new),
            children: self.children.map(Arc::new),
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
        let gate = Gate::shut();
        let sockets = clients.sockets().iter().chain(admin.iter().flat_map(|(_, bound)| bound.sockets()));
        let sockets: Vec<_> = sockets.map(Arc::clone).collect();
        let upgrader = Upgrader::new(&current, settings.secret, sockets.clone(), &shutdown, &admin_shutdown);
        let clients = {
            let (current, observe) = (Arc::clone(&current), Arc::clone(&observe));
            Workers {
                config: &config,
                clock: &clock,
                shutdown: &shutdown,
                shared: shared.handle(),
                gate: &gate,
            }
            .start(clients, move |worker| WalkService::new(Arc::clone(&current), &observe, worker))?
        };
        drop(edge.listeners.set(clients.stats().to_vec()));
        let reloader =
            Reloader::new(&current, &observe, clients.certificates(), door.clone(), shared.handle(), path);
        let mut running = Running {
            reloader: Arc::clone(&reloader),
            upgrader: Arc::clone(&upgrader),
            current: Arc::clone(&current),
            clients: Some(clients),
            admin: None,
            observe: Arc::clone(&observe),
            shutdown,
            admin_shutdown: admin_shutdown.clone(),
            shared: None,
        };
        if let Some((settings, bound)) = admin {
            let operations = Operations { reloader, upgrader };
            let service =
                AdminService::new(door, node_now(&current), Some(operations), observe, clock.clone());
            let workers = Workers {
                config: &settings,
                clock: &clock,
                shutdown: &admin_shutdown,
                shared: shared.handle(),
                gate: &gate,
            };
            running.admin = Some(workers.start(bound, move |_| service.clone())?);
        }
        Ok(Opened { running, gate, shared, facts, sockets })
    }
}

impl Opened {
    /// The store.
    pub fn store(&self) -> Arc<CacheStore> {
        Arc::clone(&self.running.current.load().store)
    }

    /// Lets everybody in.
    ///
    /// # Errors
    /// An address is taken after all; then nothing is left running.
    pub fn serve(self) -> Result<Running, StartError> {
        let Self { mut running, gate, shared, facts, sockets } = self;
        for open in sockets {
            open.listen()
                .map_err(|source| listener::StartError::Listen { address: open.address(), source })?;
        }
        let current = Arc::clone(&running.current);
        let edge = current.load_full();
        join_fleet(&current, &edge, &shared);
        edge.fleet.take_up(&facts.heard);
        gate.open();
        attend(&current, &running.observe, &shared, edge.clock.clone());
        running.shared = Some(shared);
        Ok(running)
    }
}

const SHARED_THREADS: usize = 2;
