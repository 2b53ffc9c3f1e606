//! What a purge costs over HTTP: one node under load, and a fleet on one stream.
//!
//! One node with a disk on its core, run as an operator would, without priority; 10,000 hits a second, evenly spaced, and beside
//! them purges of each scope, one after another over one connection: the time from the call to the acknowledgement, durable. Who
//! calls goes before the generator on its core, so that it does not measure its own waiting. Between any two purges it writes a
//! block of a file of its own on the same disk, which has all its blocks, and syncs that: what the disk itself takes at that time,
//! and what the purges are to be held against. Each scope is measured once a round, so that what drifts counts for all. A node
//! without priority waits for whatever else runs on its core, a tick of the scheduler (4 ms) at a time: how much of the core others
//! had is told, and rounds in which that was more than a little do not count where there are others. Then four nodes and a broker
//! on this machine: the time until the fleet's receipt, and whether any node served anything after it that was purged.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::histogram::Histogram;
use crate::load::{self, installed};
use crate::process::{LOAD_CORE, Process, SERVER_CORE, core_cpu, ordinary, pinned};
use crate::reply::{Progress, Reply};
use crate::servers::{Stage, wait_for};
use crate::table::median;
use crate::time::{SECOND, now, rest};

/// Prints both tables' lines.
pub(crate) fn run(stage: &Stage, calls: usize, rounds: usize) -> io::Result<String> {
    let _origin = stage.start_origin()?;
    let mut told = one(stage, calls, rounds)?;
    if installed("nats-server") {
        told += &fleet(stage, calls)?;
    } else {
        told += "nats-server is not there: no fleet\n";
    }
    Ok(told)
}

fn one(stage: &Stage, calls: usize, rounds: usize) -> io::Result<String> {
    let folder = stage.folder.join("purges");
    fs::create_dir_all(&folder)?;
    let (plain, admin) = (stage.address(170), stage.address(171));
    let mut command = ordinary(SERVER_CORE, &stage.tidegate.to_string_lossy());
    stage.as_proxy(&mut command, plain, admin, 512 << 20);
    command.arg("--disk").arg(folder.join("cache")).args(["--disk-size", "1GiB"]);
    command.stdout(fs::File::create(folder.join("out"))?).stderr(fs::File::create(folder.join("err"))?);
    let node = Process::start(&mut command)?;
    wait_for(plain)?;
    wait_for(admin)?;
    load::get(plain, "/1k/0")?;
    let mut raw = Raw::new(&folder)?;
    let mut told =
        "one node, microseconds until a purge is acknowledged and durable, at 10,000 hits a second; beside it a sync of one block\n"
            .to_owned();
    let scopes = [
        ("url", format!("{{\"urls\":[\"http://{plain}/nothing\"]}}")),
        ("prefix", format!("{{\"prefixes\":[\"http://{plain}/nothing\"]}}")),
        ("host", "{\"hosts\":[\"nobody.example\"]}".to_owned()),
        ("tag", "{\"tags\":[\"nothing\"]}".to_owned()),
        ("everything", "{\"everything\":true,\"soft\":true}".to_owned()),
    ];
    let mut all: Vec<Vec<Round>> = scopes.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for ((scope, body), rounds) in scopes.iter().zip(&mut all) {
            let (line, round) = measured(&node, (plain, admin), body, calls, &mut raw)?;
            let _ = writeln!(told, "{scope:<12} {line}");
            rounds.push(round);
        }
    }
    let _ = writeln!(
        told,
        "medians of the rounds in which others had at most {:.0} % of the node's core",
        OTHERS_MAX * 100.0
    );
    for ((scope, _), rounds) in scopes.iter().zip(&all) {
        let quiet: Vec<_> = rounds.iter().filter(|round| round.others <= OTHERS_MAX).collect();
        let (counted, told_of): (Vec<&Round>, String) = if quiet.is_empty() {
            (rounds.iter().collect(), "none was so quiet, of all".to_owned())
        } else {
            let told_of = format!("{} of {}", quiet.len(), rounds.len());
            (quiet, told_of)
        };
        let of = |figure: &dyn Fn(&Round) -> f64| {
            median(&counted.iter().map(|round| figure(round)).collect::<Vec<_>>())
        };
        let [p50, p99] = [of(&|round| round.p50), of(&|round| round.p99)];
        let [sync50, sync99] = [of(&|round| round.sync50), of(&|round| round.sync99)];
        let _ = writeln!(
            told,
            "{scope:<12} p50 {p50:.0} p99 {p99:.0}  sync p50 {sync50:.0} p99 {sync99:.0}  ratio p50 {:.1} p99 {:.1}  ({told_of})",
            p50 / sync50,
            p99 / sync99
        );
    }
    Ok(told)
}

/// Of purges and of syncs, microseconds; and what others had of the node's core, as a share.
struct Round {
    p50: f64,
    p99: f64,
    sync50: f64,
    sync99: f64,
    others: f64,
}

/// Purges of one scope beside load, and a line about them.
fn measured(
    node: &Process,
    (plain, admin): (SocketAddr, SocketAddr),
    body: &str,
    calls: usize,
    raw: &mut Raw,
) -> io::Result<(String, Round)> {
    let secs = (calls as u64 * APART / SECOND).max(1);
    let mut generator = Stage::own(LOAD_CORE, "open")?;
    let requests = (secs * RATE).to_string();
    generator.args([&plain.to_string(), "/1k/0", "--rate", &RATE.to_string(), "--even"]);
    generator.args(["--requests", &requests]).stdout(std::process::Stdio::piped());
    let generator = generator.spawn()?;
    let mut caller = Caller::new(admin)?;
    let (mut times, mut raws) = (Vec::with_capacity(calls), Vec::with_capacity(calls));
    urgent(true);
    let (core, own, began) = (core_cpu(SERVER_CORE), node.cpu(), now());
    let mut next = began;
    for _ in 0..calls {
        next += APART / 2;
        wait_until(next);
        raws.push(raw.sync()?);
        next += APART / 2;
        wait_until(next);
        let began = now();
        caller.post(body)?;
        times.push(now() - began);
    }
    let own = (node.cpu() - own) as f64;
    let others = ((core_cpu(SERVER_CORE) - core) as f64 - own).max(0.0) / (now() - began) as f64;
    urgent(false);
    let line = String::from_utf8_lossy(&generator.wait_with_output()?.stdout).into_owned();
    let value = |name| load::value(&line, name);
    let told = format!(
        "{}  sync {}  hits {:.0}/s, p50 {:.0} p99 {:.0}  others {:.0} %",
        quantiles(&times),
        quantiles(&raws),
        value("rps"),
        value("p50"),
        value("p99"),
        others * 100.0
    );
    let (times, raws) = (Histogram::of(times), Histogram::of(raws));
    let micros = |of: &Histogram, share| of.percentile(share).max(1) as f64 / 1000.0;
    let round = Round {
        p50: micros(&times, 0.5),
        p99: micros(&times, 0.99),
        sync50: micros(&raws, 0.5),
        sync99: micros(&raws, 0.99),
        others,
    };
    Ok((told, round))
}

fn fleet(stage: &Stage, calls: usize) -> io::Result<String> {
    let folder = stage.folder.join("fleet");
    fs::create_dir_all(&folder)?;
    let broker = stage.address(150);
    let settings = format!(
        "port: {}\nhost: 127.0.0.1\njetstream {{ store_dir: \"{}\" }}\n",
        broker.port(),
        folder.join("stream").display()
    );
    fs::write(folder.join("nats.conf"), settings)?;
    let mut command = pinned(LOAD_CORE, None, "nats-server");
    let mut processes = vec![Process::start(
        command.arg("-c").arg(folder.join("nats.conf")).stderr(fs::File::create(folder.join("nats.log"))?),
    )?];
    wait_for(broker)?;
    let mut nodes = Vec::new();
    for at in 0..FLEET {
        let (plain, admin) = (stage.address(151 + 2 * at), stage.address(152 + 2 * at));
        let settings = format!(
            "node = \"node-{at}\"\nworkers = 1\n[[listener]]\naddress = \"{plain}\"\n[admin]\naddress = \"{admin}\"\n[log]\naccess = \"off\"\n\
             [cache]\nmemory = \"64MiB\"\ndisk = {{ path = \"disk-{at}\", size = \"256MiB\" }}\n\
             [pool.o]\norigins = [\"http://{}\"]\n[[site]]\nhosts = [\"*\"]\npool = \"o\"\n[purge]\nbus = {{ nats = \"nats://{broker}\" }}\n",
            stage.origin()
        );
        let file = folder.join(format!("node-{at}.toml"));
        fs::write(&file, settings)?;
        let mut command = ordinary(SERVER_CORE, &stage.tidegate.to_string_lossy());
        command
            .args(["run", "--config"])
            .arg(file)
            .stdout(fs::File::create(folder.join(format!("node-{at}.log")))?);
        processes
            .push(Process::start(command.stderr(fs::File::create(folder.join(format!("node-{at}.err")))?))?);
        wait_for(plain)?;
        nodes.push((plain, admin));
    }
    for (_, admin) in &nodes {
        let deadline = now() + 20 * SECOND;
        while load::get(*admin, "/ready").map_or(true, |text| !text.starts_with("ok")) && now() < deadline {
            std::thread::yield_now();
        }
    }
    let (mut times, mut stale, mut late) = (Vec::new(), 0, 0);
    for nth in 0..calls {
        for (plain, _) in &nodes {
            head(*plain)?;
        }
        let (_, admin) = nodes[nth % nodes.len()];
        let body = match nth % 3 {
            0 => "{\"prefixes\":[\"http://site.example/1k\"],\"wait\":\"fleet\"}",
            1 => "{\"hosts\":[\"site.example\"],\"wait\":\"fleet\"}",
            _ => "{\"urls\":[\"http://site.example/1k/7\"],\"wait\":\"fleet\"}",
        };
        let mut caller = Caller::new(admin)?;
        let began = now();
        let receipt = caller.post(body)?;
        times.push(now() - began);
        late += usize::from(!receipt.starts_with("HTTP/1.1 200"));
        for (plain, _) in &nodes {
            stale += usize::from(head(*plain)?.contains("; hit"));
        }
    }
    Ok(format!(
        "four nodes and a broker, microseconds until the fleet's receipt\nfleet        {}  late {late}, stale after the receipt {stale} of {}\n",
        quantiles(&times),
        calls * FLEET as usize
    ))
}

/// A page of a node, as the fleet's site: head and body.
fn head(node: SocketAddr) -> io::Result<String> {
    let mut caller = Caller::new(node)?;
    caller.exchange("GET /1k/7 HTTP/1.1\r\nHost: site.example\r\n\r\n")
}

/// A connection to an admin listener, or another.
struct Caller {
    stream: TcpStream,
    server: SocketAddr,
}

impl Caller {
    fn new(server: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(server)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        Ok(Self { stream, server })
    }

    fn post(&mut self, body: &str) -> io::Result<String> {
        let text = self.exchange(&format!(
            "POST /v1/purge HTTP/1.1\r\nHost: {}\r\nContent-Length: {}\r\n\r\n{body}",
            self.server,
            body.len()
        ))?;
        if text.starts_with("HTTP/1.1 20") {
            Ok(text)
        } else {
            Err(io::Error::other(format!("{body} was answered:\n{text}")))
        }
    }

    fn exchange(&mut self, request: &str) -> io::Result<String> {
        self.stream.write_all(request.as_bytes())?;
        let (mut reply, mut buffer, mut text) = (Reply::default(), vec![0; 64 * 1024], Vec::new());
        loop {
            let length = self.stream.read(&mut buffer)?;
            text.extend_from_slice(&buffer[..length]);
            match reply.take(&buffer[..length]) {
                Progress::More if length > 0 => {}
                Progress::Done => return Ok(String::from_utf8_lossy(&text).into_owned()),
                _ => return Err(io::Error::other(String::from_utf8_lossy(&text).into_owned())),
            }
        }
    }
}

/// A file that has all its blocks, on the disk that the node writes to.
struct Raw {
    file: fs::File,
    block: u64,
}

impl Raw {
    fn new(folder: &Path) -> io::Result<Self> {
        let mut file = fs::File::create(folder.join("raw"))?;
        file.write_all(&vec![1; (RAW_BLOCKS * RAW_BLOCK) as usize])?;
        file.sync_all()?;
        Ok(Self { file, block: 0 })
    }

    /// Nanoseconds that writing and syncing one block takes.
    fn sync(&mut self) -> io::Result<u64> {
        self.block = (self.block + 7) % RAW_BLOCKS;
        let began = now();
        self.file.write_all_at(&[2; RAW_BLOCK as usize], self.block * RAW_BLOCK)?;
        self.file.sync_data()?;
        Ok(now() - began)
    }
}

/// Ahead of the generator that never sleeps, on its core; or like everybody. Nothing where that is not allowed.
fn urgent(urgent: bool) {
    let pid = std::process::id().to_string();
    let words: [&[&str]; 2] = if urgent {
        [&["taskset", "-cp", LOAD_CORE, &pid], &["chrt", "-f", "-p", "10", &pid]]
    } else {
        [&["taskset", "-cp", "0-1023", &pid], &["chrt", "-o", "-p", "0", &pid]]
    };
    for words in words {
        let [program, arguments @ ..] = words else { continue };
        let quiet = std::process::Stdio::null;
        drop(Command::new(program).args(arguments).stdout(quiet()).stderr(quiet()).status());
    }
}

fn quantiles(times: &[u64]) -> String {
    let times = Histogram::of(times.iter().copied());
    let micros = |share| times.percentile(share) / 1000;
    format!("p50 {} p99 {} max {}", micros(0.5), micros(0.99), times.max() / 1000)
}

fn wait_until(moment: u64) {
    rest(moment.saturating_sub(now()));
}

/// Nanoseconds between purges.
const APART: u64 = 5_000_000;
/// Kernel threads and interrupts of the node's own work are among them.
const OTHERS_MAX: f64 = 0.1;
/// Hits a second meanwhile.
const RATE: u64 = 10_000;
const FLEET: u16 = 4;
const RAW_BLOCKS: u64 = 256;
const RAW_BLOCK: u64 = 4096;
