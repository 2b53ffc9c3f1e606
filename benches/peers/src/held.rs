//! Cells about what is held: memory an object, memory under churn, slow clients.

use std::io;

use crate::cells::Cell;
use crate::compare::Comparison;
use crate::load::{get, open, value};
use crate::open::MIXED_MEAN;
use crate::process::{LOAD_CORE, Process};
use crate::servers::{Server, Stage};
use crate::table::spread;
use crate::time::pause;

impl Comparison {
    pub(crate) fn slow(&self, cell: &Cell, servers: &[Server], origin: &Process) -> io::Result<String> {
        let tls = cell.tls();
        let mut text = format!(
            "\n### {}: 1 KB hits before and while {SLOW_CLIENTS} slow clients (head, body, reading){} are held\n\n\
             Per connection: proportional set size while they are held minus before, by the number still held.\n\n\
             | Server | req/s before | req/s during | ratio | CPU µs before | during | still held | bytes/connection |\n\
             |---|---|---|---|---|---|---|---|\n",
            cell.name,
            if tls { " over TLS" } else { "" },
        );
        let hit = Cell::named("hit-1k");
        for server in servers.iter().filter(|server| !tls || server.tls.is_some()) {
            get(server.plain, &hit.path("warm"))?;
            get(server.plain, "/o/slow?s=1000000")?;
            self.sample(&hit, server, origin, 0)?;
            let mut rows: [Vec<f64>; 7] = Default::default();
            for round in 0..self.rounds {
                let (before, _) = self.sample(&hit, server, origin, round)?;
                let empty = server.memory();
                let (held, mut holder) = self.hold(server, tls)?;
                let each = server.memory().saturating_sub(empty) as f64 / held().max(1.0);
                let (during, _) = self.sample(&hit, server, origin, round)?;
                let left = held();
                holder.end();
                let ratio = during.rate / before.rate.max(1.0);
                let figures = [before.rate, during.rate, ratio, before.cpu, during.cpu, left, each];
                rows.iter_mut().zip(figures).for_each(|(row, figure)| row.push(figure));
                pause(1000);
            }
            let told: Vec<_> =
                rows.iter().zip([0, 0, 2, 2, 2, 0, 0]).map(|(row, digits)| spread(row, digits)).collect();
            text += &format!("| {} | {} |\n", server.title, told.join(" | "));
        }
        Ok(text)
    }

    /// Slow clients on `server`, and how many of them still stand.
    fn hold(&self, server: &Server, tls: bool) -> io::Result<(impl Fn() -> f64, Process)> {
        let file = self.stage.folder.join("slow");
        let mut command = Stage::own(LOAD_CORE, "slow")?;
        let address = server.tls.filter(|_| tls).unwrap_or(server.plain);
        command.args([&address.to_string(), "/o/slow?s=1000000"]);
        command.args(["--clients", &SLOW_CLIENTS.to_string()]).stdout(std::fs::File::create(&file)?);
        if tls {
            command.arg("--tls");
        }
        let mut holder = Process::start(&mut command)?;
        let said = move || std::fs::read_to_string(&file).unwrap_or_default();
        for _ in 0..300 {
            if said().contains('\n') || holder.ended() {
                break;
            }
            pause(100);
        }
        // To hold them is asked for, not to take them in: their requests and the first megabytes go by.
        pause(2000);
        Ok((move || said().lines().last().map_or(0.0, |line| value(line, "held")), holder))
    }

    /// What an object costs when nothing has been evicted.
    pub(crate) fn memory(&self) -> io::Result<String> {
        let mut text = format!(
            "\n### memory: {} objects of 1 KB\n\nProportional set size after the fill minus empty, per object; \
             files are what the cache folder holds on disk (page cache, not counted as memory). \
             HAProxy touches its whole cache at the start, so its difference says nothing: see `empty`. `weight` is what \
             the cache itself takes an object to cost.\n\n\
             | Server | memory bytes/object | file bytes/object | weight bytes/object | memory ÷ weight | empty MB | errors |\n\
             |---|---|---|---|---|---|---|\n",
            self.objects
        );
        for name in &self.names {
            let server = self.stage.start(*name, false)?;
            // Warm: the connections to the origin and the generator's own stand in what is called empty.
            open(server.plain, "/o/first-{n}?s=1024", FILL_RATE, 1000, false)?;
            let (empty, files, weight) = (server.memory(), server.files(), server.weight()?);
            // In parts, so that the log of one server can be emptied between them.
            let (mut filled, mut errors) = (0, 0.0);
            while filled < self.objects {
                let part = (self.objects - filled).min(FILL_PART);
                let path = format!("/o/fill-{filled}-{{n}}?s=1024");
                errors += open(server.plain, &path, FILL_RATE, part, false)?.errors;
                filled += part;
                server.truncate_logs();
            }
            let objects = self.objects.max(1) as f64;
            let memory = server.memory().saturating_sub(empty) as f64;
            let weight = server.weight()?.zip(weight).map(|(after, before)| after - before);
            text += &format!(
                "| {} | {:.0} | {:.0} | {} | {} | {:.1} | {errors:.0} |\n",
                server.title,
                memory / objects,
                server.files().saturating_sub(files) as f64 / objects,
                weight.map_or("–".to_owned(), |weight| format!("{:.0}", weight / objects)),
                weight.map_or("–".to_owned(), |weight| format!("{:.3}", memory / weight)),
                empty as f64 / 1e6,
            );
        }
        Ok(text)
    }

    /// How far the resident size goes beyond the budget while everything is evicted again and again.
    pub(crate) fn churn(&self) -> io::Result<String> {
        let mut text = format!(
            "\n### churn: {CHURN_TIMES} times a budget of {} MiB, 1–200 KB, a third asked for again\n\n\
             The peers' budgets are fixed in their configurations, so only Tidegate is measured.\n\n\
             | Server | peak RSS MB | ÷ budget | at the end MB | ÷ budget | weight MB | evictions | errors |\n\
             |---|---|---|---|---|---|---|---|\n",
            CHURN_BUDGET >> 20
        );
        let server = self.stage.start_tidegate(CHURN_BUDGET)?;
        let requests = CHURN_TIMES * CHURN_BUDGET * 3 / 2 / MIXED_MEAN;
        let (mut asked, mut errors) = (0, 0.0);
        while asked < requests {
            let part = (requests - asked).min(FILL_PART / 10);
            errors +=
                open(server.plain, &format!("/o/churn-{asked}-{{mixed}}"), CHURN_RATE, part, false)?.errors;
            asked += part;
            server.truncate_logs();
        }
        let (peak, end, budget) = (server.peak() as f64, server.memory() as f64, CHURN_BUDGET as f64);
        text += &format!(
            "| {} | {:.0} | {:.2} | {:.0} | {:.2} | {:.0} | {:.0} | {errors:.0} |\n",
            server.title,
            peak / 1e6,
            peak / budget,
            end / 1e6,
            end / budget,
            server.weight()?.unwrap_or_default() / 1e6,
            server.metric("tidegate_cache_evictions_total")?.unwrap_or_default(),
        );
        Ok(text)
    }
}

const SLOW_CLIENTS: usize = 2000;
/// Misses a second while filling; what a server cannot follow waits in the generator and is counted late.
const FILL_RATE: u32 = 10_000;
const FILL_PART: u64 = 100_000;
const CHURN_BUDGET: u64 = 256 << 20;
const CHURN_TIMES: u64 = 8;
const CHURN_RATE: u32 = 2_000;
