//! The comparison: cells (workloads) by servers, in interleaved rounds, as markdown tables.
//!
//! All servers stand on one core, of which only the one under load has work; rounds go A B C, C B A, … so that
//! a machine that changes changes for all. Ratios are made within a round; told is their median with
//! min–max. A round in which the host stole over 2 % or foreign processes took over 10 % of the time is dropped
//! and tried again, at most once for each round asked for; what is still disturbed is marked `noisy`.
//! Hits are verified by the origin's counter, not by a header. No figure fails the run.

use std::io;

use crate::cells::{Cell, Kind};
use crate::load::{Sample, get, h2load, open, value, wrk};
use crate::ondisk::objects;
use crate::process::{LOAD_CORE, Process, SERVER_CORE, core_cpu, machine_cpu, own_cpu};
use crate::servers::{Name, Server, Stage};
use crate::table::{latencies, loads, spread};
use crate::time::{now, pause};

/// What to compare.
pub(crate) struct Comparison {
    pub(crate) stage: Stage,
    pub(crate) names: Vec<Name>,
    pub(crate) cells: Vec<Cell>,
    pub(crate) rounds: usize,
    pub(crate) secs: u32,
    pub(crate) objects: u64,
}

impl Comparison {
    /// Runs every cell; each table goes to `tell` as soon as it stands.
    pub(crate) fn run(&self, tell: &mut dyn FnMut(String)) -> io::Result<()> {
        let origin = self.stage.start_origin()?;
        let tls = self.cells.iter().any(Cell::tls);
        let alone = |cell: &&Cell| {
            matches!(
                cell.kind,
                Kind::Memory
                    | Kind::Churn
                    | Kind::Flood
                    | Kind::Bomb
                    | Kind::Disk
                    | Kind::Encoded
                    | Kind::Restart
            )
        };
        if self.cells.iter().any(|cell| !alone(&cell)) {
            let servers =
                self.names.iter().map(|name| self.stage.start(*name, tls)).collect::<io::Result<Vec<_>>>()?;
            for cell in self.cells.iter().filter(|cell| !alone(cell)) {
                tell(match cell.kind {
                    Kind::Cold => self.cold(&servers)?,
                    Kind::Slow | Kind::SlowTls => self.slow(cell, &servers, &origin)?,
                    _ => self.cell(cell, &servers, &origin)?,
                });
            }
        }
        for cell in self.cells.iter().filter(alone) {
            tell(match cell.kind {
                Kind::Churn => self.churn()?,
                Kind::Flood => self.floods()?,
                Kind::Bomb => self.bombs()?,
                Kind::Disk => self.on_disk(cell, &origin)?,
                Kind::Encoded => self.encoded(cell)?,
                Kind::Restart => self.restart(cell)?,
                _ => self.memory()?,
            });
        }
        Ok(())
    }

    fn cell(&self, cell: &Cell, servers: &[Server], origin: &Process) -> io::Result<String> {
        let floor = match cell.floor {
            Some(number) => Some(self.stage.start_floor(number, cell.size)?),
            None => None,
        };
        let able = servers.iter().filter(|server| !cell.tls() || server.tls.is_some());
        let rows: Vec<&Server> = floor.iter().chain(able).collect();
        for server in rows.iter().filter(|_| cell.warm()) {
            for _ in 0..3 {
                get(server.plain, &cell.path("warm"))?;
                cell.warm_tls(&self.stage, server)?;
                pause(50);
            }
        }
        let (kept, noisy) = self.interleaved(cell, &rows, origin, &mut || true)?;
        let note = if noisy { " (noisy)" } else { "" };
        let title = format!("{}{note}", cell.title(self.secs));
        let names: Vec<_> = rows.iter().map(|server| (server.title, server.memory())).collect();
        Ok(if cell.kind == Kind::Latency { latencies } else { loads }(&title, &names, &kept))
    }

    /// Rounds of a cell, by row, and whether some of them are disturbed ones. `prepare` goes before each run; where it says no, there
    /// are none.
    pub(crate) fn interleaved(
        &self,
        cell: &Cell,
        rows: &[&Server],
        origin: &Process,
        prepare: &mut dyn FnMut() -> bool,
    ) -> io::Result<(Vec<Vec<Sample>>, bool)> {
        let (mut kept, mut noisy) = (Vec::new(), Vec::new());
        for round in 0..2 * self.rounds {
            if kept.len() == self.rounds {
                break;
            }
            let mut samples = vec![Sample::default(); rows.len()];
            let mut quiet = true;
            let mut order: Vec<usize> = (0..rows.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                if !prepare() {
                    return Ok((Vec::new(), false));
                }
                let (sample, undisturbed) = self.sample(cell, rows[index], origin, round)?;
                quiet &= undisturbed && sample.kept_time();
                samples[index] = sample;
            }
            if quiet { &mut kept } else { &mut noisy }.push(samples);
        }
        let disturbed = kept.len() < self.rounds;
        while kept.len() < self.rounds
            && let Some(samples) = noisy.pop()
        {
            kept.push(samples);
        }
        Ok((kept, disturbed))
    }

    /// One run of one cell against one server; false when something else was at work meanwhile.
    pub(crate) fn sample(
        &self,
        cell: &Cell,
        server: &Server,
        origin: &Process,
        round: usize,
    ) -> io::Result<(Sample, bool)> {
        get(self.stage.origin(), "/reset")?;
        let others = || own_cpu() + origin.cpu();
        let (start, cpu, known, (busy, steal)) = (now(), server.cpu(), others(), machine_cpu());
        let cores = [SERVER_CORE, LOAD_CORE].map(core_cpu);
        let plain = format!("http://{}", server.plain);
        let secure = format!("https://{}", server.tls.unwrap_or(server.plain));
        let base = if cell.tls() { &secure } else { &plain };
        let url = format!("{base}{}", cell.path("warm"));
        let mut sample = match cell.kind {
            Kind::Hit | Kind::Tls => wrk(&self.stage, &url, cell.connections, self.secs, false, None)?,
            Kind::Handshake => wrk(&self.stage, &url, cell.connections, self.secs, true, None)?,
            Kind::H2 => h2load(&url, cell.connections, cell.streams, self.secs)?,
            Kind::Miss | Kind::Pass => {
                let path = cell.path(&format!("r{round}-{start}-{{n}}"));
                wrk(&self.stage, base, cell.connections, self.secs, false, Some(&path))?
            }
            Kind::Disk => {
                let path = format!("/o/d-{{of:{}}}?s={}", objects(cell.size), cell.size);
                wrk(&self.stage, base, cell.connections, self.secs, false, Some(&path))?
            }
            Kind::Latency => {
                let requests = u64::from(cell.rate) * u64::from(self.secs);
                open(server.plain, &cell.path("warm"), cell.rate, requests, true)?
            }
            Kind::Cold
            | Kind::Slow
            | Kind::SlowTls
            | Kind::Memory
            | Kind::Churn
            | Kind::Flood
            | Kind::Bomb
            | Kind::Encoded
            | Kind::Restart => {
                unreachable!("these have rounds of their own")
            }
        };
        let spent = server.cpu().saturating_sub(cpu);
        let (busy_after, steal_after) = machine_cpu();
        let took = now() - start;
        let [server_core, load_core] = cores;
        let share =
            |core: &str, before: u64| core_cpu(core).saturating_sub(before) as f64 / took.max(1) as f64;
        sample.busy = (share(SERVER_CORE, server_core), share(LOAD_CORE, load_core));
        let foreign = (busy_after - busy).saturating_sub(spent + others().saturating_sub(known));
        sample.cpu = spent as f64 / 1000.0 / sample.requests.max(1.0);
        sample.through = get(self.stage.origin(), "/count")?.parse().unwrap_or(0);
        server.truncate_logs();
        Ok((sample, foreign * 10 < took && (steal_after - steal) * 50 < took))
    }

    fn cold(&self, servers: &[Server]) -> io::Result<String> {
        let mut text = format!(
            "\n### cold: {COLD_CLIENTS} clients, one key nobody has, origin 200 ms to the head and 1 MB over 1 s\n\n\
             | Server | origin requests | first byte p50 ms | p99 ms | last byte p50 ms | p99 ms | errors |\n\
             |---|---|---|---|---|---|---|\n"
        );
        let mut lines = vec![Vec::new(); servers.len()];
        for round in 0..self.rounds {
            let mut order: Vec<usize> = (0..servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                get(self.stage.origin(), "/reset")?;
                let path = format!("/o/cold-{round}-{index}?s=1000000&delay=200&over=1000");
                let mut command = Stage::own(LOAD_CORE, "cold")?;
                let server = servers[index].plain.to_string();
                let line = crate::load::output(command.args([
                    &server,
                    &path,
                    "--clients",
                    &COLD_CLIENTS.to_string(),
                ]))?;
                let count = get(self.stage.origin(), "/count")?;
                lines[index].push(format!("{} origin={count}", line.trim()));
            }
        }
        for (server, lines) in servers.iter().zip(&lines) {
            let of = |name: &str, unit: f64| {
                let values: Vec<f64> = lines.iter().map(|line| value(line, name) / unit).collect();
                spread(&values, 0)
            };
            text += &format!(
                "| {} | {} | {} | {} | {} | {} | {} |\n",
                server.title,
                of("origin", 1.0),
                of("ttfb_p50", 1e3),
                of("ttfb_p99", 1e3),
                of("ttlb_p50", 1e3),
                of("ttlb_p99", 1e3),
                of("errors", 1.0),
            );
        }
        Ok(text)
    }
}

const COLD_CLIENTS: usize = 1000;
