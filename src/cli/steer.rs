//! `tidegate steer`: shares of pools, looked at and moved while the node runs.

use clap::Args;
use serde_json::{Map, Value, json};

use super::Ended;
use super::client::{Node, percent_encoded};
use super::talk::Talk;

/// Show how a running node shares requests among pools, or move the shares.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  tidegate steer                                     what is steered by weight, and how\n  tidegate steer www.example.com canary=50 main=50   from the next request on, no reload\n  tidegate steer www.example.com canary=0            all back; pools not named keep their share\n  tidegate steer www.example.com --route '/api/*' canary=5\n\nA share that was moved holds until the node is started anew or its settings are reloaded; write it into the settings to keep it."
)]
pub(crate) struct Steer {
    /// The site, by one of its hosts as the settings write it.
    site: Option<String>,
    /// Shares: POOL=NUMBER.
    #[arg(value_name = "POOL=SHARE", requires = "site")]
    shares: Vec<String>,
    /// Only this route, by its path as the settings write it.
    #[arg(long, value_name = "PATH", requires = "shares")]
    route: Option<String>,
    #[command(flatten)]
    node: Node,
}

impl Steer {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let Some(site) = self.site.as_deref().filter(|_| !self.shares.is_empty()) else {
            return self.show(talk);
        };
        let mut shares = Map::new();
        for text in &self.shares {
            let share =
                text.split_once('=').and_then(|(pool, share)| Some((pool, share.parse::<u32>().ok()?)));
            let Some((pool, share)) = share.filter(|(pool, _)| !pool.is_empty()) else {
                let what = format!("`{}` is not a share", text.escape_debug());
                talk.complain(&what, "write a pool and a number, like canary=5");
                return Ended::Usage;
            };
            if shares.insert(pool.to_owned(), json!(share)).is_some() {
                talk.complain(
                    &format!("`{}` is named twice", pool.escape_debug()),
                    "give each pool one share",
                );
                return Ended::Usage;
            }
        }
        let mut body = json!({ "shares": shares });
        if let Some(route) = &self.route {
            body["route"] = json!(route);
        }
        let path = format!("/v1/steer/{}", percent_encoded(site));
        match self.node.call(talk, "POST", &path, Some(&body)) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => {
                let moved = answer.get("moved").and_then(Value::as_array).into_iter().flatten();
                let lines: String = moved.map(|one| line(one, one.get("before")) + "\n").collect();
                talk.result(&lines)
            }
            Err(ended) => ended,
        }
    }

    fn show(&self, talk: Talk) -> Ended {
        match self.node.call(talk, "GET", "/v1/steer", None) {
            Ok(answer) if self.node.json => talk.json(&answer),
            Ok(answer) => {
                let all = answer.get("steer").and_then(Value::as_array).into_iter().flatten();
                let of_site = |one: &&Value| {
                    self.site.is_none() || one.get("site").and_then(Value::as_str) == self.site.as_deref()
                };
                let lines: String = all.filter(of_site).map(|one| line(one, None) + "\n").collect();
                if lines.is_empty() {
                    talk.say("nothing is steered by weight");
                }
                talk.result(&lines)
            }
            Err(ended) => ended,
        }
    }
}

/// `www.example.com /api/*  main 95 → 50, canary 5 → 50`
fn line(one: &Value, before: Option<&Value>) -> String {
    let text = |name: &str| one.get(name).and_then(Value::as_str).unwrap_or_default();
    let shares =
        one.get("shares").and_then(Value::as_object).into_iter().flatten().map(|(pool, share)| match before
            .and_then(|before| before.get(pool))
            .filter(|before| *before != share)
        {
            Some(before) => format!("{pool} {before} → {share}"),
            None => format!("{pool} {share}"),
        });
    let shares: Vec<_> = shares.collect();
    let place = format!("{} {}", text("site"), text("route"));
    format!("{}  {}", place.trim_end(), shares.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_moved() {
        let one = json!({ "site": "a", "route": "/b", "shares": { "x": 50, "y": 5 } });
        assert_eq!(line(&one, Some(&json!({ "x": 95, "y": 5 }))), "a /b  x 95 → 50, y 5");
        assert_eq!(line(&json!({ "site": "a", "route": null, "shares": { "x": 1 } }), None), "a  x 1");
    }
}
