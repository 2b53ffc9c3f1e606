//! `PURGE`, `PURGEKEYS` and `BAN` on a client listener.
//!
//! ```text
//! PURGE url             that URL
//! PURGE url*  url.*     its prefix; the whole host where that is `/`
//! PURGE, PURGEKEYS      with xkey, xkey-purge, Surrogate-Key, Cache-Tag(s), X-Cache-Tags …: those tags
//! PURGE                 with a pattern that names tags in X-Magento-Tags-Pattern or X-Cache-Tags-Pattern: those
//! BAN                   with patterns for url, host or tags that say exactly one of these (`pattern.rs`)
//! ```
//!
//! Soft with `Soft-Purge: 1`, `Fastly-Soft-Purge: 1` or `xkey-softpurge`.

use http::StatusCode;
use serde_json::json;

use super::pattern::{self, Names, UrlPattern};
use crate::error::Refusal;
use crate::order::{Order, Scope};
use crate::receipt::Receipt;
use crate::reply::Reply;
use crate::request::{Normalise, PurgeRequest, Selectors, Wait};
use crate::url::ResourceUrl;

/// A request by one of these methods.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// Its method.
    pub method: &'a str,
    /// What it is about.
    pub url: &'a ResourceUrl,
    /// The values of a field by its name in lower case, joined by commas; `None` without any, or where they are not ASCII.
    pub field: &'a dyn Fn(&str) -> Option<String>,
}

/// Whether a request by this method is a purge.
pub fn is_purge(method: &str) -> bool {
    matches!(method, "PURGE" | "PURGEKEYS" | "BAN")
}

/// What the request asks for.
///
/// # Errors
/// [`Refusal`]: nothing is named, or what is meant cannot be purged exactly.
pub fn understood(asked: Asked<'_>, normalise: Normalise<'_>) -> Result<PurgeRequest, Refusal> {
    let mut selectors = Selectors::new(normalise);
    let patterns = asked.method == "BAN" || asked.first(&PATTERN_FIELDS).is_some();
    if patterns && (asked.method == "BAN" || asked.method == "PURGE") {
        asked.ban(&mut selectors)?;
    } else if let Some((name, tags)) = asked.first(&TAG_FIELDS) {
        for tag in tags.split([' ', ',', '\t']).filter(|tag| !tag.is_empty()) {
            selectors.take_text(Scope::Tag, &[name], tag);
        }
    } else if asked.method == "PURGEKEYS" {
        return Err(Refusal::NotSupported("PURGEKEYS names tags: `xkey-purge: article-42 front`".to_owned()));
    } else {
        asked.path(&mut selectors)?;
    }
    let soft = asked.soft();
    Ok(PurgeRequest { order: Order { selectors: selectors.end()?, soft }, dry_run: false, wait: Wait::Node })
}

/// The answer: 200 with what was touched, also when nothing was stored, so that scripts need not tell the two apart.
pub fn answer(receipt: &Receipt) -> Reply {
    let told = json!({ "matched": receipt.matched, "sequence": receipt.sequence, "id": receipt.id });
    let mut reply = Reply::json(StatusCode::OK, &told);
    reply.fields.push(("cache-control", "no-store".into()));
    reply
}

impl<'a> Asked<'a> {
    /// The first of these fields that is there, with its value.
    fn first<'n>(&self, names: &[&'n str]) -> Option<(&'n str, String)> {
        names.iter().find_map(|name| Some((*name, (self.field)(name)?.trim().to_owned())))
    }

    fn soft(&self) -> bool {
        let one = |name: &&str| {
            (self.field)(name).is_some_and(|value| value.split(',').any(|part| part.trim() == "1"))
        };
        SOFT_FIELDS.iter().any(one) || (self.field)("xkey-softpurge").is_some()
    }

    /// `PURGE` of what stands in the request line.
    fn path(&self, selectors: &mut Selectors<'_>) -> Result<(), Refusal> {
        let target = self.url.target();
        // WordPress's "Proxy Cache Purge" says so beside `/.*`.
        let by = self.first(&["x-purge-method"]).map(|(_, by)| by);
        let by_pattern = match by.as_deref() {
            None | Some("" | "default" | "exact") => false,
            Some("regex") => true,
            // What it purges by is not in the request line: that would be another purge than was meant.
            Some(other) => {
                return Err(Refusal::NotSupported(format!(
                    "`X-Purge-Method: {other}` names nothing that is known here: `default` and `regex` are, and `tags` with \
                     `X-Cache-Tags-Pattern: article-42|front`"
                )));
            }
        };
        let open = target.strip_suffix(".*").or_else(|| target.strip_suffix('*'));
        match open {
            Some("/") => selectors.take_text(Scope::Host, &[HOST_FIELD], self.url.host()),
            Some(path) if by_pattern && path.contains(META_IN_A_PATH) => {
                return Err(Refusal::NotSupported(format!(
                    "the pattern `{target}` is no prefix: write `PURGE /news/*`, or purge a tag"
                )));
            }
            Some(path) => {
                selectors.take_text(Scope::Prefix, &["target"], &self.on_host(self.url.authority(), path));
            }
            None => selectors.take_text(Scope::Url, &["target"], &self.url.to_string()),
        }
        Ok(())
    }

    /// `BAN`, or `PURGE` with patterns of tags.
    fn ban(&self, selectors: &mut Selectors<'_>) -> Result<(), Refusal> {
        if let Some((name, kind)) = self.first(&["x-content-type"]).filter(|(_, kind)| kind != ".*") {
            return Err(no_pattern(
                name,
                &kind,
                "media types are not purged by; purge a tag, a prefix or a host",
            ));
        }
        let url = match self.first(&URL_FIELDS) {
            Some((name, text)) => {
                let help =
                    "write `^/news/.*` for a prefix, `^/news/index\\.html$` for a URL, `.*` for the host";
                Some(pattern::url(&text).ok_or_else(|| no_pattern(name, &text, help))?)
            }
            None => None,
        };
        let hosts = match self.first(&HOST_FIELDS) {
            Some((name, text)) => {
                let help = "write `^www\\.example\\.com$`, or `.*` for all";
                Some(pattern::hosts(&text).ok_or_else(|| no_pattern(name, &text, help))?)
            }
            None => None,
        };
        let tags = match self.first(&PATTERN_FIELDS).or_else(|| self.first(&TAG_FIELDS)) {
            Some((name, text)) => {
                let listed = text.replace([' ', ','], "|");
                let names = pattern::tags(&text).or_else(|| pattern::tags(&listed));
                let help = "name tags whole: `article-42|front`";
                Some((name, names.ok_or_else(|| no_pattern(name, &text, help))?))
            }
            None => None,
        };
        let whole = |url: &Option<UrlPattern>| matches!(url, None | Some(UrlPattern::All));
        match tags {
            Some((name, Names::These(tags))) => {
                if !whole(&url) || matches!(hosts, Some(Names::These(_))) {
                    let detail = "a tag is purged wherever it stands: leave out the host and the URL";
                    return Err(Refusal::NotSupported(detail.to_owned()));
                }
                for tag in &tags {
                    selectors.take_text(Scope::Tag, &[name], tag);
                }
                return Ok(());
            }
            // Magento's "flush": whatever has any tag. All of the host is what it means, and more than that.
            Some((_, Names::All)) | None => {}
        }
        let named = self.first(&PATTERN_FIELDS).is_some();
        let url = url.or_else(|| (hosts.is_some() || named).then_some(UrlPattern::All));
        // Without any pattern the request line is one.
        let url = match url {
            Some(url) => url,
            None => pattern::url(&format!("^{}", self.url.target()))
                .filter(|_| self.url.target().ends_with(".*"))
                .ok_or_else(|| {
                    no_pattern("target", &self.url.target(), "write `PURGE` for this URL, or `BAN /news/.*`")
                })?,
        };
        let hosts = hosts.unwrap_or_else(|| Names::These(vec![self.url.authority().to_owned()]));
        match (hosts, url) {
            (Names::All, UrlPattern::All) => selectors.everything(),
            (Names::All, _) => {
                let detail = "a prefix or URL on every host is not purged by: name the host, `X-Host: ^www\\.example\\.com$`";
                return Err(Refusal::NotSupported(detail.to_owned()));
            }
            (Names::These(hosts), UrlPattern::All) => {
                for host in hosts {
                    let host = self.named_host(&host);
                    selectors.take_text(Scope::Host, &[HOST_FIELD], host);
                }
            }
            (Names::These(hosts), UrlPattern::Prefix(path)) => {
                for host in hosts {
                    selectors.take_text(Scope::Prefix, &["url"], &self.on_host(&host, &path));
                }
            }
            (Names::These(hosts), UrlPattern::Exact(path)) => {
                for host in hosts {
                    selectors.take_text(Scope::Url, &["url"], &self.on_host(&host, &path));
                }
            }
        }
        Ok(())
    }

    /// The request's own host is named with its port.
    fn named_host<'h>(&self, host: &'h str) -> &'h str
    where
        'a: 'h,
    {
        if host == self.url.authority() { self.url.host() } else { host }
    }

    fn on_host(&self, authority: &str, path: &str) -> String {
        let scheme = if self.url.is_https() { "https" } else { "http" };
        format!("{scheme}://{authority}{path}")
    }
}

fn no_pattern(name: &str, text: &str, help: &str) -> Refusal {
    Refusal::NotSupported(format!("`{name}: {text}` names no host, prefix, URL or tags exactly: {help}"))
}

/// Fields that make a purge soft when one of their values is `1`.
const SOFT_FIELDS: [&str; 2] = ["soft-purge", "fastly-soft-purge"];
/// Fields that name tags, the first that is there counts.
const TAG_FIELDS: [&str; 8] = [
    "xkey",
    "xkey-purge",
    "xkey-softpurge",
    "surrogate-key",
    "cache-tag",
    "cache-tags",
    "x-cache-tags",
    "x-ban-tags",
];
/// Patterns of tags on a `PURGE`: Magento's, and that of "Proxy Cache Purge" since 5.4.
const PATTERN_FIELDS: [&str; 2] = ["x-magento-tags-pattern", "x-cache-tags-pattern"];
const URL_FIELDS: [&str; 2] = ["x-ban-url", "x-url"];
const HOST_FIELDS: [&str; 2] = ["x-ban-host", HOST_FIELD];
const HOST_FIELD: &str = "x-host";
/// What a path that is meant as a pattern would mean something else with. A dot is taken for one.
const META_IN_A_PATH: [char; 10] = ['*', '+', '?', '(', ')', '[', ']', '|', '^', '$'];

#[cfg(test)]
mod tests;
