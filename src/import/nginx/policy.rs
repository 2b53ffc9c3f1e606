//! What a level says about caching, fields, access and encodings, as keys of a site or route.

use super::super::draft::{self, Block, Draft};
use super::syntax::Directive;
use super::{Levels, World, text};
use crate::config::check::{Side, refused_field};
use crate::config::value;

/// Writes everything but where requests go.
pub(super) fn policy(
    world: &World<'_>,
    levels: &Levels<'_>,
    server_name: &str,
    block: &mut Block,
    draft: &mut Draft,
) {
    caching(world, levels, block, draft);
    fields(levels, server_name, block, draft);
    access(world, levels, block, draft);
    encode(levels, block);
    error_pages(levels, block, draft);
}

fn caching(world: &World<'_>, levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let zone = levels.any(&["proxy_cache", "fastcgi_cache", "uwsgi_cache", "scgi_cache"]);
    let Some(zone) = zone.filter(|zone| zone.argument(0) != "off") else {
        block.keys.set_with(
            "cache",
            "\"off\"",
            "as nginx; without this line Tidegate stores what the origin allows",
        );
        return;
    };
    let window = world.zones.get(zone.argument(0)).copied().unwrap_or(600_000);
    lifetimes(levels, block, draft);
    if let Some(stale) = levels.any(&["proxy_cache_use_stale", "fastcgi_cache_use_stale"]) {
        let has = |word: &str| stale.arguments.iter().any(|argument| argument == word);
        let until = draft::duration(window);
        if has("updating") || levels.is_on("proxy_cache_background_update") {
            block.keys.set_with("stale_while_revalidate", until.clone(), "inactive of the cache path");
        }
        if stale
            .arguments
            .iter()
            .any(|word| word == "error" || word == "timeout" || word.starts_with("http_5"))
        {
            block.keys.set_with("stale_if_error", until, "inactive of the cache path");
        }
    }
    if let Some(key) = levels.any(&["proxy_cache_key", "fastcgi_cache_key"]) {
        cache_key(key, block, draft);
    }
    bypass(levels, block, draft);
}

/// `proxy_cache_valid` is asked where the origin says nothing, or where its words are ignored.
fn lifetimes(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let ignored: Vec<&str> = ["proxy_ignore_headers", "fastcgi_ignore_headers"]
        .iter()
        .flat_map(|name| levels.all(name))
        .flat_map(|directive| directive.arguments.iter().map(String::as_str))
        .collect();
    let ignores = |name: &str| ignored.iter().any(|known| known.eq_ignore_ascii_case(name));
    let hides = levels
        .all("proxy_hide_header")
        .iter()
        .any(|field| field.argument(0).eq_ignore_ascii_case("set-cookie"));
    if ignores("set-cookie") {
        let choice = if hides { "\"strip\"" } else { "\"store\"" };
        block.keys.set_with("set_cookie", choice, "proxy_ignore_headers Set-Cookie");
    }
    let key = if ignores("cache-control") { "ttl" } else { "default_ttl" };
    let (mut gone, mut client, mut server) = (None, None, None);
    let valid = ["proxy_cache_valid", "fastcgi_cache_valid"].iter().flat_map(|name| levels.all(name));
    for directive in valid {
        let Some((time, statuses)) = directive.arguments.split_last() else { continue };
        let Some(time) = text::millis(time) else { continue };
        let time = if time == 0 { draft::text("off") } else { draft::duration(time) };
        let any = statuses.iter().any(|status| status == "any");
        let has = |one: &str| statuses.iter().any(|status| status == one);
        if statuses.is_empty() || has("200") || any {
            block.keys.set_with(key, time.clone(), "proxy_cache_valid");
        }
        if has("404") || has("410") || any {
            gone = Some(time.clone());
        }
        if statuses.iter().any(|status| status.starts_with('4') && status != "404" && status != "410") || any
        {
            client = Some(time.clone());
        }
        if statuses.iter().any(|status| status.starts_with('5')) || any {
            server = Some(time);
        }
    }
    let parts: Vec<String> = [("gone", gone), ("client", client), ("server", server)]
        .into_iter()
        .filter_map(|(name, time)| Some(format!("{name} = {}", time?)))
        .collect();
    if !parts.is_empty() {
        block.keys.set("negative_ttl", format!("{{ {} }}", parts.join(", ")));
    }
    if key == "ttl" && block.keys.get("ttl").is_none() {
        let place = levels.any(&["proxy_ignore_headers", "fastcgi_ignore_headers"]);
        if let Some(directive) = place {
            draft.note(
                &directive.place,
                "Cache-Control is ignored, and nothing says how long a response is good",
                "write ttl = \"10m\" in the site or route",
            );
        }
    }
}

/// The key is scheme, host, path and query already; what else stands in it becomes a part beside them.
fn cache_key(key: &Directive, block: &mut Block, draft: &mut Draft) {
    let (mut headers, mut cookies) = (Vec::new(), Vec::new());
    for name in key.argument(0).split('$').skip(1) {
        let name = name.trim_start_matches('{');
        let end = name.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(name.len());
        let name = name.get(..end).unwrap_or_default();
        if let Some(cookie) = name.strip_prefix("cookie_") {
            cookies.push(cookie.to_owned());
        } else if name == "http_host" {
            // The host is in every key.
        } else if let Some(field) = name.strip_prefix("http_") {
            headers.push(field.replace('_', "-"));
        } else if ![
            "scheme",
            "host",
            "proxy_host",
            "request_uri",
            "uri",
            "args",
            "is_args",
            "query_string",
            "request_method",
            "server_name",
            "server_port",
        ]
        .contains(&name)
        {
            draft.note(
                &key.place,
                format!("`${name}` cannot be a part of the key"),
                "fields and cookies can: key = { headers = [ … ], cookies = [ … ] }",
            );
        }
    }
    let mut parts = Vec::new();
    if !headers.is_empty() {
        parts.push(format!("headers = {}", draft::texts(&headers)));
    }
    if !cookies.is_empty() {
        parts.push(format!("cookies = {}", draft::texts(&cookies)));
    }
    if !parts.is_empty() {
        block.keys.set("key", format!("{{ {} }}", parts.join(", ")));
    }
    if !key.argument(0).contains("host") && !key.argument(0).contains("server_name") {
        draft.note(
            &key.place,
            "nginx's key has no host: hosts shared what was stored",
            "here each host has its own; to share it, serve one host and redirect the others to it",
        );
    }
}

/// What sends requests around the cache. A value that is empty or `0` does not count in nginx; here being there does.
fn bypass(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let (mut cookies, mut fields, mut parameters) = (Vec::new(), Vec::new(), Vec::new());
    let all = ["proxy_cache_bypass", "fastcgi_cache_bypass", "proxy_no_cache", "fastcgi_no_cache"];
    for directive in all.iter().flat_map(|name| levels.all(name)) {
        for argument in &directive.arguments {
            let name = argument.trim_start_matches("${").trim_start_matches('$').trim_end_matches('}');
            let list = if let Some(cookie) = name.strip_prefix("cookie_") {
                (&mut cookies, cookie.to_owned())
            } else if let Some(field) = name.strip_prefix("http_") {
                (&mut fields, field.replace('_', "-"))
            } else if let Some(parameter) = name.strip_prefix("arg_") {
                (&mut parameters, parameter.to_owned())
            } else {
                draft.note(
                    &directive.place,
                    format!("`{argument}` decides what goes around the cache, and cannot be said here"),
                    "write bypass = { cookie = [\"session*\", \"wordpress_logged_in*\"], query = [\"preview\"] }",
                );
                continue;
            };
            if !list.0.contains(&list.1) {
                list.0.push(list.1);
            }
        }
    }
    let mut parts = Vec::new();
    if !cookies.is_empty() {
        parts.push(format!("cookie = {}", draft::texts(&cookies)));
    }
    if !parameters.is_empty() {
        parts.push(format!("query = {}", draft::texts(&parameters)));
    }
    if !fields.is_empty() {
        let fields: Vec<_> = fields.iter().map(|field| format!("{} = true", draft::text(field))).collect();
        parts.push(format!("header = {{ {} }}", fields.join(", ")));
    }
    if !parts.is_empty() {
        block.keys.set("bypass", format!("{{ {} }}", parts.join(", ")));
    }
}

fn fields(levels: &Levels<'_>, server_name: &str, block: &mut Block, draft: &mut Draft) {
    for field in levels.all("proxy_set_header") {
        request_field(field, server_name, block, draft);
    }
    for field in levels.all("add_header") {
        let (name, value) = (field.argument(0), field.argument(1));
        if value.contains("upstream_cache_status") {
            block.keys.set_with("x_cache", "true", "X-Cache, in nginx's words; Cache-Status says more");
            continue;
        }
        if value.is_empty() {
            continue;
        }
        if let Some(value) = field_value(field, name, value, Side::Response, server_name, draft) {
            block.response.add.push((name.to_ascii_lowercase(), value));
        }
    }
    for field in ["proxy_hide_header", "fastcgi_hide_header"].iter().flat_map(|name| levels.all(name)) {
        let name = field.argument(0).to_ascii_lowercase();
        if name == "set-cookie" || block.response.remove.contains(&name) {
            continue;
        }
        match refused_field(&name, Side::Response, true) {
            None => block.response.remove.push(name),
            Some(why) => draft.note(&field.place, format!("`{name}` cannot be removed: {why}"), ""),
        }
    }
    expires(levels, block, draft);
}

fn request_field(field: &Directive, server_name: &str, block: &mut Block, draft: &mut Draft) {
    let (name, value) = (field.argument(0).to_ascii_lowercase(), field.argument(1));
    match name.as_str() {
        // Of the pool; written by the node; of one connection.
        "host" | "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host" | "x-forwarded-port"
        | "x-forwarded-server" | "forwarded" | "via" | "te" | "accept-encoding" | "connection" => {}
        "upgrade" => block.keys.set_with("upgrade", "[\"websocket\"]", "proxy_set_header Upgrade"),
        _ if value.is_empty() => match refused_field(&name, Side::Request, true) {
            None => block.request.remove.push(name),
            Some(why) => draft.note(&field.place, format!("`{name}` cannot be removed: {why}"), ""),
        },
        _ => {
            if let Some(value) = field_value(field, &name, value, Side::Request, server_name, draft) {
                block.request.set.retain(|(known, _)| *known != name);
                block.request.set.push((name, value));
            }
        }
    }
}

/// A value with our variables, if the field may be written and its value can be said.
fn field_value(
    directive: &Directive,
    name: &str,
    value: &str,
    side: Side,
    server_name: &str,
    draft: &mut Draft,
) -> Option<String> {
    if let Some(why) = refused_field(name, side, false) {
        draft.note(&directive.place, format!("`{name}` cannot be written: {why}"), "");
        return None;
    }
    let template = text::template(value, server_name, false).and_then(|template| {
        if template.contains("${query}") { Err("query_string".to_owned()) } else { Ok(template) }
    });
    let template = match template {
        Ok(template) => template,
        Err(variable) => {
            draft.note(
                &directive.place,
                format!("`{name}`: `${variable}` has no counterpart"),
                "write a text, or $host, $path, $uri, $scheme, $client_ip or $request_id",
            );
            return None;
        }
    };
    if template.trim() != template || !template.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
        draft.note(
            &directive.place,
            format!("`{name}`: its value is not printable ASCII"),
            "write it as ASCII",
        );
        return None;
    }
    Some(template)
}

fn expires(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let Some(directive) = levels.one("expires") else { return };
    let word = directive.argument(usize::from(directive.argument(0) == "modified"));
    let control = match word {
        "off" => return,
        "epoch" => "no-cache".to_owned(),
        "max" => "max-age=315360000".to_owned(),
        time if time.starts_with('-') => "no-cache".to_owned(),
        time => match text::millis(time) {
            Some(millis) => format!("max-age={}", millis / 1000),
            None => {
                return draft.note(
                    &directive.place,
                    format!("`{}` cannot be said here", directive.shown()),
                    "write response_headers = { set = { cache-control = \"max-age=3600\" } } in each route",
                );
            }
        },
    };
    block.response.set.push(("cache-control".to_owned(), control));
    block.response.remove.push("expires".to_owned());
}

fn access(world: &World<'_>, levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    // Nobody but nginx itself gets there; whom else somebody is asked about cannot be said.
    if !levels.here("internal").is_empty() {
        block.keys.set_with("respond", "{ status = 404, body = \"\" }", "internal");
    }
    if levels.any(&["auth_request", "auth_jwt"]).is_some_and(|asked| asked.argument(0) != "off") {
        block.keys.set_with(
            "respond",
            "{ status = 403, body = \"\" }",
            "auth_request: until it is settled who asks",
        );
    }
    let password = levels.one("auth_basic").is_some_and(|realm| realm.argument(0) != "off");
    match levels.one("satisfy").filter(|satisfy| password && satisfy.argument(0) == "any") {
        // No address is good enough, and a password is.
        Some(_) if nobody_by_address(levels) => {}
        Some(satisfy) => {
            addresses(levels, block, draft);
            if ["allow", "deny"].iter().any(|key| block.access.get(key).is_some()) {
                draft.note(
                    &satisfy.place,
                    "`satisfy any`: here a network and a password are both asked for, which lets in fewer",
                    "write two routes of that path: first one with match = { client = [ \"10.0.0.0/8\" ] } and access without `basic`, then one \
                     with access = { basic = … } alone",
                );
            }
        }
        None => addresses(levels, block, draft),
    }
    if let Some(realm) = levels.one("auth_basic").filter(|realm| realm.argument(0) != "off") {
        match levels.one("auth_basic_user_file") {
            Some(users) => {
                let realm: String = realm
                    .argument(0)
                    .chars()
                    .filter(|c| (' '..='~').contains(c) && !matches!(c, '"' | '\\'))
                    .collect();
                let realm = if realm.is_empty() {
                    String::new()
                } else {
                    format!(", realm = {}", draft::text(&realm))
                };
                block.access.set("basic", format!("{{ users = {}{realm} }}", draft::text(users.argument(0))));
            }
            None => {
                draft.note(
                    &realm.place,
                    "auth_basic without a file of users: nobody is let in",
                    "write access = { basic = { users = \"…\" } }",
                );
                block.keys.set("respond", "{ status = 403, body = \"\" }");
            }
        }
    }
    if let Some(limit) = levels.one("limit_req") {
        let value = |key: &str| limit.arguments.iter().find_map(|word| word.strip_prefix(key));
        let zone = value("zone=").unwrap_or_default();
        if let Some((requests, secs)) = world.rates.get(zone).copied() {
            // The first one is free in nginx, and so many more.
            let burst =
                value("burst=").and_then(|burst| burst.parse::<u64>().ok()).unwrap_or(0).saturating_add(1);
            let per = draft::duration(secs.saturating_mul(1000));
            let name = draft::text(zone);
            block.access.set(
                "rate",
                format!("{{ requests = {requests}, per = {per}, burst = {burst}, name = {name} }}"),
            );
            if !limit.arguments.iter().any(|word| word == "nodelay") {
                draft.note(
                    &limit.place,
                    "requests above the rate were held back by nginx; here they are answered as far as `burst` goes, then refused with 429",
                    "",
                );
            }
        }
    }
    if let Some(limit) =
        levels.one("limit_conn").filter(|limit| world.conns.iter().any(|zone| zone == limit.argument(0)))
        && let Ok(count) = limit.argument(1).parse::<u32>()
    {
        block.access.set("concurrency", count.max(1).to_string());
    }
}

/// The rules about addresses on the nearest level that has some.
fn rules_of_addresses<'c>(levels: &Levels<'c>) -> Vec<&'c Directive> {
    let is_rule = |directive: &&Directive| matches!(directive.name.as_str(), "allow" | "deny");
    let levels = levels.0.iter().rev();
    levels
        .map(|level| level.iter().copied().filter(is_rule).collect::<Vec<_>>())
        .find(|rules| !rules.is_empty())
        .unwrap_or_default()
}

/// `deny all` is the first rule that fits everybody.
fn nobody_by_address(levels: &Levels<'_>) -> bool {
    rules_of_addresses(levels).first().is_some_and(|first| first.name == "deny" && first.argument(0) == "all")
}

/// In nginx the first rule that fits decides; here the smallest network does. For lists that end in `all` it is the same unless
/// networks overlap.
fn addresses(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let rules = rules_of_addresses(levels);
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    let mut rest = None;
    for directive in rules {
        let (list, allows) = if directive.name == "allow" { (&mut allow, true) } else { (&mut deny, false) };
        match directive.argument(0) {
            "all" => {
                rest = Some(allows);
                break;
            }
            network if value::network(network).is_ok() => list.push(network.to_owned()),
            other => draft.note(
                &directive.place,
                format!("`{} {other}` is no network", directive.name),
                "write networks, like 10.0.0.0/8, in access = { allow = [ … ], deny = [ … ] }",
            ),
        }
    }
    match rest {
        Some(false) if allow.is_empty() => {
            block.keys.set_with("respond", "{ status = 403, body = \"\" }", "deny all");
            return;
        }
        Some(true) | None if deny.is_empty() => return,
        Some(true) | None => allow.clear(),
        Some(false) => {}
    }
    if !allow.is_empty() {
        block.access.set("allow", draft::texts(&allow));
    }
    if !deny.is_empty() {
        block.access.set("deny", draft::texts(&deny));
    }
}

fn encode(levels: &Levels<'_>, block: &mut Block) {
    if !levels.is_on("gzip") || block.keys.get("cache") == Some("\"off\"") {
        return;
    }
    let mut parts = vec!["codings = [\"br\", \"zstd\", \"gzip\"]".to_owned()];
    if let Some(types) = levels.one("gzip_types") {
        let mut types = types.arguments.clone();
        if !types.iter().any(|kind| kind == "*") {
            types.push("text/html".to_owned());
            types.sort();
            types.dedup();
            types.retain(|kind| kind.contains('/') && kind.bytes().all(|byte| byte.is_ascii_graphic()));
            parts.push(format!("types = {}", draft::texts(&types)));
        }
    } else {
        parts.push("types = [\"text/html\"]".to_owned());
    }
    if let Some(size) = levels.one("gzip_min_length").and_then(|size| text::size(size.argument(0))) {
        parts.push(format!("min = {size}"));
    }
    block.keys.set_with(
        "encode",
        format!("{{ {} }}", parts.join(", ")),
        "once, when it is stored; not at each hit",
    );
}

/// Pages that lie in files; what else `error_page` can do has no counterpart.
fn error_pages(levels: &Levels<'_>, block: &mut Block, draft: &mut Draft) {
    let root = levels.one("root").map(|root| root.argument(0)).filter(|root| text::is_plain(root));
    let mut pages: Vec<String> = Vec::new();
    for directive in levels.all("error_page") {
        let Some((target, codes)) = directive.arguments.split_last() else { continue };
        let file = root.map(|root| format!("{}{target}", root.trim_end_matches('/')));
        let file = file.filter(|_| target.starts_with('/') && !target.contains(['?', '$', '=']));
        let Some(file) = file.filter(|file| std::path::Path::new(file).is_file()) else {
            draft.note(
                &directive.place,
                format!("`{}`: no file of that name is here", directive.shown()),
                "write error_pages = { 404 = \"404.html\", 5xx = \"50x.html\" } in the site",
            );
            continue;
        };
        for code in
            codes.iter().filter(|code| code.parse::<u16>().is_ok_and(|code| (400..=599).contains(&code)))
        {
            pages.push(format!("{code} = {}", draft::text(&file)));
        }
    }
    if !pages.is_empty() {
        if levels.is_on("proxy_intercept_errors") {
            pages.push("intercept = true".to_owned());
        }
        block.keys.set("error_pages", format!("{{ {} }}", pages.join(", ")));
    }
}
