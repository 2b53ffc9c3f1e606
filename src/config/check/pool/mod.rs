//! `[pool.NAME]`: the origins that misses go to.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ::geo::Coordinates;

use super::limits::{count, timeout};
use super::{Places, Surroundings, file};
use crate::config::file::{Item, Section};
use crate::config::limits::POOL_ORIGINS_MAX;
use crate::config::mistake::Complaint;
use crate::config::units::duration_text;
use crate::config::{Balance, Concurrency, HedgeAfter, Origin, Pool, value};

mod health;
pub(super) mod transport;

/// The pools of a file.
pub(super) struct Pools {
    /// Those that could be read.
    pub(super) by_name: BTreeMap<Arc<str>, Pool>,
    /// The names of all, so that a mistake in one is not told again where it is used.
    pub(super) names: Vec<Arc<str>>,
    /// Whether a database says where clients are.
    pub(super) geo: bool,
}

/// All pools; at least one.
pub(super) fn pools(root: &Section<'_>, around: &Surroundings) -> Pools {
    let mut all = Pools { by_name: BTreeMap::new(), names: Vec::new(), geo: root.item("geo").is_some() };
    let named = root.section("pool").map(|section| section.named()).unwrap_or_default();
    if named.is_empty() {
        root.tell(Complaint::new(
            "missing-key",
            "there is no pool of origins",
            "no [pool.NAME] in the file",
            "write [pool.main] and below it origins = [\"http://10.0.0.1:3000\"]",
        ));
    }
    for (key, item) in named {
        let name: Arc<str> = key.get_ref().as_str().into();
        all.names.push(Arc::clone(&name));
        if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c)) {
            let complaint = Complaint::new(
                "pool-name",
                format!("`{}` cannot name a pool", name.escape_debug()),
                "not a name",
                "it stands in logs and metrics: use letters, digits, `-`, `_` and `.`",
            );
            item.found().tell(complaint.at(key.span()));
        }
        let Some(section) = item.section(format!("[pool.{name}]")) else { continue };
        if let Some(pool) = pool(section, &name, around) {
            all.by_name.insert(name, pool);
        }
    }
    all
}

fn pool(section: Section<'_>, name: &Arc<str>, around: &Surroundings) -> Option<Pool> {
    let listed = section.required("origins", ORIGINS_EXAMPLE);
    let origins = listed.as_ref().and_then(origins);
    let mut pool = Pool::of(name, origins.unwrap_or_default());
    if let Some(balance) = balance(&section, &pool.origins) {
        pool.balance = balance;
    }
    pool.sticky = section.item("sticky").and_then(|item| sticky(&item));
    if let Some(time) = section.item("slow_start").and_then(|item| item.duration(SLOW_START_RANGE)) {
        pool.slow_start = time;
    }
    pool.host = section
        .item("host")
        .and_then(|item| item.parsed("write host = \"www.example.com\"", value::host_field));
    pool.location = section.item("location").and_then(|item| {
        // A place that a mistake was told about is a place.
        location(&item).or_else(|| Coordinates::new(0.0, 0.0))
    });
    tls(&section, &mut pool, around);
    count(&section, "connections_max", &mut pool.connections_max, 1..=65_535);
    if let Some(concurrency) = section.item("concurrency").and_then(|item| item.word(&Concurrency::WORDS)) {
        pool.concurrency = concurrency;
    }
    count(&section, "queue_max", &mut pool.queue_max, 0..=1_000_000);
    for (key, field) in [
        ("queue_timeout", &mut pool.queue_timeout),
        ("connect_timeout", &mut pool.connect_timeout),
        ("first_byte_timeout", &mut pool.first_byte_timeout),
        ("between_bytes_timeout", &mut pool.between_bytes_timeout),
        ("idle_timeout", &mut pool.idle_timeout),
        ("eject_for", &mut pool.eject_for),
    ] {
        timeout(&section, key, field);
    }
    if let Some(after) = section.item("eject_after").and_then(|item| item.count(1..=1_000_000)) {
        pool.eject_after = u32::try_from(after).unwrap_or(u32::MAX);
    }
    transport::transport(&section, &mut pool, around);
    failures(&section, &mut pool);
    pool.health = section.item("health").and_then(|item| health::health(&item, &pool.origins));
    section.close();
    listed.is_some().then_some(pool)
}

fn origins(item: &Item<'_>) -> Option<Vec<Origin>> {
    let list = item.list(ORIGINS_EXAMPLE)?;
    if list.is_empty() {
        item.tell(Complaint::new("empty", "`origins` is empty", "empty", ORIGINS_EXAMPLE));
    }
    if list.len() > POOL_ORIGINS_MAX {
        let message = format!("a pool has at most {POOL_ORIGINS_MAX} origins, this one has {}", list.len());
        let help = "make two pools of it, and share requests between them: steer = { by = \"weight\", … }";
        item.tell(Complaint::new("range", message, "too many", help));
    }
    let mut places = Places::new();
    let mut origins = Vec::new();
    let before = list.len();
    for item in list {
        let Some(origin) = origin(&item) else { continue };
        if let Some(first) = places.get(&*origin.name) {
            let help = "keep one of them; `weight` gives an origin a larger share";
            let complaint = Complaint::new("twice", format!("{} is named twice", origin.name), "again", help);
            item.tell_beside(complaint, first.clone(), "here already");
            continue;
        }
        places.insert(origin.name.to_string(), item.span.clone());
        origins.push(origin);
    }
    if !origins.is_empty() && origins.len() == before && origins.iter().all(|origin| origin.backup) {
        let help = "leave `backup` out for those that are asked first";
        item.tell(Complaint::new(
            "all-backup",
            "every origin of this pool is a backup",
            "only backups",
            help,
        ));
    }
    Some(origins)
}

/// A URL, or a table with one.
fn origin(item: &Item<'_>) -> Option<Origin> {
    if !item.is_table() {
        return item.parsed(ORIGINS_EXAMPLE, value::origin);
    }
    let section = item.section("this origin".to_owned())?;
    let url = section.required("url", "write { url = \"http://10.0.0.1:3000\" }");
    let origin = url.and_then(|item| item.parsed("write url = \"http://10.0.0.1:3000\"", value::origin));
    let weight = section.item("weight").and_then(|item| item.count(1..=WEIGHT_MAX));
    let backup = section.item("backup").and_then(|item| item.flag());
    section.close();
    let weight = weight.and_then(|weight| u32::try_from(weight).ok()).unwrap_or(1);
    Some(Origin { weight, backup: backup.unwrap_or_default(), ..origin? })
}

/// The cookie by which clients stay where they are.
fn sticky(item: &Item<'_>) -> Option<Arc<str>> {
    let section = item.section("`sticky`".to_owned())?;
    let cookie = section.required("cookie", STICKY_EXAMPLE);
    section.close();
    cookie?.parsed(STICKY_EXAMPLE, |text| {
        // RFC 6265 §4.1.1: a token; `__Host-` and `__Secure-` hold only over TLS.
        let token = http::HeaderName::from_bytes(text.as_bytes()).is_ok();
        if token && text.len() <= COOKIE_NAME_BYTES_MAX && !text.starts_with("__") {
            return Ok(text.into());
        }
        let message = format!("`{}` cannot be the name of this cookie", text.escape_debug());
        Err(Complaint::new("name", message, "not a name for it", STICKY_EXAMPLE))
    })
}

/// What counts as a failure of an origin, and what follows.
fn failures(section: &Section<'_>, pool: &mut Pool) {
    let percent = |key| section.item(key).and_then(|item| item.count(0..=100));
    if let Some(percent) = percent("eject_failure_percent").and_then(|percent| u32::try_from(percent).ok()) {
        pool.eject_failure_percent = percent;
    }
    if let Some(percent) = percent("eject_max_percent").and_then(|percent| u8::try_from(percent).ok()) {
        pool.eject_max_percent = percent;
    }
    if let Some(statuses) = section.item("fail_status").and_then(|item| health::statuses(&item)) {
        pool.fail_status = statuses;
    }
    let Some(item) = section.item("hedge_after") else { return };
    let words = [("off", HedgeAfter::Off), ("silence", HedgeAfter::Silence), ("p95", HedgeAfter::P95)];
    let is_time = item.as_text().is_some_and(|text| text.starts_with(|c: char| c.is_ascii_digit()));
    let after = if is_time {
        item.duration(HEDGE_RANGE).map(HedgeAfter::Time)
    } else {
        item.word_or(&words, "a duration, like \"200ms\"")
    };
    if let Some(after) = after {
        pool.hedge_after = after;
    }
    if let HedgeAfter::Time(after) = pool.hedge_after
        && after >= pool.first_byte_timeout
    {
        let help = format!(
            "write less than first_byte_timeout, which is {}, or \"off\"",
            duration_text(pool.first_byte_timeout)
        );
        item.tell(Complaint::new("no-effect", "`hedge_after` has no effect", "after the deadline", help));
    }
}

/// Which origin is asked; with round-robin, weights are a mistake.
fn balance(section: &Section<'_>, origins: &[Origin]) -> Option<Balance> {
    let item = section.item("balance")?;
    let balance = item.word(&Balance::WORDS)?;
    if balance == Balance::RoundRobin && origins.iter().any(|origin| origin.weight != 1) {
        let help = "write balance = \"weighted\", or remove the weights";
        item.tell(Complaint::new(
            "weights-unused",
            "round-robin does not look at weights",
            "not by weight",
            help,
        ));
    }
    Some(balance)
}

/// Degrees north and east.
fn location(item: &Item<'_>) -> Option<Coordinates> {
    let list = item.list(LOCATION_EXAMPLE)?;
    let [north, east] = list.as_slice() else {
        item.tell(Complaint::new("location", "`location` is two numbers", "not two", LOCATION_EXAMPLE));
        return None;
    };
    let (north, east) = (north.degrees(90, LOCATION_EXAMPLE), east.degrees(180, LOCATION_EXAMPLE));
    Coordinates::new(north?, east?)
}

fn tls(section: &Section<'_>, pool: &mut Pool, around: &Surroundings) {
    let name = section.item("server_name");
    let verify = section.item("verify");
    let ca = section.item("ca");
    pool.server_name = name
        .as_ref()
        .and_then(|item| item.parsed("write server_name = \"www.example.net\"", value::server_name));
    pool.verify = verify.as_ref().and_then(Item::flag).unwrap_or(true);
    pool.ca = ca.as_ref().and_then(|item| file(item, "write the path of a PEM file", around));
    if !pool.origins.is_empty() && !pool.origins.iter().any(|origin| origin.tls) {
        for item in [name, verify.filter(|_| !pool.verify), ca].into_iter().flatten() {
            let message = format!("`{}` has no effect: no origin of this pool is https", item.key);
            let help = "write https:// in the origin's url, or remove the key";
            item.tell(Complaint::new("no-effect", message, "no effect", help));
        }
    }
}

const ORIGINS_EXAMPLE: &str =
    "write origins = [\"http://10.0.0.1:3000\"] or [ { url = \"http://10.0.0.1:3000\", weight = 3 } ]";
const LOCATION_EXAMPLE: &str = "write degrees north and east, like location = [50.1, 8.7]";
const STICKY_EXAMPLE: &str = "write sticky = { cookie = \"tidegate-origin\" }: letters, digits, `-` and `_`";
/// Bytes of a cookie's name.
const COOKIE_NAME_BYTES_MAX: usize = 64;
const WEIGHT_MAX: u64 = 1_000_000;
const HEDGE_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(1);
const SLOW_START_RANGE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
