//! `[geo]`: the database that says where an address is. It is opened here, so that `check` finds what a start would.

use super::super::file::{Item, Section};
use super::super::mistake::Complaint;
use super::super::{Geo, GeoLayout, GeoPaths};
use super::Surroundings;

pub(super) fn geo(section: Section<'_>, around: &Surroundings) -> Option<Geo> {
    let file = section.required("database", DATABASE_EXAMPLE);
    let written = file.as_ref().and_then(|item| super::file(item, DATABASE_EXAMPLE, around));
    let layout = section.item("layout").and_then(|item| item.word(&LAYOUTS)).unwrap_or_default();
    let path = |key| section.item(key).and_then(|item| path(&item));
    let paths = GeoPaths {
        country: path("country"),
        continent: path("continent"),
        region: path("region"),
        latitude: path("latitude"),
        longitude: path("longitude"),
    };
    for (there, other) in [("latitude", "longitude"), ("longitude", "latitude")] {
        if let (Some(item), None) = (section.item(there), section.item(other)) {
            let message = format!("`{there}` is written without `{other}`");
            let help = format!("add {other} = [\"…\"]: a point needs both");
            item.tell(Complaint::new("geo-point", message, "half a point", help));
        }
    }
    section.close();
    let geo = Geo { database: written?, layout, paths };
    let item = file?;
    // A file that is not there has been told of already.
    if (around.unreadable)(&geo.database).is_none()
        && let Some(why) = (around.no_database)(&geo)
    {
        let message = format!("`{}` cannot be used: {why}", geo.database.display());
        let help = if why.contains("has a country at") {
            "write where its records keep the country, like country = [\"country_code\"], or take another database"
        } else {
            "take a country or city database in MaxMind DB format (.mmdb), unpacked"
        };
        item.tell(Complaint::new("geo-database", message, "not a database that can be used", help));
    }
    Some(geo)
}

/// The way to a value: one key, or several.
fn path(item: &Item<'_>) -> Option<Vec<Box<str>>> {
    let steps: Vec<Box<str>> =
        item.list(PATH_EXAMPLE)?.iter().filter_map(|step| Some(step.text(PATH_EXAMPLE)?.into())).collect();
    if steps.is_empty() || steps.len() > geo::PATH_STEPS_MAX || steps.iter().any(|step| step.is_empty()) {
        let message = format!("`{}` leads nowhere", item.key);
        let label = if steps.len() > geo::PATH_STEPS_MAX { "too long" } else { "empty" };
        item.tell(Complaint::new("geo-path", message, label, PATH_EXAMPLE));
        return None;
    }
    Some(steps)
}

/// Names of the layouts.
pub(in super::super) const LAYOUTS: [(&str, GeoLayout); 3] =
    [("auto", GeoLayout::Auto), ("maxmind", GeoLayout::Maxmind), ("flat", GeoLayout::Flat)];
const DATABASE_EXAMPLE: &str = "write database = \"/var/lib/tidegate/country.mmdb\"";
const PATH_EXAMPLE: &str = "write the keys that lead to it in a record, like [\"country_code\"] or [\"subdivisions\", \"0\", \"iso_code\"]";
