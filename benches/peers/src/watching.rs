//! What it costs a node to be watched: hits with and without a dashboard, `tidegate top` and `tidegate log` open, in pairs of rounds.
//!
//! The dashboard and `top` are what they ask of the node (`/v1/stream?only=history,stat,top,errors`), read as fast as it comes;
//! `log` is the command. All of them run on the generator's core, so its rate falls for their sake too: what counts is the
//! server's CPU a hit, which becomes hits a CPU second. Beside it stands what hardly moves with the machine: what the worker that
//! serves needs for a hit, and what all other threads need in a second. With `nobody`, nobody watches in the second round of a
//! pair either: what a pair shows then is the machine.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::load::{self, Sample};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, pinned};
use crate::servers::{MEMORY, Stage, wait_for};
use crate::table::spread;
use crate::time::{SECOND, now, pause};

/// What is measured.
pub(crate) struct Asked<'a> {
    /// Pairs of rounds.
    pub(crate) rounds: usize,
    /// Seconds a round.
    pub(crate) secs: u32,
    /// Distinct paths that are asked for.
    pub(crate) paths: u32,
    /// Where the access log goes.
    pub(crate) log: &'a str,
    /// Nobody watches after all.
    pub(crate) nobody: bool,
}

/// What a round says.
struct Round {
    sample: Sample,
    /// The worker's time a hit, µs.
    worker: f64,
    /// All other threads' time a second, ms.
    others: f64,
}

/// Prints a line a pair, and the median of their ratios.
pub(crate) fn run(stage: &Stage, asked: &Asked<'_>) -> io::Result<String> {
    let Asked { rounds, secs, paths, log, nobody } = *asked;
    let _origin = stage.start_origin()?;
    let folder = stage.folder.join("watching");
    fs::create_dir_all(&folder)?;
    let (plain, admin) = (stage.address(160), stage.address(161));
    let file = folder.join("tidegate.toml");
    fs::write(
        &file,
        format!(
            "workers = 1\n[[listener]]\naddress = \"{plain}\"\n[admin]\naddress = \"{admin}\"\n[log]\naccess = \"{log}\"\n[cache]\nmemory = \"{}MiB\"\n\
             [pool.o]\norigins = [\"http://{}\"]\n[[site]]\nhosts = [\"*\"]\npool = \"o\"\n",
            MEMORY >> 20,
            stage.origin()
        ),
    )?;
    let mut command = pinned(SERVER_CORE, None, &stage.tidegate.to_string_lossy());
    command.args(["run", "--config"]).arg(&file);
    command.stdout(File::create("/dev/null")?).stderr(File::create(folder.join("err"))?);
    let node = Process::start(&mut command)?;
    wait_for(plain)?;
    wait_for(admin)?;
    let one = || -> io::Result<Round> {
        let (cpu, (worker, others), began) = (node.cpu(), node.busiest(), now());
        let path = format!("/1k/{{of:{paths}}}");
        let mut sample = load::wrk(stage, &format!("http://{plain}/1k/0"), 64, secs, false, Some(&path))?;
        let (requests, took) = (sample.requests.max(1.0), (now() - began) as f64);
        let after = node.busiest();
        sample.cpu = (node.cpu() - cpu) as f64 / 1000.0 / requests;
        Ok(Round {
            sample,
            worker: after.0.saturating_sub(worker) as f64 / 1000.0 / requests,
            others: after.1.saturating_sub(others) as f64 / took * 1000.0,
        })
    };
    // Until all are hits.
    one()?;
    let mut told =
        format!("hits of 1 KB over {paths} paths, access log {log}; dashboard, top and log open or not\n");
    let mut pairs = Vec::new();
    for round in 0..rounds {
        let watched_one = || -> io::Result<(Round, u64)> {
            if nobody {
                pause(1_500);
                return Ok((one()?, 0));
            }
            let readers: Vec<_> = (0..2)
                .map(|_| TcpStream::connect(admin).and_then(|socket| Watcher::begin(socket, admin)))
                .collect::<Result<_, _>>()?;
            let mut command = pinned(LOAD_CORE, None, &stage.tidegate.to_string_lossy());
            command
                .args(["log", "--admin", &admin.to_string()])
                .stdout(File::create("/dev/null")?)
                .stderr(File::create("/dev/null")?);
            let mut log = Process::start(&mut command)?;
            // Workers begin within a second.
            pause(1_500);
            let round = one()?;
            log.kill();
            Ok((round, readers.into_iter().map(Watcher::end).sum()))
        };
        // Every other pair the other way round, so that what drifts counts for both.
        let (alone, (watched, read)) = if round % 2 == 0 {
            let alone = one()?;
            (alone, watched_one()?)
        } else {
            let watched = watched_one()?;
            // Workers stop within a second.
            pause(2_500);
            (one()?, watched)
        };
        pause(2_500);
        let pair = Pair::of(&alone, &watched);
        let _ = writeln!(
            told,
            "alone {:.2} µs a hit (worker {:.2}), {:.0}/s, other threads {:.1} ms a second; watched {:.2} µs (worker {:.2}), {:.0}/s, {:.1} ms \
             ({} KB read): {:.1} % of the hits a CPU second, {:.1} % of the rate",
            alone.sample.cpu,
            alone.worker,
            alone.sample.rate,
            alone.others,
            watched.sample.cpu,
            watched.worker,
            watched.sample.rate,
            watched.others,
            read / 1024,
            pair.hits * 100.0,
            pair.rate * 100.0
        );
        pairs.push(pair);
    }
    let of = |figure: &dyn Fn(&Pair) -> f64| spread(&pairs.iter().map(figure).collect::<Vec<_>>(), 1);
    let _ = writeln!(
        told,
        "median (and range) of {rounds} pairs: {} % of the hits a CPU second, {} % of the rate; the worker needs {} % of the time for a hit, the \
         other threads {} ms a second more",
        of(&|pair| pair.hits * 100.0),
        of(&|pair| pair.rate * 100.0),
        of(&|pair| pair.worker * 100.0),
        of(&|pair| pair.others)
    );
    Ok(told)
}

/// Watched, as a share of alone; and what other threads need more, ms a second.
struct Pair {
    hits: f64,
    rate: f64,
    worker: f64,
    others: f64,
}

impl Pair {
    fn of(alone: &Round, watched: &Round) -> Self {
        Self {
            hits: alone.sample.cpu / watched.sample.cpu,
            rate: watched.sample.rate / alone.sample.rate,
            worker: watched.worker / alone.worker,
            others: watched.others - alone.others,
        }
    }
}

/// One who reads what a dashboard is sent.
struct Watcher {
    socket: TcpStream,
    reading: std::thread::JoinHandle<u64>,
}

impl Watcher {
    fn begin(mut socket: TcpStream, admin: std::net::SocketAddr) -> io::Result<Self> {
        write!(socket, "GET /v1/stream?only=history,stat,top,errors HTTP/1.1\r\nHost: {admin}\r\n\r\n")?;
        socket.set_read_timeout(Some(Duration::from_nanos(30 * SECOND)))?;
        let mut reads = socket.try_clone()?;
        let reading = std::thread::spawn(move || {
            let (mut all, mut piece) = (0, vec![0; 64 << 10]);
            while let Ok(read @ 1..) = reads.read(&mut piece) {
                all += read as u64;
            }
            all
        });
        Ok(Self { socket, reading })
    }

    /// Closes it; how many bytes came.
    fn end(self) -> u64 {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.reading.join().unwrap_or_default()
    }
}
