//! Other settings while the node runs.
//!
//! ```text
//! file ─► check ─► build what is new ─► one pointer ─► told: what changed, what needs a restart
//!           └────────────┴─ something wrong: nothing has changed, and why is told
//! ```
//!
//! Everything that can fail comes before anything takes effect. Requests under way end under the settings they began with; connections
//! and the cache know nothing of it. A pool whose settings are the same is the same pool, with its connections and its health,
//! and an access rule that says the same goes on with what it has counted.
//!
//! Invariant: the settings in force are those of the last reload that succeeded, but for what it said needs a restart: that is as
//! it was at the start, and told again by the next one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use crate::admin::AdminDoor;
use crate::config::check::{Surroundings, check};
use crate::config::load::{LoadError, load};
use crate::config::mistake::Mistakes;
use crate::config::plan::{Change, plan};
use crate::config::{Config, Listener};
use crate::listener::tls::{Certificates, TlsError};
use crate::node::{all_pools, crawlers, named};
use crate::observe::Observe;
use crate::origin::{PoolSetupError, Renewed};
use crate::places::{self, Places};
use crate::route::access::SetupError;
use crate::serve::{Current, Edge, via};

/// Takes up other settings. One reload at a time.
pub struct Reloader {
    current: Arc<Current>,
    observe: Arc<Observe>,
    /// Of each listener with TLS, as the settings name it.
    certificates: Vec<(Listener, Arc<Certificates>)>,
    door: AdminDoor,
    /// For what looks after the node.
    shared: Handle,
    /// Where the settings are; none: the node was started without a file.
    path: Option<PathBuf>,
    /// Renews the geo database in use.
    watching: Mutex<Option<AbortHandle>>,
    one: Mutex<()>,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum ReloadError {
    /// The settings file.
    #[error(transparent)]
    Settings(#[from] LoadError),
    /// A pool's certificates.
    #[error(transparent)]
    Pool(#[from] PoolSetupError),
    /// What access rules name.
    #[error(transparent)]
    Access(#[from] SetupError),
    /// A listener's certificates.
    #[error("cannot show a certificate on {address}")]
    Tls {
        /// The listener.
        address: std::net::SocketAddr,
        /// Which and why.
        source: TlsError,
    },
    /// The admin listener's tokens.
    #[error("cannot read the admin tokens")]
    Tokens(#[source] io::Error),
    /// The geo database.
    #[error("cannot use the geo database {}", path.display())]
    Geo {
        /// The file.
        path: PathBuf,
        /// Why.
        source: geo::GeoError,
    },
    /// The access log.
    #[error("cannot open the access log")]
    Log(#[source] io::Error),
}

impl Reloader {
    pub(crate) fn new(
        current: &Arc<Current>,
        observe: &Arc<Observe>,
        certificates: &[Arc<Certificates>],
        door: AdminDoor,
        shared: &Handle,
        path: Option<PathBuf>,
    ) -> Arc<Self> {
        let edge = current.load();
        let encrypted = edge.config.listeners.iter().filter(|listener| !listener.tls.is_empty()).cloned();
        let this = Self {
            current: Arc::clone(current),
            observe: Arc::clone(observe),
            certificates: encrypted.zip(certificates.iter().map(Arc::clone)).collect(),
            door,
            shared: shared.clone(),
            path,
            watching: Mutex::default(),
            one: Mutex::default(),
        };
        this.watch(edge.places.as_ref());
        Arc::new(this)
    }

    /// Reads the settings file again and takes up what it says; without one, what the settings name: certificates, tokens, the geo
    /// database. Returns what changed. Blocks.
    ///
    /// # Errors
    /// [`ReloadError`]: everything is as before.
    pub fn reload(&self) -> Result<Vec<Change>, ReloadError> {
        // Before the file is read: of two reloads at once, the one that has read it last is to be the last.
        let one = self.one.lock();
        let reloaded = match &self.path {
            Some(path) => {
                load(Some(path)).map_err(ReloadError::from).and_then(|loaded| self.take_up(loaded.config))
            }
            None => self.take_up(Config::clone(&self.current.load().config)),
        };
        drop(one);
        match &reloaded {
            Ok(changes) => {
                tracing::info!(changes = changes.len(), "settings reloaded");
                for Change { place, what, restart } in changes {
                    let restart = if *restart { "; needs a restart" } else { "" };
                    tracing::info!("{place}: {what}{restart}");
                }
            }
            Err(error) => tracing::error!(error = told(error), "settings not reloaded; those in force stay"),
        }
        reloaded
    }

    /// What reloading these settings would change, as if they stood in the settings file.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn plan(&self, text: &str) -> Result<Vec<Change>, Mistakes> {
        let path = self.path.as_deref().unwrap_or(Path::new("settings"));
        let around = Surroundings::here(path.parent().unwrap_or(Path::new("")));
        let config = check(&path.display().to_string(), text, &around)?;
        Ok(plan(&self.current.load().config, &named(config)))
    }

    /// Takes up these settings, as far as a running node can. Returns what is different in them. Blocks.
    ///
    /// # Errors
    /// As [`Reloader::reload`].
    pub fn apply(&self, config: Config) -> Result<Vec<Change>, ReloadError> {
        let _one = self.one.lock();
        self.take_up(config)
    }

    /// As [`Reloader::apply`], by who holds the lock.
    fn take_up(&self, config: Config) -> Result<Vec<Change>, ReloadError> {
        let old = self.current.load_full();
        let config = named(config);
        let changes = plan(&old.config, &config);
        let config = Arc::new(kept(config, &old.config));
        let Renewed { pools, fresh } = old.origins.renewed(&all_pools(&config), &old.clock)?;
        let places = renewed_places(&config, &old)?;
        let routes = old.routes.renewed(&config.sites, &self.observe.metrics)?;
        let crawlers = crawlers(&config, old.crawlers.as_deref())?;
        let mut shown = Vec::new();
        for (listener, certificates) in &self.certificates {
            let files = config.listeners.iter().find(|now| now.address == listener.address);
            let files = files.map_or(&listener.tls, |now| &now.tls);
            let read = certificates
                .read(files)
                .map_err(|source| ReloadError::Tls { address: listener.address, source })?;
            shown.push((certificates, read));
        }
        let door = self.door.read(&config.admin).map_err(ReloadError::Tokens)?;
        self.observe.log.change(&config.log).map_err(ReloadError::Log)?;
        // From here on nothing fails.
        for (certificates, read) in shown {
            certificates.show(read);
        }
        self.door.replace(door);
        {
            let _shared = self.shared.enter();
            fresh.watch();
        }
        old.origins.retire(&pools);
        old.refreshes.limit(config.purge.refresh_per_second);
        let is_watched = match (&places, &old.places) {
            (Some(now), Some(before)) => Arc::ptr_eq(now, before),
            (None, None) => true,
            _ => false,
        };
        if !is_watched {
            self.watch(places.as_ref());
        }
        self.current.store(Arc::new(Edge {
            routes: Arc::new(routes),
            origins: Arc::new(pools),
            places,
            crawlers,
            via: via(&config.node),
            config,
            ..Edge::clone(&old)
        }));
        // What may be encoded is found out anew, by the new rules.
        old.store.forget_coding_notes();
        Ok(changes)
    }

    /// Has this database renewed from now on, and no other.
    fn watch(&self, places: Option<&Arc<Places>>) {
        let clock = self.current.load().clock.clone();
        let next = places.map(|places| self.shared.spawn(Arc::clone(places).watch(clock)).abort_handle());
        if let Some(before) = std::mem::replace(&mut *self.watching.lock(), next) {
            before.abort();
        }
    }
}

/// The new settings, with what a running node cannot take up as it is.
fn kept(config: Config, old: &Config) -> Config {
    let listeners = old.listeners.iter().map(|listener| {
        let now = config.listeners.iter().find(|now| now.address == listener.address);
        // A listener without TLS has no place for certificates.
        let tls = now.map(|now| &now.tls).filter(|tls| tls.is_empty() == listener.tls.is_empty());
        Listener { tls: tls.unwrap_or(&listener.tls).clone(), ..listener.clone() }
    });
    let mut admin = old.admin.clone();
    admin.tokens.clone_from(&config.admin.tokens);
    let mut purge = old.purge.clone();
    purge.method_from.clone_from(&config.purge.method_from);
    purge.refresh_per_second = config.purge.refresh_per_second;
    Config {
        node: Arc::clone(&old.node),
        listeners: listeners.collect(),
        admin,
        cache: old.cache.clone(),
        purge,
        tier: old.tier.clone(),
        limits: old.limits.clone(),
        workers: old.workers,
        ..config
    }
}

/// The database of the settings: the one in use where it is the same, with its newest file.
fn renewed_places(config: &Config, old: &Edge) -> Result<Option<Arc<Places>>, ReloadError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| ReloadError::Geo { path, source }
    };
    match (&config.geo, &old.places) {
        (None, _) => Ok(None),
        (Some(settings), Some(places)) if config.geo == old.config.geo => {
            places.renew().map_err(refused(&settings.database))?;
            Ok(Some(Arc::clone(places)))
        }
        (Some(settings), _) => {
            let opened = Places::open(settings).map_err(refused(&settings.database))?;
            Ok(Some(Arc::new(opened)))
        }
    }
}

/// An error and what is behind it, in one line.
pub(crate) fn told(error: &ReloadError) -> String {
    if let ReloadError::Geo { source, .. } = error {
        return format!("{error}: {}", places::told(source));
    }
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
