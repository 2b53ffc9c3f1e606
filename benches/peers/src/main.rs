//! Side by side: Tidegate and Debian's nginx, `HAProxy`, Varnish and Traffic Server, on one core.
//!
//! `benches/peers/run` builds and runs a default selection; `peers compare` is the same with everything to
//! choose. Servers run on cpu 0, the load and the origin on cpu 1. Told: CPU µs a request (user + system of all
//! processes of the server), its ratio to a bare responder (`floor`), to nginx and to `HAProxy`, requests/s,
//! percentiles and memory. On a machine with two cores the CPU columns are what counts: the generator
//! saturates first. Loopback inflates the kernel's share, for all alike. Versions are Debian's.
//!
//! ```text
//! compare ── cells ── load: wrk, h2load, `peers open` ──► servers ──► `peers origin`
//! instructions ── valgrind ── Tidegate    `peers cold`, `slow`, `flood`, `bomb`, `floor`
//! ```
//!
//! Every process is started by the harness and ended by its id, also when the harness is killed. The figures
//! never fail the run; it exits with 1 only when something could not be measured at all.

#![allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::print_stdout,
    clippy::format_push_string,
    clippy::format_collect,
    reason = "a benchmark: figures are rounded for people, and printing them is its purpose"
)]

mod attack;
#[allow(dead_code, unreachable_pub)] // the tests share it, and want more
#[path = "../../../tests/framing/attacks.rs"]
mod attacks;
mod cells;
mod cold;
mod compare;
mod encoded;
mod floor;
#[allow(dead_code, unreachable_pub)] // of which a benchmark needs the writers of frames only
#[path = "../../../tests/framing/h2_cases.rs"]
mod h2_cases;
mod held;
mod histogram;
mod instructions;
mod load;
mod ondisk;
mod open;
mod origin;
mod process;
mod purges;
mod reply;
mod restart;
mod servers;
mod siege;
mod slow;
mod table;
mod time;
mod watching;

use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use instructions::{Count, Counted, Work};

/// Side-by-side benchmark of caching proxies on one core.
#[derive(Parser)]
#[command(name = "peers")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure servers side by side; prints markdown
    Compare {
        /// Servers besides the floor
        #[arg(long, value_delimiter = ',', default_value = "tidegate,nginx,haproxy,varnish,trafficserver")]
        peers: Vec<servers::Name>,
        /// Cells: hit[-1k|-10k|-100k|-1m], tls[-…], h2[-8x32|-64x1], handshake, miss[-nostore],
        /// latency[-20k|-40k|-60k], cold, slow[-tls], memory, churn, flood, bomb, disk[-10k|-1m], encoded[-1k|-10k|-100k],
        /// restart[-1k|-16k]
        #[arg(long, value_delimiter = ',', default_value = "hit-1k,tls-1k,h2,handshake,miss,latency,cold")]
        cells: Vec<String>,
        /// Rounds a cell; odd ones run in reverse order
        #[arg(long, default_value_t = 3)]
        rounds: usize,
        /// Seconds a run
        #[arg(long, default_value_t = 3)]
        secs: u32,
        /// Objects of the memory cell and the restart cells
        #[arg(long, default_value_t = 1_000_000)]
        objects: u64,
        /// Turn the peers' access logs on too (Tidegate's always is)
        #[arg(long)]
        logs: bool,
        /// The first port to try; 200 free ones in a row are taken
        #[arg(long, default_value_t = 21_000, value_parser = clap::value_parser!(u16).range(1024..60_000))]
        ports: u16,
        /// The Tidegate to measure
        #[arg(long, default_value = "target/release/tidegate")]
        tidegate: PathBuf,
    },
    /// Count user instructions a hit and a miss under callgrind, and calls of the kernel under strace; prints a line each
    Instructions {
        #[arg(long, value_enum, default_value = "tidegate")]
        server: instructions::Counted,
        /// Start Tidegate with this preset
        #[arg(long)]
        preset: Option<String>,
        /// Send this `Accept-Encoding`
        #[arg(long)]
        accept: Option<String>,
        /// The first port to try
        #[arg(long, default_value_t = 21_000, value_parser = clap::value_parser!(u16).range(1024..60_000))]
        ports: u16,
        #[arg(long, default_value = "target/release/tidegate")]
        tidegate: PathBuf,
    },
    /// What a purge costs over HTTP, on one node under load and in a fleet of four; prints lines
    Purges {
        /// Purges of each scope, a round
        #[arg(long, default_value_t = 400)]
        calls: usize,
        #[arg(long, default_value_t = 5)]
        rounds: usize,
        /// The first port to try
        #[arg(long, default_value_t = 21_000, value_parser = clap::value_parser!(u16).range(1024..60_000))]
        ports: u16,
        #[arg(long, default_value = "target/release/tidegate")]
        tidegate: PathBuf,
    },
    /// Hits with and without a dashboard, `top` and `log` open, in pairs of rounds; prints a line a pair
    Watching {
        /// Pairs of rounds; odd ones run in reverse order
        #[arg(long, default_value_t = 9)]
        rounds: usize,
        /// Seconds a round
        #[arg(long, default_value_t = 5)]
        secs: u32,
        /// Nobody watches after all: what two rounds differ by alone
        #[arg(long)]
        nobody: bool,
        /// Distinct paths that are asked for
        #[arg(long, default_value_t = 1000)]
        paths: u32,
        /// Where the access log goes; off is the hardest case, since alone no line is formatted
        #[arg(long, default_value = "off")]
        log: String,
        /// The first port to try
        #[arg(long, default_value_t = 21_000, value_parser = clap::value_parser!(u16).range(1024..60_000))]
        ports: u16,
        #[arg(long, default_value = "target/release/tidegate")]
        tidegate: PathBuf,
    },
    /// The counting origin (started by the harness)
    Origin { address: SocketAddr },
    /// A bare responder with bodies of SIZE bytes (started by the harness)
    Floor { address: SocketAddr, size: usize },
    /// The open-loop generator; prints one line, µs
    Open {
        server: SocketAddr,
        /// `{n}` in it becomes the number of the request, `{mixed}` one with a size of 1 to 200 KB
        path: String,
        #[arg(long, default_value_t = 20_000.0)]
        rate: f64,
        /// Evenly spaced, and without a burst after a stall
        #[arg(long)]
        even: bool,
        #[arg(long, default_value_t = 100_000)]
        requests: u64,
        #[arg(long, default_value_t = 128)]
        connections: usize,
        /// The server's core: leave out what its stalls touched (needs real-time priority)
        #[arg(long)]
        watch: Option<String>,
    },
    /// Tells the open-loop generator of stalls of this core (started by it)
    Watch,
    /// Many clients ask at once for one object; prints one line, µs
    Cold {
        server: SocketAddr,
        path: String,
        #[arg(long, default_value_t = 1000)]
        clients: usize,
    },
    /// Floods with HTTP/2 frames for a while; prints one line
    Flood { server: SocketAddr, kind: usize, secs: u64 },
    /// Holds HTTP/2 header bombs until all are closed
    Bomb { server: SocketAddr, kind: usize },
    /// Holds slow clients until killed
    Slow {
        server: SocketAddr,
        path: String,
        #[arg(long, default_value_t = 2000)]
        clients: usize,
        /// Speak TLS, believing any certificate
        #[arg(long)]
        tls: bool,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> io::Result<()> {
    match command {
        Command::Compare { peers, cells, rounds, secs, objects, logs, ports, tidegate } => {
            let names = present(peers, &tidegate);
            let cells = chosen(&cells)?;
            let stage = servers::Stage::new(tidegate, logs, ports)?;
            let comparison = compare::Comparison { stage, names, cells, rounds, secs, objects };
            comparison.run(&mut |table| {
                println!("{table}");
            })
        }
        Command::Instructions { server, preset, accept, ports, tidegate } => {
            let stage = servers::Stage::new(tidegate, false, ports)?;
            let asked = instructions::Asked { preset: preset.as_deref(), accept: accept.as_deref() };
            for (name, work, count) in [
                ("instructions_per_hit", Work::Hit, Count::Instructions),
                ("instructions_per_miss", Work::Miss, Count::Instructions),
                ("calls_per_hit", Work::Hit, Count::Calls),
                ("calls_per_miss", Work::Miss, Count::Calls),
            ] {
                if work == Work::Miss && server == Counted::Floor
                    || count == Count::Calls && !load::installed("strace")
                {
                    continue;
                }
                let figure = instructions::per_request(&stage, server, asked, work, count)?;
                let decimals = if count == Count::Calls { 2 } else { 0 };
                println!("{name}={figure:.decimals$} server={server:?}");
            }
            Ok(())
        }
        Command::Purges { calls, rounds, ports, tidegate } => {
            let stage = servers::Stage::new(tidegate, false, ports)?;
            print!("{}", purges::run(&stage, calls, rounds)?);
            Ok(())
        }
        Command::Watching { rounds, secs, nobody, paths, log, ports, tidegate } => {
            let stage = servers::Stage::new(tidegate, false, ports)?;
            let asked = watching::Asked { rounds, secs, paths, log: &log, nobody };
            print!("{}", watching::run(&stage, &asked)?);
            Ok(())
        }
        Command::Origin { address } => origin::serve(address),
        Command::Floor { address, size } => floor::serve(address, size),
        Command::Watch => open::watch(),
        Command::Open { server, path, rate, even, requests, connections, watch } => {
            let plan = open::Plan { server, path, rate, even, requests, connections, watch };
            println!("{}", open::run(&plan)?.line());
            Ok(())
        }
        Command::Cold { server, path, clients } => {
            println!("{}", cold::run(server, &path, clients)?);
            Ok(())
        }
        Command::Flood { server, kind, secs } => {
            println!("{}", attack::flood(server, kind, siege::ATTACKERS, secs)?);
            Ok(())
        }
        Command::Bomb { server, kind } => {
            attack::bomb(server, kind, siege::BOMBERS, |held, sent| println!("held={held} sent={sent}"))
        }
        Command::Slow { server, path, clients, tls } => {
            slow::run(server, &path, clients, tls, |held| println!("held={held}"))
        }
    }
}

/// Leaves out what is not installed, and says so.
fn present(peers: Vec<servers::Name>, tidegate: &std::path::Path) -> Vec<servers::Name> {
    let there = |name: &servers::Name| match name {
        servers::Name::Tidegate => tidegate.exists(),
        servers::Name::Nginx => load::installed("nginx"),
        servers::Name::Haproxy => load::installed("haproxy"),
        servers::Name::Varnish => load::installed("varnishd"),
        servers::Name::Trafficserver => load::installed("traffic_server"),
    };
    let (there, lacking): (Vec<_>, Vec<_>) = peers.into_iter().partition(there);
    for name in lacking {
        let _ = writeln!(io::stderr(), "peers: {} is not there and left out", name.title());
    }
    there
}

fn chosen(words: &[String]) -> io::Result<Vec<cells::Cell>> {
    let mut chosen = Vec::new();
    for word in words {
        let cells = cells::Cell::matching(word);
        if cells.is_empty() {
            return Err(io::Error::other(format!("no cell is called {word}; see peers compare --help")));
        }
        chosen.extend(cells);
    }
    Ok(chosen)
}
