//! `health` of a pool: what is asked of its origins to see whether they are well; and statuses, one by one or by class.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use http::uri::PathAndQuery;

use super::super::super::file::{Item, Section};
use super::super::super::limits::HEALTH_BODY_BYTES_MAX;
use super::super::super::mistake::Complaint;
use super::super::super::{Health, HealthKind, Origin, Statuses, value};

/// The checks of a pool with these origins.
pub(super) fn health(item: &Item<'_>, origins: &[Origin]) -> Option<Health> {
    let section = item.section("`health`".to_owned())?;
    let mut health = Health::default();
    if let Some(item) = section.item("kind")
        && let Some(kind) = item.word(&HealthKind::WORDS)
    {
        health.kind = kind;
        if kind == HealthKind::Tls && !origins.is_empty() && !origins.iter().any(|origin| origin.tls) {
            let help = "write https:// in the origin's url, or kind = \"tcp\"";
            item.tell(Complaint::new("no-effect", "no origin of this pool is https", "no TLS there", help));
        }
    }
    page(&section, &mut health);
    let every = section.item("every").and_then(|item| item.duration(EVERY_RANGE));
    health.every = every.unwrap_or(health.every);
    health.timeout = health.timeout.min(health.every);
    if let Some(item) = section.item("timeout")
        && let Some(timeout) = item.duration(TIMEOUT_RANGE)
    {
        if timeout > health.every {
            let help = "write as much as `every`, or less: a check ends before the next begins";
            item.tell(Complaint::new("range", "`timeout` is longer than `every`", "too long", help));
        }
        health.timeout = timeout;
    }
    for (key, field) in
        [("unhealthy_after", &mut health.unhealthy_after), ("healthy_after", &mut health.healthy_after)]
    {
        if let Some(count) = section.item(key).and_then(|item| item.count(1..=1000)) {
            *field = u32::try_from(count).unwrap_or(u32::MAX);
        }
    }
    section.close();
    Some(health)
}

/// What belongs to a page, which only one kind of check asks for.
fn page(section: &Section<'_>, health: &mut Health) {
    let [path, host, status, body] = ["path", "host", "status", "body"].map(|key| section.item(key));
    if let Some(path) = path.as_ref().and_then(|item| item.parsed(PATH_EXAMPLE, health_path)) {
        health.path = path;
    }
    health.host =
        host.as_ref().and_then(|item| item.parsed("write host = \"www.example.com\"", value::host_field));
    if let Some(statuses) = status.as_ref().and_then(statuses) {
        health.status = statuses;
    }
    if let Some(item) = &body
        && let Some(text) = item.text("write body = \"ok\"")
    {
        if text.is_empty() || text.len() > HEALTH_BODY_BYTES_MAX {
            let help = "write a text that stands in the body, or remove the key";
            item.tell(Complaint::new("empty", "`body` is a text to look for", "no text to look for", help));
        }
        health.body = Some(text.into());
    }
    if health.kind != HealthKind::Http {
        for item in [path, host, status, body].into_iter().flatten() {
            let message = format!("`{}` has no effect: this check asks for no page", item.key);
            let help = "write kind = \"http\", or remove the key";
            item.tell(Complaint::new("no-effect", message, "no effect", help));
        }
    }
}

fn health_path(text: &str) -> Result<Arc<str>, Complaint> {
    let wrong = |label: &str| {
        Complaint::new("path", format!("`{}` cannot be asked for", text.escape_debug()), label, PATH_EXAMPLE)
    };
    if !text.starts_with('/') {
        return Err(wrong("does not begin with `/`"));
    }
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) || PathAndQuery::try_from(text).is_err() {
        return Err(wrong("a character no request has"));
    }
    Ok(text.into())
}

/// Statuses: numbers, classes like "2xx", ranges like "200-204".
pub(super) fn statuses(item: &Item<'_>) -> Option<Statuses> {
    let items = if item.is_list() { item.list(STATUS_EXAMPLE)? } else { vec![item.clone()] };
    if items.is_empty() && item.key == "status" {
        item.tell(Complaint::new("empty", "`status` is empty: no answer would do", "empty", STATUS_EXAMPLE));
    }
    let one = |item: &Item<'_>| match item.as_text() {
        Some(_) => item.parsed(STATUS_EXAMPLE, status_range),
        None => item.count(100..=599).and_then(|one| u16::try_from(one).ok()).map(|one| one..=one),
    };
    Some(Statuses(items.iter().filter_map(one).collect()))
}

fn status_range(text: &str) -> Result<RangeInclusive<u16>, Complaint> {
    let class = text.strip_suffix("xx").and_then(|class| class.parse::<u16>().ok());
    let range = match (class, text.split_once('-')) {
        (Some(class), _) => Some((class.saturating_mul(100), class.saturating_mul(100).saturating_add(99))),
        (None, Some((first, last))) => first.parse().ok().zip(last.parse().ok()),
        (None, None) => text.parse().ok().map(|one| (one, one)),
    };
    range
        .filter(|(first, last)| *first >= 100 && first <= last && *last <= 599)
        .map(|(first, last)| first..=last)
        .ok_or_else(|| {
            let message = format!("`{}` is not a status", text.escape_debug());
            Complaint::new("status", message, "no status", STATUS_EXAMPLE)
        })
}

const EVERY_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const TIMEOUT_RANGE: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
const PATH_EXAMPLE: &str = "write a path, like \"/healthz\"";
const STATUS_EXAMPLE: &str = "write 200, \"2xx\" or \"200-204\", or a list of them: [200, \"3xx\"]";
