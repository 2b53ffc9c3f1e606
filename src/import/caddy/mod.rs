//! A Caddyfile as our settings.
//!
//! `syntax.rs` reads lines; `site.rs` makes a site of a block and routes of what has a matcher (`matcher.rs`), `directives.rs`
//! reads each of them, `proxy.rs` makes pools of `reverse_proxy`. Caddy stores nothing, so what comes out
//! does not either, until a line is taken out; it says so at that line.

mod directives;
mod matcher;
mod proxy;
mod site;
mod syntax;
mod text;

use std::path::Path;

use super::draft::{self, Block, Draft, Keys, Listener, Origin, Pool, Site};
use super::source::Files;
use super::{Place, Unread};
use crate::config::value;
use syntax::Line;

/// What the global options say.
struct Options {
    http_port: u16,
    https_port: u16,
    auto_https: bool,
    trusted: Vec<String>,
}

/// Reads `path` into the draft.
pub(super) fn read(path: &Path, files: Files, draft: &mut Draft) -> Result<(), Unread> {
    let lines = syntax::parse(path, files, draft)?;
    let mut options = Options { http_port: 80, https_port: 443, auto_https: true, trusted: Vec::new() };
    // Without braces the first line names the only site, and all others are its directives.
    let bare = lines.first().filter(|line| line.block.is_none()).cloned();
    let whole;
    let sites: Vec<&Line> = match bare {
        Some(first) if !first.words.is_empty() => {
            whole = Line { block: Some(lines.get(1..).unwrap_or_default().to_vec()), ..first };
            vec![&whole]
        }
        _ => lines.iter().collect(),
    };
    for line in sites {
        if line.words.is_empty() {
            global(line, &mut options, draft);
        } else {
            one_site(line, &options, draft);
        }
    }
    ends(path, &options, draft);
    Ok(())
}

fn global(line: &Line, options: &mut Options, draft: &mut Draft) {
    for option in line.inside() {
        match option.name() {
            "http_port" => options.http_port = option.word(1).parse().unwrap_or(80),
            "https_port" => options.https_port = option.word(1).parse().unwrap_or(443),
            "auto_https" => options.auto_https = !matches!(option.word(1), "off" | "disable_redirects"),
            "grace_period" => {
                if let Some(time) = text::duration(option.word(1)) {
                    draft.table("limits").set("drain_timeout", time);
                }
            }
            "servers" => servers(option, options, draft),
            // Certificates come by themselves there; here that is told of where a site needs one.
            "email"
            | "acme_ca"
            | "acme_ca_root"
            | "acme_dns"
            | "acme_eab"
            | "cert_issuer"
            | "cert_lifetime"
            | "key_type"
            | "local_certs"
            | "ocsp_stapling"
            | "ocsp_interval"
            | "on_demand_tls"
            | "pki"
            | "preferred_chains"
            | "skip_install_trust"
            | "storage"
            | "storage_clean_interval"
            | "renew_interval"
            | "debug"
            | "order"
            | "persist_config"
            | "log"
            | "admin"
            | "default_sni"
            | "fallback_sni"
            | "shutdown_delay" => {}
            "default_bind" => {
                draft.note(&option.place, "`default_bind`", "write the addresses into the listeners");
            }
            other => draft.note(
                &option.place,
                format!("the option `{other}` has no counterpart"),
                "see docs/settings.md",
            ),
        }
    }
}

fn servers(line: &Line, options: &mut Options, draft: &mut Draft) {
    for option in line.inside() {
        match option.name() {
            "trusted_proxies" if option.word(1) == "static" => {
                for network in option.words.iter().skip(2) {
                    if network == "private_ranges" {
                        options.trusted.extend(PRIVATE.iter().map(|network| (*network).to_owned()));
                    } else if value::network(network).is_ok() {
                        options.trusted.push(network.clone());
                    }
                }
            }
            "max_header_size" => {
                if let Some(size) = text::size(option.word(1)) {
                    draft.table("limits").set("head_max", size);
                }
            }
            "timeouts" => {
                for timeout in option.inside() {
                    let key = match timeout.name() {
                        "read_header" => "head_timeout",
                        "idle" => "idle_timeout",
                        "write" => "total_timeout",
                        _ => continue,
                    };
                    if let Some(time) = text::duration(timeout.word(1)) {
                        draft.table("limits").set(key, time);
                    }
                }
            }
            "protocols"
            | "metrics"
            | "name"
            | "strict_sni_host"
            | "client_ip_headers"
            | "trusted_proxies_strict"
            | "keepalive_interval" => {}
            other => draft.note(
                &option.place,
                format!("the server option `{other}` has no counterpart"),
                "see docs/settings.md",
            ),
        }
    }
}

/// Where a site is: a host, and a port where one is written.
struct Address {
    host: String,
    tls: bool,
    port: u16,
}

fn addresses(line: &Line, options: &Options, draft: &mut Draft) -> Vec<Address> {
    let mut all = Vec::new();
    for written in line.words.iter().flat_map(|word| word.split(',')).filter(|word| !word.is_empty()) {
        let (scheme, rest) =
            written.split_once("://").map_or((None, written), |(scheme, rest)| (Some(scheme), rest));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        if !path.is_empty() && path != "*" {
            draft.note(
                &line.place,
                format!("`{written}`: a path in an address"),
                "write a route with that path",
            );
        }
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !host.contains(']') || port.parse::<u16>().is_ok() => {
                (host, port.parse::<u16>().ok())
            }
            _ => (authority, None),
        };
        let host = if host.is_empty() { "*".to_owned() } else { host.to_ascii_lowercase() };
        if value::host_pattern(&host).is_err() {
            draft.note(&line.place, format!("`{written}` is no host"), "write hosts = [\"www.example.com\"]");
            continue;
        }
        let tls = match (scheme, port) {
            (Some("http"), _) => false,
            (Some(_), _) => true,
            (None, Some(port)) if port == options.http_port => false,
            // A port alone is plain; a name is served over TLS.
            (None, Some(_)) if host == "*" => false,
            (None, _) => host != "*" || port == Some(options.https_port),
        };
        let port = port.unwrap_or(if tls { options.https_port } else { options.http_port });
        all.push(Address { host, tls, port });
    }
    all
}

fn one_site(line: &Line, options: &Options, draft: &mut Draft) {
    let addresses = addresses(line, options, draft);
    let mut hosts: Vec<String> = Vec::new();
    for address in &addresses {
        let served = draft.sites.iter().any(|site| site.hosts.contains(&address.host));
        if served {
            draft.note(
                &line.place,
                format!(
                    "`{}` has a site above already; here a host has one site on all listeners",
                    address.host
                ),
                "what this one says differently has to be written into that site by hand",
            );
        } else if !hosts.contains(&address.host) {
            hosts.push(address.host.clone());
        }
    }
    let certificate = line.inside().iter().find(|line| line.name() == "tls" && line.words.len() == 3);
    let certificate = certificate.map(|line| (line.word(1).to_owned(), line.word(2).to_owned()));
    let mut secured = false;
    for address in &addresses {
        if !address.tls {
            listen(draft, address.port, None, &line.place, options);
            continue;
        }
        match &certificate {
            Some(pair) => {
                secured = true;
                listen(draft, address.port, Some(pair.clone()), &line.place, options);
                if options.auto_https && address.port == options.https_port {
                    listen(draft, options.http_port, None, &line.place, options);
                }
            }
            None => {
                draft.note(
                    &line.place,
                    format!("`{}`: Caddy gets a certificate by itself; what came out serves plain HTTP", address.host),
                    format!(
                        "write [[listener]] address = \":{}\", tls = [ {{ cert = \"/etc/tidegate/{}.pem\", key = \"/etc/tidegate/{}.key\" }} ] with the files of your ACME client, and https_only = true in the site",
                        address.port, address.host, address.host
                    ),
                );
                listen(draft, options.http_port, None, &line.place, options);
            }
        }
    }
    if hosts.is_empty() {
        return;
    }
    let mut site = site::site(line, draft);
    if secured && options.auto_https && addresses.iter().all(|address| address.tls) {
        site.block.keys.set_with("https_only", "true", "as Caddy does by itself");
    }
    site.hosts = hosts;
    draft.sites.push(site);
}

fn listen(
    draft: &mut Draft,
    port: u16,
    certificate: Option<(String, String)>,
    place: &Place,
    options: &Options,
) {
    let address = format!(":{port}");
    let at = draft.listeners.iter().position(|listener| listener.address == address).unwrap_or_else(|| {
        let mut keys = Keys::default();
        if !options.trusted.is_empty() {
            keys.set("trusted_proxies", draft::texts(&options.trusted));
        }
        draft.listeners.push(Listener { address, certificates: Vec::new(), keys, place: place.clone() });
        draft.listeners.len().saturating_sub(1)
    });
    if let (Some(listener), Some(pair)) = (draft.listeners.get_mut(at), certificate)
        && !listener.certificates.contains(&pair)
    {
        listener.certificates.push(pair);
    }
}

/// What every file must have.
fn ends(path: &Path, options: &Options, draft: &mut Draft) {
    let place = Place { file: path.display().to_string().into(), line: 1 };
    if draft.sites.is_empty() {
        draft.note(&place, "there is no site in it", "write [[site]] with hosts and pool");
        let block = Block::default();
        draft.sites.push(Site {
            hosts: vec!["*".to_owned()],
            block,
            redirects: Vec::new(),
            routes: Vec::new(),
            place: place.clone(),
        });
    }
    if draft.listeners.is_empty() {
        listen(draft, options.http_port, None, &place, options);
    }
    if draft.pools.is_empty() {
        let origins = vec![Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false }];
        draft.pools.push(Pool { name: "main".to_owned(), origins, keys: Keys::default(), place });
    }
    let first = draft.pools.first().map(|pool| pool.name.clone()).unwrap_or_default();
    for site in &mut draft.sites {
        if site.block.keys.get("pool").is_none() {
            site.block.keys.set("pool", draft::text(&first));
        }
    }
}

/// `private_ranges`.
const PRIVATE: [&str; 6] =
    ["192.168.0.0/16", "172.16.0.0/12", "10.0.0.0/8", "127.0.0.0/8", "fd00::/8", "::1"];
