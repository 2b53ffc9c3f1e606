//! Other servers' settings: `src/import`.

use std::path::{Path, PathBuf};

use tidegate::config::check::{Surroundings, check};
use tidegate::import::{Dialect, Files, import};

use crate::reached;

/// Any text is nginx's settings or is refused at a line; what comes out is TOML.
pub fn nginx_settings(data: &[u8]) {
    translated(Dialect::Nginx, data);
}

/// The same of a Caddyfile.
pub fn caddy_settings(data: &[u8]) {
    translated(Dialect::Caddy, data);
}

fn translated(dialect: Dialect, data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // A file's name is what it says: nothing is read, and what is included is text as well.
    let files =
        Files { read: |path, _| Ok(path.display().to_string()), list: |_| Ok(vec!["a.conf".to_owned()]) };
    match import(dialect, Path::new(text), files) {
        Err(error) => {
            reached(error.what.split(' ').next().map(str::to_owned));
            assert!(error.place.line >= 1 && !error.what.is_empty());
        }
        Ok(imported) => {
            for note in &imported.notes {
                assert!(note.place.line >= 1 && !note.what.is_empty(), "{note:?}");
                assert!(!note.what.contains('\n') && !note.instead.contains('\n'), "{note:?}");
            }
            let around = Surroundings {
                unfit: |_, _| None,
                host_name: "test-host\n".to_owned(),
                cores: 4,
                base: PathBuf::from("/etc/tidegate"),
                no_list: |_, _| None,
                unreadable: |_| None,
                page: |_| Ok(Vec::new()),
                no_database: |_| None,
                no_modsecurity: |_| None,
            };
            let mistakes = check("imported", &imported.settings, &around).err();
            let codes: Vec<_> = mistakes
                .iter()
                .flat_map(tidegate::config::mistake::Mistakes::list)
                .map(|one| one.complaint.code)
                .collect();
            assert!(
                !codes.contains(&"syntax"),
                "{}\n{}",
                imported.settings,
                mistakes.map(|all| all.render(false)).unwrap_or_default()
            );
            reached((codes, imported.notes.len().min(8)));
        }
    }
}

/// What nginx settings are made of.
pub const NGINX_WORDS: &[&str] = &[
    "server { listen 80; }\n",
    "location / { proxy_pass http://a; }\n",
    "location ~ ^/x(\\d+)$ { return 301 /y/$1; }\n",
    "upstream a { server 10.0.0.1:80 weight=2 backup; }\n",
    "proxy_cache_path /c keys_zone=z:1m max_size=1g;\n",
    "proxy_cache z;\n",
    "proxy_cache_valid 200 404 10m;\n",
    "add_header X-A \"b $host\" always;\n",
    "proxy_set_header Host $proxy_host;\n",
    "rewrite ^/a/(.*)$ /b/$1 permanent;\n",
    "if ($scheme != \"https\") { return 301 https://$host$request_uri; }\n",
    "allow 10.0.0.0/8; deny all;\n",
    "include a*.conf;\n",
    "try_files $uri @f;\n",
    "server_name a.example *.b.example ~x;\n",
    "expires 30d;\n",
    "{",
    "}",
    ";",
    "\"",
    "'",
    "\\",
    "$",
    "${",
    "#",
    " ",
];

/// What a Caddyfile is made of.
pub const CADDY_WORDS: &[&str] = &[
    "example.com {\n",
    ":8080 {\n",
    "}\n",
    "{\n",
    "reverse_proxy a:1 b:2 {\n",
    "lb_policy first\n",
    "health_uri /h\n",
    "handle_path /x/* {\n",
    "@m path /a /b\n",
    "@m header X-A b\n",
    "header @m +X-A {host}\n",
    "redir /a https://b{uri} 301\n",
    "respond @m <<END\nx\nEND 200\n",
    "import s a b\n",
    "(s) {\n",
    "encode gzip\n",
    "tls a.pem b.pem\n",
    "basic_auth {\n u h\n}\n",
    "{$A:b}",
    "{args[0]}",
    "`",
    "\"",
    "\\\n",
    "#",
    ",",
    "*",
];
