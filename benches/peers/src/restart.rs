//! The cell about starts over a disk full of small objects: how long until the node is ready, and what it has forgotten.
//!
//! The disk is filled by misses, as a node fills it. Then the node is killed and started, and stopped and started; before each start
//! the page cache is dropped where that may be done, as after a reboot. Time counts from the start of the process to the first 200
//! of `/ready`, in steps of a millisecond. Lost is what the origin is asked for when every object is asked for once; of it, what the
//! node says before its end that the disk was too slow for (*dropped*: it would have been a miss without the end as well). Only Tidegate
//! is measured: of the peers one keeps its index in a file that it loads in the background, the others have no disk.

use std::io;

use crate::cells::Cell;
use crate::compare::Comparison;
use crate::load::{get, open};
use crate::ondisk::dropped;
use crate::servers::{Name, Server};
use crate::time::{MILLI, now, pause};

impl Comparison {
    /// Starts over a tenth of the objects, and over all of them, or as many as find room.
    pub(crate) fn restart(&self, cell: &Cell) -> io::Result<String> {
        let mut text = format!(
            "\n### {}: {} bytes an object, {} MiB of memory for objects, 4 GiB of disk\n\n\
             Memory: proportional set size after the start, minus that over an empty disk, per object. Written: bytes that went to the disk \
             while it was filled, by the bytes of the bodies.\n\n\
             | objects | killed: dropped before | ready ms | lost | stopped: dropped before | ready ms | lost | page cache | memory bytes/object | written ÷ bodies |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
            cell.name,
            cell.size,
            MEMORY >> 20
        );
        // More than the log holds would push each other out: those are no longer there to be lost.
        let most = self.objects.min(LOG_BYTES / (cell.size as u64 + BYTES_BESIDE));
        for objects in [most / 10, most] {
            text += &self.started_over(cell.size, objects)?;
        }
        Ok(text)
    }

    fn started_over(&self, size: usize, objects: u64) -> io::Result<String> {
        let mut server = self.stage.start_with(Name::Tidegate, false, MEMORY)?;
        server.ready()?;
        let empty = server.memory();
        ask_all(&server, size, objects, FILL_RATE)?;
        // What waits in buffers is written every second.
        pause(2000);
        let written = server.metric("tidegate_disk_written_bytes_total")?.unwrap_or_default();
        let mut cold = true;
        let mut figures = Vec::new();
        let mut memory = 0;
        for killed in [true, false] {
            figures.push(server.metric("tidegate_disk_dropped_total")?.unwrap_or_default());
            server.end(killed);
            cold &= dropped();
            let begun = now();
            self.stage.run_tidegate(&mut server, MEMORY)?;
            server.ready()?;
            figures.push((now() - begun) as f64 / MILLI as f64);
            if killed {
                memory = server.memory().saturating_sub(empty);
            }
            get(self.stage.origin(), "/reset")?;
            ask_all(&server, size, objects, ASK_RATE)?;
            figures.push(get(self.stage.origin(), "/count")?.parse().unwrap_or(f64::NAN));
        }
        let told: Vec<_> = figures.iter().map(|figure| format!("{figure:.0}")).collect();
        Ok(format!(
            "| {objects} | {} | {} | {:.1} | {:.3} |\n",
            told.join(" | "),
            if cold { "dropped" } else { "warm" },
            memory as f64 / objects.max(1) as f64,
            written / (objects * size as u64).max(1) as f64,
        ))
    }
}

/// Asks for every object once. In parts, so that the log can be emptied between them.
fn ask_all(server: &Server, size: usize, objects: u64, rate: u32) -> io::Result<()> {
    let mut asked = 0;
    while asked < objects {
        let part = (objects - asked).min(PART);
        open(server.plain, &format!("/o/r-{asked}-{{n}}?s={size}"), rate, part, false)?;
        asked += part;
        server.truncate_logs();
    }
    Ok(())
}

const MEMORY: u64 = 64 << 20;
/// Of the disk, what is filled.
const LOG_BYTES: u64 = 5 << 29;
/// What an object takes beside its body, and more.
const BYTES_BESIDE: u64 = 512;
const FILL_RATE: u32 = 16_000;
const ASK_RATE: u32 = 30_000;
const PART: u64 = 100_000;
