//! `tidegate demo`: the node in front of a small news site inside this process.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use clap::Args;

use super::Ended;
use super::proxy::Proxy;
use super::run::{Before, runtime, serve_on};
use super::talk::Talk;
use crate::clock::Clock;
use crate::config::Network;
use crate::demo;

/// Put a cache in front of a small news site inside this process, and print what to try.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate demo\n  tidegate demo --from :8081 --admin :9181\n\nIt serves on this machine only and forgets everything when it ends."
)]
pub(crate) struct Demo {
    /// Where to listen: ADDRESS:PORT, :PORT or PORT.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8080")]
    from: String,
    /// Where the admin listener is.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9180")]
    admin: String,
    /// The access log: stdout, off or a file.
    #[arg(long, value_name = "TARGET", default_value = "off")]
    log: String,
}

impl Demo {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let runtime = match runtime() {
            Ok(runtime) => runtime,
            Err(error) => {
                talk.complain(&format!("cannot start: {error}"), "");
                return Ended::Failed;
            }
        };
        let site = match runtime.block_on(demo::start(&Clock::system())) {
            Ok(site) => site,
            Err(error) => {
                talk.complain(&format!("cannot start the site to stand in front of: {error}"), "");
                return Ended::Failed;
            }
        };
        let flags = Proxy {
            to: site.addresses.iter().map(|address| format!("http://{address}")).collect(),
            from: self.from,
            admin: self.admin,
            log: self.log,
            ..Proxy::default()
        };
        let mut config = match flags.config() {
            Ok(config) => config,
            Err(mistakes) => return talk.mistakes(&mistakes),
        };
        // So that `curl -X PURGE` can be tried; a node for a site lets nobody do that until its settings say who.
        config.purge.method_from = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)]
            .into_iter()
            .filter_map(|here| Network::new(here, if here.is_ipv4() { 32 } else { 128 }))
            .collect();
        let atlas = match demo::Atlas::write() {
            Ok(atlas) => atlas,
            Err(error) => {
                talk.complain(&format!("cannot write the geo database of the demo: {error}"), "");
                return Ended::Failed;
            }
        };
        atlas.steer(&mut config);
        let program = std::env::args_os().next().map_or_else(
            || env!("CARGO_PKG_NAME").to_owned(),
            |program| program.to_string_lossy().into_owned(),
        );
        serve_on(&runtime, None, config, Before::nothing(), talk, |running| {
            let serving = running.addresses();
            if let (Some(address), Some(admin)) = (serving.first(), running.admin_address()) {
                talk.result(&demo::guide(&program, *address, admin));
            }
        })
    }
}
