//! `tidegate top`: what a node does, live and full-screen.
//!
//! A thread reads the node's events and hands them over; this one draws and reads keys. What is shown is `model.rs`, how it looks
//! `draw.rs`. Invariant: however the command ends (a key, a signal, the node, a panic), the terminal is given back as it was.

mod draw;
mod model;
#[cfg(test)]
mod tests;
mod views;
mod words;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use clap::Args;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use self::model::{Asked, Model};
use super::Ended;
use super::client::{Events, Node};
use super::talk::Talk;

/// Watch a running node, full-screen.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate top\n  tidegate top --admin 10.0.0.5:9180 --token-file token\n\nKeys: q quit, Tab another view, s sort, p pause, arrows scroll, ? help. Without a terminal, take tidegate stat --watch."
)]
pub(crate) struct Top {
    #[command(flatten)]
    node: Node,
}

/// What comes from the node.
enum Heard {
    Event(String, String),
    Trouble(String),
}

impl Top {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        if self.node.json || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
            talk.complain("top draws on a terminal", "for a script: tidegate stat --watch --json");
            return Ended::Usage;
        }
        // What is wrong from the start is told as every command tells it.
        let events = match self.node.events(talk, EVENTS) {
            Ok(events) => events,
            Err(ended) => return ended,
        };
        match self.run(events) {
            Ok(()) => Ended::Done,
            Err(error) => {
                talk.complain(&format!("the terminal cannot be drawn on: {error}"), "");
                Ended::Failed
            }
        }
    }

    fn run(self, events: Events) -> io::Result<()> {
        let address = self.node.address();
        let ending = Arc::new(AtomicBool::new(false));
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP]
        {
            signal_hook::flag::register(signal, Arc::clone(&ending))?;
        }
        let (heard, hears) = sync_channel(QUEUE);
        // Dropped at the end of this function, which ends the thread's waiting.
        let (_watching, watched) = sync_channel::<()>(0);
        let node = self.node;
        std::thread::Builder::new()
            .name("events".into())
            .spawn(move || listen(&node, events, &heard, &watched))?;
        std::thread::Builder::new().name("terminal".into()).spawn(end_with_terminal)?;
        let mut screen = Screen::open()?;
        let mut model = Model::default();
        let mut changed = true;
        while !ending.load(Ordering::Relaxed) {
            while let Ok(heard) = hears.try_recv() {
                changed = true;
                match heard {
                    Heard::Event(name, data) => model.take(&name, &data),
                    Heard::Trouble(why) => model.trouble = Some(why),
                }
            }
            if std::mem::take(&mut changed) {
                screen.terminal.draw(|frame| draw::draw(frame, &model, &address))?;
            }
            if !event::poll(LOOK_EVERY)? {
                continue;
            }
            let asked = match event::read()? {
                Event::Key(key) => model.key(key),
                Event::Resize(..) => Asked::Redraw,
                _ => Asked::Nothing,
            };
            match asked {
                Asked::Nothing => {}
                Asked::Redraw => changed = true,
                Asked::Quit => break,
                Asked::Suspend => {
                    screen = screen.suspend()?;
                    changed = true;
                }
            }
        }
        Ok(())
    }
}

/// Ends the process once the terminal has gone: there is nothing left to give back, and the library that reads it would do so again and
/// again and never come back, whatever signal there is.
fn end_with_terminal() {
    let stdin = io::stdin();
    let mut gone = [PollFd::new(&stdin, PollFlags::empty())];
    loop {
        match poll(&mut gone, None) {
            Ok(_) => std::process::exit(0),
            Err(Errno::INTR) => {}
            // Then keys tell.
            Err(_) => return,
        }
    }
}

/// Hands over what the node says, and asks anew when it ends.
fn listen(node: &Node, mut events: Events, heard: &SyncSender<Heard>, watched: &Receiver<()>) {
    loop {
        for (name, data) in events.by_ref() {
            if heard.send(Heard::Event(name, data)).is_err() {
                return;
            }
        }
        let mut why = "the node has ended".to_owned();
        events = loop {
            if heard.send(Heard::Trouble(why)).is_err() {
                return;
            }
            if watched.recv_timeout(AGAIN) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            match node.try_events(EVENTS) {
                Ok(events) => break events,
                Err(trouble) => why = trouble,
            }
        };
    }
}

/// The terminal while it is ours.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    /// Takes it over; a panic from here on gives it back before it is told.
    fn open() -> io::Result<Self> {
        let terminal = ratatui::try_init();
        if terminal.is_err() {
            ratatui::restore();
        }
        Ok(Self { terminal: terminal? })
    }

    /// Gives it back and stops, as Ctrl-Z does elsewhere; takes it over again when the shell lets this process go on.
    fn suspend(self) -> io::Result<Self> {
        drop(self);
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TSTP)?;
        Self::open()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

const EVENTS: &str = "/v1/stream?only=history,stat,top,errors";
/// Events that wait to be drawn.
const QUEUE: usize = 64;
/// How often keys and events are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After which time a node that has ended is asked for again.
const AGAIN: Duration = Duration::from_secs(1);
