//! The service manager: what it is told, and the sockets that it hands over.
//!
//! Told over its notification socket (`sd_notify(3)`), where there is one: ready, reloading, stopping, alive, and who is the main
//! process once another has taken over. A unit has `Type=notify-reload`, `NotifyAccess=main` and, for the watchdog, `WatchdogSec=`.
//!
//! ```text
//! started ─► READY=1 ─┬─ HUP ─► RELOADING=1 ─► READY=1
//!                     ├─ each third of WATCHDOG_USEC in which every worker came round ─► WATCHDOG=1
//!                     ├─ USR2 ─► MAINPID=, and from then on nothing more is said by this process
//!                     └─ TERM ─► STOPPING=1
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use std::{fmt, io};

use listenfd::ListenFd;
use sd_notify::NotifyState;
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::clock::Clock;
use crate::config::limits::{DEADLINE_TICK, INHERITED_SOCKETS_MAX};
use crate::listener::Pulse;
use crate::listener::sockets::Handed;

/// Speaks to the service manager; says nothing where there is none.
#[derive(Debug, Default)]
pub struct Manager {
    /// Another process speaks now.
    silent: AtomicBool,
}

impl Manager {
    /// One that is listened to.
    pub fn new() -> Self {
        Self::default()
    }

    /// The node serves; or it has taken up other settings, or has not.
    pub fn ready(&self) {
        self.say(&[NotifyState::Ready]);
    }

    /// The settings are read anew.
    pub fn reloading(&self) {
        if let Ok(now) = NotifyState::monotonic_usec_now() {
            self.say(&[NotifyState::Reloading, now]);
        }
    }

    /// The node ends.
    pub fn stopping(&self) {
        self.say(&[NotifyState::Stopping]);
    }

    /// Another process is the main one.
    pub fn succeeded_by(&self, pid: u32) {
        self.say(&[NotifyState::MainPid(pid)]);
        self.silent.store(true, Ordering::Release);
    }

    /// Says that the node is alive, as long as every worker comes round; where the manager wants to hear that.
    pub async fn watch(self: Arc<Self>, pulses: Vec<Pulse>, clock: Clock) {
        let Some(allowed) = watchdog() else { return };
        let mut known: Vec<Option<u64>> = vec![None; pulses.len()];
        loop {
            // First this: a process that takes over is not listened to before the one before it has named it.
            clock.sleep((allowed / 3).max(DEADLINE_TICK * 2)).await;
            let now: Vec<_> = pulses.iter().map(|pulse| Some(pulse.count())).collect();
            // A worker that hangs, or a machine that does: either way nothing is said.
            if now.iter().zip(&known).all(|(now, before)| now != before) {
                self.say(&[NotifyState::Watchdog]);
                known = now;
            }
        }
    }

    fn say(&self, what: &[NotifyState<'_>]) {
        if self.silent.load(Ordering::Acquire) {
            return;
        }
        if let Err(error) = sd_notify::notify(what) {
            tracing::warn!(%error, "the service manager cannot be told");
        }
    }

    /// The listening sockets that were handed over at the start (`sd_listen_fds(3)`), by their addresses.
    ///
    /// # Errors
    /// One is no listening TCP socket.
    pub fn sockets() -> io::Result<Vec<Handed>> {
        let mut handed: Vec<Handed> = Vec::new();
        let mut all = ListenFd::from_env();
        let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
        let mut names = names.split(':');
        for at in 0..all.len().min(INHERITED_SOCKETS_MAX) {
            let name = names.next().unwrap_or_default();
            let socket = all.take_tcp_listener(at).and_then(|socket| {
                let socket = socket.ok_or_else(|| io::Error::other("it is taken"))?;
                Ok((socket.local_addr()?, socket))
            });
            let (address, socket) = socket
                .map_err(|error| io::Error::new(error.kind(), format!("socket {at} `{name}`: {error}")))?;
            match handed.iter_mut().find(|known| known.address == address) {
                Some(known) => known.sockets.push(socket.into()),
                None => handed.push(Handed { address, purpose: None, sockets: vec![socket.into()] }),
            }
        }
        Ok(handed)
    }
}

/// Whether standard error is the manager's journal (`JOURNAL_STREAM`, `systemd.exec(5)`), and nothing that it was redirected to.
pub fn hears_standard_error() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let Ok(journal) = std::env::var("JOURNAL_STREAM") else { return false };
    std::fs::metadata("/proc/self/fd/2").is_ok_and(|file| journal == format!("{}:{}", file.dev(), file.ino()))
}

/// Lines with their level in front as the journal takes it (`<3>`, `sd-daemon(3)`), so that `journalctl --priority=err` finds them.
pub struct Levels<F>(pub F);

impl<S, N, F> FormatEvent<S, N> for Levels<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str(match *event.metadata().level() {
            Level::ERROR => "<3>",
            Level::WARN => "<4>",
            Level::INFO => "<6>",
            Level::DEBUG | Level::TRACE => "<7>",
        })?;
        self.0.format_event(context, writer, event)
    }
}

/// Within which time the manager wants to hear that this process is alive.
fn watchdog() -> Option<Duration> {
    let set = |name| std::env::var(name).ok();
    let is_ours = set("WATCHDOG_PID").is_none_or(|pid| pid == std::process::id().to_string());
    let micros: u64 = set("WATCHDOG_USEC").filter(|_| is_ours)?.parse().ok()?;
    (micros > 0).then_some(Duration::from_micros(micros))
}
