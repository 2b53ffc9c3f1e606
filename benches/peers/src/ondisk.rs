//! Cells about hits that lie on disk: far more objects than memory holds, asked for at random.
//!
//! Warm is with the system's page cache as the fill left it, cold with the page cache dropped before each run (which only root
//! may; the run is left out where that fails). nginx has no memory of its own for objects; the others get little. That these are
//! hits is told by the origin's counter.

use std::fs;
use std::io;
use std::process::Command;

use crate::cells::Cell;
use crate::compare::Comparison;
use crate::load::{open, wrk};
use crate::servers::Name;
use crate::table::spread;
use crate::time::pause;

impl Comparison {
    /// Disk hits of one size.
    pub(crate) fn on_disk(&self, cell: &Cell) -> io::Result<String> {
        let Cell { name, size, connections, .. } = cell;
        let objects = (BYTES / *size as u64).min(OBJECTS_MAX);
        let mut text = format!(
            "\n### {name}: {size} bytes, {objects} objects at random, {} MiB of memory for objects, {connections} connections, {} s \
             a run\n\n\
             | Server | warm CPU µs/req | req/s | to origin | cold CPU µs/req | req/s | to origin | errors |\n\
             |---|---|---|---|---|---|---|---|\n",
            MEMORY >> 20,
            self.secs
        );
        let able = |name: &&Name| matches!(name, Name::Tidegate | Name::Nginx | Name::Trafficserver);
        for name in self.names.iter().filter(able) {
            let server = self.stage.start_with(*name, false, MEMORY)?;
            let path = format!("/o/d-{{n}}?s={size}");
            // Twice: some caches keep what was asked for again.
            let rate = (FILL_BYTES_PER_SEC / *size as u64).try_into().unwrap_or(u32::MAX);
            for _ in 0..2 {
                open(server.plain, &path, rate, objects, false)?;
                server.truncate_logs();
            }
            // Nobody is to pay for the writes of the fill.
            let _ = Command::new("sync").status();
            pause(2000);
            let base = format!("http://{}", server.plain);
            let path = format!("/o/d-{{of:{objects}}}?s={size}");
            let mut rows: [Vec<f64>; 7] = Default::default();
            for cold in [false, true] {
                for _ in 0..self.rounds {
                    if cold && !dropped() {
                        continue;
                    }
                    crate::load::get(self.stage.origin(), "/reset")?;
                    let cpu = server.cpu();
                    let sample = wrk(&self.stage, &base, *connections, self.secs, false, Some(&path))?;
                    let spent = server.cpu().saturating_sub(cpu) as f64 / 1000.0 / sample.requests.max(1.0);
                    let through = crate::load::get(self.stage.origin(), "/count")?.parse().unwrap_or(0.0);
                    let place = if cold { 3 } else { 0 };
                    for (row, figure) in rows[place..].iter_mut().zip([spent, sample.rate, through]) {
                        row.push(figure);
                    }
                    rows[6].push(sample.errors);
                    server.truncate_logs();
                }
            }
            let told: Vec<_> =
                rows.iter().zip([2, 0, 0, 2, 0, 0, 0]).map(|(row, digits)| spread(row, digits)).collect();
            text += &format!("| {} | {} |\n", server.title, told.join(" | "));
        }
        Ok(text)
    }
}

/// Drops the page cache; whether that may be done.
pub(crate) fn dropped() -> bool {
    let synced = Command::new("sync").status().is_ok_and(|status| status.success());
    synced && fs::write("/proc/sys/vm/drop_caches", "1").is_ok()
}

/// Of all objects of a cell.
const BYTES: u64 = 400 << 20;
/// nginx keeps as many files open, and may not many more.
const OBJECTS_MAX: u64 = 10_000;
const MEMORY: u64 = 32 << 20;
const FILL_BYTES_PER_SEC: u64 = 40 << 20;
