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
use crate::process::{LOAD_CORE, Process, machine_cpu, own_cpu};
use crate::servers::{Name, Server, Stage};
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
        if self.cells.iter().any(|cell| cell.kind != Kind::Memory) {
            let servers =
                self.names.iter().map(|name| self.stage.start(*name, tls)).collect::<io::Result<Vec<_>>>()?;
            for cell in self.cells.iter().filter(|cell| cell.kind != Kind::Memory) {
                tell(match cell.kind {
                    Kind::Cold => self.cold(&servers)?,
                    Kind::Slow => self.slow(&servers, &origin)?,
                    _ => self.cell(cell, &servers, &origin)?,
                });
            }
        }
        if self.cells.iter().any(|cell| cell.kind == Kind::Memory) {
            tell(self.memory()?);
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
                let (sample, undisturbed) = self.sample(cell, rows[index], origin, round)?;
                quiet &= undisturbed && !sample.lagged;
                samples[index] = sample;
            }
            if quiet { &mut kept } else { &mut noisy }.push(samples);
        }
        let note = if kept.len() < self.rounds { " (noisy)" } else { "" };
        while kept.len() < self.rounds
            && let Some(samples) = noisy.pop()
        {
            kept.push(samples);
        }
        Ok(table(&format!("{}{note}", cell.title(self.secs)), &rows, &kept))
    }

    /// One run of one cell against one server; false when something else was at work meanwhile.
    fn sample(
        &self,
        cell: &Cell,
        server: &Server,
        origin: &Process,
        round: usize,
    ) -> io::Result<(Sample, bool)> {
        get(self.stage.origin(), "/reset")?;
        let others = || own_cpu() + origin.cpu();
        let (start, cpu, known, (busy, steal)) = (now(), server.cpu(), others(), machine_cpu());
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
            Kind::Latency => {
                let requests = u64::from(cell.rate) * u64::from(self.secs);
                open(server.plain, &cell.path("warm"), cell.rate, requests)?
            }
            Kind::Cold | Kind::Slow | Kind::Memory => unreachable!("these have rounds of their own"),
        };
        let spent = server.cpu().saturating_sub(cpu);
        let (busy_after, steal_after) = machine_cpu();
        let took = now() - start;
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

    fn slow(&self, servers: &[Server], origin: &Process) -> io::Result<String> {
        let mut text = format!(
            "\n### slow: 1 KB hits before and while {SLOW_CLIENTS} slow clients (head, body, reading) are held\n\n\
             | Server | req/s before | req/s during | ratio | CPU µs before | during | still held |\n\
             |---|---|---|---|---|---|---|\n"
        );
        let hit = Cell::named("hit-1k");
        for server in servers {
            get(server.plain, &hit.path("warm"))?;
            get(server.plain, "/o/slow?s=1000000")?;
            let (before, _) = self.sample(&hit, server, origin, 0)?;
            let file = self.stage.folder.join("slow");
            let mut command = Stage::own(LOAD_CORE, "slow")?;
            command.args([&server.plain.to_string(), "/o/slow?s=1000000"]);
            command.args(["--clients", &SLOW_CLIENTS.to_string()]).stdout(std::fs::File::create(&file)?);
            let mut holder = Process::start(&mut command)?;
            let held = || std::fs::read_to_string(&file).unwrap_or_default();
            for _ in 0..300 {
                if held().contains('\n') || holder.ended() {
                    break;
                }
                pause(100);
            }
            let (during, _) = self.sample(&hit, server, origin, 0)?;
            let left = held().lines().last().map_or(0.0, |line| value(line, "held"));
            holder.end();
            text += &format!(
                "| {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {left:.0} |\n",
                server.title,
                before.rate,
                during.rate,
                during.rate / before.rate.max(1.0),
                before.cpu,
                during.cpu,
            );
        }
        Ok(text)
    }

    fn memory(&self) -> io::Result<String> {
        let mut text = format!(
            "\n### memory: {} objects of 1 KB\n\nProportional set size after the fill minus empty, per object; \
             files are what the cache folder holds on disk (page cache, not counted as memory). \
             HAProxy touches its whole cache at the start, so its difference says nothing: see `empty`.\n\n\
             | Server | memory bytes/object | file bytes/object | empty MB | errors |\n|---|---|---|---|---|\n",
            self.objects
        );
        for name in &self.names {
            let server = self.stage.start(*name, false)?;
            get(server.plain, "/o/first?s=1024")?;
            let (empty, files) = (server.memory(), server.files());
            // In parts, so that the log of one server can be emptied between them.
            let (mut filled, mut errors) = (0, 0.0);
            while filled < self.objects {
                let part = (self.objects - filled).min(FILL_PART);
                let path = format!("/o/fill-{filled}-{{n}}?s=1024");
                errors += open(server.plain, &path, FILL_RATE, part)?.errors;
                filled += part;
                server.truncate_logs();
            }
            let objects = self.objects.max(1) as f64;
            text += &format!(
                "| {} | {:.0} | {:.0} | {:.1} | {errors:.0} |\n",
                server.title,
                server.memory().saturating_sub(empty) as f64 / objects,
                server.files().saturating_sub(files) as f64 / objects,
                empty as f64 / 1e6,
            );
        }
        Ok(text)
    }
}

/// One cell as a table: medians over the rounds; ratios with their range.
fn table(title: &str, rows: &[&Server], rounds: &[Vec<Sample>]) -> String {
    let mut text = format!(
        "\n### {title}\n\n\
         | Server | CPU µs/req | × floor | × nginx | × HAProxy | req/s | p50 µs | p99 µs | p99.9 µs | to origin | errors | memory MB |\n\
         |---|---|---|---|---|---|---|---|---|---|---|---|\n"
    );
    let place = |title: &str| rows.iter().position(|server| server.title == title);
    for (index, server) in rows.iter().enumerate() {
        let all = |of: &dyn Fn(&Sample) -> f64| -> Vec<f64> {
            rounds.iter().filter_map(|round| round.get(index)).map(of).collect()
        };
        let against = |title: &str| {
            let Some(other) = place(title) else { return "–".to_owned() };
            let ratios: Vec<f64> = rounds
                .iter()
                .filter_map(|round| Some(round.get(index)?.cpu / round.get(other)?.cpu))
                .filter(|ratio| ratio.is_finite())
                .collect();
            if other == index { "1".to_owned() } else { spread(&ratios, 2) }
        };
        let latency = |of: &dyn Fn(&Sample) -> Option<f64>| {
            let values: Vec<f64> = rounds.iter().filter_map(|round| of(round.get(index)?)).collect();
            if values.is_empty() { "–".to_owned() } else { format!("{:.0}", median(&values)) }
        };
        text += &format!(
            "| {} | {:.2} | {} | {} | {} | {:.0} | {} | {} | {} | {:.0} | {:.0} | {:.0} |\n",
            server.title,
            median(&all(&|sample| sample.cpu)),
            against("floor"),
            against("nginx"),
            against("HAProxy"),
            median(&all(&|sample| sample.rate)),
            latency(&|sample| sample.p50),
            latency(&|sample| sample.p99),
            latency(&|sample| sample.p999),
            median(&all(&|sample| sample.through as f64)),
            median(&all(&|sample| sample.errors)),
            server.memory() as f64 / 1e6,
        );
    }
    text
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match (values.get(middle), values.len() % 2) {
        (Some(upper), 0) => f64::midpoint(values.get(middle - 1).copied().unwrap_or(*upper), *upper),
        (Some(value), _) => *value,
        (None, _) => f64::NAN,
    }
}

/// The median, and where values differ, their range.
fn spread(values: &[f64], digits: usize) -> String {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let told = [median(values), low, high].map(|value| format!("{value:.digits$}"));
    if values.is_empty() {
        "–".to_owned()
    } else if told[1] == told[2] {
        told[0].clone()
    } else {
        format!("{} ({}–{})", told[0], told[1], told[2])
    }
}

const COLD_CLIENTS: usize = 1000;
const SLOW_CLIENTS: usize = 2000;
/// Misses a second while filling; what a server cannot follow waits in the generator and is counted late.
const FILL_RATE: u32 = 10_000;
const FILL_PART: u64 = 100_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_stands_in_the_middle_and_its_range_beside_it() {
        for (claim, values, wanted) in [
            ("odd", vec![3.0, 1.0, 2.0], "2.00 (1.00–3.00)"),
            ("even", vec![1.0, 2.0], "1.50 (1.00–2.00)"),
            ("equal values have no range", vec![2.0, 2.0], "2.00"),
            ("nothing measured", vec![], "–"),
        ] {
            assert_eq!(spread(&values, 2), wanted, "{claim}");
        }
    }
}
