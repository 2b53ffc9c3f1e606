//! The process as a service manager and an operator replace it: sockets that are handed in, what is told, and who serves then.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn the_manager_is_told_what_becomes_of_the_process_and_who_is_the_main_one() {
    let manager = Manager::new("told");
    let file = manager.settings("[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let mut node = Node::start(
        command(&["run", "--config", &file])
            .env("NOTIFY_SOCKET", &manager.path)
            .env("WATCHDOG_USEC", "1500000"),
    );
    manager.says("READY=1");
    manager.says("WATCHDOG=1");
    node.signal("HUP");
    let reloading = manager.says("RELOADING=1");
    assert!(reloading.contains("MONOTONIC_USEC="), "{reloading}");
    manager.says("READY=1");
    node.signal("USR2");
    let told = manager.says("MAINPID=");
    let pid: u32 = told.trim().trim_start_matches("MAINPID=").parse().expect("a process id");
    assert_ne!(pid, node.child.id());
    let first = node.follow(pid);
    assert!(first.success(), "{first}");
    assert!(get(node.address).contains("502 "), "its successor answers");
    manager.says("WATCHDOG=1");
    node.signal("TERM");
    manager.says("STOPPING=1");
}

#[test]
fn sockets_of_the_manager_are_served_whoever_bound_them() {
    let manager = Manager::new("sockets");
    // Bound without sharing its port, as by another user.
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = socket.local_addr().expect("it is bound");
    let file = manager.settings(&format!("[[listener]]\naddress = \"{address}\"\n"));
    // A connection that came before there was anybody to answer it.
    let mut early = TcpStream::connect(address).expect("it listens");
    write!(early, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("it is sent");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "LISTEN_FDS=1 LISTEN_FDNAMES=web LISTEN_PID=$$ exec \"$0\" \"$@\" 3<&0 0</dev/null"])
        .args([env!("CARGO_BIN_EXE_tidegate"), "run", "--config", &file])
        .stdin(Stdio::from(OwnedFd::from(socket)));
    let mut node = Node::start(&mut shell);
    let mut answer = String::new();
    early.read_to_string(&mut answer).expect("it is answered");
    assert!(answer.contains("502 "), "{answer}");
    node.signal("USR2");
    let pid = node.says("serves as process").rsplit(' ').next().and_then(|pid| pid.parse().ok());
    node.follow(pid.expect("a process id"));
    assert!(get(address).contains("502 "), "they go to its successor");
}

#[test]
fn whoever_asks_is_told_why_another_binary_does_not_take_over() {
    let manager = Manager::new("refused");
    let file = manager.settings("[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let node = Node::start(&mut command(&["run", "--config", &file]));
    let admin = node.admin.clone();
    let upgrade = |more: &[&str]| {
        let output = command(&[&["upgrade", "--admin", &admin], more].concat()).output().expect("it starts");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    let (code, said) = upgrade(&["--binary", "/no/such/tidegate"]);
    assert!(code == Some(2) && said.contains("cannot use /no/such/tidegate"), "{code:?} {said}");
    std::fs::write(&file, "[[listener]]\naddres = \"127.0.0.1:0\"\n").expect("it can be written");
    let (code, said) = upgrade(&[]);
    assert!(code == Some(2) && said.contains("did you mean `address`?"), "{code:?} {said}");
    assert!(said.contains("the new process gave up"), "{said}");
    let (code, said) = upgrade(&[]);
    assert_eq!(code, Some(2), "it can be asked again: {said}");
}

/// A service manager that listens.
struct Manager {
    place: PathBuf,
    path: PathBuf,
    socket: UnixDatagram,
}

impl Manager {
    fn new(name: &str) -> Self {
        // The path of a socket is short.
        let place = std::env::temp_dir().join(format!("tidegate-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&place).expect("it can be made");
        let path = place.join("notify");
        let socket = UnixDatagram::bind(&path).expect("it is free");
        socket.set_read_timeout(Some(PATIENCE)).expect("it is a time");
        Self { place, path, socket }
    }

    /// The next message with these words.
    fn says(&self, words: &str) -> String {
        let mut bytes = [0; 4096];
        loop {
            let length = self.socket.recv(&mut bytes).unwrap_or_else(|error| panic!("{words}: {error}"));
            let said = String::from_utf8_lossy(&bytes[..length]).into_owned();
            if said.contains(words) {
                return said;
            }
        }
    }

    fn settings(&self, listener: &str) -> String {
        let file = self.place.join("tidegate.toml");
        let text = format!(
            "{listener}[admin]\naddress = \"127.0.0.1:0\"\n[log]\naccess = \"off\"\n[pool.main]\norigins = [\"http://127.0.0.1:1\"]\n[[site]]\nhosts = [\"*\"]\n"
        );
        std::fs::write(&file, text).expect("it can be written");
        file.display().to_string()
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.place);
    }
}

/// A node in a process of its own, and in the one that takes over from it.
struct Node {
    child: Child,
    address: SocketAddr,
    admin: String,
    /// The process that serves.
    pid: u32,
    /// What they say.
    said: mpsc::Receiver<String>,
}

impl Node {
    fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the node starts");
        let lines = BufReader::new(child.stderr.take().expect("it is a pipe")).lines();
        let (says, said) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(says.send(line))));
        let told = |words| {
            let line = heard(&said, words);
            line.rsplit("//").next().expect("a URL").trim_end_matches('/').to_owned()
        };
        let address = told("serving on").parse().expect("an address");
        let admin = told("admin on");
        Self { pid: child.id(), child, address, admin, said }
    }

    /// The next line with these words.
    fn says(&self, words: &str) -> String {
        heard(&self.said, words)
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status();
        assert!(sent.expect("there is a kill").success());
    }

    /// Another process serves: waits for the end of the first.
    fn follow(&mut self, pid: u32) -> std::process::ExitStatus {
        self.pid = pid;
        self.child.wait().expect("it is ours")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if self.pid != self.child.id() {
            let _ =
                Command::new("kill").args(["-KILL", &self.pid.to_string()]).stderr(Stdio::null()).status();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.args(arguments).env_remove("TIDEGATE_ADMIN").env_remove("TIDEGATE_TOKEN").stdin(Stdio::null());
    command
}

fn heard(said: &mpsc::Receiver<String>, words: &str) -> String {
    let mut before = Vec::new();
    loop {
        match said.recv_timeout(PATIENCE) {
            Ok(line) if line.contains(words) => return line,
            Ok(line) => before.push(line),
            Err(error) => panic!("{words} is not said: {error}: {before:#?}"),
        }
    }
}

fn get(address: SocketAddr) -> String {
    let mut socket = TcpStream::connect(address).expect("the node listens");
    write!(socket, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect("the node reads");
    let mut text = String::new();
    socket.read_to_string(&mut text).expect("the node answers");
    text
}

const PATIENCE: Duration = Duration::from_mins(1);
