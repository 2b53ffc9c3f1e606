//! Hit ratio of the memory tier: request traces through the store, beside the lines they are held against.
//!
//! `benches/traces/run` replays every trace at its budgets and prints markdown; `--trace mix --memory 10%` selects. A budget is a
//! part of the trace's footprint in bytes. Every cell is `requests/bytes`: the part of the requests, and of the bytes, that
//! the cache answers, the whole trace counted, from an empty cache. The store is the one of the node, called as the
//! node calls it ([`store`]); the lines are computed here ([`lines`]), and `--check` holds them against figures from
//! libcachesim as well.
//!
//! Only `nasa`, `web07` and `web12` are recorded traffic. The others are models: drawn from distributions that were
//! measured on CDNs.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    reason = "a benchmark: figures are rounded for people, and printing them is its purpose"
)]

mod advice;
mod large;
mod lines;
mod promises;
mod random;
mod store;
mod trace;

use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use cache_store::tiers::admit::DiskAdmission;
use clap::Parser;

use crate::lines::Line;
use crate::trace::Trace;

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Hit ratio of the store on request traces
#[derive(Parser)]
#[command(name = "traces")]
#[allow(clippy::struct_excessive_bools)] // each is a switch of its own
struct Arguments {
    /// Traces to replay, comma separated; `zipf` is generated
    #[arg(long, value_delimiter = ',', default_values = ["mix", "meta", "eu2", "tc0", "nasa", "web12", "web07", "zipf"])]
    trace: Vec<String>,
    /// Budgets of the memory tier, in percent of the footprint
    #[arg(long, value_delimiter = ',', default_values = ["1%", "5%", "10%", "25%"])]
    memory: Vec<String>,
    /// Budgets of memory and disk together, in percent of the footprint, a tenth of it memory; those are a table of their own
    #[arg(long, value_delimiter = ',')]
    disk: Vec<String>,
    /// Have the disk take everything, not what is asked for a second time
    #[arg(long)]
    disk_takes_all: bool,
    /// Where the disk tier's files are put; emptied before and after
    #[arg(long, default_value_os_t = std::env::temp_dir().join("tidegate-traces"))]
    folder: PathBuf,
    /// Where the traces lie
    #[arg(long, default_value = "../shared/traces")]
    traces: PathBuf,
    /// Only so many requests of each trace
    #[arg(long)]
    requests: Option<usize>,
    /// Exponent of the generated trace
    #[arg(long, default_value_t = 0.9)]
    zipf_exponent: f64,
    /// Seed of the generated trace, and of the store's keys
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// Only the store, not the lines
    #[arg(long)]
    store_only: bool,
    /// What the store predicts of half, twice and four times its memory, beside what those hit; with `--disk`, of the disk, and of a
    /// memory of one percent above it. Exit with 1 where it is more than two points off
    #[arg(long)]
    advice: bool,
    /// Exit with 1 where the store or a line is not what it should be
    #[arg(long)]
    check: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments) {
        Ok(broken) if broken.is_empty() || !(arguments.check || arguments.advice) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// Replays and prints; returns what is not as it should be.
fn run(arguments: &Arguments) -> io::Result<Vec<String>> {
    if arguments.advice {
        return advice::run(arguments);
    }
    if !arguments.disk.is_empty() {
        return run_on_disk(arguments);
    }
    let budgets = percents(&arguments.memory)?;
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&arguments.seed.to_le_bytes());
    let lines: &[Line] = if arguments.store_only { &[] } else { &Line::ALL };
    println!(
        "Hits of requests/of bytes; the whole trace from an empty cache; budget in bytes, for the store overhead included.\n"
    );
    print!("| Trace | Kind | Memory | Tidegate |");
    for line in lines {
        print!(" {} |", line.as_str());
    }
    println!(" evicted | peak of budget |");
    println!("|{}", "---|".repeat(6 + lines.len()));
    let mut broken = Vec::new();
    for name in &arguments.trace {
        let trace = read(arguments, name)?;
        let footprint = trace.footprint();
        for percent in &budgets {
            let capacity = (footprint as f64 * percent / 100.0) as u64;
            let replayed = store::replay(&trace, *percent, secret);
            let told = if trace.sized {
                format!("{percent} % = {:.1} MB", capacity as f64 / 1e6)
            } else {
                format!("{percent} % = {capacity} objects")
            };
            print!("| {} | {} | {told} | **{}** |", trace.name, trace.kind.as_str(), replayed.ratio);
            let mut compared = Vec::new();
            for line in lines {
                let ratio = line.replay(&trace, capacity);
                print!(" {ratio} |");
                compared.push((*line, ratio));
            }
            let peak = replayed.peak_bytes as f64 / replayed.usage.memory_bytes_max.max(1) as f64;
            println!(" {} | {peak:.3} |", replayed.usage.memory_evictions);
            if arguments.requests.is_none() {
                broken.extend(promises::broken(&trace.name, *percent, replayed.ratio, peak, &compared));
            }
        }
    }
    for line in &broken {
        println!("\n- {line}");
    }
    Ok(broken)
}

/// The same with a disk beneath the memory.
fn run_on_disk(arguments: &Arguments) -> io::Result<Vec<String>> {
    let lines: &[Line] = if arguments.store_only { &[] } else { &Line::ALL };
    println!(
        "Hits of requests/of bytes; the whole trace from empty tiers; nine tenths of the budget on disk.\n"
    );
    print!("| Trace | Kind | Memory and disk | Tidegate | of it memory |");
    for line in lines {
        print!(" {} |", line.as_str());
    }
    println!(" written ÷ requested |\n|{}", "---|".repeat(6 + lines.len()));
    let mut broken = Vec::new();
    let admission = if arguments.disk_takes_all { DiskAdmission::All } else { DiskAdmission::default() };
    for name in &arguments.trace {
        let trace = read(arguments, name)?;
        for percent in percents(&arguments.disk)? {
            let bytes = (trace.footprint() as f64 * percent / 100.0) as u64;
            if !trace.sized {
                continue;
            }
            let Some(replayed) = store::replay_on_disk(&trace, bytes, admission, &arguments.folder)? else {
                continue;
            };
            print!(
                "| {} | {} | {percent} % = {:.1} MB |",
                trace.name,
                trace.kind.as_str(),
                bytes as f64 / 1e6
            );
            print!(" **{}** | {} |", replayed.ratio, replayed.of_memory);
            let compared: Vec<_> = lines.iter().map(|line| (*line, line.replay(&trace, bytes))).collect();
            for (_, ratio) in &compared {
                print!(" {ratio} |");
            }
            let requested: u64 = trace.requests.iter().map(|id| u64::from(trace.size(*id))).sum();
            let written = replayed.disk.map_or(0, |disk| disk.written_bytes);
            println!(" {:.3} |", written as f64 / requested as f64);
            if arguments.requests.is_none() {
                broken.extend(promises::broken_on_disk(&trace.name, percent, replayed.ratio, &compared));
            }
        }
    }
    for line in &broken {
        println!("\n- {line}");
    }
    Ok(broken)
}

fn percents(texts: &[String]) -> io::Result<Vec<f64>> {
    let percent = |text: &String| text.trim_end_matches('%').parse::<f64>();
    let parsed = texts.iter().map(percent).collect::<Result<Vec<_>, _>>();
    parsed.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("a budget: {error}")))
}

fn read(arguments: &Arguments, name: &str) -> io::Result<Trace> {
    let mut trace = if name == "zipf" {
        Trace::zipf(200_000, 1_000_000, arguments.zipf_exponent, arguments.seed)
    } else {
        Trace::read(&arguments.traces, name).map_err(|error| {
            // They are no part of a checkout.
            let there = arguments.traces.is_dir();
            io::Error::other(format!(
                "{error}{}",
                if there { "" } else { "; name their folder with --traces, or take --trace zipf" }
            ))
        })?
    };
    trace.requests.truncate(arguments.requests.unwrap_or(usize::MAX));
    Ok(trace)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trace_is_replayed_by_default() {
        let arguments = Arguments::parse_from(["traces"]);
        for name in trace::names() {
            assert!(arguments.trace.iter().any(|given| given == name), "{name}");
        }
    }
}
