//! Pools of `upstream` blocks and of the hosts that `proxy_pass` names.

use super::super::Place;
use super::super::draft::{self, Draft, Keys, Origin, Pool};
use super::syntax::Directive;
use super::{Levels, World, text};
use crate::config::value;

/// What `proxy_pass` says.
pub(super) struct Target<'a> {
    pub(super) tls: bool,
    /// Name of an upstream, or host with port, or `unix:` and a path.
    pub(super) host: &'a str,
    /// What stands behind it: replaces the location in the path.
    pub(super) path: Option<&'a str>,
}

/// Takes a `proxy_pass` apart; `None` where it has a variable or another scheme.
pub(super) fn target(written: &str) -> Option<Target<'_>> {
    let (scheme, rest) = written.split_once("://")?;
    let tls = match scheme {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    if written.contains('$') {
        return None;
    }
    if let Some(socket) = rest.strip_prefix("unix:") {
        let (path, uri) = socket.split_once(':').map_or((socket, None), |(path, uri)| (path, Some(uri)));
        let end = path.len().saturating_add("unix:".len());
        return Some(Target { tls, host: rest.get(..end)?, path: uri.filter(|uri| !uri.is_empty()) });
    }
    let end = rest.find('/').unwrap_or(rest.len());
    let (host, path) = rest.split_at_checked(end)?;
    (!host.is_empty()).then_some(Target { tls, host, path: Some(path).filter(|path| !path.is_empty()) })
}

/// The pool for a target as the levels treat it; its name.
pub(super) fn pool(
    world: &World<'_>,
    levels: &Levels<'_>,
    target: &Target<'_>,
    place: &Place,
    draft: &mut Draft,
) -> String {
    let mut keys = Keys::default();
    let upstream = world.upstreams.get(target.host).copied();
    let origins = match upstream {
        Some(directive) => members(directive, target.tls, &mut keys, draft),
        None => vec![Origin { url: url(target.host, target.tls), weight: 1, backup: false }],
    };
    host(levels, target, &mut keys, draft);
    times(levels, &mut keys);
    if target.tls {
        tls(levels, target, &mut keys);
    }
    let failures = levels.one("proxy_next_upstream").map_or_else(Vec::new, |directive| {
        let codes = directive.arguments.iter().filter_map(|word| word.strip_prefix("http_"));
        codes.filter(|code| code.starts_with('5')).map(draft::text).collect::<Vec<_>>()
    });
    if !failures.is_empty() {
        keys.set("fail_status", format!("[{}]", failures.join(", ")));
    }
    let known = draft.pools.iter().find(|pool| pool.origins == origins && pool.keys == keys);
    if let Some(pool) = known {
        return pool.name.clone();
    }
    let host = target.host.split(':').next().unwrap_or(target.host);
    // An address is no name.
    let name = if host.parse::<std::net::IpAddr>().is_ok() || host == "unix" { "main" } else { host };
    let name = draft.free_pool_name(name);
    let place = upstream.map_or_else(|| place.clone(), |directive| directive.place.clone());
    draft.pools.push(Pool { name: name.clone(), origins, keys, place });
    name
}

fn url(host: &str, tls: bool) -> String {
    match host.strip_prefix("unix:") {
        Some(path) => format!("unix:{path}"),
        None => format!("{}://{host}", if tls { "https" } else { "http" }),
    }
}

/// The servers of an `upstream`, and what it says of all of them.
fn members(upstream: &Directive, tls: bool, keys: &mut Keys, draft: &mut Draft) -> Vec<Origin> {
    let mut origins: Vec<Origin> = Vec::new();
    let mut fails: Vec<u64> = Vec::new();
    for directive in upstream.block.iter().flatten() {
        match directive.name.as_str() {
            "server" => {
                if let Some(origin) = member(directive, tls, keys, &mut fails, draft)
                    && !origins.iter().any(|known| known.url == origin.url)
                {
                    origins.push(origin);
                }
            }
            "least_conn" | "least_time" => keys.set("balance", "\"least-connections\""),
            "ip_hash" => keys.set("balance", "\"client-hash\""),
            "random" => {
                let least = directive.arguments.iter().any(|word| word.starts_with("least"));
                keys.set("balance", if least { "\"least-connections\"" } else { "\"weighted\"" });
            }
            "hash" => match directive.argument(0) {
                "$request_uri" | "$uri" | "$scheme$proxy_host$request_uri" => {
                    keys.set("balance", "\"uri-hash\"");
                }
                "$remote_addr" | "$binary_remote_addr" => keys.set("balance", "\"client-hash\""),
                _ => draft.note(
                    &directive.place,
                    format!(
                        "`{}`: requests are spread by URL or by client, not by other things",
                        directive.shown()
                    ),
                    "write balance = \"uri-hash\" or \"client-hash\" in the pool",
                ),
            },
            "sticky" => {
                let name = directive.arguments.get(1).map_or("tidegate-origin", String::as_str);
                if directive.argument(0) == "cookie" {
                    keys.set("sticky", format!("{{ cookie = {} }}", draft::text(name)));
                }
            }
            "keepalive_timeout" => {
                if let Some(time) = text::duration(directive.argument(0)) {
                    keys.set("idle_timeout", time);
                }
            }
            _ => {}
        }
    }
    // nginx leaves a server out after so many failures; here the pool says it, for all of its origins.
    if let Some(after) = fails.iter().copied().max() {
        keys.set_with("eject_after", after.max(1).to_string(), "max_fails");
        if fails.iter().any(|one| *one != after) {
            draft.note(
                &upstream.place,
                format!("the servers of `{}` differ in max_fails", upstream.argument(0)),
                "the largest was taken: eject_after is of the pool",
            );
        }
    }
    if origins.is_empty() {
        draft.note(
            &upstream.place,
            format!("`{}` has no server that is up", upstream.argument(0)),
            "write the pool's origins",
        );
        origins.push(Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false });
    }
    if origins.iter().all(|origin| origin.backup) {
        for origin in &mut origins {
            origin.backup = false;
        }
    }
    origins
}

fn member(
    directive: &Directive,
    tls: bool,
    keys: &mut Keys,
    fails: &mut Vec<u64>,
    draft: &mut Draft,
) -> Option<Origin> {
    let url = url(directive.argument(0), tls);
    if let Err(complaint) = value::origin(&url) {
        draft.note(
            &directive.place,
            format!("`{}`: {}", directive.shown(), complaint.message),
            complaint.help,
        );
        return None;
    }
    let mut origin = Origin { url, weight: 1, backup: false };
    let mut down = false;
    for word in directive.arguments.iter().skip(1) {
        match word.split_once('=').unwrap_or((word, "")) {
            ("weight", weight) => origin.weight = weight.parse::<u32>().unwrap_or(1).clamp(1, 1_000_000),
            ("backup", _) => origin.backup = true,
            ("down", _) => down = true,
            ("max_fails", count) => match count.parse::<u64>() {
                Ok(0) => draft.note(
                    &directive.place,
                    "`max_fails=0`: an origin that fails is left out for a while here",
                    "write a large eject_after in the pool",
                ),
                Ok(count) => fails.push(count),
                Err(_) => {}
            },
            ("fail_timeout", time) => {
                if let Some(time) = text::duration(time) {
                    keys.set_with("eject_for", time, "fail_timeout");
                }
            }
            ("max_conns", count) => {
                if let Some(count) = count.parse::<u16>().ok().filter(|count| *count > 0) {
                    keys.set_with("connections_max", count.to_string(), "max_conns, of each origin");
                }
            }
            ("slow_start", time) => {
                if let Some(time) = text::duration(time) {
                    keys.set("slow_start", time);
                }
            }
            ("resolve", _) => {}
            _ => draft.note(
                &directive.place,
                format!("`{word}` of a server has no counterpart"),
                "see docs/settings.md for what a pool knows",
            ),
        }
    }
    if down {
        draft.note(
            &directive.place,
            format!("`{}` is marked as down and was left out", directive.argument(0)),
            "add it to the pool when it is up; `POST /v1/pools/POOL/ORIGIN/drain` takes one out while the node runs",
        );
        return None;
    }
    Some(origin)
}

/// Which `Host` origins see: nginx sends the name in `proxy_pass` unless it is told otherwise, Tidegate the client's.
fn host(levels: &Levels<'_>, target: &Target<'_>, keys: &mut Keys, draft: &mut Draft) {
    let named = levels
        .all("proxy_set_header")
        .into_iter()
        .find(|field| field.argument(0).eq_ignore_ascii_case("host"));
    let written = match named {
        None if target.host.starts_with("unix:") => "localhost",
        None => target.host,
        Some(field) => match field.argument(1) {
            "$host" | "$http_host" | "$host:$server_port" | "${host}" => return,
            "$proxy_host" => target.host,
            plain if text::is_plain(plain) && !plain.is_empty() => plain,
            other => {
                return draft.note(
                    &field.place,
                    format!("origins are asked as `{other}`, which cannot be said here"),
                    "write host = \"www.example.com\" in the pool; without it they see the client's",
                );
            }
        },
    };
    // A name that no URL could have, as upstreams have: origins see the client's, which they are likely to know better.
    if let Ok(host) = value::host_field(written) {
        keys.set_with("host", draft::text(&host), "what nginx sends; without it, the client's");
    }
}

fn times(levels: &Levels<'_>, keys: &mut Keys) {
    let time = |names: &[&str]| levels.any(names).and_then(|directive| text::duration(directive.argument(0)));
    if let Some(time) = time(&["proxy_connect_timeout"]) {
        keys.set("connect_timeout", time);
    }
    if let Some(time) = time(&["proxy_read_timeout"]) {
        keys.set("first_byte_timeout", time.clone());
        keys.set("between_bytes_timeout", time);
    }
}

fn tls(levels: &Levels<'_>, target: &Target<'_>, keys: &mut Keys) {
    let one = |name: &str| {
        levels.one(name).map(|directive| directive.argument(0)).filter(|value| text::is_plain(value))
    };
    let bare = target.host.split(':').next().unwrap_or_default();
    if let Some(name) = one("proxy_ssl_name").or(Some(bare)).filter(|name| value::server_name(name).is_ok()) {
        keys.set("server_name", draft::text(name));
    }
    if levels.is_on("proxy_ssl_verify") {
        if let Some(ca) = one("proxy_ssl_trusted_certificate") {
            keys.set("ca", draft::text(ca));
        }
    } else {
        keys.set_with(
            "verify",
            "false",
            "nginx does not look at the origin's certificate unless told to; better: true",
        );
    }
    if let (Some(cert), Some(key)) = (one("proxy_ssl_certificate"), one("proxy_ssl_certificate_key")) {
        keys.set("client_cert", format!("{{ cert = {}, key = {} }}", draft::text(cert), draft::text(key)));
    }
}
