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
use crate::load::{Sample, open};
use crate::process::Process;
use crate::servers::{Name, Server};
use crate::table::{median, spread};
use crate::time::pause;

impl Comparison {
    /// Disk hits of one size. All servers stand filled before the first run, and the rounds are interleaved: first the warm ones, then
    /// the cold.
    pub(crate) fn on_disk(&self, cell: &Cell, origin: &Process) -> io::Result<String> {
        let able = |name: &&Name| matches!(name, Name::Tidegate | Name::Nginx | Name::Trafficserver);
        let servers = self
            .names
            .iter()
            .filter(able)
            .map(|name| self.filled(*name, cell.size))
            .collect::<io::Result<Vec<_>>>()?;
        // Nobody is to pay for the writes of the fills.
        let _ = Command::new("sync").status();
        pause(2000);
        let rows: Vec<&Server> = servers.iter().collect();
        let mut told: Vec<_> = rows.iter().map(|server| format!("| {}", server.title)).collect();
        let mut notes = Vec::new();
        for (cold, state) in [(false, "warm"), (true, "cold")] {
            let (kept, noisy) = self.interleaved(cell, &rows, origin, &mut || !cold || dropped())?;
            if noisy {
                notes.push(format!(", {state} noisy"));
            }
            for (index, line) in told.iter_mut().enumerate() {
                *line += &columns(&kept, index);
            }
        }
        let Cell { name, size, connections, .. } = cell;
        Ok(format!(
            "\n### {name}: {size} bytes, {} objects at random, {} MiB of memory for objects, {connections} connections, {} s a run{}\n\n\
             | Server | warm CPU µs/req | req/s | × the best other | cores busy %: server\'s, client\'s | to origin | errors \
             | cold CPU µs/req | req/s | × the best other | cores busy % | to origin | errors |\n\
             |---|---|---|---|---|---|---|---|---|---|---|---|---|\n{} |\n",
            objects(*size),
            MEMORY >> 20,
            self.secs,
            notes.concat(),
            told.join(" |\n"),
        ))
    }

    /// Starts `name` and has it store every object.
    fn filled(&self, name: Name, size: usize) -> io::Result<Server> {
        let server = self.stage.start_with(name, false, MEMORY)?;
        let path = format!("/o/d-{{n}}?s={size}");
        // Twice: some caches keep what was asked for again.
        let rate = (FILL_BYTES_PER_SEC / size as u64).try_into().unwrap_or(u32::MAX);
        for _ in 0..2 {
            open(server.plain, &path, rate, objects(size), false)?;
            server.truncate_logs();
        }
        Ok(server)
    }
}

/// What is told of row `index` in one state: CPU, rate, that rate by the best of the other rows in the same round, …
fn columns(rounds: &[Vec<Sample>], index: usize) -> String {
    let mine = |of: fn(&Sample) -> f64| rounds.iter().map(|round| of(&round[index])).collect::<Vec<_>>();
    let ratios: Vec<f64> = rounds
        .iter()
        .filter_map(|round| {
            let others = round.iter().enumerate().filter(|(other, _)| *other != index);
            let best = others.map(|(_, other)| other.rate).max_by(f64::total_cmp)?;
            Some(round[index].rate / best)
        })
        .collect();
    let busy = [mine(|sample| sample.busy.0 * 100.0), mine(|sample| sample.busy.1 * 100.0)];
    [
        String::new(),
        spread(&mine(|sample| sample.cpu), 2),
        spread(&mine(|sample| sample.rate), 0),
        spread(&ratios, 2),
        busy.map(|share| format!("{:.0}", median(&share))).join(", "),
        spread(&mine(|sample| sample.through as f64), 0),
        spread(&mine(|sample| sample.errors), 0),
    ]
    .join(" | ")
}

/// How many objects of that size a cell has.
pub(crate) fn objects(size: usize) -> u64 {
    (BYTES / size as u64).min(OBJECTS_MAX)
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
