//! The real binary, and the least of a client for it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A node in a process of its own.
pub(crate) struct Node {
    address: SocketAddr,
    admin: SocketAddr,
    /// It does not know what was purged, so that all it had is stale.
    is_doubtful: bool,
    process: Mutex<Child>,
    killed: AtomicBool,
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) is_hit: bool,
    /// The number in its tag, if it has one.
    pub(crate) tag: Option<u64>,
    pub(crate) body: Vec<u8>,
}

impl Node {
    /// Starts a node over the directory and waits until it serves. The memory is small beside the pages, so that hits come from
    /// both tiers; so is the disk, so that it evicts.
    pub(crate) fn start(origin: SocketAddr, directory: &Path) -> Self {
        Self::spawn(origin, directory, &[]).unwrap_or_else(|said| panic!("the node did not start:\n{said}"))
    }

    /// The same with these in its environment; what it said if it ended before it served.
    pub(crate) fn spawn(
        origin: SocketAddr,
        directory: &Path,
        environment: &[(&str, &Path)],
    ) -> Result<Self, String> {
        // It takes free ports itself and says which: those that a test would draw another may have meanwhile.
        let mut process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .envs(environment.iter().copied())
            .args(["proxy", "--to", &format!("http://{origin}"), "--from", "127.0.0.1:0"])
            .args(["--admin", "127.0.0.1:0", "--memory", "2MiB", "--log", "off"])
            .arg("--disk")
            .arg(directory)
            .args(["--disk-size", "64MiB"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the node starts");
        let mut said = BufReader::new(process.stderr.take().expect("a pipe")).lines();
        let mut all = String::new();
        let mut address = None;
        while let Some(Ok(line)) = said.next() {
            all += &line;
            all.push('\n');
            if line.contains("serving on") {
                address = told(&line);
            }
            // The last thing that it says when it is up.
            if line.contains("admin on") {
                let address = address.expect("it says where it serves before");
                let admin = told(&line).expect("an address");
                // What it says later is nobody's, and must not fill the pipe.
                std::thread::spawn(move || said.for_each(drop));
                let (process, killed) = (Mutex::new(process), AtomicBool::new(false));
                let is_doubtful = all.contains("the log of purges may lack some");
                return Ok(Self { address, admin, is_doubtful, process, killed });
            }
        }
        let _ = process.wait();
        Err(all)
    }

    /// Whether it ends by itself, as one does whose connections have just broken.
    pub(crate) fn is_ending(&self) -> bool {
        let mut process = self.process.lock().expect("no panic holds it");
        (0..LOOKS_MAX).any(|_| {
            std::thread::yield_now();
            matches!(process.try_wait(), Ok(Some(_)))
        })
    }

    /// What ails it, as it says.
    pub(crate) fn ready(&self) -> String {
        let mut stream = connect(self.admin).expect("it listens");
        write!(stream, "GET /ready HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin)
            .expect("it reads");
        let answer = read(&mut stream).expect("it answers");
        assert_eq!(answer.status, 200, "trouble with a disk is no reason to take the node out");
        String::from_utf8_lossy(&answer.body).into_owned()
    }

    /// Whether it said that it may not know all that was purged.
    pub(crate) const fn is_doubtful(&self) -> bool {
        self.is_doubtful
    }

    /// kill -9.
    pub(crate) fn kill(&self) {
        self.killed.store(true, Ordering::SeqCst);
        let mut process = self.process.lock().expect("no panic holds it");
        // It may have ended by itself.
        let _ = process.kill();
        process.wait().expect("it ends");
    }

    /// Whether it was told to end, so that it may fail whom it serves.
    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::SeqCst)
    }

    pub(crate) fn get(&self, path: &str) -> io::Result<Answer> {
        let mut stream = connect(self.address)?;
        write!(stream, "GET {path} HTTP/1.1\r\nHost: site.example\r\nConnection: close\r\n\r\n")?;
        read(&mut stream)
    }

    /// So many bytes from `from` on.
    pub(crate) fn get_part(&self, path: &str, from: usize, length: usize) -> io::Result<Answer> {
        let mut stream = connect(self.address)?;
        let range = format!("Range: bytes={from}-{}", from + length - 1);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: site.example\r\n{range}\r\nConnection: close\r\n\r\n")?;
        read(&mut stream)
    }

    /// Purges a path; returns when that is acknowledged.
    pub(crate) fn purge(&self, path: &str, soft: bool) -> io::Result<()> {
        let mut stream = connect(self.admin)?;
        let body = format!("{{\"urls\": [\"http://site.example{path}\"], \"soft\": {soft}}}");
        write!(
            stream,
            "POST /v1/purge HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.admin,
            body.len()
        )?;
        let answer = read(&mut stream)?;
        assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
        Ok(())
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Ok(process) = self.process.get_mut() {
            // Gone already where the test went well.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads an answer; an error where it is cut short, as by a kill.
fn read(stream: &mut TcpStream) -> io::Result<Answer> {
    let cut = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes)?;
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").ok_or_else(cut)?;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let body = bytes.split_off(end + 4);
    let status = head.get(9..12).and_then(|status| status.parse().ok()).ok_or_else(cut)?;
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    // Without its length an answer's end would be anybody's guess: the origin always tells it.
    if length != Some(body.len()) {
        return Err(cut());
    }
    let tag = head.lines().find_map(|line| line.strip_prefix("etag: \"")?.strip_suffix('"')?.parse().ok());
    Ok(Answer { status, is_hit: head.contains("; hit"), tag, body })
}

/// The address in `  serving on  http://127.0.0.1:40000/`.
fn told(line: &str) -> Option<SocketAddr> {
    line.rsplit("//").next()?.trim_end_matches('/').parse().ok()
}

/// A directory that is removed when it is dropped.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tidegate-crash-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).expect("a directory for a test");
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Empties it.
    pub(crate) fn clear(&self) {
        std::fs::remove_dir_all(&self.0).expect("it can be removed");
        std::fs::create_dir_all(&self.0).expect("and made again");
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left behind harms nobody.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Looks at a process that is ending: milliseconds are enough.
const LOOKS_MAX: u32 = 1_000_000;
/// How long an answer may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(20);
