//! User instructions a hit, by callgrind: a figure that a noisy machine does not move.
//!
//! The server runs under callgrind twice, once for each number of requests over one connection; the
//! difference leaves out start, warm-up and end. What the kernel does for a hit is not in it.

use std::fs;
use std::io;

use crate::load::{get_taking, output};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, pinned};
use crate::servers::{MEMORY, Stage, wait_for};
use crate::time::pause;

/// Whom to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Counted {
    Tidegate,
    /// The bare responder of this crate.
    Floor,
}

/// How it is asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Tidegate's preset.
    pub(crate) preset: Option<&'a str>,
    /// `Accept-Encoding`.
    pub(crate) accept: Option<&'a str>,
}

/// Instructions a 1 KB hit over HTTP/1.1 keep-alive.
pub(crate) fn per_hit(stage: &Stage, counted: Counted, asked: Asked<'_>) -> io::Result<f64> {
    let _origin = stage.start_origin()?;
    let few = run(stage, counted, asked, FEW)?;
    let many = run(stage, counted, asked, MANY)?;
    Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
}

fn run(stage: &Stage, counted: Counted, asked: Asked<'_>, requests: u64) -> io::Result<u64> {
    let file = stage.folder.join(format!("callgrind-{requests}"));
    let out = format!("--callgrind-out-file={}", file.display());
    let valgrind = ["valgrind", "--quiet", "--tool=callgrind", &out];
    let (plain, admin) = stage.instructions();
    let mut command = match counted {
        Counted::Tidegate => {
            let mut command = stage.tidegate_proxy(&valgrind, plain, admin, MEMORY);
            command.args(asked.preset.iter().flat_map(|preset| ["--preset", *preset]));
            command
        }
        Counted::Floor => {
            let mut command = pinned(SERVER_CORE, None, valgrind[0]);
            command.args(&valgrind[1..]).arg(std::env::current_exe()?);
            command.args(["floor", &plain.to_string(), "1024"]);
            command
        }
    };
    let said = fs::File::create(stage.folder.join("callgrind-said"))?;
    let mut server =
        Process::start(command.stdout(fs::File::create(stage.folder.join("log"))?).stderr(said))?;
    wait_for(plain)?;
    for _ in 0..20 {
        get_taking(plain, PATH, asked.accept.unwrap_or_default())?;
        // Encoders get the processor that nobody wants.
        if asked.accept.is_some() {
            pause(100);
        }
    }
    let mut load = pinned(LOAD_CORE, None, "h2load");
    load.args(["--h1", "-t1", "-c1", "-n", &requests.to_string()]);
    if let Some(accept) = asked.accept {
        load.args(["-H", &format!("accept-encoding: {accept}")]);
    }
    load.arg(format!("http://{plain}{PATH}"));
    let text = output(&mut load)?;
    if !text.contains(&format!(" {requests} succeeded")) {
        return Err(io::Error::other(format!("h2load said:\n{text}")));
    }
    server.end();
    let text = fs::read_to_string(&file)?;
    // One `summary:` a part that was dumped; they are parts of one run.
    let total: u64 = text
        .lines()
        .filter_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")))
        .filter_map(|count| count.trim().parse::<u64>().ok())
        .max()
        .unwrap_or(0);
    if total == 0 {
        return Err(io::Error::other(format!("callgrind counted nothing in {}", file.display())));
    }
    Ok(total)
}

const FEW: u64 = 1_000;
const MANY: u64 = 4_000;
const PATH: &str = "/o/instructions?s=1024&text";
