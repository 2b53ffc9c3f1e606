//! What the demo shows of steering: readers somewhere on the globe, a canary and a failover, all on this machine.
//!
//! A small database ([`DATABASE`]) says that 127.0.0.1 is in Germany, 127.0.0.2 in the United States and 127.0.0.3 in Japan; clients
//! on this machine can call from each of them (`curl --interface 127.0.0.2`). Each of the site's two origins is a
//! pool of its own beside the one of both, and two pages that are never stored go to one of them: `/where` by place,
//! `/canary` by weight.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use geo::{Code, Coordinates};

use crate::config::{
    By, Conditions, Config, Geo, GeoLayout, GeoPaths, PathPattern, PlaceRule, Pool, Route, RoutePolicy,
    Shares, Steer, Steering,
};

/// A directory with the database, removed when this is dropped.
#[derive(Debug)]
pub struct Atlas(PathBuf);

impl Atlas {
    /// Writes it.
    ///
    /// # Errors
    /// The directory for such files takes none.
    pub fn write() -> io::Result<Self> {
        let directory = std::env::temp_dir().join(format!("tidegate-demo-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let atlas = Self(directory);
        fs::write(atlas.database(), DATABASE)?;
        Ok(atlas)
    }

    fn database(&self) -> PathBuf {
        self.0.join("places.mmdb")
    }

    /// Adds the pools `quay` and `pier` and the routes to `config`, whose pool `main` has both origins.
    pub fn steer(&self, config: &mut Config) {
        let (geo, layout) = (self.database(), GeoLayout::Auto);
        config.geo = Some(Geo { database: geo, layout, paths: GeoPaths::default() });
        let Some(main) = config.pools.get("main").cloned() else { return };
        for ((name, latitude, longitude), origin) in BERTHS.into_iter().zip(&main.origins) {
            let name: Arc<str> = name.into();
            let pool = Pool {
                name: Arc::clone(&name),
                origins: vec![origin.clone()],
                location: Coordinates::new(latitude, longitude),
                // One failure is enough to look elsewhere.
                eject_after: 1,
                ..main.clone()
            };
            config.pools.insert(name, pool);
        }
        let Some(site) = config.sites.first_mut() else { return };
        let rule = PlaceRule {
            countries: ["US", "CA"].into_iter().filter_map(Code::new).collect(),
            continents: Vec::new(),
            regions: Vec::new(),
            pool: PIER.into(),
        };
        let by_place = By::Geo { rules: vec![rule], otherwise: QUAY.into() };
        let shares = Shares::new(vec![(QUAY.into(), 95), (PIER.into(), 5)]);
        let by_weight = By::Weight { shares: Arc::new(shares), sticky: None };
        for (path, by) in [(WHERE, by_place), (CANARY, by_weight)] {
            let steering = Steering { by, fallback: vec![QUAY.into(), PIER.into()], split: false };
            let steer = Steer::By(Arc::new(steering));
            let policy = Arc::new(RoutePolicy { steer, ..RoutePolicy::clone(&site.defaults) });
            site.routes.insert(
                0,
                Route {
                    path: PathPattern::Exact(path.into()),
                    methods: Vec::new(),
                    conditions: Conditions::default(),
                    policy,
                },
            );
        }
    }
}

impl Drop for Atlas {
    fn drop(&mut self) {
        remove(&self.0);
    }
}

/// What is left behind harms nobody.
fn remove(directory: &Path) {
    drop(fs::remove_dir_all(directory));
}

/// The page that is steered by place.
pub(super) const WHERE: &str = "/where";
/// The page that is steered by weight.
pub(super) const CANARY: &str = "/canary";
const QUAY: &str = "quay";
const PIER: &str = "pier";
/// In the order of the origins of `main`: Hamburg and New York.
const BERTHS: [(&str, f64, f64); 2] = [(QUAY, 53.54, 9.98), (PIER, 40.7, -74.02)];
/// Loopback addresses as if they were somewhere.
const DATABASE: &[u8] = include_bytes!("assets/places.mmdb");
