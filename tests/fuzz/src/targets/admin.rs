//! What callers of the admin listener send: `purge-api`, `admin/query.rs`, `admin/tokens.rs`.

use cache_store::key::Keyer;
use purge_api::auth::Bearer;
use purge_api::compat::{method, service, zones};
use purge_api::deploy::{self, DeployRequest};
use purge_api::fake::Fake;
use purge_api::{Call, Problem, PurgeRequest, Reply, ResourceUrl, Selector, call, log};
use tidegate::admin::ExplainQuery;
use tidegate::listener::request::Scheme;
use tidegate::route::Normal;

use crate::reached;

/// A purge call is applied whole or refused whole, and what is answered is JSON; a URL that is taken reads the same again,
/// and as the same resource however it is spelled to the key. What the log says of it can be sent again.
pub fn purge_call(data: &[u8]) {
    let node = Fake::holding(&["https://a/x"]);
    let as_written = |url: &ResourceUrl| Ok(url.clone());
    let refusal = match PurgeRequest::parse(data, &as_written) {
        Ok(request) => {
            reached((request.order.selectors.len().min(3), request.order.soft, request.dry_run));
            reached(request.order.scope());
            assert!(!request.order.selectors.is_empty(), "an empty selection never means everything");
            for selector in &request.order.selectors {
                if let Selector::Url(url) | Selector::Prefix(url) = selector {
                    same_resource(url);
                }
            }
            let again = log::order_json(&request.order).to_string();
            let again =
                PurgeRequest::parse(again.as_bytes(), &as_written).expect("what is logged can be sent");
            assert_eq!(again.order.selectors.len(), request.order.selectors.len());
            match call::carry_out(
                &node,
                Call { node: "n1", id: "x", bearer: &Bearer::Loopback, millis: &|| 0 },
                &request,
            ) {
                Ok(receipt) => {
                    assert_eq!(receipt.sequence.is_none(), request.dry_run);
                    assert_eq!(node.orders().len(), usize::from(!request.dry_run));
                    return;
                }
                Err(refusal) => refusal,
            }
        }
        Err(refusal) => refusal,
    };
    assert!(node.orders().is_empty(), "what is refused purges nothing: {refusal:?}");
    let reply: Reply = Problem::from(refusal).into();
    let told: serde_json::Value =
        serde_json::from_slice(&reply.body).unwrap_or_else(|error| panic!("{error}: {:?}", reply.body));
    assert!(reply.status.is_client_error(), "{told}");
    reached((reply.status.as_u16(), told["code"].as_str().map(str::to_owned)));
}

/// Purges in other people's shapes, and deploys: the first byte says which. What is understood selects something, and everything
/// only where that is said.
pub fn foreign_purge(data: &[u8]) {
    let as_written = |url: &ResourceUrl| Ok(url.clone());
    let Some((which, rest)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(rest);
    let understood = match which % 5 {
        0 => zones::parse(rest, &as_written),
        1 => service::keys(Some(text.lines().next().unwrap_or_default()), rest, false),
        2 => service::key(&text, true),
        3 => match DeployRequest::parse(rest, &as_written) {
            Ok(deploy) => {
                let node = Fake::default();
                let call = Call { node: "n1", id: "x", bearer: &Bearer::Loopback, millis: &|| 0 };
                let deployed =
                    deploy::carry_out(&node, call, &deploy).expect("the first deploy takes its site");
                assert!(deployed.difference.first && deployed.order.is_some());
                reached((deploy.files.len().min(3), deploy.soft, deploy.dry_run));
                return;
            }
            Err(refusal) => Err(refusal),
        },
        // A line of fields, as `name: value`.
        _ => {
            let Ok(url) = ResourceUrl::parse(&format!("http://a{}", text.lines().next().unwrap_or_default()))
            else {
                return;
            };
            let field = |name: &str| {
                let mut lines = text.lines().skip(1).filter_map(|line| line.split_once(": "));
                lines.find(|(known, _)| *known == name).map(|(_, value)| value.to_owned())
            };
            let method = ["PURGE", "BAN", "PURGEKEYS"][usize::from(which / 5 % 3)];
            method::understood(method::Asked { method, url: &url, field: &field }, &as_written)
        }
    };
    match understood {
        Ok(request) => {
            let selectors = &request.order.selectors;
            reached((which % 5, selectors.len().min(3), request.order.scope(), request.order.soft));
            assert!(!selectors.is_empty(), "an empty selection never means everything");
            if selectors.contains(&Selector::Everything) {
                assert!(
                    text.contains("purge_everything") || text.contains(".*"),
                    "everything is never guessed: {text}"
                );
            }
        }
        Err(refusal) => {
            let problem = Problem::from(refusal);
            assert!(problem.status.is_client_error() || problem.status == 501, "{problem:?}");
            reached((which % 5, problem.code));
        }
    }
}

fn same_resource(url: &ResourceUrl) {
    let written = url.to_string();
    assert_eq!(ResourceUrl::parse(&written).as_ref(), Ok(url), "{written}");
    assert!(url.target().starts_with('/') && !url.authority().is_empty());
    let scheme = if url.is_https() { Scheme::Https } else { Scheme::Http };
    let target = url.target();
    let parts = Normal::of(scheme, url.authority().as_bytes(), target.as_bytes()).map(Normal::into_owned);
    assert_eq!(Normal::from_url(&written), parts, "{written}");
    if let Ok(normal) = parts {
        Keyer::new([3; 32]).primary(
            normal.scheme.as_str(),
            normal.authority.as_bytes(),
            normal.target.path(),
            normal.target.query(),
        );
    }
}

/// A query is a request that could be sent, or a problem.
pub fn explain_query(data: &[u8]) {
    match ExplainQuery::parse(data) {
        Ok(query) => {
            reached((query.method.as_str().len().min(8), query.fields.len().min(4)));
            same_resource(&query.url);
            for (name, value) in &query.fields {
                assert!(!name.as_str().is_empty());
                assert!(!value.as_bytes().iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)));
            }
        }
        Err(problem) => {
            reached(problem.detail.split('`').next_back().map(str::to_owned));
            let reply: purge_api::Reply = problem.into();
            assert!(reply.status.is_client_error());
            assert!(serde_json::from_slice::<serde_json::Value>(&reply.body).is_ok());
        }
    }
}

/// A token file is one or is told to be none, by line.
pub fn token_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match tidegate::fuzzing::tokens(text) {
        Ok(()) => {
            reached(text.matches("[[token]]").count().min(4));
            assert!(text.contains("token"), "without tokens no one could call");
        }
        Err(message) => {
            reached(
                message
                    .lines()
                    .last()
                    .map(|line| line.chars().filter(char::is_ascii_lowercase).take(12).collect::<String>()),
            );
            assert!(!message.is_empty());
        }
    }
}

/// Words of purge calls.
pub const PURGE_WORDS: &[&str] = &[
    "{\"urls\":[\"https://a/x\"]}",
    "\"urls\":",
    "\"http://a/\"",
    "\"https://A:443/%7e?q\"",
    "\"http://[::1]:80/\"",
    "\"http://u:p@a/\"",
    "\"prefixes\":[\"http://a/n\"]",
    "\"hosts\":[\"a\"]",
    "\"tags\":[\"t\"]",
    "\"everything\":true",
    "\"soft\":true",
    "\"dry_run\":true",
    "\"wait\":\"fleet\"",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\\u0000",
    "\\ud800",
    "%2e%2e/",
    "//",
    "#f",
    "?",
];
/// Words of purges in other people's shapes.
pub const FOREIGN_WORDS: &[&str] = &[
    "\x00{\"files\":[\"https://a/x\"]}",
    "\x00{\"purge_everything\":true}",
    "\"prefixes\":[\"a/n\"]",
    "{\"url\":\"https://a/\"}",
    "\x01{\"surrogate_keys\":[\"t\"]}",
    "\x02article%2F42",
    "\x03{\"site\":\"https://a/\",\"files\":{\"index.html\":\"1\"}}",
    "\"soft\":false",
    "\x04/news/*\n",
    "\x09/\nx-url: ^/news/.*\n",
    "\x0e/\nxkey-purge: a b\n",
    "x-host: ^(a|b)$\n",
    "x-host: .*\n",
    "x-url: .*\n",
    "x-ban-url: ^/a\\.html$\n",
    "cache-tags: node:1|node:2\n",
    "x-cache-tags: (^|,)(a|b)(,|$)\n",
    "x-magento-tags-pattern: ((^|,)a(,|$))|((^|,)b(,|$))\n",
    "x-purge-method: regex\n",
    "xkey: a\n",
    "soft-purge: 1\n",
    ".*",
    "\\",
    "|",
    "(",
    ")",
];
/// Words of explain queries.
pub const QUERY_WORDS: &[&str] = &[
    "url=",
    "http://a/",
    "https%3A%2F%2Fa%2Fb%3Fc%3Dd",
    "&",
    "method=",
    "HEAD",
    "header=",
    "Accept%3A+gzip",
    "a:b",
    "%0d%0a",
    "%",
    "%zz",
    "%00",
    "%ff",
    "+",
    "=",
    "#",
];
/// Words of token files.
pub const TOKEN_WORDS: &[&str] = &[
    "[[token]]\n",
    "name = \"deploy\"\n",
    "sha256 = \"9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08\"\n",
    "may = [\"read\", \"purge\", \"control\"]\n",
    "may = []\n",
    "\"everything\"",
    "\u{e4}",
    "=",
    "\"",
];
