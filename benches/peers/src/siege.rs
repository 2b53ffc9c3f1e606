//! Cells about HTTP/2 attacks: what they cost the server, and what is left for the others. FAULTS B15, B16.

use std::io;

use crate::attack;
use crate::attacks::{BOMBS, floods};
use crate::compare::Comparison;
use crate::load::{get, open, value};
use crate::process::{LOAD_CORE, Process};
use crate::servers::{Name, Server, Stage};
use crate::time::{SECOND, now, pause};

impl Comparison {
    /// Every kind of flood in turn, beside requests that are hits.
    pub(crate) fn floods(&self) -> io::Result<String> {
        let mut text = format!(
            "\n### flood: HTTP/2 floods, {ATTACKERS} connections at a time for {} s a kind, beside {GOOD_RATE} hits/s\n\n\
             CPU is the server's beyond what the hits alone cost, by attacking connection, its handshake included; frames and \
             bytes are the most that one connection was sent until it saw that it was closed.\n\n\
             | Server | kind | connections | left open | frames | bytes | CPU ms/connection | hits kept | hits p99 µs | memory + MB |\n\
             |---|---|---|---|---|---|---|---|---|---|\n",
            self.secs
        );
        for name in self.names.iter().filter(|name| **name != Name::Varnish) {
            let server = self.stage.start(*name, true)?;
            get(server.plain, "/o/warm?s=1024")?;
            attack::flood(server.tls.unwrap_or(server.plain), 0, ATTACKERS, 1)?;
            let good = |server: &Server| {
                let cpu = server.cpu();
                let requests = u64::from(GOOD_RATE) * u64::from(self.secs);
                let sample = open(server.plain, "/o/warm?s=1024", GOOD_RATE, requests, false)?;
                Ok::<_, io::Error>((sample, server.cpu().saturating_sub(cpu)))
            };
            let (base, alone) = good(&server)?;
            for (kind, flood) in floods().iter().enumerate() {
                let memory = server.memory();
                let (mut process, said) =
                    self.attack("flood", &server, &[kind.to_string(), self.secs.to_string()])?;
                let (sample, spent) = good(&server)?;
                // It sees its last connection out.
                for _ in 0..50 {
                    if process.ended() {
                        break;
                    }
                    pause(100);
                }
                process.end();
                let said = said();
                let connections = value(&said, "connections").max(1.0);
                text += &format!(
                    "| {} | {} | {connections:.0} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2} | {:.0} | {:.1} |\n",
                    server.title,
                    flood.claim,
                    value(&said, "open"),
                    value(&said, "frames"),
                    value(&said, "bytes"),
                    spent.saturating_sub(alone) as f64 / 1e6 / connections,
                    sample.rate / base.rate.max(1.0),
                    sample.p99.unwrap_or_default(),
                    (server.memory() as f64 - memory as f64) / 1e6,
                );
            }
        }
        Ok(text)
    }

    /// Every kind of bomb in turn, held until the server ends it.
    pub(crate) fn bombs(&self) -> io::Result<String> {
        let mut text = format!(
            "\n### bomb: {BOMBERS} connections, every stream full of fields, no window, an origin that never answers\n\n\
             Memory is what a connection holds after 5 s; for comparison the same streams without fields.\n\n\
             | Server | kind | sent bytes/connection | held bytes/connection | held ÷ sent | all reaped after s |\n\
             |---|---|---|---|---|---|\n"
        );
        for name in self.names.iter().filter(|name| **name != Name::Varnish) {
            for kind in 0..=BOMBS.len() {
                let server = self.stage.start(*name, true)?;
                get(server.plain, "/o/warm?s=1024")?;
                attack::flood(server.tls.unwrap_or(server.plain), 0, ATTACKERS, 1)?;
                let memory = server.memory();
                let (mut process, said) = self.attack("bomb", &server, &[kind.to_string()])?;
                let start = now();
                pause(BOMB_WAIT_MILLIS);
                let held = server.memory().saturating_sub(memory) as f64 / BOMBERS as f64;
                while !process.ended() && now() - start < 2 * REAPED_SECS * SECOND {
                    pause(500);
                }
                let took = (now() - start) as f64 / SECOND as f64;
                let sent = value(&said(), "sent").max(1.0);
                text += &format!(
                    "| {} | {} | {sent:.0} | {held:.0} | {:.1} | {} |\n",
                    server.title,
                    BOMBS.get(kind).map_or("no fields", |(claim, _)| claim),
                    held / sent,
                    if process.ended() { format!("{took:.0}") } else { format!("not in {took:.0}") },
                );
                process.end();
            }
        }
        Ok(text)
    }

    /// An attacker on the load core, and the last line that it said.
    fn attack(
        &self,
        kind: &str,
        server: &Server,
        arguments: &[String],
    ) -> io::Result<(Process, impl Fn() -> String + use<>)> {
        let file = self.stage.folder.join(kind);
        let mut command = Stage::own(LOAD_CORE, kind)?;
        let address = server.tls.unwrap_or(server.plain).to_string();
        command.arg(address).args(arguments).stdout(std::fs::File::create(&file)?);
        let process = Process::start(&mut command)?;
        let said = move || {
            let text = std::fs::read_to_string(&file).unwrap_or_default();
            text.lines().last().unwrap_or_default().to_owned()
        };
        Ok((process, said))
    }
}

pub(crate) const ATTACKERS: usize = 4;
pub(crate) const BOMBERS: usize = 100;
const GOOD_RATE: u32 = 5_000;
const BOMB_WAIT_MILLIS: u64 = 5_000;
/// When a bomb must have been ended.
const REAPED_SECS: u64 = 60;
