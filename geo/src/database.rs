//! One database file: opened, verified, looked up.
//!
//! The file is read, not mapped: a country database is a few MB and one of cities 60, and a mapped file that somebody
//! copies another over (`cp`, `rsync --inplace`) ends the process at its next look-up. Everything in it is verified
//! before it is used (all nodes, all records), and what cannot be read at a look-up all the same counts as unknown.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::net::IpAddr;
use std::path::Path;

use maxminddb::{LookupResult, MaxMindDbError, PathElement, Reader, WithinOptions};
use serde::de::IgnoredAny;

use crate::error::GeoError;
use crate::place::{Code, Coordinates, Place};

/// A verified database.
#[derive(Debug)]
pub(crate) struct Database {
    reader: Reader<Vec<u8>>,
    layout: Layout,
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
    /// Opens and verifies; reads the whole file once. The first of `layouts` that has a country is its layout.
    pub(crate) fn open(path: &Path, layouts: &[Layout]) -> Result<Self, GeoError> {
        let reader = Reader::from_source(read(path)?).map_err(GeoError::Damaged)?;
        verify(&reader).map_err(GeoError::Damaged)?;
        if let Some(layout) = layouts.iter().find_map(|layout| fitted(&reader, layout)) {
            return Ok(Self { reader, layout });
        }
        let places: Vec<_> = layouts.iter().map(|layout| described(&layout.country)).collect();
        Err(GeoError::NoCountry { kind: reader.metadata().database_type.clone(), path: places.join(" or ") })
    }

    pub(crate) fn locate(&self, address: IpAddr) -> Option<Place> {
        // An IPv6 address in an IPv4 database is an error to the reader and unknown to us.
        let found = self.reader.lookup(address).ok()?;
        let place = place(&found, &self.layout)?;
        (!place.is_empty()).then_some(place)
    }

    pub(crate) fn built_at_secs(&self) -> u64 {
        self.reader.metadata().build_epoch
    }

    /// Whether it knows where on the globe anything is.
    pub(crate) const fn has_points(&self) -> bool {
        !self.layout.latitude.is_empty()
    }

    pub(crate) fn kind(&self) -> &str {
        &self.reader.metadata().database_type
    }
}

fn read(path: &Path) -> Result<Vec<u8>, GeoError> {
    let file = File::open(path).map_err(GeoError::Open)?;
    if file.metadata().map_err(GeoError::Open)?.is_dir() {
        return Err(GeoError::Open(io::ErrorKind::IsADirectory.into()));
    }
    let mut bytes = Vec::new();
    file.take(DATABASE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(GeoError::Open)?;
    if bytes.len() as u64 > DATABASE_BYTES_MAX {
        return Err(GeoError::TooLarge);
    }
    Ok(bytes)
}

/// Reads the whole tree and every record in it. Not the library's own `verify`: that refuses databases without a description, and
/// DB-IP's mirrors have none.
fn verify(reader: &Reader<Vec<u8>>) -> Result<(), MaxMindDbError> {
    let damaged = |what: &str| Err(MaxMindDbError::invalid_database(what));
    // Each node has two sides, and one that leads back would be walked for ever.
    let sides_max = u64::from(reader.metadata().node_count).saturating_mul(3);
    let mut sides = 0_u64;
    let mut seen = HashSet::new();
    for found in reader.networks(WithinOptions::default().include_networks_without_data())? {
        let found = found?;
        sides = sides.saturating_add(1);
        if sides > sides_max {
            return damaged("its tree runs in a circle");
        }
        // Many networks share a record.
        if found.offset().is_some_and(|offset| seen.insert(offset)) {
            found.decode::<IgnoredAny>()?;
        }
    }
    if seen.is_empty() {
        return damaged("no address is in it");
    }
    Ok(())
}

/// The layout without the paths that lead nowhere in this database, so that a look-up does not go them each time; `None` where it
/// does not fit, for a wrong one would silently locate nobody.
fn fitted(reader: &Reader<Vec<u8>>, layout: &Layout) -> Option<Layout> {
    let mut fits = Place::default();
    let mut seen = HashSet::new();
    for found in reader.networks(WithinOptions::default()).ok()?.flatten() {
        if !found.offset().is_some_and(|offset| seen.insert(offset)) {
            continue;
        }
        let place = place(&found, layout).unwrap_or_default();
        fits.country = fits.country.or(place.country);
        fits.continent = fits.continent.or(place.continent);
        fits.region = fits.region.or(place.region);
        fits.coordinates = fits.coordinates.or(place.coordinates);
        if fits.country.and(fits.continent).and(fits.region).is_some() && fits.coordinates.is_some() {
            break;
        }
    }
    fits.country?;
    let kept = |path: &Vec<PathStep>, fits: bool| if fits { path.clone() } else { Vec::new() };
    Some(Layout {
        country: layout.country.clone(),
        continent: kept(&layout.continent, fits.continent.is_some()),
        region: kept(&layout.region, fits.region.is_some()),
        latitude: kept(&layout.latitude, fits.coordinates.is_some()),
        longitude: kept(&layout.longitude, fits.coordinates.is_some()),
    })
}

fn place(found: &LookupResult<'_, Vec<u8>>, layout: &Layout) -> Option<Place> {
    found.has_data().then(|| Place {
        country: code(found, &layout.country),
        continent: code(found, &layout.continent),
        region: code(found, &layout.region),
        coordinates: number(found, &layout.latitude)
            .and_then(|latitude| Some((latitude, number(found, &layout.longitude)?)))
            .and_then(|(latitude, longitude)| Coordinates::new(latitude, longitude)),
    })
}

fn code(found: &LookupResult<'_, Vec<u8>>, path: &[PathStep]) -> Option<Code> {
    with_path(path, |path| found.decode_path::<&str>(path).ok().flatten()).and_then(Code::new)
}

fn number(found: &LookupResult<'_, Vec<u8>>, path: &[PathStep]) -> Option<f64> {
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
pub const PATH_STEPS_MAX: usize = 8;
/// Bytes of a database; the largest known have a few hundred million.
pub const DATABASE_BYTES_MAX: u64 = 1 << 30;
