//! `[limits]`: what a client connection and request may cost.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::Limits;
use super::super::file::Section;
use super::super::limits::UPGRADE_TIMEOUT_MAX;
use super::TIMEOUT_RANGE;

/// The limits; those not written keep their default.
pub(super) fn limits(section: Section<'_>) -> Limits {
    let mut limits = Limits::default();
    size(&section, "head_max", &mut limits.head_bytes_max, HEAD_RANGE);
    count(&section, "fields_max", &mut limits.fields_max, 1..=1000);
    size(&section, "target_max", &mut limits.target_bytes_max, 16..=(64 << 10));
    if let Some(bytes) = section.item("request_body_max").and_then(|item| item.size(0..=(1 << 46))) {
        limits.request_body_bytes_max = bytes;
    }
    if let Some(bytes) = section.item("body_rate_min").and_then(|item| item.size(0..=(1 << 30))) {
        limits.body_rate_bytes_min = bytes;
    }
    for (key, field) in [
        ("head_timeout", &mut limits.head_timeout),
        ("idle_timeout", &mut limits.idle_timeout),
        ("body_rate_window", &mut limits.body_rate_window),
        ("send_stall_timeout", &mut limits.send_stall_timeout),
        ("total_timeout", &mut limits.total_timeout),
        ("handshake_timeout", &mut limits.handshake_timeout),
        ("drain_timeout", &mut limits.drain_timeout),
    ] {
        timeout(&section, key, field);
    }
    if let Some(duration) = section.item("upgrade_timeout").and_then(|item| item.duration(UPGRADE_RANGE)) {
        limits.upgrade_timeout = duration;
    }
    count(&section, "handshakes_max", &mut limits.handshakes_max, 1..=1_000_000);
    count(&section, "connections_max", &mut limits.connections_max, 1..=10_000_000);
    if let Some(count) =
        section.item("requests_per_connection_max").and_then(|item| item.count(1..=u64::MAX >> 1))
    {
        limits.requests_per_connection_max = count;
    }
    section.close();
    limits
}

/// Lays a size over `field` if one is written.
pub(super) fn size(section: &Section<'_>, key: &'static str, field: &mut usize, range: RangeInclusive<u64>) {
    if let Some(bytes) = section.item(key).and_then(|item| item.size(range)) {
        *field = usize::try_from(bytes).unwrap_or(usize::MAX);
    }
}

/// Lays a number over `field` if one is written.
pub(super) fn count(section: &Section<'_>, key: &'static str, field: &mut usize, range: RangeInclusive<u64>) {
    if let Some(count) = section.item(key).and_then(|item| item.count(range)) {
        *field = usize::try_from(count).unwrap_or(usize::MAX);
    }
}

/// Lays a timeout over `field` if one is written.
pub(super) fn timeout(section: &Section<'_>, key: &'static str, field: &mut Duration) {
    if let Some(duration) = section.item(key).and_then(|item| item.duration(TIMEOUT_RANGE)) {
        *field = duration;
    }
}

/// Purges wait as long.
const UPGRADE_RANGE: RangeInclusive<Duration> = Duration::from_millis(100)..=UPGRADE_TIMEOUT_MAX;
/// Field names are indexed with 16 bits, so a head stays below 64 KiB.
const HEAD_RANGE: RangeInclusive<u64> = 1024..=63 * 1024;
