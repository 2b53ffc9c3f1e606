//! `tidegate purge`: a node forgets what it stored under URLs, or makes it stale; prints the receipt.

use std::fmt::Write as _;

use clap::{Args, ValueEnum};
use purge_api::ResourceUrl;
use serde_json::{Value, json};

use super::Ended;
use super::client::Node;
use super::talk::Talk;

/// Make a running node forget what it stored under URLs, or make it stale.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate purge https://www.example.com/ https://www.example.com/news\n  tidegate purge --soft https://www.example.com/      stale at once, fetched again at the next request\n  tidegate purge --dry-run --json https://www.example.com/ | jq .matched"
)]
pub(crate) struct Purge {
    /// Absolute URLs, as clients ask for them.
    urls: Vec<String>,
    /// Make stale rather than forget: served while it is fetched again, and when the origin is down.
    #[arg(long)]
    soft: bool,
    /// Only count what would be purged.
    #[arg(long)]
    dry_run: bool,
    /// Until who has applied it.
    #[arg(long, value_enum, default_value_t = Wait::Node)]
    wait: Wait,
    #[arg(long, value_name = "URL", hide = true)]
    prefix: Vec<String>,
    #[arg(long, value_name = "HOST", hide = true)]
    host: Vec<String>,
    #[arg(long, value_name = "TAG", hide = true)]
    tag: Vec<String>,
    #[arg(long, hide = true)]
    everything: bool,
    #[command(flatten)]
    node: Node,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Wait {
    /// The node that is asked.
    Node,
    /// Every node of its fleet.
    Fleet,
}

impl Purge {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let later = [
            ("--prefix", !self.prefix.is_empty()),
            ("--host", !self.host.is_empty()),
            ("--tag", !self.tag.is_empty()),
            ("--everything", self.everything),
        ];
        if let Some((flag, _)) = later.iter().find(|(_, given)| *given) {
            talk.complain(
                &format!("{flag} is not supported by this version yet"),
                "name the URLs; restarting the node forgets everything",
            );
            return Ended::Usage;
        }
        if self.urls.is_empty() {
            talk.complain("nothing to purge", "name URLs: tidegate purge https://www.example.com/");
            return Ended::Usage;
        }
        let mut wrong = false;
        for url in &self.urls {
            if let Err(error) = ResourceUrl::parse(url) {
                talk.complain(
                    &format!("`{}` cannot be purged: it is {error}", url.escape_debug()),
                    "write a URL as clients ask for it, like https://www.example.com/news",
                );
                wrong = true;
            }
        }
        if wrong {
            return Ended::Usage;
        }
        let wait = if self.wait == Wait::Fleet { "fleet" } else { "node" };
        let body = json!({ "urls": self.urls, "soft": self.soft, "dry_run": self.dry_run, "wait": wait });
        match self.node.call(talk, "POST", "/v1/purge", Some(&body)) {
            Ok(receipt) if self.node.json => talk.json(&receipt),
            Ok(receipt) => talk.result(&receipt_text(&receipt, self.urls.len())),
            Err(ended) => ended,
        }
    }
}

/// The receipt for people.
fn receipt_text(receipt: &Value, urls: usize) -> String {
    let number = |name: &str| receipt.get(name).and_then(Value::as_u64);
    let is = |name: &str| receipt.get(name).and_then(Value::as_bool).unwrap_or_default();
    let done = match (is("dry_run"), is("soft")) {
        (true, true) => "would make stale",
        (true, false) => "would forget",
        (false, true) => "made stale",
        (false, false) => "forgot",
    };
    let plural = |count: u64, one: &str| format!("{count} {one}{}", if count == 1 { "" } else { "s" });
    let matched = plural(number("matched").unwrap_or_default(), "stored response");
    let mut text = format!("{done} {matched} under {}", plural(urls as u64, "URL"));
    if let Some(sequence) = number("sequence") {
        let _ = write!(text, "; purge {sequence}");
    }
    text.push('\n');
    for node in receipt.get("nodes").and_then(Value::as_array).into_iter().flatten() {
        let name = node.get("node").and_then(Value::as_str).unwrap_or("?");
        let ms = node.get("ms").and_then(Value::as_u64).unwrap_or_default();
        let _ = writeln!(text, "  {name}  applied after {ms} ms");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts() {
        let nodes = json!([{ "node": "fra-1", "sequence": 7, "ms": 2 }]);
        for (claim, receipt, expected) in [
            (
                "a purge tells what it did, its number and who applied it",
                json!({ "sequence": 7, "matched": 1, "soft": false, "nodes": nodes }),
                "forgot 1 stored response under 2 URLs; purge 7\n  fra-1  applied after 2 ms\n",
            ),
            (
                "soft is not hard",
                json!({ "sequence": 7, "matched": 3, "soft": true, "nodes": [] }),
                "made stale 3 stored responses under 2 URLs; purge 7\n",
            ),
            (
                "a dry run says that nothing happened",
                json!({ "matched": 0, "dry_run": true, "nodes": [] }),
                "would forget 0 stored responses under 2 URLs\n",
            ),
        ] {
            assert_eq!(receipt_text(&receipt, 2), expected, "{claim}");
        }
    }
}
