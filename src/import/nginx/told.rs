//! What is said about directives that are not translated: what needs nothing here, and what to write instead of the rest.

use super::super::draft::Draft;
use super::syntax::Directive;

/// Walks all directives and notes what nobody translates.
pub(super) fn tell(directives: &[Directive], draft: &mut Draft) {
    for directive in directives {
        let name = directive.name.as_str();
        if let Some((_, instead)) = INSTEAD.iter().find(|(known, _)| *known == name) {
            draft.note(&directive.place, format!("`{}` has no counterpart", directive.shown()), *instead);
            continue;
        }
        if let Some((_, instead)) =
            FAMILIES.iter().find(|(start, _)| name.starts_with(start) && !is_known(name))
        {
            draft.note(&directive.place, format!("`{}` has no counterpart", directive.shown()), *instead);
            continue;
        }
        if !is_known(name) {
            draft.note(
                &directive.place,
                format!("`{}` is not known to this import", directive.shown()),
                "look for it in docs/from-nginx.md and docs/settings.md",
            );
            continue;
        }
        // Blocks whose inside is not made of directives are looked at by name alone.
        if let Some(block) = directive.block.as_deref().filter(|_| !LISTS.contains(&name)) {
            tell(block, draft);
        }
    }
}

fn is_known(name: &str) -> bool {
    TRANSLATED.contains(&name) || NEEDS_NOTHING.contains(&name) || {
        // The caching directives of the other gateways are those of the proxy.
        GATEWAYS.iter().any(|gateway| {
            name.strip_prefix(gateway).is_some_and(|rest| {
                rest.starts_with("cache")
                    || ["pass", "no_cache", "ignore_headers", "hide_header"].contains(&rest)
                    || NEEDS_NOTHING.contains(&format!("proxy_{rest}").as_str())
            })
        })
    }
}

const GATEWAYS: [&str; 3] = ["fastcgi_", "uwsgi_", "scgi_"];
/// Blocks of entries, not of directives.
const LISTS: [&str; 2] = ["types", "events"];

const TRANSLATED: [&str; 86] = [
    "access_log",
    "add_header",
    "alias",
    "allow",
    "auth_basic",
    "auth_basic_user_file",
    "autoindex",
    "client_header_timeout",
    "client_max_body_size",
    "deny",
    "error_page",
    "expires",
    "fastcgi_pass",
    "grpc_pass",
    "gzip",
    "gzip_comp_level",
    "gzip_min_length",
    "gzip_types",
    "hash",
    "http",
    "http2",
    "if",
    "include",
    "index",
    "ip_hash",
    "keepalive_requests",
    "keepalive_timeout",
    "least_conn",
    "limit_conn",
    "limit_conn_zone",
    "limit_except",
    "limit_req",
    "limit_req_zone",
    "listen",
    "location",
    "max_conns",
    "merge_slashes",
    "proxy_cache",
    "proxy_cache_background_update",
    "proxy_cache_bypass",
    "proxy_cache_key",
    "proxy_cache_path",
    "proxy_cache_use_stale",
    "proxy_cache_valid",
    "proxy_connect_timeout",
    "proxy_hide_header",
    "proxy_ignore_headers",
    "proxy_intercept_errors",
    "proxy_next_upstream",
    "proxy_no_cache",
    "proxy_pass",
    "proxy_read_timeout",
    "proxy_redirect",
    "proxy_set_header",
    "proxy_ssl_certificate",
    "proxy_ssl_certificate_key",
    "proxy_ssl_name",
    "proxy_ssl_server_name",
    "proxy_ssl_trusted_certificate",
    "proxy_ssl_verify",
    "random",
    "real_ip_header",
    "return",
    "rewrite",
    "root",
    "satisfy",
    "scgi_pass",
    "send_timeout",
    "server",
    "server_name",
    "set_real_ip_from",
    "ssl",
    "ssl_certificate",
    "ssl_certificate_key",
    "try_files",
    "types",
    "upstream",
    "uwsgi_pass",
    "zone",
    "keepalive",
    "events",
    "real_ip_recursive",
    "default_type",
    "break",
    "proxy_cache_lock",
    "proxy_cache_revalidate",
];

/// What Tidegate does anyway, decides itself, or what only concerns nginx's own workings.
const NEEDS_NOTHING: [&str; 118] = [
    "absolute_redirect",
    "access_log_buffer",
    "accept_mutex",
    "aio",
    "aio_write",
    "charset",
    "chunked_transfer_encoding",
    "client_body_buffer_size",
    "client_body_temp_path",
    "client_body_timeout",
    "client_header_buffer_size",
    "connection_pool_size",
    "daemon",
    "debug_connection",
    "directio",
    "disable_symlinks",
    "env",
    "error_log",
    "etag",
    "fastcgi_index",
    "fastcgi_param",
    "fastcgi_split_path_info",
    "fastcgi_buffers",
    "fastcgi_buffer_size",
    "fastcgi_busy_buffers_size",
    "fastcgi_read_timeout",
    "fastcgi_send_timeout",
    "fastcgi_connect_timeout",
    "gzip_buffers",
    "gzip_disable",
    "gzip_http_version",
    "gzip_proxied",
    "gzip_static",
    "gzip_vary",
    "http2_max_concurrent_streams",
    "http2_push_preload",
    "http2_recv_buffer_size",
    "ignore_invalid_headers",
    "internal",
    "keepalive_disable",
    "keepalive_time",
    "large_client_header_buffers",
    "limit_conn_log_level",
    "limit_conn_status",
    "limit_req_log_level",
    "limit_req_status",
    "limit_rate_after",
    "lingering_close",
    "lingering_time",
    "lingering_timeout",
    "load_module",
    "lock_file",
    "log_format",
    "log_not_found",
    "log_subrequest",
    "master_process",
    "max_ranges",
    "multi_accept",
    "open_file_cache",
    "open_file_cache_errors",
    "open_file_cache_min_uses",
    "open_file_cache_valid",
    "output_buffers",
    "pcre_jit",
    "pid",
    "port_in_redirect",
    "postpone_output",
    "proxy_buffer_size",
    "proxy_buffering",
    "proxy_buffers",
    "proxy_busy_buffers_size",
    "proxy_cache_convert_head",
    "proxy_cache_lock_age",
    "proxy_cache_lock_timeout",
    "proxy_cache_max_range_offset",
    "proxy_headers_hash_bucket_size",
    "proxy_headers_hash_max_size",
    "proxy_http_version",
    "proxy_ignore_client_abort",
    "proxy_max_temp_file_size",
    "proxy_next_upstream_timeout",
    "proxy_next_upstream_tries",
    "proxy_pass_header",
    "proxy_pass_request_body",
    "proxy_pass_request_headers",
    "proxy_request_buffering",
    "proxy_send_timeout",
    "proxy_socket_keepalive",
    "proxy_ssl_protocols",
    "proxy_ssl_session_reuse",
    "proxy_temp_file_write_size",
    "proxy_temp_path",
    "recursive_error_pages",
    "reset_timedout_connection",
    "resolver",
    "resolver_timeout",
    "sendfile",
    "sendfile_max_chunk",
    "server_name_in_redirect",
    "server_names_hash_bucket_size",
    "server_names_hash_max_size",
    "server_tokens",
    "ssl_buffer_size",
    "ssl_ciphers",
    "ssl_conf_command",
    "ssl_dhparam",
    "ssl_ecdh_curve",
    "ssl_early_data",
    "ssl_prefer_server_ciphers",
    "ssl_protocols",
    "ssl_session_cache",
    "tcp_nodelay",
    "tcp_nopush",
    "types_hash_max_size",
    "user",
    "variables_hash_max_size",
    "worker_processes",
    "worker_connections",
];

/// Families of directives, by how their names begin.
const FAMILIES: [(&str, &str); 16] = [
    ("ssl_session", "nothing to write: tickets are made and renewed by the node"),
    ("ssl_stapling", "nothing to write: stapled answers are not sent; clients of today do not need them"),
    ("ssl_trusted", "nothing to write: it served stapling"),
    (
        "ssl_client",
        "certificates of clients are not asked for by this version; keep what needs them behind a TLS server of its own",
    ),
    (
        "ssl_verify",
        "certificates of clients are not asked for by this version; keep what needs them behind a TLS server of its own",
    ),
    ("quic", "HTTP/3 is not served by this version; HTTP/2 is"),
    ("http3", "HTTP/3 is not served by this version; HTTP/2 is"),
    ("brotli", "write encode = \"on\" in the site: brotli, zstd and gzip"),
    ("sub_filter", "bodies are not changed on the way; change them at the origin"),
    ("perl", "there is no language inside; what it decides has to be said in routes, or by the origin"),
    ("js_", "there is no language inside; what it decides has to be said in routes, or by the origin"),
    ("worker_", "nothing to write: one worker a core, and limits in [limits]"),
    ("open_log", "nothing to write"),
    ("fastcgi_", "nothing to write: it concerns the script server, which nginx keeps asking"),
    ("uwsgi_", "nothing to write: it concerns the script server, which nginx keeps asking"),
    ("scgi_", "nothing to write: it concerns the script server, which nginx keeps asking"),
];

/// Directives without a counterpart, and what to write instead.
const INSTEAD: [(&str, &str); 30] = [
    ("stream", "Tidegate speaks HTTP; keep nginx or HAProxy for other protocols"),
    ("mail", "Tidegate speaks HTTP; keep nginx for mail"),
    (
        "map",
        "choose routes by match = { header = { … }, cookie = { … } }, and say in each what the map decided",
    ),
    ("geo", "write access = { allow = […], deny = […] }, or match = { client = […] } in a route"),
    (
        "geoip_country",
        "write [geo] database = \"…mmdb\", and steer, access.countries or vary_by = \"country\"",
    ),
    ("geoip2", "write [geo] database = \"…mmdb\", and steer, access.countries or vary_by = \"country\""),
    ("split_clients", "write steer = { by = \"weight\", pools = { a = 95, b = 5 }, sticky = \"cookie\" }"),
    (
        "set",
        "there are no variables of one's own; choose a route by match = { … } and say there what follows",
    ),
    ("auth_request", "the origin has to ask; or write access = { signed = …, basic = … }"),
    ("auth_jwt", "the origin has to ask; or write access = { signed = … }"),
    ("secure_link", "write access = { signed = { keys = [ … ] } } and sign by `tidegate sign`"),
    ("secure_link_md5", "write access = { signed = { keys = [ … ] } } and sign by `tidegate sign`"),
    ("valid_referers", "write access = { referers = [\"www.example.com\"] }"),
    (
        "proxy_cache_min_uses",
        "nothing to write: a full disk takes what is asked for a second time, and memory what is worth its room",
    ),
    ("proxy_cache_methods", "nothing to write: GET and HEAD are stored"),
    ("proxy_cache_purge", "write [purge] method_from = [ … ], or use `tidegate purge`"),
    ("proxy_store", "nothing to write: [cache] disk keeps what may be kept"),
    ("proxy_cookie_path", "the origin has to set its cookies for the path that clients see"),
    ("proxy_cookie_domain", "the origin has to set its cookies for the host that clients see"),
    ("proxy_cookie_flags", "the origin has to set its cookies with their flags"),
    ("proxy_method", "requests keep their method"),
    ("proxy_set_body", "requests keep their body"),
    ("proxy_bind", "the system chooses the address that origins are asked from"),
    ("limit_rate", "a response is sent as fast as its client takes it"),
    ("mirror", "requests are not mirrored by this version"),
    ("add_trailer", "trailers are the origin's"),
    ("stub_status", "the admin listener has /metrics, /v1/stat and a dashboard"),
    ("slice", "nothing to write: large bodies are fetched and kept in parts of 1 MiB by themselves"),
    (
        "resolver_file",
        "nothing to write: names of origins are looked up as the system says, again when their time is over",
    ),
    ("more_set_headers", "write response_headers = { set = { name = \"value\" } }"),
];
