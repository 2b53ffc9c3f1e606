//! Processes under measurement: started on one core, watched through `/proc`, ended by their id.
//!
//! Each is started through `setpriv --pdeathsig TERM`, so it ends with the harness however that ends. CPU is
//! user + system time of a process and its descendants; memory is their proportional set size, which
//! counts a shared page once.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::time::{MILLI, pause};

/// The core of the servers, and the core of load and origin.
pub(crate) const SERVER_CORE: &str = "0";
pub(crate) const LOAD_CORE: &str = "1";

/// A command that runs on `core`, ends with us, and may open many files.
pub(crate) fn pinned(core: &str, user: Option<&str>, program: &str) -> Command {
    // Priority first: another user may not ask for it, but keeps it.
    placed(priority(core), core, user, program)
}

/// The same without priority, as operators run it: where a server waits for the kernel's own threads on its core, one in real time
/// would keep them from running. The flush behind an fsync is such a thread's work.
pub(crate) fn ordinary(core: &str, program: &str) -> Command {
    placed(&[], core, None, program)
}

fn placed(priority: &[&str], core: &str, user: Option<&str>, program: &str) -> Command {
    let mut words = priority.to_vec();
    if let Some(user) = user {
        // Before the death signal is asked for: a change of user would forget it.
        words.extend(["setpriv", "--reuid", user, "--regid", user, "--clear-groups"]);
    }
    words.extend(["setpriv", "--pdeathsig", "TERM", "taskset", "-c", core, program]);
    let mut command = Command::new(words.first().copied().unwrap_or(program));
    command.args(words.iter().skip(1));
    command.stdin(Stdio::null());
    command
}

/// Ahead of whatever else this machine has to do. The generator never sleeps, so all that would be pushed to the
/// server's core, and a slice of 3 ms that another process gets there is the p99.9 of a run. Servers, one like
/// another, get real-time priority (round robin, so that their own threads share the core); the generator only a
/// better one, since who spins in real time is stopped for 50 ms of every second. Nothing where it is not allowed.
fn priority(core: &str) -> &'static [&'static str] {
    static ALLOWED: OnceLock<bool> = OnceLock::new();
    let allowed = *ALLOWED.get_or_init(|| {
        let tried = Command::new("chrt").args(["-r", "1", "true"]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    });
    match (allowed, core) {
        (true, SERVER_CORE) => &["chrt", "-r", "1"],
        (true, _) => &["nice", "-n", "-15"],
        (false, _) => &[],
    }
}

/// A server process; dropped, it is ended and waited for.
pub(crate) struct Process {
    child: Child,
}

impl Process {
    pub(crate) fn start(command: &mut Command) -> io::Result<Self> {
        let child = command
            .spawn()
            .map_err(|error| io::Error::new(error.kind(), format!("cannot start {command:?}: {error}")))?;
        Ok(Self { child })
    }

    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// This process and all below it.
    fn tree(&self) -> Vec<u32> {
        let mut tree = vec![self.child.id()];
        let mut next = 0;
        while let Some(pid) = tree.get(next).copied() {
            next += 1;
            for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
                let children = fs::read_to_string(task.path().join("children")).unwrap_or_default();
                tree.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
            }
        }
        tree
    }

    /// User + system time so far, nanoseconds.
    pub(crate) fn cpu(&self) -> u64 {
        self.tree().into_iter().map(|pid| cpu_of(&format!("/proc/{pid}/stat"), 13)).sum()
    }

    /// Time on a processor of the thread that had most of it, and of all others together, nanoseconds. What a thread that has ended
    /// had is not counted.
    pub(crate) fn busiest(&self) -> (u64, u64) {
        let of = |pid: u32| fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let time = |task: fs::DirEntry| {
            let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        let all: Vec<u64> = self.tree().into_iter().flat_map(of).filter_map(time).collect();
        let most = all.iter().copied().max().unwrap_or_default();
        (most, all.iter().sum::<u64>() - most)
    }

    /// Proportional set size, bytes.
    pub(crate) fn memory(&self) -> u64 {
        let of = |pid: u32| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
            let line = rollup.lines().find(|line| line.starts_with("Pss:"))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok()
        };
        self.tree().into_iter().filter_map(of).sum::<u64>() * 1024
    }

    /// The largest resident set it ever had, bytes; its children's not counted.
    pub(crate) fn peak(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
    }

    /// Ends it as a crash does, and waits.
    pub(crate) fn kill(&mut self) {
        signal("-KILL", &self.tree());
        let _ = self.child.wait();
    }

    /// Asks it to end and waits; after ten seconds it is killed.
    pub(crate) fn end(&mut self) {
        let asked = self.child.id();
        self.end_by(asked);
    }

    /// The same, by asking what it has started last: a tool that watches a server ends when that does.
    pub(crate) fn end_watched(&mut self) {
        let watched = self.tree().last().copied();
        self.end_by(watched.unwrap_or_else(|| self.child.id()));
    }

    fn end_by(&mut self, asked: u32) {
        let tree = self.tree();
        if !self.ended() {
            signal("-TERM", &[asked]);
        }
        for _ in 0..100 {
            if self.ended() {
                return;
            }
            pause(100);
        }
        signal("-KILL", &tree);
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn signal(name: &str, pids: &[u32]) {
    let pids = pids.iter().map(u32::to_string);
    let _ = Command::new("kill").arg(name).args(pids).stderr(Stdio::null()).status();
}

/// Two neighbouring counters of a `stat` file (utime and stime, or those of waited-for children), in ns.
fn cpu_of(stat: &str, field: usize) -> u64 {
    let text = fs::read_to_string(stat).unwrap_or_default();
    // The name in parentheses may hold spaces; the fields are counted behind it, the third comes first.
    let after = text.rsplit_once(") ").map_or("", |(_, after)| after);
    let ticks: u64 =
        after.split(' ').skip(field - 2).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks * TICK
}

/// Our own time and that of children we waited for (the load generators), ns.
pub(crate) fn own_cpu() -> u64 {
    cpu_of("/proc/self/stat", 13) + cpu_of("/proc/self/stat", 15)
}

/// What the whole machine has worked, and what its host took from it: `(busy, steal)`, ns.
pub(crate) fn machine_cpu() -> (u64, u64) {
    worked("cpu")
}

/// What a core has worked, for whomever, ns.
pub(crate) fn core_cpu(core: &str) -> u64 {
    worked(&format!("cpu{core}")).0
}

fn worked(name: &str) -> (u64, u64) {
    let text = fs::read_to_string("/proc/stat").unwrap_or_default();
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap_or_default();
    let fields: Vec<u64> = line.split_whitespace().skip(1).filter_map(|field| field.parse().ok()).collect();
    let at = |index: usize| fields.get(index).copied().unwrap_or(0) * TICK;
    // user, nice, system and both interrupt times; 3 and 4 are idle and waiting.
    ([0, 1, 2, 5, 6].into_iter().map(at).sum(), at(7))
}

/// Bytes of disk the files below `folder` hold.
pub(crate) fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| Some((entry.path(), entry.metadata().ok()?)))
        .map(|(path, meta)| if meta.is_dir() { disk(&path) } else { meta.blocks() * 512 })
        .sum()
}

/// `USER_HZ` is 100 on every Linux we know.
const TICK: u64 = 10 * MILLI;
