//! Where clients are: the node's geo database, kept up to date.
//!
//! Opened at start; its directory is watched (`watch.rs`), and a new file takes the old one's place at once, once all of it has
//! been verified. One that cannot be used is refused, logged, counted and told by `/ready`, and the old one stays. Asked by
//! `serve` for steering, access and the log; a look-up takes no lock.
//!
//! Invariant: what an address is located by comes from a connection, or from a proxy that is trusted to name it; never from a
//! field that a client can write.

use std::fs;
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cache_store::timestamp::Timestamp;
use geo::{Geo, GeoError, Place};
use parking_lot::Mutex;

use crate::clock::Clock;
use crate::config;
use crate::config::limits::DATABASE_SETTLE;
use crate::listener::request::Client;
use crate::watch::Watch;

/// The database in use.
#[derive(Debug)]
pub struct Places {
    geo: Geo,
    path: PathBuf,
    /// The file that was read last, whether it could be used or not.
    seen: Mutex<Option<Seen>>,
    /// Why the newest file is not used, if so.
    trouble: Mutex<Option<String>>,
    reloads: AtomicU64,
    refused: AtomicU64,
}

/// What tells one version of a file from another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Seen {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

/// Figures for metrics.
#[derive(Clone, Copy, Debug)]
pub struct PlacesUsage {
    /// Seconds since the database was built.
    pub age_seconds: u64,
    /// New files that took the old one's place.
    pub reloads: u64,
    /// New files that were refused.
    pub refused: u64,
}

impl Places {
    /// Opens the database of the settings.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn open(settings: &config::Geo) -> Result<Self, GeoError> {
        let path = settings.database.clone();
        let seen = Seen::of(&path).ok();
        Ok(Self {
            geo: Geo::open_any(&path, settings.layouts())?,
            path,
            seen: Mutex::new(seen),
            trouble: Mutex::default(),
            reloads: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        })
    }

    /// Where an address is, if the database says so.
    pub fn locate(&self, address: IpAddr) -> Option<Place> {
        self.geo.locate(address)
    }

    /// Where a client is; looked up once a connection.
    #[inline]
    pub fn locate_client(&self, client: &Client) -> Option<Place> {
        client.place(|address| self.locate(address))
    }

    /// Takes the file at the database's path where it is another than the one read last. Blocks for as long as reading it takes.
    ///
    /// # Errors
    /// It cannot be used; the database in use stays.
    pub fn renew(&self) -> Result<(), GeoError> {
        // Two at once would read it twice, and the older could win.
        let mut seen = self.seen.lock();
        let now = Seen::of(&self.path);
        if now.as_ref().ok() == seen.as_ref() && seen.is_some() {
            return Ok(());
        }
        // Between two steps of a replacement there is no file: what is in use is not the worse for it.
        if now.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound) {
            return Ok(());
        }
        *seen = now.ok();
        match self.geo.reload(&self.path) {
            Ok(()) => {
                self.reloads.fetch_add(1, Ordering::Relaxed);
                *self.trouble.lock() = None;
                tracing::info!(path = %self.path.display(), kind = %self.geo.kind(), "a new geo database is in use");
                Ok(())
            }
            Err(error) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                let why = told(&error);
                tracing::error!(path = %self.path.display(), %why, "a new geo database is refused, the old one stays");
                *self.trouble.lock() = Some(why);
                Err(error)
            }
        }
    }

    /// Renews it whenever its directory changes, for ever. Where that cannot be watched it says so, and only HUP renews.
    pub async fn watch(self: Arc<Self>, clock: Clock) {
        let directory = match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let watch = match Watch::over([directory]) {
            Ok(watch) => watch,
            Err(error) => {
                tracing::warn!(%error, "the geo database is not watched; send HUP after it was replaced");
                return;
            }
        };
        loop {
            // At once, for what was replaced before it was watched.
            let places = Arc::clone(&self);
            // What went wrong has been logged; a panic has been reported by the panic hook.
            drop(tokio::task::spawn_blocking(move || places.renew()).await);
            watch.changed().await;
            clock.sleep(DATABASE_SETTLE).await;
        }
    }

    /// Whether it knows points on the globe, as steering to the nearest pool needs them.
    pub fn has_points(&self) -> bool {
        self.geo.has_points()
    }

    /// Figures for metrics; `wall` is the time by the wall.
    pub fn usage(&self, wall: Timestamp) -> PlacesUsage {
        PlacesUsage {
            age_seconds: (wall.as_millis() / 1000).saturating_sub(self.geo.built_at_secs()),
            reloads: self.reloads.load(Ordering::Relaxed),
            refused: self.refused.load(Ordering::Relaxed),
        }
    }

    /// What ails it, for people.
    pub fn ailment(&self) -> Option<String> {
        let trouble = self.trouble.lock();
        trouble.as_ref().map(|why| format!("geo: the new database is refused, the old one stays: {why}"))
    }
}

impl Seen {
    fn of(path: &Path) -> io::Result<Self> {
        let found = fs::metadata(path)?;
        Ok(Self { inode: found.ino(), bytes: found.len(), modified: (found.mtime(), found.mtime_nsec()) })
    }
}

/// An error and what is behind it, in one line.
pub fn told(error: &GeoError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
