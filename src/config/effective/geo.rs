//! `[geo]`, written back.

use super::super::Geo;
use super::super::check::LAYOUTS;
use super::{Page, named, quoted, strings};

impl Page {
    pub(super) fn geo(&mut self, geo: &Geo) {
        self.table("[geo]");
        self.line("database", &quoted(&geo.database.display().to_string()));
        self.line("layout", &named(&LAYOUTS, &geo.layout));
        for (key, path) in [
            ("country", &geo.paths.country),
            ("continent", &geo.paths.continent),
            ("region", &geo.paths.region),
            ("latitude", &geo.paths.latitude),
            ("longitude", &geo.paths.longitude),
        ] {
            if let Some(path) = path {
                self.line(key, &strings(path.iter()));
            }
        }
    }
}
