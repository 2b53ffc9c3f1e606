//! Pools of `reverse_proxy`, and what it does to fields on the way.

use super::super::draft::{self, Block, Draft, Keys, Origin, Pool};
use super::directives::field;
use super::syntax::Line;
use super::text;
use crate::config::check::Side;
use crate::config::value;

/// Translates a `reverse_proxy` into a pool, named in the block.
#[allow(clippy::too_many_lines)] // a table of what its lines become
pub(super) fn reverse_proxy(line: &Line, upstreams: &[String], block: &mut Block, draft: &mut Draft) {
    let mut keys = Keys::default();
    let mut origins: Vec<Origin> = Vec::new();
    let mut tls = false;
    let mut health = Keys::default();
    for upstream in upstreams {
        add(upstream, line, &mut origins, draft);
    }
    for inside in line.inside() {
        match inside.name() {
            "to" => inside.rest().iter().for_each(|upstream| add(upstream, inside, &mut origins, draft)),
            "lb_policy" => policy(inside, &mut origins, &mut keys, draft),
            "health_uri" | "health_path" => {
                health.set_first("path", draft::text(inside.word(1)));
            }
            "health_interval" => {
                if let Some(time) = text::duration(inside.word(1)) {
                    health.set("every", time);
                }
            }
            "health_timeout" => {
                if let Some(time) = text::duration(inside.word(1)) {
                    health.set("timeout", time);
                }
            }
            "health_status" => health.set("status", format!("[{}]", draft::text(inside.word(1)))),
            "health_passes" => health.set("healthy_after", times(inside.word(1))),
            "health_fails" => health.set("unhealthy_after", times(inside.word(1))),
            "fail_duration" => {
                if let Some(time) = text::duration(inside.word(1)) {
                    keys.set_with("eject_for", time, "fail_duration");
                }
            }
            "max_fails" => {
                if let Ok(count) = inside.word(1).parse::<u32>() {
                    keys.set_with("eject_after", count.max(1).to_string(), "max_fails");
                }
            }
            "unhealthy_status" => {
                let codes: Vec<_> = inside.rest().iter().map(|code| draft::text(code)).collect();
                keys.set("fail_status", format!("[{}]", codes.join(", ")));
            }
            "header_up" => header_up(inside, &origins, &mut keys, block, draft),
            "header_down" => {
                let words = inside.rest().to_vec();
                field(&words, Side::Response, &inside.place, block, draft);
            }
            "transport" => tls |= transport(inside, &mut keys, draft),
            // What Tidegate does anyway, or decides itself.
            "lb_retries"
            | "lb_try_duration"
            | "lb_try_interval"
            | "lb_retry_match"
            | "flush_interval"
            | "buffer_requests"
            | "buffer_responses"
            | "request_buffers"
            | "response_buffers"
            | "stream_timeout"
            | "stream_close_delay"
            | "trusted_proxies"
            | "health_follow_redirects" => {}
            _ => draft.note(
                &inside.place,
                format!("`{}` in reverse_proxy has no counterpart", inside.shown()),
                "see docs/settings.md for what a pool knows",
            ),
        }
    }
    if tls {
        for origin in &mut origins {
            origin.url = origin.url.replacen("http://", "https://", 1);
        }
    }
    if !health.is_empty() {
        if health.get("path").is_none() {
            health.set_first("path", "\"/\"".to_owned());
        }
        keys.set("health", health.inline());
    }
    if origins.is_empty() {
        draft.note(
            &line.place,
            "reverse_proxy without an address that can be said here",
            "write the pool's origins",
        );
        origins.push(Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false });
    }
    if !origins.iter().any(|origin| origin.url.starts_with("https://")) {
        for key in ["verify", "server_name", "ca", "client_cert"] {
            keys.unset(key);
        }
    }
    let known = draft
        .pools
        .iter()
        .find(|pool| pool.origins == origins && pool.keys == keys)
        .map(|pool| pool.name.clone());
    let name = known.unwrap_or_else(|| {
        let wanted = origins.first().map_or("main", |origin| origin.url.as_str());
        let wanted =
            wanted.rsplit('/').next().unwrap_or("main").split(':').next().unwrap_or("main").to_owned();
        // An address is no name.
        let is_address = wanted.parse::<std::net::IpAddr>().is_ok();
        let name = draft.free_pool_name(if is_address { "main" } else { &wanted });
        draft.pools.push(Pool { name: name.clone(), origins, keys, place: line.place.clone() });
        name
    });
    block.keys.set("pool", draft::text(&name));
    // Caddy passes every change of protocol on.
    block.keys.set("upgrade", "[\"websocket\"]");
}

/// How often in a row, at least once.
fn times(word: &str) -> String {
    word.parse::<u32>().unwrap_or(1).max(1).to_string()
}

fn add(upstream: &str, line: &Line, origins: &mut Vec<Origin>, draft: &mut Draft) {
    let url = if upstream.starts_with("unix/") {
        format!("unix:{}", upstream.trim_start_matches("unix/"))
    } else if let Some(port) = upstream.strip_prefix(':') {
        format!("http://127.0.0.1:{port}")
    } else if upstream.contains("://") {
        upstream.to_owned()
    } else {
        format!("http://{upstream}")
    };
    match value::origin(&url) {
        Ok(origin) => {
            let url = origin.name.to_string();
            if !origins.iter().any(|known| known.url == url) {
                origins.push(Origin { url, weight: 1, backup: false });
            }
        }
        Err(complaint) => {
            draft.note(&line.place, format!("`{upstream}`: {}", complaint.message), complaint.help);
        }
    }
}

fn policy(line: &Line, origins: &mut [Origin], keys: &mut Keys, draft: &mut Draft) {
    match line.word(1) {
        "random" | "random_choose" | "round_robin" => {}
        "weighted_round_robin" => {
            for (origin, weight) in origins.iter_mut().zip(line.words.iter().skip(2)) {
                origin.weight = weight.parse::<u32>().unwrap_or(1).clamp(1, 1_000_000);
            }
        }
        "least_conn" => keys.set("balance", "\"least-connections\""),
        "ip_hash" | "client_ip_hash" => keys.set("balance", "\"client-hash\""),
        "uri_hash" => keys.set("balance", "\"uri-hash\""),
        "first" => origins.iter_mut().skip(1).for_each(|origin| origin.backup = true),
        "cookie" => {
            let name = if line.word(2).is_empty() { "lb" } else { line.word(2) };
            keys.set("sticky", format!("{{ cookie = {} }}", draft::text(name)));
        }
        other => draft.note(
            &line.place,
            format!("`lb_policy {other}`: origins are not chosen that way here"),
            "write balance = \"weighted\", \"least-connections\", \"ewma\", \"client-hash\" or \"uri-hash\" in the pool",
        ),
    }
}

fn header_up(line: &Line, origins: &[Origin], keys: &mut Keys, block: &mut Block, draft: &mut Draft) {
    let name = line.word(1).to_ascii_lowercase();
    match name.as_str() {
        "host" => match line.word(2) {
            "{host}" | "{http.request.host}" | "{hostport}" => {}
            "{upstream_hostport}" | "{http.reverse_proxy.upstream.hostport}" => {
                let host = origins
                    .first()
                    .and_then(|origin| origin.url.split_once("://"))
                    .map(|(_, host)| host.to_owned());
                if let Some(host) = host {
                    keys.set("host", draft::text(&host));
                }
            }
            host => match value::host_field(host) {
                Ok(host) => keys.set("host", draft::text(&host)),
                Err(complaint) => draft.note(&line.place, complaint.message, complaint.help),
            },
        },
        // Written by the node itself.
        "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "-x-forwarded-for" | "forwarded"
        | "via" => {}
        _ => {
            let words = line.rest().to_vec();
            field(&words, Side::Request, &line.place, block, draft);
        }
    }
}

/// `transport http { … }`; whether it speaks TLS.
fn transport(line: &Line, keys: &mut Keys, draft: &mut Draft) -> bool {
    if line.word(1) != "http" {
        draft.note(
            &line.place,
            format!("`{}`: origins are asked over HTTP", line.shown()),
            "keep Caddy or the script server's own HTTP in front of it, as an origin",
        );
        return false;
    }
    let mut tls = false;
    for inside in line.inside() {
        match inside.name() {
            "tls" => tls = true,
            "tls_insecure_skip_verify" => {
                tls = true;
                keys.set_with("verify", "false", "better: true, with `ca`");
            }
            "tls_server_name" => {
                tls = true;
                keys.set("server_name", draft::text(inside.word(1)));
            }
            "tls_trusted_ca_certs" => {
                tls = true;
                keys.set("ca", draft::text(inside.word(1)));
            }
            "tls_client_auth" if inside.words.len() == 3 => {
                tls = true;
                let (cert, key) = (draft::text(inside.word(1)), draft::text(inside.word(2)));
                keys.set("client_cert", format!("{{ cert = {cert}, key = {key} }}"));
            }
            "dial_timeout" => keys_time(keys, "connect_timeout", inside),
            "response_header_timeout" => keys_time(keys, "first_byte_timeout", inside),
            "read_timeout" => keys_time(keys, "between_bytes_timeout", inside),
            "keepalive" => keys_time(keys, "idle_timeout", inside),
            "max_conns_per_host" => {
                if let Ok(count) = inside.word(1).parse::<u32>() {
                    keys.set("connections_max", count.max(1).to_string());
                }
            }
            "versions"
            | "compression"
            | "keepalive_idle_conns"
            | "keepalive_idle_conns_per_host"
            | "write_timeout"
            | "read_buffer"
            | "write_buffer"
            | "max_response_header"
            | "dial_fallback_delay"
            | "expect_continue_timeout"
            | "keepalive_interval"
            | "resolvers"
            | "tls_timeout"
            | "tls_renegotiation" => {}
            "proxy_protocol" => keys.set("proxy_protocol", draft::text(inside.word(1))),
            _ => draft.note(
                &inside.place,
                format!("`{}` of a transport has no counterpart", inside.shown()),
                "see docs/settings.md for what a pool knows",
            ),
        }
    }
    tls
}

fn keys_time(keys: &mut Keys, key: &'static str, line: &Line) {
    if let Some(time) = text::duration(line.word(1)) {
        keys.set(key, time);
    }
}
