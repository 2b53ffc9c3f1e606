//! The servers under test, each started as its own users would on one core: configurations in `config/`.
//!
//! This is the one place that knows how Tidegate is started (`proxy` for plain, `run` with a settings file for
//! TLS) and how each peer is. Files live in a folder of the run, removed at its end.
//!
//! As deployed: Tidegate always writes its JSON access log (standard output, into a file) and counts its metrics.
//! The peers' logs are off unless `logs` asks for them: nginx and Traffic Server then write JSON lines,
//! `HAProxy` its HTTP log, Varnish runs `varnishncsa`, whose CPU counts as Varnish's.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::instructions::under;
use crate::load::get;
use crate::process::{LOAD_CORE, Process, SERVER_CORE, disk, pinned};
use crate::time::pause;

/// A server that can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Name {
    Tidegate,
    Nginx,
    Haproxy,
    Varnish,
    Trafficserver,
}

impl Name {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Tidegate => "Tidegate",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Varnish => "Varnish",
            Self::Trafficserver => "Traffic Server",
        }
    }
}

/// Where things are for one run: folder, certificate, ports.
pub(crate) struct Stage {
    pub(crate) folder: PathBuf,
    pub(crate) tidegate: PathBuf,
    pub(crate) logs: bool,
    base: u16,
}

impl Stage {
    /// Makes the folder and the P-256 certificate all share, and finds a range of free ports.
    pub(crate) fn new(tidegate: PathBuf, logs: bool, ports: u16) -> io::Result<Self> {
        let folder = std::env::temp_dir().join(format!("tidegate-peers-{}", std::process::id()));
        fs::create_dir_all(&folder)?;
        open_to_all(&folder)?;
        let base = (ports..ports.saturating_add(4000))
            .step_by(200)
            .find(|base| (*base..base + 200).all(|port| TcpListener::bind(("127.0.0.1", port)).is_ok()))
            .ok_or_else(|| io::Error::other("no 200 free ports in a row"))?;
        let stage = Self { folder, tidegate, logs, base };
        let made = Command::new("openssl")
            .args("req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 30".split(' '))
            .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
            .args(["-keyout".as_ref(), stage.key().as_os_str(), "-out".as_ref(), stage.cert().as_os_str()])
            .stderr(Stdio::null())
            .status()?;
        if !made.success() {
            return Err(io::Error::other("openssl made no certificate"));
        }
        let both = [fs::read(stage.cert())?, fs::read(stage.key())?].concat();
        fs::write(stage.folder.join("both.pem"), both)?;
        Ok(stage)
    }

    fn cert(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.folder.join("key.pem")
    }

    pub(crate) fn origin(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base))
    }

    pub(crate) fn address(&self, offset: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.base + offset))
    }

    /// Where the server counted by callgrind listens, and its admin listener.
    pub(crate) fn instructions(&self) -> (SocketAddr, SocketAddr) {
        (self.address(190), self.address(191))
    }

    /// This program again, as `command` on `core`.
    pub(crate) fn own(core: &str, command: &str) -> io::Result<Command> {
        let mut own = pinned(core, None, &std::env::current_exe()?.to_string_lossy());
        own.arg(command);
        Ok(own)
    }

    pub(crate) fn start_origin(&self) -> io::Result<Process> {
        let origin = Process::start(Self::own(LOAD_CORE, "origin")?.arg(self.origin().to_string()))?;
        wait_for(self.origin())?;
        Ok(origin)
    }

    /// The floor for bodies of `size` bytes; `number` tells several apart.
    pub(crate) fn start_floor(&self, number: u16, size: usize) -> io::Result<Server> {
        let plain = self.address(100 + number);
        let mut command = Self::own(SERVER_CORE, "floor")?;
        let process = Process::start(command.args([plain.to_string(), size.to_string()]))?;
        wait_for(plain)?;
        let folder = self.folder.clone();
        Ok(Server {
            title: "floor",
            plain,
            tls: None,
            admin: None,
            processes: vec![process],
            folder,
            logs: Vec::new(),
        })
    }

    /// Starts `name` afresh, its cache empty; `tls` says whether TLS will be asked for.
    pub(crate) fn start(&self, name: Name, tls: bool) -> io::Result<Server> {
        self.start_with(name, tls, MEMORY)
    }

    /// Starts `name`, which is Tidegate or nginx, so that it sends text in gzip to whoever takes it.
    pub(crate) fn start_encoding(&self, name: Name) -> io::Result<Server> {
        let folder = self.folder.join(format!("{name:?}-encoding").to_lowercase());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("cache"))?;
        open_to_all(&folder)?;
        let plain = self.address(182);
        let mut server = Server {
            title: name.title(),
            plain,
            tls: None,
            admin: None,
            processes: Vec::new(),
            folder,
            logs: Vec::new(),
        };
        if name == Name::Nginx {
            server.logs.push(server.folder.join("access.log"));
            let on = "gzip on; gzip_types text/plain; gzip_vary on;";
            let text = include_str!("../config/nginx.conf").replace("@GZIP@", on);
            let file = self.fill(&server, "nginx.conf", &text)?;
            server.run(pinned(SERVER_CORE, None, "nginx").arg("-c").arg(file))?;
        } else {
            server.logs.push(server.folder.join("out"));
            let file = self.fill(&server, "encoding.toml", include_str!("../config/encoding.toml"))?;
            let mut command = pinned(SERVER_CORE, None, &self.tidegate.to_string_lossy());
            server.run(command.args(["run", "--config"]).arg(file))?;
        }
        server.wait()?;
        Ok(server)
    }

    /// The same with so much memory for objects where the server divides memory from disk; what has less than [`MEMORY`] gets a
    /// disk.
    pub(crate) fn start_with(&self, name: Name, tls: bool, memory: u64) -> io::Result<Server> {
        let folder = self.folder.join(format!("{name:?}").to_lowercase());
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("cache"))?;
        open_to_all(&folder)?;
        let plain = self.address(10 + 10 * name as u16);
        let secure = self.address(11 + 10 * name as u16);
        let mut server = Server {
            title: name.title(),
            plain,
            admin: None,
            tls: (tls && name != Name::Varnish).then_some(secure),
            processes: Vec::new(),
            folder,
            logs: Vec::new(),
        };
        match name {
            Name::Tidegate => self.tidegate(&mut server, 12 + 10 * name as u16, memory)?,
            Name::Nginx => self.nginx(&mut server)?,
            Name::Haproxy => self.haproxy(&mut server)?,
            Name::Varnish => self.varnish(&mut server)?,
            Name::Trafficserver => self.trafficserver(&mut server, memory)?,
        }
        server.wait()?;
        if name == Name::Varnish && self.logs {
            server.logs.push(server.folder.join("access.log"));
            let mut log = pinned(SERVER_CORE, None, "varnishncsa");
            log.arg("-n").arg(server.folder.join("n"));
            log.args(["-a", "-w"]).arg(server.folder.join("access.log"));
            server.run(&mut log)?;
        }
        Ok(server)
    }

    /// Tidegate without TLS, with a budget of `memory` bytes.
    pub(crate) fn start_tidegate(&self, memory: u64) -> io::Result<Server> {
        let folder = self.folder.join("budget");
        fs::create_dir_all(&folder)?;
        let (plain, admin) = (self.address(180), self.address(181));
        let logs = vec![folder.join("out")];
        let title = Name::Tidegate.title();
        let mut server =
            Server { title, plain, tls: None, admin: Some(admin), processes: Vec::new(), folder, logs };
        server.run(&mut self.tidegate_proxy(&[], plain, admin, memory))?;
        server.wait()?;
        Ok(server)
    }

    /// Tidegate without TLS, as its one command promises.
    pub(crate) fn tidegate_proxy(
        &self,
        core: &[&str],
        plain: SocketAddr,
        admin: SocketAddr,
        memory: u64,
    ) -> Command {
        let mut command = under(core);
        command.arg(&self.tidegate);
        self.as_proxy(&mut command, plain, admin, memory);
        command
    }

    /// Gives a Tidegate its arguments.
    pub(crate) fn as_proxy(&self, command: &mut Command, plain: SocketAddr, admin: SocketAddr, memory: u64) {
        command.args(["proxy", "--to", &format!("http://{}", self.origin()), "--from", &plain.to_string()]);
        command.args(["--memory", &format!("{}MiB", memory >> 20), "--admin", &admin.to_string()]);
    }

    fn tidegate(&self, server: &mut Server, admin: u16, memory: u64) -> io::Result<()> {
        server.logs.push(server.folder.join("out"));
        let admin = self.address(admin);
        server.admin = Some(admin);
        self.run_tidegate(server, memory)?;
        if server.tls.is_some() {
            let file = self.fill(server, "tidegate.toml", include_str!("../config/tidegate.toml"))?;
            let mut command = pinned(SERVER_CORE, None, &self.tidegate.to_string_lossy());
            server.run(command.args(["run", "--config"]).arg(file))?;
        }
        Ok(())
    }

    /// Starts Tidegate in its folder, over what is there.
    pub(crate) fn run_tidegate(&self, server: &mut Server, memory: u64) -> io::Result<()> {
        let admin = server.admin.ok_or_else(|| io::Error::other("not Tidegate"))?;
        let mut command = self.tidegate_proxy(&[], server.plain, admin, memory);
        if memory < MEMORY {
            command.arg("--disk").arg(server.folder.join("cache")).args(["--disk-size", "4GiB"]);
        }
        server.run(&mut command)
    }

    fn nginx(&self, server: &mut Server) -> io::Result<()> {
        server.logs.push(server.folder.join("access.log"));
        let file = self.fill(server, "nginx.conf", include_str!("../config/nginx.conf"))?;
        server.run(pinned(SERVER_CORE, None, "nginx").arg("-c").arg(file))
    }

    /// nginx as one process, run by `tool`.
    pub(crate) fn nginx_alone(&self, tool: &[&str], plain: SocketAddr) -> io::Result<Command> {
        let folder = self.folder.join("nginx-alone");
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("cache"))?;
        open_to_all(&folder)?;
        let server = Server {
            title: Name::Nginx.title(),
            plain,
            tls: None,
            admin: None,
            processes: Vec::new(),
            folder,
            logs: Vec::new(),
        };
        let file = self.fill(&server, "nginx.conf", include_str!("../config/nginx.conf"))?;
        let mut command = under(tool);
        command.args(["nginx", "-g", "master_process off;", "-c"]).arg(file);
        Ok(command)
    }

    fn haproxy(&self, server: &mut Server) -> io::Result<()> {
        server.logs.push(server.folder.join("out"));
        let file = self.fill(server, "haproxy.cfg", include_str!("../config/haproxy.cfg"))?;
        server.run(pinned(SERVER_CORE, None, "haproxy").args(["-db", "-f"]).arg(file))
    }

    fn varnish(&self, server: &mut Server) -> io::Result<()> {
        let file = self.fill(server, "varnish.vcl", include_str!("../config/varnish.vcl"))?;
        let mut command = pinned(SERVER_CORE, None, "varnishd");
        command.arg("-F").arg("-n").arg(server.folder.join("n"));
        command.args(["-j", "none", "-T", "none", "-s", "malloc,2G", "-a", &server.plain.to_string()]);
        for setting in ["default_ttl=0", "default_grace=0", "thread_pools=1", "thread_pool_min=200"] {
            command.args(["-p", setting]);
        }
        server.run(command.arg("-f").arg(file))
    }

    fn trafficserver(&self, server: &mut Server, memory: u64) -> io::Result<()> {
        let folder = server.folder.clone();
        let etc = folder.join("etc");
        for sub in ["etc", "log", "var"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let copied = Command::new("cp").args(["-r", "/etc/trafficserver/."]).arg(&etc).status()?;
        if !copied.success() {
            return Err(io::Error::other("/etc/trafficserver cannot be copied"));
        }
        for (name, text) in [
            ("etc/records.config", include_str!("../config/trafficserver.records")),
            ("etc/logging.yaml", include_str!("../config/trafficserver.logging.yaml")),
            ("etc/remap.config", "map / http://@ORIGIN@/\n"),
            ("etc/storage.config", "@DIR@/var 4G\n"),
            ("etc/ssl_multicert.config", "dest_ip=* ssl_cert_name=cert.pem ssl_key_name=key.pem\n"),
            ("runroot.yaml", RUNROOT),
        ] {
            self.fill(server, name, &text.replace("@MEMORY@", &memory.to_string()))?;
        }
        fs::copy(self.cert(), etc.join("cert.pem"))?;
        fs::copy(self.key(), etc.join("key.pem"))?;
        server.logs.push(folder.join("log/access.log"));
        // As root it would change its user itself, and so outlive us.
        let user = rooted().then_some("trafficserver");
        if user.is_some() {
            let owned = Command::new("chown").args(["-R", "trafficserver"]).arg(&folder).status()?;
            if !owned.success() {
                return Err(io::Error::other("cannot hand the folder to trafficserver"));
            }
        }
        let mut command = pinned(SERVER_CORE, user, "traffic_server");
        server.run(command.arg(format!("--run-root={}", folder.join("runroot.yaml").display())))
    }

    /// Writes a configuration with this run's places and ports in it.
    fn fill(&self, server: &Server, name: &str, text: &str) -> io::Result<PathBuf> {
        let path = server.folder.join(name);
        let folder = server.folder.display().to_string();
        let choose = |with: &str, without: &str| if self.logs { with } else { without }.to_owned();
        let tls = server.plain.port() + 1;
        let text = [
            ("@NGINX_LOG@", choose("@DIR@/access.log json buffer=64k flush=1s", "off")),
            ("@HAPROXY_LOG_TARGET@", choose("log stdout format raw local0", "")),
            ("@HAPROXY_LOG@", choose("log global\n  option httplog", "")),
            ("@ATS_LOG@", choose("3", "0")),
            ("@GZIP@", String::new()),
            ("@DIR@", folder),
            ("@PORT@", server.plain.port().to_string()),
            ("@TLSPORT@", tls.to_string()),
            // `proxy` has the next port for its own admin listener.
            ("@ADMINPORT@", (tls + 2).to_string()),
            ("@ORIGIN@", self.origin().to_string()),
            ("@ORIGINPORT@", self.origin().port().to_string()),
            ("@CERT@", self.cert().display().to_string()),
            ("@KEY@", self.key().display().to_string()),
            ("@BOTH@", self.folder.join("both.pem").display().to_string()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(name, value));
        fs::write(&path, text)?;
        Ok(path)
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A running server.
pub(crate) struct Server {
    pub(crate) title: &'static str,
    pub(crate) plain: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    /// Where it tells what it counts; Tidegate only.
    admin: Option<SocketAddr>,
    processes: Vec<Process>,
    folder: PathBuf,
    logs: Vec<PathBuf>,
}

impl Server {
    fn run(&mut self, command: &mut Command) -> io::Result<()> {
        let append = |name| OpenOptions::new().create(true).append(true).open(self.folder.join(name));
        command.stdout(append("out")?).stderr(append("err")?);
        self.processes.push(Process::start(command)?);
        Ok(())
    }

    fn wait(&mut self) -> io::Result<()> {
        let up = wait_for(self.plain).and_then(|()| self.tls.map_or(Ok(()), wait_for));
        if up.is_ok() && !self.processes.iter_mut().any(Process::ended) {
            return Ok(());
        }
        let said = ["out", "err", "error.log"].map(|name| tail(&self.folder.join(name))).concat();
        Err(io::Error::other(format!("{} did not start:\n{said}", self.title)))
    }

    /// Ends its processes: as a crash does, or as an operator does.
    pub(crate) fn end(&mut self, killed: bool) {
        for mut process in self.processes.drain(..) {
            if killed { process.kill() } else { process.end() }
        }
    }

    /// Waits until Tidegate says that it is ready.
    pub(crate) fn ready(&self) -> io::Result<()> {
        let admin = self.admin.ok_or_else(|| io::Error::other("not Tidegate"))?;
        for _ in 0..READY_PATIENCE_MILLIS {
            if get(admin, "/ready").is_ok_and(|said| said.starts_with("ok")) {
                return Ok(());
            }
            pause(1);
        }
        Err(io::Error::other(format!("{} is not ready after a minute", self.title)))
    }

    /// User + system time of all its processes, ns.
    pub(crate) fn cpu(&self) -> u64 {
        self.processes.iter().map(Process::cpu).sum()
    }

    /// Proportional set size of all its processes, bytes.
    pub(crate) fn memory(&self) -> u64 {
        self.processes.iter().map(Process::memory).sum()
    }

    /// The largest resident set so far of its largest process, bytes.
    pub(crate) fn peak(&self) -> u64 {
        self.processes.iter().map(Process::peak).max().unwrap_or_default()
    }

    /// What its cache takes its objects to weigh, bytes, where it says so.
    pub(crate) fn weight(&self) -> io::Result<Option<f64>> {
        self.metric("tidegate_cache_bytes")
    }

    /// The first metric of that name, where there are metrics.
    pub(crate) fn metric(&self, name: &str) -> io::Result<Option<f64>> {
        let Some(admin) = self.admin else { return Ok(None) };
        let text = get(admin, "/metrics")?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.split(' ').next_back());
        Ok(line.and_then(|value| value.parse().ok()))
    }

    /// Bytes of files in its cache folder.
    pub(crate) fn files(&self) -> u64 {
        disk(&self.folder.join("cache"))
    }

    /// Empties its logs, which are opened for appending, so that a long run does not fill the disk.
    pub(crate) fn truncate_logs(&self) {
        for log in self.logs.iter().filter(|log| log.exists()) {
            let _ = File::options().write(true).open(log).and_then(|file| file.set_len(0));
        }
    }
}

fn tail(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].iter().map(|line| format!("  {line}\n")).collect()
}

/// Until something accepts there; fails after a minute (a server under callgrind takes its time).
pub(crate) fn wait_for(address: SocketAddr) -> io::Result<()> {
    for _ in 0..1200 {
        if TcpStream::connect(address).is_ok() {
            return Ok(());
        }
        pause(50);
    }
    Err(io::Error::other(format!("nothing accepts at {address}")))
}

fn open_to_all(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755))
}

fn rooted() -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

const READY_PATIENCE_MILLIS: u32 = 60_000;

/// Of Tidegate's cache, where no cell asks for less.
pub(crate) const MEMORY: u64 = 2 << 30;

const RUNROOT: &str = "prefix: @DIR@
exec_prefix: /usr
bindir: /usr/bin
sbindir: /usr/sbin
sysconfdir: @DIR@/etc
datadir: @DIR@/var
includedir: /usr/include
libdir: /usr/lib
libexecdir: /usr/lib/trafficserver/modules
localstatedir: @DIR@/var
runtimedir: @DIR@/var
logdir: @DIR@/log
cachedir: @DIR@/var
";
