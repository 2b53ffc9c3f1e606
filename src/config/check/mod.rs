//! From the settings as written to the settings as meant: every mistake at once, each with its place.
//!
//! The walk below asks `Section` for each key it knows, fills in defaults, and goes on with a
//! default where a value is wrong, so that the next mistake is found too. A [`Config`] leaves this room only when
//! nothing was found. What holds between parts of the file (hosts, addresses, pool names) is checked when both
//! are read.
//!
//! Invariant: a `Config` from here needs no further check; `effective` prints it so that it passes again and means the
//! same.

mod access;
mod answers;
mod conditions;
mod counts;
mod crawlers;
mod encode;
mod geo;
mod headers;
mod inspect;
mod limits;
mod listener;
mod log;
mod mirror;
mod policy;
mod pool;
mod purge;
mod rewrite;
mod site;
mod steer;
mod tier;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeTable;

pub(super) use geo::LAYOUTS;
pub(crate) use headers::{Side, refused_field};
pub(super) use inspect::{MODES, OVER};
pub(super) use mirror::OF as MIRROR_OF;
pub(super) use policy::VARY_BY;
pub(super) use policy::{DIRECTIVES, SET_COOKIE, SHORT_PART};
pub(super) use pool::transport::PROXY_PROTOCOL;
pub(super) use purge::UNSYNCED;

use super::file::{Found, Item, Section};
use super::limits::WORKERS_MAX;
use super::mistake::{Complaint, Mistake, Mistakes};
use super::{
    Admin, AdminAddress, Cache, Config, DiskAdmission, DiskCache, Geo, Log, MemoryAdmission, ModSecurity,
    Purge, Tier, Trace, value,
};
use crate::places;

/// What a file is named for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Listed {
    /// Networks, one a line.
    Networks,
    /// Users and hashes of their passwords.
    Users,
    /// A key.
    Key,
}

/// What the settings mean depends on.
#[derive(Clone, Debug)]
pub struct Surroundings {
    /// The machine's name, the default for `node`.
    pub host_name: String,
    /// Its cores, the default for `workers`.
    pub cores: usize,
    /// Where relative paths start: the file's directory.
    pub base: PathBuf,
    /// Why a file that the settings name cannot be read, if it cannot.
    pub unreadable: fn(&Path) -> Option<String>,
    /// The bytes of a page that the settings name, or why they cannot be had.
    pub page: fn(&Path) -> Result<Vec<u8>, String>,
    /// Why a certificate and a key, both readable, cannot be used together, if they cannot.
    pub unfit: fn(&Path, &Path) -> Option<String>,
    /// What is wrong with a file that access rules name, if something is.
    pub no_list: fn(&Path, Listed) -> Option<String>,
    /// Why a geo database that the settings name cannot be used, if it cannot.
    pub no_database: fn(&Geo) -> Option<String>,
    /// Why `ModSecurity` cannot be used by these settings, if it cannot.
    pub no_modsecurity: fn(&ModSecurity) -> Option<String>,
}

impl Surroundings {
    /// This machine, with paths relative to `base`.
    pub fn here(base: &Path) -> Self {
        let host_name = std::fs::read_to_string("/proc/sys/kernel/hostname")
            .or_else(|_| std::fs::read_to_string("/etc/hostname"))
            .or_else(|_| std::env::var("HOSTNAME"))
            .unwrap_or_default();
        Self {
            host_name,
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            base: base.to_owned(),
            unfit: crate::origin::unfit_identity,
            unreadable: |path| match File::open(path) {
                Ok(_) if path.is_dir() => Some("is a directory".to_owned()),
                Ok(_) => None,
                Err(error) => Some(why_unreadable(&error)),
            },
            page: answers::bytes_of,
            no_list: crate::route::access::mistake_in,
            no_database: |geo| places::Places::open(geo).err().map(|error| places::told(&error)),
            no_modsecurity: crate::route::access::no_modsecurity,
        }
    }

    /// The default name of the node.
    pub fn node(&self) -> Arc<str> {
        value::tokenised(&self.host_name).into()
    }

    /// The default number of workers.
    pub fn workers(&self) -> usize {
        self.cores.clamp(1, WORKERS_MAX)
    }
}

/// The settings in `text`, which came from the file `name`.
///
/// # Errors
/// Every mistake in it.
pub fn check(name: &str, text: &str, around: &Surroundings) -> Result<Config, Mistakes> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let found = Found::default();
    let config = walk(Section::whole(table.get_ref(), &found), around);
    let mut list = found.into_list();
    if !errors.is_empty() {
        // Behind an error of syntax a part may be missing or mangled: only what is certain is told.
        let broken: Vec<_> = errors.iter().map(|error| error.span().unwrap_or(0..0).start).collect();
        // The keys below a header that could not be read seem to belong elsewhere.
        let strayed = broken.iter().filter(|at| line(text, **at).trim_start().starts_with('[')).min();
        list.retain(|mistake| {
            let at = mistake.span.start;
            let certain =
                mistake.complaint.code != "unknown-key" || strayed.is_none_or(|header| at < *header);
            certain && !mistake.absence && !broken.iter().any(|error| same_line(text, *error, at))
        });
        list.extend(errors.iter().map(|error| syntax(text, error)));
    }
    if list.is_empty() { Ok(config) } else { Err(Mistakes::new(name, text, list)) }
}

fn walk(root: Section<'_>, around: &Surroundings) -> Config {
    let node =
        root.item("node").and_then(|item| item.parsed("write a name, like \"fra-1\"", value::node_name));
    let workers = root.item("workers").and_then(|item| item.count(1..=WORKERS_MAX as u64));
    let listeners = listener::listeners(&root, around);
    let admin = root.section("admin").map_or_else(Admin::default, |section| admin(section, around));
    let (cache, defaults) = root
        .section("cache")
        .map_or_else(|| (Cache::default(), policy::Changes::default()), |section| cache(section, around));
    let pools = pool::pools(&root, around);
    let modsecurity = root.section("modsecurity").map(|section| inspect::modsecurity(section, around));
    let sites = site::sites(&root, &pools, &defaults, (around, modsecurity.as_ref()));
    let purge = root.section("purge").map_or_else(Purge::default, |section| purge::purge(section, around));
    let log = root.section("log").map_or_else(Log::default, |section| log::log(section, around));
    let log = Log { trace: root.section("trace").map_or_else(Trace::default, log::trace), ..log };
    let limits = root.section("limits").map(limits::limits).unwrap_or_default();
    let geo = root.section("geo").and_then(|section| geo::geo(section, around));
    let crawlers = root.section("crawlers").map(|section| crawlers::crawlers(section, around));
    let tier = root.section("tier").map_or_else(Tier::default, |section| tier::tier(section, around));
    listener::overlaps(&listeners, admin.address.as_ref(), &root);
    root.close();
    Config {
        node: node.unwrap_or_else(|| around.node()),
        listeners: listeners.into_iter().map(|(_, listener)| listener).collect(),
        admin,
        cache,
        geo,
        crawlers,
        modsecurity,
        pools: pools.by_name,
        sites,
        purge,
        tier,
        log,
        limits,
        workers: workers.and_then(|count| usize::try_from(count).ok()).unwrap_or_else(|| around.workers()),
    }
}

fn admin(section: Section<'_>, around: &Surroundings) -> Admin {
    let mut admin = Admin::default();
    let address = section.item("address");
    if let Some(item) = &address {
        if item.as_text() == Some("off") {
            admin.address = None;
        } else if let Some(address) = item.parsed(ADMIN_EXAMPLE, value::admin_address) {
            if matches!(address, AdminAddress::Unix(_)) {
                let message = "an admin listener on a Unix socket is not supported by this version yet";
                item.tell(Complaint::new(
                    "not-supported",
                    message,
                    "not supported yet",
                    "write \"127.0.0.1:9180\"",
                ));
            }
            admin.address = Some(address);
        }
    }
    let tokens = section.item("tokens");
    admin.tokens = tokens.as_ref().and_then(|item| file(item, "write the path of the token file", around));
    if let (Some(item), None, Some(AdminAddress::Tcp(tcp))) = (&address, &tokens, &admin.address)
        && !tcp.ip().to_canonical().is_loopback()
    {
        item.tell(Complaint::new(
            "admin-open",
            "the admin listener can be reached from other machines, and there are no tokens",
            "not loopback",
            "name a token file, tokens = \"/etc/tidegate/tokens.toml\", or listen on \"127.0.0.1:9180\"",
        ));
    }
    section.close();
    admin
}

fn cache(section: Section<'_>, around: &Surroundings) -> (Cache, policy::Changes) {
    let mut cache = Cache::default();
    if let Some(bytes) = section.item("memory").and_then(|item| item.size(CACHE_MEMORY_RANGE)) {
        cache.memory_bytes = bytes;
    }
    if let Some(admission) = section.item("memory_admission").and_then(|item| item.word(&MEMORY_ADMISSION)) {
        cache.memory_admission = admission;
    }
    if let Some(bytes) = section.item("object_max").and_then(|item| item.size(OBJECT_RANGE)) {
        cache.object_bytes_max = bytes;
    }
    cache.disk = section.item("disk").and_then(|item| disk(&item, around));
    let defaults = policy::rules(&section);
    section.close();
    (cache, defaults)
}

fn disk(item: &Item<'_>, around: &Surroundings) -> Option<DiskCache> {
    let section = item.section("`disk`".to_owned())?;
    let path = section.required("path", DISK_EXAMPLE).and_then(|item| {
        let text = item.text(DISK_EXAMPLE)?;
        if text.is_empty() {
            item.tell(Complaint::new(
                "disk-path",
                "the path of the disk cache is empty",
                "empty",
                DISK_EXAMPLE,
            ));
            return None;
        }
        Some(around.base.join(text))
    });
    let bytes = section.required("size", DISK_EXAMPLE).and_then(|item| item.size(CACHE_DISK_RANGE));
    let admission = section.item("admission").and_then(|item| item.word(&DISK_ADMISSION)).unwrap_or_default();
    section.close();
    Some(DiskCache { path: path?, bytes: bytes?, admission })
}

/// A file that must be readable.
fn file(item: &Item<'_>, help: &str, around: &Surroundings) -> Option<PathBuf> {
    let path = around.base.join(item.text(help)?);
    if let Some(why) = (around.unreadable)(&path) {
        let message = format!("`{}` {why}", path.display());
        let help = if why == FORBIDDEN {
            "let the user that the node runs as read it: `chgrp tidegate FILE && chmod 640 FILE` where that is the package's"
        } else {
            "check the path and who may read it; relative paths start at the settings file"
        };
        item.tell(Complaint::new("file", message, why, help));
    }
    Some(path)
}

const FORBIDDEN: &str = "may not be read by this user";

fn why_unreadable(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => FORBIDDEN.to_owned(),
        _ => format!("cannot be read: {error}"),
    }
}

/// The tables of a `[[name]]`, whose last part is `key`.
fn tables<'t>(parent: &Section<'t>, key: &'static str, name: &str) -> Vec<(Item<'t>, Section<'t>)> {
    let Some(item) = parent.item(key) else { return Vec::new() };
    if item.is_table() {
        let help = format!("write [[{name}]] with two brackets: there may be several");
        item.tell(Complaint::new(
            "type",
            format!("`{key}` is a list of tables, not a table"),
            "one table",
            help,
        ));
        return item.section(format!("[{name}]")).map(|section| vec![(item, section)]).unwrap_or_default();
    }
    let items = item.list(&format!("write [[{name}]] in a line of its own")).unwrap_or_default();
    items.into_iter().filter_map(|item| Some((item.clone(), item.section(format!("[[{name}]]"))?))).collect()
}

/// By name, the first place where it stood.
type Places = BTreeMap<String, std::ops::Range<usize>>;

/// An error of syntax, in words for people who do not know the grammar.
fn syntax(text: &str, error: &toml::de::Error) -> Mistake {
    let span = error.span().unwrap_or(0..0);
    let said = error.message().lines().next().unwrap_or("not TOML");
    let word = text.get(span.clone()).unwrap_or_default();
    let value = said.starts_with("string values must be quoted") || said.starts_with("invalid boolean");
    let complaint = if value && word.is_empty() {
        Complaint::new(
            "syntax",
            "a value is missing",
            "here",
            "write a value behind the `=`; text stands in quotes",
        )
    } else if value && word.starts_with(|c: char| c.is_alphabetic() || "*/:.-".contains(c)) {
        Complaint::new("syntax", "text without quotes", "here", format!("write \"{word}\" if text is meant"))
    } else if said.contains("duplicate key") {
        let help = "keep one of the two; a table is opened once, and its keys stand together";
        Complaint::new(
            "syntax",
            format!("`{}` stands here a second time", word.escape_debug()),
            "again",
            help,
        )
    } else {
        let help = "a line is `key = value`, `[table]` or `[[table]]`; text, sizes, durations and addresses stand in quotes";
        Complaint::new("syntax", said.trim_end_matches(','), "here", help)
    };
    complaint.at(span)
}

/// The line that `at` lies in.
fn line(text: &str, at: usize) -> &str {
    let start = text.get(..at).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
    text.get(start..).and_then(|rest| rest.lines().next()).unwrap_or_default()
}

fn same_line(text: &str, one: usize, other: usize) -> bool {
    let (from, to) = (one.min(other), one.max(other));
    text.as_bytes().get(from..to).is_some_and(|between| !between.contains(&b'\n'))
}

const ADMIN_EXAMPLE: &str = "write an address, like \"127.0.0.1:9180\", or \"off\"";
const NETWORKS_EXAMPLE: &str = "write a list of networks, like [\"10.0.0.0/8\", \"127.0.0.1\"]";

/// From what holds a few responses to what no machine has.
const CACHE_MEMORY_RANGE: std::ops::RangeInclusive<u64> = (1 << 20)..=(1 << 46);
/// Below it a disk could not hold a few segments.
const CACHE_DISK_RANGE: std::ops::RangeInclusive<u64> = (64 << 20)..=(1 << 50);
const DISK_EXAMPLE: &str = "write disk = { path = \"/var/cache/tidegate\", size = \"50GiB\" }";
/// Names of the choices for `memory_admission`.
pub(super) const MEMORY_ADMISSION: [(&str, MemoryAdmission); 2] =
    [("adaptive", MemoryAdmission::Adaptive), ("all", MemoryAdmission::All)];
/// Names of the choices for the disk's `admission`.
pub(super) const DISK_ADMISSION: [(&str, DiskAdmission); 2] =
    [("second-request", DiskAdmission::SecondRequest), ("all", DiskAdmission::All)];
const OBJECT_RANGE: std::ops::RangeInclusive<u64> = 1..=(1 << 46);

/// A timeout that would end everything at once, or never, is a slip.
const TIMEOUT_RANGE: std::ops::RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
