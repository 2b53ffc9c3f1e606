//! An address in, a place out: where a client is, for choosing the pool that answers it.
//!
//! ```text
//! IpAddr ─► Geo::locate ─► Place ─► country in a rule | distance to a pool
//! ```
//!
//! [`Geo`] holds one database (`database.rs`) behind an atomic pointer: a look-up takes no lock, and
//! [`Geo::reload`] puts a new file in place of the old one only after all of it has been verified. Databases
//! keep things in different places (MaxMind `country.iso_code`, DB-IP `country_code`), so where is a setting:
//! [`Layout`].
//!
//! Invariant: no file and no address makes this crate panic; an address that is in no database has no place, which
//! is an answer and not an error.
//! Deliberately absent: HTTP, async, and whose address it is (the listener knows which proxies it may believe).

mod database;
mod distance;
mod error;
mod place;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;

pub use database::{DATABASE_BYTES_MAX, Layout, PATH_STEPS_MAX, PathStep};
pub use distance::{EARTH_RADIUS_KM, kilometres, nearest};
pub use error::GeoError;
pub use place::{Code, Coordinates, Place};

use database::Database;

/// Where addresses are.
#[derive(Debug)]
pub struct Geo {
    database: ArcSwap<Database>,
    layouts: Vec<Layout>,
}

impl Geo {
    /// Opens and verifies a database file in MaxMind DB format, and reads it into memory.
    ///
    /// # Errors
    /// [`GeoError`]: the file cannot be read, is damaged, or has no country where `layout` says.
    pub fn open(path: &Path, layout: Layout) -> Result<Self, GeoError> {
        Self::open_any(path, vec![layout])
    }

    /// The same for a database that may have any of these layouts; the first that has a country is taken, anew at
    /// each [`Geo::reload`].
    ///
    /// # Errors
    /// As [`Geo::open`].
    pub fn open_any(path: &Path, layouts: Vec<Layout>) -> Result<Self, GeoError> {
        let database = Database::open(path, &layouts)?;
        Ok(Self { database: ArcSwap::from_pointee(database), layouts })
    }

    /// Puts the file at `path` in place of the one in use, once it is verified. Takes as long as reading the file; not
    /// for a worker thread.
    ///
    /// # Errors
    /// As [`Geo::open`]; the database in use stays.
    pub fn reload(&self, path: &Path) -> Result<(), GeoError> {
        let database = Database::open(path, &self.layouts)?;
        self.database.store(Arc::new(database));
        Ok(())
    }

    /// Where an address is, or `None` if the database does not say. An IPv4-mapped IPv6 address counts as IPv4.
    /// About 100 ns with a country, no allocation.
    pub fn locate(&self, address: IpAddr) -> Option<Place> {
        self.database.load().locate(address.to_canonical())
    }

    /// When the database in use was built, seconds since 1970.
    pub fn built_at_secs(&self) -> u64 {
        self.database.load().built_at_secs()
    }

    /// Whether the database in use knows where on the globe anything is; one of countries does not.
    pub fn has_points(&self) -> bool {
        self.database.load().has_points()
    }

    /// What the database in use calls itself.
    pub fn kind(&self) -> String {
        self.database.load().kind().to_owned()
    }
}
