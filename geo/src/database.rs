//! One database file: opened, verified, looked up.
//!
//! The file is mapped, not read: a city database is 60 MB of which a node touches little, and all workers share its
//! pages. Everything in it is verified before it is used (all nodes, all records), and what cannot be read at a
//! look-up all the same counts as unknown.

use std::net::IpAddr;
use std::path::Path;

use maxminddb::{LookupResult, Mmap, PathElement, Reader, WithinOptions};

use crate::error::GeoError;
use crate::place::{Code, Coordinates, Place};

/// A verified database.
#[derive(Debug)]
pub(crate) struct Database {
    reader: Reader<Mmap>,
}

/// Where a database keeps what. A path leads from the record to the value; an empty one: it is not looked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The country's code.
    pub country: Vec<PathStep>,
    /// The continent's code.
    pub continent: Vec<PathStep>,
    /// The region's code.
    pub region: Vec<PathStep>,
    /// Degrees north.
    pub latitude: Vec<PathStep>,
    /// Degrees east.
    pub longitude: Vec<PathStep>,
}

/// A step on the way to a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathStep {
    /// Into a map, by key.
    Key(Box<str>),
    /// Into a list, counted from 0.
    Index(usize),
}

impl Layout {
    /// As MaxMind's databases have it: `country.iso_code`.
    pub fn maxmind() -> Self {
        Self {
            country: keys(&["country", "iso_code"]),
            continent: keys(&["continent", "code"]),
            region: vec![
                PathStep::Key("subdivisions".into()),
                PathStep::Index(0),
                PathStep::Key("iso_code".into()),
            ],
            latitude: keys(&["location", "latitude"]),
            longitude: keys(&["location", "longitude"]),
        }
    }

    /// As the flat databases have it: `country_code`, `latitude`.
    pub fn flat() -> Self {
        Self {
            country: keys(&["country_code"]),
            continent: keys(&["continent_code"]),
            region: keys(&["region_code"]),
            latitude: keys(&["latitude"]),
            longitude: keys(&["longitude"]),
        }
    }

    /// The layout whose country is at this path of keys: flat for a path of one key, else MaxMind's.
    pub fn with_country<S: AsRef<str>>(country: &[S]) -> Self {
        let base = if country.len() == 1 { Self::flat() } else { Self::maxmind() };
        Self { country: keys(country), ..base }
    }
}

fn keys<S: AsRef<str>>(path: &[S]) -> Vec<PathStep> {
    path.iter().map(|key| PathStep::Key(key.as_ref().into())).collect()
}

impl Database {
    /// Opens and verifies; reads the whole file once.
    pub(crate) fn open(path: &Path, layout: &Layout) -> Result<Self, GeoError> {
        // SAFETY: a mapping is sound as long as nobody changes or shortens the file under it. Our contract with the
        // operator, told at `Geo::open` and in the settings, is that a database is replaced by renaming a new file over
        // it, as every update tool does; then this mapping keeps the old file, unchanged, until it is dropped.
        #[allow(unsafe_code)]
        let reader = unsafe { Reader::open_mmap(path) };
        let reader = reader.map_err(|error| match error {
            maxminddb::MaxMindDbError::Io(_) | maxminddb::MaxMindDbError::Mmap(_) => GeoError::Open(error),
            other => GeoError::Damaged(other),
        })?;
        reader.verify().map_err(GeoError::Damaged)?;
        let database = Self { reader };
        if database.has_a_country(layout) {
            return Ok(database);
        }
        Err(GeoError::NoCountry {
            kind: database.reader.metadata().database_type.clone(),
            path: described(&layout.country),
        })
    }

    pub(crate) fn locate(&self, address: IpAddr, layout: &Layout) -> Option<Place> {
        // An IPv6 address in an IPv4 database is an error to the reader and unknown to us.
        let found = self.reader.lookup(address).ok()?;
        let place = place(&found, layout)?;
        (!place.is_empty()).then_some(place)
    }

    pub(crate) fn built_at_secs(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// Whether the layout fits: a wrong one would silently locate nobody.
    fn has_a_country(&self, layout: &Layout) -> bool {
        let Ok(networks) = self.reader.networks(WithinOptions::default()) else { return false };
        networks.flatten().any(|found| code(&found, &layout.country).is_some())
    }
}

fn place(found: &LookupResult<'_, Mmap>, layout: &Layout) -> Option<Place> {
    found.has_data().then(|| Place {
        country: code(found, &layout.country),
        continent: code(found, &layout.continent),
        region: code(found, &layout.region),
        coordinates: number(found, &layout.latitude)
            .zip(number(found, &layout.longitude))
            .and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude)),
    })
}

fn code(found: &LookupResult<'_, Mmap>, path: &[PathStep]) -> Option<Code> {
    with_path(path, |path| found.decode_path::<&str>(path).ok().flatten()).and_then(Code::new)
}

fn number(found: &LookupResult<'_, Mmap>, path: &[PathStep]) -> Option<f64> {
    with_path(path, |path| found.decode_path::<f64>(path).ok().flatten())
}

/// Hands on a path as the reader wants it, without allocating; nothing for an empty one, or one deeper than
/// [`PATH_STEPS_MAX`].
fn with_path<T>(path: &[PathStep], read: impl FnOnce(&[PathElement<'_>]) -> Option<T>) -> Option<T> {
    let mut steps = [const { PathElement::Index(0) }; PATH_STEPS_MAX];
    let used = steps.get_mut(..path.len()).filter(|used| !used.is_empty())?;
    for (slot, step) in used.iter_mut().zip(path) {
        *slot = match step {
            PathStep::Key(key) => PathElement::Key(key),
            PathStep::Index(index) => PathElement::Index(*index),
        };
    }
    read(used)
}

fn described(path: &[PathStep]) -> String {
    let steps: Vec<_> = path
        .iter()
        .map(|step| match step {
            PathStep::Key(key) => key.to_string(),
            PathStep::Index(index) => index.to_string(),
        })
        .collect();
    steps.join(".")
}

/// Steps of a path; no database known goes deeper than three.
const PATH_STEPS_MAX: usize = 8;
