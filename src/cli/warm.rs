//! `--warm`: asks for what a deploy brought, through the node, so that the first visitor need not wait for it.
//!
//! One request after the other on a connection each, at most so many in a second: an origin that has just been deployed to has
//! enough to do. What cannot be had is counted, and no reason to stop before many in a row.

use std::io::{self, IsTerminal, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use purge_api::ResourceUrl;
use purge_api::deploy::encoded;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::Ended;
use super::talk::Talk;
use crate::clock::Clock;
use crate::config::limits::{ADMIN_CLIENT_TIMEOUT, WARM_FAILURES_MAX, WARM_RATE};

/// How to warm.
#[derive(Args, Debug)]
pub(super) struct Warm {
    /// Then ask for what is new or changed, so that the cache has it.
    #[arg(long = "warm")]
    asked: bool,
    /// Requests a second while warming.
    #[arg(long, value_name = "N", default_value_t = WARM_RATE, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rate: u32,
    /// A listener of the node to warm through; without it the site's own address.
    #[arg(
        long,
        value_name = "URL",
        help = "A listener of the node to warm through, like http://127.0.0.1:8080 [default: the site]"
    )]
    through: Option<String>,
}

impl Warm {
    pub(super) const fn is_asked(&self) -> bool {
        self.asked || self.through.is_some()
    }

    /// Asks for each of these files of the site.
    pub(super) fn carry_out<'p>(
        &self,
        talk: Talk,
        site: &str,
        paths: impl Iterator<Item = &'p str>,
    ) -> Ended {
        let through = self.through.as_deref().unwrap_or(site);
        let (site, door) = match (ResourceUrl::parse(site), ResourceUrl::parse(through)) {
            (Ok(site), Ok(door)) => (site, Door::new(&door)),
            (Err(error), _) | (_, Err(error)) => {
                talk.complain(
                    &format!("cannot warm through `{}`: {error}", through.escape_debug()),
                    "write a URL",
                );
                return Ended::Usage;
            }
        };
        let base = site.target().trim_end_matches('/').to_owned();
        let targets: Vec<_> = paths.map(|path| format!("{base}/{}", encoded(clean(path)))).collect();
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else {
            return Ended::Failed;
        };
        let (clock, pause) = (Clock::system(), Duration::from_secs(1) / self.rate.max(1));
        let line = Line { terminal: io::stderr().is_terminal(), whole: targets.len() };
        let (mut asked, mut warmed, mut in_a_row) = (0_usize, 0_usize, 0_usize);
        let mut last = None;
        for target in &targets {
            let next = clock.now().plus(pause);
            let told = door.ask(site.authority(), target);
            in_a_row = if told.is_ok() { 0 } else { in_a_row + 1 };
            match told {
                Ok(status) if status < 400 => warmed += 1,
                Ok(status) => last = Some(format!("{target}: status {status}")),
                Err(error) => last = Some(format!("{target}: {error}")),
            }
            asked += 1;
            let failed = asked - warmed;
            line.show(warmed, failed);
            if in_a_row >= WARM_FAILURES_MAX {
                break;
            }
            runtime.block_on(clock.sleep_until(next));
        }
        line.clear();
        talk.say(&format!("warmed {warmed} of {}", targets.len()));
        match last {
            None => Ended::Done,
            Some(last) => {
                let help = "the purge holds all the same; name a listener of the node with --through";
                let failed = targets.len() - warmed;
                talk.complain(&format!("{failed} could not be warmed, the last {last}"), help);
                Ended::Failed
            }
        }
    }
}

/// The address under which a file is asked for.
fn clean(path: &str) -> &str {
    match path.strip_suffix("index.html") {
        Some(directory) if directory.is_empty() || directory.ends_with('/') => directory,
        _ => path,
    }
}

/// Where requests go.
struct Door {
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
}

impl Door {
    fn new(url: &ResourceUrl) -> Self {
        let port = url.authority().rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        let host = url.host().trim_start_matches('[').trim_end_matches(']').to_owned();
        let tls = url.is_https().then(|| {
            let mut roots = RootCertStore::empty();
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            Arc::new(ClientConfig::builder().with_root_certificates(roots).with_no_client_auth())
        });
        let port = port.unwrap_or(if tls.is_some() { 443 } else { 80 });
        Self { host, port, tls }
    }

    /// The status of this target; its body is read and dropped, or nothing would be stored.
    fn ask(&self, authority: &str, target: &str) -> io::Result<u16> {
        let address = (self.host.as_str(), self.port).to_socket_addrs()?.next();
        let address = address.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let socket = TcpStream::connect_timeout(&address, ADMIN_CLIENT_TIMEOUT)?;
        socket.set_read_timeout(Some(ADMIN_CLIENT_TIMEOUT))?;
        socket.set_write_timeout(Some(ADMIN_CLIENT_TIMEOUT))?;
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\nAccept: */*\r\n\
             User-Agent: tidegate-warm\r\n\r\n"
        );
        match &self.tls {
            None => exchange(socket, &request),
            Some(tls) => {
                let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host).to_owned();
                let name = ServerName::try_from(host).map_err(io::Error::other)?;
                let connection = ClientConnection::new(Arc::clone(tls), name).map_err(io::Error::other)?;
                exchange(StreamOwned::new(connection, socket), &request)
            }
        }
    }
}

fn exchange(mut wire: impl Read + Write, request: &str) -> io::Result<u16> {
    wire.write_all(request.as_bytes())?;
    let (mut piece, mut head) = (vec![0; 64 * 1024], Vec::new());
    loop {
        let read = match wire.read(&mut piece) {
            Ok(read) => read,
            // Some end a TLS connection without saying so.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            Err(error) => return Err(error),
        };
        if read == 0 {
            return status_of(&head).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData));
        }
        let room = STATUS_LINE_BYTES.saturating_sub(head.len());
        head.extend_from_slice(piece.get(..read.min(room)).unwrap_or_default());
    }
}

/// The status in the first line of an answer.
fn status_of(head: &[u8]) -> Option<u16> {
    let line = std::str::from_utf8(head.get(..STATUS_LINE_BYTES)?).ok()?;
    line.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()
}

/// The one line of progress, on a terminal only.
struct Line {
    terminal: bool,
    whole: usize,
}

impl Line {
    fn show(&self, warmed: usize, failed: usize) {
        if self.terminal {
            let done = warmed + failed;
            let filled = done * BAR_WIDTH / self.whole.max(1);
            let bar = "#".repeat(filled) + &"-".repeat(BAR_WIDTH.saturating_sub(filled));
            let told = if failed > 0 { format!(", {failed} failed") } else { String::new() };
            // Nobody watches: then nobody misses it.
            let _ = write!(io::stderr(), "\rwarming [{bar}] {done}/{}{told}", self.whole);
        }
    }

    fn clear(&self) {
        if self.terminal {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

/// `HTTP/1.1 200`.
const STATUS_LINE_BYTES: usize = 12;
const BAR_WIDTH: usize = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_statuses() {
        for (path, expected) in [
            ("index.html", ""),
            ("a/index.html", "a/"),
            ("a/my-index.html", "a/my-index.html"),
            ("a.css", "a.css"),
        ] {
            assert_eq!(clean(path), expected);
        }
        for (head, expected) in [
            (&b"HTTP/1.1 200 OK"[..], Some(200)),
            (b"HTTP/1.0 404 N", Some(404)),
            (b"HTTP/1.1 20", None),
            (b"<!doctype html", None),
        ] {
            assert_eq!(status_of(head), expected);
        }
    }

    #[test]
    fn doors() {
        for (url, host, port, tls) in [
            ("http://127.0.0.1:8080", "127.0.0.1", 8080, false),
            ("https://www.example.com/", "www.example.com", 443, true),
            ("http://[::1]/", "::1", 80, false),
        ] {
            let door = Door::new(&ResourceUrl::parse(url).expect("a URL"));
            assert_eq!((door.host.as_str(), door.port, door.tls.is_some()), (host, port, tls), "{url}");
        }
    }
}
