//! `[crawlers]`: who is taken for one, and what they may ask of origins.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::access::files;
use super::{NETWORKS_EXAMPLE, Surroundings};
use crate::config::file::Section;
use crate::config::limits::CRAWLER_AGENTS_MAX;
use crate::config::mistake::Complaint;
use crate::config::{Crawlers, value};

pub(super) fn crawlers(section: Section<'_>, around: &Surroundings) -> Crawlers {
    let mut crawlers = Crawlers::default();
    if let Some(item) = section.item("agents") {
        let agents: Vec<Box<str>> = item.list_of(AGENTS_EXAMPLE, agent).unwrap_or_default();
        if agents.len() > CRAWLER_AGENTS_MAX {
            let message = format!("`agents` names {} crawlers", agents.len());
            let help = format!("write at most {CRAWLER_AGENTS_MAX}; a part that several have is enough");
            item.tell(Complaint::new("range", message, "too many", help));
        }
        if item.is_list() && item.list(AGENTS_EXAMPLE).is_some_and(|list| list.is_empty()) {
            item.tell(Complaint::new("empty", "`agents` is empty", "empty", AGENTS_EXAMPLE));
        }
        crawlers.agents = agents;
    }
    let verified = section.item("verified");
    if let Some(networks) = verified.and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network)) {
        crawlers.verified = networks;
    }
    if let Some(item) = section.item("verified_files") {
        crawlers.verified_files = files(&item, around);
    }
    let count = |key, range| section.item(key).and_then(|item| item.count(range));
    for (key, range, place) in [
        ("concurrency", CONCURRENCY_RANGE, &mut crawlers.concurrency),
        ("concurrency_others", CONCURRENCY_RANGE, &mut crawlers.concurrency_others),
        ("queue_max", QUEUE_RANGE, &mut crawlers.queue_max),
    ] {
        if let Some(count) = count(key, range).and_then(|count| u32::try_from(count).ok()) {
            *place = count;
        }
    }
    if let Some(time) = section.item("queue_timeout").and_then(|item| item.duration(WAIT_RANGE)) {
        crawlers.queue_timeout = time;
    }
    if let Some(time) = section.item("stale").and_then(|item| item.duration(STALE_RANGE)) {
        crawlers.stale = time;
    }
    section.close();
    crawlers
}

/// A part of a `User-Agent`; one that is too short would be everybody's.
fn agent(text: &str) -> Result<Box<str>, Complaint> {
    let is_written = text.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic());
    if is_written && text.len() >= AGENT_BYTES_MIN {
        return Ok(text.into());
    }
    let message = format!("`{}` is not a part of a crawler's name", text.escape_debug());
    let help = format!("write {AGENT_BYTES_MIN} or more characters of ASCII, like \"Googlebot\" or \"bot/\"");
    Err(Complaint::new("agent", message, "cannot be looked for", help))
}

const AGENTS_EXAMPLE: &str = "write agents = [\"Googlebot\", \"bingbot\", \"GPTBot\"]";
const AGENT_BYTES_MIN: usize = 3;
const CONCURRENCY_RANGE: RangeInclusive<u64> = 1..=10_000;
const QUEUE_RANGE: RangeInclusive<u64> = 0..=10_000;
const WAIT_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);
const STALE_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 365);
