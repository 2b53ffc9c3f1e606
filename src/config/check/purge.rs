//! `[purge]`: who may purge by method, and how purges come to other nodes.

use std::ops::RangeInclusive;
use std::time::Duration;

use super::{NETWORKS_EXAMPLE, Surroundings, file};
use crate::config::file::{Item, Section};
use crate::config::mistake::Complaint;
use crate::config::{NatsBus, Purge, Unsynced, value};

pub(super) fn purge(section: Section<'_>, around: &Surroundings) -> Purge {
    let mut purge = Purge::default();
    let from = section.item("method_from");
    if let Some(from) = from.and_then(|item| item.list_of(NETWORKS_EXAMPLE, value::network)) {
        purge.method_from = from;
    }
    if let Some(rate) = section.item("refresh_per_second").and_then(|item| item.count(REFRESH_RANGE)) {
        purge.refresh_per_second = u32::try_from(rate).unwrap_or(u32::MAX);
    }
    purge.bus = section.item("bus").and_then(|item| bus(&item, around));
    if let Some(unsynced) = section.item("unsynced").and_then(|item| item.word(&UNSYNCED)) {
        purge.unsynced = unsynced;
    }
    if let Some(after) = section.item("unsynced_after").and_then(|item| item.duration(UNSYNCED_AFTER_RANGE)) {
        purge.unsynced_after = after;
    }
    section.close();
    purge
}

fn bus(item: &Item<'_>, around: &Surroundings) -> Option<NatsBus> {
    let section = item.section("`bus`".to_owned())?;
    let servers = section.required("nats", BUS_EXAMPLE).and_then(|item| servers(&item));
    let stream = section.item("stream").map_or(Some(STREAM.to_owned()), |item| stream(&item));
    let replicas = section.item("replicas").map_or(Some(1), |item| item.count(REPLICAS_RANGE));
    let credentials = section.item("credentials");
    let credentials =
        credentials.and_then(|item| file(&item, "write the path of the file of credentials", around));
    section.close();
    Some(NatsBus {
        servers: servers?,
        stream: stream?,
        replicas: usize::try_from(replicas?).unwrap_or(1),
        credentials,
    })
}

fn servers(item: &Item<'_>) -> Option<String> {
    let text = item.text(BUS_EXAMPLE)?;
    let is_server = |server: &str| {
        let rest = ["nats://", "tls://"].iter().find_map(|scheme| server.trim().strip_prefix(scheme));
        rest.is_some_and(|rest| !rest.is_empty() && !rest.contains([' ', '/']))
    };
    if text.split(',').all(is_server) {
        return Some(text.to_owned());
    }
    item.tell(Complaint::new(
        "nats",
        "this is not the address of a NATS server",
        "not `nats://host:port`",
        "write bus = { nats = \"nats://10.0.0.5:4222\" }, several separated by commas, or tls:// for TLS",
    ));
    None
}

/// A stream's name is part of subjects, where dots and wildcards mean something.
fn stream(item: &Item<'_>) -> Option<String> {
    let text = item.text("write stream = \"TIDEGATE\"")?;
    let spelled = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !text.is_empty() && text.len() <= STREAM_BYTES_MAX && text.bytes().all(spelled) {
        return Some(text.to_owned());
    }
    item.tell(Complaint::new(
        "stream",
        "a stream is named by letters, digits, `-` and `_`",
        "not such a name",
        "write stream = \"TIDEGATE\", the same on every node of the fleet",
    ));
    None
}

/// What `unsynced` may be.
pub(in crate::config) const UNSYNCED: [(&str, Unsynced); 3] =
    [("revalidate", Unsynced::Revalidate), ("deny", Unsynced::Deny), ("serve", Unsynced::Serve)];
const BUS_EXAMPLE: &str = "write bus = { nats = \"nats://10.0.0.5:4222\" }";
/// The stream of a fleet that names none.
const STREAM: &str = "TIDEGATE";
const STREAM_BYTES_MAX: usize = 64;
const REFRESH_RANGE: RangeInclusive<u64> = 1..=1_000;
/// What the broker takes.
const REPLICAS_RANGE: RangeInclusive<u64> = 1..=5;
const UNSYNCED_AFTER_RANGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
