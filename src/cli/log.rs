//! `tidegate log`: a node's requests as they end.

use std::fmt::Write as _;
use std::io::IsTerminal as _;

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::{Node, percent_encoded};
use super::talk::Talk;

/// Show a running node's requests as they end.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate log\n  tidegate log --status 5xx --host www.example.com\n  tidegate log --path '/api/*' --cache '!hit,stale' --slower 200ms\n  tidegate log --json | jq 'select(.ttl == 0)'\n\nLists go with commas; with ! before them, none of it. In names * matches any run of characters.\n\nIt shows what happens from now on, whether or not the node writes an access log, and in its shape whatever the log's is. Of a busy node some requests are shown, hits apart from the rest; `one_of` says for how many a line stands, and how many were passed over is told. --json prints the lines as they come."
)]
pub(crate) struct Log {
    /// Only these hosts, like *.example.com.
    #[arg(long)]
    host: Option<String>,
    /// Only paths like this; `*` matches any run of characters.
    #[arg(long)]
    path: Option<String>,
    /// Only these methods, like GET,HEAD.
    #[arg(long)]
    method: Option<String>,
    /// Only these statuses or classes, like 404,5xx.
    #[arg(long)]
    status: Option<String>,
    /// Only what the cache did this with: hit, stale, miss, collapsed, revalidated, pass, generated.
    #[arg(long)]
    cache: Option<String>,
    /// Only with these reasons, like connect or method.
    #[arg(long)]
    reason: Option<String>,
    /// Only of these pools.
    #[arg(long)]
    pool: Option<String>,
    /// Only answered, or failed, by these origins.
    #[arg(long)]
    origin: Option<String>,
    /// Only from these countries, like DE,AT.
    #[arg(long)]
    country: Option<String>,
    /// Only from these addresses, as the log has them.
    #[arg(long)]
    client: Option<String>,
    /// Only what took longer, like 200ms.
    #[arg(long, value_name = "TIME")]
    slower: Option<String>,
    /// Only what took less, like 1ms.
    #[arg(long, value_name = "TIME")]
    faster: Option<String>,
    /// End after so many lines.
    #[arg(short = 'n', long, value_name = "COUNT")]
    lines: Option<u64>,
    #[command(flatten)]
    node: Node,
}

impl Log {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let mut path = "/v1/stream?only=log".to_owned();
        for (name, value) in [
            ("host", &self.host),
            ("path", &self.path),
            ("method", &self.method),
            ("status", &self.status),
            ("cache", &self.cache),
            ("reason", &self.reason),
            ("pool", &self.pool),
            ("origin", &self.origin),
            ("country", &self.country),
            ("client", &self.client),
            ("slower", &self.slower),
            ("faster", &self.faster),
        ] {
            if let Some(value) = value {
                let _ = write!(path, "&{name}={}", percent_encoded(value));
            }
        }
        let events = match self.node.events(talk, &path) {
            Ok(events) => events,
            Err(ended) => return ended,
        };
        let coloured = std::io::stdout().is_terminal() && talk.colour;
        let mut left = self.lines;
        for (name, data) in events {
            if left == Some(0) {
                return Ended::Done;
            }
            let shown = match name.as_str() {
                "log" if self.node.json => talk.result(&data),
                "log" => talk.result(&text(&data, coloured)),
                "passed" => {
                    let lines = serde_json::from_str::<Value>(&data).ok();
                    let lines = lines.and_then(|passed| passed.get("lines")?.as_u64()).unwrap_or_default();
                    talk.say(&format!("… {lines} requests were not looked at or not shown"));
                    continue;
                }
                _ => continue,
            };
            if shown != Ended::Done {
                return shown;
            }
            left = left.map(|left| left - 1);
            if left == Some(0) {
                return Ended::Done;
            }
        }
        talk.say("the node has ended");
        Ended::Done
    }
}

/// A line for people: when, what the cache did, status, how long, what, why.
fn text(line: &str, coloured: bool) -> String {
    let Ok(seen) = serde_json::from_str::<Value>(line) else { return line.to_owned() };
    let word = |name: &str| seen.get(name).and_then(Value::as_str).unwrap_or_default();
    let number = |name: &str| seen.get(name).and_then(Value::as_u64).unwrap_or_default();
    // 2026-11-26T04:00:00.000Z
    let time = word("time").get(11..23).unwrap_or_default();
    let (status, cache) = (number("status"), word("cache"));
    let colour = match (coloured, status, cache) {
        (false, _, _) => "",
        (_, 500.., _) => "\x1b[31m",
        (_, 400.., _) => "\x1b[33m",
        (_, _, "hit") => "\x1b[32m",
        _ => "\x1b[36m",
    };
    let end = if colour.is_empty() { "" } else { "\x1b[0m" };
    let mut out = format!(
        "{time} {colour}{cache:<11} {status}{end} {:>9} {} {}://{}{}",
        taken(number("duration_us")),
        word("method"),
        word("scheme"),
        // What a client sent is shown as the log has it, but for what would command the terminal.
        printable(word("host")),
        printable(word("path")),
    );
    let one_of = number("one_of");
    if one_of > 1 {
        let _ = write!(out, " ×{one_of}");
    }
    for (name, before) in [("reason", " ("), ("origin", " from ")] {
        if !word(name).is_empty() {
            let behind = if name == "reason" { ")" } else { "" };
            let _ = write!(out, "{before}{}{behind}", printable(word(name)));
        }
    }
    out
}

fn printable(text: &str) -> String {
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// Microseconds to three digits or so.
fn taken(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_for_people() {
        let line = r#"{"time":"2026-11-26T04:05:06.789Z","id":"x","method":"GET","scheme":"https","host":"a.example","path":"/x","status":502,"duration_us":12345,"cache":"miss","reason":"connect","origin":"http://b"}"#;
        assert_eq!(
            text(line, false),
            "04:05:06.789 miss        502   12.3 ms GET https://a.example/x (connect) from http://b"
        );
        let line = line.replace('}', r#","one_of":16}"#);
        assert!(text(&line, false).contains("/x ×16 (connect)"));
        assert_eq!(text("no JSON", false), "no JSON");
    }

    #[test]
    fn nothing_commands_the_terminal() {
        let line = "{\"path\":\"/\\u001b[2J\",\"host\":\"a\"}";
        assert!(!text(line, false).contains('\x1b'));
    }
}
