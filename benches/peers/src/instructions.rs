//! What a request costs by count: user instructions by callgrind, calls of the kernel by strace. Figures that a noisy
//! machine does not move.
//!
//! The server runs under the tool twice, once for each number of requests over one connection; the
//! difference leaves out start, warm-up and end. What the kernel does for a request is not in the instructions. One request is
//! under way at a time, so each of its waits is a call; under load several requests share one.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use crate::load::{get_taking, output};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, pinned};
use crate::servers::{MEMORY, Stage, wait_for};
use crate::time::pause;

/// Whom to count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Counted {
    Tidegate,
    /// Without its master process.
    Nginx,
    /// The bare responder of this crate.
    Floor,
}

/// What is asked of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    /// The same 1 KB each time.
    Hit,
    /// 1 KB that may not be stored, each from another URL.
    Miss,
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Count {
    /// User instructions.
    Instructions,
    /// Calls of the kernel.
    Calls,
}

/// How it is asked for.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Tidegate's preset.
    pub(crate) preset: Option<&'a str>,
    /// `Accept-Encoding`.
    pub(crate) accept: Option<&'a str>,
}

/// So many a request over HTTP/1.1 keep-alive.
pub(crate) fn per_request(
    stage: &Stage,
    counted: Counted,
    asked: Asked<'_>,
    work: Work,
    count: Count,
) -> io::Result<f64> {
    let _origin = stage.start_origin()?;
    let few = run(stage, counted, asked, (work, count, FEW))?;
    let many = run(stage, counted, asked, (work, count, MANY))?;
    Ok(many.saturating_sub(few) as f64 / (MANY - FEW) as f64)
}

fn run(
    stage: &Stage,
    counted: Counted,
    asked: Asked<'_>,
    (work, count, requests): (Work, Count, u64),
) -> io::Result<u64> {
    let file = stage.folder.join(format!("counted-{requests}"));
    let out = match count {
        Count::Instructions => format!("--callgrind-out-file={}", file.display()),
        Count::Calls => format!("--output={}", file.display()),
    };
    let tool: &[&str] = match count {
        Count::Instructions => &["valgrind", "--quiet", "--tool=callgrind", &out],
        Count::Calls => &["strace", "-f", "-c", &out],
    };
    let (plain, admin) = stage.instructions();
    let mut command = match counted {
        Counted::Tidegate => {
            let mut command = stage.tidegate_proxy(tool, plain, admin, MEMORY);
            command.args(asked.preset.iter().flat_map(|preset| ["--preset", *preset]));
            command
        }
        Counted::Nginx => stage.nginx_alone(tool, plain)?,
        Counted::Floor => {
            let mut command = under(tool);
            command.arg(std::env::current_exe()?).args(["floor", &plain.to_string(), "1024"]);
            command
        }
    };
    let said = fs::File::create(stage.folder.join("tool-said"))?;
    let mut server =
        Process::start(command.stdout(fs::File::create(stage.folder.join("log"))?).stderr(said))?;
    wait_for(plain)?;
    for nth in 0..WARM {
        get_taking(plain, &path(work, MANY + nth), asked.accept.unwrap_or_default())?;
        // Encoders get the processor that nobody wants.
        if asked.accept.is_some() {
            pause(100);
        }
    }
    let text = output(&mut load(stage, plain, asked, work, requests)?)?;
    if !text.contains(&format!(" {requests} succeeded")) {
        return Err(io::Error::other(format!("h2load said:\n{text}")));
    }
    server.end_watched();
    let total = match count {
        Count::Instructions => instructions(&file)?,
        Count::Calls => calls(&file)?,
    };
    if total == 0 {
        return Err(io::Error::other(format!("nothing is counted in {}", file.display())));
    }
    Ok(total)
}

/// A program on the server's core, run by this tool.
pub(crate) fn under(tool: &[&str]) -> Command {
    let mut command = pinned(SERVER_CORE, None, tool.first().copied().unwrap_or("env"));
    command.args(tool.iter().skip(1));
    command
}

fn load(
    stage: &Stage,
    server: SocketAddr,
    asked: Asked<'_>,
    work: Work,
    requests: u64,
) -> io::Result<Command> {
    let mut load = pinned(LOAD_CORE, None, "h2load");
    load.args(["--h1", "-t1", "-c1", "-n", &requests.to_string()]);
    if let Some(accept) = asked.accept {
        load.args(["-H", &format!("accept-encoding: {accept}")]);
    }
    let urls = match work {
        Work::Hit => 1,
        Work::Miss => requests,
    };
    let urls: String = (0..urls).map(|nth| format!("http://{server}{}\n", path(work, nth))).collect();
    let file = stage.folder.join("urls");
    fs::write(&file, urls)?;
    load.arg("-i").arg(file);
    Ok(load)
}

fn path(work: Work, nth: u64) -> String {
    match work {
        Work::Hit => "/o/instructions?s=1024&text".to_owned(),
        Work::Miss => format!("/o/instructions-{nth:04}?s=1024&nostore"),
    }
}

fn instructions(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    // One `summary:` a part that was dumped; they are parts of one run.
    let totals = text
        .lines()
        .filter_map(|line| line.strip_prefix("summary:").or_else(|| line.strip_prefix("totals:")))
        .filter_map(|count| count.trim().parse::<u64>().ok());
    Ok(totals.max().unwrap_or(0))
}

fn calls(file: &Path) -> io::Result<u64> {
    let text = fs::read_to_string(file)?;
    // `% time  seconds  usecs/call  calls  [errors]  total`
    let total = text.lines().find(|line| line.trim_end().ends_with(" total"));
    Ok(total.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(0))
}

const FEW: u64 = 1_000;
const MANY: u64 = 4_000;
const WARM: u64 = 20;
