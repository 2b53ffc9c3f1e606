//! The body of `POST /v1/purge`, as a type: what is left after every check has passed.
//!
//! All mistakes in a list of URLs are told at once. Unknown members are refused, because a misspelt `soft` would
//! otherwise purge hard. `prefixes`, `hosts`, `tags` and `everything` are understood, and refused as not supported yet.

use serde::Deserialize;

use crate::error::Refusal;
use crate::url::ResourceUrl;

/// A purge to carry out.
#[derive(Clone, Debug)]
pub struct PurgeRequest {
    /// At least one.
    pub urls: Vec<ResourceUrl>,
    /// Make stale rather than forget.
    pub soft: bool,
    /// Only count.
    pub dry_run: bool,
    /// How long the caller wants to wait.
    pub wait: Wait,
}

/// When a purge is done in the caller's eyes. A node without a fleet is its own fleet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// This node has applied it.
    #[default]
    Node,
    /// Every node has.
    Fleet,
}

/// As written. Options, because "absent" and "empty" are told apart in messages.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with `urls`")]
struct Written {
    urls: Option<Vec<String>>,
    prefixes: Option<Vec<String>>,
    hosts: Option<Vec<String>>,
    tags: Option<Vec<String>>,
    everything: Option<bool>,
    #[serde(default)]
    soft: bool,
    #[serde(default)]
    dry_run: bool,
    #[serde(default)]
    wait: Wait,
}

impl PurgeRequest {
    /// The request in this JSON text.
    ///
    /// # Errors
    /// Everything in [`Refusal`] but [`Refusal::Failed`]; always the caller's fault.
    pub fn parse(body: &[u8]) -> Result<Self, Refusal> {
        let written: Written =
            serde_json::from_slice(body).map_err(|error| Refusal::Malformed(error.to_string()))?;
        let urls = written.urls.unwrap_or_default();
        let lists = [
            ("urls", urls.len()),
            ("prefixes", written.prefixes.map_or(0, |list| list.len())),
            ("hosts", written.hosts.map_or(0, |list| list.len())),
            ("tags", written.tags.map_or(0, |list| list.len())),
        ];
        let named = |from: usize| lists.iter().skip(from).find(|(_, len)| *len > 0).map(|(name, _)| *name);
        if written.everything == Some(true) {
            return Err(named(0).map_or(Refusal::NotSupported("everything"), Refusal::NotByItself));
        }
        if let Some(name) = named(1) {
            return Err(Refusal::NotSupported(name));
        }
        if urls.is_empty() {
            return Err(Refusal::Empty);
        }
        if urls.len() > URLS_MAX {
            return Err(Refusal::TooMany { count: urls.len(), max: URLS_MAX });
        }
        let (good, bad): (Vec<_>, Vec<_>) =
            urls.iter().map(|text| ResourceUrl::parse(text)).enumerate().partition(|(_, url)| url.is_ok());
        if !bad.is_empty() {
            return Err(Refusal::Urls(
                bad.into_iter().filter_map(|(at, url)| Some((at, url.err()?))).take(MISTAKES_MAX).collect(),
            ));
        }
        let urls = good.into_iter().filter_map(|(_, url)| url.ok()).collect();
        Ok(Self { urls, soft: written.soft, dry_run: written.dry_run, wait: written.wait })
    }
}

/// URLs in one call.
pub const URLS_MAX: usize = 10_000;
/// Mistakes told at once.
const MISTAKES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn requests() {
        let url_101 = format!(r#"{{"urls":[{}]}}"#, vec![r#""https://a/""#; URLS_MAX + 1].join(","));
        for (claim, body, expected) in [
            ("one URL is purged hard", r#"{"urls":["https://a/x"]}"#, Ok(("https://a/x", false, false))),
            ("soft is said", r#"{"urls":["https://a/x"],"soft":true}"#, Ok(("https://a/x", true, false))),
            ("a dry run is said", r#"{"urls":["http://a/"],"dry_run":true}"#, Ok(("http://a/", false, true))),
            (
                "waiting may be named",
                r#"{"urls":["http://a/"],"wait":"fleet"}"#,
                Ok(("http://a/", false, false)),
            ),
            (
                "empty lists beside it do not matter",
                r#"{"urls":["http://a/"],"tags":[],"everything":false}"#,
                Ok(("http://a/", false, false)),
            ),
            ("nothing is not everything", "{}", Err("Empty")),
            ("empty lists are not everything", r#"{"urls":[],"tags":[]}"#, Err("Empty")),
            ("everything that is false is nothing", r#"{"everything":false}"#, Err("Empty")),
            (
                "everything stands by itself",
                r#"{"everything":true,"urls":["http://a/"]}"#,
                Err("NotByItself"),
            ),
            (
                "everything is not supported yet",
                r#"{"everything":true}"#,
                Err("NotSupported(\"everything\")"),
            ),
            ("tags are not supported yet", r#"{"tags":["a"]}"#, Err("NotSupported(\"tags\")")),
            (
                "tags beside URLs are not forgotten",
                r#"{"urls":["http://a/"],"tags":["a"]}"#,
                Err("NotSupported(\"tags\")"),
            ),
            ("hosts are not supported yet", r#"{"hosts":["a"]}"#, Err("NotSupported(\"hosts\")")),
            (
                "prefixes are not supported yet",
                r#"{"prefixes":["http://a/"]}"#,
                Err("NotSupported(\"prefixes\")"),
            ),
            ("a misspelt member is refused", r#"{"urls":["http://a/"],"sotf":true}"#, Err("Malformed")),
            ("a member twice is refused", r#"{"urls":["http://a/"],"urls":[]}"#, Err("Malformed")),
            ("a string is not a list", r#"{"urls":"http://a/"}"#, Err("Malformed")),
            ("everything is not a string", r#"{"everything":"true"}"#, Err("Malformed")),
            ("wait knows two words", r#"{"urls":["http://a/"],"wait":"ever"}"#, Err("Malformed")),
            ("no body is no request", "", Err("Malformed")),
            ("a list is no request", "[]", Err("Malformed")),
            ("a second value behind it is refused", r#"{"urls":["http://a/"]} {}"#, Err("Malformed")),
            ("too many URLs are refused", &url_101, Err("TooMany")),
            (
                "a bad URL is named by its place",
                r#"{"urls":["http://a/","/b"]}"#,
                Err("Urls([(1, NotAbsolute)])"),
            ),
        ] {
            match (PurgeRequest::parse(body.as_bytes()), expected) {
                (Ok(request), Ok((url, soft, dry_run))) => {
                    assert_eq!(
                        (request.urls[0].to_string().as_str(), request.soft, request.dry_run),
                        (url, soft, dry_run),
                        "{claim}"
                    );
                }
                (Err(refusal), Err(name)) => {
                    assert!(format!("{refusal:?}").starts_with(name), "{claim}: {refusal:?}");
                }
                (got, _) => panic!("{claim}: {got:?}"),
            }
        }
    }

    proptest! {
        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = PurgeRequest::parse(&body);
        }
    }
}
