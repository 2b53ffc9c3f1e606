//! `tidegate explain`: what the node would do with a request, and why. Sends nothing to an origin.

use std::fmt::Write as _;
use std::net::IpAddr;

use clap::Args;
use purge_api::ResourceUrl;
use serde_json::{Map, Value};

use super::Ended;
use super::client::{Node, percent_encoded};
use super::talk::Talk;

/// Tell what a running node would do with a request, and why.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate explain https://www.example.com/\n  tidegate explain -H 'Accept-Language: de' -H 'Cookie: session=1' https://www.example.com/\n  tidegate explain --client 81.2.69.7 https://www.example.com/\n  tidegate explain --json https://www.example.com/ | jq .decision"
)]
pub(crate) struct Explain {
    /// The URL, as clients ask for it.
    url: String,
    /// The request's method.
    #[arg(long, default_value = "GET")]
    method: String,
    /// A field of the request; may be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    fields: Vec<String>,
    /// The address of whoever asks, for routes and rules that look at it and for steering by place.
    #[arg(long, value_name = "ADDR")]
    client: Option<IpAddr>,
    #[command(flatten)]
    node: Node,
}

impl Explain {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        if let Err(error) = ResourceUrl::parse(&self.url) {
            let what = format!("`{}` cannot be explained: it is {error}", self.url.escape_debug());
            talk.complain(&what, "write a URL as clients ask for it, like https://www.example.com/news");
            return Ended::Usage;
        }
        let mut path = format!(
            "/v1/explain?url={}&method={}",
            percent_encoded(&self.url),
            percent_encoded(&self.method)
        );
        if let Some(client) = self.client {
            let _ = write!(path, "&client={}", percent_encoded(&client.to_string()));
        }
        for field in &self.fields {
            let _ = write!(path, "&header={}", percent_encoded(field));
        }
        match self.node.call(talk, "GET", &path, None) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => talk.result(&text(&answer)),
            Err(ended) => ended,
        }
    }
}

/// The answer for people: the decision, then what is known first, then whatever else the node tells.
fn text(answer: &Value) -> String {
    let Value::Object(answer) = answer else { return answer.to_string() };
    let mut rows = Vec::new();
    if let Some(decision) = answer.get("decision").and_then(Value::as_str) {
        let meaning = DECISIONS.iter().find(|(name, _)| *name == decision).map_or("", |(_, meaning)| meaning);
        rows.push((
            0,
            "decision".to_owned(),
            format!("{decision}: {meaning}").trim_end_matches(": ").to_owned(),
        ));
    }
    let first = FIRST.iter().filter_map(|name| answer.get_key_value(*name));
    let rest = answer.iter().filter(|(name, _)| *name != "decision" && !FIRST.contains(&name.as_str()));
    collect(first.chain(rest), 0, &mut rows);
    let width = rows.iter().map(|(depth, name, _)| depth * 2 + name.len()).max().unwrap_or_default();
    rows.iter()
        .map(|(depth, name, value)| {
            let name = format!("{}{}", "  ".repeat(*depth), name.replace('_', " "));
            format!("{name:width$}  {value}").trim_end().to_owned() + "\n"
        })
        .collect()
}

type Row = (usize, String, String);

fn collect<'v>(members: impl Iterator<Item = (&'v String, &'v Value)>, depth: usize, rows: &mut Vec<Row>) {
    for (name, value) in members {
        match value {
            Value::Null if name == "stored" => rows.push((depth, name.clone(), "nothing".to_owned())),
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Object(inner) => {
                rows.push((depth, name.clone(), String::new()));
                collect(inner.iter(), depth + 1, rows);
            }
            value => rows.push((depth, name.clone(), words(name, value))),
        }
    }
}

fn words(name: &str, value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(flag) => if *flag { "yes" } else { "no" }.to_owned(),
        Value::Number(number) if SECONDS.contains(&name) => format!("{number} s"),
        Value::Array(items) => items.iter().map(|item| words("", item)).collect::<Vec<_>>().join(", "),
        Value::Object(members) => pairs(members),
        other => other.to_string(),
    }
}

fn pairs(members: &Map<String, Value>) -> String {
    members.iter().map(|(name, value)| format!("{name}={}", words(name, value))).collect::<Vec<_>>().join(" ")
}

/// What the decisions mean.
const DECISIONS: [(&str, &str); 7] = [
    ("answer", "answered by the route itself, nobody is asked"),
    ("hit", "answered from the cache, fresh"),
    ("stale", "answered from the cache, stale, and fetched again"),
    ("wait", "joins the fetch that is under way"),
    ("fetch", "fetched from the origin, and stored if that is allowed"),
    ("refuse", "is not answered: an access rule forbids it"),
    ("pass", "goes to the origin and is not stored"),
];
const FIRST: [&str; 13] = [
    "answer",
    "reason",
    "url",
    "method",
    "site",
    "route",
    "preset",
    "host",
    "forwarded_as",
    "pools",
    "steering",
    "key",
    "stored",
];
const SECONDS: [&str; 5] = ["age", "lifetime", "ttl", "stale_while_revalidate", "stale_if_error"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_decision_comes_first_and_nothing_is_left_out() {
        let answer = json!({
            "url": "https://a/", "decision": "hit", "reason": null, "key": "k1", "novelty": 7,
            "stored": { "status": 200, "age": 3, "ttl": 57, "fresh": true, "tags": [] },
        });
        assert_eq!(
            text(&answer),
            "decision  hit: answered from the cache, fresh\n\
             url       https://a/\n\
             key       k1\n\
             stored\n\
             \x20 age     3 s\n\
             \x20 fresh   yes\n\
             \x20 status  200\n\
             \x20 ttl     57 s\n\
             novelty   7\n"
        );
    }

    #[test]
    fn nothing_stored_is_said() {
        let text = text(&json!({ "decision": "fetch", "reason": "uri-miss", "stored": null }));
        assert!(text.contains("stored    nothing\n"), "{text}");
        assert!(text.contains("reason    uri-miss\n"), "{text}");
    }
}
