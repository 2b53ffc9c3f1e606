//! Sites and listeners of `server` blocks.
//!
//! nginx finds a server by address, then by name; here a site is found by its host on every listener. So servers of one host are one
//! site: that one of them only sends clients from port 80 to https is `https_only` of the other.

use super::super::Place;
use super::super::draft;
use super::super::draft::{Block, Draft, Listener, Site};
use super::location::{Ground, Kind, Location, locations, route};
use super::syntax::Directive;
use super::{Levels, World};
use crate::config::value;

struct Server<'c> {
    block: &'c [Directive],
    levels: Levels<'c>,
    names: Vec<String>,
    place: Place,
    /// It does nothing but to send clients to https on their own host.
    to_https: bool,
}

/// All servers.
pub(super) fn servers(world: &World<'_>, draft: &mut Draft) {
    let mut servers = Vec::new();
    let mut taken: Vec<String> = Vec::new();
    for directive in world.http.iter().filter(|directive| directive.name == "server") {
        let Some(block) = &directive.block else { continue };
        let levels = Levels(vec![world.http.as_slice().into()]).within(block);
        listeners(directive, &levels, draft);
        let names = names(directive, &levels, draft);
        let to_https = sends_to_https(block, &names);
        servers.push(Server { block, levels, names, place: directive.place.clone(), to_https });
    }
    let secured: Vec<String> =
        servers.iter().filter(|server| server.to_https).flat_map(|server| server.names.clone()).collect();
    for server in servers.iter().filter(|server| !server.to_https) {
        let mut hosts = Vec::new();
        for name in &server.names {
            if taken.contains(name) {
                draft.note(
                    &server.place,
                    format!("`{name}` has a server above already; here a host has one site on all listeners"),
                    "what this one says differently has to be written into that site by hand",
                );
            } else {
                taken.push(name.clone());
                hosts.push(name.clone());
            }
        }
        if !hosts.is_empty() {
            let only = secured.iter().filter(|name| hosts.contains(name)).count();
            site(world, server, hosts, only, draft);
        }
    }
    // Names that are sent to https and served nowhere else.
    for server in servers.iter().filter(|server| server.to_https) {
        let hosts: Vec<String> = server.names.iter().filter(|name| !taken.contains(name)).cloned().collect();
        taken.extend(hosts.iter().cloned());
        if hosts.is_empty() {
            continue;
        }
        let mut block = Block::default();
        if hosts.iter().any(|host| host == "*") {
            // Any other host: nothing is served under it.
            block.keys.set("redirect", "{ to = \"https://$host$uri\", status = 301 }");
        } else {
            block.keys.set("https_only", "true");
            block.keys.set("respond", "{ status = 404, body = \"\" }");
        }
        if let Some(pool) = draft.pools.first().map(|pool| pool.name.clone()) {
            block.keys.set("pool", draft::text(&pool));
        }
        draft.sites.push(Site {
            hosts,
            block,
            redirects: Vec::new(),
            routes: Vec::new(),
            place: server.place.clone(),
        });
    }
    ends(world, draft);
}

/// What every file must have.
fn ends(world: &World<'_>, draft: &mut Draft) {
    let place = world.http.first().map(|directive| directive.place.clone());
    let Some(place) = place else { return };
    if draft.sites.is_empty() {
        draft.note(&place, "there is no server in it", "write [[site]] with hosts and pool");
    }
    if draft.pools.is_empty() {
        // A file has a pool, even where all is answered by the node.
        let origins =
            vec![draft::Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false }];
        draft.pools.push(draft::Pool {
            name: "main".to_owned(),
            origins,
            keys: draft::Keys::default(),
            place: place.clone(),
        });
    }
    let first = draft.pools.first().map(|pool| pool.name.clone()).unwrap_or_default();
    for site in &mut draft.sites {
        if site.block.keys.get("pool").is_none() {
            site.block.keys.set("pool", draft::text(&first));
        }
    }
    if draft.sites.is_empty() {
        let mut block = Block::default();
        block.keys.set("pool", draft::text(&first));
        draft.sites.push(Site {
            hosts: vec!["*".to_owned()],
            block,
            redirects: Vec::new(),
            routes: Vec::new(),
            place: place.clone(),
        });
    }
    if draft.listeners.is_empty() {
        draft.listeners.push(Listener {
            address: ":80".to_owned(),
            certificates: Vec::new(),
            keys: draft::Keys::default(),
            place,
        });
    }
}

fn site(world: &World<'_>, server: &Server<'_>, hosts: Vec<String>, secured: usize, draft: &mut Draft) {
    let (locations, named) = locations(&server.levels, server.block);
    let server_name = hosts.iter().find(|name| !name.contains('*')).cloned().unwrap_or_default();
    let mut ground =
        Ground { world, server_name: &server_name, named: &named, all: &locations, redirects: Vec::new() };
    for rewrite in server.levels.here("rewrite") {
        if !ground.redirects(rewrite, draft) {
            draft.note(
                &rewrite.place,
                format!("`{}` changes what is asked for before a location is chosen", rewrite.shown()),
                "write a route with path = { regex = \"…\" } and rewrite = { path = \"…$1\" }; routes are chosen by what clients ask for",
            );
        }
    }
    // The site itself is the location that takes everything.
    let is_root = |location: &Location<'_>| location.kind == Kind::Prefix && location.pattern == "/";
    let root = locations.iter().find(|location| is_root(location)).cloned().unwrap_or_else(|| Location {
        kind: Kind::Prefix,
        pattern: "/".to_owned(),
        levels: server.levels.clone(),
        place: server.place.clone(),
    });
    let mut block = ground.block(&root, draft);
    if secured > 0 {
        if secured < hosts.len() {
            draft.note(
                &server.place,
                "some of these hosts are sent to https, and others are not; here all of them are",
                "make two sites of it where that matters",
            );
        }
        block.keys.set("https_only", "true");
    }
    let answers_all = server.block.iter().any(|directive| directive.name == "return");
    let mut routes: Vec<draft::Route> = Vec::new();
    for location in locations.iter().filter(|location| !is_root(location) && !answers_all) {
        let mut whole = ground.block(location, draft);
        if let Some(only) = block.keys.get("https_only").map(str::to_owned) {
            whole.keys.set("https_only", only);
        }
        for route in route(location, &whole, &block, draft) {
            if routes.iter().any(|known| known.path == route.path) {
                draft.note(&location.place, "this location stands above already", "");
            } else {
                routes.push(route);
            }
        }
    }
    let place = server.place.clone();
    draft.sites.push(Site { hosts, block, redirects: ground.redirects, routes, place });
}

/// Whether a server only sends clients to https, on the host they asked for.
fn sends_to_https(block: &[Directive], names: &[String]) -> bool {
    let answer = match block.iter().find(|directive| directive.name == "return") {
        Some(answer) => answer,
        None => {
            let roots: Vec<_> = block.iter().filter(|directive| directive.name == "location").collect();
            let [root] = roots.as_slice() else { return false };
            match (root.argument(0), root.block.as_deref()) {
                ("/", Some([answer])) if answer.name == "return" => answer,
                _ => return false,
            }
        }
    };
    // Locations beside it, as for challenges of certificates, are more than that; conditions in front of it are certbot's.
    let others = block.iter().any(|directive| directive.name == "location" && directive.argument(0) != "/");
    let plain = !block.iter().any(|directive| {
        directive.name == "listen" && directive.arguments.iter().any(|word| word == "ssl" || word == "quic")
    });
    let target = answer.argument(1);
    let own = ["$host", "$http_host", "$server_name"]
        .iter()
        .any(|host| target == format!("https://{host}$request_uri"))
        || matches!(names, [only] if target == format!("https://{only}$request_uri"));
    let certbot = answer.argument(0) == "404"
        && block.iter().any(|directive| {
            directive.name == "if"
                && directive.arguments.join(" ").contains("$host")
                && directive
                    .block
                    .iter()
                    .flatten()
                    .any(|inside| inside.argument(1).starts_with("https://$host"))
        });
    plain && !others && (certbot || (own && matches!(answer.argument(0), "301" | "302" | "307" | "308")))
}

/// Hosts of `server_name`; without one, or for a default server, any.
fn names(server: &Directive, levels: &Levels<'_>, draft: &mut Draft) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    let mut add = |name: String| {
        if !names.contains(&name) {
            names.push(name);
        }
    };
    for directive in levels.here("server_name") {
        for name in &directive.arguments {
            match name.as_str() {
                "_" | "" | "*" => add("*".to_owned()),
                "$hostname" => draft.note(
                    &directive.place,
                    "`$hostname` as a name",
                    "write the machine's name into hosts",
                ),
                expression if expression.starts_with('~') => draft.note(
                    &directive.place,
                    format!("`{expression}`: hosts are names, or a star in front of one"),
                    "write hosts = [\"www.example.com\", \"*.example.com\"]",
                ),
                dotted if dotted.starts_with('.') => {
                    add(dotted.trim_start_matches('.').to_ascii_lowercase());
                    add(format!("*{}", dotted.to_ascii_lowercase()));
                }
                plain => match value::host_pattern(plain) {
                    Ok(host) => add(host.to_string()),
                    Err(complaint) => draft.note(&directive.place, complaint.message, complaint.help),
                },
            }
        }
    }
    let is_default = levels
        .here("listen")
        .iter()
        .any(|listen| listen.arguments.iter().any(|word| word == "default_server" || word == "default"));
    if is_default || levels.here("server_name").is_empty() {
        add("*".to_owned());
    }
    if names.is_empty() {
        draft.note(
            &server.place,
            "no name of this server can be said here",
            "write hosts = [ … ] in its site",
        );
    }
    names
}

fn listeners(server: &Directive, levels: &Levels<'_>, draft: &mut Draft) {
    let certificates: Vec<(String, String)> = levels
        .all("ssl_certificate")
        .iter()
        .zip(levels.all("ssl_certificate_key"))
        .map(|(cert, key)| (cert.argument(0).to_owned(), key.argument(0).to_owned()))
        .collect();
    let listens = levels.here("listen");
    let ssl_on = levels.is_on("ssl");
    if listens.is_empty() {
        let _ = listener(draft, ":80", &server.place);
    }
    for listen in listens {
        let written = listen.argument(0);
        if written.starts_with("unix:") {
            draft.note(
                &listen.place,
                format!("`{}`: clients are not served on sockets in the file system", listen.shown()),
                "write an address with a port",
            );
            continue;
        }
        if listen.arguments.iter().any(|word| word == "quic") {
            continue;
        }
        let Some(address) = address(written) else {
            draft.note(
                &listen.place,
                format!("`{}`: not an address", listen.shown()),
                "write an address with a port, like \":443\"",
            );
            continue;
        };
        let has = |word: &str| listen.arguments.iter().any(|argument| argument == word);
        let at = listener(draft, &address, &listen.place);
        let Some(listener) = draft.listeners.get_mut(at) else { continue };
        if has("proxy_protocol") {
            let trusted: Vec<String> =
                levels.all("set_real_ip_from").iter().map(|from| from.argument(0).to_owned()).collect();
            let trusted = if trusted.is_empty() { vec!["127.0.0.1".to_owned()] } else { trusted };
            let trusted: Vec<_> = trusted.into_iter().filter(|from| value::network(from).is_ok()).collect();
            listener.keys.set_with(
                "proxy_protocol",
                format!("{{ trust = {} }}", draft::texts(&trusted)),
                "nobody else is served",
            );
        } else if levels
            .one("real_ip_header")
            .is_none_or(|field| field.argument(0).eq_ignore_ascii_case("x-forwarded-for"))
        {
            let trusted: Vec<String> = levels
                .all("set_real_ip_from")
                .iter()
                .map(|from| from.argument(0).to_owned())
                .filter(|from| value::network(from).is_ok())
                .collect();
            if !trusted.is_empty() {
                listener.keys.set("trusted_proxies", draft::texts(&trusted));
            }
        }
        if has("ssl") || ssl_on {
            for pair in &certificates {
                if !listener.certificates.contains(pair) {
                    listener.certificates.push(pair.clone());
                }
            }
            let place = listener.place.clone();
            let none = listener.certificates.is_empty();
            if none {
                draft.note(
                    &place,
                    "TLS without a certificate",
                    "write tls = [ { cert = \"…\", key = \"…\" } ]",
                );
            }
        }
    }
    if let Some(field) = levels.one("real_ip_header").filter(|field| {
        !["x-forwarded-for", "proxy_protocol"].contains(&field.argument(0).to_ascii_lowercase().as_str())
    }) {
        draft.note(
            &field.place,
            format!("`{}`: clients are named by X-Forwarded-For or Forwarded", field.shown()),
            "let the proxy in front send X-Forwarded-For, and write trusted_proxies = [ … ] in the listener",
        );
    }
}

/// The listener of this address, made where there is none, or that takes its port on all addresses.
fn listener(draft: &mut Draft, address: &str, place: &Place) -> usize {
    if let Some(at) = draft.listeners.iter().position(|listener| listener.address == address) {
        return at;
    }
    let port = |address: &str| address.rsplit_once(':').map(|(_, port)| port.to_owned());
    let wide = |address: &str| address.starts_with(':');
    let same = draft.listeners.iter().position(|listener| {
        port(&listener.address) == port(address)
            && (wide(&listener.address) || wide(address))
            && !address.starts_with('[')
            && !listener.address.starts_with('[')
    });
    if let Some(at) = same {
        if wide(address)
            && let Some(listener) = draft.listeners.get_mut(at)
        {
            address.clone_into(&mut listener.address);
        }
        return at;
    }
    draft.listeners.push(Listener {
        address: address.to_owned(),
        certificates: Vec::new(),
        keys: draft::Keys::default(),
        place: place.clone(),
    });
    draft.listeners.len().saturating_sub(1)
}

/// nginx's address as ours: `80`, `*:80`, `[::]:80`, `127.0.0.1:80`, `127.0.0.1`, `localhost:80`.
fn address(written: &str) -> Option<String> {
    if written.parse::<u16>().is_ok() {
        return Some(format!(":{written}"));
    }
    let written = written.strip_prefix("*:").map_or_else(|| written.to_owned(), |port| format!(":{port}"));
    let written = written.strip_prefix("0.0.0.0:").map_or(written.clone(), |port| format!(":{port}"));
    if value::listen_address(&written).is_ok() {
        return Some(written);
    }
    let with_port = format!("{written}:80");
    value::listen_address(&with_port).is_ok().then_some(with_port)
}
