//! One directive at a time: what it says of a request, without its matcher.

use super::super::Place;
use super::super::draft::{self, Block, Draft, Keys, Origin, Pool};
use super::syntax::Line;
use super::{proxy, text};
use crate::config::check::{Side, refused_field};

/// One directive, less its matcher.
pub(super) fn directive(line: &Line, words: &[String], block: &mut Block, draft: &mut Draft) {
    let place = &line.place;
    match line.name() {
        "reverse_proxy" => proxy::reverse_proxy(line, words, block, draft),
        "header" => headers(line, words, Side::Response, block, draft),
        "request_header" => headers(line, words, Side::Request, block, draft),
        "redir" => redir(line, words, block, draft),
        "respond" => respond(line, words, block, draft),
        "abort" => {
            draft.note(place, "`abort` closes the connection in Caddy; here it is answered with 403", "");
            block.keys.set("respond", "{ status = 403, body = \"\" }");
        }
        "error" => {
            let status = words
                .iter()
                .find_map(|word| word.parse::<u16>().ok())
                .filter(|status| (400..=599).contains(status));
            block.keys.set("respond", format!("{{ status = {}, body = \"\" }}", status.unwrap_or(500)));
        }
        "encode" => encode(line, words, block, draft),
        "basic_auth" | "basicauth" => basic_auth(line, block, draft),
        "rewrite" => rewrite(words, block, place, draft),
        "uri" => uri(words, line, block, draft),
        "request_body" => {
            if let Some(size) = line
                .inside()
                .iter()
                .find(|line| line.name() == "max_size")
                .and_then(|line| text::size(line.word(1)))
            {
                draft.table("limits").set_with(
                    "request_body_max",
                    size,
                    "request_body max_size, of one site there",
                );
            }
        }
        "log" => log(line, draft),
        "tls" => tls(line, draft),
        "root" | "file_server" | "php_fastcgi" | "templates" | "try_files" => files(line, block, draft),
        "handle_errors" => draft.note(
            place,
            "`handle_errors` has no counterpart",
            "write error_pages = { 404 = \"404.html\", 5xx = \"50x.html\" } in the site",
        ),
        "forward_auth" => {
            draft.note(place, "`forward_auth`: nobody is asked who may come in; nothing of it is served until that is settled", "let the origin ask, or write access = { basic = … } or { signed = … } and take `respond` out");
            block.keys.set("respond", "{ status = 403, body = \"\" }");
        }
        "bind" => draft.note(place, "`bind`", "write the addresses into the listeners"),
        "map" | "vars" => draft.note(
            place,
            format!("`{}` has no counterpart", line.name()),
            "choose routes by match = { … } and say in each what follows",
        ),
        "cache" => {
            draft.note(place, "`cache` of a module", "take cache = \"off\" out, and write default_ttl, stale_while_revalidate and such where the origin says nothing");
        }
        "log_skip" | "skip_log" | "log_append" | "log_name" | "metrics" | "tracing" | "push"
        | "intercept" | "fs" => {}
        other => draft.note(
            place,
            format!("`{other}` is not known to this import"),
            "look for it in docs/from-caddy.md and docs/settings.md",
        ),
    }
}

fn headers(line: &Line, words: &[String], side: Side, block: &mut Block, draft: &mut Draft) {
    if words.is_empty() {
        for inside in line.inside() {
            if inside.name() == "defer" {
                continue;
            }
            field(&inside.words, side, &inside.place, block, draft);
        }
    } else {
        field(words, side, &line.place, block, draft);
    }
}

/// One change of one field: `Name value`, `+Name value`, `-Name`, `?Name value`, `>Name value`, `Name find replace`.
pub(super) fn field(words: &[String], side: Side, place: &Place, block: &mut Block, draft: &mut Draft) {
    let written = words.first().map(String::as_str).unwrap_or_default();
    let sign = written.chars().next().filter(|sign| "+-?>".contains(*sign));
    let name = written.trim_start_matches(['+', '-', '?', '>']).trim_end_matches(':').to_ascii_lowercase();
    let headers = match side {
        Side::Request => &mut block.request,
        Side::Response => &mut block.response,
    };
    let removes = sign == Some('-');
    if let Some(why) = refused_field(&name, side, removes) {
        return draft.note(place, format!("`{name}` cannot be changed: {why}"), "");
    }
    if removes {
        if !headers.remove.contains(&name) {
            headers.remove.push(name);
        }
        return;
    }
    if words.len() > 2 {
        return draft.note(
            place,
            format!("`{name}`: a value is not changed by finding and replacing"),
            "write the whole value",
        );
    }
    let value = words.get(1).map(String::as_str).unwrap_or_default();
    let template = match text::template(value) {
        Ok(template) if template.contains("${query}") => Err("{query}".to_owned()),
        other => other,
    };
    let template = match template {
        Ok(template) => template,
        Err(placeholder) => {
            return draft.note(
                place,
                format!("`{name}`: `{placeholder}` has no counterpart"),
                "write a text, or $host, $path, $uri, $scheme, $client_ip or $request_id",
            );
        }
    };
    if template.trim() != template || !template.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        return draft.note(place, format!("`{name}`: its value is not printable ASCII"), "write it as ASCII");
    }
    match sign {
        Some('+') => headers.add.push((name, template)),
        Some('?') => {
            draft.note(
                place,
                format!("`?{name}` is set where the origin sends none; here it is always set"),
                "",
            );
            headers.set.push((name, template));
        }
        _ => {
            headers.set.retain(|(known, _)| *known != name);
            headers.set.push((name, template));
        }
    }
}

fn redir(line: &Line, words: &[String], block: &mut Block, draft: &mut Draft) {
    let status = match words.get(1).map(String::as_str) {
        None | Some("temporary") => 302,
        Some("permanent") => 301,
        Some(code) => match code.parse::<u16>() {
            Ok(code @ (301 | 302 | 303 | 307 | 308)) => code,
            _ => {
                draft.note(
                    &line.place,
                    format!("`{}`: no status of a redirect", line.shown()),
                    "write status = 301, 302, 303, 307 or 308",
                );
                302
            }
        },
    };
    match text::template(words.first().map(String::as_str).unwrap_or_default()) {
        Ok(to) => block.keys.set("redirect", format!("{{ to = {}, status = {status} }}", draft::text(&to))),
        Err(placeholder) => draft.note(
            &line.place,
            format!("`{}`: `{placeholder}` has no counterpart", line.shown()),
            "write redirect = { to = \"https://www.example.com$uri\" }",
        ),
    }
}

fn respond(line: &Line, words: &[String], block: &mut Block, draft: &mut Draft) {
    let is_status =
        |word: &str| word.len() == 3 && word.parse::<u16>().is_ok_and(|status| (200..=599).contains(&status));
    let (mut body, mut status) = (String::new(), None);
    match words {
        [one] if is_status(one) => status = one.parse::<u16>().ok(),
        [one] => body.clone_from(one),
        [text, code, ..] => {
            body.clone_from(text);
            status = code.parse::<u16>().ok();
        }
        [] => {}
    }
    for inside in line.inside() {
        if inside.name() == "body" {
            inside.word(1).clone_into(&mut body);
        }
    }
    if text::template(&body).is_ok_and(|template| template.contains("${")) {
        draft.note(
            &line.place,
            "a body with placeholders in it",
            "write respond = { status = 200, body = \"…\" } with a fixed text",
        );
    }
    block
        .keys
        .set("respond", format!("{{ status = {}, body = {} }}", status.unwrap_or(200), draft::text(&body)));
}

fn encode(line: &Line, words: &[String], block: &mut Block, draft: &mut Draft) {
    let mut names: Vec<String> = words.to_vec();
    names.extend(line.inside().iter().map(|line| line.name().to_owned()));
    let known: Vec<&str> = names
        .iter()
        .filter_map(|name| match name.as_str() {
            "gzip" => Some("gzip"),
            "zstd" => Some("zstd"),
            "br" => Some("br"),
            _ => None,
        })
        .collect();
    let codings = if known.is_empty() { vec!["zstd", "gzip"] } else { known };
    block.keys.set_with("encode", draft::texts(&codings), "of what is stored, once; see `cache`");
    let _ = draft;
}

fn basic_auth(line: &Line, block: &mut Block, draft: &mut Draft) {
    let users: Vec<String> =
        line.inside().iter().map(|user| format!("{}:{}", user.word(0), user.word(1))).collect();
    draft.note(
        &line.place,
        "basic_auth: names and hashes stand in a file here, and the settings pass the check once it is there",
        format!("write /etc/tidegate/users.htpasswd with: {}", users.join(" | ")),
    );
    block.access.set("basic", "{ users = \"/etc/tidegate/users.htpasswd\" }");
}

fn rewrite(words: &[String], block: &mut Block, place: &Place, draft: &mut Draft) {
    let to = words.first().map(String::as_str).unwrap_or_default();
    let (path, query) = to.split_once('?').map_or((to, None), |(path, query)| (path, Some(query)));
    let path = path.replace("{uri}", "{path}");
    match (text::template(&path), query.map(text::template).transpose()) {
        (Ok(path), Ok(query)) if path.starts_with('/') || path.starts_with("${path}") => {
            let query = query.map(|query| format!(", query = {}", draft::text(&query))).unwrap_or_default();
            block.keys.set("rewrite", format!("{{ path = {}{query} }}", draft::text(&path)));
        }
        _ => draft.note(
            place,
            format!("`rewrite {to}` cannot be said here"),
            "write rewrite = { path = \"/new/$1\", query = \"a=$1\" } in a route",
        ),
    }
}

fn uri(words: &[String], line: &Line, block: &mut Block, draft: &mut Draft) {
    match (words.first().map(String::as_str), words.get(1)) {
        (Some("strip_prefix"), Some(prefix)) if prefix.starts_with('/') && prefix.len() > 1 => {
            block.keys.set(
                "rewrite",
                format!("{{ strip_prefix = {} }}", draft::text(prefix.trim_end_matches('/'))),
            );
        }
        _ => draft.note(
            &line.place,
            format!("`{}` cannot be said here", line.shown()),
            "write rewrite = { strip_prefix = \"/a\" } or { path = \"/new/$1\" } in a route",
        ),
    }
}

fn log(line: &Line, draft: &mut Draft) {
    let output = line.inside().iter().find(|line| line.name() == "output");
    match output.map(|output| (output.word(1), output.word(2))) {
        Some(("file", path)) if !path.is_empty() => draft.table("log").set("access", draft::text(path)),
        Some(("stdout", _)) | None => draft.table("log").set("access", "\"stdout\""),
        _ => draft.note(
            &line.place,
            format!("`{}`", line.shown()),
            "write [log] access = \"access.log\", \"stdout\" or \"off\"",
        ),
    }
}

fn tls(line: &Line, draft: &mut Draft) {
    match line.rest() {
        [] if line.block.is_none() => {}
        [_, _] => {}
        [one] if one == "internal" || one.contains('@') => {}
        _ => draft.note(
            &line.place,
            format!("`{}`: TLS 1.2 and 1.3, with certificates from files", line.shown()),
            "write tls = [ { cert = \"…\", key = \"…\" } ] in the listener",
        ),
    }
    for inside in line.inside() {
        if inside.name() == "client_auth" {
            draft.note(
                &inside.place,
                "certificates of clients are not asked for by this version",
                "keep what needs them behind a TLS server of its own",
            );
        }
    }
}

/// Files and scripts: Caddy goes on serving them, as an origin.
fn files(line: &Line, block: &mut Block, draft: &mut Draft) {
    let name = "caddy";
    if !draft.pools.iter().any(|pool| pool.name == name) {
        let origins = vec![Origin { url: "http://127.0.0.1:8000".to_owned(), weight: 1, backup: false }];
        draft.pools.push(Pool {
            name: name.to_owned(),
            origins,
            keys: Keys::default(),
            place: line.place.clone(),
        });
    }
    if block.keys.get("pool").is_none() && matches!(line.name(), "file_server" | "php_fastcgi") {
        block.keys.set("pool", draft::text(name));
    }
    draft.note(
        &line.place,
        format!("`{}`: files and scripts are not served here", line.shown()),
        "keep Caddy for them: let it listen on the address of [pool.caddy], on this machine alone",
    );
}
