//! What it costs a node to be watched: hits with and without a dashboard, `tidegate top` and `tidegate log` open, in pairs of rounds.
//!
//! The dashboard and `top` are what they ask of the node (`/v1/stream?only=history,stat,top,errors`), read as fast as it comes;
//! `log` is the command. All of them run on the generator's core, so its rate falls for their sake too: what counts is the
//! server's CPU a hit, which becomes hits a CPU second.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use crate::load::{self, Sample};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, pinned};
use crate::servers::{MEMORY, Stage, wait_for};
use crate::time::{SECOND, pause};

/// Prints a line a pair, and the median of their ratios.
pub(crate) fn run(stage: &Stage, rounds: usize, secs: u32, paths: u32, log: &str) -> io::Result<String> {
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
    let one = || -> io::Result<Sample> {
        let cpu = node.cpu();
        let path = format!("/1k/{{of:{paths}}}");
        let mut sample = load::wrk(stage, &format!("http://{plain}/1k/0"), 64, secs, false, Some(&path))?;
        sample.cpu = (node.cpu() - cpu) as f64 / 1000.0 / sample.requests.max(1.0);
        Ok(sample)
    };
    // Until all are hits.
    one()?;
    let mut told =
        format!("hits of 1 KB over {paths} paths, access log {log}; dashboard, top and log open or not\n");
    let mut ratios = Vec::new();
    for round in 0..rounds {
        let watched_one = || -> io::Result<(Sample, u64)> {
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
            let sample = one()?;
            log.kill();
            Ok((sample, readers.into_iter().map(Watcher::end).sum()))
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
        let ratio = alone.cpu / watched.cpu;
        ratios.push(ratio);
        let _ = writeln!(
            told,
            "alone {:.2} µs a hit, {:.0}/s; watched {:.2} µs, {:.0}/s ({} KB read): {:.1} % of the hits a CPU second, {:.1} % of the rate",
            alone.cpu,
            alone.rate,
            watched.cpu,
            watched.rate,
            read / 1024,
            ratio * 100.0,
            watched.rate / alone.rate * 100.0
        );
    }
    ratios.sort_by(f64::total_cmp);
    let median = ratios.get(ratios.len() / 2).copied().unwrap_or_default();
    let _ = writeln!(told, "median of {rounds} pairs: {:.1} % of the hits a CPU second", median * 100.0);
    Ok(told)
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
