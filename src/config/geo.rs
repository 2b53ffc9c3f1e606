//! `[geo]` as meant: which database says where an address is.

use std::path::PathBuf;

/// The database of places.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Geo {
    /// A file in MaxMind DB format, read at start and again when it changes.
    pub database: PathBuf,
    /// How its records are laid out.
    pub layout: GeoLayout,
    /// Where a record keeps what, as far as that was written and is not the layout's own.
    pub paths: GeoPaths,
}

/// Layouts of databases.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum GeoLayout {
    /// Whichever of the two has a country.
    #[default]
    Auto,
    /// MaxMind's and DB-IP's own: `country.iso_code`.
    Maxmind,
    /// `country_code`.
    Flat,
}

/// Ways from a record to its values, each a list of keys; a number is an index into a list.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct GeoPaths {
    /// ISO 3166-1 alpha-2 code of the country.
    pub country: Option<Vec<Box<str>>>,
    /// Two letters of the continent.
    pub continent: Option<Vec<Box<str>>>,
    /// The part of an ISO 3166-2 code behind the country.
    pub region: Option<Vec<Box<str>>>,
    /// Degrees north.
    pub latitude: Option<Vec<Box<str>>>,
    /// Degrees east.
    pub longitude: Option<Vec<Box<str>>>,
}

impl Geo {
    /// The layouts to try, in this order.
    pub fn layouts(&self) -> Vec<geo::Layout> {
        let flat = || self.over(geo::Layout::flat());
        let maxmind = || self.over(geo::Layout::maxmind());
        match self.layout {
            GeoLayout::Maxmind => vec![maxmind()],
            GeoLayout::Flat => vec![flat()],
            // Whoever names the country's place has said which of the two it is.
            GeoLayout::Auto => match &self.paths.country {
                Some(country) if country.len() == 1 => vec![flat()],
                Some(_) => vec![maxmind()],
                None => vec![maxmind(), flat()],
            },
        }
    }

    /// The written paths laid over `layout`.
    fn over(&self, mut layout: geo::Layout) -> geo::Layout {
        for (written, place) in [
            (&self.paths.country, &mut layout.country),
            (&self.paths.continent, &mut layout.continent),
            (&self.paths.region, &mut layout.region),
            (&self.paths.latitude, &mut layout.latitude),
            (&self.paths.longitude, &mut layout.longitude),
        ] {
            if let Some(written) = written {
                *place = written.iter().map(|step| step_of(step)).collect();
            }
        }
        layout
    }
}

fn step_of(step: &str) -> geo::PathStep {
    step.parse().map_or_else(|_| geo::PathStep::Key(step.into()), geo::PathStep::Index)
}
