//! `tidegate reload`: a node takes up what its settings file says now.

use clap::Args;
use serde_json::Value;

use super::Ended;
use super::client::Node;
use super::talk::Talk;
use crate::config::plan::Change;

/// Make a running node take up what its settings file says now.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate plan /etc/tidegate/tidegate.toml && tidegate reload\n  tidegate reload --json | jq .restart\n\nA file with a mistake changes nothing: every mistake is told, and the settings in force stay. What needs a restart is told and stays as it was. Exit codes: 0 reloaded, 1 not reached, 2 a mistake in the settings."
)]
pub(crate) struct Reload {
    #[command(flatten)]
    node: Node,
}

impl Reload {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        match self.node.call(talk, "POST", "/v1/reload", None) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => talk.result(&told(&answer, "reloaded")),
            Err(ended) => ended,
        }
    }
}

/// The answer of a reload or a plan for people.
pub(super) fn told(answer: &Value, done: &str) -> String {
    let changes = answer.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let text = |change: &Value, key: &str| change.get(key).and_then(Value::as_str).unwrap_or("-").to_owned();
    let lines = changes.iter().map(|change| {
        let restart = change.get("restart").and_then(Value::as_bool).unwrap_or_default();
        let restart = if restart { "  (needs a restart)" } else { "" };
        format!("{}: {}{restart}\n", text(change, "place"), text(change, "what"))
    });
    let mut lines: String = lines.collect();
    if changes.iter().any(|change| change.get("restart").and_then(Value::as_bool) == Some(true)) {
        lines.push_str("`tidegate upgrade` takes up what needs a restart as well, and loses no request\n");
    }
    if lines.is_empty() { format!("{done}: nothing has changed\n") } else { lines }
}

/// One line for a signal's answer.
pub(super) fn summary(changes: &[Change]) -> String {
    let restart = changes.iter().filter(|change| change.restart).count();
    let taken = changes.len() - restart;
    match (taken, restart) {
        (0, 0) => "reloaded, nothing has changed".to_owned(),
        (_, 0) => format!("reloaded, {taken} changed"),
        _ => format!("reloaded, {taken} changed, {restart} need a restart"),
    }
}
