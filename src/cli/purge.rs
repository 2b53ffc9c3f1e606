//! `tidegate purge`: a node forgets what it stored, or makes it stale, and prints the receipt.
//!
//! By URL, prefix, host, tag or everything; or, after a deploy, by what the build changed (`deploy.rs`).

use clap::{Args, ValueEnum};
use purge_api::{Scope, Selector};
use serde_json::{Value, json};

use super::Ended;
use super::client::Node;
use super::deploy::Deploy;
use super::receipt;
use super::talk::Talk;

/// Make a running node forget what it stored, or make it stale.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Purge {
    /// Absolute URLs, as clients ask for them.
    urls: Vec<String>,
    /// All URLs that begin so, whatever their query; may be repeated.
    #[arg(long, value_name = "URL")]
    prefix: Vec<String>,
    /// All URLs of a host; may be repeated.
    #[arg(long, value_name = "HOST")]
    host: Vec<String>,
    /// All responses with a tag (Surrogate-Key, Cache-Tag …); may be repeated.
    #[arg(long, value_name = "TAG")]
    tag: Vec<String>,
    /// Everything, of every site.
    #[arg(long)]
    everything: bool,
    /// Make stale rather than forget: served while it is fetched again, and when the origin is down.
    #[arg(long)]
    soft: bool,
    /// Only count what would be purged.
    #[arg(long)]
    dry_run: bool,
    /// Until who has applied it.
    #[arg(long, value_enum, default_value_t = Wait::Node)]
    wait: Wait,
    #[command(flatten)]
    deploy: Deploy,
    #[command(flatten)]
    node: Node,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(super) enum Wait {
    /// The node that is asked.
    Node,
    /// Every node of its fleet.
    Fleet,
}

impl Purge {
    pub(super) fn carry_out(self, talk: Talk) -> Ended {
        let lists = [
            (Scope::Url, "urls", &self.urls),
            (Scope::Prefix, "prefixes", &self.prefix),
            (Scope::Host, "hosts", &self.host),
            (Scope::Tag, "tags", &self.tag),
        ];
        let named = self.everything || lists.iter().any(|(.., list)| !list.is_empty());
        if self.deploy.is_asked() {
            if named || self.soft {
                let help = "a deploy purges what its build changed, softly unless --hard says otherwise";
                talk.complain("a manifest goes without anything else to purge, and without --soft", help);
                return Ended::Usage;
            }
            return self.deploy.carry_out(talk, &self.node, self.dry_run, self.wait);
        }
        if let Some(flag) = self.deploy.stray() {
            talk.complain(
                &format!("{flag} belongs to a deploy"),
                "name its --manifest or --directory, and its --site",
            );
            return Ended::Usage;
        }
        if !named {
            let help = "name URLs: tidegate purge https://www.example.com/\nor --prefix, --host, --tag, --everything";
            talk.complain("nothing to purge", help);
            return Ended::Usage;
        }
        if self.everything && lists.iter().any(|(.., list)| !list.is_empty()) {
            talk.complain("--everything stands by itself", "leave out the rest, or leave out --everything");
            return Ended::Usage;
        }
        let mut wrong = false;
        for (scope, _, list) in &lists {
            for text in *list {
                if let Err(error) = Selector::parse(*scope, text) {
                    talk.complain(
                        &format!("`{}` cannot be purged: {error}", text.escape_debug()),
                        example(*scope),
                    );
                    wrong = true;
                }
            }
        }
        if wrong {
            return Ended::Usage;
        }
        let mut body = json!({ "soft": self.soft, "dry_run": self.dry_run, "wait": self.wait.as_str() });
        for (_, name, list) in &lists {
            if !list.is_empty() {
                body[*name] = json!(list);
            }
        }
        if self.everything {
            body["everything"] = true.into();
        }
        match self.node.call(talk, "POST", "/v1/purge", Some(&body)) {
            Ok(told) => self.tell(talk, &told, &lists),
            Err(ended) => ended,
        }
    }

    fn tell(&self, talk: Talk, told: &Value, lists: &[(Scope, &str, &Vec<String>)]) -> Ended {
        if self.node.json {
            return receipt::ended(talk, told, talk.json(told));
        }
        let mut what: Vec<_> = lists
            .iter()
            .filter(|(.., list)| !list.is_empty())
            .map(|(scope, _, list)| receipt::plural(list.len() as u64, scope.noun()))
            .collect();
        if self.everything {
            what.push("everything".to_owned());
        }
        receipt::ended(talk, told, talk.result(&receipt::purged(told, &what.join(", "))))
    }
}

impl Wait {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Fleet => "fleet",
        }
    }
}

const fn example(scope: Scope) -> &'static str {
    match scope {
        Scope::Url => "write a URL as clients ask for it, like https://www.example.com/news",
        Scope::Prefix => "write the beginning of URLs, like --prefix https://www.example.com/news/",
        Scope::Host => "write a name, like --host www.example.com",
        Scope::Tag | Scope::Everything => "write one tag, like --tag article-42",
    }
}

const EXAMPLES: &str = "\
Examples:
  tidegate purge https://www.example.com/ https://www.example.com/news
  tidegate purge --soft --tag article-42 --tag front   stale at once, fetched again when asked for
  tidegate purge --prefix https://www.example.com/news/ --wait fleet
  tidegate purge --dry-run --json --host www.example.com | jq .matched
  tidegate purge --directory public/ --site https://www.example.com --warm
                                                       after a deploy: what the build changed

Exit codes: 0 purged, 1 failed, or a node that was waited for is late, 2 usage.";
