//! `tidegate run`: the node of a settings file, from start to the last signal.
//!
//! TERM, INT and QUIT: stop accepting, drain, exit; a second one: at once. HUP reads the settings again, USR1
//! reopens the access log, USR2 replaces the process by another of the binary as it lies there now (`crate::handover`). Nothing that a
//! signal asks for keeps the next one waiting.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::talk::{Talk, chain};
use super::{Ended, port, reload};
use tracing::Level;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;

use crate::clock::Clock;
use crate::config::load::{LoadError, load};
use crate::config::plan::Change;
use crate::config::{AdminAddress, Config};
use crate::handover::{Facts, Predecessor, Program, Refusal, UpgradeError, Upgraded};
use crate::listener::sockets::Inherited;
use crate::manager::{self, Manager};
use crate::reload::ReloadError;
use crate::start::Prepared;
use crate::{Running, StartError, listener};

/// Run the node that a settings file describes.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate run\n  tidegate run --config /etc/tidegate/tidegate.toml\n\nSignals: TERM and INT drain and exit (a second one: at once); HUP reads the settings again, as tidegate reload does; USR1 reopens the access log; USR2 replaces the binary, as tidegate upgrade does."
)]
pub(crate) struct Run {
    /// The file; default: tidegate.toml, then /etc/tidegate/tidegate.toml
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

impl Run {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let before = match Before::meet(talk) {
            Ok(before) => before,
            Err(ended) => return ended,
        };
        match load(self.config.as_deref()) {
            Ok(loaded) => {
                talk.say(&format!("settings: {}", loaded.path.display()));
                // A reload reads the same file wherever the process has gone meanwhile.
                let path = std::path::absolute(&loaded.path).unwrap_or(loaded.path);
                serve(Some(path), loaded.config, before, talk)
            }
            Err(error) => {
                before.refuse(refusal_of(&error));
                talk.unloaded(&error)
            }
        }
    }
}

/// What was there before this process: another one that it takes over from, or sockets of a service manager, or nothing.
pub(super) struct Before {
    predecessor: Option<Predecessor>,
    inherited: Inherited,
    program: Option<Program>,
}

impl Before {
    /// Nothing, and nothing comes after it: what this process does beside serving cannot be handed over.
    pub(super) fn nothing() -> Self {
        Self { predecessor: None, inherited: Inherited::default(), program: None }
    }

    /// Looks. Called first: it takes standard input.
    pub(super) fn meet(talk: Talk) -> Result<Self, Ended> {
        let program = Some(Program::of_this_process());
        match Predecessor::meet(&Clock::system()) {
            Ok(Some((predecessor, inherited))) => {
                talk.say(&format!("taking over from process {}", predecessor.pid()));
                return Ok(Self { predecessor: Some(predecessor), inherited, program });
            }
            Ok(None) => {}
            Err(error) => {
                talk.complain(&format!("cannot take over: {error}"), "");
                return Err(Ended::Failed);
            }
        }
        match Manager::sockets() {
            Ok(sockets) => Ok(Self { predecessor: None, inherited: Inherited::new(sockets), program }),
            Err(error) => {
                talk.complain(&format!("the sockets of the service manager cannot be used: {error}"), "");
                Err(Ended::Failed)
            }
        }
    }

    /// The settings cannot be used.
    pub(super) fn refuse(self, refusal: Refusal) {
        if let Some(predecessor) = self.predecessor {
            predecessor.refuse(refusal);
        }
    }
}

/// Runs a node until it ends.
pub(super) fn serve(path: Option<PathBuf>, config: Config, before: Before, talk: Talk) -> Ended {
    match runtime() {
        Ok(runtime) => serve_on(&runtime, path, config, before, talk, |_| ()),
        Err(error) => {
            talk.complain(&format!("cannot start: {error}"), "");
            Ended::Failed
        }
    }
}

/// Where signals are waited for; the node brings threads of its own.
pub(super) fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// As [`serve`]; `started` is called when the node answers. Starting one blocks, so it happens outside of the runtime's tasks.
pub(super) fn serve_on(
    runtime: &tokio::runtime::Runtime,
    path: Option<PathBuf>,
    config: Config,
    before: Before,
    talk: Talk,
    started: impl FnOnce(&Running),
) -> Ended {
    log_to_standard_error(talk);
    let signals = {
        let _context = runtime.enter();
        Signals::new()
    };
    let mut signals = match signals {
        Ok(signals) => signals,
        Err(error) => {
            talk.complain(&format!("cannot listen to signals: {error}"), "");
            return Ended::Failed;
        }
    };
    if let Err((address, error)) = all_free(&config, &before.inherited) {
        before
            .refuse(Refusal { detail: format!("cannot listen on {address}: {error}"), ..Refusal::default() });
        return refused(talk, address, &error);
    }
    let (name, tls) =
        (config.node.clone(), config.listeners.iter().map(|one| !one.tls.is_empty()).collect::<Vec<_>>());
    let clock = Clock::system();
    let Before { mut predecessor, inherited, program } = before;
    let running = match start(path, config, &clock, &mut predecessor, &inherited) {
        Ok(running) => running,
        Err(error) => {
            if let Some(predecessor) = predecessor {
                predecessor.refuse(Refusal { detail: chain(&error), ..Refusal::default() });
            }
            return match error {
                BeginError::Start(StartError::Listener(listener::StartError::Listen { address, source })) => {
                    refused(talk, address, &source)
                }
                other => {
                    talk.complain(&chain(&other), "");
                    Ended::Failed
                }
            };
        }
    };
    for address in inherited.left() {
        talk.say(&format!(
            "a socket for {address} was handed over that no listener of the settings has; it is closed"
        ));
    }
    drop(inherited);
    let manager = Arc::new(Manager::new());
    if let Some(program) = program {
        let manager = Arc::clone(&manager);
        running.upgrader().enable(program, move |pid| manager.succeeded_by(pid));
    }
    // systemd listens to the main process alone, which this one is once the process before it has said so.
    let named_main_later = predecessor.is_some();
    if let Some(predecessor) = predecessor {
        predecessor.serving();
    }
    talk.say(&format!("tidegate {} is node {name}", env!("CARGO_PKG_VERSION")));
    for (address, tls) in running.addresses().iter().zip(tls) {
        talk.say(&format!("  serving on  {}://{address}/", if tls { "https" } else { "http" }));
    }
    if let Some(address) = running.admin_address() {
        talk.say(&format!("  admin on    http://{address}/"));
    }
    if !named_main_later {
        manager.ready();
    }
    started(&running);
    runtime.block_on(until_the_end(running, &mut signals, &clock, &manager, talk));
    Ended::Done
}

/// Why a node does not begin.
#[derive(Debug, thiserror::Error)]
enum BeginError {
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot take over")]
    Handover(#[from] io::Error),
}

/// Starts the node, step by step with the process that it takes over from, where there is one.
fn start(
    path: Option<PathBuf>,
    config: Config,
    clock: &Clock,
    predecessor: &mut Option<Predecessor>,
    inherited: &Inherited,
) -> Result<Running, BeginError> {
    let prepared = Prepared::new(config, clock.clone(), inherited)?;
    let facts = match predecessor {
        Some(predecessor) => predecessor.prepared()?,
        None => Facts::default(),
    };
    let opened = prepared.open(path, facts)?;
    if let Some(predecessor) = predecessor {
        predecessor.ready()?;
        predecessor.stand_beside(&opened.store())?;
    }
    Ok(opened.serve()?)
}

/// Why the settings cannot be used, for the process that goes on instead.
pub(super) fn refusal_of(error: &LoadError) -> Refusal {
    let refusal = Refusal { detail: error.to_string(), settings: true, ..Refusal::default() };
    match error {
        LoadError::Mistakes(wrong) => {
            let count = wrong.list().len();
            let detail = format!("{count} mistake{} in the settings", if count == 1 { "" } else { "s" });
            Refusal { detail, mistakes: Some(wrong.to_json()), text: Some(wrong.render(false)), ..refusal }
        }
        _ => refusal,
    }
}

type Reloading = Option<JoinHandle<Result<Vec<Change>, ReloadError>>>;
type Upgrading = Option<oneshot::Receiver<Result<Upgraded, UpgradeError>>>;

async fn until_the_end(
    running: Running,
    signals: &mut Signals,
    clock: &Clock,
    manager: &Arc<Manager>,
    talk: Talk,
) {
    let ending = running.ending().clone();
    let watchdog = Arc::clone(manager).watch(running.pulses(), clock.clone());
    let watchdog = tokio::spawn(watchdog);
    let (mut reloading, mut again, mut upgrading): (Reloading, bool, Upgrading) = (None, false, None);
    loop {
        if reloading.is_none() && std::mem::take(&mut again) {
            manager.reloading();
            let reloader = Arc::clone(running.reloader());
            reloading = Some(tokio::task::spawn_blocking(move || reloader.reload()));
        }
        tokio::select! {
            () = ending.begun() => break,
            reloaded = of(&mut reloading) => {
                reloading = None;
                manager.ready();
                match reloaded {
                    Ok(Ok(changes)) => talk.say(&format!("HUP: {}", reload::summary(&changes))),
                    Ok(Err(ReloadError::Settings(error))) => {
                        let _: Ended = talk.unloaded(&error);
                        talk.say("HUP: nothing was reloaded, the settings in force stay");
                    }
                    Ok(Err(error)) => talk.complain(&chain(&error), "nothing was reloaded, the settings in force stay"),
                    Err(error) => talk.complain(&chain(&error), ""),
                }
            }
            upgraded = of(&mut upgrading) => {
                upgrading = None;
                match upgraded {
                    // Told where it was done: this process is ending by now.
                    Ok(Ok(_)) => {}
                    Ok(Err(error)) => talk.complain(&chain(&error), "this process goes on"),
                    Err(_) => talk.complain("the upgrade came to nothing", "this process goes on"),
                }
            }
            sign = signals.next() => match sign {
                Sign::End(which) => {
                    talk.say(&format!("{which}: no new connections, finishing what is under way; once more to end at once"));
                    ending.begin();
                }
                // One that comes while another is under way may mean a file that was not read yet.
                Sign::Hup => again = true,
                Sign::Usr1 => {
                    running.observe().log.reopen();
                    talk.say("USR1: access log reopened");
                }
                Sign::Usr2 if upgrading.is_some() => talk.say("USR2: an upgrade is under way"),
                Sign::Usr2 => upgrading = Some(running.upgrader().begin(None)),
            },
        }
    }
    manager.stopping();
    let begun = clock.now();
    let ended = running.ended();
    tokio::pin!(ended);
    loop {
        tokio::select! {
            () = &mut ended => break,
            sign = signals.next() => match sign {
                // Wrappers like `timeout` send the same signal to the process and to its group.
                Sign::End(_) if clock.now().since(begun) < SAME_SIGNAL => {}
                Sign::End(which) => {
                    talk.say(&format!("{which}: ending at once"));
                    ending.force();
                }
                Sign::Hup | Sign::Usr1 | Sign::Usr2 => {}
            },
        }
    }
    watchdog.abort();
    talk.say("ended");
}

/// What comes of something, if it is under way; never, if not.
async fn of<F: Future + Unpin>(under_way: &mut Option<F>) -> F::Output {
    match under_way {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// What a signal asks for.
enum Sign {
    End(&'static str),
    Hup,
    Usr1,
    Usr2,
}

struct Signals {
    term: Signal,
    int: Signal,
    quit: Signal,
    hup: Signal,
    usr1: Signal,
    usr2: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        Ok(Self {
            term: signal(SignalKind::terminate())?,
            int: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            hup: signal(SignalKind::hangup())?,
            usr1: signal(SignalKind::user_defined1())?,
            usr2: signal(SignalKind::user_defined2())?,
        })
    }

    async fn next(&mut self) -> Sign {
        tokio::select! {
            _ = self.term.recv() => Sign::End("TERM"),
            _ = self.int.recv() => Sign::End("INT"),
            _ = self.quit.recv() => Sign::End("QUIT"),
            _ = self.hup.recv() => Sign::Hup,
            _ = self.usr1.recv() => Sign::Usr1,
            _ = self.usr2.recv() => Sign::Usr2,
        }
    }
}

/// Whether every address can be had for ourselves. The node's sockets share their ports among its threads
/// (`SO_REUSEPORT`), so a second node of this user would silently take half of the first one's clients.
fn all_free(config: &Config, inherited: &Inherited) -> Result<(), (SocketAddr, io::Error)> {
    let admin = match config.admin.address {
        Some(AdminAddress::Tcp(address)) => Some(address),
        _ => None,
    };
    let addresses = config.listeners.iter().map(|listener| listener.address).chain(admin);
    let mut addresses = addresses.filter(|address| !inherited.has(*address));
    addresses.try_for_each(|address| free(address).map_err(|error| (address, error)))
}

fn free(address: SocketAddr) -> io::Result<()> {
    use socket2::{Domain, Protocol, Socket, Type};
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // Connections of an earlier run that linger do not count; a listener does.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// Says why an address cannot be had, and what to do.
fn refused(talk: Talk, address: SocketAddr, error: &io::Error) -> Ended {
    let port = address.port();
    let (what, help) = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let by = port::holder(address).map_or_else(String::new, |holder| format!(" by {holder}"));
            let other = if port < 65_535 { port + 1 } else { 8080 };
            (
                format!("port {port} is in use already{by}"),
                format!("stop that, or listen elsewhere: proxy has --from {}:{other} and --admin, a file has `address`", address.ip()),
            )
        }
        io::ErrorKind::PermissionDenied if port < 1024 => (
            format!("this user may not listen on port {port}"),
            "allow it: sudo setcap cap_net_bind_service=+ep \"$(command -v tidegate)\" (systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)\n\
             or use a port from 1024 on, like 8080"
                .to_owned(),
        ),
        io::ErrorKind::AddrNotAvailable => (
            format!("no interface of this machine has the address {}", address.ip()),
            format!("use one that `ip address` shows, or all of them: {}:{port}", if address.is_ipv4() { "0.0.0.0" } else { "[::]" }),
        ),
        _ => (format!("cannot listen on {address}: {error}"), String::new()),
    };
    talk.complain(&what, &help);
    Ended::Failed
}

/// What the rooms have to say while the node runs.
fn log_to_standard_error(talk: Talk) {
    // What a library says of a broker that is away it says every moment; the rooms say it once.
    let rooms = Targets::new().with_default(Level::INFO).with_target("async_nats", LevelFilter::OFF);
    let format = tracing_subscriber::fmt::format().with_target(false).without_time();
    let subscriber = tracing_subscriber::fmt().with_writer(io::stderr).with_ansi(talk.colour);
    // Set already only where a test runs two nodes in one process.
    let _ = if manager::hears_standard_error() {
        let format = manager::Levels(format.with_level(false));
        tracing::subscriber::set_global_default(subscriber.event_format(format).finish().with(rooms))
    } else {
        tracing::subscriber::set_global_default(subscriber.event_format(format).finish().with(rooms))
    };
}

/// Two signals closer together than this are one.
const SAME_SIGNAL: Duration = Duration::from_millis(200);
