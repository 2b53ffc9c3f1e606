//! `docs/settings.md`: every setting, from the code that reads it and the documentation of the field that it becomes.
//!
//! A row names a key, what it takes and the field whose documentation says what it means; the text is read from the source.
//! The checker itself records which keys it asks for (`file.rs`), so a key without a row, or a row without a key, fails the
//! test here. `TIDEGATE_BLESS=1 cargo test -p tidegate --lib config::reference` writes the page anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use super::check::{Surroundings, check};
use super::effective::effective;

/// A table of settings.
struct Part {
    title: &'static str,
    /// How the checker calls it.
    asked_as: &'static [&'static str],
    about: &'static str,
    rows: &'static [Row],
}

/// Key, what it takes, and file, struct and field of its documentation (or the text itself, where the file is empty).
type Row = (&'static str, &'static str, &'static str, &'static str, &'static str);

const MOD: &str = "src/config/mod.rs";
const SITE: &str = "src/config/site.rs";
const POOL: &str = "src/config/pool.rs";
const ACCESS: &str = "src/config/access.rs";
const INSPECT: &str = "src/config/inspect.rs";
const ANSWER: &str = "src/config/answer.rs";
const GEO: &str = "src/config/geo.rs";
const PURGE: &str = "src/config/purge.rs";
const TIER: &str = "src/config/tier.rs";
const LIMITS: &str = "src/config/limits.rs";
const RULES: &str = "cache-store/src/rules/policy.rs";
const LOG: &str = "src/config/log.rs";
const TRACE: &str = "src/config/trace.rs";
const STEER: &str = "src/config/steer.rs";

const PARTS: &[Part] = &[
    Part {
        title: "The file",
        asked_as: &["the file"],
        about: "Sizes are `\"512MiB\"`, durations `\"90s\"`, `\"10m\"`, `\"30d\"`. Relative paths start at the file's directory. Unknown keys are refused with the nearest name.",
        rows: &[
            ("node", "name", MOD, "Config", "node"),
            ("workers", "1 to 1024", MOD, "Config", "workers"),
            ("listener", "tables `[[listener]]`", MOD, "Config", "listeners"),
            ("admin", "table", MOD, "Config", "admin"),
            ("cache", "table", MOD, "Config", "cache"),
            ("geo", "table", MOD, "Config", "geo"),
            ("pool", "tables `[pool.NAME]`", MOD, "Config", "pools"),
            ("site", "tables `[[site]]`", MOD, "Config", "sites"),
            ("purge", "table", MOD, "Config", "purge"),
            ("tier", "table", MOD, "Config", "tier"),
            ("crawlers", "table", MOD, "Config", "crawlers"),
            ("modsecurity", "table", MOD, "Config", "modsecurity"),
            ("log", "table", MOD, "Config", "log"),
            ("trace", "table", LOG, "Log", "trace"),
            ("limits", "table", MOD, "Config", "limits"),
        ],
    },
    Part {
        title: "[[listener]]",
        asked_as: &["[[listener]]", "this certificate", "`proxy_protocol`"],
        about: "",
        rows: &[
            ("address", "`\"0.0.0.0:443\"`, `\"[::]:443\"`, `\":80\"` (IPv4)", MOD, "Listener", "address"),
            ("tls", "list of `{ cert, key }`", MOD, "Listener", "tls"),
            ("cert", "path, in `tls`", MOD, "Certificate", "cert"),
            ("key", "path, in `tls`", MOD, "Certificate", "key"),
            ("protocols", "`\"h2\"`, `\"http/1.1\"`", MOD, "Listener", "protocols"),
            ("trusted_proxies", "networks", MOD, "Listener", "trusted_proxies"),
            ("proxy_protocol", "`{ trust = [networks] }`", MOD, "Listener", "proxy_protocol"),
            (
                "trust",
                "networks, in `proxy_protocol`",
                "",
                "",
                "Who may connect, and begins each connection with the PROXY protocol.",
            ),
        ],
    },
    Part {
        title: "[admin]",
        asked_as: &["[admin]"],
        about: "The second listener: commands, metrics, readiness, dashboard.",
        rows: &[
            ("address", "address, or `\"off\"`", MOD, "Admin", "address"),
            ("tokens", "path", MOD, "Admin", "tokens"),
        ],
    },
    Part {
        title: "[cache]",
        asked_as: &["`disk`"],
        about: "The store. The caching rules below may stand here too, as defaults for all sites.",
        rows: &[
            ("memory", "size", MOD, "Cache", "memory_bytes"),
            ("memory_admission", "`\"adaptive\"`, `\"all\"`", MOD, "Cache", "memory_admission"),
            ("object_max", "size", MOD, "Cache", "object_bytes_max"),
            ("disk", "`{ path, size, admission }`", MOD, "Cache", "disk"),
            ("path", "path, in `disk`", MOD, "DiskCache", "path"),
            ("size", "size, in `disk`", MOD, "DiskCache", "bytes"),
            ("admission", "`\"second-request\"`, `\"all\"`, in `disk`", MOD, "DiskCache", "admission"),
        ],
    },
    Part {
        title: "Caching rules: in [cache], a site or a route",
        asked_as: &["[cache]", "`heuristic`", "`negative_ttl`", "`encode`"],
        about: "The nearest place that writes a key decides; below all of them lies the preset.",
        rows: &[
            ("default_ttl", "duration, or `\"off\"`", RULES, "Policy", "default_ttl"),
            ("ttl", "duration, or `\"off\"`", RULES, "Policy", "ttl_override"),
            ("ttl_max", "duration", RULES, "Policy", "lifetime_max"),
            ("heuristic", "`{ percent, max }`, or `\"off\"`", RULES, "Policy", "heuristic"),
            ("percent", "1 to 100, in `heuristic`", RULES, "Heuristic", "percent"),
            ("max", "duration, in `heuristic`", RULES, "Heuristic", "cap"),
            ("negative_ttl", "duration, `\"off\"`, or `{ gone, client, server }`", RULES, "Policy", "errors"),
            ("gone", "duration, or `\"off\"`, in `negative_ttl`", RULES, "Errors", "gone_ttl"),
            ("client", "duration, or `\"off\"`, in `negative_ttl`", RULES, "Errors", "client_ttl"),
            ("server", "duration, or `\"off\"`, in `negative_ttl`", RULES, "Errors", "server_ttl"),
            ("errors_by_origin", "true or false", RULES, "Errors", "by_origin"),
            ("stale_while_revalidate", "duration, or `\"off\"`", RULES, "Policy", "stale_while_revalidate"),
            ("stale_if_error", "duration, or `\"off\"`", RULES, "Policy", "stale_if_error"),
            ("s_maxage_forbids_stale", "true or false", RULES, "Policy", "s_maxage_forbids_stale"),
            ("set_cookie", "`\"refuse\"`, `\"strip\"`, `\"store\"`", RULES, "Policy", "set_cookie"),
            ("short_part", "`\"refuse\"`, `\"trust-framing\"`", RULES, "Policy", "short_part"),
            (
                "honour_request_cache_control",
                "true, false or a list of directives",
                RULES,
                "Policy",
                "honour",
            ),
            ("targeted_fields", "fields", RULES, "Policy", "targets"),
            ("vary_ignore", "fields", RULES, "Policy", "vary_ignored"),
            ("select_by_language", "true or false", RULES, "Policy", "select_by_language"),
            (
                "encode",
                "`\"on\"`, `\"off\"`, codings, or `{ codings, types, min, level_fast, level_best, unstored }`",
                SITE,
                "RoutePolicy",
                "encode",
            ),
            (
                "codings",
                "`\"br\"`, `\"zstd\"`, `\"gzip\"`, in `encode`",
                "src/config/encode.rs",
                "Encode",
                "codings",
            ),
            ("types", "media types, in `encode`", "src/config/encode.rs", "Encode", "types"),
            ("min", "size, in `encode`", "src/config/encode.rs", "Encode", "bytes_min"),
            ("level_fast", "1 to 11, in `encode`", "src/config/encode.rs", "Encode", "level_fast"),
            ("level_best", "1 to 11, in `encode`", "src/config/encode.rs", "Encode", "level_best"),
            (
                "unstored",
                "`\"anonymous\"`, `\"all\"`, `\"off\"`, in `encode`",
                "src/config/encode.rs",
                "Encode",
                "unstored",
            ),
        ],
    },
    Part {
        title: "[[site]]",
        asked_as: &["this redirect"],
        about: "A site may also say everything that a route may.",
        rows: &[
            ("hosts", "`\"www.example.com\"`, `\"*.example.com\"`, `\"*\"`", SITE, "Site", "hosts"),
            (
                "redirects",
                "list of `{ from, to, status, query }`, or `\"/from /to 301\"`",
                SITE,
                "Site",
                "redirects",
            ),
            (
                "from",
                "path pattern, in `redirects`",
                "",
                "",
                "Which paths are sent elsewhere: as `path` of a route.",
            ),
            ("route", "tables `[[site.route]]`", SITE, "Site", "routes"),
        ],
    },
    Part {
        title: "[[site.route]], and a site for all of its routes",
        asked_as: &[
            "[[site]]",
            "[[site.route]]",
            "`path`",
            "this redirect",
            "`match`",
            "`mirror`",
            "`query`",
            "`cookies`",
            "`key`",
            "`bypass`",
            "`rewrite`",
            "`redirect`",
            "`respond`",
            "`maintenance`",
            "`error_pages`",
            "`request_headers`",
            "`response_headers`",
            "`cookie`",
            "`header`",
            "`set`",
            "`add`",
            "`headers`",
        ],
        about: "Within a site the first route that fits decides. Keys of the caching rules above may stand here too.",
        rows: &[
            (
                "path",
                "`\"/api/*\"`, `{ regex = \"…\" }`; in `rewrite` the path that the origin is asked for",
                SITE,
                "Route",
                "path",
            ),
            (
                "regex",
                "regular expression, in `path`",
                "",
                "",
                "Paths in normal form are searched for it; its groups are `$1` to `$9` and `${name}`.",
            ),
            ("methods", "methods", SITE, "Route", "methods"),
            ("match", "`{ header, query, cookie, client }`", SITE, "Route", "conditions"),
            (
                "header",
                "`{ name = pattern, true or false }`, in `match` and `bypass`",
                "src/config/condition.rs",
                "Conditions",
                "header",
            ),
            (
                "cookie",
                "the same, or names; in `match` and `bypass`",
                "src/config/condition.rs",
                "Conditions",
                "cookie",
            ),
            (
                "client",
                "networks, in `match` and `bypass`",
                "src/config/condition.rs",
                "Conditions",
                "client",
            ),
            ("country", "two letters each, in `match`", "src/config/condition.rs", "Conditions", "country"),
            ("preset", "`\"static\"`, `\"news\"`, `\"rfc\"`, `\"none\"`", SITE, "RoutePolicy", "preset"),
            (
                "pool",
                "name of a pool",
                "",
                "",
                "The pool that is asked. May be left out where there is only one.",
            ),
            ("steer", "table", SITE, "RoutePolicy", "steer"),
            ("cache", "`\"on\"`, `\"off\"`", SITE, "RoutePolicy", "cache"),
            (
                "query",
                "`{ sort, remove, keep }`; in `match`, `bypass` and `rewrite` parameters, in redirects `\"keep\"` or `\"drop\"`",
                SITE,
                "RoutePolicy",
                "query",
            ),
            ("sort", "true or false, in `query`", SITE, "Query", "sort"),
            (
                "remove",
                "names, in `query`; fields, in `request_headers` and `response_headers`",
                SITE,
                "Query",
                "remove",
            ),
            ("keep", "names, or `\"all\"`, in `query`", SITE, "Query", "keep"),
            (
                "cookies",
                "`\"forward\"`, or `{ pass_on = [names] }`; in `key` names",
                SITE,
                "RoutePolicy",
                "cookies",
            ),
            (
                "pass_on",
                "names, in `cookies`",
                "",
                "",
                "A request with one of these cookies passes the cache with all of them; others lose theirs.",
            ),
            ("forward", "`\"safe\"`, or fields", SITE, "RoutePolicy", "forward"),
            ("key", "`{ headers, cookies }`", SITE, "RoutePolicy", "key"),
            ("headers", "fields, in `key`; a table of fields, in `respond`", SITE, "KeyParts", "headers"),
            ("bypass", "`{ cookie, header, query, client }`, or `\"off\"`", SITE, "RoutePolicy", "bypass"),
            ("vary_by", "`\"country\"`, `\"off\"`", SITE, "RoutePolicy", "vary_by_country"),
            ("mirror", "`{ pool, percent, of }`, or `\"off\"`", SITE, "RoutePolicy", "mirror"),
            ("percent", "1 to 100, in `mirror`", "src/config/mirror.rs", "Mirror", "percent"),
            ("of", "`\"misses\"`, `\"requests\"`, in `mirror`", "src/config/mirror.rs", "Mirror", "of"),
            ("host", "one of `hosts`, in `key` of a site", SITE, "Site", "shared_host"),
            ("x_cache", "true or false", SITE, "RoutePolicy", "x_cache"),
            (
                "rewrite",
                "path, `{ path, query }`, `{ strip_prefix, add_prefix }`, or `\"off\"`",
                SITE,
                "RoutePolicy",
                "rewrite",
            ),
            ("strip_prefix", "path, in `rewrite`", "src/config/rewrite.rs", "Rewrite", "strip_prefix"),
            ("add_prefix", "path, in `rewrite`", "src/config/rewrite.rs", "Rewrite", "add_prefix"),
            ("request_headers", "`{ set, add, remove }`", SITE, "RoutePolicy", "request_headers"),
            ("response_headers", "`{ set, add, remove }`", SITE, "RoutePolicy", "response_headers"),
            (
                "set",
                "table of fields",
                "",
                "",
                "Written in place of what is there. Values may have `$host`, `$path`, `$uri`, `$scheme`, `$client_ip`, `$request_id`; `$$` is a dollar.",
            ),
            ("add", "table of fields", "", "", "Written beside what is there."),
            ("https_only", "true or false", SITE, "RoutePolicy", "https_only"),
            ("allow_methods", "methods", SITE, "RoutePolicy", "allow_methods"),
            ("redirect", "target, or `{ to, status, query }`, or `\"off\"`", ANSWER, "Answer", "Redirect"),
            ("to", "URL or path with variables, in redirects", ANSWER, "Redirect", "to"),
            (
                "status",
                "in redirects 301, 302, 303, 307 or 308; in `respond` from 200 on; in `maintenance` 400 to 599",
                "",
                "",
                "The answer's status.",
            ),
            (
                "respond",
                "`{ status, body or file, content_type, headers }`, or `\"off\"`",
                ANSWER,
                "Answer",
                "Fixed",
            ),
            ("body", "text, in `respond`, `maintenance` and `error_pages`", "", "", "What clients read."),
            ("file", "path, in `respond`, `maintenance` and `error_pages`", ANSWER, "Page", "file"),
            ("content_type", "media type", ANSWER, "Page", "content_type"),
            (
                "maintenance",
                "`{ status, file or body, retry_after, allow }`, or `\"off\"`",
                SITE,
                "RoutePolicy",
                "maintenance",
            ),
            ("retry_after", "duration, in `maintenance`", ANSWER, "Maintenance", "retry_after"),
            ("allow", "networks, in `maintenance`", ANSWER, "Maintenance", "allow"),
            (
                "error_pages",
                "`{ 404 = \"404.html\", 5xx = { body = \"…\" }, intercept = true }`",
                SITE,
                "RoutePolicy",
                "error_pages",
            ),
            ("upgrade", "protocols, or `\"off\"`", SITE, "RoutePolicy", "upgrade"),
            ("access", "table, or `\"off\"`", SITE, "RoutePolicy", "access"),
        ],
    },
    Part {
        title: "access: who is answered",
        asked_as: &[
            "`access`",
            "`rate`",
            "`by`",
            "`concurrency`",
            "`countries`",
            "`referers`",
            "`signed`",
            "this key",
            "`basic`",
            "`inspect`",
        ],
        about: "A route keeps of its site's rules what it does not name. `rate`, `concurrency`, `countries`, `referers`, `signed`, `basic` and `inspect` may each be `\"off\"`.",
        rows: &[
            ("allow", "networks; in `countries` two letters each", ACCESS, "Addresses", "allow"),
            ("deny", "networks; in `countries` two letters each", ACCESS, "Addresses", "deny"),
            ("allow_files", "paths", ACCESS, "Addresses", "allow_files"),
            ("deny_files", "paths", ACCESS, "Addresses", "deny_files"),
            (
                "rate",
                "`{ requests, per, burst, by, name, dry_run, fields, memory }`, or a list of them",
                ACCESS,
                "Access",
                "rates",
            ),
            ("requests", "number, in `rate` and `concurrency`", ACCESS, "Rate", "requests"),
            ("per", "duration, in `rate`", ACCESS, "Rate", "per"),
            ("burst", "number, in `rate`", ACCESS, "Rate", "burst"),
            (
                "by",
                "`\"client\"`, `\"route\"`, `{ header = \"X-API-Key\" }`, in `rate`",
                ACCESS,
                "Rate",
                "by",
            ),
            ("header", "field, in `by`", ACCESS, "RateBy", "Field"),
            ("name", "text, in `rate` and `concurrency`", ACCESS, "Rate", "name"),
            ("dry_run", "true or false, in `rate` and `concurrency`", ACCESS, "Rate", "dry_run"),
            ("fields", "true or false, in `rate`", ACCESS, "Rate", "fields"),
            ("memory", "size, in `rate`", ACCESS, "Rate", "memory_bytes"),
            ("concurrency", "number, or `{ requests, name, dry_run }`", ACCESS, "Access", "concurrency"),
            ("countries", "`{ allow, deny, unknown }`", ACCESS, "Access", "countries"),
            ("unknown", "`\"allow\"`, `\"deny\"`, in `countries`", ACCESS, "Countries", "unknown"),
            ("referers", "hosts, or `{ hosts, none }`", ACCESS, "Access", "referers"),
            ("hosts", "hosts, in `referers`", ACCESS, "Referers", "hosts"),
            ("none", "true or false, in `referers`", ACCESS, "Referers", "none"),
            ("signed", "`{ keys, query, skew }`", ACCESS, "Access", "signed"),
            ("keys", "list of `{ id, file }`, in `signed`", ACCESS, "Signed", "keys"),
            ("id", "name, in `keys`", "", "", "What a URL's `key_id` names."),
            (
                "file",
                "path, in `keys`",
                "",
                "",
                "The file that holds the key: what `openssl rand -hex 32` prints.",
            ),
            ("query", "`\"all\"`, `\"none\"` or names, in `signed`", ACCESS, "Signed", "query"),
            ("skew", "duration, in `signed`", ACCESS, "Signed", "skew"),
            ("basic", "path, or `{ users, realm, forward }`", ACCESS, "Access", "basic"),
            ("users", "path, in `basic`", ACCESS, "Basic", "users"),
            ("realm", "text, in `basic`", ACCESS, "Basic", "realm"),
            ("forward", "true or false, in `basic`", ACCESS, "Basic", "forward"),
            (
                "inspect",
                "`\"detect\"`, `\"block\"`, or `{ mode, engines, body_max, over }`",
                ACCESS,
                "Access",
                "inspect",
            ),
            ("mode", "`\"detect\"`, `\"block\"`, in `inspect`", INSPECT, "Inspect", "mode"),
            ("engines", "`\"libinjection\"`, `\"modsecurity\"`, in `inspect`", INSPECT, "Inspect", "engines"),
            ("body_max", "size up to 1 MiB, in `inspect`", INSPECT, "Inspect", "body_bytes_max"),
            ("over", "`\"pass\"`, `\"refuse\"`, in `inspect`", INSPECT, "Inspect", "over"),
        ],
    },
    Part {
        title: "steer: which pool is asked",
        asked_as: &["`steer`", "`sticky`", "this rule", "pools = { eu = 9, us = 1 }"],
        about: "In a site or route, in place of `pool`.",
        rows: &[
            (
                "by",
                "`\"weight\"`, `\"geo\"`, `\"nearest\"`, `\"order\"`, `\"header\"`, `\"cookie\"`",
                STEER,
                "Steering",
                "by",
            ),
            (
                "pools",
                "`{ eu = 9, us = 1 }` by weight; names by order",
                "",
                "",
                "The pools to choose from, with their shares.",
            ),
            (
                "sticky",
                "`\"cookie\"`, `\"client\"`, `{ cookie, max_age }`, by weight",
                "",
                "",
                "Whether a client stays with its pool: by a cookie that it is given, or by its address. Default: each request for itself.",
            ),
            ("cookie", "name, in `sticky`", "", "", "The cookie by which clients are known again."),
            ("max_age", "duration, in `sticky`", "", "", "How long they keep it."),
            ("rules", "list of tables", "", "", "The first that fits decides."),
            ("countries", "two letters each, in `rules` by geo", STEER, "PlaceRule", "countries"),
            ("continents", "`\"EU\"` and such, in `rules` by geo", STEER, "PlaceRule", "continents"),
            ("regions", "`\"US-CA\"` and such, in `rules` by geo", STEER, "PlaceRule", "regions"),
            ("values", "patterns, in `rules` by header and cookie", STEER, "ValueRule", "values"),
            ("pool", "name of a pool, in `rules`", STEER, "PlaceRule", "pool"),
            ("name", "field or cookie, by header and cookie", "", "", "What is looked at."),
            ("otherwise", "name of a pool", "", "", "Where no rule fits."),
            ("fallback", "names of pools", STEER, "Steering", "fallback"),
            ("split", "true or false", STEER, "Steering", "split"),
        ],
    },
    Part {
        title: "[pool.NAME]",
        asked_as: &["[pool.NAME]", "this origin", "`sticky`", "`health`", "`client_cert`"],
        about: "Servers that say the same.",
        rows: &[
            ("origins", "list of URLs, or `{ url, weight, backup }`", POOL, "Pool", "origins"),
            (
                "url",
                "`\"http://10.0.0.1:3000\"`, `\"https://…\"`, `\"unix:/run/app.sock\"`",
                POOL,
                "Origin",
                "name",
            ),
            ("weight", "1 to 1000000, in `origins`", POOL, "Origin", "weight"),
            ("backup", "true or false, in `origins`", POOL, "Origin", "backup"),
            (
                "balance",
                "`\"weighted\"`, `\"round-robin\"`, `\"least-connections\"`, `\"ewma\"`, `\"client-hash\"`, `\"uri-hash\"`",
                POOL,
                "Pool",
                "balance",
            ),
            ("sticky", "`{ cookie }`", POOL, "Pool", "sticky"),
            ("slow_start", "duration", POOL, "Pool", "slow_start"),
            ("location", "`[north, east]`", POOL, "Pool", "location"),
            ("host", "host, with port if need be; in `health` too", POOL, "Pool", "host"),
            ("server_name", "host", POOL, "Pool", "server_name"),
            ("verify", "true or false", POOL, "Pool", "verify"),
            ("ca", "path", POOL, "Pool", "ca"),
            ("client_cert", "`{ cert, key }`", "src/config/transport.rs", "Transport", "client_cert"),
            ("cert", "path, in `client_cert`", "", "", "The certificate and those that sign it, PEM."),
            ("key", "path, in `client_cert`", "", "", "Its key, PEM."),
            (
                "proxy_protocol",
                "`\"v1\"`, `\"v2\"`, `\"off\"`",
                "src/config/transport.rs",
                "Transport",
                "proxy_protocol",
            ),
            ("protocol", "`\"http/1.1\"`, `\"h2\"`", "src/config/transport.rs", "Transport", "protocol"),
            ("streams_max", "1 to 1000", "src/config/transport.rs", "Transport", "streams_max"),
            ("tunnels_max", "number", "src/config/transport.rs", "Transport", "tunnels_max"),
            ("tunnel_timeout", "duration", "src/config/transport.rs", "Transport", "tunnel_timeout"),
            ("connections_max", "1 to 65535", POOL, "Pool", "connections_max"),
            ("concurrency", "`\"fixed\"`, `\"adaptive\"`", POOL, "Pool", "concurrency"),
            ("queue_timeout", "duration", POOL, "Pool", "queue_timeout"),
            ("queue_max", "number", POOL, "Pool", "queue_max"),
            ("connect_timeout", "duration", POOL, "Pool", "connect_timeout"),
            ("first_byte_timeout", "duration", POOL, "Pool", "first_byte_timeout"),
            ("between_bytes_timeout", "duration", POOL, "Pool", "between_bytes_timeout"),
            ("idle_timeout", "duration", POOL, "Pool", "idle_timeout"),
            ("eject_after", "number", POOL, "Pool", "eject_after"),
            ("eject_for", "duration", POOL, "Pool", "eject_for"),
            ("eject_failure_percent", "0 to 100", POOL, "Pool", "eject_failure_percent"),
            ("eject_max_percent", "0 to 100", POOL, "Pool", "eject_max_percent"),
            ("fail_status", "statuses, like `[500, \"502-504\"]`", POOL, "Pool", "fail_status"),
            ("hedge_after", "duration, `\"silence\"`, `\"p95\"`, `\"off\"`", POOL, "Pool", "hedge_after"),
            (
                "health",
                "`{ kind, path, host, every, timeout, unhealthy_after, healthy_after, status, body }`",
                POOL,
                "Pool",
                "health",
            ),
            ("kind", "`\"http\"`, `\"tcp\"`, `\"tls\"`, in `health`", POOL, "Health", "kind"),
            ("path", "path and query, in `health`", POOL, "Health", "path"),
            ("every", "duration, in `health`", POOL, "Health", "every"),
            ("timeout", "duration, in `health`", POOL, "Health", "timeout"),
            ("unhealthy_after", "number, in `health`", POOL, "Health", "unhealthy_after"),
            ("healthy_after", "number, in `health`", POOL, "Health", "healthy_after"),
            ("status", "statuses, in `health`", POOL, "Health", "status"),
            ("body", "text, in `health`", POOL, "Health", "body"),
            ("cookie", "name, in `sticky`", "", "", "The cookie that keeps a client at its origin."),
        ],
    },
    Part {
        title: "[geo]",
        asked_as: &["[geo]"],
        about: "Where addresses are.",
        rows: &[
            ("database", "path", GEO, "Geo", "database"),
            ("layout", "`\"maxmind\"`, `\"db-ip\"`", GEO, "Geo", "layout"),
            ("country", "path in a record", GEO, "GeoPaths", "country"),
            ("continent", "path in a record", GEO, "GeoPaths", "continent"),
            ("region", "path in a record", GEO, "GeoPaths", "region"),
            ("latitude", "path in a record", GEO, "GeoPaths", "latitude"),
            ("longitude", "path in a record", GEO, "GeoPaths", "longitude"),
        ],
    },
    Part {
        title: "[crawlers]",
        asked_as: &["[crawlers]"],
        about: "A lane of their own for crawlers, behind what is stored.",
        rows: &[
            ("agents", "parts of `User-Agent`", "src/config/crawlers.rs", "Crawlers", "agents"),
            ("verified", "networks", "src/config/crawlers.rs", "Crawlers", "verified"),
            ("verified_files", "paths", "src/config/crawlers.rs", "Crawlers", "verified_files"),
            ("concurrency", "1 to 10000", "src/config/crawlers.rs", "Crawlers", "concurrency"),
            ("concurrency_others", "1 to 10000", "src/config/crawlers.rs", "Crawlers", "concurrency_others"),
            ("queue_max", "0 to 10000", "src/config/crawlers.rs", "Crawlers", "queue_max"),
            ("queue_timeout", "duration", "src/config/crawlers.rs", "Crawlers", "queue_timeout"),
            ("stale", "duration", "src/config/crawlers.rs", "Crawlers", "stale"),
        ],
    },
    Part {
        title: "[modsecurity]",
        asked_as: &["[modsecurity]"],
        about: "The engine that routes name in `inspect`; the library and its rules are not part of Tidegate.",
        rows: &[
            ("rules", "paths, with `*` in file names", INSPECT, "ModSecurity", "rules"),
            ("library", "name or path", INSPECT, "ModSecurity", "library"),
            ("concurrency", "1 to 1024", INSPECT, "ModSecurity", "concurrency"),
            ("queue_max", "0 to 100000", INSPECT, "ModSecurity", "queue_max"),
        ],
    },
    Part {
        title: "[purge]",
        asked_as: &["[purge]", "`bus`"],
        about: "Forgetting what is stored.",
        rows: &[
            ("method_from", "networks", PURGE, "Purge", "method_from"),
            ("refresh_per_second", "number", PURGE, "Purge", "refresh_per_second"),
            ("bus", "`{ nats, stream, replicas, credentials }`", PURGE, "Purge", "bus"),
            ("nats", "URL, or several with commas, in `bus`", PURGE, "NatsBus", "servers"),
            ("stream", "name, in `bus`", PURGE, "NatsBus", "stream"),
            ("replicas", "1 to 5, in `bus`", PURGE, "NatsBus", "replicas"),
            ("credentials", "path, in `bus`", PURGE, "NatsBus", "credentials"),
            ("unsynced", "`\"revalidate\"`, `\"deny\"`, `\"serve\"`", PURGE, "Purge", "unsynced"),
            ("unsynced_after", "duration", PURGE, "Purge", "unsynced_after"),
        ],
    },
    Part {
        title: "[tier]",
        asked_as: &["[tier]", "this parent"],
        about: "Nodes near the origin, asked by nodes near the clients.",
        rows: &[
            ("parents", "URLs, or `{ url, key, key_file }`", TIER, "Tier", "parents"),
            ("url", "URL, in `parents`", TIER, "Parent", "origin"),
            ("key", "text, or `\"none\"`", TIER, "Tier", "key"),
            (
                "key_file",
                "path",
                "",
                "",
                "The file that holds `key`: what `openssl rand -hex 32` prints, the same on every node.",
            ),
            ("children_from", "networks", TIER, "Tier", "children_from"),
            ("ca", "path", TIER, "Tier", "ca"),
        ],
    },
    Part {
        title: "[log]",
        asked_as: &["[log]", "`mask_client`", "`rotate`"],
        about: "The access log.",
        rows: &[
            (
                "access",
                "`\"stdout\"`, `\"off\"`, a path, `\"syslog\"`, `\"syslog+udp://HOST:514\"`, `\"syslog+tcp://HOST:601\"`, `\"journald\"`",
                LOG,
                "Log",
                "target",
            ),
            (
                "format",
                "`\"json\"`, `\"combined\"`, or a line with `$status`, `$path` …",
                LOG,
                "Log",
                "format",
            ),
            ("mask_client", "true, false or `{ ipv4, ipv6 }`", LOG, "Log", "mask"),
            ("ipv4", "0 to 32, in `mask_client`", LOG, "Mask", "ipv4_bits"),
            ("ipv6", "0 to 128, in `mask_client`", LOG, "Mask", "ipv6_bits"),
            ("rotate", "`{ size, keep }`", LOG, "Log", "rotation"),
            ("size", "size, in `rotate`", LOG, "Rotation", "bytes"),
            ("keep", "number, in `rotate`", LOG, "Rotation", "keep"),
            ("sample", "share: `0.1`, `\"10%\"`", LOG, "Log", "sample"),
        ],
    },
    Part {
        title: "[trace]",
        asked_as: &["[trace]"],
        about: "W3C trace context.",
        rows: &[
            ("on", "true or false", TRACE, "Trace", "on"),
            ("sample", "share: `0.1`, `\"10%\"`", TRACE, "Trace", "sample"),
            ("export", "`\"http://HOST:4318\"`", TRACE, "Trace", "export"),
        ],
    },
    Part {
        title: "[limits]",
        asked_as: &["[limits]"],
        about: "What clients may cost.",
        rows: &[
            ("head_max", "size", LIMITS, "Limits", "head_bytes_max"),
            ("fields_max", "number", LIMITS, "Limits", "fields_max"),
            ("target_max", "size", LIMITS, "Limits", "target_bytes_max"),
            ("request_body_max", "size", LIMITS, "Limits", "request_body_bytes_max"),
            ("head_timeout", "duration", LIMITS, "Limits", "head_timeout"),
            ("idle_timeout", "duration", LIMITS, "Limits", "idle_timeout"),
            ("body_rate_min", "size a second", LIMITS, "Limits", "body_rate_bytes_min"),
            ("body_rate_window", "duration", LIMITS, "Limits", "body_rate_window"),
            ("send_stall_timeout", "duration", LIMITS, "Limits", "send_stall_timeout"),
            ("total_timeout", "duration", LIMITS, "Limits", "total_timeout"),
            ("handshake_timeout", "duration", LIMITS, "Limits", "handshake_timeout"),
            ("handshakes_max", "number", LIMITS, "Limits", "handshakes_max"),
            ("connections_max", "number", LIMITS, "Limits", "connections_max"),
            ("requests_per_connection_max", "number", LIMITS, "Limits", "requests_per_connection_max"),
            ("drain_timeout", "duration", LIMITS, "Limits", "drain_timeout"),
            ("upgrade_timeout", "duration", LIMITS, "Limits", "upgrade_timeout"),
        ],
    },
];

/// The documentation of `field` in `name` of a source file, as one paragraph.
fn documented(file: &str, name: &str, field: &str) -> Option<String> {
    let source = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()?;
    let (mut inside, mut text) = (false, String::new());
    for line in source.lines() {
        let line_trimmed = line.trim();
        if line.starts_with("pub struct ") || line.starts_with("pub enum ") {
            inside = line.split([' ', '(', '<', '{', ';']).any(|word| word == name);
            text.clear();
        } else if !inside {
        } else if line == "}" {
            inside = false;
        } else if let Some(doc) = line_trimmed.strip_prefix("///") {
            if !text.is_empty() {
                text.push(' ');
            }
            text.push_str(doc.trim());
        } else if line_trimmed.starts_with("#[") || line_trimmed.starts_with("//") {
        } else {
            let bare = line_trimmed.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
            let ends = bare.find([':', '(', ',', ' ', '{']).unwrap_or(bare.len());
            if bare.get(..ends) == Some(field) {
                return Some(text).filter(|text| !text.is_empty());
            }
            text.clear();
        }
    }
    None
}

/// Intra-doc links as plain code, and no bar that would end a cell.
fn as_markdown(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, behind)) = rest.split_once("[`") {
        out.push_str(before);
        let Some((link, after)) = behind.split_once("`]") else {
            out.push_str("[`");
            rest = behind;
            continue;
        };
        let _ = write!(out, "`{}`", link.rsplit("::").next().unwrap_or(link));
        // The target of a link that has one.
        rest =
            after.strip_prefix('(').and_then(|after| after.split_once(')')).map_or(after, |(_, after)| after);
    }
    out.push_str(rest);
    out.replace('|', "\\|")
}

fn page() -> String {
    let mut page = String::from(
        "# Every setting\n\nThis page is made from the code that reads the settings (`src/config/reference.rs`); a test fails where it is not up to date.\n\
         `tidegate config --effective` prints a file with every default written out, `tidegate check` tells every mistake.\n",
    );
    for part in PARTS {
        let _ = writeln!(page, "\n## {}\n", part.title);
        if !part.about.is_empty() {
            let _ = writeln!(page, "{}\n", part.about);
        }
        page.push_str("| Key | Takes | Meaning |\n|---|---|---|\n");
        for (key, takes, file, name, field) in part.rows {
            let text = if file.is_empty() {
                (*field).to_owned()
            } else {
                documented(file, name, field)
                    .unwrap_or_else(|| panic!("{file}: {name}.{field} ({key}) is not documented"))
            };
            let _ = writeln!(page, "| `{key}` | {} | {} |", takes.replace('|', "\\|"), as_markdown(&text));
        }
    }
    let least = "[[listener]]\naddress = \":80\"\n\n[pool.main]\norigins = [\"http://10.0.0.1:3000\"]\n\n[[site]]\nhosts = [\"*\"]\n";
    let config =
        check("least", least, &around()).unwrap_or_else(|mistakes| panic!("{}", mistakes.render(false)));
    page.push_str("\n## Every default\n\nWhat `tidegate config --effective` makes of the smallest file, on a machine of four cores named `edge-1`:\n\n```toml\n");
    page.push_str(effective(&config).trim_end());
    page.push_str("\n```\n");
    page
}

fn around() -> Surroundings {
    Surroundings {
        host_name: "edge-1\n".to_owned(),
        cores: 4,
        base: "/etc/tidegate".into(),
        unreadable: |_| None,
        page: |_| Ok(Vec::new()),
        unfit: |_, _| None,
        no_list: |_, _| None,
        no_database: |_| None,
        no_modsecurity: |_| None,
    }
}

/// Every table and key that the checker asks for while it reads the files of `tests/config`.
fn asked() -> BTreeSet<(String, &'static str)> {
    super::file::record(|| {
        for kind in ["good", "bad"] {
            let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config").join(kind);
            for entry in std::fs::read_dir(directory).expect("the folder is there") {
                let path = entry.expect("it can be read").path();
                if path.extension().is_some_and(|ending| ending == "toml") {
                    let text = std::fs::read_to_string(&path).expect("it is text");
                    let _ = check("it", &text, &around());
                }
            }
        }
    })
}

#[test]
fn every_key_that_is_asked_for_has_a_row() {
    let mut rows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    let rules: Vec<&str> = PARTS
        .iter()
        .filter(|part| part.title.starts_with("Caching rules"))
        .flat_map(|part| part.rows)
        .map(|row| row.0)
        .collect();
    let site: Vec<&str> = PARTS
        .iter()
        .filter(|part| part.title == "[[site]]")
        .flat_map(|part| part.rows)
        .map(|row| row.0)
        .collect();
    let cache: Vec<&str> = PARTS
        .iter()
        .filter(|part| part.title == "[cache]")
        .flat_map(|part| part.rows)
        .map(|row| row.0)
        .collect();
    for part in PARTS {
        for name in part.asked_as {
            rows.entry(name).or_default().extend(part.rows.iter().map(|row| row.0));
            if *name == "[[site]]" || *name == "[[site.route]]" {
                rows.entry(name).or_default().extend(rules.iter().chain(&site));
            }
            if *name == "[cache]" {
                rows.entry(name).or_default().extend(&cache);
            }
        }
    }
    let mut missing = Vec::new();
    let mut met: BTreeSet<&str> = BTreeSet::new();
    for (name, key) in asked() {
        let name = if name.starts_with("[pool.") { "[pool.NAME]".to_owned() } else { name };
        if name.starts_with("the page for")
            || ["[site]", "[listener]", "[site.route]"].contains(&name.as_str())
        {
            met.insert(key);
            continue;
        }
        met.insert(key);
        // Tables of one name in several places: a row in any of them will do.
        let known = PARTS.iter().any(|part| part.asked_as.contains(&name.as_str()))
            && PARTS
                .iter()
                .filter(|part| part.asked_as.contains(&name.as_str()))
                .any(|_| rows.get(name.as_str()).is_some_and(|rows| rows.contains(key)));
        if !known {
            missing.push(format!("{name} {key}"));
        }
    }
    assert!(missing.is_empty(), "src/config/reference.rs has no row for:\n{}", missing.join("\n"));
    let unasked: Vec<_> = PARTS
        .iter()
        .flat_map(|part| part.rows)
        .map(|row| row.0)
        // Lists of tables by name, fields that are written: asked for by other means.
        .filter(|key| !met.contains(key) && !["set", "add", "host"].contains(key))
        .collect();
    assert!(unasked.is_empty(), "nothing asks for: {}", unasked.join(", "));
}

#[test]
fn the_page_of_settings_is_up_to_date() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
    let page = page();
    if std::env::var_os("TIDEGATE_BLESS").is_some() {
        std::fs::write(&path, &page).expect("the page can be written");
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stands == page,
        "docs/settings.md is not up to date: TIDEGATE_BLESS=1 cargo test -p tidegate --lib config::reference"
    );
}
