//! What an operator writes: `config/`.

use std::path::PathBuf;

use tidegate::config::check::{Surroundings, check};
use tidegate::config::effective::effective;
use tidegate::route::RouteTable;

use crate::reached;

/// Any text is settings or has mistakes that can be told; settings written back mean the same.
pub fn config_text(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let around = Surroundings {
        unfit: |_, _| None,
        host_name: "test-host\n".to_owned(),
        cores: 4,
        base: PathBuf::from("/etc/tidegate"),
        no_list: |_, _| None,
        unreadable: |path| path.to_string_lossy().contains("missing").then(|| "does not exist".to_owned()),
        page: |_| Ok(Vec::new()),
        no_database: |_| None,
        no_modsecurity: |_| None,
    };
    match check("fuzz.toml", text, &around) {
        Err(mistakes) => {
            for mistake in mistakes.list() {
                reached(mistake.complaint.code);
                assert!(
                    text.get(mistake.span.clone()).is_some(),
                    "a mistake points into the text: {mistake:?}"
                );
                assert!(!mistake.complaint.help.is_empty());
            }
            assert!(!mistakes.list().is_empty() && !mistakes.render(false).is_empty());
        }
        Ok(config) => {
            reached(("good", config.sites.len(), config.pools.len(), config.listeners.len()));
            let written = effective(&config);
            let again = check("effective", &written, &around)
                .unwrap_or_else(|mistakes| panic!("{written}\n{}", mistakes.render(false)));
            assert_eq!(format!("{config:#?}"), format!("{again:#?}"), "{written}");
            assert_eq!(written, effective(&again));
            let _ = RouteTable::new(&config.sites);
        }
    }
}

/// Words of settings.
pub const WORDS: &[&str] = &[
    "[[listener]]\naddress = \":80\"\n",
    "[pool.main]\norigins = \"http://a\"\n",
    "[[site]]\nhosts = \"*\"\n",
    "[[site.route]]\npath = \"/*\"\n",
    "[admin]\n",
    "[cache]\n",
    "[limits]\n",
    "[log]\n",
    "[purge]\n",
    "address = ",
    "hosts = [\"a.example\", \"*.b.example\"]\n",
    "path = \"*.css\"\n",
    "methods = [\"GET\"]\n",
    "preset = \"news\"\n",
    "cache = \"off\"\n",
    "ttl = \"1h 30m\"\n",
    "default_ttl = \"off\"\n",
    "memory = \"1GiB\"\n",
    "head_max = \"16KiB\"\n",
    "steer = { by = \"weight\", pools = { main = 1 } }\n",
    "query = { sort = true, remove = [\"utm_*\"] }\n",
    "heuristic = { percent = 10, max = \"1d\" }\n",
    "negative_ttl = { gone = \"1m\", client = \"off\", server = \"1s\" }\n",
    "cookies = { pass_on = [\"a\"] }\n",
    "forward = [\"x-a\"]\n",
    "vary_ignore = [\"user-agent\"]\n",
    "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n",
    "tls = [{ cert = \"a.pem\", key = \"a.key\" }]\n",
    "\"off\"",
    "true",
    "[",
    "]",
    "{",
    "}",
    "'",
    "\"",
    "\"\"\"",
    "=",
    "#",
    "\\u0000",
    "\u{e4}",
    "ms",
    "0s",
    "1.5",
    "inf",
    "1979-05-27",
];
